//! Tests of the whole line.

mod estimates;
mod parallel;
mod rules;
mod running;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::event::{Direction, FactSource, Handshake, Plaintext, Process, SocketId};
use crate::llm::{CountedText, Outcome};
use crate::session::Hop;
use crate::socket::tests::client_hello;

const MIB: usize = 1 << 20;

const fn conn(pid: u32) -> ConnId {
    ConnId {
        pid,
        ssl: 0x70,
        since: at(1),
    }
}

const fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

/// A line, and where its connections are.
struct Run {
    line: Pipeline,
    now: Timestamp,
    written: u64,
    read: u64,
}

impl Run {
    fn new() -> Self {
        let mut line = Pipeline::new(Settings::default());
        line.handle(&Event::Clock {
            at: at(0),
            unix_ns: 0,
        });
        Self {
            line,
            now: at(1),
            written: 0,
            read: 0,
        }
    }

    fn named(&mut self, pid: u32, name: &str) {
        self.line.handle(&Event::ServerName {
            at: self.now,
            conn: conn(pid),
            name: name.to_owned(),
        });
    }

    fn send(&mut self, pid: u32, direction: Direction, bytes: impl Into<Plaintext>) {
        let bytes = bytes.into();
        let place = match direction {
            Direction::Written => &mut self.written,
            Direction::Read => &mut self.read,
        };
        let offset = *place;
        *place += bytes.len() as u64;
        self.line.handle(&Event::Chunk {
            at: self.now,
            conn: conn(pid),
            direction,
            offset,
            during_write: None,
            rest: 0,
            bytes,
        });
    }

    fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.send(7, Direction::Written, bytes.as_ref().to_vec());
    }

    fn read(&mut self, bytes: impl AsRef<[u8]>) {
        self.send(7, Direction::Read, bytes.as_ref().to_vec());
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.line.poll_output()).collect()
    }
}

fn process(pid: u32, start_ticks: u64) -> Arc<Process> {
    Arc::new(Process {
        id: ProcId { pid, start_ticks },
        comm: "peer".to_owned(),
        started_ns: start_ticks * 10_000_000,
        source: FactSource::Proc,
        ..Process::default()
    })
}

fn request(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: api.openai.com\r\nContent-Length: {length}\r\n\r\n")
}

#[test]
fn a_download_of_any_size_is_not_held() {
    let mut run = Run::new();
    // The host of a provider, so that the download is not ignored.
    run.named(7, "api.openai.com");
    run.write(request("/v1/files", 0));
    run.read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let piece = Plaintext::from(vec![b'x'; MIB]);
    for _ in 0..64 {
        run.read(format!("{MIB:x}\r\n"));
        run.send(7, Direction::Read, piece.clone());
        run.read("\r\n");
        assert_eq!(run.line.held_bytes(), 0);
    }
    run.read("0\r\n\r\n");
    assert_eq!(run.line.stats().read_bytes, run.read);
    assert_eq!(run.outputs(), []);
}

#[test]
fn a_prompt_of_any_size_is_held_up_to_the_limit() {
    let (head, tail) = (r#"{"model":"m","messages":[{"content":""#, r#""}]}"#);
    let length = head.len() + 64 * MIB + tail.len();
    let mut run = Run::new();
    run.write(request("/v1/chat/completions", length));
    run.write(head);
    let piece = Plaintext::from(vec![b'x'; MIB]);
    let mut most = 0;
    for _ in 0..64 {
        run.send(7, Direction::Written, piece.clone());
        most = most.max(run.line.held_bytes());
    }
    run.write(tail);
    assert_eq!(most, CountedText::MAX_BYTES);
    let reply = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;
    run.read("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n");
    run.read(format!("Content-Length: {}\r\n\r\n{reply}", reply.len()));
    assert_eq!(run.line.held_bytes(), 0);
    let outputs = run.outputs();
    let [Output::Usage(record)] = outputs.as_slice() else {
        panic!("one call, not {outputs:?}");
    };
    assert_eq!(record.call.observed_bytes, (length + reply.len()) as u64);
}

#[test]
fn a_response_that_overtakes_its_request_is_a_call() {
    let body = r#"{"model":"m","messages":[{"content":"hi"}]}"#;
    let reply = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;
    let mut run = Run::new();
    for turn in 0..2 {
        let written = run.written;
        let response = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{reply}",
            reply.len()
        );
        run.line.handle(&Event::Chunk {
            at: run.now,
            conn: conn(7),
            direction: Direction::Read,
            offset: run.read,
            during_write: Some(written),
            rest: 0,
            bytes: Plaintext::from(response.clone().into_bytes()),
        });
        run.read += response.len() as u64;
        assert!(run.line.held_bytes() > response.len());
        run.write(request("/v1/chat/completions", body.len()) + body);
        let outputs = run.outputs();
        let [Output::Usage(record)] = outputs.as_slice() else {
            panic!("one call, not {outputs:?} in turn {turn}");
        };
        assert_eq!(record.call.http_status, Some(200));
        assert_eq!(run.line.held_bytes(), 0);
    }
    assert_eq!(run.line.stats().reads_held, 2);
}

