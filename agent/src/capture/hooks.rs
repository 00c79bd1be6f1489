//! Which files are probed, through which of their names, for whom, and until when.
//!
//! The kernel puts probes on the file itself, whatever path led to it: one link serves all
//! processes, and every overlay above one layer. But the path that was used stays busy as long as
//! the link is there, and a deleted file keeps its blocks. So links go when nobody maps the file any
//! more, except on the host's own file systems, where the next start is to be seen from its first
//! byte.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use agent_core::event::Timestamp;
use agent_resolver::{Confidence, Function, Functions, Method, Outcome, Resolution};

use super::Refusal;
use super::attach::{Attacher, Hook};
use super::files::{FileId, Stamp, stamp_of};
use super::inspect::Tls;
use super::maps::MapKey;
use super::sites::{self, Meaning, Site};

/// How long nobody has mapped a file until its probes go: a program that is started again and again
/// keeps them.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// LIMIT: probed files. Each takes three descriptors; a host has a few dozen, one with containers a
/// few hundred. Files beyond it are reported as refused.
const MAX_HOOKED: usize = 1_024;

/// LIMIT: files that stay probed while nobody runs them. Beyond it those unused for longest go; they
/// are probed again within milliseconds of their next start.
const MAX_UNUSED: usize = 256;

/// LIMIT: processes that are remembered for one file. With more, only a look at all processes
/// decides whether it is in use.
const MAX_HOLDERS: usize = 1_024;

/// A file that was looked at, for reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Target {
    /// Path, as the process that mapped it sees it.
    pub path: PathBuf,
    /// The TLS library in it, with its version where that is known.
    pub library: Option<String>,
    /// How its functions were found.
    pub found_by: Option<String>,
    /// How sure it is that they are these.
    pub confidence: Option<String>,
    /// Functions that are hooked; empty if it was refused.
    pub functions: Vec<String>,
    /// Links that the kernel holds for it.
    pub links: usize,
    /// Why it is not hooked.
    pub refusal: Option<String>,
}

impl Target {
    /// What is known of a file before it is hooked.
    pub(super) fn of(path: PathBuf, resolution: &Resolution) -> Self {
        let mut target = Self {
            path,
            library: resolution.library().map(ToString::to_string),
            ..Self::default()
        };
        if let Outcome::Found(Functions {
            method, confidence, ..
        }) = &resolution.outcome
        {
            target.found_by = Some(
                match method {
                    Method::Names => "names",
                    Method::ErrorSites => "error sites",
                }
                .to_owned(),
            );
            target.confidence = Some(
                match confidence {
                    Confidence::Fair => "fair",
                    Confidence::High => "high",
                    Confidence::Certain => "certain",
                }
                .to_owned(),
            );
        }
        target
    }

    fn hooked_at(mut self, sites: &[Site], hook: Option<&Hook>) -> Self {
        let names: BTreeSet<&str> = sites.iter().filter_map(Site::name).collect();
        self.functions = names.into_iter().map(str::to_owned).collect();
        self.links = hook.map_or(0, Hook::links);
        self
    }
}

/// Number of a probed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Number(u64);

/// A probed file.
#[derive(Debug)]
struct Hooked {
    target: Target,
    sites: Vec<Site>,
    /// `None` where the agent only looks.
    hook: Option<Hook>,
    /// The name that leads to it for the kernel.
    through: FileId,
}

/// One name of a probed file: most have one, those below several overlays have one in each.
#[derive(Debug)]
struct Name {
    of: Number,
    file: File,
    stamp: Stamp,
    is_on_overlay: bool,
    /// As the kernel's lists of mappings name it.
    keys: Vec<MapKey>,
    /// Processes that have mapped it, as far as that is known.
    holders: BTreeSet<u32>,
    /// It is not let go while it has a name in the file system.
    stays: bool,
    idle_since: Option<Timestamp>,
}

/// What became of a file with TLS functions.
#[derive(Debug)]
pub(super) enum Added {
    /// It is probed from now on.
    Hooked,
    /// It was already, under this name or another one.
    Known,
    /// It can't be.
    Refused(Refusal),
}

