//! Compression of a WebSocket's messages, permessage-deflate (RFC 7692).

use std::io;

use anyhow::ensure;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::request::MAX_BODY_BYTES;

/// What ends a flushed block, and is left out of a message (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// The compression of one connection, whose windows last from message to message.
#[derive(Debug)]
pub(crate) struct Deflate {
    compress: Compress,
    decompress: Decompress,
    resets_server: bool,
    resets_client: bool,
}

impl Deflate {
    /// Accepts the first fitting offer of a `sec-websocket-extensions` field. The second value is
    /// the field of the answer.
    pub(crate) fn accept(offers: &str) -> Option<(Self, String)> {
        offers.split(',').find_map(Self::accept_one)
    }

    fn accept_one(offer: &str) -> Option<(Self, String)> {
        let mut words = offer.split(';').map(str::trim);
        if words.next() != Some("permessage-deflate") {
            return None;
        }
        let mut deflate = Self {
            compress: Compress::new(Compression::default(), false),
            decompress: Decompress::new(false),
            resets_server: false,
            resets_client: false,
        };
        let mut answer = "permessage-deflate".to_owned();
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("server_no_context_takeover", "") => deflate.resets_server = true,
                ("client_no_context_takeover", "") => deflate.resets_client = true,
                // Ours is the largest window, which reads all others.
                ("client_max_window_bits", _) => continue,
                // The compressor has no smaller one.
                ("server_max_window_bits", "15") => {}
                _ => return None,
            }
            answer.push_str("; ");
            answer.push_str(word);
        }
        Some((deflate, answer))
    }

    /// The payload of a message.
    pub(crate) fn compress(&mut self, message: &[u8]) -> io::Result<Vec<u8>> {
        if self.resets_server {
            self.compress.reset();
        }
        // Flushed in one call: a second one would add an empty block.
        let mut payload = Vec::with_capacity(message.len() + message.len() / 8 + 256);
        let before = self.compress.total_in();
        self.compress
            .compress_vec(message, &mut payload, FlushCompress::Sync)?;
        let is_whole =
            self.compress.total_in() - before == message.len() as u64 && payload.ends_with(&TAIL);
        if !is_whole {
            return Err(io::Error::other("a message does not fit its buffer"));
        }
        payload.truncate(payload.len() - TAIL.len());
        Ok(payload)
    }

    /// The message of a payload.
    pub(super) fn decompress(&mut self, mut payload: Vec<u8>) -> anyhow::Result<Vec<u8>> {
        if self.resets_client {
            self.decompress.reset(false);
        }
        payload.extend(TAIL);
        let mut rest = payload.as_slice();
        let mut message = Vec::new();
        loop {
            message.reserve(16 << 10);
            let before = self.decompress.total_in();
            let status =
                self.decompress
                    .decompress_vec(rest, &mut message, FlushDecompress::Sync)?;
            let read = usize::try_from(self.decompress.total_in() - before)?;
            rest = rest.get(read..).unwrap_or_default();
            ensure!(message.len() <= MAX_BODY_BYTES, "the message is too long");
            let is_full = message.len() == message.capacity();
            if status == Status::StreamEnd || (rest.is_empty() && !is_full) {
                return Ok(message);
            }
            ensure!(
                read > 0 || is_full || status != Status::BufError,
                "the message is not deflated"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_are_accepted_as_far_as_they_can_be_kept() {
        let table = [
            (
                "permessage-deflate; client_max_window_bits",
                Some("permessage-deflate"),
            ),
            (
                "x-webkit-deflate-frame, permessage-deflate;server_no_context_takeover",
                Some("permessage-deflate; server_no_context_takeover"),
            ),
            (
                "permessage-deflate; server_max_window_bits=10, permessage-deflate",
                Some("permessage-deflate"),
            ),
            ("permessage-deflate; server_max_window_bits=10", None),
            ("permessage-deflate; unknown", None),
            ("", None),
        ];
        for (offers, expected) in table {
            let answer = Deflate::accept(offers).map(|(_, answer)| answer);
            assert_eq!(answer.as_deref(), expected, "{offers}");
        }
    }

    #[test]
    fn windows_last_from_message_to_message_unless_reset() {
        let text = "tokens and budgets, ".repeat(40);
        let sizes = |offer: &str| {
            let (mut ours, _) = Deflate::accept(offer).unwrap();
            let (mut theirs, _) = Deflate::accept(offer).unwrap();
            (0..3)
                .map(|_| {
                    let payload = ours.compress(text.as_bytes()).unwrap();
                    let size = payload.len();
                    assert_eq!(theirs.decompress(payload).unwrap(), text.as_bytes());
                    size
                })
                .collect::<Vec<_>>()
        };
        let kept = sizes("permessage-deflate");
        assert!(kept[1] < kept[0], "{kept:?}");
        let reset =
            sizes("permessage-deflate; server_no_context_takeover; client_no_context_takeover");
        assert_eq!(reset[1], reset[0]);
    }

    #[test]
    fn messages_of_every_size_survive() {
        let (mut ours, _) = Deflate::accept("permessage-deflate").unwrap();
        let (mut theirs, _) = Deflate::accept("permessage-deflate").unwrap();
        let mut rng = fastrand::Rng::with_seed(1);
        for length in [1, 5, 100, 16 << 10, (16 << 10) + 1, 300_000] {
            let random: Vec<u8> = (0..length).map(|_| rng.u8(..)).collect();
            for message in [random, vec![b'a'; length]] {
                let payload = ours.compress(&message).unwrap();
                assert_eq!(theirs.decompress(payload).unwrap(), message);
            }
        }
    }

    #[test]
    fn what_is_not_deflated_is_refused() {
        let (mut theirs, _) = Deflate::accept("permessage-deflate").unwrap();
        assert!(theirs.decompress(b"\xFF\xFF no".to_vec()).is_err());
    }
}
