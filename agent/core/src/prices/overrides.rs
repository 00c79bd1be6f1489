//! Prices of one's own: negotiated ones, those of private models, and others' for a gateway.

use super::rates::Rates;
use crate::glob;

/// A price of one's own. The first one that fits a call counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Override {
    /// Pattern of the provider; any provider if there is none.
    pub provider: Option<String>,
    /// Pattern of the model.
    pub model: String,
    /// First moment, in milliseconds since the Unix epoch.
    pub valid_from_ms: Option<i64>,
    /// First moment after it.
    pub valid_until_ms: Option<i64>,
    /// Only for prompts with more tokens than this.
    pub context_over: Option<u64>,
    /// What it says.
    pub price: Own,
}

/// What a price of one's own says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Own {
    /// Prices, whatever the terms.
    Rates(Rates),
    /// Part of what the list says, in thousandths, on all terms.
    Like {
        /// The provider in the list; the call's own if there is none.
        provider: Option<String>,
        /// The model; the call's own if there is none.
        model: Option<String>,
        /// Thousandths of the price in the list.
        milli: u64,
    },
}

impl Default for Own {
    fn default() -> Self {
        Self::Rates(Rates::default())
    }
}

impl Override {
    /// Whether it is the price of a model at a time, for a prompt.
    pub(super) fn fits(&self, provider: &str, model: &str, at_ms: i64, prompt: u64) -> bool {
        self.provider
            .as_deref()
            .is_none_or(|pattern| is_like(pattern, provider))
            && is_like(&self.model, model)
            && self.valid_from_ms.is_none_or(|from_ms| at_ms >= from_ms)
            && self.valid_until_ms.is_none_or(|until_ms| at_ms < until_ms)
            && self.context_over.is_none_or(|over| prompt > over)
    }
}

/// Whether a name fits a pattern; case counts for nothing.
fn is_like(pattern: &str, name: &str) -> bool {
    glob::matches(&pattern.to_ascii_lowercase(), &name.to_ascii_lowercase())
}
