//! Composition root: builds all, starts all, stops in order.
//!
//! Order of the start: ledger, consumers, programs, probes; so nothing is captured that nobody
//! takes. Order of the stop: probes, ring, line, ledger; each part ends when its input ends.
//!
//! tidy: long because the parts do not know each other, and this is the one place that joins them.

use std::fs::{self, OpenOptions};
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use agent_core::event::ConnId;
use agent_core::pipeline::{self, Output, Pipeline};
use agent_core::{llm, recording, session, watch};
use anyhow::{Context as _, anyhow, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::alert;
use crate::callers::Callers;
use crate::capture::attach::Attacher;
use crate::capture::checks::CheckCounts;
use crate::capture::discover::Discovery;
use crate::capture::executables::Executables;
use crate::capture::hooks::Target;
use crate::capture::latency::Delays;
use crate::capture::reader::{self, Act, Channels, Noticed, SharedLosses};
use crate::capture::self_check::SelfCheck;
use crate::capture::support::{AttachKind, SocketSupport};
use crate::capture::{loader, support};
use crate::config::{self, Argv, Config, Provider};
use crate::keeper::{self, CallLines, Keeper, NewWatching, Watching};
use crate::line::{self, SharedCallers, SharedStats};
use crate::memory::Memory;
use crate::metrics::{self, Exports, Metrics};
use crate::report::CallLine;
use crate::service::{Manager, Pulse, Vitals};
use crate::store::{AgentStatus, FailedFile, HookedFile, HostFacts, Keep, Retention, Writer};
use crate::telemetry::{self, Lines};
use crate::{causes, cli, otlp, prices, privilege, process, reload, watcher};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// From here on files are hooked without the rights that loading needs.
const LINKS_WITHOUT_RIGHTS: support::KernelVersion = support::KernelVersion {
    major: 6,
    minor: 12,
};

/// File beside the ledger that keeps what was found in other files.
const RESULTS_FILE: &str = "tls-files.json";

/// LIMIT: batches of at most 256 KiB between ring and line, less where memory is limited. When they
/// are full the reader waits, the ring fills, and what is lost is counted.
const STREAM_BATCHES: usize = 64;

/// LIMIT: batches of records between line and ledger. When they are full the line waits.
const OUTPUT_BATCHES: usize = 1_024;

/// LIMIT: doings of processes that wait to be looked at. Beyond it they are left to the next scan.
const WAITING_NOTICES: usize = 16_384;

/// LIMIT: how long the start waits until everything that was there is hooked. Beyond it the agent is
/// ready, and the rest follows.
const FIRST_LOOK_LIMIT: Duration = Duration::from_secs(10);

/// How often a watchdog that does not exist is thought of.
const FEED_NOBODY: Duration = Duration::from_secs(3_600);

/// LIMIT: how long a stop may take, the detaching of probes excepted: the kernel takes up to
/// 150 ms for each perf uprobe.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Watches the host until interrupted. `reread` gives the configuration as it is written by then.
///
/// # Errors
///
/// The watching can't begin, or what was seen can't be stored.
pub fn run(
    config: &Config,
    reread: &dyn Fn() -> anyhow::Result<Config>,
    _: &cli::Run,
) -> anyhow::Result<()> {
    let kind = attach_kind()?;
    privilege::protect();
    privilege::allow_files();
    let writer = ledger(config)?;
    tracing::info!(ledger = %writer.path().display(), "writing");

    let memory = Memory::of_this_process();
    let (outputs, outputs_in) = mpsc::sync_channel(OUTPUT_BATCHES);
    let (stream, stream_in) = mpsc::sync_channel(memory.share(STREAM_BATCHES));
    let (ignored, ignored_in) = mpsc::channel();
    let shared = line::Shared::default();
    let vitals = Vitals {
        line: shared.pulse.clone(),
        ..Vitals::default()
    };
    let watched = Arc::new(Mutex::new(Watched {
        memory,
        ..Watched::new()
    }));
    if let Some(shortfall) = memory.shortfall() {
        tracing::warn!("{shortfall}");
    }

    let lines = if std::io::stdout().is_terminal() {
        CallLines::Printed(
            config.daemon.timezone.rules(),
            Lines::start("calls", std::io::stdout()).context("can't start the thread calls")?,
        )
    } else {
        CallLines::Off
    };
    let status = status_of(
        Arc::clone(&watched),
        Arc::clone(&shared.stats),
        Arc::clone(&shared.callers),
        vitals.keeper.clone(),
    );
    let watching = watching(config);
    let changed = NewWatching::default();
    let metrics = Metrics::new(metrics::About {
        version: VERSION,
        price_table_unix_ms: watching.settings.price_list_ms,
        session_idle: config.session.idle,
    });
    // They end after the ledger is closed, when this function does.
    let _exports = Exports::start(&metrics, &config.metrics)?;
    let otlp = otlp::Exporter::start(otlp::Settings {
        to: config.otlp.clone(),
        host_name: watching.settings.host_name.clone(),
        version: VERSION,
    })
    .context("can't start the thread otlp")?;
    let keeper = Keeper::new(writer, lines, status, watching)
        .with_most_waiting(memory.share(keeper::MAX_WAITING))
        .with_changes(Arc::clone(&changed))
        .with_metrics(metrics)
        .with_otlp(otlp);
    let keeper = start("store", move || {
        // The channels' threads begin here, and have no more.
        privilege::keep(
            privilege::READING
                .union(privilege::WRITING)
                .union(privilege::BECOMING),
        );
        keeper.run(&outputs_in).context("the ledger can't be kept")
    })?;
    let rules = Arc::clone(&shared.rules);
    let line = {
        let mut settings = settings(config);
        settings.hash_key = drawn_key().context("no key can be drawn at random")?;
        memory.divide(&mut settings);
        let pipeline = Pipeline::new(settings);
        start("line", move || {
            privilege::keep(privilege::NOTHING);
            line::run(
                pipeline,
                &stream_in,
                &outputs,
                &ignored,
                &shared,
                reader::now,
            );
            Ok(())
        })?
    };
    let mut in_force = config.clone();
    let mut reload = || take_over(&mut in_force, reread, &rules, &changed);
    let mut upkeep = Upkeep {
        manager: Manager::of_environment(vitals.clone()),
        reader: vitals.reader,
        // A terminal that goes away ends what was started in it.
        reload: (!std::io::stdin().is_terminal()).then_some(&mut reload),
    };
    capture(kind, config, stream, ignored_in, &watched, &mut upkeep)?;
    let deadline = Instant::now() + STOP_LIMIT;
    join(line, deadline)?;
    join(keeper, deadline)
}

/// Records what the probes see, until interrupted.
///
/// # Errors
///
/// The watching can't begin, or the file can't be written.
pub fn record(config: &Config, arguments: &cli::Record) -> anyhow::Result<()> {
    let kind = attach_kind()?;
    privilege::protect();
    privilege::allow_files();
    let path = &arguments.file;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("can't make the recording {}", path.display()))?;
    tracing::warn!(
        file = %path.display(),
        "recording the plaintext of every TLS connection, prompts and credentials included; delete the file when you are done"
    );
    let (stream, stream_in) = mpsc::sync_channel::<Vec<u8>>(STREAM_BATCHES);
    let (_ignored, ignored_in) = mpsc::channel();
    let shown = path.clone();
    let writer = start("record", move || {
        let failed = || format!("can't write the recording {}", shown.display());
        file.write_all(&recording::header()).with_context(failed)?;
        for batch in stream_in {
            file.write_all(&batch).with_context(failed)?;
        }
        file.sync_all().with_context(failed)
    })?;
    let vitals = Vitals::default();
    capture(
        kind,
        config,
        stream,
        ignored_in,
        &Arc::new(Mutex::new(Watched::new())),
        &mut Upkeep {
            manager: Manager::of_environment(vitals.clone()),
            reader: vitals.reader,
            reload: None,
        },
    )?;
    join(writer, Instant::now() + STOP_LIMIT)
}

