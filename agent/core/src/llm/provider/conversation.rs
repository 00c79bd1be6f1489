//! The conversation of a request, item by item: what each item is, and keyed hashes of what the
//! conversation begins with.
//!
//! A client sends the same conversation again with every request, and adds to it. What it changes of
//! what it sent before is left out of the hashes: marks of what is to be cached, ids, signatures,
//! reasoning, which some clients drop, and the line that Claude Code puts before its instructions.
//! A text by itself and a list of one text are the same, since Claude Code writes a message either way.

use super::Word;
use crate::llm::hash::{HashKey, StreamHash};
use crate::llm::json::{Key, Value};
use crate::llm::{LastItem, Prefix};

/// What an item is known by: one of these, and perhaps a reply's own reasoning, which is no item.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Item(LastItem),
    Reasoning,
    Unknown,
}

/// The item that is being read.
#[derive(Default)]
struct Item {
    role: Word<16>,
    kind: Word<64>,
    /// Type of the part that is being read.
    part: Word<64>,
    has_result: bool,
}

impl Item {
    /// What it is. Roles decide, and the types of items that have none.
    fn sort(&self) -> Sort {
        let kind = self.kind.as_str();
        let role = self.role.as_str();
        let is_role = |words: &[&str]| words.iter().any(|word| role.eq_ignore_ascii_case(word));
        let item = if is_role(&["system", "developer"]) || kind == "additional_tools" {
            LastItem::System
        } else if is_role(&["tool", "function"]) || self.has_result || is_result(kind) {
            LastItem::ToolResult
        } else if is_role(&["assistant", "model", "chatbot"]) {
            LastItem::Assistant
        } else if matches!(kind, "reasoning" | "thought") {
            return Sort::Reasoning;
        } else if is_role(&["user"]) || is_words(kind) {
            LastItem::User
        } else if is_output(kind) {
            LastItem::Assistant
        } else {
            return Sort::Unknown;
        };
        Sort::Item(item)
    }
}

/// Whether a type is that of what a tool gave back.
fn is_result(kind: &str) -> bool {
    kind.ends_with("_output") && kind != "model_output"
        || matches!(
            kind,
            "function.result" | "function_result" | "tool-result" | "tool_result"
        )
}

/// Whether a type is that of words: of a user, where no role says otherwise.
fn is_words(kind: &str) -> bool {
    matches!(
        kind,
        "" | "input_file"
            | "input_image"
            | "input_text"
            | "message"
            | "message.input"
            | "text"
            | "user_input"
    )
}

/// Whether a type is that of something that the model gave.
fn is_output(kind: &str) -> bool {
    kind.ends_with("_call")
        || matches!(
            kind,
            "function.call" | "message.output" | "model_output" | "tool.execution"
        )
}

/// Whether the values below are a tool's arguments or results, whatever their names.
const fn is_free(key: Key) -> bool {
    matches!(
        key,
        Key::Args
            | Key::Arguments
            | Key::Input
            | Key::Json
            | Key::Output
            | Key::Outputs
            | Key::Parameters
            | Key::Response
            | Key::Result
    )
}

/// Whether a member changes from request to request, or is not sent every time.
const fn is_fleeting(key: Key) -> bool {
    matches!(
        key,
        Key::CacheControl
            | Key::CallId
            | Key::ClientMetadata
            | Key::EncryptedContent
            | Key::Id
            | Key::Metadata
            | Key::ProviderMetadata
            | Key::ProviderOptions
            | Key::Reasoning
            | Key::ReasoningContent
            | Key::Signature
            | Key::Status
            | Key::Summary
            | Key::Thinking
            | Key::ToolCallId
            | Key::ToolUseId
    )
}

