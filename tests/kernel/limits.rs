//! The agent has little memory, few files or no threads, somebody stops reading what it says, another
//! agent is there: it counts on, or says why it can't. What it leaves behind is nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use aya::maps::loaded_maps;
use aya::programs::{loaded_links, loaded_programs};
use test_support::Endpoint;
use test_support::overhead::library_of;

use crate::agent::{Agent, HOOK_LIMIT, LEDGER_LIMIT, Place, descriptors, send, skip};
use crate::compare::assert_same;
use crate::run::{Client, Kept, Who, poll, python, tls_pair};

/// Calls of a client.
const CALLS: usize = 40;

/// How often the agent is started and stopped while clients call.
const STARTS: usize = 100;

/// How often all that is in the kernel is looked at right after an end.
const LOOKS: usize = 20;

/// How long the kernel may take to free what nobody holds any more: it does so on its own time.
const FREED_WITHIN: Duration = Duration::from_secs(90);

/// The memory that an agent gets, in bytes.
const LITTLE_MEMORY: u64 = 64 << 20;

const FREQUENT_SCANS: &str = "[capture]\nscan_interval_ms = 500\n";

/// Long enough for some of these.
const FEW_SCANS: Duration = Duration::from_secs(2);

/// Files that an agent may have open when it may have many.
const ENOUGH_FILES: u64 = 1_024;

/// Libraries of their own in programs that run at once.
const LIBRARIES: usize = 24;

/// How long a start that fails may take.
const REFUSED_WITHIN: Duration = Duration::from_secs(30);

/// A control group of one controller, in whichever hierarchy this host has it; removed when dropped.
struct Group(PathBuf);

impl Group {
    /// One with this limit, by the names that the two versions have for its file; `None`, with a
    /// `SKIP` line, where there can be none.
    fn limited(test: &str, controller: &str, files: [&str; 2], limit: u64) -> Option<Self> {
        let unified = PathBuf::from("/sys/fs/cgroup");
        let of_version_1 = unified.join(controller);
        let (parent, file) = match of_version_1.is_dir() {
            true => (of_version_1, files[0]),
            false => (unified, files[1]),
        };
        let name = format!("bpftok-{controller}-{}", std::process::id());
        let group = Self(parent.join(name));
        let made = fs::create_dir(&group.0)
            .and_then(|()| fs::write(group.0.join(file), limit.to_string()));
        if let Err(error) = made {
            skip(test, &format!("no control group of {controller}: {error}"));
            return None;
        }
        Some(group)
    }

