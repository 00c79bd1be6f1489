//! `bpftok sessions show`: one session, its threads, and how its context grew.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::table::{Cell, Column, Table, moment, utc, write_json};
use super::text::{Cut, count, duration, fit, grouped, visible};
use super::usage::{cached, money, sum, sum_cells, sum_columns};
use super::{Error, Format, Found, Page};
use crate::store::{ContextPoint, Reader, SessionDetail, Thread, UsageSum};

/// A part of what is shown of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its threads.
    Tree,
    /// How its context grew.
    Context,
}

/// LIMIT: levels of threads below each other that are drawn; what is deeper is part of the last one.
const MOST_LEVELS: usize = 12;

/// LIMIT: lines of a curve; longer sessions have several calls a line.
const CURVE_LINES: usize = 40;

/// LIMIT: columns of the name of a thread; longer ones are cut.
const LONGEST_NAME: usize = 40;

/// Columns of the longest bar.
const BAR_COLUMNS: u64 = 30;

/// Writes what is known of the session whose id is `id`, or the only one that begins with it.
///
/// # Errors
/// All of [`Error`].
pub fn session(
    page: &mut Page<'_>,
    reader: &Reader,
    id: &str,
    parts: &[Part],
) -> Result<Found, Error> {
    let found = reader.sessions_named(id)?;
    let none = || Error::NoSession { id: id.to_owned() };
    let session_id = match found.as_slice() {
        [] => return Err(none()),
        [(session_id, _)] => *session_id,
        many => {
            return Err(Error::ManySessions {
                id: id.to_owned(),
                found: many.iter().map(|(_, key)| key.clone()).collect(),
            });
        }
    };
    session_of(page, reader, session_id, parts)?.ok_or_else(none)
}

/// Writes what is known of the session of this row; `None` if there is none.
///
/// # Errors
/// All of [`Error`].
pub fn session_of(
    page: &mut Page<'_>,
    reader: &Reader,
    session_id: i64,
    parts: &[Part],
) -> Result<Option<Found>, Error> {
    let Some(session) = reader.session(session_id)? else {
        return Ok(None);
    };
    let tree = match parts.contains(&Part::Tree) {
        true => Some(tree(page, &reader.threads(session_id)?, &session)),
        false => None,
    };
    let points = match parts.contains(&Part::Context) {
        true => Some(reader.context(session_id)?),
        false => None,
    };
    if page.format == Format::Json {
        let mut document = Map::from_iter([
            (
                "schema_version".to_owned(),
                super::JSON_SCHEMA_VERSION.into(),
            ),
            ("generated_at".to_owned(), page.now.to_string().into()),
            ("timezone".to_owned(), page.zone.iana_name().into()),
            ("session".to_owned(), described(&session)),
        ]);
        if let Some(tree) = &tree {
            document.insert("threads".to_owned(), tree.json_rows());
        }
        if let Some(points) = &points {
            document.insert("context".to_owned(), every_call(points).json_rows());
        }
        let totals = totals(&session);
        let row = totals.rows.first().map(|row| totals.json_row(row));
        document.insert("totals".to_owned(), row.unwrap_or(Value::Null));
        write_json(page.out, &Value::Object(document))?;
        return Ok(Some(Found::Something));
    }
    if !page.is_for_people() {
        let table = match (points, tree) {
            (Some(points), _) => every_call(&points),
            (None, Some(tree)) => tree,
            (None, None) => totals(&session),
        };
        page.table(&table)?;
        return Ok(Some(Found::Something));
    }
    for line in heading(page, &session) {
        page.filled(&line)?;
    }
    writeln!(page.out)?;
    page.table(&tree.unwrap_or_else(|| {
        let mut table = totals(&session);
        // The heading names it.
        table.columns.splice(..1, [Column::hidden("session_key")]);
        table
    }))?;
    page.filled(&remarks(&session))?;
    if let Some(points) = points {
        writeln!(page.out)?;
        curve(page, &points)?;
    }
    Ok(Some(Found::Something))
}

