//! What each column of sums adds to the usage of a group.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::from_db;
use super::usage::{UsageSum, added};

/// What the kind of its calls says of a row of sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traits {
    /// They ended in an error.
    pub(super) is_error: bool,
    /// Their replies were cut.
    pub(super) is_aborted: bool,
    /// A plan pays for them.
    pub(super) is_subscription: bool,
}

/// A column of sums, and what a value of it that is known adds.
type Column = (&'static str, fn(&mut UsageSum, Traits, i64));

/// The name of what [`weights`] gives instead of a column.
const WEIGHTED_TOKENS: &str = "weighted_tokens";

/// A class that the provider's final usage does not name is no loss: the provider has no such class.
const COLUMNS: [Column; 32] = [
    ("requests", |sum, traits, value| {
        let requests = from_db(value);
        count(&mut sum.requests, value);
        if traits.is_error {
            sum.errors = sum.errors.saturating_add(requests);
        }
        if traits.is_aborted {
            sum.aborted_requests = sum.aborted_requests.saturating_add(requests);
        }
    }),
    ("first_ms", |sum, _, value| {
        sum.first_ms = Some(sum.first_ms.map_or(value, |first| first.min(value)));
    }),
    ("last_ms", |sum, _, value| {
        sum.last_ms = sum.last_ms.max(Some(value));
    }),
    ("estimated_requests", |sum, _, value| {
        count(&mut sum.estimated_requests, value);
    }),
    ("lower_bound_requests", |sum, _, value| {
        count(&mut sum.lower_bound_requests, value);
    }),
    ("cost_lower_bound_requests", |sum, _, value| {
        count(&mut sum.cost_lower_bound_requests, value);
        sum.cost.is_lower_bound |= value > 0;
    }),
    ("retry_requests", |sum, _, value| {
        count(&mut sum.retry_requests, value);
    }),
    ("human_turns", |sum, _, value| {
        count(&mut sum.human_turns, value);
    }),
    ("input_uncached_tokens", |sum, _, value| {
        known(&mut sum.input_uncached.value, value);
    }),
    ("cache_read_tokens", |sum, _, value| {
        known(&mut sum.cache_read.value, value);
    }),
    ("cache_write_5m_tokens", |sum, _, value| {
        known(&mut sum.cache_write.value, value);
    }),
    ("cache_write_1h_tokens", |sum, _, value| {
        known(&mut sum.cache_write.value, value);
    }),
    ("cache_write_other_tokens", |sum, _, value| {
        known(&mut sum.cache_write.value, value);
    }),
    ("context_tokens", |sum, _, value| {
        known(&mut sum.context.value, value);
    }),
    ("output_tokens", |sum, _, value| {
        known(&mut sum.output.value, value);
    }),
    ("reasoning_tokens", |sum, _, value| {
        known(&mut sum.reasoning.value, value);
    }),
    ("estimated_tokens", |sum, _, value| {
        count(&mut sum.estimated_tokens, value);
    }),
    ("unpriced_tokens", |sum, _, value| {
        count(&mut sum.unpriced_tokens, value);
    }),
    ("cost_nanousd", |sum, traits, value| {
        known(&mut sum.cost.value, value);
        if traits.is_subscription {
            known(&mut sum.subscription_cost, value);
        }
    }),
    ("estimated_cost_nanousd", |sum, _, value| {
        known(&mut sum.estimated_cost, value);
    }),
    ("provider_cost_nanousd", |sum, _, value| {
        known(&mut sum.provider_cost, value);
    }),
    ("repriced_nanousd", |sum, _, value| {
        known(&mut sum.repriced, value);
    }),
    ("repriced_from_nanousd", |sum, _, value| {
        known(&mut sum.repriced_from, value);
    }),
    ("stream_output_tokens", |sum, _, value| {
        known(&mut sum.stream_output, value);
    }),
    ("stream_ms", |sum, _, value| {
        known(&mut sum.stream_ms, value);
    }),
    ("context_is_partial", |sum, _, value| {
        sum.context.is_lower_bound |= value != 0;
        sum.weighted.is_lower_bound |= value != 0;
    }),
    ("uncached_is_partial", |sum, _, value| {
        sum.input_uncached.is_lower_bound |= value != 0;
    }),
    ("read_is_partial", |sum, _, value| {
        sum.cache_read.is_lower_bound |= value != 0;
    }),
    ("write_is_partial", |sum, _, value| {
        sum.cache_write.is_lower_bound |= value != 0;
    }),
    ("output_is_partial", |sum, _, value| {
        sum.output.is_lower_bound |= value != 0;
        sum.weighted.is_lower_bound |= value != 0;
    }),
    ("reasoning_is_partial", |sum, _, value| {
        sum.reasoning.is_lower_bound |= value != 0;
    }),
    (WEIGHTED_TOKENS, |sum, _, value| {
        known(&mut sum.weighted.value, value);
    }),
];

fn count(sum: &mut u64, value: i64) {
    *sum = sum.saturating_add(from_db(value));
}

fn known(sum: &mut Option<u64>, value: i64) {
    *sum = added(*sum, Some(from_db(value)));
}

impl Traits {
    /// The columns that [`Traits::read`] reads, over a usage_key `k`.
    pub(super) const SQL: &str = "k.outcome = 'error', k.outcome = 'aborted',
        k.billing_kind IS 'subscription'";
    /// How many they are.
    pub(super) const WIDTH: usize = 3;

    /// Reads them from column `at` on.
    pub(super) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            is_error: row.get(at)?,
            is_aborted: row.get(at + 1)?,
            is_subscription: row.get(at + 2)?,
        })
    }
}

