//! Codings, their limits, and what happens to bodies that break them.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use super::{BodyEnd, Coding, Content, DECODED_BYTES, DecoderMemory, Plaintext};

const MEMORY: usize = 64 << 20;

fn coded(coding: Coding, plain: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Identity | Coding::Unsaid | Coding::Refused => plain.to_vec(),
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Deflate => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Brotli => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4_096, 5, 22);
            encoder.write_all(plain).unwrap();
            encoder.into_inner()
        }
        Coding::Zstd => zstd::encode_all(plain, 3).unwrap(),
    }
}

fn raw_deflate(plain: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn decode(coding: Coding, pieces: &[&[u8]]) -> (Vec<u8>, BodyEnd) {
    let memory = DecoderMemory::new(MEMORY);
    let mut content = Content::new(coding, &memory);
    let mut plain = Vec::new();
    for piece in pieces {
        content.push(piece.to_vec().into(), |bytes| {
            plain.extend_from_slice(&bytes);
        });
    }
    let end = content.complete(&mut |bytes: Plaintext| plain.extend_from_slice(&bytes));
    assert_eq!(memory.used(), 0, "memory is given back");
    (plain, end)
}

const CODINGS: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

fn text() -> Vec<u8> {
    (0..4_000u32)
        .flat_map(|n| format!("{{\"n\":{}}}\n", n.wrapping_mul(2_654_435_761)).into_bytes())
        .collect()
}

#[test]
fn every_coding_gives_the_text_back_at_any_cutting() {
    for coding in CODINGS {
        let stream = coded(coding, &text());
        assert_eq!(
            decode(coding, &[&stream]),
            (text(), BodyEnd::Complete),
            "{coding:?}"
        );
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(
            decode(coding, &bytes),
            (text(), BodyEnd::Complete),
            "{coding:?}"
        );
    }
    let raw = raw_deflate(&text());
    assert_eq!(
        decode(Coding::Deflate, &[&raw]),
        (text(), BodyEnd::Complete)
    );
    let bytes: Vec<&[u8]> = raw.chunks(1).collect();
    assert_eq!(decode(Coding::Deflate, &bytes), (text(), BodyEnd::Complete));
}

#[test]
fn empty_bodies_are_whole_whatever_their_label() {
    for coding in CODINGS {
        assert_eq!(decode(coding, &[]), (Vec::new(), BodyEnd::Complete));
        let stream = coded(coding, b"");
        assert_eq!(
            decode(coding, &[&stream]),
            (Vec::new(), BodyEnd::Complete),
            "{coding:?}"
        );
    }
}

#[test]
fn several_members_and_frames_are_one_body() {
    for coding in [Coding::Gzip, Coding::Zstd] {
        let stream = [coded(coding, b"one "), coded(coding, b"two")].concat();
        assert_eq!(
            decode(coding, &[&stream]),
            (b"one two".to_vec(), BodyEnd::Complete)
        );
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(
            decode(coding, &bytes),
            (b"one two".to_vec(), BodyEnd::Complete),
            "{coding:?}"
        );
    }
}

#[test]
fn a_flushed_event_is_given_at_once() {
    let (first, second) = (b"data: one\n\n".as_slice(), b"data: two\n\n".as_slice());
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4_096, 5, 22);
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    for event in [first, second] {
        gzip.write_all(event).unwrap();
        zlib.write_all(event).unwrap();
        brotli.write_all(event).unwrap();
        zstd.write_all(event).unwrap();
        gzip.flush().unwrap();
        zlib.flush().unwrap();
        brotli.flush().unwrap();
        zstd.flush().unwrap();
        if event == first {
            for (coding, stream) in [
                (Coding::Gzip, gzip.get_ref()),
                (Coding::Deflate, zlib.get_ref()),
                (Coding::Brotli, brotli.get_ref()),
                (Coding::Zstd, zstd.get_ref()),
            ] {
                let mut content = Content::new(coding, &DecoderMemory::new(MEMORY));
                let mut plain = Vec::new();
                content.push(stream.clone().into(), |bytes| {
                    plain.extend_from_slice(&bytes);
                });
                assert_eq!(plain, first, "{coding:?}");
                // What is cut here is no whole body.
                assert_eq!(
                    content.complete(&mut |_| {}),
                    BodyEnd::Refused,
                    "{coding:?}"
                );
            }
        }
    }
}

#[test]
fn a_body_that_is_cut_short_or_has_more_behind_it_is_refused() {
    for coding in CODINGS {
        let stream = coded(coding, &text());
        let (_, end) = decode(coding, &[&stream[..stream.len() - 1]]);
        assert_eq!(end, BodyEnd::Refused, "{coding:?}");
        let (plain, end) = decode(coding, &[&stream, b"garbage behind"]);
        assert_eq!((plain, end), (text(), BodyEnd::Refused), "{coding:?}");
    }
}

#[test]
fn every_changed_byte_is_survived() {
    for coding in CODINGS {
        let stream = coded(coding, &text()[..2_000]);
        for index in 0..stream.len() {
            for flip in [1, 0x80, 0xff] {
                let mut broken = stream.clone();
                broken[index] ^= flip;
                decode(coding, &[&broken]);
            }
        }
    }
}

