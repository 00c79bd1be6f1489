//! Stage 5: says which workflow pays for a call.
//!
//! *Takes* attributed calls. *Gives* a [`Workflow`] for each: what the marker in the environment of
//! its process says, else the first rule that matches, else an automatic name. *Remembers* what it
//! found for the processes that call. *Nonsense* gets the workflow `unattributed`, which is a row like
//! any other.

mod cache;
mod cron;
mod name;
mod rules;
mod subject;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use crate::attribution::AttributedCall;
use crate::event::Marker;
use cache::{Cache, Key, Sight};
pub use cron::is_cron;
pub use name::{Automatic, BadTemplate, Capture, Template};
use rules::Rule;
pub use rules::{Compared, Condition, Field, Matched, RuleSpec, argument_patterns};
pub use subject::Subject;

/// The named unit of work that pays.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workflow {
    /// Name; at most 128 bytes.
    pub name: String,
    /// Where the name comes from.
    pub origin: Origin,
    /// Code that its cost is billed under.
    pub billing_code: Option<String>,
    /// Labels of the marker, in their order.
    pub labels: Vec<(String, String)>,
}

/// Where a workflow's name comes from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The marker in the environment of the process, or of one that it descends from.
    Marker,
    /// A rule of the configuration.
    Rule,
    /// Unit, container, client and repository, or executable.
    Auto,
    /// Nothing tells.
    Unattributed,
}

impl Origin {
    /// Name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Marker => "marker",
            Self::Rule => "rule",
            Self::Auto => "auto",
            Self::Unattributed => "unattributed",
        }
    }
}

impl Workflow {
    /// Name of what nothing tells.
    pub const UNATTRIBUTED: &str = "unattributed";

    /// The workflow of what nothing tells.
    pub fn unattributed() -> Self {
        Self {
            name: Self::UNATTRIBUTED.to_owned(),
            origin: Origin::Unattributed,
            billing_code: None,
            labels: Vec::new(),
        }
    }
}

/// How the workflow of a call was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// What was tried, in order; only the last one gave a name, or none did.
    pub tried: Vec<Tried>,
    /// What came of it.
    pub workflow: Workflow,
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// The marker.
    Marker {
        /// Its name; `None` if there is none.
        name: Option<String>,
    },
    /// A rule.
    Rule {
        /// Place in the configuration, from 1.
        number: usize,
        /// Name, as configured.
        name: String,
        /// Its conditions.
        compared: Vec<Compared>,
        /// What came of it.
        verdict: Verdict,
    },
    /// An automatic name.
    Automatic {
        /// By what.
        by: Automatic,
        /// The name; `None` if there is none.
        name: Option<String>,
    },
}

/// What came of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It matches, and gives this name.
    Named(String),
    /// A condition does not hold.
    NoMatch,
    /// All conditions hold, but a capture in its name is not known.
    UnknownCapture(Capture),
}

/// The stage.
#[derive(Debug, Default)]
pub struct Workflows {
    rules: Vec<Rule>,
    sight: Sight,
    /// What was found is kept, so that a call costs a look-up.
    cache: Mutex<Cache>,
}

impl Workflows {
    /// A stage with rules, of which the first that matches counts.
    pub fn new(specs: Vec<RuleSpec>) -> Self {
        let arguments = argument_patterns(&specs);
        let rule = |spec| Rule::new(spec, &arguments);
        let rules: Vec<Rule> = specs.into_iter().map(rule).collect();
        let sight = if rules.iter().any(|rule| rule.looks_at(Field::Host)) {
            Sight::WithHost
        } else {
            Sight::WithoutHost
        };
        Self {
            rules,
            sight,
            cache: Mutex::default(),
        }
    }

    /// The workflow of a call.
    pub fn of(&self, attributed: &AttributedCall) -> Arc<Workflow> {
        let subject = Subject::from(attributed);
        let Some(process) = &attributed.process else {
            return Arc::new(self.find(subject));
        };
        let key = Key::of(subject, self.sight);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get(process, &key).unwrap_or_else(|| {
            let found = Arc::new(self.find(subject));
            cache.put(process, key, Arc::clone(&found));
            found
        })
    }

    /// The same, with what was tried.
    pub fn trace(&self, subject: Subject<'_>) -> Trace {
        let marker = marker(subject);
        let mut tried = vec![Tried::Marker {
            name: marker.as_ref().map(|workflow| workflow.name.clone()),
        }];
        if let Some(workflow) = marker {
            return Trace { tried, workflow };
        }
        for (number, rule) in (1..).zip(&self.rules) {
            let compared = rule.compare(subject);
            let verdict = if compared.iter().any(|one| one.matched.is_none()) {
                Verdict::NoMatch
            } else {
                rule.fill(subject)
                    .map_or_else(Verdict::UnknownCapture, Verdict::Named)
            };
            let named = match &verdict {
                Verdict::Named(name) => Some(by_rule(rule, name.clone())),
                Verdict::NoMatch | Verdict::UnknownCapture(_) => None,
            };
            tried.push(Tried::Rule {
                number,
                name: rule.spec.name.to_string(),
                compared,
                verdict,
            });
            if let Some(workflow) = named {
                return Trace { tried, workflow };
            }
        }
        for by in Automatic::ALL {
            let name = by.name(subject);
            tried.push(Tried::Automatic {
                by,
                name: name.clone(),
            });
            if let Some(name) = name {
                let workflow = automatic(name);
                return Trace { tried, workflow };
            }
        }
        Trace {
            tried,
            workflow: Workflow::unattributed(),
        }
    }

    /// The workflow of a subject, found anew.
    pub fn find(&self, subject: Subject<'_>) -> Workflow {
        let by_rules = || {
            let mut rules = self.rules.iter();
            rules.find_map(|rule| Some(by_rule(rule, rule.name(subject)?)))
        };
        let by_itself = || {
            let names = Automatic::ALL.into_iter();
            names
                .filter_map(|by| by.name(subject))
                .map(automatic)
                .next()
        };
        marker(subject)
            .or_else(by_rules)
            .or_else(by_itself)
            .unwrap_or_else(Workflow::unattributed)
    }
}

/// What the marker of the process says.
fn marker(subject: Subject<'_>) -> Option<Workflow> {
    let marker = subject.process?.marker.as_ref()?;
    Some(Workflow {
        name: name::printable(&marker.name)?,
        origin: Origin::Marker,
        billing_code: marker.label(Marker::BILLING_CODE).map(str::to_owned),
        labels: marker.labels.clone(),
    })
}

fn by_rule(rule: &Rule, name: String) -> Workflow {
    Workflow {
        name,
        origin: Origin::Rule,
        billing_code: rule.spec.billing_code.clone(),
        labels: Vec::new(),
    }
}

const fn automatic(name: String) -> Workflow {
    Workflow {
        name,
        origin: Origin::Auto,
        billing_code: None,
        labels: Vec::new(),
    }
}
