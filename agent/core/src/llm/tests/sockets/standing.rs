//! What a session says once for all of its responses.

use super::*;

const SESSION: &str = r#"{"type":"session.updated","event_id":"e1","session":{"type":"realtime","id":"sess_1","model":"gpt-realtime",
    "instructions":"Be brief.","tool_choice":"auto","max_output_tokens":"inf",
    "tools":[{"type":"function","name":"read_file","description":"d","parameters":{"type":"object","properties":{"name":{"type":"string"}}}},
    {"type":"function","name":"bash","parameters":{}}]}}"#;
const HEARD: &str = r#"{"type":"conversation.item.added","previous_item_id":null,"item":{"id":"i1","type":"message","status":"completed","role":"user","content":[{"type":"input_audio","transcript":null}]}}"#;
const TOOL_DONE: &str = r#"{"type":"conversation.item.added","item":{"id":"i3","type":"function_call_output","call_id":"c1","output":"{}"}}"#;
const SAYS: &str = r#"{"type":"conversation.item.added","item":{"id":"i2","type":"message","role":"assistant","content":[]}}"#;
const CALLS: &str = r#"{"type":"response.output_item.done","response_id":"resp_1","item":{"id":"i2","type":"function_call","call_id":"c1","name":"bash","arguments":"{}"}}"#;
const SOUND: &str = r#"{"type":"input_audio_buffer.append","audio":"QUJD"}"#;

fn response(id: &str) -> [String; 2] {
    [
        format!(r#"{{"type":"response.created","response":{{"id":"{id}"}}}}"#),
        format!(
            r#"{{"type":"response.done","response":{{"id":"{id}","status":"completed","output":[],"usage":{{"total_tokens":3,"input_tokens":1,"output_tokens":2}}}}}}"#
        ),
    ]
}

/// A turn of the user, in which the model asks for a tool, and the one behind what that gave.
fn talk() -> Socket {
    let ([begin, end], [next, over]) = (response("resp_1"), response("resp_2"));
    Socket::new("/v1/realtime")
        .server(SESSION)
        .client(SOUND)
        .server(HEARD)
        .server(&begin)
        .server(SAYS)
        .server(CALLS)
        .server(&end)
        .client(r#"{"type":"conversation.item.create","item":{"type":"function_call_output","call_id":"c1","output":"{}"}}"#)
        .server(TOOL_DONE)
        .client(r#"{"type":"response.create"}"#)
        .server(&next)
        .server(SAYS)
        .server(&over)
}

/// What the calls were asked for with.
type Asked = (
    Option<u32>,
    ToolFamilies,
    Option<LastItem>,
    bool,
    Option<u64>,
);

fn asked(socket: &Socket) -> Vec<Asked> {
    let calls = socket.calls_with_signals().into_iter();
    calls
        .map(|call| {
            let signals = call.signals;
            (
                signals.tools_offered,
                signals.families,
                signals.last_item,
                signals.forces_tool,
                signals.max_output_tokens,
            )
        })
        .collect()
}

const NONE: ToolFamilies = ToolFamilies {
    edit: false,
    shell: false,
    read: false,
};

const BOTH: ToolFamilies = ToolFamilies {
    shell: true,
    read: true,
    ..NONE
};

#[test]
fn responses_of_a_realtime_session_are_asked_for_by_its_settings_and_the_last_item() {
    let socket = talk();
    assert_eq!(
        asked(&socket),
        [
            (Some(2), BOTH, Some(LastItem::User), false, None),
            (Some(2), BOTH, Some(LastItem::ToolResult), false, None),
        ]
    );
    let calls = socket.calls_with_signals();
    let tools: Vec<u32> = calls.iter().map(|call| call.signals.tool_calls).collect();
    assert_eq!(tools, [1, 0]);
    assert!(calls.iter().all(|call| call.signals.prefix.is_none()));
}

#[test]
fn a_request_may_ask_for_one_response_otherwise() {
    let ([begin, end], [next, over]) = (response("resp_1"), response("resp_2"));
    let socket = Socket::new("/v1/realtime")
        .server(SESSION)
        .server(HEARD)
        .client(r#"{"type":"response.create","response":{"max_output_tokens":64,"tool_choice":"required","tools":[{"type":"function","name":"edit"}],
            "conversation":"none","input":[{"type":"function_call_output","call_id":"c","output":"o"}]}}"#)
        .server(&begin)
        .server(&end)
        .server(HEARD)
        .server(&next)
        .server(&over);
    let edit = ToolFamilies { edit: true, ..NONE };
    assert_eq!(
        asked(&socket),
        [
            (Some(1), edit, Some(LastItem::ToolResult), true, Some(64)),
            (Some(2), BOTH, Some(LastItem::User), false, None),
        ]
    );
}

#[test]
fn what_may_have_been_lost_of_a_session_is_unknown() {
    let [begin, end] = response("resp_1");
    let known = (Some(2), BOTH, Some(LastItem::User), false, None);
    let unknown = (None, NONE, None, false, None);
    let session = || Socket::new("/v1/realtime").server(SESSION).server(HEARD);
    let answered = |socket: Socket| asked(&socket.server(&begin).server(&end));
    assert_eq!(answered(session()), [known]);
    assert_eq!(answered(session().lost(Server)), [unknown]);
    // A request may have asked for it otherwise, but the items are the server's.
    let otherwise = (None, NONE, Some(LastItem::User), false, None);
    assert_eq!(answered(session().lost(Client)), [otherwise]);
    assert_eq!(answered(session().unread(Client)), [otherwise]);
    assert_eq!(answered(Socket::new("/v1/realtime")), [unknown]);
}

const LIVE: &str = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
const SETUP: &str = r#"{"setup":{"model":"models/gemini-live-2.5-flash","generationConfig":{"maxOutputTokens":700},
    "systemInstruction":{"parts":[{"text":"Be brief."}]},"tools":[{"functionDeclarations":[{"name":"read_file"},{"name":"run_shell_command"}]},{"googleSearch":{}}]}}"#;
