//! The tables of an ELF file: segments, sections, build-id. Nothing in them is believed.

use object::Endianness;
use object::elf::{
    EM_AARCH64, EM_X86_64, ET_DYN, ET_EXEC, FileHeader64, NT_GNU_BUILD_ID, PF_W, PF_X,
    PT_GNU_EH_FRAME, PT_LOAD, PT_NOTE, ProgramHeader64, SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE,
    SHN_XINDEX, SHT_PROGBITS, SectionHeader64,
};
use object::pod;
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _};

use crate::Unreadable;
use crate::resolution::{Arch, CodeSegment};
use crate::source::Reader;

/// LIMIT: program headers. Linkers write about a dozen; a file with more is refused.
const MAX_SEGMENTS: u16 = 128;

/// LIMIT: section headers looked at. Programs have up to fifty; the rest is left alone.
const MAX_SECTIONS: u16 = 4_096;

/// LIMIT: bytes of one note segment. A longer one is left alone: Node puts megabytes of data into
/// some.
const MAX_NOTE_BYTES: u64 = 64 << 10;

/// LIMIT: bytes of a build-id. SHA-1 has 20; what is longer is cut.
const MAX_BUILD_ID_BYTES: usize = 64;

/// A loaded segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) address: u64,
    pub(crate) offset: u64,
    /// Bytes in the file.
    pub(crate) size: u64,
    pub(crate) is_code: bool,
    pub(crate) is_writable: bool,
}

impl Segment {
    /// The address behind its last byte in the file.
    pub(crate) const fn end(&self) -> u64 {
        self.address.saturating_add(self.size)
    }
}

/// A range of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) address: u64,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// A section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) kind: u32,
    pub(crate) flags: u64,
    pub(crate) link: u32,
    pub(crate) range: Range,
}

/// The tables of one file.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) arch: Arch,
    /// Segments in the order of their addresses, which do not overlap.
    pub(crate) segments: Vec<Segment>,
    pub(crate) sections: Vec<Section>,
    /// Whether addresses are those of the running program, so that code may hold them.
    pub(crate) is_fixed: bool,
    pub(crate) unwind_table: Option<Range>,
    pub(crate) build_id: Vec<u8>,
    /// File header and program headers, as they are.
    pub(crate) headers: Vec<u8>,
}

const FILE_HEADER_BYTES: usize = size_of::<FileHeader64<Endianness>>();

impl Image {
    /// Reads the tables.
    pub(crate) fn read(reader: &Reader<'_>) -> Result<Self, Unreadable> {
        if reader.size() < FILE_HEADER_BYTES as u64 {
            return Err(Unreadable::NotElf);
        }
        let mut headers = reader.bytes(0, FILE_HEADER_BYTES)?;
        let (header, _) = pod::from_bytes::<FileHeader64<Endianness>>(&headers)
            .map_err(|()| Unreadable::NotElf)?;
        if header.e_ident.magic != object::elf::ELFMAG {
            return Err(Unreadable::NotElf);
        }
        if !header.is_supported() || !header.is_little_endian() {
            return Err(Unreadable::Foreign);
        }
        let endian = Endianness::Little;
        if !matches!(header.e_type.get(endian), ET_EXEC | ET_DYN) {
            return Err(Unreadable::NotLoadable);
        }
        let arch = match header.e_machine.get(endian) {
            EM_X86_64 => Arch::X86_64,
            EM_AARCH64 => Arch::Aarch64,
            _ => return Err(Unreadable::Foreign),
        };
        let (count, entry) = (header.e_phnum.get(endian), header.e_phentsize.get(endian));
        if count == 0
            || count > MAX_SEGMENTS
            || usize::from(entry) != size_of::<ProgramHeader64<Endianness>>()
        {
            return Err(Unreadable::Malformed);
        }
        let sections = Sections {
            offset: header.e_shoff.get(endian),
            entry: header.e_shentsize.get(endian),
            count: header.e_shnum.get(endian),
        };
        let table = reader.bytes(
            header.e_phoff.get(endian),
            usize::from(count) * usize::from(entry),
        )?;
        let (programs, _) =
            pod::slice_from_bytes::<ProgramHeader64<Endianness>>(&table, usize::from(count))
                .map_err(|()| Unreadable::Malformed)?;

        let mut image = Self {
            arch,
            segments: Vec::new(),
            sections: Vec::new(),
            is_fixed: header.e_type.get(endian) == ET_EXEC,
            unwind_table: None,
            build_id: Vec::new(),
            headers: Vec::new(),
        };
        for program in programs {
            let range = Range {
                address: program.p_vaddr(endian),
                offset: program.p_offset(endian),
                size: program.p_filesz(endian),
            };
            match program.p_type(endian) {
                PT_LOAD => image.load(range, program.p_flags(endian), reader.size())?,
                PT_GNU_EH_FRAME => image.unwind_table = Some(range),
                PT_NOTE if image.build_id.is_empty() && range.size <= MAX_NOTE_BYTES => {
                    image.build_id = build_id(program, reader)?;
                }
                _ => {}
            }
        }
        image.sections = sections.read(reader);
        headers.extend_from_slice(&table);
        image.headers = headers;
        Ok(image)
    }

    fn load(&mut self, range: Range, flags: u32, file_size: u64) -> Result<(), Unreadable> {
        let end = range.offset.checked_add(range.size);
        if end.is_none_or(|end| end > file_size) {
            return Err(Unreadable::Truncated);
        }
        // The kernel and the linker rely on the order, and so does every look-up here.
        let follows = self
            .segments
            .last()
            .is_none_or(|last| last.end() <= range.address);
        if !follows || range.address.checked_add(range.size).is_none() {
            return Err(Unreadable::Malformed);
        }
        self.segments.push(Segment {
            address: range.address,
            offset: range.offset,
            size: range.size,
            is_code: flags & PF_X != 0,
            is_writable: flags & PF_W != 0,
        });
        Ok(())
    }

