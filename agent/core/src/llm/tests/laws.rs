use proptest::prelude::*;

use super::*;

fn talks() -> Vec<Talk> {
    let mut talks = ended_by_an_event();
    talks.extend([gemini::stream(), gemini::array()]);
    talks.extend([openai::embedding(), openai::speech()]);
    talks.push(google_embeddings::predict());
    talks.extend([bedrock::converse(), bedrock::titan()]);
    talks.extend([openai::compaction(), openai::decision()]);
    talks
}

/// Those that end before their body does.
fn ended_by_an_event() -> Vec<Talk> {
    vec![
        anthropic::whole(),
        bedrock::converse_stream(),
        bedrock::invoke_stream(),
        chat::whole(),
        responses::whole(),
        responses::with_tools(),
        openai::completion(),
        openai::image(),
        openai::transcription(),
        cohere::stream(),
        interactions::stream(),
        mistral::stream(),
        ollama::stream(),
        vercel::stream(),
    ]
}

fn chosen(which: prop::sample::Index) -> Talk {
    let mut talks = talks();
    talks.swap_remove(which.index(talks.len()))
}

fn body(talk: &Talk) -> Vec<u8> {
    match talk.response.first() {
        Some(Piece::Bytes(bytes)) => bytes.clone(),
        _ => panic!("the talk has a body"),
    }
}

fn total(call: &LlmCall) -> u64 {
    let usage = call.usage;
    [
        usage.input_uncached,
        usage.cache_read,
        usage.cache_write_5m,
        usage.cache_write_1h,
        usage.cache_write_other,
        usage.output,
    ]
    .into_iter()
    .flatten()
    .sum()
}

/// The event on another connection.
pub(super) fn moved(event: HttpEvent, conn: ConnId) -> HttpEvent {
    let on = |id: ExchangeId| ExchangeId { conn, ..id };
    match event {
        HttpEvent::ServerName { name, .. } => HttpEvent::ServerName { conn, name },
        HttpEvent::Request { at, id, role, head } => HttpEvent::Request {
            at,
            id: on(id),
            role,
            head,
        },
        HttpEvent::RequestBody { id, bytes } => HttpEvent::RequestBody { id: on(id), bytes },
        HttpEvent::RequestGap { id, bytes } => HttpEvent::RequestGap { id: on(id), bytes },
        HttpEvent::RequestEnd { at, id, end } => HttpEvent::RequestEnd {
            at,
            id: on(id),
            end,
        },
        HttpEvent::Response { at, id, head } => HttpEvent::Response {
            at,
            id: on(id),
            head,
        },
        HttpEvent::ResponseBody { at, id, bytes } => HttpEvent::ResponseBody {
            at,
            id: on(id),
            bytes,
        },
        HttpEvent::ResponseGap { id, bytes } => HttpEvent::ResponseGap { id: on(id), bytes },
        HttpEvent::ResponseEnd { at, id, end } => HttpEvent::ResponseEnd {
            at,
            id: on(id),
            end,
        },
        HttpEvent::Message {
            at,
            id,
            from,
            bytes,
        } => HttpEvent::Message {
            at,
            id: on(id),
            from,
            bytes,
        },
        HttpEvent::MessageEnd { at, id, from, end } => HttpEvent::MessageEnd {
            at,
            id: on(id),
            from,
            end,
        },
        HttpEvent::MessagesLost { at, id, from } => HttpEvent::MessagesLost {
            at,
            id: on(id),
            from,
        },
        HttpEvent::Dismissed { at, why, .. } => HttpEvent::Dismissed { at, conn, why },
        HttpEvent::Closed { at, .. } => HttpEvent::Closed { at, conn },
    }
}

#[test]
fn trap_17_a_split_at_any_byte_gives_the_same_call() {
    for talk in talks() {
        let (whole, bytes) = (talk.call_with_signals(), body(&talk));
        for cut in 0..=bytes.len() {
            let (a, b) = bytes.split_at(cut);
            let pieces = vec![Piece::Bytes(a.to_vec()), Piece::Bytes(b.to_vec())];
            assert_eq!(
                talk.clone().pieces(pieces).call_with_signals(),
                whole,
                "cut at {cut}"
            );
        }
        let single = bytes.iter().map(|byte| Piece::Bytes(vec![*byte])).collect();
        assert_eq!(talk.clone().pieces(single).call_with_signals(), whole);
    }
}

