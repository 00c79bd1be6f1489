//! What a session over a WebSocket says once for all of its responses: the tools that it offers, and
//! what its conversation ends with. Few of those responses have a request of their own.
//!
//! OpenAI's server tells the settings of the session and each item of its conversation; a request
//! of the client may say otherwise for one response. Of Gemini's the client's messages tell all of it.
//! What was lost may have said anything, so that what it may have changed is unknown from then on.

use super::Word;
use super::structure::Structure;
use crate::llm::hash::HashKey;
use crate::llm::json::{Key, Scanner, Value};
use crate::llm::{Endpoint, LastItem, Signals};

/// What holds for the responses of one session.
pub(in crate::llm) struct Standing {
    endpoint: Endpoint,
    key: HashKey,
    /// The client's message that is being read; `None` once it is known to say nothing.
    reading: Option<Message>,
    /// What the session's settings say, where they are known.
    settings: Option<Signals>,
    /// What the client asked for the next response with, beside them.
    asked: Option<Signals>,
    /// True if that may be among what was lost.
    is_asked_lost: bool,
    /// What the conversation ends with.
    last: Option<LastItem>,
}

/// A message of either side.
struct Message {
    json: Scanner,
    endpoint: Endpoint,
    kind: Word<64>,
    model: Word<256>,
    structure: Structure,
    has_settings: bool,
    has_input: bool,
    has_results: bool,
}

impl Message {
    fn new(endpoint: Endpoint, key: HashKey) -> Self {
        Self {
            json: Scanner::default(),
            endpoint,
            kind: Word::default(),
            model: Word::default(),
            structure: Structure::new(endpoint, key),
            has_settings: false,
            has_input: false,
            has_results: false,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let mut json = std::mem::take(&mut self.json);
        json.push(bytes, &mut |path, value| self.value(path, value));
        self.json = json;
    }

    fn value(&mut self, path: &[Key], value: Value<'_>) {
        match path {
            [Key::Type] => self.kind.last(value),
            [Key::Setup] => self.has_settings |= matches!(value, Value::Object),
            [Key::RealtimeInput] => self.has_input |= matches!(value, Value::Object),
            [Key::LiveToolResponse] => self.has_results |= matches!(value, Value::Object),
            [Key::Setup, Key::Model] => self.model.last(value),
            [Key::OutputItem, inner @ ..] if self.endpoint == Endpoint::OpenAiRealtime => {
                self.structure.item(inner, value);
            }
            [Key::ClientContent, inner @ ..]
            | [Key::Setup | Key::Session | Key::Response, inner @ ..] => {
                self.structure.value(inner, value);
            }
            _ => {}
        }
    }

    /// Whether it is one of OpenAI's client that says nothing here, as most are: they are sound.
    fn is_beside(&self) -> bool {
        let kind = self.kind.as_str();
        !kind.is_empty() && kind != "response.create"
    }
}

impl Standing {
    /// Of a session that begins; `None` if each of its responses has a request.
    pub(in crate::llm) fn of(endpoint: Endpoint, key: HashKey) -> Option<Self> {
        let is_session = matches!(endpoint, Endpoint::OpenAiRealtime | Endpoint::GeminiLive);
        is_session.then(|| Self {
            endpoint,
            key,
            reading: Some(Message::new(endpoint, key)),
            settings: None,
            asked: None,
            is_asked_lost: false,
            last: None,
        })
    }

    /// Takes bytes of a message of the client.
    pub(in crate::llm) fn client(&mut self, bytes: &[u8]) {
        let is_live = self.is_live();
        if let Some(message) = &mut self.reading {
            // Sound and pictures are long, and nothing in them matters here.
            if message.has_input {
                return;
            }
            message.push(bytes);
            if !is_live && message.is_beside() {
                self.reading = None;
            }
        }
    }

    /// Ends it; the model that it names, if any.
    pub(in crate::llm) fn end_client(&mut self, is_seen: bool) -> Option<String> {
        let next = Message::new(self.endpoint, self.key);
        let message = self.reading.replace(next);
        if !is_seen {
            self.lose_client();
        }
        let message = message?;
        let model = message.model.as_str().rsplit('/').next();
        let model = model.filter(|name| !name.is_empty()).map(str::to_owned);
        if is_seen && message.has_input {
            // A microphone is on all the time.
            self.last.get_or_insert(LastItem::User);
        }
        if !is_seen || message.has_input || !message.json.is_whole() {
            return model;
        }
        let signals = message.structure.signals(self.is_live(), true);
        if !self.is_live() {
            if message.kind.as_str() == "response.create" {
                self.asked = Some(Signals {
                    last_item: message.structure.last_item(),
                    ..signals
                });
            }
        } else if message.has_settings {
            self.settings = Some(signals);
        } else if message.has_results {
            self.last = Some(LastItem::ToolResult);
        } else {
            self.last = message.structure.last_item().or(self.last);
        }
        model
    }

    /// Messages of the client are missing.
    pub(in crate::llm) const fn lose_client(&mut self) {
        self.is_asked_lost = true;
        if self.is_live() {
            self.last = None;
        }
    }

    /// Takes an event of the server, of that kind.
    pub(in crate::llm) fn server(&mut self, kind: &str, event: &[u8]) {
        let is_item = matches!(
            kind,
            "conversation.item.added" | "conversation.item.created"
        );
        let is_session = matches!(kind, "session.created" | "session.updated");
        if self.is_live() || !(is_item || is_session) {
            return;
        }
        let mut message = Message::new(self.endpoint, self.key);
        message.push(event);
        if !message.json.is_whole() {
            self.lose_server();
        } else if is_session {
            self.settings = Some(message.structure.signals(false, true));
        } else {
            let item = message.structure.last_item();
            // Instructions behind the words of a user do not change whose turn it is.
            if item != Some(LastItem::System) || self.last.is_none() {
                self.last = item;
            }
        }
    }

    /// Events of the server are missing.
    pub(in crate::llm) fn lose_server(&mut self) {
        if !self.is_live() {
            self.settings = None;
            self.last = None;
        }
    }

    /// What is known of the request for the response that begins here.
    pub(in crate::llm) fn begin(&mut self) -> Signals {
        let asked = self.asked.take();
        let is_lost = std::mem::take(&mut self.is_asked_lost);
        // A request that is lost may have asked for it otherwise; Gemini has none.
        let settings = self.settings.clone().filter(|_| self.is_live() || !is_lost);
        let mut signals = Signals {
            last_item: self.last,
            ..settings.unwrap_or_default()
        };
        if self.is_live() {
            // What is said next is another turn.
            self.last = None;
        }
        if let Some(asked) = asked {
            if asked.tools_offered.is_some() {
                signals.tools_offered = asked.tools_offered;
                signals.families = asked.families;
            }
            signals.forces_tool |= asked.forces_tool;
            signals.max_output_tokens = asked.max_output_tokens.or(signals.max_output_tokens);
            signals.last_item = asked.last_item.or(signals.last_item);
        }
        signals
    }

    /// Whether it is one of Gemini's, whose client says all at once: tools that it does not tell are
    /// none.
    const fn is_live(&self) -> bool {
        matches!(self.endpoint, Endpoint::GeminiLive)
    }
}
