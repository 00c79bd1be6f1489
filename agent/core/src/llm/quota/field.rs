//! The values of fields that tell limits.

use jiff::Timestamp;

use super::{Reset, Share};
use crate::http::Headers;

/// LIMIT: 128 fields of a head are looked at; the table of names is shorter.
const FIELDS: usize = 128;

/// LIMIT: 256 bytes of one value; the longest that means something is a third of it.
const VALUE_BYTES: usize = 256;

/// LIMIT: numbers up to 10^15; no limit is larger, and none of them overflows.
const LARGEST: u64 = 1_000_000_000_000_000;

/// Numbers of seconds from here on are moments since the Unix epoch, not times from now: 30 years.
const EPOCH_SECONDS: u64 = 30 * 365 * 86_400;

/// Numbers from here on are moments in milliseconds: as seconds they are 3,000 years away.
const EPOCH_MS: u64 = 100_000_000_000;

/// The fields of a head that tell limits.
pub(super) struct Fields<'a>(Vec<(&'static str, &'a str)>);

impl<'a> Fields<'a> {
    pub(super) fn of(headers: &'a Headers) -> Self {
        let fields = headers.limits().take(FIELDS);
        Self(
            fields
                .filter(|(_, value)| value.len() <= VALUE_BYTES)
                .collect(),
        )
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// First value of a field.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.0
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| value.trim())
    }

    pub(super) fn count(&self, name: &str) -> Option<u64> {
        self.text(name).and_then(count)
    }

    pub(super) fn reset(&self, name: &str) -> Option<Reset> {
        self.text(name).and_then(reset)
    }
}

/// A whole number. Some providers write one with a fraction, which is cut off.
pub(super) fn count(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str| {
        (1..=18).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    (is_number(whole) && is_number(fraction)).then_some(())?;
    whole.parse().ok().filter(|number| *number <= LARGEST)
}

/// A number as a share, where `whole` stands for all: 1, or 100 for per cent.
pub(super) fn share(text: &str, whole: f64) -> Option<Share> {
    let is_number = text.len() <= 32
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    let ratio = is_number.then(|| text.parse::<f64>().ok())?? / whole;
    (0.0..=f64::from(Share::MOST / Share::WHOLE))
        .contains(&ratio)
        .then_some(())?;
    let millionths = format!("{:.0}", ratio * f64::from(Share::WHOLE));
    millionths.parse().ok().map(Share)
}

/// When a limit begins anew, in whatever way a provider writes it: a moment (RFC 3339, or an HTTP
/// date), seconds or milliseconds since the Unix epoch, seconds from now, or a time with units such
/// as `6m0s` and `20ms`.
pub(super) fn reset(text: &str) -> Option<Reset> {
    let at = |moment: Timestamp| Reset::At {
        unix_ms: moment.as_millisecond(),
    };
    let first = text.bytes().next()?;
    if first.is_ascii_alphabetic() {
        let date = jiff::fmt::rfc2822::parse(text).ok()?;
        return Some(at(date.timestamp()));
    }
    if text.bytes().any(|byte| matches!(byte, b'T' | b't' | b':')) {
        return text.parse().ok().map(at);
    }
    if text.ends_with(|last: char| last.is_ascii_alphabetic()) {
        return time_with_units(text).map(|ms| Reset::After { ms });
    }
    let seconds = count(text)?;
    let ms = if seconds >= EPOCH_MS {
        seconds
    } else {
        milli(text)?
    };
    if seconds >= EPOCH_SECONDS {
        let unix_ms = i64::try_from(ms).ok()?;
        Some(Reset::At { unix_ms })
    } else {
        Some(Reset::After { ms })
    }
}

/// A number with at most a fraction, in thousandths.
fn milli(text: &str) -> Option<u64> {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let thousandths = fraction.get(..3).unwrap_or(fraction);
    let thousandths = count(&format!("{thousandths:0<3}"))?;
    count(text)?.checked_mul(1_000)?.checked_add(thousandths)
}

/// A time in milliseconds, as Go writes it: numbers with units, the longest first.
fn time_with_units(text: &str) -> Option<u64> {
    /// LIMIT: six parts, one for each unit.
    const PARTS: usize = 6;
    let mut rest = text;
    let mut sum: u64 = 0;
    for _ in 0..PARTS {
        if rest.is_empty() {
            break;
        }
        let number_end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, behind) = rest.split_at_checked(number_end)?;
        let unit_end = behind
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(behind.len());
        let (unit, behind) = behind.split_at_checked(unit_end)?;
        let (numerator, denominator): (u64, u64) = match unit {
            "d" => (86_400_000, 1),
            "h" => (3_600_000, 1),
            "m" => (60_000, 1),
            "s" => (1_000, 1),
            "ms" => (1, 1),
            "us" | "µs" => (1, 1_000),
            "ns" => (1, 1_000_000),
            _ => return None,
        };
        let part = milli(number)?.checked_mul(numerator)? / denominator / 1_000;
        sum = sum.checked_add(part)?;
        rest = behind;
    }
    rest.is_empty().then_some(sum)
}
