//! `bpftok quota`: what providers last said of limits.

use serde_json::{Map, Value, json};

use super::table::{Cell, Column, Table, write_json};
use super::text::{self, Cut};
use super::{Error, Format, Found, JSON_SCHEMA_VERSION, Page};
use crate::store::{Quota, Reader};

/// Time after which what is left of a limit that does not say when it begins anew is not known.
const STALE_MS: i64 = 86_400_000;

/// Digits of a hash that tell accounts apart for a person.
const SHORT_HASH: usize = 8;

/// Writes the latest of every limit, of one provider if one is named.
///
/// # Errors
/// All of [`Error`].
pub fn quota(page: &mut Page<'_>, reader: &Reader, provider: Option<&str>) -> Result<Found, Error> {
    let quotas = reader.quotas(provider)?;
    let found = if quotas.is_empty() {
        Found::Nothing
    } else {
        Found::Something
    };
    if found == Found::Nothing && page.is_for_people() {
        let of = provider.map_or_else(String::new, |name| format!(" of {}", text::visible(name)));
        writeln!(
            page.out,
            "No limit{of} has been told yet. Providers tell them in their replies, so make a call while the\n\
             agent runs (`bpftok status`); whether it is seen, `bpftok tail` says. Not every provider tells any."
        )?;
        return Ok(found);
    }
    let now_ms = page.now.as_millisecond();
    let hosts: Vec<&str> = quotas
        .iter()
        .map(|quota| quota.host_name.as_str())
        .collect();
    let is_one_host = hosts.iter().all(|host| hosts.first() == Some(host));
    let host = Column::text("host_name", "HOST", 9, Cut::End);
    let table = Table {
        columns: vec![
            Column::text("provider", "PROVIDER", 0, Cut::End),
            Column {
                heading: host.heading.filter(|_| !is_one_host),
                ..host
            },
            Column::hidden("account_hash"),
            Column::text("account", "ACCOUNT", 3, Cut::End),
            Column::text("limit_name", "LIMIT", 0, Cut::End),
            Column::hidden("window_seconds"),
            Column::number("window", "WINDOW", 5),
            Column::hidden("used_ratio"),
            Column::number("used", "USED", 0),
            Column::number("remaining_value", "LEFT", 6),
            Column::number("limit_value", "LIMITED TO", 7),
            Column::hidden("resets_at"),
            Column::number("resets_in_ms", "RESETS IN", 1),
            Column::hidden("observed_at"),
            Column::number("seen_ago_ms", "SEEN", 2),
            Column::hidden("is_stale"),
            Column::text("state", "", 1, Cut::End),
        ],
        rows: quotas.iter().map(|quota| row(quota, now_ms)).collect(),
        keys: 0,
        totals: None,
    };
    if page.format == Format::Json {
        let mut document = Map::new();
        document.insert("schema_version".to_owned(), JSON_SCHEMA_VERSION.into());
        document.insert("generated_at".to_owned(), page.now.to_string().into());
        document.insert("rows".to_owned(), table.json_rows());
        write_json(page.out, &Value::Object(document))?;
    } else {
        page.table(&table)?;
    }
    Ok(found)
}

fn row(quota: &Quota, now_ms: i64) -> Vec<Cell> {
    let short = |hash: &String| hash.chars().take(SHORT_HASH).collect::<String>();
    let until = |ms: i64| u64::try_from(ms.saturating_sub(now_ms)).ok();
    let seen_ms = now_ms.saturating_sub(quota.observed_ms);
    let is_over = quota.resets_ms.is_some_and(|resets| resets <= now_ms);
    let is_stale = is_over || seen_ms > STALE_MS;
    let is_used_up = quota.used_ratio.is_some_and(|used| used >= 1.0) || quota.remaining == Some(0);
    let state = match (is_stale, is_used_up) {
        (true, _) => Some("stale"),
        (false, true) => Some("used up"),
        (false, false) => None,
    };
    vec![
        Cell::Text(quota.provider.clone()),
        Cell::Text(quota.host_name.clone()),
        Cell::text(quota.account_hash.clone()),
        Cell::text(quota.account_hash.as_ref().map(short)),
        Cell::Text(quota.name.clone()),
        quota.window_seconds.map_or(Cell::Unknown, Cell::Count),
        Cell::text(quota.window_seconds.map(window)),
        quota
            .used_ratio
            .map_or(Cell::Unknown, |used| Cell::Number(json!(used))),
        Cell::text(quota.used_ratio.map(percent)),
        quota.remaining.map_or(Cell::Unknown, Cell::Count),
        quota.limit.map_or(Cell::Unknown, Cell::Count),
        quota.resets_ms.map_or(Cell::Unknown, Cell::Moment),
        quota
            .resets_ms
            .and_then(until)
            .map_or(Cell::Unknown, Cell::Millis),
        Cell::Moment(quota.observed_ms),
        u64::try_from(seen_ms).map_or(Cell::Unknown, Cell::Millis),
        Cell::Number(Value::from(is_stale)),
        Cell::Text(state.unwrap_or_default().to_owned()),
    ]
}

/// A window in its largest whole unit.
fn window(seconds: u64) -> String {
    match seconds {
        0 => "0 s".to_owned(),
        _ if seconds.is_multiple_of(86_400) => format!("{} d", seconds / 86_400),
        _ if seconds.is_multiple_of(3_600) => format!("{} h", seconds / 3_600),
        _ if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

/// A share in per cent, cut to a tenth, so that it is never rounded to all.
fn percent(ratio: f64) -> String {
    let tenths = (ratio * 1_000.0 + 1e-6).floor();
    match tenths {
        _ if ratio > 0.0 && tenths < 1.0 => "<0.1 %".to_owned(),
        _ => format!("{:.1} %", tenths / 10.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_rounded_to_all_or_nothing() {
        let texts = [0.0, 0.000_01, 0.634, 0.999_99, 1.0, 1.25].map(percent);
        assert_eq!(
            texts,
            ["0.0 %", "<0.1 %", "63.4 %", "99.9 %", "100.0 %", "125.0 %"]
        );
    }

    #[test]
    fn windows_have_their_largest_whole_unit() {
        let texts = [0, 59, 60, 90, 18_000, 604_800].map(window);
        assert_eq!(texts, ["0 s", "59 s", "1 min", "90 s", "5 h", "7 d"]);
    }
}
