//! Calls that read less from a cache than the call before them left there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::{OptionalExtension as _, Row};

use super::columns::Columns;
use super::met::{MetModel, MetSession};
use crate::store::Reader;

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

/// What [`Threads::meet`] reads of calls `r`.
pub(super) const CACHE_USE: &str = "
    r.thread_id, r.started_ms, r.duration_ms, r.usage_key_id, r.usage_source = 'provider',
    r.continues, r.cache_read_tokens, r.cache_write_5m_tokens, r.cache_write_1h_tokens,
    r.cache_write_other_tokens";

/// A call of a thread, by what it read from a cache and left there.
#[derive(Clone, Copy, Debug)]
struct CacheUse {
    thread_id: Option<i64>,
    started_ms: i64,
    duration_ms: i64,
    usage_key_id: i64,
    is_from_provider: bool,
    continues: Option<bool>,
    read: u64,
    written_1h: u64,
    left: u64,
}

impl CacheUse {
    fn of(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        let mut columns = Columns::from(row, at);
        let mut found = Self {
            thread_id: columns.next()?,
            started_ms: columns.next()?,
            duration_ms: columns.next()?,
            usage_key_id: columns.next()?,
            is_from_provider: columns.next()?,
            continues: columns.next()?,
            read: columns.count()?,
            written_1h: 0,
            left: 0,
        };
        let written_5m = columns.count()?;
        found.written_1h = columns.count()?;
        let other = columns.count()?;
        found.left = [found.read, written_5m, found.written_1h, other]
            .into_iter()
            .fold(0, u64::saturating_add);
        Ok(found)
    }

    const fn end_ms(&self) -> i64 {
        self.started_ms.saturating_add(self.duration_ms)
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
    reader: &'a Reader,
    models: &'a HashMap<i64, MetModel>,
    /// Beginning of the walk.
    from_ms: i64,
    last: HashMap<i64, CacheUse>,
}

impl<'a> Threads<'a> {
    pub(super) fn new(
        reader: &'a Reader,
        models: &'a HashMap<i64, MetModel>,
        from_ms: i64,
    ) -> Self {
        Self {
            reader,
            models,
            from_ms,
            last: HashMap::new(),
        }
    }

    /// Takes the next complete call, of which the row has [`CACHE_USE`] from a column on, and tells
    /// what it missed.
    pub(super) fn meet(
        &mut self,
        (row, at): (&Row<'_>, usize),
        session: Option<&MetSession>,
    ) -> rusqlite::Result<Option<Miss>> {
        let call = CacheUse::of(row, at)?;
        let Some(thread_id) = call.thread_id else {
            return Ok(None);
        };
        let before = match self.last.entry(thread_id) {
            Entry::Occupied(mut last) => Some(last.insert(call)),
            Entry::Vacant(first) => {
                let began = session.map_or(i64::MIN, |session| session.started_ms);
                let before = if began < self.from_ms {
                    self.reader.last_of_thread(thread_id, self.from_ms)?
                } else {
                    None
                };
                first.insert(call);
                before
            }
        };
        Ok(before.and_then(|before| self.miss(&before, &call)))
    }

    fn miss(&self, before: &CacheUse, call: &CacheUse) -> Option<Miss> {
        let model = |call: &CacheUse| self.models.get(&call.usage_key_id).map(|of| &of.model);
        let is_missed = before.left > 0
            && call.is_from_provider
            && model(before) == model(call)
            && call.read.saturating_mul(2) < before.left;
        if !is_missed {
            return None;
        }
        let life_ms = if before.written_1h > 0 {
            LONG_LIFE_MS
        } else {
            LIFE_MS
        };
        let cause = if call.started_ms.saturating_sub(before.end_ms()) > life_ms {
            MissCause::Expired
        } else if call.continues == Some(false) {
            MissCause::PrefixChanged
        } else {
            MissCause::Evicted
        };
        Some(Miss {
            cause,
            missing_tokens: before.left.saturating_sub(call.read),
        })
    }
}

impl Reader {
    /// The last complete call of a thread that began before a moment.
    fn last_of_thread(&self, thread_id: i64, before_ms: i64) -> rusqlite::Result<Option<CacheUse>> {
        let sql = format!(
            "SELECT {CACHE_USE} FROM request_derived AS r
             WHERE r.is_call AND r.outcome = 'complete' AND r.thread_id = ?1 AND r.started_ms < ?2
             ORDER BY r.started_ms DESC, r.request_id DESC LIMIT 1"
        );
        self.conn
            .prepare_cached(&sql)?
            .query_row([thread_id, before_ms], |row| CacheUse::of(row, 0))
            .optional()
    }
}
