//! Finds files that carry TLS functions: libraries that programs will map, and what the running
//! processes have mapped.
//!
//! A probe sits on a file, not on a process: whoever runs a file that was seen before is observed
//! from its first call. A new file is found when a process maps it: processes are looked at right
//! after they execute a program, a few times within the next seconds while they map their
//! libraries, and now and then for what they load later.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_core::event::Timestamp;
use rustix::fs::{Mode, OFlags};

use super::attach::{Attacher, Hook};
use super::elf::{self, TlsFunctions};
use super::{Refusal, ld_cache};
use crate::causes;

/// File names that a TLS library of the OpenSSL interface begins with. Wheels rename theirs
/// (`libssl-8b66dd34.so.3`), so what follows is free.
const LIBRARY_PREFIX: &str = "libssl";

/// When a process is looked at after an exec. The first look finds the executable itself, the next
/// ones the libraries of the dynamic linker, the last ones what an interpreter imports.
const LOOKS_AFTER_EXEC: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(5),
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
];

/// LIMIT: bytes read of one process's list of mappings; what lies beyond is not looked at.
const MAX_MAPS_BYTES: u64 = 8 << 20;

/// LIMIT: looks that wait. Beyond it the latest ones are left to the next full scan.
const MAX_WAITING_LOOKS: usize = 65_536;

/// A file as the kernel tells files apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId {
    device: u64,
    inode: u64,
}

/// A file that was looked at, for the status report.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Target {
    /// Path, as the process that mapped it sees it.
    pub path: PathBuf,
    /// Functions that are hooked; empty if it was refused.
    pub functions: Vec<String>,
    /// Links that the kernel holds for it.
    pub links: usize,
    /// Why it is not hooked.
    pub refusal: Option<String>,
}

/// Knows which files were looked at, and looks at new ones.
pub struct Discovery {
    attacher: Option<Attacher>,
    files: BTreeMap<FileId, Option<(Target, Option<Hook>)>>,
    mapped: BTreeSet<(String, u64)>,
    looks: BinaryHeap<Reverse<(Timestamp, u32)>>,
    revision: u64,
}

impl Discovery {
    /// Has not looked at anything. Without an attacher it only looks.
    pub const fn new(attacher: Option<Attacher>) -> Self {
        Self {
            attacher,
            files: BTreeMap::new(),
            mapped: BTreeSet::new(),
            looks: BinaryHeap::new(),
            revision: 0,
        }
    }

    /// Looks at the host's libraries and at every process.
    pub fn scan_host(&mut self) {
        for path in ld_cache::libraries(LIBRARY_PREFIX) {
            // The linker's cache lists links such as `libssl.so`; the file is named by its own path.
            let shown = path.canonicalize().unwrap_or_else(|_missing| path.clone());
            self.look_at_file(&path, &shown);
        }
        self.scan_processes();
    }

    /// Looks at every process.
    pub fn scan_processes(&mut self) {
        let Ok(entries) = fs::read_dir("/proc") else {
            return;
        };
        for entry in entries.flatten() {
            if let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            {
                self.look_at_process(pid);
            }
        }
    }

    /// A process executes a program: it is to be looked at now and a few times more.
    pub fn executed(&mut self, pid: u32, at: Timestamp) {
        for delay in LOOKS_AFTER_EXEC {
            if self.looks.len() < MAX_WAITING_LOOKS {
                self.looks.push(Reverse((at + delay, pid)));
            }
        }
    }

    /// When the next look is due.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.looks.peek().map(|Reverse((due, _))| *due)
    }

    /// Takes the looks that are due.
    pub fn look(&mut self, now: Timestamp) {
        let mut due = BTreeSet::new();
        while let Some(Reverse((at, pid))) = self.looks.peek().copied() {
            if at > now {
                break;
            }
            self.looks.pop();
            due.insert(pid);
        }
        for pid in due {
            self.look_at_process(pid);
        }
    }

    /// Grows whenever the targets change.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// What is hooked and what was refused.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.files.values().flatten().map(|(target, _)| target)
    }

    /// Takes all probes off.
    pub fn detach(&mut self) {
        for (_, hook) in std::mem::take(&mut self.files).into_values().flatten() {
            if let (Some(attacher), Some(hook)) = (&mut self.attacher, hook) {
                attacher.detach(hook);
            }
        }
    }

    fn look_at_process(&mut self, pid: u32) {
        let dir = PathBuf::from(format!("/proc/{pid}"));
        let Some(maps) = read_maps(&dir) else { return };
        let exe = fs::read_link(dir.join("exe")).ok();
        let exe = exe.as_deref().and_then(Path::to_str);
        for mapping in maps.lines().filter_map(Mapping::parse) {
            let is_library = mapping.file_name().starts_with(LIBRARY_PREFIX);
            if !is_library && exe != Some(mapping.path) {
                continue;
            }
            // Most mappings were seen in another process: nothing is opened for them.
            if self
                .mapped
                .contains(&(mapping.device.to_owned(), mapping.inode))
            {
                continue;
            }
            let candidates = [
                dir.join("map_files").join(mapping.range),
                dir.join("root").join(mapping.path.trim_start_matches('/')),
            ];
            if candidates
                .iter()
                .any(|path| self.look_at_file(path, Path::new(mapping.path)))
            {
                self.mapped
                    .insert((mapping.device.to_owned(), mapping.inode));
            }
        }
    }

    /// Looks at a file, unless it was looked at before; false if it can't be opened.
    fn look_at_file(&mut self, path: &Path, shown: &Path) -> bool {
        let file = match open(path) {
            Ok(file) => file,
            Err(error) => {
                tracing::debug!(path = %shown.display(), %error, "a mapped file can't be opened");
                return false;
            }
        };
        let Ok(metadata) = file.metadata() else {
            return false;
        };
        let id = FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
        };
        if self.files.contains_key(&id) {
            return true;
        }
        let found = if metadata.is_file() {
            elf::tls_functions(&file).map_err(|why| Refusal::Elf {
                path: shown.to_owned(),
                why,
            })
        } else {
            Err(Refusal::NotRegular {
                path: shown.to_owned(),
            })
        };
        let entry = match found {
            Ok(None) => None,
            Ok(Some(functions)) => Some(self.hook(&file, shown, &functions)),
            Err(refusal) => Some((refused(shown, &refusal), None)),
        };
        if entry.is_some() {
            self.revision += 1;
        }
        self.files.insert(id, entry);
        true
    }

    fn hook(&mut self, file: &File, shown: &Path, found: &TlsFunctions) -> (Target, Option<Hook>) {
        let mut target = Target {
            path: shown.to_owned(),
            functions: found.names.iter().map(|name| (*name).to_owned()).collect(),
            links: 0,
            refusal: None,
        };
        let Some(attacher) = &mut self.attacher else {
            return (target, None);
        };
        match attacher.attach(file.as_fd(), shown, &found.sites) {
            Ok(hook) => {
                tracing::info!(path = %shown.display(), functions = ?found.names, links = hook.links(), "hooked");
                target.links = hook.links();
                (target, Some(hook))
            }
            Err(refusal) => (refused(shown, &refusal), None),
        }
    }
}

