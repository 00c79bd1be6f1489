//! Keeps the ledger: commits what the line gives, in batches, and goes on when the disk does not.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use agent_core::budget::Budget;
use agent_core::pipeline::Output;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

use crate::alert::{Channels, Courier};
use crate::causes;
use crate::metrics::Metrics;
use crate::otlp::Exporter;
use crate::report::CallLine;
use crate::store::{AgentStatus, BudgetRow, Error, Progress, SetBudget, Writer};
use crate::telemetry::Lines;
use crate::watcher::{self, Watcher};

/// How long records wait for others before they are committed. A crash loses at most these.
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);

/// LIMIT: records that are committed without waiting.
const COMMIT_RECORDS: usize = 1_000;

/// How often the agent says in the ledger what it does.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// Pause before a failed commit is tried again, and how many failures one is told of.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
const FAILURES_TOLD: u64 = 30;

/// LIMIT: how long the end waits for a ledger that can't be written.
const END_LIMIT: Duration = Duration::from_secs(6);
const END_PAUSE: Duration = Duration::from_millis(100);

/// LIMIT: how long the end waits for who reads the lines of calls.
const READER_LIMIT: Duration = Duration::from_secs(1);

/// How often the ledger is swept: what is older than it is to be kept is deleted.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3_600);

/// Pause between two steps of a sweep, in which others may write.
const SWEEP_STEP_INTERVAL: Duration = Duration::from_millis(20);

/// How often the rules are looked at while calls come or run, and while nothing does.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
const WATCH_IDLE_INTERVAL: Duration = Duration::from_secs(5);

/// LIMIT: records that wait while the ledger can't be written, about 100 MiB. Beyond it the oldest
/// are given up, which is counted and said.
pub const MAX_WAITING: usize = 100_000;

/// Whether a line is printed for each call.
#[derive(Clone, Debug)]
pub enum CallLines {
    /// Nobody reads them.
    Off,
    /// Here, with times of this zone.
    Printed(TimeZone, Lines),
}

/// What is watched, and over which channels somebody is told.
#[derive(Clone, Debug)]
pub struct Watching {
    /// The rules.
    pub settings: watcher::Settings,
    /// The channels.
    pub channels: Channels,
    /// Reads a budget that a command set, from its entry in JSON.
    pub budget_of: fn(&str) -> Result<Budget, String>,
    /// The entry of a budget, in JSON.
    pub definition_of: fn(&Budget) -> String,
}

impl Watching {
    /// The rules with the budgets that commands set, and all budgets as the ledger has them.
    fn with(&self, set: Vec<SetBudget>) -> (watcher::Settings, Vec<BudgetRow>) {
        let mut settings = self.settings.clone();
        let budgets = &mut settings.rules.budgets;
        let row = |budget: &Budget, definition, origin| BudgetRow {
            name: budget.name.to_string(),
            definition,
            origin,
        };
        let mut rows: Vec<BudgetRow> = budgets
            .iter()
            .map(|budget| row(budget, (self.definition_of)(budget), "config"))
            .collect();
        for SetBudget {
            name,
            definition_json,
        } in set
        {
            match (self.budget_of)(&definition_json) {
                Ok(budget) if budgets.iter().all(|known| known.name != budget.name) => {
                    rows.push(row(&budget, definition_json, "command"));
                    budgets.push(budget);
                }
                Ok(_) => {
                    tracing::warn!(
                        budget = name,
                        "the configuration has a budget of this name; the one that a command set is dropped"
                    );
                }
                Err(error) => {
                    tracing::warn!(budget = name, %error, "a budget that a command set can't be read; it is not watched");
                }
            }
        }
        (settings, rows)
    }
}

/// What is to be watched from now on, where that was changed.
pub type NewWatching = Arc<Mutex<Option<Watching>>>;

