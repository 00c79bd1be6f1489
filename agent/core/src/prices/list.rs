//! A list of prices: whose, of which model, when, for how long a prompt, on which terms.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::calendar::is_working_day;
use super::rates::{Fraction, Rates};

const DAY_MS: i64 = 86_400_000;

/// What is said of a list in reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Who made it.
    pub source: Arc<str>,
    /// Which one it is.
    pub version: Arc<str>,
    /// Its day, in milliseconds since the Unix epoch.
    pub as_of_ms: Option<i64>,
}

/// A list of prices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// What is said of it.
    pub about: About,
    /// Models by the list's own name of the provider.
    pub(super) providers: BTreeMap<String, Models>,
    /// Models that could not be read, or that have a price of a kind that is not known here.
    pub left_out: usize,
}

/// The models of one provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Models {
    models: Vec<Model>,
    /// Place of a model by its id and by its other names, in lower case.
    names: BTreeMap<String, usize>,
}

impl Models {
    /// Adds a model. A name that was given away before stays where it is.
    pub(super) fn add(&mut self, model: Model) {
        let place = self.models.len();
        self.names
            .entry(model.id.to_ascii_lowercase())
            .or_insert(place);
        self.models.push(model);
    }

    /// Gives the last model another name. Ids of all models are given before.
    pub(super) fn also(&mut self, place: usize, name: &str) {
        self.names.entry(name.to_ascii_lowercase()).or_insert(place);
    }

    pub(super) fn get(&self, name: &str) -> Option<&Model> {
        self.models
            .get(*self.names.get(&name.to_ascii_lowercase())?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Model> {
        self.models.iter()
    }
}

/// The prices of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    /// Its name in the list; at most 128 bytes.
    pub(super) id: String,
    /// Standard prices; of those that hold at a time, the last counts.
    pub(super) standard: Vec<Entry>,
    /// Prices on other terms. What they leave out has the standard price.
    pub(super) variants: Vec<(Variant, Entry)>,
    /// Tokens that its window holds.
    pub(super) window_tokens: Option<u64>,
}

/// Terms other than the standard ones that a list knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    /// Results of a batch.
    Batch,
    /// Later, and cheaper.
    Flex,
    /// Sooner, and dearer.
    Priority,
    /// Faster, and dearer.
    Fast,
}

impl Variant {
    /// Name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Flex => "flex",
            Self::Priority => "priority",
            Self::Fast => "fast",
        }
    }
}

/// Prices, and when they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) when: When,
    pub(super) base: Rates,
    /// Prices of longer prompts, by the number of tokens that the prompt must exceed, ascending. All
    /// tokens of a request have them.
    pub(super) tiers: Vec<(u64, Rates)>,
    /// True if more is billed than the classes here tell.
    pub(super) is_partial: bool,
}

/// When a price holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum When {
    /// Since ever.
    #[default]
    Always,
    /// Since a moment, in milliseconds since the Unix epoch.
    Since(i64),
    /// Every day from one time of the day in UTC to another, in milliseconds.
    Daily { from_ms: i64, to_ms: i64 },
    /// The same, on days on which China works.
    Working { from_ms: i64, to_ms: i64 },
}

impl When {
    fn holds(self, at_ms: i64) -> bool {
        match self {
            Self::Always => true,
            Self::Since(from_ms) => at_ms >= from_ms,
            Self::Daily { from_ms, to_ms } => is_between(at_ms, from_ms, to_ms),
            Self::Working { from_ms, to_ms } => {
                is_between(at_ms, from_ms, to_ms) && is_working_day(at_ms)
            }
        }
    }

    /// Its times of the day.
    const fn hours_ms(self) -> Option<(i64, i64)> {
        match self {
            Self::Daily { from_ms, to_ms } | Self::Working { from_ms, to_ms } => {
                Some((from_ms, to_ms))
            }
            Self::Always | Self::Since(_) => None,
        }
    }

    /// Its first moment.
    const fn since_ms(self) -> Option<i64> {
        match self {
            Self::Since(from_ms) => Some(from_ms),
            Self::Always | Self::Daily { .. } | Self::Working { .. } => None,
        }
    }
}

