//! Why two windows cost different amounts: the change in parts that add up to it exactly.
//!
//! For each workflow with priced tokens in both windows the earlier cost is carried to the later
//! one in steps, each of which puts the later window's value of one thing in place of the earlier
//! one's and leaves the rest: tokens, models, the share of output, the cache, what is no token, and
//! prices last. Each level is rounded to a whole billionth of a dollar, and a part is the
//! difference of two levels; the first level is the earlier cost and the last one the later cost,
//! so nothing is left over.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Add, AddAssign};

use crate::store::{CLASSES, PricedUse};

/// The class of output; all before it are input.
const OUTPUT: usize = CLASSES - 1;

/// What a price is per.
const MTOK: i128 = 1_000_000;

/// A reason for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// More or fewer tokens, at the workflow's earlier cost per token.
    Volume,
    /// Other shares of the models, at the earlier cost per token of each.
    ModelMix,
    /// Another share of output.
    OutputShare,
    /// Other shares of input that is uncached, read from a cache and written to one.
    Cache,
    /// Searches, sound and pictures; and all of a model whose prices are not in the ledger.
    Other,
    /// The later usage at other prices.
    Price,
    /// Workflows that had no priced tokens before.
    NewWorkflows,
    /// Workflows that have none any more.
    EndedWorkflows,
}

impl Part {
    /// All of them, in the order in which they are shown.
    pub(super) const ALL: [Self; 8] = [
        Self::Volume,
        Self::ModelMix,
        Self::OutputShare,
        Self::Cache,
        Self::Price,
        Self::Other,
        Self::NewWorkflows,
        Self::EndedWorkflows,
    ];

    /// Name in documents.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::ModelMix => "model_mix",
            Self::OutputShare => "output_share",
            Self::Cache => "cache",
            Self::Other => "other",
            Self::Price => "price",
            Self::NewWorkflows => "new_workflows",
            Self::EndedWorkflows => "ended_workflows",
        }
    }

    /// Name for people.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::ModelMix => "model mix",
            Self::OutputShare => "output share",
            Self::Cache => "cache",
            Self::Other => "other",
            Self::Price => "price changes",
            Self::NewWorkflows => "new workflows",
            Self::EndedWorkflows => "ended workflows",
        }
    }
}

/// A model on the terms that change its price.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ModelKey {
    pub(super) provider: String,
    pub(super) model: Option<String>,
    pub(super) service_tier: Option<String>,
    pub(super) context_over: Option<u64>,
}

/// What was used and what it cost, in billionths of a US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) tokens: i128,
    pub(super) cost: i128,
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            tokens: self.tokens + other.tokens,
            cost: self.cost + other.cost,
        }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// How one workflow's cost changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) before: Amount,
    pub(super) now: Amount,
    /// The parts that are not nothing; they add up to the difference of the costs.
    pub(super) parts: BTreeMap<Part, i128>,
    /// What each model's price did, where it did something.
    pub(super) price_by_model: BTreeMap<ModelKey, i128>,
}

/// A price: so much for so many tokens.
#[derive(Clone, Copy, Debug)]
struct Rate {
    cost: i128,
    tokens: i128,
}

/// The calls of a workflow to a model in one window.
#[derive(Clone, Debug, Default)]
struct Unit {
    rows: i128,
    tokens: [i128; CLASSES],
    /// By class, in billionths of a dollar times [`MTOK`].
    costs: [i128; CLASSES],
    /// The listed prices of all classes, weighted by the tokens of the calls that had them.
    listed: [Option<Rate>; CLASSES],
    /// Of these calls, in billionths of a dollar.
    cost: i128,
    lacks_price: bool,
}

impl Unit {
    fn add(&mut self, used: &PricedUse) {
        self.rows += i128::from(used.rows);
        self.cost += i128::from(used.cost_nanousd);
        self.lacks_price |= !used.has_price;
        let all: i128 = used.tokens.iter().copied().map(i128::from).sum();
        let classes = self.tokens.iter_mut().zip(&mut self.costs);
        let classes = classes.zip(&mut self.listed).zip(used.tokens);
        for ((((tokens, cost), listed), used_tokens), rate) in classes.zip(used.rates) {
            *tokens += i128::from(used_tokens);
            if let Some(rate) = rate {
                *cost += i128::from(used_tokens) * i128::from(rate);
                let so_far = listed.get_or_insert(Rate { cost: 0, tokens: 0 });
                so_far.cost += all * i128::from(rate);
                so_far.tokens += all;
            }
        }
    }

