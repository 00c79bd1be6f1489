use super::*;

const REQUEST: &str = r#"{"model":"llama3.2","messages":[{"role":"user","content":"Why?","images":["QUJDQUJD"]}],
    "tools":[],"options":{"temperature":0}}"#;

const LINES: [&str; 4] = [
    r#"{"model":"llama3.2","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":"","thinking":"Hm"},"done":false}"#,
    r#"{"model":"llama3.2","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":"Be"},"done":false}"#,
    r#"{"model":"llama3.2","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":"cause."},"done":false}"#,
    r#"{"model":"llama3.2","created_at":"2026-01-01T00:00:01Z","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","total_duration":4883583458,"load_duration":1334875,"prompt_eval_count":26,"prompt_eval_duration":342546000,"eval_count":282,"eval_duration":4535599000}"#,
];

fn lines(lines: &[&str]) -> Talk {
    Talk::new(
        "/api/chat",
        REQUEST,
        "application/x-ndjson",
        &lines.join("\n"),
    )
}

pub(super) fn stream() -> Talk {
    lines(&LINES)
}

fn expected(talk: &Talk) -> LlmCall {
    let Some(Piece::Bytes(body)) = talk.response.first() else {
        panic!("the talk has a body")
    };
    LlmCall {
        exchange: exchange(0),
        started: at(1),
        first_token: Some(at(3)),
        ended: at(3),
        provider: Provider("other"),
        endpoint: Endpoint::OllamaChat,
        server_name: Some("llm.example".to_owned()),
        model_requested: Some("llama3.2".to_owned()),
        model_served: Some("llama3.2".to_owned()),
        is_stream: true,
        http_status: Some(200),
        outcome: Outcome::Complete,
        stop_reason: Some("stop".to_owned()),
        usage: Usage {
            input_uncached: Some(26),
            output: Some(282),
            ..Usage::default()
        },
        usage_source: UsageSource::Provider,
        observed_bytes: (talk.request.len() + body.trim_ascii_end().len()) as u64,
        ..LlmCall::plain()
    }
}

#[test]
fn the_last_line_of_a_stream_has_the_usage() {
    assert_eq!(stream().call(), expected(&stream()));
}

#[test]
fn a_reply_that_is_no_stream_is_one_line_whatever_its_type_and_its_blanks() {
    let request = REQUEST.replacen('{', r#"{"stream":false,"#, 1);
    let body = LINES[3].replace(r#""content":"""#, r#""content":"Because.""#);
    let pretty = body.replace(',', ",\n  ");
    for (kind, body) in [
        ("application/json; charset=utf-8", &body),
        ("application/json", &pretty),
        ("", &body),
    ] {
        let talk = Talk::new("/api/chat", &request, kind, body);
        let whole = LlmCall {
            is_stream: false,
            first_token: None,
            ..expected(&talk)
        };
        assert_eq!(talk.call(), whole, "{kind}");
    }
}

#[test]
fn lines_that_come_as_plain_json_are_read_line_by_line() {
    let mut talk = stream();
    talk.kind = "application/json";
    assert_eq!(talk.call(), expected(&talk));
}

#[test]
fn generate_and_its_thinking_are_read_as_chat_is() {
    let body = r#"{"model":"qwen3","response":"","thinking":"Hm","done":false}
{"model":"qwen3","response":"Yes","done":false}
{"model":"qwen3","response":"","done":true,"done_reason":"length","context":[1,2,3],"eval_count":9,"prompt_eval_count":4}
"#;
    let request = r#"{"model":"qwen3","prompt":"Is it?","system":"Be brief."}"#;
    let call = Talk::new("/api/generate", request, "application/x-ndjson", body).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::Provider, Some(4), Some(9))
    );
    assert_eq!(call.endpoint, Endpoint::OllamaGenerate);
    assert_eq!(call.stop_reason.as_deref(), Some("length"));
}

#[test]
fn a_prompt_that_was_not_counted_is_unknown_and_not_zero() {
    let last = LINES[3].replace(r#""prompt_eval_count":26,"#, "");
    let call = lines(&[LINES[1], &last]).call();
    assert_eq!(
        verdict(&call),
        (
            Outcome::Complete,
            UsageSource::ProviderPartial,
            None,
            Some(282)
        )
    );
}

#[test]
fn a_stream_that_is_cut_leaves_its_text_to_be_counted() {
    let call = lines(&LINES[..3]).end(BodyEnd::Cut).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Aborted, UsageSource::None, None, None)
    );
    let countable = call.countable.expect("nothing was reported");
    let said: String = countable.output.parts().collect();
    assert_eq!(said, "HmBecause.");
    // Pictures are no text.
    let asked: Vec<&str> = countable.input.parts().collect();
    assert_eq!(asked, ["user", "Why?"]);
}

#[test]
fn a_gap_loses_the_line_it_is_in_and_no_other() {
    let (head, tail) = LINES[2].split_at(60);
    let pieces = vec![
        Piece::Bytes(format!("{}\n{head}", LINES[1]).into_bytes()),
        Piece::Gap,
        Piece::Bytes(format!("{tail}\n{}\n", LINES[3]).into_bytes()),
    ];
    let call = stream().pieces(pieces).call();
    assert_eq!(
        verdict(&call),
        (
            Outcome::Incomplete,
            UsageSource::Provider,
            Some(26),
            Some(282)
        )
    );
}

