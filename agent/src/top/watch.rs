//! Reads the ledger as often as it changes, and no more.

use super::model::{Agent, Read};
use crate::store::{Error, Reader, Window};

/// LIMIT: what is read is this old at most; it also says how often slow sums are made.
const OLDEST_MS: i64 = 10_000;
const HOUR_MS: i64 = 60 * 60 * 1_000;

/// Opens the ledger.
pub(super) type Open<'a> = dyn Fn() -> Result<Reader, Error> + 'a;

/// The ledger, and what was last read of it.
pub(super) struct Watch<'a> {
    open: &'a Open<'a>,
    reader: Reader,
    window_ms: i64,
    read: Read,
    /// The state of the ledger that `read` is of, and when it was read.
    seen: Option<(i64, i64)>,
    /// When budgets and the sum of an hour were read.
    summed_ms: Option<i64>,
}

impl<'a> Watch<'a> {
    /// Sessions with a call within `window_ms`.
    ///
    /// # Errors
    /// Those of [`Reader::open`].
    pub(super) fn new(open: &'a Open<'a>, window_ms: i64) -> Result<Self, Error> {
        Ok(Self {
            open,
            reader: open()?,
            window_ms,
            read: Read::default(),
            seen: None,
            summed_ms: None,
        })
    }

    pub(super) const fn reader(&self) -> &Reader {
        &self.reader
    }

    /// What goes on at `now_ms`.
    ///
    /// # Errors
    /// Those of SQLite that do not pass; for the others what was read before stays.
    pub(super) fn refresh(&mut self, now_ms: i64) -> Result<&Read, Error> {
        match self.renew(now_ms) {
            Err(error) if error.is_retryable() && self.seen.is_some() => {}
            renewed => renewed?,
        }
        Ok(&self.read)
    }

    fn renew(&mut self, now_ms: i64) -> Result<(), Error> {
        let agent = if self.reader.is_written() {
            Agent::Runs
        } else {
            Agent::Gone
        };
        if agent != self.read.agent && self.seen.is_some() {
            // A new agent may have made a new file, and a file that nobody wrote was read as one
            // that does not change.
            // While it is being made it can't be opened: then it is tried again with the next frame.
            let Ok(reader) = (self.open)() else {
                return Ok(());
            };
            self.reader = reader;
            self.seen = None;
            self.summed_ms = None;
        }
        let version = self.reader.data_version()?;
        let at_ms = match agent {
            Agent::Runs => now_ms,
            Agent::Gone => self.reader.last_moment_ms()?.unwrap_or(now_ms),
        };
        self.read.agent = agent;
        self.read.at_ms = at_ms;
        let is_fresh = self.seen.is_some_and(|(seen, read_ms)| {
            seen == version && now_ms.saturating_sub(read_ms) < OLDEST_MS
        });
        if !is_fresh {
            self.read.live = self.reader.live(at_ms.saturating_sub(self.window_ms))?;
            self.seen = Some((version, now_ms));
        }
        let is_summed = self
            .summed_ms
            .is_some_and(|summed_ms| now_ms.saturating_sub(summed_ms) < OLDEST_MS);
        if !is_summed {
            self.read.budgets = self.reader.live_budgets()?;
            self.read.hour = self.reader.live_cost(Window {
                from_ms: at_ms.saturating_sub(HOUR_MS),
                until_ms: at_ms.saturating_add(1),
            })?;
            self.summed_ms = Some(now_ms);
        }
        Ok(())
    }
}
