use super::*;

pub(super) const REQUEST: &str = r#"{"model":"gpt-5","instructions":"Be brief.","stream":true,
    "input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"Hello"}]}]}"#;

const CREATED: &str = r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","model":"gpt-5-2026",
    "status":"in_progress","error":null,"incomplete_details":null,"output":[],"usage":null}}"#;
const DELTA: &str = r#"{"type":"response.output_text.delta","item_id":"msg_1","delta":"Hi there"}"#;
const COMPLETED: &str = r#"{"type":"response.completed","response":{"id":"resp_1","model":"gpt-5-2026","status":"completed",
    "output":[{"type":"message","content":[{"type":"output_text","text":"Hi there"}]}],
    "usage":{"input_tokens":100,"input_tokens_details":{"cached_tokens":60,"cache_write_tokens":10},
    "output_tokens":20,"output_tokens_details":{"reasoning_tokens":5},"total_tokens":120}}}"#;

pub(super) fn stream(payloads: &[&str]) -> Talk {
    let payloads: Vec<String> = payloads
        .iter()
        .map(|payload| payload.replace('\n', " "))
        .collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    Talk::new(
        "/v1/responses",
        REQUEST,
        "text/event-stream",
        &sse(&payloads),
    )
}

pub(super) fn whole() -> Talk {
    stream(&[CREATED, DELTA, COMPLETED])
}

fn expected(talk: &Talk) -> LlmCall {
    LlmCall {
        exchange: exchange(0),
        started: at(1),
        first_token: Some(at(3)),
        ended: at(3),
        provider: Provider("other"),
        endpoint: Endpoint::OpenAiResponses,
        server_name: Some("llm.example".to_owned()),
        model_requested: Some("gpt-5".to_owned()),
        model_served: Some("gpt-5-2026".to_owned()),
        is_stream: true,
        http_status: Some(200),
        outcome: Outcome::Complete,
        stop_reason: Some("completed".to_owned()),
        usage: Usage {
            input_uncached: Some(30),
            cache_read: Some(60),
            cache_write_other: Some(10),
            output: Some(20),
            reasoning: Some(5),
            ..Usage::default()
        },
        usage_source: UsageSource::Provider,
        estimates: Estimates::default(),
        units: Units::default(),
        sub_inferences: Vec::new(),
        terms: Terms::default(),
        reported_cost_nanousd: None,
        attempt: None,
        aborted_by: None,
        response_id: Some("resp_1".to_owned()),
        user_agent: None,
        originator: None,
        hints: SessionHints::default(),
        observed_bytes: talk.bytes(),
        countable: None,
    }
}

#[test]
fn a_stream_is_read_whole() {
    assert_eq!(whole().call(), expected(&whole()));
}

#[test]
fn a_body_is_read_whole() {
    let body = r#"{"id":"resp_1","object":"response","model":"gpt-5-2026","status":"completed","error":null,
        "output":[{"type":"message","content":[{"type":"output_text","text":"Hi there"}]}],"metadata":{},
        "usage":{"input_tokens":100,"input_tokens_details":{"cached_tokens":60,"cache_write_tokens":10},
        "output_tokens":20,"output_tokens_details":{"reasoning_tokens":5},"total_tokens":120}}"#;
    let talk = Talk::new(
        "/v1/responses",
        &REQUEST.replace("true", "false"),
        "application/json",
        body,
    );
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
fn an_incomplete_response_ends_with_its_reason() {
    let last = COMPLETED
        .replace("response.completed", "response.incomplete")
        .replace(
            r#""status":"completed""#,
            r#""status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}"#,
        );
    let talk = stream(&[CREATED, DELTA, &last]);
    assert_eq!(
        talk.call(),
        LlmCall {
            stop_reason: Some("max_output_tokens".to_owned()),
            ..expected(&talk)
        }
    );
}

#[test]
fn a_failed_response_is_an_error_with_what_it_used() {
    let last = COMPLETED
        .replace("response.completed", "response.failed")
        .replace(r#""completed""#, r#""failed""#);
    let call = stream(&[CREATED, DELTA, &last]).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Error, UsageSource::Provider, Some(30), Some(20))
    );
}

#[test]
fn an_error_event_without_an_answer_claims_nothing() {
    let call = stream(&[
        CREATED,
        r#"{"type":"error","code":"server_error","message":"no"}"#,
    ])
    .call();
    assert_eq!(
        verdict(&call),
        (Outcome::Error, UsageSource::None, None, None)
    );
    assert_eq!(call.countable, None);
}

#[test]
fn a_cut_stream_is_left_to_be_counted() {
    let call = stream(&[CREATED, DELTA]).end(BodyEnd::Cut).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Aborted, UsageSource::None, None, None)
    );
    let countable = call.countable.expect("nothing was reported");
    assert_eq!(countable.output.parts().collect::<Vec<_>>(), ["Hi there"]);
    assert_eq!(
        countable.input.parts().collect::<Vec<_>>(),
        ["Be brief.", "user", "Hello"]
    );
}

#[test]
fn history_that_the_provider_holds_makes_the_input_uncountable() {
    for (member, previous, body) in [
        (r#""previous_response_id":"resp_0""#, Some("resp_0"), None),
        (r#""conversation":"conv_1""#, None, Some("conv_1")),
        (r#""conversation":{"id":"conv_1"}"#, None, Some("conv_1")),
    ] {
        let mut talk = stream(&[CREATED, DELTA]).end(BodyEnd::Cut);
        talk.request = REQUEST.replacen('{', &format!("{{{member},"), 1);
        let call = talk.call();
        assert_eq!(call.hints.previous_response_id.as_deref(), previous);
        assert_eq!(call.hints.body_id.as_deref(), body);
        assert!(
            call.countable
                .expect("nothing was reported")
                .input_is_partial,
            "{member}"
        );
    }
    let mut talk = stream(&[CREATED, DELTA]).end(BodyEnd::Cut);
    talk.request = REQUEST.replacen('{', r#"{"previous_response_id":null,"#, 1);
    assert!(
        !talk
            .call()
            .countable
            .expect("nothing was reported")
            .input_is_partial
    );
}

#[test]
fn trap_16_a_response_in_the_background_claims_nothing_yet() {
    let body = r#"{"id":"resp_1","model":"gpt-5-2026","status":"queued","usage":null,"output":[]}"#;
    let call = Talk::new("/v1/responses", REQUEST, "application/json", body).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::None, None, None)
    );
    assert_eq!(
        (call.stop_reason.as_deref(), call.countable),
        (Some("queued"), None)
    );
}

#[test]
fn audio_is_no_text() {
    let call = stream(&[CREATED, r#"{"type":"response.audio.delta","delta":"QUJD"}"#])
        .end(BodyEnd::Cut)
        .call();
    assert_eq!(
        call.countable.expect("nothing was reported").output,
        CountedText::default()
    );
}

#[test]
fn a_plain_string_is_one_message() {
    let mut talk = stream(&[CREATED, DELTA]).end(BodyEnd::Cut);
    talk.request = r#"{"model":"gpt-5","input":"Hello"}"#.to_owned();
    let countable = talk.call().countable.expect("nothing was reported");
    assert_eq!(
        (
            countable.messages,
            countable.input.parts().collect::<Vec<_>>()
        ),
        (1, vec!["Hello"])
    );
}
