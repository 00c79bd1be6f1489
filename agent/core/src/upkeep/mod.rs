//! What else somebody should look at: the agent's own sight, prices, limits of accounts, what is new,
//! and what fails.
//!
//! *Takes* calls as they are stored, counters, and facts at each evaluation. *Gives* [`Condition`]s.
//! *Remembers* sums of the last day and the names that were seen, bounded. *Nonsense* in figures makes
//! large sums, and nothing else.

mod host;
mod quota;
mod spending;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde_json::Value;

use crate::alert::{Condition, Rule, Severity};
use crate::spend::Spend;
use host::{Coverage, EventsLost, GivenUp, price_list_age};
pub use quota::Quota;
use spending::{Errors, NewModels, NewWorkflows, Unattributed};

const DOLLAR: u64 = 1_000_000_000;

/// What each rule takes as too much; 0 and `false` switch it off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Share of observed bytes that should be understood, in percent.
    pub coverage_percent: u64,
    /// Age that the list of prices may have.
    pub price_list_max_age: Duration,
    /// Share of an account's limit from which on somebody should look, in percent.
    pub quota_ticket_percent: u64,
    /// Share from which on somebody is woken.
    pub quota_page_percent: u64,
    /// Whether models that are used for the first time are told.
    pub new_models: bool,
    /// What a workflow may cost in its first day, in billionths of a US dollar.
    pub new_workflow_nanousd: u64,
    /// What calls of no known workflow may cost in a day, in billionths of a US dollar.
    pub unattributed_nanousd: u64,
    /// Share of the calls to a provider that may fail, in percent.
    pub error_percent: u64,
    /// Whether events that were lost are told.
    pub events_lost: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            coverage_percent: 98,
            price_list_max_age: Duration::from_secs(45 * 24 * 60 * 60),
            quota_ticket_percent: 80,
            quota_page_percent: 95,
            new_models: true,
            new_workflow_nanousd: 5 * DOLLAR,
            unattributed_nanousd: 5 * DOLLAR,
            error_percent: 20,
            events_lost: true,
        }
    }
}

/// What is known at an evaluation without being remembered here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// Age of the list of prices.
    pub price_list_age: Option<Duration>,
    /// The last that was told of each limit of each account.
    pub quotas: &'a [Quota],
}

/// The rules, and what they remember.
#[derive(Debug)]
pub struct Upkeep {
    settings: Settings,
    coverage: Coverage,
    events_lost: EventsLost,
    given_up: GivenUp,
    new_models: NewModels,
    new_workflows: NewWorkflows,
    unattributed: Unattributed,
    errors: Errors,
}

impl Upkeep {
    /// Rules that know nothing yet. After a restart they are told the names in the ledger by
    /// [`Self::know_model`] and [`Self::know_workflow`], those of workflows that are older than a day;
    /// then come the calls of the last day by [`Self::commit`].
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            coverage: Coverage::default(),
            events_lost: EventsLost::default(),
            given_up: GivenUp::default(),
            new_models: NewModels::default(),
            new_workflows: NewWorkflows::default(),
            unattributed: Unattributed::default(),
            errors: Errors::default(),
        }
    }

    /// A model that is no new one.
    pub fn know_model(&mut self, provider: &str, model: &str) {
        self.new_models.know(provider, model);
    }

    /// A workflow that is no new one.
    pub fn know_workflow(&mut self, workflow: &str) {
        self.new_workflows.know(workflow);
    }

    /// Takes a call when it is stored. One that comes again after its figures changed is taken once more;
    /// `before` is then what it was.
    pub fn commit(&mut self, spend: &Spend, before: Option<&Spend>) {
        self.new_workflows.commit(spend, before);
        self.unattributed.commit(spend, before);
        if before.is_none() {
            self.new_models.commit(spend);
            self.errors.commit(spend);
        }
    }

    /// Takes what became of the bytes that were observed to and from providers at a time.
    pub fn cover(&mut self, unix_ms: i64, understood_bytes: u64, observed_bytes: u64) {
        self.coverage.add(unix_ms, understood_bytes, observed_bytes);
    }

    /// Takes the counter of events that were lost since the agent began.
    pub fn lose(&mut self, unix_ms: i64, events: u64) {
        self.events_lost.learn(unix_ms, events);
    }

    /// Takes the counters of open calls, and of records that waited for the ledger, that were given up
    /// for want of memory since the agent began.
    pub fn give_up(&mut self, unix_ms: i64, calls: u64, records: u64) {
        self.given_up.learn(unix_ms, [calls, records]);
    }

    /// What holds at a moment.
    pub fn evaluate(&mut self, now_unix_ms: i64, facts: Facts<'_>) -> Vec<Condition> {
        let settings = &self.settings;
        let mut conditions = Vec::new();
        conditions.extend(self.coverage.evaluate(now_unix_ms, settings));
        conditions.extend(price_list_age(facts.price_list_age, settings));
        conditions.extend(quota::evaluate(now_unix_ms, facts.quotas, settings));
        conditions.extend(self.new_models.evaluate(now_unix_ms, settings));
        conditions.extend(self.new_workflows.evaluate(now_unix_ms, settings));
        conditions.extend(self.unattributed.evaluate(now_unix_ms, settings));
        conditions.extend(self.errors.evaluate(now_unix_ms, settings));
        conditions.extend(self.events_lost.evaluate(now_unix_ms, settings));
        conditions.extend(self.given_up.evaluate(now_unix_ms, settings));
        conditions
    }
}

/// A condition that nobody waits for.
fn condition(
    (rule, severity): (Rule, Severity),
    scope: &[(&str, &str)],
    summary: String,
    evidence: Value,
) -> Condition {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Condition {
        rule,
        variant: String::new(),
        scope: scope.iter().map(owned).collect(),
        budget: None,
        severity,
        hold: Duration::ZERO,
        summary,
        evidence: match evidence {
            Value::Object(evidence) => evidence,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => serde_json::Map::new(),
        },
    }
}

/// Whether two moments are no further apart; the clock may have been set back between them.
fn is_within(one_unix_ms: i64, other_unix_ms: i64, distance: Duration) -> bool {
    u128::from(one_unix_ms.abs_diff(other_unix_ms)) <= distance.as_millis()
}

/// Whether a part is at least so many percent of the whole.
fn reaches(part: u64, whole: u64, percent: u64) -> bool {
    u128::from(part) * 100 >= u128::from(whole) * u128::from(percent)
}
