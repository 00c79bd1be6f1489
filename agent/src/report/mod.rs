//! What the ledger says, for people and for programs.
//!
//! Reads through [`crate::store::Reader`] and writes nothing. Rules of every report: an unknown
//! number is `—` and never 0; a sum with an unknown part begins with `≥`; stored text is shown with
//! its control characters visible; times are local with the zone named for people, UTC for
//! programs.

mod call_line;
mod callers;
mod explain;
pub mod moment;
pub mod prices;
mod query;
mod quota;
mod sessions;
mod spend;
mod status;
mod table;
mod tail;
mod text;
mod usage;
mod waste;
pub mod workflows;

use std::io::{self, IsTerminal as _, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::prices::InForce;
use crate::store::{self, CoverageSum, Reader, UNPROBED_NAMES, UsageSum, Window};
use table::{Table, utc};

pub use call_line::CallLine;
pub use callers::{Calls, callers};
pub use explain::{NoPeriod, explain};
pub use moment::NoMoment;

/// Version of the JSON documents; grows when a field changes its meaning or goes away.
pub const JSON_SCHEMA_VERSION: u32 = 1;

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns for people.
    #[default]
    Table,
    /// One document.
    Json,
    /// Comma-separated values with a header line.
    Csv,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ledger cannot be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A time cannot be understood.
    #[error(transparent)]
    Moment(#[from] NoMoment),
    /// A time to compare with cannot be understood.
    #[error(transparent)]
    Period(#[from] NoPeriod),
    /// The window is empty.
    #[error("the time after --since must be before that after --until")]
    EmptyWindow,
    /// The output is gone.
    #[error("cannot write the report")]
    Write(#[from] io::Error),
}

impl Error {
    /// True if whoever read the output has had enough, as `head` does; that is no failure.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Write(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Whether a report had anything to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It had.
    Something,
    /// Nothing is there; the report says what to do.
    Nothing,
}

/// Where and how a report is written.
pub struct Page<'a> {
    /// Where to.
    pub out: &'a mut dyn Write,
    /// How.
    pub format: Format,
    /// Width of the terminal; `None` if there is none, and so no limit.
    pub width: Option<usize>,
    /// Zone of days, hours and shown times.
    pub zone: TimeZone,
    /// Now.
    pub now: Timestamp,
    /// Tells which prices are in force.
    pub prices: &'a dyn Fn() -> InForce,
}

/// A window as the user gave it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Beginning.
    pub since: Option<String>,
    /// End.
    pub until: Option<String>,
}

/// Days that a report covers where no beginning is given.
pub const DEFAULT_DAYS: u32 = 30;

impl Page<'_> {
    /// The window that was asked for; by default the last [`DEFAULT_DAYS`] days, today included.
    fn window(&self, asked: &Asked) -> Result<Window, Error> {
        let moment = |text: &str| moment::parse(text, self.now, &self.zone);
        // A millisecond later, so that what happens now is in it.
        let now_ms = self.now.as_millisecond() + 1;
        let until_ms = asked
            .until
            .as_deref()
            .map(moment)
            .transpose()?
            .map_or(now_ms, Timestamp::as_millisecond);
        let from_ms = match asked.since.as_deref() {
            Some(text) => moment(text)?.as_millisecond(),
            None => {
                let days = i64::from(DEFAULT_DAYS) - 1;
                Timestamp::from_millisecond(until_ms)
                    .ok()
                    .map(|end| end.to_zoned_datetime(self.zone.clone()))
                    .and_then(|end| end.checked_sub(jiff::Span::new().days(days)).ok())
                    .and_then(|day| day.start_of_day().ok())
                    .map_or(until_ms, |start| start.timestamp().as_millisecond())
            }
        };
        if from_ms >= until_ms {
            return Err(Error::EmptyWindow);
        }
        Ok(Window { from_ms, until_ms })
    }

    fn is_for_people(&self) -> bool {
        self.format == Format::Table
    }

    /// The window with its zone, and the prices in force: on a line, if they fit.
    fn heading(&self, window: Window) -> String {
        let at = |ms| table::moment(ms, &self.zone, "%Y-%m-%d %H:%M");
        let offset = table::moment(window.until_ms, &self.zone, "%:z");
        let zone = self.zone.iana_name().unwrap_or("local time");
        let times = format!(
            "{} – {} {offset} ({zone})",
            at(window.from_ms),
            at(window.until_ms)
        );
        let prices = prices::in_force_text(&(self.prices)());
        let line = format!("{times} · {prices}");
        if self.width.is_some_and(|width| text::width(&line) > width) {
            format!("{times}\n{prices}")
        } else {
            line
        }
    }

    /// The fields that every document of a window begins with.
    fn document(&self, window: Window) -> Map<String, Value> {
        Map::from_iter([
            (
                "schema_version".to_owned(),
                Value::from(JSON_SCHEMA_VERSION),
            ),
            ("generated_at".to_owned(), Value::from(self.now.to_string())),
            ("timezone".to_owned(), Value::from(self.zone.iana_name())),
            (
                "window".to_owned(),
                json!({ "since": utc(window.from_ms), "until": utc(window.until_ms) }),
            ),
            ("prices".to_owned(), prices::in_force_json(&(self.prices)())),
        ])
    }

    /// Says that the window is empty, and what is there instead.
    fn nothing(&mut self, reader: &Reader) -> Result<(), Error> {
        match reader.span()? {
            None => writeln!(
                self.out,
                "No call has been recorded yet. Is the agent running (`bpftok status`), and does it see\n\
                 the programs that make calls (`bpftok doctor`)?"
            )?,
            Some((first, last)) => {
                let at = |ms| table::moment(ms, &self.zone, "%Y-%m-%d %H:%M");
                writeln!(
                    self.out,
                    "No call in this time. The ledger holds calls from {} to {}; choose with --since and --until.",
                    at(first),
                    at(last)
                )?;
            }
        }
        Ok(())
    }

    /// The same, and whose calls were made in this time but not decoded: that is not nothing.
    fn nothing_decoded(&mut self, reader: &Reader, coverage: &CoverageSum) -> Result<(), Error> {
        self.nothing(reader)?;
        if let Some(part) = unprobed_part(coverage) {
            writeln!(self.out, "{part}")?;
        }
        Ok(())
    }

    /// Writes a table of a window in the format that was asked for, with what it covers.
    fn window_report(
        &mut self,
        window: Window,
        table: &Table,
        totals: &UsageSum,
        coverage: &CoverageSum,
        fields: Map<String, Value>,
    ) -> Result<(), Error> {
        match self.format {
            Format::Table => {
                writeln!(self.out, "{}\n", self.heading(window))?;
                table.write_text(self.out, self.width, &self.zone)?;
                let parts = coverage_parts(totals, coverage);
                let line = parts.join(" · ");
                let is_narrow = self.width.is_some_and(|width| text::width(&line) > width);
                writeln!(
                    self.out,
                    "{}",
                    if is_narrow { parts.join("\n") } else { line }
                )?;
            }
            Format::Csv => table.write_csv(self.out)?,
            Format::Json => {
                let mut document = self.document(window);
                document.extend(fields);
                document.insert("coverage".to_owned(), coverage_json(coverage));
                document.insert("rows".to_owned(), table.json_rows());
                document.insert("totals".to_owned(), table.json_totals());
                table::write_json(self.out, &Value::Object(document))?;
            }
        }
        Ok(())
    }
}

