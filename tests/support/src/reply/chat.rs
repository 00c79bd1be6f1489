//! OpenAI chat completions.

use serde_json::{Value, json};

use super::{Stream, event};
use crate::numbers::Numbers;
use crate::served::{Reported, Tokens};

/// When every reply claims to have been made.
const CREATED: u64 = 1_793_491_200;

pub(super) fn whole(model: &str, numbers: &Numbers) -> Value {
    json!({
        "id": numbers.id,
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": [{
            "index": 0,
            "message": {
                "role": "assistant",
                "content": numbers.deltas.concat(),
                "refusal": null,
                "annotations": [],
            },
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": usage(&numbers.usage),
        "service_tier": "default",
        "system_fingerprint": null,
    })
}

pub(super) fn stream(model: &str, request: &Value, numbers: &Numbers) -> Stream {
    let is_usage_wanted = request
        .get("stream_options")
        .and_then(|options| options.get("include_usage"))
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let chunk = |choices: Value, usage: Option<Value>| {
        let mut body = json!({
            "id": numbers.id,
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": model,
            "service_tier": "default",
            "system_fingerprint": null,
            "choices": choices,
            "obfuscation": numbers.obfuscation,
        });
        if let (Some(body), true) = (body.as_object_mut(), is_usage_wanted) {
            body.insert("usage".to_owned(), usage.unwrap_or(Value::Null));
        }
        event(&body)
    };
    let choice = |delta: Value, finish_reason: Value| {
        chunk(
            json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]),
            None,
        )
    };
    let opening = vec![choice(
        json!({"role": "assistant", "content": "", "refusal": null}),
        Value::Null,
    )];
    let deltas = numbers
        .deltas
        .iter()
        .map(|text| choice(json!({"content": text}), Value::Null))
        .collect();
    let mut closing = vec![choice(json!({}), json!("stop"))];
    if is_usage_wanted {
        closing.push(chunk(json!([]), Some(usage(&numbers.usage))));
    }
    closing.push(b"data: [DONE]\n\n".to_vec());
    Stream {
        opening,
        deltas,
        closing,
        reported_by_opening: Reported::Nothing,
        reported: if is_usage_wanted {
            Reported::Everything
        } else {
            Reported::Nothing
        },
        error: event(&json!({
            "error": {
                "message": "The server had an error while processing your request.",
                "type": "server_error",
                "param": null,
                "code": null,
            },
        })),
    }
}

fn usage(tokens: &Tokens) -> Value {
    json!({
        "prompt_tokens": tokens.input(),
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input() + tokens.output,
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
    })
}
