//! Finds files that carry TLS functions: what is installed, what the running processes have mapped,
//! and what they map from now on.
//!
//! A probe sits on a file, not on a process: whoever runs a file that was seen before is observed
//! from its first call. New files come by events: the kernel tells of every mapping of code
//! ([`super::mappings`]), and of every process that opens a connection; folders in which programs
//! are installed are watched. A look at all processes, now and then, finds what was missed, and
//! which files are no longer in use.

mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_core::event::Timestamp;
use agent_resolver::Unreadable;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::attach::Attacher;
use super::checks::{CheckCounts, Checks, Then};
use super::executables::Executables;
use super::files::{FileId, Stamp, host_devices, path_of, stamp_at};
use super::hooks::{Added, Gone, Hooks, Target};
use super::inspect::{Answer, Content, Inspector, Request, Tls, ways};
use super::latency::Delays;
use super::looks::Looks;
use super::mappings::{Batch, Mapped, Mappings};
use super::maps::{MapKey, Mapping, dir_of, is_shortage};
use super::reported::Reported;
use super::room::{WantRoom, wants_room};
use super::self_check::{SelfCheck, Verdict};
use super::watch::{Change, Watch};
use super::{Refusal, ld_cache, places};
use crate::privilege;

/// File names that a TLS library of the OpenSSL interface begins with. Wheels rename theirs
/// (`libssl-8b66dd34.so.3`), so what follows is free.
const LIBRARY_PREFIX: &str = "libssl";

/// Time that a file is left alone after somebody wrote to it: it may not be whole yet.
const SETTLING: Duration = Duration::from_secs(1);

/// LIMIT: files that are known by their mappings. Beyond it those that carry nothing are looked at
/// again.
const MAX_SEEN: usize = 131_072;

/// LIMIT: files that wait for an answer. Beyond it new ones are left to the next full scan.
const MAX_WAITING: usize = 16_384;

/// LIMIT: files that were written to and wait. Beyond it they are found as they are mapped.
const MAX_UNSETTLED: usize = 256;

/// What is known of a mapped file.
struct Seen {
    /// What tells it from an earlier file of its number, where the kernel said so.
    generation: Option<u64>,
    /// Once it was opened.
    stamp: Option<Stamp>,
    is: SeenAs,
}

enum SeenAs {
    /// It is being looked at.
    Waiting,
    /// Nothing is to be done about it.
    Plain,
    /// A file that is hooked.
    Hooked(FileId),
}

/// Why a file is looked at.
enum Cause {
    /// It lies where programs or libraries are installed.
    Installed,
    /// A process has it mapped.
    Mapped {
        key: MapKey,
        generation: Option<u64>,
        pid: u32,
        /// When it was mapped, if that was seen.
        at: Option<Timestamp>,
    },
    /// It changed since it was hooked.
    Changed(FileId),
}

struct Waiting {
    cause: Cause,
    path: PathBuf,
}

/// What reaches discovery from its own threads.
enum Sighting {
    Mapped(Batch),
    Answer(Answer),
    Changed(Vec<Change>),
    Installed(Vec<PathBuf>),
    Checked(PathBuf, Verdict),
}

/// How new files are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The kernel tells of every mapping.
    Events,
    /// Processes are looked at after an exec.
    Looks,
}

/// Knows which files were looked at, and looks at new ones.
pub struct Discovery {
    hooks: Hooks,
    inspector: Inspector,
    watch: Option<Watch>,
    /// Programs that are installed were not told yet.
    awaits_survey: bool,
    mode: Mode,
    sightings: UnboundedReceiver<Sighting>,
    sender: UnboundedSender<Sighting>,
    seen: BTreeMap<MapKey, Seen>,
    waiting: BTreeMap<u64, Waiting>,
    next_ticket: u64,
    looks: Looks,
    /// Files that were written to, to be looked at when they are whole.
    unsettled: BTreeMap<PathBuf, Timestamp>,
    reported: Reported,
    want_room: WantRoom,
    host_devices: BTreeSet<u64>,
    host_libraries: BTreeSet<PathBuf>,
    /// The agent's own program.
    own: Option<FileId>,
    checks: Option<Checks>,
    delays: Delays,
    scan_wanted: Option<Timestamp>,
    rest_until: Timestamp,
    /// Something could not be looked at since the last look at all processes.
    is_short: bool,
    degraded: Option<String>,
    revision: u64,
}