/// Whether a string there is content.
const fn is_content(key: Key) -> bool {
    matches!(
        key,
        Key::Args
            | Key::Arguments
            | Key::Bytes
            | Key::Code
            | Key::Content
            | Key::Data
            | Key::FileData
            | Key::FileId
            | Key::FileUri
            | Key::Input
            | Key::Item
            | Key::Images
            | Key::ImageUrl
            | Key::Message
            | Key::Name
            | Key::Output
            | Key::Parts
            | Key::Refusal
            | Key::Response
            | Key::Result
            | Key::Text
            | Key::ToolName
            | Key::Url
    )
}

/// Begins the line that Claude Code puts before its instructions, which is another one every time.
const BILLING: &str = "x-anthropic-billing-header:";

/// Where the reader of a text of instructions stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// So many of its bytes are as that line begins.
    Begun(usize),
    /// In that line.
    Billing,
    /// In what is to be hashed.
    Plain,
}

/// Items one after the other.
#[derive(Clone, Copy)]
struct Chain {
    hash: StreamHash,
    items: usize,
    /// Hash behind the first item of a user.
    first: Option<u64>,
    /// Hashes behind the latest items, item `i` at `i` modulo its length.
    latest: [u64; Prefix::EARLIER + 1],
}

impl Chain {
    fn push(&mut self, item: Option<LastItem>, hash: u64) {
        let tag = match item {
            None => "?",
            Some(LastItem::User) => "user",
            Some(LastItem::ToolResult) => "result",
            Some(LastItem::Assistant) => "assistant",
            Some(LastItem::System) => "system",
        };
        self.hash.text(tag);
        self.hash.number(hash);
        let hash = self.hash.finish();
        if item == Some(LastItem::User) {
            self.first.get_or_insert(hash);
        }
        if let Some(place) = self.latest.get_mut(self.items % (Prefix::EARLIER + 1)) {
            *place = hash;
        }
        self.items = self.items.saturating_add(1);
    }
}

/// One conversation.
pub(super) struct Conversation {
    key: HashKey,
    item: Item,
    /// Hash of the item that is being read.
    item_hash: StreamHash,
    instructions: StreamHash,
    line: Line,
    billing: Word<512>,
    is_subagent: bool,
    chain: Chain,
    /// Hashes of the message and of the results of tools that go behind all items, wherever they stand.
    message: Option<u64>,
    results: Option<u64>,
    last: Option<LastItem>,
    assistant_items: u32,
    is_over: bool,
}

impl Conversation {
    pub(super) fn new(key: HashKey) -> Self {
        Self {
            key,
            item: Item::default(),
            item_hash: StreamHash::new(key, "item"),
            instructions: StreamHash::new(key, "instructions"),
            line: Line::Plain,
            billing: Word::default(),
            is_subagent: false,
            chain: Chain {
                hash: StreamHash::new(key, "chain"),
                items: 0,
                first: None,
                latest: [0; Prefix::EARLIER + 1],
            },
            message: None,
            results: None,
            last: None,
            assistant_items: 0,
            is_over: false,
        }
    }

    /// Takes a value of the items, or of the text in place of them.
    pub(super) fn items(&mut self, inner: &[Key], value: Value<'_>) {
        match (inner, value) {
            ([], Value::Array) => self.is_over = false,
            ([], Value::Close) => self.is_over = true,
            ([] | [Key::Item], Value::Begin) | ([Key::Item], Value::Object) => self.begin_item(),
            ([] | [Key::Item], Value::Piece(piece)) => self.item_hash.push(piece.as_bytes()),
            ([] | [Key::Item], Value::End) => {
                self.item_hash.end_text();
                self.end_item();
                self.is_over |= inner.is_empty();
            }
            ([Key::Item], Value::Close) => self.end_item(),
            ([Key::Item, Key::Role], _) => self.item.role.last(value),
            ([Key::Item, Key::Type], _) => self.item.kind.last(value),
            ([Key::Item, inner @ ..], _) if !inner.is_empty() => self.content(inner, value),
            _ => {}
        }
    }

