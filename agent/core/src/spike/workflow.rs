//! What is remembered of one workflow.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::{PAGE_TIMES, STEPS, Settings};
use crate::spend::Amount;

/// Windows from which on the usual is known.
const WINDOWS: usize = 50;
/// How many times the usual a spike is at least.
const TIMES: u64 = 2;
/// How many times the floor it is where the usual is not known.
const TIMES_FLOOR: u64 = 10;
/// Windows below half of the threshold that end a spike.
const CALM: u32 = 2;
/// LIMIT: steps of a spike that are left out, a day.
const LEFT_OUT: i64 = 24 * 12;
/// Windows overlap: that of the step before shares half of its calls.
const OVERLAP: i64 = 1;

/// Weighted tokens, and money in billionths of a US dollar.
type Figures = [u64; 2];

/// A workflow.
#[derive(Debug, Default)]
pub(super) struct Workflow {
    /// By the number of the step.
    sums: BTreeMap<i64, Figures>,
    /// Steps whose windows were under a spike.
    excluded: BTreeSet<i64>,
    usual: Option<Figures>,
    spike: Option<Spike>,
}

/// A spike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spike {
    /// Step of the first window of it, and of the last one that was no calm one.
    pub(super) first: i64,
    pub(super) last: i64,
    /// Figures of the largest window of each kind.
    pub(super) figures: Figures,
    pub(super) thresholds: Figures,
    pub(super) usual: Option<Figures>,
    /// Windows that the usual is known by.
    pub(super) windows: usize,
    /// Whether somebody has to be woken; once so, it stays so.
    pub(super) is_urgent: bool,
    /// Windows in a row that were calm.
    calm: u32,
}

impl Workflow {
    /// Adds a sum; gives how many sums there are more.
    pub(super) fn add(&mut self, step: i64, amount: &Amount) -> usize {
        let before = self.sums.len();
        let sums = self.sums.entry(step).or_default();
        sums[0] = sums[0].saturating_add(amount.weighted_tokens);
        sums[1] = sums[1].saturating_add(amount.cost_nanousd);
        // LIMIT: twice the steps of fourteen days, those of a clock that was wrong included.
        let most = usize::try_from(STEPS.saturating_mul(2)).unwrap_or(usize::MAX);
        if self.sums.len() > most {
            self.sums.pop_first();
        }
        self.sums.len().saturating_sub(before)
    }

    pub(super) fn remove(&mut self, step: i64, amount: &Amount) {
        if let Some(sums) = self.sums.get_mut(&step) {
            sums[0] = sums[0].saturating_sub(amount.weighted_tokens);
            sums[1] = sums[1].saturating_sub(amount.cost_nanousd);
        }
    }

    pub(super) fn exclude(&mut self, steps: RangeInclusive<i64>) {
        self.excluded.extend(steps);
    }

