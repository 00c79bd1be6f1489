//! Rows of cells, and the ways to write them.

use std::io::{self, Write};
use std::iter::repeat_n;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize as _;
use serde_json::{Map, Value, ser::Formatter};

use super::page::{Paint, Style};
use super::text::{self, Cut, UNKNOWN};

mod measure;

pub(crate) use measure::{Change, Exactness, Share};

/// Spaces between columns.
const GAP: usize = 2;

/// What is in a place of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// Unknown; never written as zero.
    Unknown,
    /// Text, as stored.
    Text(String),
    /// A count.
    Count(u64),
    /// A count that is at least this.
    AtLeast(u64),
    /// Money, in billionths of a US dollar.
    Money(u64),
    /// Money that is at least this.
    MoneyAtLeast(u64),
    /// A price, in billionths of a US dollar, with all of its digits.
    Rate(u64),
    /// A number that is no count: an id, a result of a query.
    Number(Value),
    /// A moment, in milliseconds since the Unix epoch.
    Moment(i64),
    /// A duration in milliseconds.
    Millis(u64),
    /// A part of a whole.
    Share(Share),
    /// How something changed.
    Change(Change),
}

impl Cell {
    pub(crate) fn text(text: Option<impl Into<String>>) -> Self {
        text.map_or(Self::Unknown, |text| Self::Text(text.into()))
    }

    /// As a person reads it.
    fn shown(&self, zone: &TimeZone) -> String {
        match self {
            Self::Unknown => UNKNOWN.to_owned(),
            Self::Text(stored) => text::visible(stored).into_owned(),
            Self::Count(count) => text::count(*count),
            Self::AtLeast(count) => format!("≥ {}", text::count(*count)),
            Self::Money(nanousd) => text::money(*nanousd),
            Self::MoneyAtLeast(nanousd) => format!("≥ {}", text::money(*nanousd)),
            Self::Rate(nanousd) => text::exact_money(*nanousd),
            Self::Number(number) => number.to_string(),
            Self::Moment(ms) => moment(*ms, zone, "%Y-%m-%d %H:%M"),
            Self::Millis(ms) => text::duration(*ms),
            Self::Share(share) => share.shown(),
            Self::Change(change) => change.shown(),
        }
    }

    /// In a table of Markdown: nothing ends the cell or is taken for markup.
    fn markdown(&self, zone: &TimeZone) -> String {
        markdown(&self.shown(zone))
    }

    /// Whether it may be more.
    const fn is_lower_bound(&self) -> bool {
        matches!(self, Self::AtLeast(_) | Self::MoneyAtLeast(_))
    }

    /// As a program reads it.
    pub(crate) fn json(&self) -> Value {
        match self {
            Self::Unknown => Value::Null,
            Self::Text(stored) => Value::from(stored.as_str()),
            Self::Count(count)
            | Self::AtLeast(count)
            | Self::Money(count)
            | Self::MoneyAtLeast(count)
            | Self::Rate(count)
            | Self::Millis(count) => Value::from(*count),
            Self::Number(number) => number.clone(),
            Self::Moment(ms) => Value::from(utc(*ms)),
            Self::Share(share) => share.ratio(),
            Self::Change(change) => change.ratio(),
        }
    }

    /// As a spreadsheet reads it: no text begins like a formula, and none breaks the line.
    fn csv(&self) -> String {
        match self {
            Self::Unknown => String::new(),
            Self::Share(_) | Self::Change(_) => {
                let number = Some(self.json()).filter(|number| !number.is_null());
                number.map_or_else(String::new, |number| number.to_string())
            }
            Self::Text(stored) => {
                let visible = text::visible(stored);
                if visible.starts_with(['=', '+', '-', '@'])
                    || stored.starts_with(['\t', '\r', '\n'])
                {
                    format!("'{visible}")
                } else {
                    visible.into_owned()
                }
            }
            Self::Count(count)
            | Self::AtLeast(count)
            | Self::Money(count)
            | Self::MoneyAtLeast(count)
            | Self::Rate(count)
            | Self::Millis(count) => count.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Moment(ms) => utc(*ms),
        }
    }
}

/// A text in which nothing is taken for markup, or ends the cell of a table.
pub(crate) fn markdown(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if matches!(
            c,
            '|' | '\\' | '`' | '*' | '_' | '<' | '>' | '[' | ']' | '~'
        ) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A moment on the clock of `zone`.
pub(crate) fn moment(ms: i64, zone: &TimeZone, format: &str) -> String {
    Timestamp::from_millisecond(ms).map_or_else(
        |_| UNKNOWN.to_owned(),
        |moment| {
            moment
                .to_zoned_datetime(zone.clone())
                .strftime(format)
                .to_string()
        },
    )
}

/// A moment in UTC, for programs.
pub(crate) fn utc(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |moment| moment.to_string())
}

