use super::*;

fn foreign(number: u64) -> Vec<HttpEvent> {
    Talk::new("/assets", "a", "text/html", "b").events(number)
}

fn ignores(out: &[LlmEvent]) -> usize {
    out.iter()
        .filter(|event| **event == LlmEvent::Ignore { conn: CONN })
        .count()
}

fn server_name(name: &str) -> HttpEvent {
    HttpEvent::ServerName {
        conn: CONN,
        name: name.to_owned(),
    }
}

#[test]
fn the_handshake_names_the_provider_before_the_host_field() {
    let mut events = vec![server_name("API.openai.com")];
    events.extend(chat::whole().events(0));
    let call = &calls(run(events).0)[0];
    assert_eq!(
        (call.provider, call.server_name.as_deref()),
        (Provider("openai"), Some("api.openai.com"))
    );
    let call = chat::whole().field("host", "api.groq.com:443").call();
    assert_eq!(
        (call.provider, call.server_name.as_deref()),
        (Provider("groq"), Some("api.groq.com"))
    );
}

#[test]
fn trap_14_the_servers_side_is_ignored_at_once() {
    let mut events = chat::whole().events(0);
    if let HttpEvent::Request { role, .. } = &mut events[0] {
        *role = Role::Server;
    }
    let (out, stats) = run(events
        .clone()
        .into_iter()
        .chain(chat::whole().events(1))
        .collect());
    assert_eq!(out, [LlmEvent::Ignore { conn: CONN }]);
    assert_eq!((stats.connections_ignored, stats.calls), (1, 0));
}

#[test]
fn eight_foreign_exchanges_in_a_row_are_enough() {
    let (out, _) = run((0..7).flat_map(foreign).collect());
    assert_eq!(ignores(&out), 0);
    let (out, stats) = run((0..20).flat_map(foreign).collect());
    assert_eq!(
        (ignores(&out), out.len(), stats.connections_ignored),
        (1, 1, 1)
    );
}

#[test]
fn an_empty_server_name_is_no_provider() {
    let mut events = vec![server_name("")];
    events.extend((0..8).flat_map(foreign));
    assert_eq!(ignores(&run(events).0), 1);
}

#[test]
fn a_call_between_foreign_exchanges_starts_the_count_again() {
    let events = (0..7)
        .flat_map(foreign)
        .chain(chat::whole().events(7))
        .chain((8..15).flat_map(foreign));
    let (out, _) = run(events.collect());
    assert_eq!((ignores(&out), calls(out).len()), (0, 1));
}

#[test]
fn exchanges_that_only_look_like_calls_are_foreign() {
    let odd = |number| Talk::new("/my/responses", "{}", "text/html", "ok").events(number);
    let (out, stats) = run((0..8).flat_map(odd).collect());
    assert_eq!((ignores(&out), stats.not_a_call), (1, 8));
}

#[test]
fn a_foreign_body_over_a_megabyte_is_enough() {
    let body = |bytes: usize| Talk::new("/file", "", "text/plain", &"x".repeat(bytes)).events(0);
    assert_eq!(ignores(&run(body(1 << 20)).0), 0);
    assert_eq!(ignores(&run(body((1 << 20) + 1)).0), 1);
}

#[test]
fn trap_12_a_providers_host_is_never_ignored() {
    let telemetry = |number| {
        Talk::new(
            "/api/event_logging/v2/batch",
            &"x".repeat(2 << 20),
            "application/json",
            "{}",
        )
        .field("host", "api.anthropic.com")
        .events(number)
    };
    let (out, _) = run((0..20).flat_map(telemetry).collect());
    assert_eq!(out, []);
    let mut events = vec![server_name("api.anthropic.com")];
    events.extend((0..20).flat_map(foreign));
    assert_eq!(run(events).0, []);
}

#[test]
fn a_dismissed_connection_is_ignored_and_its_calls_end() {
    let mut events: Vec<_> =
        chat::stream(&[r#"{"choices":[{"delta":{"content":"Hi"}}]}"#]).events(0);
    events.pop();
    events.push(HttpEvent::Dismissed {
        at: at(9),
        conn: CONN,
        why: Dismissal::Ambiguous,
    });
    events.push(HttpEvent::Closed {
        at: at(9),
        conn: CONN,
    });
    let (out, _) = run(events);
    assert_eq!(ignores(&out), 1);
    assert_eq!(
        verdict(&calls(out)[0]),
        (Outcome::Incomplete, UsageSource::None, None, None)
    );
}

#[test]
fn trap_18_many_calls_on_one_connection_are_told_apart() {
    let mut events = Vec::new();
    let (first, second) = (chat::whole().events(0), anthropic::whole().events(1));
    for (a, b) in first.into_iter().zip(second) {
        events.extend([a, b]);
    }
    let (out, stats) = run(events);
    let endpoints: Vec<_> = calls(out)
        .iter()
        .map(|call| (call.exchange.number, call.endpoint))
        .collect();
    assert_eq!(
        endpoints,
        [(0, Endpoint::OpenAiChat), (1, Endpoint::AnthropicMessages)]
    );
    assert_eq!((stats.calls, stats.not_a_call), (2, 0));
}

#[test]
fn what_follows_a_terminal_event_is_not_foreign() {
    let talk = |number| {
        let mut events = chat::whole().events(number);
        let id = exchange(number);
        events.insert(
            5,
            HttpEvent::ResponseBody {
                at: at(3),
                id,
                bytes: Plaintext::from(vec![b'\n'; 1 << 20]),
            },
        );
        events
    };
    let (out, _) = run((0..20).flat_map(talk).collect());
    assert_eq!((ignores(&out), calls(out).len()), (0, 20));
}

#[test]
fn connections_are_bounded_and_the_oldest_is_forgotten() {
    let mut llm = Llm::new(Limits {
        connections: 2,
        ..Limits::default()
    });
    let (mut stats, mut out) = (Stats::default(), Vec::new());
    for ssl in 0..1000 {
        let conn = ConnId {
            pid: 1,
            ssl,
            since: at(ssl),
        };
        llm.handle(
            HttpEvent::ServerName {
                conn,
                name: "x.example".to_owned(),
            },
            &mut stats,
            &mut out,
        );
    }
    assert_eq!(llm.connection_count(), 2);
}

#[test]
fn only_what_goes_to_a_provider_by_its_handshake_is_undecodable() {
    let dismissed = HttpEvent::Dismissed {
        at: at(2),
        conn: CONN,
        why: Dismissal::NotHttp,
    };
    let undecodable = LlmEvent::Undecodable {
        at: at(2),
        conn: CONN,
        host: "api.anthropic.com".to_owned(),
    };
    let ignore = LlmEvent::Ignore { conn: CONN };
    let (out, _) = run(vec![server_name("api.anthropic.com"), dismissed.clone()]);
    assert_eq!(out, [undecodable, ignore.clone()]);
    let (out, _) = run(vec![server_name("example.com"), dismissed.clone()]);
    assert_eq!(out, std::slice::from_ref(&ignore));
    assert_eq!(run(vec![dismissed]).0, [ignore]);
}
