//! Weeks of a host in a minute or two: thousands of short processes, libraries that are replaced,
//! containers that come and go. What the agent holds ends where it began.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use aya::maps::{Map, MapData, loaded_maps};
use test_support::overhead::library_of;

use crate::agent::{Agent, Place, descriptors};
use crate::discovery::Mounted;
use crate::run::{Client, poll, tls_pair};

/// Short processes in all; each round has as many.
const PROCESSES: usize = 5_000;
const ROUNDS: usize = 20;

/// Programs that speak TLS in each round, all with one file.
const TLS_PROCESSES: usize = 4;

/// How long the agent may take to let go of what nobody uses any more.
const RELEASE_LIMIT: Duration = Duration::from_secs(30);

/// How much more memory of its own the agent may have at the end than after the first rounds: the
/// allocator keeps some of what the busiest moment took.
const MARGIN_KIB: u64 = 8 << 10;

const FREQUENT_SCANS: &str = "[capture]\nscan_interval_ms = 500\n";

/// What the agent holds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holds {
    links: usize,
    descriptors: usize,
    /// Entries of processes that are gone in the maps that could fill up, by name.
    entries: Vec<(String, usize)>,
}

impl Holds {
    /// All that it holds, without what it needs for files of programs that are none of the test's.
    fn of(agent: &Agent, ours: &str) -> Self {
        let said = agent.said();
        let others = said
            .lines()
            .filter(|line| line.contains(" hooked path=") && !line.contains(ours));
        let links: Vec<usize> = others
            .filter_map(|line| {
                line.split_once(" links=")?
                    .1
                    .split(' ')
                    .next()?
                    .parse()
                    .ok()
            })
            .collect();
        let of_links: usize = links.iter().sum();
        Self {
            links: agent.links() - of_links,
            // Each file is kept open beside its links.
            descriptors: descriptors(agent.id()).len() - of_links - links.len(),
            entries: entries_of(agent),
        }
    }
}

/// Entries of the agent's maps of connections and calls.
fn entries_of(agent: &Agent) -> Vec<(String, usize)> {
    let held: Vec<u32> = descriptors(agent.id())
        .into_iter()
        .filter(|(_, target)| target.contains("bpf-map"))
        .filter_map(|(number, _)| {
            let info = fs::read_to_string(format!("/proc/{}/fdinfo/{number}", agent.id())).ok()?;
            let id = info.lines().find_map(|line| line.strip_prefix("map_id:"))?;
            id.trim().parse().ok()
        })
        .collect();
    let mut entries = Vec::new();
    for map in loaded_maps()
        .flatten()
        .filter(|map| held.contains(&map.id()))
    {
        let name = map.name_as_str().unwrap_or_default().to_owned();
        if !["CONNECTIONS", "CALLS", "IGNORED_CONNECT"].contains(&name.as_str()) {
            continue;
        }
        let data = MapData::from_id(map.id()).unwrap();
        entries.push((name, count(data)));
    }
    entries.sort();
    entries
}

/// Whether a key is of a process that is gone. The second half of all keys is the process's id.
fn is_of_the_dead([_, pid]: &[u64; 2]) -> bool {
    !Path::new("/proc").join(pid.to_string()).exists()
}

fn count(data: MapData) -> usize {
    // Only the size of keys and values matters: keys of all three have 16 bytes.
    let mut map = Map::LruHashMap(data);
    macro_rules! keys {
        ($($value:ty),+) => {$(
            if let Ok(map) = aya::maps::HashMap::<_, [u64; 2], $value>::try_from(&mut map) {
                return map.keys().flatten().filter(is_of_the_dead).count();
            }
        )+};
    }
    keys!(
        u64, [u64; 3], [u64; 4], [u64; 5], [u64; 6], [u64; 7], [u64; 8]
    );
    keys!(
        [u64; 9], [u64; 10], [u64; 11], [u64; 12], [u64; 13], [u64; 14]
    );
    panic!("a map with larger values");
}

