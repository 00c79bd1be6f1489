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
