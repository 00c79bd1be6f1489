//! A hash of a request, to find tries of the same one. It is kept in memory and goes nowhere.

/// Hash of a stream of bytes, whatever the pieces that it comes in.
///
/// It is not made against an adversary: who sends the bytes could only mark calls of its own
/// process as tries of each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamHash {
    state: u64,
    /// Bytes that do not fill a word yet.
    word: u64,
    length: u64,
}

impl StreamHash {
    /// An odd number without a pattern: 2^64 divided by the golden ratio.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !self.length.is_multiple_of(8)
            && let Some((first, others)) = rest.split_first()
        {
            self.byte(*first);
            rest = others;
        }
        let (words, rest) = rest.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        self.length = self.length.wrapping_add((words.len() as u64) * 8);
        for byte in rest {
            self.byte(*byte);
        }
    }

    /// The hash of what was taken; `None` if that is nothing.
    pub(super) fn finish(mut self) -> Option<u64> {
        if self.length == 0 {
            return None;
        }
        self.mix(self.word);
        self.mix(self.length);
        Some(self.state ^ (self.state >> 32))
    }

    fn byte(&mut self, byte: u8) {
        self.word |= u64::from(byte) << (8 * (self.length % 8));
        self.length = self.length.wrapping_add(1);
        if self.length.is_multiple_of(8) {
            self.mix(self.word);
            self.word = 0;
        }
    }

    const fn mix(&mut self, word: u64) {
        self.state = (self.state.rotate_left(29) ^ word).wrapping_mul(Self::FACTOR);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hash<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<u64> {
        let mut hash = StreamHash::default();
        for piece in pieces {
            hash.push(piece);
        }
        hash.finish()
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_hash(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            cuts in proptest::collection::vec(0_usize..64, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            cuts.push(bytes.len());
            let mut from = 0;
            let pieces: Vec<&[u8]> = cuts
                .iter()
                .map(|cut| {
                    let piece = &bytes[from..*cut];
                    from = *cut;
                    piece
                })
                .collect();
            prop_assert_eq!(hash(pieces), hash([bytes.as_slice()]));
        }

        #[test]
        fn another_byte_or_length_gives_another_hash(
            bytes in proptest::collection::vec(any::<u8>(), 1..64),
            at in any::<prop::sample::Index>(),
        ) {
            let mut other = bytes.clone();
            other[at.index(bytes.len())] ^= 1;
            prop_assert_ne!(hash([other.as_slice()]), hash([bytes.as_slice()]));
            let longer = [bytes.as_slice(), &[0]].concat();
            prop_assert_ne!(hash([longer.as_slice()]), hash([bytes.as_slice()]));
        }
    }

    #[test]
    fn nothing_has_no_hash() {
        assert_eq!(hash([]), None);
    }
}
