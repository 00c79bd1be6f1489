//! Sessions that run away: rules R1 to R7, each session by itself, while it goes on.
//!
//! *Takes* the calls of sessions as they are stored, and those that run at each evaluation. *Gives* a
//! [`Condition`] for each session in which at least one rule holds. *Remembers* a bounded part of each
//! session of the last day. *Nonsense* in figures makes large sums, and nothing else.
//!
//! | rule | holds if a session has |
//! |---|---|
//! | R1 rate | a million weighted tokens in ten minutes, and three times what its workflow ever takes |
//! | R2 fan-out | 20 requests at the same time, 40 new threads in ten minutes, or threads three deep |
//! | R3 loop | 8 of the last 20 replies of a thread that ask for the same tool calls |
//! | R4 duplicate | the same request three times with success in ten minutes |
//! | R5 churn | three compactions in half an hour, or 20 requests in a row that fill the window |
//! | R6 money | $40 in an hour, or $100 in all |
//! | R7 unattended | no word of a human for an hour, and 100 requests since |
//!
//! Rules are looked at with each stored call, so that how often they are evaluated changes nothing but
//! what running calls add.

mod evidence;
mod session;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::alert::Condition;
use crate::spend::{Amount, Payer, Spend};
pub use evidence::Headroom;
use session::{Running, Session};
pub use settings::Settings;

/// LIMIT: sessions that are remembered; beyond, the one that was silent longest begins anew with its
/// next call.
const SESSIONS: usize = 1024;
/// LIMIT: threads of all sessions together; beyond, the session that was silent longest goes.
const THREADS: usize = 16_384;
/// LIMIT: identities of calls that are known when they come again; beyond, the oldest is taken for
/// another call.
const IDENTITIES: usize = 8192;
/// LIMIT: sessions that are silent for a day begin anew.
const SILENT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a rule holds after it was last found to: long enough that the pauses of an agent don't
/// end it.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Rate,
    FanOut,
    Loop,
    Duplicate,
    Churn,
    Money,
    Unattended,
}

impl Kind {
    /// Number and name.
    const fn as_str(self) -> (&'static str, &'static str) {
        match self {
            Self::Rate => ("R1", "rate"),
            Self::FanOut => ("R2", "fan-out"),
            Self::Loop => ("R3", "loop"),
            Self::Duplicate => ("R4", "duplicate"),
            Self::Churn => ("R5", "context churn"),
            Self::Money => ("R6", "money"),
            Self::Unattended => ("R7", "unattended"),
        }
    }
}

/// What a rule holds by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sign {
    WeightedTokens,
    ParallelRequests,
    NewThreads,
    ThreadDepth,
    RepeatedToolCall,
    DuplicateRequest,
    Compactions,
    FullContext,
    HourNanousd,
    SessionNanousd,
    Unattended,
}

impl Sign {
    const fn kind(self) -> Kind {
        match self {
            Self::WeightedTokens => Kind::Rate,
            Self::ParallelRequests | Self::NewThreads | Self::ThreadDepth => Kind::FanOut,
            Self::RepeatedToolCall => Kind::Loop,
            Self::DuplicateRequest => Kind::Duplicate,
            Self::Compactions | Self::FullContext => Kind::Churn,
            Self::HourNanousd | Self::SessionNanousd => Kind::Money,
            Self::Unattended => Kind::Unattended,
        }
    }

    /// What its figure counts.
    const fn as_str(self) -> &'static str {
        match self {
            Self::WeightedTokens => "weighted_tokens_in_10_minutes",
            Self::ParallelRequests => "parallel_requests",
            Self::NewThreads => "new_threads_in_10_minutes",
            Self::ThreadDepth => "thread_depth",
            Self::RepeatedToolCall => "same_tool_calls_of_last_20",
            Self::DuplicateRequest => "same_request_in_10_minutes",
            Self::Compactions => "compactions_in_30_minutes",
            Self::FullContext => "requests_with_full_context",
            Self::HourNanousd => "nanousd_in_60_minutes",
            Self::SessionNanousd => "nanousd_in_session",
            Self::Unattended => "requests_since_human_turn",
        }
    }
}

/// A session by the user that it is of: clients choose its name, and two users may choose the same.
type Key = (Option<u32>, Arc<str>);

/// What the ledger has of a session before the calls that are given one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// Key of the session.
    pub session: Arc<str>,
    /// Its user.
    pub uid: Option<u32>,
    /// Process that called last.
    pub pid: Option<u32>,
    /// Who pays: the workflow of its first call.
    pub payer: Arc<Payer>,
    /// Start of its first call, in milliseconds since the Unix epoch.
    pub first_unix_ms: i64,
    /// Sums of the calls that are not given one by one.
    pub amount: Amount,
    /// Start of the last of these calls that brought words of a human.
    pub human_unix_ms: Option<i64>,
    /// How many of them came since.
    pub requests_since_human: u64,
}

/// The rules, and what they remember of sessions.
#[derive(Debug)]
pub struct Runaways {
    settings: Settings,
    sessions: BTreeMap<Key, Session>,
    /// Threads of all sessions.
    threads: usize,
    booked: BTreeMap<Arc<str>, Booked>,
    /// Identities, oldest first.
    booked_order: VecDeque<Arc<str>>,
}

/// What was booked of a call, so that a later one can take its place.
#[derive(Clone, Debug)]
struct Booked {
    key: Key,
    thread: Arc<str>,
    unix_ms: i64,
    amount: Amount,
}

