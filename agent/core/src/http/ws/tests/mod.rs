//! Messages in, events out; `c` and `s` are messages of client and server.

mod laws;
mod peer;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::event::Direction::{Read, Written};
use crate::http::tests::{CONN, Step, at, check, closed, events, r, schemes, segment, shown, w};
use crate::http::{Http, Limits, Role, Scheme};
use crate::stats::Stats;

const ASK: &str = "GET /ws?token=canary HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: canary\r\nSec-WebSocket-Protocol: realtime, openai-insecure-api-key.canary\r\n\r\n";

/// The lines of the handshake.
const ASKED: [&str; 3] = ["0 Client GET /ws", "0 > Complete", "0 < 101"];

fn answer(extensions: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: canary\r\nSec-WebSocket-Extensions: {extensions}\r\n\r\n"
    )
}

const TEXT: OpCode = OpCode::Data(Data::Text);
const BINARY: OpCode = OpCode::Data(Data::Binary);
const CONTINUE: OpCode = OpCode::Data(Data::Continue);
const CLOSE: OpCode = OpCode::Control(Control::Close);
const PING: OpCode = OpCode::Control(Control::Ping);
const PONG: OpCode = OpCode::Control(Control::Pong);

/// A frame as `sender` writes it; written by another's hand than the one that reads it here.
fn frame(sender: Role, header: FrameHeader, payload: &[u8]) -> Vec<u8> {
    let key = [0x12, 0xa4, 0x56, 0xf8];
    let mask = (sender == Role::Client).then_some(key);
    let mut bytes = Vec::new();
    let header = FrameHeader { mask, ..header };
    header.format(payload.len() as u64, &mut bytes).unwrap();
    let key = mask.unwrap_or_default();
    bytes.extend(
        payload
            .iter()
            .enumerate()
            .map(|(place, byte)| byte ^ key[place % 4]),
    );
    bytes
}

fn last(opcode: OpCode) -> FrameHeader {
    FrameHeader {
        opcode,
        ..FrameHeader::default()
    }
}

fn first(opcode: OpCode) -> FrameHeader {
    FrameHeader {
        is_final: false,
        ..last(opcode)
    }
}

fn deflated(header: FrameHeader) -> FrameHeader {
    FrameHeader {
        rsv1: true,
        ..header
    }
}

fn client(header: FrameHeader, payload: impl AsRef<[u8]>) -> Step {
    w(frame(Role::Client, header, payload.as_ref()))
}

fn server(header: FrameHeader, payload: impl AsRef<[u8]>) -> Step {
    r(frame(Role::Server, header, payload.as_ref()))
}

/// Compresses the messages of one side, in order (RFC 7692, section 7.2.1).
struct Deflater(flate2::Compress);

impl Deflater {
    fn new() -> Self {
        Self(flate2::Compress::new(flate2::Compression::best(), false))
    }

    fn message(&mut self, text: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(text.len() + 100);
        let before = self.0.total_in();
        self.0
            .compress_vec(text, &mut bytes, flate2::FlushCompress::Sync)
            .unwrap();
        assert_eq!(self.0.total_in() - before, text.len() as u64);
        assert!(bytes.ends_with(&[0, 0, 0xff, 0xff]));
        bytes.truncate(bytes.len() - 4);
        bytes
    }
}

/// Lines of a WebSocket: the handshake, the steps, the end of the connection.
#[track_caller]
fn check_socket(extensions: &str, steps: &[Step], expected: &[&str]) {
    let mut all = vec![w(ASK), r(answer(extensions))];
    all.extend_from_slice(steps);
    all.push(closed());
    let mut lines = ASKED.to_vec();
    lines.extend_from_slice(expected);
    lines.push("closed");
    check(&all, &lines);
}

