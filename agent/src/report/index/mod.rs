//! `bpftok index`: what a month of this host, or of a fleet, looked like.
//!
//! The figures are made here, from the sums that last; [`page`] puts them into panels of words,
//! charts and tables, which [`markdown`] and [`html`] write.

mod chart;
mod figures;
mod html;
mod markdown;
mod page;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::{Error, Found, Page, coverage_json, coverage_parts, table};
use crate::store::{Reader, Sum, UsageSum, Window};
use figures::Month;

/// How an index is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Written {
    /// Tables of GitHub's Markdown.
    #[default]
    Md,
    /// One page that needs nothing beside it.
    Html,
    /// One document.
    Json,
}

/// A text that names no month.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no month; write it as in 2026-11")]
pub struct NoMonth {
    text: String,
}

/// Writes the index of a month, by default the current one so far.
///
/// # Errors
/// All of [`Error`].
pub fn index(
    page: &mut Page<'_>,
    reader: &Reader,
    asked: Option<&str>,
    written: Written,
) -> Result<Found, Error> {
    let first = match asked {
        Some(text) => first_day(text).ok_or_else(|| NoMonth {
            text: text.to_owned(),
        })?,
        None => page
            .now
            .to_zoned_datetime(page.zone.clone())
            .date()
            .first_of_month(),
    };
    let no_month = || NoMonth {
        text: asked.unwrap_or_default().to_owned(),
    };
    let window = month(first, &page.zone).ok_or_else(no_month)?;
    let last = first.yesterday().map(Date::first_of_month);
    let last = last.ok().ok_or_else(no_month)?;
    let before = month(last, &page.zone).ok_or_else(no_month)?;
    let now = Month::read(reader, first, window)?;
    let before = Month::read(reader, last, before)?;
    let found = if now.is_empty() {
        Found::Nothing
    } else {
        Found::Something
    };
    let coverage = reader.coverage(window)?;
    let hosts = reader.hosts(window)?;
    if written == Written::Json {
        let mut document = page.document(window);
        document.insert("hosts".to_owned(), hosts.into());
        document.extend(figures::document(&now, &before));
        document.insert("coverage".to_owned(), coverage_json(&coverage));
        table::write_json(page.out, &Value::Object(document))?;
        return Ok(found);
    }
    let made = table::moment(page.now.as_millisecond(), &page.zone, "%Y-%m-%d %H:%M %:z");
    let is_over = window.until_ms <= page.now.as_millisecond();
    let mut rests_on = coverage_parts(&rests_on(&now), &coverage);
    rests_on.push(super::prices::in_force_text(&(page.prices)()));
    rests_on.push(format!("made {made}"));
    let shown = page::Shown::new(&now, &before, &hosts, page::IsOver(is_over), rests_on);
    match written {
        Written::Html => html::write(page.out, &shown)?,
        Written::Md | Written::Json => markdown::write(page.out, &shown)?,
    }
    Ok(found)
}

fn first_day(text: &str) -> Option<Date> {
    let is_month = text.len() == "2026-11".len();
    let day = || format!("{text}-01").parse().ok();
    is_month.then(day).flatten()
}

fn month(first: Date, zone: &TimeZone) -> Option<Window> {
    let next = first.last_of_month().tomorrow().ok()?;
    let start = |day: Date| {
        let moment = day.to_zoned_datetime(zone.clone()).ok()?;
        Some(Timestamp::as_millisecond(moment.timestamp()))
    };
    Some(Window {
        from_ms: start(first)?,
        until_ms: start(next)?,
    })
}

/// What the lines under every report need.
fn rests_on(month: &Month) -> UsageSum {
    let sum = month.sum();
    let known = |value: u64| Some(value).filter(|value| *value > 0);
    let exact = |value| Sum {
        value,
        is_lower_bound: false,
    };
    UsageSum {
        requests: sum.requests,
        context: exact(Some(sum.context)),
        output: exact(Some(sum.output)),
        estimated_tokens: sum.estimated,
        lower_bound_requests: sum.lower_bound_requests,
        cost: Sum {
            value: sum.cost,
            is_lower_bound: sum.cost_lower_bound_requests > 0,
        },
        cost_lower_bound_requests: sum.cost_lower_bound_requests,
        unpriced_tokens: sum.unpriced,
        estimated_cost: known(sum.estimated_cost),
        subscription_cost: known(sum.subscription_cost),
        ..UsageSum::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_that_of_the_zone_also_when_clocks_change() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let window = month(first_day("2026-10").unwrap(), &zone).unwrap();
        let ms = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        assert_eq!(window.from_ms, ms("2026-10-01T00:00:00+02:00"));
        assert_eq!(window.until_ms, ms("2026-11-01T00:00:00+01:00"));
        for text in ["", "2026", "2026-13", "2026-1-", "2026-11-01", "soon"] {
            assert_eq!(first_day(text), None, "{text}");
        }
    }
}
