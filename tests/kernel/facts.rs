//! What is known of a process beside its program, and that it is what held when a call began.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use agent::process::{Facts, Reader};
use agent_core::event::{Checkout, Event, Marker, Process};
use agent_core::recording::{self, Frame};
use test_support::{Api, Endpoint, Plan};

use crate::agent::{LEDGER_LIMIT, Place};
use crate::run::{Client, Steered, curl, poll, python};

/// Longer than facts are believed while a process makes calls.
const LONG_ENOUGH: Duration = Duration::from_millis(2_200);

fn on_branch(root: &Path, branch: &str) -> Option<Checkout> {
    Some(Checkout {
        root: root.display().to_string(),
        repo: "app".to_owned(),
        branch: Some(branch.to_owned()),
    })
}

#[test]
fn a_call_has_the_branch_that_was_checked_out_when_it_began() {
    let test = "branch";
    let endpoint = Endpoint::start().unwrap();
    let place = Place::of(&endpoint);
    fs::create_dir_all(place.file("app/.git")).unwrap();
    let root = place.file("app").canonicalize().unwrap();
    let check_out = |branch: &str| {
        let head = format!("ref: refs/heads/{branch}\n");
        fs::write(root.join(".git/HEAD"), head).unwrap();
    };
    check_out("main");
    let Some(mut command) = python("stays.py", &endpoint, test) else {
        return;
    };
    command
        .current_dir(&root)
        .env("OPENAI_API_KEY", "sk-canary")
        .env(Marker::VARIABLE, "nightly,team=infra");
    let file = place.file("recording");
    let Some(agent) = place.record(test, &file) else {
        return;
    };
    let mut client = Steered::start(&mut command);
    let pid = client.child.id();
    client.ask();
    let began = Instant::now();
    check_out("next");
    assert!(poll(LEDGER_LIMIT, || {
        client.ask();
        began.elapsed() > LONG_ENOUGH
    }));
    agent.stop();
    drop(client);
    assert!(poll(LEDGER_LIMIT, || file.exists()));
    let bytes = fs::read(&file).unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("sk-canary"));

    // Facts, and when the first bytes behind them were seen.
    let mut facts: Vec<(Process, Option<u64>)> = Vec::new();
    for frame in recording::read(&bytes).unwrap() {
        match frame {
            Frame::Process(process) if process.id.pid == pid => {
                facts.push((Process::clone(&process), None));
            }
            Frame::Record(_) => {
                if let Ok(Event::Chunk { at, conn, .. }) = frame.event()
                    && conn.pid == pid
                    && let Some((_, first @ None)) = facts.last_mut()
                {
                    *first = Some(at.as_nanos());
                }
            }
            Frame::Process(_) | Frame::Clock { .. } | Frame::Lost { .. } => {}
        }
    }
    let [(first, _), (second, since)] = facts.as_slice() else {
        panic!("{facts:?}");
    };
    assert_eq!(first.marker, Marker::parse("nightly,team=infra"));
    assert_eq!(first.checkout, on_branch(&root, "main"));
    let expected = Process {
        checkout: on_branch(&root, "next"),
        holds_from_ns: since.unwrap(),
        ..first.clone()
    };
    assert_eq!(*second, expected);
}

