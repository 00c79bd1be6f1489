//! Reading, without the right or the ability to write.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, params};

use super::functions;
use super::migrate::{Found, inspect};
use super::place::{Writing, beside, who_writes};
use super::{AgentStatus, Error, from_db};

/// LIMIT: a reader waits two seconds for a writer that recovers the file, then says so.
const BUSY_MS: i32 = 2_000;

/// A span of time, from inclusive to exclusive, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First moment.
    pub from_ms: i64,
    /// First moment after it.
    pub until_ms: i64,
}

/// By what the calls of a report are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// Everything in one sum.
    All,
    /// Calendar days of the report's time zone.
    Day,
    /// Hours of the report's time zone.
    Hour,
    /// Processes.
    Process,
    /// Sessions.
    Session,
    /// Models, as served.
    Model,
    /// Providers.
    Provider,
    /// Client programs.
    Client,
}

impl Grouping {
    /// The key in SQL: what tells groups apart, and at most four texts that describe one.
    const fn key(self) -> [&'static str; 5] {
        match self {
            Self::All => ["1", "NULL", "NULL", "NULL", "NULL"],
            Self::Day => ["day_start(started_ms)", "NULL", "NULL", "NULL", "NULL"],
            Self::Hour => ["hour_start(started_ms)", "NULL", "NULL", "NULL", "NULL"],
            Self::Process => [
                "process_id",
                "CAST(max(pid) AS TEXT)",
                "max(comm)",
                "max(user_name)",
                "max(exe_path)",
            ],
            Self::Session => [
                "session_id",
                "max(session_key)",
                "max(client_name)",
                "max(user_name)",
                "max(key_source)",
            ],
            Self::Model => [
                "ifnull(model_served, model_requested)",
                "ifnull(model_served, model_requested)",
                "group_concat(DISTINCT provider)",
                "NULL",
                "NULL",
            ],
            Self::Provider => ["provider", "provider", "NULL", "NULL", "NULL"],
            Self::Client => [
                "client_name",
                "client_name",
                "group_concat(DISTINCT client_version)",
                "NULL",
                "NULL",
            ],
        }
    }
}

/// A sum in which something may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// What is known; `None` if nothing is.
    pub value: Option<u64>,
    /// True if more was used than `value` says.
    pub is_lower_bound: bool,
}

/// The usage of one group of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageSum {
    /// Start of the day or hour, in milliseconds since the Unix epoch.
    pub period_ms: Option<i64>,
    /// What describes the group: for a process its pid, name, user and executable; for a session
    /// its key, client, user and the source of the key; else name and detail.
    pub labels: [Option<String>; 4],
    /// Calls.
    pub requests: u64,
    /// Sessions they belong to.
    pub sessions: u64,
    /// Calls that ended in an error.
    pub errors: u64,
    /// Calls whose tokens were counted here.
    pub estimated_requests: u64,
    /// Calls that used more tokens than are known.
    pub lower_bound_requests: u64,
    /// The whole input.
    pub context: Sum,
    /// Input that no cache was involved in.
    pub input_uncached: Sum,
    /// Input from a cache.
    pub cache_read: Sum,
    /// Input written to a cache, for any time.
    pub cache_write: Sum,
    /// Output, reasoning included.
    pub output: Sum,
    /// The part of the output that is reasoning.
    pub reasoning: Sum,
    /// Input and output that were counted here.
    pub estimated_tokens: u64,
    /// Cost, in billionths of a US dollar.
    pub cost: Sum,
    /// Calls, and models inside of calls, that cost more than is known.
    pub cost_lower_bound_requests: u64,
    /// Input and output without a price.
    pub unpriced_tokens: u64,
    /// The part of the cost that rests on tokens counted here.
    pub estimated_cost: Option<u64>,
    /// The part of the cost that a plan covers.
    pub subscription_cost: Option<u64>,
    /// What providers said that their calls cost.
    pub provider_cost: Option<u64>,
    /// The cost by other prices, of those calls that were priced anew, and the cost of the others.
    pub repriced_cost: Option<u64>,
    /// Calls whose reply was cut.
    pub aborted_requests: u64,
    /// Calls that repeat a failed try.
    pub retry_requests: u64,
    /// Median of the time to the first token.
    pub ttft_p50_ms: Option<u64>,
    /// The time to the first token that 95 of 100 calls keep below.
    pub ttft_p95_ms: Option<u64>,
    /// Median of the duration.
    pub duration_p50_ms: Option<u64>,
    /// The duration that 95 of 100 calls keep below.
    pub duration_p95_ms: Option<u64>,
    /// Output of streams over the time from their first token to their end.
    pub output_tokens_per_second: Option<u64>,
    /// First call, in milliseconds since the Unix epoch.
    pub first_ms: i64,
    /// Last call, in milliseconds since the Unix epoch.
    pub last_ms: i64,
}

