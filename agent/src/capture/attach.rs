//! Attaches probes: sites in, links out. Everything that differs between kernels is behind it.

use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use agent_resolver::Function;
use aya::Ebpf;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLinkId, UProbeScope};
use aya::programs::{ProgramError, UProbe};

use super::Refusal;
use super::loader::{entry_program, return_program};
use super::sites::{self, Meaning, Site};
use super::support::AttachKind;

/// The probes on one file. They stay until they are detached or the agent ends.
#[derive(Debug)]
pub struct Hook {
    links: Vec<(&'static str, UProbeLinkId)>,
}

impl Hook {
    /// How many links the kernel holds for it.
    pub fn links(&self) -> usize {
        self.links.len()
    }
}

/// Owns the loaded programs and attaches them.
pub struct Attacher {
    kind: AttachKind,
    programs: Ebpf,
}

impl Attacher {
    /// Takes loaded programs.
    pub const fn new(kind: AttachKind, programs: Ebpf) -> Self {
        Self { kind, programs }
    }

    /// How it attaches.
    pub const fn kind(&self) -> AttachKind {
        self.kind
    }

    /// Attaches to all sites of the open file: all of them, or none.
    ///
    /// # Errors
    ///
    /// The kernel refuses a probe.
    pub fn attach(
        &mut self,
        file: BorrowedFd<'_>,
        path: &Path,
        sites: &[Site],
    ) -> Result<Hook, Refusal> {
        // The descriptor names the file whatever happened to its path: replaced, deleted, or in
        // another mount namespace.
        let target = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let mut hook = Hook { links: Vec::new() };
        for (name, points) in self.plan(sites) {
            let attached = self.program(name).and_then(|program| {
                program.attach(points.iter(), &target, UProbeScope::AllProcesses)
            });
            match attached {
                Ok(link) => hook.links.push((name, link)),
                Err(source) => {
                    self.detach(hook);
                    return Err(Refusal::Attach {
                        path: path.to_owned(),
                        source,
                    });
                }
            }
        }
        Ok(hook)
    }

    /// Takes the probes off a file.
    pub fn detach(&mut self, hook: Hook) {
        for (name, link) in hook.links {
            if let Err(error) = self.program(name).and_then(|program| program.detach(link)) {
                tracing::debug!(%error, "a link was gone already");
            }
        }
    }

    fn program(&mut self, name: &'static str) -> Result<&mut UProbe, ProgramError> {
        // The loader loaded every program that a plan can name.
        self.programs
            .program_mut(name)
            .ok_or(ProgramError::NotLoaded)?
            .try_into()
    }

    /// Which program goes where: one call of `attach`, and so one link or one set of links, for
    /// each. Returns come first: an entry without its return would keep arguments for nothing.
    fn plan(&self, sites: &[Site]) -> Vec<(&'static str, Vec<UProbeAttachPoint<'static>>)> {
        let mut plan: Vec<(&'static str, Vec<UProbeAttachPoint<'static>>)> = Vec::new();
        let mut add = |name, point| match plan.iter_mut().find(|(known, _)| *known == name) {
            Some((_, points)) => points.push(point),
            None => plan.push((name, vec![point])),
        };
        for site in sites {
            if site.meaning == Meaning::Return {
                add(return_program(), self.point(site.offset, None));
            }
        }
        for site in sites {
            if let Meaning::Entry(function) = site.meaning {
                add(
                    entry_program(self.kind, function),
                    self.point(site.offset, Some(function)),
                );
            }
        }
        plan
    }

    const fn point(&self, offset: u64, function: Option<Function>) -> UProbeAttachPoint<'static> {
        let cookie = match (self.kind, function) {
            (AttachKind::Multi, Some(function)) => Some(sites::number(function)),
            (AttachKind::Multi, None) | (AttachKind::Single, _) => None,
        };
        UProbeAttachPoint {
            location: UProbeAttachLocation::AbsoluteOffset(offset),
            cookie,
        }
    }
}
