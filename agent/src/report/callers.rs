//! Processes that talk to LLM hosts, for `status` and `doctor`: a line for each, without boxes.

use std::io::{self, Write};

use jiff::tz::TimeZone;
use serde_json::Value;

use super::page::Style;
use super::table::{Cell, Column, Table};
use super::text::Cut;
use crate::store::{CalledHost, CallingProcess};

/// What is known of the calls of listed processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// An agent counts them.
    Counted,
    /// Nobody does.
    Unknown,
}

/// Writes one line for each process, in at most `width` columns if that is possible.
///
/// # Errors
///
/// The output is gone.
pub fn callers(
    out: &mut dyn Write,
    width: Option<usize>,
    list: &[CallingProcess],
    calls: Calls,
) -> io::Result<()> {
    let mut columns = vec![
        Column::number("pid", "PID", 0),
        Column::text("comm", "NAME", 0, Cut::End),
        Column::text("hosts", "HOSTS", 1, Cut::End),
    ];
    if calls == Calls::Counted {
        columns.extend([
            Column::number("calls", "CALLS", 0),
            Column::number("not_decoded", "NOT DECODED", 0),
        ]);
    }
    columns.extend([
        Column::text("tls", "TLS", 0, Cut::Start),
        Column::text("found_by", "FOUND BY", 4, Cut::End),
        Column::text("confidence", "SURE", 5, Cut::End),
        Column::text("functions", "HOOKED, OR WHY NOT", 2, Cut::End),
        Column::text("exe", "EXECUTABLE", 3, Cut::Start),
    ]);
    let table = Table {
        columns,
        rows: list.iter().map(|process| row(process, calls)).collect(),
        keys: 2,
        totals: None,
    };
    table.write_text(out, width, &TimeZone::UTC, Style::Plain)
}

fn row(process: &CallingProcess, calls: Calls) -> Vec<Cell> {
    let hosts: Vec<_> = process
        .hosts
        .iter()
        .filter_map(|host| host.name.as_deref())
        .collect();
    let mut row = vec![
        Cell::Number(Value::from(process.pid)),
        Cell::Text(process.comm.clone()),
        joined(hosts),
    ];
    if calls == Calls::Counted {
        let sum = |pick: fn(&CalledHost) -> u64| {
            process.hosts.iter().map(pick).fold(0, u64::saturating_add)
        };
        let calls = sum(|host| host.calls.saturating_add(host.truncated_calls));
        let not_decoded = sum(|host| {
            host.undecodable_connections
                .saturating_add(host.unprobed_connections)
        });
        row.extend([
            if not_decoded > 0 {
                Cell::AtLeast(calls)
            } else {
                Cell::Count(calls)
            },
            Cell::Count(not_decoded),
        ]);
    }
    let tls = &process.tls;
    let functions = tls.iter().map(|file| match &file.refusal {
        Some(refusal) => refusal.clone(),
        None => file.functions.join(" "),
    });
    // A process may be over before its files are looked at, and its library hooked long before.
    let was_read = process.hosts.iter().any(|host| host.calls > 0);
    let why = process.why.as_ref().map(|why| {
        if was_read {
            format!("its calls were read; {why}")
        } else {
            why.clone()
        }
    });
    row.extend([
        if tls.is_empty() && was_read {
            Cell::Unknown
        } else if tls.is_empty() {
            Cell::Text("none found".to_owned())
        } else {
            joined(tls.iter().map(|file| {
                let name = file.path.rsplit('/').next().unwrap_or_default();
                file.library.as_deref().unwrap_or(name)
            }))
        },
        joined(tls.iter().filter_map(|file| file.found_by.as_deref())),
        joined(tls.iter().filter_map(|file| file.confidence.as_deref())),
        joined(functions.chain(why)),
        Cell::text(process.exe.clone()),
    ]);
    row
}

/// Texts of one cell; none of them is unknown.
fn joined<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Cell {
    let mut joined = String::new();
    for text in texts {
        if !joined.is_empty() {
            joined.push_str("; ");
        }
        joined.push_str(text.as_ref());
    }
    Cell::text(Some(joined).filter(|joined| !joined.is_empty()))
}
