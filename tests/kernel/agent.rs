//! The built binary as a child, and what it wrote.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{env, fs, thread};

use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;
use test_support::Endpoint;

use crate::run::poll;

/// How long the agent may take until it says that it watches.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// How long the agent may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// How long a call may take from its end until it is in the ledger.
pub(crate) const LEDGER_LIMIT: Duration = Duration::from_secs(20);

/// How long the agent may take to hook a file that a process has mapped: far more than what the
/// benchmark measures, and less than the interval of the scans where a test wants none to help.
pub(crate) const HOOK_LIMIT: Duration = Duration::from_secs(20);

/// Exit codes by which the agent says that this machine lacks something.
const UNAVAILABLE: [i32; 2] = [69, 77];

/// A running agent. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Agent {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    followers: Vec<JoinHandle<()>>,
}

/// A directory for one test: the ledger, the configuration, recordings.
#[derive(Debug)]
pub(crate) struct Place {
    dir: TempDir,
    /// Settings of the agent, in TOML.
    config: &'static str,
    /// What all ids of the test's calls contain.
    tag: String,
}

impl Place {
    /// An empty one, whose ledger is asked for the calls of this endpoint only: the agent watches
    /// the whole host.
    pub(crate) fn of(endpoint: &Endpoint) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            config: "",
            tag: endpoint.tag(),
        }
    }

    /// An empty one, for an agent with these settings.
    pub(crate) fn with(config: &'static str) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            config,
            tag: String::new(),
        }
    }

    /// The same with these settings of the agent.
    pub(crate) fn configured(self, config: &'static str) -> Self {
        Self { config, ..self }
    }

    /// Settings of the agent.
    pub(crate) const fn config(&self) -> &'static str {
        self.config
    }

    /// Path of the ledger.
    pub(crate) fn db(&self) -> PathBuf {
        self.dir.path().join("usage.db")
    }

    /// Path of a file of the test's own.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts `bpftok run`; `None`, with a `SKIP` line, where this machine can't.
    pub(crate) fn run(&self, test: &str) -> Option<Agent> {
        Agent::start(self.on_ledger(["run"]), test)
    }

    /// The same, with an agent that says all it has to say.
    pub(crate) fn run_talkative(&self, test: &str) -> Option<Agent> {
        Agent::start(self.on_ledger(["run", "-vv"]), test)
    }

    /// The same as a service, whose manager listens at `manager` and has a watchdog of this time.
    pub(crate) fn run_as_service(
        &self,
        test: &str,
        manager: &Path,
        watchdog: Duration,
    ) -> Option<Agent> {
        let mut command = self.on_ledger(["run"]);
        command
            .env("NOTIFY_SOCKET", manager)
            .env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        Agent::start(command, test)
    }

    /// The binary with these arguments, on the ledger.
    pub(crate) fn on_ledger<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = self.bpftok(arguments);
        command.arg("--db").arg(self.db());
        command
    }

    /// Starts `bpftok record FILE`; `None`, with a `SKIP` line, where this machine can't.
    pub(crate) fn record(&self, test: &str, file: &Path) -> Option<Agent> {
        let mut command = self.bpftok(["record"]);
        command.arg(file);
        Agent::start(command, test)
    }

    fn bpftok<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let config = self.file("config.toml");
        fs::write(&config, self.config).unwrap();
        let binary = env::var_os("BPFTOK_BINARY").map_or_else(
            || PathBuf::from(env!("CARGO_BIN_EXE_bpftok")),
            PathBuf::from,
        );
        let mut command = Command::new(binary);
        command.args(arguments).arg("--config").arg(config);
        command
    }

    /// The ledger's calls of the endpoint, and those without an id, in the order of their start.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut rows = Row::all(&self.db());
        rows.retain(|row| row.id.as_ref().is_none_or(|id| id.contains(&self.tag)));
        rows
    }

    /// The ledger's calls once there are `count`, or what there is after [`LEDGER_LIMIT`].
    pub(crate) fn rows_when(&self, count: usize) -> Vec<Row> {
        let enough = || self.rows().len() >= count;
        poll(LEDGER_LIMIT, enough);
        self.rows()
    }

    /// All of the ledger's calls, in the order of their start.
    pub(crate) fn all_rows(&self) -> Vec<Row> {
        Row::all(&self.db())
    }

    /// Waits until `is_so`, or for [`LEDGER_LIMIT`].
    pub(crate) fn wait_until(&self, is_so: impl FnMut() -> bool) {
        poll(LEDGER_LIMIT, is_so);
    }

    /// What the agent says of itself: every few seconds, and at its end. Null before the first time.
    pub(crate) fn status(&self) -> serde_json::Value {
        let text = self.text("SELECT coalesce(max(value), 'null') FROM meta WHERE name = 'status'");
        serde_json::from_str(&text).unwrap()
    }

    /// One of the agent's counters; 0 where it has none of that name. All is counted once the agent
    /// has stopped; before, it is what the last status said.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.status()["counters"][name].as_u64().unwrap_or(0)
    }

    /// Runs a query that gives one number.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        open(&self.db())
            .unwrap()
            .query_row(sql, [], |row| row.get(0))
            .unwrap()
    }

    /// Runs a query that gives one text.
    pub(crate) fn text(&self, sql: &str) -> String {
        open(&self.db())
            .unwrap()
            .query_row(sql, [], |row| row.get(0))
            .unwrap()
    }
}

