//! Frames of one direction (RFC 9113, section 4), cut anywhere.
//!
//! No payload is collected: contents stream through, what matters of the rest is a few bytes.

use crate::event::Plaintext;

/// The beginning of every connection, sent by the client (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Length of a frame header.
pub(super) const HEADER_BYTES: usize = 9;

/// Types of frames (RFC 9113, section 6).
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const PRIORITY: u8 = 2;
    pub(in super::super) const RST_STREAM: u8 = 3;
    pub(in super::super) const SETTINGS: u8 = 4;
    pub(in super::super) const PUSH_PROMISE: u8 = 5;
    pub(in super::super) const PING: u8 = 6;
    pub(in super::super) const GOAWAY: u8 = 7;
    pub(in super::super) const WINDOW_UPDATE: u8 = 8;
    pub(in super::super) const CONTINUATION: u8 = 9;
    /// RFC 7838.
    pub(in super::super) const ALTSVC: u8 = 10;
    /// RFC 8336.
    pub(in super::super) const ORIGIN: u8 = 12;
    /// RFC 9218.
    pub(in super::super) const PRIORITY_UPDATE: u8 = 16;
}

/// Flags of frames; `ACK` and `END_STREAM` are the same bit of different types.
pub(super) mod flag {
    pub(in super::super) const ACK: u8 = 0x01;
    pub(in super::super) const END_STREAM: u8 = 0x01;
    pub(in super::super) const END_HEADERS: u8 = 0x04;
    pub(in super::super) const PADDED: u8 = 0x08;
    pub(in super::super) const PRIORITY: u8 = 0x20;
}

/// Length of one setting.
const SETTING_BYTES: u32 = 6;

/// Identifier of the setting that bounds the header table of the other direction.
pub(super) const SETTINGS_HEADER_TABLE_SIZE: u16 = 1;

/// A frame header.
///
/// ```text
///  +-----------------------------------------------+
///  |                 Length (24)                   |
///  +---------------+---------------+---------------+
///  |   Type (8)    |   Flags (8)   |
///  +-+-------------+---------------+-------------------------------+
///  |R|                 Stream Identifier (31)                      |
///  +-+-------------------------------------------------------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// The reserved bit, which is 0 and which a receiver ignores.
    pub(super) is_reserved: bool,
    pub(super) stream: u32,
}

impl Header {
    pub(super) const fn parse(bytes: &[u8; HEADER_BYTES]) -> Self {
        let [a, b, c, kind, flags, r, s, t, u] = *bytes;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            is_reserved: r & 0x80 != 0,
            stream: u32::from_be_bytes([r & 0x7f, s, t, u]),
        }
    }

    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether the padding flag means padding in this type.
    const fn is_padded(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS | kind::PUSH_PROMISE)
            && self.has(flag::PADDED)
    }

    /// Bytes between the header and the content: the length of the padding, and fields.
    pub(super) const fn prefix_bytes(&self) -> usize {
        let fields = match self.kind {
            // Exclusive bit, stream dependency, weight.
            kind::HEADERS if self.has(flag::PRIORITY) => 5,
            // Promised stream.
            kind::PUSH_PROMISE => 4,
            // Last stream, error code.
            kind::GOAWAY => 8,
            _ => 0,
        };
        fields + self.is_padded() as usize
    }

    /// Whether it can be the header of a frame that a receiver accepts, as far as this observer
    /// depends on it.
    const fn is_sound(&self) -> bool {
        let on_stream = match self.kind {
            kind::DATA
            | kind::HEADERS
            | kind::RST_STREAM
            | kind::PUSH_PROMISE
            | kind::CONTINUATION => self.stream != 0,
            kind::SETTINGS | kind::GOAWAY => self.stream == 0,
            _ => true,
        };
        let is_whole = self.kind != kind::SETTINGS || self.length.is_multiple_of(SETTING_BYTES);
        on_stream && is_whole && self.length as usize >= self.prefix_bytes()
    }
}

