//! Sums of the last while, in slots of equal width, so that a window that moves costs no memory for
//! each thing that was added.

use std::collections::BTreeMap;
use std::time::Duration;

/// Sums of `N` figures. A window covers whole slots, the one of its end included: it reaches back for
/// its length, less up to one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recent<const N: usize> {
    width_ms: i64,
    /// Slots of the longest window.
    longest: usize,
    sums: BTreeMap<i64, [u64; N]>,
}

impl<const N: usize> Recent<N> {
    /// No sums yet; slots of `width`, and windows of up to `longest` slots.
    pub fn new(width: Duration, longest: usize) -> Self {
        Self {
            width_ms: i64::try_from(width.as_millis()).unwrap_or(i64::MAX).max(1),
            longest,
            sums: BTreeMap::new(),
        }
    }

    /// Adds figures at a moment, in milliseconds since the Unix epoch.
    pub fn add(&mut self, unix_ms: i64, figures: [u64; N]) {
        let sums = self.sums.entry(unix_ms.div_euclid(self.width_ms));
        let sums = sums.or_insert([0; N]);
        for (sum, figure) in sums.iter_mut().zip(figures) {
            *sum = sum.saturating_add(figure);
        }
        // LIMIT: twice the slots of the longest window: what is late or, after a step of the clock,
        // early takes the place of nothing. Beyond, the oldest slot goes.
        while self.sums.len() > self.longest.saturating_mul(2) {
            self.sums.pop_first();
        }
    }

    /// Takes out what was added at a moment before.
    pub fn remove(&mut self, unix_ms: i64, figures: [u64; N]) {
        let Some(sums) = self.sums.get_mut(&unix_ms.div_euclid(self.width_ms)) else {
            return;
        };
        for (sum, figure) in sums.iter_mut().zip(figures) {
            *sum = sum.saturating_sub(figure);
        }
    }

    /// Sums of a window of so many slots that ends at a moment. What lies up to as far ahead counts
    /// too, because the clock was set back.
    pub fn sum(&self, unix_ms: i64, slots: usize) -> [u64; N] {
        let end = unix_ms.div_euclid(self.width_ms);
        let slots = i64::try_from(slots).unwrap_or(i64::MAX);
        let window = end.saturating_sub(slots).saturating_add(1)..end.saturating_add(slots.max(1));
        let mut total = [0_u64; N];
        for (_, sums) in self.sums.range(window) {
            for (sum, figure) in total.iter_mut().zip(sums) {
                *sum = sum.saturating_add(*figure);
            }
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn minutes(longest: usize) -> Recent<1> {
        Recent::new(Duration::from_secs(60), longest)
    }

    #[test]
    fn a_window_holds_whole_slots_up_to_the_one_of_its_end() {
        let mut recent = minutes(10);
        for minute in 0..10 {
            recent.add(minute * 60_000 + 59_999, [1 << minute]);
        }

        assert_eq!(recent.sum(9 * 60_000, 1), [1 << 9]);
        assert_eq!(recent.sum(9 * 60_000 + 59_999, 3), [0b11_1000_0000]);
        assert_eq!(recent.sum(12 * 60_000, 3), [0]);
        assert_eq!(recent.sum(-60_000, 0), [0]);
    }

    #[test]
    fn what_is_taken_out_was_never_there() {
        let mut recent = minutes(10);
        recent.add(0, [5]);
        recent.remove(1, [2]);
        recent.remove(60_000, [2]);

        assert_eq!(recent.sum(0, 1), [3]);
    }

    proptest! {
        #[test]
        fn no_stream_of_times_makes_it_grow(times in prop::collection::vec(any::<i64>(), 0..200)) {
            let mut recent = minutes(4);
            for time in times {
                recent.add(time, [u64::MAX]);
                recent.sum(time, usize::MAX);
                prop_assert!(recent.sums.len() <= 8);
            }
        }
    }
}
