//! Reading, without the right or the ability to write.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use agent_core::prices::Prices;
use jiff::tz::TimeZone;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, params};

use super::functions;
use super::migrate::{Found, inspect};
use super::place::{Writing, beside, who_writes};
use super::{AgentStatus, Error, Step, from_db, merge};

/// LIMIT: a reader waits two seconds for a writer that recovers the file, then says so.
const BUSY_MS: i32 = 2_000;
/// LIMIT: 32 MiB of pages in memory: what is read more than once in a report is rarely more.
const CACHE_KIB: i64 = 32 << 10;

/// What stands for the path of a ledger that has none.
pub(super) const UNNAMED: &str = "the merged ledgers";

/// A span of time, from inclusive to exclusive, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First moment.
    pub from_ms: i64,
    /// First moment after it.
    pub until_ms: i64,
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
    pub(super) conn: Connection,
    path: PathBuf,
    weights: Weights,
    zone: TimeZone,
}

/// Whether tokens can be weighed by their price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weights {
    /// No prices were given.
    None,
    /// They can.
    ByPrice,
}

impl Reader {
    /// Opens the ledger at `path` read-only. Days and hours are those of `zone`.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Forbidden`], [`Error::Blank`], [`Error::Newer`],
    /// [`Error::Foreign`], [`Error::Corrupt`], and those of SQLite.
    pub fn open(path: &Path, zone: &TimeZone) -> Result<Self, Error> {
        let (conn, _) = open_read_only(path)?;
        let path = path.to_owned();
        functions::install(&conn, zone).map_err(|source| Error::sql("open", &path, source))?;
        Ok(Self {
            conn,
            path,
            weights: Weights::None,
            zone: zone.clone(),
        })
    }

    /// Reads several ledgers as one, which nothing is left of when the process ends.
    ///
    /// # Errors
    /// Those of [`Reader::open`]; [`Error::Older`] if a ledger has an older schema.
    pub fn of_several(
        ledgers: &[PathBuf],
        zone: &TimeZone,
        progress: &mut dyn FnMut(Step<'_>),
    ) -> Result<Self, Error> {
        let conn = merge::unnamed(ledgers, progress)?;
        let path = PathBuf::from(UNNAMED);
        let failed = |source| Error::sql("read", &path, source);
        only_read(&conn).map_err(failed)?;
        functions::install(&conn, zone).map_err(failed)?;
        Ok(Self {
            conn,
            path,
            weights: Weights::None,
            zone: zone.clone(),
        })
    }

    /// Weighs tokens by these prices in all sums from now on.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn weigh_by(&mut self, prices: Prices) -> Result<(), Error> {
        functions::install_weights(&self.conn, prices).map_err(|source| self.failed(source))?;
        self.weights = Weights::ByPrice;
        Ok(())
    }

    pub(super) const fn has_prices(&self) -> bool {
        matches!(self.weights, Weights::ByPrice)
    }

    /// The time zone of its days and hours.
    pub(super) const fn zone(&self) -> &TimeZone {
        &self.zone
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
                // Both in one would read all calls.
                "SELECT (SELECT min(started_ms) FROM request), (SELECT max(started_ms) FROM request)",
                [],
                |row| Ok(row.get::<_, Option<i64>>(0)?.zip(row.get(1)?)),
            )
            .map_err(|source| self.failed(source))
    }

    /// When the first call began that is in any sum, as the beginning of its quarter of an hour;
    /// `None` if there is none.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn first_ms(&self) -> Result<Option<i64>, Error> {
        self.conn
            .query_row("SELECT min(bucket_start_ms) FROM usage_15m", [], |row| {
                row.get(0)
            })
            .map_err(|source| self.failed(source))
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

/// The columns that [`call`] reads.
const CALLS: &str = "
    SELECT request_id, started_ms, duration_ms, ttft_ms, pid, comm, user_name, client_name,
           session_key, provider, endpoint, ifnull(model_served, model_requested), http_status,
           outcome, usage_source, context_tokens, cache_read_tokens, output_tokens, is_lower_bound,
           kind, attempt, aborted_by, output_tokens_per_second, cost_nanousd, is_cost_lower_bound,
           via_pid, via_comm
    FROM v_request";

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
    // SQLite reads a negative one as KiB.
    conn.pragma_update(None, "cache_size", -CACHE_KIB)
        .map_err(failed)?;
    only_read(&conn).map_err(failed)?;
    match inspect(&conn, path)? {
        Found::Blank => Err(Error::Blank {
            path: path.to_owned(),
        }),
        Found::Ledger { .. } => Ok(conn),
    }
}

/// Takes the ability to write from a connection.
fn only_read(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "query_only", true)?;
    // Without this a query could attach, and so create, any file that the user may write.
    conn.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    // Without this, a statement that is run once for each of many calls is compiled again each time, where a
    // table in it has a partial index.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Opens a ledger read-only; gives the connection, and the URI that it was opened by.
///
/// # Errors
/// Those of [`Reader::open`].
pub(super) fn open_read_only(path: &Path) -> Result<(Connection, String), Error> {
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
    let mode = "mode=ro";
    match connect(path, mode) {
        // The log is missing, and we may not make one. If nobody writes, nothing is in it.
        Err(error)
            if cannot_make_log(&error)
                && who_writes(path) == Writing::Nobody
                && !beside(path, "-wal").exists() =>
        {
            let mode = "mode=ro&immutable=1";
            connect(path, mode).map(|conn| (conn, uri(path, mode)))
        }
        other => other.map(|conn| (conn, uri(path, mode))),
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
