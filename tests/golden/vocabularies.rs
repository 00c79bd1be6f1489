//! How near a count is for models whose vocabulary is another one: texts of `tests/vocabularies`, whose
//! tokens are known, as replies of a stream that reports nothing.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::synthetic::calls_of;

/// A model of each family, and whose vocabulary it is.
const MODELS: [(&str, &str, &str); 4] = [
    ("llama", "llama-3.3-70b", "Llama 3.1"),
    ("gemini", "gemini-3-pro", "Gemma 3"),
    ("deepseek", "deepseek-v3", "DeepSeek V3"),
    ("qwen", "qwen3-32b", "Qwen 3"),
];

/// An estimate may be wrong by so much, in per cent.
const ALLOWED_PERCENT: u64 = 20;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vocabularies")
}

/// What is counted of a text as the reply of a model.
fn estimated(model: &str, text: &str) -> u64 {
    let request =
        json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "Hi"}]});
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        json!({"id": "chatcmpl-1", "model": model, "choices": [choice]})
    };
    let exchange = format!(
        "POST /v1/chat/completions HTTP/1.1\nhost: llm.internal\n\n{request}\n\n\
         HTTP/1.1 200 OK\ncontent-type: text/event-stream\ntransfer-encoding: chunked\n\n\
         data: {}\n\ndata: {}\n\ndata: [DONE]\n",
        chunk(json!({"content": text}), Value::Null),
        chunk(json!({}), json!("stop"))
    );
    let calls = calls_of(&exchange);
    let [call] = calls.as_slice() else {
        panic!("{} calls", calls.len());
    };
    assert_eq!(call.call.usage_source.as_str(), "estimated");
    call.call.usage.output.unwrap()
}

/// How far an estimate is off, in tenths of a per cent.
fn error(known: u64, estimated: u64) -> String {
    let tenths = (estimated.abs_diff(known) * 2_000 / known).div_ceil(2);
    let sign = match estimated.cmp(&known) {
        std::cmp::Ordering::Less => "−",
        std::cmp::Ordering::Equal => return "0".to_owned(),
        std::cmp::Ordering::Greater => "+",
    };
    format!("{sign}{}.{} %", tenths / 10, tenths % 10)
}

#[test]
fn other_vocabularies_are_estimated_within_a_fifth() {
    let counts = fs::read_to_string(folder().join("counts.json")).unwrap();
    let counts: Value = serde_json::from_str(&counts).unwrap();
    let mut table = String::from(
        "| vocabulary | model | text | tokens | estimated | error |\n|---|---|---|--:|--:|--:|\n",
    );
    for (family, model, vocabulary) in MODELS {
        let texts = counts[family].as_object().unwrap();
        let mut all = (0, 0);
        let mut row = |text: &str, known, estimated| {
            let error = error(known, estimated);
            writeln!(
                table,
                "| {vocabulary} | {model} | {text} | {known} | {estimated} | {error} |"
            )
            .unwrap();
        };
        for (name, known) in texts {
            let text = fs::read_to_string(folder().join(format!("{name}.txt"))).unwrap();
            let (known, estimated) = (known.as_u64().unwrap(), estimated(model, text.trim_end()));
            assert!(
                estimated.abs_diff(known) * 100 <= known * ALLOWED_PERCENT,
                "{model}, {name}: {estimated} for {known}"
            );
            all = (all.0 + known, all.1 + estimated);
            row(name, known, estimated);
        }
        row("all of them", all.0, all.1);
    }
    let path = folder().join("estimates.md");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &table).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(table, kept, "BLESS=1 rewrites it");
}
