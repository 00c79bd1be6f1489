//! Tells people and programs of alerts.
//!
//! *Takes* what the core says is to be told, and the channels of the configuration. *Gives* messages, and
//! of each whether it arrived. *Remembers* what is under way and which channels are dead; what waits is
//! in the ledger, so that a restart loses nothing. *Nonsense* of the other side, a server that never
//! answers for example, costs that channel its thread for ten seconds, and nobody else anything.
//!
//! What a channel is sent is in `agent/docs/alerts.md`. A URL may hold a secret: no error, log line or row
//! of the ledger has any part of one.

mod channel;
mod courier;
mod exec;
mod forms;
mod http;
mod journal;

use std::io;
use std::time::Duration;

use agent_core::alert::{Alerts, Condition, Purpose, Rule, Severity};
use serde_json::{Map, Value};

pub use channel::{Channel, Channels};
pub use courier::{Courier, Delivery, Handed, Outcome};
pub(crate) use http::post_as;
pub use journal::write as write_journal;

/// LIMIT: time that one message may take; the next try has as much again.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// How long a message is tried.
pub const GIVEN_UP_AFTER_MS: i64 = 24 * 3_600_000;

/// Why a message did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server does not want it.
    #[error("HTTP status {0}")]
    Status(u16),
    /// It took too long.
    #[error("no answer within {} s", TIME_LIMIT.as_secs())]
    TimedOut,
    /// The server's name is unknown.
    #[error("the host is not found")]
    HostNotFound,
    /// There is no connection, or it broke.
    #[error("the connection failed: {0}")]
    Connection(io::ErrorKind),
    /// The server could not prove who it is, or speaks no TLS.
    #[error("TLS failed; is the server's certificate issued by an authority that this host knows?")]
    Tls,
    /// The server speaks something else.
    #[error("the server's answer is no HTTP")]
    NoHttp,
    /// The file with headers can't be read.
    #[error("the file of headers_file can't be read")]
    Headers(#[source] io::Error),
    /// A line of it is no header.
    #[error("line {line} of headers_file is no header")]
    Header {
        /// Which one.
        line: usize,
    },
    /// There is no such user.
    #[error("there is no user {user} on this host")]
    User {
        /// Name.
        user: String,
    },
    /// The command did not start.
    #[error("{program} can't be executed")]
    Start {
        /// Program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// The command said that it failed.
    #[error("{program} ended with {status}")]
    Ended {
        /// Program.
        program: String,
        /// Exit status or signal.
        status: String,
    },
    /// The host has no sendmail.
    #[error("this host has no sendmail")]
    NoSendmail,
}

/// A message that says that it arrives, and is marked as a test.
pub fn test_payload(host_name: &str, now_unix_ms: i64) -> Value {
    let condition = Condition {
        rule: Rule::Channel,
        variant: "test".to_owned(),
        scope: Vec::new(),
        budget: None,
        severity: Severity::Ticket,
        hold: Duration::ZERO,
        summary: "this is a test of bpftok's alerts; nothing is wrong".to_owned(),
        evidence: Map::new(),
    };
    let told = Alerts::default().evaluate(now_unix_ms, vec![condition]);
    let told = told.notifications.first();
    told.map_or(Value::Null, |told| told.payload(host_name, Purpose::Test))
}

/// When a message is tried again that failed so many times: after half a minute, then each time twice as
/// long, an hour at most.
pub const fn retry_after_ms(attempts: u32) -> i64 {
    const FIRST_MS: i64 = 30_000;
    const LAST_MS: i64 = 3_600_000;
    let doublings = match attempts {
        0 | 1 => 0,
        _ => attempts - 1,
    };
    if doublings >= 7 {
        return LAST_MS;
    }
    let after = FIRST_MS << doublings;
    if after > LAST_MS { LAST_MS } else { after }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_an_hour_and_never_beyond() {
        let pauses = [0, 1, 2, 3, 7, 8, 9, u32::MAX].map(retry_after_ms);
        assert_eq!(
            pauses,
            [
                30_000, 30_000, 60_000, 120_000, 1_920_000, 3_600_000, 3_600_000, 3_600_000
            ]
        );
    }
}
