//! x86-64 instructions.

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register as Named,
};

use super::{Effect, Flow, Instruction, Register, Store, Width};

pub(super) fn decode(bytes: &[u8], address: u64) -> Option<Instruction> {
    let mut decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
    let decoded = decoder.decode();
    if decoded.is_invalid() {
        return None;
    }
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(&decoded);
    let writes = info
        .used_registers()
        .iter()
        .filter(|used| may_write(used.access()))
        .filter_map(|used| number(used.register()))
        .fold(0, |writes, register| writes | 1 << register);
    let mut stored = info
        .used_memory()
        .iter()
        .filter(|used| may_write(used.access()))
        .map(|used| number(used.base()).map_or(Store::Other, Store::Based));
    // Of two places one is the stack, on which `push [rdi]` leaves its value.
    let store = match (stored.next(), stored.next()) {
        (None, _) => Store::None,
        (Some(one), None) => one,
        (Some(_), Some(_)) => Store::Other,
    };
    Some(Instruction {
        length: u8::try_from(decoded.len()).ok()?,
        flow: flow(&decoded),
        effect: effect(&decoded),
        writes,
        store,
    })
}

const fn may_write(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

fn flow(decoded: &iced_x86::Instruction) -> Flow {
    let target = decoded.near_branch_target();
    match decoded.flow_control() {
        FlowControl::Next => Flow::Next,
        FlowControl::UnconditionalBranch if target != 0 => Flow::Jump(target),
        FlowControl::ConditionalBranch => Flow::Branch(target),
        FlowControl::Call if target != 0 => Flow::Call(Some(target)),
        FlowControl::Call | FlowControl::IndirectCall => Flow::Call(None),
        FlowControl::UnconditionalBranch | FlowControl::IndirectBranch => Flow::Elsewhere,
        FlowControl::Return
        | FlowControl::Interrupt
        | FlowControl::XbeginXabortXend
        | FlowControl::Exception => Flow::Away,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of thousands of instructions a handful makes constants"
)]
fn effect(decoded: &iced_x86::Instruction) -> Effect {
    let kind = |operand| decoded.try_op_kind(operand).unwrap_or(OpKind::Memory);
    let target = || (kind(0) == OpKind::Register).then(|| number_and_width(decoded.op0_register()));
    let source = || (kind(1) == OpKind::Register).then(|| number_and_width(decoded.op1_register()));
    let constant = |operand| decoded.try_immediate(operand).ok();
    let effect = match decoded.mnemonic() {
        Mnemonic::Mov => match (target().flatten(), source().flatten()) {
            (Some((to, width)), Some((from, _))) => Some(Effect::Add {
                to,
                from,
                by: 0,
                width,
            }),
            (Some((to, width)), None) => constant(1).map(|value| Effect::Set {
                to,
                value: cut(value, width),
            }),
            (None, _) => None,
        },
        Mnemonic::Xor if decoded.op0_register() == decoded.op1_register() => target()
            .flatten()
            .filter(|_| kind(1) == OpKind::Register)
            .map(|(to, _)| Effect::Set { to, value: 0 }),
        Mnemonic::Lea => target().flatten().and_then(|(to, width)| {
            let displacement = decoded.memory_displacement64();
            if decoded.is_ip_rel_memory_operand() {
                return Some(Effect::Set {
                    to,
                    value: cut(displacement, width),
                });
            }
            let from = number(decoded.memory_base())?;
            (decoded.memory_index() == Named::None).then_some(Effect::Add {
                to,
                from,
                by: displacement,
                width,
            })
        }),
        Mnemonic::Push if kind(0) == OpKind::Register => {
            number(decoded.op0_register()).map(Effect::Push)
        }
        Mnemonic::Push => constant(0).map(Effect::PushConstant),
        Mnemonic::Pop if kind(0) == OpKind::Register => {
            number(decoded.op0_register()).map(Effect::Pop)
        }
        _ => None,
    };
    effect.unwrap_or(Effect::None)
}

/// Number of a general register, of whatever width.
fn number(register: Named) -> Option<Register> {
    let full = register.full_register();
    if !full.is_gpr64() {
        return None;
    }
    u8::try_from(full.number()).ok()
}

/// Number of a 32-bit or 64-bit register: writing one sets all of it.
fn number_and_width(register: Named) -> Option<(Register, Width)> {
    let width = if register.is_gpr64() {
        Width::Double
    } else if register.is_gpr32() {
        Width::Word
    } else {
        return None;
    };
    Some((number(register)?, width))
}

const fn cut(value: u64, width: Width) -> u64 {
    match width {
        Width::Word => value & 0xffff_ffff,
        Width::Double => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(bytes: &[u8]) -> Instruction {
        decode(bytes, 0x1000).unwrap()
    }

    #[test]
    fn constants_are_seen_in_every_form_that_compilers_use() {
        // mov ecx, 0x29e59d
        assert_eq!(
            only(&[0xb9, 0x9d, 0xe5, 0x29, 0x00]).effect,
            Effect::Set {
                to: 1,
                value: 0x29_e59d
            }
        );
        // xor esi, esi
        assert_eq!(only(&[0x31, 0xf6]).effect, Effect::Set { to: 6, value: 0 });
        // lea rcx, [rip + 0x10]
        assert_eq!(
            only(&[0x48, 0x8d, 0x0d, 0x10, 0, 0, 0]).effect,
            Effect::Set {
                to: 1,
                value: 0x1017
            }
        );
        // mov r8d, 0x3a3
        assert_eq!(
            only(&[0x41, 0xb8, 0xa3, 3, 0, 0]).effect,
            Effect::Set {
                to: 8,
                value: 0x3a3
            }
        );
        // push 66; pop rdx
        assert_eq!(only(&[0x6a, 66]).effect, Effect::PushConstant(66));
        assert_eq!(only(&[0x5a]).effect, Effect::Pop(2));
        // mov rdi, rbx
        assert_eq!(
            only(&[0x48, 0x89, 0xdf]).effect,
            Effect::Add {
                to: 7,
                from: 3,
                by: 0,
                width: Width::Double
            }
        );
        // mov al, 1 sets a part only.
        assert_eq!(only(&[0xb0, 1]).effect, Effect::None);
    }

    #[test]
    fn control_flow_is_told_apart() {
        assert_eq!(only(&[0xe8, 0, 0, 0, 0]).flow, Flow::Call(Some(0x1005)));
        assert_eq!(only(&[0xff, 0x50, 0x48]).flow, Flow::Call(None));
        assert_eq!(only(&[0xeb, 0xfe]).flow, Flow::Jump(0x1000));
        assert_eq!(
            only(&[0x0f, 0x84, 0x10, 0, 0, 0]).flow,
            Flow::Branch(0x1016)
        );
        assert_eq!(only(&[0xc3]).flow, Flow::Away);
        assert_eq!(only(&[0xcc]).flow, Flow::Away);
        assert_eq!(only(&[0x0f, 0x0b]).flow, Flow::Away);
        // jmp [rax*8 + table]
        assert_eq!(only(&[0xff, 0x24, 0xc5, 0, 0, 0, 0]).flow, Flow::Elsewhere);
        assert_eq!(decode(&[0x06], 0), None);
        assert_eq!(decode(&[0x48, 0x8d], 0), None);
    }

    #[test]
    fn stores_name_the_register_of_their_address() {
        // mov [rax + 0x80], rbx
        assert_eq!(
            only(&[0x48, 0x89, 0x98, 0x80, 0, 0, 0]).store,
            Store::Based(0)
        );
        // mov [rbp - 0x38], 0
        assert_eq!(
            only(&[0x48, 0xc7, 0x45, 0xc8, 0, 0, 0, 0]).store,
            Store::Based(5)
        );
        // cmp [rax], 0
        assert_eq!(only(&[0x48, 0x83, 0x38, 0]).store, Store::None);
    }
}
