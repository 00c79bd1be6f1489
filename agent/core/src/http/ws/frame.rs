//! Frames of one direction (RFC 6455, section 5). Payloads stream through; only a header that is
//! not complete is held back.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::event::Plaintext;
use crate::http::Role;

/// The longest header: two bytes, eight of length, four of mask.
const HEADER_BYTES: usize = 14;

/// LIMIT: 2^63 - 1 bytes of a payload, as RFC 6455, section 5.2 has it. Nothing is allocated for
/// an announced length.
const PAYLOAD_BYTES: u64 = u64::MAX >> 1;

/// LIMIT: 125 bytes of a control frame's payload, as RFC 6455, section 5.5 has it.
const CONTROL_BYTES: u64 = 125;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first frame of a message.
    First {
        /// Whether the message is compressed.
        is_deflated: bool,
    },
    /// A further frame of a message.
    Further,
    /// The side sends no more messages.
    Close,
    /// A ping or a pong.
    Other,
}

/// A frame's header, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// Whether it ends its message.
    pub(super) is_final: bool,
}

/// The next part of a direction.
#[derive(Debug)]
pub(super) enum Part {
    /// A frame begins.
    Begin(Frame),
    /// Bytes of its payload, unmasked.
    Payload(Plaintext),
    /// It is over.
    End,
    /// The header breaks the protocol.
    Broken,
}

/// What a gap does to a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GapIn {
    /// All of it lies in the payload, which goes on.
    Payload,
    /// It hides where the next frame begins.
    Framing,
}

enum State {
    Header,
    Payload {
        left: u64,
        mask: Option<Mask>,
    },
    /// The payload is over, which was not told yet.
    Over,
    /// Where frames begin is not known.
    Lost,
}

/// Cuts one direction into parts.
pub(super) struct Framer {
    sender: Role,
    allows_deflated: bool,
    state: State,
    /// A header that is not complete.
    header: Vec<u8>,
}

impl Framer {
    /// Starts where a frame of `sender` begins.
    pub(super) const fn new(sender: Role, allows_deflated: bool) -> Self {
        Self {
            sender,
            allows_deflated,
            state: State::Header,
            header: Vec::new(),
        }
    }

    /// Bytes held back.
    pub(super) const fn buffered_bytes(&self) -> usize {
        self.header.len()
    }

