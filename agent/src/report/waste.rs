//! `bpftok waste`: what need not have been paid for, and what would help.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::spend;
use super::table::{self, Cell, Column, Table};
use super::text::{self, Cut};
use super::usage::written;
use super::{Asked, Error, Format, Found, Page, coverage_json, coverage_parts};
use crate::store::{Candidates, Filter, MissCause, NotKept, Reader, Unseen, Waste, WastedCall};

/// LIMIT: workflows and sessions that are named for each kind of waste.
const NAMED: usize = 3;

/// A kind of waste. A call is counted in the first that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Failed tries that were made again.
    Retry,
    /// Replies that were cut.
    Aborted,
    /// Requests that had been answered.
    Duplicate,
    /// Sessions that are kept warm for nobody.
    Idle,
    /// The cache had gone by the pause.
    Expired,
    /// The beginning of the prompt was another one.
    PrefixChanged,
    /// The cache had gone before its time.
    Evicted,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Aborted => "aborted",
            Self::Duplicate => "duplicate",
            Self::Idle => "idle",
            Self::Expired => "cache_expired",
            Self::PrefixChanged => "cache_prefix_changed",
            Self::Evicted => "cache_evicted",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Retry => "failed tries",
            Self::Aborted => "cut replies",
            Self::Duplicate => "duplicates",
            Self::Idle => "idle sessions",
            Self::Expired => "cache expired",
            Self::PrefixChanged => "prefix changed",
            Self::Evicted => "cache evicted",
        }
    }

    const fn remedy(self) -> &'static str {
        match self {
            Self::Retry => {
                "wait longer before a retry, and set the client's timeout above the provider's"
            }
            Self::Aborted => {
                "ask for less output or raise timeouts: a reply is billed up to the cut"
            }
            Self::Duplicate => "keep answers that may be used again, or find what submits twice",
            Self::Idle => "close sessions nobody uses, or turn off the client's background work",
            Self::Expired => "make pauses shorter than the cache lives, or write it for an hour",
            Self::PrefixChanged => {
                "move what changes (times, ids, order of tools) behind what stays the same"
            }
            Self::Evicted => {
                "send the calls of a thread closer together, under one stable cache key"
            }
        }
    }

    const fn of_cause(cause: MissCause) -> Self {
        match cause {
            MissCause::Expired => Self::Expired,
            MissCause::PrefixChanged => Self::PrefixChanged,
            MissCause::Evicted => Self::Evicted,
        }
    }
}

/// Waste of a kind, or of a workflow or session of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    calls: u64,
    tokens: u64,
    cost: Option<u64>,
    is_lower_bound: bool,
}

impl Size {
    fn add(&mut self, call: &WastedCall) {
        self.calls += 1;
        self.tokens = self.tokens.saturating_add(call.tokens);
        let costs = [self.cost, call.cost_nanousd].into_iter().flatten();
        self.cost = costs.reduce(u64::saturating_add);
        self.is_lower_bound |= call.is_cost_lower_bound;
    }

    const fn money(self) -> Cell {
        match (self.cost, self.is_lower_bound) {
            (None, true) => Cell::Unknown,
            (None, false) => Cell::Money(0),
            (Some(cost), true) => Cell::MoneyAtLeast(cost),
            (Some(cost), false) => Cell::Money(cost),
        }
    }

    fn rank(self) -> (u64, u64, u64) {
        (self.cost.unwrap_or(0), self.tokens, self.calls)
    }
}

/// All waste of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Heap {
    size: Size,
    workflows: BTreeMap<Rc<str>, Size>,
    sessions: BTreeMap<Rc<str>, Size>,
}

impl Heap {
    fn add(&mut self, call: &WastedCall) {
        self.size.add(call);
        for (sizes, name) in [
            (&mut self.workflows, &call.workflow),
            (&mut self.sessions, &call.session_key),
        ] {
            sizes.entry(Rc::clone(name)).or_default().add(call);
        }
    }
}

