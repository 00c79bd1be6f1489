//! Metrics are to be had over HTTP and in a file, and no reader holds anybody up.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use agent::alert::Channels;
use agent::config::{self, Config, Listen};
use agent::keeper::{CallLines, Keeper, Watching};
use agent::metrics::{Exports, Format, Metrics, Server, Textfile};
use agent::store::AgentStatus;
use agent::watcher;
use agent_core::pipeline::Output;
use agent_core::watch;

use crate::metrics::{empty, everything, of_workflow};
use crate::world::{Home, ms, record, usage};

/// Longest wait for an answer, for a machine that is busy.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

fn serve(metrics: &Metrics) -> Server {
    let listen = Listen::Tcp("127.0.0.1:0".parse().unwrap());
    Server::start(metrics.clone(), &listen).unwrap()
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address().unwrap()).unwrap();
    stream.set_read_timeout(Some(ANSWER_LIMIT)).unwrap();
    stream
}

/// Status, head and body of the answer.
fn answer(mut stream: impl Read + Write, request: &str) -> (u16, String, String) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn get(server: &Server, path: &str) -> (u16, String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    answer(connect(server), &request)
}

#[test]
fn whoever_asks_gets_the_numbers_in_the_format_that_he_reads() {
    let server = serve(&everything());
    let (status, head, body) = get(&server, "/metrics");
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(
        body.contains("\n# TYPE bpftok_tokens_total counter\n"),
        "{body}"
    );
    let asked = "GET /metrics HTTP/1.1\r\nhost: x\r\naccept: application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5\r\n\r\n";
    let (status, head, body) = answer(connect(&server), asked);
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    assert!(body.contains("\n# TYPE bpftok_tokens counter\n"), "{body}");
    assert!(body.ends_with("# EOF\n"), "{body}");
}

