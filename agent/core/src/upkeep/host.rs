//! What the agent sees, what it loses, and how old its prices are.

use std::time::Duration;

use serde_json::json;

use super::{Settings, condition, is_within, reaches};
use crate::alert::{Condition, Rule, Severity};
use crate::recent::Recent;

const MINUTE: Duration = Duration::from_secs(60);
/// Minutes over which coverage is looked at.
const COVERAGE: usize = 10;
/// Bytes below which ten minutes say nothing about coverage.
const FEW_BYTES: u64 = 64 << 10;
/// How long what was found of coverage stays while there is hardly any traffic.
const QUIET: Duration = Duration::from_secs(60 * 60);
/// Minutes after a loss in which it is told.
const LOSSES: usize = 30;
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// How much of the traffic to providers is understood.
#[derive(Debug)]
pub(super) struct Coverage {
    /// Bytes that were understood, and all.
    recent: Recent<2>,
    first_unix_ms: Option<i64>,
    found: Option<Found>,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    first_unix_ms: i64,
    last_unix_ms: i64,
    understood: u64,
    observed: u64,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            recent: Recent::new(MINUTE, COVERAGE),
            first_unix_ms: None,
            found: None,
        }
    }
}

impl Coverage {
    pub(super) fn add(&mut self, unix_ms: i64, understood: u64, observed: u64) {
        if observed > 0 {
            self.first_unix_ms.get_or_insert(unix_ms);
            self.recent.add(unix_ms, [understood, observed]);
        }
    }

    pub(super) fn evaluate(&mut self, now_unix_ms: i64, settings: &Settings) -> Option<Condition> {
        let [understood, observed] = self.recent.sum(now_unix_ms, COVERAGE);
        // What was joined in the middle when the agent began is not understood, and says nothing.
        let window_ms = MINUTE.as_millis() * 10;
        let is_settled = self.first_unix_ms.is_some_and(|first| {
            u128::from(now_unix_ms.saturating_sub(first).max(0).unsigned_abs()) >= window_ms
        });
        if is_settled && observed >= FEW_BYTES {
            let is_low = !reaches(understood, observed, settings.coverage_percent);
            let before = self.found.map_or(now_unix_ms, |found| found.first_unix_ms);
            self.found = is_low.then_some(Found {
                first_unix_ms: before,
                last_unix_ms: now_unix_ms,
                understood,
                observed,
            });
        } else {
            self.found = self
                .found
                .filter(|found| is_within(found.last_unix_ms, now_unix_ms, QUIET));
        }
        let found = self.found?;
        let hundredths = u128::from(found.understood) * 10_000 / u128::from(found.observed.max(1));
        Some(condition(
            (Rule::Coverage, Severity::Ticket),
            &[],
            format!(
                "only {}.{:02} % of the bytes to and from providers were understood in 10 minutes; \
                 `bpftok doctor` says which processes are not",
                hundredths / 100,
                hundredths % 100
            ),
            json!({
                "understood_bytes": found.understood,
                "observed_bytes": found.observed,
                "threshold_percent": settings.coverage_percent,
                "first_unix_ms": found.first_unix_ms,
                "last_unix_ms": found.last_unix_ms,
            }),
        ))
    }
}

/// Events that were lost between kernel and agent.
#[derive(Debug)]
pub(super) struct EventsLost {
    recent: Recent<1>,
    events: u64,
}

impl Default for EventsLost {
    fn default() -> Self {
        Self {
            recent: Recent::new(MINUTE, LOSSES),
            events: 0,
        }
    }
}

impl EventsLost {
    pub(super) fn learn(&mut self, unix_ms: i64, events: u64) {
        // A counter that is smaller than before began anew.
        let more = events.checked_sub(self.events).unwrap_or(events);
        self.events = events;
        if more > 0 {
            self.recent.add(unix_ms, [more]);
        }
    }

    pub(super) fn evaluate(&self, now_unix_ms: i64, settings: &Settings) -> Option<Condition> {
        let [events] = self.recent.sum(now_unix_ms, LOSSES);
        (settings.events_lost && events > 0).then(|| {
            condition(
                (Rule::EventsLost, Severity::Ticket),
                &[],
                format!(
                    "{events} captured events were lost in 30 minutes, because the ring to the agent was \
                     full; a larger capture.ring_bytes rides out longer bursts"
                ),
                json!({ "events_in_30_minutes": events, "events": self.events }),
            )
        })
    }
}

/// What the agent gave up for want of memory.
#[derive(Debug)]
pub(super) struct GivenUp {
    /// Open calls, and records that waited for the ledger.
    recent: Recent<2>,
    /// The counters as they were last; what they were at first is told already.
    before: Option<[u64; 2]>,
}

impl Default for GivenUp {
    fn default() -> Self {
        Self {
            recent: Recent::new(MINUTE, LOSSES),
            before: None,
        }
    }
}

impl GivenUp {
    pub(super) fn learn(&mut self, unix_ms: i64, counters: [u64; 2]) {
        let mut more = [0; 2];
        let before = self.before.replace(counters).unwrap_or(counters);
        for ((more, now), before) in more.iter_mut().zip(counters).zip(before) {
            // A counter that is smaller than before began anew.
            *more = now.checked_sub(before).unwrap_or(now);
        }
        if more != [0; 2] {
            self.recent.add(unix_ms, more);
        }
    }

    pub(super) fn evaluate(&self, now_unix_ms: i64, settings: &Settings) -> Option<Condition> {
        let [calls, records] = self.recent.sum(now_unix_ms, LOSSES);
        let found = Condition {
            variant: "given_up".to_owned(),
            ..condition(
                (Rule::EventsLost, Severity::Ticket),
                &[],
                format!(
                    "{calls} open calls and {records} records were given up in 30 minutes, because memory is \
                     limited; `bpftok status` says whether the ledger can be written"
                ),
                json!({ "calls_in_30_minutes": calls, "records_in_30_minutes": records }),
            )
        };
        (settings.events_lost && (calls, records) != (0, 0)).then_some(found)
    }
}

/// Whether prices may be wrong because they are old.
pub(super) fn price_list_age(age: Option<Duration>, settings: &Settings) -> Option<Condition> {
    let (age, most) = (age?, settings.price_list_max_age);
    (!most.is_zero() && age > most).then(|| {
        let days = |age: Duration| age.as_secs() / DAY_SECONDS;
        condition(
            (Rule::PriceListAge, Severity::Ticket),
            &[],
            format!(
                "the list of prices is {} days old; costs may be wrong, and those of new models unknown",
                days(age)
            ),
            json!({ "age_days": days(age), "max_age_days": days(most) }),
        )
    })
}
