//! Calls over a WebSocket. The client's messages ask for responses, the server's are their events.
//!
//! Requests and responses are paired in order, lane by lane. A loss breaks that order: a request
//! whose response may have been among what was lost is paired only as long as no later one was seen
//! to be sent, since clients wait for a response before they ask for the next in the same lane.

use super::Llm;
use super::socket::{Envelope, Kind, Open, Past, Socket, TURNS, Waiting};
use crate::event::{ConnId, Timestamp};
use crate::http::{BodyEnd, ExchangeId, Role};
use crate::llm::LlmEvent;
use crate::llm::call::{Ending, OpenCall};
use crate::llm::caller::Caller;
use crate::llm::provider::{Api, Terminal};
use crate::llm::quota;
use crate::stats::Stats;

/// Where results go.
pub(super) struct Results<'a> {
    pub(super) stats: &'a mut Stats,
    pub(super) out: &'a mut Vec<LlmEvent>,
}

impl Llm {
    /// Notes that an exchange wants to become a WebSocket that carries calls.
    pub(super) fn begin_socket(
        &mut self,
        at: Timestamp,
        id: ExchangeId,
        api: &'static Api,
        caller: Caller,
        results: &mut Results<'_>,
    ) {
        if self.sockets.len() >= self.limits.connections {
            let oldest = self.sockets.keys().min_by_key(|id| (id.conn.since, **id));
            if let Some(oldest) = oldest.copied() {
                self.end_socket(at, oldest, Ending::GivenUp, results);
            }
        }
        let socket = Socket::new(api, caller, id.number, self.hash_key);
        self.sockets.insert(id, Box::new(socket));
    }

    /// Ends the calls of a WebSocket; whether there was one.
    pub(super) fn end_socket(
        &mut self,
        at: Timestamp,
        id: ExchangeId,
        ending: Ending,
        results: &mut Results<'_>,
    ) -> bool {
        let Some(mut socket) = self.take_socket(id) else {
            return false;
        };
        for open in std::mem::take(&mut socket.open) {
            let ending = self.ending_of(&open).unwrap_or(ending);
            self.end_call(at, open.call, ending, results.stats, results.out);
        }
        for waiting in std::mem::take(&mut socket.waiting) {
            self.give_up_waiting(at, &waiting, ending, results);
        }
        true
    }

    /// A WebSocket of a connection, or an exchange that wants to become one.
    pub(super) fn socket_of(&self, conn: ConnId) -> Option<ExchangeId> {
        let first = ExchangeId { conn, number: 0 };
        let (id, _) = self.sockets.range(first..).next()?;
        (id.conn == conn).then_some(*id)
    }

    /// Takes bytes of a message.
    pub(super) fn message(
        &mut self,
        at: Timestamp,
        id: ExchangeId,
        from: Role,
        bytes: &[u8],
        results: &mut Results<'_>,
    ) {
        let keeps_text = self.held_bytes < self.limits.held_bytes;
        let most = self.limits.held_bytes.saturating_mul(2);
        let has_room = self.held_bytes.saturating_add(bytes.len()) <= most;
        let Some(mut socket) = self.take_socket(id) else {
            return;
        };
        if !keeps_text {
            super::count_unkept(bytes, results.stats);
        }
        match from {
            Role::Client if socket.api.create.is_some() => {
                let call = ExchangeId {
                    number: socket.next,
                    ..id
                };
                let (api, caller, key) = (socket.api, &socket.caller, self.hash_key);
                socket
                    .asking
                    .get_or_insert_with(|| OpenCall::message(api, call, at, caller.clone(), key))
                    .request_body(bytes, keeps_text);
            }
            Role::Client => socket.set_up(bytes),
            Role::Server if has_room => socket.gather(bytes),
            Role::Server => socket.drop_event(),
        }
        self.put_socket(id, socket);
        while self.held_bytes > most && !self.calls.is_empty() {
            self.evict(at, results.stats, results.out);
        }
    }