/// Who and where, then when and how much.
fn heading(page: &Page<'_>, session: &SessionDetail) -> [Vec<String>; 2] {
    let shown = |text: &str| visible(text).into_owned();
    let mut who = vec![format!(
        "session {} ({})",
        visible(&session.session_key),
        session.key_source.replace('_', " ")
    )];
    who.extend(session.workflow.as_deref().map(shown));
    let client = session.client_name.as_deref().map(shown);
    who.extend(client.map(|name| match &session.client_version {
        Some(version) => format!("{name} {}", visible(version)),
        None => name,
    }));
    who.extend(
        session
            .user_name
            .as_deref()
            .map(|user| format!("user {}", visible(user))),
    );
    if let Some(pid) = session.pid {
        let comm = session.comm.as_deref().unwrap_or_default();
        who.push(format!("process {}[{pid}]", visible(comm)));
    }
    for (name, value) in [
        ("unit", &session.systemd_unit),
        ("container", &session.container),
        ("billing code", &session.billing_code),
    ] {
        who.extend(
            value
                .iter()
                .map(|value| format!("{name} {}", visible(value))),
        );
    }
    if let Some(repo) = &session.repo {
        let branch = session
            .branch
            .as_deref()
            .map_or_else(String::new, |branch| format!(" @ {}", visible(branch)));
        who.push(format!("repo {}{branch}", visible(repo)));
    }
    let ago = |ms: i64| {
        let since = page.now.as_millisecond().saturating_sub(ms);
        duration(u64::try_from(since).unwrap_or(0))
    };
    let many = |count: u64, one: &str| match count {
        1 => format!("1 {one}"),
        many => format!("{} {one}s", grouped(many)),
    };
    let mut how = vec![format!(
        "started {}",
        moment(session.started_ms, &page.zone, "%Y-%m-%d %H:%M %:z")
    )];
    let length = session.last_request_ms - session.started_ms;
    how.push(format!(
        "over {}",
        duration(u64::try_from(length).unwrap_or(0))
    ));
    how.push(many(session.usage.requests, "request"));
    how.push(match session.last_human_turn_ms {
        Some(last) => format!(
            "{}, last {} ago",
            many(session.human_turn_count, "human turn"),
            ago(last)
        ),
        None => "no human turn".to_owned(),
    });
    how.extend(
        session
            .task_type
            .as_deref()
            .map(|task| format!("task {}", visible(task))),
    );
    how.push(format!("length bucket {}", session.length_bucket));
    how.extend(
        session
            .peak_context_tokens
            .map(|peak| format!("peak context {}", count(peak))),
    );
    how.push(many(session.compaction_count, "compaction"));
    if session.resumed_count > 0 {
        how.push(format!("resumed {}", many(session.resumed_count, "time")));
    }
    [who, how]
}

/// What else there is to say of its calls.
fn remarks(session: &SessionDetail) -> Vec<String> {
    let usage = &session.usage;
    let mut parts: Vec<String> = [
        ("aborted", usage.aborted_requests),
        ("errors", usage.errors),
        ("retries", usage.retry_requests),
        ("duplicates", session.duplicates),
    ]
    .into_iter()
    .map(|(name, count)| format!("{name} {}", grouped(count)))
    .collect();
    super::estimated_parts(usage, &mut parts);
    if session.pruned > 0 {
        parts.push(format!(
            "{} older calls are kept in the total alone",
            grouped(session.pruned)
        ));
    }
    parts
}

