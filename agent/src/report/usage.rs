//! `bpftok report`: usage by day, workflow, session, model and so on.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::labels;
use super::table::{Cell, Change, Column, Exactness, Share, Table};
use super::text::{grouped, visible};
use super::{Asked, Error, Found, Metric, Page, Reach, Wanted, WindowReport};
use crate::store::{
    Dimension, Filter, Group, Key, Question, Reader, Relation, Sum, UsageSum, Window,
};

/// Writes the usage of a window.
///
/// # Errors
/// All of [`Error`].
pub fn usage(
    page: &mut Page<'_>,
    reader: &Reader,
    wanted: &Wanted,
    asked: &Asked,
) -> Result<Found, Error> {
    match wanted.by.as_slice() {
        [_] => {}
        [one, other] if one != other => {}
        _ => return Err(Error::Dimensions),
    }
    let window = page.window_of(asked, reach(wanted))?;
    let coverage = reader.coverage(window)?;
    let mut question = Question {
        window,
        by: wanted.by.clone(),
        filters: wanted.filters.clone(),
        kept: None,
    };
    let mut sizes = Sizes::read(reader, &question, wanted)?;
    let others = sizes.cut(wanted.top);
    if let (Some(dimension), 1..) = (sizes.dimension, others) {
        question.kept = Some((dimension, sizes.top(wanted.top)));
    }
    let mut groups = match sizes.groups.take() {
        // The same was asked already.
        Some(groups) if question.kept.is_none() => groups,
        _ => reader.sums(&question)?,
    };
    let all = Question {
        by: Vec::new(),
        kept: None,
        ..question.clone()
    };
    let mut totals = reader.sums(&all)?;
    reader.complete(&mut [(&question, &mut groups), (&all, &mut totals)])?;
    let totals = only(totals);
    let is_empty = groups.is_empty();
    if is_empty && page.is_for_people() {
        page.nothing_decoded(reader, &coverage)?;
        return Ok(Found::Nothing);
    }
    sizes.sort(&mut groups, wanted);
    let before = Before::read(reader, &question, &all)?;
    let table = table(page, wanted, &groups, &totals, &before, others);
    let pruned = reader.pruned(&question)?;
    let hosts = reader.host_names()?;
    let report = WindowReport {
        window,
        table: &table,
        totals: &totals,
        coverage: &coverage,
        about: &about(&hosts, wanted),
        notes: &notes(page, &before, pruned),
        fields: fields(wanted, others, pruned, &before),
    };
    page.window_report(&report)?;
    Ok(if is_empty {
        Found::Nothing
    } else {
        super::enough(asked, &coverage)
    })
}

/// How far back a report goes by itself.
fn reach(wanted: &Wanted) -> Reach {
    match wanted.by.first() {
        Some(Dimension::Week) => Reach::Weeks,
        Some(Dimension::Month) => Reach::Months,
        Some(_) | None => Reach::Days,
    }
}

fn only(groups: Vec<Group>) -> UsageSum {
    groups
        .into_iter()
        .next()
        .map(|group| group.sum)
        .unwrap_or_default()
}

/// How much the values of the dimension have that rows are ordered and cut by: the first one that has
/// no order of its own.
struct Sizes {
    dimension: Option<Dimension>,
    /// Most first.
    values: Vec<Key>,
    ranks: BTreeMap<Key, usize>,
    /// The sums of the values, where rows are by no other dimension.
    groups: Option<Vec<Group>>,
}

/// What groups are ordered by: the metric, and where that is not known or the same, the tokens.
type Size = (Option<u64>, Option<u64>);

fn size(sum: &UsageSum, metric: Metric) -> Size {
    (metric.of(sum).value, Metric::Tokens.of(sum).value)
}

