//! What is read from a request: a body, or the message of a WebSocket that asks for a response. The
//! APIs differ only in where the prompt stands.

use super::functions::Seen;
use super::picture::{Content, PictureReader};
use super::structure::Structure;
use super::{Api, Word};
use crate::llm::hash::HashKey;
use crate::llm::json::{Key, Scanner, Value};
use crate::llm::lineage::Turn;
use crate::llm::{CountedText, Endpoint, Frame, Signals};

/// LIMIT: bytes kept of an id that a client chose; the rest is cut off.
const SESSION_ID_BYTES: usize = 128;

/// What a request says. Members may come in any order; of two with one name the last counts.
#[derive(Default)]
pub(in crate::llm) struct Request {
    /// Model.
    pub(in crate::llm) model: Word<256>,
    /// Whether a stream is asked for.
    pub(in crate::llm) stream: Option<bool>,
    /// Id of the response that this one continues.
    pub(in crate::llm) previous: Word<256>,
    /// Text of the prompt.
    pub(in crate::llm) input: CountedText,
    /// What stands around it.
    pub(in crate::llm) frame: Frame,
    /// What it has beside its text.
    pub(in crate::llm) pictures: PictureReader,
    /// True if the provider holds a part of the prompt.
    pub(in crate::llm) is_continued: bool,
    /// True if the body has a member that every call of these APIs has.
    pub(in crate::llm) has_shape: bool,
    /// True if it has a prompt where these APIs have it.
    pub(in crate::llm) has_prompt: bool,
    /// What a message asks for.
    pub(in crate::llm) kind: Word<64>,
    /// The lane of a connection that it belongs to.
    pub(in crate::llm) lane: Word<SESSION_ID_BYTES>,
    /// True if the response goes on when the request is over.
    pub(in crate::llm) background: bool,
    /// False if no output is asked for, but only that the input be made ready.
    pub(in crate::llm) generates: Option<bool>,
    /// What Codex says of the turn.
    pub(in crate::llm) turn: Turn,
    structure: Option<Structure>,
    /// What the session says of it, where the request has not been seen by itself.
    standing: Option<Signals>,
    /// Where the definition of a function is being read.
    pub(super) seen: Seen,
    user_id: Word<512>,
    conversation: Word<SESSION_ID_BYTES>,
    metadata_session: Word<SESSION_ID_BYTES>,
    metadata_thread: Word<SESSION_ID_BYTES>,
    metadata_conversation: Word<SESSION_ID_BYTES>,
    session: Word<SESSION_ID_BYTES>,
    cache_key: Word<SESSION_ID_BYTES>,
    trace: Word<SESSION_ID_BYTES>,
}

impl Request {
    /// A request to that API that was not read yet.
    pub(in crate::llm) fn new(endpoint: Endpoint, key: HashKey) -> Self {
        Self {
            structure: Some(Structure::new(endpoint, key)),
            ..Self::default()
        }
    }

    /// Takes one value of the body. `keeps_text` is false where memory for texts is used up.
    pub(in crate::llm) fn value(
        &mut self,
        api: &Api,
        path: &[Key],
        value: Value<'_>,
        keeps_text: bool,
    ) {
        let path = match path {
            [first, inner @ ..] if api.envelope == Some(*first) => inner,
            _ => path,
        };
        if let Some(structure) = &mut self.structure {
            structure.value(path, value);
        }
        if let [Key::ClientMetadata, inner @ ..] = path {
            self.turn.value(inner, value);
        }
        match path {
            [Key::Model] => {
                self.has_shape |= matches!(value, Value::Begin);
                self.model.last(value);
            }
            [Key::Stream] => {
                if let Value::Bool(stream) = value {
                    self.stream = Some(stream);
                }
            }
            [Key::Background] => self.background = matches!(value, Value::Bool(true)),
            [Key::Type] => self.kind.last(value),
            [Key::StreamId] => self.lane.last(value),
            [Key::Generate] => {
                if let Value::Bool(generates) = value {
                    self.generates = Some(generates);
                }
            }
            [Key::PreviousResponseId] | [Key::Thread, Key::PreviousMessageId] => {
                self.is_continued |= matches!(value, Value::Piece(_));
                self.previous.last(value);
            }
            // Claude Code names the message before; the request still has the whole history.
            [Key::Diagnostics, Key::PreviousMessageId] => self.previous.last(value),
            [Key::Conversation] | [Key::Conversation, Key::Id] => {
                self.is_continued |= matches!(value, Value::Piece(_));
                self.conversation.last(value);
            }
            // A context that Gemini has cached, and a prompt that OpenAI has stored.
            [Key::CachedContent] | [Key::Prompt, Key::Id] => {
                self.is_continued |= matches!(value, Value::Piece(_));
            }
            [Key::Metadata, Key::UserId] => self.user_id.last(value),
            [Key::Metadata | Key::ClientMetadata, Key::SessionId] => {
                self.metadata_session.last(value);
            }
            [Key::Metadata | Key::ClientMetadata, Key::ThreadId] => {
                self.metadata_thread.last(value);
            }
            [Key::Metadata, Key::ConversationId] => self.metadata_conversation.last(value),
            [Key::Metadata, Key::TraceId] => self.trace.last(value),
            [Key::SessionId] => self.session.last(value),
            [Key::PromptCache] => self.cache_key.last(value),
            [root, inner @ ..] if api.prompt.contains(root) => {
                self.prompt(api, *root, inner, value, keeps_text);
            }
            _ => {}
        }
    }

