//! What the agent can't see, and says so: never a zero that looks like no usage.

use test_support::endpoint::Options;

use super::Watch;
use super::coverage::{self, Client};
use super::scene::{Scene, program};

#[test]
fn codex_is_named_in_every_report_although_its_calls_are_not_seen() {
    let test = "codex";
    let run = || {
        let folder = format!("vendor/{}-unknown-linux-musl/bin", std::env::consts::ARCH);
        let file = program("codex", &format!("{folder}/codex"), test)?;
        let watch = Watch::start(test)?;
        let options = Options {
            http2: true,
            websockets: true,
            ..Options::default()
        };
        let scene = Scene::set(test, options)?;
        let mut command = scene.command(&file);
        command
            .args(["exec", "--skip-git-repo-check", "say hi"])
            .env("OPENAI_API_KEY", "sk-canary")
            .env("CODEX_API_KEY", "sk-canary");
        let played = scene.run(command)?;
        assert!(!played.served.is_empty(), "it called the model");
        let (place, _said) = watch.stop();
        assert_eq!(played.rows(&place), [], "its TLS is not hooked yet");
        let pid = played.ended.who.pid;
        let sockets = place.number(&format!(
            "SELECT coalesce(sum(events), 0) FROM coverage_minute JOIN process USING (process_id)
             WHERE outcome = 'unprobed' AND pid = {pid}"
        ));
        assert!(sockets > 0, "no socket of {pid} was reported");
        for report in ["report", "sessions", "status"] {
            let output = place.on_ledger([report]).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(text.contains("codex"), "{report} does not name it:\n{text}");
        }
        let client = Client::of_npm("Codex", "codex")
            .with_library("rustls; its OpenSSL has no part in calls")
            .with_verdict("live: not read yet; reported as `unprobed`");
        coverage::note(&client, &place.status(), &file, &[]);
        Some(())
    };
    run();
}
