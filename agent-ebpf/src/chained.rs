//! How a long call is copied on every kernel: a run of the program copies some records and is
//! followed by another one, by tail call.

use agent_common::record::{MAX_PAYLOAD_BYTES, RecordHeader};
use aya_ebpf::macros::map;
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::{ProbeContext, RetProbeContext};

use crate::maps::{CALLS, Call};
use crate::{ssl, task};

/// The program that goes on copying a long call, at index 0. Written by the loader.
#[map]
static CONTINUATION: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// LIMIT: full records copied by one run of a program; a longer call goes on in a tail call. It
/// keeps the verifier's work on 5.10 far under its million instructions.
const RECORDS_PER_RUN: u32 = 64;

/// Copies the full records of a call. Does not return where the next run goes on.
#[inline(always)]
pub(crate) fn copy_full_records(
    context: &RetProbeContext,
    mut header: RecordHeader,
    call: &mut Call,
) {
    for _ in 0..RECORDS_PER_RUN {
        if !ssl::copy_full_record(&mut header, call) {
            return;
        }
    }
    if call.bytes > MAX_PAYLOAD_BYTES as u64 {
        // SAFETY: the loader put a program of this type at index 0; where it is missing or the limit
        // of tail calls is reached, the call returns and the rest is counted as lost.
        unsafe { CONTINUATION.tail_call(context, 0) };
    }
}

/// Goes on where the run before stopped: entered by tail call, at the same return.
#[inline(always)]
pub(crate) fn resume(context: &RetProbeContext) {
    let (pid, _tid) = task::pid_and_tid();
    let call_key = ssl::call_key(context, pid);
    let Some(call) = CALLS.get_ptr_mut(&call_key) else {
        return;
    };
    // SAFETY: as in `ssl::exit`.
    ssl::copy(context, &call_key, unsafe { &mut *call });
}

/// Keeps a program off the private stack, as `looped` says; the programs at returns have their tail
/// call. This one is never made: no function is entered without a stack. The compiler can't know
/// that, so the call stays.
#[inline(always)]
pub(crate) fn stay_off_private_stack(context: &ProbeContext) {
    if ssl::stack_pointer(context.regs) == 0 {
        // SAFETY: the index is out of bounds, so that the call would do nothing.
        unsafe { CONTINUATION.tail_call(context, u32::MAX) };
    }
}

/// The same for a program at a return, which has its tail call.
#[inline(always)]
pub(crate) fn stay_off_private_stack_at_return(_: &RetProbeContext) {}
