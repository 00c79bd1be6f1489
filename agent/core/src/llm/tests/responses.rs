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
        response_id: Some("resp_1".to_owned()),
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
fn trap_20_usage_behind_a_picture_of_megabytes_in_the_last_event_is_found() {
    let picture = format!(
        r#"{{"type":"image_generation_call","id":"ig_1","result":"{}"}},"#,
        "AAAA".repeat(1 << 20)
    );
    let completed = COMPLETED.replacen(r#""output":["#, &format!(r#""output":[{picture}"#), 1);
    let talk = stream(&[CREATED, DELTA, &completed]);
    let Some(Piece::Bytes(bytes)) = talk.response.first() else {
        panic!("the talk has a body");
    };
    for piece_bytes in [bytes.len(), 16_384, 999_983] {
        let pieces = bytes
            .chunks(piece_bytes)
            .map(|piece| Piece::Bytes(piece.to_vec()))
            .collect();
        let (out, stats) = talk.clone().pieces(pieces).run();
        assert_eq!(
            (calls(out), stats.json_malformed),
            (vec![expected(&talk)], 0)
        );
    }
    let (head, tail) = bytes.split_at(3 << 20);
    let gap = vec![
        Piece::Bytes(head.to_vec()),
        Piece::Gap,
        Piece::Bytes(tail.to_vec()),
    ];
    let call = talk.clone().pieces(gap).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Incomplete, UsageSource::None, None, None)
    );
}

#[test]
fn trap_9_tools_inside_the_input_are_prompt() {
    let item = r#"{"type":"additional_tools","tools":[{"type":"function","name":"exec","description":"Run it.","parameters":{"properties":{"cmd":{}}}}]}"#;
    let mut talk = stream(&[CREATED, DELTA]).end(BodyEnd::Cut);
    talk.request =
        format!(r#"{{"model":"gpt-6","input":[{item},{{"role":"user","content":"Hello"}}]}}"#);
    let countable = talk.call().countable.expect("nothing was reported");
    let parts: Vec<_> = countable.input.parts().collect();
    for wanted in ["name", "exec", "Run it.", "properties", "cmd", "Hello"] {
        assert!(parts.contains(&wanted), "{wanted} in {parts:?}");
    }
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
            countable.frame.messages,
            countable.input.parts().collect::<Vec<_>>()
        ),
        (1, vec!["Hello"])
    );
}

