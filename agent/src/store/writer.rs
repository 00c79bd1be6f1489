//! The one connection that writes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_core::event::{Ancestor, ProcId, Process};
use agent_core::llm::Account;
use agent_core::pipeline::{CoverageMinute, Output};
use jiff::{Timestamp, tz::TimeZone};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, FileControl, OpenFlags, OptionalExtension as _, Transaction, params};

use super::insight::walked;
use super::migrate::{Found, migrate};
use super::place::{self, WriteLock};
use super::quota::{SWEEP_MS, last_quota_ms};
use super::retention::{Progress, Retention, Sweeper};
use super::rollup::{Changed, Rollup};
use super::{AgentStatus, Error, HostFacts, prune, to_db};

/// LIMIT: five seconds at the start for another connection that holds the file.
const BUSY_MS: i32 = 5_000;
/// LIMIT: one second for it while the ledger is written; then the batch fails as retryable, and the
/// caller, who takes what comes in the meantime, keeps it.
const WRITING_BUSY_MS: i32 = 1_000;
/// LIMIT: one second at the end for readers; the log is then left as long as it is, which costs
/// space and loses nothing.
const CLOSING_BUSY_MS: i32 = 1_000;
/// LIMIT: 16 MiB kept of a write-ahead log that once grew; what is beyond is given back.
const LOG_KEPT_BYTES: i64 = 16 << 20;
/// LIMIT: statements that stay compiled; a batch runs some thirty. Fewer than those would each be
/// compiled again for every call, which takes longer than the call.
const STATEMENTS: usize = 64;
/// LIMIT: 512 MiB of pages in memory while a ledger is written that may be lost. Identities of calls
/// come in no order, so that with less each of them is a page read and one written.
const TEMPORARY_CACHE_KIB: i64 = 512 << 10;
/// LIMIT: 256 MiB of a write-ahead log, in pages, while a ledger is written that may be lost.
const TEMPORARY_LOG_PAGES: i64 = 65_536;

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
    /// Held for its lock.
    _lock: WriteLock,
    /// When the limits of accounts were last looked through for old ones.
    swept_ms: Option<i64>,
    rollup: Rollup,
    /// Pause after which a session has ended, if it is not the usual one.
    idle: Option<Duration>,
    sweeper: Sweeper,
}

