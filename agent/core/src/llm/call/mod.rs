//! One call while it is being read.

mod running;

use super::caller::Caller;
use super::form::Form as RequestForm;
use super::hash::{HashKey, StreamHash};
use super::hosts::OTHER;
use super::json::Scanner;
use super::payer::Payer;
use super::provider::{Api, Reply, Request, Terminal, printable};
use super::response::{Lines, Reader, Response, ResponseForm, Texts};
use super::{
    AbortedBy, Class, Countable, Endpoint, Estimates, Limit, LlmCall, Outcome, SessionHints,
    Signals, Terms, Usage, UsageSource,
};
use crate::event::Timestamp;
use crate::http::eventstream;
use crate::http::sse::{Decoder, Event};
use crate::http::{BodyEnd, ExchangeId, ResponseHead, Role};
use crate::stats::Stats;

/// Status of the responses of a WebSocket: that of the upgrade.
const SWITCHED: u16 = 101;

/// What ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The provider said so.
    Terminal(Terminal),
    /// The exchange was over.
    Body(BodyEnd),
    /// A limit here, or the connection is not read any further.
    GivenUp,
}

/// What became of a call that ended.
pub(super) enum Ended {
    /// A call.
    Call(Box<LlmCall>),
    /// A call whose response goes on in the background.
    Pending(Box<LlmCall>),
    /// The last of many results.
    Results(Vec<LlmCall>),
    /// It only made a response ready: nothing was generated, and nothing used.
    WarmUp,
    /// Its bodies are none of the API's.
    Foreign,
}

/// How the parts of a call come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    /// As an exchange of its own.
    Exchange,
    /// As messages of a WebSocket.
    Messages,
    /// As one of many results in the reply of an exchange.
    Results,
}

/// A call that has not ended. It has no `Debug`: it holds text.
pub(super) struct OpenCall {
    api: &'static Api,
    id: ExchangeId,
    started: Timestamp,
    seen: Timestamp,
    caller: Caller,
    carrier: Carrier,
    request: Request,
    request_json: Scanner,
    /// What reads the request in place of the scanner, if it is a form.
    request_form: Option<RequestForm>,
    request_hash: StreamHash,
    hash_key: HashKey,
    /// True if a part of the request was not seen, or could not be decoded.
    is_request_torn: bool,
    response: Option<Response>,
    /// Bytes of both bodies seen.
    observed_bytes: u64,
}

impl OpenCall {
    /// A call whose request begins, as an exchange of its own.
    pub(super) fn new(
        api: &'static Api,
        id: ExchangeId,
        at: Timestamp,
        caller: Caller,
        key: HashKey,
    ) -> Self {
        let request_form = caller.boundary.as_deref().map(RequestForm::new);
        let mut request_hash = StreamHash::new(key, "request");
        request_hash.text(caller.path());
        Self {
            request_hash,
            hash_key: key,
            api,
            id,
            started: at,
            seen: at,
            caller,
            request_form,
            carrier: Carrier::Exchange,
            request: Request::new(api.endpoint, key),
            request_json: Scanner::default(),
            is_request_torn: false,
            response: None,
            observed_bytes: 0,
        }
    }

    /// The results of calls that were asked for before.
    pub(super) fn results(
        api: &'static Api,
        id: ExchangeId,
        at: Timestamp,
        caller: Caller,
        key: HashKey,
    ) -> Self {
        Self {
            carrier: Carrier::Results,
            ..Self::new(api, id, at, caller, key)
        }
    }

    /// Whether it is one only if its bodies say so.
    pub(super) const fn is_headless(&self) -> bool {
        self.caller.is_headless
    }

    /// Who calls whom.
    pub(super) const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What its head said about who pays.
    pub(super) const fn payer(&self) -> Payer {
        self.caller.payer
    }

    /// Whether it reads a response that was asked for before.
    pub(super) fn is_retrieval(&self) -> bool {
        self.carrier == Carrier::Exchange && self.caller.is_retrieval
    }

    /// Whether so many bytes passed without a word of what it is.
    pub(super) fn is_shapeless_after(&self, bytes: u64) -> bool {
        let is_told = self.response.as_ref().is_some_and(|response| {
            let lines = match &response.form {
                Some(ResponseForm::Lines(lines)) => lines.has_any,
                _ => false,
            };
            lines || response.reader.reply.api.is_some() || response.reader.reply.part.is_result
        });
        let is_unknown = self.caller.is_headless || self.carrier == Carrier::Results;
        is_unknown && !is_told && self.observed_bytes > bytes
    }

