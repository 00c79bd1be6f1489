//! What one value of a scope used in its periods.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::definition::Share;
use super::period::Span;
use crate::spend::Amount;

/// Whether something is booked or taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Add,
    Remove,
}

impl Change {
    pub(super) fn apply(self, sum: &mut Amount, amount: &Amount) {
        match self {
            Self::Add => sum.add(amount),
            Self::Remove => sum.remove(amount),
        }
    }
}

/// A session and what it used in a period, in the unit of the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionUse {
    /// Key of the session.
    pub session: Arc<str>,
    /// User of it.
    pub uid: Option<u32>,
    /// At least so much since the agent started: what it read from the ledger has no sessions.
    pub used: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    used: u64,
    last: u64,
}

/// The sessions that used most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sessions {
    seen: BTreeMap<(Arc<str>, Option<u32>), Seen>,
    /// Bookings so far, which tell what was booked last.
    bookings: u64,
}

impl Sessions {
    /// LIMIT: sessions of a value and period. The largest stay, and of the others the one goes that was
    /// booked longest ago; what it used is missing if it comes again.
    const MOST: usize = 48;
    /// Those that stay.
    const LARGEST: usize = 8;

    pub(super) fn change(
        &mut self,
        session: &Arc<str>,
        uid: Option<u32>,
        figure: u64,
        change: Change,
    ) {
        let key = (Arc::clone(session), uid);
        match change {
            Change::Add if figure > 0 => {
                self.bookings = self.bookings.saturating_add(1);
                let last = self.bookings;
                let seen = self.seen.entry(key).or_insert(Seen { used: 0, last });
                seen.used = seen.used.saturating_add(figure);
                seen.last = last;
                if self.seen.len() > Self::MOST {
                    self.forget();
                }
            }
            Change::Add => {}
            Change::Remove => {
                if let Some(seen) = self.seen.get_mut(&key) {
                    seen.used = seen.used.saturating_sub(figure);
                    if seen.used == 0 {
                        self.seen.remove(&key);
                    }
                }
            }
        }
    }

    fn forget(&mut self) {
        let mut figures: Vec<u64> = self.seen.values().map(|seen| seen.used).collect();
        figures.sort_unstable_by(|a, b| b.cmp(a));
        let stays = figures.get(Self::LARGEST).copied().unwrap_or(0);
        let oldest = self
            .seen
            .iter()
            .filter(|(_, seen)| seen.used <= stays)
            .min_by_key(|(_, seen)| seen.last)
            .map(|(key, _)| key.clone());
        if let Some(key) = oldest {
            self.seen.remove(&key);
        }
    }

    /// The largest ones, the largest first.
    pub(super) fn top(&self, count: usize) -> Vec<SessionUse> {
        let mut found: Vec<SessionUse> = self
            .seen
            .iter()
            .map(|((session, uid), seen)| SessionUse {
                session: Arc::clone(session),
                uid: *uid,
                used: seen.used,
            })
            .collect();
        found.sort_by_key(|session| std::cmp::Reverse(session.used));
        found.truncate(count);
        found
    }
}

/// The thresholds of a period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Thresholds {
    /// The highest one that was reached.
    pub(super) reached: Option<Share>,
    /// Whether that is over: the use went down again, as it does in a rolling period, or another
    /// period came.
    is_past: bool,
}

impl Thresholds {
    pub(super) const fn restored(reached: Share) -> Self {
        Self {
            reached: Some(reached),
            is_past: false,
        }
    }

    /// The one that holds: the highest, until the end of the period.
    pub(super) fn holding(self) -> Option<Share> {
        self.reached.filter(|_| !self.is_past)
    }

    /// Takes what is used. Those that were reached stay so, whatever is taken out.
    pub(super) fn rise(&mut self, shares: &[Share], used: u64, limit: u64) {
        let reached = shares.iter().filter(|share| share.is_reached(used, limit));
        let highest = reached.max().copied();
        if highest > self.reached {
            *self = Self {
                reached: highest,
                is_past: false,
            };
        }
    }

