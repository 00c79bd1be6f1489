//! The six laws, for WebSockets.

use proptest::prelude::*;

use super::*;
use crate::connection::Segment;
use crate::event::{ConnId, Direction};
use crate::http::tests::{singly, with_holes};
use crate::http::{BodyEnd, HttpEvent};

/// A message and how it ended.
pub(super) type Found = (Vec<u8>, BodyEnd);

/// Messages that are whole.
pub(super) fn whole(messages: Vec<Vec<u8>>) -> Vec<Found> {
    let complete = |message| (message, BodyEnd::Complete);
    messages.into_iter().map(complete).collect()
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

/// The messages of client and server, and that their parts come in order.
pub(super) fn messages(events: &[HttpEvent]) -> Result<[Vec<Found>; 2], TestCaseError> {
    let mut found: [Vec<Found>; 2] = Default::default();
    let mut open: [Option<Vec<u8>>; 2] = Default::default();
    let mut is_over = false;
    for event in events {
        let place = |from: &Role| usize::from(*from == Role::Server);
        match event {
            HttpEvent::Message { from, bytes, .. } => {
                prop_assert!(!is_over && !bytes.is_empty());
                let piece = open[place(from)].get_or_insert_default();
                piece.extend_from_slice(bytes);
            }
            HttpEvent::MessageEnd { from, end, .. } => {
                prop_assert!(!is_over);
                let message = open[place(from)].take().unwrap_or_default();
                found[place(from)].push((message, *end));
            }
            HttpEvent::MessagesLost { from, .. } => {
                prop_assert!(!is_over && open[place(from)].is_none());
            }
            HttpEvent::ResponseEnd { .. } => {
                prop_assert!(open == [None, None], "no message outlives its exchange");
                is_over = true;
            }
            HttpEvent::ServerName { .. }
            | HttpEvent::Request { .. }
            | HttpEvent::RequestBody { .. }
            | HttpEvent::RequestGap { .. }
            | HttpEvent::RequestEnd { .. }
            | HttpEvent::Response { .. }
            | HttpEvent::ResponseBody { .. }
            | HttpEvent::ResponseGap { .. }
            | HttpEvent::Dismissed { .. }
            | HttpEvent::Closed { .. } => {}
        }
    }
    Ok(found)
}

/// One message as it is meant.
#[derive(Clone, Debug)]
struct Meant {
    from: Role,
    text: Vec<u8>,
    /// Where its frames end.
    cuts: Vec<usize>,
    is_deflated: bool,
    has_ping: bool,
}

/// The text of each tells its place, and is JSON so that frames can be found again.
fn conversation() -> impl Strategy<Value = Vec<Meant>> {
    let from = prop_oneof![Just(Role::Client), Just(Role::Server)];
    let one = (
        from,
        0..300_usize,
        proptest::collection::vec(any::<prop::sample::Index>(), 0..3),
        any::<bool>(),
        any::<bool>(),
    );
    proptest::collection::vec(one, 1..10).prop_map(|list| {
        let meant = |(number, (from, length, cuts, is_deflated, has_ping)): (
            usize,
            (_, _, Vec<prop::sample::Index>, _, _),
        )| {
            let text = format!(
                "{{\"n\":{number},\"t\":\"{}\"}}",
                "word ".repeat(length / 5)
            )
            .into_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
            cuts.sort_unstable();
            Meant {
                from,
                text,
                cuts,
                is_deflated,
                has_ping,
            }
        };
        list.into_iter().enumerate().map(meant).collect()
    })
}

/// How compression was agreed.
fn agreements() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "permessage-deflate",
        "permessage-deflate; server_no_context_takeover; client_max_window_bits=10",
        "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
    ])
}

/// The bytes of a conversation: one step for each message.
fn frames(conversation: &[Meant], agreement: &str) -> Vec<Step> {
    let mut contexts = [Deflater::new(), Deflater::new()];
    let mut steps = Vec::new();
    for meant in conversation {
        let is_client = meant.from == Role::Client;
        let context = &mut contexts[usize::from(!is_client)];
        let name = if is_client { "client" } else { "server" };
        if agreement.contains(&format!("{name}_no_context_takeover")) {
            *context = Deflater::new();
        }
        let is_deflated = meant.is_deflated && !agreement.is_empty();
        let payload = if is_deflated {
            context.message(&meant.text)
        } else {
            meant.text.clone()
        };
        let mut bytes = Vec::new();
        let mut start = 0;
        for (index, end) in meant
            .cuts
            .iter()
            .map(|cut| (*cut).min(payload.len()))
            .chain([payload.len()])
            .enumerate()
        {
            let is_last = index == meant.cuts.len();
            let header = FrameHeader {
                is_final: is_last,
                opcode: if index == 0 { TEXT } else { CONTINUE },
                rsv1: is_deflated && index == 0,
                ..FrameHeader::default()
            };
            bytes.extend(frame(meant.from, header, &payload[start..end]));
            if meant.has_ping && !is_last {
                bytes.extend(frame(meant.from, last(PING), b"ping"));
            }
            start = end;
        }
        let direction = if is_client { Written } else { Read };
        steps.push(Step::Bytes(direction, bytes));
    }
    steps
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(prop_oneof![1..4_usize, 1..200_usize], 1..20)
}

