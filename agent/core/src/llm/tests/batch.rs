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

/// The output of a batch of Anthropic.
fn messages(text: &str) -> Talk {
    Talk {
        path: "/v1/messages/batches/msgbatch_01/results",
        kind: "application/x-jsonl",
        ..file(text)
    }
}

const MESSAGE: &str = r#"{"custom_id":"a","result":{"type":"succeeded","message":{"id":"msg_01","type":"message","role":"assistant","model":"claude-opus-5-5-20260901","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","usage":{"input_tokens":10,"cache_creation_input_tokens":7,"cache_read_input_tokens":90,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":7},"output_tokens":25,"service_tier":"batch","inference_geo":"us","server_tool_use":{"web_search_requests":1},"iterations":[{"type":"advisor_message","model":"m","input_tokens":1,"output_tokens":2}]}}}}"#;
const REFUSAL: &str = r#"{"result":{"message":{"usage":{"output_tokens":0,"input_tokens":3},"stop_reason":"refusal","id":"msg_02","type":"message","model":"claude-opus-5-5-20260901","content":[]},"type":"succeeded"},"custom_id":"b"}"#;
const FAILED: &str = r#"{"custom_id":"c","result":{"type":"errored","error":{"type":"error","error":{"type":"invalid_request_error","message":"no"},"request_id":null}}}"#;
const CANCELED: &str = r#"{"custom_id":"d","result":{"type":"canceled"}}"#;
const LAPSED: &str = r#"{"custom_id":"e","result":{"type":"expired"}}"#;

#[test]
fn every_message_of_a_batch_of_anthropic_is_a_call_and_what_failed_is_none() {
    let text = [MESSAGE, FAILED, CANCELED, REFUSAL, LAPSED].join("\n");
    let (calls, stats) = told(&messages(&text));
    let call = LlmCall {
        exchange: exchange(0),
        started: at(1),
        ended: at(3),
        endpoint: Endpoint::AnthropicMessages,
        server_name: Some("llm.example".to_owned()),
        model_served: Some("claude-opus-5-5-20260901".to_owned()),
        usage_source: UsageSource::Provider,
        terms: Terms {
            is_batch: true,
            ..Terms::default()
        },
        ..LlmCall::plain()
    };
    let first = LlmCall {
        response_id: Some("msg_01".to_owned()),
        stop_reason: Some("end_turn".to_owned()),
        usage: Usage {
            input_uncached: Some(10),
            cache_read: Some(90),
            cache_write_5m: Some(0),
            cache_write_1h: Some(7),
            cache_write_other: Some(0),
            output: Some(25),
            ..Usage::default()
        },
        units: Units {
            web_searches: Some(1),
            unpriced: None,
        },
        sub_inferences: vec![SubInference {
            kind: SubKind::Advisor,
            model: Some("m".to_owned()),
            usage: Usage {
                input_uncached: Some(1),
                output: Some(2),
                ..Usage::default()
            },
        }],
        terms: Terms {
            service_tier: Some("batch".to_owned()),
            region: Some("us".to_owned()),
            is_batch: true,
            ..Terms::default()
        },
        ..call.clone()
    };
    let second = LlmCall {
        response_id: Some("msg_02".to_owned()),
        stop_reason: Some("refusal".to_owned()),
        usage: Usage {
            input_uncached: Some(3),
            output: Some(0),
            ..Usage::default()
        },
        ..call
    };
    assert_eq!(calls, [first, second]);
    assert_eq!(
        (
            stats.json_malformed,
            stats.not_a_call,
            stats.usage_unrecorded
        ),
        (0, 0, 0)
    );
}

#[test]
fn a_batch_of_anthropic_of_which_all_failed_is_no_foreign_exchange() {
    let (calls, stats) = told(&messages(&[FAILED, CANCELED, LAPSED].join("\n")));
    assert_eq!((calls.len(), stats.not_a_call), (0, 0));
}

#[test]
fn trap_17_a_batch_of_anthropic_cut_at_any_byte_gives_the_same_calls() {
    let text = [MESSAGE, FAILED, REFUSAL].join("\n");
    let talk = messages(&text);
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
fn trap_16_a_batch_of_anthropic_itself_is_no_call() {
    let batch = r#"{"id":"msgbatch_01","type":"message_batch","processing_status":"ended","request_counts":{"succeeded":1}}"#;
    for path in [
        "/v1/messages/batches/msgbatch_01",
        "/v1/messages/batches",
        "/v1/batches/msgbatch_01/results",
        "/v1/messages/batches//results",
    ] {
        let talk = Talk {
            method: "GET",
            ..Talk::new(path, "", "application/json", batch)
        };
        assert_eq!(told(&talk).0, [], "{path}");
    }
}
