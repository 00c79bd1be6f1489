//! What calls take, as budgets, spikes and runaway rules see it: made of calls that ended and of those
//! that still run.

use std::sync::Arc;

use crate::llm::{Outcome, UsageSource};
use crate::prices::{CostStatus, Prices, weighted_tokens};
use crate::session::{Hop, TaskType, ThreadKind, UsageRecord};
use crate::workflow::Workflow;

/// What one call takes: all of it once the call ended, so far while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spend {
    /// Identity of the call; a later one takes the place of an earlier one.
    pub identity: Arc<str>,
    /// Start of the call, in milliseconds since the Unix epoch.
    pub started_unix_ms: i64,
    /// To when it is booked: the end of the call, or the moment of the figures while it runs.
    pub unix_ms: i64,
    /// Whether the call still runs: the figures are what is known so far.
    pub is_open: bool,
    /// Whose it is.
    pub payer: Arc<Payer>,
    /// How much it is.
    pub amount: Amount,
    /// Its place in a session.
    pub work: Work,
}

/// Whose spending it is, as budgets can tell it apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Payer {
    /// Workflow.
    pub workflow: String,
    /// Name of the user, or the number.
    pub user: Option<String>,
    /// Unit of systemd.
    pub unit: Option<String>,
    /// Name of the container, or its id.
    pub container: Option<String>,
    /// Name of the repository.
    pub repo: Option<String>,
    /// Client.
    pub client: Option<String>,
    /// Provider.
    pub provider: String,
    /// Model as answered, or else as requested.
    pub model: Option<String>,
    /// Kind of work.
    pub task: String,
}

impl Payer {
    /// Whether nobody knows what pays.
    pub fn is_unattributed(&self) -> bool {
        self.workflow == Workflow::UNATTRIBUTED
    }
}

/// A sum of what calls take. What is unknown adds nothing, and is counted beside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Calls.
    pub requests: u64,
    /// Sessions that began.
    pub sessions: u64,
    /// Tokens of all classes.
    pub tokens: u64,
    /// Tokens in terms of uncached input: by the prices of the classes, or by usual weights.
    pub weighted_tokens: u64,
    /// What is known to be paid, in billionths of a US dollar.
    pub cost_nanousd: u64,
    /// The part of `cost_nanousd` that is known to be less than the whole of its calls.
    pub lower_bound_nanousd: u64,
    /// Tokens that have no price.
    pub unpriced_tokens: u64,
    /// The part of `tokens` that was counted here.
    pub estimated_tokens: u64,
    /// Calls of which no tokens are known.
    pub unknown_requests: u64,
}

impl Amount {
    /// Adds another one; sums stay at the largest number.
    pub fn add(&mut self, other: &Self) {
        self.change(other, u64::saturating_add);
    }

    /// Takes out what was added before.
    pub fn remove(&mut self, other: &Self) {
        self.change(other, u64::saturating_sub);
    }

    fn change(&mut self, other: &Self, apply: fn(u64, u64) -> u64) {
        for (sum, more) in [
            (&mut self.requests, other.requests),
            (&mut self.sessions, other.sessions),
            (&mut self.tokens, other.tokens),
            (&mut self.weighted_tokens, other.weighted_tokens),
            (&mut self.cost_nanousd, other.cost_nanousd),
            (&mut self.lower_bound_nanousd, other.lower_bound_nanousd),
            (&mut self.unpriced_tokens, other.unpriced_tokens),
            (&mut self.estimated_tokens, other.estimated_tokens),
            (&mut self.unknown_requests, other.unknown_requests),
        ] {
            *sum = apply(*sum, more);
        }
    }
}

/// The place of a call in its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Key of the session.
    pub session: Arc<str>,
    /// User of the session: the same key of two users is two sessions.
    pub uid: Option<u32>,
    /// Process that called.
    pub pid: Option<u32>,
    /// Key of the thread.
    pub thread: Arc<str>,
    /// What the thread is for.
    pub thread_kind: ThreadKind,
    /// Threads between it and the main one.
    pub depth: u32,
    /// The whole prompt, in tokens.
    pub context_tokens: Option<u64>,
    /// Tokens that the model's window holds, if that is known.
    pub window_tokens: Option<u64>,
    /// Whether the call compacts its thread.
    pub is_compaction: bool,
    /// Whether it shows that the call before it in its thread, which nobody marked, was a compaction.
    pub shows_compaction: bool,
    /// Whether it is a step of a conversation or an agent, which a human could have a part in; a
    /// vector, a picture or a result of a batch is none.
    pub is_conversation: bool,
    /// Whether it brings words of the user to the main thread.
    pub is_human_turn: bool,
    /// Whether it ended well.
    pub is_complete: bool,
    /// Whether the provider refused it, or gave up.
    pub is_failed: bool,
    /// Keyed hash of the request.
    pub request_hash: Option<u64>,
    /// Keyed hash of the tool calls of the reply.
    pub tool_signature: Option<u64>,
}

