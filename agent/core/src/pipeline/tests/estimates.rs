//! Calls whose provider reports nothing, or whose reports are learned from, through the whole line.

use super::*;
use crate::llm::{Estimate, Method, Quality};

/// The record of one exchange with OpenAI.
fn call(run: &mut Run, path: &str, body: &str, reply: &str) -> LlmCall {
    run.write(request(path, body.len()));
    run.write(body);
    run.read(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{reply}",
        reply.len()
    ));
    let outputs = run.outputs();
    let [Output::Usage(record)] = outputs.as_slice() else {
        panic!("one call, not {outputs:?}");
    };
    record.call.clone()
}

const CHAT: &str = "/v1/chat/completions";
const SILENT: &str = r#"{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}"#;

/// The example of OpenAI's cookbook, "How to count tokens with tiktoken", section 7, and what the
/// API itself counts for it.
#[test]
fn a_chat_request_with_a_function_has_the_tokens_that_openai_counts() {
    let body = |model: &str| {
        format!(
            r#"{{"model":"{model}","messages":[{{"role":"system","content":"You are a helpful assistant that can answer to questions about the weather."}},
            {{"role":"user","content":"What's the weather like in San Francisco?"}}],
            "tools":[{{"type":"function","function":{{"name":"get_current_weather","description":"Get the current weather in a given location",
            "parameters":{{"type":"object","properties":{{"location":{{"type":"string","description":"The city and state, e.g. San Francisco, CA"}},
            "unit":{{"type":"string","description":"The unit of temperature to return","enum":["celsius","fahrenheit"]}}}},"required":["location"]}}}}}}]}}"#
        )
    };
    for (model, tokenizer, expected) in [
        ("gpt-3.5-turbo", "cl100k_base", 105),
        ("gpt-4", "cl100k_base", 105),
        ("gpt-4o", "o200k_base", 101),
        ("gpt-4o-mini", "o200k_base", 101),
    ] {
        let call = call(&mut Run::new(), CHAT, &body(model), SILENT);
        assert_eq!(call.usage.input_uncached, Some(expected), "{model}");
        assert_eq!(
            call.estimates.input,
            Some(Estimate {
                method: Method::Tiktoken(tokenizer),
                quality: Quality::Approx
            })
        );
    }
}

/// A PNG of 1024 by 768 has four squares of 512 pixels, and 765 tokens.
#[test]
fn a_picture_has_the_tokens_of_its_size_and_an_unknown_one_leaves_a_lower_bound() {
    let body = |url: &str| {
        format!(
            r#"{{"model":"gpt-4o","messages":[{{"role":"user","content":[{{"type":"text","text":"Look"}},
            {{"type":"image_url","image_url":{{"url":"{url}"}}}}]}}]}}"#
        )
    };
    let png = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAABAAAAAMACAYAAAA";
    for (url, tokens, image_input, quality) in [
        (png, 8 + 765, Some(765), Quality::Approx),
        ("https://example.com/a.png", 8, None, Quality::LowerBound),
    ] {
        let call = call(&mut Run::new(), CHAT, &body(url), SILENT);
        assert_eq!(
            (
                call.usage.input_uncached,
                call.usage.image_input,
                call.estimates.input
            ),
            (
                Some(tokens),
                image_input,
                Some(Estimate {
                    method: Method::Tiktoken("o200k_base"),
                    quality
                })
            )
        );
    }
}

/// A call that reports is learned from only once one of its family had to be counted.
#[test]
fn the_reports_of_a_host_correct_what_is_counted_on_it() {
    let text = "The quick brown fox jumps over the lazy dog, and nobody knows why. ".repeat(100);
    let body = format!(r#"{{"model":"gemini-2.0-flash","messages":[{{"content":"{text}"}}]}}"#);
    let usage = r#""usage":{"prompt_tokens":1824,"completion_tokens":1,"total_tokens":1825},"#;
    let told = SILENT.replacen('{', &format!("{{{usage}"), 1);
    let mut run = Run::new();
    let mut method = |reply: &str| {
        run.now = run.now + Duration::from_secs(1);
        let call = call(&mut run, CHAT, &body, reply);
        call.estimates
            .input
            .map(|estimate| estimate.method.to_string())
    };
    for _ in 0..9 {
        assert_eq!(method(&told), None);
    }
    assert_eq!(method(SILENT).as_deref(), Some("ratio:gemini:1.01"));
    for _ in 0..5 {
        assert_eq!(method(&told), None);
    }
    assert_eq!(method(SILENT).as_deref(), Some("calibrated:gemini:1.21"));
}