    fn number(&self, file: &str) -> Option<u64> {
        fs::read_to_string(self.0.join(file))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// The command, in it.
    fn command(&self, command: &Command) -> Command {
        let tasks = self.0.join("cgroup.procs");
        under(&format!("echo $$ > {} && ", tasks.display()), command)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let is_gone = poll(LEDGER_LIMIT, || fs::remove_dir(&self.0).is_ok());
        if !is_gone {
            println!("{} is left", self.0.display());
        }
    }
}

/// The command, after what a shell does first.
fn under(first: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("{first}exec \"$@\""), "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    shell
}

/// Who hears when an agent is ready, and where.
fn manager(place: &Place) -> (UnixDatagram, PathBuf) {
    let socket = place.file("manager");
    (UnixDatagram::bind(&socket).unwrap(), socket)
}

/// A client that makes calls, to be waited for.
fn client(endpoint: &Endpoint, test: &str, api: &str, arguments: &[&str]) -> Option<Client> {
    let mut command = python("calls.py", endpoint, test)?;
    command.args(["stdlib", api, "--stream"]).args(arguments);
    command.args(["--calls", &CALLS.to_string()]);
    Client::start(command, test)
}

/// The ledger has exactly the calls that were served, all of this client.
#[track_caller]
fn assert_all_counted(endpoint: &Endpoint, place: &Place, who: &Who) {
    let served = endpoint.served();
    assert_same(&served, &place.rows_when(served.len()), |_| who.clone());
}

/// What a process that is to fail says, and its exit code.
fn fails(mut command: Command) -> (Option<i32>, String) {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Kept(child);
    let ended = poll(REFUSED_WITHIN, || child.try_wait().unwrap().is_some());
    if !ended {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(ended, "it goes on:\n{said}");
    (status.code(), said)
}

#[test]
fn a_second_agent_is_refused_with_the_pid_of_the_first_and_on_a_ledger_of_its_own_both_count_all() {
    let test = "two_agents";
    let endpoint = Endpoint::start().unwrap();
    let (first, second) = (Place::of(&endpoint), Place::of(&endpoint));
    let Some(agent) = first.run(test) else { return };
    let (code, said) = fails(first.on_ledger(["run"]));
    assert_eq!(code, Some(1), "{said}");
    let pid = format!("(pid {})", agent.id());
    assert!(
        said.lines().last().unwrap_or_default().contains(&pid),
        "{said}"
    );

    let Some(other) = second.run(test) else {
        return;
    };
    let Some(client) = client(&endpoint, test, "messages", &[]) else {
        return;
    };
    let ended = client.succeed();
    for place in [&first, &second] {
        assert_all_counted(&endpoint, place, &ended.who);
    }
    agent.stop();
    other.stop();
}

#[test]
fn in_64_mib_it_counts_all_and_stays_within() {
    let test = "little_memory";
    let files = ["memory.limit_in_bytes", "memory.max"];
    let Some(group) = Group::limited(test, "memory", files, LITTLE_MEMORY) else {
        return;
    };
    let endpoint = Endpoint::start().unwrap();
    let place = Place::of(&endpoint);
    let command = group.command(&place.on_ledger(["run"]));
    let Some(agent) = Agent::start(command, test) else {
        return;
    };
    assert!(
        agent.said().contains("memory is limited to 64 MiB"),
        "{}",
        agent.said()
    );

    // A flood of what is no LLM traffic, and of texts that have to be counted here: what is lost of it
    // is counted, and nothing else is lost.
    let bulk = ["transfer", "--size", "300000000"];
    let Some(foreign) = tls_pair(&bulk, test).and_then(|pair| Client::start(pair, test)) else {
        return;
    };
    let long = "words of a long prompt ".repeat(4_000);
    let many = ["--connections", "8", "--prompt", &long];
    let Some(flood) = client(&endpoint, test, "chat", &many) else {
        return;
    };
    foreign.succeed();
    flood.succeed();
    let served = endpoint.served().len();
    let rows = place.rows_when(served).len();
    assert!(
        rows == served || place.counter("lost_records") > 0,
        "{rows} of {served}, and nothing is said to be lost:\n{}",
        agent.said()
    );
    // Then it counts as ever.
    let Some(calm) = client(&endpoint, test, "chat", &[]) else {
        return;
    };
    let ended = calm.succeed();
    let ids: Vec<_> = endpoint
        .served()
        .into_iter()
        .skip(served)
        .map(|call| call.id)
        .collect();
    assert_eq!(ids.len(), CALLS);
    let of_calm = || -> Vec<_> {
        let rows = place.rows().into_iter();
        rows.filter(|row| ids.contains(&row.id)).collect()
    };
    place.wait_until(|| of_calm().len() == CALLS);
    let rows = of_calm();
    assert_eq!(rows.len(), CALLS, "{}", agent.said());
    for row in rows {
        assert_eq!(row.pid, Some(ended.who.pid));
        assert_eq!(row.usage_source, "estimated");
        assert!(row.tokens[5].is_some(), "{row:?}");
    }
    let degraded = place.status()["degraded"].to_string();
    assert!(
        degraded.contains("memory is limited to 64 MiB"),
        "{degraded}"
    );
    for file in ["memory.max_usage_in_bytes", "memory.peak"] {
        if let Some(most) = group.number(file) {
            println!("{} KiB of the group at most", most >> 10);
            assert!(most <= LITTLE_MEMORY);
        }
    }
    println!("{} KiB of its own", agent.memory_kib());
    // Had the kernel killed it, this would fail.
    agent.stop();
    assert!(place.counter("texts_without_vocabulary") > 0);
}

#[test]
fn with_64_open_files_it_says_which_libraries_it_cannot_watch_and_goes_on() {
    let test = "few_files";
    let place = Place::with(FREQUENT_SCANS);
    let Some(peer) = tls_pair(&[], test) else {
        return;
    };
    let library = library_of(Path::new(peer.get_program())).unwrap();
    let command = under("ulimit -n 64 && ", &place.on_ledger(["run"]));
    let Some(agent) = Agent::start(command, test) else {
        return;
    };
    let hold = |name: &str| {
        let folder = place.file(name);
        fs::create_dir(&folder).unwrap();
        fs::copy(&library, folder.join(library.file_name().unwrap())).unwrap();
        let mut peer = tls_pair(&["transfer", "--hold", "--size", "1000"], test)?;
        peer.env("LD_LIBRARY_PATH", &folder).stdin(Stdio::piped());
        Client::start(peer, test)
    };
    // Each of these takes three of its files while it runs.
    let held: Vec<_> = (0..LIBRARIES)
        .map(|copy| hold(&format!("copy-{copy}")))
        .collect();
    assert!(
        poll(HOOK_LIMIT, || agent
            .times_said("not hooked", "Too many open files")
            > 0),
        "{}",
        agent.said()
    );
    let failed = || place.status()["failed"].to_string();
    place.wait_until(|| failed().contains("Too many open files"));
    assert!(failed().contains("Too many open files"), "{}", failed());
    // Where some are gone, there is room to look at others and to watch them; where the host's own
    // programs take it, that is told.
    drop(held);
    for copy in 0..LIBRARIES {
        fs::remove_dir_all(place.file(&format!("copy-{copy}"))).unwrap();
    }
    place.wait_until(|| descriptors(agent.id()).len() < 56);
    let other = hold("other");
    let is_watched = || agent.times_hooked("other/") > 0;
    let is_told = || {
        let lacks_room = failed().contains("not all that runs can be looked at");
        lacks_room || agent.times_said("not hooked", "other/") > 0
    };
    assert!(
        poll(HOOK_LIMIT, || is_watched() || is_told()),
        "{}",
        agent.said()
    );
    drop(other);
    agent.stop();
}

/// Sets how many files the agent may have open at once.
fn limit_files(agent: &Agent, limit: u64) {
    let files = rustix::process::Resource::Nofile;
    let limits = rustix::process::Rlimit {
        current: Some(limit),
        ..rustix::process::getrlimit(files)
    };
    let pid = rustix::process::Pid::from_raw(agent.id().cast_signed());
    rustix::process::prlimit(pid, files, limits).unwrap();
}

#[test]
fn a_library_refused_for_want_of_files_is_watched_once_there_is_room() {
    let test = "room_again";
    let place = Place::with(FREQUENT_SCANS);
    let Some(peer) = tls_pair(&[], test) else {
        return;
    };
    let library = library_of(Path::new(peer.get_program())).unwrap();
    let Some(agent) = place.run(test) else { return };
    let hold = |copy: u64| {
        let folder = place.file(&format!("copy-{copy}"));
        fs::create_dir(&folder).unwrap();
        fs::copy(&library, folder.join(library.file_name().unwrap())).unwrap();
        let mut peer = tls_pair(&["transfer", "--hold", "--size", "1000"], test)?;
        peer.env("LD_LIBRARY_PATH", &folder).stdin(Stdio::piped());
        Client::start(peer, test)
    };
    let path = |copy: u64| format!("/copy-{copy}/");
    let is_refused = |copy: u64| agent.times_said("not hooked", &path(copy)) > 0;
    // A file that is watched takes three: where two are to be had it is opened and refused.
    let in_use: BTreeSet<_> = descriptors(agent.id())
        .into_iter()
        .map(|(number, _)| number)
        .collect();
    let is_free = |number: &u32| !in_use.contains(number);
    let mut limit = u64::from((0..).filter(is_free).nth(2).unwrap());
    limit_files(&agent, limit);
    let mut held = vec![hold(0)];
    let copy = loop {
        let copy = held.len() as u64 - 1;
        let is_known = || is_refused(copy) || agent.has_hooked(&path(copy));
        if !poll(FEW_SCANS, is_known) {
            limit += 1;
            limit_files(&agent, limit);
        } else if is_refused(copy) {
            break copy;
        } else {
            held.push(hold(copy + 1));
        }
        assert!(
            limit < ENOUGH_FILES && held.len() < LIBRARIES,
            "{}",
            agent.said()
        );
    };
    limit_files(&agent, ENOUGH_FILES);
    assert!(
        poll(HOOK_LIMIT, || agent.has_hooked(&path(copy))),
        "{}",
        agent.said()
    );
    place.wait_until(|| !place.status()["failed"].to_string().contains(&path(copy)));
    let failed = place.status()["failed"].to_string();
    assert!(!failed.contains(&path(copy)), "{failed}");
    agent.stop();
}

#[test]
fn where_no_thread_can_be_started_it_says_so_and_ends() {
    let test = "few_threads";
    let mut outcomes = BTreeMap::new();
    for threads in [1, 2, 3, 4, 6, 8, 10, 12, 14] {
        let Some(group) = Group::limited(test, "pids", ["pids.max", "pids.max"], threads) else {
            return;
        };
        let place = Place::with("");
        let (manager, socket) = manager(&place);
        manager.set_nonblocking(true).unwrap();
        let mut command = group.command(&place.on_ledger(["run"]));
        let child = command
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = Kept(child.unwrap());
        let mut message = [0; 4_096];
        assert!(
            poll(REFUSED_WITHIN, || {
                child.try_wait().unwrap().is_some() || manager.recv(&mut message).is_ok()
            }),
            "with {threads} threads it neither watches nor ends"
        );
        let ended = child.try_wait().unwrap();
        if ended.is_none() {
            send("TERM", child.id());
        }
        let status = child.wait().unwrap();
        let mut said = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        // Neither killed nor aborted, and no defect: an end by itself is one with a sentence.
        assert!(!said.contains("defect"), "{threads}: {said}");
        match ended {
            Some(_) => {
                assert!(matches!(status.code(), Some(1 | 69)), "{threads}: {said}");
                let sentence = said.lines().find(|line| line.starts_with("bpftok: "));
                assert!(sentence.is_some(), "{threads}: {said}");
            }
            None => assert!(status.success(), "{threads}: {status} {said}"),
        }
        outcomes.insert(threads, ended.is_none());
    }
    println!("{outcomes:?}");
    assert_eq!(outcomes.get(&1), Some(&false), "{outcomes:?}");
}

/// A kernel program, map or link.
type Object = (&'static str, u32);

/// Those that a process holds.
fn held_by(pid: u32) -> BTreeSet<Object> {
    let kinds = [
        ("program", "prog_id:"),
        ("map", "map_id:"),
        ("link", "link_id:"),
    ];
    let mut held = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap() {
        // It may be closed meanwhile.
        let text = fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        for (kind, name) in kinds {
            let value = text.lines().find_map(|line| line.strip_prefix(name));
            held.extend(value.map(|value| (kind, value.trim().parse().unwrap())));
        }
    }
    held
}

/// All that are in the kernel. Each is opened for that, by its number.
fn objects() -> BTreeSet<Object> {
    let programs = loaded_programs()
        .flatten()
        .map(|found| ("program", found.id()));
    let maps = loaded_maps().flatten().map(|found| ("map", found.id()));
    let links = loaded_links().flatten().map(|found| ("link", found.id()));
    programs.chain(maps).chain(links).collect()
}

/// Of maps see below: before 6.6 a look may keep one.
#[test]
fn probe_programs_and_links_end_with_the_agent() {
    let place = Place::with("");
    let Some(agent) = place.run("nothing_left") else {
        return;
    };
    let mut ours = held_by(agent.id());
    ours.retain(|(kind, _)| *kind != "map");
    let kinds: BTreeSet<_> = ours.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, BTreeSet::from(["link", "program"]));
    agent.stop();
    let left = || -> Vec<_> { ours.intersection(&objects()).copied().collect() };
    assert!(poll(FREED_WITHIN, || left().is_empty()), "{:?}", left());
}

#[test]
fn started_and_stopped_again_and_again_under_load_it_leaves_nothing_in_the_kernel() {
    let test = "again_and_again";
    let endpoint = Endpoint::start().unwrap();
    let place = Place::of(&endpoint);
    let mut ours = BTreeSet::new();
    let mut is_looked_at = false;
    for start in 0..STARTS {
        let plan = ["--plan", "delay-2"];
        let Some(load) = client(&endpoint, test, "messages", &plan) else {
            return;
        };
        let Some(agent) = place.run(test) else { return };
        ours.extend(held_by(agent.id()));
        match start % 2 {
            0 => drop(agent.stop()),
            _ => drop(agent.kill()),
        }
        if is_looked_at {
            for _ in 0..LOOKS {
                objects();
            }
        }
        drop(load);
        // Before 6.6 it has a map that stays in the kernel where somebody looks at that moment.
        is_looked_at = place.status()["attach_kind"] == "uprobe_multi";
    }
    for kind in ["program", "map", "link"] {
        let held = ours.iter().filter(|object| object.0 == kind).count();
        assert!(held >= STARTS, "{held} times a {kind} in {STARTS} starts");
    }
    // There a look at its maps is what may keep one.
    ours.retain(|object| is_looked_at || object.0 != "map");
    let left = || -> Vec<_> { ours.intersection(&objects()).copied().collect() };
    assert!(poll(FREED_WITHIN, || left().is_empty()), "{:?}", left());
    assert_eq!(place.text("PRAGMA integrity_check"), "ok");
}

#[test]
fn nobody_reads_what_it_says_and_nothing_is_lost() {
    let test = "nobody_reads";
    let endpoint = Endpoint::start().unwrap();
    let metrics = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let config = format!(
        "[metrics]\nlisten = \"{metrics}\"\n\
         [[notify]]\nname = \"hangs\"\nkind = \"exec\"\nuser = \"nobody\"\n\
         command = [\"/bin/sleep\", \"60\"]\n"
    );
    let place = Place::of(&endpoint).configured(config.leak());
    let (manager, socket) = manager(&place);
    manager.set_read_timeout(Some(LEDGER_LIMIT)).unwrap();
    let mut command = place.on_ledger(["run", "-vv"]);
    // The pipe is never read: it is full after its first 64 KiB.
    let child = command
        .env("NOTIFY_SOCKET", &socket)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = Kept(child.unwrap());
    let mut message = [0; 4_096];
    if let Err(error) = manager.recv(&mut message) {
        let status = child.try_wait().unwrap();
        assert!(status.is_some(), "it is not ready: {error}");
        skip(test, "the agent can't run here");
        return;
    }
    // Somebody asks for metrics and does not read them.
    let mut reader = TcpStream::connect(metrics).unwrap();
    reader
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    let Some(client) = client(&endpoint, test, "messages", &[]) else {
        return;
    };
    let ended = client.succeed();
    assert_all_counted(&endpoint, &place, &ended.who);
    // It floods its own log until lines are dropped, and goes on.
    assert!(poll(LEDGER_LIMIT, || {
        place.number("SELECT count(*) FROM alert_delivery") > 0
    }));
    assert_eq!(place.counter("lost_records"), 0);
    send("TERM", child.id());
    assert!(
        poll(LEDGER_LIMIT, || child.try_wait().unwrap().is_some()),
        "it waits for who reads its log"
    );
    assert!(child.wait().unwrap().success());
    assert_eq!(place.counter("lost_records"), 0);
    drop(reader);
}

/// The rights that threads have, by name of the thread.
fn rights(agent: &Agent) -> BTreeMap<String, BTreeSet<u64>> {
    let mut rights: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{}/task", agent.id())).unwrap() {
        let task = task.unwrap().path();
        let is_main = task.ends_with(agent.id().to_string());
        // A thread may end while it is looked at.
        let Ok(status) = fs::read_to_string(task.join("status")) else {
            continue;
        };
        let value = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap().trim().to_owned()
        };
        // The first has the name of the program's file.
        let name = match is_main {
            true => "main".to_owned(),
            false => value("Name:"),
        };
        let sets = ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"];
        let [inherited, permitted, effective, ambient] =
            sets.map(|key| u64::from_str_radix(&value(key), 16).unwrap());
        assert_eq!((inherited, ambient), (0, 0), "{name}");
        assert_eq!(permitted, effective, "{name}");
        rights.entry(name).or_default().insert(effective);
    }
    // These are not always there.
    rights.remove("self-check");
    rights.remove("diagnostics");
    rights
}

