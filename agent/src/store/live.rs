//! What goes on at the moment: sessions with calls of the last minutes, calls that run, and alerts.
//!
//! Read about once a second, so each statement goes by an index to the rows that it needs, however many
//! calls the ledger has.

use rusqlite::{Row, params};

use super::place::{Writing, who_writes};
use super::usage::{Question, Sum};
use super::{Error, Reader, Window, from_db};

/// LIMIT: sessions that are read, those that called last.
const MOST_SESSIONS: u32 = 1_000;
/// LIMIT: calls that are read, those that began last. Rates of hosts with more say too little.
const MOST_CALLS: u32 = 100_000;
/// LIMIT: calls that run, alerts and budgets that are read.
const MOST_OTHERS: u32 = 1_000;

/// What goes on, as it was committed at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// Sessions with a call in the window, or one that runs; those that called last first.
    pub sessions: Vec<LiveSession>,
    /// Calls that began in the window, and models that ran inside of them, in the order of time.
    pub calls: Vec<LiveCall>,
    /// Calls that run, in the order of time.
    pub running: Vec<RunningCall>,
    /// Alerts that fire, the worst first.
    pub alerts: Vec<LiveAlert>,
}

/// A session, as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "named as the columns of v_session, which the database manual explains"
)]
pub struct LiveSession {
    pub session_id: i64,
    pub session_key: String,
    pub uid: Option<i64>,
    pub workflow: Option<String>,
    pub client_name: Option<String>,
    pub pid: Option<i64>,
    pub comm: Option<String>,
    pub user_name: Option<String>,
    pub started_ms: i64,
    pub request_count: u64,
    pub thread_count: u64,
    /// What it cost, its running calls not included.
    pub cost: Sum,
}

/// A call that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "named as the columns of v_request, which the database manual explains"
)]
pub struct LiveCall {
    pub session_id: i64,
    pub started_ms: i64,
    pub duration_ms: u64,
    pub model: Option<String>,
    pub thread_id: Option<i64>,
    pub thread_kind: Option<String>,
    pub agent_type: Option<String>,
    pub thread_depth: u64,
    pub is_error: bool,
    pub context_tokens: Option<u64>,
    /// How long the model's prompts may be, where the list of prices says it.
    pub window_tokens: Option<u64>,
    pub weighted_tokens: Option<u64>,
    pub cost_nanousd: Option<u64>,
    pub is_cost_lower_bound: bool,
}

/// A call that runs, with what it took so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "named as the columns of v_open_call, which the database manual explains"
)]
pub struct RunningCall {
    /// Its session, where a call of it is stored.
    pub session_id: Option<i64>,
    pub session_key: String,
    pub uid: Option<i64>,
    pub started_ms: i64,
    pub model: Option<String>,
    pub workflow: String,
    /// Its thread, where a call of it is stored.
    pub thread_id: Option<i64>,
    pub thread_key: String,
    pub thread_kind: String,
    pub agent_type: Option<String>,
    pub thread_depth: u64,
    pub user_name: Option<String>,
    pub pid: Option<i64>,
    pub comm: Option<String>,
    pub client_name: Option<String>,
    pub context_tokens: Option<u64>,
    /// How long the model's prompts may be, where the list of prices says it.
    pub window_tokens: Option<u64>,
    pub weighted_tokens: Option<u64>,
    pub cost_nanousd: Option<u64>,
    pub is_cost_lower_bound: bool,
}

/// An alert that fires.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "named as the columns of v_alert_active, which the database manual explains"
)]
pub struct LiveAlert {
    pub rule: String,
    pub severity: String,
    pub summary: String,
    pub scope_json: String,
    pub evidence_json: String,
    pub budget: Option<String>,
    pub is_acknowledged: bool,
}

/// A budget in its current period, as a whole or for one value of what it is split by.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    missing_docs,
    reason = "named as the columns of v_budget, which the database manual explains"
)]
pub struct LiveBudget {
    pub budget: String,
    pub scope_value: String,
    pub status: String,
    pub used_amount: u64,
    pub limit_amount: u64,
}