/// How probes are to be attached; asked before anything is opened or made.
///
/// # Errors
///
/// Rights are missing, or the kernel lets nothing be watched.
fn attach_kind() -> anyhow::Result<AttachKind> {
    privilege::check()?;
    support::check()?;
    let kind = AttachKind::of_this_kernel();
    if kind == AttachKind::Single {
        privilege::check_attaching_singly()?;
    }
    Ok(kind)
}

/// Runs a recording through the line, into the ledger.
///
/// # Errors
///
/// The recording can't be read, or the ledger can't be written.
pub fn replay(config: &Config, arguments: &cli::Replay) -> anyhow::Result<()> {
    let path = &arguments.file;
    let bytes =
        fs::read(path).with_context(|| format!("can't read the recording {}", path.display()))?;
    let frames =
        recording::read(&bytes).with_context(|| format!("can't replay {}", path.display()))?;
    let (outputs, _) = pipeline::replay(settings(config), &frames);
    let mut writer = ledger(config)?;
    let applied = writer.apply(&outputs)?;
    writer.close()?;
    let zone = config.daemon.timezone.rules();
    let mut out = std::io::stdout().lock();
    for output in &outputs {
        if let Output::Usage(record) = output {
            writeln!(out, "{}", CallLine::from(record.as_ref()).in_zone(&zone))?;
        }
    }
    writeln!(
        out,
        "{} calls: {} new, {} completed, {} known already",
        applied.inserted + applied.improved + applied.unchanged,
        applied.inserted,
        applied.improved,
        applied.unchanged
    )?;
    Ok(())
}