#[test]
fn a_thousand_slow_drips_are_held_cheaply_and_age_out() {
    const CONNECTIONS: u32 = 1_000;
    let head = request("/v1/messages", 5);
    let mut run = Run::new();
    for (minute, byte) in (0..60_u64).zip(head.bytes()) {
        run.now = at(60 * minute + 1);
        for pid in 0..CONNECTIONS {
            run.written = minute;
            run.send(pid, Direction::Written, vec![byte]);
        }
        run.line.expire(run.now);
    }
    assert_eq!(run.line.held_bytes(), 60 * CONNECTIONS as usize);
    assert_eq!(run.line.stats().connections_open, u64::from(CONNECTIONS));
    while let Some(deadline) = run.line.deadline() {
        run.now = run.now.max(deadline);
        run.line.expire(run.now);
    }
    assert!(run.now <= at(60 * 60 + 3_600), "{:?}", run.now);
    assert_eq!(
        (run.line.held_bytes(), run.line.stats().connections_open),
        (0, 0)
    );
}

#[test]
fn coverage_counts_the_bytes_of_calls_and_what_cannot_be_read() {
    let process = process(7, 1);
    let mut run = Run::new();
    run.line.handle(&Event::Process(Arc::clone(&process)));
    let body = r#"{"messages":[]}"#;
    let reply = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;
    let reply_head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    for seen in [reply.len(), 20] {
        run.write(request("/v1/chat/completions", body.len()));
        run.write(body);
        run.read(format!(
            "{reply_head}Content-Length: {}\r\n\r\n",
            reply.len()
        ));
        run.read(reply.get(..seen).unwrap_or_default());
    }
    run.line.handle(&Event::Exit {
        at: run.now,
        pid: 7,
    });
    run.written = 0;
    for (pid, name) in [(8, "api.anthropic.com"), (9, "example.com")] {
        run.named(pid, name);
        run.written = 0;
        run.send(pid, Direction::Written, b"SSH-2.0-x\r\n".to_vec());
    }
    run.line.handle(&Event::Lost {
        at: at(61),
        cpu: 0,
        records: 2,
        bytes: 30,
    });
    run.line.finish(run.now + Duration::from_secs(60));
    let minutes: Vec<CoverageMinute> = run
        .outputs()
        .into_iter()
        .filter_map(|output| match output {
            Output::Coverage(minute) => Some(minute),
            Output::Usage(_)
            | Output::Quota { .. }
            | Output::Running(_)
            | Output::ProcessExited { .. }
            | Output::Ignore(_) => None,
        })
        .collect();
    let minute = |minute: i64, process, outcome, events, bytes: usize| CoverageMinute {
        minute_unix_ms: minute * 60_000,
        process,
        outcome,
        events,
        bytes: bytes as u64,
    };
    let whole = body.len() + reply.len();
    let process = Some(process);
    assert_eq!(
        minutes,
        [
            minute(0, None, CoverageOutcome::Undecodable, 1, 0),
            minute(0, process.clone(), CoverageOutcome::Decoded, 1, whole),
            minute(0, process, CoverageOutcome::Truncated, 1, body.len() + 20),
            minute(1, None, CoverageOutcome::LostEvent, 2, 30),
        ]
    );
}

