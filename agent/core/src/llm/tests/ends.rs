use super::*;

fn bytes(text: &str) -> Piece {
    Piece::Bytes(text.as_bytes().to_vec())
}

/// A stream with a hole in place of the `lost`-th event.
fn holed(talk: &Talk, lost: usize) -> Talk {
    let Some(Piece::Bytes(body)) = talk.response.first() else {
        panic!("the talk has a body");
    };
    let body = String::from_utf8(body.clone())
        .expect("the talk is text")
        .replace("\r\n", "\n");
    let events: Vec<&str> = body.split_inclusive("\n\n").collect();
    let cut = events[lost].len() / 2;
    // The hole takes the end of the event before and the start of this one.
    let before = events[..lost].concat();
    let after = format!(
        "{}{}",
        events[lost].split_at(cut).1,
        events[lost + 1..].concat()
    );
    talk.clone()
        .pieces(vec![bytes(&before), Piece::Gap, bytes(&after)])
}

#[test]
fn usage_after_a_gap_is_final_but_the_call_is_incomplete() {
    let anthropic = holed(&anthropic::whole(), 2).call();
    assert_eq!(
        verdict(&anthropic),
        (
            Outcome::Incomplete,
            UsageSource::Provider,
            Some(10),
            Some(25)
        )
    );
    let chat = holed(&chat::whole(), 0).call();
    assert_eq!(
        verdict(&chat),
        (
            Outcome::Incomplete,
            UsageSource::Provider,
            Some(40),
            Some(20)
        )
    );
    let responses = holed(&responses::whole(), 1).call();
    assert_eq!(
        verdict(&responses),
        (
            Outcome::Incomplete,
            UsageSource::Provider,
            Some(30),
            Some(20)
        )
    );
}

#[test]
fn usage_lost_in_a_gap_is_not_made_up() {
    let start = holed(&anthropic::whole(), 0).call();
    assert_eq!(
        verdict(&start),
        (
            Outcome::Incomplete,
            UsageSource::ProviderPartial,
            None,
            Some(25)
        )
    );
    let end = holed(&anthropic::whole(), 3).call();
    assert_eq!(
        verdict(&end),
        (
            Outcome::Incomplete,
            UsageSource::ProviderPartial,
            Some(10),
            None
        )
    );
    let chat = holed(&chat::whole(), 2).call();
    assert_eq!(
        verdict(&chat),
        (Outcome::Incomplete, UsageSource::None, None, None)
    );
    let responses = holed(&responses::whole(), 2).end(BodyEnd::Cut).call();
    assert_eq!(
        verdict(&responses),
        (Outcome::Incomplete, UsageSource::None, None, None)
    );
}

#[test]
fn a_last_event_without_its_blank_line_is_read() {
    for end in [BodyEnd::Complete, BodyEnd::Cut] {
        let text = match chat::whole().response.first() {
            Some(Piece::Bytes(bytes)) => {
                String::from_utf8(bytes.clone()).expect("the talk is text")
            }
            _ => panic!("the talk has a body"),
        };
        let cut = text.strip_suffix("\n").expect("it ends with a blank line");
        let call = chat::whole().pieces(vec![bytes(cut)]).end(end).call();
        assert_eq!(
            call,
            LlmCall {
                ended: at(4),
                observed_bytes: chat::whole().bytes() - 1,
                ..chat::whole().call()
            }
        );
    }
}

#[test]
fn an_event_of_megabytes_is_read_like_any_other() {
    let text = "x".repeat(2 << 20);
    let long = format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}}}}]}}"#);
    for (payloads, outcome) in [
        (&[long.as_str(), "[DONE]"][..], Outcome::Complete),
        (&[&long], Outcome::Aborted),
    ] {
        let call = chat::stream(payloads).call();
        assert_eq!(verdict(&call), (outcome, UsageSource::None, None, None));
        let seen = call
            .countable
            .map(|countable| countable.output.seen_bytes());
        assert_eq!(seen, Some(2 << 20));
    }
}

