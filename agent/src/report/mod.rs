//! What the ledger says, for people and for programs.
//!
//! Reads through [`crate::store::Reader`] and writes nothing. Rules of every report: an unknown
//! number is `—` and never 0; a sum with an unknown part begins with `≥`; stored text is shown with
//! its control characters visible; times are local with the zone named for people, UTC for
//! programs.

mod alerts;
mod budgets;
mod call_line;
mod callers;
mod explain;
mod grammar;
mod index;
mod labels;
pub mod moment;
mod page;
pub mod prices;
mod query;
mod quota;
mod session;
mod sessions;
mod spend;
mod status;
pub(crate) mod table;
mod tail;
pub(crate) mod text;
mod usage;
mod waste;
pub mod workflows;

use std::io::{self, IsTerminal as _, Write};

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ZonedDateTime};
use serde_json::{Map, Value, json};

use crate::prices::InForce;
use crate::store::{self, CoverageSum, Reader, UNPROBED_NAMES, UsageSum, Window};
use table::{Separator, Table, utc};

pub use budgets::{budget_history, budgets, check_budgets};
pub use call_line::CallLine;
pub use callers::{Calls, callers};
pub use explain::{NoPeriod, explain};
pub use grammar::{Metric, NoFilter, Wanted, filter};
pub use index::{NoMonth, Written as IndexFormat, index};
pub use moment::NoMoment;
pub use page::{Color, Format, Style, write_paged};

/// Version of the JSON documents; grows when a field changes its meaning or goes away.
pub const JSON_SCHEMA_VERSION: u32 = 1;

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
    /// A month cannot be understood.
    #[error(transparent)]
    Month(#[from] NoMonth),
    /// The window is empty.
    #[error("the time after --since must be before that after --until")]
    EmptyWindow,
    /// Rows are put together by one thing or by two.
    #[error("--by takes one dimension, or two different ones with a comma between them")]
    Dimensions,
    /// No session has such an id.
    #[error("no session's id is {id:?} or begins with it; `bpftok sessions` lists them")]
    NoSession {
        /// What was asked for.
        id: String,
    },
    /// Several sessions have ids that begin so.
    #[error("several sessions have an id that begins with {id:?}: {}", found.join(", "))]
    ManySessions {
        /// What was asked for.
        id: String,
        /// Some of them.
        found: Vec<String>,
    },
    /// No alert has such an id.
    #[error("no alert has the id {id}; `bpftok alerts` lists them")]
    NoAlert {
        /// What was asked for.
        id: u64,
    },
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
    /// It had, but less of it was seen than was asked for.
    Uncovered,
    /// A budget burns, or will be used up before its period ends.
    Burning,
    /// A limit of a budget is exceeded.
    Exceeded,
}

/// Where and how a report is written.
pub struct Page<'a> {
    /// Where to.
    pub out: &'a mut dyn Write,
    /// How.
    pub format: Format,
    /// Width of the terminal; `None` if there is none, and so no limit.
    pub width: Option<usize>,
    /// Whether there is colour.
    pub style: Style,
    /// Zone of days, hours and shown times.
    pub zone: TimeZone,
    /// Now.
    pub now: Timestamp,
    /// Tells which prices are in force.
    pub prices: &'a dyn Fn() -> InForce,
}

/// A window as the user gave it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// Beginning.
    pub since: Option<String>,
    /// End.
    pub until: Option<String>,
    /// The share of calls that has to have been seen whole.
    pub coverage: Option<f64>,
}

/// What a report covers where no beginning is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Thirty days, the last one included.
    Days,
    /// Twelve weeks.
    Weeks,
    /// Twelve months.
    Months,
}

impl Reach {
    /// The first moment of it, where `end` is the last one.
    fn start(self, end: &ZonedDateTime) -> Option<ZonedDateTime> {
        let last = match self {
            Self::Days => end.clone(),
            Self::Weeks => {
                let since_monday = end.weekday().to_monday_zero_offset();
                end.checked_sub(Span::new().days(since_monday)).ok()?
            }
            Self::Months => end.first_of_month().ok()?,
        };
        let back = match self {
            Self::Days => Span::new().days(29),
            Self::Weeks => Span::new().weeks(11),
            Self::Months => Span::new().months(11),
        };
        last.checked_sub(back).ok()?.start_of_day().ok()
    }
}

