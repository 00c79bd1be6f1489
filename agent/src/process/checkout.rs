//! The working tree of git that a process works in: gitrepository-layout(5).
//!
//! Only `.git`, `commondir` and `HEAD` are read; the configuration may hold credentials. The files
//! belong to whoever runs the process, so everything that is opened is a regular file of bounded
//! size, links are not followed but for the one that `.git` is in a further working tree, and nothing
//! on a served file system is looked at.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agent_core::event::Checkout;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat};

use super::mounts::{self, Mounts};
use super::{link_path, open, path_text, printable};

/// LIMIT: folders above the working directory that are looked into.
const MAX_DEPTH: usize = 32;

/// LIMIT: bytes of a file of git, more than the longest path. What lies beyond is not read.
const MAX_FILE_BYTES: u64 = 4_096 + 16;

/// LIMIT: bytes kept of a branch's name, the longest file name: branches are files.
const MAX_BRANCH_BYTES: usize = 255;

/// LIMIT: directories that are remembered; beyond it all are looked at again.
const MAX_KEPT: usize = 1_024;

/// How long a working tree is believed: programs that agents start come in bursts.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// Where a process works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Working directory.
    pub cwd: Option<String>,
    /// Its working tree.
    pub checkout: Option<Checkout>,
}

/// Working trees, by the directory.
#[derive(Debug)]
pub(super) struct Checkouts {
    kept: BTreeMap<Directory, (Instant, Option<Checkout>)>,
    kept_for: Duration,
}

/// A directory as a process sees it. Mounts show one under several names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Directory {
    device: u64,
    inode: u64,
    path: PathBuf,
}

impl Default for Checkouts {
    fn default() -> Self {
        Self {
            kept: BTreeMap::new(),
            kept_for: KEPT_FOR,
        }
    }
}

impl Checkouts {
    /// Where a process works, by its folder in `/proc`; `None` if that can't be told.
    pub(super) fn place(&mut self, dir: &Path, mounts: &mut Mounts) -> Option<Place> {
        let cwd = link_path(&dir.join("cwd"))?;
        let checkout = self.checkout(dir, &cwd, mounts);
        Some(Place {
            cwd: Some(path_text(&cwd)),
            checkout,
        })
    }

