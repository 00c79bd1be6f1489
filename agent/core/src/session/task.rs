//! The kind of work of a call, by its structure alone.

use crate::llm::{Class, Endpoint, LastItem, LlmCall};

/// LIMIT: tokens of output that something small beside the work asks for at most.
const SMALL_OUTPUT_TOKENS: u64 = 512;

/// Families of tools that make an agent a coding agent.
const CODING_FAMILIES: u8 = 2;

/// Names, as attribution gives them, of the clients that work on files.
const CODING_CLIENTS: [&str; 10] = [
    "aider",
    "claude-code",
    "cline",
    "codex",
    "copilot",
    "copilot-cli",
    "cursor",
    "gemini-cli",
    "opencode",
    "qwen-code",
];

/// Kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskType {
    /// Asked for in a batch.
    Batch,
    /// Vectors of texts.
    Embedding,
    /// Pictures.
    Image,
    /// Speech, heard or spoken.
    Audio,
    /// Orders of documents.
    Rerank,
    /// A summary that takes the place of a long conversation.
    Compaction,
    /// Something small beside the work: a title, a class, a check.
    Auxiliary,
    /// A step of an agent that works on files.
    Coding,
    /// A step of any agent with tools.
    Agentic,
    /// A reply in a form that was asked for.
    Structured,
    /// Text that is completed, as editors ask for it.
    Completion,
    /// Everything else.
    Chat,
}

/// Whether a client, as attribution names it, is known to work on files.
pub fn is_coding(client: Option<&str>) -> bool {
    client.is_some_and(|client| CODING_CLIENTS.contains(&client))
}

impl TaskType {
    /// Name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Embedding => "embedding",
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Rerank => "rerank",
            Self::Compaction => "compaction",
            Self::Auxiliary => "auxiliary",
            Self::Coding => "coding",
            Self::Agentic => "agentic",
            Self::Structured => "structured",
            Self::Completion => "completion",
            Self::Chat => "chat",
        }
    }

    /// The first that fits. Something small is auxiliary only beside other work: in a session of an
    /// agent, `is_beside_agent`. A program that only ever asks for short answers does its work with
    /// them.
    pub(super) fn of(call: &LlmCall, client: Option<&str>, is_beside_agent: bool) -> Self {
        let signals = &call.signals;
        if call.terms.is_batch {
            return Self::Batch;
        }
        if let Some(kind) = by_endpoint(call.endpoint) {
            return kind;
        }
        if signals.class == Some(Class::Compaction) {
            return Self::Compaction;
        }
        let is_coding_client = is_coding(client);
        let tools = signals.tools_offered.unwrap_or(0);
        let is_small = signals.tools_offered == Some(0)
            && (is_coding_client || is_beside_agent)
            && signals
                .max_output_tokens
                .is_some_and(|tokens| tokens <= SMALL_OUTPUT_TOKENS);
        let is_marked = matches!(signals.class, Some(Class::Auxiliary))
            || (signals.class == Some(Class::Background) && tools == 0);
        if is_small || is_marked {
            return Self::Auxiliary;
        }
        // One tool that has to be used is a form to fill in.
        let is_form =
            signals.forces_tool && tools == 1 && signals.last_item != Some(LastItem::ToolResult);
        if is_form {
            return Self::Structured;
        }
        if tools > 0 && (is_coding_client || signals.families.count() >= CODING_FAMILIES) {
            return Self::Coding;
        }
        if tools > 0 || signals.tool_calls > 0 || signals.last_item == Some(LastItem::ToolResult) {
            return Self::Agentic;
        }
        if signals.asks_for_json || signals.forces_tool {
            return Self::Structured;
        }
        let completes = matches!(
            call.endpoint,
            Endpoint::OpenAiCompletions | Endpoint::OllamaGenerate
        );
        if completes {
            Self::Completion
        } else {
            Self::Chat
        }
    }
}

/// What an API is for, where it is for one thing.
const fn by_endpoint(endpoint: Endpoint) -> Option<TaskType> {
    match endpoint {
        Endpoint::OpenAiEmbeddings
        | Endpoint::GeminiEmbed
        | Endpoint::VertexPredict
        | Endpoint::CohereEmbed
        | Endpoint::OllamaEmbed
        | Endpoint::VercelEmbedding => Some(TaskType::Embedding),
        Endpoint::OpenAiImages | Endpoint::VercelImage => Some(TaskType::Image),
        Endpoint::OpenAiSpeech
        | Endpoint::OpenAiTranscription
        | Endpoint::OpenAiRealtime
        | Endpoint::GeminiLive => Some(TaskType::Audio),
        Endpoint::CohereRerank | Endpoint::VercelReranking => Some(TaskType::Rerank),
        Endpoint::OpenAiCompact => Some(TaskType::Compaction),
        Endpoint::AnthropicMessages
        | Endpoint::BedrockConverse
        | Endpoint::BedrockInvoke
        | Endpoint::OpenAiChat
        | Endpoint::OpenAiResponses
        | Endpoint::OpenAiCompletions
        | Endpoint::OpenAiDecisions
        | Endpoint::GeminiGenerate
        | Endpoint::GeminiInteractions
        | Endpoint::CohereChat
        | Endpoint::MistralConversations
        | Endpoint::OllamaChat
        | Endpoint::OllamaGenerate
        | Endpoint::VercelLanguage => None,
    }
}
