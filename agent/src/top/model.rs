//! What is shown, made of what was read: rates, sums, notes, order. No clock, no terminal, no file.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::store::{Live, LiveAlert, LiveBudget, LiveCall, LiveSession, RunningCall, Sum};

/// Rates are those of the last five minutes.
pub(super) const RATE_MS: i64 = 5 * 60 * 1_000;
const MINUTE_MS: i64 = 60 * 1_000;

/// LIMIT: rules of one alert that a note names.
const MOST_RULES: usize = 8;

/// What sessions are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// Cost per minute, then cost of the session.
    #[default]
    Cost,
    /// Weighted tokens per minute.
    Tokens,
    /// Input of the last call.
    Context,
    /// Threads of the session.
    Threads,
    /// Calls of the window that failed.
    Errors,
}

impl Sort {
    /// Its name on the command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Tokens => "tokens",
            Self::Context => "context",
            Self::Threads => "threads",
            Self::Errors => "errors",
        }
    }

    /// The one after it.
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Cost => Self::Tokens,
            Self::Tokens => Self::Context,
            Self::Context => Self::Threads,
            Self::Threads => Self::Errors,
            Self::Errors => Self::Cost,
        }
    }
}

/// Which end comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// The largest.
    #[default]
    Falling,
    /// The smallest.
    Rising,
}

/// Whether what is shown goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Agent {
    /// An agent writes to the ledger; the moment of a frame is that of the clock.
    Runs,
    /// None does: a frame shows the last state, at the last moment that the ledger knows of.
    #[default]
    Gone,
}

/// What was read, and when.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Read {
    pub(super) agent: Agent,
    /// Moment of the frame, in milliseconds since the Unix epoch.
    pub(super) at_ms: i64,
    pub(super) live: Live,
    pub(super) budgets: Vec<LiveBudget>,
    /// What all calls of the last hour cost.
    pub(super) hour: Sum,
}

/// What tells a session from others as long as `top` runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RowId {
    /// Its row in the ledger.
    Stored(i64),
    /// Key and user of one whose first call still runs.
    Begun(String, Option<i64>),
}

/// A session.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) id: RowId,
    pub(super) key: String,
    pub(super) workflow: Option<String>,
    /// The client, or else the name of the process.
    pub(super) client: Option<String>,
    pub(super) pid: Option<i64>,
    pub(super) user: Option<String>,
    /// Of the last call that is no work beside the conversation, if there is one.
    pub(super) model: Option<String>,
    /// Calls that are stored.
    pub(super) requests: u64,
    pub(super) threads: u64,
    /// Calls of the window that failed.
    pub(super) errors: u64,
    /// Input of the call that `model` is of.
    pub(super) context: Option<Context>,
    /// Billionths of a US dollar a minute.
    pub(super) rate: Sum,
    /// Weighted tokens a minute.
    pub(super) tokens: Option<u64>,
    /// What it cost, running calls included.
    pub(super) cost: Sum,
    pub(super) started_ms: i64,
    pub(super) age_ms: u64,
    /// Calls that run, and how long the oldest does.
    pub(super) running: usize,
    pub(super) running_ms: u64,
    /// What rules found, and what else is worth a look.
    pub(super) notes: Vec<String>,
    /// How bad the worst of it is.
    pub(super) severity: Severity,
    /// Its threads with calls in the window.
    pub(super) lines: Vec<ThreadLine>,
}

/// How much a call had to read, and how much its model can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) tokens: u64,
    pub(super) window_tokens: Option<u64>,
}

impl Context {
    fn new(tokens: Option<u64>, window_tokens: Option<u64>) -> Option<Self> {
        tokens.map(|tokens| Self {
            tokens,
            window_tokens,
        })
    }
}

/// How bad something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    #[default]
    None,
    Ticket,
    Page,
}

/// Threads of a session that are alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ThreadLine {
    pub(super) depth: u64,
    /// Type of the agent, or else the kind of thread.
    pub(super) name: String,
    pub(super) threads: usize,
    pub(super) running: usize,
    pub(super) model: Option<String>,
    pub(super) context: Option<Context>,
    pub(super) rate: Sum,
}

