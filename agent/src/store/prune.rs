//! Takes calls out of the ledger and leaves what they added to the sums.

use agent_core::session::UsageRecord;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::insight::walked;
use super::rollup::{BUCKET_MS, SESSION_KEY, added_up, bucket, columns, merged};
use super::writer::Batch;

/// LIMIT: when a transaction has deleted so many rows, it ends with the quarter of an hour that it
/// is in. Thousands take tens of milliseconds, which no commit of calls notices.
const ROWS: usize = 1_000;

/// Row of `meta`: calls that began before this may have been deleted.
const PRUNED_BEFORE: &str = "requests_pruned_before_ms";
/// Row of `meta`: those before this were deleted because the ledger was too large.
const CAPPED_BEFORE: &str = "requests_capped_before_ms";

/// Gives a connection the table that pruning works with.
///
/// # Errors
/// Those of SQLite.
pub(super) fn prepare(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "PRAGMA temp_store = MEMORY;
         CREATE TEMP TABLE IF NOT EXISTS pruning (
             request_id INTEGER PRIMARY KEY, session_id INTEGER NOT NULL);",
    )
}

/// Calls that began before this may have been deleted; `None` if none was.
///
/// # Errors
/// Those of SQLite.
pub(super) fn pruned_before_ms(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT max(requests_pruned_before_ms) FROM host")?
        .query_row([], |row| row.get(0))
}

/// Calls that began before this were deleted because the ledger was too large; `None` if none was.
///
/// # Errors
/// Those of SQLite.
pub(super) fn capped_before_ms(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT CAST(value AS INTEGER) FROM meta WHERE name = ?1")?
        .query_row([CAPPED_BEFORE], |row| row.get(0))
        .optional()
}

/// Notes that calls before a moment were deleted because the ledger was too large.
///
/// # Errors
/// Those of SQLite.
pub(super) fn remember_cap(conn: &Connection, before_ms: i64) -> rusqlite::Result<()> {
    conn.execute(
        "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)",
        params![CAPPED_BEFORE, before_ms],
    )?;
    Ok(())
}

/// What one transaction deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pruned {
    /// Calls, models inside of calls, and calls to gateways.
    pub(super) rows: usize,
    /// All of them began before this.
    pub(super) before_ms: i64,
}

/// Deletes the oldest calls of those that began before `until_ms`, which is the beginning of a
/// quarter of an hour: whole quarters, as many as make a short transaction. `None` if there are none.
///
/// # Errors
/// Those of SQLite.
pub(super) fn oldest(conn: &mut Connection, until_ms: i64) -> rusqlite::Result<Option<Pruned>> {
    let transaction = super::immediate(conn)?;
    let mut pruned: Option<Pruned> = None;
    while pruned.is_none_or(|pruned| pruned.rows < ROWS) {
        let first: Option<i64> = transaction
            .prepare_cached(
                "SELECT started_ms FROM request WHERE started_ms < ?1 ORDER BY started_ms LIMIT 1",
            )?
            .query_row([until_ms], |row| row.get(0))
            .optional()?;
        let Some(first) = first else {
            break;
        };
        let from_ms = bucket(first);
        let before_ms = from_ms + BUCKET_MS;
        let rows = quarter(&transaction, from_ms, before_ms)?;
        pruned = Some(Pruned {
            rows: rows + pruned.map_or(0, |pruned| pruned.rows),
            before_ms,
        });
    }
    if let Some(pruned) = pruned {
        remember(&transaction, pruned.before_ms)?;
    }
    transaction.commit()?;
    Ok(pruned)
}

/// Notes what may be gone.
fn remember(transaction: &Transaction<'_>, before_ms: i64) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE host
         SET requests_pruned_before_ms = max(ifnull(requests_pruned_before_ms, ?1), ?1)",
        [before_ms],
    )?;
    transaction.execute(
        "INSERT OR REPLACE INTO meta (name, value)
         SELECT ?1, max(requests_pruned_before_ms) FROM host",
        [PRUNED_BEFORE],
    )?;
    Ok(())
}

