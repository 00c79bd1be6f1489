//! What the structure of a call says, by API.

use proptest::prelude::*;

use super::*;

/// What a request says, that was refused: no reply is needed for it.
fn asked(path: &'static str, request: &str) -> Signals {
    Talk::new(path, request, "application/json", "{}")
        .status(500)
        .call_with_signals()
        .signals
}

/// The same without hashes.
fn structure(path: &'static str, request: &str) -> Signals {
    Signals {
        request_hash: None,
        prefix: None,
        ..asked(path, request)
    }
}

fn prefix(path: &'static str, request: &str) -> Prefix {
    asked(path, request).prefix.expect("a conversation")
}

const ALL: ToolFamilies = ToolFamilies {
    edit: true,
    shell: true,
    read: true,
};

const VERTEX: &str = "/v1/projects/p/locations/eu/publishers/anthropic/models/claude:rawPredict";

/// An agent's request for a step behind a tool, in every format; and what it says.
fn steps() -> Vec<(&'static str, &'static str, Signals)> {
    let step = Signals {
        tools_offered: Some(3),
        families: ALL,
        last_item: Some(LastItem::ToolResult),
        assistant_items: 1,
        max_output_tokens: Some(900),
        ..Signals::default()
    };
    let forced = Signals {
        forces_tool: true,
        ..step.clone()
    };
    let strict = Signals {
        asks_for_json: true,
        ..forced.clone()
    };
    let anthropic = r#"{"model":"m","max_tokens":900,"output_config":{"format":{"type":"json_schema","schema":{}}},
        "tool_choice":{"type":"any"},"messages":[{"role":"user","content":"a"},
        {"role":"assistant","content":[{"type":"text","text":"b"},{"type":"tool_use","id":"t1","name":"Bash","input":{"role":"user"}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"c"},{"type":"text","text":"d"}]}],
        "tools":[{"name":"Bash","input_schema":{"properties":{"name":{}}}},{"name":"Edit"},{"name":"Read"}]}"#;
    let invoke = r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":900,"tool_choice":{"type":"tool","name":"Edit"},
        "tools":[{"type":"bash_20250124","name":"bash"},{"name":"Edit"},{"name":"Grep"}],"messages":[{"role":"user","content":"a"},
        {"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"Edit","input":{}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1"}]}]}"#;
    vec![
        ("/v1/messages", anthropic, strict.clone()),
        (VERTEX, anthropic, strict.clone()),
        ("/model/anthropic.claude/invoke", invoke, forced.clone()),
        (
            "/v1/chat/completions",
            r#"{"model":"m","max_completion_tokens":900,"response_format":{"type":"json_schema","json_schema":{}},
            "tool_choice":{"type":"function","function":{"name":"shell"}},
            "tools":[{"type":"function","function":{"name":"run_shell_command"}},{"type":"function","function":{"name":"replace"}},
            {"type":"function","function":{"name":"read_file"}}],"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},
            {"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"replace","arguments":"{}"}}]},
            {"role":"tool","tool_call_id":"c","content":"d"}]}"#,
            strict.clone(),
        ),
        (
            "/v1/chat/completions",
            r#"{"model":"m","max_tokens":900,"function_call":{"name":"bash"},"functions":[{"name":"bash"},{"name":"edit"},{"name":"glob"}],
            "messages":[{"role":"user","content":"a"},{"role":"assistant","function_call":{"name":"bash","arguments":"{}"}},
            {"role":"function","name":"bash","content":"d"}]}"#,
            forced.clone(),
        ),
        (
            "/v1/responses",
            r#"{"model":"m","max_output_tokens":900,"text":{"format":{"type":"json_schema","schema":{}}},"tool_choice":"required",
            "instructions":"i","input":[{"type":"message","role":"developer","content":[{"type":"input_text","text":"s"}]},
            {"role":"user","content":"a"},{"type":"reasoning","encrypted_content":"x","summary":[]},
            {"type":"custom_tool_call","call_id":"c","name":"apply_patch","input":"p"},
            {"type":"custom_tool_call_output","call_id":"c","output":"d"}],
            "tools":[{"type":"local_shell"},{"type":"custom","name":"apply_patch"},{"type":"function","name":"list_dir"}]}"#,
            strict.clone(),
        ),
        (
            "/v1/responses",
            r#"{"model":"m","max_output_tokens":900,"input":[{"type":"additional_tools","tools":[{"type":"custom","name":"exec"},
            {"type":"custom","name":"apply_patch"},{"type":"function","name":"grep_files"}]},{"type":"message","role":"user","content":"a"},
            {"type":"function_call","call_id":"c","name":"exec","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"d"}],"tools":[]}"#,
            step.clone(),
        ),
        (
            "/v1/chat",
            r#"{"message":"","model":"m","preamble":"p","max_tokens":900,"response_format":{"type":"json_object"},
            "chat_history":[{"role":"USER","message":"a"},{"role":"CHATBOT","message":"b","tool_calls":[{"name":"bash","parameters":{"role":"USER"}}]}],
            "tools":[{"name":"bash","description":"d","parameter_definitions":{"c":{"type":"str"}}},{"name":"edit"},{"name":"read_file"}],
            "tool_results":[{"call":{"name":"bash","parameters":{"role":"USER"}},"outputs":[{"text":"c"}]}]}"#,
            Signals {
                asks_for_json: true,
                ..step.clone()
            },
        ),
        (
            "/v1beta/models/gemini-3:generateContent",
            r#"{"systemInstruction":{"parts":[{"text":"s"}]},"contents":[{"role":"user","parts":[{"text":"a"}]},
            {"role":"model","parts":[{"functionCall":{"name":"glob","args":{"p":1}}}]},
            {"role":"user","parts":[{"functionResponse":{"name":"glob","response":{"output":"d"}}}]}],
            "tools":[{"functionDeclarations":[{"name":"run_shell_command"},{"name":"replace"}]},{"functionDeclarations":[{"name":"glob"}]}],
            "toolConfig":{"functionCallingConfig":{"mode":"ANY"}},
            "generationConfig":{"maxOutputTokens":900,"responseMimeType":"application/json"}}"#,
            strict.clone(),
        ),
        (
            "/v1internal:generateContent",
            r#"{"model":"m","request":{"contents":[{"role":"user","parts":[{"text":"a"}]},{"role":"model","parts":[{"text":"b"}]},
            {"role":"function","parts":[{"functionResponse":{"name":"glob","response":{}}}]}],
            "tools":[{"googleSearch":{}},{"function_declarations":[{"name":"write_file"},{"name":"shell"}]},{"functionDeclarations":[]}],
            "generationConfig":{"max_output_tokens":0,"maxOutputTokens":900,"responseSchema":{"type":"OBJECT"}}}}"#,
            Signals {
                asks_for_json: true,
                families: ToolFamilies { read: false, ..ALL },
                ..step.clone()
            },
        ),
        (
            "/model/m/converse",
            r#"{"system":[{"text":"s"}],"inferenceConfig":{"maxTokens":900},"messages":[{"role":"user","content":[{"text":"a"}]},
            {"role":"assistant","content":[{"toolUse":{"toolUseId":"t","name":"bash","input":{"a":1}}}]},
            {"role":"user","content":[{"toolResult":{"toolUseId":"t","content":[{"json":{"a":1}}]}}]}],
            "toolConfig":{"tools":[{"toolSpec":{"name":"bash"}},{"toolSpec":{"name":"edit"}},{"toolSpec":{"name":"view"}},
            {"cachePoint":{"type":"default"}}],"toolChoice":{"any":{}}}}"#,
            forced.clone(),
        ),
        (
            "/v2/chat",
            r#"{"model":"m","max_tokens":900,"response_format":{"type":"json_object"},"tool_choice":"REQUIRED",
            "messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"bash","arguments":"{}"}}]},
            {"role":"tool","tool_call_id":"c","content":[{"type":"document","document":{"data":"d"}}]}],
            "tools":[{"type":"function","function":{"name":"bash"}},{"type":"function","function":{"name":"patch"}},
            {"type":"function","function":{"name":"list"}}]}"#,
            strict.clone(),
        ),
        (
            "/api/chat",
            r#"{"model":"m","format":{"type":"object"},"options":{"num_predict":900},"messages":[{"role":"user","content":"a"},
            {"role":"assistant","content":"","tool_calls":[{"function":{"name":"bash","arguments":{"a":1}}}]},
            {"role":"tool","tool_name":"bash","content":"d"}],"tools":[{"type":"function","function":{"name":"bash"}},
            {"type":"function","function":{"name":"write"}},{"type":"function","function":{"name":"read"}}]}"#,
            Signals {
                asks_for_json: true,
                ..step.clone()
            },
        ),
        (
            "/v4/ai/language-model",
            r#"{"maxOutputTokens":900,"responseFormat":{"type":"json","schema":{}},"toolChoice":{"type":"required"},
            "prompt":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"a"}]},
            {"role":"assistant","content":[{"type":"tool-call","toolCallId":"c","toolName":"bash","input":{"a":1}}]},
            {"role":"tool","content":[{"type":"tool-result","toolCallId":"c","toolName":"bash","output":{"type":"text","value":"d"}}]}],
            "tools":[{"type":"function","name":"bash"},{"type":"function","name":"edit"},{"type":"function","name":"read"}]}"#,
            strict,
        ),
        (
            "/v1/conversations",
            r#"{"model":"m","instructions":"i","completion_args":{"max_tokens":900,"tool_choice":"auto","response_format":{"type":"text"}},
            "inputs":[{"type":"message.input","role":"user","content":"a"},
            {"type":"function.call","tool_call_id":"c","name":"bash","arguments":"{}"},
            {"type":"function.result","tool_call_id":"c","result":"d"}],"tools":[{"type":"function","function":{"name":"bash"}},
            {"type":"function","function":{"name":"edit"}},{"type":"function","function":{"name":"grep"}}]}"#,
            step,
        ),
        (
            "/v1beta/interactions",
            r#"{"model":"m","generation_config":{"max_output_tokens":900,"tool_choice":"any"},"input":[{"type":"user_input","content":[{"type":"text","text":"a"}]},
            {"type":"thought","signature":"x"},{"type":"function_call","id":"c","name":"bash","arguments":{"a":1}},
            {"type":"function_result","call_id":"c","result":"d"}],"tools":[{"type":"function","name":"bash"},
            {"type":"function","name":"replace"},{"type":"function","name":"glob"}]}"#,
            forced,
        ),
    ]
}

