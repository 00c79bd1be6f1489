//! Says which exchanges are LLM calls, and of whom.
//!
//! The path and the method decide, then the shape of the bodies; the host only names the provider,
//! since gateways and self-hosted servers speak the same APIs, and the providers' own hosts carry
//! much that is no call. A configuration may name the API of a path that looks like none. Where path
//! and method could not be read, the shape of both bodies decides alone, and has to be the whole one.

use super::hosts::Hosts;
use super::provider::{APIS, Api, RESULTS, RETRIEVALS, SOCKETS, Target, printable, shape};
use crate::http::{Headers, RequestHead, SESSION_FIELD_OF_OTHERS};

/// The API that a request calls, and what its path says; `None` for everything else on those
/// hosts: counts, batches, polls, model lists and telemetry. To read a response again is a call only
/// if it ends one that went on in the background.
pub(super) fn api(hosts: &Hosts, head: &RequestHead) -> Option<(&'static Api, Target)> {
    if head.is_headless() && matches!(head.method.as_str(), "POST" | "") {
        return Some((&shape::API, Target::default()));
    }
    match head.method.as_str() {
        "POST" => configured(hosts, head).or_else(|| of_path(APIS, head)),
        "GET" => of_path(RETRIEVALS, head),
        _ => None,
    }
}

/// The API whose results a request reads, many of them in one reply.
pub(super) fn results(head: &RequestHead) -> Option<&'static Api> {
    (head.method == "GET").then_some(())?;
    of_path(RESULTS, head).map(|(api, _)| api)
}

/// The API that a configuration names.
fn configured(hosts: &Hosts, head: &RequestHead) -> Option<(&'static Api, Target)> {
    let host = head.headers.first("host").and_then(host_name)?;
    let format = hosts.format(&host, &head.path)?;
    let api = APIS.iter().find(|api| api.endpoint == format)?;
    Some((api, (api.target)(&head.path).unwrap_or_default()))
}

/// The API that a request wants to call over a WebSocket.
pub(super) fn socket(head: &RequestHead) -> Option<(&'static Api, Target)> {
    let mut protocols = head.headers.first("upgrade")?.split(',');
    let is_socket = protocols.any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"));
    (head.method == "GET" && is_socket).then_some(())?;
    let (api, target) = of_path(&SOCKETS, head)?;
    let model = head.model.clone().or(target.model);
    Some((api, Target { model, ..target }))
}

fn of_path(apis: &[&'static Api], head: &RequestHead) -> Option<(&'static Api, Target)> {
    let path = head.path.strip_suffix('/').unwrap_or(&head.path);
    apis.iter()
        .find_map(|api| Some((*api, (api.target)(path)?.with_headers(&head.headers))))
}

/// The region that a host processes in, where that is priced apart and the reply does not say it:
/// OpenAI's regional hosts, and those of Bedrock.
pub(super) fn region(host: &str) -> Option<String> {
    let mut labels = host.split('.');
    let is_bedrock = |label: &str| {
        matches!(
            label,
            "bedrock-runtime" | "bedrock-runtime-fips" | "bedrock-mantle"
        )
    };
    // A private endpoint has a name of its own before that.
    if labels.by_ref().take(2).any(is_bedrock) && is_of_aws(host) {
        let region = labels.next().filter(|label| label.contains('-'));
        return region.map(str::to_owned);
    }
    let label = host.strip_suffix(".api.openai.com")?;
    let is_region = !label.is_empty() && !label.contains('.') && label != "mtls";
    is_region.then(|| label.to_owned())
}

fn is_of_aws(host: &str) -> bool {
    [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"]
        .iter()
        .any(|end| host.ends_with(end))
}

/// The host in a `Host` field, without the port and in lower case (RFC 9110, section 7.2).
pub(super) fn host_name(field: &str) -> Option<String> {
    let name = match field.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => field.split(':').next().unwrap_or_default(),
    };
    printable(&name.to_ascii_lowercase(), 255)
}

/// Header fields that hold a session id, best first, whoever sends them.
const SESSION_FIELDS: [&str; 5] = [
    "x-claude-code-session-id",
    "x-session-id",
    "x-session-affinity",
    "x-litellm-session-id",
    SESSION_FIELD_OF_OTHERS,
];

/// The same under names so general that they are taken only from Codex and opencode; the session
/// goes before the thread, which is a part of it.
const CODEX_SESSION_FIELDS: [&str; 4] =
    ["session-id", "session_id", "thread-id", "conversation_id"];

/// The session id in the header.
pub(super) fn session_id(headers: &Headers) -> Option<String> {
    let is_codex = is_codex(headers);
    let codex = CODEX_SESSION_FIELDS.iter().filter(|_| is_codex);
    let mut fields = SESSION_FIELDS.iter().chain(codex);
    fields
        .find_map(|name| headers.first(name).filter(is_session_id))
        .map(str::to_owned)
}

/// Whether the client is Codex or opencode, whose fields have general names.
pub(super) fn is_codex(headers: &Headers) -> bool {
    let agent = headers.first("user-agent").unwrap_or_default();
    ["codex", "opencode"].iter().any(|name| {
        agent
            .get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name))
            || headers
                .first("originator")
                .is_some_and(|originator| originator.starts_with(name))
    })
}

