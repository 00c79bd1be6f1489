//! Tools that a reply asks for, by API.

use proptest::prelude::*;

use super::*;

/// Count and hash of the tools that a reply asks for.
type Asked = (u32, Option<u64>);

fn asked(path: &'static str, kind: &'static str, reply: &str) -> Asked {
    let request = match path {
        "/v1beta/models/m:generateContent" | "/v1beta/models/m:streamGenerateContent" => {
            r#"{"contents":[{"parts":[{"text":"a"}]}]}"#
        }
        _ => {
            r#"{"model":"m","messages":[{"role":"user","content":"a"}],"input":"a","prompt":"a","inputs":"a"}"#
        }
    };
    let signals = Talk::new(path, request, kind, reply)
        .call_with_signals()
        .signals;
    (signals.tool_calls, signals.tool_signature)
}

const STREAM: &str = "text/event-stream";
const JSON: &str = "application/json";

/// A reply with two calls, in every format, and what stands for the first one's argument in it.
fn replies() -> Vec<(&'static str, &'static str, String)> {
    vec![
        (
            "/v1/messages",
            JSON,
            r#"{"type":"message","content":[{"type":"text","text":"t"},{"type":"tool_use","id":"1","name":"Bash","input":{"command":"ONE","name":["x"]}},
            {"type":"server_tool_use","id":"s","name":"web_search","input":{"query":"q"}},{"type":"tool_use","id":"2","name":"Read","input":{}}],
            "usage":{"input_tokens":1,"output_tokens":1}}"#
                .to_owned(),
        ),
        (
            "/v1/messages",
            STREAM,
            sse(&[
                r#"{"type":"message_start","message":{"id":"m","usage":{"input_tokens":1}}}"#,
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
                r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"1","name":"Bash","input":{}}}"#,
                r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"command\":"}}"#,
                r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"\"ONE\"}"}}"#,
                r#"{"type":"content_block_start","index":2,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}"#,
                r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
                r#"{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"2","name":"Read","input":{}}}"#,
                r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":1}}"#,
                r#"{"type":"message_stop"}"#,
            ]),
        ),
        (
            "/v1/chat/completions",
            JSON,
            r#"{"choices":[{"message":{"tool_calls":[{"id":"1","type":"function","function":{"name":"bash","arguments":"{\"c\":\"ONE\"}"}},
            {"id":"2","type":"function","function":{"name":"read","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#
                .to_owned(),
        ),
        (
            "/v1/responses",
            JSON,
            r#"{"status":"completed","output":[{"type":"reasoning","summary":[]},{"type":"function_call","call_id":"1","name":"bash","arguments":"{\"c\":\"ONE\"}"},
            {"type":"web_search_call","action":{"type":"search"}},{"type":"local_shell_call","action":{"command":["ls"]}}]}"#
                .to_owned(),
        ),
        (
            "/v1/responses",
            STREAM,
            sse(&[
                r#"{"type":"response.output_item.added","item":{"type":"function_call","call_id":"1","name":"bash","arguments":""}}"#,
                r#"{"type":"response.function_call_arguments.delta","delta":"{\"c\":\"ONE\"}"}"#,
                r#"{"type":"response.output_item.done","item":{"type":"function_call","call_id":"1","name":"bash","arguments":"{\"c\":\"ONE\"}"}}"#,
                r#"{"type":"response.output_item.done","item":{"type":"local_shell_call","action":{"command":["ls"]}}}"#,
                r#"{"type":"response.completed","response":{"id":"r","output":[{"type":"function_call","name":"bash","arguments":"{}"}]}}"#,
            ]),
        ),
        (
            "/v1beta/models/m:generateContent",
            JSON,
            r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"bash","args":{"c":"ONE"}}},{"functionCall":{"name":"read","args":{}}}]},
            "finishReason":"STOP"}]}"#
                .to_owned(),
        ),
        (
            "/v1beta/models/m:streamGenerateContent",
            JSON,
            r#"[{"candidates":[{"content":{"parts":[{"functionCall":{"name":"bash","args":{"c":"ONE"}}}]}}]},
            {"candidates":[{"content":{"parts":[{"functionCall":{"name":"read","args":{}}}]},"finishReason":"STOP"}]}]"#
                .to_owned(),
        ),
        (
            "/v1beta/models/m:streamGenerateContent",
            STREAM,
            sse(&[
                r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"bash","args":{"c":"ONE"}}}]}}]}"#,
                r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"read","args":{}}}]},"finishReason":"STOP"}]}"#,
            ]),
        ),
        (
            "/model/m/converse",
            JSON,
            r#"{"output":{"message":{"content":[{"toolUse":{"toolUseId":"1","name":"bash","input":{"c":"ONE"}}},{"text":"t"},
            {"toolUse":{"toolUseId":"2","name":"read","input":{}}}]}},"stopReason":"tool_use"}"#
                .to_owned(),
        ),
        (
            "/v2/chat",
            JSON,
            r#"{"id":"c","message":{"content":[],"tool_calls":[{"id":"1","function":{"name":"bash","arguments":"{\"c\":\"ONE\"}"}},
            {"id":"2","function":{"name":"read","arguments":"{}"}}]},"finish_reason":"TOOL_CALL"}"#
                .to_owned(),
        ),
        (
            "/v1/chat",
            JSON,
            r#"{"generation_id":"g","text":"t","finish_reason":"COMPLETE","tool_calls":[{"name":"bash","parameters":{"c":"ONE"}},
            {"name":"read","parameters":{}}],"meta":{"tokens":{"input_tokens":1,"output_tokens":1}}}"#
                .to_owned(),
        ),
        (
            "/v1/chat",
            "application/stream+json",
            [
                r#"{"is_finished":false,"event_type":"stream-start","generation_id":"g"}"#,
                r#"{"is_finished":false,"event_type":"tool-calls-chunk","tool_call_delta":{"index":0,"name":"bash"}}"#,
                r#"{"is_finished":false,"event_type":"tool-calls-generation","tool_calls":[{"name":"bash","parameters":{"c":"ONE"}},{"name":"read","parameters":{}}]}"#,
                r#"{"is_finished":true,"event_type":"stream-end","finish_reason":"COMPLETE","response":{"generation_id":"g","finish_reason":"COMPLETE","tool_calls":[{"name":"bash","parameters":{"c":"ONE"}},{"name":"read","parameters":{}}],"meta":{"tokens":{"input_tokens":1,"output_tokens":1}}}}"#,
                "",
            ]
            .join("\n"),
        ),
        (
            "/v2/chat",
            STREAM,
            sse(&[
                r#"{"type":"message-start","id":"c","delta":{"message":{"role":"assistant"}}}"#,
                r#"{"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"1","type":"function","function":{"name":"bash","arguments":""}}}}}"#,
                r#"{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"{\"c\":\"ONE\"}"}}}}}"#,
                r#"{"type":"tool-call-start","index":1,"delta":{"message":{"tool_calls":{"id":"2","type":"function","function":{"name":"read","arguments":"{}"}}}}}"#,
                r#"{"type":"message-end","delta":{"finish_reason":"TOOL_CALL"}}"#,
            ]),
        ),
        (
            "/api/chat",
            "application/x-ndjson",
            [
                r#"{"message":{"role":"assistant","tool_calls":[{"function":{"name":"bash","arguments":{"c":"ONE"}}}]},"done":false}"#,
                r#"{"message":{"role":"assistant","tool_calls":[{"function":{"name":"read","arguments":{}}}]},"done":false}"#,
                r#"{"message":{"content":""},"done":true,"done_reason":"stop"}"#,
            ]
            .join("\n"),
        ),
        (
            "/v4/ai/language-model",
            JSON,
            r#"{"content":[{"type":"text","text":"t"},{"type":"tool-call","toolCallId":"1","toolName":"bash","input":"{\"c\":\"ONE\"}"},
            {"type":"tool-call","toolCallId":"2","toolName":"read","input":"{}"}],"finishReason":"tool-calls"}"#
                .to_owned(),
        ),
        (
            "/v4/ai/language-model",
            STREAM,
            sse(&[
                r#"{"type":"tool-input-start","id":"1","toolName":"bash"}"#,
                r#"{"type":"tool-call","toolCallId":"1","toolName":"bash","input":"{\"c\":\"ONE\"}"}"#,
                r#"{"type":"tool-call","toolCallId":"2","toolName":"read","input":"{}"}"#,
                r#"{"type":"finish","finishReason":"tool-calls"}"#,
            ]),
        ),
        (
            "/v1/conversations",
            JSON,
            r#"{"conversation_id":"c","outputs":[{"type":"function.call","tool_call_id":"1","name":"bash","arguments":"{\"c\":\"ONE\"}"},
            {"type":"tool.execution","name":"web_search","arguments":"{}"},{"type":"function.call","tool_call_id":"2","name":"read","arguments":"{}"}],
            "usage":{"prompt_tokens":1,"completion_tokens":1}}"#
                .to_owned(),
        ),
        (
            "/v1/conversations",
            STREAM,
            sse(&[
                r#"{"type":"conversation.response.started"}"#,
                r#"{"type":"function.call.delta","id":"e","name":"bash","tool_call_id":"1","arguments":"{\"c\":"}"#,
                r#"{"type":"function.call.delta","id":"e","name":"bash","tool_call_id":"1","arguments":"\"ONE\"}"}"#,
                r#"{"type":"function.call.delta","id":"f","name":"read","tool_call_id":"2","arguments":"{}"}"#,
                r#"{"type":"conversation.response.done","usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
            ]),
        ),
        (
            "/v1beta/interactions",
            JSON,
            r#"{"status":"requires_action","steps":[{"type":"user_input"},{"type":"function_call","id":"1","name":"bash","arguments":{"c":"ONE"}},
            {"type":"function_call","id":"2","name":"read","arguments":{}}],"usage":{"total_input_tokens":1}}"#
                .to_owned(),
        ),
        (
            "/v1beta/interactions",
            STREAM,
            sse(&[
                r#"{"event_type":"step.start","index":0,"step":{"type":"function_call","id":"1","name":"bash","arguments":{}}}"#,
                r#"{"event_type":"step.delta","index":0,"delta":{"type":"arguments_delta","arguments":"{\"c\":\"ONE\"}"}}"#,
                r#"{"event_type":"step.start","index":1,"step":{"type":"function_call","id":"2","name":"read","arguments":{}}}"#,
                r#"{"event_type":"interaction.completed","interaction":{"status":"requires_action","usage":{"total_input_tokens":1}}}"#,
            ]),
        ),
        ("/v1/chat/completions", STREAM, chat_stream(&["{\\\"c\\\":", "\\\"ONE\\\"}"])),
    ]
}