    fn checkout(&mut self, dir: &Path, cwd: &Path, mounts: &mut Mounts) -> Option<Checkout> {
        if !cwd.is_absolute() || !mounts.are_local(dir, cwd) {
            return None;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(dir.join("cwd"), flags, Mode::empty()).ok()?;
        let stat = fstat(&folder).ok()?;
        if stat.st_nlink == 0 {
            return None;
        }
        let directory = Directory {
            device: stat.st_dev,
            inode: stat.st_ino,
            path: cwd.to_owned(),
        };
        let now = Instant::now();
        if let Some((at, kept)) = self.kept.get(&directory)
            && now.duration_since(*at) < self.kept_for
        {
            return kept.clone();
        }
        let found = find(dir, folder, cwd, mounts);
        if self.kept.len() >= MAX_KEPT {
            self.kept.clear();
        }
        self.kept.insert(directory, (now, found.clone()));
        found
    }
}

/// Looks for a working tree from a directory upwards, within its file system as git does.
fn find(dir: &Path, mut folder: OwnedFd, cwd: &Path, mounts: &mut Mounts) -> Option<Checkout> {
    for root in cwd.ancestors().take(MAX_DEPTH) {
        let name = Path::new(".git");
        if let Some(repository) = open::folder(&folder, name, ResolveFlags::NO_SYMLINKS) {
            if let Some(head) = read(&repository, "HEAD") {
                return Some(checkout(root, None, &head));
            }
        } else if let Some(text) = read(&folder, ".git") {
            return linked(dir, &folder, root, &text, mounts);
        }
        let up = ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        folder = open::folder(&folder, Path::new(".."), up)?;
    }
    None
}

/// The working tree whose `.git` is a file that names the repository: one of several trees, or a
/// submodule.
fn linked(
    dir: &Path,
    folder: &OwnedFd,
    root: &Path,
    text: &[u8],
    mounts: &mut Mounts,
) -> Option<Checkout> {
    let named = path(text.strip_prefix(b"gitdir:")?.trim_ascii_start());
    let repository_path = mounts::normal(&root.join(named));
    if !mounts.are_local(dir, &repository_path) {
        return None;
    }
    let repository = if named.is_absolute() {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let process_root = rustix::fs::openat(CWD, dir.join("root"), flags, Mode::empty()).ok()?;
        let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        open::folder(process_root, named, within)
    } else {
        open::folder(folder, named, ResolveFlags::NO_SYMLINKS)
    }?;
    let head = read(&repository, "HEAD")?;
    // It is not opened: where it is says which repository that is.
    let common = read(&repository, "commondir")
        .map(|common| mounts::normal(&repository_path.join(path(&common))));
    Some(checkout(root, common.as_deref(), &head))
}

fn checkout(root: &Path, common: Option<&Path>, head: &[u8]) -> Checkout {
    let main_tree = match common {
        // A bare repository has no main working tree; its name often ends like that.
        Some(common) if common.file_name() == Some(OsStr::new(".git")) => common.parent(),
        other => other,
    };
    let name = main_tree.unwrap_or(root).file_name();
    let name = printable(name.unwrap_or_else(|| OsStr::new("/")).as_bytes());
    Checkout {
        root: path_text(root),
        repo: name.strip_suffix(".git").unwrap_or(&name).to_owned(),
        branch: branch(head),
    }
}

/// The branch of a `HEAD`. Repositories with the newer kind of table of references keep it elsewhere
/// and write `.invalid` here.
fn branch(head: &[u8]) -> Option<String> {
    let name = head.strip_prefix(b"ref:")?.trim_ascii();
    let name = name.strip_prefix(b"refs/heads/")?;
    let is_valid = !name.is_empty() && name != b".invalid" && name.len() <= MAX_BRANCH_BYTES;
    is_valid.then(|| printable(name))
}

/// A file of git, without the newline at its end.
fn read(folder: &OwnedFd, name: &str) -> Option<Vec<u8>> {
    let file = open::regular(folder, Path::new(name), ResolveFlags::NO_SYMLINKS)?;
    let bytes = open::start_of(file, MAX_FILE_BYTES)?;
    Some(bytes.trim_ascii_end().to_vec())
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::{Child, Command};

    use super::*;

    /// A process that works in a directory until it is dropped.
    struct Worker(Child);

    impl Worker {
        fn start(cwd: &Path) -> Self {
            let mut command = Command::new("sleep");
            Self(command.arg("60").current_dir(cwd).spawn().unwrap())
        }

        fn place(&self, checkouts: &mut Checkouts) -> Place {
            let dir = PathBuf::from(format!("/proc/{}", self.0.id()));
            checkouts.place(&dir, &mut Mounts::default()).unwrap()
        }
    }

    impl Drop for Worker {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    fn found(cwd: &Path) -> Option<Checkout> {
        Worker::start(cwd).place(&mut Checkouts::default()).checkout
    }

    fn expected(root: &Path, repo: &str, branch: Option<&str>) -> Option<Checkout> {
        Some(Checkout {
            root: root.display().to_string(),
            repo: repo.to_owned(),
            branch: branch.map(str::to_owned),
        })
    }

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        (dir, path)
    }

    #[test]
    fn a_tree_is_found_from_below_with_its_branch() {
        let (_dir, top) = folder();
        let root = top.join("app");
        write(&root.join(".git/HEAD"), "ref: refs/heads/feature/é x\n");
        fs::create_dir_all(root.join("src/deep")).unwrap();
        let on_branch = expected(&root, "app", Some("feature/é x"));
        assert_eq!(found(&root), on_branch);
        assert_eq!(found(&root.join("src/deep")), on_branch);
        assert_eq!(found(&top), None);
    }

    #[test]
    fn a_detached_head_and_an_unknown_one_have_no_branch() {
        let (_dir, root) = folder();
        let name = root.file_name().unwrap().to_str().unwrap();
        for head in [
            "f82f2cd73ae32cdb4be8f3cd7d9a8ab9b5d8a7c1\n",
            "ref: refs/heads/.invalid\n",
            "ref: refs/remotes/origin/x\n",
            "",
        ] {
            write(&root.join(".git/HEAD"), head);
            assert_eq!(found(&root), expected(&root, name, None), "{head}");
        }
    }

    #[test]
    fn a_further_working_tree_and_a_submodule_name_their_repository() {
        let (_dir, top) = folder();
        let main = top.join("app");
        let git = main.join(".git");
        write(&git.join("HEAD"), "ref: refs/heads/main\n");
        write(&git.join("worktrees/w1/HEAD"), "ref: refs/heads/w1\n");
        write(&git.join("worktrees/w1/commondir"), "../..\n");
        write(&git.join("modules/lib/HEAD"), "ref: refs/heads/lib\n");
        let tree = top.join("w1");
        let link = format!("gitdir: {}\n", git.join("worktrees/w1").display());
        write(&tree.join(".git"), &link);
        assert_eq!(found(&tree), expected(&tree, "app", Some("w1")));
        let module = main.join("vendor/lib-a");
        write(&module.join(".git"), "gitdir: ../../.git/modules/lib\n");
        assert_eq!(found(&module), expected(&module, "lib-a", Some("lib")));
        // Of a bare repository.
        let bare = top.join("tool.git/worktrees/w2");
        write(&bare.join("HEAD"), "ref: refs/heads/w2\n");
        write(&bare.join("commondir"), "../..\n");
        let tree = top.join("w2");
        write(&tree.join(".git"), "gitdir: ../tool.git/worktrees/w2");
        assert_eq!(found(&tree), expected(&tree, "tool", Some("w2")));
    }

    #[test]
    fn links_that_lead_elsewhere_are_not_followed() {
        let (_dir, top) = folder();
        write(&top.join("other/HEAD"), "ref: refs/heads/secret\n");
        let root = top.join("a");
        fs::create_dir(&root).unwrap();
        symlink("../other", root.join(".git")).unwrap();
        assert_eq!(found(&root), None);
        fs::remove_file(root.join(".git")).unwrap();
        fs::create_dir(root.join(".git")).unwrap();
        symlink("../../other/HEAD", root.join(".git/HEAD")).unwrap();
        assert_eq!(found(&root), None);
        fs::remove_dir_all(root.join(".git")).unwrap();
        // A link to a link.
        write(&top.join("b"), "gitdir: other\n");
        for text in [
            "gitdir: ../b\n",
            "gitdir: /proc/self/root\n",
            "gitdir:",
            "x",
        ] {
            write(&root.join(".git"), text);
            assert_eq!(found(&root), None, "{text}");
        }
    }

    #[test]
    fn a_branch_that_changes_is_seen_and_a_directory_that_is_gone_has_none() {
        let (_dir, top) = folder();
        let root = top.join("app");
        write(&root.join(".git/HEAD"), "ref: refs/heads/main\n");
        let worker = Worker::start(&root);
        let mut checkouts = Checkouts {
            kept_for: Duration::ZERO,
            ..Checkouts::default()
        };
        let on_main = worker.place(&mut checkouts);
        assert_eq!(on_main.checkout, expected(&root, "app", Some("main")));
        write(&root.join(".git/HEAD"), "ref: refs/heads/next\n");
        let on_next = worker.place(&mut checkouts);
        assert_eq!(on_next.checkout, expected(&root, "app", Some("next")));
        assert_eq!(on_next.cwd, on_main.cwd);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(worker.place(&mut checkouts).checkout, None);
    }

    #[test]
    fn a_directory_is_not_looked_at_twice_in_a_moment() {
        let (_dir, root) = folder();
        write(&root.join(".git/HEAD"), "ref: refs/heads/main\n");
        let worker = Worker::start(&root);
        let mut checkouts = Checkouts {
            kept_for: Duration::MAX,
            ..Checkouts::default()
        };
        let first = worker.place(&mut checkouts);
        write(&root.join(".git/HEAD"), "ref: refs/heads/next\n");
        assert_eq!(worker.place(&mut checkouts), first);
    }
}