    /// Takes the end of a message.
    pub(super) fn message_end(
        &mut self,
        at: Timestamp,
        id: ExchangeId,
        from: Role,
        end: BodyEnd,
        results: &mut Results<'_>,
    ) {
        let Some(mut socket) = self.take_socket(id) else {
            return;
        };
        let is_whole = end == BodyEnd::Complete;
        match from {
            Role::Client => {
                socket.is_client_lost = !is_whole;
                socket.is_request_lost |= !is_whole;
                socket.end_set_up(is_whole);
                self.asked(at, &mut socket, end, results);
            }
            Role::Server => match socket.take_event() {
                Some(event) if is_whole => {
                    socket.is_server_lost = false;
                    self.event(at, id, &mut socket, &event, results);
                }
                _ => self.lose_events(&mut socket),
            },
        }
        let is_blind = is_blind(&socket);
        let host = socket.caller.host();
        self.put_socket(id, socket);
        if is_blind && !is_whole {
            self.undecodable(at, id.conn, host, results.out);
        }
    }

    /// Notes that messages are missing.
    pub(super) fn messages_lost(
        &mut self,
        at: Timestamp,
        id: ExchangeId,
        from: Role,
        results: &mut Results<'_>,
    ) {
        let Some(mut socket) = self.take_socket(id) else {
            return;
        };
        match from {
            Role::Client => {
                socket.is_client_lost = true;
                socket.is_request_lost = true;
                if let Some(standing) = &mut socket.standing {
                    standing.lose_client();
                }
            }
            Role::Server => self.lose_events(&mut socket),
        }
        // Where nothing is asked for, whole responses may be among what was lost.
        let is_unasked = socket.api.create.is_none();
        let is_blind = is_blind(&socket) || (from == Role::Server && is_unasked);
        let host = socket.caller.host();
        self.put_socket(id, socket);
        if is_blind {
            self.undecodable(at, id.conn, host, results.out);
        }
    }

    fn take_socket(&mut self, id: ExchangeId) -> Option<Box<Socket>> {
        let socket = self.sockets.remove(&id)?;
        self.held_bytes = self.held_bytes.saturating_sub(socket.held_bytes());
        Some(socket)
    }

    fn put_socket(&mut self, id: ExchangeId, socket: Box<Socket>) {
        self.held_bytes = self.held_bytes.saturating_add(socket.held_bytes());
        self.sockets.insert(id, socket);
    }

    /// A message of the client is over.
    fn asked(
        &mut self,
        at: Timestamp,
        socket: &mut Socket,
        end: BodyEnd,
        results: &mut Results<'_>,
    ) {
        let Some(mut call) = socket.asking.take() else {
            return;
        };
        let request = call.request();
        if socket.api.create != Some(request.kind.as_str()) {
            return;
        }
        let lane = request.lane.as_str().to_owned();
        socket.has_lanes |= !lane.is_empty();
        call.request_end(at, end);
        // The client goes on, so it has seen the end of what failed, and of what was lost here.
        socket.is_request_lost = false;
        self.end_all(at, socket, results, |open| {
            open.lane == lane && open.failed.is_some()
        });
        let is_over = |waiting: &Waiting| waiting.lane == lane && waiting.is_uncertain;
        while let Some(place) = socket.waiting.iter().position(is_over) {
            if let Some(waiting) = socket.waiting.remove(place) {
                self.give_up_waiting(at, &waiting, Ending::GivenUp, results);
            }
        }
        if socket.waiting.len() >= TURNS
            && let Some(oldest) = socket.waiting.pop_front()
        {
            results.stats.calls_evicted += 1;
            self.give_up_waiting(at, &oldest, Ending::GivenUp, results);
        }
        let id = call.id();
        socket.next += 1;
        self.insert(at, id, call, results.stats, results.out);
        socket.waiting.push_back(Waiting {
            call: id,
            lane,
            is_uncertain: false,
        });
    }

