//! What one token costs, and what a number of them does.

use std::sync::Arc;

use crate::llm::{Units, Usage};

/// Prices of the classes of tokens, in billionths of a US dollar per million tokens, and of web
/// searches per thousand. `None` is no price, which is never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rates {
    /// Input that no cache was involved in.
    pub input_uncached: Option<u64>,
    /// Input from a cache.
    pub cache_read: Option<u64>,
    /// Input written to a cache for five minutes.
    pub cache_write_5m: Option<u64>,
    /// For an hour.
    pub cache_write_1h: Option<u64>,
    /// For twelve hours.
    pub cache_write_12h: Option<u64>,
    /// For another time, or one that is not told.
    pub cache_write_other: Option<u64>,
    /// Output, reasoning included.
    pub output: Option<u64>,
    /// Sound in the input, where it has a price of its own; else it costs what text does.
    pub audio_input: Option<u64>,
    /// Sound in the output, likewise.
    pub audio_output: Option<u64>,
    /// Pictures in the input, likewise.
    pub image_input: Option<u64>,
    /// Pictures in the output, likewise.
    pub image_output: Option<u64>,
    /// A thousand web searches by the provider.
    pub web_search_per_1k: Option<u64>,
}

/// LIMIT: a million dollars per million tokens; what costs more is a mistake, and refused. With the
/// limits of what a call may claim to have used, no product leaves 128 bits.
pub const MAX_RATE: u64 = crate::llm::MAX_COST_NANOUSD;

impl Rates {
    /// The prices of tokens, all but that of searches, to be changed at once.
    pub(super) fn tokens_mut(&mut self) -> [&mut Option<u64>; 11] {
        [
            &mut self.input_uncached,
            &mut self.cache_read,
            &mut self.cache_write_5m,
            &mut self.cache_write_1h,
            &mut self.cache_write_12h,
            &mut self.cache_write_other,
            &mut self.output,
            &mut self.audio_input,
            &mut self.audio_output,
            &mut self.image_input,
            &mut self.image_output,
        ]
    }

    /// All prices, in the order of the fields.
    pub fn all(&self) -> [Option<u64>; 12] {
        let mut copy = *self;
        let tokens = copy.tokens_mut().map(|rate| *rate);
        let mut all = [None; 12];
        for (slot, rate) in all
            .iter_mut()
            .zip(tokens.into_iter().chain([self.web_search_per_1k]))
        {
            *slot = rate;
        }
        all
    }

    /// The prices of tokens times a fraction, rounded to the nearest.
    #[must_use]
    pub(super) fn times(mut self, factor: Fraction) -> Self {
        for rate in self.tokens_mut() {
            *rate = rate.map(|rate| factor.of(rate));
        }
        self
    }

    /// These prices, and those of `under` where there are none.
    #[must_use]
    pub(super) fn or(mut self, mut under: Self) -> Self {
        for (rate, below) in self.tokens_mut().into_iter().zip(under.tokens_mut()) {
            *rate = rate.or(*below);
        }
        self.web_search_per_1k = self.web_search_per_1k.or(under.web_search_per_1k);
        self
    }

    /// True if it says that tokens cost nothing.
    fn is_free(&self) -> bool {
        self.input_uncached == Some(0) && self.all().into_iter().flatten().all(|rate| rate == 0)
    }

    /// True if nothing has a price.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A factor that is no whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fraction {
    pub(super) numerator: u64,
    /// Not zero.
    pub(super) denominator: u64,
}

impl Fraction {
    pub(super) const fn new(numerator: u64, denominator: u64) -> Self {
        Self {
            numerator,
            denominator,
        }
    }

    /// A number times the factor, rounded to the nearest, a half up.
    pub(super) fn of(self, number: u64) -> u64 {
        let product = u128::from(number) * u128::from(self.numerator);
        divided(product, u128::from(self.denominator.max(1)))
    }
}

/// A quotient, rounded to the nearest, a half up.
fn divided(dividend: u128, divisor: u128) -> u64 {
    let rounded = dividend.saturating_add(divisor / 2) / divisor;
    u64::try_from(rounded).unwrap_or(u64::MAX)
}

/// A price that a call was priced with: what the ledger keeps of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its key: two prices that differ in anything have different keys. At most 256 bytes.
    pub key: String,
    /// Whose price it is; at most 64 bytes.
    pub provider: String,
    /// Of which model; at most 128 bytes.
    pub model: String,
    /// What makes it differ from the standard price: a tier of service, a speed, a region. Joined
    /// by `+`.
    pub service_tier: Option<String>,
    /// It is that of prompts with more tokens than this.
    pub context_over: Option<u64>,
    /// First moment, in milliseconds since the Unix epoch; `None` if it is not known to begin.
    pub valid_from_ms: Option<i64>,
    /// First moment after it; `None` if it is not known to end.
    pub valid_to_ms: Option<i64>,
    /// Prices.
    pub rates: Rates,
    /// Who says so.
    pub source: Arc<str>,
    /// Version of the source.
    pub source_version: Arc<str>,
    /// The day of the list, in milliseconds since the Unix epoch.
    pub as_of_ms: Option<i64>,
}

