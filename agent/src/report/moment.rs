//! Moments as people write them.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ZonedDateTime};

/// A text that names no moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no time; write 2026-11-01, \"2026-11-01 15:00\", 2026-11-01T15:00:00Z, now, today, \
     yesterday, week, month, year, \"2 hours ago\", -7d, or @1790000000"
)]
pub struct NoMoment {
    text: String,
}

/// The moment that `text` names, as seen at `now` in `zone`. A date alone is its first moment;
/// `today`, `week` (from Monday), `month` and `year` are the beginning of the current one.
///
/// # Errors
/// If it names none, or one outside the calendar.
pub fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, NoMoment> {
    let trimmed = text.trim();
    named(trimmed, &now.to_zoned_datetime(zone.clone()))
        .or_else(|| absolute(trimmed, zone))
        .or_else(|| relative(trimmed, &now.to_zoned_datetime(zone.clone())))
        .ok_or_else(|| NoMoment {
            text: text.to_owned(),
        })
}

fn named(text: &str, now: &ZonedDateTime) -> Option<Timestamp> {
    let moment = match text.to_ascii_lowercase().as_str() {
        "now" => return Some(now.timestamp()),
        "today" => now.start_of_day(),
        "yesterday" => now.yesterday().and_then(|day| day.start_of_day()),
        "week" => {
            let since_monday = Span::new().days(now.weekday().to_monday_zero_offset());
            now.checked_sub(since_monday)
                .and_then(|day| day.start_of_day())
        }
        "month" => now.first_of_month().and_then(|day| day.start_of_day()),
        "year" => now.first_of_year().and_then(|day| day.start_of_day()),
        _ => return None,
    };
    moment.ok().map(|moment| moment.timestamp())
}

fn absolute(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    if let Some(epoch) = text.strip_prefix('@') {
        return Timestamp::from_second(epoch.parse().ok()?).ok();
    }
    // With an offset it needs no zone. A date alone must not be read as a date and a time.
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment);
    }
    let local = if text.len() > "2026-11-01".len() {
        text.parse::<DateTime>()
            .ok()?
            .to_zoned_datetime(zone.clone())
            .ok()?
    } else {
        text.parse::<Date>()
            .ok()?
            .to_zoned_datetime(zone.clone())
            .ok()?
    };
    Some(local.timestamp())
}

/// "2 hours ago", "-7d": back from now. "7d" alone would be a moment to come, which is no place for
/// a report.
fn relative(text: &str, now: &ZonedDateTime) -> Option<Timestamp> {
    let span: Span = text.parse().ok()?;
    if !span.is_negative() {
        return None;
    }
    now.checked_add(span).ok().map(|moment| moment.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, zone: &str) -> Option<String> {
        let zone = TimeZone::get(zone).unwrap();
        let now = "2026-11-23T17:30:00Z".parse().unwrap();
        parse(text, now, &zone)
            .ok()
            .map(|moment| moment.to_string())
    }

    #[test]
    fn every_way_to_write_a_moment_is_understood() {
        for (text, moment) in [
            ("2026-11-01", "2026-10-31T18:15:00Z"),
            ("2026-11-01 15:00", "2026-11-01T09:15:00Z"),
            ("2026-11-01T15:00:30", "2026-11-01T09:15:30Z"),
            ("2026-11-01T15:00:00Z", "2026-11-01T15:00:00Z"),
            ("2026-11-01T15:00:00+01:00", "2026-11-01T14:00:00Z"),
            ("now", "2026-11-23T17:30:00Z"),
            ("today", "2026-11-22T18:15:00Z"),
            ("Yesterday", "2026-11-21T18:15:00Z"),
            ("week", "2026-11-22T18:15:00Z"),
            ("month", "2026-10-31T18:15:00Z"),
            ("year", "2025-12-31T18:15:00Z"),
            ("2 hours ago", "2026-11-23T15:30:00Z"),
            ("-7d", "2026-11-16T17:30:00Z"),
            ("-90m", "2026-11-23T16:00:00Z"),
            ("@1790000000", "2026-09-21T14:13:20Z"),
        ] {
            assert_eq!(at(text, "Asia/Kathmandu").unwrap(), moment, "{text}");
        }
    }

    #[test]
    fn a_day_back_is_a_calendar_day_also_when_clocks_change() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let now: Timestamp = "2026-10-25T12:00:00+01:00".parse().unwrap();
        assert_eq!(
            parse("-1d", now, &zone).unwrap(),
            "2026-10-24T12:00:00+02:00".parse::<Timestamp>().unwrap()
        );
    }

    #[test]
    fn what_is_no_moment_is_refused_with_the_ways_to_write_one() {
        for text in [
            "",
            "soon",
            "2026-13-01",
            "25:00",
            "7d",
            "@",
            "@x",
            "99999999999d ago",
        ] {
            assert_eq!(at(text, "UTC"), None, "{text}");
        }
        let refused = parse("soon", Timestamp::UNIX_EPOCH, &TimeZone::UTC).unwrap_err();
        assert!(
            refused
                .to_string()
                .starts_with("\"soon\" is no time; write 2026-11-01")
        );
    }
}