/// Where a column stands in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A column.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// Name in JSON and CSV.
    pub(crate) name: String,
    /// Heading in a table; a column without one is for programs only.
    pub(crate) heading: Option<String>,
    pub(crate) align: Align,
    /// What goes first when the terminal is narrow: the highest number. 0 stays.
    pub(crate) expendable: u8,
    /// Which end of a long text is cut, if it may be.
    pub(crate) cut: Option<Cut>,
}

impl Column {
    pub(crate) fn text(name: &str, heading: &str, expendable: u8, cut: Cut) -> Self {
        Self {
            name: name.to_owned(),
            heading: Some(heading.to_owned()),
            align: Align::Left,
            expendable,
            cut: Some(cut),
        }
    }

    pub(crate) fn number(name: &str, heading: &str, expendable: u8) -> Self {
        Self {
            name: name.to_owned(),
            heading: Some(heading.to_owned()),
            align: Align::Right,
            expendable,
            cut: None,
        }
    }

    /// A column that only programs see.
    pub(crate) fn hidden(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            heading: None,
            align: Align::Left,
            expendable: 0,
            cut: None,
        }
    }
}

/// A table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<Cell>>,
    /// So many of the first columns name a row.
    pub(crate) keys: usize,
    /// Last row, under a line.
    pub(crate) totals: Option<Vec<Cell>>,
}

/// LIMIT: a text that may be cut is never made shorter than this; columns are dropped before.
const SHORTEST_TEXT: usize = 8;

/// LIMIT: a text that names its row is made shorter than this only where nothing else is left to
/// drop: `anthropic-python` and `anthropic-node` are to be told apart.
const SHORTEST_NAME: usize = 16;

/// LIMIT: a text that may be cut takes at most this much where the width is not known to be more.
const LONGEST_TEXT: usize = 60;

