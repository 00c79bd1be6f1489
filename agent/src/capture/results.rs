//! What the resolver found, kept across restarts.
//!
//! What was found in a file is kept by its content and checked against the code before it is used
//! ([`agent_resolver::Kept`]). That nothing is in a file is kept by its stamp: whoever can make a
//! file that looks like another one must not be able to hide that one, and nobody can make a stamp.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use agent_resolver::{ContentKey, Kept};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::files::Stamp;

/// Format of the file. Another one is ignored.
const FORMAT: u32 = 1;

/// LIMIT: files with functions that are kept: far more than a host runs. Beyond it the one that was
/// added first goes.
const MAX_FOUND: usize = 512;

/// LIMIT: files without functions that are kept. A host with everything installed maps a few
/// thousand. Beyond it the one that was added first goes.
const MAX_PLAIN: usize = 16_384;

/// LIMIT: bytes of the file. A larger one is none of ours.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// Where the kernel says which boot this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    boot_id: String,
    found: Vec<Kept>,
    plain: Vec<Stamp>,
}

/// Results, newest last.
#[derive(Debug, Default)]
pub(super) struct Results {
    path: Option<PathBuf>,
    found: BTreeMap<ContentKey, Kept>,
    found_order: VecDeque<ContentKey>,
    plain: BTreeSet<Stamp>,
    plain_order: VecDeque<Stamp>,
    is_changed: bool,
}

impl Results {
    /// Reads what an earlier run kept at `path`. Whatever is wrong with it, there is nothing then;
    /// the files are resolved again.
    pub(super) fn at(path: PathBuf) -> Self {
        let mut results = Self::default();
        match read(&path) {
            Ok(stored) => {
                let is_this_boot = stored.boot_id == boot_id();
                for kept in stored.found {
                    results.add(kept);
                }
                for stamp in stored.plain {
                    if is_this_boot || !stamp.is_on_anonymous_device() {
                        results.add_plain(stamp);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::info!(path = %path.display(), %error, "what was found in files earlier can't be used; they are looked at again");
            }
        }
        results.path = Some(path);
        results.is_changed = false;
        results
    }

    /// Whether it is known that nothing is in this file.
    pub(super) fn is_plain(&self, stamp: &Stamp) -> bool {
        self.plain.contains(stamp)
    }

    /// Keeps that nothing is in this file.
    pub(super) fn add_plain(&mut self, stamp: Stamp) {
        if !self.plain.insert(stamp) {
            return;
        }
        self.plain_order.push_back(stamp);
        if self.plain_order.len() > MAX_PLAIN
            && let Some(first) = self.plain_order.pop_front()
        {
            self.plain.remove(&first);
        }
        self.is_changed = true;
    }

    /// What was found in a file with this key, to be checked against the file at hand.
    pub(super) fn found(&self, key: &ContentKey) -> Option<Kept> {
        self.found.get(key).cloned()
    }

    /// Keeps what was found in a file.
    pub(super) fn add(&mut self, kept: Kept) {
        let key = kept.key();
        // Of two files with one key the later one is right for whoever runs it now.
        if self.found.insert(key, kept).is_none() {
            self.found_order.push_back(key);
        }
        if self.found_order.len() > MAX_FOUND
            && let Some(first) = self.found_order.pop_front()
        {
            self.found.remove(&first);
        }
        self.is_changed = true;
    }

    /// Writes down what is new. A failure costs the next start some time, and nothing else.
    pub(super) fn save(&mut self) {
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        let Some(path) = &self.path else { return };
        let stored = Stored {
            format: FORMAT,
            boot_id: boot_id(),
            found: in_order(&self.found_order, |key| self.found.get(key).cloned()),
            plain: in_order(&self.plain_order, |stamp| Some(*stamp)),
        };
        if let Err(error) = write(path, &stored) {
            tracing::debug!(path = %path.display(), %error, "what was found in files can't be kept");
        }
    }
}

fn in_order<K, V>(order: &VecDeque<K>, value: impl Fn(&K) -> Option<V>) -> Vec<V> {
    order.iter().filter_map(value).collect()
}

fn boot_id() -> String {
    fs::read_to_string(BOOT_ID).unwrap_or_default()
}

fn read(path: &Path) -> io::Result<Stored> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)?;
    let metadata = file.metadata()?;
    let is_ours = metadata.is_file()
        && metadata.uid() == rustix::process::geteuid().as_raw()
        && metadata.mode() & 0o077 == 0;
    if !is_ours {
        return Err(io::Error::other("it is not ours alone"));
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(io::Error::other("it is too large"));
    }
    let mut text = Vec::new();
    File::take(file, MAX_FILE_BYTES).read_to_end(&mut text)?;
    let stored: Stored = serde_json::from_slice(&text)?;
    if stored.format != FORMAT {
        return Err(io::Error::other("it has another format"));
    }
    Ok(stored)
}

