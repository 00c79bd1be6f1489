//! OpenAI chat completions.

use serde_json::{Value, json};

use super::event::Event;
use super::{CREATED, Draft, Stream, halves};
use crate::served::{Reported, Tokens};

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
    json!({
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
        "usage": usage(&draft.numbers.usage),
        "service_tier": "default",
        "system_fingerprint": null,
    })
}

pub(super) fn stream(draft: &Draft<'_>) -> Stream {
    let options = draft.call.body.get("stream_options");
    let is_usage_wanted = options
        .and_then(|options| options.get("include_usage"))
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let chunk = |choices: Value, usage: Option<Value>| {
        let mut body = json!({
            "id": draft.numbers.id,
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": draft.model,
            "service_tier": "default",
            "system_fingerprint": null,
            "choices": choices,
            "obfuscation": draft.numbers.obfuscation,
        });
        if let (Some(body), true) = (body.as_object_mut(), is_usage_wanted) {
            body.insert("usage".to_owned(), usage.unwrap_or(Value::Null));
        }
        Event::new(&body)
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
    closing.push(choice(json!({}), json!(finish_reason(draft))));
    if is_usage_wanted {
        closing.push(chunk(json!([]), Some(usage(&draft.numbers.usage))));
    }
    closing.push(Event::bare("[DONE]"));
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

fn finish_reason(draft: &Draft<'_>) -> &'static str {
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