impl Runaways {
    /// Rules without sessions.
    pub const fn new(settings: Settings) -> Self {
        Self {
            settings,
            sessions: BTreeMap::new(),
            threads: 0,
            booked: BTreeMap::new(),
            booked_order: VecDeque::new(),
        }
    }

    /// Takes what the ledger has of a session, after a restart. The calls of the last hour follow one by
    /// one, the oldest first, by [`Self::commit`] with their own time as the moment; `seed.amount` is
    /// without them. A thread that was silent for that hour is new when it calls again.
    pub fn seed(&mut self, seed: Seed) {
        let key = (seed.uid, seed.session);
        let session = self
            .sessions
            .entry(key.clone())
            .or_insert_with(|| Session::new(seed.payer, seed.pid, seed.first_unix_ms));
        session.seed(
            seed.first_unix_ms,
            &seed.amount,
            seed.human_unix_ms,
            seed.requests_since_human,
        );
        self.keep_limits(&key);
    }

    /// Takes a call that was stored at `now_unix_ms`. A call that comes again takes the place of what it
    /// was before, late ones count when they ended. `usual_weighted_tokens` is what its workflow takes in
    /// ten minutes in 99 of 100 cases, if that is known.
    pub fn commit(&mut self, spend: &Spend, usual_weighted_tokens: Option<u64>, now_unix_ms: i64) {
        let work = &spend.work;
        let key = (work.uid, Arc::clone(&work.session));
        let before = self.booked.get(&spend.identity).cloned();
        if let Some(booked) = &before
            && let Some(session) = self.sessions.get_mut(&booked.key)
        {
            session.take_back(&booked.thread, booked.unix_ms, &booked.amount);
        }
        let threads_before = self.threads_of(&key);
        let session = self.sessions.entry(key.clone()).or_insert_with(|| {
            Session::new(Arc::clone(&spend.payer), work.pid, spend.started_unix_ms)
        });
        session.book(spend, usual_weighted_tokens);
        // What its place among others says was taken the first time.
        if before.is_none() {
            session.place(spend, &self.settings, now_unix_ms);
        }
        session.check(&self.settings, &Running::default(), now_unix_ms);
        self.threads = (self.threads + self.threads_of(&key)).saturating_sub(threads_before);
        self.remember(spend, key.clone());
        self.keep_limits(&key);
    }

    /// What holds at a moment, given the calls that run: each with what is known of it so far. `headroom`
    /// says what is left of the budget that comes first to its end for who pays.
    pub fn evaluate(
        &mut self,
        now_unix_ms: i64,
        open: &[Spend],
        headroom: impl Fn(&Payer) -> Option<Headroom>,
    ) -> Vec<Condition> {
        let mut running: BTreeMap<Key, Running> = BTreeMap::new();
        for spend in open {
            // A call that was stored since the caller listed those that run is no longer one.
            if self.booked.contains_key(&spend.identity) {
                continue;
            }
            let work = &spend.work;
            let key = (work.uid, Arc::clone(&work.session));
            if !self.sessions.contains_key(&key) {
                let session =
                    Session::new(Arc::clone(&spend.payer), work.pid, spend.started_unix_ms);
                self.sessions.insert(key.clone(), session);
                self.keep_limits(&key);
            }
            running.entry(key).or_default().add(spend);
        }
        let mut conditions = Vec::new();
        let nothing = Running::default();
        for (key, session) in &mut self.sessions {
            let running = running.get(key).unwrap_or(&nothing);
            if !running.is_empty() {
                session.check(&self.settings, running, now_unix_ms);
            }
            session.settle(now_unix_ms);
            conditions.extend(evidence::condition(
                key,
                session,
                running,
                now_unix_ms,
                &headroom,
            ));
        }
        self.forget(now_unix_ms);
        conditions
    }

    fn threads_of(&self, key: &Key) -> usize {
        self.sessions.get(key).map_or(0, Session::thread_count)
    }

    fn remember(&mut self, spend: &Spend, key: Key) {
        let booked = Booked {
            key,
            thread: Arc::clone(&spend.work.thread),
            unix_ms: spend.unix_ms,
            amount: spend.amount,
        };
        let identity = Arc::clone(&spend.identity);
        if self.booked.insert(Arc::clone(&identity), booked).is_some() {
            return;
        }
        self.booked_order.push_back(identity);
        if self.booked_order.len() > IDENTITIES
            && let Some(oldest) = self.booked_order.pop_front()
        {
            self.booked.remove(&oldest);
        }
    }

    /// Keeps the tables in their limits, and the session that called in them.
    fn keep_limits(&mut self, caller: &Key) {
        while self.sessions.len() > SESSIONS || self.threads > THREADS {
            let others = self.sessions.iter().filter(|(key, _)| *key != caller);
            let silent = others.min_by_key(|(_, session)| session.last_unix_ms());
            let Some(silent) = silent.map(|(key, _)| key.clone()) else {
                return;
            };
            self.remove(&silent);
        }
    }

    fn forget(&mut self, now_unix_ms: i64) {
        let silent: Vec<Key> = self
            .sessions
            .iter()
            .filter(|(_, session)| !is_within(session.last_unix_ms(), now_unix_ms, SILENT))
            .map(|(key, _)| key.clone())
            .collect();
        for key in silent {
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(session) = self.sessions.remove(key) {
            self.threads = self.threads.saturating_sub(session.thread_count());
        }
    }
}

/// Whether two moments are no further apart; the clock may have been set back between them.
fn is_within(one_unix_ms: i64, other_unix_ms: i64, distance: Duration) -> bool {
    u128::from(one_unix_ms.abs_diff(other_unix_ms)) <= distance.as_millis()
}
