//! The exchanges of [`traffic`](crate::traffic) as streams of one HTTP/2 connection.

use agent_core::event::Direction;

use crate::traffic::{Chunking, Exchange, Line, Traffic};

/// Bytes of data in a frame that every peer accepts.
const FRAME_BYTES: usize = 16_384;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// One side's header table, as long as it is not full.
#[derive(Default)]
struct Encoder {
    /// Newest first.
    table: Vec<(String, String)>,
}

impl Encoder {
    /// A head in one frame: what was sent before by reference, the rest added to the table.
    fn head(&mut self, flags: u8, stream: u32, fields: &[(String, String)]) -> Vec<u8> {
        let mut block = Vec::new();
        for field in fields {
            let (name, value) = field;
            // Entries of the static table, which every encoder uses.
            if let Some(index) = match (name.as_str(), value.as_str()) {
                (":method", "POST") => Some(3),
                (":status", "200") => Some(8),
                _ => None,
            } {
                block.push(0x80 | index);
            } else if let Some(place) = self.table.iter().position(|known| known == field) {
                block.extend(integer(0x80, 0x7f, 62 + place));
            } else {
                block.push(0x40);
                for text in [name, value] {
                    block.extend(integer(0, 0x7f, text.len()));
                    block.extend(text.as_bytes());
                }
                self.table.insert(0, field.clone());
            }
        }
        frame(HEADERS, flags | END_HEADERS, stream, &block)
    }
}

/// An integer whose first bits share a byte with `first` (RFC 7541, section 5.1).
fn integer(first: u8, mask: u8, value: usize) -> Vec<u8> {
    let byte = |value: usize| u8::try_from(value).unwrap_or(u8::MAX);
    let Some(mut rest) = value.checked_sub(mask.into()) else {
        return vec![first | byte(value)];
    };
    let mut bytes = vec![first | mask];
    while rest >= 128 {
        bytes.push(byte(rest % 128) | 0x80);
        rest /= 128;
    }
    bytes.push(byte(rest));
    bytes
}

/// A frame (RFC 9113, section 4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Data in frames, the last of which ends the stream.
fn data(stream: u32, bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames: Vec<Vec<u8>> = bytes
        .chunks(FRAME_BYTES)
        .map(|piece| frame(DATA, 0, stream, piece))
        .collect();
    frames.push(frame(DATA, END_STREAM, stream, &[]));
    frames
}

/// The head and the body of a request of HTTP/1.1.
fn request(bytes: &[u8]) -> (Vec<(String, String)>, &[u8]) {
    let end = bytes.windows(4).position(|end| end == b"\r\n\r\n");
    let (head, body) = bytes.split_at(end.map_or(bytes.len(), |end| end + 4));
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let mut fields: Vec<(String, String)> = [":method", ":path"]
        .into_iter()
        .zip(&mut words)
        .map(|(name, word)| (name.to_owned(), word.to_owned()))
        .collect();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let name = if name == "host" { ":authority" } else { name };
        fields.push((name.to_owned(), value.to_owned()));
    }
    (fields, body)
}

/// Opens a connection: preface and settings of both sides.
fn open(line: &mut Line, traffic: &mut Traffic) {
    line.open(traffic);
    let settings = frame(SETTINGS, 0, 0, &[]);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let opening = [&preface[..], &settings].concat();
    line.send(Direction::Written, &opening, &Chunking::Whole, traffic);
    line.send(Direction::Read, &settings, &Chunking::Whole, traffic);
}

/// A connection of HTTP/2 with all exchanges at once, seen from the client, opened and closed: first
/// the requests, then the responses, a frame of each in turn. `chunking` cuts each frame. Replies
/// that are cut end with a reset of their stream.
pub fn client_streams(line: &mut Line, exchanges: &[Exchange], chunking: &Chunking) -> Traffic {
    let mut traffic = Traffic::default();
    open(line, &mut traffic);
    let (mut client, mut server) = (Encoder::default(), Encoder::default());
    let mut replies = Vec::new();
    for (stream, exchange) in (1..).step_by(2).zip(exchanges) {
        let (fields, body) = request(&exchange.request);
        let head = client.head(0, stream, &fields);
        for bytes in [vec![head], data(stream, body)].concat() {
            line.send(Direction::Written, &bytes, chunking, &mut traffic);
        }
        let script = &exchange.frames;
        let mut fields = vec![(":status".to_owned(), exchange.served.status.to_string())];
        fields.extend(
            script
                .fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        let mut frames: Vec<Vec<u8>> = script
            .pieces
            .iter()
            .flat_map(|piece| piece.bytes.chunks(FRAME_BYTES))
            .map(|bytes| frame(DATA, 0, stream, bytes))
            .collect();
        frames.push(if script.drops {
            frame(RST_STREAM, 0, stream, &[0, 0, 0, 2])
        } else {
            frame(DATA, END_STREAM, stream, &[])
        });
        frames.insert(0, server.head(0, stream, &fields));
        replies.push(frames.into_iter());
    }
    loop {
        let turn: Vec<Vec<u8>> = replies.iter_mut().filter_map(Iterator::next).collect();
        if turn.is_empty() {
            break;
        }
        for bytes in turn {
            line.send(Direction::Read, &bytes, chunking, &mut traffic);
        }
    }
    line.close(&mut traffic);
    traffic
}
