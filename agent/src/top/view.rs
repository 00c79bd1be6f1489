//! Frames as lines of text, as a document, and on a screen.

use std::collections::BTreeSet;
use std::io;

use jiff::tz::TimeZone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use serde_json::{Map, Value, json};

use super::input::{Pane, State};
use super::model::{Agent, Context, Frame, Row, RowId, Severity, Sort, ThreadLine};
use crate::report::table::{self, Cell, Column, Table};
use crate::report::text::{self, Cut, count, duration, fit, grouped, money, visible};
use crate::report::{self, JSON_SCHEMA_VERSION};
use crate::store::{LiveAlert, LiveBudget, Sum};

/// The bar of a context is full at this many tokens where nobody says how much the model can read.
const USUAL_WINDOW: u64 = 200_000;
/// Columns of that bar.
const BAR: u64 = 9;

/// On a screen of fewer columns ids are shown by their beginnings.
const WIDE: usize = 160;
/// Characters of the beginning of an id: as many as tell the shown ones apart, in these bounds.
const SHORTEST_ID: usize = 8;
const LONGEST_ID: usize = 16;

/// What frames are drawn for.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// Zone of the shown times.
    pub(super) zone: TimeZone,
    /// Whether there is colour.
    pub(super) style: report::Style,
    /// Minutes without a call after which a session is not shown.
    pub(super) window_minutes: u32,
}

/// What a line is, for the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Plain,
    Heading,
    /// A session; whether it is the one that was selected is known when it is drawn.
    Session(RowId, Severity),
}

/// The lines above the sessions: when, how many, how fast, and what is wrong.
fn heading(frame: &Frame, state: &State, look: &Look, width: Option<usize>) -> Vec<String> {
    let totals = &frame.totals;
    let at = |format: &str| table::moment(frame.at_ms, &look.zone, format);
    let many = |count: usize, one: &str| match count {
        1 => format!("1 {one}"),
        many => format!("{many} {one}s"),
    };
    let mut parts = vec![match frame.agent {
        Agent::Runs => format!("bpftok {}", at("%H:%M:%S")),
        Agent::Gone => format!(
            "bpftok: no agent runs, last state of {}",
            at("%Y-%m-%d %H:%M:%S %Z")
        ),
    }];
    if state.is_frozen {
        parts.push("FROZEN".to_owned());
    }
    parts.push(many(totals.sessions, "active session"));
    if totals.running > 0 {
        parts.push(many(totals.running, "running call"));
    }
    parts.push(format!(
        "{}/min (1 h avg {})",
        amount(totals.rate),
        amount(totals.hour_rate)
    ));
    let tokens = totals
        .tokens
        .map_or_else(|| text::UNKNOWN.to_owned(), count);
    parts.push(format!("{tokens} weighted tok/min"));
    parts.push(match (totals.pages, totals.tickets) {
        (0, 0) => "no alerts".to_owned(),
        (pages, tickets) => {
            let pages = many(pages, "page");
            format!("alerts: {pages}, {}", many(tickets, "ticket"))
        }
    });
    parts.extend(frame.budgets.first().map(budget));
    wrapped(parts, width)
}

/// The budget that is worst off.
fn budget(budget: &LiveBudget) -> String {
    let name = match budget.scope_value.as_str() {
        "" => visible(&budget.budget).into_owned(),
        value => format!("{} of {}", visible(&budget.budget), visible(value)),
    };
    let used = text::percent(budget.used_amount, budget.limit_amount);
    let used = used.map_or_else(String::new, |used| format!(" at {used}"));
    match budget.status.as_str() {
        "ok" => format!("budgets ok ({name}{used})"),
        status => format!("budget {name} {}{used}", visible(status)),
    }
}

/// As many parts to a line as fit; one that is too wide by itself is cut.
fn wrapped(parts: Vec<String>, width: Option<usize>) -> Vec<String> {
    let width = width.unwrap_or(usize::MAX);
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if text::width(line) + 3 + text::width(&part) <= width => {
                line.push_str(" · ");
                line.push_str(&part);
            }
            _ => lines.push(fit(&part, width, Cut::End).into_owned()),
        }
    }
    lines
}

