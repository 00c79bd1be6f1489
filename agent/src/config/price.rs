//! The entries `[[price]]`: prices of one's own.

use agent_core::prices::{Override, Own, Rates, day_ms, nanousd_of};

use super::Check;
use super::file::{self, Section, Written};

/// Key of the entries.
pub(super) const KEY: &str = "price";

/// Keys of an entry, as far as they are no rate.
const OTHERS: &str = "provider, model, context_over, valid_from, valid_until, like, factor";

/// Keys of the rates: US dollars per million tokens, and per thousand searches.
const RATES: [&str; 12] = [
    "input",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "cache_write_12h",
    "cache_write_other",
    "output",
    "audio_input",
    "audio_output",
    "image_input",
    "image_output",
    "web_search",
];

/// LIMIT: each call is compared with each entry; a company has some dozens of prices.
const MOST: usize = 256;
/// LIMIT: bytes of a pattern, as long as the longest name of a model.
const PATTERN_BYTES: usize = 256;
/// LIMIT: tokens of a prompt; the longest ones have a few millions.
const CONTEXT_TOKENS: std::ops::RangeInclusive<i64> = 0..=1_000_000_000;
/// LIMIT: a multiple of the list's price; the whole is a typing error beyond.
const MOST_FACTOR: f64 = 1_000.0;

/// The slot of a rate, in the order of [`RATES`].
fn slots(rates: &mut Rates) -> [&mut Option<u64>; 12] {
    [
        &mut rates.input_uncached,
        &mut rates.cache_read,
        &mut rates.cache_write_5m,
        &mut rates.cache_write_1h,
        &mut rates.cache_write_12h,
        &mut rates.cache_write_other,
        &mut rates.output,
        &mut rates.audio_input,
        &mut rates.audio_output,
        &mut rates.image_input,
        &mut rates.image_output,
        &mut rates.web_search_per_1k,
    ]
}

/// An entry's keys and their values as TOML.
pub(super) fn show(price: &Override) -> Vec<(&'static str, String)> {
    let text = |text: &str| toml::Value::from(text).to_string();
    let day = |ms: i64| {
        let day = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
        text(&day.strftime("%Y-%m-%d").to_string())
    };
    let mut shown = vec![("model", text(&price.model))];
    let provider = price.provider.as_deref();
    shown.extend(provider.map(|provider| ("provider", text(provider))));
    let over = price.context_over;
    shown.extend(over.map(|over| ("context_over", over.to_string())));
    shown.extend(price.valid_from_ms.map(|ms| ("valid_from", day(ms))));
    shown.extend(price.valid_until_ms.map(|ms| ("valid_until", day(ms))));
    match &price.price {
        Own::Rates(rates) => {
            let mut rates = *rates;
            for (key, rate) in RATES.into_iter().zip(slots(&mut rates)) {
                shown.extend(rate.map(|rate| (key, dollars(rate))));
            }
        }
        Own::Like {
            provider,
            model,
            milli,
        } => {
            let provider = provider.as_deref().unwrap_or_default();
            let model = model.as_deref().map(|model| format!("/{model}"));
            let like = format!("{provider}{}", model.unwrap_or_default());
            shown.push(("like", text(&like)));
            shown.push(("factor", format!("{}.{:03}", milli / 1_000, milli % 1_000)));
        }
    }
    shown
}

/// An amount in dollars, with all of its digits.
pub(super) fn dollars(nanousd: u64) -> String {
    const DOLLAR: u64 = 1_000_000_000;
    let digits = format!("{}.{:09}", nanousd / DOLLAR, nanousd % DOLLAR);
    let short = digits.trim_end_matches('0');
    match short.strip_suffix('.') {
        Some(whole) => format!("{whole}.0"),
        None => short.to_owned(),
    }
}

