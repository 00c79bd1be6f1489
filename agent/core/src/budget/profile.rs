//! Profiles: when spending is expected.
//!
//! A profile weighs the hours of a local week. Over a period, the weights are scaled so that they make
//! one in all: the share of a part of the period is what a budget that is used up exactly at its end
//! has used in that part.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use super::period::{short_name, weekday};

pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const DAY_MS: i64 = 24 * HOUR_MS;
pub(super) const WEEK_MS: i64 = 7 * DAY_MS;

/// The Unix epoch began on a Thursday: so much after a Monday.
const EPOCH_IN_WEEK_MS: i64 = 3 * DAY_MS;

/// What an hour outside business hours weighs beside one within.
const REST: f64 = 0.08;

/// How much of a learned profile is learned; the rest is flat, so that an hour in which nothing was
/// spent yet is none in which nothing may be.
const LEARNED: f64 = 0.75;

/// When spending is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Always alike.
    Flat,
    /// In business hours.
    Business(Hours),
    /// As in each hour of the week over the last four full weeks; in the usual business hours until
    /// there are as many.
    Learned,
    /// In the usual business hours where it is about pages, and learned where it is about tickets.
    Auto,
}

/// Business hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    /// The first day.
    pub first: Weekday,
    /// The last one.
    pub last: Weekday,
    /// Minute of the day at which they begin.
    pub from_minute: u16,
    /// Minute of the day at which they end, later than that.
    pub to_minute: u16,
}

impl Hours {
    /// Monday to Friday, nine to six.
    pub const USUAL: Self = Self {
        first: Weekday::Monday,
        last: Weekday::Friday,
        from_minute: 9 * 60,
        to_minute: 18 * 60,
    };

    fn parse(text: &str) -> Option<Self> {
        let (days, hours) = text.trim().split_once(' ')?;
        let (first, last) = days.split_once('-').unwrap_or((days, days));
        let (from, to) = hours.trim().split_once('-')?;
        let hours = Self {
            first: weekday(first)?,
            last: weekday(last)?,
            from_minute: minute_of_day(from)?,
            to_minute: minute_of_day(to)?,
        };
        (hours.from_minute < hours.to_minute).then_some(hours)
    }

    fn has(&self, day: Weekday) -> bool {
        day.since(self.first) <= self.last.since(self.first)
    }
}

fn minute_of_day(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let is_number = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(hour) || !is_number(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let of_day = hour.checked_mul(60)?.checked_add(minute)?;
    (minute < 60 && of_day <= 24 * 60).then_some(of_day)
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}-{} {:02}:{:02}-{:02}:{:02}",
            short_name(self.first),
            short_name(self.last),
            self.from_minute / 60,
            self.from_minute % 60,
            self.to_minute / 60,
            self.to_minute % 60,
        )
    }
}

impl Profile {
    /// Reads `flat`, `learned`, `auto`, `business`, or hours as in `business:Mon-Fri 09:00-18:00`.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn parse(text: &str) -> Result<Self, NoProfile> {
        match text {
            "flat" => Some(Self::Flat),
            "learned" => Some(Self::Learned),
            "auto" => Some(Self::Auto),
            "business" => Some(Self::Business(Hours::USUAL)),
            _ => text
                .strip_prefix("business:")
                .and_then(Hours::parse)
                .map(Self::Business),
        }
        .ok_or_else(|| NoProfile(text.to_owned()))
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flat => f.write_str("flat"),
            Self::Business(hours) => write!(f, "business:{hours}"),
            Self::Learned => f.write_str("learned"),
            Self::Auto => f.write_str("auto"),
        }
    }
}

/// A text that is no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no profile; write auto, flat, learned, business, or hours as in \
     \"business:Mon-Fri 09:00-18:00\""
)]
pub struct NoProfile(String);

/// The offsets of a zone over a stretch of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offsets {
    from_ms: i64,
    to_ms: i64,
    /// Moments from which on an offset holds, in order; the first one is that of `from_ms`.
    pieces: Vec<(i64, i64)>,
}

impl Offsets {
    /// LIMIT: changes in a stretch; zones have up to four a year.
    const CHANGES: usize = 64;

    pub(super) fn new(zone: &TimeZone, from_ms: i64, to_ms: i64) -> Self {
        let from = Timestamp::from_millisecond(from_ms).unwrap_or_default();
        let offset_ms = |offset: jiff::tz::Offset| i64::from(offset.seconds()) * 1_000;
        let mut pieces = vec![(from_ms, offset_ms(zone.to_offset(from)))];
        for change in zone.following(from).take(Self::CHANGES) {
            let at_ms = change.timestamp().as_millisecond();
            if at_ms >= to_ms {
                break;
            }
            pieces.push((at_ms, offset_ms(change.offset())));
        }
        Self {
            from_ms,
            to_ms,
            pieces,
        }
    }

