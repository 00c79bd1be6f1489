//! HTTP/1: the two directions of a connection whose role is known, and the exchanges in them.

use std::collections::VecDeque;

use super::body::{Coding, Content};
use super::conversation::{Surroundings, Unread, wide};
use super::exchange::{Exchange, Half, Method};
use super::h1::{Framer, GapIn, Head, Length, Part, Side, Start};
use super::ws::WebSocket;
use super::{BodyEnd, Dismissal, ExchangeId, HttpEvent, RequestHead, ResponseHead, Role};
use crate::event::{ConnId, Direction, Plaintext, Timestamp};
use crate::stats::Stats;

/// A direction of a connection whose role is known.
enum Line {
    /// In step with the peer.
    Framed(Framer),
    /// A message may begin here: bytes at the start of a segment that look like one.
    Tried(Framer),
    /// The framing is lost: waiting for a segment that begins with a message.
    Lost,
}

impl Line {
    /// What was tried is a message.
    fn find(&mut self) {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Framed(framer) | Self::Tried(framer) => Self::Framed(framer),
            Self::Lost => Self::Lost,
        };
    }

    fn buffered_bytes(&self) -> usize {
        match self {
            Self::Framed(framer) | Self::Tried(framer) => framer.buffered_bytes(),
            Self::Lost => 0,
        }
    }

    /// What comes next has no known place.
    fn lose(&mut self, stats: &mut Stats) {
        stats.steps_lost += u64::from(matches!(self, Self::Framed(_)));
        *self = Self::Lost;
    }
}

/// A connection whose role is known.
pub(super) struct Talk {
    role: Role,
    /// Bytes written and read that belong to no message, as long as the role rests on the first
    /// words of what looked like a request somewhere in a connection. The end of that line tells.
    presumed: Option<[u64; 2]>,
    requests: Line,
    responses: Line,
    /// Exchanges that are not over, in order; only the last one's request can be unfinished.
    open: VecDeque<Exchange>,
    /// Whether a request was sent while another one waited for its response.
    pipelining: Pipelining,
    /// What the connection became, and the bytes behind the head that said so.
    upgrade: Option<(WebSocket, Plaintext)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pipelining {
    NotSeen,
    Seen,
}

impl Talk {
    /// Starts with what looks like a message of `side` in `direction`, at the start of the
    /// connection if `is_start`. A direction of which something was missed or skipped is out of
    /// step.
    pub(super) fn new(
        side: Side,
        direction: Direction,
        is_start: bool,
        here: &Unread,
        there: &Unread,
    ) -> Self {
        let role = match (side, direction) {
            (Side::Requests, Direction::Written) | (Side::Responses, Direction::Read) => {
                Role::Client
            }
            (Side::Requests, Direction::Read) | (Side::Responses, Direction::Written) => {
                Role::Server
            }
        };
        let passed = match direction {
            Direction::Written => [here.passed(), there.passed()],
            Direction::Read => [there.passed(), here.passed()],
        };
        let (requests, responses, presumed) = match side {
            Side::Requests => {
                let responses = Framer::new(Side::Responses);
                let framer = Framer::new(Side::Requests);
                (
                    if here.is_fresh() {
                        Line::Framed(framer)
                    } else {
                        Line::Tried(framer)
                    },
                    if there.passed() == 0 {
                        Line::Framed(responses)
                    } else {
                        Line::Lost
                    },
                    (!is_start).then_some(passed),
                )
            }
            // The request of this response was missed.
            Side::Responses => (Line::Lost, Line::Lost, None),
        };
        Self {
            role,
            presumed,
            requests,
            responses,
            open: VecDeque::new(),
            pipelining: Pipelining::NotSeen,
            upgrade: None,
        }
    }

    /// Whether both directions are followed from a place that is known to begin a message.
    pub(super) const fn is_in_step(&self) -> bool {
        matches!(
            (&self.requests, &self.responses),
            (Line::Framed(_), Line::Framed(_))
        )
    }

    /// Whether an exchange is not over.
    pub(super) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Bytes held back in both directions.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.requests.buffered_bytes() + self.responses.buffered_bytes()
    }

    /// Takes bytes; says if the connection cannot be read any further.
    pub(super) fn bytes(
        &mut self,
        at: Timestamp,
        conn: ConnId,
        begun: &mut u64,
        direction: Direction,
        bytes: Plaintext,
        around: &mut Surroundings<'_>,
    ) -> Option<Dismissal> {
        if let Some([written, read]) = &mut self.presumed {
            let passed = match direction {
                Direction::Written => written,
                Direction::Read => read,
            };
            *passed = passed.saturating_add(wide(bytes.len()));
        }
        if self.carries_requests(direction) {
            self.request_bytes(at, conn, begun, bytes, around)
        } else {
            self.response_bytes(at, bytes, around)
        }
    }

