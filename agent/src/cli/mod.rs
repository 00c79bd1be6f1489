//! The command line: clap types, nothing else.

mod asked;
mod budget;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::tz::TimeZone;

use crate::report::{Color, Format};

pub use budget::{BudgetCommand, BudgetHistory, BudgetStatus, SetBudget};

pub use asked::{
    Alerts, AlertsCommand, AlertsList, Covered, Explain, Index, Query, Quota, Report, Selection,
    Sessions, SessionsCommand, SessionsShow, Span, Tail, Top, Waste, Written,
};

/// bpftok: a passive token meter for Linux hosts.
#[derive(Debug, Parser)]
#[command(
    name = "bpftok",
    version,
    about = "A passive token meter: what the LLM calls of this host used, and whose they were",
    after_help = "\
Examples:
  sudo bpftok run                      watch this host, in the foreground
  bpftok report --since month          usage by day, this month
  bpftok report --by workflow --top 5  the five workflows that cost most, and all others
  bpftok report --by model -o json     usage by model, for programs
  bpftok top                           what goes on, session by session
  bpftok tail -f                       calls as they finish
  bpftok budget                        how budgets stand
  bpftok quota                         what is left of limits and plans
  bpftok alerts                        what is wrong, and who was told
  bpftok exec nightly -- ./job.sh      a command whose calls belong to the workflow nightly
  bpftok query \"SELECT * FROM v_session ORDER BY started_ms DESC LIMIT 5\"

Exit codes: 0 fine, 1 failure, 3 a budget burns, 4 one is exceeded (`budget check`), 5 no data or no agent, 6 less was seen than --require-coverage asks
for, 64 usage, 69 the kernel lacks something, 70 a bug, 77 permission, 78 configuration. `bpftok exec`
has those of its command.",
    max_term_width = 100
)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// The ledger [default: /var/lib/bpftok/usage.db, or what the configuration says]; several times for
    /// reports about several hosts
    #[arg(long, value_name = "PATH", global = true)]
    pub db: Vec<PathBuf>,
    /// The configuration [default: /etc/bpftok/config.toml if it exists]
    #[arg(long, value_name = "PATH", global = true)]
    pub config: Option<PathBuf>,
    /// Time zone of days, hours and shown times, as in Europe/Berlin [default: daemon.timezone of the
    /// configuration, or else that of the host]
    #[arg(long, value_name = "ZONE", value_parser = zone, global = true)]
    pub tz: Option<TimeZone>,
    /// The same as `--tz UTC`
    #[arg(long, conflicts_with = "tz", global = true)]
    pub utc: bool,
    /// Colour; auto obeys NO_COLOR and CLICOLOR_FORCE
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, global = true)]
    pub color: Color,
    /// Never show a long report through $PAGER, or less
    #[arg(long, global = true)]
    pub no_pager: bool,
    /// Say more; twice says everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Say only what went wrong
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch this host until interrupted; needs root
    #[command(after_help = "\
On a terminal a line is printed for each finished call. The ledger is made where it is missing.

Examples:
  sudo bpftok run
  sudo bpftok run --db /root/try/usage.db -v")]
    Run(Run),
    /// Usage and cost, put together by up to two of many things
    #[command(after_help = USAGE_HELP)]
    Report(Report),
    /// The same as `report --by day`
    #[command(after_help = USAGE_HELP)]
    Daily(Selection),
    /// The same as `report --by week`: the last twelve weeks
    #[command(after_help = USAGE_HELP)]
    Weekly(Selection),
    /// The same as `report --by month`: the last twelve months
    #[command(after_help = USAGE_HELP)]
    Monthly(Selection),
    /// Sessions, latest first, or one of them
    #[command(after_help = "\
A session is what a client says belongs together, or else the calls of a process without a long
pause; KEY tells which.

Examples:
  bpftok sessions --since yesterday
  bpftok sessions -n 5 -o json
  bpftok sessions show 8f31c2 --tree             its threads, those that are alike together
  bpftok sessions show 8f31c2 --context          how its context grew")]
    Sessions(Sessions),
    /// Why spend changed between two times: volume, models, cache, prices, workflows
    #[command(after_help = "\
The change is taken apart in steps, workflow by workflow, and the parts add up to it exactly:
  volume         more or fewer tokens, at what a token of the workflow cost before
  model mix      other models, or other terms (a tier, long prompts), at their prices of before
  output share   a token of output costs more than one of input
  cache          other shares of input read from a cache, written to one, and neither
  price changes  the later usage at its own prices instead of the earlier ones
  other          searches, sound and pictures, and models whose prices are not in the ledger
  new and ended workflows, each with all that it cost
