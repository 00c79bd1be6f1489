//! Everything that is watched, put together: budgets, runaway sessions, spikes, and what else goes
//! wrong.
//!
//! *Takes* what calls take, as it is stored and as it runs, and after a restart what the ledger has of
//! before. *Gives* at any moment how the budgets stand, and all [`Condition`]s that hold. *Remembers*
//! the latest calls, so that one that comes again takes the place of what it was. *Nonsense* in figures
//! makes large sums, and nothing else.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::alert::Condition;
use crate::budget::{Budget, Budgets, Period, Share, Status, Unit};
use crate::runaway::{self, Headroom, Runaways};
use crate::spend::{Amount, Payer, Spend};
use crate::spike::{self, Spikes};
use crate::upkeep::{self, Facts, Quota, Upkeep};

/// LIMIT: calls that are known when they come again, the latest; a call whose figures change later is
/// counted twice until the next start. Some 6 MiB.
const KNOWN: usize = 8_192;

/// Days that spikes are compared with.
const SPIKE_DAYS: u64 = 14;

/// LIMIT: limits of accounts, of which the oldest goes first.
const QUOTAS: usize = 256;

/// What is watched, as it is configured.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Budgets.
    pub budgets: Vec<Budget>,
    /// Zone of their days.
    pub zone: Option<TimeZone>,
    /// Rules of runaway sessions.
    pub runaway: runaway::Settings,
    /// Rules of spikes.
    pub spike: spike::Settings,
    /// Other rules.
    pub upkeep: upkeep::Settings,
}

/// How everything stands at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watched {
    /// Budgets, in their order.
    pub statuses: Vec<Status>,
    /// What is wrong.
    pub conditions: Vec<Condition>,
}

/// All rules, and what they remember.
#[derive(Debug)]
pub struct Watch {
    definitions: Vec<Budget>,
    budgets: Budgets,
    runaways: Runaways,
    spikes: Spikes,
    upkeep: Upkeep,
    quotas: Vec<Quota>,
    known: BTreeMap<Arc<str>, Spend>,
    /// Identities, oldest first.
    order: VecDeque<Arc<str>>,
    open: Vec<Spend>,
    /// From when on sums tell spikes.
    spikes_from_ms: i64,
}

impl Watch {
    /// How far back calls are wanted one by one after a restart; before that, sums of quarters of an
    /// hour do: longer windows of burn rates end where a quarter does.
    pub const SINGLE: Duration = Duration::from_secs(6 * 60 * 60);

    /// Rules that have seen nothing.
    pub fn new(settings: Settings, now_unix_ms: i64) -> Self {
        let zone = settings.zone.unwrap_or(TimeZone::UTC);
        Self {
            budgets: Budgets::new(settings.budgets.clone(), &zone, now_unix_ms),
            definitions: settings.budgets,
            runaways: Runaways::new(settings.runaway),
            spikes: Spikes::new(settings.spike),
            upkeep: Upkeep::new(settings.upkeep),
            quotas: Vec::new(),
            known: BTreeMap::new(),
            order: VecDeque::new(),
            open: Vec::new(),
            spikes_from_ms: now_unix_ms.saturating_sub_unsigned(SPIKE_DAYS * 24 * 60 * 60_000),
        }
    }

    /// How far back sums of quarters of an hour are wanted after a restart: for budgets and spikes.
    pub fn history(&self) -> Duration {
        history(&self.definitions).max(Duration::from_secs(SPIKE_DAYS * 24 * 60 * 60))
    }

    /// Takes what a payer took in a quarter of an hour that began at `unix_ms`, before the calls that
    /// come one by one.
    pub fn seed(&mut self, unix_ms: i64, payer: &Payer, amount: &Amount) {
        const QUARTER_MS: i64 = 15 * 60_000;
        self.budgets.seed(unix_ms, payer, amount);
        let until_ms = unix_ms.saturating_add(QUARTER_MS);
        if until_ms >= self.spikes_from_ms && amount.requests > 0 {
            self.spikes.seed(&payer.workflow, unix_ms, until_ms, amount);
        }
    }

    /// A payer whose model and workflow are no new ones.
    pub fn know(&mut self, payer: &Payer) {
        if let Some(model) = &payer.model {
            self.upkeep.know_model(&payer.provider, model);
        }
        self.upkeep.know_workflow(&payer.workflow);
    }

    /// Takes what was stored of a budget: see [`Budgets::restore`].
    pub fn restore(&mut self, budget: &str, value: &str, period_from_unix_ms: i64, reached: Share) {
        self.budgets
            .restore(budget, value, period_from_unix_ms, reached);
    }

    /// Takes what the ledger has of a session: see [`Runaways::seed`].
    pub fn seed_session(&mut self, seed: runaway::Seed) {
        self.runaways.seed(seed);
    }

