//! Made-up traffic through the whole line: what comes out equals what was served, however the
//! replies were compressed, framed and cut.

use std::collections::BTreeMap;

use agent_core::event::{Direction, Event, Timestamp, decode};
use agent_core::llm::{LlmCall, Outcome as Ended, Usage, UsageSource};
use agent_core::pipeline::{Output, Pipeline, Settings};
use proptest::prelude::*;
use test_support::plan::{Encoding, Fault, Framing, Plan, Split};
use test_support::streams::client_streams;
use test_support::traffic::{Chunking, Exchange, Line, Stream, Traffic, client_traffic, exchange};
use test_support::websocket::{Socket, socket, socket_traffic};
use test_support::{Api, Outcome, Reported, Served};

/// The APIs that are called by POST.
const APIS: [Api; 11] = [
    Api::AnthropicMessages,
    Api::OpenAiChat,
    Api::OpenAiResponses,
    Api::GeminiGenerate,
    Api::OpenAiCompletions,
    Api::OpenAiEmbeddings,
    Api::BedrockConverse,
    Api::BedrockInvoke,
    Api::CohereChat,
    Api::OllamaChat,
    Api::VercelLanguage,
];

/// The calls that the line makes of `traffic`.
fn calls(traffic: &Traffic) -> Vec<LlmCall> {
    let mut line = Pipeline::new(Settings::default());
    let mut outputs = Vec::new();
    let mut now = Timestamp::default();
    for event in &traffic.events {
        now = event.at().unwrap_or(now);
        line.handle(event);
        outputs.extend(std::iter::from_fn(|| line.poll_output()));
    }
    line.finish(now);
    outputs.extend(std::iter::from_fn(|| line.poll_output()));
    outputs
        .into_iter()
        .filter_map(|output| {
            if let Output::Usage(record) = output {
                Some(record.call)
            } else {
                None
            }
        })
        .collect()
}

/// What a call must look like, without times and what is not compared.
#[derive(Debug, PartialEq, Eq)]
struct Expected {
    endpoint: &'static str,
    id: Option<String>,
    model_requested: Option<String>,
    model_served: Option<String>,
    stream: bool,
    status: Option<u16>,
    outcome: Ended,
    source: UsageSource,
    /// Where the provider reported them.
    tokens: Option<[u64; 7]>,
}

fn tokens(usage: &Usage) -> [u64; 7] {
    [
        usage.input_uncached,
        usage.cache_read,
        usage.cache_write_5m,
        usage.cache_write_1h,
        usage.cache_write_other,
        usage.output,
        usage.reasoning,
    ]
    .map(Option::unwrap_or_default)
}

fn found(call: &LlmCall) -> Expected {
    let mut tokens = tokens(&call.usage);
    if call.usage_source == UsageSource::ProviderPartial {
        // The output is what was seen of it.
        tokens[5..].fill(0);
    }
    let is_reported = matches!(
        call.usage_source,
        UsageSource::Provider | UsageSource::ProviderPartial
    );
    Expected {
        endpoint: call.endpoint.as_str(),
        id: call.response_id.clone(),
        model_requested: call.model_requested.clone(),
        model_served: call.model_served.clone(),
        stream: call.is_stream,
        status: call.http_status,
        outcome: call.outcome,
        source: call.usage_source,
        tokens: is_reported.then_some(tokens),
    }
}

fn expected(served: &Served) -> Expected {
    let usage = &served.usage;
    let mut tokens = [
        usage.input_uncached,
        usage.cache_read,
        usage.cache_write_5m,
        usage.cache_write_1h,
        usage.cache_write_other,
        usage.output,
        usage.reasoning,
    ];
    let (source, tokens) = match served.reported {
        Reported::Everything => (UsageSource::Provider, Some(tokens)),
        Reported::Input => {
            tokens[5..].fill(0);
            (UsageSource::ProviderPartial, Some(tokens))
        }
        Reported::Nothing if served.status >= 400 => (UsageSource::None, None),
        Reported::Nothing => (UsageSource::Estimated, None),
    };
    Expected {
        endpoint: served.api.as_str(),
        id: served.id.clone(),
        model_requested: served.model_requested.clone(),
        model_served: served.model_served.clone(),
        stream: served.stream,
        status: Some(served.status),
        outcome: match served.outcome {
            Outcome::Complete => Ended::Complete,
            Outcome::Aborted => Ended::Aborted,
            Outcome::Error => Ended::Error,
        },
        source,
        tokens,
    }
}

