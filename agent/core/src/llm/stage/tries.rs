//! Which call repeats a failed one. Clients that try again by themselves do not always say so:
//! Claude Code's retries look like first tries.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::Timestamp;
use crate::llm::{Former, LlmCall, Outcome};

/// LIMIT: failed tries that are remembered; beyond, the one that ended first is forgotten, and the
/// next try looks like a first one. Some 1 MiB when full.
const TRIES: usize = 4_096;

/// Time between the end of a failed try and the beginning of the next. Clients wait for half a
/// second to a minute.
const WAIT: Duration = Duration::from_secs(60);

/// Time for which a failed try is remembered: the next one began in time, and may take as long as
/// replies take. A request that takes longer looks like a first try.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// What tries of one request share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Request {
    pid: u32,
    server_name: Option<String>,
    /// Of path and body.
    hash: u64,
}

struct Try {
    former: Former,
    ended: Timestamp,
    attempt: u32,
}

/// The tries that failed a moment ago.
#[derive(Default)]
pub(super) struct Tries {
    failed: BTreeMap<Request, Try>,
}

impl Tries {
    /// A memory without tries.
    pub(super) const fn new() -> Self {
        Self {
            failed: BTreeMap::new(),
        }
    }

    /// Says of a finished call which try it is, as far as that is known, and remembers it if it
    /// failed. Of a request that was not seen whole nothing is known.
    pub(super) fn number(&mut self, call: &mut LlmCall) {
        let Some(hash) = call.signals.request_hash else {
            return;
        };
        let request = Request {
            pid: call.exchange.conn.pid,
            server_name: call.server_name.clone(),
            hash,
        };
        if let Some(tried) = self.failed.remove(&request)
            && tried.ended <= call.started
            && call.started.since(tried.ended) <= WAIT
        {
            // What the client says may be more, where a try between was not seen.
            let said = call.attempt.unwrap_or(1);
            call.attempt = Some(said.max(tried.attempt.saturating_add(1)));
            call.hints.former = Some(tried.former);
        }
        let has_failed = match call.outcome {
            Outcome::Error | Outcome::Aborted | Outcome::Unanswered => true,
            // The client may have got all of it.
            Outcome::Complete | Outcome::Incomplete => false,
        };
        if has_failed {
            self.remember(request, call);
        }
    }

    fn remember(&mut self, request: Request, call: &LlmCall) {
        if self.failed.len() >= TRIES {
            self.failed
                .retain(|_, tried| call.ended.since(tried.ended) <= KEPT_FOR);
        }
        if self.failed.len() >= TRIES {
            let oldest = self.failed.iter().min_by_key(|(_, tried)| tried.ended);
            if let Some(oldest) = oldest.map(|(request, _)| request.clone()) {
                self.failed.remove(&oldest);
            }
        }
        self.failed.insert(
            request,
            Try {
                former: Former {
                    exchange: call.exchange,
                    response_id: call.response_id.clone(),
                },
                ended: call.ended,
                attempt: call.attempt.unwrap_or(1),
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ConnId;
    use crate::http::ExchangeId;
    use crate::llm::{Provider, Signals};

    #[test]
    fn failed_tries_are_bounded() {
        let failed = |number: u64| LlmCall {
            exchange: ExchangeId {
                conn: ConnId {
                    pid: 7,
                    ssl: 1,
                    since: Timestamp::default(),
                },
                number,
            },
            started: Timestamp::from_nanos(number),
            ended: Timestamp::from_nanos(number),
            provider: Provider("openai"),
            http_status: Some(500),
            outcome: Outcome::Error,
            signals: Signals {
                request_hash: Some(number),
                ..Signals::default()
            },
            ..LlmCall::plain()
        };
        let mut tries = Tries::new();
        for number in 0..5_000 {
            tries.number(&mut failed(number));
        }
        assert_eq!(tries.failed.len(), TRIES);
        let later = |request: u64| LlmCall {
            started: Timestamp::from_nanos(5_000),
            ..failed(request)
        };
        let mut newest = later(4_999);
        tries.number(&mut newest);
        assert_eq!(newest.attempt, Some(2));
        let mut oldest = later(0);
        tries.number(&mut oldest);
        assert_eq!(oldest.attempt, None, "it was forgotten");
    }
}
