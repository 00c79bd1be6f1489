//! Stage 3: recognises LLM API calls among exchanges and reads their usage.
//!
//! *Takes* HTTP events. *Gives* one [`LlmCall`] for each call, at its terminal event. *Remembers*
//! the calls that are open. *Nonsense* in a body costs that call its usage, and is counted.
//!
//! A call ends at its terminal event, whatever follows on the wire. Without one, the end of its
//! exchange decides. What is missing never looks complete: after a gap in the response the call is
//! [`Outcome::Incomplete`], and its usage is the provider's only if the last usage object and the
//! terminal event were both seen behind the gap.
//!
//! Over a WebSocket responses are counted, not requests: a response may go on in another one without
//! being asked, and what only warms the connection up is no call.

mod amount;
mod beside;
mod call;
mod caller;
mod form;
mod hash;
mod hosts;
mod json;
mod lineage;
mod payer;
mod picture;
mod provider;
mod quota;
mod recognize;
mod response;
mod signals;
mod stage;
#[cfg(test)]
mod tests;
mod usage;

pub use amount::MAX_COST_NANOUSD;
pub(crate) use amount::nanousd;
pub use beside::{
    AbortedBy, Credential, Estimate, Estimates, Method, Quality, SubInference, SubKind, Terms,
    Units,
};
pub use hash::HashKey;
pub use hosts::{Hosts, Rule};
pub use picture::{Detail, Picture, Pictures};
pub use quota::{Account, Limit, Observed, Reset, Share};
pub use signals::{Class, LastItem, Prefix, Signals, ToolFamilies};
pub use stage::{Limits, Llm};

use crate::event::{ConnId, Timestamp};
use crate::http::{ExchangeId, RequestHead};

/// Who answers, as far as the host tells; `other` for a host that is on no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Provider(pub &'static str);

impl Provider {
    /// Whether it is one that the host told.
    pub fn is_listed(self) -> bool {
        self != hosts::OTHER
    }
}

/// The host that a request names.
pub fn host_of(head: &RequestHead) -> Option<String> {
    head.headers.first("host").and_then(recognize::host_name)
}

/// The API that was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// Anthropic Messages.
    AnthropicMessages,
    /// Amazon Bedrock's own format for every model.
    BedrockConverse,
    /// A model's own format through Amazon Bedrock.
    BedrockInvoke,
    /// OpenAI chat completions.
    OpenAiChat,
    /// OpenAI responses, by requests or over a WebSocket.
    OpenAiResponses,
    /// OpenAI realtime.
    OpenAiRealtime,
    /// OpenAI's compaction of a long context.
    OpenAiCompact,
    /// OpenAI's legacy completions, and those that fill in the middle.
    OpenAiCompletions,
    /// OpenAI decisions.
    OpenAiDecisions,
    /// OpenAI embeddings.
    OpenAiEmbeddings,
    /// OpenAI images: generations, edits, variations.
    OpenAiImages,
    /// OpenAI speech: text to sound.
    OpenAiSpeech,
    /// OpenAI transcriptions and translations: sound to text.
    OpenAiTranscription,
    /// Gemini's `generateContent` and `streamGenerateContent`.
    GeminiGenerate,
    /// Gemini's `embedContent` and `batchEmbedContents`.
    GeminiEmbed,
    /// Gemini Live, over a WebSocket.
    GeminiLive,
    /// Gemini Interactions.
    GeminiInteractions,
    /// Vertex AI's `predict` of Google's models: embeddings and images.
    VertexPredict,
    /// Cohere chat.
    CohereChat,
    /// Cohere embeddings.
    CohereEmbed,
    /// Cohere reranking, and that of others under the same path.
    CohereRerank,
    /// Mistral conversations.
    MistralConversations,
    /// Ollama's own chat.
    OllamaChat,
    /// Ollama's own completions.
    OllamaGenerate,
    /// Ollama's own embeddings.
    OllamaEmbed,
    /// Vercel AI Gateway's own protocol.
    VercelLanguage,
    /// The same for embeddings.
    VercelEmbedding,
    /// The same for images.
    VercelImage,
    /// The same for reranking.
    VercelReranking,
}

impl Endpoint {
    /// The API of that name, if its calls are requests: none that only runs over a WebSocket.
    pub fn of_name(name: &str) -> Option<Self> {
        let mut endpoints = provider::APIS.iter().map(|api| api.endpoint);
        endpoints.find(|endpoint| endpoint.as_str() == name)
    }