Only what has a known cost is compared; `≥` says that there is more.

Examples:
  bpftok explain --since month --vs \"previous month\"     the same days of the month before
  bpftok explain --since -7d                             against the seven days before them
  bpftok explain --since 2026-11-01 --until 2026-12-01 --vs 2026-10
  bpftok explain --since today --vs yesterday..today --where user=ci -o json")]
    Explain(Explain),
    /// What need not have been paid for: cache misses, duplicates, cut replies, retries, idle sessions
    #[command(after_help = "\
Each call is counted once, in the first kind that fits:
  failed tries    that were made again, with what the provider billed for them
  cut replies     calls whose reply was cut by client, server or network
  duplicates      complete calls whose very request had been answered since the agent started
  idle sessions   calls in the background or beside the work, where for an hour no person and no
                  thread that works did anything
  cache expired, prefix changed, cache evicted
                  input that a cache had held and that was paid for anew; the cost is what was paid
                  above the price of reading it
Not all of it can be avoided; the lines under the table say where most of it is and what would help.

Examples:
  bpftok waste --since month
  bpftok waste -S -7d -o json | jq '.rows[] | {kind, cost_nanousd, sessions}'")]
    Waste(Waste),
    /// The production index of a month: six panels for this host, or all whose calls are in the ledger
    #[command(after_help = "\
Panels: who serves it (shares of providers and models in spend and tokens); how much of it is agentic
(replies that ask for a tool); what a million tokens cost, by kind of work; how long the sessions are
that cost; how much of the input is cached; what moved since the month before.
It is made of the sums that last, so that old months stay as they were. The page is a single file without
scripts, light or dark as its reader has it.

Examples:
  bpftok index                                    this month so far, as Markdown
  bpftok index --month 2026-10 --html index.html
  bpftok index -o json | jq '.now.agentic.share_of_spend'")]
    Index(Index),
    /// How budgets stand: what is used of them, how fast, and when they end
    #[command(after_help = "\
A budget is a limit of money, tokens, calls or sessions in a period, for the host, for each value of
something, or for what is like a pattern. The agent watches them while calls run, and alerts.

Examples:
  bpftok budget                                          all of them
  bpftok budget check platform-month                     for scripts: exit code 3 if it burns, 4 if exceeded
  sudo bpftok budget set ci-day --limit \"40 usd\" --period day --scope user=ci
  bpftok budget history --since -90d")]
    Budget {
        /// What to do; without, they are shown.
        #[command(subcommand)]
        command: Option<BudgetCommand>,
        /// How, without a command.
        #[command(flatten)]
        written: Written,
    },
    /// What is left of the limits of your accounts, as providers last told it
    #[command(after_help = "\
Providers tell limits in the heads of their replies: plans of Claude, ChatGPT and GitHub Copilot,
and the requests and tokens that a key may use in a time. bpftok reads them from the calls that it
sees; it asks nobody and guesses no plan.

Columns: ACCOUNT tells accounts apart, by the beginning of a hash that only this host can make, and
is `—` where a provider does not name it; LIMIT is the provider's word; USED is the share of it,
LEFT of LIMITED TO what remains; RESETS IN is when it begins anew, SEEN how long ago it was told.
A limit that has begun anew since, or was seen more than a day ago, is marked `stale`: what is left
now is not known. Where a provider limits each model by itself, that of the last call is shown.

Exit code 5 if no limit is known.

Examples:
  bpftok quota
  bpftok quota --provider anthropic
  bpftok quota --json | jq '.rows[] | select(.used_ratio > 0.8)'")]
    Quota(Quota),
    /// What is wrong with what is spent and seen, and who was told
    #[command(after_help = "\
An alert fires once its rule has found something wrong for long enough, and is told over the channels
of the configuration, entries [[notify]]: when it fires, when it becomes more urgent, every 4 hours
(a page) or 24 hours (a ticket) until somebody takes it on, and when it is over.

Examples:
  bpftok alerts                       what fires, and the alerts of the last 30 days
  bpftok alerts --firing --json
  bpftok alerts show 12
  sudo bpftok alerts ack 12
  sudo bpftok alerts test ops         does a message arrive?")]
    Alerts(Alerts),
    /// What goes on: live sessions by cost per minute, tokens, context or threads
    #[command(after_help = "\
