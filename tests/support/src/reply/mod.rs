//! The bodies of the APIs, with the shapes and the order of events of the real ones.
//!
//! Pure: a call, figures and a plan go in, a [`Reply`] comes out.

pub mod amazon;
mod anthropic;
mod bedrock;
mod chat;
mod cohere;
mod completions;
mod embeddings;
mod event;
mod gemini;
mod ollama;
mod realtime;
mod responses;
mod vercel;

use std::fmt;

use serde_json::{Value, json};

use self::event::Event;
use crate::agents::Said;
use crate::call::{Call, Delivery, Dialect};
use crate::numbers::Numbers;
use crate::plan::{Fault, Plan};
use crate::served::{Api, Outcome, Reported};

pub use self::realtime::session as realtime_session;

/// When every reply claims to have been made.
const CREATED: u64 = 1_793_491_200;

/// How a reply's body stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As its framing says.
    Whole,
    /// The connection is dropped after the last part.
    Cut,
}

/// One reply before compression and framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// `content-type`.
    pub content_type: &'static str,
    /// Further header fields.
    pub headers: Vec<(&'static str, String)>,
    /// Parts of the body: the events of a stream, or the one JSON text.
    pub parts: Vec<Vec<u8>>,
    /// Whether the parts come as they are made, so that their length is not known before.
    pub is_stream: bool,
    /// How it stops.
    pub ending: Ending,
}

impl Reply {
    /// A reply of one JSON text.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::whole(status, "application/json", body.to_string().into_bytes())
    }

    /// A reply of one text of any kind.
    pub fn whole(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type,
            headers: Vec::new(),
            parts: vec![body],
            is_stream: false,
            ending: Ending::Whole,
        }
    }
}

/// A reply, and what there is to remember of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Reply.
    pub reply: Reply,
    /// Id of the response, if the reply has one.
    pub id: Option<String>,
    /// Model, if the reply names one.
    pub model_served: Option<String>,
    /// Why the model stopped, if the reply says so.
    pub stop_reason: Option<String>,
    /// Tier of service, if the reply names one and comes whole.
    pub service_tier: Option<String>,
    /// Usage in it.
    pub reported: Reported,
    /// How it ends if the client stays.
    pub outcome: Outcome,
    /// Tools that it calls.
    pub tools: Vec<String>,
    /// Bytes of visible text and of tool calls in it.
    pub text_out_bytes: u64,
}

/// All that a provider's reply is made from.
struct Draft<'a> {
    call: &'a Call,
    /// Model that answers.
    model: &'a str,
    /// Tier that serves, where the API has tiers.
    tier: Option<&'a str>,
    numbers: &'a Numbers,
    said: &'a Said,
}

/// What a stream of events is made of, before the fault of the plan is applied.
struct Stream {
    /// Events before the first text.
    opening: Vec<Event>,
    /// One event a piece of visible text.
    deltas: Vec<Event>,
    /// Events after the last text; the last is the terminal one.
    closing: Vec<Event>,
    /// Usage that the opening holds already.
    reported_by_opening: Reported,
    /// Usage that the whole stream holds.
    reported: Reported,
    /// The event that ends a failed stream.
    error: Event,
}

/// Model that answers where `requested` was asked for: one of its dated versions, unless the plan
/// wants its very name.
pub fn model_served(requested: Option<&str>, plan: &Plan) -> String {
    let name = requested.unwrap_or("unnamed");
    if plan.echoes_model {
        name.to_owned()
    } else {
        format!("{name}-2026-11-01")
    }
}