fn assert_all(exchanges: &[Exchange], chunking: &Chunking, context: &str) {
    let mut line = Line::new(100, 0x7F00, Timestamp::from_nanos(1_000));
    let traffic = client_traffic(&mut line, exchanges, chunking);
    let found: Vec<_> = calls(&traffic).iter().map(found).collect();
    let expected: Vec<_> = exchanges
        .iter()
        .map(|exchange| expected(&exchange.served))
        .collect();
    assert_eq!(found, expected, "{context}");
}

#[test]
fn every_record_decodes_to_its_event() {
    for api in APIS {
        let exchange = exchange(api, 9, Stream::WithUsage, &Plan::default()).unwrap();
        let mut line = Line::new(100, 0x7F00, Timestamp::from_nanos(1_000));
        let mut traffic = Traffic::default();
        line.name("api.example.org", &mut traffic);
        let more = client_traffic(&mut line, &[exchange], &Chunking::Every(300));
        traffic.records.extend(more.records);
        traffic.events.extend(more.events);
        let decoded: Vec<_> = traffic
            .records
            .iter()
            .map(|record| decode(record).unwrap())
            .collect();
        assert_eq!(decoded, traffic.events);
    }
}

#[test]
fn every_api_in_every_framing_compression_and_cut() {
    for api in APIS {
        for encoding in Encoding::ALL {
            for framing in [Framing::Length, Framing::Chunked, Framing::ChunkedEvery(5)] {
                for split in [Split::Whole, Split::Usual, Split::Every(1), Split::Random] {
                    for stream in [Stream::No, Stream::WithoutUsage, Stream::WithUsage] {
                        let plan = Plan {
                            encoding,
                            framing,
                            split,
                            ..Plan::default()
                        };
                        // Three on one connection.
                        let exchanges: Vec<_> = (0..3)
                            .map(|number| exchange(api, number, stream, &plan).unwrap())
                            .collect();
                        assert_all(
                            &exchanges,
                            &Chunking::Whole,
                            &format!("{api:?} {stream:?} {plan}"),
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn every_fault_of_every_api() {
    for api in APIS {
        for stream in [Stream::No, Stream::WithUsage] {
            for fault in [
                Fault::Status(429),
                Fault::ErrorAfter(2),
                Fault::AbortAfter(2),
            ] {
                if stream == Stream::No && matches!(fault, Fault::ErrorAfter(_)) {
                    continue;
                }
                let plan = Plan {
                    fault,
                    deltas: Some(5),
                    ..Plan::default()
                };
                let mut exchange = exchange(api, 1, stream, &plan).unwrap();
                if exchange.served.outcome == Outcome::Aborted && stream == Stream::No {
                    // Whether half a JSON text is read as far as it goes is not promised.
                    exchange.served.id = None;
                    exchange.served.model_served = None;
                    let mut line = Line::new(100, 0x7F00, Timestamp::from_nanos(1_000));
                    let traffic = client_traffic(
                        &mut line,
                        std::slice::from_ref(&exchange),
                        &Chunking::Whole,
                    );
                    let outcomes: Vec<_> =
                        calls(&traffic).iter().map(|call| call.outcome).collect();
                    assert_eq!(outcomes, [Ended::Aborted], "{api:?}");
                    continue;
                }
                assert_all(
                    &[exchange],
                    &Chunking::Whole,
                    &format!("{api:?} {stream:?} {plan}"),
                );
            }
        }
    }
}

/// The calls by the ids of their responses: streams end in any order.
fn by_id(calls: impl Iterator<Item = Expected>) -> BTreeMap<Option<String>, Expected> {
    calls.map(|call| (call.id.clone(), call)).collect()
}

#[test]
fn every_api_in_parallel_streams_in_every_compression_and_cut() {
    for api in Api::MODEL_IN_BODY {
        for encoding in Encoding::ALL {
            for split in [Split::Whole, Split::Usual, Split::Random] {
                for fault in [Fault::None, Fault::AbortAfter(2)] {
                    let plan = Plan {
                        encoding,
                        split,
                        fault,
                        deltas: Some(5),
                        ..Plan::default()
                    };
                    let exchanges: Vec<_> = (0..4)
                        .map(|number| exchange(api, number, Stream::WithUsage, &plan).unwrap())
                        .collect();
                    let expected = by_id(exchanges.iter().map(|one| expected(&one.served)));
                    for chunking in [Chunking::Whole, Chunking::Every(30)] {
                        let mut line = Line::new(100, 0x7F00, Timestamp::from_nanos(1_000));
                        let traffic = client_streams(&mut line, &exchanges, &chunking);
                        let found = by_id(calls(&traffic).iter().map(found));
                        assert_eq!(found, expected, "{api:?} {plan} {chunking:?}");
                    }
                }
            }
        }
    }
}

/// Their paths are only references to a head that was not seen.
#[test]
fn calls_on_a_connection_of_http2_that_was_joined_midway_are_recognised_by_shape() {
    for api in Api::MODEL_IN_BODY {
        for encoding in Encoding::ALL {
            let plan = Plan {
                encoding,
                ..Plan::default()
            };
            let exchanges: Vec<_> = (0..4)
                .map(|number| exchange(api, number, Stream::WithUsage, &plan).unwrap())
                .collect();
            let mut line = Line::new(100, 0x7F00, Timestamp::from_nanos(1_000));
            let mut traffic = client_streams(&mut line, &exchanges, &Chunking::Whole);
            // The opening, and the head and data of the first request.
            let mut written = 0;
            traffic.events.retain(|event| {
                let is_written = matches!(
                    event,
                    Event::Chunk {
                        direction: Direction::Written,
                        ..
                    }
                );
                written += usize::from(is_written);
                !is_written || written > 3
            });
            let expected = by_id(exchanges.iter().skip(1).map(|one| expected(&one.served)));
            let found = calls(&traffic);
            assert_eq!(
                by_id(found.iter().map(self::found)),
                expected,
                "{api:?} {plan}"
            );
            assert!(found.iter().all(|call| call.user_agent.is_none()));
        }
    }
}

fn assert_turns(socket: &Socket, chunking: &Chunking, context: &str) {
    let mut line = Line::new(100, 0x7F00, Timestamp::from_nanos(1_000));
    let found: Vec<_> = calls(&socket_traffic(&mut line, socket, chunking))
        .iter()
        .map(found)
        .collect();
    let expected: Vec<_> = socket
        .turns
        .iter()
        .map(|turn| expected(&turn.served))
        .collect();
    assert_eq!(found, expected, "{context}");
}

#[test]
fn every_turn_of_a_websocket_in_every_compression_and_cut() {
    for encoding in [Encoding::Identity, Encoding::Deflate] {
        for split in [
            Split::Whole,
            Split::Every(1),
            Split::Every(50),
            Split::Random,
        ] {
            for chunking in [Chunking::Whole, Chunking::Every(1), Chunking::Every(37)] {
                let plan = Plan {
                    encoding,
                    split,
                    ..Plan::default()
                };
                let socket = socket(0..4, &plan).unwrap();
                assert_turns(&socket, &chunking, &format!("{plan} {chunking:?}"));
            }
        }
    }
}

#[test]
fn a_turn_that_fails_costs_no_other() {
    let plan = Plan {
        fault: Fault::ErrorAfter(2),
        deltas: Some(5),
        ..Plan::default()
    };
    let mut failing = socket(0..2, &plan).unwrap();
    assert_turns(&failing, &Chunking::Whole, "an error in each");
    let whole = socket(2..4, &Plan::default()).unwrap();
    failing.turns.extend(whole.turns);
    assert_turns(&failing, &Chunking::Every(100), "two that failed before");
}

/// The body of a reply that ends with its connection.
#[test]
fn a_reply_that_the_connection_ends() {
    for api in APIS {
        for encoding in Encoding::ALL {
            let plan = Plan {
                encoding,
                framing: Framing::Close,
                ..Plan::default()
            };
            let exchange = exchange(api, 4, Stream::WithUsage, &plan).unwrap();
            assert_all(
                &[exchange],
                &Chunking::Every(100),
                &format!("{api:?} {plan}"),
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn connections_at_once_and_requests_cut_anywhere(
        cuts in prop::collection::vec(1_usize..400, 3),
        order in prop::collection::vec(0_usize..3, 0..200),
        seed in 0_u64..1_000,
    ) {
        let mut streams: Vec<_> = Vec::new();
        let mut served = BTreeMap::new();
        for (number, cut) in (0_u64..).zip(&cuts) {
            let api = APIS[usize::try_from(number).unwrap()];
            let plan = Plan { split: Split::Random, ..Plan::default() };
            let exchanges: Vec<_> = (0..2)
                .map(|call| exchange(api, seed + 10 * number + call, Stream::WithUsage, &plan).unwrap())
                .collect();
            for exchange in &exchanges {
                served.insert(exchange.served.id.clone(), expected(&exchange.served));
            }
            let ssl = 0x1000 + number;
            let mut line = Line::new(7, ssl, Timestamp::from_nanos(1_000));
            let traffic = client_traffic(&mut line, &exchanges, &Chunking::Every(*cut));
            streams.push(traffic.events.into_iter());
        }
        let mut mixed = Traffic::default();
        for pick in order {
            mixed.events.extend(streams[pick].next());
        }
        for stream in streams {
            mixed.events.extend(stream);
        }
        let found: BTreeMap<_, _> =
            calls(&mixed).iter().map(|call| (call.response_id.clone(), found(call))).collect();
        prop_assert_eq!(found, served);
    }

    #[test]
    fn lost_chunks_never_make_a_wrong_call(
        lost in prop::collection::btree_set(0_usize..400, 1..6),
        cut in 20_usize..400,
        seed in 0_u64..1_000,
    ) {
        let plan = Plan { split: Split::Random, ..Plan::default() };
        let exchanges: Vec<_> = (0_u64..)
            .zip(APIS)
            .map(|(number, api)| exchange(api, seed + number, Stream::WithUsage, &plan).unwrap())
            // What comes without an id can't be told apart where chunks are missing.
            .filter(|exchange| exchange.served.id.is_some())
            .collect();
        let mut line = Line::new(7, 0x1000, Timestamp::from_nanos(1_000));
        let mut traffic = client_traffic(&mut line, &exchanges, &Chunking::Every(cut));
        let mut index = 0;
        traffic.events.retain(|event| {
            let is_chunk = matches!(event, Event::Chunk { .. });
            index += usize::from(is_chunk);
            !(is_chunk && lost.contains(&index))
        });
        let served: BTreeMap<_, _> =
            exchanges.iter().map(|exchange| (exchange.served.id.clone(), expected(&exchange.served))).collect();
        for call in calls(&traffic) {
            // A reply whose id was lost can't be named; then nothing is claimed of it either.
            let Some(truth) = served.get(&call.response_id) else {
                prop_assert!(call.response_id.is_none(), "an id that nobody served: {call:?}");
                prop_assert!(call.usage_source != UsageSource::Provider || call.outcome != Ended::Complete);
                continue;
            };
            let found = found(&call);
            if call.outcome == Ended::Complete {
                // The request may have a hole: then its model is not known.
                prop_assert_eq!(&found.tokens, &truth.tokens);
                prop_assert_eq!(&found.model_served, &truth.model_served);
            }
            if call.usage_source == UsageSource::Provider {
                prop_assert_eq!(&found.tokens, &truth.tokens);
            }
        }
    }

    #[test]
    fn lost_chunks_never_make_a_wrong_turn(
        lost in prop::collection::btree_set(0_usize..300, 1..6),
        cut in prop_oneof![20_usize..400, Just(usize::MAX)],
        is_deflated in any::<bool>(),
        seed in 0_u64..1_000,
    ) {
        let encoding = if is_deflated { Encoding::Deflate } else { Encoding::Identity };
        let plan = Plan { encoding, ..Plan::default() };
        let socket = socket(seed..seed + 4, &plan).unwrap();
        let mut line = Line::new(7, 0x1000, Timestamp::from_nanos(1_000));
        let chunking = if cut == usize::MAX { Chunking::Whole } else { Chunking::Every(cut) };
        let mut traffic = socket_traffic(&mut line, &socket, &chunking);
        let mut index = 0;
        traffic.events.retain(|event| {
            let is_chunk = matches!(event, Event::Chunk { .. });
            index += usize::from(is_chunk);
            !(is_chunk && lost.contains(&index))
        });
        let served: BTreeMap<_, _> =
            socket.turns.iter().map(|turn| (turn.served.id.clone(), expected(&turn.served))).collect();
        let calls = calls(&traffic);
        prop_assert!(calls.len() <= socket.turns.len(), "no turn twice");
        for call in calls {
            let Some(truth) = served.get(&call.response_id) else {
                prop_assert!(call.response_id.is_none(), "an id that nobody served: {call:?}");
                prop_assert!(call.outcome != Ended::Complete && call.usage_source != UsageSource::Provider);
                continue;
            };
            let found = found(&call);
            if call.outcome == Ended::Complete || call.usage_source == UsageSource::Provider {
                prop_assert_eq!(&found.tokens, &truth.tokens);
                prop_assert_eq!(&found.model_served, &truth.model_served);
            }
        }
    }

    #[test]
    fn bytes_in_are_bytes_seen_or_bytes_known_to_be_missing(
        lost in prop::collection::btree_set(0_usize..200, 0..8),
        cut in 20_usize..400,
    ) {
        let exchanges = [exchange(Api::OpenAiChat, 3, Stream::WithUsage, &Plan::default()).unwrap()];
        let mut line = Line::new(7, 0x1000, Timestamp::from_nanos(1_000));
        let mut traffic = client_traffic(&mut line, &exchanges, &Chunking::Every(cut));
        let length: usize = exchanges[0].request.len() + exchanges[0].response.iter().map(Vec::len).sum::<usize>();
        let mut index = 0;
        traffic.events.retain(|event| {
            let is_chunk = matches!(event, Event::Chunk { .. });
            index += usize::from(is_chunk);
            !(is_chunk && lost.contains(&index))
        });
        let mut line = Pipeline::new(Settings::default());
        for event in &traffic.events {
            line.handle(event);
        }
        let stats = line.stats();
        prop_assert_eq!(stats.written_bytes + stats.read_bytes + stats.gap_bytes, length as u64);
    }

    #[test]
    fn records_of_any_bytes_in_any_order_are_taken(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..40),
        kinds in prop::collection::vec(0_u8..9, 40),
        exit in prop::collection::vec(0_u64..1_000_000, 0..10),
    ) {
        let mut line = Pipeline::new(Settings::default());
        for (record, kind) in records.iter().zip(kinds) {
            let mut record = record.clone();
            // Small numbers where kind and length stand, so that many records are taken.
            for (place, byte) in [(0, kind), (1, 0), (2, 0), (3, 0), (5, 0), (6, 0), (7, 0), (8, 1)] {
                if let Some(slot) = record.get_mut(place) {
                    *slot = byte;
                }
            }
            match decode(&record) {
                Ok(event) => line.handle(&event),
                Err(_) => line.malformed(),
            }
        }
        for seconds in exit {
            line.expire(Timestamp::from_nanos(seconds * 1_000_000_000));
        }
        line.finish(Timestamp::from_nanos(u64::MAX));
        prop_assert!(line.stats().connections_open <= 40);
    }
}
