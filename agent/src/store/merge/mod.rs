//! Puts what other ledgers have into one: those of other hosts, or a later state of one that was put
//! there before.
//!
//! Rows are the same where what tells them apart is: a host by its machine, a call by host and identity.
//! So merging twice changes nothing. One transaction takes one ledger, whole or not at all.
//!
//! Of a quarter of an hour, or a session, whose calls are all there, sums are made of the calls of both
//! sides. Where calls may have been deleted on one side, they are those of the side that counts most
//! calls: the calls of both together, or what one of them has in its sums. That is exact where one side
//! is an earlier or later state of the other. Only where two agents on one host each saw calls that the
//! other did not, and deleted them, those of the smaller side are left out.

mod alerts;
mod calls;
mod sums;
mod tables;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction};

use super::insight::walked;
use super::{Error, SCHEMA_VERSION, place, reader, writer};

/// What is being merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// The ledger that is read.
    pub from: &'a Path,
    /// Calls that were read.
    pub done: u64,
    /// Calls that it has.
    pub total: u64,
}

/// What a ledger brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Calls, and models inside of calls, that are new.
    pub inserted: u64,
    /// Those of which more is known now.
    pub improved: u64,
    /// Those that were there already, as good or better, or were deleted.
    pub unchanged: u64,
}

/// Merges ledgers into the one at `into`, which is made where it is missing; tells what each brought.
///
/// # Errors
/// [`Error::InUse`] if an agent writes to `into`; [`Error::Older`] and [`Error::Newer`] if a ledger has
/// another version of the schema; those of files and of SQLite. Ledgers before the one that failed are
/// merged.
pub fn merge(
    into: &Path,
    from: &[PathBuf],
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Vec<Merged>, Error> {
    for path in from {
        check(path)?;
    }
    let into = place::prepare(into)?;
    let _lock = place::lock(&into)?;
    let mut conn = writer::open_for_writing(&into)?;
    let failed = |source| Error::sql("write to", &into, source);
    let mut merged = Vec::new();
    for path in from {
        let is_same = path.canonicalize().is_ok_and(|path| path == into);
        merged.push(match is_same {
            true => Merged::default(),
            false => bring(&mut conn, &into, path, progress)?,
        });
    }
    walked::finish(&mut conn).map_err(failed)?;
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .map_err(failed)?;
    conn.close().map_err(|(_, source)| failed(source))?;
    Ok(merged)
}

/// Merges ledgers into one that has no name, which ends with the connection.
///
/// # Errors
/// Those of [`merge`], but for what concerns a place.
pub(super) fn unnamed(
    from: &[PathBuf],
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Connection, Error> {
    for path in from {
        check(path)?;
    }
    let into = Path::new(reader::UNNAMED);
    let mut conn = writer::open_unnamed(into)?;
    for path in from {
        bring(&mut conn, into, path, progress)?;
    }
    Ok(conn)
}

/// Merges a ledger into the one at `into`.
fn bring(
    conn: &mut Connection,
    into: &Path,
    path: &Path,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Merged, Error> {
    let failed = |source| Error::sql("write to", into, source);
    let (reading, uri) = reader::open_read_only(path)?;
    drop(reading);
    conn.execute("ATTACH ?1 AS src", [&uri])
        .map_err(|source| Error::sql("read", path, source))?;
    let merged = one(conn, path, progress).map_err(failed)?;
    conn.flush_prepared_statement_cache();
    conn.execute_batch("DETACH src").map_err(failed)?;
    Ok(merged)
}

/// Looks whether a ledger can be read by this version.
fn check(path: &Path) -> Result<(), Error> {
    let (conn, _) = reader::open_read_only(path)?;
    let version: i64 = conn
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|source| Error::sql("read", path, source))?;
    if version < SCHEMA_VERSION {
        return Err(Error::Older {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// Merges the ledger that is attached as `src`.
fn one(
    conn: &mut Connection,
    path: &Path,
    progress: &mut dyn FnMut(Step<'_>),
) -> rusqlite::Result<Merged> {
    let transaction = super::immediate(conn)?;
    sums::prepare(&transaction)?;
    tables::merge(&transaction)?;
    sums::prepare_hosts(&transaction)?;
    let merged = calls::merge(&transaction, &mut |done, total| {
        progress(Step {
            from: path,
            done,
            total,
        });
    })?;
    sums::merge(&transaction)?;
    walked::forget_merged(&transaction)?;
    alerts::merge(&transaction)?;
    rest(&transaction)?;
    transaction.commit()?;
    Ok(merged)
}

/// Merges what nothing refers to.
fn rest(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "INSERT INTO main.coverage_minute (minute_ms, host_id, process_id, outcome, events, bytes)
         SELECT s.minute_ms, h.new_id, p.new_id, s.outcome, s.events, s.bytes
         FROM src.coverage_minute AS s
         JOIN temp.map_host AS h ON h.old_id = s.host_id
         LEFT JOIN temp.map_process AS p ON p.old_id = s.process_id
         WHERE 1
         ON CONFLICT (minute_ms, host_id, ifnull(process_id, 0), outcome) DO UPDATE SET
             events = max(events, excluded.events), bytes = max(bytes, excluded.bytes)
         WHERE events < excluded.events OR bytes < excluded.bytes;

         INSERT INTO main.rate_limit (
             observed_ms, host_id, provider, account_hash, limit_name, window_seconds, used_ratio,
             limit_value, remaining_value, resets_ms)
         SELECT s.observed_ms, h.new_id, s.provider, s.account_hash, s.limit_name,
                s.window_seconds, s.used_ratio, s.limit_value, s.remaining_value, s.resets_ms
         FROM src.rate_limit AS s
         JOIN temp.map_host AS h ON h.old_id = s.host_id
         WHERE NOT EXISTS (
             SELECT 1 FROM main.rate_limit AS m
             WHERE m.host_id = h.new_id AND m.provider = s.provider
               AND m.account_hash IS s.account_hash AND m.limit_name = s.limit_name
               AND m.observed_ms = s.observed_ms);

         INSERT INTO main.meta (name, value)
         SELECT name, value FROM src.meta WHERE name = 'session_idle_minutes'
         ON CONFLICT (name) DO NOTHING;

         INSERT INTO main.meta (name, value)
         SELECT name, value FROM src.meta
         WHERE name IN ('requests_pruned_before_ms', 'requests_capped_before_ms')
         ON CONFLICT (name) DO UPDATE SET value = excluded.value
         WHERE CAST(value AS INTEGER) < CAST(excluded.value AS INTEGER);",
    )
}