    /// An event of the server is over.
    fn event(
        &mut self,
        at: Timestamp,
        id: ExchangeId,
        socket: &mut Socket,
        event: &[u8],
        results: &mut Results<'_>,
    ) {
        // The limits of the stage may have ended some.
        let calls = &self.calls;
        socket
            .waiting
            .retain(|waiting| calls.contains_key(&waiting.call));
        socket.open.retain(|open| calls.contains_key(&open.call));
        let envelope = socket.envelope(event);
        let (kind, response) = (envelope.kind(), envelope.response.as_str());
        if kind == Kind::Limits {
            let limits = quota::of_event(event);
            return self.told_limits(at, id.conn, &socket.caller, limits, results.out);
        }
        if kind == Kind::Other || (!response.is_empty() && socket.has_ended(response)) {
            return;
        }
        let place = match (kind, socket.place(&envelope)) {
            (Kind::Error | Kind::Limits | Kind::Other, _) => {
                return self.failed(at, id, socket, &envelope, results);
            }
            (Kind::Transcription, _) => self.transcribed(at, id, socket, &envelope, results),
            (Kind::Created | Kind::Response | Kind::Later, Some(place)) => place,
            (Kind::Later, None) => return,
            (Kind::Created | Kind::Response, None) => {
                // A response is known by its id, or because it is waited for.
                let is_known = !response.is_empty() || !socket.api.names_responses();
                if !is_known && !socket.is_waiting(envelope.lane.as_str()) {
                    return;
                }
                // Where none is named, the first that is said is the first.
                let is_lost = std::mem::take(&mut socket.is_begin_lost);
                let kind = if socket.api.names_responses() || is_lost {
                    kind
                } else {
                    Kind::Created
                };
                self.begin(at, id, socket, &envelope, kind, results)
            }
        };
        let Some(open) = socket.open.get_mut(place) else {
            return;
        };
        open.failed = None;
        if open.response.is_empty() {
            envelope.response.as_str().clone_into(&mut open.response);
        }
        let call = open.call;
        let keeps_text = self.held_bytes < self.limits.held_bytes;
        let ended = self.with_call(call, |call| call.event(at, event, keeps_text));
        if let Some(terminal) = ended.flatten() {
            self.end_open(at, socket, place, Ending::Terminal(terminal), results);
        }
    }

    /// Begins the response that an event belongs to; says where it stands.
    fn begin(
        &mut self,
        at: Timestamp,
        id: ExchangeId,
        socket: &mut Socket,
        envelope: &Envelope,
        kind: Kind,
        results: &mut Results<'_>,
    ) -> usize {
        let lane = envelope.lane.as_str();
        // What is asked for is answered in order: what is open in the lane has ended among what was
        // lost.
        let is_in_order = socket.api.create.is_some();
        self.end_all(at, socket, results, |open| {
            open.lane == lane && is_in_order && (open.has_gap || open.failed.is_some())
        });
        let asked = socket
            .waiting
            .iter()
            .position(|waiting| waiting.lane == lane)
            .and_then(|place| socket.waiting.remove(place));
        // A first event that is missing is so because of a loss.
        let has_gap =
            kind != Kind::Created && asked.as_ref().is_none_or(|asked| asked.is_uncertain);
        let call = match asked {
            Some(asked) => asked.call,
            None => self.unasked(at, id, socket, lane, results),
        };
        let model = socket.model.as_deref();
        self.with_call(call, |call| {
            call.answer(at, model);
            if has_gap {
                call.response_gap();
            }
        });
        self.open(at, socket, call, envelope, results)
    }

    /// A response that no request was seen for: the one before it in its lane goes on, or a part of
    /// what the client sent is missing.
    fn unasked(
        &mut self,
        at: Timestamp,
        id: ExchangeId,
        socket: &mut Socket,
        lane: &str,
        results: &mut Results<'_>,
    ) -> ExchangeId {
        let number = socket.next;
        socket.next += 1;
        let id = ExchangeId { number, ..id };
        let caller = socket.caller.clone();
        let may_be_asked = std::mem::take(&mut socket.is_request_lost);
        let past = socket.last_of(lane).filter(|_| !may_be_asked);
        let mut call = match past {
            Some(past) if socket.api.create.is_some() => {
                let mut call = OpenCall::message(socket.api, id, at, caller, self.hash_key);
                call.request_mut()
                    .inherit(&past.model, &past.session, &past.response);
                call
            }
            _ => OpenCall::unasked(socket.api, id, at, caller, self.hash_key),
        };
        if let Some(standing) = &mut socket.standing {
            call.request_mut().stand(standing.begin());
        }
        self.insert(at, id, call, results.stats, results.out);
        id
    }

