//! The two files of a process that hold secrets. What is wanted of them is taken, and the rest is
//! overwritten before anything else happens.

use std::path::Path;

use agent_core::event::Marker;
use agent_core::glob;

use super::open::{self, Wiped};

/// LIMIT: bytes read of an environment, the most that a shell has by default many times over. A
/// marker behind them is not seen.
const MAX_ENVIRONMENT_BYTES: usize = 256 * 1_024;

/// LIMIT: bytes read of a command line. A pattern is not matched against what lies beyond.
const MAX_ARGUMENTS_BYTES: usize = 64 * 1_024;

/// What the marker variable says in the environment with which a process was started.
pub(super) fn marker(dir: &Path) -> Option<Marker> {
    let file = open::regular_at(&dir.join("environ"))?;
    marker_in(Wiped::read(file, MAX_ENVIRONMENT_BYTES)?.bytes())
}

/// The first one counts, as it does for getenv(3).
fn marker_in(environment: &[u8]) -> Option<Marker> {
    let value = environment.split(|byte| *byte == 0).find_map(|variable| {
        variable
            .strip_prefix(Marker::VARIABLE.as_bytes())?
            .strip_prefix(b"=")
    })?;
    Marker::parse(&String::from_utf8_lossy(value))
}

/// Numbers of the patterns that a process's whole command line matches.
pub(super) fn matched_arguments(dir: &Path, patterns: &[String]) -> Vec<u16> {
    if patterns.is_empty() {
        return Vec::new();
    }
    let file = open::regular_at(&dir.join("cmdline"));
    let Some(mut line) = file.and_then(|file| Wiped::read(file, MAX_ARGUMENTS_BYTES)) else {
        return Vec::new();
    };
    matched(line.bytes_mut(), patterns)
}

/// The arguments are joined with blanks in their place: a copy would have to be overwritten as well.
/// What is no text ends the line.
fn matched(line: &mut [u8], patterns: &[String]) -> Vec<u16> {
    for byte in line.iter_mut().filter(|byte| **byte == 0) {
        *byte = b' ';
    }
    let line = line.trim_ascii_end().utf8_chunks().next();
    let line = line.map(|chunk| chunk.valid()).unwrap_or_default();
    let numbers = (0..=u16::MAX).zip(patterns);
    numbers
        .filter(|(_, pattern)| glob::matches(pattern, line))
        .map(|(number, _)| number)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marker_is_taken_from_an_environment() {
        let environment = b"A=1\0XBPFTOK_WORKFLOW=no\0BPFTOK_WORKFLOW=nightly,team=infra\0KEY=sk-1\0BPFTOK_WORKFLOW=late\0";
        assert_eq!(
            marker_in(environment),
            Some(Marker {
                name: "nightly".to_owned(),
                labels: vec![("team".to_owned(), "infra".to_owned())],
            })
        );
        for without in [
            b"".as_slice(),
            b"BPFTOK_WORKFLOW",
            b"BPFTOK_WORKFLOW=\0",
            b"BPFTOK_WORKFLOWS=x\0",
        ] {
            assert_eq!(marker_in(without), None);
        }
    }

    #[test]
    fn a_pattern_is_matched_against_the_whole_command_line() {
        let patterns = ["*review*", "python3 -m app", "*--token=é*", "review"].map(str::to_owned);
        let numbers = |line: &str| matched(&mut line.as_bytes().to_vec(), &patterns);
        assert_eq!(numbers("bot\0--review\0pr\0"), [0]);
        assert_eq!(numbers("python3\0-m\0app\0"), [1]);
        assert!(numbers("").is_empty());
        assert_eq!(numbers("bot\0--token=é\0review\0\0"), [0, 2]);
        let mut not_text = [b"review".as_slice(), &[0xff], b" -m"].concat();
        assert_eq!(matched(&mut not_text, &patterns), [0, 3]);
    }

    #[test]
    fn without_patterns_no_command_line_is_read() {
        let dir = Path::new("/proc/self");
        assert!(matched_arguments(dir, &[]).is_empty());
        assert_eq!(matched_arguments(dir, &["*".to_owned()]), [0]);
    }
}
