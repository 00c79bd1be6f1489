//! Finds the boundary of a frame in the middle of a direction.
//!
//! After a loss, or where a connection is joined midway, a frame is looked for by its header: nine
//! bytes of which a legal one leaves little free. One header is no proof, but it says where the
//! next one must be. A chain of three is taken, or a shorter one that fits the calls in which the
//! bytes came: programs write and receive whole frames.

use crate::http::conversation::wide;

use super::frame::{HEADER_BYTES, Header, PREFACE, flag, kind};

/// LIMIT: 32 KiB held back while searching, two frames of the usual size. If a chain is longer than
/// that, its first frames are lost.
const HELD_BYTES: usize = 32 << 10;

/// LIMIT: 64 chains followed at once; a chain that would be one more is not begun. Text has none,
/// random bytes one in some millions.
const CHAINS: usize = 64;

/// LIMIT: 1 MiB of a frame; libraries that let others send more than the 16 KiB that are allowed
/// without asking let them send so much.
const FRAME_BYTES: u32 = 1 << 20;

/// LIMIT: 64 settings in a frame; there are eleven.
const SETTINGS_BYTES: u32 = 64 * 6;

/// LIMIT: 4 KiB of a `GOAWAY` with its debug data, or of an announcement to clients.
const NOTICE_BYTES: u32 = 4 << 10;

/// Headers in a chain that prove it wherever it begins.
const PROOF: u8 = 3;

/// Headers in a chain that prove it where a call begins or ends with it.
const PROOF_WITH_CALL: u8 = 2;

/// A chain of frames: each begins where the one before it ends.
#[derive(Debug)]
struct Chain {
    start: u64,
    /// Where the next header must be.
    next: u64,
    headers: u8,
    begins_call: bool,
    /// Stream whose header block goes on in the next frame.
    open_block: Option<u32>,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Bytes from the boundary on.
    pub(super) bytes: Vec<u8>,
    /// Whether it is the beginning of the direction.
    pub(super) begins: bool,
    /// Whether it is that of the client's preface.
    pub(super) is_preface: bool,
}

/// A search in one direction.
#[derive(Debug)]
pub(in crate::http) struct Search {
    /// Whether it began with the first byte of the direction.
    begins: bool,
    held: Vec<u8>,
    /// Place of the first byte of `held`.
    from: u64,
    /// Places before this one were looked at.
    looked: u64,
    chains: Vec<Chain>,
}

impl Search {
    /// A search from the first byte of a direction on.
    pub(in crate::http) const fn at_start() -> Self {
        Self::new(true)
    }

    /// A search from anywhere on.
    pub(in crate::http) const fn midway() -> Self {
        Self::new(false)
    }

    const fn new(begins: bool) -> Self {
        Self {
            begins,
            held: Vec::new(),
            from: 0,
            looked: 0,
            chains: Vec::new(),
        }
    }

    /// Bytes held back.
    pub(in crate::http) const fn held_bytes(&self) -> usize {
        self.held.len()
    }

    /// Bytes that passed by.
    pub(super) fn passed(&self) -> u64 {
        self.end()
    }

    /// Takes a gap: nothing before it is connected with what follows.
    pub(in crate::http) fn gap(&mut self) {
        let end = self.end();
        *self = Self {
            from: end,
            looked: end,
            ..Self::midway()
        };
    }

