//! arm64 instructions (Arm ARM, C4 "A64 instruction set encoding").

use super::{Effect, Flow, Instruction, Register, Store, Width};

const STACK_OR_ZERO: Register = 31;
const LINK: Register = 30;

pub(super) fn decode(bytes: &[u8], address: u64) -> Option<Instruction> {
    let word = u32::from_le_bytes(*bytes.first_chunk()?);
    if !address.is_multiple_of(4) {
        return None;
    }
    // What no version of the architecture has, but UDF, which compilers use as a trap and as
    // padding.
    let is_trap = word >> 16 == 0;
    if matches!(word >> 25 & 0b1111, 0b0000 | 0b0001 | 0b0011) && !is_trap {
        return None;
    }
    let (effect, writes) = effect_and_writes(word, address);
    Some(Instruction {
        length: 4,
        flow: flow(word, address),
        effect,
        writes,
        store: store(word),
    })
}

/// A field of the instruction.
const fn field(word: u32, low: u32, bits: u32) -> u32 {
    word >> low & ((1 << bits) - 1)
}

#[expect(clippy::cast_possible_truncation, reason = "five bits")]
const fn register(word: u32, low: u32) -> Register {
    field(word, low, 5) as Register
}

/// A signed field, as the 64-bit number that it extends to.
#[expect(
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "sign extension"
)]
const fn signed(word: u32, low: u32, bits: u32) -> u64 {
    let unused = 64 - bits;
    (((field(word, low, bits) as u64) << unused) as i64 >> unused) as u64
}

fn flow(word: u32, address: u64) -> Flow {
    let relative = |low, bits| address.wrapping_add(signed(word, low, bits) << 2);
    if word & 0xfc00_0000 == 0x1400_0000 {
        Flow::Jump(relative(0, 26))
    } else if word & 0xfc00_0000 == 0x9400_0000 {
        Flow::Call(Some(relative(0, 26)))
    } else if word & 0xff00_0000 == 0x5400_0000 || word & 0x7e00_0000 == 0x3400_0000 {
        // B.cond, BC.cond, CBZ, CBNZ
        Flow::Branch(relative(5, 19))
    } else if word & 0x7e00_0000 == 0x3600_0000 {
        // TBZ, TBNZ
        Flow::Branch(relative(5, 14))
    } else if word & 0xfe00_0000 == 0xd600_0000 {
        // BR and BLR in all their forms; RET and the like.
        match field(word, 21, 4) & 0b0111 {
            0b0000 => Flow::Elsewhere,
            0b0001 => Flow::Call(None),
            _ => Flow::Away,
        }
    } else if word & 0xffe0_0000 == 0xd420_0000 || word >> 16 == 0 {
        // BRK, UDF
        Flow::Away
    } else {
        Flow::Next
    }
}

fn effect_and_writes(word: u32, address: u64) -> (Effect, u32) {
    let (to, from) = (register(word, 0), register(word, 5));
    let width = if word >> 31 == 0 {
        Width::Word
    } else {
        Width::Double
    };
    let set = |value| (Effect::Set { to, value }, 1 << to);
    let nothing = (Effect::None, 0);
    match word >> 24 & 0x1f {
        // ADR, ADRP
        0x10 => {
            let offset = signed(word, 5, 19) << 2 | u64::from(field(word, 29, 2));
            set(if word >> 31 == 0 {
                address.wrapping_add(offset)
            } else {
                (address & !0xfff).wrapping_add(offset << 12)
            })
        }
        // ADD, ADDS, SUB, SUBS (immediate)
        0x11 if field(word, 23, 1) == 0 => {
            let by = u64::from(field(word, 10, 12)) << (12 * field(word, 22, 1));
            let by = if word >> 30 & 1 == 0 {
                by
            } else {
                by.wrapping_neg()
            };
            // With flags, register 31 is the zero register: a comparison.
            if word >> 29 & 1 != 0 && to == STACK_OR_ZERO {
                nothing
            } else {
                let effect = Effect::Add {
                    to,
                    from,
                    by,
                    width,
                };
                (effect, 1 << to)
            }
        }
        // MOVN, MOVZ, MOVK
        0x12 if field(word, 23, 1) == 1 => {
            let shift = field(word, 21, 2) * 16;
            let bits = field(word, 5, 16);
            let value = u64::from(bits) << shift;
            let cut = |value| match width {
                Width::Word => value & u64::from(u32::MAX),
                Width::Double => value,
            };
            match field(word, 29, 2) {
                0b00 => set(cut(!value)),
                0b10 => set(cut(value)),
                _ => {
                    let effect = Effect::Insert {
                        to,
                        bits: u16::try_from(bits).unwrap_or_default(),
                        shift: u8::try_from(shift).unwrap_or_default(),
                        width,
                    };
                    (effect, 1 << to)
                }
            }
        }
        // Logical (immediate): ORR with the zero register is a MOV.
        0x12 if field(word, 29, 2) == 0b01 && from == STACK_OR_ZERO => {
            bitmask(word).map_or((Effect::None, 1 << to), set)
        }
        // ORR (shifted register) with the zero register and no shift: a MOV.
        0x0a if word & 0x7fe0_ffe0 == 0x2a00_03e0 => {
            let from = register(word, 16);
            if from == STACK_OR_ZERO {
                set(0)
            } else {
                let effect = Effect::Add {
                    to,
                    from,
                    by: 0,
                    width,
                };
                (effect, 1 << to)
            }
        }
        _ => (Effect::None, writes(word)),
    }
}

