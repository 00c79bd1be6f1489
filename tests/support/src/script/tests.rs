use std::io::Read as _;

use proptest::prelude::*;

use super::*;
use crate::reply::Ending;

fn reply(parts: Vec<Vec<u8>>) -> Reply {
    Reply {
        status: 200,
        content_type: "text/plain",
        headers: Vec::new(),
        parts,
        is_stream: false,
        ending: Ending::Whole,
    }
}

fn decoder<'a>(encoding: Encoding, body: &'a [u8]) -> Box<dyn io::Read + 'a> {
    match encoding {
        Encoding::Identity => Box::new(body),
        Encoding::Gzip => Box::new(flate2::read::GzDecoder::new(body)),
        Encoding::Deflate => Box::new(flate2::read::ZlibDecoder::new(body)),
        Encoding::Brotli => Box::new(brotli::Decompressor::new(body, 4_096)),
        Encoding::Zstd => Box::new(zstd::Decoder::new(body).unwrap()),
    }
}

fn decode(encoding: Encoding, body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    decoder(encoding, body).read_to_end(&mut plain).unwrap();
    plain
}

/// Undoes chunked coding.
fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    loop {
        let httparse::Status::Complete((start, length)) = httparse::parse_chunk_size(body).unwrap()
        else {
            panic!("an unfinished chunk size");
        };
        if length == 0 {
            assert_eq!(&body[start..], b"\r\n");
            return plain;
        }
        let end = start + usize::try_from(length).unwrap();
        plain.extend(&body[start..end]);
        assert_eq!(&body[end..end + 2], b"\r\n");
        body = &body[end + 2..];
    }
}

/// The body that a client gets from all writes.
fn body_of(script: &Script, framing: Framing) -> Vec<u8> {
    let wire: Vec<u8> = script
        .pieces
        .iter()
        .flat_map(|piece| piece.bytes.clone())
        .collect();
    let head = wire
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap()
        + 4;
    match framing {
        Framing::Chunked | Framing::ChunkedEvery(_) => unchunk(&wire[head..]),
        Framing::Usual | Framing::Length | Framing::Close => wire[head..].to_vec(),
    }
}

proptest! {
    #[test]
    fn whatever_the_plan_the_client_gets_the_same_body(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 1..6),
        encoding in prop::sample::select(Encoding::ALL.to_vec()),
        framing in prop::sample::select(vec![
            Framing::Length, Framing::Chunked, Framing::ChunkedEvery(3), Framing::Close,
        ]),
        split in prop::sample::select(vec![
            Split::Usual, Split::Whole, Split::Every(1), Split::Random,
        ]),
        seed in any::<u64>(),
    ) {
        let plan = Plan { encoding, framing, split, ..Plan::default() };
        let script = script(&reply(parts.clone()), &plan, seed, false).unwrap();
        prop_assert_eq!(decode(encoding, &body_of(&script, framing)), parts.concat());
    }
}

#[test]
fn the_terminal_write_is_the_one_that_ends_the_last_part() {
    let reply = reply(vec![b"one".to_vec(), b"two".to_vec()]);
    for split in [
        Split::Usual,
        Split::Every(1),
        Split::Every(4),
        Split::Random,
    ] {
        let plan = Plan {
            split,
            framing: Framing::Chunked,
            ..Plan::default()
        };
        let script = script(&reply, &plan, 5, false).unwrap();
        let wire = |pieces: &[Piece]| -> Vec<u8> {
            pieces
                .iter()
                .flat_map(|piece| piece.bytes.clone())
                .collect()
        };
        let before = wire(&script.pieces[..script.terminal]);
        let through = wire(&script.pieces[..=script.terminal]);
        assert!(
            !before.ends_with(b"two\r\n") && through.ends_with(b"two\r\n"),
            "{split:?}"
        );
    }
}

#[test]
fn every_part_can_be_read_when_it_arrives() {
    let parts = vec![b"first event".to_vec(), b"second event".to_vec()];
    for encoding in Encoding::ALL {
        let (compressed, _) = compress(&parts, encoding).unwrap();
        let first = compressed[0].as_slice();
        let mut reader: Box<dyn io::Read + '_> = decoder(encoding, first);
        let mut plain = vec![0; parts[0].len()];
        reader.read_exact(&mut plain).unwrap();
        assert_eq!(plain, parts[0], "{encoding:?}");
    }
}

#[test]
fn a_cut_body_never_looks_whole() {
    let cut = Reply {
        ending: Ending::Cut,
        ..reply(vec![b"ab".to_vec()])
    };
    for framing in [Framing::Length, Framing::Chunked] {
        let plan = Plan {
            framing,
            ..Plan::default()
        };
        let script = script(&cut, &plan, 0, false).unwrap();
        let wire: Vec<u8> = script
            .pieces
            .iter()
            .flat_map(|piece| piece.bytes.clone())
            .collect();
        let wire = String::from_utf8(wire).unwrap();
        assert!(script.drops);
        assert!(
            wire.contains("content-length: 5") || wire.ends_with("\r\nab\r\n"),
            "{wire}"
        );
    }
}

#[test]
fn frames_of_http_2_hold_the_body_and_no_framing_of_http_1() {
    let parts = vec![b"data: one\n\n".to_vec(), b"data: two\n\n".to_vec()];
    let body: Vec<u8> = parts.concat();
    for encoding in Encoding::ALL {
        for words in ["", "length", "chunked-3", "split-5", "random", "close"] {
            let mut plan: Plan = words.parse().unwrap();
            plan.encoding = encoding;
            let script = frames(&reply(parts.clone()), &plan, 7).unwrap();
            let wire: Vec<u8> = script
                .pieces
                .iter()
                .flat_map(|piece| piece.bytes.clone())
                .collect();
            assert_eq!(decode(encoding, &wire), body, "{plan}");
            assert!(!script.closes);
            let names: Vec<_> = script.fields.iter().map(|(name, _)| *name).collect();
            assert!(!names.contains(&"transfer-encoding") && !names.contains(&"connection"));
            let has_length = !["chunked-3", "close"].contains(&words);
            assert_eq!(names.contains(&"content-length"), has_length, "{plan}");
            if words == "chunked-3" {
                assert!(script.pieces.iter().all(|piece| piece.bytes.len() <= 3));
            }
        }
    }
}
