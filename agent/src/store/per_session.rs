//! What is counted by session inside of groups of calls: how many sessions there are, and what they
//! cost. SQLite would sort all of them for each group; here all groups are found in one walk over the
//! sums of sessions, in which those of one session come one after the other.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::functions::{percentile, period_start};
use super::rollup::{BUCKET_MS, bucket};
use super::source::{active_sessions, cut_calls};
use super::usage::{Group, Key, Question};
use super::{Error, Reader, Window};

/// LIMIT: ranges of time that are looked through one by one; more are one range.
const MOST_RANGES: usize = 32;

/// LIMIT: sums that are read for one that is needed, before they are looked for by session.
const MOST_BESIDE: i64 = 4;

/// To which group a kind of calls belongs, apart from periods.
struct Kinds {
    /// Number of the group, by `usage_key_id`; what a filter keeps out is not in it.
    numbers: HashMap<i64, usize>,
    /// Numbers by the keys of the group, which are unknown in place of periods.
    groups: BTreeMap<Vec<Key>, usize>,
}

/// A group: the number of its period, and that of its kinds of calls.
type Place = (usize, usize);

/// Groups in which a session has calls, and what these cost.
type Parts = Vec<(Place, Option<i64>)>;

/// The answer to one question, as far as it is known.
struct Tally<'a> {
    question: &'a Question,
    kinds: Kinds,
    is_by_period: bool,
    periods: BTreeMap<Vec<Key>, usize>,
    /// Numbers of periods by the quarters of an hour in them.
    quarters: HashMap<i64, usize>,
    /// The first and the last quarter of the period that was asked for last, of those that were asked for:
    /// sessions mostly come in the order of time.
    at_hand: Option<(i64, i64, usize)>,
    /// What is known of the session at hand.
    session: Parts,
    /// Whether more of it has to be read.
    is_unfinished: bool,
    /// What is known of sessions of which more has to be read.
    unfinished: HashMap<i64, Parts>,
    /// Numbers of sessions by the number of the period, for each group of kinds.
    counts: Vec<Vec<u64>>,
    /// Costs of sessions, by the number of the group.
    costs: Vec<Vec<i64>>,
    /// Number of all sessions.
    count_of_all: u64,
    /// Their costs.
    costs_of_all: Vec<i64>,
}

/// Sums of one session and kind of calls.
struct Sums {
    kind: i64,
    first_ms: i64,
    last_ms: i64,
    cost: Option<i64>,
}

impl Sums {
    /// Whether a window has all of their calls.
    const fn is_in(&self, window: Window) -> bool {
        self.first_ms >= window.from_ms && self.last_ms < window.until_ms
    }
}

