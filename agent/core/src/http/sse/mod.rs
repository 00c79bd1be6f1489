//! Server-sent events, as they arrive (WHATWG HTML, section 9.2.6, "Interpreting an event stream").

use std::{fmt, mem};

/// LIMIT: 1 MiB of one line is held. The longest line of text, a whole response object in a last
/// event, is some hundred kilobytes; with pictures in it, it is megabytes. Of a longer line of data
/// what is held is given as a piece, and the rest as it comes. A longer line of anything else is
/// skipped, with its event counted as refused.
pub const LINE_BYTES: usize = 1 << 20;

/// LIMIT: 1 MiB of the data of one event is held; a larger one is given in pieces, likewise.
pub const EVENT_BYTES: usize = 1 << 20;

/// LIMIT: 256 bytes of an event's type or of the last id; providers use 40. A longer one is
/// cut, which keeps it different from every known one.
const NAME_BYTES: usize = 256;

/// One event, or a piece of one that is too long to be held. Its `Debug` output tells lengths, never content.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its type, as the `event` field gives it; empty where there is none.
    pub name: &'a [u8],
    /// Its `data` lines, joined with line feeds.
    pub data: &'a [u8],
    /// True unless more of its data follows, in a further piece.
    pub is_last: bool,
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Event({} bytes of name, {} of data)",
            self.name.len(),
            self.data.len()
        )
    }
}

/// Where the decoder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Reads events.
    Reading,
    /// The event is over a limit, and given in pieces.
    Pieces {
        /// Whether the line that is not complete is data, and given as it comes.
        in_data: bool,
    },
    /// The event is over a limit: skips to the blank line that ends it.
    Refusing,
    /// Bytes are missing: skips to a blank line, and does not know how the first line began.
    Lost,
}

