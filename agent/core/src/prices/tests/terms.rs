//! Tiers, speeds, regions and other units than tokens.

use super::*;

fn on(tier: Option<&str>, speed: Option<&str>, region: Option<&str>) -> Terms {
    Terms {
        service_tier: tier.map(str::to_owned),
        speed: speed.map(str::to_owned),
        region: region.map(str::to_owned),
        ..Terms::default()
    }
}

#[test]
fn the_terms_that_were_served_decide_the_price() {
    let million = tokens(1_000_000, 1_000_000);
    let small = tokens(100_000, 100_000);
    let batch = Terms {
        is_batch: true,
        ..on(Some("default"), None, None)
    };
    let dollars = |tenths: u64| priced(tenths * 100_000_000);
    for (provider, model, usage, terms, at, expected) in [
        (
            "openai",
            "o3",
            &million,
            on(Some("default"), None, None),
            "2026-11-23",
            dollars(100),
        ),
        (
            "openai",
            "o3",
            &million,
            on(Some("flex"), None, None),
            "2026-11-23",
            dollars(50),
        ),
        (
            "openai",
            "o3",
            &million,
            on(Some("priority"), None, None),
            "2026-11-23",
            dollars(175),
        ),
        // A batch is half of what it was then, before the list had a price for it.
        (
            "openai",
            "o3",
            &million,
            batch.clone(),
            "2026-11-23",
            dollars(50),
        ),
        (
            "openai",
            "o3",
            &million,
            batch.clone(),
            "2026-01-01",
            dollars(50),
        ),
        (
            "openai",
            "o3",
            &million,
            batch.clone(),
            "2025-06-01",
            dollars(250),
        ),
        (
            "openai",
            "o3",
            &million,
            on(Some("flex"), None, None),
            "2026-01-01",
            dollars(50),
        ),
        // What a dearer tier cost then is not known.
        (
            "openai",
            "o3",
            &million,
            on(Some("priority"), None, None),
            "2026-01-01",
            at_least(10_000_000_000),
        ),
        (
            "openai",
            "o3",
            &million,
            on(Some("sluggish"), None, None),
            "2026-11-23",
            UNKNOWN,
        ),
        (
            "openai",
            "o3",
            &million,
            on(None, None, Some("eu")),
            "2026-11-23",
            dollars(100),
        ),
        (
            "openai",
            "gpt-5.5",
            &small,
            on(None, None, Some("eu")),
            "2026-11-23",
            priced(3_850_000_000),
        ),
        (
            "groq",
            "openai/gpt-oss-120b",
            &million,
            on(Some("flex"), None, None),
            "2026-11-23",
            priced(750_000_000),
        ),
        (
            "google",
            "gemini-2.5-pro",
            &small,
            on(Some("flex"), None, None),
            "2026-11-23",
            UNKNOWN,
        ),
        (
            "anthropic",
            "claude-opus-5-5",
            &million,
            batch.clone(),
            "2026-11-23",
            dollars(120),
        ),
        (
            "anthropic",
            "claude-opus-4-1",
            &million,
            batch,
            "2026-01-01",
            dollars(450),
        ),
        (
            "anthropic",
            "claude-opus-5-5",
            &million,
            on(Some("priority"), None, None),
            "2026-11-23",
            dollars(240),
        ),
        (
            "anthropic",
            "claude-opus-5-5",
            &million,
            on(None, Some("fast"), None),
            "2026-11-23",
            dollars(480),
        ),
        (
            "anthropic",
            "claude-opus-4-7",
            &million,
            on(None, Some("fast"), None),
            "2026-06-23",
            dollars(1_800),
        ),
        (
            "anthropic",
            "claude-sonnet-5-5",
            &tokens(0, 0),
            on(None, Some("fast"), None),
            "2026-11-23",
            at_least(0),
        ),
        (
            "anthropic",
            "claude-opus-5-5",
            &million,
            on(None, None, Some("us")),
            "2026-11-23",
            dollars(264),
        ),
        (
            "anthropic",
            "claude-opus-5-5",
            &million,
            on(None, None, Some("global")),
            "2026-11-23",
            dollars(240),
        ),
        (
            "anthropic",
            "claude-opus-4-5",
            &million,
            on(None, None, Some("us")),
            "2026-11-23",
            dollars(300),
        ),
    ] {
        let used = Billable {
            terms: &terms,
            completed_ms: day(at),
            ..used(provider, model, usage)
        };
        assert_eq!(cost(&used), expected, "{model} {terms:?} {at}");
    }
    let both = on(None, Some("fast"), Some("us"));
    let used = Billable {
        terms: &both,
        ..used("anthropic", "claude-opus-5-5", &million)
    };
    let price = bundled().cost(&used).price.unwrap();
    assert_eq!(price.service_tier.as_deref(), Some("fast+region us"));
    assert_eq!(price.rates.output, Some(44_000_000_000));
    // Searches have one price on all terms.
    assert_eq!(price.rates.web_search_per_1k, Some(10_000_000_000));
}

#[test]
fn searches_have_a_price_and_other_units_make_a_cost_a_lower_bound() {
    let usage = tokens(1_000, 0);
    let of = |web_searches, unpriced| Units {
        web_searches,
        unpriced,
    };
    for (provider, model, units, expected) in [
        (
            "anthropic",
            "claude-opus-5-5",
            of(Some(3), None),
            priced(34_000_000),
        ),
        (
            "openai",
            "gpt-5.5",
            of(Some(1), Some(0)),
            priced(15_000_000),
        ),
        ("openai", "gpt-5.5", of(None, Some(1)), at_least(5_000_000)),
        ("xai", "grok-4.3", of(Some(1), None), at_least(1_250_000)),
    ] {
        let used = Billable {
            units,
            ..used(provider, model, &usage)
        };
        assert_eq!(cost(&used), expected, "{model} {units:?}");
    }
}
