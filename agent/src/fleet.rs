//! Several ledgers as one: merged into a file that stays, or into one that is read once.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use crate::report::visible;
use crate::store::{self, Merged, Reader, Step};

/// How often progress is shown.
const SHOWN_INTERVAL: Duration = Duration::from_millis(200);

/// More ledgers were named than a command takes.
#[derive(Debug, thiserror::Error)]
#[error("this command takes one --db; `bpftok merge` makes one ledger of several")]
pub struct TooMany;

/// Reads ledgers as one, whose days and hours are those of `zone`, and says on a terminal how far it is.
///
/// # Errors
/// Those of [`Reader::of_several`].
pub fn reader(ledgers: &[PathBuf], zone: &TimeZone) -> Result<Reader, store::Error> {
    shown(|progress| Reader::of_several(ledgers, zone, progress))
}

/// Merges ledgers into one, and says on a terminal how far it is.
///
/// # Errors
/// Those of [`store::merge`].
pub fn merge(into: &Path, from: &[PathBuf]) -> Result<Vec<Merged>, store::Error> {
    shown(|progress| store::merge(into, from, progress))
}

/// Merges, and shows the progress.
fn shown<T>(merging: impl FnOnce(&mut dyn FnMut(Step<'_>)) -> T) -> T {
    let is_shown = io::stderr().is_terminal();
    let mut shown: Option<Instant> = None;
    let merged = merging(&mut |step: Step<'_>| {
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
