//! How a budget stands, and what is wrong with it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::definition::{Budget, Share, Urgency};
use super::limit::Unit;
use super::total::SessionUse;
use super::window::Window;
use crate::alert::{Condition, Rule, Severity};
use crate::spend::Amount;

/// How long a forecast must hold before anybody is told: it swings about the limit with every hour.
const FORECAST_HOLD: Duration = Duration::from_secs(60 * 60);

/// The same for tokens without a price: a period begins with few calls.
const UNPRICED_HOLD: Duration = Duration::from_secs(10 * 60);

/// Beyond this share tokens without a price matter: one per cent.
const UNPRICED_OF: u64 = 100;

/// How a budget stands, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// All is well.
    Ok,
    /// It burns, or will be used up before its period ends.
    Ticket,
    /// It burns fast.
    Page,
    /// It is used up.
    Exceeded,
}

impl State {
    /// Name in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Ticket => "ticket",
            Self::Page => "page",
            Self::Exceeded => "exceeded",
        }
    }
}

/// How one value of a budget's scope stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Name of the budget.
    pub budget: Arc<str>,
    /// What it is about, as names and values; empty for the whole host.
    pub scope: Vec<(String, String)>,
    /// Whether it is the rest: all values beyond the limit of how many are watched, together.
    pub is_rest: bool,
    /// Unit of the figures.
    pub unit: Unit,
    /// How much may be used.
    pub limit: u64,
    /// How much is used, calls that still run included.
    pub used: u64,
    /// Whether more is used than that: something has no price, or is known in part.
    pub is_at_least: bool,
    /// The part of it that calls have that still run.
    pub open: u64,
    /// All that is known of what was used in the period.
    pub amount: Amount,
    /// The first moment of the period.
    pub period_from_unix_ms: i64,
    /// When the next one begins; `None` for a rolling one.
    pub reset_unix_ms: Option<i64>,
    /// How fast the windows burn, where something is expected in them.
    pub burns: Vec<(Window, f64)>,
    /// What will be used when the period ends, if enough is known to say.
    pub projected: Option<u64>,
    /// When the limit is reached before that: by the window that burns, else by the forecast.
    pub exhausted_unix_ms: Option<i64>,
    /// The highest threshold that was reached in the period; to be stored, see
    /// [`Budgets::restore`](super::Budgets::restore).
    pub reached: Option<Share>,
    /// The sessions that used most in the period.
    pub sessions: Vec<SessionUse>,
    /// How it stands.
    pub state: State,
}

impl Status {
    /// How fast a window burns.
    pub fn burn(&self, window: Window) -> Option<f64> {
        let found = self.burns.iter().find(|(known, _)| *known == window);
        found.map(|(_, burn)| *burn)
    }

    /// How much is used of the limit: 1 is all of it.
    pub fn used_ratio(&self) -> f64 {
        self.used as f64 / self.limit as f64
    }

    fn name(&self) -> String {
        let scope: Vec<String> = self
            .scope
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        match scope.is_empty() {
            true => format!("budget {}", self.budget),
            false => format!("budget {} ({})", self.budget, scope.join(", ")),
        }
    }

    fn used_of_limit(&self) -> String {
        let mark = if self.is_at_least { "≥ " } else { "" };
        let (used, limit) = (self.unit.show(self.used), self.unit.show(self.limit));
        format!(
            "{mark}{used} of {limit} used, {:.0}%",
            self.used_ratio() * 100.0
        )
    }

    /// The numbers that show what is wrong.
    fn evidence(&self) -> Map<String, Value> {
        let suffix = self.unit.suffix();
        let burns: Map<String, Value> = self
            .burns
            .iter()
            .map(|(window, burn)| (window.as_str().to_owned(), json!(burn)))
            .collect();
        let used = format!("used_{suffix}");
        let sessions: Vec<Value> = self
            .sessions
            .iter()
            .map(|found| {
                let mut session = Map::new();
                session.insert("session".to_owned(), json!(&*found.session));
                session.insert("uid".to_owned(), json!(found.uid));
                session.insert(used.clone(), json!(found.used));
                Value::Object(session)
            })
            .collect();
        [
            (format!("limit_{suffix}"), json!(self.limit)),
            (used, json!(self.used)),
            ("used_is_lower_bound".to_owned(), json!(self.is_at_least)),
            ("used_ratio".to_owned(), json!(self.used_ratio())),
            (format!("open_{suffix}"), json!(self.open)),
            (format!("projected_{suffix}"), json!(self.projected)),
            (
                "unpriced_tokens".to_owned(),
                json!(self.amount.unpriced_tokens),
            ),
            ("burn".to_owned(), Value::Object(burns)),
            (
                "period_from_unix_ms".to_owned(),
                json!(self.period_from_unix_ms),
            ),
            ("reset_unix_ms".to_owned(), json!(self.reset_unix_ms)),
            (
                "exhausted_unix_ms".to_owned(),
                json!(self.exhausted_unix_ms),
            ),
            ("sessions".to_owned(), Value::Array(sessions)),
        ]
        .into_iter()
        .collect()
    }

    fn condition(&self, rule: Rule, severity: Severity) -> Condition {
        Condition {
            rule,
            variant: String::new(),
            scope: self.scope.clone(),
            budget: Some(self.budget.to_string()),
            severity,
            hold: Duration::ZERO,
            summary: String::new(),
            evidence: self.evidence(),
        }
    }

    /// A threshold was reached. That all is used is as urgent as burning may be.
    pub(super) fn threshold(&self, budget: &Budget, share: Share) -> Condition {
        let severity = match share.0 {
            1_000.. if budget.urgency == Urgency::Page => Severity::Page,
            800.. => Severity::Ticket,
            _ => Severity::Log,
        };
        Condition {
            variant: share.to_string(),
            summary: format!("{}: {}", self.name(), self.used_of_limit()),
            ..self.condition(Rule::BudgetThreshold, severity)
        }
    }

    /// A rule of burning fires.
    pub(super) fn burning(
        &self,
        severity: Severity,
        variant: String,
        (long, short): (Window, Window),
    ) -> Condition {
        let burn = |window: Window| self.burn(window).unwrap_or(0.0);
        Condition {
            variant,
            summary: format!(
                "{} burns {:.1} times as fast as planned over {}, {:.1} times over {}: {}",
                self.name(),
                burn(long),
                long.as_str(),
                burn(short),
                short.as_str(),
                self.used_of_limit()
            ),
            ..self.condition(Rule::BudgetBurn, severity)
        }
    }

    /// It will be used up before the period ends.
    pub(super) fn forecast(&self) -> Condition {
        let projected = self.unit.show(self.projected.unwrap_or(0));
        Condition {
            hold: FORECAST_HOLD,
            summary: format!(
                "{} will be used up before its period ends, with {projected} by then: {}",
                self.name(),
                self.used_of_limit()
            ),
            ..self.condition(Rule::BudgetForecast, Severity::Ticket)
        }
    }

    /// Too many of its tokens have no price, if so.
    pub(super) fn unpriced(&self) -> Option<Condition> {
        let unpriced = self.amount.unpriced_tokens;
        let is_much = unpriced > self.amount.tokens / UNPRICED_OF && unpriced > 0;
        (self.unit == Unit::Usd && is_much).then(|| Condition {
            hold: UNPRICED_HOLD,
            summary: format!(
                "{} leaves out {unpriced} of {} tokens, which have no price: {}",
                self.name(),
                self.amount.tokens,
                self.used_of_limit()
            ),
            ..self.condition(Rule::BudgetUnpriced, Severity::Ticket)
        })
    }
}
