//! `bpftok explain`: why one time cost more or less than another.

mod bridge;
mod versus;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::spend::{self, Step};
use super::table::{self, Cell, Column, Table, utc};
use super::text::{self, Cut};
use super::usage::written;
use super::{Asked, Error, Format, Found, Page, coverage_json, coverage_parts};
use crate::store::{
    CoverageSum, Filter, MissCause, Reader, SessionChange, Spent, UsageSum, Window,
};
use bridge::{Amount, Change, ModelKey, Part, bridge};
use versus::versus;

pub use versus::NoPeriod;

/// What a time is compared with where nothing is said.
const PREVIOUS: &str = "previous";

/// LIMIT: contributors of each kind that are shown.
const CONTRIBUTORS: usize = 5;

/// LIMIT: names in a note or in the last sentence.
const NAMES: usize = 3;

/// One of two times.
struct Side {
    window: Window,
    totals: UsageSum,
    coverage: CoverageSum,
    /// Calls that are left out, because sums do not tell whether they pass.
    untold_requests: u64,
}

impl Side {
    fn of(reader: &Reader, window: Window, spent: &Spent) -> Result<Self, Error> {
        Ok(Self {
            window,
            totals: spent.totals.clone(),
            coverage: reader.coverage(window)?,
            untold_requests: spent.untold_requests,
        })
    }

    fn tokens(&self) -> i128 {
        let [context, output] = [self.totals.context, self.totals.output].map(|sum| sum.value);
        i128::from(context.unwrap_or(0)) + i128::from(output.unwrap_or(0))
    }

    fn cost(&self) -> i128 {
        i128::from(self.totals.cost.value.unwrap_or(0))
    }

    fn cost_text(&self) -> String {
        if self.totals.cost.value.is_none() {
            return text::UNKNOWN.to_owned();
        }
        let bound = if self.is_lower_bound() { "≥ " } else { "" };
        format!("{bound}{}", spend::money(self.cost()))
    }

    const fn is_lower_bound(&self) -> bool {
        self.totals.cost.is_lower_bound
    }

    const fn is_empty(&self) -> bool {
        self.totals.requests == 0 && self.untold_requests == 0
    }
}

/// What was found.
struct Explained {
    before: Side,
    now: Side,
    workflows: BTreeMap<String, Change>,
    models: BTreeMap<ModelKey, (Amount, Amount)>,
    sessions: Vec<SessionChange>,
    /// Cached and all input of the priced calls, before and now.
    cached: [(i128, i128); 2],
    /// Output and all tokens, likewise.
    output: [(i128, i128); 2],
    /// The most frequent cause of cache misses now, how many it has, and how many there are.
    missed: Option<(MissCause, u64, u64)>,
}

/// Writes why the window that was asked for cost more or less than the one that `vs` names, by the
/// calls that pass `filters`.
///
/// # Errors
/// All of [`Error`].
pub fn explain(
    page: &mut Page<'_>,
    reader: &Reader,
    asked: &Asked,
    vs: Option<&str>,
    filters: &[Filter],
) -> Result<Found, Error> {
    let window = page.window(asked)?;
    let earlier = versus(vs.unwrap_or(PREVIOUS), window, page.now, &page.zone)?;
    let found = read(reader, earlier, window, filters)?;
    let is_empty = found.before.is_empty() && found.now.is_empty();
    if is_empty && page.is_for_people() {
        page.nothing_decoded(reader, &found.now.coverage)?;
        return Ok(Found::Nothing);
    }
    if page.format == Format::Json {
        let mut document = page.document(window);
        document.insert("where".to_owned(), written(filters).into());
        document.extend(fields(&found));
        table::write_json(page.out, &Value::Object(document))?;
    } else if page.is_for_people() {
        write(page, &found, filters)?;
    } else {
        page.table(&parts_table(&found))?;
    }
    Ok(if is_empty {
        Found::Nothing
    } else {
        Found::Something
    })
}

