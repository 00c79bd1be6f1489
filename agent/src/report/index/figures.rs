//! The figures of a month.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde_json::{Map, Value, json};

use crate::report::Error;
use crate::store::{LengthBucket, Reader, Slice, Window};

/// What some calls used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) requests: u64,
    pub(super) uncached: u64,
    pub(super) read: u64,
    pub(super) written: u64,
    pub(super) context: u64,
    pub(super) output: u64,
    pub(super) unpriced: u64,
    pub(super) estimated: u64,
    /// Billionths of a US dollar; `None` where nothing has a price.
    pub(super) cost: Option<u64>,
    pub(super) estimated_cost: u64,
    pub(super) subscription_cost: u64,
    pub(super) lower_bound_requests: u64,
    pub(super) cost_lower_bound_requests: u64,
}

impl Used {
    fn add(&mut self, slice: &Slice) {
        for (sum, more) in [
            (&mut self.requests, slice.requests),
            (&mut self.uncached, slice.uncached_tokens),
            (&mut self.read, slice.read_tokens),
            (&mut self.written, slice.written_tokens),
            (&mut self.context, slice.context_tokens),
            (&mut self.output, slice.output_tokens),
            (&mut self.unpriced, slice.unpriced_tokens),
            (&mut self.estimated, slice.estimated_tokens),
            (&mut self.estimated_cost, slice.estimated_cost_nanousd),
            (&mut self.subscription_cost, slice.subscription_cost_nanousd),
            (&mut self.lower_bound_requests, slice.lower_bound_requests),
            (
                &mut self.cost_lower_bound_requests,
                slice.cost_lower_bound_requests,
            ),
        ] {
            *sum = sum.saturating_add(more);
        }
        let costs = [self.cost, slice.cost_nanousd].into_iter().flatten();
        self.cost = costs.reduce(u64::saturating_add);
    }

    pub(super) const fn tokens(&self) -> u64 {
        self.context.saturating_add(self.output)
    }

    pub(super) fn spend(&self) -> u64 {
        self.cost.unwrap_or(0)
    }

    /// Billionths of a dollar per million tokens that have a price; `None` where none has.
    pub(super) fn per_mtok(&self) -> Option<u64> {
        let priced = self.tokens().saturating_sub(self.unpriced);
        let cost = u128::from(self.cost?) * 1_000_000;
        u64::try_from(cost.checked_div(u128::from(priced))?).ok()
    }
}

/// A month.
#[derive(Debug)]
pub(super) struct Month {
    /// As in `2026-11`.
    pub(super) name: String,
    slices: Vec<Slice>,
    pub(super) lengths: Vec<LengthBucket>,
}

