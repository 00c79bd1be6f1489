//! Anthropic Messages.

use serde_json::{Value, json};

use super::{Stream, named_event};
use crate::numbers::Numbers;
use crate::served::{Reported, Tokens};

/// Output that a stream's start claims, before anything was generated.
const PLACEHOLDER_OUTPUT: u64 = 1;

pub(super) fn whole(model: &str, numbers: &Numbers) -> Value {
    let mut content = Vec::new();
    if !numbers.thoughts.is_empty() {
        content.push(json!({
            "type": "thinking", "thinking": numbers.thoughts.concat(), "signature": "c2lnbmF0dXJl",
        }));
    }
    content.push(json!({"type": "text", "text": numbers.deltas.concat()}));
    let mut usage = input_usage(&numbers.usage);
    merge(&mut usage, &output_usage(&numbers.usage));
    message(model, numbers, &json!(content), &json!("end_turn"), &usage)
}

pub(super) fn stream(model: &str, numbers: &Numbers) -> Stream {
    let tokens = &numbers.usage;
    let mut usage = input_usage(tokens);
    merge(&mut usage, &json!({"output_tokens": PLACEHOLDER_OUTPUT}));
    let message = message(model, numbers, &json!([]), &Value::Null, &usage);
    let mut opening = vec![named("message_start", &json!({"message": message}))];
    let mut index = 0;
    if !numbers.thoughts.is_empty() {
        opening.push(named(
            "content_block_start",
            &json!({"index": index, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
        ));
        opening.extend(numbers.thoughts.iter().map(|thought| {
            delta(
                index,
                &json!({"type": "thinking_delta", "thinking": thought}),
            )
        }));
        opening.push(delta(
            index,
            &json!({"type": "signature_delta", "signature": "c2lnbmF0dXJl"}),
        ));
        opening.push(named("content_block_stop", &json!({"index": index})));
        index += 1;
    }
    opening.push(named(
        "content_block_start",
        &json!({"index": index, "content_block": {"type": "text", "text": ""}}),
    ));
    opening.push(named("ping", &json!({})));
    let deltas = numbers
        .deltas
        .iter()
        .map(|text| delta(index, &json!({"type": "text_delta", "text": text})))
        .collect();

    let mut closing = vec![named("content_block_stop", &json!({"index": index}))];
    let stop = json!({"stop_reason": "end_turn", "stop_sequence": null});
    // A stream may have several of these; each is cumulative and the last one holds.
    if numbers.number.is_multiple_of(3) {
        let early = json!({"delta": stop, "usage": {"output_tokens": tokens.output.div_ceil(2)}});
        closing.push(named("message_delta", &early));
    }
    let mut usage = output_usage(tokens);
    // The input is repeated in some replies and missing in others.
    if numbers.number.is_multiple_of(2) {
        merge(
            &mut usage,
            &json!({
                "input_tokens": tokens.input_uncached,
                "cache_read_input_tokens": tokens.cache_read,
                "cache_creation_input_tokens": tokens.cache_write_5m + tokens.cache_write_1h,
            }),
        );
    }
    closing.push(named(
        "message_delta",
        &json!({"delta": stop, "usage": usage}),
    ));
    closing.push(named("message_stop", &json!({})));
    Stream {
        opening,
        deltas,
        closing,
        reported_by_opening: Reported::Input,
        reported: Reported::Everything,
        error: named(
            "error",
            &json!({
                "error": {"type": "overloaded_error", "message": "Overloaded"},
                "request_id": numbers.request_id,
            }),
        ),
    }
}

fn message(
    model: &str,
    numbers: &Numbers,
    content: &Value,
    stop_reason: &Value,
    usage: &Value,
) -> Value {
    json!({
        "id": numbers.id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": usage,
    })
}

fn input_usage(tokens: &Tokens) -> Value {
    json!({
        "input_tokens": tokens.input_uncached,
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation_input_tokens": tokens.cache_write_5m + tokens.cache_write_1h,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write_5m,
            "ephemeral_1h_input_tokens": tokens.cache_write_1h,
        },
        "service_tier": "standard",
        "inference_geo": "global",
    })
}

fn output_usage(tokens: &Tokens) -> Value {
    json!({
        "output_tokens": tokens.output,
        "output_tokens_details": {"thinking_tokens": tokens.reasoning},
        "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0},
    })
}

fn delta(index: u32, delta: &Value) -> Vec<u8> {
    named(
        "content_block_delta",
        &json!({"index": index, "delta": delta}),
    )
}

/// An event whose body repeats its name as `type`.
fn named(name: &str, fields: &Value) -> Vec<u8> {
    let mut body = json!({"type": name});
    merge(&mut body, fields);
    named_event(name, &body)
}

fn merge(target: &mut Value, fields: &Value) {
    if let (Some(target), Some(fields)) = (target.as_object_mut(), fields.as_object()) {
        target.extend(
            fields
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
    }
}
