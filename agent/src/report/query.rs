//! `bpftok query`: SQL of the user, read-only.

use std::ops::ControlFlow;

use serde_json::{Value as Json, json};

use super::table::{Align, Cell, Column, CsvLines, Separator, Table, write_json, write_json_line};
use super::text::Cut;
use super::{Error, Format, Found, JSON_SCHEMA_VERSION, Page};
use crate::store::{Reader, Value};

/// LIMIT: rows that are kept in memory to align a table or to make one document; more are cut off
/// with a note, because a person reads none of them. CSV, TSV and NDJSON have no limit.
const MAX_ROWS: usize = 100_000;

/// Runs one statement that reads.
///
/// # Errors
/// All of [`Error`]; [`crate::store::Error::WritingQuery`] if it would write.
pub fn query(page: &mut Page<'_>, reader: &Reader, sql: &str) -> Result<Found, Error> {
    let query = reader.query(sql)?;
    let names = query.columns();
    let separator = match page.format {
        Format::Csv => Some(Separator::Comma),
        Format::Tsv => Some(Separator::Tab),
        Format::Table | Format::Wide | Format::Json | Format::Ndjson | Format::Md => None,
    };
    if let Some(separator) = separator {
        // Row by row, so that a whole ledger passes through.
        let mut lines = CsvLines::new(page.out, separator);
        lines.write(names.into_iter().map(Cell::Text))?;
        let mut written = Ok(());
        query.each(|row| {
            written = lines.write(row.into_iter().map(cell));
            if written.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        written?;
        lines.finish()?;
        return Ok(Found::Something);
    }
    if page.format == Format::Ndjson {
        let table = Table {
            columns: names.iter().map(|name| Column::hidden(name)).collect(),
            ..Table::default()
        };
        let mut written = Ok(());
        query.each(|row| {
            let cells: Vec<Cell> = row.into_iter().map(cell).collect();
            written = write_json_line(page.out, &table.json_row(&cells));
            if written.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        written?;
        return Ok(Found::Something);
    }
    let mut rows = Vec::new();
    let mut is_cut = false;
    query.each(|row| {
        is_cut = rows.len() == MAX_ROWS;
        if is_cut {
            return ControlFlow::Break(());
        }
        rows.push(row.into_iter().map(cell).collect());
        ControlFlow::Continue(())
    })?;
    let columns = names
        .iter()
        .enumerate()
        .map(|(at, name)| column(at, name, &rows))
        .collect();
    let table = Table {
        columns,
        rows,
        ..Table::default()
    };
    if page.format == Format::Json {
        let document = json!({
            "schema_version": JSON_SCHEMA_VERSION,
            "generated_at": page.now.to_string(),
            "columns": names,
            "rows": table.json_rows(),
            "is_cut": is_cut,
        });
        write_json(page.out, &document)?;
    } else {
        page.table(&table)?;
        if is_cut && page.is_for_people() {
            writeln!(page.out, "cut after {MAX_ROWS} rows; -o csv writes all")?;
        }
    }
    Ok(Found::Something)
}

fn cell(value: Value) -> Cell {
    match value {
        Value::Null => Cell::Unknown,
        Value::Integer(number) => Cell::Number(Json::from(number)),
        // JSON has no infinity.
        Value::Real(number) => serde_json::Number::from_f64(number).map_or_else(
            || Cell::Text(number.to_string()),
            |number| Cell::Number(Json::Number(number)),
        ),
        Value::Text(text) => Cell::Text(text),
        Value::Blob(bytes) => Cell::Text(format!("(blob of {bytes} bytes)")),
    }
}

/// A column stands right if all that is in it are numbers.
fn column(at: usize, name: &str, rows: &[Vec<Cell>]) -> Column {
    let heading = super::text::visible(name).into_owned();
    let mut cells = rows
        .iter()
        .filter_map(|row| row.get(at))
        .filter(|cell| **cell != Cell::Unknown)
        .peekable();
    let is_number = cells.peek().is_some() && cells.all(|cell| matches!(cell, Cell::Number(_)));
    let column = Column {
        name: name.to_owned(),
        ..Column::text(name, &heading, 0, Cut::End)
    };
    // A query's columns were asked for: none is dropped, and ids in them are not cut.
    Column {
        align: if is_number { Align::Right } else { Align::Left },
        cut: None,
        ..column
    }
}
