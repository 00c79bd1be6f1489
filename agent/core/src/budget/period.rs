//! Periods: what a limit is for.
//!
//! Periods of the calendar tile time: each instant is in exactly one. They begin at the first moment
//! of a local day, so that one of a day has 23 or 25 hours where clocks change. A rolling one is
//! always the last so many hours.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

/// LIMIT: moments from 1900 to 9000, in milliseconds since the Unix epoch; what lies beyond is no
/// moment of a call, and is taken for the nearest one.
const MOMENTS: std::ops::RangeInclusive<i64> = -2_208_988_800_000..=221_845_392_000_000;

const MONTHS: [&str; 12] = [
    "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12",
];

/// How long a limit is for, and when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// A day.
    Day,
    /// Seven days from a day of the week.
    Week(Weekday),
    /// A month from a day of it, 1 to 31; the last day of a month that has no such day.
    Month(i8),
    /// Three months from such a day of January, April, July and October.
    Quarter(i8),
    /// Twelve months from a day.
    Year {
        /// Month, 1 to 12.
        month: i8,
        /// Day of it, 1 to 31.
        day: i8,
    },
    /// Always the last so many hours, from one hour to 92 days.
    Rolling {
        /// Hours.
        hours: u32,
    },
}

/// A period of the calendar: `from_ms <= moment < to_ms`, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first moment.
    pub from_ms: i64,
    /// The first moment after it.
    pub to_ms: i64,
}

impl Span {
    /// Whether a moment is in it.
    pub const fn contains(&self, unix_ms: i64) -> bool {
        self.from_ms <= unix_ms && unix_ms < self.to_ms
    }
}

impl Period {
    /// From the first of each month.
    pub const DEFAULT: Self = Self::Month(1);

    /// LIMIT: hours of a rolling period: a quarter.
    const MOST_HOURS: u32 = 92 * 24;

    /// Reads `day`, `week`, `month`, `quarter`, `year`, or a length as in `rolling:7d` or
    /// `rolling:36h`; and where it begins, a day of the week as in `Sun`, a day of the month as in
    /// `15`, or of the year as in `04-01`.
    ///
    /// # Errors
    /// If the one is no period, or the other is nothing where it can begin.
    pub fn parse(text: &str, anchor: Option<&str>) -> Result<Self, NoPeriod> {
        let period = match text {
            "day" => Some(Self::Day),
            "week" => Some(Self::Week(Weekday::Monday)),
            "month" => Some(Self::Month(1)),
            "quarter" => Some(Self::Quarter(1)),
            "year" => Some(Self::Year { month: 1, day: 1 }),
            _ => text.strip_prefix("rolling:").and_then(rolling),
        };
        let period = period.ok_or_else(|| NoPeriod::Text(text.to_owned()))?;
        let Some(anchor) = anchor else {
            return Ok(period);
        };
        let anchored = match period {
            Self::Week(_) => weekday(anchor).map(Self::Week),
            Self::Month(_) => day_of_month(anchor).map(Self::Month),
            Self::Quarter(_) => day_of_month(anchor).map(Self::Quarter),
            Self::Year { .. } => day_of_year(anchor),
            Self::Day | Self::Rolling { .. } => {
                return Err(NoPeriod::NoAnchor(text.to_owned()));
            }
        };
        anchored.ok_or_else(|| NoPeriod::Anchor {
            period: text.to_owned(),
            anchor: anchor.to_owned(),
        })
    }

    /// Where it begins, as [`Period::parse`] reads it; `None` for those that begin nowhere.
    pub fn anchor(&self) -> Option<String> {
        match self {
            Self::Day | Self::Rolling { .. } => None,
            Self::Week(day) => Some(short_name(*day).to_owned()),
            Self::Month(day) | Self::Quarter(day) => Some(day.to_string()),
            Self::Year { month, day } => Some(format!("{month:02}-{day:02}")),
        }
    }

