//! What calls cost, to the billionth of a dollar.

mod laws;
mod lists;
mod terms;

use super::*;
use crate::llm::{Estimate, Estimates, Method, Provider, SubInference};

/// The first moment of a day, as in `2026-03-13`.
fn day(text: &str) -> i64 {
    day_ms(text).unwrap()
}

fn bundled() -> Prices {
    Prices::new(List::bundled(), Vec::new())
}

/// What is used of a model by default: nothing, at the end of the list's time, on standard terms.
fn used<'a>(provider: &'a str, model: &'a str, usage: &'a Usage) -> Billable<'a> {
    const STANDARD: &Terms = &Terms {
        service_tier: None,
        speed: None,
        region: None,
        is_batch: false,
        credential: crate::llm::Credential::Unknown,
    };
    Billable {
        provider,
        model: Some(model),
        usage,
        is_complete: true,
        units: Units::default(),
        terms: STANDARD,
        reported_nanousd: None,
        completed_ms: day("2026-11-23"),
    }
}

fn tokens(input: u64, output: u64) -> Usage {
    Usage {
        input_uncached: Some(input),
        output: Some(output),
        ..Usage::default()
    }
}

/// Cost and status.
fn told(priced: &Priced) -> (Option<u64>, CostStatus) {
    (priced.cost_nanousd, priced.status)
}

fn cost(used: &Billable<'_>) -> (Option<u64>, CostStatus) {
    told(&bundled_once().cost(used))
}

const UNKNOWN: (Option<u64>, CostStatus) = (None, CostStatus::Unpriced);

fn priced(nanousd: u64) -> (Option<u64>, CostStatus) {
    (Some(nanousd), CostStatus::Priced)
}

fn at_least(nanousd: u64) -> (Option<u64>, CostStatus) {
    (Some(nanousd), CostStatus::LowerBound)
}

/// Requests that common tools price wrongly, each in its own way.
#[test]
fn the_nine_requests_that_others_price_wrongly_cost_what_the_provider_bills() {
    let sonnet = Usage {
        input_uncached: Some(10_000),
        cache_read: Some(250_000),
        output: Some(1_333),
        ..Usage::default()
    };
    let opus = Usage {
        input_uncached: Some(10),
        cache_write_1h: Some(100_000),
        output: Some(10),
        ..Usage::default()
    };
    let haiku = Usage {
        input_uncached: Some(2_000),
        cache_read: Some(150_000),
        cache_write_5m: Some(5_000),
        output: Some(1_000),
        ..Usage::default()
    };
    let newer_opus = Usage {
        input_uncached: Some(2_000),
        cache_read: Some(150_000),
        cache_write_1h: Some(5_000),
        output: Some(1_000),
        ..Usage::default()
    };
    // Reasoning is inside of the output, and billed once.
    let reasoning = Usage {
        cache_read: Some(200_000),
        reasoning: Some(1_500),
        ..tokens(100_000, 2_000)
    };
    let at = |day_text, used: Billable<'_>| {
        cost(&Billable {
            completed_ms: day(day_text),
            ..used
        })
    };
    // 10,000 × $6 + 250,000 × $0.60 + 1,333 × $22.50: the tier of that time, for every token.
    assert_eq!(
        at(
            "2026-02-25",
            used("anthropic", "claude-sonnet-4-6", &sonnet)
        ),
        priced(239_992_500)
    );
    // 100,000 × $10 + 200,000 × $1 + 2,000 × $45.
    assert_eq!(
        cost(&used("openai", "gpt-5.5-2026-04-23", &reasoning)),
        priced(1_290_000_000)
    );
    // 10 × $5 + 100,000 × $10 + 10 × $25: an hour in the cache costs twice the input.
    assert_eq!(
        cost(&used("anthropic", "claude-opus-4-7", &opus)),
        priced(1_000_300_000)
    );
    // 2,000 × $0.50 + 150,000 × $0.05 + 5,000 × $0.625 + 1,000 × $2.50.
    assert_eq!(
        cost(&used("anthropic", "claude-haiku-5-5", &haiku)),
        priced(14_125_000)
    );
    // 2,000 × $4 + 150,000 × $0.20 + 5,000 × $8 + 1,000 × $20.
    assert_eq!(
        cost(&used("anthropic", "claude-opus-5-5-20260901", &newer_opus)),
        priced(98_000_000)
    );
    let million = tokens(1_000_000, 0);
    for name in [
        "acme-claude-opus-4-7-tuned",
        "claude-opus-4-7-tuned",
        "my/claude-opus-4-7",
        "acme-1",
    ] {
        for provider in ["anthropic", "openai", "bedrock", "azure", "vercel", "other"] {
            assert_eq!(
                cost(&used(provider, name, &million)),
                UNKNOWN,
                "{provider} {name}"
            );
        }
    }
}