/// Answers one call.
pub fn answer(call: &Call, numbers: &Numbers, plan: &Plan) -> Answer {
    if let Fault::Status(status) = plan.fault {
        return refuse(call, status, numbers);
    }
    let model = model_served(call.model.as_deref(), plan);
    let said = Said::to(call, numbers);
    let tier = tier(call);
    let draft = Draft {
        call,
        model: &model,
        tier: tier.as_deref(),
        numbers,
        said: &said,
    };
    let mut answer = match (call.api, call.is_stream()) {
        (Api::AnthropicMessages, true) => play(anthropic::stream(&draft), &draft, plan),
        (Api::AnthropicMessages, false) => hand_over(&anthropic::whole(&draft), &draft, plan),
        (Api::OpenAiChat, true) => play(chat::stream(&draft), &draft, plan),
        (Api::OpenAiChat, false) => hand_over(&chat::whole(&draft), &draft, plan),
        (Api::OpenAiResponses, true) => play(responses::stream(&draft), &draft, plan),
        (Api::OpenAiResponses, false) => hand_over(&responses::whole(&draft), &draft, plan),
        (Api::OpenAiRealtime, _) => play(realtime::stream(&draft), &draft, plan),
        (Api::OpenAiCompletions, true) => play(completions::stream(&draft), &draft, plan),
        (Api::OpenAiCompletions, false) => hand_over(&completions::whole(&draft), &draft, plan),
        (Api::OpenAiEmbeddings, _) => hand_over(&embeddings::whole(&draft), &draft, plan),
        (Api::GeminiGenerate, true) => play(gemini::stream(&draft), &draft, plan),
        (Api::GeminiGenerate, false) => hand_over(&gemini::whole(&draft), &draft, plan),
        (Api::BedrockConverse, true) => play(bedrock::converse_stream(&draft), &draft, plan),
        (Api::BedrockConverse, false) => hand_over(&bedrock::converse(&draft), &draft, plan),
        (Api::BedrockInvoke, true) => play(bedrock::invoke_stream(&draft), &draft, plan),
        (Api::BedrockInvoke, false) => hand_over(&anthropic::whole(&draft), &draft, plan),
        (Api::CohereChat, true) => play(cohere::stream(&draft), &draft, plan),
        (Api::CohereChat, false) => hand_over(&cohere::whole(&draft), &draft, plan),
        (Api::OllamaChat, true) => play(ollama::stream(&draft), &draft, plan),
        (Api::OllamaChat, false) => hand_over(&ollama::whole(&draft), &draft, plan),
        (Api::VercelLanguage, true) => play(vercel::stream(&draft), &draft, plan),
        (Api::VercelLanguage, false) => hand_over(&vercel::whole(&draft), &draft, plan),
    };
    answer.reply.headers = headers(&draft);
    if answer.outcome == Outcome::Complete {
        answer.stop_reason = stop_reason(&draft).map(str::to_owned);
        answer.service_tier = draft.tier.map(str::to_owned);
    }
    // A body cut in the middle may have lost either. The messages of `invoke` hold them in base64,
    // from the first on.
    let is_hidden = call.api == Api::BedrockInvoke && call.is_stream();
    let is_sent = |text: &String| is_hidden || holds(&answer.reply.parts, text);
    let id = Some(numbers.id.clone()).filter(is_sent);
    // Bedrock's head has the id of a reply that says none.
    let of_head = amazon_id(&draft).map(str::to_owned);
    // The session of a connection names the model, and no response of it does.
    let is_named = call.api == Api::OpenAiRealtime || is_sent(&model);
    answer.id = id.or(of_head);
    answer.model_served = is_named.then_some(model);
    answer
}

/// Bedrock's id of a reply, in the head of it.
fn amazon_id<'a>(draft: &Draft<'a>) -> Option<&'a str> {
    let numbers = draft.numbers;
    match draft.call.api {
        Api::BedrockConverse => Some(&numbers.id),
        Api::BedrockInvoke => Some(&numbers.request_id),
        Api::AnthropicMessages
        | Api::OpenAiChat
        | Api::OpenAiResponses
        | Api::OpenAiRealtime
        | Api::OpenAiCompletions
        | Api::OpenAiEmbeddings
        | Api::GeminiGenerate
        | Api::CohereChat
        | Api::OllamaChat
        | Api::VercelLanguage => None,
    }
}

/// Fields of a reply's head.
fn headers(draft: &Draft<'_>) -> Vec<(&'static str, String)> {
    let id = amazon_id(draft)
        .unwrap_or(&draft.numbers.request_id)
        .to_owned();
    let name = match draft.call.api {
        Api::AnthropicMessages => "request-id",
        Api::OpenAiChat
        | Api::OpenAiResponses
        | Api::OpenAiRealtime
        | Api::OpenAiCompletions
        | Api::OpenAiEmbeddings => "x-request-id",
        Api::GeminiGenerate => "x-goog-request-id",
        Api::BedrockConverse | Api::BedrockInvoke => "x-amzn-requestid",
        Api::CohereChat => "x-debug-trace-id",
        Api::VercelLanguage => "x-vercel-id",
        Api::OllamaChat => return Vec::new(),
    };
    let mut headers = vec![(name, id)];
    if draft.call.api == Api::BedrockInvoke {
        headers.extend(bedrock::headers(draft));
    }
    headers
}

