//! Files of anybody's choosing: opened without waiting, told apart, read within limits.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use agent_resolver::Source;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

/// A file as `stat` tells files apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// A file at one time of its life. A change of its content changes the stamp: nobody but the kernel
/// sets the time of the last change (`st_ctime`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) id: FileId,
    size: u64,
    modified_ns: i64,
    changed_ns: i64,
}

impl Stamp {
    /// Whether the device is one that the kernel numbers anew at each boot.
    pub(super) fn is_on_anonymous_device(&self) -> bool {
        rustix::fs::major(self.id.device) == 0
    }

    /// Whether two names on different devices can be one file of the layers below an overlay: it
    /// shows the inode number, the size and the times of the file that it stands for. A copy that a
    /// container made for itself keeps the first three and has a later change.
    pub(super) fn is_layer_of(&self, other: &Self) -> bool {
        self.id.device != other.id.device
            && Self {
                id: other.id,
                ..*self
            } == *other
            && self.id.inode == other.id.inode
    }
}

/// Folders whose file systems are the host's own: they are not unmounted while it runs.
const HOST_FOLDERS: [&str; 8] = [
    "/",
    "/usr",
    "/usr/local",
    "/opt",
    "/var",
    "/home",
    "/root",
    "/srv",
];

/// The devices of these file systems.
pub(super) fn host_devices() -> BTreeSet<u64> {
    HOST_FOLDERS
        .iter()
        .filter_map(|folder| stamp_at(Path::new(folder)).ok())
        .map(|stamp| stamp.id.device)
        .collect()
}

/// An open regular file.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) stamp: Stamp,
    /// Names of it that are left; 0 if it was deleted.
    pub(super) names: u64,
}

/// `OVERLAYFS_SUPER_MAGIC` (include/uapi/linux/magic.h).
const OVERLAY_MAGIC: u64 = 0x794c_7630;

impl Opened {
    /// Opens what `path` names. `None` if that is no regular file: a pipe would wait for its other
    /// end, and some devices act when they are opened, so that they are not.
    pub(super) fn at(path: &Path) -> io::Result<Option<Self>> {
        let named: File =
            rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?.into();
        if !named.metadata()?.is_file() {
            return Ok(None);
        }
        // The same file, whatever the path names by now.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file: File = rustix::fs::open(path_of(&named), flags, Mode::empty())?.into();
        let metadata = file.metadata()?;
        Ok(Some(Self {
            file,
            stamp: stamp(&metadata),
            names: metadata.nlink(),
        }))
    }

    /// Whether it is seen through an overlay.
    pub(super) fn is_on_overlay(&self) -> bool {
        rustix::fs::fstatfs(&self.file)
            .is_ok_and(|system| u64::try_from(system.f_type) == Ok(OVERLAY_MAGIC))
    }
}

impl Source for Opened {
    fn size(&self) -> u64 {
        self.stamp.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

/// A path that names an open file for as long as it is open, whatever happens to its own.
pub(super) fn path_of(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// The stamp of whatever `path` names; it is not opened.
pub(super) fn stamp_at(path: &Path) -> io::Result<Stamp> {
    Ok(stamp(&std::fs::metadata(path)?))
}

/// The stamp of an open file now, and the names of it that are left.
pub(super) fn stamp_of(file: &File) -> io::Result<(Stamp, u64)> {
    let metadata = file.metadata()?;
    Ok((stamp(&metadata), metadata.nlink()))
}

fn stamp(metadata: &std::fs::Metadata) -> Stamp {
    let nanos =
        |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    Stamp {
        id: FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
        },
        size: metadata.size(),
        modified_ns: nanos(metadata.mtime(), metadata.mtime_nsec()),
        changed_ns: nanos(metadata.ctime(), metadata.ctime_nsec()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn opening_a_pipe_does_not_wait_for_a_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        assert!(Opened::at(&path).unwrap().is_none());
        assert!(Opened::at(Path::new("/dev/null")).unwrap().is_none());
        assert!(Opened::at(dir.path()).unwrap().is_none());
        assert!(Opened::at(&dir.path().join("missing")).is_err());
    }

    #[test]
    fn a_stamp_changes_with_what_it_stands_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"one").unwrap();
        let before = Opened::at(&path).unwrap().unwrap();
        assert_eq!(stamp_at(&path).unwrap(), before.stamp);
        assert_eq!((before.size(), before.names), (3, 1));
        fs::write(&path, b"three").unwrap();
        let after = stamp_at(&path).unwrap();
        assert_eq!(after.id, before.stamp.id);
        assert_ne!(after, before.stamp);
        fs::remove_file(&path).unwrap();
        assert_eq!(stamp_of(&before.file).unwrap().1, 0);
        let mut head = [0; 8];
        assert_eq!(before.read_at(1, &mut head).unwrap(), 4);
    }

    #[test]
    fn only_the_same_file_below_an_overlay_is_a_double() {
        let stamp = Stamp {
            id: FileId {
                device: 1,
                inode: 7,
            },
            size: 10,
            modified_ns: 5,
            changed_ns: 6,
        };
        let through = |device| Stamp {
            id: FileId { device, inode: 7 },
            ..stamp
        };
        assert!(through(2).is_layer_of(&stamp));
        assert!(!stamp.is_layer_of(&stamp));
        // Copied up: the container changed its owner, say.
        let copied = Stamp {
            changed_ns: 9,
            ..through(2)
        };
        assert!(!copied.is_layer_of(&stamp));
        let other = Stamp {
            id: FileId {
                device: 2,
                inode: 8,
            },
            ..stamp
        };
        assert!(!other.is_layer_of(&stamp));
    }

    #[test]
    fn a_new_owner_or_mode_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"one").unwrap();
        let before = stamp_at(&path).unwrap();
        // The clock of file systems ticks every few milliseconds.
        let changed = || {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            stamp_at(&path).unwrap() != before
        };
        assert!((0..10_000_000).any(|_| changed()));
    }
}