impl Reader {
    /// A condition of the sums of a session that those of all sessions with a call in a window meet,
    /// and few others.
    ///
    /// # Errors
    /// Those of SQLite.
    pub(super) fn among(&self, window: Window) -> Result<String, Error> {
        let Window { from_ms, until_ms } = window;
        let first = self.rows_of(
            "SELECT min(last_request_ms) >= ?1 FROM session",
            [from_ms],
            |row| row.get::<_, Option<bool>>(0),
        )?;
        if first.contains(&Some(true)) {
            // No session ended before it.
            return Ok("1".to_owned());
        }
        let found = self.rows_of(
            "SELECT count(*), min(session_id),
                    (SELECT max(session_id) FROM session WHERE started_ms < ?2)
             FROM session WHERE last_request_ms >= ?1",
            [from_ms, until_ms],
            |row| {
                let last: Option<i64> = row.get(2)?;
                let ends = row.get::<_, Option<i64>>(1)?.zip(last);
                Ok((row.get::<_, i64>(0)?, ends))
            },
        )?;
        Ok(match found.first() {
            // Sessions mostly have their ids in the order in which they began.
            Some((count, Some((first, last)))) if last - first < count * MOST_BESIDE => {
                format!("session_id BETWEEN {first} AND {last}")
            }
            Some((_, Some(_))) => format!(
                "session_id IN (SELECT session_id FROM session
                                WHERE last_request_ms >= {from_ms} AND started_ms < {until_ms})"
            ),
            Some((_, None)) | None => "0".to_owned(),
        })
    }

    /// Counts the sessions of groups of kinds of calls, and of all of them, and finds the cost that 95 of
    /// 100 of them keep below where the groups are not by period.
    ///
    /// # Errors
    /// Those of SQLite.
    pub(super) fn add_sessions(
        &self,
        question: &Question,
        groups: &mut [Group],
        total: &mut [Group],
    ) -> Result<(), Error> {
        let window = question.window;
        let mut tally = self.tally(question)?;
        let among = self.among(window)?;
        let Window { from_ms, until_ms } = window;
        let sql = format!(
            "SELECT session_id, usage_key_id, first_ms, last_ms, cost_nanousd FROM session_usage
             WHERE {among} AND last_ms >= {from_ms} AND first_ms < {until_ms} ORDER BY session_id"
        );
        let mut open = Open::default();
        let mut at_hand: Option<i64> = None;
        self.rows_of(&sql, [], |row| {
            let session = row.get(0)?;
            let sums = Sums {
                kind: row.get(1)?,
                first_ms: row.get(2)?,
                last_ms: row.get(3)?,
                cost: row.get(4)?,
            };
            if let Some(last) = at_hand.replace(session)
                && last != session
            {
                tally.end_session(last);
            }
            let range = tally.meet(self, window, &sums);
            open.note(window, (session, sums.kind), range);
            open.is_cut |= !sums.is_in(window);
            Ok(())
        })?;
        if let Some(last) = at_hand {
            tally.end_session(last);
        }
        self.close(window, &among, &open, &mut tally)?;
        tally.finish(groups, total);
        Ok(())
    }

    /// Reads what the sums of sessions left open.
    fn close(
        &self,
        window: Window,
        among: &str,
        open: &Open,
        tally: &mut Tally<'_>,
    ) -> Result<(), Error> {
        for range in open.ranges(window) {
            let source = active_sessions(range);
            let sql = format!("SELECT session_id, usage_key_id, first_ms FROM ({source})");
            self.rows_of(&sql, [], |row| {
                let (session, kind) = (row.get(0)?, row.get(1)?);
                let at_ms = row.get(2)?;
                if open.sums.contains(&(session, kind)) {
                    tally.add(self, session, kind, at_ms, None);
                }
                Ok(())
            })?;
        }
        if open.is_cut {
            let calls = cut_calls(window, among);
            let sql = format!(
                "SELECT r.session_id, r.usage_key_id, r.started_ms, r.cost_nanousd FROM {calls}"
            );
            self.rows_of(&sql, [], |row| {
                let (session, kind, at_ms) = (row.get(0)?, row.get(1)?, row.get(2)?);
                tally.add(self, session, kind, at_ms, row.get(3)?);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn tally<'a>(&self, question: &'a Question) -> Result<Tally<'a>, Error> {
        let mut kinds = Kinds {
            numbers: HashMap::new(),
            groups: BTreeMap::new(),
        };
        for kind in self.counted_kinds(question)? {
            let next = kinds.groups.len();
            let number = *kinds.groups.entry(kind.keys).or_insert(next);
            kinds.numbers.insert(kind.id, number);
        }
        let kinds_count = kinds.groups.len();
        Ok(Tally {
            question,
            kinds,
            is_by_period: question.by.iter().any(|by| by.is_period()),
            periods: BTreeMap::new(),
            quarters: HashMap::new(),
            at_hand: None,
            session: Vec::new(),
            is_unfinished: false,
            unfinished: HashMap::new(),
            counts: vec![Vec::new(); kinds_count],
            costs: vec![Vec::new(); kinds_count],
            count_of_all: 0,
            costs_of_all: Vec::new(),
        })
    }

    /// The periods of a question that a moment lies in.
    fn periods(&self, question: &Question, at_ms: i64) -> Vec<Key> {
        question
            .by
            .iter()
            .filter_map(|by| period_start(*by, at_ms, self.zone()))
            .map(Key::Number)
            .collect()
    }
}

/// What the sums of sessions do not tell.
#[derive(Default)]
struct Open {
    /// Sums of a session and kind that may have calls in periods between that of the first and that of
    /// the last.
    sums: HashSet<(i64, i64)>,
    /// When those calls may be.
    ranges: Vec<(i64, i64)>,
    /// Some have calls outside of the window, so that their cost is not that of those inside.
    is_cut: bool,
}

impl Open {
    fn note(&mut self, window: Window, sums: (i64, i64), range: Option<(i64, i64)>) {
        let Some((first_ms, last_ms)) = range else {
            return;
        };
        self.sums.insert(sums);
        let from_ms = bucket(first_ms).max(window.from_ms);
        let until_ms = (bucket(last_ms) + BUCKET_MS).min(window.until_ms);
        self.ranges.push((from_ms, until_ms));
    }

    /// The ranges as windows that do not overlap.
    fn ranges(&self, window: Window) -> Vec<Window> {
        let mut ranges = self.ranges.clone();
        ranges.sort_unstable();
        let mut apart: Vec<(i64, i64)> = Vec::new();
        for (from_ms, until_ms) in ranges {
            match apart.last_mut() {
                Some((_, end_ms)) if from_ms <= *end_ms => *end_ms = until_ms.max(*end_ms),
                _ => apart.push((from_ms, until_ms)),
            }
        }
        if apart.len() > MOST_RANGES {
            return vec![window];
        }
        apart
            .into_iter()
            .map(|(from_ms, until_ms)| Window { from_ms, until_ms })
            .collect()
    }
}

impl Tally<'_> {
    /// Number of the period of a moment. A quarter of an hour is of the period that it begins in.
    fn period(&mut self, reader: &Reader, at_ms: i64) -> usize {
        if !self.is_by_period {
            return 0;
        }
        let quarter_ms = bucket(at_ms);
        // A period has no gaps.
        if let Some((first_ms, last_ms, number)) = self.at_hand
            && first_ms <= quarter_ms
            && quarter_ms <= last_ms
        {
            return number;
        }
        let (question, periods) = (self.question, &mut self.periods);
        let number = *self.quarters.entry(quarter_ms).or_insert_with(|| {
            let next = periods.len();
            let keys = reader.periods(question, quarter_ms);
            *periods.entry(keys).or_insert(next)
        });
        self.at_hand = Some(match self.at_hand {
            Some((first_ms, last_ms, at_hand)) if at_hand == number => {
                (first_ms.min(quarter_ms), last_ms.max(quarter_ms), number)
            }
            Some(_) | None => (quarter_ms, quarter_ms, number),
        });
        number
    }

    /// Takes sums of the session at hand. Gives the range of time in which they may have calls of a
    /// period that is not counted yet.
    fn meet(&mut self, reader: &Reader, window: Window, sums: &Sums) -> Option<(i64, i64)> {
        let number = *self.kinds.numbers.get(&sums.kind)?;
        let begins = sums.first_ms >= window.from_ms;
        let ends = sums.last_ms < window.until_ms;
        let first_ms = sums.first_ms.max(window.from_ms);
        let last_ms = sums.last_ms.min(window.until_ms.saturating_sub(1));
        let (first, last) = (self.period(reader, first_ms), self.period(reader, last_ms));
        let cost = sums.cost.filter(|_| begins && ends);
        if begins {
            self.session.push(((first, number), cost));
        }
        if ends && (!begins || first != last) {
            self.session.push(((last, number), None));
        }
        if !(begins && ends) {
            // Its cost is that of single calls.
            self.is_unfinished = true;
        }
        let is_known = |period: usize| (begins && period == first) || (ends && period == last);
        let mut quarter_ms = bucket(first_ms);
        // A period has no gaps.
        let mut is_told = is_known(first) && is_known(last);
        while is_told && first != last && quarter_ms <= last_ms {
            is_told = is_known(self.period(reader, quarter_ms));
            quarter_ms += BUCKET_MS;
        }
        if is_told {
            return None;
        }
        self.is_unfinished = true;
        Some((first_ms, last_ms))
    }

    /// Takes a call, or calls, of a session of which more had to be read.
    fn add(&mut self, reader: &Reader, session: i64, kind: i64, at_ms: i64, cost: Option<i64>) {
        let Some(number) = self.kinds.numbers.get(&kind).copied() else {
            return;
        };
        let period = self.period(reader, at_ms);
        if let Some(parts) = self.unfinished.get_mut(&session) {
            parts.push(((period, number), cost));
        }
    }

    /// No more sums of the session at hand come.
    fn end_session(&mut self, session: i64) {
        let mut parts = std::mem::take(&mut self.session);
        match std::mem::take(&mut self.is_unfinished) {
            true => self
                .unfinished
                .entry(session)
                .or_default()
                .append(&mut parts),
            false => self.count(&mut parts),
        }
        // Its memory is of use to the next one.
        parts.clear();
        self.session = parts;
    }

    /// Counts a session in all groups that it has calls in.
    fn count(&mut self, parts: &mut Parts) {
        if parts.is_empty() {
            return;
        }
        parts.sort_unstable();
        self.count_of_all += 1;
        let costs = parts.iter().filter_map(|(_, cost)| *cost);
        self.costs_of_all.extend(costs.reduce(i64::saturating_add));
        for of_group in parts.chunk_by(|(one, _), (other, _)| one == other) {
            let Some(((period, number), _)) = of_group.first() else {
                continue;
            };
            if let Some(counts) = self.counts.get_mut(*number) {
                counts.resize(counts.len().max(period + 1), 0);
                if let Some(count) = counts.get_mut(*period) {
                    *count += 1;
                }
            }
            let costs = of_group.iter().filter_map(|(_, cost)| *cost);
            if let Some(cost) = costs.reduce(i64::saturating_add)
                && !self.is_by_period
                && let Some(costs) = self.costs.get_mut(*number)
            {
                costs.push(cost);
            }
        }
    }

    /// Puts what was found into the groups.
    fn finish(mut self, groups: &mut [Group], total: &mut [Group]) {
        for mut parts in std::mem::take(&mut self.unfinished).into_values() {
            self.count(&mut parts);
        }
        for group in groups {
            let (mut of_kind, mut of_period) = (group.keys.clone(), Vec::new());
            for (key, by) in of_kind.iter_mut().zip(&self.question.by) {
                if by.is_period() {
                    of_period.push(std::mem::replace(key, Key::Unknown));
                }
            }
            let period = match self.is_by_period {
                true => self.periods.get(&of_period).copied(),
                false => Some(0),
            };
            let place = period.zip(self.kinds.groups.get(&of_kind).copied());
            let count = place.and_then(|(period, number)| self.counts.get(number)?.get(period));
            group.sum.sessions = count.copied().unwrap_or(0);
            group.sum.session_cost_p95 = place
                .and_then(|(_, number)| self.costs.get_mut(number))
                .and_then(|costs| percentile(costs, 95))
                .map(super::from_db);
        }
        for all in total {
            all.sum.sessions = self.count_of_all;
            all.sum.session_cost_p95 = percentile(&mut self.costs_of_all, 95).map(super::from_db);
        }
    }
}
