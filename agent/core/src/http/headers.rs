//! Which header fields leave the parser. Everything else is dropped where the head is parsed.

use super::Headers;
use super::limit_fields::LIMITS;

/// Fields that later stages read, in order of name, with the reason. Nothing here grants access: no
/// `authorization`, `cookie`, `x-api-key`, `api-key`, `x-goog-api-key`; and of an account nothing but
/// the ids in [`ACCOUNTS`], which are stored as keyed hashes only.
const ALLOWED: &[&str] = &[
    "ai-language-model-id", // model: Vercel AI Gateway names it nowhere else
    "ai-language-model-streaming", // whether a stream is asked for, likewise
    "ai-model-id",          // model of embeddings and images, likewise
    "amz-sdk-request",      // number of the try: AWS SDKs
    "anthropic-beta",       // features of a request that change how usage is read
    "anthropic-organization-id", // account that a limit is for
    "anthropic-version",    // API version
    "chatgpt-account-id",   // account that a limit is for; a plan of ChatGPT pays
    "content-encoding",     // how the body was compressed
    "content-type",         // JSON or event stream
    "conversation_id",      // session, older Codex
    "expect",               // explains a wait before the body
    "host",                 // provider
    "openai-organization",  // account that a limit is for
    "originator",           // client: Codex, opencode
    "request-id",           // Anthropic's id of a reply
    "retry-after",          // a refused call will come again
    "session-id",           // session: Codex, opencode
    "session_id",           // session, older Codex
    "thread-id",            // session: Codex
    "traceparent",          // trace: calls of one run
    "upgrade",              // protocol of an upgrade
    "user-agent",           // client and version
    "x-amzn-bedrock-cache-read-input-token-count", // usage, where the body's format is not known
    "x-amzn-bedrock-cache-write-input-token-count", // likewise
    "x-amzn-bedrock-input-token-count", // likewise
    "x-amzn-bedrock-output-token-count", // likewise
    "x-amzn-bedrock-service-tier", // tier that was served
    "x-amzn-requestid",     // Bedrock's id of a reply
    "x-app",                // client: Claude Code
    "x-claude-code-agent-id", // sub-agent
    "x-claude-code-agent-type", // its kind, of a fixed list
    "x-claude-code-compaction", // why a conversation is summarised
    "x-claude-code-parent-agent-id", // tree of sub-agents
    "x-claude-code-request-class", // main conversation, sub-agent or side call
    "x-claude-code-session-id", // session: Claude Code
    "x-codex-parent-thread-id", // tree of sub-agents: Codex
    "x-codex-turn-metadata", // thread and kind of a request: Codex; hidden, it has paths in it
    "x-initiator",          // Copilot: a person or the agent
    "x-interaction-type",   // Copilot: conversation, sub-agent or background
    "x-litellm-session-id", // session behind a proxy
    "x-openai-subagent",    // sub-agent: Codex
    "x-parent-session-id",  // tree of sub-agents: opencode
    "x-request-id",         // OpenAI's id of a reply
    "x-session-affinity",   // session: opencode
    "x-session-id",         // session: opencode and others
    "x-stainless-lang",     // language of the official SDKs
    "x-stainless-retry-count", // a retry is no new call of its user
];

/// Fields of the list that hold the id of an account, no secret but nobody's business: they do not
/// show in `Debug` output.
const ACCOUNTS: &[&str] = &[
    "anthropic-organization-id",
    "chatgpt-account-id",
    "openai-organization",
];

/// Field of the list that has paths in it, which are read over; it does not show either.
const PATHS: &str = "x-codex-turn-metadata";

/// Whether a field does not show in `Debug` output: the id of an account, and what has paths in it.
pub(super) fn is_hidden(name: &str) -> bool {
    ACCOUNTS.contains(&name) || name == PATHS
}

/// Name under which the session ids of clients that are not on the list are kept: one field,
/// `x-…-session-id`.
pub(crate) const SESSION_FIELD_OF_OTHERS: &str = "x-*-session-id";

/// Whether the name is such a one. What is about signing in may be as good as a credential.
fn is_session_field(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let client = name
        .strip_prefix(b"x-")
        .and_then(|name| name.strip_suffix(b"-session-id"));
    let has = |word: &[u8]| name.windows(word.len()).any(|part| part == word);
    client.is_some_and(|client| !client.is_empty())
        && ![&b"auth"[..], b"login", b"parent", b"sso", b"user"]
            .into_iter()
            .any(has)
}