#[test]
fn a_longer_prompt_makes_every_token_dearer_from_the_first_one_beyond() {
    // Prices per million tokens of input and output, below and above.
    for (provider, model, at, over, below, above) in [
        (
            "anthropic",
            "claude-haiku-5-5",
            "2026-11-23",
            100_000,
            (100, 500),
            (500, 2_500),
        ),
        (
            "anthropic",
            "claude-sonnet-4-6",
            "2026-02-25",
            200_000,
            (3_000, 15_000),
            (6_000, 22_500),
        ),
        (
            "google",
            "gemini-2.5-pro",
            "2026-11-23",
            200_000,
            (1_250, 10_000),
            (2_500, 15_000),
        ),
        // xAI's limit belongs to the dearer side.
        (
            "xai",
            "grok-4.3",
            "2026-11-23",
            199_999,
            (1_250, 2_500),
            (2_500, 5_000),
        ),
        (
            "openai",
            "gpt-5.5",
            "2026-11-23",
            272_000,
            (5_000, 30_000),
            (10_000, 45_000),
        ),
        (
            "openai",
            "gpt-5.6-sol",
            "2026-11-23",
            272_000,
            (4_000, 20_000),
            (8_000, 30_000),
        ),
    ] {
        for (input, (per_input, per_output)) in [
            (over - 1, below),
            (over, below),
            (over + 1, above),
            (over + 2, above),
        ] {
            let usage = tokens(input, 1_000);
            let used = Billable {
                completed_ms: day(at),
                ..used(provider, model, &usage)
            };
            assert_eq!(
                cost(&used),
                priced(input * per_input + 1_000 * per_output),
                "{model} {input}"
            );
        }
        // The caches are a part of the prompt.
        let cached = Usage {
            cache_read: Some(over - 10),
            ..tokens(11, 0)
        };
        let used = Billable {
            completed_ms: day(at),
            ..used(provider, model, &cached)
        };
        let price = bundled().cost(&used).price.unwrap();
        assert_eq!(price.context_over, Some(over), "{model}");
    }
}

#[test]
fn a_call_has_the_price_of_the_moment_when_it_was_complete() {
    let usage = tokens(210_000, 1_000);
    for (provider, model, change, before, since) in [
        (
            "anthropic",
            "claude-sonnet-4-6",
            "2026-03-13",
            210_000 * 6_000 + 22_500_000,
            210_000 * 3_000 + 15_000_000,
        ),
        (
            "openai",
            "gpt-5.6-sol",
            "2026-08-21",
            210_000 * 5_000 + 30_000_000,
            210_000 * 4_000 + 20_000_000,
        ),
    ] {
        let change = day(change);
        for (completed_ms, expected) in [
            (change - 86_400_000, before),
            (change - 1, before),
            (change, since),
            (change + 86_400_000, since),
        ] {
            let used = Billable {
                completed_ms,
                ..used(provider, model, &usage)
            };
            assert_eq!(cost(&used), priced(expected), "{model} {completed_ms}");
        }
        let used = Billable {
            completed_ms: change - 1,
            ..used(provider, model, &usage)
        };
        let price = bundled().cost(&used).price.unwrap();
        assert_eq!(
            (price.valid_from_ms, price.valid_to_ms),
            (None, Some(change))
        );
    }
}