const MICROPHONE: &str = r#"{"realtimeInput":{"audio":{"data":"QUJD"}}}"#;
const RESULT: &str = r#"{"toolResponse":{"functionResponses":[{"id":"f1","response":{}}]}}"#;
const WORDS: &str = r#"{"serverContent":{"outputTranscription":{"text":"Because."}}}"#;
const OVER: &str = r#"{"serverContent":{"turnComplete":true},"usageMetadata":{"promptTokenCount":1,"responseTokenCount":2,"totalTokenCount":3}}"#;

#[test]
fn turns_of_a_live_session_are_asked_for_by_its_setup_and_what_the_client_says() {
    let socket = Socket::new(LIVE)
        .client(SETUP)
        .server(r#"{"setupComplete":{}}"#)
        .client(r#"{"clientContent":{"turns":[{"role":"user","parts":[{"text":"Why?"}]}],"turnComplete":true}}"#)
        .server(r#"{"toolCall":{"functionCalls":[{"id":"f1","name":"read_file","args":{}}]}}"#)
        .server(OVER)
        .client(RESULT)
        .client(MICROPHONE)
        .server(WORDS)
        .server(OVER)
        .client(MICROPHONE)
        .server(WORDS)
        .server(OVER)
        // Gemini may begin by itself.
        .server(WORDS)
        .server(OVER);
    let by = |last| (Some(3), BOTH, last, false, Some(700));
    assert_eq!(
        asked(&socket),
        [
            by(Some(LastItem::User)),
            by(Some(LastItem::ToolResult)),
            by(Some(LastItem::User)),
            by(None),
        ]
    );
    assert_eq!(socket.calls_with_signals()[0].signals.tool_calls, 1);
}

#[test]
fn what_may_have_been_lost_of_a_live_session_is_unknown() {
    let turn = |socket: Socket| asked(&socket.server(WORDS).server(OVER));
    let said = || Socket::new(LIVE).client(SETUP).client(MICROPHONE);
    let by = |last| (Some(3), BOTH, last, false, Some(700));
    assert_eq!(turn(said()), [by(Some(LastItem::User))]);
    assert_eq!(turn(said().lost(Client)), [by(None)]);
    let without = Socket::new(LIVE).unread(Client).client(MICROPHONE);
    let unknown = (None, NONE, Some(LastItem::User), false, None);
    assert_eq!(turn(without), [unknown]);
    // One without tools offers none.
    let plain = Socket::new(LIVE).client(r#"{"setup":{"model":"models/m"}}"#);
    assert_eq!(turn(plain), [(Some(0), NONE, None, false, None)]);
}
