//! The only writer of `EVENTS` and `LOSSES`.

use core::arch::asm;

use agent_common::record::{
    MAX_HELLO_BYTES, MAX_PAYLOAD_BYTES, MAX_SERVER_NAME_BYTES, PAYLOAD_SIZES, RecordHeader,
};
use agent_ebpf::{clamp, payload_class, wakes_reader};
use aya_ebpf::bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::generated::{bpf_probe_read_user, bpf_probe_read_user_str};
use aya_ebpf::maps::ring_buf::RingBufEntry;

use crate::maps::{EVENTS, LAST_WAKE, LOSSES};

/// `BPF_RB_AVAIL_DATA` and `BPF_RB_RING_SIZE` of `bpf_ringbuf_query`.
const QUERY_WAITING: u64 = 0;
const QUERY_SIZE: u64 = 1;

/// A record with room for `N` bytes of payload.
#[repr(C)]
struct Record<const N: usize> {
    header: RecordHeader,
    payload: [u8; N],
}

/// What became of a piece of plaintext.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copied {
    Delivered,
    RingFull,
    Unreadable,
}

/// A field of [`agent_common::record::Losses`].
#[derive(Clone, Copy)]
pub(crate) enum Loss {
    RingFullRecords,
    RingFullBytes,
    RingFullNotices,
    UnreadableBytes,
    OversizedBytes,
    UntrackedCalls,
    UntrackedSockets,
}

/// Adds to this CPU's losses.
#[inline(always)]
pub(crate) fn count(loss: Loss, amount: u64) {
    let Some(losses) = LOSSES.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the slot exists for as long as the map.
    let losses = unsafe { &mut *losses };
    let field: *mut u64 = match loss {
        Loss::RingFullRecords => &raw mut losses.ring_full_records,
        Loss::RingFullBytes => &raw mut losses.ring_full_bytes,
        Loss::RingFullNotices => &raw mut losses.ring_full_notices,
        Loss::UnreadableBytes => &raw mut losses.unreadable_bytes,
        Loss::OversizedBytes => &raw mut losses.oversized_bytes,
        Loss::UntrackedCalls => &raw mut losses.untracked_calls,
        Loss::UntrackedSockets => &raw mut losses.untracked_sockets,
    };
    // Atomic, because this program may be preempted here by itself on another thread. Rust has no
    // atomic addition for this target; the instruction is as old as the ring buffer.
    // SAFETY: the field is aligned memory of a map.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) field, in(reg) amount) };
}

/// Copies `bytes` bytes from the process, at most [`MAX_PAYLOAD_BYTES`], into the smallest record
/// that holds them.
#[inline(always)]
pub(crate) fn plaintext(header: RecordHeader, from: u64, bytes: u64) -> Copied {
    match payload_class(bytes) {
        0 => sized::<{ PAYLOAD_SIZES[0] }>(header, from, bytes),
        1 => sized::<{ PAYLOAD_SIZES[1] }>(header, from, bytes),
        2 => sized::<{ PAYLOAD_SIZES[2] }>(header, from, bytes),
        _ => sized::<{ PAYLOAD_SIZES[3] }>(header, from, bytes),
    }
}

/// Copies a ClientHello of `bytes` bytes, or its first [`MAX_HELLO_BYTES`].
#[inline(always)]
pub(crate) fn hello(header: RecordHeader, from: u64, bytes: u64) {
    let copied = if payload_class(bytes) <= 1 {
        sized::<{ PAYLOAD_SIZES[1] }>(header, from, bytes)
    } else {
        sized::<MAX_HELLO_BYTES>(header, from, bytes)
    };
    if copied == Copied::RingFull {
        count(Loss::RingFullNotices, 1);
    }
}

/// Copies exactly [`MAX_PAYLOAD_BYTES`] bytes: the loop body of a long call, kept free of the
/// choice of a size so that the verifier's work stays small.
#[inline(always)]
pub(crate) fn full(header: RecordHeader, from: u64) -> Copied {
    sized::<MAX_PAYLOAD_BYTES>(header, from, MAX_PAYLOAD_BYTES as u64)
}

