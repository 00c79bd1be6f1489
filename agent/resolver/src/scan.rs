//! Goes over all code of a file, fast and without decoding it, for the few places that matter:
//! those that load the address of a text, and those that call into a range.
//!
//! What it finds is a candidate. Bytes that only look like an instruction are told apart later,
//! when the functions around them are decoded.

use std::collections::BTreeSet;

use crate::Unreadable;
use crate::code::{self, Effect};
use crate::image::Image;
use crate::resolution::Arch;
use crate::search::Texts;
use crate::source::{Next, Reader};

/// LIMIT: candidates for loads. A library has about a hundred error calls in a source file; a
/// file with more than this many has its texts everywhere and is not understood.
const MAX_LOADS: usize = 8_192;

/// LIMIT: places called in the ranges of interest, which are a megabyte or two.
const MAX_TARGETS: usize = 1 << 18;

/// Bytes of a window that belong to the next one, too: no instruction is longer.
const OVERLAP: usize = 16;

/// Instructions after an ADRP among which the rest of the address is looked for.
const ADRP_REACH: usize = 32;

/// How far behind the page of an ADRP a text may be: sections are addressed through anchors.
const ANCHOR_REACH: u64 = 64 << 10;

/// Addresses behind the instructions that may load one of `texts`, sorted. The end of an instruction
/// is certain where its start is not: a prefix may be the end of the one before. `texts` is sorted.
/// `None` if there are too many.
pub(crate) fn loads(
    image: &Image,
    reader: &Reader<'_>,
    texts: &[u64],
) -> Result<Option<Vec<u64>>, Unreadable> {
    let mut found = Vec::new();
    let mut buffer = Vec::new();
    let fixed = fixed_addresses(image, texts)?;
    for segment in image.instructions() {
        let overlap = match image.arch {
            Arch::X86_64 => OVERLAP,
            Arch::Aarch64 => (ADRP_REACH + 1) * 4,
        };
        reader.windows(
            segment.offset,
            segment.size,
            overlap,
            &mut buffer,
            |offset, window| {
                let address = segment.address + (offset - segment.offset);
                match image.arch {
                    Arch::X86_64 => {
                        x86_loads(window, address, texts, fixed.as_ref(), &mut found);
                    }
                    Arch::Aarch64 => arm_loads(window, address, texts, &mut found),
                }
                if found.len() <= MAX_LOADS {
                    Next::Go
                } else {
                    Next::Stop
                }
            },
        )?;
        if found.len() > MAX_LOADS {
            return Ok(None);
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(Some(found))
}

/// `lea r64, [rip + disp32]` and, in code at fixed addresses, `mov r32, imm32`.
fn x86_loads(
    window: &[u8],
    address: u64,
    texts: &[u64],
    fixed: Option<&Texts>,
    found: &mut Vec<u64>,
) {
    const LEA: u8 = 0x8d;
    for at in memchr::memchr_iter(LEA, window) {
        let Some(from) = at.checked_sub(1) else {
            continue;
        };
        let Some(&[prefix, _, operands, a, b, c, d]) =
            window.get(from..).and_then(<[u8]>::first_chunk)
        else {
            continue;
        };
        if prefix & 0b1111_1011 == 0b0100_1000 && operands & 0b1100_0111 == 0b0000_0101 {
            let next = address.wrapping_add(from as u64 + 7);
            let target = next.wrapping_add_signed(i32::from_le_bytes([a, b, c, d]).into());
            if texts.binary_search(&target).is_ok() {
                found.push(next);
            }
        }
    }
    if let Some(fixed) = fixed {
        for found_at in fixed.find_iter(window) {
            let at = found_at.start();
            let opcode = at.checked_sub(1).and_then(|from| window.get(from));
            if matches!(opcode, Some(0xb8..=0xbf)) {
                found.push(address.wrapping_add(at as u64 + 4));
            }
        }
    }
}

/// Searches for addresses as code at fixed addresses has them in its instructions.
fn fixed_addresses(image: &Image, texts: &[u64]) -> Result<Option<Texts>, Unreadable> {
    if !image.is_fixed || image.arch != Arch::X86_64 {
        return Ok(None);
    }
    // Registers get the value by an instruction of 32 bits, which must not look negative.
    let values: Vec<[u8; 4]> = texts
        .iter()
        .filter_map(|text| i32::try_from(*text).ok())
        .map(i32::to_le_bytes)
        .collect();
    Texts::new(values.iter().map(<[u8; 4]>::as_slice)).map(Some)
}

/// `adr`, and `adrp` with one or two `add`s.
fn arm_loads(window: &[u8], address: u64, texts: &[u64], found: &mut Vec<u64>) {
    let (Some(lowest), Some(highest)) = (texts.first(), texts.last()) else {
        return;
    };
    let (words, _) = window.as_chunks::<4>();
    for (index, word) in words.iter().enumerate() {
        // ADR and ADRP.
        if word[3] & 0x1f != 0x10 {
            continue;
        }
        let at = address.wrapping_add(index as u64 * 4);
        let Some(Effect::Set { to, value }) =
            code::decode(Arch::Aarch64, word, at).map(|instruction| instruction.effect)
        else {
            continue;
        };
        if texts.binary_search(&value).is_ok() {
            found.push(at + 4);
        }
        if value > *highest || value.saturating_add(ANCHOR_REACH) < *lowest {
            continue;
        }
        let rest = words.get(index + 1..).unwrap_or_default();
        follow(
            rest.iter().take(ADRP_REACH),
            at + 4,
            to,
            value,
            texts,
            found,
        );
    }
}

/// Follows straight code from an ADRP on, and notes where a text's address is complete.
fn follow<'a>(
    words: impl Iterator<Item = &'a [u8; 4]>,
    mut at: u64,
    register: code::Register,
    value: u64,
    texts: &[u64],
    found: &mut Vec<u64>,
) {
    let mut state = code::State::new(Arch::Aarch64);
    state.assume(register, value);
    for word in words {
        let Some(instruction) = code::decode(Arch::Aarch64, word, at) else {
            return;
        };
        state.execute(Arch::Aarch64, &instruction);
        if let Effect::Add { to, by, .. } = instruction.effect
            && by != 0
            && let Some(sum) = state.value(to).constant()
            && texts.binary_search(&sum).is_ok()
        {
            found.push(at + 4);
        }
        at += 4;
    }
}

/// Targets of direct calls in `ranges`, which are sorted and do not overlap.
pub(crate) fn calls(
    image: &Image,
    reader: &Reader<'_>,
    ranges: &[std::ops::Range<u64>],
) -> Result<BTreeSet<u64>, Unreadable> {
    let mut found = BTreeSet::new();
    let mut buffer = Vec::new();
    let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else {
        return Ok(found);
    };
    let whole = first.start..last.end;
    let is_wanted = |target: u64| {
        whole.contains(&target)
            && ranges
                .get(ranges.partition_point(|range| range.end <= target))
                .is_some_and(|range| range.contains(&target))
    };
    for segment in image.instructions() {
        reader.windows(
            segment.offset,
            segment.size,
            OVERLAP,
            &mut buffer,
            |offset, window| {
                let address = segment.address + (offset - segment.offset);
                let mut note = |target: u64| {
                    if is_wanted(target) && found.len() < MAX_TARGETS {
                        found.insert(target);
                    }
                };
                match image.arch {
                    Arch::X86_64 => x86_calls(window, address, &mut note),
                    Arch::Aarch64 => arm_calls(window, address, &mut note),
                }
                Next::Go
            },
        )?;
    }
    Ok(found)
}

fn x86_calls(window: &[u8], address: u64, note: &mut impl FnMut(u64)) {
    const CALL: u8 = 0xe8;
    for at in memchr::memchr_iter(CALL, window) {
        let Some(distance) = window.get(at + 1..).and_then(<[u8]>::first_chunk) else {
            continue;
        };
        let next = address.wrapping_add(at as u64 + 5);
        note(next.wrapping_add_signed(i32::from_le_bytes(*distance).into()));
    }
}

fn arm_calls(window: &[u8], address: u64, note: &mut impl FnMut(u64)) {
    let (words, _) = window.as_chunks::<4>();
    for (index, word) in words.iter().enumerate() {
        // BL
        if word[3] & 0xfc == 0x94 {
            let distance = (i32::from_le_bytes(*word) << 6) >> 4;
            let call = address.wrapping_add(index as u64 * 4);
            note(call.wrapping_add_signed(distance.into()));
        }
    }
}
