//! What is new, what nobody knows, and what fails.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::{Settings, condition, is_within, reaches};
use crate::alert::{Condition, Rule, Severity, dollars};
use crate::recent::Recent;
use crate::spend::Spend;

/// LIMIT: models and workflows that are known; beyond, none is new any more.
const NAMES: usize = 4096;
/// How long a new model is told.
const TOLD: Duration = Duration::from_secs(10 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// Hours of a day.
const HOURS: usize = 24;
const MINUTE: Duration = Duration::from_secs(60);
/// Minutes over which failures are looked at.
const ERRORS: usize = 10;
/// Calls in that time below which a share says nothing.
const FEW_CALLS: u64 = 20;
/// LIMIT: providers whose failures are looked at; a host has a few.
const PROVIDERS: usize = 64;
/// How long a provider is said to fail after it was last found to.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Models that were used for the first time.
#[derive(Debug, Default)]
pub(super) struct NewModels {
    known: BTreeSet<(String, String)>,
    /// When each of these was used first.
    new: BTreeMap<(String, String), i64>,
}

impl NewModels {
    pub(super) fn know(&mut self, provider: &str, model: &str) {
        if self.known.len() < NAMES {
            self.known.insert((provider.to_owned(), model.to_owned()));
        }
    }

    pub(super) fn commit(&mut self, spend: &Spend) {
        // What fails may have any name.
        let Some(model) = spend
            .payer
            .model
            .as_ref()
            .filter(|_| spend.work.is_complete)
        else {
            return;
        };
        let name = (spend.payer.provider.clone(), model.clone());
        if self.known.len() < NAMES && self.known.insert(name.clone()) {
            self.new.insert(name, spend.unix_ms);
        }
    }

    pub(super) fn evaluate(&mut self, now_unix_ms: i64, settings: &Settings) -> Vec<Condition> {
        self.new
            .retain(|_, first| is_within(*first, now_unix_ms, TOLD));
        let new = self.new.iter().filter(|_| settings.new_models);
        new.map(|((provider, model), first)| {
            condition(
                (Rule::NewModel, Severity::Log),
                &[("provider", provider), ("model", model)],
                format!("{provider}: model {model} was used for the first time"),
                json!({ "first_unix_ms": first }),
            )
        })
        .collect()
    }
}

/// Workflows in their first day.
#[derive(Debug, Default)]
pub(super) struct NewWorkflows {
    known: BTreeSet<String>,
    /// When each of these called first, and what it cost since, in billionths of a US dollar.
    new: BTreeMap<String, (i64, u64)>,
    /// The first call of a ledger that knew no workflow: in the day after it all of them are new, so
    /// that none is told.
    began_unix_ms: Option<i64>,
}

impl NewWorkflows {
    pub(super) fn know(&mut self, workflow: &str) {
        if self.known.len() < NAMES {
            self.known.insert(workflow.to_owned());
        }
    }

    pub(super) fn commit(&mut self, spend: &Spend, before: Option<&Spend>) {
        let name = &spend.payer.workflow;
        if self.known.contains(name) || spend.payer.is_unattributed() {
            return;
        }
        if let Some(before) = before
            && let Some((_, cost)) = self.new.get_mut(&before.payer.workflow)
        {
            *cost = cost.saturating_sub(before.amount.cost_nanousd);
        }
        if self.known.is_empty() {
            let began = self.began_unix_ms.unwrap_or(spend.unix_ms);
            self.began_unix_ms = Some(began.min(spend.unix_ms));
        }
        if !self.new.contains_key(name) {
            if self.new.len() + self.known.len() >= NAMES {
                return;
            }
            self.new.insert(name.clone(), (spend.unix_ms, 0));
        }
        if let Some((first, cost)) = self.new.get_mut(name) {
            *first = (*first).min(spend.unix_ms);
            *cost = cost.saturating_add(spend.amount.cost_nanousd);
        }
    }

    pub(super) fn evaluate(&mut self, now_unix_ms: i64, settings: &Settings) -> Vec<Condition> {
        let known = &mut self.known;
        self.new.retain(|name, (first, _)| {
            let is_new = is_within(*first, now_unix_ms, DAY);
            if !is_new {
                known.insert(name.clone());
            }
            is_new
        });
        let most = settings.new_workflow_nanousd;
        let began = self.began_unix_ms;
        let dear = self.new.iter().filter(|(_, (first, cost))| {
            let is_with_the_ledger = began.is_some_and(|began| is_within(began, *first, DAY));
            most > 0 && *cost > most && !is_with_the_ledger
        });
        dear.map(|(name, (first, cost))| {
            condition(
                (Rule::NewWorkflow, Severity::Ticket),
                &[("workflow", name)],
                format!(
                    "{name}: a new workflow, {} in its first day",
                    dollars(*cost)
                ),
                json!({ "first_unix_ms": first, "cost_nanousd": cost, "threshold_nanousd": most }),
            )
        })
        .collect()
    }
}

/// What calls cost of which nobody knows what pays.
#[derive(Debug)]
pub(super) struct Unattributed {
    recent: Recent<1>,
}

impl Default for Unattributed {
    fn default() -> Self {
        Self {
            recent: Recent::new(HOUR, HOURS),
        }
    }
}

impl Unattributed {
    pub(super) fn commit(&mut self, spend: &Spend, before: Option<&Spend>) {
        let before = before.filter(|before| before.payer.is_unattributed());
        if let Some(before) = before {
            self.recent
                .remove(before.unix_ms, [before.amount.cost_nanousd]);
        }
        if spend.payer.is_unattributed() {
            self.recent.add(spend.unix_ms, [spend.amount.cost_nanousd]);
        }
    }

    pub(super) fn evaluate(&self, now_unix_ms: i64, settings: &Settings) -> Option<Condition> {
        let [cost] = self.recent.sum(now_unix_ms, HOURS);
        let most = settings.unattributed_nanousd;
        (most > 0 && cost > most).then(|| {
            condition(
                (Rule::Unattributed, Severity::Ticket),
                &[],
                format!(
                    "nobody knows what pays for {} of the last 24 hours; an entry [[workflow]] names it",
                    dollars(cost)
                ),
                json!({ "cost_nanousd": cost, "threshold_nanousd": most }),
            )
        })
    }
}

/// Calls that fail, by provider.
#[derive(Debug, Default)]
pub(super) struct Errors {
    providers: BTreeMap<String, Calls>,
}

#[derive(Debug)]
struct Calls {
    /// All, and those that failed.
    recent: Recent<2>,
    found: Option<FoundErrors>,
}

#[derive(Clone, Copy, Debug)]
struct FoundErrors {
    first_unix_ms: i64,
    last_unix_ms: i64,
    requests: u64,
    failed: u64,
}

impl Errors {
    pub(super) fn commit(&mut self, spend: &Spend) {
        let name = &spend.payer.provider;
        if !self.providers.contains_key(name) {
            if self.providers.len() >= PROVIDERS {
                return;
            }
            let calls = Calls {
                recent: Recent::new(MINUTE, ERRORS),
                found: None,
            };
            self.providers.insert(name.clone(), calls);
        }
        if let Some(calls) = self.providers.get_mut(name) {
            let failed = u64::from(spend.work.is_failed);
            calls.recent.add(spend.unix_ms, [1, failed]);
        }
    }

    pub(super) fn evaluate(&mut self, now_unix_ms: i64, settings: &Settings) -> Vec<Condition> {
        let percent = settings.error_percent;
        let mut conditions = Vec::new();
        for (provider, calls) in &mut self.providers {
            let [requests, failed] = calls.recent.sum(now_unix_ms, ERRORS);
            let is_over = !reaches(
                requests.saturating_sub(failed),
                requests,
                100 - percent.min(100),
            );
            calls.found = calls
                .found
                .filter(|found| is_within(found.last_unix_ms, now_unix_ms, PATIENCE));
            if percent > 0 && requests >= FEW_CALLS && is_over {
                let first = calls.found.map_or(now_unix_ms, |found| found.first_unix_ms);
                calls.found = Some(FoundErrors {
                    first_unix_ms: first,
                    last_unix_ms: now_unix_ms,
                    requests,
                    failed,
                });
            }
            let Some(found) = calls.found else { continue };
            conditions.push(condition(
                (Rule::Errors, Severity::Ticket),
                &[("provider", provider)],
                format!(
                    "{provider}: {} of {} calls failed in 10 minutes",
                    found.failed, found.requests
                ),
                json!({
                    "failed": found.failed,
                    "requests": found.requests,
                    "threshold_percent": percent,
                    "first_unix_ms": found.first_unix_ms,
                    "last_unix_ms": found.last_unix_ms,
                }),
            ));
        }
        conditions
    }
}

#[cfg(test)]
impl NewModels {
    /// How many names are known, and how many of them are new.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.known.len(), self.new.len())
    }
}

#[cfg(test)]
impl NewWorkflows {
    /// How many names are known, and how many others are new.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.known.len(), self.new.len())
    }
}
