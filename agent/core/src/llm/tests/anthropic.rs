use super::*;

pub(super) const REQUEST: &str = r#"{"model":"claude-opus-5-5","max_tokens":100,"stream":true,
    "metadata":{"user_id":"{\"device_id\":\"d1\",\"account_uuid\":\"a1\",\"session_id\":\"5e551011-0000\"}"},
    "system":[{"type":"text","text":"Be brief."}],
    "messages":[{"role":"user","content":"Hello"}]}"#;

const START: &str = r#"{"type":"message_start","message":{"id":"msg_01","type":"message","role":"assistant",
    "model":"claude-opus-5-5-20260901","content":[],"stop_reason":null,"usage":{"input_tokens":10,
    "cache_creation_input_tokens":7,"cache_read_input_tokens":90,
    "cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":3},"output_tokens":1}}}"#;
const DELTA: &str =
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi there"}}"#;
const USAGE: &str = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":25,
    "output_tokens_details":{"thinking_tokens":9}}}"#;
const STOP: &str = r#"{"type":"message_stop"}"#;

pub(super) fn stream(payloads: &[&str]) -> Talk {
    let text: String = payloads
        .iter()
        .map(|payload| format!("event: any\r\ndata: {}\r\n\r\n", payload.replace('\n', " ")))
        .collect();
    Talk::new(
        "/v1/messages",
        REQUEST,
        "text/event-stream; charset=utf-8",
        &text,
    )
}

pub(super) fn whole() -> Talk {
    stream(&[START, r#"{"type":"ping"}"#, DELTA, USAGE, STOP])
}

fn expected(talk: &Talk) -> LlmCall {
    LlmCall {
        exchange: exchange(0),
        started: at(1),
        first_token: Some(at(3)),
        ended: at(3),
        provider: Provider("other"),
        endpoint: Endpoint::AnthropicMessages,
        server_name: Some("llm.example".to_owned()),
        model_requested: Some("claude-opus-5-5".to_owned()),
        model_served: Some("claude-opus-5-5-20260901".to_owned()),
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
            reasoning: Some(9),
            ..Usage::default()
        },
        usage_source: UsageSource::Provider,
        response_id: Some("msg_01".to_owned()),
        hints: SessionHints {
            body_id: Some("5e551011-0000".to_owned()),
            ..SessionHints::default()
        },
        observed_bytes: talk.bytes(),
        ..LlmCall::plain()
    }
}

#[test]
fn a_stream_is_read_whole() {
    assert_eq!(whole().call(), expected(&whole()));
}

#[test]
fn a_body_is_read_whole() {
    let body = r#"{"id":"msg_01","type":"message","role":"assistant","model":"claude-opus-5-5-20260901",
        "content":[{"type":"text","text":"Hi"},{"type":"tool_use","id":"t","name":"f","input":{"usage":{"output_tokens":7}}}],
        "stop_reason":"end_turn","usage":{"input_tokens":10,"cache_creation_input_tokens":7,
        "cache_read_input_tokens":90,"cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":3},
        "output_tokens":25,"output_tokens_details":{"thinking_tokens":9}}}"#;
    let talk = Talk::new(
        "/v1/messages",
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
fn trap_2_a_message_delta_overwrites_and_keeps_what_it_lacks() {
    let early =
        r#"{"type":"message_delta","delta":{},"usage":{"input_tokens":50,"output_tokens":5}}"#;
    let talk = stream(&[START, early, DELTA, USAGE, STOP]);
    let usage = Usage {
        input_uncached: Some(50),
        ..expected(&talk).usage
    };
    assert_eq!(
        talk.call(),
        LlmCall {
            usage,
            ..expected(&talk)
        }
    );
}

/// The last usage of a call that took several passes.
fn passes(iterations: &str) -> String {
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":25,
    "output_tokens_details":{"thinking_tokens":9},"iterations":[ALL]}}"#
        .replace("ALL", iterations)
}

