//! What the structure of a request says: which tools it offers, what its conversation ends with, and
//! hashes of the conversation's beginnings. Nothing of the content is kept.
//!
//! The APIs differ in where the items of a conversation, the instructions and the tools stand, which
//! is one table; what an item is shows in its role, its type and the types of its parts.

use super::Word;
use super::conversation::Conversation;
use super::tools;
use crate::llm::hash::{HashKey, StreamHash};
use crate::llm::json::{Key, Value};
use crate::llm::{Endpoint, LastItem, Signals, ToolFamilies};

/// Where one API's requests have what is looked for.
struct Shape {
    /// Items of the conversation, or one text in place of them.
    items: &'static [Key],
    /// Instructions beside them.
    instructions: &'static [Key],
    /// Tools.
    tools: &'static [Key],
}

impl Shape {
    /// The shape of an API's requests, if they are conversations.
    fn of(endpoint: Endpoint) -> Option<Self> {
        use Endpoint as E;
        let (items, instructions, tools): (&[Key], &[Key], &[Key]) = match endpoint {
            E::AnthropicMessages => (&[Key::Messages], &[Key::System], &[Key::Tools]),
            E::BedrockInvoke => (
                &[Key::Messages, Key::Prompt, Key::InputText],
                &[Key::System],
                &[Key::Tools],
            ),
            E::BedrockConverse => (&[Key::Messages], &[Key::System], &[Key::ToolConfig]),
            E::OpenAiChat => (&[Key::Messages], &[], &[Key::Tools, Key::Functions]),
            // Requests whose head could not be read are taken for one of these, whatever they are.
            E::OpenAiResponses | E::OpenAiCompact => (
                &[Key::Input, Key::Messages, Key::Contents],
                &[Key::Instructions, Key::System, Key::SystemInstruction],
                &[Key::Tools, Key::Functions],
            ),
            E::OpenAiCompletions => (&[Key::Prompt], &[], &[]),
            E::GeminiGenerate => (&[Key::Contents], &[Key::SystemInstruction], &[Key::Tools]),
            E::GeminiInteractions => (&[Key::Input], &[Key::SystemInstruction], &[Key::Tools]),
            // The first version has all but the last message in the history.
            E::CohereChat => (
                &[Key::Messages, Key::ChatHistory],
                &[Key::Preamble],
                &[Key::Tools],
            ),
            E::OllamaChat => (&[Key::Messages], &[], &[Key::Tools]),
            E::OllamaGenerate => (&[Key::Prompt], &[Key::System], &[]),
            E::MistralConversations => (&[Key::Inputs], &[Key::Instructions], &[Key::Tools]),
            E::VercelLanguage => (&[Key::Prompt], &[], &[Key::Tools]),
            E::OpenAiRealtime => (&[Key::Input], &[Key::Instructions], &[Key::Tools]),
            E::GeminiLive => (&[Key::Turns], &[Key::SystemInstruction], &[Key::Tools]),
            E::OpenAiDecisions
            | E::OpenAiEmbeddings
            | E::OpenAiImages
            | E::OpenAiSpeech
            | E::OpenAiTranscription
            | E::GeminiEmbed
            | E::VertexPredict
            | E::CohereEmbed
            | E::CohereRerank
            | E::OllamaEmbed
            | E::VercelEmbedding
            | E::VercelImage
            | E::VercelReranking => return None,
        };
        Some(Self {
            items,
            instructions,
            tools,
        })
    }
}

/// What is known of the structure of one request.
pub(in crate::llm) struct Structure {
    endpoint: Endpoint,
    shape: Option<Shape>,
    conversation: Conversation,
    /// Hash of the definitions of tools.
    definitions: StreamHash,
    tools: u32,
    /// Those among the items.
    tools_in_items: u32,
    families: ToolFamilies,
    /// True once the tools are over.
    has_tools: bool,
    /// A short word that is being read.
    word: Word<64>,
    asks_for_json: bool,
    forces_tool: bool,
    max_output_tokens: Option<u64>,
}

