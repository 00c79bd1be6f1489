//! Reads the ring and writes the byte stream that the line takes: records as they are, and the
//! facts of a process before its first record.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_common::record::{Losses, RecordHeader, kind};
use agent_core::event::{ConnId, Event, FactSource, Process, Timestamp, decode};
use agent_core::{glob, recording};
use aya::maps::{HashMap, MapData, RingBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use zerocopy::FromBytes as _;

use super::Error;
use super::executables::Executables;
use super::loader::{ConnectionMaps, LossCounters};
use super::self_check::SelfCheck;
use super::support::{self, SocketSupport};
use crate::process::{self, Glimpse, Place};
use crate::service::Pulse;

/// LIMIT: bytes sent at once; what waits longer than a look at the ring is sent anyway.
const BATCH_BYTES: usize = 256 * 1_024;

/// How long the reader waits for a wake-up when nothing came lately. The kernel programs wake it at
/// once when a record comes after a pause.
const IDLE_WAIT: Duration = Duration::from_millis(200);

/// How long it waits between records. Within a millisecond of a wake-up the programs send none.
const BUSY_WAIT: Duration = Duration::from_millis(1);

/// Looks without a record after which the pause counts as one.
const BUSY_LOOKS: u32 = 4;

/// How often losses and the wall clock are looked at.
const SURVEY_INTERVAL: Duration = Duration::from_secs(1);

/// How often what ended processes left behind in the kernel is removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// A jump of the wall clock that is worth a new label for later records.
const CLOCK_JUMP_NS: u64 = 50_000_000;

/// LIMIT: processes that are remembered as known, and as many as not yet known. Beyond it the facts
/// of all are read again.
const MAX_KNOWN: usize = 65_536;

/// How old facts may be when a process sends something: then it is looked at again where it works.
/// Somebody who changes to another branch takes longer to ask the next question.
const PLACE_AGE: Duration = Duration::from_secs(2);

/// LIMIT: known processes beyond which facts of a new one are not kept to be looked at again; its
/// calls count for the place in which it was first seen. About 16 MiB.
const MAX_KEPT_FACTS: usize = 8_192;

/// Nanoseconds of a kernel clock.
fn clock_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// Now, on the boot clock.
pub fn now() -> Timestamp {
    Timestamp::from_nanos(clock_ns(ClockId::Boottime))
}

/// What the reader tells the rest of the agent besides the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noticed {
    /// Process.
    pub pid: u32,
    /// When, on the boot clock.
    pub at: Timestamp,
    /// What it did.
    pub act: Act,
}

/// What a process did that may change which files it has mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It runs a new program.
    Executed,
    /// It is gone.
    Exited,
    /// It opens a connection, most likely to speak TLS on it.
    Connecting,
}

/// What was lost since the start.
pub type SharedLosses = Arc<Mutex<Lost>>;

/// What was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Records and bytes, by CPU.
    pub by_cpu: BTreeMap<u64, Losses>,
    /// Runs of programs on tracepoints that the kernel skipped.
    pub skipped_runs: u64,
}

/// Where the reader's findings go.
pub struct Channels {
    /// Frames of a recording, without its header.
    pub stream: SyncSender<Vec<u8>>,
    /// What processes do.
    pub noticed: tokio::sync::mpsc::Sender<Noticed>,
    /// Connections to leave alone.
    pub ignored: Receiver<ConnId>,
    /// Takes the records that the agent's own check makes.
    pub self_check: Arc<SelfCheck>,
    /// Losses, for the status report.
    pub losses: SharedLosses,
    /// What processes execute.
    pub executables: Arc<Executables>,
    /// That the reader moves.
    pub pulse: Pulse,
}

/// What the reader changes in the kernel.
pub struct Maps {
    /// Connections that are known or ignored.
    pub connections: ConnectionMaps,
    /// Processes that are not observed.
    pub processes: HashMap<MapData, u32, u8>,
    /// Which records of sockets come.
    pub sockets: SocketSupport,
}

