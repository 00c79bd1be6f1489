//! Limits that events tell, between those of responses.

use super::*;
use crate::llm::{Account, Limit, Observed, Reset, Share};

/// An event as ChatGPT's backend sends it.
const TOLD: &str = r#"{"type":"codex.rate_limits","plan_type":"plus","id":"limit_1","model":"m","status":"failed","rate_limits":{"allowed":true,"limit_reached":false,"primary":{"used_percent":42,"window_minutes":300,"reset_after_seconds":17940,"reset_at":1790607587},"secondary":{"used_percent":5.5,"window_minutes":10080,"reset_after_seconds":68891}},"code_review_rate_limits":{"primary":{"used_percent":99}},"additional_rate_limits":{"a":{"rate_limits":{"primary":{"used_percent":98}}}},"credits":{"has_credits":false,"balance":"0"},"usage":{"output_tokens":9}}"#;

fn limits(events: Vec<HttpEvent>) -> Vec<Observed> {
    let (out, _) = run(events);
    out.into_iter()
        .filter_map(|event| match event {
            LlmEvent::Limit(observed) => Some(observed),
            LlmEvent::Call(_) | LlmEvent::Ignore { .. } | LlmEvent::Undecodable { .. } => None,
        })
        .collect()
}

/// Both windows, told at a moment.
fn both(millis: u64, provider: &'static str, account: Option<&str>) -> Vec<Observed> {
    let limit = |name, window_seconds, millionths, resets| Limit {
        name,
        window_seconds: Some(window_seconds),
        used: Some(Share::of_millionths(millionths)),
        limit: None,
        remaining: None,
        resets: Some(resets),
    };
    let primary = Reset::At {
        unix_ms: 1_790_607_587_000,
    };
    let secondary = Reset::After { ms: 68_891_000 };
    [
        limit("codex-primary", 18_000, 420_000, primary),
        limit("codex-secondary", 604_800, 55_000, secondary),
    ]
    .into_iter()
    .map(|limit| Observed {
        at: at(millis),
        provider: Provider(provider),
        account: account.and_then(Account::new),
        limit,
    })
    .collect()
}

#[test]
fn codex_is_told_its_limits_over_a_websocket_whose_head_tells_none() {
    let socket = Socket::new("/backend-api/codex/responses")
        .field("chatgpt-account-id", "account-1")
        .client(&create(""))
        .server(TOLD)
        .server(&created("resp_1"))
        .server(&done("resp_1", 20));
    assert_eq!(
        limits(socket.events(usize::MAX)),
        both(3, "other", Some("account-1"))
    );
    assert_eq!(socket.verdicts(), [whole("resp_1", 20)]);
    // However the messages come.
    assert_eq!(limits(socket.events(1)).len(), 2);
    // Before any turn, too.
    let warm = responses().server(TOLD);
    assert_eq!(limits(warm.events(usize::MAX)), both(2, "other", None));
}

#[test]
fn a_stream_of_events_tells_the_same_and_nothing_else_of_the_response() {
    let body = format!(
        "event: codex.rate_limits\ndata: {TOLD}\n\ndata: {}\n\ndata: {TOLD}\n\ndata: {}\n\n",
        created("resp_1"),
        done("resp_1", 20)
    );
    let talk = Talk::new(
        "/backend-api/codex/responses",
        r#"{"model":"gpt-6","stream":true,"input":"Hello"}"#,
        "text/event-stream",
        &body,
    );
    let told = limits(talk.events(0));
    let windows: Vec<Limit> = told.iter().map(|observed| observed.limit).collect();
    let expected = both(0, "other", None);
    assert_eq!(
        windows,
        expected
            .iter()
            .map(|observed| observed.limit)
            .collect::<Vec<_>>()
    );
    let (out, _) = talk.run();
    let calls: Vec<_> = calls(out)
        .into_iter()
        .map(|call| (call.response_id, call.outcome, call.usage.output))
        .collect();
    assert_eq!(
        calls,
        [(Some("resp_1".to_owned()), Outcome::Complete, Some(20))]
    );
}

#[test]
fn an_event_of_another_quota_or_of_nonsense_tells_nothing() {
    let other = TOLD.replace(
        r#""plan_type":"plus""#,
        r#""metered_limit_name":"codex_bengalfox","limit_name":"codex""#,
    );
    let cut = TOLD.get(..200).unwrap();
    for event in [
        other.as_str(),
        cut,
        r#"{"type":"codex.rate_limits"}"#,
        r#"{"type":"codex.rate_limits","rate_limits":null}"#,
        r#"{"type":"codex.rate_limits","rate_limits":{"primary":{"used_percent":-1,"window_minutes":1e9,"reset_at":"soon"}}}"#,
        r#"{"type":"codex.rate_limits","rate_limits":{"primary":[{"used_percent":1}]}}"#,
        r#"{"type":"response.other","rate_limits":{"primary":{"used_percent":1}}}"#,
    ] {
        let socket = responses().client(&create("")).server(event);
        assert_eq!(limits(socket.events(usize::MAX)), [], "{event}");
    }
    let named = TOLD.replace(
        r#""plan_type":"plus""#,
        r#""metered_limit_name":"codex","limit_name":"GPT""#,
    );
    let socket = responses().client(&create("")).server(&named);
    assert_eq!(limits(socket.events(usize::MAX)).len(), 2);
}
