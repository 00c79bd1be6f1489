//! A place with a ledger in it, calls to put there, and the program to read it with.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use agent::store::{AccountKey, HostFacts, Keep, Writer};
use agent_core::attribution::Client;
use agent_core::event::{Ancestor, ConnId, FactSource, ProcId, Process, Timestamp};
use agent_core::http::ExchangeId;
use agent_core::llm::{
    Endpoint, Estimates, LlmCall, Outcome, Provider, SessionHints, Signals, Terms, Units, Usage,
    UsageSource,
};
use agent_core::pipeline::{CoverageMinute, CoverageOutcome, Output};
use agent_core::prices::{CostStatus, Priced};
use agent_core::session::{KeySource, SessionKey, TaskType, Thread, UsageRecord};
use agent_core::workflow::Workflow;

/// The program under test.
pub(crate) const BPFTOK: &str = env!("CARGO_BIN_EXE_bpftok");

/// A directory that goes away with the value.
pub(crate) struct Home(PathBuf);

impl Home {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("bpftok-e2e-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Where the ledger is; its directory is made by the writer.
    pub(crate) fn db(&self) -> PathBuf {
        self.0.join("state/usage.db")
    }

    pub(crate) fn writer(&self) -> Writer {
        Writer::open(&self.db(), host(), Keep::default()).unwrap()
    }

    /// A ledger with these outputs in it.
    pub(crate) fn with(outputs: &[Output]) -> Self {
        let home = Self::new();
        let mut writer = home.writer();
        writer.apply(outputs).unwrap();
        writer.close().unwrap();
        home
    }

    /// Writes a configuration; gives its path.
    pub(crate) fn configure(&self, name: &str, toml: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, toml).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    /// The same with a configuration for which the list of prices is not old.
    pub(crate) fn timeless(self) -> Self {
        self.configure(TIMELESS, "[prices]\nmax_age_days = 3650\n");
        self
    }

    /// Runs the program on the ledger, in UTC and without a terminal.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        self.run_in("UTC", None, arguments)
    }

    /// Runs the program in a time zone, `columns` wide.
    pub(crate) fn run_in<S: AsRef<OsStr>>(
        &self,
        zone: &str,
        columns: Option<u32>,
        arguments: impl IntoIterator<Item = S>,
    ) -> Ran {
        let mut command = Command::new(BPFTOK);
        command
            .env("TZ", zone)
            .env_remove("COLUMNS")
            .env_remove("JOURNAL_STREAM");
        if let Some(columns) = columns {
            command.env("COLUMNS", columns.to_string());
        }
        let arguments: Vec<_> = arguments.into_iter().collect();
        let is_configured = arguments
            .iter()
            .any(|argument| argument.as_ref() == "--config");
        let config = self.path(TIMELESS);
        if config.exists() && !is_configured {
            command.arg("--config").arg(config);
        }
        command.arg("--db").arg(self.db()).args(arguments);
        ran(&mut command)
    }

