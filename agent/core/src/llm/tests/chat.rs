use super::*;

pub(super) const REQUEST: &str =
    r#"{"messages":[{"role":"user","content":"Hello"}],"model":"gpt-4o","stream":true}"#;

const CONTENT: &str = r#"{"id":"chatcmpl-1","model":"gpt-4o-2024-08-06","usage":null,"obfuscation":"xxxxxx",
    "choices":[{"index":0,"delta":{"role":"assistant","content":"Hi there"},"finish_reason":null}]}"#;
const FINISH: &str = r#"{"id":"chatcmpl-1","model":"gpt-4o-2024-08-06","usage":null,
    "choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"id":"chatcmpl-1","model":"gpt-4o-2024-08-06","choices":[],
    "usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,
    "prompt_tokens_details":{"cached_tokens":60},"completion_tokens_details":{"reasoning_tokens":5}}}"#;
const DONE: &str = "[DONE]";

pub(super) fn stream(payloads: &[&str]) -> Talk {
    let payloads: Vec<String> = payloads
        .iter()
        .map(|payload| payload.replace('\n', " "))
        .collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    Talk::new(
        "/v1/chat/completions",
        REQUEST,
        "text/event-stream",
        &sse(&payloads),
    )
}

pub(super) fn whole() -> Talk {
    stream(&[CONTENT, FINISH, USAGE, DONE])
}

fn expected(talk: &Talk) -> LlmCall {
    LlmCall {
        exchange: exchange(0),
        started: at(1),
        first_token: Some(at(3)),
        ended: at(3),
        provider: Provider("other"),
        endpoint: Endpoint::OpenAiChat,
        server_name: Some("llm.example".to_owned()),
        model_requested: Some("gpt-4o".to_owned()),
        model_served: Some("gpt-4o-2024-08-06".to_owned()),
        is_stream: true,
        http_status: Some(200),
        outcome: Outcome::Complete,
        stop_reason: Some("stop".to_owned()),
        usage: Usage {
            input_uncached: Some(40),
            cache_read: Some(60),
            output: Some(20),
            reasoning: Some(5),
            ..Usage::default()
        },
        usage_source: UsageSource::Provider,
        response_id: Some("chatcmpl-1".to_owned()),
        observed_bytes: talk.bytes(),
        ..LlmCall::plain()
    }
}

#[test]
fn a_stream_with_usage_is_read_whole() {
    assert_eq!(whole().call(), expected(&whole()));
}

#[test]
fn a_body_is_read_whole() {
    let body = r#"{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o-2024-08-06",
        "choices":[{"index":0,"message":{"role":"assistant","content":"Hi there"},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,
        "prompt_tokens_details":{"cached_tokens":60},"completion_tokens_details":{"reasoning_tokens":5}}}"#;
    let request = REQUEST.replace(r#","stream":true"#, "");
    let talk = Talk::new("/v1/chat/completions", &request, "application/json", body);
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
fn trap_4_a_stream_without_usage_is_left_to_be_counted() {
    let call = stream(&[CONTENT, FINISH, DONE]).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::None, None, None)
    );
    let countable = call.countable.expect("nothing was reported");
    assert_eq!(countable.output.parts().collect::<Vec<_>>(), ["Hi there"]);
    assert_eq!(
        countable.input.parts().collect::<Vec<_>>(),
        ["user", "Hello"]
    );
    let frame = Frame {
        messages: 1,
        ..Frame::default()
    };
    assert_eq!(
        (countable.frame, countable.input_is_partial),
        (frame, false)
    );
}

#[test]
fn trap_5_usage_that_stands_twice_counts_once() {
    let twice = r#"{"id":"chatcmpl-1","model":"gpt-4o-2024-08-06","choices":[],
        "x_groq":{"id":"r","usage":{"prompt_tokens":100,"completion_tokens":20}},
        "usage":{"prompt_tokens":100,"completion_tokens":20}}"#;
    let alone = r#"{"id":"chatcmpl-1","choices":[],"x_groq":{"usage":{"prompt_tokens":100,"completion_tokens":20}}}"#;
    for payload in [twice, alone] {
        let call = stream(&[CONTENT, FINISH, payload, DONE]).call();
        assert_eq!(
            verdict(&call),
            (
                Outcome::Complete,
                UsageSource::Provider,
                Some(100),
                Some(20)
            )
        );
    }
}

