//! Facts about processes, from `/proc`.
//!
//! They are read once, at first sight: short-lived processes vanish. Arguments beyond the first and
//! the environment are never read: they may hold secrets.

mod established;
mod files;
mod stat;
mod users;

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use agent_core::event::{Ancestor, FactSource, ProcId, Process};

pub use established::{Connected, connected_to};
pub use files::code_files;
use stat::Stat;
use users::Users;

/// LIMIT: length of the parent chain. Longer ones end there: nobody reads further.
const MAX_ANCESTORS: usize = 8;

/// LIMIT: bytes read of a file under `/proc`. What lies beyond is not needed: the first argument,
/// the name and the cgroup come first.
const MAX_FILE_BYTES: u64 = 64 * 1_024;

/// LIMIT: bytes kept of one path or argument, the longest path that Linux accepts.
const MAX_TEXT_BYTES: usize = 4_096;

/// What is read about a process beyond its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The working directory.
    pub cwd: bool,
    /// The first argument.
    pub argv0: bool,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            cwd: true,
            argv0: true,
        }
    }
}

/// What can be read of a process as it executes a program, at the cost of two look-ups: so that a
/// process that makes its only call in its last moment still has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glimpse {
    start_ticks: u64,
    exe: Option<String>,
}

impl Glimpse {
    /// A look at a living process.
    pub fn of(pid: u32) -> Option<Self> {
        let dir = Path::new("/proc").join(pid.to_string());
        let exe = link(&dir.join("exe"));
        Some(Self {
            start_ticks: read_stat(&dir)?.start_ticks,
            exe,
        })
    }

    /// Fills in what a later look did not see any more: a process that ends has no executable.
    pub fn complete(self, process: &mut Process) {
        if process.exe.is_none() && process.id.start_ticks == self.start_ticks {
            process.exe = self.exe;
        }
    }
}

/// Reads facts about processes.
#[derive(Debug)]
pub struct Reader {
    facts: Facts,
    users: Users,
    ticks_per_second: u64,
}

impl Reader {
    /// A reader of the chosen facts.
    pub fn new(facts: Facts) -> Self {
        Self {
            facts,
            users: Users::default(),
            ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
        }
    }

    /// The facts about a living process; `None` if it is gone.
    pub fn read(&mut self, pid: u32) -> Option<Process> {
        let dir = Path::new("/proc").join(pid.to_string());
        let stat = read_stat(&dir)?;
        let uid = real_uid(&read_text(&dir.join("status"))?)?;
        let process = Process {
            id: ProcId {
                pid,
                start_ticks: stat.start_ticks,
            },
            ancestors: ancestors(stat.parent_pid),
            exe: link(&dir.join("exe")),
            comm: printable(&stat.comm),
            argv0: self.facts.argv0.then(|| argv0(&dir)).flatten(),
            uid,
            user_name: self.users.name(uid),
            cwd: self.facts.cwd.then(|| link(&dir.join("cwd"))).flatten(),
            cgroup: read_text(&dir.join("cgroup")).and_then(|text| unified_cgroup(&text)),
            started_ns: ticks_to_ns(stat.start_ticks, self.ticks_per_second),
            source: FactSource::Proc,
            ..Process::default()
        };
        // The pid may have been reused between two of these files.
        (read_stat(&dir)?.start_ticks == stat.start_ticks).then_some(process)
    }

    /// What the kernel programs saw of a process that is gone, and what was seen of it at its exec.
    pub fn from_kernel(
        &mut self,
        pid: u32,
        uid: u32,
        comm: &str,
        glimpse: Option<Glimpse>,
    ) -> Process {
        let (start_ticks, exe) =
            glimpse.map_or((0, None), |glimpse| (glimpse.start_ticks, glimpse.exe));
        Process {
            id: ProcId { pid, start_ticks },
            exe,
            comm: comm.to_owned(),
            uid,
            user_name: self.users.name(uid),
            ..Process::default()
        }
    }
}

/// A path that a process chose, for people to read.
pub fn path_text(path: &Path) -> String {
    printable(path.as_os_str().as_encoded_bytes())
}

/// Whether a process has threads besides its first one, which ended.
pub fn outlives_its_first_thread(pid: u32) -> bool {
    fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|tasks| tasks.take(2).count() > 1)
}