fn largest(sizes: &BTreeMap<Rc<str>, Size>) -> Vec<(&str, Size)> {
    let mut sorted: Vec<_> = sizes.iter().map(|(name, size)| (&**name, *size)).collect();
    sorted.sort_by_key(|(_, size)| std::cmp::Reverse(size.rank()));
    sorted.truncate(NAMED);
    sorted
}

/// Each call in the first kind that fits, dearest kind first.
fn sorted(candidates: &Candidates) -> Vec<(Kind, Heap)> {
    let mut heaps: BTreeMap<Kind, Heap> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    let whole = [
        (Kind::Retry, &candidates.retried),
        (Kind::Aborted, &candidates.aborted),
        (Kind::Duplicate, &candidates.duplicates),
        (Kind::Idle, &candidates.idle),
    ];
    let whole = whole
        .into_iter()
        .flat_map(|(kind, calls)| calls.iter().map(move |call| (kind, call)));
    let missed = candidates
        .missed
        .iter()
        .map(|missed| (Kind::of_cause(missed.cause), &missed.call))
        // A prompt that became shorter was not paid for.
        .filter(|(_, call)| call.tokens > 0);
    for (kind, call) in whole.chain(missed) {
        if taken.insert(call.request_id) {
            heaps.entry(kind).or_default().add(call);
        }
    }
    let mut sorted: Vec<_> = heaps.into_iter().collect();
    sorted.sort_by_key(|(kind, heap)| (std::cmp::Reverse(heap.size.rank()), *kind));
    sorted
}

/// Writes the waste of a window by kind, of the calls that pass `filters`.
///
/// # Errors
/// All of [`Error`].
pub fn waste(
    page: &mut Page<'_>,
    reader: &Reader,
    asked: &Asked,
    filters: &[Filter],
) -> Result<Found, Error> {
    let window = page.window(asked)?;
    let coverage = reader.coverage(window)?;
    let Waste {
        candidates,
        unseen,
        totals,
        not_kept,
    } = reader.waste(window, filters)?;
    let is_empty = totals.requests == 0 && not_kept.requests == 0 && not_kept.untold_requests == 0;
    if is_empty && page.is_for_people() {
        page.nothing_decoded(reader, &coverage)?;
        return Ok(Found::Nothing);
    }
    let heaps = sorted(&candidates);
    let spent = totals.cost.value.unwrap_or(0);
    let table = waste_table(&heaps, spent);
    if page.format == Format::Json {
        let mut document = page.document(window);
        document.insert("where".to_owned(), written(filters).into());
        document.extend(fields(&table, unseen, not_kept));
        document.insert("coverage".to_owned(), coverage_json(&coverage));
        table::write_json(page.out, &Value::Object(document))?;
    } else if page.is_for_people() {
        writeln!(page.out, "{}", page.heading(window))?;
        if !filters.is_empty() {
            let filters = written(filters);
            let chosen: Vec<String> = filters
                .iter()
                .map(|filter| format!("where {}", text::visible(filter)))
                .collect();
            spend::end(page)?;
            page.parts(&chosen)?;
        }
        writeln!(page.out)?;
        if heaps.is_empty() {
            let calls = text::grouped(totals.requests);
            let words = format!("No waste was found in the {calls} calls of this time.");
            spend::paragraph(page, &words, 0)?;
        } else {
            page.table(&table)?;
            writeln!(page.out)?;
            for (kind, heap) in &heaps {
                spend::paragraph(page, &advice(*kind, heap), 2)?;
            }
            writeln!(page.out)?;
        }
        for note in unknown_notes(unseen, not_kept) {
            spend::paragraph(page, &note, 0)?;
        }
        let parts = coverage_parts(&totals, &coverage);
        page.parts(&parts)?;
    } else {
        page.table(&table)?;
    }
    Ok(if is_empty {
        Found::Nothing
    } else {
        Found::Something
    })
}

