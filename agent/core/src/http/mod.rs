//! Stage 2: finds HTTP exchanges in the bytes of a connection.
//!
//! *Takes* segments. *Gives* [`HttpEvent`]s, the same for HTTP/1 and HTTP/2; bodies and messages
//! stream through, decoded, and are not collected. *Remembers* one parser per direction and the
//! exchanges that wait for their response. *Nonsense* ends the parsing of that connection with
//! [`HttpEvent::Dismissed`].

mod body;
mod conversation;
mod credential;
pub mod eventstream;
mod exchange;
mod h1;
mod h2;
mod headers;
mod limit_fields;
pub mod sse;
mod stage;
mod talk;
mod target;
#[cfg(test)]
mod tests;
mod ws;

/// How many fields tell limits.
#[cfg(test)]
pub(crate) const fn limit_fields() -> usize {
    limit_fields::LIMITS.len()
}

pub use credential::Scheme;
pub(crate) use headers::SESSION_FIELD_OF_OTHERS;
pub use stage::{Http, Limits};
pub(crate) use target::percent_decoded;

use std::fmt;
use std::time::Duration;

use crate::event::{ConnId, Plaintext, Timestamp};

/// One request and its response: the `number`-th of its connection, from 0, in the order in which
/// the requests began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId {
    /// Connection.
    pub conn: ConnId,
    /// Place in the connection.
    pub number: u64,
}

/// A side of an exchange: that of the observed process, or that of who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Writes the request.
    Client,
    /// Reads the request.
    Server,
}

/// Header fields on the allow-list, names in lower case, values as sent but cut at 2,048 bytes.
/// Everything else, credentials above all, is dropped where the head is parsed. Ids of accounts do
/// not show in its `Debug` output.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(&'static str, String)>);

impl Headers {
    /// Appends a field. `name` is from the allow-list.
    pub fn push(&mut self, name: &'static str, value: String) {
        self.0.push((name, value));
    }

    /// First value of a field.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| v.as_str())
    }

    /// Fields that tell what is left of a limit, in order.
    pub fn limits(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.iter().filter(|(name, _)| limit_fields::is_limit(name))
    }

    /// All fields, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(n, v)| (*n, v.as_str()))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(name, value)| {
            (
                name,
                if headers::is_hidden(name) {
                    "…"
                } else {
                    value
                },
            )
        };
        f.debug_list().entries(self.iter().map(shown)).finish()
    }
}

/// The start of a request, without anything secret: of the query only a model's name is kept.
///
/// HTTP/2 compresses heads against those before them. Where some of these were missed, what a head
/// refers to is unknown, and left out: an empty method or path was sent, but could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// Method, in upper case as sent; at most 32 bytes.
    pub method: String,
    /// Path without query and fragment; at most 1,024 bytes.
    pub path: String,
    /// Parameter `model` of the query, if it looks like a model's name; at most 256 bytes.
    pub model: Option<String>,
    /// Class of the credential.
    pub scheme: Scheme,
    /// Allowed header fields.
    pub headers: Headers,
}

impl RequestHead {
    /// Whether it could not be read what the request is for.
    pub const fn is_headless(&self) -> bool {
        self.path.is_empty()
    }
}

/// The start of a final response (no 1xx).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// Status code; 0 if it could not be read.
    pub status: u16,
    /// Allowed header fields.
    pub headers: Headers,
}

/// How a body, or a message of a WebSocket, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BodyEnd {
    /// Its framing says that it is whole.
    Complete,
    /// The connection ended first.
    Cut,
    /// That side gave it up first: it reset the stream, or its process ended.
    GivenUp(Role),
    /// Bytes are missing, so that the framing or the compression was lost.
    Lost,
    /// It broke its own framing or compression, or a limit of ours.
    Refused,
}