/// Programs that are left alone, by configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoreList(Vec<String>);

impl IgnoreList {
    /// A pattern with a slash is matched against the executable's path, another one against the
    /// process's name.
    pub fn new(patterns: &[String]) -> Self {
        Self(patterns.to_vec())
    }

    fn matches(&self, process: &Process) -> bool {
        self.0.iter().any(|pattern| {
            if pattern.contains('/') {
                process
                    .exe
                    .as_deref()
                    .is_some_and(|exe| glob::matches(pattern, exe))
            } else {
                glob::matches(pattern, &process.comm)
            }
        })
    }
}

/// What is kept of a process that executed a program.
#[derive(Debug)]
struct Executed {
    /// When, and when it did so before.
    within: RangeInclusive<Timestamp>,
    /// What was seen of it then, until its facts are sent; `None` if it was gone already.
    glimpse: Option<Glimpse>,
}

/// What is kept of a process whose facts were sent.
#[derive(Debug, Default)]
struct Known {
    /// Its connections.
    connections: BTreeSet<u64>,
    /// Whether it is left alone, by configuration.
    is_ignored: bool,
    /// Its facts, if it may be looked at again.
    facts: Option<Box<Process>>,
    /// When it was last looked at where it works.
    looked_at: Timestamp,
}

impl Known {
    /// Whether what it sends is reason to look at it again.
    fn is_stale(&self, at: Timestamp) -> bool {
        self.facts.is_some() && at.since(self.looked_at) >= PLACE_AGE
    }

    /// Its facts with the place where it works by now; `None` if that is the same.
    fn moved(&mut self, at: Timestamp, place: Option<Place>) -> Option<&Process> {
        self.looked_at = at;
        let facts = self.facts.as_deref_mut()?;
        let Place { cwd, checkout } = place?;
        if (&facts.cwd, &facts.checkout) == (&cwd, &checkout) {
            return None;
        }
        facts.cwd = cwd;
        facts.checkout = checkout;
        facts.holds_from_ns = at.as_nanos();
        Some(facts)
    }
}

/// Reads the ring.
pub struct Reader {
    ring: RingBuf<MapData>,
    losses: LossCounters,
    maps: Maps,
    processes: process::Reader,
    ignored: IgnoreList,
    channels: Channels,
    /// Processes whose facts were sent.
    known: BTreeMap<u32, Known>,
    /// Processes that executed a program.
    executed: BTreeMap<u32, Executed>,
    /// Exit records of processes whose first thread ended while others were still there.
    ending: BTreeMap<u32, Vec<u8>>,
    batch: Vec<u8>,
    clock_offset_ns: u64,
    swept_at: Timestamp,
}

impl Reader {
    /// A reader that has not read anything.
    pub fn new(
        ring: RingBuf<MapData>,
        losses: LossCounters,
        maps: Maps,
        processes: process::Reader,
        ignored: IgnoreList,
        channels: Channels,
    ) -> Self {
        Self {
            ring,
            losses,
            maps,
            processes,
            ignored,
            channels,
            known: BTreeMap::new(),
            executed: BTreeMap::new(),
            ending: BTreeMap::new(),
            batch: Vec::with_capacity(BATCH_BYTES),
            clock_offset_ns: 0,
            swept_at: Timestamp::default(),
        }
    }

    /// Reads until `stop` is set and the ring is empty, or until nobody takes the stream any more.
    ///
    /// # Errors
    ///
    /// The ring can't be waited for.
    pub fn run(mut self, stop: &Arc<AtomicBool>) -> Result<(), Error> {
        let mut surveyed_at = Timestamp::default();
        let mut empty_looks = 0;
        loop {
            self.channels.pulse.beat();
            // Asked before the ring is emptied: what was in it at the stop is still read.
            let is_last = stop.load(Ordering::Acquire);
            let now = now();
            if now.since(surveyed_at) >= SURVEY_INTERVAL || is_last {
                self.survey(now)?;
                surveyed_at = now;
            }
            let had_records = self.drain();
            self.obey();
            if !self.batch.is_empty() && !self.send() {
                return Ok(());
            }
            if is_last && !had_records {
                self.say_skipped_runs();
                return Ok(());
            }
            empty_looks = if had_records { 0 } else { empty_looks + 1 };
            self.wait(if empty_looks < BUSY_LOOKS {
                BUSY_WAIT
            } else {
                IDLE_WAIT
            })?;
        }
    }

