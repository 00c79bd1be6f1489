//! Facts about processes, from `/proc`.
//!
//! They are read at first sight: short-lived processes vanish. Where a process works is looked at
//! again while it makes calls.
//!
//! The environment and arguments may hold secrets. Of the environment only the marker variable is
//! taken; of the arguments only the first, and which of the configured patterns they match. What else
//! was read is overwritten at once.

mod build_id;
mod checkout;
mod containers;
mod established;
mod files;
mod lineage;
mod mounts;
mod open;
mod secrets;
mod stat;
mod users;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use agent_core::event::{Ancestor, Container, FactSource, Marker, Placement, ProcId, Process};

use build_id::BuildIds;
use checkout::Checkouts;
pub use checkout::Place;
use containers::Containers;
pub use established::{Connected, connected_to};
pub use files::code_files;
use lineage::Lineage;
use mounts::Mounts;
use stat::Stat;
use users::Users;

/// LIMIT: length of the parent chain. Longer ones end there: nobody reads further.
const MAX_ANCESTORS: usize = 8;

/// LIMIT: bytes read of a file under `/proc`. What lies beyond is not needed: the first argument,
/// the name and the cgroup come first.
const MAX_FILE_BYTES: u64 = 64 * 1_024;

/// LIMIT: bytes kept of one path or argument, the longest path that Linux accepts.
const MAX_TEXT_BYTES: usize = 4_096;

/// LIMIT: ancestors whose markers are remembered, some 512 KiB of them; beyond it all are read again.
const MAX_MARKERS: usize = 1_024;

/// What is read about a process beyond its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The working directory, and the working tree that it lies in.
    pub cwd: bool,
    /// The first argument.
    pub argv0: bool,
    /// The marker variable of its environment.
    pub marker: bool,
    /// Patterns for whole command lines, joined with blanks, as [`agent_core::glob`] has them:
    /// [`Process::matched_arguments`] has the numbers of those that match. Without patterns no more
    /// than the first argument is read.
    pub argument_patterns: Vec<String>,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            cwd: true,
            argv0: true,
            marker: true,
            argument_patterns: Vec::new(),
        }
    }
}

/// What can be read of a process as it executes a program, at the cost of a few look-ups: so that a
/// process that makes its only call in its last moment still has a name, a unit and its workflow, and
/// one whose parent ends still has that parent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glimpse {
    start_ticks: u64,
    exe: Option<String>,
    parent: Option<ProcId>,
    marker: Option<Marker>,
    cgroup: Option<String>,
}

/// Reads facts about processes.
#[derive(Debug)]
pub struct Reader {
    facts: Facts,
    users: Users,
    lineage: Lineage,
    mounts: Mounts,
    checkouts: Checkouts,
    containers: Containers,
    build_ids: BuildIds,
    /// Of ancestors, until they run another program.
    markers: BTreeMap<ProcId, Option<Marker>>,
    ticks_per_second: u64,
}

impl Reader {
    /// A reader of the chosen facts.
    pub fn new(facts: Facts) -> Self {
        Self {
            facts,
            users: Users::default(),
            lineage: Lineage::default(),
            mounts: Mounts::default(),
            checkouts: Checkouts::default(),
            containers: Containers::new(PathBuf::from("/")),
            build_ids: BuildIds::default(),
            markers: BTreeMap::new(),
            ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
        }
    }

    /// A look at a living process that executes a program.
    pub fn glimpse(&mut self, pid: u32) -> Option<Glimpse> {
        let dir = Path::new("/proc").join(pid.to_string());
        let exe = link(&dir.join("exe"));
        let stat = read_stat(&dir)?;
        let id = ProcId {
            pid,
            start_ticks: stat.start_ticks,
        };
        self.markers.remove(&id);
        let comm = printable(&stat.comm);
        let parent = self
            .lineage
            .executes(id, comm, exe.clone(), lineage::starter(pid, &stat));
        let marker = self.facts.marker.then(|| secrets::marker(&dir)).flatten();
        Some(Glimpse {
            start_ticks: stat.start_ticks,
            exe,
            parent,
            marker,
            cgroup: cgroup(&dir),
        })
    }

