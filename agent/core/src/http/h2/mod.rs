//! HTTP/2 (RFC 9113): many exchanges at once, one stream each, seen by an observer that may come
//! late and miss bytes.
//!
//! A gap in the data of a stream costs that stream alone. One that hides the beginning of a frame
//! costs its direction the place: the next frame is [searched](search), what the header table
//! held is unknown from then on, and every stream that may have had data in the gap is told so.
//! Heads are decoded as far as that is certain; of the rest, method and path are empty.

mod field;
mod frame;
mod hpack;
mod lane;
mod search;

use std::collections::BTreeMap;
use std::time::Duration;

use super::body::{Coding, Content};
use super::conversation::Surroundings;
use super::exchange::{Exchange, Half, Method};
use super::{BodyEnd, Dismissal, ExchangeId, HttpEvent, ResponseHead, Role};
use crate::event::{ConnId, Direction, Plaintext, Timestamp};
use field::Sender;
use frame::{Framer, GapIn, Header, Part, flag, kind};
use lane::{Block, Lane, State};
use search::Found;
pub(super) use search::Search;

/// LIMIT: two minutes without a byte, after which a stream whose end may have been in a gap is
/// given up: the longest pause in a reply that clients wait for without an answer of any kind.
const TORN_IDLE: Duration = Duration::from_secs(120);

/// LIMIT: while searching, a stream can be this far beyond the highest one seen: 32,768 exchanges
/// in one gap.
const STREAMS_AHEAD: u32 = 1 << 16;

/// LIMIT: while searching where no stream was seen yet, streams up to 2 to the 24: eight million
/// exchanges on one connection.
const STREAMS_AT_ALL: u32 = 1 << 24;

/// An exchange that is not over.
struct Stream {
    exchange: Exchange,
    /// When anything of it was last seen.
    touched: Timestamp,
    /// True if a part of the request, its end perhaps, was lost with the boundary of frames.
    is_request_torn: bool,
    /// The same of the response.
    is_response_torn: bool,
}

/// What a connection needs to tell its exchanges from others.
pub(super) struct Numbering<'a> {
    pub(super) conn: ConnId,
    /// Exchanges begun, which is the number of the next one.
    pub(super) begun: &'a mut u64,
}

/// The two directions of a connection, and the exchanges in them.
pub(super) struct Streams {
    /// `None` until something tells which direction carries the requests.
    role: Option<Role>,
    written: Lane,
    read: Lane,
    open: BTreeMap<u32, Stream>,
    /// Highest stream of which a request was seen.
    highest_request: u32,
    /// Highest stream of which any frame was seen.
    highest: u32,
    /// Whether streams are open whose end may have been missed.
    has_torn: bool,
}

impl Streams {
    /// Starts with the client's preface in `direction`; nothing has passed in the other one, or
    /// `there` has looked at it.
    pub(super) fn from_preface(direction: Direction, there: Option<Search>) -> Self {
        let requests = Lane::beginning(Framer::at_preface());
        let responses = there.map_or_else(|| Lane::beginning(Framer::at_frame()), Lane::joining);
        match direction {
            Direction::Written => Self::new(Some(Role::Client), requests, responses),
            Direction::Read => Self::new(Some(Role::Server), responses, requests),
        }
    }

    /// Starts with the server's settings in `direction`, before anything of the client was seen.
    pub(super) const fn from_settings(direction: Direction) -> Self {
        let requests = Lane::beginning(Framer::at_preface());
        let responses = Lane::beginning(Framer::at_frame());
        match direction {
            Direction::Written => Self::new(Some(Role::Server), responses, requests),
            Direction::Read => Self::new(Some(Role::Client), requests, responses),
        }
    }

    const fn new(role: Option<Role>, written: Lane, read: Lane) -> Self {
        Self {
            role,
            written,
            read,
            open: BTreeMap::new(),
            highest_request: 0,
            highest: 0,
            has_torn: false,
        }
    }

