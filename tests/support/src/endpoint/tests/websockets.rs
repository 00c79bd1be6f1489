//! WebSockets with the client of tungstenite, and with compressed frames by hand.

use std::net::TcpStream as StdTcpStream;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use rustls::{ClientConnection, StreamOwned};
use serde_json::Value;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader, FrameSocket};
use tungstenite::{HandshakeError, Message, WebSocket};

use super::client::{blocking, tokens};
use super::*;
use crate::served::{Api, Outcome, Reported};

type Stream = StreamOwned<ClientConnection, StdTcpStream>;

fn request(endpoint: &Endpoint, path: &str) -> http::Request<()> {
    let url = format!("wss://localhost:{}{path}", endpoint.addr().port());
    let mut request = url.into_client_request().unwrap();
    let session = http::HeaderValue::from_static("s-2");
    request.headers_mut().insert("session-id", session);
    request
}

/// Opens a WebSocket at `path`.
fn open(endpoint: &Endpoint, path: &str) -> WebSocket<Stream> {
    let opened = tungstenite::client(request(endpoint, path), blocking(endpoint));
    opened.unwrap().0
}

/// The status by which the opening is refused.
fn refusal(endpoint: &Endpoint, path: &str) -> http::StatusCode {
    match tungstenite::client(request(endpoint, path), blocking(endpoint)) {
        Err(HandshakeError::Failure(tungstenite::Error::Http(response))) => response.status(),
        Ok(_) | Err(_) => panic!("it is not refused"),
    }
}

fn send(socket: &mut WebSocket<Stream>, message: &Value) {
    socket.send(Message::text(message.to_string())).unwrap();
}