    fn say_skipped_runs(&self) {
        let lost = self.channels.losses.lock();
        let runs = lost.unwrap_or_else(PoisonError::into_inner).skipped_runs;
        if runs > 0 {
            tracing::info!(runs, "the kernel skipped runs of programs on tracepoints");
        }
    }

    /// Takes what is in the ring; false if it was empty.
    fn drain(&mut self) -> bool {
        let mut had_records = false;
        while self.batch.len() < BATCH_BYTES {
            // The record has to be given back before anything else of the reader is used.
            let record = match self.ring.next() {
                Some(record) => record.to_vec(),
                None => break,
            };
            had_records = true;
            match RecordHeader::read_from_prefix(&record) {
                Ok((header, _)) => self.sort(&header, &record),
                Err(_too_short) => recording::push_record(&mut self.batch, &record),
            }
        }
        had_records
    }

    /// Decides by its kind what a record needs besides being passed on.
    fn sort(&mut self, header: &RecordHeader, record: &[u8]) {
        let pid = header.pid;
        if self.channels.self_check.takes(header, record) {
            return;
        }
        match header.kind {
            kind::EXEC => {
                self.notice(header, Act::Executed);
                if self.executed.len() >= MAX_KNOWN {
                    self.executed.clear();
                }
                let before = self
                    .executed
                    .get(&pid)
                    .map(|executed| *executed.within.end());
                let executed = Executed {
                    within: before.unwrap_or_default()..=Timestamp::from_nanos(header.at_ns),
                    glimpse: self.processes.glimpse(pid),
                };
                self.executed.insert(pid, executed);
                self.ending.remove(&pid);
                if self.known.remove(&pid).is_none() {
                    return;
                }
                // Another program now: it is ignored only if it matches in its turn.
                self.observe_again(pid);
                recording::push_record(&mut self.batch, record);
                self.introduce(pid, record);
            }
            kind::EXIT => {
                self.notice(header, Act::Exited);
                self.executed.remove(&pid);
                if self.known.contains_key(&pid) {
                    // Threads that end together with the first one may still be listed.
                    if process::outlives_its_first_thread(pid) {
                        self.ending.insert(pid, record.to_vec());
                    } else {
                        self.ended(pid, record);
                    }
                }
            }
            kind::CONNECTED | kind::HELLO => {
                if header.kind == kind::CONNECTED {
                    self.notice(header, Act::Connecting);
                }
                // Where sends are seen, a handshake is about to come, and its process matters.
                // Elsewhere every process that connects to anything is told.
                if self.maps.sockets == SocketSupport::Traffic && !self.known.contains_key(&pid) {
                    self.introduce(pid, record);
                }
                // The first socket of a process that is to be ignored comes before that is known.
                if self.known.get(&pid).is_none_or(|known| !known.is_ignored) {
                    recording::push_record(&mut self.batch, record);
                }
            }
            // The process may be gone by now, and its pid another's.
            kind::CARRIED | kind::SOCKET_CLOSED => {
                recording::push_record(&mut self.batch, record);
            }
            other => {
                if !self.known.contains_key(&pid) {
                    self.introduce(pid, record);
                }
                if other == kind::WRITTEN {
                    self.look_again(pid, Timestamp::from_nanos(header.at_ns));
                }
                if let Some(known) = self.known.get_mut(&pid) {
                    if other == kind::CLOSED {
                        known.connections.remove(&header.ssl);
                    } else if other == kind::OPENED {
                        known.connections.insert(header.ssl);
                    }
                }
                recording::push_record(&mut self.batch, record);
            }
        }
    }