/// Fields of the session for programs.
fn described(session: &SessionDetail) -> Value {
    json!({
        "session_key": session.session_key,
        "key_source": session.key_source,
        "workflow": session.workflow,
        "billing_code": session.billing_code,
        "client_name": session.client_name,
        "client_version": session.client_version,
        "host_name": session.host_name,
        "user_name": session.user_name,
        "pid": session.pid,
        "comm": session.comm,
        "cwd": session.cwd,
        "systemd_unit": session.systemd_unit,
        "container": session.container,
        "repo": session.repo,
        "branch": session.branch,
        "task_type": session.task_type,
        "length_bucket_requests": session.length_bucket,
        "started": utc(session.started_ms),
        "last_request": utc(session.last_request_ms),
        "human_turns": session.human_turn_count,
        "last_human_turn": session.last_human_turn_ms.map(utc),
        "compactions": session.compaction_count,
        "resumed": session.resumed_count,
        "peak_context_tokens": session.peak_context_tokens,
        "duplicate_requests": session.duplicates,
        "pruned_requests": session.pruned,
    })
}

/// One row with all of its calls.
fn totals(session: &SessionDetail) -> Table {
    let mut columns = vec![Column::text("session_key", "SESSION", 0, Cut::End)];
    columns.extend(sum_columns().into_iter().skip(1));
    let mut row = vec![Cell::Text(session.session_key.clone())];
    row.extend(sum_cells(&session.usage).into_iter().skip(1));
    Table {
        columns,
        rows: vec![row],
        keys: 1,
        totals: None,
    }
}

/// Threads of one kind and type that were begun by threads of one kind and type.
struct Node {
    members: Vec<usize>,
    level: usize,
    /// What is drawn before its name.
    prefix: String,
    /// What is drawn before the names of those below it.
    below: String,
}

/// The threads, those that are alike put together.
fn tree(page: &Page<'_>, threads: &[Thread], session: &SessionDetail) -> Table {
    let is_drawn = page.is_for_people();
    let forest = Forest::new(threads);
    let mut rows = Vec::new();
    let mut stack: Vec<Node> = forest.roots();
    let mut seen = BTreeSet::new();
    loop {
        let Some(node) = stack.pop() else {
            // Threads that say to have begun each other hang on nothing.
            match (0..threads.len()).find(|at| !seen.contains(at)) {
                Some(at) => stack.push(Node::root(vec![at])),
                None => break,
            }
            continue;
        };
        let mut members: Vec<usize> = node.members.clone();
        members.retain(|at| seen.insert(*at));
        if members.is_empty() {
            continue;
        }
        if node.level + 1 >= MOST_LEVELS {
            let mut next = 0;
            while let Some(at) = members.get(next).copied() {
                let below = forest.below(&[at]);
                members.extend(below.into_iter().filter(|at| seen.insert(*at)));
                next += 1;
            }
        }
        rows.push(row(threads, &node, &members, is_drawn));
        let groups = alike(threads, forest.below(&members));
        let count = groups.len();
        let nodes = groups.into_iter().enumerate().map(|(at, members)| {
            let (branch, line) = match at + 1 == count {
                true => ("└─ ", "   "),
                false => ("├─ ", "│  "),
            };
            Node {
                members,
                level: node.level + 1,
                prefix: format!("{}{branch}", node.below),
                below: format!("{}{line}", node.below),
            }
        });
        let mut nodes: Vec<Node> = nodes.collect();
        nodes.reverse();
        stack.extend(nodes);
    }
    let mut total = vec![Cell::Text("total".to_owned())];
    total.resize(5, Cell::Unknown);
    total.extend(numbers(&session.usage));
    Table {
        columns: vec![
            Column {
                cut: None,
                ..Column::text("thread", "THREAD", 0, Cut::End)
            },
            Column::hidden("kind"),
            Column::hidden("agent_type"),
            Column::hidden("threads"),
            Column::hidden("depth"),
            Column::number("requests", "REQS", 0),
            Column::number("context_tokens", "CONTEXT", 0),
            Column::number("cached_ratio", "CACHED", 1),
            Column::hidden("cache_read_tokens"),
            Column::number("output_tokens", "OUTPUT", 0),
            Column::number("cost_nanousd", "COST", 0),
            Column::number("errors", "ERR", 3),
            Column::number("aborted_requests", "ABORTED", 4),
            Column::number("retry_requests", "RETRIES", 5),
        ],
        rows,
        keys: 5,
        totals: Some(total),
    }
}

