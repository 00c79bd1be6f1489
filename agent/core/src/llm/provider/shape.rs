//! A call whose head could not be read: which of the APIs it is, its reply tells.
//!
//! A request says little: two of the APIs ask with the same members. Their replies differ from the
//! first event on. What is common to all of them is read until then.

use super::{
    Api, Form, Reply, Terminal, anthropic, cohere, gemini, interactions, openai_chat,
    openai_embeddings, openai_responses,
};
use crate::llm::Endpoint;
use crate::llm::json::{Key, Value};
use crate::llm::usage::Counts;

/// Stands for the API until the reply tells it.
pub(in crate::llm) const API: Api = Api {
    // Never seen: without a reply that tells, there is no call.
    endpoint: Endpoint::OpenAiResponses,
    target: |_| None,
    prompt: &[
        Key::Contents,
        Key::Functions,
        Key::Input,
        Key::Instructions,
        Key::Messages,
        Key::System,
        Key::SystemInstruction,
        Key::Tools,
    ],
    envelope: gemini::API.envelope,
    ends_with_usage: false,
    value,
    settle,
    usage: Counts::openai,
    create: None,
};

fn value(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    if reply.api.is_none() {
        let kind = reply.part.kind.as_str();
        reply.api = match (path, value) {
            ([Key::Choices], Value::Array) => Some(&openai_chat::API),
            ([Key::Content], Value::Array) if kind == "message" => Some(&anthropic::API),
            ([Key::Message | Key::ContentBlock], Value::Object) if is_anthropic(kind) => {
                Some(&anthropic::API)
            }
            ([Key::Data, Key::Item, Key::Embedding], Value::Array | Value::Begin) => {
                Some(&openai_embeddings::API)
            }
            ([Key::Delta], Value::Object) if is_cohere(kind) => Some(&cohere::CHAT),
            ([Key::Interaction], Value::Object) => Some(&interactions::API),
            ([Key::Output], Value::Array) => Some(&openai_responses::API),
            ([Key::Response], Value::Object) if kind.starts_with("response.") => {
                Some(&openai_responses::API)
            }
            ([.., Key::Candidates], Value::Array) if path.len() < 4 => Some(&gemini::API),
            _ => None,
        };
    }
    let api = reply.api.unwrap_or(match path {
        // Only Gemini streams an array.
        [Key::Item, ..] => &gemini::API,
        // Ids, models and usage that come before stand in the same places.
        _ => &openai_responses::API,
    });
    (api.value)(reply, path, value);
}

fn settle(reply: &mut Reply, form: Form) -> Option<Terminal> {
    if reply.api.is_none() && is_anthropic(reply.part.kind.as_str()) {
        reply.api = Some(&anthropic::API);
    }
    (reply.api?.settle)(reply, form)
}

/// Whether events of this kind are Anthropic's.
fn is_anthropic(kind: &str) -> bool {
    kind.starts_with("message_") || kind.starts_with("content_block_")
}

/// Whether events of this kind are Cohere's.
fn is_cohere(kind: &str) -> bool {
    matches!(
        kind,
        "message-start" | "tool-plan-delta" | "tool-call-start" | "content-delta" | "message-end"
    )
}
