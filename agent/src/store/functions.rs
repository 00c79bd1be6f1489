//! The functions that our queries use and SQLite lacks.

use std::sync::Arc;

use agent_core::llm::Usage;
use agent_core::prices::{Prices, weighted_tokens};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ZonedDateTime};
use rusqlite::Connection;
use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::types::ValueRef;

use super::rates::{InputRates, Windows};
use super::{Dimension, Window, to_db};

/// Gives a connection `hour_start(ms)`, `day_start(ms)`, `week_start(ms)` and `month_start(ms)` of
/// `zone`, and `percentile(value, percent)`.
///
/// # Errors
/// Those of SQLite.
pub(super) fn install(conn: &Connection, zone: &TimeZone) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    let starts: [(_, PeriodStart); 4] = [
        (c"hour_start", hour_start),
        (c"day_start", day_start),
        (c"week_start", week_start),
        (c"month_start", month_start),
    ];
    for (name, start) in starts {
        let zone = zone.clone();
        conn.create_scalar_function(name, 1, flags, move |context| {
            Ok(start(context.get(0)?, &zone))
        })?;
    }
    conn.create_aggregate_function(c"percentile", 2, flags, Percentile)
}

/// Gives a connection `window_tokens(provider, model)`, how long a prompt of the model may be, NULL if
/// the list does not say it, and `weighted_tokens(provider, model, at_ms, cost_nanousd, input_uncached,
/// cache_read, cache_write_5m, cache_write_1h, cache_write_other, output)`: the cost in tokens of
/// uncached input, at the model's price of that hour for short prompts on standard terms. Where the
/// cost or that price is not known, the classes count 1, 0.1, 1.25, 2, 1.25 and 5; NULL if nothing
/// is known.
///
/// # Errors
/// Those of SQLite.
pub(super) fn install_weights(conn: &Connection, prices: Prices) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    let prices = Arc::new(prices);
    let windows = Windows::new(Arc::clone(&prices));
    conn.create_scalar_function(c"window_tokens", 2, flags, move |context| {
        let window = match context.get_raw(1) {
            ValueRef::Null => None,
            model @ (ValueRef::Integer(_)
            | ValueRef::Real(_)
            | ValueRef::Text(_)
            | ValueRef::Blob(_)) => windows.of(context.get_raw(0).as_str()?, model.as_str()?),
        };
        Ok(window.map(to_db))
    })?;
    let rates = InputRates::new(prices);
    conn.create_scalar_function(c"weighted_tokens", 10, flags, move |context| {
        let tokens = |at: usize| context.get::<Option<i64>>(at);
        let rate = match context.get_raw(1) {
            ValueRef::Null => None,
            model @ (ValueRef::Integer(_)
            | ValueRef::Real(_)
            | ValueRef::Text(_)
            | ValueRef::Blob(_)) => rates.at(
                context.get_raw(0).as_str()?,
                model.as_str()?,
                context.get(2)?,
            ),
        };
        let count = |at: usize| Ok::<_, rusqlite::Error>(tokens(at)?.map(i64::unsigned_abs));
        let usage = Usage {
            input_uncached: count(4)?,
            cache_read: count(5)?,
            cache_write_5m: count(6)?,
            cache_write_1h: count(7)?,
            cache_write_other: count(8)?,
            output: count(9)?,
            ..Usage::default()
        };
        let cost = tokens(3)?.map(i64::unsigned_abs);
        Ok(weighted_tokens(&usage, cost, rate).map(to_db))
    })
}

/// The SQL function `percentile(value, percent)`: the smallest of the values that so many of a
/// hundred do not exceed; NULL if there is none.
struct Percentile;

impl Aggregate<(Vec<i64>, i64), Option<i64>> for Percentile {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<(Vec<i64>, i64)> {
        Ok((Vec::new(), 50))
    }

    fn step(
        &self,
        context: &mut Context<'_>,
        (values, percent): &mut (Vec<i64>, i64),
    ) -> rusqlite::Result<()> {
        *percent = context.get(1)?;
        values.extend(context.get::<Option<i64>>(0)?);
        Ok(())
    }

    fn finalize(
        &self,
        _: &mut Context<'_>,
        seen: Option<(Vec<i64>, i64)>,
    ) -> rusqlite::Result<Option<i64>> {
        let (mut values, percent) = seen.unwrap_or_default();
        let percent = usize::try_from(percent).unwrap_or(0).min(100);
        Ok(percentile(&mut values, percent))
    }
}

/// The smallest of the values that so many of a hundred, at most all, do not exceed; `None` if there
/// is none.
pub(super) fn percentile(values: &mut [i64], percent: usize) -> Option<i64> {
    let count = values.len();
    let rank = count.saturating_mul(percent).div_ceil(100).max(1);
    if count < rank {
        return None;
    }
    let (_, value, _) = values.select_nth_unstable(rank - 1);
    Some(*value)
}

/// Start of the period of a moment, for a dimension that is one.
pub(super) fn period_start(of: Dimension, ms: i64, zone: &TimeZone) -> Option<i64> {
    let starts: [(Dimension, PeriodStart); 4] = [
        (Dimension::Hour, hour_start),
        (Dimension::Day, day_start),
        (Dimension::Week, week_start),
        (Dimension::Month, month_start),
    ];
    let (_, start) = starts.into_iter().find(|(period, _)| *period == of)?;
    Some(start(ms, zone))
}

/// LIMIT: ten years of days.
const MOST_DAYS: usize = 3_660;