/// A stream of two calls, the arguments of the first in these pieces, between which the second goes on.
fn chat_stream(pieces: &[&str]) -> String {
    let call = |index: usize, call: &str| {
        format!(
            r#"{{"choices":[{{"index":0,"delta":{{"tool_calls":[{{"index":{index},{call}}}]}}}}]}}"#
        )
    };
    let mut events = vec![
        call(
            0,
            r#""id":"1","type":"function","function":{"name":"bash","arguments":""}"#,
        ),
        call(
            1,
            r#""id":"2","type":"function","function":{"name":"read","arguments":""}"#,
        ),
    ];
    let argument = |piece: &&str| call(0, &format!(r#""function":{{"arguments":"{piece}"}}"#));
    events.extend(pieces.iter().map(argument));
    events.insert(3, call(1, r#""function":{"arguments":"{}"}"#));
    events.push(r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#.to_owned());
    events.push("[DONE]".to_owned());
    sse(&events.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn calls_of_tools_are_counted_and_known_again_in_every_format() {
    for (path, kind, reply) in replies() {
        let (count, signature) = asked(path, kind, &reply);
        assert_eq!(count, 2, "{path} {kind}");
        assert!(signature.is_some(), "{path} {kind}");
        for (from, to) in [("ONE", "TWO"), ("bash", "dash"), ("Bash", "Dash")] {
            let other = asked(path, kind, &reply.replace(from, to));
            assert_eq!(other.0, 2, "{path} {kind}");
            let is_same = other.1 == signature;
            assert_eq!(is_same, !reply.contains(from), "{path} {kind} {from}");
        }
        // Ids are others every time.
        for (from, to) in [(r#""1""#, r#""11""#), (r#""2""#, r#""22""#)] {
            let other = asked(path, kind, &reply.replace(from, to));
            assert_eq!(other, (2, signature), "{path} {kind}");
        }
    }
}

#[test]
fn a_stream_of_bedrock_has_calls_in_frames_of_several_events() {
    let calls = bedrock::tool_calls(&[
        (
            "contentBlockStart",
            r#"{"contentBlockIndex":0,"start":{"toolUse":{"toolUseId":"1","name":"bash"}}}"#,
        ),
        (
            "contentBlockDelta",
            r#"{"contentBlockIndex":0,"delta":{"toolUse":{"input":"{\"c\":1}"}}}"#,
        ),
        (
            "contentBlockStart",
            r#"{"contentBlockIndex":1,"start":{"toolUse":{"toolUseId":"2","name":"read"}}}"#,
        ),
        ("messageStop", r#"{"stopReason":"tool_use"}"#),
        (
            "metadata",
            r#"{"usage":{"inputTokens":1,"outputTokens":1}}"#,
        ),
    ]);
    assert_eq!(calls, 2);
}

#[test]
fn a_whole_reply_and_a_stream_of_the_same_text_have_the_same_signature() {
    for path in [
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/chat",
        "/v2/chat",
        "/v4/ai/language-model",
        "/v1/conversations",
    ] {
        let mut found: Vec<Asked> = replies()
            .into_iter()
            .filter(|(of, ..)| *of == path)
            .map(|(path, kind, reply)| asked(path, kind, &reply))
            .collect();
        assert_eq!(found.len(), 2, "{path}");
        found.dedup();
        assert_eq!(found.len(), 1, "{path}");
    }
}

#[test]
fn a_result_of_a_batch_asks_for_what_the_same_reply_asks_for() {
    let results = |path, kind, lines: String| {
        let talk = Talk {
            method: "GET",
            ..Talk::new(path, "", kind, &lines)
        };
        calls_with_signals(talk.run().0)
            .into_iter()
            .map(|call| (call.signals.tool_calls, call.signals.tool_signature))
            .collect::<Vec<Asked>>()
    };
    let reply = |of: &str| {
        let mut all = replies().into_iter();
        let (_, _, reply) = all
            .find(|(path, kind, _)| *path == of && *kind == JSON)
            .unwrap();
        reply.replace('\n', "")
    };
    for (path, object) in [
        ("/v1/chat/completions", "chat.completion"),
        ("/v1/responses", "response"),
    ] {
        let reply = reply(path);
        let body = reply.replacen('{', &format!(r#"{{"object":"{object}","#), 1);
        let line = |id: u32| {
            format!(
                r#"{{"id":"b{id}","custom_id":"{id}","response":{{"status_code":200,"body":{body}}},"error":null}}"#
            )
        };
        let found = results(
            "/v1/files/file-abc/content",
            "application/octet-stream",
            line(7) + "\n" + &line(8),
        );
        assert_eq!(found, [asked(path, JSON, &reply); 2], "{path}");
    }
    let reply = reply("/v1/messages");
    let message = reply.replacen('{', r#"{"id":"m","#, 1);
    let line = |id: u32| {
        format!(r#"{{"custom_id":"{id}","result":{{"type":"succeeded","message":{message}}}}}"#)
    };
    let path = "/v1/messages/batches/msgbatch_01/results";
    let found = results(path, "application/x-jsonl", line(7) + "\n" + &line(8));
    assert_eq!(found, [asked("/v1/messages", JSON, &reply); 2]);
}

#[test]
fn an_answer_in_words_asks_for_no_tool() {
    for talk in [
        anthropic::whole(),
        chat::whole(),
        responses::whole(),
        gemini::stream(),
    ] {
        let signals = talk.call_with_signals().signals;
        assert_eq!((signals.tool_calls, signals.tool_signature), (0, None));
    }
}

#[test]
fn calls_at_one_place_are_told_apart_by_their_ids() {
    let call = |id: &str, arguments: &str| {
        format!(
            r#"{{"choices":[{{"delta":{{"tool_calls":[{{"index":0,"id":"{id}","function":{{"name":"f","arguments":"{arguments}"}}}}]}}}}]}}"#
        )
    };
    let one = [call("a", "1"), call("a", "2"), "[DONE]".to_owned()];
    let two = [call("a", "1"), call("b", "2"), "[DONE]".to_owned()];
    let count = |events: &[String; 3]| {
        let events = events.each_ref().map(String::as_str);
        asked("/v1/chat/completions", STREAM, &sse(&events)).0
    };
    assert_eq!((count(&one), count(&two)), (1, 2));
    let without = call("a", "1").replace(r#""index":0,"#, "");
    let others = [
        without.clone(),
        call("b", "2").replace(r#""index":0,"#, ""),
        "[DONE]".to_owned(),
    ];
    let again = [without.clone(), without, "[DONE]".to_owned()];
    assert_eq!((count(&others), count(&again)), (2, 1));
}

#[test]
fn many_calls_are_counted_and_the_first_are_hashed() {
    let many = |last: &str| {
        let piece = |index: usize, text: &str| {
            format!(
                r#"{{"choices":[{{"delta":{{"tool_calls":[{{"index":{index},"function":{{"name":"f","arguments":"{text}"}}}}]}}}}]}}"#
            )
        };
        let mut events: Vec<String> = (0..100).map(|index| piece(index, "1")).collect();
        events.push(piece(99, last));
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        asked("/v1/chat/completions", STREAM, &sse(&events))
    };
    assert_eq!(many("2").0, 100);
    assert_eq!(many("2"), many("3"));
}

#[test]
fn a_context_that_was_made_short_beside_shows() {
    let compacts = |usage: &str, block: &str| {
        let body = format!(
            r#"{{"type":"message","content":[{block}{{"type":"text","text":"t"}}],"usage":{{"input_tokens":1,"output_tokens":1{usage}}}}}"#
        );
        let request = r#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#;
        let talk = Talk::new("/v1/messages", request, JSON, &body);
        talk.call_with_signals().signals.compacts
    };
    assert!(!compacts("", ""));
    assert!(compacts(
        r#","iterations":[{"type":"compaction","input_tokens":9,"output_tokens":1}]"#,
        ""
    ));
    assert!(compacts("", r#"{"type":"compaction","content":"s"},"#));
    let compact = openai::compaction().call_with_signals();
    assert_eq!(compact.signals.class, Some(Class::Compaction));
}

proptest! {
    #[test]
    fn no_split_of_a_reply_changes_what_it_asks_for(
        which in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let all = replies();
        let (path, kind, reply) = which.get(&all);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(reply.len())).collect();
        cuts.sort_unstable();
        cuts.push(reply.len());
        let mut from = 0;
        let pieces = cuts.into_iter().map(|cut| {
            let piece = Piece::Bytes(reply.as_bytes()[from..cut].to_vec());
            from = cut;
            piece
        });
        let request = r#"{"model":"m","messages":[{"role":"user","content":"a"}],"input":"a","prompt":"a","inputs":"a","contents":[]}"#;
        let talk = Talk::new(path, request, kind, "").pieces(pieces.collect());
        let signals = talk.call_with_signals().signals;
        prop_assert_eq!((signals.tool_calls, signals.tool_signature), asked(path, kind, reply));
    }
}
