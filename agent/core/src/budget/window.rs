//! What was spent in the windows that end at a moment.

use std::collections::VecDeque;

use super::profile::HOUR_MS;
use super::total::Change;

const MINUTE_MS: i64 = 60_000;

/// A window that ends at a moment.
///
/// The short ones begin with a minute. The longer ones begin with an hour, so that a value of a scope
/// needs hundreds of cells instead of thousands; what is expected in a window is counted over the very
/// same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Window {
    /// Five minutes.
    FiveMinutes,
    /// Half an hour.
    HalfHour,
    /// An hour.
    Hour,
    /// Six hours.
    SixHours,
    /// Three days.
    ThreeDays,
    /// Seven days, which forecasts go by.
    Week,
}

impl Window {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::FiveMinutes,
        Self::HalfHour,
        Self::Hour,
        Self::SixHours,
        Self::ThreeDays,
        Self::Week,
    ];

    /// Name in figures and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FiveMinutes => "5m",
            Self::HalfHour => "30m",
            Self::Hour => "1h",
            Self::SixHours => "6h",
            Self::ThreeDays => "3d",
            Self::Week => "7d",
        }
    }

    /// The length of its cells, and how many of them it has.
    const fn cells(self) -> (i64, i64) {
        match self {
            Self::FiveMinutes => (MINUTE_MS, 5),
            Self::HalfHour => (MINUTE_MS, 30),
            Self::Hour => (MINUTE_MS, 60),
            Self::SixHours => (MINUTE_MS, 360),
            Self::ThreeDays => (HOUR_MS, 72),
            Self::Week => (HOUR_MS, 168),
        }
    }

    /// Its first moment: that of a minute or an hour.
    pub(super) const fn start_ms(self, now_ms: i64) -> i64 {
        let (cell_ms, count) = self.cells();
        (now_ms.div_euclid(cell_ms) + 1 - count) * cell_ms
    }
}

/// Sums by cells of time; empty ones take no place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Cells {
    /// Number of the cell since the Unix epoch, and its sum; in order.
    cells: VecDeque<(i64, u64)>,
}

impl Cells {
    fn change(&mut self, at: i64, figure: u64, apply: fn(u64, u64) -> u64) {
        let place = self.place(at);
        match self.cells.get_mut(place) {
            Some((found, sum)) if *found == at => {
                *sum = apply(*sum, figure);
                if *sum == 0 {
                    self.cells.remove(place);
                }
            }
            _ => {
                let sum = apply(0, figure);
                if sum > 0 {
                    self.cells.insert(place, (at, sum));
                }
            }
        }
    }

    fn place(&self, at: i64) -> usize {
        // Nearly all is booked at the end.
        match self.cells.back() {
            Some((last, _)) if *last < at => self.cells.len(),
            Some((last, _)) if *last == at => self.cells.len().saturating_sub(1),
            _ => self.cells.partition_point(|(found, _)| *found < at),
        }
    }

    fn sum(&self, from: i64, to: i64) -> u128 {
        if from >= to {
            return 0;
        }
        let range = self.place(from)..self.place(to);
        self.cells
            .range(range)
            .map(|(_, sum)| u128::from(*sum))
            .sum()
    }

    /// Forgets what is before a cell, and the oldest of more than `most`.
    fn forget(&mut self, before: i64, most: usize) {
        let has_old = |(at, _): &(i64, u64)| *at < before;
        while self.cells.front().is_some_and(has_old) || self.cells.len() > most {
            self.cells.pop_front();
        }
    }
}

/// The sum of a window, kept while it moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    from: i64,
    to: i64,
    sum: u128,
}

impl Sum {
    fn advance(&mut self, cells: &Cells, to: i64, count: i64) {
        let from = to - count;
        let is_step = self.from <= from && from <= self.to && self.to <= to;
        self.sum = if is_step {
            let gone = cells.sum(self.from, from);
            let come = cells.sum(self.to, to);
            self.sum.saturating_add(come).saturating_sub(gone)
        } else {
            // A clock that was set, or a long pause.
            cells.sum(from, to)
        };
        (self.from, self.to) = (from, to);
    }
}

/// What one value of a scope spent lately, in the unit of the limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spending {
    minutes: Cells,
    hours: Cells,
    sums: [Sum; Window::ALL.len()],
}

impl Spending {
    /// Minutes that are kept: those of the longest window of minutes.
    const MINUTES: i64 = 360;
    /// Hours that are kept: four full weeks, and the one that is not over.
    const HOURS: i64 = 5 * 168;
    /// LIMIT: cells beside those, of moments in the future after a clock was set back.
    const MOST: usize = 1_024;