/// Cuts a stream into events. Comments, `retry` and unknown fields are skipped.
#[derive(Clone)]
pub struct Decoder {
    state: State,
    /// The line that is not complete, without its end.
    line: Vec<u8>,
    /// Whether bytes of the line were dropped, so that it is not blank though `line` is empty.
    line_dropped: bool,
    /// Whether the last byte was a CR: an LF behind it belongs to the same line end.
    after_cr: bool,
    /// Whether no line was complete yet: a byte order mark may begin the stream.
    at_start: bool,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    last_id: Vec<u8>,
    refused: u64,
    lost: u64,
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
            line: Vec::new(),
            line_dropped: false,
            after_cr: false,
            at_start: true,
            name: Vec::new(),
            data: Vec::new(),
            has_data: false,
            last_id: Vec::new(),
            refused: 0,
            lost: 0,
        }
    }

    /// Takes the next bytes of the stream; `each` receives the events that they complete, and the
    /// pieces of those that are too long to be held. After a gap no further piece of one comes.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(Event<'_>)) {
        while let Some(first) = bytes.first() {
            if mem::take(&mut self.after_cr) && *first == b'\n' {
                bytes = bytes.get(1..).unwrap_or_default();
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            self.gather(part, &mut each);
            let Some((line_end, rest)) = rest.split_first() else {
                return;
            };
            self.after_cr = *line_end == b'\r';
            bytes = rest;
            self.end_line(&mut each);
        }
    }

    /// Bytes of the stream are missing: drops what is incomplete and goes on behind the next
    /// blank line.
    pub fn gap(&mut self) {
        self.reset();
        self.lost += 1;
        self.state = State::Lost;
        self.line = Vec::new();
        self.line_dropped = true;
        self.after_cr = false;
        self.at_start = false;
    }

    /// The data of an event that no blank line ended, if the stream is over; by the standard it
    /// is not dispatched. `None` where there is none, or where its last line is cut.
    pub fn unfinished(&self) -> Option<Event<'_>> {
        let is_read = match self.state {
            State::Reading => self.has_data,
            State::Pieces { in_data } => !in_data,
            State::Refusing | State::Lost => false,
        };
        (is_read && self.line.is_empty() && !self.line_dropped).then_some(Event {
            name: &self.name,
            data: &self.data,
            is_last: true,
        })
    }

    /// Value of the last `id` field of an event that was dispatched or is being read.
    pub fn last_id(&self) -> &[u8] {
        &self.last_id
    }

    /// Events that were skipped because they are over a limit.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// How often bytes were missing. Any number of events may have gone with each.
    pub const fn gaps(&self) -> u64 {
        self.lost
    }

    /// Bytes held back; at most [`LINE_BYTES`] and [`EVENT_BYTES`] and the two names.
    pub const fn buffered_bytes(&self) -> usize {
        self.line.len() + self.data.len() + self.name.len() + self.last_id.len()
    }

    fn gather(&mut self, part: &[u8], each: &mut impl FnMut(Event<'_>)) {
        match self.state {
            State::Pieces { in_data: true } => self.give(part, each),
            State::Reading | State::Pieces { .. } if self.line.len() + part.len() <= LINE_BYTES => {
                self.line.extend_from_slice(part);
            }
            State::Reading | State::Pieces { .. } => {
                let mut line = mem::take(&mut self.line);
                let room = LINE_BYTES.saturating_sub(line.len());
                let (held, rest) = part.split_at_checked(room).unwrap_or((part, &[]));
                line.extend_from_slice(held);
                if mem::take(&mut self.at_start) && line.starts_with(b"\xef\xbb\xbf") {
                    line.drain(..3);
                }
                if let Some(begun) = line.strip_prefix(b"data:") {
                    self.begin_pieces(each);
                    self.give(begun.strip_prefix(b" ").unwrap_or(begun), each);
                    self.give(rest, each);
                    self.state = State::Pieces { in_data: true };
                } else {
                    if self.state == State::Reading {
                        self.refuse();
                    }
                    self.line_dropped = true;
                }
            }
            State::Refusing | State::Lost => self.line_dropped |= !part.is_empty(),
        }
    }

    /// Gives what is held of the data, with what separates it from the next line of it.
    fn begin_pieces(&mut self, each: &mut impl FnMut(Event<'_>)) {
        let data = mem::take(&mut self.data);
        self.give(&data, each);
        if mem::replace(&mut self.has_data, true) {
            self.give(b"\n", each);
        }
        self.state = State::Pieces { in_data: false };
    }

    /// Gives a piece of an event.
    fn give(&self, data: &[u8], each: &mut impl FnMut(Event<'_>)) {
        if !data.is_empty() {
            each(Event {
                name: &self.name,
                data,
                is_last: false,
            });
        }
    }

    fn end_line(&mut self, each: &mut impl FnMut(Event<'_>)) {
        if self.state == (State::Pieces { in_data: true }) {
            self.state = State::Pieces { in_data: false };
            return;
        }
        let mut line = mem::take(&mut self.line);
        let is_blank = line.is_empty() && !mem::take(&mut self.line_dropped);
        if mem::take(&mut self.at_start) && line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3);
        }
        match self.state {
            State::Refusing | State::Lost if is_blank => self.state = State::Reading,
            State::Refusing | State::Lost => {}
            State::Pieces { .. } if line.is_empty() && !is_blank => {}
            State::Reading | State::Pieces { .. } if line.is_empty() => {
                if self.has_data {
                    each(Event {
                        name: &self.name,
                        data: &self.data,
                        is_last: true,
                    });
                }
                self.reset();
                self.state = State::Reading;
            }
            State::Reading | State::Pieces { .. } => self.field(&line, each),
        }
        // The allocation is kept for the next line, unless it is unusually large.
        if line.capacity() <= 16 << 10 {
            line.clear();
            self.line = line;
        }
    }

    fn field(&mut self, line: &[u8], each: &mut impl FnMut(Event<'_>)) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                let separator = usize::from(self.has_data);
                let is_held = self.state == State::Reading
                    && self.data.len() + separator + value.len() <= EVENT_BYTES;
                if !is_held {
                    self.begin_pieces(each);
                    self.give(value, each);
                    return;
                }
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => {
                self.name.clear();
                self.name
                    .extend_from_slice(value.get(..NAME_BYTES).unwrap_or(value));
            }
            b"id" if !value.contains(&0) => {
                self.last_id.clear();
                self.last_id
                    .extend_from_slice(value.get(..NAME_BYTES).unwrap_or(value));
            }
            _ => {}
        }
    }

    fn refuse(&mut self) {
        self.reset();
        self.line = Vec::new();
        self.refused += 1;
        self.state = State::Refusing;
    }

    fn reset(&mut self) {
        self.name.clear();
        self.data = if self.data.capacity() <= 16 << 10 {
            mem::take(&mut self.data)
        } else {
            Vec::new()
        };
        self.data.clear();
        self.has_data = false;
    }
}

#[cfg(test)]
mod tests;
