//! What the probes capture, byte for byte: a recording against what the C peer says it wrote and
//! read. These run in virtual machines too, where there are no other clients.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use agent_core::connection::{Connections, Limits, Segment};
use agent_core::event::{ConnId, Direction, Event};
use agent_core::recording::{self, Frame};
use agent_core::stats::Stats;
use serde::Deserialize;

use crate::agent::{Agent, HOOK_LIMIT, LEDGER_LIMIT, Place};
use crate::run::{Kept, mapped, poll, stripped_tls_pair, tls_pair};

/// The role of an end whose reads return before the writes that they answer.
const OVERTAKEN: &str = "overtaken client";

/// What one end of a connection says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct End {
    pub(crate) pid: u32,
    pub(crate) role: String,
    pub(crate) ssl: u64,
    failed: u64,
    peeked: u64,
    /// Port that a client of TCP is connected to.
    pub(crate) port: u16,
    written: Flow,
    read: Flow,
}

/// The bytes of one direction.
#[derive(Clone, PartialEq, Eq, Deserialize)]
struct Flow {
    bytes: u64,
    /// FNV-1a of 64 bits, in hex.
    fnv: String,
}

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes, {}", self.bytes, self.fnv)
    }
}

/// One direction of one connection as captured.
#[derive(Clone, Debug)]
struct Captured {
    hash: u64,
    /// Where the next byte belongs.
    next: u64,
    /// Bytes that are missing before `next`.
    missing: u64,
}

impl Default for Captured {
    fn default() -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            next: 0,
            missing: 0,
        }
    }
}

impl Captured {
    fn take(&mut self, offset: u64, bytes: &[u8]) {
        assert!(
            offset >= self.next,
            "offset {offset} goes back behind {}",
            self.next
        );
        self.missing += offset - self.next;
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.next = offset + bytes.len() as u64;
    }

    fn flow(&self) -> Flow {
        Flow {
            bytes: self.next,
            fnv: format!("{:016x}", self.hash),
        }
    }
}

/// A recording, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    /// By connection, in the order of first sight within one process and object.
    flows: BTreeMap<ConnId, [Captured; 2]>,
    /// Bytes written and read, where the end of the connection was seen.
    closed: BTreeMap<ConnId, (u64, u64)>,
    names: BTreeMap<ConnId, String>,
    /// Chunks that were read while a write was under way.
    overtaking: BTreeMap<ConnId, usize>,
    /// Connections of which the first call that was seen is a read.
    begun_by_reads: BTreeSet<ConnId>,
    /// Records and bytes that the kernel lost, of whatever program. Bytes without a record could not
    /// be read from their process; the others found the ring full.
    lost: (u64, u64),
}

