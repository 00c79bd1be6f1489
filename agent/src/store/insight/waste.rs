//! Calls of a window that need not have been made, or not at that cost.

use rusqlite::Row;

use super::passing::Passing;
use crate::store::{Error, Filter, Reader, Window, from_db};

/// Time without a person and without work of its own after which a session is idle.
const IDLE_MS: u32 = 3_600_000;

/// A call that need not have been made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WastedCall {
    /// Row of the call.
    pub request_id: i64,
    /// Key of its session.
    pub session_key: String,
    /// Workflow.
    pub workflow: String,
    /// Input and output, with those of models that ran inside of it.
    pub tokens: u64,
    /// Cost as far as it is known, likewise, in billionths of a US dollar.
    pub cost_nanousd: Option<u64>,
    /// Whether it cost more than that.
    pub is_cost_lower_bound: bool,
}

/// A call that had to pay for input which a cache had held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MissedRead {
    /// The call; its tokens are those that were missing and paid for, its cost what they cost more
    /// than reading them would have, `None` where a price is not known.
    pub call: WastedCall,
    /// Why, as in `v_cache`.
    pub cause: String,
}

/// What may be waste. A call may be in several of the lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Failed tries that were repeated.
    pub retried: Vec<WastedCall>,
    /// Calls whose reply was cut.
    pub aborted: Vec<WastedCall>,
    /// Complete calls whose request had been answered before.
    pub duplicates: Vec<WastedCall>,
    /// Background and auxiliary calls of sessions in which nothing else happened for an hour.
    pub idle: Vec<WastedCall>,
    /// Calls that read less from a cache than had been there.
    pub missed: Vec<MissedRead>,
}

/// Calls of which it can't be told whether they are waste.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unseen {
    /// Complete calls without a hash of the request.
    pub hashless: u64,
    /// Complete calls that belong to no thread.
    pub threadless: u64,
}

/// What [`wasted_call`] reads of the calls `r` of a window, of their sessions and workflows, and of
/// the models that ran inside of them.
const CALLS: &str = "
    SELECT r.request_id, s.session_key, ifnull(w.name, 'unattributed'),
           ifnull(r.context_tokens, 0) + ifnull(r.output_tokens, 0) + ifnull(q.tokens, 0),
           CASE WHEN r.cost_nanousd IS NOT NULL OR q.cost_nanousd IS NOT NULL
                THEN ifnull(r.cost_nanousd, 0) + ifnull(q.cost_nanousd, 0) END,
           r.is_cost_lower_bound OR ifnull(q.is_cost_lower_bound, 0)
    FROM request_derived AS r
    JOIN session AS s ON s.session_id = r.session_id
    LEFT JOIN workflow AS w ON w.workflow_id = s.workflow_id
    LEFT JOIN (SELECT part_of, sum(ifnull(context_tokens, 0) + ifnull(output_tokens, 0)) AS tokens,
                      sum(cost_nanousd) AS cost_nanousd,
                      max(is_cost_lower_bound) AS is_cost_lower_bound
               FROM request_derived WHERE part_of IS NOT NULL GROUP BY part_of) AS q
      ON q.part_of = r.request_id
    WHERE r.is_call AND r.started_ms >= ?1 AND r.started_ms < ?2";

