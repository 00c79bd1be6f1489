//! How much a budget has, and in what.

use std::fmt;

use crate::alert::dollars;
use crate::spend::Amount;

/// What a limit is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// Billionths of a US dollar.
    Usd,
    /// Tokens of all classes.
    Tokens,
    /// Tokens in terms of uncached input.
    WeightedTokens,
    /// Calls.
    Requests,
    /// Sessions that began.
    Sessions,
}

impl Unit {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Usd,
        Self::Tokens,
        Self::WeightedTokens,
        Self::Requests,
        Self::Sessions,
    ];

    /// Name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usd => "usd",
            Self::Tokens => "tokens",
            Self::WeightedTokens => "weighted-tokens",
            Self::Requests => "requests",
            Self::Sessions => "sessions",
        }
    }

    /// The ending of names of figures in this unit.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Usd => "nanousd",
            Self::Tokens => "tokens",
            Self::WeightedTokens => "weighted_tokens",
            Self::Requests => "requests",
            Self::Sessions => "sessions",
        }
    }

    /// How much of this unit an amount is.
    pub const fn of(self, amount: &Amount) -> u64 {
        match self {
            Self::Usd => amount.cost_nanousd,
            Self::Tokens => amount.tokens,
            Self::WeightedTokens => amount.weighted_tokens,
            Self::Requests => amount.requests,
            Self::Sessions => amount.sessions,
        }
    }

    /// Whether there is more of it than [`Unit::of`] says: calls without tokens, tokens without a
    /// price, prices that are known in part.
    pub const fn is_more(self, amount: &Amount) -> bool {
        let has_unknown = amount.unknown_requests > 0;
        match self {
            Self::Usd => {
                has_unknown || amount.unpriced_tokens > 0 || amount.lower_bound_nanousd > 0
            }
            Self::Tokens | Self::WeightedTokens => has_unknown,
            Self::Requests | Self::Sessions => false,
        }
    }

    /// A figure for people.
    pub(super) fn show(self, figure: u64) -> String {
        match self {
            Self::Usd => dollars(figure),
            Self::Tokens | Self::WeightedTokens | Self::Requests | Self::Sessions => {
                format!("{figure} {}", self.as_str())
            }
        }
    }
}

/// How much may be used in a period: more than nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How much, in the unit; money in billionths of a US dollar.
    pub amount: u64,
    /// Unit.
    pub unit: Unit,
}

impl Limit {
    /// LIMIT: what a column of the ledger holds.
    const MOST: u128 = i64::MAX.unsigned_abs() as u128;

    /// A limit of so many US dollars.
    pub const fn usd(dollars: u64) -> Self {
        Self {
            amount: dollars.saturating_mul(1_000_000_000),
            unit: Unit::Usd,
        }
    }

    /// Reads a number and a unit, as in `3000 usd`, `1000M tokens` or `2.5M weighted-tokens`; `k`, `M`
    /// and `G` stand for thousands, millions and billions.
    ///
    /// # Errors
    /// If it is no such thing, or nothing at all.
    pub fn parse(text: &str) -> Result<Self, NoLimit> {
        read(text)
            .filter(|limit| limit.amount > 0)
            .ok_or_else(|| NoLimit(text.to_owned()))
    }

    /// Reads the same, where nothing is possible.
    ///
    /// # Errors
    /// If it is no such thing.
    pub fn parse_floor(text: &str) -> Result<Self, NoLimit> {
        read(text).ok_or_else(|| NoLimit(text.to_owned()))
    }
}

