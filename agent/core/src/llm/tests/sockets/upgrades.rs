use super::*;

#[test]
fn an_upgrade_that_is_refused_is_no_call() {
    let mut socket = responses();
    socket.status = 426;
    let (out, _) = run(socket.events(1));
    assert_eq!(out, []);
    // The next exchange of the connection is read as ever.
    let mut events = socket.events(1);
    events.pop();
    events.extend(responses::whole().events(1));
    assert_eq!(calls(run(events).0).len(), 1);
}

#[test]
fn a_websocket_that_carries_no_calls_is_ignored_at_once() {
    let ignored = [LlmEvent::Ignore { conn: CONN }];
    for path in ["/chat", "/v1/responses/resp_1", "/v1/realtime/sessions"] {
        let (out, stats) = run(Socket::new(path).client("a").events(1));
        assert_eq!(
            (out.as_slice(), stats.connections_ignored),
            (&ignored[..], 1),
            "{path}"
        );
    }
    let mut events = vec![HttpEvent::ServerName {
        conn: CONN,
        name: "api.openai.com".to_owned(),
    }];
    events.extend(Socket::new("/ws/other").events(1));
    let (out, _) = run(events);
    let undecodable = LlmEvent::Undecodable {
        at: at(1),
        conn: CONN,
        host: "api.openai.com".to_owned(),
    };
    assert_eq!(out, [undecodable, LlmEvent::Ignore { conn: CONN }]);
}

#[test]
fn a_tunnel_is_ignored_and_is_no_traffic_that_could_not_be_read() {
    let head = RequestHead {
        method: "CONNECT".to_owned(),
        path: "api.openai.com:443".to_owned(),
        model: None,
        scheme: Scheme::None,
        headers: headers(&[("host", "api.openai.com:443")]),
    };
    let id = exchange(0);
    let (out, _) = run(vec![
        HttpEvent::ServerName {
            conn: CONN,
            // A name that a provider's gateway might have.
            name: "proxy.api.openai.com".to_owned(),
        },
        HttpEvent::Request {
            at: at(1),
            id,
            role: Client,
            head,
        },
        HttpEvent::Dismissed {
            at: at(2),
            conn: CONN,
            why: Dismissal::Tunnel,
        },
    ]);
    assert_eq!(out, [LlmEvent::Ignore { conn: CONN }]);
}
