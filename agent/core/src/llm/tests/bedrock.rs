use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::http::eventstream::tests::{encoded, event};

const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";
const REQUEST: &str = r#"{"system":[{"text":"Be brief."}],"messages":[{"role":"user","content":[{"text":"Hello"},
    {"image":{"source":{"bytes":"QUJD"}}}]}],"toolConfig":{"tools":[{"toolSpec":{"name":"run"}}]}}"#;
const USAGE: &str = r#""usage":{"inputTokens":10,"outputTokens":25,"totalTokens":999,"cacheReadInputTokens":90,
    "cacheReadInputTokenCount":90,"cacheWriteInputTokens":7,"cacheWriteInputTokenCount":7,
    "cacheDetails":[{"ttl":"5m","inputTokens":1},{"inputTokens":3,"ttl":"1h"},{"ttl":"5m","inputTokens":3}]}"#;

fn talk(path: &'static str, kind: &'static str, response: Vec<u8>) -> Talk {
    Talk::new(path, REQUEST, kind, "")
        .pieces(vec![Piece::Bytes(response)])
        .field("host", "bedrock-runtime.us-east-1.amazonaws.com")
}

pub(super) fn converse() -> Talk {
    let body = r#"{"output":{"message":{"role":"assistant","content":[{"text":"Hi there"},
        {"toolUse":{"toolUseId":"t","name":"f","input":{"usage":{"outputTokens":7}}}}]}},"stopReason":"end_turn",
        "serviceTier":{"type":"priority"},"performanceConfig":{"latency":"optimized"},"metrics":{"latencyMs":9},USAGE}"#;
    talk(
        "/model/us.anthropic.claude-opus-5-5-v1%3A0/converse",
        "application/json",
        body.replace("USAGE", USAGE).into_bytes(),
    )
}

/// The events of a stream up to the reason to stop, each a frame.
fn said() -> Vec<Vec<u8>> {
    vec![
        event("messageStart", br#"{"p":"ab","role":"assistant"}"#),
        event(
            "contentBlockDelta",
            br#"{"contentBlockIndex":0,"delta":{"text":"Hi there"},"p":"abc"}"#,
        ),
        event("contentBlockStop", br#"{"contentBlockIndex":0}"#),
        event("messageStop", br#"{"stopReason":"end_turn"}"#),
    ]
}

fn converse_frames(frames: Vec<Vec<u8>>) -> Talk {
    talk(
        "/model/us.anthropic.claude-opus-5-5-v1%3A0/converse-stream",
        EVENT_STREAM,
        frames.concat(),
    )
}

pub(super) fn converse_stream() -> Talk {
    let metadata = r#"{USAGE,"metrics":{"latencyMs":9},"serviceTier":{"type":"priority"},
        "performanceConfig":{"latency":"optimized"}}"#;
    let mut frames = said();
    frames.push(event(
        "metadata",
        metadata.replace("USAGE", USAGE).as_bytes(),
    ));
    converse_frames(frames)
}

/// A model's own event, as it is wrapped up.
fn chunk(json: &str) -> Vec<u8> {
    let payload = format!(r#"{{"bytes":"{}","p":"abcdef"}}"#, STANDARD.encode(json));
    event("chunk", payload.as_bytes())
}

const METRICS: &str = r#""amazon-bedrock-invocationMetrics":{"inputTokenCount":10,"outputTokenCount":25,
    "cacheReadInputTokenCount":90,"cacheWriteInputTokenCount":7,"invocationLatency":9,"firstByteLatency":1}"#;

fn of_anthropic() -> [String; 4] {
    [
        r#"{"type":"message_start","message":{"id":"msg_bdrk_01","type":"message","model":"claude-opus-5-5-20260901",
            "usage":{"input_tokens":10,"cache_creation_input_tokens":7,"cache_read_input_tokens":90,
            "cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":3},"output_tokens":1}}}"#.to_owned(),
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi there"}}"#.to_owned(),
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":25}}"#.to_owned(),
        format!(r#"{{"type":"message_stop",{METRICS}}}"#),
    ]
}

fn invoke_frames(frames: Vec<Vec<u8>>) -> Talk {
    talk(
        "/model/us.anthropic.claude-opus-5-5-v1%3A0/invoke-with-response-stream",
        EVENT_STREAM,
        frames.concat(),
    )
}

pub(super) fn invoke_stream() -> Talk {
    invoke_frames(of_anthropic().iter().map(|json| chunk(json)).collect())
}

/// A body in a format that is not read.
pub(super) fn titan() -> Talk {
    let mut talk = talk(
        "/model/amazon.titan-text-v1/invoke",
        "application/json",
        br#"{"inputTextTokenCount":9,"results":[{"tokenCount":9,"outputText":"Hi"}]}"#.to_vec(),
    );
    talk.request = r#"{"inputText":"Hello"}"#.to_owned();
    talk
}

