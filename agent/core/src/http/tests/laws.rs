//! Laws that hold for whole conversations, cut, mixed and with holes.

use std::collections::BTreeMap;
use std::io::Write as _;

use proptest::prelude::*;

use super::*;
use crate::connection::{Connections, Limits as ConnectionLimits};
use crate::event::Event;

/// One exchange as its two sides mean it. Everything in it tells its number.
#[derive(Clone, Debug)]
struct Meant {
    number: usize,
    has_request_body: bool,
    request_length: usize,
    response_length: usize,
    request_is_chunked: bool,
    response_is_chunked: bool,
    coding: &'static str,
    has_interim: bool,
}

impl Meant {
    fn request_body(&self) -> Vec<u8> {
        if self.has_request_body {
            self.text('A', self.request_length)
        } else {
            Vec::new()
        }
    }

    fn response_body(&self) -> Vec<u8> {
        self.text('a', self.response_length)
    }

    /// Text that holds its number in every byte.
    fn text(&self, first: char, length: usize) -> Vec<u8> {
        vec![first as u8 + u8::try_from(self.number).unwrap(); length]
    }

    fn status(&self) -> usize {
        200 + self.number * 10
    }

    fn request(&self) -> Vec<u8> {
        let method = if self.has_request_body { "POST" } else { "GET" };
        let mut bytes = format!("{method} /{}?q HTTP/1.1\r\nHost: h\r\n", self.number).into_bytes();
        let body = encode(self.coding, &self.request_body());
        if self.has_request_body {
            bytes.extend(framed(self.coding, &body, self.request_is_chunked));
        } else {
            bytes.extend(b"\r\n");
        }
        bytes
    }

    fn responses(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.has_interim {
            bytes.extend(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        bytes.extend(format!("HTTP/1.1 {} OK\r\n", self.status()).into_bytes());
        let body = encode(self.coding, &self.response_body());
        bytes.extend(framed(self.coding, &body, self.response_is_chunked));
        bytes
    }

    fn lines(&self) -> (Vec<String>, Vec<String>) {
        let n = self.number;
        let method = if self.has_request_body { "POST" } else { "GET" };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let mut request = vec![format!("{n} Client {method} /{n}")];
        let mut response = vec![format!("{n} < {}", self.status())];
        if !self.request_body().is_empty() {
            request.push(format!("{n} > {}", text(self.request_body())));
        }
        if !self.response_body().is_empty() {
            response.push(format!("{n} < {}", text(self.response_body())));
        }
        request.push(format!("{n} > Complete"));
        response.push(format!("{n} < Complete"));
        (request, response)
    }
}

pub(super) fn encode(coding: &str, plain: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        "br" => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 512, 1, 16);
            encoder.write_all(plain).unwrap();
            encoder.into_inner()
        }
        "zstd" => zstd::encode_all(plain, 1).unwrap(),
        _ => plain.to_vec(),
    }
}

/// The rest of a head and the body.
fn framed(coding: &str, body: &[u8], is_chunked: bool) -> Vec<u8> {
    let mut bytes = format!("Content-Encoding: {coding}\r\n").into_bytes();
    if is_chunked {
        bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        for chunk in body.chunks(7) {
            bytes.extend(format!("{:x};e=1\r\n", chunk.len()).into_bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\nX-Trailer: 1\r\n\r\n");
    } else {
        bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes());
        bytes.extend(body);
    }
    bytes
}

fn conversation() -> impl Strategy<Value = Vec<Meant>> {
    let coding = prop_oneof![
        3 => Just("identity"),
        1 => Just("gzip"),
        1 => Just("deflate"),
        1 => Just("br"),
        1 => Just("zstd"),
    ];
    let one = (any::<[bool; 4]>(), 0..60usize, 0..90usize, coding);
    proptest::collection::vec(one, 1..6).prop_map(|list| {
        let meant = |(number, (flags, request_length, response_length, coding))| {
            let [
                has_request_body,
                request_is_chunked,
                response_is_chunked,
                has_interim,
            ] = flags;
            Meant {
                number,
                has_request_body,
                request_length,
                response_length,
                request_is_chunked,
                response_is_chunked,
                coding,
                has_interim,
            }
        };
        list.into_iter().enumerate().map(meant).collect()
    })
}

/// Requests wait for the response before them.
fn in_turns(conversation: &[Meant]) -> Vec<Step> {
    conversation
        .iter()
        .flat_map(|meant| [w(meant.request()), r(meant.responses())])
        .collect()
}

/// Cuts the bytes of the steps at the sizes given, used in turn.
pub(super) fn cut(steps: &[Step], sizes: &[usize]) -> Vec<Step> {
    let mut sizes = sizes.iter().copied().cycle();
    let mut pieces = Vec::new();
    for step in steps {
        let Step::Bytes(direction, bytes) = step else {
            pieces.push(step.clone());
            continue;
        };
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(sizes.next().unwrap_or(1).clamp(1, rest.len()));
            pieces.push(Step::Bytes(*direction, piece.to_vec()));
            rest = after;
        }
    }
    pieces
}

