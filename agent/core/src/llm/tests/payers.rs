//! Who pays for calls, as the ledger has it.

use super::*;

fn paid(scheme: Scheme, host: &'static str) -> Talk {
    let talk = chat::whole().field("host", host);
    Talk { scheme, ..talk }
}

#[test]
fn a_call_says_who_pays_for_it() {
    for (scheme, host, expected) in [
        (Scheme::Key, "api.openai.com", Credential::ApiKey),
        (Scheme::Bearer, "chatgpt.com", Credential::Subscription),
        (
            Scheme::BearerJwt,
            "mine.openai.azure.com",
            Credential::Cloud,
        ),
        (Scheme::None, "localhost:8000", Credential::None),
        (Scheme::Unread, "api.openai.com", Credential::Unknown),
    ] {
        let call = paid(scheme, host).call();
        assert_eq!(call.terms.credential, expected, "{host}");
    }
}

#[test]
fn the_host_of_the_handshake_says_who_pays_even_if_it_comes_behind_the_request() {
    let mut events = paid(Scheme::BearerJwt, "10.0.0.1").events(0);
    let name = HttpEvent::ServerName {
        conn: CONN,
        name: "chatgpt.com".to_owned(),
    };
    events.insert(1, name);
    let call = &calls(run(events).0)[0];
    assert_eq!(call.terms.credential, Credential::Subscription);
}
