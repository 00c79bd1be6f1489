//! The tools that a reply asks for: how many, and a keyed hash of their names and arguments, so that
//! calls that come again are found. Neither is kept.
//!
//! A call is an object that is whole, or begins in one event and goes on in others. Only those that
//! the client is to run are counted: the type of the others is another one.

use super::Word;
use crate::llm::hash::{HashKey, StreamHash};
use crate::llm::json::{Key, Value};

/// LIMIT: 32 calls of one reply in the hash, some 4 KiB; of more it has the number.
const MOST: usize = 32;

/// LIMIT: 128 bytes of a tool's name; the rest is not looked at.
const NAME_BYTES: usize = 128;

/// A call that has begun.
struct Call {
    /// Choice and number in it, where a stream says them.
    place: Option<(u64, u64)>,
    /// Hash of its id, where that may tell it from another one at the same place.
    id: Option<u64>,
    /// Hash of the tool's name.
    name: Option<u64>,
    arguments: StreamHash,
}

/// An object that may be a call.
struct Object {
    kind: Word<64>,
    name: Word<NAME_BYTES>,
    id: Word<NAME_BYTES>,
    arguments: StreamHash,
}

/// The calls of one reply.
pub(in crate::llm) struct Calls {
    key: HashKey,
    count: u32,
    calls: Vec<Call>,
    /// The call that is being read, if it is in the list.
    current: Option<usize>,
    object: Object,
    /// Number of the choice that is being read.
    choice: u64,
    /// True once a stream said which call its piece is of.
    is_placed: bool,
    /// Place of the latest call, if it is not in the list.
    beyond: Option<(u64, u64)>,
    compacts: bool,
}

impl Default for Calls {
    fn default() -> Self {
        Self::new(HashKey::default())
    }
}

impl Calls {
    /// Of a reply that was not read yet.
    pub(in crate::llm) fn new(key: HashKey) -> Self {
        Self {
            key,
            count: 0,
            calls: Vec::new(),
            current: None,
            object: Object::new(key),
            choice: 0,
            is_placed: false,
            beyond: None,
            compacts: false,
        }
    }

    /// Of the next of several replies, by the same key.
    pub(in crate::llm) fn next(&self) -> Self {
        Self::new(self.key)
    }

    /// How many there are.
    pub(in crate::llm) const fn count(&self) -> u32 {
        self.count
    }

    /// Hash of names and arguments, in order. The same call that is written another way, as a text or
    /// as an object, has another one.
    pub(in crate::llm) fn signature(&self) -> Option<u64> {
        let mut hash = StreamHash::new(self.key, "calls");
        hash.number(u64::from(self.count));
        for call in &self.calls {
            hash.number(call.name.unwrap_or_default());
            hash.number(call.arguments.finish());
        }
        (self.count > 0).then(|| hash.finish())
    }

    /// Whether the reply has a part that stands for the conversation so far.
    pub(in crate::llm) const fn compacts(&self) -> bool {
        self.compacts
    }

    /// Takes a value of an event of that kind, or of a body.
    pub(in crate::llm) fn value(&mut self, kind: &str, path: &[Key], value: Value<'_>) {
        let path = match path {
            [Key::Item, inner @ ..] => inner,
            [Key::ContentBlockStart | Key::ContentBlockDelta, inner @ ..] => inner,
            _ => path,
        };
        let path = match path {
            [Key::Response, inner @ ..] if inner.first() == Some(&Key::Candidates) => inner,
            // The results of batches.
            [Key::Response, Key::Body, inner @ ..] | [Key::Result, Key::Message, inner @ ..] => {
                inner
            }
            _ => path,
        };
        match path {
            [] if matches!(value, Value::Object) => {
                self.object = Object::new(self.key);
                self.choice = 0;
                self.is_placed = false;
            }
            // OpenAI's responses, and Mistral's and Google's conversations, as a whole.
            [Key::Output | Key::Outputs | Key::Steps, Key::Item, inner @ ..]
            // Anthropic's and Vercel's messages.
            | [Key::Content, Key::Item, inner @ ..]
            // Events of a stream that begin a call.
            | [Key::ContentBlock | Key::Step, inner @ ..] => self.typed(inner, value),
            // OpenAI repeats there what its deltas said.
            [Key::OutputItem, inner @ ..] if kind == "response.output_item.done" => {
                self.typed(inner, value);
            }
            [
                Key::Candidates,
                Key::Item,
                Key::Content,
                Key::Parts,
                Key::Item,
                Key::FunctionCall,
                inner @ ..,
            ]
            | [Key::LiveToolCall, Key::FunctionCalls, Key::Item, inner @ ..]
            | [Key::Output, Key::Message, Key::Content, Key::Item, Key::ToolUse, inner @ ..]
            | [Key::Start, Key::ToolUse, inner @ ..]
            | [Key::Choices, Key::Item, Key::Message, Key::ToolCalls, Key::Item, inner @ ..]
            | [Key::Choices, Key::Item, Key::Message, Key::FunctionCall, inner @ ..]
            | [Key::Message, Key::ToolCalls, Key::Item, inner @ ..]
            // Cohere's first version.
            | [Key::ToolCalls, Key::Item, inner @ ..] => {
                if self.object(inner, value) {
                    self.end_object();
                }
            }
            [Key::Choices, Key::Item, Key::Index] => {
                if let Value::Number(number) = value {
                    self.choice = number.parse().unwrap_or_default();
                }
            }
            [Key::Choices, Key::Item, Key::Delta, Key::ToolCalls, Key::Item, inner @ ..] => {
                self.piece(inner, value);
            }
            [Key::Choices, Key::Item, Key::Delta, Key::FunctionCall, inner @ ..] => match inner {
                [Key::Name] => self.named(value),
                _ => self.arguments(inner, value),
            },
            [Key::Delta, Key::Message, Key::ToolCalls, inner @ ..] => match inner {
                [Key::Function, Key::Name] => self.named(value),
                [Key::Function, inner @ ..] => self.arguments(inner, value),
                _ => {}
            },
            [Key::Delta, Key::ToolUse, inner @ ..] => self.arguments(inner, value),
            [Key::Delta, inner @ ..]
                if matches!(inner, [Key::PartialJson | Key::Arguments]) =>
            {
                self.arguments(inner, value);
            }
            _ => self.flat(kind, path, value),
        }
    }

