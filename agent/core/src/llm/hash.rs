//! Hashes by which requests that are alike are found without what they say: SipHash-1-3
//! (<https://www.aumasson.jp/siphash/siphash.pdf>) under a key of its own for every run, so that
//! nothing can be learned from a hash by trying texts.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

/// The key of the hashes of one run. It does not show in `Debug` output.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct HashKey([u8; 16]);

impl HashKey {
    /// The key of these bytes, to be drawn at random.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(…)")
    }
}

/// Hash of a stream of bytes, whatever the pieces that it comes in.
#[derive(Clone, Copy)]
pub(super) struct StreamHash(SipHasher13);

impl StreamHash {
    /// Ends a text: no byte of UTF-8 is this one.
    const END: u8 = 0xff;

    /// A hash of nothing so far. Hashes for different purposes are never equal but by chance.
    pub(super) fn new(key: HashKey, purpose: &str) -> Self {
        let mut hash = Self(SipHasher13::new_with_key(&key.0));
        hash.text(purpose);
        hash
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// Takes a text that is whole.
    pub(super) fn text(&mut self, text: &str) {
        self.push(text.as_bytes());
        self.end_text();
    }

    /// Ends a text.
    pub(super) fn end_text(&mut self) {
        self.push(&[Self::END]);
    }

    /// Takes a number, such as another hash.
    pub(super) fn number(&mut self, number: u64) {
        self.push(&number.to_le_bytes());
    }

    /// The hash of what was taken.
    pub(super) fn finish(&self) -> u64 {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hash<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        let mut hash = StreamHash::new(HashKey::default(), "test");
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
    fn another_key_or_purpose_gives_another_hash() {
        let hash = |key, purpose| StreamHash::new(HashKey::new([key; 16]), purpose).finish();
        assert_eq!(hash(1, "a"), hash(1, "a"));
        assert_ne!(hash(1, "a"), hash(2, "a"));
        assert_ne!(hash(1, "a"), hash(1, "b"));
    }

    #[test]
    fn a_key_does_not_show() {
        assert_eq!(format!("{:?}", HashKey::new([7; 16])), "HashKey(…)");
    }
}
