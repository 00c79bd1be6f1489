//! Results of batches: many replies in one.

use super::*;

const CHAT: &str = r#"{"id":"batch_req_1","custom_id":"a","response":{"status_code":200,"request_id":"r1","body":{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-6-2026","service_tier":"default","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,"prompt_tokens_details":{"cached_tokens":60}}}},"error":null}"#;
const SORTED: &str = r#"{"custom_id":"b","error":null,"id":"batch_req_2","response":{"body":{"choices":[{"finish_reason":"length","message":{"content":"Hi"}}],"id":"chatcmpl-2","model":"gpt-6-2026","object":"chat.completion","usage":{"completion_tokens":2,"prompt_tokens":10,"total_tokens":12}},"status_code":200}}"#;
const RESPONSE: &str = r#"{"id":"batch_req_3","custom_id":"c","response":{"status_code":200,"body":{"id":"resp_3","object":"response","status":"completed","error":null,"model":"gpt-6-2026","output":[{"type":"message","content":[{"type":"output_text","text":"Hi"}]}],"usage":{"input_tokens":7,"output_tokens":3,"total_tokens":10}}},"error":null}"#;
const EMBEDDING: &str = r#"{"id":"batch_req_4","custom_id":"d","response":{"status_code":200,"body":{"object":"list","data":[{"object":"embedding","embedding":[0.1]}],"model":"text-embedding-3","usage":{"prompt_tokens":5,"total_tokens":5}}},"error":null}"#;
const REFUSED: &str = r#"{"id":"batch_req_5","custom_id":"e","response":{"status_code":400,"body":{"error":{"message":"no"}}},"error":null}"#;
const EXPIRED: &str = r#"{"id":"batch_req_6","custom_id":"f","response":null,"error":{"code":"batch_expired","message":"no"}}"#;

const ALL: [&str; 6] = [CHAT, SORTED, RESPONSE, EMBEDDING, REFUSED, EXPIRED];

fn file(text: &str) -> Talk {
    Talk {
        method: "GET",
        ..Talk::new(
            "/v1/files/file-abc/content",
            "",
            "application/octet-stream",
            text,
        )
    }
}

fn told(talk: &Talk) -> (Vec<LlmCall>, Stats) {
    let (out, stats) = talk.run();
    let calls = calls(out);
    assert_eq!(stats.calls, calls.len() as u64);
    (calls, stats)
}

type Row = (
    Endpoint,
    Option<String>,
    Outcome,
    Option<u16>,
    Option<u64>,
    Option<u64>,
);

fn rows(calls: &[LlmCall]) -> Vec<Row> {
    let row = |call: &LlmCall| {
        (
            call.endpoint,
            call.response_id.clone(),
            call.outcome,
            call.http_status,
            call.usage.input_uncached,
            call.usage.output,
        )
    };
    calls.iter().map(row).collect()
}

fn expected() -> Vec<Row> {
    use Endpoint::{OpenAiChat, OpenAiEmbeddings, OpenAiResponses};
    use Outcome::{Complete, Error};
    let id = |id: &str| Some(id.to_owned());
    vec![
        (
            OpenAiChat,
            id("chatcmpl-1"),
            Complete,
            Some(200),
            Some(40),
            Some(20),
        ),
        (
            OpenAiChat,
            id("chatcmpl-2"),
            Complete,
            Some(200),
            Some(10),
            Some(2),
        ),
        (
            OpenAiResponses,
            id("resp_3"),
            Complete,
            Some(200),
            Some(7),
            Some(3),
        ),
        (
            OpenAiEmbeddings,
            id("batch_req_4"),
            Complete,
            Some(200),
            Some(5),
            Some(0),
        ),
        (OpenAiChat, id("batch_req_5"), Error, Some(400), None, None),
        (OpenAiChat, id("batch_req_6"), Error, None, None, None),
    ]
}

