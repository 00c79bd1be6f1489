//! Pictures and other content of a prompt that is no text.

use super::*;

/// The beginning of a PNG of 1024 by 768, in base64.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAABAAAAAMACAYAAAA";
/// That of a PDF.
const PDF: &str = "JVBERi0xLjcKJeLjz9MK";

fn talk(path: &'static str, request: &str, reply: &str) -> Talk {
    let request = request.replace("PNG", PNG).replace("PDF", PDF);
    let kind = if reply.starts_with("data:") {
        "text/event-stream"
    } else {
        "application/json"
    };
    Talk::new(path, &request, kind, reply)
}

/// An exchange, its pictures by detail and number, and how much else there is in it.
type Pictured = (Talk, Vec<(Detail, u32)>, u32);

fn talks() -> Vec<Pictured> {
    use Detail::{Auto, High, Low};
    vec![
        (
            talk(
                "/v1/chat/completions",
                r#"{"model":"m","messages":[{"role":"user","content":[
                {"type":"image_url","image_url":{"url":"data:image/png;base64,PNG","detail":"low"}},
                {"type":"image_url","image_url":{"detail":"high","url":"data:image\/png;base64,PNG"}},
                {"type":"image_url","image_url":{"url":"https://example.com/a.png"}},
                {"type":"input_audio","input_audio":{"data":"UklGRg","format":"wav"}},
                {"type":"file","file":{"file_data":"data:application/pdf;base64,PDF","filename":"a.pdf"}},
                {"type":"image_url","image_url":{"url":"data:image/png;base64,PNG"}}]}]}"#,
                r#"{"choices":[{"message":{"content":"ok"},"finish_reason":"stop"}]}"#,
            ),
            vec![(Low, 1), (High, 1), (Auto, 1)],
            3,
        ),
        (
            talk(
                "/v1/messages",
                r#"{"model":"m","messages":[{"role":"user","content":[
                {"type":"image","source":{"data":"PNG","type":"base64","media_type":"image/png"}},
                {"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"PDF"}},
                {"type":"image","source":{"type":"file","file_id":"file_1"}}]},
                {"role":"assistant","content":[{"type":"tool_use","id":"t","name":"","input":
                    {"url":"https://example.com","data":"x","detail":"low","image_url":"y","source":{"data":"z"}}}]},
                {"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[
                    {"type":"image","source":{"type":"base64","media_type":"image/png","data":"PNG"}},
                    {"type":"image","source":{"type":"base64","media_type":"image/png","data":"PNG"}}]}]}]}"#,
                r#"{"id":"msg_1","type":"message","content":[{"type":"text","text":"ok"}],"stop_reason":"end_turn"}"#,
            ),
            vec![(Auto, 3)],
            2,
        ),
        (
            talk(
                "/v1/responses",
                r#"{"model":"m","input":[{"type":"message","role":"user","content":[
                {"type":"input_image","detail":"low","image_url":"data:image/png;base64,PNG"},
                {"type":"input_image","image_url":null,"file_id":"file_1"}]},
                {"type":"function_call_output","call_id":"c","output":[
                    {"type":"input_image","image_url":"data:image/png;base64,PNG","detail":"high"}]},
                {"type":"reasoning","encrypted_content":"gAAAAA"},
                {"type":"reasoning","encrypted_content":null}]}"#,
                r#"{"id":"resp_1","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"ok"}]}]}"#,
            ),
            vec![(Low, 1), (High, 1)],
            2,
        ),
        (
            talk(
                "/v1beta/models/gemini-3-pro:generateContent",
                r#"{"contents":[{"role":"user","parts":[{"inlineData":{"mimeType":"image/png","data":"PNG"}},
                {"inline_data":{"mime_type":"image/png","data":"PNG"}},
                {"fileData":{"fileUri":"https://example.com/v.mp4"}},
                {"functionResponse":{"name":"","response":{"data":"x"}}}]}]}"#,
                r#"{"candidates":[{"content":{"parts":[{"text":"ok"}]},"finishReason":"STOP"}]}"#,
            ),
            vec![(Auto, 2)],
            1,
        ),
        (
            talk(
                "/api/chat",
                r#"{"model":"m","messages":[{"role":"user","content":"see","images":["PNG","PNG"]},{"role":"user","images":["PDF"]}]}"#,
                r#"{"model":"m","message":{"content":"ok"},"done":true}"#,
            ),
            vec![(Auto, 2)],
            1,
        ),
        (
            talk(
                "/api/generate",
                r#"{"model":"m","images":["PNG"],"prompt":"see"}"#,
                r#"{"model":"m","response":"ok","done":true}"#,
            ),
            vec![(Auto, 1)],
            0,
        ),
        (
            talk(
                "/v4/ai/language-model",
                r#"{"prompt":[{"role":"user","content":[
                {"type":"file","mediaType":"image/png","data":{"type":"data","data":"PNG"}},
                {"type":"file","mediaType":"image/png","data":"PNG"},
                {"type":"file","mediaType":"image/png","data":{"type":"url","url":"https://example.com/a.png"}}]}]}"#,
                r#"{"content":[{"type":"text","text":"ok"}],"finishReason":"stop"}"#,
            )
            .field("ai-language-model-id", "anthropic/claude-sonnet-4.5"),
            vec![(Auto, 2)],
            1,
        ),
        (
            talk(
                "/v1beta/interactions",
                r#"{"model":"gemini-3-pro","input":[{"type":"image","mime_type":"image/png","data":"PNG"}]}"#,
                "data: {\"event_type\":\"interaction.completed\",\"interaction\":{\"id\":\"int-1\",\"status\":\"completed\"}}\n\n",
            ),
            vec![(Auto, 1)],
            0,
        ),
    ]
}