    fn all(&self) -> i128 {
        self.tokens.iter().sum()
    }

    fn input(&self) -> i128 {
        self.tokens.iter().take(OUTPUT).sum()
    }

    /// What a token of each class cost; what the list says where none was used.
    fn rates(&self) -> [Option<Rate>; CLASSES] {
        let mut rates = self.listed;
        for ((rate, tokens), cost) in rates.iter_mut().zip(self.tokens).zip(self.costs) {
            if tokens > 0 && rate.is_some() {
                *rate = Some(Rate { cost, tokens });
            }
        }
        rates
    }

    /// What no price of a token explains, times [`MTOK`].
    fn beside_tokens(&self) -> i128 {
        self.cost * MTOK - self.costs.iter().sum::<i128>()
    }
}

/// LIMIT: 10¹⁵ dollars, in billionths times [`MTOK`], for a level of a model. No ledger comes near,
/// and the levels of all models can be added up.
const MOST: i128 = 1_000_000_000_000_000_000_000_000_000_000;

/// `amount * by / of`, rounded, at most [`MOST`]; 0 of nothing.
fn scaled(amount: i128, by: i128, of: i128) -> i128 {
    if of == 0 {
        return 0;
    }
    let half = if amount < 0 { -(of / 2) } else { of / 2 };
    let exact = amount
        .checked_mul(by)
        .and_then(|product| product.checked_add(half))
        .map(|product| product / of);
    exact
        .unwrap_or_else(|| (amount / of).saturating_mul(by))
        .clamp(-MOST, MOST)
}

/// A share of a cost.
fn at(rate: Option<Rate>, tokens: i128) -> i128 {
    rate.map_or(0, |rate| scaled(rate.cost, tokens, rate.tokens))
}

/// The levels after the mix of models, of one model, times [`MTOK`].
#[derive(Clone, Copy, Debug, Default)]
struct Levels {
    mix: i128,
    output: i128,
    cache: i128,
    other: i128,
    price: i128,
}

impl Levels {
    /// From a model's use before to its use now.
    fn between(before: Option<&Unit>, now: &Unit) -> Self {
        let price = now.cost * MTOK;
        let Some(before) = before.filter(|before| before.all() > 0) else {
            // What it would have cost before is not known: all of it is the choice of the model.
            return Self {
                mix: price,
                output: price,
                cache: price,
                other: price,
                price,
            };
        };
        let mix = scaled(before.cost * MTOK, now.all(), before.all());
        if before.lacks_price || now.lacks_price {
            return Self {
                mix,
                output: mix,
                cache: mix,
                other: price,
                price,
            };
        }
        let later = now.rates();
        let mut rates = before.rates();
        for (rate, later) in rates.iter_mut().zip(later) {
            *rate = rate.or(later);
        }
        let by_class: [i128; CLASSES] = {
            let mut costs = [0; CLASSES];
            for ((cost, rate), tokens) in costs.iter_mut().zip(rates).zip(now.tokens) {
                *cost = at(rate, tokens);
            }
            costs
        };
        let input: i128 = by_class.iter().take(OUTPUT).sum();
        let output: i128 = by_class.iter().skip(OUTPUT).sum();
        let input_as_before = if before.input() > 0 {
            let cost = before.costs.iter().take(OUTPUT).sum();
            scaled(cost, now.input(), before.input())
        } else {
            input
        };
        let beside = scaled(before.beside_tokens(), now.all(), before.all());
        Self {
            mix,
            output: input_as_before + output + beside,
            cache: input + output + beside,
            other: input + output + now.beside_tokens(),
            price,
        }
    }
}

#[derive(Default)]
struct Used {
    units: BTreeMap<ModelKey, Unit>,
    /// Of calls without a token.
    tokenless: i128,
}

fn by_workflow(uses: &[PricedUse]) -> BTreeMap<&str, Used> {
    let mut workflows: BTreeMap<&str, Used> = BTreeMap::new();
    for used in uses {
        let workflow = workflows.entry(&used.workflow).or_default();
        if used.tokens.iter().all(|tokens| *tokens == 0) {
            workflow.tokenless += i128::from(used.cost_nanousd);
            continue;
        }
        let key = ModelKey {
            provider: used.provider.clone(),
            model: used.model.clone(),
            service_tier: used.service_tier.clone(),
            context_over: used.context_over,
        };
        workflow.units.entry(key).or_default().add(used);
    }
    workflows
}

