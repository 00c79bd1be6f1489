//! OpenAI responses: <https://platform.openai.com/docs/api-reference/responses> and, for its
//! events, <https://platform.openai.com/docs/api-reference/responses-streaming>. Over a WebSocket
//! (<https://platform.openai.com/docs/guides/websocket-mode>) each event is a message.

use super::{Api, Form, Reply, Target, Terminal};
use crate::llm::json::{Key, Value};
use crate::llm::quota::TOLD;
use crate::llm::usage::Counts;
use crate::llm::{Endpoint, SubKind};

pub(super) const API: Api = Api {
    endpoint: Endpoint::OpenAiResponses,
    target: |path| Target::ends_with(path, "/responses"),
    prompt: &[Key::Input, Key::Instructions, Key::Tools],
    envelope: None,
    ends_with_usage: false,
    value,
    settle,
    usage: Counts::openai,
    create: Some("response.create"),
};

/// A pass that makes a long context short, asked for by itself.
pub(super) const COMPACT: Api = Api {
    endpoint: Endpoint::OpenAiCompact,
    target: |path| Target::ends_with(path, "/responses/compact"),
    create: None,
    ..API
};

/// A response that is read again, by a GET: whole, or from some event on.
pub(super) const RETRIEVED: Api = Api {
    target: retrieved,
    prompt: &[],
    create: None,
    ..API
};

fn retrieved(path: &str) -> Option<Target> {
    let (folder, id) = path.rsplit_once('/')?;
    let is_id = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (folder.ends_with("/responses") && id.len() >= 8 && id.bytes().all(is_id)).then(Target::default)
}

pub(super) fn value(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    // Its members have names of a response's, and are none.
    if reply.part.kind.as_str() == TOLD {
        let told = reply.part.told.get_or_insert_default();
        return told.value(path, value);
    }
    match path {
        [Key::Type] => reply.part.kind.last(value),
        [Key::Response, Key::Id] | [Key::Id] => reply.id.first(value),
        [Key::Response, Key::Model] | [Key::Model] => reply.model.first(value),
        [Key::Response, Key::Status] | [Key::Status] => reply.part.status.last(value),
        [Key::Response, Key::IncompleteDetails, Key::Reason]
        | [Key::IncompleteDetails, Key::Reason] => {
            reply.stop.last(value);
        }
        [Key::Response, Key::ServiceTier] | [Key::ServiceTier] => reply.tier.last(value),
        [Key::Response, Key::Usage, inner @ ..] | [Key::Usage, inner @ ..] => {
            reply.usage(inner, value);
        }
        [Key::Response, Key::ToolUsage, inner @ ..] | [Key::ToolUsage, inner @ ..] => {
            tool_usage(reply, inner, value);
        }
        [Key::Response, Key::Tools, Key::Item, inner @ ..]
        | [Key::Tools, Key::Item, inner @ ..] => tool(reply, inner, value),
        [Key::Response, Key::Output, Key::Item, inner @ ..] => item(reply, inner, value),
        // The deltas of audio are base64, and so no text.
        [Key::Delta] if reply.part.kind.as_str().contains("audio") => {}
        // Items of a stream's snapshots stand under `response` or `item`: they repeat the deltas.
        [Key::Delta]
        | [
            Key::Output,
            Key::Item,
            Key::Arguments | Key::Name | Key::Input,
        ]
        | [
            Key::Output,
            Key::Item,
            Key::Content | Key::Summary,
            Key::Item,
            Key::Text | Key::Refusal,
        ] => {
            reply.text(value);
        }
        _ => {}
    }
    if let [Key::Output, Key::Item, inner @ ..] = path {
        item(reply, inner, value);
    }
}

/// Takes what the provider's own tools used: pictures are made by another model, whose tokens are
/// in none of the counters.
fn tool_usage(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    match path {
        [Key::ImageGen, inner @ ..] => {
            reply.usage_beside(inner, value);
            if inner.is_empty() && matches!(value, Value::Close) {
                reply.end_beside(SubKind::Image, Counts::openai);
            }
        }
        [Key::WebSearch, Key::NumRequests] => reply.usage(&[Key::NumRequests], value),
        _ => {}
    }
}

/// Takes a tool that was offered: the one that makes pictures names its model.
fn tool(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    let (kind, model) = &mut reply.part.item;
    match (path, value) {
        ([], Value::Object) => reply.part.item = Default::default(),
        ([Key::Type], _) => kind.last(value),
        ([Key::Model], _) => model.last(value),
        ([], Value::Close) if kind.as_str() == "image_generation" => {
            reply.part.image_model = std::mem::take(model);
        }
        _ => {}
    }
}

/// Takes an item of the output as far as it is billed apart.
fn item(reply: &mut Reply, path: &[Key], value: Value<'_>) {
    let (kind, action) = &mut reply.part.item;
    match (path, value) {
        ([], Value::Object) => reply.part.item = Default::default(),
        ([Key::Type], _) => kind.last(value),
        ([Key::Action, Key::Type], _) => action.last(value),
        ([], Value::Close) if kind.as_str() == "web_search_call" => {
            // To open a page that was found is none.
            let is_search = matches!(action.as_str(), "" | "search");
            reply.part.things += u64::from(is_search);
        }
        ([Key::SvgUsage, inner @ ..], _) => {
            reply.usage_beside(inner, value);
            if inner.is_empty() && matches!(value, Value::Close) {
                reply.end_beside(SubKind::Image, Counts::openai);
            }
        }
        _ => {}
    }
}

/// Names the model of the pictures. Where the reply does not name it the name of the tool stands
/// for it: the tokens are none of the model that was called.
fn name_painter(reply: &mut Reply) {
    const TOOL: &str = "image_generation";
    let model = reply.part.image_model.some();
    for sub in &mut reply.part.sub_inferences {
        if sub.model.is_none() {
            sub.model = Some(model.clone().unwrap_or_else(|| TOOL.to_owned()));
        }
    }
}

fn settle(reply: &mut Reply, form: Form) -> Option<Terminal> {
    if let Some(told) = reply.part.told.take() {
        reply.limits = told.limits();
        return None;
    }
    name_painter(reply);
    if reply.part.things > 0 {
        reply.part.counts.set_searches(reply.part.things);
    }
    reply.replace_counts();
    let terminal = match (form, reply.part.kind.as_str(), reply.part.status.as_str()) {
        (Form::Event, "response.completed" | "response.incomplete", _) => Terminal::Complete,
        (Form::Event, "response.failed" | "error", _) | (Form::Body, _, "failed") => {
            Terminal::Error
        }
        (Form::Event, _, _) => return None,
        (Form::Body, _, "queued" | "in_progress") => Terminal::Pending,
        (Form::Body, _, _) => Terminal::Complete,
    };
    if reply.stop.as_str().is_empty() {
        let status = std::mem::take(&mut reply.part.status);
        reply.stop.set(status.as_str());
    }
    Some(terminal)
}
