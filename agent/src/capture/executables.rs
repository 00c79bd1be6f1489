//! Which program a process runs, as the kernel told it: for a process that is gone before `/proc`
//! can be asked.
//!
//! The first file that is mapped as code in an exec is the program, or the interpreter of a script:
//! what `/proc/PID/exe` names. The linker and libraries follow.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_core::event::Timestamp;

/// LIMIT: execs that are remembered: those of some seconds on a host that starts a thousand programs
/// a second. The oldest is forgotten; its process, if it is gone, has no executable then.
const MAX_EXECS: usize = 4_096;

/// LIMIT: bytes of paths that are remembered. Beyond it the oldest execs are forgotten: paths that
/// somebody made long on purpose cost no more memory than others.
const MAX_PATH_BYTES: usize = 1 << 20;

/// LIMIT: how long it is waited for what the kernel has told already and the thread that listens to
/// it has not taken yet, which is about a millisecond unless the host is busy.
const PATIENCE: Duration = Duration::from_millis(50);

/// One thing that a process did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) pid: u32,
    /// When, on the boot clock.
    pub(super) at: Timestamp,
    pub(super) kind: StepKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StepKind {
    /// It has left its program, and is about to map another one.
    BeganExec,
    /// It mapped a file as code.
    Mapped(PathBuf),
}

/// The execs of the whole host, shared by the thread that listens to them and the one that asks.
#[derive(Debug)]
pub struct Executables {
    execs: Mutex<Execs>,
    changed: Condvar,
    patience: Duration,
}

impl Default for Executables {
    fn default() -> Self {
        Self {
            execs: Mutex::default(),
            changed: Condvar::new(),
            patience: PATIENCE,
        }
    }
}

#[derive(Debug, Default)]
struct Execs {
    /// By process and beginning: what was mapped first, once something was.
    programs: BTreeMap<(u32, Timestamp), Option<PathBuf>>,
    /// Oldest first.
    order: VecDeque<(u32, Timestamp)>,
    path_bytes: usize,
    /// Everything that was done until then is known; `None` while nobody listens.
    known_until: Option<Timestamp>,
}

impl Executables {
    /// Takes what was done until `until`, in the order in which it was. If something is missing
    /// (`has_gap`), what was begun until then is forgotten: what was mapped first is not known.
    pub(super) fn take(&self, steps: Vec<Step>, has_gap: bool, until: Timestamp) {
        let mut execs = self.lock();
        if has_gap {
            *execs = Execs::default();
        } else {
            for step in steps {
                execs.take(step);
            }
        }
        execs.known_until = Some(until);
        drop(execs);
        self.changed.notify_all();
    }

    /// The program that a process ran after an exec, as that process saw its path. The exec was done
    /// at the end of `within`, and the one before it by its start. Waits a little if the program is
    /// not known yet.
    pub(super) fn of(&self, pid: u32, within: RangeInclusive<Timestamp>) -> Option<PathBuf> {
        let is_behind = |execs: &mut Execs| {
            let is_late = |until| until < *within.end();
            execs.of(pid, &within).is_none() && execs.known_until.is_some_and(is_late)
        };
        let (execs, _) = self
            .changed
            .wait_timeout_while(self.lock(), self.patience, is_behind)
            .unwrap_or_else(PoisonError::into_inner);
        execs.of(pid, &within).map(Path::to_owned)
    }

    fn lock(&self) -> MutexGuard<'_, Execs> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Execs {
    fn take(&mut self, step: Step) {
        match step.kind {
            StepKind::BeganExec => {
                let exec = (step.pid, step.at);
                if self.programs.insert(exec, None).is_none() {
                    self.order.push_back(exec);
                }
            }
            StepKind::Mapped(path) => {
                let earlier = (step.pid, Timestamp::default())..=(step.pid, step.at);
                let exec = self.programs.range_mut(earlier).next_back();
                if let Some((_, program @ None)) = exec {
                    self.path_bytes += path.as_os_str().len();
                    *program = Some(path);
                }
            }
        }
        while self.order.len() > MAX_EXECS || self.path_bytes > MAX_PATH_BYTES {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            if let Some(Some(path)) = self.programs.remove(&oldest) {
                self.path_bytes = self.path_bytes.saturating_sub(path.as_os_str().len());
            }
        }
    }