#[test]
fn trap_3_compactions_and_advisors_are_beside_the_calls_own_tokens() {
    let iterations = r#"{"type":"compaction","model":"claude-opus-5-5","input_tokens":180000,"output_tokens":3500,
        "cache_read_input_tokens":1,"cache_creation_input_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":5}},
        {"type":"message","input_tokens":10,"output_tokens":20},
        {"type":"advisor_message","model":"claude-fable-5","input_tokens":823,"output_tokens":1612,
        "cache_read_input_tokens":0,"cache_creation_input_tokens":0},
        {"type":"advisor_message","input_tokens":2,"output_tokens":3},
        {"type":"advisor_message","model":"idle","input_tokens":0,"output_tokens":0},
        {"type":"unheard-of","model":"m","input_tokens":7,"output_tokens":7},
        {"type":"message","input_tokens":10,"output_tokens":5}"#;
    let stream = stream(&[START, DELTA, &passes(iterations), STOP]);
    let sub_inferences = vec![
        SubInference {
            kind: SubKind::Compaction,
            model: None,
            usage: Usage {
                input_uncached: Some(180_000),
                cache_read: Some(1),
                cache_write_5m: Some(5),
                cache_write_other: Some(0),
                output: Some(3_500),
                ..Usage::default()
            },
        },
        SubInference {
            kind: SubKind::Advisor,
            model: Some("claude-fable-5".to_owned()),
            usage: Usage {
                input_uncached: Some(823),
                cache_read: Some(0),
                cache_write_other: Some(0),
                output: Some(1_612),
                ..Usage::default()
            },
        },
        SubInference {
            kind: SubKind::Advisor,
            model: Some("advisor".to_owned()),
            usage: Usage {
                input_uncached: Some(2),
                output: Some(3),
                ..Usage::default()
            },
        },
    ];
    let call = LlmCall {
        sub_inferences: sub_inferences.clone(),
        ..expected(&stream)
    };
    assert_eq!(stream.call(), call);

    let body = format!(
        r#"{{"type":"message","id":"msg_01","usage":{{"input_tokens":10,"output_tokens":25,"iterations":[{iterations}]}}}}"#
    );
    let call = Talk::new("/v1/messages", REQUEST, "application/json", &body).call();
    assert_eq!(
        (call.sub_inferences, call.usage.output),
        (sub_inferences, Some(25))
    );
}

#[test]
fn trap_2_passes_that_are_told_twice_count_once() {
    let compaction = r#"{"type":"compaction","input_tokens":100,"output_tokens":20}"#;
    let both = format!(
        r#"{compaction},{{"type":"advisor_message","model":"m","input_tokens":1,"output_tokens":1}}"#
    );
    let call = stream(&[START, &passes(compaction), &passes(&both), USAGE, STOP]).call();
    let kinds: Vec<_> = call.sub_inferences.iter().map(|sub| sub.kind).collect();
    assert_eq!(kinds, [SubKind::Compaction, SubKind::Advisor]);
    assert_eq!(call.usage, expected(&whole()).usage);
}

#[test]
fn passes_beyond_the_limit_are_not_recorded_and_counted() {
    let advisor =
        r#"{"type":"advisor_message","model":"m","input_tokens":1,"output_tokens":1},"#.repeat(70);
    let talk = stream(&[START, &passes(advisor.trim_end_matches(',')), STOP]);
    let (out, stats) = talk.run();
    assert_eq!(
        (calls(out)[0].sub_inferences.len(), stats.usage_unrecorded),
        (64, 6)
    );
}

#[test]
fn trap_11_a_model_that_stood_in_is_the_one_that_served() {
    let iterations = r#"{"type":"message","model":"claude-opus-5-5","input_tokens":10,"output_tokens":0},
        {"type":"fallback_message","model":"claude-opus-4-8","input_tokens":10,"output_tokens":25}"#;
    let talk = stream(&[START, DELTA, &passes(iterations), STOP]);
    let call = LlmCall {
        model_served: Some("claude-opus-4-8".to_owned()),
        ..expected(&talk)
    };
    assert_eq!(talk.call(), call);
}