/// LIMIT: 2,048 bytes of one value, four times the longest user agent seen; the rest is cut.
const VALUE_BYTES: usize = 2_048;

/// Keeps what is on the list.
pub(super) fn allowed(fields: &[httparse::Header<'_>]) -> Headers {
    let mut kept = Headers::default();
    for field in fields {
        if let Some(name) = listed(field.name.as_bytes())
            && let Some(value) = value(field.value)
        {
            kept.push(name, value);
        }
    }
    kept
}

/// The spelling of a name that is on this list, or on that of limits.
pub(super) fn listed(name: &[u8]) -> Option<&'static str> {
    let lower = |byte: &u8| byte.to_ascii_lowercase();
    let find = |list: &'static [&'static str]| {
        let found = list.binary_search_by(|on_list| on_list.bytes().cmp(name.iter().map(lower)));
        found.ok().and_then(|index| list.get(index)).copied()
    };
    let of_others = || is_session_field(name).then_some(SESSION_FIELD_OF_OTHERS);
    find(ALLOWED).or_else(|| find(LIMITS)).or_else(of_others)
}

/// A value, cut at the limit. One that is no visible ASCII (with spaces and tabs) is dropped: it
/// can be no id or name of one of the clients.
pub(super) fn value(value: &[u8]) -> Option<String> {
    let visible = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
    if !value.iter().all(visible) {
        return None;
    }
    let cut = value.get(..VALUE_BYTES).unwrap_or(value);
    std::str::from_utf8(cut).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field<'a>(name: &'a str, value: &'a [u8]) -> httparse::Header<'a> {
        httparse::Header { name, value }
    }

    #[test]
    fn the_list_is_sorted_and_in_lower_case() {
        assert!(ALLOWED.is_sorted());
        for name in ALLOWED {
            assert_eq!(*name, name.to_ascii_lowercase());
        }
    }

    #[test]
    fn credentials_never_pass_in_any_spelling() {
        for name in [
            "Authorization",
            "authorization",
            "AUTHORIZATION",
            "Proxy-Authorization",
            "X-Api-Key",
            "x-api-key",
            "Api-Key",
            "X-Goog-Api-Key",
            "Cookie",
            "Set-Cookie",
            "Sec-WebSocket-Protocol",
            "OpenAI-Project",
        ] {
            assert_eq!(
                allowed(&[field(name, b"canary")]),
                Headers::default(),
                "{name}"
            );
        }
    }

    #[test]
    fn ids_of_accounts_pass_and_do_not_show() {
        for name in ACCOUNTS.iter().chain(&[PATHS]) {
            let kept = allowed(&[field(name, b"canary")]);
            assert_eq!(kept.first(name), Some("canary"));
            assert!(!format!("{kept:?}").contains("canary"), "{name}");
        }
    }

    #[test]
    fn the_session_field_of_any_client_passes_unless_it_is_about_signing_in() {
        for (name, expected) in [
            ("X-Acme-Session-Id", Some(SESSION_FIELD_OF_OTHERS)),
            ("x-litellm-session-id", Some("x-litellm-session-id")),
            ("x-session-id", Some("x-session-id")),
            ("x-auth-session-id", None),
            ("x-user-session-id", None),
            ("x--session-id", None),
            ("acme-session-id", None),
        ] {
            assert_eq!(listed(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn listed_names_pass_in_lower_case_and_in_order() {
        let kept = allowed(&[
            field("Host", b"api.example"),
            field("X-Secret", b"no"),
            field("USER-AGENT", b"client/1.0 (a; b)"),
        ]);
        let mut expected = Headers::default();
        expected.push("host", "api.example".to_owned());
        expected.push("user-agent", "client/1.0 (a; b)".to_owned());
        assert_eq!(kept, expected);
    }

    #[test]
    fn values_beyond_the_limit_are_cut_and_unprintable_ones_dropped() {
        let long = vec![b'a'; VALUE_BYTES + 1];
        let kept = allowed(&[
            field("x-session-id", &long),
            field("host", b"\x1b[31mred"),
            field("user-agent", "caf\u{e9}".as_bytes()),
        ]);
        assert_eq!(kept.first("x-session-id").map(str::len), Some(VALUE_BYTES));
        assert_eq!(kept.iter().count(), 1);
    }
}
