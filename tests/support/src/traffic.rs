//! Ring records and events of made-up conversations, for golden tests, fuzz seeds and benchmarks.
//!
//! A [`Line`] is one connection of one process. Each step appends what the kernel programs would
//! have put into the ring: to `records` as bytes, to `events` as the events that the same bytes
//! mean. The two are made apart, so that each checks the other.

use std::time::Duration;

use agent_common::record::{
    COMM_BYTES, MAX_PAYLOAD_BYTES, Opened, PAYLOAD_SIZES, RecordHeader, kind,
};
use agent_core::event::{ConnId, Direction, Event, Plaintext, Timestamp};
use bytes::Bytes;
use serde_json::json;
use zerocopy::IntoBytes as _;

use crate::call::Call;
use crate::numbers::Numbers;
use crate::plan::Plan;
use crate::reply;
use crate::script::{Script, frames, script};
use crate::served::{Api, Protocol, Served};

/// How the bytes of one message were handed to the TLS library, call by call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunking {
    /// In one call.
    Whole,
    /// In calls of so many bytes.
    Every(usize),
    /// Cut behind these offsets, which rise.
    At(Vec<usize>),
}

impl Chunking {
    /// The pieces of `bytes`, none of them empty and none longer than a record's payload.
    pub fn pieces<'a>(&self, bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let calls: Vec<&[u8]> = match self {
            Self::Whole => vec![bytes],
            Self::Every(length) => bytes.chunks((*length).max(1)).collect(),
            Self::At(offsets) => {
                let mut calls = Vec::new();
                let mut rest = bytes;
                let mut start = 0;
                for offset in offsets {
                    let length = offset.saturating_sub(start).min(rest.len());
                    let (call, left) = rest.split_at(length);
                    calls.push(call);
                    rest = left;
                    start += length;
                }
                calls.push(rest);
                calls
            }
        };
        calls
            .into_iter()
            .flat_map(|call| call.chunks(MAX_PAYLOAD_BYTES))
            .collect()
    }
}

/// What the kernel programs would have said, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Ring records, each with its header and padded to a size class.
    pub records: Vec<Vec<u8>>,
    /// The same as events.
    pub events: Vec<Event>,
}

/// One TLS connection of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    conn: ConnId,
    now: Timestamp,
    written: u64,
    read: u64,
}

/// Time between two records of a line.
const STEP: Duration = Duration::from_micros(10);

impl Line {
    /// A connection of process `pid` at TLS object `ssl`, first seen at `since`.
    pub const fn new(pid: u32, ssl: u64, since: Timestamp) -> Self {
        Self {
            conn: ConnId { pid, ssl, since },
            now: since,
            written: 0,
            read: 0,
        }
    }

    /// Its id.
    pub const fn conn(&self) -> ConnId {
        self.conn
    }

    /// Lets time go by.
    pub fn wait(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }

    /// First sight, on descriptor 5.
    pub fn open(&mut self, traffic: &mut Traffic) {
        let mut comm = [0; COMM_BYTES];
        for (slot, byte) in comm.iter_mut().zip(b"client") {
            *slot = *byte;
        }
        let opened = Opened {
            comm,
            cgroup_id: 1,
            uid: 1_000,
            fd: 5,
        };
        traffic
            .records
            .push(self.record(kind::OPENED, opened.as_bytes(), 0, 0));
        traffic.events.push(Event::Opened {
            at: self.now,
            conn: self.conn,
            comm: "client".to_owned(),
            uid: opened.uid,
            fd: Some(opened.fd),
        });
        self.now = self.now + STEP;
    }

    /// The host name of the handshake.
    pub fn name(&mut self, name: &str, traffic: &mut Traffic) {
        traffic
            .records
            .push(self.record(kind::SERVER_NAME, name.as_bytes(), 0, 0));
        let name = name.to_owned();
        traffic.events.push(Event::ServerName {
            at: self.now,
            conn: self.conn,
            name,
        });
        self.now = self.now + STEP;
    }