#[test]
fn an_event_with_a_line_over_the_limit_that_is_no_data_is_missing() {
    let mut talk = chat::whole();
    let note = format!("note: {}\n", "x".repeat(2 << 20));
    talk.response.insert(0, Piece::Bytes(note.into_bytes()));
    assert_eq!(talk.call().outcome, Outcome::Incomplete);
}

#[test]
fn nothing_after_the_terminal_event_is_read() {
    let error = "event: error\ndata: {\"type\":\"error\"}\n";
    for talk in [anthropic::whole(), chat::whole(), responses::whole()] {
        let mut longer = talk.clone();
        if let Some(Piece::Bytes(bytes)) = longer.response.first_mut() {
            bytes.extend_from_slice(error.as_bytes());
        }
        assert_eq!(longer.call(), talk.call());
    }
}

#[test]
fn usage_before_a_gap_may_be_stale_and_is_partial() {
    let chunk = r#"{"id":"1","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":3}}"#;
    let talk = chat::whole().pieces(vec![
        bytes(&sse(&[chunk])),
        Piece::Gap,
        bytes("\n\ndata: [DONE]\n\n"),
    ]);
    assert_eq!(
        verdict(&talk.call()),
        (
            Outcome::Incomplete,
            UsageSource::ProviderPartial,
            Some(10),
            Some(3)
        )
    );
}

#[test]
fn a_body_with_a_gap_has_no_usage_from_behind_it() {
    let body = r#"{"id":"1","choices":[{"message":{"content":"Hi"#;
    let rest = r#""}}],"usage":{"prompt_tokens":10,"completion_tokens":3}}"#;
    let talk = Talk::new(
        "/v1/chat/completions",
        chat::REQUEST,
        "application/json",
        "",
    );
    let call = talk
        .pieces(vec![bytes(body), Piece::Gap, bytes(rest)])
        .call();
    assert_eq!(
        verdict(&call),
        (Outcome::Incomplete, UsageSource::None, None, None)
    );
    assert_eq!(call.response_id.as_deref(), Some("1"));
}

#[test]
fn a_request_with_a_gap_is_a_call_whose_input_is_not_counted() {
    let mut events =
        chat::stream(&[r#"{"choices":[{"delta":{"content":"Hi"}}]}"#, "[DONE]"]).events(0);
    events[1] = HttpEvent::RequestGap {
        id: exchange(0),
        bytes: 9,
    };
    let (out, stats) = run(events);
    let call = &calls(out)[0];
    assert_eq!(
        verdict(call),
        (Outcome::Complete, UsageSource::None, None, None)
    );
    assert!(call.is_stream, "the reply shows it");
    assert!(
        call.countable
            .as_ref()
            .is_some_and(|countable| countable.input_is_partial)
    );
    assert_eq!(stats.calls, 1);
}

#[test]
fn a_call_without_a_response_is_unanswered() {
    let mut events = chat::whole().events(0);
    events.retain(|event| {
        !matches!(
            event,
            HttpEvent::Response { .. } | HttpEvent::ResponseBody { .. }
        )
    });
    let (out, stats) = run(events);
    let call = &calls(out)[0];
    assert_eq!(
        verdict(call),
        (Outcome::Unanswered, UsageSource::None, None, None)
    );
    assert_eq!(
        (call.http_status, call.countable.clone(), stats.calls),
        (None, None, 1)
    );
}

#[test]
fn how_a_body_ends_decides_without_a_terminal_event() {
    let talk = Talk::new(
        "/v1/chat/completions",
        chat::REQUEST,
        "application/json",
        r#"{"id":"1","choices":["#,
    );
    for (end, outcome) in [
        (BodyEnd::Cut, Outcome::Aborted),
        (BodyEnd::Lost, Outcome::Incomplete),
        (BodyEnd::Refused, Outcome::Incomplete),
    ] {
        assert_eq!(talk.clone().end(end).call().outcome, outcome);
        assert_eq!(chat::stream(&[]).end(end).call().outcome, outcome);
    }
}

#[test]
fn a_path_without_the_shape_is_not_a_call() {
    for request in ["", "{}", "hello", r#"{"name":"x"}"#, "[1,2]"] {
        let (out, stats) = Talk::new(
            "/my/responses",
            request,
            "application/json",
            r#"{"ok":true}"#,
        )
        .run();
        assert_eq!(
            (out, stats.calls, stats.not_a_call),
            (Vec::new(), 0, 1),
            "{request}"
        );
    }
}

#[test]
fn a_usage_shape_in_the_reply_makes_a_call_of_an_odd_request() {
    let body = r#"{"usage":{"input_tokens":3,"output_tokens":4}}"#;
    let call = Talk::new("/my/responses", "odd", "application/json", body).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::Provider, Some(3), Some(4))
    );
}

