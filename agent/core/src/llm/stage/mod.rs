//! The stage: which exchanges are open as calls, and which connections are worth reading.

mod background;
mod socket;
mod tries;
mod turns;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::call::{Ended, Ending, OpenCall};
use super::caller::Caller;
use super::hash::HashKey;
use super::hosts::{Hosts, OTHER};
use super::provider::{Target, printable};
use super::quota::{self, Book};
use super::{
    Account, Limit, LlmCall, LlmEvent, Observed, Outcome, Provider, UsageSource, recognize,
};
use crate::event::{ConnId, Timestamp};
use crate::http::{
    Dismissal, EXCHANGE_IDLE, ExchangeId, HttpEvent, RequestHead, ResponseHead, Role,
};
use crate::stats::Stats;
use background::Background;
use socket::Socket;
use tries::Tries;
use turns::Results;

/// LIMIT: exchanges in a row that are no calls, after which a connection to an unknown host is
/// ignored. A client of a gateway may look up models and settings first; eight are more than any
/// client seen, and cheap.
const FOREIGN_EXCHANGES: u32 = 8;

/// LIMIT: bytes of one body that is no call, after which a connection to an unknown host is
/// ignored: a download, not a look-up.
const FOREIGN_BYTES: u64 = 1 << 20;

/// LIMIT: exchanges without a call that may wait for their response on one connection; of more,
/// the bytes and the ends are not noticed, so that the connection is ignored later.
const FOREIGN_OPEN: usize = 64;

/// LIMIT: silence after which an open call is given up. The HTTP stage ends an exchange after
/// [`EXCHANGE_IDLE`]; this is the net below it.
const CALL_IDLE: Duration = EXCHANGE_IDLE.saturating_mul(2);

/// How old a call is before it is shown as running: most end earlier.
const RUNNING_AFTER: Duration = Duration::from_secs(1);

/// Limits of the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls that may be open at once; beyond, the oldest is given up and counted.
    pub open_calls: usize,
    /// Connections that are remembered; beyond, the oldest is forgotten, which may cost it its
    /// provider's name.
    pub connections: usize,
    /// Bytes that all open calls hold, text to count above all. Beyond, text is measured but not
    /// kept, and its tokens are taken from its length; at twice as much (long lines of streams are
    /// held, too) the oldest calls are given up and counted.
    pub held_bytes: usize,
}

impl Default for Limits {
    /// LIMIT: 1,024 calls, five times the largest test; 8,192 connections; 32 MiB, so that
    /// the double is what the agent may hold in all.
    fn default() -> Self {
        Self {
            open_calls: 1024,
            connections: 8192,
            held_bytes: 32 << 20,
        }
    }
}

/// The stage.
pub struct Llm {
    limits: Limits,
    hosts: Hosts,
    /// True if the texts of calls with reported usage are given as well.
    gives_texts: bool,
    hash_key: HashKey,
    calls: BTreeMap<ExchangeId, OpenCall>,
    /// WebSockets that carry calls, under the exchange that became one.
    sockets: BTreeMap<ExchangeId, Box<Socket>>,
    connections: BTreeMap<ConnId, Connection>,
    /// Responses that go on behind their requests.
    background: Background,
    tries: Tries,
    /// What was told of limits.
    quotas: Book,
    /// Bytes that the open calls and the WebSockets hold.
    held_bytes: usize,
    /// No call can be idle before this moment.
    next_idle: Option<Timestamp>,
}

/// A part of a body whose text is not kept.
const fn count_unkept(bytes: &[u8], stats: &mut Stats) {
    stats.body_bytes_unkept = stats.body_bytes_unkept.saturating_add(bytes.len() as u64);
}

/// What is known of a connection.
#[derive(Default)]
struct Connection {
    server_name: Option<String>,
    peer: Option<IpAddr>,
    /// True once its host turned out to be a provider's.
    is_provider: bool,
    is_ignored: bool,
    /// True once it was said that it cannot be read.
    is_undecodable: bool,
    /// Exchanges in a row that were no calls.
    foreign: u32,
    /// Exchanges without a call that are open.
    foreign_open: Vec<u64>,
    /// Body bytes since the last request of these began.
    foreign_bytes: u64,
}

impl Connection {
    /// The name of its handshake, as a call has it.
    fn late_name(&self) -> Option<String> {
        self.server_name
            .as_deref()
            .and_then(|name| printable(name, 255))
    }
}

