//! Gemini `generateContent` and `streamGenerateContent`.

use serde_json::{Value, json};

use super::event::{Event, merge};
use super::{Draft, Stream};
use crate::served::{Reported, Tokens};

pub(super) fn whole(draft: &Draft<'_>) -> Value {
    let said = &draft.said;
    let mut parts: Vec<_> = said.thoughts.iter().map(|text| thought(text)).collect();
    parts.push(json!({"text": said.deltas.concat()}));
    parts.extend(tools(draft));
    response(
        draft,
        &json!(parts),
        Some("STOP"),
        draft.numbers.usage.output,
    )
}

/// Every chunk has the usage up to itself; the last one corrects, and is not always the largest.
pub(super) fn stream(draft: &Draft<'_>) -> Stream {
    let Tokens {
        output, reasoning, ..
    } = draft.numbers.usage;
    let early = if draft.numbers.number.is_multiple_of(3) {
        output + 7
    } else {
        reasoning + (output - reasoning) / 2
    };
    let chunk = |parts: Value, finish: Option<&str>, output: u64| {
        Event::new(&response(draft, &parts, finish, output))
    };
    let said = &draft.said;
    let mut opening: Vec<_> = said
        .thoughts
        .iter()
        .map(|text| chunk(json!([thought(text)]), None, reasoning))
        .collect();
    opening.push(chunk(json!([{"text": ""}]), None, reasoning));
    let deltas = said
        .deltas
        .iter()
        .map(|text| chunk(json!([{"text": text}]), None, early))
        .collect();
    let mut closing: Vec<_> = tools(draft)
        .map(|part| chunk(json!([part]), None, early))
        .collect();
    closing.push(chunk(json!([{"text": ""}]), Some("STOP"), output));
    Stream {
        opening,
        deltas,
        closing,
        reported_by_opening: Reported::Input,
        reported: Reported::Everything,
        error: Event::new(&json!({
            "error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"},
        })),
    }
}

fn thought(text: &str) -> Value {
    json!({"text": text, "thought": true})
}

/// The parts that call tools; the first carries the signature of the reasoning before it.
fn tools(draft: &Draft<'_>) -> impl Iterator<Item = Value> {
    draft.said.tools.iter().enumerate().map(|(index, tool)| {
        let mut part = json!({"functionCall": {
            "id": tool.id, "name": tool.name, "args": tool.arguments,
        }});
        if index == 0 {
            merge(&mut part, &json!({"thoughtSignature": "c2lnbmF0dXJl"}));
        }
        part
    })
}

fn response(draft: &Draft<'_>, parts: &Value, finish: Option<&str>, output: u64) -> Value {
    let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
    if let Some(finish) = finish {
        merge(&mut candidate, &json!({"finishReason": finish}));
    }
    json!({
        "candidates": [candidate],
        "usageMetadata": usage(draft, output),
        "modelVersion": draft.model,
        "responseId": draft.numbers.id,
    })
}

/// Input from tools stands beside the prompt, reasoning beside the candidates; what was cached is
/// a part of the prompt.
fn usage(draft: &Draft<'_>, output: u64) -> Value {
    let tokens = &draft.numbers.usage;
    let from_tools = tokens.input_uncached / 5;
    let prompt = tokens.input() - from_tools;
    let candidates = output - tokens.reasoning;
    let mut usage = json!({
        "promptTokenCount": prompt,
        "toolUsePromptTokenCount": from_tools,
        "cachedContentTokenCount": tokens.cache_read,
        "thoughtsTokenCount": tokens.reasoning,
        "totalTokenCount": tokens.input() + output,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
    });
    if let Some(tier) = draft.tier {
        merge(&mut usage, &json!({"serviceTier": tier}));
    }
    // As long as there is nothing to count, there is no count.
    if candidates > 0 {
        merge(&mut usage, &json!({"candidatesTokenCount": candidates}));
    }
    usage
}
