//! Gemini Live.

use super::*;

const PATH: &str = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";

const SETUP: &str = r#"{"setup":{"model":"models/gemini-live-2.5-flash","generationConfig":{"responseModalities":["AUDIO"]}}}"#;
const HEARD: &str = r#"{"serverContent":{"inputTranscription":{"text":"Why?"}}}"#;
const SOUND: &str = r#"{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/pcm","data":"QUJD"}}]}}}"#;
const WORDS: &str = r#"{"serverContent":{"outputTranscription":{"text":"Because."}}}"#;
const OVER: &str = r#"{"serverContent":{"turnComplete":true}}"#;

fn usage(output: u64) -> String {
    format!(
        r#"{{"usageMetadata":{{"promptTokenCount":100,"responseTokenCount":{output},"thoughtsTokenCount":5,"totalTokenCount":{},
        "promptTokensDetails":[{{"modality":"AUDIO","tokenCount":80}}],"responseTokensDetails":[{{"modality":"AUDIO","tokenCount":{output}}}]}}}}"#,
        105 + output
    )
}

fn over(output: u64) -> String {
    usage(output).replacen('{', r#"{"serverContent":{"turnComplete":true},"#, 1)
}

pub(super) fn two_turns() -> Socket {
    Socket::new(PATH)
        .client(SETUP)
        .server(r#"{"setupComplete":{}}"#)
        .client(r#"{"realtimeInput":{"audio":{"data":"QUJD"}}}"#)
        .server(HEARD)
        .server(SOUND)
        .server(&usage(3))
        .server(WORDS)
        .server(&over(40))
        .server(r#"{"sessionResumptionUpdate":{"newHandle":"canary"}}"#)
        .server(SOUND)
        .server(r#"{"serverContent":{"interrupted":true}}"#)
        .server(OVER)
        .server(&usage(7))
}

#[test]
fn every_turn_of_a_live_session_is_a_call_with_its_last_usage() {
    let socket = two_turns();
    let calls = socket.calls();
    let summary: Vec<_> = calls
        .iter()
        .map(|call| (verdict(call), call.stop_reason.as_deref()))
        .collect();
    let whole = |output| {
        (
            Outcome::Complete,
            UsageSource::Provider,
            Some(100),
            Some(output),
        )
    };
    assert_eq!(
        summary,
        [
            (whole(45), Some("turnComplete")),
            (whole(12), Some("interrupted")),
        ]
    );
    let first = &calls[0];
    assert_eq!(first.endpoint, Endpoint::GeminiLive);
    assert_eq!(
        first.model_requested.as_deref(),
        Some("gemini-live-2.5-flash")
    );
    assert_eq!(
        (first.usage.audio_input, first.usage.audio_output),
        (Some(80), Some(40))
    );
    assert_eq!(socket.undecodable(), 0);
}

#[test]
fn what_only_a_user_said_is_no_call() {
    let socket = Socket::new(PATH)
        .client(SETUP)
        .server(r#"{"setupComplete":{}}"#)
        .server(HEARD)
        .server(&usage(0))
        .server(r#"{"goAway":{"timeLeft":"10s"}}"#);
    assert!(socket.calls().is_empty());
}

#[test]
fn a_turn_that_calls_a_tool_ends_with_the_turn() {
    let calls = Socket::new(PATH)
        .client(SETUP)
        .server(r#"{"toolCall":{"functionCalls":[{"id":"f1","name":"look","args":{"where":"there"}}]}}"#)
        .client(r#"{"toolResponse":{"functionResponses":[{"id":"f1","response":{}}]}}"#)
        .server(WORDS)
        .server(&over(9))
        .calls();
    assert_eq!(
        calls.iter().map(verdict).collect::<Vec<_>>(),
        [(
            Outcome::Complete,
            UsageSource::Provider,
            Some(100),
            Some(14)
        )]
    );
}

#[test]
fn a_turn_of_which_messages_are_lost_is_incomplete() {
    let calls = Socket::new(PATH)
        .client(SETUP)
        .server(SOUND)
        .lost(Server)
        .server(WORDS)
        .server(&over(9))
        .calls();
    assert_eq!(
        calls.iter().map(verdict).collect::<Vec<_>>(),
        [(
            Outcome::Incomplete,
            UsageSource::Provider,
            Some(100),
            Some(14)
        )]
    );
}

#[test]
fn a_turn_whose_begin_may_be_lost_is_incomplete_and_the_next_is_not() {
    let calls = Socket::new(PATH)
        .client(SETUP)
        .lost(Server)
        .server(WORDS)
        .server(&over(9))
        .server(WORDS)
        .server(&over(3))
        .calls();
    let outcomes: Vec<_> = calls.iter().map(|call| call.outcome).collect();
    assert_eq!(outcomes, [Outcome::Incomplete, Outcome::Complete]);
}

#[test]
fn trap_17_how_messages_are_cut_changes_nothing() {
    let socket = two_turns();
    let whole = calls(run(socket.events(usize::MAX)).0);
    for longest in [1, 2, 7, 64] {
        assert_eq!(calls(run(socket.events(longest)).0), whole, "{longest}");
    }
}
