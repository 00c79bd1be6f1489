//! Tokens in terms of uncached input, so that those of all classes and models add up to one figure.

use super::{Billable, Prices};
use crate::llm::{Terms, Units, Usage};

/// What a token of each class counts where no price tells, in hundredths of one of uncached input.
const USUAL: Weights = Weights {
    input_uncached: 100,
    cache_read: 10,
    cache_write_5m: 125,
    cache_write_1h: 200,
    cache_write_other: 125,
    output: 500,
};

struct Weights {
    input_uncached: u128,
    cache_read: u128,
    cache_write_5m: u128,
    cache_write_1h: u128,
    cache_write_other: u128,
    output: u128,
}

impl Prices {
    /// The price of a million tokens of uncached input in a short prompt on standard terms, in
    /// billionths of a US dollar.
    pub fn input_rate(&self, provider: &str, model: &str, at_ms: i64) -> Option<u64> {
        let usage = Usage {
            input_uncached: Some(1),
            ..Usage::default()
        };
        let priced = self.cost(&Billable {
            provider,
            model: Some(model),
            usage: &usage,
            is_complete: true,
            units: Units::default(),
            terms: &Terms::default(),
            reported_nanousd: None,
            completed_ms: at_ms,
        });
        priced.price?.rates.input_uncached
    }
}

/// Weighted tokens: the cost in tokens of uncached input at `input_rate` (see
/// [`Prices::input_rate`]). Where the cost or that price is not known, the classes count 1, 0.1,
/// 1.25, 2, 1.25 and 5; `None` if nothing is known.
pub fn weighted_tokens(
    usage: &Usage,
    cost_nanousd: Option<u64>,
    input_rate: Option<u64>,
) -> Option<u64> {
    let rate = input_rate.filter(|rate| *rate > 0);
    if let (Some(cost), Some(rate)) = (cost_nanousd, rate) {
        let tokens = u128::from(cost) * 1_000_000 / u128::from(rate);
        return Some(u64::try_from(tokens).unwrap_or(u64::MAX));
    }
    [
        (usage.input_uncached, USUAL.input_uncached),
        (usage.cache_read, USUAL.cache_read),
        (usage.cache_write_5m, USUAL.cache_write_5m),
        (usage.cache_write_1h, USUAL.cache_write_1h),
        (usage.cache_write_other, USUAL.cache_write_other),
        (usage.output, USUAL.output),
    ]
    .into_iter()
    .filter_map(|(tokens, weight)| Some(u128::from(tokens?) * weight))
    .reduce(u128::saturating_add)
    .map(|hundredths| u64::try_from(hundredths / 100).unwrap_or(u64::MAX))
}
