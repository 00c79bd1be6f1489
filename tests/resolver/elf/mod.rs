//! Makes small ELF files whose functions report errors as those of TLS libraries do.
//!
//! A function is a list of [`Op`]s, which are put into the instructions that compilers choose for
//! them. So a test says which errors a function has, and checks where it is found.

mod code;
pub(crate) mod library;

use std::collections::BTreeMap;

use agent_resolver::Arch;
pub(crate) use code::{Function, Op};

/// What distinguishes files that say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The processor.
    pub(crate) arch: Arch,
    /// Whether addresses are fixed when the file is linked.
    pub(crate) addresses: Addresses,
    /// Whether there is unwind information.
    pub(crate) unwind: Unwind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addresses {
    Fixed,
    Relative,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwind {
    Absent,
    Present,
}

impl Shape {
    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let archs = [Arch::X86_64, Arch::Aarch64].into_iter();
        archs.flat_map(|arch| {
            [Addresses::Fixed, Addresses::Relative]
                .into_iter()
                .flat_map(move |addresses| {
                    [Unwind::Absent, Unwind::Present].map(|unwind| Self {
                        arch,
                        addresses,
                        unwind,
                    })
                })
        })
    }
}

/// A symbol table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Dynamic,
    Full,
}

/// A symbol.
#[derive(Clone, Debug)]
pub(crate) struct Symbol {
    pub(crate) name: &'static str,
    /// The function that it names, and how many bytes behind its start it points.
    pub(crate) function: &'static str,
    pub(crate) distance: u64,
    pub(crate) is_defined: bool,
}

impl Symbol {
    /// The symbol of a function of this name.
    pub(crate) const fn of(name: &'static str) -> Self {
        Self {
            name,
            function: name,
            distance: 0,
            is_defined: true,
        }
    }
}

/// A file to be made.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) shape: Shape,
    /// Functions in the order of their addresses. `main` comes last and calls all of them that
    /// [`Function::is_called`].
    pub(crate) functions: Vec<Function>,
    /// Texts of the constant data, beside those that functions refer to.
    pub(crate) texts: Vec<&'static str>,
    pub(crate) symbols: Vec<(Table, Symbol)>,
}

/// A file.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    /// Start and size of every function.
    pub(crate) functions: BTreeMap<&'static str, (u64, u64)>,
    code_address: u64,
    code_offset: u64,
}

impl File {
    pub(crate) fn address(&self, function: &str) -> u64 {
        self.functions[function].0
    }

    /// Where in the file a function is.
    pub(crate) fn range(&self, function: &str) -> std::ops::Range<usize> {
        let (address, size) = self.functions[function];
        let start = usize::try_from(address - self.code_address + self.code_offset).unwrap();
        start..start + usize::try_from(size).unwrap()
    }
}

const PAGE: u64 = 0x1000;
const SEGMENTS: u64 = 4;

impl Plan {
    pub(crate) fn new(shape: Shape, functions: Vec<Function>) -> Self {
        Self {
            shape,
            functions,
            texts: Vec::new(),
            symbols: Vec::new(),
        }
    }

    pub(crate) fn with_symbols(
        mut self,
        table: Table,
        symbols: impl IntoIterator<Item = Symbol>,
    ) -> Self {
        self.symbols
            .extend(symbols.into_iter().map(|symbol| (table, symbol)));
        self
    }

    pub(crate) fn build(&self) -> File {
        let base = match self.shape.addresses {
            Addresses::Fixed => 0x40_0000,
            Addresses::Relative => 0,
        };
        // Headers, constants, code, unwind information, and behind what is loaded the symbols.
        let constants_offset = 64 + SEGMENTS * 56;
        let mut texts: Vec<&'static str> = self.texts.clone();
        texts.extend(self.functions.iter().flat_map(Function::texts));
        texts.sort_unstable();
        texts.dedup();
        let (mut constants, mut text_addresses) = (vec![0], BTreeMap::new());
        for text in texts {
            text_addresses.insert(text, base + constants_offset + constants.len() as u64);
            constants.extend_from_slice(text.as_bytes());
            constants.push(0);
        }
        let code_offset = (constants_offset + constants.len() as u64).next_multiple_of(16);
        let code_address = base + PAGE + code_offset;
        let (code, functions) =
            code::assemble(self.shape, &self.functions, &text_addresses, code_address);
        let unwind_offset = (code_offset + code.len() as u64).next_multiple_of(16);
        let unwind_address = base + 2 * PAGE + unwind_offset;
        let unwind = match self.shape.unwind {
            Unwind::Absent => Vec::new(),
            Unwind::Present => unwind_information(unwind_address, &functions),
        };

        let load = |flags: u32, offset: u64, address: u64, size: usize| {
            program_header(1, flags, offset, address, size as u64)
        };
        let segments = [
            load(
                4,
                0,
                base,
                usize::try_from(constants_offset).unwrap() + constants.len(),
            ),
            load(5, code_offset, code_address, code.len()),
            load(4, unwind_offset, unwind_address, unwind.len()),
            program_header(
                if unwind.is_empty() { 0 } else { 0x6474_e550 },
                4,
                unwind_offset,
                unwind_address,
                unwind.len() as u64,
            ),
        ];
        let mut bytes = Vec::new();
        let mut put = |offset: u64, part: &[u8]| {
            bytes.resize(usize::try_from(offset).unwrap(), 0);
            bytes.extend_from_slice(part);
        };
        put(64, &segments.concat());
        put(constants_offset, &constants);
        put(code_offset, &code);
        put(unwind_offset, &unwind);
        let sections_offset = if self.symbols.is_empty() {
            0
        } else {
            append_symbols(&mut bytes, &self.symbols, &functions)
        };
        let header = self.file_header(code_address, sections_offset);
        bytes[..64].copy_from_slice(&header);
        File {
            bytes,
            functions,
            code_address,
            code_offset,
        }
    }

