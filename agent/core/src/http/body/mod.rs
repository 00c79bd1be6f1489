//! Content coding of bodies (RFC 9110, section 8.4), decoded as the bytes arrive.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use brotli::DecompressorWriter;
use flate2::write::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::BodyEnd;
use crate::event::Plaintext;

/// LIMIT: 16 MiB decompressed of one body or message, sixteen times the largest reply seen; beyond
/// it the body is refused, its framing is still followed.
const DECODED_BYTES: u64 = 16 << 20;

/// LIMIT: the ratio of decompressed to compressed bytes is free up to 64 KiB of output, for
/// repetitive texts begin with a burst.
const RATIO_FREE_BYTES: u64 = 64 << 10;

/// LIMIT: 100 to 1 from then on; event streams of tool calls stay under 30. Beyond it the body
/// is refused.
const RATIO: u64 = 100;

/// LIMIT: 2 to the 23 is 8 MiB, the window that RFC 9659 allows for HTTP; a larger one is refused.
const ZSTD_WINDOW_LOG: u32 = 23;

/// LIMIT: compressed bytes are decoded in steps of 4 KiB, so that one step cannot run far past
/// the limits above.
pub(super) const STEP_BYTES: usize = 4 << 10;

/// LIMIT: output buffer of one step, 16 KiB; only a step size.
pub(super) const OUT_BYTES: usize = 16 << 10;

/// Bytes of a body that tell how it is coded: as many as the longest of the marks has.
const TELLING_BYTES: usize = 4;

/// Memory of one inflate state and its buffers, as the crate allocates them.
pub(super) const INFLATE_MEMORY: usize = 80 << 10;

/// Memory of one brotli state beside its window.
const BROTLI_MEMORY: usize = 64 << 10;

/// How a body is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Deflate,
    Brotli,
    Zstd,
    /// The head could not be read whole: the first bytes of the body tell.
    Unsaid,
    /// Unknown, or more than one after the other.
    Refused,
}

impl Coding {
    /// Reads the values of all `content-encoding` fields of a head.
    /// LIMIT: one coding; a second one multiplies what a few bytes can unfold to (gzip in gzip
    /// reaches 455,747 to 1), and no provider sends it. The body is refused.
    pub(super) fn of<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        values.fold(Self::Identity, Self::with)
    }

    /// Adds the value of one more field.
    pub(super) fn with(self, value: &[u8]) -> Self {
        let mut coding = self;
        for token in value.split(|byte| *byte == b',') {
            let token = token.trim_ascii();
            if token.is_empty() || token.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            if coding != Self::Identity {
                return Self::Refused;
            }
            coding = match token.to_ascii_lowercase().as_slice() {
                b"gzip" | b"x-gzip" => Self::Gzip,
                b"deflate" => Self::Deflate,
                b"br" => Self::Brotli,
                b"zstd" => Self::Zstd,
                _ => Self::Refused,
            };
        }
        coding
    }

    /// Tells from its first bytes how a body is coded whose head is not known. JSON and event
    /// streams begin with few characters, all codings but brotli with a mark of their own.
    fn of_body(first: &[u8]) -> Self {
        let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
        match first {
            [
                b'{' | b'[' | b'"' | b'd' | b'e' | b'i' | b'r' | b':' | b' ' | b'\t' | b'\r'
                | b'\n',
                rest @ ..,
            ] if rest.iter().take(TELLING_BYTES - 1).all(is_text) => Self::Identity,
            // The mark of UTF-8.
            [0xef, 0xbb, 0xbf, ..] => Self::Identity,
            // RFC 1952, section 2.3.1.
            [0x1f, 0x8b, ..] => Self::Gzip,
            // RFC 8878, section 3.1.1.
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [a, b, ..] if is_zlib(*a, *b) => Self::Deflate,
            _ => Self::Brotli,
        }
    }
}

/// RFC 1950, section 2.2: the method is 8 and the two bytes are a multiple of 31.
const fn is_zlib(first: u8, second: u8) -> bool {
    first & 0x0f == 8 && u16::from_be_bytes([first, second]).is_multiple_of(31)
}

/// Memory that all decoders together hold, as far as it depends on the peer.
#[derive(Clone, Debug)]
pub(super) struct DecoderMemory {
    used: Arc<AtomicUsize>,
    limit: usize,
}

impl DecoderMemory {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            used: Arc::new(AtomicUsize::new(0)),
            limit,
        }
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// The share of one decoder, given back when it is dropped.
pub(super) struct Share {
    memory: DecoderMemory,
    bytes: usize,
}

