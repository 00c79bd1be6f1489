//! Laws that hold for connections with many streams, cut, mixed and with holes.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::frames::*;
use super::laws::{Found, collect, cut, directions, encode, of, sizes, with_holes};
use super::*;

/// How the fields of a head are written.
#[derive(Clone, Copy, Debug)]
enum Style {
    Literal,
    Added,
    /// By reference, where a table has it.
    Indexed,
}

/// One exchange as its two sides mean it. Every byte of its bodies tells its number.
#[derive(Clone, Debug)]
struct Meant {
    number: u8,
    request_length: usize,
    response_length: usize,
    coding: &'static str,
    style: Style,
    /// Bytes of the first frame of a head; the rest continues.
    first_fragment: usize,
    frame_length: usize,
    padding: Option<u8>,
    has_interim: bool,
    has_trailers: bool,
    /// Whether the last data ends the stream, or an empty frame behind it.
    ends_with_data: bool,
}

impl Meant {
    fn stream(&self) -> u32 {
        2 * u32::from(self.number) + 1
    }

    fn path(&self) -> String {
        format!("/{}", self.number)
    }

    fn status(&self) -> u16 {
        200 + u16::from(self.number) * 10
    }

    fn request(&self) -> Vec<u8> {
        vec![b'A' + self.number; self.request_length]
    }

    fn response(&self) -> Vec<u8> {
        vec![b'a' + self.number; self.response_length]
    }

    fn coded(&self) -> Vec<(String, String)> {
        if self.coding == "identity" {
            return Vec::new();
        }
        vec![("content-encoding".to_owned(), self.coding.to_owned())]
    }

    fn request_parts(&self) -> VecDeque<Sent> {
        let mut fields = vec![
            (":method".to_owned(), "POST".to_owned()),
            (":path".to_owned(), self.path()),
            ("x-secret".to_owned(), "secret".to_owned()),
        ];
        fields.extend(self.coded());
        self.parts(fields, &self.request())
    }

    fn response_parts(&self) -> VecDeque<Sent> {
        let mut fields = vec![(":status".to_owned(), self.status().to_string())];
        fields.extend(self.coded());
        let mut parts = self.parts(fields, &self.response());
        if self.has_interim {
            let interim = vec![(":status".to_owned(), "103".to_owned())];
            parts.push_front(Sent::Head(interim, 0));
        }
        parts
    }

    fn parts(&self, head: Vec<(String, String)>, body: &[u8]) -> VecDeque<Sent> {
        let body = encode(self.coding, body);
        let trailers = [("x-trailer".to_owned(), "1".to_owned())].to_vec();
        if body.is_empty() && self.ends_with_data && !self.has_trailers {
            return [Sent::Head(head, END_STREAM)].into();
        }
        let mut parts: VecDeque<Sent> = [Sent::Head(head, 0)].into();
        let pieces = body.chunks(self.frame_length);
        parts.extend(pieces.map(|piece| Sent::Data(piece.to_vec(), 0)));
        match parts.back_mut() {
            _ if self.has_trailers => parts.push_back(Sent::Head(trailers, END_STREAM)),
            Some(Sent::Data(_, flags)) if self.ends_with_data => *flags = END_STREAM,
            _ => parts.push_back(Sent::Data(Vec::new(), END_STREAM)),
        }
        parts
    }
}

/// What is sent at once.
#[derive(Clone, Debug)]
enum Sent {
    Head(Vec<(String, String)>, u8),
    Data(Vec<u8>, u8),
}

/// One side's encoder; its table is never full.
#[derive(Default)]
struct Encoder {
    table: VecDeque<(String, String)>,
}

impl Encoder {
    fn block(&mut self, fields: &[(String, String)], style: Style) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            let known = self
                .table
                .iter()
                .position(|entry| entry == &(name.clone(), value.clone()));
            match (style, known) {
                (Style::Literal, _) => block.extend(literal(name, value)),
                (Style::Indexed, Some(place)) => block.extend(indexed(62 + place)),
                (Style::Added | Style::Indexed, _) => {
                    block.extend(added(name, value));
                    self.table.push_front((name.clone(), value.clone()));
                }
            }
        }
        block
    }

    fn frames(&mut self, meant: &Meant, sent: &Sent) -> Vec<u8> {
        let stream = meant.stream();
        match sent {
            Sent::Data(bytes, flags) => match meant.padding {
                None => data(*flags, stream, bytes),
                Some(padding) => {
                    let padded = [vec![padding], bytes.clone(), vec![0; padding.into()]].concat();
                    data(flags | PADDED, stream, padded)
                }
            },
            Sent::Head(fields, flags) => {
                let block = self.block(fields, meant.style);
                let (first, rest) = block.split_at(meant.first_fragment.min(block.len()));
                if rest.is_empty() {
                    return headers(*flags, stream, first);
                }
                [
                    frame(HEADERS, *flags, stream, first),
                    frame(CONTINUATION, END_HEADERS, stream, rest),
                ]
                .concat()
            }
        }
    }
}

