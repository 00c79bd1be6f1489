//! OpenAI responses.

use serde_json::{Value, json};

use super::{Stream, named_event};
use crate::numbers::Numbers;
use crate::served::{Reported, Tokens};

/// When every reply claims to have been made.
const CREATED: u64 = 1_793_491_200;

pub(super) fn whole(model: &str, request: &Value, numbers: &Numbers) -> Value {
    let output = output(numbers);
    response(
        model,
        request,
        numbers,
        "completed",
        &output,
        &usage(&numbers.usage),
    )
}

pub(super) fn stream(model: &str, request: &Value, numbers: &Numbers) -> Stream {
    let mut sequence = 0_u64;
    let mut named = |name: &str, mut fields: Value| {
        if let Some(fields) = fields.as_object_mut() {
            fields.insert("type".to_owned(), json!(name));
            fields.insert("sequence_number".to_owned(), json!(sequence));
        }
        sequence += 1;
        named_event(name, &fields)
    };
    let begun = response(
        model,
        request,
        numbers,
        "in_progress",
        &json!([]),
        &Value::Null,
    );
    let mut opening = vec![
        named("response.created", json!({"response": begun})),
        named("response.in_progress", json!({"response": begun})),
    ];
    let mut index = 0;
    if !numbers.thoughts.is_empty() {
        let item = reasoning(numbers);
        opening.push(named(
            "response.output_item.added",
            json!({"output_index": index, "item": item}),
        ));
        opening.push(named(
            "response.output_item.done",
            json!({"output_index": index, "item": item}),
        ));
        index += 1;
    }
    let item_id = item_id(numbers);
    let empty = json!({
        "id": item_id, "type": "message", "status": "in_progress", "role": "assistant",
        "content": [],
    });
    opening.push(named(
        "response.output_item.added",
        json!({"output_index": index, "item": empty}),
    ));
    opening.push(named(
        "response.content_part.added",
        json!({"item_id": item_id, "output_index": index, "content_index": 0, "part": text("")}),
    ));
    let deltas = numbers
        .deltas
        .iter()
        .map(|delta| {
            named(
                "response.output_text.delta",
                json!({
                    "item_id": item_id, "output_index": index, "content_index": 0,
                    "delta": delta, "logprobs": [], "obfuscation": numbers.obfuscation,
                }),
            )
        })
        .collect();
    let said = numbers.deltas.concat();
    let place = json!({"item_id": item_id, "output_index": index, "content_index": 0});
    let with = |key: &str, value: Value| {
        let mut fields = place.clone();
        if let Some(fields) = fields.as_object_mut() {
            fields.insert(key.to_owned(), value);
        }
        fields
    };
    let mut done = with("text", json!(said));
    if let Some(done) = done.as_object_mut() {
        done.insert("logprobs".to_owned(), json!([]));
    }
    let finished = response(
        model,
        request,
        numbers,
        "completed",
        &output(numbers),
        &usage(&numbers.usage),
    );
    let closing = vec![
        named("response.output_text.done", done),
        named("response.content_part.done", with("part", text(&said))),
        named(
            "response.output_item.done",
            json!({"output_index": index, "item": message(numbers)}),
        ),
        named("response.completed", json!({"response": finished})),
    ];
    let mut failed = response(model, request, numbers, "failed", &json!([]), &Value::Null);
    if let Some(failed) = failed.as_object_mut() {
        let error = json!({"code": "server_error", "message": "The model failed to respond."});
        failed.insert("error".to_owned(), error);
    }
    let error = named("response.failed", json!({"response": failed}));
    Stream {
        opening,
        deltas,
        closing,
        reported_by_opening: Reported::Nothing,
        reported: Reported::Everything,
        error,
    }
}

fn response(
    model: &str,
    request: &Value,
    numbers: &Numbers,
    status: &str,
    output: &Value,
    usage: &Value,
) -> Value {
    json!({
        "id": numbers.id,
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": request.get("instructions"),
        "max_output_tokens": null,
        "model": model,
        "output": output,
        "parallel_tool_calls": true,
        "previous_response_id": request.get("previous_response_id"),
        "prompt_cache_key": request.get("prompt_cache_key"),
        "reasoning": {"effort": null, "summary": null},
        "service_tier": "default",
        "store": true,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage,
        "user": null,
        "metadata": {},
    })
}

fn output(numbers: &Numbers) -> Value {
    if numbers.thoughts.is_empty() {
        json!([message(numbers)])
    } else {
        json!([reasoning(numbers), message(numbers)])
    }
}

fn reasoning(numbers: &Numbers) -> Value {
    json!({"id": format!("rs_{:06}", numbers.number), "type": "reasoning", "summary": []})
}

fn message(numbers: &Numbers) -> Value {
    json!({
        "id": item_id(numbers),
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [text(&numbers.deltas.concat())],
    })
}

/// The message's own id, which is no id of a response.
fn item_id(numbers: &Numbers) -> String {
    format!("msg_item_{:06}", numbers.number)
}

fn text(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn usage(tokens: &Tokens) -> Value {
    let short = tokens.cache_write_other / 2;
    json!({
        "input_tokens": tokens.input(),
        "input_tokens_details": {
            "cached_tokens": tokens.cache_read,
            "cache_write_tokens": tokens.cache_write_other,
            "cache_write_tokens_details": {
                "ttl_30m_tokens": short,
                "ttl_12h_tokens": tokens.cache_write_other - short,
            },
        },
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input() + tokens.output,
    })
}
