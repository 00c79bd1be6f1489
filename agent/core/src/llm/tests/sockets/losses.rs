use super::*;

fn hidden() -> (Option<String>, Outcome, UsageSource, Option<u64>) {
    (None, Outcome::Incomplete, UsageSource::None, None)
}

#[test]
fn a_lost_event_makes_its_turn_incomplete_and_no_other() {
    let socket = responses()
        .client(&create(""))
        .server(&created("resp_1"))
        .unread(Server)
        .server(&done("resp_1", 20))
        .client(&create(""))
        .server(&created("resp_2"))
        .server(&done("resp_2", 30));
    let mut first = whole("resp_1", 20);
    first.1 = Outcome::Incomplete;
    assert_eq!(socket.verdicts(), [first, whole("resp_2", 30)]);
    assert_eq!(socket.undecodable(), 0);
}

#[test]
fn a_terminal_event_that_is_lost_costs_the_usage_and_pairs_nothing_wrong() {
    let second = create(r#","prompt_cache_key":"thread-0002""#);
    for loss in [
        Said::Lost,
        Said::Part("{\"type\":".to_owned(), BodyEnd::Lost),
    ] {
        let socket = responses()
            .client(&create(""))
            .server(&created("resp_1"))
            .server(DELTA)
            .says(Server, loss)
            .client(&second)
            .server(&created("resp_2"))
            .server(&done("resp_2", 30));
        let calls = socket.calls();
        assert_eq!(
            socket.verdicts(),
            [
                (
                    Some("resp_1".to_owned()),
                    Outcome::Incomplete,
                    UsageSource::None,
                    None
                ),
                whole("resp_2", 30)
            ]
        );
        assert_eq!(calls[1].hints.body_id.as_deref(), Some("thread-0002"));
    }
}

#[test]
fn a_response_that_is_lost_as_a_whole_leaves_its_request_known() {
    let second = create(r#","prompt_cache_key":"thread-0002""#);
    let socket = responses()
        .client(&create(""))
        .lost(Server)
        .client(&second)
        .server(&created("resp_2"))
        .server(&done("resp_2", 30));
    assert_eq!(socket.verdicts(), [hidden(), whole("resp_2", 30)]);
    assert_eq!(
        socket.calls()[1].hints.body_id.as_deref(),
        Some("thread-0002")
    );
    assert_eq!(socket.undecodable(), 0);
}

#[test]
fn an_opaque_server_leaves_the_turns_known_by_their_requests() {
    let socket = responses()
        .client(&create(""))
        .unread(Server)
        .unread(Server)
        .client(&create(""))
        .unread(Server);
    assert_eq!(socket.verdicts(), [hidden(), hidden()]);
    assert_eq!(socket.undecodable(), 0);
}

#[test]
fn an_opaque_client_leaves_the_turns_known_by_their_responses() {
    let socket = responses()
        .unread(Client)
        .server(&created("resp_1"))
        .server(&done("resp_1", 20))
        .unread(Client)
        .server(r#"{"type":"response.created","response":{"id":"resp_2"}}"#)
        .server(
            r#"{"type":"response.completed","response":{"id":"resp_2","usage":{"input_tokens":0,"output_tokens":0}}}"#,
        );
    assert_eq!(socket.verdicts(), [whole("resp_1", 20)]);
    let call = &socket.calls()[0];
    assert_eq!(
        (
            call.model_requested.as_deref(),
            call.model_served.as_deref()
        ),
        (None, Some("gpt-6-2026"))
    );
    assert_eq!(call.hints, SessionHints::default());
    assert_eq!(socket.undecodable(), 0);
}

#[test]
fn a_request_of_which_a_part_is_missing_is_one_that_cannot_be_counted() {
    let torn = r#"{"type":"response.create","model":"gpt-6","input":"Hel"#.to_owned();
    let socket = responses()
        .says(Client, Said::Part(torn, BodyEnd::Lost))
        .server(&created("resp_1"))
        .server(DELTA);
    let call = &socket.calls()[0];
    assert_eq!(call.model_requested.as_deref(), Some("gpt-6"));
    let countable = call.countable.clone().expect("no usage was read");
    assert!(countable.input_is_partial);
}

#[test]
fn where_both_sides_are_opaque_the_connection_counts_as_undecodable_once() {
    let socket = responses()
        .unread(Client)
        .unread(Server)
        .unread(Client)
        .unread(Server);
    assert_eq!(socket.calls(), []);
    assert_eq!(socket.undecodable(), 1);
    assert_eq!(responses().lost(Server).lost(Client).undecodable(), 1);
    assert_eq!(responses().lost(Client).unread(Server).undecodable(), 1);
}

#[test]
fn an_event_over_the_limit_is_missing_like_a_lost_one() {
    let long = format!(
        r#"{{"type":"response.output_item.done","item":"{}"}}"#,
        "x".repeat(1 << 20)
    );
    let socket = responses()
        .client(&create(""))
        .server(&created("resp_1"))
        .server(&long)
        .server(&done("resp_1", 20));
    let (out, _) = run(socket.events(1 << 14));
    assert_eq!(calls(out)[0].outcome, Outcome::Incomplete);
}

#[test]
fn what_is_held_for_websockets_is_bounded_and_given_back() {
    let limits = Limits {
        open_calls: 3,
        connections: 2,
        held_bytes: 500,
    };
    let mut llm = Llm::new(limits);
    let (mut stats, mut out) = (Stats::default(), Vec::new());
    let filler = "x".repeat(300);
    let mut all = Vec::new();
    for pid in 0..6 {
        let mut socket = responses();
        for number in 0..40 {
            socket = socket
                .client(&create(&format!(r#","instructions":"{filler}""#)))
                .server(&created(&format!("resp_{number}")))
                .server(&filler);
        }
        let conn = ConnId { pid, ..CONN };
        let mut events = socket.events(50);
        events.truncate(events.len() - 2);
        all.push(
            events
                .into_iter()
                .map(move |event| super::super::laws::moved(event, conn))
                .collect::<Vec<_>>()
                .into_iter(),
        );
    }
    while all.iter().any(|events| events.len() > 0) {
        for events in &mut all {
            if let Some(event) = events.next() {
                llm.handle(event, &mut stats, &mut out);
                assert!(llm.held_bytes() <= 2 * limits.held_bytes + 50);
            }
        }
    }
    for pid in 0..6 {
        let conn = ConnId { pid, ..CONN };
        llm.handle(
            HttpEvent::Closed { at: at(999), conn },
            &mut stats,
            &mut out,
        );
    }
    assert_eq!((llm.held_bytes(), llm.connection_count()), (0, 0));
    assert_eq!(calls(out).len() as u64, stats.calls);
    assert!(stats.calls_evicted > 0);
}