fn conversation() -> impl Strategy<Value = Vec<Meant>> {
    let coding = prop_oneof![
        4 => Just("identity"),
        1 => Just("gzip"),
        1 => Just("br"),
        1 => Just("zstd"),
    ];
    let style = prop_oneof![
        1 => Just(Style::Literal),
        1 => Just(Style::Added),
        2 => Just(Style::Indexed),
    ];
    let lengths = (0..60usize, 0..90usize, 1..60usize, 1..40usize);
    let padding = proptest::option::weighted(0.3, 0..9u8);
    let one = (coding, style, lengths, padding, any::<[bool; 3]>());
    proptest::collection::vec(one, 1..6).prop_map(|list| {
        (0..)
            .zip(list)
            .map(|(number, (coding, style, lengths, padding, flags))| {
                let (request_length, response_length, first_fragment, frame_length) = lengths;
                let [has_interim, has_trailers, ends_with_data] = flags;
                Meant {
                    number,
                    request_length,
                    response_length,
                    coding,
                    style,
                    first_fragment,
                    frame_length,
                    padding,
                    has_interim,
                    has_trailers,
                    ends_with_data,
                }
            })
            .collect()
    })
}

/// The frames of all streams, each in a step of its own, in an order that `turns` chooses.
fn in_parallel(conversation: &[Meant], turns: &[usize]) -> Vec<Step> {
    let mut steps = vec![
        Step::Named,
        w([PREFACE.to_vec(), settings()].concat()),
        r(settings()),
    ];
    let mut encoders = [Encoder::default(), Encoder::default()];
    let mut waiting: VecDeque<&Meant> = conversation.iter().collect();
    let mut under_way: Vec<(&Meant, VecDeque<Sent>, VecDeque<Sent>)> = Vec::new();
    let mut turns = turns.iter().copied().cycle();
    while !(waiting.is_empty() && under_way.is_empty()) {
        // Streams begin in order, and are answered once they have begun.
        let choice = turns.next().unwrap_or(0);
        let index = choice % (under_way.len() + usize::from(!waiting.is_empty()));
        let (direction, meant, sent) = match under_way.get_mut(index) {
            None => {
                let Some(meant) = waiting.pop_front() else {
                    unreachable!()
                };
                let mut requests = meant.request_parts();
                let head = requests.pop_front();
                under_way.push((meant, requests, meant.response_parts()));
                (Written, meant, head)
            }
            Some((meant, requests, responses)) => {
                let answers = choice / 7 % 2 == 1 || requests.is_empty();
                if answers && !responses.is_empty() {
                    (Read, *meant, responses.pop_front())
                } else {
                    (Written, *meant, requests.pop_front())
                }
            }
        };
        under_way.retain(|(_, requests, responses)| !(requests.is_empty() && responses.is_empty()));
        let encoder = &mut encoders[usize::from(direction == Read)];
        if let Some(sent) = sent {
            steps.push(Step::Bytes(direction, encoder.frames(meant, &sent)));
        }
    }
    steps
}

/// One stream after the other.
fn in_turns(conversation: &[Meant]) -> Vec<Step> {
    let mut steps = vec![
        Step::Named,
        w([PREFACE.to_vec(), settings()].concat()),
        r(settings()),
    ];
    let mut encoders = [Encoder::default(), Encoder::default()];
    for meant in conversation {
        for sent in meant.request_parts() {
            steps.push(w(encoders[0].frames(meant, &sent)));
        }
        for sent in meant.response_parts() {
            steps.push(r(encoders[1].frames(meant, &sent)));
        }
    }
    steps
}

fn turns() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0..700usize, 1..40)
}

/// Nothing that was found is other than it was meant, and nothing that misses bytes looks whole.
/// What could not be read is empty.
fn check_found(found: &Found, conversation: &[Meant]) -> Result<(), TestCaseError> {
    let numbers = [(&found.request, b'A'), (&found.response, b'a')]
        .into_iter()
        .filter_map(|(bytes, first)| bytes.first().map(|byte| byte.wrapping_sub(first)));
    let named = found.path.strip_prefix('/').and_then(|n| n.parse().ok());
    let numbers: Vec<u8> = named.into_iter().chain(numbers).collect();
    prop_assert!(
        found.path.is_empty() || named.is_some(),
        "a path that nobody sent"
    );
    let Some(number) = numbers.first().copied() else {
        return Ok(());
    };
    prop_assert!(
        numbers.iter().all(|other| *other == number),
        "parts of several exchanges"
    );
    let Some(meant) = conversation.get(usize::from(number)) else {
        return Err(TestCaseError::fail("bytes that nobody sent"));
    };
    if let Some(status) = found.status {
        prop_assert!(
            status == 0 || status == meant.status(),
            "paired with another response"
        );
    }
    let parts = [
        (meant.request(), &found.request, found.request_end),
        (meant.response(), &found.response, found.response_end),
    ];
    for (whole, bytes, end) in parts {
        prop_assert!(
            whole.starts_with(bytes),
            "bytes that are not those of the body"
        );
        if end == Some(BodyEnd::Complete) && found.gaps == 0 && found.status != Some(0) {
            prop_assert_eq!(bytes.len(), whole.len());
        }
    }
    Ok(())
}