fn numbers(usage: &UsageSum) -> Vec<Cell> {
    vec![
        Cell::Count(usage.requests),
        sum(usage.context),
        cached(usage),
        sum(usage.cache_read),
        sum(usage.output),
        money(usage.cost),
        Cell::Count(usage.errors),
        Cell::Count(usage.aborted_requests),
        Cell::Count(usage.retry_requests),
    ]
}

fn row(threads: &[Thread], node: &Node, members: &[usize], is_drawn: bool) -> Vec<Cell> {
    let mut usage = UsageSum::default();
    for thread in members.iter().filter_map(|at| threads.get(*at)) {
        usage.add(&thread.usage);
    }
    let first = members.first().and_then(|at| threads.get(*at));
    let kind = first.map(|thread| thread.kind.as_str()).unwrap_or_default();
    let agent_type = first.and_then(|thread| thread.agent_type.as_deref());
    let name = match (kind, agent_type) {
        ("subagent", Some(agent_type)) => agent_type.to_owned(),
        (kind, Some(agent_type)) => format!("{kind}: {agent_type}"),
        (kind, None) => kind.to_owned(),
    };
    let name = fit(&visible(&name), LONGEST_NAME, Cut::End).into_owned();
    let times = match members.len() {
        1 => String::new(),
        many => format!(" ×{many}"),
    };
    let depth = match (kind, node.level) {
        ("subagent", level) if is_drawn => format!(" (depth {level})"),
        _ => String::new(),
    };
    let prefix = if is_drawn { node.prefix.as_str() } else { "" };
    let mut cells = vec![
        Cell::Text(format!("{prefix}{name}{times}{depth}")),
        Cell::Text(kind.to_owned()),
        Cell::text(agent_type),
        Cell::Count(u64::try_from(members.len()).unwrap_or(u64::MAX)),
        Cell::Count(u64::try_from(node.level).unwrap_or(u64::MAX)),
    ];
    cells.extend(numbers(&usage));
    cells
}

/// Which threads were begun by which.
struct Forest<'a> {
    threads: &'a [Thread],
    children: BTreeMap<i64, Vec<usize>>,
    roots: Vec<usize>,
}

impl<'a> Forest<'a> {
    fn new(threads: &'a [Thread]) -> Self {
        let ids: BTreeSet<i64> = threads
            .iter()
            .filter_map(|thread| thread.thread_id)
            .collect();
        let mut children = BTreeMap::<i64, Vec<usize>>::new();
        let mut roots = Vec::new();
        for (at, thread) in threads.iter().enumerate() {
            match thread.parent_id.filter(|parent| ids.contains(parent)) {
                Some(parent) => children.entry(parent).or_default().push(at),
                None => roots.push(at),
            }
        }
        // What the session does beside its main thread is drawn below it.
        let main = roots
            .iter()
            .copied()
            .find(|at| threads.get(*at).is_some_and(|thread| thread.kind == "main"));
        let main_id = main.and_then(|at| threads.get(at)?.thread_id);
        if let (Some(main), Some(main_id)) = (main, main_id) {
            let others = roots.iter().copied().filter(|at| *at != main);
            children.entry(main_id).or_default().extend(others);
            roots = vec![main];
        }
        Self {
            threads,
            children,
            roots,
        }
    }

    fn roots(&self) -> Vec<Node> {
        let mut nodes: Vec<Node> = alike(self.threads, self.roots.clone())
            .into_iter()
            .map(Node::root)
            .collect();
        nodes.reverse();
        nodes
    }

    /// The threads that these began.
    fn below(&self, members: &[usize]) -> Vec<usize> {
        members
            .iter()
            .filter_map(|at| self.threads.get(*at)?.thread_id)
            .filter_map(|id| self.children.get(&id))
            .flatten()
            .copied()
            .collect()
    }
}

