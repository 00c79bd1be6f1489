//! Whose call it was, however the process was born and however short it lived.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use test_support::{Api, Endpoint, Plan};

use crate::agent::{LEDGER_LIMIT, Place, skip};
use crate::clients::Stage;
use crate::compare::assert_same;
use crate::run::{Client, Who, curl, poll, python};

/// The pid that made each call, by the id that the client itself printed.
fn pids(stdout: &str) -> BTreeMap<String, u32> {
    stdout
        .lines()
        .map(|line| {
            let call: serde_json::Value = serde_json::from_str(line).unwrap();
            let pid = u32::try_from(call["pid"].as_u64().unwrap()).unwrap();
            (call["id"].as_str().unwrap().to_owned(), pid)
        })
        .collect()
}

#[test]
fn two_hundred_connections_of_twenty_processes_are_all_found_and_all_right() {
    let test = "two_thousand_calls";
    let endpoint = Endpoint::start().unwrap();
    let place = Place::of(&endpoint);
    let Some(agent) = place.run(test) else { return };
    let plans = [
        "random",
        "gzip.chunked-9.random",
        "chunked.split-50",
        "deflate.random",
    ];
    let mut clients = Vec::new();
    for number in 0..20_usize {
        let Some(mut command) = python("calls.py", &endpoint, test) else {
            return;
        };
        let api = ["messages", "chat", "responses"][number % 3];
        command
            .args([
                "stdlib",
                api,
                "--connections",
                "10",
                "--calls",
                "10",
                "--include-usage",
            ])
            .args([
                "--plan",
                plans[number % plans.len()],
                "--model",
                &format!("model-{number}"),
            ]);
        if number % 2 == 0 {
            command.arg("--stream");
        }
        let Some(client) = Client::start(command, test) else {
            return;
        };
        clients.push(client);
    }
    let mut who: BTreeMap<String, Who> = BTreeMap::new();
    for client in clients {
        let ended = client.succeed();
        for (id, pid) in pids(&ended.stdout) {
            assert_eq!(pid, ended.who.pid);
            who.insert(id, ended.who.clone());
        }
    }
    let served = endpoint.served();
    assert_eq!(served.len(), 2_000);
    let ports: BTreeSet<_> = served.iter().map(|call| call.client_port).collect();
    assert_eq!(ports.len(), 200);
    place.rows_when(served.len());
    agent.stop();
    assert_same(&served, &place.rows(), |call| {
        who[call.id.as_ref().unwrap()].clone()
    });
}

/// Runs `family.py MODE` and compares the process of each call.
fn family(test: &'static str, calls: usize) {
    let Some(stage) = Stage::start(test) else {
        return;
    };
    let Some(mut command) = python("family.py", &stage.endpoint, test) else {
        return;
    };
    command.arg(test);
    let Some(client) = Client::start(command, test) else {
        return;
    };
    let ended = client.succeed();
    let pids = pids(&ended.stdout);
    assert_eq!(pids.len(), calls);
    let served = stage.endpoint.served();
    let rows = stage.place.rows_when(calls);
    assert_same(&served, &rows, |call| Who {
        pid: pids[call.id.as_ref().unwrap()],
        exe: ended.who.exe.clone(),
    });
}

#[test]
fn a_child_that_does_not_exec_is_told_from_its_parent() {
    family("fork", 2);
}

#[test]
fn a_grandchild_is_told_from_its_parents() {
    family("tree", 3);
}

#[test]
fn a_process_that_replaces_its_program_keeps_its_pid() {
    family("exec", 2);
}

#[test]
fn a_process_of_a_few_milliseconds_is_named() {
    let test = "short_lived";
    let Some(mut stage) = Stage::start(test) else {
        return;
    };
    let body = r#"{"model":"short","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
    for _ in 0..50 {
        let plan = Plan::default();
        let path = Api::AnthropicMessages.path();
        if stage
            .run(curl(&stage.endpoint, &plan, path, body))
            .is_none()
        {
            return;
        }
    }
    stage.finish();
}

