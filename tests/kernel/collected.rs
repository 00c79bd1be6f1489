//! A Collector of OpenTelemetry takes what the agent exports, and gives on what the ledger says.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use agent::otlp::Signal;
use serde_json::Value;
use test_support::Endpoint;

use crate::agent::{Place, Row, skip};
use crate::monitor::free_address;
use crate::run::{Kept, Steered, installed, peer, poll, stream_messages};

/// Calls of the client.
const CALLS: usize = 6;

/// How long the Collector may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long a message may take through it, after the agent waited for more calls.
const MESSAGE_LIMIT: Duration = Duration::from_secs(60);

/// A Collector and who it exports to, killed when dropped.
struct Collector {
    _process: Kept,
    url: String,
    /// Paths and messages, in OTLP's JSON.
    exported: Receiver<(String, Value)>,
}

impl Collector {
    /// Starts both; `None`, with a `SKIP` line, where one is missing.
    fn start(test: &str) -> Option<Self> {
        let program = program(test)?;
        let mut command = Command::new(installed("BPFTOK_PYTHON", test)?);
        command.arg(peer("python/otlp_receiver.py"));
        let mut receiver = Steered::start(&mut command);
        let port = receiver.answer();
        let (sender, exported) = channel();
        // It ends with the process that it reads from, which is killed when nobody listens any more.
        thread::spawn(move || {
            while let Some(line) = receiver.next_answer() {
                if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        let address = free_address();
        let process = Command::new(program)
            .arg("start")
            .args(["--otlp-http-endpoint", &address.to_string()])
            .args(["--otlp-grpc-endpoint", "127.0.0.1:0"])
            .args(["--exporter", "otlp", "--otlp-exporter-protocol", "http"])
            .args([
                "--otlp-exporter-endpoint",
                &format!("http://127.0.0.1:{port}"),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let collector = Self {
            _process: Kept(process.unwrap()),
            url: format!("http://{address}"),
            exported,
        };
        assert!(poll(START_LIMIT, || listens(address)), "it does not listen");
        Some(collector)
    }

    /// The next message that it exports.
    fn exports(&self) -> (String, Value) {
        self.exported.recv_timeout(MESSAGE_LIMIT).unwrap()
    }
}

/// The Collector's program, which its Python package brings along.
fn program(test: &str) -> Option<PathBuf> {
    let python = installed("BPFTOK_PYTHON", test)?;
    let find = "import importlib.util; print(importlib.util.find_spec('rotel').origin)";
    let found = Command::new(python).args(["-c", find]).output().unwrap();
    if !found.status.success() {
        skip(test, "this Python has no package rotel");
        return None;
    }
    let module = String::from_utf8(found.stdout).unwrap();
    let program = Path::new(module.trim_end()).with_file_name("rotel-agent");
    let version = Command::new(&program).arg("version").output().unwrap();
    if !version.status.success() {
        let said = String::from_utf8_lossy(&version.stderr);
        skip(test, said.lines().next().unwrap_or("rotel does not run"));
        return None;
    }
    Some(program)
}

fn listens(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

/// What is in the lists of these names, one inside another.
fn within<'a>(message: &'a Value, names: [&str; 3]) -> Vec<&'a Value> {
    names.iter().fold(vec![message], |found, name| {
        let lists = found.into_iter().filter_map(|value| value[name].as_array());
        lists.flatten().collect()
    })
}

/// Attributes by their keys, texts and numbers as they are written.
fn attributes(of: &Value) -> BTreeMap<String, String> {
    let attributes = of["attributes"].as_array().unwrap().iter();
    let told = attributes.map(|attribute| {
        let value = attribute["value"].as_object().unwrap().values().next();
        let value = value.unwrap();
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        (attribute["key"].as_str().unwrap().to_owned(), text)
    });
    told.collect()
}

#[test]
fn a_collector_gives_on_every_field_that_it_was_told() {
    let test = "collector";
    let Some(collector) = Collector::start(test) else {
        return;
    };
    for (signal, path, golden) in [
        (
            Signal::Traces,
            "/v1/traces",
            include_str!("../e2e/golden/otlp_traces.json"),
        ),
        (
            Signal::Metrics,
            "/v1/metrics",
            include_str!("../e2e/golden/otlp_metrics.json"),
        ),
    ] {
        let told: Value = serde_json::from_str(golden).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), signal.in_protobuf(&told)).unwrap();
        let posted = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--max-time", "60"])
            .args(["--header", "content-type: application/x-protobuf"])
            .arg("--data-binary")
            .arg(format!("@{}", file.path().display()))
            .arg(format!("{}{path}", collector.url))
            .output()
            .unwrap();
        assert!(posted.status.success(), "{posted:?}");
        assert_eq!(collector.exports(), (path.to_owned(), told));
    }
}

#[test]
fn what_a_collector_gives_on_is_what_the_ledger_says() {
    let test = "collected";
    let endpoint = Endpoint::start().unwrap();
    let model = format!("collected-{}", endpoint.tag());
    let Some(collector) = Collector::start(test) else {
        return;
    };
    let config = format!("[otlp]\nendpoint = \"{}\"\n", collector.url);
    let place = Place::of(&endpoint).configured(config.leak());
    let Some(agent) = place.run(test) else { return };
    if stream_messages(&endpoint, test, &model, CALLS).is_none() {
        return;
    }
    assert_eq!(place.rows_when(CALLS).len(), CALLS, "{}", agent.said());
    let said = agent.stop();

    // The Collector gives on what comes together in an order of its own.
    let mut spans = BTreeMap::new();
    let mut sums = BTreeMap::new();
    while spans.len() < CALLS || sums.is_empty() {
        let (_, message) = collector.exports();
        for span in within(&message, ["resourceSpans", "scopeSpans", "spans"]) {
            let told = attributes(span);
            if told["gen_ai.request.model"] == model {
                spans.insert(told["gen_ai.response.id"].clone(), told);
            }
        }
        for metric in within(&message, ["resourceMetrics", "scopeMetrics", "metrics"]) {
            let points = metric["sum"]["dataPoints"].as_array();
            for point in points.into_iter().flatten() {
                if attributes(point)["gen_ai.request.model"] == model {
                    let name = metric["name"].as_str().unwrap().to_owned();
                    sums.insert(name, point["asInt"].as_str().unwrap().to_owned());
                }
            }
        }
    }
    let rows = place.rows();
    let stored: BTreeMap<_, _> = rows
        .iter()
        .map(|row| (row.id.clone().unwrap(), attributes_of(row)))
        .collect();
    for (id, told) in &mut spans {
        let expected = stored.get(id);
        told.retain(|key, _| expected.is_some_and(|expected| expected.contains_key(key)));
    }
    assert_eq!(spans, stored, "{said}");
    let total = |key: &str| {
        let counts = stored.values().map(|told| told[key].parse::<u64>());
        counts.sum::<Result<u64, _>>().unwrap().to_string()
    };
    let expected: BTreeMap<_, _> = TOKENS
        .iter()
        .filter(|part| stored.values().any(|told| told.contains_key(&key(part))))
        .map(|part| {
            (
                format!("gen_ai.client.inference.usage.{part}"),
                total(&key(part)),
            )
        })
        .collect();
    assert_eq!(sums, expected, "{said}");
}

/// The parts of usage that are told.
const TOKENS: [&str; 5] = [
    "input_tokens",
    "cache_read.input_tokens",
    "cache_write.input_tokens",
    "output_tokens",
    "reasoning.output_tokens",
];

/// A part of usage as an attribute.
fn key(part: &str) -> String {
    format!("gen_ai.usage.{part}")
}

/// What is to be told of a call, of what the ledger has.
fn attributes_of(row: &Row) -> BTreeMap<String, String> {
    let sum = |counts: &[Option<u64>]| counts.iter().copied().flatten().reduce(|a, b| a + b);
    let counts = [
        sum(&row.tokens[..5]),
        row.tokens[1],
        sum(&row.tokens[2..5]),
        row.tokens[5],
        row.tokens[6],
    ];
    let texts = [
        ("gen_ai.provider.name", Some(row.provider.clone())),
        ("gen_ai.request.model", row.model_requested.clone()),
        ("gen_ai.response.model", row.model_served.clone()),
        ("gen_ai.response.id", row.id.clone()),
        ("gen_ai.conversation.id", Some(row.session_key.clone())),
        ("server.address", row.server_name.clone()),
        ("bpftok.outcome", Some(row.outcome.clone())),
        ("bpftok.usage_source", Some(row.usage_source.clone())),
    ];
    let texts = texts.map(|(key, text)| (key.to_owned(), text));
    let counts = TOKENS.iter().zip(counts);
    let counts = counts.map(|(part, count)| (key(part), count.map(|count| count.to_string())));
    let told = texts.into_iter().chain(counts);
    told.filter_map(|(key, value)| Some((key, value?)))
        .collect()
}