    /// Takes a gap; says if the connection cannot be read any further.
    pub(super) fn gap(
        &mut self,
        at: Timestamp,
        direction: Direction,
        bytes: u64,
        around: &mut Surroundings<'_>,
    ) -> Option<Dismissal> {
        if self.carries_requests(direction) {
            self.request_gap(at, bytes, around)
        } else {
            self.response_gap(at, bytes, around)
        }
    }

    /// Bytes that passed by in each direction, if what looked like the first request was none, so
    /// that even the role is not known.
    pub(super) const fn misread(&self) -> Option<[u64; 2]> {
        match &self.requests {
            Line::Lost => self.presumed,
            Line::Framed(_) | Line::Tried(_) => None,
        }
    }

    /// The WebSocket that the connection became, once, and the first bytes that its server sent.
    pub(super) const fn upgrade(&mut self) -> Option<(WebSocket, Plaintext)> {
        self.upgrade.take()
    }

    /// Gives up what is waited for; says if the connection cannot be read any further.
    pub(super) fn give_up(
        &mut self,
        at: Timestamp,
        around: &mut Surroundings<'_>,
    ) -> Option<Dismissal> {
        let held = self.buffered_bytes();
        let awaited = self.has_awaited();
        self.stop_all(at, BodyEnd::Cut, around);
        if self.requests.buffered_bytes() > 0 {
            self.requests.lose(around.stats);
        }
        // A response that comes after all must not answer a later request.
        (awaited || held > 0)
            .then(|| self.lose(at, around))
            .flatten()
    }

    fn carries_requests(&self, direction: Direction) -> bool {
        match self.role {
            Role::Client => direction == Direction::Written,
            Role::Server => direction == Direction::Read,
        }
    }

    fn request_bytes(
        &mut self,
        at: Timestamp,
        conn: ConnId,
        begun: &mut u64,
        mut bytes: Plaintext,
        around: &mut Surroundings<'_>,
    ) -> Option<Dismissal> {
        if matches!(self.requests, Line::Lost) && !bytes.is_empty() {
            self.requests = Line::Tried(Framer::new(Side::Requests));
        }
        loop {
            let (Line::Framed(framer) | Line::Tried(framer)) = &mut self.requests else {
                return None;
            };
            match framer.next(&mut bytes)? {
                Part::Head(head) => {
                    let length = head.length;
                    framer.begin(length);
                    self.requests.find();
                    let number = *begun;
                    *begun += 1;
                    if let Some(why) =
                        self.open_exchange(at, ExchangeId { conn, number }, head, around)
                    {
                        return Some(why);
                    }
                }
                Part::Body(body) => {
                    if let Some(Exchange {
                        id,
                        request: Half::Body(content),
                        ..
                    }) = self.open.back_mut()
                    {
                        let id = *id;
                        content.push(body, |bytes| {
                            around.out.push(HttpEvent::RequestBody { id, bytes });
                        });
                    }
                }
                Part::End => self.request_over(at, around),
                Part::NoMessage | Part::BadHead(_) if matches!(self.requests, Line::Tried(_)) => {
                    self.requests = Line::Lost;
                    return None;
                }
                Part::NoMessage if self.presumed.is_some() => {
                    self.requests.lose(around.stats);
                    return None;
                }
                Part::NoMessage if *begun == 0 => return Some(Dismissal::NotHttp),
                Part::NoMessage => return Some(Dismissal::Ambiguous),
                Part::BadHead(why) | Part::BadFraming(why) => return Some(why),
            }
        }
    }

    fn open_exchange(
        &mut self,
        at: Timestamp,
        id: ExchangeId,
        head: Head,
        around: &mut Surroundings<'_>,
    ) -> Option<Dismissal> {
        let Start::Request {
            method,
            path,
            model,
            scheme,
        } = head.start
        else {
            return Some(Dismissal::Ambiguous);
        };
        if !matches!(self.responses, Line::Framed(_)) {
            // The responses of earlier requests passed by while nothing could be read.
            self.stop_all(at, BodyEnd::Lost, around);
            self.responses = Line::Lost;
        }
        self.presumed = None;
        if self.open.len() >= around.limits.waiting {
            return Some(Dismissal::OverLimit);
        }
        around.stats.exchanges += 1;
        if self.role == Role::Server {
            around.stats.exchanges_server_side += 1;
        }
        let kind = match method.as_str() {
            "HEAD" => Method::Head,
            "CONNECT" => Method::Connect,
            _ => Method::Other,
        };
        let request = Half::Body(Content::new(head.coding, around.memory));
        self.open.push_back(Exchange {
            id,
            method: kind,
            request,
            response: Half::Awaited,
        });
        let head = RequestHead {
            method,
            path,
            model,
            scheme,
            headers: head.headers,
        };
        around.out.push(HttpEvent::Request {
            at,
            id,
            role: self.role,
            head,
        });
        None
    }

