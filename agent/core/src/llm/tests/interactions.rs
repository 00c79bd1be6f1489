use super::*;

const REQUEST: &str =
    r#"{"model":"gemini-3-pro","input":"Why?","system_instruction":"Be brief.","stream":true}"#;

const EVENTS: [&str; 6] = [
    r#"{"event_type":"interaction.created","interaction":{"id":"int-1","model":"gemini-3-pro","status":"in_progress","object":"interaction"}}"#,
    r#"{"event_type":"step.start","index":0,"step":{"type":"model_output"}}"#,
    r#"{"event_type":"step.delta","index":0,"delta":{"type":"thought_summary","content":{"type":"text","text":"Hm"}},"metadata":{"total_usage":{"total_input_tokens":1129,"total_output_tokens":1}}}"#,
    r#"{"event_type":"step.delta","index":0,"delta":{"type":"text","text":"Because."}}"#,
    r#"{"event_type":"step.stop","index":0}"#,
    r#"{"event_type":"interaction.completed","interaction":{"id":"int-1","model":"gemini-3-pro","status":"completed","service_tier":"flex","steps":[{"type":"model_output","content":[{"type":"text","text":"Because."}]}],
        "usage":{"total_input_tokens":1129,"total_cached_tokens":1024,"total_output_tokens":22,"total_thought_tokens":48,"total_tool_use_tokens":210,"total_tokens":1409,
        "input_tokens_by_modality":[{"modality":"text","tokens":871},{"modality":"image","tokens":258}],"output_tokens_by_modality":[{"modality":"text","tokens":22}],
        "grounding_tool_count":[{"type":"google_maps","count":7},{"type":"google_search","count":3}]}}}"#,
];

fn events(payloads: &[&str]) -> Talk {
    let stream: String = payloads
        .iter()
        .map(|payload| format!("event: named\ndata: {}\n\n", payload.replace('\n', " ")))
        .collect();
    Talk::new(
        "/v1beta/interactions",
        REQUEST,
        "text/event-stream",
        &stream,
    )
}

pub(super) fn stream() -> Talk {
    events(&EVENTS)
}

#[test]
fn the_usage_of_the_last_event_counts() {
    let call = stream().call();
    assert_eq!(
        call.usage,
        Usage {
            input_uncached: Some(315),
            cache_read: Some(1024),
            output: Some(70),
            reasoning: Some(48),
            image_input: Some(258),
            ..Usage::default()
        }
    );
    assert_eq!(
        (call.outcome, call.usage_source, call.endpoint),
        (
            Outcome::Complete,
            UsageSource::Provider,
            Endpoint::GeminiInteractions
        )
    );
    assert_eq!(call.terms.service_tier.as_deref(), Some("flex"));
    assert_eq!(call.units.web_searches, Some(3));
    assert_eq!(call.response_id.as_deref(), Some("int-1"));
    assert_eq!(call.stop_reason.as_deref(), Some("completed"));
}

#[test]
fn a_stream_that_is_cut_is_exact_up_to_what_it_said() {
    let call = events(&EVENTS[..4]).end(BodyEnd::Cut).call();
    assert_eq!(
        verdict(&call),
        (
            Outcome::Aborted,
            UsageSource::ProviderPartial,
            Some(1129),
            Some(1)
        )
    );
}

