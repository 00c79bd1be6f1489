//! What holds of all costs.

use proptest::prelude::*;

use super::*;

fn any_tokens() -> impl Strategy<Value = Usage> {
    let count = || prop_oneof![Just(0), 0..400_000_u64, Just(100_000_000), Just(u64::MAX)];
    (
        count(),
        count(),
        count(),
        count(),
        count(),
        count(),
        count(),
        count(),
    )
        .prop_map(
            |(input, read, write, hour, other, half_day, output, audio)| Usage {
                input_uncached: Some(input),
                cache_read: Some(read),
                cache_write_5m: Some(write),
                cache_write_1h: Some(hour),
                cache_write_other: Some(other),
                cache_write_12h: Some(half_day),
                output: Some(output),
                audio_input: Some(audio),
                ..Usage::default()
            },
        )
}

const MODELS: [(&str, &str); 6] = [
    ("anthropic", "claude-haiku-5-5"),
    ("anthropic", "claude-opus-5-5"),
    ("openai", "gpt-5.6-sol"),
    ("openai", "gpt-audio"),
    ("google", "gemini-2.5-pro"),
    ("xai", "grok-4.3"),
];

proptest! {
    #[test]
    fn more_tokens_never_cost_less_and_no_number_overflows(
        usage in any_tokens(),
        more in 0..100_000_u64,
        which in 0..MODELS.len(),
    ) {
        let prices = bundled_once();
        let (provider, model) = MODELS[which];
        let cost = |usage: &Usage| prices.cost(&used(provider, model, usage)).cost_nanousd;
        let larger = Usage {
            input_uncached: usage.input_uncached.map(|input| input.saturating_add(more)),
            output: usage.output.map(|output| output.saturating_add(more)),
            ..usage
        };
        prop_assert!(cost(&usage) <= cost(&larger));
        prop_assert!(cost(&larger) <= Some(crate::llm::MAX_COST_NANOUSD));
    }

    #[test]
    fn a_whole_costs_what_its_parts_cost(
        input in 0..90_000_u64,
        output in 0..90_000_u64,
        read in 0..9_000_u64,
        which in 0..MODELS.len(),
    ) {
        let prices = bundled_once();
        let (provider, model) = MODELS[which];
        let cost = |usage: &Usage| prices.cost(&used(provider, model, usage)).cost_nanousd.unwrap_or(0);
        let cached = Usage { cache_read: Some(read), ..tokens(0, 0) };
        let whole = Usage { cache_read: Some(read), ..tokens(input, output) };
        let parts = cost(&tokens(input, 0)) + cost(&tokens(0, output)) + cost(&cached);
        // Each is rounded once, by half a billionth of a dollar at most.
        prop_assert!(cost(&whole).abs_diff(parts) <= 2);
    }
}