fn read(text: &str) -> Option<Limit> {
    let (number, unit) = text.trim().split_once(char::is_whitespace)?;
    let unit = Unit::ALL
        .into_iter()
        .find(|known| known.as_str() == unit.trim())?;
    let (digits, places) = match number.char_indices().last()? {
        (at, 'k') => (number.get(..at)?, 3),
        (at, 'M') => (number.get(..at)?, 6),
        (at, 'G') => (number.get(..at)?, 9),
        _ => (number, 0),
    };
    let places = if unit == Unit::Usd {
        places + 9
    } else {
        places
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |text: &str| {
        // LIMIT: digits, so that no step below is larger than 128 bits hold.
        (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !is_number(whole) || !is_number(part) || part.len() > places.max(1) {
        return None;
    }
    let scale = 10_u128.checked_pow(u32::try_from(places).ok()?)?;
    let part_scale = 10_u128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let part: u128 = part.parse().ok()?;
    let part = part.checked_mul(scale)?;
    if part % part_scale != 0 {
        return None;
    }
    let whole: u128 = whole.parse().ok()?;
    let amount = whole.checked_mul(scale)?.checked_add(part / part_scale)?;
    (amount <= Limit::MOST).then_some(Limit {
        amount: u64::try_from(amount).ok()?,
        unit,
    })
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = self.unit.as_str();
        if self.unit == Unit::Usd {
            let (whole, part) = (self.amount / 1_000_000_000, self.amount % 1_000_000_000);
            let part = format!("{part:09}");
            return match part.trim_end_matches('0') {
                "" => write!(f, "{whole} {unit}"),
                part => write!(f, "{whole}.{part} {unit}"),
            };
        }
        let is_millions = self.amount > 0 && self.amount.is_multiple_of(1_000_000);
        match is_millions {
            true => write!(f, "{}M {unit}", self.amount / 1_000_000),
            false => write!(f, "{} {unit}", self.amount),
        }
    }
}

/// A text that is no limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no amount; write a number above 0 and one of usd, tokens, weighted-tokens, requests, \
     sessions, as in \"3000 usd\" or \"1000M tokens\""
)]
pub struct NoLimit(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_shown() {
        for (text, amount, unit, shown) in [
            ("3000 usd", 3_000_000_000_000, Unit::Usd, "3000 usd"),
            ("0.5 usd", 500_000_000, Unit::Usd, "0.5 usd"),
            ("0.000000001 usd", 1, Unit::Usd, "0.000000001 usd"),
            ("1.5k usd", 1_500_000_000_000, Unit::Usd, "1500 usd"),
            ("1000M tokens", 1_000_000_000, Unit::Tokens, "1000M tokens"),
            ("1G tokens", 1_000_000_000, Unit::Tokens, "1000M tokens"),
            (
                " 2.5M  weighted-tokens ",
                2_500_000,
                Unit::WeightedTokens,
                "2500000 weighted-tokens",
            ),
            ("500 requests", 500, Unit::Requests, "500 requests"),
            ("1k sessions", 1_000, Unit::Sessions, "1000 sessions"),
            (
                "9223372036 usd",
                9_223_372_036_000_000_000,
                Unit::Usd,
                "9223372036 usd",
            ),
        ] {
            let limit = Limit { amount, unit };
            assert_eq!(Limit::parse(text), Ok(limit), "{text}");
            assert_eq!(limit.to_string(), shown);
            assert_eq!(Limit::parse(shown), Ok(limit), "{shown}");
        }
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for text in [
            "",
            "3000",
            "usd",
            "0 usd",
            "-1 usd",
            "$5",
            "1e3 usd",
            "1.5 tokens",
            "0.0000000001 usd",
            "1.2345k tokens",
            "9223372037 usd",
            "999999999999999999999999 tokens",
            "999999999999999999G usd",
            "5 euros",
            "M tokens",
            "1µ tokens",
            ". usd",
        ] {
            assert_eq!(Limit::parse(text), Err(NoLimit(text.to_owned())));
        }
        assert!(Limit::parse_floor("0 usd").is_ok());
    }

    #[test]
    fn figures_are_more_than_they_say_where_something_is_unknown() {
        let plain = Amount::default();
        let unpriced = Amount {
            unpriced_tokens: 1,
            ..plain
        };
        let unknown = Amount {
            unknown_requests: 1,
            ..plain
        };
        let more = |amount: &Amount| Unit::ALL.map(|unit| unit.is_more(amount));
        assert_eq!(more(&plain), [false; 5]);
        assert_eq!(more(&unpriced), [true, false, false, false, false]);
        assert_eq!(more(&unknown), [true, true, true, false, false]);
    }
}
