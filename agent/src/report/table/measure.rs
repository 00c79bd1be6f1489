//! Shares and changes: numbers that are made of two.

use std::cmp::Ordering;

use serde_json::Value;

use crate::report::text::{self, UNKNOWN};

/// What may be missing of a share or a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exactness {
    /// Nothing.
    Exact,
    /// Something of the part.
    AtLeast,
    /// Something of the whole, or of what is compared.
    About,
}

impl Exactness {
    const fn mark(self) -> &'static str {
        match self {
            Self::Exact => "",
            Self::AtLeast => "≥ ",
            Self::About => "≈ ",
        }
    }
}

/// A part of a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) part: u64,
    pub(crate) whole: u64,
    pub(crate) exactness: Exactness,
}

impl Share {
    pub(super) fn shown(self) -> String {
        text::percent(self.part, self.whole).map_or_else(
            || UNKNOWN.to_owned(),
            |percent| format!("{}{percent}", self.exactness.mark()),
        )
    }

    pub(super) fn ratio(self) -> Value {
        match self.whole {
            0 => Value::Null,
            whole => decimal(i128::from(self.part) * 10_000 / i128::from(whole)),
        }
    }
}

/// A change from one time to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// There was nothing before.
    New,
    /// From one amount to another.
    From {
        before: u64,
        after: u64,
        exactness: Exactness,
    },
}

impl Change {
    pub(super) fn shown(self) -> String {
        let (before, after, mark) = match self {
            Self::New => return "new".to_owned(),
            Self::From { before: 0, .. } => return UNKNOWN.to_owned(),
            Self::From {
                before,
                after,
                exactness,
            } => (before, after, exactness.mark()),
        };
        let sign = match after.cmp(&before) {
            Ordering::Less => "−",
            Ordering::Equal => "",
            Ordering::Greater => "+",
        };
        let difference = u128::from(after.abs_diff(before)) * 100;
        let before = u128::from(before);
        match (difference + before / 2) / before {
            // Nothing is rounded to no change.
            0 if difference > 0 => format!("{mark}{sign}<1 %"),
            10_000.. => format!("{mark}×{}", (u128::from(after) + before / 2) / before),
            percent => format!("{mark}{sign}{percent} %"),
        }
    }

    pub(super) fn ratio(self) -> Value {
        match self {
            Self::New | Self::From { before: 0, .. } => Value::Null,
            Self::From { before, after, .. } => {
                decimal((i128::from(after) - i128::from(before)) * 10_000 / i128::from(before))
            }
        }
    }
}

/// A number of ten-thousandths as a number for programs.
fn decimal(ten_thousandths: i128) -> Value {
    let sign = if ten_thousandths < 0 { "-" } else { "" };
    let digits = ten_thousandths.unsigned_abs();
    let text = format!("{sign}{}.{:04}", digits / 10_000, digits % 10_000);
    text.parse::<f64>().map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_never_rounded_to_none() {
        let change = |before, after| Change::From {
            before,
            after,
            exactness: Exactness::Exact,
        };
        for (before, after, text, ratio) in [
            (100, 118, "+18 %", Value::from(0.18)),
            (100, 96, "−4 %", Value::from(-0.04)),
            (100, 100, "0 %", Value::from(0.0)),
            (1_000_000, 1_000_001, "+<1 %", Value::from(0.0)),
            (100, 404, "+304 %", Value::from(3.04)),
            (1, 5_000, "×5000", Value::from(4_999.0)),
            (0, 5, "—", Value::Null),
        ] {
            assert_eq!(change(before, after).shown(), text);
            assert_eq!(change(before, after).ratio(), ratio);
        }
        assert_eq!(Change::New.shown(), "new");
        assert_eq!(Change::New.ratio(), Value::Null);
    }

    #[test]
    fn a_share_says_what_it_misses() {
        let share = |part, whole, exactness| Share {
            part,
            whole,
            exactness,
        };
        assert_eq!(share(1, 4, Exactness::Exact).shown(), "25.0 %");
        assert_eq!(share(1, 4, Exactness::AtLeast).shown(), "≥ 25.0 %");
        assert_eq!(share(1, 4, Exactness::About).shown(), "≈ 25.0 %");
        assert_eq!(share(0, 0, Exactness::Exact).shown(), "—");
        assert_eq!(share(1, 3, Exactness::Exact).ratio(), Value::from(0.3333));
    }
}
