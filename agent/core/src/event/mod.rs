//! What enters the core.

mod cgroup;
mod decode;
mod process;

use std::fmt;
use std::net::SocketAddr;
use std::ops::{Add, Deref};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use cgroup::Placement;
pub use decode::{Malformed, decode};
pub use process::{Ancestor, Checkout, Container, FactSource, Marker, Pod, Process};

/// A moment on the kernel's boot clock, in nanoseconds. It does not jump and goes on in suspend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment `nanos` nanoseconds after boot.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since boot.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// Which way bytes went, seen from the process that made the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// The process wrote them.
    Written,
    /// The process read them.
    Read,
}

impl Direction {
    /// The other direction.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Written => Self::Read,
            Self::Read => Self::Written,
        }
    }
}

/// One TLS connection of one process. `since` tells apart two that reuse one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// Process id in the initial namespace.
    pub pid: u32,
    /// Address of the TLS object.
    pub ssl: u64,
    /// When the kernel programs first saw it.
    pub since: Timestamp,
}

/// One TCP socket that a process connected: a number that the kernel programs give once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

/// A process, safe against the reuse of its pid.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ProcId {
    /// Process id in the initial namespace.
    pub pid: u32,
    /// Start time in clock ticks since boot, field 22 of `/proc/PID/stat`; 0 where the process was
    /// gone before it could be read.
    pub start_ticks: u64,
}

/// Observed plaintext. Its `Debug` output is its length, never its content.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Plaintext(Bytes);

impl Plaintext {
    /// Wraps observed bytes.
    pub const fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The part in `range`, sharing the memory; empty where the range lies outside.
    #[must_use]
    pub fn slice(&self, range: std::ops::Range<usize>) -> Self {
        let end = range.end.min(self.0.len());
        let start = range.start.min(end);
        Self(self.0.slice(start..end))
    }
}

impl Deref for Plaintext {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Plaintext {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plaintext({} bytes)", self.0.len())
    }
}

/// The start of a TLS handshake as the client sent it. It goes over the wire in the clear, but its
/// `Debug` output is its length all the same: it tells where somebody connects to.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Handshake(Bytes);

impl Handshake {
    /// Wraps observed bytes.
    pub const fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl Deref for Handshake {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Handshake {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handshake({} bytes)", self.0.len())
    }
}

/// The only input of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Wall-clock time of a moment, so that records can be labelled. Sent at start and after jumps.
    Clock {
        /// Moment on the boot clock.
        at: Timestamp,
        /// The same moment in nanoseconds since the Unix epoch.
        unix_ns: u64,
    },
    /// Facts about a process; arrives before the first bytes of that process.
    Process(Arc<Process>),
    /// A process replaced its program. The shell answers with a new [`Event::Process`].
    Exec {
        /// When.
        at: Timestamp,
        /// Process id.
        pid: u32,
        /// Name of the task afterwards.
        comm: String,
        /// Real user id.
        uid: u32,
    },
    /// A process ended.
    Exit {
        /// When.
        at: Timestamp,
        /// Process id.
        pid: u32,
    },
    /// First sight of a connection.
    Opened {
        /// When.
        at: Timestamp,
        /// Connection.
        conn: ConnId,
        /// Name of the calling thread.
        comm: String,
        /// Real user id.
        uid: u32,
        /// Descriptor that `SSL_set_fd` named.
        fd: Option<i32>,
    },
    /// Host name that the client asked for (SNI).
    ServerName {
        /// When.
        at: Timestamp,
        /// Connection.
        conn: ConnId,
        /// Name.
        name: String,
    },
    /// Plaintext of one call, or of a part of it.
    Chunk {
        /// When the call returned.
        at: Timestamp,
        /// Connection.
        conn: ConnId,
        /// Which way the bytes went.
        direction: Direction,
        /// Offset of the first byte in its direction since the connection's first sight.
        offset: u64,
        /// Of bytes that were read: offset of the write that had been entered and had not returned
        /// by then. They may be the answer to it, though it comes later.
        during_write: Option<u64>,
        /// Of bytes that were written: how many of the same call follow in further chunks.
        rest: u64,
        /// Bytes.
        bytes: Plaintext,
    },
    /// The TLS object was freed.
    Closed {
        /// When.
        at: Timestamp,
        /// Connection.
        conn: ConnId,
        /// Bytes written over its life, lost ones included.
        written: u64,
        /// Bytes read over its life, lost ones included.
        read: u64,
    },
    /// A process connected a TCP socket. Where the kernel shows sends, only sockets that carry TLS
    /// are told of, right before their [`Event::Hello`].
    Connected {
        /// When it was told.
        at: Timestamp,
        /// Socket.
        socket: SocketId,
        /// Process.
        pid: u32,
        /// Name of the calling thread.
        comm: String,
        /// Real user id.
        uid: u32,
        /// Address and port of the peer.
        peer: Option<SocketAddr>,
        /// Descriptor in that process.
        fd: Option<i32>,
    },
    /// A socket begins a TLS handshake.
    Hello {
        /// When.
        at: Timestamp,
        /// Socket.
        socket: SocketId,
        /// Process.
        pid: u32,
        /// What the client sent first.
        bytes: Handshake,
    },
    /// What a connection carries travels on this socket.
    Bound {
        /// When.
        at: Timestamp,
        /// Connection.
        conn: ConnId,
        /// Socket.
        socket: SocketId,
    },
    /// A socket carried more than a handshake.
    Carried {
        /// When.
        at: Timestamp,
        /// Socket.
        socket: SocketId,
    },
    /// A socket was closed.
    SocketClosed {
        /// When.
        at: Timestamp,
        /// Socket.
        socket: SocketId,
        /// Bytes sent and received since its handshake began, both together.
        bytes: u64,
    },
    /// The kernel lost records since the last such event; which connections are hit shows in
    /// their offsets.
    Lost {
        /// When the counters were read.
        at: Timestamp,
        /// CPU.
        cpu: u32,
        /// Records lost.
        records: u64,
        /// Bytes lost.
        bytes: u64,
    },
}

impl Event {
    /// The moment of the event; `None` for facts, which are timeless.
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Process(_) => None,
            Self::Clock { at, .. }
            | Self::Exec { at, .. }
            | Self::Exit { at, .. }
            | Self::Opened { at, .. }
            | Self::ServerName { at, .. }
            | Self::Chunk { at, .. }
            | Self::Closed { at, .. }
            | Self::Connected { at, .. }
            | Self::Hello { at, .. }
            | Self::Bound { at, .. }
            | Self::Carried { at, .. }
            | Self::SocketClosed { at, .. }
            | Self::Lost { at, .. } => Some(*at),
        }
    }
}
