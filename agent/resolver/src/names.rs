//! Functions that a symbol table names.
//!
//! The string table is searched for the names first: nearly every file has none of them, and then
//! its symbols are not read.

use memchr::memmem::Finder;
use object::Endianness;
use object::elf::{SHN_UNDEF, SHT_DYNSYM, SHT_STRTAB, SHT_SYMTAB, STT_FUNC, Sym64};
use object::pod;
use object::read::elf::Sym as _;

use crate::Unreadable;
use crate::code;
use crate::image::{Image, Range};
use crate::resolution::{Confidence, Family, Found, Function, Functions, Method, Outcome, Refusal};
use crate::source::{Next, Reader};
use crate::unwind::Unwind;

/// LIMIT: symbol tables looked at. Files have at most one of each kind.
const MAX_TABLES: usize = 8;

/// LIMIT: places in one string table that hold a name. A compiler's table has each once or, where
/// names end alike, a few times; what comes after is not looked at.
const MAX_PLACES: usize = 1_024;

/// LIMIT: symbols kept. A file defines each name once, or twice when both tables have it; of a file
/// that has more, the others are not probed.
const MAX_SYMBOLS: usize = 64;

/// LIMIT: bytes of one symbol or string table. Programs with all symbols of a browser have a tenth
/// of it; a larger table counts as none.
const MAX_TABLE_BYTES: u64 = 256 << 20;

/// LIMIT: bytes of a named function that are decoded. The largest has about two thousand.
const MAX_DECODED: u64 = 16 << 10;

/// Bytes that the last instruction may need beyond those.
const LONGEST_INSTRUCTION: usize = 15;

/// Longest name that is looked for, with the byte that ends it.
const LONGEST_NAME: usize = 32;

/// What a name that is looked for means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Meaning {
    Function(Function),
    /// The library is here; its functions are not resolved.
    Presence(Family),
}

/// Names that tell other libraries: each is the function through which all that is written goes.
const PRESENCE: [(&str, Family); 4] = [
    ("gnutls_record_send", Family::GnuTls),
    ("SSL_ImportFD", Family::Nss),
    ("mbedtls_ssl_write", Family::MbedTls),
    ("wolfSSL_write", Family::WolfSsl),
];

/// What every name that is looked for contains.
const COMMON_PARTS: [&[u8]; 3] = [b"SSL_", b"gnutls_record_send\0", b"mbedtls_ssl_write\0"];

/// A defined symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Named {
    pub(crate) found: Found,
    /// Its size in bytes, 0 if unknown.
    pub(crate) size: u64,
}

/// What the symbol tables define.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Sorted, without doubles.
    pub(crate) functions: Vec<Named>,
    /// Other libraries, sorted.
    pub(crate) present: Vec<Family>,
}

/// Reads the symbol tables.
pub(crate) fn find(image: &Image, reader: &Reader<'_>) -> Result<Names, Unreadable> {
    let mut names = Names::default();
    let tables = image
        .sections
        .iter()
        .filter(|section| matches!(section.kind, SHT_DYNSYM | SHT_SYMTAB))
        .take(MAX_TABLES);
    for table in tables {
        let strings = usize::try_from(table.link)
            .ok()
            .and_then(|link| image.sections.get(link))
            .filter(|strings| strings.kind == SHT_STRTAB);
        let Some(strings) = strings else { continue };
        if table.range.size.max(strings.range.size) > MAX_TABLE_BYTES {
            continue;
        }
        // Programs run with damaged tables: these have no names then.
        let Ok(places) = places(strings.range, reader) else {
            continue;
        };
        if !places.is_empty() {
            names.read(table.range, &places, reader)?;
        }
    }
    names.functions.sort_unstable();
    names.functions.dedup();
    names.present.sort_unstable();
    names.present.dedup();
    Ok(names)
}

/// Where in a string table the names are: a symbol may also refer to the end of a longer name.
fn places(strings: Range, reader: &Reader<'_>) -> Result<Vec<(u32, Meaning)>, Unreadable> {
    let finders = COMMON_PARTS.map(Finder::new);
    let mut places = Vec::new();
    let mut buffer = Vec::new();
    reader.windows(
        strings.offset,
        strings.size,
        LONGEST_NAME,
        &mut buffer,
        |start, window| {
            for at in finders.iter().flat_map(|finder| finder.find_iter(window)) {
                // The prefix of the longest names in front of the part that all have.
                for from in [Some(at), at.checked_sub("wolf".len())]
                    .into_iter()
                    .flatten()
                {
                    let offset = (start + from as u64).checked_sub(strings.offset);
                    let offset = offset.and_then(|offset| u32::try_from(offset).ok());
                    let meaning = window.get(from..).and_then(meaning_of);
                    if let (Some(offset), Some(meaning)) = (offset, meaning) {
                        places.push((offset, meaning));
                    }
                }
            }
            if places.len() < MAX_PLACES {
                Next::Go
            } else {
                Next::Stop
            }
        },
    )?;
    places.truncate(MAX_PLACES);
    places.sort_unstable();
    places.dedup();
    Ok(places)
}