/// LIMIT: 8 to 128 characters that ids consist of. Shorter ones are counters, and anything else
/// may be content.
fn is_session_id(value: &&str) -> bool {
    (8..=128).contains(&value.len())
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Scheme;
    use crate::llm::Endpoint;

    fn endpoint(method: &str, path: &str) -> Option<Endpoint> {
        let head = RequestHead {
            method: method.to_owned(),
            path: path.to_owned(),
            model: None,
            scheme: Scheme::None,
            headers: Headers::default(),
        };
        api(&Hosts::default(), &head).map(|(api, _)| api.endpoint)
    }

    #[test]
    fn calls_are_recognised_by_path_under_any_prefix() {
        for (path, expected) in [
            ("/v1/messages", Endpoint::AnthropicMessages),
            ("/v1/messages/", Endpoint::AnthropicMessages),
            ("/anthropic/v1/messages", Endpoint::AnthropicMessages),
            (
                "/model/anthropic.claude-x-v1%3A0/converse",
                Endpoint::BedrockConverse,
            ),
            (
                "/gateway/model/m/converse-stream",
                Endpoint::BedrockConverse,
            ),
            ("/model/m/invoke", Endpoint::BedrockInvoke),
            (
                "/model/m/invoke-with-response-stream",
                Endpoint::BedrockInvoke,
            ),
            ("/v1/chat/completions", Endpoint::OpenAiChat),
            ("/chat/completions", Endpoint::OpenAiChat),
            (
                "/openai/deployments/mine/chat/completions",
                Endpoint::OpenAiChat,
            ),
            ("/compatible-mode/v1/chat/completions", Endpoint::OpenAiChat),
            ("/v1/responses", Endpoint::OpenAiResponses),
            ("/backend-api/codex/responses", Endpoint::OpenAiResponses),
            (
                "/v1beta/models/gemini-embedding-001:embedContent",
                Endpoint::GeminiEmbed,
            ),
            (
                "/v1beta/models/gemini-embedding-001:batchEmbedContents",
                Endpoint::GeminiEmbed,
            ),
            (
                "/v1/projects/p/locations/us/publishers/google/models/text-embedding-005:predict",
                Endpoint::VertexPredict,
            ),
            (
                "/v1/projects/p/locations/global/publishers/anthropic/models/claude-x@20260901:rawPredict",
                Endpoint::AnthropicMessages,
            ),
            (
                "/v1/projects/p/locations/eu/publishers/anthropic/models/claude-x:streamRawPredict",
                Endpoint::AnthropicMessages,
            ),
            ("/anthropic/v1/messages", Endpoint::AnthropicMessages),
            ("/v1beta/interactions", Endpoint::GeminiInteractions),
            ("/v2/chat", Endpoint::CohereChat),
            ("/v1/chat", Endpoint::CohereChat),
            ("/v2/embed", Endpoint::CohereEmbed),
            ("/v2/rerank", Endpoint::CohereRerank),
            ("/v1/conversations", Endpoint::MistralConversations),
            ("/v1/conversations/conv_1", Endpoint::MistralConversations),
            (
                "/v1/conversations/conv_1/restart",
                Endpoint::MistralConversations,
            ),
            ("/v1/agents/completions", Endpoint::OpenAiChat),
            ("/api/chat", Endpoint::OllamaChat),
            ("/ollama/api/generate", Endpoint::OllamaGenerate),
            ("/api/embed", Endpoint::OllamaEmbed),
            ("/api/embeddings", Endpoint::OllamaEmbed),
            ("/v4/ai/language-model", Endpoint::VercelLanguage),
            ("/v3/ai/language-model", Endpoint::VercelLanguage),
            ("/v1/ai/language-model", Endpoint::VercelLanguage),
            ("/v4/ai/embedding-model", Endpoint::VercelEmbedding),
            ("/v4/ai/image-model", Endpoint::VercelImage),
            ("/v4/ai/reranking-model", Endpoint::VercelReranking),
            ("/v1/responses/compact", Endpoint::OpenAiCompact),
            (
                "/backend-api/codex/responses/compact",
                Endpoint::OpenAiCompact,
            ),
            ("/v1/completions", Endpoint::OpenAiCompletions),
            ("/v1/fim/completions", Endpoint::OpenAiCompletions),
            ("/v1/decisions", Endpoint::OpenAiDecisions),
            ("/v1/embeddings", Endpoint::OpenAiEmbeddings),
            ("/api/v1/embeddings", Endpoint::OpenAiEmbeddings),
            ("/v1/images/generations", Endpoint::OpenAiImages),
            ("/v1/images/edits", Endpoint::OpenAiImages),
            ("/v1/images/variations", Endpoint::OpenAiImages),
            ("/v1/audio/speech", Endpoint::OpenAiSpeech),
            ("/v1/audio/transcriptions", Endpoint::OpenAiTranscription),
            ("/v1/audio/translations", Endpoint::OpenAiTranscription),
            (
                "/v1beta/models/gemini-3-pro:generateContent",
                Endpoint::GeminiGenerate,
            ),
            (
                "/v1/projects/p/locations/us/publishers/google/models/gemini-3:streamGenerateContent",
                Endpoint::GeminiGenerate,
            ),
            (
                "/v1/projects/p/locations/us/endpoints/1234:generateContent",
                Endpoint::GeminiGenerate,
            ),
            (
                "/gateway/v1beta/tunedModels/mine:generateContent",
                Endpoint::GeminiGenerate,
            ),
            (
                "/v1internal:streamGenerateContent",
                Endpoint::GeminiGenerate,
            ),
        ] {
            assert_eq!(endpoint("POST", path), Some(expected), "{path}");
            assert_eq!(endpoint("GET", path), None, "{path}");
        }
    }

    #[test]
    fn trap_16_counts_batches_and_polls_are_no_calls() {
        for path in [
            "/v1/messages/count_tokens",
            "/v1/messages/batches",
            "/v1/threads/thread_1/messages",
            "/v1/responses/input_tokens",
            "/v1/responses/resp_1/cancel",
            "/v1/moderations",
            "/v1/files",
            "/v1/batches",
            "/v1/vector_stores",
            "/v1/threads/thread_1/runs",
            "/v1/audio/voices",
            "/v1/realtime/client_secrets",
            "/v1/live/sessions",
            "/v1/agents/agent_1/sessions",
            "/v1/my-responses",
            "/v1beta/models/gemini-3-pro:countTokens",
            "/v1beta/models/gemini-3-pro",
            "/v1beta/models/:generateContent",
            "/v1beta/files/a:generateContent",
            "/v1beta/models/gemini-3-pro:computeTokens",
            "/v1beta/models/:embedContent",
            "/v1beta/interactions/abc/cancel",
            "/v1/projects/p/locations/us/endpoints/1234:predict",
            "/v1/projects/p/publishers/google/models/:predict",
            "/v1/projects/p/publishers/google/models/gemini:predictLongRunning",
            "/v1/conversations/conv_1/messages",
            "/v1/tokenize",
            "/v1/embed-jobs",
            "/v2/batches",
            "/api/tags",
            "/api/show",
            "/api/pull",
            "/v4/ai/config",
            "/v1/credits",
            "/v1internal:loadCodeAssist",
            "/v1internal:countTokens",
            "/v1/projects/p/publishers/anthropic/models/count-tokens:rawPredict",
            "/model/m/count-tokens",
            "/model//converse",
            "/model/a/b/invoke",
            "/model/m/async-invoke",
            "/guardrail/g/version/1/apply",
            "/v1/projects/p/publishers/anthropic/models/:rawPredict",
            "/v1/projects/p/publishers/anthropic/models/claude:predict",
            "/v1/projects/p/publishers/mistralai/models/mistral:rawPredict",
            "/api/event_logging/v2/batch",
            "/",
        ] {
            assert_eq!(endpoint("POST", path), None, "{path}");
        }
    }

    #[test]
    fn a_response_is_read_again_by_its_id_alone() {
        let responses = Some(Endpoint::OpenAiResponses);
        for (path, expected) in [
            ("/v1/responses/resp_0123456789", responses),
            ("/openai/responses/resp_0123456789", responses),
            ("/v1/responses/b7e1-4c2a.9", responses),
            ("/v1/responses/resp_1/input_items", None),
            ("/v1/responses/compact", None),
            ("/v1/chat/completions/chatcmpl-0123456789", None),
            ("/v1/my-responses/resp_0123456789", None),
            ("/v1/responses/", None),
            ("/v1/batches/batch_0123456789", None),
        ] {
            assert_eq!(endpoint("GET", path), expected, "{path}");
        }
        assert_eq!(endpoint("DELETE", "/v1/responses/resp_0123456789"), None);
        assert_eq!(endpoint("POST", "/v1/responses/resp_0123456789"), None);
    }

    #[test]
    fn a_regional_host_names_the_region() {
        for (host, expected) in [
            ("eu.api.openai.com", Some("eu")),
            ("us.api.openai.com", Some("us")),
            ("api.openai.com", None),
            (".api.openai.com", None),
            ("mtls.api.openai.com", None),
            ("a.b.api.openai.com", None),
            ("eu.api.example.com", None),
            ("bedrock-runtime.us-east-1.amazonaws.com", Some("us-east-1")),
            (
                "bedrock-runtime-fips.us-gov-west-1.amazonaws.com",
                Some("us-gov-west-1"),
            ),
            ("bedrock-mantle.eu-west-1.api.aws", Some("eu-west-1")),
            (
                "vpce-0a-1b.bedrock-runtime.eu-central-1.vpce.amazonaws.com",
                Some("eu-central-1"),
            ),
            ("bedrock-runtime.us-east-1.example.com", None),
            ("bedrock-runtime.amazonaws.com", None),
        ] {
            assert_eq!(region(host).as_deref(), expected, "{host}");
        }
    }

    #[test]
    fn the_port_is_no_part_of_a_host_name() {
        assert_eq!(host_name("Localhost:8443").as_deref(), Some("localhost"));
        assert_eq!(host_name("[::1]:8443").as_deref(), Some("::1"));
        assert_eq!(host_name(""), None);
    }

    fn session(fields: &[(&'static str, &str)]) -> Option<String> {
        let mut headers = Headers::default();
        for (name, value) in fields {
            headers.push(name, (*value).to_owned());
        }
        session_id(&headers)
    }

    #[test]
    fn session_ids_are_taken_from_known_fields() {
        let id = "0b9e6b0e-7f0e-4f0a-9f5e-1a2b3c4d5e6f";
        let codex = ("user-agent", "codex_exec/0.169.0 (Linux; x86_64)");
        let curl = ("user-agent", "curl/8.5.0");
        assert_eq!(
            session(&[curl, ("x-claude-code-session-id", id)]).as_deref(),
            Some(id)
        );
        assert_eq!(
            session(&[curl, ("x-litellm-session-id", "run_12345")]).as_deref(),
            Some("run_12345")
        );
        assert_eq!(
            session(&[codex, ("thread-id", "thread-0001"), ("session-id", id)]).as_deref(),
            Some(id)
        );
        assert_eq!(
            session(&[("originator", "opencode"), ("session-id", id)]).as_deref(),
            Some(id)
        );
        assert_eq!(session(&[curl, ("session-id", id)]), None);
        assert_eq!(session(&[curl, ("x-parent-session-id", id)]), None);
    }

    #[test]
    fn a_session_id_has_8_to_128_characters_of_an_id() {
        let valid = ["12345678".to_owned(), "a".repeat(128)];
        let invalid = [
            "1234567".to_owned(),
            "a".repeat(129),
            "me@example.org".to_owned(),
            "12345678\u{1b}".to_owned(),
        ];
        assert!(
            valid
                .iter()
                .all(|id| session(&[("x-session-id", id)]).as_deref() == Some(id))
        );
        assert!(
            invalid
                .iter()
                .all(|id| session(&[("x-session-id", id)]).is_none())
        );
    }
}
