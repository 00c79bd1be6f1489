//! What the agent may do, and what it makes sure nobody can do to it.
//!
//! Order: [`check`] before anything is opened, [`protect`] before any plaintext is in memory.

use std::fs;

use rustix::process::{DumpableBehavior, Resource, Rlimit};
use thiserror::Error;

/// Bits of capabilities (include/uapi/linux/capability.h).
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// The agent lacks rights.
#[derive(Debug, Error)]
#[error("watching needs {missing}: run as root, for example with sudo")]
pub struct Missing {
    /// Rights that are missing.
    missing: &'static str,
}

impl Missing {
    /// The capabilities that are missing, by name.
    pub const fn missing(&self) -> &'static str {
        self.missing
    }
}

/// Whether this process may load kernel programs at all, before anything is opened or made.
///
/// # Errors
///
/// Names the capabilities that are missing.
pub fn check() -> Result<(), Missing> {
    match missing(effective_capabilities()) {
        None => Ok(()),
        Some(missing) => Err(Missing { missing }),
    }
}

/// Observed plaintext passes through this process: keeps it out of core dumps, and other processes
/// of the same user out of this one.
pub fn protect() {
    let no_core = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let results = [
        // A piped core handler ignores the limit, so both are needed (core(5)).
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable),
        rustix::process::setrlimit(Resource::Core, no_core),
    ];
    for error in results.into_iter().filter_map(Result::err) {
        tracing::warn!(%error, "core dumps can't be switched off");
    }
}

fn effective_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or(0)
}

const fn missing(effective: u64) -> Option<&'static str> {
    // CAP_SYS_ADMIN includes the other two (capabilities(7)).
    if effective & (1 << CAP_SYS_ADMIN) != 0 {
        return None;
    }
    match (
        effective & (1 << CAP_BPF) != 0,
        effective & (1 << CAP_PERFMON) != 0,
    ) {
        (true, true) => None,
        (false, true) => Some("CAP_BPF"),
        (true, false) => Some("CAP_PERFMON"),
        (false, false) => Some("CAP_BPF and CAP_PERFMON"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let bpf = 1 << CAP_BPF;
        let perfmon = 1 << CAP_PERFMON;
        assert_eq!(missing(0), Some("CAP_BPF and CAP_PERFMON"));
        assert_eq!(missing(bpf), Some("CAP_PERFMON"));
        assert_eq!(missing(perfmon), Some("CAP_BPF"));
        assert_eq!(missing(bpf | perfmon), None);
        assert_eq!(missing(1 << CAP_SYS_ADMIN), None);
        let message = Missing { missing: "CAP_BPF" }.to_string();
        assert_eq!(
            message,
            "watching needs CAP_BPF: run as root, for example with sudo"
        );
    }
}