    /// Takes the bytes of a call on a connection of which nothing is known; where they show that
    /// it carries frames, gives the bytes from the first one on.
    pub(super) fn join(
        here: &mut Search,
        direction: Direction,
        bytes: &[u8],
        there: impl FnOnce() -> Search,
    ) -> Option<(Self, Plaintext)> {
        let found = here.push(bytes, STREAMS_AT_ALL)?;
        let here = Lane::joining(Search::midway());
        let there = Lane::joining(there());
        let mut streams = match direction {
            Direction::Written => Self::new(None, here, there),
            Direction::Read => Self::new(None, there, here),
        };
        let bytes = streams.resume(direction, found);
        Some((streams, bytes))
    }

    /// Whether an exchange, or the rest of a head, is waited for.
    pub(super) fn is_waiting(&self) -> bool {
        !self.open.is_empty()
            || self.written.decoder.partial_bytes() + self.read.decoder.partial_bytes() > 0
    }

    /// Bytes held back in both directions, with those of the header tables.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.written.held_bytes() + self.read.held_bytes()
    }

    /// Takes bytes; says if the connection cannot be read any further.
    pub(super) fn bytes(
        &mut self,
        at: Timestamp,
        mut numbering: Numbering<'_>,
        direction: Direction,
        mut bytes: Plaintext,
        around: &mut Surroundings<'_>,
    ) -> Option<Dismissal> {
        if self.has_torn {
            self.forget_torn(at, around);
        }
        loop {
            let highest = match self.highest {
                0 => STREAMS_AT_ALL,
                highest => highest.saturating_add(STREAMS_AHEAD),
            };
            match &mut self.lane(direction).state {
                State::Lost(search) => {
                    let Some(found) = search.push(&bytes, highest) else {
                        let is_over = search.passed() > around.limits.undecided_bytes;
                        return is_over.then_some(Dismissal::Lost);
                    };
                    bytes = self.resume(direction, found);
                }
                State::Framed(framer) => {
                    let part = framer.next(&mut bytes)?;
                    let header = framer.header();
                    let is_understood =
                        self.part(at, &mut numbering, direction, &header, part, around);
                    if is_understood {
                        continue;
                    }
                    if !self.lane(direction).is_found {
                        return Some(Dismissal::Ambiguous);
                    }
                    // What looked like frames was none. The rest of the call is passed by: to look
                    // again from here on could repeat itself for each of its bytes.
                    self.lose(at, direction, around);
                    return None;
                }
            }
        }
    }

    /// Takes a gap; says if the connection cannot be read any further.
    pub(super) fn gap(
        &mut self,
        at: Timestamp,
        numbering: Numbering<'_>,
        direction: Direction,
        bytes: u64,
        around: &mut Surroundings<'_>,
    ) -> Option<Dismissal> {
        let lane = self.lane(direction);
        let framer = match &mut lane.state {
            State::Lost(search) => {
                search.gap();
                return None;
            }
            State::Framed(framer) => framer,
        };
        let gap = framer.gap(bytes);
        let header = framer.header();
        match gap {
            GapIn::Boundary => {
                self.lose(at, direction, around);
                return None;
            }
            GapIn::Data(bytes) => self.data_gap(at, direction, header.stream, bytes, around),
            GapIn::Block => lane.break_block(&header),
            GapIn::Settings => self.lane(direction.opposite()).decoder.allow_any(),
            GapIn::Nothing => {}
        }
        // The gap may have reached the end of the frame.
        self.bytes(at, numbering, direction, Plaintext::default(), around)
    }

    /// Gives up what is waited for.
    pub(super) fn give_up(&mut self, at: Timestamp, around: &mut Surroundings<'_>) {
        self.stop_all(at, BodyEnd::Cut, around);
        for lane in [&mut self.written, &mut self.read] {
            if lane.decoder.partial_bytes() > 0 {
                lane.decoder.lose();
                if let Some(block) = &mut lane.block {
                    block.is_broken = true;
                }
            }
        }
    }

    /// Ends all exchanges that are open.
    pub(super) fn stop_all(&mut self, at: Timestamp, end: BodyEnd, around: &mut Surroundings<'_>) {
        // Streams are numbered upwards, so they are in the order of their exchanges.
        for stream in std::mem::take(&mut self.open).into_values() {
            stream.exchange.stop(at, end, around);
        }
        self.has_torn = false;
    }

    const fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::Written => &mut self.written,
            Direction::Read => &mut self.read,
        }
    }

    fn carries_requests(&self, direction: Direction) -> Option<bool> {
        self.role.map(|role| match role {
            Role::Client => direction == Direction::Written,
            Role::Server => direction == Direction::Read,
        })
    }

    /// Whose side the process is on, as far as that is known.
    pub(super) const fn role(&self) -> Option<Role> {
        self.role
    }

    /// Something tells who sends in `direction`. The first word counts.
    fn tell(&mut self, direction: Direction, sender: Sender) {
        let role = match (sender, direction) {
            (Sender::Client, Direction::Written) | (Sender::Server, Direction::Read) => {
                Role::Client
            }
            (Sender::Client, Direction::Read) | (Sender::Server, Direction::Written) => {
                Role::Server
            }
            (Sender::Unknown, _) => return,
        };
        self.role.get_or_insert(role);
    }

    /// Goes on where frames were found.
    fn resume(&mut self, direction: Direction, found: Found) -> Plaintext {
        let lane = self.lane(direction);
        lane.begins = found.begins;
        if found.is_preface {
            lane.state = State::Framed(Framer::at_preface());
            lane.decoder.start();
            // Nothing can have passed in the other direction that belongs to another connection.
            let other = self.lane(direction.opposite());
            if other.begins && !other.has_blocks {
                other.decoder.start();
            }
            self.tell(direction, Sender::Client);
        } else {
            lane.state = State::Framed(Framer::at_frame());
            lane.is_found = true;
        }
        found.bytes.into()
    }

    /// Takes one part of a frame; false if it is none that a peer accepts.
    fn part(
        &mut self,
        at: Timestamp,
        numbering: &mut Numbering<'_>,
        direction: Direction,
        header: &Header,
        part: Part,
        around: &mut Surroundings<'_>,
    ) -> bool {
        match part {
            Part::Begin => return self.begin(at, direction, header, around),
            Part::Content(bytes) if header.kind == kind::DATA => {
                self.data(at, direction, header.stream, bytes, around);
            }
            Part::Content(bytes) => self.lane(direction).fragment(&bytes),
            Part::Setting { id, value } => {
                if id == frame::SETTINGS_HEADER_TABLE_SIZE {
                    self.lane(direction.opposite()).decoder.allow(value);
                }
            }
            Part::End => match header.kind {
                kind::DATA if header.has(flag::END_STREAM) => {
                    self.half_over(at, direction, header.stream, around);
                }
                kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION
                    if header.has(flag::END_HEADERS) =>
                {
                    if let Some(block) = self.lane(direction).end_block() {
                        self.block(at, numbering, direction, block, around);
                    }
                }
                kind::RST_STREAM => {
                    let end = match self.carries_requests(direction) {
                        Some(true) => BodyEnd::GivenUp(Role::Client),
                        Some(false) => BodyEnd::GivenUp(Role::Server),
                        None => BodyEnd::Cut,
                    };
                    self.stop(at, header.stream, end, around);
                }
                _ => {}
            },
            Part::Violation => return false,
        }
        true
    }

    fn begin(
        &mut self,
        at: Timestamp,
        direction: Direction,
        header: &Header,
        around: &mut Surroundings<'_>,
    ) -> bool {
        let lane = self.lane(direction);
        match &lane.block {
            Some(block) if !block.goes_on_with(header) => return false,
            None if header.kind == kind::CONTINUATION => return false,
            Some(_) | None => {}
        }
        match header.kind {
            kind::HEADERS | kind::PUSH_PROMISE => {
                lane.block = Some(Block::new(header));
                lane.has_blocks = true;
                // RFC 9113, sections 5.3 and 8.4: only clients give priorities, only servers push.
                if header.kind == kind::PUSH_PROMISE {
                    self.tell(direction, Sender::Server);
                } else if header.has(flag::PRIORITY) {
                    self.tell(direction, Sender::Client);
                }
            }
            kind::GOAWAY => {
                let State::Framed(framer) = &lane.state else {
                    return true;
                };
                let last = framer.named_stream();
                if self.carries_requests(direction) == Some(false) {
                    self.go_away(at, last, around);
                }
            }
            _ => {}
        }
        self.highest = self.highest.max(header.stream);
        true
    }

    fn block(
        &mut self,
        at: Timestamp,
        numbering: &mut Numbering<'_>,
        direction: Direction,
        block: Block,
        around: &mut Surroundings<'_>,
    ) {
        if block.is_promise {
            return;
        }
        self.tell(direction, block.fields.sender());
        let sender = block.fields.sender();
        match self.carries_requests(direction) {
            Some(true) if sender != Sender::Server => {
                self.request_block(at, numbering, block, around);
            }
            Some(false) if sender != Sender::Client => self.response_block(at, block, around),
            Some(_) | None => {}
        }
    }

    fn request_block(
        &mut self,
        at: Timestamp,
        numbering: &mut Numbering<'_>,
        block: Block,
        around: &mut Surroundings<'_>,
    ) {
        let stream = block.stream;
        if self.open.contains_key(&stream) {
            if block.ends_stream {
                self.request_over(at, stream, around);
            }
            return;
        }
        // RFC 9113, section 5.1.1: clients number their streams upwards, in odd numbers. What is
        // below belongs to a stream that is over.
        if stream.is_multiple_of(2) || stream <= self.highest_request {
            return;
        }
        self.highest_request = stream;
        let mut fields = block.fields;
        fields.has_unknown |= block.is_broken;
        if !fields.is_head(block.ends_stream) {
            return;
        }
        if self.open.len() >= around.limits.waiting {
            self.forget_oldest_torn(at, around);
        }
        if fields.is_over_limit() || self.open.len() >= around.limits.waiting {
            around.stats.streams_refused += 1;
            return;
        }
        let id = ExchangeId {
            conn: numbering.conn,
            number: *numbering.begun,
        };
        *numbering.begun += 1;
        around.stats.exchanges += 1;
        around.stats.heads_unread += u64::from(fields.has_unknown);
        let role = self.role.unwrap_or(Role::Client);
        if role == Role::Server {
            around.stats.exchanges_server_side += 1;
        }
        let coding = fields.coding();
        let head = fields.into_request();
        let exchange = Exchange {
            id,
            method: match head.method.as_str() {
                "HEAD" => Method::Head,
                "CONNECT" => Method::Connect,
                _ => Method::Other,
            },
            request: Half::Body(Content::new(coding, around.memory)),
            response: Half::Awaited,
        };
        let is_response_torn = {
            let responses = match role {
                Role::Client => &self.read,
                Role::Server => &self.written,
            };
            matches!(responses.state, State::Lost(_))
        };
        self.has_torn |= is_response_torn;
        self.open.insert(
            stream,
            Stream {
                exchange,
                touched: at,
                is_request_torn: false,
                is_response_torn,
            },
        );
        around.out.push(HttpEvent::Request { at, id, role, head });
        if block.ends_stream {
            self.request_over(at, stream, around);
        }
    }

    fn response_block(&mut self, at: Timestamp, block: Block, around: &mut Surroundings<'_>) {
        let number = block.stream;
        let Some(stream) = self.open.get_mut(&number) else {
            return;
        };
        stream.touched = at;
        match stream.exchange.response {
            Half::Awaited => {}
            Half::Body(_) => {
                if block.ends_stream {
                    self.response_over(at, number, around);
                }
                return;
            }
            Half::Over(_) => return,
        }
        let mut fields = block.fields;
        fields.has_unknown |= block.is_broken;
        let status = fields.status;
        let is_interim = status.is_some_and(|status| status < 200);
        if is_interim && !block.ends_stream {
            return;
        }
        // A head without a status is malformed, and so is an end behind an interim one.
        if is_interim || fields.is_over_limit() || status.is_none() && !fields.has_unknown {
            around.stats.streams_refused += u64::from(fields.is_over_limit());
            self.stop(at, number, BodyEnd::Refused, around);
            return;
        }
        let status = status.unwrap_or(0);
        let exchange = &mut stream.exchange;
        let is_tunnel = exchange.method == Method::Connect && (200..300).contains(&status);
        let is_bare = exchange.method == Method::Head || matches!(status, 204 | 304) || is_tunnel;
        let coding = if is_bare {
            Coding::Identity
        } else {
            fields.coding()
        };
        exchange.response = Half::Body(Content::new(coding, around.memory));
        around.out.push(HttpEvent::Response {
            at,
            id: exchange.id,
            head: ResponseHead {
                status,
                headers: fields.headers,
            },
        });
        if is_tunnel {
            // What follows on the stream is no content of this exchange (RFC 9113, section 8.5, and
            // RFC 8441).
            around.stats.tunnels += 1;
            exchange.stop_request(at, BodyEnd::Cut, around);
        }
        if is_tunnel || block.ends_stream {
            self.response_over(at, number, around);
        }
    }

    fn data(
        &mut self,
        at: Timestamp,
        direction: Direction,
        number: u32,
        bytes: Plaintext,
        around: &mut Surroundings<'_>,
    ) {
        let is_request = self.carries_requests(direction) == Some(true);
        let Some(stream) = self.open.get_mut(&number) else {
            return;
        };
        stream.touched = at;
        let exchange = &mut stream.exchange;
        let id = exchange.id;
        if is_request {
            if let Half::Body(content) = &mut exchange.request {
                content.push(bytes, |bytes| {
                    around.out.push(HttpEvent::RequestBody { id, bytes });
                });
            }
            return;
        }
        match &mut exchange.response {
            Half::Body(content) => content.push(bytes, |bytes| {
                around.out.push(HttpEvent::ResponseBody { at, id, bytes });
            }),
            Half::Awaited => self.has_no_head(at, number, around),
            Half::Over(_) => {}
        }
    }

    /// A response that goes on or ends without its head: that was in a gap, or there is none.
    fn has_no_head(&mut self, at: Timestamp, number: u32, around: &mut Surroundings<'_>) {
        let is_torn = self
            .open
            .get(&number)
            .is_some_and(|stream| stream.is_response_torn);
        let end = if is_torn {
            BodyEnd::Lost
        } else {
            BodyEnd::Refused
        };
        self.stop(at, number, end, around);
    }

    fn data_gap(
        &mut self,
        at: Timestamp,
        direction: Direction,
        number: u32,
        bytes: u32,
        around: &mut Surroundings<'_>,
    ) {
        let is_request = self.carries_requests(direction) == Some(true);
        if let Some(stream) = self.open.get_mut(&number) {
            stream.touched = at;
            stream.gap(is_request, bytes, around);
        }
    }

    /// The flag says that no more comes of a stream in a direction.
    fn half_over(
        &mut self,
        at: Timestamp,
        direction: Direction,
        stream: u32,
        around: &mut Surroundings<'_>,
    ) {
        match self.carries_requests(direction) {
            Some(true) => self.request_over(at, stream, around),
            Some(false) => self.response_over(at, stream, around),
            None => {}
        }
    }

    fn request_over(&mut self, at: Timestamp, number: u32, around: &mut Surroundings<'_>) {
        if let Some(stream) = self.open.get_mut(&number)
            && !stream.exchange.request.is_over()
        {
            stream.touched = at;
            stream.is_request_torn = false;
            stream.exchange.complete_request(at, around);
            self.sweep(at, number, around);
        }
    }

    fn response_over(&mut self, at: Timestamp, number: u32, around: &mut Surroundings<'_>) {
        let Some(stream) = self.open.get_mut(&number) else {
            return;
        };
        match stream.exchange.response {
            Half::Body(_) => stream
                .exchange
                .complete_response(at, Content::complete, around),
            Half::Awaited => {
                self.has_no_head(at, number, around);
                return;
            }
            Half::Over(_) => return,
        }
        stream.touched = at;
        stream.is_response_torn = false;
        // A server may answer before it has read all, but the end of a torn request may never come.
        if stream.is_request_torn {
            stream.exchange.stop_request(at, BodyEnd::Lost, around);
        }
        self.sweep(at, number, around);
    }

    /// Lets go of an exchange that is over. A response that ended before its request is held until
    /// that ends, too.
    fn sweep(&mut self, at: Timestamp, number: u32, around: &mut Surroundings<'_>) {
        let is_over = self.open.get(&number).is_some_and(|stream| {
            stream.exchange.request.is_over() && stream.exchange.response.is_over()
        });
        if is_over {
            self.stop(at, number, BodyEnd::Complete, around);
        }
    }

    /// Ends an exchange, as far as it is not over.
    fn stop(&mut self, at: Timestamp, number: u32, end: BodyEnd, around: &mut Surroundings<'_>) {
        if let Some(stream) = self.open.remove(&number) {
            stream.exchange.stop(at, end, around);
        }
    }

    /// The server will not answer the streams beyond `last` (RFC 9113, section 6.8).
    fn go_away(&mut self, at: Timestamp, last: u32, around: &mut Surroundings<'_>) {
        for (_, stream) in self.open.split_off(&last.saturating_add(1)) {
            stream.exchange.stop(at, BodyEnd::Cut, around);
        }
    }

    /// A loss may have hidden frames of any stream.
    fn lose(&mut self, at: Timestamp, direction: Direction, around: &mut Surroundings<'_>) {
        around.stats.steps_lost += 1;
        self.lane(direction).lose();
        let Some(is_request) = self.carries_requests(direction) else {
            return;
        };
        let mut ended = Vec::new();
        for (number, stream) in &mut self.open {
            stream.tear(is_request, around);
            if stream.is_request_torn && stream.exchange.response.is_over() {
                ended.push(*number);
            }
        }
        for number in ended {
            self.stop(at, number, BodyEnd::Lost, around);
        }
        self.has_torn |= !self.open.is_empty();
    }

    /// Gives up the streams whose end may have been missed and that are silent.
    fn forget_torn(&mut self, at: Timestamp, around: &mut Surroundings<'_>) {
        let is_torn = |stream: &Stream| stream.is_request_torn || stream.is_response_torn;
        let stale: Vec<u32> = self
            .open
            .iter()
            .filter(|(_, stream)| is_torn(stream) && stream.touched + TORN_IDLE <= at)
            .map(|(number, _)| *number)
            .collect();
        for number in stale {
            self.stop(at, number, BodyEnd::Lost, around);
        }
        self.has_torn = self.open.values().any(is_torn);
    }

    /// Makes room: a stream whose end may have been missed is the likeliest to be over.
    fn forget_oldest_torn(&mut self, at: Timestamp, around: &mut Surroundings<'_>) {
        let torn = self
            .open
            .iter()
            .filter(|(_, stream)| stream.is_request_torn || stream.is_response_torn);
        let oldest = torn.min_by_key(|(number, stream)| (stream.touched, **number));
        if let Some(number) = oldest.map(|(number, _)| *number) {
            self.stop(at, number, BodyEnd::Lost, around);
        }
    }
}

impl Stream {
    /// Bytes of one half are missing here: as many as said, 0 if that is not known.
    fn gap(&mut self, is_request: bool, bytes: u32, around: &mut Surroundings<'_>) {
        let id = self.exchange.id;
        let bytes = u64::from(bytes);
        let half = if is_request {
            &mut self.exchange.request
        } else {
            &mut self.exchange.response
        };
        if let Half::Body(content) = half
            && content.gap()
        {
            around.out.push(if is_request {
                HttpEvent::RequestGap { id, bytes }
            } else {
                HttpEvent::ResponseGap { id, bytes }
            });
        }
    }

    /// Anything may be missing of one half, its end as well.
    fn tear(&mut self, is_request: bool, around: &mut Surroundings<'_>) {
        let (half, is_torn) = if is_request {
            (&self.exchange.request, &mut self.is_request_torn)
        } else {
            (&self.exchange.response, &mut self.is_response_torn)
        };
        if !half.is_over() {
            *is_torn = true;
            self.gap(is_request, 0, around);
        }
    }
}
