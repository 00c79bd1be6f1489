//! Where the bytes of a file come from, and how many of them are taken.

use std::cell::Cell;
use std::io;

use crate::Unreadable;

/// A file, as far as the resolver needs it. The caller implements it by `pread`, never by a
/// mapping: a file that shrinks under a mapping kills who reads it.
pub trait Source {
    /// Size in bytes. What lies behind it is not read.
    fn size(&self) -> u64;

    /// Reads from `offset` into `buffer` and returns how many bytes that were: fewer than asked
    /// for only before the end of the file, none only at it.
    ///
    /// # Errors
    ///
    /// Whatever the file system says; an interrupted call is repeated by the implementation.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

impl Source for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.get(offset..))
            .unwrap_or_default();
        let count = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        Ok(count)
    }
}

/// LIMIT: bytes read of one file, all passes together. Chromium's executable takes 500 MB, the
/// largest agent program 600 MB; a file that needs more is refused, so that a sparse one that
/// claims gigabytes costs a second at most.
pub const MAX_READ_BYTES: u64 = 1 << 30;

/// Reads whole ranges of a source, within [`MAX_READ_BYTES`].
pub(crate) struct Reader<'a> {
    source: &'a dyn Source,
    size: u64,
    read: Cell<u64>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(source: &'a dyn Source) -> Self {
        Self {
            source,
            size: source.size(),
            read: Cell::new(0),
        }
    }

    /// Size of the file when the reader was made.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Fills `buffer` from `offset` on.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(Unreadable::Truncated);
        }
        let total = self.read.get().saturating_add(buffer.len() as u64);
        if total > MAX_READ_BYTES {
            return Err(Unreadable::TooLarge);
        }
        self.read.set(total);
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let count = self.source.read_at(at, rest)?.min(rest.len());
            if count == 0 {
                return Err(Unreadable::Truncated);
            }
            at = at.saturating_add(count as u64);
            rest = rest.get_mut(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// The `length` bytes from `offset` on, in a buffer of their own. The caller bounds `length`.
    pub(crate) fn bytes(&self, offset: u64, length: usize) -> Result<Vec<u8>, Unreadable> {
        // Before anything is allocated: a length that the file doesn't have is refused.
        if offset
            .checked_add(length as u64)
            .is_none_or(|end| end > self.size)
        {
            return Err(Unreadable::Truncated);
        }
        let mut buffer = vec![0; length];
        self.read(offset, &mut buffer)?;
        Ok(buffer)
    }

    /// Shows `visit` the range in windows of `WINDOW_BYTES`, in order. Each begins with the last
    /// `overlap` bytes of the one before, and comes with the offset of its first byte. Stops early
    /// when `visit` says so.
    pub(crate) fn windows(
        &self,
        offset: u64,
        length: u64,
        overlap: usize,
        buffer: &mut Vec<u8>,
        mut visit: impl FnMut(u64, &[u8]) -> Next,
    ) -> Result<(), Unreadable> {
        buffer.clear();
        let (mut at, mut rest) = (offset, length);
        while rest > 0 {
            let kept = overlap.min(buffer.len());
            let from = buffer.len() - kept;
            buffer.drain(..from);
            let fresh = usize::try_from(rest)
                .unwrap_or(usize::MAX)
                .min(WINDOW_BYTES);
            buffer.resize(kept + fresh, 0);
            if let Some(room) = buffer.get_mut(kept..) {
                self.read(at, room)?;
            }
            if visit(at - kept as u64, buffer) == Next::Stop {
                break;
            }
            at += fresh as u64;
            rest -= fresh as u64;
        }
        Ok(())
    }
}

/// Fits the second-level cache, where the copy of the kernel is still warm when it is searched.
pub(crate) const WINDOW_BYTES: usize = 256 << 10;

/// Whether a visitor wants the next window.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Go,
    Stop,
}
