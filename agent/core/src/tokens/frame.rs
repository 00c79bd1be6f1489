//! Tokens around the text of a prompt: the marks of messages, of the reply and of tools.

use super::family::{self, Family};
use crate::llm::{Countable, Endpoint};

/// Tokens that the provider adds to the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) tokens: u64,
    /// Whether that is documented, and not measured or unknown.
    pub(super) is_exact: bool,
}

/// What is added to a prompt.
pub(super) fn added(
    endpoint: Endpoint,
    model: &str,
    family: Family,
    countable: &Countable,
) -> Added {
    let frame = &countable.frame;
    let is_plain = frame.tools == 0 && frame.tool_calls == 0;
    match endpoint {
        // The OpenAI cookbook, "How to count tokens with tiktoken": three for each message, whose
        // role is in the text, one for its name, and three for the reply. For functions it has a fit
        // that it calls one.
        Endpoint::OpenAiChat => {
            let messages = u64::from(frame.messages).saturating_mul(3);
            let functions = match (frame.tools, family) {
                (0, _) => 0,
                (tools, Family::Cl100k) => u64::from(tools).saturating_mul(10).saturating_add(12),
                (tools, _) => u64::from(tools).saturating_mul(7).saturating_add(12),
            };
            let tokens = [
                messages,
                u64::from(frame.names),
                u64::from(frame.tool_calls),
                functions,
                frame.schema_marks,
                3,
            ]
            .into_iter()
            .fold(0, u64::saturating_add);
            Added {
                tokens,
                is_exact: is_plain,
            }
        }
        Endpoint::AnthropicMessages => {
            let tools = if frame.tools == 0 {
                0
            } else {
                claude_tool_prompt(model)
            };
            Added {
                // Measured on single messages.
                tokens: 7 + tools,
                is_exact: false,
            }
        }
        // Not documented.
        Endpoint::OpenAiResponses
        | Endpoint::OpenAiRealtime
        | Endpoint::OpenAiCompact
        | Endpoint::OpenAiDecisions
        | Endpoint::OpenAiSpeech
        | Endpoint::GeminiGenerate
        | Endpoint::GeminiInteractions
        | Endpoint::GeminiLive
        | Endpoint::CohereChat
        | Endpoint::BedrockConverse
        | Endpoint::BedrockInvoke
        | Endpoint::MistralConversations
        | Endpoint::OllamaChat
        | Endpoint::VercelLanguage => Added {
            tokens: 0,
            is_exact: false,
        },
        // No frame is around a text that is no message.
        Endpoint::OpenAiCompletions
        | Endpoint::OpenAiEmbeddings
        | Endpoint::OpenAiImages
        | Endpoint::OpenAiTranscription
        | Endpoint::GeminiEmbed
        | Endpoint::VertexPredict
        | Endpoint::CohereEmbed
        | Endpoint::CohereRerank
        | Endpoint::OllamaGenerate
        | Endpoint::OllamaEmbed
        | Endpoint::VercelEmbedding
        | Endpoint::VercelImage
        | Endpoint::VercelReranking => Added {
            tokens: 0,
            is_exact: true,
        },
    }
}

/// Tokens of the prompt that Anthropic puts before tools, where the model is free to use them:
/// <https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/overview>, "Pricing". To demand a
/// tool takes some hundred tokens more or less of Claude 3, and some thirty less of later ones.
fn claude_tool_prompt(model: &str) -> u64 {
    let name = family::plain_name(model);
    let is_3 = family::claude_version(&name).is_some_and(|version| version < (3, 5));
    match () {
        () if is_3 && name.contains("opus") => 530,
        () if is_3 && name.contains("sonnet") => 159,
        () if name.contains("haiku")
            && family::claude_version(&name).is_some_and(|version| version < (4, 0)) =>
        {
            264
        }
        () => 346,
    }
}
