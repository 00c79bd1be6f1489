//! OpenAI chat completions, <https://platform.openai.com/docs/api-reference/chat>, and the many
//! providers that speak it. Where they differ: Groq writes its usage twice, in `x_groq` and beside
//! it; Mistral writes it beside choices; several write it cumulatively on more than one chunk. So
//! the last usage that is an object with counters wins, wherever it stands, and nothing is added:
//! of several choices (`n`) it counts all, and the prompt once.

use super::{Api, Form, Reply, Target, Terminal};
use crate::llm::Endpoint;
use crate::llm::json::{Key, Value};
use crate::llm::usage::Counts;

pub(super) const API: Api = Api {
    endpoint: Endpoint::OpenAiChat,
    // Mistral's agents stand in for a model.
    target: |path| {
        ["/chat/completions", "/agents/completions"]
            .iter()
            .find_map(|suffix| Target::ends_with(path, suffix))
    },
    prompt: &[Key::Messages, Key::Tools, Key::Functions],
    envelope: None,
    ends_with_usage: true,
    value,
    settle,
    usage: Counts::openai,
    create: None,
};

pub(super) fn value(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::Id] => reply.id.first(value),
        [Key::Model] => reply.model.first(value),
        [Key::ServiceTier] => reply.tier.last(value),
        [Key::Usage, inner @ ..] | [Key::XGroq, Key::Usage, inner @ ..] => {
            reply.usage(inner, value);
        }
        [Key::Choices, Key::Item, Key::FinishReason] => reply.stop.first(value),
        [
            Key::Choices,
            Key::Item,
            Key::Delta | Key::Message,
            inner @ ..,
        ] if is_output(inner) => {
            reply.text(value);
        }
        [Key::Error] => reply.part.has_error |= matches!(value, Value::Object | Value::Begin),
        _ => {}
    }
}

fn is_output(inner: &[Key]) -> bool {
    matches!(
        inner,
        [Key::Content | Key::ReasoningContent | Key::Reasoning | Key::Refusal]
            | [Key::Content, Key::Item, Key::Text]
            | [Key::FunctionCall, Key::Name | Key::Arguments]
            | [
                Key::ToolCalls,
                Key::Item,
                Key::Function,
                Key::Name | Key::Arguments
            ]
    )
}

pub(super) fn settle(reply: &mut Reply, form: Form) -> Option<Terminal> {
    reply.replace_counts();
    match form {
        _ if reply.part.has_error => Some(Terminal::Error),
        Form::Body => Some(Terminal::Complete),
        // A stream ends with the line `[DONE]`, which is no JSON and is seen by the caller.
        Form::Event => None,
    }
}
