//! Throughput of the line and of each of its stages, on made-up traffic of the APIs.
//!
//! `cargo bench -p agent-core --bench line` prints MB/s of observed plaintext per core, the median
//! of several rounds, and the ratio to copying the same bytes once in the same round.
#![expect(
    clippy::disallowed_methods,
    reason = "the ban keeps clocks out of the core, not out of what times it"
)]
#![expect(clippy::print_stdout, reason = "the table is what it is for")]
#![expect(
    clippy::expect_used,
    reason = "a benchmark that can't make its input can't go on"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use agent_core::connection::{self, Connections, Segment};
use agent_core::event::{ConnId, Direction, Event, Timestamp, decode};
use agent_core::http::{self, Http, HttpEvent};
use agent_core::llm::{self, Llm};
use agent_core::pipeline::{Pipeline, Settings};
use agent_core::stats::Stats;
use test_support::plan::Plan;
use test_support::streams::{client_streams, frame};
use test_support::traffic::{Chunking, Exchange, Line, Stream, Traffic, client_traffic, exchange};
use test_support::websocket::{socket, socket_traffic};
use test_support::{Api, plan};

const ROUNDS: usize = 9;

/// Connections, and exchanges on each.
const CONNECTIONS: u32 = 40;
const EXCHANGES: u64 = 12;

fn main() {
    for (name, chunking, encoding) in [
        (
            "plain, 16 KiB calls",
            Chunking::Whole,
            plan::Encoding::Identity,
        ),
        (
            "plain, 200-byte calls",
            Chunking::Every(200),
            plan::Encoding::Identity,
        ),
        ("gzip, 16 KiB calls", Chunking::Whole, plan::Encoding::Gzip),
    ] {
        let both: [(&str, Connect); 2] = [("HTTP/1.1", client_traffic), ("HTTP/2", client_streams)];
        for (protocol, connect) in both {
            let traffic = traffic(connect, &chunking, encoding);
            measure(&format!("{protocol}, {name}"), &traffic);
        }
    }
    for (name, encoding) in [
        ("websocket, plain", plan::Encoding::Identity),
        ("websocket, deflate", plan::Encoding::Deflate),
    ] {
        measure(name, &websockets(encoding));
    }
    println!("\nhostile header blocks of 16 KiB");
    for (name, block) in bombs() {
        let taken = median(|| bomb(&block));
        println!("{name:<32}{:>8.2} ms", taken.as_secs_f64() * 1e3);
    }
}

/// Connections that carry as many turns as the others exchanges.
fn websockets(encoding: plan::Encoding) -> Traffic {
    let mut all = Traffic::default();
    for pid in 1..=CONNECTIONS {
        let since = Timestamp::from_nanos(u64::from(pid) * 1_000_000);
        let mut line = Line::new(pid, 0x1000, since);
        let plan = Plan {
            encoding,
            ..Plan::default()
        };
        let first = u64::from(pid) * EXCHANGES;
        let socket = socket(first..first + EXCHANGES, &plan).expect("turns can be made");
        let one = socket_traffic(&mut line, &socket, &Chunking::Whole);
        all.records.extend(one.records);
        all.events.extend(one.events);
    }
    all
}

/// Header blocks that unfold to much, or cost much to read.
fn bombs() -> [(&'static str, Vec<u8>); 5] {
    let full = |first: &[u8], field: &[u8]| {
        let left = 16_384 - first.len();
        [first, &field.repeat(left / field.len())].concat()
    };
    let text = |bits: u8, length: usize, byte: u8| {
        let rest = length - 127;
        let rest = [rest % 128 + 128, rest / 128].map(|byte| u8::try_from(byte).unwrap_or(0));
        [vec![bits | 127], rest.to_vec(), vec![byte; length]].concat()
    };
    let long_value = [b"\x40\x01x".to_vec(), text(0, 3_900, b'y')].concat();
    let long_name = [vec![0x40], text(0, 3_900, b'y'), vec![0]].concat();
    let huffman = [b"\x00\x01x".to_vec(), text(0x80, 16_000, 0x08)].concat();
    [
        (
            "one entry named again and again",
            full(&long_value, &[0xbe]),
        ),
        (
            "entries added under a long name",
            full(&long_name, &[0x7e, 0]),
        ),
        ("short fields added", full(&[], &[0x40, 0, 0])),
        (
            "short strings in Huffman's code",
            full(&[], &[0x04, 0x81, 0x1f]),
        ),
        ("one long string in it", huffman),
    ]
}

/// Reads one such block.
fn bomb(block: &[u8]) -> Duration {
    let conn = ConnId {
        pid: 1,
        ssl: 1,
        since: Timestamp::default(),
    };
    let at = Timestamp::default();
    let mut stage = Http::new(http::Limits::default());
    let (mut stats, mut out) = (Stats::default(), Vec::new());
    stage.handle(Segment::Open { at, conn }, &mut stats, &mut out);
    let mut send = |bytes: Vec<u8>| {
        let data = Segment::Data {
            at,
            conn,
            direction: Direction::Written,
            bytes: bytes.into(),
        };
        stage.handle(data, &mut stats, &mut out);
    };
    send(
        [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, 0, 0, &[]),
        ]
        .concat(),
    );
    let block = frame(1, 5, 1, block);
    let taken = time(|| send(block));
    assert_eq!(stats.dismissed_ambiguous, 0, "it is a block that is read");
    taken
}

