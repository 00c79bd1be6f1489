//! OpenAI's legacy completions.

use serde_json::{Value, json};

use super::chat::is_usage_wanted;
use super::event::{Event, merge};
use super::{CREATED, Draft, Stream};
use crate::served::{Reported, Tokens};

pub(super) fn whole(draft: &Draft<'_>) -> Value {
    let text = draft.said.deltas.concat();
    let mut body = part(draft, json!([choice(&text, Some("stop"))]));
    merge(&mut body, &json!({"usage": usage(&draft.numbers.usage)}));
    body
}

pub(super) fn stream(draft: &Draft<'_>) -> Stream {
    let is_usage_wanted = is_usage_wanted(draft.call);
    let event = |choices: Value, usage: Option<Value>| {
        let mut body = part(draft, choices);
        if is_usage_wanted {
            merge(&mut body, &json!({"usage": usage}));
        }
        Event::new(&body)
    };
    let mut closing = vec![event(json!([choice("", Some("stop"))]), None)];
    if is_usage_wanted {
        closing.push(event(json!([]), Some(usage(&draft.numbers.usage))));
    }
    closing.push(Event::bare("[DONE]"));
    Stream {
        opening: vec![event(json!([choice("", None)]), None)],
        deltas: draft
            .said
            .deltas
            .iter()
            .map(|text| event(json!([choice(text, None)]), None))
            .collect(),
        closing,
        reported_by_opening: Reported::Nothing,
        reported: if is_usage_wanted {
            Reported::Everything
        } else {
            Reported::Nothing
        },
        error: Event::new(&json!({
            "error": {"message": "The model failed.", "type": "server_error", "code": null},
        })),
    }
}

fn part(draft: &Draft<'_>, choices: Value) -> Value {
    json!({
        "id": draft.numbers.id,
        "object": "text_completion",
        "created": CREATED,
        "model": draft.model,
        "choices": choices,
    })
}

fn choice(text: &str, finish_reason: Option<&str>) -> Value {
    json!({"text": text, "index": 0, "logprobs": null, "finish_reason": finish_reason})
}

fn usage(tokens: &Tokens) -> Value {
    json!({
        "prompt_tokens": tokens.input(),
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input() + tokens.output,
    })
}