/// The ledger, to be written.
fn ledger(config: &Config) -> anyhow::Result<Writer> {
    let keep = Keep {
        cwd: config.privacy.store_cwd,
        argv0: config.privacy.store_argv == Argv::Argv0,
    };
    let mut writer = Writer::open(&config.daemon.db, HostFacts::of_this_host(VERSION), keep)?;
    writer.set_session_idle(config.session.idle)?;
    let config::Retention {
        request_days,
        rollup_days,
        coverage_days,
        rate_limit_days,
        max_mb,
    } = config.retention;
    writer.set_retention(Retention {
        request_days,
        rollup_days,
        coverage_days,
        rate_limit_days,
        max_mb,
    });
    Ok(writer)
}

/// Takes over what can be of a changed configuration; a wrong one changes nothing.
fn take_over(
    in_force: &mut Config,
    reread: &dyn Fn() -> anyhow::Result<Config>,
    rules: &line::NewRules,
    changed: &NewWatching,
) -> Reloaded {
    let new = match reread() {
        Ok(new) => new,
        Err(error) => {
            let error = causes::in_one_line(error.as_ref()).replace('\n', " ");
            tracing::error!(%error, "the configuration is wrong; the one before stays in force");
            return Reloaded::Refused;
        }
    };
    let change = reload::change(in_force, new);
    if !change.waiting.is_empty() {
        let sections = change.waiting.join(", ");
        tracing::warn!(%sections, "changed, but in force only after a restart");
    }
    let sections = change.taken.join(", ");
    tracing::info!(%sections, "the configuration is taken over, and the list of prices");
    *in_force = change.config;
    let new = pipeline::Rules {
        hosts: hosts(in_force),
        prices: Arc::new(prices::prices(in_force)),
        workflows: Arc::new(in_force.workflows()),
    };
    *rules.lock().unwrap_or_else(PoisonError::into_inner) = Some(new);
    *changed.lock().unwrap_or_else(PoisonError::into_inner) = Some(watching(in_force));
    Reloaded::Taken
}

/// What became of a changed configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reloaded {
    Taken,
    Refused,
}

/// What the main thread does beside watching.
struct Upkeep<'a> {
    manager: Manager,
    reader: Pulse,
    /// What SIGHUP asks for; where it is nothing, SIGHUP stops the agent.
    reload: Option<&'a mut dyn FnMut() -> Reloaded>,
}

fn hosts(config: &Config) -> llm::Hosts {
    let rule = |provider: &Provider| llm::Rule {
        provider: provider.name.clone(),
        hosts: provider.hosts.clone(),
        path: provider.path.clone(),
        format: provider.format.and_then(llm::Endpoint::of_name),
    };
    llm::Hosts::new(config.providers.iter().map(rule).collect())
}

fn settings(config: &Config) -> pipeline::Settings {
    pipeline::Settings {
        hosts: hosts(config),
        session: session::Settings {
            idle: config.session.idle,
        },
        prices: Arc::new(prices::prices(config)),
        workflows: Arc::new(config.workflows()),
        ..pipeline::Settings::default()
    }
}

/// What is watched of what is spent, and who is told.
fn watching(config: &Config) -> Watching {
    let prices = Arc::new(prices::prices(config));
    let rules = watch::Settings {
        budgets: config.budgets.clone(),
        zone: Some(config.daemon.timezone.rules()),
        runaway: config.runaway.clone(),
        spike: config.spike,
        upkeep: config.rules,
    };
    Watching {
        settings: watcher::Settings {
            rules,
            price_list_ms: prices.list().about.as_of_ms,
            prices,
            host_name: HostFacts::of_this_host(VERSION).host_name,
        },
        channels: alert::Channels::new(&config.channels),
        budget_of: config::budget_of,
        definition_of: config::definition_of,
    }
}

