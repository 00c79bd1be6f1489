//! What models' input costs, remembered by the hour, and how long their prompts may be.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::BTreeMap;

use agent_core::prices::Prices;

const HOUR_MS: i64 = 3_600_000;

/// Prices of uncached input by hour.
type Hours = BTreeMap<i64, Option<u64>>;

/// Prices of uncached input, each looked up once: as many as there are models and hours in what is
/// asked for.
#[derive(Debug)]
pub(super) struct InputRates<P> {
    prices: P,
    /// By provider and model.
    known: RefCell<BTreeMap<String, BTreeMap<String, Hours>>>,
}

impl<P: Borrow<Prices>> InputRates<P> {
    pub(super) fn new(prices: P) -> Self {
        Self {
            prices,
            known: RefCell::default(),
        }
    }

    pub(super) fn prices(&self) -> &Prices {
        self.prices.borrow()
    }

    /// As [`Prices::input_rate`] at the beginning of the hour of `at_ms`.
    pub(super) fn at(&self, provider: &str, model: &str, at_ms: i64) -> Option<u64> {
        let hour = at_ms.div_euclid(HOUR_MS);
        let mut known = self.known.borrow_mut();
        let hours = known
            .get_mut(provider)
            .and_then(|models| models.get_mut(model));
        let look_up = || {
            self.prices()
                .input_rate(provider, model, hour.saturating_mul(HOUR_MS))
        };
        match hours {
            Some(hours) => *hours.entry(hour).or_insert_with(look_up),
            None => {
                let rate = look_up();
                known
                    .entry(provider.to_owned())
                    .or_default()
                    .insert(model.to_owned(), BTreeMap::from([(hour, rate)]));
                rate
            }
        }
    }
}

/// How long prompts of models may be, each looked up once: as many as there are models in what is asked
/// for.
#[derive(Debug)]
pub(super) struct Windows<P> {
    prices: P,
    /// By provider and model.
    known: RefCell<BTreeMap<String, BTreeMap<String, Option<u64>>>>,
}

impl<P: Borrow<Prices>> Windows<P> {
    pub(super) fn new(prices: P) -> Self {
        Self {
            prices,
            known: RefCell::default(),
        }
    }

    /// As [`Prices::window_tokens`].
    pub(super) fn of(&self, provider: &str, model: &str) -> Option<u64> {
        let mut known = self.known.borrow_mut();
        let models = known.get(provider);
        if let Some(window) = models.and_then(|models| models.get(model)) {
            return *window;
        }
        let window = self.prices.borrow().window_tokens(provider, model);
        known
            .entry(provider.to_owned())
            .or_default()
            .insert(model.to_owned(), window);
        window
    }
}
