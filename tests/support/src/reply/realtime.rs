//! OpenAI realtime: the events of a session and of its responses.

use serde_json::{Value, json};

use super::event::{Event, merge};
use super::{Draft, Stream};
use crate::served::{Reported, Tokens};

/// What a connection begins with, and what a change of its session is answered with.
pub fn session(kind: &str, model: &str) -> Value {
    json!({
        "type": kind,
        "event_id": "event_session",
        "session": {
            "type": "realtime",
            "object": "realtime.session",
            "id": "sess_bpftok",
            "model": model,
            "output_modalities": ["text"],
            "instructions": "",
            "tools": [],
            "tool_choice": "auto",
        },
    })
}

pub(super) fn stream(draft: &Draft<'_>) -> Stream {
    let event = |name: &str, mut fields: Value| {
        let id = format!("event_{:06}", draft.numbers.number);
        merge(&mut fields, &json!({"event_id": id}));
        Event::named(name, &fields)
    };
    let item = |status: &str, content: Value| {
        json!({
            "id": item_id(draft), "object": "realtime.item", "type": "message", "status": status,
            "role": "assistant", "content": content,
        })
    };
    let place = json!({
        "response_id": draft.numbers.id, "item_id": item_id(draft),
        "output_index": 0, "content_index": 0,
    });
    let at = |fields: Value| {
        let mut place = place.clone();
        merge(&mut place, &fields);
        place
    };
    let said = draft.said.deltas.concat();
    let text = |text: &str| json!({"type": "output_text", "text": text});
    let empty = item("in_progress", json!([]));
    let whole = item("completed", json!([text(&said)]));
    let opening = vec![
        event(
            "response.created",
            json!({"response": response(draft, "in_progress", &json!([]), &Value::Null)}),
        ),
        event("response.output_item.added", at(json!({"item": empty}))),
        event("response.content_part.added", at(json!({"part": text("")}))),
    ];
    let deltas = draft
        .said
        .deltas
        .iter()
        .map(|delta| event("response.output_text.delta", at(json!({"delta": delta}))))
        .collect();
    let usage = usage(&draft.numbers.usage);
    let closing = vec![
        event("response.output_text.done", at(json!({"text": said}))),
        event(
            "response.content_part.done",
            at(json!({"part": text(&said)})),
        ),
        event("response.output_item.done", at(json!({"item": whole}))),
        event(
            "response.done",
            json!({"response": response(draft, "completed", &json!([whole]), &usage)}),
        ),
    ];
    let mut failed = response(draft, "failed", &json!([]), &Value::Null);
    let error = json!({"type": "server_error", "code": "server_error"});
    merge(
        &mut failed,
        &json!({"status_details": {"type": "failed", "error": error}}),
    );
    Stream {
        opening,
        deltas,
        closing,
        reported_by_opening: Reported::Nothing,
        reported: Reported::Everything,
        error: event("response.done", json!({"response": failed})),
    }
}

fn response(draft: &Draft<'_>, status: &str, output: &Value, usage: &Value) -> Value {
    json!({
        "object": "realtime.response",
        "id": draft.numbers.id,
        "status": status,
        "status_details": null,
        "output": output,
        "conversation_id": "conv_bpftok",
        "output_modalities": ["text"],
        "max_output_tokens": "inf",
        "usage": usage,
        "metadata": null,
    })
}

/// The message's own id, which is no id of a response.
fn item_id(draft: &Draft<'_>) -> String {
    format!("item_{:06}", draft.numbers.number)
}

/// A part of the text is told as audio, so that the parts add up only with both.
fn usage(tokens: &Tokens) -> Value {
    let audio_in = tokens.input_uncached / 3;
    let audio_out = tokens.output / 4;
    json!({
        "total_tokens": tokens.input() + tokens.output,
        "input_tokens": tokens.input(),
        "output_tokens": tokens.output,
        "input_token_details": {
            "text_tokens": tokens.input() - audio_in,
            "audio_tokens": audio_in,
            "image_tokens": 0,
            "cached_tokens": tokens.cache_read,
            "cached_tokens_details": {
                "text_tokens": tokens.cache_read, "audio_tokens": 0, "image_tokens": 0,
            },
        },
        "output_token_details": {
            "text_tokens": tokens.output - audio_out, "audio_tokens": audio_out,
        },
    })
}