#[test]
fn a_line_that_is_no_json_is_passed_over() {
    let call = lines(&[LINES[1], "{\"broken\":", "}}", LINES[3]]);
    // The first of the two goes on in the second, and ends there.
    let (out, stats) = call.run();
    assert_eq!(stats.json_malformed, 1);
    assert_eq!(
        calls(out).iter().map(verdict).collect::<Vec<_>>(),
        [(
            Outcome::Complete,
            UsageSource::Provider,
            Some(26),
            Some(282)
        )]
    );
}

#[test]
fn errors_by_status_and_inside_a_stream_are_errors() {
    let error = r#"{"error":"model \"llama3.2\" not found"}"#;
    let call = Talk::new("/api/chat", REQUEST, "application/json", error)
        .status(404)
        .call();
    assert_eq!(
        verdict(&call),
        (Outcome::Error, UsageSource::None, None, None)
    );
    let call = lines(&[LINES[1], r#"{"error":"out of memory"}"#]).call();
    assert_eq!(call.outcome, Outcome::Error);
}

#[test]
fn embeddings_have_input_and_no_output() {
    let request =
        r#"{"model":"all-minilm","input":["Why is the sky blue?","Why is grass green?"]}"#;
    let body = r#"{"model":"all-minilm","embeddings":[[0.01,-0.001],[0.03,0.06]],"total_duration":14143917,"prompt_eval_count":8}"#;
    let call = Talk::new("/api/embed", request, "application/json", body).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::Provider, Some(8), Some(0))
    );
    assert!(!call.is_stream, "a body of one line is no stream");
    // The older path reports nothing.
    let request = r#"{"model":"all-minilm","prompt":"Why is the sky blue?"}"#;
    let body = r#"{"embedding":[0.5,0.25]}"#;
    let call = Talk::new("/api/embeddings", request, "application/json", body).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::None, None, Some(0))
    );
    let countable = call.countable.expect("nothing was reported");
    let asked: Vec<&str> = countable.input.parts().collect();
    assert_eq!(asked, ["Why is the sky blue?"]);
}

#[test]
fn a_chat_of_another_server_under_the_same_path_is_no_call() {
    let request = r#"{"id":"chat-1","model":"fast","messages":[{"role":"user","content":"Hi"}]}"#;
    for (kind, body) in [
        ("text/plain", "0:\"Hello\"\n"),
        ("application/json", r#"{"reply":"Hello"}"#),
        ("text/event-stream", "data: {\"type\":\"text-delta\"}\n\n"),
    ] {
        let talk = Talk::new("/api/chat", request, kind, body);
        assert!(calls(talk.run().0).is_empty(), "{kind}");
    }
    // A model that is only loaded answers nothing.
    let loaded = r#"{"model":"llama3.2","response":"","done":true,"done_reason":"load"}"#;
    let talk = Talk::new(
        "/api/generate",
        r#"{"model":"llama3.2","keep_alive":300}"#,
        "application/json",
        loaded,
    );
    assert!(calls(talk.run().0).is_empty());
}

#[test]
fn trap_19_unknown_members_are_passed_over() {
    let last = LINES[3].replacen(
        '{',
        r#"{"new":{"done":false,"eval_count":1},"eval_counts":[7],"#,
        1,
    );
    assert_eq!(
        lines(&[LINES[1], &last]).call().usage,
        stream().call().usage
    );
}

#[test]
fn trap_20_a_line_of_megabytes_costs_no_memory_and_keeps_its_usage() {
    let vector = "0.012345,".repeat(300_000);
    let body = format!(r#"{{"model":"m","embeddings":[[{vector}0.1]],"prompt_eval_count":8}}"#);
    let request = r#"{"model":"m","input":"Why?"}"#;
    let mut llm = Llm::new(Limits::default());
    let (mut stats, mut out) = (Stats::default(), Vec::new());
    for event in Talk::new("/api/embed", request, "application/json", &body).events(0) {
        llm.handle(event, &mut stats, &mut out);
        assert!(llm.held_bytes() < 1_000);
    }
    assert_eq!(
        calls(out).iter().map(verdict).collect::<Vec<_>>(),
        [(Outcome::Complete, UsageSource::Provider, Some(8), Some(0))]
    );
}

#[test]
fn words_of_other_apis_are_arguments_in_a_message() {
    let request = r#"{"model":"m","messages":[{"role":"assistant","tool_calls":[{"function":{"name":"find","arguments":{"query":"sky","count":5}}}]}]}"#;
    let call = Talk::new("/api/chat", request, "application/x-ndjson", LINES[1])
        .end(BodyEnd::Cut)
        .call();
    let countable = call.countable.expect("nothing was reported");
    let asked: Vec<&str> = countable.input.parts().collect();
    assert_eq!(asked, ["assistant", "find", "query", "sky", "count", "5"]);
}
