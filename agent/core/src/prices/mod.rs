//! Stage 5b: what calls cost.
//!
//! *Takes* what a call used, of which provider's model, on which terms, and when it was complete.
//! *Gives* its cost in billionths of a US dollar, how far that can be trusted, and the price. *Remembers*
//! nothing but the prices that it was given. *Nonsense* in a list costs the model its price.
//!
//! A price is looked for first among one's own, then in the list of the provider by the rules of
//! [`names`]. Providers that are on no list sell at prices that nobody here knows, whatever their models
//! are called: their calls have a price only by one's own. The whole prompt decides which prices apply,
//! and all tokens of the call have them. What is missing is never derived from another price: a call
//! that used it costs *at least* so much.

mod calendar;
mod genai;
mod list;
mod names;
mod overrides;
mod rates;
mod rules;
#[cfg(test)]
mod tests;
mod weights;

use std::sync::Arc;

pub use genai::{Error, MAX_LIST_BYTES};
pub use list::{About, Line, List, Sold, Variant, day_ms};
pub use overrides::{Override, Own};
pub use rates::{Applied, MAX_RATE, Rates};
pub use weights::weighted_tokens;

use crate::llm::{LlmCall, Quality, SubKind, Terms, Units, Usage, UsageSource};
use list::{Found, Model};
use rates::{Bill, Fraction, bill};
use rules::On;

/// How far a cost can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CostStatus {
    /// All that is known to have been used has a price.
    Priced,
    /// There is no price for what was used, or nothing is known to have been used.
    #[default]
    Unpriced,
    /// More was used than has a price, or than is known.
    LowerBound,
    /// A price says that it costs nothing.
    Free,
    /// The provider's own figure; there is no price here.
    ProviderReported,
}

impl CostStatus {
    /// Name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Priced => "priced",
            Self::Unpriced => "unpriced",
            Self::LowerBound => "lower_bound",
            Self::Free => "free",
            Self::ProviderReported => "provider_reported",
        }
    }
}

/// The cost of one call, or of one model that ran inside of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Priced {
    /// Cost in billionths of a US dollar; `None` where there is no price, which is never zero.
    pub cost_nanousd: Option<u64>,
    /// How far it can be trusted.
    pub status: CostStatus,
    /// The price; of several that a call was billed by, that of its tokens.
    pub price: Option<Arc<Applied>>,
}

/// What was used of a model, and all that decides what it costs.
#[derive(Clone, Copy, Debug)]
pub struct Billable<'a> {
    /// Who answered.
    pub provider: &'a str,
    /// The model as served, or else as requested.
    pub model: Option<&'a str>,
    /// Tokens.
    pub usage: &'a Usage,
    /// True if no more tokens were used than `usage` holds.
    pub is_complete: bool,
    /// Other units.
    pub units: Units,
    /// Terms.
    pub terms: &'a Terms,
    /// What the provider itself says that it costs.
    pub reported_nanousd: Option<u64>,
    /// When the call was complete, in milliseconds since the Unix epoch.
    pub completed_ms: i64,
}

/// All prices that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prices {
    list: List,
    own: Vec<Override>,
    own_version: Arc<str>,
}

/// An amount of dollars in billionths, by way of the shortest digits that read back as the same
/// number: those that were written. `None` for what is no price.
pub fn nanousd_of(dollars: f64) -> Option<u64> {
    crate::llm::nanousd(&dollars.to_string()).filter(|price| *price <= MAX_RATE)
}

/// Name of the source of one's own prices.
const OWN: &str = "configuration";

impl Prices {
    /// The prices of a list, and before them one's own.
    pub fn new(list: List, own: Vec<Override>) -> Self {
        Self {
            list,
            own,
            own_version: Arc::from("-"),
        }
    }

    /// The list.
    pub const fn list(&self) -> &List {
        &self.list
    }

    /// One's own prices.
    pub fn own(&self) -> &[Override] {
        &self.own
    }