#[test]
fn nothing_else_is_answered_and_nonsense_ends_its_connection_alone() {
    let server = serve(&empty());
    assert_eq!(get(&server, "/healthz").0, 200);
    assert_eq!(get(&server, "/").0, 404);
    assert_eq!(get(&server, "/metrics/").0, 404);
    for method in ["POST", "PUT", "HEAD", "DELETE"] {
        let request = format!("{method} /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        let (status, head, _) = answer(connect(&server), &request);
        assert_eq!(status, 405, "{method}");
        assert!(head.contains("allow: get"), "{head}");
    }
    let long = format!(
        "GET /metrics HTTP/1.1\r\nhost: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    for nonsense in [long.as_bytes(), b"\x16\x03\x01\x02\x00\x01\xff\xff\r\n\r\n"] {
        let mut stream = connect(&server);
        // It may be refused before it is sent.
        drop(stream.write_all(nonsense));
        drop(stream.shutdown(Shutdown::Write));
        drop(stream.read_to_end(&mut Vec::new()));
    }
    assert_eq!(get(&server, "/metrics").0, 200);
}

#[test]
fn who_asks_and_does_not_read_holds_nobody_up() {
    let metrics = empty();
    for number in 0..1_000 {
        let name = format!("{number}-{}", "w".repeat(100));
        let mut record = of_workflow(&number.to_string(), &name);
        record.call.model_served = Some(format!("m-{}", number % 150));
        metrics.calls([&record]);
    }
    let server = serve(&metrics);
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut slow: Vec<TcpStream> = (0..8).map(|_| connect(&server)).collect();
    for stream in &mut slow {
        stream.write_all(request).unwrap();
        // The answer begins, and is more than the kernel holds.
        stream.read_exact(&mut [0; 1]).unwrap();
    }
    metrics.calls([&of_workflow("late", "late")]);
    let (status, _, body) = get(&server, "/metrics");
    assert_eq!(status, 200);
    assert!(body.len() > 1 << 20, "{} bytes", body.len());
    drop(server);
}

#[test]
fn connections_beyond_the_limit_wait_until_others_end() {
    let server = serve(&empty());
    let mut idle: Vec<TcpStream> = (0..16).map(|_| connect(&server)).collect();
    let mut waiting = connect(&server);
    waiting
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    drop(idle.pop());
    let mut text = String::new();
    waiting.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    // The end does not wait for those that say nothing.
    drop(server);
    drop(idle);
}

#[test]
fn a_socket_is_for_its_owner_and_group_and_one_that_was_left_gives_way() {
    let home = Home::new();
    let path = home.path("metrics.sock");
    // What an agent leaves that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listen = Listen::Unix(path.clone());
    let server = Server::start(empty(), &listen).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let stream = UnixStream::connect(&path).unwrap();
    let (status, _, body) = answer(stream, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!((status, body.as_str()), (200, "ok\n"));
    assert!(Server::start(empty(), &listen).is_err(), "it is in use");
    drop(server);
    assert!(!path.exists());
    fs::write(&path, "not ours").unwrap();
    assert!(Server::start(empty(), &listen).is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "not ours");
}

#[test]
fn the_file_is_whole_readable_by_all_and_goes_with_the_agent() {
    let home = Home::new();
    let path = home.path("bpftok.prom");
    fs::write(&path, "old").unwrap();
    let file = Textfile::start(everything(), &path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("bpftok_build_info{version=\"0.1.0\"} 1\n"),
        "{text}"
    );
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o644
    );
    let others = fs::read_dir(home.path("")).unwrap().count();
    assert_eq!(others, 1, "nothing else is left in the folder");
    drop(file);
    assert!(!path.exists());
    assert!(Textfile::start(empty(), &home.path("none/bpftok.prom")).is_err());
}

#[test]
fn what_the_keeper_commits_is_told() {
    let home = Home::new();
    let metrics = empty();
    let (outputs, outputs_in) = mpsc::sync_channel(8);
    let status = || {
        let mut status = AgentStatus::default();
        status.counters.insert("lost_records".to_owned(), 3.into());
        status
    };
    let configured = Config::default();
    let watching = Watching {
        settings: watcher::Settings {
            rules: watch::Settings {
                budgets: Vec::new(),
                zone: None,
                runaway: configured.runaway,
                spike: configured.spike,
                upkeep: configured.rules,
            },
            prices: Arc::default(),
            price_list_ms: None,
            host_name: "build-01".to_owned(),
        },
        channels: Channels::new(&[]),
        budget_of: config::budget_of,
        definition_of: config::definition_of,
    };
    let keeper = Keeper::new(home.writer(), CallLines::Off, status, watching);
    let keeper = keeper.with_metrics(metrics.clone());
    let at = "2026-11-02T12:00:00Z";
    let running = Output::Running(vec![record("msg_2", at)]);
    outputs
        .send(vec![usage(record("msg_1", at)), running])
        .unwrap();
    drop(outputs);
    keeper.run(&outputs_in).unwrap();
    let text = metrics.text(Format::Prometheus, ms(at));
    assert!(text.contains("\nbpftok_requests_running{"), "{text}");
    assert!(text.contains("outcome=\"complete\"} 1\n"), "{text}");
    assert!(
        text.contains("\nbpftok_capture_lost_events_total 3\n"),
        "{text}"
    );
}

#[test]
fn nothing_is_served_or_written_unless_the_configuration_says_where() {
    let exports = Exports::start(&empty(), &config::Metrics::default()).unwrap();
    assert!(exports.server.is_none() && exports.textfile.is_none());
    let home = Home::new();
    let configured = config::Metrics {
        listen: Some(Listen::Unix(home.path("none/metrics.sock"))),
        ..config::Metrics::default()
    };
    let refused = Exports::start(&empty(), &configured).unwrap_err();
    assert!(
        format!("{refused:#}").contains("metrics.listen"),
        "{refused:#}"
    );
}