impl Reader {
    /// What goes on: sessions and calls since `from_ms`, and all that runs or fires.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn live(&self, from_ms: i64) -> Result<Live, Error> {
        // One moment for all of it, or a call might be in none of the lists, or in two.
        let snapshot = self.conn.unchecked_transaction();
        let snapshot = snapshot.map_err(|source| Error::sql("read", self.path(), source))?;
        let live = Live {
            sessions: self.rows_of(&sessions_sql(), [from_ms], session)?,
            calls: self.rows_of(&calls_sql(self.has_prices()), [from_ms], call)?,
            running: self.rows_of(&running_sql(self.has_prices()), [], running)?,
            alerts: self.rows_of(&alerts_sql(), [], alert)?,
        };
        drop(snapshot);
        Ok(live)
    }

    /// Budgets in their current periods, the worst first.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn live_budgets(&self) -> Result<Vec<LiveBudget>, Error> {
        let sql = format!(
            "SELECT budget, scope_value, status, used_amount, limit_amount FROM v_budget
             WHERE is_current
             ORDER BY CASE status WHEN 'exceeded' THEN 0 WHEN 'burning' THEN 1 ELSE 2 END,
                      used_ratio DESC, budget, scope_value
             LIMIT {MOST_OTHERS}"
        );
        self.rows_of(&sql, [], |row| {
            Ok(LiveBudget {
                budget: row.get(0)?,
                scope_value: row.get(1)?,
                status: row.get(2)?,
                used_amount: from_db(row.get(3)?),
                limit_amount: from_db(row.get(4)?),
            })
        })
    }

    /// What the calls of a window cost.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn live_cost(&self, window: Window) -> Result<Sum, Error> {
        Ok(self.sums(&Question::all(window))?.only().cost)
    }

    /// The last moment that the ledger knows of: the end of the call that began last, or the last
    /// word of one that runs. `None` if there is neither.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn last_moment_ms(&self) -> Result<Option<i64>, Error> {
        let found = self.rows_of(LAST_MOMENT, params![], |row| row.get(0))?;
        Ok(found.into_iter().next().flatten())
    }

    /// A number that is another one as soon as somebody has committed to the ledger.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn data_version(&self) -> Result<i64, Error> {
        let found = self.rows_of(super::DATA_VERSION, params![], |row| row.get(0))?;
        Ok(found.into_iter().next().unwrap_or(0))
    }

    /// Whether an agent writes to the ledger now.
    pub fn is_written(&self) -> bool {
        who_writes(self.path()) != Writing::Nobody
    }
}

const LAST_MOMENT: &str = "
    SELECT max(ms) FROM (
        SELECT * FROM (SELECT started_ms + duration_ms AS ms FROM request
                       ORDER BY started_ms DESC LIMIT 1)
        UNION ALL SELECT max(updated_ms) FROM open_call)";

/// How a call that runs finds the session that is stored.
const IS_SESSION: &str = "s.host_id = o.host_id AND s.session_key = o.session_key
    AND ifnull(s.uid, -1) = ifnull(o.uid, -1)";

/// CROSS JOIN keeps SQLite from going over all sessions to find those of the few calls that run.
fn sessions_sql() -> String {
    format!(
        "SELECT s.session_id, s.session_key, s.uid, w.name, s.client_name, p.pid, p.comm,
                p.user_name, s.started_ms, s.request_count,
                (SELECT count(*) FROM thread AS t WHERE t.session_id = s.session_id),
                (SELECT sum(u.cost_nanousd) FROM session_usage AS u
                 WHERE u.session_id = s.session_id),
                (SELECT ifnull(sum(u.cost_lower_bound_requests), 0) > 0 FROM session_usage AS u
                 WHERE u.session_id = s.session_id)
         FROM session AS s
         LEFT JOIN process AS p ON p.process_id = s.process_id
         LEFT JOIN workflow AS w ON w.workflow_id = s.workflow_id
         WHERE s.session_id IN (
             SELECT session_id FROM (
                 SELECT session_id FROM session WHERE last_request_ms >= ?1
                 ORDER BY last_request_ms DESC LIMIT {MOST_SESSIONS})
             UNION
             SELECT s.session_id FROM open_call AS o CROSS JOIN session AS s ON {IS_SESSION})
         ORDER BY s.last_request_ms DESC, s.session_id DESC"
    )
}

fn session(row: &Row<'_>) -> rusqlite::Result<LiveSession> {
    Ok(LiveSession {
        session_id: row.get(0)?,
        session_key: row.get(1)?,
        uid: row.get(2)?,
        workflow: row.get(3)?,
        client_name: row.get(4)?,
        pid: row.get(5)?,
        comm: row.get(6)?,
        user_name: row.get(7)?,
        started_ms: row.get(8)?,
        request_count: from_db(row.get(9)?),
        thread_count: from_db(row.get(10)?),
        cost: Sum {
            value: count(row, 11)?,
            is_lower_bound: row.get(12)?,
        },
    })
}

fn calls_sql(has_prices: bool) -> String {
    let model = "ifnull(r.model_served, r.model_requested)";
    let window = window_sql(has_prices, "r.provider", model);
    let weighted = if has_prices {
        "weighted_tokens(r.provider, ifnull(r.model_served, r.model_requested), r.started_ms,
             r.cost_nanousd, r.input_uncached_tokens, r.cache_read_tokens, r.cache_write_5m_tokens,
             r.cache_write_1h_tokens, r.cache_write_other_tokens, r.output_tokens)"
    } else {
        "NULL"
    };
    format!(
        "SELECT * FROM (
             SELECT r.session_id, r.started_ms, r.duration_ms,
                    {model}, r.thread_id, t.kind, t.agent_type,
                    ifnull(t.depth, 0), r.outcome = 'error', r.context_tokens, {weighted},
                    r.cost_nanousd, r.is_cost_lower_bound, {window}, r.request_id
             FROM request_derived AS r LEFT JOIN thread AS t ON t.thread_id = r.thread_id
             WHERE r.started_ms >= ?1 ORDER BY r.started_ms DESC LIMIT {MOST_CALLS})
         ORDER BY started_ms, request_id"
    )
}

