//! Functions as compilers put them into instructions.

use std::collections::BTreeMap;

use agent_resolver::Arch;

use super::{Addresses, Shape};

/// What a function does.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Does the rest only if a field of the first argument is set.
    If(Vec<Self>),
    /// `ERR_put_error(16, 0, reason, file, line)`, and returns.
    Error { reason: u32, line: u32 },
    /// The same by the call that all of these in the function share.
    SharedError { reason: u32, line: u32 },
    /// `ERR_new()`, `ERR_set_debug(file, line, name)`, `ERR_set_error(20, reason, NULL)`, and
    /// returns.
    Raise {
        reason: u32,
        line: u32,
        name: &'static str,
    },
    /// Calls a function.
    Call(&'static str),
    /// Writes to memory.
    Store,
    /// Does one of them, through a table of addresses.
    Switch(Vec<Vec<Self>>),
}

/// A function.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) ops: Vec<Op>,
    /// The source file that its errors name.
    pub(crate) file: &'static str,
    /// Whether `main` calls it.
    pub(crate) is_called: bool,
}

impl Function {
    pub(super) fn texts(&self) -> Vec<&'static str> {
        fn names(ops: &[Op], found: &mut Vec<&'static str>) {
            for op in ops {
                match op {
                    Op::Raise { name, .. } => found.push(name),
                    Op::If(ops) => names(ops, found),
                    Op::Switch(cases) => cases.iter().for_each(|ops| names(ops, found)),
                    Op::Error { .. } | Op::SharedError { .. } | Op::Call(_) | Op::Store => {}
                }
            }
        }
        let mut found = vec![self.file];
        names(&self.ops, &mut found);
        found
    }
}

/// Functions that are there without being asked for.
const RUNTIME: [&str; 4] = ["ERR_put_error", "ERR_new", "ERR_set_debug", "ERR_set_error"];

/// A place that is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Function(&'static str),
    Local(usize),
}

/// A reference from an instruction to a place.
#[derive(Clone, Copy, Debug)]
enum Reference {
    /// 32 bits behind the opcode, relative to the end of the instruction.
    X86,
    /// 26 bits of an instruction, counted in instructions.
    Arm26,
    /// 19 bits, five from the low end.
    Arm19,
}

struct Assembler<'a> {
    shape: Shape,
    texts: &'a BTreeMap<&'static str, u64>,
    address: u64,
    bytes: Vec<u8>,
    labels: BTreeMap<Label, u64>,
    references: Vec<(usize, Reference, Label)>,
    locals: usize,
}

/// Code, and start and size of every function in it.
pub(super) fn assemble(
    shape: Shape,
    functions: &[Function],
    texts: &BTreeMap<&'static str, u64>,
    address: u64,
) -> (Vec<u8>, BTreeMap<&'static str, (u64, u64)>) {
    let mut assembler = Assembler {
        shape,
        texts,
        address,
        bytes: Vec::new(),
        labels: BTreeMap::new(),
        references: Vec::new(),
        locals: 0,
    };
    let mut ranges = BTreeMap::new();
    for name in RUNTIME {
        ranges.insert(name, assembler.function(name, &[], ""));
    }
    for function in functions {
        let range = assembler.function(function.name, &function.ops, function.file);
        ranges.insert(function.name, range);
    }
    let calls: Vec<Op> = functions
        .iter()
        .filter(|function| function.is_called)
        .map(|function| Op::Call(function.name))
        .collect();
    ranges.insert("main", assembler.function("main", &calls, ""));
    (assembler.finish(), ranges)
}