/// An amount of money of which a part may be unknown.
fn amount(sum: Sum) -> String {
    match sum.value {
        None => text::UNKNOWN.to_owned(),
        Some(value) if sum.is_lower_bound => format!("≥ {}", money(value)),
        Some(value) => money(value),
    }
}

fn money_cell(sum: Sum) -> Cell {
    match sum.value {
        None => Cell::Unknown,
        Some(value) if sum.is_lower_bound => Cell::MoneyAtLeast(value),
        Some(value) => Cell::Money(value),
    }
}

/// A bar, and the tokens in thousands.
fn context(context: Option<Context>) -> Cell {
    let Some(context) = context else {
        return Cell::Unknown;
    };
    let tokens = context.tokens;
    let window = context.window_tokens.unwrap_or(USUAL_WINDOW).max(1);
    let full = tokens.saturating_mul(BAR).saturating_add(window / 2) / window;
    let bar: String = (0..BAR)
        .map(|at| if at < full { '█' } else { '░' })
        .collect();
    let thousands = match tokens {
        0..1_000 => tokens.to_string(),
        1_000..10_000_000 => format!("{}k", tokens.saturating_add(500) / 1_000),
        _ => format!("{}M", tokens / 1_000_000),
    };
    Cell::Text(format!("{bar} {thousands:>5}"))
}

/// The note of a session: what rules found, what runs, what failed.
fn note(row: &Row) -> String {
    let mut notes = row.notes.clone();
    if row.running > 0 {
        notes.push(format!(
            "{} running {}",
            row.running,
            duration(row.running_ms)
        ));
    }
    notes.join(", ")
}

/// Columns for people, and those that only programs see, which are the same numbers raw.
fn columns(sort: Sort) -> Vec<Column> {
    let sorted = |by: Sort, heading: &str| match by == sort {
        true => format!("{heading}▾"),
        false => heading.to_owned(),
    };
    // Of these a half says nothing, so they are shown whole or not at all.
    let whole = |name: &str, heading: &str, expendable| Column {
        cut: None,
        ..Column::text(name, heading, expendable, Cut::End)
    };
    vec![
        Column::text("session_key", "SESSION", 0, Cut::End),
        Column::text("workflow", "WORKFLOW", 1, Cut::End),
        whole("client_name", "CLIENT", 8),
        Column::number("pid", "PID", 9),
        whole("user_name", "USER", 10),
        whole("model", "MODEL", 7),
        Column::number("requests", "TURN", 6),
        Column::number("threads", &sorted(Sort::Threads, "THR"), 5),
        whole("context", &sorted(Sort::Context, "CONTEXT"), 3),
        Column::number("tokens", &sorted(Sort::Tokens, "TOK/MIN"), 11),
        Column::number("rate", &sorted(Sort::Cost, "$/MIN"), 0),
        Column::number("cost", "$SESSION", 2),
        Column::number("errors", &sorted(Sort::Errors, "ERR"), 12),
        Column::number("age", "AGE", 4),
        Column::text("note", "NOTE", 0, Cut::End),
    ]
}

/// How many characters tell the ids of these sessions apart.
fn id_length(rows: &[&Row]) -> usize {
    let are_apart = |length: &usize| {
        let mut seen = BTreeSet::new();
        rows.iter()
            .all(|row| seen.insert(beginning(&row.key, *length)))
    };
    (SHORTEST_ID..LONGEST_ID)
        .find(are_apart)
        .unwrap_or(LONGEST_ID)
}

/// An id, or the beginning of one that is longer than this.
fn beginning(key: &str, length: usize) -> String {
    match key.char_indices().nth(length) {
        // What a mark would take is left.
        Some((at, c)) if at + c.len_utf8() < key.len() => {
            format!("{}…", key.get(..at).unwrap_or_default())
        }
        _ => key.to_owned(),
    }
}

/// The name of a model without the day of its version.
fn undated(model: &str) -> &str {
    let is_day = |day: &str| {
        let digits = day.bytes().filter(u8::is_ascii_digit).count();
        digits == 8
            && day
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'-')
    };
    [9, 11]
        .into_iter()
        .filter_map(|length| model.split_at_checked(model.len().checked_sub(length)?))
        .find_map(|(name, day)| {
            day.strip_prefix('-')
                .filter(|day| is_day(day))
                .map(|_| name)
        })
        .unwrap_or(model)
}