    /// Takes a value of an event that is a call by itself, or a piece of one.
    fn flat(&mut self, kind: &str, path: &[Key], value: Value<'_>) {
        match (kind, path) {
            ("tool-call", _) => self.object.value(path, value),
            ("function.call.delta", [Key::ToolCallId]) => {
                self.object.id.last(value);
                if matches!(value, Value::End) {
                    self.identify();
                }
            }
            ("function.call.delta", [Key::Name]) => self.object.name.last(value),
            ("function.call.delta", [Key::Arguments]) => self.arguments(path, value),
            _ => {}
        }
    }

    /// Ends an event of that kind, or a body.
    pub(in crate::llm) fn end_event(&mut self, kind: &str) {
        match kind {
            "tool-call" => self.end_object(),
            // The name may stand before the id that says which call it is of.
            "function.call.delta" => {
                let name = self.hash_of(self.object.name.as_str());
                if let Some(call) = self.current() {
                    call.name.get_or_insert(name);
                }
            }
            _ => {}
        }
    }

    /// Takes a value of an object that is a call if its type says so.
    fn typed(&mut self, inner: &[Key], value: Value<'_>) {
        if !self.object(inner, value) {
            return;
        }
        let kind = self.object.kind.as_str();
        self.compacts |= matches!(kind, "compaction" | "compaction_summary");
        if is_call(kind) {
            self.end_object();
        } else {
            self.current = None;
        }
    }

    /// Takes a value of an object that may be a call; says if it is over.
    fn object(&mut self, inner: &[Key], value: Value<'_>) -> bool {
        if inner.is_empty() && matches!(value, Value::Object) {
            self.object = Object::new(self.key);
        }
        self.object.value(inner, value);
        inner.is_empty() && matches!(value, Value::Close)
    }

    /// Makes a call of the object that was read. What comes next may go on with it.
    fn end_object(&mut self) {
        let object = std::mem::replace(&mut self.object, Object::new(self.key));
        let name = match object.name.as_str() {
            // Tools that the provider defines have a type, and no name.
            "" => object.kind.as_str(),
            name => name,
        };
        let name = Some(self.hash_of(name));
        self.begin(Call {
            place: None,
            id: None,
            name,
            arguments: object.arguments,
        });
    }

    fn begin(&mut self, call: Call) {
        self.count = self.count.saturating_add(1);
        self.current = (self.calls.len() < MOST).then_some(self.calls.len());
        if self.current.is_some() {
            self.calls.push(call);
        } else {
            self.beyond = call.place;
        }
    }

    fn begin_empty(&mut self, place: Option<(u64, u64)>) {
        let arguments = StreamHash::new(self.key, "arguments");
        self.begin(Call {
            place,
            id: None,
            name: None,
            arguments,
        });
    }

    fn current(&mut self) -> Option<&mut Call> {
        self.calls.get_mut(self.current?)
    }

    fn hash_of(&self, text: &str) -> u64 {
        let mut hash = StreamHash::new(self.key, "name");
        hash.text(text);
        hash.finish()
    }

