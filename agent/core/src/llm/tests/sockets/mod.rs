//! Calls over a WebSocket: responses, many on one connection, and realtime.

mod laws;
mod limits;
mod live;
mod losses;
mod realtime;
mod standing;
mod turns;
mod upgrades;

use super::*;
use crate::http::Role::{Client, Server};

/// What happens on a connection that was upgraded: at 1 ms, and then one step a millisecond.
#[derive(Clone)]
struct Socket {
    path: &'static str,
    fields: Vec<(&'static str, &'static str)>,
    model: Option<String>,
    scheme: Scheme,
    status: u16,
    steps: Vec<(Role, Said)>,
    end: BodyEnd,
}

#[derive(Clone)]
enum Said {
    Message(String),
    /// A message of which only so much was read, and how it ended.
    Part(String, BodyEnd),
    /// Any number of messages.
    Lost,
}

impl Socket {
    fn new(path: &'static str) -> Self {
        Self {
            path,
            fields: vec![("host", "llm.example:8443"), ("upgrade", "websocket")],
            model: None,
            scheme: Scheme::Unread,
            status: 101,
            steps: Vec::new(),
            end: BodyEnd::Cut,
        }
    }

    fn field(mut self, name: &'static str, value: &'static str) -> Self {
        self.fields.push((name, value));
        self
    }

    fn says(mut self, from: Role, said: Said) -> Self {
        self.steps.push((from, said));
        self
    }

    fn client(self, text: &str) -> Self {
        self.says(Client, Said::Message(text.to_owned()))
    }

    fn server(self, text: &str) -> Self {
        self.says(Server, Said::Message(text.to_owned()))
    }

    /// A message of that side that is known to have been sent, and no more.
    fn unread(self, from: Role) -> Self {
        self.says(from, Said::Part(String::new(), BodyEnd::Lost))
    }

    fn lost(self, from: Role) -> Self {
        self.says(from, Said::Lost)
    }

    fn end(mut self, end: BodyEnd) -> Self {
        self.end = end;
        self
    }

    /// The events; each message in pieces of at most so many bytes.
    fn events(&self, longest: usize) -> Vec<HttpEvent> {
        let id = exchange(0);
        let mut events = vec![
            HttpEvent::Request {
                at: at(1),
                id,
                role: Client,
                head: RequestHead {
                    method: "GET".to_owned(),
                    path: self.path.to_owned(),
                    model: self.model.clone(),
                    scheme: self.scheme,
                    headers: headers(&self.fields),
                },
            },
            HttpEvent::RequestEnd {
                at: at(1),
                id,
                end: BodyEnd::Complete,
            },
            HttpEvent::Response {
                at: at(1),
                id,
                head: ResponseHead {
                    status: self.status,
                    headers: headers(&[]),
                },
            },
        ];
        let mut time = 1;
        for (from, said) in &self.steps {
            time += 1;
            let (at, from) = (at(time), *from);
            let (text, end) = match said {
                Said::Message(text) => (text, BodyEnd::Complete),
                Said::Part(text, end) => (text, *end),
                Said::Lost => {
                    events.push(HttpEvent::MessagesLost { at, id, from });
                    continue;
                }
            };
            for piece in text.as_bytes().chunks(longest) {
                let bytes = Plaintext::from(piece.to_vec());
                events.push(HttpEvent::Message {
                    at,
                    id,
                    from,
                    bytes,
                });
            }
            events.push(HttpEvent::MessageEnd { at, id, from, end });
        }
        let at = at(time + 1);
        let end = self.end;
        events.push(HttpEvent::ResponseEnd { at, id, end });
        events.push(HttpEvent::Closed { at, conn: CONN });
        events
    }

    /// The calls, without their signals, which have tests of their own.
    fn calls(&self) -> Vec<LlmCall> {
        let without = |call| LlmCall {
            signals: Signals::default(),
            ..call
        };
        self.calls_with_signals().into_iter().map(without).collect()
    }

    fn calls_with_signals(&self) -> Vec<LlmCall> {
        let (out, stats) = run(self.events(usize::MAX));
        let calls = calls_with_signals(out);
        assert_eq!(stats.calls, calls.len() as u64);
        assert_eq!(stats.not_a_call, 0);
        for longest in [1, 7] {
            let (out, _) = run(self.events(longest));
            assert_eq!(
                calls_with_signals(out),
                calls,
                "in pieces of {longest} bytes"
            );
        }
        calls
    }

    /// What matters most of each call.
    fn verdicts(&self) -> Vec<(Option<String>, Outcome, UsageSource, Option<u64>)> {
        let verdict = |call: LlmCall| {
            (
                call.response_id,
                call.outcome,
                call.usage_source,
                call.usage.output,
            )
        };
        self.calls().into_iter().map(verdict).collect()
    }

    /// How many times it was said that the connection cannot be read.
    fn undecodable(&self) -> usize {
        let (out, _) = run(self.events(usize::MAX));
        out.iter()
            .filter(|event| matches!(event, LlmEvent::Undecodable { .. }))
            .count()
    }
}

fn create(rest: &str) -> String {
    format!(
        r#"{{"type":"response.create","model":"gpt-6","input":[{{"role":"user","content":"Hello"}}]{rest}}}"#
    )
}

fn created(id: &str) -> String {
    format!(
        r#"{{"type":"response.created","sequence_number":0,"response":{{"id":"{id}","status":"in_progress","model":"gpt-6-2026","usage":null}}}}"#
    )
}

const DELTA: &str = r#"{"type":"response.output_text.delta","item_id":"msg_1","delta":"Hi"}"#;

fn done(id: &str, output: u64) -> String {
    over("completed", id, output, "")
}

fn over(status: &str, id: &str, output: u64, rest: &str) -> String {
    format!(
        r#"{{"type":"response.{status}","response":{{"id":"{id}","model":"gpt-6-2026","status":"{status}","usage":{{"input_tokens":100,"input_tokens_details":{{"cached_tokens":60}},"output_tokens":{output},"output_tokens_details":{{"reasoning_tokens":5}},"total_tokens":120}}{rest}}}}}"#
    )
}

fn whole(id: &str, output: u64) -> (Option<String>, Outcome, UsageSource, Option<u64>) {
    (
        Some(id.to_owned()),
        Outcome::Complete,
        UsageSource::Provider,
        Some(output),
    )
}

fn responses() -> Socket {
    Socket::new("/v1/responses")
}

/// Two turns behind a warm-up, as Codex has them.
fn turns() -> Socket {
    responses()
        .client(&create(r#","generate":false"#))
        .server(&created("resp_0"))
        .server(
            r#"{"type":"response.completed","response":{"id":"resp_0","usage":{"input_tokens":0,"output_tokens":0,"total_tokens":0}}}"#,
        )
        .client(&create(r#","previous_response_id":"resp_0""#))
        .server(r#"{"type":"codex.rate_limits","plan_type":"pro","id":"limit_1","usage":{"output_tokens":9}}"#)
        .server(&created("resp_1"))
        .server(DELTA)
        .server(&done("resp_1", 20))
        .client(&create(r#","previous_response_id":"resp_1""#))
        .server(&created("resp_2"))
        .server(DELTA)
        .server(&done("resp_2", 30))
}