/// Parts of an exchange, in order; request and response parts of one exchange may interleave.
///
/// An exchange whose response has status 101 may have become a WebSocket: then messages of both
/// sides follow its [`HttpEvent::Response`], and its [`HttpEvent::ResponseEnd`] is the end of the
/// WebSocket. A connection has at most one, and no exchange after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpEvent {
    /// Host name of the connection's handshake. Comes before the exchanges that it concerns.
    ServerName {
        /// Connection.
        conn: ConnId,
        /// Name.
        name: String,
    },
    /// An exchange begins.
    Request {
        /// When the head was complete.
        at: Timestamp,
        /// Exchange.
        id: ExchangeId,
        /// Whose side the process is on.
        role: Role,
        /// Head.
        head: RequestHead,
    },
    /// Bytes of the request body, framing and compression removed.
    RequestBody {
        /// Exchange.
        id: ExchangeId,
        /// Bytes.
        bytes: Plaintext,
    },
    /// Bytes of the request body are missing at this place; the body goes on after them.
    RequestGap {
        /// Exchange.
        id: ExchangeId,
        /// How many; 0 if that is not known, nor whether there are any, because frames of HTTP/2
        /// are missing that may have been of any stream.
        bytes: u64,
    },
    /// The request is over.
    RequestEnd {
        /// When.
        at: Timestamp,
        /// Exchange.
        id: ExchangeId,
        /// How.
        end: BodyEnd,
    },
    /// The final response begins.
    Response {
        /// When the head was complete.
        at: Timestamp,
        /// Exchange.
        id: ExchangeId,
        /// Head.
        head: ResponseHead,
    },
    /// Bytes of the response body, framing and compression removed.
    ResponseBody {
        /// When.
        at: Timestamp,
        /// Exchange.
        id: ExchangeId,
        /// Bytes.
        bytes: Plaintext,
    },
    /// Bytes of the response body are missing at this place; the body goes on after them.
    ResponseGap {
        /// Exchange.
        id: ExchangeId,
        /// How many; 0 if that is not known, nor whether there are any, because frames of HTTP/2
        /// are missing that may have been of any stream.
        bytes: u64,
    },
    /// Bytes of a WebSocket message, masking, framing and compression removed. Those of one message
    /// follow each other, while messages of the other side may come in between.
    Message {
        /// When.
        at: Timestamp,
        /// Exchange that became the WebSocket.
        id: ExchangeId,
        /// Who sent it.
        from: Role,
        /// Bytes.
        bytes: Plaintext,
    },
    /// A WebSocket message is over; it may have been empty. One that is [`BodyEnd::Lost`] or
    /// [`BodyEnd::Refused`] was sent, but not all that it says is known.
    MessageEnd {
        /// When.
        at: Timestamp,
        /// Exchange that became the WebSocket.
        id: ExchangeId,
        /// Who sent it.
        from: Role,
        /// How.
        end: BodyEnd,
    },
    /// Any number of messages of that side may be missing at this place; the one that was under way
    /// has ended before. Later ones may be found again.
    MessagesLost {
        /// When.
        at: Timestamp,
        /// Exchange that became the WebSocket.
        id: ExchangeId,
        /// Who sent them.
        from: Role,
    },
    /// The response is over, and with it the exchange. Sent once for each [`HttpEvent::Request`],
    /// also when no response came.
    ResponseEnd {
        /// When.
        at: Timestamp,
        /// Exchange.
        id: ExchangeId,
        /// How.
        end: BodyEnd,
    },
    /// The connection carries nothing that this stage can read; no more comes of it.
    Dismissed {
        /// When.
        at: Timestamp,
        /// Connection.
        conn: ConnId,
        /// Why.
        why: Dismissal,
    },
    /// The connection ended. Sent once, after the ends of its exchanges.
    Closed {
        /// When.
        at: Timestamp,
        /// Connection.
        conn: ConnId,
    },
}

/// Why a connection is not read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dismissal {
    /// Its first bytes are no HTTP.
    NotHttp,
    /// It switched to a protocol that is not read (101).
    Upgraded,
    /// It became a tunnel to another host (CONNECT); what it carries is TLS of its own, and read as
    /// a connection of its own.
    Tunnel,
    /// Its framing contradicts itself, so that a guess would be needed to go on.
    Ambiguous,
    /// A head or a number was larger than its limit.
    OverLimit,
    /// The place in its framing was lost, and not found again for long.
    Lost,
}

/// Time without a byte after which a waiting exchange is given up.
/// LIMIT: ten minutes, the longest time-out that the providers' SDKs set by default.
pub const EXCHANGE_IDLE: Duration = Duration::from_secs(600);
