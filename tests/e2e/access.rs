//! Who can read the ledger: an unprivileged member of the group, at any time; nobody else.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::world::{BPFTOK, Home, Ran, is_root, ran, record, sqlite3, usage};

/// Stands for the group `bpftok`, which the host of a test need not have.
const READERS: u32 = 65_500;
const NOBODY: u32 = 65_534;

/// The process that writes: stores one call, says so, and ends when its input does.
#[test]
#[ignore = "not a test: the process that the other tests start, watch and kill"]
fn writer_process() {
    let Some(path) = std::env::var_os("BPFTOK_E2E_WRITER") else {
        return;
    };
    let mut writer = agent::store::Writer::open(
        Path::new(&path),
        crate::world::host(),
        agent::store::Keep::default(),
    )
    .unwrap();
    let number = std::env::var("BPFTOK_E2E_CALL").unwrap();
    writer
        .apply(&[usage(record(&number, "2026-11-01T15:00:00Z"))])
        .unwrap();
    println!("\nstored");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    writer.close().unwrap();
}

/// Starts the process above and waits until its call is stored.
fn start_writer(db: &Path, call: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "access::writer_process",
            "--ignored",
            "--nocapture",
        ])
        .env("BPFTOK_E2E_WRITER", db)
        .env("BPFTOK_E2E_CALL", call)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "stored"));
    child
}

/// A home whose ledger belongs to the readers, and a program that they can reach.
fn shared_home() -> Home {
    let home = Home::new();
    fs::create_dir(home.path("state")).unwrap();
    chown(home.path("state"), None, Some(READERS)).unwrap();
    // What is made in it gets its group, as it gets `bpftok` where that exists.
    fs::set_permissions(home.path("state"), fs::Permissions::from_mode(0o2750)).unwrap();
    fs::copy(BPFTOK, home.path("bpftok")).unwrap();
    home
}

/// Reads as an unprivileged user of a group: with our reader, and with the sqlite3 shell.
fn read_as(home: &Home, group: u32) -> [Ran; 2] {
    let query = "SELECT count(*), sum(output_tokens) FROM v_request";
    let mut ours = Command::new(home.path("bpftok"));
    ours.arg("--db")
        .arg(home.db())
        .args(["query", "-o", "csv", query]);
    let mut shell = sqlite3(&home.db(), query);
    [&mut ours, &mut shell].map(|command| ran(command.uid(NOBODY).gid(group).current_dir("/")))
}

#[track_caller]
fn assert_reads(home: &Home, calls: u32) {
    let [ours, shell] = read_as(home, READERS);
    assert_eq!(
        ours.text(),
        format!("count(*),sum(output_tokens)\n{calls},{}\n", calls * 50)
    );
    assert_eq!(shell.text(), format!("{calls}|{}\n", calls * 50));
}

#[test]
fn a_member_of_the_group_reads_while_the_agent_runs_after_it_was_killed_and_after_it_ended() {
    if !is_root() {
        return;
    }
    let home = shared_home();
    let mut killed = start_writer(&home.db(), "msg_1");
    assert_reads(&home, 1);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_reads(&home, 1);

    let mut ended = start_writer(&home.db(), "msg_2");
    assert_reads(&home, 2);
    drop(ended.stdin.take());
    assert!(ended.wait().unwrap().success());
    assert_reads(&home, 2);
}

#[test]
fn a_member_of_the_group_watches_the_running_agent_and_its_last_state_when_it_is_gone() {
    if !is_root() {
        return;
    }
    let home = shared_home();
    let mut agent = start_writer(&home.db(), "msg_1");
    let watch = || {
        let mut top = Command::new(home.path("bpftok"));
        top.arg("--db").arg(home.db()).args(["top", "-1", "--utc"]);
        ran(top.uid(NOBODY).gid(READERS).current_dir("/"))
    };
    // Its call is long over.
    let live = watch();
    assert_eq!((live.code, live.err.as_str()), (Some(5), ""));
    assert!(!live.out.contains("no agent runs"), "{}", live.out);
    agent.kill().unwrap();
    agent.wait().unwrap();
    let last = watch().text();
    assert!(
        last.starts_with("bpftok: no agent runs, last state of 2026-11-01 15:00:03 UTC"),
        "{last}"
    );
    assert!(last.contains("8f31c2aa"), "{last}");
}

#[test]
fn our_reader_reads_also_where_somebody_removed_the_log() {
    if !is_root() {
        return;
    }
    let home = shared_home();
    let mut writer = home.writer();
    writer
        .apply(&[usage(record("msg_1", "2026-11-01T15:00:00Z"))])
        .unwrap();
    writer.close().unwrap();
    fs::remove_file(home.path("state/usage.db-wal")).unwrap();
    fs::remove_file(home.path("state/usage.db-shm")).unwrap();
    let [ours, _] = read_as(&home, READERS);
    assert_eq!(ours.text(), "count(*),sum(output_tokens)\n1,50\n");
}

#[test]
fn nobody_else_reads_and_is_told_why() {
    if !is_root() {
        return;
    }
    let home = shared_home();
    home.writer().close().unwrap();
    let [ours, shell] = read_as(&home, NOBODY);
    assert_eq!((ours.code, ours.out.as_str()), (Some(77), ""));
    assert!(
        ours.err.contains("member of the group `bpftok`"),
        "{}",
        ours.err
    );
    assert_ne!(shell.code, Some(0));
}

#[test]
fn a_killed_writer_leaves_its_committed_calls_and_the_next_goes_on() {
    let home = Home::new();
    for number in 0..3 {
        let mut child = start_writer(&home.db(), &format!("msg_{number}"));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(
        home.sqlite3("SELECT count(*) FROM request; PRAGMA integrity_check")
            .text(),
        "3\nok\n"
    );
}
