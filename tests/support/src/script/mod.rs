//! Turns a reply into the writes of a connection: compression, framing, cuts.

use std::io::{self, Write};

use crate::plan::{Encoding, Framing, Plan, Split};
use crate::reply::{Ending, Reply};

/// One write: it becomes one TLS record, or several full ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Bytes.
    pub bytes: Vec<u8>,
    /// Whether the plan's delay goes before it.
    pub waits: bool,
}

/// The writes of one reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Header fields, which stand in the first writes already where the protocol is HTTP/1.1.
    pub fields: Vec<(&'static str, String)>,
    /// Writes, in order.
    pub pieces: Vec<Piece>,
    /// Index of the write after which the client has the terminal event, or the whole body.
    pub terminal: usize,
    /// Whether the connection ends with the reply.
    pub closes: bool,
    /// Whether it ends without a farewell.
    pub drops: bool,
}

/// Makes the writes of `reply` over HTTP/1.1. `seed` chooses the cuts of [`Split::Random`];
/// `closes` says that the client asked for the connection's end.
///
/// # Errors
/// If a compressor fails, which none does in memory.
pub fn script(reply: &Reply, plan: &Plan, seed: u64, closes: bool) -> io::Result<Script> {
    let (parts, trailer) = compress(&reply.parts, plan.encoding)?;
    let framing = framing(reply, plan);
    let closes = closes || framing == Framing::Close;
    let drops = reply.ending == Ending::Cut;
    let mut fields = fields(reply, plan, framing, length(&parts, &trailer));
    if matches!(framing, Framing::Chunked | Framing::ChunkedEvery(_)) {
        fields.push(("transfer-encoding", "chunked".to_owned()));
    }
    if closes {
        fields.push(("connection", "close".to_owned()));
    }
    let mut head = format!("HTTP/1.1 {} {}\r\n", reply.status, reason(reply.status));
    for (name, value) in &fields {
        head.push_str(name);
        head.push_str(": ");
        head.push_str(value);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");

    let mut writes = vec![head.into_bytes()];
    writes.extend(parts.iter().map(|part| frame(part, framing)));
    let terminal_write = writes.len() - 1;
    if !drops {
        let mut last = frame(&trailer, framing);
        if matches!(framing, Framing::Chunked | Framing::ChunkedEvery(_)) {
            last.extend(b"0\r\n\r\n");
        }
        writes.push(last);
    }
    let (pieces, terminal) = cut(&writes, terminal_write, plan, seed);
    Ok(Script {
        fields,
        pieces,
        terminal,
        closes,
        drops,
    })
}

/// Makes the DATA frames of `reply` over HTTP/2, one a piece: where HTTP/1.1 has chunks of a
/// size, frames have it.
///
/// # Errors
/// If a compressor fails, which none does in memory.
pub fn frames(reply: &Reply, plan: &Plan, seed: u64) -> io::Result<Script> {
    let (parts, trailer) = compress(&reply.parts, plan.encoding)?;
    let fields = fields(reply, plan, framing(reply, plan), length(&parts, &trailer));
    let drops = reply.ending == Ending::Cut;
    // The head is no piece.
    let mut writes = vec![Vec::new()];
    writes.extend(parts);
    let terminal_write = writes.len() - 1;
    if !drops {
        writes.push(trailer);
    }
    let split = match (plan.framing, plan.split) {
        (Framing::ChunkedEvery(bytes), Split::Usual) => Split::Every(bytes),
        (_, split) => split,
    };
    let (pieces, terminal) = cut(&writes, terminal_write, &Plan { split, ..*plan }, seed);
    Ok(Script {
        fields,
        pieces,
        terminal,
        closes: false,
        drops,
    })
}

fn framing(reply: &Reply, plan: &Plan) -> Framing {
    if plan.framing != Framing::Usual {
        plan.framing
    } else if reply.is_stream {
        Framing::Chunked
    } else {
        Framing::Length
    }
}

fn length(parts: &[Vec<u8>], trailer: &[u8]) -> usize {
    parts.iter().map(Vec::len).sum::<usize>() + trailer.len()
}

/// Header fields that do not belong to one version of HTTP.
fn fields(
    reply: &Reply,
    plan: &Plan,
    framing: Framing,
    length: usize,
) -> Vec<(&'static str, String)> {
    let mut fields = vec![("content-type", reply.content_type.to_owned())];
    fields.extend(reply.headers.iter().cloned());
    if plan.encoding != Encoding::Identity {
        fields.push(("content-encoding", plan.encoding.as_str().to_owned()));
    }
    if matches!(framing, Framing::Length | Framing::Usual) {
        // A cut body must not look whole, so more is announced than comes.
        let is_cut = reply.ending == Ending::Cut;
        let announced = if is_cut { length * 2 + 1 } else { length };
        fields.push(("content-length", announced.to_string()));
    }
    fields
}

/// Compresses the parts of a body so that each can be read when it arrives; the second value is
/// what ends the compressed stream.
fn compress(parts: &[Vec<u8>], encoding: Encoding) -> io::Result<(Vec<Vec<u8>>, Vec<u8>)> {
    let level = flate2::Compression::default();
    match encoding {
        Encoding::Identity => Ok((parts.to_vec(), Vec::new())),
        Encoding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            let parts = flushed(parts, &mut encoder, |encoder| encoder.get_mut())?;
            Ok((parts, encoder.finish()?))
        }
        Encoding::Deflate => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            let parts = flushed(parts, &mut encoder, |encoder| encoder.get_mut())?;
            Ok((parts, encoder.finish()?))
        }
        Encoding::Brotli => {
            // Quality 5 and a 4 MiB window are what servers use for replies made on the fly.
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4_096, 5, 22);
            let parts = flushed(parts, &mut encoder, |encoder| encoder.get_mut())?;
            Ok((parts, encoder.into_inner()))
        }
        Encoding::Zstd => {
            let mut encoder = zstd::Encoder::new(Vec::new(), 3)?;
            let parts = flushed(parts, &mut encoder, |encoder| encoder.get_mut())?;
            Ok((parts, encoder.finish()?))
        }
    }
}

