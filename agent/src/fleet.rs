//! Several ledgers as one: merged into a file that stays, or into one that is read once.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::report::visible;
use crate::store::{self, Durability, Merged, Step};

/// How often progress is shown.
const SHOWN_INTERVAL: Duration = Duration::from_millis(200);

/// More ledgers were named than a command takes.
#[derive(Debug, thiserror::Error)]
#[error("this command takes one --db; `bpftok merge` makes one ledger of several")]
pub struct TooMany;

/// A ledger made of several; it is removed with the value.
#[derive(Debug)]
pub struct Fleet {
    directory: tempfile::TempDir,
}

impl Fleet {
    /// Merges ledgers into one that only this process's user can reach, and that goes with the value.
    ///
    /// # Errors
    /// The directory can't be made, or a ledger can't be read.
    pub fn of(ledgers: &[PathBuf]) -> anyhow::Result<Self> {
        let fleet = Self {
            directory: tempfile::Builder::new().prefix("bpftok-").tempdir()?,
        };
        merge(&fleet.path(), ledgers, Durability::Temporary)?;
        Ok(fleet)
    }

    /// Where the ledger is.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("fleet.db")
    }
}

/// Merges ledgers into one, and says on a terminal how far it is.
///
/// # Errors
/// Those of [`store::merge`].
pub fn merge(
    into: &Path,
    from: &[PathBuf],
    durability: Durability,
) -> Result<Vec<Merged>, store::Error> {
    let is_shown = io::stderr().is_terminal();
    let mut shown: Option<Instant> = None;
    let merged = store::merge(into, from, durability, &mut |step: Step<'_>| {
        let is_due = shown.is_none_or(|shown| shown.elapsed() >= SHOWN_INTERVAL);
        if is_shown && is_due {
            shown = Some(Instant::now());
            let percent = step.done * 100 / step.total.max(1);
            let from = step.from.display().to_string();
            // The work goes on where nobody can be told.
            write!(
                io::stderr(),
                "\r\x1b[Kmerging {}: {percent} %",
                visible(&from)
            )
            .unwrap_or_default();
        }
    });
    if shown.is_some() {
        write!(io::stderr(), "\r\x1b[K").unwrap_or_default();
    }
    merged
}
