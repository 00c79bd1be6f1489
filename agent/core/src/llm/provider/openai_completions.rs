//! OpenAI's legacy completions, <https://platform.openai.com/docs/api-reference/completions>, and what
//! fills in the middle: DeepSeek's `/beta/completions` and Mistral's `/v1/fim/completions`, whose
//! reply is that of a chat. Usage is as in chat.

use super::{Api, Reply, Target, openai_chat};
use crate::llm::Endpoint;
use crate::llm::json::{Key, Value};
use crate::llm::usage::Counts;

pub(super) const API: Api = Api {
    endpoint: Endpoint::OpenAiCompletions,
    target: |path| {
        Target::ends_with(path, "/completions").filter(|_| !path.ends_with("/chat/completions"))
    },
    prompt: &[Key::Prompt, Key::Suffix],
    envelope: None,
    ends_with_usage: true,
    value,
    settle: openai_chat::settle,
    usage: Counts::openai,
    create: None,
};

fn value(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    if path == [Key::Choices, Key::Item, Key::Text] {
        reply.text(value);
    } else {
        openai_chat::value(reply, path, value);
    }
}