/// Process 7 connects a socket and shakes hands.
fn socket(run: &mut Run, number: u64, name: &str) {
    let socket = SocketId(number);
    run.line.handle(&Event::Connected {
        at: run.now,
        socket,
        pid: 7,
        comm: "peer".to_owned(),
        uid: 0,
        peer: "192.0.2.7:443".parse().ok(),
        fd: Some(3),
    });
    run.line.handle(&Event::Hello {
        at: run.now,
        socket,
        pid: 7,
        bytes: Handshake::from(client_hello(name, &["http/1.1"], 0)),
    });
}

fn bind(run: &mut Run, number: u64) {
    run.line.handle(&Event::Bound {
        at: run.now,
        conn: conn(7),
        socket: SocketId(number),
    });
}

const BODY: &str = r#"{"messages":[]}"#;
const REPLY: &str = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;

fn reply(run: &mut Run) {
    run.read("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n");
    run.read(format!("Content-Length: {}\r\n\r\n{REPLY}", REPLY.len()));
}

/// The host and the provider of the only call.
fn host_of_the_call(run: &mut Run) -> (Option<String>, &'static str) {
    let outputs = run.outputs();
    let [Output::Usage(record)] = outputs.as_slice() else {
        panic!("one call, not {outputs:?}");
    };
    (record.call.server_name.clone(), record.call.provider.0)
}

#[test]
fn a_call_has_the_name_of_its_socket_s_handshake_even_if_that_is_known_late() {
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: proxy\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    let expected = (Some("api.openai.com".to_owned()), "openai");
    let mut early = Run::new();
    socket(&mut early, 1, "api.openai.com");
    bind(&mut early, 1);
    early.write(&head);
    reply(&mut early);
    assert_eq!(host_of_the_call(&mut early), expected);

    let mut late = Run::new();
    socket(&mut late, 1, "api.openai.com");
    late.write(&head);
    bind(&mut late, 1);
    reply(&mut late);
    assert_eq!(host_of_the_call(&mut late), expected);
}

