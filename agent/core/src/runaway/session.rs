//! What is remembered of one session, and which rules hold in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::{PATIENCE, Settings, Sign, is_within};
use crate::glob;
use crate::recent::Recent;
use crate::spend::{Amount, Payer, Spend};

/// Width of the slots of sums.
const SLOT: Duration = Duration::from_secs(15);
/// Slots of ten minutes, and of an hour.
const TEN_MINUTES: usize = 40;
const HOUR: usize = 240;
/// How long a repeated request, a new thread and a compaction count.
const MINUTES_10: Duration = Duration::from_secs(10 * 60);
const MINUTES_30: Duration = Duration::from_secs(30 * 60);
/// LIMIT: threads of a session; beyond, the one that was silent longest is new when it calls again.
const THREADS: usize = 256;
/// Replies with tool calls of a thread that are compared.
const REPLIES: usize = 20;
/// LIMIT: requests of a session that are compared; beyond, the oldest goes.
const REQUESTS: usize = 512;
/// LIMIT: compactions of a session that are counted, likewise.
const COMPACTIONS: usize = 64;
/// How many times what its workflow usually takes a session has to take.
const TIMES_USUAL: u64 = 3;
/// Share of a model's window that fills it, in percent.
const FULL_PERCENT: u128 = 90;

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    payer: Arc<Payer>,
    pid: Option<u32>,
    first_unix_ms: i64,
    last_unix_ms: i64,
    amount: Amount,
    /// Weighted tokens and billionths of a dollar.
    recent: Recent<2>,
    threads: BTreeMap<Arc<str>, Line>,
    /// Requests that succeeded: when, and their hashes.
    requests: VecDeque<(i64, u64)>,
    compactions: VecDeque<i64>,
    human_unix_ms: Option<i64>,
    requests_since_human: u64,
    usual_weighted_tokens: Option<u64>,
    found: BTreeMap<Sign, Found>,
}

/// A thread.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) kind: &'static str,
    pub(super) depth: u32,
    pub(super) requests: u64,
    pub(super) weighted_tokens: u64,
    pub(super) cost_nanousd: u64,
    first_unix_ms: i64,
    last_unix_ms: i64,
    replies: VecDeque<u64>,
    full_requests: u64,
}

/// By what a rule holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The largest figure since it holds.
    pub(super) figure: u64,
    pub(super) threshold: u64,
    pub(super) first_unix_ms: i64,
    pub(super) last_unix_ms: i64,
    /// The thread that it was found in, if it is one's.
    pub(super) thread: Option<Arc<str>>,
    /// Keyed hash of what is repeated.
    pub(super) hash: Option<u64>,
}

/// The calls of a session that run.
#[derive(Debug, Default)]
pub(super) struct Running {
    pub(super) amount: Amount,
    threads: BTreeSet<Arc<str>>,
    depth: u32,
}

impl Running {
    pub(super) fn add(&mut self, spend: &Spend) {
        self.amount.add(&Amount {
            requests: 1,
            ..spend.amount
        });
        self.threads.insert(Arc::clone(&spend.work.thread));
        self.depth = self.depth.max(spend.work.depth);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.amount.requests == 0
    }
}

impl Session {
    pub(super) fn new(payer: Arc<Payer>, pid: Option<u32>, first_unix_ms: i64) -> Self {
        Self {
            payer,
            pid,
            first_unix_ms,
            last_unix_ms: first_unix_ms,
            amount: Amount::default(),
            recent: Recent::new(SLOT, HOUR),
            threads: BTreeMap::new(),
            requests: VecDeque::new(),
            compactions: VecDeque::new(),
            human_unix_ms: None,
            requests_since_human: 0,
            usual_weighted_tokens: None,
            found: BTreeMap::new(),
        }
    }