/// How durable a ledger is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// What is written survives a power cut.
    Kept,
    /// It is made anew where the machine goes down.
    Temporary,
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
            _lock: lock,
            swept_ms: None,
            rollup: Rollup::default(),
            idle: None,
            sweeper: Sweeper::default(),
        })
    }

    /// How long rows are kept.
    pub fn set_retention(&mut self, retention: Retention) {
        self.sweeper = Sweeper::new(retention);
    }

    /// Takes one step of deleting what is older than it is to be kept, and of finding what may be waste; a
    /// sweep begins with the first step after one that was [`Progress::Done`]. A step is one short
    /// transaction.
    ///
    /// # Errors
    /// Those of SQLite. The step is then taken again with the next call.
    pub fn sweep(&mut self, now_ms: i64) -> Result<Progress, Error> {
        self.reopen_if_moved()?;
        self.sweeper
            .step(&mut self.conn, now_ms)
            .map_err(|source| Error::sql("write to", &self.path, source))
    }

    /// Finds what may be waste among all calls of which a sweep has not found it yet.
    ///
    /// # Errors
    /// Those of SQLite. What was found until then is kept.
    pub fn find_waste(&mut self) -> Result<(), Error> {
        self.reopen_if_moved()?;
        walked::finish(&mut self.conn).map_err(|source| Error::sql("write to", &self.path, source))
    }

    /// What the last sweep could not do as it was told; `None` if all is well.
    pub fn complaint(&self) -> Option<String> {
        self.sweeper.complaint()
    }

    /// What it reads and writes with.
    pub(super) const fn connection(&self) -> &Connection {
        &self.conn
    }

    /// The row of this host.
    pub(super) const fn host_id(&self) -> i64 {
        self.host_id
    }

    /// What the ledger calls an account: a hash with a secret of the host.
    pub fn account_hash(&self, account: &Account) -> String {
        self.host.account_key.hash(account.id())
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
        let transaction = super::immediate(&mut self.conn).map_err(failed)?;
        let mut batch = Batch {
            transaction: &transaction,
            rollup: &self.rollup,
            host: &self.host,
            host_id: self.host_id,
            keep: self.keep,
            processes: HashMap::new(),
            changed: Changed::default(),
            pruned_before_ms: prune::pruned_before_ms(&transaction).map_err(failed)?,
            applied: Applied::default(),
        };
        let stored: i64 = transaction
            .query_row(
                "SELECT ifnull(max(request_id), 0) FROM request",
                [],
                |row| row.get(0),
            )
            .map_err(failed)?;
        for output in outputs {
            match output {
                Output::Usage(record) => batch.usage(record),
                Output::Coverage(minute) => batch.coverage(minute),
                Output::Quota { unix_ms, observed } => batch.quota(*unix_ms, observed),
                Output::ProcessExited { id, unix_ms } => batch.exited(*id, *unix_ms),
                Output::Running(_) | Output::Ignore(_) => Ok(()),
            }
            .map_err(failed)?;
        }
        let changed = std::mem::take(&mut batch.changed);
        self.sweeper.note(changed.stale_sessions());
        walked::forget_changed(&transaction, &changed).map_err(failed)?;
        changed
            .apply(&transaction, &self.rollup, stored)
            .map_err(failed)?;
        let applied = batch.applied;
        if let Some(told_ms) = last_quota_ms(outputs)
            && self
                .swept_ms
                .is_none_or(|swept| told_ms - swept >= SWEEP_MS)
        {
            if let Some(before_ms) = self.sweeper.retention().rate_limits_from(told_ms) {
                batch.forget_quotas(before_ms).map_err(failed)?;
            }
            self.swept_ms = Some(told_ms);
        }
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

    /// Whether what is written is to survive a power cut; it is unless this says otherwise.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn set_durability(&mut self, durability: Durability) -> Result<(), Error> {
        let failed = |source| Error::sql("set up", &self.path, source);
        match durability {
            Durability::Kept => self.conn.pragma_update(None, "synchronous", "FULL"),
            Durability::Temporary => self
                .conn
                .pragma_update(None, "synchronous", "OFF")
                .and_then(|()| {
                    // SQLite reads a negative one as KiB.
                    self.conn
                        .pragma_update(None, "cache_size", -TEMPORARY_CACHE_KIB)
                })
                .and_then(|()| {
                    self.conn.pragma_update_and_check(
                        None,
                        "wal_autocheckpoint",
                        TEMPORARY_LOG_PAGES,
                        |_| Ok(()),
                    )
                }),
        }
        .map_err(failed)
    }

    /// Notes after which pause a session has ended, for the views and for counting those that went
    /// on; 30 minutes otherwise.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn set_session_idle(&mut self, idle: Duration) -> Result<(), Error> {
        self.idle = Some(idle);
        note_idle(&self.conn, &self.path, self.idle)
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

    /// Sets a damaged ledger aside and goes on with a new one. Where that fails, because the disk is
    /// full or read-only, it may be tried again.
    ///
    /// # Errors
    /// As [`Writer::open`].
    pub fn start_over(&mut self) -> Result<(), Error> {
        set_aside(&self.path)?;
        self.sweeper = Sweeper::new(self.sweeper.retention());
        self.swept_ms = None;
        self.reopen()
    }

    /// Opens the file at the path anew, and makes it if it is missing. After a device failed, what is
    /// open of its files may stay broken though the device is well again.
    ///
    /// # Errors
    /// As [`Writer::open`]; what was open is kept then.
    pub fn reopen(&mut self) -> Result<(), Error> {
        place::prepare(&self.path)?;
        (self.conn, self.host_id) = connect(&self.path, &self.host)?;
        note_idle(&self.conn, &self.path, self.idle)
    }

    /// What reading needs.
    pub(super) fn parts(&self) -> (&Connection, i64, &Path) {
        (&self.conn, self.host_id, &self.path)
    }

    /// Does something in one transaction: all of it or nothing.
    pub(super) fn in_transaction<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, i64) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.reopen_if_moved()?;
        let failed = |source| Error::sql("write to", &self.path, source);
        let transaction = super::immediate(&mut self.conn).map_err(failed)?;
        let done = work(&transaction, self.host_id).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(done)
    }

    /// SQLite goes on writing to a removed file, where nobody would find it.
    fn reopen_if_moved(&mut self) -> Result<(), Error> {
        let mut moved = 0;
        self.conn
            .file_control(Some("main"), FileControl::HasMoved(&mut moved))
            .map_err(|source| Error::sql("look at", &self.path, source))?;
        if moved != 0 {
            tracing::warn!(path = %self.path.display(), "the ledger was removed or replaced; going on with the file at its path");
            self.reopen()?;
        }
        Ok(())
    }
}

