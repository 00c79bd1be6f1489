//! Watches what is spent: gives the rules what was committed and what runs, and takes what they find to
//! the ledger and from there to its channels.
//!
//! All that the rules know is in the ledger: after a restart it is read again, so that a budget stands
//! where it stood, and nobody is told twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agent_core::budget::{Budget, Scope, Share, State, Status, Window};
use agent_core::pipeline::{CoverageOutcome, Output};
use agent_core::prices::{Prices, weighted_tokens};
use agent_core::session::{Hop, UsageRecord};
use agent_core::spend::Spend;
use agent_core::upkeep::Quota;
use agent_core::watch::{self, Watch};

use crate::alert::Courier;
use crate::dispatch::{BudgetChannels, Dispatch};
use crate::store::{BudgetState, Error, OpenCall, Spends, Writer};

/// How often a budget's row is written where only the speed of its burning changed.
const REFRESH_MS: i64 = 60_000;

/// What is to be watched, and what it is called.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The rules.
    pub rules: watch::Settings,
    /// What weighs tokens, and what running calls cost.
    pub prices: Arc<Prices>,
    /// Day of the list of prices, in milliseconds since the Unix epoch.
    pub price_list_ms: Option<i64>,
    /// Name of the host in messages.
    pub host_name: String,
}

/// The rules, fed from the ledger.
#[derive(Debug)]
pub struct Watcher {
    watch: Watch,
    dispatch: Dispatch,
    budgets: Vec<Budget>,
    /// Who is told of which budget.
    channels: BudgetChannels,
    prices: Arc<Prices>,
    price_list_ms: Option<i64>,
    lost_events: u64,
    /// Running calls that are not in the ledger yet.
    running: Option<Vec<UsageRecord>>,
    /// Rows of budgets as they were written, by budget, value and period.
    written: BTreeMap<(String, String, i64), BudgetState>,
    /// How the budgets stood last.
    statuses: Vec<Status>,
}

