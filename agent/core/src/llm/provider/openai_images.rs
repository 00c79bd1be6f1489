//! OpenAI's images, <https://platform.openai.com/docs/api-reference/images>, and, for the events of a
//! stream, <https://platform.openai.com/docs/api-reference/images-streaming>. Only the models that
//! read and write tokens report usage; of the others the pictures are counted. A request that sends
//! pictures is a form.

use super::{Api, Form, Reply, Target, Terminal};
use crate::llm::json::{Key, Value};
use crate::llm::usage::Counts;
use crate::llm::{Endpoint, SubKind};

pub(super) const API: Api = Api {
    endpoint: Endpoint::OpenAiImages,
    target: |path| {
        ["/images/generations", "/images/edits", "/images/variations"]
            .iter()
            .find_map(|suffix| Target::ends_with(path, suffix))
    },
    prompt: &[Key::Prompt],
    envelope: None,
    ends_with_usage: false,
    value,
    settle,
    usage: Counts::images,
    create: None,
};

fn value(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::Type] => reply.part.kind.last(value),
        [Key::Model] => reply.model.first(value),
        [Key::Usage, inner @ ..] => reply.usage(inner, value),
        [Key::SvgUsage, inner @ ..] => {
            reply.usage_beside(inner, value);
            if inner.is_empty() && matches!(value, Value::Close) {
                reply.end_beside(SubKind::Image, Counts::openai);
            }
        }
        [Key::Data, Key::Item] => {
            reply.part.things += u64::from(matches!(value, Value::Object));
        }
        [Key::Error] => reply.part.has_error |= matches!(value, Value::Object | Value::Begin),
        _ => {}
    }
}

fn settle(reply: &mut Reply, form: Form) -> Option<Terminal> {
    let kind = reply.part.kind.as_str();
    let is_last = form == Form::Body || kind.ends_with(".completed");
    let is_error = reply.part.has_error || kind == "error";
    let pictures = reply.part.things.max(u64::from(form == Form::Event));
    if is_last && !is_error && reply.part.counts.is_empty() {
        reply.part.counts.set_units(pictures);
    }
    reply.replace_counts();
    if is_error {
        Some(Terminal::Error)
    } else {
        is_last.then_some(Terminal::Complete)
    }
}
