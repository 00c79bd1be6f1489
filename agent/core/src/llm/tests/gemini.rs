use super::*;

const REQUEST: &str = r#"{"systemInstruction":{"parts":[{"text":"Be brief."}]},
    "contents":[{"role":"user","parts":[{"text":"Hello"},{"inlineData":{"mimeType":"image/png","data":"QUJD"}}]},
    {"role":"model","parts":[{"functionCall":{"name":"look","args":{"where":"there"}},"thoughtSignature":"c2ln"}]},
    {"role":"user","parts":[{"functionResponse":{"name":"look","response":{"seen":"nothing"}}}]}],
    "generationConfig":{"temperature":1}}"#;

const FIRST: &str = r#"{"candidates":[{"content":{"parts":[{"text":"thinking","thought":true}],"role":"model"},"index":0}],
    "usageMetadata":{"promptTokenCount":1129,"totalTokenCount":1129},"modelVersion":"gemini-3-pro-001","responseId":"abc"}"#;
const SECOND: &str = r#"{"candidates":[{"content":{"parts":[{"text":"Hi "}],"role":"model"},"index":0}],
    "usageMetadata":{"promptTokenCount":1129,"candidatesTokenCount":2,"thoughtsTokenCount":48,"totalTokenCount":1179},"modelVersion":"gemini-3-pro-001","responseId":"abc"}"#;
const LAST: &str = r#"{"candidates":[{"content":{"parts":[{"text":"there"}],"role":"model"},"finishReason":"STOP","index":0}],
    "usageMetadata":{"promptTokenCount":1129,"cachedContentTokenCount":1024,"candidatesTokenCount":22,"thoughtsTokenCount":48,"toolUsePromptTokenCount":210,
    "totalTokenCount":1409,"promptTokensDetails":[{"modality":"TEXT","tokenCount":1129}],"trafficType":"ON_DEMAND"},"modelVersion":"gemini-3-pro-001","responseId":"abc"}"#;

const PATH: &str = "/v1beta/models/gemini-3-pro:streamGenerateContent";

fn events(payloads: &[&str]) -> Talk {
    let stream: String = payloads
        .iter()
        .map(|payload| format!("data: {}\r\n\r\n", payload.replace('\n', " ")))
        .collect();
    Talk::new(PATH, REQUEST, "text/event-stream", &stream)
}

fn elements(payloads: &[&str]) -> Talk {
    let array = format!("[{}\n]", payloads.join("\n,\r\n"));
    Talk::new(PATH, REQUEST, "application/json; charset=UTF-8", &array)
}

pub(super) fn stream() -> Talk {
    events(&[FIRST, SECOND, LAST])
}

pub(super) fn array() -> Talk {
    elements(&[FIRST, SECOND, LAST])
}

fn expected(talk: &Talk) -> LlmCall {
    LlmCall {
        exchange: exchange(0),
        started: at(1),
        first_token: Some(at(3)),
        ended: at(4),
        provider: Provider("other"),
        endpoint: Endpoint::GeminiGenerate,
        server_name: Some("llm.example".to_owned()),
        model_requested: Some("gemini-3-pro".to_owned()),
        model_served: Some("gemini-3-pro-001".to_owned()),
        is_stream: true,
        http_status: Some(200),
        outcome: Outcome::Complete,
        stop_reason: Some("STOP".to_owned()),
        usage: Usage {
            input_uncached: Some(315),
            cache_read: Some(1024),
            output: Some(70),
            reasoning: Some(48),
            ..Usage::default()
        },
        usage_source: UsageSource::Provider,
        terms: Terms {
            service_tier: Some("ON_DEMAND".to_owned()),
            ..Terms::default()
        },
        response_id: Some("abc".to_owned()),
        observed_bytes: talk.request.len() as u64
            + talk
                .response
                .iter()
                .map(|piece| match piece {
                    Piece::Bytes(bytes) => bytes.len() as u64,
                    Piece::Gap => 0,
                })
                .sum::<u64>(),
        ..LlmCall::plain()
    }
}

