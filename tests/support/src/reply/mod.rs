//! The bodies of the three APIs, with the shapes and the order of events of the real ones.
//!
//! Pure: a request's JSON, figures and a plan go in, a [`Reply`] comes out.

mod anthropic;
mod chat;
mod responses;

use serde_json::{Value, json};

use crate::numbers::Numbers;
use crate::plan::{Fault, Plan};
use crate::served::{Api, Outcome, Reported};

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
    /// How it stops.
    pub ending: Ending,
}

impl Reply {
    /// A reply of one JSON text.
    pub fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            content_type: "application/json",
            headers: Vec::new(),
            parts: vec![body.to_string().into_bytes()],
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
    /// Usage in it.
    pub reported: Reported,
    /// How it ends if the client stays.
    pub outcome: Outcome,
    /// Bytes of visible text in it.
    pub text_out_bytes: u64,
}

/// What a stream of events is made of, before the fault of the plan is applied.
struct Stream {
    /// Events before the first text.
    opening: Vec<Vec<u8>>,
    /// One event a piece of visible text.
    deltas: Vec<Vec<u8>>,
    /// Events after the last text; the last is the terminal one.
    closing: Vec<Vec<u8>>,
    /// Usage that the opening holds already.
    reported_by_opening: Reported,
    /// Usage that the whole stream holds.
    reported: Reported,
    /// The event that ends a failed stream.
    error: Vec<u8>,
}

/// Answers one call of `api`.
pub fn answer(api: Api, request: &Value, numbers: &Numbers, plan: &Plan) -> Answer {
    if let Fault::Status(status) = plan.fault {
        return refuse(api, status, numbers);
    }
    let model = request
        .get("model")
        .and_then(Value::as_str)
        .unwrap_or("unnamed");
    let model = format!("{model}-2026-11-01");
    let is_stream = request
        .get("stream")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let header = match api {
        Api::AnthropicMessages => "request-id",
        Api::OpenAiChat | Api::OpenAiResponses => "x-request-id",
    };
    let headers = vec![(header, numbers.request_id.clone())];
    let mut answer = if is_stream {
        let stream = match api {
            Api::AnthropicMessages => anthropic::stream(&model, numbers),
            Api::OpenAiChat => chat::stream(&model, request, numbers),
            Api::OpenAiResponses => responses::stream(&model, request, numbers),
        };
        play(stream, numbers, plan)
    } else {
        let body = match api {
            Api::AnthropicMessages => anthropic::whole(&model, numbers),
            Api::OpenAiChat => chat::whole(&model, numbers),
            Api::OpenAiResponses => responses::whole(&model, request, numbers),
        };
        let mut reply = Reply::json(200, &body);
        let (reported, outcome) = if let Fault::AbortAfter(_) = plan.fault {
            for part in &mut reply.parts {
                // The usage is the last large field of all three bodies, so half a body has none.
                part.truncate(part.len() / 2);
            }
            reply.ending = Ending::Cut;
            (Reported::Nothing, Outcome::Aborted)
        } else {
            (Reported::Everything, Outcome::Complete)
        };
        let text_out_bytes = bytes_of(&numbers.deltas);
        Answer {
            reply,
            id: None,
            model_served: None,
            reported,
            outcome,
            text_out_bytes,
        }
    };
    answer.reply.headers = headers;
    // A body cut in the middle may have lost either.
    let is_sent = |text: &String| holds(&answer.reply.parts, text);
    let id = Some(numbers.id.clone()).filter(is_sent);
    let model_served = Some(model).filter(is_sent);
    answer.id = id;
    answer.model_served = model_served;
    answer
}

/// Applies the plan's fault to a stream.
fn play(stream: Stream, numbers: &Numbers, plan: &Plan) -> Answer {
    let Stream {
        opening: mut parts,
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
    let text_out_bytes = bytes_of(numbers.deltas.iter().take(kept));
    parts.append(&mut deltas);
    let reported = match outcome {
        Outcome::Complete => {
            parts.extend(closing);
            reported
        }
        Outcome::Error => {
            parts.push(error);
            reported_by_opening
        }
        Outcome::Aborted => reported_by_opening,
    };
    let reply = Reply {
        status: 200,
        content_type: "text/event-stream; charset=utf-8",
        headers: Vec::new(),
        parts,
        ending,
    };
    Answer {
        reply,
        id: None,
        model_served: None,
        reported,
        outcome,
        text_out_bytes,
    }
}

/// An error by status.
fn refuse(api: Api, status: u16, numbers: &Numbers) -> Answer {
    let kind = match status {
        401 => "authentication_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        500..=599 => "api_error",
        _ => "invalid_request_error",
    };
    let message = "refused by plan";
    let request_id = &numbers.request_id;
    let body = match api {
        Api::AnthropicMessages => json!({
            "type": "error",
            "error": {"type": kind, "message": message},
            "request_id": request_id,
        }),
        Api::OpenAiChat | Api::OpenAiResponses => {
            json!({"error": {"message": message, "type": kind, "param": null, "code": null}})
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
        reported: Reported::Nothing,
        outcome: Outcome::Error,
        text_out_bytes: 0,
    }
}

/// One event with a name (WHATWG HTML, section 9.2).
fn named_event(name: &str, body: &Value) -> Vec<u8> {
    format!("event: {name}\ndata: {body}\n\n").into_bytes()
}

/// One event without a name.
fn event(body: &Value) -> Vec<u8> {
    format!("data: {body}\n\n").into_bytes()
}

fn holds(parts: &[Vec<u8>], text: &str) -> bool {
    parts.iter().any(|part| {
        part.windows(text.len())
            .any(|window| window == text.as_bytes())
    })
}

fn bytes_of<'a>(texts: impl IntoIterator<Item = &'a String>) -> u64 {
    texts.into_iter().map(|text| text.len() as u64).sum()
}

/// Bytes of all text in the prompt of `request`: what `content`, `text`, `input`, `instructions`
/// and `system` hold, at any depth that a request of these APIs has.
pub fn text_in_bytes(request: &Value) -> u64 {
    ["messages", "system", "input", "instructions"]
        .iter()
        .filter_map(|key| request.get(key))
        .map(text_bytes)
        .sum()
}

fn text_bytes(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(text_bytes).sum(),
        Value::Object(fields) => ["content", "text"]
            .iter()
            .filter_map(|key| fields.get(*key))
            .map(text_bytes)
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

#[cfg(test)]
mod tests;
