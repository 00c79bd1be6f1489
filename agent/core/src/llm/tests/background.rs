//! Responses in the background, and responses that are read again.

use super::*;

const ID: &str = "resp_0123456789";
const READ: &str = "/v1/responses/resp_0123456789";
const REQUEST: &str =
    r#"{"model":"gpt-6","background":true,"input":"Hello","metadata":{"session_id":"s-1"}}"#;
const USAGE: &str = r#"{"input_tokens":100,"input_tokens_details":{"cached_tokens":60},"output_tokens":20,"total_tokens":120}"#;

fn response(status: &str, usage: &str) -> String {
    format!(
        r#"{{"id":"{ID}","object":"response","status":"{status}","model":"gpt-6-2026","output":[],"usage":{usage}}}"#
    )
}

fn asked() -> Talk {
    Talk::new(
        "/v1/responses",
        REQUEST,
        "application/json",
        &response("queued", "null"),
    )
}

fn read(body: &str) -> Talk {
    Talk {
        method: "GET",
        ..Talk::new(READ, "", "application/json", body)
    }
}

fn poll() -> Talk {
    read(&response("in_progress", "null"))
}

fn done() -> Talk {
    read(&response("completed", USAGE))
}

fn follow(talks: &[Talk]) -> (Vec<LlmCall>, Stats) {
    let events = talks
        .iter()
        .zip(0..)
        .flat_map(|(talk, number)| talk.events(number))
        .collect();
    let (out, stats) = run(events);
    let calls = calls(out);
    assert_eq!(stats.calls, calls.len() as u64);
    (calls, stats)
}

fn used(calls: &[LlmCall]) -> Vec<(UsageSource, Option<u64>, Option<u64>)> {
    calls
        .iter()
        .map(|call| {
            (
                call.usage_source,
                call.usage.input_uncached,
                call.usage.output,
            )
        })
        .collect()
}

const NOTHING: (UsageSource, Option<u64>, Option<u64>) = (UsageSource::None, None, None);
const ALL: (UsageSource, Option<u64>, Option<u64>) = (UsageSource::Provider, Some(40), Some(20));

#[test]
fn trap_16_a_response_in_the_background_counts_once_however_often_it_is_read() {
    let talks = [asked(), poll(), poll(), done(), done(), done()];
    let (calls, stats) = follow(&talks);
    assert_eq!(used(&calls), [NOTHING, ALL]);
    assert_eq!((stats.responses_reread, stats.not_a_call), (4, 0));
    let end = &calls[1];
    assert_eq!(end.response_id.as_deref(), Some(ID));
    assert_eq!(end.response_id, calls[0].response_id, "they are one row");
    assert_eq!(
        (
            end.model_requested.as_deref(),
            end.hints.body_id.as_deref(),
            end.started
        ),
        (Some("gpt-6"), Some("s-1"), calls[0].started)
    );
    assert_eq!(
        (end.outcome, end.stop_reason.as_deref()),
        (Outcome::Complete, Some("completed"))
    );
}

#[test]
fn trap_16_a_response_that_was_over_when_first_seen_is_only_read_again() {
    let (calls, stats) = follow(&[done(), done()]);
    assert_eq!((calls.len(), stats.responses_reread), (0, 2));
    let (calls, _) = follow(&[poll(), done()]);
    assert_eq!(
        used(&calls),
        [ALL],
        "it was seen to go on, though not asked for"
    );
    let answered = Talk::new(
        "/v1/responses",
        &REQUEST.replace("true", "false"),
        "application/json",
        &response("completed", USAGE),
    );
    let (calls, _) = follow(&[answered, done(), done()]);
    assert_eq!(
        used(&calls),
        [ALL],
        "what was answered at once counted then"
    );
}

#[test]
fn a_failure_in_the_background_is_an_error() {
    let (calls, _) = follow(&[asked(), read(&response("failed", "null")), done()]);
    assert_eq!(calls.len(), 2);
    assert_eq!(
        (calls[1].outcome, calls[1].usage_source),
        (Outcome::Error, UsageSource::None)
    );
}

#[test]
fn a_look_up_that_fails_or_breaks_off_ends_nothing() {
    let missing = read(r#"{"error":{"message":"no such response"}}"#).status(404);
    let cut = {
        let body = response("completed", USAGE);
        read(body.trim_end_matches('}')).end(BodyEnd::Cut)
    };
    let lost = done().pieces(vec![Piece::Gap]);
    let (calls, _) = follow(&[asked(), missing, cut, lost, done()]);
    assert_eq!(used(&calls), [NOTHING, ALL]);
}

#[test]
fn trap_16_a_stream_that_is_taken_up_again_counts_once() {
    let request = REQUEST.replacen('{', r#"{"stream":true,"#, 1);
    let created = format!(
        r#"{{"type":"response.created","response":{}}}"#,
        response("queued", "null")
    );
    let delta = r#"{"type":"response.output_text.delta","delta":"Hi"}"#;
    let completed = format!(
        r#"{{"type":"response.completed","response":{}}}"#,
        response("completed", USAGE)
    );
    let stream = |payloads: &[&str]| {
        Talk::new(
            "/v1/responses",
            &request,
            "text/event-stream",
            &sse(payloads),
        )
    };
    let resumed = |payloads: &[&str]| Talk {
        method: "GET",
        ..Talk::new(READ, "", "text/event-stream", &sse(payloads))
    };
    let cut = stream(&[&created, delta]).end(BodyEnd::Cut);
    let (calls, _) = follow(&[
        cut,
        resumed(&[delta]).end(BodyEnd::Cut),
        resumed(&[delta, &completed]),
        resumed(&[&completed]),
    ]);
    assert_eq!(used(&calls), [NOTHING, ALL]);
    assert_eq!(calls[0].outcome, Outcome::Aborted);
    assert!(calls[1].is_stream && calls[1].first_token == Some(at(3)));
    let (calls, _) = follow(&[
        stream(&[&created, delta, &completed]),
        resumed(&[&completed]),
    ]);
    assert_eq!(used(&calls), [ALL]);
}

#[test]
fn polls_of_an_unknown_host_do_not_make_its_connection_foreign() {
    let mut talks = vec![asked()];
    talks.extend(vec![poll(); 20]);
    talks.push(done());
    let (calls, stats) = follow(&talks);
    assert_eq!(used(&calls), [NOTHING, ALL]);
    assert_eq!(stats.connections_ignored, 0);
}

#[test]
fn what_is_called_a_response_and_is_none_makes_a_connection_foreign() {
    let survey = read(r#"{"id":"0123456789","answers":[1,2]}"#);
    let (calls, stats) = follow(&vec![survey; 8]);
    assert_eq!((calls.len(), stats.connections_ignored), (0, 1));
}

#[test]
fn what_is_remembered_of_the_background_is_bounded() {
    let body = |number: u32| response("queued", "null").replace(ID, &format!("resp_{number:010}"));
    let mut talks: Vec<Talk> = (0..1_030)
        .map(|number| Talk::new("/v1/responses", REQUEST, "application/json", &body(number)))
        .collect();
    let read = |number: u32| {
        read(&response("completed", USAGE).replace(ID, &format!("resp_{number:010}")))
    };
    talks.extend([read(0), read(5), read(6), read(1_029)]);
    let (calls, stats) = follow(&talks);
    assert_eq!((calls.len(), stats.responses_forgotten), (1_032, 6));
}
