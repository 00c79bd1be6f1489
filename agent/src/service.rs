//! What the agent tells the service manager that started it, if one did (`sd_notify(3)`).
//!
//! *Takes* signs of life of the threads and what happens to the agent. *Gives* messages to the socket
//! that the environment names; without one, nothing. *Remembers* when each thread last moved. The
//! watchdog is fed only while all of them move, so that an agent that counts nothing any more is
//! started anew.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// How often the watchdog is thought of within its time.
const LOOKS_WITHIN: u32 = 4;

/// A thread that did not move for this part of the watchdog's time is stuck.
const STUCK_AFTER: u32 = 2;

/// Signs of life of one thread: each turn of its loop is one. Clones are of the same thread.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// The thread took another turn.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The threads without which nothing is counted.
#[derive(Clone, Debug, Default)]
pub struct Vitals {
    /// Empties the ring.
    pub reader: Pulse,
    /// Parses.
    pub line: Pulse,
    /// Writes the ledger.
    pub keeper: Pulse,
}

impl Vitals {
    const fn each(&self) -> [(&'static str, &Pulse); 3] {
        [
            ("capture", &self.reader),
            ("line", &self.line),
            ("store", &self.keeper),
        ]
    }
}

/// One thread as it was seen last.
#[derive(Clone, Copy, Debug)]
struct Seen {
    count: u64,
    moved_at: Instant,
}

/// Tells moving threads from stuck ones.
#[derive(Debug)]
struct Watch {
    vitals: Vitals,
    seen: [Seen; 3],
    /// How long a thread may stand still.
    patience: Duration,
}

impl Watch {
    fn new(vitals: Vitals, patience: Duration, now: Instant) -> Self {
        let seen = vitals.each().map(|(_, pulse)| Seen {
            count: pulse.count(),
            moved_at: now,
        });
        Self {
            vitals,
            seen,
            patience,
        }
    }

    /// The threads that stand still for too long.
    fn stuck(&mut self, now: Instant) -> Vec<&'static str> {
        let mut stuck = Vec::new();
        for ((name, pulse), seen) in self.vitals.each().into_iter().zip(&mut self.seen) {
            let count = pulse.count();
            if count != seen.count {
                *seen = Seen {
                    count,
                    moved_at: now,
                };
            } else if now.saturating_duration_since(seen.moved_at) > self.patience {
                stuck.push(name);
            }
        }
        stuck
    }
}

/// The service manager, or nobody.
#[derive(Debug)]
pub struct Manager {
    watch: Watch,
    /// How often the watchdog is thought of; `None` if the manager has none for us.
    interval: Option<Duration>,
    is_stuck: bool,
}

impl Manager {
    /// The one that the environment names.
    pub fn of_environment(vitals: Vitals) -> Self {
        let limit = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
        Self {
            watch: Watch::new(
                vitals,
                limit.unwrap_or(Duration::MAX) / STUCK_AFTER,
                Instant::now(),
            ),
            interval: limit.map(|limit| limit / LOOKS_WITHIN),
            is_stuck: false,
        }
    }

    /// How often [`Manager::feed`] is to be called.
    pub const fn interval(&self) -> Option<Duration> {
        self.interval
    }

    /// The agent watches, as `status` says; also after a reload.
    pub fn ready(&self, status: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// The agent reads its configuration anew. [`Manager::ready`] follows.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(at) => tell(&[NotifyState::Reloading, at]),
            Err(error) => tracing::debug!(%error, "the clock can't be read"),
        }
    }

    /// The agent stops.
    pub fn stopping(&self) {
        // What is left is detaching, which says nothing: it has the whole time of the watchdog.
        if self.interval.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
        tell(&[NotifyState::Stopping]);
    }

    /// Feeds the watchdog, unless a thread is stuck.
    pub fn feed(&mut self) {
        if self.interval.is_none() {
            return;
        }
        let stuck = self.watch.stuck(Instant::now());
        if stuck.is_empty() {
            tell(&[NotifyState::Watchdog]);
        } else if !self.is_stuck {
            let threads = stuck.join(", ");
            tracing::error!(
                threads,
                "threads are stuck; the watchdog is not fed any more"
            );
        }
        self.is_stuck = !stuck.is_empty();
    }
}

fn tell(states: &[NotifyState<'_>]) {
    match sd_notify::notify(states) {
        Ok(()) => {}
        // The manager reads at its leisure; what is lost is said again or does not matter.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => tracing::debug!(%error, "the service manager can't be told"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_stuck_when_it_takes_no_turn_for_longer_than_it_may() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let vitals = Vitals::default();
        let mut watch = Watch::new(vitals.clone(), Duration::from_secs(30), start);
        assert!(watch.stuck(after(30)).is_empty());
        assert_eq!(watch.stuck(after(31)), ["capture", "line", "store"]);

        for (_, pulse) in vitals.each() {
            pulse.beat();
        }
        assert!(watch.stuck(after(40)).is_empty());
        vitals.reader.beat();
        vitals.keeper.beat();
        assert!(watch.stuck(after(70)).is_empty());
        assert_eq!(watch.stuck(after(71)), ["line"]);

        vitals.line.beat();
        assert!(watch.stuck(after(72)).is_empty());
    }

    #[test]
    fn without_a_manager_nothing_is_watched() {
        // Tests run without one.
        let mut manager = Manager::of_environment(Vitals::default());
        assert_eq!(manager.interval(), None);
        manager.feed();
        assert!(!manager.is_stuck);
    }
}
