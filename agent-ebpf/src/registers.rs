//! The registers with which a thread entered the kernel: the arguments of its system call.
//!
//! Their layout is part of the interface to user space (ptrace), so no offset of the kernel's own
//! is needed; the verifier checks it against the running kernel's types.

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};

/// The system call under way. In a thread of the kernel it is meaningless; what it points to is
/// read by helpers that check.
#[derive(Clone, Copy)]
pub(crate) struct UserCall {
    pub(crate) number: u64,
    pub(crate) arguments: [u64; 3],
    pub(crate) stack_pointer: u64,
}

/// Numbers of system calls (arch/x86/entry/syscalls/syscall_64.tbl).
#[cfg(bpf_target_arch = "x86_64")]
mod numbers {
    pub(crate) const WRITE: u64 = 1;
    pub(crate) const WRITEV: u64 = 20;
    pub(crate) const CONNECT: u64 = 42;
    pub(crate) const SENDTO: u64 = 44;
    pub(crate) const SENDMSG: u64 = 46;
    pub(crate) const SENDMMSG: u64 = 307;
}

/// Numbers of system calls (include/uapi/asm-generic/unistd.h).
#[cfg(bpf_target_arch = "aarch64")]
mod numbers {
    pub(crate) const WRITE: u64 = 64;
    pub(crate) const WRITEV: u64 = 66;
    pub(crate) const CONNECT: u64 = 203;
    pub(crate) const SENDTO: u64 = 206;
    pub(crate) const SENDMSG: u64 = 211;
    pub(crate) const SENDMMSG: u64 = 269;
}

pub(crate) use numbers::{CONNECT, SENDMMSG, SENDMSG, SENDTO, WRITE, WRITEV};

#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn user_call() -> UserCall {
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task_btf() };
    // SAFETY: the task is the current one.
    let registers = unsafe { bpf_task_pt_regs(task) } as *const aya_ebpf::bindings::pt_regs;
    // SAFETY: the pointer is one that the verifier knows; a load through it can't fault.
    let registers = unsafe { &*registers };
    UserCall {
        number: registers.orig_rax,
        arguments: [registers.rdi, registers.rsi, registers.rdx],
        stack_pointer: registers.rsp,
    }
}

#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub(crate) fn user_call() -> UserCall {
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task_btf() };
    // SAFETY: the task is the current one.
    let registers = unsafe { bpf_task_pt_regs(task) } as *const aya_ebpf::bindings::user_pt_regs;
    // SAFETY: the pointer is one that the verifier knows; a load through it can't fault.
    let registers = unsafe { &*registers };
    UserCall {
        number: registers.regs[8],
        arguments: [registers.regs[0], registers.regs[1], registers.regs[2]],
        stack_pointer: registers.sp,
    }
}