#[test]
fn a_step_of_an_agent_shows_in_every_format() {
    for (path, request, expected) in steps() {
        assert_eq!(structure(path, request), expected, "{path}");
    }
}

#[test]
fn a_question_without_tools_has_none_and_ends_with_the_user() {
    let expected = Signals {
        tools_offered: Some(0),
        last_item: Some(LastItem::User),
        ..Signals::default()
    };
    for (path, request) in [
        (
            "/v1/messages",
            r#"{"model":"m","tool_choice":{"type":"auto"},"messages":[{"content":"a","role":"user"}]}"#,
        ),
        (
            "/v1/chat/completions",
            r#"{"model":"m","tool_choice":"none","response_format":{"type":"text"},"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}]}"#,
        ),
        (
            "/v1/responses",
            r#"{"model":"m","input":"a","text":{"format":{"type":"text"}}}"#,
        ),
        (
            "/v1/responses",
            r#"{"model":"m","input":[{"role":"user","content":"a"}],"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"}]}}"#,
        ),
        (
            "/v1/messages",
            r#"{"model":"m","messages":[{"role":"user","content":"a"},{"role":"system","content":"s"}]}"#,
        ),
        ("/v1/completions", r#"{"model":"m","prompt":"a"}"#),
        (
            "/v1beta/models/gemini-3:generateContent",
            r#"{"contents":[{"parts":[{"text":"a"}]}],"toolConfig":{"functionCallingConfig":{"mode":"AUTO"}}}"#,
        ),
        (
            "/model/m/converse",
            r#"{"messages":[{"role":"user","content":[{"text":"a"}]}],"toolConfig":{"toolChoice":{"auto":{}}}}"#,
        ),
        (
            "/v2/chat",
            r#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#,
        ),
        (
            "/api/chat",
            r#"{"model":"m","messages":[{"role":"user","content":"a"}],"format":"","options":{"num_predict":-1}}"#,
        ),
        ("/api/generate", r#"{"model":"m","prompt":"a"}"#),
        (
            "/v4/ai/language-model",
            r#"{"prompt":[{"role":"user","content":[{"type":"text","text":"a"}]}],"toolChoice":{"type":"auto"}}"#,
        ),
        ("/v1/conversations", r#"{"model":"m","inputs":"a"}"#),
        ("/v1beta/interactions", r#"{"model":"m","input":"a"}"#),
    ] {
        assert_eq!(structure(path, request), expected, "{path} {request}");
    }
}

/// Cohere's first version has the last message beside the history, and sends it first.
#[test]
fn a_message_beside_the_history_goes_behind_it() {
    let first = r#"{"model":"m","message":"a","preamble":"p","chat_history":[]}"#;
    let second = r#"{"model":"m","message":"c","preamble":"p","chat_history":[{"role":"USER","message":"a"},{"role":"CHATBOT","message":"b"}]}"#;
    let sorted = r#"{"chat_history":[{"role":"USER","message":"a"},{"role":"CHATBOT","message":"b"}],"message":"c","preamble":"p","model":"m"}"#;
    let step = r#"{"model":"m","message":"c","preamble":"p","chat_history":[{"role":"USER","message":"a"},{"role":"CHATBOT","message":"b"}],
        "tool_results":[{"call":{"name":"look","parameters":{"n":1}},"outputs":[{"t":"d"}]}]}"#;
    let third = r#"{"model":"m","message":"e","preamble":"p","chat_history":[{"role":"USER","message":"a"},{"role":"CHATBOT","message":"b"},
        {"role":"USER","message":"c"},{"role":"TOOL","tool_results":[{"call":{"name":"look","parameters":{"n":1}},"outputs":[{"t":"d"}]}]}]}"#;
    let [first, second, sorted, step, third] =
        [first, second, sorted, step, third].map(|request| prefix("/v1/chat", request));
    assert_eq!(second, sorted);
    assert_eq!(second.first, first.whole);
    assert!(second.earlier.contains(&first.whole));
    assert!(step.earlier.contains(&second.whole));
    assert!(third.earlier.contains(&step.whole));
    let asked = asked("/v1/chat", r#"{"model":"m","message":"a"}"#);
    assert_eq!(
        (asked.last_item, asked.tools_offered),
        (Some(LastItem::User), Some(0))
    );
}

#[test]
fn what_is_no_conversation_says_nothing_but_its_hash() {
    for (path, request) in [
        ("/v1/embeddings", r#"{"model":"m","input":"a"}"#),
        ("/v1/images/generations", r#"{"model":"m","prompt":"a"}"#),
        (
            "/v2/rerank",
            r#"{"model":"m","query":"a","documents":["b"]}"#,
        ),
    ] {
        let signals = asked(path, request);
        assert!(signals.request_hash.is_some(), "{path}");
        let expected = Signals {
            request_hash: signals.request_hash,
            ..Signals::default()
        };
        assert_eq!(signals, expected, "{path}");
    }
}

#[test]
fn a_request_with_a_hole_says_what_was_seen_before() {
    let before = r#"{"model":"m","max_tokens":9,"tools":[{"name":"Bash"}],"messages":[{"role":"user","content":"a"}]"#;
    let torn = |before: &str| {
        let mut events = Talk::new("/v1/messages", before, "application/json", "{}")
            .status(500)
            .events(0);
        let id = exchange(0);
        events.insert(2, HttpEvent::RequestGap { id, bytes: 9 });
        calls_with_signals(run(events).0)[0].signals.clone()
    };
    let shell = ToolFamilies {
        shell: true,
        ..ToolFamilies::default()
    };
    let expected = Signals {
        tools_offered: Some(1),
        families: shell,
        last_item: Some(LastItem::User),
        max_output_tokens: Some(9),
        ..Signals::default()
    };
    assert_eq!(torn(before), expected);
    let expected = Signals {
        tools_offered: Some(1),
        families: shell,
        max_output_tokens: Some(9),
        ..Signals::default()
    };
    assert_eq!(torn(before.strip_suffix(']').expect("an end")), expected);
    let begun = r#"{"tools":[{"name":"Bash"},"#;
    let expected = Signals {
        families: shell,
        ..Signals::default()
    };
    assert_eq!(torn(begun), expected);
}

#[test]
fn what_claude_code_changes_of_an_earlier_request_does_not_break_its_chain() {
    let first = r#"{"model":"m","system":[{"type":"text","text":"x-anthropic-billing-header: cc_version=2; cc_prev_req=1;"},
        {"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"tools":[{"name":"Bash","cache_control":{"type":"ephemeral"}}],
        "messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"1h"}}]}]}"#;
    let second = r#"{"messages":[{"role":"user","content":"a"},
        {"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"x"},{"type":"tool_use","id":"t1","name":"Bash","input":{"c":1}}]},
        {"content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"d"}],"cache_control":{"type":"ephemeral"}}],"role":"user"}],
        "tools":[{"name":"Bash"}],"system":[{"type":"text","text":"x-anthropic-billing-header: cc_version=2; cc_prev_req=2;"},{"type":"text","text":"s"}]}"#;
    let third = second
        .replacen(
            r#"{"type":"thinking","thinking":"t","signature":"x"},"#,
            "",
            1,
        )
        .replace(
            r#","cache_control":{"type":"ephemeral"}}],"role""#,
            r#"}],"role""#,
        )
        .replace(
            r#""user"}],"#,
            r#""user"},{"role":"assistant","content":"e"},{"role":"user","content":"f"}],"#,
        );
    let [first, second, third] =
        [first, second, &third].map(|request| prefix("/v1/messages", request));
    assert!(first.earlier.is_empty());
    assert_eq!(first.first, first.whole);
    assert_eq!((second.setting, second.first), (first.setting, first.first));
    assert_eq!(second.earlier.last(), Some(&first.whole));
    assert_eq!(second.earlier.len(), 2);
    assert_eq!(third.first, first.first);
    assert!(third.earlier.contains(&second.whole));
    assert!(third.earlier.contains(&first.whole));
}

#[test]
fn other_instructions_tools_or_words_are_another_conversation() {
    let request = r#"{"model":"m","system":"s","tools":[{"name":"t"}],"messages":[{"role":"user","content":"a"}]}"#;
    let known = prefix("/v1/messages", request);
    for (from, to) in [
        (r#""s""#, r#""S""#),
        (r#""s""#, r#""x-anthropic-billing-heade""#),
        (r#""t""#, r#""u""#),
        (r#""a""#, r#""b""#),
        ("user", "assistant"),
        (
            r#""content":"a""#,
            r#""content":[{"type":"image","source":{"data":"a"}}]"#,
        ),
    ] {
        let other = prefix("/v1/messages", &request.replace(from, to));
        assert_ne!(other.whole, known.whole, "{from} {to}");
    }
}

#[test]
fn a_part_of_a_conversation_has_no_beginnings() {
    let request = r#"{"model":"m","input":"a","previous_response_id":"resp_0"}"#;
    assert_eq!(asked("/v1/responses", request).prefix, None);
}

#[test]
fn of_a_long_conversation_the_latest_beginnings_are_kept() {
    let items = |count: usize| {
        let items: Vec<String> = (0..count)
            .map(|item| format!(r#"{{"role":"user","content":"{item}"}}"#))
            .collect();
        format!(r#"{{"model":"m","messages":[{}]}}"#, items.join(","))
    };
    let whole = |count| prefix("/v1/messages", &items(count)).whole;
    let long = prefix("/v1/messages", &items(40));
    let expected: Vec<u64> = (24..40).rev().map(whole).collect();
    assert_eq!(long.earlier, expected);
    assert_eq!(long.first, whole(1));
}

#[test]
fn a_request_of_any_size_is_read_in_the_same_memory() {
    let many = r#"{"role":"assistant","content":[]},"#.repeat(100_000);
    let long = "n".repeat(100_000);
    let deep = "[".repeat(200);
    let request = format!(
        r#"{{"model":"m","tools":[{{"name":"{long}","{long}":"{long}"}}],"tool_choice":{{"type":"{long}"}},"system":"{long}",
        "messages":[{many}{{"role":"{long}","type":"{long}","content":"{long}"}}],"max_tokens":99999999999999999999999999}}"#
    );
    let mut found = asked("/v1/messages", &request);
    assert!(found.request_hash.take().is_some());
    let prefix = found.prefix.take().expect("a conversation");
    assert_eq!(prefix.earlier.len(), Prefix::EARLIER);
    let expected = Signals {
        tools_offered: Some(1),
        assistant_items: 100_000,
        ..Signals::default()
    };
    assert_eq!(found, expected);
    // What is nested too deeply is no JSON, and nothing behind it is known.
    let request = format!(r#"{{"model":"m","messages":[{{"role":"user","content":{deep}"#);
    assert_eq!(asked("/v1/messages", &request), Signals::default());
}

#[test]
fn a_hash_of_a_request_has_the_key_of_the_run() {
    let hash = |key: u8| {
        let mut llm = Llm::new(Limits::default()).with_hash_key(HashKey::new([key; 16]));
        let (mut stats, mut out) = (Stats::default(), Vec::new());
        for event in chat::whole().events(0) {
            llm.handle(event, &mut stats, &mut out);
        }
        let signals = calls_with_signals(out).remove(0).signals;
        (signals.request_hash, signals.prefix)
    };
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1).0, hash(2).0);
    assert_ne!(hash(1).1, hash(2).1);
}

/// One message, in the words of a client.
fn message() -> impl Strategy<Value = (&'static str, String)> {
    let role = prop::sample::select(vec!["user", "assistant", "system"]);
    (role, "[ -~]{0,12}")
}

fn conversation(messages: &[(&'static str, String)]) -> String {
    let items: Vec<String> = messages
        .iter()
        .map(|(role, text)| {
            let text = serde_json::to_string(text).expect("a text");
            format!(r#"{{"role":"{role}","content":{text}}}"#)
        })
        .collect();
    format!(
        r#"{{"model":"m","messages":[{}],"tools":[]}}"#,
        items.join(",")
    )
}

proptest! {
    #[test]
    fn a_continued_conversation_is_found_and_a_changed_one_is_not(
        former in prop::collection::vec(message(), 0..8),
        added in prop::collection::vec(message(), 1..16),
        changed in any::<prop::sample::Index>(),
    ) {
        const PATH: &str = "/v1/chat/completions";
        let begin = [vec![("user", "begin".to_owned())], former].concat();
        let longer = [begin.clone(), added].concat();
        let known = prefix(PATH, &conversation(&begin));
        let continued = prefix(PATH, &conversation(&longer));
        prop_assert_eq!(continued.first, known.first);
        prop_assert!(continued.earlier.contains(&known.whole));
        let mut other = longer;
        let place = changed.index(begin.len());
        other[place].1.push('!');
        let other = prefix(PATH, &conversation(&other));
        prop_assert!(!other.earlier.contains(&known.whole) && other.whole != known.whole);
    }

    #[test]
    fn no_split_of_a_request_changes_what_it_says(
        which in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let all = steps();
        let (path, request, _) = which.get(&all);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(request.len())).collect();
        cuts.sort_unstable();
        cuts.push(request.len());
        let mut events = Talk::new(path, "", "application/json", "{}").status(500).events(0);
        events.remove(1);
        let mut from = 0;
        for (place, cut) in cuts.into_iter().enumerate() {
            let bytes = Plaintext::from(request.as_bytes()[from..cut].to_vec());
            events.insert(1 + place, HttpEvent::RequestBody { id: exchange(0), bytes });
            from = cut;
        }
        let signals = calls_with_signals(run(events).0).remove(0).signals;
        prop_assert_eq!(signals, asked(path, request));
    }

    #[test]
    fn where_tools_and_instructions_stand_does_not_matter(order in Just([0, 1, 2]).prop_shuffle()) {
        let members = [
            r#""system":[{"type":"text","text":"s"}]"#,
            r#""tools":[{"name":"t","description":"d"}]"#,
            r#""messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]"#,
        ];
        let request = |order: [usize; 3]| {
            let members = order.map(|place| members[place]);
            format!(r#"{{"model":"m",{}}}"#, members.join(","))
        };
        let [expected, found] = [[0, 1, 2], order].map(|order| prefix("/v1/messages", &request(order)));
        prop_assert_eq!(found, expected);
    }
}