#[test]
fn tier_speed_place_and_searches_are_the_replys() {
    let start = START.replace(
        r#""output_tokens":1}"#,
        r#""output_tokens":1,"service_tier":"priority","speed":"fast","inference_geo":"us"}"#,
    );
    let usage = USAGE.replace(
        r#""usage":{"#,
        r#""usage":{"service_tier":null,"server_tool_use":{"web_search_requests":3,"web_fetch_requests":2},"#,
    );
    let mut talk = stream(&[&start, DELTA, &usage, STOP]);
    talk.request = REQUEST.replace(
        r#""max_tokens":100"#,
        r#""max_tokens":100,"service_tier":"auto","speed":"standard","inference_geo":"eu""#,
    );
    let word = |word: &str| Some(word.to_owned());
    let call = LlmCall {
        terms: Terms {
            service_tier: word("priority"),
            speed: word("fast"),
            region: word("us"),
            ..Terms::default()
        },
        units: Units {
            web_searches: Some(3),
            unpriced: None,
        },
        ..expected(&talk)
    };
    assert_eq!(talk.call(), call);
    let unsaid = start.replace(r#":"us""#, r#":"not_available""#);
    assert_eq!(
        stream(&[&unsaid, &usage, STOP]).call().terms.region,
        None,
        "a word for nothing is nothing"
    );
}

#[test]
fn a_refusal_and_a_pause_are_whole_calls() {
    for reason in [
        "refusal",
        "pause_turn",
        "max_tokens",
        "model_context_window_exceeded",
        "compaction",
    ] {
        let usage = USAGE.replace("end_turn", reason);
        let talk = stream(&[START, &usage, STOP]);
        let call = LlmCall {
            stop_reason: Some(reason.to_owned()),
            first_token: None,
            ..expected(&talk)
        };
        assert_eq!(talk.call(), call);
    }
}

#[test]
fn a_reply_cut_between_two_usages_has_the_first() {
    let early = r#"{"type":"message_delta","delta":{},"usage":{"input_tokens":50,"cache_read_input_tokens":900,"output_tokens":5}}"#;
    let call = stream(&[START, DELTA, early, DELTA])
        .end(BodyEnd::Cut)
        .call();
    assert_eq!(
        verdict(&call),
        (
            Outcome::Aborted,
            UsageSource::ProviderPartial,
            Some(50),
            Some(5)
        )
    );
    assert_eq!(
        (call.usage.cache_read, call.usage.cache_write_1h),
        (Some(900), Some(3))
    );
}

#[test]
fn trap_19_unknown_events_and_fields_are_passed_over() {
    let talk = stream(&[
        START,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"unheard_of","usage":{"output_tokens":9}}}"#,
        r#"{"type":"unheard_of","usage":{"output_tokens":77},"iterations":[{"type":"compaction"}]}"#,
        DELTA,
        USAGE,
        STOP,
    ]);
    assert_eq!(talk.call(), expected(&talk));
}

/// A call to Vertex AI, whose body names no model.
fn vertex(path: &'static str, talk: &Talk) -> Talk {
    Talk {
        path,
        request: talk.request.replace(
            r#""model":"claude-opus-5-5""#,
            r#""anthropic_version":"vertex-2023-10-16""#,
        ),
        ..talk.clone()
    }
    .field("host", "eu-aiplatform.googleapis.com")
}

#[test]
fn trap_11_vertex_ai_names_the_model_and_the_stream_in_the_path() {
    let talk = vertex(
        "/v1/projects/p/locations/eu/publishers/anthropic/models/claude-opus-5-5@20260901:streamRawPredict",
        &whole(),
    );
    let call = LlmCall {
        provider: Provider("google"),
        server_name: Some("eu-aiplatform.googleapis.com".to_owned()),
        model_requested: Some("claude-opus-5-5@20260901".to_owned()),
        terms: Terms {
            region: Some("eu".to_owned()),
            ..Terms::default()
        },
        ..expected(&talk)
    };
    assert_eq!(talk.call(), call);

    let body = Talk {
        kind: "application/json",
        response: vec![Piece::Bytes(
            br#"{"id":"msg_vrtx_1","type":"message","model":"claude-opus-5-5","usage":{"input_tokens":3,"output_tokens":4}}"#.to_vec(),
        )],
        request: r#"{"anthropic_version":"vertex-2023-10-16","messages":[{"role":"user","content":"Hi"}]}"#.to_owned(),
        ..vertex("/v1/projects/p/locations/global/publishers/anthropic/models/claude-opus-5-5:rawPredict", &whole())
    };
    let call = body.call();
    assert_eq!(
        (
            call.is_stream,
            call.model_requested.as_deref(),
            call.terms.region.as_deref(),
            call.usage_source
        ),
        (
            false,
            Some("claude-opus-5-5"),
            Some("global"),
            UsageSource::Provider
        )
    );
}

