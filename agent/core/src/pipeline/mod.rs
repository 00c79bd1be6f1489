//! The order of the stages; nothing else.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::attribution::{self, Attribution};
use crate::connection::{self, Connections, Segment};
use crate::coverage::Coverage;
pub use crate::coverage::{Caller, Callers, CoverageMinute, CoverageOutcome};
use crate::event::{ConnId, Event, ProcId, Timestamp};
use crate::http::{self, Http, HttpEvent, Role};
use crate::llm::{self, Llm, LlmCall, LlmEvent};
use crate::prices::Prices;
use crate::session::{self, Sessions, UsageRecord};
use crate::socket::{self, Finding, Sockets};
use crate::stats::Stats;
use crate::tokens::{Tokens, Vocabularies};
use crate::workflow::Workflows;

/// Everything that leaves the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A call to store.
    Usage(Box<UsageRecord>),
    /// How much of a process's traffic was understood in one minute.
    Coverage(CoverageMinute),
    /// What is left of a limit of an account.
    Quota {
        /// When it was told, in milliseconds since the Unix epoch.
        unix_ms: i64,
        /// What.
        observed: Box<llm::Observed>,
    },
    /// A process ended.
    ProcessExited {
        /// Which.
        id: ProcId,
        /// When, in milliseconds since the Unix epoch.
        unix_ms: i64,
    },
    /// All calls that still run, as far as they were seen: in the place of those that were given
    /// before.
    Running(Vec<UsageRecord>),
    /// This connection is no LLM traffic: stop copying it. The only thing that flows towards the
    /// kernel.
    Ignore(ConnId),
}

/// The settings of all stages.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Limits of the stage of sockets.
    pub socket: socket::Limits,
    /// Limits of the connection stage.
    pub connection: connection::Limits,
    /// Limits of the HTTP stage.
    pub http: http::Limits,
    /// Limits of the LLM stage.
    pub llm: llm::Limits,
    /// Key of the hashes that tell requests apart, to be drawn at random for each run.
    pub hash_key: llm::HashKey,
    /// Which hosts are whose.
    pub hosts: llm::Hosts,
    /// Which vocabularies there is memory for.
    pub vocabularies: Vocabularies,
    /// Limits of the attribution stage.
    pub attribution: attribution::Limits,
    /// Settings of the session stage.
    pub session: session::Settings,
    /// What calls cost; nothing has a price by default.
    pub prices: Arc<Prices>,
    /// What pays for calls; names are automatic by default.
    pub workflows: Arc<Workflows>,
}

/// What may change while a line runs.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Which hosts are whose.
    pub hosts: llm::Hosts,
    /// What calls cost.
    pub prices: Arc<Prices>,
    /// What pays for calls. The patterns for command lines are those of the rules before: facts about
    /// processes name them by their numbers.
    pub workflows: Arc<Workflows>,
}

/// The whole line. After each [`Pipeline::handle`] the caller takes all outputs before it gives
/// the next event.
pub struct Pipeline {
    sockets: Sockets,
    connections: Connections,
    http: Http,
    llm: Llm,
    tokens: Tokens,
    attribution: Attribution,
    sessions: Sessions,
    coverage: Coverage,
    stats: Stats,
    outputs: VecDeque<Output>,
    findings: Vec<Finding>,
    segments: Vec<Segment>,
    messages: Vec<HttpEvent>,
    calls: Vec<LlmEvent>,
    /// Whether the calls that were given as running last were any.
    has_running: bool,
}

impl Pipeline {
    /// A line without any state.
    pub fn new(settings: Settings) -> Self {
        Self {
            sockets: Sockets::new(settings.socket),
            connections: Connections::new(settings.connection),
            http: Http::new(settings.http),
            llm: Llm::new(settings.llm)
                .with_hosts(settings.hosts)
                .with_hash_key(settings.hash_key)
                .with_texts(),
            tokens: Tokens::new().with_vocabularies(settings.vocabularies),
            attribution: Attribution::new(settings.attribution),
            sessions: Sessions::new(settings.session)
                .with_prices(settings.prices)
                .with_workflows(settings.workflows),
            coverage: Coverage::default(),
            stats: Stats::default(),
            outputs: VecDeque::new(),
            findings: Vec::new(),
            segments: Vec::new(),
            messages: Vec::new(),
            calls: Vec::new(),
            has_running: false,
        }
    }