/// Where most of it is, and what would help.
fn advice(kind: Kind, heap: &Heap) -> String {
    let mut words = format!("{}:", kind.title());
    if let Some((workflow, size)) = largest(&heap.workflows).first() {
        let share = match (size.cost, heap.size.cost) {
            (Some(part), Some(whole)) if whole > 0 => {
                spend::share(i128::from(part), i128::from(whole))
            }
            _ => spend::share(i128::from(size.calls), i128::from(heap.size.calls)),
        };
        words.push_str(&format!(" {share} in workflow {}", spend::name(workflow)));
    }
    if let Some((session, _)) = largest(&heap.sessions).first() {
        words.push_str(&format!(", most in session {}", spend::name(session)));
    }
    words.push_str(&format!(". Remedy: {}.", kind.remedy()));
    words
}

/// What can't be known of some calls.
fn unknown_notes(unseen: Unseen, not_kept: NotKept) -> Vec<String> {
    let calls = |count: u64| match count {
        1 => "1 call".to_owned(),
        many => format!("{} calls", text::grouped(many)),
    };
    let mut notes = Vec::new();
    if unseen.hashless > 0 {
        let calls = calls(unseen.hashless);
        notes.push(format!(
            "Duplicates are not known of {calls}: no hash of the request."
        ));
    }
    if unseen.threadless > 0 {
        let calls = calls(unseen.threadless);
        notes.push(format!("Cache misses are not known of {calls}: no thread."));
    }
    if not_kept.requests > 0 {
        let calls = calls(not_kept.requests);
        notes.push(format!(
            "No waste is known of {calls} that are not kept one by one any more."
        ));
    }
    if not_kept.untold_requests > 0 {
        let calls = calls(not_kept.untold_requests);
        notes.push(format!(
            "{calls} more are not kept one by one any more: --where can't tell them."
        ));
    }
    notes
}

fn sizes_json(sizes: &BTreeMap<Rc<str>, Size>, key: &str) -> Value {
    largest(sizes)
        .into_iter()
        .map(|(name, size)| {
            json!({
                key: name,
                "calls": size.calls,
                "tokens": size.tokens,
                "cost_nanousd": size.cost,
            })
        })
        .collect()
}

fn waste_table(heaps: &[(Kind, Heap)], spent: u64) -> Table {
    let row = |title: &str, name: Cell, size: Size| {
        let share = spend::share(i128::from(size.cost.unwrap_or(0)), i128::from(spent));
        vec![
            name,
            Cell::Text(title.to_owned()),
            Cell::Count(size.calls),
            Cell::Count(size.tokens),
            size.money(),
            Cell::Text(share),
        ]
    };
    let mut all = Size::default();
    let mut rows = Vec::new();
    for (kind, heap) in heaps {
        let size = heap.size;
        all.calls += size.calls;
        all.tokens = all.tokens.saturating_add(size.tokens);
        let costs = [all.cost, size.cost].into_iter().flatten();
        all.cost = costs.reduce(u64::saturating_add);
        all.is_lower_bound |= size.is_lower_bound;
        let mut cells = row(kind.title(), Cell::Text(kind.name().to_owned()), size);
        let mostly = largest(&heap.workflows)
            .first()
            .map(|(name, _)| (*name).to_owned());
        cells.extend([
            Cell::text(mostly),
            Cell::Number(sizes_json(&heap.workflows, "workflow")),
            Cell::Number(sizes_json(&heap.sessions, "session_key")),
            Cell::Text(kind.remedy().to_owned()),
        ]);
        rows.push(cells);
    }
    let mut totals = row("total", Cell::Unknown, all);
    totals.extend([Cell::Unknown, Cell::Unknown, Cell::Unknown, Cell::Unknown]);
    let share = Column {
        align: table::Align::Right,
        cut: None,
        ..Column::text("share_of_spend", "OF SPEND", 2, Cut::End)
    };
    let title = Column {
        cut: None,
        ..Column::text("title", "WASTE", 0, Cut::End)
    };
    Table {
        columns: vec![
            Column::hidden("kind"),
            title,
            Column::number("calls", "CALLS", 0),
            Column::number("tokens", "TOKENS", 1),
            Column::number("cost_nanousd", "COST", 0),
            share,
            Column::text("workflow", "MOSTLY IN", 3, Cut::End),
            Column::hidden("workflows"),
            Column::hidden("sessions"),
            Column::hidden("remedy"),
        ],
        rows,
        keys: 2,
        totals: Some(totals),
    }
}