    /// Bytes that were captured.
    pub fn send(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        chunking: &Chunking,
        traffic: &mut Traffic,
    ) {
        let number = match direction {
            Direction::Written => kind::WRITTEN,
            Direction::Read => kind::READ,
        };
        for piece in chunking.pieces(bytes) {
            let offset = *self.offset(direction);
            traffic.records.push(self.record(number, piece, offset, 0));
            traffic.events.push(Event::Chunk {
                at: self.now,
                conn: self.conn,
                direction,
                offset,
                during_write: None,
                rest: 0,
                bytes: Plaintext::new(Bytes::copy_from_slice(piece)),
            });
            self.skip(direction, piece.len() as u64);
            self.now = self.now + STEP;
        }
    }

    /// Bytes that went by and were lost: the offset goes on without them.
    pub const fn skip(&mut self, direction: Direction, bytes: u64) {
        let offset = self.offset(direction);
        *offset = offset.saturating_add(bytes);
    }

    /// The TLS object is freed.
    pub fn close(&mut self, traffic: &mut Traffic) {
        traffic
            .records
            .push(self.record(kind::CLOSED, &[], self.written, self.read));
        traffic.events.push(Event::Closed {
            at: self.now,
            conn: self.conn,
            written: self.written,
            read: self.read,
        });
        self.now = self.now + STEP;
    }

    const fn offset(&mut self, direction: Direction) -> &mut u64 {
        match direction {
            Direction::Written => &mut self.written,
            Direction::Read => &mut self.read,
        }
    }

    fn record(&self, kind: u32, payload: &[u8], offset: u64, aux: u64) -> Vec<u8> {
        let header = RecordHeader {
            kind,
            payload_bytes: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            pid: self.conn.pid,
            tid: self.conn.pid,
            ssl: self.conn.ssl,
            since_ns: self.conn.since.as_nanos(),
            at_ns: self.now.as_nanos(),
            offset,
            aux,
        };
        let mut record = header.as_bytes().to_vec();
        record.extend(payload);
        // Memory of the ring is reserved in size classes and not cleared.
        if let Some(size) = PAYLOAD_SIZES
            .into_iter()
            .find(|size| *size >= payload.len())
        {
            record.resize(size_of::<RecordHeader>() + size, 0xA5);
        }
        record
    }
}

/// The bytes of one call on the wire, and what a ledger must make of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Request, head and body.
    pub request: Vec<u8>,
    /// Response, one piece a write of the server.
    pub response: Vec<Vec<u8>>,
    /// The same response over HTTP/2, one piece a frame.
    pub frames: Script,
    /// The truth.
    pub served: Served,
}

/// Seed of the figures of made-up exchanges.
pub(crate) const SEED: u64 = 0x007A_FF1C;

