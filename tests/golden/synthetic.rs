//! Synthetic recordings: made-up exchanges of every API, streamed and not, written down as text.
//!
//! A file is one exchange, or some that follow each other on one connection, with a line of `=====`
//! between them. Lines of `#` at its beginning say what it shows; the request follows, and from the line
//! that begins with `HTTP/` the response. What makes bytes of them is done here: ends of lines, lengths,
//! chunks, compression, the frames of HTTP/2, Amazon's event stream (a line is the type of an event and
//! its payload) and WebSockets (a line is a message, `>` by the client, `<` by the server).

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use agent_core::event::{Direction, Event, FactSource, ProcId, Process, Timestamp};
use agent_core::llm::{Endpoint, Usage};
use agent_core::pipeline::{Output, Pipeline, Settings, replay};
use agent_core::recording::{self, Frame};
use agent_core::session::UsageRecord;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use test_support::reply::amazon;
use test_support::streams::frame;
use test_support::traffic::{Chunking, Line, Traffic};
use test_support::websocket;

/// LIMIT: bytes of one file, so that a replay for each byte of each takes seconds.
const MAX_BYTES: usize = 3_072;

/// 2026-09-01 00:00:00 UTC.
const UNIX_NS: u64 = 1_788_220_800_000_000_000;

const PID: u32 = 100;

/// Exchanges whose total leaves out what the provider bills apart: Perplexity's citations and
/// reasoning.
const TOTAL_IS_LESS: [&str; 1] = ["perplexity-chat"];

/// What Google's servers say they are: their events have ends of lines of two bytes.
const GOOGLES: &str = "server: scaffolding on HTTPServer2";

/// What is sent, in order.
type Script = Vec<(Direction, Vec<u8>)>;

fn corpus() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/synthetic");
    let mut files: Vec<_> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "http")
        })
        .collect();
    files.sort();
    files
}

/// One side of an exchange.
struct Message<'a> {
    head: &'a str,
    body: &'a str,
}

