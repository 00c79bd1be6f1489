//! What is asked of reports.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use crate::report::{Format, IndexFormat, Metric, NoFilter, Part, filter};
use crate::store::{Dimension, Filter};
use crate::top::{Sort, To, Wanted};

use super::StatusFormat;

/// The time of a report.
#[derive(Args, Clone, Debug)]
pub struct Span {
    /// First moment: 2026-11-01, "2026-11-01 15:00", today, yesterday, week, month, "2 hours ago",
    /// -7d, @1790000000 [default: 30 days, today included]
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// First moment after the last one [default: now]
    #[arg(short = 'U', long, value_name = "TIME", allow_hyphen_values = true)]
    pub until: Option<String>,
}

/// How to write.
#[derive(Args, Clone, Debug)]
pub struct Written {
    /// Format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
    /// The same as `--output json`
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

impl Written {
    /// The format.
    pub const fn format(&self) -> Format {
        if self.json { Format::Json } else { self.output }
    }
}

/// What has to be seen.
#[derive(Args, Clone, Debug)]
pub struct Covered {
    /// End with exit code 6 if a smaller share of the calls was seen whole, as in 0.98
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub require_coverage: Option<f64>,
}

/// `bpftok report`
#[derive(Args, Debug)]
pub struct Report {
    /// What to put together: one of these, or two with a comma between them
    #[arg(
        long,
        value_name = "DIM[,DIM]",
        value_delimiter = ',',
        num_args = 1..=2,
        default_value = "day",
        value_parser = dimensions(),
    )]
    pub by: Vec<Dimension>,
    /// Which calls, and how.
    #[command(flatten)]
    pub selection: Selection,
}

/// Which calls a report is of, and how it is written.
#[derive(Args, Debug)]
pub struct Selection {
    /// Only these calls: KEY=VALUE, KEY!=VALUE or KEY~PATTERN (* and ?); the keys are those of --by
    /// without periods, and an empty value is an unknown one. Several have to hold all
    #[arg(long = "where", value_name = "FILTER", value_parser = parsed_filter)]
    pub filters: Vec<Filter>,
    /// What rows are ordered, cut and compared by
    #[arg(long, value_name = "METRIC", value_enum, default_value_t)]
    pub metric: Metric,
    /// Only the largest so many; the rest becomes one row
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub top: Option<u32>,
    /// When.
    #[command(flatten)]
    pub span: Span,
    /// What has to be seen.
    #[command(flatten)]
    pub covered: Covered,
    /// How.
    #[command(flatten)]
    pub written: Written,
}

/// `bpftok sessions`
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Sessions {
    /// One of them.
    #[command(subcommand)]
    pub command: Option<SessionsCommand>,
    /// When.
    #[command(flatten)]
    pub span: Span,
    /// At most so many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 50)]
    pub lines: u32,
    /// What has to be seen.
    #[command(flatten)]
    pub covered: Covered,
    /// How.
    #[command(flatten)]
    pub written: Written,
}

/// What to show of sessions.
#[derive(Debug, Subcommand)]
pub enum SessionsCommand {
    /// One session
    Show(SessionsShow),
}

/// `bpftok sessions show`
#[derive(Args, Debug)]
pub struct SessionsShow {
    /// The session's id, or enough of its beginning
    #[arg(value_name = "ID")]
    pub id: String,
    /// Its threads and what they used; those that are alike are one line
    #[arg(long)]
    tree: bool,
    /// The context of its main thread, call by call, with compactions and changes of the price
    #[arg(long)]
    context: bool,
    /// How.
    #[command(flatten)]
    pub written: Written,
}

/// `bpftok explain`
#[derive(Args, Debug)]
pub struct Explain {
    /// Only these calls, as `bpftok report` has it
    #[arg(long = "where", value_name = "FILTER", value_parser = parsed_filter)]
    pub filters: Vec<Filter>,
    /// When.
    #[command(flatten)]
    pub span: Span,
    /// What to compare it with: previous (as long, just before), "previous month" (or day, week,
    /// year: moved back by one), 2026-10, 2026-10-05, or FROM..UNTIL [default: previous]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub vs: Option<String>,
    /// How.
    #[command(flatten)]
    pub written: Written,
}

impl SessionsShow {
    /// What is wanted of it.
    pub fn parts(&self) -> Vec<Part> {
        let tree = self.tree.then_some(Part::Tree);
        let context = self.context.then_some(Part::Context);
        tree.into_iter().chain(context).collect()
    }
}

/// `bpftok waste`
#[derive(Args, Debug)]
pub struct Waste {
    /// Only these calls, as `bpftok report` has it
    #[arg(long = "where", value_name = "FILTER", value_parser = parsed_filter)]
    pub filters: Vec<Filter>,
    /// When.
    #[command(flatten)]
    pub span: Span,
    /// How.
    #[command(flatten)]
    pub written: Written,
}