/// Sums of all sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) sessions: usize,
    pub(super) running: usize,
    pub(super) rate: Sum,
    /// Billionths of a US dollar a minute, of the last hour.
    pub(super) hour_rate: Sum,
    pub(super) tokens: Option<u64>,
    pub(super) pages: usize,
    pub(super) tickets: usize,
}

/// All that one frame shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Frame {
    pub(super) agent: Agent,
    pub(super) at_ms: i64,
    pub(super) rows: Vec<Row>,
    pub(super) totals: Totals,
    pub(super) alerts: Vec<LiveAlert>,
    pub(super) budgets: Vec<LiveBudget>,
}

impl Frame {
    /// What is shown of what was read, in this order.
    pub(super) fn of(read: &Read, sort: Sort, order: Order) -> Self {
        let at_ms = read.at_ms;
        let live = &read.live;
        let mut parts: BTreeMap<RowId, Parts<'_>> = BTreeMap::new();
        for session in &live.sessions {
            let id = RowId::Stored(session.session_id);
            parts.entry(id).or_default().session = Some(session);
        }
        for call in &live.calls {
            // A session beyond the limit is left out with its calls.
            if let Some(parts) = parts.get_mut(&RowId::Stored(call.session_id)) {
                parts.calls.push(call);
            }
        }
        for call in &live.running {
            let id = match call.session_id {
                Some(id) => RowId::Stored(id),
                None => RowId::Begun(call.session_key.clone(), call.uid),
            };
            parts.entry(id).or_default().running.push(call);
        }
        let alerts: Vec<Told<'_>> = live.alerts.iter().map(Told::of).collect();
        let rows: Vec<Row> = parts
            .into_iter()
            .filter_map(|(id, parts)| row(id, &parts, &alerts, at_ms))
            .collect();
        let severe = |name: &str| {
            let alerts = live.alerts.iter();
            alerts.filter(|alert| alert.severity == name).count()
        };
        let totals = Totals {
            sessions: rows.len(),
            running: live.running.len(),
            rate: rows
                .iter()
                .fold(Sum::default(), |sum, row| plus(sum, row.rate)),
            hour_rate: Sum {
                value: read.hour.value.map(|cost| cost / 60),
                ..read.hour
            },
            tokens: rows
                .iter()
                .filter_map(|row| row.tokens)
                .reduce(u64::saturating_add),
            pages: severe("page"),
            tickets: severe("ticket"),
        };
        let mut frame = Self {
            agent: read.agent,
            at_ms,
            rows,
            totals,
            alerts: live.alerts.clone(),
            budgets: read.budgets.clone(),
        };
        frame.sort(sort, order);
        frame
    }

    /// Puts the sessions in this order.
    pub(super) fn sort(&mut self, sort: Sort, order: Order) {
        sort_rows(&mut self.rows, sort, order);
    }
}

fn sort_rows(rows: &mut [Row], sort: Sort, order: Order) {
    let by = |row: &Row| match sort {
        Sort::Cost => (row.rate.value, row.cost.value),
        Sort::Tokens => (row.tokens, row.cost.value),
        Sort::Context => (row.context.map(|context| context.tokens), row.cost.value),
        Sort::Threads => (Some(row.threads), row.cost.value),
        Sort::Errors => (Some(row.errors), row.cost.value),
    };
    rows.sort_by(|one, other| {
        let falling = by(other).cmp(&by(one));
        let compared = match order {
            Order::Falling => falling,
            Order::Rising => falling.reverse(),
        };
        compared.then_with(|| one.key.cmp(&other.key))
    });
}

/// What belongs to one session.
#[derive(Default)]
struct Parts<'a> {
    session: Option<&'a LiveSession>,
    calls: Vec<&'a LiveCall>,
    running: Vec<&'a RunningCall>,
}

