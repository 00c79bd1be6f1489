//! Changes of files and folders, as inotify(7) tells them: a hooked file that is written to, and
//! programs that are installed.

use std::collections::BTreeMap;
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use super::files::{FileId, Stamp, path_of, stamp_at};
use super::places::Folders;
use crate::privilege;

/// LIMIT: bytes of events that are read at once.
const BUFFER_BYTES: usize = 16 << 10;

/// LIMIT: watched files and folders. Beyond it changes are found by the scan.
const MAX_WATCHES: usize = 4_096;

/// How long a folder in which something changed is left to settle: an installer writes many files.
const SETTLING: Duration = Duration::from_millis(300);

/// How often all folders are looked at: a slow safety net, and how new ones are found.
const SURVEY_INTERVAL: Duration = Duration::from_secs(60);

/// How long the thread waits at most, after which it looks whether it is to end.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A hooked file changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Somebody writes to it.
    Written(FileId),
    /// It gained or lost a name, or another owner or mode.
    Named(FileId),
}

/// Watches files. Its thread ends when nobody takes what it tells.
pub(super) struct Watch {
    inotify: Arc<OwnedFd>,
    files: Arc<Files>,
}

impl Watch {
    /// Watches `folders`, and gives the programs that are in them to `installed`, now and when they
    /// change; changes of files go to `changed`. Both say false when nobody listens any more.
    ///
    /// # Errors
    ///
    /// The kernel has no more of them for this user.
    pub(super) fn start(
        folders: Folders,
        changed: impl Fn(Vec<Change>) -> bool + Send + 'static,
        installed: impl Fn(Vec<PathBuf>) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let inotify = Arc::new(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?);
        let files = Arc::new(Mutex::new(BTreeMap::new()));
        let watch = Self {
            inotify: Arc::clone(&inotify),
            files: Arc::clone(&files),
        };
        thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || {
                privilege::keep(privilege::READING);
                let mut watcher = Watcher {
                    inotify,
                    files,
                    folders,
                    watched: BTreeMap::new(),
                    told: BTreeMap::new(),
                };
                watcher.run(&changed, &installed);
            })?;
        Ok(watch)
    }

    /// Watches an open file, whatever its name is by now.
    pub(super) fn add_file(&self, id: FileId, file: &File) {
        let mut files = lock(&self.files);
        if files.len() >= MAX_WATCHES {
            return;
        }
        match inotify::add_watch(
            &*self.inotify,
            path_of(file),
            WatchFlags::MODIFY | WatchFlags::ATTRIB,
        ) {
            Ok(watch) => {
                files.insert(watch, id);
            }
            Err(error) => tracing::debug!(%error, "a hooked file can't be watched"),
        }
    }

    /// Leaves a file alone.
    pub(super) fn remove_file(&self, id: FileId) {
        let mut files = lock(&self.files);
        let watch = files
            .iter()
            .find(|(_, known)| **known == id)
            .map(|(watch, _)| *watch);
        if let Some(watch) = watch {
            files.remove(&watch);
            // The kernel forgot it already if the file is gone.
            if let Err(error) = inotify::remove_watch(&*self.inotify, watch) {
                tracing::trace!(%error, "a file was not watched any more");
            }
        }
    }
}

/// Files by the number of their watch.
type Files = Mutex<BTreeMap<i32, FileId>>;

fn lock(files: &Files) -> MutexGuard<'_, BTreeMap<i32, FileId>> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Watcher {
    inotify: Arc<OwnedFd>,
    files: Arc<Files>,
    folders: Folders,
    /// Folders by the number of their watch.
    watched: BTreeMap<i32, PathBuf>,
    /// Programs that were told, as they were then.
    told: BTreeMap<PathBuf, Stamp>,
}

impl Watcher {
    fn run(
        &mut self,
        changed: &impl Fn(Vec<Change>) -> bool,
        installed: &impl Fn(Vec<PathBuf>) -> bool,
    ) {
        let mut survey_at = Instant::now();
        loop {
            if Instant::now() >= survey_at {
                if !installed(self.survey()) {
                    return;
                }
                survey_at = Instant::now() + SURVEY_INTERVAL;
            }
            let wait = survey_at.saturating_duration_since(Instant::now());
            self.wait(wait.min(LONGEST_WAIT));
            let (changes, is_folder_changed) = self.read();
            if !changed(changes) {
                return;
            }
            if is_folder_changed {
                survey_at = survey_at.min(Instant::now() + SETTLING);
            }
        }
    }