impl Sizes {
    fn read(reader: &Reader, question: &Question, wanted: &Wanted) -> Result<Self, Error> {
        let dimension = wanted.by.iter().copied().find(|by| !by.is_ordered());
        let mut sizes: Vec<(Size, Option<String>, Key)> = Vec::new();
        let mut groups = None;
        if let Some(dimension) = dimension {
            let alone = Question {
                by: vec![dimension],
                ..question.clone()
            };
            let sums = reader.sums(&alone)?;
            for group in &sums {
                let size = size(&group.sum, wanted.metric);
                let name = group.names.first().cloned().flatten();
                sizes.extend(group.keys.first().map(|key| (size, name, key.clone())));
            }
            groups = (wanted.by == [dimension]).then_some(sums);
        }
        sizes.sort_by(|one, other| {
            (other.0.cmp(&one.0)).then_with(|| (&one.1, &one.2).cmp(&(&other.1, &other.2)))
        });
        let values: Vec<Key> = sizes.into_iter().map(|(_, _, key)| key).collect();
        let ranks = values.iter().cloned().zip(0..).collect();
        Ok(Self {
            dimension,
            values,
            ranks,
            groups,
        })
    }

    /// How many values are not kept apart.
    fn cut(&self, top: Option<usize>) -> usize {
        top.map_or(0, |top| self.values.len().saturating_sub(top))
    }

    fn top(&self, top: Option<usize>) -> Vec<Key> {
        let count = top.unwrap_or(usize::MAX);
        self.values.iter().take(count).cloned().collect()
    }

    /// Puts ordered values in their order, others by size, and what is not kept apart last.
    fn sort(&self, groups: &mut [Group], wanted: &Wanted) {
        groups.sort_by_cached_key(|group| {
            let size = size(&group.sum, wanted.metric);
            let place = |(by, key): (&Dimension, &Key)| {
                let rank = if *key == Key::Other {
                    usize::MAX
                } else if !by.is_ordered() && self.dimension == Some(*by) {
                    self.ranks.get(key).copied().unwrap_or(usize::MAX)
                } else {
                    0
                };
                let own = by.is_ordered().then(|| key.clone());
                // The second of two dimensions without an order goes by the size of the group.
                let by_size = (!by.is_ordered() && self.dimension != Some(*by))
                    .then_some(std::cmp::Reverse(size));
                (rank, own, by_size)
            };
            let places: Vec<_> = wanted.by.iter().zip(&group.keys).map(place).collect();
            (places, group.names.clone(), group.keys.clone())
        });
    }
}

/// The window of the same length before.
struct Before {
    /// `None` where time itself is what rows are by, or where the ledger has nothing of it.
    groups: Option<BTreeMap<Vec<Key>, UsageSum>>,
    totals: Option<UsageSum>,
    /// First call of the ledger, if it lies inside of that window.
    begins_ms: Option<i64>,
}

impl Before {
    fn read(reader: &Reader, question: &Question, all: &Question) -> Result<Self, Error> {
        let Window { from_ms, until_ms } = question.window;
        let window = Window {
            from_ms: from_ms.saturating_sub(until_ms.saturating_sub(from_ms)),
            until_ms: from_ms,
        };
        let first_ms = reader.first_ms()?;
        let has_any = first_ms.is_some_and(|first| first < from_ms);
        if question.by.iter().any(|by| by.is_period()) || !has_any {
            return Ok(Self {
                groups: None,
                totals: None,
                begins_ms: None,
            });
        }
        let groups = reader.sums_before(question, window)?;
        Ok(Self {
            groups: Some(
                groups
                    .into_iter()
                    .map(|group| (group.keys, group.sum))
                    .collect(),
            ),
            totals: Some(only(reader.sums_before(all, window)?)),
            begins_ms: first_ms.filter(|first| *first > window.from_ms),
        })
    }

    /// What a group's amount was, and how it changed.
    fn of(&self, keys: Option<&[Key]>, now: &UsageSum, metric: Metric) -> [Cell; 2] {
        let Some(groups) = &self.groups else {
            return [Cell::Unknown, Cell::Unknown];
        };
        let before = match keys {
            Some(keys) => groups.get(keys),
            None => self.totals.as_ref(),
        };
        let Some(before) = before.filter(|before| before.requests > 0) else {
            return [Cell::Count(0), Cell::Change(Change::New)];
        };
        let (before, after) = (metric.of(before), metric.of(now));
        let exactness = if before.is_lower_bound || after.is_lower_bound {
            Exactness::About
        } else {
            Exactness::Exact
        };
        let change = match (before.value, after.value) {
            (Some(before), Some(after)) => Cell::Change(Change::From {
                before,
                after,
                exactness,
            }),
            _ => Cell::Unknown,
        };
        [sum(before), change]
    }
}

