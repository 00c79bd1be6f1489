//! Why a watch does not begin: one sentence that names the remedy, and an exit code of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::world::{BPFTOK, Home, Ran, is_root, ran};

const NOBODY: u32 = 65_534;

/// Whether `run` gets as far as the kernel programs and stops there: this build has none.
fn stops_at_the_programs() -> bool {
    option_env!("AYA_BUILD_SKIP").is_some() && agent::privilege::check().is_ok()
}

/// Runs a copy that everybody can reach as an unprivileged user, in a directory that is theirs.
fn as_nobody(home: &Home, arguments: &[&str]) -> Ran {
    let binary = home.path("bpftok");
    if !binary.exists() {
        fs::copy(BPFTOK, &binary).unwrap();
        fs::create_dir(home.path("theirs")).unwrap();
        fs::set_permissions(home.path("theirs"), fs::Permissions::from_mode(0o777)).unwrap();
    }
    ran(Command::new(binary)
        .args(arguments)
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir(home.path("theirs")))
}

#[test]
fn without_rights_it_names_them_and_the_remedy_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    for arguments in [&["run", "--db", "usage.db"][..], &["record", "calls.rec"]] {
        let refused = as_nobody(&home, arguments);
        let expected = Ran {
            code: Some(77),
            out: String::new(),
            err: "bpftok: watching needs CAP_BPF and CAP_PERFMON: run as root, for example with sudo\n"
                .to_owned(),
        };
        assert_eq!(refused, expected, "{arguments:?}");
    }
    assert_eq!(fs::read_dir(home.path("theirs")).unwrap().count(), 0);
}

#[test]
fn without_kernel_programs_it_says_how_to_build_them() {
    if !stops_at_the_programs() {
        return;
    }
    let home = Home::new();
    let refused = home.run(["run", "--quiet"]);
    let expected = Ran {
        code: Some(69),
        out: String::new(),
        err: "bpftok: this binary was built without its kernel programs (AYA_BUILD_SKIP): \
              build it again without that variable\n"
            .to_owned(),
    };
    assert_eq!(refused, expected);
}

#[test]
fn a_second_agent_on_a_ledger_is_refused_and_told_of_the_first() {
    if !stops_at_the_programs() {
        return;
    }
    let home = Home::new();
    let first = home.writer();
    let refused = home.run(["run", "--quiet"]);
    first.close().unwrap();
    let expected = Ran {
        code: Some(1),
        out: String::new(),
        err: format!(
            "bpftok: {} is written by another agent (pid {}); stop it, or name another file with --db\n",
            home.db().display(),
            std::process::id()
        ),
    };
    assert_eq!(refused, expected);
}