#[test]
fn a_redirect_is_not_a_call() {
    let (out, stats) = chat::whole().status(307).run();
    assert_eq!((out, stats.not_a_call), (Vec::new(), 1));
}

#[test]
fn malformed_bodies_are_counted_and_cost_the_usage() {
    let talk = Talk::new(
        "/v1/chat/completions",
        chat::REQUEST,
        "application/json",
        "{oops",
    );
    let (out, stats) = talk.run();
    assert_eq!(
        verdict(&calls(out)[0]),
        (Outcome::Complete, UsageSource::None, None, None)
    );
    assert_eq!(stats.json_malformed, 1);
    let (out, stats) = chat::stream(&["{oops", "[DONE]"]).run();
    assert_eq!((calls(out).len(), stats.json_malformed), (1, 1));
}

#[test]
fn refused_counters_are_counted_and_not_used() {
    let body = r#"{"id":"1","choices":[],"usage":{"prompt_tokens":-1,"completion_tokens":9223372036854775808}}"#;
    let (out, stats) = Talk::new(
        "/v1/chat/completions",
        chat::REQUEST,
        "application/json",
        body,
    )
    .run();
    assert_eq!(
        verdict(&calls(out)[0]),
        (Outcome::Complete, UsageSource::None, None, None)
    );
    assert_eq!(stats.usage_refused, 2);
}

#[test]
fn the_form_of_a_reply_without_a_type_shows_in_its_first_byte() {
    let mut talk = chat::whole();
    talk.kind = "";
    assert_eq!(talk.call(), chat::whole().call());
    let body = r#" {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    let call = Talk::new("/v1/chat/completions", chat::REQUEST, "text/plain", body).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::Provider, Some(1), Some(2))
    );
}

#[test]
fn trap_15_usage_is_found_behind_a_body_of_any_size() {
    let filler = "x".repeat(5 << 20);
    let body = format!(
        r#"{{"choices":[{{"message":{{"content":"{filler}"}}}}],"usage":{{"prompt_tokens":1,"completion_tokens":2}}}}"#
    );
    let call = Talk::new(
        "/v1/chat/completions",
        chat::REQUEST,
        "application/json",
        &body,
    )
    .call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::Provider, Some(1), Some(2))
    );
}

#[test]
fn the_model_is_found_behind_a_prompt_of_any_size_and_the_text_is_bounded() {
    let mut talk = chat::stream(&["[DONE]"]);
    let size = 3 << 20;
    talk.request = format!(
        r#"{{"messages":[{{"content":"{}"}}],"model":"gpt-4o","stream":true}}"#,
        "x".repeat(size)
    );
    let call = talk.call();
    assert_eq!(
        (call.model_requested.as_deref(), call.is_stream),
        (Some("gpt-4o"), true)
    );
    let input = call.countable.expect("nothing was reported").input;
    assert_eq!(
        (input.kept_bytes(), input.seen_bytes()),
        (CountedText::MAX_BYTES, size as u64)
    );
}

