//! Throughput of the line and of each of its stages, on made-up traffic of the three APIs.
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
use agent_core::event::{Event, Timestamp, decode};
use agent_core::http::{self, Http, HttpEvent};
use agent_core::llm::{self, Llm};
use agent_core::pipeline::{Pipeline, Settings};
use agent_core::stats::Stats;
use test_support::plan::Plan;
use test_support::traffic::{Chunking, Line, Stream, Traffic, client_traffic, exchange};
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
        measure(name, &traffic(&chunking, encoding));
    }
}

fn traffic(chunking: &Chunking, encoding: plan::Encoding) -> Traffic {
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
        let one = client_traffic(&mut line, &exchanges, chunking);
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
