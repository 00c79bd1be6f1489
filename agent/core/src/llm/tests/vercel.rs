use super::*;

const REQUEST: &str = r#"{"prompt":[{"role":"system","content":"Be brief."},
    {"role":"user","content":[{"type":"text","text":"Why?"},{"type":"file","mediaType":"image/png","data":{"type":"data","data":"QUJDQUJD"}}],
    "providerOptions":{"gateway":{"user":"canary"}}}],"toolChoice":{"type":"auto"}}"#;

const START: &str = r#"{"type":"stream-start","warnings":[]}"#;
const METADATA: &str = r#"{"type":"response-metadata","id":"resp_1","modelId":"claude-sonnet-4-5-20250929","timestamp":"2026-01-01T00:00:00Z"}"#;
const BLOCK: &str = r#"{"type":"text-start","id":"0"}"#;
const TEXT: &str = r#"{"type":"text-delta","id":"0","delta":"Because."}"#;
const FINISH: &str = r#"{"type":"finish","finishReason":{"unified":"stop","raw":"end_turn"},
    "usage":{"inputTokens":{"total":1129,"noCache":100,"cacheRead":1024,"cacheWrite":5},"outputTokens":{"total":87,"text":23,"reasoning":64},
    "raw":{"input_tokens":100,"cache_read_input_tokens":1024,"cache_creation_input_tokens":5,"output_tokens":87}},
    "providerMetadata":{"gateway":{"routing":{"finalProvider":"anthropic"},"cost":"0.0012345","marketCost":"0.9","generationId":"gen_1"}}}"#;

fn talk(path: &'static str, request: &str, kind: &'static str, body: &str) -> Talk {
    Talk::new(path, request, kind, body)
        .field("ai-language-model-id", "anthropic/claude-sonnet-4.5")
        .field("ai-language-model-streaming", "true")
}

fn events(payloads: &[&str]) -> Talk {
    let payloads: Vec<String> = payloads
        .iter()
        .map(|text| text.replace('\n', " "))
        .collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    talk(
        "/v4/ai/language-model",
        REQUEST,
        "text/event-stream",
        &sse(&payloads),
    )
}

pub(super) fn stream() -> Talk {
    events(&[START, METADATA, BLOCK, TEXT, FINISH])
}

const USAGE: Usage = Usage {
    input_uncached: Some(100),
    cache_read: Some(1024),
    cache_write_5m: None,
    cache_write_1h: None,
    cache_write_other: Some(5),
    cache_write_12h: None,
    output: Some(87),
    reasoning: Some(64),
    audio_input: None,
    audio_output: None,
    image_input: None,
    image_output: None,
};

#[test]
fn trap_11_the_model_and_the_stream_are_told_by_the_header() {
    let call = stream().call();
    assert_eq!(
        call.model_requested.as_deref(),
        Some("anthropic/claude-sonnet-4.5")
    );
    assert_eq!(
        call.model_served.as_deref(),
        Some("claude-sonnet-4-5-20250929")
    );
    assert!(call.is_stream);
    assert_eq!(call.response_id.as_deref(), Some("resp_1"));
}

#[test]
fn the_usage_of_the_last_part_counts_and_the_raw_one_beside_it_does_not() {
    let call = stream().call();
    assert_eq!(
        (call.usage, call.usage_source),
        (USAGE, UsageSource::Provider)
    );
    assert_eq!(
        (call.outcome, call.endpoint),
        (Outcome::Complete, Endpoint::VercelLanguage)
    );
    assert_eq!(call.stop_reason.as_deref(), Some("stop"));
    assert_eq!(call.reported_cost_nanousd, Some(1_234_500));
    // A raw chunk of the upstream holds usage, too.
    let raw = r#"{"type":"raw","rawValue":{"usage":{"inputTokens":9,"input_tokens":9},"id":"x"}}"#;
    let beside = events(&[START, METADATA, raw, BLOCK, TEXT, FINISH]).call();
    assert_eq!(
        (beside.usage, beside.response_id),
        (call.usage, call.response_id)
    );
}

#[test]
fn usage_is_flat_in_the_second_version_of_the_specification() {
    let finish = r#"{"type":"finish","finishReason":"tool-calls","usage":{"inputTokens":1129,"outputTokens":87,"totalTokens":1280,"reasoningTokens":64,"cachedInputTokens":1024},
        "providerMetadata":{"gateway":{"cost":0.0012345}}}"#;
    let mut talk = events(&[START, METADATA, TEXT, finish]);
    talk.path = "/v1/ai/language-model";
    let call = talk.call();
    assert_eq!(
        call.usage,
        Usage {
            input_uncached: Some(105),
            cache_write_other: None,
            ..USAGE
        }
    );
    assert_eq!(call.stop_reason.as_deref(), Some("tool-calls"));
    assert_eq!(call.reported_cost_nanousd, Some(1_234_500));
}