#[test]
fn bombs_stop_at_the_limits() {
    let zeros = vec![0; 32 << 20];
    for coding in CODINGS {
        let stream = coded(coding, &zeros);
        let (plain, end) = decode(coding, &[&stream]);
        assert_eq!(end, BodyEnd::Refused, "{coding:?}");
        assert!(
            plain.len() as u64 <= DECODED_BYTES,
            "{coding:?} gave {}",
            plain.len()
        );
    }
}

#[test]
fn a_burst_below_the_free_amount_may_have_any_ratio() {
    let zeros = vec![0; 60 << 10];
    for coding in CODINGS {
        let stream = coded(coding, &zeros);
        assert_eq!(
            decode(coding, &[&stream]),
            (zeros.clone(), BodyEnd::Complete),
            "{coding:?}"
        );
    }
}

#[test]
fn more_than_the_limit_is_refused_at_any_ratio() {
    let mut state = 1u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b'a' + (state >> 28) as u8
    })
    .take((16 << 20) + 1)
    .collect();
    let stream = zstd::encode_all(noise.as_slice(), 1).unwrap();
    let (plain, end) = decode(Coding::Zstd, &[&stream]);
    assert!(plain.len() as u64 <= DECODED_BYTES);
    assert_eq!(end, BodyEnd::Refused);
}

#[test]
fn windows_over_the_limit_are_refused() {
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    zstd.window_log(24).unwrap();
    zstd.write_all(&text()).unwrap();
    let stream = zstd.finish().unwrap();
    assert_eq!(
        decode(Coding::Zstd, &[&stream]),
        (Vec::new(), BodyEnd::Refused)
    );
    // The first byte of brotli's large-window extension.
    assert_eq!(
        decode(Coding::Brotli, &[&[0x11, 0x22, 0x33]]),
        (Vec::new(), BodyEnd::Refused)
    );
}

#[test]
fn decoders_beyond_the_common_memory_are_refused() {
    let memory = DecoderMemory::new(200 << 10);
    let contents: Vec<Content> = (0..3)
        .map(|_| Content::new(Coding::Gzip, &memory))
        .collect();
    let refused: Vec<bool> = contents.iter().map(Content::is_refused).collect();
    assert_eq!(refused, [false, false, true]);
    drop(contents);
    assert_eq!(memory.used(), 0);
}

#[test]
fn a_gap_loses_a_compressed_body_and_leaves_a_plain_one() {
    let memory = DecoderMemory::new(MEMORY);
    let mut plain = Content::new(Coding::Identity, &memory);
    assert!(plain.gap());
    assert_eq!(plain.complete(&mut |_| {}), BodyEnd::Complete);
    let mut coded = Content::new(Coding::Gzip, &memory);
    assert!(!coded.gap());
    assert_eq!(coded.complete(&mut |_| {}), BodyEnd::Lost);
}

#[test]
fn codings_are_read_from_all_fields_and_one_at_most_is_taken() {
    let table: &[(&[&str], Coding)] = &[
        (&[], Coding::Identity),
        (&["identity"], Coding::Identity),
        (&["gzip"], Coding::Gzip),
        (&["X-GZip"], Coding::Gzip),
        (&[" br "], Coding::Brotli),
        (&["deflate", "identity"], Coding::Deflate),
        (&["zstd,"], Coding::Zstd),
        (&["gzip, gzip"], Coding::Refused),
        (&["gzip", "br"], Coding::Refused),
        (&["compress"], Coding::Refused),
    ];
    for (values, expected) in table {
        let coding = Coding::of(values.iter().map(|value| value.as_bytes()));
        assert_eq!(coding, *expected, "{values:?}");
    }
}

#[test]
fn a_coding_that_was_not_said_is_told_by_the_first_bytes() {
    let texts: [&[u8]; 6] = [
        b"{\"model\": \"m\", \"messages\": []}",
        b"[{\"a\":1}]",
        b"\n\n {}",
        b"event: message_start\ndata: {}\n\n",
        b"data: {\"choices\":[]}\n\n",
        b"\xef\xbb\xbf{}",
    ];
    for plain in texts.into_iter().chain([text().as_slice()]) {
        for coding in CODINGS.into_iter().chain([Coding::Identity]) {
            let stream = coded(coding, plain);
            let bytes: Vec<&[u8]> = stream.chunks(1).collect();
            for pieces in [vec![stream.as_slice()], bytes] {
                assert_eq!(
                    decode(Coding::Unsaid, &pieces),
                    (plain.to_vec(), BodyEnd::Complete),
                    "{coding:?}"
                );
            }
        }
    }
    for short in [&b""[..], b"{}"] {
        assert_eq!(
            decode(Coding::Unsaid, &[short]),
            (short.to_vec(), BodyEnd::Complete)
        );
    }
    let nothing = coded(Coding::Brotli, b"");
    assert_eq!(
        decode(Coding::Unsaid, &[&nothing]),
        (Vec::new(), BodyEnd::Complete)
    );
}
