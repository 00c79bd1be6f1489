//! `bpftok report`: usage by day, process, session, model and so on.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::table::{Cell, Column, Table};
use super::text::Cut;
use super::{Asked, Error, Found, Page};
use crate::store::{Grouping, Reader, Sum, UsageSum};

/// Writes the usage of a window, put together by `grouping`.
///
/// # Errors
/// All of [`Error`].
pub fn usage(
    page: &mut Page<'_>,
    reader: &Reader,
    grouping: Grouping,
    asked: &Asked,
) -> Result<Found, Error> {
    let window = page.window(asked)?;
    let groups = reader.usage(grouping, window)?;
    let totals = reader
        .usage(Grouping::All, window)?
        .into_iter()
        .next()
        .unwrap_or_default();
    let coverage = reader.coverage(window)?;
    let is_empty = groups.is_empty();
    if is_empty && page.is_for_people() {
        page.nothing_decoded(reader, &coverage)?;
        return Ok(Found::Nothing);
    }
    let keys = key_columns(grouping);
    let labels = labels(page, grouping, &groups);
    let mut table = Table {
        keys: keys.len(),
        ..Table::default()
    };
    table.columns.extend(keys.iter().cloned());
    table.columns.extend(sum_columns());
    for (label, group) in labels.into_iter().zip(&groups) {
        table
            .rows
            .push(label.into_iter().chain(sum_cells(group)).collect());
    }
    let mut total: Vec<Cell> = keys.iter().map(|_| Cell::Unknown).collect();
    if let Some(first) = total.first_mut() {
        *first = Cell::Text("total".to_owned());
    }
    total.extend(sum_cells(&totals));
    table.totals = Some(total);
    let fields = Map::from_iter([("by".to_owned(), Value::from(name(grouping)))]);
    page.window_report(window, &table, &totals, &coverage, fields)?;
    Ok(if is_empty {
        Found::Nothing
    } else {
        Found::Something
    })
}

/// Name of a grouping in documents.
const fn name(grouping: Grouping) -> &'static str {
    match grouping {
        Grouping::All => "all",
        Grouping::Day => "day",
        Grouping::Hour => "hour",
        Grouping::Process => "process",
        Grouping::Session => "session",
        Grouping::Model => "model",
        Grouping::Provider => "provider",
        Grouping::Client => "client",
    }
}

fn key_columns(grouping: Grouping) -> Vec<Column> {
    let text = |name, heading| Column::text(name, heading, 0, Cut::End);
    match grouping {
        Grouping::All => Vec::new(),
        Grouping::Day => vec![fixed("day", "DAY"), Column::hidden("start")],
        Grouping::Hour => vec![fixed("hour", "HOUR"), Column::hidden("start")],
        Grouping::Process => vec![
            fixed("pid", "PID"),
            text("comm", "COMM"),
            Column::text("user_name", "USER", 1, Cut::End),
            Column::text("exe_path", "EXE", 3, Cut::Start),
        ],
        Grouping::Session => vec![
            text("session_key", "SESSION"),
            Column::text("client_name", "CLIENT", 1, Cut::End),
            Column::text("user_name", "USER", 3, Cut::End),
            Column::text("key_source", "KEY", 6, Cut::End),
        ],
        Grouping::Model => vec![
            text("model", "MODEL"),
            Column::text("provider", "PROVIDER", 1, Cut::End),
        ],
        Grouping::Provider => vec![text("provider", "PROVIDER")],
        Grouping::Client => {
            vec![
                text("client_name", "CLIENT"),
                Column::text("client_version", "VERSION", 1, Cut::End),
            ]
        }
    }
}

/// A text that is never cut.
fn fixed(name: &str, heading: &str) -> Column {
    Column {
        cut: None,
        ..Column::text(name, heading, 0, Cut::End)
    }
}

/// The cells that name each group.
fn labels(page: &Page<'_>, grouping: Grouping, groups: &[UsageSum]) -> Vec<Vec<Cell>> {
    let period = |format: &'static str| {
        let names: Vec<String> = groups
            .iter()
            .map(|group| period_name(page, group, format))
            .collect();
        groups
            .iter()
            .zip(&names)
            .map(|(group, name)| {
                // Where clocks go back an hour comes twice; the offset tells the two apart.
                let is_twice = names.iter().filter(|other| *other == name).count() > 1;
                let name = if is_twice {
                    period_name(page, group, "%Y-%m-%d %H:%M%:z")
                } else {
                    name.clone()
                };
                vec![
                    Cell::Text(name),
                    group.period_ms.map_or(Cell::Unknown, Cell::Moment),
                ]
            })
            .collect()
    };
    match grouping {
        Grouping::All => groups.iter().map(|_| Vec::new()).collect(),
        Grouping::Day => period("%Y-%m-%d"),
        Grouping::Hour => period("%Y-%m-%d %H:%M"),
        Grouping::Process
        | Grouping::Session
        | Grouping::Model
        | Grouping::Provider
        | Grouping::Client => {
            let count = key_columns(grouping).len();
            groups
                .iter()
                .map(|group| {
                    let mut cells: Vec<Cell> = group
                        .labels
                        .iter()
                        .take(count)
                        .map(|label| Cell::text(label.clone()))
                        .collect();
                    if grouping == Grouping::Process
                        && let Some(pid) = cells.first_mut()
                        && let Cell::Text(digits) = &pid
                        && let Ok(number) = digits.parse::<u32>()
                    {
                        *pid = Cell::Number(Value::from(number));
                    }
                    cells
                })
                .collect()
        }
    }
}