impl<'a> Message<'a> {
    fn parse(text: &'a str) -> Self {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        Self {
            head,
            body: body.trim_end_matches('\n'),
        }
    }

    fn has(&self, field: &str) -> bool {
        self.head.lines().any(|line| line.starts_with(field))
    }

    /// The pieces of the body, as they are made by the server one after the other.
    fn pieces(&self) -> Vec<Vec<u8>> {
        if self.has("content-type: text/event-stream") {
            let events = self.body.split("\n\n");
            let events = events.map(|event| format!("{event}\n\n"));
            return if self.has(GOOGLES) {
                events
                    .map(|event| event.replace('\n', "\r\n").into_bytes())
                    .collect()
            } else {
                events.map(String::into_bytes).collect()
            };
        }
        if self.has("content-type: application/vnd.amazon.eventstream") {
            return self.body.lines().map(amazon_message).collect();
        }
        if self.has("content-type: multipart/form-data") {
            return vec![self.body.replace('\n', "\r\n").into_bytes()];
        }
        if self.has("transfer-encoding: chunked") {
            let lines = self.body.split_inclusive('\n');
            return lines.map(|line| line.as_bytes().to_vec()).collect();
        }
        vec![self.body.as_bytes().to_vec()]
    }

    /// The body as it is sent.
    fn sent(&self) -> Vec<Vec<u8>> {
        let pieces = self.pieces();
        if !self.has("content-encoding: gzip") {
            return pieces;
        }
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        for piece in pieces {
            gzip.write_all(&piece).unwrap();
        }
        let compressed = gzip.finish().unwrap();
        compressed.chunks(100).map(<[u8]>::to_vec).collect()
    }

    /// The whole message as frames of a stream of HTTP/2.
    fn frames(&self, stream: u32) -> Vec<u8> {
        const DATA: u8 = 0;
        const HEADERS: u8 = 1;
        const END_STREAM: u8 = 1;
        const END_HEADERS: u8 = 4;
        let mut lines = self.head.lines();
        let words: Vec<_> = lines.next().unwrap().split(' ').collect();
        let mut fields = match words.as_slice() {
            ["HTTP/2", status] => vec![(":status", *status)],
            [method, path, "HTTP/2"] => vec![(":method", *method), (":path", *path)],
            other => panic!("{other:?} is no line of HTTP/2"),
        };
        fields.extend(lines.map(|line| match line.split_once(": ").unwrap() {
            ("host", value) => (":authority", value),
            field => field,
        }));
        let mut block = Vec::new();
        for (name, value) in fields {
            // A name and a value that no table keeps (RFC 7541, section 6.2.2).
            block.push(0);
            for text in [name, value] {
                assert!(
                    text.len() < 127,
                    "{text} has a length of more than one byte"
                );
                block.push(u8::try_from(text.len()).unwrap());
                block.extend(text.as_bytes());
            }
        }
        let mut bytes = frame(HEADERS, END_HEADERS, stream, &block);
        for piece in self.sent() {
            bytes.extend(frame(DATA, 0, stream, &piece));
        }
        bytes.extend(frame(DATA, END_STREAM, stream, &[]));
        bytes
    }

    /// The whole message on the wire.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.replace('\n', "\r\n").into_bytes();
        let pieces = self.sent();
        if self.has("transfer-encoding: chunked") {
            bytes.extend(b"\r\n\r\n");
            for piece in pieces {
                bytes.extend(format!("{:x}\r\n", piece.len()).as_bytes());
                bytes.extend(piece);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
        } else if self.has("upgrade:") {
            bytes.extend(b"\r\n\r\n");
        } else {
            let body = pieces.concat();
            bytes.extend(format!("\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend(body);
        }
        bytes
    }
}

/// A message of an event stream. A `chunk` wraps up the model's own event.
fn amazon_message(line: &str) -> Vec<u8> {
    let (name, payload) = line.split_once(' ').unwrap();
    let wrapped = format!(r#"{{"bytes":"{}","p":"abcdef"}}"#, STANDARD.encode(payload));
    let payload = if name == "chunk" { &wrapped } else { payload };
    amazon::message(amazon::Kind::Event, name, payload.as_bytes())
}

/// The text without its remarks.
fn without_remarks(text: &str) -> &str {
    let mut rest = text;
    while rest.starts_with('#') {
        rest = rest.split_once('\n').unwrap().1;
    }
    rest
}

/// The exchanges of a file: what is asked, and what is answered.
fn exchanges(text: &str) -> Vec<(Message<'_>, Message<'_>)> {
    without_remarks(text)
        .split("\n=====\n")
        .map(sides)
        .collect()
}

fn sides(exchange: &str) -> (Message<'_>, Message<'_>) {
    let middle = exchange.find("\n\nHTTP/").unwrap();
    let (request, response) = exchange.split_at(middle);
    (
        Message::parse(request),
        Message::parse(response.trim_start()),
    )
}

fn script(text: &str) -> Script {
    let mut script = Script::new();
    for ((request, response), stream) in exchanges(text).into_iter().zip((1..).step_by(2)) {
        if response.has("HTTP/2 ") {
            if stream == 1 {
                let settings = frame(4, 0, 0, &[]);
                let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
                script.push((Direction::Written, [&preface[..], &settings].concat()));
                script.push((Direction::Read, settings));
            }
            script.push((Direction::Written, request.frames(stream)));
            script.push((Direction::Read, response.frames(stream)));
            continue;
        }
        script.push((Direction::Written, request.bytes()));
        script.push((Direction::Read, response.bytes()));
        if response.has("upgrade:") {
            script.extend(response.body.lines().map(|line| {
                let (side, text) = line.split_once(' ').unwrap();
                let direction = match side {
                    ">" => Direction::Written,
                    "<" => Direction::Read,
                    other => panic!("nobody sends {other}"),
                };
                (direction, websocket::message(direction, text).unwrap())
            }));
        }
    }
    script
}

fn recorded(text: &str) -> Vec<u8> {
    let mut bytes = recording::header();
    let begin = Timestamp::from_nanos(1_000_000);
    recording::push_clock(&mut bytes, begin, UNIX_NS);
    let process = Process {
        id: ProcId {
            pid: PID,
            start_ticks: 1,
        },
        exe: Some("/usr/bin/client".to_owned()),
        comm: "client".to_owned(),
        argv0: Some("client".to_owned()),
        uid: 1_000,
        source: FactSource::Proc,
        ..Process::default()
    };
    recording::push_process(&mut bytes, &process);
    let mut line = Line::new(PID, 0x7F00, begin);
    let mut traffic = Traffic::default();
    line.open(&mut traffic);
    for (direction, message) in script(text) {
        line.wait(std::time::Duration::from_millis(40));
        line.send(direction, &message, &Chunking::Whole, &mut traffic);
    }
    line.close(&mut traffic);
    for record in &traffic.records {
        recording::push_record(&mut bytes, record);
    }
    bytes
}

fn records(outputs: Vec<Output>) -> Vec<UsageRecord> {
    outputs
        .into_iter()
        .filter_map(|output| match output {
            Output::Usage(record) => Some(*record),
            Output::Coverage(_)
            | Output::Quota { .. }
            | Output::Running(_)
            | Output::ProcessExited { .. }
            | Output::Ignore(_) => None,
        })
        .collect()
}

fn replayed(events: &[Event]) -> Vec<UsageRecord> {
    let mut line = Pipeline::new(Settings::default());
    let mut outputs = Vec::new();
    for event in events {
        line.handle(event);
        outputs.extend(std::iter::from_fn(|| line.poll_output()));
    }
    line.finish(
        events
            .iter()
            .filter_map(Event::at)
            .max()
            .unwrap_or_default(),
    );
    outputs.extend(std::iter::from_fn(|| line.poll_output()));
    records(outputs)
}

/// An event as two that were seen at the same moment, if it is a chunk that can be cut there.
pub(crate) fn halves(event: &Event, middle: usize) -> Vec<Event> {
    let Event::Chunk {
        at,
        conn,
        direction,
        offset,
        during_write,
        rest,
        bytes,
    } = event
    else {
        return vec![event.clone()];
    };
    let piece = |range: std::ops::Range<usize>| Event::Chunk {
        at: *at,
        conn: *conn,
        direction: *direction,
        offset: offset + range.start as u64,
        during_write: *during_write,
        rest: match direction {
            Direction::Written => rest + (bytes.len() - range.end) as u64,
            Direction::Read => 0,
        },
        bytes: bytes.slice(range),
    };
    vec![piece(0..middle), piece(middle..bytes.len())]
}

fn tokens(usage: &Usage) -> Value {
    json!({
        "input_uncached": usage.input_uncached,
        "cache_read": usage.cache_read,
        "cache_write_5m": usage.cache_write_5m,
        "cache_write_1h": usage.cache_write_1h,
        "cache_write_other": usage.cache_write_other,
        "cache_write_12h": usage.cache_write_12h,
        "output": usage.output,
        "reasoning": usage.reasoning,
        "audio_input": usage.audio_input,
        "audio_output": usage.audio_output,
        "image_input": usage.image_input,
        "image_output": usage.image_output,
    })
}

fn columns(record: &UsageRecord) -> Value {
    let call = &record.call;
    let beside: Vec<_> = call
        .sub_inferences
        .iter()
        .map(|sub| json!([sub.kind.as_str(), sub.model, tokens(&sub.usage)]))
        .collect();
    let estimate = |estimate: Option<agent_core::llm::Estimate>| {
        estimate.map(|it| format!("{} {}", it.method, it.quality.as_str()))
    };
    let (session, key_source) = (&record.session.0, record.key_source.as_str());
    json!({
        "provider": call.provider.0,
        "endpoint": call.endpoint.as_str(),
        "server_name": call.server_name,
        "model_requested": call.model_requested,
        "model_served": call.model_served,
        "is_stream": call.is_stream,
        "http_status": call.http_status,
        "outcome": call.outcome.as_str(),
        "stop_reason": call.stop_reason,
        "task": record.task.as_str(),
        "tools": [call.signals.tools_offered, call.signals.tool_calls],
        "last_item": call.signals.last_item.map(|item| format!("{item:?}")),
        "response_id": call.response_id,
        "usage_source": call.usage_source.as_str(),
        "usage": tokens(&call.usage),
        "estimated_input": estimate(call.estimates.input),
        "estimated_output": estimate(call.estimates.output),
        "web_searches": call.units.web_searches,
        "unpriced_units": call.units.unpriced,
        "beside": (!beside.is_empty()).then_some(beside),
        "service_tier": call.terms.service_tier,
        "speed": call.terms.speed,
        "region": call.terms.region,
        "billing_kind": call.terms.credential.as_str(),
        "reported_cost_nanousd": call.reported_cost_nanousd,
        "attempt": call.attempt,
        "client": [record.client.name, record.client.version],
        // Else it is made of the process and the time.
        "session": (key_source != "process_idle").then(|| json!([session, key_source])),
        "previous_response_id": call.hints.previous_response_id,
        "observed_bytes": call.observed_bytes,
        "ttft_ms": record.ttft_ms,
        "duration_ms": record.duration_ms,
    })
}

/// What is known: a member without a value is left out.
fn known(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, known(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(known).collect(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}

#[test]
fn exchanges_give_exactly_these_calls() {
    for file in corpus() {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.len() <= MAX_BYTES, "{} is too long", file.display());
        let bytes = recorded(&text);
        let frames = recording::read(&bytes).unwrap();
        let (outputs, stats) = replay(Settings::default(), &frames);
        let calls: Vec<_> = records(outputs).iter().map(columns).collect();
        let mut counters = serde_json::to_value(stats).unwrap();
        counters
            .as_object_mut()
            .unwrap()
            .retain(|_, count| *count != json!(0));
        let made = known(json!({ "calls": calls, "counters": counters }));
        let expected = file.with_extension("json");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected, format!("{made:#}\n")).unwrap();
        }
        let wanted: Value = serde_json::from_str(&fs::read_to_string(&expected).unwrap()).unwrap();
        assert_eq!(made, wanted, "{}", file.display());
    }
}

/// The calls of a text that is an exchange.
pub(crate) fn calls_of(text: &str) -> Vec<UsageRecord> {
    let bytes = recorded(text);
    let (outputs, _) = replay(Settings::default(), &recording::read(&bytes).unwrap());
    records(outputs)
}

/// The calls of every exchange, with its name.
fn all_calls() -> Vec<(String, String, Vec<UsageRecord>)> {
    corpus()
        .iter()
        .map(|file| {
            let text = fs::read_to_string(file).unwrap();
            let name = file.file_stem().unwrap().to_string_lossy().into_owned();
            let records = calls_of(&text);
            (name, text, records)
        })
        .collect()
}

/// Whether an API answers in one piece, and whether in a stream.
const fn forms(endpoint: Endpoint) -> &'static [bool] {
    match endpoint {
        Endpoint::AnthropicMessages
        | Endpoint::BedrockConverse
        | Endpoint::BedrockInvoke
        | Endpoint::OpenAiChat
        | Endpoint::OpenAiResponses
        | Endpoint::OpenAiCompletions
        | Endpoint::OpenAiImages
        | Endpoint::OpenAiSpeech
        | Endpoint::OpenAiTranscription
        | Endpoint::GeminiGenerate
        | Endpoint::GeminiInteractions
        | Endpoint::CohereChat
        | Endpoint::MistralConversations
        | Endpoint::OllamaChat
        | Endpoint::OllamaGenerate
        | Endpoint::VercelLanguage => &[false, true],
        Endpoint::OpenAiRealtime | Endpoint::GeminiLive => &[true],
        Endpoint::OpenAiCompact
        | Endpoint::OpenAiDecisions
        | Endpoint::OpenAiEmbeddings
        | Endpoint::GeminiEmbed
        | Endpoint::VertexPredict
        | Endpoint::CohereEmbed
        | Endpoint::CohereRerank
        | Endpoint::OllamaEmbed
        | Endpoint::VercelEmbedding
        | Endpoint::VercelImage
        | Endpoint::VercelReranking => &[false],
    }
}

