//! Files of anybody's choosing, opened without waiting and read within limits.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

/// What was read and may hold secrets beside what is wanted: it is overwritten when it is dropped.
pub(super) struct Wiped {
    buffer: Vec<u8>,
    filled: usize,
}

impl Wiped {
    /// The first `limit` bytes of a file.
    pub(super) fn read(mut file: File, limit: usize) -> Option<Self> {
        // As large as it may get: one that grows leaves copies behind.
        let mut read = Self {
            buffer: vec![0; limit],
            filled: 0,
        };
        while let Some(rest) = read
            .buffer
            .get_mut(read.filled..)
            .filter(|rest| !rest.is_empty())
        {
            match file.read(rest) {
                Ok(0) => break,
                Ok(count) => read.filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_unreadable) => return None,
            }
        }
        Some(read)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(..self.filled).unwrap_or_default()
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.bytes_mut().fill(0);
        // Or the compiler leaves out what nobody reads.
        std::hint::black_box(&self.buffer);
    }
}

/// Opens a folder, without reading it.
pub(super) fn folder(dir: impl AsFd, path: &Path, resolve: ResolveFlags) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(dir, path, flags, Mode::empty(), resolve).ok()
}

/// Opens a regular file. A pipe would wait for its other end, and some devices act when they are
/// opened, so that neither is.
pub(super) fn regular(dir: impl AsFd, path: &Path, resolve: ResolveFlags) -> Option<File> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let named: File = openat2(dir, path, flags, Mode::empty(), resolve)
        .ok()?
        .into();
    opened(&named)
}

/// The same, by a path of the host whose links are followed.
pub(super) fn regular_at(path: &Path) -> Option<File> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let named: File = rustix::fs::open(path, flags, Mode::empty()).ok()?.into();
    opened(&named)
}

fn opened(named: &File) -> Option<File> {
    if !named.metadata().ok()?.is_file() {
        return None;
    }
    // The same file, whatever the path names by now.
    let path = format!("/proc/self/fd/{}", named.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Some(rustix::fs::open(path, flags, Mode::empty()).ok()?.into())
}

/// The first `limit` bytes of a file.
pub(super) fn start_of(file: File, limit: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened_and_no_more_is_read_than_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "secret and more").unwrap();
        let read = Wiped::read(regular_at(&path).unwrap(), 6).unwrap();
        assert_eq!(read.bytes(), b"secret");
        assert_eq!(start_of(regular_at(&path).unwrap(), 6).unwrap(), b"secret");
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        for other in [pipe.as_path(), dir.path(), &dir.path().join("nothing")] {
            assert!(regular_at(other).is_none(), "{}", other.display());
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(regular_at(&link).is_some());
        assert!(regular(rustix::fs::CWD, &link, ResolveFlags::NO_SYMLINKS).is_none());
    }
}
