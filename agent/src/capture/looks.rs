//! Which processes are to be looked at, and when.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use agent_core::event::Timestamp;

/// When a process is looked at after an exec where the kernel does not tell of mappings. The first
/// look finds the executable itself, the next ones the libraries of the dynamic linker, the last
/// ones what an interpreter imports.
const AFTER_EXEC: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(5),
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
];

/// How often a process that opens connections is looked at, at most.
const AT_CONNECTS: Duration = Duration::from_secs(1);

/// LIMIT: looks that wait. Beyond it the latest ones are left to the next look at all processes.
const MAX_WAITING: usize = 65_536;

/// LIMIT: processes of which the time of their exec or connect is remembered. Beyond it all are
/// forgotten, which costs a figure or a look.
const MAX_REMEMBERED: usize = 16_384;

/// Looks that wait, and what decides about further ones.
#[derive(Debug, Default)]
pub(super) struct Looks {
    waiting: BinaryHeap<Reverse<(Timestamp, u32)>>,
    executed: BTreeMap<u32, Timestamp>,
    connected: BTreeMap<u32, Timestamp>,
}

impl Looks {
    /// A process executed a program.
    pub(super) fn executed(&mut self, pid: u32, at: Timestamp) {
        remember(&mut self.executed, pid, at);
        self.connected.remove(&pid);
    }

    /// When it did, if that was seen.
    pub(super) fn executed_at(&self, pid: u32) -> Option<Timestamp> {
        self.executed.get(&pid).copied()
    }

    /// It is to be looked at again and again while it maps its libraries.
    pub(super) fn follow(&mut self, pid: u32, from: Timestamp) {
        for delay in AFTER_EXEC {
            self.add(pid, from + delay);
        }
    }

    /// A process is about to speak: it is to be looked at now, unless it was just now.
    pub(super) fn connected(&mut self, pid: u32, at: Timestamp) {
        let is_due = self
            .connected
            .get(&pid)
            .is_none_or(|last| at.since(*last) >= AT_CONNECTS);
        if is_due {
            remember(&mut self.connected, pid, at);
            self.add(pid, at);
        }
    }

    /// A process is gone. The time of its exec stays: what it had mapped may still be looked at.
    pub(super) fn exited(&mut self, pid: u32) {
        self.connected.remove(&pid);
    }

    /// A process is to be looked at.
    pub(super) fn add(&mut self, pid: u32, at: Timestamp) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push(Reverse((at, pid)));
        }
    }

    /// When the next look is due.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.waiting.peek().map(|Reverse((due, _))| *due)
    }

    /// Takes the processes whose looks are due, each once.
    pub(super) fn take(&mut self, now: Timestamp) -> BTreeSet<u32> {
        let mut due = BTreeSet::new();
        while let Some(Reverse((at, pid))) = self.waiting.peek().copied() {
            if at > now {
                break;
            }
            self.waiting.pop();
            due.insert(pid);
        }
        due
    }
}

fn remember(times: &mut BTreeMap<u32, Timestamp>, pid: u32, at: Timestamp) {
    if times.len() >= MAX_REMEMBERED {
        times.clear();
    }
    times.insert(pid, at);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_process_that_is_followed_is_looked_at_more_and_more_seldom() {
        let mut looks = Looks::default();
        looks.follow(7, at(1_000));
        let mut times = Vec::new();
        while let Some(due) = looks.deadline() {
            assert_eq!(looks.take(due), BTreeSet::from([7]));
            times.push(due);
        }
        let expected = [0, 5, 25, 100, 500, 2_000].map(|delay| at(1_000 + delay));
        assert_eq!(times, expected);
    }

    #[test]
    fn a_process_that_connects_all_the_time_is_looked_at_once_a_second() {
        let mut looks = Looks::default();
        for ms in [0, 1, 500, 999] {
            looks.connected(7, at(ms));
        }
        assert_eq!(looks.take(at(999)), BTreeSet::from([7]));
        assert_eq!(looks.deadline(), None);
        looks.connected(7, at(1_000));
        assert_eq!(looks.deadline(), Some(at(1_000)));
        // Another program is looked at anew.
        looks.take(at(1_000));
        looks.executed(7, at(1_001));
        looks.connected(7, at(1_002));
        assert_eq!(looks.deadline(), Some(at(1_002)));
    }

    #[test]
    fn looks_that_are_due_together_are_one() {
        let mut looks = Looks::default();
        for (pid, ms) in [(7, 1), (8, 2), (7, 3), (9, 9)] {
            looks.add(pid, at(ms));
        }
        assert_eq!(looks.take(at(5)), BTreeSet::from([7, 8]));
        assert_eq!(looks.take(at(5)), BTreeSet::new());
        assert_eq!(looks.deadline(), Some(at(9)));
    }
}
