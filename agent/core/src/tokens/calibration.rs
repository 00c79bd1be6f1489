//! What this host's own reported calls say about the factors of the families.
//!
//! A figure is learned for input and output apart, as a correction of the factor for the kind of
//! text, so that prose and code calibrate each other. It is held in memory alone: after a start the
//! measured factors hold until enough calls were seen. Nothing is learned about a family before a
//! call of it had to be counted: a host whose calls are all reported pays nothing, not even for the
//! vocabulary.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::family::Family;
use crate::event::Timestamp;

/// LIMIT: the last 15 calls; the figure is their median, which seven odd ones do not move.
const MOST: usize = 15;

/// Calls before there is a figure.
const LEAST: usize = 5;

/// LIMIT: between half and double of what was measured; a call beyond had a part that was not seen,
/// or is none of the family.
const BAND: std::ops::RangeInclusive<u64> = 500..=2000;

/// LIMIT: time for a byte that was counted to learn from it, so at most 100 kB of text a second. The
/// tokenizer takes some 5 ms for them: half a per cent of a core. Calls between are not learned from.
const REST_PER_BYTE: Duration = Duration::from_micros(10);

/// What was learned.
#[derive(Default)]
pub(super) struct Calibrations {
    families: BTreeMap<Family, Sides>,
    /// Nothing is learned before.
    rests_until: Timestamp,
}

/// The corrections of a family.
#[derive(Default)]
pub(super) struct Sides {
    pub(super) input: Running,
    pub(super) output: Running,
}

impl Calibrations {
    pub(super) const fn new() -> Self {
        Self {
            families: BTreeMap::new(),
            rests_until: Timestamp::from_nanos(0),
        }
    }

    /// The corrections of a family that a call has to be counted for; it is learned about from there
    /// on.
    pub(super) fn wanted(&mut self, family: Family) -> &Sides {
        self.families.entry(family).or_default()
    }

    /// The corrections of a family, to be learned from a text of so many bytes, if it is wanted and
    /// the time for it has come.
    pub(super) fn learning(
        &mut self,
        family: Family,
        at: Timestamp,
        bytes: u64,
    ) -> Option<&mut Sides> {
        let sides = self.families.get_mut(&family)?;
        if at < self.rests_until {
            return None;
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.rests_until = at + REST_PER_BYTE.saturating_mul(bytes);
        Some(sides)
    }
}

/// A running correction.
#[derive(Default)]
pub(super) struct Running {
    /// Corrections in thousandths, the oldest first.
    last: VecDeque<u64>,
}

impl Running {
    /// Takes the tokens of a text as the provider reported them, and as they would have been counted.
    pub(super) fn push(&mut self, reported: u64, counted: u64) {
        let Some(correction) = reported.saturating_mul(1000).checked_div(counted) else {
            return;
        };
        if BAND.contains(&correction) {
            if self.last.len() >= MOST {
                self.last.pop_front();
            }
            self.last.push_back(correction);
        }
    }

    /// A factor in thousandths, corrected; `None` while too little is known. Rounded to hundredths,
    /// so that calls have few different ones.
    pub(super) fn corrected(&self, milli: u32) -> Option<u32> {
        if self.last.len() < LEAST {
            return None;
        }
        let mut sorted: Vec<u64> = self.last.iter().copied().collect();
        sorted.sort_unstable();
        let median = *sorted.get(sorted.len() / 2)?;
        let hundredths = (u64::from(milli) * median + 5_000) / 10_000;
        u32::try_from(hundredths * 10).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(reported: &[u64]) -> Running {
        let mut running = Running::default();
        for reported in reported {
            running.push(*reported, 1000);
        }
        running
    }

    #[test]
    fn a_figure_is_the_median_of_enough_calls() {
        for (reported, expected) in [
            (&[][..], None),
            (&[1100; 4], None),
            (&[1100; 5], Some(1650)),
            (&[1000, 1500, 1100, 1120, 700], Some(1650)),
            // What is out of the band is not a call of it.
            (&[1100, 1100, 499, 2001, 1100, 1100, 0, 1_000_000], None),
            (&[1101; 5], Some(1650)),
        ] {
            assert_eq!(running(reported).corrected(1500), expected, "{reported:?}");
        }
    }

    #[test]
    fn the_last_calls_count_and_what_is_remembered_is_bounded() {
        let mut running = running(&[2000; 100]);
        for _ in 0..8 {
            running.push(1000, 1000);
        }
        assert_eq!(running.last.len(), MOST);
        assert_eq!(running.corrected(1000), Some(1000));
        running.push(u64::MAX, 1);
        running.push(1, 0);
        assert_eq!(running.corrected(1000), Some(1000));
    }

    #[test]
    fn nothing_is_learned_unasked_or_too_often() {
        let at = |millis: u64| Timestamp::from_nanos(millis * 1_000_000);
        let mut learned = Calibrations::new();
        let family = Family::Gemini;
        assert!(learned.learning(family, at(1), 1000).is_none());
        learned.wanted(family);
        assert!(learned.learning(Family::Qwen, at(1), 1000).is_none());
        assert!(learned.learning(family, at(1), 1000).is_some());
        assert!(learned.learning(family, at(10), 1000).is_none());
        assert!(learned.learning(family, at(11), u64::MAX).is_some());
        assert!(learned.learning(family, at(1_000_000), 1).is_none());
    }
}