fn table(
    page: &Page<'_>,
    wanted: &Wanted,
    groups: &[Group],
    totals: &UsageSum,
    before: &Before,
    others: usize,
) -> Table {
    let names = labels::columns(&wanted.by);
    let keys = names.len();
    let mut columns = names;
    columns.extend(sum_columns().into_iter().map(|column| {
        // A session is one session.
        match column.name == "sessions" && wanted.by.contains(&Dimension::Session) {
            true => Column::hidden("sessions"),
            false => column,
        }
    }));
    let metric = wanted.metric;
    if metric == Metric::WeightedTokens {
        columns.push(Column::number("weighted_tokens", "WEIGHTED", 1));
    }
    columns.push(match before.groups {
        Some(_) => Column::number("change_ratio", "VS PREV", 3),
        None => Column::hidden("change_ratio"),
    });
    columns.push(Column::hidden("previous"));
    let has_session_costs = groups
        .iter()
        .any(|group| group.sum.session_cost_p95.is_some());
    columns.push(match has_session_costs {
        true => Column::number("session_cost_p95_nanousd", "P95/SESSION", 4),
        false => Column::hidden("session_cost_p95_nanousd"),
    });
    let row = |keys: Option<&[Key]>, group: &UsageSum| {
        let mut cells = sum_cells(group);
        if metric == Metric::WeightedTokens {
            cells.push(sum(group.weighted));
        }
        let [previous, change] = before.of(keys, group, metric);
        let session_cost = group.session_cost_p95.map_or(Cell::Unknown, Cell::Money);
        cells.extend([change, previous, session_cost]);
        cells
    };
    let other = format!("other ({others})");
    let rows = labels::cells(page, &wanted.by, groups, &other)
        .into_iter()
        .zip(groups)
        .map(|(label, group)| {
            let cells = row(Some(&group.keys), &group.sum);
            label.into_iter().chain(cells).collect()
        })
        .collect();
    let mut total = vec![Cell::Unknown; keys];
    if let Some(first) = total.first_mut() {
        *first = Cell::Text("total".to_owned());
    }
    total.extend(row(None, totals));
    Table {
        columns,
        rows,
        keys,
        totals: Some(total),
    }
}

/// What a heading says besides the window.
fn about(hosts: &[String], wanted: &Wanted) -> Vec<String> {
    let mut parts: Vec<String> = hosts_part(hosts).into_iter().collect();
    let filters: Vec<String> = written(&wanted.filters)
        .iter()
        .map(|filter| visible(filter).into_owned())
        .collect();
    if !filters.is_empty() {
        parts.push(format!("where {}", filters.join(" and ")));
    }
    parts
}

/// Which hosts the ledger is of.
pub(super) fn hosts_part(hosts: &[String]) -> Option<String> {
    match hosts {
        [] => None,
        [only] => Some(format!("host {}", visible(only))),
        many => Some(format!("{} hosts", many.len())),
    }
}

/// The filters as they are written on the command line.
pub(super) fn written(filters: &[Filter]) -> Vec<String> {
    filters
        .iter()
        .map(|filter| {
            let sign = match filter.relation {
                Relation::Is => "=",
                Relation::IsNot => "!=",
                Relation::Matches => "~",
            };
            let value = filter.value.as_deref().unwrap_or_default();
            format!("{}{sign}{value}", filter.dimension.name())
        })
        .collect()
}

/// What has to be said below a table.
fn notes(page: &Page<'_>, before: &Before, pruned: u64) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(begins) = before.begins_ms {
        notes.push(format!(
            "VS PREV compares with less than the window before: the ledger begins at {}",
            super::table::moment(begins, &page.zone, "%Y-%m-%d %H:%M")
        ));
    }
    if pruned > 0 {
        notes.push(format!(
            "{} older calls are not in it: only their sums are kept, and those do not know this",
            grouped(pruned)
        ));
    }
    notes
}

/// What a document says of the question.
fn fields(wanted: &Wanted, others: usize, pruned: u64, before: &Before) -> Map<String, Value> {
    let by: Vec<&str> = wanted.by.iter().map(|by| by.name()).collect();
    Map::from_iter([
        ("by".to_owned(), Value::from(by.join(","))),
        ("where".to_owned(), Value::from(written(&wanted.filters))),
        ("metric".to_owned(), Value::from(wanted.metric.name())),
        ("other_values".to_owned(), Value::from(others)),
        ("pruned_requests".to_owned(), Value::from(pruned)),
        (
            "previous_is_partial".to_owned(),
            json!(
                before
                    .groups
                    .is_some()
                    .then_some(before.begins_ms.is_some())
            ),
        ),
    ])
}

