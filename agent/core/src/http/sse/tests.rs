//! Tables and laws of the event stream decoder.

use proptest::prelude::*;

use super::{Decoder, EVENT_BYTES, LINE_BYTES};

type Events = Vec<(String, String)>;

fn push(decoder: &mut Decoder, bytes: &[u8], events: &mut Events) {
    decoder.push(bytes, |event| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        events.push((text(event.name), text(event.data)));
    });
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
fn a_line_over_the_limit_costs_its_event_only() {
    let mut decoder = Decoder::new();
    let mut found = Vec::new();
    let long = format!("data: {}\n", "x".repeat(LINE_BYTES));
    push(&mut decoder, long.as_bytes(), &mut found);
    push(&mut decoder, b"data: more\n\ndata: a\n\n", &mut found);
    assert_eq!((found, decoder.refused()), (events(&[("", "a")]), 1));
    assert!(decoder.buffered_bytes() < 100);
}

#[test]
fn an_event_over_the_limit_is_refused() {
    let mut decoder = Decoder::new();
    let mut found = Vec::new();
    let line = format!("data: {}\n", "x".repeat(1_000));
    for _ in 0..=EVENT_BYTES / 1_000 {
        push(&mut decoder, line.as_bytes(), &mut found);
        assert!(decoder.buffered_bytes() <= EVENT_BYTES + LINE_BYTES);
    }
    push(&mut decoder, b"\ndata: a\n\n", &mut found);
    assert_eq!((found, decoder.refused()), (events(&[("", "a")]), 1));
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
