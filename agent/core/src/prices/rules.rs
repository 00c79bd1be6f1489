//! What lists do not say, and providers' documentation does.
//!
//! Sources: Anthropic, "Pricing" (fast mode, data residency, batches) and its announcement of fast
//! mode for each model; OpenAI, "Pricing" and "Data residency"; DeepSeek, "Models & pricing" of
//! 2026-08 to 2026-10 (hours, working days); Groq, "Flex Processing". The multiples of fast mode and of
//! writes for twelve hours, and DeepSeek's calendar, agree with model-prices 0.0.5 (MIT, after
//! models.dev, MIT).

use super::list::{Variant, When};
use super::rates::{Fraction, Rates};
use crate::llm::Terms;

/// Models of Anthropic with a fast mode, and what multiple of the standard price it costs.
const FAST: &[(&str, u64)] = &[
    ("claude-opus-4-6", 6),
    ("claude-opus-4-7", 6),
    ("claude-opus-4-8", 2),
    ("claude-opus-5", 2),
    ("claude-opus-5-5", 2),
];

/// Models of Anthropic that cost the same wherever they run: those before 4.6.
const ANTHROPIC_WITHOUT_REGIONS: &[&str] =
    &["claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5"];

/// Beginnings of the names of OpenAI's models since 2026-03-05, which cost more in a region.
const OPENAI_WITH_REGIONS: &[&str] = &["gpt-5.4", "gpt-5.5", "gpt-5.6", "gpt-6"];

/// What inference in a region costs: a tenth more.
const IN_REGION: Fraction = Fraction::new(11, 10);

/// Twelve hours in OpenAI's cache cost two and a half times uncached input.
const TWELVE_HOURS: Fraction = Fraction::new(5, 2);

/// What a batch of Anthropic costs, as long as there have been batches.
pub(super) const HALF: Fraction = Fraction::new(1, 2);

/// DeepSeek's peak hours in UTC, in milliseconds: 9 to 12 and 14 to 18 o'clock in Beijing.
const PEAK_HOURS: [(i64, i64); 2] = [(3_600_000, 4 * 3_600_000), (6 * 3_600_000, 10 * 3_600_000)];

/// When a price holds, where the list says it without the days.
pub(super) fn on_days(listed: &str, when: When) -> When {
    match when {
        When::Daily { from_ms, to_ms }
            if listed == "deepseek" && PEAK_HOURS.contains(&(from_ms, to_ms)) =>
        {
            When::Working { from_ms, to_ms }
        }
        When::Always | When::Since(_) | When::Daily { .. } | When::Working { .. } => when,
    }
}

/// The terms on which a call was served, as far as they change its price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct On {
    /// A tier that a list may have.
    pub(super) variant: Option<Variant>,
    /// True if the tier has a name that is not known here.
    pub(super) is_strange: bool,
    /// True if it was served at a speed that costs more.
    pub(super) is_fast: bool,
}

impl On {
    pub(super) fn of(provider: &str, terms: &Terms) -> Self {
        let tier = terms.service_tier.as_deref().map(str::to_ascii_lowercase);
        let (variant, is_strange) = match tier.as_deref() {
            // Anthropic's priority is capacity that is paid for in advance: its tokens are counted at
            // the standard price.
            Some("priority") if provider == "anthropic" => (None, false),
            // Groq's costs what its standard tier does.
            Some("flex") if provider == "groq" => (None, false),
            None
            | Some(
                "default"
                | "standard"
                | "auto"
                | "on_demand"
                | "scale"
                | "provisioned_throughput"
                | "reserved"
                | "",
            ) => (None, false),
            Some("batch") => (Some(Variant::Batch), false),
            Some("flex" | "on_demand_flex") => (Some(Variant::Flex), false),
            Some("priority" | "on_demand_priority") => (Some(Variant::Priority), false),
            Some("fast") => (Some(Variant::Fast), false),
            Some(_) => (None, true),
        };
        let speed = terms.speed.as_deref();
        Self {
            variant: if terms.is_batch {
                Some(Variant::Batch)
            } else {
                variant
            },
            is_strange,
            is_fast: speed.is_some_and(|speed| speed.eq_ignore_ascii_case("fast")),
        }
    }
}

/// The multiple of the standard price that a model's fast mode costs.
pub(super) fn fast(listed: &str, model: &str) -> Option<Fraction> {
    let known = FAST
        .iter()
        .find(|(fast, _)| *fast == model && listed == "anthropic")?;
    Some(Fraction::new(known.1, 1))
}

/// What it costs more that a model runs in a region, and the region; `None` if it does not.
pub(super) fn region<'r>(
    provider: &str,
    model: &str,
    region: Option<&'r str>,
) -> Option<(&'r str, Fraction)> {
    let region = region?;
    let costs_more = match provider {
        "anthropic" => {
            let is_later = !model.starts_with("claude-3")
                && !model.starts_with("claude-2")
                && !model.ends_with("-4-0")
                && !model.ends_with("-4-1")
                && !ANTHROPIC_WITHOUT_REGIONS.contains(&model);
            region.eq_ignore_ascii_case("us") && is_later
        }
        "openai" => OPENAI_WITH_REGIONS
            .iter()
            .any(|begins| model.starts_with(begins)),
        _ => false,
    };
    costs_more.then_some((region, IN_REGION))
}

/// Prices with those that follow from others by the provider's own rule.
pub(super) fn completed(listed: &str, mut rates: Rates) -> Rates {
    if listed == "openai" && rates.cache_write_other.is_some() && rates.cache_write_12h.is_none() {
        rates.cache_write_12h = rates.input_uncached.map(|rate| TWELVE_HOURS.of(rate));
    }
    rates
}
