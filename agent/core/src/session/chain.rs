//! Which session a response belongs to, so that the request that continues it joins.

use std::collections::{BTreeMap, VecDeque};

use super::SessionKey;
use crate::llm::Provider;

/// LIMIT: responses that are remembered; beyond, the oldest is forgotten, and a request that
/// continues it starts a session of its process. Some 6 MiB when full.
const RESPONSES: usize = 16_384;

type Response = (Provider, String);

/// The sessions of the latest responses.
#[derive(Debug, Default)]
pub(super) struct Chain {
    sessions: BTreeMap<Response, SessionKey>,
    /// The same responses, oldest first.
    order: VecDeque<Response>,
}

impl Chain {
    /// Notes the session of a response. The first that names it keeps it.
    pub(super) fn learn(&mut self, provider: Provider, response: &str, session: &SessionKey) {
        let response = (provider, response.to_owned());
        if self.sessions.contains_key(&response) {
            return;
        }
        if self.order.len() >= RESPONSES
            && let Some(oldest) = self.order.pop_front()
        {
            self.sessions.remove(&oldest);
        }
        self.order.push_back(response.clone());
        self.sessions.insert(response, session.clone());
    }

    /// The session of a response, if it is remembered.
    pub(super) fn session(&self, provider: Provider, response: &str) -> Option<SessionKey> {
        self.sessions.get(&(provider, response.to_owned())).cloned()
    }
}