impl Recorded {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let mut recorded = Self::default();
        for frame in recording::read(bytes).unwrap() {
            if let Frame::Record(_) | Frame::Lost { .. } = frame {
                recorded.take(frame.event().expect("a record of the kernel programs"));
            }
        }
        recorded
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Chunk {
                at,
                conn,
                direction,
                offset,
                bytes,
                during_write,
                ..
            } => {
                if direction == Direction::Read && at == conn.since {
                    self.begun_by_reads.insert(conn);
                }
                if during_write.is_some_and(|write| {
                    // A write may have been under way before the connection was known.
                    write > 0 || !self.begun_by_reads.contains(&conn)
                }) {
                    *self.overtaking.entry(conn).or_default() += 1;
                }
                let slot = usize::from(direction == Direction::Read);
                self.flows.entry(conn).or_default()[slot].take(offset, &bytes);
            }
            Event::Closed {
                conn,
                written,
                read,
                ..
            } => {
                assert_eq!(
                    self.closed.insert(conn, (written, read)),
                    None,
                    "closed twice"
                );
            }
            Event::ServerName { conn, name, .. } => {
                self.names.insert(conn, name);
            }
            Event::Lost { records, bytes, .. } => {
                self.lost.0 += records;
                self.lost.1 += bytes;
            }
            Event::Clock { .. }
            | Event::Process(_)
            | Event::Exec { .. }
            | Event::Exit { .. }
            | Event::Opened { .. }
            | Event::Connected { .. }
            | Event::Hello { .. }
            | Event::Bound { .. }
            | Event::Carried { .. }
            | Event::SocketClosed { .. } => {}
        }
    }

    /// The connections of one object, oldest first.
    fn of(&self, end: &End) -> Vec<(ConnId, &[Captured; 2])> {
        let is_its = |conn: &&ConnId| conn.pid == end.pid && conn.ssl == end.ssl;
        self.flows
            .keys()
            .filter(is_its)
            .map(|conn| (*conn, &self.flows[conn]))
            .collect()
    }

    /// Asserts that each end was captured byte for byte. An object that served several connections
    /// has them in the order in which the peer printed them.
    pub(crate) fn assert_identical(&self, ends: &[End]) {
        self.assert_same_bytes(ends);
        for end in ends {
            for (conn, _) in self.of(end) {
                assert!(self.closed.contains_key(&conn), "its end was seen: {end:?}");
            }
        }
    }

    /// The same where the end of an object is not seen but by another one at its address.
    fn assert_same_bytes(&self, ends: &[End]) {
        let mut used: BTreeMap<(u32, u64), usize> = BTreeMap::new();
        for end in ends {
            let place = used.entry((end.pid, end.ssl)).or_default();
            let of_object = self.of(end);
            let (conn, [written, read]) = of_object.get(*place).unwrap_or_else(|| {
                panic!(
                    "connection {place} of {end:?} is missing in {:?}",
                    self.flows.keys()
                )
            });
            *place += 1;
            if self.overtaking.contains_key(conn) {
                assert_eq!(end.role, OVERTAKEN, "no other end reads while it writes");
            }
            assert_eq!(
                (written.missing, read.missing),
                (0, 0),
                "gaps in {end:?}; records and bytes lost in all: {:?}",
                self.lost
            );
            assert_eq!(
                (written.flow(), read.flow()),
                (end.written.clone(), end.read.clone()),
                "{end:?}"
            );
            if let Some(totals) = self.closed.get(conn) {
                assert_eq!(*totals, (end.written.bytes, end.read.bytes), "{end:?}");
            }
        }
        let pids: Vec<_> = ends.iter().map(|end| end.pid).collect();
        let captured = self
            .flows
            .keys()
            .filter(|conn| pids.contains(&conn.pid))
            .count();
        assert_eq!(
            captured,
            ends.len(),
            "connections that the peer does not know"
        );
        assert_eq!(self.lost, (0, 0), "records and bytes lost");
    }
}

/// The C peer, started and waiting, so that it can be hooked first.
pub(crate) struct Held {
    child: Kept,
    /// A part of the path of what carries its TLS.
    tls: &'static str,
}

impl Held {
    fn start(arguments: &[&str], test: &str) -> Option<Self> {
        let mut command = tls_pair(arguments, test)?;
        command.arg("--hold");
        Some(Self::of(command, "libssl"))
    }

    /// The same with OpenSSL inside and no symbols.
    fn stripped(arguments: &[&str], test: &str) -> Option<Self> {
        let mut command = stripped_tls_pair(arguments, test)?;
        command.arg("--hold");
        Some(Self::of(command, "stripped_tls_pair"))
    }

    /// The same with the TLS library of a folder. The arguments have it wait.
    pub(crate) fn in_folder(arguments: &[&str], folder: &Path, test: &str) -> Option<Self> {
        let mut command = tls_pair(arguments, test)?;
        command.env("LD_LIBRARY_PATH", folder);
        Some(Self::of(command, "libssl"))
    }

    fn of(mut command: Command, tls: &'static str) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Self {
            child: Kept(command.spawn().expect("the C peer")),
            tls,
        }
    }

    /// Waits until the agent has hooked what it maps.
    fn wait_for_hook(&self, agent: &Agent) {
        let mapped = || mapped(self.child.id(), self.tls);
        assert!(poll(HOOK_LIMIT, || !mapped().is_empty()), "it maps no TLS");
        for path in mapped() {
            agent.wait_for_hook(&path);
        }
    }

    /// Lets it run and gives what its ends say.
    pub(crate) fn release(mut self) -> Vec<End> {
        let mut lines = BufReader::new(self.child.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        assert_eq!(lines.next().as_deref(), Some("holding"));
        writeln!(self.child.stdin.take().unwrap(), "go").unwrap();
        let ends = lines
            .map(|line| serde_json::from_str(&line).expect("an end"))
            .collect();
        assert!(self.child.wait().unwrap().success());
        ends
    }
}