pub(super) fn sizes() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(prop_oneof![1..4usize, 1..200usize], 1..20)
}

/// Sends the steps through both stages, without the bytes in the holes, each a direction with
/// the place and length in it.
pub(in crate::http) fn with_holes(
    steps: &[Step],
    holes: &[(Direction, usize, usize)],
) -> Vec<HttpEvent> {
    let mut connections = Connections::new(ConnectionLimits::default());
    let mut http = Http::new(Limits::default());
    let (mut segments, mut out, mut stats) = (Vec::new(), Vec::new(), Stats::default());
    let (mut written, mut read) = (0, 0);
    let mut events = Vec::new();
    for step in steps {
        let Step::Bytes(direction, bytes) = step else {
            continue;
        };
        let place = if *direction == Written {
            &mut written
        } else {
            &mut read
        };
        let is_lost = |index: usize| {
            holes.iter().any(|(hole, from, length)| {
                hole == direction && (*from..from + length).contains(&index)
            })
        };
        let mut run: Vec<u8> = Vec::new();
        for (index, byte) in (*place..).zip(bytes) {
            if !is_lost(index) {
                run.push(*byte);
            }
            let ends = is_lost(index) || is_lost(index + 1) || index + 1 == *place + bytes.len();
            if ends && !run.is_empty() {
                events.push(Event::Chunk {
                    at: at(2),
                    conn: CONN,
                    direction: *direction,
                    offset: (index + 1 - usize::from(is_lost(index)) - run.len()) as u64,
                    during_write: None,
                    rest: 0,
                    bytes: std::mem::take(&mut run).into(),
                });
            }
        }
        *place += bytes.len();
    }
    events.push(Event::Closed {
        at: at(2),
        conn: CONN,
        written: written as u64,
        read: read as u64,
    });
    for event in events {
        connections.handle(&event, &mut stats, &mut segments);
        for segment in segments.drain(..) {
            http.handle(segment, &mut stats, &mut out);
        }
    }
    out
}

/// What came out of one exchange.
#[derive(Default)]
pub(super) struct Found {
    pub(super) path: String,
    pub(super) request: Vec<u8>,
    pub(super) request_gap: u64,
    pub(super) request_end: Option<BodyEnd>,
    pub(super) status: Option<u16>,
    pub(super) response: Vec<u8>,
    pub(super) response_gap: u64,
    pub(super) response_end: Option<BodyEnd>,
    /// Gaps told, of whatever length.
    pub(super) gaps: usize,
}