/// The next thing in a direction.
#[derive(Debug)]
pub(super) enum Part {
    /// The content of a frame begins.
    Begin,
    /// Bytes of the content: data, or a fragment of a header block.
    Content(Plaintext),
    /// A setting.
    Setting { id: u16, value: u32 },
    /// The frame is over.
    End,
    /// What no receiver accepts: the direction is not understood any more.
    Violation,
}

/// What a gap in a direction hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GapIn {
    /// The beginning of a frame, so that the place of the next one is not known.
    Boundary,
    /// So many bytes of data; of 0 bytes at least the length of the padding is missing, so that
    /// the rest of the frame has no meaning.
    Data(u32),
    /// A header block.
    Block,
    /// Settings.
    Settings,
    /// Nothing that matters.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// So many bytes of the preface were seen.
    Preface(usize),
    /// So many bytes of a frame header are in `gathered`.
    Header(usize),
    /// So many of the bytes in front of the content are in `gathered`.
    Prefix(usize),
    Content,
    /// So many bytes of a setting are in `gathered`.
    Setting(usize),
    /// The rest of the frame says nothing.
    Skip,
}

/// Splits one direction into frames.
#[derive(Debug)]
pub(super) struct Framer {
    state: State,
    header: Header,
    /// Bytes of the frame that are still to come, padding included.
    left: u32,
    /// Bytes of padding at its end.
    padding: u32,
    gathered: [u8; HEADER_BYTES],
}

impl Framer {
    /// Starts where the client's preface begins.
    pub(super) const fn at_preface() -> Self {
        Self::new(State::Preface(0))
    }

    /// Starts where a frame begins.
    pub(super) const fn at_frame() -> Self {
        Self::new(State::Header(0))
    }

    const fn new(state: State) -> Self {
        Self {
            state,
            header: Header::parse(&[0; HEADER_BYTES]),
            left: 0,
            padding: 0,
            gathered: [0; HEADER_BYTES],
        }
    }

    /// The frame that the last part belongs to.
    pub(super) const fn header(&self) -> Header {
        self.header
    }

    /// The stream that a `PUSH_PROMISE` promises or a `GOAWAY` names as the last one; to be asked
    /// when its content begins.
    pub(super) fn named_stream(&self) -> u32 {
        let from = usize::from(self.header.is_padded());
        let bytes = self.gathered.get(from..from + 4);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        u32::from_be_bytes(bytes.unwrap_or_default()) & !(1 << 31)
    }

    /// The next part, taken from the front of `input`; `None` if more bytes are needed.
    pub(super) fn next(&mut self, input: &mut Plaintext) -> Option<Part> {
        loop {
            match self.state {
                State::Preface(seen) => {
                    let rest = PREFACE.get(seen..).unwrap_or_default();
                    let found = input.iter().zip(rest).take_while(|(a, b)| a == b).count();
                    skip(input, found);
                    if found == rest.len() {
                        self.state = State::Header(0);
                    } else if input.is_empty() {
                        self.state = State::Preface(seen + found);
                        return None;
                    } else {
                        return Some(Part::Violation);
                    }
                }
                State::Header(seen) => {
                    self.state = State::Header(self.gather(input, seen, HEADER_BYTES)?);
                    self.header = Header::parse(&self.gathered);
                    self.left = self.header.length;
                    self.padding = 0;
                    if !self.header.is_sound() {
                        return Some(Part::Violation);
                    }
                    self.state = State::Prefix(0);
                }
                State::Prefix(seen) => {
                    let needed = self.header.prefix_bytes();
                    self.state = State::Prefix(self.gather(input, seen, needed)?);
                    if self.header.is_padded() {
                        self.padding = self.gathered.first().copied().map_or(0, u32::from);
                    }
                    // RFC 9113, section 6.1: padding that exceeds the frame is an error.
                    if self.padding > self.left {
                        return Some(Part::Violation);
                    }
                    self.state = match self.header.kind {
                        kind::DATA | kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION => {
                            State::Content
                        }
                        kind::SETTINGS => State::Setting(0),
                        _ => State::Skip,
                    };
                    return Some(Part::Begin);
                }
                State::Content if self.left > self.padding => {
                    if input.is_empty() {
                        return None;
                    }
                    let most = usize::try_from(self.left - self.padding).unwrap_or(usize::MAX);
                    let content = input.slice(0..most);
                    self.skip(input, content.len());
                    return Some(Part::Content(content));
                }
                State::Setting(seen) if self.left > 0 => {
                    self.state =
                        State::Setting(self.gather(input, seen, SETTING_BYTES as usize)?);
                    let [a, b, c, d, e, f, ..] = self.gathered;
                    self.state = State::Setting(0);
                    return Some(Part::Setting {
                        id: u16::from_be_bytes([a, b]),
                        value: u32::from_be_bytes([c, d, e, f]),
                    });
                }
                State::Content | State::Setting(_) | State::Skip if self.left == 0 => {
                    self.state = State::Header(0);
                    return Some(Part::End);
                }
                State::Content | State::Setting(_) | State::Skip => {
                    if input.is_empty() {
                        return None;
                    }
                    let most = usize::try_from(self.left).unwrap_or(usize::MAX);
                    self.skip(input, most.min(input.len()));
                }
            }
        }
    }

