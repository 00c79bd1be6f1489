//! Machine code, as far as constants and control flow need it.

mod aarch64;
mod x86_64;

use crate::resolution::Arch;

/// Registers of either machine: 16 on x86-64, on arm64 31 and the stack pointer.
pub(crate) const REGISTERS: usize = 32;

/// LIMIT: values that a path has pushed and not yet popped. Compilers push constants one at a
/// time; deeper ones are forgotten.
const MAX_PUSHED: usize = 8;

/// Numbers below are hardly addresses of a text: the first page of a program holds its headers.
const LOWEST_ADDRESS: u64 = 0x1000;

/// Number of a register in its machine's own encoding.
pub(crate) type Register = u8;

/// What is known of a register on one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Value {
    #[default]
    Unknown,
    Constant(u64),
    /// An address in the function's own frame.
    Frame,
}

impl Value {
    pub(crate) const fn constant(self) -> Option<u64> {
        match self {
            Self::Constant(value) => Some(value),
            Self::Unknown | Self::Frame => None,
        }
    }
}

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// Its length in bytes.
    pub(crate) length: u8,
    pub(crate) flow: Flow,
    pub(crate) effect: Effect,
    /// Registers that it changes, one bit each.
    pub(crate) writes: u32,
    pub(crate) store: Store,
}

/// Where control goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// To the next instruction.
    Next,
    /// To a function and back; the target is known of direct calls.
    Call(Option<u64>),
    Jump(u64),
    /// To the target or to the next instruction.
    Branch(u64),
    /// Away: a return or a trap.
    Away,
    /// To an address that only the running program knows: through a table, or into a function.
    Elsewhere,
}

/// What it does to values that may be constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    None,
    Set {
        to: Register,
        value: u64,
    },
    /// Copies, and adds a constant.
    Add {
        to: Register,
        from: Register,
        by: u64,
        width: Width,
    },
    /// Replaces 16 bits.
    Insert {
        to: Register,
        bits: u16,
        shift: u8,
        width: Width,
    },
    PushConstant(u64),
    Push(Register),
    Pop(Register),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    Word,
    Double,
}

/// What it writes to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    None,
    /// At an address in a register, more or less.
    Based(Register),
    /// Elsewhere.
    Other,
}

/// Decodes the instruction that `bytes` begin with; `None` if there is none.
pub(crate) fn decode(arch: Arch, bytes: &[u8], address: u64) -> Option<Instruction> {
    match arch {
        Arch::X86_64 => x86_64::decode(bytes, address),
        Arch::Aarch64 => aarch64::decode(bytes, address),
    }
}

/// What is known at one point of one path through a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    registers: [Value; REGISTERS],
    pushed: Vec<Value>,
}

impl State {
    /// The beginning of a function.
    pub(crate) fn new(arch: Arch) -> Self {
        let mut state = Self {
            registers: [Value::Unknown; REGISTERS],
            pushed: Vec::new(),
        };
        state.set(stack_pointer(arch), Value::Frame);
        state
    }

    pub(crate) fn value(&self, register: Register) -> Value {
        self.registers
            .get(usize::from(register))
            .copied()
            .unwrap_or_default()
    }

    /// The registers of arguments, in their order.
    pub(crate) fn arguments(&self, arch: Arch) -> [Value; 6] {
        argument_registers(arch).map(|register| self.value(register))
    }

    /// Forgets what will hardly become an argument, so that paths that differ in nothing else are
    /// one: numbers outside of the registers for arguments. Addresses are kept: compilers load one
    /// once and copy it.
    pub(crate) fn simplify(&mut self, arch: Arch) {
        let arguments = argument_registers(arch);
        for register in 0..32 {
            let is_number =
                matches!(self.value(register), Value::Constant(value) if value < LOWEST_ADDRESS);
            if is_number && !arguments.contains(&register) {
                self.set(register, Value::Unknown);
            }
        }
    }