fn read(
    reader: &Reader,
    earlier: Window,
    window: Window,
    filters: &[Filter],
) -> Result<Explained, Error> {
    let before = reader.spent(earlier, filters)?;
    let now = reader.spent(window, filters)?;
    let mut models: BTreeMap<ModelKey, (Amount, Amount)> = BTreeMap::new();
    let mut cached = [(0, 0); 2];
    let mut output = [(0, 0); 2];
    for (side, spent) in [&before, &now].into_iter().enumerate() {
        for used in &spent.uses {
            let tokens = used.tokens.map(i128::from);
            let all: i128 = tokens.iter().sum();
            let [_, read, .., out] = tokens;
            let key = ModelKey {
                provider: used.provider.clone(),
                model: used.model.clone(),
                service_tier: used.service_tier.clone(),
                context_over: used.context_over,
            };
            let amount = Amount {
                tokens: all,
                cost: i128::from(used.cost_nanousd),
            };
            let (earlier, later) = models.entry(key).or_default();
            *(if side == 0 { earlier } else { later }) += amount;
            if let Some((read_sum, input_sum)) = cached.get_mut(side) {
                *read_sum += read;
                *input_sum += all - out;
            }
            if let Some((out_sum, all_sum)) = output.get_mut(side) {
                *out_sum += out;
                *all_sum += all;
            }
        }
    }
    let misses = reader.misses(window, filters)?;
    let missed = misses.iter().rev().max_by_key(|(_, count)| **count);
    let missed = missed.map(|(cause, count)| (*cause, *count, misses.values().sum()));
    let sides = (
        Side::of(reader, earlier, &before)?,
        Side::of(reader, window, &now)?,
    );
    let sign = if sides.1.cost() < sides.0.cost() {
        -1
    } else {
        1
    };
    Ok(Explained {
        workflows: bridge(&before.uses, &now.uses),
        models,
        sessions: reader.session_changes((&before, &now), sign, CONTRIBUTORS)?,
        cached,
        output,
        missed,
        before: sides.0,
        now: sides.1,
    })
}

impl Explained {
    fn change(&self) -> i128 {
        self.now.cost() - self.before.cost()
    }

    /// The parts of all workflows.
    fn parts(&self) -> Vec<(Part, i128)> {
        let mut sums: BTreeMap<Part, i128> = BTreeMap::new();
        for (part, amount) in self.workflows.values().flat_map(|change| &change.parts) {
            *sums.entry(*part).or_default() += amount;
        }
        let of = |part: Part| Some((part, sums.get(&part).copied().filter(|sum| *sum != 0)?));
        Part::ALL.into_iter().filter_map(of).collect()
    }

    fn note(&self, part: Part) -> String {
        match part {
            Part::Volume => self.volume_note(),
            Part::ModelMix => self.mix_note(),
            Part::OutputShare => {
                let [(old, old_all), (new, new_all)] = self.output;
                let [old, new] = [spend::share(old, old_all), spend::share(new, new_all)];
                format!("{old} → {new} of tokens are output")
            }
            Part::Cache => self.cache_note(),
            Part::Price => self.price_note(),
            Part::Other => {
                "searches, sound and pictures; models whose prices are not in the ledger".to_owned()
            }
            Part::NewWorkflows | Part::EndedWorkflows => self.workflow_note(part),
        }
    }

    fn volume_note(&self) -> String {
        let both = self
            .workflows
            .values()
            .filter(|change| change.before.tokens > 0 && change.now.tokens > 0);
        let (mut old, mut new) = (0, 0);
        for change in both {
            old += change.before.tokens;
            new += change.now.tokens;
        }
        let more = spend::relative(old, new).unwrap_or_default();
        format!("{more} tokens, at what a token of each workflow cost before")
    }

    /// The model whose share of the tokens changed most.
    fn mix_note(&self) -> String {
        let all = |side: fn(&(Amount, Amount)) -> i128| -> i128 {
            self.models.values().map(side).sum::<i128>().max(1)
        };
        let (old, new) = (all(|sums| sums.0.tokens), all(|sums| sums.1.tokens));
        let moved = |sums: &(Amount, Amount)| {
            let millionths = |part: i128, whole: i128| part * 1_000_000 / whole;
            (millionths(sums.1.tokens, new) - millionths(sums.0.tokens, old)).abs()
        };
        let most = self.models.iter().max_by_key(|(_, sums)| moved(sums));
        most.map_or_else(String::new, |(key, sums)| {
            format!(
                "{} {} → {} of tokens",
                model(key),
                spend::share(sums.0.tokens, old),
                spend::share(sums.1.tokens, new)
            )
        })
    }