#[test]
fn every_line_of_a_batchs_output_is_a_call() {
    for text in [ALL.join("\n"), ALL.join("\r\n") + "\r\n"] {
        let (calls, stats) = told(&file(&text));
        assert_eq!(rows(&calls), expected());
        assert!(
            calls
                .iter()
                .all(|call| call.terms.is_batch && call.countable.is_none())
        );
        assert_eq!(
            (
                calls[0].terms.service_tier.as_deref(),
                calls[0].stop_reason.as_deref(),
                calls[2].stop_reason.as_deref()
            ),
            (Some("default"), Some("stop"), Some("completed"))
        );
        assert_eq!(
            (
                stats.json_malformed,
                stats.not_a_call,
                stats.usage_inconsistent
            ),
            (0, 0, 0)
        );
    }
}

#[test]
fn trap_17_a_batchs_output_cut_at_any_byte_gives_the_same_calls() {
    let text = ALL.join("\n");
    let talk = file(&text);
    let (whole, _) = told(&talk);
    for cut in 0..=text.len() {
        let (a, b) = text.as_bytes().split_at(cut);
        let pieces = vec![Piece::Bytes(a.to_vec()), Piece::Bytes(b.to_vec())];
        assert_eq!(told(&talk.clone().pieces(pieces)).0, whole, "cut at {cut}");
        let only = vec![Piece::Bytes(a.to_vec())];
        let (begun, _) = told(&talk.clone().pieces(only).end(BodyEnd::Cut));
        assert!(rows(&whole).starts_with(&rows(&begun)), "cut at {cut}");
    }
}

#[test]
fn a_gap_in_a_batchs_output_costs_the_lines_it_touches() {
    let text = ALL.join("\n");
    let (whole, _) = told(&file(&text));
    for from in (0..text.len()).step_by(7) {
        let to = (from + 40).min(text.len());
        let (a, _) = text.as_bytes().split_at(from);
        let (_, b) = text.as_bytes().split_at(to);
        let pieces = vec![
            Piece::Bytes(a.to_vec()),
            Piece::Gap,
            Piece::Bytes(b.to_vec()),
        ];
        let (found, stats) = told(&file(&text).pieces(pieces));
        assert!(found.iter().all(|call| whole.contains(call)), "from {from}");
        assert!(
            found.len() >= ALL.len() - 2 && stats.json_malformed == 0,
            "from {from}"
        );
    }
}

#[test]
fn a_result_with_a_total_that_nothing_makes_is_noticed() {
    let wrong = CHAT.replace(r#""total_tokens":120"#, r#""total_tokens":121"#);
    let (calls, stats) = told(&file(&[&wrong, SORTED].join("\n")));
    assert_eq!((calls.len(), stats.usage_inconsistent), (2, 1));
}

#[test]
fn a_result_without_any_id_is_not_recorded_and_counted() {
    let nameless = EMBEDDING.replace(r#""id":"batch_req_4","#, "");
    let (calls, stats) = told(&file(&[&nameless, CHAT].join("\n")));
    assert_eq!((calls.len(), stats.usage_unrecorded), (1, 1));
}

#[test]
fn any_other_file_is_no_call() {
    for text in [
        r#"{"custom_id":1,"response":{"body":{"usage":{"prompt_tokens":5,"completion_tokens":5}}}}"#,
        "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}\n{\"messages\":[]}\n",
        "a,b\n1,2\n",
        "",
    ] {
        let (calls, stats) = told(&file(text));
        assert_eq!((calls.len(), stats.not_a_call), (0, 1), "{text}");
    }
    let download = file(&"x\n".repeat(1 << 20));
    assert_eq!(told(&download).1.connections_ignored, 1);
}

#[test]
fn trap_16_the_batch_itself_is_no_call() {
    let batch = r#"{"id":"batch_1","object":"batch","status":"completed","usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}"#;
    for path in [
        "/v1/batches/batch_0123456789",
        "/v1/batches",
        "/v1/files/file-abc",
    ] {
        let talk = Talk {
            method: "GET",
            ..Talk::new(path, "", "application/json", batch)
        };
        assert_eq!(told(&talk).0, [], "{path}");
    }
}