/// The one call of an exchange whose reply has these header fields, too.
fn call_with(talk: &Talk, fields: &[(&'static str, &str)]) -> LlmCall {
    let mut events = talk.events(0);
    for event in &mut events {
        if let HttpEvent::Response { head, .. } = event {
            for (name, value) in fields {
                head.headers.push(name, (*value).to_owned());
            }
        }
    }
    let mut calls = calls(run(events).0);
    assert_eq!(calls.len(), 1, "one call");
    calls.remove(0)
}

fn expected(talk: &Talk) -> LlmCall {
    LlmCall {
        exchange: exchange(0),
        started: at(1),
        first_token: Some(at(3)),
        ended: at(3),
        provider: Provider("bedrock"),
        endpoint: Endpoint::BedrockConverse,
        server_name: Some("bedrock-runtime.us-east-1.amazonaws.com".to_owned()),
        model_requested: Some("us.anthropic.claude-opus-5-5-v1:0".to_owned()),
        is_stream: true,
        http_status: Some(200),
        outcome: Outcome::Complete,
        stop_reason: Some("end_turn".to_owned()),
        usage: Usage {
            input_uncached: Some(10),
            cache_read: Some(90),
            cache_write_5m: Some(4),
            cache_write_1h: Some(3),
            cache_write_other: Some(0),
            output: Some(25),
            ..Usage::default()
        },
        usage_source: UsageSource::Provider,
        terms: Terms {
            service_tier: Some("priority".to_owned()),
            speed: Some("optimized".to_owned()),
            region: Some("us".to_owned()),
            ..Terms::default()
        },
        observed_bytes: talk.bytes(),
        ..LlmCall::plain()
    }
}

#[test]
fn trap_1_a_conversation_leaves_the_caches_out_of_its_input() {
    let talk = converse_stream();
    assert_eq!(talk.call(), expected(&talk));
    let talk = converse();
    assert_eq!(
        talk.call(),
        LlmCall {
            is_stream: false,
            first_token: None,
            ..expected(&talk)
        }
    );
}

#[test]
fn trap_2_what_a_model_says_holds_before_what_is_said_again() {
    let talk = invoke_stream();
    let call = LlmCall {
        endpoint: Endpoint::BedrockInvoke,
        model_served: Some("claude-opus-5-5-20260901".to_owned()),
        response_id: Some("msg_bdrk_01".to_owned()),
        terms: Terms {
            region: Some("us".to_owned()),
            ..Terms::default()
        },
        ..expected(&talk)
    };
    assert_eq!(talk.call(), call);
}

#[test]
fn what_is_said_again_fills_in_for_what_was_missed() {
    let frames: Vec<_> = of_anthropic().iter().map(|json| chunk(json)).collect();
    for missed in 0..3 {
        let before = Piece::Bytes(frames[..missed].concat());
        let after = Piece::Bytes(frames[missed + 1..].concat());
        let call = invoke_stream()
            .pieces(vec![before, Piece::Gap, after])
            .call();
        assert_eq!(
            verdict(&call),
            (
                Outcome::Incomplete,
                UsageSource::Provider,
                Some(10),
                Some(25)
            ),
            "{missed}"
        );
        assert_eq!(call.usage.input(), Some(107), "{missed}");
    }
}

#[test]
fn other_models_are_counted_by_what_is_added_to_their_last_event() {
    let last = format!(r#"{{"generation":"","stop_reason":"stop",{METRICS}}}"#);
    let call = invoke_frames(vec![
        chunk(r#"{"generation":"Hi"}"#),
        chunk(&last),
        chunk(r#"{"generation":"behind"}"#),
    ])
    .call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::Provider, Some(10), Some(25))
    );
    assert_eq!(call.stop_reason.as_deref(), Some("stop"));

    let nova = invoke_frames(vec![
        chunk(r#"{"contentBlockDelta":{"delta":{"text":"Hi"},"contentBlockIndex":0}}"#),
        chunk(r#"{"messageStop":{"stopReason":"end_turn"}}"#),
        chunk(&format!(
            r#"{{"metadata":{{"usage":{{"inputTokens":10}}}},{METRICS}}}"#
        )),
    ]);
    assert_eq!(verdict(&nova.call()), verdict(&call));
    let cut = invoke_frames(vec![chunk(r#"{"generation":"Hi"}"#)]).end(BodyEnd::Cut);
    let countable = cut.call().countable.expect("nothing was reported");
    assert_eq!(countable.output.parts().collect::<Vec<_>>(), ["Hi"]);
}

#[test]
fn the_head_counts_where_the_format_of_the_body_is_not_known() {
    let counts = [
        ("x-amzn-bedrock-input-token-count", "10"),
        ("x-amzn-bedrock-output-token-count", "25"),
        ("x-amzn-bedrock-cache-read-input-token-count", "90"),
        ("x-amzn-bedrock-cache-write-input-token-count", "7"),
        ("x-amzn-bedrock-service-tier", "flex"),
        ("x-amzn-requestid", "5e551011"),
    ];
    let talk = titan();
    let call = LlmCall {
        endpoint: Endpoint::BedrockInvoke,
        model_requested: Some("amazon.titan-text-v1".to_owned()),
        is_stream: false,
        first_token: None,
        stop_reason: None,
        usage: Usage {
            cache_write_5m: None,
            cache_write_1h: None,
            cache_write_other: Some(7),
            ..expected(&talk).usage
        },
        terms: Terms {
            service_tier: Some("flex".to_owned()),
            region: Some("us-east-1".to_owned()),
            ..Terms::default()
        },
        response_id: Some("5e551011".to_owned()),
        ..expected(&talk)
    };
    assert_eq!(call_with(&talk, &counts), call);

    let odd = call_with(&talk, &[("x-amzn-bedrock-input-token-count", "many")]);
    assert_eq!(odd.usage_source, UsageSource::None);
    let unread = talk.end(BodyEnd::Cut).pieces(Vec::new());
    assert_eq!(
        verdict(&call_with(&unread, &counts)),
        (
            Outcome::Aborted,
            UsageSource::ProviderPartial,
            Some(10),
            Some(25)
        )
    );
}

#[test]
fn the_body_and_the_head_are_one_count() {
    let body = r#"{"id":"msg_bdrk_01","type":"message","model":"claude-opus-5-5","content":[{"type":"text","text":"Hi"}],
        "stop_reason":"end_turn","usage":{"input_tokens":10,"output_tokens":25,"cache_read_input_tokens":90,
        "cache_creation_input_tokens":7,"cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":3}}}"#;
    let talk = talk(
        "/model/global.anthropic.claude-opus-5-5/invoke",
        "application/json",
        body.as_bytes().to_vec(),
    );
    let call = call_with(
        &talk,
        &[
            ("x-amzn-bedrock-input-token-count", "10"),
            ("x-amzn-bedrock-output-token-count", "25"),
            ("x-amzn-requestid", "5e551011"),
        ],
    );
    assert_eq!(call.usage, expected(&talk).usage);
    assert_eq!(
        (call.response_id.as_deref(), call.terms.region.as_deref()),
        (Some("msg_bdrk_01"), Some("global"))
    );

    let chat = r#"{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":10,"completion_tokens":25,"total_tokens":35}}"#;
    let call = Talk {
        response: vec![Piece::Bytes(chat.as_bytes().to_vec())],
        ..talk
    }
    .call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::Provider, Some(10), Some(25))
    );
}

#[test]
fn an_exception_in_a_stream_is_an_error() {
    let mut frames = said();
    frames.truncate(2);
    frames.push(encoded(
        &[
            (":message-type", "exception"),
            (":exception-type", "modelStreamErrorException"),
        ],
        br#"{"message":"no"}"#,
    ));
    let call = converse_frames(frames).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Error, UsageSource::None, None, None)
    );
    let mut frames: Vec<_> = of_anthropic()[..2].iter().map(|json| chunk(json)).collect();
    frames.push(encoded(
        &[
            (":message-type", "exception"),
            (":exception-type", "throttlingException"),
        ],
        b"{}",
    ));
    let call = invoke_frames(frames).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Error, UsageSource::ProviderPartial, Some(10), None)
    );
}

