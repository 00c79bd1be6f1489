//! HTTP, WebSocket and gRPC libraries, and OpenSSL inside a program without symbols.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use test_support::endpoint::Options;
use test_support::overhead::library_of;
use test_support::served::Protocol;

use super::coverage::Client;
use super::scene::Scene;
use super::{Watch, at_once};
use crate::run::{installed, peer};

const ANTHROPIC: &str = "https://api.anthropic.com";
const OPENAI: &str = "https://api.openai.com";

fn offering(protocol: Protocol) -> Options {
    let plan = match protocol {
        Protocol::WebSocketDeflate => "deflate",
        Protocol::Http1 | Protocol::Http2 | Protocol::WebSocket => "",
    };
    Options {
        http2: protocol == Protocol::Http2,
        websockets: true,
        plan: plan.parse().unwrap(),
        ..Options::default()
    }
}

/// `transports.py` with a library, at a built-in host.
fn transports(scene: &Scene, python: &Path, library: &str, arguments: &str) -> Command {
    let host = if arguments.contains("messages") {
        ANTHROPIC
    } else {
        OPENAI
    };
    let mut command = scene.command(python);
    command
        .arg(peer("python/transports.py"))
        .arg(library)
        .args(arguments.split_whitespace())
        .env("BPFTOK_ENDPOINT", host);
    command
}

/// The module that maps a library's TLS.
fn module_of(library: &str) -> &str {
    match library {
        "curl_cffi" | "pycurl" | "grpc" => library,
        _ => "ssl",
    }
}

/// Runs a Python library in every API and expects its calls over `protocol`. `file` is a part of
/// the path of what carries its TLS.
fn python_library(test: &'static str, library: &str, file: &str, protocol: Protocol) {
    let run = || {
        let python = installed("BPFTOK_PYTHON", test)?;
        let watch = Watch::start(test)?;
        watch.has_imported(&python, module_of(library), file)?;
        let apis: &[&str] = match protocol {
            Protocol::WebSocket | Protocol::WebSocketDeflate => &["responses"],
            Protocol::Http1 | Protocol::Http2 => &["messages", "chat", "responses"],
        };
        let played = at_once(apis.iter().map(|api| {
            let python = &python;
            move || {
                let scene = Scene::set(test, offering(protocol))?;
                let arguments = format!("{api} --stream --calls 6 --model {test}");
                let command = transports(&scene, python, library, &arguments);
                let played = scene.run(command)?;
                played.assert_served(6, protocol);
                Some(played)
            }
        }))?;
        let package = library.trim_end_matches("-deflate");
        let client = Client::of_python(library, package);
        watch.finish(&client, Path::new(file), &played);
        Some(())
    };
    run();
}

#[test]
fn httpx_over_http2_with_streams_at_once() {
    python_library("httpx", "httpx", "libssl.so.3", Protocol::Http2);
}

#[test]
fn aiohttp() {
    python_library("aiohttp", "aiohttp", "libssl.so.3", Protocol::Http1);
}

#[test]
fn curl_cffi_over_http2() {
    let file = "curl_cffi/_wrapper.abi3.so";
    python_library("curl_cffi", "curl_cffi", file, Protocol::Http2);
}

#[test]
fn pycurl_over_http2() {
    let file = "pycurl.libs/libssl-";
    python_library("pycurl", "pycurl", file, Protocol::Http2);
}

#[test]
fn websockets_with_and_without_deflate() {
    let file = "libssl.so.3";
    python_library("websocket", "websockets", file, Protocol::WebSocket);
    python_library(
        "websocket_deflate",
        "websockets-deflate",
        file,
        Protocol::WebSocketDeflate,
    );
}

#[test]
fn grpc_exchanges_are_read() {
    let test = "grpc";
    let run = || {
        let python = installed("BPFTOK_PYTHON", test)?;
        let watch = Watch::start(test)?;
        watch.has_imported(&python, module_of("grpc"), "cygrpc")?;
        let scene = Scene::set(test, offering(Protocol::Http2))?;
        let command = transports(&scene, &python, "grpc", "--calls 3");
        let played = scene.run(command)?;
        assert_eq!(played.served, [], "a method of nobody's is no call");
        let ours = |path: &str| path == "/bpftok.test.Model/Generate";
        let asked = played.others.iter().filter(|other| ours(&other.path));
        assert_eq!(asked.count(), 3);
        let client = Client::of_python("grpc", "grpcio")
            .with_verdict("live: its exchanges are read; no API of it is known yet");
        let (place, _said) = watch.finish(&client, Path::new("cygrpc"), &[played]);
        let exchanges = place.counter("exchanges");
        assert!(exchanges >= 3, "{exchanges} exchanges were read");
        Some(())
    };
    run();
}