    /// A call whose request begins, as a message of a WebSocket.
    pub(super) fn message(
        api: &'static Api,
        id: ExchangeId,
        at: Timestamp,
        caller: Caller,
        key: HashKey,
    ) -> Self {
        Self {
            carrier: Carrier::Messages,
            ..Self::new(api, id, at, caller, key)
        }
    }

    /// A response of a WebSocket whose request was not seen, if there was one.
    pub(super) fn unasked(
        api: &'static Api,
        id: ExchangeId,
        at: Timestamp,
        caller: Caller,
        key: HashKey,
    ) -> Self {
        Self {
            is_request_torn: true,
            ..Self::message(api, id, at, caller, key)
        }
    }

    /// Its id.
    pub(super) const fn id(&self) -> ExchangeId {
        self.id
    }

    /// The path of its request.
    pub(super) fn path(&self) -> &str {
        self.caller.path()
    }

    /// What it asks for.
    pub(super) const fn request(&self) -> &Request {
        &self.request
    }

    /// The same, to be changed.
    pub(super) const fn request_mut(&mut self) -> &mut Request {
        &mut self.request
    }

    /// When its request began.
    pub(super) const fn started(&self) -> Timestamp {
        self.started
    }

    /// When anything of it was last seen.
    pub(super) const fn seen(&self) -> Timestamp {
        self.seen
    }

    /// Bytes that it holds: text, and the line of a stream that is not complete.
    pub(super) fn held_bytes(&self) -> usize {
        let response = self.response.as_ref().map_or(0, |response| {
            let line = match &response.form {
                Some(ResponseForm::Events(decoder)) => decoder.buffered_bytes(),
                Some(ResponseForm::Frames(decoder)) => decoder.buffered_bytes(),
                Some(
                    ResponseForm::Body
                    | ResponseForm::Texts(_)
                    | ResponseForm::Lines(_)
                    | ResponseForm::Opaque
                    | ResponseForm::Messages,
                )
                | None => 0,
            };
            response
                .reader
                .reply
                .output
                .kept_bytes()
                .saturating_add(line)
        });
        self.request.held_bytes().saturating_add(response)
    }

    pub(super) fn request_body(&mut self, bytes: &[u8], keeps_text: bool) {
        self.observed_bytes = self.observed_bytes.saturating_add(bytes.len() as u64);
        // What comes after a gap has no known place in the JSON.
        if self.is_request_torn {
            return;
        }
        self.request_hash.push(bytes);
        let request = &mut self.request;
        let api = self.api;
        if let Some(form) = &mut self.request_form {
            form.push(bytes, &mut |name, text| request.field(api, name, text));
            return;
        }
        self.request_json.push(bytes, &mut |path, value| {
            request.value(api, path, value, keeps_text);
        });
    }

    /// Hash of path and body; `None` if not all of them was seen.
    fn request_hash(&self) -> Option<u64> {
        self.is_request_whole().then(|| self.request_hash.finish())
    }

    /// Whether all of the request was seen, to the end of what it consists of.
    fn is_request_whole(&self) -> bool {
        let is_read = self
            .request_form
            .as_ref()
            .map_or_else(|| self.request_json.is_whole(), RequestForm::is_whole);
        !self.is_request_torn && is_read
    }

    pub(super) const fn request_gap(&mut self) {
        self.is_request_torn = true;
    }

    pub(super) fn request_end(&mut self, at: Timestamp, end: BodyEnd) {
        self.seen = at;
        self.is_request_torn |= matches!(end, BodyEnd::Lost | BodyEnd::Refused);
    }

    pub(super) fn response(&mut self, at: Timestamp, head: &ResponseHead) {
        self.seen = at;
        let kind = head
            .headers
            .first("content-type")
            .map(str::to_ascii_lowercase)
            .unwrap_or_default();
        let form = if self.carrier == Carrier::Results {
            Some(ResponseForm::Lines(Lines::default()))
        } else if kind.contains("event-stream") {
            Some(ResponseForm::Events(Decoder::default()))
        } else if kind.contains("vnd.amazon.eventstream") {
            Some(ResponseForm::Frames(eventstream::Decoder::default()))
        } else if self.api.has_lines() || kind.contains("ndjson") || kind.contains("stream+json") {
            Some(ResponseForm::Texts(Texts::Between))
        } else if kind.contains("json") {
            Some(ResponseForm::Body)
        } else if self.api.may_be_opaque() && !kind.is_empty() {
            Some(ResponseForm::Opaque)
        } else {
            None
        };
        let mut response = Response::new(head.status, form, self.hash_key);
        if head.status < 300 {
            self.api.head(&mut response.reader.reply, &head.headers);
        }
        // Where the body has none, this is the id of the reply.
        response.request_id = head
            .headers
            .first("x-amzn-requestid")
            .and_then(|id| printable(id, 256));
        self.response = Some(response);
    }

