//! OpenAI chat completions.

use serde_json::{Value, json};

use super::event::{Event, merge};
use super::{CREATED, Draft, Stream, halves};
use crate::call::{Call, Dialect};
use crate::served::Reported;

pub(super) fn whole(draft: &Draft<'_>) -> Value {
    let mut message = json!({
        "role": "assistant",
        "content": draft.said.deltas.concat(),
        "refusal": null,
        "annotations": [],
    });
    let tools: Vec<_> = (0..)
        .zip(&draft.said.tools)
        .map(|(index, tool)| call(index, &tool.id, &tool.name, &tool.arguments.to_string()))
        .collect();
    if let (Some(message), false) = (message.as_object_mut(), tools.is_empty()) {
        message.insert("tool_calls".to_owned(), json!(tools));
    }
    let mut body = json!({
        "id": draft.numbers.id,
        "object": "chat.completion",
        "created": CREATED,
        "model": draft.model,
        "choices": [{
            "index": 0,
            "message": message,
            "logprobs": null,
            "finish_reason": finish_reason(draft),
        }],
        "usage": usage(draft),
        "system_fingerprint": null,
    });
    if let Some(tier) = draft.tier {
        merge(&mut body, &json!({"service_tier": tier}));
    }
    body
}

/// Whether a stream is to end in usage.
pub(super) fn is_usage_wanted(call: &Call) -> bool {
    let wanted = call.body.pointer("/stream_options/include_usage");
    wanted.and_then(Value::as_bool).unwrap_or(false)
}

pub(super) fn stream(draft: &Draft<'_>) -> Stream {
    let is_usage_wanted = is_usage_wanted(draft.call);
    let chunk = |choices: Value, more: Value| {
        let mut body = json!({
            "id": draft.numbers.id,
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": draft.model,
            "system_fingerprint": null,
            "choices": choices,
            "obfuscation": draft.numbers.obfuscation,
        });
        if let Some(tier) = draft.tier {
            merge(&mut body, &json!({"service_tier": tier}));
        }
        if is_usage_wanted {
            merge(&mut body, &json!({"usage": null}));
        }
        merge(&mut body, &more);
        Event::new(&body)
    };
    let choice = |delta: Value, finish_reason: Value| {
        chunk(
            json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]),
            json!({}),
        )
    };
    let opening = vec![choice(
        json!({"role": "assistant", "content": "", "refusal": null}),
        Value::Null,
    )];
    let said = &draft.said;
    let deltas = said
        .deltas
        .iter()
        .map(|text| choice(json!({"content": text}), Value::Null))
        .collect();
    let mut closing = Vec::new();
    for (index, tool) in (0..).zip(&said.tools) {
        let begun = call(index, &tool.id, &tool.name, "");
        closing.push(choice(json!({"tool_calls": [begun]}), Value::Null));
        closing.extend(halves(&tool.arguments.to_string()).map(|piece| {
            let piece = json!({"index": index, "function": {"arguments": piece}});
            choice(json!({"tool_calls": [piece]}), Value::Null)
        }));
    }
    // Mistral and Groq tell the usage unasked, with the end of the text.
    let unasked = match draft.call.dialect {
        Dialect::OpenAi => json!({}),
        Dialect::Mistral => json!({"usage": usage(draft)}),
        Dialect::Groq => {
            json!({"x_groq": {"id": draft.numbers.request_id, "usage": usage(draft)}})
        }
    };
    let end = json!([{
        "index": 0, "delta": {}, "logprobs": null, "finish_reason": finish_reason(draft),
    }]);
    let is_reported = is_usage_wanted || unasked != json!({});
    closing.push(chunk(end, unasked));
    if is_usage_wanted {
        closing.push(chunk(json!([]), json!({"usage": usage(draft)})));
    }
    closing.push(Event::bare("[DONE]"));
    Stream {
        opening,
        deltas,
        closing,
        reported_by_opening: Reported::Nothing,
        reported: if is_reported {
            Reported::Everything
        } else {
            Reported::Nothing
        },
        error: Event::new(&json!({
            "error": {
                "message": "The server had an error while processing your request.",
                "type": "server_error",
                "param": null,
                "code": null,
            },
        })),
    }
}

pub(super) fn finish_reason(draft: &Draft<'_>) -> &'static str {
    if draft.said.tools.is_empty() {
        "stop"
    } else {
        "tool_calls"
    }
}

fn call(index: u32, id: &str, name: &str, arguments: &str) -> Value {
    json!({
        "index": index,
        "id": id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    })
}

fn usage(draft: &Draft<'_>) -> Value {
    let tokens = &draft.numbers.usage;
    let mut usage = json!({
        "prompt_tokens": tokens.input(),
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input() + tokens.output,
    });
    let details = match draft.call.dialect {
        Dialect::OpenAi => json!({
            "prompt_tokens_details": {
                "cached_tokens": tokens.cache_read,
                "cache_write_tokens": tokens.cache_write_other,
                "audio_tokens": 0,
            },
            "completion_tokens_details": {
                "reasoning_tokens": tokens.reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }),
        Dialect::Mistral => json!({}),
        Dialect::Groq => json!({
            "queue_time": 0.037,
            "prompt_time": 0.000_5,
            "completion_time": 0.25,
            "total_time": 0.250_5,
            "prompt_tokens_details": {"cached_tokens": tokens.cache_read},
            "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
        }),
    };
    merge(&mut usage, &details);
    usage
}
