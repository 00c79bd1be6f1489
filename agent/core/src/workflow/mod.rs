//! Stage 5: says which workflow pays for a call.
//!
//! *Takes* attributed calls. *Gives* a [`Workflow`] for each: what the marker in the environment of
//! its process says, else the first rule that matches, else an automatic name. *Remembers* nothing.
//! *Nonsense* gets the workflow `unattributed`, which is a row like any other.

use std::sync::Arc;

use crate::attribution::AttributedCall;

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

/// The stage.
#[derive(Clone, Debug, Default)]
pub struct Workflows {}

impl Workflows {
    /// The workflow of a call.
    pub fn of(&self, _attributed: &AttributedCall) -> Arc<Workflow> {
        Arc::new(Workflow::unattributed())
    }
}
