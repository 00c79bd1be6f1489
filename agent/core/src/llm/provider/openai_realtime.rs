//! OpenAI realtime over WebSocket, <https://platform.openai.com/docs/guides/realtime>: each
//! `response.done` is a call. Its model is that of the session, which the server announces or the
//! upgrade names. The transcription of what a user says is a call of its own, by another model.

use super::{Api, Form, Reply, Target, Terminal};
use crate::llm::Endpoint;
use crate::llm::json::{Key, Value};
use crate::llm::usage::Counts;

/// The event that ends a transcription.
pub(in crate::llm) const TRANSCRIBED: &str =
    "conversation.item.input_audio_transcription.completed";

pub(super) const API: Api = Api {
    endpoint: Endpoint::OpenAiRealtime,
    target: |path| Target::ends_with(path, "/realtime"),
    prompt: &[],
    envelope: None,
    ends_with_usage: false,
    value,
    settle,
    usage: Counts::openai,
    create: None,
};

fn value(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::Type] => reply.part.kind.last(value),
        [Key::Response, Key::Id] => reply.id.first(value),
        [Key::ItemId] if reply.part.kind.as_str() == TRANSCRIBED => reply.id.first(value),
        [Key::Response, Key::Status] => reply.part.status.last(value),
        [Key::Response, Key::StatusDetails, Key::Reason] => reply.stop.last(value),
        [Key::Response, Key::Usage, inner @ ..] | [Key::Usage, inner @ ..] => {
            reply.usage(inner, value);
        }
        // The deltas of audio are base64, and so no text; its transcript is.
        [Key::Delta] => {
            let kind = reply.part.kind.as_str();
            if !kind.contains("audio") || kind.contains("transcript") {
                reply.text(value);
            }
        }
        _ => {}
    }
}

fn settle(reply: &mut Reply, _: Form) -> Option<Terminal> {
    reply.replace_counts();
    match reply.part.kind.as_str() {
        "response.done" => {
            let status = std::mem::take(&mut reply.part.status);
            if reply.stop.as_str().is_empty() {
                reply.stop.set(status.as_str());
            }
            Some(if status.as_str() == "failed" {
                Terminal::Error
            } else {
                Terminal::Complete
            })
        }
        TRANSCRIBED => Some(Terminal::Complete),
        _ => None,
    }
}