#[test]
fn messages_of_both_sides_interleave_as_they_come() {
    check_socket(
        "",
        &[
            client(last(TEXT), r#"{"a":1}"#),
            server(first(TEXT), r#"{"b""#),
            server(last(PING), "are you there?"),
            client(last(PONG), "are you there?"),
            client(last(BINARY), ""),
            server(first(CONTINUE), ":2"),
            client(last(TEXT), "c"),
            server(last(CONTINUE), "}"),
            client(last(CLOSE), b"\x03\xe8bye"),
            server(last(CLOSE), b"\x03\xe8"),
        ],
        &[
            r#"0 c {"a":1}"#,
            "0 c Complete",
            r#"0 s {"b""#,
            "0 c Complete",
            "0 s :2",
            "0 c c",
            "0 c Complete",
            "0 s }",
            "0 s Complete",
            "0 < Complete",
        ],
    );
}

#[test]
fn what_comes_behind_the_close_of_both_sides_is_not_read() {
    let mut steps = [client(last(CLOSE), ""), server(last(CLOSE), "")];
    if let Step::Bytes(_, bytes) = &mut steps[1] {
        bytes.extend(frame(Role::Server, last(TEXT), b"a"));
    }
    check_socket("", &steps, &["0 < Complete"]);
}

#[test]
fn the_first_frames_may_come_with_the_answer() {
    let mut answer = answer("").into_bytes();
    answer.extend(frame(Role::Server, last(TEXT), b"hello"));
    check(
        &[w(ASK), r(answer), closed()],
        &[
            ASKED[0],
            ASKED[1],
            ASKED[2],
            "0 s hello",
            "0 s Complete",
            "0 < Cut",
            "closed",
        ],
    );
}

#[test]
fn the_side_of_a_server_is_read_alike() {
    let swap = |step: Step| match step {
        Step::Bytes(direction, bytes) => Step::Bytes(direction.opposite(), bytes),
        other @ (Step::Named | Step::Gap(..) | Step::End(_)) => other,
    };
    check(
        &[
            r(ASK),
            w(answer("")),
            swap(client(last(TEXT), "a")),
            swap(server(last(TEXT), "b")),
            closed(),
        ],
        &[
            "0 Server GET /ws",
            ASKED[1],
            ASKED[2],
            "0 c a",
            "0 c Complete",
            "0 s b",
            "0 s Complete",
            "0 < Cut",
            "closed",
        ],
    );
}

#[test]
fn lengths_of_every_form_are_read() {
    for length in [125, 126, 65_535, 65_536] {
        let text = "x".repeat(length);
        check_socket(
            "",
            &[client(last(TEXT), &text), server(last(TEXT), &text)],
            &[
                &format!("0 c {text}"),
                "0 c Complete",
                &format!("0 s {text}"),
                "0 s Complete",
                "0 < Cut",
            ],
        );
    }
}

#[test]
fn what_breaks_the_protocol_dismisses_the_connection() {
    let too_long = [&[0x81, 0x7f, 0x80][..], &[0; 7]].concat();
    let reserved = |rsv1, rsv2, rsv3| FrameHeader {
        rsv1,
        rsv2,
        rsv3,
        ..last(TEXT)
    };
    for (what, step) in [
        (
            "a reserved opcode",
            server(last(OpCode::Data(Data::Reserved(3))), ""),
        ),
        (
            "a reserved control",
            server(last(OpCode::Control(Control::Reserved(11))), ""),
        ),
        (
            "a client that does not mask",
            w(frame(Role::Server, last(TEXT), b"a")),
        ),
        (
            "a server that masks",
            r(frame(Role::Client, last(TEXT), b"a")),
        ),
        (
            "a bit that was not agreed",
            server(reserved(true, false, false), ""),
        ),
        ("the second bit", server(reserved(false, true, false), "")),
        ("the third bit", server(reserved(false, false, true), "")),
        ("2 to the 63 bytes", r(too_long)),
        (
            "a length that is not the shortest",
            r(b"\x81\x7e\x00\x05hello"),
        ),
        ("a control of 126 bytes", server(last(PING), [0; 126])),
        ("a control in fragments", server(first(PING), "")),
        ("a further frame of nothing", server(last(CONTINUE), "")),
    ] {
        let (out, stats) = events(&[w(ASK), r(answer("")), step, w("more")]);
        assert_eq!(
            shown(&out)[3..],
            ["0 < Refused", "dismissed Ambiguous"],
            "{what}"
        );
        assert_eq!(
            (stats.websockets, stats.dismissed_ambiguous),
            (1, 1),
            "{what}"
        );
    }
    let unfinished = server(first(TEXT), "a");
    for (what, extensions, steps) in [
        (
            "a message inside another",
            "",
            [unfinished.clone(), server(last(TEXT), "b")],
        ),
        (
            "a message after a close",
            "",
            [server(last(CLOSE), ""), server(last(TEXT), "b")],
        ),
        (
            "a compressed further frame",
            "permessage-deflate",
            [unfinished, server(deflated(last(CONTINUE)), "b")],
        ),
        (
            "a compressed control",
            "permessage-deflate",
            [server(last(PING), ""), server(deflated(last(PING)), "b")],
        ),
    ] {
        let mut all = vec![w(ASK), r(answer(extensions))];
        all.extend(steps);
        let (out, stats) = events(&all);
        assert_eq!(shown(&out).last().unwrap(), "dismissed Ambiguous", "{what}");
        assert_eq!(stats.dismissed_ambiguous, 1, "{what}");
    }
}

#[test]
fn an_extension_that_is_not_known_is_not_followed() {
    let (out, stats) = events(&[w(ASK), r(answer("bbf-usp-protocol")), closed()]);
    assert_eq!(
        shown(&out)[3..],
        ["0 < Complete", "dismissed Upgraded", "closed"]
    );
    assert_eq!((stats.websockets, stats.dismissed_upgraded), (0, 1));
}

#[test]
fn nothing_secret_of_a_handshake_passes() {
    let (out, _) = events(&[w(ASK), r(answer("")), closed()]);
    // The class of the key that browsers send as a subprotocol does.
    assert_eq!(schemes(&out), [Scheme::Key]);
}

#[test]
fn an_announced_length_is_not_allocated() {
    let mut stage = Http::new(Limits::default());
    let (mut out, mut stats) = (Vec::new(), Stats::default());
    let conn = CONN;
    stage.handle(
        crate::connection::Segment::Open { at: at(2), conn },
        &mut stats,
        &mut out,
    );
    let head = [&[0x82, 0x7f, 0x7f][..], &[0xff; 7]].concat();
    for step in [w(ASK), r(answer("permessage-deflate")), r(&head), r("abc")] {
        stage.handle(segment(conn, &step), &mut stats, &mut out);
        assert!(stage.buffered_bytes() <= 14);
        assert_eq!(stage.decoder_bytes(), 0);
    }
    assert_eq!(shown(&out)[3..], [] as [&str; 0], "the piece is still open");
    stage.handle(segment(conn, &closed()), &mut stats, &mut out);
    assert_eq!(
        shown(&out)[3..],
        ["0 s abc", "0 s Cut", "0 < Cut", "closed"]
    );
}

#[test]
fn compression_builds_on_all_messages_before_in_both_directions() {
    let (mut c, mut s) = (Deflater::new(), Deflater::new());
    let text = r#"{"type":"response.output_text.delta","delta":"the same words again and again"}"#;
    let (c1, c2) = (c.message(text.as_bytes()), c.message(text.as_bytes()));
    let (s1, s2) = (s.message(text.as_bytes()), s.message(text.as_bytes()));
    assert!(c2.len() < c1.len() / 3, "it refers to the first one");
    let (a, b) = s2.split_at(3);
    check_socket(
        "permessage-deflate; client_max_window_bits=15",
        &[
            client(deflated(last(TEXT)), &c1),
            server(deflated(last(TEXT)), &s1),
            client(last(TEXT), "plain, and no part of the stream"),
            client(deflated(last(TEXT)), &c2),
            server(deflated(first(TEXT)), a),
            server(last(PING), ""),
            server(last(CONTINUE), b),
        ],
        &[
            &format!("0 c {text}"),
            "0 c Complete",
            &format!("0 s {text}"),
            "0 s Complete",
            "0 c plain, and no part of the stream",
            "0 c Complete",
            &format!("0 c {text}"),
            "0 c Complete",
            &format!("0 s {text}"),
            "0 s Complete",
            "0 < Cut",
        ],
    );
}

#[test]
fn without_context_takeover_each_message_stands_by_itself() {
    let message = || Deflater::new().message(b"the same words, the same words");
    let mut steps = Vec::new();
    let mut expected = Vec::new();
    for _ in 0..3 {
        steps.push(client(deflated(last(TEXT)), message()));
        expected.extend(["0 c the same words, the same words", "0 c Complete"]);
    }
    expected.push("0 < Cut");
    check_socket(
        "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
        &steps,
        &expected,
    );
}

/// RFC 7692, sections 7.2.3.1 to 7.2.3.6: two messages "Hello" of which the second refers to the
/// first, a block without compression, a last block with padding, two blocks, and an empty message.
#[test]
fn the_examples_of_the_rfc_are_read() {
    let hello: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let again: &[u8] = &[0xf2, 0x00, 0x11, 0x00, 0x00];
    let stored: &[u8] = &[
        0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
    ];
    let ended: &[u8] = &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    let blocks: &[u8] = &[
        0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
    ];
    let mut steps = Vec::new();
    let mut expected = Vec::new();
    for message in [hello, again, stored, blocks, &[0x00], ended] {
        steps.push(server(deflated(last(TEXT)), message));
        if message != [0x00] {
            expected.push("0 s Hello");
        }
        expected.push("0 s Complete");
    }
    // Behind a last block it is not told what a message may refer to.
    steps.push(server(deflated(last(TEXT)), hello));
    expected.extend(["0 s Lost", "0 < Cut"]);
    check_socket("permessage-deflate", &steps, &expected);
}

#[test]
fn a_gap_in_a_payload_costs_that_message_and_the_mask_goes_on() {
    let text = r#"{"one":"two"}"#;
    let bytes = frame(Role::Client, last(TEXT), text.as_bytes());
    check_socket(
        "",
        &[
            w(&bytes[..9]),
            Step::Gap(Written, 5),
            w(&bytes[14..]),
            client(last(TEXT), "next"),
            server(first(TEXT), "a"),
            server(last(CONTINUE), "b"),
        ],
        &[
            r#"0 c {"o"#,
            "0 c Lost",
            "0 c next",
            "0 c Complete",
            "0 s ab",
            "0 s Complete",
            "0 < Cut",
        ],
    );
}

#[test]
fn a_gap_to_the_end_of_a_frame_ends_it() {
    check_socket(
        "",
        &[
            r(b"\x81\x05he"),
            Step::Gap(Read, 3),
            server(last(TEXT), "next"),
            r(b"\x89\x02"),
            Step::Gap(Read, 2),
            server(last(TEXT), "last"),
        ],
        &[
            "0 s he",
            "0 s Lost",
            "0 s next",
            "0 s Complete",
            "0 s last",
            "0 s Complete",
            "0 < Cut",
        ],
    );
}

#[test]
fn a_gap_that_may_hide_a_header_loses_the_direction_alone() {
    for before in [b"\x81".as_slice(), b"\x81\x05he", b""] {
        let mut steps = vec![];
        if !before.is_empty() {
            steps.push(r(before));
        }
        steps.extend([
            Step::Gap(Read, 4),
            r("no frame, though it begins a segment"),
            client(last(TEXT), "heard"),
        ]);
        let mut expected = vec![];
        if before.len() > 2 {
            expected.extend(["0 s he", "0 s Lost"]);
        }
        expected.extend(["0 s lost", "0 c heard", "0 c Complete", "0 < Cut"]);
        check_socket("", &steps, &expected);
    }
}

#[test]
fn a_lost_direction_is_found_again_where_a_segment_is_whole_frames_of_json() {
    for (segment, found) in [
        (frame(Role::Server, last(TEXT), br#"{"a":1}"#), true),
        (
            [
                frame(Role::Server, last(PING), b"x"),
                frame(Role::Server, last(TEXT), br#"{"a":1}"#),
                frame(Role::Server, last(PONG), b""),
            ]
            .concat(),
            true,
        ),
        (frame(Role::Server, last(PING), b"x"), false),
        (frame(Role::Server, last(TEXT), b"words"), false),
        (frame(Role::Server, last(TEXT), b""), false),
        (frame(Role::Server, first(TEXT), br#"{"a":1}"#), false),
        (frame(Role::Client, last(TEXT), br#"{"a":1}"#), false),
        (
            [&frame(Role::Server, last(TEXT), br#"{"a":1}"#)[..], b"\x81"].concat(),
            false,
        ),
        (b"\x81\x08{\"a\":1}".to_vec(), false),
    ] {
        let (out, stats) = events(&[w(ASK), r(answer("")), Step::Gap(Read, 9), r(&segment)]);
        let lines = shown(&out);
        let expected: &[&str] = if found {
            &["0 s lost", r#"0 s {"a":1}"#, "0 s Complete"]
        } else {
            &["0 s lost"]
        };
        assert_eq!(lines[3..], *expected, "{segment:?}");
        assert_eq!(stats.steps_lost, 1);
    }
}

#[test]
fn after_a_gap_compressed_messages_end_unread_and_plain_ones_are_read() {
    let mut deflater = Deflater::new();
    let one = frame(
        Role::Server,
        deflated(last(TEXT)),
        &deflater.message(b"one one one one one"),
    );
    let two = deflater.message(b"one one one two");
    let steps = [
        r(&one[..4]),
        Step::Gap(Read, 2),
        r(&one[6..]),
        server(deflated(last(TEXT)), &two),
        server(last(TEXT), "plain"),
        client(deflated(last(TEXT)), Deflater::new().message(b"heard")),
    ];
    let (out, stats) = events(
        &[
            &[w(ASK), r(answer("permessage-deflate"))],
            &steps[..],
            &[closed()],
        ]
        .concat(),
    );
    assert_eq!(
        shown(&out)[3..],
        [
            "0 s o",
            "0 s Lost",
            "0 s Lost",
            "0 s plain",
            "0 s Complete",
            "0 c heard",
            "0 c Complete",
            "0 < Cut",
            "closed",
        ]
    );
    assert_eq!((stats.messages, stats.messages_lost), (2, 2));
    // Where no message builds on another, only the one with the gap is lost.
    let fresh = Deflater::new().message(b"one one one two");
    let (out, _) = events(
        &[
            &[
                w(ASK),
                r(answer("permessage-deflate; server_no_context_takeover")),
            ],
            &steps[..3],
            &[server(deflated(last(TEXT)), &fresh)],
        ]
        .concat(),
    );
    assert_eq!(
        shown(&out)[3..],
        ["0 s o", "0 s Lost", "0 s one one one two", "0 s Complete"]
    );
}

#[test]
fn compression_that_is_corrupt_costs_the_rest_of_its_stream() {
    let steps = [
        server(deflated(last(TEXT)), b"\xff\xff\xff\xff"),
        server(deflated(last(TEXT)), Deflater::new().message(b"later")),
        server(last(TEXT), "plain"),
    ];
    let (out, stats) = events(&[&[w(ASK), r(answer("permessage-deflate"))], &steps[..]].concat());
    assert_eq!(
        shown(&out)[3..],
        ["0 s Refused", "0 s Lost", "0 s plain", "0 s Complete"]
    );
    assert_eq!((stats.messages_refused, stats.messages_lost), (1, 1));
}

#[test]
fn a_message_that_unfolds_beyond_the_limit_is_refused() {
    let bomb = Deflater::new().message(&vec![0; 4 << 20]);
    assert!(bomb.len() < 8 << 10);
    let (out, stats) = events(&[
        w(ASK),
        r(answer("permessage-deflate; server_no_context_takeover")),
        server(deflated(last(BINARY)), &bomb),
        server(deflated(last(TEXT)), Deflater::new().message(b"next")),
    ]);
    let lines = shown(&out);
    let unfolded = lines[3].len();
    assert!(unfolded < 1 << 20, "{unfolded}");
    assert_eq!(lines[4..], ["0 s Refused", "0 s next", "0 s Complete"]);
    assert_eq!(stats.messages_refused, 1);
}

#[test]
fn decoders_beyond_their_memory_are_refused_and_what_they_take_is_given_back() {
    let limits = Limits {
        decoder_bytes: 100 << 10,
        ..Limits::default()
    };
    let mut stage = Http::new(limits);
    let (mut out, mut stats) = (Vec::new(), Stats::default());
    let conn = CONN;
    let open = crate::connection::Segment::Open { at: at(2), conn };
    stage.handle(open, &mut stats, &mut out);
    for step in [
        w(ASK),
        r(answer("permessage-deflate")),
        client(deflated(last(TEXT)), Deflater::new().message(b"read")),
        server(deflated(last(TEXT)), Deflater::new().message(b"not")),
    ] {
        stage.handle(segment(conn, &step), &mut stats, &mut out);
    }
    assert_eq!(
        shown(&out)[3..],
        ["0 c read", "0 c Complete", "0 s Refused"]
    );
    assert_eq!(stage.decoder_bytes(), super::super::body::INFLATE_MEMORY);
    stage.handle(segment(conn, &closed()), &mut stats, &mut out);
    assert_eq!(stage.decoder_bytes(), 0);
}

#[test]
fn silence_changes_nothing() {
    let mut stage = Http::new(Limits::default());
    let (mut out, mut stats) = (Vec::new(), Stats::default());
    let conn = CONN;
    let open = crate::connection::Segment::Open { at: at(2), conn };
    stage.handle(open, &mut stats, &mut out);
    for step in [
        w(ASK),
        r(answer("")),
        r(frame(Role::Server, first(TEXT), b"be")),
    ] {
        stage.handle(segment(conn, &step), &mut stats, &mut out);
    }
    let later = at(2) + crate::http::EXCHANGE_IDLE * 3;
    stage.expire(later, &mut stats, &mut out);
    assert_eq!(stage.deadline(), None);
    let rest = r(frame(Role::Server, last(CONTINUE), b"fore"));
    stage.handle(segment(conn, &rest), &mut stats, &mut out);
    assert_eq!(shown(&out)[3..], ["0 s before", "0 s Complete"]);
}

#[test]
fn a_client_that_does_not_wait_for_the_answer_is_not_followed() {
    let (out, _) = events(&[w(ASK), w("GET"), r(answer(""))]);
    assert_eq!(shown(&out).last().unwrap(), "dismissed Upgraded");
}
