//! Where functions begin and end, as the unwind information has it (`.eh_frame_hdr`, LSB 5.0
//! core, section 10.6; FDE: section 10.6.1).
//!
//! Only the sorted table of the usual encoding is read, by bisection: a look-up takes a few dozen
//! small reads, however large the table is.

use std::ops::Range;

use crate::Unreadable;
use crate::image::Image;
use crate::source::Reader;

/// LIMIT: entries of the table. Codex has 312,000, Chromium half a million.
const MAX_ENTRIES: u32 = 1 << 24;

/// LIMIT: functions listed of one range; the rest of it counts as code without unwind information.
const MAX_STARTS: u32 = 1 << 16;

/// Entries read at once when a range is listed.
const BATCH: u32 = 1_024;

/// Bytes in front of the table: version, three encodings, pointer, number of entries.
const HEADER_BYTES: usize = 12;
const ENTRY_BYTES: usize = 8;

/// What every linker writes: a pointer relative to itself, a plain count, and a table relative to
/// the start of the section, all of four bytes.
const USUAL: [u8; 4] = [1, 0x1b, 0x03, 0x3b];

/// The sorted table.
pub(crate) struct Unwind<'a> {
    image: &'a Image,
    reader: &'a Reader<'a>,
    address: u64,
    entries: u32,
}

impl<'a> Unwind<'a> {
    /// The table of the file; one without entries if it has none, or none of the usual encoding.
    pub(crate) fn read(image: &'a Image, reader: &'a Reader<'a>) -> Result<Self, Unreadable> {
        let mut unwind = Self {
            image,
            reader,
            address: 0,
            entries: 0,
        };
        let Some(range) = image.unwind_table else {
            return Ok(unwind);
        };
        let header = image.bytes_at(reader, range.address, HEADER_BYTES)?;
        let (Some(encoding), Some(count)) = (
            header.first_chunk::<4>(),
            header.get(8..).and_then(<[u8]>::first_chunk),
        ) else {
            return Ok(unwind);
        };
        let count = u32::from_le_bytes(*count);
        let needed = HEADER_BYTES as u64 + u64::from(count) * ENTRY_BYTES as u64;
        if *encoding == USUAL && count <= MAX_ENTRIES && needed <= range.size {
            unwind.address = range.address;
            unwind.entries = count;
        }
        Ok(unwind)
    }

    /// The function, or the part of one, whose code includes `address`.
    pub(crate) fn function_at(&self, address: u64) -> Result<Option<Range<u64>>, Unreadable> {
        let behind = self.first_from(address.saturating_add(1))?;
        let Some(last) = behind.checked_sub(1) else {
            return Ok(None);
        };
        let Some((start, description)) = self.entry(last)? else {
            return Ok(None);
        };
        let size = self.size(description, start)?;
        let range = start..start.saturating_add(size);
        Ok(range.contains(&address).then_some(range))
    }

    /// Number of the first function that begins at `address` or behind it.
    fn first_from(&self, address: u64) -> Result<u32, Unreadable> {
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            let start = self.entry(middle)?.map_or(u64::MAX, |(start, _)| start);
            if start < address {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Functions that begin in `range`, sorted: start, and address of the description. At most
    /// [`MAX_STARTS`].
    pub(crate) fn starts_in(&self, range: &Range<u64>) -> Result<Vec<(u64, u64)>, Unreadable> {
        let mut starts = Vec::new();
        let first = self.first_from(range.start)?;
        let mut number = first;
        while number < self.entries && number - first < MAX_STARTS {
            let count = (self.entries - number).min(BATCH);
            let bytes = self.image.bytes_at(
                self.reader,
                self.place_of(number),
                count as usize * ENTRY_BYTES,
            )?;
            let (entries, _) = bytes.as_chunks::<8>();
            for entry in entries {
                let (start, description) = self.parse(entry);
                if start >= range.end {
                    return Ok(starts);
                }
                // In a table that is not sorted anything may come.
                if start >= range.start {
                    starts.push((start, description));
                }
            }
            number += count;
        }
        Ok(starts)
    }

    /// Start of a function and address of its description.
    fn entry(&self, number: u32) -> Result<Option<(u64, u64)>, Unreadable> {
        let bytes = self
            .image
            .bytes_at(self.reader, self.place_of(number), ENTRY_BYTES)?;
        Ok(bytes.first_chunk().map(|entry| self.parse(entry)))
    }

    /// Address of an entry.
    const fn place_of(&self, number: u32) -> u64 {
        let within = HEADER_BYTES as u64 + number as u64 * ENTRY_BYTES as u64;
        self.address.saturating_add(within)
    }

    const fn parse(&self, entry: &[u8; 8]) -> (u64, u64) {
        let [a, b, c, d, e, f, g, h] = *entry;
        let start = i32::from_le_bytes([a, b, c, d]) as i64;
        let description = i32::from_le_bytes([e, f, g, h]) as i64;
        (
            self.address.wrapping_add_signed(start),
            self.address.wrapping_add_signed(description),
        )
    }

    /// Size of the function that a description is about; 0 if it is about another one, which is
    /// how an unknown encoding shows, too.
    pub(crate) fn size(&self, description: u64, start: u64) -> Result<u64, Unreadable> {
        // Length, pointer to the common part, start relative to itself, size.
        let bytes = self.image.bytes_at(self.reader, description, 16)?;
        let (Some(begin), Some(size)) = (
            bytes.get(8..).and_then(<[u8]>::first_chunk),
            bytes.get(12..).and_then(<[u8]>::first_chunk),
        ) else {
            return Ok(0);
        };
        let begin = description
            .wrapping_add(8)
            .wrapping_add_signed(i32::from_le_bytes(*begin).into());
        Ok(if begin == start {
            u32::from_le_bytes(*size).into()
        } else {
            0
        })
    }
}
