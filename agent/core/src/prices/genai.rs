//! Reads the lists of genai-prices: the JSON that its packages carry and that its project publishes.
//! No other file knows that format.
//!
//! Its amounts are US dollars per million tokens, written as decimal numbers. They become integers by
//! way of their decimal digits, so that no binary fraction is multiplied. Of the rules by which it
//! recognises the names of models only those are taken that say what a name is; what a name begins
//! with or holds says nothing about a model that is on no list.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use super::list::{About, Entry, List, Model, Models, Variant, When, day_ms, time_ms};
use super::nanousd_of;
use super::rates::Rates;
use super::rules;

/// The list that this build carries: the data file of the package genai-prices, as it was published.
const BUNDLED: &str = include_str!("data/genai-prices-0.2.1.json");

/// Its version.
const BUNDLED_VERSION: &str = "0.2.1";

/// The day on which it was published.
const BUNDLED_DAY: &str = "2026-10-30";

/// Name of the source.
pub(super) const SOURCE: &str = "genai-prices";

/// LIMIT: bytes of a list. The one of this build has less than one megabyte.
pub const MAX_LIST_BYTES: u64 = 16 << 20;

/// LIMIT: bytes of the name of a provider; longer ones are left out.
const PROVIDER_BYTES: usize = 64;
/// LIMIT: bytes of the name of a model, likewise.
const MODEL_BYTES: usize = 128;

/// Why a text is no list of prices.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has another form.
    #[error("it is no list of genai-prices (an array of providers with their models)")]
    Form(#[source] serde_json::Error),
    /// Nothing in it has a price.
    #[error("no model in it has a price")]
    Empty,
}

impl List {
    /// The list that this build carries.
    pub fn bundled() -> Self {
        // It is read by a test; without it no model has a price, and that is said.
        Self::from_json(BUNDLED, About::bundled()).unwrap_or_default()
    }

    /// Reads a list.
    ///
    /// # Errors
    /// All of [`Error`].
    pub fn from_json(text: &str, about: About) -> Result<Self, Error> {
        let providers: Vec<Provider> = serde_json::from_str(text).map_err(Error::Form)?;
        let mut list = Self {
            about,
            ..Self::default()
        };
        for provider in providers {
            let written = provider.models.len();
            let models = provider.models();
            list.left_out += written.saturating_sub(models.iter().count());
            if provider.id.len() <= PROVIDER_BYTES && models.iter().next().is_some() {
                list.providers.insert(provider.id, models);
            }
        }
        if list.providers.is_empty() {
            return Err(Error::Empty);
        }
        Ok(list)
    }
}

impl About {
    /// What is said of the list that this build carries.
    pub fn bundled() -> Self {
        Self {
            source: Arc::from(SOURCE),
            version: Arc::from(BUNDLED_VERSION),
            as_of_ms: day_ms(BUNDLED_DAY),
        }
    }
}

#[derive(Deserialize)]
struct Provider {
    id: String,
    models: Vec<ListedModel>,
}

impl Provider {
    fn models(&self) -> Models {
        let mut models = Models::default();
        let mut aliases = Vec::new();
        for listed in &self.models {
            let Some(mut model) = listed.model() else {
                continue;
            };
            for entry in model.entries_mut() {
                entry.when = rules::on_days(&self.id, entry.when);
            }
            aliases.push(listed.names.names());
            models.add(model);
        }
        let exact =
            |(place, (exact, _)): (usize, &(Vec<String>, Vec<String>))| (place, exact.clone());
        let begins =
            |(place, (_, begins)): (usize, &(Vec<String>, Vec<String>))| (place, begins.clone());
        let exact: Vec<_> = aliases.iter().enumerate().map(exact).collect();
        let begins: Vec<_> = aliases.iter().enumerate().map(begins).collect();
        for (place, names) in exact.into_iter().chain(begins) {
            for name in names {
                models.also(place, &name);
            }
        }
        models
    }
}

#[derive(Deserialize)]
struct ListedModel {
    id: String,
    #[serde(rename = "match", default)]
    names: Names,
    prices: Prices,
    #[serde(default)]
    price_variants: Vec<ListedVariant>,
    /// A value that is no number costs the model nothing.
    context_window: Option<serde_json::Value>,
}

impl ListedModel {
    /// The model, unless something of it is not understood.
    fn model(&self) -> Option<Model> {
        let is_named = !self.id.is_empty() && self.id.len() <= MODEL_BYTES;
        let standard = match &self.prices {
            Prices::Always(amounts) => vec![amounts.entry(When::Always)?],
            Prices::Dated(dated) => {
                let entries = dated.iter().map(|dated| {
                    let when = dated.constraint.as_ref();
                    dated
                        .prices
                        .entry(when.map_or(Some(When::Always), Constraint::when)?)
                });
                entries.collect::<Option<Vec<_>>>()?
            }
        };
        let has_prices = standard.iter().any(|entry| !entry.base.is_empty());
        let variants = self
            .price_variants
            .iter()
            .filter_map(ListedVariant::variant);
        (is_named && has_prices).then(|| Model {
            id: self.id.clone(),
            standard,
            variants: variants.collect(),
            window_tokens: self
                .context_window
                .as_ref()
                .and_then(serde_json::Value::as_u64)
                .filter(|tokens| *tokens > 0),
        })
    }
}

