//! Probes that stop working without a word, and what the agent makes of it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use test_support::Endpoint;

use crate::agent::{Agent, Place, descriptors, skip};
use crate::run::{Client, peer, poll, python};

const FREQUENT_CHECKS: &str = "[capture]\nself_check_interval_ms = 1000\n";

/// How long a check and what follows from it may take.
const LIMIT: Duration = Duration::from_secs(20);

/// The agent's links to probes: two for each file, where they can be told apart from its others.
fn probe_links(agent: &Agent) -> Vec<String> {
    let is_probe = |number: &u32| {
        let info = format!("/proc/{}/fdinfo/{number}", agent.id());
        fs::read_to_string(info).is_ok_and(|info| info.contains("uprobe_multi"))
    };
    descriptors(agent.id())
        .into_iter()
        .filter(|(number, target)| target.contains("bpf_link") && is_probe(number))
        .map(|(number, _)| number.to_string())
        .collect()
}

#[test]
fn probes_that_died_in_silence_are_renewed() {
    let test = "self_check";
    let endpoint = Endpoint::start().unwrap();
    let place = Place::of(&endpoint).configured(FREQUENT_CHECKS);
    let Some(agent) = place.run(test) else { return };
    let links = probe_links(&agent);
    if links.is_empty() || !cfg!(target_arch = "x86_64") {
        skip(test, "links can't be taken away from a process here");
        return;
    }
    let checked = |name: &str| place.counter(name);
    assert!(
        poll(LIMIT, || checked("self_checks_seen") > 0),
        "{}",
        agent.said()
    );
    assert_eq!(checked("self_checks_unseen"), 0);

    let replaced = Command::new("python3")
        .arg(peer("python").join("replace_descriptor.py"))
        .arg(agent.id().to_string())
        .args(&links)
        .status();
    assert!(replaced.unwrap().success());
    // Another file of this host may be hooked at any moment, so only these links are looked for.
    let left = probe_links(&agent);
    assert!(
        links.iter().all(|link| !left.contains(link)),
        "{links:?} {left:?}"
    );
    assert!(
        poll(LIMIT, || checked("probe_renewals") > 0),
        "{}",
        agent.said()
    );
    let seen = checked("self_checks_seen");
    assert!(
        poll(LIMIT, || checked("self_checks_seen") > seen),
        "{}",
        agent.said()
    );
    assert!(probe_links(&agent).len() > left.len());

    // Clients are seen as before, and the agent's own calls never were.
    let Some(mut command) = python("calls.py", &endpoint, test) else {
        return;
    };
    command.args(["stdlib", "messages"]);
    let Some(client) = Client::start(command, test) else {
        return;
    };
    client.succeed();
    assert_eq!(place.rows_when(1).len(), 1, "{}", agent.said());
    agent.stop();
    let named = place.number("SELECT count(*) FROM v_request WHERE server_name LIKE '%.invalid'");
    assert_eq!(named, 0);
}

#[test]
fn the_command_that_makes_the_call_needs_no_rights_and_says_when_it_fails() {
    let call = |library: &str| {
        let binary = Path::new(env!("CARGO_BIN_EXE_bpftok"));
        let mut command = Command::new(binary);
        command
            .args(["self-check", library])
            .stdin(std::process::Stdio::null());
        command.output().unwrap()
    };
    let output = call("/nonexistent/libssl.so.3");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("the library can't be loaded"), "{said}");
}
