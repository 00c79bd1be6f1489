//! `bpftok exec`: runs a command under the marker that names its workflow.
//!
//! It needs no rights, asks no agent and stays no process: the command takes its place, with its
//! input, its signals and its exit status.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use agent_core::event::Marker;

/// Why a command was not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name can't be one.
    #[error(
        "{0:?} is no name of a workflow; use 1 to {most} bytes without commas and control characters, and \
         without blanks at its ends",
        most = Marker::WORD_BYTES
    )]
    Name(String),
    /// A label can't be one.
    #[error(
        "{0:?} is no label; write it as in team=infra: a key without \"=\" and a value of 1 to {most} bytes \
         each, without commas and control characters",
        most = Marker::WORD_BYTES
    )]
    Label(String),
    /// Two labels have the same key.
    #[error("the label {0:?} is given twice")]
    Twice(String),
    /// There are more labels than a marker may have.
    #[error("{0} labels are too many, at most {most} are possible, the billing code included", most = Marker::LABELS)]
    TooMany(usize),
    /// The command does not exist.
    #[error("{command:?} was not found")]
    NotFound {
        /// Command.
        command: OsString,
    },
    /// The command can't be executed.
    #[error("{command:?} can't be executed")]
    NotExecutable {
        /// Command.
        command: OsString,
        /// What the system said.
        source: io::Error,
    },
}

/// The value of the marker's variable for a name and labels.
///
/// # Errors
/// Those of [`Error`] that say what a marker can't hold.
pub fn marker(name: &str, labels: &[(String, String)]) -> Result<String, Error> {
    // What an agent would read out of it is what is meant, or else it is refused.
    if Marker::parse(name).is_none_or(|read| read.name != name || !read.labels.is_empty()) {
        return Err(Error::Name(name.to_owned()));
    }
    if labels.len() > Marker::LABELS {
        return Err(Error::TooMany(labels.len()));
    }
    let mut value = name.to_owned();
    for (place, (key, text)) in labels.iter().enumerate() {
        let written = format!("{key}={text}");
        let read = Marker::parse(&format!("x,{written}")).map(|marker| marker.labels);
        if read.is_none_or(|read| read != [(key.clone(), text.clone())]) {
            return Err(Error::Label(written));
        }
        if labels.iter().take(place).any(|(earlier, _)| earlier == key) {
            return Err(Error::Twice(key.clone()));
        }
        value.push(',');
        value.push_str(&written);
    }
    Ok(value)
}

/// Puts a command in the place of this process, under a marker. It returns only if that failed.
pub fn run(marker: &str, command: &OsString, arguments: &[OsString]) -> Error {
    let failed = Command::new(command)
        .args(arguments)
        .env(Marker::VARIABLE, marker)
        .exec();
    let command = command.clone();
    if failed.kind() == io::ErrorKind::NotFound {
        Error::NotFound { command }
    } else {
        Error::NotExecutable {
            command,
            source: failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_marker_says_what_was_asked_for() {
        let labels = labels(&[("team", "infra=1"), ("billing_code", "CC 44")]);
        let value = marker("nightly triage", &labels).unwrap();
        assert_eq!(value, "nightly triage,team=infra=1,billing_code=CC 44");
        let expected = Marker {
            name: "nightly triage".to_owned(),
            labels,
        };
        assert_eq!(Marker::parse(&value), Some(expected));
    }

    #[test]
    fn what_an_agent_would_read_differently_is_refused() {
        for name in ["", " a", "a,b", "a\nb", &"x".repeat(65)] {
            assert!(matches!(marker(name, &[]), Err(Error::Name(_))), "{name:?}");
        }
        for (key, value) in [("", "x"), ("a", ""), ("a", "b,c"), (" a", "b"), ("a", "\t")] {
            let refused = marker("name", &labels(&[(key, value)]));
            assert!(matches!(refused, Err(Error::Label(_))), "{key:?} {value:?}");
        }
        let twice = marker("name", &labels(&[("a", "1"), ("b", "1"), ("a", "2")]));
        assert!(matches!(twice, Err(Error::Twice(_))));
        let many = vec![("a".to_owned(), "b".to_owned()); 9];
        assert!(matches!(marker("name", &many), Err(Error::TooMany(9))));
    }
}