/// What tells the names of a model. Rules of other kinds are passed over.
#[derive(Default, Deserialize)]
struct Names {
    equals: Option<String>,
    starts_with: Option<String>,
    #[serde(default)]
    or: Vec<Self>,
}

impl Names {
    /// Other names of the model, and beginnings of names, which are names themselves.
    fn names(&self) -> (Vec<String>, Vec<String>) {
        let mut exact: Vec<String> = self.equals.iter().cloned().collect();
        let mut begins: Vec<String> = self.starts_with.iter().cloned().collect();
        for one in &self.or {
            let (more_exact, more_begins) = one.names();
            exact.extend(more_exact);
            begins.extend(more_begins);
        }
        (exact, begins)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Prices {
    Dated(Vec<Dated>),
    Always(Amounts),
}

#[derive(Deserialize)]
struct Dated {
    constraint: Option<Constraint>,
    prices: Amounts,
}

#[derive(Deserialize)]
struct ListedVariant {
    when: BTreeMap<String, String>,
    constraint: Option<Constraint>,
    prices: Amounts,
}

impl ListedVariant {
    /// Terms that can be told from a call, and their prices.
    fn variant(&self) -> Option<(Variant, Entry)> {
        let mut conditions = self.when.iter();
        let condition = conditions.next()?;
        if conditions.next().is_some() {
            return None;
        }
        let variant = match (condition.0.as_str(), condition.1.as_str()) {
            ("processing", "batch") => Variant::Batch,
            ("service_tier", "flex") => Variant::Flex,
            ("service_tier", "priority") => Variant::Priority,
            ("service_tier", "fast") => Variant::Fast,
            _ => return None,
        };
        let when = self.constraint.as_ref();
        let when = when.map_or(Some(When::Always), Constraint::when)?;
        Some((variant, self.prices.entry(when)?))
    }
}

#[derive(Deserialize)]
struct Constraint {
    start_date: Option<String>,
    start_time: Option<String>,
    end_time: Option<String>,
}

impl Constraint {
    fn when(&self) -> Option<When> {
        match (&self.start_date, &self.start_time, &self.end_time) {
            (Some(date), None, None) => Some(When::Since(day_ms(date)?)),
            (None, Some(from), Some(to)) => Some(When::Daily {
                from_ms: time_ms(from)?,
                to_ms: time_ms(to)?,
            }),
            _ => None,
        }
    }
}

/// Prices by the list's names of what is billed.
#[derive(Deserialize)]
#[serde(transparent)]
struct Amounts(BTreeMap<String, Amount>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Amount {
    Flat(Dollars),
    Tiered { base: Dollars, tiers: Vec<Tier> },
}

#[derive(Deserialize)]
struct Tier {
    start: u64,
    price: Dollars,
}

/// Dollars as billionths; `None` for what is no price.
#[derive(Clone, Copy)]
struct Dollars(Option<u64>);

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(nanousd_of(f64::deserialize(deserializer)?)))
    }
}

impl Amount {
    /// The price of a prompt that exceeds `over` tokens.
    fn over(&self, over: Option<u64>) -> Option<u64> {
        match self {
            Self::Flat(price) => price.0,
            Self::Tiered { base, tiers } => {
                let reached = |tier: &&Tier| over.is_some_and(|over| tier.start <= over);
                let tier = tiers.iter().filter(reached).max_by_key(|tier| tier.start);
                tier.map_or(base.0, |tier| tier.price.0)
            }
        }
    }

    fn starts(&self) -> impl Iterator<Item = u64> {
        let tiers: &[Tier] = match self {
            Self::Flat(_) => &[],
            Self::Tiered { tiers, .. } => tiers,
        };
        tiers.iter().map(|tier| tier.start)
    }
}

impl Amounts {
    /// `None` if a price is no amount, or if a class of tokens has a price that cannot be kept.
    fn entry(&self, when: When) -> Option<Entry> {
        let mut starts: Vec<u64> = self.0.values().flat_map(Amount::starts).collect();
        starts.sort_unstable();
        starts.dedup();
        let tier = |start: u64| Some((start, self.rates(Some(start))?));
        Some(Entry {
            when,
            base: self.rates(None)?,
            tiers: starts.into_iter().map(tier).collect::<Option<_>>()?,
            is_partial: self.0.contains_key("requests_kcount"),
        })
    }

    fn rates(&self, over: Option<u64>) -> Option<Rates> {
        let mut rates = Rates::default();
        for (name, amount) in &self.0 {
            let slot = match name.as_str() {
                "input_mtok" => &mut rates.input_uncached,
                "cache_read_mtok" => &mut rates.cache_read,
                "cache_write_mtok" => &mut rates.cache_write_5m,
                "cache_write_1h_mtok" => &mut rates.cache_write_1h,
                "output_mtok" => &mut rates.output,
                "input_audio_mtok" => &mut rates.audio_input,
                "output_audio_mtok" => &mut rates.audio_output,
                "input_image_mtok" => &mut rates.image_input,
                "output_image_mtok" => &mut rates.image_output,
                "web_searches_kcount" => &mut rates.web_search_per_1k,
                // Parts of the output at prices of their own, which no column of a call holds.
                "output_reasoning_mtok" | "output_citation_mtok" | "output_video_mtok" => {
                    return None;
                }
                _ => continue,
            };
            *slot = Some(amount.over(over)?);
        }
        rates.cache_write_other = rates.cache_write_5m;
        Some(rates)
    }
}