    /// Whether it is known for all of a stretch.
    pub(super) const fn cover(&self, from_ms: i64, to_ms: i64) -> bool {
        self.from_ms <= from_ms && to_ms <= self.to_ms
    }

    /// Milliseconds since a Monday's midnight on a local clock that began before the Unix epoch.
    pub(super) fn local_ms(&self, unix_ms: i64) -> i64 {
        let place = self.pieces.partition_point(|(from, _)| *from <= unix_ms);
        let piece = self.pieces.get(place.saturating_sub(1));
        let offset = piece.map_or(0, |(_, offset)| *offset);
        unix_ms
            .saturating_add(offset)
            .saturating_add(EPOCH_IN_WEEK_MS)
    }

    /// The parts of a stretch between changes, on the local clock.
    fn parts(&self, from_ms: i64, to_ms: i64) -> impl Iterator<Item = (i64, i64)> {
        let ends = self.pieces.iter().skip(1).map(|(from, _)| *from);
        self.pieces
            .iter()
            .enumerate()
            .zip(ends.chain([i64::MAX]))
            .filter_map(move |((place, (begin, offset)), end)| {
                // What lies before the first piece is taken to have its offset.
                let begin = if place == 0 { i64::MIN } else { *begin };
                let (from, to) = (from_ms.max(begin), to_ms.min(end));
                let local = |ms: i64| ms.saturating_add(*offset).saturating_add(EPOCH_IN_WEEK_MS);
                (from < to).then(|| (local(from), local(to)))
            })
    }
}

/// The weights of a local week, which begins on Monday at midnight.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Week {
    /// Moments of the week from which on a weight holds, and what is before them in weighted hours.
    pieces: Vec<Piece>,
    total: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Piece {
    from_ms: i64,
    weight: f64,
    before: f64,
}

impl Week {
    fn new(weights: impl IntoIterator<Item = (i64, f64)>) -> Self {
        let mut week = Self {
            pieces: Vec::new(),
            total: 0.0,
        };
        for (from_ms, weight) in weights {
            week.total = week.before(from_ms);
            week.pieces.push(Piece {
                from_ms,
                weight,
                before: week.total,
            });
        }
        week.total = week.before(WEEK_MS);
        week
    }

    /// All hours alike.
    pub(super) fn flat() -> Self {
        Self::new([(0, 1.0)])
    }

    /// Business hours weigh one, others less.
    pub(super) fn business(hours: &Hours) -> Self {
        let mut weights = Vec::new();
        for (day, start_ms) in Weekday::Monday
            .cycle_forward()
            .take(7)
            .zip((0..).step_by(usize::try_from(DAY_MS).unwrap_or(1)))
        {
            weights.push((start_ms, REST));
            if hours.has(day) {
                weights.push((start_ms + i64::from(hours.from_minute) * 60_000, 1.0));
                weights.push((start_ms + i64::from(hours.to_minute) * 60_000, REST));
            }
        }
        Self::new(weights)
    }

    /// What was spent in each hour of the week; `None` if that is nothing.
    pub(super) fn learned(spent: &[f64; 168]) -> Option<Self> {
        let total: f64 = spent.iter().sum();
        (total > 0.0).then(|| {
            let weigh = |spent: f64| LEARNED * spent / total * 168.0 + (1.0 - LEARNED);
            let weights = spent.iter().map(|spent| weigh(*spent));
            Self::new((0..).step_by(3_600_000).zip(weights))
        })
    }

    /// Weighted hours of the week before a moment of it.
    fn before(&self, in_week_ms: i64) -> f64 {
        let place = self
            .pieces
            .partition_point(|piece| piece.from_ms <= in_week_ms);
        let Some(piece) = place.checked_sub(1).and_then(|at| self.pieces.get(at)) else {
            return 0.0;
        };
        piece.before + piece.weight * hours(in_week_ms.saturating_sub(piece.from_ms))
    }

    /// Weighted hours from one moment to another.
    pub(super) fn hours_between(&self, offsets: &Offsets, from_ms: i64, to_ms: i64) -> f64 {
        offsets
            .parts(from_ms, to_ms)
            .map(|(from, to)| {
                let weeks = to.div_euclid(WEEK_MS) - from.div_euclid(WEEK_MS);
                let part =
                    self.before(to.rem_euclid(WEEK_MS)) - self.before(from.rem_euclid(WEEK_MS));
                number(weeks) * self.total + part
            })
            .sum()
    }
}

/// A profile scaled to a period.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace<'a> {
    pub(super) week: &'a Week,
    pub(super) offsets: &'a Offsets,
    /// Weighted hours of the period.
    total: f64,
}