    /// Takes what is used in a rolling period: a threshold can be reached again once the use was a tenth
    /// below it.
    pub(super) fn fall(&mut self, shares: &[Share], used: u64, limit: u64) {
        let stays = |share: &Share| {
            u128::from(used) * 10_000 >= u128::from(limit) * u128::from(share.0) * 9
        };
        if self.reached.is_some_and(|reached| !stays(&reached)) {
            *self = Self {
                reached: shares.iter().filter(|share| stays(share)).max().copied(),
                is_past: true,
            };
        }
    }
}

/// What was used in one period.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Total {
    /// The first moment after a period of the calendar.
    to_ms: i64,
    pub(super) amount: Amount,
    pub(super) thresholds: Thresholds,
    pub(super) sessions: Sessions,
}

impl Total {
    fn new(span: Span) -> Self {
        Self {
            to_ms: span.to_ms,
            ..Self::default()
        }
    }

    fn is_nothing(&self) -> bool {
        self.amount == Amount::default() && self.thresholds.reached.is_none()
    }
}

/// What was used in the periods that matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Totals {
    /// By the first moment of the period: the current one and the one before, and others after a clock
    /// was set.
    Calendar(BTreeMap<i64, Total>),
    /// The last so many hours.
    Rolling {
        /// Length of a cell, in milliseconds.
        cell_ms: i64,
        /// Number of cells.
        count: i64,
        /// Sums by the number of the cell since the Unix epoch.
        cells: BTreeMap<i64, Amount>,
        /// All of them.
        total: Box<Total>,
    },
}

impl Totals {
    /// LIMIT: periods that are kept, so that a clock that jumps to and fro does no harm.
    const PERIODS: usize = 4;
    /// LIMIT: cells of a rolling period: an amount is 72 bytes.
    const CELLS: i64 = 720;

    pub(super) const fn calendar() -> Self {
        Self::Calendar(BTreeMap::new())
    }

    /// The last so many hours, in the shortest cells of whole minutes that are not too many.
    pub(super) fn rolling(hours: u32) -> Self {
        let minutes = i64::from(hours) * 60;
        let cell_minutes = (minutes + Self::CELLS - 1) / Self::CELLS;
        Self::Rolling {
            cell_ms: cell_minutes * 60_000,
            count: minutes / cell_minutes,
            cells: BTreeMap::new(),
            total: Box::default(),
        }
    }

    /// Books or takes out what was used at a moment, which is in a period of the calendar. What lies
    /// before the period ahead of the current one is past.
    pub(super) fn change(
        &mut self,
        (unix_ms, span, current): (i64, Span, Span),
        amount: &Amount,
        change: Change,
    ) -> Option<&mut Total> {
        match self {
            Self::Calendar(periods) => {
                if span.to_ms < current.from_ms {
                    return None;
                }
                let has_room = periods.len() < Self::PERIODS;
                let may_begin = change == Change::Add && (has_room || span == current);
                if may_begin {
                    periods
                        .entry(span.from_ms)
                        .or_insert_with(|| Total::new(span));
                }
                let total = periods.get_mut(&span.from_ms)?;
                change.apply(&mut total.amount, amount);
                Some(total)
            }
            Self::Rolling {
                cell_ms,
                cells,
                total,
                ..
            } => {
                let at = unix_ms.div_euclid(*cell_ms);
                if unix_ms < current.from_ms {
                    return None;
                }
                if change == Change::Add {
                    cells.entry(at).or_default();
                }
                if let Some(cell) = cells.get_mut(&at) {
                    change.apply(cell, amount);
                    if *cell == Amount::default() {
                        cells.remove(&at);
                    }
                }
                Some(total)
            }
        }
    }

    /// What was used in the current period at a moment of it.
    pub(super) fn current(&mut self, now_ms: i64, current: Span) -> &mut Total {
        match self {
            Self::Calendar(periods) => {
                periods.retain(|from, total| *from == current.from_ms || !total.is_nothing());
                // What was told in a period is not told again if a clock that was set leads back there.
                for (from, total) in periods.iter_mut() {
                    total.thresholds.is_past |= *from != current.from_ms;
                }
                periods
                    .entry(current.from_ms)
                    .or_insert_with(|| Total::new(current))
            }
            Self::Rolling {
                cell_ms,
                count,
                cells,
                total,
            } => {
                let now = now_ms.div_euclid(*cell_ms);
                total.amount = Amount::default();
                let first = now - *count + 1;
                for amount in cells.range(first..=now).map(|(_, amount)| amount) {
                    total.amount.add(amount);
                }
                if total.amount == Amount::default() {
                    total.sessions = Sessions::default();
                }
                total
            }
        }
    }