#[test]
fn trap_6_the_last_usage_of_a_stream_of_events_counts() {
    assert_eq!(stream().call(), expected(&stream()));
}

#[test]
fn trap_6_the_last_usage_of_a_stream_as_an_array_counts() {
    let whole = LlmCall {
        // The array says itself that it is over.
        ended: at(3),
        ..expected(&array())
    };
    assert_eq!(array().call(), whole);
}

#[test]
fn a_body_is_read_whole() {
    let mut talk = Talk::new(
        "/v1beta/models/gemini-3-pro:generateContent",
        REQUEST,
        "application/json",
        LAST,
    );
    talk.fields
        .insert(0, ("host", "generativelanguage.googleapis.com"));
    assert_eq!(
        talk.call(),
        LlmCall {
            first_token: None,
            ended: at(3),
            is_stream: false,
            provider: Provider("google"),
            server_name: Some("generativelanguage.googleapis.com".to_owned()),
            ..expected(&talk)
        }
    );
}

#[test]
fn code_assist_is_the_same_in_an_envelope() {
    let wrap = |text: &str| format!(r#"{{"response":{text},"traceId":"trace-1"}}"#);
    let parts = [wrap(FIRST), wrap(SECOND), wrap(LAST)];
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let request = format!(
        r#"{{"model":"gemini-3-pro","project":"canary","user_prompt_id":"prompt-1","request":{{"session_id":"session-0001",{}}}"#,
        REQUEST.split_once('{').expect("an object").1
    );
    for mut talk in [events(&parts), elements(&parts)] {
        talk.path = "/v1internal:streamGenerateContent";
        talk.request = request.clone();
        let whole = talk.call();
        assert_eq!(
            whole,
            LlmCall {
                hints: SessionHints {
                    body_id: Some("session-0001".to_owned()),
                    ..SessionHints::default()
                },
                ended: whole.ended,
                ..expected(&talk)
            }
        );
    }
}

#[test]
fn a_later_part_may_correct_an_earlier_one_to_less() {
    let more = SECOND.replace(
        r#""candidatesTokenCount":2"#,
        r#""candidatesTokenCount":500"#,
    );
    for talk in [
        events(&[FIRST, &more, LAST]),
        elements(&[FIRST, &more, LAST]),
    ] {
        assert_eq!(talk.call().usage.output, Some(70));
    }
    // A part without usage, or with null, does not erase it.
    for none in [
        r#"{"candidates":[{"index":0}]}"#,
        r#"{"usageMetadata":null}"#,
        r#"{"usageMetadata":{}}"#,
    ] {
        assert_eq!(events(&[FIRST, LAST, none]).call().usage.output, Some(70));
        assert_eq!(elements(&[FIRST, LAST, none]).call().usage.output, Some(70));
    }
}

#[test]
fn trap_7_a_hang_up_behind_the_reason_and_the_usage_is_none() {
    let array = format!("[{FIRST},\n{SECOND},\n{LAST}");
    let cut = Talk::new(PATH, REQUEST, "application/json", &array);
    for talk in [stream(), cut] {
        let call = talk.end(BodyEnd::Cut).call();
        assert_eq!(
            verdict(&call),
            (
                Outcome::Complete,
                UsageSource::Provider,
                Some(315),
                Some(70)
            )
        );
    }
}

#[test]
fn a_stream_that_is_cut_is_exact_up_to_its_last_part() {
    let (part, _) = LAST.split_once("cachedContent").expect("it has a cache");
    let array = format!("[{FIRST},\n{SECOND},\n{part}");
    let cut = Talk::new(PATH, REQUEST, "application/json", &array);
    for talk in [events(&[FIRST, SECOND]), cut] {
        let call = talk.end(BodyEnd::Cut).call();
        assert_eq!(
            verdict(&call),
            (
                Outcome::Aborted,
                UsageSource::ProviderPartial,
                Some(1129),
                Some(50)
            )
        );
        assert_eq!(call.countable, None);
    }
    // Where the last part does not count the output, its text is left to be counted.
    let call = events(&[FIRST]).end(BodyEnd::Cut).call();
    assert_eq!(
        verdict(&call),
        (
            Outcome::Aborted,
            UsageSource::ProviderPartial,
            Some(1129),
            None
        )
    );
    let countable = call.countable.expect("the output is not known");
    assert_eq!(countable.output.parts().collect::<Vec<_>>(), ["thinking"]);
}

#[test]
fn a_gap_before_the_last_part_leaves_the_usage_known_and_the_call_incomplete() {
    let text = |payload: &str| format!("data: {}\r\n\r\n", payload.replace('\n', " "));
    let pieces = vec![
        Piece::Bytes(text(FIRST).into_bytes()),
        Piece::Gap,
        Piece::Bytes(b"\r\n\r\n".to_vec()),
        Piece::Bytes(text(LAST).into_bytes()),
    ];
    let call = stream().pieces(pieces).call();
    assert_eq!(
        verdict(&call),
        (
            Outcome::Incomplete,
            UsageSource::Provider,
            Some(315),
            Some(70)
        )
    );
    // What comes behind a gap has no known place in an array.
    let bytes = format!("[{FIRST},");
    let pieces = vec![
        Piece::Bytes(bytes.into_bytes()),
        Piece::Gap,
        Piece::Bytes(format!(",{LAST}]").into_bytes()),
    ];
    let call = array().pieces(pieces).call();
    assert_eq!(
        verdict(&call),
        (
            Outcome::Incomplete,
            UsageSource::ProviderPartial,
            Some(1129),
            None
        )
    );
}

#[test]
fn a_prompt_that_is_blocked_used_its_input_and_no_output() {
    let blocked = r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":9,"totalTokenCount":9},"modelVersion":"gemini-3-pro-001"}"#;
    let body = Talk::new(PATH, REQUEST, "application/json", blocked);
    for talk in [events(&[blocked]), elements(&[blocked]), body] {
        let call = talk.call();
        assert_eq!(
            verdict(&call),
            (Outcome::Complete, UsageSource::Provider, Some(9), Some(0))
        );
        assert_eq!(call.stop_reason.as_deref(), Some("SAFETY"));
    }
}

#[test]
fn several_candidates_end_with_the_last_of_them() {
    let one = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":1,"totalTokenCount":10}}"#;
    let two = r#"{"candidates":[{"content":{"parts":[{"text":"b"}]},"finishReason":"MAX_TOKENS","index":1}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":3,"totalTokenCount":12}}"#;
    let call = events(&[one, two]).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::Provider, Some(9), Some(3))
    );
}

