//! Cohere chat, second version, <https://docs.cohere.com/v2/reference/chat>. Replies name no model.

use serde_json::{Value, json};

use super::event::Event;
use super::{Draft, Stream};
use crate::served::{Reported, Tokens};

pub(super) fn whole(draft: &Draft<'_>) -> Value {
    json!({
        "id": draft.numbers.id,
        "message": {
            "role": "assistant",
            "content": [{"type": "text", "text": draft.said.deltas.concat()}],
        },
        "finish_reason": "COMPLETE",
        "usage": usage(&draft.numbers.usage),
    })
}

pub(super) fn stream(draft: &Draft<'_>) -> Stream {
    let message = json!({
        "role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": [],
    });
    let content = |content: Value| json!({"index": 0, "delta": {"message": {"content": content}}});
    let texts = draft.said.deltas.iter();
    let end = |reason: &str| {
        let delta = json!({"finish_reason": reason, "usage": usage(&draft.numbers.usage)});
        Event::named(
            "message-end",
            &json!({"id": draft.numbers.id, "delta": delta}),
        )
    };
    let error = json!({"finish_reason": "ERROR", "error": "The model failed."});
    Stream {
        opening: vec![
            Event::named(
                "message-start",
                &json!({"id": draft.numbers.id, "delta": {"message": message}}),
            ),
            Event::named(
                "content-start",
                &content(json!({"type": "text", "text": ""})),
            ),
        ],
        deltas: texts
            .map(|text| Event::named("content-delta", &content(json!({"text": text}))))
            .collect(),
        closing: vec![
            Event::named("content-end", &json!({"index": 0})),
            end("COMPLETE"),
        ],
        reported_by_opening: Reported::Nothing,
        reported: Reported::Everything,
        error: Event::named("message-end", &json!({"delta": error})),
    }
}

/// What is billed leaves out what the provider wrote into the prompt. Counts are fractions in some
/// replies, with nothing behind the point.
fn usage(tokens: &Tokens) -> Value {
    let billed = tokens.input() - tokens.input_uncached / 3;
    json!({
        "billed_units": {"input_tokens": billed, "output_tokens": tokens.output},
        "tokens": {"input_tokens": whole_fraction(tokens.input()), "output_tokens": tokens.output},
        "cached_tokens": tokens.cache_read,
    })
}

fn whole_fraction(count: u64) -> Value {
    // Every count of a test is far below the 2^53 that a double holds.
    let exact = u32::try_from(count).map(f64::from);
    exact.map_or_else(|_| json!(count), |count| json!(count))
}
