//! Looks at what runs: at every process, or at one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::time::Instant;

use agent_core::event::Timestamp;

use super::{Discovery, SeenAs};
use crate::capture::Refusal;
use crate::capture::files::FileId;
use crate::capture::maps::{MapKey, Maps, processes};
use crate::capture::room::WantRoom;

/// Looks at all processes take no more than this part of the time.
const SCAN_SHARE: u32 = 100;

/// Under this name it is told that processes can't be looked at.
const PROCESSES: &str = "/proc";

impl Discovery {
    /// Looks at every process: what it has mapped, and which files nobody has mapped any more. Files
    /// that were refused for want of room are tried again.
    pub fn scan_processes(&mut self, now: Timestamp) {
        let started = Instant::now();
        self.scan_wanted = None;
        let was_short = mem::take(&mut self.is_short);
        let waited = mem::take(&mut self.want_room);
        let tries_again = !waited.is_empty();
        let WantRoom { mapped, installed } = waited;
        for path in installed {
            self.installed(path);
        }
        for key in mapped.keys() {
            let seen = self.seen.get(key);
            if seen.is_some_and(|seen| matches!(seen.is, SeenAs::Plain)) {
                self.seen.remove(key);
            }
        }
        match self.holders() {
            Ok(holders) => {
                self.hooks.set_holders(holders, now);
                self.forget_unmapped(mapped);
                if !was_short && self.reported.is_refused(Path::new(PROCESSES)) {
                    self.reported.forget(Path::new(PROCESSES));
                    self.revision += 1;
                }
            }
            // Who holds a file is known from before, and from those that ended.
            Err(error) => {
                self.want_room.mapped = mapped;
                self.cannot_look(error);
            }
        }
        for id in self.hooks.changed() {
            self.look_again(id);
        }
        let gone = self.hooks.let_go(now);
        // What goes makes room, too late for this look.
        if tries_again && !gone.is_empty() {
            self.want_scan(now);
        }
        for gone in gone {
            self.is_gone(gone);
        }
        self.rest_until = now + started.elapsed() * SCAN_SHARE;
    }

    /// Of files that waited for room, those that nobody has mapped any more are not refused.
    fn forget_unmapped(&mut self, waited: BTreeMap<MapKey, PathBuf>) {
        for (key, path) in waited {
            if !self.seen.contains_key(&key) {
                self.reported.forget(&path);
                self.revision += 1;
            }
        }
    }

    /// Looks at what every process has mapped; gives the processes that map files which are hooked.
    fn holders(&mut self) -> io::Result<BTreeMap<FileId, BTreeSet<u32>>> {
        let mut validated = BTreeSet::new();
        let mut holders: BTreeMap<FileId, BTreeSet<u32>> = BTreeMap::new();
        for pid in processes()? {
            let Some(maps) = Maps::of(pid)? else { continue };
            for mapping in maps.code() {
                if validated.insert(mapping.key) {
                    self.look_at_mapping(pid, &mapping);
                }
                if let Some(id) = self.hooked_as(mapping.key) {
                    holders.entry(id).or_default().insert(pid);
                }
            }
        }
        Ok(holders)
    }

    pub(super) fn look_at_process(&mut self, pid: u32, now: Timestamp) {
        self.hooks.leave(pid, now);
        let maps = match Maps::of(pid) {
            Ok(Some(maps)) => maps,
            Ok(None) => return,
            Err(error) => return self.cannot_look(error),
        };
        for mapping in maps.code() {
            self.look_at_mapping(pid, &mapping);
            if let Some(id) = self.hooked_as(mapping.key) {
                self.hooks.hold(pid, id);
            }
        }
    }

    /// The file that is mapped so, if it is hooked.
    fn hooked_as(&self, key: MapKey) -> Option<FileId> {
        match self.seen.get(&key)?.is {
            SeenAs::Hooked(id) => Some(id),
            SeenAs::Waiting | SeenAs::Plain => None,
        }
    }

    /// Processes can't be looked at, most likely because what looking takes is not to be had: it is
    /// said once, and holds until a look at all of them meets no such error. What was missed is found by that look.
    pub(super) fn cannot_look(&mut self, error: io::Error) {
        self.is_short = true;
        if !self.reported.is_refused(Path::new(PROCESSES)) {
            self.refuse(&Refusal::Unseen(error), PathBuf::from(PROCESSES));
        }
    }
}
