//! Cohere's chat, embeddings and reranking, <https://docs.cohere.com/v2/reference/chat>. Usage names
//! tokens twice: those that were read and written, and those that are billed, which leave some out.
//! The first hold; where there are none (embeddings), the second do. Reranking is billed by searches.
//!
//! The paths are short, and others have them too, so a reply has to look like Cohere's. Replies name
//! no model.

use super::{Api, Form, Reply, Target, Terminal, without_fraction};
use crate::llm::Endpoint;
use crate::llm::json::{Key, Value};
use crate::llm::usage::Counts;

pub(super) const CHAT: Api = Api {
    endpoint: Endpoint::CohereChat,
    target: |path| one_of(path, &["/v2/chat", "/v1/chat"]),
    prompt: &[
        Key::ChatHistory,
        Key::Documents,
        Key::Message,
        Key::Messages,
        Key::Preamble,
        Key::ToolResults,
        Key::Tools,
    ],
    envelope: None,
    ends_with_usage: false,
    value: |reply, path, value| read(&CHAT, reply, path, value),
    settle,
    usage: Counts::openai,
    create: None,
};

pub(super) const EMBED: Api = Api {
    endpoint: Endpoint::CohereEmbed,
    target: |path| one_of(path, &["/v2/embed", "/v1/embed"]),
    prompt: &[Key::Inputs, Key::Texts],
    value: |reply, path, value| read(&EMBED, reply, path, value),
    usage: Counts::embeddings,
    ..CHAT
};

pub(super) const RERANK: Api = Api {
    endpoint: Endpoint::CohereRerank,
    target: |path| one_of(path, &["/v2/rerank", "/v1/rerank"]),
    prompt: &[Key::Documents, Key::Query],
    value: |reply, path, value| read(&RERANK, reply, path, value),
    usage: Counts::embeddings,
    ..CHAT
};

fn one_of(path: &str, suffixes: &[&str]) -> Option<Target> {
    suffixes
        .iter()
        .find_map(|suffix| Target::ends_with(path, suffix))
}

fn read(api: &'static Api, reply: &mut Reply, path: &[Key], value: Value<'_>) {
    // The last event of the first version holds the whole reply.
    let path = match path {
        [Key::Response, inner @ ..] if reply.part.kind.as_str() == "stream-end" => inner,
        _ => path,
    };
    match path {
        [Key::Type | Key::EventType] => reply.part.kind.last(value),
        [Key::Id | Key::GenerationId] => reply.id.first(value),
        [Key::FinishReason] | [Key::Delta, Key::FinishReason] => {
            reply.api = Some(api);
            reply.stop.last(value);
        }
        [Key::Delta] | [Key::Message, Key::Content]
            if matches!(value, Value::Object | Value::Array) =>
        {
            reply.api = Some(api);
        }
        [Key::Delta, Key::Usage, inner @ ..] | [Key::Usage | Key::Meta, inner @ ..] => {
            usage(api, reply, inner, value);
        }
        [Key::Delta, Key::Message, inner @ ..] | [Key::Message, inner @ ..] if is_output(inner) => {
            reply.text(value);
        }
        // In the first version events are pieces of text.
        [Key::Text] if reply.part.kind.as_str() != "stream-end" => reply.text(value),
        _ => {}
    }
}

fn is_output(inner: &[Key]) -> bool {
    matches!(
        inner,
        [Key::ToolPlan]
            | [Key::Content, Key::Text | Key::Thinking]
            | [Key::Content, Key::Item, Key::Text | Key::Thinking]
            | [Key::ToolCalls, Key::Function, Key::Name | Key::Arguments]
            | [
                Key::ToolCalls,
                Key::Item,
                Key::Function,
                Key::Name | Key::Arguments
            ]
    )
}

fn usage(api: &'static Api, reply: &mut Reply, inner: &[Key], value: Value<'_>) {
    let value = without_fraction(value);
    match inner {
        [
            Key::Tokens,
            counter @ (Key::InputTokens | Key::OutputTokens),
        ] => {
            reply.usage(&[*counter], value);
        }
        [Key::CachedTokens] => reply.usage(&[Key::CachedTokens], value),
        [
            Key::BilledUnits,
            counter @ (Key::InputTokens | Key::OutputTokens),
        ] => {
            reply.usage_beside(&[*counter], value);
        }
        [Key::BilledUnits, Key::SearchUnits | Key::Images] => {
            reply.usage(&[Key::SearchUnits], value);
        }
        // Other rerankers under the same path.
        [counter @ (Key::PromptTokens | Key::TotalTokens)]
            if api.endpoint == Endpoint::CohereRerank =>
        {
            reply.usage_beside(&[*counter], value);
        }
        _ => return,
    }
    reply.api = Some(api);
}

fn settle(reply: &mut Reply, form: Form) -> Option<Terminal> {
    let (_, billed) = &reply.part.beside;
    if reply.part.counts.is_empty() {
        let billed = billed.billed();
        reply.part.counts.overwrite(&billed);
    }
    reply.replace_counts();
    let kind = reply.part.kind.as_str();
    let is_end = form == Form::Body || matches!(kind, "message-end" | "stream-end");
    if !is_end {
        return None;
    }
    let is_error = matches!(reply.stop.as_str(), "ERROR" | "TIMEOUT");
    Some(if is_error {
        Terminal::Error
    } else {
        Terminal::Complete
    })
}
