//! To which line of calls inside a session a call belongs, and of what class it is, as clients say it
//! in header fields and, Codex, in the body. Ids and fixed words only; names that a person chose for
//! an agent, and paths, are read over.

use super::json::{Key, Scanner, Value};
use super::provider::{Request, Word, printable};
use super::recognize;
use super::{Class, SessionHints};
use crate::http::Headers;

/// LIMIT: 64 bytes of what a client calls a kind of agent; the rest is cut.
const AGENT_TYPE_BYTES: usize = 64;

/// LIMIT: 128 bytes of an id; a longer one is none.
const ID_BYTES: usize = 128;

/// What the head of a request says of its place among others.
#[derive(Clone, Default)]
pub(super) struct Lineage {
    session: Option<String>,
    thread: Option<String>,
    parent: Option<String>,
    agent_type: Option<String>,
    class: Option<Class>,
    /// Trace that the request is a part of.
    trace: Option<String>,
}

impl Lineage {
    /// What the head says.
    pub(super) fn of(headers: &Headers) -> Self {
        let id = |name| {
            let id = headers.first(name).filter(is_id);
            id.map(str::to_owned)
        };
        let own = recognize::session_id(headers);
        let mut turn = Turn::default();
        if let Some(metadata) = headers.first("x-codex-turn-metadata") {
            turn.read(metadata);
        }
        if let Some(subagent) = headers.first("x-openai-subagent") {
            turn.subagent.set(subagent);
        }
        let trace = headers.first("traceparent").and_then(trace);
        // A subagent of opencode has a session of its own, in that of the one that began it.
        if let Some(root) = id("x-parent-session-id").filter(|root| Some(root) != own.as_ref()) {
            return Self {
                session: Some(root),
                thread: own,
                class: Some(Class::Subagent),
                trace,
                ..Self::default()
            };
        }
        let thread = id("x-claude-code-agent-id")
            .or_else(|| id("thread-id").filter(|_| recognize::is_codex(headers)))
            .or_else(|| turn.thread());
        let parent = id("x-claude-code-parent-agent-id")
            .or_else(|| id("x-codex-parent-thread-id"))
            .or_else(|| turn.parent());
        let agent_type = headers
            .first("x-claude-code-agent-type")
            .and_then(|kind| printable(kind, AGENT_TYPE_BYTES))
            .or_else(|| turn.agent_type());
        Self {
            session: own,
            thread,
            parent,
            agent_type,
            class: class(headers).or_else(|| turn.class()),
            trace,
        }
    }

    /// The same with what the body says, which over a WebSocket is another one for every call.
    pub(super) fn with(self, request: &Request) -> (SessionHints, Option<Class>) {
        let turn = &request.turn;
        let body_id = request.session_id().or_else(|| turn.session());
        let session = self.session.as_ref().or(body_id.as_ref());
        // The main line has the id of the session, or none.
        let beside = |id: &String| Some(id) != session;
        let thread = turn.thread().filter(beside).or(self.thread);
        let thread = thread.filter(beside);
        let parent = turn.parent().or(self.parent).filter(beside);
        let hints = SessionHints {
            previous_response_id: request.previous.some(),
            former: None,
            parent_thread: parent.filter(|parent| Some(parent) != thread.as_ref()),
            agent_type: turn.agent_type().or(self.agent_type),
            thread,
            client_header: self.session,
            body_id,
            trace_id: self.trace,
        };
        let is_subagent = request.is_subagent();
        let class = turn.class().or(self.class);
        let class = class.or_else(|| is_subagent.then_some(Class::Subagent));
        (hints, class)
    }
}

/// The class that the head says.
fn class(headers: &Headers) -> Option<Class> {
    let has = |name| {
        headers
            .first(name)
            .is_some_and(|value| !value.trim().is_empty())
    };
    if has("x-claude-code-compaction") {
        return Some(Class::Compaction);
    }
    let class = headers
        .first("x-claude-code-request-class")
        .unwrap_or_default();
    let class = match class.trim() {
        "main" => Some(Class::Main),
        "subagent" | "workflow" => Some(Class::Subagent),
        "compaction" => Some(Class::Compaction),
        "auxiliary" | "side_reply" => Some(Class::Auxiliary),
        _ => match headers.first("x-interaction-type").unwrap_or_default() {
            "conversation-agent" => Some(Class::Main),
            "conversation-subagent" => Some(Class::Subagent),
            "conversation-background" => Some(Class::Background),
            _ => None,
        },
    };
    // Sent for what runs while nobody waits: `cli-bg` in place of `cli`.
    let is_background = headers
        .first("x-app")
        .is_some_and(|app| app.trim().ends_with("-bg"));
    match class {
        None | Some(Class::Main) if is_background => Some(Class::Background),
        None if has("x-claude-code-agent-id") => Some(Class::Subagent),
        _ => class,
    }
}