fn period_name(page: &Page<'_>, group: &UsageSum, format: &str) -> String {
    group
        .period_ms
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .map(|start| {
            start
                .to_zoned_datetime(page.zone.clone())
                .strftime(format)
                .to_string()
        })
        .unwrap_or_default()
}

/// The columns of [`sum_cells`].
pub(super) fn sum_columns() -> Vec<Column> {
    vec![
        Column::number("sessions", "SESS", 4),
        Column::number("requests", "REQS", 0),
        Column::number("errors", "ERR", 5),
        Column::number("context_tokens", "INPUT", 0),
        Column::number("input_uncached_tokens", "UNCACHED", 8),
        Column::number("cache_read_tokens", "CACHED", 2),
        Column::number("cache_write_tokens", "WRITTEN", 7),
        Column::number("output_tokens", "OUTPUT", 0),
        Column::number("reasoning_tokens", "REASONING", 9),
        Column::number("estimated_requests", "EST", 5),
        Column::number("cost_nanousd", "COST", 0),
        Column::number("output_tokens_per_second", "TOK/S", 12),
        Column::number("ttft_p50_ms", "TTFT", 11),
        Column::hidden("ttft_p95_ms"),
        Column::hidden("duration_p50_ms"),
        Column::hidden("duration_p95_ms"),
        Column::hidden("aborted_requests"),
        Column::hidden("retry_requests"),
        Column::hidden("estimated_tokens"),
        Column::hidden("lower_bound_requests"),
        Column::hidden("estimated_cost_nanousd"),
        Column::hidden("subscription_cost_nanousd"),
        Column::hidden("provider_cost_nanousd"),
        Column::hidden("repriced_nanousd"),
        Column::hidden("cost_lower_bound_requests"),
        Column::hidden("unpriced_tokens"),
    ]
}

/// A group's sums.
pub(super) fn sum_cells(group: &UsageSum) -> Vec<Cell> {
    vec![
        Cell::Count(group.sessions),
        Cell::Count(group.requests),
        Cell::Count(group.errors),
        sum(group.context),
        sum(group.input_uncached),
        sum(group.cache_read),
        sum(group.cache_write),
        sum(group.output),
        sum(group.reasoning),
        Cell::Count(group.estimated_requests),
        money(group.cost),
        count(group.output_tokens_per_second),
        millis(group.ttft_p50_ms),
        millis(group.ttft_p95_ms),
        millis(group.duration_p50_ms),
        millis(group.duration_p95_ms),
        Cell::Count(group.aborted_requests),
        Cell::Count(group.retry_requests),
        Cell::Count(group.estimated_tokens),
        Cell::Count(group.lower_bound_requests),
        group.estimated_cost.map_or(Cell::Unknown, Cell::Money),
        group.subscription_cost.map_or(Cell::Unknown, Cell::Money),
        group.provider_cost.map_or(Cell::Unknown, Cell::Money),
        group.repriced_cost.map_or(Cell::Unknown, Cell::Money),
        Cell::Count(group.cost_lower_bound_requests),
        Cell::Count(group.unpriced_tokens),
    ]
}

fn count(count: Option<u64>) -> Cell {
    count.map_or(Cell::Unknown, Cell::Count)
}

fn millis(millis: Option<u64>) -> Cell {
    millis.map_or(Cell::Unknown, Cell::Millis)
}

fn money(sum: Sum) -> Cell {
    match sum {
        Sum { value: None, .. } => Cell::Unknown,
        Sum {
            value: Some(value),
            is_lower_bound: true,
        } => Cell::MoneyAtLeast(value),
        Sum {
            value: Some(value),
            is_lower_bound: false,
        } => Cell::Money(value),
    }
}

fn sum(sum: Sum) -> Cell {
    match sum {
        Sum { value: None, .. } => Cell::Unknown,
        Sum {
            value: Some(value),
            is_lower_bound: true,
        } => Cell::AtLeast(value),
        Sum {
            value: Some(value),
            is_lower_bound: false,
        } => Cell::Count(value),
    }
}
