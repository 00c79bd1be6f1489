use super::*;

#[test]
fn a_turn_is_read_whole() {
    let request = create(
        r#","client_metadata":{"session_id":"session-0001","turn_id":"turn-1"},"prompt_cache_key":"thread-0001""#,
    );
    let socket = responses()
        .field(
            "user-agent",
            "codex_exec/0.169.0 (Linux; x86_64) xterm (codex_exec; 0.169.0)",
        )
        .field("originator", "codex_exec")
        .field("thread-id", "thread-0001")
        .client(&request)
        .server(&created("resp_1"))
        .server(DELTA)
        .server(&done("resp_1", 20));
    let bytes = [&request, &created("resp_1"), DELTA, &done("resp_1", 20)].map(str::len);
    assert_eq!(
        socket.calls(),
        [LlmCall {
            exchange: exchange(0),
            started: at(2),
            first_token: Some(at(4)),
            ended: at(5),
            provider: Provider("other"),
            endpoint: Endpoint::OpenAiResponses,
            server_name: Some("llm.example".to_owned()),
            model_requested: Some("gpt-6".to_owned()),
            model_served: Some("gpt-6-2026".to_owned()),
            is_stream: true,
            http_status: Some(101),
            outcome: Outcome::Complete,
            stop_reason: Some("completed".to_owned()),
            usage: Usage {
                input_uncached: Some(40),
                cache_read: Some(60),
                output: Some(20),
                reasoning: Some(5),
                ..Usage::default()
            },
            usage_source: UsageSource::Provider,
            response_id: Some("resp_1".to_owned()),
            user_agent: Some(
                "codex_exec/0.169.0 (Linux; x86_64) xterm (codex_exec; 0.169.0)".to_owned()
            ),
            originator: Some("codex_exec".to_owned()),
            hints: SessionHints {
                client_header: Some("thread-0001".to_owned()),
                body_id: Some("session-0001".to_owned()),
                ..SessionHints::default()
            },
            observed_bytes: bytes.iter().sum::<usize>() as u64,
            ..LlmCall::plain()
        }]
    );
}

#[test]
fn trap_9_every_turn_of_a_connection_is_a_call_and_a_warm_up_is_none() {
    let socket = turns();
    assert_eq!(
        socket.verdicts(),
        [whole("resp_1", 20), whole("resp_2", 30)]
    );
    let calls = socket.calls();
    let numbers: Vec<_> = calls.iter().map(|call| call.exchange.number).collect();
    assert_eq!(numbers, [1, 2], "unique in the connection");
    let previous: Vec<_> = calls
        .iter()
        .map(|call| call.hints.previous_response_id.as_deref())
        .collect();
    assert_eq!(previous, [Some("resp_0"), Some("resp_1")]);
    let (_, stats) = run(socket.events(usize::MAX));
    assert_eq!((stats.calls, stats.warm_ups), (2, 1));
}