    /// The facts about a living process, with what was seen at its exec; `None` if it is gone.
    pub fn read(&mut self, pid: u32, glimpse: Option<&Glimpse>) -> Option<Process> {
        let dir = Path::new("/proc").join(pid.to_string());
        let stat = read_stat(&dir)?;
        let uid = real_uid(&read_text(&dir.join("status"))?)?;
        let glimpse = glimpse.filter(|glimpse| glimpse.start_ticks == stat.start_ticks);
        let seen_parent = glimpse.and_then(|glimpse| glimpse.parent);
        let ancestors = self
            .lineage
            .ancestors(lineage::starter(pid, &stat), seen_parent);
        let exe = link_path(&dir.join("exe"));
        let exe_build_id = exe.as_ref().and_then(|exe| self.build_id(&dir, exe));
        // A process that ends has no executable any more.
        let exe = exe
            .map(|exe| path_text(&exe))
            .or_else(|| glimpse.and_then(|glimpse| glimpse.exe.clone()));
        let place = self.facts.cwd.then(|| self.place(pid)).flatten();
        let Place { cwd, checkout } = place.unwrap_or_default();
        let cgroup = cgroup(&dir).or_else(|| glimpse.and_then(|glimpse| glimpse.cgroup.clone()));
        let (unit, container) = self.placed(cgroup.as_deref());
        let seen_marker = glimpse.and_then(|glimpse| glimpse.marker.as_ref());
        let process = Process {
            id: ProcId {
                pid,
                start_ticks: stat.start_ticks,
            },
            marker: self.marker(&dir, seen_marker, &ancestors),
            ancestors,
            exe,
            exe_build_id,
            comm: printable(&stat.comm),
            argv0: self.facts.argv0.then(|| argv0(&dir)).flatten(),
            matched_arguments: secrets::matched_arguments(&dir, &self.facts.argument_patterns),
            uid,
            user_name: self.users.name(uid),
            cwd,
            checkout,
            cgroup,
            unit,
            container,
            started_ns: ticks_to_ns(stat.start_ticks, self.ticks_per_second),
            holds_from_ns: 0,
            source: FactSource::Proc,
        };
        // The pid may have been reused between two of these files.
        (read_stat(&dir)?.start_ticks == stat.start_ticks).then_some(process)
    }

    /// Where a living process works by now; `None` if that is not to be known, or can't be told.
    pub fn place(&mut self, pid: u32) -> Option<Place> {
        if !self.facts.cwd {
            return None;
        }
        let dir = Path::new("/proc").join(pid.to_string());
        self.checkouts.place(&dir, &mut self.mounts)
    }

    /// What the kernel programs saw of a process that is gone, and what was seen of it at its exec.
    pub fn from_kernel(
        &mut self,
        pid: u32,
        uid: u32,
        comm: &str,
        glimpse: Option<Glimpse>,
    ) -> Process {
        let Glimpse {
            start_ticks,
            exe,
            parent,
            marker,
            cgroup,
        } = glimpse.unwrap_or_default();
        let ancestors = parent
            .map(|parent| self.lineage.chain(parent))
            .unwrap_or_default();
        let (unit, container) = self.placed(cgroup.as_deref());
        Process {
            id: ProcId { pid, start_ticks },
            marker: marker.or_else(|| self.marker_of_any(&ancestors)),
            ancestors,
            exe,
            cgroup,
            unit,
            container,
            comm: comm.to_owned(),
            uid,
            user_name: self.users.name(uid),
            ..Process::default()
        }
    }

    fn build_id(&mut self, dir: &Path, exe: &Path) -> Option<String> {
        let is_local = self.mounts.are_local(dir, exe);
        is_local
            .then(|| self.build_ids.of(&dir.join("exe")))
            .flatten()
    }

