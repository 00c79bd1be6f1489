//! Usage in groups, added up from rows of sums.
//!
//! SQLite only reads the rows: to group them and to count their sessions it would sort all columns of
//! each.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Row;

use super::adding::{Columns, Traits};
use super::dimension::{Detail, Dimension, Grain};
use super::functions::percentile;
use super::grouping::{Grouping, Kind};
use super::select::{self, COST_AT, in_window};
use super::source::{cut_sums, sessions_of};
use super::usage::{Group, Key, Question, UsageSum, grain};
use super::{Error, Reader, Window, from_db};

/// LIMIT: parts of sessions that are kept before those of one session in one group are put together.
const MOST_PARTS: usize = 1 << 16;

/// What sessions have in groups: some of the cost of their calls, which may not be known.
#[derive(Clone, Debug, Default)]
struct Sessions {
    /// Numbers of the group and of the session, and the cost.
    parts: Vec<((usize, i64), Option<i64>)>,
    /// So many of them are one for each session in a group.
    whole: usize,
}

impl Sessions {
    fn add(&mut self, of: (usize, i64), cost: Option<i64>) {
        // Rows of a session mostly come one after the other.
        match self.parts.last_mut() {
            Some((last, sum)) if *last == of => *sum = both(*sum, cost),
            Some(_) | None => self.parts.push((of, cost)),
        }
        if self.parts.len() > MOST_PARTS.max(2 * self.whole) {
            self.put_together();
        }
    }

    fn put_together(&mut self) {
        self.parts.sort_unstable();
        self.parts.dedup_by(|(next, more), (last, sum)| {
            let is_same = next == last;
            if is_same {
                *sum = both(*sum, *more);
            }
            is_same
        });
        self.whole = self.parts.len();
    }
}

/// Both, as far as they are known.
fn both(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    [one, other]
        .into_iter()
        .flatten()
        .reduce(i64::saturating_add)
}

/// The usage of a window in groups.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// The groups, in no order.
    pub groups: Vec<Group>,
    /// `None` where the rows did not tell sessions.
    sessions: Option<Sessions>,
}

impl Sums {
    /// Whether the rows told which sessions they are of.
    pub(super) const fn has_sessions(&self) -> bool {
        self.sessions.is_some()
    }

    /// The only group of a question that has no dimension; nothing if there is no call.
    pub fn only(self) -> UsageSum {
        let first = self.groups.into_iter().next();
        first.map(|group| group.sum).unwrap_or_default()
    }

    /// With one group for all of those that `keys` gives the same of.
    fn regrouped(&self, keys: impl Fn(&[Key]) -> Vec<Key>) -> Self {
        let mut numbers: BTreeMap<Vec<Key>, usize> = BTreeMap::new();
        let mut groups: Vec<Group> = Vec::new();
        let mut moved = Vec::new();
        for group in &self.groups {
            let keys = keys(&group.keys);
            let number = *numbers.entry(keys).or_insert_with_key(|keys| {
                let is_kept = |at: usize| keys.get(at) == group.keys.get(at);
                let names = group.names.iter().take(keys.len()).enumerate();
                groups.push(Group {
                    keys: keys.clone(),
                    names: names
                        .map(|(at, name)| name.clone().filter(|_| is_kept(at)))
                        .collect(),
                    details: match *keys == group.keys {
                        true => group.details.clone(),
                        false => vec![None; group.details.len()],
                    },
                    sum: UsageSum::default(),
                });
                groups.len() - 1
            });
            moved.push(number);
            if let Some(into) = groups.get_mut(number) {
                into.sum.add(&group.sum);
            }
        }
        let sessions = self.sessions.as_ref().map(|sessions| {
            let mut into = Sessions::default();
            for ((number, session), cost) in &sessions.parts {
                if let Some(number) = moved.get(*number) {
                    into.add((*number, *session), *cost);
                }
            }
            into
        });
        Self { groups, sessions }
    }

    /// All in one group.
    pub(super) fn total(&self) -> Self {
        self.regrouped(|_| Vec::new())
    }

    /// By the dimension at this place alone.
    #[must_use]
    pub fn along(&self, at: usize) -> Self {
        self.regrouped(|keys| keys.get(at).cloned().into_iter().collect())
    }

    /// With one group for all but some values of the dimension at this place.
    #[must_use]
    pub fn kept(&self, at: usize, kept: &BTreeSet<Key>) -> Self {
        self.regrouped(|keys| {
            let mut keys = keys.to_vec();
            if let Some(key) = keys.get_mut(at).filter(|key| !kept.contains(key)) {
                *key = Key::Other;
            }
            keys
        })
    }

