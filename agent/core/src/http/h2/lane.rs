//! One direction of a connection: its frames, its header table, and the block that is being read.

use super::field::Fields;
use super::frame::{Framer, Header, flag, kind};
use super::hpack::Decoder;
use super::search::Search;

/// A header block, from its first frame on.
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) ends_stream: bool,
    /// Whether it is the request that a server promises to answer, which is nobody's call.
    pub(super) is_promise: bool,
    /// True if a part of it is missing or cannot be decoded.
    pub(super) is_broken: bool,
    pub(super) fields: Fields,
}

impl Block {
    pub(super) fn new(header: &Header) -> Self {
        Self {
            stream: header.stream,
            ends_stream: header.kind == kind::HEADERS && header.has(flag::END_STREAM),
            is_promise: header.kind == kind::PUSH_PROMISE,
            is_broken: false,
            fields: Fields::default(),
        }
    }

    /// Whether a frame may follow the first ones of the block (RFC 9113, section 4.3).
    pub(super) const fn goes_on_with(&self, header: &Header) -> bool {
        header.kind == kind::CONTINUATION && header.stream == self.stream
    }
}

pub(super) enum State {
    /// In step with the peer.
    Framed(Framer),
    /// Where the next frame begins is not known.
    Lost(Search),
}

/// One direction.
pub(super) struct Lane {
    pub(super) state: State,
    pub(super) decoder: Decoder,
    pub(super) block: Option<Block>,
    /// Whether the first byte that is followed is the first one that was sent.
    pub(super) begins: bool,
    /// Whether a place in it was found by searching, and so may be wrong.
    pub(super) is_found: bool,
    /// Whether a header block was seen.
    pub(super) has_blocks: bool,
}

impl Lane {
    /// A direction that is followed from its first byte on.
    pub(super) const fn beginning(framer: Framer) -> Self {
        Self {
            state: State::Framed(framer),
            decoder: Decoder::new(),
            block: None,
            begins: true,
            is_found: false,
            has_blocks: false,
        }
    }

    /// A direction of which something may have passed by.
    pub(super) const fn joining(search: Search) -> Self {
        Self {
            state: State::Lost(search),
            decoder: Decoder::joining(),
            block: None,
            begins: false,
            is_found: false,
            has_blocks: false,
        }
    }

    /// What comes next has no known place.
    pub(super) fn lose(&mut self) {
        self.state = State::Lost(Search::midway());
        self.block = None;
        self.decoder.lose();
        self.begins = false;
    }

    /// A part of the block that is being read is missing.
    pub(super) fn break_block(&mut self, header: &Header) {
        let block = self.block.get_or_insert_with(|| Block::new(header));
        block.is_broken = true;
        self.has_blocks = true;
        self.decoder.lose();
    }

    /// Takes a fragment of the block that is being read.
    pub(super) fn fragment(&mut self, fragment: &[u8]) {
        if let Some(block) = &mut self.block
            && !block.is_broken
        {
            let fields = &mut block.fields;
            let decoded = self
                .decoder
                .decode(fragment, &mut |field| fields.take(&field));
            block.is_broken = decoded.is_err();
        }
    }

    /// The block that is over.
    pub(super) fn end_block(&mut self) -> Option<Block> {
        let mut block = self.block.take()?;
        block.is_broken |= self.decoder.end().is_err();
        Some(block)
    }

    /// Bytes held back, with those of the table.
    pub(super) fn held_bytes(&self) -> usize {
        let searched = match &self.state {
            State::Framed(_) => 0,
            State::Lost(search) => search.held_bytes(),
        };
        searched + self.decoder.held_bytes()
    }
}