    fn notice(&self, header: &RecordHeader, act: Act) {
        let noticed = Noticed {
            pid: header.pid,
            at: Timestamp::from_nanos(header.at_ns),
            act,
        };
        // A full channel leaves the process to the next scan.
        let is_taken = self.channels.noticed.try_send(noticed).is_ok();
        tracing::trace!(?noticed, is_taken, "a process did something");
    }

    /// A process is gone: its pid may come again.
    fn ended(&mut self, pid: u32, record: &[u8]) {
        for ssl in self.known.remove(&pid).unwrap_or_default().connections {
            self.maps.connections.forget(pid, ssl);
        }
        self.observe_again(pid);
        recording::push_record(&mut self.batch, record);
    }

    fn observe_again(&mut self, pid: u32) {
        if let Err(error) = self.maps.processes.remove(&pid) {
            tracing::trace!(pid, %error, "the process was not ignored");
        }
    }

    /// Writes the facts about a process before its first record.
    fn introduce(&mut self, pid: u32, record: &[u8]) {
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        let may_keep = self.known.len() < MAX_KEPT_FACTS;
        self.known.insert(pid, Known::default());
        let executed = self.executed.get_mut(&pid);
        let glimpse = executed.and_then(|executed| executed.glimpse.take());
        let facts = match self.processes.read(pid, glimpse.as_ref()) {
            Some(facts) => Some(facts),
            // It is gone already: the kernel programs saw its name and user.
            None => match decode(record) {
                Ok(
                    Event::Opened { uid, comm, .. }
                    | Event::Exec { uid, comm, .. }
                    | Event::Connected { uid, comm, .. },
                ) => Some(self.processes.from_kernel(pid, uid, &comm, glimpse)),
                _ => None,
            },
        };
        let Some(mut facts) = facts else { return };
        // One that ends has no executable any more, and one that ended is not there.
        if let (None, Some(executed)) = (&facts.exe, self.executed.get(&pid)) {
            let within = executed.within.clone();
            let path = self.channels.executables.of(pid, within);
            facts.exe = path.as_deref().map(process::path_text);
        }
        if self.ignored.matches(&facts) {
            if let Some(known) = self.known.get_mut(&pid) {
                known.is_ignored = true;
            }
            if let Err(error) = self.maps.processes.insert(&pid, &1, 0) {
                tracing::debug!(pid, %error, "a process can't be ignored");
            }
        }
        recording::push_process(&mut self.batch, &facts);
        if may_keep
            && facts.source == FactSource::Proc
            && let Some(known) = self.known.get_mut(&pid)
        {
            known.facts = Some(Box::new(facts));
            known.looked_at = now();
        }
    }

    /// Writes the facts about a process anew if it works elsewhere than when it was last looked at.
    /// Calls that began before keep the earlier ones.
    fn look_again(&mut self, pid: u32, at: Timestamp) {
        let known = self.known.get_mut(&pid);
        let Some(known) = known.filter(|known| known.is_stale(at)) else {
            return;
        };
        let place = self.processes.place(pid);
        let Some(facts) = known.moved(at, place) else {
            return;
        };
        // Its end may be among what the kernel lost, and its pid another's.
        if process::start_ticks(pid) == Some(facts.id.start_ticks) {
            recording::push_process(&mut self.batch, facts);
        } else {
            known.facts = None;
        }
    }

    /// Passes the verdicts of the line on to the kernel programs.
    fn obey(&mut self) {
        while let Ok(conn) = self.channels.ignored.try_recv() {
            self.maps.connections.ignore(conn);
        }
    }

