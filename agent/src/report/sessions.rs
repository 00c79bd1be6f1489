//! `bpftok sessions`: what belongs together, latest first.

use serde_json::{Map, Value};

use super::table::{Cell, Column, Table};
use super::text::Cut;
use super::usage::{hosts_part, sum_cells, sum_columns};
use super::{Asked, Error, Found, Page, WindowReport};
use crate::store::{Reader, Session};

/// Writes the sessions with a call in the window, at most `limit`.
///
/// # Errors
/// All of [`Error`].
pub fn sessions(
    page: &mut Page<'_>,
    reader: &Reader,
    asked: &Asked,
    limit: u32,
) -> Result<Found, Error> {
    let window = page.window(asked)?;
    let sessions = reader.sessions(window, limit)?;
    let totals = reader.all_usage(window)?;
    let coverage = reader.coverage(window)?;
    let is_empty = sessions.is_empty();
    if is_empty && page.is_for_people() {
        page.nothing_decoded(reader, &coverage)?;
        return Ok(Found::Nothing);
    }
    let mut columns = vec![
        Column::text("session_key", "SESSION", 0, Cut::End),
        Column::text("key_source", "KEY", 11, Cut::End),
        Column::text("client_name", "CLIENT", 1, Cut::End),
        Column::number("pid", "PID", 3),
        Column::text("comm", "COMM", 6, Cut::End),
        Column::text("user_name", "USER", 5, Cut::End),
        Column::text("cwd", "DIRECTORY", 10, Cut::Start),
        Column {
            cut: None,
            ..Column::text("started", "STARTED", 4, Cut::End)
        },
        Column::number("duration_ms", "LENGTH", 2),
        Column::number("peak_context_tokens", "PEAK", 5),
        Column::text("workflow", "WORKFLOW", 4, Cut::End),
        Column::text("task_type", "TASK", 7, Cut::End),
        Column {
            cut: None,
            ..Column::text("length_bucket_requests", "REQS/SESSION", 12, Cut::End)
        },
    ];
    // A session is one session.
    columns.extend(sum_columns().into_iter().skip(1));
    let mut table = Table {
        columns,
        ..Table::default()
    };
    table.rows.extend(sessions.iter().map(row));
    let fields = Map::from_iter([
        ("limit".to_owned(), Value::from(limit)),
        ("sessions".to_owned(), Value::from(totals.sessions)),
    ]);
    let shown = u64::try_from(sessions.len()).unwrap_or(u64::MAX);
    let mut notes = Vec::new();
    if shown < totals.sessions {
        notes.push(format!(
            "{shown} of {} sessions; -n shows more",
            totals.sessions
        ));
    }
    page.window_report(&WindowReport {
        window,
        table: &table,
        totals: &totals,
        coverage: &coverage,
        about: hosts_part(&reader.host_names()?).as_slice(),
        notes: &notes,
        fields,
    })?;
    Ok(if is_empty {
        Found::Nothing
    } else {
        super::enough(asked, &coverage)
    })
}

fn row(session: &Session) -> Vec<Cell> {
    let usage = &session.usage;
    let (first_ms, last_ms) = (usage.first_ms.unwrap_or(0), usage.last_ms.unwrap_or(0));
    let length = u64::try_from(last_ms - first_ms).unwrap_or(0);
    let mut cells = vec![
        Cell::Text(session.key.clone()),
        Cell::Text(session.key_source.clone()),
        Cell::text(session.client_name.clone()),
        session
            .pid
            .map_or(Cell::Unknown, |pid| Cell::Number(Value::from(pid))),
        Cell::text(session.comm.clone()),
        Cell::text(session.user_name.clone()),
        Cell::text(session.cwd.clone()),
        Cell::Moment(first_ms),
        Cell::Millis(length),
        session
            .peak_context_tokens
            .map_or(Cell::Unknown, Cell::Count),
        Cell::text(session.workflow.clone()),
        Cell::text(session.task_type.clone()),
        Cell::Text(session.length_bucket.clone()),
    ];
    cells.extend(sum_cells(usage).into_iter().skip(1));
    cells
}