    /// Takes a value of the instructions that stand beside the items.
    pub(super) fn instructions(&mut self, inner: &[Key], value: Value<'_>) {
        if !matches!(
            inner,
            [] | [.., Key::Text | Key::Item | Key::Content | Key::Parts]
        ) {
            return;
        }
        match value {
            Value::Begin => {
                self.line = Line::Begun(0);
                self.billing = Word::default();
                self.billing.last(Value::Begin);
            }
            Value::Piece(piece) => self.instruction(piece),
            Value::End => {
                if let Line::Begun(bytes) = self.line {
                    self.plain(BILLING.get(..bytes).unwrap_or_default());
                }
                self.end_billing();
                self.instructions.end_text();
                self.line = Line::Plain;
            }
            Value::Object
            | Value::Array
            | Value::Close
            | Value::Name(_)
            | Value::Number(_)
            | Value::Bool(_)
            | Value::Null => {}
        }
    }

    fn plain(&mut self, text: &str) {
        self.line = Line::Plain;
        self.instructions.push(text.as_bytes());
    }

    fn instruction(&mut self, piece: &str) {
        let mut rest = piece;
        while let Line::Begun(bytes) = self.line {
            let Some(first) = rest.chars().next() else {
                return;
            };
            let awaited = BILLING.get(bytes..).unwrap_or_default();
            if awaited.is_empty() {
                self.line = Line::Billing;
            } else if awaited.starts_with(first) {
                self.line = Line::Begun(bytes + first.len_utf8());
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
            } else {
                self.plain(BILLING.get(..bytes).unwrap_or_default());
            }
        }
        if self.line == Line::Billing {
            let Some((line, text)) = rest.split_once('\n') else {
                self.billing.last(Value::Piece(rest));
                return;
            };
            self.billing.last(Value::Piece(line));
            self.end_billing();
            self.line = Line::Plain;
            rest = text;
        }
        self.instructions.push(rest.as_bytes());
    }

    /// Reads the words of that line, which say nothing of the content.
    fn end_billing(&mut self) {
        self.billing.last(Value::End);
        let mut words = self.billing.as_str().split(';');
        self.is_subagent |= words.any(|word| word.trim() == "cc_is_subagent=true");
        self.billing = Word::default();
    }

    fn begin_item(&mut self) {
        self.item = Item::default();
        self.item_hash = StreamHash::new(self.key, "item");
    }

    /// Takes a value inside an item.
    fn content(&mut self, inner: &[Key], value: Value<'_>) {
        let Some((last, above)) = inner.split_last() else {
            return;
        };
        let mut is_free_text = false;
        for key in above {
            is_free_text |= is_free(*key);
            if !is_free_text && is_fleeting(*key) {
                return;
            }
        }
        // Gemini's results are known by their member, the others' by their type.
        let is_result_member = matches!(last, Key::FunctionResponse | Key::ToolResult);
        self.item.has_result |= is_result_member && matches!(value, Value::Object);
        if is_free_text {
            return self.free(value);
        }
        if is_fleeting(*last) {
            return;
        }
        if *last == Key::Type {
            self.item.part.last(value);
            if matches!(value, Value::End) {
                self.end_part_type();
            }
        } else if is_content(*last) {
            match value {
                Value::Piece(piece) => self.item_hash.push(piece.as_bytes()),
                Value::End => self.item_hash.end_text(),
                Value::Object
                | Value::Array
                | Value::Close
                | Value::Begin
                | Value::Name(_)
                | Value::Number(_)
                | Value::Bool(_)
                | Value::Null => {}
            }
        }
    }

    /// Takes a value of a tool's arguments or results.
    fn free(&mut self, value: Value<'_>) {
        match value {
            Value::Name(text) | Value::Number(text) => self.item_hash.text(text),
            Value::Piece(piece) => self.item_hash.push(piece.as_bytes()),
            Value::End => self.item_hash.end_text(),
            Value::Bool(true) => self.item_hash.text("true"),
            Value::Bool(false) => self.item_hash.text("false"),
            Value::Null => self.item_hash.text("null"),
            Value::Object | Value::Array | Value::Close | Value::Begin => {}
        }
    }

