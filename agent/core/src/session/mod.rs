//! Stage 6: groups calls into sessions and makes the record that is stored.
//!
//! *Takes* attributed calls. *Gives* [`UsageRecord`]s, each with what it cost at the time when it was
//! complete. *Remembers* the sessions that may still grow. *Nonsense* does not reach this stage.

mod chain;
mod clock;
mod hops;
mod open;
mod running;
mod task;
#[cfg(test)]
mod tests;
mod thread;
mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::attribution::{AttributedCall, Client};
use crate::event::{Event, ProcId, Process, Timestamp};
use crate::llm::{Former, LlmCall, Provider};
use crate::prices::{Priced, Prices};
use crate::workflow::{Workflow, Workflows};
use chain::Chain;
use clock::WallClock;
pub use hops::Hop;
use hops::Hops;
use open::{Arrival, Conversations, OpenSessions};
pub use task::{TaskType, is_coding};
pub use thread::{Thread, ThreadKind};

/// LIMIT: bytes of a session's key; the rest of a longer id is cut off.
const KEY_BYTES: usize = 128;

/// LIMIT: sessions without a name that are remembered; beyond, the one that was silent longest
/// starts a new session with its next call.
const PROCESSES: usize = 8192;

/// Where a session's key comes from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeySource {
    /// A session id in a header of the client.
    ClientHeader,
    /// A session id in the request body.
    ClientBody,
    /// The id of the response that the request continues.
    ResponseChain,
    /// What the request consists of begins with all of an earlier one of the same tree of processes
    /// and workflow.
    PrefixChain,
    /// A trace that the client says the request is a part of. Some begin one for each request, so that
    /// a conversation goes before it.
    Trace,
    /// Same tree of processes, workflow, provider, instructions and tools, and no pause longer than
    /// the idle time.
    ProcessIdle,
}

impl KeySource {
    /// Whether the client says what belongs together.
    pub(crate) const fn is_of_client(self) -> bool {
        matches!(
            self,
            Self::ClientHeader | Self::ClientBody | Self::ResponseChain
        )
    }

    /// Name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientHeader => "client_header",
            Self::ClientBody => "client_body",
            Self::ResponseChain => "response_chain",
            Self::PrefixChain => "prefix_chain",
            Self::Trace => "trace",
            Self::ProcessIdle => "process_idle",
        }
    }
}

/// Key of a session: the client's own id where it has one (cut to 128 bytes), else one made of
/// process and start time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(pub String);

/// What is kept of one call. Times are wall-clock, in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRecord {
    /// Call; its text to count is gone.
    pub call: LlmCall,
    /// Process, if anything is known of it.
    pub process: Option<Arc<Process>>,
    /// Client.
    pub client: Client,
    /// Session.
    pub session: SessionKey,
    /// Where the session's key comes from.
    pub key_source: KeySource,
    /// Identity for idempotent storage: provider and response id, else connection and exchange.
    pub identity: String,
    /// Start.
    pub started_unix_ms: i64,
    /// Time to the first token of output.
    pub ttft_ms: Option<u64>,
    /// Start to terminal event.
    pub duration_ms: u64,
    /// Identity of the try that this one repeats.
    pub retry_of: Option<String>,
    /// How it belongs to another call, through a gateway on this host.
    pub hop: Option<Hop>,
    /// What it cost, without what ran beside.
    pub cost: Priced,
    /// What each of the call's `sub_inferences` cost, in their order.
    pub sub_costs: Vec<Priced>,
    /// Workflow that pays, as far as the call tells; its session has that of the first call.
    pub workflow: Arc<Workflow>,
    /// Line of calls inside the session.
    pub thread: Thread,
    /// Kind of work.
    pub task: TaskType,
    /// Whether it brings words of the user to the main thread.
    pub is_human_turn: bool,
    /// Identity of the earlier call that this one shows to have been a compaction.
    pub compacted: Option<String>,
    /// Whether it goes on from the call before it in its thread, with nothing changed before the
    /// end; unknown for the first of a thread.
    pub continues: Option<bool>,
}

/// Settings of the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Pause of a process after which its calls belong to a new session, where they name none.
    pub idle: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(30 * 60),
        }
    }
}

/// The stage.
#[derive(Debug)]
pub struct Sessions {
    settings: Settings,
    clock: WallClock,
    chain: Chain,
    conversations: Conversations,
    unnamed: BTreeMap<Talk, Unnamed>,
    open: OpenSessions,
    hops: Hops,
    prices: Arc<Prices>,
    workflows: Arc<Workflows>,
}

/// What tells the sessions of a tree of processes apart where its calls name none: its root, who
/// answers, the hash of instructions and tools, and who pays. A script may start work of several
/// workflows, and a session has one.
type Talk = (ProcId, Provider, Option<u64>, Arc<Workflow>);

