//! Event streams of AWS (`application/vnd.amazon.eventstream`): frames with a checksum before their
//! headers and one at their end, <https://smithy.io/2.0/aws/amazon-eventstream.html>.
//!
//! ```text
//! | total length u32 | headers length u32 | CRC-32 of these | headers | payload | CRC-32 of all before |
//! header: | name length u8 | name | type u8 | value |   lengths and numbers are big-endian
//! ```
//!
//! The first checksum is also what finds the next frame where bytes are missing: among random bytes
//! one place in four thousand million looks like the begin of a frame.

use std::fmt;

/// LIMIT: 1 MiB of one frame is held; the longest event of a model is some kilobytes. A longer
/// frame is skipped and counted as refused.
pub const FRAME_BYTES: usize = 1 << 20;

/// Bytes before the headers.
const PRELUDE: usize = 12;

/// Bytes of a checksum.
const CHECKSUM: usize = 4;

/// What a frame says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An event.
    Event,
    /// An error, after which no event comes.
    Exception,
}

/// One frame. Its `Debug` output has no content.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// Type of the event; empty if it has none.
    pub name: &'a str,
    /// What it carries.
    pub payload: &'a [u8],
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Frame({:?}, {} bytes of name, {} of payload)",
            self.kind,
            self.name.len(),
            self.payload.len()
        )
    }
}

/// What came of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// How many of them were taken: up to the end of the frame, or all.
    pub taken: usize,
    /// True if bytes before the frame were none, or one over the limit.
    pub has_lost: bool,
    /// The frame that ends with them.
    pub frame: Option<Frame<'a>>,
}

/// Where the decoder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before or inside of a frame.
    Reading,
    /// Inside of a frame that is over the limit, of which so many bytes follow.
    Skipping(u64),
    /// Looks for the begin of a frame.
    Searching,
}

/// Cuts a stream into frames.
#[derive(Clone)]
pub struct Decoder {
    state: State,
    /// What is read of a frame.
    held: Vec<u8>,
    /// True once the frame that is held was given.
    is_given: bool,
    refused: u64,
    broken: u64,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// Starts at the beginning of a stream.
    pub const fn new() -> Self {
        Self {
            state: State::Reading,
            held: Vec::new(),
            is_given: false,
            refused: 0,
            broken: 0,
        }
    }