#[test]
fn trap_5_usage_beside_choices_and_between_comments_counts() {
    let last = r#"{"id":"1","choices":[{"delta":{"content":"!"},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#
        .replace('\n', " ");
    let text = format!(
        ": OPENROUTER PROCESSING\n\ndata: {last}\n\n: OPENROUTER PROCESSING\n\ndata: [DONE]\n\n"
    );
    let call = Talk::new(
        "/api/v1/chat/completions",
        REQUEST,
        "text/event-stream",
        &text,
    )
    .call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::Provider, Some(9), Some(2))
    );
}

#[test]
fn cumulative_usage_is_taken_from_the_last_chunk() {
    let early = r#"{"id":"1","choices":[],"usage":{"prompt_tokens":100,"completion_tokens":3,"total_tokens":103}}"#;
    assert_eq!(
        stream(&[early, CONTENT, FINISH, USAGE, DONE]).call().usage,
        expected(&whole()).usage
    );
}

#[test]
fn cumulative_usage_of_a_cut_stream_is_partial() {
    let early = r#"{"id":"1","choices":[],"usage":{"prompt_tokens":100,"completion_tokens":3,"total_tokens":103}}"#;
    let call = stream(&[early, CONTENT]).end(BodyEnd::Cut).call();
    assert_eq!(
        verdict(&call),
        (
            Outcome::Aborted,
            UsageSource::ProviderPartial,
            Some(100),
            Some(3)
        )
    );
}

#[test]
fn a_stream_cut_after_its_usage_is_whole_without_its_last_line() {
    let talk = stream(&[CONTENT, FINISH, USAGE]).end(BodyEnd::Cut);
    assert_eq!(
        talk.call(),
        LlmCall {
            ended: at(4),
            ..expected(&talk)
        }
    );
}

#[test]
fn a_stream_cut_before_its_usage_is_aborted() {
    for payloads in [&[CONTENT][..], &[CONTENT, FINISH]] {
        let call = stream(payloads).end(BodyEnd::Cut).call();
        assert_eq!(
            verdict(&call),
            (Outcome::Aborted, UsageSource::None, None, None)
        );
    }
}