    /// The executable segments.
    pub(crate) fn code(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| segment.is_code)
    }

    /// The same, for the resolution.
    pub(crate) fn code_segments(&self) -> Vec<CodeSegment> {
        self.code()
            .map(|segment| CodeSegment {
                address: segment.address,
                offset: segment.offset,
                size: segment.size,
            })
            .collect()
    }

    /// Where instructions are: the sections for them, or if there are none all of the executable
    /// segments.
    pub(crate) fn instructions(&self) -> Vec<Range> {
        self.parts(SHF_EXECINSTR.into(), |segment| segment.is_code)
    }

    /// Where constant data is: the sections for it, or if there are none the segments for it, or if
    /// there are none either the executable segments, which then hold both.
    pub(crate) fn constants(&self) -> Vec<Range> {
        let parts = self.parts(0, |segment| !segment.is_code && !segment.is_writable);
        if parts.is_empty() {
            self.parts(SHF_EXECINSTR.into(), |segment| segment.is_code)
        } else {
            parts
        }
    }

    /// Loaded sections with the flags, or without sections the segments that `is_right`. Sections
    /// that lie in no segment or overlap are not taken: only what is loaded counts, and each byte
    /// once.
    fn parts(&self, flags: u64, is_right: impl Fn(&Segment) -> bool) -> Vec<Range> {
        let mask = u64::from(SHF_ALLOC | SHF_EXECINSTR | SHF_WRITE);
        let mut parts: Vec<Range> = self
            .sections
            .iter()
            .filter(|section| {
                section.kind == SHT_PROGBITS
                    && section.flags & mask == u64::from(SHF_ALLOC) | flags
                    && self.holds(&section.range)
            })
            .map(|section| section.range)
            .collect();
        if parts.is_empty() {
            return self
                .segments
                .iter()
                .filter(|segment| is_right(segment))
                .map(|segment| Range {
                    address: segment.address,
                    offset: segment.offset,
                    size: segment.size,
                })
                .collect();
        }
        parts.sort_unstable_by_key(|part| part.address);
        let mut end = 0;
        parts.retain(|part| {
            let is_free = part.address >= end;
            if is_free {
                end = part.address.saturating_add(part.size);
            }
            is_free
        });
        parts
    }

    /// Whether a segment has the whole range, at the same place in the file.
    fn holds(&self, range: &Range) -> bool {
        self.segment_of(range.address).is_some_and(|segment| {
            let within = range.address - segment.address;
            range.size <= segment.size - within
                && range.offset.checked_sub(segment.offset) == Some(within)
        })
    }

    /// The segment that holds the byte at an address.
    pub(crate) fn segment_of(&self, address: u64) -> Option<&Segment> {
        self.segments
            .iter()
            .find(|segment| (segment.address..segment.end()).contains(&address))
    }

    /// Up to `length` bytes from `address` on, as far as its segment reaches.
    pub(crate) fn bytes_at(
        &self,
        reader: &Reader<'_>,
        address: u64,
        length: usize,
    ) -> Result<Vec<u8>, Unreadable> {
        let Some(segment) = self.segment_of(address) else {
            return Ok(Vec::new());
        };
        let within = address - segment.address;
        let rest = usize::try_from(segment.size - within).unwrap_or(usize::MAX);
        reader.bytes(segment.offset.saturating_add(within), rest.min(length))
    }
}

/// Where the file says that its section headers are.
struct Sections {
    offset: u64,
    entry: u16,
    count: u16,
}

impl Sections {
    /// The sections, or none if the table is damaged: programs run without it.
    fn read(&self, reader: &Reader<'_>) -> Vec<Section> {
        let endian = Endianness::Little;
        let is_usual = usize::from(self.entry) == size_of::<SectionHeader64<Endianness>>()
            && self.count < SHN_XINDEX;
        let count = usize::from(self.count.min(MAX_SECTIONS));
        if !is_usual || count == 0 {
            return Vec::new();
        }
        let Ok(table) = reader.bytes(self.offset, count * usize::from(self.entry)) else {
            return Vec::new();
        };
        let Ok((headers, _)) = pod::slice_from_bytes::<SectionHeader64<Endianness>>(&table, count)
        else {
            return Vec::new();
        };
        headers
            .iter()
            .map(|header| Section {
                kind: header.sh_type(endian),
                flags: header.sh_flags(endian),
                link: header.sh_link(endian),
                range: Range {
                    address: header.sh_addr(endian),
                    offset: header.sh_offset(endian),
                    size: header.sh_size(endian),
                },
            })
            .collect()
    }
}

/// The build-id in a note segment; empty if there is none.
fn build_id(
    program: &ProgramHeader64<Endianness>,
    reader: &Reader<'_>,
) -> Result<Vec<u8>, Unreadable> {
    let endian = Endianness::Little;
    let size = usize::try_from(program.p_filesz(endian)).unwrap_or(usize::MAX);
    let bytes = reader.bytes(program.p_offset(endian), size)?;
    let notes = object::read::elf::NoteIterator::<FileHeader64<Endianness>>::new(
        endian,
        program.p_align(endian),
        &bytes,
    );
    let Ok(mut notes) = notes else {
        return Ok(Vec::new());
    };
    while let Ok(Some(note)) = notes.next() {
        if note.name() == object::elf::ELF_NOTE_GNU && note.n_type(endian) == NT_GNU_BUILD_ID {
            let id = note.desc();
            return Ok(id.get(..MAX_BUILD_ID_BYTES).unwrap_or(id).to_vec());
        }
    }
    Ok(Vec::new())
}