fn check_all(events: &[HttpEvent], conversation: &[Meant]) -> Result<(), TestCaseError> {
    for found in collect(events)?.values() {
        check_found(found, conversation)?;
    }
    Ok(())
}

/// Steps of conversations and of nonsense.
fn any_step() -> impl Strategy<Value = Step> {
    let payload = proptest::collection::vec(any::<u8>(), 0..24);
    let flags = prop_oneof![
        Just(0),
        Just(END_STREAM),
        Just(END_HEADERS),
        Just(END_STREAM | END_HEADERS),
        any::<u8>(),
    ];
    let any_frame = (0..12u8, flags, 0..9u32, payload)
        .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload));
    let sound = prop_oneof![
        (1..9u32).prop_map(|stream| headers(0, stream, &post("/a"))),
        (1..9u32).prop_map(|stream| headers(END_STREAM, stream, &post("/a"))),
        (1..9u32).prop_map(|stream| headers(0, stream, &[vec![OK], added("a", "b")].concat())),
        (1..9u32).prop_map(|stream| headers(0, stream, &[vec![OK], indexed(62)].concat())),
        (1..9u32).prop_map(|stream| data(0, stream, "abc")),
        (1..9u32).prop_map(|stream| data(END_STREAM | PADDED, stream, "\u{2}abc\0\0")),
        (1..9u32).prop_map(|stream| frame(RST_STREAM, 0, stream, &[0; 4])),
        (0..9u8).prop_map(|last| frame(GOAWAY, 0, 0, &[0, 0, 0, last, 0, 0, 0, 0])),
        Just(settings()),
        Just(PREFACE.to_vec()),
    ];
    let raw = proptest::collection::vec(any::<u8>(), 1..40);
    let bytes = prop_oneof![6 => sound, 2 => any_frame, 1 => raw];
    prop_oneof![
        12 => (directions(), bytes).prop_map(|(direction, bytes)| Step::Bytes(direction, bytes)),
        2 => (directions(), 1..9u64).prop_map(|(direction, bytes)| Step::Gap(direction, bytes)),
        1 => Just(Step::Named),
    ]
}