impl Applied {
    /// The same with its key set.
    #[must_use]
    pub(super) fn with_key(mut self) -> Self {
        let mut hash = Hash::default();
        for rate in self.rates.all() {
            hash.push(rate.unwrap_or(u64::MAX));
        }
        hash.push(self.context_over.unwrap_or(u64::MAX));
        for time in [self.valid_from_ms, self.valid_to_ms, self.as_of_ms] {
            hash.push(time.map_or(u64::MAX, i64::cast_unsigned));
        }
        for text in [&*self.source, &*self.source_version] {
            for byte in text.bytes() {
                hash.push(u64::from(byte));
            }
            hash.push(u64::MAX);
        }
        let tier = self.service_tier.as_deref().map(|tier| format!(":{tier}"));
        self.key = format!(
            "{}/{}{}#{:016x}",
            self.provider,
            self.model,
            tier.unwrap_or_default(),
            hash.0
        );
        self
    }
}

/// FNV-1a of 64 bits over words: it tells price rows apart, and nobody gains by a collision.
struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    fn push(&mut self, word: u64) {
        for byte in word.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// What tokens and searches cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bill {
    /// In billionths of a dollar.
    pub(super) nanousd: u64,
    /// True if something was used that has no price.
    pub(super) is_incomplete: bool,
    /// True if something was used that has one, or nothing was used at all.
    pub(super) is_any_priced: bool,
    /// True if the price says that it costs nothing.
    pub(super) is_free: bool,
}

/// The bill of what one call used. The products are added up exactly and divided once, so that the
/// whole is off by half a billionth of a dollar at most.
pub(super) fn bill(rates: &Rates, usage: &Usage, units: Units) -> Bill {
    let mut sum = Sum::default();
    let of = |tokens: Option<u64>| tokens.unwrap_or(0);
    let input = Parts {
        text: of(usage.input_uncached),
        audio: rates.audio_input.map_or(0, |_| of(usage.audio_input)),
        image: rates.image_input.map_or(0, |_| of(usage.image_input)),
    };
    let cached = of(usage.cache_read);
    if cached > 0 && input.audio.saturating_add(input.image) > 0 {
        // How much of the sound or of the pictures was cached is not told: as much as could be.
        sum.is_incomplete = true;
    }
    let input = input.behind(cached).within();
    sum.add(input.text, rates.input_uncached);
    sum.add(input.audio, rates.audio_input);
    sum.add(input.image, rates.image_input);
    sum.add(cached, rates.cache_read);
    sum.add(of(usage.cache_write_5m), rates.cache_write_5m);
    sum.add(of(usage.cache_write_1h), rates.cache_write_1h);
    let other = of(usage.cache_write_other);
    let twelve_hours = of(usage.cache_write_12h).min(other);
    sum.add(twelve_hours, rates.cache_write_12h);
    sum.add(other.saturating_sub(twelve_hours), rates.cache_write_other);
    let output = Parts {
        text: of(usage.output),
        audio: rates.audio_output.map_or(0, |_| of(usage.audio_output)),
        image: rates.image_output.map_or(0, |_| of(usage.image_output)),
    }
    .within();
    sum.add(output.text, rates.output);
    sum.add(output.audio, rates.audio_output);
    sum.add(output.image, rates.image_output);
    // A thousand searches have the price that a million tokens would have.
    let searches = of(units.web_searches).saturating_mul(1_000);
    sum.add(searches, rates.web_search_per_1k);
    if of(units.unpriced) > 0 {
        sum.is_incomplete = true;
    }
    Bill {
        nanousd: divided(sum.product, 1_000_000),
        is_incomplete: sum.is_incomplete,
        is_any_priced: sum.is_any_priced || !sum.is_incomplete,
        is_free: rates.is_free(),
    }
}

/// The kinds of content of one side of a call.
#[derive(Clone, Copy)]
struct Parts {
    text: u64,
    audio: u64,
    image: u64,
}

impl Parts {
    /// What of the sound and pictures is not in a cache that may hold all of them.
    fn behind(self, cached: u64) -> Self {
        let rest = cached.saturating_sub(self.audio);
        Self {
            audio: self.audio.saturating_sub(cached),
            image: self.image.saturating_sub(rest),
            ..self
        }
    }

    /// With `text` as what is no other kind; a part is never more than the whole.
    fn within(self) -> Self {
        let audio = self.audio.min(self.text);
        let image = self.image.min(self.text.saturating_sub(audio));
        Self {
            text: self.text.saturating_sub(audio).saturating_sub(image),
            audio,
            image,
        }
    }
}

#[derive(Default)]
struct Sum {
    /// In billionths of a dollar, times a million.
    product: u128,
    is_incomplete: bool,
    is_any_priced: bool,
}

impl Sum {
    fn add(&mut self, tokens: u64, rate: Option<u64>) {
        match rate {
            _ if tokens == 0 => {}
            Some(rate) => {
                let product = u128::from(tokens).saturating_mul(u128::from(rate));
                self.product = self.product.saturating_add(product);
                self.is_any_priced = true;
            }
            None => self.is_incomplete = true,
        }
    }
}