fn call(row: &Row<'_>) -> rusqlite::Result<LiveCall> {
    Ok(LiveCall {
        session_id: row.get(0)?,
        started_ms: row.get(1)?,
        duration_ms: from_db(row.get(2)?),
        model: row.get(3)?,
        thread_id: row.get(4)?,
        thread_kind: row.get(5)?,
        agent_type: row.get(6)?,
        thread_depth: from_db(row.get(7)?),
        is_error: row.get(8)?,
        context_tokens: count(row, 9)?,
        weighted_tokens: count(row, 10)?,
        cost_nanousd: count(row, 11)?,
        is_cost_lower_bound: row.get(12)?,
        window_tokens: count(row, 13)?,
    })
}

fn window_sql(has_prices: bool, provider: &str, model: &str) -> String {
    if has_prices {
        format!("window_tokens({provider}, {model})")
    } else {
        "NULL".to_owned()
    }
}

fn running_sql(has_prices: bool) -> String {
    let window = window_sql(has_prices, "o.provider", "o.model");
    format!(
        "SELECT s.session_id, o.session_key, o.uid, o.started_ms, o.model, o.workflow,
                o.thread_key, o.thread_kind, o.user_name, o.pid, o.comm, o.client_name,
                o.context_tokens, o.weighted_tokens, o.cost_nanousd,
                o.cost_nanousd IS NULL OR o.cost_status IN ('unpriced', 'lower_bound'),
                t.thread_id, t.agent_type, ifnull(t.depth, o.thread_kind = 'subagent'), {window}
         FROM v_open_call AS o LEFT JOIN session AS s ON {IS_SESSION}
         LEFT JOIN thread AS t
           ON t.session_id = s.session_id AND t.thread_key = o.thread_key
         ORDER BY o.started_ms, o.identity LIMIT {MOST_OTHERS}"
    )
}

fn running(row: &Row<'_>) -> rusqlite::Result<RunningCall> {
    Ok(RunningCall {
        session_id: row.get(0)?,
        session_key: row.get(1)?,
        uid: row.get(2)?,
        started_ms: row.get(3)?,
        model: row.get(4)?,
        workflow: row.get(5)?,
        thread_key: row.get(6)?,
        thread_kind: row.get(7)?,
        user_name: row.get(8)?,
        pid: row.get(9)?,
        comm: row.get(10)?,
        client_name: row.get(11)?,
        context_tokens: count(row, 12)?,
        weighted_tokens: count(row, 13)?,
        cost_nanousd: count(row, 14)?,
        is_cost_lower_bound: row.get(15)?,
        thread_id: row.get(16)?,
        agent_type: row.get(17)?,
        thread_depth: from_db(row.get(18)?),
        window_tokens: count(row, 19)?,
    })
}

/// The first condition is that of the index of alerts that are not over.
fn alerts_sql() -> String {
    format!(
        "SELECT rule, severity, summary, scope_json, evidence_json, budget,
                acknowledged_ms IS NOT NULL
         FROM alert WHERE state <> 'resolved' AND state = 'firing'
         ORDER BY CASE severity WHEN 'page' THEN 0 WHEN 'ticket' THEN 1 ELSE 2 END, fired_ms,
                  alert_id
         LIMIT {MOST_OTHERS}"
    )
}

fn alert(row: &Row<'_>) -> rusqlite::Result<LiveAlert> {
    Ok(LiveAlert {
        rule: row.get(0)?,
        severity: row.get(1)?,
        summary: row.get(2)?,
        scope_json: row.get(3)?,
        evidence_json: row.get(4)?,
        budget: row.get(5)?,
        is_acknowledged: row.get(6)?,
    })
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(from_db))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rusqlite::Connection;

    use super::*;
    use crate::store::migrate::migrate;

    #[test]
    fn no_statement_goes_over_all_calls_sessions_or_alerts() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, Path::new("usage.db")).unwrap();
        for sql in [
            sessions_sql(),
            calls_sql(false),
            running_sql(false),
            alerts_sql(),
            LAST_MOMENT.to_owned(),
        ] {
            let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let parameters = vec![0; plan.parameter_count()];
            let steps: Vec<String> = plan
                .query_map(rusqlite::params_from_iter(parameters), |row| row.get(3))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            // Few calls run, few alerts are not over, and the last call is the first of its index.
            let few = [
                "SCAN o",
                "SCAN (subquery",
                "SCAN alert USING INDEX alert_active",
                "SCAN request USING INDEX request_started",
            ];
            let scans = steps.iter().filter(|step| {
                step.starts_with("SCAN ") && !few.iter().any(|few| step.starts_with(few))
            });
            assert_eq!(
                scans.collect::<Vec<_>>(),
                Vec::<&String>::new(),
                "{steps:#?}\n{sql}"
            );
        }
    }
}