    /// The period of the calendar that a moment is in; `None` for a rolling one.
    pub fn span(&self, unix_ms: i64, zone: &TimeZone) -> Option<Span> {
        if let Self::Rolling { .. } = self {
            return None;
        }
        let unix_ms = unix_ms.clamp(*MOMENTS.start(), *MOMENTS.end());
        let moment = Timestamp::from_millisecond(unix_ms).ok()?;
        let today = zone.to_datetime(moment).date();
        let mut first = self.first_day(today)?;
        let mut from_ms = midnight(first, zone)?;
        // Where clocks go back over midnight, a date has moments before its first one.
        while from_ms > unix_ms {
            first = self.first_day(first.yesterday().ok()?)?;
            from_ms = midnight(first, zone)?;
        }
        let mut to_ms = midnight(self.next(first)?, zone)?;
        while to_ms <= unix_ms {
            first = self.next(first)?;
            from_ms = to_ms;
            to_ms = midnight(self.next(first)?, zone)?;
        }
        Some(Span { from_ms, to_ms })
    }

    /// The first day of the period that a day is in.
    fn first_day(&self, day: Date) -> Option<Date> {
        match *self {
            Self::Day | Self::Rolling { .. } => Some(day),
            Self::Week(weekday) => {
                let since = i64::from(day.weekday().since(weekday));
                day.checked_sub(jiff::Span::new().days(since)).ok()
            }
            Self::Month(anchor) => months(day, 1, 1, anchor),
            Self::Quarter(anchor) => months(day, 1, 3, anchor),
            Self::Year { month, day: anchor } => months(day, month, 12, anchor),
        }
    }

    /// The first day of the period after the one that begins with `first`.
    fn next(&self, first: Date) -> Option<Date> {
        let next = match *self {
            Self::Day | Self::Rolling { .. } => return first.tomorrow().ok(),
            Self::Week(_) => return first.checked_add(jiff::Span::new().days(7)).ok(),
            Self::Month(_) => 1,
            Self::Quarter(_) => 3,
            Self::Year { .. } => 12,
        };
        let (Self::Month(anchor) | Self::Quarter(anchor) | Self::Year { day: anchor, .. }) = *self
        else {
            return None;
        };
        let month = first.first_of_month();
        let month = month.checked_add(jiff::Span::new().months(next)).ok()?;
        anchored(month, anchor)
    }
}

/// The day `anchor` of the first of `length` months, counted from the month `base`, that is not after
/// `day`.
fn months(day: Date, base: i8, length: i8, anchor: i8) -> Option<Date> {
    let past = (day.month() - base).rem_euclid(length);
    let month = day
        .first_of_month()
        .checked_sub(jiff::Span::new().months(i64::from(past)))
        .ok()?;
    let first = anchored(month, anchor)?;
    if first <= day {
        return Some(first);
    }
    let month = month
        .checked_sub(jiff::Span::new().months(i64::from(length)))
        .ok()?;
    anchored(month, anchor)
}

/// A day of a month, or its last one.
fn anchored(month: Date, day: i8) -> Option<Date> {
    let day = day.clamp(1, month.days_in_month());
    month.with().day(day).build().ok()
}

/// The first moment of a day. Where clocks skip midnight it is that of the change, and where they
/// repeat it the first one.
fn midnight(day: Date, zone: &TimeZone) -> Option<i64> {
    let midnight = day.at(0, 0, 0, 0);
    zone.to_timestamp(midnight)
        .ok()
        .map(Timestamp::as_millisecond)
}

fn rolling(length: &str) -> Option<Period> {
    let (number, hours) = match length.char_indices().last()? {
        (at, 'h') => (length.get(..at)?, 1),
        (at, 'd') => (length.get(..at)?, 24),
        _ => return None,
    };
    let number: u32 = number
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| number.parse().ok())??;
    let hours = number.checked_mul(hours)?;
    (1..=Period::MOST_HOURS)
        .contains(&hours)
        .then_some(Period::Rolling { hours })
}

/// The day of the week with a name or its first three letters.
pub(super) fn weekday(name: &str) -> Option<Weekday> {
    Weekday::Monday
        .cycle_forward()
        .take(7)
        .find(|day| name == short_name(*day) || name == format!("{day:?}"))
}

