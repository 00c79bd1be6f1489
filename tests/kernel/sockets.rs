//! Which socket a connection uses, whom it asks for, and TLS that nobody reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use agent_core::event::{ConnId, Event, Timestamp};
use agent_core::recording::{self, Frame};
use agent_core::socket::{Binding, Finding, Limits, Sockets};
use agent_core::stats::Stats;
use serde_json::Value;
use test_support::proxy::Transport;
use test_support::stranger::Stranger;
use test_support::{Endpoint, Plan};

use crate::agent::{LEDGER_LIMIT, Place, skip};
use crate::probe::{End, recording};
use crate::run::{Client, curl, node, poll, python};

/// How far the kernels of the matrix let sockets be followed (`docs/kernels.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Support {
    None,
    Connects,
    Traffic,
}

fn support() -> Support {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || -> u32 { parts.next().unwrap().parse().unwrap() };
    match (number(), number()) {
        version if version >= (6, 3) => Support::Traffic,
        version if version >= (5, 15) => Support::Connects,
        _ => Support::None,
    }
}

/// What the stage of the core makes of a recording.
struct Found {
    findings: Vec<Finding>,
    /// Connections, oldest first within one process and object.
    connections: BTreeSet<ConnId>,
    /// Connections that carried something.
    used: BTreeSet<ConnId>,
}

impl Found {
    fn read(bytes: &[u8]) -> Self {
        let mut sockets = Sockets::new(Limits::default());
        let (mut stats, mut findings) = (Stats::default(), Vec::new());
        let (mut connections, mut used) = (BTreeSet::new(), BTreeSet::new());
        let mut now = Timestamp::default();
        for frame in recording::read(bytes).unwrap() {
            if let Frame::Process(_) = frame {
                continue;
            }
            let event = frame.event().expect("a record of the kernel programs");
            if let Event::Opened { conn, .. } | Event::Chunk { conn, .. } = event {
                connections.insert(conn);
            }
            if let Event::Chunk { conn, .. } = event {
                used.insert(conn);
            }
            now = now.max(event.at().unwrap_or_default());
            sockets.expire(now, &mut stats, &mut findings);
            sockets.handle(&event, &mut stats, &mut findings);
        }
        let end = now + Duration::from_secs(60);
        sockets.finish(end, &mut stats, &mut findings);
        Self {
            findings,
            connections,
            used,
        }
    }

    fn peers(&self) -> BTreeMap<ConnId, (SocketAddr, Binding)> {
        let mut peers = BTreeMap::new();
        for finding in &self.findings {
            if let Finding::Peer {
                conn,
                peer,
                binding,
            } = finding
            {
                let earlier = peers.insert(*conn, (*peer, *binding));
                assert_eq!(earlier, None, "{conn:?} has two peers");
            }
        }
        peers
    }

    fn names(&self, pid: u32) -> BTreeSet<&str> {
        let names = self.findings.iter().filter_map(|finding| match finding {
            Finding::Named { conn, name, .. } if conn.pid == pid => Some(name.as_str()),
            Finding::Named { .. }
            | Finding::Peer { .. }
            | Finding::Ended { .. }
            | Finding::Unprobed { .. }
            | Finding::UnprobedBytes { .. } => None,
        });
        names.collect()
    }
}

/// Records runs of the C peer and asserts that each client's connection has the peer that it has,
/// and no other connection has one. Where the kernel skipped runs of its programs (7.0 and later,
/// when they are preempted), as many connections may have none: never a wrong one.
fn assert_bound(test: &str, runs: &[&[&str]]) {
    let Some(recording) = recording(test, "", runs) else {
        return;
    };
    let found = Found::read(&recording.bytes);
    let peers = found.peers();
    let mut unbound = 0;
    for (run, ends) in runs.iter().zip(&recording.ends) {
        let binding = match support() {
            Support::Traffic => Some(Binding::Thread),
            // TLS in memory has no descriptor.
            Support::Connects if run.contains(&"--memory") => None,
            Support::Connects => Some(Binding::Descriptor),
            Support::None => None,
        };
        let mut used: BTreeMap<(u32, u64), usize> = BTreeMap::new();
        for end in ends {
            let place = used.entry((end.pid, end.ssl)).or_default();
            let conn = connection(&found, end, *place);
            *place += 1;
            let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), end.port);
            let expected = binding
                .filter(|_| end.role == "client")
                .map(|binding| (peer, binding));
            match (peers.get(&conn), &expected) {
                (None, Some(_)) => unbound += 1,
                (bound, expected) => assert_eq!(bound, expected.as_ref(), "{run:?} {end:?}"),
            }
        }
    }
    let skipped = recording.skipped_runs;
    assert!(
        unbound <= skipped,
        "{unbound} are unbound, {skipped} runs were skipped"
    );
}