    fn request_over(&mut self, at: Timestamp, around: &mut Surroundings<'_>) {
        if let Some(exchange) = self.open.back_mut() {
            exchange.complete_request(at, around);
        }
        self.sweep(at, around);
    }

    fn request_gap(
        &mut self,
        at: Timestamp,
        bytes: u64,
        around: &mut Surroundings<'_>,
    ) -> Option<Dismissal> {
        let gap = match &mut self.requests {
            Line::Framed(framer) => framer.gap(bytes),
            Line::Tried(_) | Line::Lost => GapIn::Framing,
        };
        if gap == GapIn::Framing {
            self.requests.lose(around.stats);
            return self.lose(at, around);
        }
        if let Some(Exchange {
            id,
            request: Half::Body(content),
            ..
        }) = self.open.back_mut()
            && content.gap()
        {
            around.out.push(HttpEvent::RequestGap { id: *id, bytes });
        }
        // The gap may have reached the end of the message.
        if let Line::Framed(framer) = &mut self.requests
            && let Some(Part::End) = framer.next(&mut Plaintext::default())
        {
            self.request_over(at, around);
        }
        None
    }

    fn response_bytes(
        &mut self,
        at: Timestamp,
        mut bytes: Plaintext,
        around: &mut Surroundings<'_>,
    ) -> Option<Dismissal> {
        match &self.responses {
            Line::Lost if self.has_awaited() => {
                self.responses = Line::Tried(Framer::new(Side::Responses));
            }
            Line::Lost => return None,
            Line::Framed(_) => {
                if self
                    .open
                    .iter()
                    .filter(|exchange| !exchange.response.is_over())
                    .count()
                    > 1
                {
                    self.pipelining = Pipelining::Seen;
                }
            }
            Line::Tried(_) => {}
        }
        loop {
            let has_awaited = self.has_awaited();
            let (Line::Framed(framer) | Line::Tried(framer)) = &mut self.responses else {
                return None;
            };
            if framer.at_start() && !bytes.is_empty() && !has_awaited {
                // A response that nobody asked for: its request was missed, or the peer says
                // farewell (408). It must not answer the next request.
                self.responses.lose(around.stats);
                return None;
            }
            match framer.next(&mut bytes)? {
                Part::Head(head) => {
                    if let Some(why) = self.response_head(at, head, around) {
                        return Some(why);
                    }
                    if let Some((_, rest)) = &mut self.upgrade {
                        *rest = bytes;
                        return None;
                    }
                }
                Part::Body(body) => {
                    if let Some((id, content)) = self.answering() {
                        content.push(body, |bytes| {
                            around.out.push(HttpEvent::ResponseBody { at, id, bytes });
                        });
                    }
                }
                Part::End => self.response_over(at, around),
                Part::NoMessage | Part::BadHead(_) if matches!(self.responses, Line::Tried(_)) => {
                    self.responses = Line::Lost;
                    return None;
                }
                Part::NoMessage => return Some(Dismissal::Ambiguous),
                Part::BadHead(why) | Part::BadFraming(why) => return Some(why),
            }
        }
    }

    fn response_head(
        &mut self,
        at: Timestamp,
        head: Head,
        around: &mut Surroundings<'_>,
    ) -> Option<Dismissal> {
        let Start::Response { status, websocket } = head.start else {
            return Some(Dismissal::Ambiguous);
        };
        let (Line::Framed(mut framer) | Line::Tried(mut framer)) =
            std::mem::replace(&mut self.responses, Line::Lost)
        else {
            return None;
        };
        let awaited = |exchange: &&mut Exchange| matches!(exchange.response, Half::Awaited);
        // The exchange may have been given up while the head arrived.
        let exchange = self.open.iter_mut().find(awaited)?;
        let is_interim = (100..200).contains(&status) && status != 101;
        if is_interim {
            // RFC 9110, section 15.2: the final response is still to come.
            self.responses = Line::Framed(Framer::new(Side::Responses));
            return None;
        }
        let is_tunnel = exchange.method == Method::Connect && (200..300).contains(&status);
        let is_upgrade = status == 101 || is_tunnel;
        let is_bare = exchange.method == Method::Head || matches!(status, 204 | 304) || is_upgrade;
        let length = match head.length {
            _ if is_bare => Length::Bytes(0),
            Length::Unsaid => Length::UntilClose,
            length @ (Length::Bytes(_) | Length::Chunked | Length::UntilClose) => length,
        };
        let coding = if is_bare {
            Coding::Identity
        } else {
            head.coding
        };
        exchange.response = Half::Body(Content::new(coding, around.memory));
        let id = exchange.id;
        let response = ResponseHead {
            status,
            headers: head.headers,
        };
        around.out.push(HttpEvent::Response {
            at,
            id,
            head: response,
        });
        framer.begin(length);
        self.responses = Line::Framed(framer);
        if is_upgrade {
            exchange.stop_request(at, BodyEnd::Cut, around);
        }
        match websocket {
            // RFC 6455, section 4.1: the client waits for the answer before it sends frames.
            Some(agreement) if self.requests.buffered_bytes() == 0 => {
                self.open.retain(|exchange| exchange.id != id);
                self.stop_all(at, BodyEnd::Cut, around);
                around.stats.websockets += 1;
                let socket = WebSocket::new(id, self.role, agreement);
                self.upgrade = Some((socket, Plaintext::default()));
                None
            }
            _ if is_upgrade => {
                self.response_over(at, around);
                Some(if is_tunnel {
                    Dismissal::Tunnel
                } else {
                    Dismissal::Upgraded
                })
            }
            Some(_) | None => None,
        }
    }