/// A response that used all that a response can.
pub(super) fn with_tools() -> Talk {
    let completed = COMPLETED
        .replacen(r#""output":["#, r#""service_tier":"default","tools":[{"type":"image_generation","model":"gpt-image-2"}],"output":[{"type":"web_search_call","action":{"type":"search"}},{"type":"image_generation_call","result":"QUJD","svg_usage":{"model":"gpt-6","input_tokens":7,"output_tokens":9,"total_tokens":16}},"#, 1)
        .replacen(r#""usage""#, r#""tool_usage":{"image_gen":{"input_tokens":50,"output_tokens":1056,"total_tokens":1106},"web_search":{"num_requests":1}},"usage""#, 1);
    stream(&[CREATED, DELTA, &completed])
}

#[test]
fn pictures_made_beside_are_a_sub_inference_of_their_own_model() {
    let image_gen = r#""image_gen":{"input_tokens":50,"input_tokens_details":{"image_tokens":10,"text_tokens":40},
        "output_tokens":1056,"output_tokens_details":{"image_tokens":1056,"text_tokens":0},"total_tokens":1106,"cached_tokens":20}"#;
    let completed = |tools: &str, image_gen: &str| {
        COMPLETED.replacen(
            r#""usage""#,
            &format!(r#""tools":[{tools}],"tool_usage":{{{image_gen},"web_search":{{"num_requests":0}}}},"usage""#),
            1,
        )
    };
    let named =
        r#"{"type":"function","name":"x"},{"type":"image_generation","model":"gpt-image-2"}"#;
    for (tools, model) in [(named, "gpt-image-2"), ("", "image_generation")] {
        let talk = stream(&[CREATED, DELTA, &completed(tools, image_gen)]);
        let usage = Usage {
            input_uncached: Some(30),
            cache_read: Some(20),
            output: Some(1056),
            image_input: Some(10),
            image_output: Some(1056),
            ..Usage::default()
        };
        assert_eq!(
            talk.call(),
            LlmCall {
                sub_inferences: vec![SubInference {
                    kind: SubKind::Image,
                    model: Some(model.to_owned()),
                    usage,
                }],
                units: Units {
                    web_searches: Some(0),
                    unpriced: None
                },
                ..expected(&talk)
            }
        );
    }
    let idle = r#""image_gen":{"input_tokens":0,"output_tokens":0,"total_tokens":0}"#;
    assert_eq!(
        stream(&[CREATED, &completed(named, idle)])
            .call()
            .sub_inferences,
        []
    );
}

#[test]
fn drawings_of_another_model_are_sub_inferences_of_it() {
    let svg = r#"{"type":"image_generation_call","id":"ig_1","svg_usage":{"model":"gpt-6","input_tokens":7,"output_tokens":9,"reasoning_tokens":2,"total_tokens":16}}"#;
    let completed = COMPLETED.replacen(r#""output":["#, &format!(r#""output":[{svg},{svg},"#), 1);
    let drawn = SubInference {
        kind: SubKind::Image,
        model: Some("gpt-6".to_owned()),
        usage: Usage {
            input_uncached: Some(7),
            output: Some(9),
            reasoning: Some(2),
            ..Usage::default()
        },
    };
    let call = stream(&[CREATED, &completed]).call();
    assert_eq!(call.sub_inferences, [drawn.clone(), drawn]);
}

#[test]
fn sub_inferences_are_bounded_and_those_beyond_are_counted() {
    let svg = r#"{"type":"image_generation_call","svg_usage":{"model":"m","input_tokens":7,"output_tokens":9}},"#;
    let items = svg.repeat(SubInference::MOST + 3);
    let completed = COMPLETED.replacen(r#""output":["#, &format!(r#""output":[{items}"#), 1);
    let (out, stats) = stream(&[CREATED, &completed]).run();
    assert_eq!(calls(out)[0].sub_inferences.len(), SubInference::MOST);
    assert_eq!(stats.usage_unrecorded, 3);
}

#[test]
fn searches_are_units_by_their_counter_or_by_their_items() {
    let search = |action: &str| {
        format!(r#"{{"type":"web_search_call","action":{{"type":"{action}","query":"q"}}}},"#)
    };
    let items = format!(
        "{}{}{}",
        search("search"),
        search("open_page"),
        search("search")
    );
    let with = |tool_usage: &str| {
        COMPLETED
            .replacen(r#""output":["#, &format!(r#""output":[{items}"#), 1)
            .replacen(r#""usage""#, &format!(r#"{tool_usage}"usage""#), 1)
    };
    let searches = |last: &str| stream(&[CREATED, DELTA, last]).call().units.web_searches;
    assert_eq!(searches(&with("")), Some(2));
    assert_eq!(
        searches(&with(r#""tool_usage":{"web_search":{"num_requests":1}},"#)),
        Some(1)
    );
    assert_eq!(searches(COMPLETED), None);
}

#[test]
fn the_service_tier_is_that_of_the_reply() {
    let created = CREATED.replacen(r#""id""#, r#""service_tier":"auto","id""#, 1);
    let completed = COMPLETED.replacen(r#""id""#, r#""service_tier":"priority","id""#, 1);
    let mut talk = stream(&[&created, DELTA, &completed]);
    talk.request = REQUEST.replacen('{', r#"{"service_tier":"fast","#, 1);
    assert_eq!(talk.call().terms.service_tier.as_deref(), Some("priority"));
}

#[test]
fn cache_writes_for_twelve_hours_are_told_apart() {
    let completed = COMPLETED.replacen(
        r#""cache_write_tokens":10"#,
        r#""cache_write_tokens":10,"cache_write_tokens_details":{"ttl_30m_tokens":3,"ttl_12h_tokens":7}"#,
        1,
    );
    let usage = stream(&[CREATED, DELTA, &completed]).call().usage;
    assert_eq!(
        (usage.cache_write_other, usage.cache_write_12h),
        (Some(10), Some(7))
    );
}