/// Whether there is a process with this id.
pub fn is_there(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// When a process started, in clock ticks since boot; `None` if there is none with this id.
pub fn start_ticks(pid: u32) -> Option<u64> {
    read_stat(&Path::new("/proc").join(pid.to_string())).map(|stat| stat.start_ticks)
}

fn read_stat(dir: &Path) -> Option<Stat> {
    Stat::parse(&read_bytes(&dir.join("stat"))?)
}

fn ancestors(parent_pid: u32) -> Vec<Ancestor> {
    let mut pid = parent_pid;
    let mut chain = Vec::new();
    while pid != 0 && chain.len() < MAX_ANCESTORS {
        let Some(stat) = read_stat(&Path::new("/proc").join(pid.to_string())) else {
            break;
        };
        chain.push(Ancestor {
            id: ProcId {
                pid,
                start_ticks: stat.start_ticks,
            },
            comm: printable(&stat.comm),
            ..Ancestor::default()
        });
        pid = stat.parent_pid;
    }
    chain
}

fn argv0(dir: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    let file = File::open(dir.join("cmdline")).ok()?;
    // Only as much as one argument may take: the ones behind it are not ours to read.
    file.take(MAX_TEXT_BYTES as u64)
        .read_to_end(&mut bytes)
        .ok()?;
    let argument = bytes.split(|byte| *byte == 0).next()?;
    (!argument.is_empty()).then(|| printable(argument))
}

fn link(path: &Path) -> Option<String> {
    let target = fs::read_link(path).ok()?;
    Some(path_text(&target))
}

fn read_text(path: &Path) -> Option<String> {
    Some(String::from_utf8_lossy(&read_bytes(path)?).into_owned())
}

fn read_bytes(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .ok()?
        .take(MAX_FILE_BYTES)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}

/// Names and paths are chosen by the observed process: control characters are made visible.
fn printable(bytes: &[u8]) -> String {
    let (bytes, _) = bytes.split_at(bytes.len().min(MAX_TEXT_BYTES));
    let mut text = String::with_capacity(bytes.len());
    for character in String::from_utf8_lossy(bytes).chars() {
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

fn real_uid(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The path in the unified hierarchy, else the one of systemd's own v1 hierarchy.
fn unified_cgroup(text: &str) -> Option<String> {
    let path_of = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix));
    let unified = path_of("0::").filter(|path| *path != "/");
    let systemd = text
        .lines()
        .find_map(|line| line.split_once(":name=systemd:"))
        .map(|(_, path)| path);
    unified
        .or(systemd)
        .or_else(|| path_of("0::"))
        .map(|path| printable(path.as_bytes()))
}

const fn ticks_to_ns(ticks: u64, ticks_per_second: u64) -> u64 {
    ticks.saturating_mul(1_000_000_000 / ticks_per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_read_whole() {
        let pid = std::process::id();
        let process = Reader::new(Facts::default()).read(pid).unwrap();
        assert_eq!(process.id.pid, pid);
        assert!(process.id.start_ticks > 0);
        assert_eq!(
            process.exe,
            Some(std::env::current_exe().unwrap().display().to_string())
        );
        assert_eq!(
            process.cwd,
            Some(std::env::current_dir().unwrap().display().to_string())
        );
        assert_eq!(process.argv0, std::env::args().next());
        assert_eq!(process.uid, rustix::process::getuid().as_raw());
        assert_eq!(process.source, FactSource::Proc);
        let parent = process.ancestors.first().map(|parent| parent.id.pid);
        assert_eq!(
            parent,
            rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs())
        );
    }

    #[test]
    fn facts_that_are_not_wanted_are_not_read() {
        let facts = Facts {
            cwd: false,
            argv0: false,
        };
        let process = Reader::new(facts).read(std::process::id()).unwrap();
        assert_eq!((process.cwd, process.argv0), (None, None));
    }

    #[test]
    fn a_process_that_is_gone_is_nobody() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert_eq!(Reader::new(Facts::default()).read(child.id()), None);
    }

    #[test]
    fn a_glimpse_at_its_exec_gives_a_gone_process_its_name() {
        let glimpse = Glimpse::of(std::process::id()).unwrap();
        let mut reader = Reader::new(Facts::default());
        let whole = reader.read(std::process::id()).unwrap();
        let gone = reader.from_kernel(whole.id.pid, 0, "name", Some(glimpse.clone()));
        assert_eq!((gone.id, &gone.exe), (whole.id, &whole.exe));
        let mut ending = Process {
            exe: None,
            ..whole.clone()
        };
        glimpse.clone().complete(&mut ending);
        assert_eq!(ending.exe, whole.exe);
        let mut other = Process { exe: None, ..whole };
        other.id.start_ticks += 1;
        glimpse.complete(&mut other);
        assert_eq!(other.exe, None, "another process with the same pid");
    }

    #[test]
    fn the_cgroup_is_the_unified_one_or_that_of_systemd() {
        assert_eq!(
            unified_cgroup("0::/a.slice/b.service\n").as_deref(),
            Some("/a.slice/b.service")
        );
        assert_eq!(
            unified_cgroup("12:pids:/x\n1:name=systemd:/system.slice/c.service\n0::/\n").as_deref(),
            Some("/system.slice/c.service")
        );
        assert_eq!(unified_cgroup("0::/\n").as_deref(), Some("/"));
        assert_eq!(unified_cgroup(""), None);
    }

    #[test]
    fn names_from_a_process_can_not_steer_a_terminal() {
        assert_eq!(printable(b"/tmp/\x1b[31mred\n"), "/tmp/\\u{1b}[31mred\\n");
    }
}