fn flushed<E: Write>(
    parts: &[Vec<u8>],
    encoder: &mut E,
    output: impl Fn(&mut E) -> &mut Vec<u8>,
) -> io::Result<Vec<Vec<u8>>> {
    let mut compressed = Vec::with_capacity(parts.len());
    for part in parts {
        encoder.write_all(part)?;
        encoder.flush()?;
        compressed.push(std::mem::take(output(encoder)));
    }
    Ok(compressed)
}

fn frame(part: &[u8], framing: Framing) -> Vec<u8> {
    let chunk_bytes = match framing {
        Framing::Usual | Framing::Length | Framing::Close => return part.to_vec(),
        Framing::Chunked => part.len().max(1),
        Framing::ChunkedEvery(bytes) => bytes.max(1),
    };
    let mut framed = Vec::new();
    for chunk in part.chunks(chunk_bytes) {
        framed.extend(format!("{:x}\r\n", chunk.len()).bytes());
        framed.extend(chunk);
        framed.extend(b"\r\n");
    }
    framed
}

/// Cuts the writes as the plan says; the second value is the piece that ends write `terminal`.
fn cut(writes: &[Vec<u8>], terminal: usize, plan: &Plan, seed: u64) -> (Vec<Piece>, usize) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut pieces: Vec<Piece> = Vec::new();
    let mut terminal_piece = 0;
    for (number, write) in writes.iter().enumerate() {
        // The head and the first part go together in time, the rest waits.
        let mut waits = number > 1 && number <= terminal && !plan.delay.is_zero();
        let mut rest = write.as_slice();
        while !rest.is_empty() {
            let length = match plan.split {
                Split::Usual | Split::Whole => rest.len(),
                Split::Every(bytes) => bytes.clamp(1, rest.len()),
                Split::Random => rng.usize(1..=rest.len()),
            };
            let (bytes, left) = rest.split_at(length);
            rest = left;
            match pieces.last_mut() {
                Some(last) if plan.split == Split::Whole && !waits => last.bytes.extend(bytes),
                _ => pieces.push(Piece {
                    bytes: bytes.to_vec(),
                    waits,
                }),
            }
            waits = false;
        }
        if number == terminal {
            terminal_piece = pieces.len().saturating_sub(1);
        }
    }
    (pieces, terminal_piece)
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Unnamed",
    }
}

#[cfg(test)]
mod tests;