    fn cache_note(&self) -> String {
        let [(old, old_all), (new, new_all)] = self.cached;
        let mut note = format!(
            "cached share {} → {}",
            spend::share(old, old_all),
            spend::share(new, new_all)
        );
        if let Some((cause, count, all)) = &self.missed {
            let cause = match cause {
                MissCause::Expired => "idle longer than the cache lives",
                MissCause::PrefixChanged => "the prompt's beginning changed",
                MissCause::Evicted => "evicted before its time",
            };
            let share = spend::share(i128::from(*count), i128::from(*all));
            note.push_str(&format!("; {share} of misses now: {cause}"));
        }
        note
    }

    /// The models whose prices did most.
    fn price_note(&self) -> String {
        let mut sums: BTreeMap<&ModelKey, i128> = BTreeMap::new();
        for change in self.workflows.values() {
            for (key, amount) in &change.price_by_model {
                *sums.entry(key).or_default() += amount;
            }
        }
        let named = sums.into_iter().map(|(key, amount)| (model(key), amount));
        largest(named.collect())
    }

    fn workflow_note(&self, part: Part) -> String {
        let of = self.workflows.iter().filter_map(|(name, change)| {
            let amount = change.parts.get(&part)?;
            Some((spend::name(name), *amount))
        });
        largest(of.collect())
    }

    /// What contributed most, of each kind.
    fn contributors(&self) -> Vec<Contributor> {
        let workflows = self.workflows.iter().map(|(name, change)| Contributor {
            kind: "workflow",
            name: name.clone(),
            before: change.before.cost,
            now: change.now.cost,
        });
        let models = self.models.iter().map(|(key, (before, now))| Contributor {
            kind: "model",
            name: model(key),
            before: before.cost,
            now: now.cost,
        });
        let sessions = self.sessions.iter().map(|session| Contributor {
            kind: "session",
            name: session.key.clone(),
            before: i128::from(session.before_nanousd),
            now: i128::from(session.now_nanousd),
        });
        let largest = |contributors: Vec<Contributor>| {
            let mut contributors = contributors;
            contributors.retain(|one| one.change() != 0);
            contributors.sort_by_key(|one| std::cmp::Reverse(one.change().abs()));
            contributors.truncate(CONTRIBUTORS);
            contributors
        };
        [workflows.collect(), models.collect(), sessions.collect()]
            .into_iter()
            .flat_map(largest)
            .collect()
    }

    /// What to remember, in one sentence.
    fn sentence(&self) -> String {
        let change = self.change();
        if self.before.is_empty() {
            return "Nothing was recorded in the earlier time, so there is nothing to compare with; \
                    choose another with --vs."
                .to_owned();
        }
        if change == 0 {
            return "Spend did not change.".to_owned();
        }
        let (word, sign) = if change > 0 {
            ("increase", 1)
        } else {
            ("decrease", -1)
        };
        let mut same: Vec<(&String, i128, &Change)> = self
            .workflows
            .iter()
            .map(|(name, one)| (name, (one.now.cost - one.before.cost) * sign, one))
            .filter(|(_, amount, _)| *amount > 0)
            .collect();
        same.sort_by_key(|(_, amount, _)| std::cmp::Reverse(*amount));
        let all = change.abs();
        let Some((name, amount, first)) = same.first() else {
            return format!("No workflow explains the {word}.");
        };
        let name = spend::name(name);
        let of_it = spend::change(*amount * sign);
        let why = first
            .main_part()
            .map_or_else(String::new, |part| match part {
                Part::NewWorkflows => ", new".to_owned(),
                Part::EndedWorkflows => ", ended".to_owned(),
                Part::Volume
                | Part::ModelMix
                | Part::OutputShare
                | Part::Cache
                | Part::Other
                | Part::Price => format!(", mostly {}", part.title()),
            });
        if *amount > all {
            format!(
                "One workflow explains more than the whole {word}: {name} ({of_it}{why}); others went the \
                 other way."
            )
        } else if *amount * 2 >= all {
            let share = *amount * 100 / all;
            format!("One workflow explains {share} % of the {word}: {name} ({of_it}{why}).")
        } else {
            let names: Vec<String> = same
                .iter()
                .take(NAMES)
                .map(|(name, amount, _)| {
                    format!("{} ({})", spend::name(name), spend::share(*amount, all))
                })
                .collect();
            format!(
                "No single workflow explains most of the {word}; the largest: {}.",
                names.join(", ")
            )
        }
    }
}

