//! Beside stage 1: which socket a connection uses, and which sockets carry TLS that nobody reads.
//!
//! *Takes* events, and the hosts that requests name. *Gives* [`Finding`]s: names and peers of
//! connections, their ends, and sockets whose plaintext was not seen. *Remembers* the sockets and
//! connections that are open, and those that ended for as long as they may still explain each
//! other. *Nonsense* (a hello that contradicts itself, a close of an unknown socket) is counted or
//! passed over.
//!
//! A socket is read if a connection is bound to it. One that is bound to none is taken for read if
//! its process has a connection that names the same host and explains no other socket: the two
//! could not be brought together, for example because the bytes went through a proxy of the
//! process's own, but its plaintext is seen. Each connection explains one socket.

mod hello;
mod table;
#[cfg(test)]
pub(crate) mod tests;

use std::net::SocketAddr;

use crate::event::{ConnId, Timestamp};

pub use hello::{ClientHello, NoHello, PROTOCOLS, parse};
pub use table::{Limits, Sockets};

/// How a connection was brought together with its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Binding {
    /// The kernel programs saw which socket its thread used.
    Thread,
    /// By the descriptor that it was given.
    Descriptor,
    /// Its process has no other socket.
    OnlySocket,
}

/// What was found out about connections and sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Host name of a connection that has none of its own: that of its socket's handshake.
    Named {
        /// When.
        at: Timestamp,
        /// Connection.
        conn: ConnId,
        /// Name.
        name: String,
    },
    /// Where a connection goes to. Sent once.
    Peer {
        /// Connection.
        conn: ConnId,
        /// Address and port.
        peer: SocketAddr,
        /// How it is known.
        binding: Binding,
    },
    /// The socket of a connection was closed, and nothing came since.
    Ended {
        /// When.
        at: Timestamp,
        /// Connection.
        conn: ConnId,
    },
    /// A socket carries TLS whose plaintext is not seen. Sent once for a socket.
    Unprobed {
        /// When it was decided.
        at: Timestamp,
        /// When the socket was first seen.
        since: Timestamp,
        /// Process.
        pid: u32,
        /// Host name of the handshake.
        host: String,
        /// Bytes it carried, if it is closed; else they come with [`Finding::UnprobedBytes`].
        bytes: u64,
    },
    /// A socket that was found to be unprobed is closed.
    UnprobedBytes {
        /// When.
        at: Timestamp,
        /// When the socket was first seen.
        since: Timestamp,
        /// Process.
        pid: u32,
        /// Host name of the handshake.
        host: String,
        /// Bytes it carried.
        bytes: u64,
    },
}