    /// A transcription: a call that begins and ends with its one event.
    fn transcribed(
        &mut self,
        at: Timestamp,
        id: ExchangeId,
        socket: &mut Socket,
        envelope: &Envelope,
        results: &mut Results<'_>,
    ) -> usize {
        let id = ExchangeId {
            number: socket.next,
            ..id
        };
        socket.next += 1;
        let caller = socket.caller.clone().without_model();
        let call = OpenCall::unasked(socket.api, id, at, caller, self.hash_key);
        self.insert(at, id, call, results.stats, results.out);
        let model = socket.transcriber.as_deref();
        self.with_call(id, |call| call.answer(at, model));
        self.open(at, socket, id, envelope, results)
    }

    fn open(
        &mut self,
        at: Timestamp,
        socket: &mut Socket,
        call: ExchangeId,
        envelope: &Envelope,
        results: &mut Results<'_>,
    ) -> usize {
        if socket.open.len() >= TURNS {
            results.stats.calls_evicted += 1;
            self.end_open(at, socket, 0, Ending::GivenUp, results);
        }
        socket.open.push(Open {
            call,
            lane: envelope.lane.as_str().to_owned(),
            response: envelope.response.as_str().to_owned(),
            has_gap: false,
            failed: None,
        });
        socket.open.len() - 1
    }

    /// An error that names no response: it answers the request that waits, or it may end the
    /// response that is being read. Whether it does shows in what comes next: an error may also
    /// refuse what the client asks for beside, and then the response goes on.
    fn failed(
        &mut self,
        at: Timestamp,
        id: ExchangeId,
        socket: &mut Socket,
        envelope: &Envelope,
        results: &mut Results<'_>,
    ) {
        let lane = envelope.lane.as_str();
        if socket.is_waiting(lane) {
            let place = self.begin(at, id, socket, envelope, Kind::Error, results);
            if let Some(open) = socket.open.get_mut(place) {
                open.failed = Some(envelope.status);
            }
            self.end_open(at, socket, place, Ending::GivenUp, results);
        } else if let Some(open) = socket.open.iter_mut().rev().find(|open| open.lane == lane) {
            open.failed = Some(envelope.status);
        }
    }

    /// How a response ends that an error may have ended.
    fn ending_of(&mut self, open: &Open) -> Option<Ending> {
        let status = open.failed?;
        self.with_call(open.call, |call| call.fail(status));
        Some(Ending::Terminal(Terminal::Error))
    }

    fn end_all(
        &mut self,
        at: Timestamp,
        socket: &mut Socket,
        results: &mut Results<'_>,
        is_over: impl Fn(&Open) -> bool,
    ) {
        while let Some(place) = socket.open.iter().position(&is_over) {
            self.end_open(at, socket, place, Ending::GivenUp, results);
        }
    }

    fn end_open(
        &mut self,
        at: Timestamp,
        socket: &mut Socket,
        place: usize,
        ending: Ending,
        results: &mut Results<'_>,
    ) {
        if place >= socket.open.len() {
            return;
        }
        let open = socket.open.remove(place);
        let ending = self.ending_of(&open).unwrap_or(ending);
        let Some(request) = self.calls.get(&open.call).map(OpenCall::request) else {
            return;
        };
        socket.remember(Past {
            model: request.model.as_str().to_owned(),
            session: request.session_id().unwrap_or_default(),
            lane: open.lane,
            response: open.response,
        });
        self.end_call(at, open.call, ending, results.stats, results.out);
    }

    /// Ends a request whose response was not seen to begin.
    fn give_up_waiting(
        &mut self,
        at: Timestamp,
        waiting: &Waiting,
        ending: Ending,
        results: &mut Results<'_>,
    ) {
        if waiting.is_uncertain {
            self.with_call(waiting.call, |call| {
                call.answer(at, None);
                call.response_gap();
            });
        }
        self.end_call(at, waiting.call, ending, results.stats, results.out);
    }

    fn lose_events(&mut self, socket: &mut Socket) {
        socket.lose_events();
        for open in &socket.open {
            self.with_call(open.call, OpenCall::response_gap);
        }
    }
}

/// Whether calls may pass by without a trace: neither what is asked for nor what is answered can be
/// read.
fn is_blind(socket: &Socket) -> bool {
    let is_request_lost = if socket.api.create.is_some() {
        socket.is_client_lost
    } else {
        socket.open.is_empty()
    };
    socket.is_server_lost && is_request_lost
}
