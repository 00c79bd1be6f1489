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
    /// OpenAI responses.
    #[serde(rename = "openai_responses")]
    OpenAiResponses,
}

impl Api {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self::AnthropicMessages,
        Self::OpenAiChat,
        Self::OpenAiResponses,
    ];

    /// Path of the API on the providers' own hosts.
    pub const fn path(self) -> &'static str {
        match self {
            Self::AnthropicMessages => "/v1/messages",
            Self::OpenAiChat => "/v1/chat/completions",
            Self::OpenAiResponses => "/v1/responses",
        }
    }

    /// Name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AnthropicMessages => "anthropic_messages",
            Self::OpenAiChat => "openai_chat",
            Self::OpenAiResponses => "openai_responses",
        }
    }
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
    /// User agent of the client.
    pub user_agent: Option<String>,
    /// First of the session headers that known clients send.
    pub session_header: Option<String>,
    /// Model as requested.
    pub model_requested: Option<String>,
    /// Model as answered; `None` where the answer names none.
    pub model_served: Option<String>,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// HTTP status.
    pub status: u16,
    /// Tokens of the whole reply, reported or not.
    pub usage: Tokens,
    /// How much of them was on the wire.
    pub reported: Reported,
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes of text in the request's messages.
    pub text_in_bytes: u64,
    /// Bytes of visible text that were sent.
    pub text_out_bytes: u64,
}