impl Llm {
    /// A stage that has seen nothing, and knows the hosts of the providers.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            hosts: Hosts::default(),
            gives_texts: false,
            hash_key: HashKey::default(),
            calls: BTreeMap::new(),
            sockets: BTreeMap::new(),
            connections: BTreeMap::new(),
            background: Background::new(),
            tries: Tries::new(),
            quotas: Book::default(),
            held_bytes: 0,
            next_idle: None,
        }
    }

    /// The same with other hosts.
    #[must_use]
    pub fn with_hosts(self, hosts: Hosts) -> Self {
        Self { hosts, ..self }
    }

    /// Knows other hosts from now on; requests that were seen keep the providers that they have.
    pub fn know_hosts(&mut self, hosts: Hosts) {
        self.hosts = hosts;
    }

    /// The same with the key of the hashes in [`super::Signals`].
    #[must_use]
    pub fn with_hash_key(self, hash_key: HashKey) -> Self {
        Self { hash_key, ..self }
    }

    /// The same that gives the texts of calls with reported usage, too, to learn from them. They are
    /// held anyway until the reply has ended.
    #[must_use]
    pub fn with_texts(self) -> Self {
        Self {
            gives_texts: true,
            ..self
        }
    }

    /// True for a host of a provider.
    pub fn knows(&self, host: &str) -> bool {
        self.hosts.has(host)
    }

    /// Takes one event; appends the calls that it ends and the connections that it shows to be
    /// none of ours.
    pub fn handle(&mut self, event: HttpEvent, stats: &mut Stats, out: &mut Vec<LlmEvent>) {
        match event {
            HttpEvent::ServerName { conn, name } => {
                let name = recognize::host_name(&name);
                let is_provider = name.as_deref().is_some_and(|name| self.knows(name));
                let connection = self.connection(conn);
                connection.is_provider |= is_provider;
                connection.server_name = name;
            }
            HttpEvent::Request {
                id,
                role: Role::Server,
                ..
            } => self.ignore(id.conn, stats, out),
            HttpEvent::Request {
                at,
                id,
                role: Role::Client,
                head,
            } => self.request(at, id, &head, stats, out),
            HttpEvent::RequestBody { id, bytes } => {
                let keeps_text = self.held_bytes < self.limits.held_bytes;
                let taken = self.with_call(id, |call| call.request_body(&bytes, keeps_text));
                match taken {
                    Some(_) if !keeps_text => count_unkept(&bytes, stats),
                    Some(_) => {}
                    None => self.foreign_body(id, bytes.len(), stats, out),
                }
            }
            HttpEvent::RequestGap { id, .. } => {
                self.with_call(id, OpenCall::request_gap);
            }
            HttpEvent::RequestEnd { at, id, end } => {
                self.with_call(id, |call| call.request_end(at, end));
            }
            HttpEvent::Response { at, id, head } => {
                self.limits(at, id, &head, out);
                if head.status == 101 {
                    self.switched(at, id, stats, out);
                } else {
                    self.with_call(id, |call| call.response(at, &head));
                }
            }
            HttpEvent::ResponseBody { at, id, bytes } => {
                let keeps_text = self.held_bytes < self.limits.held_bytes;
                let ended = self.with_call(id, |call| {
                    let ended = call.response_body(at, &bytes, keeps_text);
                    let limits = call.take_limits();
                    let told = (!limits.is_empty()).then(|| (call.caller().clone(), limits));
                    (ended, call.take_results(stats), told)
                });
                let ended = ended.map(|(ended, results, told)| {
                    if !keeps_text {
                        count_unkept(&bytes, stats);
                    }
                    self.give_results(id.conn, results, stats, out);
                    if let Some((caller, limits)) = told {
                        self.told_limits(at, id.conn, &caller, limits, out);
                    }
                    ended
                });
                match ended {
                    Some(Some(terminal)) => {
                        self.end_call(at, id, Ending::Terminal(terminal), stats, out);
                    }
                    Some(None) => {
                        self.disown(at, id, stats, out);
                        let most = self.limits.held_bytes.saturating_mul(2);
                        while self.held_bytes > most && !self.calls.is_empty() {
                            self.evict(at, stats, out);
                        }
                    }
                    None => self.foreign_body(id, bytes.len(), stats, out),
                }
            }
            HttpEvent::ResponseGap { id, .. } => {
                self.with_call(id, OpenCall::response_gap);
            }
            HttpEvent::Message {
                at,
                id,
                from,
                bytes,
            } => self.message(at, id, from, &bytes, &mut Results { stats, out }),
            HttpEvent::MessageEnd { at, id, from, end } => {
                self.message_end(at, id, from, end, &mut Results { stats, out });
            }
            HttpEvent::MessagesLost { at, id, from } => {
                self.messages_lost(at, id, from, &mut Results { stats, out });
            }
            HttpEvent::ResponseEnd { at, id, end } => {
                self.end_socket(at, id, Ending::Body(end), &mut Results { stats, out });
                self.end_call(at, id, Ending::Body(end), stats, out);
                self.foreign_end(id, stats, out);
            }
            HttpEvent::Dismissed { at, conn, why } => {
                self.give_up(at, conn, stats, out);
                // What a tunnel carries is a connection of its own.
                if why != Dismissal::Tunnel {
                    self.unreadable(at, conn, out);
                }
                self.ignore(conn, stats, out);
            }
            HttpEvent::Closed { at, conn } => {
                self.give_up(at, conn, stats, out);
                self.connections.remove(&conn);
            }
        }
    }

    /// Where a connection goes to; it names the host of calls that have no other name.
    pub fn peer(&mut self, conn: ConnId, address: IpAddr) {
        self.connection(conn).peer = Some(address);
    }

    /// Gives up the calls that have been silent for too long, and gives the limits that waited.
    pub fn expire(&mut self, now: Timestamp, stats: &mut Stats, out: &mut Vec<LlmEvent>) {
        out.extend(self.quotas.expire(now).map(LlmEvent::Limit));
        if self.next_idle.is_none_or(|next| now < next) {
            return;
        }
        let is_due = |call: &&OpenCall| call.seen() + CALL_IDLE <= now;
        let due: Vec<ExchangeId> = self
            .calls
            .iter()
            .filter(|(_, call)| is_due(call))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.end_call(now, id, Ending::GivenUp, stats, out);
        }
        self.next_idle = self
            .calls
            .values()
            .map(|call| call.seen() + CALL_IDLE)
            .min();
    }

    /// When [`Llm::expire`] has something to do at the earliest.
    pub fn deadline(&self) -> Option<Timestamp> {
        let deadlines = [self.next_idle, self.quotas.deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// The calls that have been running for a while at `now`, as far as they were seen.
    pub fn running(&self, now: Timestamp) -> impl Iterator<Item = LlmCall> {
        let calls = self.calls.values();
        calls
            .filter(move |call| call.started() + RUNNING_AFTER <= now)
            .filter_map(move |call| call.so_far(now))
    }

    /// Gives what waits to be given; nothing more comes.
    pub fn finish(&mut self, out: &mut Vec<LlmEvent>) {
        out.extend(self.quotas.finish().map(LlmEvent::Limit));
    }

    #[cfg(test)]
    pub(super) fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// Bytes that the open calls hold: text to count, and lines of streams that are not complete.
    pub const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Changes a call, if it is open, and keeps the account of what is held.
    fn with_call<T>(
        &mut self,
        id: ExchangeId,
        change: impl FnOnce(&mut OpenCall) -> T,
    ) -> Option<T> {
        let call = self.calls.get_mut(&id)?;
        let before = call.held_bytes();
        let result = change(call);
        let after = call.held_bytes();
        self.held_bytes = self.held_bytes.saturating_add(after).saturating_sub(before);
        Some(result)
    }

    fn connection(&mut self, conn: ConnId) -> &mut Connection {
        if !self.connections.contains_key(&conn)
            && self.connections.len() >= self.limits.connections
        {
            let oldest = self
                .connections
                .keys()
                .min_by_key(|conn| (conn.since, **conn))
                .copied();
            if let Some(oldest) = oldest {
                self.connections.remove(&oldest);
            }
        }
        self.connections.entry(conn).or_default()
    }

    fn request(
        &mut self,
        at: Timestamp,
        id: ExchangeId,
        head: &RequestHead,
        stats: &mut Stats,
        out: &mut Vec<LlmEvent>,
    ) {
        let host = head.headers.first("host").and_then(recognize::host_name);
        let name = self.connection(id.conn).server_name.clone();
        let names = [name.as_deref(), host.as_deref()].into_iter().flatten();
        let is_provider = names.clone().any(|name| self.knows(name));
        let provider = names
            .map(|name| self.hosts.provider(name, &head.path))
            .find(|name| *name != OTHER);
        let socket = recognize::socket(head);
        let is_socket = socket.is_some();
        let results = recognize::results(head);
        let called = socket
            .or_else(|| recognize::api(&self.hosts, head))
            .or_else(|| Some((results?, Target::default())));
        let connection = self.connection(id.conn);
        connection.is_provider |= is_provider;
        if connection.is_ignored {
            return;
        }
        let Some((api, target)) = called else {
            connection.foreign_bytes = 0;
            if connection.foreign_open.len() < FOREIGN_OPEN {
                connection.foreign_open.push(id.number);
            }
            return;
        };
        let server_name = name
            .or(host)
            .or_else(|| connection.peer.map(|address| address.to_string()))
            .and_then(|name| printable(&name, 255));
        let provider = provider.unwrap_or(OTHER);
        let caller = Caller::new(provider, server_name, head, target);
        if is_socket {
            // It is foreign for as long as it is not agreed to.
            connection.foreign_bytes = 0;
            connection.foreign_open.push(id.number);
            self.begin_socket(at, id, api, caller, &mut Results { stats, out });
        } else if results.is_some() {
            let call = OpenCall::results(api, id, at, caller, self.hash_key);
            self.insert(at, id, call, stats, out);
        } else {
            let call = OpenCall::new(api, id, at, caller, self.hash_key);
            self.insert(at, id, call, stats, out);
        }
    }

    /// Takes the limits that the response to a call tells.
    fn limits(
        &mut self,
        at: Timestamp,
        id: ExchangeId,
        head: &ResponseHead,
        out: &mut Vec<LlmEvent>,
    ) {
        let call = self.calls.get(&id).map(OpenCall::caller);
        let caller = call.or_else(|| self.sockets.get(&id).map(|socket| &socket.caller));
        let Some(caller) = caller else {
            return;
        };
        let limits = quota::limits(head);
        if limits.is_empty() {
            return;
        }
        let provider = self.provider_of(id.conn, caller);
        let account = Account::of(&head.headers).or_else(|| caller.account().cloned());
        self.note_limits(at, provider, account, limits, out);
    }

    /// Who answers a caller; the name of the host may have come later than the request.
    fn provider_of(&self, conn: ConnId, caller: &Caller) -> Provider {
        let late_name = self.connections.get(&conn).and_then(Connection::late_name);
        match (caller.provider(), late_name) {
            (OTHER, Some(name)) => self.hosts.provider(&name, caller.path()),
            (provider, _) => provider,
        }
    }

    /// Takes the limits that an event of a response told.
    fn told_limits(
        &mut self,
        at: Timestamp,
        conn: ConnId,
        caller: &Caller,
        limits: Vec<Limit>,
        out: &mut Vec<LlmEvent>,
    ) {
        let provider = self.provider_of(conn, caller);
        self.note_limits(at, provider, caller.account().cloned(), limits, out);
    }

    fn note_limits(
        &mut self,
        at: Timestamp,
        provider: Provider,
        account: Option<Account>,
        limits: Vec<Limit>,
        out: &mut Vec<LlmEvent>,
    ) {
        for limit in limits {
            let observed = Observed {
                at,
                provider,
                account: account.clone(),
                limit,
            };
            out.extend(self.quotas.take(observed).map(LlmEvent::Limit));
        }
    }

    /// Opens a call.
    fn insert(
        &mut self,
        at: Timestamp,
        id: ExchangeId,
        call: OpenCall,
        stats: &mut Stats,
        out: &mut Vec<LlmEvent>,
    ) {
        if self.calls.len() >= self.limits.open_calls {
            self.evict(at, stats, out);
        }
        // A number that comes twice would be nonsense of the stage before; the first is given up.
        self.end_call(at, id, Ending::GivenUp, stats, out);
        self.held_bytes = self.held_bytes.saturating_add(call.held_bytes());
        self.calls.insert(id, call);
        let idle = at + CALL_IDLE;
        self.next_idle = Some(self.next_idle.map_or(idle, |next| next.min(idle)));
    }

    /// An exchange turned its connection into something else, after which no other exchange comes:
    /// into a WebSocket that carries calls, or into what is not read.
    fn switched(
        &mut self,
        at: Timestamp,
        id: ExchangeId,
        stats: &mut Stats,
        out: &mut Vec<LlmEvent>,
    ) {
        if self.sockets.contains_key(&id) {
            if let Some(connection) = self.connections.get_mut(&id.conn) {
                connection.foreign = 0;
                connection.foreign_open = Vec::new();
            }
            return;
        }
        self.give_up(at, id.conn, stats, out);
        self.unreadable(at, id.conn, out);
        self.ignore(id.conn, stats, out);
    }

    /// Of this connection nothing more can be read; that is said if it is to a provider.
    fn unreadable(&mut self, at: Timestamp, conn: ConnId, out: &mut Vec<LlmEvent>) {
        let name = self
            .connections
            .get(&conn)
            .and_then(|connection| connection.server_name.as_deref());
        if let Some(host) = name
            && self.knows(host)
        {
            let host = host.to_owned();
            self.undecodable(at, conn, host, out);
        }
    }

    /// Says once that a connection carries calls that cannot be read.
    fn undecodable(&mut self, at: Timestamp, conn: ConnId, host: String, out: &mut Vec<LlmEvent>) {
        let connection = self.connection(conn);
        if !connection.is_undecodable {
            connection.is_undecodable = true;
            out.push(LlmEvent::Undecodable { at, conn, host });
        }
    }

    /// Gives up the oldest call.
    fn evict(&mut self, at: Timestamp, stats: &mut Stats, out: &mut Vec<LlmEvent>) {
        let calls = self.calls.iter();
        let oldest = calls.min_by_key(|(id, call)| (call.started(), **id));
        if let Some(oldest) = oldest.map(|(id, _)| *id) {
            stats.calls_evicted += 1;
            self.end_call(at, oldest, Ending::GivenUp, stats, out);
        }
    }

    /// Ends a call, if it is open.
    fn end_call(
        &mut self,
        at: Timestamp,
        id: ExchangeId,
        ending: Ending,
        stats: &mut Stats,
        out: &mut Vec<LlmEvent>,
    ) {
        let Some(call) = self.calls.remove(&id) else {
            return;
        };
        if self.calls.is_empty() {
            self.next_idle = None;
        }
        self.held_bytes = self.held_bytes.saturating_sub(call.held_bytes());
        let is_headless = call.is_headless();
        let is_retrieval = call.is_retrieval();
        let payer = call.payer();
        let late_name = self
            .connections
            .get(&id.conn)
            .and_then(Connection::late_name);
        let late_provider = late_name
            .as_deref()
            .map(|name| self.hosts.provider(name, call.path()));
        let connection = self.connections.get_mut(&id.conn);
        let ended = call.finish(at, ending, stats);
        let is_pending = matches!(ended, Ended::Pending(_));
        match ended {
            Ended::Call(mut call) | Ended::Pending(mut call) => {
                if call.usage_source == UsageSource::Provider && !self.gives_texts {
                    call.countable = None;
                }
                let response = call.response_id.clone().filter(|_| is_pending);
                if is_retrieval {
                    // Other things are called responses, too.
                    let is_response = is_pending || call.usage_source != UsageSource::None;
                    if let Some(connection) = connection {
                        connection.foreign = if is_response {
                            0
                        } else {
                            connection.foreign + 1
                        };
                    }
                    self.judge(id.conn, stats, out);
                    return self.retrieved(*call, response, stats, out);
                }
                if let Some(response) = response {
                    let is_full = self.background.remember(&response, Some(&call));
                    stats.responses_forgotten += u64::from(is_full);
                }
                stats.calls += 1;
                // The socket of a connection, and with it the name of its handshake, may be known
                // only after the request.
                if call.provider == OTHER {
                    call.provider = late_provider.unwrap_or(OTHER);
                }
                call.server_name = late_name.or(call.server_name);
                call.terms.credential = payer.credential(call.server_name.as_deref());
                if call.terms.region.is_none() {
                    call.terms.region = call.server_name.as_deref().and_then(recognize::region);
                }
                self.tries.number(&mut call);
                out.push(LlmEvent::Call(call));
                if let Some(connection) = connection {
                    connection.foreign = 0;
                }
            }
            Ended::Results(results) => self.give_results(id.conn, results, stats, out),
            Ended::WarmUp => stats.warm_ups += 1,
            Ended::Foreign => {
                stats.not_a_call += u64::from(!is_headless);
                if let Some(connection) = connection {
                    connection.foreign += 1;
                }
                self.judge(id.conn, stats, out);
            }
        }
    }

    /// Gives calls whose results were read, many in one reply.
    fn give_results(
        &mut self,
        conn: ConnId,
        results: Vec<LlmCall>,
        stats: &mut Stats,
        out: &mut Vec<LlmEvent>,
    ) {
        if results.is_empty() {
            return;
        }
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.foreign = 0;
        }
        stats.calls += results.len() as u64;
        out.extend(
            results
                .into_iter()
                .map(|call| LlmEvent::Call(Box::new(call))),
        );
    }

    /// A response was read again: its end is that of a call that was seen to go on, and anything
    /// else is none.
    fn retrieved(
        &mut self,
        call: LlmCall,
        pending: Option<String>,
        stats: &mut Stats,
        out: &mut Vec<LlmEvent>,
    ) {
        if let Some(response) = pending {
            let is_full = self.background.remember(&response, None);
            stats.responses_forgotten += u64::from(is_full);
        } else if matches!(call.outcome, Outcome::Complete | Outcome::Error)
            && call.http_status.is_none_or(|status| status < 300)
            && let Some(call) = self.background.end(call)
        {
            stats.calls += 1;
            out.push(LlmEvent::Call(Box::new(call)));
            return;
        }
        stats.responses_reread += 1;
    }

    /// Gives up what may have been a call if its head were known, and is a download.
    fn disown(
        &mut self,
        at: Timestamp,
        id: ExchangeId,
        stats: &mut Stats,
        out: &mut Vec<LlmEvent>,
    ) {
        let call = self.calls.get(&id);
        if call.is_some_and(|call| call.is_shapeless_after(FOREIGN_BYTES)) {
            if let Some(connection) = self.connections.get_mut(&id.conn) {
                connection.foreign_bytes = FOREIGN_BYTES + 1;
            }
            self.end_call(at, id, Ending::GivenUp, stats, out);
        }
    }

    fn foreign_body(
        &mut self,
        id: ExchangeId,
        bytes: usize,
        stats: &mut Stats,
        out: &mut Vec<LlmEvent>,
    ) {
        let Some(connection) = self.connections.get_mut(&id.conn) else {
            return;
        };
        // What comes of a call after its terminal event is not foreign.
        if connection.foreign_open.contains(&id.number) {
            connection.foreign_bytes = connection.foreign_bytes.saturating_add(bytes as u64);
            self.judge(id.conn, stats, out);
        }
    }

    fn foreign_end(&mut self, id: ExchangeId, stats: &mut Stats, out: &mut Vec<LlmEvent>) {
        let Some(connection) = self.connections.get_mut(&id.conn) else {
            return;
        };
        let open = connection.foreign_open.len();
        connection
            .foreign_open
            .retain(|number| *number != id.number);
        if connection.foreign_open.len() < open {
            connection.foreign += 1;
            self.judge(id.conn, stats, out);
        }
    }

    /// Ignores a connection to an unknown host once it is clearly no LLM traffic.
    fn judge(&mut self, conn: ConnId, stats: &mut Stats, out: &mut Vec<LlmEvent>) {
        let Some(connection) = self.connections.get(&conn) else {
            return;
        };
        let is_foreign =
            connection.foreign >= FOREIGN_EXCHANGES || connection.foreign_bytes > FOREIGN_BYTES;
        if is_foreign
            && !connection.is_provider
            && self.calls.range(exchanges_of(conn)).next().is_none()
        {
            self.ignore(conn, stats, out);
        }
    }

    /// Says once that a connection is to be ignored.
    fn ignore(&mut self, conn: ConnId, stats: &mut Stats, out: &mut Vec<LlmEvent>) {
        let connection = self.connection(conn);
        if !connection.is_ignored {
            connection.is_ignored = true;
            connection.foreign_open = Vec::new();
            stats.connections_ignored += 1;
            out.push(LlmEvent::Ignore { conn });
        }
    }

    /// Ends the calls of a connection of which nothing more comes.
    fn give_up(&mut self, at: Timestamp, conn: ConnId, stats: &mut Stats, out: &mut Vec<LlmEvent>) {
        while let Some(id) = self.socket_of(conn) {
            self.end_socket(at, id, Ending::GivenUp, &mut Results { stats, out });
        }
        let open: Vec<ExchangeId> = self
            .calls
            .range(exchanges_of(conn))
            .map(|(id, _)| *id)
            .collect();
        for id in open {
            self.end_call(at, id, Ending::GivenUp, stats, out);
        }
    }
}

fn exchanges_of(conn: ConnId) -> std::ops::RangeInclusive<ExchangeId> {
    ExchangeId { conn, number: 0 }..=ExchangeId {
        conn,
        number: u64::MAX,
    }
}