/// What was recorded of runs of the C peer.
#[derive(Debug)]
pub(crate) struct Recording {
    /// What the ends of each run say.
    pub(crate) ends: Vec<Vec<End>>,
    /// The file.
    pub(crate) bytes: Vec<u8>,
    /// Runs of programs on tracepoints that the kernel skipped meanwhile.
    pub(crate) skipped_runs: usize,
}

/// Records runs of the C peer, one after the other.
pub(crate) fn recording(test: &str, config: &'static str, runs: &[&[&str]]) -> Option<Recording> {
    let place = Place::with(config);
    let file = place.file("recording");
    // They are there before the recorder is, so that a library already mapped is found too.
    let held: Option<Vec<_>> = runs.iter().map(|run| Held::start(run, test)).collect();
    let held = held?;
    let agent = place.record(test, &file)?;
    for held in &held {
        held.wait_for_hook(&agent);
    }
    let ends: Vec<_> = held.into_iter().map(Held::release).collect();
    assert!(ends.iter().all(|ends| !ends.is_empty()));
    let said = agent.stop();
    assert!(poll(LEDGER_LIMIT, || file.exists()));
    let skipped_runs = said
        .lines()
        .find(|line| line.contains("skipped runs"))
        .map_or(0, |line| {
            let (_, runs) = line.rsplit_once("runs=").expect("a count");
            runs.trim().parse().expect("a count")
        });
    Some(Recording {
        ends,
        bytes: fs::read(&file).unwrap(),
        skipped_runs,
    })
}

/// Records one run of the C peer.
fn record(test: &str, config: &'static str, arguments: &[&str]) -> Option<(Vec<End>, Recorded)> {
    let mut recording = recording(test, config, &[arguments])?;
    Some((recording.ends.pop()?, Recorded::read(&recording.bytes)))
}

/// A ring that holds all that one run writes and reads, twice 32 MiB and the headers, so that an
/// emulated machine on which the agent hardly runs loses nothing.
const WIDE_RING: &str = "[capture]\nring_bytes = 134217728\n";

/// Records one run and asserts that every byte is there.
fn assert_captured(test: &str, arguments: &[&str]) -> Option<Vec<End>> {
    let (ends, recorded) = record(test, WIDE_RING, arguments)?;
    recorded.assert_identical(&ends);
    Some(ends)
}

#[test]
fn probe_captures_single_writes_of_any_size() {
    for size in ["1", "200", "16384", "16385", "1048576", "16777216"] {
        for kind in ["plain", "ex"] {
            let arguments = [
                "transfer",
                "--size",
                size,
                "--read-size",
                size,
                "--write",
                kind,
                "--read",
                kind,
            ];
            if assert_captured("probe_sizes", &arguments).is_none() {
                return;
            }
        }
    }
}

/// Where functions have no names their ends are not known, and those that both kinds of calls pass
/// are probed. An object at the address of another one is told by its beginning.
#[test]
fn probe_captures_from_a_program_without_symbols() {
    let test = "probe_stripped";
    let runs: [&[&str]; 6] = [
        &[
            "transfer", "--size", "200000", "--write", "plain", "--read", "plain",
        ],
        &[
            "transfer", "--size", "200000", "--write", "ex", "--read", "ex",
        ],
        &[
            "transfer",
            "--threads",
            "8",
            "--size",
            "211",
            "--count",
            "50",
        ],
        &["retry", "--size", "300000", "--partial"],
        &["nested", "--size", "60000", "--count", "3"],
        &["reuse", "--rounds", "20"],
    ];
    let place = Place::with(WIDE_RING);
    let file = place.file("recording");
    let held: Option<Vec<_>> = runs.iter().map(|run| Held::stripped(run, test)).collect();
    let Some(held) = held else { return };
    let Some(agent) = place.record(test, &file) else {
        return;
    };
    for held in &held {
        held.wait_for_hook(&agent);
    }
    let ends: Vec<_> = held.into_iter().map(Held::release).collect();
    agent.stop();
    assert!(poll(LEDGER_LIMIT, || file.exists()));
    let recorded = Recorded::read(&fs::read(&file).unwrap());
    for ends in &ends {
        recorded.assert_same_bytes(ends);
    }
    let reused = ends.last().unwrap();
    let addresses: BTreeSet<_> = reused.iter().map(|end| end.ssl).collect();
    assert!(addresses.len() < reused.len(), "no address was reused");
}

#[test]
fn probe_captures_many_small_messages_of_many_threads() {
    let arguments = [
        "transfer",
        "--threads",
        "16",
        "--size",
        "211",
        "--count",
        "200",
    ];
    assert_captured("probe_threads", &arguments);
}