fn cells(row: &Row, id_length: usize) -> Vec<Cell> {
    vec![
        Cell::Text(beginning(&row.key, id_length)),
        Cell::text(row.workflow.clone()),
        Cell::text(row.client.clone()),
        row.pid
            .map_or(Cell::Unknown, |pid| Cell::Number(Value::from(pid))),
        Cell::text(row.user.clone()),
        Cell::text(row.model.as_deref().map(undated)),
        Cell::Count(row.requests),
        Cell::Count(row.threads),
        context(row.context),
        row.tokens.map_or(Cell::Unknown, Cell::Count),
        money_cell(row.rate),
        money_cell(row.cost),
        Cell::Count(row.errors),
        Cell::Text(age(row.age_ms)),
        Cell::Text(note(row)),
    ]
}

/// Whole seconds: what changes ten times a second is not read.
fn age(ms: u64) -> String {
    match ms {
        0..60_000 => format!("{}s", ms / 1_000),
        _ => duration(ms),
    }
}

/// Threads below their session; the branch of the last of a depth ends.
fn line_cells(line: &ThreadLine, has_next: bool) -> Vec<Cell> {
    let blank = || Cell::Text(String::new());
    let indent = "   ".repeat(usize::try_from(line.depth.min(8)).unwrap_or(0));
    let branch = if has_next { "├─" } else { "└─" };
    let name = match line.threads {
        0 | 1 => line.name.clone(),
        many => format!("{} ×{many}", line.name),
    };
    let running = match line.running {
        0 => String::new(),
        running => format!("{running} running"),
    };
    let mut cells: Vec<Cell> = (0..15).map(|_| blank()).collect();
    let filled = [
        (0, Cell::Text(format!("{indent}{branch} {name}"))),
        (5, Cell::text(line.model.as_deref().map(undated))),
        (
            7,
            Cell::Count(u64::try_from(line.threads).unwrap_or(u64::MAX)),
        ),
        (8, context(line.context)),
        (10, money_cell(line.rate)),
        (14, Cell::Text(running)),
    ];
    for (at, cell) in filled {
        if let Some(place) = cells.get_mut(at) {
            *place = cell;
        }
    }
    cells
}

/// The sessions that pass the filter, with what each line is.
fn table_lines(
    frame: &Frame,
    state: &State,
    look: &Look,
    width: Option<usize>,
) -> io::Result<Vec<(String, Part)>> {
    let mut table = Table {
        columns: columns(state.sort),
        ..Table::default()
    };
    let mut parts = vec![Part::Heading];
    let rows: Vec<&Row> = frame.rows.iter().filter(|row| state.passes(row)).collect();
    let id_length = match width {
        Some(width) if width < WIDE => id_length(&rows),
        _ => usize::MAX,
    };
    for row in rows {
        table.rows.push(cells(row, id_length));
        parts.push(Part::Session(row.id.clone(), row.severity));
        if !state.is_tree {
            continue;
        }
        let depths = row.lines.iter().map(|line| Some(line.depth));
        let next = depths.skip(1).chain([None]);
        for (line, next) in row.lines.iter().zip(next) {
            table.rows.push(line_cells(line, next == Some(line.depth)));
            parts.push(Part::Plain);
        }
    }
    if table.rows.is_empty() {
        let nothing = match state.filter.as_str() {
            "" => format!(
                "no session called in the last {} minutes",
                look.window_minutes
            ),
            filter => format!("no session passes the filter {}", visible(filter)),
        };
        return Ok(vec![(nothing, Part::Plain)]);
    }
    let mut text = Vec::new();
    table.write_text(&mut text, width, &look.zone, report::Style::Plain)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(text.lines().map(str::to_owned).zip(parts).collect())
}

