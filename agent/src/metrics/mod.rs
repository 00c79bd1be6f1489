//! What the agent tells systems of metrics: numbers of what is committed, never content.
//!
//! [`Metrics`] is fed by the thread that keeps the ledger and read by those that serve it. Counters
//! count from the start of the agent. Names are in [`names`]; what a user should know of them is in
//! `agent/docs/metrics.md`.

mod calls;
pub(crate) mod histogram;
pub(crate) mod labels;
pub mod names;
mod serve;
mod text;
mod textfile;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use agent_core::alert::{Alerts, Rule, Severity};
use agent_core::budget;
use agent_core::llm::{Account, Observed};
use agent_core::pipeline::{CoverageMinute, CoverageOutcome, Output};
use agent_core::session::UsageRecord;
use anyhow::Context as _;
use serde_json::{Map, Value};

use crate::config;
use calls::{Active, Calls, Labels};
use labels::Values;
pub use serve::Server;
pub use text::Format;
pub use textfile::Textfile;

/// LIMIT: limits of accounts that are told; what is new beyond them is left out.
const MAX_QUOTAS: usize = 500;

/// LIMIT: budgets, with the values that they are split by, that are told.
const MAX_BUDGETS: usize = 500;

/// LIMIT: counters of the agent itself that are told; it has about a hundred, and a few for each
/// processor.
const MAX_COUNTERS: usize = 1_000;

/// The time that the coverage ratio is of.
const COVERAGE_MS: i64 = 3_600_000;

const MINUTE_MS: i64 = 60_000;

/// After this time without a sign of life from the thread that keeps the ledger the agent is not
/// well: it gives one every five seconds.
const ALIVE_WITHIN: Duration = Duration::from_secs(30);

/// What does not change while the agent runs.
#[derive(Clone, Debug)]
pub struct About {
    /// Version of the agent.
    pub version: &'static str,
    /// Day of the list of prices in force, in milliseconds since the Unix epoch.
    pub price_table_unix_ms: Option<i64>,
    /// Pause after which a session is not active any more.
    pub session_idle: Duration,
}

/// How a budget stands.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetStatus {
    /// Name.
    pub name: String,
    /// What it is about, as in `user=dana`; empty for all of the host.
    pub scope: String,
    /// Unit of the amounts: `usd`, whose amounts are in billionths of it, or one of what is counted.
    pub unit: String,
    /// Limit.
    pub limit: u64,
    /// What is used in the period, calls that run included.
    pub used: u64,
    /// Whether more is used, and nobody knows how much.
    pub is_at_least: bool,
    /// How many times as fast as planned it is used up, by the name of the window.
    pub burns: Vec<(String, f64)>,
    /// When the limit will be reached, in milliseconds since the Unix epoch.
    pub exhausted_unix_ms: Option<i64>,
    /// When the next period begins, in milliseconds since the Unix epoch.
    pub reset_unix_ms: Option<i64>,
}

impl From<&budget::Status> for BudgetStatus {
    fn from(status: &budget::Status) -> Self {
        let scope = status.scope.iter();
        let scope: Vec<String> = scope
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let burns = status.burns.iter();
        Self {
            name: status.budget.to_string(),
            scope: if status.is_rest {
                labels::OTHER.to_owned()
            } else {
                scope.join(",")
            },
            unit: status.unit.as_str().to_owned(),
            limit: status.limit,
            used: status.used,
            is_at_least: status.is_at_least,
            burns: burns
                .map(|(window, burn)| (window.as_str().to_owned(), *burn))
                .collect(),
            exhausted_unix_ms: status.exhausted_unix_ms,
            reset_unix_ms: status.reset_unix_ms,
        }
    }
}

/// All numbers; clones are the same ones.
#[derive(Clone, Debug)]
pub struct Metrics {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    about: About,
    values: Values,
    calls: Calls,
    active: Active,
    running: BTreeMap<Labels, u64>,
    captured: BTreeMap<CoverageOutcome, (u64, u64)>,
    minutes: BTreeMap<i64, BTreeMap<CoverageOutcome, u64>>,
    quotas: BTreeMap<[Arc<str>; 3], Quota>,
    budgets: Vec<([Arc<str>; 3], BudgetStatus)>,
    alerts: BTreeMap<(Rule, Severity), u64>,
    counters: BTreeMap<String, f64>,
    lost_records: u64,
    alive: Instant,
}

