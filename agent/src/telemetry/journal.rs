//! Lines for systemd's journal: without a time, which it adds, and with the priority that it reads.

use std::fmt;
use std::os::fd::AsFd;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, format};
use tracing_subscriber::registry::LookupSpan;

/// Whether a file is the one that `JOURNAL_STREAM` names, as "device:inode" (systemd.exec(5)): the
/// variable is inherited, also by commands whose output goes elsewhere.
pub(super) fn is_stream(named: &str, file: impl AsFd) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// The number of a level, as syslog(3) has it, in the form of sd-daemon(3).
pub(super) const fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

/// The form of lines for the journal.
#[derive(Debug)]
pub(super) struct Prioritised;

impl<S, N> FormatEvent<S, N> for Prioritised
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writer.write_str(priority(*event.metadata().level()))?;
        format()
            .without_time()
            .with_target(false)
            .format_event(context, writer, event)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::super::Lines;
    use super::*;

    #[test]
    fn the_journal_is_the_file_that_its_variable_names() {
        let (one, other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let of_one = one.metadata().unwrap();
        let named = format!("{}:{}", of_one.dev(), of_one.ino());
        assert!(is_stream(&named, &one));
        assert!(!is_stream(&named, &other));
        assert!(!is_stream("", &one));
    }

    #[test]
    fn a_line_for_the_journal_has_its_priority_and_no_time() {
        use std::io::{BufRead as _, BufReader};
        let (reader, writer) = std::io::pipe().unwrap();
        let lines = Lines::start("test", writer).unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .event_format(Prioritised)
            .with_writer(lines)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!("gone");
            tracing::warn!(files = 2, "few");
            tracing::info!("watching");
        });
        let said: Vec<String> = BufReader::new(reader)
            .lines()
            .take(3)
            .map(Result::unwrap)
            .collect();
        assert_eq!(
            said,
            ["<3>ERROR gone", "<4> WARN few files=2", "<6> INFO watching"]
        );
    }
}