impl Discovery {
    /// Has not looked at anything. What is found is kept across restarts at `results`, if that is
    /// given. Without an attacher it only looks.
    ///
    /// # Errors
    ///
    /// A thread can't be started.
    pub fn new(attacher: Option<Attacher>, results: Option<PathBuf>) -> io::Result<Self> {
        let (sender, sightings) = unbounded_channel();
        let answer = {
            let sender = sender.clone();
            move |answer| {
                // Nobody waits for it after the end.
                sender.send(Sighting::Answer(answer)).unwrap_or_default();
            }
        };
        Ok(Self {
            hooks: Hooks::new(attacher),
            inspector: Inspector::start(results, answer)?,
            watch: None,
            awaits_survey: false,
            mode: Mode::Looks,
            sightings,
            sender,
            seen: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next_ticket: 0,
            looks: Looks::default(),
            unsettled: BTreeMap::new(),
            reported: Reported::default(),
            want_room: WantRoom::default(),
            host_devices: host_devices(),
            host_libraries: BTreeSet::new(),
            own: stamp_at(Path::new("/proc/self/exe"))
                .ok()
                .map(|stamp| stamp.id),
            checks: None,
            delays: Delays::default(),
            scan_wanted: None,
            rest_until: Timestamp::default(),
            is_short: false,
            degraded: None,
            revision: 0,
        })
    }

    /// Has the kernel tell of mappings and of changes in folders from now on, and tells
    /// `executables` which programs are executed. Where it refuses to, processes are looked at
    /// instead, and [`Discovery::degraded`] says so.
    pub fn listen(&mut self, executables: Arc<Executables>) {
        match Mappings::open() {
            Ok(mappings) => {
                let sender = self.sender.clone();
                let take = move |mut batch: Batch| {
                    let steps = std::mem::take(&mut batch.steps);
                    executables.take(steps, batch.has_gap, batch.until);
                    let is_empty = batch.mapped.is_empty() && !batch.has_gap;
                    if is_empty {
                        return !sender.is_closed();
                    }
                    sender.send(Sighting::Mapped(batch)).is_ok()
                };
                let started = std::thread::Builder::new()
                    .name("mappings".to_owned())
                    .spawn(move || {
                        privilege::keep(privilege::NOTHING);
                        mappings.run(take);
                    });
                match started {
                    Ok(_runs_until_the_channel_closes) => self.mode = Mode::Events,
                    Err(error) => self.degrade(&error),
                }
            }
            Err(error) => self.degrade(&error),
        }
        let sender = self.sender.clone();
        let changed = move |changes| sender.send(Sighting::Changed(changes)).is_ok();
        let sender = self.sender.clone();
        let installed = move |paths| sender.send(Sighting::Installed(paths)).is_ok();
        match Watch::start(places::folders_of_this_host(), changed, installed) {
            Ok(watch) => (self.watch, self.awaits_survey) = (Some(watch), true),
            Err(error) => {
                tracing::warn!(%error, "folders can't be watched: programs are found as they start");
            }
        }
    }

    /// Has the probes checked from `now` on, every `interval`.
    pub fn check_probes(&mut self, check: Arc<SelfCheck>, interval: Duration, now: Timestamp) {
        self.checks = Some(Checks::new(check, interval, now));
    }

    /// What came of the last check, in words.
    pub fn self_check(&self) -> &str {
        self.checks.as_ref().map_or("", Checks::said)
    }

    /// What came of all checks.
    pub fn check_counts(&self) -> CheckCounts {
        self.checks.as_ref().map(Checks::counts).unwrap_or_default()
    }

    fn start_check(&mut self, now: Timestamp) {
        let library = self.hooks.checkable(&self.host_libraries);
        let sender = self.sender.clone();
        let done = move |library, verdict| {
            // Nobody waits for it after the end.
            sender
                .send(Sighting::Checked(library, verdict))
                .unwrap_or_default();
        };
        if let Some(checks) = &mut self.checks {
            checks.start(library, now, done);
            self.revision += 1;
        }
    }