fn fields(table: &Table, unseen: Unseen, not_kept: NotKept) -> Map<String, Value> {
    let mut totals = table.json_totals();
    if let Value::Object(totals) = &mut totals {
        for of_a_kind in ["workflow", "workflows", "sessions", "remedy"] {
            totals.remove(of_a_kind);
        }
    }
    Map::from_iter([
        ("rows".to_owned(), table.json_rows()),
        ("totals".to_owned(), totals),
        (
            "unknown".to_owned(),
            json!({
                "hashless_requests": unseen.hashless,
                "threadless_requests": unseen.threadless,
                "not_kept_requests": not_kept.requests,
                "untold_requests": not_kept.untold_requests,
            }),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MissedRead;

    fn call(request_id: i64, cost_nanousd: u64) -> WastedCall {
        WastedCall {
            request_id,
            session_key: format!("s{}", request_id % 2).into(),
            workflow: "w".into(),
            tokens: 10,
            cost_nanousd: Some(cost_nanousd),
            is_cost_lower_bound: false,
        }
    }

    fn missed(request_id: i64, cause: MissCause) -> MissedRead {
        MissedRead {
            call: call(request_id, 1),
            cause,
        }
    }

    #[test]
    fn a_call_is_counted_once_and_in_the_first_kind_that_fits() {
        let candidates = Candidates {
            retried: vec![call(1, 100)],
            aborted: vec![call(1, 100), call(2, 100)],
            duplicates: vec![call(2, 100), call(3, 100)],
            idle: vec![call(3, 100), call(4, 100)],
            missed: vec![
                missed(1, MissCause::Evicted),
                missed(2, MissCause::Expired),
                missed(3, MissCause::Expired),
                missed(4, MissCause::PrefixChanged),
                missed(5, MissCause::Expired),
                missed(6, MissCause::PrefixChanged),
                missed(7, MissCause::Evicted),
            ],
        };
        let heaps = sorted(&candidates);
        let counted: Vec<_> = heaps
            .iter()
            .map(|(kind, heap)| (*kind, heap.size.calls, heap.size.cost))
            .collect();
        assert_eq!(
            counted,
            [
                (Kind::Retry, 1, Some(100)),
                (Kind::Aborted, 1, Some(100)),
                (Kind::Duplicate, 1, Some(100)),
                (Kind::Idle, 1, Some(100)),
                (Kind::Expired, 1, Some(1)),
                (Kind::PrefixChanged, 1, Some(1)),
                (Kind::Evicted, 1, Some(1)),
            ]
        );
        let totals = waste_table(&heaps, 1_000).json_totals();
        assert_eq!(totals["cost_nanousd"], 403);
        assert_eq!(totals["calls"], 7);
    }

    #[test]
    fn what_has_no_price_makes_a_lower_bound_and_a_refused_try_costs_nothing() {
        let unpriced = WastedCall {
            cost_nanousd: None,
            is_cost_lower_bound: true,
            ..call(1, 0)
        };
        let refused = WastedCall {
            cost_nanousd: None,
            ..call(2, 0)
        };
        let cost = |calls: &[&WastedCall]| {
            let mut size = Size::default();
            for call in calls {
                size.add(call);
            }
            size.money()
        };
        assert_eq!(cost(&[&unpriced]), Cell::Unknown);
        assert_eq!(cost(&[&refused]), Cell::Money(0));
        assert_eq!(cost(&[&unpriced, &call(3, 5)]), Cell::MoneyAtLeast(5));
        assert_eq!(cost(&[&refused, &call(3, 5)]), Cell::Money(5));
    }
}