    pub(super) fn len(&self) -> usize {
        self.sums.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    pub(super) fn last_step(&self) -> Option<i64> {
        self.sums.last_key_value().map(|(step, _)| *step)
    }

    pub(super) const fn usual(&self) -> Option<Figures> {
        self.usual
    }

    pub(super) const fn spike(&self) -> Option<&Spike> {
        self.spike.as_ref()
    }

    /// Forgets what is older than fourteen days; gives how many sums there are less.
    pub(super) fn forget(&mut self, now: i64) -> usize {
        let before = self.sums.len();
        // One step more: the first window reaches into it.
        let first = now.saturating_sub(STEPS).saturating_sub(2);
        self.sums = self.sums.split_off(&first);
        self.excluded = self.excluded.split_off(&first);
        before.saturating_sub(self.sums.len())
    }

    /// Looks at the window that ends with a step. `woken_at` is what it has to cost so that somebody is
    /// woken.
    pub(super) fn look(
        &mut self,
        step: i64,
        settings: &Settings,
        woken_at: impl Fn() -> Option<u64>,
    ) {
        let figures = self.window(step);
        if figures.is_none() && self.spike.is_none() {
            return;
        }
        let windows = self.baseline(step);
        self.usual = (windows.len() >= WINDOWS).then(|| usual(&windows));
        let figures = figures.unwrap_or_default();
        let floors = [settings.least_weighted_tokens, settings.least_nanousd];
        let thresholds: Figures = std::array::from_fn(|kind| {
            let floor = floors.get(kind).copied().unwrap_or(u64::MAX);
            let usual = self.usual.and_then(|usual| usual.get(kind).copied());
            match usual {
                Some(usual) => usual.saturating_mul(TIMES).max(floor),
                None => floor.saturating_mul(TIMES_FLOOR),
            }
        });
        let mut pairs = figures.iter().zip(&thresholds);
        let is_spike = pairs.any(|(figure, threshold)| figure >= threshold && *figure > 0);
        let mut pairs = figures.iter().zip(&thresholds);
        // What is always the same is half of twice itself.
        let is_calm = pairs.all(|(figure, threshold)| *figure <= threshold / 2);
        if let Some(spike) = &mut self.spike {
            spike.calm = if is_calm { spike.calm + 1 } else { 0 };
            if spike.calm >= CALM {
                self.spike = None;
                return;
            }
        } else if is_spike {
            self.spike = Some(Spike {
                first: step,
                last: step,
                figures,
                thresholds,
                usual: self.usual,
                windows: windows.len(),
                is_urgent: false,
                calm: 0,
            });
        }
        let Some(spike) = &mut self.spike else {
            return;
        };
        if spike.calm == 0 {
            spike.last = step;
        }
        for (largest, figure) in spike.figures.iter_mut().zip(figures) {
            *largest = figure.max(*largest);
        }
        let is_huge = self.usual.is_some_and(|usual| {
            let mut pairs = figures.iter().zip(usual);
            pairs.any(|(figure, usual)| *figure >= usual.saturating_mul(PAGE_TIMES).max(1))
        });
        let is_dear = woken_at().is_some_and(|least| figures[1] >= least);
        spike.is_urgent |= is_spike && is_huge && is_dear;
        if step.saturating_sub(spike.first) < LEFT_OUT {
            self.excluded.insert(step);
        }
    }

    /// What the window that ends with a step holds; `None` if it had no request.
    fn window(&self, step: i64) -> Option<Figures> {
        let before = self.sums.get(&step.saturating_sub(1));
        let sums = [before, self.sums.get(&step)];
        sums.into_iter().flatten().copied().reduce(|one, other| {
            std::array::from_fn(|kind| {
                let figure = |of: Figures| of.get(kind).copied().unwrap_or_default();
                figure(one).saturating_add(figure(other))
            })
        })
    }

    /// The windows of the fourteen days before the one that ends with a step.
    fn baseline(&self, step: i64) -> Vec<Figures> {
        let first = step.saturating_sub(STEPS);
        let last = step.saturating_sub(OVERLAP + 1);
        // A window has a request if one of its two steps has.
        let mut ends = BTreeSet::new();
        for (with, _) in self.sums.range(first.saturating_sub(1)..=last.max(first)) {
            ends.extend([*with, with.saturating_add(1)]);
        }
        ends.range(first..=last.max(first))
            .filter(|end| **end <= last && !self.excluded.contains(end))
            .filter_map(|end| self.window(*end))
            .collect()
    }
}

/// What 99 of 100 windows do not exceed, by the nearest rank; each kind by itself.
fn usual(windows: &[Figures]) -> Figures {
    std::array::from_fn(|kind| {
        let figures = windows.iter().filter_map(|figures| figures.get(kind));
        let mut figures: Vec<u64> = figures.copied().collect();
        let rank = figures
            .len()
            .saturating_mul(99)
            .div_ceil(100)
            .saturating_sub(1);
        if rank >= figures.len() {
            return 0;
        }
        let (_, at, _) = figures.select_nth_unstable(rank);
        *at
    })
}