/// Keeps one ledger.
pub struct Keeper<S> {
    writer: Writer,
    lines: CallLines,
    status: S,
    watching: Watching,
    /// `None` until what the ledger has of before was read.
    watcher: Option<Watcher>,
    /// Budgets that commands set, as they were last seen, and what tells that others wrote.
    set: Vec<SetBudget>,
    foreign_version: Option<i64>,
    waiting: VecDeque<Output>,
    most_waiting: usize,
    given_up: u64,
    /// Commits that failed in a row.
    failures: u64,
    /// Whether the ledger is to be opened anew before anything else.
    is_broken: bool,
    committed: u64,
    /// What was last said of the ledger's size.
    complaint: Option<String>,
    metrics: Option<Metrics>,
    otlp: Option<Exporter>,
    changed: NewWatching,
}

impl<S: FnMut() -> AgentStatus> Keeper<S> {
    /// Keeps the ledger of `writer`; `status` says what the agent does, `watching` what is looked for.
    pub fn new(writer: Writer, lines: CallLines, status: S, watching: Watching) -> Self {
        Self {
            writer,
            lines,
            status,
            watching,
            watcher: None,
            set: Vec::new(),
            foreign_version: None,
            waiting: VecDeque::new(),
            most_waiting: MAX_WAITING,
            given_up: 0,
            failures: 0,
            is_broken: false,
            committed: 0,
            complaint: None,
            metrics: None,
            otlp: None,
            changed: NewWatching::default(),
        }
    }

    /// Has no more than this many records wait while the ledger can't be written.
    #[must_use]
    pub const fn with_most_waiting(mut self, most_waiting: usize) -> Self {
        self.most_waiting = most_waiting;
        self
    }

    /// Follows changes of what is watched.
    #[must_use]
    pub fn with_changes(mut self, changed: NewWatching) -> Self {
        self.changed = changed;
        self
    }

    /// Hands what is committed to OpenTelemetry, too.
    #[must_use]
    pub fn with_otlp(mut self, otlp: Option<Exporter>) -> Self {
        self.otlp = otlp;
        self
    }

