//! The sums that outlast calls: by quarter of an hour, and by session.
//!
//! New calls are added to them. Where a stored call changes, the sums that it is in are made anew
//! from their calls, so that they never drift; what deleted calls added (tables `pruned_*`) comes
//! first.

use std::collections::BTreeSet;

use rusqlite::{Transaction, params};

/// Length of the periods whose sums are kept: every time zone's days begin at one's beginning.
pub(super) const BUCKET_MS: i64 = 15 * 60 * 1_000;

/// Lengths of the spans whose sums are kept beside those of quarters of an hour, longest first; each
/// is a multiple of the next.
pub(super) const SPANS_MS: [i64; 3] = [
    32 * 24 * 60 * 60 * 1_000,
    24 * 60 * 60 * 1_000,
    4 * 60 * 60 * 1_000,
];

/// What tells the sums of sessions apart; a process or thread that is not known is 0.
pub(super) const SESSION_KEY: &str = "session_id, usage_key_id, process_id, thread_id";

/// The same columns of a table with this name.
pub(super) fn session_key_of(table: &str) -> String {
    let columns = SESSION_KEY.split(", ");
    let columns: Vec<String> = columns.map(|column| format!("{table}.{column}")).collect();
    columns.join(", ")
}

/// Columns of sums: those that add up.
const SUMS: [&str; 30] = [
    "requests",
    "estimated_requests",
    "lower_bound_requests",
    "cost_lower_bound_requests",
    "retry_requests",
    "human_turns",
    "tool_calls",
    "input_uncached_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "cache_write_other_tokens",
    "context_tokens",
    "output_tokens",
    "reasoning_tokens",
    "estimated_tokens",
    "unpriced_tokens",
    "cost_nanousd",
    "estimated_cost_nanousd",
    "provider_cost_nanousd",
    "repriced_nanousd",
    "repriced_from_nanousd",
    "duration_ms",
    "stream_output_tokens",
    "stream_ms",
    "cache_write_12h_tokens",
    "priced_rows",
    "tokenless_cost_nanousd",
    "unhashed_requests",
    "unthreaded_requests",
];

/// Columns of sums: those that are 1 where one of the parts has 1.
const FLAGS: [&str; 6] = [
    "context_is_partial",
    "uncached_is_partial",
    "read_is_partial",
    "write_is_partial",
    "output_is_partial",
    "reasoning_is_partial",
];

/// The names of all columns of sums, in the order of the tables.
pub(super) fn columns() -> String {
    [SUMS.as_slice(), &FLAGS].concat().join(", ")
}

/// What adds up rows that have the columns of sums.
pub(super) fn added_up() -> String {
    let sums = SUMS.iter().map(|column| format!("sum({column})"));
    let flags = FLAGS.iter().map(|column| format!("max({column})"));
    sums.chain(flags).collect::<Vec<_>>().join(", ")
}

/// What is left of the sums of a row when those of another are taken away; no less than nothing.
pub(super) fn differences(of: &str, other: &str) -> String {
    let sums = SUMS
        .iter()
        .map(|column| format!("max({of}.{column} - ifnull({other}.{column}, 0), 0)"));
    let flags = FLAGS.iter().map(|column| format!("{of}.{column}"));
    sums.chain(flags).collect::<Vec<_>>().join(", ")
}

/// What an upsert does with a row that is there.
pub(super) fn merged() -> String {
    let sums = SUMS.iter().map(|column| {
        format!(
            "{column} = CASE WHEN excluded.{column} IS NULL THEN {column}
             ELSE ifnull({column}, 0) + excluded.{column} END"
        )
    });
    let flags = FLAGS
        .iter()
        .map(|column| format!("{column} = max({column}, excluded.{column})"));
    sums.chain(flags).collect::<Vec<_>>().join(", ")
}

