//! OpenAI responses, by POST and over a WebSocket.

use serde_json::{Value, json};

use super::event::{Event, merge};
use super::{CREATED, Draft, Stream, halves};
use crate::agents::ToolUse;
use crate::served::{Reported, Tokens};

pub(super) fn whole(draft: &Draft<'_>) -> Value {
    finished(draft)
}

pub(super) fn stream(draft: &Draft<'_>) -> Stream {
    let mut numbered = Numbered::default();
    let begun = response(draft, "in_progress", &json!([]), &Value::Null);
    let mut opening = vec![
        numbered.event("response.created", &json!({"response": begun})),
        numbered.event("response.in_progress", &json!({"response": begun})),
    ];
    let mut deltas = Vec::new();
    let mut closing = Vec::new();
    let mut after_deltas = numbered.clone();
    if !draft.call.is_warm_up() {
        let mut index = 0;
        if !draft.said.thoughts.is_empty() {
            let place = json!({"output_index": index, "item": reasoning(draft)});
            opening.push(numbered.event("response.output_item.added", &place));
            opening.push(numbered.event("response.output_item.done", &place));
            index += 1;
        }
        let item_id = item_id(draft);
        let empty = json!({
            "id": item_id, "type": "message", "status": "in_progress", "role": "assistant",
            "content": [],
        });
        opening.push(numbered.event(
            "response.output_item.added",
            &json!({"output_index": index, "item": empty}),
        ));
        let place = json!({"item_id": item_id, "output_index": index, "content_index": 0});
        let at = |fields: Value| {
            let mut place = place.clone();
            merge(&mut place, &fields);
            place
        };
        opening.push(numbered.event(
            "response.content_part.added",
            &at(json!({"part": text("")})),
        ));
        deltas.extend(draft.said.deltas.iter().map(|delta| {
            let obfuscation = &draft.numbers.obfuscation;
            numbered.event(
                "response.output_text.delta",
                &at(json!({"delta": delta, "logprobs": [], "obfuscation": obfuscation})),
            )
        }));
        after_deltas = numbered.clone();
        let said = draft.said.deltas.concat();
        closing.push(numbered.event(
            "response.output_text.done",
            &at(json!({"text": said, "logprobs": []})),
        ));
        closing.push(numbered.event(
            "response.content_part.done",
            &at(json!({"part": text(&said)})),
        ));
        closing.push(numbered.event(
            "response.output_item.done",
            &json!({"output_index": index, "item": message(draft)}),
        ));
        for (tool, index) in draft.said.tools.iter().zip(index + 1..) {
            tool_events(tool, index, &mut numbered, &mut closing);
        }
    }
    // A stream that fails does so in place of what would have come behind the deltas.
    let mut failed = response(draft, "failed", &json!([]), &Value::Null);
    let error = json!({"code": "server_error", "message": "The model failed to respond."});
    merge(&mut failed, &json!({"error": error}));
    let error = after_deltas.event("response.failed", &json!({"response": failed}));
    closing.push(numbered.event("response.completed", &json!({"response": finished(draft)})));
    Stream {
        opening,
        deltas,
        closing,
        reported_by_opening: Reported::Nothing,
        reported: Reported::Everything,
        error,
    }
}

/// Numbers the events of one stream.
#[derive(Clone, Default)]
struct Numbered {
    next: u64,
}

impl Numbered {
    fn event(&mut self, name: &str, fields: &Value) -> Event {
        let mut fields = fields.clone();
        merge(&mut fields, &json!({"sequence_number": self.next}));
        self.next += 1;
        Event::named(name, &fields)
    }
}

fn tool_events(tool: &ToolUse, index: usize, numbered: &mut Numbered, events: &mut Vec<Event>) {
    let arguments = tool.arguments.to_string();
    let item_id = format!("fc_{}", tool.id);
    let mut empty = function_call(tool);
    merge(
        &mut empty,
        &json!({"status": "in_progress", "arguments": ""}),
    );
    events.push(numbered.event(
        "response.output_item.added",
        &json!({"output_index": index, "item": empty}),
    ));
    for piece in halves(&arguments) {
        events.push(numbered.event(
            "response.function_call_arguments.delta",
            &json!({"item_id": item_id, "output_index": index, "delta": piece}),
        ));
    }
    events.push(numbered.event(
        "response.function_call_arguments.done",
        &json!({"item_id": item_id, "output_index": index, "arguments": arguments}),
    ));
    events.push(numbered.event(
        "response.output_item.done",
        &json!({"output_index": index, "item": function_call(tool)}),
    ));
}

fn finished(draft: &Draft<'_>) -> Value {
    let mut output = Vec::new();
    if !draft.said.thoughts.is_empty() {
        output.push(reasoning(draft));
    }
    if !draft.call.is_warm_up() {
        output.push(message(draft));
    }
    output.extend(draft.said.tools.iter().map(function_call));
    let usage = usage(&draft.numbers.usage);
    response(draft, "completed", &json!(output), &usage)
}

fn response(draft: &Draft<'_>, status: &str, output: &Value, usage: &Value) -> Value {
    let request = &draft.call.body;
    json!({
        "id": draft.numbers.id,
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": request.get("instructions"),
        "max_output_tokens": null,
        "model": draft.model,
        "output": output,
        "parallel_tool_calls": true,
        "previous_response_id": request.get("previous_response_id"),
        "prompt_cache_key": request.get("prompt_cache_key"),
        "reasoning": {"effort": null, "summary": null},
        "service_tier": draft.tier,
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

fn reasoning(draft: &Draft<'_>) -> Value {
    json!({"id": format!("rs_{:06}", draft.numbers.number), "type": "reasoning", "summary": []})
}

fn message(draft: &Draft<'_>) -> Value {
    json!({
        "id": item_id(draft),
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [text(&draft.said.deltas.concat())],
    })
}

/// The message's own id, which is no id of a response.
fn item_id(draft: &Draft<'_>) -> String {
    format!("msg_item_{:06}", draft.numbers.number)
}

fn function_call(tool: &ToolUse) -> Value {
    json!({
        "id": format!("fc_{}", tool.id),
        "type": "function_call",
        "status": "completed",
        "call_id": tool.id,
        "name": tool.name,
        "arguments": tool.arguments.to_string(),
    })
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