fn said(conversation: &[Meant]) -> [Vec<Vec<u8>>; 2] {
    [Role::Client, Role::Server].map(|from| {
        let own = conversation.iter().filter(|meant| meant.from == from);
        own.map(|meant| meant.text.clone()).collect()
    })
}

fn run(agreement: &str, steps: &[Step]) -> (Vec<HttpEvent>, Stats) {
    let head = [w(ASK), r(answer(agreement))];
    events(&[&head, steps, &[closed()]].concat())
}

/// What one side may send, sense or not.
fn any_frames() -> impl Strategy<Value = Step> {
    let sides = || prop_oneof![Just(Role::Client), Just(Role::Server)];
    let opcodes = prop::sample::select(vec![TEXT, BINARY, CONTINUE, PING, PONG, CLOSE]);
    let payload = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..20),
        "[a-z]{0,20}".prop_map(|text| Deflater::new().message(text.as_bytes())),
        Just(br#"{"a":1}"#.to_vec()),
    ];
    let directed = |(writer, bytes): (Role, Vec<u8>)| match writer {
        Role::Client => w(bytes),
        Role::Server => r(bytes),
    };
    prop_oneof![
        12 => (sides(), opcodes, any::<[bool; 2]>(), payload).prop_map(
            move |(sender, opcode, [is_final, rsv1], payload)| {
                let header = FrameHeader { is_final, rsv1, opcode, ..FrameHeader::default() };
                directed((sender, frame(sender, header, &payload)))
            }
        ),
        1 => (sides(), proptest::collection::vec(any::<u8>(), 1..30)).prop_map(directed),
        2 => (sides(), 1..12_u64).prop_map(|(sender, bytes)| {
            Step::Gap(if sender == Role::Client { Written } else { Read }, bytes)
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Split law and conservation law, against a model of what was said.
    #[test]
    fn any_cutting_gives_the_messages_that_were_sent(
        conversation in conversation(),
        agreement in agreements(),
        sizes in sizes(),
    ) {
        let steps = frames(&conversation, agreement);
        let expected = said(&conversation).map(whole);
        for steps in [&steps, &cut(&steps, &sizes), &singly(&steps)] {
            let (out, stats) = run(agreement, steps);
            prop_assert_eq!(messages(&out)?, expected.clone());
            prop_assert_eq!(stats.messages, conversation.len() as u64);
        }
    }

    /// Mix law, for the two directions of one connection.
    #[test]
    fn how_the_directions_interleave_changes_no_message(
        conversation in conversation(),
        agreement in agreements(),
        sizes in sizes(),
        order in proptest::collection::vec(any::<bool>(), 0..60),
    ) {
        let pieces = cut(&frames(&conversation, agreement), &sizes);
        let of = |wanted: Direction| {
            let own = move |step: &&Step| matches!(step, Step::Bytes(direction, _) if *direction == wanted);
            pieces.iter().filter(own).cloned().collect::<Vec<_>>().into_iter()
        };
        let (mut written, mut read) = (of(Written), of(Read));
        let mut mixed: Vec<Step> =
            order.into_iter().filter_map(|is_written| if is_written { written.next() } else { read.next() }).collect();
        mixed.extend(read);
        mixed.extend(written);
        prop_assert_eq!(messages(&run(agreement, &mixed).0)?, said(&conversation).map(whole));
    }

    /// Gap law: what is said to be whole was sent so, and in that order; the rest is a part of what
    /// was sent, or is missing.
    #[test]
    fn a_hole_never_makes_a_message_that_was_not_sent(
        conversation in conversation(),
        agreement in agreements(),
        sizes in sizes(),
        holes in proptest::collection::vec(
            (prop_oneof![Just(Written), Just(Read)], any::<prop::sample::Index>(), 1..60_usize),
            0..4,
        ),
    ) {
        let head = [w(ASK), r(answer(agreement))];
        let steps = cut(&frames(&conversation, agreement), &sizes);
        let length = |wanted: Direction, steps: &[Step]| -> usize {
            steps
                .iter()
                .map(|step| if let Step::Bytes(direction, bytes) = step
                    && *direction == wanted
                {
                    bytes.len()
                } else {
                    0
                })
                .sum()
        };
        let holes: Vec<_> = holes
            .into_iter()
            .map(|(direction, from, size)| {
                (direction, length(direction, &head) + from.index(length(direction, &steps).max(1)), size)
            })
            .collect();
        let out = with_holes(&[&head, &steps[..]].concat(), &holes);
        for (found, sent) in messages(&out)?.into_iter().zip(said(&conversation)) {
            let mut sent = sent.into_iter();
            for (bytes, end) in found {
                match end {
                    BodyEnd::Complete => {
                        prop_assert!(sent.any(|message| message == bytes), "not sent, or not in this order");
                    }
                    // A hole at the end of the connection may be one before it.
                    BodyEnd::Cut | BodyEnd::GivenUp(_) | BodyEnd::Lost => {}
                    BodyEnd::Refused => prop_assert!(false, "nothing that was sent is refused"),
                }
            }
        }
    }

    /// Joined midway, without the handshake, there are no messages.
    #[test]
    fn joined_midway_nothing_is_taken_for_a_message(
        conversation in conversation(),
        agreement in agreements(),
        sizes in sizes(),
        skipped in any::<prop::sample::Index>(),
    ) {
        let mut steps = cut(&frames(&conversation, agreement), &sizes);
        steps.drain(..skipped.index(steps.len()));
        steps.push(closed());
        let (out, _) = events(&steps);
        prop_assert_eq!(messages(&out)?, [vec![], vec![]]);
        let requests = out.iter().filter(|event| matches!(event, HttpEvent::Request { .. })).count();
        prop_assert_eq!(requests, 0);
    }

    /// Quiet and bound laws: any frames and gaps in any order, and nothing is held afterwards.
    #[test]
    fn nonsense_ends_every_message_and_is_bounded(
        steps in proptest::collection::vec(any_frames(), 0..40),
        agreement in agreements(),
        sizes in sizes(),
    ) {
        let mut stage = Http::new(Limits::default());
        let (mut out, mut stats) = (Vec::new(), Stats::default());
        stage.handle(Segment::Open { at: at(2), conn: CONN }, &mut stats, &mut out);
        for step in [&[w(ASK), r(answer(agreement))], &cut(&steps, &sizes)[..]].concat() {
            stage.handle(segment(CONN, &step), &mut stats, &mut out);
            prop_assert!(stage.buffered_bytes() < 28);
            prop_assert!(stage.decoder_bytes() <= 160 << 10);
        }
        stage.handle(segment(CONN, &closed()), &mut stats, &mut out);
        let found = messages(&out)?;
        let ended = stats.messages + stats.messages_lost + stats.messages_refused;
        prop_assert_eq!((found[0].len() + found[1].len()) as u64, ended);
        let ends = out.iter().filter(|event| matches!(event, HttpEvent::ResponseEnd { .. })).count();
        prop_assert_eq!(ends, 1);
        prop_assert_eq!((stage.buffered_bytes(), stage.decoder_bytes()), (0, 0));
    }

    /// Mix law, for connections.
    #[test]
    fn connections_do_not_touch_each_other(
        conversations in [conversation(), conversation()],
        order in proptest::collection::vec(any::<bool>(), 0..40),
    ) {
        let agreement = "permessage-deflate";
        let conns = [CONN, ConnId { pid: 8, ..CONN }];
        let all = conversations.clone().map(|conversation| {
            let mut steps = vec![w(ASK), r(answer(agreement))];
            steps.extend(cut(&frames(&conversation, agreement), &[37]));
            steps.push(closed());
            steps
        });
        let mut stage = Http::new(Limits::default());
        let (mut out, mut stats) = (Vec::new(), Stats::default());
        for conn in conns {
            stage.handle(Segment::Open { at: at(2), conn }, &mut stats, &mut out);
        }
        let mut queues = all.map(Vec::into_iter);
        for is_second in order {
            if let Some(step) = queues[usize::from(is_second)].next() {
                stage.handle(segment(conns[usize::from(is_second)], &step), &mut stats, &mut out);
            }
        }
        for (conn, queue) in conns.into_iter().zip(queues) {
            for step in queue {
                stage.handle(segment(conn, &step), &mut stats, &mut out);
            }
        }
        for (conn, conversation) in conns.into_iter().zip(&conversations) {
            let own: Vec<HttpEvent> =
                out.iter().filter(|event| crate::http::tests::of(event) == conn).cloned().collect();
            prop_assert_eq!(messages(&own)?, said(conversation).map(whole));
        }
    }
}