/// What was and was not understood in a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoverageSum {
    /// Calls that were seen whole.
    pub decoded_calls: u64,
    /// All calls, and connections to providers that could not be read.
    pub total_calls: u64,
    /// Records that the kernel lost, of calls or of anything else.
    pub lost_records: u64,
    /// Processes with calls or records that were not read whole.
    pub undecoded_processes: u64,
    /// Connections to providers whose plaintext was not seen. They count as calls that were not
    /// seen whole: each carried one at least.
    pub unprobed_connections: u64,
    /// Processes with such connections.
    pub unprobed_processes: u64,
    /// Names of those processes, those with the most connections first; at most [`UNPROBED_NAMES`].
    pub unprobed_names: Vec<String>,
}

/// LIMIT: names of unprobed processes in a report; `v_coverage` has all of them.
pub const UNPROBED_NAMES: usize = 3;

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
    /// Its calls in the window.
    pub usage: UsageSum,
}

/// One call, as a line of `tail` needs it.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    missing_docs,
    reason = "named as the columns of v_request, which the database manual explains"
)]
pub struct Call {
    pub request_id: i64,
    pub started_ms: i64,
    pub duration_ms: u64,
    pub ttft_ms: Option<u64>,
    pub pid: Option<i64>,
    pub comm: Option<String>,
    pub user_name: Option<String>,
    pub client_name: Option<String>,
    pub session_key: String,
    pub provider: String,
    pub endpoint: String,
    pub model: Option<String>,
    pub http_status: Option<i64>,
    pub outcome: String,
    pub usage_source: String,
    pub context_tokens: Option<u64>,
    pub cache_read_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub is_lower_bound: bool,
    pub kind: String,
    pub attempt: Option<u64>,
    pub aborted_by: Option<String>,
    pub output_tokens_per_second: Option<f64>,
    pub cost_nanousd: Option<u64>,
    pub is_cost_lower_bound: bool,
    pub via_pid: Option<i64>,
    pub via_comm: Option<String>,
}

/// One value of a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// Integer.
    Integer(i64),
    /// Real number.
    Real(f64),
    /// Text; bytes that are no UTF-8 are replaced.
    Text(String),
    /// Length of a blob in bytes; its content is not shown.
    Blob(usize),
}

/// One row of a query.
pub type QueryRow = Vec<Value>;

/// Reads the ledger.
#[derive(Debug)]
pub struct Reader {
    conn: Connection,
    path: PathBuf,
}

