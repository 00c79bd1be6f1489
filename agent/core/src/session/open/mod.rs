//! Sessions that may still grow: their threads, and the conversations that they are known by.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::task::is_coding;
use super::{KeySource, SessionKey, TaskType, Thread, ThreadKind, forget_silent};
use crate::event::{ProcId, Timestamp};
use crate::llm::{Class, LastItem, LlmCall, Prefix};
use crate::workflow::Workflow;

/// LIMIT: sessions whose threads are remembered; beyond, the one that was silent longest is
/// forgotten, and its next call is taken for its first.
const SESSIONS: usize = 8_192;

/// LIMIT: threads of one session that are remembered; beyond, the one that was silent longest is
/// forgotten.
const THREADS: usize = 256;

/// LIMIT: conversations that are remembered, to find the session of a request that continues one;
/// beyond, the oldest is forgotten. Some 8 MiB when full, if each has another payer.
const CONVERSATIONS: usize = 16_384;

/// LIMIT: tokens below which a shrinking context says nothing: a new conversation is as short.
const COMPACTED_TOKENS: u64 = 8_192;

/// Names, as attribution gives them, of the clients that say which agent a call is of: without a word
/// of one it is of the main thread.
const NAMING_CLIENTS: [&str; 3] = ["claude-code", "codex", "opencode"];

/// One user's session: keys are what clients say, and two users may say the same.
pub(super) type Owner = (SessionKey, Option<u32>);

/// What a call is inside of its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) thread: Thread,
    pub(super) task: TaskType,
    pub(super) is_human_turn: bool,
    pub(super) compacted: Option<String>,
    pub(super) continues: Option<bool>,
}

/// What says where a call belongs inside of its session.
pub(super) struct Arrival<'a> {
    pub(super) call: &'a LlmCall,
    pub(super) client: Option<&'a str>,
    pub(super) key: &'a SessionKey,
    pub(super) key_source: KeySource,
    pub(super) uid: Option<u32>,
    pub(super) identity: &'a str,
    pub(super) started_unix_ms: i64,
}

/// Sessions that may still grow.
#[derive(Debug, Default)]
pub(super) struct OpenSessions {
    sessions: BTreeMap<Owner, OpenSession>,
}

#[derive(Debug, Default)]
struct OpenSession {
    until: Timestamp,
    /// Whether a call of it offered tools: small calls are beside those then.
    is_agent: bool,
    /// By their keys.
    threads: BTreeMap<String, OpenThread>,
}

#[derive(Debug)]
struct OpenThread {
    thread: Thread,
    last: Last,
}

/// The last call of a thread.
#[derive(Clone, Debug, Default)]
struct Last {
    identity: String,
    ended: Timestamp,
    setting: Option<u64>,
    first: Option<u64>,
    whole: Option<u64>,
    context_tokens: Option<u64>,
    /// Whether it answered words, and asked for nothing: as a summary does.
    is_answer: bool,
    task: Option<TaskType>,
}

/// How a call goes on from a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follows {
    /// With nothing changed before the end.
    Whole,
    /// With something changed.
    Changed,
}

impl OpenSessions {
    /// Says what a call is inside of its session, and remembers it.
    pub(super) fn place(&mut self, arrival: &Arrival<'_>) -> Part {
        let owner = (arrival.key.clone(), arrival.uid);
        if self.sessions.len() >= SESSIONS && !self.sessions.contains_key(&owner) {
            forget_silent(&mut self.sessions, |session| session.until);
        }
        let session = self.sessions.entry(owner).or_default();
        session.until = session.until.max(arrival.call.ended);
        session.place(arrival)
    }

    /// Whether any call of a session offered tools.
    pub(super) fn is_agent(&self, key: &SessionKey, uid: Option<u32>) -> bool {
        let session = self.sessions.get(&(key.clone(), uid));
        session.is_some_and(|session| session.is_agent)
    }

    /// Forgets sessions that were silent for the idle time, twice: a call that began in time may still
    /// be open.
    pub(super) fn expire(&mut self, now: Timestamp, idle: Duration) {
        self.sessions
            .retain(|_, session| now.since(session.until) <= idle.saturating_mul(2));
    }
}