    fn of(&self, pid: u32, within: &RangeInclusive<Timestamp>) -> Option<&Path> {
        let begun = (pid, *within.start())..=(pid, *within.end());
        let (_, program) = self.programs.range(begun).next_back()?;
        program.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    /// Before all that is known.
    const ANY: RangeInclusive<Timestamp> = at(0)..=at(999);

    const fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    fn began(pid: u32, nanos: u64) -> Step {
        Step {
            pid,
            at: at(nanos),
            kind: StepKind::BeganExec,
        }
    }

    fn mapped(pid: u32, nanos: u64, path: &str) -> Step {
        Step {
            pid,
            at: at(nanos),
            kind: StepKind::Mapped(path.into()),
        }
    }

    fn told(steps: Vec<Step>) -> Executables {
        let executables = Executables::default();
        executables.take(steps, false, at(1_000));
        executables
    }

    #[test]
    fn the_first_file_that_an_exec_maps_is_the_program() {
        let executables = told(vec![
            mapped(7, 1, "/lib/of/the/program/before.so"),
            began(7, 2),
            began(8, 2),
            mapped(8, 3, "/bin/other"),
            mapped(7, 4, "/bin/sh"),
            mapped(7, 5, "/lib/ld.so"),
            // Its exec is done at 6.
            mapped(7, 7, "/lib/libc.so"),
            began(7, 10),
            mapped(7, 11, "/usr/bin/curl"),
            mapped(7, 12, "/lib/ld.so"),
        ]);
        let program = |from, to| executables.of(7, at(from)..=at(to));
        assert_eq!(program(0, 1), None);
        assert_eq!(program(0, 6), Some("/bin/sh".into()));
        assert_eq!(program(6, 13), Some("/usr/bin/curl".into()));
        assert_eq!(program(0, 13), Some("/usr/bin/curl".into()));
        // Of the exec after that nothing was told.
        assert_eq!(program(13, 20), None);
        assert_eq!(executables.of(8, ANY), Some("/bin/other".into()));
        assert_eq!(executables.of(9, ANY), None);
    }

    #[test]
    fn what_is_mapped_without_an_exec_is_no_program() {
        let executables = told(vec![mapped(7, 1, "/lib/plugin.so")]);
        assert_eq!(executables.of(7, ANY), None);
    }

    #[test]
    fn after_a_gap_nothing_is_guessed() {
        let executables = told(vec![began(7, 1), began(8, 1), mapped(8, 2, "/bin/a")]);
        executables.take(vec![began(8, 5)], true, at(1_001));
        executables.take(
            vec![mapped(7, 6, "/lib/ld.so"), mapped(8, 6, "/lib/ld.so")],
            false,
            at(1_002),
        );
        assert_eq!(executables.of(7, ANY), None);
        assert_eq!(executables.of(8, ANY), None);
    }

    #[test]
    fn the_oldest_execs_are_forgotten_at_the_limits() {
        let count = u32::try_from(MAX_EXECS).unwrap();
        let execs = |path: &str| -> Vec<Step> {
            (0..=count)
                .flat_map(|pid| [began(pid, 1), mapped(pid, 2, path)])
                .collect()
        };
        let executables = told(execs("/bin/a"));
        assert_eq!(executables.of(0, ANY), None);
        assert_eq!(executables.of(1, ANY), Some("/bin/a".into()));
        let long = format!("/{}", "x".repeat(4_095));
        let executables = told(execs(&long));
        let held = executables.lock();
        assert_eq!(held.programs.len(), MAX_PATH_BYTES / long.len());
        assert_eq!(held.order.len(), held.programs.len());
        assert_eq!(held.path_bytes, MAX_PATH_BYTES);
    }

    #[test]
    fn what_is_on_its_way_is_waited_for() {
        let executables = Arc::new(Executables {
            patience: Duration::from_secs(60),
            ..told(Vec::new())
        });
        let listener = {
            let executables = Arc::clone(&executables);
            thread::spawn(move || {
                executables.take(
                    vec![began(7, 1_001), mapped(7, 1_002, "/bin/a")],
                    false,
                    at(1_010),
                );
            })
        };
        let found = executables.of(7, at(0)..=at(1_005));
        listener.join().unwrap();
        assert_eq!(found, Some("/bin/a".into()));
    }
}
