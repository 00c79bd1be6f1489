//! Responses that go on in the background: the request ends before they do, and what they used shows
//! where they are read again, many times over.

use std::collections::VecDeque;

use crate::llm::{LlmCall, Signals};

/// LIMIT: 1,024 responses that go on at once, of at most 4 KiB each; of more, the oldest is
/// forgotten, which costs it its usage.
const MOST: usize = 1_024;

/// What is known of the responses that go on, by their id.
#[derive(Default)]
pub(super) struct Background {
    /// The call that asked for it, if that was seen.
    responses: VecDeque<(String, Option<Box<LlmCall>>)>,
}

impl Background {
    pub(super) const fn new() -> Self {
        Self {
            responses: VecDeque::new(),
        }
    }

    /// Remembers a response that goes on; says if another one was forgotten for it.
    pub(super) fn remember(&mut self, id: &str, asked: Option<&LlmCall>) -> bool {
        if self.responses.iter().any(|(known, _)| known == id) {
            return false;
        }
        let is_full = self.responses.len() >= MOST;
        if is_full {
            self.responses.pop_front();
        }
        let asked = asked.map(|call| {
            Box::new(LlmCall {
                countable: None,
                sub_inferences: Vec::new(),
                ..call.clone()
            })
        });
        self.responses.push_back((id.to_owned(), asked));
        is_full
    }

    /// The call that a response is the end of: as it was asked for, with what it came to. `None`
    /// for one that was not seen to go on: it has been counted, or belongs to a time before.
    pub(super) fn end(&mut self, read: LlmCall) -> Option<LlmCall> {
        let id = read.response_id.as_deref()?;
        let place = self.responses.iter().position(|(known, _)| known == id)?;
        let (_, asked) = self.responses.remove(place)?;
        let Some(asked) = asked else {
            return Some(read);
        };
        Some(LlmCall {
            started: asked.started,
            first_token: asked.first_token.or(read.first_token),
            model_requested: asked.model_requested.or(read.model_requested),
            is_stream: asked.is_stream,
            hints: asked.hints,
            signals: Signals {
                tool_calls: read.signals.tool_calls,
                tool_signature: read.signals.tool_signature,
                compacts: read.signals.compacts,
                ..asked.signals
            },
            observed_bytes: asked.observed_bytes.saturating_add(read.observed_bytes),
            ..read
        })
    }
}