    /// Tells `metrics` what is committed, too, what runs, and how budgets and alerts stand.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Runs until the outputs end, then commits and closes.
    ///
    /// # Errors
    ///
    /// The last records can't be stored.
    pub fn run(mut self, outputs: &Receiver<Vec<Output>>) -> Result<(), Error> {
        let mut commit_at: Option<Instant> = None;
        let mut status_at = Instant::now();
        let mut sweep_at = Instant::now();
        let mut watch_at = Instant::now();
        let mut is_busy = false;
        loop {
            let now = Instant::now();
            let next = status_at.min(sweep_at).min(watch_at);
            let next = commit_at.map_or(next, |commit_at| commit_at.min(next));
            let is_over = match outputs.recv_timeout(next.saturating_duration_since(now)) {
                Ok(batch) => {
                    self.take(batch);
                    is_busy = true;
                    watch_at = watch_at.min(Instant::now() + WATCH_INTERVAL);
                    commit_at = commit_at.or_else(|| Some(Instant::now() + COMMIT_INTERVAL));
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            let now = Instant::now();
            // What fails is not tried more often for being more.
            let is_full = self.waiting.len() >= COMMIT_RECORDS && self.failures == 0;
            let is_due = commit_at.is_some_and(|at| at <= now) || is_full;
            if is_over {
                return self.finish();
            }
            if is_due && !self.waiting.is_empty() {
                commit_at = match self.commit() {
                    Ok(()) => None,
                    Err(_told) => Some(Instant::now() + RETRY_INTERVAL),
                };
            } else if is_due {
                commit_at = None;
            }
            if status_at <= now {
                self.say_status();
                status_at = now + STATUS_INTERVAL;
            }
            if watch_at <= now && commit_at.is_none() {
                self.watch();
                let pause = match std::mem::take(&mut is_busy) {
                    true => WATCH_INTERVAL,
                    false => WATCH_IDLE_INTERVAL,
                };
                watch_at = Instant::now() + pause;
            }
            // Records that wait for the ledger go first.
            if sweep_at <= now && !is_due {
                let pause = match self.sweep() {
                    Progress::More => SWEEP_STEP_INTERVAL,
                    Progress::Done => SWEEP_INTERVAL,
                };
                sweep_at = Instant::now() + pause;
            }
        }
    }

    fn take(&mut self, batch: Vec<Output>) {
        if let CallLines::Printed(zone, lines) = &self.lines {
            for output in &batch {
                if let Output::Usage(record) = output {
                    let line = format!("{}\n", CallLine::from(record.as_ref()).in_zone(zone));
                    lines.say(line.as_bytes());
                }
            }
        }
        for output in batch {
            match output {
                // It is of the moment: nothing of it waits for the ledger.
                Output::Running(records) => {
                    if let Some(metrics) = &self.metrics {
                        metrics.running(&records);
                    }
                    if let Some(watcher) = &mut self.watcher {
                        watcher.run(records);
                    }
                }
                stored @ (Output::Usage(_)
                | Output::Coverage(_)
                | Output::Quota { .. }
                | Output::ProcessExited { .. }
                | Output::Ignore(_)) => self.waiting.push_back(stored),
            }
        }
        while self.waiting.len() > self.most_waiting {
            self.waiting.pop_front();
            self.given_up += 1;
        }
    }

    /// Commits what waits. What fails is told, and stays.
    fn commit(&mut self) -> Result<(), Error> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.try_to_commit() {
            self.is_broken |= error.is_of_device();
            if self.failures.is_multiple_of(FAILURES_TOLD) {
                tracing::error!(error = %causes::in_one_line(&error), waiting = self.waiting.len(), given_up = self.given_up, "the ledger can't be written; records wait, and observation goes on");
            }
            self.failures += 1;
            return Err(error);
        }
        if std::mem::take(&mut self.failures) > 0 {
            tracing::warn!(
                records = self.waiting.len(),
                given_up = self.given_up,
                "the ledger is written again; what waited is in it"
            );
        }
        self.waiting.clear();
        Ok(())
    }

    fn try_to_commit(&mut self) -> Result<(), Error> {
        if self.is_broken {
            self.writer.reopen()?;
            self.is_broken = false;
            self.watcher = None;
        }
        let outputs = &*self.waiting.make_contiguous();
        let mut applied = self.writer.apply(outputs);
        if applied.as_ref().is_err_and(Error::is_corrupt) {
            self.watcher = None;
            // What can't be read now looks the same.
            applied = self
                .writer
                .reopen()
                .and_then(|()| self.writer.apply(outputs));
        }
        if applied.as_ref().is_err_and(Error::is_corrupt) {
            self.writer.start_over()?;
            applied = self.writer.apply(outputs);
        }
        let applied = applied?;
        self.committed += applied.inserted;
        let writer = &self.writer;
        if let Some(metrics) = &self.metrics {
            metrics.committed(&self.waiting, |account| writer.account_hash(account));
        }
        if let Some(otlp) = &self.otlp {
            otlp.committed(&self.waiting);
        }
        if let Some(watcher) = &mut self.watcher {
            let told = watcher.committed(writer, self.waiting.make_contiguous(), unix_ms());
            if let Err(error) = told {
                tracing::warn!(error = %causes::in_one_line(&error), "what was stored can't be read back; budgets are read anew");
                self.watcher = None;
            }
        }
        Ok(())
    }

    /// Looks at all rules. What fails is tried again with the next look.
    fn watch(&mut self) {
        if let Err(error) = self.look() {
            tracing::warn!(error = %causes::in_one_line(&error), "budgets and rules can't be looked at; trying again");
        }
    }

    fn look(&mut self) -> Result<(), Error> {
        let writer = &mut self.writer;
        let changed = self
            .changed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(watching) = changed {
            self.watching = watching;
            self.watcher = None;
        }
        let version = writer.foreign_version()?;
        if self.foreign_version != Some(version) {
            let set = writer.set_by_command()?;
            if set != self.set {
                self.set = set;
                self.watcher = None;
            }
            self.foreign_version = Some(version);
        }
        match &mut self.watcher {
            Some(watcher) => {
                let stepped = watcher.step(writer, unix_ms());
                if let Some(metrics) = &self.metrics {
                    metrics.watched(watcher.statuses(), watcher.alerts());
                }
                stepped
            }
            None => {
                self.watcher = begin(writer, &self.watching, &self.set)?;
                Ok(())
            }
        }
    }

    /// Takes a step of a sweep. One that fails is told, and the next sweep goes on.
    fn sweep(&mut self) -> Progress {
        let writer = &mut self.writer;
        let progress = match writer.sweep(unix_ms()) {
            Ok(progress) => progress,
            Err(error) => {
                tracing::warn!(error = %causes::in_one_line(&error), "old rows can't be deleted; trying again in an hour");
                Progress::Done
            }
        };
        let complaint = writer.complaint();
        if progress == Progress::Done && complaint != self.complaint {
            if let Some(complaint) = &complaint {
                tracing::warn!("{complaint}");
            }
            self.complaint = complaint;
        }
        progress
    }

    fn say_status(&mut self) {
        let mut status = (self.status)();
        status.degraded.extend(self.complaint.clone());
        for (name, count) in [
            (
                "records_waiting",
                u64::try_from(self.waiting.len()).unwrap_or(u64::MAX),
            ),
            ("records_given_up", self.given_up),
            ("calls_committed", self.committed),
        ] {
            status.counters.insert(name.to_owned(), count.into());
        }
        let exported = self.otlp.iter().flat_map(Exporter::counters);
        let exported = exported.map(|(name, count)| (name.to_owned(), count.into()));
        status.counters.extend(exported);
        if let Some(metrics) = &self.metrics {
            metrics.status(&status.counters);
        }
        if let Some(watcher) = &mut self.watcher {
            let calls = status.counters.get("calls_evicted");
            let calls = calls.and_then(Value::as_u64).unwrap_or(0);
            watcher.give_up(unix_ms(), calls, self.given_up);
        }
        if let Err(error) = self.writer.set_status(&status) {
            tracing::warn!(error = %causes::in_one_line(&error), "the status can't be written");
        }
    }

    fn finish(mut self) -> Result<(), Error> {
        let deadline = Instant::now() + END_LIMIT;
        while let Err(error) = self.commit() {
            if Instant::now() >= deadline {
                tracing::error!(records = self.waiting.len(), "these records are lost");
                return Err(error);
            }
            thread::sleep(END_PAUSE);
        }
        if let CallLines::Printed(_, lines) = &self.lines {
            lines.finish(READER_LIMIT);
        }
        self.say_status();
        if let Some(watcher) = &mut self.watcher {
            watcher.step(&mut self.writer, unix_ms())?;
            watcher.finish(&mut self.writer, unix_ms())?;
        }
        self.writer.close()
    }
}

/// Reads what the ledger has of before; `None` if nobody could be told of anything.
fn begin(
    writer: &mut Writer,
    watching: &Watching,
    set: &[SetBudget],
) -> Result<Option<Watcher>, Error> {
    let (settings, rows) = watching.with(set.to_vec());
    writer.set_budgets(&rows, unix_ms())?;
    let courier = match Courier::start(watching.channels.clone()) {
        Ok(courier) => courier,
        Err(error) => {
            tracing::warn!(%error, "no thread can be started for alerts; trying again");
            return Ok(None);
        }
    };
    Watcher::begin(writer, settings, courier, unix_ms()).map(Some)
}

fn unix_ms() -> i64 {
    Timestamp::now().as_millisecond()
}
