//! Who started whom, for processes whose parent ends before they are looked at: the kernel then
//! gives them another one, and the script that started an agent would be forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use agent_core::event::{Ancestor, ProcId};

use super::stat::Stat;
use super::{MAX_ANCESTORS, link, printable, read_stat};

/// LIMIT: processes that are remembered, some 2 MiB; the one that came first is forgotten.
const MAX_PROCESSES: usize = 8_192;

/// LIMIT: processes above one that are looked at for its session; beyond it the parent counts.
const MAX_GENERATIONS: usize = 64;

/// Who started a living process, as far as the living tell: its parent, or, where that one ended and the
/// process was given to another, the leader of its session. A session is inherited, begun by its leader, and
/// never joined (setsid(2)), so the leader is an ancestor of everything in it.
pub(super) fn starter(pid: u32, stat: &Stat) -> u32 {
    let leader = stat.session;
    if leader == pid || leader == 0 {
        return stat.parent_pid;
    }
    let mut above = stat.parent_pid;
    for _ in 0..MAX_GENERATIONS {
        let parent = (above != 0).then(|| read_stat(&folder(above))).flatten();
        let Some(parent) = parent else {
            let is_alive = read_stat(&folder(leader))
                .is_some_and(|found| found.start_ticks <= stat.start_ticks);
            return if is_alive { leader } else { stat.parent_pid };
        };
        // Either it is the leader, or who is above it is its own affair.
        if parent.session == leader {
            break;
        }
        above = parent.parent_pid;
    }
    stat.parent_pid
}

fn folder(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

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
    /// Notes a process that executes a program and has this [`starter`], and returns who started it.
    pub(super) fn executes(
        &mut self,
        id: ProcId,
        comm: String,
        exe: Option<String>,
        starter: u32,
    ) -> Option<ProcId> {
        // Its parent may have ended since an earlier program of it.
        let known = self.by_id.get(&id).and_then(|kin| kin.parent);
        let parent = known.or_else(|| self.learn(starter, MAX_ANCESTORS));
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

    /// The chain upwards from a process that has this [`starter`], and had that one when it was seen to
    /// execute a program.
    pub(super) fn ancestors(&self, starter_pid: u32, seen: Option<ProcId>) -> Vec<Ancestor> {
        let (mut pid, mut seen) = (starter_pid, seen);
        let mut chain = Vec::new();
        while chain.len() < MAX_ANCESTORS {
            let dir = folder(pid);
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
            pid = starter(pid, &stat);
        }
        chain
    }

    /// Looks at a living process, unless it is known, and at those above it.
    fn learn(&mut self, pid: u32, depth: usize) -> Option<ProcId> {
        if pid == 0 || depth == 0 {
            return None;
        }
        let dir = folder(pid);
        let stat = read_stat(&dir)?;
        let id = ProcId {
            pid,
            start_ticks: stat.start_ticks,
        };
        if !self.by_id.contains_key(&id) {
            let parent = self.learn(starter(pid, &stat), depth - 1);
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
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

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

    /// A shell that leads a session, and a process that one of its children started and left behind.
    #[test]
    fn a_process_whose_parent_ended_unseen_descends_from_the_leader_of_its_session() {
        let script = "(sleep 60 >&- & echo $!); read end; exit";
        let mut shell = Command::new("setsid")
            .args(["sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut out = BufReader::new(shell.stdout.take().unwrap());
        out.read_line(&mut said).unwrap();
        let orphan: u32 = said.trim().parse().unwrap();
        let stat = loop {
            let stat = read_stat(&folder(orphan)).unwrap();
            let parent = read_stat(&folder(stat.parent_pid));
            // The one between ends right after it said the number.
            if parent.is_none_or(|parent| parent.session != stat.session) {
                break stat;
            }
        };

        let chain = Lineage::default().ancestors(starter(orphan, &stat), None);
        let mut lineage = Lineage::default();
        let seen = lineage.executes(id(orphan), "sleep".to_owned(), None, starter(orphan, &stat));

        let killed = Command::new("kill").arg(orphan.to_string()).status();
        assert!(killed.unwrap().success());
        drop(shell.stdin.take());
        shell.wait().unwrap();
        let above: Vec<u32> = chain.iter().map(|ancestor| ancestor.id.pid).collect();
        assert_eq!(
            above.get(..2),
            Some([shell.id(), std::process::id()].as_slice())
        );
        assert_eq!(seen.map(|seen| seen.pid), Some(shell.id()));
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