    fn file_header(&self, entry: u64, sections_offset: u64) -> [u8; 64] {
        let kind: u16 = match self.shape.addresses {
            Addresses::Fixed => 2,
            Addresses::Relative => 3,
        };
        let machine: u16 = match self.shape.arch {
            Arch::X86_64 => 62,
            Arch::Aarch64 => 183,
        };
        let mut header = [0; 64];
        header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        let mut put = |at: usize, value: &[u8]| header[at..at + value.len()].copy_from_slice(value);
        put(16, &kind.to_le_bytes());
        put(18, &machine.to_le_bytes());
        put(20, &1_u32.to_le_bytes());
        put(24, &entry.to_le_bytes());
        put(32, &64_u64.to_le_bytes());
        put(40, &sections_offset.to_le_bytes());
        put(52, &64_u16.to_le_bytes());
        put(54, &56_u16.to_le_bytes());
        put(56, &4_u16.to_le_bytes());
        put(58, &64_u16.to_le_bytes());
        put(
            60,
            &(if sections_offset == 0 { 0_u16 } else { 5 }).to_le_bytes(),
        );
        header
    }
}

fn program_header(kind: u32, flags: u32, offset: u64, address: u64, size: u64) -> Vec<u8> {
    let mut bytes = [kind.to_le_bytes(), flags.to_le_bytes()].concat();
    for value in [offset, address, address, size, size, 1] {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}

fn section_header(kind: u32, offset: u64, size: u64, link: u32, entry: u64) -> Vec<u8> {
    let mut bytes = [0_u32.to_le_bytes(), kind.to_le_bytes()].concat();
    for value in [0, 0, offset, size] {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes.extend_from_slice(&link.to_le_bytes());
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    for value in [1, entry] {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}

/// Appends both tables and the section headers, and returns where these are.
fn append_symbols(
    bytes: &mut Vec<u8>,
    symbols: &[(Table, Symbol)],
    functions: &BTreeMap<&'static str, (u64, u64)>,
) -> u64 {
    let mut headers = section_header(0, 0, 0, 0, 0);
    for (number, (table, kind)) in (0..).zip([(Table::Dynamic, 11), (Table::Full, 2)]) {
        let (mut strings, mut entries) = (vec![0], vec![0; 24]);
        for (_, symbol) in symbols.iter().filter(|(of, _)| *of == table) {
            let (address, size) = functions.get(symbol.function).copied().unwrap_or_default();
            entries.extend_from_slice(&u32::try_from(strings.len()).unwrap().to_le_bytes());
            // A global function, in any section or in none.
            let section = u16::from(symbol.is_defined);
            entries.extend_from_slice(&[0x12, 0]);
            entries.extend_from_slice(&section.to_le_bytes());
            entries.extend_from_slice(&(address + symbol.distance).to_le_bytes());
            entries.extend_from_slice(&(size - symbol.distance.min(size)).to_le_bytes());
            strings.extend_from_slice(symbol.name.as_bytes());
            strings.push(0);
        }
        for (part, kind, link, entry) in [(entries, kind, 2 * number + 2, 24), (strings, 3, 0, 0)] {
            let offset = bytes.len() as u64;
            headers.extend(section_header(kind, offset, part.len() as u64, link, entry));
            bytes.extend(part);
        }
    }
    let offset = bytes.len() as u64;
    bytes.extend(headers);
    offset
}

/// `.eh_frame_hdr` and `.eh_frame`, one after the other.
fn unwind_information(address: u64, functions: &BTreeMap<&'static str, (u64, u64)>) -> Vec<u8> {
    let mut sorted: Vec<(u64, u64)> = functions.values().copied().collect();
    sorted.sort_unstable();
    let relative = |to: u64, from: u64| {
        i32::try_from(to.wrapping_sub(from).cast_signed())
            .unwrap()
            .to_le_bytes()
    };
    let header_size = 12 + 8 * sorted.len() as u64;
    let frame = address + header_size;
    // The common part: length, no pointer, version, "zR", alignments, register, encoding.
    let common = [
        &16_u32.to_le_bytes()[..],
        &[0; 4],
        &[1, b'z', b'R', 0, 1, 0x78, 16, 1, 0x1b, 0, 0, 0],
    ]
    .concat();
    let (mut table, mut frames) = (Vec::new(), common);
    for (start, size) in &sorted {
        let description = frame + frames.len() as u64;
        table.extend(relative(*start, address));
        table.extend(relative(description, address));
        frames.extend(16_u32.to_le_bytes());
        frames.extend(u32::try_from(frames.len()).unwrap().to_le_bytes());
        frames.extend(relative(*start, description + 8));
        frames.extend(u32::try_from(*size).unwrap().to_le_bytes());
        frames.extend([0; 4]);
    }
    let mut bytes = vec![1, 0x1b, 0x03, 0x3b];
    bytes.extend(relative(frame, address + 4));
    bytes.extend(u32::try_from(sorted.len()).unwrap().to_le_bytes());
    bytes.extend(table);
    bytes.extend(frames);
    bytes
}
