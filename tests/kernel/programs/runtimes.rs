//! Node and Bun with their own `fetch`.

use std::path::Path;

use test_support::endpoint::Options;
use test_support::served::Protocol;

use super::coverage::Client;
use super::scene::{Scene, program};
use super::{Watch, at_once};
use crate::run::peer;

/// Runs `fetch.mjs` with a runtime, in every API, at a built-in host of the providers, and expects
/// the calls over `protocol`.
fn fetch(test: &'static str, client: &Client, runtime: &Path, protocol: Protocol) -> Option<()> {
    let watch = Watch::start(test)?;
    watch.has_run(runtime)?;
    let hosts = [
        ("messages", "https://api.anthropic.com"),
        ("chat", "https://api.openai.com"),
        ("responses", "https://api.openai.com"),
    ];
    let played = at_once(hosts.map(|(api, host)| {
        move || {
            let options = Options {
                http2: protocol == Protocol::Http2,
                ..Options::default()
            };
            let scene = Scene::set(test, options)?;
            let mut command = scene.command(runtime);
            command
                .arg(peer("node/fetch.mjs"))
                .args([api, "--stream", "--calls", "3", "--model", test])
                .env("BPFTOK_ENDPOINT", host);
            let played = scene.run(command)?;
            played.assert_served(3, protocol);
            Some(played)
        }
    }))?;
    watch.finish(client, runtime, &played);
    Some(())
}

#[test]
fn node_of_this_machine() {
    let node = Path::new("node");
    let client = Client::of_answer("Node.js of this machine", node);
    fetch("node", &client, node, Protocol::Http1);
}

#[test]
fn newest_node_over_http2() {
    let test = "newest_node";
    if let Some(node) = program("node", "bin/node", test) {
        let client = Client::of_npm("Node.js, newest", "node");
        fetch(test, &client, &node, Protocol::Http2);
    }
}

#[test]
fn bun() {
    let test = "bun";
    if let Some(bun) = program("bun", "bin/bun", test) {
        fetch(test, &Client::of_npm("Bun", "bun"), &bun, Protocol::Http1);
    }
}