#[test]
fn deepseek_is_dear_while_china_works_and_cheap_at_weekends_and_on_holidays() {
    const HOUR_MS: i64 = 3_600_000;
    let usage = tokens(1_000_000, 1_000_000);
    let cost = |model, day_text: &str, hour| {
        let used = Billable {
            completed_ms: day(day_text) + hour,
            ..used("deepseek", model, &usage)
        };
        cost(&used)
    };
    let (peak, other) = (priced(5_280_000_000), priced(2_640_000_000));
    // A Monday, from the hour before its peak hours to the one after.
    for (hour, expected) in [
        (HOUR_MS - 1, other),
        (HOUR_MS, peak),
        (4 * HOUR_MS - 1, peak),
        (4 * HOUR_MS, other),
        (6 * HOUR_MS, peak),
        (10 * HOUR_MS - 1, peak),
        (10 * HOUR_MS, other),
    ] {
        assert_eq!(cost("deepseek-v4-pro", "2026-11-23", hour), expected);
    }
    for (text, expected) in [
        ("2026-08-16", priced(1_305_000_000)),
        ("2026-08-17", peak),
        ("2026-08-22", other),
        ("2026-08-23", other),
        ("2026-09-25", other),
        ("2026-09-30", peak),
        ("2026-10-01", other),
        ("2026-10-07", other),
        ("2026-10-08", peak),
        // A Saturday on which offices work instead of a holiday is none of Monday to Friday.
        ("2026-10-10", other),
        ("2026-11-20", peak),
        ("2026-11-21", other),
        ("2026-11-22", other),
        ("2026-11-23", peak),
        // Holidays of later years are not known: this one costs at most so much.
        ("2027-01-01", peak),
    ] {
        assert_eq!(
            cost("deepseek-v4-pro", text, 2 * HOUR_MS),
            expected,
            "{text}"
        );
    }
    // Hours that were those of every day stay so.
    let night = priced(685_000_000);
    assert_eq!(cost("deepseek-chat", "2025-05-03", 20 * HOUR_MS), night);
    assert_eq!(
        cost("deepseek-chat", "2025-05-03", 2 * HOUR_MS),
        priced(1_370_000_000)
    );
}

#[test]
fn tokens_without_a_price_are_never_given_one() {
    // Gemini has no price for writing to a cache, and a small model none for its output.
    let usage = Usage {
        cache_write_5m: Some(1_000),
        ..tokens(1_000, 0)
    };
    assert_eq!(
        cost(&used("google", "gemini-2.5-pro", &usage)),
        at_least(1_250_000)
    );
    let only = Usage {
        cache_write_5m: Some(1_000),
        ..Usage::default()
    };
    assert_eq!(cost(&used("google", "gemini-2.5-pro", &only)), UNKNOWN);
    assert_eq!(
        cost(&used("openai", "gpt-5.5", &Usage::default())),
        UNKNOWN,
        "nothing is known to have been used"
    );
    assert_eq!(cost(&used("openai", "gpt-5.5", &tokens(0, 0))), priced(0));
    // Twelve hours in OpenAI's cache have their own price, and the rest of the writes another.
    let writes = Usage {
        cache_write_other: Some(3_000),
        cache_write_12h: Some(1_000),
        ..tokens(0, 0)
    };
    assert_eq!(
        cost(&used("openai", "gpt-5.6-sol", &writes)),
        priced(1_000 * 10_000 + 2_000 * 5_000)
    );
}

