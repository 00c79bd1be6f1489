//! What a process has mapped as code: `/proc/PID/maps` (proc_pid_maps(5)).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// LIMIT: bytes read of one process's list of mappings; what lies beyond is not looked at.
const MAX_BYTES: u64 = 8 << 20;

/// A mapped file as the kernel's lists of mappings name it. Through an overlay the device may be
/// another one than `stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct MapKey {
    pub(super) device: (u32, u32),
    pub(super) inode: u64,
}

/// An executable mapping of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapping<'a> {
    /// As the folder `map_files` names it.
    pub(super) range: &'a str,
    pub(super) key: MapKey,
    /// As the process sees it; with ` (deleted)` behind it if the file has no name any more.
    pub(super) path: &'a str,
}

impl<'a> Mapping<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (range, rest) = line.split_once(' ')?;
        let (permissions, rest) = rest.split_once(' ')?;
        let (_offset, rest) = rest.split_once(' ')?;
        let (device, rest) = rest.split_once(' ')?;
        let (inode, path) = rest.split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let number = |hex| u32::from_str_radix(hex, 16).ok();
        let key = MapKey {
            device: (number(major)?, number(minor)?),
            inode: inode.parse().ok()?,
        };
        let path = path.trim_start();
        let is_file = key.inode != 0 && path.starts_with('/');
        (is_file && permissions.contains('x')).then_some(Self { range, key, path })
    }
}

/// The mappings of one process, as text.
pub(super) struct Maps(String);

impl Maps {
    /// `None` if the process is gone, or is a thread of the kernel.
    ///
    /// # Errors
    ///
    /// Those of [`is_shortage`].
    pub(super) fn of(pid: u32) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        let read = File::open(dir_of(pid).join("maps"))
            .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
        match read {
            Err(error) if is_shortage(&error) => Err(error),
            Ok(1..) => Ok(Some(Self(String::from_utf8_lossy(&bytes).into_owned()))),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// Its executable mappings of files.
    pub(super) fn code(&self) -> impl Iterator<Item = Mapping<'_>> {
        self.0.lines().filter_map(Mapping::parse)
    }
}

/// The folder of a process.
pub(super) fn dir_of(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// Every process there is.
///
/// # Errors
///
/// The list can't be read.
pub(super) fn processes() -> io::Result<Vec<u32>> {
    let entries = std::fs::read_dir("/proc")?;
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(pids.collect())
}

/// Whether something failed because the agent, or the host, has no file or no memory left for it: it
/// says nothing about what was looked at.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_executable_mappings_of_files_are_looked_at() {
        let line = "7f00-7f10 r-xp 00001000 fd:01 1234                       /usr/lib/lib ssl.so.3 (deleted)";
        assert_eq!(
            Mapping::parse(line),
            Some(Mapping {
                range: "7f00-7f10",
                key: MapKey {
                    device: (0xfd, 1),
                    inode: 1234
                },
                path: "/usr/lib/lib ssl.so.3 (deleted)"
            })
        );
        for other in [
            "7f00-7f10 r--p 00001000 fd:01 1234 /usr/lib/libssl.so.3",
            "7f00-7f10 r-xp 00000000 00:00 0 [vdso]",
            "7f00-7f10 r-xp 00000000 00:00 0",
            "7f00-7f10 r-xp 00000000 00:05 12 anon_inode:x",
            "",
        ] {
            assert_eq!(Mapping::parse(other), None, "{other}");
        }
    }

    #[test]
    fn this_process_maps_its_own_executable() {
        let pid = std::process::id();
        let maps = Maps::of(pid).unwrap().unwrap();
        let exe = std::env::current_exe().unwrap();
        assert!(maps.code().any(|mapping| Path::new(mapping.path) == exe));
        assert!(processes().unwrap().contains(&pid));
    }
}