impl OpenSession {
    fn place(&mut self, arrival: &Arrival<'_>) -> Part {
        let call = arrival.call;
        let signals = &call.signals;
        let task = TaskType::of(call, arrival.client, self.is_agent);
        self.is_agent |= signals.tools_offered.is_some_and(|tools| tools > 0);
        let (thread, follows) = self.thread(arrival, task);
        let open = self.open(thread);
        let compacted = compacted(&open.last, call, follows);
        let next = Last::of(arrival, task);
        // Calls of one thread may overlap; the one that ended last is the one to go on from.
        if open.last.ended <= next.ended {
            open.last = next;
        }
        let thread = open.thread.clone();
        let is_work = !matches!(task, TaskType::Auxiliary | TaskType::Compaction);
        Part {
            is_human_turn: thread.kind == ThreadKind::Main
                && is_work
                && signals.last_item == Some(LastItem::User),
            thread,
            task,
            compacted,
            continues: follows.map(|follows| follows == Follows::Whole),
        }
    }

    /// The thread of a call, and how the call goes on from it.
    fn thread(&self, arrival: &Arrival<'_>, task: TaskType) -> (Thread, Option<Follows>) {
        let call = arrival.call;
        let hints = &call.hints;
        let class = call.signals.class;
        let named = hints
            .thread
            .as_deref()
            .filter(|thread| *thread != arrival.key.0);
        if let Some(named) = named {
            let kind = if class == Some(Class::Background) {
                ThreadKind::Background
            } else {
                ThreadKind::Subagent
            };
            let parent = hints.parent_thread.as_deref().unwrap_or_default();
            let parent = if parent == arrival.key.0 { "" } else { parent };
            let depth = self.depth(parent).saturating_add(1);
            let thread = Thread {
                key: named.to_owned(),
                parent: Some(parent.to_owned()),
                kind,
                agent_type: hints.agent_type.clone(),
                depth,
            };
            return self.enter(thread, &call.signals.prefix);
        }
        let beside = if class == Some(Class::Background) {
            Some(ThreadKind::Background)
        } else if task == TaskType::Auxiliary {
            Some(ThreadKind::Auxiliary)
        } else {
            None
        };
        if let Some(kind) = beside {
            let thread = Thread {
                key: kind.as_str().to_owned(),
                parent: Some(String::new()),
                kind,
                agent_type: None,
                depth: 1,
            };
            return self.enter(thread, &call.signals.prefix);
        }
        // A client that names its agents names all of them.
        let is_naming = |client| NAMING_CLIENTS.contains(&client);
        let has_named = self
            .threads
            .values()
            .any(|open| open.thread.kind == ThreadKind::Subagent && !open.thread.is_numbered());
        let is_main =
            class == Some(Class::Main) || has_named || arrival.client.is_some_and(is_naming);
        if let (false, Some(prefix)) = (is_main, &call.signals.prefix) {
            if let Some(found) = self.follow(prefix, call) {
                return found;
            }
            let begins_agents = call.signals.tools_offered.is_some_and(|tools| tools > 0)
                && (arrival.key_source.is_of_client() || is_coding(arrival.client));
            if begins_agents && self.has_main() {
                let thread = Thread::numbered(self.free_number(arrival.started_unix_ms));
                return self.enter(thread, &None);
            }
        }
        self.enter(Thread::main(), &call.signals.prefix)
    }

    /// The thread that a conversation goes on from.
    fn follow(&self, prefix: &Prefix, call: &LlmCall) -> Option<(Thread, Option<Follows>)> {
        let is_conversation = |open: &&OpenThread| {
            matches!(open.thread.kind, ThreadKind::Main | ThreadKind::Subagent)
        };
        let threads: Vec<&OpenThread> = self.threads.values().filter(is_conversation).collect();
        let latest = |fits: &dyn Fn(&Last) -> bool| {
            threads
                .iter()
                .filter(|open| fits(&open.last))
                .max_by_key(|open| open.last.ended)
                .map(|open| open.thread.clone())
        };
        if let Some(thread) = latest(&|last| continues(prefix, last)) {
            return Some((thread, Some(Follows::Whole)));
        }
        let changed = latest(&|last| last.first == Some(prefix.first)).or_else(|| {
            latest(&|last| last.setting == Some(prefix.setting) && last.shrinks_to(call))
        });
        changed.map(|thread| (thread, Some(Follows::Changed)))
    }

    /// A thread that is told by its key, and how a call goes on from what it has.
    fn enter(&self, thread: Thread, prefix: &Option<Prefix>) -> (Thread, Option<Follows>) {
        let last = self.threads.get(&thread.key).map(|open| &open.last);
        let follows = match (prefix, last) {
            (Some(prefix), Some(last)) if last.whole.is_some() => {
                if continues(prefix, last) {
                    Some(Follows::Whole)
                } else {
                    Some(Follows::Changed)
                }
            }
            _ => None,
        };
        (thread, follows)
    }

