//! The one connection that writes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use agent_core::event::{ProcId, Process};
use agent_core::llm::{Outcome, Usage, UsageSource};
use agent_core::pipeline::{CoverageMinute, Output};
use agent_core::session::UsageRecord;
use jiff::{Timestamp, tz::TimeZone};
use rusqlite::{
    Connection, FileControl, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior,
    params,
};

use super::migrate::migrate;
use super::place::{self, WriteLock};
use super::{AgentStatus, Error, HostFacts, from_db, to_db};

/// LIMIT: five seconds for another connection that holds the file; then the batch fails as
/// retryable, and the caller keeps it.
const BUSY_MS: i32 = 5_000;
/// LIMIT: one second at the end for readers; the log is then left as long as it is, which costs
/// space and loses nothing.
const CLOSING_BUSY_MS: i32 = 1_000;
/// LIMIT: 16 MiB kept of a write-ahead log that once grew; what is beyond is given back.
const LOG_KEPT_BYTES: i64 = 16 << 20;

/// What may be kept of a process besides its name and user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Its working directory.
    pub cwd: bool,
    /// Its first argument.
    pub argv0: bool,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            cwd: true,
            argv0: true,
        }
    }
}

/// What a batch changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Calls that are new.
    pub inserted: u64,
    /// Calls of which more is known now.
    pub improved: u64,
    /// Calls that were there already, as good or better.
    pub unchanged: u64,
}

/// Writes to the ledger. There is one per file, kept by a lock that ends with the process.
#[derive(Debug)]
pub struct Writer {
    conn: Connection,
    path: PathBuf,
    host: HostFacts,
    host_id: i64,
    keep: Keep,
    lock: WriteLock,
}

impl Writer {
    /// Opens the ledger at `path`, makes it if it is missing, and upgrades it if it is older. A
    /// damaged one is set aside under another name, loudly.
    ///
    /// # Errors
    /// [`Error::Unsafe`], [`Error::Forbidden`], [`Error::InUse`], [`Error::Newer`],
    /// [`Error::Foreign`], and those of files and of SQLite.
    pub fn open(path: &Path, host: HostFacts, keep: Keep) -> Result<Self, Error> {
        let path = place::prepare(path)?;
        let lock = place::lock(&path)?;
        let (conn, host_id) = match connect(&path, &host) {
            Err(error) if error.is_corrupt() => {
                set_aside(&path)?;
                place::prepare(&path)?;
                connect(&path, &host)?
            }
            other => other?,
        };
        Ok(Self {
            conn,
            path,
            host,
            host_id,
            keep,
            lock,
        })
    }

    /// Where the ledger is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Stores a batch in one transaction: all of it or, on an error, nothing. A file that was
    /// removed or replaced in the meantime is made anew first.
    ///
    /// # Errors
    /// [`Error::is_retryable`] tells whether the same batch may succeed later, and
    /// [`Error::is_corrupt`] whether [`Writer::start_over`] is needed first.
    pub fn apply(&mut self, outputs: &[Output]) -> Result<Applied, Error> {
        self.reopen_if_moved()?;
        let path = &self.path;
        let failed = |source| Error::sql("write to", path, source);
        let transaction = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let mut batch = Batch {
            transaction: &transaction,
            host: &self.host,
            host_id: self.host_id,
            keep: self.keep,
            processes: HashMap::new(),
            applied: Applied::default(),
        };
        for output in outputs {
            match output {
                Output::Usage(record) => batch.usage(record),
                Output::Coverage(minute) => batch.coverage(minute),
                Output::ProcessExited { id, unix_ms } => batch.exited(*id, *unix_ms),
                Output::Ignore(_) => Ok(()),
            }
            .map_err(failed)?;
        }
        let applied = batch.applied;
        transaction.commit().map_err(failed)?;
        Ok(applied)
    }