    /// The marker of a process, else of the nearest living ancestor that has one: a program may start
    /// others with an environment of its own making.
    fn marker(
        &mut self,
        dir: &Path,
        seen: Option<&Marker>,
        ancestors: &[Ancestor],
    ) -> Option<Marker> {
        if !self.facts.marker {
            return None;
        }
        // A process that ends has no environment any more.
        secrets::marker(dir)
            .or_else(|| seen.cloned())
            .or_else(|| self.marker_of_any(ancestors))
    }

    fn marker_of_any(&mut self, ancestors: &[Ancestor]) -> Option<Marker> {
        if !self.facts.marker {
            return None;
        }
        let mut ancestors = ancestors.iter();
        ancestors.find_map(|ancestor| self.marker_of(ancestor.id))
    }

    /// Unit and container of a control group.
    fn placed(&mut self, cgroup: Option<&str>) -> (Option<String>, Option<Container>) {
        let Some(cgroup) = cgroup else {
            return (None, None);
        };
        let Placement { unit, container } = Placement::of(cgroup);
        (
            unit,
            container.map(|container| self.container(container, cgroup)),
        )
    }

    fn marker_of(&mut self, id: ProcId) -> Option<Marker> {
        if let Some(known) = self.markers.get(&id) {
            return known.clone();
        }
        let dir = Path::new("/proc").join(id.pid.to_string());
        let marker = secrets::marker(&dir);
        if read_stat(&dir)?.start_ticks != id.start_ticks {
            return None;
        }
        if self.markers.len() >= MAX_MARKERS {
            self.markers.clear();
        }
        self.markers.insert(id, marker.clone());
        marker
    }

    fn container(&mut self, container: Container, cgroup: &str) -> Container {
        let home = owner(cgroup).and_then(|uid| self.users.home(uid));
        // Another machine may serve it.
        let home = home.filter(|home| self.mounts.are_local(Path::new("/proc/self"), home));
        self.containers.complete(container, home.as_deref())
    }
}

/// The user whose manager runs a control group, as in `/user.slice/user-1000.slice/…`: the process
/// may be another user, from those that the container's owner may give away.
fn owner(cgroup: &str) -> Option<u32> {
    let mut names = cgroup.split('/');
    names.find_map(|name| {
        let uid = name.strip_prefix("user-")?.strip_suffix(".slice")?;
        uid.parse().ok()
    })
}

/// A path that a process chose, for people to read.
pub fn path_text(path: &Path) -> String {
    printable(path.as_os_str().as_encoded_bytes())
}

/// Whether a process has threads besides its first one, which ended.
pub fn outlives_its_first_thread(pid: u32) -> bool {
    fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|tasks| tasks.take(2).count() > 1)
}

/// What may not be read of a process by whoever runs this: files of `/proc` that tell something of it.
pub fn unread(pid: u32) -> Vec<&'static str> {
    let dir = Path::new("/proc").join(pid.to_string());
    let is_refused = |read: io::Result<()>| {
        read.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    let link = |name| is_refused(fs::read_link(dir.join(name)).map(drop));
    let file = |name| is_refused(File::open(dir.join(name)).map(drop));
    [
        ("executable", link("exe")),
        ("working directory", link("cwd")),
        ("environment", file("environ")),
        ("command line", file("cmdline")),
    ]
    .into_iter()
    .filter_map(|(what, is_refused)| is_refused.then_some(what))
    .collect()
}