/// The session of a tree of processes whose calls name none.
#[derive(Debug)]
struct Unnamed {
    key: SessionKey,
    /// End of the last call that ended last.
    until: Timestamp,
}

impl Sessions {
    /// A stage without sessions.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            clock: WallClock::default(),
            chain: Chain::default(),
            conversations: Conversations::default(),
            open: OpenSessions::default(),
            unnamed: BTreeMap::new(),
            hops: Hops::default(),
            prices: Arc::default(),
            workflows: Arc::default(),
        }
    }

    /// The same with prices; without, no call has any.
    #[must_use]
    pub fn with_prices(mut self, prices: Arc<Prices>) -> Self {
        self.prices = prices;
        self
    }

    /// The same with rules for workflows; without, they have automatic names.
    #[must_use]
    pub fn with_workflows(mut self, workflows: Arc<Workflows>) -> Self {
        self.workflows = workflows;
        self
    }

    /// Prices and names calls by these from now on.
    pub fn follow(&mut self, prices: Arc<Prices>, workflows: Arc<Workflows>) {
        self.prices = prices;
        self.workflows = workflows;
    }

    /// Learns the wall-clock time from an event; other events pass by.
    pub fn learn(&mut self, event: &Event) {
        if let Event::Clock { at, unix_ns } = event {
            self.clock.learn(*at, *unix_ns);
        }
    }

    /// Wall-clock time of a moment, in milliseconds since the Unix epoch.
    pub fn unix_ms(&self, moment: Timestamp) -> i64 {
        self.clock.unix_ms(moment)
    }

    /// Makes the record of a call.
    pub fn record(&mut self, attributed: AttributedCall) -> UsageRecord {
        let mut identity = identity(&attributed.call);
        let hop = self.hops.link(&attributed, &identity);
        if let Some(Hop::ToGateway { counted: other } | Hop::OfGateway { origin: other }) = &hop
            && *other == identity
        {
            identity.insert_str(0, "hop:");
        }
        let workflow = self.workflows.of(&attributed);
        let AttributedCall {
            mut call,
            process,
            client,
        } = attributed;
        call.countable = None;
        let former = call.hints.former.take();
        let retry_of = former.map(|former| identity_of(call.provider, former));
        let root = root_of(&call, process.as_deref());
        let (session, key_source) = self.session(&call, root, &client, &workflow);
        if let Some(response) = &call.response_id {
            self.chain.learn(call.provider, response, &session);
        }
        if let Some(prefix) = &call.signals.prefix {
            self.conversations
                .learn(prefix, (root, &workflow), &session, call.ended);
        }
        let part = self.open.place(&Arrival {
            call: &call,
            client: client.name.as_deref(),
            key: &session,
            key_source,
            uid: process.as_ref().map(|process| process.uid),
            identity: &identity,
            started_unix_ms: self.clock.unix_ms(call.started),
        });
        let (cost, sub_costs) = self.prices.call(&call, self.clock.unix_ms(call.ended));
        UsageRecord {
            session,
            key_source,
            identity,
            started_unix_ms: self.clock.unix_ms(call.started),
            ttft_ms: call
                .first_token
                .map(|first| millis(first.since(call.started))),
            duration_ms: millis(call.ended.since(call.started)),
            call,
            process,
            client,
            retry_of,
            hop,
            cost,
            sub_costs,
            workflow,
            thread: part.thread,
            task: part.task,
            is_human_turn: part.is_human_turn,
            compacted: part.compacted,
            continues: part.continues,
        }
    }

    /// Forgets the processes that are silent for so long that a call would start a new session.
    pub fn expire(&mut self, now: Timestamp) {
        let idle = self.settings.idle;
        // A call that began in time may still be open: it is given twice the time.
        self.unnamed
            .retain(|_, unnamed| now.since(unnamed.until) <= idle.saturating_mul(2));
        self.open.expire(now, idle);
    }

    fn session(
        &mut self,
        call: &LlmCall,
        root: ProcId,
        client: &Client,
        workflow: &Arc<Workflow>,
    ) -> (SessionKey, KeySource) {
        let talk = talk(call, root, client, workflow);
        let Some((key, source)) = self.known(call, root, workflow) else {
            return (self.unnamed_session(call, talk), KeySource::ProcessIdle);
        };
        if source == KeySource::PrefixChain
            && let Some(grown) = self.unnamed.get_mut(&talk).filter(|grown| grown.key == key)
        {
            grown.until = grown.until.max(call.ended);
        }
        (key, source)
    }

    /// The session that a call itself tells, or the conversation that it goes on from.
    fn known(
        &self,
        call: &LlmCall,
        root: ProcId,
        workflow: &Arc<Workflow>,
    ) -> Option<(SessionKey, KeySource)> {
        let hints = &call.hints;
        if let Some(key) = hints.client_header.as_deref().and_then(key) {
            return Some((key, KeySource::ClientHeader));
        }
        if let Some(key) = hints.body_id.as_deref().and_then(key) {
            return Some((key, KeySource::ClientBody));
        }
        let previous = hints.previous_response_id.as_deref();
        if let Some(key) = previous.and_then(|previous| self.chain.session(call.provider, previous))
        {
            return Some((key, KeySource::ResponseChain));
        }
        let continued = call.signals.prefix.as_ref().and_then(|prefix| {
            self.conversations
                .session(prefix, (root, workflow), call.started, self.settings.idle)
        });
        if let Some(key) = continued {
            return Some((key, KeySource::PrefixChain));
        }
        let trace = hints.trace_id.as_deref().and_then(key);
        trace.map(|key| (key, KeySource::Trace))
    }

    fn unnamed_session(&mut self, call: &LlmCall, talk: Talk) -> SessionKey {
        if let Some(unnamed) = self.unnamed.get_mut(&talk)
            && call.started.since(unnamed.until) <= self.settings.idle
        {
            unnamed.until = unnamed.until.max(call.ended);
            return unnamed.key.clone();
        }
        if self.unnamed.len() >= PROCESSES && !self.unnamed.contains_key(&talk) {
            forget_silent(&mut self.unnamed, |unnamed| unnamed.until);
        }
        // The time of the first call keeps keys apart when process ids come again after a reboot.
        let id = talk.0;
        let mut started = self.clock.unix_ms(call.started);
        let key = loop {
            let key = SessionKey(format!("proc-{}-{}-{started}", id.pid, id.start_ticks));
            // No provider is named so, whoever pays.
            let first = (id, Provider(""), None, Arc::clone(&talk.3));
            let mut of_root = self.unnamed.range(first..).take_while(|(of, _)| of.0 == id);
            if of_root.all(|(_, unnamed)| unnamed.key != key) {
                break key;
            }
            started += 1;
        };
        self.unnamed.insert(
            talk,
            Unnamed {
                key: key.clone(),
                until: call.ended,
            },
        );
        key
    }
}