impl Table {
    /// For people: at most `width` columns wide, if that is possible at all.
    pub(crate) fn write_text(
        &self,
        out: &mut dyn Write,
        width: Option<usize>,
        zone: &TimeZone,
        style: Style,
    ) -> io::Result<()> {
        let mut shown: Vec<Shown<'_>> = self
            .columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.heading.is_some())
            .map(|(at, column)| Shown::new(self, at, column, zone))
            .collect();
        if let Some(width) = width {
            narrow(&mut shown, width);
        }
        let total: usize = line_width(&shown);
        let line = |out: &mut dyn Write,
                    paint: Paint,
                    cells: &dyn for<'s> Fn(&'s Shown<'_>) -> &'s str|
         -> io::Result<()> {
            let mut text = String::new();
            for (at, column) in shown.iter().enumerate() {
                if at > 0 {
                    text.extend(repeat_n(' ', GAP));
                }
                let cut = column.column.cut.unwrap_or(Cut::End);
                let cell = text::fit(cells(column), column.width, cut);
                let pad = column.width.saturating_sub(text::width(&cell));
                let paint = if cell == UNKNOWN { Paint::Dim } else { paint };
                let cell = style.painted(&cell, paint);
                match column.column.align {
                    Align::Left => {
                        text.push_str(&cell);
                        text.extend(repeat_n(' ', pad));
                    }
                    Align::Right => {
                        text.extend(repeat_n(' ', pad));
                        text.push_str(&cell);
                    }
                }
            }
            writeln!(out, "{}", text.trim_end())
        };
        line(out, Paint::Bold, &|column| {
            column.column.heading.as_deref().unwrap_or_default()
        })?;
        for row in 0..self.rows.len() {
            line(out, Paint::Plain, &|column| {
                column
                    .cells
                    .get(row)
                    .map(String::as_str)
                    .unwrap_or_default()
            })?;
        }
        if self.totals.is_some() {
            writeln!(out, "{}", "─".repeat(total))?;
            line(out, Paint::Plain, &|column| &column.total)?;
        }
        Ok(())
    }

    /// As a table of Markdown, with the columns that a person sees; totals are its last row.
    pub(crate) fn write_markdown(&self, out: &mut dyn Write, zone: &TimeZone) -> io::Result<()> {
        let shown: Vec<(usize, &Column)> = self
            .columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.heading.is_some())
            .collect();
        let mut line = |cells: Vec<String>| writeln!(out, "| {} |", cells.join(" | "));
        let headings = shown.iter().map(|(_, column)| {
            let heading = column.heading.clone().unwrap_or_default();
            Cell::Text(heading).markdown(zone)
        });
        line(headings.collect())?;
        let rules = shown.iter().map(|(_, column)| match column.align {
            Align::Left => "---".to_owned(),
            Align::Right => "---:".to_owned(),
        });
        line(rules.collect())?;
        let cell = |row: &[Cell], at: usize| {
            row.get(at)
                .map(|cell| cell.markdown(zone))
                .unwrap_or_default()
        };
        for row in &self.rows {
            line(shown.iter().map(|(at, _)| cell(row, *at)).collect())?;
        }
        if let Some(totals) = &self.totals {
            let cells = shown.iter().map(|(at, column)| match totals.get(*at) {
                // A total of names is no unknown one.
                Some(Cell::Unknown) if column.align == Align::Left => String::new(),
                Some(_) | None => cell(totals, *at),
            });
            line(cells.collect())?;
        }
        Ok(())
    }

    /// One document a row, each on a line.
    pub(crate) fn write_ndjson(&self, out: &mut dyn Write) -> io::Result<()> {
        for row in &self.rows {
            write_json_line(out, &self.json_row(row))?;
        }
        Ok(())
    }

    /// For spreadsheets: all columns, raw numbers, moments in UTC, no totals.
    pub(crate) fn write_csv(&self, out: &mut dyn Write, separator: Separator) -> io::Result<()> {
        let mut lines = CsvLines::new(out, separator);
        let with_bounds = self.rows.iter().flatten().any(Cell::is_lower_bound);
        let names = self.columns.iter().map(|column| column.name.as_str());
        lines.write(
            names
                .chain(with_bounds.then_some("lower_bound"))
                .map(|name| Cell::Text(name.to_owned())),
        )?;
        for row in &self.rows {
            let bounds = with_bounds.then(|| Cell::Text(self.lower_bounds(row).join(" ")));
            lines.write(row.iter().cloned().chain(bounds))?;
        }
        lines.finish()
    }

    /// A row for programs: every column by name, and which of them are lower bounds.
    pub(crate) fn json_row(&self, row: &[Cell]) -> Value {
        let mut object: Map<String, Value> = self
            .columns
            .iter()
            .zip(row)
            .map(|(column, cell)| (column.name.clone(), cell.json()))
            .collect();
        let bounds = self.lower_bounds(row);
        if !bounds.is_empty() {
            object.insert("lower_bound".to_owned(), Value::from(bounds));
        }
        Value::Object(object)
    }

    /// The totals for programs: without what names a row.
    pub(crate) fn json_totals(&self) -> Value {
        let Some(totals) = &self.totals else {
            return Value::Null;
        };
        let mut row = self.json_row(totals);
        if let Value::Object(fields) = &mut row {
            for column in self.columns.iter().take(self.keys) {
                fields.remove(&column.name);
            }
        }
        row
    }

    /// All rows for programs.
    pub(crate) fn json_rows(&self) -> Value {
        self.rows.iter().map(|row| self.json_row(row)).collect()
    }

    fn lower_bounds(&self, row: &[Cell]) -> Vec<String> {
        self.columns
            .iter()
            .zip(row)
            .filter(|(_, cell)| cell.is_lower_bound())
            .map(|(column, _)| column.name.clone())
            .collect()
    }
}

/// What stands between values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Separator {
    Comma,
    Tab,
}

/// Lines of separated values.
pub(crate) struct CsvLines<'a> {
    csv: csv::Writer<&'a mut dyn Write>,
}

impl<'a> CsvLines<'a> {
    pub(crate) fn new(out: &'a mut dyn Write, separator: Separator) -> Self {
        let delimiter = match separator {
            Separator::Comma => b',',
            Separator::Tab => b'\t',
        };
        Self {
            csv: csv::WriterBuilder::new()
                .delimiter(delimiter)
                .from_writer(out),
        }
    }

    pub(crate) fn write(&mut self, cells: impl Iterator<Item = Cell>) -> io::Result<()> {
        self.csv
            .write_record(cells.map(|cell| cell.csv()))
            .map_err(|error| {
                // As it was, so that a closed pipe is told apart; nothing else fails while writing.
                if let csv::ErrorKind::Io(error) = error.into_kind() {
                    error
                } else {
                    io::Error::from(io::ErrorKind::InvalidInput)
                }
            })
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.csv.flush()
    }
}

/// A column on its way to a terminal.
struct Shown<'a> {
    column: &'a Column,
    cells: Vec<String>,
    total: String,
    width: usize,
}