/// The first three letters of a day's name.
pub(super) const fn short_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "Mon",
        Weekday::Tuesday => "Tue",
        Weekday::Wednesday => "Wed",
        Weekday::Thursday => "Thu",
        Weekday::Friday => "Fri",
        Weekday::Saturday => "Sat",
        Weekday::Sunday => "Sun",
    }
}

fn day_of_month(text: &str) -> Option<i8> {
    let day: i8 = text.parse().ok()?;
    (1..=31).contains(&day).then_some(day)
}

fn day_of_year(text: &str) -> Option<Period> {
    let (month, day) = match text.split_once('-') {
        Some((month, day)) => (MONTHS.iter().position(|name| *name == month)? + 1, day),
        None => (1, text),
    };
    let month = i8::try_from(month).ok()?;
    let day = day_of_month(day)?;
    // In the longest February there is.
    let most = Date::new(2_024, month, 1).ok()?.days_in_month();
    (day <= most).then_some(Period::Year { month, day })
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day => f.write_str("day"),
            Self::Week(_) => f.write_str("week"),
            Self::Month(_) => f.write_str("month"),
            Self::Quarter(_) => f.write_str("quarter"),
            Self::Year { .. } => f.write_str("year"),
            Self::Rolling { hours } if hours % 24 == 0 => write!(f, "rolling:{}d", hours / 24),
            Self::Rolling { hours } => write!(f, "rolling:{hours}h"),
        }
    }
}

/// Texts that are no period.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPeriod {
    /// The period.
    #[error(
        "{0:?} is no period; write day, week, month, quarter, year, or a length from one hour to 92 days \
         as in \"rolling:7d\" or \"rolling:36h\""
    )]
    Text(String),
    /// Where it begins.
    #[error(
        "{anchor:?} is nothing where a {period} begins; write a day of the week as in \"Sun\", of the \
         month as in \"15\" for a month or quarter, of the year as in \"04-01\""
    )]
    Anchor {
        /// Period.
        period: String,
        /// What was written.
        anchor: String,
    },
    /// The period begins nowhere else.
    #[error("{0} has no anchor; remove it")]
    NoAnchor(String),
}

