//! Calls whose heads could not be read.

use super::*;

/// The exchange without what its heads say.
fn headless(talk: &Talk) -> Vec<HttpEvent> {
    let mut events = talk.events(0);
    for event in &mut events {
        if let HttpEvent::Request { head, .. } = event {
            *head = RequestHead {
                method: String::new(),
                path: String::new(),
                model: None,
                scheme: Scheme::Unread,
                headers: Headers::default(),
            };
        } else if let HttpEvent::Response { head, .. } = event {
            *head = ResponseHead {
                status: 0,
                headers: Headers::default(),
            };
        }
    }
    events
}

fn bodies() -> [Talk; 3] {
    [
        Talk::new(
            "/v1/messages",
            anthropic::REQUEST,
            "application/json",
            r#"{"model":"claude-x","id":"msg_1","type":"message","role":"assistant","content":[
                {"type":"text","text":"Hi"}],"stop_reason":"end_turn",
                "usage":{"input_tokens":3,"output_tokens":4}}"#,
        ),
        Talk::new(
            "/v1/chat/completions",
            chat::REQUEST,
            "application/json",
            r#"{"id":"c-1","object":"chat.completion","model":"gpt-x","usage":{"prompt_tokens":3,
                "completion_tokens":4},"choices":[{"message":{"role":"assistant","content":"Hi"},
                "finish_reason":"stop"}]}"#,
        ),
        Talk::new(
            "/v1/responses",
            responses::REQUEST,
            "application/json",
            r#"{"id":"resp_1","object":"response","status":"completed","model":"gpt-x","output":[
                {"type":"message","content":[{"type":"output_text","text":"Hi"}]}],
                "usage":{"input_tokens":3,"output_tokens":4}}"#,
        ),
    ]
}

#[test]
fn bodies_tell_what_heads_do_not() {
    let streams = [
        anthropic::whole(),
        chat::whole(),
        responses::whole(),
        gemini::stream(),
        gemini::array(),
        openai::embedding(),
        cohere::stream(),
        interactions::stream(),
    ];
    for talk in streams.into_iter().chain(bodies()) {
        let mut expected = talk.call();
        expected.server_name = None;
        expected.http_status = None;
        if expected.endpoint == Endpoint::GeminiGenerate {
            // Only the path says them.
            expected.model_requested = None;
            expected.is_stream = talk.kind.contains("event-stream");
        }
        let (out, stats) = run(headless(&talk));
        assert_eq!(calls(out), [expected]);
        assert_eq!((stats.calls, stats.calls_headless), (1, 1));
    }
}

#[test]
fn a_reply_that_was_cut_is_a_call_as_far_as_it_tells() {
    for talk in [anthropic::whole(), chat::whole(), responses::whole()] {
        let [Piece::Bytes(whole)] = talk.response.as_slice() else {
            unreachable!()
        };
        let half = Piece::Bytes(whole[..whole.len() * 2 / 3].to_vec());
        let talk = talk.clone().pieces(vec![half]).end(BodyEnd::Cut);
        let mut expected = talk.call();
        expected.server_name = None;
        expected.http_status = None;
        assert_eq!(calls(run(headless(&talk)).0), [expected]);
    }
}

#[test]
fn what_only_resembles_a_call_is_none() {
    let reply = r#"{"choices":[{"message":{"content":"Hi"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
    for (request, reply) in [
        // A question without a prompt, or without a model.
        (r#"{"model":"m","prompt":"Hello"}"#, reply),
        (r#"{"messages":[]}"#, reply),
        (r#"{"events":[{"model":"m","messages":[]}]}"#, reply),
        ("", reply),
        // Counts, moderations, other formats, errors, and no answer.
        (chat::REQUEST, r#"{"input_tokens":12}"#),
        (
            r#"{"model":"m","input":["a"]}"#,
            r#"{"id":"modr-1","model":"m","results":[{"flagged":false}]}"#,
        ),
        (
            chat::REQUEST,
            r#"{"model":"m","message":{"role":"assistant","content":"Hi"},"done":true,"eval_count":4}"#,
        ),
        (
            chat::REQUEST,
            r#"{"id":"1","message":{"role":"assistant","content":[{"type":"text","text":"Hi"}]},"usage":{"tokens":{"input_tokens":1}}}"#,
        ),
        (
            chat::REQUEST,
            r#"{"type":"error","error":{"type":"overloaded_error"}}"#,
        ),
        (chat::REQUEST, "<html>no</html>"),
        (chat::REQUEST, ""),
    ] {
        let talk = Talk::new("/", request, "", reply);
        let (out, stats) = run(headless(&talk));
        assert_eq!(calls(out), [], "{request} {reply}");
        assert_eq!((stats.calls_headless, stats.not_a_call), (0, 0));
    }
    // Only calls are asked with POST.
    let mut get = headless(&chat::whole());
    if let HttpEvent::Request { head, .. } = &mut get[0] {
        head.method = "GET".to_owned();
    }
    assert_eq!(calls(run(get).0), []);
}

#[test]
fn a_download_without_a_head_is_foreign_like_any_other() {
    let talk = Talk::new("/", "{}", "", &"no json ".repeat(1 << 18));
    let (out, _) = run(headless(&talk));
    assert_eq!(out, [LlmEvent::Ignore { conn: CONN }]);
}
