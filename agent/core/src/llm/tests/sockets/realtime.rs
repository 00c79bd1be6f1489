use super::*;

fn realtime(model: Option<&str>) -> Socket {
    let mut socket = Socket::new("/v1/realtime");
    socket.model = model.map(str::to_owned);
    socket
}

const SESSION: &str = r#"{"type":"session.created","session":{"type":"realtime","id":"sess_1","model":"gpt-realtime-2026",
    "audio":{"input":{"transcription":{"model":"gpt-transcribe"}}}}}"#;

fn response_done(id: &str, status: &str, details: &str) -> String {
    format!(
        r#"{{"type":"response.done","event_id":"event_9","response":{{"id":"{id}","status":"{status}","status_details":{details},"usage":{{"total_tokens":253,"input_tokens":132,"output_tokens":121,"input_token_details":{{"text_tokens":119,"audio_tokens":13,"cached_tokens":64,"cached_tokens_details":{{"text_tokens":64}}}},"output_token_details":{{"text_tokens":30,"audio_tokens":91}}}}}}}}"#
    )
}

const CREATED: &str =
    r#"{"type":"response.created","response":{"id":"resp_1","status":"in_progress","usage":null}}"#;
const DELTA: &str = r#"{"type":"response.output_audio_transcript.delta","response_id":"resp_1","item_id":"item_1","delta":"Hi"}"#;

/// A session with two responses, the second cut short by what the user says.
pub(super) fn two_responses() -> Socket {
    realtime(Some("gpt-realtime"))
        .server(SESSION)
        .client(r#"{"type":"session.update","session":{"instructions":"Be brief."}}"#)
        .client(r#"{"type":"input_audio_buffer.append","audio":"QUJD"}"#)
        .server(CREATED)
        .server(DELTA)
        .server(&response_done("resp_1", "completed", "null"))
        .server(r#"{"type":"response.created","response":{"id":"resp_2"}}"#)
        .server(&response_done(
            "resp_2",
            "cancelled",
            r#"{"type":"cancelled","reason":"turn_detected"}"#,
        ))
}

#[test]
fn every_response_of_a_realtime_session_is_a_call() {
    let first = response_done("resp_1", "completed", "null");
    let socket = two_responses();
    let calls = socket.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(
        calls[0],
        LlmCall {
            exchange: exchange(0),
            started: at(5),
            first_token: Some(at(6)),
            ended: at(7),
            provider: Provider("other"),
            endpoint: Endpoint::OpenAiRealtime,
            server_name: Some("llm.example".to_owned()),
            model_requested: Some("gpt-realtime".to_owned()),
            model_served: Some("gpt-realtime-2026".to_owned()),
            is_stream: true,
            http_status: Some(101),
            outcome: Outcome::Complete,
            stop_reason: Some("completed".to_owned()),
            usage: Usage {
                input_uncached: Some(68),
                cache_read: Some(64),
                output: Some(121),
                audio_input: Some(13),
                audio_output: Some(91),
                ..Usage::default()
            },
            usage_source: UsageSource::Provider,
            response_id: Some("resp_1".to_owned()),
            observed_bytes: (CREATED.len() + DELTA.len() + first.len()) as u64,
            ..LlmCall::plain()
        }
    );
    assert_eq!(
        (calls[1].outcome, calls[1].stop_reason.as_deref()),
        (Outcome::Complete, Some("turn_detected"))
    );
    assert_eq!(calls[1].exchange, exchange(1));
}

#[test]
fn realtime_responses_may_run_at_once() {
    let created = |id: &str| format!(r#"{{"type":"response.created","response":{{"id":"{id}"}}}}"#);
    let socket = realtime(None)
        .server(&created("resp_1"))
        .unread(Server)
        .server(&created("resp_2"))
        .server(&response_done("resp_1", "failed", "null"))
        .server(&response_done("resp_2", "completed", "null"));
    let outcomes: Vec<_> = socket
        .calls()
        .into_iter()
        .map(|call| (call.response_id, call.outcome, call.usage.output))
        .collect();
    assert_eq!(
        outcomes,
        [
            (Some("resp_1".to_owned()), Outcome::Error, Some(121)),
            (Some("resp_2".to_owned()), Outcome::Complete, Some(121)),
        ]
    );
    assert_eq!(socket.undecodable(), 0);
    assert_eq!(socket.lost(Server).undecodable(), 1);
}

#[test]
fn a_transcription_is_a_call_of_its_own_model() {
    let transcribed = r#"{"type":"conversation.item.input_audio_transcription.completed","item_id":"item_1","transcript":"Hi",
        "usage":{"type":"tokens","total_tokens":26,"input_tokens":17,"input_token_details":{"text_tokens":0,"audio_tokens":17},"output_tokens":9}}"#;
    let seconds = r#"{"type":"conversation.item.input_audio_transcription.completed","item_id":"item_2","usage":{"type":"duration","seconds":3}}"#;
    let socket = realtime(Some("gpt-realtime"))
        .server(SESSION)
        .server(transcribed)
        .server(transcribed);
    let calls = socket.calls();
    assert_eq!(calls.len(), 1, "an item is transcribed once");
    let call = &calls[0];
    assert_eq!(
        (
            call.model_requested.as_deref(),
            call.model_served.as_deref(),
            call.response_id.as_deref(),
            call.usage.input_uncached,
            call.usage.output
        ),
        (
            None,
            Some("gpt-transcribe"),
            Some("item_1"),
            Some(17),
            Some(9)
        )
    );
    let calls = realtime(None).server(seconds).calls();
    assert_eq!(
        (calls.len(), calls[0].usage_source, calls[0].units.unpriced),
        (1, UsageSource::None, Some(3)),
        "some models bill the seconds"
    );
}