    /// Looks for programs, and watches the folders in which they can appear. Gives those that are
    /// new or have changed.
    fn survey(&mut self) -> Vec<PathBuf> {
        let found = self.folders.survey();
        let known: Vec<&Path> = self.watched.values().map(PathBuf::as_path).collect();
        let new: Vec<PathBuf> = found
            .folders
            .into_iter()
            .filter(|folder| !known.contains(&folder.as_path()))
            .collect();
        for folder in new {
            if self.watched.len() >= MAX_WATCHES {
                break;
            }
            let flags = WatchFlags::CLOSE_WRITE
                | WatchFlags::MOVED_TO
                | WatchFlags::CREATE
                | WatchFlags::DELETE_SELF
                | WatchFlags::ONLYDIR;
            match inotify::add_watch(&*self.inotify, &folder, flags) {
                Ok(watch) => {
                    self.watched.insert(watch, folder);
                }
                Err(error) => {
                    tracing::debug!(folder = %folder.display(), %error, "a folder can't be watched");
                }
            }
        }
        let now: BTreeMap<PathBuf, Stamp> = found
            .programs
            .into_iter()
            .filter_map(|path| stamp_at(&path).ok().map(|stamp| (path, stamp)))
            .collect();
        let new = now
            .iter()
            .filter(|(path, stamp)| self.told.get(*path) != Some(stamp))
            .map(|(path, _)| path.clone())
            .collect();
        self.told = now;
        new
    }

    fn wait(&self, longest: Duration) {
        let timeout = Timespec::try_from(longest).unwrap_or_default();
        let mut wait = [PollFd::new(&*self.inotify, PollFlags::IN)];
        if poll(&mut wait, Some(&timeout)).is_err() {
            // An interrupted wait is a short one; this keeps a broken one from spinning.
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The changes of files, and whether there were some in folders.
    fn read(&mut self) -> (Vec<Change>, bool) {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = inotify::Reader::new(&*self.inotify, &mut buffer);
        let (mut changes, mut is_folder_changed) = (Vec::new(), false);
        while let Ok(event) = reader.next() {
            let (watch, what) = (event.wd(), event.events());
            let mut files = lock(&self.files);
            if let Some(id) = files.get(&watch).copied() {
                if what.contains(ReadFlags::MODIFY) {
                    changes.push(Change::Written(id));
                }
                if what.contains(ReadFlags::ATTRIB) {
                    changes.push(Change::Named(id));
                }
                if what.contains(ReadFlags::IGNORED) {
                    files.remove(&watch);
                }
            } else {
                // Events that were lost may have been of any folder.
                is_folder_changed |=
                    what.contains(ReadFlags::QUEUE_OVERFLOW) || self.watched.contains_key(&watch);
                if what.contains(ReadFlags::IGNORED) {
                    self.watched.remove(&watch);
                }
            }
            drop(files);
        }
        changes.dedup();
        (changes, is_folder_changed)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::sync::mpsc::{Receiver, channel};

    use super::super::files::Opened;
    use super::*;

    /// How long the kernel may take to tell of a change.
    const LIMIT: Duration = Duration::from_secs(10);

    fn watch(folders: Folders) -> (Watch, Receiver<Change>, Receiver<Vec<PathBuf>>) {
        let (changes, changes_in) = channel();
        let (programs, programs_in) = channel();
        let changed = move |new: Vec<Change>| new.into_iter().all(|one| changes.send(one).is_ok());
        let installed = move |found| programs.send(found).is_ok();
        let watch = Watch::start(folders, changed, installed).unwrap();
        (watch, changes_in, programs_in)
    }

    #[test]
    fn what_happens_to_a_watched_file_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("libssl.so.3");
        fs::write(&path, b"one").unwrap();
        let opened = Opened::at(&path).unwrap().unwrap();
        let id = opened.stamp.id;
        let (watch, changes, _programs) = watch(Folders::default());
        watch.add_file(id, &opened.file);

        let mut writer = File::options().append(true).open(&path).unwrap();
        writer.write_all(b"two").unwrap();
        assert_eq!(changes.recv_timeout(LIMIT).unwrap(), Change::Written(id));
        fs::remove_file(&path).unwrap();
        assert_eq!(changes.recv_timeout(LIMIT).unwrap(), Change::Named(id));

        watch.remove_file(id);
        assert!(lock(&watch.files).is_empty());
    }

    #[test]
    fn a_program_that_is_installed_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join(".local/bin");
        fs::create_dir_all(&bin).unwrap();
        let (_watch, _changes, programs) = watch(Folders::of_home(dir.path()));
        assert_eq!(programs.recv_timeout(LIMIT).unwrap(), Vec::<PathBuf>::new());

        let new = bin.join("claude.new");
        fs::write(&new, vec![0; 8 << 20]).unwrap();
        fs::rename(&new, bin.join("claude")).unwrap();
        let wanted = vec![bin.join("claude")];
        assert!(
            std::iter::from_fn(|| programs.recv_timeout(LIMIT).ok()).any(|found| found == wanted)
        );
    }
}
