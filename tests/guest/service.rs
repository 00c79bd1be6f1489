//! The unit as the package installs it: what it lets the agent see, how it lives and ends.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::calls::{expect_all, in_ledger, make, provider};
use crate::host::{
    CALLER, Host, LEDGER, LIMIT, MEMBER, UNIT, as_user, has_multi, is_degraded, main_pid, run,
    send, show, status, succeed, systemctl,
};

/// What the agent says where it gets no events of mappings.
const UNTOLD: &str = "the kernel does not tell of mapped files";

/// Numbers of capabilities (linux/capability.h).
const DAC_READ_SEARCH: u64 = 1 << 2;
const SYS_PTRACE: u64 = 1 << 19;
const SYS_ADMIN: u64 = 1 << 21;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;
const CHECKPOINT_RESTORE: u64 = 1 << 40;

const READING: u64 = DAC_READ_SEARCH | SYS_PTRACE | CHECKPOINT_RESTORE;

/// A field of a thread's `/proc` status.
fn field(folder: &Path, name: &str) -> String {
    let status = fs::read_to_string(folder.join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim_start_matches(':').trim().to_owned()
}

fn capabilities(folder: &Path, name: &str) -> u64 {
    u64::from_str_radix(&field(folder, name), 16).unwrap()
}

/// Seconds of the clock that no one sets, of the service's last sign of life.
fn last_sign_of_life() -> f64 {
    let microseconds: f64 = show("WatchdogTimestampMonotonic").parse().unwrap();
    microseconds / 1e6
}

#[test]
fn the_service_counts_every_call_of_other_users_inside_its_sandbox() {
    let Some(host) = Host::running("sandbox") else {
        return;
    };
    let endpoint = provider();
    make(&endpoint, "nightly.service", 5);
    expect_all(&host, &endpoint, "nightly.service");

    let status = status(LEDGER);
    let kind = if has_multi() {
        "uprobe_multi"
    } else {
        "perf uprobe"
    };
    assert_eq!(status["attach_kind"], kind);
    assert_eq!(status["pid"], main_pid());
    println!("degraded: {}", status["degraded"]);
    // At Debian's 3 in kernel.perf_event_paranoid its kernels ask for CAP_SYS_ADMIN.
    assert_eq!(is_degraded(LEDGER, UNTOLD), has_multi());
    let has_drop_in = show("DropInPaths").contains("10-older-kernel.conf");
    assert_eq!(has_drop_in, !has_multi(), "fitted to the kernel");
    host.expect_quiet();
}

#[test]
fn where_perf_events_may_be_had_with_a_right_the_kernel_tells_the_service_of_mapped_files() {
    let Some(host) = Host::clean("mapped files") else {
        return;
    };
    let paranoid = "/proc/sys/kernel/perf_event_paranoid";
    let before = fs::read_to_string(paranoid).unwrap();
    fs::write(paranoid, "2").unwrap();
    host.start();
    fs::write(paranoid, before).unwrap();
    host.wait("it says how it is", || !status(LEDGER).is_null());
    assert!(!is_degraded(LEDGER, UNTOLD), "{}", status(LEDGER));
    host.expect_quiet();
}

#[test]
fn the_service_has_the_rights_that_the_manual_says_and_no_thread_has_more() {
    let Some(_host) = Host::running("rights") else {
        return;
    };
    let folder = Path::new("/proc").join(main_pid().to_string());
    let given = READING | BPF | PERFMON | if has_multi() { 0 } else { SYS_ADMIN };
    assert_eq!(capabilities(&folder, "CapBnd"), given);
    let kept = if has_multi() { READING } else { given };
    assert_eq!(capabilities(&folder, "CapEff"), kept);
    assert_eq!(capabilities(&folder, "CapAmb"), 0);
    assert_eq!(field(&folder, "NoNewPrivs"), "1");
    // A filter is in force.
    assert_eq!(field(&folder, "Seccomp"), "2");
    // It is not dumpable: what /proc says of it is root's.
    let owner = fs::metadata(folder.join("status")).unwrap().uid();
    assert_eq!(owner, 0);
    let mut lines = 0;
    for thread in fs::read_dir(folder.join("task")).unwrap() {
        let thread = thread.unwrap().path();
        let name = field(&thread, "Name");
        let has = capabilities(&thread, "CapEff");
        assert_eq!(has & !kept, 0, "{name} has {has:x}");
        if name == "line" {
            assert_eq!(has, 0, "the thread that parses");
            lines += 1;
        }
    }
    assert_eq!(lines, 1);

    let exposure = succeed(Command::new("systemd-analyze").args(["security", "--no-pager", UNIT]));
    let overall = exposure
        .lines()
        .find(|line| line.contains("Overall exposure level"));
    let overall = overall.unwrap();
    println!("{}", overall.trim());
    let (_, rest) = overall.split_once(&format!("{UNIT}: ")).unwrap();
    let score: f64 = rest.split(' ').next().unwrap().parse().unwrap();
    assert!(score <= 2.0, "{exposure}");
}

#[test]
fn members_of_the_group_read_the_ledger_others_do_not_and_a_second_agent_is_refused() {
    let Some(host) = Host::running("readers") else {
        return;
    };
    let endpoint = provider();
    make(&endpoint, "readers.service", 3);
    expect_all(&host, &endpoint, "readers.service");

    let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("/var/lib/bpftok"), 0o750);
    assert_eq!(mode(LEDGER), 0o640);
    let owner = succeed(Command::new("stat").args(["--format=%U:%G", LEDGER]));
    assert_eq!(owner.trim(), "bpftok:bpftok");

    // Whatever other tests had counted, these are of this provider's service alone.
    let report = [
        "bpftok",
        "report",
        "--by",
        "unit",
        "--where",
        "unit=readers.service",
        "-o",
        "json",
    ];
    let text = succeed(&mut as_user(MEMBER, &report));
    let report_of_member: serde_json::Value = serde_json::from_str(&text).unwrap();
    let rows = report_of_member["rows"].as_array().unwrap();
    let units: Vec<_> = rows
        .iter()
        .map(|row| (row["systemd_unit"].as_str(), row["requests"].as_u64()))
        .collect();
    assert_eq!(units, [(Some("readers.service"), Some(3))]);
    let sessions = ["bpftok", "sessions", "-o", "json"];
    let text = succeed(&mut as_user(MEMBER, &sessions));
    let sessions: serde_json::Value = serde_json::from_str(&text).unwrap();
    let keys = sessions["rows"].as_array().unwrap().iter();
    let users: BTreeSet<_> = keys.map(|row| row["user_name"].as_str().unwrap()).collect();
    assert_eq!(users, BTreeSet::from([CALLER]), "{sessions}");
    let counted = "SELECT count(*) FROM v_request WHERE systemd_unit = 'readers.service'";
    let count = ["sqlite3", LEDGER, counted];
    assert_eq!(succeed(&mut as_user(MEMBER, &count)).trim(), "3");

    let refused = run(&mut as_user(CALLER, &report));
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
    assert!(!run(&mut as_user(CALLER, &count)).status.success());

    let second = run(Command::new("bpftok").arg("run"));
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{said}");
    let pid = format!("(pid {})", main_pid());
    assert!(said.contains(&pid), "{said}");
    host.expect_quiet();
    assert_eq!(in_ledger(&endpoint).len(), 3);
}