/// Makes call `number` of `api`, streaming or not, with usage asked for, as `plan` says.
///
/// # Errors
/// If the API is not called by POST, or a compressor fails, which none does in memory.
pub fn exchange(api: Api, number: u64, stream: Stream, plan: &Plan) -> std::io::Result<Exchange> {
    let model = format!("model-{}", number % 5);
    let prompt = format!("prompt {number}: how many tokens has a naïve café? 漢字");
    let is_stream = stream != Stream::No;
    let mut body = json!({"model": model, "stream": is_stream});
    if let Some(body) = body.as_object_mut() {
        let message = json!([{"role": "user", "content": prompt}]);
        match api {
            Api::AnthropicMessages => {
                body.insert("max_tokens".to_owned(), json!(1_024));
                body.insert("messages".to_owned(), message);
            }
            Api::OpenAiChat => {
                body.insert("messages".to_owned(), message);
                if stream == Stream::WithUsage {
                    body.insert("stream_options".to_owned(), json!({"include_usage": true}));
                }
            }
            Api::OpenAiResponses | Api::OpenAiRealtime => {
                body.insert("input".to_owned(), json!(prompt));
            }
            Api::OpenAiCompletions => {
                body.insert("prompt".to_owned(), json!(prompt));
                if stream == Stream::WithUsage {
                    body.insert("stream_options".to_owned(), json!({"include_usage": true}));
                }
            }
            Api::OpenAiEmbeddings => {
                body.remove("stream");
                body.insert("input".to_owned(), json!(prompt));
            }
            Api::BedrockConverse => {
                body.clear();
                let content = json!([{"text": prompt}]);
                let message = json!([{"role": "user", "content": content}]);
                body.insert("messages".to_owned(), message);
            }
            Api::BedrockInvoke => {
                body.clear();
                let version = json!("bedrock-2023-05-31");
                body.insert("anthropic_version".to_owned(), version);
                body.insert("max_tokens".to_owned(), json!(1_024));
                body.insert("messages".to_owned(), message);
            }
            Api::CohereChat | Api::OllamaChat => {
                body.insert("messages".to_owned(), message);
            }
            Api::VercelLanguage => {
                body.clear();
                let content = json!([{"type": "text", "text": prompt}]);
                let message = json!([{"role": "user", "content": content}]);
                body.insert("prompt".to_owned(), message);
            }
            Api::GeminiGenerate => {
                body.clear();
                let contents = json!([{"role": "user", "parts": [{"text": prompt}]}]);
                body.insert("contents".to_owned(), contents);
            }
        }
    }
    let host = match api {
        Api::AnthropicMessages => "api.anthropic.com",
        Api::OpenAiChat
        | Api::OpenAiResponses
        | Api::OpenAiRealtime
        | Api::OpenAiCompletions
        | Api::OpenAiEmbeddings => "api.openai.com",
        Api::GeminiGenerate => "generativelanguage.googleapis.com",
        Api::BedrockConverse | Api::BedrockInvoke => "bedrock-runtime.us-east-1.amazonaws.com",
        Api::CohereChat => "api.cohere.com",
        Api::OllamaChat => "ollama.com",
        Api::VercelLanguage => "ai-gateway.vercel.sh",
    };
    let target = match (api, stream) {
        (Api::GeminiGenerate, Stream::No) => format!("/v1beta/models/{model}:generateContent"),
        (Api::GeminiGenerate, _) => {
            format!("/v1beta/models/{model}:streamGenerateContent?alt=sse")
        }
        (Api::BedrockConverse, Stream::No) => format!("/model/{model}/converse"),
        (Api::BedrockConverse, _) => format!("/model/{model}/converse-stream"),
        (Api::BedrockInvoke, Stream::No) => format!("/model/{model}/invoke"),
        (Api::BedrockInvoke, _) => format!("/model/{model}/invoke-with-response-stream"),
        _ => api.path().to_owned(),
    };
    let mut fields = vec![("host", host.to_owned())];
    if api == Api::VercelLanguage {
        fields.push(("ai-language-model-id", model));
        fields.push(("ai-language-model-streaming", is_stream.to_string()));
    }
    let is_stream = is_stream && api != Api::OpenAiEmbeddings;
    let text = body.to_string();
    let user_agent = "made-up/1.0";
    let mut request = format!("POST {target} HTTP/1.1\r\n");
    for (name, value) in &fields {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!(
        "user-agent: {user_agent}\r\nauthorization: Bearer sk-test-canary\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{text}",
        text.len(),
    ));
    let field = |wanted: &str| {
        let mut fields = fields.iter();
        fields.find_map(|(name, value)| (*name == wanted).then_some(value.as_str()))
    };
    let call = Call::by_post(&target, text.as_bytes())
        .ok_or_else(|| std::io::Error::other("an API that is not called by POST"))?
        .with_fields(field);
    let numbers = Numbers::of(SEED, number, api, plan.deltas);
    let answer = reply::answer(&call, &numbers, plan);
    let script = script(&answer.reply, plan, number, false)?;
    Ok(Exchange {
        frames: frames(&answer.reply, plan, number)?,
        request: request.into_bytes(),
        response: script.pieces.into_iter().map(|piece| piece.bytes).collect(),
        served: Served {
            number,
            id: answer.id,
            api,
            client_port: 0,
            protocol: Protocol::Http1,
            host: Some(host.to_owned()),
            user_agent: Some(user_agent.to_owned()),
            session_header: None,
            identity_headers: Vec::new(),
            model_requested: call.model,
            model_served: answer.model_served,
            stop_reason: answer.stop_reason,
            service_tier: answer.service_tier,
            stream: is_stream,
            status: answer.reply.status,
            is_warm_up: false,
            tools: answer.tools,
            usage: numbers.usage,
            reported: answer.reported,
            outcome: answer.outcome,
            text_in_bytes: reply::text_in_bytes(&body),
            text_out_bytes: answer.text_out_bytes,
        },
    })
}