fn countable(call: LlmCall) -> Countable {
    call.countable.expect("nothing was reported")
}

#[test]
fn pictures_are_known_by_their_size_and_no_text() {
    for (talk, known, unknown) in talks() {
        let countable = countable(talk.call());
        let expected: Vec<_> = known
            .into_iter()
            .map(|(detail, number)| {
                let picture = Picture {
                    width: 1024,
                    height: 768,
                    detail,
                };
                (picture, number)
            })
            .collect();
        let pictures = &countable.pictures;
        assert_eq!(
            (pictures.known(), pictures.unknown()),
            (expected.as_slice(), unknown),
            "{}",
            talk.path
        );
        let is_text = |part: &str| !part.contains("iVBOR") && !part.contains("JVBER");
        assert!(countable.input.parts().all(is_text), "{}", talk.path);
    }
}

#[test]
fn how_a_request_with_pictures_is_cut_does_not_matter() {
    for (talk, ..) in talks() {
        let whole = talk.call();
        for cut in 0..=talk.request.len() {
            let mut events = talk.events(0);
            let (a, b) = talk.request.as_bytes().split_at(cut);
            let part = |bytes: &[u8]| HttpEvent::RequestBody {
                id: exchange(0),
                bytes: Plaintext::from(bytes.to_vec()),
            };
            events.splice(1..2, [part(a), part(b)]);
            assert_eq!(
                calls(run(events).0),
                std::slice::from_ref(&whole),
                "cut at {cut}"
            );
        }
    }
}

#[test]
fn what_the_provider_keeps_of_a_prompt_makes_the_input_uncountable() {
    for (path, request) in [
        (
            "/v1beta/models/gemini-3-pro:generateContent",
            r#"{"cachedContent":"cachedContents/x","contents":[{"parts":[{"text":"Hi"}]}]}"#,
        ),
        (
            "/v1/responses",
            r#"{"model":"m","prompt":{"id":"pmpt_1","variables":{}},"input":"Hi"}"#,
        ),
    ] {
        let talk = talk(path, request, "");
        let call = talk.end(BodyEnd::Cut).call();
        assert!(countable(call).input_is_partial, "{path}");
    }
}
