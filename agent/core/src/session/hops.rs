//! Which calls are both sides of a gateway on this host.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use super::is_unique;
use crate::attribution::AttributedCall;
use crate::event::Timestamp;
use crate::llm::{Usage, UsageSource};

/// LIMIT: calls in which the other side of a gateway is looked for; beyond, the oldest is forgotten.
/// Some 1 MiB when full.
const RECENT: usize = 2_048;

/// Time after its end for which a call is compared with others. Both sides of a gateway end within
/// moments of each other.
const RECENT_FOR: Duration = Duration::from_secs(60);

/// How long a gateway takes at most to call on, where nothing but equal usage tells.
const CALLS_ON_WITHIN: Duration = Duration::from_secs(2);

/// How late a program's write may return after the other side has read what it wrote, while others
/// have the processor. A call starts when its write returns: two that start closer together than this
/// may have been made in either order.
const RETURNS_WITHIN: Duration = Duration::from_millis(250);

/// How a call belongs to another one that ended before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hop {
    /// It went to a gateway on this host, which made the call of identity `counted` for it: that one
    /// counts, for the process and in the session of this one.
    ToGateway {
        /// Identity of the gateway's call.
        counted: String,
    },
    /// A gateway on this host made it for the call of identity `origin`, which does not count; this
    /// one does, for that one's process and in its session.
    OfGateway {
        /// Identity of the call to the gateway.
        origin: String,
    },
}

/// A call that counts, as far as it tells whether another one is its other side.
#[derive(Debug)]
struct Side {
    identity: String,
    pid: u32,
    started: Timestamp,
    ended: Timestamp,
    server_name: Option<String>,
    response_id: Option<String>,
    /// Whole input and output, where they are the provider's and not nothing.
    tokens: Option<(u64, u64)>,
    /// Whether its host can only be this one.
    is_local: bool,
    /// Whether its host is one that a gateway on this host may have.
    may_be_gateway: bool,
}

impl Side {
    fn new(attributed: &AttributedCall, identity: &str) -> Self {
        let call = &attributed.call;
        let is_local = call.server_name.as_deref().is_some_and(is_local);
        Self {
            identity: identity.to_owned(),
            pid: call.exchange.conn.pid,
            started: call.started,
            ended: call.ended,
            server_name: call.server_name.clone(),
            response_id: call.response_id.clone().filter(|id| is_unique(id)),
            tokens: tokens(&call.usage).filter(|_| call.usage_source == UsageSource::Provider),
            is_local,
            may_be_gateway: is_local || !call.provider.is_listed(),
        }
    }

    /// Whether this may have made a gateway make `other`, by when they began.
    fn begins_before(&self, other: &Self) -> bool {
        let apart = self.started.since(other.started) + other.started.since(self.started);
        if apart > RETURNS_WITHIN {
            return self.started < other.started;
        }
        // Only one of them goes to what may be a gateway; or the client reads the last of a reply
        // after its gateway has.
        if self.may_be_gateway == other.may_be_gateway {
            self.ended >= other.ended
        } else {
            self.may_be_gateway
        }
    }

    /// Whether this went to the gateway that made `other` for it.
    fn is_origin_of(&self, other: &Self) -> bool {
        let is_under_way = self.started <= other.ended && other.started <= self.ended;
        let encloses = is_under_way && self.begins_before(other);
        // Who asks the same host for the same response polls it, unless that host may be several
        // gateways, on ports of their own.
        let is_elsewhere = self.is_local || self.server_name != other.server_name;
        if self.pid == other.pid || !is_elsewhere || !encloses {
            return false;
        }
        let has_same_id = self.response_id.is_some() && self.response_id == other.response_id;
        let has_same_usage = self.tokens.is_some()
            && self.tokens == other.tokens
            && self.may_be_gateway
            && !other.may_be_gateway
            && other.started.since(self.started) <= CALLS_ON_WITHIN;
        has_same_id || has_same_usage
    }
}

/// The calls of the last moments, in which the other side of a gateway is looked for.
#[derive(Debug, Default)]
pub(super) struct Hops {
    recent: VecDeque<Side>,
}

impl Hops {
    /// Says to which earlier call this one belongs, and remembers what counts of the two.
    pub(super) fn link(&mut self, attributed: &AttributedCall, identity: &str) -> Option<Hop> {
        let side = Side::new(attributed, identity);
        while let Some(oldest) = self.recent.front()
            && (self.recent.len() >= RECENT || side.ended.since(oldest.ended) > RECENT_FOR)
        {
            self.recent.pop_front();
        }
        let others = || self.recent.iter().enumerate().rev();
        if let Some((_, counted)) = others().find(|(_, other)| side.is_origin_of(other)) {
            return Some(Hop::ToGateway {
                counted: counted.identity.clone(),
            });
        }
        let origin = others()
            .find(|(_, other)| other.is_origin_of(&side))
            .map(|(at, _)| at);
        let origin = origin.and_then(|at| self.recent.remove(at));
        self.recent.push_back(side);
        origin.map(|origin| Hop::OfGateway {
            origin: origin.identity,
        })
    }
}

/// The whole input and the output, where both are known and one is not nothing.
fn tokens(usage: &Usage) -> Option<(u64, u64)> {
    let (input, output) = (usage.input()?, usage.output?);
    (input > 0 && output > 0).then_some((input, output))
}

/// Whether a host name can only mean this host.
fn is_local(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_of_this_host_is_local() {
        for host in ["localhost", "gw.localhost", "127.0.0.1", "127.9.9.9", "::1"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["localhost.example", "10.0.0.1", "api.openai.com", "::2", ""] {
            assert!(!is_local(host), "{host}");
        }
    }
}