    pub(super) fn seed(
        &mut self,
        first_unix_ms: i64,
        amount: &Amount,
        human_unix_ms: Option<i64>,
        requests_since_human: u64,
    ) {
        self.first_unix_ms = self.first_unix_ms.min(first_unix_ms);
        self.amount.add(amount);
        self.human_unix_ms = self.human_unix_ms.max(human_unix_ms);
        self.requests_since_human = self
            .requests_since_human
            .saturating_add(requests_since_human);
    }

    pub(super) const fn payer(&self) -> &Arc<Payer> {
        &self.payer
    }

    pub(super) const fn pid(&self) -> Option<u32> {
        self.pid
    }

    pub(super) const fn first_unix_ms(&self) -> i64 {
        self.first_unix_ms
    }

    pub(super) const fn last_unix_ms(&self) -> i64 {
        self.last_unix_ms
    }

    pub(super) const fn amount(&self) -> &Amount {
        &self.amount
    }

    pub(super) const fn human_unix_ms(&self) -> Option<i64> {
        self.human_unix_ms
    }

    pub(super) const fn found(&self) -> &BTreeMap<Sign, Found> {
        &self.found
    }

    pub(super) fn thread_count(&self) -> usize {
        self.threads.len()
    }

    /// The thread that cost most, or else took most.
    pub(super) fn top_thread(&self) -> Option<(&Arc<str>, &Line)> {
        let size = |line: &Line| (line.cost_nanousd, line.weighted_tokens, line.requests);
        self.threads.iter().rev().max_by_key(|(_, line)| size(line))
    }

    /// What an hour costs at the pace of the last ten minutes, in billionths of a US dollar.
    pub(super) fn nanousd_per_hour(&self, running: &Running, now_unix_ms: i64) -> u64 {
        let [_, cost] = self.recent.sum(now_unix_ms, TEN_MINUTES);
        cost.saturating_add(running.amount.cost_nanousd)
            .saturating_mul(6)
    }

    /// Adds what a call takes.
    pub(super) fn book(&mut self, spend: &Spend, usual_weighted_tokens: Option<u64>) {
        let amount = &spend.amount;
        self.pid = spend.work.pid.or(self.pid);
        self.usual_weighted_tokens = usual_weighted_tokens;
        self.first_unix_ms = self.first_unix_ms.min(spend.started_unix_ms);
        self.last_unix_ms = self.last_unix_ms.max(spend.unix_ms);
        self.amount.add(amount);
        let figures = [amount.weighted_tokens, amount.cost_nanousd];
        self.recent.add(spend.unix_ms, figures);
        let line = self.line(spend);
        line.requests = line.requests.saturating_add(amount.requests);
        line.weighted_tokens = line.weighted_tokens.saturating_add(amount.weighted_tokens);
        line.cost_nanousd = line.cost_nanousd.saturating_add(amount.cost_nanousd);
    }

    /// Takes out what a call took before it came again.
    pub(super) fn take_back(&mut self, thread: &str, unix_ms: i64, amount: &Amount) {
        self.amount.remove(amount);
        let figures = [amount.weighted_tokens, amount.cost_nanousd];
        self.recent.remove(unix_ms, figures);
        if let Some(line) = self.threads.get_mut(thread) {
            line.requests = line.requests.saturating_sub(amount.requests);
            line.weighted_tokens = line.weighted_tokens.saturating_sub(amount.weighted_tokens);
            line.cost_nanousd = line.cost_nanousd.saturating_sub(amount.cost_nanousd);
        }
    }

    fn line(&mut self, spend: &Spend) -> &mut Line {
        let work = &spend.work;
        if self.threads.len() >= THREADS && !self.threads.contains_key(&work.thread) {
            let silent = self
                .threads
                .iter()
                .min_by_key(|(_, line)| line.last_unix_ms);
            if let Some(silent) = silent.map(|(key, _)| Arc::clone(key)) {
                self.threads.remove(&silent);
            }
        }
        let line = self
            .threads
            .entry(Arc::clone(&work.thread))
            .or_insert_with(|| Line {
                kind: work.thread_kind.as_str(),
                depth: work.depth,
                requests: 0,
                weighted_tokens: 0,
                cost_nanousd: 0,
                first_unix_ms: spend.started_unix_ms,
                last_unix_ms: spend.unix_ms,
                replies: VecDeque::new(),
                full_requests: 0,
            });
        line.first_unix_ms = line.first_unix_ms.min(spend.started_unix_ms);
        line.last_unix_ms = line.last_unix_ms.max(spend.unix_ms);
        line
    }

