//! Sessions, lines of calls and classes, as clients say them.

use super::*;

const SESSION: &str = "0b9e6b0e-7f0e-4f0a-9f5e-1a2b3c4d5e6f";

/// What the header fields and the body of a request say.
fn said(fields: &[(&'static str, &'static str)], body: &str) -> (SessionHints, Option<Class>) {
    let mut talk = Talk::new("/v1/responses", body, "application/json", "{}").status(500);
    talk.fields.extend(fields);
    let call = talk.call_with_signals();
    (call.hints, call.signals.class)
}

fn header(fields: &[(&'static str, &'static str)]) -> (SessionHints, Option<Class>) {
    said(fields, r#"{"model":"m","input":"a"}"#)
}

fn id(id: &str) -> Option<String> {
    Some(id.to_owned())
}

fn session() -> SessionHints {
    SessionHints {
        client_header: id(SESSION),
        ..SessionHints::default()
    }
}

#[test]
fn claude_code_names_its_agents_and_the_class_of_a_request() {
    const OWN: (&str, &str) = ("x-claude-code-session-id", SESSION);
    const AGENT: (&str, &str) = ("x-claude-code-agent-id", "agent-2");
    let of_agent = SessionHints {
        thread: id("agent-2"),
        ..session()
    };
    let full = [
        OWN,
        AGENT,
        ("x-claude-code-parent-agent-id", "agent-1"),
        ("x-claude-code-agent-type", "Explore"),
        ("x-claude-code-request-class", "subagent"),
    ];
    let expected = SessionHints {
        parent_thread: id("agent-1"),
        agent_type: id("Explore"),
        ..of_agent.clone()
    };
    assert_eq!(header(&full), (expected, Some(Class::Subagent)));
    assert_eq!(header(&[OWN, AGENT]), (of_agent, Some(Class::Subagent)));
    for (fields, class) in [
        (vec![], None),
        (vec![("x-app", "cli")], None),
        (vec![("x-app", "cli-bg")], Some(Class::Background)),
        (
            vec![("x-claude-code-request-class", "main")],
            Some(Class::Main),
        ),
        (
            vec![("x-claude-code-request-class", "workflow")],
            Some(Class::Subagent),
        ),
        (
            vec![("x-claude-code-request-class", "auxiliary")],
            Some(Class::Auxiliary),
        ),
        (
            vec![("x-claude-code-request-class", "side_reply")],
            Some(Class::Auxiliary),
        ),
        (
            vec![("x-claude-code-request-class", "compaction")],
            Some(Class::Compaction),
        ),
        (vec![("x-claude-code-request-class", "something")], None),
        (
            vec![("x-claude-code-compaction", "auto")],
            Some(Class::Compaction),
        ),
        (vec![("x-claude-code-compaction", " ")], None),
    ] {
        let all = [vec![OWN], fields.clone()].concat();
        assert_eq!(header(&all), (session(), class), "{fields:?}");
    }
}

#[test]
fn the_line_before_claude_codes_instructions_tells_a_subagent() {
    let class = |system: &str| {
        let body = format!(
            r#"{{"model":"m","system":{system},"messages":[{{"role":"user","content":"a"}}]}}"#
        );
        let talk = Talk::new("/v1/messages", &body, "application/json", "{}").status(500);
        talk.call_with_signals().signals.class
    };
    let line = "x-anthropic-billing-header: cc_version=2.1.330; cc_is_subagent=true;";
    assert_eq!(
        class(&format!(r#"[{{"type":"text","text":"{line}"}}]"#)),
        Some(Class::Subagent)
    );
    assert_eq!(
        class(&format!(r#""{line}\nYou are an agent.""#)),
        Some(Class::Subagent)
    );
    assert_eq!(
        class(r#""x-anthropic-billing-header: cc_version=2;""#),
        None
    );
    assert_eq!(class(&format!(r#""Say {line}""#)), None);
}

#[test]
fn codex_names_its_threads_in_the_head_and_paths_are_not_read() {
    const CODEX: (&str, &str) = ("user-agent", "codex_exec/0.169.0 (Linux; x86_64)");
    const OWN: (&str, &str) = ("session-id", SESSION);
    assert_eq!(
        header(&[CODEX, OWN, ("thread-id", SESSION)]),
        (session(), None)
    );
    let main = [
        CODEX,
        OWN,
        ("thread-id", SESSION),
        (
            "x-codex-turn-metadata",
            r#"{"workspaces":{"/home/me/secret":{"thread_id":"canary"}},"agent_name":"/root","request_kind":"turn"}"#,
        ),
    ];
    assert_eq!(header(&main), (session(), Some(Class::Main)));
    let inner = [
        CODEX,
        OWN,
        ("thread-id", "thread-2"),
        ("x-codex-parent-thread-id", SESSION),
        ("x-openai-subagent", "collab_spawn"),
    ];
    let expected = SessionHints {
        thread: id("thread-2"),
        agent_type: id("collab_spawn"),
        ..session()
    };
    assert_eq!(header(&inner), (expected, Some(Class::Subagent)));
    for (metadata, class) in [
        (r#"{"agent_name":"/root/explore"}"#, Some(Class::Subagent)),
        (r#"{"thread_source":"subagent"}"#, Some(Class::Subagent)),
        (
            r#"{"thread_source":"memory_consolidation"}"#,
            Some(Class::Background),
        ),
        (
            r#"{"request_kind":"compaction","agent_name":"/root"}"#,
            Some(Class::Compaction),
        ),
        (r#"{"agent_name":7,"request_kind":["turn"]}"#, None),
        ("{", None),
        ("\\", None),
    ] {
        assert_eq!(
            header(&[("x-codex-turn-metadata", metadata)]).1,
            class,
            "{metadata}"
        );
    }
    // From others these general names mean nothing.
    let other = [("user-agent", "curl/8.5.0"), OWN, ("thread-id", "thread-2")];
    assert_eq!(header(&other), (SessionHints::default(), None));
}

#[test]
fn codex_names_its_threads_in_the_body_of_each_message() {
    let body = format!(
        r#"{{"model":"m","input":"a","prompt_cache_key":"{SESSION}","client_metadata":{{"session_id":"{SESSION}","thread_id":"thread-3",
        "x-codex-parent-thread-id":"thread-2","x-openai-subagent":"review",
        "x-codex-turn-metadata":"{{\"request_kind\":\"compact\",\"workspaces\":{{\"\/canary\":1}}}}"}}}}"#
    );
    let expected = SessionHints {
        body_id: id(SESSION),
        thread: id("thread-3"),
        parent_thread: id("thread-2"),
        agent_type: id("review"),
        ..SessionHints::default()
    };
    assert_eq!(said(&[], &body), (expected, Some(Class::Compaction)));
    let nested = r#"{"model":"m","input":"a","client_metadata":{"x-codex-turn-metadata":"{\"session_id\":\"session-1\",\"thread_id\":\"session-1\",\"request_kind\":\"turn\"}"}}"#;
    let expected = SessionHints {
        body_id: id("session-1"),
        ..SessionHints::default()
    };
    assert_eq!(said(&[], nested), (expected, Some(Class::Main)));
}

#[test]
fn a_subagent_of_opencode_is_a_line_in_the_session_that_began_it() {
    let fields = [
        ("x-session-id", "ses_00000002"),
        ("x-parent-session-id", "ses_00000001"),
    ];
    let expected = SessionHints {
        client_header: id("ses_00000001"),
        thread: id("ses_00000002"),
        ..SessionHints::default()
    };
    assert_eq!(header(&fields), (expected, Some(Class::Subagent)));
    let itself = [
        ("x-session-id", "ses_00000001"),
        ("x-parent-session-id", "ses_00000001"),
    ];
    let expected = SessionHints {
        client_header: id("ses_00000001"),
        ..SessionHints::default()
    };
    assert_eq!(header(&itself), (expected, None));
}

#[test]
fn copilot_and_other_clients_say_what_kind_of_conversation_it_is() {
    for (kind, class) in [
        ("conversation-agent", Some(Class::Main)),
        ("conversation-subagent", Some(Class::Subagent)),
        ("conversation-background", Some(Class::Background)),
        ("chat-policy", None),
    ] {
        assert_eq!(
            header(&[("x-initiator", "agent"), ("x-interaction-type", kind)]).1,
            class
        );
    }
    let generic = header(&[("x-*-session-id", "session-0001")]).0;
    assert_eq!(generic.client_header, id("session-0001"));
}

#[test]
fn a_trace_is_told_apart_from_the_ids_of_sessions() {
    const TRACE: (&str, &str) = (
        "traceparent",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    );
    let ids = |fields: &[_], body: &str| {
        let hints = said(fields, body).0;
        (hints.body_id, hints.trace_id)
    };
    let plain = r#"{"model":"m","input":"a"}"#;
    let trace = id("4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(ids(&[TRACE], plain), (None, trace.clone()));
    let keyed = r#"{"model":"m","input":"a","prompt_cache_key":"key-0001"}"#;
    assert_eq!(ids(&[TRACE], keyed), (id("key-0001"), trace));
    for field in [
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
        "00",
        "",
    ] {
        assert_eq!(
            ids(&[("traceparent", field)], plain),
            (None, None),
            "{field}"
        );
    }
}

#[test]
fn an_id_that_is_too_long_or_a_text_is_none() {
    const LONG: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    assert!(LONG.len() > 128);
    for agent in [LONG, "two words", ""] {
        let thread = header(&[("x-claude-code-agent-id", agent)]).0.thread;
        assert_eq!(thread, None, "{agent}");
    }
    let kind = header(&[("x-claude-code-agent-type", LONG)]).0.agent_type;
    assert_eq!(kind.map(|kind| kind.len()), Some(64));
}
