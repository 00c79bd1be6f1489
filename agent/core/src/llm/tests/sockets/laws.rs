//! Laws for whole connections, with holes and nonsense.

use proptest::prelude::*;

use super::*;

/// Connections of each kind.
fn sockets() -> Vec<Socket> {
    let lane =
        |text: &str, lane: &str| text.replacen('{', &format!(r#"{{"stream_id":"{lane}","#), 1);
    let steered = over(
        "incomplete",
        "resp_1",
        20,
        r#","incomplete_details":{"reason":"steered"}"#,
    );
    vec![
        turns(),
        responses()
            .client(&create(""))
            .server(&created("resp_1"))
            .server(DELTA)
            .server(&steered)
            .server(&created("resp_2"))
            .server(DELTA)
            .server(&done("resp_2", 30)),
        responses()
            .client(&lane(&create(""), "a"))
            .client(&lane(&create(""), "b"))
            .server(&lane(&created("resp_b"), "b"))
            .server(&lane(&created("resp_a"), "a"))
            .server(&lane(DELTA, "b"))
            .server(&lane(&done("resp_a", 20), "a"))
            .server(&lane(&done("resp_b", 30), "b")),
        realtime::two_responses(),
    ]
}

fn total(call: &LlmCall) -> u64 {
    let usage = call.usage;
    [
        usage.input_uncached,
        usage.cache_read,
        usage.cache_write_other,
        usage.output,
    ]
    .into_iter()
    .flatten()
    .sum()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Gap law: what is missing makes no response that was not sent, no token more, and nothing
    /// that looks whole and is not.
    #[test]
    fn what_is_lost_makes_no_response_and_adds_no_token(
        which in 0..4_usize,
        holes in proptest::collection::vec((any::<prop::sample::Index>(), 0..3_usize), 1..5),
        longest in 1..200_usize,
    ) {
        let mut socket = sockets().swap_remove(which);
        let truth = socket.calls();
        for (place, how) in holes {
            let place = place.index(socket.steps.len());
            let (_, said) = &mut socket.steps[place];
            *said = match (how, &*said) {
                (0, Said::Message(text)) => {
                    let (half, _) = text.split_at(text.floor_char_boundary(text.len() / 2));
                    Said::Part(half.to_owned(), BodyEnd::Lost)
                }
                (1, _) => Said::Part(String::new(), BodyEnd::Refused),
                _ => Said::Lost,
            };
        }
        let (out, stats) = run(socket.events(longest));
        prop_assert_eq!(stats.not_a_call, 0);
        for call in calls(out) {
            let Some(id) = &call.response_id else {
                prop_assert_eq!(total(&call), 0);
                prop_assert_ne!(call.outcome, Outcome::Complete);
                continue;
            };
            let meant = truth.iter().find(|meant| meant.response_id.as_ref() == Some(id));
            // A warm-up whose end is missing is known to be none only if its request was read.
            let Some(meant) = meant else {
                prop_assert_eq!((id.as_str(), total(&call)), ("resp_0", 0));
                continue;
            };
            prop_assert!(total(&call) == 0 || call.usage == meant.usage);
            if call.outcome == Outcome::Complete {
                prop_assert_eq!((call.usage, call.usage_source), (meant.usage, meant.usage_source));
            }
        }
    }

    /// A connection that ends anywhere leaves calls that are a part of the whole.
    #[test]
    fn a_connection_cut_anywhere_claims_no_more_than_the_whole(
        which in 0..4_usize,
        cut in any::<prop::sample::Index>(),
    ) {
        let socket = sockets().swap_remove(which);
        let truth = socket.calls();
        let mut cut_off = socket.clone();
        cut_off.steps.truncate(cut.index(socket.steps.len()));
        let found = cut_off.calls();
        prop_assert!(found.len() <= truth.len());
        for call in found {
            let is_whole = truth.contains(&call);
            prop_assert!(is_whole || call.outcome != Outcome::Complete);
            prop_assert!(is_whole || total(&call) == 0);
        }
    }

    /// Quiet law: any events in any order, of either side.
    #[test]
    fn nothing_that_is_said_makes_it_panic(
        steps in proptest::collection::vec(
            (
                prop_oneof![Just(Client), Just(Server)],
                prop::sample::select(vec![
                    r#"{"type":"response.create"}"#,
                    r#"{"type":"response.create","generate":false,"stream_id":"a"}"#,
                    r#"{"type":"response.created","response":{"id":"r1"}}"#,
                    r#"{"type":"response.created","stream_id":"a","response":{"id":"r2"}}"#,
                    r#"{"type":"response.output_text.delta","delta":"x"}"#,
                    r#"{"type":"response.completed","response":{"id":"r1","usage":{"input_tokens":1,"output_tokens":1}}}"#,
                    r#"{"type":"response.completed","response":{"id":"r3","usage":{"input_tokens":0,"output_tokens":0}}}"#,
                    r#"{"type":"response.done","response":{"id":"r2","status":"failed","usage":{"input_tokens":-1}}}"#,
                    r#"{"type":"conversation.item.input_audio_transcription.completed","item_id":"i","usage":{"input_tokens":1}}"#,
                    r#"{"type":"error","status":500}"#,
                    r#"{"type":"error","status":"x","stream_id":"a"}"#,
                    r#"{"type":"session.created","session":{"model":"m"}}"#,
                    "{\"type\":\"resp", "[]", "", "{}", "\u{0}\u{ffff}",
                ]),
                0..8_usize,
            ),
            0..40,
        ),
        is_realtime in any::<bool>(),
        end in prop::sample::select(vec![BodyEnd::Complete, BodyEnd::Cut, BodyEnd::Lost, BodyEnd::Refused]),
    ) {
        let mut socket = if is_realtime { Socket::new("/v1/realtime") } else { responses() };
        for (from, text, how) in steps {
            socket = socket.says(from, match how {
                0 => Said::Lost,
                1 => Said::Part(text.to_owned(), BodyEnd::Lost),
                _ => Said::Message(text.to_owned()),
            });
        }
        let mut llm = Llm::new(Limits::default());
        let (mut stats, mut out) = (Stats::default(), Vec::new());
        for event in socket.end(end).events(5) {
            llm.handle(event, &mut stats, &mut out);
        }
        prop_assert_eq!((llm.held_bytes(), llm.connection_count()), (0, 0));
        let calls = calls(out);
        prop_assert_eq!(calls.len() as u64, stats.calls);
        let mut numbers: Vec<_> = calls.iter().map(|call| call.exchange.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        prop_assert_eq!(numbers.len(), calls.len(), "each has a number of its own");
    }
}
