//! How much of the observed LLM traffic was understood, minute by minute.
//!
//! *Takes* finished records, losses, and connections that cannot be read. *Gives* [`CoverageMinute`]s. *Remembers* the minutes that
//! are not over. *Nonsense* does not reach it.

use std::collections::BTreeMap;
use std::sync::Arc;

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
            Self::LostEvent => "lost_event",
        }
    }
}

/// One minute of one process.
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
    /// Bytes seen of the bodies of calls, or those of lost records; 0 for connections, whose bytes
    /// are not copied any more.
    pub bytes: u64,
}

const MINUTE_MS: i64 = 60_000;

type Key = (i64, Option<ProcId>, CoverageOutcome);

/// The minutes that are not over.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    minutes: BTreeMap<Key, CoverageMinute>,
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
        self.add(ended_ms, record.process.clone(), outcome, 1, bytes);
    }

    /// A connection to a provider cannot be read.
    pub(crate) fn undecodable(&mut self, unix_ms: i64, process: Option<Arc<Process>>) {
        self.add(unix_ms, process, CoverageOutcome::Undecodable, 1, 0);
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
        let minute_unix_ms = unix_ms.div_euclid(MINUTE_MS) * MINUTE_MS;
        let key = (
            minute_unix_ms,
            process.as_ref().map(|process| process.id),
            outcome,
        );
        let minute = self.minutes.entry(key).or_insert(CoverageMinute {
            minute_unix_ms,
            process,
            outcome,
            events: 0,
            bytes: 0,
        });
        minute.events = minute.events.saturating_add(events);
        minute.bytes = minute.bytes.saturating_add(bytes);
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
