//! Coding agents: what one prompt makes of calls, at the built-in host and at a base URL.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use test_support::endpoint::Options;
use test_support::served::Protocol;
use test_support::{Api, Served};

use super::coverage::Client;
use super::scene::{BASE_URL, Played, Scene, program};
use super::{Watch, at_once};

/// A key of the right shape that nobody has.
const KEY: &str = "sk-ant-api03-canary";

/// The protocols that a run's endpoint offers: HTTP/1.1 and WebSockets, or HTTP/2 too.
fn offering(http2: bool) -> Options {
    Options {
        http2,
        websockets: true,
        ..Options::default()
    }
}

/// Models that were asked, each once.
fn models(played: &Played) -> BTreeSet<&str> {
    let asked = played.served.iter();
    asked
        .filter_map(|call| call.model_requested.as_deref())
        .collect()
}

fn claude(scene: &Scene, file: &Path, prompt: &str) -> Command {
    let mut command = scene.command(file);
    command
        .args(["-p", prompt, "--allowedTools", "Bash,Agent"])
        .env("ANTHROPIC_API_KEY", KEY);
    command
}

#[test]
fn claude_code_is_seen_from_the_first_request_of_a_new_file_on() {
    let test = "claude_code_first_run";
    let run = || {
        let original = program("claude", "claude", test)?;
        let watch = Watch::start(test)?;
        let scene = Scene::set(test, offering(false))?;
        let copy = scene.home("claude");
        fs::copy(original, &copy).unwrap();
        let command = claude(&scene, &copy, "hi");
        let played = scene.run(command)?;
        played.assert_served(1, Protocol::Http1);
        // Telemetry, settings and the like go to the same host, and are no calls.
        let is_at_the_host = |host: &Option<String>| host.as_deref() == Some("api.anthropic.com");
        let beside = played
            .others
            .iter()
            .filter(|other| is_at_the_host(&other.host));
        assert!(beside.count() >= 8, "{:#?}", played.others);
        watch.finish(&Client::nobody(), &copy, &[played]);
        Some(())
    };
    run();
}

#[test]
fn claude_code_with_tools_sub_agents_and_a_base_url() {
    let test = "claude_code";
    // Prompt, base URL, calls, and those of them that sub-agents make.
    let runs = [
        ("bpftok-do:shell say hi", None, 2, 0),
        ("bpftok-do:shell.agent-shell say hi", None, 5, 2),
        ("bpftok-do:agent+agent say hi", None, 4, 2),
        ("bpftok-do:agent-background say hi", None, 4, 1),
        ("bpftok-do:agent say hi", Some(BASE_URL), 3, 1),
    ];
    let run = || {
        let file = program("claude", "claude", test)?;
        let watch = Watch::start(test)?;
        watch.has_run(&file)?;
        let played = at_once(runs.map(|(prompt, base, calls, below)| {
            let file = &file;
            move || {
                let scene = Scene::set(test, offering(false))?;
                let mut command = claude(&scene, file, prompt);
                command.envs(base.map(|base| ("ANTHROPIC_BASE_URL", base)));
                let played = scene.run(command)?;
                played.assert_served(calls, Protocol::Http1);
                let is_below = |call: &&Served| {
                    let mut names = call.identity_headers.iter().map(|(name, _)| name.as_str());
                    names.any(|name| name == "x-claude-code-agent-id")
                };
                assert_eq!(played.served.iter().filter(is_below).count(), below);
                assert_eq!(played.sessions().len(), 1, "one session, sub-agents in it");
                Some(played)
            }
        }))?;
        watch.finish(&Client::of_npm("Claude Code", "claude"), &file, &played);
        Some(())
    };
    run();
}

