//! Calls of a window that need not have been made, or not at that cost.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use rusqlite::Connection;

use super::cache::{Miss, MissCause};
use super::columns::Columns;
use super::find::{Found, find};
use super::kept::NotKept;
use super::met::{USED, Used};
use super::passing::Passing;
use super::walked::{around, ids, span_of, unwalked, whole_spans};
use crate::store::select::Select;
use crate::store::{Error, Filter, Question, Reader, UsageSum, Window, from_db};

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

/// What may be waste. A call may be in several of the lists.
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
    /// Adds a model that ran inside of the call.
    fn add(&mut self, part: &Used) {
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
        let failed = |source| Error::sql("read", self.path(), source);
        // What was found ahead and what was not is of one moment.
        let snapshot = self.conn.unchecked_transaction().map_err(failed)?;
        let prices = self.cache_prices()?;
        let ids = ids(&self.conn, window).map_err(failed)?;
        let mut beside = Beside {
            conn: &self.conn,
            sessions: HashMap::new(),
            wholes: self.wholes(ids).map_err(failed)?,
        };
        let mut candidates = Candidates::default();
        self.found(window, filters, |call, found| {
            let wasted = beside.wasted(call)?;
            if found.is_whole() {
                let mut whole = wasted.clone();
                beside.add_parts(&mut whole)?;
                for (is_wasted, list) in [
                    (found.is_aborted(), &mut candidates.aborted),
                    (found.is_duplicate(), &mut candidates.duplicates),
                    (found.is_idle(), &mut candidates.idle),
                ] {
                    if is_wasted {
                        list.push(whole.clone());
                    }
                }
            }
            if let Some(Miss {
                cause,
                missing_tokens,
            }) = found.miss()
            {
                let price = call.price_id.and_then(|id| prices.get(&id).copied());
                let paid = Paid::by(call, missing_tokens, price.unwrap_or_default());
                let (tokens, cost_nanousd) = paid.lost();
                let call = WastedCall {
                    tokens,
                    cost_nanousd,
                    is_cost_lower_bound: cost_nanousd.is_none(),
                    ..wasted
                };
                candidates.missed.push(MissedRead { call, cause });
            }
            Ok(())
        })
        .map_err(failed)?;
        self.retried((window, ids), filters, |call| {
            let mut wasted = beside.wasted(call)?;
            beside.add_parts(&mut wasted)?;
            candidates.retried.push(wasted);
            Ok(())
        })
        .map_err(failed)?;
        let question = Question {
            filters: filters.to_vec(),
            ..Question::all(window)
        };
        let (totals, unseen) = self.kept_totals(&question)?;
        let waste = Waste {
            candidates,
            unseen,
            totals,
            not_kept: self.not_kept(window, filters)?,
        };
        snapshot.commit().map_err(failed)?;
        Ok(waste)
    }

    /// How many calls that began in `window` and pass `filters` missed a cache, by cause.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn misses(
        &self,
        window: Window,
        filters: &[Filter],
    ) -> Result<BTreeMap<MissCause, u64>, Error> {
        let failed = |source| Error::sql("read", self.path(), source);
        let snapshot = self.conn.unchecked_transaction().map_err(failed)?;
        let mut misses = BTreeMap::new();
        let mut count = |found: Found, calls: u64| {
            if let Some(miss) = found.miss() {
                *misses.entry(miss.cause).or_default() += calls;
            }
            Ok::<_, rusqlite::Error>(())
        };
        let passing = Passing::calls(filters);
        let mut count_one = |_: &Used, found: Found| count(found, 1);
        self.found_in_walk(window, &passing, &mut count_one)
            .map_err(failed)?;
        // Of whole spans nothing but what was found has to be read, where all calls pass.
        let whole = whole_spans(window).filter(|_| filters.is_empty());
        for part in whole.map_or_else(|| vec![window], |spans| around(window, spans)) {
            self.found_ahead(part, &passing, &mut count_one)
                .map_err(failed)?;
        }
        if let Some((first, last)) = whole {
            self.rows_of(
                "SELECT kinds, count(*) FROM waste_request WHERE span >= ?1 AND span <= ?2
                 GROUP BY kinds",
                [first, last],
                |row| count(Found::of_columns(row.get(0)?, 0), from_db(row.get(1)?)),
            )?;
        }
        snapshot.commit().map_err(failed)?;
        Ok(misses)
    }

    /// What the calls that a question is about used together, as far as they are kept, and of which of them
    /// it can't be told whether they are waste.
    fn kept_totals(&self, question: &Question) -> Result<(UsageSum, Unseen), Error> {
        let source = self.kept(question)?;
        let selected = |columns: &str| Select::new(question, source.clone()).each(columns);
        let parameters = selected("NULL");
        let parameters = parameters.parameters();
        let totals = self.added_by(
            |columns| selected(&format!("NULL, {columns}")).text,
            parameters.as_slice(),
        )?;
        let sql = selected("sum(u.unhashed_requests), sum(u.unthreaded_requests)").text;
        let unseen = self.rows_of(&sql, parameters.as_slice(), |row| {
            let mut columns = Columns::from(row, 0);
            Ok(Unseen {
                hashless: columns.count()?,
                threadless: columns.count()?,
            })
        })?;
        Ok((
            totals.into_values().next().unwrap_or_default(),
            unseen.first().copied().unwrap_or_default(),
        ))
    }

    /// Meets the calls of a window that pass and may be waste: as it was found ahead, and in what was not
    /// walked over yet as it is found.
    fn found(
        &self,
        window: Window,
        filters: &[Filter],
        mut meet: impl FnMut(&Used, Found) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let passing = Passing::calls(filters);
        self.found_in_walk(window, &passing, &mut meet)?;
        self.found_ahead(window, &passing, &mut meet)
    }

    /// Walks over what of a window was not walked over yet.
    fn found_in_walk(
        &self,
        window: Window,
        passing: &Passing,
        mut meet: impl FnMut(&Used, Found) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        for part in unwalked(&self.conn, window)? {
            find(&self.conn, part, passing, |call, found| {
                meet(&call.used, found)
            })?;
        }
        Ok(())
    }

    /// Meets the calls of a window that pass and of which it was found ahead.
    fn found_ahead(
        &self,
        window: Window,
        passing: &Passing,
        mut meet: impl FnMut(&Used, Found) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let Window { from_ms, until_ms } = window;
        let mut statement = self.conn.prepare(&format!(
            "SELECT f.kinds, f.missing_tokens, {USED}
             FROM waste_request AS f CROSS JOIN request_derived AS r ON r.request_id = f.request_id
             WHERE f.span >= {} AND f.span <= {}
               AND r.started_ms >= {from_ms} AND r.started_ms < {until_ms} AND {}",
            span_of(from_ms),
            span_of(until_ms.saturating_sub(1)),
            passing.condition
        ))?;
        let mut rows = statement.query(passing.parameters())?;
        while let Some(row) = rows.next()? {
            let found = Found::of_columns(row.get(0)?, row.get(1)?);
            meet(&Used::of(row, 2)?, found)?;
        }
        Ok(())
    }

    /// The calls with an id from one to another that models ran inside of.
    fn wholes(&self, (first, last): (i64, i64)) -> rusqlite::Result<HashSet<i64>> {
        self.conn
            .prepare_cached("SELECT DISTINCT part_of FROM request WHERE part_of BETWEEN ?1 AND ?2")?
            .query_map([first, last], |row| row.get(0))?
            .collect()
    }

    /// Meets the calls of a window that pass and were tried again: whenever that was, so that nothing found
    /// ahead could say it.
    fn retried(
        &self,
        (window, (first, last)): (Window, (i64, i64)),
        filters: &[Filter],
        mut meet: impl FnMut(&Used) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let passing = Passing::calls(filters);
        let Window { from_ms, until_ms } = window;
        let mut statement = self.conn.prepare(&format!(
            "SELECT {USED}
             FROM (SELECT DISTINCT retry_of AS tried FROM request
                   WHERE retry_of BETWEEN {first} AND {last})
             CROSS JOIN request_derived AS r ON r.request_id = tried
             WHERE r.started_ms >= {from_ms} AND r.started_ms < {until_ms} AND r.is_call AND {}",
            passing.condition
        ))?;
        let mut rows = statement.query(passing.parameters())?;
        while let Some(row) = rows.next()? {
            meet(&Used::of(row, 0)?)?;
        }
        Ok(())
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

/// What is read beside calls.
struct Beside<'a> {
    conn: &'a Connection,
    /// Keys and workflows of sessions, by id.
    sessions: HashMap<i64, (Rc<str>, Rc<str>)>,
    /// Calls that models ran inside of.
    wholes: HashSet<i64>,
}

