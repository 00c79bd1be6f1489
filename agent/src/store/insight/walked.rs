//! What may be waste, found ahead: spans of time whose calls were walked over once, and what was found in
//! them.
//!
//! What is found in a span depends on its calls and on those before them, and on nothing else. So a call that
//! comes late, or changes, has spans forgotten from its own on, and they are walked over anew.
//! [`Reader::waste`](crate::store::Reader::waste) finds the same in what was not walked over yet.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, Transaction, ffi};

use super::find::{Found, SAME_MS, find};
use super::passing::Passing;
use crate::store::Window;
use crate::store::rollup::{BUCKET_MS, Changed};

/// Length of a span: what a report has to walk over itself is not much longer, and a walk over it not much
/// shorter than one over a span and the time before that tells what is a duplicate.
const SPAN_MS: i64 = 4 * 60 * 60 * 1_000;

/// Time after the end of a span in which calls of it still come: they are stored when they end, and few last
/// longer.
const SETTLED_MS: i64 = 30 * 60 * 1_000;

/// LIMIT: spans of one walk over all that is left, 30 days: the time before is walked over once for them, and
/// what is met in them is kept in memory.
const MOST_SPANS: i64 = 180;

/// Number of the span that a moment lies in.
pub(in crate::store) const fn span_of(ms: i64) -> i64 {
    ms.div_euclid(SPAN_MS)
}

/// Some spans, from the first to the last.
#[derive(Clone, Copy, Debug)]
struct Spans {
    first: i64,
    last: i64,
}

impl Spans {
    const fn one(span: i64) -> Self {
        Self {
            first: span,
            last: span,
        }
    }

    const fn window(self) -> Window {
        Window {
            from_ms: self.first.saturating_mul(SPAN_MS),
            until_ms: self.last.saturating_add(1).saturating_mul(SPAN_MS),
        }
    }
}

/// Walks over the newest span that ended some time ago and was not walked over; false if there is none.
///
/// # Errors
/// Those of SQLite.
pub(in crate::store) fn step(conn: &mut Connection, now_ms: i64) -> rusqlite::Result<bool> {
    let before = span_of(now_ms.saturating_sub(SETTLED_MS));
    let known = walked(conn)?;
    let Some(span) = newest(conn, &known, before)? else {
        return Ok(false);
    };
    match walk(conn, Spans::one(span)) {
        // Somebody else wrote in the meantime.
        Err(error) if is_of_the_past(&error) => Ok(true),
        walked => walked.map(|()| true),
    }
}

/// Whether what was read is no longer what is there.
fn is_of_the_past(error: &rusqlite::Error) -> bool {
    error
        .sqlite_error()
        .is_some_and(|error| error.extended_code == ffi::SQLITE_BUSY_SNAPSHOT)
}

/// Walks over everything that was not walked over.
///
/// # Errors
/// Those of SQLite.
pub(in crate::store) fn finish(conn: &mut Connection) -> rusqlite::Result<()> {
    let mut before = i64::MAX;
    loop {
        let known = walked(conn)?;
        let Some(last) = newest(conn, &known, before)? else {
            return Ok(());
        };
        let mut first = last;
        while last - first < MOST_SPANS - 1 && newest(conn, &known, first)? == Some(first - 1) {
            first -= 1;
        }
        walk(conn, Spans { first, last })?;
        before = first;
    }
}