impl Used {
    fn of_tokens(&self) -> Amount {
        let units = self.units.values();
        units.fold(Amount::default(), |sum, unit| {
            sum + Amount {
                tokens: unit.all(),
                cost: unit.cost,
            }
        })
    }

    fn whole(&self) -> Amount {
        let tokens = self.of_tokens();
        Amount {
            cost: tokens.cost + self.tokenless,
            ..tokens
        }
    }
}

/// How each workflow's cost changed from `before` to `now`.
pub(super) fn bridge(before: &[PricedUse], now: &[PricedUse]) -> BTreeMap<String, Change> {
    let (before, now) = (by_workflow(before), by_workflow(now));
    let names: BTreeSet<&str> = before.keys().chain(now.keys()).copied().collect();
    let nothing = Used::default();
    let of = |name: &str| {
        (
            before.get(name).unwrap_or(&nothing),
            now.get(name).unwrap_or(&nothing),
        )
    };
    names
        .into_iter()
        .map(|name| {
            let (before, now) = of(name);
            (name.to_owned(), change(before, now))
        })
        .collect()
}

fn change(before: &Used, now: &Used) -> Change {
    let mut change = Change {
        before: before.whole(),
        now: now.whole(),
        ..Change::default()
    };
    let (old, new) = (before.of_tokens(), now.of_tokens());
    let mut parts: BTreeMap<Part, i128> = BTreeMap::new();
    let difference = new.cost - old.cost;
    let tokenless = now.tokenless - before.tokenless;
    match (old.tokens > 0, new.tokens > 0) {
        (true, true) => {
            let volume = scaled(old.cost, new.tokens, old.tokens);
            let mut sum = Levels::default();
            let mut rows: i128 = before.units.values().map(|unit| unit.rows).sum();
            for (key, unit) in &now.units {
                let levels = Levels::between(before.units.get(key), unit);
                sum.mix += levels.mix;
                sum.output += levels.output;
                sum.cache += levels.cache;
                sum.other += levels.other;
                sum.price += levels.price;
                rows += unit.rows;
                let by_price = scaled(levels.price - levels.other, 1, MTOK);
                if by_price.abs() > unit.rows {
                    change.price_by_model.insert(key.clone(), by_price);
                }
            }
            let level = |level: i128| scaled(level, 1, MTOK);
            parts.insert(Part::Volume, volume - old.cost);
            parts.insert(Part::ModelMix, level(sum.mix) - volume);
            parts.insert(Part::OutputShare, level(sum.output) - level(sum.mix));
            parts.insert(Part::Cache, level(sum.cache) - level(sum.output));
            parts.insert(Part::Other, level(sum.other) - level(sum.cache));
            parts.insert(Part::Price, level(sum.price) - level(sum.other));
            absorb_rounding(&mut parts, rows + 1);
        }
        (false, _) => {
            parts.insert(Part::NewWorkflows, difference);
        }
        (true, false) => {
            parts.insert(Part::EndedWorkflows, difference);
        }
    }
    // What has no tokens at all belongs to a workflow that comes or goes with it.
    let whole = match (old.tokens > 0, new.tokens > 0) {
        (false, _) if change.before.cost == 0 => Part::NewWorkflows,
        (_, false) if change.now.cost == 0 => Part::EndedWorkflows,
        _ => Part::Other,
    };
    *parts.entry(whole).or_default() += tokenless;
    parts.retain(|_, amount| *amount != 0);
    change.parts = parts;
    change
}

/// Adds what may be rounding to the largest part: each call's cost was rounded to a billionth of a
/// dollar, so that a part of `most` of them may be nothing else.
fn absorb_rounding(parts: &mut BTreeMap<Part, i128>, most: i128) {
    let largest = parts
        .iter()
        .max_by_key(|(_, amount)| amount.abs())
        .map(|(part, _)| *part);
    let Some(largest) = largest else { return };
    let mut rounding = 0;
    for (part, amount) in parts.iter_mut() {
        if *part != largest && amount.abs() <= most {
            rounding += *amount;
            *amount = 0;
        }
    }
    *parts.entry(largest).or_default() += rounding;
}

#[cfg(test)]
mod tests;
