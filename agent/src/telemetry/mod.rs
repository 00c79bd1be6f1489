//! What the agent says about itself while it runs.

mod journal;
mod lines;

use std::env;
use std::io::{self, Write as _};
use std::sync::OnceLock;
use std::time::Duration;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

pub use lines::Lines;

/// LIMIT: how long the end waits for the reader of the log.
const END_LIMIT: Duration = Duration::from_secs(1);

/// The log of a process that does not wait for its reader.
static LOG: OnceLock<Lines> = OnceLock::new();

/// What becomes of the log while nobody reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Whoever says something waits: of a command nothing is to be missing.
    WaitedFor,
    /// Nobody waits, and what there is no room for is dropped and counted: the agent goes on.
    Free,
}

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verbosity {
    /// How often `-v` was given.
    pub verbose: u8,
    /// Whether `-q` was given.
    pub is_quiet: bool,
}

impl Verbosity {
    const fn level(self) -> LevelFilter {
        match (self.is_quiet, self.verbose) {
            (true, _) => LevelFilter::ERROR,
            (false, 0) => LevelFilter::INFO,
            (false, 1) => LevelFilter::DEBUG,
            (false, _) => LevelFilter::TRACE,
        }
    }
}

/// Whether standard error is systemd's journal.
fn is_journal() -> bool {
    env::var("JOURNAL_STREAM").is_ok_and(|named| journal::is_stream(&named, io::stderr()))
}

/// Sends log lines to standard error: plain, or with a priority and without a time for the journal.
/// The variable `BPFTOK_LOG` sets levels by module and goes before the flags. A second call does
/// nothing. Without room for a thread the reader is waited for.
pub fn start(verbosity: Verbosity, reader: Reader) -> Log {
    let out = match reader {
        Reader::WaitedFor => None,
        Reader::Free => Lines::start("log", io::stderr()).ok(),
    };
    let out = match out {
        None => BoxMakeWriter::new(io::stderr),
        Some(lines) => BoxMakeWriter::new(LOG.get_or_init(|| lines).clone()),
    };
    let filter = EnvFilter::builder()
        .with_default_directive(verbosity.level().into())
        .with_env_var("BPFTOK_LOG")
        .from_env_lossy();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(out)
        .with_ansi(false);
    let started = if is_journal() {
        lines.event_format(journal::Prioritised).try_init()
    } else {
        lines.with_target(false).try_init()
    };
    // Only a second call fails.
    drop(started);
    Log(())
}

/// Written whole when this is dropped, or as far as its reader takes it within a second.
#[must_use]
#[derive(Debug)]
pub struct Log(());

impl Drop for Log {
    fn drop(&mut self) {
        finish();
    }
}

/// Says the last line, or lines, on standard error, behind the log, and waits for its reader no longer
/// than the log does. Nothing is left to tell it to if this fails.
pub fn end(line: &str) {
    let priority = if is_journal() {
        journal::priority(Level::ERROR)
    } else {
        ""
    };
    let lines: String = line
        .lines()
        .map(|line| format!("{priority}{line}\n"))
        .collect();
    match LOG.get() {
        None => io::stderr().write_all(lines.as_bytes()).unwrap_or_default(),
        Some(log) => log.say(lines.as_bytes()),
    }
    finish();
}

fn finish() {
    if let Some(log) = LOG.get() {
        log.finish(END_LIMIT);
    }
}

/// Lines of the log that were dropped because nobody read them.
pub fn lost() -> u64 {
    LOG.get().map_or(0, Lines::lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_goes_before_verbose() {
        let level = |verbose, is_quiet| Verbosity { verbose, is_quiet }.level();
        assert_eq!(level(0, false), LevelFilter::INFO);
        assert_eq!(level(1, false), LevelFilter::DEBUG);
        assert_eq!(level(2, false), LevelFilter::TRACE);
        assert_eq!(level(3, true), LevelFilter::ERROR);
    }
}