    /// Tokens that the window of a model holds, if the list says it. Some models have a larger one that
    /// a request has to ask for.
    pub fn window_tokens(&self, provider: &str, model: &str) -> Option<u64> {
        self.list.find(provider, model)?.1.window_tokens
    }

    /// What a call cost, and each model that ran inside of it.
    pub fn call(&self, call: &LlmCall, completed_ms: i64) -> (Priced, Vec<Priced>) {
        let is_exact = |estimate: Option<crate::llm::Estimate>| {
            estimate.is_none_or(|estimate| estimate.quality != Quality::LowerBound)
        };
        let is_complete = match call.usage_source {
            UsageSource::Provider => true,
            UsageSource::Estimated => {
                let is_known = call.usage.input_uncached.is_some() && call.usage.output.is_some();
                is_known && is_exact(call.estimates.input) && is_exact(call.estimates.output)
            }
            UsageSource::ProviderPartial | UsageSource::None => false,
        };
        let model = call.model();
        let billable = Billable {
            provider: call.provider.0,
            model,
            usage: &call.usage,
            is_complete,
            units: call.units,
            terms: &call.terms,
            reported_nanousd: call.reported_cost_nanousd,
            completed_ms,
        };
        let parts = call.sub_inferences.iter().map(|part| {
            // A picture is made by a model of its own, named or not.
            let own = match part.kind {
                SubKind::Image => None,
                SubKind::Compaction | SubKind::Advisor => model,
            };
            self.cost(&Billable {
                model: part.model.as_deref().or(own),
                usage: &part.usage,
                units: Units::default(),
                reported_nanousd: None,
                ..billable
            })
        });
        (self.cost(&billable), parts.collect())
    }

    /// What something cost.
    pub fn cost(&self, used: &Billable<'_>) -> Priced {
        let is_anything_known = used.usage.input().is_some()
            || used.usage.output.is_some()
            || used.units != Units::default();
        let price = is_anything_known.then(|| self.price(used)).flatten();
        let reported = || match used.reported_nanousd {
            Some(cost) if cost <= crate::llm::MAX_COST_NANOUSD => Priced {
                cost_nanousd: Some(cost),
                status: CostStatus::ProviderReported,
                price: None,
            },
            Some(_) | None => Priced::default(),
        };
        let Some(price) = price else {
            return reported();
        };
        let bill = bill(&price.applied.rates, used.usage, used.units);
        let Bill { nanousd, .. } = bill;
        if !bill.is_any_priced {
            return reported();
        }
        let is_lower = bill.is_incomplete || price.is_partial || !used.is_complete;
        let status = match (bill.is_free, bill.is_incomplete || price.is_partial) {
            (true, false) => CostStatus::Free,
            (true, true) => CostStatus::LowerBound,
            (false, _) if is_lower => CostStatus::LowerBound,
            (false, _) => CostStatus::Priced,
        };
        Priced {
            cost_nanousd: Some(nanousd.min(crate::llm::MAX_COST_NANOUSD)),
            status,
            price: Some(Arc::new(price.applied)),
        }
    }

