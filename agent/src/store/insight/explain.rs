//! What was used in a window by workflow, model and price, and which sessions it was.

use super::passing::Passing;
use crate::store::{Error, Filter, Reader, Window, from_db};

/// Classes of tokens that have a price each: uncached input, read from a cache, written to one for
/// five minutes, an hour, twelve hours, another time; and output, last.
pub const CLASSES: usize = 7;

/// Calls of a workflow that have a known cost, and were priced by one price.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PricedUse {
    /// Workflow.
    pub workflow: String,
    /// Provider.
    pub provider: String,
    /// Model, as served.
    pub model: Option<String>,
    /// Tier of the price.
    pub service_tier: Option<String>,
    /// The price is that of prompts longer than this.
    pub context_over: Option<u64>,
    /// Calls, and models inside of calls.
    pub rows: u64,
    /// Tokens by class.
    pub tokens: [u64; CLASSES],
    /// Billionths of a US dollar per million tokens, by class; `None` where none is listed.
    pub rates: [Option<u64>; CLASSES],
    /// Whether the price is in the ledger; else `rates` say nothing.
    pub has_price: bool,
    /// What they cost, in billionths of a US dollar.
    pub cost_nanousd: u64,
}

/// A session whose cost differs between two windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionChange {
    /// Key.
    pub key: String,
    /// Workflow.
    pub workflow: String,
    /// Cost in the earlier window, in billionths of a US dollar.
    pub before_nanousd: u64,
    /// Cost in the later window, in billionths of a US dollar.
    pub now_nanousd: u64,
}

impl Reader {
    /// The calls that began in `window`, pass `filters` and have a known cost, by workflow, model and
    /// price.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn priced_use(&self, window: Window, filters: &[Filter]) -> Result<Vec<PricedUse>, Error> {
        let passing = Passing::calls(filters, "r.request_id", 2);
        let sql = format!(
            "SELECT ifnull(w.name, 'unattributed'), r.provider,
                    ifnull(r.model_served, r.model_requested), p.service_tier,
                    p.context_over_tokens, r.price_id IS NOT NULL, count(*), sum(r.cost_nanousd),
                    sum(ifnull(r.input_uncached_tokens, 0)), sum(ifnull(r.cache_read_tokens, 0)),
                    sum(ifnull(r.cache_write_5m_tokens, 0)),
                    sum(ifnull(r.cache_write_1h_tokens, 0)),
                    sum(ifnull(r.cache_write_12h_tokens, 0)),
                    sum(max(ifnull(r.cache_write_other_tokens, 0)
                            - ifnull(r.cache_write_12h_tokens, 0), 0)),
                    sum(ifnull(r.output_tokens, 0)),
                    p.input_uncached_nanousd_per_mtok, p.cache_read_nanousd_per_mtok,
                    p.cache_write_5m_nanousd_per_mtok, p.cache_write_1h_nanousd_per_mtok,
                    p.cache_write_12h_nanousd_per_mtok, p.cache_write_other_nanousd_per_mtok,
                    p.output_nanousd_per_mtok
             FROM request_derived AS r
             JOIN session AS s ON s.session_id = r.session_id
             LEFT JOIN workflow AS w ON w.workflow_id = s.workflow_id
             LEFT JOIN price AS p ON p.price_id = r.price_id
             WHERE r.started_ms >= ?1 AND r.started_ms < ?2 AND r.cost_nanousd IS NOT NULL
               AND {}
             GROUP BY 1, 2, 3, r.price_id,
                      ifnull(r.context_tokens, 0) + ifnull(r.output_tokens, 0) > 0
             ORDER BY 1, 2, 3, r.price_id",
            passing.condition
        );
        self.rows_of(
            &sql,
            passing.parameters(&[window.from_ms, window.until_ms]),
            |row| {
                let mut tokens = [0; CLASSES];
                for (column, class) in (8..).zip(&mut tokens) {
                    *class = from_db(row.get(column)?);
                }
                let mut rates = [None; CLASSES];
                for (column, rate) in (8 + CLASSES..).zip(&mut rates) {
                    *rate = row.get::<_, Option<i64>>(column)?.map(from_db);
                }
                Ok(PricedUse {
                    workflow: row.get(0)?,
                    provider: row.get(1)?,
                    model: row.get(2)?,
                    service_tier: row.get(3)?,
                    context_over: row.get::<_, Option<i64>>(4)?.map(from_db),
                    has_price: row.get(5)?,
                    rows: from_db(row.get(6)?),
                    cost_nanousd: from_db(row.get(7)?),
                    tokens,
                    rates,
                })
            },
        )
    }

    /// The sessions whose cost grew most from one window to the other, or shrank most where `sign` is
    /// negative, by the calls that pass `filters`; at most `limit`.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn session_changes(
        &self,
        before: Window,
        now: Window,
        filters: &[Filter],
        sign: i64,
        limit: u32,
    ) -> Result<Vec<SessionChange>, Error> {
        let passing = Passing::calls(filters, "request_id", 6);
        let sql = format!(
            "SELECT s.session_key, ifnull(w.name, 'unattributed'), t.before, t.now
             FROM (SELECT session_id,
                          ifnull(sum(CASE WHEN started_ms >= ?1 AND started_ms < ?2
                                     THEN cost_nanousd END), 0) AS before,
                          ifnull(sum(CASE WHEN started_ms >= ?3 AND started_ms < ?4
                                     THEN cost_nanousd END), 0) AS now
                   FROM request_derived
                   WHERE ((started_ms >= ?1 AND started_ms < ?2)
                          OR (started_ms >= ?3 AND started_ms < ?4))
                     AND {}
                   GROUP BY session_id) AS t
             JOIN session AS s ON s.session_id = t.session_id
             LEFT JOIN workflow AS w ON w.workflow_id = s.workflow_id
             WHERE (t.now - t.before) * ?5 > 0
             ORDER BY abs(t.now - t.before) DESC, s.session_key LIMIT ?6",
            passing.condition
        );
        let own = [
            before.from_ms,
            before.until_ms,
            now.from_ms,
            now.until_ms,
            sign.signum(),
            i64::from(limit),
        ];
        self.rows_of(&sql, passing.parameters(&own), |row| {
            Ok(SessionChange {
                key: row.get(0)?,
                workflow: row.get(1)?,
                before_nanousd: from_db(row.get(2)?),
                now_nanousd: from_db(row.get(3)?),
            })
        })
    }
}
