//! `bpftok config`, and which configuration is refused (RELIABILITY B6).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::world::{BPFTOK, Home, Ran, ran};

fn check(file: &Path) -> Ran {
    ran(Command::new(BPFTOK).args(["config", "check"]).arg(file))
}

fn written(home: &Home, text: &str) -> std::path::PathBuf {
    let path = home.path("config.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    path
}

#[test]
fn the_default_configuration_is_right() {
    let home = Home::new();
    let text = ran(Command::new(BPFTOK).args(["config", "default"])).text();
    let path = written(&home, &text);
    assert_eq!(
        check(&path).text(),
        format!("{} is right\n", path.display())
    );
}

#[test]
fn all_mistakes_are_told_at_once() {
    let home = Home::new();
    let path = written(
        &home,
        "[capture]\nring_bytes = 5\nrign = 1\n[session]\nidle_minutes = \"x\"\n[sesion]\n",
    );
    let told = check(&path);
    assert_eq!((told.code, told.out.as_str()), (Some(78), ""));
    assert_eq!(
        told.err,
        format!(
            "bpftok: the configuration {} has 4 mistakes:\n\
             \x20 capture.ring_bytes: 5 is no power of two from 65536 to 268435456\n\
             \x20 capture.rign: unknown key; [capture] has ring_bytes, scan_interval_ms, sockets, self_check_interval_ms, ignore\n\
             \x20 session.idle_minutes: is a string, must be an integer\n\
             \x20 sesion: unknown section; there are daemon, capture, session, privacy, retention, prices, metrics, otlp, runaway, spike, rules, provider, price, workflow, budget, notify\n",
            path.display()
        )
    );
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    let home = Home::new();
    let told = check(&written(&home, "[daemon]\ndb = \n"));
    assert_eq!(told.code, Some(78));
    assert!(
        told.err.contains("is no TOML") && told.err.contains("line 2"),
        "{}",
        told.err
    );
}

#[test]
fn show_says_where_each_value_comes_from() {
    let home = Home::new();
    let path = written(
        &home,
        "session.idle_minutes = 5\ndaemon.db = \"/nowhere/usage.db\"\n",
    );
    let text = ran(Command::new(BPFTOK)
        .args(["config", "show", "--db", "/tmp/x.db", "--config"])
        .arg(&path))
    .text();
    let line = |key: &str| {
        text.lines()
            .find(|line| line.starts_with(key))
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(line("db"), "db = \"/tmp/x.db\" # --db");
    assert_eq!(
        line("idle_minutes"),
        format!("idle_minutes = 5 # {}", path.display())
    );
    assert_eq!(line("ring_bytes"), "ring_bytes = 16777216 # default");
}

#[test]
fn a_configuration_that_others_could_have_written_is_refused_by_every_command() {
    let home = Home::new();
    let path = written(&home, "");
    for mode in [0o666, 0o664, 0o646] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let told = ran(Command::new(BPFTOK).args(["report", "--config"]).arg(&path));
        assert_eq!(
            (told.code, told.err),
            (
                Some(78),
                format!(
                    "bpftok: the configuration {} is refused: others may write to it; chmod go-w\n",
                    path.display()
                )
            )
        );
    }
}

#[test]
fn a_fifo_a_directory_and_a_huge_file_are_refused_at_once() {
    let home = Home::new();
    let fifo = home.path("fifo");
    assert!(
        Command::new("mkfifo")
            .args(["-m", "644"])
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    assert!(check(&fifo).err.contains("no regular file"));
    assert_eq!(check(&home.path("")).code, Some(78));
    let huge = written(&home, &"#\n".repeat(600_000));
    assert!(check(&huge).err.contains("larger than 1 MiB"));
}

#[test]
fn a_named_configuration_must_exist_and_the_default_one_need_not() {
    let home = Home::new();
    let told = check(&home.path("none.toml"));
    assert_eq!(told.code, Some(78));
    assert!(told.err.contains("bpftok config default"), "{}", told.err);
    // The default path holds nothing on a machine of tests.
    if !Path::new("/etc/bpftok/config.toml").exists() {
        assert_eq!(
            ran(Command::new(BPFTOK).args(["config", "check"])).code,
            Some(0)
        );
    }
}