/// What tells a call's session from others where it names none.
fn talk(call: &LlmCall, root: ProcId, client: &Client, workflow: &Arc<Workflow>) -> Talk {
    // An agent's instructions differ from subagent to subagent: its calls belong together all the
    // same.
    let is_agent = is_coding(client.name.as_deref());
    let prefix = call.signals.prefix.as_ref();
    let setting = prefix.map(|prefix| prefix.setting).filter(|_| !is_agent);
    (root, call.provider, setting, Arc::clone(workflow))
}

/// A client's id as a key: without control characters, cut; `None` if nothing is left.
fn key(id: &str) -> Option<SessionKey> {
    let mut kept: String = id
        .chars()
        .filter(|character| !character.is_control())
        .collect();
    kept.truncate(kept.floor_char_boundary(KEY_BYTES));
    (!kept.is_empty()).then_some(SessionKey(kept))
}

/// Forgets what was silent longest.
fn forget_silent<K: Clone + Ord, V>(kept: &mut BTreeMap<K, V>, until: impl Fn(&V) -> Timestamp) {
    let silent = kept.iter().min_by_key(|(_, of)| until(of));
    if let Some(silent) = silent.map(|(key, _)| key.clone()) {
        kept.remove(&silent);
    }
}

/// The root of the tree of processes that made a call.
fn root_of(call: &LlmCall, process: Option<&Process>) -> ProcId {
    process.map_or_else(|| process_id(call, None), tree::root)
}

/// The process of a call, by its pid alone where nothing else is known of it.
fn process_id(call: &LlmCall, process: Option<&Process>) -> ProcId {
    let unknown = ProcId {
        pid: call.exchange.conn.pid,
        start_ticks: 0,
    };
    process.map_or(unknown, |process| process.id)
}

fn identity(call: &LlmCall) -> String {
    let itself = Former {
        exchange: call.exchange,
        response_id: call.response_id.clone(),
    };
    identity_of(call.provider, itself)
}

/// Identity of a try of a call.
fn identity_of(provider: Provider, tried: Former) -> String {
    let exchange = tried.exchange;
    tried.response_id.filter(|id| is_unique(id)).map_or_else(
        || {
            let since = exchange.conn.since.as_nanos();
            format!(
                "conn:{}-{:x}-{since}-{}",
                exchange.conn.pid, exchange.conn.ssl, exchange.number
            )
        },
        |response| format!("{}:{response}", provider.0),
    )
}

/// Whether a response's id tells it from all others. Ollama and many small servers number their
/// chats by chance below a thousand, or by the clock, so that calls at the same time share one.
fn is_unique(response: &str) -> bool {
    /// Digits of a clock's nanoseconds; those of seconds and milliseconds are fewer.
    const NANOSECONDS: usize = 19;
    response.rsplit_once("cmpl-").is_none_or(|(_, number)| {
        number.len() >= NANOSECONDS || !number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