/// Columns to write in: what COLUMNS says, or else the terminal; a pipe has no end.
pub fn terminal_width() -> Option<usize> {
    let asked = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok());
    let terminal = || {
        let (terminal_size::Width(columns), _) = terminal_size::terminal_size()?;
        Some(usize::from(columns))
    };
    asked.or_else(|| io::stdout().is_terminal().then(terminal).flatten())
}

/// What a report rests on, part by part.
fn coverage_parts(totals: &UsageSum, coverage: &CoverageSum) -> Vec<String> {
    let mut parts = Vec::new();
    match text::percent(coverage.decoded_calls, coverage.total_calls) {
        Some(share) => parts.push(format!("coverage {share} of calls")),
        None => parts.push(format!(
            "coverage {}: none was recorded in this time",
            text::UNKNOWN
        )),
    }
    match coverage.lost_records {
        0 => {}
        1 => parts.push("1 record lost by the kernel".to_owned()),
        many => parts.push(format!(
            "{} records lost by the kernel",
            text::grouped(many)
        )),
    }
    parts.extend(unprobed_part(coverage));
    match coverage.undecoded_processes {
        0 => {}
        1 => parts.push("1 process not fully decoded (view v_coverage)".to_owned()),
        many => parts.push(format!(
            "{many} processes not fully decoded (view v_coverage)"
        )),
    }
    let tokens = totals
        .context
        .value
        .unwrap_or(0)
        .saturating_add(totals.output.value.unwrap_or(0));
    match text::percent(totals.estimated_tokens, tokens) {
        Some(share) => parts.push(format!("estimated {share} of tokens")),
        None => parts.push("estimated 0 tokens".to_owned()),
    }
    match totals.lower_bound_requests {
        0 => {}
        1 => parts.push("1 call used more than is known".to_owned()),
        many => parts.push(format!(
            "{} calls used more than is known",
            text::grouped(many)
        )),
    }
    cost_parts(totals, &mut parts);
    parts
}