/// Tier that serves a call: what it asks for, as each API spells it and answers.
fn tier(call: &Call) -> Option<String> {
    let wanted = call.body.get("service_tier").and_then(Value::as_str);
    let tier = match call.api {
        // What is asked for is whether a capacity that was bought may be used.
        Api::AnthropicMessages if wanted == Some("auto") => "priority",
        Api::AnthropicMessages => "standard",
        Api::OpenAiChat if call.dialect == Dialect::Groq => wanted.unwrap_or("on_demand"),
        Api::OpenAiChat if call.dialect == Dialect::OpenAi => wanted.unwrap_or("default"),
        Api::OpenAiResponses => wanted.unwrap_or("default"),
        Api::GeminiGenerate => call.body.get("serviceTier")?.as_str()?,
        Api::BedrockConverse => call.body.pointer("/serviceTier/type")?.as_str()?,
        Api::OpenAiChat
        | Api::OpenAiRealtime
        | Api::OpenAiCompletions
        | Api::OpenAiEmbeddings
        | Api::BedrockInvoke
        | Api::CohereChat
        | Api::OllamaChat
        | Api::VercelLanguage => return None,
    };
    Some(tier.to_owned())
}

/// Why the model stops, in the API's word; `None` where its replies do not say.
fn stop_reason(draft: &Draft<'_>) -> Option<&'static str> {
    match draft.call.api {
        Api::AnthropicMessages | Api::BedrockConverse | Api::BedrockInvoke => {
            Some(anthropic::stop_reason(draft))
        }
        Api::OpenAiChat => Some(chat::finish_reason(draft)),
        Api::OpenAiCompletions | Api::VercelLanguage | Api::OllamaChat => Some("stop"),
        Api::GeminiGenerate => Some("STOP"),
        Api::CohereChat => Some("COMPLETE"),
        Api::OpenAiResponses | Api::OpenAiRealtime => Some("completed"),
        Api::OpenAiEmbeddings => None,
    }
}

/// Applies the plan's fault to one JSON text.
fn hand_over(body: &dyn fmt::Display, draft: &Draft<'_>, plan: &Plan) -> Answer {
    let body = body.to_string().into_bytes();
    let mut reply = Reply::whole(200, "application/json", body);
    let (reported, outcome) = if let Fault::AbortAfter(_) = plan.fault {
        for part in &mut reply.parts {
            // The usage is the last large field of all bodies, so half a body has none.
            part.truncate(part.len() / 2);
        }
        reply.ending = Ending::Cut;
        (Reported::Nothing, Outcome::Aborted)
    } else {
        (Reported::Everything, Outcome::Complete)
    };
    let said = draft.said;
    Answer {
        reply,
        id: None,
        model_served: None,
        stop_reason: None,
        service_tier: None,
        reported,
        outcome,
        tools: said.tools.iter().map(|tool| tool.name.clone()).collect(),
        text_out_bytes: said.text_bytes(said.deltas.len()) + said.tool_bytes(),
    }
}

/// Applies the plan's fault to a stream.
fn play(stream: Stream, draft: &Draft<'_>, plan: &Plan) -> Answer {
    let Stream {
        opening: mut events,
        mut deltas,
        closing,
        reported_by_opening,
        reported,
        error,
    } = stream;
    let (kept, ending, outcome) = match plan.fault {
        Fault::None | Fault::Status(_) => (deltas.len(), Ending::Whole, Outcome::Complete),
        Fault::ErrorAfter(count) => (count, Ending::Whole, Outcome::Error),
        Fault::AbortAfter(count) => (count, Ending::Cut, Outcome::Aborted),
    };
    deltas.truncate(kept);
    events.append(&mut deltas);
    let said = draft.said;
    let mut text_out_bytes = said.text_bytes(kept);
    let mut tools = Vec::new();
    let reported = match outcome {
        Outcome::Complete => {
            events.extend(closing);
            tools.extend(said.tools.iter().map(|tool| tool.name.clone()));
            text_out_bytes += said.tool_bytes();
            reported
        }
        Outcome::Error => {
            events.push(error);
            reported_by_opening
        }
        Outcome::Aborted => reported_by_opening,
    };
    let delivery = draft.call.delivery;
    // Google ends its lines as HTTP does.
    let line_end = if draft.call.api == Api::GeminiGenerate {
        "\r\n"
    } else {
        "\n"
    };
    let mut parts = event::parts(&events, delivery, line_end);
    if delivery == Delivery::Elements
        && ending == Ending::Whole
        && let Some(last) = parts.last_mut()
    {
        last.push(b']');
    }
    let content_type = match delivery {
        Delivery::Events => "text/event-stream; charset=utf-8",
        Delivery::Lines => "application/x-ndjson",
        Delivery::AmazonMessages => amazon::CONTENT_TYPE,
        Delivery::Whole | Delivery::Elements | Delivery::Messages => "application/json",
    };
    let reply = Reply {
        status: 200,
        content_type,
        headers: Vec::new(),
        parts,
        is_stream: true,
        ending,
    };
    Answer {
        reply,
        id: None,
        model_served: None,
        stop_reason: None,
        service_tier: None,
        reported,
        outcome,
        tools,
        text_out_bytes,
    }
}

/// An error by status; over a WebSocket, an event that names it.
fn refuse(call: &Call, status: u16, numbers: &Numbers) -> Answer {
    let kind = match status {
        401 => "authentication_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        500..=599 => "api_error",
        _ => "invalid_request_error",
    };
    let message = "refused by plan";
    let request_id = &numbers.request_id;
    let error = json!({"message": message, "type": kind, "param": null, "code": null});
    let body = match (call.api, call.delivery) {
        (_, Delivery::Messages) => json!({"type": "error", "status": status, "error": error}),
        (Api::AnthropicMessages, _) => json!({
            "type": "error",
            "error": {"type": kind, "message": message},
            "request_id": request_id,
        }),
        (
            Api::OpenAiChat
            | Api::OpenAiResponses
            | Api::OpenAiRealtime
            | Api::OpenAiCompletions
            | Api::OpenAiEmbeddings
            | Api::VercelLanguage,
            _,
        ) => json!({"error": error}),
        (Api::BedrockConverse | Api::BedrockInvoke | Api::CohereChat, _) => {
            json!({"message": message})
        }
        (Api::OllamaChat, _) => json!({"error": message}),
        (Api::GeminiGenerate, delivery) => {
            let error = json!({"error": {
                "code": status, "message": message, "status": kind.to_ascii_uppercase(),
            }});
            if delivery == Delivery::Elements {
                json!([error])
            } else {
                error
            }
        }
    };
    let mut reply = Reply::json(status, &body);
    // The SDKs wait half a second before they try again; tests have no half seconds to give.
    reply.headers.push(("retry-after-ms", "1".to_owned()));
    reply.headers.push(("x-request-id", request_id.clone()));
    Answer {
        reply,
        id: None,
        model_served: None,
        stop_reason: None,
        service_tier: None,
        reported: Reported::Nothing,
        outcome: Outcome::Error,
        tools: Vec::new(),
        text_out_bytes: 0,
    }
}

/// A text in two pieces, cut at a character; an empty one is one piece.
fn halves(text: &str) -> impl Iterator<Item = &str> {
    let (first, second) = text.split_at(text.floor_char_boundary(text.len() / 2));
    [first, second]
        .into_iter()
        .filter(|piece| !piece.is_empty())
}

fn holds(parts: &[Vec<u8>], text: &str) -> bool {
    parts.iter().any(|part| {
        part.windows(text.len().max(1))
            .any(|window| window == text.as_bytes())
    })
}

/// Bytes of all text in the prompt of `request`: what `content`, `text`, `input`, `instructions`,
/// `prompt`, `system`, `contents` and `systemInstruction` hold, at any depth that a request of these APIs has.
pub fn text_in_bytes(request: &Value) -> u64 {
    [
        "messages",
        "prompt",
        "system",
        "input",
        "instructions",
        "contents",
        "systemInstruction",
    ]
    .iter()
    .filter_map(|key| request.get(key))
    .map(text_bytes)
    .sum()
}

fn text_bytes(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(text_bytes).sum(),
        Value::Object(fields) => ["content", "text", "parts"]
            .iter()
            .filter_map(|key| fields.get(*key))
            .map(text_bytes)
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

#[cfg(test)]
mod tests;