/// A name that is not probed any more.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) id: FileId,
    /// By which the kernel's lists of mappings named it.
    pub(super) keys: Vec<MapKey>,
}

/// The probed files.
pub(super) struct Hooks {
    attacher: Option<Attacher>,
    hooked: BTreeMap<Number, Hooked>,
    names: BTreeMap<FileId, Name>,
    held: BTreeMap<u32, BTreeSet<FileId>>,
    next: u64,
}

impl Hooks {
    /// None so far. Without an attacher nothing is probed, only listed.
    pub(super) const fn new(attacher: Option<Attacher>) -> Self {
        Self {
            attacher,
            hooked: BTreeMap::new(),
            names: BTreeMap::new(),
            held: BTreeMap::new(),
            next: 0,
        }
    }

    /// Probes a file. One that `stays` is not let go while it has a name.
    pub(super) fn add(&mut self, tls: Tls, path: PathBuf, stays: bool) -> Added {
        let Tls {
            opened,
            is_on_overlay,
            resolution,
        } = tls;
        let id = opened.stamp.id;
        let sites = sites::sites(&resolution);
        if let Some(name) = self.names.get_mut(&id) {
            // An overlay shows another file under the same number once it has copied it up.
            let is_file_same = !is_on_overlay || name.stamp == opened.stamp;
            name.stamp = opened.stamp;
            name.stays |= stays && opened.names > 0;
            let number = name.of;
            let is_content_same = self
                .hooked
                .get(&number)
                .is_some_and(|hooked| hooked.sites == sites);
            if is_file_same && is_content_same {
                return Added::Known;
            }
            self.remove(id);
        }
        let double = self.double_of(&opened.stamp, is_on_overlay, &sites);
        let number = double.unwrap_or(Number(self.next));
        if double.is_none() {
            if self.hooked.len() >= MAX_HOOKED {
                return Added::Refused(Refusal::TooMany { path });
            }
            let hook = match self.attach(&opened.file, &path, &sites) {
                Ok(hook) => hook,
                Err(refusal) => return Added::Refused(refusal),
            };
            let hooked = Hooked {
                target: Target::of(path, &resolution).hooked_at(&sites, hook.as_ref()),
                sites,
                hook,
                through: id,
            };
            self.hooked.insert(number, hooked);
            self.next += 1;
        }
        let name = Name {
            of: number,
            stamp: opened.stamp,
            is_on_overlay,
            keys: Vec::new(),
            holders: BTreeSet::new(),
            stays: stays && opened.names > 0,
            idle_since: None,
            file: opened.file,
        };
        self.names.insert(id, name);
        match double {
            None => Added::Hooked,
            Some(_) => Added::Known,
        }
    }

    /// The probed file that this is another name of, through an overlay.
    fn double_of(&self, stamp: &Stamp, is_on_overlay: bool, sites: &[Site]) -> Option<Number> {
        self.names
            .values()
            .find(|name| {
                (is_on_overlay || name.is_on_overlay)
                    && stamp.is_layer_of(&name.stamp)
                    && self
                        .hooked
                        .get(&name.of)
                        .is_some_and(|hooked| hooked.sites == sites)
            })
            .map(|name| name.of)
    }

    fn attach(
        &mut self,
        file: &File,
        path: &std::path::Path,
        sites: &[Site],
    ) -> Result<Option<Hook>, Refusal> {
        self.attacher
            .as_mut()
            .map(|attacher| attacher.attach(file.as_fd(), path, sites))
            .transpose()
    }

    fn detach(&mut self, hook: Option<Hook>) {
        if let (Some(attacher), Some(hook)) = (&mut self.attacher, hook) {
            attacher.detach(hook);
        }
    }

    /// The probed file of that name, for reports.
    pub(super) fn target(&self, id: FileId) -> Option<&Target> {
        let name = self.names.get(&id)?;
        self.hooked.get(&name.of).map(|hooked| &hooked.target)
    }