/// The spans that were walked over.
fn walked(conn: &Connection) -> rusqlite::Result<BTreeSet<i64>> {
    conn.prepare_cached("SELECT span FROM waste_span")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// The newest span before another one that has a call and is not among the known ones.
fn newest(conn: &Connection, known: &BTreeSet<i64>, before: i64) -> rusqlite::Result<Option<i64>> {
    let mut before = before;
    loop {
        while known.contains(&before.saturating_sub(1)) {
            before -= 1;
        }
        let last: Option<i64> = conn
            .prepare_cached(
                "SELECT started_ms FROM request WHERE started_ms < ?1
                 ORDER BY started_ms DESC LIMIT 1",
            )?
            .query_row([before.saturating_mul(SPAN_MS)], |row| row.get(0))
            .optional()?;
        let Some(span) = last.map(span_of) else {
            return Ok(None);
        };
        if !known.contains(&span) {
            return Ok(Some(span));
        }
        before = span;
    }
}

/// Walks over some whole spans. What it reads is of one moment: it is kept only if nobody else has written
/// until it takes the right to.
fn walk(conn: &mut Connection, spans: Spans) -> rusqlite::Result<()> {
    let transaction = conn.transaction()?;
    let mut found: Vec<(i64, i64, Found)> = Vec::new();
    find(
        &transaction,
        spans.window(),
        &Passing::all(),
        |call, as_what| {
            found.push((span_of(call.started_ms), call.used.request_id, as_what));
            Ok(())
        },
    )?;
    {
        let mut keep_span = transaction.prepare_cached(
            "INSERT OR IGNORE INTO waste_span (span, first_request_id, last_request_id)
             SELECT ?1, min(request_id), max(request_id) FROM request
             WHERE started_ms >= ?2 AND started_ms < ?3",
        )?;
        for span in spans.first..=spans.last {
            let Window { from_ms, until_ms } = Spans::one(span).window();
            keep_span.execute([span, from_ms, until_ms])?;
        }
        let mut keep = transaction.prepare_cached(
            "INSERT OR REPLACE INTO waste_request (span, request_id, kinds, missing_tokens)
             VALUES (?1, ?2, ?3, ?4)",
        )?;
        // In the order of the table.
        found.sort_by_key(|(span, request_id, _)| (*span, *request_id));
        for (span, request_id, as_what) in found {
            let [kinds, missing_tokens] = as_what.columns();
            keep.execute([span, request_id, kinds, missing_tokens])?;
        }
    }
    transaction.commit()
}

/// Forgets the spans that may say something else since these changes.
///
/// # Errors
/// Those of SQLite.
pub(in crate::store) fn forget_changed(
    transaction: &Transaction<'_>,
    changed: &Changed,
) -> rusqlite::Result<()> {
    let Some((first_ms, last_ms)) = changed.reach() else {
        return Ok(());
    };
    let newest: Option<i64> = transaction
        .prepare_cached("SELECT max(span) FROM waste_span")?
        .query_row([], |row| row.get(0))?;
    if newest.is_none_or(|newest| newest < span_of(first_ms)) {
        return Ok(());
    }
    let mut until_ms = last_ms + BUCKET_MS + SAME_MS;
    for session in changed.sessions() {
        // What a call left in a cache is missed by the next one of its thread, whenever that is.
        let last_ms: Option<i64> = transaction
            .prepare_cached("SELECT last_request_ms FROM session WHERE session_id = ?1")?
            .query_row([session], |row| row.get(0))
            .optional()?;
        until_ms = until_ms.max(last_ms.unwrap_or(i64::MIN));
    }
    forget(transaction, first_ms, until_ms)
}

/// Forgets the spans that may say something else since a ledger was merged: what it changed is in the tables
/// that merging works with.
///
/// # Errors
/// Those of SQLite.
pub(in crate::store) fn forget_merged(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let buckets: Option<(i64, i64)> = transaction.query_row(
        "SELECT min(unit), max(unit) FROM temp.touched_15m",
        [],
        |row| Ok(row.get::<_, Option<i64>>(0)?.zip(row.get(1)?)),
    )?;
    let Some((first_ms, last_ms)) = buckets else {
        return Ok(());
    };
    let last_request_ms: Option<i64> = transaction.query_row(
        "SELECT max(s.last_request_ms)
         FROM temp.touched_session AS t JOIN main.session AS s ON s.session_id = t.unit",
        [],
        |row| row.get(0),
    )?;
    let until_ms = last_ms + BUCKET_MS + SAME_MS;
    forget(
        transaction,
        first_ms,
        until_ms.max(last_request_ms.unwrap_or(until_ms)),
    )
}

/// Forgets the spans from one moment to another.
fn forget(transaction: &Transaction<'_>, from_ms: i64, until_ms: i64) -> rusqlite::Result<()> {
    for table in ["waste_request", "waste_span"] {
        transaction
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE span >= ?1 AND span <= ?2"
            ))?
            .execute([span_of(from_ms), span_of(until_ms)])?;
    }
    Ok(())
}