    /// Takes the place of a call among others, and what follows from it at once.
    pub(super) fn place(&mut self, spend: &Spend, settings: &Settings, now_unix_ms: i64) {
        let work = &spend.work;
        let started = spend.started_unix_ms;
        if work.is_human_turn {
            if self.human_unix_ms.is_none_or(|last| last <= started) {
                self.human_unix_ms = Some(started);
                self.requests_since_human = 0;
            }
        } else if work.is_conversation {
            self.requests_since_human = self.requests_since_human.saturating_add(1);
        }
        let of_thread = Some(Arc::clone(&work.thread));
        let line = self.line(spend);
        let mut same_replies = None;
        if let Some(signature) = work.tool_signature {
            push(&mut line.replies, signature, REPLIES);
            same_replies = Some((count(line.replies.iter(), &signature), signature));
        }
        let is_full = match (work.context_tokens, work.window_tokens) {
            // A prompt beyond the window shows that the window is another one.
            (Some(context), Some(window)) if context <= window => {
                u128::from(context) * 100 >= u128::from(window) * FULL_PERCENT
            }
            _ => false,
        };
        line.full_requests = if is_full {
            line.full_requests.saturating_add(1)
        } else {
            0
        };
        let full_requests = line.full_requests;
        if let Some((times, signature)) = same_replies {
            let thread = of_thread.clone();
            let repeated = (thread, Some(signature));
            self.find(
                Sign::RepeatedToolCall,
                times,
                settings,
                repeated,
                now_unix_ms,
            );
        }
        self.find(
            Sign::FullContext,
            full_requests,
            settings,
            (of_thread.clone(), None),
            now_unix_ms,
        );
        if is_within(spend.unix_ms, now_unix_ms, MINUTES_10) {
            let depth = u64::from(work.depth);
            self.find(
                Sign::ThreadDepth,
                depth,
                settings,
                (of_thread, None),
                now_unix_ms,
            );
        }
        if let Some(hash) = work.request_hash.filter(|_| work.is_complete) {
            push(&mut self.requests, (spend.unix_ms, hash), REQUESTS);
            let recent = self
                .requests
                .iter()
                .filter(|(at, _)| is_within(*at, now_unix_ms, MINUTES_10));
            let times = count(recent.map(|(_, hash)| hash), &hash);
            self.find(
                Sign::DuplicateRequest,
                times,
                settings,
                (None, Some(hash)),
                now_unix_ms,
            );
        }
        if work.is_compaction || work.shows_compaction {
            push(&mut self.compactions, spend.unix_ms, COMPACTIONS);
            let recent = |at: &&i64| is_within(**at, now_unix_ms, MINUTES_30);
            let times = self.compactions.iter().filter(recent).count();
            self.find(
                Sign::Compactions,
                number(times),
                settings,
                (None, None),
                now_unix_ms,
            );
        }
        let is_alone = |settings: &Settings| {
            let since = self.human_unix_ms.unwrap_or(self.first_unix_ms);
            let alone_ms = u128::from(now_unix_ms.saturating_sub(since).max(0).unsigned_abs());
            alone_ms >= settings.unattended.as_millis() && !self.is_unattended(settings)
        };
        if !work.is_human_turn && work.is_conversation && is_alone(settings) {
            let requests = self.requests_since_human;
            self.find(
                Sign::Unattended,
                requests,
                settings,
                (None, None),
                now_unix_ms,
            );
        }
    }