/// The columns of [`sum_cells`].
pub(super) fn sum_columns() -> Vec<Column> {
    vec![
        Column::number("sessions", "SESS", 2),
        Column::number("requests", "REQS", 0),
        Column::number("errors", "ERR", 7),
        Column::number("context_tokens", "CONTEXT", 0),
        Column::number("cached_ratio", "CACHED", 1),
        Column::number("input_uncached_tokens", "UNCACHED", 10),
        Column::number("cache_read_tokens", "READ", 9),
        Column::number("cache_write_tokens", "WRITTEN", 8),
        Column::number("output_tokens", "OUTPUT", 0),
        Column::number("reasoning_tokens", "REASONING", 11),
        Column::number("estimated_requests", "EST", 6),
        Column::number("output_tokens_per_second", "TOK/S", 13),
        Column::number("ttft_p50_ms", "TTFT", 12),
        Column::hidden("ttft_p95_ms"),
        Column::hidden("duration_p50_ms"),
        Column::hidden("duration_p95_ms"),
        Column::hidden("aborted_requests"),
        Column::hidden("retry_requests"),
        Column::hidden("human_turns"),
        Column::hidden("estimated_tokens"),
        Column::hidden("lower_bound_requests"),
        Column::hidden("estimated_cost_nanousd"),
        Column::hidden("subscription_cost_nanousd"),
        Column::hidden("provider_cost_nanousd"),
        Column::hidden("repriced_nanousd"),
        Column::hidden("cost_lower_bound_requests"),
        Column::hidden("unpriced_tokens"),
        Column::number("cost_nanousd", "COST", 0),
    ]
}

/// A group's sums.
pub(super) fn sum_cells(group: &UsageSum) -> Vec<Cell> {
    vec![
        Cell::Count(group.sessions),
        Cell::Count(group.requests),
        Cell::Count(group.errors),
        sum(group.context),
        cached(group),
        sum(group.input_uncached),
        sum(group.cache_read),
        sum(group.cache_write),
        sum(group.output),
        sum(group.reasoning),
        Cell::Count(group.estimated_requests),
        count(group.output_tokens_per_second),
        millis(group.ttft_p50_ms),
        millis(group.ttft_p95_ms),
        millis(group.duration_p50_ms),
        millis(group.duration_p95_ms),
        Cell::Count(group.aborted_requests),
        Cell::Count(group.retry_requests),
        Cell::Count(group.human_turns),
        Cell::Count(group.estimated_tokens),
        Cell::Count(group.lower_bound_requests),
        group.estimated_cost.map_or(Cell::Unknown, Cell::Money),
        group.subscription_cost.map_or(Cell::Unknown, Cell::Money),
        group.provider_cost.map_or(Cell::Unknown, Cell::Money),
        group.repriced_cost.map_or(Cell::Unknown, Cell::Money),
        Cell::Count(group.cost_lower_bound_requests),
        Cell::Count(group.unpriced_tokens),
        money(group.cost),
    ]
}

/// The share of the input that came from a cache.
pub(super) fn cached(group: &UsageSum) -> Cell {
    let (Some(part), Some(whole)) = (group.cache_read.value, group.context.value) else {
        return Cell::Unknown;
    };
    let exactness = match (
        group.cache_read.is_lower_bound,
        group.context.is_lower_bound,
    ) {
        (_, true) => Exactness::About,
        (true, false) => Exactness::AtLeast,
        (false, false) => Exactness::Exact,
    };
    Cell::Share(Share {
        part,
        whole,
        exactness,
    })
}

fn count(count: Option<u64>) -> Cell {
    count.map_or(Cell::Unknown, Cell::Count)
}

fn millis(millis: Option<u64>) -> Cell {
    millis.map_or(Cell::Unknown, Cell::Millis)
}

pub(super) fn money(sum: Sum) -> Cell {
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

pub(super) fn sum(sum: Sum) -> Cell {
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
