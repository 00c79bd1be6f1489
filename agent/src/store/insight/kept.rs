//! What the calls that are still there used, and what only sums know.

use super::columns::Columns;
use super::passing::Passing;
use crate::store::rollup::{BUCKET_MS, bucket, ceil};
use crate::store::source::{Spans, calls, kinds, quarters};
use crate::store::{Error, Filter, Question, Reader, Window};

/// Calls of a window that are only in the sums, because they are no longer kept one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotKept {
    /// Calls.
    pub requests: u64,
    /// Calls more, of which sums do not tell whether they pass.
    pub untold_requests: u64,
}

impl Reader {
    /// What knows of the calls that a question is about and that are kept.
    pub(super) fn kept(&self, question: &Question) -> Result<String, Error> {
        match self.may_miss_calls(quarters(question.window).from_ms)? {
            true => Ok(calls(question.window)),
            false => self.source(question),
        }
    }

    /// What of the whole quarters of an hour of a window is in the sums, passes `filters`, and is not
    /// among the calls that are kept: a quarter that the window cuts can't be compared.
    ///
    /// # Errors
    /// Those of SQLite.
    pub(super) fn not_kept(&self, window: Window, filters: &[Filter]) -> Result<NotKept, Error> {
        let quarters = Window {
            from_ms: ceil(window.from_ms, BUCKET_MS),
            until_ms: bucket(window.until_ms),
        };
        if !self.may_miss_calls(quarters.from_ms)? {
            return Ok(NotKept::default());
        }
        let passing = Passing::sums(filters);
        let is_told = passing.is_some();
        // Where sums do not tell it, all calls are compared.
        let passing = passing.unwrap_or_else(Passing::all);
        let count = |source: String| {
            let sql = format!(
                "SELECT sum(r.requests) FROM {source} AND {}",
                passing.condition
            );
            let counts = self.rows_of(&sql, passing.parameters(), |row| {
                Columns::from(row, 0).count()
            })?;
            Ok::<_, Error>(counts.first().copied().unwrap_or_default())
        };
        let summed = count(format!("({}) AS r WHERE 1", kinds(quarters, &Spans::Any)))?;
        let kept = count(format!(
            "request_sums AS r WHERE r.started_ms >= {} AND r.started_ms < {}",
            quarters.from_ms, quarters.until_ms
        ))?;
        let requests = summed.saturating_sub(kept);
        Ok(match is_told {
            true => NotKept {
                requests,
                untold_requests: 0,
            },
            false => NotKept {
                requests: 0,
                untold_requests: requests,
            },
        })
    }
}