#[test]
fn a_body_is_read_whole() {
    let body = format!(
        r#"{{"content":[{{"type":"text","text":"Because."}}],"response":{{"id":"resp_1","modelId":"m"}},{}"#,
        FINISH.split_once(',').expect("it has members").1
    );
    let mut talk = talk("/v3/ai/language-model", REQUEST, "application/json", &body);
    talk.fields[0].1 = "false";
    let call = talk.call();
    assert_eq!((call.usage, call.outcome), (USAGE, Outcome::Complete));
    assert!(!call.is_stream);
    assert_eq!(call.model_served.as_deref(), Some("m"));
}

#[test]
fn the_gateways_own_id_stands_in_for_a_missing_one() {
    let call = events(&[START, TEXT, FINISH]).call();
    assert_eq!(call.response_id.as_deref(), Some("gen_1"));
}

#[test]
fn a_stream_that_failed_says_what_it_used_at_its_end() {
    let error = r#"{"type":"error","error":{"message":"canary"}}"#;
    let call = events(&[START, METADATA, TEXT, error, FINISH]).call();
    assert_eq!((call.outcome, call.usage), (Outcome::Error, USAGE));
    let call = events(&[START, METADATA, TEXT, error]).call();
    assert_eq!(
        (call.outcome, call.usage_source),
        (Outcome::Error, UsageSource::None)
    );
}

#[test]
fn a_stream_that_is_cut_leaves_its_text_to_be_counted() {
    let call = events(&[START, METADATA, BLOCK, TEXT])
        .end(BodyEnd::Cut)
        .call();
    assert_eq!(
        verdict(&call),
        (Outcome::Aborted, UsageSource::None, None, None)
    );
    let countable = call.countable.expect("nothing was reported");
    let asked: Vec<&str> = countable.input.parts().collect();
    assert_eq!(asked, ["system", "Be brief.", "user", "Why?"]);
    let said: Vec<&str> = countable.output.parts().collect();
    assert_eq!(said, ["Because."]);
}

#[test]
fn embeddings_images_and_rankings_are_counted_in_their_units() {
    let other = |path, request, body| {
        Talk::new(path, request, "application/json", body)
            .field("ai-model-id", "openai/text-embedding-3-small")
            .call()
    };
    let call = other(
        "/v4/ai/embedding-model",
        r#"{"values":["Why?","How?"]}"#,
        r#"{"embeddings":[[0.1],[0.2]],"usage":{"tokens":6},"providerMetadata":{"gateway":{"cost":"0.00000012"}}}"#,
    );
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::Provider, Some(6), Some(0))
    );
    assert_eq!(
        call.model_requested.as_deref(),
        Some("openai/text-embedding-3-small")
    );
    assert_eq!(call.reported_cost_nanousd, Some(120));

    let call = other(
        "/v4/ai/image-model",
        r#"{"prompt":"A cat","n":2}"#,
        r#"{"images":["QUJD","QUJD"]}"#,
    );
    assert_eq!(
        (call.units.unpriced, call.usage, call.countable),
        (Some(2), Usage::default(), None)
    );
    let call = other(
        "/v4/ai/image-model",
        r#"{"prompt":"A cat"}"#,
        r#"{"images":["QUJD"],"usage":{"inputTokens":7,"outputTokens":1056,"totalTokens":1063}}"#,
    );
    assert_eq!(
        verdict(&call),
        (
            Outcome::Complete,
            UsageSource::Provider,
            Some(7),
            Some(1056)
        )
    );

    let call = other(
        "/v4/ai/reranking-model",
        r#"{"query":"Why?","documents":{"type":"text","values":["a","b"]}}"#,
        r#"{"ranking":[{"index":1,"relevanceScore":0.9}]}"#,
    );
    assert_eq!((call.units.unpriced, call.countable), (Some(1), None));
}

#[test]
fn a_cost_that_is_no_amount_is_refused_and_counted() {
    for cost in [r#""free""#, r#""-1""#, "-1"] {
        let finish = FINISH.replace(r#""0.0012345""#, cost);
        let (out, stats) = events(&[START, METADATA, TEXT, &finish]).run();
        assert_eq!(stats.usage_refused, 1, "{cost}");
        assert_eq!(calls(out)[0].reported_cost_nanousd, None, "{cost}");
    }
}

#[test]
fn trap_19_unknown_parts_are_passed_over() {
    let ping = r#"{"type":"ping"}"#;
    let new = r#"{"type":"new","usage":null,"finishReason":null,"delta":{"a":[1]}}"#;
    assert_eq!(
        events(&[START, ping, METADATA, new, TEXT, FINISH])
            .call()
            .usage,
        USAGE
    );
}