    /// Takes a value of a piece of a call, which says by a number or an id which one that is.
    fn piece(&mut self, inner: &[Key], value: Value<'_>) {
        match (inner, value) {
            ([], Value::Object) => {
                self.object = Object::new(self.key);
                self.is_placed = false;
            }
            ([Key::Index], Value::Number(number)) => {
                let place = Some((self.choice, number.parse().unwrap_or_default()));
                let known = self.calls.iter().rposition(|call| call.place == place);
                if known.is_some() || self.beyond == place {
                    self.current = known;
                } else {
                    self.begin_empty(place);
                }
                self.is_placed = true;
            }
            ([Key::Id], _) => {
                self.object.id.last(value);
                if matches!(value, Value::End) {
                    self.identify();
                }
            }
            ([_, Key::Name], _) => self.name_of_piece(value),
            ([_, inner @ ..], _) => self.arguments(inner, value),
            _ => {}
        }
    }

    /// Takes the id of a piece, which some providers send once, and others with every piece.
    fn identify(&mut self) {
        let id = self.object.id.as_str();
        if id.is_empty() {
            return;
        }
        let id = Some(self.hash_of(id));
        let is_placed = std::mem::replace(&mut self.is_placed, true);
        let place = self.current().and_then(|call| call.place);
        let known = self.current().and_then(|call| call.id);
        if known == id {
            return;
        }
        if !is_placed || known.is_some() {
            self.begin_empty(place);
        }
        if let Some(call) = self.current() {
            call.id = id;
        }
    }

    /// Takes the name in a piece.
    fn name_of_piece(&mut self, value: Value<'_>) {
        self.object.name.last(value);
        let name = self.object.name.as_str();
        if !matches!(value, Value::End) || name.is_empty() {
            return;
        }
        let name = self.hash_of(name);
        if !std::mem::replace(&mut self.is_placed, true) {
            self.begin_empty(None);
        }
        if let Some(call) = self.current() {
            call.name.get_or_insert(name);
        }
    }

    /// Takes the name of a call that begins with it.
    fn named(&mut self, value: Value<'_>) {
        self.object.name.last(value);
        let name = self.object.name.as_str();
        if matches!(value, Value::End) && !name.is_empty() {
            let name = Some(self.hash_of(name));
            self.begin_empty(None);
            if let Some(call) = self.current() {
                call.name = name;
            }
        }
    }

    /// Takes a value of the arguments of the call that is being read.
    fn arguments(&mut self, inner: &[Key], value: Value<'_>) {
        let is_argument = matches!(inner, [Key::Arguments | Key::Input | Key::PartialJson, ..]);
        if let Some(call) = self.current().filter(|_| is_argument) {
            take(&mut call.arguments, inner, value);
        }
    }
}

impl Object {
    fn new(key: HashKey) -> Self {
        Self {
            kind: Word::default(),
            name: Word::default(),
            id: Word::default(),
            arguments: StreamHash::new(key, "arguments"),
        }
    }

    /// Takes a value inside it.
    fn value(&mut self, inner: &[Key], value: Value<'_>) {
        match inner {
            [Key::Type] => self.kind.last(value),
            [
                Key::Action | Key::Args | Key::Arguments | Key::Input | Key::Parameters,
                ..,
            ] => {
                take(&mut self.arguments, inner, value);
            }
            [Key::Name | Key::ToolName] | [Key::Function, Key::Name] => self.name.last(value),
            [Key::Function, inner @ ..] if inner.first() == Some(&Key::Arguments) => {
                take(&mut self.arguments, inner, value);
            }
            _ => {}
        }
    }
}

/// Takes a value of arguments: an object, or a text that is one.
fn take(hash: &mut StreamHash, inner: &[Key], value: Value<'_>) {
    match value {
        // The name of the member itself is none of an argument.
        Value::Name(_) if inner.len() == 1 => {}
        Value::Name(text) | Value::Number(text) => hash.text(text),
        Value::Piece(piece) => hash.push(piece.as_bytes()),
        // A text by itself goes on in the next piece, if there is one.
        Value::End if inner.len() > 1 => hash.end_text(),
        Value::Bool(true) => hash.text("true"),
        Value::Bool(false) => hash.text("false"),
        Value::Null if inner.len() > 1 => hash.text("null"),
        Value::Object | Value::Array | Value::Close | Value::Begin | Value::End | Value::Null => {}
    }
}

/// Whether a type is that of a call which the client is to run.
fn is_call(kind: &str) -> bool {
    matches!(
        kind,
        "apply_patch_call"
            | "computer_call"
            | "custom_tool_call"
            | "function.call"
            | "function_call"
            | "local_shell_call"
            | "shell_call"
            | "tool-call"
            | "tool_use"
    )
}
