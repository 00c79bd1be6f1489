//! OpenAI's other APIs: completions, embeddings, images, audio, decisions, compaction.

use super::*;

const FORM: &str = "--x1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\
    Content-Type: audio/wav\r\n\r\nRIFF\r\n--x1\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n\
    gpt-transcribe\r\n--x1\r\nContent-Disposition: form-data; name=\"stream\"\r\n\r\ntrue\r\n--x1--\r\n";

const FORM_TYPE: &str = "multipart/form-data; boundary=x1";

const COMPLETION_USAGE: &str = r#"{"prompt_tokens":8,"completion_tokens":3,"total_tokens":11}"#;

fn events(payloads: &[&str]) -> String {
    let payloads: Vec<String> = payloads
        .iter()
        .map(|payload| payload.replace('\n', " "))
        .collect();
    sse(&payloads.iter().map(String::as_str).collect::<Vec<_>>())
}

pub(super) fn completion() -> Talk {
    let text = r#"{"id":"cmpl-1","object":"text_completion","model":"gpt-3.5-turbo-instruct:2","choices":[{"text":"x = 1","index":0,"finish_reason":null}],"usage":null}"#;
    let stop = r#"{"id":"cmpl-1","model":"gpt-3.5-turbo-instruct:2","choices":[{"text":"","index":0,"finish_reason":"stop"}],"usage":null}"#;
    let usage = format!(
        r#"{{"id":"cmpl-1","model":"gpt-3.5-turbo-instruct:2","choices":[],"usage":{COMPLETION_USAGE}}}"#
    );
    Talk::new(
        "/v1/completions",
        r#"{"model":"gpt-3.5-turbo-instruct","prompt":"let ","suffix":";","stream":true,"stream_options":{"include_usage":true}}"#,
        "text/event-stream",
        &events(&[text, stop, &usage, "[DONE]"]),
    )
}

pub(super) fn embedding() -> Talk {
    embeddings_of(30)
}

fn embeddings_of(vector_bytes: usize) -> Talk {
    let vector = "AAAA".repeat(vector_bytes / 3);
    Talk::new(
        "/v1/embeddings",
        r#"{"model":"text-embedding-3-small","input":["one","two"],"encoding_format":"base64"}"#,
        "application/json",
        &format!(
            r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":"{vector}"}},{{"object":"embedding","index":1,"embedding":[0.1,-2e-3]}}],"model":"text-embedding-3-small","usage":{{"prompt_tokens":5,"total_tokens":5}}}}"#
        ),
    )
}

const IMAGE_USAGE: &str = r#"{"input_tokens":50,"input_tokens_details":{"image_tokens":40,"text_tokens":10},"output_tokens":1056,"total_tokens":1106}"#;

pub(super) fn image() -> Talk {
    let partial =
        r#"{"type":"image_generation.partial_image","partial_image_index":0,"b64_json":"AAAA"}"#;
    let completed = format!(
        r#"{{"type":"image_generation.completed","b64_json":"AAAA","size":"1024x1024","usage":{IMAGE_USAGE}}}"#
    );
    Talk::new(
        "/v1/images/generations",
        r#"{"model":"gpt-image-2","prompt":"a cat","stream":true}"#,
        "text/event-stream",
        &events(&[partial, &completed]),
    )
}

pub(super) fn transcription() -> Talk {
    let delta = r#"{"type":"transcript.text.delta","delta":"Hello"}"#;
    let done = r#"{"type":"transcript.text.done","text":"Hello","usage":{"type":"tokens","input_tokens":14,
        "input_token_details":{"text_tokens":0,"audio_tokens":14},"output_tokens":45,"total_tokens":59}}"#;
    Talk::new(
        "/v1/audio/transcriptions",
        FORM,
        "text/event-stream",
        &events(&[delta, done]),
    )
    .field("content-type", FORM_TYPE)
}

pub(super) fn speech() -> Talk {
    Talk::new(
        "/v1/audio/speech",
        r#"{"model":"gpt-tts","input":"Hello there","voice":"alloy"}"#,
        "audio/mpeg",
        "ID3{\u{3}data: not an event\n\n[",
    )
}

pub(super) fn compaction() -> Talk {
    Talk::new(
        "/v1/responses/compact",
        r#"{"model":"gpt-6","input":[{"role":"user","content":"Hello"}]}"#,
        "application/json",
        r#"{"id":"resp_c","object":"response.compaction","created_at":1,"output":[{"type":"compaction","encrypted_content":"QUJD"}],
            "usage":{"input_tokens":900,"input_tokens_details":{"cached_tokens":100,"cache_write_tokens":0},"output_tokens":70,
            "output_tokens_details":{"reasoning_tokens":0},"total_tokens":970}}"#,
    )
}