    /// The response begins, over a WebSocket; its model is that of the session, if there is one.
    pub(super) fn answer(&mut self, at: Timestamp, model: Option<&str>) {
        self.seen = at;
        let mut response = Response::new(SWITCHED, Some(ResponseForm::Messages), self.hash_key);
        if let Some(model) = model {
            response.reader.reply.model.set(model);
        }
        self.response = Some(response);
    }

    /// Takes an event of the response, over a WebSocket; says if it ends the reply.
    pub(super) fn event(
        &mut self,
        at: Timestamp,
        data: &[u8],
        keeps_text: bool,
    ) -> Option<Terminal> {
        self.seen = at;
        self.observed_bytes = self.observed_bytes.saturating_add(data.len() as u64);
        let Response { reader, .. } = self.response.as_mut()?;
        reader.reply.keeps_text = keeps_text;
        let event = Event {
            name: b"",
            data,
            is_last: true,
        };
        reader.event(self.api, at, event)
    }

    /// The status that the message of an error names in place of a response's.
    pub(super) const fn fail(&mut self, status: Option<u16>) {
        if let (Some(response), Some(status)) = (&mut self.response, status) {
            response.status = status;
        }
    }

    /// Takes bytes of the response; says if they end the reply.
    pub(super) fn response_body(
        &mut self,
        at: Timestamp,
        bytes: &[u8],
        keeps_text: bool,
    ) -> Option<Terminal> {
        self.seen = at;
        let response = self.response.as_mut()?;
        // An error has no usage, and its text may repeat the prompt.
        let (taken, terminal) = if response.status >= 300 {
            (bytes.len(), None)
        } else {
            response.take(self.api, at, bytes, keeps_text)
        };
        self.observed_bytes = self.observed_bytes.saturating_add(taken as u64);
        terminal
    }

    /// Takes the limits that an event of the response told since they were taken last.
    pub(super) fn take_limits(&mut self) -> Vec<Limit> {
        let reply = self.response.as_mut().map(|it| &mut it.reader.reply);
        reply.map_or_else(Vec::new, |reply| std::mem::take(&mut reply.limits))
    }

    pub(super) fn response_gap(&mut self) {
        if let Some(response) = &mut self.response {
            response.gap();
            if let Some(ResponseForm::Events(decoder)) = &mut response.form {
                decoder.gap();
            }
        }
    }

    /// Takes the results that are whole, as calls.
    pub(super) fn take_results(&mut self, stats: &mut Stats) -> Vec<LlmCall> {
        let whole = match &mut self.response {
            Some(Response {
                form: Some(ResponseForm::Lines(lines)),
                ..
            }) if !lines.whole.is_empty() => std::mem::take(&mut lines.whole),
            _ => return Vec::new(),
        };
        whole
            .into_iter()
            .filter_map(|(at, reply, terminal)| {
                let call = self.result(at, reply, terminal);
                stats.usage_unrecorded += u64::from(call.is_none());
                call
            })
            .collect()
    }

    /// The call of one result. Without an id it could not be told from the others.
    fn result(&self, at: Timestamp, reply: Reply, terminal: Terminal) -> Option<LlmCall> {
        let api = reply.api.unwrap_or(self.api);
        let usage = (api.usage)(&reply.counts);
        let outcome = match terminal {
            Terminal::Error => Outcome::Error,
            Terminal::Complete | Terminal::Pending => Outcome::Complete,
        };
        let terms = Terms {
            is_batch: true,
            credential: self.caller.credential(),
            ..reply.terms()
        };
        Some(LlmCall {
            exchange: self.id,
            started: self.started,
            first_token: None,
            ended: at,
            provider: self.caller.provider,
            endpoint: api.endpoint,
            server_name: self.caller.server_name.clone(),
            model_requested: None,
            model_served: reply.model.some(),
            is_stream: false,
            http_status: reply.part.code,
            outcome,
            stop_reason: reply.stop.some(),
            usage,
            usage_source: source(&usage, reply.is_final),
            estimates: Estimates::default(),
            units: reply.counts.units(),
            sub_inferences: reply.sub_inferences,
            terms,
            reported_cost_nanousd: reply.counts.reported_cost(),
            attempt: None,
            aborted_by: None,
            response_id: Some(reply.id.some()?),
            user_agent: self.caller.user_agent.clone(),
            originator: self.caller.originator.clone(),
            hints: SessionHints::default(),
            signals: Signals {
                tool_calls: reply.calls.count(),
                tool_signature: reply.calls.signature(),
                compacts: reply.calls.compacts(),
                ..Signals::default()
            },
            observed_bytes: 0,
            countable: None,
        })
    }

