//! `bpftok tail`: finished calls, one line each, as `journalctl` does it.

use std::thread;
use std::time::Duration;

use super::{CallLine, Error, Found, Page};
use crate::store::{Call, Reader};

/// How often the ledger is asked for new calls; the agent commits once a second.
const POLL: Duration = Duration::from_millis(500);

/// Whether to wait for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Until interrupted.
    Yes,
    /// No.
    No,
}

/// Writes the last `count` calls, and then each new one if asked to.
///
/// # Errors
/// All of [`Error`].
pub fn tail(
    page: &mut Page<'_>,
    reader: &Reader,
    count: u32,
    follow: Follow,
) -> Result<Found, Error> {
    let calls = reader.last_calls(count)?;
    if follow == Follow::No && calls.is_empty() && count > 0 {
        page.nothing(reader)?;
        return Ok(Found::Nothing);
    }
    // With -n 0 the last call is still the place from which to follow.
    let mut last = match calls.last() {
        Some(call) => call.request_id,
        None => reader
            .last_calls(1)?
            .last()
            .map_or(0, |call| call.request_id),
    };
    write(page, &calls)?;
    if follow == Follow::No {
        return Ok(Found::Something);
    }
    loop {
        thread::sleep(POLL);
        let calls = match reader.calls_after(last) {
            // The writer holds the file for a moment.
            Err(error) if error.is_retryable() => continue,
            calls => calls?,
        };
        last = calls.last().map_or(last, |call| call.request_id);
        write(page, &calls)?;
    }
}

fn write(page: &mut Page<'_>, calls: &[Call]) -> Result<(), Error> {
    for call in calls {
        writeln!(page.out, "{}", CallLine::from(call).in_zone(&page.zone))?;
    }
    page.out.flush()?;
    Ok(())
}