/// The next event.
fn next(socket: &mut WebSocket<Stream>) -> Value {
    loop {
        if let Message::Text(text) = socket.read().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

/// The events up to the terminal one.
fn turn(socket: &mut WebSocket<Stream>) -> Vec<Value> {
    let mut events = Vec::new();
    loop {
        let event = next(socket);
        let kind = event["type"].as_str().unwrap().to_owned();
        events.push(event);
        if ["response.completed", "response.failed", "response.done"].contains(&kind.as_str()) {
            return events;
        }
    }
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

fn create(text: &str) -> Value {
    json!({
        "type": "response.create",
        "model": "m",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": text}]}],
    })
}

#[test]
fn many_turns_on_one_connection_are_calls_of_their_own() {
    for plan in ["", "split-5", "random", "whole"] {
        let endpoint = Endpoint::start().unwrap();
        let path = format!("/plan/{plan}{}", Api::OpenAiResponses.path());
        let mut socket = open(&endpoint, &path);
        let mut warm_up = create("hi");
        warm_up["generate"] = json!(false);
        send(&mut socket, &warm_up);
        let events = turn(&mut socket);
        assert_eq!(
            kinds(&events),
            [
                "response.created",
                "response.in_progress",
                "response.completed"
            ]
        );
        socket.send(Message::Ping("are you there".into())).unwrap();
        for _ in 0..4 {
            send(&mut socket, &create("hi"));
            let events = turn(&mut socket);
            let served = endpoint.served().pop().unwrap();
            let last = &events.last().unwrap()["response"];
            assert_eq!(last["id"].as_str(), served.id.as_deref());
            assert_eq!(tokens(served.api, &last["usage"]), served.usage);
            let text: String = events
                .iter()
                .filter(|event| event["type"] == "response.output_text.delta")
                .map(|event| event["delta"].as_str().unwrap())
                .collect();
            assert_eq!(text.len() as u64, served.text_out_bytes);
        }
        socket.close(None).unwrap();
        while socket.read().is_ok() {}

        let served = endpoint.served();
        assert_eq!(served.len(), 5);
        assert!(served[0].is_warm_up && served[0].usage.input() == 0);
        for call in &served {
            assert_eq!(call.protocol, Protocol::WebSocket);
            assert_eq!((call.status, call.stream), (101, true));
            assert_eq!(call.outcome, Outcome::Complete);
            assert_eq!(call.session_header.as_deref(), Some("s-2"));
            assert_eq!(call.client_port, served[0].client_port);
        }
        let opened = &endpoint.other_requests()[0];
        assert_eq!(
            (opened.path.as_str(), opened.status),
            ("/v1/responses", 101)
        );
    }
}

#[test]
fn the_script_of_an_agent_goes_on_over_turns_that_send_only_what_is_new() {
    let endpoint = Endpoint::start().unwrap();
    let mut socket = open(&endpoint, "/backend-api/codex/responses");
    let mut first = create("bpftok-do:shell.shell please");
    first["input"].as_array_mut().unwrap().insert(
        0,
        json!({"type": "additional_tools", "tools": [{
            "type": "function",
            "name": "exec_command",
            "parameters": {
                "type": "object",
                "properties": {"cmd": {"type": "string"}},
                "required": ["cmd"],
            },
        }]}),
    );
    send(&mut socket, &first);
    let mut called = 0;
    loop {
        let events = turn(&mut socket);
        let response = &events.last().unwrap()["response"];
        let output = response["output"].as_array().unwrap();
        let Some(call) = output.iter().find(|item| item["type"] == "function_call") else {
            break;
        };
        assert_eq!(call["arguments"], r#"{"cmd":"echo bpftok"}"#);
        called += 1;
        let result = json!({
            "type": "function_call_output", "call_id": call["call_id"], "output": "bpftok",
        });
        send(
            &mut socket,
            &json!({
                "type": "response.create", "model": "m", "input": [result],
                "previous_response_id": response["id"],
            }),
        );
    }
    assert_eq!(called, 2);
    let tools: Vec<_> = endpoint
        .served()
        .into_iter()
        .map(|call| call.tools.len())
        .collect();
    assert_eq!(tools, [1, 1, 0]);
}

#[test]
fn realtime_tells_the_usage_of_each_response() {
    let endpoint = Endpoint::start().unwrap();
    let mut socket = open(&endpoint, Api::OpenAiRealtime.path());
    let session = next(&mut socket);
    assert_eq!(session["type"], "session.created");
    send(
        &mut socket,
        &json!({"type": "session.update", "session": {}}),
    );
    assert_eq!(next(&mut socket)["type"], "session.updated");
    for _ in 0..3 {
        let item = json!({
            "type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}],
        });
        send(
            &mut socket,
            &json!({"type": "conversation.item.create", "item": item}),
        );
        assert_eq!(next(&mut socket)["type"], "conversation.item.added");
        send(&mut socket, &json!({"type": "response.create"}));
        let events = turn(&mut socket);
        let response = &events.last().unwrap()["response"];
        let served = endpoint.served().pop().unwrap();
        assert_eq!(response["id"].as_str(), served.id.as_deref());
        assert_eq!(tokens(served.api, &response["usage"]), served.usage);
        assert_eq!(served.model_requested.as_deref(), Some("gpt-realtime"));
        let model = session["session"]["model"].as_str();
        assert_eq!(served.model_served.as_deref(), model);
    }
    let texts: Vec<_> = endpoint
        .served()
        .iter()
        .map(|call| call.text_in_bytes)
        .collect();
    assert_eq!(texts, [2, 4, 6]);
}

#[test]
fn faults_of_a_plan_end_a_turn_or_refuse_the_opening() {
    let endpoint = Endpoint::start().unwrap();
    let path = |plan: &str| format!("/plan/{plan}{}", Api::OpenAiResponses.path());
    let mut socket = open(&endpoint, &path("error-1.deltas-3"));
    send(&mut socket, &create("hi"));
    let events = turn(&mut socket);
    assert_eq!(kinds(&events).last(), Some(&"response.failed"));

    let mut socket = open(&endpoint, &path("abort-1.deltas-3"));
    send(&mut socket, &create("hi"));
    let mut count = 0;
    while let Ok(message) = socket.read() {
        count += usize::from(message.to_text().unwrap().contains("output_text.delta"));
    }
    assert_eq!(count, 1);
    let outcomes: Vec<_> = endpoint
        .served()
        .iter()
        .map(|call| (call.outcome, call.reported))
        .collect();
    let expected = [
        (Outcome::Error, Reported::Nothing),
        (Outcome::Aborted, Reported::Nothing),
    ];
    assert_eq!(outcomes, expected);

    assert_eq!(refusal(&endpoint, &path("status-503")), 503);
    let without = Endpoint::start_with(Options {
        websockets: false,
        ..Options::default()
    });
    let without = without.unwrap();
    assert_eq!(refusal(&without, Api::OpenAiResponses.path()), 426);
    assert_eq!(without.other_requests()[0].status, 426);
}

/// A client of compressed messages, frame by frame.
struct Deflated {
    socket: FrameSocket<Stream>,
    compress: Compress,
    decompress: Decompress,
}

impl Deflated {
    fn open(endpoint: &Endpoint, plan: &str) -> Self {
        let mut stream = blocking(endpoint);
        let opening = format!(
            "GET /plan/{plan}{} HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
            Api::OpenAiResponses.path(),
        );
        std::io::Write::write_all(&mut stream, opening.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            std::io::Read::read_exact(&mut stream, &mut byte).unwrap();
            head.extend(byte);
        }
        let head = String::from_utf8(head).unwrap();
        // The example of RFC 6455 section 1.3.
        assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(head.contains("sec-websocket-extensions: permessage-deflate\r\n"));
        Self {
            socket: FrameSocket::new(stream),
            compress: Compress::new(Compression::fast(), false),
            decompress: Decompress::new(false),
        }
    }

    /// Sends a message in frames of some bytes, with a ping between them.
    fn send(&mut self, message: &Value, frame_bytes: usize) {
        let text = message.to_string();
        let mut payload = Vec::with_capacity(text.len() + 100);
        self.compress
            .compress_vec(text.as_bytes(), &mut payload, FlushCompress::Sync)
            .unwrap();
        payload.truncate(payload.len() - 4);
        let count = payload.chunks(frame_bytes).count();
        for (index, fragment) in payload.chunks(frame_bytes).enumerate() {
            let header = FrameHeader {
                is_final: index + 1 == count,
                rsv1: index == 0,
                opcode: OpCode::Data(if index == 0 {
                    Data::Text
                } else {
                    Data::Continue
                }),
                mask: Some([1, 2, 3, 4]),
                ..FrameHeader::default()
            };
            let frame = Frame::from_payload(header, fragment.to_vec().into());
            self.socket.send(frame).unwrap();
            let mut ping = Frame::ping(b"p".as_slice());
            ping.header_mut().mask = Some([5, 6, 7, 8]);
            self.socket.send(ping).unwrap();
        }
    }

    /// The next message, and how many bytes it had on the wire.
    fn next(&mut self) -> (Value, usize) {
        let mut payload = Vec::new();
        loop {
            let frame = self.socket.read(None).unwrap().unwrap();
            let header = frame.header().clone();
            if let OpCode::Control(control) = header.opcode {
                assert!(matches!(control, Control::Ping | Control::Pong));
                continue;
            }
            assert_eq!(header.rsv1, payload.is_empty());
            payload.extend(frame.payload());
            if header.is_final {
                break;
            }
        }
        let bytes = payload.len();
        payload.extend([0, 0, 0xFF, 0xFF]);
        let mut text = Vec::with_capacity(1 << 20);
        self.decompress
            .decompress_vec(&payload, &mut text, FlushDecompress::Sync)
            .unwrap();
        (serde_json::from_slice(&text).unwrap(), bytes)
    }
}

#[test]
fn compressed_messages_share_one_window_over_the_whole_connection() {
    for (plan, frame_bytes) in [("deflate", 1_000), ("deflate.split-40", 9)] {
        let endpoint = Endpoint::start().unwrap();
        let mut client = Deflated::open(&endpoint, plan);
        let mut first_bytes = Vec::new();
        for _ in 0..3 {
            client.send(&create("How many tokens has a naïve café?"), frame_bytes);
            let mut event = client.next();
            first_bytes.push(event.1);
            while event.0["type"] != "response.completed" {
                event = client.next();
            }
            let served = endpoint.served().pop().unwrap();
            assert_eq!(
                tokens(served.api, &event.0["response"]["usage"]),
                served.usage
            );
            assert_eq!(served.protocol, Protocol::WebSocketDeflate);
        }
        assert_eq!(endpoint.served().len(), 3);
        assert!(first_bytes[1] < first_bytes[0] / 2, "{first_bytes:?}");
    }
}

#[test]
fn compression_is_declined_unless_the_plan_says_so() {
    let endpoint = Endpoint::start().unwrap();
    let mut socket = open(&endpoint, Api::OpenAiResponses.path());
    send(&mut socket, &create("hi"));
    turn(&mut socket);
    assert_eq!(endpoint.served()[0].protocol, Protocol::WebSocket);
}