/// Columns of sums that are read, and what they add.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    read: Vec<Column>,
}

impl Columns {
    /// All of the tables of sums.
    pub(super) fn all() -> Self {
        let mut read = COLUMNS.to_vec();
        read.retain(|(name, _)| *name != WEIGHTED_TOKENS);
        Self { read }
    }

    /// Those of all of them that have these names, and the number of requests.
    pub(super) fn named(names: &[&str]) -> Self {
        let mut read = COLUMNS.to_vec();
        read.retain(|(name, _)| *name == "requests" || names.contains(name));
        Self { read }
    }

    /// With the weighted tokens, of which a reader has to have the prices.
    pub(super) fn and_weights(mut self) -> Self {
        if !self.has_weights() {
            self.read.extend(COLUMNS.last());
        }
        self
    }

    /// Whether all columns of the tables are among them.
    pub(super) const fn has_all(&self) -> bool {
        self.read.len() >= COLUMNS.len() - 1
    }

    /// Whether weighted tokens are among them, for which the kinds of calls `k` have to be joined.
    pub(super) fn has_weights(&self) -> bool {
        self.read.iter().any(|(name, _)| *name == WEIGHTED_TOKENS)
    }

    /// In SQL, over sums `u`.
    pub(super) fn sql(&self) -> String {
        let columns: Vec<String> = self
            .read
            .iter()
            .map(|(name, _)| match *name {
                WEIGHTED_TOKENS => {
                    "weighted_tokens(k.provider, k.model, u.first_ms, u.cost_nanousd,
                     u.input_uncached_tokens, u.cache_read_tokens, u.cache_write_5m_tokens,
                     u.cache_write_1h_tokens, u.cache_write_other_tokens, u.output_tokens)"
                        .to_owned()
                }
                name => format!("u.{name}"),
            })
            .collect();
        columns.join(", ")
    }

    /// Adds those of a row, which begin at column `at`, to the usage of a group.
    pub(super) fn add(
        &self,
        sum: &mut UsageSum,
        traits: Traits,
        row: &Row<'_>,
        at: usize,
    ) -> rusqlite::Result<()> {
        for (column, (_, add)) in (at..).zip(&self.read) {
            if let ValueRef::Integer(value) = row.get_ref(column)? {
                add(sum, traits, value);
            }
        }
        Ok(())
    }
}
