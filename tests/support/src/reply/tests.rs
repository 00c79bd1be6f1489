use super::*;

/// Requests that ask for a stream with usage, as each API spells it.
fn request(api: Api) -> Call {
    let body = json!({"model": "m", "stream": true, "stream_options": {"include_usage": true}});
    if api == Api::OpenAiRealtime {
        Call::by_message(api, Some("m"), body, Vec::new())
    } else {
        Call::by_post(api.path(), body.to_string().as_bytes()).unwrap()
    }
}

fn names(answer: &Answer) -> Vec<String> {
    answer
        .reply
        .parts
        .iter()
        .map(|part| {
            let text = std::str::from_utf8(part).unwrap();
            let data = text
                .lines()
                .find_map(|line| line.strip_prefix("data: "))
                .unwrap();
            let body: Value = serde_json::from_str(data).unwrap_or_default();
            let name = body["type"]
                .as_str()
                .or_else(|| body["object"].as_str())
                .unwrap_or(data);
            if let Some(event) = text.lines().find_map(|line| line.strip_prefix("event: ")) {
                assert_eq!(event, name);
            }
            name.to_owned()
        })
        .collect()
}

fn answer_of(api: Api, plan: &str) -> Answer {
    let plan = plan.parse().unwrap();
    // Number 1 has no extra message_delta, and no reasoning under this seed.
    let mut numbers = Numbers::of(0, 1, api, Some(2));
    numbers.thoughts.clear();
    answer(&request(api), &numbers, &plan)
}

