//! Tests of the whole stage. A [`Talk`] is one exchange in readable form.

mod anthropic;
mod background;
mod batch;
mod bedrock;
mod calls;
mod chat;
mod cohere;
mod compatible;
mod connections;
mod ends;
mod gemini;
mod google_embeddings;
mod headless;
mod hosts;
mod interactions;
mod laws;
mod lineage;
mod mistral;
mod ollama;
mod openai;
mod payers;
mod pictures;
mod responses;
mod signals;
mod sockets;
mod tries;
mod vercel;

use super::*;
use crate::event::{ConnId, Plaintext};
use crate::http::{
    BodyEnd, Dismissal, Headers, HttpEvent, RequestHead, ResponseHead, Role, Scheme,
};
use crate::stats::Stats;

pub(super) const CONN: ConnId = ConnId {
    pid: 7,
    ssl: 0x1000,
    since: Timestamp::from_nanos(5),
};

pub(super) fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

pub(super) fn exchange(number: u64) -> ExchangeId {
    ExchangeId { conn: CONN, number }
}

pub(super) fn headers(fields: &[(&'static str, &str)]) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in fields {
        headers.push(name, (*value).to_owned());
    }
    headers
}

/// A piece of a response body: some bytes, or a hole.
#[derive(Clone)]
pub(super) enum Piece {
    Bytes(Vec<u8>),
    Gap,
}

/// One exchange.
#[derive(Clone)]
pub(super) struct Talk {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) fields: Vec<(&'static str, &'static str)>,
    pub(super) scheme: Scheme,
    pub(super) request: String,
    pub(super) status: u16,
    pub(super) kind: &'static str,
    pub(super) response: Vec<Piece>,
    pub(super) end: BodyEnd,
}

impl Talk {
    pub(super) fn new(
        path: &'static str,
        request: &str,
        kind: &'static str,
        response: &str,
    ) -> Self {
        Self {
            method: "POST",
            path,
            fields: vec![("host", "llm.example:8443")],
            scheme: Scheme::Unread,
            request: request.to_owned(),
            status: 200,
            kind,
            response: vec![Piece::Bytes(response.as_bytes().to_vec())],
            end: BodyEnd::Complete,
        }
    }

    pub(super) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(super) fn field(mut self, name: &'static str, value: &'static str) -> Self {
        self.fields.insert(0, (name, value));
        self
    }

    pub(super) fn end(mut self, end: BodyEnd) -> Self {
        self.end = end;
        self
    }

    pub(super) fn pieces(mut self, pieces: Vec<Piece>) -> Self {
        self.response = pieces;
        self
    }

    /// The events of the exchange: request at 1 ms, response head at 2 ms, body at 3 ms, end at 4.
    pub(super) fn events(&self, number: u64) -> Vec<HttpEvent> {
        let id = exchange(number);
        let method = self.method.to_owned();
        let mut events = vec![
            HttpEvent::Request {
                at: at(1),
                id,
                role: Role::Client,
                head: RequestHead {
                    method,
                    path: self.path.to_owned(),
                    model: None,
                    scheme: self.scheme,
                    headers: headers(&self.fields),
                },
            },
            HttpEvent::RequestBody {
                id,
                bytes: Plaintext::from(self.request.clone().into_bytes()),
            },
            HttpEvent::RequestEnd {
                at: at(1),
                id,
                end: BodyEnd::Complete,
            },
            HttpEvent::Response {
                at: at(2),
                id,
                head: ResponseHead {
                    status: self.status,
                    headers: headers(&[("content-type", self.kind)]),
                },
            },
        ];
        for piece in &self.response {
            events.push(match piece {
                Piece::Bytes(bytes) => HttpEvent::ResponseBody {
                    at: at(3),
                    id,
                    bytes: Plaintext::from(bytes.clone()),
                },
                Piece::Gap => HttpEvent::ResponseGap { id, bytes: 1 },
            });
        }
        events.push(HttpEvent::ResponseEnd {
            at: at(4),
            id,
            end: self.end,
        });
        events
    }

    /// Bytes of its bodies up to the end of the reply: a line that ends with CR LF is over with
    /// its CR.
    pub(super) fn bytes(&self) -> u64 {
        let piece = |piece: &Piece| match piece {
            Piece::Bytes(bytes) => bytes
                .strip_suffix(b"\r\n")
                .map_or(bytes.len(), |b| b.len() + 1),
            Piece::Gap => 0,
        };
        (self.request.len() + self.response.iter().map(piece).sum::<usize>()) as u64
    }

    pub(super) fn run(&self) -> (Vec<LlmEvent>, Stats) {
        run(self.events(0))
    }

    /// The one call that comes of it, without its signals, which have tests of their own.
    pub(super) fn call(&self) -> LlmCall {
        LlmCall {
            signals: Signals::default(),
            ..self.call_with_signals()
        }
    }

    /// The one call that comes of it.
    pub(super) fn call_with_signals(&self) -> LlmCall {
        let (mut out, _) = self.run();
        assert_eq!(out.len(), 1, "one call");
        match out.pop() {
            Some(LlmEvent::Call(call)) => *call,
            other => panic!("no call but {other:?}"),
        }
    }
}

pub(super) fn run(events: Vec<HttpEvent>) -> (Vec<LlmEvent>, Stats) {
    run_with(Hosts::default(), events)
}

pub(super) fn run_with(hosts: Hosts, events: Vec<HttpEvent>) -> (Vec<LlmEvent>, Stats) {
    let mut llm = Llm::new(Limits::default()).with_hosts(hosts);
    let (mut stats, mut out) = (Stats::default(), Vec::new());
    for event in events {
        llm.handle(event, &mut stats, &mut out);
    }
    (out, stats)
}

/// The calls, without their signals.
pub(super) fn calls(out: Vec<LlmEvent>) -> Vec<LlmCall> {
    let without = |call| LlmCall {
        signals: Signals::default(),
        ..call
    };
    calls_with_signals(out).into_iter().map(without).collect()
}

pub(super) fn calls_with_signals(out: Vec<LlmEvent>) -> Vec<LlmCall> {
    out.into_iter()
        .filter_map(|event| match event {
            LlmEvent::Call(call) => Some(*call),
            LlmEvent::Limit(_) | LlmEvent::Ignore { .. } | LlmEvent::Undecodable { .. } => None,
        })
        .collect()
}

/// What the tests of one API compare most: how it ended, and what it used.
pub(super) fn verdict(call: &LlmCall) -> (Outcome, UsageSource, Option<u64>, Option<u64>) {
    (
        call.outcome,
        call.usage_source,
        call.usage.input_uncached,
        call.usage.output,
    )
}

/// Server-sent events with these payloads.
pub(super) fn sse(payloads: &[&str]) -> String {
    payloads
        .iter()
        .map(|payload| format!("data: {payload}\n\n"))
        .collect()
}