#[test]
fn names_and_ids_are_cut_and_free_of_control_characters() {
    let model = format!("\\u001b[31m{}\\u0000", "m".repeat(1 << 20));
    let mut talk = chat::whole();
    talk.request = chat::REQUEST.replace("gpt-4o", &model);
    let requested = talk.call().model_requested.expect("it is cut, not dropped");
    assert_eq!(requested, format!("[31m{}", "m".repeat(252)));
}

#[test]
fn open_calls_are_bounded_and_the_oldest_goes_first() {
    let mut llm = Llm::new(Limits {
        open_calls: 2,
        ..Limits::default()
    });
    let (mut stats, mut out) = (Stats::default(), Vec::new());
    for number in 0..3 {
        for event in chat::whole().events(number).into_iter().take(3) {
            llm.handle(event, &mut stats, &mut out);
        }
    }
    let given_up: Vec<_> = calls(out)
        .iter()
        .map(|call| (call.exchange.number, call.outcome))
        .collect();
    assert_eq!(given_up, [(0, Outcome::Unanswered)]);
    assert_eq!((stats.calls, stats.calls_evicted), (1, 1));
}

#[test]
fn a_silent_call_is_given_up_after_its_time() {
    let mut llm = Llm::new(Limits::default());
    let (mut stats, mut out) = (Stats::default(), Vec::new());
    assert_eq!(llm.deadline(), None);
    for event in chat::stream(&[r#"{"choices":[{"delta":{"content":"Hi"}}]}"#])
        .events(0)
        .into_iter()
        .take(5)
    {
        llm.handle(event, &mut stats, &mut out);
    }
    let deadline = llm.deadline().expect("a call is open");
    llm.expire(deadline, &mut stats, &mut out);
    assert!(out.is_empty(), "bytes came after the request");
    let deadline = llm.deadline().expect("a call is open");
    assert_eq!(deadline, at(3) + 2 * crate::http::EXCHANGE_IDLE);
    llm.expire(deadline, &mut stats, &mut out);
    assert_eq!(calls(out)[0].outcome, Outcome::Incomplete);
    assert_eq!(llm.deadline(), None);
}

#[test]
fn text_beyond_the_memory_for_texts_is_measured_only() {
    let mut llm = Llm::new(Limits {
        held_bytes: 4,
        ..Limits::default()
    });
    let (mut stats, mut out) = (Stats::default(), Vec::new());
    for number in 0..2 {
        for event in chat::stream(&["[DONE]"]).events(number).into_iter().take(3) {
            llm.handle(event, &mut stats, &mut out);
        }
    }
    for number in 0..2 {
        let id = exchange(number);
        llm.handle(
            HttpEvent::Response {
                at: at(2),
                id,
                head: ResponseHead {
                    status: 200,
                    headers: headers(&[]),
                },
            },
            &mut stats,
            &mut out,
        );
        llm.handle(
            HttpEvent::ResponseEnd {
                at: at(2),
                id,
                end: BodyEnd::Cut,
            },
            &mut stats,
            &mut out,
        );
    }
    let inputs: Vec<_> = calls(out)
        .into_iter()
        .map(|call| call.countable.expect("nothing was reported").input)
        .collect();
    let sizes: Vec<_> = inputs
        .iter()
        .map(|input| (input.kept_bytes() > 0, input.seen_bytes()))
        .collect();
    assert_eq!(sizes, [(true, 9), (false, 9)]);
}

#[test]
fn nothing_of_a_conversation_shows_in_debug_output() {
    let mark = "CANARY-7f3a";
    let mut talk = chat::stream(&[
        &format!(r#"{{"id":"1","choices":[{{"delta":{{"content":"{mark}"}}}}]}}"#),
        "[DONE]",
    ])
    .field("authorization", "Bearer CANARY-7f3a");
    talk.request = format!(
        r#"{{"model":"m","user":"{mark}","messages":[{{"role":"user","content":"{mark}"}}]}}"#
    );
    let (out, stats) = talk.run();
    let shown = format!("{out:?} {stats:?} {:?}", talk.events(0).get(1));
    assert!(!shown.contains(mark), "{shown}");
}