    fn checked(&mut self, library: &Path, verdict: &Verdict, now: Timestamp) {
        self.revision += 1;
        let Some(checks) = &mut self.checks else {
            return;
        };
        if checks.take(library, verdict, now) == Then::Renew {
            self.hooks.renew();
        }
    }

    fn degrade(&mut self, error: &io::Error) {
        let sentence = format!(
            "the kernel does not tell of mapped files ({error}): a library that is loaded later than two seconds after the start of its program is found by the scan"
        );
        tracing::warn!("{sentence}");
        self.degraded = Some(sentence);
    }

    /// What does not work as it should; `None` if all does.
    pub fn degraded(&self) -> Option<&str> {
        self.degraded.as_deref()
    }

    /// Looks at the host's libraries and at every process. Answers come later.
    pub fn scan_host(&mut self, now: Timestamp) {
        for path in ld_cache::libraries(LIBRARY_PREFIX) {
            // The linker's cache lists links such as `libssl.so`; the file is named by its own path.
            let path = path.canonicalize().unwrap_or(path);
            if self.host_libraries.insert(path.clone()) {
                self.installed(path);
            }
        }
        self.scan_processes(now);
    }

    /// Waits until everything that was asked is answered, or for `limit` answers to come.
    pub fn settle(&mut self, now: impl Fn() -> Timestamp) {
        while !self.waiting.is_empty() {
            let Some(sighting) = self.sightings.blocking_recv() else {
                return;
            };
            self.take(sighting, now());
        }
    }

    /// Whether something that was there from the beginning may still be unhooked: an answer is to
    /// come, or the programs that are installed are not known.
    pub fn is_waiting(&self) -> bool {
        self.awaits_survey || !self.waiting.is_empty()
    }

    /// Waits for something to be told, and takes it.
    pub async fn attend(&mut self, now: impl Fn() -> Timestamp) {
        // Never `None`: this holds a sender.
        if let Some(sighting) = self.sightings.recv().await {
            self.take(sighting, now());
        }
        // What else is there goes with it: each wait costs more than many answers.
        while let Ok(sighting) = self.sightings.try_recv() {
            self.take(sighting, now());
        }
    }

    fn take(&mut self, sighting: Sighting, now: Timestamp) {
        match sighting {
            Sighting::Mapped(batch) => {
                if batch.has_gap {
                    tracing::debug!("the kernel lost mappings: all processes are looked at");
                    self.want_scan(now);
                }
                for mapped in batch.mapped {
                    self.mapped(mapped);
                }
            }
            Sighting::Answer(answer) => self.answered(answer, now),
            Sighting::Changed(changes) => {
                for change in changes {
                    self.changed(&change, now);
                }
            }
            Sighting::Installed(paths) => {
                self.awaits_survey = false;
                for path in paths {
                    self.installed(path);
                }
            }
            Sighting::Checked(library, verdict) => self.checked(&library, &verdict, now),
        }
    }

    /// A process executes a program.
    pub fn executed(&mut self, pid: u32, at: Timestamp) {
        self.looks.executed(pid, at);
        if self.mode == Mode::Looks {
            self.looks.follow(pid, at);
        } else if self.hooks.is_holder(pid) {
            // What it had mapped is gone.
            self.looks.add(pid, at);
        }
    }

    /// A process is about to speak: the last moment to look at it.
    pub fn connected(&mut self, pid: u32, at: Timestamp) {
        self.inspector.hurry(pid);
        self.looks.connected(pid, at);
    }