pub(super) fn decision() -> Talk {
    Talk::new(
        "/v1/decisions",
        r#"{"model":"gpt-6-decide","input":"spam?","questions":[{"type":"predicate","text":"Is it spam?"}]}"#,
        "application/json",
        r#"{"answers":[{"type":"predicate","probability":0.25}],"model":"gpt-6-decide-1","usage":{"input_tokens":30,
            "input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},"output_tokens":1,
            "output_tokens_details":{"reasoning_tokens":0},"total_tokens":31}}"#,
    )
}

/// What is expected of all: the models, the usage of a complete call.
fn told(call: &LlmCall) -> (Endpoint, Option<&str>, Option<&str>, Usage) {
    assert_eq!(
        (call.outcome, call.usage_source, &call.countable),
        (Outcome::Complete, UsageSource::Provider, &None)
    );
    (
        call.endpoint,
        call.model_requested.as_deref(),
        call.model_served.as_deref(),
        call.usage,
    )
}

#[test]
fn a_completion_is_read_streamed_and_whole() {
    let usage = Usage {
        input_uncached: Some(8),
        output: Some(3),
        ..Usage::default()
    };
    let expected = (
        Endpoint::OpenAiCompletions,
        Some("gpt-3.5-turbo-instruct"),
        Some("gpt-3.5-turbo-instruct:2"),
        usage,
    );
    let streamed = completion().call();
    assert_eq!(told(&streamed), expected);
    assert!(streamed.is_stream && streamed.first_token.is_some());
    let body = format!(
        r#"{{"id":"cmpl-1","model":"gpt-3.5-turbo-instruct:2","choices":[{{"text":"x","finish_reason":"length"}}],"usage":{COMPLETION_USAGE}}}"#
    );
    let whole = Talk::new(
        "/v1/completions",
        &completion().request,
        "application/json",
        &body,
    )
    .call();
    assert_eq!(told(&whole), expected);
    assert_eq!(whole.stop_reason.as_deref(), Some("length"));
}

#[test]
fn what_fills_in_the_middle_is_a_completion() {
    let request = r#"{"model":"codestral-latest","prompt":"def f(","suffix":"return a"}"#;
    let chat = format!(
        r#"{{"id":"1","model":"codestral-2","choices":[{{"index":0,"message":{{"role":"assistant","content":"a):"}},"finish_reason":"stop"}}],"usage":{COMPLETION_USAGE}}}"#
    );
    for path in [
        "/v1/fim/completions",
        "/beta/completions",
        "/v1/engines/copilot-codex/completions",
    ] {
        let call = Talk::new(path, request, "application/json", &chat).call();
        assert_eq!(call.endpoint, Endpoint::OpenAiCompletions, "{path}");
        assert_eq!(
            (call.usage.input_uncached, call.usage.output),
            (Some(8), Some(3))
        );
    }
}

#[test]
fn trap_4_a_completion_without_usage_is_left_to_be_counted() {
    let mut talk = completion();
    talk.response = vec![Piece::Bytes(
        events(&[
            r#"{"id":"cmpl-1","choices":[{"text":"x = 1","finish_reason":"stop"}],"usage":null}"#,
            "[DONE]",
        ])
        .into_bytes(),
    )];
    let countable = talk.call().countable.expect("nothing was reported");
    assert_eq!(countable.input.parts().collect::<Vec<_>>(), ["let ", ";"]);
    assert_eq!(countable.output.parts().collect::<Vec<_>>(), ["x = 1"]);
}

#[test]
fn embeddings_have_input_and_no_output() {
    let usage = Usage {
        input_uncached: Some(5),
        output: Some(0),
        ..Usage::default()
    };
    let model = Some("text-embedding-3-small");
    let call = embedding().call();
    assert_eq!(
        told(&call),
        (Endpoint::OpenAiEmbeddings, model, model, usage)
    );
    assert!(!call.is_stream);
    let mut talk = embedding();
    talk.response = vec![Piece::Bytes(
        br#"{"object":"list","data":[],"model":"voyage-4","usage":{"total_tokens":5}}"#.to_vec(),
    )];
    assert_eq!(told(&talk.call()).3, usage, "a total alone is the input");
}

#[test]
fn trap_15_usage_behind_megabytes_of_vectors_is_found() {
    let talk = embeddings_of(4 << 20);
    let Some(Piece::Bytes(bytes)) = talk.response.first() else {
        panic!("the talk has a body");
    };
    assert!(bytes.len() > 5 << 20);
    let pieces = bytes
        .chunks(16_383)
        .map(|piece| Piece::Bytes(piece.to_vec()))
        .collect();
    let (out, stats) = talk.clone().pieces(pieces).run();
    let calls = calls(out);
    assert_eq!(told(&calls[0]).3.input_uncached, Some(5));
    assert_eq!(
        (stats.json_malformed, calls[0].observed_bytes),
        (0, talk.bytes())
    );
}

