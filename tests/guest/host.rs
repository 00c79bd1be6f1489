//! The guest: its services, its users, its journal.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Once;
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use rusqlite::{Connection, OpenFlags};

/// The service.
pub(crate) const UNIT: &str = "bpftok.service";
/// Its ledger.
pub(crate) const LEDGER: &str = "/var/lib/bpftok/usage.db";
/// Its configuration.
pub(crate) const CONFIGURATION: &str = "/etc/bpftok/config.toml";
/// Where drop-ins of tests lie.
const DROP_INS: &str = "/run/systemd/system/bpftok.service.d";
/// Whoever makes calls.
pub(crate) const CALLER: &str = "alice";
/// A member of the service's group.
pub(crate) const MEMBER: &str = "bob";

/// How long anything in the guest may take that is not awaited by the service manager itself: the
/// guest is emulated, and the agent has half of a processor.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// No share of a processor: one that is emulated takes ten times as long.
const WHOLE_PROCESSOR: &str = "[Service]\nCPUQuota=\n";

/// The guest, and its service.
#[derive(Debug)]
pub(crate) struct Host {
    /// Where the journal stood at the start of the test.
    cursor: String,
    /// Whether the next test may go on with the service as it runs.
    is_kept: bool,
}

impl Host {
    /// The service is as the package leaves it: stopped, with an empty ledger. `None`, with a `SKIP`
    /// line, where this is no guest.
    pub(crate) fn clean(test: &str) -> Option<Self> {
        install(test)?;
        systemctl(&["stop", UNIT]);
        remove(DROP_INS);
        remove(LEDGER.trim_end_matches("/usage.db"));
        succeed(Command::new("systemd-tmpfiles").args(["--create", "bpftok.conf"]));
        fs::write(CONFIGURATION, "").unwrap();
        fs::create_dir_all(DROP_INS).unwrap();
        fs::write(format!("{DROP_INS}/80-test.conf"), WHOLE_PROCESSOR).unwrap();
        systemctl(&["daemon-reload"]);
        // It fails where there is nothing to forget.
        run(Command::new("systemctl").args(["reset-failed", UNIT]));
        Some(Self::now(false))
    }

    /// The service runs as the package installs it, with whatever is in its ledger.
    pub(crate) fn running(test: &str) -> Option<Self> {
        install(test)?;
        if ["active", "reloading"].contains(&show("ActiveState").as_str()) {
            return Some(Self::now(true));
        }
        let mut host = Self::clean(test)?;
        host.start();
        host.is_kept = true;
        Some(host)
    }

    fn now(is_kept: bool) -> Self {
        let journal = succeed(journalctl().args(["--lines=1", "--show-cursor"]));
        let (_, cursor) = journal.rsplit_once("-- cursor: ").unwrap();
        Self {
            cursor: cursor.trim().to_owned(),
            is_kept,
        }
    }

    /// Settings that the service finds at its start or at a reload.
    pub(crate) fn configure(&self, toml: &str) {
        fs::write(CONFIGURATION, toml).unwrap();
    }

    /// Sets directives of the unit from its next start on.
    pub(crate) fn drop_in(&self, directives: &str) {
        let text = format!("[Service]\n{directives}");
        fs::write(format!("{DROP_INS}/90-test.conf"), text).unwrap();
        systemctl(&["daemon-reload"]);
    }

    /// Starts the service, which has then said that it is ready.
    #[track_caller]
    pub(crate) fn start(&self) {
        let started = Instant::now();
        let output = run(Command::new("systemctl").args(["start", UNIT]));
        assert!(output.status.success(), "{}", self.journal());
        assert_eq!(show("ActiveState"), "active");
        println!("started in {:.1} s", started.elapsed().as_secs_f64());
    }

    /// What the service and its manager have said since the start of the test.
    pub(crate) fn journal(&self) -> String {
        self.journal_from("debug")
    }

    /// The same from a priority up.
    pub(crate) fn journal_from(&self, priority: &str) -> String {
        let (unit, priority) = (format!("--unit={UNIT}"), format!("--priority={priority}"));
        let cursor = format!("--after-cursor={}", self.cursor);
        succeed(journalctl().args([&unit, &priority, "--output=cat", &cursor]))
    }