impl Share {
    pub(super) const fn empty(memory: DecoderMemory) -> Self {
        Self { memory, bytes: 0 }
    }

    /// Grows the share to `bytes`.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let more = bytes.saturating_sub(self.bytes);
        if self.memory.used().saturating_add(more) > self.memory.limit {
            return Err(Refusal);
        }
        self.memory.used.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Compression that is corrupt, or over a limit.
pub(super) struct Refusal;

/// zstd tells its errors as numbers.
impl From<usize> for Refusal {
    fn from(_: usize) -> Self {
        Self
    }
}

impl From<io::Error> for Refusal {
    fn from(_: io::Error) -> Self {
        Self
    }
}

/// The decoding state of one body.
pub(super) struct Content(State);

enum State {
    Identity,
    Coded(Box<Decoder>),
    /// How it is coded was not said, and its first bytes, fewer than [`TELLING_BYTES`], do not tell.
    Unsaid {
        first: Vec<u8>,
        memory: DecoderMemory,
    },
    /// Nothing more of it can be read, for this reason.
    Spent(BodyEnd),
}

impl Content {
    pub(super) fn new(coding: Coding, memory: &DecoderMemory) -> Self {
        let engine = match coding {
            Coding::Identity => return Self(State::Identity),
            Coding::Unsaid => {
                return Self(State::Unsaid {
                    first: Vec::new(),
                    memory: memory.clone(),
                });
            }
            Coding::Refused => return Self(State::Spent(BodyEnd::Refused)),
            Coding::Gzip => Engine::Gzip(Box::new(MultiGzDecoder::new(Sink::default()))),
            Coding::Deflate => Engine::DeflateStart(None),
            Coding::Brotli => Engine::BrotliStart,
            Coding::Zstd => Engine::ZstdStart,
        };
        let mut share = Share::empty(memory.clone());
        if share.grow(INFLATE_MEMORY).is_err() {
            return Self(State::Spent(BodyEnd::Refused));
        }
        Self(State::Coded(Box::new(Decoder {
            engine,
            taken: 0,
            given: 0,
            share,
        })))
    }

    /// Takes bytes of the body as framed; `each` receives them as they were before the coding.
    pub(super) fn push(&mut self, bytes: Plaintext, mut each: impl FnMut(Plaintext)) {
        match &mut self.0 {
            State::Identity => each(bytes),
            State::Coded(decoder) => {
                let mut decoded = Vec::new();
                let result = decoder.push(&bytes, &mut decoded);
                if !decoded.is_empty() {
                    each(decoded.into());
                }
                if result.is_err() {
                    self.0 = State::Spent(BodyEnd::Refused);
                }
            }
            State::Unsaid { first, memory } => {
                first.extend_from_slice(&bytes);
                if first.len() >= TELLING_BYTES {
                    let coding = Coding::of_body(first);
                    let bytes = std::mem::take(first).into();
                    *self = Self::new(coding, memory);
                    self.push(bytes, each);
                }
            }
            State::Spent(_) => {}
        }
    }

    /// Takes a gap in the body; whether the body goes on after it.
    pub(super) fn gap(&mut self) -> bool {
        match self.0 {
            State::Identity => true,
            State::Coded(_) | State::Unsaid { .. } => {
                self.0 = State::Spent(BodyEnd::Lost);
                false
            }
            State::Spent(_) => false,
        }
    }

    /// The framing says that the body is whole.
    pub(super) fn complete(self, each: &mut dyn FnMut(Plaintext)) -> BodyEnd {
        match self.0 {
            State::Identity => BodyEnd::Complete,
            State::Spent(end) => end,
            State::Unsaid { first, memory } => {
                if first.is_empty() {
                    return BodyEnd::Complete;
                }
                let mut content = Self::new(Coding::of_body(&first), &memory);
                content.push(first.into(), &mut *each);
                content.complete(each)
            }
            State::Coded(mut decoder) => {
                let mut decoded = Vec::new();
                let result = decoder.finish(&mut decoded);
                if !decoded.is_empty() {
                    each(decoded.into());
                }
                if result.is_ok() {
                    BodyEnd::Complete
                } else {
                    BodyEnd::Refused
                }
            }
        }
    }

    /// Whether its compression was refused.
    pub(super) const fn is_refused(&self) -> bool {
        matches!(self.0, State::Spent(BodyEnd::Refused))
    }

