//! Sessions: what belongs together, its threads, and how its context grew.

use rusqlite::{Row, params};

use super::select::OF_KINDS;
use super::source::sessions;
use super::usage::UsageSum;
use super::{Error, Reader, Window, from_db};

/// LIMIT: sessions that are named where the beginning of an id fits more than one.
const MOST_NAMED: usize = 20;

/// A session, with the calls of it that lie in a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// Key.
    pub key: String,
    /// Where the key comes from.
    pub key_source: String,
    /// Client.
    pub client_name: Option<String>,
    /// Process of its first call.
    pub pid: Option<i64>,
    /// Name of that process.
    pub comm: Option<String>,
    /// User.
    pub user_name: Option<String>,
    /// Working directory of that process.
    pub cwd: Option<String>,
    /// Largest input of a call.
    pub peak_context_tokens: Option<u64>,
    /// Workflow.
    pub workflow: Option<String>,
    /// The task type that cost most, of what is not auxiliary.
    pub task_type: Option<String>,
    /// How long it is as a whole, in requests.
    pub length_bucket: String,
    /// Its calls in the window.
    pub usage: UsageSum,
}

/// All that is known of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "named as the columns of v_session, which the database manual explains"
)]
pub struct SessionDetail {
    pub session_id: i64,
    pub session_key: String,
    pub key_source: String,
    pub client_name: Option<String>,
    pub client_version: Option<String>,
    pub host_name: String,
    pub user_name: Option<String>,
    pub pid: Option<i64>,
    pub comm: Option<String>,
    pub cwd: Option<String>,
    pub systemd_unit: Option<String>,
    pub container: Option<String>,
    pub workflow: Option<String>,
    pub billing_code: Option<String>,
    pub repo: Option<String>,
    pub branch: Option<String>,
    pub task_type: Option<String>,
    pub length_bucket: String,
    pub started_ms: i64,
    pub last_request_ms: i64,
    pub human_turn_count: u64,
    pub last_human_turn_ms: Option<i64>,
    pub compaction_count: u64,
    pub resumed_count: u64,
    pub peak_context_tokens: Option<u64>,
    /// Requests that were sent before in this session, with the same answer asked for.
    pub duplicates: u64,
    /// All of its calls, also those that are no longer kept one by one.
    pub usage: UsageSum,
    /// Calls that are no longer kept one by one: threads and context do without them.
    pub pruned: u64,
}

/// A line of calls inside of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thread {
    /// Its row; `None` stands for calls without a thread.
    pub thread_id: Option<i64>,
    /// The row of the thread that began it.
    pub parent_id: Option<i64>,
    /// Name by the client; empty for the main one.
    pub key: String,
    /// Kind.
    pub kind: String,
    /// Type of the agent, by the client.
    pub agent_type: Option<String>,
    /// Its calls.
    pub usage: UsageSum,
}

/// The context of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "named as the columns of v_request, which the database manual explains"
)]
pub struct ContextPoint {
    pub request_id: i64,
    pub started_ms: i64,
    pub thread_key: Option<String>,
    pub thread_kind: Option<String>,
    pub agent_type: Option<String>,
    pub model: Option<String>,
    pub context_tokens: Option<u64>,
    pub cache_read_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub cost_nanousd: Option<u64>,
    /// Whether it was asked to make the context shorter.
    pub is_compaction: bool,
    /// The price is that of prompts longer than this.
    pub context_over_tokens: Option<u64>,
}