#[test]
fn an_embedding_without_usage_is_left_to_be_counted() {
    let mut talk = embedding();
    talk.response = vec![Piece::Bytes(br#"{"object":"list","data":[]}"#.to_vec())];
    let countable = talk.call().countable.expect("nothing was reported");
    assert_eq!(countable.input.parts().collect::<Vec<_>>(), ["one", "two"]);
}

#[test]
fn images_are_read_streamed_and_whole() {
    let usage = Usage {
        input_uncached: Some(50),
        output: Some(1056),
        image_input: Some(40),
        image_output: Some(1056),
        ..Usage::default()
    };
    let expected = (Endpoint::OpenAiImages, Some("gpt-image-2"), None, usage);
    assert_eq!(told(&image().call()), expected);
    let body = format!(
        r#"{{"created":1,"data":[{{"b64_json":"AAAA"}},{{"b64_json":"AAAA"}}],"usage":{IMAGE_USAGE}}}"#
    );
    let mut talk = Talk::new(
        "/v1/images/generations",
        &image().request,
        "application/json",
        &body,
    );
    assert_eq!(told(&talk.call()), expected);
    assert_eq!(
        talk.call().units,
        Units::default(),
        "tokens are billed, not pictures"
    );
    let details = IMAGE_USAGE.replacen(
        r#""total"#,
        r#""output_tokens_details":{"image_tokens":1000,"text_tokens":56},"total"#,
        1,
    );
    talk.response = vec![Piece::Bytes(
        body.replace(IMAGE_USAGE, &details).into_bytes(),
    )];
    assert_eq!(talk.call().usage.image_output, Some(1000));
}

#[test]
fn pictures_without_tokens_are_units() {
    let body = r#"{"created":1,"data":[{"url":"https://images.example/1"},{"url":"https://images.example/2"}]}"#;
    let request = r#"{"model":"dall-e-3","prompt":"a cat","n":2}"#;
    let call = Talk::new("/v1/images/generations", request, "application/json", body).call();
    assert_eq!(
        (
            call.outcome,
            call.usage_source,
            call.units.unpriced,
            call.countable
        ),
        (Outcome::Complete, UsageSource::None, Some(2), None)
    );
    let billed = body.replacen('{', r#"{"usage":{"cost_in_usd_ticks":200000000},"#, 1);
    let call = Talk::new(
        "/v1/images/generations",
        request,
        "application/json",
        &billed,
    )
    .call();
    assert_eq!(
        (call.units.unpriced, call.reported_cost_nanousd),
        (Some(2), Some(20_000_000))
    );
    let refused = r#"{"error":{"message":"no","type":"image_generation_user_error"}}"#;
    let call = Talk::new(
        "/v1/images/generations",
        request,
        "application/json",
        refused,
    )
    .status(400)
    .call();
    assert_eq!(
        (call.outcome, call.units),
        (Outcome::Error, Units::default())
    );
}

#[test]
fn a_drawing_beside_a_picture_is_a_sub_inference() {
    let body = format!(
        r#"{{"created":1,"data":[{{"b64_json":"AAAA"}}],"usage":{IMAGE_USAGE},"svg_usage":{{"model":"gpt-6","input_tokens":4,"output_tokens":6,"reasoning_tokens":1,"total_tokens":10}}}}"#
    );
    let call = Talk::new(
        "/v1/images/generations",
        &image().request,
        "application/json",
        &body,
    )
    .call();
    assert_eq!(call.sub_inferences.len(), 1);
    assert_eq!(call.sub_inferences[0].model.as_deref(), Some("gpt-6"));
    assert_eq!(call.sub_inferences[0].usage.output, Some(6));
    assert_eq!(call.usage.output, Some(1056));
}

#[test]
fn the_model_of_a_form_is_found_behind_its_file() {
    let call = transcription().call();
    let usage = Usage {
        input_uncached: Some(14),
        output: Some(45),
        audio_input: Some(14),
        ..Usage::default()
    };
    assert_eq!(
        told(&call),
        (
            Endpoint::OpenAiTranscription,
            Some("gpt-transcribe"),
            None,
            usage
        )
    );
    assert!(call.is_stream);
    let edit = Talk::new(
        "/v1/images/edits",
        &FORM.replace("gpt-transcribe", "gpt-image-2"),
        "application/json",
        &format!(r#"{{"data":[{{}}],"usage":{IMAGE_USAGE}}}"#),
    )
    .field("content-type", FORM_TYPE);
    assert_eq!(told(&edit.call()).1, Some("gpt-image-2"));
}

#[test]
fn a_form_whose_model_is_a_default_is_a_call_all_the_same() {
    let form = FORM.replace("name=\"model\"", "name=\"user\"");
    let talk = Talk::new(
        "/v1/images/variations",
        &form,
        "application/json",
        r#"{"created":1,"data":[{"url":"u"}]}"#,
    )
    .field("content-type", FORM_TYPE);
    let call = talk.call();
    assert_eq!((call.model_requested, call.units.unpriced), (None, Some(1)));
}

#[test]
fn seconds_of_sound_are_units() {
    for (body, expected) in [
        (
            r#"{"text":"Hello","usage":{"type":"duration","seconds":8.2}}"#,
            Some(9),
        ),
        (
            r#"{"task":"transcribe","language":"english","duration":8.47,"text":"Hello","segments":[{"id":0,"text":"Hello"}]}"#,
            Some(9),
        ),
        (r#"{"text":"Hello"}"#, None),
    ] {
        let mut talk = transcription();
        talk.kind = "application/json";
        talk.response = vec![Piece::Bytes(body.as_bytes().to_vec())];
        let call = talk.call();
        assert_eq!(
            (
                call.outcome,
                call.usage_source,
                call.units.unpriced,
                call.countable
            ),
            (Outcome::Complete, UsageSource::None, expected, None),
            "{body}"
        );
    }
}

#[test]
fn replies_that_are_no_json_pass_and_are_no_nonsense() {
    let subtitles = "[Music]\n\n1\n00:00:00,000 --> 00:00:01,000\ndata: Hello\n\n{";
    for kind in [
        "text/plain; charset=utf-8",
        "text/vtt",
        "application/x-subrip",
    ] {
        let mut talk = transcription();
        talk.kind = kind;
        talk.response = vec![Piece::Bytes(subtitles.as_bytes().to_vec())];
        let (out, stats) = talk.run();
        let calls = calls(out);
        assert_eq!(
            (calls[0].outcome, calls[0].usage_source),
            (Outcome::Complete, UsageSource::None)
        );
        assert_eq!(
            (stats.json_malformed, calls[0].observed_bytes),
            (0, talk.bytes())
        );
        assert_eq!(talk.end(BodyEnd::Cut).call().outcome, Outcome::Aborted);
    }
}

#[test]
fn speech_is_counted_by_its_text_or_reports_its_tokens() {
    let (out, stats) = speech().run();
    let call = calls(out).remove(0);
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::None, None, None)
    );
    assert_eq!(
        (call.endpoint, stats.json_malformed),
        (Endpoint::OpenAiSpeech, 0)
    );
    assert_eq!(call.first_token, Some(at(3)));
    let countable = call.countable.expect("nothing was reported");
    assert_eq!(countable.input.parts().collect::<Vec<_>>(), ["Hello there"]);
    let done = r#"{"type":"speech.audio.done","usage":{"input_tokens":14,"output_tokens":101,"total_tokens":115}}"#;
    let streamed = Talk::new(
        "/v1/audio/speech",
        &speech().request,
        "text/event-stream",
        &events(&[r#"{"type":"speech.audio.delta","audio":"AAAA"}"#, done]),
    );
    assert_eq!(told(&streamed.call()).3.output, Some(101));
}

#[test]
fn a_compaction_asked_for_by_itself_is_a_call() {
    let usage = Usage {
        input_uncached: Some(800),
        cache_read: Some(100),
        cache_write_other: Some(0),
        output: Some(70),
        reasoning: Some(0),
        ..Usage::default()
    };
    let call = compaction().call();
    assert_eq!(
        told(&call),
        (Endpoint::OpenAiCompact, Some("gpt-6"), None, usage)
    );
    assert_eq!(call.response_id.as_deref(), Some("resp_c"));
}

#[test]
fn a_decision_is_a_call() {
    let call = decision().call();
    let told = told(&call);
    assert_eq!(
        (told.0, told.1, told.2),
        (
            Endpoint::OpenAiDecisions,
            Some("gpt-6-decide"),
            Some("gpt-6-decide-1")
        )
    );
    assert_eq!((told.3.input_uncached, told.3.output), (Some(30), Some(1)));
}

#[test]
fn trap_11_every_api_has_a_deployment_in_its_path_at_azure() {
    for (path, mut talk) in [
        ("/openai/deployments/mine/completions", completion()),
        ("/openai/deployments/mine/embeddings", embedding()),
        ("/openai/deployments/mine/images/generations", image()),
        ("/openai/deployments/mine/audio/speech", speech()),
    ] {
        talk.path = path;
        let (before, rest) = talk
            .request
            .split_once(r#""model":"#)
            .expect("it names one");
        let (_, after) = rest.split_once(',').expect("another member follows");
        talk.request = format!("{before}{after}");
        assert_eq!(
            talk.call().model_requested.as_deref(),
            Some("mine"),
            "{path}"
        );
    }
}