    /// Waits until the service is as `is_so` says.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, is_so: impl FnMut() -> bool) {
        assert!(wait(is_so), "not so: {what}\n{}", self.journal());
    }

    /// Asserts that the journal has no warning, and no error, but the one that
    /// `kernel.perf_event_paranoid` explains.
    #[track_caller]
    pub(crate) fn expect_quiet(&self) {
        let known = ["the kernel does not tell of mapped files (Permission denied"];
        let journal = self.journal();
        let is_bad = |line: &&str| {
            let is_said = line.contains(" WARN ") || line.contains("ERROR ");
            let is_said = is_said || line.contains("panic") || line.contains("defect of bpftok");
            is_said && !known.iter().any(|known| line.contains(known))
        };
        let bad: Vec<_> = journal.lines().filter(is_bad).collect();
        assert!(bad.is_empty(), "{bad:#?}\nin\n{journal}");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("the journal:\n{}", self.journal());
        }
        if !self.is_kept || thread::panicking() {
            run(Command::new("systemctl").args(["stop", UNIT]));
        }
    }
}

/// Installs the package, whose files are there already.
fn install(test: &str) -> Option<()> {
    if env::var_os("BPFTOK_SYSTEMD_GUEST").is_none() {
        println!("SKIP {test}: needs the guest of `cargo xtask test-kernel service`");
        return None;
    }
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // What the package does, fitting the unit to the kernel included.
        succeed(Command::new("sh").args(["/payload/postinst", "configure"]));
        users();
    });
    Some(())
}

/// A caller, and a reader of the ledger.
fn users() {
    let inline = [
        format!("u {CALLER} 1001 - /tmp"),
        format!("u {MEMBER} 1002 - /tmp"),
    ];
    succeed(
        Command::new("systemd-sysusers")
            .arg("--inline")
            .args(&inline),
    );
    succeed(Command::new("systemd-sysusers").args(["--inline", &format!("m {MEMBER} bpftok")]));
}

/// A command as a user with the groups that this user has.
pub(crate) fn as_user(user: &str, command: &[&str]) -> Command {
    let mut setpriv = Command::new("setpriv");
    let options = ["--reuid", user, "--regid", user, "--init-groups"];
    setpriv.args(options).args(command);
    setpriv
}

fn journalctl() -> Command {
    let mut command = Command::new("journalctl");
    command.args(["--quiet", "--no-pager"]);
    command
}

/// Calls the service manager, which must agree.
#[track_caller]
pub(crate) fn systemctl(arguments: &[&str]) -> String {
    succeed(Command::new("systemctl").args(arguments))
}

/// A property of the service.
pub(crate) fn show(property: &str) -> String {
    let shown = systemctl(&["show", "--value", "--property", property, UNIT]);
    shown.trim().to_owned()
}

/// The main process of the running service.
pub(crate) fn main_pid() -> u32 {
    show("MainPID").parse().unwrap()
}

/// Sends a signal, by the kill of a shell: the guest has no other.
pub(crate) fn send(signal: &str, pid: u32) {
    succeed(Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]));
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What a command printed, which must succeed.
#[track_caller]
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Waits no longer than [`LIMIT`] for what `is_so` says; gives what it said last.
pub(crate) fn wait(mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + LIMIT;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn remove(folder: &str) {
    match fs::remove_dir_all(folder) {
        Ok(()) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound, "{folder}: {error}"),
    }
}

/// The ledger, to be read.
pub(crate) fn ledger(path: &str) -> Connection {
    let connection =
        Connection::open_with_flags(Path::new(path), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    connection.busy_timeout(Duration::from_secs(20)).unwrap();
    connection
}

/// What the agent that writes this ledger said of itself last; null before the first time.
pub(crate) fn status(path: &str) -> serde_json::Value {
    let text: String = ledger(path)
        .query_row(
            "SELECT coalesce(max(value), 'null') FROM meta WHERE name = 'status'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Whether the agent that writes this ledger says that something with these words is not as it
/// should be.
pub(crate) fn is_degraded(path: &str, words: &str) -> bool {
    let status = status(path);
    let sentences = status["degraded"].as_array().unwrap();
    let has = |sentence: &serde_json::Value| sentence.as_str().unwrap().contains(words);
    sentences.iter().any(has)
}

/// Major and minor number of the running kernel.
pub(crate) fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Whether the kernel attaches probes without CAP_SYS_ADMIN.
pub(crate) fn has_multi() -> bool {
    kernel() >= (6, 6)
}