#[test]
fn errors_by_status_and_inside_a_stream_are_errors() {
    let error = r#"{"error":{"code":429,"message":"canary","status":"RESOURCE_EXHAUSTED"}}"#;
    for talk in [
        elements(&[error]).status(429),
        Talk::new(PATH, REQUEST, "application/json", error).status(429),
    ] {
        let call = talk.call();
        assert_eq!(
            verdict(&call),
            (Outcome::Error, UsageSource::None, None, None)
        );
        assert_eq!((call.http_status, call.countable), (Some(429), None));
    }
    for talk in [events(&[FIRST, error]), elements(&[FIRST, error])] {
        let call = talk.call();
        assert_eq!(
            verdict(&call),
            (
                Outcome::Error,
                UsageSource::ProviderPartial,
                Some(1129),
                None
            )
        );
    }
}

#[test]
fn without_usage_the_texts_are_left_to_be_counted() {
    let text = r#"{"candidates":[{"content":{"parts":[{"text":"Hi "},{"text":"there"},{"functionCall":{"name":"look","args":{"where":"here"}}}]},"finishReason":"STOP"}]}"#;
    let talks = [
        events(&[text]),
        elements(&[text]),
        Talk::new(PATH, REQUEST, "application/json", text),
    ];
    for talk in talks {
        let call = talk.call();
        assert_eq!(
            verdict(&call),
            (Outcome::Complete, UsageSource::None, None, None)
        );
        let countable = call.countable.expect("nothing was reported");
        assert_eq!(
            countable.input.parts().collect::<Vec<_>>(),
            [
                "Be brief.",
                "user",
                "Hello",
                "model",
                "look",
                "where",
                "there",
                "user",
                "look",
                "seen",
                "nothing",
            ]
        );
        assert_eq!(countable.frame.messages, 3);
        let said: String = countable.output.parts().collect();
        assert_eq!(said, "Hi therelookwherehere");
        assert!(!countable.input_is_partial);
    }
}

