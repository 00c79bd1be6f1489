//! Workflows that take far more than ever: every five minutes, each by itself.
//!
//! *Takes* calls as they are stored, and after a restart those of the last fourteen days. *Gives* a
//! [`Condition`] for each workflow with a spike. *Remembers* sums by five minutes of fourteen days,
//! bounded. *Nonsense* in figures makes large sums, and nothing else.
//!
//! What a workflow takes in ten minutes is compared with what it took in all windows of ten minutes of
//! the last fourteen days that had a request, every five minutes one. Windows under a spike are left out,
//! for a day: what lasts longer is the new normal. A spike is at least twice what 99 of 100 windows take,
//! and at least a floor; with fewer than fifty windows nothing is known, and it is ten times the floor.
//! It is over after two windows in a row below half of that. Running calls count when they ended.

#[cfg(test)]
mod tests;
mod workflow;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, json};

use crate::alert::{Condition, Rule, Severity, dollars};
use crate::spend::{Amount, Spend};
use workflow::{Spike, Workflow};

/// Between two windows, and between the sums that they are made of.
const STEP_MS: i64 = 5 * 60 * 1_000;
/// Steps of fourteen days.
const STEPS: i64 = 14 * 24 * 12;
/// LIMIT: an evaluation after a pause looks at the windows of the last hour.
const CATCH_UP: i64 = 12;
/// LIMIT: workflows; beyond, the one that was silent longest begins anew.
const WORKFLOWS: usize = 1024;
/// LIMIT: sums of all workflows together, some 16 MiB; likewise.
const SUMS: usize = 1 << 18;
/// How many times the usual a spike has to be so that somebody is woken, if it costs enough too.
const PAGE_TIMES: u64 = 5;
/// Share of a budget that a window has to cost for that, as one part of so many.
const PAGE_PART: u64 = 50;

/// From what on a workflow has a spike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether spikes are looked for.
    pub is_on: bool,
    /// Least weighted tokens in ten minutes.
    pub least_weighted_tokens: u64,
    /// Least money in ten minutes, in billionths of a US dollar.
    pub least_nanousd: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            is_on: true,
            least_weighted_tokens: 250_000,
            least_nanousd: 2_000_000_000,
        }
    }
}

/// The rule, and what it remembers of workflows.
#[derive(Debug)]
pub struct Spikes {
    settings: Settings,
    workflows: BTreeMap<String, Workflow>,
    /// Sums of all workflows.
    sums: usize,
    /// The last step at which windows were looked at.
    done: Option<i64>,
}

impl Spikes {
    /// A rule that knows no workflow.
    pub const fn new(settings: Settings) -> Self {
        Self {
            settings,
            workflows: BTreeMap::new(),
            sums: 0,
            done: None,
        }
    }

    /// Takes a call when it is stored, or one of the last fourteen days from the ledger. A call that comes
    /// again after its figures changed is taken once more; `before` is then what it was.
    pub fn commit(&mut self, spend: &Spend, before: Option<&Spend>) {
        if let Some(before) = before
            && let Some(workflow) = self.workflows.get_mut(&before.payer.workflow)
        {
            workflow.remove(step_of(before.unix_ms), &before.amount);
        }
        self.add(&spend.payer.workflow, step_of(spend.unix_ms), &spend.amount);
    }

    /// Takes a sum of a workflow from the ledger in place of calls that are gone. A sum of a longer time
    /// than five minutes counts as if all of it came in its middle: that makes the usual larger than it
    /// was, and hides a spike sooner than it invents one.
    pub fn seed(&mut self, workflow: &str, from_unix_ms: i64, until_unix_ms: i64, amount: &Amount) {
        let half = until_unix_ms.saturating_sub(from_unix_ms) / 2;
        self.add(workflow, step_of(from_unix_ms.saturating_add(half)), amount);
    }

    /// Leaves out the windows of a time under a spike that the ledger has of before a restart.
    pub fn exclude(&mut self, workflow: &str, from_unix_ms: i64, until_unix_ms: i64) {
        if let Some(workflow) = self.workflows.get_mut(workflow) {
            let until = step_of(until_unix_ms);
            let from = step_of(from_unix_ms).max(until.saturating_sub(STEPS));
            workflow.exclude(from..=until);
        }
    }

