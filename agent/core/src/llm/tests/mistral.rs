use super::*;

const REQUEST: &str = r#"{"model":"mistral-medium-latest","inputs":"Why?","stream":true}"#;

const EVENTS: [(&str, &str); 4] = [
    (
        "conversation.response.started",
        r#"{"type":"conversation.response.started","created_at":"2026-01-01T00:00:00Z","conversation_id":"conv_1"}"#,
    ),
    (
        "message.output.delta",
        r#"{"type":"message.output.delta","output_index":0,"id":"msg_1","content_index":0,"model":"mistral-medium-2508","role":"assistant","content":"Be"}"#,
    ),
    (
        "message.output.delta",
        r#"{"type":"message.output.delta","output_index":0,"id":"msg_1","content_index":0,"model":"mistral-medium-2508","role":"assistant","content":{"type":"text","text":"cause."}}"#,
    ),
    (
        "conversation.response.done",
        r#"{"type":"conversation.response.done","usage":{"prompt_tokens":188,"completion_tokens":55,"total_tokens":7355,"connector_tokens":7112,"connectors":{"web_search":1}}}"#,
    ),
];

fn events(events: &[(&str, &str)]) -> Talk {
    let stream: String = events
        .iter()
        .map(|(name, data)| format!("event: {name}\ndata: {data}\n\n"))
        .collect();
    Talk::new("/v1/conversations", REQUEST, "text/event-stream", &stream)
}

pub(super) fn stream() -> Talk {
    events(&EVENTS)
}

#[test]
fn what_connectors_read_is_input_beside_the_prompt() {
    let (out, stats) = stream().run();
    let calls = calls(out);
    assert_eq!(
        calls.iter().map(verdict).collect::<Vec<_>>(),
        [(
            Outcome::Complete,
            UsageSource::Provider,
            Some(7300),
            Some(55)
        )]
    );
    assert_eq!(stats.usage_inconsistent, 0);
    assert_eq!(calls[0].endpoint, Endpoint::MistralConversations);
    assert_eq!(calls[0].units.web_searches, Some(1));
    assert_eq!(
        calls[0].model_served.as_deref(),
        Some("mistral-medium-2508")
    );
}

#[test]
fn a_body_is_read_whole() {
    let body = r#"{"object":"conversation.response","conversation_id":"conv_1","outputs":[{"type":"message.output","role":"assistant","model":"mistral-medium-2508","content":"Because."}],
        "usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"connector_tokens":null,"connectors":null}}"#;
    let call = Talk::new(
        "/v1/conversations/conv_1",
        REQUEST,
        "application/json",
        body,
    )
    .call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::Provider, Some(9), Some(3))
    );
}

#[test]
fn a_stream_that_is_cut_leaves_its_text_to_be_counted() {
    let call = events(&EVENTS[..3]).end(BodyEnd::Cut).call();
    let countable = call.countable.expect("nothing was reported");
    let said: String = countable.output.parts().collect();
    assert_eq!(
        (said.as_str(), call.outcome),
        ("Because.", Outcome::Aborted)
    );
}

#[test]
fn a_stream_that_fails_is_an_error() {
    let failed = (
        "conversation.response.error",
        r#"{"type":"conversation.response.error","message":"canary","code":3000}"#,
    );
    assert_eq!(
        events(&[EVENTS[0], EVENTS[1], failed]).call().outcome,
        Outcome::Error
    );
}

#[test]
fn a_conversation_of_openai_is_no_call() {
    let talk = Talk::new(
        "/v1/conversations",
        r#"{"items":[{"role":"user","content":"Hi"}],"metadata":{}}"#,
        "application/json",
        r#"{"id":"conv_1","object":"conversation","created_at":1,"metadata":{}}"#,
    );
    assert!(calls(talk.run().0).is_empty());
}

#[test]
fn agents_and_what_fills_in_the_middle_are_read_as_openais() {
    let body = r#"{"id":"c1","model":"codestral-latest","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"x"}}],
        "usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}"#;
    for (path, request, endpoint) in [
        (
            "/v1/fim/completions",
            r#"{"model":"codestral-latest","prompt":"a","suffix":"b"}"#,
            Endpoint::OpenAiCompletions,
        ),
        (
            "/v1/agents/completions",
            r#"{"agent_id":"ag_1","messages":[{"role":"user","content":"Hi"}]}"#,
            Endpoint::OpenAiChat,
        ),
    ] {
        let call = Talk::new(path, request, "application/json", body).call();
        assert_eq!(
            verdict(&call),
            (Outcome::Complete, UsageSource::Provider, Some(9), Some(3)),
            "{path}"
        );
        assert_eq!(call.endpoint, endpoint);
    }
}