    /// Takes a field of a form, as the member of that name.
    pub(in crate::llm) fn field(&mut self, api: &Api, name: &str, text: &str) {
        let path = [Key::of(name)];
        if path == [Key::Stream] {
            self.value(api, &path, Value::Bool(text == "true"), false);
            return;
        }
        for value in [Value::Begin, Value::Piece(text), Value::End] {
            self.value(api, &path, value, false);
        }
    }

    /// Takes over what a response that goes on by itself has from the one before it.
    pub(in crate::llm) fn inherit(&mut self, model: &str, session: &str, previous: &str) {
        self.model.set(model);
        self.session.set(session);
        self.previous.set(previous);
        self.is_continued = true;
    }

    /// Bytes of it that are held: text, and the beginning of a picture.
    pub(in crate::llm) const fn held_bytes(&self) -> usize {
        let picture = self.pictures.held_bytes();
        self.input.kept_bytes().saturating_add(picture)
    }

    /// Takes what the session says of its responses.
    pub(in crate::llm) fn stand(&mut self, signals: Signals) {
        self.standing = Some(signals);
    }

    /// What its structure says.
    pub(in crate::llm) fn signals(&self, is_whole: bool) -> Signals {
        if let Some(standing) = &self.standing {
            return standing.clone();
        }
        self.structure
            .as_ref()
            .map(|structure| structure.signals(is_whole, self.is_continued))
            .unwrap_or_default()
    }

    /// Whether its instructions begin with the word of Claude Code that a subagent asks.
    pub(in crate::llm) fn is_subagent(&self) -> bool {
        self.structure.as_ref().is_some_and(Structure::is_subagent)
    }

    fn prompt(&mut self, api: &Api, root: Key, inner: &[Key], value: Value<'_>, keeps_text: bool) {
        let is_turns = matches!(
            root,
            Key::Contents | Key::Messages | Key::Input | Key::Prompt
        );
        let is_texts = matches!(
            root,
            Key::ChatHistory
                | Key::Content
                | Key::Inputs
                | Key::InputText
                | Key::Instances
                | Key::Message
                | Key::Query
                | Key::Requests
                | Key::StateParts
                | Key::Texts
                | Key::Values
        );
        if (is_turns || is_texts) && inner.is_empty() {
            self.has_prompt |= matches!(value, Value::Array | Value::Begin | Value::Object);
            self.has_shape |= self.has_prompt;
        }
        if let Some(content) = Content::of(root, inner) {
            self.pictures.take(content, value, keeps_text);
        }
        if matches!(value, Value::Object | Value::Close) {
            self.pictures.edge(inner);
        }
        if root == Key::Images {
            return;
        }
        // Beside the texts to be embedded stand models, titles and what they are for.
        let is_beside = matches!(root, Key::Requests | Key::Instances)
            && !matches!(inner.last(), Some(Key::Text | Key::Content | Key::Prompt));
        let is_no_text = |key: &Key| matches!(key, Key::Images | Key::ProviderOptions);
        if is_beside || inner.iter().any(is_no_text) {
            return;
        }
        let is_turn = match inner {
            [] => matches!(value, Value::Begin),
            [Key::Item] => matches!(value, Value::Object),
            _ => false,
        };
        if is_turns && is_turn {
            self.frame.messages = self.frame.messages.saturating_add(1);
        }
        self.frame(root, inner, value);
        // Codex sends its tools as an item of the input.
        let is_tools = matches!(root, Key::Tools | Key::Functions | Key::ToolConfig)
            || matches!(inner, [Key::Item, Key::Tools, ..]);
        // Of functions OpenAI counts what they say, and not the JSON.
        if is_tools && api.endpoint == Endpoint::OpenAiChat {
            match inner {
                [Key::Item, Key::Function, definition @ ..] => {
                    return self.function(definition, value, keeps_text);
                }
                [Key::Item, definition @ ..] if root == Key::Functions => {
                    return self.function(definition, value, keeps_text);
                }
                // What kind of tool it is.
                [Key::Item, Key::Type] => return,
                _ => {}
            }
        }
        let text = match value {
            // Definitions reach the model as a whole. Their names and strings without punctuation
            // have about as many tokens as the provider counts for the JSON.
            Value::Name(name) if is_tools && !inner.is_empty() => name,
            // In messages an unknown name is an argument's, so it is the model's own text.
            Value::Name(name) if inner.len() > 1 && is_argument(inner) => name,
            Value::Piece(piece) if is_tools || is_text(inner) => piece,
            Value::Number(number) if is_argument(inner) => number,
            Value::End => {
                self.input.end_part();
                return;
            }
            Value::Object
            | Value::Array
            | Value::Close
            | Value::Begin
            | Value::Bool(_)
            | Value::Null
            | Value::Name(_)
            | Value::Piece(_)
            | Value::Number(_) => return,
        };
        self.text(text, keeps_text);
        if !matches!(value, Value::Piece(_)) {
            self.input.end_part();
        }
    }

