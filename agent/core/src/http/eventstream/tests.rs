use proptest::prelude::*;

use super::*;

/// A frame of these headers, all of them strings.
pub(crate) fn encoded(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut fields = Vec::new();
    for (name, value) in headers {
        fields.push(u8::try_from(name.len()).unwrap());
        fields.extend(name.as_bytes());
        fields.push(7);
        fields.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        fields.extend(value.as_bytes());
    }
    with_fields(&fields, payload)
}

fn with_fields(fields: &[u8], payload: &[u8]) -> Vec<u8> {
    let total = PRELUDE + fields.len() + payload.len() + CHECKSUM;
    let mut frame = u32::try_from(total).unwrap().to_be_bytes().to_vec();
    frame.extend(u32::try_from(fields.len()).unwrap().to_be_bytes());
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame.extend(fields);
    frame.extend(payload);
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame
}

/// An event of this type.
pub(crate) fn event(name: &str, payload: &[u8]) -> Vec<u8> {
    encoded(
        &[
            (":event-type", name),
            (":content-type", "application/json"),
            (":message-type", "event"),
        ],
        payload,
    )
}

type Owned = (Kind, String, Vec<u8>);

/// The frames of a stream that comes in these pieces.
fn decode(decoder: &mut Decoder, pieces: &[&[u8]]) -> Vec<Owned> {
    let mut frames = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let Step { taken, frame, .. } = decoder.push(rest);
            assert!(taken > 0, "it goes on");
            if let Some(frame) = frame {
                frames.push((frame.kind, frame.name.to_owned(), frame.payload.to_vec()));
            } else {
                assert_eq!(taken, rest.len(), "without a frame all is taken");
            }
            rest = &rest[taken..];
            assert!(decoder.buffered_bytes() <= FRAME_BYTES);
        }
    }
    frames
}

fn owned(name: &str, payload: &[u8]) -> Owned {
    (Kind::Event, name.to_owned(), payload.to_vec())
}

#[test]
fn frames_of_the_providers_own_test_vectors_are_read() {
    // Of aws-c-event-stream, tests/message_deserializer_test.c: without headers, and with one.
    let bare = [
        0x00, 0x00, 0x00, 0x1d, 0x00, 0x00, 0x00, 0x00, 0xfd, 0x52, 0x8c, 0x5a, 0x7b, 0x27, 0x66,
        0x6f, 0x6f, 0x27, 0x3a, 0x27, 0x62, 0x61, 0x72, 0x27, 0x7d, 0xc3, 0x65, 0x39, 0x36,
    ];
    let mut with_header = vec![
        0x00, 0x00, 0x00, 0x3d, 0x00, 0x00, 0x00, 0x20, 0x07, 0xfd, 0x83, 0x96, 0x0c,
    ];
    with_header.extend(b"content-type\x07\x00\x10application/json{'foo':'bar'}");
    with_header.extend([0x8d, 0x9c, 0x08, 0xb1]);
    let mut decoder = Decoder::new();
    assert_eq!(
        decode(&mut decoder, &[&bare, &with_header]),
        [owned("", b"{'foo':'bar'}"), owned("", b"{'foo':'bar'}")]
    );
    assert_eq!((decoder.broken(), decoder.refused()), (0, 0));
    assert_eq!(
        encoded(&[("content-type", "application/json")], b"{'foo':'bar'}"),
        with_header
    );
}

#[test]
fn headers_of_every_type_are_passed_over() {
    let mut fields = Vec::new();
    for (kind, length) in [
        (0, 0),
        (1, 0),
        (2, 1),
        (3, 2),
        (4, 4),
        (5, 8),
        (8, 8),
        (9, 16),
    ] {
        fields.extend([1, b'x', kind]);
        fields.extend(vec![0xff; length]);
    }
    fields.extend(b"\x01x\x06\x00\x02\xff\xff");
    fields.extend(b"\x0b:event-type\x07\x00\x04last");
    assert_eq!(
        decode(&mut Decoder::new(), &[&with_fields(&fields, b"{}")]),
        [owned("last", b"{}")]
    );
}

#[test]
fn an_exception_is_told_from_an_event() {
    for kind in ["exception", "error"] {
        let frame = encoded(
            &[
                (":message-type", kind),
                (":exception-type", "throttlingException"),
            ],
            b"{}",
        );
        let frames = decode(&mut Decoder::new(), &[&frame]);
        assert_eq!(frames, [(Kind::Exception, String::new(), b"{}".to_vec())]);
    }
}