#[test]
fn each_thread_has_exactly_the_rights_that_are_documented() {
    let test = "rights_of_threads";
    let place = Place::with("");
    let config = format!(
        "[metrics]\nlisten = \"unix:{0}/socket\"\ntextfile = \"{0}/bpftok.prom\"\n\
         [otlp]\nendpoint = \"http://127.0.0.1:9\"\n\
         [[notify]]\nname = \"told\"\nkind = \"exec\"\nuser = \"nobody\"\ncommand = [\"/bin/true\"]\n",
        place.file("").display().to_string().trim_end_matches('/')
    );
    let place = place.configured(config.leak());
    let Some(agent) = place.run(test) else { return };
    place.wait_until(|| rights(&agent).contains_key("alert"));
    // Numbers of capability.h: CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, KILL, SETGID, SETUID,
    // SYS_PTRACE, SYS_ADMIN, PERFMON, BPF, CHECKPOINT_RESTORE.
    let set = |numbers: &[u32]| numbers.iter().fold(0_u64, |set, number| set | 1 << number);
    let reading = set(&[2, 19, 40]);
    let writing = set(&[0, 1, 3, 5]);
    let becoming = set(&[6, 7]);
    let watching = reading | writing;
    // Where links need rights, who attaches keeps those for it.
    let attaching = match place.status()["capabilities"]
        .to_string()
        .contains("CAP_BPF")
    {
        true => watching | set(&[21, 38, 39]),
        false => watching,
    };
    let expected: BTreeMap<&str, u64> = [
        ("main", attaching),
        ("capture", attaching),
        ("store", watching | becoming),
        ("alert", watching | becoming),
        ("files", watching),
        ("search-1", watching),
        ("search-2", watching),
        ("textfile", writing),
        ("watch", reading),
        ("line", 0),
        ("mappings", 0),
        ("metrics", 0),
        ("otlp", 0),
        ("log", 0),
    ]
    .into();
    let expected: BTreeMap<String, BTreeSet<u64>> = expected
        .into_iter()
        .map(|(name, rights)| (name.to_owned(), BTreeSet::from([rights])))
        .collect();
    // A thread that begins has the name and the rights of who started it for an instant.
    let is_as_documented = || rights(&agent) == expected;
    assert!(
        poll(LEDGER_LIMIT, is_as_documented),
        "{:x?} is not {expected:x?}",
        rights(&agent)
    );
    agent.stop();
}