/// Collects exchanges, and checks that their parts come in order.
pub(super) fn collect(events: &[HttpEvent]) -> Result<BTreeMap<u64, Found>, TestCaseError> {
    let mut found: BTreeMap<u64, Found> = BTreeMap::new();
    let (mut closed, mut dismissed) = (0, 0);
    for event in events {
        prop_assert_eq!(closed, 0, "nothing comes after the end");
        let id = match event {
            HttpEvent::Request { id, .. }
            | HttpEvent::RequestBody { id, .. }
            | HttpEvent::RequestGap { id, .. }
            | HttpEvent::RequestEnd { id, .. }
            | HttpEvent::Response { id, .. }
            | HttpEvent::ResponseBody { id, .. }
            | HttpEvent::ResponseGap { id, .. }
            | HttpEvent::Message { id, .. }
            | HttpEvent::MessageEnd { id, .. }
            | HttpEvent::MessagesLost { id, .. }
            | HttpEvent::ResponseEnd { id, .. } => id.number,
            HttpEvent::ServerName { .. } => continue,
            HttpEvent::Dismissed { .. } => {
                dismissed += 1;
                continue;
            }
            HttpEvent::Closed { .. } => {
                closed += 1;
                continue;
            }
        };
        prop_assert_eq!(dismissed, 0, "nothing comes after a dismissal");
        if let HttpEvent::Request { head, .. } = event {
            let new = Found {
                path: head.path.clone(),
                ..Found::default()
            };
            prop_assert!(found.insert(id, new).is_none());
            continue;
        }
        let Some(exchange) = found.get_mut(&id) else {
            return Err(TestCaseError::fail("a part before its request"));
        };
        prop_assert!(
            exchange.response_end.is_none(),
            "the end of the response is the last part"
        );
        match event {
            HttpEvent::RequestBody { bytes, .. } => {
                prop_assert!(exchange.request_end.is_none());
                exchange.request.extend_from_slice(bytes);
            }
            HttpEvent::RequestGap { bytes, .. } => {
                prop_assert!(exchange.request_end.is_none());
                exchange.request_gap += bytes;
                exchange.gaps += 1;
            }
            HttpEvent::RequestEnd { end, .. } => {
                prop_assert!(exchange.request_end.replace(*end).is_none());
            }
            HttpEvent::Response { head, .. } => {
                prop_assert!(exchange.status.replace(head.status).is_none());
            }
            HttpEvent::ResponseBody { bytes, .. } => {
                prop_assert!(exchange.status.is_some());
                exchange.response.extend_from_slice(bytes);
            }
            HttpEvent::ResponseGap { bytes, .. } => {
                prop_assert!(exchange.status.is_some());
                exchange.response_gap += bytes;
                exchange.gaps += 1;
            }
            HttpEvent::ResponseEnd { end, .. } => {
                prop_assert!(exchange.request_end.is_some());
                exchange.response_end = Some(*end);
            }
            HttpEvent::ServerName { .. }
            | HttpEvent::Request { .. }
            | HttpEvent::Message { .. }
            | HttpEvent::MessageEnd { .. }
            | HttpEvent::MessagesLost { .. }
            | HttpEvent::Dismissed { .. }
            | HttpEvent::Closed { .. } => {}
        }
    }
    for exchange in found.values() {
        prop_assert!(
            closed == 0 || exchange.response_end.is_some(),
            "every exchange ends"
        );
    }
    Ok(found)
}

/// Nothing that was found is other than it was meant, and nothing that misses bytes looks whole.
fn check_found(events: &[HttpEvent], conversation: &[Meant]) -> Result<(), TestCaseError> {
    for exchange in collect(events)?.into_values() {
        let named = |meant: &&Meant| format!("/{}", meant.number) == exchange.path;
        let Some(meant) = conversation.iter().find(named) else {
            return Err(TestCaseError::fail("a request that nobody sent"));
        };
        if let Some(status) = exchange.status {
            prop_assert_eq!(
                usize::from(status),
                meant.status(),
                "paired with another response"
            );
        }
        let parts = [
            (
                meant.request_body(),
                exchange.request,
                exchange.request_gap,
                exchange.request_end,
            ),
            (
                meant.response_body(),
                exchange.response,
                exchange.response_gap,
                exchange.response_end,
            ),
        ];
        for (whole, bytes, gap, end) in parts {
            prop_assert!(
                bytes.iter().all(|byte| whole.contains(byte)),
                "bytes of another body"
            );
            prop_assert!(bytes.len() as u64 + gap <= whole.len() as u64);
            prop_assert_ne!(end, Some(BodyEnd::Refused));
            if end == Some(BodyEnd::Complete) {
                prop_assert_eq!(bytes.len() as u64 + gap, whole.len() as u64);
            }
        }
    }
    Ok(())
}

pub(super) fn directions() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Written), Just(Read)]
}