/// A call, ended or not, as far as rates and threads need it.
struct Use<'a> {
    from_ms: i64,
    until_ms: i64,
    cost: Sum,
    weighted: Option<u64>,
    kind: &'a str,
    name: &'a str,
    thread: ThreadId<'a>,
    depth: u64,
    model: Option<&'a str>,
    context: Option<Context>,
    is_running: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ThreadId<'a> {
    Row(Option<i64>),
    Key(&'a str),
}

impl ThreadId<'_> {
    /// A session has one, whether a call of it is stored or not.
    const MAIN: Self = Self::Row(None);
}

const MAIN: &str = "main";

impl<'a> Use<'a> {
    fn of_call(call: &'a LiveCall) -> Self {
        let kind = call.thread_kind.as_deref().unwrap_or(MAIN);
        let lasted = i64::try_from(call.duration_ms).unwrap_or(i64::MAX);
        Self {
            from_ms: call.started_ms,
            until_ms: call.started_ms.saturating_add(lasted),
            cost: Sum {
                value: call.cost_nanousd,
                is_lower_bound: call.is_cost_lower_bound,
            },
            weighted: call.weighted_tokens,
            kind,
            name: call.agent_type.as_deref().unwrap_or(kind),
            thread: match kind {
                MAIN => ThreadId::MAIN,
                _ => ThreadId::Row(call.thread_id),
            },
            depth: call.thread_depth,
            model: call.model.as_deref(),
            context: Context::new(call.context_tokens, call.window_tokens),
            is_running: false,
        }
    }

    fn of_running(call: &'a RunningCall, at_ms: i64) -> Self {
        let kind = match call.thread_kind.as_str() {
            "" => MAIN,
            kind => kind,
        };
        Self {
            from_ms: call.started_ms,
            until_ms: at_ms,
            cost: Sum {
                value: call.cost_nanousd,
                is_lower_bound: call.is_cost_lower_bound,
            },
            weighted: call.weighted_tokens,
            kind,
            name: call.agent_type.as_deref().unwrap_or(kind),
            thread: match (kind, call.thread_id) {
                (MAIN, _) => ThreadId::MAIN,
                (_, None) => ThreadId::Key(&call.thread_key),
                (_, stored) => ThreadId::Row(stored),
            },
            depth: call.thread_depth,
            model: call.model.as_deref(),
            context: Context::new(call.context_tokens, call.window_tokens),
            is_running: true,
        }
    }

    /// Of an amount that it took evenly, what a minute of the last five took.
    fn per_minute(&self, amount: u64, at_ms: i64) -> u64 {
        let until_ms = self.until_ms.max(self.from_ms.saturating_add(1));
        let lasted = until_ms.saturating_sub(self.from_ms);
        let from = self.from_ms.max(at_ms.saturating_sub(RATE_MS));
        // What ends in this very millisecond has been taken.
        let until = until_ms.min(at_ms.saturating_add(1));
        let inside = until.saturating_sub(from).max(0);
        let wide = |ms: i64| u128::from(ms.unsigned_abs());
        let shared = u128::from(amount) * wide(inside) / wide(lasted).max(1);
        u64::try_from(shared * wide(MINUTE_MS) / wide(RATE_MS)).unwrap_or(u64::MAX)
    }

    fn is_recent(&self, at_ms: i64) -> bool {
        self.until_ms > at_ms.saturating_sub(RATE_MS)
    }
}

fn plus(one: Sum, other: Sum) -> Sum {
    Sum {
        value: match (one.value, other.value) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        },
        is_lower_bound: one.is_lower_bound || other.is_lower_bound,
    }
}

/// The rate of these calls: nothing where none is recent, unknown where no cost is known.
fn rate<'a>(uses: impl Iterator<Item = &'a Use<'a>>, at_ms: i64) -> Sum {
    let mut recent = uses.filter(|one| one.is_recent(at_ms)).peekable();
    if recent.peek().is_none() {
        return Sum {
            value: Some(0),
            is_lower_bound: false,
        };
    }
    recent.fold(Sum::default(), |sum, one| {
        let value = one.cost.value.map(|cost| one.per_minute(cost, at_ms));
        plus(sum, Sum { value, ..one.cost })
    })
}

