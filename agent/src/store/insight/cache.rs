//! Calls that read less from a cache than the call before them left there.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use rusqlite::OptionalExtension as _;

use super::met::{MET, MetCall, MetModel, MetSession};
use crate::store::{Error, Filter, Reader, Window};

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
            is_for_an_hour: call.written_1h > 0,
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
    reader: &'a Reader,
    models: &'a HashMap<i64, MetModel>,
    /// Beginning of the walk.
    from_ms: i64,
    last: HashMap<i64, Left>,
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

    /// Takes the next complete call, and tells what it missed.
    pub(super) fn meet(
        &mut self,
        call: &MetCall,
        session: Option<&MetSession>,
    ) -> rusqlite::Result<Option<Miss>> {
        let Some(thread_id) = call.thread_id else {
            return Ok(None);
        };
        let before = match self.last.entry(thread_id) {
            Entry::Occupied(mut last) => Some(last.insert(Left::by(call))),
            Entry::Vacant(first) => {
                let began = session.map_or(i64::MIN, |session| session.started_ms);
                let before = if began < self.from_ms {
                    self.reader.last_of_thread(thread_id, self.from_ms)?
                } else {
                    None
                };
                first.insert(Left::by(call));
                before
            }
        };
        Ok(before.and_then(|before| self.miss(&before, call)))
    }

    fn miss(&self, before: &Left, call: &MetCall) -> Option<Miss> {
        let model = |kind: i64| self.models.get(&kind).map(|of| &of.model);
        let is_missed = before.tokens > 0
            && call.is_from_provider
            && call.read.saturating_mul(2) < before.tokens
            && model(before.usage_key_id) == model(call.usage_key_id);
        if !is_missed {
            return None;
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
        Some(Miss {
            cause,
            missing_tokens: before.tokens.saturating_sub(call.read),
        })
    }
}

impl Reader {
    /// How many calls that began in `window` and pass `filters` missed a cache, by cause.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn misses(
        &self,
        window: Window,
        filters: &[Filter],
    ) -> Result<BTreeMap<MissCause, u64>, Error> {
        let sessions = self.met_sessions(window, u32::MAX)?;
        let models = self.met_models()?;
        let mut threads = Threads::new(self, &models, window.from_ms);
        let mut misses = BTreeMap::new();
        self.walk(window, (window, filters), |call, passes| {
            if call.is_call && call.is_complete {
                let miss = threads.meet(&call, sessions.get(&call.session_id))?;
                if let Some(miss) = miss.filter(|_| passes) {
                    *misses.entry(miss.cause).or_default() += 1;
                }
            }
            Ok(())
        })?;
        Ok(misses)
    }

    /// What the last complete call of a thread that began before a moment left.
    fn last_of_thread(&self, thread_id: i64, before_ms: i64) -> rusqlite::Result<Option<Left>> {
        let sql = format!(
            "SELECT {MET} FROM request_derived AS r
             WHERE r.is_call AND r.outcome = 'complete' AND r.thread_id = ?1 AND r.started_ms < ?2
             ORDER BY r.started_ms DESC, r.request_id DESC LIMIT 1"
        );
        self.conn
            .prepare_cached(&sql)?
            .query_row([thread_id, before_ms], |row| {
                Ok(Left::by(&MetCall::of(row, 0)?))
            })
            .optional()
    }
}