/// `bpftok index`
#[derive(Args, Debug)]
pub struct Index {
    /// The month, as in 2026-11, in the report's time zone [default: this one, so far]
    #[arg(long, value_name = "MONTH")]
    pub month: Option<String>,
    /// Write the page in HTML into a file, and nothing to standard output
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    pub html: Option<PathBuf>,
    /// Format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: IndexFormat,
}

/// `bpftok quota`
#[derive(Args, Debug)]
pub struct Quota {
    /// Only those of this provider, as `bpftok report --by provider` names it
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// How.
    #[command(flatten)]
    pub written: Written,
}

/// `bpftok alerts`
#[derive(Args, Debug)]
pub struct Alerts {
    /// What to do with them.
    #[command(subcommand)]
    pub command: Option<AlertsCommand>,
    /// Which.
    #[command(flatten)]
    pub list: AlertsList,
}

/// What to do with alerts.
#[derive(Debug, Subcommand)]
pub enum AlertsCommand {
    /// What is wrong, and what was
    List(AlertsList),
    /// One alert, what shows it, and who was told
    Show {
        /// Its id
        #[arg(value_name = "ID")]
        id: u64,
        /// How.
        #[command(flatten)]
        written: Written,
    },
    /// Take one on: it is not told again, unless it becomes more urgent
    Ack {
        /// Its id
        #[arg(value_name = "ID")]
        id: u64,
    },
    /// Send a message that is marked as a test over a channel, and say what came back
    Test {
        /// The channel, by its name in the configuration
        #[arg(value_name = "CHANNEL")]
        channel: String,
    },
}

/// `bpftok alerts list`
#[derive(Args, Debug)]
pub struct AlertsList {
    /// Only what fires at the moment
    #[arg(long, conflicts_with = "since")]
    pub firing: bool,
    /// From when on, in the manner of `bpftok report` [default: 30 days, today included]; what has not
    /// ended is always there
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// How.
    #[command(flatten)]
    pub written: Written,
}

/// `bpftok tail`
#[derive(Args, Debug)]
pub struct Tail {
    /// Wait for more
    #[arg(short, long)]
    pub follow: bool,
    /// So many to begin with
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    pub lines: u32,
}

/// `bpftok top`
#[derive(Args, Debug)]
pub struct Top {
    /// Print frames as plain text and read no keys; so it is too where the output is no terminal
    #[arg(short, long)]
    pub batch: bool,
    /// Print one frame and end
    #[arg(short = '1', long)]
    pub once: bool,
    /// So many frames [default: no end; one as JSON, or where the output is no terminal]
    #[arg(
        short = 'n',
        long,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u64).range(1..),
        conflicts_with = "once",
    )]
    pub frames: Option<u64>,
    /// Seconds between frames
    #[arg(short, long, value_name = "SECS", default_value = "1", value_parser = delay)]
    pub delay: Duration,
    /// What goes first
    #[arg(long, value_name = "KEY", value_enum, default_value_t)]
    pub sort: Sort,
    /// Sessions with a call in so many last minutes
    #[arg(
        long,
        value_name = "MINUTES",
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(5..=1440),
    )]
    pub active: u32,
    /// Format; csv is none of them
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: StatusFormat,
    /// The same as `--output json`
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

impl Top {
    /// The format.
    pub fn format(&self) -> Format {
        if self.json {
            Format::Json
        } else {
            self.output.into()
        }
    }

    /// What is asked for where `to` is what the output is good for.
    pub fn wanted(&self, to: To) -> Wanted {
        let is_json = self.format() == Format::Json;
        let is_one = self.once || is_json || (to == To::Batch && !self.batch);
        Wanted {
            to: if self.batch || self.once || is_json {
                To::Batch
            } else {
                to
            },
            frames: self.frames.or_else(|| is_one.then_some(1)),
            delay: self.delay,
            sort: self.sort,
            window_minutes: self.active,
        }
    }
}

/// LIMIT: seconds between two frames; below, nothing new is there, and above, nobody waits.
const DELAY: RangeInclusive<f64> = 0.1..=3_600.0;

fn delay(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|error: std::num::ParseFloatError| error.to_string())?;
    if !DELAY.contains(&seconds) {
        return Err("it is between 0.1 and 3600".to_owned());
    }
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// `bpftok query`
#[derive(Args, Debug)]
pub struct Query {
    /// The statement
    #[arg(value_name = "SQL")]
    pub sql: String,
    /// How.
    #[command(flatten)]
    pub written: Written,
}

/// A dimension by its name.
fn dimensions() -> impl TypedValueParser<Value = Dimension> {
    PossibleValuesParser::new(Dimension::ALL.map(Dimension::name))
        .try_map(|name| Dimension::named(&name).ok_or("it is none of them"))
}

fn parsed_filter(text: &str) -> Result<Filter, NoFilter> {
    filter(text)
}

fn share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "a share is a number from 0 to 1".to_owned())
}