    /// The body ends early, for the reason given, unless it was spent before.
    pub(super) const fn stop(&self, end: BodyEnd) -> BodyEnd {
        match self.0 {
            State::Identity | State::Coded(_) | State::Unsaid { .. } => end,
            State::Spent(earlier) => earlier,
        }
    }

    /// The connection was closed behind a body that lasts until then.
    pub(super) fn closed(self, each: &mut dyn FnMut(Plaintext)) -> BodyEnd {
        let coded = matches!(self.0, State::Coded(_));
        match self.complete(each) {
            // Whether the sender or the network stopped it cannot be told.
            BodyEnd::Refused if coded => BodyEnd::Cut,
            end @ (BodyEnd::Complete
            | BodyEnd::Cut
            | BodyEnd::GivenUp(_)
            | BodyEnd::Lost
            | BodyEnd::Refused) => end,
        }
    }
}

/// Collects what a push decoder writes, up to a limit.
#[derive(Default)]
struct Sink {
    decoded: Vec<u8>,
    room: usize,
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.room.checked_sub(bytes.len()) {
            Some(left) => {
                self.room = left;
                self.decoded.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            None => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Engine {
    Gzip(Box<MultiGzDecoder<Sink>>),
    /// The first byte, once it is there: the second one tells zlib's wrapping from none.
    DeflateStart(Option<u8>),
    Deflate {
        inflate: Decompress,
        ended: bool,
    },
    BrotliStart,
    Brotli(Box<DecompressorWriter<Sink>>),
    ZstdStart,
    Zstd {
        context: DCtx<'static>,
        between_frames: bool,
    },
}

struct Decoder {
    engine: Engine,
    taken: u64,
    given: u64,
    share: Share,
}

impl Decoder {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        for step in bytes.chunks(STEP_BYTES) {
            self.taken = self.taken.saturating_add(length(step));
            let before = out.len();
            let result = self.step(step, out);
            self.given = self
                .given
                .saturating_add(length(out.get(before..).unwrap_or_default()));
            result?;
        }
        Ok(())
    }

    fn step(&mut self, mut step: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        let room = room(self.taken, self.given);
        match &mut self.engine {
            Engine::Gzip(decoder) => {
                decoder.get_mut().room = room;
                let written = write_all(decoder.as_mut(), step);
                let result = written.and_then(|()| Ok(decoder.flush()?));
                out.append(&mut decoder.get_mut().decoded);
                result
            }
            Engine::DeflateStart(first) => {
                let first = match *first {
                    Some(first) => first,
                    None => match step.split_first() {
                        None => return Ok(()),
                        Some((byte, rest)) => {
                            step = rest;
                            *first = Some(*byte);
                            *byte
                        }
                    },
                };
                let Some(second) = step.first() else {
                    return Ok(());
                };
                let mut inflate = Decompress::new(is_zlib(first, *second));
                let mut ended = false;
                let result = inflate_all(&mut inflate, &mut ended, &[first], room, out)
                    .and_then(|()| inflate_all(&mut inflate, &mut ended, step, room, out));
                self.engine = Engine::Deflate { inflate, ended };
                result
            }
            Engine::Deflate { inflate, ended } => inflate_all(inflate, ended, step, room, out),
            Engine::BrotliStart => {
                let Some(first) = step.first() else {
                    return Ok(());
                };
                let window = brotli_window(*first).ok_or(Refusal)?;
                self.share.grow(window + BROTLI_MEMORY)?;
                let mut decoder = Box::new(DecompressorWriter::new(Sink::default(), OUT_BYTES));
                decoder.get_mut().room = room;
                let result = write_all(decoder.as_mut(), step);
                out.append(&mut decoder.get_mut().decoded);
                self.engine = Engine::Brotli(decoder);
                result
            }
            Engine::Brotli(decoder) => {
                decoder.get_mut().room = room;
                let result = write_all(decoder.as_mut(), step);
                out.append(&mut decoder.get_mut().decoded);
                result
            }
            Engine::ZstdStart => {
                let mut context = DCtx::try_create().ok_or(Refusal)?;
                context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
                let mut between_frames = true;
                let result = unzstd(
                    &mut context,
                    &mut between_frames,
                    &mut self.share,
                    step,
                    room,
                    out,
                );
                self.engine = Engine::Zstd {
                    context,
                    between_frames,
                };
                result
            }
            Engine::Zstd {
                context,
                between_frames,
            } => unzstd(context, between_frames, &mut self.share, step, room, out),
        }
    }

    /// Whether the stream is whole. A body without any byte is: servers label empty ones, too.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        if self.taken == 0 {
            return Ok(());
        }
        let room = room(self.taken, self.given);
        match &mut self.engine {
            Engine::Gzip(decoder) => {
                decoder.get_mut().room = room;
                let result = decoder.try_finish();
                out.append(&mut decoder.get_mut().decoded);
                Ok(result?)
            }
            Engine::Brotli(decoder) => {
                decoder.get_mut().room = room;
                let result = decoder.close();
                out.append(&mut decoder.get_mut().decoded);
                Ok(result?)
            }
            Engine::Deflate { ended: true, .. }
            | Engine::Zstd {
                between_frames: true,
                ..
            } => Ok(()),
            Engine::Deflate { .. }
            | Engine::Zstd { .. }
            | Engine::DeflateStart(_)
            | Engine::BrotliStart
            | Engine::ZstdStart => Err(Refusal),
        }
    }
}

/// Writes everything; a decoder that takes no more has seen its end, and what follows is garbage.
fn write_all(decoder: &mut impl io::Write, mut bytes: &[u8]) -> Result<(), Refusal> {
    while !bytes.is_empty() {
        let taken = decoder.write(bytes)?;
        if taken == 0 {
            return Err(Refusal);
        }
        bytes = bytes.get(taken..).unwrap_or_default();
    }
    Ok(())
}

fn inflate_all(
    inflate: &mut Decompress,
    ended: &mut bool,
    mut bytes: &[u8],
    room: usize,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let most = out.len().saturating_add(room);
    let mut buffer = [0; OUT_BYTES];
    loop {
        if *ended {
            return if bytes.is_empty() {
                Ok(())
            } else {
                Err(Refusal)
            };
        }
        let (taken, given) = (inflate.total_in(), inflate.total_out());
        let status = inflate.decompress(bytes, &mut buffer, FlushDecompress::None);
        let taken = usize::try_from(inflate.total_in() - taken).unwrap_or(usize::MAX);
        let given = usize::try_from(inflate.total_out() - given).unwrap_or(usize::MAX);
        bytes = bytes.get(taken..).unwrap_or_default();
        out.extend_from_slice(buffer.get(..given).unwrap_or_default());
        if out.len() > most {
            out.truncate(most);
            return Err(Refusal);
        }
        match status {
            Ok(Status::StreamEnd) => *ended = true,
            Ok(Status::Ok | Status::BufError) => {
                if given < OUT_BYTES && (bytes.is_empty() || taken == 0) {
                    return if bytes.is_empty() {
                        Ok(())
                    } else {
                        Err(Refusal)
                    };
                }
            }
            Err(_) => return Err(Refusal),
        }
    }
}

fn unzstd(
    context: &mut DCtx<'static>,
    between_frames: &mut bool,
    share: &mut Share,
    bytes: &[u8],
    room: usize,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let most = out.len().saturating_add(room);
    let mut input = InBuffer::around(bytes);
    let mut buffer = [0; OUT_BYTES];
    loop {
        let taken = input.pos();
        let mut output = OutBuffer::around(buffer.as_mut_slice());
        let hint = context.decompress_stream(&mut output, &mut input)?;
        let given = output.pos();
        out.extend_from_slice(output.as_slice());
        // The window is allocated once the frame's header is read.
        share.grow(context.sizeof())?;
        if out.len() > most {
            out.truncate(most);
            return Err(Refusal);
        }
        let idle = input.pos() == taken && given == 0;
        if !idle {
            *between_frames = hint == 0;
        }
        if given < OUT_BYTES && (input.pos() == bytes.len() || idle) {
            return if input.pos() == bytes.len() {
                Ok(())
            } else {
                Err(Refusal)
            };
        }
    }
}

/// Size of the window that a brotli stream declares in its first byte (RFC 7932, section 9.1);
/// `None` for the large-window extension, which HTTP does not have.
fn brotli_window(first: u8) -> Option<usize> {
    let bits = if first & 1 == 0 {
        16
    } else {
        match ((first >> 1) & 7, (first >> 4) & 7) {
            (0, 0) => 17,
            (0, 1) => return None,
            (0, high) => 8 + high,
            (low, _) => 17 + low,
        }
    };
    Some(1 << bits)
}

/// How much more may come out of a decoder that has taken and given so many bytes.
pub(super) fn room(taken: u64, given: u64) -> usize {
    let most = taken
        .saturating_mul(RATIO)
        .clamp(RATIO_FREE_BYTES, DECODED_BYTES);
    usize::try_from(most.saturating_sub(given)).unwrap_or(usize::MAX)
}

pub(super) fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
