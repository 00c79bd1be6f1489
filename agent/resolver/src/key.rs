//! Keeps resolutions across restarts, by what a file contains.
//!
//! Neither a version nor a build-id tells files apart: programs that embed the same runtime share
//! its build-id and have the functions at other offsets, and some have none at all. The key is
//! cheap and finds candidates; the proof is made of the code itself and decides.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Unreadable;
use crate::image::Image;
use crate::resolution::{Outcome, Resolution};
use crate::source::{Reader, Source};

/// Format of [`Kept`], and of the rules that lead to a resolution: one that older rules found is
/// found again.
const FORMAT: u32 = 1;

/// Samples of each executable segment that enter the key, and their size in bytes.
const SAMPLES: u64 = 16;
const SAMPLE_BYTES: usize = 4 << 10;

/// Bytes of each function that enter the proof: most of these functions are shorter.
const PROOF_BYTES: usize = 512;

/// What identifies the content of an ELF file: SHA-256 over its size, headers, build-id and
/// samples of its code. Equal files have equal keys; a file made up to share one is told apart by
/// [`Kept::recall`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContentKey([u8; 32]);

impl fmt::Display for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentKey({self})")
    }
}

/// The key of a file; reads about 64 KiB of it.
///
/// # Errors
///
/// The file is no ELF file of a known kind, or can't be read.
pub fn content_key(source: &dyn Source) -> Result<ContentKey, Unreadable> {
    let reader = Reader::new(source);
    let image = Image::read(&reader)?;
    let mut hash = Sha256::new();
    hash.update(reader.size().to_le_bytes());
    hash.update(&image.headers);
    hash.update(&image.build_id);
    for segment in image.code() {
        let step = (segment.size / SAMPLES).max(1);
        for number in 0..SAMPLES {
            let address = segment.address.saturating_add(number.saturating_mul(step));
            hash.update(image.bytes_at(&reader, address, SAMPLE_BYTES)?);
        }
    }
    Ok(ContentKey(hash.finalize().into()))
}

/// A resolution with functions, to be kept until the same content is seen again. One without
/// functions is not worth keeping: it is found as fast, and must not be found in place of a file
/// that was made to look like another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    format: u32,
    key: ContentKey,
    proof: [u8; 32],
    resolution: Resolution,
}

impl Kept {
    /// Takes what was found in `source`; `None` if that is no function.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    pub fn new(source: &dyn Source, resolution: Resolution) -> Result<Option<Self>, Unreadable> {
        if !matches!(resolution.outcome, Outcome::Found(_)) {
            return Ok(None);
        }
        Ok(Some(Self {
            format: FORMAT,
            key: content_key(source)?,
            proof: proof(&Reader::new(source), &resolution)?,
            resolution,
        }))
    }

    /// The key to keep it under.
    pub const fn key(&self) -> ContentKey {
        self.key
    }

    /// The resolution, if it holds for `source` too: the same key, and the same code at every
    /// function. `None` if it does not, if other rules found it, or if the file can't be read.
    pub fn recall(self, source: &dyn Source) -> Option<Resolution> {
        let holds = self.format == FORMAT
            && content_key(source).ok()? == self.key
            && proof(&Reader::new(source), &self.resolution).ok()? == self.proof;
        holds.then_some(self.resolution)
    }
}

/// SHA-256 over the code at every function.
fn proof(reader: &Reader<'_>, resolution: &Resolution) -> Result<[u8; 32], Unreadable> {
    let mut hash = Sha256::new();
    for found in resolution.functions() {
        let (offset, rest) = resolution
            .code_at(found.address)
            .ok_or(Unreadable::Malformed)?;
        let length = usize::try_from(rest).unwrap_or(usize::MAX).min(PROOF_BYTES);
        hash.update(found.address.to_le_bytes());
        hash.update(reader.bytes(offset, length)?);
    }
    Ok(hash.finalize().into())
}