    /// Whether it is not known where frames begin.
    pub(super) const fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost)
    }

    /// From here on it is not known where frames begin.
    pub(super) fn lose(&mut self) {
        self.header = Vec::new();
        self.state = State::Lost;
    }

    /// Whether `segment` looks like whole frames, so that a lost direction goes on there: peers hand
    /// a frame to their TLS library in one call. To be taken for frames by chance, other bytes would
    /// have to name their own length and to have the braces of a JSON object in the right places.
    pub(super) fn find(&mut self, segment: &Plaintext) -> bool {
        let mut probe = Self::new(self.sender, self.allows_deflated);
        let mut rest = segment.clone();
        let (mut is_text, mut braces) = (false, [None; 2]);
        let (mut has_json, mut is_between) = (false, false);
        while let Some(part) = probe.next(&mut rest) {
            is_between = matches!(part, Part::End);
            match part {
                Part::Begin(Frame { kind, is_final }) => {
                    if kind == Kind::Further {
                        return false;
                    }
                    is_text = is_final && kind == Kind::First { is_deflated: false };
                    braces = [None; 2];
                }
                Part::Payload(bytes) => {
                    let [opening, _] = braces;
                    braces = [
                        opening.or_else(|| bytes.first().copied()),
                        bytes.last().copied(),
                    ];
                }
                Part::End if is_text => {
                    if braces != [Some(b'{'), Some(b'}')] {
                        return false;
                    }
                    has_json = true;
                }
                Part::End => {}
                Part::Broken => return false,
            }
        }
        let is_found = has_json && is_between && probe.header.is_empty();
        if is_found {
            self.state = State::Header;
        }
        is_found
    }

    /// The next part, taken from the front of `input`; `None` if more bytes are needed.
    pub(super) fn next(&mut self, input: &mut Plaintext) -> Option<Part> {
        match &mut self.state {
            State::Over => {
                self.state = State::Header;
                Some(Part::End)
            }
            State::Lost => {
                *input = Plaintext::default();
                None
            }
            _ if input.is_empty() => None,
            State::Header => self.header(input),
            State::Payload { left, mask } => {
                let split = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(input.len());
                let bytes = input.slice(0..split);
                *input = input.slice(split..input.len());
                *left -= u64::try_from(split).unwrap_or(*left);
                let bytes = match mask {
                    Some(mask) => mask.remove(&bytes),
                    None => bytes,
                };
                if *left == 0 {
                    self.state = State::Over;
                }
                Some(Part::Payload(bytes))
            }
        }
    }

    /// Takes a gap. After [`GapIn::Framing`] the direction is lost.
    pub(super) fn gap(&mut self, bytes: u64) -> GapIn {
        match &mut self.state {
            State::Payload { left, mask } if bytes <= *left => {
                *left -= bytes;
                if let Some(mask) = mask {
                    mask.skip(bytes);
                }
                if *left == 0 {
                    self.state = State::Over;
                }
                GapIn::Payload
            }
            State::Header | State::Payload { .. } | State::Over | State::Lost => {
                self.lose();
                GapIn::Framing
            }
        }
    }

    fn header(&mut self, input: &mut Plaintext) -> Option<Part> {
        let before = self.header.len();
        self.header
            .extend(input.iter().take(HEADER_BYTES.saturating_sub(before)));
        let mut cursor = Cursor::new(self.header.as_slice());
        let parsed = FrameHeader::parse(&mut cursor);
        let used = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
        match parsed {
            Ok(Some((header, length))) => {
                self.header.clear();
                *input = input.slice(used.saturating_sub(before)..input.len());
                let Some(frame) = self.check(&header, length, used) else {
                    return Some(Part::Broken);
                };
                self.state = if length == 0 {
                    State::Over
                } else {
                    State::Payload {
                        left: length,
                        mask: header.mask.map(Mask::new),
                    }
                };
                Some(Part::Begin(frame))
            }
            Ok(None) => {
                *input = Plaintext::default();
                None
            }
            Err(_) => Some(Part::Broken),
        }
    }

    /// What the protocol asks of a header, and what was agreed; `used` bytes hold it.
    fn check(&self, header: &FrameHeader, length: u64, used: usize) -> Option<Frame> {
        let is_masked = header.mask.is_some();
        let is_well_formed = is_masked == (self.sender == Role::Client)
            && length <= PAYLOAD_BYTES
            // RFC 6455, section 5.2: the shortest form of a length.
            && used == header.len(length)
            && !header.rsv2
            && !header.rsv3;
        let is_deflated = header.rsv1;
        let kind = match header.opcode {
            OpCode::Data(Data::Text | Data::Binary) if !is_deflated || self.allows_deflated => {
                Kind::First { is_deflated }
            }
            OpCode::Data(Data::Continue) if !is_deflated => Kind::Further,
            OpCode::Control(control)
                if !is_deflated && header.is_final && length <= CONTROL_BYTES =>
            {
                match control {
                    Control::Close => Kind::Close,
                    Control::Ping | Control::Pong => Kind::Other,
                    Control::Reserved(_) => return None,
                }
            }
            OpCode::Data(_) | OpCode::Control(_) => return None,
        };
        let is_final = header.is_final;
        is_well_formed.then_some(Frame { kind, is_final })
    }
}

/// The mask of a payload, turned so that its first byte is for the next byte of the payload.
#[derive(Clone, Copy)]
struct Mask([u8; 4]);

impl Mask {
    const fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    fn skip(&mut self, bytes: u64) {
        self.0.rotate_left(usize::try_from(bytes % 4).unwrap_or(0));
    }

    fn remove(&mut self, bytes: &Plaintext) -> Plaintext {
        let mut clear = bytes.to_vec();
        let [a, b, c, d] = self.0;
        let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let (words, rest) = clear.as_chunks_mut::<8>();
        for masked in words {
            *masked = (u64::from_ne_bytes(*masked) ^ word).to_ne_bytes();
        }
        for (masked, key) in rest.iter_mut().zip(self.0.iter().cycle()) {
            *masked ^= key;
        }
        self.skip(u64::try_from(bytes.len()).unwrap_or(0));
        clear.into()
    }
}