/// The statements that keep the sums.
#[derive(Debug)]
pub(super) struct Rollup {
    forget_bucket: &'static str,
    begin_bucket: &'static str,
    add_bucket: String,
    forget_sessions_of_bucket: &'static str,
    begin_sessions_of_bucket: &'static str,
    add_sessions_of_bucket: String,
    forget_span: &'static str,
    make_span: String,
    join_spans: String,
    add_span: String,
    forget_session: &'static str,
    begin_session: String,
    add_session: String,
    keep_pruned_session: String,
}

impl Default for Rollup {
    fn default() -> Self {
        let (columns, sums, merged) = (columns(), added_up(), merged());
        Self {
            forget_bucket: "DELETE FROM usage_15m WHERE bucket_start_ms = ?1",
            begin_bucket: "INSERT INTO usage_15m SELECT * FROM pruned_15m WHERE bucket_start_ms = ?1",
            add_bucket: format!(
                "INSERT INTO usage_15m (bucket_start_ms, usage_key_id, {columns})
                 SELECT ?1, usage_key_id, {sums} FROM request_sums
                 WHERE started_ms >= ?1 AND started_ms < ?1 + {BUCKET_MS} AND request_id > ?2
                 GROUP BY usage_key_id
                 ON CONFLICT (bucket_start_ms, usage_key_id) DO UPDATE SET {merged}"
            ),
            forget_sessions_of_bucket: "DELETE FROM session_15m WHERE bucket_start_ms = ?1",
            begin_sessions_of_bucket: "INSERT INTO session_15m SELECT * FROM pruned_session_15m WHERE bucket_start_ms = ?1",
            add_sessions_of_bucket: format!(
                "INSERT OR IGNORE INTO session_15m (bucket_start_ms, usage_key_id, session_id)
                 SELECT ?1, usage_key_id, session_id FROM request_sums
                 WHERE started_ms >= ?1 AND started_ms < ?1 + {BUCKET_MS} AND request_id > ?2"
            ),
            forget_span: "DELETE FROM usage_span WHERE span_ms = ?1 AND start_ms = ?2",
            make_span: format!(
                "INSERT INTO usage_span
                     (span_ms, start_ms, usage_key_id, first_ms, last_ms, {columns})
                 SELECT ?1, ?2, usage_key_id, min(bucket_start_ms), max(bucket_start_ms), {sums}
                 FROM usage_15m WHERE bucket_start_ms >= ?2 AND bucket_start_ms < ?2 + ?1
                 GROUP BY usage_key_id"
            ),
            join_spans: format!(
                "INSERT INTO usage_span
                     (span_ms, start_ms, usage_key_id, first_ms, last_ms, {columns})
                 SELECT ?1, ?2, usage_key_id, min(first_ms), max(last_ms), {sums}
                 FROM usage_span WHERE span_ms = ?3 AND start_ms >= ?2 AND start_ms < ?2 + ?1
                 GROUP BY usage_key_id"
            ),
            add_span: format!(
                "INSERT INTO usage_span
                     (span_ms, start_ms, usage_key_id, first_ms, last_ms, {columns})
                 SELECT ?1, ?2, usage_key_id, ?3, ?3, {sums} FROM request_sums
                 WHERE started_ms >= ?3 AND started_ms < ?3 + {BUCKET_MS} AND request_id > ?4
                 GROUP BY usage_key_id
                 ON CONFLICT (span_ms, start_ms, usage_key_id) DO UPDATE SET
                     first_ms = min(first_ms, excluded.first_ms),
                     last_ms = max(last_ms, excluded.last_ms), {merged}"
            ),
            forget_session: "DELETE FROM session_usage WHERE session_id = ?1",
            begin_session: format!(
                "INSERT INTO session_usage ({SESSION_KEY}, first_ms, last_ms, {columns})
                 SELECT {SESSION_KEY}, first_ms, last_ms, {columns}
                 FROM pruned_session WHERE session_id = ?1"
            ),
            add_session: format!(
                "INSERT INTO session_usage ({SESSION_KEY}, first_ms, last_ms, {columns})
                 SELECT {SESSION_KEY}, min(started_ms), max(started_ms), {sums}
                 FROM request_sums WHERE session_id = ?1 AND request_id > ?2
                 GROUP BY {SESSION_KEY}
                 ON CONFLICT ({SESSION_KEY}) DO UPDATE SET
                     first_ms = min(first_ms, excluded.first_ms),
                     last_ms = max(last_ms, excluded.last_ms), {merged}"
            ),
            keep_pruned_session: format!(
                "INSERT INTO pruned_session (
                     {SESSION_KEY}, first_ms, last_ms, peak_context_tokens, {columns})
                 SELECT {}, first_ms, last_ms, s.peak_context_tokens, {columns}
                 FROM session AS s JOIN session_usage AS u ON u.session_id = s.session_id
                 WHERE s.host_id = ?1 AND s.session_key = ?2 AND ifnull(s.uid, -1) = ifnull(?3, -1)
                   AND NOT EXISTS (SELECT 1 FROM pruned_session AS p
                                   WHERE p.session_id = s.session_id)
                   AND NOT EXISTS (SELECT 1 FROM request AS r
                                   WHERE r.session_id = s.session_id AND r.hop_of IS NULL)",
                session_key_of("u")
            ),
        }
    }
}

