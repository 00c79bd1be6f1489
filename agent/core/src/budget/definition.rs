//! What a budget is, as it is configured.

use std::fmt;
use std::sync::Arc;

use super::limit::{Limit, Unit};
use super::period::Period;
use super::profile::Profile;
use crate::glob;
use crate::spend::Payer;

/// What budgets tell spending apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Facet {
    /// Workflow.
    Workflow,
    /// User, by name, or by number where there is none.
    User,
    /// Unit of systemd.
    Unit,
    /// Container, by name, or by id where there is none.
    Container,
    /// Repository of git.
    Repo,
    /// Model.
    Model,
    /// Provider.
    Provider,
    /// Client.
    Client,
    /// Kind of work.
    Task,
}

impl Facet {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Workflow,
        Self::User,
        Self::Unit,
        Self::Container,
        Self::Repo,
        Self::Model,
        Self::Provider,
        Self::Client,
        Self::Task,
    ];

    /// Key in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Workflow => "workflow",
            Self::User => "user",
            Self::Unit => "unit",
            Self::Container => "container",
            Self::Repo => "repo",
            Self::Model => "model",
            Self::Provider => "provider",
            Self::Client => "client",
            Self::Task => "task",
        }
    }

    /// The facet with a key.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|facet| facet.as_str() == name)
    }

    /// What a payer is by this facet, if that is known.
    pub fn of(self, payer: &Payer) -> Option<&str> {
        match self {
            Self::Workflow => Some(&payer.workflow),
            Self::User => payer.user.as_deref(),
            Self::Unit => payer.unit.as_deref(),
            Self::Container => payer.container.as_deref(),
            Self::Repo => payer.repo.as_deref(),
            Self::Model => payer.model.as_deref(),
            Self::Provider => Some(&payer.provider),
            Self::Client => payer.client.as_deref(),
            Self::Task => Some(&payer.task),
        }
    }
}

/// Whose spending a budget is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of the host.
    Host,
    /// Each value of a facet by itself: one limit for each.
    Each(Facet),
    /// What has a facet that is like a pattern, together.
    Like(Facet, String),
}

impl Scope {
    /// LIMIT: bytes of a pattern, the longest name of a file.
    const PATTERN_BYTES: usize = 256;

    /// Reads `host`, a facet as in `user`, or a facet and a pattern as in `workflow=claude-code/*`.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn parse(text: &str) -> Result<Self, NoScope> {
        let no_scope = || NoScope(text.to_owned());
        if text == "host" {
            return Ok(Self::Host);
        }
        let Some((facet, pattern)) = text.split_once('=') else {
            return Facet::of_name(text).map(Self::Each).ok_or_else(no_scope);
        };
        let (facet, pattern) = (facet.trim(), pattern.trim());
        let is_pattern = !pattern.is_empty()
            && pattern.len() <= Self::PATTERN_BYTES
            && !pattern.chars().any(char::is_control);
        Facet::of_name(facet)
            .filter(|_| is_pattern)
            .map(|facet| Self::Like(facet, pattern.to_owned()))
            .ok_or_else(no_scope)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Each(facet) => f.write_str(facet.as_str()),
            Self::Like(facet, pattern) => write!(f, "{}={pattern}", facet.as_str()),
        }
    }
}

/// A text that is no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no scope; write \"host\", one of workflow, user, unit, container, repo, model, provider, \
     client, task for a limit of each, or one of them and a pattern as in \"workflow=claude-code/*\""
)]
pub struct NoScope(String);

/// What must hold for spending to be covered: a facet is like one of some patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Facet.
    pub facet: Facet,
    /// Patterns, in which `*` stands for any text and `?` for one character.
    pub patterns: Vec<String>,
}

impl Filter {
    fn lets(&self, payer: &Payer) -> bool {
        self.facet.of(payer).is_some_and(|value| {
            self.patterns
                .iter()
                .any(|pattern| glob::matches(pattern, value))
        })
    }
}

/// How urgent it may be that a budget burns too fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Burning is shown and tells nobody.
    Off,
    /// At most a ticket.
    Ticket,
    /// A page where it burns that fast.
    Page,
}

impl Urgency {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Off, Self::Ticket, Self::Page];

    /// Name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Ticket => "ticket",
            Self::Page => "page",
        }
    }

    /// What a budget has that says nothing: a budget of each user pages whatever its limits are, by
    /// the simulation in `simulation.rs`, so that it has thresholds and a forecast alone.
    pub const fn default_of(scope: &Scope) -> Self {
        match scope {
            Scope::Each(Facet::User) => Self::Off,
            Scope::Host | Scope::Each(_) | Scope::Like(..) => Self::Page,
        }
    }
}

/// Whose days the periods of a budget go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Those of the zone of reports.
    Local,
    /// Those of UTC.
    Utc,
}

impl Clock {
    /// Name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Utc => "utc",
        }
    }
}

/// A share of a limit, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub u32);