    /// Takes a gap. After [`GapIn::Boundary`] the framer is of no use any more.
    pub(super) fn gap(&mut self, bytes: u64) -> GapIn {
        let in_frame = !matches!(self.state, State::Preface(_) | State::Header(_));
        let Some(missing) = u32::try_from(bytes)
            .ok()
            .filter(|bytes| in_frame && *bytes <= self.left)
        else {
            return GapIn::Boundary;
        };
        let content = self.left.saturating_sub(self.padding).min(missing);
        let state = self.state;
        self.left -= missing;
        if !matches!(state, State::Content) {
            self.state = State::Skip;
        }
        match (state, self.header.kind) {
            (State::Content, _) if content == 0 => GapIn::Nothing,
            (State::Content, kind::DATA) => GapIn::Data(content),
            (State::Prefix(_), kind::DATA) => GapIn::Data(0),
            (
                State::Content | State::Prefix(_),
                kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION,
            ) => {
                self.state = State::Skip;
                GapIn::Block
            }
            (_, kind::SETTINGS) => GapIn::Settings,
            _ => GapIn::Nothing,
        }
    }

    /// Gathers bytes until there are `needed`; `None` if more are needed, which is remembered.
    fn gather(&mut self, input: &mut Plaintext, seen: usize, needed: usize) -> Option<usize> {
        let in_frame = !matches!(self.state, State::Header(_));
        let most = if in_frame {
            usize::try_from(self.left).unwrap_or(usize::MAX)
        } else {
            HEADER_BYTES
        };
        let more = needed.saturating_sub(seen).min(input.len()).min(most);
        for (slot, byte) in self
            .gathered
            .iter_mut()
            .skip(seen)
            .zip(input.iter().take(more))
        {
            *slot = *byte;
        }
        if in_frame {
            self.skip(input, more);
        } else {
            skip(input, more);
        }
        let seen = seen + more;
        if seen == needed {
            return Some(seen);
        }
        match &mut self.state {
            State::Header(gathered) | State::Prefix(gathered) | State::Setting(gathered) => {
                *gathered = seen;
            }
            State::Preface(_) | State::Content | State::Skip => {}
        }
        None
    }

    /// Takes `bytes` of the frame off the front of `input`.
    fn skip(&mut self, input: &mut Plaintext, bytes: usize) {
        skip(input, bytes);
        self.left = self
            .left
            .saturating_sub(u32::try_from(bytes).unwrap_or(u32::MAX));
    }
}

fn skip(input: &mut Plaintext, bytes: usize) {
    *input = input.slice(bytes..input.len());
}