#[test]
fn an_error_in_the_stream_ends_the_call() {
    let call = stream(&[
        CONTENT,
        r#"{"error":{"message":"no","type":"server_error"}}"#,
        DONE,
    ])
    .call();
    assert_eq!(
        verdict(&call),
        (Outcome::Error, UsageSource::None, None, None)
    );
    assert!(call.countable.is_some(), "its answer was begun");
    let null = stream(&[
        &CONTENT.replacen('{', r#"{"error":null,"#, 1),
        FINISH,
        USAGE,
        DONE,
    ]);
    assert_eq!(null.call(), expected(&null));
}

#[test]
fn trap_11_an_azure_stream_that_begins_without_choices_is_read() {
    let first = r#"{"id":"","model":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#;
    let talk = stream(&[first, CONTENT, FINISH, USAGE, DONE]);
    assert_eq!(talk.call(), expected(&talk));
}

#[test]
fn trap_11_the_deployment_stands_for_a_model_that_is_not_named() {
    let mut talk = whole();
    talk.path = "/openai/deployments/mine/chat/completions";
    assert_eq!(talk.call().model_requested.as_deref(), Some("gpt-4o"));
    talk.request = REQUEST.replace(r#""model":"gpt-4o","#, "");
    let call = talk.call();
    assert_eq!(call.model_requested.as_deref(), Some("mine"));
    assert_eq!(call.model_served.as_deref(), Some("gpt-4o-2024-08-06"));
}

#[test]
fn signs_of_life_that_are_no_json_change_nothing() {
    let talk = stream(&[CONTENT, FINISH, USAGE, "keep-alive", DONE]);
    let (out, stats) = talk.run();
    assert_eq!(
        (calls(out), stats.json_malformed),
        (vec![expected(&talk)], 1)
    );
    let call = stream(&[CONTENT, FINISH, USAGE, r#"{"choices":["#, DONE]).call();
    assert_eq!(call.usage_source, UsageSource::ProviderPartial);
}

#[test]
fn a_regional_host_is_the_region_of_the_terms() {
    let talk = whole().field("host", "eu.api.openai.com");
    assert_eq!(talk.call().terms.region.as_deref(), Some("eu"));
    assert_eq!(whole().call().terms.region, None);
}

#[test]
fn chunks_behind_the_usage_take_nothing_of_it() {
    let moderation =
        r#"{"id":"chatcmpl-1","choices":[],"usage":null,"moderation":{"flagged":false}}"#;
    let padded = r#"{"id":"chatcmpl-1","choices":[],"obfuscation":"xxxx"}"#;
    let talk = stream(&[CONTENT, FINISH, USAGE, moderation, padded, DONE]);
    assert_eq!(talk.call(), expected(&talk));
}

#[test]
fn trap_18_several_choices_are_one_call() {
    let second = CONTENT.replace(r#""index":0"#, r#""index":1"#);
    let call = stream(&[CONTENT, &second, FINISH, DONE]).call();
    let countable = call.countable.expect("nothing was reported");
    assert_eq!(
        countable.output.parts().collect::<Vec<_>>(),
        ["Hi thereHi there"]
    );
}

#[test]
fn trap_19_unknown_members_and_kinds_are_passed_over() {
    let odd = r#"{"id":"chatcmpl-1","object":"x","new":{"usage":{"prompt_tokens":5}},"choices":[{"delta":{"odd":[1,{"a":2}]}}]}"#;
    let talk = stream(&[odd, CONTENT, FINISH, USAGE, DONE]);
    assert_eq!(talk.call(), expected(&talk));
}

#[test]
fn tool_calls_and_reasoning_are_output() {
    let delta = |delta: &str| format!(r#"{{"id":"1","choices":[{{"delta":{delta}}}]}}"#);
    let call = stream(&[
        &delta(r#"{"reasoning_content":"so "}"#),
        &delta(r#"{"content":[{"type":"text","text":"I "}]}"#),
        &delta(r#"{"tool_calls":[{"id":"call_1","function":{"name":"run ","arguments":"{}"}}]}"#),
        DONE,
    ])
    .call();
    let countable = call.countable.expect("nothing was reported");
    assert_eq!(
        countable.output.parts().collect::<Vec<_>>(),
        ["so I run {}"]
    );
}

#[test]
fn of_functions_the_text_is_gathered_and_the_marks_are_counted() {
    let mut talk = stream(&[CONTENT, FINISH, DONE]);
    talk.request = r#"{"model":"m","messages":[
        {"role":"assistant","name":"bot","tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}}]}],
        "tools":[{"type":"function","function":{"name":"f","strict":true,"description":"Looks up.","parameters":{
            "$schema":"http://json-schema.org/draft-07/schema#","type":"object","description":"No.","required":["type"],
            "properties":{"type":{"enum":["a","b",3],"type":["string","null"],"description":"Which"},
                "properties":{"type":"object","properties":{"in":{"type":"number","default":"x"}}},
                "list":{"type":"array","items":{"type":"string"}}}}}},
            {"type":"custom","custom":{"name":"c"}}],
        "functions":[{"name":"g","parameters":{"type":"object","properties":{}}}]}"#
        .to_owned();
    let countable = talk.call().countable.expect("nothing was reported");
    assert_eq!(
        countable.input.parts().collect::<Vec<_>>(),
        [
            "assistant",
            "bot",
            "f",
            "{}",
            "f",
            ":Looks up",
            "type",
            "a",
            "b",
            "3",
            ":string",
            ":null",
            ":Which",
            "properties",
            ":object",
            "in",
            ":number",
            "list",
            ":array",
            ":string",
            "custom",
            "name",
            "c",
            "g",
        ]
    );
    assert_eq!(
        countable.frame,
        Frame {
            messages: 1,
            names: 1,
            tool_calls: 1,
            tools: 3,
            // Two objects with properties, four properties, two values behind the first.
            schema_marks: 3 * (2 + 4 + 2),
        }
    );
}

#[test]
fn session_ids_in_the_body_are_taken_in_order() {
    let hints = |members: &str| {
        let mut talk = whole();
        talk.request = REQUEST.replacen('{', &format!("{{{members},"), 1);
        talk.call().hints.body_id
    };
    assert_eq!(
        hints(r#""prompt_cache_key":"key-1","metadata":{"session_id":"s-1"}"#).as_deref(),
        Some("s-1")
    );
    assert_eq!(
        hints(r#""prompt_cache_key":"key-1","metadata":{"trace_id":"t-1"}"#).as_deref(),
        Some("key-1")
    );
    assert_eq!(
        hints(r#""metadata":{"thread_id":"t-1","conversation_id":"c-1"}"#).as_deref(),
        Some("t-1")
    );
    assert_eq!(
        hints(r#""session_id":"a\u0000\u001b[1mb""#).as_deref(),
        Some("a[1mb")
    );
    assert_eq!(hints(r#""metadata":{"session_id":17},"user":"me""#), None);
    let long = format!(r#""session_id":"{}""#, "é".repeat(100));
    assert_eq!(hints(&long), Some("é".repeat(64)));
}
