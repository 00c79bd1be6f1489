//! Calls of a window that need not have been made, or not at that cost.

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use super::cache::{Miss, MissCause, Threads};
use super::columns::Columns;
use super::kept::{Kept, NotKept};
use super::met::{MET, MetCall, MetSession};
use crate::store::{Error, Filter, Reader, UsageSum, Window};

/// Time without a person and without work of its own after which a session is idle.
const IDLE_MS: u32 = 3_600_000;

/// Time in which the same request, asked again, is a duplicate: what is asked anew each night is not.
const SAME_MS: i64 = 12 * 3_600_000;

/// A call that need not have been made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WastedCall {
    /// Row of the call.
    pub request_id: i64,
    /// Key of its session.
    pub session_key: Rc<str>,
    /// Workflow.
    pub workflow: Rc<str>,
    /// Input and output, with those of models that ran inside of it.
    pub tokens: u64,
    /// Cost as far as it is known, likewise, in billionths of a US dollar.
    pub cost_nanousd: Option<u64>,
    /// Whether it cost more than that.
    pub is_cost_lower_bound: bool,
}

/// A call that had to pay for input which a cache had held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissedRead {
    /// The call; its tokens are those that were missing and paid for, its cost what they cost more
    /// than reading them would have, `None` where a price is not known.
    pub call: WastedCall,
    /// Why.
    pub cause: MissCause,
}

/// What may be waste, in the order of time. A call may be in several of the lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Failed tries that were repeated.
    pub retried: Vec<WastedCall>,
    /// Calls whose reply was cut.
    pub aborted: Vec<WastedCall>,
    /// Complete calls whose request had been answered shortly before.
    pub duplicates: Vec<WastedCall>,
    /// Background and auxiliary calls of sessions in which nothing else happened for an hour.
    pub idle: Vec<WastedCall>,
    /// Calls that read less from a cache than had been there.
    pub missed: Vec<MissedRead>,
}

/// Calls of which it can't be told whether they are waste.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unseen {
    /// Complete calls without a hash of the request.
    pub hashless: u64,
    /// Complete calls that belong to no thread.
    pub threadless: u64,
}

/// The calls of a window, and what of them may be waste.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waste {
    /// What may be waste.
    pub candidates: Candidates,
    /// Of which calls it can't be told.
    pub unseen: Unseen,
    /// What the calls that are kept used together, as the lines under a report need it.
    pub totals: UsageSum,
    /// Calls that are not kept.
    pub not_kept: NotKept,
}

impl WastedCall {
    fn of(call: &MetCall, session: &MetSession) -> Self {
        Self {
            request_id: call.request_id,
            session_key: Rc::clone(&session.key),
            workflow: Rc::clone(&session.workflow),
            tokens: call.tokens(),
            cost_nanousd: call.cost_nanousd,
            is_cost_lower_bound: call.is_cost_lower_bound,
        }
    }

    /// Adds a model that ran inside of the call.
    fn add(&mut self, part: &MetCall) {
        self.tokens = self.tokens.saturating_add(part.tokens());
        let costs = [self.cost_nanousd, part.cost_nanousd];
        self.cost_nanousd = costs.into_iter().flatten().reduce(u64::saturating_add);
        self.is_cost_lower_bound |= part.is_cost_lower_bound;
    }
}

