//! What a configuration says of hosts, seen at the calls.

use super::*;

fn hosts(path: Option<&str>, format: Option<Endpoint>) -> Hosts {
    Hosts::new(vec![Rule {
        provider: "gateway".to_owned(),
        hosts: vec!["llm.example".to_owned()],
        path: path.map(str::to_owned),
        format,
    }])
}

fn providers(hosts: Hosts, events: Vec<HttpEvent>) -> Vec<&'static str> {
    let calls = calls(run_with(hosts, events).0);
    calls.iter().map(|call| call.provider.0).collect()
}

#[test]
fn a_configured_host_names_the_provider_of_its_calls() {
    let events = chat::whole().events(0);
    assert_eq!(providers(Hosts::default(), events.clone()), ["other"]);
    assert_eq!(providers(hosts(None, None), events.clone()), ["gateway"]);
    assert_eq!(
        providers(hosts(Some("/v1"), None), events.clone()),
        ["gateway"]
    );
    assert_eq!(providers(hosts(Some("/v2"), None), events), ["other"]);
}

#[test]
fn a_name_that_is_known_only_after_the_call_names_its_provider_by_its_path() {
    for (path, expected) in [("/v1", "gateway"), ("/v2", "other")] {
        let mut talk = chat::whole();
        talk.fields.clear();
        let mut events = talk.events(0);
        events.insert(
            3,
            HttpEvent::ServerName {
                conn: CONN,
                name: "llm.example".to_owned(),
            },
        );
        assert_eq!(providers(hosts(Some(path), None), events), [expected]);
    }
}

#[test]
fn a_path_that_looks_like_no_api_is_a_call_where_its_format_is_configured() {
    let mut talk = chat::whole();
    talk.path = "/ask/large";
    let known = hosts(Some("/ask"), Some(Endpoint::OpenAiChat));
    assert!(providers(Hosts::default(), talk.events(0)).is_empty());
    let calls = calls(run_with(known, talk.events(0)).0);
    let whole = LlmCall {
        provider: Provider("gateway"),
        ..chat::whole().call()
    };
    assert_eq!(calls, [whole]);
}

#[test]
fn a_configured_format_goes_before_what_the_path_looks_like() {
    let mut talk = chat::whole();
    talk.path = "/ask/v1/messages";
    let known = hosts(Some("/ask"), Some(Endpoint::OpenAiChat));
    let calls = calls(run_with(known, talk.events(0)).0);
    assert_eq!(
        calls.iter().map(|call| call.endpoint).collect::<Vec<_>>(),
        [Endpoint::OpenAiChat]
    );
}

#[test]
fn what_is_no_call_of_the_configured_format_is_none() {
    let mut talk = chat::whole();
    talk.path = "/ask";
    talk.request = r#"{"name":"value"}"#.to_owned();
    talk.response = vec![Piece::Bytes(br#"{"ok":true}"#.to_vec())];
    talk.kind = "application/json";
    let known = hosts(Some("/ask"), Some(Endpoint::OpenAiChat));
    let (out, stats) = run_with(known, talk.events(0));
    assert_eq!((calls(out).len(), stats.not_a_call), (0, 1));
}

#[test]
fn a_connection_to_a_configured_host_is_not_ignored() {
    let foreign = |number| {
        let mut talk = chat::whole();
        talk.path = "/settings";
        talk.events(number)
    };
    let events: Vec<HttpEvent> = (0..20).flat_map(foreign).collect();
    let ignored = |hosts| {
        let (out, _) = run_with(hosts, events.clone());
        out.contains(&LlmEvent::Ignore { conn: CONN })
    };
    assert!(ignored(Hosts::default()));
    assert!(!ignored(hosts(Some("/v1"), None)));
}
