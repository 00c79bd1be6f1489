//! How a report is written: format, colour, and the pager.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::{Command, Stdio};

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns for people, as many as fit.
    #[default]
    Table,
    /// All columns for people, however wide.
    Wide,
    /// One document.
    Json,
    /// One document a row, each on a line.
    Ndjson,
    /// Comma-separated values with a header line.
    Csv,
    /// The same, separated by tabs.
    Tsv,
    /// A table of Markdown.
    Md,
}

impl Format {
    /// Whether a person reads it.
    pub const fn is_for_people(self) -> bool {
        match self {
            Self::Table | Self::Wide | Self::Md => true,
            Self::Json | Self::Ndjson | Self::Csv | Self::Tsv => false,
        }
    }

    /// Whether it is for a terminal.
    pub const fn is_text(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// When there is colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set; anywhere if CLICOLOR_FORCE is.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// What it comes to, for standard output.
    pub fn style(self) -> Style {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_coloured = match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto if is_set("NO_COLOR") => false,
            Self::Auto
                if is_set("CLICOLOR_FORCE")
                    && std::env::var_os("CLICOLOR_FORCE").is_none_or(|value| value != "0") =>
            {
                true
            }
            Self::Auto => {
                io::stdout().is_terminal()
                    && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        };
        if is_coloured {
            Style::Coloured
        } else {
            Style::Plain
        }
    }
}

/// Whether there is colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// There is none.
    Plain,
    /// There is.
    Coloured,
}

/// What a part of a text looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Bold,
    Dim,
}

impl Style {
    pub(super) fn painted(self, text: &str, paint: Paint) -> Cow<'_, str> {
        let code = match (self, paint) {
            (Self::Plain, _) | (_, Paint::Plain) => return Cow::Borrowed(text),
            (Self::Coloured, Paint::Bold) => "1",
            (Self::Coloured, Paint::Dim) => "2",
        };
        if text.is_empty() {
            return Cow::Borrowed(text);
        }
        Cow::Owned(format!("\u{1b}[{code}m{text}\u{1b}[0m"))
    }
}

/// Writes to standard output a text for people: through a pager where it is longer than the screen.
///
/// # Errors
/// The output is gone.
pub fn write_paged(text: &[u8]) -> io::Result<()> {
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    let is_long = terminal_size::terminal_size()
        .is_some_and(|(_, terminal_size::Height(rows))| lines >= usize::from(rows));
    if is_long && io::stdout().is_terminal() && through_pager(text)? {
        return Ok(());
    }
    io::stdout().lock().write_all(text)
}

/// Lets the user's pager show it; false if none can be started.
fn through_pager(text: &[u8]) -> io::Result<bool> {
    let asked = std::env::var_os("PAGER");
    let pager = match &asked {
        // An empty one, or cat, means none.
        Some(pager) if pager.is_empty() || pager == "cat" => return Ok(false),
        Some(pager) => pager.as_os_str(),
        None => std::ffi::OsStr::new("less"),
    };
    // PAGER is a command line, as everywhere.
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(pager).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        command.env("LESS", "FRX");
    }
    // Who reads a report as root gets no shell out of the pager.
    command.env("LESSSECURE", "1");
    let Ok(mut child) = command.spawn() else {
        return Ok(false);
    };
    if let Some(mut stdin) = child.stdin.take() {
        // Who leaves the pager before the end has read enough.
        match stdin.write_all(text) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    // 127: the shell found no such program, and nothing was shown.
    let status = child.wait()?;
    Ok(status.code() != Some(127))
}