impl Assembler<'_> {
    fn here(&self) -> u64 {
        self.address + self.bytes.len() as u64
    }

    fn local(&mut self) -> Label {
        self.locals += 1;
        Label::Local(self.locals)
    }

    fn bind(&mut self, label: Label) {
        self.labels.insert(label, self.here());
    }

    fn x86(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn arm(&mut self, word: u32) {
        self.bytes.extend_from_slice(&word.to_le_bytes());
    }

    fn refer(&mut self, reference: Reference, label: Label) {
        let at = self.bytes.len();
        match reference {
            Reference::X86 => self.x86(&[0; 4]),
            Reference::Arm26 | Reference::Arm19 => {}
        }
        self.references.push((at, reference, label));
    }

    fn function(&mut self, name: &'static str, ops: &[Op], file: &'static str) -> (u64, u64) {
        match self.shape.arch {
            Arch::X86_64 => {
                while !self.here().is_multiple_of(16) {
                    self.x86(&[0xcc]);
                }
            }
            Arch::Aarch64 => {
                while !self.here().is_multiple_of(16) {
                    self.arm(0xd503_201f);
                }
            }
        }
        let start = self.here();
        self.bind(Label::Function(name));
        let shared = self.local();
        match self.shape.arch {
            // push rbp; mov rbp, rsp
            Arch::X86_64 => self.x86(&[0x55, 0x48, 0x89, 0xe5]),
            // stp x29, x30, [sp, #-16]!; mov x29, sp
            Arch::Aarch64 => {
                self.arm(0xa9bf_7bfd);
                self.arm(0x9100_03fd);
            }
        }
        self.ops(ops, file, shared);
        self.leave();
        if self.references.iter().any(|(_, _, label)| *label == shared) {
            self.bind(shared);
            self.call("ERR_put_error");
            self.leave();
        }
        (start, self.here() - start)
    }

    fn leave(&mut self) {
        match self.shape.arch {
            // pop rbp; ret
            Arch::X86_64 => self.x86(&[0x5d, 0xc3]),
            // ldp x29, x30, [sp], #16; ret
            Arch::Aarch64 => {
                self.arm(0xa8c1_7bfd);
                self.arm(0xd65f_03c0);
            }
        }
    }

    fn call(&mut self, name: &'static str) {
        match self.shape.arch {
            Arch::X86_64 => {
                self.x86(&[0xe8]);
                self.refer(Reference::X86, Label::Function(name));
            }
            Arch::Aarch64 => {
                self.refer(Reference::Arm26, Label::Function(name));
                self.arm(0x9400_0000);
            }
        }
    }

    fn jump(&mut self, label: Label) {
        match self.shape.arch {
            Arch::X86_64 => {
                self.x86(&[0xe9]);
                self.refer(Reference::X86, label);
            }
            Arch::Aarch64 => {
                self.refer(Reference::Arm26, label);
                self.arm(0x1400_0000);
            }
        }
    }

    /// Sets an argument to a number.
    fn number(&mut self, argument: usize, value: u32) {
        match self.shape.arch {
            Arch::X86_64 if value == 0 => match argument {
                // xor r32, r32
                0 => self.x86(&[0x31, 0xff]),
                1 => self.x86(&[0x31, 0xf6]),
                2 => self.x86(&[0x31, 0xd2]),
                _ => panic!("no test sets argument {argument} to zero"),
            },
            Arch::X86_64 => {
                // mov r32, imm32
                const OPCODES: [&[u8]; 5] = [&[0xbf], &[0xbe], &[0xba], &[0xb9], &[0x41, 0xb8]];
                self.x86(OPCODES[argument]);
                self.x86(&value.to_le_bytes());
            }
            Arch::Aarch64 => {
                let register = u32::try_from(argument).unwrap();
                // movz, and movk where it takes one.
                self.arm(0x5280_0000 | (value & 0xffff) << 5 | register);
                if value >> 16 != 0 {
                    self.arm(0x72a0_0000 | (value >> 16) << 5 | register);
                }
            }
        }
    }

    /// Sets an argument to the address of a text.
    fn text(&mut self, argument: usize, text: &'static str) {
        let address = self.texts[text];
        match (self.shape.arch, self.shape.addresses) {
            (Arch::X86_64, Addresses::Fixed) => {
                self.number(argument, u32::try_from(address).unwrap());
            }
            (Arch::X86_64, Addresses::Relative) => {
                // lea r64, [rip + disp32]
                const OPCODES: [[u8; 3]; 4] = [
                    [0x48, 0x8d, 0x3d],
                    [0x48, 0x8d, 0x35],
                    [0x48, 0x8d, 0x15],
                    [0x48, 0x8d, 0x0d],
                ];
                self.x86(&OPCODES[argument]);
                let next = self.here() + 4;
                let distance = i32::try_from(address.wrapping_sub(next).cast_signed()).unwrap();
                self.x86(&distance.to_le_bytes());
            }
            (Arch::Aarch64, _) => {
                let register = u32::try_from(argument).unwrap();
                let pages = (address >> 12).wrapping_sub(self.here() >> 12);
                let pages = u32::try_from(pages & 0x1f_ffff).unwrap();
                self.arm(0x9000_0000 | (pages & 3) << 29 | (pages >> 2) << 5 | register);
                let within = u32::try_from(address & 0xfff).unwrap();
                self.arm(0x9100_0000 | within << 10 | register << 5 | register);
            }
        }
    }

    fn put_error(&mut self, reason: u32, line: u32, file: &'static str) {
        self.text(3, file);
        self.number(0, 16);
        self.number(1, 0);
        self.number(2, reason);
        self.number(4, line);
    }

    fn ops(&mut self, ops: &[Op], file: &'static str, shared: Label) {
        for op in ops {
            match op {
                Op::If(ops) => {
                    let over = self.local();
                    match self.shape.arch {
                        // cmp qword ptr [rdi + 0x98], 0; je over
                        Arch::X86_64 => {
                            self.x86(&[0x48, 0x83, 0xbf, 0x98, 0, 0, 0, 0, 0x0f, 0x84]);
                            self.refer(Reference::X86, over);
                        }
                        // ldr x8, [x0, #0x98]; cbz x8, over
                        Arch::Aarch64 => {
                            self.arm(0xf940_4c08);
                            self.refer(Reference::Arm19, over);
                            self.arm(0xb400_0008);
                        }
                    }
                    self.ops(ops, file, shared);
                    self.bind(over);
                }
                Op::Error { reason, line } => {
                    self.put_error(*reason, *line, file);
                    self.call("ERR_put_error");
                    self.leave();
                }
                Op::SharedError { reason, line } => {
                    self.put_error(*reason, *line, file);
                    self.jump(shared);
                }
                Op::Raise { reason, line, name } => {
                    self.call("ERR_new");
                    self.text(2, name);
                    self.text(0, file);
                    self.number(1, *line);
                    self.call("ERR_set_debug");
                    self.number(2, 0);
                    self.number(1, *reason);
                    self.number(0, 20);
                    self.call("ERR_set_error");
                    self.leave();
                }
                Op::Call(name) => self.call(name),
                Op::Store => match self.shape.arch {
                    // mov [rax + 0x80], rbx
                    Arch::X86_64 => self.x86(&[0x48, 0x89, 0x98, 0x80, 0, 0, 0]),
                    // str x8, [x9, #128]
                    Arch::Aarch64 => self.arm(0xf900_4128),
                },
                Op::Switch(cases) => {
                    match self.shape.arch {
                        // jmp rax
                        Arch::X86_64 => self.x86(&[0xff, 0xe0]),
                        // br x8
                        Arch::Aarch64 => self.arm(0xd61f_0100),
                    }
                    for ops in cases {
                        self.ops(ops, file, shared);
                        self.leave();
                    }
                }
            }
        }
    }

    fn finish(mut self) -> Vec<u8> {
        for (at, reference, label) in self.references {
            let target = self.labels[&label];
            let place = self.address + at as u64;
            let word = u32::from_le_bytes(*self.bytes[at..].first_chunk().unwrap());
            let value = match reference {
                Reference::X86 => i32::try_from(target.wrapping_sub(place + 4).cast_signed())
                    .unwrap()
                    .cast_unsigned(),
                Reference::Arm26 => {
                    let distance = target.wrapping_sub(place) >> 2 & 0x3ff_ffff;
                    word | u32::try_from(distance).unwrap()
                }
                Reference::Arm19 => {
                    let distance = target.wrapping_sub(place) >> 2 & 0x7_ffff;
                    word | u32::try_from(distance).unwrap() << 5
                }
            };
            self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        self.bytes
    }
}
