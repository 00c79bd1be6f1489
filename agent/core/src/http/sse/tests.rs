//! Tables and laws of the event stream decoder.

use proptest::prelude::*;

use super::{Decoder, EVENT_BYTES, LINE_BYTES};

type Events = Vec<(String, String)>;

fn push(decoder: &mut Decoder, bytes: &[u8], events: &mut Events) {
    decoder.push(bytes, |event| {
        assert!(event.is_last, "only long events come in pieces");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        events.push((text(event.name), text(event.data)));
    });
}

/// The events, with the pieces of each put together.
fn joined(decoder: &mut Decoder, bytes: &[u8], piece_bytes: usize) -> Events {
    let mut events = Vec::new();
    let mut data = String::new();
    for piece in bytes.chunks(piece_bytes) {
        decoder.push(piece, |event| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            data.push_str(&text(event.data));
            if event.is_last {
                events.push((text(event.name), std::mem::take(&mut data)));
            }
        });
        assert!(decoder.buffered_bytes() <= EVENT_BYTES + LINE_BYTES);
    }
    events
}

fn decode(stream: &str) -> Events {
    let mut events = Vec::new();
    push(&mut Decoder::new(), stream.as_bytes(), &mut events);
    events
}

fn events(list: &[(&str, &str)]) -> Events {
    list.iter()
        .map(|(name, data)| ((*name).to_owned(), (*data).to_owned()))
        .collect()
}

#[test]
fn streams_mean_what_the_standard_says() {
    let table: &[(&str, &[(&str, &str)])] = &[
        ("data: a\n\n", &[("", "a")]),
        ("data:a\n\n", &[("", "a")]),
        ("data:  a\n\n", &[("", " a")]),
        ("data\n\n", &[("", "")]),
        ("data:\n\n", &[("", "")]),
        ("data\ndata\n\ndata:", &[("", "\n")]),
        ("data: a\ndata: b\n\n", &[("", "a\nb")]),
        (
            "data: YHOO\ndata: +2\ndata: 10\n\n",
            &[("", "YHOO\n+2\n10")],
        ),
        ("event: x\ndata: a\n\n", &[("x", "a")]),
        ("data: a\nevent: x\n\n", &[("x", "a")]),
        ("event: x\n\ndata: a\n\n", &[("", "a")]),
        ("event: x\nevent: y\ndata: a\n\n", &[("y", "a")]),
        (": comment\n\n: another\ndata: a\n\n", &[("", "a")]),
        (":\n\n:\n\n", &[]),
        ("retry: 10\nunknown: x\nid: 1\ndata: a\n\n", &[("", "a")]),
        ("data : a\n\n", &[]),
        (" data: a\n\n", &[]),
        ("DATA: a\n\n", &[]),
        ("data: a\r\n\r\ndata: b\r\n\r\n", &[("", "a"), ("", "b")]),
        ("data: a\r\rdata: b\r\r", &[("", "a"), ("", "b")]),
        ("data: a\n\rdata: b\r\n\n", &[("", "a"), ("", "b")]),
        ("\u{feff}data: a\n\n", &[("", "a")]),
        ("\u{feff}\u{feff}data: a\n\n", &[]),
        ("data: a\n\n\u{feff}data: b\n\n", &[("", "a")]),
        ("data: a", &[]),
        ("data: a\n", &[]),
        (
            "data: {\"a\": 1}\n\ndata: [DONE]\n\n",
            &[("", "{\"a\": 1}"), ("", "[DONE]")],
        ),
        (
            "data: gr\u{fc}n \u{1f600}\n\n",
            &[("", "gr\u{fc}n \u{1f600}")],
        ),
    ];
    for (stream, expected) in table {
        assert_eq!(decode(stream), events(expected), "{stream:?}");
    }
}

#[test]
fn the_last_id_stays_and_one_with_a_nul_is_ignored() {
    let mut decoder = Decoder::new();
    push(
        &mut decoder,
        b"id: 7\ndata: a\n\nid: x\0y\ndata: b\n\n",
        &mut Vec::new(),
    );
    assert_eq!(decoder.last_id(), b"7");
}

#[test]
fn an_event_without_its_blank_line_is_not_dispatched_but_can_be_asked_for() {
    let mut decoder = Decoder::new();
    push(&mut decoder, b"event: e\ndata: a\n", &mut Vec::new());
    let unfinished = decoder
        .unfinished()
        .map(|event| (event.name.to_vec(), event.data.to_vec()));
    assert_eq!(unfinished, Some((b"e".to_vec(), b"a".to_vec())));
    push(&mut decoder, b"data: cu", &mut Vec::new());
    assert_eq!(decoder.unfinished(), None);
}

#[test]
fn a_gap_drops_what_it_touches_and_goes_on_behind_the_next_blank_line() {
    let mut decoder = Decoder::new();
    let mut found = Vec::new();
    push(&mut decoder, b"data: a\n\ndata: b", &mut found);
    decoder.gap();
    push(&mut decoder, b"\n\ndata: c\n\n", &mut found);
    assert_eq!(found, events(&[("", "a"), ("", "c")]));
    // The first line end after a gap may end a line of which nothing is left.
    decoder.gap();
    push(&mut decoder, b"\ndata: d\n\ndata: e\n\n", &mut found);
    assert_eq!(found, events(&[("", "a"), ("", "c"), ("", "e")]));
    assert_eq!(decoder.gaps(), 2);
}