#[test]
fn every_api_has_an_exchange_in_each_form() {
    let shown: BTreeSet<_> = all_calls()
        .iter()
        .flat_map(|(_, _, records)| records)
        .map(|record| (record.call.endpoint, record.call.is_stream))
        .collect();
    let wanted: BTreeSet<_> = Endpoint::all()
        .into_iter()
        .flat_map(|endpoint| forms(endpoint).iter().map(move |form| (endpoint, *form)))
        .collect();
    assert_eq!(shown, wanted);
}

/// The totals that a response states, in order; one that is said again is the same.
fn totals(response: &str) -> Vec<u64> {
    let names = ["total_tokens", "totalTokenCount", "totalTokens"];
    let words: Vec<_> = response.split('"').collect();
    let mut totals: Vec<_> = words
        .windows(2)
        .filter(|pair| names.contains(&pair[0]))
        .map(|pair| {
            let digits = pair[1].split(|c: char| !c.is_ascii_digit()).nth(1);
            digits.unwrap().parse().unwrap()
        })
        .collect();
    totals.dedup();
    totals
}

#[test]
fn what_is_stored_adds_up_to_the_totals_that_are_stated() {
    let mut stated = 0;
    for (name, text, records) in all_calls() {
        if TOTAL_IS_LESS.contains(&name.as_str()) {
            continue;
        }
        let exchanges = exchanges(&text);
        let bodies: Vec<_> = exchanges
            .iter()
            .map(|(_, response)| response.body)
            .collect();
        let totals = totals(&bodies.concat());
        stated += usize::from(!totals.is_empty());
        let mut rest = totals.as_slice();
        for record in &records {
            let usage = &record.call.usage;
            let (input, output) = (usage.input(), usage.output);
            for (part, whole) in [
                (usage.reasoning, output),
                (usage.audio_output, output),
                (usage.image_output, output),
                (usage.audio_input, input),
                (usage.image_input, input),
                (usage.cache_write_12h, usage.cache_write_other),
            ] {
                assert!(part <= whole.or(part), "{name}: {usage:?}");
            }
            if !totals.is_empty() && record.call.usage_source.as_str() == "provider" {
                let sum = input.unwrap_or(0) + output.unwrap_or(0);
                let at = rest.iter().position(|total| *total == sum);
                let at = at.unwrap_or_else(|| panic!("{name}: {sum} is none of {rest:?}"));
                rest = &rest[at + 1..];
            }
        }
        assert!(rest.is_empty(), "{name}: no call has {rest:?}");
    }
    assert!(stated > 30, "only {stated} exchanges state a total");
}

