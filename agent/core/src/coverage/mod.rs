//! How much of the observed LLM traffic was understood, minute by minute.
//!
//! *Takes* finished records, losses, and connections that cannot be read. *Gives*
//! [`CoverageMinute`]s, and [`Callers`]: which processes talk to which hosts. *Remembers* the minutes
//! that are not over, and the processes of the last hour. *Nonsense* does not reach it.

mod callers;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use callers::{Caller, Callers, Host, Seen};

use crate::event::{ProcId, Process};
use crate::llm::{Outcome, UsageSource};
use crate::session::UsageRecord;

/// What became of calls or records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CoverageOutcome {
    /// Calls with the provider's usage.
    Decoded,
    /// Whole calls for which the provider reported no usage; they are counted here.
    NoUsage,
    /// Calls of which bytes are missing or that were cut.
    Truncated,
    /// Connections to a provider, by their handshake, that carry no HTTP that can be read.
    Undecodable,
    /// Connections to a provider whose plaintext was not seen: the TLS library of their process is
    /// not hooked. Their bytes are those that they carried, counted in the minute of their end.
    Unprobed,
    /// Records that the kernel lost, of whatever connection.
    LostEvent,
}

impl CoverageOutcome {
    /// Name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decoded => "decoded",
            Self::NoUsage => "no_usage",
            Self::Truncated => "truncated",
            Self::Undecodable => "undecodable",
            Self::Unprobed => "unprobed",
            Self::LostEvent => "lost_event",
        }
    }
}

/// One minute of one process, or a part of it: parts of one minute add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoverageMinute {
    /// Start of the minute, in milliseconds since the Unix epoch.
    pub minute_unix_ms: i64,
    /// Process; `None` where it is not known.
    pub process: Option<Arc<Process>>,
    /// What became of them.
    pub outcome: CoverageOutcome,
    /// How many calls, connections, or lost records.
    pub events: u64,
    /// Bytes seen of the bodies of calls, those of lost records, or what unprobed connections
    /// carried; 0 for connections that cannot be decoded, whose bytes are not copied any more.
    pub bytes: u64,
}

const MINUTE_MS: i64 = 60_000;

type Key = (i64, Option<ProcId>, CoverageOutcome);

/// The minutes that are not over.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    minutes: BTreeMap<Key, CoverageMinute>,
    callers: Callers,
}

impl Coverage {
    /// A call was recorded.
    pub(crate) fn call(&mut self, record: &UsageRecord) {
        let ended_ms = record
            .started_unix_ms
            .saturating_add(i64::try_from(record.duration_ms).unwrap_or(i64::MAX));
        let outcome = match (record.call.outcome, record.call.usage_source) {
            (Outcome::Incomplete | Outcome::Aborted, _) => CoverageOutcome::Truncated,
            (_, UsageSource::Provider) | (Outcome::Error | Outcome::Unanswered, _) => {
                CoverageOutcome::Decoded
            }
            (Outcome::Complete, _) => CoverageOutcome::NoUsage,
        };
        let bytes = record.call.observed_bytes;
        if let Some(process) = &record.process {
            let host = record.call.server_name.as_deref();
            self.callers.note(ended_ms, process, host, outcome);
        }
        self.add(ended_ms, record.process.clone(), outcome, 1, bytes);
    }

    /// A connection to a provider's host cannot be read.
    pub(crate) fn undecodable(&mut self, unix_ms: i64, process: Option<Arc<Process>>, host: &str) {
        let outcome = CoverageOutcome::Undecodable;
        if let Some(process) = &process {
            self.callers.note(unix_ms, process, Some(host), outcome);
        }
        self.add(unix_ms, process, outcome, 1, 0);
    }

    /// The plaintext of a connection to a provider's host is not seen. That is told at once, not at
    /// the end of the minute: whoever looks at a report shall not take it for nothing.
    pub(crate) fn unprobed(
        &mut self,
        unix_ms: i64,
        process: Option<Arc<Process>>,
        host: &str,
        bytes: u64,
    ) -> CoverageMinute {
        let outcome = CoverageOutcome::Unprobed;
        if let Some(process) = &process {
            self.callers.note(unix_ms, process, Some(host), outcome);
        }
        minute(unix_ms, process, outcome, 1, bytes)
    }

    /// An unprobed connection has ended.
    pub(crate) const fn unprobed_bytes(
        unix_ms: i64,
        process: Option<Arc<Process>>,
        bytes: u64,
    ) -> CoverageMinute {
        minute(unix_ms, process, CoverageOutcome::Unprobed, 0, bytes)
    }

    /// The processes that talk to LLM hosts.
    pub(crate) const fn callers(&self) -> &Callers {
        &self.callers
    }

    /// Forgets the processes that were silent for long.
    pub(crate) fn forget_callers(&mut self, now_unix_ms: i64) {
        self.callers.forget_before(now_unix_ms);
    }

    /// The kernel lost records.
    pub(crate) fn lost(&mut self, unix_ms: i64, records: u64, bytes: u64) {
        self.add(unix_ms, None, CoverageOutcome::LostEvent, records, bytes);
    }

    /// Takes out the minutes that ended before `unix_ms`.
    pub(crate) fn finished_before(&mut self, unix_ms: i64) -> impl Iterator<Item = CoverageMinute> {
        let open = unix_ms.div_euclid(MINUTE_MS) * MINUTE_MS;
        let rest = self
            .minutes
            .split_off(&(open, None, CoverageOutcome::Decoded));
        std::mem::replace(&mut self.minutes, rest).into_values()
    }

    fn add(
        &mut self,
        unix_ms: i64,
        process: Option<Arc<Process>>,
        outcome: CoverageOutcome,
        events: u64,
        bytes: u64,
    ) {
        let empty = minute(unix_ms, process, outcome, 0, 0);
        let key = (
            empty.minute_unix_ms,
            empty.process.as_ref().map(|process| process.id),
            outcome,
        );
        let minute = self.minutes.entry(key).or_insert(empty);
        minute.events = minute.events.saturating_add(events);
        minute.bytes = minute.bytes.saturating_add(bytes);
    }
}

/// The minute of a moment.
const fn minute(
    unix_ms: i64,
    process: Option<Arc<Process>>,
    outcome: CoverageOutcome,
    events: u64,
    bytes: u64,
) -> CoverageMinute {
    CoverageMinute {
        minute_unix_ms: unix_ms.div_euclid(MINUTE_MS) * MINUTE_MS,
        process,
        outcome,
        events,
        bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_leave_once_and_only_when_they_are_over() {
        let mut coverage = Coverage::default();
        coverage.lost(59_999, 1, 10);
        coverage.lost(10, 2, 20);
        coverage.lost(60_000, 4, 40);
        let minute = |minute_unix_ms, events, bytes| CoverageMinute {
            minute_unix_ms,
            process: None,
            outcome: CoverageOutcome::LostEvent,
            events,
            bytes,
        };
        assert_eq!(coverage.finished_before(59_999).collect::<Vec<_>>(), []);
        assert_eq!(
            coverage.finished_before(60_000).collect::<Vec<_>>(),
            [minute(0, 3, 30)]
        );
        assert_eq!(
            coverage.finished_before(i64::MAX).collect::<Vec<_>>(),
            [minute(60_000, 4, 40)]
        );
    }
}