/// Whether a moment is between two times of the day, which may be those of a night.
const fn is_between(at_ms: i64, from_ms: i64, to_ms: i64) -> bool {
    let time = at_ms.rem_euclid(DAY_MS);
    if to_ms < from_ms {
        time >= from_ms || time < to_ms
    } else {
        time >= from_ms && time < to_ms
    }
}

/// One line of a list: prices of a model on some terms, for some time, for some length of prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Whose price it is, in the list's words.
    pub provider: String,
    /// Of which model, in the list's words.
    pub model: String,
    /// Terms; the standard ones if there are none.
    pub variant: Option<Variant>,
    /// First moment, in milliseconds since the Unix epoch; `None` if it is not known to begin.
    pub valid_from_ms: Option<i64>,
    /// Times of the day in UTC, in milliseconds, where a price has them.
    pub daily_ms: Option<(i64, i64)>,
    /// True if these are the times of days on which China works.
    pub is_of_working_days: bool,
    /// It is that of prompts with more tokens than this.
    pub context_over: Option<u64>,
    /// Prices.
    pub rates: Rates,
}

impl List {
    /// All lines, by provider and in the order of the list.
    pub fn lines(&self) -> impl Iterator<Item = Line> {
        self.providers
            .iter()
            .flat_map(|(provider, models)| models.iter().flat_map(|model| model.lines(provider)))
    }

    /// The models that a name is at a provider, as calls to it are priced. Without a provider it is
    /// looked for at each one that sells what is on the list, by the rules of that one.
    pub fn sold(&self, provider: Option<&str>, name: &str) -> Vec<Sold> {
        let every = provider.is_none().then(|| self.sellers());
        let sellers = every.into_iter().flatten().chain(provider);
        let mut found: Vec<Sold> = Vec::new();
        for seller in sellers {
            let Some((whose, model)) = self.find(seller, name) else {
                continue;
            };
            let is_it = |sold: &&mut Sold| sold.provider == whose && sold.model == model.id;
            match found.iter_mut().find(is_it) {
                // Several may sell one model at one price: Azure and its maker.
                Some(sold) => sold.calls_to.push(seller.to_owned()),
                None => found.push(Sold {
                    provider: whose.to_owned(),
                    model: model.id.clone(),
                    calls_to: vec![seller.to_owned()],
                    lines: model.lines(whose),
                }),
            }
        }
        found.sort_by(|one, other| one.provider.cmp(&other.provider));
        found
    }
}

/// A model of a list, and who sells it at its price there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sold {
    /// Whose price it is, in the list's words.
    pub provider: String,
    /// Of which model, in the list's words.
    pub model: String,
    /// The providers whose calls have that price, as reports name them.
    pub calls_to: Vec<String>,
    /// Its prices.
    pub lines: Vec<Line>,
}

/// The price of a model at a time, for a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) rates: Rates,
    pub(super) context_over: Option<u64>,
    pub(super) valid_from_ms: Option<i64>,
    pub(super) valid_to_ms: Option<i64>,
    pub(super) is_partial: bool,
}

impl Entry {
    /// The prices of a prompt, and the tier that they are of.
    fn of_prompt(&self, prompt: u64) -> (Rates, Option<u64>) {
        let tier = self.tiers.iter().rev().find(|(over, _)| prompt > *over);
        tier.map_or((self.base, None), |(over, rates)| (*rates, Some(*over)))
    }
}

impl Model {
    fn lines(&self, provider: &str) -> Vec<Line> {
        let standard = self.standard.iter().map(|entry| (None, entry));
        let others = self
            .variants
            .iter()
            .map(|(variant, entry)| (Some(*variant), entry));
        let mut lines = Vec::new();
        for (variant, entry) in standard.chain(others) {
            let tiers = entry
                .tiers
                .iter()
                .map(|(over, rates)| (Some(*over), *rates));
            for (context_over, rates) in [(None, entry.base)].into_iter().chain(tiers) {
                // A variant without prices of its own has the standard ones.
                if variant.is_none() || !rates.is_empty() {
                    lines.push(Line {
                        provider: provider.to_owned(),
                        model: self.id.clone(),
                        variant,
                        valid_from_ms: entry.when.since_ms(),
                        daily_ms: entry.when.hours_ms(),
                        is_of_working_days: matches!(entry.when, When::Working { .. }),
                        context_over,
                        rates,
                    });
                }
            }
        }
        lines
    }

