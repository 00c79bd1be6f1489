//! Child processes that are shown before they run.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::{io, thread};

use anyhow::{Context as _, Result, bail};

use crate::tally::Tally;

/// A command line: printed as it could be typed, then run.
pub(crate) struct Invocation {
    command: Command,
    shown: String,
}

impl Invocation {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        Self {
            command: Command::new(program),
            shown: quoted(&program.to_string_lossy()),
        }
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument.as_ref());
        self.shown.push(' ');
        self.shown
            .push_str(&quoted(&argument.as_ref().to_string_lossy()));
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = A>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Sets a variable of the child that the reader needs to know.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value.as_ref());
        self.shown = format!(
            "{name}={} {}",
            quoted(&value.as_ref().to_string_lossy()),
            self.shown
        );
        self
    }

    /// Sets a variable of the child without showing it.
    pub(crate) fn quiet_env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value.as_ref());
        self
    }

    pub(crate) fn without_env(mut self, name: impl AsRef<OsStr>) -> Self {
        self.command.env_remove(name);
        self
    }

    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    pub(crate) fn stdin(mut self, from: Stdio) -> Self {
        self.command.stdin(from);
        self
    }

    pub(crate) fn stdout(mut self, to: Stdio) -> Self {
        self.command.stdout(to);
        self
    }

    pub(crate) fn stderr(mut self, to: Stdio) -> Self {
        self.command.stderr(to);
        self
    }

    /// Runs to the end; anything but success is an error.
    pub(crate) fn run(mut self) -> Result<()> {
        self.announce();
        let status = self
            .command
            .status()
            .with_context(|| format!("cannot start {}", self.shown))?;
        self.check(status)
    }

    /// Runs to the end, passing both outputs on line by line and letting `tally` count in them.
    pub(crate) fn watch(mut self, tally: &mut Tally) -> Result<()> {
        self.announce();
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.shown))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let tally = Mutex::new(tally);
        thread::scope(|scope| {
            scope.spawn(|| stderr.map(|pipe| pass_on(pipe, &tally)));
            if let Some(pipe) = stdout {
                pass_on(pipe, &tally);
            }
        });
        let status = child
            .wait()
            .with_context(|| format!("cannot wait for {}", self.shown))?;
        self.check(status)
    }

    /// Standard output of a successful run, shown; for commands whose output is an answer.
    pub(crate) fn read(mut self) -> Result<String> {
        self.announce();
        let output = self
            .command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start {}", self.shown))?;
        self.check(output.status)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Standard output of a question, asked without being shown; `None` where the program is
    /// missing or fails.
    pub(crate) fn ask(mut self) -> Option<String> {
        let output = self
            .command
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts without waiting.
    pub(crate) fn start(mut self) -> Result<Child> {
        self.announce();
        self.command
            .spawn()
            .with_context(|| format!("cannot start {}", self.shown))
    }

    /// Replaces this process; returns only if that fails.
    pub(crate) fn become_it(mut self) -> Result<std::process::ExitCode> {
        self.announce();
        let error = self.command.exec();
        Err(error).with_context(|| format!("cannot start {}", self.shown))
    }

    fn announce(&self) {
        println!("+ {}", self.shown);
        // Standard output may be a file, and the child writes to it at once.
        drop(io::stdout().flush());
    }

    fn check(&self, status: ExitStatus) -> Result<()> {
        if !status.success() {
            bail!("{status}: {}", self.shown);
        }
        Ok(())
    }
}

/// Prints the lines of one of two pipes; the lock keeps lines whole.
fn pass_on(pipe: impl Read, tally: &Mutex<&mut Tally>) {
    for line in lines(pipe) {
        let Ok(mut tally) = tally.lock() else { return };
        println!("{line}");
        tally.see(&line);
    }
}

/// Lines of a pipe, whatever bytes they hold.
pub(crate) fn lines(pipe: impl Read) -> impl Iterator<Item = String> {
    BufReader::new(pipe)
        .split(b'\n')
        .map_while(Result::ok)
        .map(|line| {
            let line = String::from_utf8_lossy(&line);
            line.trim_end_matches('\r').to_owned()
        })
}

/// A word as a shell would need it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_could_be_typed() {
        let invocation = Invocation::new("cargo")
            .arg("+1.98.0")
            .arg("it's")
            .arg("")
            .env("RUSTDOCFLAGS", "-D warnings");

        assert_eq!(
            invocation.shown,
            r"RUSTDOCFLAGS='-D warnings' cargo +1.98.0 'it'\''s' ''"
        );
    }

    #[test]
    fn watching_counts_in_both_outputs_and_reports_the_exit_status() {
        let mut tally = Tally::default();
        let script =
            "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'; echo 'SKIP a: b' >&2; exit 3";

        let error = Invocation::new("sh")
            .args(["-c", script])
            .watch(&mut tally)
            .unwrap_err();

        assert!(error.to_string().starts_with("exit status: 3"), "{error}");
        assert_eq!((tally.passed, tally.skips), (2, vec!["a: b".to_owned()]));
    }

    #[test]
    fn a_question_to_a_missing_program_has_no_answer() {
        assert_eq!(Invocation::new("no-such-program-at-all").ask(), None);
    }

    #[test]
    fn lines_may_hold_any_bytes() {
        let read: Vec<String> = lines(&b"one\r\n\xff\nthree"[..]).collect();

        assert_eq!(read, ["one", "\u{fffd}", "three"]);
    }
}
