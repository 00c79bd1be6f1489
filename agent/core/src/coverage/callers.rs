//! Which processes talk to LLM hosts, and how much of that was understood.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::CoverageOutcome;
use crate::event::{ProcId, Process};

/// LIMIT: processes that are remembered; beyond it the one that was silent for longest is forgotten.
const CALLERS: usize = 1_024;

/// LIMIT: hosts of one process that are told apart; more are put together under the last one.
const HOSTS: usize = 16;

/// How long a process is remembered after it was last heard of, in milliseconds: an hour.
const REMEMBERED_MS: i64 = 3_600_000;

/// A process that talks to LLM hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Process.
    pub process: Arc<Process>,
    /// Hosts that it talks to, in the order of their first sight.
    pub hosts: Vec<Host>,
    /// When it was last heard of, in milliseconds since the Unix epoch.
    pub last_unix_ms: i64,
}

/// A host that a process talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Name; `None` where no name is known.
    pub name: Option<String>,
    /// What became of the talk.
    pub seen: Seen,
}

/// How much was understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Calls that were seen whole.
    pub calls: u64,
    /// Calls of which a part is missing.
    pub truncated_calls: u64,
    /// Connections whose plaintext is no protocol that can be read.
    pub undecodable_connections: u64,
    /// Connections whose plaintext was not seen.
    pub unprobed_connections: u64,
}

/// The processes of the last hour.
#[derive(Clone, Debug, Default)]
pub struct Callers {
    by_process: BTreeMap<ProcId, Caller>,
    revision: u64,
}

impl Callers {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Caller> {
        self.by_process.values()
    }

    /// Grows with every change.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn note(
        &mut self,
        unix_ms: i64,
        process: &Arc<Process>,
        host: Option<&str>,
        outcome: CoverageOutcome,
    ) {
        self.revision += 1;
        if !self.by_process.contains_key(&process.id) && self.by_process.len() >= CALLERS {
            let silent = self
                .by_process
                .iter()
                .min_by_key(|(_, caller)| caller.last_unix_ms)
                .map(|(id, _)| *id);
            if let Some(silent) = silent {
                self.by_process.remove(&silent);
            }
        }
        let caller = self.by_process.entry(process.id).or_insert_with(|| Caller {
            process: Arc::clone(process),
            hosts: Vec::new(),
            last_unix_ms: unix_ms,
        });
        // Another program may run by now.
        caller.process = Arc::clone(process);
        caller.last_unix_ms = caller.last_unix_ms.max(unix_ms);
        let known = caller
            .hosts
            .iter()
            .position(|known| known.name.as_deref() == host);
        let at = known.unwrap_or_else(|| {
            if caller.hosts.len() < HOSTS {
                caller.hosts.push(Host {
                    name: host.map(str::to_owned),
                    seen: Seen::default(),
                });
            }
            caller.hosts.len().saturating_sub(1)
        });
        let Some(host) = caller.hosts.get_mut(at) else {
            return;
        };
        match outcome {
            CoverageOutcome::Decoded | CoverageOutcome::NoUsage => host.seen.calls += 1,
            CoverageOutcome::Truncated => host.seen.truncated_calls += 1,
            CoverageOutcome::Undecodable => host.seen.undecodable_connections += 1,
            CoverageOutcome::Unprobed => host.seen.unprobed_connections += 1,
            CoverageOutcome::LostEvent => {}
        }
    }

    /// Forgets the processes that were silent for an hour.
    pub(super) fn forget_before(&mut self, now_unix_ms: i64) {
        let oldest = now_unix_ms.saturating_sub(REMEMBERED_MS);
        let before = self.by_process.len();
        self.by_process
            .retain(|_, caller| caller.last_unix_ms >= oldest);
        if self.by_process.len() < before {
            self.revision += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::FactSource;

    fn process(pid: u32) -> Arc<Process> {
        Arc::new(Process {
            id: ProcId {
                pid,
                start_ticks: 1,
            },
            comm: "codex".to_owned(),
            source: FactSource::Proc,
            ..Process::default()
        })
    }

    #[test]
    fn what_becomes_of_a_process_s_talk_is_counted_by_host() {
        let mut callers = Callers::default();
        for (host, outcome) in [
            (Some("a.example"), CoverageOutcome::Decoded),
            (Some("b.example"), CoverageOutcome::Unprobed),
            (Some("a.example"), CoverageOutcome::NoUsage),
            (Some("a.example"), CoverageOutcome::Truncated),
            (None, CoverageOutcome::Undecodable),
        ] {
            callers.note(5, &process(7), host, outcome);
        }
        let host = |name: Option<&str>, counts: [u64; 4]| Host {
            name: name.map(str::to_owned),
            seen: Seen {
                calls: counts[0],
                truncated_calls: counts[1],
                undecodable_connections: counts[2],
                unprobed_connections: counts[3],
            },
        };
        let expected = Caller {
            process: process(7),
            hosts: vec![
                host(Some("a.example"), [2, 1, 0, 0]),
                host(Some("b.example"), [0, 0, 0, 1]),
                host(None, [0, 0, 1, 0]),
            ],
            last_unix_ms: 5,
        };
        assert_eq!(callers.iter().collect::<Vec<_>>(), [&expected]);
    }

    #[test]
    fn processes_and_hosts_are_bounded_and_forgotten_after_an_hour() {
        let mut callers = Callers::default();
        for number in 0..2_000_u32 {
            let host = format!("{number}.example");
            let at = i64::from(number);
            callers.note(at, &process(number), None, CoverageOutcome::Decoded);
            callers.note(5_000, &process(1), Some(&host), CoverageOutcome::Decoded);
        }
        assert_eq!(callers.iter().count(), CALLERS);
        let busy = callers.iter().find(|caller| caller.process.id.pid == 1);
        let hosts = &busy.unwrap().hosts;
        assert_eq!(hosts.len(), HOSTS);
        let calls: u64 = hosts.iter().map(|host| host.seen.calls).sum();
        assert_eq!(calls, 2_001);
        callers.forget_before(REMEMBERED_MS + 5_000);
        assert_eq!(callers.iter().count(), 1);
        callers.forget_before(REMEMBERED_MS + 5_001);
        assert_eq!(callers.iter().count(), 0);
    }
}
