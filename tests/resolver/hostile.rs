//! Files that mean harm, and what holds of every file.

use std::cell::Cell;
use std::io;

use agent_resolver::{Kept, MAX_READ_BYTES, Resolution, Source, Unreadable, content_key, resolve};
use proptest::prelude::*;

use crate::elf::library::{Flags, boring};
use crate::elf::{Plan, Shape, Symbol, Table, Unwind};
use crate::{PIE, VERSION_3_0, VERSION_3_6, openssl_plan, resolved};

#[test]
fn offsets_are_those_of_executable_segments() {
    let file = Plan::new(PIE, boring()).build();
    let resolution = resolved(&file.bytes);
    for found in resolution.functions() {
        let offset = resolution.offset_of(found.address).unwrap();
        let function = &file.bytes[usize::try_from(offset).unwrap()..];
        assert!(function.starts_with(&[0x55, 0x48, 0x89, 0xe5]));
    }
    assert_eq!(resolution.offset_of(0), None);
    assert_eq!(resolution.offset_of(u64::MAX), None);
}

#[test]
fn what_is_no_elf_file_of_these_machines_is_said() {
    let file = Plan::new(PIE, boring()).build();
    let with = |at: usize, value: u8| {
        let mut bytes = file.bytes.clone();
        bytes[at] = value;
        resolve(&bytes).unwrap_err().to_string()
    };
    assert_eq!(with(0, 0), "it is no ELF file");
    assert_eq!(with(4, 1), "it is not for a 64-bit x86 or ARM machine");
    assert_eq!(with(5, 2), "it is not for a 64-bit x86 or ARM machine");
    assert_eq!(with(18, 243), "it is not for a 64-bit x86 or ARM machine");
    assert_eq!(with(16, 4), "it is neither a program nor a library");
    assert_eq!(with(56, 0), "its headers are damaged");
    assert_eq!(with(57, 0xff), "its headers are damaged");
    assert_eq!(with(39, 1), "it ends too early");
    assert!(resolve(&Vec::new()).is_err());
}

#[test]
fn segments_that_overlap_are_refused() {
    let mut file = Plan::new(PIE, boring()).build();
    // The address of the code becomes that of the first segment.
    file.bytes[64 + 56 + 16..64 + 56 + 24].fill(0);
    assert!(matches!(resolve(&file.bytes), Err(Unreadable::Malformed)));
}

#[test]
fn a_file_that_ends_anywhere_gives_an_error_or_the_same_or_less() {
    let plan = openssl_plan(PIE, Flags::Present, None).with_symbols(
        Table::Dynamic,
        ["SSL_read", "SSL_write", "SSL_free"].map(Symbol::of),
    );
    let file = plan.build();
    for length in 0..file.bytes.len() {
        if let Ok(resolution) = resolve(&file.bytes[..length].to_vec()) {
            check(&resolution);
        }
    }
}

/// A file of any size that has only its first bytes, zeros behind them.
struct Sparse {
    start: Vec<u8>,
    size: u64,
    read: Cell<u64>,
}

impl Source for Sparse {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.read.set(self.read.get() + buffer.len() as u64);
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.start.get(offset..))
            .unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer.fill(0);
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(buffer.len())
    }
}

#[test]
fn a_sparse_file_of_ten_gigabytes_is_refused_before_it_is_read() {
    let mut file = Plan::new(
        Shape {
            unwind: Unwind::Absent,
            ..PIE
        },
        boring(),
    )
    .build();
    let size = 10_u64 << 30;
    // The code segment reaches to the end.
    let header = 64 + 56;
    let offset = u64::from_le_bytes(*file.bytes[header + 8..].first_chunk().unwrap());
    for at in [32, 40] {
        file.bytes[header + at..header + at + 8].copy_from_slice(&(size - offset).to_le_bytes());
    }
    // Nothing is loaded behind it.
    file.bytes[header + 56..header + 2 * 56].fill(0);
    let sparse = Sparse {
        start: file.bytes,
        size,
        read: Cell::new(0),
    };
    assert!(matches!(resolve(&sparse), Err(Unreadable::TooLarge)));
    assert!(sparse.read.get() < 1 << 20);
    assert!(content_key(&sparse).is_ok());
    assert!(sparse.read.get() < 1 << 20);
}

#[test]
fn tables_of_a_sparse_file_are_read_up_to_the_limit() {
    let file = Plan::new(PIE, boring())
        .with_symbols(Table::Full, [Symbol::of("SSL_read")])
        .build();
    let size = 10_u64 << 30;
    let mut bytes = file.bytes;
    let sections = u64::from_le_bytes(*bytes[40..].first_chunk().unwrap());
    // The string table of the full symbol table reaches over everything.
    let header = usize::try_from(sections).unwrap() + 4 * 64;
    bytes[header + 24..header + 32].fill(0);
    bytes[header + 32..header + 40].copy_from_slice(&size.to_le_bytes());
    let sparse = Sparse {
        start: bytes,
        size,
        read: Cell::new(0),
    };
    let _unimportant = resolve(&sparse);
    assert!(sparse.read.get() <= MAX_READ_BYTES);
}

/// What holds of every resolution.
fn check(resolution: &Resolution) {
    let functions = resolution.functions();
    assert!(functions.is_sorted());
    assert!(
        functions
            .iter()
            .all(|found| resolution.offset_of(found.address).is_some())
    );
    if !functions.is_empty() {
        assert!(functions.iter().any(|found| found.function.reads()));
        assert!(functions.iter().any(|found| found.function.writes()));
        assert!(resolution.library().is_some());
    }
}

fn plans() -> Vec<Plan> {
    Shape::all()
        .flat_map(|shape| {
            let named = openssl_plan(shape, Flags::Present, Some(VERSION_3_6)).with_symbols(
                Table::Dynamic,
                ["SSL_read", "SSL_write", "SSL_free"].map(Symbol::of),
            );
            [
                Plan::new(shape, boring()),
                openssl_plan(shape, Flags::Absent, Some(VERSION_3_0)),
                named,
            ]
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_048)) {
        let with_magic = [b"\x7fELF\x02\x01\x01".as_slice(), &bytes].concat();
        for bytes in [bytes, with_magic] {
            if let Ok(resolution) = resolve(&bytes) {
                check(&resolution);
            }
            let _unimportant = content_key(&bytes);
        }
    }

    #[test]
    fn no_change_of_a_file_panics(
        number in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24),
    ) {
        let plans = plans();
        let mut bytes = number.get(&plans).build().bytes;
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(resolution) = resolve(&bytes) {
            check(&resolution);
            let kept = Kept::new(&bytes, resolution.clone()).unwrap();
            if let Some(kept) = kept {
                prop_assert_eq!(kept.recall(&bytes), Some(resolution));
            }
        }
    }
}
