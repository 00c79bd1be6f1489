//! Vercel AI Gateway's own protocol, the fourth version of the AI SDK's model of a call.

use serde_json::{Value, json};

use super::event::Event;
use super::{Draft, Stream};
use crate::served::Reported;

/// When every reply claims to have been made.
const CREATED: &str = "2026-11-01T12:00:00.000Z";

/// Dollars that every call costs, in text as the gateway has them.
const COST: &str = "0.0012345";

/// Id of the one block of text.
const TEXT_ID: &str = "0";

pub(super) fn whole(draft: &Draft<'_>) -> Value {
    json!({
        "content": [{"type": "text", "text": draft.said.deltas.concat()}],
        "finishReason": finish_reason(),
        "usage": usage(draft),
        "warnings": [],
        "response": {"id": draft.numbers.id, "modelId": draft.model, "timestamp": CREATED},
        "providerMetadata": provider_metadata(draft),
    })
}

pub(super) fn stream(draft: &Draft<'_>) -> Stream {
    let texts = draft.said.deltas.iter();
    let metadata = json!({
        "id": draft.numbers.id,
        "modelId": draft.model,
        "timestamp": CREATED,
    });
    let finish = json!({
        "finishReason": finish_reason(),
        "usage": usage(draft),
        "providerMetadata": provider_metadata(draft),
    });
    Stream {
        opening: vec![
            Event::of_kind("stream-start", &json!({"warnings": []})),
            Event::of_kind("response-metadata", &metadata),
            Event::of_kind("text-start", &json!({"id": TEXT_ID})),
        ],
        deltas: texts
            .map(|text| Event::of_kind("text-delta", &json!({"id": TEXT_ID, "delta": text})))
            .collect(),
        closing: vec![
            Event::of_kind("text-end", &json!({"id": TEXT_ID})),
            Event::of_kind("finish", &finish),
        ],
        reported_by_opening: Reported::Nothing,
        reported: Reported::Everything,
        error: Event::of_kind("error", &json!({"error": {"message": "The model failed."}})),
    }
}

fn finish_reason() -> Value {
    json!({"unified": "stop", "raw": "stop"})
}

fn provider_metadata(draft: &Draft<'_>) -> Value {
    let generation = format!("gen_{}", draft.numbers.request_id);
    json!({"gateway": {"generationId": generation, "cost": COST}})
}

/// The caches are inside the input, and reasoning is inside the output. `raw` is the usage of the
/// provider behind the gateway: the same tokens again.
fn usage(draft: &Draft<'_>) -> Value {
    let tokens = &draft.numbers.usage;
    json!({
        "inputTokens": {
            "total": tokens.input(),
            "noCache": tokens.input_uncached,
            "cacheRead": tokens.cache_read,
            "cacheWrite": tokens.cache_write_other,
        },
        "outputTokens": {
            "total": tokens.output,
            "text": tokens.output - tokens.reasoning,
            "reasoning": tokens.reasoning,
        },
        "raw": {"input_tokens": tokens.input(), "output_tokens": tokens.output},
    })
}
