//! The lines of calls inside a session.

/// What a line of calls is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ThreadKind {
    /// The conversation itself.
    Main,
    /// An agent that the conversation started.
    Subagent,
    /// What the client does while nobody waits.
    Background,
    /// Small things beside: titles, summaries, checks.
    Auxiliary,
}

impl ThreadKind {
    /// Name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Subagent => "subagent",
            Self::Background => "background",
            Self::Auxiliary => "auxiliary",
        }
    }
}

/// A line of calls inside a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Key inside the session: the client's id, a number that was given here, or empty for the
    /// main one.
    pub key: String,
    /// Key of the thread that began it; `None` for those that nothing began.
    pub parent: Option<String>,
    /// What it is for.
    pub kind: ThreadKind,
    /// What the client calls that kind of agent.
    pub agent_type: Option<String>,
    /// Threads between it and the main one, itself included; 0 for the main one.
    pub depth: u32,
}

impl Thread {
    /// The main thread of a session.
    pub const fn main() -> Self {
        Self {
            key: String::new(),
            parent: None,
            kind: ThreadKind::Main,
            agent_type: None,
            depth: 0,
        }
    }

    /// A thread that no client named, with a number as its key.
    pub(super) const fn numbered(number: String) -> Self {
        Self {
            key: number,
            parent: Some(String::new()),
            kind: ThreadKind::Subagent,
            agent_type: None,
            depth: 1,
        }
    }

    /// Whether its key is a number that was given here.
    pub(super) fn is_numbered(&self) -> bool {
        !self.key.is_empty() && self.key.bytes().all(|byte| byte.is_ascii_digit())
    }
}