#[test]
fn trap_16_a_count_of_tokens_is_no_call_whoever_counts() {
    for path in [
        "/v1/messages/count_tokens",
        "/v1/projects/p/locations/eu/publishers/anthropic/models/count-tokens:rawPredict",
    ] {
        let (out, stats) =
            Talk::new(path, REQUEST, "application/json", r#"{"input_tokens":9}"#).run();
        assert_eq!((calls(out), stats.calls), (vec![], 0), "{path}");
    }
}

#[test]
fn trap_7_a_hang_up_after_the_terminal_event_is_normal() {
    for end in [BodyEnd::Cut, BodyEnd::Lost, BodyEnd::Refused] {
        assert_eq!(whole().end(end).call(), expected(&whole()));
    }
}

#[test]
fn a_reply_cut_after_its_start_has_the_input_and_no_output() {
    let call = stream(&[START, DELTA]).end(BodyEnd::Cut).call();
    assert_eq!(
        verdict(&call),
        (
            Outcome::Aborted,
            UsageSource::ProviderPartial,
            Some(10),
            None
        )
    );
    let countable = call.countable.expect("the output is to be counted");
    assert_eq!(countable.output.parts().collect::<Vec<_>>(), ["Hi there"]);
}

#[test]
fn a_reply_cut_after_its_usage_is_partial() {
    let call = stream(&[START, DELTA, USAGE]).end(BodyEnd::Cut).call();
    assert_eq!(
        verdict(&call),
        (
            Outcome::Aborted,
            UsageSource::ProviderPartial,
            Some(10),
            Some(25)
        )
    );
}

#[test]
fn an_error_in_the_stream_keeps_the_input() {
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let call = stream(&[START, error]).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Error, UsageSource::ProviderPartial, Some(10), None)
    );
    assert_eq!(call.countable, None);
}

#[test]
fn an_error_status_claims_no_tokens() {
    let body =
        r#"{"type":"error","error":{"type":"overloaded_error"},"usage":{"output_tokens":3}}"#;
    let call = Talk::new("/v1/messages", REQUEST, "application/json", body)
        .status(529)
        .call();
    assert_eq!(
        (call.http_status, call.countable.clone()),
        (Some(529), None)
    );
    assert_eq!(
        verdict(&call),
        (Outcome::Error, UsageSource::None, None, None)
    );
}

#[test]
fn the_old_form_of_the_user_id_gives_the_session_only() {
    let request = REQUEST.replace(
        r#""{\"device_id\":\"d1\",\"account_uuid\":\"a1\",\"session_id\":\"5e551011-0000\"}""#,
        r#""user_0a1b_account_a-1_session_5e551011-0000""#,
    );
    assert_ne!(request, REQUEST);
    let mut talk = whole();
    talk.request = request;
    assert_eq!(talk.call(), expected(&talk));
    talk.request = REQUEST.replace("session_id", "nothing");
    assert_eq!(talk.call().hints, SessionHints::default());
    talk.request = REQUEST.replace(
        r#""metadata""#,
        r#""metadata":{"user_id":"me@example.org"},"x""#,
    );
    assert_eq!(talk.call().hints, SessionHints::default());
}

#[test]
fn the_prompt_is_gathered_without_ids_and_pictures() {
    let mut talk =
        stream(&[r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"ok"}}"#]);
    talk.request = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"see"},
        {"type":"image","source":{"type":"base64","media_type":"image/png","data":"QUJD"}}]},
        {"role":"assistant","content":[{"type":"tool_use","id":"toolu_1","name":"run","input":{"cmd":"ls","n":3}}]}],
        "tools":[{"name":"run","description":"Runs.","input_schema":{"type":"object"}}]}"#
        .to_owned();
    let countable = talk.call().countable.expect("nothing was reported");
    let parts: Vec<_> = countable.input.parts().collect();
    assert_eq!(
        parts,
        [
            "user",
            "see",
            "assistant",
            "run",
            "cmd",
            "ls",
            "n",
            "3",
            "name",
            "run",
            "description",
            "Runs.",
            "input_schema",
            "type",
            "object"
        ]
    );
    let frame = Frame {
        messages: 2,
        tools: 1,
        ..Frame::default()
    };
    assert_eq!(
        (countable.frame, countable.input_is_partial),
        (frame, false)
    );
}

#[test]
fn reasoning_that_is_signed_or_sealed_is_noticed() {
    let hides = |delta: &str| {
        let talk = stream(&[START, delta, DELTA]).end(BodyEnd::Cut);
        let countable = talk.call().countable.expect("the output is to be counted");
        countable.has_hidden_reasoning
    };
    let signature = r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}"#;
    let sealed = r#"{"type":"content_block_start","index":0,"content_block":{"type":"redacted_thinking","data":"c2Vh"}}"#;
    let unsigned = r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#;
    assert!(hides(signature) && hides(sealed));
    assert!(!hides(unsigned) && !hides(DELTA));
}

#[test]
fn a_continued_thread_has_no_countable_input() {
    let mut talk = stream(&[DELTA]).end(BodyEnd::Cut);
    talk.request = r#"{"model":"m","messages":[],"thread":{"type":"continue","previous_message_id":"msg_00"}}"#.to_owned();
    let call = talk.call();
    assert_eq!(call.hints.previous_response_id.as_deref(), Some("msg_00"));
    assert!(
        call.countable
            .expect("nothing was reported")
            .input_is_partial
    );
}
