//! OpenAI's audio, <https://platform.openai.com/docs/api-reference/audio>: what was said as text, and
//! text as speech. Models that read or write tokens report them, others the seconds of sound or
//! nothing. What comes back may be no JSON: sound, subtitles, plain text.

use super::{Api, Form, Reply, Target, Terminal};
use crate::llm::Endpoint;
use crate::llm::json::{Key, Value};
use crate::llm::usage::Counts;

pub(super) const TRANSCRIPTION: Api = Api {
    endpoint: Endpoint::OpenAiTranscription,
    target: |path| {
        ["/audio/transcriptions", "/audio/translations"]
            .iter()
            .find_map(|suffix| Target::ends_with(path, suffix))
    },
    prompt: &[],
    envelope: None,
    ends_with_usage: false,
    value,
    settle,
    usage: Counts::openai,
    create: None,
};

pub(super) const SPEECH: Api = Api {
    endpoint: Endpoint::OpenAiSpeech,
    target: |path| Target::ends_with(path, "/audio/speech"),
    prompt: &[Key::Input, Key::Instructions],
    ..TRANSCRIPTION
};

fn value(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::Type] => reply.part.kind.last(value),
        [Key::Model] => reply.model.first(value),
        [Key::Usage, inner @ ..] => reply.usage(inner, value),
        // The length of the recording, where it is no usage.
        [Key::Duration] if matches!(value, Value::Number(_)) => {
            reply.usage(&[Key::Seconds], value);
        }
        [Key::Delta] => reply.text(value),
        [Key::Error] => reply.part.has_error |= matches!(value, Value::Object | Value::Begin),
        _ => {}
    }
}

fn settle(reply: &mut Reply, form: Form) -> Option<Terminal> {
    reply.replace_counts();
    let kind = reply.part.kind.as_str();
    if reply.part.has_error || kind == "error" {
        return Some(Terminal::Error);
    }
    let is_last =
        form == Form::Body || matches!(kind, "transcript.text.done" | "speech.audio.done");
    is_last.then_some(Terminal::Complete)
}
