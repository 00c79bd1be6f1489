//! What is handed to OpenTelemetry is what was committed, and nobody waits for who takes it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use agent::config::Loaded;
use agent::otlp::{Exporter, Settings};
use agent_core::llm::{Outcome, Usage};
use agent_core::session::Hop;
use serde_json::Value;

use crate::world::{Home, assert_golden, record, unknown, usage};

/// Longest wait for a message, for a machine that is busy.
const LIMIT: Duration = Duration::from_secs(60);

/// A message that was posted: its head, and its body.
type Posted = (String, Value);

fn read(stream: &mut TcpStream) -> Posted {
    let mut bytes = Vec::new();
    let head = loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.extend(byte);
        if bytes.ends_with(b"\r\n\r\n") {
            break String::from_utf8(bytes).unwrap();
        }
    };
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    });
    let mut body = vec![0; length.unwrap()];
    stream.read_exact(&mut body).unwrap();
    (head, serde_json::from_slice(&body).unwrap())
}

/// An endpoint that answers its requests with these statuses, and the last one from then on.
fn endpoint(statuses: &'static [u16]) -> (String, Receiver<Posted>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/base/", listener.local_addr().unwrap());
    let (posted, posted_in) = mpsc::channel();
    thread::spawn(move || {
        let last = statuses.last().copied();
        let mut statuses = statuses.iter().copied();
        while let Ok((mut stream, _)) = listener.accept() {
            let message = read(&mut stream);
            let status = statuses.next().or(last).unwrap();
            let answer = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
            );
            stream.write_all(answer.as_bytes()).unwrap();
            if posted.send(message).is_err() {
                return;
            }
        }
    });
    (url, posted_in)
}

fn exporter(url: &str, more: &str) -> Exporter {
    let text = format!("[otlp]\nendpoint = \"{url}\"\nencoding = \"json\"\n{more}");
    let loaded = Loaded::parse(Path::new("test.toml"), &text).unwrap();
    let started = Exporter::start(Settings {
        to: loaded.config.otlp,
        host_name: "build-01".to_owned(),
        version: "0.1.0",
    });
    started.unwrap().unwrap()
}

#[test]
fn a_call_is_a_span_with_the_names_of_the_convention_and_what_is_unknown_is_left_out() {
    let home = Home::new();
    let headers = home.path("headers");
    std::fs::write(&headers, "authorization: Bearer canary\n").unwrap();
    let (url, posted) = endpoint(&[200]);
    let exporter = exporter(&url, &format!("headers_file = \"{}\"\n", headers.display()));
    let at = "2026-11-02T12:00:00Z";
    let mut failed = record("msg_2", at);
    failed.call.outcome = Outcome::Error;
    failed.call.http_status = Some(529);
    failed.call.usage = Usage::default();
    failed.cost.cost_nanousd = None;
    let mut asked = record("msg_3", at);
    asked.hop = Some(Hop::ToGateway {
        counted: "anthropic:msg_1".to_owned(),
    });
    let outputs = [
        usage(record("msg_1", at)),
        usage(failed),
        usage(record("msg_1", at)),
        usage(unknown("chat_1", at)),
        usage(asked),
    ];
    exporter.committed(&outputs);
    drop(exporter);
    let (head, spans) = posted.recv_timeout(LIMIT).unwrap();
    assert!(head.starts_with("POST /base/v1/traces "), "{head}");
    assert!(head.contains("Bearer canary"), "{head}");
    assert_golden("otlp_traces.json", &format!("{spans:#}\n"));
    let (head, mut metrics) = posted.recv_timeout(LIMIT).unwrap();
    assert!(head.starts_with("POST /base/v1/metrics "), "{head}");
    without_times(&mut metrics);
    assert_golden("otlp_metrics.json", &format!("{metrics:#}\n"));
}

/// Takes out what depends on when it is.
fn without_times(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !key.ends_with("TimeUnixNano") && key != "timeUnixNano");
            map.values_mut().for_each(without_times);
        }
        Value::Array(list) => list.iter_mut().for_each(without_times),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// As many calls as are posted without waiting for more.
fn batch() -> Vec<agent_core::pipeline::Output> {
    (0..256)
        .map(|number| usage(record(&number.to_string(), "2026-11-02T12:00:00Z")))
        .collect()
}

#[test]
fn a_message_that_is_not_taken_now_is_sent_again_and_one_that_is_refused_is_counted() {
    let (url, posted) = endpoint(&[503, 200, 400]);
    let exporter = exporter(&url, "");
    exporter.committed(&batch());
    let first = posted.recv_timeout(LIMIT).unwrap();
    let again = posted.recv_timeout(LIMIT).unwrap();
    assert_eq!(first, again);
    let more: Vec<_> = (300..556)
        .map(|number| usage(record(&number.to_string(), "2026-11-02T12:00:00Z")))
        .collect();
    exporter.committed(&more);
    posted.recv_timeout(LIMIT).unwrap();
    let done = [("otlp_spans_sent", 256), ("otlp_spans_dropped", 256)];
    while exporter.counters() != done {
        thread::yield_now();
    }
}

#[test]
fn who_commits_does_not_wait_for_an_endpoint_that_never_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let exporter = exporter(&format!("http://{}", silent.local_addr().unwrap()), "");
    for _ in 0..20 {
        exporter.committed(&batch());
    }
    let [_, (_, dropped)] = exporter.counters();
    assert!(dropped > 1_000, "{dropped}");
}

#[test]
fn nothing_is_sent_unless_an_endpoint_is_configured() {
    let started = Exporter::start(Settings {
        to: agent::config::Otlp::default(),
        host_name: "build-01".to_owned(),
        version: "0.1.0",
    });
    assert!(started.unwrap().is_none());
}