    /// Says what the agent does; `bpftok status` shows it.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn set_status(&mut self, status: &AgentStatus) -> Result<(), Error> {
        let json = serde_json::to_string(status).map_err(|source| Error::Status {
            doing: "write",
            source,
        })?;
        self.conn
            .execute(
                "INSERT OR REPLACE INTO meta (name, value) VALUES ('status', ?1)",
                [json],
            )
            .map_err(|source| Error::sql("write to", &self.path, source))?;
        Ok(())
    }

    /// Moves what is in the write-ahead log into the ledger, as far as readers allow.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn checkpoint(&self) -> Result<(), Error> {
        self.conn
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
            .map_err(|source| Error::sql("checkpoint", &self.path, source))
    }

    /// Ends the writing: everything is in the ledger, and its log stays, empty, for readers who
    /// may not make one.
    ///
    /// # Errors
    /// Those of SQLite. What was committed is safe also then.
    pub fn close(self) -> Result<(), Error> {
        let failed = |source| Error::sql("close", &self.path, source);
        self.conn
            .pragma_update(None, "busy_timeout", CLOSING_BUSY_MS)
            .map_err(failed)?;
        self.conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(failed)?;
        self.conn
            .close()
            .map_err(|(_, source)| Error::sql("close", &self.path, source))
    }

    /// Sets a damaged ledger aside and goes on with a new one.
    ///
    /// # Errors
    /// As [`Writer::open`].
    pub fn start_over(self) -> Result<Self, Error> {
        let Self {
            conn,
            path,
            host,
            keep,
            lock,
            ..
        } = self;
        drop(conn);
        set_aside(&path)?;
        place::prepare(&path)?;
        let (conn, host_id) = connect(&path, &host)?;
        Ok(Self {
            conn,
            path,
            host,
            host_id,
            keep,
            lock,
        })
    }

    /// SQLite goes on writing to a removed file, where nobody would find it.
    fn reopen_if_moved(&mut self) -> Result<(), Error> {
        let mut moved = 0;
        self.conn
            .file_control(Some("main"), FileControl::HasMoved(&mut moved))
            .map_err(|source| Error::sql("look at", &self.path, source))?;
        if moved != 0 {
            tracing::warn!(path = %self.path.display(), "the ledger was removed or replaced; going on with the file at its path");
            place::prepare(&self.path)?;
            (self.conn, self.host_id) = connect(&self.path, &self.host)?;
        }
        Ok(())
    }
}

/// Opens the file for writing, upgrades it and finds the row of the host.
fn connect(path: &Path, host: &HostFacts) -> Result<(Connection, i64), Error> {
    let failed = |source| Error::sql("open", path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut conn = Connection::open_with_flags(path, flags).map_err(failed)?;
    conn.pragma_update(None, "busy_timeout", BUSY_MS)
        .map_err(failed)?;
    // Before anything is written: a newer or foreign file must stay as it is.
    super::migrate::inspect(&conn, path)?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
        .map_err(failed)?;
    conn.pragma_update(None, "synchronous", "FULL")
        .map_err(failed)?;
    conn.pragma_update(None, "foreign_keys", true)
        .map_err(failed)?;
    conn.pragma_update_and_check(None, "journal_size_limit", LOG_KEPT_BYTES, |_| Ok(()))
        .map_err(failed)?;
    conn.file_control(Some("main"), FileControl::PersistWal(&mut 1))
        .map_err(failed)?;
    migrate(&mut conn, path)?;
    let host_id = conn
        .query_row(
            "INSERT INTO host (machine_id_hash, host_name, kernel, agent_version, first_seen_ms, last_seen_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5)
             ON CONFLICT (machine_id_hash) DO UPDATE SET
                 host_name = excluded.host_name, kernel = excluded.kernel,
                 agent_version = excluded.agent_version, last_seen_ms = excluded.last_seen_ms
             RETURNING host_id",
            params![
                host.machine_id_hash,
                host.host_name,
                host.kernel,
                host.agent_version,
                Timestamp::now().as_millisecond()
            ],
            |row| row.get(0),
        )
        .map_err(failed)?;
    Ok((conn, host_id))
}

/// Renames a damaged ledger, loudly: its records are out of every report from now on.
fn set_aside(path: &Path) -> Result<(), Error> {
    let time = Timestamp::now()
        .to_zoned_datetime(TimeZone::UTC)
        .strftime("%Y%m%dT%H%M%SZ")
        .to_string();
    let kept = place::set_aside(path, &time)?;
    tracing::error!(
        path = %path.display(),
        kept = %kept.display(),
        "THE LEDGER IS DAMAGED. It was set aside and a new one begun; `sqlite3 KEPT .recover` may save its rows"
    );
    Ok(())
}

/// One transaction.
struct Batch<'a> {
    transaction: &'a Transaction<'a>,
    host: &'a HostFacts,
    host_id: i64,
    keep: Keep,
    /// Rows of the processes of this batch; its size bounds it.
    processes: HashMap<(ProcId, Option<&'a str>), i64>,
    applied: Applied,
}

/// What is stored of a call already, as far as it decides whether a second record is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Quality {
    /// Final figures before partial ones, those before estimates.
    source: u8,
    /// Finished before cut.
    outcome: u8,
    has_process: bool,
    /// Cumulative figures grow.
    output_tokens: Option<u64>,
}

