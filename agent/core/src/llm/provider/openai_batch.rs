//! Results of OpenAI's batches, <https://platform.openai.com/docs/api-reference/batch/request-output>:
//! a file with one reply a line, whole and with its status. The batch itself adds the same tokens up
//! once more, and is no call. A file may be anything else: what tells a result is its `custom_id`.

use super::{
    Api, Form, Reply, Terminal, openai_chat, openai_completions, openai_embeddings,
    openai_responses,
};
use crate::llm::json::{Key, Value};

pub(super) const RESULTS: Api = Api {
    target: |path| {
        let file = path.strip_suffix("/content")?;
        let (folder, id) = file.rsplit_once('/')?;
        (folder.ends_with("/files") && !id.is_empty()).then(Default::default)
    },
    prompt: &[],
    value,
    settle,
    ..openai_chat::API
};

fn value(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::CustomId] => reply.part.is_result |= matches!(value, Value::Begin),
        // Stands for the reply's own where that has none.
        [Key::Id] => reply.part.line_id.last(value),
        [Key::Error] => reply.part.has_error |= matches!(value, Value::Object),
        [Key::Response, Key::StatusCode] => {
            if let Value::Number(status) = value {
                reply.part.code = status.parse().ok();
            }
        }
        [Key::Response, Key::Body, inner @ ..] => match inner {
            [Key::Object] => reply.part.kind.last(value),
            [Key::Error] => reply.part.has_error |= matches!(value, Value::Object),
            [Key::Choices, ..] => openai_chat::value(reply, inner, value),
            _ => openai_responses::value(reply, inner, value),
        },
        _ => {}
    }
}

fn settle(reply: &mut Reply, form: Form) -> Option<Terminal> {
    if !reply.part.is_result {
        return None;
    }
    let api = match reply.part.kind.as_str() {
        "list" => &openai_embeddings::API,
        "response" => &openai_responses::API,
        "text_completion" => &openai_completions::API,
        _ => &openai_chat::API,
    };
    reply.api = Some(api);
    if reply.id.as_str().is_empty() {
        let id = reply.part.line_id.some().unwrap_or_default();
        reply.id.set(&id);
    }
    if reply.part.has_error {
        return Some(Terminal::Error);
    }
    // The kinds of events are not those of objects.
    reply.part.kind.set("");
    (api.settle)(reply, form)
}
