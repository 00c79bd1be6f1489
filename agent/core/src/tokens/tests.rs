use proptest::prelude::*;

use super::*;
use crate::event::Timestamp;
use crate::llm::{Endpoint, Estimates, Frame, Usage};

fn text(parts: &[&str]) -> CountedText {
    let mut text = CountedText::default();
    for part in parts {
        text.push(part);
        text.end_part();
    }
    text
}

fn call(endpoint: Endpoint, model: &str, countable: Option<Countable>) -> LlmCall {
    LlmCall {
        endpoint,
        model_requested: Some(model.to_owned()),
        countable,
        ..LlmCall::plain()
    }
}

fn hello(messages: u32) -> Countable {
    Countable {
        input: text(&["user", "Hello world"]),
        output: text(&["Hi there"]),
        frame: Frame {
            messages,
            ..Frame::default()
        },
        ..Countable::default()
    }
}

/// Input and output that the stage fills in, and their source.
fn counted(call: LlmCall) -> (Option<u64>, Option<u64>, UsageSource) {
    let call = Tokens::new().count(call, &mut Stats::default());
    assert_eq!(call.countable, None, "text is dropped");
    (
        call.usage.input_uncached,
        call.usage.output,
        call.usage_source,
    )
}

/// How the input and the output were counted, as the ledger has it.
fn estimates(call: LlmCall) -> [Option<(String, &'static str)>; 2] {
    let Estimates { input, output } = Tokens::new().count(call, &mut Stats::default()).estimates;
    [input, output]
        .map(|estimate| estimate.map(|known| (known.method.to_string(), known.quality.as_str())))
}

fn known(method: &str, quality: &'static str) -> Option<(String, &'static str)> {
    Some((method.to_owned(), quality))
}

#[test]
fn a_chat_call_is_counted_with_its_frame() {
    // "user" 1, "Hello world" 2, a message 3, the reply 3; "Hi there" 2.
    for model in ["gpt-4o", "gpt-4", "openai/gpt-5-mini", "unheard-of"] {
        let call = call(Endpoint::OpenAiChat, model, Some(hello(1)));
        assert_eq!(
            counted(call),
            (Some(9), Some(2), UsageSource::Estimated),
            "{model}"
        );
    }
}

#[test]
fn without_memory_for_vocabularies_tokens_are_taken_from_lengths_and_said_so() {
    let mut stats = Stats::default();
    let mut tokens = Tokens::new().with_vocabularies(Vocabularies::Spared);
    let call = call(Endpoint::OpenAiChat, "gpt-4o", Some(hello(1)));
    let call = tokens.count(call, &mut stats);
    let Estimates { input, output } = call.estimates;
    let methods = [input, output].map(|estimate| estimate.map(|known| known.method));
    assert_eq!(methods, [Some(Method::Bytes), Some(Method::Bytes)]);
    // Within a token or two of the nine and two that there are.
    assert_eq!(
        (call.usage.input_uncached, call.usage.output),
        (Some(10), Some(2))
    );
    assert_eq!(stats.texts_without_vocabulary, 2);
}

#[test]
fn names_calls_and_definitions_have_tokens_of_their_own() {
    let framed = Countable {
        frame: Frame {
            messages: 2,
            names: 1,
            tool_calls: 1,
            tools: 2,
            schema_marks: 9,
        },
        ..hello(2)
    };
    for (endpoint, model, expected) in [
        // Text 3, messages 6, name 1, call 1, reply 3, marks 9, functions 12 and 7 or 10 each.
        (Endpoint::OpenAiChat, "gpt-4o", 3 + 6 + 1 + 1 + 3 + 9 + 26),
        (Endpoint::OpenAiChat, "gpt-4", 3 + 6 + 1 + 1 + 3 + 9 + 32),
        // Text 4 or 5, the message 7, and the prompt before tools.
        (Endpoint::AnthropicMessages, "claude-opus-5-5", 5 + 7 + 346),
        (
            Endpoint::AnthropicMessages,
            "claude-3-opus-20240229",
            4 + 7 + 530,
        ),
        (
            Endpoint::AnthropicMessages,
            "claude-3-sonnet-20240229",
            4 + 7 + 159,
        ),
        (
            Endpoint::AnthropicMessages,
            "claude-3-5-haiku-latest",
            4 + 7 + 264,
        ),
        (
            Endpoint::AnthropicMessages,
            "claude-3-5-sonnet-20241022",
            4 + 7 + 346,
        ),
        (Endpoint::AnthropicMessages, "claude-haiku-4-5", 4 + 7 + 346),
        (Endpoint::OpenAiResponses, "gpt-4o", 3),
    ] {
        let call = call(endpoint, model, Some(framed.clone()));
        assert_eq!(counted(call).0, Some(expected), "{model}");
    }
    let quality = |countable| {
        estimates(call(Endpoint::OpenAiChat, "gpt-4o", Some(countable)))[0]
            .as_ref()
            .map(|(_, quality)| *quality)
    };
    assert_eq!(quality(framed), Some("approx"));
    assert_eq!(quality(hello(1)), Some("exact_tokenizer"));
}

#[test]
fn other_families_are_scaled() {
    let input = |model| counted(call(Endpoint::AnthropicMessages, model, Some(hello(1)))).0;
    assert_eq!(input("claude-opus-5-5"), Some(5 + 7));
    assert_eq!(input("claude-sonnet-4-5-20250929"), Some(4 + 7));
}

#[test]
fn a_report_is_never_touched() {
    let usage = Usage {
        input_uncached: Some(5),
        output: Some(6),
        ..Usage::default()
    };
    let reported = LlmCall {
        usage,
        usage_source: UsageSource::Provider,
        ..call(Endpoint::OpenAiChat, "gpt-4o", None)
    };
    let mut stats = Stats::default();
    assert_eq!(Tokens::new().count(reported.clone(), &mut stats), reported);
    assert_eq!(
        stats,
        Stats {
            calls_usage_provider: 1,
            ..Stats::default()
        }
    );
}

#[test]
fn a_partial_report_gets_only_the_output_it_lacks() {
    let usage = Usage {
        input_uncached: Some(5),
        ..Usage::default()
    };
    let countable = Some(hello(1));
    let partial = LlmCall {
        usage,
        usage_source: UsageSource::ProviderPartial,
        ..call(Endpoint::AnthropicMessages, "claude-opus-5-5", countable)
    };
    assert_eq!(
        counted(partial),
        (Some(5), Some(3), UsageSource::ProviderPartial)
    );
}

#[test]
fn every_number_that_was_counted_says_how_and_how_well() {
    for (model, method, quality) in [
        ("gpt-4.1", "tiktoken:o200k_base", "exact_tokenizer"),
        ("gpt-4-0613", "tiktoken:cl100k_base", "exact_tokenizer"),
        ("gpt-oss-120b", "tiktoken:o200k_harmony", "exact_tokenizer"),
        ("unheard-of", "tiktoken:o200k_base", "approx"),
        ("text-davinci-003", "tiktoken:o200k_base", "approx"),
        ("claude-opus-5-5", "ratio:claude-4.7:1.4", "approx"),
        ("claude-sonnet-4-5", "ratio:claude-4.6:1.05", "approx"),
        ("gemini-2.0-flash", "ratio:gemini:1.01", "approx"),
        ("llama-3.3-70b", "ratio:llama:1", "approx"),
        ("deepseek-chat", "ratio:deepseek:1.01", "approx"),
        ("qwen3-coder", "ratio:qwen:1.01", "approx"),
        ("mistral-large", "ratio:mistral:1.05", "approx"),
    ] {
        let call = call(Endpoint::OpenAiCompletions, model, Some(hello(1)));
        assert_eq!(
            estimates(call),
            [known(method, quality), known(method, quality)],
            "{model}"
        );
    }
}

#[test]
fn what_was_reported_is_no_estimate() {
    let usage = Usage {
        input_uncached: Some(5),
        ..Usage::default()
    };
    let partial = LlmCall {
        usage,
        usage_source: UsageSource::ProviderPartial,
        outcome: Outcome::Aborted,
        ..call(
            Endpoint::AnthropicMessages,
            "claude-opus-5-5",
            Some(hello(1)),
        )
    };
    assert_eq!(
        estimates(partial),
        [None, known("ratio:claude-4.7:1.4", "lower_bound")]
    );
    let uncountable = Countable {
        input_is_partial: true,
        output: CountedText::default(),
        ..hello(1)
    };
    let call = call(Endpoint::OpenAiResponses, "gpt-5", Some(uncountable));
    assert_eq!(estimates(call), [None, None]);
}

#[test]
fn reasoning_that_is_not_shown_makes_the_output_a_lower_bound() {
    let counted = |model| call(Endpoint::OpenAiResponses, model, Some(hello(1)));
    assert_eq!(
        estimates(counted("gpt-5")),
        [
            known("tiktoken:o200k_base", "approx"),
            known("tiktoken:o200k_base", "lower_bound")
        ]
    );
    let sealed = Countable {
        has_hidden_reasoning: true,
        ..hello(1)
    };
    let call = call(Endpoint::AnthropicMessages, "claude-opus-5-5", Some(sealed));
    let call = Tokens::new().count(call, &mut Stats::default());
    assert_eq!(
        (call.usage.reasoning, call.estimates.output),
        (
            None,
            Some(Estimate {
                method: Method::Ratio {
                    family: "claude-4.7",
                    milli: 1400
                },
                quality: Quality::LowerBound
            })
        )
    );
}

#[test]
fn models_that_hide_their_reasoning_are_told_by_name() {
    for model in [
        "o1",
        "o3-pro",
        "o4-mini-2025-04-16",
        "gpt-5",
        "gpt-5.1-codex",
        "gpt-6",
        "openai/gpt-5-mini",
        "ft:gpt-5-mini:x::y",
        "codex-mini-latest",
        "gemini-2.5-pro",
        "gemini-3-pro-preview",
        "gemini-flash-latest",
        "x-ai/grok-4",
    ] {
        assert!(family::hides_reasoning(model), "{model}");
    }
    for model in [
        "gpt-4o",
        "gpt-4.1",
        "gpt-3.5-turbo",
        "gpt-oss-120b",
        "gpt-5-chat-latest",
        "omni",
        "o200",
        "gemini-2.0-flash",
        "gemini-embedding-001",
        "claude-opus-5-5",
        "deepseek-reasoner",
        "",
    ] {
        assert!(!family::hides_reasoning(model), "{model}");
    }
}

/// A call of a text whose provider reports so many tokens for it, at a second.
fn reported(second: u64, input: u64, output: u64) -> LlmCall {
    let sentence = "The quick brown fox jumps over the lazy dog, and nobody knows why. ";
    let countable = Countable {
        input: text(&[&sentence.repeat(100)]),
        output: text(&[&sentence.repeat(20)]),
        ..Countable::default()
    };
    LlmCall {
        usage: Usage {
            input_uncached: Some(input),
            output: Some(output),
            ..Usage::default()
        },
        usage_source: UsageSource::Provider,
        ended: Timestamp::from_nanos(second * 1_000_000_000),
        ..call(
            Endpoint::OpenAiCompletions,
            "gemini-2.0-flash",
            Some(countable),
        )
    }
}

/// The same call if the provider reported nothing.
fn silent() -> LlmCall {
    LlmCall {
        usage: Usage::default(),
        usage_source: UsageSource::None,
        ..reported(0, 0, 0)
    }
}

fn count(tokens: &mut Tokens, call: LlmCall) -> (Option<u64>, Option<u64>, Estimates) {
    let call = tokens.count(call, &mut Stats::default());
    assert_eq!(call.countable, None, "text is dropped");
    (call.usage.input_uncached, call.usage.output, call.estimates)
}

fn estimate(method: Method) -> Option<Estimate> {
    Some(Estimate {
        method,
        quality: Quality::Approx,
    })
}

#[test]
fn reported_calls_correct_the_factor_of_their_family() {
    let family = "gemini";
    let measured = Method::Ratio {
        family,
        milli: 1010,
    };
    let calibrated = |milli| Method::Calibrated { family, milli };
    let estimates = |input, output| Estimates {
        input: estimate(input),
        output: estimate(output),
    };
    let mut tokens = Tokens::new();
    let first = count(&mut tokens, silent());
    assert_eq!(
        first,
        (Some(1517), Some(305), estimates(measured, measured)),
        "1,501 and 301 tokens of OpenAI's"
    );
    // Its input has a fifth more, its output a tenth less.
    for second in 1..=4 {
        count(&mut tokens, reported(second, 1818, 273));
    }
    assert_eq!(count(&mut tokens, silent()), first, "four are too few");
    count(&mut tokens, reported(5, 1818, 273));
    assert_eq!(
        count(&mut tokens, silent()),
        (
            Some(1817),
            Some(271),
            estimates(calibrated(1210), calibrated(900))
        )
    );
    let other = LlmCall {
        model_requested: Some("claude-opus-5-5".to_owned()),
        ..silent()
    };
    let measured = Method::Ratio {
        family: "claude-4.7",
        milli: 1400,
    };
    assert_eq!(
        count(&mut tokens, other).2,
        estimates(measured, measured),
        "of another family nothing is known"
    );
}

#[test]
fn nothing_is_learned_from_a_call_with_more_in_it_than_its_text() {
    let usage = |change: fn(&mut Usage)| {
        let mut call = reported(0, 1818, 273);
        change(&mut call.usage);
        call
    };
    let texts = |change: fn(&mut Countable)| {
        let mut call = reported(0, 1818, 273);
        call.countable.as_mut().map(change).expect("it has texts");
        call
    };
    let search = || {
        let mut call = reported(0, 1818, 273);
        call.units.web_searches = Some(1);
        call
    };
    let learns = |call: &LlmCall| {
        let mut tokens = Tokens::new();
        count(&mut tokens, silent());
        for second in 1..=5 {
            let ended = Timestamp::from_nanos(second * 1_000_000_000);
            count(
                &mut tokens,
                LlmCall {
                    ended,
                    ..call.clone()
                },
            );
        }
        let known = count(&mut tokens, silent()).2;
        [known.input, known.output].map(|estimate| {
            estimate.is_some_and(|known| matches!(known.method, Method::Calibrated { .. }))
        })
    };
    for (call, expected) in [
        (reported(0, 1818, 273), [true, true]),
        (usage(|usage| usage.cache_read = Some(9)), [true, true]),
        (usage(|usage| usage.image_input = Some(9)), [false, true]),
        (usage(|usage| usage.audio_input = Some(9)), [false, true]),
        (usage(|usage| usage.reasoning = Some(9)), [true, false]),
        (usage(|usage| usage.audio_output = Some(9)), [true, false]),
        (usage(|usage| usage.image_output = Some(9)), [true, false]),
        (search(), [false, true]),
        (texts(|texts| texts.input_is_partial = true), [false, true]),
        (texts(|texts| texts.input.skip("more")), [false, true]),
        (texts(|texts| texts.output.skip("more")), [true, false]),
        (
            texts(|texts| texts.has_hidden_reasoning = true),
            [true, false],
        ),
        (texts(|texts| texts.input = text(&["short"])), [false, true]),
        (
            texts(|texts| texts.output = text(&["short"])),
            [true, false],
        ),
        (reported(0, 9, 9), [false, false]),
        (reported(0, u64::MAX, u64::MAX), [false, false]),
    ] {
        assert_eq!(learns(&call), expected, "{:?} {:?}", call.usage, call.units);
    }
}

#[test]
fn what_cannot_be_counted_stays_unknown() {
    let partial = Countable {
        input_is_partial: true,
        ..hello(1)
    };
    assert_eq!(
        counted(call(Endpoint::OpenAiResponses, "gpt-5", Some(partial))),
        (None, Some(2), UsageSource::Estimated)
    );
    let silent = Countable {
        output: CountedText::default(),
        ..hello(1)
    };
    assert_eq!(
        counted(call(Endpoint::OpenAiChat, "gpt-5", Some(silent))),
        (Some(9), None, UsageSource::Estimated)
    );
    assert_eq!(
        counted(call(
            Endpoint::OpenAiChat,
            "gpt-5",
            Some(Countable::default())
        )),
        (None, None, UsageSource::None)
    );
}

#[test]
fn special_tokens_in_a_text_are_text() {
    let countable = Countable {
        output: text(&["<|endoftext|>"]),
        ..Countable::default()
    };
    let (_, output, _) = counted(call(Endpoint::OpenAiChat, "gpt-4o", Some(countable)));
    assert!(output.is_some_and(|tokens| tokens > 1), "{output:?}");
}

#[test]
fn text_that_was_not_kept_is_taken_to_be_like_the_rest() {
    let mut cut = text(&["Hi there"]);
    cut.skip("Hi there Hi there Hi the");
    let countable = Countable {
        output: cut,
        ..Countable::default()
    };
    let whole = call(Endpoint::OpenAiChat, "gpt-4o", Some(countable));
    assert_eq!(counted(whole.clone()).1, Some(8));
    assert_eq!(estimates(whole)[1], known("tiktoken:o200k_base", "approx"));
    let mut measured = CountedText::default();
    measured.skip("Hi there!");
    let countable = Countable {
        output: measured,
        ..Countable::default()
    };
    let measured = call(Endpoint::OpenAiChat, "gpt-4o", Some(countable));
    assert_eq!(counted(measured.clone()).1, Some(3));
    assert_eq!(estimates(measured)[1], known("bytes", "approx"));
}

#[test]
fn hostile_runs_of_a_megabyte_are_counted_without_a_panic() {
    let megabyte = 1 << 20;
    let base64: String = ('A'..='Z')
        .chain('a'..='z')
        .chain('0'..='9')
        .cycle()
        .take(megabyte)
        .collect();
    let inputs = [
        " ".repeat(megabyte),
        "a".repeat(megabyte),
        "A".repeat(megabyte),
        "\n".repeat(megabyte),
        " \n".repeat(megabyte / 2),
        "\u{fffd}".repeat(megabyte / 3),
        "!".repeat(megabyte),
        base64,
    ];
    for model in ["gpt-4o", "gpt-4"] {
        for input in &inputs {
            let countable = Countable {
                output: text(&[input]),
                ..Countable::default()
            };
            let (_, output, source) = counted(call(Endpoint::OpenAiChat, model, Some(countable)));
            let bound = 0..=input.len() as u64;
            assert!(
                output.is_some_and(|tokens| tokens > 0 && bound.contains(&tokens)),
                "{output:?}"
            );
            assert_eq!(source, UsageSource::Estimated);
        }
    }
}

proptest! {
    #[test]
    fn no_text_has_more_tokens_than_its_bytes_allow(
        words in ".{0,200}",
        skipped in 0..2_000_usize,
        which in 0..5_usize,
        messages in 0..9_u32,
    ) {
        let model = ["gpt-4", "claude-opus-5-5", "gemini-3-pro", "deepseek-chat", "x"][which];
        let mut input = text(&[&words]);
        input.skip(&"x".repeat(skipped));
        let bytes = input.seen_bytes();
        let countable = Countable {
            output: input.clone(),
            input,
            ..hello(messages)
        };
        let (input, output, _) = counted(call(Endpoint::OpenAiChat, model, Some(countable)));
        let most = bytes.saturating_mul(u64::from(MAX_FACTOR_MILLI)).div_ceil(1000) + 1;
        prop_assert!(output.unwrap_or(0) <= most, "{output:?} of {bytes} bytes");
        let around = 3 * u64::from(messages) + 3;
        prop_assert!(input.unwrap_or(0) <= most + around, "{input:?} of {bytes} bytes");
        prop_assert_eq!(input.is_some(), bytes > 0);
    }
}

#[test]
fn pieces_are_bounded_and_make_up_the_text() {
    let words = "word ".repeat(10_000);
    for text in [
        words.as_str(),
        &"é".repeat(20_000),
        &" ".repeat(20_000),
        "short",
        "",
    ] {
        let pieces: Vec<&str> = pieces(text).collect();
        assert!(
            pieces
                .iter()
                .all(|piece| !piece.is_empty() && piece.len() <= PIECE_BYTES)
        );
        assert_eq!(pieces.concat(), text);
    }
    assert!(
        pieces(&words)
            .skip(1)
            .all(|piece| piece.starts_with(" word")),
        "cuts stand before spaces"
    );
}

#[test]
fn cutting_costs_nothing_in_text_with_spaces() {
    let source = include_str!("mod.rs");
    let vocabulary = vocabulary(Tokenizer::O200kBase).expect("it is built in");
    let whole = vocabulary.count_ordinary(source);
    let cut: usize = pieces(source)
        .map(|piece| vocabulary.count_ordinary(piece))
        .sum();
    // Indentation is the one run of spaces that a cut may split from its line.
    assert!(cut.abs_diff(whole) <= 2, "{cut} instead of {whole}");
}

#[test]
fn families_are_told_by_name() {
    for (model, family) in [
        ("gpt-4", Family::Cl100k),
        ("gpt-4-0613", Family::Cl100k),
        ("gpt-3.5-turbo-0125", Family::Cl100k),
        ("azure/gpt-35-turbo", Family::Cl100k),
        ("gpt-4o-mini", Family::O200k),
        ("gpt-4.1", Family::O200k),
        ("openai/gpt-4o:free", Family::O200k),
        ("ft:gpt-4o-mini:org::id", Family::O200k),
        ("o3", Family::O200k),
        ("text-embedding-3-small", Family::Cl100k),
        ("gpt-oss:20b", Family::O200kHarmony),
        ("gpt-6", Family::Other),
        ("text-davinci-003", Family::Other),
        ("", Family::Other),
        ("claude-2.1", Family::ClaudeUpTo46),
        ("claude-3-5-sonnet-20241022", Family::ClaudeUpTo46),
        ("claude-opus-4-20250514", Family::ClaudeUpTo46),
        ("anthropic/claude-sonnet-4.6", Family::ClaudeUpTo46),
        ("claude-opus-4-6@20260101", Family::ClaudeUpTo46),
        ("claude-opus-4-7", Family::ClaudeSince47),
        ("us.anthropic.claude-sonnet-5-v1:0", Family::ClaudeSince47),
        ("claude-latest", Family::ClaudeSince47),
        ("gemini-3-pro", Family::Gemini),
        ("gemma3:4b", Family::Gemini),
        ("meta-llama/Llama-3.3-70B", Family::Llama),
        ("deepseek-chat", Family::DeepSeek),
        ("deepseek-r1-distill-qwen-32b", Family::Qwen),
        ("devstral-small", Family::Mistral),
    ] {
        assert_eq!(Family::of(model), family, "{model}");
    }
}