/// The id of a trace (<https://www.w3.org/TR/trace-context/#traceparent-header>).
fn trace(field: &str) -> Option<String> {
    let mut parts = field.trim().split('-');
    let (version, id) = (parts.next()?, parts.next()?);
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_id = version.len() == 2 && id.len() == 32 && is_hex(version) && is_hex(id);
    let is_set = id.bytes().any(|byte| byte != b'0');
    (is_id && is_set).then(|| id.to_ascii_lowercase())
}

/// Whether a value can be the id of an agent or a thread: printable, and no text.
fn is_id(value: &&str) -> bool {
    (1..=ID_BYTES).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What Codex says of a turn: in a header field, or in the body's `client_metadata`, where the same
/// stands once more as a text. The paths of `workspaces` are not looked at.
#[derive(Default)]
pub(super) struct Turn {
    session: Word<ID_BYTES>,
    thread: Word<ID_BYTES>,
    parent: Word<ID_BYTES>,
    /// The agent's path, of which only whether it is the root's is told.
    agent: Word<64>,
    kind: Word<64>,
    source: Word<64>,
    subagent: Word<64>,
    /// What reads that text.
    inner: Option<Box<Scanner>>,
}

impl Turn {
    /// Takes a value of `client_metadata`.
    pub(super) fn value(&mut self, path: &[Key], value: Value<'_>) {
        match (path, value) {
            ([Key::TurnMetadata], Value::Begin) => self.inner = Some(Box::default()),
            ([Key::TurnMetadata], Value::Piece(piece)) => self.read_inner(piece),
            ([Key::TurnMetadata], Value::End) => self.inner = None,
            _ => self.member(path, value),
        }
    }

    /// Takes the text.
    fn read(&mut self, text: &str) {
        self.inner = Some(Box::default());
        self.read_inner(text);
        self.inner = None;
    }

    fn read_inner(&mut self, piece: &str) {
        let Some(mut scanner) = self.inner.take() else {
            return;
        };
        scanner.push(piece.as_bytes(), &mut |path, value| {
            self.member(path, value);
        });
        self.inner = Some(scanner);
    }

    fn member(&mut self, path: &[Key], value: Value<'_>) {
        match path {
            [Key::SessionId] => self.session.last(value),
            [Key::ThreadId] => self.thread.last(value),
            [Key::ParentThreadId] => self.parent.last(value),
            [Key::AgentName] => self.agent.last(value),
            [Key::RequestKind] => self.kind.last(value),
            [Key::ThreadSource] => self.source.last(value),
            [Key::Subagent] => self.subagent.last(value),
            _ => {}
        }
    }

    fn session(&self) -> Option<String> {
        self.session.some()
    }

    fn thread(&self) -> Option<String> {
        self.thread.some()
    }

    fn parent(&self) -> Option<String> {
        self.parent.some()
    }

    fn agent_type(&self) -> Option<String> {
        self.subagent.some()
    }

    fn class(&self) -> Option<Class> {
        let (kind, source) = (self.kind.as_str(), self.source.as_str());
        let subagent = self.subagent.as_str();
        let is_compaction = kind.contains("compact") || subagent == "compact";
        let is_background = [source, subagent].contains(&"memory_consolidation");
        let is_inner = !matches!(self.agent.as_str(), "" | "/root");
        if is_compaction {
            Some(Class::Compaction)
        } else if is_background {
            Some(Class::Background)
        } else if !subagent.is_empty() || source == "subagent" || is_inner {
            Some(Class::Subagent)
        } else if kind == "turn" {
            Some(Class::Main)
        } else {
            None
        }
    }
}