fn refused(path: &Path, refusal: &Refusal) -> Target {
    let why = causes::in_one_line(refusal);
    tracing::warn!(path = %path.display(), %why, "not hooked");
    Target {
        path: path.to_owned(),
        functions: Vec::new(),
        links: 0,
        refusal: Some(why),
    }
}

/// Opens a file of anybody's choosing: a pipe must not block, a terminal must not become ours.
fn open(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

fn read_maps(dir: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(dir.join("maps"))
        .ok()?
        .take(MAX_MAPS_BYTES)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// An executable mapping of a file: one line of `/proc/PID/maps` (proc_pid_maps(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping<'a> {
    range: &'a str,
    device: &'a str,
    inode: u64,
    path: &'a str,
}

impl<'a> Mapping<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (range, rest) = line.split_once(' ')?;
        let (permissions, rest) = rest.split_once(' ')?;
        let (_offset, rest) = rest.split_once(' ')?;
        let (device, rest) = rest.split_once(' ')?;
        let (inode, path) = rest.split_once(' ')?;
        let inode = inode.parse().ok()?;
        let path = path.trim_start();
        let is_file = inode != 0 && path.starts_with('/');
        (is_file && permissions.contains('x')).then_some(Self {
            range,
            device,
            inode,
            path,
        })
    }

    fn file_name(&self) -> &'a str {
        self.path
            .rsplit_once('/')
            .map_or(self.path, |(_, name)| name)
    }
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
                device: "fd:01",
                inode: 1234,
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
        let maps = read_maps(Path::new("/proc/self")).unwrap();
        let exe = std::env::current_exe().unwrap();
        assert!(
            maps.lines()
                .filter_map(Mapping::parse)
                .any(|mapping| Path::new(mapping.path) == exe)
        );
    }

    /// What an agent without probes makes of one file.
    fn looked_at(path: &Path) -> Vec<Target> {
        let mut discovery = Discovery::new(None);
        assert!(discovery.look_at_file(path, path));
        discovery.targets().cloned().collect()
    }

    #[test]
    fn a_library_that_can_not_be_read_is_reported_and_the_next_one_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let (broken, text) = (
            dir.path().join("libssl.so.3"),
            dir.path().join("libssl.so.4"),
        );
        fs::write(&broken, b"\x7fELF and then nothing that makes sense").unwrap();
        fs::write(&text, b"INPUT(-lssl)").unwrap();
        let mut discovery = Discovery::new(None);
        for path in [&broken, &text] {
            assert!(discovery.look_at_file(path, path));
        }
        let targets: Vec<_> = discovery.targets().collect();
        assert_eq!(targets.len(), 2);
        for target in targets {
            let refusal = target.refusal.as_deref().unwrap();
            assert!(
                refusal.contains("no ELF file that can be read"),
                "{refusal}"
            );
            assert_eq!((target.links, target.functions.len()), (0, 0));
        }
    }

    #[test]
    fn a_directory_in_place_of_a_library_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let targets = looked_at(dir.path());
        assert_eq!(targets.len(), 1);
        assert!(
            targets[0]
                .refusal
                .as_deref()
                .unwrap()
                .contains("no regular file")
        );
    }

    #[test]
    fn a_program_without_tls_functions_is_no_target() {
        assert_eq!(looked_at(&std::env::current_exe().unwrap()), []);
    }

    #[test]
    fn opening_a_pipe_does_not_wait_for_a_writer() {
        let dir = std::env::temp_dir().join(format!("bpftok-pipe-{}", std::process::id()));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &dir,
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        let opened = open(&dir);
        fs::remove_file(&dir).unwrap();
        assert!(!opened.unwrap().metadata().unwrap().is_file());
    }
}