    /// Every API that a call may be of, by requests or over a WebSocket.
    pub fn all() -> std::collections::BTreeSet<Self> {
        let apis = provider::APIS.iter().chain(&provider::SOCKETS);
        apis.map(|api| api.endpoint).collect()
    }

    /// Name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AnthropicMessages => "anthropic_messages",
            Self::BedrockConverse => "bedrock_converse",
            Self::BedrockInvoke => "bedrock_invoke",
            Self::OpenAiChat => "openai_chat",
            Self::OpenAiResponses => "openai_responses",
            Self::OpenAiRealtime => "openai_realtime",
            Self::OpenAiCompact => "openai_compact",
            Self::OpenAiCompletions => "openai_completions",
            Self::OpenAiDecisions => "openai_decisions",
            Self::OpenAiEmbeddings => "openai_embeddings",
            Self::OpenAiImages => "openai_images",
            Self::OpenAiSpeech => "openai_speech",
            Self::OpenAiTranscription => "openai_transcription",
            Self::GeminiGenerate => "gemini_generate",
            Self::GeminiEmbed => "gemini_embed",
            Self::GeminiLive => "gemini_live",
            Self::GeminiInteractions => "gemini_interactions",
            Self::VertexPredict => "vertex_predict",
            Self::CohereChat => "cohere_chat",
            Self::CohereEmbed => "cohere_embed",
            Self::CohereRerank => "cohere_rerank",
            Self::MistralConversations => "mistral_conversations",
            Self::OllamaChat => "ollama_chat",
            Self::OllamaGenerate => "ollama_generate",
            Self::OllamaEmbed => "ollama_embed",
            Self::VercelLanguage => "vercel_language",
            Self::VercelEmbedding => "vercel_embedding",
            Self::VercelImage => "vercel_image",
            Self::VercelReranking => "vercel_reranking",
        }
    }
}

/// Tokens of one call in disjoint classes; `None` is unknown, never zero.
/// The input of a call is the sum of the five input fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input that no cache was involved in.
    pub input_uncached: Option<u64>,
    /// Input that was read from a cache.
    pub cache_read: Option<u64>,
    /// Input that was written to a cache for five minutes.
    pub cache_write_5m: Option<u64>,
    /// Input that was written to a cache for one hour.
    pub cache_write_1h: Option<u64>,
    /// Input that was written to a cache for another or an unknown time.
    pub cache_write_other: Option<u64>,
    /// The part of `cache_write_other` that was written for twelve hours.
    pub cache_write_12h: Option<u64>,
    /// Everything generated, reasoning included.
    pub output: Option<u64>,
    /// The part of `output` that is reasoning.
    pub reasoning: Option<u64>,
    /// The part of the input that is sound.
    pub audio_input: Option<u64>,
    /// The part of `output` that is sound.
    pub audio_output: Option<u64>,
    /// The part of the input that is pictures.
    pub image_input: Option<u64>,
    /// The part of `output` that is pictures.
    pub image_output: Option<u64>,
}

impl Usage {
    /// The whole input; unknown only if every part of it is.
    pub fn input(&self) -> Option<u64> {
        [
            self.input_uncached,
            self.cache_read,
            self.cache_write_5m,
            self.cache_write_1h,
            self.cache_write_other,
        ]
        .into_iter()
        .flatten()
        .reduce(u64::saturating_add)
    }

    /// True if no class is known to have any tokens.
    fn is_zero(&self) -> bool {
        self.input().unwrap_or(0) == 0 && self.output.unwrap_or(0) == 0
    }
}

/// Where the token numbers of a call come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UsageSource {
    /// The provider's final usage object.
    Provider,
    /// An early or cumulative figure of the provider; the reply was not finished.
    ProviderPartial,
    /// Counted here.
    Estimated,
    /// Nothing is known.
    None,
}

impl UsageSource {
    /// Name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::ProviderPartial => "provider_partial",
            Self::Estimated => "estimated",
            Self::None => "none",
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The reply came to its terminal event.
    Complete,
    /// The reply was cut: the client hung up or the connection broke.
    Aborted,
    /// Bytes of the reply are missing here; the client may have got all of it.
    Incomplete,
    /// The provider answered with an error, by status or inside a stream.
    Error,
    /// No response was seen.
    Unanswered,
}

impl Outcome {
    /// Name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Aborted => "aborted",
            Self::Incomplete => "incomplete",
            Self::Error => "error",
            Self::Unanswered => "unanswered",
        }
    }
}

/// A failed try of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Former {
    /// Its exchange.
    pub exchange: ExchangeId,
    /// Id of its response, if one began; at most 256 bytes.
    pub response_id: Option<String>,
}