/// The key of the hashes of one run. It is kept nowhere, so that they tell nothing afterwards.
fn drawn_key() -> rustix::io::Result<llm::HashKey> {
    let mut key = [0; 16];
    rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())?;
    Ok(llm::HashKey::new(key))
}

/// What the capturing side shows of itself.
struct Watched {
    started_unix_ms: i64,
    memory: Memory,
    kind: &'static str,
    /// What is not known of sockets.
    shortfall: Option<&'static str>,
    /// Rights that the watching threads keep.
    capabilities: Vec<String>,
    /// What they can't do for want of others.
    unreadable: Option<&'static str>,
    targets: Vec<Target>,
    /// The same, and files whose TLS library is not looked into.
    carriers: Vec<Target>,
    delays: Delays,
    degraded: Option<String>,
    self_check: String,
    checks: CheckCounts,
    losses: SharedLosses,
}

impl Watched {
    fn new() -> Self {
        Self {
            started_unix_ms: jiff::Timestamp::now().as_millisecond(),
            memory: Memory::within(None),
            kind: "",
            shortfall: None,
            capabilities: Vec::new(),
            unreadable: None,
            targets: Vec::new(),
            carriers: Vec::new(),
            delays: Delays::default(),
            degraded: None,
            self_check: String::new(),
            checks: CheckCounts::default(),
            losses: SharedLosses::default(),
        }
    }

    fn look_at(&mut self, discovery: &Discovery) {
        self.targets = discovery.targets().cloned().collect();
        self.carriers = discovery.carriers().cloned().collect();
        self.delays = discovery.delays().clone();
        self.degraded = discovery.degraded().map(str::to_owned);
        self.self_check = discovery.self_check().to_owned();
        self.checks = discovery.check_counts();
    }
}

fn status_of(
    watched: Arc<Mutex<Watched>>,
    stats: SharedStats,
    callers: SharedCallers,
    pulse: Pulse,
) -> impl FnMut() -> AgentStatus + Send + 'static {
    let mut examined = Callers::default();
    move || {
        // The keeper asks in each of its turns that is long enough ago.
        pulse.beat();
        let callers = callers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
        let kernel = support::KernelVersion::running();
        let mut degraded = Vec::new();
        if kernel < support::FULL {
            degraded.push(format!(
                "kernel {kernel}: below {} probes are attached one by one and end slowly",
                support::FULL
            ));
        }
        if !support::in_initial_pid_namespace() {
            degraded.push(support::OTHER_IDS.to_owned());
        }
        degraded.extend(watched.degraded.clone());
        degraded.extend(watched.shortfall.map(str::to_owned));
        degraded.extend(watched.unreadable.map(str::to_owned));
        degraded.extend(watched.memory.shortfall());
        let mut status = AgentStatus {
            pid: std::process::id(),
            version: VERSION.to_owned(),
            started_unix_ms: watched.started_unix_ms,
            updated_unix_ms: jiff::Timestamp::now().as_millisecond(),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            attach_kind: watched.kind.to_owned(),
            self_check: watched.self_check.clone(),
            capabilities: watched.capabilities.clone(),
            degraded,
            callers: examined.list(&callers, &watched.carriers),
            ..AgentStatus::default()
        };
        for target in &watched.targets {
            let path = target.path.display().to_string();
            match &target.refusal {
                None => status.hooked.push(HookedFile {
                    path,
                    library: target.library.clone(),
                    found_by: target.found_by.clone(),
                    confidence: target.confidence.clone(),
                    functions: target.functions.clone(),
                }),
                Some(reason) => status.failed.push(FailedFile {
                    path,
                    reason: reason.clone(),
                }),
            }
        }
        status.count(&stats.lock().unwrap_or_else(PoisonError::into_inner));
        for (from, delays) in [
            ("exec", &watched.delays.from_exec),
            ("map", &watched.delays.from_map),
        ] {
            for (figure, value) in [
                ("count", delays.count()),
                ("p50_us", delays.percentile_us(50)),
                ("p90_us", delays.percentile_us(90)),
                ("p99_us", delays.percentile_us(99)),
                ("max_us", delays.longest_us()),
            ] {
                status
                    .counters
                    .insert(format!("hooked_from_{from}_{figure}"), value.into());
            }
        }
        for (name, count) in [
            ("self_checks_seen", watched.checks.seen),
            ("self_checks_unseen", watched.checks.unseen),
            ("self_checks_not_made", watched.checks.not_made),
            ("probe_renewals", watched.checks.renewals),
        ] {
            status.counters.insert(name.to_owned(), count.into());
        }
        let lost = watched
            .losses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        status
            .counters
            .insert("log_lines_dropped".to_owned(), telemetry::lost().into());
        status
            .counters
            .insert("program_runs_skipped".to_owned(), lost.skipped_runs.into());
        for (cpu, losses) in &lost.by_cpu {
            for (what, count) in [
                ("lost_records", losses.records()),
                ("lost_bytes", losses.bytes()),
                ("untracked_sockets", losses.untracked_sockets),
            ] {
                status
                    .counters
                    .insert(format!("{what}_cpu_{cpu}"), count.into());
            }
        }
        status
    }
}