/// Each replay is a line of its own: what a cut leaves behind must not help another.
#[test]
fn a_cut_at_any_byte_gives_the_same_calls() {
    let files = corpus();
    std::thread::scope(|scope| {
        for file in &files {
            scope.spawn(move || cut_everywhere(file));
        }
    });
}

fn cut_everywhere(file: &Path) {
    let bytes = recorded(&fs::read_to_string(file).unwrap());
    let frames = recording::read(&bytes).unwrap();
    let events: Vec<_> = frames
        .iter()
        .map(|frame: &Frame<'_>| frame.event().unwrap())
        .collect();
    let whole = replayed(&events);
    let length = |event: &Event| {
        if let Event::Chunk { bytes, .. } = event {
            bytes.len()
        } else {
            1
        }
    };
    let single: Vec<_> = events
        .iter()
        .flat_map(|event| {
            let mut rest = event.clone();
            let mut pieces = Vec::new();
            while length(&rest) > 1 {
                let mut both = halves(&rest, 1);
                rest = both.pop().unwrap();
                pieces.append(&mut both);
            }
            pieces.push(rest);
            pieces
        })
        .collect();
    assert_eq!(
        replayed(&single),
        whole,
        "{} in single bytes",
        file.display()
    );
    for (index, event) in events.iter().enumerate() {
        for middle in 1..length(event) {
            let mut cut = events.clone();
            cut.splice(index..=index, halves(event, middle));
            let place = || format!("{}: event {index}, byte {middle}", file.display());
            assert_eq!(replayed(&cut), whole, "{}", place());
        }
    }
}