    /// The thread with this one's key, which it becomes where there is none.
    fn open(&mut self, thread: Thread) -> &mut OpenThread {
        if self.threads.len() >= THREADS && !self.threads.contains_key(&thread.key) {
            let silent = self
                .threads
                .iter()
                .filter(|(_, open)| open.thread.kind != ThreadKind::Main)
                .min_by_key(|(_, open)| open.last.ended)
                .map(|(key, _)| key.clone());
            if let Some(silent) = silent {
                self.threads.remove(&silent);
            }
        }
        let last = Last::default();
        self.threads
            .entry(thread.key.clone())
            .or_insert(OpenThread { thread, last })
    }

    fn has_main(&self) -> bool {
        self.threads
            .values()
            .any(|open| open.thread.kind == ThreadKind::Main)
    }

    fn depth(&self, key: &str) -> u32 {
        self.threads
            .get(key)
            .map_or_else(|| u32::from(!key.is_empty()), |open| open.thread.depth)
    }

    /// A number that no thread of the session has: the time, so that it is none of an earlier life of
    /// the session either.
    fn free_number(&self, started_unix_ms: i64) -> String {
        let mut number = started_unix_ms;
        loop {
            let key = number.to_string();
            if !self.threads.contains_key(&key) {
                return key;
            }
            number += 1;
        }
    }
}

impl Last {
    fn of(arrival: &Arrival<'_>, task: TaskType) -> Self {
        let call = arrival.call;
        let prefix = call.signals.prefix.as_ref();
        Self {
            identity: arrival.identity.to_owned(),
            ended: call.ended,
            setting: prefix.map(|prefix| prefix.setting),
            first: prefix.map(|prefix| prefix.first),
            whole: prefix.map(|prefix| prefix.whole),
            context_tokens: call.usage.input(),
            is_answer: call.signals.tool_calls == 0
                && call.signals.last_item == Some(LastItem::User),
            task: Some(task),
        }
    }

    /// Whether a call after it has so much less to read that this may have been a summary of it.
    fn shrinks_to(&self, call: &LlmCall) -> bool {
        let (Some(before), Some(after)) = (self.context_tokens, call.usage.input()) else {
            return false;
        };
        self.is_answer
            && before >= COMPACTED_TOKENS
            && after.saturating_mul(2) <= before
            && self.ended <= call.started
    }
}

/// Whether a conversation is the one of a thread's last call, with more at its end, or that call tried
/// again.
fn continues(prefix: &Prefix, last: &Last) -> bool {
    last.whole
        .is_some_and(|whole| whole == prefix.whole || prefix.earlier.contains(&whole))
}

/// Identity of the last call of a thread, if the next one shows that it was a compaction.
fn compacted(last: &Last, call: &LlmCall, follows: Option<Follows>) -> Option<String> {
    let is_shown = follows == Some(Follows::Changed)
        && last.task != Some(TaskType::Compaction)
        && last.shrinks_to(call);
    is_shown.then(|| last.identity.clone())
}

/// The sessions of conversations, by what they consist of.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    known: BTreeMap<(u64, ProcId, Arc<Workflow>), Known>,
    /// The same, oldest first.
    order: VecDeque<(u64, ProcId, Arc<Workflow>)>,
}

#[derive(Debug)]
struct Known {
    key: SessionKey,
    until: Timestamp,
}

impl Conversations {
    /// Notes the session of a conversation of a tree of processes, by its root, and of who pays. The
    /// latest that has it keeps it.
    pub(super) fn learn(
        &mut self,
        prefix: &Prefix,
        (root, workflow): (ProcId, &Arc<Workflow>),
        key: &SessionKey,
        until: Timestamp,
    ) {
        let id = (prefix.whole, root, Arc::clone(workflow));
        let known = Known {
            key: key.clone(),
            until,
        };
        if self.known.insert(id.clone(), known).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > CONVERSATIONS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// The session of the conversation that a request goes on from, in the same tree of processes, for
    /// the same payer and within the idle time.
    pub(super) fn session(
        &self,
        prefix: &Prefix,
        (root, workflow): (ProcId, &Arc<Workflow>),
        started: Timestamp,
        idle: Duration,
    ) -> Option<SessionKey> {
        prefix.earlier.iter().find_map(|earlier| {
            let known = self.known.get(&(*earlier, root, Arc::clone(workflow)))?;
            (started.since(known.until) <= idle).then(|| known.key.clone())
        })
    }
}
