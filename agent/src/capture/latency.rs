//! How long things took, as a distribution in a fixed amount of memory.

use std::time::Duration;

/// Buckets: each is twice as wide as the one before, from a microsecond to over an hour.
const BUCKETS: usize = 32;

/// Counts of durations by their size. A figure that is read from it is the upper end of a bucket,
/// and so at most twice the true one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    counts: [u64; BUCKETS],
    longest_us: u64,
}

/// How long it took from a sign of a new file until its probes were on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// From the exec of the process that mapped it.
    pub from_exec: Latencies,
    /// From its mapping.
    pub from_map: Latencies,
}

impl Latencies {
    /// Counts one.
    pub fn add(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = us.max(1).ilog2() as usize;
        if let Some(count) = self.counts.get_mut(bucket.min(BUCKETS - 1)) {
            *count += 1;
        }
        self.longest_us = self.longest_us.max(us);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The longest, in microseconds.
    pub const fn longest_us(&self) -> u64 {
        self.longest_us
    }

    /// What `percent` of them did not exceed, in microseconds; 0 if there are none.
    pub fn percentile_us(&self, percent: u64) -> u64 {
        let wanted = self.count().saturating_mul(percent).div_ceil(100);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && *count > 0 {
                return self.longest_us.min((2 << bucket) - 1);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_up_to_a_factor_of_two_and_never_too_small() {
        let mut latencies = Latencies::default();
        assert_eq!((latencies.count(), latencies.percentile_us(50)), (0, 0));
        for us in 1..=1_000 {
            latencies.add(Duration::from_micros(us));
        }
        assert_eq!(latencies.count(), 1_000);
        assert_eq!(latencies.longest_us(), 1_000);
        for percent in [1, 50, 90, 99, 100] {
            let (figure, truth) = (latencies.percentile_us(percent), percent * 10);
            assert!(
                (truth..2 * truth).contains(&figure) || figure == 1_000,
                "{percent}: {figure}"
            );
        }
    }

    #[test]
    fn what_is_too_short_or_too_long_to_be_told_is_counted() {
        let mut latencies = Latencies::default();
        latencies.add(Duration::ZERO);
        latencies.add(Duration::MAX);
        assert_eq!(latencies.count(), 2);
        assert_eq!(latencies.percentile_us(50), 1);
        assert_eq!(latencies.percentile_us(100), (2 << 31) - 1);
    }
}
