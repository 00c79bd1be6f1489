//! OpenAI's embeddings, <https://platform.openai.com/docs/api-reference/embeddings>, which most
//! others speak as well. The usage stands behind the vectors, which may be megabytes.

use super::{Api, Form, Reply, Target, Terminal};
use crate::llm::Endpoint;
use crate::llm::json::{Key, Value};
use crate::llm::usage::Counts;

pub(super) const API: Api = Api {
    endpoint: Endpoint::OpenAiEmbeddings,
    // Ollama's own has another format.
    target: |path| Target::ends_with(path, "/embeddings").filter(|_| path != "/api/embeddings"),
    prompt: &[Key::Input],
    envelope: None,
    ends_with_usage: false,
    value,
    settle,
    usage: Counts::embeddings,
    create: None,
};

fn value(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::Id] => reply.id.first(value),
        [Key::Model] => reply.model.first(value),
        [Key::Usage, inner @ ..] => reply.usage(inner, value),
        [Key::Error] => reply.part.has_error |= matches!(value, Value::Object | Value::Begin),
        _ => {}
    }
}

/// Ends a reply that is one body, and has nothing but usage.
pub(super) fn settle(reply: &mut Reply, _: Form) -> Option<Terminal> {
    reply.replace_counts();
    Some(if reply.part.has_error {
        Terminal::Error
    } else {
        Terminal::Complete
    })
}