#[test]
fn a_request_split_at_any_byte_gives_the_same_call() {
    for talk in talks() {
        let whole = talk.call_with_signals();
        for cut in 0..=talk.request.len() {
            let mut events = talk.events(0);
            let (a, b) = talk.request.as_bytes().split_at(cut);
            let id = exchange(0);
            events[1] = HttpEvent::RequestBody {
                id,
                bytes: Plaintext::from(b.to_vec()),
            };
            events.insert(
                1,
                HttpEvent::RequestBody {
                    id,
                    bytes: Plaintext::from(a.to_vec()),
                },
            );
            assert_eq!(
                calls_with_signals(run(events).0),
                std::slice::from_ref(&whole),
                "cut at {cut}"
            );
        }
    }
}

#[test]
fn a_stream_cut_at_any_byte_never_claims_more_than_the_whole() {
    for talk in talks() {
        let (whole, bytes) = (talk.call(), body(&talk));
        for cut in 0..bytes.len() {
            let call = talk
                .clone()
                .pieces(vec![Piece::Bytes(bytes[..cut].to_vec())])
                .end(BodyEnd::Cut)
                .call();
            assert!(total(&call) <= total(&whole), "cut at {cut}");
            for (word, of_whole) in [
                (&call.response_id, &whole.response_id),
                (&call.model_served, &whole.model_served),
                (&call.stop_reason, &whole.stop_reason),
            ] {
                assert!(word.is_none() || word == of_whole, "cut at {cut}");
            }
            let is_whole = LlmCall {
                ended: whole.ended,
                observed_bytes: whole.observed_bytes,
                ..call.clone()
            } == whole;
            assert!(
                is_whole || call.outcome == Outcome::Aborted,
                "cut at {cut}: {call:?}"
            );
        }
    }
}

