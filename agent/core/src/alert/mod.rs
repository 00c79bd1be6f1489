//! What may be wrong with what is spent, and who has to know.

mod lifecycle;
mod payload;

use std::time::Duration;

use serde_json::{Map, Value};

pub use lifecycle::{
    Alert, Alerts, Evaluated, Kind, MAX_ALERTS, MAX_IN_NOTIFICATION, Notice, Notification, State,
};
pub use payload::Purpose;

/// How much of a hurry there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth a line in the log.
    Log,
    /// Somebody should look at it within days.
    Ticket,
    /// Somebody has to look at it at once.
    Page,
}

impl Severity {
    /// Name in the ledger and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Ticket => "ticket",
            Self::Page => "page",
        }
    }

    /// The one of this name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Log, Self::Ticket, Self::Page]
            .into_iter()
            .find(|severity| severity.as_str() == name)
    }
}

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A share of a budget's limit is used; once for each share and period.
    BudgetThreshold,
    /// A budget is used up faster than its period passes.
    BudgetBurn,
    /// A budget will be used up before its period ends.
    BudgetForecast,
    /// Too much of what a budget covers has no price.
    BudgetUnpriced,
    /// A workflow uses far more than it ever does.
    Spike,
    /// A session does what runaway sessions do.
    Runaway,
    /// Too little of the traffic is understood.
    Coverage,
    /// The list of prices is old.
    PriceListAge,
    /// A limit of an account at a provider is nearly used up.
    Quota,
    /// A model was used for the first time.
    NewModel,
    /// A workflow that was not there before spends.
    NewWorkflow,
    /// Nobody knows what pays for so much.
    Unattributed,
    /// Too many calls fail.
    Errors,
    /// Events were lost between kernel and agent.
    EventsLost,
    /// Alerts can't be delivered over a channel.
    Channel,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::BudgetThreshold,
        Self::BudgetBurn,
        Self::BudgetForecast,
        Self::BudgetUnpriced,
        Self::Spike,
        Self::Runaway,
        Self::Coverage,
        Self::PriceListAge,
        Self::Quota,
        Self::NewModel,
        Self::NewWorkflow,
        Self::Unattributed,
        Self::Errors,
        Self::EventsLost,
        Self::Channel,
    ];

    /// The one of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.as_str() == name)
    }

    /// Name in the ledger and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BudgetThreshold => "budget_threshold",
            Self::BudgetBurn => "budget_burn",
            Self::BudgetForecast => "budget_forecast",
            Self::BudgetUnpriced => "budget_unpriced",
            Self::Spike => "spike",
            Self::Runaway => "runaway",
            Self::Coverage => "coverage",
            Self::PriceListAge => "price_list_age",
            Self::Quota => "quota",
            Self::NewModel => "new_model",
            Self::NewWorkflow => "new_workflow",
            Self::Unattributed => "unattributed",
            Self::Errors => "errors",
            Self::EventsLost => "events_lost",
            Self::Channel => "channel",
        }
    }

    /// Whether it is told once, when it begins: neither that it lasts nor that it is over is news.
    pub const fn is_once(self) -> bool {
        matches!(self, Self::BudgetThreshold)
    }
}

/// Something that a rule finds wrong at a moment. The rule gives it as long as it holds, with the
/// patience that the rule has before it calls it over.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Which rule.
    pub rule: Rule,
    /// What the rule tells apart besides `scope`, as in `80%` or `1h/5m`; may be empty. Rule, scope,
    /// budget and this together are the identity of an alert.
    pub variant: String,
    /// What it is about, as names and values, as in `workflow` = `nightly-triage`; empty for the
    /// whole host.
    pub scope: Vec<(String, String)>,
    /// Name of the budget, for the rules of budgets.
    pub budget: Option<String>,
    /// How much of a hurry there is.
    pub severity: Severity,
    /// How long it has to hold before anybody is told.
    pub hold: Duration,
    /// One line for people.
    pub summary: String,
    /// Numbers and ids that show it; nothing that anybody wrote.
    pub evidence: Map<String, Value>,
}

/// An amount of money for people, as in `$12.07`: rounded down, so that it never says more than what
/// was paid.
pub fn dollars(nanousd: u64) -> String {
    const CENT: u64 = 10_000_000;
    let cents = nanousd / CENT;
    format!("${}.{:02}", cents / 100, cents % 100)
}