    /// Looks at sums, those of the calls that run included.
    pub(super) fn check(&mut self, settings: &Settings, running: &Running, now_unix_ms: i64) {
        let nowhere = || (None, None);
        self.last_unix_ms = if running.is_empty() {
            self.last_unix_ms
        } else {
            self.last_unix_ms.max(now_unix_ms)
        };
        let [weighted, _] = self.recent.sum(now_unix_ms, TEN_MINUTES);
        let weighted = weighted.saturating_add(running.amount.weighted_tokens);
        let is_unusual = self
            .usual_weighted_tokens
            .is_none_or(|usual| weighted > usual.saturating_mul(TIMES_USUAL));
        if is_unusual {
            self.find(
                Sign::WeightedTokens,
                weighted,
                settings,
                nowhere(),
                now_unix_ms,
            );
        }
        let parallel = running.amount.requests;
        self.find(
            Sign::ParallelRequests,
            parallel,
            settings,
            nowhere(),
            now_unix_ms,
        );
        let is_new = |line: &&Line| is_within(line.first_unix_ms, now_unix_ms, MINUTES_10);
        let known = self.threads.values().filter(is_new).count();
        let more = running.threads.iter();
        let more = more.filter(|thread| !self.threads.contains_key(*thread));
        let new_threads = number(known.saturating_add(more.count()));
        self.find(
            Sign::NewThreads,
            new_threads,
            settings,
            nowhere(),
            now_unix_ms,
        );
        let depth = u64::from(running.depth);
        self.find(Sign::ThreadDepth, depth, settings, nowhere(), now_unix_ms);
        let [_, hour] = self.recent.sum(now_unix_ms, HOUR);
        let hour = hour.saturating_add(running.amount.cost_nanousd);
        self.find(Sign::HourNanousd, hour, settings, nowhere(), now_unix_ms);
        let all = self.amount.cost_nanousd;
        let all = all.saturating_add(running.amount.cost_nanousd);
        self.find(Sign::SessionNanousd, all, settings, nowhere(), now_unix_ms);
    }

    /// Whether nobody is meant to look after it.
    fn is_unattended(&self, settings: &Settings) -> bool {
        settings.unattended_names.iter().any(|pattern| {
            let unit = self.payer.unit.as_deref();
            glob::matches(pattern, &self.payer.workflow)
                || unit.is_some_and(|unit| glob::matches(pattern, unit))
        })
    }

    /// Notes a figure if it reaches what is too much.
    fn find(
        &mut self,
        sign: Sign,
        figure: u64,
        settings: &Settings,
        (thread, hash): (Option<Arc<str>>, Option<u64>),
        now_unix_ms: i64,
    ) {
        let threshold = settings.threshold(sign);
        if threshold == 0 || figure < threshold {
            return;
        }
        let before = self.found.remove(&sign);
        let before = before.filter(|before| is_within(before.last_unix_ms, now_unix_ms, PATIENCE));
        let found = Found {
            figure: before
                .as_ref()
                .map_or(figure, |before| before.figure.max(figure)),
            threshold,
            first_unix_ms: before
                .as_ref()
                .map_or(now_unix_ms, |before| before.first_unix_ms),
            last_unix_ms: now_unix_ms,
            thread: thread.or_else(|| before.as_ref()?.thread.clone()),
            hash: hash.or_else(|| before.as_ref()?.hash),
        };
        self.found.insert(sign, found);
    }

    /// Lets go what was not found for a while.
    pub(super) fn settle(&mut self, now_unix_ms: i64) {
        self.found
            .retain(|_, found| is_within(found.last_unix_ms, now_unix_ms, PATIENCE));
    }
}

/// Puts one more at the end of what has at most so many.
fn push<T>(kept: &mut VecDeque<T>, more: T, most: usize) {
    if kept.len() >= most {
        kept.pop_front();
    }
    kept.push_back(more);
}

fn count<'a>(among: impl Iterator<Item = &'a u64>, wanted: &u64) -> u64 {
    number(among.filter(|one| *one == wanted).count())
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