#[test]
fn sound_and_pictures_have_their_own_prices_and_no_token_has_two() {
    let own = |rates| {
        let own = Override {
            model: "m".to_owned(),
            price: Own::Rates(rates),
            ..Override::default()
        };
        Prices::new(List::default(), vec![own])
    };
    let rates = Rates {
        input_uncached: Some(1_000_000),
        cache_read: Some(100_000),
        output: Some(2_000_000),
        audio_input: Some(10_000_000),
        image_output: Some(20_000_000),
        ..Rates::default()
    };
    let usage = Usage {
        audio_input: Some(40),
        image_input: Some(5),
        image_output: Some(60),
        audio_output: Some(7),
        ..tokens(100, 90)
    };
    assert_eq!(
        told(&own(rates).cost(&used("other", "m", &usage))),
        priced(60 + 40 * 10 + 30 * 2 + 60 * 20)
    );
    // Which part of the sound was cached is not told: it costs at least as much as if all was.
    let cached = Usage {
        cache_read: Some(30),
        ..usage
    };
    assert_eq!(
        told(&own(rates).cost(&used("other", "m", &cached))),
        at_least(90 + 10 * 10 + 3 + 30 * 2 + 60 * 20)
    );
    // A part that is larger than its whole is cut to it.
    let absurd = Usage {
        audio_input: Some(1_000),
        ..tokens(10, 0)
    };
    assert_eq!(
        told(&own(rates).cost(&used("other", "m", &absurd))),
        priced(100)
    );
}

#[test]
fn what_the_provider_says_stands_where_there_is_no_price() {
    let usage = tokens(1_000, 0);
    let reported = |provider, model, cost| Billable {
        reported_nanousd: Some(cost),
        ..used(provider, model, &usage)
    };
    for (used, expected) in [
        (
            reported("openrouter", "nobody/knows", 77),
            (Some(77), CostStatus::ProviderReported),
        ),
        (reported("other", "claude-opus-4-7", u64::MAX), UNKNOWN),
        (reported("openai", "gpt-5.5", 77), priced(5_000_000)),
    ] {
        assert_eq!(cost(&used), expected, "{used:?}");
    }
}

#[test]
fn a_call_is_priced_by_what_is_known_of_it_and_its_parts_by_their_own_models() {
    let at_ms = day("2026-11-23");
    let call = LlmCall {
        provider: Provider("anthropic"),
        model_served: Some("claude-opus-5-5-20260901".to_owned()),
        model_requested: Some("opus".to_owned()),
        usage: tokens(1_000, 100),
        usage_source: UsageSource::Provider,
        sub_inferences: [
            (SubKind::Compaction, None),
            (SubKind::Advisor, Some("claude-haiku-5-5")),
            (SubKind::Advisor, Some("claude-opus-4-7-private")),
            (SubKind::Image, Some("image_generation")),
            (SubKind::Image, None),
        ]
        .into_iter()
        .map(|(kind, model)| SubInference {
            kind,
            model: model.map(str::to_owned),
            usage: tokens(1_000, 0),
        })
        .collect(),
        ..LlmCall::plain()
    };
    let of = |call: &LlmCall| {
        let (cost, parts) = bundled().call(call, at_ms);
        (told(&cost), parts.iter().map(told).collect::<Vec<_>>())
    };
    let parts = vec![
        priced(4_000_000),
        priced(100_000),
        UNKNOWN,
        UNKNOWN,
        UNKNOWN,
    ];
    assert_eq!(of(&call), (priced(6_000_000), parts));
    let with = |usage_source, usage, quality| {
        let estimate = Some(Estimate {
            method: Method::Bytes,
            quality,
        });
        let call = LlmCall {
            usage_source,
            usage,
            estimates: Estimates {
                input: None,
                output: estimate.filter(|_| usage_source == UsageSource::Estimated),
            },
            sub_inferences: Vec::new(),
            ..call.clone()
        };
        of(&call).0
    };
    let half = Usage {
        output: None,
        ..tokens(1_000, 0)
    };
    for (source, usage, quality, expected) in [
        (
            UsageSource::ProviderPartial,
            tokens(1_000, 1),
            Quality::Approx,
            at_least(4_020_000),
        ),
        (
            UsageSource::Estimated,
            tokens(1_000, 1),
            Quality::Approx,
            priced(4_020_000),
        ),
        (
            UsageSource::Estimated,
            tokens(1_000, 1),
            Quality::LowerBound,
            at_least(4_020_000),
        ),
        (
            UsageSource::Estimated,
            half,
            Quality::Approx,
            at_least(4_000_000),
        ),
        (
            UsageSource::None,
            Usage::default(),
            Quality::Approx,
            UNKNOWN,
        ),
    ] {
        assert_eq!(
            with(source, usage, quality),
            expected,
            "{source:?} {usage:?}"
        );
    }
}