    /// Goes by other rules from the next call on.
    pub fn follow(&mut self, rules: Rules) {
        let Rules {
            hosts,
            prices,
            workflows,
        } = rules;
        self.llm.know_hosts(hosts);
        self.sessions.follow(prices, workflows);
    }

    /// Takes one event.
    pub fn handle(&mut self, event: &Event) {
        self.stats.records += 1;
        self.attribution.learn(event);
        self.sessions.learn(event);
        self.sockets
            .handle(event, &mut self.stats, &mut self.findings);
        self.connections
            .handle(event, &mut self.stats, &mut self.segments);
        self.advance();
        match event {
            Event::Exit { at, pid } => {
                if let Some(id) = self.attribution.identity(*pid) {
                    let unix_ms = self.sessions.unix_ms(*at);
                    self.outputs
                        .push_back(Output::ProcessExited { id, unix_ms });
                }
            }
            Event::Lost {
                at, records, bytes, ..
            } => {
                self.coverage
                    .lost(self.sessions.unix_ms(*at), *records, *bytes);
            }
            Event::Clock { .. }
            | Event::Process(_)
            | Event::Exec { .. }
            | Event::Opened { .. }
            | Event::ServerName { .. }
            | Event::Chunk { .. }
            | Event::Closed { .. }
            | Event::Connected { .. }
            | Event::Hello { .. }
            | Event::Bound { .. }
            | Event::Carried { .. }
            | Event::SocketClosed { .. } => {}
        }
    }

    /// A ring record that is no event.
    pub const fn malformed(&mut self) {
        self.stats.records_malformed += 1;
    }

    /// Lets time pass: what waited for too long is given up, finished minutes leave, and the calls
    /// that still run are given.
    pub fn expire(&mut self, now: Timestamp) {
        self.sockets
            .expire(now, &mut self.stats, &mut self.findings);
        self.connections
            .expire(now, &mut self.stats, &mut self.segments);
        self.advance();
        self.http.expire(now, &mut self.stats, &mut self.messages);
        self.advance();
        self.llm.expire(now, &mut self.stats, &mut self.calls);
        self.advance();
        self.sessions.expire(now);
        self.stats.held_bytes = self.held_bytes() as u64;
        let unix_ms = self.sessions.unix_ms(now);
        self.coverage.forget_callers(unix_ms);
        self.outputs
            .extend(self.coverage.finished_before(unix_ms).map(Output::Coverage));
        self.give_running(now);
    }

    fn give_running(&mut self, now: Timestamp) {
        let running: Vec<_> = self
            .llm
            .running(now)
            .map(|call| self.sessions.running(self.attribution.owner(call)))
            .collect();
        let has_running = !running.is_empty();
        if has_running || self.has_running {
            self.outputs.push_back(Output::Running(running));
        }
        self.has_running = has_running;
    }

