//! What the endpoint remembers, in memory and in files.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use crate::served::{Other, Served};

/// File in the endpoint's directory that gets a JSON line for each served call. The last line of
/// a number counts: a call that the client cut off at its very end gets a second one.
pub const SERVED_FILE: &str = "served.jsonl";

/// File in the endpoint's directory that gets a JSON line for each request that was no call.
pub const OTHER_FILE: &str = "other.jsonl";

/// LIMIT: requests that were no calls, 100,000 (some 20 MB); later ones are in the file only.
const MAX_OTHERS: usize = 100_000;

/// What was served.
#[derive(Debug)]
pub(super) struct Records {
    served: Mutex<HashMap<u64, Served>>,
    recorded: Condvar,
    others: Mutex<Vec<Other>>,
    served_log: Mutex<File>,
    other_log: Mutex<File>,
}

impl Records {
    /// Empty ones, whose files lie in `dir`.
    pub(super) fn in_dir(dir: &Path) -> anyhow::Result<Self> {
        let open = |name: &str| {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(dir.join(name));
            file.with_context(|| format!("cannot write {name}"))
        };
        Ok(Self {
            served: Mutex::default(),
            recorded: Condvar::new(),
            others: Mutex::default(),
            served_log: Mutex::new(open(SERVED_FILE)?),
            other_log: Mutex::new(open(OTHER_FILE)?),
        })
    }

    /// Remembers a call, in place of what was remembered of its number.
    pub(super) fn serve(&self, served: Served) -> anyhow::Result<()> {
        log(&self.served_log, &served)?;
        lock(&self.served).insert(served.number, served);
        self.recorded.notify_all();
        Ok(())
    }

    /// Remembers a request that was no call.
    pub(super) fn pass(&self, other: Other) -> anyhow::Result<()> {
        log(&self.other_log, &other)?;
        let mut others = lock(&self.others);
        if others.len() < MAX_OTHERS {
            others.push(other);
        }
        Ok(())
    }

    /// The calls, in the order of their numbers.
    pub(super) fn served(&self) -> Vec<Served> {
        let mut served: Vec<_> = lock(&self.served).values().cloned().collect();
        served.sort_by_key(|served| served.number);
        served
    }

    /// The calls once there are `count`, or what there is after `limit`.
    pub(super) fn served_when(&self, count: usize, limit: Duration) -> Vec<Served> {
        let deadline = Instant::now() + limit;
        let mut served = lock(&self.served);
        while served.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.recorded.wait_timeout(served, left);
            served = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(served);
        self.served()
    }

    /// The requests that were no calls.
    pub(super) fn others(&self) -> Vec<Other> {
        lock(&self.others).clone()
    }
}

fn log(file: &Mutex<File>, entry: &impl Serialize) -> anyhow::Result<()> {
    let line = serde_json::to_string(entry)?;
    writeln!(lock(file), "{line}").context("cannot write what was served")
}

/// A panic in one connection must not hide what the others served.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