    /// A process is gone.
    pub fn exited(&mut self, pid: u32, now: Timestamp) {
        self.looks.exited(pid);
        self.hooks.leave(pid, now);
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Timestamp> {
        let settled = self.unsettled.values().min().copied();
        let scan = [self.scan_wanted, self.hooks.deadline()]
            .into_iter()
            .flatten()
            .min()
            .map(|due| due.max(self.rest_until));
        [self.looks.deadline(), settled, scan, self.check_due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// When the probes are to be checked: not before those of the start are on.
    fn check_due(&self) -> Option<Timestamp> {
        let due = self.checks.as_ref().and_then(Checks::due)?;
        self.waiting.is_empty().then_some(due)
    }

    /// Does what is due.
    pub fn expire(&mut self, now: Timestamp) {
        for pid in self.looks.take(now) {
            self.look_at_process(pid, now);
        }
        let settled: Vec<PathBuf> = self
            .unsettled
            .iter()
            .filter(|(_, due)| **due <= now)
            .map(|(path, _)| path.clone())
            .collect();
        for path in settled {
            self.unsettled.remove(&path);
            self.installed(path);
        }
        let scan = [self.scan_wanted, self.hooks.deadline()]
            .into_iter()
            .flatten()
            .min();
        if scan.is_some_and(|due| due <= now) && self.rest_until <= now {
            self.scan_processes(now);
        }
        if self.check_due().is_some_and(|due| due <= now) {
            self.start_check(now);
        }
    }

    fn want_scan(&mut self, at: Timestamp) {
        self.scan_wanted = Some(self.scan_wanted.map_or(at, |wanted| wanted.min(at)));
    }

    /// Grows whenever the targets change.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// What is hooked and what was refused.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.hooks.targets().chain(self.reported.refused())
    }

    /// The same, and files with a TLS library whose functions are not looked for.
    pub fn carriers(&self) -> impl Iterator<Item = &Target> {
        self.targets().chain(self.reported.foreign())
    }

    /// How many files are hooked.
    pub fn hooked(&self) -> usize {
        self.hooks.len()
    }

    /// How long it took until new files were hooked.
    pub const fn delays(&self) -> &Delays {
        &self.delays
    }

    /// Takes all probes off, and writes down what was found.
    pub fn detach(&mut self) {
        self.inspector.save();
        self.hooks.detach_all();
    }

    /// Looks at a file that is mapped, unless it is the one that was looked at before.
    fn look_at_mapping(&mut self, pid: u32, mapping: &Mapping<'_>) {
        let range = dir_of(pid).join("map_files").join(mapping.range);
        let path = Path::new(mapping.path);
        if let Some(seen) = self.seen.get(&mapping.key) {
            let is_same = match (&seen.is, seen.stamp) {
                (SeenAs::Waiting, _) => true,
                // Its changes are told, and looked for by its open file.
                (SeenAs::Hooked(_), _) => true,
                (SeenAs::Plain, stamp) => stamp_at(&range).map_or(true, |now| Some(now) == stamp),
            };
            if is_same {
                return;
            }
        }
        let cause = Cause::Mapped {
            key: mapping.key,
            generation: None,
            pid,
            at: None,
        };
        self.ask(cause, ways(pid, range, path), path.to_owned());
    }

    /// The kernel told of a mapping.
    fn mapped(&mut self, mapped: Mapped) {
        let Mapped {
            pid,
            at,
            addresses: (start, end),
            key,
            generation,
            path,
        } = mapped;
        let range = dir_of(pid)
            .join("map_files")
            .join(format!("{start:x}-{end:x}"));
        if let Some(seen) = self.seen.get_mut(&key) {
            let is_same = match seen.generation {
                Some(known) => known == generation,
                None => {
                    seen.generation = Some(generation);
                    match (&seen.is, seen.stamp) {
                        (SeenAs::Plain, stamp) => {
                            stamp_at(&range).is_ok_and(|now| Some(now) == stamp)
                        }
                        (SeenAs::Waiting | SeenAs::Hooked(_), _) => true,
                    }
                }
            };
            match seen.is {
                SeenAs::Hooked(id) if is_same && !self.hooks.may_be_another(id) => {
                    self.hooks.hold(pid, id);
                    return;
                }
                SeenAs::Waiting | SeenAs::Plain if is_same => return,
                SeenAs::Waiting | SeenAs::Plain | SeenAs::Hooked(_) => {}
            }
        }
        let cause = Cause::Mapped {
            key,
            generation: Some(generation),
            pid,
            at: Some(at),
        };
        self.ask(cause, ways(pid, range, &path), path);
    }

    /// A file lies where programs or libraries are installed.
    fn installed(&mut self, path: PathBuf) {
        self.ask(Cause::Installed, vec![path.clone()], path);
    }

    /// A hooked file may have another content.
    fn look_again(&mut self, id: FileId) {
        let found = self.hooks.files().find(|(known, _)| *known == id);
        let Some((_, file)) = found else { return };
        let way = path_of(file);
        let path = self
            .hooks
            .target(id)
            .map(|target| target.path.clone())
            .unwrap_or_default();
        self.ask(Cause::Changed(id), vec![way], path);
    }

    fn ask(&mut self, cause: Cause, ways: Vec<PathBuf>, path: PathBuf) {
        if self.waiting.len() >= MAX_WAITING {
            return;
        }
        let (mut inode, mut asked_for) = (None, None);
        if let Cause::Mapped {
            key,
            generation,
            pid,
            ..
        } = &cause
        {
            (inode, asked_for) = (Some(key.inode), Some(*pid));
            if self.seen.len() >= MAX_SEEN {
                self.seen
                    .retain(|_, seen| !matches!(seen.is, SeenAs::Plain));
            }
            self.seen.insert(
                *key,
                Seen {
                    generation: *generation,
                    stamp: None,
                    is: SeenAs::Waiting,
                },
            );
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.insert(ticket, Waiting { cause, path });
        self.inspector.ask(Request {
            ticket,
            ways,
            inode,
            pid: asked_for,
        });
    }

    fn answered(&mut self, answer: Answer, now: Timestamp) {
        let Some(Waiting { cause, path }) = self.waiting.remove(&answer.ticket) else {
            return;
        };
        match answer.content {
            Content::Unopened(error) => {
                tracing::debug!(path = %path.display(), %error, "a file can't be opened");
                let is_short = is_shortage(&error);
                if is_short {
                    self.cannot_look(error);
                }
                match cause {
                    // Its process is gone, most likely; another one that maps it will be seen.
                    Cause::Mapped { key, .. } => {
                        self.seen.remove(&key);
                    }
                    Cause::Installed if is_short => self.want_room.add_installed(path),
                    Cause::Installed => {
                        self.reported.forget(&path);
                    }
                    Cause::Changed(_) => {}
                }
            }
            Content::NotRegular => {
                if is_library(&path) {
                    self.refuse(&Refusal::NotRegular { path: path.clone() }, path);
                }
                self.is_plain(&cause, None);
            }
            Content::Unreadable(opened, why) => {
                let is_damaged = !matches!(
                    why,
                    Unreadable::NotElf | Unreadable::Foreign | Unreadable::NotLoadable
                );
                if is_damaged || is_library(&path) {
                    let refusal = Refusal::Elf {
                        path: path.clone(),
                        source: why,
                    };
                    self.refuse(&refusal, path);
                }
                self.is_plain(&cause, Some(opened.stamp));
            }
            Content::Plain(stamp) => self.is_plain(&cause, Some(stamp)),
            Content::Tls(tls) => self.carries_tls(&cause, *tls, path, now),
        }
    }

    /// Nothing is to be done about a file.
    fn is_plain(&mut self, cause: &Cause, stamp: Option<Stamp>) {
        match cause {
            Cause::Mapped { key, .. } => {
                if let Some(seen) = self.seen.get_mut(key) {
                    (seen.stamp, seen.is) = (stamp, SeenAs::Plain);
                }
            }
            // It was hooked and has nothing in it any more.
            Cause::Changed(id) => {
                self.forget(*id);
            }
            Cause::Installed => {}
        }
    }

    fn carries_tls(&mut self, cause: &Cause, tls: Tls, path: PathBuf, now: Timestamp) {
        let stamp = tls.opened.stamp;
        if self.own.is_some_and(|own| own == stamp.id) {
            // It knows the marks of TLS libraries by heart, and is not observed.
            self.is_plain(cause, Some(stamp));
            return;
        }
        if tls.resolution.functions().is_empty() {
            self.reported.add(&tls.resolution, path);
            self.revision += 1;
            self.is_plain(cause, Some(stamp));
            return;
        }
        let is_installed = matches!(cause, Cause::Installed);
        let stays = is_installed || self.host_devices.contains(&stamp.id.device);
        match self.hooks.add(tls, path.clone(), stays) {
            Added::Hooked => {
                self.reported.forget(&path);
                self.revision += 1;
                self.hooked_new(cause, stamp.id, now);
            }
            Added::Known => {}
            Added::Refused(refusal) => {
                self.is_plain(cause, Some(stamp));
                if wants_room(&refusal) {
                    self.try_again(cause, path.clone());
                }
                self.refuse(&refusal, path);
                return;
            }
        }
        if let Some(watch) = &self.watch {
            let file = self.hooks.files().find(|(id, _)| *id == stamp.id);
            if let Some((id, file)) = file {
                watch.add_file(id, file);
            }
        }
        if let Cause::Mapped { key, pid, .. } = cause {
            if let Some(seen) = self.seen.get_mut(key) {
                (seen.stamp, seen.is) = (Some(stamp), SeenAs::Hooked(stamp.id));
            }
            self.hooks.add_key(stamp.id, *key);
            self.hooks.hold(*pid, stamp.id);
        }
    }

    /// The next look at all processes tries a file again.
    fn try_again(&mut self, cause: &Cause, path: PathBuf) {
        match cause {
            Cause::Mapped { key, .. } => self.want_room.add_mapped(*key, path),
            Cause::Installed => self.want_room.add_installed(path),
            // Its probes are gone: it is as if it had never been seen.
            Cause::Changed(id) => self.seen.retain(|_, seen| match seen.is {
                SeenAs::Hooked(hooked) => hooked != *id,
                SeenAs::Waiting | SeenAs::Plain => true,
            }),
        }
    }

    fn hooked_new(&mut self, cause: &Cause, id: FileId, now: Timestamp) {
        let (mut from_map, mut from_exec) = (None, None);
        if let Cause::Mapped { at, pid, .. } = cause {
            // A look at the process may have been quicker than the event of the mapping.
            from_map = at.map(|at| now.since(at));
            from_exec = self.looks.executed_at(*pid).map(|exec| now.since(exec));
        }
        if let Some(delay) = from_map {
            self.delays.from_map.add(delay);
        }
        if let Some(delay) = from_exec {
            self.delays.from_exec.add(delay);
        }
        if let Some(target) = self.hooks.target(id) {
            tracing::info!(
                path = %target.path.display(),
                functions = ?target.functions,
                found_by = target.found_by,
                links = target.links,
                from_map_us = from_map.map(|delay| delay.as_micros()),
                from_exec_us = from_exec.map(|delay| delay.as_micros()),
                "hooked"
            );
        }
    }

    fn refuse(&mut self, refusal: &Refusal, path: PathBuf) {
        if self.reported.refuse(refusal, path) {
            self.revision += 1;
        }
    }

    /// A hooked file was written to or lost a name.
    fn changed(&mut self, change: &Change, now: Timestamp) {
        match change {
            // What the probes sit on may be anything now. It is looked at when it is whole.
            Change::Written(id) => {
                if let Some(path) = self.forget(*id) {
                    tracing::warn!(path = %path.display(), "written to while hooked: let go");
                    if self.unsettled.len() < MAX_UNSETTLED {
                        self.unsettled.insert(path, now + SETTLING);
                    }
                    self.want_scan(now + SETTLING);
                }
            }
            Change::Named(id) => self.hooks.look_at_name(*id),
        }
    }

    /// Takes the probes off a file, as if it had never been seen.
    fn forget(&mut self, id: FileId) -> Option<PathBuf> {
        let path = self.hooks.target(id).map(|target| target.path.clone());
        for gone in self.hooks.remove_all_names(id) {
            self.is_gone(gone);
        }
        path
    }

    fn is_gone(&mut self, gone: Gone) {
        for key in gone.keys {
            self.seen.remove(&key);
        }
        if let Some(watch) = &self.watch {
            watch.remove_file(gone.id);
        }
        self.revision += 1;
    }
}

fn is_library(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(LIBRARY_PREFIX))
}

#[cfg(test)]
mod tests;