/// Writes beside the old file and then in its place, so that there is always a whole one.
fn write(path: &Path, stored: &Stored) -> io::Result<()> {
    let text = serde_json::to_vec(stored)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // Left behind by a run that was killed.
    if let Err(error) = fs::remove_file(&beside)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(&text)?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::files::{Opened, stamp_at};
    use super::*;

    /// The host's TLS library, and what is found in it.
    #[expect(
        clippy::unwrap_in_result,
        reason = "only a missing library is no failure"
    )]
    fn library() -> Option<(Opened, Kept)> {
        let path = super::super::ld_cache::libraries("libssl.so")
            .into_iter()
            .next()?;
        let opened = Opened::at(&path).unwrap().unwrap();
        let resolution = agent_resolver::resolve(&opened).unwrap();
        let kept = Kept::new(&opened, resolution).unwrap().unwrap();
        Some((opened, kept))
    }

    fn recall(results: &Results, opened: &Opened) -> Option<agent_resolver::Resolution> {
        let key = agent_resolver::content_key(opened).unwrap();
        results.found(&key)?.recall(opened)
    }

    #[test]
    fn what_was_found_is_there_after_a_restart_and_readable_by_nobody_else() {
        let Some((opened, kept)) = library() else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results");
        let plain = stamp_at(Path::new("/proc/self/exe")).unwrap();
        let mut results = Results::at(path.clone());
        assert_eq!(recall(&results, &opened), None);
        results.add(kept);
        results.add_plain(plain);
        results.save();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);

        let again = Results::at(path);
        assert!(again.is_plain(&plain));
        let resolution = recall(&again, &opened).unwrap();
        assert_eq!(resolution, agent_resolver::resolve(&opened).unwrap());
    }

    #[test]
    fn what_is_damaged_foreign_or_of_another_format_is_ignored() {
        let Some((opened, kept)) = library() else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results");
        let mut results = Results::at(path.clone());
        results.add(kept);
        results.save();
        let good = fs::read(&path).unwrap();
        assert!(recall(&Results::at(path.clone()), &opened).is_some());

        let is_used = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            recall(&Results::at(path.clone()), &opened).is_some()
        };
        for end in [0, 1, good.len() / 2, good.len() - 1] {
            assert!(!is_used(&good[..end]), "cut at {end}");
        }
        let other =
            String::from_utf8(good.clone())
                .unwrap()
                .replacen("\"format\":1", "\"format\":2", 1);
        assert!(!is_used(other.as_bytes()));
        assert!(is_used(&good));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(recall(&Results::at(path.clone()), &opened).is_none());
        // A link could lead to a file of ours that means something else.
        let link = dir.path().join("link");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(recall(&Results::at(link), &opened).is_none());
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut results = Results::default();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let stamps: Vec<Stamp> = (0..MAX_PLAIN + 10)
            .map(|length| {
                let file = File::create(&path).unwrap();
                file.set_len(length as u64).unwrap();
                stamp_at(&path).unwrap()
            })
            .collect();
        for stamp in &stamps {
            results.add_plain(*stamp);
            results.add_plain(*stamp);
        }
        assert_eq!(results.plain.len(), MAX_PLAIN);
        assert_eq!(results.plain_order.len(), MAX_PLAIN);
        assert!(!results.is_plain(&stamps[9]));
        assert!(results.is_plain(&stamps[10]));
    }
}