/// What a limit of an account said last.
#[derive(Debug)]
struct Quota {
    observed_unix_ms: i64,
    used: Option<f64>,
    resets_unix_ms: Option<i64>,
}

impl Metrics {
    /// Numbers that begin at zero.
    pub fn new(about: About) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                about,
                values: Values::default(),
                calls: Calls::default(),
                active: Active::default(),
                running: BTreeMap::new(),
                captured: BTreeMap::new(),
                minutes: BTreeMap::new(),
                quotas: BTreeMap::new(),
                budgets: Vec::new(),
                alerts: BTreeMap::new(),
                counters: BTreeMap::new(),
                lost_records: 0,
                alive: Instant::now(),
            })),
        }
    }

    /// Counts outputs that are committed; `account_hash` is what the ledger calls an account.
    pub fn committed<'a>(
        &self,
        outputs: impl IntoIterator<Item = &'a Output>,
        account_hash: impl Fn(&Account) -> String,
    ) {
        let mut state = self.lock();
        for output in outputs {
            match output {
                Output::Usage(record) => state.call(record),
                Output::Coverage(minute) => state.coverage(minute),
                Output::Quota { unix_ms, observed } => {
                    let account = observed.account.as_ref().map(&account_hash);
                    state.quota(*unix_ms, observed, account.as_deref());
                }
                Output::Running(records) => state.running(records),
                Output::ProcessExited { .. } | Output::Ignore(_) => {}
            }
        }
    }

    /// Counts calls that are committed.
    pub fn calls<'a>(&self, records: impl IntoIterator<Item = &'a UsageRecord>) {
        let mut state = self.lock();
        for record in records {
            state.call(record);
        }
    }

    /// Counts what became of a minute.
    pub fn coverage(&self, minute: &CoverageMinute) {
        self.lock().coverage(minute);
    }

    /// Tells what is used of a limit of an account, which the ledger calls `account_hash`.
    pub fn quota(&self, unix_ms: i64, observed: &Observed, account_hash: Option<&str>) {
        self.lock().quota(unix_ms, observed, account_hash);
    }

    /// Tells all calls that run, in the place of those before.
    pub fn running(&self, records: &[UsageRecord]) {
        self.lock().running(records);
    }

    /// Tells how all budgets stand, in the place of what was told before.
    pub fn budgets(&self, budgets: impl IntoIterator<Item = BudgetStatus>) {
        self.lock().budgets(budgets);
    }

    /// Tells all alerts that fire, by rule and severity, in the place of those before.
    pub fn alerts(&self, alerts: impl IntoIterator<Item = (Rule, Severity, u64)>) {
        let mut firing: BTreeMap<(Rule, Severity), u64> = BTreeMap::new();
        for (rule, severity, count) in alerts {
            let sum = firing.entry((rule, severity)).or_default();
            *sum = sum.saturating_add(count);
        }
        self.lock().alerts = firing;
    }

    /// Tells how budgets and alerts stand after they were looked at.
    pub fn watched(&self, budgets: &[budget::Status], alerts: &Alerts) {
        self.budgets(budgets.iter().map(BudgetStatus::from));
        let firing = alerts.firing().map(|alert| &alert.condition);
        self.alerts(firing.map(|condition| (condition.rule, condition.severity, 1)));
    }

    /// Takes the counters of the agent itself, as its status has them, for a sign of life.
    pub fn status(&self, counters: &Map<String, Value>) {
        let mut state = self.lock();
        let numbers = counters
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)));
        state.counters = numbers.take(MAX_COUNTERS).collect();
        let lost = counters.get("lost_records").and_then(Value::as_u64);
        state.lost_records = lost.unwrap_or(0).max(state.lost_records);
        state.alive = Instant::now();
    }

    /// Whether the thread that keeps the ledger gave a sign of life lately.
    pub fn is_alive(&self) -> bool {
        self.lock().alive.elapsed() < ALIVE_WITHIN
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ways in which numbers leave the agent, as the configuration has them; they end with it.
#[derive(Debug)]
pub struct Exports {
    /// Over HTTP.
    pub server: Option<Server>,
    /// In a file.
    pub textfile: Option<Textfile>,
}

impl Exports {
    /// Starts those that are configured.
    ///
    /// # Errors
    ///
    /// The address, the socket or the file can't be had.
    pub fn start(metrics: &Metrics, config: &config::Metrics) -> anyhow::Result<Self> {
        let server = config.listen.as_ref().map(|listen| {
            let started = Server::start(metrics.clone(), listen);
            started.with_context(|| format!("can't serve metrics at {listen} (metrics.listen)"))
        });
        let textfile = config.textfile.as_ref().map(|path| {
            let started = Textfile::start(metrics.clone(), path);
            let path = path.display();
            started.with_context(|| format!("can't write metrics to {path} (metrics.textfile)"))
        });
        Ok(Self {
            server: server.transpose()?,
            textfile: textfile.transpose()?,
        })
    }
}

impl State {
    fn idle_ms(&self) -> i64 {
        i64::try_from(self.about.session_idle.as_millis()).unwrap_or(i64::MAX)
    }

    fn call(&mut self, record: &UsageRecord) {
        let idle_ms = self.idle_ms();
        self.calls.count(record, &mut self.values);
        self.active.note(record, idle_ms, &mut self.values);
    }

    fn coverage(&mut self, minute: &CoverageMinute) {
        let (events, bytes) = self.captured.entry(minute.outcome).or_default();
        *events = events.saturating_add(minute.events);
        *bytes = bytes.saturating_add(minute.bytes);
        let newest = self.minutes.keys().next_back().copied();
        let newest = newest.map_or(minute.minute_unix_ms, |newest| {
            newest.max(minute.minute_unix_ms)
        });
        self.minutes
            .retain(|at, _| *at > newest.saturating_sub(COVERAGE_MS));
        if minute.minute_unix_ms > newest.saturating_sub(COVERAGE_MS) {
            let outcomes = self.minutes.entry(minute.minute_unix_ms).or_default();
            let events = outcomes.entry(minute.outcome).or_default();
            *events = events.saturating_add(minute.events);
        }
    }

    /// Share of calls of the hour before `now_ms` that were seen whole, as reports have it.
    fn coverage_ratio(&self, now_ms: i64) -> Option<f64> {
        let (mut whole, mut all) = (0_u64, 0_u64);
        // A minute counts as long as any of it is within the hour.
        let from_ms = now_ms.saturating_sub(COVERAGE_MS + MINUTE_MS);
        for (_, outcomes) in self.minutes.range(from_ms..) {
            for (outcome, events) in outcomes {
                let (is_whole, is_call) = match outcome {
                    CoverageOutcome::Decoded | CoverageOutcome::NoUsage => (true, true),
                    CoverageOutcome::Truncated
                    | CoverageOutcome::Undecodable
                    | CoverageOutcome::Unprobed => (false, true),
                    CoverageOutcome::LostEvent => (false, false),
                };
                whole = whole.saturating_add(if is_whole { *events } else { 0 });
                all = all.saturating_add(if is_call { *events } else { 0 });
            }
        }
        (all > 0).then(|| whole as f64 / all as f64)
    }

    fn quota(&mut self, unix_ms: i64, observed: &Observed, account_hash: Option<&str>) {
        let limit = &observed.limit;
        let key = [
            self.values.of("provider", Some(observed.provider.0)),
            self.values.of("account", account_hash),
            self.values.of("limit", Some(limit.name)),
        ];
        if self.quotas.len() >= MAX_QUOTAS && !self.quotas.contains_key(&key) {
            self.values.fold("quota");
            return;
        }
        let quota = Quota {
            observed_unix_ms: unix_ms,
            used: limit.used.map(|used| used.ratio()),
            resets_unix_ms: limit.resets_unix_ms(unix_ms),
        };
        self.quotas.insert(key, quota);
    }

    fn running(&mut self, records: &[UsageRecord]) {
        self.running = calls::running(records, &mut self.values);
    }

    fn budgets(&mut self, budgets: impl IntoIterator<Item = BudgetStatus>) {
        let mut told: Vec<([Arc<str>; 3], BudgetStatus)> = Vec::new();
        for budget in budgets {
            // Two of them under one name would be one that jumps: those beyond the limit are left out.
            let scope = Some(budget.scope.as_str()).filter(|scope| !scope.is_empty());
            let key = [
                self.values.known("budget", Some(&budget.name)),
                self.values.known("scope", scope.or(Some("host"))),
                self.values.known("unit", Some(&budget.unit)),
            ];
            match key {
                [Some(name), Some(scope), Some(unit)] if told.len() < MAX_BUDGETS => {
                    told.push(([name, scope, unit], budget));
                }
                _ => self.values.fold("budget"),
            }
        }
        self.budgets = told;
    }
}
