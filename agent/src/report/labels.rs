//! What names the rows of a usage report.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::Page;
use super::table::{Cell, Column};
use super::text::Cut;
use crate::store::{Dimension, Group, Key};

/// The columns that name rows by these dimensions.
pub(super) fn columns(by: &[Dimension]) -> Vec<Column> {
    let mut columns: Vec<Column> = by.iter().map(|dimension| named(*dimension)).collect();
    match by {
        [only] => columns.extend(details(*only)),
        _ => {
            if by.iter().any(|dimension| dimension.is_period()) {
                columns.push(Column::hidden("start"));
            }
        }
    }
    columns
}

/// The column that names a dimension's values.
fn named(dimension: Dimension) -> Column {
    let text = |name, heading| Column::text(name, heading, 0, Cut::End);
    match dimension {
        Dimension::Hour => fixed("hour", "HOUR"),
        Dimension::Day => fixed("day", "DAY"),
        Dimension::Week => fixed("week", "WEEK"),
        Dimension::Month => fixed("month", "MONTH"),
        Dimension::Workflow => text("workflow", "WORKFLOW"),
        Dimension::BillingCode => text("billing_code", "BILLING CODE"),
        Dimension::Session => text("session_key", "SESSION"),
        Dimension::Client => text("client_name", "CLIENT"),
        Dimension::Process => fixed("pid", "PID"),
        Dimension::Unit => text("systemd_unit", "UNIT"),
        Dimension::Container => text("container", "CONTAINER"),
        Dimension::User => text("user_name", "USER"),
        Dimension::Repo => text("repo", "REPO"),
        Dimension::Branch => text("branch", "BRANCH"),
        Dimension::Model => text("model", "MODEL"),
        Dimension::Provider => text("provider", "PROVIDER"),
        Dimension::Task => text("task_type", "TASK"),
        Dimension::ThreadKind => text("thread_kind", "THREADS"),
        Dimension::LengthBucket => fixed("length_bucket_requests", "REQS/SESSION"),
        Dimension::LengthDuration => fixed("length_bucket_duration", "TIME/SESSION"),
        Dimension::LengthContext => fixed("length_bucket_context", "PEAK CONTEXT"),
        Dimension::Outcome => text("outcome", "OUTCOME"),
        Dimension::Host => text("host_name", "HOST"),
        Dimension::Billing => text("billing_kind", "BILLING"),
    }
}

/// The columns that say more about the values of a dimension, where it is the only one.
fn details(dimension: Dimension) -> Vec<Column> {
    match dimension {
        Dimension::Hour | Dimension::Day | Dimension::Week | Dimension::Month => {
            vec![Column::hidden("start")]
        }
        Dimension::Process => vec![
            Column::text("comm", "COMM", 0, Cut::End),
            Column::text("user_name", "USER", 1, Cut::End),
            Column::text("exe_path", "EXE", 3, Cut::Start),
        ],
        Dimension::Session => vec![
            Column::text("client_name", "CLIENT", 1, Cut::End),
            Column::text("user_name", "USER", 3, Cut::End),
            Column::text("key_source", "KEY", 6, Cut::End),
        ],
        Dimension::Model => vec![Column::text("provider", "PROVIDER", 1, Cut::End)],
        Dimension::Client => vec![Column::text("client_version", "VERSION", 1, Cut::End)],
        Dimension::Workflow => vec![Column::text("workflow_origin", "BY", 8, Cut::End)],
        Dimension::Repo => vec![Column::text("git_root", "FOLDER", 8, Cut::Start)],
        Dimension::BillingCode
        | Dimension::Unit
        | Dimension::Container
        | Dimension::User
        | Dimension::Branch
        | Dimension::Provider
        | Dimension::Task
        | Dimension::ThreadKind
        | Dimension::LengthBucket
        | Dimension::LengthDuration
        | Dimension::LengthContext
        | Dimension::Outcome
        | Dimension::Host
        | Dimension::Billing => Vec::new(),
    }
}

/// A text that is never cut.
fn fixed(name: &str, heading: &str) -> Column {
    Column {
        cut: None,
        ..Column::text(name, heading, 0, Cut::End)
    }
}

/// The cells that name each group; `other` is the name of what is not kept apart.
pub(super) fn cells(
    page: &Page<'_>,
    by: &[Dimension],
    groups: &[Group],
    other: &str,
) -> Vec<Vec<Cell>> {
    let width = columns(by).len();
    let periods: Vec<BTreeMap<i64, String>> = by
        .iter()
        .enumerate()
        .map(|(at, dimension)| period_names(page, *dimension, at, groups))
        .collect();
    groups
        .iter()
        .map(|group| {
            let mut cells: Vec<Cell> = by
                .iter()
                .enumerate()
                .map(|(at, dimension)| {
                    let name = group.names.get(at).cloned().flatten();
                    match group.keys.get(at) {
                        Some(Key::Other) => Cell::Text(other.to_owned()),
                        Some(Key::Number(start)) if dimension.is_period() => {
                            Cell::text(periods.get(at).and_then(|names| names.get(start)).cloned())
                        }
                        Some(Key::Number(_)) if *dimension == Dimension::Process => name
                            .and_then(|pid| pid.parse::<u32>().ok())
                            .map_or(Cell::Unknown, |pid| Cell::Number(Value::from(pid))),
                        Some(Key::Unknown) | None => Cell::Unknown,
                        Some(Key::Number(_) | Key::Text(_)) => Cell::text(name),
                    }
                })
                .collect();
            let is_other = group.keys.contains(&Key::Other);
            let start = by
                .iter()
                .zip(&group.keys)
                .rev()
                .find_map(|(by, key)| match key {
                    Key::Number(start) if by.is_period() => Some(*start),
                    Key::Number(_) | Key::Unknown | Key::Text(_) | Key::Other => None,
                });
            if let Some(start) = start {
                cells.push(Cell::Moment(start));
            } else if !is_other {
                cells.extend(group.details.iter().cloned().map(Cell::text));
            }
            cells.resize(width, Cell::Unknown);
            cells
        })
        .collect()
}

/// The names of all periods of one dimension, by their beginning.
fn period_names(
    page: &Page<'_>,
    dimension: Dimension,
    at: usize,
    groups: &[Group],
) -> BTreeMap<i64, String> {
    let format = if dimension == Dimension::Hour {
        "%Y-%m-%d %H:%M"
    } else if dimension == Dimension::Week {
        "%G-W%V"
    } else if dimension == Dimension::Month {
        "%Y-%m"
    } else if dimension == Dimension::Day {
        "%Y-%m-%d"
    } else {
        return BTreeMap::new();
    };
    let name = |start: i64, format: &str| {
        Timestamp::from_millisecond(start)
            .map(|start| {
                start
                    .to_zoned_datetime(page.zone.clone())
                    .strftime(format)
                    .to_string()
            })
            .unwrap_or_default()
    };
    let mut names = BTreeMap::new();
    let mut count = BTreeMap::<String, usize>::new();
    for group in groups {
        if let Some(Key::Number(start)) = group.keys.get(at)
            && !names.contains_key(start)
        {
            let name = name(*start, format);
            *count.entry(name.clone()).or_default() += 1;
            names.insert(*start, name);
        }
    }
    // Where clocks go back an hour comes twice; the offset tells the two apart.
    for (start, found) in &mut names {
        if count.get(found).is_some_and(|count| *count > 1) {
            *found = name(*start, "%Y-%m-%d %H:%M%:z");
        }
    }
    names
}