#[test]
fn a_call_without_any_name_has_the_address_of_its_peer() {
    let mut run = Run::new();
    socket(&mut run, 1, "");
    bind(&mut run, 1);
    run.write(format!(
        "POST /v1/chat/completions HTTP/1.0\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    ));
    reply(&mut run);
    assert_eq!(
        host_of_the_call(&mut run),
        (Some("192.0.2.7".to_owned()), "other")
    );
}

#[test]
fn a_call_ends_when_its_socket_is_closed_though_its_object_is_not_freed() {
    let mut run = Run::new();
    socket(&mut run, 1, "api.openai.com");
    bind(&mut run, 1);
    run.write(request("/v1/chat/completions", BODY.len()));
    run.write(BODY);
    run.read("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{");
    run.line.handle(&Event::SocketClosed {
        at: run.now,
        socket: SocketId(1),
        bytes: 1,
    });
    assert_eq!(run.outputs(), []);
    run.line.expire(run.now + Duration::from_secs(5));
    let outputs = run.outputs();
    let [Output::Usage(record)] = outputs.as_slice() else {
        panic!("one call, not {outputs:?}");
    };
    assert_ne!(record.call.outcome, Outcome::Complete);
    assert_eq!(run.line.stats().connections_open, 0);
    assert_eq!(run.line.stats().gap_bytes, 0);
}

#[test]
fn tls_to_a_provider_that_nobody_reads_is_told_at_once_and_to_others_never() {
    let mut run = Run::new();
    let first = process(7, 1);
    run.line.handle(&Event::Process(Arc::clone(&first)));
    for (number, name) in [
        (1, "api.openai.com"),
        (2, "registry.example"),
        (3, "API.Anthropic.com"),
    ] {
        socket(&mut run, number, name);
        run.line.handle(&Event::Carried {
            at: run.now,
            socket: SocketId(number),
        });
    }
    run.line.handle(&Event::SocketClosed {
        at: run.now,
        socket: SocketId(1),
        bytes: 4_711,
    });
    run.line.handle(&Event::Exit {
        at: run.now,
        pid: 7,
    });
    // Another process gets the id before anything is decided.
    run.line.handle(&Event::Process(process(7, 150)));
    run.line.expire(run.now + Duration::from_secs(2));
    let unprobed = |bytes| {
        Output::Coverage(CoverageMinute {
            minute_unix_ms: 0,
            process: Some(Arc::clone(&first)),
            outcome: CoverageOutcome::Unprobed,
            events: 1,
            bytes,
        })
    };
    let outputs = run.outputs();
    assert_eq!(outputs.get(1..), Some(&[unprobed(4_711), unprobed(0)][..]));
    assert_eq!(run.line.stats().sockets_unprobed, 3);
    let callers: Vec<&Caller> = run.line.callers().iter().collect();
    let [caller] = callers.as_slice() else {
        panic!("one process, not {callers:?}");
    };
    let hosts: Vec<_> = caller
        .hosts
        .iter()
        .map(|host| (host.name.as_deref(), host.seen.unprobed_connections))
        .collect();
    assert_eq!(
        hosts,
        [(Some("api.openai.com"), 1), (Some("api.anthropic.com"), 1)]
    );
}

#[test]
fn tls_to_a_host_that_a_configuration_names_is_told_like_that_to_a_provider() {
    let told = |hosts| {
        let mut run = Run::new();
        run.line = Pipeline::new(Settings {
            hosts,
            ..Settings::default()
        });
        run.line.handle(&Event::Process(process(7, 1)));
        socket(&mut run, 1, "llm.internal.example");
        run.line.handle(&Event::Carried {
            at: run.now,
            socket: SocketId(1),
        });
        run.line.expire(run.now + Duration::from_secs(7));
        let callers = run.line.callers().iter();
        let hosts = callers.flat_map(|caller| caller.hosts.iter());
        hosts
            .map(|host| (host.name.clone(), host.seen.unprobed_connections))
            .collect::<Vec<_>>()
    };
    let configured = llm::Hosts::new(vec![llm::Rule {
        provider: "gateway".to_owned(),
        hosts: vec!["*.internal.example".to_owned()],
        path: Some("/v1".to_owned()),
        format: None,
    }]);
    assert_eq!(told(llm::Hosts::default()), []);
    assert_eq!(
        told(configured),
        [(Some("llm.internal.example".to_owned()), 1)]
    );
}

/// The TLS objects of one process that talks to a provider through an HTTPS proxy.
fn through_a_proxy(run: &mut Run, has_inner_name: bool) {
    let [outer, inner] = [0x100, 0x200].map(|ssl| ConnId { ssl, ..conn(7) });
    let say = |run: &mut Run, conn, direction, offset: usize, bytes: &str| {
        run.line.handle(&Event::Chunk {
            at: run.now,
            conn,
            direction,
            offset: offset as u64,
            during_write: None,
            rest: 0,
            bytes: Plaintext::from(bytes.as_bytes().to_vec()),
        });
    };
    let named = |run: &mut Run, conn, name: &str| {
        run.line.handle(&Event::ServerName {
            at: run.now,
            conn,
            name: name.to_owned(),
        });
    };
    let ask = "CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n";
    let agree = "HTTP/1.1 200 Connection established\r\n\r\n";
    socket(run, 1, "proxy.example");
    for conn in [outer, inner] {
        run.line.handle(&Event::Bound {
            at: run.now,
            conn,
            socket: SocketId(1),
        });
    }
    named(run, outer, "proxy.example");
    say(run, outer, Direction::Written, 0, ask);
    say(run, outer, Direction::Read, 0, agree);
    if has_inner_name {
        named(run, inner, "api.openai.com");
    }
    let records = "\u{16}\u{3}\u{1} records of the inner handshake";
    say(run, outer, Direction::Written, ask.len(), records);
    let head = request("/v1/chat/completions", BODY.len());
    say(run, inner, Direction::Written, 0, &(head + BODY));
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let reply = format!("{head}Content-Length: {}\r\n\r\n{REPLY}", REPLY.len());
    say(run, inner, Direction::Read, 0, &reply);
    say(run, outer, Direction::Read, agree.len(), records);
}

#[test]
fn a_call_through_an_https_proxy_is_that_of_the_inner_connection_alone() {
    for has_inner_name in [true, false] {
        let mut run = Run::new();
        through_a_proxy(&mut run, has_inner_name);
        run.line.finish(run.now + Duration::from_secs(60));
        let (mut calls, mut ignored, mut coverage) = (Vec::new(), Vec::new(), Vec::new());
        for output in run.outputs() {
            match output {
                Output::Usage(record) => calls.push(record.call),
                Output::Ignore(conn) => ignored.push(conn.ssl),
                Output::Coverage(minute) => coverage.push((minute.outcome, minute.events)),
                other @ (Output::Quota { .. }
                | Output::ProcessExited { .. }
                | Output::Running(_)) => {
                    panic!("{other:?}")
                }
            }
        }
        let [call] = calls.as_slice() else {
            panic!("one call, not {calls:?}");
        };
        assert_eq!(
            (
                call.exchange.conn.ssl,
                call.server_name.as_deref(),
                call.provider.0,
                call.outcome
            ),
            (0x200, Some("api.openai.com"), "openai", Outcome::Complete)
        );
        assert_eq!(ignored, [0x100], "the kernel need not copy it twice");
        assert_eq!(
            coverage,
            [(CoverageOutcome::Decoded, 1)],
            "nothing was missed"
        );
        let stats = run.line.stats();
        assert_eq!((stats.dismissed_tunnel, stats.dismissed_not_http), (1, 0));
    }
}

#[test]
fn compressed_requests_are_read_like_plain_ones() {
    let body = format!(
        r#"{{"model":"gpt-6","instructions":"{}","input":"Hello","stream":false}}"#,
        "Be brief. ".repeat(400)
    );
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let brotli = |text: &str| {
        let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.into_inner()
    };
    let reply = r#"{"id":"resp_1","status":"completed","output":[{"content":[{"text":"Hi"}]}]}"#;
    let mut counts = Vec::new();
    for (coding, bytes) in [
        ("identity", body.clone().into_bytes()),
        ("zstd", zstd::encode_all(body.as_bytes(), 3).unwrap()),
        ("gzip", gzip(&body)),
        ("br", brotli(&body)),
    ] {
        for chunked in [false, true] {
            let mut run = Run::new();
            let framing = if chunked {
                "Transfer-Encoding: chunked".to_owned()
            } else {
                format!("Content-Length: {}", bytes.len())
            };
            run.write(format!(
                "POST /backend-api/codex/responses HTTP/1.1\r\nHost: chatgpt.com\r\n\
                 Content-Encoding: {coding}\r\n{framing}\r\n\r\n"
            ));
            for piece in bytes.chunks(700) {
                if chunked {
                    run.write(format!("{:x}\r\n", piece.len()));
                }
                run.write(piece);
                if chunked {
                    run.write("\r\n");
                }
            }
            if chunked {
                run.write("0\r\n\r\n");
            }
            run.read(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{reply}",
                reply.len()
            ));
            let outputs = run.outputs();
            let [Output::Usage(record)] = outputs.as_slice() else {
                panic!("{coding}: one call, not {outputs:?}");
            };
            let call = &record.call;
            assert_eq!(call.model_requested.as_deref(), Some("gpt-6"), "{coding}");
            assert_eq!(call.observed_bytes, (body.len() + reply.len()) as u64);
            counts.push(call.usage);
        }
    }
    assert!(counts[0].input_uncached > Some(400));
    assert!(
        counts.iter().all(|usage| *usage == counts[0]),
        "counted alike"
    );
}

/// A client asks a gateway on this host over TLS, and the gateway a provider; all three ends of both
/// connections that are on this host are seen.
#[test]
fn trap_14_a_call_through_a_gateway_on_this_host_is_one_that_counts() {
    let mut line = Pipeline::new(Settings::default());
    let body = r#"{"model":"gpt-6","messages":[{"role":"user","content":"Hello"}]}"#;
    let reply = r#"{"id":"chatcmpl-AbC1","choices":[{"finish_reason":"stop","message":{"content":"Hi"}}],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;
    let asked = |host: &str| {
        let length = body.len();
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let answered = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{reply}",
        reply.len()
    );
    let (client, gateway) = (7, 9);
    let upstream = ConnId {
        ssl: 0x71,
        ..conn(gateway)
    };
    let (local, provider) = (asked("localhost:4000"), asked("api.openai.com"));
    let (written, read) = (Direction::Written, Direction::Read);
    let steps = [
        (2, conn(client), written, &local),
        (3, conn(gateway), read, &local),
        (4, upstream, written, &provider),
        (5, upstream, read, &answered),
        (6, conn(gateway), written, &answered),
        (7, conn(client), read, &answered),
    ];
    for (seconds, conn, direction, bytes) in steps {
        line.handle(&Event::Chunk {
            at: at(seconds),
            conn,
            direction,
            offset: 0,
            during_write: None,
            rest: 0,
            bytes: Plaintext::from(bytes.clone().into_bytes()),
        });
    }
    let outputs: Vec<Output> = std::iter::from_fn(|| line.poll_output()).collect();
    let [
        Output::Ignore(ignored),
        Output::Usage(counted),
        Output::Usage(origin),
    ] = outputs.as_slice()
    else {
        panic!("the server's side is ignored, and two calls are made: {outputs:?}");
    };
    assert_eq!(*ignored, conn(gateway));
    assert_eq!(
        (
            counted.call.exchange.conn,
            counted.identity.as_str(),
            &counted.hop
        ),
        (upstream, "openai:chatcmpl-AbC1", &None)
    );
    assert_eq!(
        (
            origin.call.exchange.conn,
            origin.identity.as_str(),
            &origin.hop
        ),
        (
            conn(client),
            "other:chatcmpl-AbC1",
            &Some(Hop::ToGateway {
                counted: "openai:chatcmpl-AbC1".to_owned()
            })
        )
    );
}

/// What a reply with these fields, and these behind its body, says of limits.
fn quotas(path: &str, fields: &str, trailers: &str) -> Vec<Output> {
    let mut run = Run::new();
    run.write(request(path, BODY.len()));
    run.write(BODY);
    let length = REPLY.len();
    run.read(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{fields}Transfer-Encoding: chunked\r\n\r\n\
         {length:x}\r\n{REPLY}\r\n0\r\n{trailers}\r\n"
    ));
    run.line.finish(run.now);
    let mut outputs = run.outputs();
    outputs.retain(|output| matches!(output, Output::Quota { .. }));
    outputs
}

#[test]
fn limits_in_the_head_of_a_call_are_told_with_their_account() {
    let fields = "x-ratelimit-limit-tokens: 1000\r\nx-ratelimit-remaining-tokens: 250\r\n\
                  x-ratelimit-reset-tokens: 6m0s\r\nopenai-organization: acme\r\n";
    let observed = llm::Observed {
        at: at(1),
        provider: llm::Provider("openai"),
        account: llm::Account::new("acme"),
        limit: llm::Limit {
            name: "tokens",
            window_seconds: None,
            used: Some(llm::Share::of_millionths(750_000)),
            limit: Some(1_000),
            remaining: Some(250),
            resets: Some(llm::Reset::After { ms: 360_000 }),
        },
    };
    assert_eq!(
        quotas("/v1/chat/completions", fields, ""),
        [Output::Quota {
            unix_ms: 1_000,
            observed: Box::new(observed)
        }]
    );
    // Behind a body stands what came of it, and other exchanges may be anybody's.
    assert_eq!(quotas("/v1/chat/completions", "", fields), []);
    assert_eq!(quotas("/v1/models", fields, ""), []);
}
