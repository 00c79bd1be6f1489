//! Anthropic Messages.

use serde_json::{Value, json};

use super::event::{Event, merge};
use super::{Draft, Stream, halves};
use crate::served::{Reported, Tokens};

/// Output that a stream's start claims, before anything was generated.
const PLACEHOLDER_OUTPUT: u64 = 1;

pub(super) fn whole(draft: &Draft<'_>) -> Value {
    let said = &draft.said;
    let mut content = Vec::new();
    if !said.thoughts.is_empty() {
        content.push(json!({
            "type": "thinking", "thinking": said.thoughts.concat(), "signature": "c2lnbmF0dXJl",
        }));
    }
    content.push(json!({"type": "text", "text": said.deltas.concat()}));
    content.extend(said.tools.iter().map(|tool| {
        json!({"type": "tool_use", "id": tool.id, "name": tool.name, "input": tool.arguments})
    }));
    let tokens = &draft.numbers.usage;
    let mut usage = input_usage(draft);
    merge(&mut usage, &output_usage(tokens));
    message(draft, &json!(content), &json!(stop_reason(draft)), &usage)
}

pub(super) fn stream(draft: &Draft<'_>) -> Stream {
    let tokens = &draft.numbers.usage;
    let mut usage = input_usage(draft);
    merge(&mut usage, &json!({"output_tokens": PLACEHOLDER_OUTPUT}));
    let message = message(draft, &json!([]), &Value::Null, &usage);
    let mut opening = vec![Event::named("message_start", &json!({"message": message}))];
    let mut index = 0;
    let thoughts = &draft.said.thoughts;
    if !thoughts.is_empty() {
        let block = json!({"type": "thinking", "thinking": "", "signature": ""});
        opening.push(start(index, &block));
        opening.extend(thoughts.iter().map(|thought| {
            delta(
                index,
                &json!({"type": "thinking_delta", "thinking": thought}),
            )
        }));
        opening.push(delta(
            index,
            &json!({"type": "signature_delta", "signature": "c2lnbmF0dXJl"}),
        ));
        opening.push(stop(index));
        index += 1;
    }
    opening.push(start(index, &json!({"type": "text", "text": ""})));
    opening.push(Event::named("ping", &json!({})));
    let deltas = draft
        .said
        .deltas
        .iter()
        .map(|text| delta(index, &json!({"type": "text_delta", "text": text})))
        .collect();

    let mut closing = vec![stop(index)];
    for (tool, index) in draft.said.tools.iter().zip(index + 1..) {
        let block = json!({"type": "tool_use", "id": tool.id, "name": tool.name, "input": {}});
        closing.push(start(index, &block));
        closing.extend(halves(&tool.arguments.to_string()).map(|piece| {
            delta(
                index,
                &json!({"type": "input_json_delta", "partial_json": piece}),
            )
        }));
        closing.push(stop(index));
    }
    let end = json!({"stop_reason": stop_reason(draft), "stop_sequence": null});
    let number = draft.numbers.number;
    // A stream may have several of these; each is cumulative and the last one holds.
    if number.is_multiple_of(3) {
        let early = json!({"stop_reason": null, "stop_sequence": null});
        let early = json!({"delta": early, "usage": {"output_tokens": tokens.output.div_ceil(2)}});
        closing.push(Event::named("message_delta", &early));
    }
    let mut usage = output_usage(tokens);
    // The input is repeated in some replies and missing in others.
    if number.is_multiple_of(2) {
        merge(
            &mut usage,
            &json!({
                "input_tokens": tokens.input_uncached,
                "cache_read_input_tokens": tokens.cache_read,
                "cache_creation_input_tokens": tokens.cache_write_5m + tokens.cache_write_1h,
            }),
        );
    }
    closing.push(Event::named(
        "message_delta",
        &json!({"delta": end, "usage": usage}),
    ));
    closing.push(Event::named("message_stop", &json!({})));
    Stream {
        opening,
        deltas,
        closing,
        reported_by_opening: Reported::Input,
        reported: Reported::Everything,
        error: Event::named(
            "error",
            &json!({
                "error": {"type": "overloaded_error", "message": "Overloaded"},
                "request_id": draft.numbers.request_id,
            }),
        ),
    }
}

pub(super) fn stop_reason(draft: &Draft<'_>) -> &'static str {
    if draft.said.tools.is_empty() {
        "end_turn"
    } else {
        "tool_use"
    }
}

fn message(draft: &Draft<'_>, content: &Value, stop_reason: &Value, usage: &Value) -> Value {
    json!({
        "id": draft.numbers.id,
        "type": "message",
        "role": "assistant",
        "model": draft.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": usage,
    })
}

fn input_usage(draft: &Draft<'_>) -> Value {
    let tokens = &draft.numbers.usage;
    let mut usage = json!({
        "input_tokens": tokens.input_uncached,
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation_input_tokens": tokens.cache_write_5m + tokens.cache_write_1h,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write_5m,
            "ephemeral_1h_input_tokens": tokens.cache_write_1h,
        },
        "inference_geo": "global",
    });
    if let Some(tier) = draft.tier {
        merge(&mut usage, &json!({"service_tier": tier}));
    }
    usage
}

fn output_usage(tokens: &Tokens) -> Value {
    json!({
        "output_tokens": tokens.output,
        "output_tokens_details": {"thinking_tokens": tokens.reasoning},
        "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0},
        "iterations": [],
    })
}

fn start(index: usize, block: &Value) -> Event {
    Event::named(
        "content_block_start",
        &json!({"index": index, "content_block": block}),
    )
}

fn delta(index: usize, delta: &Value) -> Event {
    Event::named(
        "content_block_delta",
        &json!({"index": index, "delta": delta}),
    )
}

fn stop(index: usize) -> Event {
    Event::named("content_block_stop", &json!({"index": index}))
}