impl Node {
    const fn root(members: Vec<usize>) -> Self {
        Self {
            members,
            level: 0,
            prefix: String::new(),
            below: String::new(),
        }
    }
}

/// Threads of the same kind and type together, in the order of the first of them; what a person does
/// not wait for comes last.
fn alike(threads: &[Thread], members: Vec<usize>) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<(bool, &str, Option<&str>), Vec<usize>> = BTreeMap::new();
    for at in members {
        if let Some(thread) = threads.get(at) {
            let is_aside = matches!(thread.kind.as_str(), "background" | "auxiliary");
            let key = (is_aside, thread.kind.as_str(), thread.agent_type.as_deref());
            groups.entry(key).or_default().push(at);
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|((is_aside, ..), members)| (*is_aside, members.first().copied()));
    groups.into_iter().map(|(_, members)| members).collect()
}

/// Every call with its context, for programs.
fn every_call(points: &[ContextPoint]) -> Table {
    let mut last = BTreeMap::<Option<&str>, &ContextPoint>::new();
    let rows = points
        .iter()
        .map(|point| {
            let before = last.insert(point.thread_key.as_deref(), point);
            let known = |count: Option<u64>| count.map_or(Cell::Unknown, Cell::Count);
            vec![
                Cell::Moment(point.started_ms),
                Cell::text(point.thread_key.clone()),
                Cell::text(point.thread_kind.clone()),
                Cell::text(point.agent_type.clone()),
                Cell::text(point.model.clone()),
                known(point.context_tokens),
                known(point.cache_read_tokens),
                known(point.output_tokens),
                point.cost_nanousd.map_or(Cell::Unknown, Cell::Money),
                known(point.context_over_tokens),
                Cell::Number(Value::from(point.is_compaction)),
                Cell::text(mark(before, point)),
            ]
        })
        .collect();
    let names = [
        "started",
        "thread_key",
        "thread_kind",
        "agent_type",
        "model",
        "context_tokens",
        "cache_read_tokens",
        "output_tokens",
        "cost_nanousd",
        "context_over_tokens",
        "is_compaction",
        "mark",
    ];
    Table {
        columns: names.map(Column::hidden).to_vec(),
        rows,
        ..Table::default()
    }
}

/// What is remarkable of a call's context beside that of the call before it in its thread.
fn mark(before: Option<&ContextPoint>, point: &ContextPoint) -> Option<String> {
    if point.is_compaction {
        return Some("compaction".to_owned());
    }
    let over_before = before.and_then(|before| before.context_over_tokens);
    if point.cost_nanousd.is_some() && over_before != point.context_over_tokens {
        match point.context_over_tokens {
            Some(over) => return Some(format!("price of prompts over {}", grouped(over))),
            None if before.is_some_and(|before| before.cost_nanousd.is_some()) => {
                return Some("price of shorter prompts".to_owned());
            }
            None => {}
        }
    }
    let then = before.and_then(|before| before.context_tokens)?;
    let halved = point.context_tokens? <= then / 2 && then > 0;
    halved.then(|| "less than half of before".to_owned())
}

