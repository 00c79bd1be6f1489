//! Finds what of calls may be waste. It is told by a call and the calls before it, of its thread, its
//! session and its host; never by a later call, and never by what anything costs.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use rusqlite::{Connection, OptionalExtension as _};

use super::cache::{Miss, MissCause, Threads};
use super::met::{MetCall, walk};
use super::passing::Passing;
use crate::store::{Window, from_db, to_db};

/// Time without a person and without work of its own after which a session is idle.
const IDLE_MS: i64 = 3_600_000;

/// Time in which the same request, asked again, is a duplicate: what is asked anew each night is not.
pub(super) const SAME_MS: i64 = 12 * 3_600_000;

/// What a call may be waste as: the columns of table `waste_request`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    kinds: i64,
    missing_tokens: u64,
}

impl Found {
    const ABORTED: i64 = 1;
    const DUPLICATE: i64 = 2;
    const IDLE: i64 = 4;
    const CAUSES: [(i64, MissCause); 3] = [
        (8, MissCause::Expired),
        (16, MissCause::PrefixChanged),
        (32, MissCause::Evicted),
    ];

    /// As the columns `kinds` and `missing_tokens` say.
    pub(super) fn of_columns(kinds: i64, missing_tokens: i64) -> Self {
        Self {
            kinds,
            missing_tokens: from_db(missing_tokens),
        }
    }

    /// The columns `kinds` and `missing_tokens`.
    pub(super) fn columns(self) -> [i64; 2] {
        [self.kinds, to_db(self.missing_tokens)]
    }

    const fn add(&mut self, kind: i64) {
        self.kinds |= kind;
    }

    const fn is(self, kind: i64) -> bool {
        self.kinds & kind != 0
    }

    const fn is_nothing(self) -> bool {
        self.kinds == 0
    }

    /// All that the call is is waste, not just what it missed.
    pub(super) const fn is_whole(self) -> bool {
        self.is(Self::ABORTED | Self::DUPLICATE | Self::IDLE)
    }

    /// Its reply was cut.
    pub(super) const fn is_aborted(self) -> bool {
        self.is(Self::ABORTED)
    }

    /// Its request had been answered shortly before.
    pub(super) const fn is_duplicate(self) -> bool {
        self.is(Self::DUPLICATE)
    }

    /// It keeps an idle session warm.
    pub(super) const fn is_idle(self) -> bool {
        self.is(Self::IDLE)
    }

    /// What it did not find in a cache.
    pub(super) fn miss(self) -> Option<Miss> {
        let (_, cause) = Self::CAUSES.into_iter().find(|(kind, _)| self.is(*kind))?;
        Some(Miss {
            cause,
            missing_tokens: self.missing_tokens,
        })
    }

    fn add_miss(&mut self, miss: Miss) {
        let of_cause = Self::CAUSES.into_iter().find(|(_, of)| *of == miss.cause);
        if let Some((kind, _)) = of_cause {
            self.add(kind);
            self.missing_tokens = miss.missing_tokens;
        }
    }
}

/// Walks over the calls of a window, and those before it that tell what they are, and meets those that pass
/// and may be waste, in the order of time.
///
/// # Errors
/// Those of SQLite.
pub(super) fn find(
    conn: &Connection,
    window: Window,
    passing: &Passing,
    mut meet: impl FnMut(&MetCall, Found) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let walked = Window {
        from_ms: window.from_ms.saturating_sub(SAME_MS),
        until_ms: window.until_ms,
    };
    let mut finder = Finder {
        threads: Threads::new(conn, walked.from_ms),
        answered: Answered::default(),
        idling: Idling::new(conn, walked.from_ms),
    };
    walk(conn, walked, (window, passing), |call, passes| {
        if !call.is_call {
            return Ok(());
        }
        let found = finder.meet(&call)?;
        if passes && !found.is_nothing() {
            meet(&call, found)?;
        }
        Ok(())
    })
}

/// Takes calls in the order of time.
struct Finder<'a> {
    threads: Threads<'a>,
    answered: Answered,
    idling: Idling<'a>,
}

