//! What committed calls add up to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use agent_core::llm::{Outcome, Usage};
use agent_core::prices::Priced;
use agent_core::session::{Hop, UsageRecord};

use super::histogram::{Histogram, SECONDS, TOKENS};
use super::labels::{OTHER, Values};

/// LIMIT: combinations of workflow, provider, model and kind of work that have series of their own,
/// some 15 each. Beyond them all but the kind of work is `other`.
const MAX_LABELS: usize = 1_000;

/// LIMIT: pairs of provider and model that have series of their own, some 50 each.
const MAX_MODELS: usize = 200;

/// LIMIT: calls that are remembered, so that one that is written again, or is the other side of a
/// gateway on this host, counts once. Both follow within moments.
const REMEMBERED: usize = 4_096;

/// The kinds of tokens, disjoint, in the order of [`Taken::tokens`].
pub(super) const KINDS: [&str; 6] = [
    "input_uncached",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "cache_write_other",
    "output",
];

/// Labels of calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Labels {
    pub(super) workflow: Arc<str>,
    pub(super) provider: Arc<str>,
    pub(super) model: Arc<str>,
    pub(super) task: &'static str,
}

/// Provider and model.
pub(super) type Model = (Arc<str>, Arc<str>);

/// What calls took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) tokens: [u64; KINDS.len()],
    pub(super) reasoning: u64,
    pub(super) cost_nanousd: u64,
    unpriced: u64,
}

impl Taken {
    fn of(usage: &Usage, cost: &Priced) -> Self {
        let tokens = [
            usage.input_uncached,
            usage.cache_read,
            usage.cache_write_5m,
            usage.cache_write_1h,
            usage.cache_write_other,
            usage.output,
        ]
        .map(Option::unwrap_or_default);
        let all = tokens.iter().copied().fold(0, u64::saturating_add);
        Self {
            tokens,
            reasoning: usage.reasoning.unwrap_or(0),
            cost_nanousd: cost.cost_nanousd.unwrap_or(0),
            unpriced: if cost.cost_nanousd.is_none() { all } else { 0 },
        }
    }

    fn merge(&self, other: &Self, by: fn(u64, u64) -> u64) -> Self {
        let mut tokens = self.tokens;
        for (mine, theirs) in tokens.iter_mut().zip(other.tokens) {
            *mine = by(*mine, theirs);
        }
        Self {
            tokens,
            reasoning: by(self.reasoning, other.reasoning),
            cost_nanousd: by(self.cost_nanousd, other.cost_nanousd),
            unpriced: by(self.unpriced, other.unpriced),
        }
    }
}

/// What the calls with the same labels took.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sum {
    pub(super) requests: BTreeMap<&'static str, u64>,
    pub(super) taken: Taken,
}

/// What is told of a model, whoever uses it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OfModel {
    pub(super) unpriced_tokens: u64,
    pub(super) requests_without_usage: u64,
    pub(super) duration: Histogram,
    pub(super) first_token: Histogram,
    pub(super) context: Histogram,
}

impl Default for OfModel {
    fn default() -> Self {
        Self {
            unpriced_tokens: 0,
            requests_without_usage: 0,
            duration: Histogram::new(SECONDS),
            first_token: Histogram::new(SECONDS),
            context: Histogram::new(TOKENS),
        }
    }
}

impl OfModel {
    fn observe(&mut self, record: &UsageRecord) {
        let call = &record.call;
        if call.outcome == Outcome::Complete {
            self.duration.observe(seconds(record.duration_ms));
        }
        if let Some(ms) = record.ttft_ms.filter(|_| call.is_stream) {
            self.first_token.observe(seconds(ms));
        }
        let input = call.usage.input();
        if let Some(tokens) = input {
            self.context.observe(tokens as f64);
        }
        // One that failed used nothing.
        let is_failed = matches!(call.outcome, Outcome::Error | Outcome::Unanswered);
        if input.or(call.usage.output).is_none() && !is_failed {
            self.requests_without_usage = self.requests_without_usage.saturating_add(1);
        }
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) sums: BTreeMap<Labels, Sum>,
    pub(super) models: BTreeMap<Model, OfModel>,
    counted: BTreeMap<Arc<str>, Vec<Taken>>,
    order: VecDeque<Arc<str>>,
}

impl Calls {
    /// Counts a call that is committed. Of one that was counted before only what it took more is
    /// added, since counters never go down. A call to a gateway on this host is not counted: the
    /// one that the gateway made for it is.
    pub(super) fn count(&mut self, record: &UsageRecord, values: &mut Values) {
        let origin = match &record.hop {
            Some(Hop::ToGateway { .. }) => return,
            Some(Hop::OfGateway { origin }) => self.counted.get(origin.as_str()),
            None => None,
        };
        let before = self.counted.get(record.identity.as_str()).or(origin);
        let is_new = before.is_none();
        let mut before = before.cloned().unwrap_or_default().into_iter();
        let call = &record.call;
        let labels = self.labels(record, call.model(), values);
        if is_new {
            let outcome = call.outcome.as_str();
            let sum = self.sums.entry(labels.clone()).or_default();
            let requests = sum.requests.entry(outcome).or_default();
            *requests = requests.saturating_add(1);
            self.model(&labels, values).observe(record);
        }
        let mut counted = Vec::with_capacity(1 + call.sub_inferences.len());
        let taken = Taken::of(&call.usage, &record.cost);
        counted.push(self.add(&labels, taken, before.next(), values));
        for (sub, cost) in call.sub_inferences.iter().zip(&record.sub_costs) {
            let model = sub.model.as_deref().or_else(|| call.model());
            let labels = self.labels(record, model, values);
            let taken = Taken::of(&sub.usage, cost);
            counted.push(self.add(&labels, taken, before.next(), values));
        }
        self.remember(Arc::from(record.identity.as_str()), counted);
    }