    /// Takes text of the prompt.
    pub(super) fn text(&mut self, text: &str, keeps_text: bool) {
        if keeps_text {
            self.input.push(text);
        } else {
            self.input.skip(text);
        }
    }

    /// Notes what has tokens beside the text.
    fn frame(&mut self, root: Key, inner: &[Key], value: Value<'_>) {
        let frame = &mut self.frame;
        let number = match (root, inner, value) {
            (Key::Tools | Key::Functions, [Key::Item], Value::Object)
            | (_, [Key::Item, Key::Tools, Key::Item], Value::Object) => &mut frame.tools,
            (Key::Messages, [Key::Item, Key::Name], Value::Begin) => &mut frame.names,
            (Key::Messages, [Key::Item, Key::ToolCalls, Key::Item], Value::Object)
            | (Key::Messages, [Key::Item, Key::FunctionCall], Value::Object) => {
                &mut frame.tool_calls
            }
            _ => return,
        };
        *number = number.saturating_add(1);
    }

    /// The id that stands for the session, best first.
    pub(in crate::llm) fn session_id(&self) -> Option<String> {
        session_of_user_id(self.user_id.as_str())
            .or_else(|| self.conversation.some())
            .or_else(|| self.metadata_session.some())
            .or_else(|| self.session.some())
            .or_else(|| self.metadata_thread.some())
            .or_else(|| self.metadata_conversation.some())
            .or_else(|| self.cache_key.some())
            .or_else(|| self.trace.some())
    }
}

/// Whether the last step is a member of an argument: one that no API of messages has.
fn is_argument(inner: &[Key]) -> bool {
    matches!(
        inner.last(),
        Some(
            Key::Other
                | Key::Agent
                | Key::AgentName
                | Key::CachedContent
                | Key::ClientContent
                | Key::CompletionArgs
                | Key::Count
                | Key::Description
                | Key::Documents
                | Key::DocumentUrl
                | Key::Done
                | Key::Enum
                | Key::Format
                | Key::Generation
                | Key::Index
                | Key::InputText
                | Key::Inputs
                | Key::Instances
                | Key::Interaction
                | Key::Json
                | Key::Latency
                | Key::LiveToolResponse
                | Key::MaxTokens
                | Key::Meta
                | Key::Mode
                | Key::Options
                | Key::OutputItem
                | Key::Outputs
                | Key::OutputText
                | Key::Parameters
                | Key::Properties
                | Key::Query
                | Key::Questions
                | Key::RealtimeInput
                | Key::Requests
                | Key::Result
                | Key::Results
                | Key::Speed
                | Key::Start
                | Key::Statistics
                | Key::Step
                | Key::Steps
                | Key::Tokens
                | Key::ToolResults
                | Key::Total
                | Key::Ttl
                | Key::Turns
                | Key::Values
        )
    )
}

/// True unless the string is an id, a link, a type or bytes of a picture: those are no text.
fn is_text(inner: &[Key]) -> bool {
    !matches!(
        inner.last(),
        Some(
            Key::Bytes
                | Key::CacheControl
                | Key::CallId
                | Key::Data
                | Key::Detail
                | Key::DocumentUrl
                | Key::EncryptedContent
                | Key::FileData
                | Key::FileId
                | Key::FileUri
                | Key::Id
                | Key::ImageUrl
                | Key::MediaType
                | Key::Signature
                | Key::Status
                | Key::ToolCallId
                | Key::ToolUseId
                | Key::Type
                | Key::Url
        )
    )
}

/// The session in Claude Code's `metadata.user_id`: a JSON text with `session_id`, in older
/// versions `user_..._account_..._session_<uuid>`. Anything else may name a person and is dropped,
/// as are the other parts of these two.
fn session_of_user_id(user_id: &str) -> Option<String> {
    if !user_id.starts_with('{') {
        let (_, session) = user_id.strip_prefix("user_")?.rsplit_once("_session_")?;
        return printable(session, SESSION_ID_BYTES);
    }
    let mut session = Word::<SESSION_ID_BYTES>::default();
    let mut each = |path: &[Key], value: Value<'_>| {
        if path == [Key::SessionId] {
            session.last(value);
        }
    };
    Scanner::default().push(user_id.as_bytes(), &mut each);
    session.some()
}

/// `text` without control characters and cut at `cap` bytes; `None` if nothing is left.
pub(in crate::llm) fn printable(text: &str, cap: usize) -> Option<String> {
    let mut kept: String = text
        .chars()
        .filter(|character| !character.is_control())
        .collect();
    kept.truncate(kept.floor_char_boundary(cap));
    (!kept.is_empty()).then_some(kept)
}
