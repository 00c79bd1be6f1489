//! Files that were refused for want of room: descriptors, memory, or a place among those that are
//! hooked. That says nothing about the file, so it is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::path::PathBuf;

use aya::programs::ProgramError;

use super::Refusal;
use super::maps::{MapKey, is_shortage};

/// LIMIT: files of each kind that are tried again, which bounds what a look at all processes has to
/// do for them. Others are tried when they change.
const MAX_WAITING: usize = 128;

/// The files, by how they are found.
#[derive(Debug, Default)]
pub(super) struct WantRoom {
    /// Those that processes have mapped.
    pub(super) mapped: BTreeMap<MapKey, PathBuf>,
    /// Those that are installed.
    pub(super) installed: BTreeSet<PathBuf>,
}

impl WantRoom {
    /// A process has mapped one.
    pub(super) fn add_mapped(&mut self, key: MapKey, path: PathBuf) {
        if self.mapped.len() < MAX_WAITING {
            self.mapped.insert(key, path);
        }
    }

    /// One is installed.
    pub(super) fn add_installed(&mut self, path: PathBuf) {
        if self.installed.len() < MAX_WAITING {
            self.installed.insert(path);
        }
    }

    /// Whether no file waits.
    pub(super) fn is_empty(&self) -> bool {
        self.mapped.is_empty() && self.installed.is_empty()
    }
}

/// Whether a file was refused for want of room.
pub(super) fn wants_room(refusal: &Refusal) -> bool {
    let first: &(dyn Error + 'static) = refusal;
    let mut causes = std::iter::successors(Some(first), |cause| (*cause).source());
    matches!(refusal, Refusal::TooMany { .. }) || causes.any(is_want_of_room)
}

fn is_want_of_room(cause: &(dyn Error + 'static)) -> bool {
    // This one shows what it stands for in place of itself, and so not as its cause.
    let error = match cause.downcast_ref() {
        Some(ProgramError::IOError(error)) => Some(error),
        _ => cause.downcast_ref::<io::Error>(),
    };
    error.is_some_and(is_shortage)
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    fn refused(errno: Errno) -> Refusal {
        Refusal::Attach {
            path: PathBuf::new(),
            source: ProgramError::IOError(io::Error::from_raw_os_error(errno.raw_os_error())),
        }
    }

    #[test]
    fn only_what_was_refused_for_want_of_room_waits_for_it() {
        assert!(wants_room(&refused(Errno::MFILE)));
        assert!(wants_room(&refused(Errno::NOMEM)));
        assert!(wants_room(&Refusal::TooMany {
            path: PathBuf::new()
        }));
        assert!(!wants_room(&refused(Errno::INVAL)));
        assert!(!wants_room(&Refusal::NotRegular {
            path: PathBuf::new()
        }));
    }

    #[test]
    fn no_host_can_make_too_many_wait() {
        let mut room = WantRoom::default();
        for inode in 0..1_000 {
            let key = MapKey {
                device: (8, 1),
                inode,
            };
            room.add_mapped(key, PathBuf::from("/lib"));
            room.add_installed(PathBuf::from(format!("/{inode}")));
        }
        assert_eq!(
            (room.mapped.len(), room.installed.len()),
            (MAX_WAITING, MAX_WAITING)
        );
    }
}