impl Structure {
    /// Of a request to that API that was not read yet.
    pub(in crate::llm) fn new(endpoint: Endpoint, key: HashKey) -> Self {
        Self {
            endpoint,
            shape: Shape::of(endpoint),
            conversation: Conversation::new(key),
            definitions: StreamHash::new(key, "tools"),
            tools: 0,
            tools_in_items: 0,
            families: ToolFamilies::default(),
            has_tools: false,
            word: Word::default(),
            asks_for_json: false,
            forces_tool: false,
            max_output_tokens: None,
        }
    }

    /// Takes one value of the request.
    pub(super) fn value(&mut self, path: &[Key], value: Value<'_>) {
        let (Some(shape), [root, inner @ ..]) = (&self.shape, path) else {
            return;
        };
        if self.endpoint == Endpoint::CohereChat && matches!(root, Key::Message | Key::ToolResults)
        {
            self.conversation.behind(*root, inner, value);
        } else if shape.items.contains(root) {
            if let [Key::Item, Key::Tools, inner @ ..] = inner {
                // Codex sends its tools as an item of the input.
                let added = u32::from(self.tool(inner, value));
                self.tools_in_items = self.tools_in_items.saturating_add(added);
            } else {
                self.conversation.items(inner, value);
            }
        } else if shape.instructions.contains(root) {
            self.conversation.instructions(inner, value);
        } else if shape.tools.contains(root) {
            match (root, inner) {
                (Key::ToolConfig, [Key::Tools, inner @ ..]) => self.tools(inner, value),
                (Key::ToolConfig, [Key::ToolChoice, inner @ ..]) => self.choice(inner, value),
                (Key::ToolConfig, _) => {}
                _ => self.tools(inner, value),
            }
        } else {
            self.parameter(path, value);
        }
    }

    /// Takes a value of the tools that are offered.
    fn tools(&mut self, inner: &[Key], value: Value<'_>) {
        match (inner, value) {
            ([], Value::Array) => self.tools = 0,
            ([], Value::Close) => self.has_tools = true,
            _ => {}
        }
        let added = u32::from(self.tool(inner, value));
        self.tools = self.tools.saturating_add(added);
    }

    /// Takes a value of a list of tools; says if another one begins.
    fn tool(&mut self, inner: &[Key], value: Value<'_>) -> bool {
        if inner.contains(&Key::CacheControl) {
            return false;
        }
        let is_google = matches!(
            self.endpoint,
            Endpoint::GeminiGenerate | Endpoint::GeminiInteractions | Endpoint::GeminiLive
        );
        let is_tool = match inner {
            // One element of Gemini's may have many functions in it, or a tool of Google's.
            [Key::Item] => !is_google && self.endpoint != Endpoint::BedrockConverse,
            [Key::Item, Key::FunctionDeclarations, Key::Item] | [Key::Item, Key::ToolSpec] => true,
            [Key::Item, Key::Other] => matches!(
                self.endpoint,
                Endpoint::GeminiGenerate | Endpoint::GeminiLive
            ),
            _ => false,
        };
        let is_flat = self.endpoint == Endpoint::GeminiInteractions && inner == [Key::Item];
        let names_tool = matches!(
            inner,
            [Key::Item, Key::Name | Key::Type]
                | [Key::Item, Key::Function | Key::ToolSpec, Key::Name]
                | [Key::Item, Key::FunctionDeclarations, Key::Item, Key::Name]
        );
        if names_tool {
            self.word.last(value);
            if matches!(value, Value::End) {
                tools::add_family(&mut self.families, self.word.as_str());
            }
        }
        match value {
            Value::Name(text) | Value::Number(text) => self.definitions.text(text),
            Value::Piece(piece) => self.definitions.push(piece.as_bytes()),
            Value::End => self.definitions.end_text(),
            Value::Bool(true) => self.definitions.text("true"),
            Value::Object
            | Value::Array
            | Value::Close
            | Value::Begin
            | Value::Bool(false)
            | Value::Null => {}
        }
        (is_tool || is_flat) && matches!(value, Value::Object)
    }

