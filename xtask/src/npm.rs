//! Installing pinned packages of npm.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::command::Invocation;
use crate::host;

/// LIMIT: tries of one installation. What earlier ones fetched is in npm's cache.
const TRIES: u32 = 3;

/// Time for a registry that broke off to recover.
const PAUSE: Duration = Duration::from_secs(10);

/// Lines of npm's own log that are shown of a failed try.
const SHOWN_LINES: usize = 15;

/// Installs what the lock file in `folder` pins, into its `node_modules`, without running any script
/// of a package.
pub(crate) fn install(folder: &Path, arguments: &[&str]) -> Result<()> {
    if host::find_program("npm").is_none() {
        bail!("npm is missing; it installs the Node clients and programs that live tests watch");
    }
    let mut tried = 1;
    loop {
        let run = Invocation::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            // The cache lies in the folder, and so does the log of a failure.
            .args(["--loglevel=error", "--cache=.cache"])
            // Many large files at once are what registries break off.
            .args(["--maxsockets=4", "--fetch-retries=5"])
            .args(arguments)
            .directory(folder)
            .run();
        match run {
            Err(failed) if tried < TRIES => {
                println!("setup: {failed:#}; trying again");
                show_log(folder)?;
                tried += 1;
                thread::sleep(PAUSE);
            }
            Err(failed) => {
                show_log(folder)?;
                return Err(failed);
            }
            Ok(()) => break,
        }
    }
    fs::remove_dir_all(folder.join(".cache")).context("cannot remove npm's cache")
}

/// Shows the end of the newest log, which tells more than npm prints.
fn show_log(folder: &Path) -> Result<()> {
    let logs = folder.join(".cache/_logs");
    if !logs.exists() {
        return Ok(());
    }
    let mut newest = None;
    for entry in fs::read_dir(&logs).context("cannot read npm's logs")? {
        let path = entry?.path();
        newest = newest.max(Some(path));
    }
    if let Some(path) = newest {
        let text = fs::read_to_string(&path).context("cannot read npm's log")?;
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(SHOWN_LINES);
        for line in lines.iter().skip(from) {
            println!("npm: {line}");
        }
    }
    Ok(())
}
