//! Ollama's own chat, <https://docs.ollama.com/api/chat>: one JSON text a line. Replies have no id.

use serde_json::json;

use super::event::Event;
use super::{Draft, Stream};
use crate::served::Reported;

/// The one line of a reply that comes at once.
pub(super) fn whole(draft: &Draft<'_>) -> String {
    last(draft, &draft.said.deltas.concat())
}

pub(super) fn stream(draft: &Draft<'_>) -> Stream {
    let texts = draft.said.deltas.iter();
    let part = |text: &str| Event::bare(&line(draft, text, r#""done":false"#));
    Stream {
        opening: vec![part("")],
        deltas: texts.map(|text| part(text)).collect(),
        closing: vec![Event::bare(&last(draft, ""))],
        reported_by_opening: Reported::Nothing,
        reported: Reported::Everything,
        error: Event::new(&json!({"error": "the model failed"})),
    }
}

/// A line with its members in the order of the real one: the counters are the last.
fn line(draft: &Draft<'_>, text: &str, end: &str) -> String {
    let model = json!(draft.model);
    let message = json!({"role": "assistant", "content": text});
    let created = "2026-11-01T12:00:00.000000001Z";
    format!(r#"{{"model":{model},"created_at":"{created}","message":{message},{end}}}"#)
}

fn last(draft: &Draft<'_>, text: &str) -> String {
    let tokens = &draft.numbers.usage;
    let end =
        r#""done":true,"done_reason":"stop","total_duration":4883583458,"load_duration":1334875,"#;
    let counters = format!(
        r#""prompt_eval_count":{},"prompt_eval_duration":342546000,"eval_count":{},"eval_duration":4535599000"#,
        tokens.input(),
        tokens.output,
    );
    line(draft, text, &format!("{end}{counters}"))
}