    /// When [`Pipeline::expire`] next has something to do.
    pub fn deadline(&self) -> Option<Timestamp> {
        [
            self.sockets.deadline(),
            self.connections.deadline(),
            self.http.deadline(),
            self.llm.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The agent stops: everything that is open ends now.
    pub fn finish(&mut self, now: Timestamp) {
        self.sockets
            .finish(now, &mut self.stats, &mut self.findings);
        self.advance();
        self.connections
            .finish(now, &mut self.stats, &mut self.segments);
        self.advance();
        self.llm.finish(&mut self.calls);
        self.advance();
        self.outputs.extend(
            self.coverage
                .finished_before(i64::MAX)
                .map(Output::Coverage),
        );
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Observed bytes that are held back, text that waits to be counted, and the memory of
    /// decompressors; bounded by the limits of the stages.
    pub fn held_bytes(&self) -> usize {
        self.connections
            .held_bytes()
            .saturating_add(self.http.buffered_bytes())
            .saturating_add(self.http.decoder_bytes())
            .saturating_add(self.llm.held_bytes())
    }

    /// The processes that talked to LLM hosts within the last hour.
    pub const fn callers(&self) -> &Callers {
        self.coverage.callers()
    }

    /// Counters since start.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Moves what the stages hold to the end of the line.
    fn advance(&mut self) {
        loop {
            for finding in std::mem::take(&mut self.findings) {
                self.learn(finding);
            }
            for segment in self.segments.drain(..) {
                self.http
                    .handle(segment, &mut self.stats, &mut self.messages);
            }
            for message in self.messages.drain(..) {
                if let HttpEvent::Request {
                    at,
                    id,
                    role: Role::Client,
                    head,
                } = &message
                {
                    let host = llm::host_of(head);
                    self.sockets.request(
                        *at,
                        id.conn,
                        host.as_deref(),
                        &mut self.stats,
                        &mut self.findings,
                    );
                }
                self.llm.handle(message, &mut self.stats, &mut self.calls);
            }
            for event in std::mem::take(&mut self.calls) {
                self.conclude(event);
            }
            if self.findings.is_empty() {
                return;
            }
        }
    }

    fn conclude(&mut self, event: LlmEvent) {
        match event {
            LlmEvent::Call(call) => self.store(*call),
            LlmEvent::Limit(observed) => self.outputs.push_back(Output::Quota {
                unix_ms: self.sessions.unix_ms(observed.at),
                observed: Box::new(observed),
            }),
            LlmEvent::Ignore { conn } => {
                self.connections.ignore(conn);
                self.outputs.push_back(Output::Ignore(conn));
            }
            LlmEvent::Undecodable { at, conn, host } => {
                let process = self.attribution.process_at(conn.pid, at);
                self.coverage
                    .undecodable(self.sessions.unix_ms(at), process, &host);
            }
        }
    }

    /// Tells the stages what was found out about connections and sockets.
    fn learn(&mut self, finding: Finding) {
        match finding {
            Finding::Named { at, conn, name } => {
                let event = Event::ServerName { at, conn, name };
                self.connections
                    .handle(&event, &mut self.stats, &mut self.segments);
            }
            Finding::Peer { conn, peer, .. } => self.llm.peer(conn, peer.ip()),
            Finding::Ended { at, conn } => {
                // What its object moved in all is not known: nothing is taken for missing.
                let event = Event::Closed {
                    at,
                    conn,
                    written: 0,
                    read: 0,
                };
                self.connections
                    .handle(&event, &mut self.stats, &mut self.segments);
            }
            Finding::Unprobed {
                at,
                since,
                pid,
                host,
                bytes,
            } if self.llm.knows(&host) => {
                let process = self.attribution.process_at(pid, since);
                let unix_ms = self.sessions.unix_ms(at);
                let minute = self.coverage.unprobed(unix_ms, process, &host, bytes);
                self.outputs.push_back(Output::Coverage(minute));
            }
            Finding::UnprobedBytes {
                at,
                since,
                pid,
                host,
                bytes,
            } if self.llm.knows(&host) => {
                let process = self.attribution.process_at(pid, since);
                let minute = Coverage::unprobed_bytes(self.sessions.unix_ms(at), process, bytes);
                self.outputs.push_back(Output::Coverage(minute));
            }
            // Whom else programs talk to is nobody's business here.
            Finding::Unprobed { .. } | Finding::UnprobedBytes { .. } => {}
        }
    }

    fn store(&mut self, call: LlmCall) {
        let call = self.tokens.count(call, &mut self.stats);
        let call = self.attribution.attribute(call, &mut self.stats);
        let record = self.sessions.record(call);
        self.coverage.call(&record);
        self.outputs.push_back(Output::Usage(Box::new(record)));
    }
}

/// Runs a whole recording and gives its outputs: what `replay`, the golden tests and the fuzz
/// targets share.
pub fn replay(settings: Settings, frames: &[crate::recording::Frame<'_>]) -> (Vec<Output>, Stats) {
    let mut line = Pipeline::new(settings);
    let mut outputs = Vec::new();
    let mut now = Timestamp::default();
    for frame in frames {
        match frame.event() {
            Ok(event) => {
                if let Some(at) = event.at() {
                    now = now.max(at);
                }
                line.handle(&event);
            }
            Err(_malformed) => line.malformed(),
        }
        outputs.extend(std::iter::from_fn(|| line.poll_output()));
    }
    line.finish(now);
    outputs.extend(std::iter::from_fn(|| line.poll_output()));
    (outputs, line.stats().clone())
}

#[cfg(test)]
mod tests;