    /// Ends a reply of many results.
    fn finish_results(mut self, at: Timestamp, stats: &mut Stats) -> Ended {
        let Some(response) = &mut self.response else {
            return Ended::Foreign;
        };
        if response.status < 300 {
            response.take_line(self.api, at);
        }
        stats.usage_refused += response.reader.refused_in_lines;
        stats.usage_unrecorded += response.reader.unrecorded_in_lines;
        stats.usage_inconsistent += response.reader.inconsistent_lines;
        stats.json_malformed += response.reader.malformed;
        let has_any = match &response.form {
            Some(ResponseForm::Lines(lines)) => lines.has_any,
            _ => false,
        };
        if has_any {
            Ended::Results(self.take_results(stats))
        } else {
            Ended::Foreign
        }
    }

    /// Makes the call, if it turned out to be one.
    pub(super) fn finish(mut self, at: Timestamp, ending: Ending, stats: &mut Stats) -> Ended {
        if self.carrier == Carrier::Results {
            return self.finish_results(at, stats);
        }
        let ending = match ending {
            Ending::Terminal(_) => ending,
            Ending::Body(_) | Ending::GivenUp => {
                self.last_event(at).map_or(ending, Ending::Terminal)
            }
        };
        if let Some(response) = &self.response
            && let Some(api) = response.reader.reply.api
        {
            self.api = api;
        }
        let outcome = self.outcome(ending);
        let is_torn = self.is_request_torn;
        stats.json_malformed += u64::from(self.request_json.is_malformed());
        let is_partial = self.request.is_continued || !self.is_request_whole();
        // A status of 0 could not be read; that the reply was shows in its shape.
        let response = self.response.as_ref();
        let is_answered =
            response.is_some_and(|response| matches!(response.status, 0 | SWITCHED | 200..=299));
        let status = response
            .map(|response| response.status)
            .filter(|status| *status > 0);
        let stream = self.request.stream.or(self.caller.target.stream);
        let is_stream = stream.unwrap_or_else(|| {
            let form = self
                .response
                .as_ref()
                .and_then(|response| response.form.as_ref());
            let is_several = matches!(
                form,
                Some(ResponseForm::Events(_) | ResponseForm::Frames(_) | ResponseForm::Texts(_))
            );
            self.carrier == Carrier::Messages || is_several
        });
        let (request_id, reader) = self
            .response
            .take()
            .map_or_else(Default::default, |response| {
                (response.request_id, response.reader)
            });
        let Reader {
            reply,
            first_token,
            malformed,
            ..
        } = reader;
        // A whole reply that is read as a single line has no first token before its end.
        let first_token = first_token.filter(|_| is_stream || !self.api.has_lines());
        stats.json_malformed += malformed;
        stats.usage_refused += reply.refused;
        stats.usage_unrecorded += reply.unrecorded;

        let request_hash = self.request_hash();
        let is_retrieval = self.is_retrieval();
        let is_redirect = status.is_some_and(|status| (300..400).contains(&status));
        let is_message = self.carrier == Carrier::Messages;
        let has_shape = if self.caller.is_headless {
            let request = &self.request;
            // Gemini's requests name the model in the path.
            let has_model =
                !request.model.as_str().is_empty() || self.api.endpoint == Endpoint::GeminiGenerate;
            let is_asked = request.has_prompt && has_model;
            reply.api.is_some() && (is_asked || is_torn && !reply.counts.is_empty())
        } else {
            self.request.has_shape
                || is_retrieval && !reply.id.as_str().is_empty()
                || is_torn
                || is_message
                || !reply.counts.is_empty()
                || reply.counts.units().unpriced.is_some()
        };
        // Where others have the path, too, a whole answer says whose it is. What broke off, or was
        // refused, has to be addressed as the API is: by a model, or to its host.
        let has_model = self.request.model.some().is_some() || self.caller.target.model.is_some();
        let is_addressed = has_model || self.caller.provider != OTHER;
        let is_over = ending == Ending::Body(BodyEnd::Complete) || outcome == Outcome::Complete;
        let is_read = is_answered && is_over && outcome != Outcome::Incomplete;
        let is_told = reply.api.is_some() || is_addressed && !is_read;
        let is_asked = self.request.has_prompt || is_torn || is_retrieval;
        let is_its = !self.api.is_ambiguous() || is_told && is_asked;
        if is_redirect || !has_shape || !is_its {
            return Ended::Foreign;
        }
        stats.calls_headless += u64::from(self.caller.is_headless);

        let counts = reply.counts;
        let mut usage = (self.api.usage)(&counts);
        stats.usage_inconsistent += u64::from(counts.contradicts(&usage));
        let units = counts.units();
        // A response that used nothing to a request that was not seen: a model reads something.
        let is_idle = is_message && is_torn && !counts.is_empty();
        if usage.is_zero() && (self.request.generates == Some(false) || is_idle) {
            return Ended::WarmUp;
        }
        // Usage that may come again, and more, is final behind the reason to stop.
        let has_last = self
            .api
            .ends_with_usage
            .then(|| !reply.stop.as_str().is_empty());
        let is_final = reply.is_final && has_result(outcome, ending, has_last);
        let usage_source = source(&usage, is_final);
        let has_text = reply.output.seen_bytes() > 0;
        let is_unknown = usage_source == UsageSource::None || usage.output.is_none();
        // What is billed by the second or the piece has no tokens to count.
        let has_texts = is_answered
            && units.unpriced.is_none()
            && self.api.has_countable_text()
            && ending != Ending::Terminal(Terminal::Pending)
            && (outcome != Outcome::Error || has_text);
        let is_countable = has_texts && is_unknown;
        // From what was reported of a whole call something can be learned.
        let is_example =
            has_texts && usage_source == UsageSource::Provider && outcome == Outcome::Complete;
        if is_countable && outcome == Outcome::Complete && !self.api.has_output() {
            usage.output = Some(0);
        }
        let credential = self.caller.credential();
        let terms = reply.terms();
        let terms = Terms {
            region: terms.region.or(self.caller.target.region),
            credential,
            ..terms
        };
        let (hints, class) = self.caller.lineage.with(&self.request);
        let is_compaction = self.api.endpoint == Endpoint::OpenAiCompact;
        let signals = Signals {
            class: class.or_else(|| is_compaction.then_some(Class::Compaction)),
            request_hash,
            tool_calls: reply.calls.count(),
            tool_signature: reply.calls.signature(),
            compacts: reply.compacts(),
            ..self.request.signals(request_hash.is_some())
        };
        let call = Box::new(LlmCall {
            exchange: self.id,
            started: self.started,
            first_token,
            ended: at,
            provider: self.caller.provider,
            endpoint: self.api.endpoint,
            server_name: self.caller.server_name,
            model_requested: named_once(self.request.model.some(), self.caller.target.model),
            model_served: reply.model.some(),
            is_stream,
            http_status: status,
            outcome,
            stop_reason: reply.stop.some(),
            usage,
            usage_source,
            estimates: Estimates::default(),
            units,
            sub_inferences: reply.sub_inferences,
            terms,
            reported_cost_nanousd: counts.reported_cost(),
            attempt: self.caller.attempt,
            aborted_by: aborted_by(outcome, ending),
            response_id: reply.id.some().or(request_id),
            user_agent: self.caller.user_agent,
            originator: self.caller.originator,
            hints,
            signals,
            observed_bytes: self.observed_bytes,
            countable: (is_countable || is_example).then_some(Countable {
                input: self.request.input,
                output: reply.output,
                frame: self.request.frame,
                pictures: self.request.pictures.finish(),
                input_is_partial: is_partial,
                has_hidden_reasoning: reply.has_hidden_reasoning,
            }),
        });
        // A stream of a response that goes on may break off, and be taken up again.
        let is_cut = matches!(outcome, Outcome::Aborted | Outcome::Incomplete);
        let is_lost = self.request.background && is_cut && call.response_id.is_some();
        if is_lost || ending == Ending::Terminal(Terminal::Pending) {
            Ended::Pending(call)
        } else {
            Ended::Call(call)
        }
    }

