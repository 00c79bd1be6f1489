//! Stage 1: puts chunks in order and makes losses visible.
//!
//! *Takes* events. *Gives* [`Segment`]s: the bytes of each direction in order, gaps of known
//! length, and one end for each connection; what was read while a write was under way comes after
//! that write. *Remembers* the next expected offset per direction, and what waits for a write.
//! *Nonsense* (offsets that go back, chunks of an ended connection) is counted and dropped.

mod hold;
mod table;
#[cfg(test)]
mod tests;

pub use table::{Connections, Limits};

use crate::event::{ConnId, Direction, Plaintext, Timestamp};

/// One step in the life of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// First sight. Sent once, before anything else of the connection.
    Open {
        /// When.
        at: Timestamp,
        /// Connection.
        conn: ConnId,
    },
    /// Host name of the handshake (SNI).
    ServerName {
        /// Connection.
        conn: ConnId,
        /// Name.
        name: String,
    },
    /// The next bytes of one direction.
    Data {
        /// When the call returned.
        at: Timestamp,
        /// Connection.
        conn: ConnId,
        /// Which way.
        direction: Direction,
        /// Bytes; never empty.
        bytes: Plaintext,
    },
    /// Bytes of one direction that are known to be missing.
    Gap {
        /// When it was noticed.
        at: Timestamp,
        /// Connection.
        conn: ConnId,
        /// Which way.
        direction: Direction,
        /// How many; never 0.
        bytes: u64,
    },
    /// Nothing more comes. Sent once.
    End {
        /// When.
        at: Timestamp,
        /// Connection.
        conn: ConnId,
        /// Why.
        reason: EndReason,
    },
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndReason {
    /// The TLS object was freed.
    Closed,
    /// Its address was taken by a new connection: the free was not seen.
    Replaced,
    /// The process ended.
    Exited,
    /// It was silent for longer than the limit.
    Idle,
    /// A limit of the agent was reached.
    Evicted,
    /// The agent stops.
    Stopped,
}