    /// False if nobody takes the stream any more.
    fn send(&mut self) -> bool {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH_BYTES));
        // A full channel makes the reader wait: then the ring fills, and that is counted.
        self.channels.stream.send(batch).is_ok()
    }

    fn survey(&mut self, now: Timestamp) -> Result<(), Error> {
        let unix_ns = clock_ns(ClockId::Realtime);
        let offset_ns = unix_ns.saturating_sub(now.as_nanos());
        if offset_ns.abs_diff(self.clock_offset_ns) >= CLOCK_JUMP_NS {
            self.clock_offset_ns = offset_ns;
            recording::push_clock(&mut self.batch, now, unix_ns);
        }
        // Elsewhere this process does not see which others there are.
        if now.since(self.swept_at) >= SWEEP_INTERVAL && support::in_initial_pid_namespace() {
            self.swept_at = now;
            self.maps.connections.sweep(|pid| !process::is_there(pid));
        }
        for (pid, record) in std::mem::take(&mut self.ending) {
            if process::outlives_its_first_thread(pid) {
                self.ending.insert(pid, record);
            } else {
                self.ended(pid, &record);
            }
        }
        let runs = self.losses.take_skipped_runs();
        if runs > 0 {
            tracing::debug!(
                runs,
                "the kernel skipped runs of the programs on tracepoints"
            );
            self.channels
                .losses
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .skipped_runs += runs;
        }
        for cpu in self.losses.take_new()? {
            let losses = cpu.losses;
            tracing::warn!(cpu = cpu.cpu, ?losses, "the kernel lost records");
            let mut all = self
                .channels
                .losses
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let total = all.by_cpu.entry(cpu.cpu).or_default();
            *total = total.plus(&losses);
            drop(all);
            let (records, bytes) = (losses.records(), losses.bytes());
            // A socket that is not followed is no lost record.
            if records > 0 || bytes > 0 {
                recording::push_lost(&mut self.batch, now, cpu.cpu, records, bytes);
            }
        }
        Ok(())
    }

    fn wait(&self, longest: Duration) -> Result<(), Error> {
        let timeout = Timespec::try_from(longest).unwrap_or_default();
        let mut ring = [PollFd::new(&self.ring, PollFlags::IN)];
        match poll(&mut ring, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Error::Wait(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use agent_core::event::{Checkout, ProcId};

    use super::*;

    #[test]
    fn paths_are_matched_by_patterns_with_a_slash_and_names_by_others() {
        let process = Process {
            id: ProcId {
                pid: 1,
                start_ticks: 1,
            },
            exe: Some("/opt/backup/borg".to_owned()),
            comm: "borg-main".to_owned(),
            source: FactSource::Proc,
            ..Process::default()
        };
        let list = |pattern: &str| IgnoreList::new(&[pattern.to_owned()]);
        assert!(list("/opt/backup/*").matches(&process));
        assert!(list("borg-*").matches(&process));
        assert!(!list("borg").matches(&process));
        assert!(!list("/opt/other/*").matches(&process));
    }
    #[test]
    fn a_process_that_works_elsewhere_when_it_sends_again_has_new_facts_from_then_on() {
        let seconds = |seconds: u64| Timestamp::from_nanos(seconds * 1_000_000_000);
        let place = |branch: &str| Place {
            cwd: Some("/src/app".to_owned()),
            checkout: Some(Checkout {
                root: "/src/app".to_owned(),
                repo: "app".to_owned(),
                branch: Some(branch.to_owned()),
            }),
        };
        let on = |branch: &str, holds_from_ns: u64| Process {
            cwd: place(branch).cwd,
            checkout: place(branch).checkout,
            holds_from_ns,
            ..Process::default()
        };
        let mut known = Known {
            facts: Some(Box::new(on("main", 0))),
            looked_at: seconds(10),
            ..Known::default()
        };
        assert!(!known.is_stale(seconds(11)) && known.is_stale(seconds(12)));
        assert_eq!(known.moved(seconds(12), Some(place("main"))), None);
        assert!(!known.is_stale(seconds(13)));
        // It is gone.
        assert_eq!(known.moved(seconds(14), None), None);
        let at = seconds(20);
        let expected = on("next", at.as_nanos());
        assert_eq!(known.moved(at, Some(place("next"))), Some(&expected));
        assert_eq!(known.moved(at, Some(place("next"))), None);
        assert!(!Known::default().is_stale(at), "facts that were not kept");
    }
}