#[test]
fn a_warm_up_that_used_tokens_is_a_call() {
    let socket = responses()
        .client(&create(r#","generate":false"#))
        .server(&created("resp_0"))
        .server(&done("resp_0", 1));
    assert_eq!(socket.verdicts(), [whole("resp_0", 1)]);
}

#[test]
fn a_response_that_is_steered_goes_on_in_another_one_without_a_request() {
    let steered = over(
        "incomplete",
        "resp_1",
        20,
        r#","incomplete_details":{"reason":"steered"}"#,
    );
    let socket = responses()
        .client(&create(r#","prompt_cache_key":"thread-0001""#))
        .server(&created("resp_1"))
        .server(DELTA)
        .client(r#"{"type":"response.steer","previous_response_id":"resp_1","input":"Stop"}"#)
        .server(r#"{"type":"response.steer.accepted","steer":{"id":"steer_1","previous_response_id":"resp_1"}}"#)
        .server(&steered)
        .server(&created("resp_2"))
        .server(DELTA)
        .server(&done("resp_2", 30));
    let calls = socket.calls();
    assert_eq!(
        socket.verdicts(),
        [whole("resp_1", 20), whole("resp_2", 30)]
    );
    assert_eq!(calls[0].stop_reason.as_deref(), Some("steered"));
    assert_eq!(
        (calls[1].model_requested.as_deref(), calls[1].started),
        (Some("gpt-6"), at(8))
    );
    assert_eq!(
        calls[1].hints,
        SessionHints {
            body_id: Some("thread-0001".to_owned()),
            previous_response_id: Some("resp_1".to_owned()),
            ..SessionHints::default()
        }
    );
    // Counted, the input of the second is not known from what was sent.
    let mut cut = socket;
    cut.steps.pop();
    let countable = cut.calls()[1].countable.clone().expect("no usage was read");
    assert!(countable.input_is_partial);
}

#[test]
fn lanes_are_paired_by_themselves() {
    let lane =
        |text: String, lane: &str| text.replacen('{', &format!(r#"{{"stream_id":"{lane}","#), 1);
    let socket = responses()
        .client(&lane(
            create(r#","metadata":{"session_id":"session-of-a"}"#),
            "a",
        ))
        .client(&lane(
            create(r#","metadata":{"session_id":"session-of-b"}"#),
            "b",
        ))
        .server(&lane(created("resp_b"), "b"))
        .server(&lane(created("resp_a"), "a"))
        .server(&lane(DELTA.to_owned(), "b"))
        .server(&lane(DELTA.to_owned(), "a"))
        .server(&lane(
            r#"{"type":"error","status":429,"error":{"code":"rate_limit_exceeded"}}"#.to_owned(),
            "c",
        ))
        .server(&lane(done("resp_a", 20), "a"))
        .server(&lane(done("resp_b", 30), "b"));
    assert_eq!(
        socket.verdicts(),
        [whole("resp_a", 20), whole("resp_b", 30)]
    );
    let sessions: Vec<_> = socket
        .calls()
        .into_iter()
        .map(|call| call.hints.body_id)
        .collect();
    assert_eq!(
        sessions,
        ["session-of-a", "session-of-b"].map(|id| Some(id.to_owned()))
    );
}

#[test]
fn a_failed_response_is_an_error_with_what_it_used() {
    let socket = responses()
        .client(&create(""))
        .server(&created("resp_1"))
        .server(&over("failed", "resp_1", 20, ""));
    let (_, outcome, source, output) = &socket.verdicts()[0];
    assert_eq!(
        (*outcome, *source, *output),
        (Outcome::Error, UsageSource::Provider, Some(20))
    );
}

#[test]
fn an_error_answers_the_request_that_waits() {
    let error = r#"{"type":"error","status":429,"error":{"type":"invalid_request_error","code":"rate_limit_exceeded","message":"canary"}}"#;
    let socket = responses()
        .client(&create(""))
        .server(error)
        .client(&create(""))
        .server(&created("resp_1"))
        .server(&done("resp_1", 20));
    let calls = socket.calls();
    assert_eq!(
        (calls[0].outcome, calls[0].http_status, &calls[0].countable),
        (Outcome::Error, Some(429), &None)
    );
    assert_eq!((calls[0].started, calls[0].ended), (at(2), at(3)));
    assert_eq!(socket.verdicts()[1], whole("resp_1", 20));
    assert!(!format!("{:?}", run(socket.events(9))).contains("canary"));
}

#[test]
fn an_error_ends_a_response_only_if_nothing_of_it_follows() {
    let error = r#"{"type":"error","status":400,"error":{"code":"unsupported_steering"}}"#;
    let started = responses().client(&create("")).server(&created("resp_1"));
    let goes_on = started
        .clone()
        .server(error)
        .server(DELTA)
        .server(&done("resp_1", 20));
    assert_eq!(goes_on.verdicts(), [whole("resp_1", 20)]);
    let ends = started
        .server(error)
        .client(&create(""))
        .server(&created("resp_2"))
        .server(&done("resp_2", 30));
    let calls = ends.calls();
    assert_eq!(
        (
            calls[0].outcome,
            calls[0].http_status,
            calls[0].usage_source
        ),
        (Outcome::Error, Some(400), UsageSource::None)
    );
    assert_eq!(ends.verdicts()[1], whole("resp_2", 30));
}

#[test]
fn what_is_open_at_the_end_of_the_connection_is_aborted_or_unanswered() {
    let socket = responses()
        .client(&create(""))
        .server(&created("resp_1"))
        .server(DELTA)
        .client(&create(""));
    for end in [BodyEnd::Complete, BodyEnd::Cut] {
        let calls = socket.clone().end(end).calls();
        let outcomes: Vec<_> = calls.iter().map(|call| call.outcome).collect();
        assert_eq!(outcomes, [Outcome::Aborted, Outcome::Unanswered]);
        let countable = calls[0].countable.clone().expect("no usage was read");
        assert_eq!(countable.output.parts().collect::<Vec<_>>(), ["Hi"]);
        assert_eq!((calls[1].http_status, &calls[1].countable), (None, &None));
    }
    let outcomes: Vec<_> = socket
        .end(BodyEnd::Refused)
        .calls()
        .iter()
        .map(|call| call.outcome)
        .collect();
    assert_eq!(outcomes, [Outcome::Incomplete, Outcome::Unanswered]);
}

#[test]
fn what_comes_behind_the_end_of_a_response_begins_none() {
    let socket = responses()
        .client(&create(""))
        .server(&created("resp_1"))
        .server(&done("resp_1", 20))
        .server(DELTA)
        .server(&done("resp_1", 20))
        .server(r#"{"type":"error","status":500}"#);
    assert_eq!(socket.verdicts(), [whole("resp_1", 20)]);
}