#[cfg(test)]
pub(in crate::budget) mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn periods_are_read_and_shown() {
        for (text, anchor, period) in [
            ("day", None, Period::Day),
            ("week", Some("Mon"), Period::Week(Weekday::Monday)),
            ("week", Some("Sun"), Period::Week(Weekday::Sunday)),
            ("month", Some("31"), Period::Month(31)),
            ("quarter", Some("15"), Period::Quarter(15)),
            ("year", Some("04-01"), Period::Year { month: 4, day: 1 }),
            ("year", Some("02-29"), Period::Year { month: 2, day: 29 }),
            ("rolling:7d", None, Period::Rolling { hours: 168 }),
            ("rolling:36h", None, Period::Rolling { hours: 36 }),
        ] {
            assert_eq!(Period::parse(text, anchor), Ok(period));
            assert_eq!(period.to_string(), text);
            assert_eq!(period.anchor().as_deref(), anchor);
        }
        let first = Period::Year { month: 1, day: 3 };
        assert_eq!(Period::parse("year", Some("3")), Ok(first));
        let sunday = Period::Week(Weekday::Sunday);
        assert_eq!(Period::parse("week", Some("Sunday")), Ok(sunday));
        for (text, anchor) in [
            ("fortnight", None),
            ("rolling:0h", None),
            ("rolling:93d", None),
            ("rolling:+7d", None),
            ("rolling:d", None),
            ("rolling:7", None),
            ("rolling:é", None),
            ("rolling:7d", Some("1")),
            ("day", Some("1")),
            ("week", Some("1")),
            ("month", Some("0")),
            ("month", Some("32")),
            ("month", Some("Mon")),
            ("year", Some("02-30")),
            ("year", Some("13-01")),
        ] {
            assert!(Period::parse(text, anchor).is_err(), "{text} {anchor:?}");
        }
    }

    /// Zones by their rules, without a database: of both halves of the earth, off the hour, with a
    /// change of half an hour, and with changes at midnight in both ways.
    pub(in crate::budget) const ZONES: [&str; 9] = [
        "UTC0",
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "EST5EDT,M3.2.0,M11.1.0",
        "<+0545>-5:45",
        "NST3:30NDT,M3.2.0,M11.1.0",
        "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
        "<-04>4<-03>,M9.1.6/24,M4.1.6/24",
        "EET-2EEST,M3.5.0/0,M10.5.0/0",
        "CST5CDT,M3.2.0/0,M11.1.0/1",
    ];

    pub(in crate::budget) fn zone(rules: &str) -> TimeZone {
        TimeZone::posix(rules).unwrap()
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn days_of_berlin_have_23_and_25_hours_where_clocks_change() {
        let berlin = zone(ZONES[1]);
        for (moment, from, to, hours) in [
            (
                "2026-03-29T12:00:00Z",
                "2026-03-28T23:00:00Z",
                "2026-03-29T22:00:00Z",
                23,
            ),
            (
                "2026-10-25T12:00:00Z",
                "2026-10-24T22:00:00Z",
                "2026-10-25T23:00:00Z",
                25,
            ),
        ] {
            let span = Span {
                from_ms: at(from),
                to_ms: at(to),
            };
            assert_eq!(Period::Day.span(at(moment), &berlin), Some(span));
            assert_eq!(span.to_ms - span.from_ms, hours * 3_600_000);
        }
    }

    #[test]
    fn a_month_without_the_day_begins_on_its_last_one() {
        let span = |period: Period, moment: &str| {
            let span = period.span(at(moment), &TimeZone::UTC).unwrap();
            [span.from_ms, span.to_ms]
        };
        let days = |from: &str, to: &str| [from, to].map(|day| at(&format!("{day}T00:00:00Z")));
        for (period, moment, from, to) in [
            (
                Period::Month(31),
                "2026-02-28T00:00:00Z",
                "2026-02-28",
                "2026-03-31",
            ),
            (
                Period::Month(31),
                "2026-02-27T23:59:59Z",
                "2026-01-31",
                "2026-02-28",
            ),
            (
                Period::Quarter(31),
                "2026-05-01T00:00:00Z",
                "2026-04-30",
                "2026-07-31",
            ),
            (
                Period::Quarter(15),
                "2026-01-14T00:00:00Z",
                "2025-10-15",
                "2026-01-15",
            ),
            (
                Period::Year { month: 2, day: 29 },
                "2026-03-01T00:00:00Z",
                "2026-02-28",
                "2027-02-28",
            ),
            (
                Period::Year { month: 4, day: 1 },
                "2026-03-31T23:00:00Z",
                "2025-04-01",
                "2026-04-01",
            ),
        ] {
            assert_eq!(span(period, moment), days(from, to), "{moment}");
        }
    }

    fn periods() -> impl Strategy<Value = Period> {
        prop_oneof![
            Just(Period::Day),
            (0_i64..7).prop_map(|days| Period::Week(Weekday::Monday.wrapping_add(days))),
            (1_i8..=31).prop_map(Period::Month),
            (1_i8..=31).prop_map(Period::Quarter),
            (1_i8..=12, 1_i8..=28).prop_map(|(month, day)| Period::Year { month, day }),
        ]
    }

    proptest! {
        #[test]
        fn periods_tile_time(
            period in periods(),
            rules in proptest::sample::select(&ZONES[..]),
            moment in at("2020-01-01T00:00:00Z")..at("2040-01-01T00:00:00Z"),
        ) {
            let zone = zone(rules);
            let span = period.span(moment, &zone).unwrap();
            prop_assert!(span.contains(moment));
            // Its own moments are in it, and those beside it in the ones that touch it.
            prop_assert_eq!(period.span(span.from_ms, &zone), Some(span));
            prop_assert_eq!(period.span(span.to_ms - 1, &zone), Some(span));
            let before = period.span(span.from_ms - 1, &zone).unwrap();
            let after = period.span(span.to_ms, &zone).unwrap();
            prop_assert_eq!(before.to_ms, span.from_ms);
            prop_assert_eq!(after.from_ms, span.to_ms);
        }

        #[test]
        fn no_moment_is_too_strange(period in periods(), moment in any::<i64>()) {
            for rules in ZONES {
                prop_assert!(period.span(moment, &zone(rules)).is_some());
            }
        }
    }
}