    /// Reads an event at the end of the stream that lacks only its blank line.
    fn last_event(&mut self, at: Timestamp) -> Option<Terminal> {
        let Response {
            form: Some(ResponseForm::Events(decoder)),
            reader,
            ..
        } = self.response.as_mut()?
        else {
            return None;
        };
        decoder
            .unfinished()
            .and_then(|event| reader.event(self.api, at, event))
    }

    /// How the call ended. Missing bytes never look complete: after a gap in the response even a
    /// reply whose terminal event was seen is incomplete.
    fn outcome(&self, ending: Ending) -> Outcome {
        let Some(response) = &self.response else {
            return Outcome::Unanswered;
        };
        if response.status >= 400 {
            return Outcome::Error;
        }
        match ending {
            Ending::Terminal(Terminal::Error) => Outcome::Error,
            _ if response.reader.reply.has_failed => Outcome::Error,
            _ if response.has_gap => Outcome::Incomplete,
            Ending::Terminal(Terminal::Complete | Terminal::Pending) => Outcome::Complete,
            Ending::GivenUp | Ending::Body(BodyEnd::Lost | BodyEnd::Refused) => Outcome::Incomplete,
            Ending::Body(end @ (BodyEnd::Complete | BodyEnd::Cut | BodyEnd::GivenUp(_))) => {
                let is_whole = end == BodyEnd::Complete;
                // Without its terminal event a stream is whole if the model said why it stopped,
                // and either the framing or the usage that comes last agrees.
                let has_reason = !response.reader.reply.stop.as_str().is_empty();
                let has_usage = response.reader.reply.is_final && self.api.ends_with_usage;
                let is_done = match response.form {
                    Some(ResponseForm::Events(_) | ResponseForm::Frames(_)) => {
                        has_reason && (is_whole || has_usage)
                    }
                    Some(ResponseForm::Texts(_)) => has_reason && is_whole,
                    Some(ResponseForm::Opaque) => is_whole,
                    Some(ResponseForm::Body) | None => is_whole || (has_reason && has_usage),
                    // A WebSocket outlives its responses, and ends none of them.
                    Some(ResponseForm::Lines(_) | ResponseForm::Messages) => false,
                };
                if is_done {
                    Outcome::Complete
                } else {
                    Outcome::Aborted
                }
            }
        }
    }
}

