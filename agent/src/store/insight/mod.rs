//! What the reports on spend ask of the ledger: `explain`, `waste` and `index`.

mod explain;
mod index;
mod passing;
mod waste;

use rusqlite::Row;

use super::rollup::BUCKET_MS;
use super::{Error, Filter, Reader, Sum, UsageSum, Window, from_db};

use passing::Passing;

pub use explain::{CLASSES, PricedUse, SessionChange};
pub use index::{LengthBucket, Slice};
pub use waste::{Candidates, MissedRead, Unseen, WastedCall};

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

impl Reader {
    /// What the calls that began in `window` and pass `filters` used together, as the lines under a report need it.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn rests_on(&self, window: Window, filters: &[Filter]) -> Result<UsageSum, Error> {
        let passing = Passing::calls(filters, "request_id", 2);
        let sql = format!(
            "SELECT sum(is_call), sum(context_tokens), sum(output_tokens), sum(estimated_tokens),
                    sum(is_call AND is_lower_bound), sum(cost_nanousd), max(is_cost_lower_bound),
                    sum(is_cost_lower_bound),
                    sum(CASE WHEN cost_nanousd IS NULL
                        THEN ifnull(context_tokens, 0) + ifnull(output_tokens, 0) END),
                    sum(CASE WHEN estimated_tokens > 0 THEN cost_nanousd END),
                    sum(CASE WHEN billing_kind = 'subscription' THEN cost_nanousd END),
                    sum(provider_cost_nanousd)
             FROM request_derived WHERE started_ms >= ?1 AND started_ms < ?2 AND {}",
            passing.condition
        );
        let sums = self.rows_of(
            &sql,
            passing.parameters(&[window.from_ms, window.until_ms]),
            rests_on,
        )?;
        Ok(sums.into_iter().next().unwrap_or_default())
    }

    /// What of the whole quarters of an hour in `window` is in the sums, passes `filters` and is no
    /// longer kept call by call.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn not_kept(&self, window: Window, filters: &[Filter]) -> Result<NotKept, Error> {
        let Some(of_sums) = Passing::sums(filters, 2) else {
            return Ok(NotKept {
                untold_requests: self.not_kept(window, &[])?.requests,
                ..NotKept::default()
            });
        };
        // A quarter that the window cuts can't be compared.
        let aligned = Window {
            from_ms: window
                .from_ms
                .saturating_add(BUCKET_MS - 1)
                .div_euclid(BUCKET_MS)
                * BUCKET_MS,
            until_ms: window.until_ms.div_euclid(BUCKET_MS) * BUCKET_MS,
        };
        let size = |row: &Row<'_>| {
            let count = |column: usize| {
                let stored = row.get::<_, Option<i64>>(column)?;
                Ok::<_, rusqlite::Error>(stored.map_or(0, from_db))
            };
            Ok(NotKept {
                requests: count(0)?,
                tokens: count(1)?,
                cost_nanousd: count(2)?,
                untold_requests: 0,
            })
        };
        let own = [aligned.from_ms, aligned.until_ms];
        let sql = format!(
            "SELECT sum(requests), sum(ifnull(context_tokens, 0) + ifnull(output_tokens, 0)),
                    sum(cost_nanousd)
             FROM usage_15m WHERE bucket_start_ms >= ?1 AND bucket_start_ms < ?2 AND {}",
            of_sums.condition
        );
        let summed = self.rows_of(&sql, of_sums.parameters(&own), size)?;
        let of_calls = Passing::calls(filters, "request_id", 2);
        let sql = format!(
            "SELECT sum(is_call), sum(ifnull(context_tokens, 0) + ifnull(output_tokens, 0)),
                    sum(cost_nanousd)
             FROM request_derived WHERE started_ms >= ?1 AND started_ms < ?2 AND {}",
            of_calls.condition
        );
        let kept = self.rows_of(&sql, of_calls.parameters(&own), size)?;
        let (summed, kept) = (
            summed.into_iter().next().unwrap_or_default(),
            kept.into_iter().next().unwrap_or_default(),
        );
        Ok(NotKept {
            requests: summed.requests.saturating_sub(kept.requests),
            tokens: summed.tokens.saturating_sub(kept.tokens),
            cost_nanousd: summed.cost_nanousd.saturating_sub(kept.cost_nanousd),
            untold_requests: 0,
        })
    }
}

/// Reads sums in the order of [`Reader::rests_on`].
fn rests_on(row: &Row<'_>) -> rusqlite::Result<UsageSum> {
    let known =
        |column: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(from_db));
    let count = |column: usize| Ok::<_, rusqlite::Error>(known(column)?.unwrap_or(0));
    let sum = |column: usize| {
        Ok::<_, rusqlite::Error>(Sum {
            value: known(column)?,
            is_lower_bound: false,
        })
    };
    Ok(UsageSum {
        requests: count(0)?,
        context: sum(1)?,
        output: sum(2)?,
        estimated_tokens: count(3)?,
        lower_bound_requests: count(4)?,
        cost: Sum {
            value: known(5)?,
            is_lower_bound: count(6)? > 0,
        },
        cost_lower_bound_requests: count(7)?,
        unpriced_tokens: count(8)?,
        estimated_cost: known(9)?,
        subscription_cost: known(10)?,
        provider_cost: known(11)?,
        ..UsageSum::default()
    })
}