#[test]
fn ones_own_prices_go_first_and_the_first_that_fits_counts() {
    let rates = |input| {
        Own::Rates(Rates {
            input_uncached: Some(input),
            output: Some(input),
            ..Rates::default()
        })
    };
    let like = |provider: &str, milli| Own::Like {
        provider: Some(provider.to_owned()),
        model: None,
        milli,
    };
    let own = vec![
        Override {
            provider: Some("anthropic".to_owned()),
            model: "claude-opus-*".to_owned(),
            valid_from_ms: Some(day("2026-11-01")),
            valid_until_ms: Some(day("2026-12-01")),
            price: like("anthropic", 850),
            ..Override::default()
        },
        Override {
            model: "acme-*-large".to_owned(),
            context_over: Some(1_000),
            price: rates(2_000_000),
            ..Override::default()
        },
        Override {
            model: "acme-*-large".to_owned(),
            price: rates(1_000_000),
            ..Override::default()
        },
        Override {
            provider: Some("ollama".to_owned()),
            model: "*".to_owned(),
            price: rates(0),
            ..Override::default()
        },
        Override {
            provider: Some("gateway".to_owned()),
            model: "*".to_owned(),
            price: like("anthropic", 1_000),
            ..Override::default()
        },
    ];
    let prices = Prices::new(List::bundled(), own);
    let cost = |provider, model, input, at| {
        let usage = tokens(input, 0);
        let used = Billable {
            completed_ms: day(at),
            ..used(provider, model, &usage)
        };
        told(&prices.cost(&used))
    };
    for (provider, model, input, at, expected) in [
        (
            "anthropic",
            "claude-opus-5-5",
            1_000,
            "2026-10-31",
            priced(4_000_000),
        ),
        (
            "anthropic",
            "claude-opus-5-5",
            1_000,
            "2026-11-01",
            priced(3_400_000),
        ),
        (
            "anthropic",
            "claude-opus-5-5",
            1_000,
            "2026-12-01",
            priced(4_000_000),
        ),
        ("other", "ACME-7b-large", 1_000, "2026-11-01", priced(1_000)),
        ("other", "acme-7b-large", 1_001, "2026-11-01", priced(2_002)),
        ("other", "acme-7b-larger", 1_001, "2026-11-01", UNKNOWN),
        (
            "ollama",
            "qwen3:8b",
            5,
            "2026-11-01",
            (Some(0), CostStatus::Free),
        ),
        (
            "gateway",
            "claude-opus-4-7",
            1_000,
            "2026-11-01",
            priced(5_000_000),
        ),
        (
            "gateway",
            "claude-opus-4-7-tuned",
            1_000,
            "2026-11-01",
            UNKNOWN,
        ),
    ] {
        assert_eq!(
            cost(provider, model, input, at),
            expected,
            "{provider} {model} {input} {at}"
        );
    }
}

fn bundled_once() -> &'static Prices {
    static PRICES: std::sync::OnceLock<Prices> = std::sync::OnceLock::new();
    PRICES.get_or_init(bundled)
}