impl Reader {
    /// Sessions with a call in `window`, latest first, at most `limit`.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn sessions(&self, window: Window, limit: u32) -> Result<Vec<Session>, Error> {
        let among = self.among(window)?;
        let sql = format!(
            "WITH latest AS MATERIALIZED (
                 SELECT session_id, max(last_ms) AS last_ms FROM ({})
                 GROUP BY session_id ORDER BY 2 DESC LIMIT {limit})
             SELECT s.session_id, s.session_key, s.key_source, s.client_name, p.pid, p.comm,
                    p.user_name, p.cwd, s.peak_context_tokens, w.name, ({TASK_TYPE}),
                    ({LENGTH_BUCKET})
             FROM latest AS t
             JOIN session AS s ON s.session_id = t.session_id
             LEFT JOIN process AS p ON p.process_id = s.process_id
             LEFT JOIN workflow AS w ON w.workflow_id = s.workflow_id
             ORDER BY t.last_ms DESC, s.session_key",
            sessions(window, &among)
        );
        let mut found = self.rows_of(&sql, [], |row| {
            let session = Session {
                key: row.get(1)?,
                key_source: row.get(2)?,
                client_name: row.get(3)?,
                pid: row.get(4)?,
                comm: row.get(5)?,
                user_name: row.get(6)?,
                cwd: row.get(7)?,
                peak_context_tokens: count(row, 8)?,
                workflow: row.get(9)?,
                task_type: row.get(10)?,
                length_bucket: row.get(11)?,
                usage: UsageSum::default(),
            };
            Ok((row.get::<_, i64>(0)?, session))
        })?;
        // The sums of those that are not shown are not read.
        let ids: Vec<String> = found.iter().map(|(id, _)| id.to_string()).collect();
        let shown = format!("session_id IN ({})", ids.join(", "));
        let mut sums = self.added_by(
            |columns| {
                format!(
                    "SELECT u.session_id, {columns} FROM ({}) AS u {OF_KINDS}",
                    sessions(window, &shown)
                )
            },
            [],
        )?;
        for (session_id, session) in &mut found {
            session.usage = sums.remove(&Some(*session_id)).unwrap_or_default();
            let times = self.rows_of(
                "SELECT percentile(ttft_ms, 50), percentile(ttft_ms, 95),
                        percentile(duration_ms, 50), percentile(duration_ms, 95), count(*)
                 FROM request_derived
                 WHERE session_id = ?1 AND is_call AND started_ms >= ?2 AND started_ms < ?3",
                params![*session_id, window.from_ms, window.until_ms],
                |row| {
                    let times = [
                        count(row, 0)?,
                        count(row, 1)?,
                        count(row, 2)?,
                        count(row, 3)?,
                    ];
                    Ok((times, from_db(row.get(4)?)))
                },
            )?;
            // Of a part of the calls there is no median.
            if let Some((times, calls)) = times.first()
                && *calls >= session.usage.requests
            {
                let usage = &mut session.usage;
                [
                    usage.ttft_p50_ms,
                    usage.ttft_p95_ms,
                    usage.duration_p50_ms,
                    usage.duration_p95_ms,
                ] = *times;
            }
        }
        Ok(found.into_iter().map(|(_, session)| session).collect())
    }

    /// Ids and keys of the sessions whose key is `id`, or else begins with it, latest first; at most
    /// twenty.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn sessions_named(&self, id: &str) -> Result<Vec<(i64, String)>, Error> {
        let find = |condition: &str| {
            let sql = format!(
                "SELECT session_id, session_key FROM session WHERE {condition}
                 ORDER BY last_request_ms DESC, session_key LIMIT {MOST_NAMED}"
            );
            self.rows_of(&sql, [id], |row| Ok((row.get(0)?, row.get(1)?)))
        };
        let exact = find("session_key = ?1")?;
        if exact.is_empty() {
            find("substr(session_key, 1, length(?1)) = ?1")
        } else {
            Ok(exact)
        }
    }

    /// All that is known of a session; `None` if there is none with this id.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn session(&self, session_id: i64) -> Result<Option<SessionDetail>, Error> {
        let sql = format!(
            "SELECT s.session_id, s.session_key, s.key_source, s.client_name, s.client_version,
                    h.host_name, p.user_name, p.pid, p.comm, p.cwd, p.systemd_unit,
                    ifnull(p.container_name, substr(p.container_id, 1, 12)), w.name,
                    w.billing_code, c.repo, c.branch, ({TASK_TYPE}), ({LENGTH_BUCKET}),
                    s.started_ms, s.last_request_ms, s.human_turn_count, s.last_human_turn_ms,
                    s.compaction_count, s.resumed_count, s.peak_context_tokens,
                    (SELECT count(request_hash) - count(DISTINCT request_hash)
                     FROM request_derived AS r
                     WHERE r.session_id = s.session_id AND is_call AND outcome = 'complete'),
                    (SELECT ifnull(sum(is_call), 0) FROM request_derived AS r
                     WHERE r.session_id = s.session_id)
             FROM session AS s
             JOIN host AS h ON h.host_id = s.host_id
             LEFT JOIN process AS p ON p.process_id = s.process_id
             LEFT JOIN workflow AS w ON w.workflow_id = s.workflow_id
             LEFT JOIN checkout AS c ON c.checkout_id = (
                 SELECT k.checkout_id FROM session_usage AS u
                 JOIN usage_key AS k ON k.usage_key_id = u.usage_key_id
                 WHERE u.session_id = s.session_id AND k.checkout_id IS NOT NULL
                 GROUP BY k.checkout_id ORDER BY sum(u.requests) DESC, k.checkout_id LIMIT 1)
             WHERE s.session_id = ?1"
        );
        let sums = self.added_by(
            |columns| {
                format!(
                    "SELECT u.session_id, {columns} FROM session_usage AS u {OF_KINDS}
                     WHERE u.session_id = ?1"
                )
            },
            [session_id],
        )?;
        let Some(usage) = sums.into_values().next() else {
            return Ok(None);
        };
        let found = self.rows_of(&sql, [session_id], |row| {
            let kept: u64 = from_db(row.get(26)?);
            Ok(SessionDetail {
                session_id: row.get(0)?,
                session_key: row.get(1)?,
                key_source: row.get(2)?,
                client_name: row.get(3)?,
                client_version: row.get(4)?,
                host_name: row.get(5)?,
                user_name: row.get(6)?,
                pid: row.get(7)?,
                comm: row.get(8)?,
                cwd: row.get(9)?,
                systemd_unit: row.get(10)?,
                container: row.get(11)?,
                workflow: row.get(12)?,
                billing_code: row.get(13)?,
                repo: row.get(14)?,
                branch: row.get(15)?,
                task_type: row.get(16)?,
                length_bucket: row.get(17)?,
                started_ms: row.get(18)?,
                last_request_ms: row.get(19)?,
                human_turn_count: from_db(row.get(20)?),
                last_human_turn_ms: row.get(21)?,
                compaction_count: from_db(row.get(22)?),
                resumed_count: from_db(row.get(23)?),
                peak_context_tokens: count(row, 24)?,
                duplicates: from_db(row.get(25)?),
                pruned: usage.requests.saturating_sub(kept),
                usage: usage.clone(),
            })
        })?;
        Ok(found.into_iter().next())
    }

    /// The threads of a session with their calls, in the order in which they began; those without a
    /// call are in it too, for others may be below them.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn threads(&self, session_id: i64) -> Result<Vec<Thread>, Error> {
        let mut sums = self.added_by(
            |columns| {
                format!(
                    "SELECT q.thread_id, {columns}
                     FROM (SELECT r.*, started_ms AS first_ms, started_ms AS last_ms
                           FROM request_sums AS r WHERE session_id = ?1) AS u
                     JOIN request AS q ON q.request_id = u.request_id {OF_KINDS}"
                )
            },
            [session_id],
        )?;
        let mut threads = self.rows_of(
            "SELECT thread_id, parent_thread_id, thread_key, kind, agent_type FROM thread
             WHERE session_id = ?1
                OR thread_id IN (SELECT thread_id FROM request WHERE session_id = ?1)",
            [session_id],
            |row| {
                Ok(Thread {
                    thread_id: row.get(0)?,
                    parent_id: row.get(1)?,
                    key: row.get(2)?,
                    kind: row.get(3)?,
                    agent_type: row.get(4)?,
                    usage: UsageSum::default(),
                })
            },
        )?;
        for thread in &mut threads {
            thread.usage = sums.remove(&thread.thread_id).unwrap_or_default();
        }
        threads.extend(sums.into_values().map(|usage| Thread {
            kind: "main".to_owned(),
            usage,
            ..Thread::default()
        }));
        threads.sort_by_key(|thread| (thread.usage.first_ms, thread.thread_id));
        Ok(threads)
    }

    /// The context of every call of a session that is kept, in the order of time.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn context(&self, session_id: i64) -> Result<Vec<ContextPoint>, Error> {
        self.rows_of(
            "SELECT r.request_id, r.started_ms, t.thread_key, t.kind, t.agent_type,
                    ifnull(r.model_served, r.model_requested), r.context_tokens,
                    r.cache_read_tokens, r.output_tokens, r.cost_nanousd,
                    r.task_type = 'compaction', p.context_over_tokens
             FROM request_derived AS r
             LEFT JOIN thread AS t ON t.thread_id = r.thread_id
             LEFT JOIN price AS p ON p.price_id = r.price_id
             WHERE r.session_id = ?1 AND r.is_call
             ORDER BY r.started_ms, r.request_id",
            [session_id],
            |row| {
                Ok(ContextPoint {
                    request_id: row.get(0)?,
                    started_ms: row.get(1)?,
                    thread_key: row.get(2)?,
                    thread_kind: row.get(3)?,
                    agent_type: row.get(4)?,
                    model: row.get(5)?,
                    context_tokens: count(row, 6)?,
                    cache_read_tokens: count(row, 7)?,
                    output_tokens: count(row, 8)?,
                    cost_nanousd: count(row, 9)?,
                    is_compaction: row.get(10)?,
                    context_over_tokens: count(row, 11)?,
                })
            },
        )
    }
}

/// The task type of session `s`: the one that cost most, of what is not auxiliary.
const TASK_TYPE: &str = "
    SELECT k.task_type FROM session_usage AS u
    JOIN usage_key AS k ON k.usage_key_id = u.usage_key_id
    WHERE u.session_id = s.session_id
    GROUP BY k.task_type
    ORDER BY k.task_type = 'auxiliary', ifnull(sum(u.cost_nanousd), 0) DESC, sum(u.requests) DESC,
             k.task_type
    LIMIT 1";

/// How long session `s` is, in requests.
const LENGTH_BUCKET: &str = "
    CASE WHEN s.request_count <= 1 THEN '1' WHEN s.request_count <= 5 THEN '2-5'
         WHEN s.request_count <= 20 THEN '6-20' WHEN s.request_count <= 100 THEN '21-100'
         WHEN s.request_count <= 500 THEN '101-500' ELSE '501+' END";

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(from_db))
}