/// What tells to which others a call belongs; ids only, no content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionHints {
    /// Session id in a header that the client is known to send, or in a generic one.
    pub client_header: Option<String>,
    /// Session id in the request body (metadata, conversation, cache key).
    pub body_id: Option<String>,
    /// Trace that the request is a part of: 32 hexadecimal digits.
    pub trace_id: Option<String>,
    /// Id of the response that this request continues.
    pub previous_response_id: Option<String>,
    /// The failed try that this call repeats.
    pub former: Option<Former>,
    /// Line of calls inside the session: an agent's or a thread's id; none for the main one.
    pub thread: Option<String>,
    /// The line that began that one; none if the main one did.
    pub parent_thread: Option<String>,
    /// What the client calls that kind of agent; at most 64 bytes.
    pub agent_type: Option<String>,
}

/// The text of a call, kept only until it is counted. Its `Debug` output is its length.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CountedText {
    /// Text, at most [`CountedText::MAX_BYTES`].
    text: String,
    /// Bytes of text seen, kept or not.
    seen_bytes: u64,
    /// True once text was left out.
    is_full: bool,
}

impl CountedText {
    /// LIMIT: 512 KiB of text kept for a count; beyond it the count is scaled by the bytes seen.
    /// That is some 130,000 tokens, enough for the mix of a longer prompt to show, and it bounds
    /// the time that the tokenizer takes for one text, which is longest for text without words.
    pub const MAX_BYTES: usize = 512 << 10;

    /// Ends a part: a text that is tokenised by itself. No control character of a text is lost by
    /// taking this one as the mark; it only ends a part early.
    const PART_END: char = '\u{1f}';

    /// Appends text, as far as the limit allows. What is kept is a prefix, however it is split.
    pub fn push(&mut self, piece: &str) {
        let is_full = self.is_full;
        self.skip(piece);
        if !is_full {
            let end = piece.floor_char_boundary(Self::MAX_BYTES.saturating_sub(self.text.len()));
            self.text.push_str(piece.get(..end).unwrap_or_default());
            self.is_full = end < piece.len();
        }
    }

    /// Notes text without keeping it.
    pub fn skip(&mut self, piece: &str) {
        self.seen_bytes = self.seen_bytes.saturating_add(piece.len() as u64);
        self.is_full |= !piece.is_empty();
    }

    /// Ends the current part, if it has any text.
    pub fn end_part(&mut self) {
        let is_open = !self.text.is_empty() && !self.text.ends_with(Self::PART_END);
        if is_open && !self.is_full {
            self.text.push(Self::PART_END);
        }
    }

    /// The same without the full stop at the end of the part.
    fn end_sentence(&mut self) {
        if !self.is_full && self.text.ends_with('.') {
            self.text.pop();
            self.seen_bytes = self.seen_bytes.saturating_sub(1);
        }
        self.end_part();
    }

    /// The parts of what was kept, each to be tokenised by itself.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.text
            .split(Self::PART_END)
            .filter(|part| !part.is_empty())
    }

    /// Bytes of memory that the text takes.
    pub const fn kept_bytes(&self) -> usize {
        self.text.len()
    }

    /// Bytes seen, kept or not.
    pub const fn seen_bytes(&self) -> u64 {
        self.seen_bytes
    }

    /// Whether all of it was kept.
    pub const fn is_whole(&self) -> bool {
        !self.is_full
    }
}

impl std::fmt::Debug for CountedText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CountedText({} bytes)", self.seen_bytes)
    }
}

/// What a prompt has beside its text that has tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Messages or items.
    pub messages: u32,
    /// Messages whose sender has a name.
    pub names: u32,
    /// Calls of tools that the messages repeat.
    pub tool_calls: u32,
    /// Tools that are offered.
    pub tools: u32,
    /// Tokens of marks inside the definitions of functions, where not their JSON is counted but what
    /// they say.
    pub schema_marks: u64,
}

/// What the tokens stage counts where the provider reported nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Countable {
    /// Text of the prompt: messages, system, tool definitions.
    pub input: CountedText,
    /// Text of the reply.
    pub output: CountedText,
    /// What stands around the text of the prompt.
    pub frame: Frame,
    /// What the prompt has beside text.
    pub pictures: Pictures,
    /// True if a part of the prompt is held by the provider or was not seen, so that the input
    /// can't be counted.
    pub input_is_partial: bool,
    /// True if the reply says that the model reasoned more than the reply shows.
    pub has_hidden_reasoning: bool,
}

