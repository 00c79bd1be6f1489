//! When the probes are checked, and what follows from a check.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_core::event::Timestamp;

use super::self_check::{self, SelfCheck, Verdict};

/// How often the probes were checked, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckCounts {
    /// The probes showed the call.
    pub seen: u64,
    /// They did not.
    pub unseen: u64,
    /// The call could not be made.
    pub not_made: u64,
    /// Probes were renewed.
    pub renewals: u64,
}

/// What is to be done after a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing.
    GoOn,
    /// All probes are to be renewed: what happened to those of one file may have happened to others,
    /// which can't be checked. The next check, which is due at once, tells whether it helped.
    Renew,
}

/// Has the probes checked, one check after the other.
#[derive(Debug)]
pub(super) struct Checks {
    check: Arc<SelfCheck>,
    interval: Duration,
    /// `None` while one is under way.
    due: Option<Timestamp>,
    /// The probes were renewed because of the last one.
    is_second: bool,
    said: String,
    counts: CheckCounts,
}

impl Checks {
    /// The first one is due now.
    pub(super) const fn new(check: Arc<SelfCheck>, interval: Duration, now: Timestamp) -> Self {
        Self {
            check,
            interval,
            due: Some(now),
            is_second: false,
            said: String::new(),
            counts: CheckCounts {
                seen: 0,
                unseen: 0,
                not_made: 0,
                renewals: 0,
            },
        }
    }

    /// When the next one is due; `None` while one is under way.
    pub(super) const fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// What came of the last one, in words.
    pub(super) fn said(&self) -> &str {
        &self.said
    }

    /// What came of all.
    pub(super) const fn counts(&self) -> CheckCounts {
        self.counts
    }

    /// Starts one on a library; without one there is none until the next is due.
    pub(super) fn start(
        &mut self,
        library: Option<PathBuf>,
        now: Timestamp,
        done: impl FnOnce(PathBuf, Verdict) + Send + 'static,
    ) {
        self.due = Some(now + self.interval);
        let Some(library) = library else {
            "not possible: no libssl of this host can be loaded for it".clone_into(&mut self.said);
            return;
        };
        let path = library.clone();
        match self_check::start(&self.check, library, move |verdict| done(path, verdict)) {
            Ok(()) => self.due = None,
            Err(error) => self.said = format!("not made: {error}"),
        }
    }

    /// Takes the verdict of the one that was started.
    pub(super) fn take(&mut self, library: &Path, verdict: &Verdict, now: Timestamp) -> Then {
        let is_second = std::mem::take(&mut self.is_second);
        self.due = Some(now + self.interval);
        let library = library.display();
        match verdict {
            Verdict::Seen => {
                self.counts.seen += 1;
                self.said = format!("the probes showed a call of {library}");
            }
            Verdict::NotMade(why) => {
                self.counts.not_made += 1;
                self.said = format!("not made: a call of {library} failed: {why}");
                tracing::debug!(%library, why, "the probes could not be checked");
            }
            Verdict::Unseen if is_second => {
                self.counts.unseen += 1;
                self.said = format!(
                    "the probes do not show a call of {library}, even after they were renewed"
                );
                tracing::error!("{}", self.said);
            }
            Verdict::Unseen => {
                self.counts.unseen += 1;
                self.counts.renewals += 1;
                self.said = format!("the probes did not show a call of {library}: renewed");
                tracing::warn!("{}", self.said);
                self.is_second = true;
                self.due = Some(now);
                return Then::Renew;
            }
        }
        Then::GoOn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(300);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn probes_that_show_nothing_are_renewed_once_and_checked_again_at_once() {
        let mut checks = Checks::new(Arc::default(), INTERVAL, at(1));
        let library = Path::new("/usr/lib/libssl.so.3");
        assert_eq!(checks.due(), Some(at(1)));

        assert_eq!(checks.take(library, &Verdict::Seen, at(2)), Then::GoOn);
        assert_eq!(checks.due(), Some(at(2) + INTERVAL));

        assert_eq!(checks.take(library, &Verdict::Unseen, at(310)), Then::Renew);
        assert_eq!(checks.due(), Some(at(310)));
        // It did not help: to do it again and again would not either.
        assert_eq!(checks.take(library, &Verdict::Unseen, at(311)), Then::GoOn);
        assert_eq!(checks.due(), Some(at(311) + INTERVAL));
        assert!(checks.said().contains("even after they were renewed"));
        // At the next one it is tried again.
        assert_eq!(checks.take(library, &Verdict::Unseen, at(700)), Then::Renew);
        assert_eq!(checks.take(library, &Verdict::Seen, at(701)), Then::GoOn);
        let counts = CheckCounts {
            seen: 2,
            unseen: 3,
            not_made: 0,
            renewals: 2,
        };
        assert_eq!(checks.counts(), counts);
    }

    #[test]
    fn a_call_that_could_not_be_made_says_nothing_about_the_probes() {
        let mut checks = Checks::new(Arc::default(), INTERVAL, at(1));
        let verdict = Verdict::NotMade("no memory".to_owned());
        assert_eq!(checks.take(Path::new("/x"), &verdict, at(2)), Then::GoOn);
        assert_eq!(checks.counts().not_made, 1);
        assert!(checks.said().contains("no memory"));
    }

    #[test]
    fn without_a_library_there_is_no_check_and_it_is_said() {
        let mut checks = Checks::new(Arc::default(), INTERVAL, at(1));
        checks.start(None, at(5), |_, _| panic!("nothing was started"));
        assert_eq!(checks.due(), Some(at(5) + INTERVAL));
        assert!(checks.said().starts_with("not possible"));
    }
}