#[inline(always)]
fn sized<const N: usize>(mut header: RecordHeader, from: u64, bytes: u64) -> Copied {
    let Some(mut entry) = EVENTS.reserve::<Record<N>>(0) else {
        return Copied::RingFull;
    };
    // The verifier has to see the bound right here.
    let bytes = clamp(bytes, N);
    header.payload_bytes = bytes;
    let (header_at, payload_at) = parts(entry.as_mut_ptr());
    // SAFETY: the header lies in reserved ring memory.
    unsafe { header_at.write(header) };
    // SAFETY: N bytes are reserved there, `bytes` is at most N, and the helper checks the address
    // in the process.
    let failed = unsafe { bpf_probe_read_user(payload_at.cast(), bytes, from as *const _) };
    if failed != 0 {
        entry.discard(u64::from(BPF_RB_NO_WAKEUP));
        return Copied::Unreadable;
    }
    submit(entry, header.at_ns);
    Copied::Delivered
}

/// Emits a record with a payload that the program made itself.
#[inline(always)]
pub(crate) fn notice<T: Copy + 'static>(mut header: RecordHeader, payload: T) {
    #[repr(C)]
    struct Notice<T> {
        header: RecordHeader,
        payload: T,
    }
    header.payload_bytes = clamp(size_of::<T>() as u64, size_of::<T>());
    let Some(mut entry) = EVENTS.reserve::<Notice<T>>(0) else {
        count(Loss::RingFullNotices, 1);
        return;
    };
    entry.write(Notice { header, payload });
    submit(entry, header.at_ns);
}

/// Emits a host name that the process passed as a C string.
#[inline(always)]
pub(crate) fn server_name(mut header: RecordHeader, from: u64) {
    let Some(mut entry) = EVENTS.reserve::<Record<MAX_SERVER_NAME_BYTES>>(0) else {
        count(Loss::RingFullNotices, 1);
        return;
    };
    let (header_at, payload_at) = parts(entry.as_mut_ptr());
    let room = clamp(u64::MAX, MAX_SERVER_NAME_BYTES);
    // SAFETY: so many bytes are reserved there; the helper writes at most as many, its final zero
    // included, and checks the address in the process.
    let length = unsafe { bpf_probe_read_user_str(payload_at.cast(), room, from as *const _) };
    if length <= 1 {
        entry.discard(u64::from(BPF_RB_NO_WAKEUP));
        return;
    }
    header.payload_bytes = clamp(length.unsigned_abs() - 1, MAX_SERVER_NAME_BYTES);
    // SAFETY: the header lies in reserved ring memory.
    unsafe { header_at.write(header) };
    submit(entry, header.at_ns);
}

/// Where header and payload of a reserved record are.
#[inline(always)]
fn parts<const N: usize>(record: *mut Record<N>) -> (*mut RecordHeader, *mut [u8; N]) {
    // SAFETY: the record is reserved ring memory of this type.
    let header = unsafe { &raw mut (*record).header };
    // SAFETY: as above.
    let payload = unsafe { &raw mut (*record).payload };
    (header, payload)
}

#[inline(always)]
fn submit<T>(entry: RingBufEntry<T>, now_ns: u64) {
    let flags = match LAST_WAKE.get_ptr_mut(0) {
        Some(last_wake) => {
            // SAFETY: the slot exists; all its users read or write it as one word.
            let last_wake_ns = unsafe { last_wake.read() };
            let quarter = EVENTS.query(QUERY_SIZE) / 4;
            if wakes_reader(now_ns, last_wake_ns, EVENTS.query(QUERY_WAITING), quarter) {
                // SAFETY: as above.
                unsafe { last_wake.write(now_ns) };
                BPF_RB_FORCE_WAKEUP
            } else {
                BPF_RB_NO_WAKEUP
            }
        }
        None => 0,
    };
    entry.submit(u64::from(flags));
}