impl Quality {
    fn new(source: &str, outcome: &str, has_process: bool, output_tokens: Option<u64>) -> Self {
        let source = [
            UsageSource::None,
            UsageSource::Estimated,
            UsageSource::ProviderPartial,
            UsageSource::Provider,
        ]
        .into_iter()
        .zip(0..)
        .find_map(|(known, rank)| (known.as_str() == source).then_some(rank))
        .unwrap_or(0);
        let outcome = [
            Outcome::Unanswered,
            Outcome::Aborted,
            Outcome::Incomplete,
            Outcome::Error,
            Outcome::Complete,
        ]
        .into_iter()
        .zip(0..)
        .find_map(|(known, rank)| (known.as_str() == outcome).then_some(rank))
        .unwrap_or(0);
        Self {
            source,
            outcome,
            has_process,
            output_tokens,
        }
    }
}

impl<'a> Batch<'a> {
    fn usage(&mut self, record: &'a UsageRecord) -> rusqlite::Result<()> {
        let call = &record.call;
        let known = self
            .transaction
            .prepare_cached(
                "SELECT request_id, session_id, usage_source, outcome, process_id IS NOT NULL, output_tokens
                 FROM request WHERE host_id = ?1 AND identity = ?2",
            )?
            .query_row(params![self.host_id, record.identity], |row| {
                let quality = Quality::new(
                    row.get_ref(2)?.as_str()?,
                    row.get_ref(3)?.as_str()?,
                    row.get(4)?,
                    row.get::<_, Option<i64>>(5)?.map(from_db),
                );
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, quality))
            })
            .optional()?;
        let Some((request_id, session_id, stored)) = known else {
            return self.insert(record);
        };
        let offered = Quality::new(
            call.usage_source.as_str(),
            call.outcome.as_str(),
            record.process.is_some(),
            call.usage.output,
        );
        if offered <= stored {
            self.applied.unchanged += 1;
            return Ok(());
        }
        self.improve(record, request_id, session_id)
    }

    fn insert(&mut self, record: &'a UsageRecord) -> rusqlite::Result<()> {
        let process_id = match &record.process {
            Some(process) => Some(self.process(process, record.started_unix_ms)?),
            None => None,
        };
        let session_id = self.session(record, process_id)?;
        let call = &record.call;
        let usage = Columns::of(&call.usage);
        self.transaction
            .prepare_cached(
                "INSERT INTO request (
                     host_id, identity, process_id, session_id, started_ms, ttft_ms, duration_ms,
                     client_name, client_version, provider, endpoint, server_name, model_requested,
                     model_served, is_stream, http_status, outcome, stop_reason, usage_source,
                     input_uncached_tokens, cache_read_tokens, cache_write_5m_tokens,
                     cache_write_1h_tokens, cache_write_other_tokens, output_tokens,
                     reasoning_tokens, provider_response_id)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                         ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27)",
            )?
            .execute(params![
                self.host_id,
                record.identity,
                process_id,
                session_id,
                record.started_unix_ms,
                record.ttft_ms.map(to_db),
                to_db(record.duration_ms),
                record.client.name,
                record.client.version,
                call.provider.0,
                call.endpoint.as_str(),
                call.server_name,
                call.model_requested,
                call.model_served,
                call.is_stream,
                call.http_status,
                call.outcome.as_str(),
                call.stop_reason,
                call.usage_source.as_str(),
                usage.input_uncached,
                usage.cache_read,
                usage.cache_write_5m,
                usage.cache_write_1h,
                usage.cache_write_other,
                usage.output,
                usage.reasoning,
                call.response_id,
            ])?;
        self.applied.inserted += 1;
        Ok(())
    }

    /// Replaces what is known of a call. Its tokens come from one record, never from two, or their
    /// classes would overlap. It stays in its session.
    fn improve(
        &mut self,
        record: &'a UsageRecord,
        request_id: i64,
        session_id: i64,
    ) -> rusqlite::Result<()> {
        let process_id = match &record.process {
            Some(process) => Some(self.process(process, record.started_unix_ms)?),
            None => None,
        };
        let call = &record.call;
        let usage = Columns::of(&call.usage);
        self.transaction
            .prepare_cached(
                "UPDATE request SET
                     process_id = ifnull(process_id, ?2),
                     ttft_ms = ifnull(ttft_ms, ?3),
                     duration_ms = ?4,
                     client_name = ifnull(client_name, ?5),
                     client_version = ifnull(client_version, ?6),
                     server_name = ifnull(server_name, ?7),
                     model_requested = ifnull(model_requested, ?8),
                     model_served = ifnull(?9, model_served),
                     http_status = ifnull(?10, http_status),
                     outcome = ?11,
                     stop_reason = ifnull(?12, stop_reason),
                     usage_source = ?13,
                     input_uncached_tokens = ?14,
                     cache_read_tokens = ?15,
                     cache_write_5m_tokens = ?16,
                     cache_write_1h_tokens = ?17,
                     cache_write_other_tokens = ?18,
                     output_tokens = ?19,
                     reasoning_tokens = ?20,
                     provider_response_id = ifnull(?21, provider_response_id)
                 WHERE request_id = ?1",
            )?
            .execute(params![
                request_id,
                process_id,
                record.ttft_ms.map(to_db),
                to_db(record.duration_ms),
                record.client.name,
                record.client.version,
                call.server_name,
                call.model_requested,
                call.model_served,
                call.http_status,
                call.outcome.as_str(),
                call.stop_reason,
                call.usage_source.as_str(),
                usage.input_uncached,
                usage.cache_read,
                usage.cache_write_5m,
                usage.cache_write_1h,
                usage.cache_write_other,
                usage.output,
                usage.reasoning,
                call.response_id,
            ])?;
        self.transaction
            .prepare_cached(
                "UPDATE session SET
                     process_id = ifnull(process_id, ?2),
                     client_name = ifnull(client_name, ?3),
                     -- The version is of the client that is named.
                     client_version = CASE WHEN ifnull(client_name, ?3) IS ?3
                         THEN ifnull(client_version, ?4) ELSE client_version END,
                     peak_context_tokens = CASE
                         WHEN ?5 IS NULL THEN peak_context_tokens
                         ELSE max(ifnull(peak_context_tokens, 0), ?5) END
                 WHERE session_id = ?1",
            )?
            .execute(params![
                session_id,
                process_id,
                record.client.name,
                record.client.version,
                usage.context()
            ])?;
        self.applied.improved += 1;
        Ok(())
    }

    /// The row of a call's session, made or moved on by one call.
    fn session(&self, record: &UsageRecord, process_id: Option<i64>) -> rusqlite::Result<i64> {
        self.transaction
            .prepare_cached(
                "INSERT INTO session (
                     host_id, session_key, uid, key_source, client_name, client_version, process_id,
                     started_ms, last_request_ms, request_count, peak_context_tokens)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, 1, ?9)
                 ON CONFLICT (host_id, session_key, ifnull(uid, -1)) DO UPDATE SET
                     process_id = ifnull(process_id, excluded.process_id),
                     client_name = ifnull(client_name, excluded.client_name),
                     client_version = CASE
                         WHEN ifnull(client_name, excluded.client_name) IS excluded.client_name
                         THEN ifnull(client_version, excluded.client_version)
                         ELSE client_version END,
                     started_ms = min(started_ms, excluded.started_ms),
                     last_request_ms = max(last_request_ms, excluded.last_request_ms),
                     request_count = request_count + 1,
                     peak_context_tokens = CASE
                         WHEN excluded.peak_context_tokens IS NULL THEN peak_context_tokens
                         ELSE max(ifnull(peak_context_tokens, 0), excluded.peak_context_tokens) END
                 RETURNING session_id",
            )?
            .query_row(
                params![
                    self.host_id,
                    record.session.0,
                    record.process.as_ref().map(|process| process.uid),
                    record.key_source.as_str(),
                    record.client.name,
                    record.client.version,
                    process_id,
                    record.started_unix_ms,
                    Columns::of(&record.call.usage).context(),
                ],
                |row| row.get(0),
            )
    }

    fn coverage(&mut self, minute: &'a CoverageMinute) -> rusqlite::Result<()> {
        let process_id = match &minute.process {
            Some(process) => Some(self.process(process, minute.minute_unix_ms)?),
            None => None,
        };
        self.transaction
            .prepare_cached(
                "INSERT INTO coverage_minute (minute_ms, host_id, process_id, outcome, events, bytes)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (minute_ms, host_id, ifnull(process_id, 0), outcome) DO UPDATE SET
                     events = events + excluded.events, bytes = bytes + excluded.bytes",
            )?
            .execute(params![
                minute.minute_unix_ms,
                self.host_id,
                process_id,
                minute.outcome.as_str(),
                to_db(minute.events),
                to_db(minute.bytes),
            ])?;
        Ok(())
    }

    fn exited(&self, id: ProcId, unix_ms: i64) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "UPDATE process SET exited_ms = ?5
                 WHERE host_id = ?1 AND boot_id = ?2 AND pid = ?3 AND start_time_ticks = ?4
                   AND exited_ms IS NULL",
            )?
            .execute(params![
                self.host_id,
                self.host.boot_id,
                id.pid,
                to_db(id.start_ticks),
                unix_ms
            ])?;
        Ok(())
    }

    /// The row of a process, made at its first sight.
    fn process(&mut self, process: &'a Process, seen_ms: i64) -> rusqlite::Result<i64> {
        let key = (process.id, process.exe.as_deref());
        if let Some(id) = self.processes.get(&key) {
            return Ok(*id);
        }
        let found = self
            .transaction
            .prepare_cached(
                "SELECT process_id FROM process
                 WHERE host_id = ?1 AND boot_id = ?2 AND pid = ?3 AND start_time_ticks = ?4
                   AND ifnull(exe_path, '') = ifnull(?5, '')",
            )?
            .query_row(
                params![
                    self.host_id,
                    self.host.boot_id,
                    process.id.pid,
                    to_db(process.id.start_ticks),
                    process.exe
                ],
                |row| row.get(0),
            )
            .optional()?;
        let id = match found {
            Some(id) => id,
            None => self.insert_process(process, seen_ms)?,
        };
        self.processes.insert(key, id);
        Ok(id)
    }

    fn insert_process(&self, process: &Process, seen_ms: i64) -> rusqlite::Result<i64> {
        let parent = process.ancestors.first();
        self.transaction
            .prepare_cached(
                "INSERT INTO process (
                     host_id, boot_id, pid, start_time_ticks, exe_path, comm, argv0, uid, user_name,
                     cwd, cgroup_path, parent_pid, parent_start_time_ticks, parent_comm,
                     first_seen_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
                 RETURNING process_id",
            )?
            .query_row(
                params![
                    self.host_id,
                    self.host.boot_id,
                    process.id.pid,
                    to_db(process.id.start_ticks),
                    process.exe,
                    process.comm,
                    process.argv0.as_ref().filter(|_| self.keep.argv0),
                    process.uid,
                    process.user_name,
                    process.cwd.as_ref().filter(|_| self.keep.cwd),
                    process.cgroup,
                    parent.map(|parent| parent.id.pid),
                    parent.map(|parent| to_db(parent.id.start_ticks)),
                    parent.map(|parent| &parent.comm),
                    seen_ms,
                ],
                |row| row.get(0),
            )
    }
}

/// The token columns of a row.
struct Columns {
    input_uncached: Option<i64>,
    cache_read: Option<i64>,
    cache_write_5m: Option<i64>,
    cache_write_1h: Option<i64>,
    cache_write_other: Option<i64>,
    output: Option<i64>,
    reasoning: Option<i64>,
}

impl Columns {
    fn of(usage: &Usage) -> Self {
        Self {
            input_uncached: usage.input_uncached.map(to_db),
            cache_read: usage.cache_read.map(to_db),
            cache_write_5m: usage.cache_write_5m.map(to_db),
            cache_write_1h: usage.cache_write_1h.map(to_db),
            cache_write_other: usage.cache_write_other.map(to_db),
            output: usage.output.map(to_db),
            reasoning: usage.reasoning.map(to_db),
        }
    }

    /// The whole input; unknown only if every part of it is.
    fn context(&self) -> Option<i64> {
        [
            self.input_uncached,
            self.cache_read,
            self.cache_write_5m,
            self.cache_write_1h,
            self.cache_write_other,
        ]
        .into_iter()
        .flatten()
        .reduce(i64::saturating_add)
    }
}
