//! OpenAI responses: <https://platform.openai.com/docs/api-reference/responses> and, for its
//! events, <https://platform.openai.com/docs/api-reference/responses-streaming>. Over a WebSocket
//! (<https://platform.openai.com/docs/guides/websocket-mode>) each event is a message.

use super::{Api, Form, Reply, Target, Terminal};
use crate::llm::Endpoint;
use crate::llm::json::{Key, Value};
use crate::llm::usage::Counts;

pub(super) const API: Api = Api {
    endpoint: Endpoint::OpenAiResponses,
    target: |path| Target::ends_with(path, "/responses"),
    prompt: &[Key::Input, Key::Instructions, Key::Tools],
    envelope: None,
    ends_with_usage: false,
    value,
    settle,
    usage: Counts::openai,
    create: Some("response.create"),
};

fn value(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::Type] => reply.part.kind.last(value),
        [Key::Response, Key::Id] | [Key::Id] => reply.id.first(value),
        [Key::Response, Key::Model] | [Key::Model] => reply.model.first(value),
        [Key::Response, Key::Status] | [Key::Status] => reply.part.status.last(value),
        [Key::Response, Key::IncompleteDetails, Key::Reason]
        | [Key::IncompleteDetails, Key::Reason] => {
            reply.stop.last(value);
        }
        [Key::Response, Key::Usage, inner @ ..] | [Key::Usage, inner @ ..] => {
            reply.usage(inner, value);
        }
        // The deltas of audio are base64, and so no text.
        [Key::Delta] if reply.part.kind.as_str().contains("audio") => {}
        // Items of a stream's snapshots stand under `response` or `item`: they repeat the deltas.
        [Key::Delta]
        | [
            Key::Output,
            Key::Item,
            Key::Arguments | Key::Name | Key::Input,
        ]
        | [
            Key::Output,
            Key::Item,
            Key::Content | Key::Summary,
            Key::Item,
            Key::Text | Key::Refusal,
        ] => {
            reply.text(value);
        }
        _ => {}
    }
}

fn settle(reply: &mut Reply, form: Form) -> Option<Terminal> {
    reply.replace_counts();
    let terminal = match (form, reply.part.kind.as_str(), reply.part.status.as_str()) {
        (Form::Event, "response.completed" | "response.incomplete", _) => Terminal::Complete,
        (Form::Event, "response.failed" | "error", _) | (Form::Body, _, "failed") => {
            Terminal::Error
        }
        (Form::Event, _, _) => return None,
        (Form::Body, _, "queued" | "in_progress") => Terminal::Pending,
        (Form::Body, _, _) => Terminal::Complete,
    };
    if reply.stop.as_str().is_empty() {
        let status = std::mem::take(&mut reply.part.status);
        reply.stop.set(status.as_str());
    }
    Some(terminal)
}