/// The context of the main thread as bars.
fn curve(page: &mut Page<'_>, points: &[ContextPoint]) -> Result<(), Error> {
    let is_main = |point: &&ContextPoint| point.thread_kind.as_deref().is_none_or(|k| k == "main");
    let main: Vec<&ContextPoint> = points.iter().filter(is_main).collect();
    let shown: Vec<&ContextPoint> = match main.is_empty() {
        true => points.iter().collect(),
        false => main,
    };
    let most = shown
        .iter()
        .filter_map(|point| point.context_tokens)
        .max()
        .unwrap_or(0);
    let step = shown.len().div_ceil(CURVE_LINES).max(1);
    let mut before: Option<&ContextPoint> = None;
    let mut rows = Vec::new();
    for (line, calls) in shown.chunks(step).enumerate() {
        let mut marks: Vec<String> = Vec::new();
        for point in calls {
            let found = mark(before, point);
            marks.extend(found.filter(|found| !marks.contains(found)));
            before = Some(point);
        }
        let first = line * step + 1;
        let last = first + calls.len() - 1;
        let range = match first == last {
            true => first.to_string(),
            false => format!("{first}–{last}"),
        };
        let peak = calls.iter().filter_map(|point| point.context_tokens).max();
        rows.push(vec![
            Cell::Text(range),
            calls
                .first()
                .map_or(Cell::Unknown, |point| Cell::Moment(point.started_ms)),
            peak.map_or(Cell::Unknown, Cell::Count),
            Cell::Text(bar(peak.unwrap_or(0), most)),
            Cell::Text(marks.join(", ")),
        ]);
    }
    let table = Table {
        columns: vec![
            Column::number("call", "CALL", 0),
            Column {
                cut: None,
                ..Column::text("started", "STARTED", 3, Cut::End)
            },
            Column::number("context_tokens", "CONTEXT", 0),
            Column {
                cut: None,
                ..Column::text("bar", "", 2, Cut::End)
            },
            Column::text("mark", "", 0, Cut::End),
        ],
        rows,
        ..Table::default()
    };
    page.table(&table)?;
    let others = points.len() - shown.len();
    if others > 0 {
        writeln!(
            page.out,
            "{others} calls of other threads are not in it; -o json has them"
        )?;
    }
    Ok(())
}

/// A bar as long as `tokens` is of `most`, in eighths of a column; nothing is drawn as none.
fn bar(tokens: u64, most: u64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if most == 0 || tokens == 0 {
        return String::new();
    }
    let eighths = u128::from(tokens) * u128::from(BAR_COLUMNS) * 8 / u128::from(most);
    let eighths = usize::try_from(eighths).unwrap_or(usize::MAX).max(1);
    let rest = EIGHTHS.get(eighths % 8).copied().unwrap_or_default();
    format!("{}{rest}", "█".repeat(eighths / 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share_and_never_none_of_something() {
        assert_eq!(bar(0, 100), "");
        assert_eq!(bar(0, 0), "");
        assert_eq!(bar(1, 1_000_000), "▏");
        assert_eq!(bar(50, 100), "█".repeat(15));
        assert_eq!(bar(100, 100), "█".repeat(30));
    }

    #[test]
    fn threads_that_began_each_other_are_all_drawn_once() {
        let thread = |id, parent, agent_type: &str| Thread {
            thread_id: Some(id),
            parent_id: parent,
            kind: "subagent".to_owned(),
            agent_type: Some(agent_type.to_owned()),
            ..Thread::default()
        };
        let mut out = Vec::new();
        let page = Page {
            out: &mut out,
            format: Format::Table,
            width: None,
            style: super::super::Style::Plain,
            zone: jiff::tz::TimeZone::UTC,
            now: jiff::Timestamp::UNIX_EPOCH,
            prices: &|| crate::prices::InForce {
                about: agent_core::prices::About::bundled(),
                own: 0,
                age_days: None,
                is_old: false,
            },
        };
        let names = |threads: &[Thread]| -> Vec<String> {
            tree(&page, threads, &SessionDetail::default())
                .rows
                .iter()
                .map(|row| row[0].json().as_str().unwrap().to_owned())
                .collect()
        };
        let ring = [thread(1, Some(2), "a"), thread(2, Some(1), "b")];
        assert_eq!(names(&ring), ["a (depth 0)", "└─ b (depth 1)"]);
        let chain: Vec<Thread> = (1..=20_000)
            .map(|id| thread(id, (id > 1).then_some(id - 1), &format!("t{id}")))
            .collect();
        let drawn = names(&chain);
        assert_eq!(drawn.len(), MOST_LEVELS);
        assert!(drawn[MOST_LEVELS - 1].contains("t12 ×19989"), "{drawn:?}");
    }
}