impl<'a> Shown<'a> {
    fn new(table: &Table, at: usize, column: &'a Column, zone: &TimeZone) -> Self {
        let cell = |row: &Vec<Cell>| row.get(at).map(|cell| cell.shown(zone)).unwrap_or_default();
        let cells: Vec<String> = table.rows.iter().map(cell).collect();
        let total = table
            .totals
            .as_ref()
            .and_then(|row| row.get(at))
            // A total of names is no unknown one.
            .map(|found| {
                if *found == Cell::Unknown && column.align == Align::Left {
                    String::new()
                } else {
                    found.shown(zone)
                }
            })
            .unwrap_or_default();
        let heading = column.heading.as_deref().unwrap_or_default();
        let widest = cells
            .iter()
            .map(|cell| text::width(cell))
            .max()
            .unwrap_or(0);
        let widest = if column.cut.is_some() {
            widest.min(LONGEST_TEXT)
        } else {
            widest
        };
        let width = widest.max(text::width(heading)).max(text::width(&total));
        Self {
            column,
            cells,
            total,
            width,
        }
    }
}

fn line_width(shown: &[Shown<'_>]) -> usize {
    shown.iter().map(|column| column.width).sum::<usize>() + GAP * shown.len().saturating_sub(1)
}

/// Makes room: drops columns, the most expendable first, then cuts the texts that may be cut, the
/// longest first and names last.
fn narrow(shown: &mut Vec<Shown<'_>>, width: usize) {
    loop {
        // What cutting alone could save.
        let slack: usize = shown
            .iter()
            .map(|column| column.width.saturating_sub(floor(column, SHORTEST_NAME)))
            .sum();
        if line_width(shown).saturating_sub(slack) <= width {
            break;
        }
        let worst = shown
            .iter()
            .enumerate()
            .filter(|(_, column)| column.column.expendable > 0)
            .max_by_key(|(_, column)| column.column.expendable)
            .map(|(at, _)| at);
        let Some(worst) = worst else { break };
        shown.remove(worst);
    }
    for shortest_name in [SHORTEST_NAME, SHORTEST_TEXT] {
        while line_width(shown) > width {
            let longest = shown
                .iter_mut()
                .filter(|column| column.width > floor(column, shortest_name))
                .max_by_key(|column| column.width);
            let Some(longest) = longest else { break };
            longest.width -= 1;
        }
    }
}

/// The width below which a column is not cut.
fn floor(column: &Shown<'_>, shortest_name: usize) -> usize {
    let shortest = match (column.column.cut, column.column.expendable) {
        (None, _) => return column.width,
        (Some(_), 0) => shortest_name,
        (Some(_), _) => SHORTEST_TEXT,
    };
    shortest.max(heading_width(column))
}

fn heading_width(column: &Shown<'_>) -> usize {
    text::width(column.column.heading.as_deref().unwrap_or_default())
        .max(text::width(&column.total))
}

/// Writes a document for programs, in which every character that steers a terminal is escaped.
pub(crate) fn write_json(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, Escaping::default());
    value.serialize(&mut serializer).map_err(io::Error::from)?;
    writeln!(out)
}

/// Writes a document on one line, escaped in the same way.
pub(crate) fn write_json_line(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, OnOneLine);
    value.serialize(&mut serializer).map_err(io::Error::from)?;
    writeln!(out)
}

/// A part of a string, in which every character that steers a terminal is escaped.
fn write_escaped<W: ?Sized + Write>(out: &mut W, fragment: &str) -> io::Result<()> {
    let mut plain = fragment;
    while let Some((at, hidden)) = plain.char_indices().find(|(_, c)| text::is_hidden(*c)) {
        let (before, rest) = plain.split_at(at);
        out.write_all(before.as_bytes())?;
        for unit in hidden.encode_utf16(&mut [0; 2]) {
            write!(out, "\\u{unit:04x}")?;
        }
        plain = rest.strip_prefix(hidden).unwrap_or_default();
    }
    out.write_all(plain.as_bytes())
}

/// serde_json's compact layout, with more escapes.
struct OnOneLine;

impl Formatter for OnOneLine {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        write_escaped(out, fragment)
    }
}

/// serde_json's pretty layout, with more escapes.
#[derive(Default)]
struct Escaping {
    pretty: serde_json::ser::PrettyFormatter<'static>,
}

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        write_escaped(out, fragment)
    }

    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.pretty.begin_array(out)
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.pretty.end_array(out)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.pretty.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.pretty.end_array_value(out)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.pretty.begin_object(out)
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.pretty.end_object(out)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.pretty.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.pretty.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.pretty.end_object_value(out)
    }
}

#[cfg(test)]
mod tests;
