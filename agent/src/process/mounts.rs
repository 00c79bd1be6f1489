//! File systems that may make a reader wait: those that another machine or program serves.
//!
//! The thread that reads facts also empties the ring. A server that is gone, or a program that
//! serves files and does not answer, must not stop it.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use super::{link, open};

/// LIMIT: bytes read of a list of mounts, some 10,000 of them. Anybody can make more in a namespace
/// of his own, which the kernel writes down slowly; there no file is looked at.
const MAX_LIST_BYTES: usize = 2 << 20;

/// LIMIT: mount namespaces that are remembered, as many as containers; beyond it all are read again.
const MAX_NAMESPACES: usize = 1_024;

/// How long a list of mounts is believed. Hosts with containers have thousands of mounts, and the
/// kernel takes milliseconds to write them down.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// Kinds of file systems that somebody else serves, besides those of FUSE. An automounter asks one.
const SERVED: [&str; 15] = [
    "9p", "afs", "autofs", "beegfs", "ceph", "cifs", "coda", "lustre", "ncpfs", "nfs", "nfs4",
    "orangefs", "smb3", "smbfs", "virtiofs",
];

/// Where such file systems are mounted, by mount namespace.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    by_namespace: BTreeMap<String, (Instant, Vec<PathBuf>)>,
}

impl Mounts {
    /// Whether a path of a process can be looked at without waiting for anybody. It is absolute and
    /// without symbolic links.
    pub(super) fn are_local(&mut self, dir: &Path, path: &Path) -> bool {
        let Some(namespace) = link(&dir.join("ns/mnt")) else {
            return false;
        };
        let now = Instant::now();
        let known = self.by_namespace.get(&namespace);
        let is_fresh = known.is_some_and(|(at, _)| now.duration_since(*at) < KEPT_FOR);
        if !is_fresh {
            let Some(list) = open::regular_at(&dir.join("mountinfo"))
                .and_then(|file| open::start_of(file, MAX_LIST_BYTES as u64))
            else {
                return false;
            };
            if self.by_namespace.len() >= MAX_NAMESPACES {
                self.by_namespace.clear();
            }
            let served = if list.len() < MAX_LIST_BYTES {
                served(&String::from_utf8_lossy(&list))
            } else {
                vec![PathBuf::from("/")]
            };
            self.by_namespace.insert(namespace.clone(), (now, served));
        }
        let served = self.by_namespace.get(&namespace);
        served.is_some_and(|(_, served)| !served.iter().any(|mount| path.starts_with(mount)))
    }
}

/// Mount points of file systems that somebody serves: ids of the mount and its parent, device, root,
/// mount point, options, and behind a hyphen the kind (proc_pid_mountinfo(5)).
fn served(list: &str) -> Vec<PathBuf> {
    let mount = |line: &str| {
        let (mount, system) = line.split_once(" - ")?;
        let kind = system.split(' ').next()?;
        let point = mount.split(' ').nth(4)?;
        let is_served = kind.starts_with("fuse") || SERVED.contains(&kind);
        is_served.then(|| PathBuf::from(unescaped(point)))
    };
    list.lines().filter_map(mount).collect()
}

/// Blanks, tabs, newlines and backslashes are written as octal numbers.
fn unescaped(point: &str) -> String {
    point
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

/// A path without `.` and `..`, by its text alone.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => {
                normal.push(component);
            }
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_serve_is_told_by_its_kind() {
        let list = "\
            22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n\
            40 22 0:40 / /home/ana\\040b rw shared:9 master:1 - nfs4 server:/home rw\n\
            41 22 0:41 / /mnt/s3 rw - fuse.s3fs s3fs rw\n\
            42 22 0:42 / /tmp rw - tmpfs tmpfs rw\n\
            damaged\n";
        assert_eq!(
            served(list),
            [Path::new("/home/ana b"), Path::new("/mnt/s3")]
        );
    }

    #[test]
    fn this_process_runs_on_local_files_and_one_that_is_gone_on_none() {
        let mut mounts = Mounts::default();
        let tmp = tempfile::tempdir().unwrap();
        assert!(mounts.are_local(Path::new("/proc/self"), tmp.path()));
        assert!(!mounts.are_local(Path::new("/proc/0"), tmp.path()));
    }

    #[test]
    fn a_path_is_normal_without_dots() {
        assert_eq!(
            normal(Path::new("/src/app/../.git/./modules//x")),
            Path::new("/src/.git/modules/x")
        );
        assert_eq!(normal(Path::new("/../..")), Path::new("/"));
    }
}