impl Spend {
    /// What a stored call takes; `None` for a call that another one on this host made again, which is
    /// the one that counts.
    pub fn of(record: &UsageRecord, prices: &Prices) -> Option<Self> {
        if matches!(record.hop, Some(Hop::ToGateway { .. })) {
            return None;
        }
        let call = &record.call;
        let process = record.process.as_deref();
        let usage = &call.usage;
        let known = [usage.input(), usage.output];
        let tokens = known.into_iter().flatten().fold(0, u64::saturating_add);
        let is_known = known.iter().any(Option::is_some);
        let cost = record.cost.cost_nanousd;
        let beside = record
            .sub_costs
            .iter()
            .filter_map(|sub| sub.cost_nanousd)
            .fold(0, u64::saturating_add);
        let rate = call
            .model()
            .and_then(|model| prices.input_rate(call.provider.0, model, record.started_unix_ms));
        let is_priced = cost.is_some();
        let is_lower = record.cost.status == CostStatus::LowerBound;
        let amount = Amount {
            requests: 1,
            sessions: 0,
            tokens,
            weighted_tokens: weighted_tokens(usage, cost, rate).unwrap_or(0),
            cost_nanousd: cost.unwrap_or(0).saturating_add(beside),
            lower_bound_nanousd: if is_lower { cost.unwrap_or(0) } else { 0 },
            unpriced_tokens: if is_priced { 0 } else { tokens },
            estimated_tokens: if call.usage_source == UsageSource::Estimated {
                tokens
            } else {
                0
            },
            unknown_requests: u64::from(!is_known),
        };
        let container = process.and_then(|process| process.container.as_ref());
        Some(Self {
            identity: Arc::from(record.identity.as_str()),
            started_unix_ms: record.started_unix_ms,
            unix_ms: record
                .started_unix_ms
                .saturating_add_unsigned(record.duration_ms),
            is_open: false,
            payer: Arc::new(Payer {
                workflow: record.workflow.name.clone(),
                user: process.map(|process| {
                    let number = || process.uid.to_string();
                    process.user_name.clone().unwrap_or_else(number)
                }),
                unit: process.and_then(|process| process.unit.clone()),
                container: container.map(|container| container.word().to_owned()),
                repo: process
                    .and_then(|process| process.checkout.as_ref())
                    .map(|checkout| checkout.repo.clone()),
                client: record.client.name.clone(),
                provider: call.provider.0.to_owned(),
                model: call.model().map(str::to_owned),
                task: record.task.as_str().to_owned(),
            }),
            amount,
            work: Work {
                session: Arc::from(record.session.0.as_str()),
                uid: process.map(|process| process.uid),
                pid: process.map(|process| process.id.pid),
                thread: Arc::from(record.thread.key.as_str()),
                thread_kind: record.thread.kind,
                depth: record.thread.depth,
                context_tokens: usage.input(),
                window_tokens: call
                    .model()
                    .and_then(|model| prices.window_tokens(call.provider.0, model)),
                is_compaction: record.task == TaskType::Compaction,
                shows_compaction: record.compacted.is_some(),
                is_conversation: is_conversation(record.task.as_str()),
                is_human_turn: record.is_human_turn,
                is_complete: call.outcome == Outcome::Complete,
                is_failed: call.outcome == Outcome::Error,
                request_hash: call.signals.request_hash,
                tool_signature: call.signals.tool_signature,
            },
        })
    }
}

/// Whether calls of a kind of work, by its name, are steps of a conversation or an agent.
pub fn is_conversation(task: &str) -> bool {
    [
        TaskType::Batch,
        TaskType::Embedding,
        TaskType::Image,
        TaskType::Audio,
        TaskType::Rerank,
        TaskType::Completion,
    ]
    .iter()
    .all(|other| other.as_str() != task)
}

#[cfg(test)]
impl Spend {
    /// A call of which nothing is known but that it ended well: what tests begin with.
    pub(crate) fn plain() -> Self {
        Self {
            identity: Arc::from(""),
            started_unix_ms: 0,
            unix_ms: 0,
            is_open: false,
            payer: Arc::default(),
            amount: Amount {
                requests: 1,
                ..Amount::default()
            },
            work: Work {
                session: Arc::from(""),
                uid: None,
                pid: None,
                thread: Arc::from(""),
                thread_kind: ThreadKind::Main,
                depth: 0,
                context_tokens: None,
                window_tokens: None,
                is_compaction: false,
                shows_compaction: false,
                is_conversation: true,
                is_human_turn: false,
                is_complete: true,
                is_failed: false,
                request_hash: None,
                tool_signature: None,
            },
        }
    }
}