#[test]
fn sound_and_pictures_are_parts_of_the_totals() {
    let usage = r#""usageMetadata":{"promptTokenCount":1000,"candidatesTokenCount":300,"toolUsePromptTokenCount":50,"thoughtsTokenCount":10,"totalTokenCount":1360,
        "promptTokensDetails":[{"modality":"TEXT","tokenCount":700},{"tokenCount":200,"modality":"AUDIO"},{"modality":"IMAGE","tokenCount":60},{"modality":"VIDEO","tokenCount":40}],
        "cacheTokensDetails":[{"modality":"AUDIO","tokenCount":9}],
        "toolUsePromptTokensDetails":[{"modality":"IMAGE","tokenCount":5}],
        "candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":258},{"modality":"AUDIO","tokenCount":20}],"serviceTier":"priority"}"#;
    let last = format!(
        r#"{{"candidates":[{{"content":{{"parts":[{{"text":"x"}}]}},"finishReason":"STOP"}}],{usage}}}"#
    );
    for talk in [events(&[&last, &last]), elements(&[&last, &last])] {
        let call = talk.call();
        assert_eq!(
            call.usage,
            Usage {
                input_uncached: Some(1050),
                output: Some(310),
                reasoning: Some(10),
                audio_input: Some(200),
                image_input: Some(65),
                audio_output: Some(20),
                image_output: Some(258),
                ..Usage::default()
            }
        );
        assert_eq!(call.terms.service_tier.as_deref(), Some("priority"));
    }
}

#[test]
fn searches_are_counted_once_wherever_in_the_stream_they_are_named() {
    let grounded = SECOND.replacen(
        r#""index":0"#,
        r#""groundingMetadata":{"webSearchQueries":["one","two"]},"index":0"#,
        1,
    );
    for talk in [
        events(&[FIRST, &grounded, LAST]),
        elements(&[FIRST, &grounded, LAST]),
        events(&[FIRST, &grounded, &grounded, LAST]),
    ] {
        let call = talk.call();
        assert_eq!(call.units.web_searches, Some(2));
        assert_eq!(call.usage.output, Some(70));
    }
}

#[test]
fn the_providers_total_is_the_sum_of_the_columns() {
    let (_, stats) = stream().run();
    assert_eq!(stats.usage_inconsistent, 0);
    let wrong = LAST.replace(r#""totalTokenCount":1409"#, r#""totalTokenCount":1408"#);
    let (_, stats) = events(&[FIRST, SECOND, &wrong]).run();
    assert_eq!(stats.usage_inconsistent, 1);
}

#[test]
fn trap_11_the_model_in_the_path_is_kept_beside_the_one_that_answers() {
    for path in [
        "/v1beta/models/gemini-3-pro:streamGenerateContent",
        "/v1/projects/p/locations/us/publishers/google/models/gemini-3-pro:streamGenerateContent",
    ] {
        let call = Talk { path, ..stream() }.call();
        assert_eq!(
            (
                call.model_requested.as_deref(),
                call.model_served.as_deref()
            ),
            (Some("gemini-3-pro"), Some("gemini-3-pro-001"))
        );
    }
}