/// Runs many processes that end at once, a few at a time.
fn short_processes(count: usize) {
    let status = Command::new("sh")
        .args([
            "-c",
            "i=0; while [ $i -lt \"$1\" ]; do /bin/true; i=$((i+1)); done",
            "sh",
        ])
        .arg(count.to_string())
        .stdin(Stdio::null())
        .status();
    assert!(status.unwrap().success());
}

/// Runs the peer on the library of a folder, to its end.
fn speak(folder: &Path, test: &str) -> Option<()> {
    let arguments = ["transfer", "--size", "1000"];
    let mut peer = tls_pair(&arguments, test)?;
    peer.env("LD_LIBRARY_PATH", folder);
    Client::start(peer, test)?.succeed();
    Some(())
}

/// A new library in the place of the old one, and programs that use it.
fn upgrade(library: &Path, folder: &Path, test: &str) -> Option<()> {
    let name = library.file_name().unwrap();
    let new = folder.join("new");
    fs::copy(library, &new).unwrap();
    fs::rename(&new, folder.join(name)).unwrap();
    for _ in 0..TLS_PROCESSES {
        speak(folder, test)?;
    }
    Some(())
}

/// Ends a container: its file system must not be kept busy.
fn end(container: &Mounted, agent: &Agent) {
    assert!(
        poll(RELEASE_LIMIT, || container.unmount()),
        "it keeps {} busy:\n{}",
        container.0.display(),
        agent.said()
    );
}

#[test]
fn what_the_agent_holds_ends_where_it_began() {
    let test = "soak";
    let place = Place::with(FREQUENT_SCANS);
    let Some(peer) = tls_pair(&[], test) else {
        return;
    };
    let library = library_of(Path::new(peer.get_program())).unwrap();
    let folder = |name: &str| -> PathBuf {
        let folder = place.file(name);
        fs::create_dir(&folder).unwrap();
        folder
    };
    let (replaced, lower) = (folder("replaced"), folder("lower"));
    fs::copy(&library, lower.join(library.file_name().unwrap())).unwrap();
    let Some(agent) = place.run(test) else { return };
    let ours = place.file("").display().to_string();
    let began = Holds::of(&agent, &ours);
    let mut memory_kib = 0;
    let mut last: Option<Mounted> = None;
    for round in 0..ROUNDS {
        short_processes(PROCESSES / ROUNDS);
        if upgrade(&library, &replaced, test).is_none() {
            return;
        }
        // A container starts on the layer of another one, which ends then. Where the kernel has no
        // overlays there are none.
        let container = Mounted::overlay(&lower, &place.file(&format!("container-{round}")));
        if container
            .as_ref()
            .is_some_and(|new| speak(&new.0, test).is_none())
        {
            return;
        }
        if let Some(last) = std::mem::replace(&mut last, container) {
            end(&last, &agent);
        }
        if round == 2 {
            memory_kib = agent.memory_kib();
        }
    }
    if let Some(last) = last {
        end(&last, &agent);
    }
    fs::remove_dir_all(&replaced).unwrap();
    fs::remove_dir_all(&lower).unwrap();
    let ends = || Holds::of(&agent, &ours);
    assert!(
        poll(RELEASE_LIMIT, || ends() == began),
        "began with {began:?}, ends with {:?}:\n{}",
        ends(),
        agent.said()
    );
    let (hooked, let_go) = (agent.times_hooked(&ours), agent.times_said("let go", &ours));
    assert!(hooked >= ROUNDS, "{hooked}:\n{}", agent.said());
    assert_eq!(hooked, let_go, "{}", agent.said());
    let memory = agent.memory_kib();
    assert!(
        memory <= memory_kib + MARGIN_KIB,
        "{memory_kib} KiB after the first rounds, {memory} KiB at the end"
    );
    println!("{test}: {began:?}, {memory_kib} KiB after three rounds, {memory} KiB at the end");
    agent.stop();
}