    fn end_part_type(&mut self) {
        let kind = self.item.part.as_str();
        self.item.has_result |= is_result(kind);
        let is_plain = matches!(
            kind,
            "text" | "input_text" | "output_text" | "thinking" | "redacted_thinking" | "reasoning"
        );
        if !is_plain {
            self.item_hash.text(kind);
        }
    }

    fn end_item(&mut self) {
        let item = match self.item.sort() {
            Sort::Reasoning => return,
            Sort::Item(item) => Some(item),
            Sort::Unknown => None,
        };
        // Instructions behind the words of a user do not change whose turn it is.
        if item != Some(LastItem::System) || self.chain.items == 0 {
            self.last = item;
        }
        // The type of a message may be left out.
        let kind = self.item.kind.as_str();
        if kind != "message" {
            self.item_hash.text(kind);
        }
        let hash = self.item_hash.finish();
        if item == Some(LastItem::System) && self.chain.items == 0 {
            self.instructions.number(hash);
            return;
        }
        if item == Some(LastItem::Assistant) {
            self.assistant_items = self.assistant_items.saturating_add(1);
        }
        self.chain.push(item, hash);
    }

    /// Takes a value of the message, or of the results of tools, that go behind all items. They have the
    /// hashes of items with the same in them, as which a later request has them.
    pub(super) fn behind(&mut self, root: Key, inner: &[Key], value: Value<'_>) {
        match (root, inner, value) {
            (Key::Message, [], Value::Begin) => {
                self.message = None;
                self.begin_item();
            }
            (Key::Message, [], Value::Piece(piece)) => {
                self.item_hash.push(piece.as_bytes());
                self.message = Some(0);
            }
            (Key::Message, [], Value::End) => {
                self.item_hash.end_text();
                self.item_hash.text("");
                // An empty one says nothing.
                self.message = self.message.map(|_| self.item_hash.finish());
            }
            (Key::ToolResults, [], Value::Array) => {
                self.results = None;
                self.begin_item();
            }
            (Key::ToolResults, [], Value::Close) => {
                self.item_hash.text("");
                self.results = self.results.map(|_| self.item_hash.finish());
            }
            (Key::ToolResults, [_, ..], _) => {
                let path: Vec<Key> = [root].iter().chain(inner).copied().collect();
                self.content(&path, value);
                self.results = Some(0);
            }
            _ => {}
        }
    }

    pub(super) const fn is_subagent(&self) -> bool {
        self.is_subagent
    }

    /// Whether the last of its items was seen.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) const fn last(&self) -> Option<LastItem> {
        match (self.results, self.message) {
            (Some(_), _) => Some(LastItem::ToolResult),
            (None, Some(_)) => Some(LastItem::User),
            (None, None) => self.last,
        }
    }

    pub(super) const fn assistant_items(&self) -> u32 {
        self.assistant_items
    }

    /// Hashes of its beginnings, with those of the tools; `None` without an item.
    pub(super) fn prefix(&self, definitions: u64) -> Option<Prefix> {
        let mut setting = StreamHash::new(self.key, "setting");
        setting.number(self.instructions.finish());
        setting.number(definitions);
        let setting = setting.finish();
        let behind = |chain: u64| {
            let mut hash = StreamHash::new(self.key, "prefix");
            hash.number(setting);
            hash.number(chain);
            hash.finish()
        };
        let mut chain = self.chain;
        if let Some(message) = self.message {
            chain.push(Some(LastItem::User), message);
        }
        if let Some(results) = self.results {
            chain.push(Some(LastItem::ToolResult), results);
        }
        let place = |item: usize| chain.latest.get(item % (Prefix::EARLIER + 1)).copied();
        let last = chain.items.checked_sub(1)?;
        let whole = place(last)?;
        let earliest = last.saturating_sub(Prefix::EARLIER);
        let earlier = (earliest..last).rev().filter_map(place);
        Some(Prefix {
            setting,
            first: behind(chain.first.unwrap_or(whole)),
            whole: behind(whole),
            earlier: earlier.map(behind).collect(),
        })
    }
}
