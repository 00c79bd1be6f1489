//! Wall-clock times of moments on the boot clock.

use std::collections::VecDeque;

use crate::event::Timestamp;

/// LIMIT: readings that are kept, the newest. One comes at start and one after each jump of the
/// wall clock; calls that began before the oldest are labelled by it.
const READINGS: usize = 64;

/// The readings of both clocks.
#[derive(Debug, Default)]
pub(super) struct WallClock {
    /// Moments and their wall-clock times in nanoseconds, in order of moment.
    readings: VecDeque<(Timestamp, u64)>,
}

impl WallClock {
    /// Takes a reading of both clocks.
    pub(super) fn learn(&mut self, at: Timestamp, unix_ns: u64) {
        let place = self.readings.partition_point(|(moment, _)| *moment <= at);
        self.readings.insert(place, (at, unix_ns));
        if self.readings.len() > READINGS {
            self.readings.pop_front();
        }
    }

    /// Wall-clock time of a moment in milliseconds since the Unix epoch: by the latest reading
    /// that is not after it, else by the first. Without any it counts from boot, which is as good
    /// as the epoch for telling records apart.
    pub(super) fn unix_ms(&self, moment: Timestamp) -> i64 {
        let before = self.readings.iter().rev().find(|(at, _)| *at <= moment);
        let (at, unix_ns) = before
            .or_else(|| self.readings.front())
            .copied()
            .unwrap_or_default();
        let unix_ns =
            i128::from(unix_ns) + i128::from(moment.as_nanos()) - i128::from(at.as_nanos());
        i64::try_from(unix_ns.div_euclid(1_000_000)).unwrap_or(i64::MAX)
    }
}
