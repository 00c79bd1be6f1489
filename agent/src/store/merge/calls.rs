//! The calls of both ledgers: new ones come, better ones take the place of worse ones.

use rusqlite::{Transaction, params};

use super::super::from_db;
use super::super::rollup::BUCKET_MS;
use super::Merged;
use super::tables::{columns, mapped};

/// LIMIT: ids of calls between two reports of progress.
const ROWS: i64 = 50_000;

/// Columns with ids of other tables.
const REFS: [(&str, &str); 8] = [
    ("host_id", "host"),
    ("shape_id", "shape"),
    ("process_id", "process"),
    ("session_id", "session"),
    ("price_id", "price"),
    ("via_process_id", "process"),
    ("usage_key_id", "usage_key"),
    ("thread_id", "thread"),
];

/// Columns with ids of other calls.
const LINKS: [&str; 3] = ["retry_of", "part_of", "hop_of"];

/// How much is known of the call `r` of shape `h`: more of the same call is more.
fn rank(r: &str, h: &str) -> String {
    format!(
        "(CASE {h}.usage_source WHEN 'provider' THEN 3 WHEN 'provider_partial' THEN 2
                                WHEN 'estimated' THEN 1 ELSE 0 END,
          CASE {h}.outcome WHEN 'complete' THEN 4 WHEN 'error' THEN 3 WHEN 'incomplete' THEN 2
                           WHEN 'aborted' THEN 1 ELSE 0 END,
          {r}.process_id IS NOT NULL, ifnull({r}.output_tokens, -1), {r}.hop_of IS NOT NULL,
          {r}.via_process_id IS NOT NULL, {h}.task_type = 'compaction',
          {r}.repriced_nanousd IS NOT NULL)"
    )
}

/// Merges the calls, and notes in `temp.touched_15m` and `temp.touched_session` what they change.
///
/// # Errors
/// Those of SQLite.
pub(super) fn merge(
    transaction: &Transaction<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> rusqlite::Result<Merged> {
    let improved = improve(transaction)?;
    let stored: i64 = transaction.query_row(
        "SELECT ifnull(max(request_id), 0) FROM main.request",
        [],
        |row| row.get(0),
    )?;
    let (total, last): (u64, i64) = transaction.query_row(
        "SELECT count(*), ifnull(max(request_id), 0) FROM src.request",
        [],
        |row| Ok((from_db(row.get(0)?), row.get(1)?)),
    )?;
    let inserted = insert(transaction, (total, last), progress)?;
    for link in LINKS {
        transaction.execute_batch(&link_up(link))?;
    }
    touch(
        transaction,
        &format!(
            "main.request AS r WHERE r.request_id > {stored}
                OR r.request_id IN (SELECT new_id FROM temp.better)"
        ),
    )?;
    Ok(Merged {
        inserted,
        improved,
        unchanged: total.saturating_sub(inserted + improved),
    })
}

/// Points calls that came to what they point to in the other ledger.
fn link_up(link: &str) -> String {
    format!(
        "CREATE TEMP TABLE IF NOT EXISTS link (
             request_id INTEGER PRIMARY KEY, target_id INTEGER NOT NULL);
         DELETE FROM temp.link;
         INSERT OR IGNORE INTO temp.link
         SELECT m.request_id, t.request_id
         FROM src.request AS s
         CROSS JOIN temp.map_host AS h ON h.old_id = s.host_id
         CROSS JOIN main.request AS m ON m.host_id = h.new_id AND m.identity = s.identity
         CROSS JOIN src.request AS o ON o.request_id = s.{link}
         CROSS JOIN main.request AS t ON t.host_id = h.new_id AND t.identity = o.identity
         WHERE s.{link} IS NOT NULL AND m.{link} IS NULL;
         UPDATE main.request
         SET {link} = (SELECT target_id FROM temp.link AS l
                       WHERE l.request_id = request.request_id)
         WHERE request_id IN (SELECT request_id FROM temp.link);"
    )
}