/// Why the live tests can't run here.
fn obstacle() -> Option<&'static str> {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let uids = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .unwrap();
    // Real, effective, saved, file system.
    (uids.split_whitespace().nth(1) != Some("0")).then_some("needs root")
}

/// Says that a test did not run.
pub(crate) fn skip(test: &str, reason: &str) {
    println!("SKIP {test}: {reason}");
}

impl Agent {
    /// Starts a command that becomes an agent; `None`, with a `SKIP` line, where this machine can't.
    pub(crate) fn start(mut command: Command, test: &str) -> Option<Self> {
        if let Some(reason) = obstacle() {
            skip(test, reason);
            return None;
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the agent's binary");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (is_ready, errors) = follow(child.stderr.take().unwrap(), &lines);
        let (_, output) = follow(child.stdout.take().unwrap(), &lines);
        let mut agent = Self {
            child,
            lines,
            followers: vec![errors, output],
        };
        match is_ready.recv_timeout(READY_LIMIT) {
            Ok(()) => Some(agent),
            Err(RecvTimeoutError::Timeout) => panic!("not ready in time:\n{}", agent.said()),
            Err(RecvTimeoutError::Disconnected) => {
                let status = agent.child.wait().unwrap();
                let said = agent.said();
                if status
                    .code()
                    .is_some_and(|code| UNAVAILABLE.contains(&code))
                {
                    skip(
                        test,
                        said.lines().last().unwrap_or("the agent can't run here"),
                    );
                    return None;
                }
                panic!("the agent ended with {status}:\n{said}");
            }
        }
    }

    /// All that it printed so far.
    pub(crate) fn said(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// How often it has said that its probes are on a file with `part` in its path.
    pub(crate) fn times_hooked(&self, part: &str) -> usize {
        let lines = self.lines.lock().unwrap();
        let paths = lines.iter().filter_map(|line| {
            let (_, said) = line.split_once(" hooked path=")?;
            Some(said.split_once(" functions=")?.0)
        });
        paths.filter(|path| path.contains(part)).count()
    }

    /// Whether it has said so at all.
    pub(crate) fn has_hooked(&self, part: &str) -> bool {
        self.times_hooked(part) > 0
    }

    /// Waits until its probes are on a file with `part` in its path, which some process maps or has
    /// mapped. What is done before may be over when a file that is new to the agent is hooked.
    #[track_caller]
    pub(crate) fn wait_for_hook(&self, part: &str) {
        self.wait_for_hooks(1, part);
    }

    /// Waits until it has said so `times` in all.
    #[track_caller]
    pub(crate) fn wait_for_hooks(&self, times: usize, part: &str) {
        assert!(
            poll(HOOK_LIMIT, || self.times_hooked(part) >= times),
            "{part} is not hooked:\n{}",
            self.said()
        );
    }

    /// How often it has said this of a path.
    pub(crate) fn times_said(&self, what: &str, path: &str) -> usize {
        let lines = self.lines.lock().unwrap();
        lines
            .iter()
            .filter(|line| line.contains(what) && line.contains(path))
            .count()
    }

    /// How many of its descriptors are links to probes.
    pub(crate) fn links(&self) -> usize {
        descriptors(self.id())
            .iter()
            .filter(|(_, target)| target.contains("bpf_link") || target.contains("perf_event"))
            .count()
    }

    /// How much memory it has of its own, in KiB: without what it shares with others, such as
    /// files that it reads.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .unwrap();
        let (number, _) = line.trim().split_once(' ').unwrap();
        number.parse().unwrap()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop, and waits until it has committed and gone. Gives all that it printed.
    pub(crate) fn stop(mut self) -> String {
        send("TERM", self.child.id());
        assert!(
            poll(STOP_LIMIT, || self.child.try_wait().unwrap().is_some()),
            "it did not stop in time:\n{}",
            self.said()
        );
        let status = self.child.wait().unwrap();
        assert!(
            status.success(),
            "it stopped with {status}:\n{}",
            self.said()
        );
        for follower in self.followers.drain(..) {
            follower.join().unwrap();
        }
        self.said()
    }

    /// Kills it without warning.
    pub(crate) fn kill(mut self) -> ExitStatus {
        self.child.kill().unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.child.kill().ok();
            self.child.wait().ok();
        }
        if thread::panicking() {
            println!("the agent said:\n{}", self.said());
        }
    }
}

/// Keeps the lines of a pipe until it ends; the receiver hears of the first that says "ready".
fn follow(
    pipe: impl Read + Send + 'static,
    lines: &Arc<Mutex<Vec<String>>>,
) -> (Receiver<()>, JoinHandle<()>) {
    let (sender, receiver) = channel();
    let lines = Arc::clone(lines);
    let follower = thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let is_ready = line.contains("ready");
            lines.lock().unwrap().push(line);
            if is_ready {
                // Only the first is waited for.
                sender.send(()).ok();
            }
        }
    });
    (receiver, follower)
}