impl Beside<'_> {
    /// A call, with its session.
    fn wasted(&mut self, call: &Used) -> rusqlite::Result<WastedCall> {
        let (session_key, workflow) = match self.sessions.entry(call.session_id) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(unknown) => {
                let session = self
                    .conn
                    .prepare_cached(
                        "SELECT s.session_key, ifnull(w.name, 'unattributed')
                         FROM session AS s LEFT JOIN workflow AS w ON w.workflow_id = s.workflow_id
                         WHERE s.session_id = ?1",
                    )?
                    .query_row([call.session_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
                unknown.insert(session).clone()
            }
        };
        Ok(WastedCall {
            request_id: call.request_id,
            session_key,
            workflow,
            tokens: call.tokens(),
            cost_nanousd: call.cost_nanousd,
            is_cost_lower_bound: call.is_cost_lower_bound,
        })
    }

    /// Adds the models that ran inside of a call.
    fn add_parts(&self, call: &mut WastedCall) -> rusqlite::Result<()> {
        if !self.wholes.contains(&call.request_id) {
            return Ok(());
        }
        let sql = format!("SELECT {USED} FROM request_derived AS r WHERE r.part_of = ?1");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query([call.request_id])?;
        while let Some(row) = rows.next()? {
            call.add(&Used::of(row, 0)?);
        }
        Ok(())
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
    fn by(call: &Used, missing: u64, prices: CachePrices) -> Self {
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