impl Reader {
    /// Opens the ledger at `path` read-only. Days and hours are those of `zone`.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Forbidden`], [`Error::Blank`], [`Error::Newer`],
    /// [`Error::Foreign`], [`Error::Corrupt`], and those of SQLite.
    pub fn open(path: &Path, zone: &TimeZone) -> Result<Self, Error> {
        match std::fs::File::open(path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Missing {
                    path: path.to_owned(),
                });
            }
            Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                return Err(Error::Forbidden {
                    path: path.to_owned(),
                    source,
                });
            }
            Err(source) => {
                return Err(Error::Io {
                    doing: "open",
                    path: path.to_owned(),
                    source,
                });
            }
        }
        let found = match connect(path, "mode=ro") {
            // The log is missing, and we may not make one. If nobody writes, nothing is in it.
            Err(error)
                if cannot_make_log(&error)
                    && who_writes(path) == Writing::Nobody
                    && !beside(path, "-wal").exists() =>
            {
                connect(path, "mode=ro&immutable=1")
            }
            other => other,
        };
        let conn = found?;
        let path = path.to_owned();
        functions::install(&conn, zone).map_err(|source| Error::sql("open", &path, source))?;
        Ok(Self { conn, path })
    }

    /// Where the ledger is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// First and last call; `None` if there is none.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn span(&self) -> Result<Option<(i64, i64)>, Error> {
        self.conn
            .query_row(
                "SELECT min(started_ms), max(started_ms) FROM request",
                [],
                |row| Ok(row.get::<_, Option<i64>>(0)?.zip(row.get(1)?)),
            )
            .map_err(|source| self.failed(source))
    }

    /// Usage of the calls that began in `window`, by `grouping`: periods in order of time, other
    /// groups by their tokens, most first.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn usage(&self, grouping: Grouping, window: Window) -> Result<Vec<UsageSum>, Error> {
        let [key, labels @ ..] = grouping.key();
        let is_period = matches!(grouping, Grouping::Day | Grouping::Hour);
        let period = if is_period { key } else { "NULL" };
        let order = if is_period {
            "1"
        } else {
            "total_tokens DESC, 2, 3"
        };
        // The joins of v_request cost more than the sums.
        let calls = match grouping {
            Grouping::Process | Grouping::Session => "v_request",
            Grouping::All
            | Grouping::Day
            | Grouping::Hour
            | Grouping::Model
            | Grouping::Provider
            | Grouping::Client => "request_derived",
        };
        let sql = format!(
            "SELECT {period}, {}, {SUMS} FROM {calls}
             WHERE started_ms >= ?1 AND started_ms < ?2 GROUP BY {key} ORDER BY {order}",
            labels.join(", "),
        );
        self.rows(&sql, window, |row| usage_sum(row, 0))
    }

    /// Sessions with a call in `window`, latest first, at most `limit`.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn sessions(&self, window: Window, limit: u32) -> Result<Vec<Session>, Error> {
        let sql = format!(
            "SELECT s.session_key, s.key_source, s.client_name, s.pid, s.comm, s.user_name, s.cwd,
                    s.peak_context_tokens, t.*
             FROM (SELECT NULL, CAST(session_id AS TEXT) AS session_ref, NULL, NULL, NULL, {SUMS}
                   FROM request_derived WHERE started_ms >= ?1 AND started_ms < ?2
                   GROUP BY session_id ORDER BY last_ms DESC LIMIT {limit}) AS t
             JOIN (SELECT s.*, p.pid, p.comm, p.user_name, p.cwd FROM session AS s
                   LEFT JOIN process AS p ON p.process_id = s.process_id) AS s
               ON s.session_id = CAST(t.session_ref AS INTEGER)
             ORDER BY t.last_ms DESC, s.session_key"
        );
        self.rows(&sql, window, |row| {
            Ok(Session {
                key: row.get(0)?,
                key_source: row.get(1)?,
                client_name: row.get(2)?,
                pid: row.get(3)?,
                comm: row.get(4)?,
                user_name: row.get(5)?,
                cwd: row.get(6)?,
                peak_context_tokens: row.get::<_, Option<i64>>(7)?.map(from_db),
                usage: UsageSum {
                    labels: [const { None }; 4],
                    ..usage_sum(row, 8)?
                },
            })
        })
    }

    /// What was read in `window` and what was not.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn coverage(&self, window: Window) -> Result<CoverageSum, Error> {
        // A minute counts if any of it lies in the window.
        let window = Window {
            from_ms: window.from_ms - window.from_ms.rem_euclid(60_000),
            ..window
        };
        let sums = self.rows(
            "SELECT ifnull(sum(events) FILTER (WHERE outcome IN ('decoded', 'no_usage')), 0),
                    ifnull(sum(events) FILTER (WHERE outcome <> 'lost_event'), 0),
                    ifnull(sum(events) FILTER (WHERE outcome = 'lost_event'), 0),
                    count(DISTINCT ifnull(process_id, 0))
                        FILTER (WHERE outcome NOT IN ('decoded', 'no_usage', 'unprobed')),
                    ifnull(sum(events) FILTER (WHERE outcome = 'unprobed'), 0),
                    count(DISTINCT ifnull(process_id, 0)) FILTER (WHERE outcome = 'unprobed')
             FROM v_coverage WHERE minute_ms >= ?1 AND minute_ms < ?2",
            window,
            |row| {
                Ok(CoverageSum {
                    decoded_calls: from_db(row.get(0)?),
                    total_calls: from_db(row.get(1)?),
                    lost_records: from_db(row.get(2)?),
                    undecoded_processes: from_db(row.get(3)?),
                    unprobed_connections: from_db(row.get(4)?),
                    unprobed_processes: from_db(row.get(5)?),
                    unprobed_names: Vec::new(),
                })
            },
        )?;
        let mut sum = sums.into_iter().next().unwrap_or_default();
        if sum.unprobed_processes > 0 {
            let sql = format!(
                "SELECT comm FROM v_coverage
                 WHERE minute_ms >= ?1 AND minute_ms < ?2 AND outcome = 'unprobed'
                   AND comm IS NOT NULL
                 GROUP BY comm ORDER BY sum(events) DESC, comm LIMIT {UNPROBED_NAMES}"
            );
            sum.unprobed_names = self.rows(&sql, window, |row| row.get(0))?;
        }
        Ok(sum)
    }

    /// The last `count` calls, in the order in which they were stored.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn last_calls(&self, count: u32) -> Result<Vec<Call>, Error> {
        let sql = format!(
            "SELECT * FROM ({CALLS} ORDER BY request_id DESC LIMIT ?1) ORDER BY request_id"
        );
        self.calls(&sql, i64::from(count))
    }

    /// The calls stored after the one with `request_id`.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn calls_after(&self, request_id: i64) -> Result<Vec<Call>, Error> {
        self.calls(
            &format!("{CALLS} WHERE request_id > ?1 ORDER BY request_id"),
            request_id,
        )
    }

    /// What the agent last said about itself, and whether it writes now.
    ///
    /// # Errors
    /// Those of SQLite; [`Error::Status`] if it cannot be read.
    pub fn status(&self) -> Result<(Option<AgentStatus>, bool), Error> {
        let json: Option<String> = self
            .conn
            .query_row("SELECT value FROM meta WHERE name = 'status'", [], |row| {
                row.get(0)
            })
            .optional()
            .map_err(|source| self.failed(source))?;
        let status = json
            .map(|json| serde_json::from_str(&json))
            .transpose()
            .map_err(|source| Error::Status {
                doing: "read",
                source,
            })?;
        Ok((status, who_writes(&self.path) != Writing::Nobody))
    }

    /// Prepares one statement of the user.
    ///
    /// # Errors
    /// [`Error::WritingQuery`] if it would write, attach a file, or is more than one statement;
    /// [`Error::Query`] if SQLite refuses it.
    pub fn query(&self, sql: &str) -> Result<Query<'_>, Error> {
        let statement = self.conn.prepare(sql).map_err(query_failed)?;
        // ATTACH and BEGIN count as reading, but give no columns; attaching is off by a limit too.
        if !statement.readonly() || statement.column_count() == 0 {
            return Err(Error::WritingQuery);
        }
        Ok(Query { statement })
    }

    fn calls(&self, sql: &str, argument: i64) -> Result<Vec<Call>, Error> {
        let failed = |source| self.failed(source);
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let rows = statement.query_map([argument], call).map_err(failed)?;
        rows.collect::<Result<_, _>>().map_err(failed)
    }

    pub(super) fn rows<T>(
        &self,
        sql: &str,
        window: Window,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        self.rows_of(sql, params![window.from_ms, window.until_ms], read)
    }

    /// The rows of a statement with these parameters.
    pub(super) fn rows_of<T>(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let failed = |source| self.failed(source);
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let rows = statement.query_map(parameters, read).map_err(failed)?;
        rows.collect::<Result<_, _>>().map_err(failed)
    }

    fn failed(&self, source: rusqlite::Error) -> Error {
        Error::sql("read", &self.path, source)
    }
}