/// A write returns once its answer was read on another thread, so that the ring has the answer
/// first, every time. The records say so, and the core puts both in order.
#[test]
fn probe_tells_which_answers_overtake_their_write() {
    let test = "probe_overtaken";
    for (size, kind) in [(1_000_u64, "plain"), (1_000, "ex"), (3_000_000, "plain")] {
        let text = size.to_string();
        let arguments = ["answered", "--count", "4", "--size", &text, "--write", kind];
        let Some(mut recording) = recording(test, WIDE_RING, &[&arguments]) else {
            return;
        };
        let ends = recording.ends.pop().unwrap();
        let recorded = Recorded::read(&recording.bytes);
        recorded.assert_identical(&ends);
        let client = ends.iter().find(|end| end.role == OVERTAKEN).unwrap();
        let (conn, _) = recorded.of(client)[0];
        let (captured, ordered) = both_orders(&recording.bytes, conn);
        // In which message a byte is, and how many messages were written before it was read.
        let overtakes = |order: &[(Direction, u64)]| {
            let mut written = 0;
            let mut read = 0;
            order.iter().any(|(direction, bytes)| match direction {
                Direction::Written => {
                    written += bytes;
                    false
                }
                Direction::Read => {
                    read += bytes;
                    read.div_ceil(size) > written / size
                }
            })
        };
        assert!(overtakes(&captured), "nothing was tested: {captured:?}");
        assert!(!overtakes(&ordered), "{ordered:?}");
        let of_read = |order: &[(Direction, u64)]| -> u64 {
            let is_read = |(direction, _): &&(Direction, u64)| *direction == Direction::Read;
            order.iter().filter(is_read).map(|(_, bytes)| bytes).sum()
        };
        assert_eq!(of_read(&ordered), 4 * size);
        assert_eq!(recorded.overtaking.keys().collect::<Vec<_>>(), [&conn]);
    }
}

/// Direction and length of what came, in order.
type Order = Vec<(Direction, u64)>;

/// The chunks of one connection as they are in the ring, and as its segments come.
fn both_orders(recording: &[u8], of: ConnId) -> (Order, Order) {
    let limits = Limits {
        held: Duration::from_secs(3_600),
        held_bytes: usize::MAX,
        held_bytes_of_all: usize::MAX,
        ..Limits::default()
    };
    let mut stage = Connections::new(limits);
    let (mut stats, mut segments) = (Stats::default(), Vec::new());
    let mut captured = Vec::new();
    for frame in recording::read(recording).unwrap() {
        let event = frame.event().expect("an event");
        if let Event::Chunk {
            conn,
            direction,
            bytes,
            ..
        } = &event
            && *conn == of
        {
            captured.push((*direction, bytes.len() as u64));
        }
        stage.handle(&event, &mut stats, &mut segments);
    }
    let mut ordered = Vec::new();
    for segment in &segments {
        if let Segment::Data {
            conn,
            direction,
            bytes,
            ..
        } = segment
            && *conn == of
        {
            ordered.push((*direction, bytes.len() as u64));
        }
    }
    (captured, ordered)
}

#[test]
fn probe_takes_a_peek_for_no_read() {
    let arguments = ["peek", "--size", "50000", "--read-size", "4096"];
    if let Some(ends) = assert_captured("probe_peek", &arguments) {
        assert!(ends.iter().any(|end| end.peeked > 10), "{ends:?}");
    }
}

#[test]
fn probe_counts_calls_that_fail_and_come_again_once() {
    for kind in ["plain", "ex"] {
        for partial in [&["--partial"][..], &[]] {
            let mut arguments = vec![
                "retry", "--size", "1048576", "--write", kind, "--read", kind,
            ];
            arguments.extend(partial);
            let Some(ends) = assert_captured("probe_retry", &arguments) else {
                return;
            };
            assert!(ends.iter().all(|end| end.failed > 0), "{ends:?}");
        }
    }
}

#[test]
fn probe_keeps_nested_connections_apart() {
    let arguments = ["nested", "--size", "60000", "--count", "3"];
    if let Some(ends) = assert_captured("probe_nested", &arguments) {
        assert_eq!(ends.len(), 4);
    }
}

