//! What the agent says about itself while it runs.

use std::env;
use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

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

/// Sends log lines to standard error: plain, and without a time where the journal adds its own.
/// The variable `BPFTOK_LOG` sets levels by module and goes before the flags. A second call does
/// nothing.
pub fn start(verbosity: Verbosity) {
    let filter = EnvFilter::builder()
        .with_default_directive(verbosity.level().into())
        .with_env_var("BPFTOK_LOG")
        .from_env_lossy();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false);
    // systemd sets JOURNAL_STREAM where standard output or error goes to the journal.
    let started = if env::var_os("JOURNAL_STREAM").is_some() {
        lines.without_time().with_target(false).try_init()
    } else {
        lines.with_target(false).try_init()
    };
    // Only a second call fails.
    drop(started);
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
