//! The code around error sites: its bytes, and where functions begin in it.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::Unreadable;
use crate::code::{self, Flow, Instruction};
use crate::image::Image;
use crate::resolution::Arch;
use crate::scan;
use crate::source::Reader;
use crate::unwind::Unwind;

/// How far a function may begin in front of an error site.
const BEFORE: u64 = 12 << 10;

/// How far behind an error site its call may be.
const BEHIND: u64 = 4 << 10;

/// LIMIT: bytes of code kept, all ranges together. The error sites of a library lie within one or
/// two megabytes; a file where they take more is not understood.
const MAX_BYTES: u64 = 16 << 20;

/// LIMIT: functions that unwind information lists in these ranges. A megabyte has a few thousand; a
/// file with more is not understood.
const MAX_FUNCTIONS: usize = 1 << 16;

/// LIMIT: bytes of one instruction.
const LONGEST_INSTRUCTION: usize = 15;

/// What says that a function begins somewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Witness {
    /// Unwind information does.
    pub(crate) unwind: bool,
    /// Direct calls do.
    pub(crate) calls: bool,
}

/// Code around error sites.
pub(crate) struct Text {
    pub(crate) arch: Arch,
    /// Start addresses and bytes, sorted.
    ranges: Vec<(u64, Vec<u8>)>,
    functions: BTreeMap<u64, Witness>,
}

impl Text {
    /// Reads what is around `loads`, which are sorted; `None` if that is too much.
    pub(crate) fn read(
        image: &Image,
        reader: &Reader<'_>,
        loads: &[u64],
    ) -> Result<Option<Self>, Unreadable> {
        let ranges = around(image, loads);
        let total: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        if total > MAX_BYTES {
            return Ok(None);
        }
        let mut text = Self {
            arch: image.arch,
            ranges: Vec::new(),
            functions: BTreeMap::new(),
        };
        for range in &ranges {
            let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            text.ranges
                .push((range.start, image.bytes_at(reader, range.start, length)?));
        }
        let unwind = Unwind::read(image, reader)?;
        let mut described = BTreeMap::new();
        for range in &ranges {
            for (start, description) in unwind.starts_in(range)? {
                described.insert(start, description);
                let witness = Witness {
                    unwind: true,
                    calls: false,
                };
                text.functions.insert(start, witness);
            }
            if described.len() > MAX_FUNCTIONS {
                return Ok(None);
            }
        }
        for target in scan::calls(image, reader, &ranges)? {
            let begins = match text.functions.get(&target) {
                Some(_) => true,
                // Bytes that look like a call may point anywhere.
                None => {
                    let before = described.range(..target).next_back();
                    let is_inside = match before {
                        Some((start, description)) => {
                            target - start < unwind.size(*description, *start)?
                        }
                        None => false,
                    };
                    !is_inside && text.may_begin_at(target)
                }
            };
            if begins {
                text.functions.entry(target).or_default().calls = true;
            }
        }
        Ok(Some(text))
    }

    /// Whether compilers let a function begin there: aligned, behind padding or the end of another
    /// one.
    fn may_begin_at(&self, address: u64) -> bool {
        match self.arch {
            Arch::X86_64 => {
                address.is_multiple_of(16)
                    && address
                        .checked_sub(END_BYTES as u64)
                        .is_some_and(|from| self.bytes(from).first_chunk().is_some_and(is_end))
            }
            Arch::Aarch64 => {
                address.is_multiple_of(4)
                    && address.checked_sub(4).is_some_and(|from| {
                        let bytes = self.bytes(from);
                        let is_padding = matches!(
                            bytes.first_chunk(),
                            // NOP, and what is no instruction
                            Some([0x1f, 0x20, 0x03, 0xd5] | [0, 0, _, 0])
                        );
                        let flow = code::decode(self.arch, bytes, from).map(|i| i.flow);
                        // A call in front is one that does not return.
                        is_padding
                            || matches!(
                                flow,
                                Some(Flow::Away | Flow::Elsewhere | Flow::Jump(_) | Flow::Call(_))
                            )
                    })
            }
        }
    }

    /// The start of the last function that begins at `address` or in front of it, and what says so.
    pub(crate) fn function_before(&self, address: u64) -> Option<(u64, Witness)> {
        self.functions
            .range(..=address)
            .next_back()
            .map(|(start, witness)| (*start, *witness))
    }

    /// The start of the next function that begins behind `address`.
    pub(crate) fn function_behind(&self, address: u64) -> Option<u64> {
        self.functions
            .range(address.saturating_add(1)..)
            .next()
            .map(|(start, _)| *start)
    }

    /// What says that a function begins at `address`.
    pub(crate) fn witness(&self, address: u64) -> Option<Witness> {
        self.functions.get(&address).copied()
    }

    /// The instruction at `address`; `None` where there is none, or where the code was not read.
    pub(crate) fn instruction(&self, address: u64) -> Option<Instruction> {
        let bytes = self.bytes(address);
        let bytes = bytes.get(..LONGEST_INSTRUCTION).unwrap_or(bytes);
        code::decode(self.arch, bytes, address)
    }

    /// The bytes from `address` to the end of what was read there.
    fn bytes(&self, address: u64) -> &[u8] {
        let before = self.ranges.partition_point(|(start, _)| *start <= address);
        before
            .checked_sub(1)
            .and_then(|index| self.ranges.get(index))
            .and_then(|(start, bytes)| bytes.get(usize::try_from(address - start).ok()?..))
            .unwrap_or_default()
    }
}

/// Ranges of code around `loads`, sorted, without overlaps, each inside of a segment.
fn around(image: &Image, loads: &[u64]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for load in loads {
        // The load ends there, so its last byte is in front.
        let Some(segment) = image.segment_of(load.saturating_sub(1)) else {
            continue;
        };
        let start = load.saturating_sub(BEFORE).max(segment.address);
        let end = load.saturating_add(BEHIND).min(segment.end());
        match ranges.last_mut() {
            Some(last) if start <= last.end => last.end = last.end.max(end),
            _ => ranges.push(start..end),
        }
    }
    ranges
}

/// Bytes in front of a function that say how the code before it ended.
const END_BYTES: usize = 9;

/// Whether these bytes end another function, or are padding: a trap, a return, a `nop` in one of
/// the forms that assemblers use (Intel SDM, NOP, table 4-12), or a jump or call that does not
/// return.
const fn is_end(bytes: &[u8; END_BYTES]) -> bool {
    matches!(
        bytes,
        [.., 0xcc | 0xc3 | 0x90]
            | [.., 0x0f, 0x0b]
            | [.., 0xeb, _]
            | [.., 0xe9 | 0xe8, _, _, _, _]
            | [.., 0x0f, 0x1f, 0x00]
            | [.., 0x0f, 0x1f, 0x40, 0x00]
            | [.., 0x0f, 0x1f, 0x44, 0x00, 0x00]
            | [.., 0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00]
            | [.., 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00]
    )
}