#[test]
fn a_frame_that_is_damaged_costs_itself_and_is_counted() {
    let good = event("a", b"{\"n\":1}");
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 0x10;
        let mut decoder = Decoder::new();
        let next = event("b", b"{}");
        let frames = decode(&mut decoder, &[&bad, &next]);
        assert_eq!(frames, [owned("b", b"{}")], "{place}");
        assert_eq!((decoder.broken(), decoder.refused()), (1, 0), "{place}");
    }
}

#[test]
fn headers_that_are_none_cost_their_frame() {
    for fields in [
        &b"\x05ab"[..],
        b"\x01x",
        b"\x01x\x0a",
        b"\x01x\x07\x00\x09ab",
        b"\x01x\x05\x00",
        b"\x0b:event-type\x07\x00\x02\xff\xff",
    ] {
        let mut decoder = Decoder::new();
        let frames = decode(
            &mut decoder,
            &[&with_fields(fields, b"{}"), &event("b", b"{}")],
        );
        assert_eq!((frames, decoder.broken()), (vec![owned("b", b"{}")], 1));
    }
}

#[test]
fn a_frame_over_the_limit_is_skipped_and_counted() {
    let fits = vec![b'x'; FRAME_BYTES - event("a", b"").len()];
    let mut larger = fits.clone();
    larger.push(b'x');
    let mut decoder = Decoder::new();
    let stream = [event("a", &larger), event("a", &fits), event("b", b"{}")].concat();
    let frames = decode(&mut decoder, &[&stream]);
    assert_eq!(frames, [owned("a", &fits), owned("b", b"{}")]);
    assert_eq!((decoder.broken(), decoder.refused()), (0, 1));
}

#[test]
fn trap_20_lengths_that_lie_hold_nothing() {
    let mut prelude = u32::MAX.to_be_bytes().to_vec();
    prelude.extend(0_u32.to_be_bytes());
    prelude.extend(crc32fast::hash(&prelude).to_be_bytes());
    let mut decoder = Decoder::new();
    assert_eq!(decode(&mut decoder, &[&prelude, &[0; 4096]]), []);
    assert_eq!((decoder.buffered_bytes(), decoder.refused()), (0, 1));
}

#[test]
fn what_a_frame_carries_is_not_in_its_debug_output() {
    let frame = event("chunk", b"canary");
    let mut decoder = Decoder::new();
    let step = decoder.push(&frame);
    assert_eq!(
        format!("{:?}", step.frame),
        "Some(Frame(Event, 5 bytes of name, 6 of payload))"
    );
}

fn streams() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let one = ("[a-z]{0,9}", prop::collection::vec(any::<u8>(), 0..60));
    prop::collection::vec(one, 0..6)
}

proptest! {
    #[test]
    fn trap_17_a_split_at_any_byte_changes_nothing(stream in streams(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let bytes: Vec<u8> = stream.iter().flat_map(|(name, payload)| event(name, payload)).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let expected: Vec<Owned> = stream.iter().map(|(name, payload)| owned(name, payload)).collect();
        prop_assert_eq!(decode(&mut Decoder::new(), &pieces), expected);
    }

    #[test]
    fn a_gap_costs_the_frames_that_it_touches(stream in streams(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let frames: Vec<Vec<u8>> = stream.iter().map(|(name, payload)| event(name, payload)).collect();
        let bytes = frames.concat();
        let (from, to) = (from.index(bytes.len() + 1), to.index(bytes.len() + 1));
        let (from, to) = (from.min(to), from.max(to));
        let mut decoder = Decoder::new();
        let mut found = decode(&mut decoder, &[&bytes[..from]]);
        decoder.gap();
        found.extend(decode(&mut decoder, &[&bytes[to..]]));
        let mut at = 0;
        let whole: Vec<Owned> = stream.iter().zip(&frames).filter_map(|((name, payload), frame)| {
            let begin = at;
            at += frame.len();
            (at <= from || begin >= to).then(|| owned(name, payload))
        }).collect();
        prop_assert_eq!(found, whole);
    }

    #[test]
    fn any_bytes_are_taken(pieces in prop::collection::vec(prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        Just(event("a", b"{}")),
        Just(event("a", b"{}")[..9].to_vec()),
    ], 0..20)) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let mut whole = Decoder::new();
        let frames = decode(&mut whole, &[&pieces.concat()]);
        let mut split = Decoder::new();
        prop_assert_eq!(decode(&mut split, &pieces), frames);
        prop_assert_eq!((split.broken(), split.refused()), (whole.broken(), whole.refused()));
    }
}
