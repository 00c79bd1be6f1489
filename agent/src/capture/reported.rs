//! Files that are reported and not hooked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agent_resolver::Resolution;

use super::Refusal;
use super::hooks::Target;
use crate::causes;

/// LIMIT: reported files of each kind. A host has a handful.
const MAX_REPORTED: usize = 256;

/// Files by their paths, as those who mapped them see them.
#[derive(Debug, Default)]
pub(super) struct Reported {
    refused: BTreeMap<PathBuf, Target>,
    foreign: BTreeMap<PathBuf, Target>,
}

impl Reported {
    /// Files that should be hooked and are not.
    pub(super) fn refused(&self) -> impl Iterator<Item = &Target> {
        self.refused.values()
    }

    /// Files with a TLS library whose functions are not looked for.
    pub(super) fn foreign(&self) -> impl Iterator<Item = &Target> {
        self.foreign.values()
    }

    /// Whether that is told of a path.
    pub(super) fn is_refused(&self, path: &Path) -> bool {
        self.refused.contains_key(path)
    }

    /// A file can't be hooked. Gives whether that is new; it is said once.
    pub(super) fn refuse(&mut self, refusal: &Refusal, path: PathBuf) -> bool {
        let why = causes::in_one_line(refusal);
        let target = Target {
            path,
            refusal: Some(why),
            ..Target::default()
        };
        if self.refused.get(&target.path) == Some(&target) {
            return false;
        }
        let why = target.refusal.as_deref().unwrap_or_default();
        tracing::warn!(path = %target.path.display(), %why, "not hooked");
        add(&mut self.refused, target);
        true
    }

    /// A file carries a TLS library of which there is nothing to hook.
    pub(super) fn add(&mut self, resolution: &Resolution, path: PathBuf) {
        let mut target = Target::of(path, resolution);
        if let Some(refusal) = resolution.refusal() {
            let why = causes::in_one_line(&refusal);
            tracing::warn!(path = %target.path.display(), %why, "not hooked");
            target.refusal = Some(why);
            add(&mut self.refused, target);
        } else {
            target.refusal = Some("the functions of this library are not looked for".to_owned());
            add(&mut self.foreign, target);
        }
    }

    /// There is another file at this path, or none.
    pub(super) fn forget(&mut self, path: &Path) {
        self.refused.remove(path);
        self.foreign.remove(path);
    }
}

fn add(listed: &mut BTreeMap<PathBuf, Target>, target: Target) {
    if listed.len() < MAX_REPORTED || listed.contains_key(&target.path) {
        listed.insert(target.path.clone(), target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> Refusal {
        Refusal::NotRegular {
            path: PathBuf::new(),
        }
    }

    #[test]
    fn a_file_is_reported_once_and_until_it_is_another_one() {
        let mut reported = Reported::default();
        let library = || PathBuf::from("/usr/lib/libssl.so.3");
        assert!(reported.refuse(&refusal(), library()));
        assert!(!reported.refuse(&refusal(), library()));
        let refused: Vec<_> = reported.refused().cloned().collect();
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].refusal.as_deref(), Some("it is no regular file"));
        assert!(reported.is_refused(Path::new("/usr/lib/libssl.so.3")));
        reported.forget(Path::new("/usr/lib/libssl.so.3"));
        assert_eq!(reported.refused().count(), 0);
    }

    #[test]
    fn no_host_can_make_the_list_too_long() {
        let mut reported = Reported::default();
        for number in 0..MAX_REPORTED + 5 {
            reported.refuse(&refusal(), PathBuf::from(format!("/{number}")));
        }
        assert_eq!(reported.refused().count(), MAX_REPORTED);
    }
}