#[test]
fn an_anthropic_stream_has_the_events_of_the_real_one_in_order() {
    assert_eq!(
        names(&answer_of(Api::AnthropicMessages, "")),
        [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
}

#[test]
fn a_chat_stream_ends_in_usage_and_done() {
    let answer = answer_of(Api::OpenAiChat, "");
    let chunk = "chat.completion.chunk";
    assert_eq!(
        names(&answer),
        [chunk, chunk, chunk, chunk, chunk, "[DONE]"]
    );
    let usage = String::from_utf8(answer.reply.parts[4].clone()).unwrap();
    assert!(usage.contains(r#""choices":[]"#) && usage.contains(r#""prompt_tokens":"#));
}

#[test]
fn a_responses_stream_has_the_events_of_the_real_one_in_order() {
    assert_eq!(
        names(&answer_of(Api::OpenAiResponses, "")),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
}

#[test]
fn the_parts_of_openais_input_never_exceed_the_whole() {
    for number in 0..1_000 {
        let tokens = Numbers::of(1, number, Api::OpenAiChat, None).usage;
        assert_eq!(
            tokens.input(),
            tokens.input_uncached + tokens.cache_read + tokens.cache_write_other
        );
    }
}

#[test]
fn usage_counts_as_reported_only_where_it_is_on_the_wire() {
    let table = [
        (
            Api::AnthropicMessages,
            "",
            Reported::Everything,
            Outcome::Complete,
        ),
        (
            Api::AnthropicMessages,
            "abort-1",
            Reported::Input,
            Outcome::Aborted,
        ),
        (
            Api::AnthropicMessages,
            "error-1",
            Reported::Input,
            Outcome::Error,
        ),
        (
            Api::AnthropicMessages,
            "status-529",
            Reported::Nothing,
            Outcome::Error,
        ),
        (Api::OpenAiChat, "", Reported::Everything, Outcome::Complete),
        (
            Api::OpenAiChat,
            "abort-1",
            Reported::Nothing,
            Outcome::Aborted,
        ),
        (
            Api::OpenAiResponses,
            "",
            Reported::Everything,
            Outcome::Complete,
        ),
        (
            Api::OpenAiResponses,
            "error-1",
            Reported::Nothing,
            Outcome::Error,
        ),
        (
            Api::OpenAiRealtime,
            "",
            Reported::Everything,
            Outcome::Complete,
        ),
        (
            Api::OpenAiRealtime,
            "error-1",
            Reported::Nothing,
            Outcome::Error,
        ),
        (
            Api::GeminiGenerate,
            "",
            Reported::Everything,
            Outcome::Complete,
        ),
        (
            Api::GeminiGenerate,
            "error-1",
            Reported::Input,
            Outcome::Error,
        ),
        (
            Api::GeminiGenerate,
            "abort-0",
            Reported::Input,
            Outcome::Aborted,
        ),
    ];
    for (api, plan, reported, outcome) in table {
        let answer = answer_of(api, plan);
        assert_eq!(
            (answer.reported, answer.outcome),
            (reported, outcome),
            "{api:?} {plan}"
        );
        let wire = String::from_utf8(answer.reply.parts.concat()).unwrap();
        // Gemini counts all along; only its last count is the whole.
        let has_total = wire.contains(r#""total_tokens":"#)
            || wire.contains("message_stop")
            || wire.contains("finishReason");
        let has_input = wire.contains("message_start") || wire.contains("promptTokenCount");
        assert_eq!(
            has_total,
            reported == Reported::Everything,
            "{api:?} {plan}"
        );
        assert_eq!(has_input || has_total, reported >= Reported::Input);
    }
}

#[test]
fn a_stream_tells_its_usage_at_its_end_and_not_before() {
    let table = [
        (Api::OpenAiCompletions, r#""completion_tokens":"#),
        (Api::BedrockConverse, r#""outputTokens":"#),
        (Api::CohereChat, r#""billed_units":"#),
        (Api::OllamaChat, r#""eval_count":"#),
        (Api::VercelLanguage, r#""outputTokens":"#),
    ];
    for (api, counter) in table {
        let wire = |plan: &str| {
            let answer = answer_of(api, plan);
            let parts = answer.reply.parts.concat();
            (answer, String::from_utf8_lossy(&parts).into_owned())
        };
        let (answer, whole) = wire("");
        assert!(whole.contains(counter), "{api:?}: {whole}");
        assert_eq!(answer.reported, Reported::Everything, "{api:?}");
        assert!(answer.stop_reason.is_some(), "{api:?}");
        let (answer, cut) = wire("abort-1");
        assert!(!cut.contains(counter), "{api:?}: {cut}");
        assert_eq!(answer.reported, Reported::Nothing, "{api:?}");
        assert_eq!(answer.stop_reason, None, "{api:?}");
    }
}

#[test]
fn bedrock_hands_on_the_events_of_the_model_in_base64() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    let answer = answer_of(Api::BedrockInvoke, "");
    let events: Vec<Value> = answer
        .reply
        .parts
        .iter()
        .map(|message| {
            let text = String::from_utf8_lossy(message);
            let (_, behind) = text.split_once(r#"{"bytes":""#).unwrap();
            let (bytes, _) = behind.split_once('"').unwrap();
            serde_json::from_slice(&STANDARD.decode(bytes).unwrap()).unwrap()
        })
        .collect();

    assert_eq!(events[0]["type"], "message_start");
    assert_eq!(events[0]["message"]["id"].as_str(), answer.id.as_deref());
    let metrics = &events.last().unwrap()["amazon-bedrock-invocationMetrics"];
    let usage = &events[events.len() - 2]["usage"];
    assert_eq!(metrics["outputTokenCount"], usage["output_tokens"]);
}

#[test]
fn mistral_and_groq_tell_the_usage_unasked() {
    let call = Call::by_post("/v1/chat/completions", br#"{"model":"m","stream":true}"#).unwrap();
    for (dialect, place) in [
        (Dialect::Mistral, "/usage/total_tokens"),
        (Dialect::Groq, "/x_groq/usage/total_tokens"),
    ] {
        let call = Call {
            dialect,
            ..call.clone()
        };
        let numbers = Numbers::of(0, 1, call.api, Some(2));
        let answer = answer(&call, &numbers, &Plan::default());
        // The last one is `[DONE]`.
        let last = &answer.reply.parts[answer.reply.parts.len() - 2];
        let text = std::str::from_utf8(last).unwrap();
        let chunk: Value = serde_json::from_str(text.trim().trim_start_matches("data: ")).unwrap();
        let total = numbers.usage.input() + numbers.usage.output;
        assert_eq!(chunk.pointer(place), Some(&json!(total)), "{dialect:?}");
        assert!(!chunk["choices"].as_array().unwrap().is_empty());
        assert_eq!(answer.reported, Reported::Everything);
    }
}

#[test]
fn the_tier_that_serves_is_the_one_that_was_asked_for() {
    let table = [
        (
            "/v1/messages",
            r#"{"service_tier":"auto"}"#,
            Some("priority"),
        ),
        ("/v1/messages", "{}", Some("standard")),
        ("/v1/responses", r#"{"service_tier":"flex"}"#, Some("flex")),
        ("/v1/chat/completions", "{}", Some("default")),
        (
            "/model/m/converse",
            r#"{"serviceTier":{"type":"flex"}}"#,
            Some("flex"),
        ),
        ("/v1beta/models/m:generateContent", "{}", None),
        ("/api/chat", "{}", None),
    ];
    for (target, body, tier) in table {
        let call = Call::by_post(target, body.as_bytes()).unwrap();
        let numbers = Numbers::of(0, 1, call.api, Some(2));
        let answer = answer(&call, &numbers, &Plan::default());
        assert_eq!(answer.service_tier.as_deref(), tier, "{target} {body}");
        if let Some(tier) = tier {
            assert!(holds(&answer.reply.parts, tier), "{target} {body}");
        }
    }
}

#[test]
fn a_realtime_response_has_the_events_of_the_real_one_in_order() {
    let answer = answer_of(Api::OpenAiRealtime, "");
    let kinds: Vec<_> = answer
        .reply
        .parts
        .iter()
        .map(|part| {
            let event: Value = serde_json::from_slice(part).unwrap();
            event["type"].as_str().unwrap().to_owned()
        })
        .collect();
    let expected = [
        "response.created",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn a_call_of_a_tool_is_whole_in_one_text_and_comes_in_pieces_in_a_stream() {
    let schema = json!({
        "type": "object",
        "properties": {"command": {"type": "string"}},
        "required": ["command"],
    });
    let tool = json!({"name": "bash", "input_schema": schema, "parameters": schema});
    let said = json!({"role": "user", "content": "bpftok-do:shell"});
    let body = json!({
        "model": "m", "messages": [said], "input": [said],
        "contents": [{"role": "user", "parts": [{"text": "bpftok-do:shell"}]}],
        "tools": [tool, {"functionDeclarations": [tool]}],
    });
    // How each API says in one text and in a stream why it stops, and begins the arguments.
    let table = [
        (
            Api::AnthropicMessages,
            r#""stop_reason":"tool_use""#,
            r#""partial_json":"{\"command\":\"""#,
        ),
        (
            Api::OpenAiChat,
            r#""finish_reason":"tool_calls""#,
            r#""arguments":"{\"command\":\"""#,
        ),
        (
            Api::OpenAiResponses,
            r#""type":"function_call""#,
            r#""delta":"{\"command\":\"""#,
        ),
        (
            Api::GeminiGenerate,
            r#""functionCall":{"#,
            r#""args":{"command":"#,
        ),
    ];
    for (api, stop, piece) in table {
        for is_stream in [false, true] {
            let mut body = body.clone();
            body["stream"] = json!(is_stream);
            let target = match (api, is_stream) {
                (Api::GeminiGenerate, false) => "/v1beta/models/m:generateContent",
                _ => api.path(),
            };
            let call = Call::by_post(target, body.to_string().as_bytes()).unwrap();
            let answer = answer(&call, &Numbers::of(0, 1, api, Some(2)), &Plan::default());
            let wire = String::from_utf8(answer.reply.parts.concat()).unwrap();
            assert!(wire.contains(stop), "{wire}");
            assert_eq!(answer.tools, ["bash"]);
            let is_cut = is_stream || api == Api::GeminiGenerate;
            assert_eq!(wire.contains(piece), is_cut, "{api:?} {is_stream}: {wire}");
        }
    }
}

#[test]
fn a_model_answers_under_a_dated_name_or_its_own() {
    let wire = |plan: &str| answer_of(Api::OpenAiChat, plan).model_served.unwrap();
    assert_eq!(wire(""), "m-2026-11-01");
    assert_eq!(wire("echo"), "m");
}

#[test]
fn a_chat_stream_without_the_wish_for_usage_has_none() {
    let numbers = Numbers::of(0, 1, Api::OpenAiChat, None);
    let call = Call::by_post(Api::OpenAiChat.path(), br#"{"model":"m","stream":true}"#).unwrap();
    let answer = answer(&call, &numbers, &Plan::default());
    assert_eq!(answer.reported, Reported::Nothing);
    assert!(
        !String::from_utf8(answer.reply.parts.concat())
            .unwrap()
            .contains("usage")
    );
}

#[test]
fn the_text_of_a_prompt_is_found_in_all_its_places() {
    let request = json!({
        "system": [{"type": "text", "text": "abc"}],
        "messages": [
            {"role": "user", "content": "de"},
            {"role": "user", "content": [{"type": "text", "text": "f"}, {"type": "image"}]},
        ],
        "input": "gh",
        "instructions": "i",
        "model": "not counted",
    });
    assert_eq!(text_in_bytes(&request), 9);
}