impl Change {
    /// The part that did most in the direction of the change.
    fn main_part(&self) -> Option<Part> {
        let sign = (self.now.cost - self.before.cost).signum();
        let largest = self.parts.iter().max_by_key(|(_, amount)| *amount * sign);
        largest.map(|(part, _)| *part)
    }
}

/// A workflow, model or session, and what it cost.
struct Contributor {
    kind: &'static str,
    name: String,
    before: i128,
    now: i128,
}

impl Contributor {
    const fn change(&self) -> i128 {
        self.now - self.before
    }
}

/// A model on its terms, in words.
fn model(key: &ModelKey) -> String {
    let mut words = key
        .model
        .as_deref()
        .map_or_else(|| text::UNKNOWN.to_owned(), spend::name);
    if let Some(tier) = &key.service_tier {
        words.push_str(&format!(" {}", spend::name(tier)));
    }
    if let Some(over) = key.context_over {
        words.push_str(&format!(" >{}", text::count(over)));
    }
    words
}

/// The largest of some changes, with their amounts.
fn largest(mut changes: Vec<(String, i128)>) -> String {
    changes.sort_by_key(|(_, amount)| std::cmp::Reverse(amount.abs()));
    let more = changes.len() > NAMES;
    let mut words: Vec<String> = changes
        .into_iter()
        .take(NAMES)
        .map(|(name, amount)| format!("{name} {}", spend::change(amount)))
        .collect();
    if more {
        words.push("…".to_owned());
    }
    words.join(", ")
}

fn write(page: &mut Page<'_>, found: &Explained, filters: &[Filter]) -> Result<(), Error> {
    let (before, now) = (&found.before, &found.now);
    writeln!(page.out, "{}", page.heading(now.window))?;
    spend::end(page)?;
    let at = |ms| table::moment(ms, &page.zone, "%Y-%m-%d %H:%M");
    let (from, until) = (at(before.window.from_ms), at(before.window.until_ms));
    let mut against = vec![format!("against {from} – {until}")];
    let filters = written(filters);
    against.extend(
        filters
            .iter()
            .map(|filter| format!("where {}", text::visible(filter))),
    );
    page.parts(&against)?;
    writeln!(page.out)?;
    let change = found.change();
    let (cost_before, cost_now) = (before.cost_text(), now.cost_text());
    let mut headline = format!("spend {cost_before} → {cost_now}");
    // What is unknown twice may well have changed.
    if [cost_before, cost_now]
        .iter()
        .any(|cost| cost != text::UNKNOWN)
    {
        headline.push_str(&format!(" ({}", spend::change(change)));
        if let Some(relative) = spend::relative(before.cost(), now.cost()) {
            headline.push_str(&format!(", {relative}"));
        }
        headline.push(')');
    }
    let tokens = |tokens: i128| text::count(u64::try_from(tokens).unwrap_or(u64::MAX));
    let mut used = format!(
        "tokens {} → {}",
        tokens(before.tokens()),
        tokens(now.tokens())
    );
    if let Some(relative) = spend::relative(before.tokens(), now.tokens()) {
        used.push_str(&format!(" ({relative})"));
    }
    page.parts(&[headline, used])?;
    spend::end(page)?;
    let steps: Vec<Step> = found
        .parts()
        .into_iter()
        .map(|(part, amount)| Step {
            title: part.title(),
            change: spend::change(amount),
            note: found.note(part),
        })
        .collect();
    let sum = Step {
        title: "change",
        change: spend::change(change),
        note: String::new(),
    };
    if !steps.is_empty() {
        spend::steps(page, &steps, &sum)?;
    }
    let contributors = contributors_table(found);
    if !contributors.rows.is_empty() {
        writeln!(page.out)?;
        page.table(&contributors)?;
    }
    writeln!(page.out)?;
    spend::paragraph(page, &found.sentence(), 0)?;
    if before.is_lower_bound() || now.is_lower_bound() {
        let words = "A part of the cost is not known (≥): the change is that of what is known.";
        spend::paragraph(page, words, 0)?;
    }
    let untold = before.untold_requests + now.untold_requests;
    if untold > 0 {
        let calls = text::grouped(untold);
        let words = format!(
            "{calls} calls that are not kept one by one are left out: --where can't tell them."
        );
        spend::paragraph(page, &words, 0)?;
    }
    for (title, side) in [("now", now), ("before", before)] {
        let mut parts = coverage_parts(&side.totals, &side.coverage);
        if let Some(first) = parts.first_mut() {
            *first = format!("{title}: {first}");
        }
        page.parts(&parts)?;
        spend::end(page)?;
    }
    Ok(())
}