impl Share {
    /// What a budget has that says nothing.
    pub const DEFAULT: [Self; 4] = [Self(500), Self(800), Self(950), Self(1_000)];

    /// Whether `used` is at least this share of `limit`.
    pub(super) fn is_reached(self, used: u64, limit: u64) -> bool {
        u128::from(used) * 1_000 >= u128::from(limit) * u128::from(self.0)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 10, self.0 % 10) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, tenths) => write!(f, "{whole}.{tenths}%"),
        }
    }
}

/// A budget, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Name; no two budgets have the same.
    pub name: Arc<str>,
    /// Whose spending it is for.
    pub scope: Scope,
    /// What must hold besides, all of it.
    pub filters: Vec<Filter>,
    /// How much may be used in a period.
    pub limit: Limit,
    /// How long that is.
    pub period: Period,
    /// Whose days.
    pub clock: Clock,
    /// When spending is expected.
    pub profile: Profile,
    /// Shares of the limit at which somebody is told, in order.
    pub thresholds: Vec<Share>,
    /// How urgent burning may be.
    pub urgency: Urgency,
    /// Less than this in the long window is never called burning, in the unit of the limit; one per
    /// cent of the limit if that is more.
    pub floor: u64,
    /// Names of the channels that tell; empty for the default ones.
    pub notify: Vec<String>,
}

impl Budget {
    /// What a budget of money has that says nothing: five US dollars. Other units have none.
    pub const fn default_floor(unit: Unit) -> u64 {
        match unit {
            Unit::Usd => 5_000_000_000,
            Unit::Tokens | Unit::WeightedTokens | Unit::Requests | Unit::Sessions => 0,
        }
    }

    /// A budget with a limit of each month for the whole host, and the defaults for the rest.
    pub fn monthly(name: &str, limit: Limit) -> Self {
        Self {
            name: Arc::from(name),
            scope: Scope::Host,
            filters: Vec::new(),
            limit,
            period: Period::DEFAULT,
            clock: Clock::Local,
            profile: Profile::Auto,
            thresholds: Share::DEFAULT.to_vec(),
            urgency: Urgency::default_of(&Scope::Host),
            floor: Self::default_floor(limit.unit),
            notify: Vec::new(),
        }
    }

    /// The value of the scope that pays: `None` if the budget does not cover it, and empty where the
    /// budget has one limit for all.
    pub fn covers<'a>(&self, payer: &'a Payer) -> Option<&'a str> {
        let value = match &self.scope {
            Scope::Host => Some(""),
            Scope::Each(facet) => facet.of(payer).filter(|value| !value.is_empty()),
            Scope::Like(facet, pattern) => facet
                .of(payer)
                .filter(|value| glob::matches(pattern, value))
                .map(|_| ""),
        };
        value.filter(|_| self.filters.iter().all(|filter| filter.lets(payer)))
    }

    /// The least in a long window that is called burning.
    pub(super) const fn least_burn(&self) -> u64 {
        let share = self.limit.amount / 100;
        if share > self.floor {
            share
        } else {
            self.floor
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_and_shown_alike() {
        for (text, scope) in [
            ("host", Scope::Host),
            ("user", Scope::Each(Facet::User)),
            (
                "workflow=claude-code/*",
                Scope::Like(Facet::Workflow, "claude-code/*".to_owned()),
            ),
            ("model=a=b", Scope::Like(Facet::Model, "a=b".to_owned())),
        ] {
            assert_eq!(Scope::parse(text), Ok(scope.clone()));
            assert_eq!(scope.to_string(), text);
        }
        for text in ["", "hosts", "user=", "uid=5", "=x", "host=a"] {
            assert!(Scope::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_budget_covers_what_its_scope_and_all_its_filters_let() {
        let payer = Payer {
            workflow: "claude-code/web".to_owned(),
            user: Some("dana".to_owned()),
            task: "coding".to_owned(),
            ..Payer::default()
        };
        let filter = |facet, patterns: &[&str]| Filter {
            facet,
            patterns: patterns.iter().map(|text| (*text).to_owned()).collect(),
        };
        let budget = |scope, filters: &[Filter]| Budget {
            scope,
            filters: filters.to_vec(),
            ..Budget::monthly("b", Limit::usd(1))
        };
        let like = |pattern: &str| Scope::Like(Facet::Workflow, pattern.to_owned());
        let coding = filter(Facet::Task, &["chat", "cod*"]);
        let of_lee = filter(Facet::User, &["lee"]);
        let in_unit = filter(Facet::Unit, &["*"]);
        for (scope, filters, expected) in [
            (Scope::Host, vec![], Some("")),
            (Scope::Each(Facet::User), vec![coding.clone()], Some("dana")),
            (Scope::Each(Facet::User), vec![coding, of_lee], None),
            (Scope::Each(Facet::Unit), vec![], None),
            (Scope::Host, vec![in_unit], None),
            (like("claude-code/*"), vec![], Some("")),
            (like("codex/*"), vec![], None),
        ] {
            assert_eq!(budget(scope, &filters).covers(&payer), expected);
        }
    }
}
