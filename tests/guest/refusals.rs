//! Where the agent can't run: one line that says what is missing and what helps, a documented exit
//! code, and no second try of the service manager.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::host::{CALLER, Host, UNIT, as_user, has_multi, is_degraded, run, show, status};

/// A second, ten times over: the guest is emulated.
const AT_ONCE: Duration = Duration::from_secs(10);

/// The kernel lacks something; rights are missing.
const UNAVAILABLE: i32 = 69;
const NO_PERMISSION: i32 = 77;

/// The words of `bpftok run` on a ledger of its own, as arguments of another program.
const AGENT: [&str; 4] = ["bpftok", "run", "--db", LEDGER];
const LEDGER: &str = "/root/of-test/usage.db";

fn agent_under(wrapper: &[&str]) -> Command {
    fs::create_dir_all("/root/of-test").unwrap();
    let words = [wrapper, &AGENT].concat();
    let (program, arguments) = words.split_first().unwrap();
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Runs an agent that must refuse to run, with this code and one line that has these words, before
/// it has made a ledger.
#[track_caller]
fn expect_refusal(command: &mut Command, code: i32, words: &[&str]) {
    // The one of an agent before it.
    fs::remove_file(LEDGER).ok();
    let started = Instant::now();
    let Output { status, stderr, .. } = run(command);
    let took = started.elapsed();
    let said = String::from_utf8(stderr).unwrap();
    println!("{:.2} s, {status}: {}", took.as_secs_f64(), said.trim_end());
    assert_eq!(status.code(), Some(code), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("bpftok: "), "{said}");
    for word in words {
        assert!(said.contains(word), "no {word:?} in {said}");
    }
    assert!(took < AT_ONCE, "{took:?}");
    assert!(!Path::new(LEDGER).exists(), "{said}");
}

/// Starts the agent, waits until it says that it is ready, and stops it.
const START_AND_STOP: &str = "\
\"$@\" 2> /run/agent.log & agent=$!
for i in $(seq 600); do
  grep -q ready /run/agent.log && break
  kill -0 $agent || break
  sleep 0.2
done
kill -TERM $agent
wait $agent
";

/// Runs an agent that must be able to run.
#[track_caller]
fn expect_run(wrapper: &[&str]) {
    let shell = ["sh", "-c", START_AND_STOP, "sh"];
    let output = run(&mut agent_under(&[wrapper, &shell].concat()));
    let said = fs::read_to_string("/run/agent.log").unwrap();
    assert!(output.status.success(), "{output:?}\n{said}");
    assert!(said.contains(" ready "), "{said}");
}

#[test]
fn without_rights_the_agent_names_those_that_are_missing() {
    let Some(_host) = Host::clean("no rights") else {
        return;
    };
    let words = ["CAP_BPF and CAP_PERFMON", "run as root"];
    expect_refusal(&mut as_user(CALLER, &AGENT), NO_PERMISSION, &words);
    let drops = [
        ("-sys_admin,-perfmon", "CAP_PERFMON"),
        ("-sys_admin,-bpf", "CAP_BPF"),
    ];
    for (drop, missing) in drops {
        let mut agent = agent_under(&["setpriv", "--bounding-set", drop]);
        expect_refusal(&mut agent, NO_PERMISSION, &[missing, "run as root"]);
    }
    // Others attach with what the service has: it shows that.
    if !has_multi() {
        let mut agent = agent_under(&["setpriv", "--bounding-set", "-sys_admin"]);
        let words = ["CAP_SYS_ADMIN", "uprobe_multi"];
        expect_refusal(&mut agent, NO_PERMISSION, &words);
    }
    // A container's root has all rights, but none of the host's.
    let container = ["unshare", "--user", "--map-root-user"];
    expect_refusal(
        &mut agent_under(&container),
        NO_PERMISSION,
        &["user namespace", "outside of this container"],
    );
}

#[test]
fn a_kernel_that_is_too_old_is_named_with_the_oldest_that_will_do() {
    let Some(_host) = Host::clean("old kernel") else {
        return;
    };
    // This personality has uname(2) say 2.6.
    let mut agent = agent_under(&["setarch", "--uname-2.6"]);
    expect_refusal(&mut agent, UNAVAILABLE, &["kernel 2.6", "5.8 or later"]);
}

#[test]
fn an_agent_in_a_container_needs_no_tracefs_and_no_perf_and_says_that_it_can_name_no_process() {
    let Some(_host) = Host::clean("container") else {
        return;
    };
    let paranoid = "/proc/sys/kernel/perf_event_paranoid";
    let before = fs::read_to_string(paranoid).unwrap();
    fs::write(paranoid, "4").unwrap();
    expect_run(&[
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "sh",
        "-c",
        "umount -q /sys/kernel/tracing; umount -q /sys/kernel/debug; exec \"$@\"",
        "sh",
    ]);
    fs::write(paranoid, before).unwrap();
    assert!(is_degraded(LEDGER, "pid namespace"), "{}", status(LEDGER));
}

#[test]
fn a_service_that_cannot_run_is_not_started_again() {
    let Some(host) = Host::clean("no restart") else {
        return;
    };
    host.drop_in("AmbientCapabilities=\nCapabilityBoundingSet=\nRestartSec=100ms\n");
    let started = run(Command::new("systemctl").args(["start", UNIT]));
    assert!(!started.status.success());
    assert_eq!(show("ExecMainStatus"), "77");
    assert_eq!(
        (show("ActiveState"), show("NRestarts")),
        ("failed".into(), "0".into())
    );
    assert!(host.journal().contains("CAP_BPF"), "{}", host.journal());
}

/// It lasts until the guest ends, so it is the last test of a guest.
#[test]
fn a_locked_down_kernel_is_named_with_the_mode_that_will_do() {
    let Some(_host) = Host::clean("locked down") else {
        return;
    };
    let lockdown = "/sys/kernel/security/lockdown";
    fs::write(lockdown, "integrity").unwrap();
    expect_run(&[]);
    fs::write(lockdown, "confidentiality").unwrap();
    let words = ["lockdown=confidentiality", "lockdown=integrity"];
    expect_refusal(&mut agent_under(&[]), UNAVAILABLE, &words);
}