    /// All of its prices.
    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        let others = self.variants.iter_mut().map(|(_, entry)| entry);
        self.standard.iter_mut().chain(others)
    }

    /// The standard price.
    pub(super) fn standard(&self, at_ms: i64, prompt: u64) -> Option<Found> {
        let held = |entry: &&Entry| entry.when.holds(at_ms);
        let entry = self.standard.iter().rev().find(held)?;
        let dates = self
            .standard
            .iter()
            .filter_map(|entry| entry.when.since_ms());
        let (rates, context_over) = entry.of_prompt(prompt);
        Some(Found {
            rates,
            context_over,
            valid_from_ms: dates.clone().filter(|from| *from <= at_ms).max(),
            valid_to_ms: dates.filter(|from| *from > at_ms).min(),
            is_partial: entry.is_partial,
        })
    }

    /// The price on other terms; `None` if the list has none.
    pub(super) fn on(&self, variant: Variant, at_ms: i64, prompt: u64) -> Option<Found> {
        let standard = self.standard(at_ms, prompt)?;
        let held = |(of, entry): &&(Variant, Entry)| *of == variant && entry.when.holds(at_ms);
        if let Some((_, entry)) = self.variants.iter().rev().find(held) {
            let (rates, over) = entry.of_prompt(prompt);
            return Some(Found {
                rates: rates.or(standard.rates),
                context_over: over.or(standard.context_over),
                valid_from_ms: entry.when.since_ms().max(standard.valid_from_ms),
                ..standard
            });
        }
        self.discount(variant, prompt, standard)
    }

    /// A discount before the day on which the list's maker read it: batches and flex have been the
    /// same part of the standard price from their beginning. What is dearer than standard is not
    /// taken to have been.
    fn discount(&self, variant: Variant, prompt: u64, mut then: Found) -> Option<Found> {
        match variant {
            Variant::Batch | Variant::Flex => {}
            Variant::Priority | Variant::Fast => return None,
        }
        let (_, entry) = self.variants.iter().find(|(of, _)| *of == variant)?;
        let read_ms = entry.when.since_ms()?;
        let (mut rates, _) = entry.of_prompt(prompt);
        let mut standard = self.standard(read_ms, prompt)?.rates;
        let pairs = rates.tokens_mut().into_iter().zip(standard.tokens_mut());
        for ((part, whole), rate) in pairs.zip(then.rates.tokens_mut()) {
            if let (Some(part), Some(whole @ 1..)) = (*part, *whole) {
                *rate = rate.map(|rate| Fraction::new(part, whole).of(rate));
            }
        }
        then.valid_to_ms = Some(then.valid_to_ms.map_or(read_ms, |to| to.min(read_ms)));
        Some(then)
    }
}

/// The first moment of a day in UTC, as in `2026-03-13`.
pub fn day_ms(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, '-');
    let mut number = |digits: usize| {
        let part = parts.next()?;
        let is_number = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse::<i64>().ok()).flatten()
    };
    let (year, month, day) = (number(4)?, number(2)?, number(2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that the day that may be missing is the last one.
    let (year, month) = (year - i64::from(month < 3), (month + 9) % 12);
    let days_of_years = year * 365 + year / 4 - year / 100 + year / 400;
    let days = days_of_years + (month * 153 + 2) / 5 + day - 1 - 719_468;
    Some(days * DAY_MS)
}

/// The time of a day in UTC, as in `16:30:00Z`.
pub(super) fn time_ms(text: &str) -> Option<i64> {
    let mut parts = text.strip_suffix('Z')?.splitn(3, ':');
    let mut number = |most: i64| {
        let part = parts.next()?.parse::<i64>().ok()?;
        (0..=most).contains(&part).then_some(part)
    };
    let (hour, minute, second) = (number(23)?, number(59)?, number(59)?);
    Some(((hour * 60 + minute) * 60 + second) * 1_000)
}