/// Numbers and targets of a process's descriptors.
pub(crate) fn descriptors(pid: u32) -> Vec<(u32, String)> {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            let number = entry.file_name().to_str()?.parse().ok()?;
            Some((number, target.display().to_string()))
        })
        .collect()
}

/// Sends a signal to a process that this test started.
pub(crate) fn send(signal: &str, pid: u32) {
    let status = Command::new("kill")
        .args([format!("-{signal}"), pid.to_string()])
        .status();
    assert!(status.unwrap().success(), "kill -{signal} {pid}");
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    Ok(connection)
}

/// One call in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Id of the response.
    pub(crate) id: Option<String>,
    /// API.
    pub(crate) endpoint: String,
    /// Who answered.
    pub(crate) provider: String,
    /// Host name of the handshake.
    pub(crate) server_name: Option<String>,
    /// Model as requested.
    pub(crate) model_requested: Option<String>,
    /// Model as answered.
    pub(crate) model_served: Option<String>,
    /// Whether a stream was asked for.
    pub(crate) is_stream: bool,
    /// Status.
    pub(crate) status: Option<u16>,
    /// How it ended.
    pub(crate) outcome: String,
    /// Why the model stopped.
    pub(crate) stop_reason: Option<String>,
    /// Tier of service.
    pub(crate) service_tier: Option<String>,
    /// Where the tokens come from.
    pub(crate) usage_source: String,
    /// Five classes of input, output, reasoning.
    pub(crate) tokens: [Option<u64>; 7],
    /// Process.
    pub(crate) pid: Option<u32>,
    /// Its executable.
    pub(crate) exe: Option<String>,
    /// Session.
    pub(crate) session_key: String,
    /// Where its key comes from.
    pub(crate) key_source: String,
    /// Client as told from the call.
    pub(crate) client_name: Option<String>,
    /// Cost in billionths of a dollar.
    pub(crate) cost_nanousd: Option<u64>,
    /// How far it can be trusted.
    pub(crate) cost_status: Option<String>,
    /// What the provider itself says.
    pub(crate) provider_cost_nanousd: Option<u64>,
    /// Who pays.
    pub(crate) billing_kind: String,
}

impl Row {
    /// All of a ledger; none while it does not exist.
    fn all(path: &Path) -> Vec<Self> {
        if !path.exists() {
            return Vec::new();
        }
        let read = || {
            let connection = open(path)?;
            let mut statement = connection.prepare(
                "SELECT provider_response_id, endpoint, provider, server_name, model_requested,
                        model_served, is_stream, http_status, outcome, usage_source,
                        input_uncached_tokens, cache_read_tokens, cache_write_5m_tokens,
                        cache_write_1h_tokens, cache_write_other_tokens, output_tokens,
                        reasoning_tokens, pid, exe_path, session_key, key_source, client_name,
                        stop_reason, service_tier, cost_nanousd, cost_status,
                        provider_cost_nanousd, billing_kind
                 FROM v_request ORDER BY started_ms, request_id",
            )?;
            let rows = statement.query_map([], |row| {
                let count = |column: usize| -> rusqlite::Result<Option<u64>> {
                    let count: Option<i64> = row.get(column)?;
                    Ok(count.map(|count| u64::try_from(count).expect("no negative count")))
                };
                let mut tokens = [None; 7];
                for (column, slot) in (10..).zip(&mut tokens) {
                    *slot = count(column)?;
                }
                Ok(Self {
                    id: row.get(0)?,
                    endpoint: row.get(1)?,
                    provider: row.get(2)?,
                    server_name: row.get(3)?,
                    model_requested: row.get(4)?,
                    model_served: row.get(5)?,
                    is_stream: row.get(6)?,
                    status: row.get(7)?,
                    outcome: row.get(8)?,
                    usage_source: row.get(9)?,
                    tokens,
                    pid: row.get(17)?,
                    exe: row.get(18)?,
                    session_key: row.get(19)?,
                    key_source: row.get(20)?,
                    client_name: row.get(21)?,
                    stop_reason: row.get(22)?,
                    service_tier: row.get(23)?,
                    cost_nanousd: count(24)?,
                    cost_status: row.get(25)?,
                    provider_cost_nanousd: count(26)?,
                    billing_kind: row.get(27)?,
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().expect("the ledger can be read while the agent runs")
    }
}
