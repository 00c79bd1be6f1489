//! What is known of a WebSocket that carries calls: which are asked for, which are being answered.

use std::collections::VecDeque;

use crate::http::ExchangeId;
use crate::llm::call::OpenCall;
use crate::llm::caller::Caller;
use crate::llm::hash::HashKey;
use crate::llm::json::{Key, Scanner, Value};
use crate::llm::provider::{Api, Standing, TRANSCRIBED, Word};
use crate::llm::quota::TOLD;

/// LIMIT: 1 MiB of one event, as of an event of a stream; a larger one is missing like lost bytes.
const EVENT_BYTES: usize = crate::http::sse::EVENT_BYTES;

/// LIMIT: 32 requests of one connection that wait for their response, and as many responses at
/// once. Lanes may run in parallel; beyond, the oldest is given up.
pub(super) const TURNS: usize = 32;

/// LIMIT: 64 responses that ended are remembered, so that nothing that comes late of one begins it
/// again, and that a response which goes on in another one is known.
const ENDED: usize = 64;

/// LIMIT: an event is looked through in steps of 64 bytes until it says where it belongs, which it
/// does in its first members; the rest is read once.
const LOOK_BYTES: usize = 64;

/// A request that waits for its response.
pub(super) struct Waiting {
    pub(super) call: ExchangeId,
    pub(super) lane: String,
    /// Whether its response may have been among events that were lost.
    pub(super) is_uncertain: bool,
}

/// A response that is being read.
pub(super) struct Open {
    pub(super) call: ExchangeId,
    pub(super) lane: String,
    /// Its id; empty as long as no event named it.
    pub(super) response: String,
    /// Whether events of it may be lost.
    pub(super) has_gap: bool,
    /// An error with this status came while it was read, and nothing of it since.
    pub(super) failed: Option<Option<u16>>,
}

/// A response that ended.
pub(super) struct Past {
    pub(super) lane: String,
    pub(super) response: String,
    pub(super) model: String,
    pub(super) session: String,
}

/// One WebSocket.
pub(super) struct Socket {
    pub(super) api: &'static Api,
    pub(super) caller: Caller,
    /// Number of the next call.
    pub(super) next: u64,
    /// The client's message that is being read, as the call that it may ask for.
    pub(super) asking: Option<OpenCall>,
    /// The server's event that is being read; `None` once it is over the limit.
    event: Option<Vec<u8>>,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) open: Vec<Open>,
    ended: VecDeque<Past>,
    /// Model of the session, and the one that transcribes what a user says.
    pub(super) model: Option<String>,
    pub(super) transcriber: Option<String>,
    /// What holds for all of its responses, where they have no requests.
    pub(super) standing: Option<Standing>,
    /// Whether the last message of each side could not be read.
    pub(super) is_client_lost: bool,
    pub(super) is_server_lost: bool,
    /// Whether a request may be among the client's messages that could not be read.
    pub(super) is_request_lost: bool,
    /// Whether any lane was named.
    pub(super) has_lanes: bool,
    /// Whether the begin of a response may be among events that were lost since the last one ended.
    pub(super) is_begin_lost: bool,
}

impl Socket {
    pub(super) fn new(api: &'static Api, caller: Caller, next: u64, key: HashKey) -> Self {
        Self {
            standing: Standing::of(api.endpoint, key),
            api,
            caller,
            next,
            asking: None,
            event: Some(Vec::new()),
            waiting: VecDeque::new(),
            open: Vec::new(),
            ended: VecDeque::new(),
            model: None,
            transcriber: None,
            is_client_lost: false,
            is_server_lost: false,
            is_request_lost: false,
            has_lanes: false,
            is_begin_lost: false,
        }
    }

    /// Bytes held back: an event that is not complete, and the text of a request that is not.
    pub(super) fn held_bytes(&self) -> usize {
        let event = self.event.as_ref().map_or(0, Vec::len);
        event + self.asking.as_ref().map_or(0, OpenCall::held_bytes)
    }

    /// Takes bytes of a client's message that asks for nothing.
    pub(super) fn set_up(&mut self, bytes: &[u8]) {
        if let Some(standing) = &mut self.standing {
            standing.client(bytes);
        }
    }

    /// Ends it.
    pub(super) fn end_set_up(&mut self, is_whole: bool) {
        let model = self
            .standing
            .as_mut()
            .and_then(|standing| standing.end_client(is_whole));
        if model.is_some() {
            self.caller = self.caller.clone().with_model(model);
        }
    }

    /// Takes bytes of an event.
    pub(super) fn gather(&mut self, bytes: &[u8]) {
        if let Some(event) = &mut self.event {
            if event.len() + bytes.len() > EVENT_BYTES {
                self.event = None;
            } else {
                event.extend_from_slice(bytes);
            }
        }
    }

    /// Gives the event up.
    pub(super) fn drop_event(&mut self) {
        self.event = None;
    }

    /// The event, if it is over and was not given up.
    pub(super) fn take_event(&mut self) -> Option<Vec<u8>> {
        self.event.replace(Vec::new())
    }

    /// Events are missing here: what is being read, and what is waited for, may be among them.
    pub(super) fn lose_events(&mut self) {
        self.is_server_lost = true;
        self.is_begin_lost = true;
        if let Some(standing) = &mut self.standing {
            standing.lose_server();
        }
        for waiting in &mut self.waiting {
            waiting.is_uncertain = true;
        }
        for open in &mut self.open {
            open.has_gap = true;
        }
    }

