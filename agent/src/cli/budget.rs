//! What is asked of budgets.

use clap::{Args, Subcommand};

use super::asked::Written;

/// What to do with budgets.
#[derive(Debug, Subcommand)]
pub enum BudgetCommand {
    /// How they stand now: used, how fast it burns, when it ends
    #[command(after_help = "\
It is computed from the ledger, with the calls that run, whether an agent runs or not.

Columns: USED is what was used of the limit, `≥` if something in it has no price or is known in part;
BURN how many times as fast as planned the last hour and the last six spent, 1 being on course to end
exactly at the limit; EXHAUSTED when the limit is reached before the period ends; STATE the worst of ok,
ticket (it burns, or will be used up), page (it burns fast) and exceeded.

Examples:
  bpftok budget
  bpftok budget status platform-month -o json")]
    Status(BudgetStatus),
    /// The same for scripts: prints what is not ok, and ends with 4 if a limit is exceeded, 3 if one burns
    #[command(after_help = "\
Exit codes: 0 all is well, 3 a budget burns or will be used up, 4 a limit is exceeded, 5 there is no budget.
Where something has no price the figure is a lower bound, which `-o json` says.

Examples:
  bpftok budget check || exit 1                      a gate before an expensive job
  bpftok budget check platform-month -o json")]
    Check(BudgetStatus),
    /// Make a budget, or change one that was made so; a running agent follows within seconds
    #[command(after_help = "\
Such a budget is kept in the ledger. Those of the configuration are changed there.

Examples:
  sudo bpftok budget set platform-month --limit \"3000 usd\" --period month
  sudo bpftok budget set developer-day --limit \"60 usd\" --period day --scope user --where task=coding
  sudo bpftok budget set web-tokens --limit \"1000M tokens\" --period rolling:7d --scope \"workflow=claude-code/*\"
  sudo bpftok budget set web-tokens --remove")]
    Set(Box<SetBudget>),
    /// How they stood in earlier periods, as the agent kept it
    #[command(after_help = "\
Examples:
  bpftok budget history
  bpftok budget history platform-month --since -365d -o csv")]
    History(BudgetHistory),
}

/// `bpftok budget status` and `check`
#[derive(Args, Clone, Debug)]
pub struct BudgetStatus {
    /// Only these
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// How.
    #[command(flatten)]
    pub written: Written,
}

/// `bpftok budget set`
#[derive(Args, Clone, Debug)]
pub struct SetBudget {
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// How much may be used in a period: "60 usd", "1000M tokens", "5M weighted-tokens",
    /// "500 requests", "20 sessions"
    #[arg(long, value_name = "AMOUNT", required_unless_present = "remove")]
    pub limit: Option<String>,
    /// How long a period is: day, week, month, quarter, year, rolling:7d [default: month]
    #[arg(long, value_name = "PERIOD")]
    pub period: Option<String>,
    /// Where a period begins: a day of the month or of the week
    #[arg(long, value_name = "DAY")]
    pub anchor: Option<String>,
    /// Whose spending: host, a facet for a limit of each value (user), or a facet and a pattern
    /// (workflow=claude-code/*) [default: host]
    #[arg(long, value_name = "SCOPE")]
    pub scope: Option<String>,
    /// What must hold besides, as in task=coding; may be given several times
    #[arg(long = "where", value_name = "FACET=PATTERN", value_parser = facet)]
    pub filters: Vec<(String, String)>,
    /// When spending is expected: auto, flat, learned, "business:Mon-Fri 09:00-18:00" [default: auto]
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<String>,
    /// Whose days: local or utc [default: local]
    #[arg(long, value_name = "CLOCK")]
    pub timezone: Option<String>,
    /// Shares of the limit at which somebody is told [default: 0.5,0.8,0.95,1]
    #[arg(long, value_name = "SHARE", value_delimiter = ',')]
    pub thresholds: Vec<f64>,
    /// How urgent burning may be: page, ticket, off [default: page, for each user off]
    #[arg(long, value_name = "URGENCY")]
    pub burn: Option<String>,
    /// Less than this in a window is never called burning [default: "5 usd"]
    #[arg(long, value_name = "AMOUNT")]
    pub floor: Option<String>,
    /// Channels that tell; may be given several times [default: all]
    #[arg(long, value_name = "CHANNEL")]
    pub notify: Vec<String>,
    /// Take the budget out
    #[arg(long, exclusive = false)]
    pub remove: bool,
}

impl SetBudget {
    /// The budget as an entry `[[budget]]`, in JSON.
    pub fn definition(&self) -> serde_json::Value {
        let mut entry = serde_json::Map::new();
        entry.insert("name".to_owned(), self.name.clone().into());
        for (key, value) in [
            ("limit", &self.limit),
            ("period", &self.period),
            ("anchor", &self.anchor),
            ("scope", &self.scope),
            ("profile", &self.profile),
            ("timezone", &self.timezone),
            ("burn", &self.burn),
            ("floor", &self.floor),
        ] {
            if let Some(value) = value {
                entry.insert(key.to_owned(), value.clone().into());
            }
        }
        if !self.filters.is_empty() {
            let mut filters = serde_json::Map::new();
            for (facet, pattern) in &self.filters {
                let patterns = filters
                    .entry(facet.clone())
                    .or_insert_with(|| serde_json::Value::Array(Vec::new()));
                if let serde_json::Value::Array(patterns) = patterns {
                    patterns.push(pattern.clone().into());
                }
            }
            entry.insert("where".to_owned(), filters.into());
        }
        if !self.thresholds.is_empty() {
            entry.insert("thresholds".to_owned(), self.thresholds.clone().into());
        }
        if !self.notify.is_empty() {
            entry.insert("notify".to_owned(), self.notify.clone().into());
        }
        entry.into()
    }
}

/// `bpftok budget history`
#[derive(Args, Clone, Debug)]
pub struct BudgetHistory {
    /// Only this one
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Only periods that ended later: 2026-11-01, month, -90d [default: all]
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// How.
    #[command(flatten)]
    pub written: Written,
}

fn facet(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(facet, pattern)| (facet.trim().to_owned(), pattern.trim().to_owned()))
        .ok_or_else(|| format!("{text:?} is no FACET=PATTERN, as in task=coding"))
}