#[test]
fn a_refused_call_uses_nothing() {
    let refused = talk(
        "/model/m/converse",
        "application/json",
        br#"{"message":"Too many requests","usage":{"inputTokens":3}}"#.to_vec(),
    )
    .status(429);
    let call = call_with(
        &refused,
        &[
            ("x-amzn-requestid", "5e551011"),
            ("x-amzn-bedrock-input-token-count", "3"),
        ],
    );
    assert_eq!(
        verdict(&call),
        (Outcome::Error, UsageSource::None, None, None)
    );
}

#[test]
fn a_conversation_cut_before_its_usage_leaves_its_text_to_be_counted() {
    let call = converse_frames(said()).end(BodyEnd::Cut).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Aborted, UsageSource::None, None, None)
    );
    let countable = call.countable.expect("nothing was reported");
    assert_eq!(countable.output.parts().collect::<Vec<_>>(), ["Hi there"]);
    let input: Vec<_> = countable.input.parts().collect();
    assert!(
        input.contains(&"Hello") && !input.contains(&"QUJD"),
        "{input:?}"
    );
}

#[test]
fn trap_7_a_hang_up_after_the_usage_is_normal() {
    for talk in [converse_stream(), invoke_stream()] {
        for end in [BodyEnd::Cut, BodyEnd::Lost, BodyEnd::Refused] {
            assert_eq!(talk.clone().end(end).call(), talk.call());
        }
    }
}