/// The agent stands still while the process lives, so that it can't look at it. Where the kernel does
/// not tell of execs the executable stays unknown.
#[test]
fn a_process_that_is_gone_before_it_is_looked_at_has_its_executable() {
    let test = "gone";
    let Some(mut stage) = Stage::start(test) else {
        return;
    };
    let body = r#"{"model":"gone","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
    let path = Api::AnthropicMessages.path();
    // Its library is hooked from here on.
    if stage
        .run(curl(&stage.endpoint, &Plan::default(), path, body))
        .is_none()
    {
        return;
    }
    stage.place.rows_when(1);
    if stage.place.status()["degraded"]
        .to_string()
        .contains("mapped files")
    {
        skip(test, "the kernel does not tell of mappings");
        return;
    }
    for shell in [false, true, false, true] {
        let mut command = curl(&stage.endpoint, &Plan::default(), path, body);
        if shell {
            // Two execs of one process, both of which are over.
            let mut sh = Command::new("sh");
            sh.args(["-c", r#"exec "$@""#, "sh"])
                .arg(command.get_program())
                .args(command.get_args())
                .env("CURL_CA_BUNDLE", stage.endpoint.ca_path());
            command = sh;
        }
        let Some(ended) = stage.run_unseen(command) else {
            return;
        };
        assert!(
            poll(LEDGER_LIMIT, || {
                let rows = stage.place.rows();
                rows.iter().any(|row| row.pid == Some(ended.who.pid))
            }),
            "no row"
        );
        let rows = stage.place.rows();
        let row = rows.iter().find(|row| row.pid == Some(ended.who.pid));
        let exe = row.and_then(|row| row.exe.as_deref()).unwrap_or_default();
        assert!(exe.ends_with("/curl"), "{exe:?}, by a shell: {shell}");
        let start = format!(
            "SELECT max(start_time_ticks) FROM process WHERE pid = {}",
            ended.who.pid
        );
        assert_eq!(
            stage.place.number(&start),
            0,
            "it was looked at: nothing was tested"
        );
    }
}

/// Names the last process id that was given out, so that the next process gets the one after it.
/// Needs a kernel with checkpoint and restore.
const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

/// Tries to get a process id again; other processes of the machine start too.
const REUSE_TRIES: usize = 50;

#[test]
fn two_programs_that_had_the_same_pid_are_told_apart() {
    let test = "pid_reuse";
    let Some(mut stage) = Stage::start(test) else {
        return;
    };
    let path = Api::AnthropicMessages.path();
    let body = r#"{"model":"first","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
    let Some(first) = stage.run(curl(&stage.endpoint, &Plan::default(), path, body)) else {
        return;
    };
    let mut was_reused = false;
    for _ in 0..REUSE_TRIES {
        if fs::write(LAST_PID, (first.who.pid - 1).to_string()).is_err() {
            skip(test, "this kernel does not let a pid be chosen");
            return;
        }
        let Some(second) = stage.python("calls.py", "stdlib messages --model second") else {
            return;
        };
        if second.who.pid == first.who.pid {
            was_reused = true;
            break;
        }
    }
    if !was_reused {
        skip(test, "the pid was not given out again");
        return;
    }
    stage.place.rows_when(stage.endpoint.served().len());
    let processes = stage
        .place
        .number("SELECT count(DISTINCT process_id) FROM v_request");
    let (_, rows) = stage.finish();
    assert_eq!(
        usize::try_from(processes).unwrap(),
        rows.len(),
        "each call has the process that made it"
    );
}

#[test]
fn threads_of_one_process_share_its_name_and_its_end() {
    let Some(mut stage) = Stage::start("threads") else {
        return;
    };
    let arguments = "stdlib messages --connections 16 --calls 4 --stream";
    let Some(client) = stage.python("calls.py", arguments) else {
        return;
    };
    // Its threads end together, and the kernel lists them in any order.
    let is_over = || {
        let sql = format!(
            "SELECT count(*) FROM process WHERE pid = {} AND exited_ms IS NOT NULL",
            client.who.pid
        );
        stage.place.number(&sql) == 1
    };
    assert!(poll(LEDGER_LIMIT, is_over), "its end is not in the ledger");
    stage.finish();
}

#[test]
fn a_program_that_a_shell_execs_is_named_by_its_last_program() {
    let test = "shell_exec";
    let Some(mut stage) = Stage::start(test) else {
        return;
    };
    let body = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
    let curl = curl(
        &stage.endpoint,
        &Plan::default(),
        Api::AnthropicMessages.path(),
        body,
    );
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"sleep 0.2; exec "$@""#, "sh"])
        .arg(curl.get_program());
    command.args(curl.get_args());
    command.env("CURL_CA_BUNDLE", stage.endpoint.ca_path());
    let Some(ended) = stage.run(command) else {
        return;
    };
    let rows = stage.place.rows_when(1);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].pid, Some(ended.who.pid));
    let exe = rows[0].exe.as_deref().unwrap_or_default();
    assert!(exe.ends_with("/curl"), "{exe}");
}