fn row(id: RowId, parts: &Parts<'_>, alerts: &[Told<'_>], at_ms: i64) -> Option<Row> {
    let session = parts.session;
    let begun = parts.running.first();
    let key = session
        .map(|session| &session.session_key)
        .or_else(|| begun.map(|call| &call.session_key))?
        .clone();
    let mut uses: Vec<Use<'_>> = parts.calls.iter().map(|call| Use::of_call(call)).collect();
    let ended = uses.len();
    uses.extend(
        parts
            .running
            .iter()
            .map(|call| Use::of_running(call, at_ms)),
    );
    let running_cost = uses
        .iter()
        .skip(ended)
        .fold(Sum::default(), |sum, one| plus(sum, one.cost));
    let last = last_of_work(&uses);
    let started_ms = session
        .map(|session| session.started_ms)
        .or_else(|| parts.running.iter().map(|call| call.started_ms).min())?;
    let uid = session.map_or_else(|| begun.and_then(|call| call.uid), |session| session.uid);
    let text = |stored: Option<&Option<String>>, begun: Option<&Option<String>>| {
        stored.or(begun).cloned().flatten()
    };
    let workflow = session
        .and_then(|session| session.workflow.clone())
        .or_else(|| begun.map(|call| call.workflow.clone()));
    let client = text(
        session.map(|session| &session.client_name),
        begun.map(|call| &call.client_name),
    );
    let comm = text(
        session.map(|session| &session.comm),
        begun.map(|call| &call.comm),
    );
    let user = text(
        session.map(|session| &session.user_name),
        begun.map(|call| &call.user_name),
    );
    let user = user.or_else(|| uid.map(|uid| uid.to_string()));
    let tokens = uses
        .iter()
        .filter(|one| one.is_recent(at_ms))
        .filter_map(|one| Some(one.per_minute(one.weighted?, at_ms)))
        .reduce(u64::saturating_add);
    let errors = parts.calls.iter().filter(|call| call.is_error).count();
    let running_ms = parts
        .running
        .iter()
        .map(|call| since(call.started_ms, at_ms))
        .max();
    let own_threads: BTreeSet<&str> = parts
        .running
        .iter()
        .map(|call| call.thread_key.as_str())
        .collect();
    let threads = session.map_or(0, |session| session.thread_count);
    let (mut notes, severity) = told(alerts, &key, uid, workflow.as_deref());
    if errors > 0 {
        notes.push(format!(
            "{errors} {}",
            if errors == 1 { "error" } else { "errors" }
        ));
    }
    Some(Row {
        key,
        workflow,
        client: client.or(comm),
        pid: session
            .and_then(|session| session.pid)
            .or_else(|| begun.and_then(|call| call.pid)),
        user,
        model: last.and_then(|one| one.model).map(str::to_owned),
        requests: session.map_or(0, |session| session.request_count),
        threads: match session {
            Some(_) => threads.max(1),
            None => u64::try_from(own_threads.len()).unwrap_or(u64::MAX),
        },
        errors: u64::try_from(errors).unwrap_or(u64::MAX),
        context: last.and_then(|one| one.context),
        rate: rate(uses.iter(), at_ms),
        tokens,
        cost: session.map_or(running_cost, |session| plus(session.cost, running_cost)),
        started_ms,
        age_ms: since(started_ms, at_ms),
        running: parts.running.len(),
        running_ms: running_ms.unwrap_or(0),
        notes,
        severity,
        lines: lines(&uses, at_ms),
        id,
    })
}

fn since(from_ms: i64, at_ms: i64) -> u64 {
    u64::try_from(at_ms.saturating_sub(from_ms)).unwrap_or(0)
}

/// The last call of a thread that works; titles and quota checks say nothing about a session.
fn last_of_work<'a>(uses: &'a [Use<'a>]) -> Option<&'a Use<'a>> {
    let is_known = |one: &&Use<'_>| one.context.is_some() || one.is_running;
    let of = |kind: &'static str| {
        let uses = uses.iter().filter(move |one| one.kind == kind);
        uses.filter(is_known).max_by_key(|one| one.from_ms)
    };
    of(MAIN)
        .or_else(|| of("subagent"))
        .or_else(|| uses.iter().max_by_key(|one| one.from_ms))
}

