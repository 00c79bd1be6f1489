use super::*;

const REQUEST: &str =
    r#"{"model":"command-a-03-2025","stream":true,"messages":[{"role":"user","content":"Why?"}]}"#;

const EVENTS: [(&str, &str); 6] = [
    (
        "message-start",
        r#"{"id":"c-1","type":"message-start","delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}"#,
    ),
    (
        "tool-plan-delta",
        r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"Look."}}}"#,
    ),
    (
        "tool-call-start",
        r#"{"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"t1","type":"function","function":{"name":"look","arguments":""}}}}}"#,
    ),
    (
        "tool-call-delta",
        r#"{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"{\"a\":1}"}}}}}"#,
    ),
    (
        "content-delta",
        r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"Because."}}}}"#,
    ),
    (
        "message-end",
        r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":5.0,"output_tokens":8.0},"tokens":{"input_tokens":71.0,"output_tokens":418},"cached_tokens":16.0}}}"#,
    ),
];

fn events(events: &[(&str, &str)]) -> Talk {
    let stream: String = events
        .iter()
        .map(|(name, data)| format!("event: {name}\ndata: {data}\n\n"))
        .collect();
    Talk::new("/v2/chat", REQUEST, "text/event-stream", &stream)
}

pub(super) fn stream() -> Talk {
    events(&EVENTS)
}

#[test]
fn the_tokens_of_the_last_event_count_and_not_those_that_are_billed() {
    let call = stream().call();
    assert_eq!(
        call.usage,
        Usage {
            input_uncached: Some(55),
            cache_read: Some(16),
            output: Some(418),
            ..Usage::default()
        }
    );
    assert_eq!(
        (call.outcome, call.usage_source, call.endpoint),
        (
            Outcome::Complete,
            UsageSource::Provider,
            Endpoint::CohereChat
        )
    );
    assert_eq!(call.model_requested.as_deref(), Some("command-a-03-2025"));
    assert_eq!(call.model_served, None);
    assert_eq!(call.stop_reason.as_deref(), Some("COMPLETE"));
    assert_eq!(call.response_id.as_deref(), Some("c-1"));
    assert!(call.is_stream);
}

#[test]
fn a_body_is_read_whole() {
    let body = r#"{"id":"c-2","finish_reason":"MAX_TOKENS","message":{"role":"assistant","content":[{"type":"text","text":"Because."}]},
        "usage":{"billed_units":{"input_tokens":5,"output_tokens":8},"tokens":{"input_tokens":71,"output_tokens":9},"cached_tokens":null}}"#;
    let call = Talk::new("/v2/chat", REQUEST, "application/json", body).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::Provider, Some(71), Some(9))
    );
    assert_eq!(call.response_id.as_deref(), Some("c-2"));
}

#[test]
fn a_stream_that_is_cut_leaves_its_text_to_be_counted() {
    let call = events(&EVENTS[..5]).end(BodyEnd::Cut).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Aborted, UsageSource::None, None, None)
    );
    let said: String = call
        .countable
        .expect("nothing was reported")
        .output
        .parts()
        .collect();
    assert_eq!(said, "Look.look{\"a\":1}Because.");
}

#[test]
fn the_first_version_streams_lines_and_ends_with_its_whole_reply() {
    let request = r#"{"model":"command-r","message":"Why?","chat_history":[{"role":"USER","message":"Hello"}],"stream":true}"#;
    let body = r#"{"is_finished":false,"event_type":"stream-start","generation_id":"g-1"}
{"is_finished":false,"event_type":"text-generation","text":"Be"}
{"is_finished":false,"event_type":"text-generation","text":"cause."}
{"is_finished":true,"event_type":"stream-end","finish_reason":"COMPLETE","response":{"response_id":"r-1","generation_id":"g-1","text":"Because.","finish_reason":"COMPLETE","meta":{"api_version":{"version":"1"},"billed_units":{"input_tokens":3,"output_tokens":2},"tokens":{"input_tokens":69,"output_tokens":2}}}}
"#;
    let call = Talk::new("/v1/chat", request, "application/stream+json", body).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::Provider, Some(69), Some(2))
    );
    assert_eq!(call.response_id.as_deref(), Some("g-1"));
    let whole = r#"{"response_id":"r-1","generation_id":"g-1","text":"Because.","finish_reason":"COMPLETE","meta":{"tokens":{"input_tokens":69,"output_tokens":2}}}"#;
    let call = Talk::new("/v1/chat", request, "application/json", whole).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::Provider, Some(69), Some(2))
    );
}

#[test]
fn embeddings_have_what_is_billed() {
    let request = r#"{"model":"embed-v4.0","texts":["Why?","How?"],"input_type":"search_query","embedding_types":["float"]}"#;
    let body = r#"{"id":"e-1","embeddings":{"float":[[0.1,0.2],[0.3,0.4]]},"texts":["Why?","How?"],"meta":{"api_version":{"version":"2"},"billed_units":{"input_tokens":7}}}"#;
    let call = Talk::new("/v2/embed", request, "application/json", body).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::Provider, Some(7), Some(0))
    );
}

#[test]
fn reranking_is_counted_in_searches() {
    let request = r#"{"model":"rerank-v3.5","query":"Why?","documents":["a","b"]}"#;
    let body = r#"{"id":"r-1","results":[{"index":1,"relevance_score":0.9}],"meta":{"api_version":{"version":"2"},"billed_units":{"search_units":1.0}}}"#;
    let call = Talk::new("/v2/rerank", request, "application/json", body).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::None, None, None)
    );
    assert_eq!((call.units.unpriced, call.countable), (Some(1), None));
    // Others report the tokens that were read.
    let body = r#"{"model":"reranker","usage":{"total_tokens":15},"results":[{"index":1,"relevance_score":0.9}]}"#;
    let call = Talk::new("/v1/rerank", request, "application/json", body).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::Provider, Some(15), Some(0))
    );
}

#[test]
fn errors_by_status_and_by_reason_are_errors() {
    let talk = Talk::new(
        "/v2/chat",
        REQUEST,
        "application/json",
        r#"{"message":"canary"}"#,
    );
    let call = talk.status(429).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Error, UsageSource::None, None, None)
    );
    let end = EVENTS[5].1.replace("COMPLETE", "ERROR");
    let call = events(&[EVENTS[0], EVENTS[4], ("message-end", &end)]).call();
    assert_eq!(
        (call.outcome, call.usage.output),
        (Outcome::Error, Some(418))
    );
}

#[test]
fn fractions_of_tokens_are_refused_and_counted() {
    let end = EVENTS[5].1.replace("71.0", "71.5");
    let (out, stats) = events(&[EVENTS[0], EVENTS[4], ("message-end", &end)]).run();
    assert_eq!(stats.usage_refused, 1);
    assert_eq!(calls(out)[0].usage.input_uncached, None);
}

#[test]
fn what_another_server_answers_under_the_same_path_is_no_call() {
    for path in ["/v1/chat", "/v2/embed", "/v1/rerank"] {
        let talk = Talk::new(path, REQUEST, "application/json", r#"{"ok":true}"#);
        assert!(calls(talk.run().0).is_empty(), "{path}");
    }
}

#[test]
fn trap_19_unknown_events_and_members_are_passed_over() {
    let mut all = EVENTS.to_vec();
    all.insert(
        2,
        (
            "new-event",
            r#"{"type":"new-event","delta":{"usage":{"tokens":null,"new":[1]}}}"#,
        ),
    );
    assert_eq!(events(&all).call().usage, stream().call().usage);
}
