//! `bpftok report`: usage by day, workflow, session, model and so on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::labels;
use super::table::{Cell, Change, Column, Exactness, Share, Table};
use super::text::{grouped, visible};
use super::{Asked, Error, Found, Metric, Page, Reach, Wanted, WindowReport};
use crate::store::{
    Dimension, Filter, Group, Key, Question, Reader, Relation, Sum, Sums, UsageSum, Window,
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
    let mut sums = reader.sums(&question)?;
    let mut totals = reader.total(&question, &sums)?;
    let sizes = Sizes::read(reader, &question, &mut sums, wanted)?;
    let others = sizes.others;
    if let (Some(at), 1..) = (sizes.at, others) {
        let kept: BTreeSet<Key> = sizes.ranks.keys().cloned().collect();
        sums = sums.kept(at, &kept);
        question.kept = wanted.by.get(at).map(|by| (*by, kept));
    }
    reader.complete(&question, &mut sums, &mut totals)?;
    for at in (0..wanted.by.len()).filter(|at| sizes.at != Some(*at)) {
        reader.describe(&question, at, sums.groups.iter_mut())?;
    }
    let before = Before::read(reader, &question, &sums, wanted)?;
    let (mut groups, totals) = (sums.groups, totals.only());
    let is_empty = groups.is_empty();
    if is_empty && page.is_for_people() {
        page.nothing_decoded(reader, &coverage)?;
        return Ok(Found::Nothing);
    }
    sizes.sort(&mut groups, wanted);
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

/// How much the values of the dimension have that rows are ordered and cut by: the first one that has
/// no order of its own.
struct Sizes {
    /// Its place among the dimensions.
    at: Option<usize>,
    /// The places of the values that are kept apart, that with most first.
    ranks: BTreeMap<Key, usize>,
    /// How many are not.
    others: usize,
}

/// What groups are ordered by: the metric, and where that is not known or the same, the tokens.
type Size = (Option<u64>, Option<u64>);

fn size(sum: &UsageSum, metric: Metric) -> Size {
    (metric.of(sum).value, Metric::Tokens.of(sum).value)
}

impl Sizes {
    /// Gives names to those groups that may be kept apart.
    fn read(
        reader: &Reader,
        question: &Question,
        sums: &mut Sums,
        wanted: &Wanted,
    ) -> Result<Self, Error> {
        let Some(at) = wanted.by.iter().position(|by| !by.is_ordered()) else {
            return Ok(Self {
                at: None,
                ranks: BTreeMap::new(),
                others: 0,
            });
        };
        let sized = |group: &Group| {
            let key = group.keys.first()?.clone();
            Some((size(&group.sum, wanted.metric), key))
        };
        let mut sizes: Vec<(Size, Key)> = match wanted.by.len() {
            1 => sums.groups.iter().filter_map(sized).collect(),
            _ => sums.along(at).groups.iter().filter_map(sized).collect(),
        };
        sizes.sort_by(|one, other| other.cmp(one));
        let count = sizes.len();
        let top = wanted.top.unwrap_or(count).min(count);
        // Names decide between those that are as large as the smallest one.
        if let Some((smallest, _)) = sizes.get(top.saturating_sub(1)).cloned() {
            sizes.retain(|(size, _)| *size >= smallest);
        }
        let shown: BTreeSet<&Key> = sizes.iter().map(|(_, key)| key).collect();
        let is_shown =
            |group: &&mut Group| group.keys.get(at).is_some_and(|key| shown.contains(key));
        let groups = sums.groups.iter_mut();
        reader.describe(question, at, groups.filter(is_shown))?;
        let mut names: BTreeMap<&Key, Option<&str>> = BTreeMap::new();
        for group in &sums.groups {
            if let (Some(key), Some(name)) = (group.keys.get(at), group.names.get(at)) {
                names.insert(key, name.as_deref());
            }
        }
        sizes.sort_by(|(one, a), (other, b)| {
            (other.cmp(one)).then_with(|| (names.get(a), a).cmp(&(names.get(b), b)))
        });
        sizes.truncate(top);
        Ok(Self {
            at: Some(at),
            ranks: sizes.into_iter().map(|(_, key)| key).zip(0..).collect(),
            others: count - top,
        })
    }

    /// Puts ordered values in their order, others by size, and what is not kept apart last.
    fn sort(&self, groups: &mut [Group], wanted: &Wanted) {
        groups.sort_by_cached_key(|group| {
            let size = size(&group.sum, wanted.metric);
            let place = |(at, (by, key)): (usize, (&Dimension, &Key))| {
                let rank = if *key == Key::Other {
                    usize::MAX
                } else if self.at == Some(at) {
                    self.ranks.get(key).copied().unwrap_or(usize::MAX)
                } else {
                    0
                };
                let own = by.is_ordered().then(|| key.clone());
                // The second of two dimensions without an order goes by the size of the group.
                let by_size =
                    (!by.is_ordered() && self.at != Some(at)).then_some(std::cmp::Reverse(size));
                (rank, own, by_size)
            };
            let keys = wanted.by.iter().zip(&group.keys);
            let places: Vec<_> = keys.enumerate().map(place).collect();
            // No two values of one dimension have the same place.
            let tie = (wanted.by.len() > 1).then(|| (group.names.clone(), group.keys.clone()));
            (places, tie)
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
    fn read(
        reader: &Reader,
        question: &Question,
        sums: &Sums,
        wanted: &Wanted,
    ) -> Result<Self, Error> {
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
        let parts = wanted.metric.sums();
        let (groups, totals) = reader.sums_before(question, sums, window, parts)?;
        Ok(Self {
            groups: Some(
                groups
                    .groups
                    .into_iter()
                    .map(|group| (group.keys, group.sum))
                    .collect(),
            ),
            totals: Some(totals),
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
        count(group.output_tokens_per_second()),
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
        group.repriced_cost().map_or(Cell::Unknown, Cell::Money),
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