    /// Adds or takes out what was spent at a moment, where that is not past for the windows of another.
    pub(super) fn change(&mut self, change: Change, unix_ms: i64, figure: u64, now_ms: i64) {
        let apply = match change {
            Change::Add => u64::saturating_add,
            Change::Remove => u64::saturating_sub,
        };
        let cell = |cell_ms: i64| (unix_ms.div_euclid(cell_ms), now_ms.div_euclid(cell_ms));
        let (minute, now) = cell(MINUTE_MS);
        if minute >= now - Self::MINUTES {
            self.minutes.change(minute, figure, apply);
        }
        let (hour, now) = cell(HOUR_MS);
        if hour >= now - Self::HOURS {
            self.hours.change(hour, figure, apply);
        }
        for (window, sum) in Window::ALL.iter().zip(&mut self.sums) {
            let at = unix_ms.div_euclid(window.cells().0);
            if sum.from <= at && at < sum.to {
                sum.sum = match change {
                    Change::Add => sum.sum.saturating_add(u128::from(figure)),
                    Change::Remove => sum.sum.saturating_sub(u128::from(figure)),
                };
            }
        }
    }

    /// Moves the windows to a moment.
    pub(super) fn advance(&mut self, now_ms: i64) {
        for (window, sum) in Window::ALL.iter().zip(&mut self.sums) {
            let (cell_ms, count) = window.cells();
            let cells = if cell_ms == HOUR_MS {
                &self.hours
            } else {
                &self.minutes
            };
            sum.advance(cells, now_ms.div_euclid(cell_ms) + 1, count);
        }
    }

    /// Forgets what no window reaches any more.
    pub(super) fn forget(&mut self, now_ms: i64) {
        let minute = now_ms.div_euclid(MINUTE_MS);
        self.minutes.forget(minute - Self::MINUTES, Self::MOST);
        let hour = now_ms.div_euclid(HOUR_MS);
        self.hours.forget(hour - Self::HOURS, Self::MOST);
    }

    /// What was spent in a window that ends at the moment it was moved to.
    pub(super) fn sum(&self, window: Window) -> u128 {
        let place = Window::ALL.iter().position(|found| *found == window);
        place
            .and_then(|place| self.sums.get(place))
            .map_or(0, |sum| sum.sum)
    }

    /// The first hour that is known.
    pub(super) fn first_ms(&self) -> Option<i64> {
        self.hours
            .cells
            .front()
            .map(|(hour, _)| hour.saturating_mul(HOUR_MS))
    }

    /// The first moments of hours and what was spent in them, in order.
    pub(super) fn hours(&self) -> impl Iterator<Item = (i64, u64)> {
        self.hours
            .cells
            .iter()
            .map(|(hour, sum)| (hour.saturating_mul(HOUR_MS), *sum))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hours.cells.is_empty() && self.minutes.cells.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The sum of a window by its definition.
    fn by_definition(spent: &[(i64, u64)], window: Window, now_ms: i64) -> u128 {
        let from = window.start_ms(now_ms);
        let (cell_ms, count) = window.cells();
        let to = from + cell_ms * count;
        spent
            .iter()
            .filter(|(at, _)| (from..to).contains(at))
            .map(|(_, figure)| u128::from(*figure))
            .sum()
    }

    proptest! {
        #[test]
        fn windows_are_sums_of_what_is_in_them(
            spent in proptest::collection::vec((0..200 * HOUR_MS, 0..1_000_u64), 0..60),
            steps in proptest::collection::vec(0..3 * HOUR_MS, 1..20),
        ) {
            let mut spending = Spending::default();
            let mut booked = Vec::new();
            let mut rest = spent.iter();
            let mut now_ms = 190 * HOUR_MS;
            for step in steps {
                now_ms += step;
                for (at, figure) in rest.by_ref().take(4) {
                    // Nothing older than the windows of minutes comes later than they end.
                    let at = now_ms - at % (5 * HOUR_MS);
                    spending.change(Change::Add, at, *figure, now_ms);
                    booked.push((at, *figure));
                }
                spending.advance(now_ms);
                spending.forget(now_ms);
                for window in Window::ALL {
                    let expected = by_definition(&booked, window, now_ms);
                    prop_assert_eq!(spending.sum(window), expected, "{:?}", window);
                }
            }
        }

        #[test]
        fn no_moment_is_too_strange(
            moments in proptest::collection::vec(-(1_i64 << 52)..1 << 52, 0..20),
        ) {
            let mut spending = Spending::default();
            for moment in &moments {
                spending.change(Change::Add, *moment, u64::MAX, *moment);
                spending.advance(*moment);
                spending.forget(*moment);
            }
            for moment in &moments {
                spending.change(Change::Remove, *moment, u64::MAX, 0);
            }
        }
    }

    #[test]
    fn what_is_kept_is_bounded_even_in_the_future() {
        let mut spending = Spending::default();
        for minute in 0..5_000 {
            spending.change(Change::Add, minute * HOUR_MS, 1, 0);
        }
        spending.forget(0);
        assert_eq!(spending.minutes.cells.len(), Spending::MOST);
        assert_eq!(spending.hours.cells.len(), Spending::MOST);
    }
}