impl Watcher {
    /// Reads what the ledger has of before, and goes on from there.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn begin(
        writer: &mut Writer,
        settings: Settings,
        courier: Courier,
        now_ms: i64,
    ) -> Result<Self, Error> {
        let Settings {
            rules,
            prices,
            price_list_ms,
            host_name,
        } = settings;
        writer.replace_open_calls(&[])?;
        let budgets = rules.budgets.clone();
        let channels = budgets
            .iter()
            .map(|budget| (budget.name.to_string(), budget.notify.clone()))
            .collect();
        let mut watch = Watch::new(rules, now_ms);
        fill(&mut watch, writer, &prices, now_ms)?;
        for quota in writer.latest_quotas()? {
            watch.quota(quota_of(quota));
        }
        Ok(Self {
            dispatch: Dispatch::restore(writer, courier, &host_name)?,
            watch,
            budgets,
            channels,
            prices,
            price_list_ms,
            lost_events: 0,
            running: None,
            written: BTreeMap::new(),
            statuses: Vec::new(),
        })
    }

    /// Takes all calls that run.
    pub fn run(&mut self, running: Vec<UsageRecord>) {
        let spends = running
            .iter()
            .filter_map(|record| Spend::of(record, &self.prices))
            .map(|spend| Spend {
                is_open: true,
                ..spend
            });
        self.watch.run(spends.collect());
        self.running = Some(running);
    }

    /// Takes what was committed.
    ///
    /// # Errors
    /// Those of SQLite; the rules then lack these calls until the next start.
    pub fn committed(
        &mut self,
        writer: &Writer,
        outputs: &[Output],
        now_ms: i64,
    ) -> Result<(), Error> {
        let mut identities: Vec<&str> = Vec::new();
        let mut has_quota = false;
        for output in outputs {
            match output {
                Output::Usage(record) => {
                    identities.push(&record.identity);
                    identities.extend(record.compacted.as_deref());
                    identities.extend(record.hop.as_ref().map(|hop| match hop {
                        Hop::ToGateway { counted: other } | Hop::OfGateway { origin: other } => {
                            other.as_str()
                        }
                    }));
                }
                Output::Coverage(minute) => match minute.outcome {
                    CoverageOutcome::LostEvent => {
                        self.lost_events = self.lost_events.saturating_add(minute.events);
                        self.watch.lose(now_ms, self.lost_events);
                    }
                    CoverageOutcome::Decoded | CoverageOutcome::NoUsage => {
                        self.watch
                            .cover(minute.minute_unix_ms, minute.events, minute.events);
                    }
                    CoverageOutcome::Truncated
                    | CoverageOutcome::Undecodable
                    | CoverageOutcome::Unprobed => {
                        self.watch.cover(minute.minute_unix_ms, 0, minute.events);
                    }
                },
                Output::Quota { .. } => has_quota = true,
                Output::ProcessExited { .. } | Output::Running(_) | Output::Ignore(_) => {}
            }
        }
        let mut spends = writer.spends(&self.prices).of(identities.iter().copied())?;
        for output in outputs {
            if let Output::Usage(record) = output
                && record.compacted.is_some()
                && let Some(spend) = spends
                    .iter_mut()
                    .find(|spend| *spend.identity == *record.identity)
            {
                spend.work.shows_compaction = true;
            }
        }
        self.watch.commit(identities, &spends, now_ms);
        if has_quota {
            for quota in writer.latest_quotas()? {
                self.watch.quota(quota_of(quota));
            }
        }
        Ok(())
    }

    /// Takes the counters of open calls and of records that were given up for want of memory.
    pub fn give_up(&mut self, now_ms: i64, calls: u64, records: u64) {
        self.watch.give_up(now_ms, calls, records);
    }

    /// Looks at everything: stores how it stands and what is wrong, and hands over what is to be told.
    ///
    /// # Errors
    /// Those of SQLite; the next step tries again.
    pub fn step(&mut self, writer: &mut Writer, now_ms: i64) -> Result<(), Error> {
        let age = self
            .price_list_ms
            .and_then(|listed| u64::try_from(now_ms.saturating_sub(listed)).ok())
            .map(Duration::from_millis);
        let watched = self.watch.evaluate(now_ms, age);
        self.statuses = watched.statuses;
        if let Some(running) = &self.running {
            let calls: Vec<OpenCall> = running
                .iter()
                .map(|record| open_call(record, &self.prices, now_ms))
                .collect();
            writer.replace_open_calls(&calls)?;
            self.running = None;
        }
        self.store_budgets(writer, now_ms)?;
        self.dispatch
            .step(writer, now_ms, watched.conditions, &self.channels)
    }

    /// How the budgets stood at the last step.
    pub fn statuses(&self) -> &[Status] {
        &self.statuses
    }

    /// The alerts.
    pub const fn alerts(&self) -> &agent_core::alert::Alerts {
        self.dispatch.alerts()
    }

    /// The calls that run.
    pub fn open(&self) -> &[Spend] {
        self.watch.open()
    }

    /// Notes what became of messages for a moment more, before the end.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn finish(&mut self, writer: &mut Writer, now_ms: i64) -> Result<(), Error> {
        writer.replace_open_calls(&[])?;
        self.store_budgets(writer, now_ms)?;
        self.dispatch.record(writer, now_ms)
    }

    fn store_budgets(&mut self, writer: &mut Writer, now_ms: i64) -> Result<(), Error> {
        let mut changed = Vec::new();
        for status in self.statuses.iter().filter(|status| !status.is_rest) {
            let budget = self
                .budgets
                .iter()
                .find(|budget| budget.name == status.budget);
            let Some(budget) = budget else { continue };
            let state = budget_state(budget, status, now_ms);
            let key = (
                state.budget.clone(),
                state.scope_value.clone(),
                state.period_start_ms,
            );
            let is_due = self.written.get(&key).is_none_or(|written| {
                is_news(written, &state)
                    || now_ms.abs_diff(written.updated_ms) >= REFRESH_MS.unsigned_abs()
            });
            if is_due {
                changed.push((key, state));
            }
        }
        let states: Vec<BudgetState> = changed.iter().map(|(_, state)| state.clone()).collect();
        writer.store_budget_states(&states)?;
        self.written.extend(changed);
        let current: Vec<i64> = self.statuses.iter().map(period_start_ms).collect();
        self.written
            .retain(|(_, _, from), _| current.contains(from));
        Ok(())
    }
}

/// Gives the rules what the ledger has of before.
///
/// # Errors
/// Those of SQLite.
fn fill(watch: &mut Watch, writer: &Writer, prices: &Prices, now_ms: i64) -> Result<(), Error> {
    let spends = writer.spends(prices);
    let (from_ms, since_ms) = Spends::reach(now_ms, watch.history());
    spends.payers(now_ms.saturating_sub(DAY_MS), |payer| watch.know(&payer))?;
    spends.by_quarter(from_ms, since_ms, |sum| {
        watch.seed(sum.unix_ms, &sum.payer, &sum.amount);
    })?;
    for sum in spends.sessions(from_ms, since_ms)? {
        watch.seed(sum.unix_ms, &sum.payer, &sum.amount);
    }
    for seed in spends.long_sessions(since_ms, now_ms.saturating_sub(DAY_MS))? {
        watch.seed_session(seed);
    }
    for spend in spends.since(since_ms)? {
        watch.take(&spend, spend.unix_ms);
    }
    for kept in writer.budget_thresholds(now_ms)? {
        let from_ms = if kept.period_start_ms == 0 {
            now_ms
        } else {
            kept.period_start_ms
        };
        watch.restore(
            &kept.budget,
            &kept.scope_value,
            from_ms,
            Share(kept.reached_thousandths),
        );
    }
    Ok(())
}

const DAY_MS: i64 = 24 * 60 * 60_000;