    /// Reads the envelope of an event, and what it says of the session.
    pub(super) fn envelope(&mut self, event: &[u8]) -> Envelope {
        let is_in_order = self.api.create.is_some() && !self.has_lanes;
        let envelope = Envelope::of(event, is_in_order);
        self.has_lanes |= !envelope.lane.as_str().is_empty();
        self.model = envelope.model.some().or_else(|| self.model.take());
        self.transcriber = envelope
            .transcriber
            .some()
            .or_else(|| self.transcriber.take());
        if let Some(standing) = &mut self.standing {
            standing.server(envelope.kind.as_str(), event);
        }
        envelope
    }

    /// Remembers a response that ended.
    pub(super) fn remember(&mut self, past: Past) {
        self.is_begin_lost = false;
        if self.ended.len() >= ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back(past);
    }

    /// Whether a request of that lane waits.
    pub(super) fn is_waiting(&self, lane: &str) -> bool {
        self.waiting.iter().any(|waiting| waiting.lane == lane)
    }

    /// Whether that response has ended.
    pub(super) fn has_ended(&self, response: &str) -> bool {
        self.ended.iter().any(|past| past.response == response)
    }

    /// The response of a lane that ended last.
    pub(super) fn last_of(&self, lane: &str) -> Option<&Past> {
        self.ended.iter().rev().find(|past| past.lane == lane)
    }

    /// The response that an event belongs to, if it is being read.
    pub(super) fn place(&self, envelope: &Envelope) -> Option<usize> {
        let lane = envelope.lane.as_str();
        let of_lane = |open: &Open| open.lane == lane;
        match envelope.response.as_str() {
            "" => self.open.iter().rposition(of_lane),
            id => self
                .open
                .iter()
                .position(|open| open.response == id)
                .or_else(|| {
                    let is_unnamed = |open: &Open| open.response.is_empty();
                    self.open
                        .iter()
                        .position(|open| of_lane(open) && is_unnamed(open))
                }),
        }
    }
}

/// What an event says first: what it is, and where it belongs.
#[derive(Default)]
pub(super) struct Envelope {
    kind: Word<64>,
    /// Id of the response, or of the item that was transcribed.
    pub(super) response: Word<256>,
    pub(super) lane: Word<128>,
    /// Status of an error.
    pub(super) status: Option<u16>,
    model: Word<256>,
    transcriber: Word<256>,
    /// Whether it counts tokens, or seconds, outside of a response.
    has_usage: bool,
    /// Whether it is a part of what the model says, where no type tells.
    is_said: bool,
    /// Whether it says more of that.
    is_about: bool,
}

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first of a response.
    Created,
    /// A later one of a response.
    Response,
    /// One of a response that is being read, if one is.
    Later,
    /// A transcription, which is a call by itself.
    Transcription,
    /// An error.
    Error,
    /// Limits of the account.
    Limits,
    /// Of something else: the session, what a user says.
    Other,
}

impl Envelope {
    /// Reads as much of an event as tells where it belongs. Where responses come one after the other
    /// a piece of text belongs to the one that is being read.
    fn of(event: &[u8], is_in_order: bool) -> Self {
        let mut envelope = Self::default();
        let mut scanner = Scanner::default();
        for step in event.chunks(LOOK_BYTES) {
            scanner.push(step, &mut |path, value| envelope.value(path, value));
            let is_piece = is_in_order && envelope.kind.as_str().ends_with(".delta");
            if is_piece || envelope.is_enough() {
                break;
            }
        }
        envelope
    }

    /// What it is.
    pub(super) fn kind(&self) -> Kind {
        match self.kind.as_str() {
            "response.created" => Kind::Created,
            TRANSCRIBED if self.has_usage => Kind::Transcription,
            "error" => Kind::Error,
            TOLD => Kind::Limits,
            kind if kind.starts_with("response.steer.") => Kind::Other,
            kind if kind.starts_with("response.inject.") => Kind::Other,
            kind if kind.starts_with("response.") => Kind::Response,
            "" if self.is_said => Kind::Response,
            "" if self.is_about => Kind::Later,
            _ => Kind::Other,
        }
    }

    /// Snapshots of a response repeat all that was asked for, and its id stands before that. The
    /// first one must be known whole: its lane may stand behind.
    fn is_enough(&self) -> bool {
        let is_snapshot = matches!(
            self.kind.as_str(),
            "response.in_progress"
                | "response.completed"
                | "response.incomplete"
                | "response.failed"
                | "response.done"
        );
        self.is_said || is_snapshot && !self.response.as_str().is_empty()
    }

    fn value(&mut self, path: &[Key], value: Value<'_>) {
        match path {
            [Key::Type] => self.kind.last(value),
            [Key::Response, Key::Id] | [Key::ResponseId] => self.response.last(value),
            [Key::ItemId] if self.kind.as_str() == TRANSCRIBED => self.response.last(value),
            [Key::StreamId] => self.lane.last(value),
            [Key::Status] => {
                if let Value::Number(status) = value {
                    let status = status.parse().ok();
                    self.status = status.filter(|status| (400..600).contains(status));
                }
            }
            [Key::Usage, Key::InputTokens | Key::Seconds] => {
                self.has_usage |= matches!(value, Value::Number(_));
            }
            [
                Key::ServerContent,
                Key::ModelTurn | Key::OutputTranscription,
            ]
            | [Key::LiveToolCall] => self.is_said |= matches!(value, Value::Object),
            [Key::ServerContent | Key::UsageMetadata] => {
                self.is_about |= matches!(value, Value::Object);
            }
            [Key::Session, Key::Model] => self.model.last(value),
            [Key::Session, Key::InputAudioTranscription, Key::Model]
            | [
                Key::Session,
                Key::Audio,
                Key::Input,
                Key::Transcription,
                Key::Model,
            ] => self.transcriber.last(value),
            _ => {}
        }
    }
}