/// A frame as plain text, `width` columns wide.
pub(super) fn text(
    frame: &Frame,
    state: &State,
    look: &Look,
    width: Option<usize>,
) -> io::Result<String> {
    let mut lines = heading(frame, state, look, width);
    lines.push(String::new());
    let sessions = table_lines(frame, state, look, width)?;
    lines.extend(sessions.into_iter().map(|(line, _)| line));
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// A frame as a document for programs.
pub(super) fn document(frame: &Frame, look: &Look) -> Value {
    let totals = &frame.totals;
    json!({
        "schema_version": JSON_SCHEMA_VERSION,
        "generated_at": table::utc(frame.at_ms),
        "timezone": look.zone.iana_name(),
        "is_running": frame.agent == Agent::Runs,
        "active_minutes": look.window_minutes,
        "totals": {
            "sessions": totals.sessions,
            "running_calls": totals.running,
            "cost_nanousd_per_minute": totals.rate.value,
            "is_rate_lower_bound": totals.rate.is_lower_bound,
            "hour_cost_nanousd_per_minute": totals.hour_rate.value,
            "is_hour_rate_lower_bound": totals.hour_rate.is_lower_bound,
            "weighted_tokens_per_minute": totals.tokens,
        },
        "rows": frame.rows.iter().map(row_document).collect::<Vec<_>>(),
        "alerts": frame.alerts.iter().map(alert_document).collect::<Vec<_>>(),
        "budgets": frame.budgets.iter().map(budget_document).collect::<Vec<_>>(),
    })
}

fn row_document(row: &Row) -> Value {
    let lines = row.lines.iter().map(|line| {
        json!({
            "name": line.name,
            "depth": line.depth,
            "threads": line.threads,
            "running_calls": line.running,
            "model": line.model,
            "context_tokens": line.context.map(|context| context.tokens),
            "window_tokens": line.context.and_then(|context| context.window_tokens),
            "cost_nanousd_per_minute": line.rate.value,
            "is_rate_lower_bound": line.rate.is_lower_bound,
        })
    });
    json!({
        "session_key": row.key,
        "workflow": row.workflow,
        "client_name": row.client,
        "pid": row.pid,
        "user_name": row.user,
        "model": row.model,
        "requests": row.requests,
        "threads": row.threads,
        "errors": row.errors,
        "running_calls": row.running,
        "running_ms": row.running_ms,
        "context_tokens": row.context.map(|context| context.tokens),
        "window_tokens": row.context.and_then(|context| context.window_tokens),
        "weighted_tokens_per_minute": row.tokens,
        "cost_nanousd_per_minute": row.rate.value,
        "is_rate_lower_bound": row.rate.is_lower_bound,
        "cost_nanousd": row.cost.value,
        "is_cost_lower_bound": row.cost.is_lower_bound,
        "started": table::utc(row.started_ms),
        "age_ms": row.age_ms,
        "notes": row.notes,
        "thread_groups": lines.collect::<Vec<_>>(),
    })
}

fn alert_document(alert: &LiveAlert) -> Value {
    let parsed = |json: &str| serde_json::from_str::<Value>(json).unwrap_or_default();
    let scope: Map<String, Value> =
        serde_json::from_str::<Vec<(String, String)>>(&alert.scope_json)
            .unwrap_or_default()
            .into_iter()
            .map(|(name, value)| (name, Value::from(value)))
            .collect();
    json!({
        "rule": alert.rule,
        "severity": alert.severity,
        "summary": alert.summary,
        "scope": scope,
        "budget": alert.budget,
        "is_acknowledged": alert.is_acknowledged,
        "evidence": parsed(&alert.evidence_json),
    })
}

fn budget_document(budget: &LiveBudget) -> Value {
    json!({
        "budget": budget.budget,
        "scope_value": budget.scope_value,
        "status": budget.status,
        "used_amount": budget.used_amount,
        "limit_amount": budget.limit_amount,
    })
}

/// What keys do, the most important first: a narrow screen shows fewer.
const KEYS: [&str; 7] = [
    "q quit",
    "? help",
    "s sort",
    "/ filter",
    "enter detail",
    "t tree",
    "f freeze",
];

const HELP: &str = "\
Keys
  q, Ctrl-C        quit
  s                sort by the next of: cost, tokens, context, threads, errors
  r                the other end first
  /                filter: sessions with this text in id, workflow, client, user, model, pid or note
  Enter            the selected session: who it is, its threads and what each cost
  t                threads of the last minutes below each session
  f                freeze what is shown, or go on
  up, k; down, j   select; PgUp, PgDn, Home, End
  Esc              back; of a list: no filter

Columns
  TURN      calls that have ended; THR: threads of the session
  CONTEXT   input of the last call; the bar is the model's window, or 200k
  $/MIN     mean of the last five minutes, running calls included
  $SESSION  since the session began; ≥: a part is unknown, —: all of it
  NOTE      rules that it breaks (R1 to R7), alerts of its workflow, calls that run or failed";

/// Draws a frame, or what was asked for instead, into all of `area`.
///
/// # Errors
/// None that memory does not have.
pub(super) fn draw(
    frame: &Frame,
    state: &mut State,
    look: &Look,
    detail: &[String],
    area: Rect,
    buffer: &mut Buffer,
) -> io::Result<()> {
    let width = usize::from(area.width);
    let mut top: Vec<(String, Part)> = heading(frame, state, look, Some(width))
        .into_iter()
        .map(|line| (line, Part::Heading))
        .collect();
    top.push((String::new(), Part::Plain));
    let plain = |line: &str| (line.to_owned(), Part::Plain);
    let mut body = match state.pane {
        Pane::List => table_lines(frame, state, look, Some(width))?,
        Pane::Help => HELP.lines().map(plain).collect(),
        Pane::Detail => detail.iter().map(|line| plain(line)).collect(),
    };
    // The headings of the columns stay where they are.
    if body.first().is_some_and(|(_, part)| *part == Part::Heading) {
        top.push(body.remove(0));
    }
    let height = usize::from(area.height);
    // A screen too low for all of it still shows a session and what keys do.
    top.truncate(height.saturating_sub(2));
    let room = height.saturating_sub(top.len()).saturating_sub(1);
    let selected = body.iter().position(|(_, part)| match part {
        Part::Session(id, _) => state.selected.as_ref() == Some(id),
        Part::Plain | Part::Heading => false,
    });
    let first = state.scrolled(body.len(), room, selected);
    let shown = top.iter().chain(body.iter().skip(first).take(room));
    for ((line, part), y) in shown.zip(area.y..) {
        let style = style(part, state, look);
        let line = fit(line, width, Cut::End);
        buffer.set_string(area.x, y, &line, style);
        if style.add_modifier.contains(Modifier::REVERSED) {
            buffer.set_style(Rect::new(area.x, y, area.width, 1), style);
        }
    }
    if area.height > 0 {
        let y = area.y.saturating_add(area.height - 1);
        let keys = keys(frame, state, width);
        buffer.set_string(area.x, y, &keys, Style::new().add_modifier(Modifier::DIM));
    }
    Ok(())
}

/// The last line: what keys do, or the filter that is being typed.
fn keys(frame: &Frame, state: &State, width: usize) -> String {
    if let Some(typed) = &state.typed {
        return fit(&format!("/{}_", visible(typed)), width, Cut::Start).into_owned();
    }
    let mut parts: Vec<String> = match state.pane {
        Pane::List => KEYS.iter().map(|key| (*key).to_owned()).collect(),
        Pane::Help | Pane::Detail => ["q quit", "esc back", "j/k scroll"]
            .map(str::to_owned)
            .to_vec(),
    };
    if state.pane == Pane::List {
        if let Some(sort) = parts.get_mut(2) {
            *sort = format!("s sort: {}", state.sort.name());
        }
        if !state.filter.is_empty() {
            let passing = frame.rows.iter().filter(|row| state.passes(row)).count();
            let passing = u64::try_from(passing).unwrap_or(u64::MAX);
            let filter = format!("filter {}: {}", visible(&state.filter), grouped(passing));
            parts.insert(0, filter);
        }
    }
    let mut line = String::new();
    for part in parts {
        let part = if line.is_empty() {
            part
        } else {
            format!("  {part}")
        };
        if text::width(&line) + text::width(&part) <= width {
            line.push_str(&part);
        }
    }
    line
}

fn style(part: &Part, state: &State, look: &Look) -> Style {
    let coloured = |color| match look.style {
        report::Style::Coloured => Style::new().fg(color),
        report::Style::Plain => Style::new(),
    };
    match part {
        Part::Plain => Style::new(),
        Part::Heading => Style::new().add_modifier(Modifier::BOLD),
        Part::Session(id, severity) => {
            let style = match severity {
                Severity::None => Style::new(),
                Severity::Ticket => coloured(Color::Yellow),
                Severity::Page => coloured(Color::Red),
            };
            match state.selected.as_ref() == Some(id) {
                true => style.add_modifier(Modifier::REVERSED),
                false => style,
            }
        }
    }
}
