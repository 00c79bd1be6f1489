//! The time that a time is compared with.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::report::moment;
use crate::store::Window;

/// A text that names no time to compare with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no time to compare with; write previous, \"previous month\" (or day, week, year), \
     2026-10, 2026-10-05, or FROM..UNTIL with two times as --since has them"
)]
pub struct NoPeriod {
    text: String,
}

/// The window that `text` names, to compare `window` with. `previous` is as long and ends where
/// `window` begins; `previous month` is `window` moved back by a calendar month, so that the days
/// of a month so far meet the same days of the one before.
///
/// # Errors
/// If it names none, or one that is empty.
pub(super) fn versus(
    text: &str,
    window: Window,
    now: Timestamp,
    zone: &TimeZone,
) -> Result<Window, NoPeriod> {
    let trimmed = text.trim().to_ascii_lowercase();
    previous(&trimmed, window, zone)
        .or_else(|| calendar(&trimmed, zone))
        .or_else(|| between(text.trim(), now, zone))
        .filter(|found| found.from_ms < found.until_ms)
        .ok_or_else(|| NoPeriod {
            text: text.to_owned(),
        })
}

fn previous(text: &str, window: Window, zone: &TimeZone) -> Option<Window> {
    let mut words = text.split_whitespace();
    if !matches!(words.next(), Some("previous" | "last")) {
        return None;
    }
    let back = match (words.next(), words.next()) {
        (None, _) => {
            let length = window.until_ms.saturating_sub(window.from_ms);
            return Some(Window {
                from_ms: window.from_ms.saturating_sub(length),
                until_ms: window.from_ms,
            });
        }
        (Some("day"), None) => Span::new().days(1),
        (Some("week"), None) => Span::new().weeks(1),
        (Some("month"), None) => Span::new().months(1),
        (Some("year"), None) => Span::new().years(1),
        _ => return None,
    };
    let moved = |ms| {
        let moment = Timestamp::from_millisecond(ms).ok()?;
        let moved = moment.to_zoned_datetime(zone.clone()).checked_sub(back);
        Some(moved.ok()?.timestamp().as_millisecond())
    };
    Some(Window {
        from_ms: moved(window.from_ms)?,
        until_ms: moved(window.until_ms)?,
    })
}

/// A year, a month or a day by its number.
fn calendar(text: &str, zone: &TimeZone) -> Option<Window> {
    let (first, length): (Date, Span) = match text.len() {
        4 => (format!("{text}-01-01").parse().ok()?, Span::new().years(1)),
        7 => (format!("{text}-01").parse().ok()?, Span::new().months(1)),
        10 => (text.parse().ok()?, Span::new().days(1)),
        _ => return None,
    };
    let start = |day: Date| {
        let moment = day.to_zoned_datetime(zone.clone()).ok()?.timestamp();
        Some(moment.as_millisecond())
    };
    Some(Window {
        from_ms: start(first)?,
        until_ms: start(first.checked_add(length).ok()?)?,
    })
}

fn between(text: &str, now: Timestamp, zone: &TimeZone) -> Option<Window> {
    let (from, until) = text.split_once("..")?;
    let moment = |text: &str| moment::parse(text, now, zone).ok();
    Some(Window {
        from_ms: moment(from)?.as_millisecond(),
        until_ms: moment(until)?.as_millisecond(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn of(text: &str) -> Option<(String, String)> {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let window = Window {
            from_ms: ms("2026-11-01T00:00:00+01:00"),
            until_ms: ms("2026-11-23T15:00:00+01:00"),
        };
        let now = Timestamp::from_millisecond(window.until_ms).unwrap();
        let found = versus(text, window, now, &zone).ok()?;
        let text = |ms| Timestamp::from_millisecond(ms).unwrap().to_string();
        Some((text(found.from_ms), text(found.until_ms)))
    }

    #[test]
    fn every_way_to_write_a_time_to_compare_with_is_understood() {
        for (text, from, until) in [
            ("previous", "2026-10-09T08:00:00Z", "2026-10-31T23:00:00Z"),
            (
                "Previous Month",
                "2026-09-30T22:00:00Z",
                "2026-10-23T13:00:00Z",
            ),
            ("last week", "2026-10-24T22:00:00Z", "2026-11-16T14:00:00Z"),
            (
                "previous year",
                "2025-10-31T23:00:00Z",
                "2025-11-23T14:00:00Z",
            ),
            ("2026-10", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"),
            ("2026-10-25", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
            ("2025", "2024-12-31T23:00:00Z", "2025-12-31T23:00:00Z"),
            (
                "-7d..yesterday",
                "2026-11-16T14:00:00Z",
                "2026-11-21T23:00:00Z",
            ),
        ] {
            let expected = (from.to_owned(), until.to_owned());
            assert_eq!(of(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_to_compare_with_is_refused() {
        for text in [
            "",
            "soon",
            "previous moon",
            "2026-13",
            "now..-7d",
            "..",
            "20-6",
            "previous a b",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
