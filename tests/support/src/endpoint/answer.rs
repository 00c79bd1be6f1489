//! What is done with one request, whatever it came over.

use std::sync::atomic::Ordering;

use crate::call::Call;
use crate::endpoint::{Shared, beside};
use crate::numbers::Numbers;
use crate::plan::{Fault, Plan};
use crate::reply::{self, Reply};
use crate::request::Request;
use crate::served::{Api, Other, Outcome, Protocol, Reported, Served, Tokens};

/// Headers by which known clients tell sessions, sub-agents, turns and tries apart. The first of
/// the [`SESSION_HEADERS`] is the session.
pub const IDENTITY_HEADERS: [&str; 22] = [
    "x-claude-code-session-id",
    "x-claude-code-agent-id",
    "x-claude-code-parent-agent-id",
    "x-claude-code-agent-type",
    "x-claude-code-prompt-id",
    "x-claude-code-request-class",
    "x-claude-1p-request-class",
    "x-client-request-id",
    "session-id",
    "thread-id",
    "session_id",
    "conversation_id",
    "x-session-id",
    "x-session-affinity",
    "x-parent-session-id",
    "x-initiator",
    "x-interaction-type",
    "x-interaction-id",
    "x-litellm-session-id",
    "x-codex-turn-metadata",
    "originator",
    "x-stainless-retry-count",
];

/// Headers in which known clients send the id of their session.
const SESSION_HEADERS: [&str; 3] = ["x-claude-code-session-id", "session-id", "x-session-id"];

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) client_port: u16,
    pub(super) protocol: Protocol,
}

/// What is done with a request.
pub(super) enum Turn {
    /// A call is answered.
    Call(Box<Pending>),
    /// Something else is answered.
    Beside(Reply, Plan),
    /// A WebSocket of an API is opened.
    Socket(Api, Plan),
}

/// A call that is being answered.
pub(super) struct Pending {
    pub(super) plan: Plan,
    pub(super) reply: Reply,
    served: Served,
    progress: Progress,
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Its end is not written yet.
    Going,
    /// Its end is being written, and it is recorded.
    Ending,
    /// Its end is written: what happens from now on is none of the call's.
    Over,
}

impl Shared {
    /// Decides what is done with a request.
    pub(super) fn turn(&self, request: &Request, origin: Origin) -> anyhow::Result<Turn> {
        let (plan, target) = self.route(request)?;
        let path = target.split('?').next().unwrap_or_default();
        if request.method == "POST"
            && let Some(call) = Call::by_post(target, &request.body)
        {
            let call = call.with_fields(|name| request.field(name));
            return Ok(Turn::Call(Box::new(
                self.begin(&call, &plan, request, origin),
            )));
        }
        let socket = Call::api_of(path)
            .filter(|api| matches!(api, Api::OpenAiResponses | Api::OpenAiRealtime))
            .filter(|_| origin.protocol == Protocol::Http1 && request.upgrades());
        let reply = match socket {
            Some(api) if self.options.websockets && plan.fault.status().is_none() => {
                self.pass(request, path, origin, 101)?;
                return Ok(Turn::Socket(api, plan));
            }
            Some(_) => beside::no_socket(plan.fault.status()),
            None => beside::answer(request, path),
        };
        self.pass(request, path, origin, reply.status)?;
        Ok(Turn::Beside(reply, plan))
    }