/// What the cost rests on. It is list prices unless a part says otherwise.
fn cost_parts(totals: &UsageSum, parts: &mut Vec<String>) {
    let cost = totals.cost.value.unwrap_or(0);
    if let Some(share) = text::percent(totals.estimated_cost.unwrap_or(0), cost) {
        parts.push(format!("estimated {share} of cost"));
    }
    if let Some(share) = totals
        .subscription_cost
        .filter(|cost| *cost > 0)
        .and_then(|part| text::percent(part, cost))
    {
        parts.push(format!(
            "{share} of cost is the list-price equivalent of a plan"
        ));
    }
    if let Some(provider) = totals.provider_cost {
        parts.push(format!(
            "{} by the providers that say what they charge",
            text::money(provider)
        ));
    }
    if let Some(repriced) = totals.repriced_cost {
        parts.push(format!(
            "{} by the prices of `bpftok reprice`",
            text::money(repriced)
        ));
    }
    if totals.unpriced_tokens > 0 {
        parts.push(format!(
            "{} tokens without a price (view v_unpriced)",
            text::count(totals.unpriced_tokens)
        ));
    }
}

/// Says whose connections were not decoded at all.
fn unprobed_part(coverage: &CoverageSum) -> Option<String> {
    let processes = match coverage.unprobed_processes {
        0 => return None,
        1 => "1 process".to_owned(),
        many => format!("{} processes", text::grouped(many)),
    };
    let mut names: Vec<_> = coverage
        .unprobed_names
        .iter()
        .map(|name| visible(name))
        .collect();
    if coverage.unprobed_processes > u64::try_from(names.len()).unwrap_or(u64::MAX)
        && names.len() == UNPROBED_NAMES
    {
        names.push("…".into());
    }
    let names = if names.is_empty() {
        String::new()
    } else {
        format!(": {}", names.join(", "))
    };
    Some(format!("{processes} not decoded{names} (bpftok doctor)"))
}

fn coverage_json(coverage: &CoverageSum) -> Value {
    json!({
        "decoded_calls": coverage.decoded_calls,
        "total_calls": coverage.total_calls,
        "lost_records": coverage.lost_records,
        "undecoded_processes": coverage.undecoded_processes,
        "unprobed_connections": coverage.unprobed_connections,
        "unprobed_processes": coverage.unprobed_processes,
    })
}

pub use query::query;
pub use quota::quota;
pub use sessions::sessions;
pub use status::status;
pub use tail::{Follow, tail};
pub use text::visible;
pub use usage::usage;
pub use waste::waste;