impl Reader {
    /// The calls that began in `window` and pass `filters`, and what of them may be waste, told by all
    /// calls.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn waste(&self, window: Window, filters: &[Filter]) -> Result<Waste, Error> {
        let walked = Window {
            from_ms: window.from_ms.saturating_sub(SAME_MS),
            until_ms: window.until_ms,
        };
        let sessions = self.met_sessions(walked, IDLE_MS)?;
        let models = self.met_models()?;
        let retried = self.retried(window)?;
        let prices = self.cache_prices()?;
        let mut threads = Threads::new(self, &models, walked.from_ms);
        let mut answered = Answered::default();
        let mut idling = Idling {
            reader: self,
            from_ms: walked.from_ms,
            beside: self.threads_beside(walked)?,
            sessions: HashMap::new(),
        };
        let mut kept = Kept::new(window);
        let mut waste = Waste::default();
        let mut parts: HashMap<i64, Vec<MetCall>> = HashMap::new();
        self.walk(walked, (window, filters), |call, passes| {
            let session = sessions.get(&call.session_id);
            let mut miss = None;
            let (mut is_duplicate, mut is_idle) = (false, false);
            if call.is_call {
                if call.is_complete {
                    miss = threads.meet(&call, session)?;
                    is_duplicate = answered.meet(&call);
                }
                if let Some(session) = session.filter(|session| session.is_long) {
                    is_idle = idling.meet(&call, session)?;
                }
            }
            if call.started_ms < window.from_ms {
                return Ok(());
            }
            kept.add(&call, passes);
            if let Some(whole) = call.part_of {
                parts.entry(whole).or_default().push(call);
            }
            let Some(session) = session.filter(|_| passes && call.is_call) else {
                return Ok(());
            };
            let found = &mut waste.candidates;
            let lists = [
                (retried.contains(&call.request_id), &mut found.retried),
                (call.is_aborted, &mut found.aborted),
                (is_duplicate, &mut found.duplicates),
                (is_idle, &mut found.idle),
            ];
            for (_, list) in lists.into_iter().filter(|(is_wasted, _)| *is_wasted) {
                list.push(WastedCall::of(&call, session));
            }
            if let Some(Miss {
                cause,
                missing_tokens,
            }) = miss
            {
                let price = call.price_id.and_then(|id| prices.get(&id).copied());
                let paid = Paid::by(&call, missing_tokens, price.unwrap_or_default());
                let (tokens, cost_nanousd) = paid.lost();
                let call = WastedCall {
                    tokens,
                    cost_nanousd,
                    is_cost_lower_bound: cost_nanousd.is_none(),
                    ..WastedCall::of(&call, session)
                };
                found.missed.push(MissedRead { call, cause });
            }
            if call.is_complete {
                waste.unseen.hashless += u64::from(call.request_hash.is_none());
                waste.unseen.threadless += u64::from(call.thread_id.is_none());
            }
            Ok(())
        })?;
        let Candidates {
            retried,
            aborted,
            duplicates,
            idle,
            missed: _,
        } = &mut waste.candidates;
        for call in [retried, aborted, duplicates, idle].into_iter().flatten() {
            for part in parts.get(&call.request_id).into_iter().flatten() {
                call.add(part);
            }
        }
        waste.not_kept = self.not_kept(&kept, filters)?;
        waste.totals = kept.totals;
        Ok(waste)
    }

    /// The tries that were made again, of those that are not older than the calls of `window`.
    fn retried(&self, window: Window) -> Result<HashSet<i64>, Error> {
        let mut retried = HashSet::new();
        self.rows(
            "SELECT retry_of FROM request
             WHERE retry_of >= (SELECT min(request_id) FROM request
                                WHERE started_ms >= ?1 AND started_ms < ?2)",
            window,
            |row| Ok(retried.insert(row.get(0)?)),
        )?;
        Ok(retried)
    }

    /// The threads beside the work, of long sessions.
    fn threads_beside(&self, window: Window) -> Result<HashSet<i64>, Error> {
        let mut threads = HashSet::new();
        self.rows(
            &format!(
                "SELECT t.thread_id FROM session AS s JOIN thread AS t ON t.session_id = s.session_id
                 WHERE s.last_request_ms >= ?1 AND s.started_ms < ?2
                   AND s.last_human_turn_ms IS NOT NULL
                   AND s.last_request_ms - s.started_ms > {IDLE_MS}
                   AND t.kind IN ('background', 'auxiliary')"
            ),
            window,
            |row| Ok(threads.insert(row.get(0)?)),
        )?;
        Ok(threads)
    }

    /// What a token of a cache costs, by price.
    fn cache_prices(&self) -> Result<HashMap<i64, CachePrices>, Error> {
        let mut prices = HashMap::new();
        self.rows_of(
            "SELECT price_id, cache_read_nanousd_per_mtok, input_uncached_nanousd_per_mtok,
                    cache_write_5m_nanousd_per_mtok, cache_write_1h_nanousd_per_mtok,
                    cache_write_12h_nanousd_per_mtok, cache_write_other_nanousd_per_mtok
             FROM price",
            [],
            |row| {
                let mut columns = Columns::from(row, 1);
                let price = CachePrices {
                    read: columns.known()?,
                    uncached: columns.known()?,
                    writes: [
                        columns.known()?,
                        columns.known()?,
                        columns.known()?,
                        columns.known()?,
                    ],
                };
                prices.insert(row.get(0)?, price);
                Ok(())
            },
        )?;
        Ok(prices)
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
    reader: &'a Reader,
    /// Beginning of the walk.
    from_ms: i64,
    /// Threads beside the work.
    beside: HashSet<i64>,
    sessions: HashMap<i64, Work>,
}

