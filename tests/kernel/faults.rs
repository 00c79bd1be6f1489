//! The agent dies; nobody else notices, and nothing counts twice.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use test_support::{Api, Endpoint};

use crate::agent::{LEDGER_LIMIT, Place};
use crate::clients::Stage;
use crate::compare::assert_same;
use crate::run::{Client, Kept, Who, poll, python};

/// Rounds of starting, killing and starting again.
const ROUNDS: usize = 5;

/// Calls of a client in one round.
const CALLS: usize = 60;

#[test]
fn killed_at_any_moment_it_leaves_the_ledger_whole_and_the_clients_alone() {
    let test = "killed";
    let endpoint = Endpoint::start().unwrap();
    let place = Place::of(&endpoint);
    let mut rng = fastrand::Rng::with_seed(20);
    let mut committed = BTreeSet::new();
    let mut whole = Vec::new();
    for round in 0..ROUNDS {
        let Some(agent) = place.run(test) else { return };
        let before = place.rows().len();
        let Some(mut command) = python("calls.py", &endpoint, test) else {
            return;
        };
        let calls = CALLS.to_string();
        command
            .args([
                "stdlib", "messages", "--stream", "--plan", "delay-2", "--calls", &calls,
            ])
            .args(["--model", &format!("killed-{round}")]);
        let Some(client) = Client::start(command, test) else {
            return;
        };
        let wanted = before + rng.usize(0..CALLS / 2);
        assert!(
            poll(LEDGER_LIMIT, || place.rows().len() >= wanted),
            "{}",
            agent.said()
        );
        let seen: Vec<_> = place.rows().into_iter().filter_map(|row| row.id).collect();
        agent.kill();

        // The client goes on, and gets all of its replies.
        let ended = client.succeed();
        assert_eq!(ended.stdout.lines().count(), CALLS);
        assert!(!ended.stdout.contains("error"), "{}", ended.stdout);
        assert_eq!(place.text("PRAGMA integrity_check"), "ok");
        committed.extend(seen);
        let rows: BTreeSet<_> = place.rows().into_iter().filter_map(|row| row.id).collect();
        assert!(rows.is_superset(&committed), "committed calls are gone");

        // After a restart everything is seen again, and nothing twice.
        let Some(agent) = place.run(test) else { return };
        let first = endpoint.served().len();
        let Some(mut command) = python("calls.py", &endpoint, test) else {
            return;
        };
        command.args(["stdlib", "chat", "--calls", "5"]);
        let Some(client) = Client::start(command, test) else {
            return;
        };
        let ended = client.succeed();
        let served = endpoint.served().split_off(first);
        let ids: BTreeSet<_> = served.iter().filter_map(|call| call.id.clone()).collect();
        let has_all = || {
            let rows: BTreeSet<_> = place.rows().into_iter().filter_map(|row| row.id).collect();
            rows.is_superset(&ids)
        };
        assert!(poll(LEDGER_LIMIT, has_all), "{}", agent.said());
        agent.stop();
        whole.push((served, ended.who));
    }
    let all = place.rows();
    for (served, who) in whole {
        let ids: BTreeSet<_> = served.iter().map(|call| call.id.clone()).collect();
        let rows: Vec<_> = all
            .iter()
            .filter(|row| ids.contains(&row.id))
            .cloned()
            .collect();
        assert_same(&served, &rows, |_| who.clone());
    }
    let rows = place.number("SELECT count(*) FROM v_request WHERE outcome = 'complete'");
    let ids = place.number(
        "SELECT count(DISTINCT provider_response_id) FROM v_request WHERE outcome = 'complete'",
    );
    assert_eq!(rows, ids, "a call counted twice");
}

/// An `openssl s_client` that stays until its standard input is closed.
struct Waiting(Kept);

impl Waiting {
    fn start(endpoint: &Endpoint) -> Option<Self> {
        let child = Command::new("openssl")
            .args(["s_client", "-quiet", "-servername", "localhost", "-connect"])
            .arg(endpoint.addr().to_string())
            .arg("-CAfile")
            .arg(endpoint.ca_path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        child.ok().map(|child| Self(Kept(child)))
    }

    /// Makes a call and reads its reply to the end.
    fn call(&mut self) {
        let body = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
        let path = Api::AnthropicMessages.path();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0
            .stdin
            .as_mut()
            .unwrap()
            .write_all(request.as_bytes())
            .unwrap();
        let stdout = self.0.stdout.as_mut().unwrap();
        let mut reply = Vec::new();
        let mut chunk = [0; 4_096];
        while !reply.ends_with(b"}}") {
            let length = stdout.read(&mut chunk).unwrap();
            assert!(length > 0, "the connection ended early");
            reply.extend(&chunk[..length]);
        }
    }

    /// Whether the kernel has mapped its page for return probes into the process.
    fn has_probe_page(&self) -> bool {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.0.id())).unwrap();
        maps.contains("[uprobes]")
    }
}

#[test]
fn killed_it_leaves_no_probe_behind() {
    let test = "no_probe_left";
    let endpoint = Endpoint::start().unwrap();
    let place = Place::of(&endpoint);
    let Some(agent) = place.run(test) else { return };
    let Some(mut observed) = Waiting::start(&endpoint) else {
        return;
    };
    observed.call();
    assert_eq!(place.rows_when(1).len(), 1, "{}", agent.said());
    let leaves_a_trace = observed.has_probe_page();
    agent.kill();

    // The observed program goes on, on the connection that was being watched.
    observed.call();
    assert!(observed.0.try_wait().unwrap().is_none());
    for list in [
        "/sys/kernel/tracing/uprobe_events",
        "/sys/kernel/debug/tracing/uprobe_events",
    ] {
        // One of the two is not mounted on most machines.
        if let Ok(events) = fs::read_to_string(list) {
            assert_eq!(events, "", "{list}");
        }
    }
    // A new process hits no probe: the kernel has nothing to map into it.
    let Some(mut fresh) = Waiting::start(&endpoint) else {
        return;
    };
    fresh.call();
    assert!(
        !(leaves_a_trace && fresh.has_probe_page()),
        "a probe was hit after the agent's death"
    );
}

#[test]
fn the_agent_does_not_observe_itself() {
    let Some(mut stage) = Stage::start("itself") else {
        return;
    };
    if stage.python("calls.py", "stdlib messages").is_none() {
        return;
    }
    let (_, rows) = stage.finish();
    assert_eq!(rows.len(), 1);
    assert!(rows.iter().all(|row| {
        row.exe
            .as_deref()
            .is_some_and(|exe| !exe.ends_with("bpftok"))
    }));
}

#[test]
fn an_open_connection_is_joined_at_its_next_request() {
    let test = "joins_late";
    let endpoint = Endpoint::start().unwrap();
    let Some(mut client) = Waiting::start(&endpoint) else {
        return;
    };
    client.call();
    let place = Place::of(&endpoint);
    let Some(agent) = place.run(test) else { return };
    client.call();
    client.call();
    let who = Who {
        pid: client.0.id(),
        exe: fs::read_link(format!("/proc/{}/exe", client.0.id()))
            .unwrap()
            .display()
            .to_string(),
    };
    place.rows_when(2);
    agent.stop();
    assert_same(&endpoint.served()[1..], &place.rows(), |_| who.clone());
}