#[test]
fn trap_8_the_tries_of_boto3_are_numbered() {
    let call = converse()
        .field("amz-sdk-request", "attempt=2; max=5")
        .call();
    assert_eq!(call.attempt, Some(2));
}

#[test]
fn trap_11_the_path_names_the_model_in_every_form() {
    for (path, model, region) in [
        (
            "/model/meta.llama4-v1%3A0/converse",
            "meta.llama4-v1:0",
            "us-east-1",
        ),
        (
            "/model/us-gov.anthropic.claude-x/converse",
            "us-gov.anthropic.claude-x",
            "us-gov",
        ),
        ("/model/zai.glm-4.7/converse", "zai.glm-4.7", "us-east-1"),
        (
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Feu.anthropic.claude-x-v1%3A0/converse",
            "eu.anthropic.claude-x-v1:0",
            "eu",
        ),
        (
            "/model/arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-x-v1:0/converse",
            "anthropic.claude-x-v1:0",
            "us-east-1",
        ),
        (
            "/model/arn%3aaws%3abedrock%3aus-east-1%3a123456789012%3aapplication-inference-profile%2fab12/converse",
            "application-inference-profile/ab12",
            "us-east-1",
        ),
        (
            "/model/arn:aws-cn:bedrock:us-east-1:123456789012:custom-model/a.b/c/converse",
            "custom-model/a.b/c",
            "us-east-1",
        ),
    ] {
        let call = Talk { path, ..converse() }.call();
        assert_eq!(
            (
                call.model_requested.as_deref(),
                call.terms.region.as_deref()
            ),
            (Some(model), Some(region)),
            "{path}"
        );
    }
    for path in [
        "/model/a%00b/converse",
        "/model/a%2/converse",
        "/model/arn:aws:bedrock/converse",
        "/model/arn:aws:bedrock:r:1:inference-profile/converse",
    ] {
        assert_eq!(calls(Talk { path, ..converse() }.run().0), [], "{path}");
    }
}

#[test]
fn trap_16_a_count_of_tokens_on_bedrock_is_no_call() {
    let talk = Talk {
        path: "/model/m/count-tokens",
        ..converse()
    };
    assert_eq!(calls(talk.run().0), []);
}

#[test]
fn trap_17_a_damaged_frame_is_missing_like_lost_bytes() {
    let mut frames = said();
    frames[1][40] ^= 1;
    frames.push(event("metadata", format!("{{{USAGE}}}").as_bytes()));
    let call = converse_frames(frames).call();
    assert_eq!(
        verdict(&call),
        (
            Outcome::Incomplete,
            UsageSource::Provider,
            Some(10),
            Some(25)
        )
    );
}

#[test]
fn trap_19_unknown_events_are_passed_over_and_a_broken_chunk_is_counted() {
    let mut frames = said();
    frames.insert(1, event("unheardOf", br#"{"usage":{"outputTokens":77}}"#));
    frames.insert(2, event("initial-response", b"{}"));
    frames.push(event("metadata", format!("{{{USAGE}}}").as_bytes()));
    assert_eq!(
        converse_frames(frames).call().usage,
        expected(&converse_stream()).usage
    );
    for payload in [r#"{"bytes":"=="}"#, r#"{"bytes":"e30="#, "{}", "[]"] {
        let talk = invoke_frames(vec![event("chunk", payload.as_bytes())]);
        assert_eq!(talk.run().1.json_malformed, 1, "{payload}");
    }
}

#[test]
fn trap_20_a_frame_over_the_limit_costs_the_call_its_completeness_only() {
    let mut frames = said();
    frames.insert(1, event("contentBlockDelta", &vec![b' '; 2 << 20]));
    frames.push(event("metadata", format!("{{{USAGE}}}").as_bytes()));
    let call = converse_frames(frames).call();
    assert_eq!(
        verdict(&call),
        (
            Outcome::Incomplete,
            UsageSource::Provider,
            Some(10),
            Some(25)
        )
    );
}

/// Tools that a stream of these events asks for.
pub(super) fn tool_calls(events: &[(&str, &str)]) -> u32 {
    let frames = events
        .iter()
        .map(|(name, payload)| event(name, payload.as_bytes()))
        .collect();
    let call = converse_frames(frames).call_with_signals();
    call.signals.tool_calls
}
