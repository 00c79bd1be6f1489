//! What the calls that are still there used, and what only sums know.

use rusqlite::Row;

use super::columns::Columns;
use super::met::MetCall;
use super::passing::Passing;
use crate::store::rollup::{BUCKET_MS, bucket, ceil};
use crate::store::source::{Spans, kinds};
use crate::store::{Error, Filter, Reader, UsageSum, Window};

/// Calls of a window that are only in the sums, because they are no longer kept one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotKept {
    /// Calls.
    pub requests: u64,
    /// Their input and output, as far as it is known.
    pub tokens: u64,
    /// Their cost as far as it is known, in billionths of a US dollar.
    pub cost_nanousd: u64,
    /// Calls more, of which sums do not tell whether they pass.
    pub untold_requests: u64,
}

/// Sums of the calls of a window, of which all are met.
#[derive(Debug)]
pub(super) struct Kept {
    /// Of those that pass.
    pub(super) totals: UsageSum,
    /// The whole quarters of an hour: a quarter that the window cuts can't be compared.
    quarters: Window,
    /// What is in these, of calls that pass.
    passed: Size,
    /// Likewise, of all calls.
    all: Size,
}

#[derive(Clone, Copy, Debug, Default)]
struct Size {
    requests: u64,
    tokens: u64,
    cost_nanousd: u64,
}

impl Size {
    const fn add(&mut self, other: Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.cost_nanousd = self.cost_nanousd.saturating_add(other.cost_nanousd);
    }
}

impl Kept {
    pub(super) fn new(window: Window) -> Self {
        Self {
            totals: UsageSum::default(),
            quarters: Window {
                from_ms: ceil(window.from_ms, BUCKET_MS),
                until_ms: bucket(window.until_ms),
            },
            passed: Size::default(),
            all: Size::default(),
        }
    }

    /// Adds a call, or a model that ran inside of one.
    pub(super) fn add(&mut self, call: &MetCall, passes: bool) {
        let tokens = call.tokens();
        let cost = call.cost_nanousd;
        if (self.quarters.from_ms..self.quarters.until_ms).contains(&call.started_ms) {
            let size = Size {
                requests: u64::from(call.is_call),
                tokens,
                cost_nanousd: cost.unwrap_or(0),
            };
            self.all.add(size);
            if passes {
                self.passed.add(size);
            }
        }
        if !passes {
            return;
        }
        let totals = &mut self.totals;
        totals.requests += u64::from(call.is_call);
        totals.estimated_tokens = totals
            .estimated_tokens
            .saturating_add(call.estimated_tokens);
        totals.lower_bound_requests += u64::from(call.is_call && call.is_lower_bound);
        totals.cost.is_lower_bound |= call.is_cost_lower_bound;
        totals.cost_lower_bound_requests += u64::from(call.is_cost_lower_bound);
        if cost.is_none() {
            totals.unpriced_tokens = totals.unpriced_tokens.saturating_add(tokens);
        }
        for (sum, more) in [
            (&mut totals.context.value, call.context),
            (&mut totals.output.value, call.output),
            (&mut totals.cost.value, cost),
            (
                &mut totals.estimated_cost,
                cost.filter(|_| call.estimated_tokens > 0),
            ),
            (
                &mut totals.subscription_cost,
                cost.filter(|_| call.is_subscription),
            ),
            (&mut totals.provider_cost, call.provider_cost_nanousd),
        ] {
            if let Some(more) = more {
                *sum = Some(sum.unwrap_or(0).saturating_add(more));
            }
        }
    }
}

impl Reader {
    /// What of the whole quarters of an hour of a window is in the sums, passes `filters`, and is not
    /// among the calls that are kept.
    ///
    /// # Errors
    /// Those of SQLite.
    pub(super) fn not_kept(&self, kept: &Kept, filters: &[Filter]) -> Result<NotKept, Error> {
        let passing = Passing::sums(filters);
        let is_told = passing.is_some();
        // Where sums do not tell it, all calls are compared.
        let passing = passing.unwrap_or_else(|| Passing::calls(&[], kept.quarters));
        let sql = format!(
            "SELECT sum(r.requests), sum(ifnull(r.context_tokens, 0) + ifnull(r.output_tokens, 0)),
                    sum(r.cost_nanousd)
             FROM ({}) AS r WHERE {}",
            kinds(kept.quarters, &Spans::Any),
            passing.condition
        );
        let read = |row: &Row<'_>| {
            let mut columns = Columns::from(row, 0);
            Ok(Size {
                requests: columns.count()?,
                tokens: columns.count()?,
                cost_nanousd: columns.count()?,
            })
        };
        let summed = self.rows_of(&sql, passing.parameters(), read)?;
        let summed = summed.first().copied().unwrap_or_default();
        if !is_told {
            return Ok(NotKept {
                untold_requests: summed.requests.saturating_sub(kept.all.requests),
                ..NotKept::default()
            });
        }
        Ok(NotKept {
            requests: summed.requests.saturating_sub(kept.passed.requests),
            tokens: summed.tokens.saturating_sub(kept.passed.tokens),
            cost_nanousd: summed.cost_nanousd.saturating_sub(kept.passed.cost_nanousd),
            untold_requests: 0,
        })
    }
}