/// Steps of conversations and of nonsense.
fn any_step() -> impl Strategy<Value = Step> {
    let text = prop_oneof![
        Just("GET /a HTTP/1.1\r\n\r\n"),
        Just("POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\n"),
        Just("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Encoding: br\r\n\r\n"),
        Just("CONNECT h:1 HTTP/1.1\r\n\r\n"),
        Just("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        Just("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n"),
        Just("HTTP/1.1 200 OK\r\n\r\n"),
        Just("HTTP/1.1 204 No\r\n\r\n"),
        Just("HTTP/1.1 100 Continue\r\n\r\n"),
        Just("HTTP/1.1 101 Up\r\n\r\n"),
        Just("HTTP/1.1 101 Up\r\nUpgrade: websocket\r\n\r\n"),
        Just(
            "HTTP/1.1 101 Up\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        ),
        Just("\u{1}\u{3}{a}"),
        Just("\u{0}\u{2}bc"),
        Just("HTTP/1."),
        Just("GET"),
        Just("3\r\nabc\r\n"),
        Just("0\r\n\r\n"),
        Just("abcde"),
        Just("\r\n"),
    ];
    prop_oneof![
        12 => (directions(), text).prop_map(|(direction, text)| {
            Step::Bytes(direction, text.as_bytes().to_vec())
        }),
        1 => (directions(), proptest::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(direction, bytes)| Step::Bytes(direction, bytes)),
        2 => (directions(), 1..9u64).prop_map(|(direction, bytes)| Step::Gap(direction, bytes)),
        1 => Just(Step::Named),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Split law, against a model of what was said.
    #[test]
    fn any_cutting_of_a_conversation_gives_the_same_exchanges(
        conversation in conversation(),
        sizes in sizes(),
        pipelines in any::<bool>(),
    ) {
        let (requests, responses): (Vec<_>, Vec<_>) =
            conversation.iter().map(Meant::lines).unzip();
        let (steps, mut expected): (Vec<Step>, Vec<String>) = if pipelines {
            let written: Vec<u8> = conversation.iter().flat_map(Meant::request).collect();
            let read: Vec<u8> = conversation.iter().flat_map(Meant::responses).collect();
            (vec![w(written), r(read)], requests.into_iter().chain(responses).flatten().collect())
        } else {
            let turns = requests.into_iter().zip(responses);
            (in_turns(&conversation), turns.flat_map(|(a, b)| [a, b]).flatten().collect())
        };
        expected.push("closed".to_owned());
        let mut pieces = cut(&steps, &sizes);
        pieces.push(closed());
        prop_assert_eq!(shown(&events(&pieces).0), expected);
    }

    /// A prefix of a conversation gives what was whole in it, and nothing else that looks whole.
    #[test]
    fn a_conversation_cut_short_never_looks_whole(
        conversation in conversation(),
        sizes in sizes(),
        length in any::<prop::sample::Index>(),
    ) {
        let mut pieces = cut(&in_turns(&conversation), &sizes);
        pieces.truncate(length.index(pieces.len()));
        pieces.push(closed());
        check_found(&events(&pieces).0, &conversation)?;
    }

    /// Gap law: what misses bytes never looks whole, and no response answers another's request.
    #[test]
    fn holes_never_make_a_wrong_exchange(
        conversation in conversation(),
        sizes in sizes(),
        holes in proptest::collection::vec((directions(), 0..900usize, 1..250usize), 0..4),
    ) {
        let pieces = cut(&in_turns(&conversation), &sizes);
        check_found(&with_holes(&pieces, &holes), &conversation)?;
    }

    /// Joining at any place, where the first byte that is seen counts as the first there was.
    #[test]
    fn joining_midway_never_makes_a_wrong_exchange(
        conversation in conversation(),
        sizes in sizes(),
        skipped in any::<prop::sample::Index>(),
    ) {
        let pieces = cut(&in_turns(&conversation), &sizes);
        let mut seen = pieces[skipped.index(pieces.len())..].to_vec();
        seen.push(closed());
        check_found(&events(&seen).0, &conversation)?;
    }

    /// A hole in one exchange costs none of the later ones, if requests come in segments.
    #[test]
    fn the_exchange_after_a_hole_is_found_again(
        conversation in conversation(),
        hole in (directions(), 1..20usize, 1..20usize),
    ) {
        let mut steps = in_turns(&conversation[..1]);
        let rest = in_turns(&conversation);
        steps.extend(rest);
        let (direction, from, length) = hole;
        let first = match (&steps[0], &steps[1]) {
            (Step::Bytes(Written, bytes), _) if direction == Written => bytes.len(),
            (_, Step::Bytes(Read, bytes)) => bytes.len(),
            _ => 0,
        };
        let hole = (direction, from, length.min(first - from));
        let found = collect(&with_holes(&steps, &[hole]))?;
        let complete = |exchange: &&Found| {
            exchange.request_end == Some(BodyEnd::Complete)
                && exchange.response_end == Some(BodyEnd::Complete)
        };
        let whole = found.values().filter(complete).count();
        prop_assert!(whole + 1 >= conversation.len(), "{} of {}", whole, conversation.len());
    }

    /// Mix law.
    #[test]
    fn connections_do_not_touch_each_other(
        first in proptest::collection::vec(any_step(), 0..12),
        second in proptest::collection::vec(any_step(), 0..12),
        order in proptest::collection::vec(any::<bool>(), 24),
    ) {
        let other = ConnId { pid: 8, ..CONN };
        let mut stage = Http::new(Limits::default());
        let (mut out, mut stats) = (Vec::new(), Stats::default());
        for conn in [CONN, other] {
            stage.handle(Segment::Open { at: at(2), conn }, &mut stats, &mut out);
        }
        let (mut left, mut right) = (first.iter(), second.iter());
        for is_first in order {
            let (conn, step) = if is_first { (CONN, left.next()) } else { (other, right.next()) };
            if let Some(step) = step {
                stage.handle(segment(conn, step), &mut stats, &mut out);
            }
        }
        for (conn, step) in
            left.map(|step| (CONN, step)).chain(right.map(|step| (other, step)))
        {
            stage.handle(segment(conn, step), &mut stats, &mut out);
        }
        let own: Vec<HttpEvent> = out.into_iter().filter(|event| of(event) == CONN).collect();
        prop_assert_eq!(own, events(&first).0);
    }

    /// Quiet and bound laws: any steps in any order, the parts of an exchange stay in order, every
    /// exchange ends, and nothing is held afterwards.
    #[test]
    fn nonsense_ends_every_exchange_once(
        steps in proptest::collection::vec(any_step(), 0..40),
        expires_at in any::<prop::sample::Index>(),
    ) {
        let mut stage = Http::new(Limits { undecided_bytes: 64, ..Limits::default() });
        let (mut out, mut stats) = (Vec::new(), Stats::default());
        stage.handle(Segment::Open { at: at(2), conn: CONN }, &mut stats, &mut out);
        let expires_at = expires_at.index(40);
        for (index, step) in steps.iter().enumerate() {
            stage.handle(segment(CONN, step), &mut stats, &mut out);
            if index == expires_at && let Some(deadline) = stage.deadline() {
                stage.expire(deadline, &mut stats, &mut out);
            }
            prop_assert!(stage.buffered_bytes() <= 512);
        }
        stage.handle(segment(CONN, &closed()), &mut stats, &mut out);
        let found = collect(&out)?;
        prop_assert_eq!(found.len() as u64, stats.exchanges);
        let is_closed = matches!(out.last(), Some(HttpEvent::Closed { .. }));
        prop_assert!(is_closed);
        prop_assert_eq!((stage.buffered_bytes(), stage.decoder_bytes()), (0, 0));
        prop_assert_eq!(stage.deadline(), None);
    }
}

pub(in crate::http) fn of(event: &HttpEvent) -> ConnId {
    match event {
        HttpEvent::Request { id, .. }
        | HttpEvent::RequestBody { id, .. }
        | HttpEvent::RequestGap { id, .. }
        | HttpEvent::RequestEnd { id, .. }
        | HttpEvent::Response { id, .. }
        | HttpEvent::ResponseBody { id, .. }
        | HttpEvent::ResponseGap { id, .. }
        | HttpEvent::Message { id, .. }
        | HttpEvent::MessageEnd { id, .. }
        | HttpEvent::MessagesLost { id, .. }
        | HttpEvent::ResponseEnd { id, .. } => id.conn,
        HttpEvent::ServerName { conn, .. }
        | HttpEvent::Dismissed { conn, .. }
        | HttpEvent::Closed { conn, .. } => *conn,
    }
}
