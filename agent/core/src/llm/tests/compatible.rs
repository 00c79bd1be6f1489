//! Where the providers that speak chat completions differ.

use super::chat::{REQUEST, stream};
use super::*;

const DELTA: &str = r#"{"id":"gen-1","model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}"#;
const STOP: &str =
    r#"{"id":"gen-1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

/// A last chunk with this usage object.
fn usage(object: &str) -> String {
    format!(r#"{{"id":"gen-1","model":"m","choices":[],"usage":{object}}}"#)
}

fn streamed(object: &str) -> LlmCall {
    stream(&[DELTA, STOP, &usage(object), "[DONE]"]).call()
}

fn whole(object: &str) -> LlmCall {
    let body = format!(
        r#"{{"id":"gen-1","model":"m","choices":[{{"message":{{"content":"Hi"}},"finish_reason":"stop"}}],"usage":{object}}}"#
    );
    Talk::new("/v1/chat/completions", REQUEST, "application/json", &body).call()
}

/// A usage object of a provider, and the input, cache reads, output and reasoning in it.
type Row = (&'static str, &'static str, [Option<u64>; 4]);

const ROWS: [Row; 13] = [
    (
        "groq",
        r#"{"queue_time":0.04,"prompt_tokens":18,"prompt_time":0.0005,"completion_tokens":9,"completion_time":0.01,"total_tokens":27,"total_time":0.012}"#,
        [Some(18), None, Some(9), None],
    ),
    (
        "mistral",
        r#"{"prompt_audio_seconds":null,"prompt_tokens":18,"total_tokens":27,"completion_tokens":9}"#,
        [Some(18), None, Some(9), None],
    ),
    (
        "deepseek",
        r#"{"prompt_tokens":18,"completion_tokens":9,"total_tokens":27,"prompt_tokens_details":{"cached_tokens":16},"completion_tokens_details":{"reasoning_tokens":5},"prompt_cache_hit_tokens":16,"prompt_cache_miss_tokens":2}"#,
        [Some(2), Some(16), Some(9), Some(5)],
    ),
    (
        "xai",
        r#"{"prompt_tokens":18,"completion_tokens":9,"total_tokens":125,"prompt_tokens_details":{"text_tokens":18,"audio_tokens":0,"image_tokens":0,"cached_tokens":16},"completion_tokens_details":{"reasoning_tokens":98,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0},"num_sources_used":0,"cost_in_usd_ticks":158500}"#,
        [Some(2), Some(16), Some(107), Some(98)],
    ),
    (
        "openrouter",
        r#"{"prompt_tokens":18,"completion_tokens":9,"total_tokens":27,"cost":0.00014,"is_byok":false,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"cost_details":{"upstream_inference_cost":null},"completion_tokens_details":{"reasoning_tokens":5}}"#,
        [Some(18), Some(0), Some(9), Some(5)],
    ),
    (
        "together",
        r#"{"prompt_tokens":18,"completion_tokens":9,"total_tokens":27,"cached_tokens":4}"#,
        [Some(14), Some(4), Some(9), None],
    ),
    (
        "fireworks",
        r#"{"prompt_tokens":18,"total_tokens":27,"completion_tokens":9,"prompt_tokens_details":{"cached_tokens":4}}"#,
        [Some(14), Some(4), Some(9), None],
    ),
    (
        "perplexity",
        r#"{"prompt_tokens":18,"completion_tokens":9,"total_tokens":27,"search_context_size":"low","num_search_queries":2,"cost":{"input_tokens_cost":0.00002,"output_tokens_cost":0.00001,"request_cost":0.005,"total_cost":0.00503}}"#,
        [Some(18), None, Some(9), None],
    ),
    (
        "vllm",
        r#"{"prompt_tokens":18,"total_tokens":27,"completion_tokens":9,"prompt_tokens_details":null}"#,
        [Some(18), None, Some(9), None],
    ),
    (
        "moonshot",
        r#"{"prompt_tokens":18,"completion_tokens":9,"total_tokens":27,"cached_tokens":10}"#,
        [Some(8), Some(10), Some(9), None],
    ),
    (
        "alibaba",
        r#"{"prompt_tokens":18,"completion_tokens":9,"total_tokens":27,"prompt_tokens_details":{"cached_tokens":4,"cache_creation_input_tokens":5,"cache_type":"ephemeral"}}"#,
        [Some(9), Some(4), Some(9), None],
    ),
    (
        "copilot, an Anthropic model",
        r#"{"input_tokens":18,"output_tokens":9,"cache_read_input_tokens":40,"cache_creation_input_tokens":0}"#,
        [Some(18), Some(40), Some(9), None],
    ),
    (
        "litellm, an Anthropic model",
        r#"{"prompt_tokens":58,"completion_tokens":9,"total_tokens":67,"prompt_tokens_details":{"cached_tokens":40},"cache_read_input_tokens":40,"cache_creation_input_tokens":0}"#,
        [Some(18), Some(40), Some(9), None],
    ),
];

#[test]
fn usage_of_every_compatible_provider_is_disjoint() {
    for (provider, object, expected) in ROWS {
        for call in [streamed(object), whole(object)] {
            let usage = call.usage;
            assert_eq!(
                [
                    usage.input_uncached,
                    usage.cache_read,
                    usage.output,
                    usage.reasoning
                ],
                expected,
                "{provider}"
            );
            assert_eq!(
                (call.outcome, call.usage_source),
                (Outcome::Complete, UsageSource::Provider),
                "{provider}"
            );
        }
    }
}

#[test]
fn usage_of_every_compatible_provider_adds_up_to_its_total() {
    for (provider, object, _) in ROWS {
        let (_, stats) = stream(&[DELTA, STOP, &usage(object), "[DONE]"]).run();
        assert_eq!(
            (stats.usage_inconsistent, stats.usage_refused),
            (0, 0),
            "{provider}"
        );
    }
    let wrong = usage(r#"{"prompt_tokens":18,"completion_tokens":9,"total_tokens":28}"#);
    let (out, stats) = stream(&[DELTA, STOP, &wrong, "[DONE]"]).run();
    assert_eq!(stats.usage_inconsistent, 1);
    assert_eq!(calls(out)[0].usage.output, Some(9), "the parts are kept");
}

#[test]
fn what_a_provider_says_that_it_costs_is_kept() {
    for (object, expected) in [
        (ROWS[3].1, 15_850),
        (ROWS[4].1, 140_000),
        (ROWS[7].1, 5_030_000),
    ] {
        assert_eq!(
            (
                streamed(object).reported_cost_nanousd,
                whole(object).reported_cost_nanousd
            ),
            (Some(expected), Some(expected))
        );
    }
    assert_eq!(streamed(ROWS[0].1).reported_cost_nanousd, None);
}

#[test]
fn searches_of_a_provider_are_units() {
    assert_eq!(streamed(ROWS[7].1).units.web_searches, Some(2));
    let openrouter = r#"{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2,"server_tool_use":{"web_search_requests":3}}"#;
    assert_eq!(whole(openrouter).units.web_searches, Some(3));
}

#[test]
fn trap_5_cumulative_usage_with_its_cost_is_taken_from_the_last_chunk() {
    let early = r#"{"id":"gen-1","choices":[{"delta":{"content":"H"}}],"usage":{"prompt_tokens":18,"completion_tokens":1,"total_tokens":19,"cost_in_usd_ticks":10}}"#;
    let call = stream(&[early, STOP, &usage(ROWS[3].1), "[DONE]"]).call();
    assert_eq!(call.usage, streamed(ROWS[3].1).usage);
    assert_eq!(call.reported_cost_nanousd, Some(15_850));
}

#[test]
fn the_service_tier_that_was_served_is_kept() {
    let tiered = STOP.replacen('{', r#"{"service_tier":"flex","#, 1);
    let call = stream(&[DELTA, &tiered, &usage(ROWS[0].1), "[DONE]"]).call();
    assert_eq!(call.terms.service_tier.as_deref(), Some("flex"));
    assert_eq!(streamed(ROWS[0].1).terms.service_tier, None);
}

#[test]
fn trap_10_copilot_behind_a_library_of_openai_is_told_by_its_host() {
    for object in [ROWS[2].1, ROWS[11].1] {
        let mut talk = stream(&[DELTA, STOP, &usage(object), "[DONE]"])
            .field("host", "api.individual.githubcopilot.com")
            .field("user-agent", "OpenAI/JS 5.20.1");
        talk.path = "/chat/completions";
        let call = talk.call();
        assert_eq!(call.provider, Provider("copilot"));
        assert_eq!(call.usage, streamed(object).usage);
    }
}

#[test]
fn trap_18_several_choices_have_one_prompt_and_add_up_in_the_output() {
    let choice = |index: u8| {
        format!(r#"{{"index":{index},"message":{{"content":"Hi"}},"finish_reason":"stop"}}"#)
    };
    let body = format!(
        r#"{{"id":"c","model":"m","choices":[{},{},{}],"usage":{{"prompt_tokens":10,"completion_tokens":6,"total_tokens":16}}}}"#,
        choice(0),
        choice(1),
        choice(2)
    );
    let request = REQUEST.replacen('{', r#"{"n":3,"#, 1);
    let (out, stats) = Talk::new("/v1/chat/completions", &request, "application/json", &body).run();
    let calls = calls(out);
    assert_eq!(calls.len(), 1);
    assert_eq!(
        verdict(&calls[0]),
        (Outcome::Complete, UsageSource::Provider, Some(10), Some(6))
    );
    assert_eq!(stats.usage_inconsistent, 0);
}
