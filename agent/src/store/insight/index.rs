//! What a month looked like, of the sums that last.

use rusqlite::params;

use crate::store::source::cut_calls;
use crate::store::{Error, Reader, Window, from_db};

/// The usage of a window by what a production index tells apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Provider.
    pub provider: String,
    /// Model, as served.
    pub model: Option<String>,
    /// Kind of work.
    pub task_type: String,
    /// Whether the replies ask for a tool.
    pub has_tool_call: bool,
    /// Calls.
    pub requests: u64,
    /// Input that no cache was involved in.
    pub uncached_tokens: u64,
    /// Input from a cache.
    pub read_tokens: u64,
    /// Input written to a cache.
    pub written_tokens: u64,
    /// The whole input.
    pub context_tokens: u64,
    /// Output.
    pub output_tokens: u64,
    /// Input and output without a price.
    pub unpriced_tokens: u64,
    /// Input and output that were counted here.
    pub estimated_tokens: u64,
    /// Cost as far as it is known, in billionths of a US dollar.
    pub cost_nanousd: Option<u64>,
    /// The part of it that rests on tokens counted here.
    pub estimated_cost_nanousd: u64,
    /// The part of it that a plan covers.
    pub subscription_cost_nanousd: u64,
    /// Calls that used more tokens than are known.
    pub lower_bound_requests: u64,
    /// Calls, and models inside of calls, that cost more than is known.
    pub cost_lower_bound_requests: u64,
}

/// Sessions of a length, and what they used in a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LengthBucket {
    /// Calls of a session, as in `v_session`.
    pub calls: String,
    /// Sessions.
    pub sessions: u64,
    /// Calls in the window.
    pub requests: u64,
    /// Their input and output.
    pub tokens: u64,
    /// Their cost as far as it is known, in billionths of a US dollar.
    pub cost_nanousd: u64,
}

impl Reader {
    /// Names of the hosts with a call in `window`.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn hosts(&self, window: Window) -> Result<Vec<String>, Error> {
        self.rows(
            "SELECT DISTINCT host_name FROM v_usage_15m
             WHERE bucket_start_ms >= ?1 AND bucket_start_ms < ?2 ORDER BY 1",
            window,
            |row| row.get(0),
        )
    }

    /// The usage of the quarters of an hour that begin in `window`, by provider, model, kind of work
    /// and whether a tool was asked for.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn slices(&self, window: Window) -> Result<Vec<Slice>, Error> {
        self.rows(
            "SELECT provider, model, task_type, has_tool_call, sum(request_count),
                    sum(input_uncached_tokens), sum(cache_read_tokens),
                    sum(ifnull(cache_write_5m_tokens, 0) + ifnull(cache_write_1h_tokens, 0)
                        + ifnull(cache_write_other_tokens, 0)),
                    sum(context_tokens), sum(output_tokens), sum(unpriced_tokens),
                    sum(estimated_tokens), sum(cost_nanousd), sum(estimated_cost_nanousd),
                    sum(subscription_cost_nanousd), sum(lower_bound_requests),
                    sum(cost_lower_bound_requests)
             FROM v_usage_15m WHERE bucket_start_ms >= ?1 AND bucket_start_ms < ?2
             GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
            window,
            |row| {
                let count = |column: usize| {
                    let stored = row.get::<_, Option<i64>>(column)?;
                    Ok::<_, rusqlite::Error>(stored.map_or(0, from_db))
                };
                Ok(Slice {
                    provider: row.get(0)?,
                    model: row.get(1)?,
                    task_type: row.get(2)?,
                    has_tool_call: row.get(3)?,
                    requests: count(4)?,
                    uncached_tokens: count(5)?,
                    read_tokens: count(6)?,
                    written_tokens: count(7)?,
                    context_tokens: count(8)?,
                    output_tokens: count(9)?,
                    unpriced_tokens: count(10)?,
                    estimated_tokens: count(11)?,
                    cost_nanousd: row.get::<_, Option<i64>>(12)?.map(from_db),
                    estimated_cost_nanousd: count(13)?,
                    subscription_cost_nanousd: count(14)?,
                    lower_bound_requests: count(15)?,
                    cost_lower_bound_requests: count(16)?,
                })
            },
        )
    }

    /// What the sessions of each length used in `window`, shortest first. Sessions that lie in it
    /// whole are taken from the sums that last, the others from the calls that are still kept.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn length_buckets(&self, window: Window) -> Result<Vec<LengthBucket>, Error> {
        let among = self.among(window)?;
        let calls = cut_calls(window, &among);
        let sql = format!(
            "SELECT CASE WHEN s.request_count <= 1 THEN '1'
                         WHEN s.request_count <= 5 THEN '2-5'
                         WHEN s.request_count <= 20 THEN '6-20'
                         WHEN s.request_count <= 100 THEN '21-100'
                         WHEN s.request_count <= 500 THEN '101-500'
                         ELSE '501+' END,
                    count(DISTINCT t.session_id), sum(t.requests), sum(t.tokens),
                    ifnull(sum(t.cost_nanousd), 0), min(s.request_count) AS shortest
             FROM (SELECT session_id, requests,
                          ifnull(context_tokens, 0) + ifnull(output_tokens, 0) AS tokens,
                          cost_nanousd
                   FROM session_usage WHERE {among} AND first_ms >= ?1 AND last_ms < ?2
                   UNION ALL
                   SELECT r.session_id, r.requests,
                          ifnull(r.context_tokens, 0) + ifnull(r.output_tokens, 0), r.cost_nanousd
                   FROM {calls}) AS t
             JOIN session AS s ON s.session_id = t.session_id
             GROUP BY 1 ORDER BY shortest"
        );
        self.rows_of(&sql, params![window.from_ms, window.until_ms], |row| {
            Ok(LengthBucket {
                calls: row.get(0)?,
                sessions: from_db(row.get(1)?),
                requests: from_db(row.get(2)?),
                tokens: from_db(row.get(3)?),
                cost_nanousd: from_db(row.get(4)?),
            })
        })
    }
}