    /// Counts the sessions of groups, and, where the groups are by neither session nor period, finds the
    /// cost that 95 of 100 of them keep below.
    pub(super) fn count_sessions(&mut self, question: &Question) {
        let Some(sessions) = &mut self.sessions else {
            return;
        };
        sessions.put_together();
        let mut counts = vec![0; self.groups.len()];
        let mut costs: Vec<Vec<i64>> = vec![Vec::new(); self.groups.len()];
        for ((number, _), cost) in &sessions.parts {
            if let (Some(count), Some(costs)) = (counts.get_mut(*number), costs.get_mut(*number)) {
                *count += 1;
                costs.extend(cost);
            }
        }
        let has_costs = !(question.by.iter()).any(|by| by.is_period() || *by == Dimension::Session);
        for ((group, count), costs) in self.groups.iter_mut().zip(counts).zip(&mut costs) {
            group.sum.sessions = count;
            if has_costs {
                group.sum.session_cost_p95 = percentile(costs, 95).map(from_db);
            }
        }
    }
}

/// Adds rows up.
struct Adding<'a> {
    question: &'a Question,
    columns: &'a Columns,
    kinds: Vec<Kind>,
    grouping: Grouping<'a>,
    groups: Vec<Group>,
    /// `None` where they are not asked for.
    sessions: Option<Sessions>,
}