#[test]
fn a_reload_takes_over_what_is_right_and_a_wrong_file_changes_nothing() {
    let Some(host) = Host::running("reload") else {
        return;
    };
    let pid = main_pid();
    host.configure("[retention]\nrequest_days = \"many\"\n");
    let refused = run(Command::new("systemctl").args(["reload", UNIT]));
    assert!(!refused.status.success());
    assert_eq!(show("ActiveState"), "active");
    host.wait("the mistake is an error in the journal", || {
        host.journal_from("err").contains("request_days")
    });
    assert!(!host.journal_from("err").contains("watching"));

    host.configure("[[workflow]]\nname = \"night\"\nmatch = { unit = \"reload.service\" }\n");
    systemctl(&["reload", UNIT]);
    host.wait("the workflow is taken over", || {
        host.journal()
            .contains("and the list of prices sections=workflow")
    });
    let endpoint = provider();
    make(&endpoint, "reload.service", 2);
    expect_all(&host, &endpoint, "reload.service");
    let query = "SELECT count(*) FROM v_request WHERE workflow = 'night'";
    let counted = succeed(&mut as_user(MEMBER, &["sqlite3", LEDGER, query]));
    assert_eq!(counted.trim(), "2");
    assert_eq!((main_pid(), show("NRestarts").as_str()), (pid, "0"));
    host.configure("");
    systemctl(&["reload", UNIT]);
}

#[test]
fn an_agent_that_lives_is_left_alone_and_one_that_was_killed_or_hangs_is_started_anew() {
    let Some(host) = Host::clean("lives") else {
        return;
    };
    host.drop_in("WatchdogSec=20\nRestartSec=1\n");
    host.start();
    let first = main_pid();
    let start = last_sign_of_life();
    // Longer than the time after which it would have been killed.
    host.wait("it gives signs of life", || {
        last_sign_of_life() > start + 24.0
    });
    assert_eq!((main_pid(), show("NRestarts").as_str()), (first, "0"));

    let is_anew = |than: u32, restarts: &str| {
        let is_active = show("ActiveState") == "active";
        is_active && show("NRestarts") == restarts && main_pid() != than
    };
    let endpoint = provider();
    make(&endpoint, "before.service", 1);
    host.wait("a call is in the ledger", || {
        in_ledger(&endpoint).len() == 1
    });
    send("KILL", first);
    host.wait("it is started anew", || is_anew(first, "1"));
    make(&endpoint, "after.service", 2);
    host.wait("calls are counted again", || {
        in_ledger(&endpoint).len() == 3
    });

    let second = main_pid();
    send("STOP", second);
    host.wait("one that hangs is started anew", || is_anew(second, "2"));
    assert!(host.journal().contains("Watchdog timeout"));
    make(&endpoint, "after.service", 2);
    host.wait("calls are counted again", || {
        in_ledger(&endpoint).len() == 5
    });
    let units: Vec<_> = in_ledger(&endpoint)
        .into_iter()
        .filter_map(|call| call.unit)
        .collect();
    let of = |name: &str| units.iter().filter(|unit| *unit == name).count();
    assert_eq!((of("before.service"), of("after.service")), (1, 4));
}

#[test]
fn a_stop_writes_the_last_calls_in_time_and_leaves_nothing_behind() {
    let Some(host) = Host::running("stop") else {
        return;
    };
    let endpoint = provider();
    make(&endpoint, "nightly.service", 3);
    let begun = Instant::now();
    systemctl(&["stop", UNIT]);
    let took = begun.elapsed();
    println!("stopped in {:.1} s", took.as_secs_f64());
    assert!(took < LIMIT, "{took:?}");
    assert_eq!(show("ActiveState"), "inactive");
    // Neither killed nor too slow.
    assert_eq!(
        (show("Result"), show("NRestarts")),
        ("success".into(), "0".into())
    );
    expect_all(&host, &endpoint, "nightly.service");
    let left = run(Command::new("find").args(["/proc", "-maxdepth", "1", "-user", "bpftok"]));
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
    host.expect_quiet();
}