    /// Whether the instruction writes to memory that is not the function's own frame.
    pub(crate) fn stores_outside(&self, instruction: &Instruction) -> bool {
        match instruction.store {
            Store::None => false,
            Store::Based(register) => self.value(register) != Value::Frame,
            Store::Other => true,
        }
    }

    /// Executes the instruction, as far as values are known.
    pub(crate) fn execute(&mut self, arch: Arch, instruction: &Instruction) {
        let result = match instruction.effect {
            Effect::None => None,
            Effect::Set { to, value } => Some((to, Value::Constant(value))),
            Effect::Add {
                to,
                from,
                by,
                width,
            } => Some((to, add(self.value(from), by, width))),
            Effect::Insert {
                to,
                bits,
                shift,
                width,
            } => Some((to, insert(self.value(to), bits, shift, width))),
            Effect::PushConstant(value) => {
                self.push(Value::Constant(value));
                None
            }
            Effect::Push(register) => {
                self.push(self.value(register));
                None
            }
            Effect::Pop(register) => Some((register, self.pushed.pop().unwrap_or_default())),
        };
        for register in 0..32 {
            if instruction.writes >> register & 1 != 0 {
                self.set(register, Value::Unknown);
            }
        }
        let moves_stack = match instruction.effect {
            Effect::Push(_) | Effect::PushConstant(_) | Effect::Pop(_) => false,
            Effect::None | Effect::Set { .. } | Effect::Add { .. } | Effect::Insert { .. } => {
                instruction.writes >> stack_pointer(arch) & 1 != 0
            }
        };
        if moves_stack {
            self.pushed.clear();
        }
        if let Some((register, value)) = result {
            self.set(register, value);
        }
        // However it was moved, it points into the stack.
        self.set(stack_pointer(arch), Value::Frame);
    }

    /// Starts from a known value.
    pub(crate) fn assume(&mut self, register: Register, value: u64) {
        self.set(register, Value::Constant(value));
    }

    /// Forgets what a called function may change.
    pub(crate) fn call(&mut self, arch: Arch) {
        for register in 0..32 {
            let is_kept = match arch {
                Arch::X86_64 => matches!(register, 3..=5 | 12..=15),
                Arch::Aarch64 => matches!(register, 19..=29 | 31),
            };
            if !is_kept {
                self.set(register, Value::Unknown);
            }
        }
    }

    fn set(&mut self, register: Register, value: Value) {
        if let Some(slot) = self.registers.get_mut(usize::from(register)) {
            *slot = value;
        }
    }

    fn push(&mut self, value: Value) {
        if self.pushed.len() == MAX_PUSHED {
            self.pushed.remove(0);
        }
        self.pushed.push(value);
    }
}

const fn argument_registers(arch: Arch) -> [Register; 6] {
    match arch {
        Arch::X86_64 => [7, 6, 2, 1, 8, 9],
        Arch::Aarch64 => [0, 1, 2, 3, 4, 5],
    }
}

const fn stack_pointer(arch: Arch) -> Register {
    match arch {
        Arch::X86_64 => 4,
        Arch::Aarch64 => 31,
    }
}

fn add(value: Value, by: u64, width: Width) -> Value {
    match (value, width) {
        (Value::Constant(value), Width::Double) => Value::Constant(value.wrapping_add(by)),
        (Value::Constant(value), Width::Word) => {
            Value::Constant(value.wrapping_add(by) & u64::from(u32::MAX))
        }
        (Value::Frame, Width::Double) => Value::Frame,
        (Value::Frame, Width::Word) | (Value::Unknown, _) => Value::Unknown,
    }
}

fn insert(value: Value, bits: u16, shift: u8, width: Width) -> Value {
    let Value::Constant(value) = value else {
        return Value::Unknown;
    };
    let mask = u64::from(u16::MAX) << (shift & 63);
    let whole = value & !mask | u64::from(bits) << (shift & 63);
    Value::Constant(match width {
        Width::Word => whole & u64::from(u32::MAX),
        Width::Double => whole,
    })
}
