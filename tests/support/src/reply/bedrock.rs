//! Bedrock's `converse`, and `invoke` of a model of Anthropic's, whose own reply it hands on.
//!
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>

use serde_json::{Value, json};

use super::event::{Event, merge};
use super::{Draft, Stream, anthropic};
use crate::served::Reported;

/// Milliseconds that every reply claims to have taken.
const LATENCY_MS: u64 = 412;

pub(super) fn converse(draft: &Draft<'_>) -> Value {
    let content = json!([{"text": draft.said.deltas.concat()}]);
    let mut body = json!({
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": anthropic::stop_reason(draft),
        "metrics": {"latencyMs": LATENCY_MS},
        "usage": usage(draft),
    });
    merge_tier(draft, &mut body);
    body
}

pub(super) fn converse_stream(draft: &Draft<'_>) -> Stream {
    // Padding, which hides how long a text is.
    let padding = &draft.numbers.obfuscation;
    let event = |name: &str, mut fields: Value| {
        merge(&mut fields, &json!({"p": padding}));
        Event::typed(name, &fields)
    };
    let texts = draft.said.deltas.iter();
    let mut metadata = json!({"metrics": {"latencyMs": LATENCY_MS}, "usage": usage(draft)});
    merge_tier(draft, &mut metadata);
    Stream {
        opening: vec![event("messageStart", json!({"role": "assistant"}))],
        deltas: texts
            .map(|text| {
                let delta = json!({"contentBlockIndex": 0, "delta": {"text": text}});
                event("contentBlockDelta", delta)
            })
            .collect(),
        closing: vec![
            event("contentBlockStop", json!({"contentBlockIndex": 0})),
            event(
                "messageStop",
                json!({"stopReason": anthropic::stop_reason(draft)}),
            ),
            // The usage comes after the end of the message.
            event("metadata", metadata),
        ],
        reported_by_opening: Reported::Nothing,
        reported: Reported::Everything,
        error: exception(),
    }
}

/// The events of the model's own stream, each in a message; the last one repeats the usage.
pub(super) fn invoke_stream(draft: &Draft<'_>) -> Stream {
    let Stream {
        opening,
        deltas,
        mut closing,
        reported_by_opening,
        reported,
        error: _,
    } = anthropic::stream(draft);
    if let Some(last) = closing.last_mut() {
        let tokens = &draft.numbers.usage;
        last.merge(&json!({"amazon-bedrock-invocationMetrics": {
            "inputTokenCount": tokens.input_uncached,
            "outputTokenCount": tokens.output,
            "cacheReadInputTokenCount": tokens.cache_read,
            "cacheWriteInputTokenCount": tokens.cache_write_5m + tokens.cache_write_1h,
            "invocationLatency": LATENCY_MS,
            "firstByteLatency": LATENCY_MS,
        }}));
    }
    let chunks = |events: Vec<Event>| {
        let chunk = |event: Event| event.in_chunk(&draft.numbers.obfuscation);
        events.into_iter().map(chunk).collect()
    };
    Stream {
        opening: chunks(opening),
        deltas: chunks(deltas),
        closing: chunks(closing),
        reported_by_opening,
        reported,
        error: exception(),
    }
}

/// Fields in which `invoke` repeats the counts of a reply that comes at once.
pub(super) fn headers(draft: &Draft<'_>) -> Vec<(&'static str, String)> {
    let tokens = &draft.numbers.usage;
    if draft.call.is_stream() {
        return vec![("x-amzn-bedrock-content-type", "application/json".to_owned())];
    }
    [
        ("x-amzn-bedrock-input-token-count", tokens.input_uncached),
        ("x-amzn-bedrock-output-token-count", tokens.output),
        (
            "x-amzn-bedrock-cache-read-input-token-count",
            tokens.cache_read,
        ),
        (
            "x-amzn-bedrock-cache-write-input-token-count",
            tokens.cache_write_5m + tokens.cache_write_1h,
        ),
        ("x-amzn-bedrock-invocation-latency", LATENCY_MS),
    ]
    .map(|(name, count)| (name, count.to_string()))
    .into()
}

fn merge_tier(draft: &Draft<'_>, body: &mut Value) {
    if let Some(tier) = draft.tier {
        merge(body, &json!({"serviceTier": {"type": tier}}));
    }
}

fn exception() -> Event {
    Event::exception(
        "modelStreamErrorException",
        &json!({"message": "The model failed.", "originalStatusCode": 500}),
    )
}

/// The caches are beside the input, and in the total.
fn usage(draft: &Draft<'_>) -> Value {
    let tokens = &draft.numbers.usage;
    let details: Vec<_> = [("1h", tokens.cache_write_1h), ("5m", tokens.cache_write_5m)]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(ttl, count)| json!({"ttl": ttl, "inputTokens": count}))
        .collect();
    json!({
        "inputTokens": tokens.input_uncached,
        "outputTokens": tokens.output,
        "totalTokens": tokens.input() + tokens.output,
        "cacheReadInputTokens": tokens.cache_read,
        "cacheWriteInputTokens": tokens.cache_write_5m + tokens.cache_write_1h,
        "cacheDetails": details,
    })
}
