//! Finds the TLS functions that an ELF file exports.
//!
//! The file may belong to anybody, so nothing in it is believed: tables are read within limits,
//! and an offset is used only where an executable segment holds it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use agent_common::site;
use object::elf::{ET_DYN, ET_EXEC, PF_X, PT_LOAD, SHN_UNDEF, STT_FUNC};
use object::read::elf::{FileHeader as _, ProgramHeader as _, Sym as _};
use object::{Endianness, ReadCache, ReadCacheOps, ReadRef as _};

/// A place for a probe: where in the file, and what it means there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// What a hit at this offset means.
    pub meaning: Meaning,
}

/// What a hit of a probe means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meaning {
    /// The function begins; its arguments are in their registers.
    Entry(Function),
    /// The function that begins at this offset returns; its result is in its register.
    Return,
}

/// A function of the OpenSSL interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Function {
    /// `SSL_read`.
    Read,
    /// `SSL_read_ex`.
    ReadEx,
    /// `SSL_write`.
    Write,
    /// `SSL_write_ex`.
    WriteEx,
    /// `SSL_free`.
    Free,
    /// `SSL_ctrl`.
    Ctrl,
    /// `SSL_set_tlsext_host_name`.
    SetHostName,
    /// `SSL_set_fd`, `SSL_set_rfd`, `SSL_set_wfd`.
    SetFd,
}

impl Function {
    /// Every exported name and its function.
    const NAMES: [(&'static str, Self); 10] = [
        ("SSL_ctrl", Self::Ctrl),
        ("SSL_free", Self::Free),
        ("SSL_read", Self::Read),
        ("SSL_read_ex", Self::ReadEx),
        ("SSL_set_fd", Self::SetFd),
        ("SSL_set_rfd", Self::SetFd),
        ("SSL_set_tlsext_host_name", Self::SetHostName),
        ("SSL_set_wfd", Self::SetFd),
        ("SSL_write", Self::Write),
        ("SSL_write_ex", Self::WriteEx),
    ];

    fn of(name: &[u8]) -> Option<(&'static str, Self)> {
        Self::NAMES
            .into_iter()
            .find(|(known, _)| known.as_bytes() == name)
    }

    /// Its number in the contract with the kernel programs.
    pub const fn site(self) -> u64 {
        match self {
            Self::Read => site::READ,
            Self::ReadEx => site::READ_EX,
            Self::Write => site::WRITE,
            Self::WriteEx => site::WRITE_EX,
            Self::Free => site::FREE,
            Self::Ctrl => site::CTRL,
            Self::SetHostName => site::SET_HOST_NAME,
            Self::SetFd => site::SET_FD,
        }
    }

    /// Whether its return is awaited: it moves bytes.
    const fn moves_bytes(self) -> bool {
        matches!(
            self,
            Self::Read | Self::ReadEx | Self::Write | Self::WriteEx
        )
    }
}

/// The TLS functions of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFunctions {
    /// Names found, sorted.
    pub names: Vec<&'static str>,
    /// Where to probe, sorted, without doubles.
    pub sites: Vec<Site>,
}

/// LIMIT: symbols looked at. Node has about 100,000; a file that claims more is refused.
const MAX_SYMBOLS: usize = 2_000_000;

/// LIMIT: bytes of the symbol and the string table together. A larger one is refused.
const MAX_TABLE_BYTES: u64 = 128 << 20;

/// The TLS functions in the dynamic symbol table of `file`; `None` if it has no complete pair of
/// read and write, which is the case of nearly every file.
///
/// # Errors
///
/// Says in a few words why the file can't be read.
pub fn tls_functions(file: &File) -> Result<Option<TlsFunctions>, String> {
    let mut magic = [0; 4];
    if file.read_exact_at(&mut magic, 0).is_err() || magic != object::elf::ELFMAG {
        return Err("it does not start like one".to_owned());
    }
    let cache = ReadCache::new(file);
    let found = read_symbols(&cache).map_err(|error| error.to_string())?;
    let has = |a, b| found.names.contains(&a) || found.names.contains(&b);
    let is_complete = has("SSL_read", "SSL_read_ex") && has("SSL_write", "SSL_write_ex");
    Ok(is_complete.then_some(found))
}

fn read_symbols<R: ReadCacheOps>(cache: &ReadCache<R>) -> object::Result<TlsFunctions> {
    type Header = object::elf::FileHeader64<Endianness>;
    let header = Header::parse(cache)?;
    let endian = header.endian()?;
    let mut found = TlsFunctions {
        names: Vec::new(),
        sites: Vec::new(),
    };
    if !matches!(header.e_type.get(endian), ET_DYN | ET_EXEC) {
        return Ok(found);
    }
    let segments = header.program_headers(endian, cache)?;
    let sections = header.sections(endian, cache)?;
    let table_bytes: u64 = sections
        .iter()
        .filter(|section| {
            matches!(
                section.sh_type.get(endian),
                object::elf::SHT_DYNSYM | object::elf::SHT_STRTAB
            )
        })
        .map(|section| section.sh_size.get(endian))
        .fold(0, u64::saturating_add);
    if table_bytes > MAX_TABLE_BYTES || table_bytes > cache.len().unwrap_or(0) {
        return Ok(found);
    }
    let symbols = sections.symbols(endian, cache, object::elf::SHT_DYNSYM)?;
    for symbol in symbols.iter().take(MAX_SYMBOLS) {
        if symbol.st_type() != STT_FUNC || symbol.st_shndx(endian) == SHN_UNDEF {
            continue;
        }
        let Ok(name) = symbol.name(endian, symbols.strings()) else {
            continue;
        };
        let Some((name, function)) = Function::of(name) else {
            continue;
        };
        let address = symbol.st_value(endian);
        let offset = segments.iter().find_map(|segment| {
            let start = segment.p_vaddr(endian);
            let within = address.checked_sub(start)?;
            let is_code = segment.p_type(endian) == PT_LOAD && segment.p_flags(endian) & PF_X != 0;
            (is_code && within < segment.p_filesz(endian))
                .then(|| segment.p_offset(endian).checked_add(within))?
        });
        let Some(offset) = offset else { continue };
        found.names.push(name);
        found.sites.push(Site {
            offset,
            meaning: Meaning::Entry(function),
        });
        if function.moves_bytes() {
            found.sites.push(Site {
                offset,
                meaning: Meaning::Return,
            });
        }
    }
    found.names.sort_unstable();
    found.names.dedup();
    found.sites.sort_unstable();
    found.sites.dedup();
    Ok(found)
}