    /// Takes bytes that are too few to be looked at.
    pub(in crate::http) fn hold(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// Takes the bytes of a call. `highest` is the highest stream that can be in use.
    pub(super) fn push(&mut self, bytes: &[u8], highest: u32) -> Option<Found> {
        let begin = self.end();
        self.held.extend_from_slice(bytes);
        // A direction that was looked at before its first bytes came.
        if self.at(0).starts_with(PREFACE) {
            return Some(self.found(0, true));
        }
        self.begin_chains(begin, highest);
        let end = self.end();
        let mut proven: Option<u64> = None;
        let mut chains = std::mem::take(&mut self.chains);
        chains.retain_mut(|chain| {
            let is_alive = self.follow(chain, highest);
            let ends_call = chain.next == end && chain.open_block.is_none();
            let is_proven = chain.headers >= PROOF
                || chain.begins_call && ends_call
                || chain.headers >= PROOF_WITH_CALL && (chain.begins_call || ends_call);
            let place = if chain.start < self.from {
                chain.next
            } else {
                chain.start
            };
            if is_alive && is_proven && place <= end {
                proven = Some(proven.map_or(place, |earlier| earlier.min(place)));
            }
            is_alive
        });
        self.chains = chains;
        if let Some(place) = proven {
            return Some(self.found(place, false));
        }
        self.let_go();
        None
    }

    /// Lets go of what no chain needs, or of more if a chain is too long.
    fn let_go(&mut self) {
        if self.from == 0 && PREFACE.starts_with(&self.held) {
            return;
        }
        let starts = self.chains.iter().map(|chain| chain.start);
        let needed = starts.fold(self.looked, u64::min).max(self.from);
        let unneeded = usize::try_from(needed - self.from).unwrap_or(usize::MAX);
        // A quarter more than what is to be kept, so that not each call moves all of it.
        let passed = if self.held.len() - unneeded > HELD_BYTES / 4 * 5 {
            self.held.len() - HELD_BYTES
        } else {
            unneeded
        };
        self.held.drain(..passed);
        self.from += wide(passed);
    }

    fn begin_chains(&mut self, call: u64, highest: u32) {
        let mut chains = std::mem::take(&mut self.chains);
        while let Some(header) = self.header(self.looked) {
            let place = self.looked;
            self.looked += 1;
            if chains.len() < CHAINS
                && header.kind != kind::CONTINUATION
                && let Some(chain) = chain(&header, place, place == call, highest)
            {
                chains.push(chain);
            }
        }
        self.chains = chains;
    }

    /// Follows a chain as far as its headers are there; false if it breaks.
    fn follow(&self, chain: &mut Chain, highest: u32) -> bool {
        while let Some(header) = self.header(chain.next) {
            let goes_on = match chain.open_block {
                Some(stream) => header.kind == kind::CONTINUATION && header.stream == stream,
                None => header.kind != kind::CONTINUATION,
            };
            if !goes_on || !is_plausible(&header, highest) {
                return false;
            }
            chain.next = after(chain.next, &header);
            chain.headers = chain.headers.saturating_add(1);
            chain.open_block = open_block(&header);
        }
        true
    }

    fn found(&self, place: u64, is_preface: bool) -> Found {
        let bytes = self.at(place).to_vec();
        Found {
            bytes,
            begins: self.begins && place == 0,
            is_preface,
        }
    }

    fn header(&self, place: u64) -> Option<Header> {
        self.at(place).first_chunk().map(Header::parse)
    }

    /// Bytes held from a place on.
    fn at(&self, place: u64) -> &[u8] {
        place
            .checked_sub(self.from)
            .and_then(|index| usize::try_from(index).ok())
            .and_then(|index| self.held.get(index..))
            .unwrap_or_default()
    }

    fn end(&self) -> u64 {
        self.from + wide(self.held.len())
    }
}

/// The chain that a header begins.
fn chain(header: &Header, place: u64, begins_call: bool, highest: u32) -> Option<Chain> {
    is_plausible(header, highest).then(|| Chain {
        start: place,
        next: after(place, header),
        headers: 1,
        begins_call,
        open_block: open_block(header),
    })
}

fn after(place: u64, header: &Header) -> u64 {
    place + wide(HEADER_BYTES) + u64::from(header.length)
}

fn open_block(header: &Header) -> Option<u32> {
    let is_block = matches!(
        header.kind,
        kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION
    );
    (is_block && !header.has(flag::END_HEADERS)).then_some(header.stream)
}

/// Whether peers send such a header. Stricter than what a receiver has to accept: frames without
/// any effect and pushed streams are none of what is looked for.
fn is_plausible(header: &Header, highest: u32) -> bool {
    let length = header.length;
    let is_stream = header.stream != 0 && header.stream <= highest;
    let is_exchange = is_stream && header.stream % 2 == 1;
    let (flags, has_length, has_stream) = match header.kind {
        kind::DATA => (
            flag::END_STREAM | flag::PADDED,
            (length > 0 || header.has(flag::END_STREAM)) && length <= FRAME_BYTES,
            is_exchange,
        ),
        kind::HEADERS => (
            flag::END_STREAM | flag::END_HEADERS | flag::PADDED | flag::PRIORITY,
            length > 0 && length <= FRAME_BYTES,
            is_exchange,
        ),
        kind::PRIORITY => (0, length == 5, is_stream),
        kind::RST_STREAM => (0, length == 4, is_stream),
        kind::SETTINGS => (
            flag::ACK,
            if header.has(flag::ACK) {
                length == 0
            } else {
                length.is_multiple_of(6) && length <= SETTINGS_BYTES
            },
            header.stream == 0,
        ),
        kind::PUSH_PROMISE => (
            flag::END_HEADERS | flag::PADDED,
            length > 4 && length <= FRAME_BYTES,
            is_exchange,
        ),
        kind::PING => (flag::ACK, length == 8, header.stream == 0),
        kind::GOAWAY => (0, (8..=NOTICE_BYTES).contains(&length), header.stream == 0),
        kind::WINDOW_UPDATE => (0, length == 4, header.stream <= highest),
        kind::CONTINUATION => (flag::END_HEADERS, length <= FRAME_BYTES, is_exchange),
        kind::ALTSVC => (
            0,
            (2..=NOTICE_BYTES).contains(&length),
            header.stream <= highest,
        ),
        kind::ORIGIN => (0, length <= NOTICE_BYTES, header.stream == 0),
        kind::PRIORITY_UPDATE => (0, (4..=NOTICE_BYTES).contains(&length), header.stream == 0),
        _ => return false,
    };
    let has_prefix = length as usize >= header.prefix_bytes();
    header.flags & !flags == 0 && !header.is_reserved && has_length && has_stream && has_prefix
}
