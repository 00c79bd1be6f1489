//! The deflate stream of one direction (RFC 7692, section 7.2.2).

use flate2::{Decompress, FlushDecompress, Status};

use crate::http::body::{DecoderMemory, INFLATE_MEMORY, OUT_BYTES, Refusal, STEP_BYTES, Share};
use crate::http::body::{length, room};

/// What a sender leaves out at the end of each message.
const TAIL: &[u8] = &[0x00, 0x00, 0xff, 0xff];

/// What may follow a stream's last block inside a message: one empty stored block, whose end is
/// the tail (RFC 7692, section 7.2.3.4).
const EMPTY_BLOCK: &[u8] = &[0x00, 0x00, 0x00, 0xff, 0xff];

/// Inflates the messages of one direction.
pub(super) struct Inflater {
    inflate: Decompress,
    /// Where a step puts its output; kept, since messages are many and small.
    buffer: Vec<u8>,
    /// Bytes of the current message, compressed and not.
    taken: u64,
    given: u64,
    /// What must still come after the stream's last block, if that was seen.
    rest: Option<&'static [u8]>,
    /// Returns its memory when it goes.
    _share: Share,
}

impl Inflater {
    /// Starts a stream, if the decoders together may have so much more memory.
    pub(super) fn new(memory: &DecoderMemory) -> Result<Self, Refusal> {
        let mut share = Share::empty(memory.clone());
        share.grow(INFLATE_MEMORY)?;
        Ok(Self {
            inflate: Decompress::new(false),
            buffer: vec![0; OUT_BYTES],
            taken: 0,
            given: 0,
            rest: None,
            _share: share,
        })
    }

    /// Takes bytes of a message; appends what they say.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        for step in bytes.chunks(STEP_BYTES) {
            self.taken = self.taken.saturating_add(length(step));
            self.step(step, out)?;
        }
        Ok(())
    }

    /// The message is over; appends what was still to come. Whether a later message may go on
    /// with the same stream.
    pub(super) fn end_message(&mut self, out: &mut Vec<u8>) -> Result<bool, Refusal> {
        self.step(TAIL, out)?;
        (self.taken, self.given) = (0, 0);
        match self.rest.take() {
            None => Ok(true),
            // A later message may refer to what came before the last block, which the decoder forgot.
            Some([]) => Ok(false),
            Some(_) => Err(Refusal),
        }
    }

    fn step(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        let most = out.len().saturating_add(room(self.taken, self.given));
        let before = out.len();
        while self.rest.is_none() {
            let (taken, given) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(bytes, &mut self.buffer, FlushDecompress::None);
            let taken = usize::try_from(self.inflate.total_in() - taken).unwrap_or(usize::MAX);
            let given = usize::try_from(self.inflate.total_out() - given).unwrap_or(usize::MAX);
            bytes = bytes.get(taken..).unwrap_or_default();
            out.extend_from_slice(self.buffer.get(..given).unwrap_or_default());
            if out.len() > most {
                out.truncate(most);
                return Err(Refusal);
            }
            match status {
                Ok(Status::StreamEnd) => self.rest = Some(EMPTY_BLOCK),
                Ok(Status::Ok | Status::BufError) if given < OUT_BYTES && bytes.is_empty() => break,
                Ok(Status::Ok | Status::BufError) if given == 0 && taken == 0 => {
                    return Err(Refusal);
                }
                Ok(Status::Ok | Status::BufError) => {}
                Err(_) => return Err(Refusal),
            }
        }
        let given = out.len().saturating_sub(before);
        self.given = self
            .given
            .saturating_add(u64::try_from(given).unwrap_or(u64::MAX));
        if let Some(rest) = &mut self.rest {
            *rest = rest.strip_prefix(bytes).ok_or(Refusal)?;
        }
        Ok(())
    }
}