    /// Forgets what is past at a moment of the current period: all before the period ahead of it.
    pub(super) fn forget(&mut self, now_ms: i64, current: Span) {
        match self {
            Self::Calendar(periods) => {
                periods.retain(|_, total| total.to_ms >= current.from_ms);
            }
            Self::Rolling {
                cell_ms,
                count,
                cells,
                ..
            } => {
                let first = now_ms.div_euclid(*cell_ms) - *count + 1;
                let most = usize::try_from(Self::CELLS).unwrap_or(usize::MAX);
                while cells.first_key_value().is_some_and(|(at, _)| *at < first)
                    || cells.len() > most.saturating_mul(2)
                {
                    cells.pop_first();
                }
            }
        }
    }

    /// The cells of a rolling period, with the moments at which they leave it; none for others.
    pub(super) fn leaving(&self) -> Vec<(i64, Amount)> {
        match self {
            Self::Calendar(_) => Vec::new(),
            Self::Rolling {
                cell_ms,
                count,
                cells,
                ..
            } => cells
                .iter()
                .map(|(at, amount)| ((at + count) * cell_ms, *amount))
                .collect(),
        }
    }

    /// Takes what was stored about a period: its highest threshold that was reached.
    pub(super) fn restore(&mut self, span: Span, reached: Share) {
        let thresholds = Thresholds::restored(reached);
        match self {
            Self::Calendar(periods) => {
                if periods.len() < Self::PERIODS || periods.contains_key(&span.from_ms) {
                    let total = periods.entry(span.from_ms);
                    total.or_insert_with(|| Total::new(span)).thresholds = thresholds;
                }
            }
            Self::Rolling { total, .. } => total.thresholds = thresholds,
        }
    }

    /// Whether there is nothing that anybody would miss.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Calendar(periods) => periods.values().all(Total::is_nothing),
            Self::Rolling { cells, total, .. } => cells.is_empty() && total.is_nothing(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(sessions: &Sessions) -> Vec<(String, u64)> {
        let top = sessions.top(5);
        let pair = |found: &SessionUse| (found.session.to_string(), found.used);
        top.iter().map(pair).collect()
    }

    #[test]
    fn the_largest_sessions_stay_however_many_come() {
        let mut sessions = Sessions::default();
        let mut book = |name: String, figure| {
            sessions.change(&Arc::from(name), Some(1), figure, Change::Add);
        };
        book("large".to_owned(), 1_000);
        for number in 0..500 {
            book(format!("small-{number}"), 1);
            book("growing".to_owned(), 1);
        }
        assert_eq!(sessions.seen.len(), Sessions::MOST);
        let expected = [("large", 1_000), ("growing", 500)].map(|(n, u)| (n.to_owned(), u));
        assert_eq!(uses(&sessions)[..2], expected);
    }

    #[test]
    fn what_is_taken_out_of_a_session_is_gone() {
        let mut sessions = Sessions::default();
        let [a, b] = ["a", "b"].map(Arc::<str>::from);
        sessions.change(&a, None, 7, Change::Add);
        sessions.change(&b, None, 9, Change::Add);
        sessions.change(&b, Some(1), 1, Change::Remove);
        sessions.change(&b, None, 4, Change::Remove);
        sessions.change(&a, None, 7, Change::Remove);
        assert_eq!(uses(&sessions), [("b".to_owned(), 5)]);
    }

    #[test]
    fn a_threshold_of_a_rolling_period_can_be_reached_again() {
        let shares = Share::DEFAULT;
        let mut thresholds = Thresholds::default();
        let mut told = Vec::new();
        for used in [49, 50, 97, 90, 86, 85, 96, 70, 44, 60] {
            thresholds.fall(&shares, used, 100);
            thresholds.rise(&shares, used, 100);
            told.push(thresholds.holding().map(|share| share.0));
        }
        assert_eq!(
            told,
            [
                None,
                Some(500),
                Some(950),
                Some(950),
                Some(950),
                None,
                Some(950),
                None,
                None,
                Some(500)
            ]
        );
    }
}
