//! Results of Anthropic's batches, <https://docs.anthropic.com/en/api/retrieving-message-batch-results>:
//! one message a line, whole. A request that failed, was cancelled or expired used nothing and has no
//! id, so that it is no call. The batch itself has no usage.

use super::{Api, Form, Reply, Terminal, anthropic};
use crate::llm::json::{Key, Value};

pub(super) const RESULTS: Api = Api {
    target: |path| {
        let batch = path.strip_suffix("/results")?;
        let (folder, id) = batch.rsplit_once('/')?;
        (folder.ends_with("/messages/batches") && !id.is_empty()).then(Default::default)
    },
    prompt: &[],
    value,
    settle,
    ..anthropic::API
};

fn value(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::CustomId] => reply.part.is_result |= matches!(value, Value::Begin),
        [Key::Result, Key::Type] => reply.part.status.last(value),
        [Key::Result, Key::Message, inner @ ..] => anthropic::value(reply, inner, value),
        _ => {}
    }
}

fn settle(reply: &mut Reply, form: Form) -> Option<Terminal> {
    let is_message = reply.part.is_result && reply.part.status.as_str() == "succeeded";
    if !is_message {
        return None;
    }
    reply.api = Some(&anthropic::API);
    anthropic::settle(reply, form)
}