impl Reader {
    /// What may be waste of the calls that began in `window` and pass `filters`, each list in the order
    /// in which the calls were stored.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn waste(&self, window: Window, filters: &[Filter]) -> Result<Candidates, Error> {
        let passing = Passing::calls(filters, "r.request_id", 2);
        let own = [window.from_ms, window.until_ms];
        let calls = |condition: &str| {
            let passes = &passing.condition;
            let sql = format!("{CALLS} AND {condition} AND {passes} ORDER BY r.request_id");
            self.rows_of(&sql, passing.parameters(&own), wasted_call)
        };
        Ok(Candidates {
            retried: calls(
                "r.request_id IN (SELECT retry_of FROM request WHERE retry_of IS NOT NULL)",
            )?,
            aborted: calls("r.outcome = 'aborted'")?,
            duplicates: calls(DUPLICATES)?,
            idle: calls(&idle())?,
            missed: self.missed(window, filters)?,
        })
    }

    /// How many calls of `window` that pass `filters` missed a cache, by cause, most frequent first.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn miss_causes(
        &self,
        window: Window,
        filters: &[Filter],
    ) -> Result<Vec<(String, u64)>, Error> {
        let passing = Passing::calls(filters, "request_id", 2);
        let sql = format!(
            "SELECT cause, count(*) FROM ({MISSES})
             WHERE started_ms >= ?1 AND started_ms < ?2 AND {}
             GROUP BY cause ORDER BY 2 DESC, 1",
            passing.condition
        );
        self.rows_of(
            &sql,
            passing.parameters(&[window.from_ms, window.until_ms]),
            |row| Ok((row.get(0)?, from_db(row.get(1)?))),
        )
    }

    /// Of how many calls of `window` that pass `filters` it can't be told whether they are waste.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn unseen(&self, window: Window, filters: &[Filter]) -> Result<Unseen, Error> {
        let passing = Passing::calls(filters, "request_id", 2);
        let sql = format!(
            "SELECT ifnull(sum(request_hash IS NULL), 0), ifnull(sum(thread_id IS NULL), 0)
             FROM request_derived
             WHERE is_call AND outcome = 'complete' AND started_ms >= ?1 AND started_ms < ?2
               AND {}",
            passing.condition
        );
        let counts = self.rows_of(
            &sql,
            passing.parameters(&[window.from_ms, window.until_ms]),
            |row| {
                Ok(Unseen {
                    hashless: from_db(row.get(0)?),
                    threadless: from_db(row.get(1)?),
                })
            },
        )?;
        Ok(counts.into_iter().next().unwrap_or_default())
    }

    fn missed(&self, window: Window, filters: &[Filter]) -> Result<Vec<MissedRead>, Error> {
        let passing = Passing::calls(filters, "c.request_id", 2);
        let sql = format!(
            "SELECT c.request_id, s.session_key, ifnull(w.name, 'unattributed'), c.cause,
                    c.missing_tokens, ifnull(r.input_uncached_tokens, 0),
                    ifnull(r.cache_write_5m_tokens, 0), ifnull(r.cache_write_1h_tokens, 0),
                    ifnull(r.cache_write_12h_tokens, 0),
                    max(ifnull(r.cache_write_other_tokens, 0)
                        - ifnull(r.cache_write_12h_tokens, 0), 0),
                    p.cache_read_nanousd_per_mtok, p.input_uncached_nanousd_per_mtok,
                    p.cache_write_5m_nanousd_per_mtok, p.cache_write_1h_nanousd_per_mtok,
                    p.cache_write_12h_nanousd_per_mtok, p.cache_write_other_nanousd_per_mtok
             FROM ({MISSES}) AS c
             JOIN request_derived AS r ON r.request_id = c.request_id
             JOIN session AS s ON s.session_id = c.session_id
             LEFT JOIN workflow AS w ON w.workflow_id = s.workflow_id
             LEFT JOIN price AS p ON p.price_id = c.price_id
             WHERE c.started_ms >= ?1 AND c.started_ms < ?2 AND {}
             ORDER BY c.request_id",
            passing.condition
        );
        self.rows_of(
            &sql,
            passing.parameters(&[window.from_ms, window.until_ms]),
            |row| {
                let mut paid = Paid {
                    missing: from_db(row.get(4)?),
                    uncached: from_db(row.get(5)?),
                    read_rate: rate(row, 10)?,
                    uncached_rate: rate(row, 11)?,
                    ..Paid::default()
                };
                for (at, write) in paid.writes.iter_mut().enumerate() {
                    *write = (from_db(row.get(6 + at)?), rate(row, 12 + at)?);
                }
                let (tokens, cost_nanousd) = paid.lost();
                Ok(MissedRead {
                    call: WastedCall {
                        request_id: row.get(0)?,
                        session_key: row.get(1)?,
                        workflow: row.get(2)?,
                        tokens,
                        cost_nanousd,
                        is_cost_lower_bound: cost_nanousd.is_none(),
                    },
                    cause: row.get(3)?,
                })
            },
        )
    }
}