/// What happened in a session so far.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    /// Whether a person wrote in it.
    has_human: bool,
    /// When a person wrote, or a thread that works called, last.
    busy_ms: Option<i64>,
}

impl Idling<'_> {
    /// Takes the next call of a session, and tells whether it keeps it warm.
    fn meet(&mut self, call: &MetCall, session: &MetSession) -> rusqlite::Result<bool> {
        let mut work = match self.sessions.get(&call.session_id) {
            Some(known) => *known,
            None if session.started_ms < self.from_ms => self.work_before(call.session_id)?,
            None => Work::default(),
        };
        let is_warmed = self.goes_on(&mut work, call);
        self.sessions.insert(call.session_id, work);
        Ok(is_warmed)
    }

    fn goes_on(&self, work: &mut Work, call: &MetCall) -> bool {
        let is_of_such_a_thread = |thread| self.beside.contains(&thread);
        let is_beside = call.is_auxiliary || call.thread_id.is_some_and(is_of_such_a_thread);
        work.has_human |= call.is_human_turn;
        if call.is_human_turn || !is_beside {
            work.busy_ms = Some(call.started_ms);
        }
        let is_left = work
            .busy_ms
            .is_some_and(|busy_ms| call.started_ms.saturating_sub(busy_ms) > i64::from(IDLE_MS));
        is_beside && work.has_human && is_left
    }

    /// What happened in a session before the walk.
    fn work_before(&self, session_id: i64) -> rusqlite::Result<Work> {
        let sql = format!(
            "SELECT {MET} FROM request_derived AS r
             WHERE r.is_call AND r.session_id = ?1 AND r.started_ms < ?2
             ORDER BY r.started_ms, r.request_id"
        );
        let mut statement = self.reader.conn.prepare_cached(&sql)?;
        let mut rows = statement.query([session_id, self.from_ms])?;
        let mut work = Work::default();
        while let Some(row) = rows.next()? {
            self.goes_on(&mut work, &MetCall::of(row, 0)?);
        }
        Ok(work)
    }
}

/// Billionths of a US dollar per million tokens.
#[derive(Clone, Copy, Debug, Default)]
struct CachePrices {
    read: Option<u64>,
    uncached: Option<u64>,
    /// For five minutes, an hour, twelve hours and another time.
    writes: [Option<u64>; 4],
}

/// What a call paid for that could have been read. Rates are billionths of a US dollar per million
/// tokens.
#[derive(Clone, Copy, Debug, Default)]
struct Paid {
    missing: u64,
    uncached: u64,
    /// What was written to a cache, for each lifetime, and its rate.
    writes: [(u64, Option<u64>); 4],
    read_rate: Option<u64>,
    uncached_rate: Option<u64>,
}

