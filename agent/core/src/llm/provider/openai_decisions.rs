//! OpenAI's decisions: questions about an input that are answered by a choice, a score or a
//! probability. Usage is as in responses; there is no stream, and no id.

use super::{Api, Reply, Target, openai_embeddings};
use crate::llm::Endpoint;
use crate::llm::json::{Key, Value};
use crate::llm::usage::Counts;

pub(super) const API: Api = Api {
    endpoint: Endpoint::OpenAiDecisions,
    target: |path| Target::ends_with(path, "/decisions"),
    prompt: &[Key::Input, Key::Questions],
    envelope: None,
    ends_with_usage: false,
    value,
    settle: openai_embeddings::settle,
    usage: Counts::openai,
    create: None,
};

fn value(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::Model] => reply.model.first(value),
        [Key::ServiceTier] => reply.tier.last(value),
        [Key::Usage, inner @ ..] => reply.usage(inner, value),
        [Key::Error] => reply.part.has_error |= matches!(value, Value::Object | Value::Begin),
        _ => {}
    }
}