/// What is read about processes.
pub fn facts(config: &Config) -> process::Facts {
    process::Facts {
        cwd: config.privacy.store_cwd,
        argv0: config.privacy.store_argv == Argv::Argv0,
        argument_patterns: config.argument_patterns(),
        ..process::Facts::default()
    }
}

/// Loads and attaches the kernel programs and reads their ring until a signal comes. Everything of
/// ours is out of the kernel when it returns.
fn capture(
    kind: AttachKind,
    config: &Config,
    stream: mpsc::SyncSender<Vec<u8>>,
    ignored: mpsc::Receiver<ConnId>,
    watched: &Arc<Mutex<Watched>>,
    upkeep: &mut Upkeep<'_>,
) -> anyhow::Result<()> {
    let most = if config.capture.sockets {
        SocketSupport::Traffic
    } else {
        SocketSupport::None
    };
    let ring = watched
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .memory
        .ring_bytes(config.capture.ring_bytes);
    let loaded = loader::load(kind, ring.get(), most)?;
    let losses = {
        let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.kind = kind.as_str();
        watched.shortfall = if most == SocketSupport::None {
            Some(
                "sockets are not followed (capture.sockets): connections that can't be decoded go unnoticed, and no peer's address is known",
            )
        } else {
            loaded.sockets.shortfall()
        };
        Arc::clone(&watched.losses)
    };
    let (noticed, mut noticed_in) = tokio::sync::mpsc::channel(WAITING_NOTICES);
    let self_check = Arc::new(SelfCheck::default());
    let executables = Arc::new(Executables::default());
    let reader = reader::Reader::new(
        loaded.ring,
        loaded.losses,
        reader::Maps {
            connections: loaded.connections,
            processes: loaded.ignored_processes,
            sockets: loaded.sockets,
        },
        process::Reader::new(facts(config)),
        reader::IgnoreList::new(&config.capture.ignore),
        Channels {
            stream,
            noticed,
            ignored,
            self_check: Arc::clone(&self_check),
            losses,
            executables: Arc::clone(&executables),
            pulse: upkeep.reader.clone(),
        },
    );
    let kept = rights(kind);
    let stop = Arc::new(AtomicBool::new(false));
    let capture = {
        let stop = Arc::clone(&stop);
        start("capture", move || {
            privilege::keep(kept);
            reader.run(&stop).context("the ring can't be read")
        })?
    };
    let attacher = Attacher::new(kind, loaded.programs);
    let results = config.daemon.db.with_file_name(RESULTS_FILE);
    let mut discovery = Discovery::new(Some(attacher), Some(results))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start the event loop")?;
    discovery.check_probes(
        self_check,
        config.capture.self_check_interval,
        reader::now(),
    );
    // Told before anything is looked at, so that nothing is missed in between.
    discovery.listen(executables);
    privilege::keep(kept);
    {
        let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.capabilities = privilege::held();
        watched.unreadable = privilege::shortfall();
        let capabilities = watched.capabilities.join(", ");
        tracing::info!(%capabilities, "kept of all rights");
    }
    let attended = runtime.block_on(attend(
        config,
        &mut discovery,
        &mut noticed_in,
        watched,
        &capture,
        upkeep,
    ));
    tracing::info!("stopping");
    upkeep.manager.stopping();
    discovery.detach();
    stop.store(true, Ordering::Release);
    // The programs stay loaded until the ring is empty; their entries would be gone with them.
    let read = join(capture, Instant::now() + STOP_LIMIT);
    drop(loaded.continuation);
    drop(discovery);
    attended.and(read)
}