Reads the ledger, as every report does: it needs no root where the group `bpftok` may read, and asks no
agent. Where none runs it says so, and shows the last state. On a terminal `?` tells the keys.

$/MIN is the mean of the last five minutes; a call that runs counts with what it took so far.
NOTE names the rules that a session breaks, alerts of its workflow, calls that run and calls that failed.

Exit code 5 if there is no session to show.

Examples:
  bpftok top
  bpftok top --sort context --active 60          sessions with a call within the hour
  bpftok top -1                                  one frame, as text
  bpftok top -b -n 60 -d 10 > ten-minutes.txt
  bpftok top -o json | jq '.rows[] | select(.notes != [])'")]
    Top(Top),
    /// Finished calls, one line each
    #[command(after_help = "\
`≈` begins a number that was counted here, `≥` one of a reply that was not finished.

Examples:
  bpftok tail -n 50
  bpftok tail -f")]
    Tail(Tail),
    /// Run one SQL statement that reads
    #[command(after_help = "\
The views v_request, v_session, v_daily, v_process, v_coverage, v_aborted, v_hop, v_quota and
v_unpriced are made for this; their columns are explained in the manual of the database. Any sqlite3 from 3.34 on reads the file as well.

Examples:
  bpftok query \"SELECT day_local, model, output_tokens FROM v_daily\"
  bpftok query -o csv \"SELECT * FROM v_request\" > requests.csv")]
    Query(Query),
    /// What calls cost: the list of prices, prices of your own, and what has none
    #[command(after_help = "\
A call is priced when it is complete, at the price of that moment. Prices of your own, entries
[[price]] of the configuration, go before the list that bpftok carries. Nothing is ever fetched.

Examples:
  bpftok prices show claude-opus-5-5       every price of a model: dates, longer prompts, tiers
  bpftok prices check                      which models in the ledger have no price
  bpftok prices override                   prices of your own that are in force
  sudo bpftok prices update prices.json --as-of 2026-12-01 --dry-run")]
    Prices {
        /// What to do with them.
        #[command(subcommand)]
        command: PricesCommand,
    },
    /// Price calls of the past anew, beside what they cost then
    #[command(after_help = "\
The cost of the time stays in cost_nanousd; the new one is in repriced_nanousd, and reports say both.
Each call is priced at the moment when it was complete, by the list and the prices of your own that
are in force now.

Examples:
  bpftok reprice --since month --dry-run
  sudo bpftok reprice --since 2026-11-01 --until 2026-12-01")]
    Reprice(Reprice),
    /// Put what other ledgers have into one
    #[command(after_help = "\
Ledgers of other hosts come beside what is there; a later state of one that was merged before adds what
is new. Merging twice changes nothing. INTO is made where it is missing, and no agent may write to it;
the others are only read, also while agents write to them. All must have this version's schema: an
agent that starts upgrades its ledger. Alerts come too; nobody is told of them again.

Examples:
  bpftok merge fleet.db web-01.db web-02.db
  bpftok report --by host --db web-01.db --db web-02.db     the same for one report, nothing is kept")]
    Merge(Merge),
    /// Make the file of the ledger anew, without its free space; no agent may run
    #[command(after_help = "\
It needs room for a second copy. A ledger that was made by this version gives free space back by itself;
one that an earlier version made does so after this.

Examples:
  sudo bpftok vacuum
  sudo bpftok vacuum --db /srv/fleet.db")]
    Vacuum(Vacuum),
    /// Whether an agent runs, what it watches and what it counted
    Status(Status),
    /// What this machine has and lacks for watching
    Doctor(Doctor),
    /// Record what the probes see into a file, for finding faults
    #[command(after_help = "\
WARNING: the file holds the plaintext of what programs send and receive, credentials included. It
is made for its owner alone (0600). Delete it when you are done.")]
    Record(Record),
    /// Run a recording through the line, into a ledger
    #[command(after_help = "\
Examples:
  bpftok replay calls.rec --db ./replay/usage.db")]
    Replay(Replay),
    /// Make a harmless call of a TLS library, for a running agent that checks its probes
    #[command(hide = true)]
    SelfCheck(SelfCheck),
    /// Run a command whose calls belong to a workflow of this name; needs no rights
    #[command(after_help = "\