/// The threads that called, those of one depth and name together.
fn lines(uses: &[Use<'_>], at_ms: i64) -> Vec<ThreadLine> {
    let mut alike: BTreeMap<(u64, &str), Vec<&Use<'_>>> = BTreeMap::new();
    for one in uses {
        alike.entry((one.depth, one.name)).or_default().push(one);
    }
    let lines = alike.into_iter().map(|((depth, name), uses)| {
        let threads: BTreeSet<ThreadId<'_>> = uses.iter().map(|one| one.thread).collect();
        let last = uses.iter().max_by_key(|one| one.from_ms);
        ThreadLine {
            depth,
            name: name.to_owned(),
            threads: threads.len(),
            running: uses.iter().filter(|one| one.is_running).count(),
            model: last.and_then(|one| one.model).map(str::to_owned),
            context: last.and_then(|one| one.context),
            rate: rate(uses.iter().copied(), at_ms),
        }
    });
    lines.collect()
}

/// An alert, by what it is about.
struct Told<'a> {
    alert: &'a LiveAlert,
    session: Option<String>,
    workflow: Option<String>,
    uid: Option<i64>,
    note: String,
}

impl<'a> Told<'a> {
    fn of(alert: &'a LiveAlert) -> Self {
        let scope: Vec<(String, String)> =
            serde_json::from_str(&alert.scope_json).unwrap_or_default();
        let evidence: Value = serde_json::from_str(&alert.evidence_json).unwrap_or_default();
        let about = |what: &str| {
            let mut scope = scope.iter();
            scope
                .find(|(name, _)| name == what)
                .map(|(_, value)| value.clone())
        };
        let note = match (alert.rule.as_str(), &alert.budget) {
            ("runaway", _) => rules(&evidence),
            (_, Some(budget)) => format!("budget {budget}"),
            (rule, None) => rule.replace('_', " "),
        };
        Self {
            alert,
            session: about("session"),
            workflow: about("workflow"),
            uid: evidence.get("uid").and_then(Value::as_i64),
            note,
        }
    }

    fn is_about(&self, key: &str, uid: Option<i64>, workflow: Option<&str>) -> bool {
        match (&self.session, &self.workflow) {
            // Two users may have sessions of one name.
            (Some(session), _) => session == key && (self.uid.is_none() || self.uid == uid),
            (None, Some(scope)) => workflow == Some(scope),
            (None, None) => false,
        }
    }
}

/// The rules that a session breaks, as in `R2 fan-out, R6 money`.
fn rules(evidence: &Value) -> String {
    let signs = evidence.get("rules").and_then(Value::as_array);
    let mut names: Vec<String> = Vec::new();
    for sign in signs.into_iter().flatten() {
        let part = |name: &str| sign.get(name).and_then(Value::as_str);
        if let (Some(rule), Some(name)) = (part("rule"), part("name")) {
            let named = format!("{rule} {name}");
            if !names.contains(&named) && names.len() < MOST_RULES {
                names.push(named);
            }
        }
    }
    if names.is_empty() {
        return "runs away".to_owned();
    }
    names.join(", ")
}

fn told(
    alerts: &[Told<'_>],
    key: &str,
    uid: Option<i64>,
    workflow: Option<&str>,
) -> (Vec<String>, Severity) {
    let mut notes: Vec<String> = Vec::new();
    let mut severity = Severity::None;
    let about = alerts
        .iter()
        .filter(|told| told.is_about(key, uid, workflow));
    let mut about: Vec<&Told<'_>> = about.collect();
    // What is said of the session itself goes before what is said of its workflow.
    about.sort_by_key(|told| told.session.is_none());
    for told in about {
        if !notes.contains(&told.note) {
            notes.push(told.note.clone());
        }
        severity = severity.max(match told.alert.severity.as_str() {
            "page" => Severity::Page,
            _ => Severity::Ticket,
        });
    }
    (notes, severity)
}