/// One LLM API call, finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LlmCall {
    /// Exchange that carried it. Calls over a WebSocket number on from the exchange that was
    /// upgraded, after which its connection has no other.
    pub exchange: ExchangeId,
    /// When its request head was complete, or the message that asked for it began.
    pub started: Timestamp,
    /// When the first token of output was seen.
    pub first_token: Option<Timestamp>,
    /// When its terminal event was seen, or its end.
    pub ended: Timestamp,
    /// Provider.
    pub provider: Provider,
    /// API.
    pub endpoint: Endpoint,
    /// Host name: of the handshake, else of the request, else the peer's address.
    pub server_name: Option<String>,
    /// Model as requested; at most 256 bytes.
    pub model_requested: Option<String>,
    /// Model as answered; at most 256 bytes.
    pub model_served: Option<String>,
    /// Whether a stream was asked for.
    pub is_stream: bool,
    /// HTTP status: over a WebSocket 101, or what the message of an error says.
    pub http_status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why the model stopped, in the provider's word; at most 64 bytes.
    pub stop_reason: Option<String>,
    /// Tokens.
    pub usage: Usage,
    /// Where the tokens come from.
    pub usage_source: UsageSource,
    /// How those that were counted here were.
    pub estimates: Estimates,
    /// What is billed by other units.
    pub units: Units,
    /// What the provider ran beside, billed apart; at most [`SubInference::MOST`].
    pub sub_inferences: Vec<SubInference>,
    /// What decides the price.
    pub terms: Terms,
    /// What the provider itself says that it costs, in billionths of a US dollar.
    pub reported_cost_nanousd: Option<u64>,
    /// Number of the try, from 1; unknown where neither the client nor the calls before tell.
    pub attempt: Option<u32>,
    /// Who ended it early, for a call that was [`Outcome::Aborted`].
    pub aborted_by: Option<AbortedBy>,
    /// Id of the response; at most 256 bytes.
    pub response_id: Option<String>,
    /// User agent; at most 256 bytes.
    pub user_agent: Option<String>,
    /// `originator` or `x-app` header, which names some clients better than the user agent.
    pub originator: Option<String>,
    /// What it says about its session.
    pub hints: SessionHints,
    /// What its structure says about the kind of its work.
    pub signals: Signals,
    /// Bytes of its bodies that were seen, framing and compression removed, up to where it ended.
    pub observed_bytes: u64,
    /// Text to count, where the provider did not report everything; and that of calls which it did
    /// report, if they are to be learned from.
    pub countable: Option<Countable>,
}

impl LlmCall {
    /// The model that answered, or else the one that was asked for.
    pub fn model(&self) -> Option<&str> {
        self.model_served
            .as_deref()
            .or(self.model_requested.as_deref())
    }
}

#[cfg(test)]
impl LlmCall {
    /// A call of which nothing is known, for tests to say what matters to them.
    pub(crate) fn plain() -> Self {
        let at = Timestamp::default();
        Self {
            exchange: ExchangeId {
                conn: ConnId {
                    pid: 0,
                    ssl: 0,
                    since: at,
                },
                number: 0,
            },
            started: at,
            first_token: None,
            ended: at,
            provider: Provider("other"),
            endpoint: Endpoint::OpenAiChat,
            server_name: None,
            model_requested: None,
            model_served: None,
            is_stream: false,
            http_status: None,
            outcome: Outcome::Complete,
            stop_reason: None,
            usage: Usage::default(),
            usage_source: UsageSource::None,
            estimates: Estimates::default(),
            units: Units::default(),
            sub_inferences: Vec::new(),
            terms: Terms::default(),
            reported_cost_nanousd: None,
            attempt: None,
            aborted_by: None,
            response_id: None,
            user_agent: None,
            originator: None,
            hints: SessionHints::default(),
            signals: Signals::default(),
            observed_bytes: 0,
            countable: None,
        }
    }
}

/// What leaves the stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LlmEvent {
    /// A call ended.
    Call(Box<LlmCall>),
    /// What is left of a limit of an account: at once if it is news, else once a minute.
    Limit(Observed),
    /// This connection is no LLM traffic, or not ours to count; stop copying it.
    Ignore {
        /// Connection.
        conn: ConnId,
    },
    /// This connection, by its handshake to a provider or by the path of its WebSocket, carries calls
    /// that cannot be read. Sent at most once.
    Undecodable {
        /// When that was clear.
        at: Timestamp,
        /// Connection.
        conn: ConnId,
        /// The provider's host; empty if nothing tells it.
        host: String,
    },
}
