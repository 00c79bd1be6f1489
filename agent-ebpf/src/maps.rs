//! Every map: who writes, who reads, key, size, and what happens when it is full.

use agent_common::record::{ConnectionKey, Losses};
use agent_common::settings::DEFAULT_RING_BYTES;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};

/// What is known of a connection. One thread at a time may use a direction of a TLS object, so
/// its counter needs no lock.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Connection {
    pub(crate) since_ns: u64,
    pub(crate) written: u64,
    pub(crate) read: u64,
    /// While a write is under way, one more than the offset of what it writes; else 0. Its entry
    /// sets it, its return clears it once its records are in the ring. It is one word, so that a
    /// read on another thread sees it whole; one that a call left that never returned is cleared
    /// by the return of the next write.
    pub(crate) writing: u64,
    /// Key in [`SOCKETS`] of the socket that it uses; 0 if that is not known.
    pub(crate) sock: u64,
    /// Number of that socket, which tells it apart from a later one with the same key.
    pub(crate) socket: u64,
}

/// A TCP socket that a process connected.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Socket {
    pub(crate) number: u64,
    pub(crate) since_ns: u64,
    /// Bytes sent since the handshake began. Two threads that send at one moment may lose a count.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// TLS object that uses it; 0 if that is not known.
    pub(crate) ssl: u64,
    pub(crate) address: [u8; 16],
    pub(crate) family: u16,
    pub(crate) port: u16,
    pub(crate) fd: i32,
    pub(crate) pid: u32,
    /// How often it was looked at in vain.
    pub(crate) looks: u32,
    pub(crate) phase: u32,
    /// 1 once more than a handshake was sent.
    pub(crate) carried: u32,
}

/// What a thread did last, as far as it tells which socket belongs to which TLS object.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Thread {
    /// Stack pointer at the entry of the innermost call under way; 0 if there is none.
    pub(crate) call: u64,
    /// The socket of the last receive outside of any call, and the bytes received on it since a
    /// TLS object last asked for more.
    pub(crate) received_sock: u64,
    pub(crate) received_socket: u64,
    pub(crate) received_bytes: u64,
    /// The TLS object and the socket that the last read agreed on without proof.
    pub(crate) agreed_ssl: u64,
    pub(crate) agreed_socket: u64,
    /// The finished writes that no send has followed.
    pub(crate) written_ssl: u64,
    pub(crate) written_since_ns: u64,
    pub(crate) written_bytes: u64,
    pub(crate) written_records: u64,
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
    /// Bytes that had moved in its direction when it began; after the return, offset of the next
    /// byte to copy.
    pub(crate) offset: u64,
    /// The connection's; before the return 0 if it was not known then.
    pub(crate) since_ns: u64,
    pub(crate) returned_ns: u64,
    /// After the return, the second number of its records: where a write ends, and
    /// [`Connection::writing`] as a read returned.
    pub(crate) aux: u64,
    /// Stack pointer of the call that this one was made in; 0 if there is none.
    pub(crate) outer: u64,
    /// The socket that was used inside it, and not inside a call that it made; 0 if none was.
    pub(crate) sock: u64,
    pub(crate) socket: u64,
    /// 1 if another call was made inside it.
    pub(crate) has_inner: u64,
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

/// TCP sockets that processes connected and that are open, by the kernel's address of each, which
/// never leaves it. Written and read by `socket`, read by `ssl`. An entry goes when the socket is
/// closed, and one whose close was missed when its address is used again.
/// LIMIT: 32,768, about 4 MiB. When it is full new sockets are not followed, which is counted.
#[map]
pub(crate) static SOCKETS: HashMap<u64, Socket> = HashMap::with_max_entries(32_768, 0);

/// How many sockets each CPU saw connect. Written and read by `socket`.
#[map]
pub(crate) static SOCKET_COUNT: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// What threads did last, by thread id. Written and read by `socket`.
/// LIMIT: 16,384, about 2 MiB. When it is full the thread that was idle for longest is forgotten,
/// which may leave a TLS object without its socket.
#[map]
pub(crate) static THREADS: LruHashMap<u32, Thread> = LruHashMap::with_max_entries(16_384, 0);
