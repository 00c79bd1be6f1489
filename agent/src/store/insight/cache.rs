//! Calls that read less from a cache than the call before them left there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::{Connection, OptionalExtension as _};

use super::met::MetCall;

/// Five minutes, the life of what is written to a cache where nothing else is said.
const LIFE_MS: i64 = 300_000;
/// The life of what is written for an hour.
const LONG_LIFE_MS: i64 = 3_600_000;

/// Why a call did not find what had been in a cache, as in view `v_cache`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MissCause {
    /// The pause was longer than the cache lives.
    Expired,
    /// What came before was not the same.
    PrefixChanged,
    /// It was gone before its time.
    Evicted,
}

/// A call of a thread, by what it left in a cache.
#[derive(Clone, Copy, Debug)]
struct Left {
    end_ms: i64,
    usage_key_id: i64,
    tokens: u64,
    is_for_an_hour: bool,
}

impl Left {
    fn by(call: &MetCall) -> Self {
        Self {
            end_ms: call.started_ms.saturating_add(call.duration_ms),
            usage_key_id: call.usage_key_id,
            tokens: call.left(),
            is_for_an_hour: call.used.written_1h > 0,
        }
    }
}

/// What a call did not find in a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Miss {
    pub(super) cause: MissCause,
    pub(super) missing_tokens: u64,
}

/// The last complete call of each thread that was met in a walk.
pub(super) struct Threads<'a> {
    conn: &'a Connection,
    /// Beginning of the walk.
    from_ms: i64,
    last: HashMap<i64, Left>,
    /// Whether two kinds of calls are of one model.
    same_model: HashMap<(i64, i64), bool>,
}

impl<'a> Threads<'a> {
    pub(super) fn new(conn: &'a Connection, from_ms: i64) -> Self {
        Self {
            conn,
            from_ms,
            last: HashMap::new(),
            same_model: HashMap::new(),
        }
    }

    /// Takes the next complete call, and tells what it missed.
    pub(super) fn meet(&mut self, call: &MetCall) -> rusqlite::Result<Option<Miss>> {
        let Some(thread_id) = call.thread_id else {
            return Ok(None);
        };
        let before = match self.last.insert(thread_id, Left::by(call)) {
            Some(last) => Some(last),
            None => last_of_thread(self.conn, thread_id, self.from_ms)?,
        };
        match before {
            Some(before) => self.miss(&before, call),
            None => Ok(None),
        }
    }

    fn miss(&mut self, before: &Left, call: &MetCall) -> rusqlite::Result<Option<Miss>> {
        let is_missed = before.tokens > 0
            && call.is_from_provider
            && call.read.saturating_mul(2) < before.tokens
            && self.are_of_one_model(before.usage_key_id, call.usage_key_id)?;
        if !is_missed {
            return Ok(None);
        }
        let life_ms = if before.is_for_an_hour {
            LONG_LIFE_MS
        } else {
            LIFE_MS
        };
        let cause = if call.started_ms.saturating_sub(before.end_ms) > life_ms {
            MissCause::Expired
        } else if call.continues == Some(false) {
            MissCause::PrefixChanged
        } else {
            MissCause::Evicted
        };
        Ok(Some(Miss {
            cause,
            missing_tokens: before.tokens.saturating_sub(call.read),
        }))
    }

    fn are_of_one_model(&mut self, one: i64, other: i64) -> rusqlite::Result<bool> {
        if one == other {
            return Ok(true);
        }
        match self.same_model.entry((one, other)) {
            Entry::Occupied(known) => Ok(*known.get()),
            Entry::Vacant(unknown) => {
                let is_same = self
                    .conn
                    .prepare_cached(
                        "SELECT (SELECT model FROM usage_key WHERE usage_key_id = ?1)
                             IS (SELECT model FROM usage_key WHERE usage_key_id = ?2)",
                    )?
                    .query_row([one, other], |row| row.get(0))?;
                Ok(*unknown.insert(is_same))
            }
        }
    }
}

/// What the last complete call of a thread that began before a moment left.
fn last_of_thread(
    conn: &Connection,
    thread_id: i64,
    before_ms: i64,
) -> rusqlite::Result<Option<Left>> {
    let sql = format!(
        "SELECT {} FROM request_derived AS r
         WHERE r.is_call AND r.outcome = 'complete' AND r.thread_id = ?1 AND r.started_ms < ?2
         ORDER BY r.started_ms DESC, r.request_id DESC LIMIT 1",
        MetCall::columns()
    );
    conn.prepare_cached(&sql)?
        .query_row([thread_id, before_ms], |row| {
            Ok(Left::by(&MetCall::of(row, 0)?))
        })
        .optional()
}