    /// The plan of a request, and its target without it.
    fn route<'a>(&self, request: &'a Request) -> anyhow::Result<(Plan, &'a str)> {
        let target = request.target.as_str();
        let behind = target
            .strip_prefix("/plan/")
            .and_then(|rest| rest.find('/').map(|end| rest.split_at(end)));
        match (behind, request.field("x-test-plan")) {
            (Some((words, target)), _) => Ok((words.parse()?, target)),
            (None, Some(words)) => Ok((words.parse()?, target)),
            (None, None) => Ok((self.options.plan, target)),
        }
    }

    /// Makes the answer to a call. `head` is the request that it came with, or the one that
    /// opened its connection.
    pub(super) fn begin(
        &self,
        call: &Call,
        plan: &Plan,
        head: &Request,
        origin: Origin,
    ) -> Pending {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let mut numbers = Numbers::of(self.seed, number, call.api, plan.deltas);
        let chosen = usize::try_from(number)
            .ok()
            .and_then(|number| self.options.usage.get(number));
        let usage = call.known(chosen.copied().unwrap_or(numbers.usage));
        if usage != numbers.usage {
            numbers = numbers.claiming(usage);
        }
        if !self.options.words.is_empty() {
            numbers.deltas.clone_from(&self.options.words);
        }
        if call.is_warm_up() {
            numbers.usage = Tokens::default();
        }
        let malformed = Plan {
            fault: Fault::Status(400),
            ..*plan
        };
        let plan = if call.body.is_object() {
            plan
        } else {
            &malformed
        };
        let answer = reply::answer(call, &numbers, plan);
        let sent = |name: &&str| {
            let value = head.field(name)?;
            Some(((*name).to_owned(), value.to_owned()))
        };
        let is_socket = matches!(
            origin.protocol,
            Protocol::WebSocket | Protocol::WebSocketDeflate
        );
        let served = Served {
            number,
            id: answer.id,
            api: call.api,
            client_port: origin.client_port,
            protocol: origin.protocol,
            host: head.host().map(str::to_owned),
            user_agent: head.field("user-agent").map(str::to_owned),
            session_header: SESSION_HEADERS
                .iter()
                .find_map(|name| head.field(name))
                .map(str::to_owned),
            identity_headers: IDENTITY_HEADERS.iter().filter_map(sent).collect(),
            model_requested: call.model.clone(),
            model_served: answer.model_served,
            stop_reason: answer.stop_reason,
            service_tier: answer.service_tier,
            stream: call.is_stream(),
            status: if is_socket { 101 } else { answer.reply.status },
            is_warm_up: call.is_warm_up(),
            tools: answer.tools,
            usage: numbers.usage,
            reported: answer.reported,
            outcome: answer.outcome,
            text_in_bytes: reply::text_in_bytes(&call.body),
            text_out_bytes: answer.text_out_bytes,
        };
        Pending {
            plan: *plan,
            reply: answer.reply,
            served,
            progress: Progress::Going,
        }
    }

    fn pass(
        &self,
        request: &Request,
        path: &str,
        origin: Origin,
        status: u16,
    ) -> anyhow::Result<()> {
        self.records.pass(Other {
            method: request.method.clone(),
            path: path.to_owned(),
            host: request.host().map(str::to_owned),
            client_port: origin.client_port,
            protocol: origin.protocol,
            status,
        })
    }
}

impl Pending {
    /// Number of the call.
    pub(super) const fn number(&self) -> u64 {
        self.served.number
    }

    /// Id of the response.
    pub(super) fn id(&self) -> Option<&str> {
        self.served.id.as_deref()
    }

    /// Records the call before the client can know its end, so that no reader comes too early.
    pub(super) fn ends(&mut self, shared: &Shared) -> anyhow::Result<()> {
        self.progress = Progress::Ending;
        shared.records.serve(self.served.clone())
    }

    /// Notes that the end of the answer is written.
    pub(super) const fn is_written(&mut self) {
        self.progress = Progress::Over;
    }

    /// Records that the client hung up, unless it had everything before that.
    pub(super) fn breaks(self, shared: &Shared) -> anyhow::Result<()> {
        if self.progress == Progress::Over {
            return Ok(());
        }
        // Their streams tell the input first.
        let tells_early = matches!(
            self.served.api,
            Api::AnthropicMessages | Api::BedrockInvoke | Api::GeminiGenerate
        );
        let reported = if tells_early && self.served.stream {
            Reported::Input
        } else {
            Reported::Nothing
        };
        shared.records.serve(Served {
            outcome: Outcome::Aborted,
            reported,
            stop_reason: None,
            service_tier: None,
            ..self.served
        })
    }
}