    /// The price that applies to something.
    fn price(&self, used: &Billable<'_>) -> Option<Price> {
        let model = used.model?;
        let prompt = used.usage.input().unwrap_or(0);
        let at_ms = used.completed_ms;
        let fits = |own: &&Override| own.fits(used.provider, model, at_ms, prompt);
        let Some(own) = self.own.iter().find(fits) else {
            return self.listed(used.provider, model, used);
        };
        match &own.price {
            Own::Rates(rates) => {
                let applied = Applied {
                    key: String::new(),
                    provider: cut(used.provider, 64),
                    model: cut(model, 128),
                    service_tier: None,
                    context_over: own.context_over,
                    valid_from_ms: own.valid_from_ms,
                    valid_to_ms: own.valid_until_ms,
                    rates: *rates,
                    source: Arc::from(OWN),
                    source_version: Arc::clone(&self.own_version),
                    as_of_ms: None,
                };
                Some(Price {
                    applied: applied.with_key(),
                    is_partial: false,
                })
            }
            Own::Like {
                provider,
                model: other,
                milli,
            } => {
                let provider = provider.as_deref().unwrap_or(used.provider);
                let model = other.as_deref().unwrap_or(model);
                let mut price = self.listed(provider, model, used)?;
                let applied = &mut price.applied;
                let factor = Fraction::new(*milli, 1_000);
                applied.rates = applied.rates.times(factor);
                let per_search = applied.rates.web_search_per_1k;
                applied.rates.web_search_per_1k = per_search.map(|rate| factor.of(rate));
                applied.source = Arc::from(format!("{OWN}, {}", applied.source));
                price.applied = price.applied.with_key();
                Some(price)
            }
        }
    }

    /// The price in the list.
    fn listed(&self, provider: &str, name: &str, used: &Billable<'_>) -> Option<Price> {
        let (listed, model) = self.list.find(provider, name)?;
        let on = On::of(listed, used.terms);
        let prompt = used.usage.input().unwrap_or(0);
        let (mut found, mut label) = on_terms(listed, model, on, used.completed_ms, prompt)?;
        if on.is_fast {
            label.push("fast");
            match rules::fast(listed, &model.id) {
                Some(factor) => found.rates = found.rates.times(factor),
                // It is dearer than standard, by how much is not known.
                None => found.is_partial = true,
            }
        }
        let region = rules::region(listed, &model.id, used.terms.region.as_deref());
        let region = region.map(|(region, factor)| {
            found.rates = found.rates.times(factor);
            format!("region {}", cut(region, 32))
        });
        label.extend(region.as_deref());
        let applied = Applied {
            key: String::new(),
            provider: listed.to_owned(),
            model: model.id.clone(),
            service_tier: (!label.is_empty()).then(|| label.join("+")),
            context_over: found.context_over,
            valid_from_ms: found.valid_from_ms,
            valid_to_ms: found.valid_to_ms,
            rates: found.rates,
            source: Arc::clone(&self.list.about.source),
            source_version: Arc::clone(&self.list.about.version),
            as_of_ms: self.list.about.as_of_ms,
        };
        Some(Price {
            applied: applied.with_key(),
            is_partial: found.is_partial,
        })
    }
}

/// A price that applies.
struct Price {
    applied: Applied,
    /// True if more is billed than it tells.
    is_partial: bool,
}

/// The prices of a model on the terms of a call, and the words for them. Where a tier has no price,
/// the standard one is the least that a dearer tier costs; of a cheaper one, and of one that is not
/// known, nothing is.
fn on_terms<'w>(
    listed: &str,
    model: &Model,
    on: On,
    at_ms: i64,
    prompt: u64,
) -> Option<(Found, Vec<&'w str>)> {
    if on.is_strange {
        return None;
    }
    let mut standard = model.standard(at_ms, prompt)?;
    standard.rates = rules::completed(listed, standard.rates);
    let Some(variant) = on.variant else {
        return Some((standard, Vec::new()));
    };
    let label = vec![variant.as_str()];
    if let Some(mut found) = model.on(variant, at_ms, prompt) {
        found.rates = rules::completed(listed, found.rates);
        return Some((found, label));
    }
    match variant {
        Variant::Batch if listed == "anthropic" => {
            standard.rates = standard.rates.times(rules::HALF);
            Some((standard, label))
        }
        Variant::Batch | Variant::Flex => None,
        Variant::Priority | Variant::Fast => {
            standard.is_partial = true;
            Some((standard, label))
        }
    }
}

/// A text without what is beyond so many bytes.
fn cut(text: &str, bytes: usize) -> String {
    text.get(..text.floor_char_boundary(bytes))
        .unwrap_or_default()
        .to_owned()
}