proptest! {
    #[test]
    fn a_gap_never_looks_complete_and_never_adds_tokens(
        which in any::<prop::sample::Index>(),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        end in prop::sample::select(vec![BodyEnd::Complete, BodyEnd::Cut, BodyEnd::Lost]),
    ) {
        let talk = chosen(which);
        let (whole, bytes) = (talk.call(), body(&talk));
        let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
        let (from, to) = (from.min(to), from.max(to) + 1);
        let pieces = vec![
            Piece::Bytes(bytes[..from].to_vec()),
            Piece::Gap,
            Piece::Bytes(bytes[to..].to_vec()),
        ];
        let call = talk.pieces(pieces).end(end).call();
        // A terminal event before the gap ended the call already.
        if call != whole {
            prop_assert_ne!(call.outcome, Outcome::Complete);
        }
        prop_assert!(total(&call) <= total(&whole));
    }

    #[test]
    fn nothing_that_is_sent_makes_it_panic(
        pieces in prop::collection::vec(prop_oneof![
            6 => prop::sample::select(vec![
                "data: ", "event: message_delta\n", "\n\n", "{\"type\":\"message_start\"", "\"usage\":{", "\"input_tokens\":",
                "-1", "99", "}", "{", "[", "]", ",", "\"", "[DONE]", "\"delta\":\"x\"", "\\ud800", "\u{feff}",
            ]).prop_map(|text| Some(text.as_bytes().to_vec())),
            1 => prop::collection::vec(any::<u8>(), 0..6).prop_map(Some),
            1 => Just(None),
        ], 0..40),
        which in any::<prop::sample::Index>(),
        status in prop::sample::select(vec![200_u16, 204, 301, 404]),
        kind in prop::sample::select(vec!["", "text/event-stream", "application/json"]),
    ) {
        let mut talk = chosen(which).status(status);
        talk.kind = kind;
        let text = pieces.iter().flatten().flatten().copied().collect::<Vec<u8>>();
        talk.request = String::from_utf8_lossy(&text).into_owned();
        let pieces = pieces.into_iter().map(|piece| piece.map_or(Piece::Gap, Piece::Bytes)).collect();
        let (out, stats) = talk.pieces(pieces).run();
        prop_assert_eq!(calls(out).len() as u64, stats.calls);
        prop_assert_eq!(stats.calls + stats.not_a_call, 1);
    }

    #[test]
    fn interleaved_connections_give_the_calls_of_each(order in prop::collection::vec(any::<prop::sample::Index>(), 0..60)) {
        let on = |pid: u32, event: HttpEvent| moved(event, ConnId { pid, ..CONN });
        let alone: Vec<Vec<HttpEvent>> = talks()
            .iter()
            .zip(1..)
            .map(|(talk, pid)| talk.events(0).into_iter().map(|event| on(pid, event)).collect())
            .collect();
        let mut queues: Vec<_> = alone.iter().cloned().map(Vec::into_iter).collect();
        let count = queues.len();
        let mut mixed: Vec<HttpEvent> = order.into_iter().filter_map(|queue| queues[queue.index(count)].next()).collect();
        mixed.extend(queues.into_iter().flatten());
        let mut mixed = calls_with_signals(run(mixed).0);
        mixed.sort_by_key(|call| call.exchange);
        let alone: Vec<_> = alone.into_iter().flat_map(|events| calls_with_signals(run(events).0)).collect();
        prop_assert_eq!(mixed, alone);
    }

    #[test]
    fn what_is_held_is_bounded(pieces in prop::collection::vec((0..4_u64, 0..4_usize, 1..400_usize), 1..60)) {
        let limits = Limits { open_calls: 3, connections: 2, held_bytes: 500 };
        let mut llm = Llm::new(limits);
        let (mut stats, mut out) = (Stats::default(), Vec::new());
        for (number, what, size) in pieces {
            let id = exchange(number);
            let filler = "x".repeat(size);
            let body = match what {
                0 => chat::REQUEST.replace("Hello", &filler),
                1 => sse(&[&format!(r#"{{"choices":[{{"delta":{{"content":"{filler}"}}}}]}}"#)]),
                _ => filler,
            };
            let bytes = Plaintext::from(body.into_bytes());
            let events = if what == 0 {
                let mut events = chat::whole().events(number);
                events.truncate(4);
                events[1] = HttpEvent::RequestBody { id, bytes };
                events
            } else if what == 3 {
                vec![HttpEvent::ResponseGap { id, bytes: 1 }]
            } else {
                vec![HttpEvent::ResponseBody { at: at(3), id, bytes }]
            };
            for event in events {
                llm.handle(event, &mut stats, &mut out);
                prop_assert!(llm.held_bytes() <= 2 * limits.held_bytes, "{}", llm.held_bytes());
            }
        }
        llm.handle(HttpEvent::Closed { at: at(9), conn: CONN }, &mut stats, &mut out);
        prop_assert_eq!((llm.held_bytes(), llm.connection_count()), (0, 0));
    }

    #[test]
    fn any_order_of_events_is_taken(order in prop::collection::vec((any::<prop::sample::Index>(), 0..8_usize, 0..3_u64), 0..40)) {
        let talks = talks();
        let events: Vec<HttpEvent> = order
            .into_iter()
            .filter_map(|(talk, place, number)| {
                let mut events = talk.get(&talks).events(number);
                events.push(HttpEvent::Closed { at: at(5), conn: CONN });
                events.into_iter().nth(place)
            })
            .collect();
        let requests = events.iter().filter(|event| matches!(event, HttpEvent::Request { .. })).count();
        let (out, _) = run(events);
        prop_assert!(out.len() <= requests);
    }
}

#[test]
fn bytes_behind_the_end_of_a_reply_are_not_the_calls() {
    for talk in ended_by_an_event() {
        let whole = talk.call();
        assert_eq!(whole.observed_bytes, talk.bytes());
        let mut longer = talk.clone();
        for piece in &mut longer.response {
            if let Piece::Bytes(bytes) = piece {
                bytes.extend(b"\n: ping\n\n");
            }
        }
        assert_eq!(longer.call(), whole);
    }
}