The command takes the place of bpftok, with BPFTOK_WORKFLOW=NAME[,KEY=VALUE…] in its environment.
All that it starts inherits it, and an agent that sees their calls puts them under that name. The
exit status is the command's; 126 if it can't be executed, 127 if it is not found.

Examples:
  bpftok exec nightly-triage -- claude -p \"triage the new issues\"
  bpftok exec ci-review --label team=infra --billing-code CC-4410 -- ./review.sh \"$PR\"")]
    Exec(Exec),
    /// Which workflow pays for what: the rules, how they name a process, and proposals
    #[command(after_help = "\
A call belongs to the workflow that the marker of its process names (`bpftok exec`), else to that
of the first entry [[workflow]] of the configuration that matches, else to one with an automatic
name.

Examples:
  bpftok workflow list                       the rules, in their order
  sudo bpftok workflow test 4711             which rule matches a process, and why
  bpftok workflow suggest --since week       rules to begin with, from what was called")]
    Workflow {
        /// What to do.
        #[command(subcommand)]
        command: WorkflowCommand,
    },
    /// Print what makes a shell complete this command line
    #[command(after_help = "\
Examples:
  bpftok completions bash > /etc/bash_completion.d/bpftok
  bpftok completions zsh > ~/.zfunc/_bpftok
  bpftok completions fish > ~/.config/fish/completions/bpftok.fish")]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL", value_enum)]
        shell: Shell,
    },
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man {
        /// The folder, which is there
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Check, show or print a configuration
    Config {
        /// What to do with it.
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

/// `bpftok run`
#[derive(Args, Debug)]
pub struct Run {}

/// `bpftok merge`
#[derive(Args, Debug)]
pub struct Merge {
    /// The ledger that takes them in
    #[arg(value_name = "INTO")]
    pub into: PathBuf,
    /// The ledgers that are read
    #[arg(value_name = "FROM", required = true)]
    pub from: Vec<PathBuf>,
}

/// `bpftok vacuum`
#[derive(Args, Debug)]
pub struct Vacuum {}

/// `bpftok self-check`
#[derive(Args, Debug)]
pub struct SelfCheck {
    /// The library
    pub library: PathBuf,
}

/// `bpftok doctor`
#[derive(Args, Debug)]
pub struct Doctor {
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Whether JSON is wanted.
    pub const fn is_json(&self) -> bool {
        self.json
    }
}

/// `bpftok record`
#[derive(Args, Debug)]
pub struct Record {
    /// The recording; must not exist
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `bpftok replay`
#[derive(Args, Debug)]
pub struct Replay {
    /// A recording
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `bpftok prices`
#[derive(Debug, Subcommand)]
pub enum PricesCommand {
    /// Standard prices of now, for short prompts
    List {
        /// Only of this provider, in the list's words, as in x-ai
        #[arg(long, value_name = "PROVIDER")]
        provider: Option<String>,
        /// How.
        #[command(flatten)]
        written: Written,
    },
    /// All prices of a model, by its name in a call or in the list
    Show {
        /// The model, as in claude-opus-5-5, or anthropic/claude-opus-5-5
        #[arg(value_name = "MODEL")]
        model: String,
        /// Only of calls to this provider, as reports name it
        #[arg(long, value_name = "PROVIDER")]
        provider: Option<String>,
        /// How.
        #[command(flatten)]
        written: Written,
    },
    /// Which models in the ledger have no price, and how old the list is
    Check {
        /// When.
        #[command(flatten)]
        span: Span,
        /// How.
        #[command(flatten)]
        written: Written,
    },
    /// Install a later list of genai-prices beside the ledger
    Update {
        /// Its data file: JSON, an array of providers
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The day of the list, as in 2026-12-01 (UTC) [default: when the file was changed]
        #[arg(long, value_name = "DAY")]
        as_of: Option<String>,
        /// Only say what it would change
        #[arg(long)]
        dry_run: bool,
        /// How.
        #[command(flatten)]
        written: Written,
    },
    /// Prices of your own that are in force
    Override {
        /// How.
        #[command(flatten)]
        written: Written,
    },
}

/// `bpftok reprice`
#[derive(Args, Debug)]
pub struct Reprice {
    /// When.
    #[command(flatten)]
    pub span: Span,
    /// Only say what would come of it
    #[arg(long)]
    pub dry_run: bool,
    /// How.
    #[command(flatten)]
    pub written: Written,
}

/// `bpftok status`
#[derive(Args, Debug)]
pub struct Status {
    /// Format; csv is none of them
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: StatusFormat,
    /// The same as `--output json`
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

impl Status {
    /// The format.
    pub fn format(&self) -> Format {
        if self.json {
            Format::Json
        } else {
            self.output.into()
        }
    }
}

/// How a status is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum StatusFormat {
    /// For people.
    #[default]
    Table,
    /// One document.
    Json,
}

impl From<StatusFormat> for Format {
    fn from(format: StatusFormat) -> Self {
        match format {
            StatusFormat::Table => Self::Table,
            StatusFormat::Json => Self::Json,
        }
    }
}

/// `bpftok exec`
#[derive(Args, Debug)]
pub struct Exec {
    /// The workflow: up to 64 bytes, without commas
    #[arg(value_name = "NAME")]
    pub name: String,
    /// A label, as in team=infra; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    pub label: Vec<(String, String)>,
    /// What the cost is billed under
    #[arg(long, value_name = "CODE")]
    pub billing_code: Option<String>,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, last = true)]
    pub command: Vec<OsString>,
}

fn label(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "a label is written as in team=infra".to_owned())
}

/// `bpftok workflow`
#[derive(Debug, Subcommand)]
pub enum WorkflowCommand {
    /// The rules of the configuration in their order, and what the ledger has seen
    List {
        /// When.
        #[command(flatten)]
        span: Span,
        /// Format; csv is none of them
        #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
        output: StatusFormat,
    },
    /// Which rule matches a process that runs now, tried field by field
    #[command(after_help = "\
The process is read as an agent would read it; without root only what /proc shows of other users'.

Examples:
  sudo bpftok workflow test $(pgrep -n claude)
  sudo bpftok workflow test 4711 --client claude-code --host api.anthropic.com -o json")]
    Test {
        /// The process
        #[arg(value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
        pid: u32,
        /// The client that its calls tell [default: what its file tells]
        #[arg(long, value_name = "NAME")]
        client: Option<String>,
        /// The host that it calls
        #[arg(long, value_name = "NAME")]
        host: Option<String>,
        /// Format; csv is none of them
        #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
        output: StatusFormat,
    },
    /// Entries for the configuration, from calls with automatic names
    #[command(after_help = "\
Calls whose workflow nobody named are put together by what is likely to stay: unit, image or
container, client, user, executable. What the rules in force would name is left out, as far as the
ledger tells: it has no command lines, and hosts and ancestors are not compared.

Examples:
  bpftok workflow suggest
  bpftok workflow suggest --since week -n 3 -o json")]
    Suggest {
        /// When.
        #[command(flatten)]
        span: Span,
        /// At most so many
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
        lines: u32,
        /// Format; csv is none of them
        #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
        output: StatusFormat,
    },
}

/// `bpftok config`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say everything that is wrong with a configuration
    Check {
        /// The file [default: the one that --config names, or /etc/bpftok/config.toml]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print what is in force, and where each value comes from
    Show,
    /// Print the defaults, explained
    Default,
}

/// What explains the columns of a usage report.
const USAGE_HELP: &str = "\
Columns: CONTEXT is the whole input, cached or not, CACHED the share of it that was READ from a cache;
WRITTEN went to one; OUTPUT includes REASONING; EST counts calls whose tokens were counted here, not
reported. COST is by the prices of the time of each call. VS PREV compares the metric with the window of
the same length before, P95/SESSION is the cost that 95 of 100 sessions keep below. TTFT is the median
time to the first token, TOK/S the output of streams from then on. WEIGHTED tokens are the cost over the
price of uncached input; where one of them is unknown, input counts 1, what a cache was read for 0.1,
written for five minutes 1.25 and for an hour 2, output 5.
Tokens are exact up to ten million, then M, G. `—` is unknown, `≥` begins a sum of which a part is
unknown, `≈` what is made of such sums. A narrow terminal shows fewer columns; csv and json have all.
TTFT is of single calls: `—` where the window has more than 200,000, or some are no longer kept.

Examples:
  bpftok report                                  by day, the last 30 days
  bpftok report --by workflow --since -7d        beside the seven days before
  bpftok report --by day,model --top 3           three models by day, and all others
  bpftok report --by client --where user=ci --where model~claude-*
  bpftok report --by length-bucket --metric weighted-tokens
  bpftok report --by model --since 2026-11-01 --until 2026-12-01 -o csv";

fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_unknown| "no such zone; names are as in Europe/Berlin".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