impl Rollup {
    /// Keeps the sums of a session of which all calls were deleted as what those added. Its parameters
    /// are the host, the key and the user of the session.
    pub(super) fn keep_pruned_session(&self) -> &str {
        &self.keep_pruned_session
    }
}

/// What a transaction changed, as far as sums depend on it.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Quarters of an hour with new calls, by their beginning.
    grown_buckets: BTreeSet<i64>,
    /// Sessions with new calls.
    grown_sessions: BTreeSet<i64>,
    /// Quarters of an hour in which a stored call changed.
    stale_buckets: BTreeSet<i64>,
    /// Sessions in which a stored call changed.
    stale_sessions: BTreeSet<i64>,
    /// Rows were deleted, so that new ones may have ids of old ones.
    reuses_ids: bool,
}

impl Changed {
    /// A call was stored.
    pub(super) fn grow(&mut self, started_ms: i64, session_id: i64) {
        self.grown_buckets.insert(bucket(started_ms));
        self.grown_sessions.insert(session_id);
    }

    /// A stored call is another one now, or was taken out.
    pub(super) fn spoil(&mut self, started_ms: i64, session_id: i64) {
        self.stale_buckets.insert(bucket(started_ms));
        self.stale_sessions.insert(session_id);
    }

    /// Stored rows were deleted: SQLite may give their ids to new ones.
    pub(super) const fn reuse_ids(&mut self) {
        self.reuses_ids = true;
    }

    /// Sessions in which a stored call changed.
    pub(super) const fn stale_sessions(&self) -> &BTreeSet<i64> {
        &self.stale_sessions
    }

    /// Sessions with new calls, and those in which a stored one changed.
    pub(super) fn sessions(&self) -> impl Iterator<Item = &i64> {
        self.grown_sessions.union(&self.stale_sessions)
    }

    /// The beginnings of the first and the last quarter of an hour with new calls or changed ones.
    pub(super) fn reach(&self) -> Option<(i64, i64)> {
        let buckets = [&self.grown_buckets, &self.stale_buckets];
        let first_ms = buckets.into_iter().filter_map(BTreeSet::first).min()?;
        let last_ms = buckets.into_iter().filter_map(BTreeSet::last).max()?;
        Some((*first_ms, *last_ms))
    }

