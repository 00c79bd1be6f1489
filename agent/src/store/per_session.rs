//! What is counted by session inside of groups of calls: how many sessions there are, and what they
//! cost. SQLite would sort all of them for each group; here they are met once, in any order.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::functions::{percentile, period_start};
use super::source::{active_sessions, sessions};
use super::usage::{Group, Key, Question};
use super::{Error, Reader};

/// To which group a kind of calls belongs, apart from periods.
struct Kinds {
    /// Number of the group, by `usage_key_id`; what a filter keeps out is not in it.
    numbers: HashMap<i64, usize>,
    /// Numbers by the keys of the group, which are unknown in place of periods.
    groups: BTreeMap<Vec<Key>, usize>,
}

impl Reader {
    /// Counts the sessions of groups of kinds of calls.
    ///
    /// # Errors
    /// Those of SQLite.
    pub(super) fn count_sessions(
        &self,
        question: &Question,
        groups: &mut [Group],
    ) -> Result<(), Error> {
        let kinds = self.kinds_of(question)?;
        let mut seen: HashSet<(usize, usize, i64)> = HashSet::new();
        let mut counts: HashMap<(usize, usize), u64> = HashMap::new();
        let mut periods: BTreeMap<Vec<Key>, usize> = BTreeMap::new();
        // Rows come by time, for the most part.
        let mut last: Option<(i64, usize)> = None;
        let source = active_sessions(question.window);
        let sql = format!("SELECT first_ms, usage_key_id, session_id FROM ({source})");
        self.rows_of(&sql, [], |row| {
            let (at_ms, kind, session) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let Some(number) = kinds.numbers.get(&kind) else {
                return Ok(());
            };
            let period = match last {
                Some((last_ms, period)) if last_ms == at_ms => period,
                _ => {
                    let next = periods.len();
                    *periods.entry(self.periods(question, at_ms)).or_insert(next)
                }
            };
            last = Some((at_ms, period));
            if seen.insert((period, *number, session)) {
                *counts.entry((period, *number)).or_default() += 1;
            }
            Ok(())
        })?;
        for group in groups {
            let (mut of_kind, mut of_period) = (group.keys.clone(), Vec::new());
            for (key, by) in of_kind.iter_mut().zip(&question.by) {
                if by.is_period() {
                    of_period.push(std::mem::replace(key, Key::Unknown));
                }
            }
            let number = kinds.groups.get(&of_kind);
            group.sum.sessions = periods
                .get(&of_period)
                .zip(number)
                .and_then(|(period, number)| counts.get(&(*period, *number)))
                .copied()
                .unwrap_or(0);
        }
        Ok(())
    }

    /// Finds the cost that 95 of 100 sessions keep below, for groups of kinds of calls without
    /// periods.
    ///
    /// # Errors
    /// Those of SQLite.
    pub(super) fn session_costs(
        &self,
        question: &Question,
        groups: &mut [Group],
    ) -> Result<(), Error> {
        let kinds = self.kinds_of(question)?;
        let mut sums: HashMap<(usize, i64), i64> = HashMap::new();
        let source = sessions(question.window);
        let sql = format!(
            "SELECT usage_key_id, session_id, cost_nanousd FROM ({source})
             WHERE cost_nanousd IS NOT NULL"
        );
        self.rows_of(&sql, [], |row| {
            let (kind, session, cost): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if let Some(number) = kinds.numbers.get(&kind) {
                let sum = sums.entry((*number, session)).or_default();
                *sum = sum.saturating_add(cost);
            }
            Ok(())
        })?;
        let mut costs: HashMap<usize, Vec<i64>> = HashMap::new();
        for ((number, _), cost) in sums {
            costs.entry(number).or_default().push(cost);
        }
        for group in groups {
            let number = kinds.groups.get(&group.keys);
            group.sum.session_cost_p95 = number
                .and_then(|number| costs.get_mut(number))
                .and_then(|costs| percentile(costs, 95))
                .map(super::from_db);
        }
        Ok(())
    }

    fn kinds_of(&self, question: &Question) -> Result<Kinds, Error> {
        let mut kinds = Kinds {
            numbers: HashMap::new(),
            groups: BTreeMap::new(),
        };
        self.each_kind(question, |kind, keys| {
            let next = kinds.groups.len();
            let number = *kinds.groups.entry(keys).or_insert(next);
            kinds.numbers.insert(kind, number);
        })?;
        Ok(kinds)
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