fn quota_of(quota: crate::store::Quota) -> Quota {
    let used = quota.used_ratio.or_else(|| {
        let (limit, remaining) = (quota.limit?, quota.remaining?);
        (limit > 0).then(|| 1.0 - remaining.min(limit) as f64 / limit as f64)
    });
    Quota {
        provider: quota.provider,
        account: quota.account_hash,
        limit: quota.name,
        used_millionths: used.map_or(0, millionths),
        window_seconds: quota.window_seconds,
        observed_unix_ms: quota.observed_ms,
        resets_unix_ms: quota.resets_ms,
    }
}

fn millionths(ratio: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what fits"
    )]
    let millionths = (ratio * 1e6).clamp(0.0, 4e9) as u32;
    millionths
}

/// Whether a row tells something that another one does not, the speed of its burning aside.
fn is_news(written: &BudgetState, state: &BudgetState) -> bool {
    let facts = |state: &BudgetState| {
        (
            state.used_amount,
            state.open_amount,
            state.limit_amount,
            state.is_lower_bound,
            state.status.clone(),
            state.thresholds.len(),
        )
    };
    facts(written) != facts(state)
}

/// The value of the scope that a status is about; empty where a budget has one limit for all.
pub fn scope_value<'a>(budget: &Budget, status: &'a Status) -> &'a str {
    match budget.scope {
        Scope::Each(_) => status.scope.first().map_or("", |(_, value)| value),
        Scope::Host | Scope::Like(..) => "",
    }
}

/// Beginning of the period in the ledger: a period that moves with the time has one row.
fn period_start_ms(status: &Status) -> i64 {
    status
        .reset_unix_ms
        .map_or(0, |_| status.period_from_unix_ms)
}

/// How a budget stands, in the words of the ledger: how urgent it is stands in its alerts.
const fn status_of(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Ticket | State::Page => "burning",
        State::Exceeded => "exceeded",
    }
}

fn budget_state(budget: &Budget, status: &Status, now_ms: i64) -> BudgetState {
    let reached = status.reached;
    BudgetState {
        budget: status.budget.to_string(),
        scope_value: scope_value(budget, status).to_owned(),
        period_start_ms: period_start_ms(status),
        period_end_ms: status.reset_unix_ms,
        unit: status.unit.as_str().to_owned(),
        limit_amount: status.limit,
        used_amount: status.used,
        open_amount: status.open,
        is_lower_bound: status.is_at_least,
        estimated_tokens: status.amount.estimated_tokens,
        unpriced_tokens: status.amount.unpriced_tokens,
        thresholds: budget
            .thresholds
            .iter()
            .filter(|share| reached.is_some_and(|reached| **share <= reached))
            .map(|share| f64::from(share.0) / 1_000.0)
            .collect(),
        burn_5m: status.burn(Window::FiveMinutes),
        burn_30m: status.burn(Window::HalfHour),
        burn_1h: status.burn(Window::Hour),
        burn_6h: status.burn(Window::SixHours),
        burn_3d: status.burn(Window::ThreeDays),
        status: status_of(status.state).to_owned(),
        forecast_amount: status.projected,
        exhausts_ms: status.exhausted_unix_ms,
        memory: None,
        updated_ms: now_ms,
    }
}

fn open_call(record: &UsageRecord, prices: &Prices, now_ms: i64) -> OpenCall {
    let call = &record.call;
    let usage = &call.usage;
    let process = record.process.as_deref();
    let container = process.and_then(|process| process.container.as_ref());
    let rate = call
        .model()
        .and_then(|model| prices.input_rate(call.provider.0, model, record.started_unix_ms));
    OpenCall {
        identity: record.identity.clone(),
        started_ms: record.started_unix_ms,
        updated_ms: now_ms,
        provider: call.provider.0.to_owned(),
        model: call.model().map(str::to_owned),
        workflow: record.workflow.name.clone(),
        session_key: record.session.0.clone(),
        thread_key: record.thread.key.clone(),
        thread_kind: record.thread.kind.as_str().to_owned(),
        task_type: record.task.as_str().to_owned(),
        user_name: process.and_then(|process| process.user_name.clone()),
        uid: process.map(|process| process.uid),
        pid: process.map(|process| process.id.pid),
        comm: process.map(|process| process.comm.clone()),
        client_name: record.client.name.clone(),
        systemd_unit: process.and_then(|process| process.unit.clone()),
        container: container.map(|container| container.word().to_owned()),
        repo: process
            .and_then(|process| process.checkout.as_ref())
            .map(|checkout| checkout.repo.clone()),
        usage_source: call.usage_source.as_str().to_owned(),
        input_uncached_tokens: usage.input_uncached,
        cache_read_tokens: usage.cache_read,
        cache_write_5m_tokens: usage.cache_write_5m,
        cache_write_1h_tokens: usage.cache_write_1h,
        cache_write_other_tokens: usage.cache_write_other,
        output_tokens: usage.output,
        reasoning_tokens: usage.reasoning,
        weighted_tokens: weighted_tokens(usage, record.cost.cost_nanousd, rate),
        cost_nanousd: record.cost.cost_nanousd,
        cost_status: record.cost.status.as_str().to_owned(),
    }
}
