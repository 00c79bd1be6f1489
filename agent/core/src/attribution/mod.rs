//! Stage 4: says whose call it was.
//!
//! *Takes* calls and facts about processes. *Gives* [`AttributedCall`]s. *Remembers* the facts of
//! the processes that live, and for a while of those that ended. *Nonsense*, a call of a process
//! never seen, is attributed to nobody and counted.

mod client;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Event, FactSource, ProcId, Process, Timestamp};
use crate::llm::LlmCall;
use crate::stats::Stats;

/// LIMIT: facts of one process that are kept, one for each program that it executed and each place
/// that it worked in. More are in use only while calls of earlier ones are open; the oldest is
/// forgotten.
const PROGRAMS: usize = 4;

/// LIMIT: time for which an ended process is remembered. Its calls end with it, but may still be
/// on their way through the line.
const EXIT_GRACE: Duration = Duration::from_secs(120);

/// The program that made a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Short name, for example `claude-code` or `openai-python`; at most 64 bytes.
    pub name: Option<String>,
    /// Its version; at most 64 bytes.
    pub version: Option<String>,
}

impl Client {
    /// The client that a process is, as far as its file tells: a call's user agent goes before it.
    pub fn of_process(process: &Process) -> Self {
        client::of_process(process)
    }
}

/// A call with its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributedCall {
    /// Call.
    pub call: LlmCall,
    /// Process, if anything is known of it.
    pub process: Option<Arc<Process>>,
    /// Client.
    pub client: Client,
}

/// Limits of the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Process ids that are remembered; beyond, one that ended goes first, else the one that
    /// started first.
    pub processes: usize,
}

impl Default for Limits {
    /// LIMIT: 32,768 process ids, the default of `kernel.pid_max` on small hosts; some 16 MiB.
    fn default() -> Self {
        Self { processes: 32_768 }
    }
}

/// The stage.
#[derive(Debug)]
pub struct Attribution {
    limits: Limits,
    by_pid: BTreeMap<u32, Vec<Program>>,
    /// Ended processes, in the order of their end.
    ended: VecDeque<(Timestamp, ProcId)>,
}

/// One program that a process runs, in one place, or one process that had its id.
#[derive(Debug)]
struct Program {
    since: Timestamp,
    facts: Arc<Process>,
}

impl Attribution {
    /// A stage that knows nobody.
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            by_pid: BTreeMap::new(),
            ended: VecDeque::new(),
        }
    }

    /// Learns facts about processes from an event; other events pass by.
    pub fn learn(&mut self, event: &Event) {
        match event {
            Event::Process(facts) => self.process(facts),
            Event::Exec { at, pid, comm, uid } => self.exec(*at, *pid, comm, *uid),
            Event::Exit { at, pid } => {
                if let Some(program) = self.by_pid.get(pid).and_then(|programs| programs.last()) {
                    self.ended.push_back((*at, program.facts.id));
                }
                self.forget_before(*at);
            }
            Event::Clock { .. }
            | Event::Opened { .. }
            | Event::ServerName { .. }
            | Event::Chunk { .. }
            | Event::Closed { .. }
            | Event::Connected { .. }
            | Event::Hello { .. }
            | Event::Bound { .. }
            | Event::Carried { .. }
            | Event::SocketClosed { .. }
            | Event::Lost { .. } => {}
        }
    }

    /// Says whose call it was: of the program that its process ran when the call began.
    pub fn attribute(&self, call: LlmCall, stats: &mut Stats) -> AttributedCall {
        let attributed = self.owner(call);
        if attributed.process.is_none() {
            stats.calls_unattributed += 1;
        }
        attributed
    }

    /// The same for a call that still runs, which is not counted.
    pub fn owner(&self, call: LlmCall) -> AttributedCall {
        let process = self.process_at(call.exchange.conn.pid, call.started);
        let client = client::client(&call, process.as_deref());
        AttributedCall {
            call,
            process,
            client,
        }
    }

    /// The process with this id and the program that it ran at a moment.
    pub fn process_at(&self, pid: u32, at: Timestamp) -> Option<Arc<Process>> {
        let programs = self.by_pid.get(&pid)?;
        let before = programs.iter().rev().find(|program| program.since <= at);
        // Clocks of different sources may disagree by a tick: then the first is the nearest.
        before
            .or_else(|| programs.first())
            .map(|program| Arc::clone(&program.facts))
    }

    /// Who the process with this id is, or was until another one came.
    pub fn identity(&self, pid: u32) -> Option<ProcId> {
        self.by_pid
            .get(&pid)?
            .last()
            .map(|program| program.facts.id)
    }

    fn process(&mut self, facts: &Arc<Process>) {
        self.make_room(facts.id.pid);
        let programs = self.by_pid.entry(facts.id.pid).or_default();
        match programs.last_mut() {
            // The same process again: better facts of the program it runs, unless they are later
            // ones. A call that began before keeps what held then.
            Some(last) if last.facts.id == facts.id => {
                let since = Timestamp::from_nanos(facts.holds_from_ns);
                if since > last.since {
                    add(programs, since, Arc::clone(facts));
                } else {
                    last.facts = Arc::clone(facts);
                }
            }
            _ => add(
                programs,
                Timestamp::from_nanos(facts.started_ns),
                Arc::clone(facts),
            ),
        }
    }

    /// Notes a new program. The shell reads its facts, unless it is gone by then; what is known
    /// here must do in that case.
    fn exec(&mut self, at: Timestamp, pid: u32, comm: &str, uid: u32) {
        let Some(programs) = self.by_pid.get_mut(&pid) else {
            return;
        };
        let Some(last) = programs.last() else {
            return;
        };
        let facts = Process {
            exe: None,
            comm: comm.to_owned(),
            argv0: None,
            uid,
            user_name: last
                .facts
                .user_name
                .clone()
                .filter(|_| last.facts.uid == uid),
            source: FactSource::Kernel,
            ..Process::clone(&last.facts)
        };
        add(programs, at, Arc::new(facts));
    }

    fn make_room(&mut self, pid: u32) {
        if self.by_pid.contains_key(&pid) {
            return;
        }
        while self.by_pid.len() >= self.limits.processes.max(1) {
            let started = |programs: &Vec<Program>| programs.first().map(|program| program.since);
            let victim = match self.ended.pop_front() {
                Some((_, id)) => self.has_ended(id).then_some(id.pid),
                None => self
                    .by_pid
                    .iter()
                    .min_by_key(|(_, programs)| started(programs))
                    .map(|(pid, _)| *pid),
            };
            if let Some(victim) = victim {
                self.by_pid.remove(&victim);
            }
        }
    }

    fn forget_before(&mut self, now: Timestamp) {
        while let Some((at, id)) = self.ended.front().copied() {
            if now.since(at) < EXIT_GRACE {
                return;
            }
            self.ended.pop_front();
            if self.has_ended(id) {
                self.by_pid.remove(&id.pid);
            }
        }
    }

    /// True if no other process got its id since.
    fn has_ended(&self, id: ProcId) -> bool {
        let last = self
            .by_pid
            .get(&id.pid)
            .and_then(|programs| programs.last());
        last.is_some_and(|program| program.facts.id == id)
    }
}

fn add(programs: &mut Vec<Program>, since: Timestamp, facts: Arc<Process>) {
    if programs.len() >= PROGRAMS {
        programs.remove(0);
    }
    programs.push(Program { since, facts });
}
