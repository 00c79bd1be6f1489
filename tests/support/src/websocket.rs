//! A WebSocket of OpenAI responses as the bytes of both sides: the opening, and one turn after the
//! other.

use std::io;

use agent_core::event::Direction;
use serde_json::json;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};

use crate::call::Call;
use crate::endpoint::deflate::Deflate;
use crate::numbers::Numbers;
use crate::plan::{Encoding, Plan, Split};
use crate::reply;
use crate::served::{Api, Protocol, Served};
use crate::traffic::{Chunking, Line, SEED, Traffic};

/// One turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Frames of the message that asks for it.
    pub create: Vec<u8>,
    /// Frames of its events, one message each.
    pub events: Vec<Vec<u8>>,
    /// The truth.
    pub served: Served,
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Head that asks for the WebSocket.
    pub request: Vec<u8>,
    /// Head that agrees to it.
    pub response: Vec<u8>,
    /// Turns, in order.
    pub turns: Vec<Turn>,
}

/// Makes a connection with the calls `numbers`, compressed where the plan says `deflate`, each
/// message cut into frames as its split says.
///
/// # Errors
/// If a compressor fails, which none does in memory.
pub fn socket(numbers: impl IntoIterator<Item = u64>, plan: &Plan) -> io::Result<Socket> {
    const USER_AGENT: &str = "made-up/1.0";
    const HOST: &str = "api.openai.com";
    let is_deflated = plan.encoding == Encoding::Deflate;
    let extension = if is_deflated {
        "sec-websocket-extensions: permessage-deflate\r\n"
    } else {
        ""
    };
    let deflate = || is_deflated.then(|| Deflate::accept("permessage-deflate"));
    let mut client = Side::new(Some(MASK), deflate(), plan.split);
    let mut server = Side::new(None, deflate(), plan.split);
    let mut turns = Vec::new();
    for number in numbers {
        let model = format!("model-{}", number % 5);
        let prompt = format!("prompt {number}: how many tokens has a naïve café? 漢字");
        let body = json!({"type": "response.create", "model": model, "input": prompt});
        let create = client.message(body.to_string().as_bytes())?;
        let call = Call::by_message(Api::OpenAiResponses, None, body, Vec::new());
        let numbers = Numbers::of(SEED, number, Api::OpenAiResponses, plan.deltas);
        let answer = reply::answer(&call, &numbers, plan);
        let parts = answer.reply.parts.iter();
        let events = parts
            .map(|part| server.message(part))
            .collect::<Result<_, _>>()?;
        turns.push(Turn {
            create,
            events,
            served: Served {
                number,
                id: answer.id,
                api: Api::OpenAiResponses,
                client_port: 0,
                protocol: if is_deflated {
                    Protocol::WebSocketDeflate
                } else {
                    Protocol::WebSocket
                },
                host: Some(HOST.to_owned()),
                user_agent: Some(USER_AGENT.to_owned()),
                session_header: None,
                identity_headers: Vec::new(),
                text_in_bytes: reply::text_in_bytes(&call.body),
                model_requested: call.model,
                model_served: answer.model_served,
                stop_reason: answer.stop_reason,
                service_tier: answer.service_tier,
                stream: true,
                status: 101,
                is_warm_up: false,
                tools: answer.tools,
                usage: numbers.usage,
                reported: answer.reported,
                outcome: answer.outcome,
                text_out_bytes: answer.text_out_bytes,
            },
        });
    }
    Ok(Socket {
        request: format!(
            "GET /v1/responses HTTP/1.1\r\nhost: {HOST}\r\nuser-agent: {USER_AGENT}\r\n\
             authorization: Bearer sk-test-canary\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: bWFkZS11cC1rZXktMDAwMA==\r\n\
             {extension}\r\n"
        )
        .into_bytes(),
        response: format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             {extension}\r\n"
        )
        .into_bytes(),
        turns,
    })
}

/// The connection seen from its client, opened and closed. What the client writes is cut by
/// `chunking`, and each message of the server is read by itself, cut alike.
pub fn socket_traffic(line: &mut Line, socket: &Socket, chunking: &Chunking) -> Traffic {
    let mut traffic = Traffic::default();
    line.open(&mut traffic);
    line.send(Direction::Written, &socket.request, chunking, &mut traffic);
    line.send(Direction::Read, &socket.response, chunking, &mut traffic);
    for turn in &socket.turns {
        line.send(Direction::Written, &turn.create, chunking, &mut traffic);
        for event in &turn.events {
            line.send(Direction::Read, event, chunking, &mut traffic);
        }
    }
    line.close(&mut traffic);
    traffic
}

/// A text that was sent in one frame, as the client or the server sends it.
///
/// # Errors
/// If it can't be framed, which any text can.
pub fn message(direction: Direction, text: &str) -> io::Result<Vec<u8>> {
    let mask = (direction == Direction::Written).then_some(MASK);
    Side::new(mask, None, Split::Whole).message(text.as_bytes())
}

/// What hides the bytes of a client from proxies (RFC 6455, section 5.3).
const MASK: [u8; 4] = [0x1a, 0x2b, 0x3c, 0x4d];

/// What one side sends.
struct Side {
    mask: Option<[u8; 4]>,
    deflate: Option<Deflate>,
    split: Split,
    rng: fastrand::Rng,
}

impl Side {
    fn new(
        mask: Option<[u8; 4]>,
        deflate: Option<Option<(Deflate, String)>>,
        split: Split,
    ) -> Self {
        Self {
            mask,
            deflate: deflate.flatten().map(|(deflate, _)| deflate),
            split,
            rng: fastrand::Rng::with_seed(SEED),
        }
    }

    /// The frames of a message.
    fn message(&mut self, text: &[u8]) -> io::Result<Vec<u8>> {
        let payload = match &mut self.deflate {
            Some(deflate) => deflate.compress(text)?,
            None => text.to_vec(),
        };
        let mut rest = payload.as_slice();
        let mut bytes = Vec::new();
        let mut opcode = OpCode::Data(Data::Text);
        let mut rsv1 = self.deflate.is_some();
        loop {
            let length = match self.split {
                Split::Usual | Split::Whole => rest.len(),
                Split::Every(length) => length.clamp(1, rest.len().max(1)).min(rest.len()),
                Split::Random => self.rng.usize(..=rest.len()),
            };
            let (fragment, left) = rest.split_at(length);
            rest = left;
            let header = FrameHeader {
                is_final: rest.is_empty(),
                opcode,
                rsv1,
                mask: self.mask,
                ..FrameHeader::default()
            };
            Frame::from_payload(header, fragment.to_vec().into())
                .format(&mut bytes)
                .map_err(io::Error::other)?;
            opcode = OpCode::Data(Data::Continue);
            rsv1 = false;
            if rest.is_empty() {
                return Ok(bytes);
            }
        }
    }
}