/// A statement of the user that reads.
#[derive(Debug)]
pub struct Query<'a> {
    statement: rusqlite::Statement<'a>,
}

impl Query<'_> {
    /// Names of its columns.
    pub fn columns(&self) -> Vec<String> {
        self.statement.column_names().map(str::to_owned).collect()
    }

    /// Calls `row` for each row until it breaks off.
    ///
    /// # Errors
    /// [`Error::WritingQuery`] and [`Error::Query`].
    pub fn each(mut self, mut row: impl FnMut(QueryRow) -> ControlFlow<()>) -> Result<(), Error> {
        let count = self.statement.column_count();
        let mut rows = self.statement.query([]).map_err(query_failed)?;
        while let Some(found) = rows.next().map_err(query_failed)? {
            let values: Result<QueryRow, _> =
                (0..count).map(|at| found.get_ref(at).map(value)).collect();
            if row(values.map_err(query_failed)?).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn query_failed(source: rusqlite::Error) -> Error {
    let would_write = matches!(source, rusqlite::Error::MultipleStatement)
        || source.sqlite_error_code() == Some(ErrorCode::ReadOnly);
    if would_write {
        Error::WritingQuery
    } else {
        Error::Query { source }
    }
}

/// The sums of a group, in the order in which [`usage_sum`] reads them.
///
/// A sum is a lower bound where a call that is not fully known has no value, where its value was
/// counted of a part, and, for output, where its value is one of a reply that was not finished. A class that the provider's final usage does
/// not name is no loss: the provider has no such class.
const SUMS: &str = "
    sum(is_call), count(DISTINCT session_id), sum(is_call AND outcome = 'error'),
    sum(is_call AND usage_source = 'estimated'), sum(is_call AND is_lower_bound),
    sum(context_tokens),
    max(is_lower_bound AND (context_tokens IS NULL OR input_quality IS 'lower_bound')),
    sum(input_uncached_tokens),
    max(is_lower_bound AND (input_uncached_tokens IS NULL OR input_quality IS 'lower_bound')),
    sum(cache_read_tokens), max((is_lower_bound OR usage_source = 'estimated') AND cache_read_tokens IS NULL),
    sum(CASE WHEN coalesce(cache_write_5m_tokens, cache_write_1h_tokens, cache_write_other_tokens) IS NOT NULL
        THEN ifnull(cache_write_5m_tokens, 0) + ifnull(cache_write_1h_tokens, 0)
           + ifnull(cache_write_other_tokens, 0) END),
    max((is_lower_bound OR usage_source = 'estimated')
        AND coalesce(cache_write_5m_tokens, cache_write_1h_tokens, cache_write_other_tokens) IS NULL),
    sum(output_tokens),
    max(is_lower_bound AND (output_tokens IS NULL OR usage_source = 'provider_partial'
                            OR output_quality IS 'lower_bound')),
    sum(reasoning_tokens),
    max((is_lower_bound OR usage_source = 'estimated')
        AND (reasoning_tokens IS NULL OR usage_source = 'provider_partial')),
    sum(estimated_tokens),
    min(started_ms), max(started_ms) AS last_ms,
    ifnull(sum(context_tokens), 0) + ifnull(sum(output_tokens), 0) AS total_tokens,
    sum(cost_nanousd), max(is_cost_lower_bound), sum(is_cost_lower_bound),
    sum(CASE WHEN cost_nanousd IS NULL
        THEN ifnull(context_tokens, 0) + ifnull(output_tokens, 0) ELSE 0 END),
    sum(CASE WHEN estimated_tokens > 0 THEN cost_nanousd END),
    sum(CASE WHEN billing_kind = 'subscription' THEN cost_nanousd END),
    sum(provider_cost_nanousd),
    CASE WHEN count(repriced_nanousd) > 0 THEN sum(ifnull(repriced_nanousd, cost_nanousd)) END,
    sum(is_call AND outcome = 'aborted'), ifnull(sum(is_call AND attempt > 1), 0),
    percentile(CASE WHEN is_call THEN ttft_ms END, 50),
    percentile(CASE WHEN is_call THEN ttft_ms END, 95),
    percentile(CASE WHEN is_call THEN duration_ms END, 50),
    percentile(CASE WHEN is_call THEN duration_ms END, 95),
    sum(CASE WHEN is_stream AND duration_ms > ttft_ms THEN output_tokens END) * 1000
        / sum(CASE WHEN is_stream AND duration_ms > ttft_ms AND output_tokens IS NOT NULL
              THEN duration_ms - ttft_ms END)";

/// The columns that [`call`] reads.
const CALLS: &str = "
    SELECT request_id, started_ms, duration_ms, ttft_ms, pid, comm, user_name, client_name,
           session_key, provider, endpoint, ifnull(model_served, model_requested), http_status,
           outcome, usage_source, context_tokens, cache_read_tokens, output_tokens, is_lower_bound,
           kind, attempt, aborted_by, output_tokens_per_second, cost_nanousd, is_cost_lower_bound,
           via_pid, via_comm
    FROM v_request";

/// Reads period, labels and sums from column `at` on.
fn usage_sum(row: &Row<'_>, at: usize) -> rusqlite::Result<UsageSum> {
    let count = |column: usize| row.get(at + column).map(from_db);
    let known = |column: usize| {
        Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(at + column)?.map(from_db))
    };
    let sum = |column: usize| {
        Ok::<_, rusqlite::Error>(Sum {
            value: row.get::<_, Option<i64>>(at + column)?.map(from_db),
            is_lower_bound: row.get(at + column + 1)?,
        })
    };
    Ok(UsageSum {
        period_ms: row.get(at)?,
        labels: [
            row.get(at + 1)?,
            row.get(at + 2)?,
            row.get(at + 3)?,
            row.get(at + 4)?,
        ],
        requests: count(5)?,
        sessions: count(6)?,
        errors: count(7)?,
        estimated_requests: count(8)?,
        lower_bound_requests: count(9)?,
        context: sum(10)?,
        input_uncached: sum(12)?,
        cache_read: sum(14)?,
        cache_write: sum(16)?,
        output: sum(18)?,
        reasoning: sum(20)?,
        estimated_tokens: count(22)?,
        first_ms: row.get(at + 23)?,
        last_ms: row.get(at + 24)?,
        cost: sum(26)?,
        cost_lower_bound_requests: count(28)?,
        unpriced_tokens: count(29)?,
        estimated_cost: known(30)?,
        subscription_cost: known(31)?,
        provider_cost: known(32)?,
        repriced_cost: known(33)?,
        aborted_requests: count(34)?,
        retry_requests: count(35)?,
        ttft_p50_ms: known(36)?,
        ttft_p95_ms: known(37)?,
        duration_p50_ms: known(38)?,
        duration_p95_ms: known(39)?,
        output_tokens_per_second: known(40)?,
    })
}

fn call(row: &Row<'_>) -> rusqlite::Result<Call> {
    let count =
        |column: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(from_db));
    Ok(Call {
        request_id: row.get(0)?,
        started_ms: row.get(1)?,
        duration_ms: from_db(row.get(2)?),
        ttft_ms: count(3)?,
        pid: row.get(4)?,
        comm: row.get(5)?,
        user_name: row.get(6)?,
        client_name: row.get(7)?,
        session_key: row.get(8)?,
        provider: row.get(9)?,
        endpoint: row.get(10)?,
        model: row.get(11)?,
        http_status: row.get(12)?,
        outcome: row.get(13)?,
        usage_source: row.get(14)?,
        context_tokens: count(15)?,
        cache_read_tokens: count(16)?,
        output_tokens: count(17)?,
        is_lower_bound: row.get(18)?,
        kind: row.get(19)?,
        attempt: count(20)?,
        aborted_by: row.get(21)?,
        output_tokens_per_second: row.get(22)?,
        cost_nanousd: count(23)?,
        is_cost_lower_bound: row.get(24)?,
        via_pid: row.get(25)?,
        via_comm: row.get(26)?,
    })
}