#[test]
fn opencode_with_tools_sub_agents_and_a_base_url() {
    let test = "opencode";
    let options = format!(r#"{{"anthropic":{{"options":{{"baseURL":"{BASE_URL}/v1"}}}}}}"#);
    let elsewhere = format!(r#"{{"provider":{options}}}"#);
    // Prompt, settings, calls, sessions. A small model is asked for a title besides, and a
    // sub-agent has a session of its own.
    let runs = [
        ("bpftok-do:shell say hi", None, 3, 1),
        ("bpftok-do:shell.agent say hi", None, 5, 2),
        ("say hi", Some(elsewhere), 2, 1),
    ];
    let run = || {
        let file = program("opencode", "bin/opencode", test)?;
        let watch = Watch::start(test)?;
        watch.has_run(&file)?;
        let played = at_once(runs.map(|(prompt, settings, calls, sessions)| {
            let file = &file;
            move || {
                let scene = Scene::set(test, offering(false))?;
                let mut command = scene.command(file);
                command
                    .args(["run", prompt, "-m", "anthropic/claude-sonnet-4-5"])
                    .env("ANTHROPIC_API_KEY", KEY)
                    .envs(settings.map(|settings| ("OPENCODE_CONFIG_CONTENT", settings)));
                let played = scene.run(command)?;
                played.assert_served(calls, Protocol::Http1);
                let expected = ["claude-haiku-4-5-20251001", "claude-sonnet-4-5"];
                assert_eq!(models(&played), expected.into());
                assert_eq!(played.sessions().len(), sessions);
                Some(played)
            }
        }))?;
        watch.finish(&Client::of_npm("opencode", "opencode"), &file, &played);
        Some(())
    };
    run();
}

#[test]
fn copilot_cli_with_a_tool_a_sub_agent_and_a_websocket() {
    let test = "copilot";
    let (openai, claude) = ("https://api.openai.com/v1", "https://api.anthropic.com");
    let elsewhere = format!("{BASE_URL}/v1");
    // Provider, its address, its API, prompt, calls.
    let runs = [
        ("openai", openai, "completions", "bpftok-do:shell hi", 2),
        ("openai", openai, "responses", "bpftok-do:shell hi", 2),
        ("openai", openai, "websockets", "bpftok-do:shell hi", 2),
        ("anthropic", claude, "completions", "bpftok-do:agent hi", 3),
        ("openai", &elsewhere, "completions", "say hi", 1),
    ];
    let run = || {
        let file = program("copilot", "copilot", test)?;
        // It unpacks 200 MB of itself, once if it may.
        let unpacked = tempfile::tempdir().unwrap();
        let cache = [("COPILOT_CACHE_HOME", unpacked.path())];
        let watch = Watch::start(test)?;
        watch.has_run_with(&file, &cache)?;
        let played = at_once(runs.map(|(provider, address, api, prompt, calls)| {
            let file = &file;
            move || {
                let scene = Scene::set(test, offering(false))?;
                let mut command = scene.command(file);
                let (api, transport, protocol) = match api {
                    "websockets" => ("responses", "websockets", Protocol::WebSocket),
                    other => (other, "http", Protocol::Http1),
                };
                command
                    .args(["-p", prompt, "--allow-all-tools"])
                    .env("COPILOT_PROVIDER_TYPE", provider)
                    .env("COPILOT_PROVIDER_BASE_URL", address)
                    .env("COPILOT_PROVIDER_API_KEY", KEY)
                    .env("COPILOT_PROVIDER_WIRE_API", api)
                    .env("COPILOT_PROVIDER_TRANSPORT", transport)
                    .env("COPILOT_MODEL", "gpt-of-our-own")
                    .envs(cache);
                let played = scene.run(command)?;
                played.assert_served(calls, protocol);
                assert_eq!(models(&played), ["gpt-of-our-own"].into());
                Some(played)
            }
        }))?;
        let client = Client::of_npm("GitHub Copilot CLI", "copilot");
        watch.finish(&client, &file, &played);
        Some(())
    };
    run();
}

/// Settings of Gemini CLI: an API key although the base URL is another, and no question about the
/// folder.
const GEMINI_SETTINGS: &str = r#"{
    "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": false}}
}"#;

#[test]
fn gemini_cli_with_tools_sub_agents_a_base_url_and_http2() {
    let test = "gemini_cli";
    // Prompt, base URL, whether it is the newest Node, calls. Without a model of the user's choice a
    // small one chooses it.
    let runs = [
        ("bpftok-do:shell say hi", None, false, 3),
        ("bpftok-do:agent say hi", Some(BASE_URL), false, 5),
        ("say hi", None, true, 2),
    ];
    let run = || {
        let script = program("gemini", "bundle/gemini.js", test)?;
        let newest = program("node", "bin/node", test)?;
        let node = Path::new("node");
        let watch = Watch::start(test)?;
        watch.has_run(node)?;
        watch.has_run(&newest)?;
        let played = at_once(runs.map(|(prompt, base, is_newest, calls)| {
            let (script, newest) = (&script, newest.as_path());
            move || {
                let scene = Scene::set(test, offering(is_newest))?;
                fs::create_dir(scene.home(".gemini")).unwrap();
                fs::write(scene.home(".gemini/settings.json"), GEMINI_SETTINGS).unwrap();
                let mut command = scene.command(if is_newest { newest } else { node });
                command
                    .arg(script)
                    .args(["--prompt", prompt, "--yolo"])
                    .env("GEMINI_API_KEY", KEY)
                    .envs(base.map(|base| ("GOOGLE_GEMINI_BASE_URL", base)));
                let played = scene.run(command)?;
                let protocol = match is_newest {
                    true => Protocol::Http2,
                    false => Protocol::Http1,
                };
                played.assert_served(calls, protocol);
                let is_gemini = |call: &Served| call.api == Api::GeminiGenerate;
                assert!(played.served.iter().all(is_gemini));
                Some(played)
            }
        }))?;
        let client = Client::of_npm("Gemini CLI", "gemini");
        watch.finish(&client, &newest, &played);
        Some(())
    };
    run();
}