impl Check<'_> {
    /// Takes the entries.
    pub(super) fn prices(&mut self, written: Written<Vec<Section<file::Price>>>) {
        let Some(entries) = self.entries(KEY, MOST, written) else {
            return;
        };
        for (key, entry) in entries {
            if let Some(price) = self.price(&key, entry) {
                self.loaded.config.own_prices.push(price);
            }
        }
    }

    fn price(&mut self, key: &str, entry: file::Price) -> Option<Override> {
        let before = self.mistakes.len();
        let file::Price {
            provider,
            model,
            context_over,
            valid_from,
            valid_until,
            like,
            factor,
            mut rest,
        } = entry;
        let provider = self.member(key, "provider", provider, "a string", check_pattern);
        let model = self.member(key, "model", model, "a string", check_pattern);
        let context_over = self.member(
            key,
            "context_over",
            context_over,
            "an integer",
            check_context,
        );
        let from = self.member(key, "valid_from", valid_from, DAY, check_day);
        let until = self.member(key, "valid_until", valid_until, DAY, check_day);
        let like = self.member(key, "like", like, "a string", check_like);
        let factor = self.member(key, "factor", factor, "a number", check_factor);
        let mut rates = Rates::default();
        for (name, slot) in RATES.into_iter().zip(slots(&mut rates)) {
            let written = rest.remove(name).map_or(Written::No, written_number);
            *slot = self
                .member(key, name, written, "a number", check_rate)
                .flatten();
        }
        for unknown in rest.keys() {
            let problem = format!("unknown key; [[price]] has {OTHERS}, {}", RATES.join(", "));
            self.mistake(&format!("{key}.{unknown}"), problem);
        }
        if model.is_none() {
            let problem = "is missing; name the model, or \"*\" for all of a provider".to_owned();
            self.mistake(&format!("{key}.model"), problem);
        }
        let has_rates = rates != Rates::default();
        match (has_rates, &like) {
            (true, Some(_)) => {
                let problem = "stands beside rates; say either what it costs or whose price it has";
                self.mistake(&format!("{key}.like"), problem.to_owned());
            }
            (false, None) => {
                let problem = "has no price; say input and output in US dollars per million tokens, \
                     or like = \"anthropic\" for another's prices";
                self.mistake(key, problem.to_owned());
            }
            (true, None) | (false, Some(_)) => {}
        }
        if factor.is_some() && like.is_none() {
            let problem = "needs like beside it: what it is a part of".to_owned();
            self.mistake(&format!("{key}.factor"), problem);
        }
        let (valid_from_ms, valid_until_ms) = (from.flatten(), until.flatten());
        if let (Some(from_ms), Some(until_ms)) = (valid_from_ms, valid_until_ms)
            && from_ms >= until_ms
        {
            let problem = "must be later than valid_from; it is the first day without this price";
            self.mistake(&format!("{key}.valid_until"), problem.to_owned());
        }
        if self.mistakes.len() > before {
            return None;
        }
        let price = match like.flatten() {
            Some((provider, model)) => Own::Like {
                provider: Some(provider),
                model,
                milli: factor.flatten().unwrap_or(1_000),
            },
            None => Own::Rates(rates),
        };
        Some(Override {
            provider: provider.flatten(),
            model: model.flatten()?,
            valid_from_ms,
            valid_until_ms,
            context_over: context_over.flatten(),
            price,
        })
    }
}

const DAY: &str = "a day in quotes, as in \"2026-11-01\"";

fn written_number(value: toml::Value) -> Written<f64> {
    match value {
        toml::Value::Float(number) => Written::Yes(number),
        // Dollars are far below what a float holds exactly.
        #[expect(clippy::cast_precision_loss, reason = "checked against a limit below")]
        toml::Value::Integer(number) => Written::Yes(number as f64),
        other @ (toml::Value::String(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_)
        | toml::Value::Array(_)
        | toml::Value::Table(_)) => Written::Mistyped(other.type_str()),
    }
}

fn check_pattern(pattern: String) -> Result<String, String> {
    let is_pattern = !pattern.is_empty()
        && pattern.len() <= PATTERN_BYTES
        && !pattern.chars().any(char::is_control);
    if !is_pattern {
        return Err(format!(
            "must be a name of 1 to {PATTERN_BYTES} bytes, in which \"*\" stands for anything"
        ));
    }
    Ok(pattern)
}

fn check_context(tokens: i64) -> Result<u64, String> {
    let tokens = Some(tokens).filter(|tokens| CONTEXT_TOKENS.contains(tokens));
    tokens
        .and_then(|tokens| u64::try_from(tokens).ok())
        .ok_or_else(|| {
            "must be a number of tokens; the price is that of prompts with more than these"
                .to_owned()
        })
}

fn check_day(day: String) -> Result<i64, String> {
    let is_day = day.parse::<jiff::civil::Date>().is_ok();
    day_ms(&day)
        .filter(|_| is_day)
        .ok_or_else(|| format!("{day:?} is no day; write it as in \"2026-11-01\" (UTC)"))
}

/// A provider, and a model of it.
fn check_like(like: String) -> Result<(String, Option<String>), String> {
    let like = check_pattern(like)?;
    let (provider, model) = match like.split_once('/') {
        Some((provider, model)) => (provider, Some(model.to_owned())),
        None => (like.as_str(), None),
    };
    if like.contains('*') || provider.is_empty() || model.as_deref() == Some("") {
        return Err(format!(
            "{like:?} is no provider; write one, as in \"anthropic\", or one of its models, as in \
             \"anthropic/claude-opus-5-5\""
        ));
    }
    Ok((provider.to_owned(), model))
}

fn check_factor(factor: f64) -> Result<u64, String> {
    let problem = || "must be a number from 0 to 1000 with at most three places".to_owned();
    if !(0.0..=MOST_FACTOR).contains(&factor) {
        return Err(problem());
    }
    let billionths = nanousd_of(factor).ok_or_else(problem)?;
    if billionths % 1_000_000 != 0 {
        return Err(problem());
    }
    Ok(billionths / 1_000_000)
}

fn check_rate(rate: f64) -> Result<u64, String> {
    nanousd_of(rate).ok_or_else(|| {
        "must be a number of US dollars from 0 to 1000000; tokens are priced by the million, searches \
         by the thousand"
            .to_owned()
    })
}