fn value(found: ValueRef<'_>) -> Value {
    match found {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.len()),
    }
}

/// Opens the file, and reads enough of it to know that it can be read.
fn connect(path: &Path, mode: &str) -> Result<Connection, Error> {
    let failed = |source| Error::sql("open", path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let conn = Connection::open_with_flags(uri(path, mode), flags).map_err(failed)?;
    conn.pragma_update(None, "busy_timeout", BUSY_MS)
        .map_err(failed)?;
    conn.pragma_update(None, "query_only", true)
        .map_err(failed)?;
    // Without this a query could attach, and so create, any file that the user may write.
    conn.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)
        .map_err(failed)?;
    match inspect(&conn, path)? {
        Found::Blank => Err(Error::Blank {
            path: path.to_owned(),
        }),
        Found::Ledger { .. } => Ok(conn),
    }
}

/// Whether SQLite failed because it would have to make the write-ahead log.
fn cannot_make_log(error: &Error) -> bool {
    let Error::Sql { source, .. } = error else {
        return false;
    };
    matches!(
        source.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)
    )
}

/// The path as a file URI: what a URI gives a meaning is escaped.
fn uri(path: &Path, mode: &str) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut uri = "file:".to_owned();
    for byte in absolute.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push('?');
    uri.push_str(mode);
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_signs_of_a_uri_names_the_same_file() {
        assert_eq!(
            uri(Path::new("/a b/c?d#e%.db"), "mode=ro"),
            "file:/a%20b/c%3Fd%23e%25.db?mode=ro"
        );
    }
}