/// What the threads that watch keep of their rights once the programs are loaded. That links of
/// `uprobe_multi` need none of those that loading needs is tested from 6.12 on.
fn rights(kind: AttachKind) -> privilege::Rights {
    let always = privilege::READING.union(privilege::WRITING);
    if kind == AttachKind::Multi && support::KernelVersion::running() >= LINKS_WITHOUT_RIGHTS {
        always
    } else {
        always.union(privilege::ATTACHING_SINGLY)
    }
}

/// Attaches to what is there and to what appears, until a signal comes or the reader ends.
async fn attend(
    config: &Config,
    discovery: &mut Discovery,
    noticed: &mut tokio::sync::mpsc::Receiver<Noticed>,
    watched: &Arc<Mutex<Watched>>,
    capture: &JoinHandle<anyhow::Result<()>>,
    upkeep: &mut Upkeep<'_>,
) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("can't wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("can't wait for SIGTERM")?;
    let mut hang_up = signal(SignalKind::hangup()).context("can't wait for SIGHUP")?;
    // A manager without a watchdog is told nothing.
    let mut feed = tokio::time::interval(upkeep.manager.interval().unwrap_or(FEED_NOBODY));
    discovery.scan_host(reader::now());
    let started = Instant::now();
    let mut is_ready = false;
    let mut revision = u64::MAX;
    let mut scan = tokio::time::interval(config.capture.scan_interval);
    scan.reset();
    loop {
        if discovery.revision() != revision {
            revision = discovery.revision();
            watched
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .look_at(discovery);
        }
        let left = FIRST_LOOK_LIMIT.saturating_sub(started.elapsed());
        if !is_ready && (!discovery.is_waiting() || left.is_zero()) {
            is_ready = true;
            tracing::info!(files = discovery.hooked(), "ready");
            upkeep.manager.ready(&state_of(discovery));
        }
        let mut pause = discovery
            .deadline()
            .map_or(config.capture.scan_interval, |due| due.since(reader::now()));
        if !is_ready {
            pause = pause.min(left);
        }
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => match &mut upkeep.reload {
                None => return Ok(()),
                Some(reload) => {
                    upkeep.manager.reloading();
                    let note = match reload() {
                        Reloaded::Taken => "",
                        Reloaded::Refused => "; the changed configuration is wrong, see the log",
                    };
                    upkeep.manager.ready(&format!("{}{note}", state_of(discovery)));
                }
            },
            _ = feed.tick() => upkeep.manager.feed(),
            noticed = noticed.recv() => match noticed {
                Some(Noticed { pid, at, act: Act::Executed }) => discovery.executed(pid, at),
                Some(Noticed { pid, at, act: Act::Exited }) => discovery.exited(pid, at),
                Some(Noticed { pid, at, act: Act::Connecting }) => discovery.connected(pid, at),
                // The reader ended by itself; why is in its result.
                None => return Ok(()),
            },
            () = discovery.attend(reader::now) => {}
            _ = tokio::time::sleep(pause) => discovery.expire(reader::now()),
            _ = scan.tick() => discovery.scan_processes(reader::now()),
        }
        if capture.is_finished() {
            return Ok(());
        }
    }
}

fn state_of(discovery: &Discovery) -> String {
    format!("watching {} files with a TLS library", discovery.hooked())
}

fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<JoinHandle<anyhow::Result<T>>> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .with_context(|| format!("can't start the thread {name}"))
}

/// Waits for a thread that is about to end.
fn join<T>(thread: JoinHandle<anyhow::Result<T>>, deadline: Instant) -> anyhow::Result<T> {
    let name = thread.thread().name().unwrap_or("unnamed").to_owned();
    while !thread.is_finished() {
        if Instant::now() >= deadline {
            bail!(
                "the thread {name} did not end within {} s",
                STOP_LIMIT.as_secs()
            );
        }
        thread::sleep(Duration::from_millis(2));
    }
    thread
        .join()
        .map_err(|_panic| anyhow!("the thread {name} panicked"))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FORMATS;

    #[test]
    fn every_format_of_the_configuration_is_an_api() {
        for format in FORMATS {
            assert!(llm::Endpoint::of_name(format).is_some(), "{format}");
        }
    }
}