/// Opens the file for writing and upgrades it. Who calls it holds the lock.
///
/// # Errors
/// Those of [`Writer::open`] about the file.
pub(super) fn open_for_writing(path: &Path) -> Result<Connection, Error> {
    let failed = |source| Error::sql("open", path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_URI;
    let mut conn = Connection::open_with_flags(path, flags).map_err(failed)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    // Without this, a statement over a table with a partial index is compiled again whenever its
    // values change, in the hope of a better plan.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map_err(failed)?;
    conn.pragma_update(None, "busy_timeout", BUSY_MS)
        .map_err(failed)?;
    // Before anything is written: a newer or foreign file must stay as it is.
    if super::migrate::inspect(&conn, path)? == Found::Blank {
        // A file takes it only before its first page.
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")
            .map_err(failed)?;
    }
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
    prune::prepare(&conn).map_err(failed)?;
    Ok(conn)
}

/// A new ledger without a name. What of it does not fit into memory is in a file that SQLite takes out
/// of its folder as soon as it has opened it, so that nothing outlasts the process, however that ends.
pub(super) fn open_unnamed(path: &Path) -> Result<Connection, Error> {
    let failed = |source| Error::sql("make", path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let mut conn = Connection::open_with_flags("", flags).map_err(failed)?;
    conn.pragma_update(None, "busy_timeout", BUSY_MS)
        .map_err(failed)?;
    conn.pragma_update(None, "foreign_keys", true)
        .map_err(failed)?;
    migrate(&mut conn, path)?;
    prune::prepare(&conn).map_err(failed)?;
    Ok(conn)
}

/// Opens the file for writing and finds the row of the host.
fn connect(path: &Path, host: &HostFacts) -> Result<(Connection, i64), Error> {
    let failed = |source| Error::sql("open", path, source);
    let conn = open_for_writing(path)?;
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
    conn.pragma_update(None, "busy_timeout", WRITING_BUSY_MS)
        .map_err(failed)?;
    Ok((conn, host_id))
}

/// Keeps the pause after which a session has ended where the views find it.
fn note_idle(conn: &Connection, path: &Path, idle: Option<Duration>) -> Result<(), Error> {
    let Some(idle) = idle else {
        return Ok(());
    };
    conn.execute(
        "INSERT OR REPLACE INTO meta (name, value) VALUES ('session_idle_minutes', ?1)",
        [to_db(idle.as_secs() / 60)],
    )
    .map_err(|source| Error::sql("write to", path, source))?;
    Ok(())
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
pub(super) struct Batch<'a> {
    pub(super) transaction: &'a Transaction<'a>,
    pub(super) host: &'a HostFacts,
    pub(super) host_id: i64,
    pub(super) keep: Keep,
    pub(super) rollup: &'a Rollup,
    /// Rows of the processes of this batch; its size bounds it.
    processes: HashMap<(ProcId, Option<&'a str>), i64>,
    /// What it changed, as far as sums depend on it.
    pub(super) changed: Changed,
    /// Calls that began before this may have been deleted.
    pub(super) pruned_before_ms: Option<i64>,
    pub(super) applied: Applied,
}

impl<'a> Batch<'a> {
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
    pub(super) fn process(&mut self, process: &'a Process, seen_ms: i64) -> rusqlite::Result<i64> {
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
        let container = process.container.as_ref();
        let pod = container.and_then(|container| container.pod.as_ref());
        self.transaction
            .prepare_cached(
                "INSERT INTO process (
                     host_id, boot_id, pid, start_time_ticks, exe_path, comm, argv0, uid, user_name,
                     cwd, cgroup_path, parent_pid, parent_start_time_ticks, parent_comm,
                     first_seen_ms, exe_build_id, systemd_unit, container_runtime, container_id,
                     container_name, container_image, pod_uid, pod_namespace, pod_name,
                     ancestors_json)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                         ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25)
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
                    process.exe_build_id,
                    process.unit,
                    container.map(|container| &container.runtime),
                    container.map(|container| &container.id),
                    container.and_then(|container| container.name.as_ref()),
                    container.and_then(|container| container.image.as_ref()),
                    pod.map(|pod| &pod.uid),
                    pod.and_then(|pod| pod.namespace.as_ref()),
                    pod.and_then(|pod| pod.name.as_ref()),
                    ancestors_json(&process.ancestors),
                ],
                |row| row.get(0),
            )
    }
}

/// The parent chain: a JSON array; `None` if nothing is known of it.
fn ancestors_json(ancestors: &[Ancestor]) -> Option<String> {
    let rows: Vec<serde_json::Value> = ancestors
        .iter()
        .map(|ancestor| {
            serde_json::json!({
                "pid": ancestor.id.pid,
                "comm": ancestor.comm,
                "exe": ancestor.exe,
            })
        })
        .collect();
    (!rows.is_empty()).then(|| serde_json::Value::from(rows).to_string())
}
