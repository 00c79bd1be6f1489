//! Anthropic Messages: <https://docs.anthropic.com/en/api/messages> and, for the order and merging
//! of events, <https://docs.anthropic.com/en/api/messages-streaming>.

use super::{Api, Form, Reply, Target, Terminal};
use crate::llm::Endpoint;
use crate::llm::json::{Key, Value};
use crate::llm::usage::Counts;

pub(super) const API: Api = Api {
    endpoint: Endpoint::AnthropicMessages,
    target: |path| Target::ends_with(path, "/v1/messages"),
    prompt: &[Key::Messages, Key::System, Key::Tools],
    envelope: None,
    ends_with_usage: false,
    value,
    settle,
    usage: Counts::anthropic,
    create: None,
};

fn value(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::Type] => reply.part.kind.last(value),
        [Key::Message, Key::Id] | [Key::Id] => reply.id.first(value),
        [Key::Message, Key::Model] | [Key::Model] => reply.model.first(value),
        [Key::Delta, Key::StopReason] | [Key::StopReason] => reply.stop.last(value),
        [Key::Message, Key::Usage, inner @ ..] | [Key::Usage, inner @ ..] => {
            reply.usage(inner, value);
        }
        [Key::Delta, Key::Text | Key::Thinking | Key::PartialJson]
        | [Key::ContentBlock, Key::Name | Key::Text | Key::Thinking]
        | [
            Key::Content,
            Key::Item,
            Key::Text | Key::Thinking | Key::Name,
        ] => reply.text(value),
        // Reasoning is signed, or sealed: what is shown of it may be a summary, or nothing.
        [Key::Delta | Key::ContentBlock, Key::Signature]
        | [Key::ContentBlock, Key::Data]
        | [Key::Content, Key::Item, Key::Signature | Key::Data] => {
            reply.has_hidden_reasoning |= matches!(value, Value::Piece(_));
        }
        // A name has the path of what it names: that of the member itself is no argument.
        [Key::Content, Key::Item, Key::Input, _, ..] => reply.argument(value),
        _ => {}
    }
}

fn settle(reply: &mut Reply, form: Form) -> Option<Terminal> {
    let mut counts = reply.part.counts;
    match (reply.part.kind.as_str(), form) {
        ("error", _) => return Some(Terminal::Error),
        (_, Form::Body) => {
            reply.counts = counts;
            reply.further = reply.part.further;
            reply.is_final = true;
            return Some(Terminal::Complete);
        }
        ("message_start", Form::Event) => {
            // Its output is a placeholder of one or a few tokens.
            counts.output = None;
            reply.counts = counts;
        }
        ("message_delta", Form::Event) if !counts.is_empty() => {
            // Cumulative: what is there overwrites, what is missing must not erase.
            reply.counts.overwrite(&counts);
            reply.further = reply.part.further;
            reply.is_final = true;
        }
        ("message_stop", Form::Event) => return Some(Terminal::Complete),
        _ => {}
    }
    None
}
