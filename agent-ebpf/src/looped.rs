//! How a long call is copied where `bpf_loop` is (5.17): by one run of the program.
//!
//! No array of programs is needed, and none is wanted: the kernel keeps one for good that somebody
//! opens by its number, and closes, just after its last holder let it go. It counts the holder twice
//! and cancels the second count with work that is queued once (kernel/bpf/arraymap.c,
//! `prog_array_map_clear`; 6.18).

use core::arch::asm;
use core::ffi::c_void;

use agent_common::record::{MAX_PAYLOAD_BYTES, RecordHeader};
use agent_common::settings::MAX_CALL_BYTES;
use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{bpf_loop, bpf_tail_call};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};

use crate::maps::Call;
use crate::ssl;

/// LIMIT: records of one call.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a constant of a few thousand"
)]
const RECORDS: u32 = (MAX_CALL_BYTES / MAX_PAYLOAD_BYTES as u64) as u32;

/// A call that is being copied.
#[repr(C)]
struct Copying {
    header: RecordHeader,
    call: *mut Call,
}

/// Copies the full records of a call.
#[inline(always)]
pub(crate) fn copy_full_records(_: &RetProbeContext, header: RecordHeader, call: &mut Call) {
    if call.bytes <= MAX_PAYLOAD_BYTES as u64 {
        return;
    }
    let mut copying = Copying { header, call };
    let next: unsafe extern "C" fn(u64, *mut Copying) -> i64 = copy_next;
    // SAFETY: the function takes the number of its run and a pointer to this value, which outlives
    // the loop.
    unsafe {
        bpf_loop(
            RECORDS,
            next as *mut c_void,
            (&raw mut copying).cast::<c_void>(),
            0,
        )
    };
}

/// Copies the next full record; 1 ends the loop.
#[inline(never)]
unsafe extern "C" fn copy_next(_run: u64, copying: *mut Copying) -> i64 {
    // SAFETY: the loop passes what it was given.
    let copying = unsafe { &mut *copying };
    // SAFETY: as in `ssl::exit`, which holds it during the loop.
    let call = unsafe { &mut *copying.call };
    i64::from(!ssl::copy_full_record(&mut copying.header, call))
}

/// Keeps a program off the private stack that kernels since 6.13 give to tracing programs with 64
/// or more bytes of stack: there is one for each CPU, but a uprobe program may be preempted by
/// another thread that runs the same program, and then both write to it. A program with a tail
/// call is not given one (kernel/bpf/verifier.c, `check_max_stack_depth`). Neither is one whose tail
/// call the verifier finds to be dead, since it looks for them before: so this one needs no map. The
/// compiler can't know the number, so the call stays.
#[inline(always)]
pub(crate) fn stay_off_private_stack(context: &ProbeContext) {
    tail_call_never(context.as_ptr());
}

/// The same for a program at a return.
#[inline(always)]
pub(crate) fn stay_off_private_stack_at_return(context: &RetProbeContext) {
    tail_call_never(context.as_ptr());
}

#[inline(always)]
fn tail_call_never(context: *mut c_void) {
    let zero: u64;
    // SAFETY: it sets a register.
    unsafe { asm!("{0} = 0", out(reg) zero, options(nomem, nostack)) };
    if zero != 0 {
        // SAFETY: it is never run.
        unsafe { bpf_tail_call(context, core::ptr::null_mut(), 0) };
    }
}