/// Registers that an instruction without known effect may change: rather one too many.
fn writes(word: u32) -> u32 {
    let (first, base, second) = (register(word, 0), register(word, 5), register(word, 10));
    match word >> 25 & 0b1111 {
        // Loads and stores. Vector ones change the base at most.
        0b0100 | 0b0110 | 0b1100 | 0b1110 => 1 << first | 1 << base | 1 << second,
        0b1010 | 0b1011 => match flow(word, 0) {
            // System instructions: some read a special register.
            Flow::Next => 1 << first,
            Flow::Call(_) => 1 << LINK,
            Flow::Jump(_) | Flow::Branch(_) | Flow::Away | Flow::Elsewhere => 0,
        },
        _ => 1 << first,
    }
}

/// What a store writes to; atomic instructions count as stores.
fn store(word: u32) -> Store {
    let base = register(word, 5);
    let is_memory = matches!(word >> 25 & 0b1111, 0b0100 | 0b0110 | 0b1100 | 0b1110);
    if !is_memory {
        return Store::None;
    }
    let is_load = match word >> 27 & 0b111 {
        // Pairs: one bit says load.
        0b101 => field(word, 22, 1) == 1,
        // Literals are only loaded; LDAPUR and STLUR have the two bits, too.
        0b011 => field(word, 24, 1) == 0 || field(word, 22, 2) != 0,
        // One register. Both bits clear is a store; of vectors the lower bit alone tells. Atomic
        // instructions have bit 21 set and the last two bits of their group clear.
        0b111 => {
            let is_atomic =
                field(word, 24, 1) == 0 && field(word, 21, 1) == 1 && field(word, 10, 2) == 0;
            let is_vector = field(word, 26, 1) == 1;
            let is_store = if is_vector {
                field(word, 22, 1) == 0
            } else {
                field(word, 22, 2) == 0
            };
            !is_atomic && !is_store
        }
        // Exclusive, ordered and structures.
        _ => field(word, 22, 1) == 1,
    };
    if is_load {
        Store::None
    } else {
        Store::Based(base)
    }
}