/// Whether a made-up call asks for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// One JSON text.
    No,
    /// A stream; of chat completions without usage.
    WithoutUsage,
    /// A stream with usage.
    WithUsage,
}

/// A connection of `pid` with one exchange after the other, seen from the client, opened and
/// closed. The request is cut by `chunking`; the response comes as the server wrote it.
pub fn client_traffic(line: &mut Line, exchanges: &[Exchange], chunking: &Chunking) -> Traffic {
    let mut traffic = Traffic::default();
    line.open(&mut traffic);
    for exchange in exchanges {
        line.send(
            Direction::Written,
            &exchange.request,
            chunking,
            &mut traffic,
        );
        for piece in &exchange.response {
            line.send(Direction::Read, piece, &Chunking::Whole, &mut traffic);
        }
    }
    line.close(&mut traffic);
    traffic
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line::new(100, 0x7F00, Timestamp::from_nanos(1_000))
    }

    #[test]
    fn pieces_are_never_empty_and_add_up() {
        let bytes = vec![7_u8; 40_000];
        for chunking in [
            Chunking::Whole,
            Chunking::Every(1_000),
            Chunking::At(vec![0, 1, 30_000]),
        ] {
            let pieces = chunking.pieces(&bytes);
            assert!(
                pieces
                    .iter()
                    .all(|piece| (1..=MAX_PAYLOAD_BYTES).contains(&piece.len()))
            );
            assert_eq!(pieces.concat(), bytes, "{chunking:?}");
        }
    }

    #[test]
    fn a_record_is_header_payload_and_padding() {
        let mut traffic = Traffic::default();
        line().send(Direction::Read, b"abc", &Chunking::Whole, &mut traffic);
        let record = &traffic.records[0];
        assert_eq!(record.len(), 56 + 256);
        assert_eq!(record[..8], [2, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(&record[56..60], b"abc\xA5");
    }

    #[test]
    fn skipped_bytes_show_in_the_next_offset_and_at_the_end() {
        let mut line = line();
        let mut traffic = Traffic::default();
        line.send(Direction::Read, b"abc", &Chunking::Whole, &mut traffic);
        line.skip(Direction::Read, 7);
        line.send(Direction::Read, b"d", &Chunking::Whole, &mut traffic);
        line.close(&mut traffic);
        let offsets: Vec<_> = traffic
            .events
            .iter()
            .map(|event| {
                if let Event::Chunk { offset, .. } | Event::Closed { read: offset, .. } = event {
                    *offset
                } else {
                    panic!("{event:?}")
                }
            })
            .collect();
        assert_eq!(offsets, [0, 10, 11]);
    }

    #[test]
    fn an_exchange_has_its_own_id_in_its_response() {
        for api in Api::MODEL_IN_BODY.into_iter().chain([Api::GeminiGenerate]) {
            for stream in [Stream::No, Stream::WithoutUsage, Stream::WithUsage] {
                let exchange = exchange(api, 3, stream, &Plan::default()).unwrap();
                let response = String::from_utf8(exchange.response.concat()).unwrap();
                assert!(response.contains(exchange.served.id.as_ref().unwrap()));
                let traffic = client_traffic(&mut line(), &[exchange], &Chunking::Every(9));
                assert_eq!(traffic.records.len(), traffic.events.len());
            }
        }
    }
}