/// Replaces calls of which the other ledger knows more.
fn improve(transaction: &Transaction<'_>) -> rusqlite::Result<u64> {
    transaction.execute_batch(&format!(
        "CREATE TEMP TABLE IF NOT EXISTS better (
             old_id INTEGER PRIMARY KEY, new_id INTEGER NOT NULL UNIQUE);
         DELETE FROM temp.better;
         INSERT INTO temp.better
         SELECT s.request_id, m.request_id
         FROM src.request AS s
         CROSS JOIN temp.map_host AS h ON h.old_id = s.host_id
         CROSS JOIN main.request AS m ON m.host_id = h.new_id AND m.identity = s.identity
         CROSS JOIN src.shape AS sh ON sh.shape_id = s.shape_id
         CROSS JOIN main.shape AS mh ON mh.shape_id = m.shape_id
         WHERE s.part_of IS NULL AND {} > {}",
        rank("s", "sh"),
        rank("m", "mh")
    ))?;
    touch(
        transaction,
        "main.request AS r WHERE r.request_id IN (SELECT new_id FROM temp.better)
            OR r.part_of IN (SELECT new_id FROM temp.better)",
    )?;
    // What ran inside of them comes anew.
    transaction.execute_batch(
        "DELETE FROM main.request WHERE part_of IN (SELECT new_id FROM temp.better)",
    )?;
    let set: Vec<String> = columns(transaction, "request")?
        .iter()
        .filter(|column| {
            !["host_id", "identity"].contains(&column.as_str()) && !LINKS.contains(&column.as_str())
        })
        .map(|column| format!("{column} = {}", mapped(column, &REFS)))
        .collect();
    let improved = transaction.execute(
        &format!(
            "UPDATE main.request AS m SET {}
             FROM temp.better AS b JOIN src.request AS s ON s.request_id = b.old_id
             WHERE m.request_id = b.new_id",
            set.join(", ")
        ),
        [],
    )?;
    Ok(u64::try_from(improved).unwrap_or(u64::MAX))
}

/// Inserts calls that are not there. Those of a time whose calls were deleted here stay out.
fn insert(
    transaction: &Transaction<'_>,
    (total, last): (u64, i64),
    progress: &mut dyn FnMut(u64, u64),
) -> rusqlite::Result<u64> {
    let columns = columns(transaction, "request")?;
    let values: Vec<String> = columns
        .iter()
        .map(|column| match LINKS.contains(&column.as_str()) {
            true => "NULL".to_owned(),
            false => mapped(column, &REFS),
        })
        .collect();
    // Without the call that counts a call to a gateway would count.
    let sql = format!(
        "INSERT INTO main.request ({})
         SELECT {}
         FROM src.request AS s
         JOIN temp.map_host AS h ON h.old_id = s.host_id
         JOIN temp.merged_host AS t ON t.host_id = h.new_id
         WHERE s.request_id > ?1 AND s.request_id <= ?2
           AND s.started_ms >= t.pruned_here_ms
           AND (s.hop_of IS NULL
                OR (SELECT c.started_ms FROM src.request AS c WHERE c.request_id = s.hop_of)
                   >= t.pruned_here_ms)
           AND NOT EXISTS (SELECT 1 FROM main.request AS m
                           WHERE m.host_id = h.new_id AND m.identity = s.identity)
         ORDER BY s.request_id",
        columns.join(", "),
        values.join(", ")
    );
    let mut insert = transaction.prepare(&sql)?;
    let (mut inserted, mut after) = (0, 0);
    while after < last {
        let until = after + ROWS;
        inserted += u64::try_from(insert.execute(params![after, until])?).unwrap_or(0);
        after = until;
        progress(u64::try_from(after).unwrap_or(0).min(total), total);
    }
    Ok(inserted)
}

/// Notes the sums that calls are in.
fn touch(transaction: &Transaction<'_>, calls: &str) -> rusqlite::Result<()> {
    transaction.execute_batch(&format!(
        "INSERT OR IGNORE INTO temp.touched_15m (host_id, unit)
         SELECT DISTINCT r.host_id, r.started_ms - r.started_ms % {BUCKET_MS} FROM {calls};
         INSERT OR IGNORE INTO temp.touched_session (host_id, unit)
         SELECT DISTINCT r.host_id, r.session_id FROM {calls};"
    ))
}
