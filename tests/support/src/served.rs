//! What the endpoint remembers of each call that it answered.

use serde::{Deserialize, Serialize};

/// An API that the endpoint speaks. The names are those of the ledger's `endpoint` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Api {
    /// Anthropic Messages.
    #[serde(rename = "anthropic_messages")]
    AnthropicMessages,
    /// OpenAI chat completions.
    #[serde(rename = "openai_chat")]
    OpenAiChat,
    /// OpenAI responses, by POST or over a WebSocket.
    #[serde(rename = "openai_responses")]
    OpenAiResponses,
    /// OpenAI realtime, over a WebSocket.
    #[serde(rename = "openai_realtime")]
    OpenAiRealtime,
    /// OpenAI's legacy completions.
    #[serde(rename = "openai_completions")]
    OpenAiCompletions,
    /// OpenAI embeddings.
    #[serde(rename = "openai_embeddings")]
    OpenAiEmbeddings,
    /// Gemini `generateContent` and `streamGenerateContent`.
    #[serde(rename = "gemini_generate")]
    GeminiGenerate,
    /// Bedrock's `converse` and `converse-stream`.
    #[serde(rename = "bedrock_converse")]
    BedrockConverse,
    /// Bedrock's `invoke` and `invoke-with-response-stream`, of a model of Anthropic's.
    #[serde(rename = "bedrock_invoke")]
    BedrockInvoke,
    /// Cohere chat, second version.
    #[serde(rename = "cohere_chat")]
    CohereChat,
    /// Ollama's own chat.
    #[serde(rename = "ollama_chat")]
    OllamaChat,
    /// Vercel AI Gateway's own protocol.
    #[serde(rename = "vercel_language")]
    VercelLanguage,
}

impl Api {
    /// Those that are called by a POST whose body names the model.
    pub const MODEL_IN_BODY: [Self; 3] = [
        Self::AnthropicMessages,
        Self::OpenAiChat,
        Self::OpenAiResponses,
    ];

    /// Path of the API on the providers' own hosts; of Gemini and Bedrock that of one model, in a
    /// stream of events.
    pub const fn path(self) -> &'static str {
        match self {
            Self::AnthropicMessages => "/v1/messages",
            Self::OpenAiChat => "/v1/chat/completions",
            Self::OpenAiResponses => "/v1/responses",
            Self::OpenAiRealtime => "/v1/realtime?model=gpt-realtime",
            Self::OpenAiCompletions => "/v1/completions",
            Self::OpenAiEmbeddings => "/v1/embeddings",
            Self::GeminiGenerate => "/v1beta/models/gemini-3-pro:streamGenerateContent?alt=sse",
            Self::BedrockConverse => "/model/anthropic.claude-sonnet-4-v1%3A0/converse-stream",
            Self::BedrockInvoke => {
                "/model/anthropic.claude-sonnet-4-v1%3A0/invoke-with-response-stream"
            }
            Self::CohereChat => "/v2/chat",
            Self::OllamaChat => "/api/chat",
            Self::VercelLanguage => "/v4/ai/language-model",
        }
    }

    /// Name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AnthropicMessages => "anthropic_messages",
            Self::OpenAiChat => "openai_chat",
            Self::OpenAiResponses => "openai_responses",
            Self::OpenAiRealtime => "openai_realtime",
            Self::OpenAiCompletions => "openai_completions",
            Self::OpenAiEmbeddings => "openai_embeddings",
            Self::GeminiGenerate => "gemini_generate",
            Self::BedrockConverse => "bedrock_converse",
            Self::BedrockInvoke => "bedrock_invoke",
            Self::CohereChat => "cohere_chat",
            Self::OllamaChat => "ollama_chat",
            Self::VercelLanguage => "vercel_language",
        }
    }

    /// Those of `tokens` that the API's usage can say.
    pub const fn known(self, tokens: Tokens) -> Tokens {
        let mut known = tokens;
        match self {
            Self::AnthropicMessages | Self::BedrockInvoke => known.cache_write_other = 0,
            Self::OpenAiChat | Self::OpenAiResponses | Self::VercelLanguage => {
                known.cache_write_5m = 0;
                known.cache_write_1h = 0;
            }
            Self::OpenAiRealtime => {
                known = Tokens {
                    reasoning: 0,
                    ..known.without_cache_writes()
                };
            }
            Self::GeminiGenerate => known = known.without_cache_writes(),
            Self::BedrockConverse => {
                known.cache_write_other = 0;
                known.reasoning = 0;
            }
            Self::CohereChat => {
                known = Tokens {
                    reasoning: 0,
                    ..known.without_cache_writes()
                };
            }
            Self::OpenAiCompletions | Self::OllamaChat => {
                known = Tokens {
                    reasoning: 0,
                    cache_read: 0,
                    ..known.without_cache_writes()
                };
            }
            Self::OpenAiEmbeddings => {
                known = Tokens {
                    reasoning: 0,
                    cache_read: 0,
                    output: 0,
                    ..known.without_cache_writes()
                };
            }
        }
        known
    }
}