#[test]
fn python_clients_are_seen_from_the_first_request_of_a_new_file_on() {
    let test = "python_first_run";
    let run = || {
        let python = installed("BPFTOK_PYTHON", test)?;
        let watch = Watch::start(test)?;
        let module = |name: &str| {
            let script = format!("import {name}; print({name}.__file__)");
            let mut command = Command::new(&python);
            let output = command.args(["-c", &script]).output().unwrap();
            PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
        };
        // The system's library under another inode, and a wheel that brings its own.
        let system = library_of(&module("_ssl")).unwrap();
        let packages = module("curl_cffi");
        let packages = packages.parent().and_then(Path::parent).unwrap();
        let cases = [
            ("aiohttp", "LD_LIBRARY_PATH", vec![system]),
            (
                "pycurl",
                "PYTHONPATH",
                vec![packages.join("pycurl"), packages.join("pycurl.libs")],
            ),
            ("curl_cffi", "PYTHONPATH", vec![packages.join("curl_cffi")]),
        ];
        // How fast a new file is hooked is for the benchmark to say: none of them calls before.
        let played = at_once(cases.map(|(library, variable, files)| {
            let (python, agent) = (&python, &watch.agent);
            move || {
                let scene = Scene::set(test, offering(Protocol::Http1))?;
                let folder = scene.home("new");
                fs::create_dir(&folder).unwrap();
                for file in files {
                    copy(&file, &folder);
                }
                let mut command = transports(&scene, python, library, "messages --stream");
                let hooked = scene.home("hooked");
                command.env(variable, &folder);
                command.args(["--module", module_of(library), "--wait-for"]);
                command.arg(&hooked);
                let played = thread::scope(|scope| {
                    scope.spawn(|| {
                        agent.wait_for_hook(folder.to_str().unwrap());
                        fs::write(&hooked, "").unwrap();
                    });
                    scene.run(command)
                })?;
                played.assert_served(1, Protocol::Http1);
                Some(played)
            }
        }))?;
        watch.finish(&Client::nobody(), Path::new("new"), &played);
        Some(())
    };
    run();
}

/// Copies a file, or a folder with all in it.
fn copy(from: &Path, folder: &Path) {
    let mut copy = Command::new("cp");
    copy.arg("--recursive").arg(from).arg(folder);
    assert!(copy.status().unwrap().success(), "{copy:?}");
}

#[test]
fn curl_over_http2() {
    let test = "curl_http2";
    let run = || {
        let watch = Watch::start(test)?;
        // The system's, as curl maps it.
        watch.agent.wait_for_hook("/libssl.so");
        let scene = Scene::set(test, offering(Protocol::Http2))?;
        let body = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
        let url = format!("{ANTHROPIC}/v1/messages");
        let mut command = scene.command("curl");
        command
            .args(["--silent", "--show-error", "--max-time", "60"])
            .args(["--header", "content-type: application/json"])
            .args(["--data", body, &url, &url, &url]);
        let played = scene.run(command)?;
        played.assert_served(3, Protocol::Http2);
        let client = Client::of_answer("curl of this machine", Path::new("curl"));
        watch.finish(&client, Path::new("libssl.so.3"), &[played]);
        Some(())
    };
    run();
}

#[test]
fn openssl_inside_a_stripped_program_that_does_not_say_its_version() {
    let test = "static_openssl";
    let run = || {
        let file = installed("BPFTOK_TLS_CALL", test)?;
        let content = fs::read(&file).unwrap();
        let is_version =
            |part: &[u8]| matches!(part, [name @ .., b'0'..=b'9'] if name == b"OpenSSL ");
        assert!(!content.windows(9).any(is_version), "it says its version");
        let watch = Watch::start(test)?;
        watch.has_run(&file)?;
        let scene = Scene::set(test, offering(Protocol::Http1))?;
        let mut command = scene.command(&file);
        command.args(["api.anthropic.com", "443", test, "3"]);
        let played = scene.run(command)?;
        played.assert_served(3, Protocol::Http1);
        let client = Client::of_this_tree("OpenSSL inside a stripped program");
        watch.finish(&client, &file, &[played]);
        Some(())
    };
    run();
}