/// Whether there is a process with this id.
pub fn is_there(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// When a process started, in clock ticks since boot; `None` if there is none with this id.
pub fn start_ticks(pid: u32) -> Option<u64> {
    read_stat(&Path::new("/proc").join(pid.to_string())).map(|stat| stat.start_ticks)
}

fn cgroup(dir: &Path) -> Option<String> {
    read_text(&dir.join("cgroup")).and_then(|text| unified_cgroup(&text))
}

fn read_stat(dir: &Path) -> Option<Stat> {
    Stat::parse(&read_bytes(&dir.join("stat"))?)
}

fn argv0(dir: &Path) -> Option<String> {
    // As much as one argument may take; what stands behind it is overwritten.
    let file = open::regular_at(&dir.join("cmdline"))?;
    let read = open::Wiped::read(file, MAX_TEXT_BYTES)?;
    let argument = read.bytes().split(|byte| *byte == 0).next()?;
    (!argument.is_empty()).then(|| printable(argument))
}

fn link(path: &Path) -> Option<String> {
    Some(path_text(&link_path(path)?))
}

fn link_path(path: &Path) -> Option<PathBuf> {
    fs::read_link(path).ok()
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

/// The path in the unified hierarchy, else the one of systemd's own v1 hierarchy, else that of a
/// controller: hosts without systemd have only those.
fn unified_cgroup(text: &str) -> Option<String> {
    let path_of = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix));
    let unified = path_of("0::").filter(|path| *path != "/");
    let systemd = text
        .lines()
        .find_map(|line| line.split_once(":name=systemd:"))
        .map(|(_, path)| path);
    let controllers = text.lines().filter_map(|line| {
        let (_number, rest) = line.split_once(':')?;
        let (_controllers, path) = rest.split_once(':')?;
        (path != "/").then_some(path)
    });
    unified
        .or(systemd)
        .or_else(|| controllers.min())
        .or_else(|| path_of("0::"))
        .map(|path| printable(path.as_bytes()))
}