/// As view `v_duplicate`, of the window alone: the view compares all calls there are.
const DUPLICATES: &str = "
    r.request_id IN (
        SELECT request_id
        FROM (SELECT request_id, started_ms, first_value(request_id) OVER same AS first_request_id
              FROM request_derived
              WHERE is_call AND outcome = 'complete' AND started_ms < ?2
                AND request_hash IN (SELECT request_hash FROM request
                                     WHERE started_ms >= ?1 AND started_ms < ?2)
              WINDOW same AS (PARTITION BY host_id, request_hash
                              ORDER BY started_ms, request_id))
        WHERE request_id <> first_request_id AND started_ms >= ?1)";

/// As view `v_cache`, of threads with a call in the window alone.
const MISSES: &str = "
    SELECT request_id, started_ms, session_id, price_id,
           left_tokens - ifnull(cache_read_tokens, 0) AS missing_tokens,
           CASE WHEN gap_ms > CASE WHEN left_1h_tokens > 0 THEN 3600000 ELSE 300000 END
                THEN 'expired'
                WHEN continues IS 0 THEN 'prefix_changed'
                ELSE 'evicted'
           END AS cause
    FROM (SELECT request_id, started_ms, session_id, price_id, cache_read_tokens, continues,
                 usage_source, ifnull(model_served, model_requested) AS model,
                 started_ms - lag(started_ms + duration_ms) OVER before AS gap_ms,
                 lag(ifnull(cache_read_tokens, 0) + ifnull(cache_write_5m_tokens, 0)
                     + ifnull(cache_write_1h_tokens, 0) + ifnull(cache_write_other_tokens, 0))
                     OVER before AS left_tokens,
                 lag(ifnull(cache_write_1h_tokens, 0)) OVER before AS left_1h_tokens,
                 lag(ifnull(model_served, model_requested)) OVER before AS model_before
          FROM request_derived
          WHERE is_call AND outcome = 'complete'
            AND thread_id IN (SELECT thread_id FROM request
                              WHERE started_ms >= ?1 AND started_ms < ?2)
          WINDOW before AS (PARTITION BY thread_id ORDER BY started_ms, request_id))
    WHERE left_tokens > 0 AND usage_source = 'provider' AND model IS model_before
      AND ifnull(cache_read_tokens, 0) * 2 < left_tokens";

/// Which calls keep an idle session warm: those in the background or beside the work, where a person
/// has been, and for an hour neither a person nor a thread that works.
fn idle() -> String {
    format!(
        "r.request_id IN (
            SELECT request_id
            FROM (SELECT d.request_id, d.started_ms,
                         ifnull(t.kind, '') IN ('background', 'auxiliary')
                             OR d.task_type = 'auxiliary' AS is_beside,
                         max(CASE WHEN d.is_human_turn THEN d.started_ms END) OVER so_far
                             AS human_ms,
                         max(CASE WHEN d.is_human_turn
                                    OR (ifnull(t.kind, 'main') IN ('main', 'subagent')
                                        AND d.task_type <> 'auxiliary')
                             THEN d.started_ms END) OVER so_far AS busy_ms
                  FROM request_derived AS d
                  LEFT JOIN thread AS t ON t.thread_id = d.thread_id
                  WHERE d.is_call
                    AND d.session_id IN (SELECT session_id FROM session
                                         WHERE last_request_ms >= ?1 AND started_ms < ?2
                                           AND last_human_turn_ms IS NOT NULL
                                           AND last_request_ms - started_ms > {IDLE_MS})
                  WINDOW so_far AS (PARTITION BY d.session_id
                                    ORDER BY d.started_ms, d.request_id
                                    ROWS UNBOUNDED PRECEDING))
            WHERE is_beside AND human_ms IS NOT NULL AND started_ms - busy_ms > {IDLE_MS})"
    )
}