    fn response_over(&mut self, at: Timestamp, around: &mut Surroundings<'_>) {
        let answering = |exchange: &&mut Exchange| matches!(exchange.response, Half::Body(_));
        if let Some(exchange) = self.open.iter_mut().find(answering) {
            exchange.complete_response(at, Content::complete, around);
        }
        self.sweep(at, around);
    }

    fn response_gap(
        &mut self,
        at: Timestamp,
        bytes: u64,
        around: &mut Surroundings<'_>,
    ) -> Option<Dismissal> {
        let gap = match &mut self.responses {
            Line::Framed(framer) => framer.gap(bytes),
            // It may hide the response that is being waited for.
            Line::Tried(_) | Line::Lost => GapIn::Framing,
        };
        if gap == GapIn::Framing {
            return self.lose(at, around);
        }
        if let Some((id, content)) = self.answering()
            && content.gap()
        {
            around.out.push(HttpEvent::ResponseGap { id, bytes });
        }
        // The gap may have reached the end of the message.
        if let Line::Framed(framer) = &mut self.responses
            && let Some(Part::End) = framer.next(&mut Plaintext::default())
        {
            self.response_over(at, around);
        }
        None
    }

    /// A loss may have hidden messages, of either side: no open exchange can be followed further.
    fn lose(&mut self, at: Timestamp, around: &mut Surroundings<'_>) -> Option<Dismissal> {
        self.stop_all(at, BodyEnd::Lost, around);
        self.responses.lose(around.stats);
        match self.pipelining {
            Pipelining::NotSeen => None,
            Pipelining::Seen => Some(Dismissal::Ambiguous),
        }
    }

    /// The connection was closed, which is how some responses end.
    pub(super) fn closed(&mut self, at: Timestamp, around: &mut Surroundings<'_>) {
        let (Line::Framed(framer) | Line::Tried(framer)) = &self.responses else {
            return;
        };
        if !framer.is_until_close() {
            return;
        }
        let answering = |exchange: &&mut Exchange| matches!(exchange.response, Half::Body(_));
        if let Some(exchange) = self.open.iter_mut().find(answering) {
            exchange.complete_response(at, Content::closed, around);
        }
        self.sweep(at, around);
    }

    /// Whose side the process is on.
    pub(super) const fn role(&self) -> Role {
        self.role
    }

    /// Ends all exchanges that are open.
    pub(super) fn stop_all(&mut self, at: Timestamp, end: BodyEnd, around: &mut Surroundings<'_>) {
        for exchange in self.open.drain(..) {
            exchange.stop(at, end, around);
        }
    }

    /// Lets go of the exchanges that are over. A response that ended before its request is held
    /// until that ends, too.
    fn sweep(&mut self, at: Timestamp, around: &mut Surroundings<'_>) {
        while let Some(Exchange {
            id,
            request: Half::Over(_),
            response: Half::Over(end),
            ..
        }) = self.open.front()
        {
            around.out.push(HttpEvent::ResponseEnd {
                at,
                id: *id,
                end: *end,
            });
            self.open.pop_front();
        }
    }

    fn has_awaited(&self) -> bool {
        self.open
            .iter()
            .any(|exchange| matches!(exchange.response, Half::Awaited))
    }

    /// The exchange whose response body is being read.
    fn answering(&mut self) -> Option<(ExchangeId, &mut Content)> {
        self.open
            .iter_mut()
            .find_map(|exchange| match &mut exchange.response {
                Half::Body(content) => Some((exchange.id, content)),
                Half::Awaited | Half::Over(_) => None,
            })
    }
}