/// What the text means that begins with `bytes` and ends with a zero.
fn meaning_of(bytes: &[u8]) -> Option<Meaning> {
    let end = memchr::memchr(0, bytes.get(..LONGEST_NAME).unwrap_or(bytes))?;
    let name = bytes.get(..end)?;
    let functions = Function::NAMES
        .into_iter()
        .map(|(text, function)| (text, Meaning::Function(function)));
    let libraries = PRESENCE
        .into_iter()
        .map(|(text, family)| (text, Meaning::Presence(family)));
    functions
        .chain(libraries)
        .find_map(|(text, meaning)| (text.as_bytes() == name).then_some(meaning))
}

impl Names {
    fn read(
        &mut self,
        table: Range,
        places: &[(u32, Meaning)],
        reader: &Reader<'_>,
    ) -> Result<(), Unreadable> {
        const ENTRY_BYTES: usize = size_of::<Sym64<Endianness>>();
        let endian = Endianness::Little;
        let mut buffer = Vec::new();
        let mut rest_of_last = Vec::new();
        let read = reader.windows(table.offset, table.size, 0, &mut buffer, |_, window| {
            // Windows don't end where entries do.
            rest_of_last.extend_from_slice(window);
            let count = rest_of_last.len() / ENTRY_BYTES;
            let Ok((symbols, _)) = pod::slice_from_bytes::<Sym64<Endianness>>(&rest_of_last, count)
            else {
                return Next::Stop;
            };
            for symbol in symbols {
                let name = symbol.st_name(endian);
                let Ok(place) = places.binary_search_by_key(&name, |(offset, _)| *offset) else {
                    continue;
                };
                if symbol.st_type() != STT_FUNC || symbol.st_shndx(endian) == SHN_UNDEF {
                    continue;
                }
                match places.get(place).map(|(_, meaning)| *meaning) {
                    Some(Meaning::Function(function)) => self.functions.push(Named {
                        found: Found {
                            function,
                            address: symbol.st_value(endian),
                        },
                        size: symbol.st_size(endian),
                    }),
                    Some(Meaning::Presence(family)) => self.present.push(family),
                    None => {}
                }
            }
            rest_of_last.drain(..count * ENTRY_BYTES);
            if self.functions.len() + self.present.len() < MAX_SYMBOLS {
                Next::Go
            } else {
                Next::Stop
            }
        });
        self.functions.truncate(MAX_SYMBOLS);
        match read {
            // The table ends behind the file: what it had until there counts.
            Err(Unreadable::Truncated) => Ok(()),
            other => other,
        }
    }

    /// Whether a function has a name.
    pub(crate) fn has(&self, function: Function) -> bool {
        self.functions
            .iter()
            .any(|named| named.found.function == function)
    }

    /// What the names are good for.
    pub(crate) fn outcome(
        &self,
        image: &Image,
        reader: &Reader<'_>,
    ) -> Result<Outcome, Unreadable> {
        let reads = self
            .functions
            .iter()
            .any(|named| named.found.function.reads());
        let writes = self
            .functions
            .iter()
            .any(|named| named.found.function.writes());
        if !reads && !writes {
            return Ok(Outcome::Nothing);
        }
        if !reads || !writes {
            return Ok(Outcome::Refused(Refusal::HalfAPair));
        }
        let unwind = Unwind::read(image, reader)?;
        for named in &self.functions {
            if !named.is_plausible(image, reader, &unwind)? {
                return Ok(Outcome::Refused(Refusal::NameInsideCode));
            }
        }
        let mut functions: Vec<Found> = self.functions.iter().map(|named| named.found).collect();
        functions.dedup();
        Ok(Outcome::Found(Functions {
            method: Method::Names,
            confidence: Confidence::Certain,
            functions,
        }))
    }
}

impl Named {
    /// Whether nothing contradicts that a function begins there: it is code, unwind information
    /// lets no other function reach over it, and its code can be decoded to its end. A probe in
    /// the middle of an instruction would crash the program.
    fn is_plausible(
        &self,
        image: &Image,
        reader: &Reader<'_>,
        unwind: &Unwind<'_>,
    ) -> Result<bool, Unreadable> {
        let address = self.found.address;
        let is_code = image
            .segment_of(address)
            .is_some_and(|segment| segment.is_code);
        let is_start = unwind
            .function_at(address)?
            .is_none_or(|range| range.start == address);
        if !is_code || !is_start {
            return Ok(false);
        }
        let size = self.size.min(MAX_DECODED);
        let length = usize::try_from(size).unwrap_or_default() + LONGEST_INSTRUCTION;
        let code = image.bytes_at(reader, address, length)?;
        // Without a size, the first instruction must do.
        let mut done = 0;
        loop {
            let rest = code.get(done..).unwrap_or_default();
            let at = address.wrapping_add(done as u64);
            let Some(instruction) = code::decode(image.arch, rest, at) else {
                return Ok(false);
            };
            done += usize::from(instruction.length);
            if done as u64 >= size {
                return Ok(size == 0 || size == MAX_DECODED || done as u64 == size);
            }
        }
    }
}
