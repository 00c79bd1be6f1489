//! Workflows that were found, by what decides them.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::Workflow;
use super::subject::Subject;
use crate::event::{ProcId, Process};

/// LIMIT: processes whose workflows are kept; beyond it all are found anew.
const PROCESSES: usize = 4_096;

/// LIMIT: workflows kept for one process, which has one for each client and host; beyond it those of
/// the process are found anew.
const KEYS: usize = 8;

/// What rules can see of a call beyond its process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sight {
    /// The host that it calls too.
    WithHost,
    /// No rule looks at hosts.
    #[default]
    WithoutHost,
}

/// What decides the workflow of a process's call beyond its process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    client: Option<String>,
    host: Option<String>,
}

impl Key {
    pub(super) fn of(subject: Subject<'_>, sight: Sight) -> Self {
        let host = subject.host.filter(|_| sight == Sight::WithHost);
        Self {
            client: subject.client.map(str::to_owned),
            host: host.map(str::to_owned),
        }
    }
}

/// Workflows that were found. It keeps no facts alive.
#[derive(Debug, Default)]
pub(super) struct Cache(BTreeMap<ProcId, Kept>);

#[derive(Debug)]
struct Kept {
    /// The facts that it was found by: others may say something else.
    facts: Weak<Process>,
    found: Vec<(Key, Arc<Workflow>)>,
}

impl Kept {
    fn is_by(&self, facts: &Arc<Process>) -> bool {
        std::ptr::eq(self.facts.as_ptr(), Arc::as_ptr(facts))
    }
}

impl Cache {
    pub(super) fn get(&self, facts: &Arc<Process>, key: &Key) -> Option<Arc<Workflow>> {
        let kept = self.0.get(&facts.id).filter(|kept| kept.is_by(facts))?;
        let found = kept.found.iter().find(|(known, _)| known == key);
        found.map(|(_, workflow)| Arc::clone(workflow))
    }

    pub(super) fn put(&mut self, facts: &Arc<Process>, key: Key, found: Arc<Workflow>) {
        if self.0.len() >= PROCESSES && !self.0.contains_key(&facts.id) {
            self.0.clear();
        }
        let anew = || Kept {
            facts: Arc::downgrade(facts),
            found: Vec::new(),
        };
        let kept = self.0.entry(facts.id).or_insert_with(anew);
        if !kept.is_by(facts) || kept.found.len() >= KEYS {
            *kept = anew();
        }
        kept.found.push((key, found));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.values().map(|kept| kept.found.len()).sum()
    }
}
