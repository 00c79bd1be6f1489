//! The records that the kernel programs put into the ring.
//!
//! Every record starts with a [`RecordHeader`]; what follows depends on its `kind`. Integers are
//! in the host's byte order: a record never leaves the machine but inside a recording, whose
//! header says the order.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a record says. An unknown number is counted and skipped by the reader.
pub mod kind {
    /// Plaintext that the process wrote; the payload is the bytes, `aux` the offset behind the last
    /// byte of the same call that is copied, be it in this record or in a later one.
    pub const WRITTEN: u32 = 1;
    /// Plaintext that the process read; the payload is the bytes. If a write of the same connection
    /// had been entered and had not returned by then, `aux` is one more than the offset of what it
    /// writes, else 0: the peer may have answered that write, whose record comes later.
    pub const READ: u32 = 2;
    /// First sight of a TLS object; the payload is an [`super::Opened`].
    pub const OPENED: u32 = 3;
    /// A TLS object was freed, `offset` holds the bytes written and `aux` the bytes read.
    pub const CLOSED: u32 = 4;
    /// The host name that the client set for the handshake; the payload is its bytes.
    pub const SERVER_NAME: u32 = 5;
    /// A process replaced its program; the payload is an [`super::Exec`].
    pub const EXEC: u32 = 6;
    /// A process ended (its last thread).
    pub const EXIT: u32 = 7;
    /// A process connected a TCP socket; the payload is a [`super::Connected`]. Where sends are
    /// seen it comes once the socket begins a TLS handshake, right before [`HELLO`]; elsewhere at
    /// the connect. In this record and in those below, `aux` is the socket's number, which is
    /// given once, and `ssl` is 0 but in [`BOUND`].
    pub const CONNECTED: u32 = 8;
    /// A socket began a TLS handshake; the payload is the start of what it sent, a ClientHello
    /// (RFC 8446, section 4.1.2), which goes out in the clear.
    pub const HELLO: u32 = 9;
    /// What is written to and read from the TLS object travels on this socket.
    pub const BOUND: u32 = 10;
    /// A socket carried more than a handshake; the payload is a [`super::Traffic`].
    pub const CARRIED: u32 = 11;
    /// A socket was closed, whoever closed it; the payload is a [`super::Traffic`], `pid` the
    /// process that connected it.
    pub const SOCKET_CLOSED: u32 = 12;
}

/// The fixed start of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RecordHeader {
    /// One of [`kind`].
    pub kind: u32,
    /// Bytes of payload behind the header that are meant; the record may be longer, because
    /// records come in [`PAYLOAD_SIZES`].
    pub payload_bytes: u32,
    /// Process id (the kernel's tgid) in the initial namespace.
    pub pid: u32,
    /// Thread id in the initial namespace.
    pub tid: u32,
    /// Address of the TLS object in that process; 0 where a record is about no connection.
    pub ssl: u64,
    /// When the kernel first saw this TLS object, in nanoseconds of the boot clock. It tells apart
    /// two connections that reuse one address.
    pub since_ns: u64,
    /// When the call returned, in nanoseconds of the boot clock.
    pub at_ns: u64,
    /// Byte offset of the payload in its direction since `since_ns`. It advances over bytes that
    /// were lost.
    pub offset: u64,
    /// A second number, by kind; 0 elsewhere.
    pub aux: u64,
}

const _: () = assert!(size_of::<RecordHeader>() == 56);

/// Longest payload of one record, in bytes. It is also TLS's largest plaintext record
/// (RFC 8446, section 5.1), so one `SSL_read` is one record of ours.
pub const MAX_PAYLOAD_BYTES: usize = 16_384;

/// The sizes in which payload memory is reserved, in bytes, smallest first. A server-sent event of
/// 200 bytes must not cost 16 KiB of ring.
pub const PAYLOAD_SIZES: [usize; 4] = [256, 1_024, 4_096, MAX_PAYLOAD_BYTES];

/// Longest host name that is copied, in bytes (RFC 1035 section 2.3.4 allows 255 octets).
pub const MAX_SERVER_NAME_BYTES: usize = 256;

/// Length of the kernel's task name, with its final zero.
pub const COMM_BYTES: usize = 16;