#[test]
fn probe_tells_apart_connections_that_reuse_an_address() {
    if let Some(ends) = assert_captured("probe_reuse", &["reuse", "--rounds", "20"]) {
        let mut addresses: Vec<_> = ends.iter().map(|end| end.ssl).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert!(
            addresses.len() < ends.len(),
            "no address was reused: {ends:?}"
        );
    }
}

/// An object that is cleared lives on: what it carries may be one connection or several, but no
/// byte may be missing or double.
#[test]
fn probe_follows_an_object_that_is_cleared() {
    let Some((ends, recorded)) = record("probe_clear", "", &["clear", "--rounds", "4"]) else {
        return;
    };
    for end in &ends {
        let expected = |flow: fn(&End) -> u64| -> u64 {
            ends.iter()
                .filter(|other| other.ssl == end.ssl)
                .map(flow)
                .sum()
        };
        let sum = |slot: usize| -> u64 {
            recorded
                .of(end)
                .iter()
                .map(|(_, flows)| flows[slot].next - flows[slot].missing)
                .sum()
        };
        assert_eq!(sum(0), expected(|end| end.written.bytes));
        assert_eq!(sum(1), expected(|end| end.read.bytes));
    }
}

#[test]
fn probe_tells_a_child_that_does_not_exec_from_its_parent() {
    if let Some(ends) = assert_captured("probe_fork", &["fork", "--size", "3000"]) {
        assert_eq!(ends.len(), 4);
        let pids: BTreeSet<_> = ends.iter().map(|end| end.pid).collect();
        assert_eq!(pids.len(), 2);
    }
}

#[test]
fn probe_sees_the_name_of_the_handshake() {
    let arguments = ["transfer", "--sni", "api.anthropic.com"];
    let Some((ends, recorded)) = record("probe_name", "", &arguments) else {
        return;
    };
    let client = ends.iter().find(|end| end.role == "client").unwrap();
    let names: Vec<_> = recorded
        .names
        .iter()
        .filter(|(conn, _)| conn.pid == client.pid && conn.ssl == client.ssl)
        .map(|(_, name)| name.as_str())
        .collect();
    assert_eq!(names, ["api.anthropic.com"]);
}

/// A program cannot read what is not mapped, as pages are for a moment while the kernel moves them.
#[test]
fn probe_accounts_for_bytes_that_are_not_mapped_when_their_write_returns() {
    let arguments = [
        "transfer",
        "--dropping",
        "--size",
        "1048576",
        "--count",
        "3",
    ];
    let Some((ends, recorded)) = record("probe_unmapped", WIDE_RING, &arguments) else {
        return;
    };
    let half = 3 * 1_048_576 / 2;
    for end in &ends {
        let [(_, [written, read])] = recorded.of(end)[..] else {
            panic!("{end:?} has one connection");
        };
        assert_eq!((written.missing, written.next), (half, 2 * half), "{end:?}");
        assert_eq!(read.flow(), end.read, "{end:?}");
    }
    assert_eq!(recorded.lost, (0, 2 * half), "records and bytes lost");
}

#[test]
fn probe_accounts_for_every_byte_that_a_tiny_ring_loses() {
    let config = "[capture]\nring_bytes = 65536\n";
    let arguments = ["transfer", "--threads", "4", "--size", "4194304"];
    let Some((ends, recorded)) = record("probe_gaps", config, &arguments) else {
        return;
    };
    let pid = ends[0].pid;
    let moved: u64 = ends
        .iter()
        .map(|end| end.written.bytes + end.read.bytes)
        .sum();
    let captured: u64 = recorded
        .flows
        .iter()
        .filter(|(conn, _)| conn.pid == pid)
        .flat_map(|(_, flows)| flows.iter())
        .map(|flow| flow.next - flow.missing)
        .sum();
    assert!(
        captured < moved,
        "the ring was large enough; nothing was tested"
    );
    assert_eq!(moved - captured, recorded.lost.1);
    for end in &ends {
        for (conn, [written, read]) in recorded.of(end) {
            // The notice of the end can be lost as well.
            if let Some(totals) = recorded.closed.get(&conn) {
                assert_eq!(*totals, (end.written.bytes, end.read.bytes), "{end:?}");
            }
            for (flow, whole) in [(written, &end.written), (read, &end.read)] {
                assert!(flow.next <= whole.bytes, "{flow:?} of {end:?}");
                if flow.missing == 0 && flow.next == whole.bytes {
                    assert_eq!(flow.flow(), *whole);
                }
            }
        }
    }
}