const fn ticks_to_ns(ticks: u64, ticks_per_second: u64) -> u64 {
    ticks.saturating_mul(1_000_000_000 / ticks_per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(facts: Facts) -> Reader {
        Reader::new(facts)
    }

    #[test]
    fn this_process_is_read_whole() {
        let pid = std::process::id();
        let process = reader(Facts::default()).read(pid, None).unwrap();
        assert_eq!(process.id.pid, pid);
        assert!(process.id.start_ticks > 0);
        let exe = std::env::current_exe().unwrap();
        assert_eq!(process.exe, Some(exe.display().to_string()));
        assert_eq!(process.exe_build_id, BuildIds::default().of(&exe));
        assert_eq!(
            process.cwd,
            Some(std::env::current_dir().unwrap().display().to_string())
        );
        assert_eq!(process.argv0, std::env::args().next());
        assert_eq!(process.uid, rustix::process::getuid().as_raw());
        assert_eq!(process.source, FactSource::Proc);
        let parent = process.ancestors.first().unwrap();
        assert_eq!(
            Some(parent.id.pid),
            rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs())
        );
        assert_eq!(
            parent.exe,
            link(&PathBuf::from(format!("/proc/{}/exe", parent.id.pid)))
        );
    }

    #[test]
    fn facts_that_are_not_wanted_are_not_read() {
        let facts = Facts {
            cwd: false,
            argv0: false,
            marker: false,
            argument_patterns: Vec::new(),
        };
        let child = Child::start(std::process::Command::new("sleep").env(Marker::VARIABLE, "x"));
        let mut reader = reader(facts);
        let process = reader.read(child.0.id(), None).unwrap();
        let nothing = Process {
            cwd: None,
            checkout: None,
            argv0: None,
            marker: None,
            matched_arguments: Vec::new(),
            ..process.clone()
        };
        assert_eq!(process, nothing);
        assert_eq!(reader.place(child.0.id()), None);
    }

    /// A process that runs until it is dropped.
    struct Child(std::process::Child);

    impl Child {
        /// It runs its program when this returns.
        fn start(command: &mut std::process::Command) -> Self {
            let child = Self(command.arg("60").spawn().unwrap());
            // The kernel has set out its arguments and its environment once it shows the former.
            while fs::read(format!("/proc/{}/cmdline", child.0.id()))
                .unwrap()
                .is_empty()
            {
                std::thread::yield_now();
            }
            child
        }
    }

    impl Drop for Child {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn a_child_in_a_working_tree_with_a_marker_is_read_whole() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path().canonicalize().unwrap();
        let (git, tree) = (top.join("app/.git/worktrees/w"), top.join("w"));
        fs::create_dir_all(&git).unwrap();
        fs::create_dir_all(tree.join("src")).unwrap();
        fs::write(git.join("HEAD"), "ref: refs/heads/fix\n").unwrap();
        fs::write(git.join("commondir"), "../..\n").unwrap();
        let link = format!("gitdir: {}\n", git.display());
        fs::write(tree.join(".git"), link).unwrap();
        let child = Child::start(
            std::process::Command::new("sleep")
                .current_dir(tree.join("src"))
                .env("OPENAI_API_KEY", "sk-secret")
                .env(Marker::VARIABLE, "nightly,team=infra"),
        );
        let facts = Facts {
            argument_patterns: vec!["other".to_owned(), "sleep 6*".to_owned()],
            ..Facts::default()
        };
        let process = reader(facts).read(child.0.id(), None).unwrap();
        assert_eq!(
            process.checkout,
            Some(agent_core::event::Checkout {
                root: tree.display().to_string(),
                repo: "app".to_owned(),
                branch: Some("fix".to_owned()),
            })
        );
        assert_eq!(process.cwd, Some(tree.join("src").display().to_string()));
        assert_eq!(process.marker, Marker::parse("nightly,team=infra"));
        assert_eq!(process.matched_arguments, [1]);
        let text = serde_json::to_string(&process).unwrap();
        assert!(!text.contains("sk-secret"), "{text}");
    }

    #[test]
    fn a_marker_of_an_ancestor_counts_where_the_process_has_none() {
        let mut shell = std::process::Command::new("sh");
        shell
            .args([
                "-c",
                "env -i sh -c 'echo $$; exec sleep 60' & exec sleep \"$0\"",
            ])
            .env(Marker::VARIABLE, "nightly")
            .stdout(std::process::Stdio::piped());
        let mut shell = Child::start(&mut shell);
        let mut line = String::new();
        let out = shell.0.stdout.take().unwrap();
        io::BufRead::read_line(&mut io::BufReader::new(out), &mut line).unwrap();
        let pid: u32 = line.trim().parse().unwrap();
        let process = reader(Facts::default()).read(pid, None).unwrap();
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid.cast_signed()).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        assert_eq!(process.marker, Marker::parse("nightly"));
    }

    #[test]
    fn a_process_that_is_gone_is_nobody() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert_eq!(reader(Facts::default()).read(child.id(), None), None);
    }

    #[test]
    fn a_glimpse_at_its_exec_gives_a_gone_process_its_name_and_its_parents() {
        let pid = std::process::id();
        let mut reader = reader(Facts::default());
        let glimpse = reader.glimpse(pid).unwrap();
        let whole = reader.read(pid, Some(&glimpse)).unwrap();
        let gone = reader.from_kernel(pid, 0, "name", Some(glimpse));
        assert_eq!(
            (gone.id, &gone.exe, &gone.ancestors),
            (whole.id, &whole.exe, &whole.ancestors)
        );
    }

    #[test]
    fn a_glimpse_at_its_exec_gives_a_gone_process_its_marker_and_its_unit() {
        let mut sleep = std::process::Command::new("sleep");
        let mut child = Child::start(sleep.env(Marker::VARIABLE, "nightly,team=infra"));
        let pid = child.0.id();
        let mut reader = reader(Facts::default());
        // The environment is the program's own from its exec on.
        let glimpse = loop {
            let glimpse = reader.glimpse(pid).unwrap();
            if glimpse
                .exe
                .as_deref()
                .is_some_and(|exe| exe.ends_with("sleep"))
            {
                break glimpse;
            }
        };
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        let gone = reader.from_kernel(pid, 0, "sleep", Some(glimpse));
        assert_eq!(gone.marker, Marker::parse("nightly,team=infra"));
        let own = reader.read(std::process::id(), None).unwrap();
        assert_eq!((gone.cgroup, gone.unit), (own.cgroup, own.unit));
    }

    #[test]
    fn a_process_whose_parent_ended_keeps_the_chain_that_a_glimpse_saw() {
        let child = Child::start(&mut std::process::Command::new("sleep"));
        let pid = child.0.id();
        let mut reader = reader(Facts::default());
        let own = reader.read(std::process::id(), None).unwrap();
        // As if a script had started it and ended.
        let script = ProcId {
            pid: u32::MAX,
            start_ticks: 1,
        };
        reader
            .lineage
            .executes(script, "job.sh".to_owned(), None, own.id.pid);
        let glimpse = Glimpse {
            start_ticks: start_ticks(pid).unwrap(),
            exe: None,
            parent: Some(script),
            ..Glimpse::default()
        };
        let seen = reader.read(pid, Some(&glimpse)).unwrap();
        let ids = |process: &Process| -> Vec<ProcId> {
            process
                .ancestors
                .iter()
                .map(|ancestor| ancestor.id)
                .collect()
        };
        let mut expected = vec![script, own.id];
        expected.extend(ids(&own));
        expected.truncate(MAX_ANCESTORS);
        assert_eq!(ids(&seen), expected);
        let of_another = Glimpse {
            start_ticks: 1,
            ..glimpse
        };
        let read = reader.read(pid, Some(&of_another)).unwrap();
        assert_eq!(
            ids(&read).first(),
            Some(&own.id),
            "another process with the same pid"
        );
    }

    #[test]
    fn a_parent_that_was_given_to_another_process_keeps_the_chain_above_it() {
        let script = "sh -c 'sleep 60 & echo $$ $!; wait; exit' & wait; exit";
        let mut starter = std::process::Command::new("sh")
            .args(["-c", script])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut out = io::BufReader::new(starter.stdout.take().unwrap());
        io::BufRead::read_line(&mut out, &mut said).unwrap();
        let (daemon, pid) = said.trim().split_once(' ').unwrap();
        let mut reader = reader(Facts::default());
        let has_executed = reader.glimpse(daemon.parse().unwrap());
        starter.kill().unwrap();
        starter.wait().unwrap();
        let glimpse = reader.glimpse(pid.parse().unwrap());
        let process = reader.read(pid.parse().unwrap(), glimpse.as_ref());
        for pid in [pid, daemon] {
            let killed = std::process::Command::new("kill").arg(pid).status();
            assert!(killed.unwrap().success());
        }
        assert_eq!(has_executed.unwrap().parent.unwrap().pid, starter.id());
        let above: Vec<u32> = process
            .unwrap()
            .ancestors
            .iter()
            .map(|ancestor| ancestor.id.pid)
            .collect();
        let expected = [daemon.parse().unwrap(), starter.id(), std::process::id()];
        assert_eq!(above.get(..3), Some(expected.as_slice()));
    }

    #[test]
    fn the_real_user_counts_whatever_a_program_is_allowed() {
        let status = "Name:\tsudo\nUid:\t1000\t0\t0\t0\nGid:\t1000\t0\t0\t0\n";
        assert_eq!(real_uid(status), Some(1000));
        assert_eq!(real_uid("Name:\tx\n"), None);
    }

    #[test]
    fn a_user_is_told_by_the_slice_of_its_manager() {
        let path = "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-x.scope";
        assert_eq!(owner(path), Some(1000));
        assert_eq!(owner("/machine.slice/libpod-x.scope"), None);
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
        assert_eq!(
            unified_cgroup("2:pids:/docker/9ec3\n1:cpu:/\n0::/\n").as_deref(),
            Some("/docker/9ec3")
        );
        assert_eq!(unified_cgroup("0::/\n").as_deref(), Some("/"));
        assert_eq!(unified_cgroup(""), None);
    }

    #[test]
    fn names_from_a_process_can_not_steer_a_terminal() {
        assert_eq!(printable(b"/tmp/\x1b[31mred\n"), "/tmp/\\u{1b}[31mred\\n");
    }
}