impl<'a> Pace<'a> {
    pub(super) fn new(week: &'a Week, offsets: &'a Offsets, from_ms: i64, to_ms: i64) -> Self {
        let total = week.hours_between(offsets, from_ms, to_ms);
        Self {
            week,
            offsets,
            total,
        }
    }

    /// The share of a period's spending that is expected from one moment to another. Moments may lie
    /// outside the period: the weights go on there as within.
    pub(super) fn share(&self, from_ms: i64, to_ms: i64) -> f64 {
        if self.total > 0.0 {
            self.week.hours_between(self.offsets, from_ms, to_ms) / self.total
        } else {
            0.0
        }
    }
}

fn hours(ms: i64) -> f64 {
    number(ms) / 3_600_000.0
}

/// Exact below 2^53: ten thousand years in milliseconds are less.
const fn number(whole: i64) -> f64 {
    whole as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::period::tests::{ZONES, zone};
    use super::super::period::{Period, Span};
    use super::*;

    #[test]
    fn profiles_are_read_and_shown() {
        let hours = Hours {
            first: Weekday::Sunday,
            last: Weekday::Thursday,
            from_minute: 8 * 60 + 30,
            to_minute: 24 * 60,
        };
        for (text, profile) in [
            ("flat", Profile::Flat),
            ("learned", Profile::Learned),
            ("auto", Profile::Auto),
            (
                "business:Mon-Fri 09:00-18:00",
                Profile::Business(Hours::USUAL),
            ),
            ("business:Sun-Thu 08:30-24:00", Profile::Business(hours)),
        ] {
            assert_eq!(Profile::parse(text), Ok(profile));
            assert_eq!(profile.to_string(), text);
        }
        let usual = Profile::Business(Hours::USUAL);
        assert_eq!(Profile::parse("business"), Ok(usual));
        for text in [
            "",
            "office",
            "business:",
            "business:Mon-Fri",
            "business:Mon-Fry 09:00-18:00",
            "business:Mon-Fri 18:00-09:00",
            "business:Mon-Fri 9:00-18:00",
            "business:Mon-Fri 09:00-24:01",
            "business:Mon-Fri 09:60-18:00",
        ] {
            assert!(Profile::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn business_hours_weigh_one_and_the_rest_less() {
        let week = Week::business(&Hours::USUAL);
        let offsets = Offsets::new(&TimeZone::UTC, 0, WEEK_MS);
        // 2026-11-23 is a Monday.
        let monday = 1_795_392_000_000;
        let hours = |from: i64, to: i64| {
            week.hours_between(&offsets, monday + from * HOUR_MS, monday + to * HOUR_MS)
        };
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(hours(0, 9), 9.0 * REST));
        assert!(close(hours(9, 18), 9.0));
        assert!(close(hours(17, 19), 1.0 + REST));
        assert!(close(hours(5 * 24, 7 * 24), 48.0 * REST));
        assert!(close(hours(0, 168), 45.0 + 123.0 * REST));
        assert!(close(hours(-168, 2 * 168), 3.0 * (45.0 + 123.0 * REST)));
    }

    /// Any weights of the hours of a week.
    fn weeks() -> impl Strategy<Value = Week> {
        prop_oneof![
            Just(Week::flat()),
            Just(Week::business(&Hours::USUAL)),
            proptest::collection::vec(0.0..100.0_f64, 168).prop_map(|spent| {
                Week::learned(&spent.try_into().unwrap()).unwrap_or_else(Week::flat)
            }),
        ]
    }

    proptest! {
        #[test]
        fn the_shares_of_a_period_make_one(
            week in weeks(),
            rules in proptest::sample::select(&ZONES[..]),
            moment in 1_577_836_800_000_i64..2_208_988_800_000,
            cut in 0_i64..1_000,
            period in proptest::sample::select(&[
                Period::Day, Period::DEFAULT, Period::Quarter(31), Period::Year { month: 4, day: 1 },
            ][..]),
        ) {
            let zone = zone(rules);
            let Span { from_ms, to_ms } = period.span(moment, &zone).unwrap();
            let offsets = Offsets::new(&zone, from_ms, to_ms);
            let pace = Pace::new(&week, &offsets, from_ms, to_ms);
            let cut_ms = from_ms + (to_ms - from_ms) / 1_000 * cut;
            let parts = [pace.share(from_ms, cut_ms), pace.share(cut_ms, to_ms)];
            prop_assert!((parts[0] + parts[1] - 1.0).abs() < 1e-9, "{parts:?}");
            prop_assert!(parts.iter().all(|part| (-1e-9..=1.0 + 1e-9).contains(part)));
        }
    }
}
