//! Mistral's conversations, <https://docs.mistral.ai/api/endpoint/beta/conversations>, with agents and
//! connectors that Mistral runs. Its chat, agents and completions are read as OpenAI's.
//!
//! OpenAI keeps conversations under the same path, so a reply has to look like Mistral's.

use super::{Api, Form, Reply, Target, Terminal};
use crate::llm::Endpoint;
use crate::llm::json::{Key, Value};
use crate::llm::usage::Counts;

pub(super) const CONVERSATIONS: Api = Api {
    endpoint: Endpoint::MistralConversations,
    target,
    prompt: &[Key::Inputs, Key::Instructions, Key::Tools],
    envelope: None,
    ends_with_usage: false,
    value,
    settle,
    // What connectors read is beside the prompt, as the tools of Gemini's are.
    usage: Counts::gemini,
    create: None,
};

/// `/v1/conversations`, one of them, or one that begins again from an entry.
fn target(path: &str) -> Option<Target> {
    let path = path.strip_suffix("/restart").unwrap_or(path);
    let (above, last) = path.rsplit_once('/')?;
    let is_one = last == "conversations" || above.ends_with("/conversations");
    (is_one && !last.is_empty()).then(Target::default)
}

fn value(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::Type] => reply.part.kind.last(value),
        [Key::Model] | [Key::Outputs, Key::Item, Key::Model] => reply.model.first(value),
        [Key::Usage, Key::ConnectorTokens] => {
            reply.usage(&[Key::ToolUsePromptTokenCount], value);
        }
        [Key::Usage, Key::Connectors, Key::WebSearch] => reply.usage(&[Key::NumRequests], value),
        [Key::Usage, inner @ ..] => {
            if matches!(inner, [Key::PromptTokens]) {
                reply.api = Some(&CONVERSATIONS);
            }
            reply.usage(inner, value);
        }
        [Key::Content | Key::Name | Key::Arguments]
        | [Key::Content, Key::Text]
        | [
            Key::Outputs,
            Key::Item,
            Key::Content | Key::Name | Key::Arguments,
        ]
        | [Key::Outputs, Key::Item, Key::Content, Key::Item, Key::Text] => reply.text(value),
        _ => {}
    }
}

fn settle(reply: &mut Reply, form: Form) -> Option<Terminal> {
    reply.replace_counts();
    match (form, reply.part.kind.as_str()) {
        (Form::Body, _) | (Form::Event, "conversation.response.done") => Some(Terminal::Complete),
        (Form::Event, "conversation.response.error") => Some(Terminal::Error),
        (Form::Event, kind) => {
            if kind == "conversation.response.started" {
                reply.api = Some(&CONVERSATIONS);
            }
            None
        }
    }
}