    /// All probed files.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.hooked.values().map(|hooked| &hooked.target)
    }

    /// One of `libraries` that is probed where its host name is set, and that nobody but root can
    /// change: it may be loaded.
    pub(super) fn checkable(&self, libraries: &BTreeSet<PathBuf>) -> Option<PathBuf> {
        self.names
            .values()
            .filter_map(|name| Some((name, self.hooked.get(&name.of)?)))
            .find(|(name, hooked)| {
                libraries.contains(&hooked.target.path)
                    && hooked
                        .sites
                        .iter()
                        .any(|site| site.meaning == Meaning::Entry(Function::Ctrl))
                    && name
                        .file
                        .metadata()
                        .is_ok_and(|metadata| metadata.uid() == 0 && metadata.mode() & 0o022 == 0)
            })
            .map(|(_, hooked)| hooked.target.path.clone())
    }

    /// How many files are probed.
    pub(super) fn len(&self) -> usize {
        self.hooked.len()
    }

    /// An open file of every name.
    pub(super) fn files(&self) -> impl Iterator<Item = (FileId, &File)> {
        self.names.iter().map(|(id, name)| (*id, &name.file))
    }

    /// The kernel lists mappings of this file by `key` too.
    pub(super) fn add_key(&mut self, id: FileId, key: MapKey) {
        if let Some(name) = self.names.get_mut(&id)
            && !name.keys.contains(&key)
        {
            name.keys.push(key);
        }
    }

    /// A process has mapped a file.
    pub(super) fn hold(&mut self, pid: u32, id: FileId) {
        let Some(name) = self.names.get_mut(&id) else {
            return;
        };
        name.idle_since = None;
        if name.holders.len() < MAX_HOLDERS && name.holders.insert(pid) {
            self.held.entry(pid).or_default().insert(id);
        }
    }

    /// Whether an overlay may show another file by now under the number of this one.
    pub(super) fn may_be_another(&self, id: FileId) -> bool {
        self.names.get(&id).is_some_and(|name| {
            name.is_on_overlay && stamp_of(&name.file).is_ok_and(|(stamp, _)| stamp != name.stamp)
        })
    }

    /// Whether a process is known to have mapped one.
    pub(super) fn is_holder(&self, pid: u32) -> bool {
        self.held.contains_key(&pid)
    }

    /// A process has gone, or has other mappings now. True if a file may be unused because of it
    /// that does not stay.
    pub(super) fn leave(&mut self, pid: u32, now: Timestamp) -> bool {
        let mut may_go = false;
        for id in self.held.remove(&pid).into_iter().flatten() {
            if let Some(name) = self.names.get_mut(&id) {
                name.holders.remove(&pid);
                if name.holders.is_empty() {
                    name.idle_since.get_or_insert(now);
                    may_go |= !name.stays;
                }
            }
        }
        may_go
    }

    /// Takes what a look at all processes has shown: who has mapped which file.
    pub(super) fn set_holders(
        &mut self,
        mut mapped: BTreeMap<FileId, BTreeSet<u32>>,
        now: Timestamp,
    ) {
        self.held.clear();
        for (id, name) in &mut self.names {
            name.holders = mapped.remove(id).unwrap_or_default();
            if name.holders.is_empty() {
                name.idle_since.get_or_insert(now);
            } else {
                name.idle_since = None;
            }
            for pid in &name.holders {
                self.held.entry(*pid).or_default().insert(*id);
            }
        }
    }

    /// A file was deleted, or may have been: it goes when nobody has mapped it any more.
    pub(super) fn look_at_name(&mut self, id: FileId) {
        if let Some(name) = self.names.get_mut(&id)
            && stamp_of(&name.file).is_ok_and(|(_, names)| names == 0)
        {
            name.stays = false;
        }
    }

    /// Names whose file is not what it was when it was looked at; those without a name stay no
    /// longer.
    pub(super) fn changed(&mut self) -> Vec<FileId> {
        let mut changed = Vec::new();
        for (id, name) in &mut self.names {
            match stamp_of(&name.file) {
                Ok((stamp, names)) => {
                    name.stays &= names > 0;
                    if stamp != name.stamp {
                        changed.push(*id);
                    }
                }
                Err(_unreadable) => name.stays = false,
            }
        }
        changed
    }

    /// Lets go what was unused for long enough. It is to be called right after
    /// [`Hooks::set_holders`] only: what is not known to be in use may be.
    pub(super) fn let_go(&mut self, now: Timestamp) -> Vec<Gone> {
        let mut unused: Vec<(Timestamp, FileId)> = Vec::new();
        let mut goes = Vec::new();
        for (id, name) in &self.names {
            let Some(since) = name.idle_since else {
                continue;
            };
            if name.stays {
                unused.push((since, *id));
            } else if now.since(since) >= GRACE {
                goes.push(*id);
            }
        }
        unused.sort_unstable();
        let surplus = unused.len().saturating_sub(MAX_UNUSED);
        goes.extend(unused.into_iter().take(surplus).map(|(_, id)| id));
        goes.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// When a file that does not stay has been unused for long enough.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.names
            .values()
            .filter(|name| !name.stays)
            .filter_map(|name| name.idle_since)
            .min()
            .map(|since| since + GRACE)
    }

    /// Removes a name, and the probes with the last one.
    fn remove(&mut self, id: FileId) -> Option<Gone> {
        let name = self.names.remove(&id)?;
        for pid in &name.holders {
            if let Some(held) = self.held.get_mut(pid) {
                held.remove(&id);
                if held.is_empty() {
                    self.held.remove(pid);
                }
            }
        }
        let other = self
            .names
            .iter()
            .find(|(_, other)| other.of == name.of)
            .map(|(id, _)| *id);
        let is_through = self
            .hooked
            .get(&name.of)
            .is_some_and(|hooked| hooked.through == id);
        match other {
            None => {
                if let Some(hooked) = self.hooked.remove(&name.of) {
                    tracing::info!(path = %hooked.target.path.display(), "let go: nobody has it mapped");
                    self.detach(hooked.hook);
                }
            }
            // The probes keep the mount of the name that is gone busy.
            Some(other) if is_through => {
                if let Err(refusal) = self.attach_again(name.of, other) {
                    tracing::warn!(%refusal, "a file could not be hooked through its other name");
                }
            }
            Some(_) => {}
        }
        Some(Gone {
            id,
            keys: name.keys,
        })
    }

    /// Removes a file with all its names.
    pub(super) fn remove_all_names(&mut self, id: FileId) -> Vec<Gone> {
        let Some(of) = self.names.get(&id).map(|name| name.of) else {
            return Vec::new();
        };
        let all: Vec<FileId> = self
            .names
            .iter()
            .filter(|(_, name)| name.of == of)
            .map(|(id, _)| *id)
            .collect();
        // Probes first: names that go one by one would move them.
        if let Some(hooked) = self.hooked.remove(&of) {
            self.detach(hooked.hook);
        }
        all.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Puts new probes on a file through one of its names, then takes the old ones off: what both
    /// see counts once.
    fn attach_again(&mut self, number: Number, through: FileId) -> Result<(), Refusal> {
        let Some(hooked) = self.hooked.get(&number) else {
            return Ok(());
        };
        let (path, sites) = (hooked.target.path.clone(), hooked.sites.clone());
        let Some(name) = self.names.get(&through) else {
            return Ok(());
        };
        let new = match &mut self.attacher {
            Some(attacher) => Some(attacher.attach(name.file.as_fd(), &path, &sites)?),
            None => None,
        };
        let Some(hooked) = self.hooked.get_mut(&number) else {
            return Ok(());
        };
        hooked.through = through;
        let old = std::mem::replace(&mut hooked.hook, new);
        self.detach(old);
        Ok(())
    }

    /// Renews the probes of every file. Gives how many could not be.
    pub(super) fn renew(&mut self) -> usize {
        let all: Vec<(Number, FileId)> = self
            .hooked
            .iter()
            .map(|(number, hooked)| (*number, hooked.through))
            .collect();
        all.into_iter()
            .filter(
                |(number, through)| match self.attach_again(*number, *through) {
                    Ok(()) => false,
                    Err(refusal) => {
                        tracing::warn!(%refusal, "probes could not be renewed");
                        true
                    }
                },
            )
            .count()
    }

    /// Takes all probes off.
    pub(super) fn detach_all(&mut self) {
        for hooked in std::mem::take(&mut self.hooked).into_values() {
            self.detach(hooked.hook);
        }
        self.names.clear();
        self.held.clear();
    }
}