/// A beginning that makes HTTP/2 of what follows, or none.
fn any_steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let opened = vec![Step::Named, w(PREFACE)];
    let beginning = prop_oneof![3 => Just(opened), 1 => Just(Vec::new())];
    let rest = proptest::collection::vec(any_step(), 0..most);
    (beginning, rest).prop_map(|(beginning, rest)| [beginning, rest].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Split law, against a model of what was said.
    #[test]
    fn any_cutting_of_streams_gives_the_same_exchanges(
        conversation in conversation(),
        turns in turns(),
        sizes in sizes(),
    ) {
        let mut steps = in_parallel(&conversation, &turns);
        steps.push(closed());
        let (whole, stats) = events(&steps);
        prop_assert_eq!((stats.steps_lost, stats.heads_unread), (0, 0));
        prop_assert_eq!(shown(&events(&cut(&steps, &sizes)).0), shown(&whole));
        let found = collect(&whole)?;
        prop_assert_eq!(found.len(), conversation.len());
        for (meant, found) in conversation.iter().zip(found.values()) {
            prop_assert_eq!(&found.path, &meant.path());
            prop_assert_eq!(found.status, Some(meant.status()));
            prop_assert_eq!(&found.request, &meant.request());
            prop_assert_eq!(&found.response, &meant.response());
            let ends = (found.request_end, found.response_end);
            prop_assert_eq!(ends, (Some(BodyEnd::Complete), Some(BodyEnd::Complete)));
        }
    }

    /// A prefix of a conversation gives what was whole in it, and nothing else that looks whole.
    #[test]
    fn streams_cut_short_never_look_whole(
        conversation in conversation(),
        turns in turns(),
        sizes in sizes(),
        length in any::<prop::sample::Index>(),
    ) {
        let mut pieces = cut(&in_parallel(&conversation, &turns), &sizes);
        pieces.truncate(length.index(pieces.len()));
        pieces.push(closed());
        check_all(&events(&pieces).0, &conversation)?;
    }

    /// Gap law: what misses bytes never looks whole, no name is wrong, and no stream has bytes of
    /// another.
    #[test]
    fn holes_never_make_a_wrong_stream(
        conversation in conversation(),
        turns in turns(),
        sizes in proptest::option::of(sizes()),
        holes in proptest::collection::vec((directions(), 0..1_200usize, 1..250usize), 0..4),
    ) {
        let steps = in_parallel(&conversation, &turns);
        let pieces = sizes.map_or_else(|| steps.clone(), |sizes| cut(&steps, &sizes));
        let events = with_holes(&pieces, &holes);
        for found in collect(&events)?.values() {
            let mut bytes = [found.request.clone(), found.response.clone()];
            // Behind a hole the rest of a body is not its beginning, but of the same letter.
            for bytes in &mut bytes {
                bytes.dedup();
                prop_assert!(bytes.len() <= 1, "bytes of another stream");
            }
            let [request, response] = bytes;
            let found = Found { request, response, gaps: found.gaps, path: found.path.clone(),
                status: found.status, ..Found::default() };
            check_found(&found, &conversation)?;
        }
        for found in collect(&events)?.values().filter(|found| found.gaps == 0) {
            check_found(found, &conversation)?;
        }
    }

    /// Joining between any two calls, where the first byte that is seen counts as the first there
    /// was.
    #[test]
    fn joining_streams_midway_never_makes_a_wrong_exchange(
        conversation in conversation(),
        turns in turns(),
        sizes in proptest::option::of(sizes()),
        skipped in any::<prop::sample::Index>(),
    ) {
        let steps = in_parallel(&conversation, &turns);
        let pieces = sizes.map_or_else(|| steps.clone(), |sizes| cut(&steps, &sizes));
        let mut seen = pieces[skipped.index(pieces.len())..].to_vec();
        seen.push(closed());
        check_all(&events(&seen).0, &conversation)?;
    }

    /// A hole in one exchange, or in a part of the connection that nobody saw, costs none of those
    /// that begin later, if frames come in calls.
    #[test]
    fn streams_after_a_hole_are_found_again(
        conversation in conversation(),
        hole in (directions(), 24..80usize, 1..40usize),
        joins in any::<bool>(),
    ) {
        let before = in_turns(&conversation[..1]);
        let all = in_turns(&conversation);
        let out = if joins {
            let mut seen = all[before.len()..].to_vec();
            seen.push(closed());
            events(&seen).0
        } else {
            let (direction, from, length) = hole;
            let end: usize = before
                .iter()
                .map(|step| match step {
                    Step::Bytes(of_step, bytes) if *of_step == direction => bytes.len(),
                    Step::Bytes(..) | Step::Named | Step::Gap(..) | Step::End(_) => 0,
                })
                .sum();
            let from = from.min(end - 1);
            with_holes(&all, &[(direction, from, length.min(end - from))])
        };
        // Where a name is missing, how a body is coded is told by its first bytes, and letters are
        // none that it may begin with.
        let ends = [Some(BodyEnd::Complete), Some(BodyEnd::Refused)];
        let is_whole = |found: &&Found| {
            ends.contains(&found.request_end) && ends.contains(&found.response_end)
        };
        let whole = collect(&out)?.values().filter(is_whole).count();
        prop_assert!(whole + 1 >= conversation.len(), "{} of {}", whole, conversation.len());
    }

    /// Mix law.
    #[test]
    fn connections_with_streams_do_not_touch_each_other(
        first in any_steps(12),
        second in any_steps(12),
        order in proptest::collection::vec(any::<bool>(), 28),
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

    /// Quiet, bound and conservation laws: any steps in any order, the parts of an exchange stay in
    /// order, every exchange ends, and nothing is held afterwards.
    #[test]
    fn nonsense_in_frames_ends_every_exchange_once(
        steps in any_steps(60),
        expires_at in any::<prop::sample::Index>(),
    ) {
        let mut stage = Http::new(Limits { undecided_bytes: 64, waiting: 3, ..Limits::default() });
        let (mut out, mut stats) = (Vec::new(), Stats::default());
        stage.handle(Segment::Open { at: at(2), conn: CONN }, &mut stats, &mut out);
        let expires_at = expires_at.index(40);
        for (index, step) in steps.iter().enumerate() {
            stage.handle(segment(CONN, step), &mut stats, &mut out);
            if index == expires_at && let Some(deadline) = stage.deadline() {
                stage.expire(deadline, &mut stats, &mut out);
            }
            prop_assert!(stage.buffered_bytes() <= 8 << 10);
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