/// Who cut the reply, where that shows.
const fn aborted_by(outcome: Outcome, ending: Ending) -> Option<AbortedBy> {
    match (outcome, ending) {
        (Outcome::Aborted, Ending::Body(BodyEnd::GivenUp(Role::Client))) => Some(AbortedBy::Client),
        (Outcome::Aborted, Ending::Body(BodyEnd::GivenUp(Role::Server))) => Some(AbortedBy::Server),
        _ => None,
    }
}

/// True if the reply was read to its end, so that counters which were final when they came are the
/// call's. That is so after a gap, too, if they and the terminal event came after it. Where usage
/// comes last, `has_last` says whether the model had said why it stopped: then the end of the body
/// is as good as a terminal event, and else an error leaves the counters unfinished.
fn has_result(outcome: Outcome, ending: Ending, has_last: Option<bool>) -> bool {
    match ending {
        Ending::Terminal(Terminal::Error) => has_last.unwrap_or(true),
        Ending::Terminal(Terminal::Complete | Terminal::Pending) => true,
        Ending::Body(BodyEnd::Complete) if has_last == Some(true) => true,
        Ending::Body(_) | Ending::GivenUp => outcome == Outcome::Complete,
    }
}

fn source(usage: &Usage, is_final: bool) -> UsageSource {
    if *usage == Usage::default() {
        UsageSource::None
    } else if is_final && usage.input_uncached.is_some() && usage.output.is_some() {
        UsageSource::Provider
    } else {
        UsageSource::ProviderPartial
    }
}

/// The model that a body names, else that of its path. A body that repeats the path's has the folder
/// with it (`models/gemini-embedding-001`), which is no part of the name.
fn named_once(body: Option<String>, path: Option<String>) -> Option<String> {
    let repeats = body
        .as_deref()
        .and_then(|body| body.strip_prefix("models/"));
    if repeats.is_some() && repeats == path.as_deref() {
        path
    } else {
        body.or(path)
    }
}
