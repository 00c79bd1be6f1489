//! A process that observes others, and what it says.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Longest wait for an observer to be attached.
pub(crate) const ATTACH_LIMIT: Duration = Duration::from_secs(60);

/// A path that `cargo xtask bench` names.
pub(crate) fn required(name: &str) -> Result<PathBuf> {
    let value =
        env::var_os(name).with_context(|| format!("{name} is not set; run `cargo xtask bench`"))?;
    Ok(value.into())
}

/// A process that observes.
pub(crate) struct Observer {
    child: Child,
    /// Lines of its standard error, and when they came.
    lines: Receiver<(Instant, String)>,
}

impl Observer {
    /// Starts the agent, as `command` does, on a ledger in `dir`, and waits until it is ready.
    pub(crate) fn agent(mut command: Command, dir: &Path) -> Result<Self> {
        let child = command
            .args(["run", "--db"])
            .arg(dir.join("usage.db"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("the agent can't be started")?;
        let observer = Self::new(child)?;
        observer.said("ready")?;
        Ok(observer)
    }

    /// Reads on until the child ends, so that it never waits for a reader.
    pub(crate) fn new(mut child: Child) -> Result<Self> {
        let lines = BufReader::new(child.stderr.take().context("no pipe")?).lines();
        let (sender, receiver) = channel();
        thread::spawn(move || {
            for line in lines.map_while(std::io::Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            lines: receiver,
        })
    }

    /// Waits for a line with `word`, and says when it came.
    pub(crate) fn said(&self, word: &str) -> Result<(Instant, String)> {
        let mut last = String::new();
        let deadline = Instant::now() + ATTACH_LIMIT;
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok((at, line)) if line.contains(word) => return Ok((at, line)),
                Ok((_, line)) => last = line,
                Err(RecvTimeoutError::Disconnected) => bail!("it ended: {last}"),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("it did not say {word} within {} s", ATTACH_LIMIT.as_secs())
                }
            }
        }
    }

    /// Asks it to stop and waits for its end.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .context("no kill")?;
        let deadline = Instant::now() + ATTACH_LIMIT;
        while self
            .child
            .try_wait()
            .context("it can't be waited for")?
            .is_none()
        {
            if Instant::now() > deadline {
                self.child.kill().context("it can't be ended")?;
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}