    /// What the sqlite3 shell says.
    pub(crate) fn sqlite3(&self, sql: &str) -> Ran {
        ran(&mut sqlite3(&self.db(), sql))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// The sqlite3 shell on a ledger, read-only.
pub(crate) fn sqlite3(db: &Path, sql: &str) -> Command {
    let mut command = Command::new("sqlite3");
    command
        .env("TZ", "UTC")
        .arg(format!("file:{}?mode=ro", db.display()))
        .arg(sql);
    command
}

/// Longest wait for a program that was copied a moment ago.
const BUSY_LIMIT: Duration = Duration::from_secs(10);

/// File of a [`Home`] with a configuration for which the list of prices is not old, whenever the test
/// runs.
const TIMELESS: &str = "timeless.toml";

/// What a program did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// What it wrote, where it wrote nothing else and succeeded.
    #[track_caller]
    pub(crate) fn text(self) -> String {
        assert_eq!(
            (self.code, self.err.as_str()),
            (Some(0), ""),
            "{}",
            self.out
        );
        self.out
    }
}

pub(crate) fn ran(command: &mut Command) -> Ran {
    let name = command.get_program().to_owned();
    command.stdin(Stdio::null());
    let deadline = Instant::now() + BUSY_LIMIT;
    let output = loop {
        match command.output() {
            Ok(output) => break output,
            // A copy of the binary is busy for as long as a child that another test forked while
            // it was written has not come to its exec.
            Err(error)
                if error.kind() == ErrorKind::ExecutableFileBusy && Instant::now() < deadline =>
            {
                thread::yield_now();
            }
            Err(error) => panic!("cannot run {name:?}: {error}; is it installed?"),
        }
    };
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn host() -> HostFacts {
    HostFacts {
        machine_id_hash: "00112233445566778899aabbccddeeff".to_owned(),
        host_name: "build-01".to_owned(),
        kernel: "6.12.0".to_owned(),
        boot_id: "b0071d".to_owned(),
        agent_version: "0.1.0".to_owned(),
        account_key: AccountKey::new("secret of the host"),
    }
}

pub(crate) fn process(pid: u32, comm: &str, exe: &str, user: &str) -> Arc<Process> {
    Arc::new(Process {
        id: ProcId {
            pid,
            start_ticks: 1_000 + u64::from(pid),
        },
        ancestors: vec![Ancestor {
            id: ProcId {
                pid: 1,
                start_ticks: 1,
            },
            comm: "systemd".to_owned(),
            ..Ancestor::default()
        }],
        exe: Some(exe.to_owned()),
        comm: comm.to_owned(),
        argv0: Some(comm.to_owned()),
        uid: 1_000 + pid % 2,
        user_name: Some(user.to_owned()),
        cwd: Some(format!("/home/{user}/src/shop")),
        cgroup: Some("/user.slice".to_owned()),
        started_ns: 5_000_000_000,
        source: FactSource::Proc,
        ..Process::default()
    })
}

/// A cost that covers all that was used.
pub(crate) fn priced(cost_nanousd: u64) -> Priced {
    Priced {
        cost_nanousd: Some(cost_nanousd),
        status: CostStatus::Priced,
        price: None,
    }
}

/// A finished call of Claude Code with 1,000 tokens of input, 800 of them cached, and 50 of output.
pub(crate) fn record(identity: &str, started: &str) -> UsageRecord {
    let at = |ms| Timestamp::from_nanos(0) + Duration::from_millis(ms);
    let conn = ConnId {
        pid: 7_781,
        ssl: 0x7f00,
        since: at(0),
    };
    UsageRecord {
        call: LlmCall {
            exchange: ExchangeId { conn, number: 0 },
            started: at(10),
            first_token: Some(at(400)),
            ended: at(3_210),
            provider: Provider("anthropic"),
            endpoint: Endpoint::AnthropicMessages,
            server_name: Some("api.anthropic.com".to_owned()),
            model_requested: Some("claude-opus-5-5".to_owned()),
            model_served: Some("claude-opus-5-5-20260901".to_owned()),
            is_stream: true,
            http_status: Some(200),
            outcome: Outcome::Complete,
            stop_reason: Some("end_turn".to_owned()),
            usage: Usage {
                input_uncached: Some(150),
                cache_read: Some(800),
                cache_write_5m: Some(50),
                cache_write_1h: Some(0),
                output: Some(50),
                ..Usage::default()
            },
            usage_source: UsageSource::Provider,
            estimates: Estimates::default(),
            units: Units::default(),
            sub_inferences: Vec::new(),
            terms: Terms::default(),
            reported_cost_nanousd: None,
            attempt: None,
            aborted_by: None,
            response_id: Some(identity.to_owned()),
            user_agent: Some("claude-cli/2.1.0".to_owned()),
            originator: None,
            hints: SessionHints::default(),
            signals: Signals::default(),
            observed_bytes: 0,
            countable: None,
        },
        process: Some(process(7_781, "node", "/usr/bin/node", "dana")),
        client: Client {
            name: Some("claude-code".to_owned()),
            version: Some("2.1.0".to_owned()),
        },
        session: SessionKey("8f31c2aa-1b2c-4d5e-8f90-a1b2c3d4e5f6".to_owned()),
        key_source: KeySource::ClientHeader,
        identity: format!("anthropic:{identity}"),
        started_unix_ms: ms(started),
        ttft_ms: Some(390),
        duration_ms: 3_200,
        retry_of: None,
        hop: None,
        cost: priced(4_625_000),
        sub_costs: Vec::new(),
        workflow: Arc::new(Workflow::unattributed()),
        thread: Thread::main(),
        task: TaskType::Chat,
        is_human_turn: false,
        compacted: None,
        continues: None,
    }
}

/// A finished call of a Python program, counted here: the provider reported nothing.
pub(crate) fn estimated(identity: &str, started: &str) -> UsageRecord {
    let mut record = record(identity, started);
    record.call.provider = Provider("openai");
    record.call.endpoint = Endpoint::OpenAiChat;
    record.call.server_name = Some("api.openai.com".to_owned());
    record.call.model_requested = Some("gpt-5.6-sol".to_owned());
    record.call.model_served = None;
    record.call.usage = Usage {
        input_uncached: Some(2_000),
        output: Some(100),
        ..Usage::default()
    };
    record.call.usage_source = UsageSource::Estimated;
    record.cost = priced(11_000_000);
    record.process = Some(process(1_202, "python3", "/usr/bin/python3.12", "app"));
    record.client = Client {
        name: Some("openai-python".to_owned()),
        version: None,
    };
    record.session = SessionKey("p1202-1".to_owned());
    record.key_source = KeySource::ProcessIdle;
    record.identity = format!("openai:{identity}");
    record
}

/// A call of which nothing but its existence is known.
pub(crate) fn unknown(identity: &str, started: &str) -> UsageRecord {
    let mut record = estimated(identity, started);
    record.call.usage = Usage::default();
    record.call.usage_source = UsageSource::None;
    record.cost = Priced::default();
    record.call.outcome = Outcome::Aborted;
    record.call.response_id = None;
    record.ttft_ms = None;
    record
}

pub(crate) fn usage(record: UsageRecord) -> Output {
    Output::Usage(Box::new(record))
}

pub(crate) fn coverage(minute: &str, outcome: CoverageOutcome, events: u64) -> Output {
    Output::Coverage(CoverageMinute {
        minute_unix_ms: ms(minute),
        process: Some(process(7_781, "node", "/usr/bin/node", "dana")),
        outcome,
        events,
        bytes: events * 100,
    })
}

pub(crate) fn ms(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

/// Compares with a file in `tests/e2e/golden`; `BLESS=1` rewrites it, and the diff is reviewed.
#[track_caller]
pub(crate) fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/e2e/golden")
        .join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text,
        golden,
        "differs from {}; BLESS=1 rewrites it",
        path.display()
    );
}

/// True where a test may become another user; only root can.
pub(crate) fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("SKIP becoming another user: needs root");
    }
    is_root
}

/// A ledger with a little of everything, on two days.
pub(crate) fn mixed() -> Home {
    let mut late = record("msg_3", "2026-11-02T09:30:00Z");
    late.call.outcome = Outcome::Error;
    late.call.http_status = Some(529);
    late.call.usage = Usage::default();
    late.call.usage_source = UsageSource::None;
    late.cost = Priced::default();
    let mut big = record("msg_2", "2026-11-02T09:00:00Z");
    big.call.usage.cache_read = Some(123_456_789);
    let home = Home::with(&[
        usage(record("msg_1", "2026-11-01T15:04:10Z")),
        usage(estimated("chat_1", "2026-11-01T18:20:00Z")),
        usage(big),
        usage(late),
        usage(unknown("chat_2", "2026-11-02T10:00:00Z")),
        coverage("2026-11-01T15:04:00Z", CoverageOutcome::Decoded, 994),
        coverage("2026-11-02T09:00:00Z", CoverageOutcome::Truncated, 6),
    ]);
    home.timeless()
}