    /// Takes a value of what stands beside the conversation.
    fn parameter(&mut self, path: &[Key], value: Value<'_>) {
        match path {
            [Key::ToolChoice | Key::FunctionCall, inner @ ..]
            | [
                Key::GenerationConfig | Key::CompletionArgs,
                Key::ToolChoice,
                inner @ ..,
            ] => {
                self.choice(inner, value);
            }
            // Gemini says there which functions may be called.
            [Key::ToolConfig, _, Key::Mode] => self.choice(&[Key::Mode], value),
            [Key::MaxTokens]
            | [
                Key::GenerationConfig | Key::InferenceConfig | Key::Options | Key::CompletionArgs,
                Key::MaxTokens,
            ] => {
                if let Value::Number(number) = value {
                    self.max_output_tokens = number.parse().ok();
                }
            }
            [Key::ResponseSchema]
            | [Key::GenerationConfig, Key::ResponseSchema]
            | [Key::OutputConfig, Key::Format | Key::TextFormat]
            | [Key::OutputFormat] => {
                self.asks_for_json |= matches!(value, Value::Object);
            }
            // A schema in place of the word, at Ollama.
            [Key::Format] if matches!(value, Value::Object) => self.asks_for_json = true,
            [Key::Format | Key::ResponseMimeType]
            | [Key::GenerationConfig, Key::ResponseMimeType]
            | [Key::ResponseFormat, Key::Type]
            | [Key::CompletionArgs, Key::ResponseFormat, Key::Type]
            | [Key::Text, Key::Format, Key::Type] => {
                self.word.last(value);
                if matches!(value, Value::End) {
                    let format = self.word.as_str();
                    self.asks_for_json |= matches!(
                        format,
                        "json" | "json_object" | "json_schema" | "application/json"
                    );
                }
            }
            _ => {}
        }
    }

    /// Takes a value of what says whether the model has to use a tool: a word, an object with a type
    /// or with the name of a function, or one whose member is the word.
    fn choice(&mut self, inner: &[Key], value: Value<'_>) {
        match (inner, value) {
            ([_], Value::Name("any" | "tool")) => self.forces_tool = true,
            ([Key::Name], Value::Begin) => self.forces_tool = true,
            ([] | [Key::Type | Key::Mode] | [_, Key::Mode], _) => {
                self.word.last(value);
                if matches!(value, Value::End) {
                    let choice = self.word.as_str();
                    let is_force = |word: &&str| choice.eq_ignore_ascii_case(word);
                    self.forces_tool |= tools::FORCES.iter().any(is_force);
                }
            }
            _ => {}
        }
    }

    /// Takes a value of an item of the conversation that stands alone.
    pub(super) fn item(&mut self, inner: &[Key], value: Value<'_>) {
        let path: Vec<Key> = [Key::Item].iter().chain(inner).copied().collect();
        self.conversation.items(&path, value);
    }

    /// What the last item is that was seen.
    pub(super) fn last_item(&self) -> Option<LastItem> {
        self.conversation.last()
    }

    /// Whether the client says in its first instructions that this is a step of a subagent.
    pub(in crate::llm) const fn is_subagent(&self) -> bool {
        self.conversation.is_subagent()
    }

    /// What it says. Of a request that was not seen whole some of it is not known; nor are the
    /// beginnings of a conversation of which the provider holds a part.
    pub(in crate::llm) fn signals(&self, is_whole: bool, is_continued: bool) -> Signals {
        if self.shape.is_none() {
            return Signals::default();
        }
        let conversation = &self.conversation;
        let has_items = is_whole || conversation.is_over();
        let prefix = (is_whole && !is_continued)
            .then(|| conversation.prefix(self.definitions.finish()))
            .flatten();
        Signals {
            tools_offered: (is_whole || self.has_tools)
                .then_some(self.tools.saturating_add(self.tools_in_items)),
            families: self.families,
            last_item: conversation.last().filter(|_| has_items),
            assistant_items: if has_items {
                conversation.assistant_items()
            } else {
                0
            },
            asks_for_json: self.asks_for_json,
            forces_tool: self.forces_tool,
            max_output_tokens: self.max_output_tokens,
            prefix,
            ..Signals::default()
        }
    }
}