/// What a call came over.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    #[serde(rename = "http/1.1")]
    Http1,
    /// HTTP/2.
    #[serde(rename = "h2")]
    Http2,
    /// A WebSocket.
    #[serde(rename = "websocket")]
    WebSocket,
    /// A WebSocket whose messages are compressed (RFC 7692).
    #[serde(rename = "websocket-deflate")]
    WebSocketDeflate,
}

/// Tokens of one call in disjoint classes, as the provider knows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Input that no cache was involved in.
    pub input_uncached: u64,
    /// Input that was read from a cache.
    pub cache_read: u64,
    /// Input that was written to a cache for five minutes.
    pub cache_write_5m: u64,
    /// Input that was written to a cache for one hour.
    pub cache_write_1h: u64,
    /// Input that was written to a cache for another or an unknown time.
    pub cache_write_other: u64,
    /// Everything generated, reasoning included.
    pub output: u64,
    /// The part of `output` that is reasoning.
    pub reasoning: u64,
}

impl Tokens {
    /// Input in all classes.
    pub const fn input(&self) -> u64 {
        self.input_uncached
            + self.cache_read
            + self.cache_write_5m
            + self.cache_write_1h
            + self.cache_write_other
    }

    const fn without_cache_writes(self) -> Self {
        Self {
            cache_write_5m: 0,
            cache_write_1h: 0,
            cache_write_other: 0,
            ..self
        }
    }
}

/// How much of the usage was on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reported {
    /// Nothing: the client did not ask, or the reply broke off before it.
    Nothing,
    /// The input classes; the output only as the placeholder of a stream's start.
    Input,
    /// Every figure.
    Everything,
}

/// How the endpoint ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The terminal event, or the whole body, was written.
    Complete,
    /// The connection broke before that, by plan or because the client hung up.
    Aborted,
    /// An error was answered, by status or inside a stream.
    Error,
}

/// One call that was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// Number of the call on this endpoint, from 0; all figures follow from it.
    pub number: u64,
    /// Id of the response, unique; `None` where the answer has none (an error by status).
    pub id: Option<String>,
    /// API.
    pub api: Api,
    /// Port of the client, which tells connections apart.
    pub client_port: u16,
    /// What it came over.
    #[serde(default)]
    pub protocol: Protocol,
    /// Host that the client wanted, with the port if it named one: `Host` or `:authority`.
    #[serde(default)]
    pub host: Option<String>,
    /// User agent of the client.
    pub user_agent: Option<String>,
    /// First of the session headers that known clients send.
    pub session_header: Option<String>,
    /// All headers that known clients tell sessions, sub-agents and tries apart by, in the order
    /// of [`IDENTITY_HEADERS`](crate::endpoint::IDENTITY_HEADERS).
    #[serde(default)]
    pub identity_headers: Vec<(String, String)>,
    /// Model as requested.
    pub model_requested: Option<String>,
    /// Model as answered; `None` where the answer names none.
    pub model_served: Option<String>,
    /// Why the model stopped, in the provider's word; `None` where the answer does not say.
    #[serde(default)]
    pub stop_reason: Option<String>,
    /// Tier of service that the answer says it was served with.
    #[serde(default)]
    pub service_tier: Option<String>,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// HTTP status; of a call over a WebSocket that of its opening, 101.
    pub status: u16,
    /// Whether it only prepared a connection: no text, and usage of zero.
    #[serde(default)]
    pub is_warm_up: bool,
    /// Tools that the answer calls.
    #[serde(default)]
    pub tools: Vec<String>,
    /// Tokens of the whole reply, reported or not.
    pub usage: Tokens,
    /// How much of them was on the wire.
    pub reported: Reported,
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes of text in the request's messages.
    pub text_in_bytes: u64,
    /// Bytes of visible text, and of the names and arguments of tools, that were sent.
    pub text_out_bytes: u64,
}

impl Served {
    /// The session that the call belongs to in the end: of a subagent that has one of its own it is
    /// that of the one who began it.
    pub fn root_session(&self) -> Option<&str> {
        let parent = self
            .identity_headers
            .iter()
            .find(|(name, _)| name == "x-parent-session-id");
        parent
            .map(|(_, value)| value.as_str())
            .or(self.session_header.as_deref())
    }
}

/// A request that was no call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Other {
    /// Method.
    pub method: String,
    /// Path, without its query, which may hold a key.
    pub path: String,
    /// Host that the client wanted, with the port if it named one.
    pub host: Option<String>,
    /// Port of the client, which tells connections apart.
    pub client_port: u16,
    /// What it came over.
    pub protocol: Protocol,
    /// Status that was answered.
    pub status: u16,
}
