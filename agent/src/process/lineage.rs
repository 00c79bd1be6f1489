//! Who started whom, for processes whose parent ends before they are looked at: the kernel then
//! gives them another one, and the script that started an agent would be forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use agent_core::event::{Ancestor, ProcId};

use super::{MAX_ANCESTORS, link, printable, read_stat};

/// LIMIT: processes that are remembered, some 2 MiB; the one that came first is forgotten.
const MAX_PROCESSES: usize = 8_192;

/// Processes that executed a program, and those that they descend from.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    by_id: BTreeMap<ProcId, Kin>,
    /// Oldest first.
    order: VecDeque<ProcId>,
}

#[derive(Debug)]
struct Kin {
    comm: String,
    exe: Option<String>,
    parent: Option<ProcId>,
}

impl Lineage {
    /// Notes a process that executes a program, and returns who started it.
    pub(super) fn executes(
        &mut self,
        id: ProcId,
        comm: String,
        exe: Option<String>,
        parent_pid: u32,
    ) -> Option<ProcId> {
        // Its parent may have ended since an earlier program of it.
        let known = self.by_id.get(&id).and_then(|kin| kin.parent);
        let parent = known.or_else(|| self.learn(parent_pid, MAX_ANCESTORS));
        self.keep(id, Kin { comm, exe, parent });
        parent
    }

    /// The chain from a process upwards, as far as it was seen.
    pub(super) fn chain(&self, nearest: ProcId) -> Vec<Ancestor> {
        let mut next = Some(nearest);
        let mut chain = Vec::new();
        while let Some((id, kin)) = next.and_then(|id| Some((id, self.by_id.get(&id)?)))
            && chain.len() < MAX_ANCESTORS
        {
            chain.push(Ancestor {
                id,
                comm: kin.comm.clone(),
                exe: kin.exe.clone(),
            });
            next = kin.parent;
        }
        chain
    }

    /// The chain upwards from a process that has this parent, and had that one when it was seen to
    /// execute a program.
    pub(super) fn ancestors(&self, parent_pid: u32, seen: Option<ProcId>) -> Vec<Ancestor> {
        let (mut pid, mut seen) = (parent_pid, seen);
        let mut chain = Vec::new();
        while chain.len() < MAX_ANCESTORS {
            let dir = Path::new("/proc").join(pid.to_string());
            let stat = (pid != 0).then(|| read_stat(&dir)).flatten();
            let id = stat.as_ref().map(|stat| ProcId {
                pid,
                start_ticks: stat.start_ticks,
            });
            if let Some(parent) = seen.filter(|seen| id != Some(*seen)) {
                // That one ended, and what it had started was given to another process.
                chain.extend(self.chain(parent));
                chain.truncate(MAX_ANCESTORS);
                break;
            }
            let (Some(stat), Some(id)) = (stat, id) else {
                break;
            };
            chain.push(Ancestor {
                id,
                comm: printable(&stat.comm),
                exe: link(&dir.join("exe")),
            });
            seen = self.by_id.get(&id).and_then(|kin| kin.parent);
            pid = stat.parent_pid;
        }
        chain
    }

    /// Looks at a living process, unless it is known, and at those above it.
    fn learn(&mut self, pid: u32, depth: usize) -> Option<ProcId> {
        if pid == 0 || depth == 0 {
            return None;
        }
        let dir = Path::new("/proc").join(pid.to_string());
        let stat = read_stat(&dir)?;
        let id = ProcId {
            pid,
            start_ticks: stat.start_ticks,
        };
        if !self.by_id.contains_key(&id) {
            let parent = self.learn(stat.parent_pid, depth - 1);
            let kin = Kin {
                comm: printable(&stat.comm),
                exe: link(&dir.join("exe")),
                parent,
            };
            self.keep(id, kin);
        }
        Some(id)
    }

    fn keep(&mut self, id: ProcId, kin: Kin) {
        if self.by_id.insert(id, kin).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > MAX_PROCESSES
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_id.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(pid: u32) -> ProcId {
        ProcId {
            pid,
            start_ticks: 1,
        }
    }

    fn note(lineage: &mut Lineage, pid: u32, comm: &str, parent_pid: u32) -> Option<ProcId> {
        let exe = Some(format!("/bin/{comm}"));
        lineage.executes(id(pid), comm.to_owned(), exe, parent_pid)
    }

    #[test]
    fn living_ancestors_are_learnt_and_their_chain_is_kept() {
        let mut lineage = Lineage::default();
        let own = std::process::id();
        let parent = note(&mut lineage, u32::MAX, "child", own).unwrap();
        assert_eq!(parent.pid, own);
        let chain = lineage.chain(parent);
        let exe = std::env::current_exe().unwrap().display().to_string();
        assert_eq!(chain.first().unwrap().exe, Some(exe));
        let above = chain.get(1).map(|ancestor| ancestor.id.pid);
        let expected =
            rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        assert_eq!(above, expected);
        assert!(chain.len() <= MAX_ANCESTORS);
    }

    #[test]
    fn who_started_a_process_stays_so_when_it_runs_another_program() {
        let mut lineage = Lineage::default();
        let own = std::process::id();
        let parent = note(&mut lineage, u32::MAX, "sh", own);
        assert_eq!(note(&mut lineage, u32::MAX, "agent", 1), parent);
        let comms: Vec<_> = lineage
            .chain(id(u32::MAX))
            .into_iter()
            .map(|kin| kin.comm)
            .collect();
        assert_eq!(comms.first().map(String::as_str), Some("agent"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut lineage = Lineage::default();
        let most = u32::try_from(MAX_PROCESSES).unwrap();
        for pid in 0..most + 10 {
            note(&mut lineage, pid, "x", 0);
        }
        assert_eq!(lineage.by_id.len(), MAX_PROCESSES);
        assert_eq!(lineage.chain(id(9)), []);
        assert_eq!(lineage.chain(id(10)).len(), 1);
    }
}
