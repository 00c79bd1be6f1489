//! Keeps the ledger: commits what the line gives, in batches, and goes on when the disk does not.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use agent_core::pipeline::Output;
use jiff::{Timestamp, tz::TimeZone};

use crate::causes;
use crate::report::CallLine;
use crate::store::{AgentStatus, Error, Progress, Writer};

/// How long records wait for others before they are committed. A crash loses at most these.
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);

/// LIMIT: records that are committed without waiting.
const COMMIT_RECORDS: usize = 1_000;

/// How often the agent says in the ledger what it does.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// Pause before a failed commit is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// How often the ledger is swept: what is older than it is to be kept is deleted.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3_600);

/// Pause between two steps of a sweep, in which others may write.
const SWEEP_STEP_INTERVAL: Duration = Duration::from_millis(20);

/// LIMIT: records that wait while the ledger can't be written, about 100 MiB. Beyond it the oldest
/// are given up, which is counted and said.
const MAX_WAITING: usize = 100_000;

/// Whether a line is printed for each call.
#[derive(Clone, Debug)]
pub enum CallLines {
    /// Nobody reads them.
    Off,
    /// To standard output, with times of this zone.
    Printed(TimeZone),
}

/// Keeps one ledger.
pub struct Keeper<S> {
    writer: Option<Writer>,
    lines: CallLines,
    status: S,
    waiting: VecDeque<Output>,
    given_up: u64,
    committed: u64,
    /// What was last said of the ledger's size.
    complaint: Option<String>,
}

impl<S: FnMut() -> AgentStatus> Keeper<S> {
    /// Keeps the ledger of `writer`; `status` says what the agent does.
    pub const fn new(writer: Writer, lines: CallLines, status: S) -> Self {
        Self {
            writer: Some(writer),
            lines,
            status,
            waiting: VecDeque::new(),
            given_up: 0,
            committed: 0,
            complaint: None,
        }
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
        loop {
            let now = Instant::now();
            let next = status_at.min(sweep_at);
            let next = commit_at.map_or(next, |commit_at| commit_at.min(next));
            let is_over = match outputs.recv_timeout(next.saturating_duration_since(now)) {
                Ok(batch) => {
                    self.take(batch);
                    commit_at = commit_at.or_else(|| Some(Instant::now() + COMMIT_INTERVAL));
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            let now = Instant::now();
            let is_due =
                commit_at.is_some_and(|at| at <= now) || self.waiting.len() >= COMMIT_RECORDS;
            if is_over {
                return self.finish();
            }
            if is_due && !self.waiting.is_empty() {
                commit_at = match self.commit() {
                    Ok(()) => None,
                    Err(error) => {
                        tracing::error!(error = %causes::in_one_line(&error), waiting = self.waiting.len(), "the ledger can't be written; records wait");
                        Some(now + RETRY_INTERVAL)
                    }
                };
            } else if is_due {
                commit_at = None;
            }
            if status_at <= now {
                self.say_status();
                status_at = now + STATUS_INTERVAL;
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
        if let CallLines::Printed(zone) = &self.lines {
            let mut out = io::stdout().lock();
            for output in &batch {
                if let Output::Usage(record) = output {
                    // Nobody may be reading: the ledger has it all the same.
                    writeln!(out, "{}", CallLine::from(record.as_ref()).in_zone(zone))
                        .unwrap_or_default();
                }
            }
        }
        self.waiting.extend(batch);
        while self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
            self.given_up += 1;
        }
    }

    fn commit(&mut self) -> Result<(), Error> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        let applied = match writer.apply(self.waiting.make_contiguous()) {
            Err(error) if error.is_corrupt() => {
                tracing::error!(error = %causes::in_one_line(&error), "the ledger is damaged; starting a new one");
                self.writer = self.writer.take().map(Writer::start_over).transpose()?;
                match &mut self.writer {
                    Some(writer) => writer.apply(self.waiting.make_contiguous())?,
                    None => return Err(error),
                }
            }
            other => other?,
        };
        self.committed += applied.inserted;
        self.waiting.clear();
        Ok(())
    }

    /// Takes a step of a sweep. One that fails is told, and the next sweep goes on.
    fn sweep(&mut self) -> Progress {
        let Some(writer) = &mut self.writer else {
            return Progress::Done;
        };
        let progress = match writer.sweep(Timestamp::now().as_millisecond()) {
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
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.set_status(&status)
        {
            tracing::warn!(error = %causes::in_one_line(&error), "the status can't be written");
        }
    }

    fn finish(mut self) -> Result<(), Error> {
        self.commit()?;
        self.say_status();
        match self.writer {
            Some(writer) => writer.close(),
            None => Ok(()),
        }
    }
}