/// Payload of [`kind::OPENED`]: what the kernel knows of the calling task.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Opened {
    /// Name of the calling thread.
    pub comm: [u8; COMM_BYTES],
    /// Id of the cgroup in the v2 hierarchy.
    pub cgroup_id: u64,
    /// Real user id.
    pub uid: u32,
    /// Descriptor that `SSL_set_fd` named, or -1.
    pub fd: i32,
}

const _: () = assert!(size_of::<Opened>() == 32);

/// Payload of [`kind::EXEC`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Exec {
    /// Name of the task after the exec.
    pub comm: [u8; COMM_BYTES],
    /// Id of the cgroup in the v2 hierarchy.
    pub cgroup_id: u64,
    /// Real user id.
    pub uid: u32,
    /// Always 0: keeps the size a multiple of eight.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Exec>() == 32);

/// Longest piece of a ClientHello that is copied, in bytes. LIMIT: 4,096; with post-quantum key
/// shares one has 1,500 to 2,000, and of a longer one the rest is not known.
pub const MAX_HELLO_BYTES: usize = 4_096;

/// The families of a peer's address ([`Connected::family`]), as Linux numbers them
/// (include/linux/socket.h).
pub mod family {
    /// The address is not known.
    pub const UNKNOWN: u16 = 0;
    /// IPv4: the first four bytes of the address.
    pub const INET: u16 = 2;
    /// IPv6.
    pub const INET6: u16 = 10;
}

/// Payload of [`kind::CONNECTED`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Connected {
    /// Name of the calling thread.
    pub comm: [u8; COMM_BYTES],
    /// Address of the peer, in network order.
    pub address: [u8; 16],
    /// One of [`family`].
    pub family: u16,
    /// Port of the peer.
    pub port: u16,
    /// The process's descriptor, or -1.
    pub fd: i32,
    /// Real user id.
    pub uid: u32,
    /// Always 0: keeps the size a multiple of eight.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Connected>() == 48);

/// Payload of [`kind::CARRIED`] and [`kind::SOCKET_CLOSED`]: bytes since the handshake began, its
/// own and those of TLS records included. 0 where sends are not seen.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Traffic {
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
}

const _: () = assert!(size_of::<Traffic>() == 16);

/// What the kernel could not deliver, per CPU (the value type of the map `LOSSES`).
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Losses {
    /// Data records that found the ring full.
    pub ring_full_records: u64,
    /// Bytes in those records.
    pub ring_full_bytes: u64,
    /// Records without plaintext that found the ring full.
    pub ring_full_notices: u64,
    /// Bytes that could not be read from the process (its page was not in memory).
    pub unreadable_bytes: u64,
    /// Bytes of one call beyond [`crate::settings::MAX_CALL_BYTES`].
    pub oversized_bytes: u64,
    /// Calls that could not be remembered between entry and return (their map was full).
    pub untracked_calls: u64,
    /// Sockets that are not followed, because their map was full.
    pub untracked_sockets: u64,
}

impl Losses {
    /// Both together.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            ring_full_records: self
                .ring_full_records
                .saturating_add(other.ring_full_records),
            ring_full_bytes: self.ring_full_bytes.saturating_add(other.ring_full_bytes),
            ring_full_notices: self
                .ring_full_notices
                .saturating_add(other.ring_full_notices),
            unreadable_bytes: self.unreadable_bytes.saturating_add(other.unreadable_bytes),
            oversized_bytes: self.oversized_bytes.saturating_add(other.oversized_bytes),
            untracked_calls: self.untracked_calls.saturating_add(other.untracked_calls),
            untracked_sockets: self
                .untracked_sockets
                .saturating_add(other.untracked_sockets),
        }
    }

    /// Records of any kind that are missing.
    pub const fn records(&self) -> u64 {
        self.ring_full_records
            .saturating_add(self.ring_full_notices)
            .saturating_add(self.untracked_calls)
    }

    /// Bytes of plaintext that are missing.
    pub const fn bytes(&self) -> u64 {
        self.ring_full_bytes
            .saturating_add(self.unreadable_bytes)
            .saturating_add(self.oversized_bytes)
    }
}

/// Key of the maps `CONNECTIONS` and `IGNORED_CONNECTIONS`: a TLS object of a process.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ConnectionKey {
    /// Address of the TLS object.
    pub ssl: u64,
    /// Process id in the initial namespace.
    pub pid: u32,
    /// Always 0: keeps the size a multiple of eight.
    pub reserved: u32,
}
