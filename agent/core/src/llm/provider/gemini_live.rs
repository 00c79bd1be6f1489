//! Gemini Live over WebSocket, <https://ai.google.dev/api/live>, and the same of Vertex AI: each turn of
//! the model is a call. The client's first message names the model; the server's messages have no
//! ids, and what a turn used so far may stand in any of them, so the last one holds. It may come
//! behind the end of the turn, which is waited for.

use super::{Api, Form, Reply, Target, Terminal, gemini};
use crate::llm::Endpoint;
use crate::llm::json::{Key, Value};
use crate::llm::usage::Counts;

pub(super) const API: Api = Api {
    endpoint: Endpoint::GeminiLive,
    // With a token of short life its name is longer.
    target: |path| {
        let (_, method) = path.rsplit_once(['.', '/'])?;
        let is_live = method.strip_prefix("BidiGenerateContent")?;
        matches!(is_live, "" | "Constrained").then(Target::default)
    },
    prompt: &[],
    envelope: None,
    ends_with_usage: false,
    value,
    settle,
    usage: Counts::gemini,
    create: None,
};

fn value(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::UsageMetadata, inner @ ..] => gemini::usage(reply, inner, value),
        [Key::ServerContent, Key::TurnComplete] if matches!(value, Value::Bool(true)) => {
            if reply.stop.as_str().is_empty() {
                reply.stop.set("turnComplete");
            }
            reply.part.has_end = true;
        }
        [Key::ServerContent, Key::Interrupted] if matches!(value, Value::Bool(true)) => {
            reply.stop.set("interrupted");
        }
        [
            Key::ServerContent,
            Key::ModelTurn,
            Key::Parts,
            Key::Item,
            Key::Text,
        ]
        | [Key::ServerContent, Key::OutputTranscription, Key::Text]
        | [Key::LiveToolCall, Key::FunctionCalls, Key::Item, Key::Name] => reply.text(value),
        // A name has the path of what it names: that of the member itself is no argument.
        [
            Key::LiveToolCall,
            Key::FunctionCalls,
            Key::Item,
            Key::Args,
            _,
            ..,
        ] => reply.argument(value),
        _ => {}
    }
}

fn settle(reply: &mut Reply, _: Form) -> Option<Terminal> {
    reply.replace_counts();
    reply.has_ended |= reply.part.has_end;
    (reply.has_ended && !reply.counts.is_empty()).then_some(Terminal::Complete)
}
