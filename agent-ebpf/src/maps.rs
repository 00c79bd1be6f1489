//! Every map: who writes, who reads, key, size, and what happens when it is full.

use agent_common::record::{ConnectionKey, Losses};
use agent_common::settings::DEFAULT_RING_BYTES;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf};

/// What is known of a connection. One thread at a time may use a direction of a TLS object, so
/// its counter needs no lock.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Connection {
    pub(crate) since_ns: u64,
    pub(crate) written: u64,
    pub(crate) read: u64,
}

/// A call under way. The stack pointer at its entry tells apart calls that nest on one thread, and
/// is still right after an exception, a `longjmp` or a switch of stacks skipped some returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct CallKey {
    pub(crate) stack_pointer: u64,
    pub(crate) pid: u32,
    pub(crate) reserved: u32,
}

/// The arguments of a call under way and, after its return, how much of it is copied.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) site: u64,
    pub(crate) ssl: u64,
    pub(crate) buffer: u64,
    /// Length of the buffer; after the return, bytes still to copy.
    pub(crate) bytes: u64,
    /// Where an `_ex` call puts its count; 0 for the others.
    pub(crate) count_at: u64,
    /// Offset of the next byte to copy in its direction.
    pub(crate) offset: u64,
    pub(crate) since_ns: u64,
    pub(crate) returned_ns: u64,
}

/// Records on their way to the agent. Written by `emit`, read by the agent. When it is full,
/// records are dropped and counted in [`LOSSES`]. The loader sets the size.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(DEFAULT_RING_BYTES, 0);

/// What could not be delivered, per CPU. Written by `emit` and `ssl`, read by the agent.
#[map]
pub(crate) static LOSSES: PerCpuArray<Losses> = PerCpuArray::with_max_entries(1, 0);

/// When the reader was last woken, in one slot. Written and read by `emit`; a lost race costs one
/// wake-up too many.
#[map]
pub(crate) static LAST_WAKE: Array<u64> = Array::with_max_entries(1, 0);

/// Connections in use. Written and read by `ssl`; the agent removes those of ended processes.
/// LIMIT: 32,768, about 4 MiB. When it is full the connection unused for longest is forgotten;
/// its next call counts as a new connection that was joined midway.
#[map]
pub(crate) static CONNECTIONS: LruHashMap<ConnectionKey, Connection> =
    LruHashMap::with_max_entries(32_768, 0);

/// Connections that are no LLM traffic: their `since_ns`. Written by the agent, read by `ssl`,
/// which removes them when the object is freed. When it is full the verdict unused for longest is
/// forgotten, and the agent gives it again.
#[map]
pub(crate) static IGNORED_CONNECTIONS: LruHashMap<ConnectionKey, u64> =
    LruHashMap::with_max_entries(32_768, 0);

/// Processes that are not observed. Written by the agent, read by `ssl`.
#[map]
pub(crate) static IGNORED_PROCESSES: HashMap<u32, u8> = HashMap::with_max_entries(4_096, 0);

/// Calls between entry and return. Written and read by `ssl`. Calls that never return (the
/// process died in them) are pushed out by later ones.
/// LIMIT: 16,384 threads inside a TLS call at one moment.
#[map]
pub(crate) static CALLS: LruHashMap<CallKey, Call> = LruHashMap::with_max_entries(16_384, 0);

/// The program that goes on copying a long call, at index 0. Written by the loader.
#[map]
pub(crate) static CONTINUATION: ProgramArray = ProgramArray::with_max_entries(1, 0);