#[test]
fn a_line_over_the_limit_that_is_no_data_costs_its_event_only() {
    let mut decoder = Decoder::new();
    let mut found = Vec::new();
    let long = format!("data: begun\nnote: {}\n", "x".repeat(LINE_BYTES));
    push(&mut decoder, long.as_bytes(), &mut found);
    push(&mut decoder, b"data: more\n\ndata: a\n\n", &mut found);
    assert_eq!((found, decoder.refused()), (events(&[("", "a")]), 1));
    assert!(decoder.buffered_bytes() < 100);
}

#[test]
fn data_over_the_limit_come_in_pieces_that_make_the_whole() {
    let line = "x".repeat(1_000);
    let lines = vec![line.as_str(); EVENT_BYTES / 1_000 + 2];
    let one_line = "y".repeat(2 * LINE_BYTES + 7);
    let note = format!(": {}\n", "z".repeat(LINE_BYTES));
    let stream = format!(
        "event: long\ndata: begun\ndata:{one_line}\r\ndata: on\n{note}data\n\ndata: {}\n\ndata: a\n\n",
        lines.join("\ndata: ")
    );
    let first = format!("begun\n{one_line}\non\n");
    let second = lines.join("\n");
    let expected = events(&[("long", &first), ("", &second), ("", "a")]);
    for piece_bytes in [stream.len(), 16_383, 1_000_001] {
        let mut decoder = Decoder::new();
        let found = joined(&mut decoder, stream.as_bytes(), piece_bytes);
        assert!(found == expected, "in pieces of {piece_bytes} bytes");
        assert_eq!(decoder.refused(), 0);
    }
}

#[test]
fn of_an_event_in_pieces_no_more_comes_after_a_gap() {
    let mut decoder = Decoder::new();
    let begun = format!("data: {}", "x".repeat(LINE_BYTES));
    let mut pieces = 0;
    decoder.push(begun.as_bytes(), |event| {
        pieces += u32::from(!event.is_last);
    });
    assert!(pieces > 0);
    decoder.gap();
    let mut found = Vec::new();
    push(&mut decoder, b"xx\n\ndata: a\n\n", &mut found);
    assert_eq!(found, events(&[("", "a")]));
}

#[test]
fn an_event_in_pieces_that_lacks_only_its_blank_line_can_be_asked_for() {
    let mut decoder = Decoder::new();
    let begun = format!("data: {}", "x".repeat(LINE_BYTES));
    decoder.push(begun.as_bytes(), |_| {});
    assert_eq!(decoder.unfinished(), None);
    decoder.push(b"\n", |_| {});
    let unfinished = decoder.unfinished();
    assert_eq!(
        unfinished.map(|event| (event.data.len(), event.is_last)),
        Some((0, true))
    );
}

#[test]
fn events_show_no_content() {
    Decoder::new().push(b"event: canary\ndata: canary\n\n", |event| {
        assert_eq!(format!("{event:?}"), "Event(6 bytes of name, 6 of data)");
    });
}

#[test]
fn a_name_over_the_limit_is_cut() {
    let stream = format!("event: {}\ndata: a\n\n", "e".repeat(1_000));
    assert_eq!(decode(&stream), events(&[(&"e".repeat(256), "a")]));
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(&b"data:"[..]),
        Just(&b"data: {}"[..]),
        Just(&b"event: e"[..]),
        Just(&b"id: 1"[..]),
        Just(&b": c"[..]),
        Just(&b"\n"[..]),
        Just(&b"\r"[..]),
        Just(&b"\r\n"[..]),
        Just(&b"\n\n"[..]),
        Just("\u{feff}".as_bytes()),
        Just(&b"\xff\0"[..]),
        Just("\u{1f600}".as_bytes()),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_cutting_gives_the_same_events(
        stream in stream(),
        cuts in proptest::collection::vec(1..8usize, 0..100),
    ) {
        let mut whole = Vec::new();
        push(&mut Decoder::new(), &stream, &mut whole);
        let (mut decoder, mut found, mut rest) = (Decoder::new(), Vec::new(), stream.as_slice());
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            push(&mut decoder, piece, &mut found);
            rest = after;
        }
        push(&mut decoder, rest, &mut found);
        prop_assert_eq!(whole, found);
    }

    #[test]
    fn a_gap_never_makes_an_event_that_was_not_sent(
        texts in proptest::collection::vec("[a-z]{0,9}", 1..9),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let stream: String =
            texts.iter().map(|text| format!("event: n\r\ndata: <{text}>\r\n\r\n")).collect();
        let (from, to) = (from.index(stream.len()), to.index(stream.len()));
        let (from, to) = (from.min(to), from.max(to));
        let all = decode(&stream);
        let (mut decoder, mut found) = (Decoder::new(), Vec::new());
        push(&mut decoder, &stream.as_bytes()[..from], &mut found);
        decoder.gap();
        push(&mut decoder, &stream.as_bytes()[to..], &mut found);
        for event in found {
            prop_assert!(all.contains(&event), "{:?}", event);
        }
    }
}
