//! What a month looked like, of the sums that last.

use rusqlite::params;

use super::columns::Columns;
use crate::store::source::{Spans, cut_calls, kinds};
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
        let sql = format!(
            "SELECT DISTINCT h.host_name FROM ({}) AS u
             JOIN usage_key AS k ON k.usage_key_id = u.usage_key_id
             JOIN host AS h ON h.host_id = k.host_id
             ORDER BY 1",
            kinds(window, &Spans::Any)
        );
        self.rows_of(&sql, [], |row| row.get(0))
    }

    /// The usage of the calls that began in `window`, by provider, model, kind of work and whether a
    /// tool was asked for.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn slices(&self, window: Window) -> Result<Vec<Slice>, Error> {
        let sql = format!(
            "SELECT k.provider, k.model, k.task_type, k.has_tool_call, sum(u.requests),
                    sum(u.input_uncached_tokens), sum(u.cache_read_tokens),
                    sum(ifnull(u.cache_write_5m_tokens, 0) + ifnull(u.cache_write_1h_tokens, 0)
                        + ifnull(u.cache_write_other_tokens, 0)),
                    sum(u.context_tokens), sum(u.output_tokens), sum(u.unpriced_tokens),
                    sum(u.estimated_tokens), sum(u.cost_nanousd), sum(u.estimated_cost_nanousd),
                    sum(CASE WHEN k.billing_kind = 'subscription' THEN u.cost_nanousd END),
                    sum(u.lower_bound_requests), sum(u.cost_lower_bound_requests)
             FROM ({}) AS u
             JOIN usage_key AS k ON k.usage_key_id = u.usage_key_id
             GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
            kinds(window, &Spans::Any)
        );
        self.rows_of(&sql, [], |row| {
            let mut columns = Columns::from(row, 0);
            Ok(Slice {
                provider: columns.next()?,
                model: columns.next()?,
                task_type: columns.next()?,
                has_tool_call: columns.next()?,
                requests: columns.count()?,
                uncached_tokens: columns.count()?,
                read_tokens: columns.count()?,
                written_tokens: columns.count()?,
                context_tokens: columns.count()?,
                output_tokens: columns.count()?,
                unpriced_tokens: columns.count()?,
                estimated_tokens: columns.count()?,
                cost_nanousd: columns.known()?,
                estimated_cost_nanousd: columns.count()?,
                subscription_cost_nanousd: columns.count()?,
                lower_bound_requests: columns.count()?,
                cost_lower_bound_requests: columns.count()?,
            })
        })
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
                    count(*), sum(t.requests), sum(t.tokens), ifnull(sum(t.cost_nanousd), 0),
                    min(s.request_count) AS shortest
             FROM (SELECT session_id, sum(requests) AS requests, sum(tokens) AS tokens,
                          sum(cost_nanousd) AS cost_nanousd
                   FROM (SELECT session_id, requests,
                                ifnull(context_tokens, 0) + ifnull(output_tokens, 0) AS tokens,
                                cost_nanousd
                         FROM session_usage WHERE {among} AND first_ms >= ?1 AND last_ms < ?2
                         UNION ALL
                         SELECT r.session_id, r.requests,
                                ifnull(r.context_tokens, 0) + ifnull(r.output_tokens, 0),
                                r.cost_nanousd
                         FROM {calls})
                   GROUP BY session_id) AS t
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