impl Finder<'_> {
    fn meet(&mut self, call: &MetCall) -> rusqlite::Result<Found> {
        let mut found = Found::default();
        if call.is_aborted {
            found.add(Found::ABORTED);
        }
        if call.is_complete {
            if let Some(miss) = self.threads.meet(call)? {
                found.add_miss(miss);
            }
            if self.answered.meet(call) {
                found.add(Found::DUPLICATE);
            }
        }
        if self.idling.meet(call)? {
            found.add(Found::IDLE);
        }
        Ok(found)
    }
}

/// When which request of which host was answered last, as far back as it matters.
#[derive(Default)]
struct Answered {
    last: HashMap<(i64, i64), i64>,
    in_order: VecDeque<(i64, (i64, i64))>,
}

impl Answered {
    /// Takes the next complete call, and tells whether its request had been answered.
    fn meet(&mut self, call: &MetCall) -> bool {
        let Some(hash) = call.request_hash else {
            return false;
        };
        let oldest_ms = call.started_ms.saturating_sub(SAME_MS);
        while let Some((at_ms, request)) = self
            .in_order
            .pop_front_if(|(started_ms, _)| *started_ms < oldest_ms)
        {
            if self.last.get(&request) == Some(&at_ms) {
                self.last.remove(&request);
            }
        }
        let request = (call.host_id, hash);
        self.in_order.push_back((call.started_ms, request));
        self.last.insert(request, call.started_ms).is_some()
    }
}

/// What keeps an idle session warm: calls in the background or beside the work, where a person has
/// been, and for an hour neither a person nor a thread that works.
struct Idling<'a> {
    conn: &'a Connection,
    /// Beginning of the walk, an hour or more before the calls that are asked about.
    from_ms: i64,
    /// Whether a thread is beside the work.
    threads: HashMap<i64, bool>,
    sessions: HashMap<i64, Work>,
}

/// What happened in a session.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    /// Whether a person wrote in it; `None` if none did in the walk, and nobody looked before it.
    has_human: Option<bool>,
    /// When a person wrote, or a thread that works called, last in the walk.
    busy_ms: Option<i64>,
}

impl<'a> Idling<'a> {
    fn new(conn: &'a Connection, from_ms: i64) -> Self {
        Self {
            conn,
            from_ms,
            threads: HashMap::new(),
            sessions: HashMap::new(),
        }
    }

    /// Takes the next call, and tells whether it keeps its session warm.
    fn meet(&mut self, call: &MetCall) -> rusqlite::Result<bool> {
        let is_beside = match call.thread_id {
            _ if call.is_auxiliary => true,
            Some(thread_id) => self.is_beside(thread_id)?,
            None => false,
        };
        let work = self.sessions.entry(call.used.session_id).or_default();
        if call.is_human_turn {
            work.has_human = Some(true);
        }
        if call.is_human_turn || !is_beside {
            work.busy_ms = Some(call.started_ms);
            return Ok(false);
        }
        let is_left = work
            .busy_ms
            .is_none_or(|busy_ms| call.started_ms.saturating_sub(busy_ms) > IDLE_MS);
        if !is_left {
            return Ok(false);
        }
        if let Some(has_human) = work.has_human {
            return Ok(has_human);
        }
        let had_human = self
            .conn
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM request
                                WHERE session_id = ?1 AND started_ms < ?2 AND is_human_turn
                                  AND hop_of IS NULL)",
            )?
            .query_row([call.used.session_id, self.from_ms], |row| row.get(0))?;
        work.has_human = Some(had_human);
        Ok(had_human)
    }

    fn is_beside(&mut self, thread_id: i64) -> rusqlite::Result<bool> {
        match self.threads.entry(thread_id) {
            Entry::Occupied(known) => Ok(*known.get()),
            Entry::Vacant(unknown) => {
                let is_beside = self
                    .conn
                    .prepare_cached(
                        "SELECT kind IN ('background', 'auxiliary') FROM thread WHERE thread_id = ?1",
                    )?
                    .query_row([thread_id], |row| row.get(0))
                    .optional()?
                    .unwrap_or(false);
                Ok(*unknown.insert(is_beside))
            }
        }
    }
}