/// Makes a connection of exchanges.
type Connect = fn(&mut Line, &[Exchange], &Chunking) -> Traffic;

fn traffic(connect: Connect, chunking: &Chunking, encoding: plan::Encoding) -> Traffic {
    let mut all = Traffic::default();
    for pid in 1..=CONNECTIONS {
        let mut line = Line::new(
            pid,
            0x1000,
            Timestamp::from_nanos(u64::from(pid) * 1_000_000),
        );
        let exchanges: Vec<_> = (0..EXCHANGES)
            .map(|number| {
                let api = match number % 3 {
                    0 => Api::AnthropicMessages,
                    1 => Api::OpenAiChat,
                    _ => Api::OpenAiResponses,
                };
                let plan = Plan {
                    encoding,
                    ..Plan::default()
                };
                let number = u64::from(pid) * EXCHANGES + number;
                exchange(api, number, Stream::WithUsage, &plan).expect("a reply can be made")
            })
            .collect();
        let one = connect(&mut line, &exchanges, chunking);
        all.records.extend(one.records);
        all.events.extend(one.events);
    }
    all
}

fn measure(name: &str, traffic: &Traffic) {
    let bytes: usize = traffic
        .events
        .iter()
        .map(|event| {
            if let Event::Chunk { bytes, .. } = event {
                bytes.len()
            } else {
                0
            }
        })
        .sum();
    let segments = segments(&traffic.events);
    let messages = messages(&segments);
    println!(
        "\n{name}: {:.1} MB in {} records",
        bytes as f64 / 1e6,
        traffic.records.len()
    );
    println!("{:<14}{:>10}{:>12}", "stage", "MB/s", "copies");
    let copy = median(|| {
        let start = Instant::now();
        for event in &traffic.events {
            if let Event::Chunk { bytes, .. } = event {
                black_box(bytes.to_vec());
            }
        }
        start.elapsed()
    });
    let stages: [(&str, &dyn Fn() -> Duration); 5] = [
        ("decode", &|| {
            time(|| {
                traffic
                    .records
                    .iter()
                    .map(|record| decode(record))
                    .for_each(|event| drop(black_box(event)));
            })
        }),
        ("connection", &|| {
            time(|| drop(black_box(self::segments(&traffic.events))))
        }),
        ("http", &|| {
            time(|| drop(black_box(self::messages(&segments))))
        }),
        ("llm", &|| {
            let messages = messages.clone();
            time(|| calls(messages))
        }),
        ("whole line", &|| {
            time(|| {
                let mut line = Pipeline::new(Settings::default());
                for record in &traffic.records {
                    if let Ok(event) = decode(record) {
                        line.handle(&event);
                    }
                    while let Some(output) = line.poll_output() {
                        black_box(&output);
                    }
                }
            })
        }),
    ];
    for (stage, run) in stages {
        let taken = median(run);
        println!(
            "{stage:<14}{:>10.0}{:>12.1}",
            bytes as f64 / 1e6 / taken.as_secs_f64(),
            taken.as_secs_f64() / copy.as_secs_f64()
        );
    }
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(run: impl Fn() -> Duration) -> Duration {
    let mut taken: Vec<Duration> = (0..ROUNDS).map(|_| run()).collect();
    taken.sort();
    taken.get(ROUNDS / 2).copied().unwrap_or_default()
}

fn segments(events: &[Event]) -> Vec<Segment> {
    let mut stage = Connections::new(connection::Limits::default());
    let (mut stats, mut out) = (Stats::default(), Vec::new());
    for event in events {
        stage.handle(event, &mut stats, &mut out);
    }
    out
}

fn messages(segments: &[Segment]) -> Vec<HttpEvent> {
    let mut stage = Http::new(http::Limits::default());
    let (mut stats, mut out) = (Stats::default(), Vec::new());
    for segment in segments {
        stage.handle(segment.clone(), &mut stats, &mut out);
    }
    out
}

fn calls(messages: Vec<HttpEvent>) {
    let mut stage = Llm::new(llm::Limits::default());
    let (mut stats, mut out) = (Stats::default(), Vec::new());
    for message in messages {
        stage.handle(message, &mut stats, &mut out);
    }
    black_box(out);
}