    /// Weighted tokens that a workflow takes in ten minutes in 99 of 100 windows, if enough of them are
    /// known; as of the last evaluation.
    pub fn usual_weighted_tokens(&self, workflow: &str) -> Option<u64> {
        self.workflows.get(workflow)?.usual().map(|usual| usual[0])
    }

    /// Which workflows have a spike. `least_budget_nanousd` is the smallest limit of the budgets that a
    /// workflow is in, in billionths of a US dollar.
    pub fn evaluate(
        &mut self,
        now_unix_ms: i64,
        least_budget_nanousd: impl Fn(&str) -> Option<u64>,
    ) -> Vec<Condition> {
        // The last step that is over.
        let now = step_of(now_unix_ms).saturating_sub(1);
        let earliest = now.saturating_sub(CATCH_UP);
        // A clock that was set back by more than the windows of an hour begins anew.
        let done = self
            .done
            .filter(|done| done.saturating_sub(now) <= CATCH_UP);
        let done = done.map_or(earliest, |done| done.max(earliest));
        for step in done.saturating_add(1)..=now {
            for (name, workflow) in &mut self.workflows {
                let part = |limit: u64| limit / PAGE_PART;
                let woken_at = || least_budget_nanousd(name).map(part);
                workflow.look(step, &self.settings, woken_at);
            }
        }
        self.done = Some(done.max(now));
        for workflow in self.workflows.values_mut() {
            self.sums = self.sums.saturating_sub(workflow.forget(now));
        }
        self.workflows.retain(|_, workflow| !workflow.is_empty());
        let spikes = self.workflows.iter();
        spikes
            .filter_map(|(name, workflow)| Some(condition(name, workflow.spike()?)))
            .collect()
    }

    fn add(&mut self, name: &str, step: i64, amount: &Amount) {
        if !self.settings.is_on {
            return;
        }
        if !self.workflows.contains_key(name) {
            self.workflows.insert(name.to_owned(), Workflow::default());
        }
        if let Some(workflow) = self.workflows.get_mut(name) {
            self.sums += workflow.add(step, amount);
        }
        while self.workflows.len() > WORKFLOWS || self.sums > SUMS {
            let others = self.workflows.iter().filter(|(other, _)| *other != name);
            let silent = others.min_by_key(|(_, workflow)| workflow.last_step());
            let Some(silent) = silent.map(|(other, _)| other.clone()) else {
                return;
            };
            if let Some(gone) = self.workflows.remove(&silent) {
                self.sums = self.sums.saturating_sub(gone.len());
            }
        }
    }
}

const fn step_of(unix_ms: i64) -> i64 {
    unix_ms.div_euclid(STEP_MS)
}

fn condition(name: &str, spike: &Spike) -> Condition {
    let [weighted, cost] = spike.figures;
    let [weighted_threshold, cost_threshold] = spike.thresholds;
    let usual = spike.usual;
    let ends_ms = |step: i64| step.saturating_add(1).saturating_mul(STEP_MS);
    let mut evidence = Map::new();
    for (key, value) in [
        ("weighted_tokens_in_10_minutes", json!(weighted)),
        ("weighted_tokens_threshold", json!(weighted_threshold)),
        ("weighted_tokens_p99", json!(usual.map(|usual| usual[0]))),
        ("nanousd_in_10_minutes", json!(cost)),
        ("nanousd_threshold", json!(cost_threshold)),
        ("nanousd_p99", json!(usual.map(|usual| usual[1]))),
        ("windows", json!(spike.windows)),
        ("first_unix_ms", json!(ends_ms(spike.first))),
        ("last_unix_ms", json!(ends_ms(spike.last))),
    ] {
        evidence.insert(key.to_owned(), value);
    }
    let usually = usual.map_or_else(
        || "too little is known of it to say what is usual".to_owned(),
        |usual| {
            let cost = dollars(usual[1]);
            format!("99 of 100 times it is at most {} and {cost}", usual[0])
        },
    );
    Condition {
        rule: Rule::Spike,
        variant: String::new(),
        scope: vec![("workflow".to_owned(), name.to_owned())],
        budget: None,
        severity: if spike.is_urgent {
            Severity::Page
        } else {
            Severity::Ticket
        },
        hold: Duration::ZERO,
        summary: format!(
            "{name}: {weighted} weighted tokens and {} in 10 minutes; {usually}",
            dollars(cost)
        ),
        evidence,
    }
}