/// Takes out what was found of calls that are deleted, those in `temp.pruning`: all calls of a quarter of an
/// hour. Their ids may be given out again.
///
/// # Errors
/// Those of SQLite.
pub(in crate::store) fn prune(
    transaction: &Transaction<'_>,
    quarter_ms: i64,
) -> rusqlite::Result<()> {
    let span = span_of(quarter_ms);
    transaction
        .prepare_cached(
            "DELETE FROM waste_request
             WHERE span = ?1 AND request_id IN (SELECT request_id FROM temp.pruning)",
        )?
        .execute([span])?;
    transaction
        .prepare_cached("DELETE FROM waste_span WHERE span < ?1")?
        .execute([span])?;
    Ok(())
}

/// Two ids that those of all calls of a window lie between; no id does where it has no calls.
///
/// # Errors
/// Those of SQLite.
pub(super) fn ids(conn: &Connection, window: Window) -> rusqlite::Result<(i64, i64)> {
    let mut ids = (i64::MAX, i64::MIN);
    let mut widen = |(first, last): (Option<i64>, Option<i64>)| {
        ids.0 = first.map_or(ids.0, |first| first.min(ids.0));
        ids.1 = last.map_or(ids.1, |last| last.max(ids.1));
    };
    widen(
        conn.prepare_cached(
            "SELECT min(first_request_id), max(last_request_id) FROM waste_span
             WHERE span >= ?1 AND span <= ?2",
        )?
        .query_row(
            [
                span_of(window.from_ms),
                span_of(window.until_ms.saturating_sub(1)),
            ],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?,
    );
    for part in unwalked(conn, window)? {
        widen(
            conn.prepare_cached(
                "SELECT min(request_id), max(request_id) FROM request
                 WHERE started_ms >= ?1 AND started_ms < ?2",
            )?
            .query_row([part.from_ms, part.until_ms], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?,
        );
    }
    Ok(ids)
}

/// Numbers of the first and the last span that lie in a window whole.
pub(super) const fn whole_spans(window: Window) -> Option<(i64, i64)> {
    let first = span_of(window.from_ms.saturating_add(SPAN_MS - 1));
    let last = span_of(window.until_ms) - 1;
    if first <= last {
        Some((first, last))
    } else {
        None
    }
}

/// What of a window is before and after some whole spans in it.
pub(super) fn around(window: Window, (first, last): (i64, i64)) -> Vec<Window> {
    let whole = Spans { first, last }.window();
    vec![
        Window {
            from_ms: window.from_ms,
            until_ms: whole.from_ms,
        },
        Window {
            from_ms: whole.until_ms,
            until_ms: window.until_ms,
        },
    ]
}

/// The parts of a window that were not walked over, cut to the calls that are in them.
///
/// # Errors
/// Those of SQLite.
pub(super) fn unwalked(conn: &Connection, window: Window) -> rusqlite::Result<Vec<Window>> {
    let known: Vec<i64> = conn
        .prepare_cached(
            "SELECT span FROM waste_span WHERE span >= ?1 AND span <= ?2 ORDER BY span",
        )?
        .query_map(
            [
                span_of(window.from_ms),
                span_of(window.until_ms.saturating_sub(1)),
            ],
            |row| row.get(0),
        )?
        .collect::<rusqlite::Result<_>>()?;
    let mut parts = Vec::new();
    let mut from_ms = window.from_ms;
    let walked = known.into_iter().map(Spans::one);
    let end = Window {
        from_ms: window.until_ms,
        until_ms: window.until_ms,
    };
    for walked in walked.map(Spans::window).chain([end]) {
        if from_ms < walked.from_ms {
            let cut: (Option<i64>, Option<i64>) = conn
                .prepare_cached(
                    "SELECT (SELECT min(started_ms) FROM request
                             WHERE started_ms >= ?1 AND started_ms < ?2),
                            (SELECT max(started_ms) FROM request
                             WHERE started_ms >= ?1 AND started_ms < ?2)",
                )?
                .query_row([from_ms, walked.from_ms], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?;
            if let (Some(first_ms), Some(last_ms)) = cut {
                parts.push(Window {
                    from_ms: first_ms,
                    until_ms: last_ms + 1,
                });
            }
        }
        from_ms = walked.until_ms;
    }
    Ok(parts)
}