    /// Brings the sums up to date; calls with an id up to `stored` were in them before.
    pub(super) fn apply(
        mut self,
        transaction: &Transaction<'_>,
        rollup: &Rollup,
        stored: i64,
    ) -> rusqlite::Result<()> {
        if self.reuses_ids {
            self.stale_buckets.extend(&self.grown_buckets);
            self.stale_sessions.extend(&self.grown_sessions);
        }
        for bucket in self.grown_buckets.union(&self.stale_buckets) {
            let after = if self.stale_buckets.contains(bucket) {
                for statement in [
                    rollup.forget_bucket,
                    rollup.begin_bucket,
                    rollup.forget_sessions_of_bucket,
                    rollup.begin_sessions_of_bucket,
                ] {
                    transaction.prepare_cached(statement)?.execute([bucket])?;
                }
                0
            } else {
                stored
            };
            for add in [&rollup.add_bucket, &rollup.add_sessions_of_bucket] {
                transaction
                    .prepare_cached(add)?
                    .execute(params![bucket, after])?;
            }
        }
        self.apply_to_spans(transaction, rollup, stored)?;
        for session in self.grown_sessions.union(&self.stale_sessions) {
            let after = if self.stale_sessions.contains(session) {
                for statement in [rollup.forget_session, rollup.begin_session.as_str()] {
                    transaction.prepare_cached(statement)?.execute([session])?;
                }
                0
            } else {
                stored
            };
            transaction
                .prepare_cached(&rollup.add_session)?
                .execute(params![session, after])?;
        }
        Ok(())
    }

    /// Brings the sums of spans up to date, after those of their quarters of an hour.
    fn apply_to_spans(
        &self,
        transaction: &Transaction<'_>,
        rollup: &Rollup,
        stored: i64,
    ) -> rusqlite::Result<()> {
        // Longer ones are made of shorter ones.
        for span_ms in SPANS_MS.into_iter().rev() {
            let stale: BTreeSet<i64> = self
                .stale_buckets
                .iter()
                .map(|bucket| floor(*bucket, span_ms))
                .collect();
            for bucket in &self.grown_buckets {
                let start_ms = floor(*bucket, span_ms);
                if !stale.contains(&start_ms) {
                    transaction
                        .prepare_cached(&rollup.add_span)?
                        .execute([span_ms, start_ms, *bucket, stored])?;
                }
            }
            for start_ms in stale {
                rollup.remake_span(transaction, span_ms, start_ms)?;
            }
        }
        Ok(())
    }
}

impl Rollup {
    /// Makes the sums of a span anew from those of the next shorter spans, or of its quarters of an hour.
    fn remake_span(
        &self,
        transaction: &Transaction<'_>,
        span_ms: i64,
        start_ms: i64,
    ) -> rusqlite::Result<()> {
        transaction
            .prepare_cached(self.forget_span)?
            .execute([span_ms, start_ms])?;
        match SPANS_MS.into_iter().find(|shorter| *shorter < span_ms) {
            Some(shorter) => transaction
                .prepare_cached(&self.join_spans)?
                .execute([span_ms, start_ms, shorter])?,
            None => transaction
                .prepare_cached(&self.make_span)?
                .execute([span_ms, start_ms])?,
        };
        Ok(())
    }
}

/// Deletes the sums of all quarters of an hour that begin before a moment, from the spans too.
///
/// # Errors
/// Those of SQLite.
pub(super) fn forget_before(transaction: &Transaction<'_>, before_ms: i64) -> rusqlite::Result<()> {
    for table in [
        "usage_15m",
        "session_15m",
        "pruned_15m",
        "pruned_session_15m",
    ] {
        transaction.execute(
            &format!("DELETE FROM {table} WHERE bucket_start_ms < ?1"),
            [before_ms],
        )?;
    }
    let rollup = Rollup::default();
    for span_ms in SPANS_MS.into_iter().rev() {
        let cut_ms = floor(before_ms, span_ms);
        transaction.execute(
            "DELETE FROM usage_span WHERE span_ms = ?1 AND start_ms < ?2",
            [span_ms, cut_ms],
        )?;
        rollup.remake_span(transaction, span_ms, cut_ms)?;
    }
    Ok(())
}

/// Beginning of the quarter of an hour that a moment lies in.
pub(super) const fn bucket(ms: i64) -> i64 {
    floor(ms, BUCKET_MS)
}

/// Beginning of the span that a moment lies in.
pub(super) const fn floor(ms: i64, span_ms: i64) -> i64 {
    ms - ms.rem_euclid(span_ms)
}

/// Beginning of the first span that begins at a moment or after it.
pub(super) const fn ceil(ms: i64, span_ms: i64) -> i64 {
    floor(ms + span_ms - 1, span_ms)
}