    /// Takes the calls that were stored or changed: `identities` names them all, and `spends` is what
    /// they take. One that takes nothing any more, because another one on this host was found to count
    /// in its place, is only named.
    pub fn commit<'a>(
        &mut self,
        identities: impl IntoIterator<Item = &'a str>,
        spends: &[Spend],
        now_unix_ms: i64,
    ) {
        for identity in identities {
            let is_gone = spends.iter().all(|spend| &*spend.identity != identity);
            if is_gone && let Some(before) = self.known.get(identity).cloned() {
                let nothing = Spend {
                    amount: Amount::default(),
                    ..before
                };
                self.take(&nothing, now_unix_ms);
            }
        }
        for spend in spends {
            self.take(spend, now_unix_ms);
        }
    }

    /// Takes one call that is stored, with the moment at which it was.
    pub fn take(&mut self, spend: &Spend, now_unix_ms: i64) {
        let before = self.known.get(&spend.identity).cloned();
        if before.as_ref() == Some(spend) {
            return;
        }
        if let Some(before) = &before {
            self.budgets.unbook(before);
        }
        self.budgets.book(spend);
        self.spikes.commit(spend, before.as_ref());
        let usual = self.spikes.usual_weighted_tokens(&spend.payer.workflow);
        self.runaways.commit(spend, usual, now_unix_ms);
        self.upkeep.commit(spend, before.as_ref());
        self.open.retain(|open| open.identity != spend.identity);
        if self
            .known
            .insert(Arc::clone(&spend.identity), spend.clone())
            .is_none()
        {
            self.order.push_back(Arc::clone(&spend.identity));
            if self.order.len() > KNOWN
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
    }

    /// Takes all calls that run, in the place of those that ran before.
    pub fn run(&mut self, open: Vec<Spend>) {
        let known = &self.known;
        self.open = open
            .into_iter()
            .filter(|spend| !known.contains_key(&spend.identity))
            .collect();
    }

    /// The calls that run.
    pub fn open(&self) -> &[Spend] {
        &self.open
    }

    /// Takes what became of bytes to and from providers: see [`Upkeep::cover`].
    pub fn cover(&mut self, unix_ms: i64, understood_bytes: u64, observed_bytes: u64) {
        self.upkeep.cover(unix_ms, understood_bytes, observed_bytes);
    }

    /// Takes the counter of events that were lost since the agent began.
    pub fn lose(&mut self, unix_ms: i64, events: u64) {
        self.upkeep.lose(unix_ms, events);
    }

    /// Takes the counters of what was given up for want of memory: see [`Upkeep::give_up`].
    pub fn give_up(&mut self, unix_ms: i64, calls: u64, records: u64) {
        self.upkeep.give_up(unix_ms, calls, records);
    }

    /// Takes what was told of a limit of an account.
    pub fn quota(&mut self, quota: Quota) {
        let is_same = |known: &Quota| {
            known.provider == quota.provider
                && known.account == quota.account
                && known.limit == quota.limit
        };
        if let Some(known) = self.quotas.iter_mut().find(|known| is_same(known)) {
            *known = quota;
            return;
        }
        if self.quotas.len() >= QUOTAS {
            self.quotas.remove(0);
        }
        self.quotas.push(quota);
    }

    /// How everything stands.
    pub fn evaluate(&mut self, now_unix_ms: i64, price_list_age: Option<Duration>) -> Watched {
        let found = self.budgets.evaluate(now_unix_ms, &self.open);
        let mut conditions = found.conditions;
        let definitions = &self.definitions;
        let headroom = |payer: &Payer| headroom(definitions, &found.statuses, payer);
        conditions.extend(self.runaways.evaluate(now_unix_ms, &self.open, headroom));
        conditions.extend(self.spikes.evaluate(now_unix_ms, |workflow| {
            let payer = Payer {
                workflow: workflow.to_owned(),
                ..Payer::default()
            };
            definitions
                .iter()
                .filter(|budget| budget.limit.unit == Unit::Usd && budget.covers(&payer).is_some())
                .map(|budget| budget.limit.amount)
                .min()
        }));
        let facts = Facts {
            price_list_age,
            quotas: &self.quotas,
        };
        conditions.extend(self.upkeep.evaluate(now_unix_ms, facts));
        Watched {
            statuses: found.statuses,
            conditions,
        }
    }
}

/// How far back budgets look: the longest of their periods, and what their profiles are learned from.
pub fn history(budgets: &[Budget]) -> Duration {
    /// Weeks that profiles are learned from, and the one that goes on.
    const LEARNED_DAYS: u64 = 6 * 7;
    let days = |budget: &Budget| match budget.period {
        Period::Day | Period::Week(_) | Period::Month(_) => LEARNED_DAYS,
        Period::Quarter(_) => 93,
        Period::Year { .. } => 367,
        Period::Rolling { hours } => (u64::from(hours) / 24 + 1).max(LEARNED_DAYS),
    };
    let days = budgets.iter().map(days).max().unwrap_or(0);
    Duration::from_secs(days * 24 * 60 * 60)
}

/// The budget of money with the least left that a payer is in.
fn headroom(budgets: &[Budget], statuses: &[Status], payer: &Payer) -> Option<Headroom> {
    let of = |budget: &Budget| {
        let value = budget.covers(payer)?;
        statuses.iter().find(|status| {
            let of_value = status.scope.first().map_or("", |(_, value)| value);
            status.budget == budget.name && (value.is_empty() || of_value == value)
        })
    };
    budgets
        .iter()
        .filter(|budget| budget.limit.unit == Unit::Usd)
        .filter_map(of)
        .map(|status| Headroom {
            budget: status.budget.to_string(),
            left_nanousd: status.limit.saturating_sub(status.used),
            ends_unix_ms: status.reset_unix_ms.unwrap_or(i64::MAX),
        })
        .min_by_key(|headroom| headroom.left_nanousd)
}