/// The connection of an end: an object that served several has them in the order in which the peer
/// printed them.
fn connection(found: &Found, end: &End, place: usize) -> ConnId {
    let mut of_object = found
        .connections
        .iter()
        .filter(|conn| conn.pid == end.pid && conn.ssl == end.ssl);
    *of_object
        .nth(place)
        .unwrap_or_else(|| panic!("connection {place} of {end:?} was not seen"))
}

#[test]
fn probe_binds_each_connection_to_its_socket() {
    assert_bound(
        "probe_sockets",
        &[
            &["transfer", "--tcp", "--threads", "8", "--count", "3"],
            &["transfer", "--tcp", "--memory", "--threads", "8"],
            &["transfer", "--tcp", "--memory", "--size", "100000"],
            &["parallel", "--tcp", "--threads", "5", "--count", "3"],
            &[
                "parallel",
                "--tcp",
                "--memory",
                "--threads",
                "5",
                "--count",
                "3",
            ],
            &["retry", "--tcp", "--size", "400000"],
            &["fork", "--tcp"],
        ],
    );
}

#[test]
fn probe_follows_objects_and_descriptors_that_are_used_again() {
    let mut runs: Vec<&[&str]> = vec![
        &["reuse", "--tcp", "--rounds", "20"],
        &["reuse", "--tcp", "--memory", "--rounds", "20"],
        &["clear", "--tcp", "--rounds", "4"],
    ];
    // Nothing but its socket tells that the object starts anew.
    if support() == Support::Traffic {
        runs.push(&["clear", "--tcp", "--memory", "--sni", "", "--rounds", "4"]);
    }
    assert_bound("probe_sockets_reuse", &runs);
}

#[test]
fn probe_gives_the_socket_to_the_outer_of_two_connections() {
    assert_bound(
        "probe_sockets_nested",
        &[&["nested", "--tcp", "--count", "3"]],
    );
}

/// Runs clients under a recorder and gives what was found, with the process of each client. What
/// `carrier` executes is hooked before.
fn recorded(
    test: &str,
    endpoint: &Endpoint,
    carrier: Command,
    commands: Vec<Command>,
) -> Option<(Found, Vec<u32>)> {
    let place = Place::of(endpoint);
    let file = place.file("recording");
    let agent = place.record(test, &file)?;
    agent.wait_for_hook(&Client::start(carrier, test)?.succeed().who.exe);
    let mut pids = Vec::new();
    for command in commands {
        pids.push(Client::start(command, test)?.succeed().who.pid);
    }
    agent.stop();
    Some((Found::read(&fs::read(&file).unwrap()), pids))
}

const BODY: &str = r#"{"model":"m","messages":[{"role":"user","content":"How many?"}]}"#;

#[test]
fn clients_are_bound_to_the_endpoint_and_named_by_their_handshake() {
    let test = "sockets_clients";
    if support() != Support::Traffic {
        return skip(test, "this kernel does not show sends");
    }
    let endpoint = Endpoint::start().unwrap();
    let plan: Plan = "gzip".parse().unwrap();
    let with = |command: Option<Command>, arguments: &str| {
        let mut command = command?;
        command.args(arguments.split_whitespace());
        Some(command)
    };
    let python = |arguments| with(python("calls.py", &endpoint, test), arguments);
    let commands: Option<Vec<_>> = [
        Some(curl(&endpoint, &plan, "/v1/chat/completions", BODY)),
        python("openai chat --stream --model m"),
        python("anthropic-async messages --stream --connections 3 --calls 2 --model m"),
        with(node(&endpoint, test), "openai chat --stream --model m"),
    ]
    .into_iter()
    .collect();
    // Node carries its TLS itself.
    let mut version = Command::new("node");
    version.arg("--version");
    let Some((found, pids)) =
        commands.and_then(|commands| recorded(test, &endpoint, version, commands))
    else {
        return;
    };
    let peers = found.peers();
    let expected = (endpoint.addr(), Binding::Thread);
    for (at, pid) in pids.iter().enumerate() {
        let used: Vec<_> = found.used.iter().filter(|conn| conn.pid == *pid).collect();
        assert!(!used.is_empty(), "nothing of client {at} was seen");
        for conn in used {
            assert_eq!(peers.get(conn), Some(&expected), "client {at}");
        }
        // Each of them sets the name itself; it is taken from the handshake where that was missed.
        assert!(found.names(*pid).is_subset(&BTreeSet::from(["localhost"])));
    }
}

