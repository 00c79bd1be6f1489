use super::*;

const BEGUN: &str = r#"{"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"Hi"}}]}"#;

/// The same, that much later.
fn later(mut events: Vec<HttpEvent>, millis: u64) -> Vec<HttpEvent> {
    for event in &mut events {
        match event {
            HttpEvent::Request { at, .. }
            | HttpEvent::RequestEnd { at, .. }
            | HttpEvent::Response { at, .. }
            | HttpEvent::ResponseBody { at, .. }
            | HttpEvent::ResponseEnd { at, .. } => {
                *at = *at + std::time::Duration::from_millis(millis);
            }
            HttpEvent::ServerName { .. }
            | HttpEvent::RequestBody { .. }
            | HttpEvent::RequestGap { .. }
            | HttpEvent::ResponseGap { .. }
            | HttpEvent::Message { .. }
            | HttpEvent::MessageEnd { .. }
            | HttpEvent::MessagesLost { .. }
            | HttpEvent::Dismissed { .. }
            | HttpEvent::Closed { .. } => {}
        }
    }
    events
}

fn overloaded() -> Talk {
    let body = r#"{"type":"error","error":{"type":"overloaded_error"}}"#;
    let mut talk = chat::whole().status(529);
    talk.kind = "application/json";
    talk.response = vec![Piece::Bytes(body.as_bytes().to_vec())];
    talk
}

/// Attempt and former exchange of each call of talks that begin at these milliseconds.
fn tries(talks: &[(u64, Talk)]) -> Vec<(Option<u32>, Option<u64>)> {
    let events = talks
        .iter()
        .zip(0..)
        .flat_map(|((millis, talk), number)| later(talk.events(number), *millis))
        .collect();
    calls(run(events).0)
        .into_iter()
        .map(|call| {
            let former = call.hints.former.map(|former| former.exchange.number);
            (call.attempt, former)
        })
        .collect()
}

#[test]
fn trap_8_a_retry_that_looks_like_a_first_try_is_linked() {
    // Claude Code says that it is the first try each time.
    let says_first = |talk: Talk| talk.field("x-stainless-retry-count", "0");
    assert_eq!(
        tries(&[
            (0, says_first(overloaded())),
            (1_000, says_first(overloaded())),
            (3_000, says_first(chat::whole())),
            (9_000, says_first(chat::whole())),
        ]),
        [
            (Some(1), None),
            (Some(2), Some(0)),
            (Some(3), Some(1)),
            (Some(1), None),
        ]
    );
}

#[test]
fn trap_8_a_client_that_counts_its_tries_is_believed() {
    let official = |retries| chat::whole().field("x-stainless-retry-count", retries);
    let aws = chat::whole().field("amz-sdk-request", "ttl=20261125T080000Z; attempt=3; max=5");
    let nonsense = chat::whole().field("amz-sdk-request", "attempt=0");
    assert_eq!(
        tries(&[(0, official("2"))]),
        [(Some(3), None)],
        "those before were not seen"
    );
    assert_eq!(tries(&[(0, aws)]), [(Some(3), None)]);
    assert_eq!(tries(&[(0, nonsense)]), [(None, None)]);
    assert_eq!(tries(&[(0, official("-1"))]), [(None, None)]);
    assert_eq!(tries(&[(0, official("4294967295"))]), [(None, None)]);
}

#[test]
fn another_body_path_or_process_and_a_long_wait_make_a_first_try() {
    let mut other_body = chat::whole();
    other_body.request = other_body.request.replace("Hello", "Hullo");
    assert_ne!(other_body.request, chat::whole().request);
    let mut other_path = chat::whole();
    other_path.path = "/v2/chat/completions";
    for other in [other_body, other_path] {
        assert_eq!(
            tries(&[(0, overloaded()), (1_000, other)]),
            [(None, None), (None, None)]
        );
    }
    // The first ends at 4, the next begins at 1 after its own beginning.
    let waits = |millis| tries(&[(0, overloaded()), (millis, chat::whole())])[1];
    assert_eq!(waits(60_003), (Some(2), Some(0)));
    assert_eq!(waits(60_004), (None, None));
}

#[test]
fn a_call_that_succeeded_or_runs_is_not_tried_again() {
    assert_eq!(
        tries(&[(0, chat::whole()), (1_000, chat::whole())]),
        [(None, None), (None, None)]
    );
    // They run at once: the second began before the first had failed.
    assert_eq!(
        tries(&[(0, overloaded()), (2, chat::whole())])[1],
        (None, None)
    );
}

#[test]
fn a_request_that_was_not_seen_whole_is_no_try_of_another() {
    let mut events = overloaded().events(0);
    let mut torn = later(chat::whole().events(1), 1_000);
    torn.insert(
        2,
        HttpEvent::RequestGap {
            id: exchange(1),
            bytes: 5,
        },
    );
    events.extend(torn);
    let calls = calls(run(events).0);
    assert_eq!(calls[1].hints.former, None);
    assert_eq!(calls[1].attempt, None);
}

#[test]
fn a_side_that_gave_a_stream_up_is_named() {
    let cut = |end| {
        let mut talk = chat::stream(&[BEGUN]);
        talk.end = end;
        let call = talk.call();
        (call.outcome, call.aborted_by)
    };
    assert_eq!(
        cut(BodyEnd::GivenUp(Role::Client)),
        (Outcome::Aborted, Some(AbortedBy::Client))
    );
    assert_eq!(
        cut(BodyEnd::GivenUp(Role::Server)),
        (Outcome::Aborted, Some(AbortedBy::Server))
    );
    assert_eq!(cut(BodyEnd::Cut), (Outcome::Aborted, None));
    let mut done = chat::whole();
    done.end = BodyEnd::GivenUp(Role::Client);
    let call = done.call();
    assert_eq!(
        (call.outcome, call.aborted_by),
        (Outcome::Complete, None),
        "trap 7: a hang-up behind the terminal event is normal"
    );
}