impl Month {
    pub(super) fn read(reader: &Reader, first: Date, window: Window) -> Result<Self, Error> {
        Ok(Self {
            name: first.strftime("%Y-%m").to_string(),
            slices: reader.slices(window)?,
            lengths: reader.length_buckets(window)?,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    pub(super) fn sum(&self) -> Used {
        self.of(|_| true)
    }

    /// Calls whose replies asked for a tool.
    pub(super) fn agentic(&self) -> Used {
        self.of(|slice| slice.has_tool_call)
    }

    fn of(&self, is_in: impl Fn(&Slice) -> bool) -> Used {
        let mut used = Used::default();
        for slice in self.slices.iter().filter(|slice| is_in(slice)) {
            used.add(slice);
        }
        used
    }

    /// By something, dearest first.
    pub(super) fn by(&self, by: By) -> Vec<(String, Used)> {
        let mut sums: BTreeMap<&str, Used> = BTreeMap::new();
        for slice in &self.slices {
            let name = match by {
                By::Provider => &slice.provider,
                By::Model => slice.model.as_deref().unwrap_or("unknown"),
                By::Task => &slice.task_type,
            };
            sums.entry(name).or_default().add(slice);
        }
        let mut sorted: Vec<_> = sums
            .into_iter()
            .map(|(name, used)| (name.to_owned(), used))
            .collect();
        // Names are in order already, and sorting keeps it.
        sorted.sort_by_key(|(_, used)| std::cmp::Reverse((used.spend(), used.tokens())));
        sorted
    }
}

/// What a month is told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Provider,
    Model,
    Task,
}

/// A model in two months.
pub(super) struct Moved {
    pub(super) name: String,
    pub(super) before: Option<(usize, Used)>,
    pub(super) now: Option<(usize, Used)>,
}

/// What is of either month, in the order of now; what is gone comes last.
pub(super) fn moved(now: &Month, before: &Month, by: By) -> Vec<Moved> {
    let old = before.by(by);
    let place = |name: &str| {
        let found = (1..).zip(&old).find(|(_, (other, _))| other == name);
        found.map(|(rank, (_, used))| (rank, *used))
    };
    let new = now.by(by);
    let gone = old
        .iter()
        .filter(|(name, _)| !new.iter().any(|(other, _)| other == name))
        .map(|(name, _)| Moved {
            name: name.clone(),
            before: place(name),
            now: None,
        });
    let here = (1..).zip(&new).map(|(rank, (name, used))| Moved {
        name: name.clone(),
        before: place(name),
        now: Some((rank, *used)),
    });
    here.chain(gone).collect()
}

/// A share as programs read it: a number from 0 to 1, cut to six places; null of nothing.
fn ratio(part: u64, whole: u64) -> Value {
    let millionths = u128::from(part) * 1_000_000;
    match millionths.checked_div(u128::from(whole)) {
        None => Value::Null,
        Some(millionths) => {
            let millionths = u32::try_from(millionths).unwrap_or(u32::MAX);
            json!(f64::from(millionths) / 1e6)
        }
    }
}

fn used_json(used: &Used, all: &Used) -> Map<String, Value> {
    Map::from_iter([
        ("requests".to_owned(), json!(used.requests)),
        ("tokens".to_owned(), json!(used.tokens())),
        ("context_tokens".to_owned(), json!(used.context)),
        ("cache_read_tokens".to_owned(), json!(used.read)),
        ("cache_write_tokens".to_owned(), json!(used.written)),
        ("output_tokens".to_owned(), json!(used.output)),
        ("unpriced_tokens".to_owned(), json!(used.unpriced)),
        ("cost_nanousd".to_owned(), json!(used.cost)),
        (
            "cost_lower_bound_requests".to_owned(),
            json!(used.cost_lower_bound_requests),
        ),
        ("cost_nanousd_per_mtok".to_owned(), json!(used.per_mtok())),
        (
            "share_of_requests".to_owned(),
            ratio(used.requests, all.requests),
        ),
        (
            "share_of_tokens".to_owned(),
            ratio(used.tokens(), all.tokens()),
        ),
        (
            "share_of_spend".to_owned(),
            ratio(used.spend(), all.spend()),
        ),
        ("cached_share".to_owned(), ratio(used.read, used.context)),
    ])
}

fn month_json(month: &Month) -> Value {
    let all = month.sum();
    let mut fields = used_json(&all, &all);
    fields.insert("month".to_owned(), json!(month.name));
    let agentic = Value::Object(used_json(&month.agentic(), &all));
    fields.insert("agentic".to_owned(), agentic);
    for (name, by) in [
        ("providers", By::Provider),
        ("models", By::Model),
        ("task_types", By::Task),
    ] {
        let groups = (1_u32..).zip(month.by(by)).map(|(rank, (group, used))| {
            let mut fields = used_json(&used, &all);
            fields.insert("name".to_owned(), json!(group));
            fields.insert("rank".to_owned(), json!(rank));
            Value::Object(fields)
        });
        fields.insert(name.to_owned(), groups.collect());
    }
    let spend: u64 = month.lengths.iter().map(|bucket| bucket.cost_nanousd).sum();
    let lengths = month.lengths.iter().map(|bucket| {
        json!({
            "calls_per_session": bucket.calls,
            "sessions": bucket.sessions,
            "requests": bucket.requests,
            "tokens": bucket.tokens,
            "cost_nanousd": bucket.cost_nanousd,
            "share_of_spend": ratio(bucket.cost_nanousd, spend),
        })
    });
    fields.insert("session_lengths".to_owned(), lengths.collect());
    Value::Object(fields)
}

/// Both months for programs.
pub(super) fn document(now: &Month, before: &Month) -> Map<String, Value> {
    Map::from_iter([
        ("month".to_owned(), json!(now.name)),
        ("now".to_owned(), month_json(now)),
        ("before".to_owned(), month_json(before)),
    ])
}