/// The constant of a logical instruction (`DecodeBitMasks`).
fn bitmask(word: u32) -> Option<u64> {
    let (n, rotate, ones) = (field(word, 22, 1), field(word, 16, 6), field(word, 10, 6));
    if word >> 31 == 0 && n == 1 {
        return None;
    }
    let length = 31 - (n << 6 | !ones & 0x3f).leading_zeros().min(31);
    if length < 1 {
        return None;
    }
    let size = 1 << length;
    let (ones, rotate) = (ones & (size - 1), rotate & (size - 1));
    if ones == size - 1 {
        return None;
    }
    let element = (1_u64 << (ones + 1)) - 1;
    let mask = if size == 64 {
        u64::MAX
    } else {
        (1_u64 << size) - 1
    };
    let rotated = if rotate == 0 {
        element
    } else {
        (element >> rotate | element << (size - rotate)) & mask
    };
    let mut value = rotated;
    let mut width = size;
    while width < 64 {
        value |= value << width;
        width *= 2;
    }
    Some(if word >> 31 == 0 {
        value & u64::from(u32::MAX)
    } else {
        value
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(word: u32) -> Instruction {
        decode(&word.to_le_bytes(), 0x1000).unwrap()
    }

    #[test]
    fn constants_are_seen_in_every_form_that_compilers_use() {
        // mov w2, #226
        assert_eq!(only(0x5280_1c42).effect, Effect::Set { to: 2, value: 226 });
        // mov w0, #-1
        assert_eq!(
            only(0x1280_0000).effect,
            Effect::Set {
                to: 0,
                value: 0xffff_ffff
            }
        );
        // movk w8, #1, lsl #16
        assert_eq!(
            only(0x72a0_0028).effect,
            Effect::Insert {
                to: 8,
                bits: 1,
                shift: 16,
                width: Width::Word
            }
        );
        // adrp x3, 0x3000; add x3, x3, #0x59d
        assert_eq!(
            only(0xd000_0003).effect,
            Effect::Set {
                to: 3,
                value: 0x3000
            }
        );
        assert_eq!(
            only(0x9116_7463).effect,
            Effect::Add {
                to: 3,
                from: 3,
                by: 0x59d,
                width: Width::Double
            }
        );
        // mov x19, x0; mov w1, wzr
        assert_eq!(
            only(0xaa00_03f3).effect,
            Effect::Add {
                to: 19,
                from: 0,
                by: 0,
                width: Width::Double
            }
        );
        assert_eq!(only(0x2a1f_03e1).effect, Effect::Set { to: 1, value: 0 });
        // orr w4, wzr, #0x3c0
        assert_eq!(
            only(0x321a_0fe4).effect,
            Effect::Set {
                to: 4,
                value: 0x3c0
            }
        );
        // cmp x0, #1 changes no register.
        assert_eq!(
            (only(0xf100_041f).effect, only(0xf100_041f).writes),
            (Effect::None, 0)
        );
    }

    #[test]
    fn control_flow_is_told_apart() {
        assert_eq!(only(0x9400_0001).flow, Flow::Call(Some(0x1004)));
        assert_eq!(only(0x17ff_ffff).flow, Flow::Jump(0xffc));
        assert_eq!(only(0x5400_0041).flow, Flow::Branch(0x1008));
        assert_eq!(only(0xb400_0040).flow, Flow::Branch(0x1008));
        assert_eq!(only(0x3600_0040).flow, Flow::Branch(0x1008));
        assert_eq!(only(0xd63f_0100).flow, Flow::Call(None));
        assert_eq!(only(0xd61f_0100).flow, Flow::Elsewhere);
        assert_eq!(only(0xd65f_03c0).flow, Flow::Away);
        assert_eq!(only(0xd420_0020).flow, Flow::Away);
        assert_eq!(only(0xd503_201f).flow, Flow::Next);
        assert_eq!(only(0).flow, Flow::Away);
        for none in [0x0001_0000, 0xc65f_03c0, 0x0200_0000_u32] {
            assert_eq!(decode(&none.to_le_bytes(), 0x1000), None, "{none:#x}");
        }
        assert_eq!(decode(&0xd503_201f_u32.to_le_bytes(), 0x1001), None);
    }

    #[test]
    fn only_calls_change_a_register_on_their_way() {
        assert_eq!(only(0x17ff_ff64).writes, 0);
        assert_eq!(only(0x5400_0044).writes, 0);
        assert_eq!(only(0x9400_0001).writes, 1 << 30);
        assert_eq!(only(0xd63f_0100).writes, 1 << 30);
        // mrs x4, tpidr_el0
        assert_eq!(only(0xd53b_d044).writes, 1 << 4);
    }

    #[test]
    fn stores_name_the_register_of_their_address() {
        // str x8, [x9, #128]
        assert_eq!(only(0xf900_4128).store, Store::Based(9));
        // stp x29, x30, [sp, #-48]!
        assert_eq!(only(0xa9bd_7bfd).store, Store::Based(31));
        // ldr x8, [x9, #128]; ldp x20, x19, [sp, #32]; ldr q0, [x0]; prfm
        for word in [0xf940_4128, 0xa942_4ff4, 0x3dc0_0000] {
            assert_eq!(only(word).store, Store::None, "{word:#x}");
        }
        // str q0, [x8]; ldadd w0, w1, [x8]
        for word in [0x3d80_0100, 0xb820_0101] {
            assert_eq!(only(word).store, Store::Based(8), "{word:#x}");
        }
    }
}