impl Reader {
    /// Usage without percentiles, and without sessions where only kinds of calls are asked for: what
    /// adds up.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn sums(&self, question: &Question) -> Result<Sums, Error> {
        self.added(question, &self.columns())
    }

    /// The sums of all groups of a question in one, of which `sums` is the answer.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn total(&self, question: &Question, sums: &Sums) -> Result<Sums, Error> {
        match self.adds_up(question, &self.columns())? {
            true => Ok(sums.total()),
            false => self.sums(&question.of_all()),
        }
    }

    /// The requests of a window before that of a question, and those sums that have these names, by
    /// group and in all. Groups of sessions and processes that have no call in the window of the question
    /// itself, as `sums` says, may be missing.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn sums_before(
        &self,
        question: &Question,
        sums: &Sums,
        before: Window,
        names: &[&str],
    ) -> Result<(Sums, UsageSum), Error> {
        let mut then = Question {
            window: before,
            ..question.clone()
        };
        // Few sessions or processes go on from one window to the next.
        let many = |by: &Dimension| by.looked_up().is_some();
        if then.kept.is_none()
            && let Some(at) = question.by.iter().position(many)
            && let Some(by) = question.by.get(at)
        {
            let keys = sums.groups.iter().filter_map(|group| group.keys.get(at));
            then.kept = Some((*by, keys.cloned().collect()));
        }
        let columns = Columns::named(names);
        let groups = self.added(&then, &columns)?;
        let total = match self.adds_up(&then, &columns)? {
            true => groups.total(),
            false => self.added(&then.of_all(), &columns)?,
        };
        Ok((groups, total.only()))
    }

    /// All columns that it has what they need.
    fn columns(&self) -> Columns {
        match self.has_prices() {
            true => Columns::all().and_weights(),
            false => Columns::all(),
        }
    }

    /// Whether the sums of the groups of a question add up to those of all: where calls are deleted,
    /// more is known of kinds of calls than of sessions.
    fn adds_up(&self, question: &Question, columns: &Columns) -> Result<bool, Error> {
        if grain(&question.of_all()) == grain(question) {
            return Ok(true);
        }
        // Tokens are weighed row by row.
        Ok(!columns.has_weights() && !self.may_miss_calls(question.window.from_ms)?)
    }

    /// Adds up the rows of the smallest source that knows all that a question asks for.
    fn added(&self, question: &Question, columns: &Columns) -> Result<Sums, Error> {
        let window = question.window;
        let kinds_that_count = self.counted_kinds(question)?;
        let mut adding = Adding {
            question,
            columns,
            grouping: Grouping::new(self, question, &kinds_that_count),
            kinds: kinds_that_count,
            groups: Vec::new(),
            sessions: (columns.has_all() && grain(question) != Grain::Kind).then(Sessions::default),
        };
        match grain(question) {
            Grain::Kind | Grain::Call => {
                adding.read(self, &self.source(question)?, |_, _| true)?;
            }
            Grain::Session => {
                let source = sessions_of(window, &self.among(window)?);
                let mut cut = BTreeSet::new();
                adding.read(self, &source, |session, (first_ms, last_ms)| {
                    let is_in = first_ms >= window.from_ms && last_ms < window.until_ms;
                    if !is_in {
                        cut.insert(session);
                    }
                    is_in
                })?;
                if !cut.is_empty() {
                    let ids: Vec<String> = cut.iter().map(i64::to_string).collect();
                    let among = format!("session_id IN ({})", ids.join(", "));
                    adding.read(self, &cut_sums(window, &among), |_, _| true)?;
                }
            }
        }
        Ok(Sums {
            groups: adding.groups,
            sessions: adding.sessions,
        })
    }

    /// Adds up the rows that a statement over sums `u` and their kinds `k` selects, by their first
    /// column.
    ///
    /// # Errors
    /// Those of SQLite.
    pub(super) fn added_by(
        &self,
        sql: impl FnOnce(&str) -> String,
        parameters: impl rusqlite::Params,
    ) -> Result<BTreeMap<Option<i64>, UsageSum>, Error> {
        let columns = Columns::all();
        let sql = sql(&format!("{}, {}", Traits::SQL, columns.sql()));
        let mut sums: BTreeMap<Option<i64>, UsageSum> = BTreeMap::new();
        self.rows_of(&sql, parameters, |row| {
            let traits = Traits::read(row, 1)?;
            let sum = sums.entry(row.get(0)?).or_default();
            columns.add(sum, traits, row, 1 + Traits::WIDTH)
        })?;
        Ok(sums)
    }

    /// Gives groups the names of their values of the dimension at this place, and the details, as far as
    /// these have to be looked up.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn describe<'g>(
        &self,
        question: &Question,
        at: usize,
        groups: impl Iterator<Item = &'g mut Group>,
    ) -> Result<(), Error> {
        let Some(by) = question.by.get(at) else {
            return Ok(());
        };
        let of_value = |detail: &Detail| match *detail {
            Detail::OfValue(sql) => Some(in_window(sql, question.window)),
            Detail::Greatest(_) | Detail::Each(_) => None,
        };
        let details: Vec<Option<String>> = select::details(question).iter().map(of_value).collect();
        let joined = by.looked_up();
        if joined.is_none() && details.iter().all(Option::is_none) {
            return Ok(());
        }
        let mut groups: Vec<&mut Group> = groups.collect();
        let values: Vec<serde_json::Value> = groups
            .iter()
            .map(|group| match group.keys.get(at) {
                Some(Key::Number(number)) => (*number).into(),
                Some(Key::Text(text)) => text.as_str().into(),
                Some(Key::Unknown | Key::Other) | None => serde_json::Value::Null,
            })
            .collect();
        let selected: Vec<&str> = ["i.key", joined.map_or("NULL", |_| by.text())]
            .into_iter()
            .chain(details.iter().flatten().map(String::as_str))
            .collect();
        let sql = format!(
            "SELECT {} FROM json_each(?1) AS i {}",
            selected.join(", "),
            joined.unwrap_or_default()
        );
        let values = serde_json::Value::Array(values).to_string();
        self.rows_of(&sql, [values], |row| {
            let found = usize::try_from(row.get::<_, i64>(0)?).ok();
            let Some(group) = found.and_then(|found| groups.get_mut(found)) else {
                return Ok(());
            };
            if joined.is_some()
                && let Some(name) = group.names.get_mut(at)
            {
                *name = row.get(1)?;
            }
            let of_value = details.iter().zip(&mut group.details);
            let of_value = of_value.filter(|(sql, _)| sql.is_some());
            for (column, (_, detail)) in (2..).zip(of_value) {
                *detail = row.get(column)?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

impl Adding<'_> {
    /// Adds the rows of a source that count, as their session and their first and last moment tell.
    fn read(
        &mut self,
        reader: &Reader,
        source: &str,
        mut counts: impl FnMut(i64, (i64, i64)) -> bool,
    ) -> Result<(), Error> {
        let sql = select::rows(self.question, source, self.columns);
        reader.rows_of(&sql.text, sql.parameters().as_slice(), |row| {
            let session: Option<i64> = row.get(1)?;
            let is_counted = match session {
                Some(session) => counts(session, (row.get(2)?, row.get(3)?)),
                None => true,
            };
            match is_counted {
                true => self.add(session, row),
                false => Ok(()),
            }
        })?;
        Ok(())
    }

    fn add(&mut self, session: Option<i64>, row: &Row<'_>) -> rusqlite::Result<()> {
        let Some(place) = self.grouping.place(row)? else {
            return Ok(());
        };
        if place.number == self.groups.len() {
            self.groups.push(Group {
                keys: self.grouping.keys(),
                names: self.grouping.names(row)?,
                details: vec![None; select::details(self.question).len()],
                sum: UsageSum::default(),
            });
        }
        let (Some(group), Some(kind)) = (
            self.groups.get_mut(place.number),
            self.kinds.get(place.kind),
        ) else {
            return Ok(());
        };
        let at = self.grouping.width();
        self.columns.add(&mut group.sum, kind.traits, row, at)?;
        describe(group, select::details(self.question), &kind.details);
        if let (Some(sessions), Some(session)) = (&mut self.sessions, session) {
            sessions.add((place.number, session), row.get(COST_AT)?);
        }
        Ok(())
    }
}

/// Adds to the details of a group what a kind of its calls says.
fn describe(group: &mut Group, details: &[Detail], of_kind: &[Option<String>]) {
    for ((detail, into), text) in details.iter().zip(&mut group.details).zip(of_kind) {
        let Some(text) = text else { continue };
        match (detail, into) {
            (Detail::OfValue(_), _) => {}
            (Detail::Greatest(_), Some(into)) if *into >= *text => {}
            (Detail::Each(_), Some(into)) => {
                if into.split(',').all(|one| one != text) {
                    into.extend([",", text]);
                }
            }
            (Detail::Greatest(_) | Detail::Each(_), into) => *into = Some(text.clone()),
        }
    }
}