impl Paid {
    fn by(call: &MetCall, missing: u64, prices: CachePrices) -> Self {
        let mut writes = [(0, None); 4];
        for (write, paid) in writes
            .iter_mut()
            .zip(call.writes().into_iter().zip(prices.writes))
        {
            *write = paid;
        }
        Self {
            missing,
            uncached: call.uncached,
            writes,
            read_rate: prices.read,
            uncached_rate: prices.uncached,
        }
    }

    /// How many of the missing tokens were paid for, and what they cost more than reading them would
    /// have. What is missing is taken for written again, as far as the call wrote, at the mean price
    /// of its writes; the rest for uncached; and what is in neither was not sent any more.
    fn lost(&self) -> (u64, Option<u64>) {
        let written: u64 = self.writes.iter().map(|(tokens, _)| tokens).sum();
        let rewritten = self.missing.min(written);
        let uncached = (self.missing - rewritten).min(self.uncached);
        let tokens = rewritten + uncached;
        (tokens, self.cost(rewritten, written, uncached))
    }

    fn cost(&self, rewritten: u64, written: u64, uncached: u64) -> Option<u64> {
        const MTOK: u128 = 1_000_000;
        let mut paid: u128 = 0;
        if rewritten > 0 {
            let mut of_writes: u128 = 0;
            for (tokens, rate) in self.writes {
                if tokens > 0 {
                    of_writes += u128::from(tokens) * u128::from(rate?);
                }
            }
            paid += (of_writes / u128::from(written)) * u128::from(rewritten);
        }
        if uncached > 0 {
            paid += u128::from(uncached) * u128::from(self.uncached_rate?);
        }
        let read = u128::from(rewritten + uncached) * u128::from(self.read_rate?);
        u64::try_from(paid.saturating_sub(read) / MTOK).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dollars per million tokens.
    const fn usd(dollars: u64) -> Option<u64> {
        Some(dollars * 1_000_000_000)
    }

    fn paid(missing: u64, uncached: u64, for_5m: u64, for_1h: u64) -> Paid {
        Paid {
            missing,
            uncached,
            writes: [(for_5m, usd(6)), (for_1h, usd(10)), (0, None), (0, None)],
            read_rate: usd(1),
            uncached_rate: usd(5),
        }
    }

    #[test]
    fn what_is_lost_is_what_was_paid_above_reading() {
        // A million written again at $6 instead of read at $1.
        let lost = paid(1_000_000, 0, 1_000_000, 0).lost();
        assert_eq!(lost, (1_000_000, Some(5_000_000_000)));
        // Half of it uncached at $5.
        let lost = paid(1_000_000, 9_000_000, 500_000, 0).lost();
        assert_eq!(lost, (1_000_000, Some(4_500_000_000)));
        // Two lifetimes: $8 on average.
        let lost = paid(1_000_000, 0, 1_000_000, 1_000_000).lost();
        assert_eq!(lost, (1_000_000, Some(7_000_000_000)));
        // Only a third was sent again.
        let lost = paid(3_000_000, 1_000_000, 0, 0).lost();
        assert_eq!(lost, (1_000_000, Some(4_000_000_000)));
        assert_eq!(paid(3_000_000, 0, 0, 0).lost(), (0, Some(0)));
    }

    #[test]
    fn what_has_no_price_is_unknown_and_a_dear_read_is_no_loss() {
        let mut no_read = paid(1_000, 1_000, 0, 0);
        no_read.read_rate = None;
        assert_eq!(no_read.lost(), (1_000, None));
        let mut no_write = paid(1_000, 0, 1_000, 0);
        no_write.writes[0].1 = None;
        assert_eq!(no_write.lost(), (1_000, None));
        let mut dear = paid(1_000, 1_000, 0, 0);
        dear.read_rate = usd(50);
        assert_eq!(dear.lost(), (1_000, Some(0)));
    }
}
