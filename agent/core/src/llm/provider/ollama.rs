//! Ollama's own API, <https://docs.ollama.com/api>: a stream is one JSON object a line, and it is the
//! default. The last line has the counters. Its prompt counter may be missing, or leave out what was
//! in Ollama's own cache: nothing tells, so it is taken as it is.
//!
//! Many web servers have an `/api/chat` of their own, so a reply has to look like Ollama's.

use super::{Api, Form, Reply, Target, Terminal};
use crate::llm::Endpoint;
use crate::llm::json::{Key, Value};
use crate::llm::usage::Counts;

pub(super) const CHAT: Api = Api {
    endpoint: Endpoint::OllamaChat,
    target: |path| streamed(path, "/api/chat"),
    prompt: &[Key::Messages, Key::Tools],
    envelope: None,
    ends_with_usage: false,
    value: |reply, path, value| read(&CHAT, reply, path, value),
    settle,
    usage: Counts::openai,
    create: None,
};

pub(super) const GENERATE: Api = Api {
    endpoint: Endpoint::OllamaGenerate,
    target: |path| streamed(path, "/api/generate"),
    prompt: &[Key::Images, Key::Prompt, Key::Suffix, Key::System],
    value: |reply, path, value| read(&GENERATE, reply, path, value),
    ..CHAT
};

pub(super) const EMBED: Api = Api {
    endpoint: Endpoint::OllamaEmbed,
    target: |path| {
        let target = ["/api/embed", "/api/embeddings"]
            .iter()
            .find_map(|suffix| Target::ends_with(path, suffix))?;
        Some(Target {
            stream: Some(false),
            ..target
        })
    },
    prompt: &[Key::Input, Key::Prompt],
    value: |reply, path, value| read(&EMBED, reply, path, value),
    usage: Counts::embeddings,
    ..CHAT
};

fn streamed(path: &str, suffix: &str) -> Option<Target> {
    let target = Target::ends_with(path, suffix)?;
    Some(Target {
        stream: Some(true),
        ..target
    })
}

fn read(api: &'static Api, reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::Model] => reply.model.first(value),
        [Key::Done] => {
            if let Value::Bool(is_done) = value {
                reply.api = Some(api);
                reply.part.has_end = is_done;
            }
        }
        // Vectors come at once, and say no more that this is all.
        [Key::Embedding | Key::Embeddings] if matches!(value, Value::Array) => {
            reply.api = Some(api);
            reply.part.has_end = true;
        }
        [Key::DoneReason] => reply.stop.last(value),
        [Key::PromptEvalCount] => reply.usage(&[Key::PromptTokens], value),
        [Key::EvalCount] => reply.usage(&[Key::CompletionTokens], value),
        [Key::Message, Key::Content | Key::Thinking]
        | [Key::Response | Key::Thinking]
        | [
            Key::Message,
            Key::ToolCalls,
            Key::Item,
            Key::Function,
            Key::Name,
        ] => reply.text(value),
        // A name has the path of what it names: that of the member itself is no argument.
        [
            Key::Message,
            Key::ToolCalls,
            Key::Item,
            Key::Function,
            Key::Arguments,
            _,
            ..,
        ] => reply.argument(value),
        [Key::Error] => reply.part.has_error |= matches!(value, Value::Object | Value::Begin),
        _ => {}
    }
}

fn settle(reply: &mut Reply, form: Form) -> Option<Terminal> {
    reply.replace_counts();
    if reply.part.has_error {
        Some(Terminal::Error)
    } else {
        (form == Form::Body || reply.part.has_end).then_some(Terminal::Complete)
    }
}