    /// Takes bytes of the stream up to the end of a frame.
    pub fn push(&mut self, bytes: &[u8]) -> Step<'_> {
        self.end_given();
        let lost = self.refused + self.broken;
        let mut rest = bytes;
        let mut is_whole = false;
        while !rest.is_empty() && !is_whole {
            let taken = match self.state {
                State::Reading => self.read(rest, &mut is_whole),
                State::Skipping(left) => self.skip(left, rest.len()),
                State::Searching => self.search(rest),
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
        self.is_given = is_whole;
        Step {
            taken: bytes.len().saturating_sub(rest.len()),
            has_lost: self.refused + self.broken > lost,
            frame: is_whole.then(|| frame(&self.held)).flatten(),
        }
    }

    /// Bytes of the stream are missing: drops the frame that is incomplete and looks for the next.
    pub fn gap(&mut self) {
        self.held = Vec::new();
        self.is_given = false;
        self.state = State::Searching;
    }

    /// Frames that were skipped because they are over the limit.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// How often bytes were no frame: any number of frames may have gone with each.
    pub const fn broken(&self) -> u64 {
        self.broken
    }

    /// Bytes held back; at most [`FRAME_BYTES`].
    pub const fn buffered_bytes(&self) -> usize {
        if self.is_given { 0 } else { self.held.len() }
    }

    /// The allocation is kept for the next frame, unless it is unusually large.
    fn end_given(&mut self) {
        if self.is_given {
            self.is_given = false;
            self.drop_held();
        }
    }

    fn drop_held(&mut self) {
        if self.held.capacity() > 16 << 10 {
            self.held = Vec::new();
        }
        self.held.clear();
    }

    /// Takes bytes up to the next place at which something is known of the frame.
    fn read(&mut self, bytes: &[u8], is_whole: &mut bool) -> usize {
        let total = match lengths(&self.held) {
            Some((total, _)) => total,
            None => PRELUDE as u64,
        };
        // A length that is held is within the limit.
        let total = usize::try_from(total).unwrap_or(FRAME_BYTES);
        let part = bytes
            .get(..total.saturating_sub(self.held.len()))
            .unwrap_or(bytes);
        self.held.extend_from_slice(part);
        if self.held.len() == PRELUDE {
            self.begin();
        } else if self.held.len() >= total.max(PRELUDE) {
            *is_whole = is_intact(&self.held) && frame(&self.held).is_some();
            if !*is_whole {
                // Where the next one begins is known all the same.
                self.broken += 1;
                self.drop_held();
            }
        }
        part.len()
    }

    /// Judges a frame by its first bytes.
    fn begin(&mut self) {
        let Some((total, _)) = prelude(&self.held) else {
            self.broken += 1;
            self.held.drain(..1);
            self.state = State::Searching;
            return;
        };
        if total > FRAME_BYTES as u64 {
            self.refused += 1;
            self.held.clear();
            self.state = State::Skipping(total.saturating_sub(PRELUDE as u64));
        }
    }

    fn skip(&mut self, left: u64, bytes: usize) -> usize {
        let taken = usize::try_from(left).map_or(bytes, |left| left.min(bytes));
        let left = left.saturating_sub(taken as u64);
        self.state = if left == 0 {
            State::Reading
        } else {
            State::Skipping(left)
        };
        taken
    }

    /// Looks at the bytes one by one, until twelve of them can be the begin of a frame.
    fn search(&mut self, bytes: &[u8]) -> usize {
        for (place, byte) in bytes.iter().enumerate() {
            self.held.push(*byte);
            if self.held.len() < PRELUDE {
                continue;
            }
            if prelude(&self.held).is_some() {
                self.state = State::Reading;
                self.begin();
                return place + 1;
            }
            self.held.drain(..1);
        }
        bytes.len()
    }
}

/// The total length and that of the headers.
fn lengths(bytes: &[u8]) -> Option<(u64, u64)> {
    let (total, rest) = number(bytes)?;
    let (headers, rest) = number(rest)?;
    number(rest)?;
    Some((total.into(), headers.into()))
}

/// The same, if they are possible and their checksum holds.
fn prelude(bytes: &[u8]) -> Option<(u64, u64)> {
    let (total, headers) = lengths(bytes)?;
    let least = headers + (PRELUDE + CHECKSUM) as u64;
    let (checked, rest) = bytes.split_at_checked(PRELUDE - CHECKSUM)?;
    let (checksum, _) = number(rest)?;
    (total >= least && crc32fast::hash(checked) == checksum).then_some((total, headers))
}

/// Whether the checksum at the end of a frame holds.
fn is_intact(frame: &[u8]) -> bool {
    let end = frame.len().saturating_sub(CHECKSUM);
    let checked = frame.split_at_checked(end);
    checked.is_some_and(|(checked, rest)| {
        number(rest).is_some_and(|(checksum, _)| crc32fast::hash(checked) == checksum)
    })
}

/// Reads a frame that is whole.
fn frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let (_, headers) = lengths(bytes)?;
    let body = bytes.get(PRELUDE..bytes.len().checked_sub(CHECKSUM)?)?;
    let (mut headers, payload) = body.split_at_checked(usize::try_from(headers).ok()?)?;
    let mut read = Frame {
        kind: Kind::Event,
        name: "",
        payload,
    };
    while !headers.is_empty() {
        let (name, value, rest) = header(headers)?;
        match (name, value) {
            (b":message-type", b"exception" | b"error") => read.kind = Kind::Exception,
            (b":event-type", value) => read.name = std::str::from_utf8(value).ok()?,
            _ => {}
        }
        headers = rest;
    }
    Some(read)
}

/// Name and value of the first header, and what is behind it. What is no string has the bytes of
/// its value.
fn header(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let (kind, rest) = rest.split_first()?;
    let (length, rest) = match kind {
        // True and false.
        0 | 1 => (0, rest),
        2 => (1, rest),
        3 => (2, rest),
        4 => (4, rest),
        // A number, a time.
        5 | 8 => (8, rest),
        // Bytes, a string.
        6 | 7 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        // A UUID.
        9 => (16, rest),
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((name, value, rest))
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*number), rest))
}

#[cfg(test)]
pub(crate) mod tests;