/// A number that JSON holds; no ledger has one that it does not.
fn number(number: i128) -> Value {
    Value::from(i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX }))
}

fn parts_table(found: &Explained) -> Table {
    let rows = found.parts().into_iter().map(|(part, amount)| {
        vec![
            Cell::Text(part.name().to_owned()),
            Cell::Number(number(amount)),
            Cell::Text(found.note(part)),
        ]
    });
    Table {
        columns: vec![
            Column::text("part", "PART", 0, Cut::End),
            Column::number("change_nanousd", "CHANGE", 0),
            Column::text("note", "NOTE", 0, Cut::End),
        ],
        rows: rows.collect(),
        keys: 1,
        totals: None,
    }
}

fn contributors_table(found: &Explained) -> Table {
    let money = |amount: i128| Cell::Money(u64::try_from(amount).unwrap_or(u64::MAX));
    let rows = found.contributors().into_iter().map(|one| {
        vec![
            Cell::Text(one.kind.to_owned()),
            Cell::Text(one.name.clone()),
            money(one.before),
            money(one.now),
            Cell::Number(number(one.change())),
            Cell::Text(spend::change(one.change())),
        ]
    });
    let shown = Column {
        align: table::Align::Right,
        cut: None,
        ..Column::text("change", "CHANGE", 0, Cut::End)
    };
    Table {
        columns: vec![
            Column {
                cut: None,
                ..Column::text("kind", "BY", 0, Cut::End)
            },
            Column::text("name", "NAME", 0, Cut::End),
            Column::number("before_nanousd", "BEFORE", 1),
            Column::number("now_nanousd", "NOW", 1),
            Column::hidden("change_nanousd"),
            shown,
        ],
        rows: rows.collect(),
        keys: 2,
        totals: None,
    }
}

fn side_json(side: &Side) -> Value {
    json!({
        "since": utc(side.window.from_ms),
        "until": utc(side.window.until_ms),
        "cost_nanousd": number(side.cost()),
        "is_cost_lower_bound": side.is_lower_bound(),
        "cost_lower_bound_requests": side.totals.cost_lower_bound_requests,
        "unpriced_tokens": side.totals.unpriced_tokens,
        "requests": side.totals.requests,
        "untold_requests": side.untold_requests,
        "tokens": number(side.tokens()),
        "estimated_tokens": side.totals.estimated_tokens,
        "coverage": coverage_json(&side.coverage),
    })
}

fn fields(found: &Explained) -> Map<String, Value> {
    let by_workflow = found.workflows.iter().map(|(name, change)| {
        let parts: Map<String, Value> = change
            .parts
            .iter()
            .map(|(part, amount)| (part.name().to_owned(), number(*amount)))
            .collect();
        json!({
            "workflow": name,
            "before_nanousd": number(change.before.cost),
            "now_nanousd": number(change.now.cost),
            "parts": parts,
        })
    });
    Map::from_iter([
        ("before".to_owned(), side_json(&found.before)),
        ("now".to_owned(), side_json(&found.now)),
        ("rows".to_owned(), parts_table(found).json_rows()),
        ("workflows".to_owned(), by_workflow.collect()),
        (
            "contributors".to_owned(),
            contributors_table(found).json_rows(),
        ),
        ("sentence".to_owned(), found.sentence().into()),
        ("coverage".to_owned(), coverage_json(&found.now.coverage)),
        (
            "totals".to_owned(),
            json!({ "change_nanousd": number(found.change()) }),
        ),
    ])
}
