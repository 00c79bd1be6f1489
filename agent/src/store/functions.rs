//! The functions that our queries use and SQLite lacks.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::Connection;
use rusqlite::functions::{Aggregate, Context, FunctionFlags};

/// Gives a connection `day_start(ms)` and `hour_start(ms)` of `zone`, and `percentile(value, percent)`.
///
/// # Errors
/// Those of SQLite.
pub(super) fn install(conn: &Connection, zone: &TimeZone) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    let starts: [(_, PeriodStart); 2] = [(c"day_start", day_start), (c"hour_start", hour_start)];
    for (name, start) in starts {
        let zone = zone.clone();
        conn.create_scalar_function(name, 1, flags, move |context| {
            Ok(start(context.get(0)?, &zone))
        })?;
    }
    conn.create_aggregate_function(c"percentile", 2, flags, Percentile)
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
        let count = values.len();
        let percent = usize::try_from(percent).unwrap_or(0).min(100);
        let rank = count.saturating_mul(percent).div_ceil(100).max(1);
        if count == 0 {
            return Ok(None);
        }
        let (_, value, _) = values.select_nth_unstable(rank - 1);
        Ok(Some(*value))
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