impl Page<'_> {
    /// The window that was asked for; by default the last thirty days, today included.
    fn window(&self, asked: &Asked) -> Result<Window, Error> {
        self.window_of(asked, Reach::Days)
    }

    /// The window that was asked for, or else as much as `reach` says.
    fn window_of(&self, asked: &Asked, reach: Reach) -> Result<Window, Error> {
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
            None => Timestamp::from_millisecond(until_ms)
                .ok()
                .and_then(|end| reach.start(&end.to_zoned_datetime(self.zone.clone())))
                .map_or(until_ms, |start| start.timestamp().as_millisecond()),
        };
        if from_ms >= until_ms {
            return Err(Error::EmptyWindow);
        }
        Ok(Window { from_ms, until_ms })
    }

    fn is_for_people(&self) -> bool {
        self.format.is_for_people()
    }

    /// Writes a table in the format that was asked for; as JSON its rows alone.
    fn table(&mut self, table: &Table) -> io::Result<()> {
        match self.format {
            Format::Table => table.write_text(self.out, self.width, &self.zone, self.style),
            Format::Wide => table.write_text(self.out, None, &self.zone, self.style),
            Format::Json => table::write_json(self.out, &table.json_rows()),
            Format::Ndjson => table.write_ndjson(self.out),
            Format::Csv => table.write_csv(self.out, Separator::Comma),
            Format::Tsv => table.write_csv(self.out, Separator::Tab),
            Format::Md => table.write_markdown(self.out, &self.zone),
        }
    }

    /// Writes parts of a sentence in one line, or where that is too wide one below the other.
    fn parts(&mut self, parts: &[String]) -> io::Result<()> {
        let line = parts.join(" · ");
        let is_narrow = self.width.is_some_and(|width| text::width(&line) > width);
        match self.format {
            Format::Table if is_narrow => writeln!(self.out, "{}", parts.join("\n")),
            Format::Md => writeln!(self.out, "{}", table::markdown(&line)),
            Format::Table
            | Format::Wide
            | Format::Json
            | Format::Ndjson
            | Format::Csv
            | Format::Tsv => writeln!(self.out, "{line}"),
        }
    }

    /// The window with its zone, and the prices in force: on a line, if they fit.
    fn heading(&self, window: Window) -> String {
        let parts = [self.times(window), self.prices_part()];
        let line = parts.join(" · ");
        if self.width.is_some_and(|width| text::width(&line) > width) {
            parts.join("\n")
        } else {
            line
        }
    }

    /// The window with its zone.
    fn times(&self, window: Window) -> String {
        let at = |ms| table::moment(ms, &self.zone, "%Y-%m-%d %H:%M");
        let offset = table::moment(window.until_ms, &self.zone, "%:z");
        let zone = self.zone.iana_name().unwrap_or("local time");
        format!(
            "{} – {} {offset} ({zone})",
            at(window.from_ms),
            at(window.until_ms)
        )
    }

    /// The prices in force.
    fn prices_part(&self) -> String {
        prices::in_force_text(&(self.prices)())
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

    /// Writes parts of a sentence, as many to a line as fit.
    fn filled(&mut self, parts: &[String]) -> io::Result<()> {
        let width = match (self.format, self.width) {
            (Format::Table, Some(width)) => width,
            _ => usize::MAX,
        };
        let mut line: Vec<String> = Vec::new();
        for part in parts {
            let used = text::width(&line.join(" · "));
            if !line.is_empty() && used + 3 + text::width(part) > width {
                self.parts(&line)?;
                line.clear();
            }
            line.push(part.clone());
        }
        self.parts(&line)
    }

    /// Writes a sentence, broken between words where it is too wide.
    fn sentence(&mut self, sentence: &str) -> io::Result<()> {
        let width = match (self.format, self.width) {
            (Format::Table, Some(width)) => width,
            _ => usize::MAX,
        };
        let mut used = 0;
        for word in sentence.split(' ') {
            let room = text::width(word);
            if used > 0 && used + 1 + room > width {
                write!(self.out, "\n{word}")?;
                used = room;
            } else {
                let gap = if used > 0 { " " } else { "" };
                write!(self.out, "{gap}{word}")?;
                used += gap.len() + room;
            }
        }
        writeln!(self.out)
    }

    /// Writes a table of a window in the format that was asked for, with what it covers.
    fn window_report(&mut self, report: &WindowReport<'_>) -> Result<(), Error> {
        let WindowReport { window, table, .. } = report;
        if self.format == Format::Json {
            let mut document = self.document(*window);
            document.extend(report.fields.clone());
            document.insert("coverage".to_owned(), coverage_json(report.coverage));
            document.insert("rows".to_owned(), table.json_rows());
            document.insert("totals".to_owned(), table.json_totals());
            table::write_json(self.out, &Value::Object(document))?;
        } else if self.is_for_people() {
            let mut heading = vec![self.times(*window)];
            heading.extend(report.about.iter().cloned());
            heading.push(self.prices_part());
            self.filled(&heading)?;
            writeln!(self.out)?;
            self.table(table)?;
            if self.format == Format::Md {
                writeln!(self.out)?;
            }
            self.parts(&coverage_parts(report.totals, report.coverage))?;
            for note in report.notes {
                self.sentence(note)?;
            }
        } else {
            self.table(table)?;
        }
        Ok(())
    }
}

/// A table of a window and what it rests on.
struct WindowReport<'a> {
    window: Window,
    table: &'a Table,
    totals: &'a UsageSum,
    coverage: &'a CoverageSum,
    /// More parts of the heading.
    about: &'a [String],
    /// Sentences below the table.
    notes: &'a [String],
    /// More fields of the document.
    fields: Map<String, Value>,
}

/// Whether as much was seen as was asked for.
fn enough(asked: &Asked, coverage: &CoverageSum) -> Found {
    let Some(required) = asked.coverage else {
        return Found::Something;
    };
    // Counts beyond 2^53 are none that a host makes.
    let float = |count: u64| count.to_string().parse::<f64>().unwrap_or(0.0);
    // Where nothing was recorded it is not known, and that is not enough.
    let is_enough = coverage.total_calls > 0
        && float(coverage.decoded_calls) >= required * float(coverage.total_calls);
    if is_enough {
        Found::Something
    } else {
        Found::Uncovered
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
    estimated_parts(totals, &mut parts);
    parts
}

/// What tokens and cost rest on.
fn estimated_parts(totals: &UsageSum, parts: &mut Vec<String>) {
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
    cost_parts(totals, parts);
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
    if let Some(repriced) = totals.repriced_cost() {
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

pub use alerts::{Listed, alert, alerts};
pub use query::query;
pub use quota::quota;
pub use session::{Part, session, session_of};
pub use sessions::sessions;
pub use status::status;
pub use tail::{Follow, tail};
pub use text::visible;
pub use usage::usage;
pub use waste::waste;