fn wasted_call(row: &Row<'_>) -> rusqlite::Result<WastedCall> {
    Ok(WastedCall {
        request_id: row.get(0)?,
        session_key: row.get(1)?,
        workflow: row.get(2)?,
        tokens: from_db(row.get(3)?),
        cost_nanousd: row.get::<_, Option<i64>>(4)?.map(from_db),
        is_cost_lower_bound: row.get(5)?,
    })
}

fn rate(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(from_db))
}

/// What a call paid for that could have been read. Rates are billionths of a US dollar per million
/// tokens.
#[derive(Clone, Copy, Debug, Default)]
struct Paid {
    missing: u64,
    uncached: u64,
    /// What was written to a cache, for each lifetime, and its rate.
    writes: [(u64, Option<u64>); 4],
    read_rate: Option<u64>,
    uncached_rate: Option<u64>,
}

impl Paid {
    /// How many of the missing tokens were paid for, and what they cost more than reading them would
    /// have. What is missing is taken for written again, as far as the call wrote, at the mean price
    /// of its writes; the rest for uncached; and what is in neither was not sent any more.
    fn lost(&self) -> (u64, Option<u64>) {
        let written: u64 = self.writes.iter().map(|(tokens, _)| tokens).sum();
        let rewritten = self.missing.min(written);
        let uncached = (self.missing - rewritten).min(self.uncached);
        let tokens = rewritten + uncached;
        (tokens, self.cost(rewritten, written, uncached))
    }

    fn cost(&self, rewritten: u64, written: u64, uncached: u64) -> Option<u64> {
        const MTOK: u128 = 1_000_000;
        let mut paid: u128 = 0;
        if rewritten > 0 {
            let mut of_writes: u128 = 0;
            for (tokens, rate) in self.writes {
                if tokens > 0 {
                    of_writes += u128::from(tokens) * u128::from(rate?);
                }
            }
            paid += (of_writes / u128::from(written)) * u128::from(rewritten);
        }
        if uncached > 0 {
            paid += u128::from(uncached) * u128::from(self.uncached_rate?);
        }
        let read = u128::from(rewritten + uncached) * u128::from(self.read_rate?);
        u64::try_from(paid.saturating_sub(read) / MTOK).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dollars per million tokens.
    const fn usd(dollars: u64) -> Option<u64> {
        Some(dollars * 1_000_000_000)
    }

    fn paid(missing: u64, uncached: u64, for_5m: u64, for_1h: u64) -> Paid {
        Paid {
            missing,
            uncached,
            writes: [(for_5m, usd(6)), (for_1h, usd(10)), (0, None), (0, None)],
            read_rate: usd(1),
            uncached_rate: usd(5),
        }
    }

    #[test]
    fn what_is_lost_is_what_was_paid_above_reading() {
        // A million written again at $6 instead of read at $1.
        let lost = paid(1_000_000, 0, 1_000_000, 0).lost();
        assert_eq!(lost, (1_000_000, Some(5_000_000_000)));
        // Half of it uncached at $5.
        let lost = paid(1_000_000, 9_000_000, 500_000, 0).lost();
        assert_eq!(lost, (1_000_000, Some(4_500_000_000)));
        // Two lifetimes: $8 on average.
        let lost = paid(1_000_000, 0, 1_000_000, 1_000_000).lost();
        assert_eq!(lost, (1_000_000, Some(7_000_000_000)));
        // Only a third was sent again.
        let lost = paid(3_000_000, 1_000_000, 0, 0).lost();
        assert_eq!(lost, (1_000_000, Some(4_000_000_000)));
        assert_eq!(paid(3_000_000, 0, 0, 0).lost(), (0, Some(0)));
    }

    #[test]
    fn what_has_no_price_is_unknown_and_a_dear_read_is_no_loss() {
        let mut no_read = paid(1_000, 1_000, 0, 0);
        no_read.read_rate = None;
        assert_eq!(no_read.lost(), (1_000, None));
        let mut no_write = paid(1_000, 0, 1_000, 0);
        no_write.writes[0].1 = None;
        assert_eq!(no_write.lost(), (1_000, None));
        let mut dear = paid(1_000, 1_000, 0, 0);
        dear.read_rate = usd(50);
        assert_eq!(dear.lost(), (1_000, Some(0)));
    }
}