/// Deletes the calls of a quarter of an hour; gives how many rows are gone.
fn quarter(transaction: &Transaction<'_>, from_ms: i64, before_ms: i64) -> rusqlite::Result<usize> {
    let window = params![from_ms, before_ms];
    transaction
        .prepare_cached("DELETE FROM temp.pruning")?
        .execute([])?;
    transaction
        .prepare_cached(
            "INSERT INTO temp.pruning SELECT request_id, session_id FROM request
             WHERE started_ms >= ?1 AND started_ms < ?2",
        )?
        .execute(window)?;
    // Without its other side a call to a gateway would count.
    transaction
        .prepare_cached(
            "INSERT OR IGNORE INTO temp.pruning
             SELECT r.request_id, r.session_id
             FROM (SELECT request_id AS counted FROM temp.pruning) AS p
             CROSS JOIN request AS r ON r.hop_of = p.counted",
        )?
        .execute([])?;
    keep_sessions(transaction)?;
    for link in ["retry_of", "part_of"] {
        transaction
            .prepare_cached(&format!(
                "UPDATE request SET {link} = NULL WHERE request_id IN (
                     SELECT r.request_id
                     FROM temp.pruning AS p CROSS JOIN request AS r ON r.{link} = p.request_id
                     WHERE r.started_ms >= ?1)"
            ))?
            .execute([before_ms])?;
    }
    walked::prune(transaction, from_ms)?;
    let rows = transaction
        .prepare_cached(
            "DELETE FROM request WHERE request_id IN (SELECT request_id FROM temp.pruning)",
        )?
        .execute([])?;
    // Where no call is left, the sums are what the deleted ones added.
    transaction
        .prepare_cached(
            "DELETE FROM pruned_session
             WHERE session_id IN (SELECT session_id FROM temp.pruning)
               AND NOT EXISTS (SELECT 1 FROM request AS r
                               WHERE r.session_id = pruned_session.session_id
                                 AND r.hop_of IS NULL)",
        )?
        .execute([])?;
    for table in ["pruned_15m", "pruned_session_15m"] {
        transaction
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE bucket_start_ms >= ?1 AND bucket_start_ms < ?2"
            ))?
            .execute(window)?;
    }
    Ok(rows)
}

/// Keeps what the calls that are to be deleted added to their sessions.
fn keep_sessions(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let (columns, sums, merged) = (columns(), added_up(), merged());
    transaction
        .prepare_cached(&format!(
            "INSERT INTO pruned_session (
                 {SESSION_KEY}, first_ms, last_ms, peak_context_tokens, {columns})
             SELECT {SESSION_KEY}, min(started_ms), max(started_ms), max(context_tokens), {sums}
             FROM request_sums WHERE request_id IN (SELECT request_id FROM temp.pruning)
             GROUP BY {SESSION_KEY}
             ON CONFLICT ({SESSION_KEY}) DO UPDATE SET
                 first_ms = min(first_ms, excluded.first_ms),
                 last_ms = max(last_ms, excluded.last_ms),
                 peak_context_tokens = CASE
                     WHEN excluded.peak_context_tokens IS NULL THEN peak_context_tokens
                     ELSE max(ifnull(peak_context_tokens, 0), excluded.peak_context_tokens) END,
                 {merged}"
        ))?
        .execute([])?;
    Ok(())
}

impl Batch<'_> {
    /// Before a call comes into a quarter of an hour of which all calls were deleted: its sums are
    /// what those added.
    pub(super) fn keep_pruned_bucket(&self, started_ms: i64) -> rusqlite::Result<()> {
        if self
            .pruned_before_ms
            .is_none_or(|before| started_ms >= before)
        {
            return Ok(());
        }
        let bucket = bucket(started_ms);
        let is_needed: bool = self
            .transaction
            .prepare_cached(
                "SELECT NOT EXISTS (SELECT 1 FROM pruned_15m WHERE bucket_start_ms = ?1)
                    AND NOT EXISTS (SELECT 1 FROM request
                                    WHERE started_ms >= ?1 AND started_ms < ?2
                                      AND hop_of IS NULL)",
            )?
            .query_row([bucket, bucket + BUCKET_MS], |row| row.get(0))?;
        if is_needed {
            for keep in [
                "INSERT OR IGNORE INTO pruned_15m
                 SELECT * FROM usage_15m WHERE bucket_start_ms = ?1",
                "INSERT OR IGNORE INTO pruned_session_15m
                 SELECT * FROM session_15m WHERE bucket_start_ms = ?1",
            ] {
                self.transaction.prepare_cached(keep)?.execute([bucket])?;
            }
        }
        Ok(())
    }

    /// The same before a call comes into its session.
    pub(super) fn keep_pruned_session(&self, record: &UsageRecord) -> rusqlite::Result<()> {
        if self.pruned_before_ms.is_none() {
            return Ok(());
        }
        self.transaction
            .prepare_cached(self.rollup.keep_pruned_session())?
            .execute(params![
                self.host_id,
                record.session.0,
                record.process.as_ref().map(|process| process.uid),
            ])?;
        Ok(())
    }
}