#[test]
fn a_client_whose_script_ended_before_its_first_call_still_descends_from_it() {
    let test = "orphan";
    let endpoint = Endpoint::start().unwrap();
    let place = Place::of(&endpoint);
    let Some(agent) = place.run(test) else { return };
    let Some(client) = python("stays.py", &endpoint, test) else {
        return;
    };
    let mut script = Command::new("sh");
    script
        .args(["-c", r#"exec 3<&0; "$@" <&3 & echo $!; wait"#, "sh"])
        .arg(client.get_program())
        .args(client.get_args())
        .env("BPFTOK_ENDPOINT", endpoint.url())
        .env("SSL_CERT_FILE", endpoint.ca_path());
    let mut script = Steered::start(&mut script);
    let pid: u32 = script.answer().parse().unwrap();
    assert!(poll(LEDGER_LIMIT, || {
        let program = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        String::from_utf8_lossy(&program).contains("stays.py\0") && !program.starts_with(b"sh\0")
    }));
    // What the kernel told before a later call is known to the agent with that call.
    let body = r#"{"model":"later","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
    let path = Api::AnthropicMessages.path();
    let Some(later) = Client::start(curl(&endpoint, &Plan::default(), path, body), test) else {
        return;
    };
    later.succeed();
    place.rows_when(1);
    script.child.kill().unwrap();
    script.child.wait().unwrap();
    script.ask();
    place.rows_when(2);
    agent.stop();
    let ancestors = place.text(&format!(
        "SELECT ancestors_json FROM process WHERE pid = {pid}"
    ));
    let ancestors: serde_json::Value = serde_json::from_str(&ancestors).unwrap();
    let pids = |at: usize| ancestors[at]["pid"].as_u64();
    assert_eq!(pids(0), Some(script.child.id().into()), "{ancestors}");
    assert_eq!(ancestors[0]["comm"], "sh");
    assert_eq!(pids(1), Some(std::process::id().into()), "{ancestors}");
}

#[test]
fn a_process_in_a_namespace_of_its_own_has_the_hosts_pid_and_parents() {
    let mut command = Command::new("unshare");
    command.args([
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        "echo $$; read line",
    ]);
    let mut outer = Steered::start(&mut command);
    assert_eq!(outer.answer(), "1", "its id inside");
    let parent = outer.child.id();
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    let pid = children.trim().parse().unwrap();
    let process = Reader::new(Facts::default()).read(pid, None).unwrap();
    let above: Vec<u32> = process
        .ancestors
        .iter()
        .map(|ancestor| ancestor.id.pid)
        .collect();
    assert_eq!((process.id.pid, process.comm.as_str()), (pid, "sh"));
    assert_eq!(
        above.get(..2),
        Some([parent, std::process::id()].as_slice())
    );
}

#[test]
fn a_program_with_the_rights_of_another_user_belongs_to_who_started_it() {
    let mut command = Command::new("setpriv");
    command.args(["--ruid", "65534", "sh", "-c", "echo; read line"]);
    let mut program = Steered::start(&mut command);
    program.answer();
    let process = Reader::new(Facts::default())
        .read(program.child.id(), None)
        .unwrap();
    assert_eq!(
        (process.uid, process.user_name.as_deref()),
        (65_534, Some("nobody"))
    );
}

#[test]
fn in_a_root_of_its_own_a_process_has_the_checkout_that_it_sees() {
    let top = tempfile::tempdir().unwrap();
    let host = top.path().canonicalize().unwrap();
    // The same path leads elsewhere outside.
    let tree = host.join("tree");
    let inside = host.join("inside");
    for (dir, branch) in [(&tree, "outside"), (&inside, "inside")] {
        let git = dir.join("app/.git/worktrees/w");
        fs::create_dir_all(&git).unwrap();
        fs::create_dir_all(dir.join("w")).unwrap();
        fs::write(git.join("HEAD"), format!("ref: refs/heads/{branch}\n")).unwrap();
        fs::write(git.join("commondir"), "../..\n").unwrap();
        let link = format!("gitdir: {}/app/.git/worktrees/w\n", tree.display());
        fs::write(dir.join("w/.git"), link).unwrap();
    }
    let mount = format!(
        "mount --bind {} {} && cd {}/w && echo && read line",
        inside.display(),
        tree.display(),
        tree.display()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &mount]);
    let mut program = Steered::start(&mut command);
    program.answer();
    let process = Reader::new(Facts::default())
        .read(program.child.id(), None)
        .unwrap();
    assert_eq!(process.checkout, on_branch(&tree.join("w"), "inside"));
}
