//! OpenAI embeddings. The vectors come first and are long; the usage stands behind them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Draft;

/// Numbers of a vector, as of `text-embedding-3-small`.
const DIMENSIONS: u16 = 1_536;

pub(super) fn whole(draft: &Draft<'_>) -> Value {
    let inputs = match draft.call.body.get("input") {
        Some(Value::Array(inputs)) => inputs.len(),
        _ => 1,
    };
    let is_base64 = draft.call.body.get("encoding_format") == Some(&json!("base64"));
    let vectors: Vec<_> = (0..inputs)
        .map(|index| {
            let numbers = (0..DIMENSIONS).map(|number| f32::from(number) / 4_096.0);
            let vector = if is_base64 {
                let bytes: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
                json!(STANDARD.encode(bytes))
            } else {
                json!(numbers.collect::<Vec<_>>())
            };
            json!({"object": "embedding", "index": index, "embedding": vector})
        })
        .collect();
    let tokens = draft.numbers.usage.input();
    json!({
        "object": "list",
        "data": vectors,
        "model": draft.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })
}