/// Connections of a process in the ledger whose plaintext was not seen.
fn unprobed(place: &Place, pid: u32) -> i64 {
    place.number(&format!(
        "SELECT ifnull(sum(events), 0) FROM v_coverage WHERE outcome = 'unprobed' AND pid = {pid}"
    ))
}

/// How soon a connection that nobody reads must be in the ledger.
const GAP_LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_client_with_a_tls_library_of_its_own_is_a_gap_and_not_zero_usage() {
    let test = "sockets_stranger";
    if support() != Support::Traffic {
        return skip(test, "this kernel does not show sends");
    }
    let endpoint = Endpoint::start().unwrap();
    let place = Place::of(&endpoint);
    let Some(agent) = place.run(test) else { return };
    let connect = |host| Stranger::connect(endpoint.addr(), host, &endpoint.ca_path()).unwrap();
    let path = "/v1/chat/completions";
    // This process is the client. Other hosts are nobody's business.
    for host in ["localhost", "api.github.com"] {
        let reply = connect(host).post(path, BODY).unwrap();
        assert!(reply.starts_with(b"HTTP/1.1 200"));
    }
    connect("api.openai.com").post(path, BODY).unwrap();
    let pid = std::process::id();
    assert!(
        poll(GAP_LIMIT, || place.db().exists()
            && unprobed(&place, pid) > 0),
        "no gap is told"
    );
    let said = |arguments| {
        let output = place.on_ledger(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let report = said(["report", "-o", "table"]);
    // The agent says what it does every few seconds.
    let this_process = |document: &str| {
        let document: Value = serde_json::from_str(document).unwrap_or_default();
        let callers = [&document["agent"]["callers"], &document["callers"]];
        let mut callers = callers.into_iter().filter_map(Value::as_array).flatten();
        callers.find(|caller| caller["pid"] == pid).cloned()
    };
    let is_listed = || this_process(&said(["status", "-o", "json"])).is_some();
    assert!(poll(LEDGER_LIMIT, is_listed), "status does not list it");
    for document in [["status", "-o", "json"], ["doctor", "--json", "-q"]] {
        let caller = this_process(&said(document)).unwrap();
        assert_eq!(caller["hosts"][0]["name"], "api.openai.com", "{caller}");
        assert_eq!(caller["hosts"][0]["unprobed_connections"], 1, "{caller}");
        assert_eq!(caller["hosts"][0]["calls"], 0, "{caller}");
        assert!(
            caller["why"].is_string() || caller["tls"][0]["refusal"].is_string(),
            "{caller}"
        );
    }
    agent.stop();
    assert_eq!(unprobed(&place, pid), 1);
    assert_eq!(place.rows(), []);
    let exe = std::env::current_exe().unwrap();
    let told = place.text("SELECT exe_path FROM v_coverage WHERE outcome = 'unprobed'");
    assert_eq!(told, exe.display().to_string());
    assert!(report.contains("not decoded"), "{report}");
    let bytes = place.number("SELECT sum(bytes) FROM v_coverage WHERE outcome = 'unprobed'");
    assert!(bytes > 1_000, "{bytes} bytes were carried");
}

#[test]
fn tls_through_a_proxy_is_read_and_no_gap() {
    let test = "sockets_proxy";
    if support() != Support::Traffic {
        return skip(test, "this kernel does not show sends");
    }
    let endpoint = Endpoint::start().unwrap();
    let place = Place::of(&endpoint);
    let Some(agent) = place.run(test) else { return };
    let mut pids = Vec::new();
    for transport in [Transport::Plain, Transport::Tls] {
        let proxy = endpoint.start_proxy(transport).unwrap();
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--max-time", "60"])
            .args(["--proxy", &proxy.url(), "--proxy-cacert"])
            .arg(endpoint.ca_path())
            .args(["--header", "content-type: application/json"])
            .args(["--data-binary", BODY])
            .arg("https://api.openai.com/v1/chat/completions")
            .env("CURL_CA_BUNDLE", endpoint.ca_path());
        let Some(client) = Client::start(command, test) else {
            return;
        };
        pids.push(client.succeed().who.pid);
    }
    let rows = place.rows_when(2);
    agent.stop();
    let of_whom: Vec<_> = rows
        .iter()
        .map(|row| (row.pid, row.provider.as_str(), row.server_name.as_deref()))
        .collect();
    let expected: Vec<_> = pids
        .iter()
        .map(|pid| (Some(*pid), "openai", Some("api.openai.com")))
        .collect();
    assert_eq!(of_whom, expected);
    for pid in pids {
        assert_eq!(unprobed(&place, pid), 0);
    }
}