    /// Adds what was taken beyond `before`; gives what is counted of it then.
    fn add(
        &mut self,
        labels: &Labels,
        taken: Taken,
        before: Option<Taken>,
        values: &mut Values,
    ) -> Taken {
        let before = before.unwrap_or_default();
        let more = taken.merge(&before, u64::saturating_sub);
        let sum = self.sums.entry(labels.clone()).or_default();
        sum.taken = sum.taken.merge(&more, u64::saturating_add);
        if more.unpriced > 0 {
            let model = self.model(labels, values);
            model.unpriced_tokens = model.unpriced_tokens.saturating_add(more.unpriced);
        }
        taken.merge(&before, u64::max)
    }

    fn remember(&mut self, identity: Arc<str>, counted: Vec<Taken>) {
        if self
            .counted
            .insert(Arc::clone(&identity), counted)
            .is_some()
        {
            return;
        }
        self.order.push_back(identity);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.counted.remove(&oldest);
        }
    }

    /// The labels of a call.
    fn labels(&self, record: &UsageRecord, model: Option<&str>, values: &mut Values) -> Labels {
        let labels = labels_of(record, model, values);
        if self.sums.len() < MAX_LABELS || self.sums.contains_key(&labels) {
            return labels;
        }
        values.fold("combination");
        Labels {
            workflow: Arc::from(OTHER),
            provider: Arc::from(OTHER),
            model: Arc::from(OTHER),
            ..labels
        }
    }

    fn model(&mut self, labels: &Labels, values: &mut Values) -> &mut OfModel {
        let mut model = (Arc::clone(&labels.provider), Arc::clone(&labels.model));
        if self.models.len() >= MAX_MODELS && !self.models.contains_key(&model) {
            values.fold("provider_and_model");
            model = (Arc::from(OTHER), Arc::from(OTHER));
        }
        self.models.entry(model).or_default()
    }
}

/// The labels of a call, or of a part of it that another model took.
fn labels_of(record: &UsageRecord, model: Option<&str>, values: &mut Values) -> Labels {
    Labels {
        workflow: values.of("workflow", Some(&record.workflow.name)),
        provider: values.of("provider", Some(record.call.provider.0)),
        model: values.of("model", model),
        task: record.task.as_str(),
    }
}

/// Calls that run, by their labels; those beyond the limit of combinations are left out.
pub(super) fn running(records: &[UsageRecord], values: &mut Values) -> BTreeMap<Labels, u64> {
    let mut running: BTreeMap<Labels, u64> = BTreeMap::new();
    for record in records {
        let labels = labels_of(record, record.call.model(), values);
        if running.len() < MAX_LABELS || running.contains_key(&labels) {
            let count = running.entry(labels).or_default();
            *count = count.saturating_add(1);
        } else {
            values.fold("combination");
        }
    }
    running
}

/// Lines of calls of sessions, and when the last call of each ended.
#[derive(Debug, Default)]
pub(super) struct Active {
    threads: BTreeMap<(Option<u32>, String, String), i64>,
}

impl Active {
    /// LIMIT: lines of calls that are watched; what begins beyond them is left out until others end.
    const MOST: usize = 16_384;

    /// A call was committed.
    pub(super) fn note(&mut self, record: &UsageRecord, idle_ms: i64, values: &mut Values) {
        let uid = record.process.as_ref().map(|process| process.uid);
        let ended_ms = record
            .started_unix_ms
            .saturating_add_unsigned(record.duration_ms);
        let key = (uid, record.session.0.clone(), record.thread.key.clone());
        if let Some(last) = self.threads.get_mut(&key) {
            *last = ended_ms.max(*last);
            return;
        }
        if self.threads.len() >= Self::MOST {
            self.threads
                .retain(|_, last| last.saturating_add(idle_ms) > ended_ms);
        }
        if self.threads.len() < Self::MOST {
            self.threads.insert(key, ended_ms);
        } else {
            values.fold("thread");
        }
    }

    /// Sessions and lines of calls that were active within `idle_ms` before `now_ms`.
    pub(super) fn count(&mut self, now_ms: i64, idle_ms: i64) -> (usize, usize) {
        self.threads
            .retain(|_, last| last.saturating_add(idle_ms) > now_ms);
        let sessions: BTreeSet<_> = self
            .threads
            .keys()
            .map(|(uid, session, _)| (uid, session))
            .collect();
        (sessions.len(), self.threads.len())
    }
}