/// The beginnings of days inside of a window; `None` if there are more than ten years of them, or the
/// window reaches beyond the calendar.
pub(super) fn day_starts(window: Window, zone: &TimeZone) -> Option<Vec<i64>> {
    let mut day = local(window.from_ms, zone)?;
    let mut starts = Vec::new();
    loop {
        day = day.tomorrow().and_then(|next| next.start_of_day()).ok()?;
        let start = day.timestamp().as_millisecond();
        if start >= window.until_ms {
            return Some(starts);
        }
        if starts.len() == MOST_DAYS {
            return None;
        }
        starts.push(start);
    }
}

/// A function that gives the start of the period of a moment.
type PeriodStart = fn(i64, &TimeZone) -> i64;

/// Start of the day of a moment, in milliseconds since the Unix epoch. A moment beyond the calendar
/// starts its own day.
fn day_start(ms: i64, zone: &TimeZone) -> i64 {
    Timestamp::from_millisecond(ms)
        .and_then(|moment| moment.to_zoned_datetime(zone.clone()).start_of_day())
        .map_or(ms, |start| start.timestamp().as_millisecond())
}

/// Start of the week of a moment: of its Monday.
fn week_start(ms: i64, zone: &TimeZone) -> i64 {
    local(ms, zone)
        .and_then(|day| {
            day.checked_sub(Span::new().days(day.weekday().to_monday_zero_offset()))
                .ok()
        })
        .and_then(|monday| monday.start_of_day().ok())
        .map_or(ms, |start| start.timestamp().as_millisecond())
}

/// Start of the month of a moment.
fn month_start(ms: i64, zone: &TimeZone) -> i64 {
    local(ms, zone)
        .and_then(|day| day.first_of_month().ok())
        .and_then(|first| first.start_of_day().ok())
        .map_or(ms, |start| start.timestamp().as_millisecond())
}

fn local(ms: i64, zone: &TimeZone) -> Option<ZonedDateTime> {
    let moment = Timestamp::from_millisecond(ms).ok()?;
    Some(moment.to_zoned_datetime(zone.clone()))
}

/// Start of the hour of a moment. Within the offset in force: where clocks go back, an hour that
/// comes twice is two hours.
fn hour_start(ms: i64, zone: &TimeZone) -> i64 {
    let Ok(moment) = Timestamp::from_millisecond(ms) else {
        return ms;
    };
    let local = moment.to_zoned_datetime(zone.clone());
    let into = i64::from(local.minute()) * 60_000
        + i64::from(local.second()) * 1_000
        + i64::from(local.millisecond());
    ms - into
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn days_start_at_local_midnight_also_at_odd_offsets_and_when_clocks_change() {
        let kathmandu = TimeZone::get("Asia/Kathmandu").unwrap();
        let moment = ms("2026-11-02T00:05:00+05:45");
        let midnight = ms("2026-11-02T00:00:00+05:45");
        assert_eq!(day_start(moment, &kathmandu), midnight);
        assert_eq!(hour_start(moment, &kathmandu), midnight);
        assert_eq!(day_start(midnight - 1, &kathmandu), midnight - 86_400_000);
        assert_eq!(hour_start(midnight - 1, &kathmandu), midnight - 3_600_000);
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        // 25 hours: summer time ends.
        let (start, end) = (ms("2026-10-24T22:00:00Z"), ms("2026-10-25T23:00:00Z"));
        assert_eq!(day_start(end - 1, &berlin), start);
        assert_eq!(day_start(end, &berlin), end);
        // The hour from two to three comes twice.
        assert_eq!(
            hour_start(ms("2026-10-25T00:30:00Z"), &berlin),
            ms("2026-10-25T00:00:00Z")
        );
        assert_eq!(
            hour_start(ms("2026-10-25T01:30:00Z"), &berlin),
            ms("2026-10-25T01:00:00Z")
        );
    }

    #[test]
    fn the_days_of_a_window_begin_when_clocks_say_so() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let window = Window {
            from_ms: ms("2026-10-24T12:00:00Z"),
            until_ms: ms("2026-10-26T23:00:00Z"),
        };
        assert_eq!(
            day_starts(window, &berlin),
            Some(vec![ms("2026-10-24T22:00:00Z"), ms("2026-10-25T23:00:00Z")])
        );
        let endless = Window {
            from_ms: 0,
            ..window
        };
        assert_eq!(day_starts(endless, &berlin), None);
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let conn = Connection::open_in_memory().unwrap();
        install(&conn, &TimeZone::UTC).unwrap();
        let of = |values: &str, percent: i64| {
            let sql = format!("SELECT percentile(column1, {percent}) FROM (VALUES {values})");
            conn.query_row(&sql, [], |row| row.get::<_, Option<i64>>(0))
                .unwrap()
        };
        assert_eq!(of("(NULL)", 50), None);
        assert_eq!(of("(7)", 50), Some(7));
        assert_eq!(of("(3), (1), (NULL), (2)", 50), Some(2));
        assert_eq!(of("(4), (3), (2), (1)", 50), Some(2));
        assert_eq!(of("(4), (3), (2), (1)", 95), Some(4));
        assert_eq!(of("(4), (3), (2), (1)", 0), Some(1));
        let none = "SELECT percentile(1, 50) FROM (VALUES (1)) WHERE 0";
        let none: Option<i64> = conn.query_row(none, [], |row| row.get(0)).unwrap();
        assert_eq!(none, None);
    }
}