#[test]
fn a_body_is_read_whole_and_what_the_user_said_is_no_answer() {
    let body = r#"{"id":"int-2","model":"gemini-3-pro","status":"requires_action","object":"interaction",
        "steps":[{"type":"user_input","content":[{"type":"text","text":"Why?"}]},
        {"type":"function_call","name":"look","arguments":{"where":"there"}},{"type":"model_output","content":[{"type":"text","text":"Hm"}]}]}"#;
    let request = REQUEST.replace("true", "false");
    let with_usage = body.replacen(
        '{',
        r#"{"usage":{"total_input_tokens":9,"total_output_tokens":3,"total_tokens":12},"#,
        1,
    );
    let call = Talk::new(
        "/v1beta/interactions",
        &request,
        "application/json",
        &with_usage,
    )
    .call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::Provider, Some(9), Some(3))
    );
    assert_eq!(call.stop_reason.as_deref(), Some("requires_action"));
    let no_usage = body.replacen('{', r#"{"usage":{"total_input_tokens":null},"#, 1);
    let call = Talk::new(
        "/v1beta/interactions",
        &request,
        "application/json",
        &no_usage,
    )
    .call();
    let countable = call.countable.expect("nothing was reported");
    let said: Vec<&str> = countable.output.parts().collect();
    assert_eq!(said, ["look", "where", "there", "Hm"]);
    let asked: Vec<&str> = countable.input.parts().collect();
    assert_eq!(asked, ["Why?", "Be brief."]);
}

#[test]
fn a_conversation_that_google_holds_cannot_be_counted_here() {
    let request = REQUEST.replacen('{', r#"{"previous_interaction_id":"int-0","#, 1);
    let call = Talk {
        request,
        ..events(&EVENTS[..2]).end(BodyEnd::Cut)
    }
    .call();
    assert!(
        call.countable
            .expect("nothing was reported")
            .input_is_partial
    );
    assert_eq!(call.hints.previous_response_id.as_deref(), Some("int-0"));
}

#[test]
fn one_that_goes_on_in_the_background_counts_once_where_it_is_read_again() {
    let request = REQUEST.replace(r#""stream":true"#, r#""background":true"#);
    let queued =
        r#"{"id":"int-3","model":"gemini-3-pro","status":"in_progress","object":"interaction"}"#;
    let done = r#"{"id":"int-3","model":"gemini-3-pro","status":"completed","object":"interaction","usage":{"total_input_tokens":9,"total_output_tokens":3}}"#;
    let mut events =
        Talk::new("/v1beta/interactions", &request, "application/json", queued).events(0);
    for (number, body) in [(1, queued), (2, done), (3, done)] {
        let mut again =
            Talk::new("/v1beta/interactions/int-3", "", "application/json", body).events(number);
        if let Some(HttpEvent::Request { head, .. }) = again.first_mut() {
            head.method = "GET".to_owned();
        }
        events.extend(again);
    }
    let calls = calls(run(events).0);
    let reported: Vec<_> = calls
        .iter()
        .filter(|call| call.usage_source != UsageSource::None)
        .map(verdict)
        .collect();
    assert_eq!(
        reported,
        [(Outcome::Complete, UsageSource::Provider, Some(9), Some(3))]
    );
}

#[test]
fn errors_by_status_and_inside_a_stream_are_errors() {
    let error = r#"{"error":{"code":429,"message":"canary"}}"#;
    let call = Talk::new("/v1beta/interactions", REQUEST, "application/json", error)
        .status(429)
        .call();
    assert_eq!(
        verdict(&call),
        (Outcome::Error, UsageSource::None, None, None)
    );
    let failed = r#"{"event_type":"error","error":{"code":"gateway_timeout","message":"canary"}}"#;
    assert_eq!(events(&[EVENTS[0], failed]).call().outcome, Outcome::Error);
}

#[test]
fn what_another_server_answers_under_the_same_path_is_no_call() {
    let talk = Talk::new(
        "/api/interactions",
        REQUEST,
        "application/json",
        r#"{"type":1}"#,
    );
    assert!(calls(talk.run().0).is_empty());
}

#[test]
fn trap_19_unknown_events_are_passed_over() {
    let mut all = EVENTS.to_vec();
    all.insert(
        3,
        r#"{"event_type":"interaction.status_update","interaction":{"usage":null},"status":"new"}"#,
    );
    all.insert(4, r#"{"event_type":"new","usage":{"new_tokens":5}}"#);
    assert_eq!(events(&all).call().usage, stream().call().usage);
}
