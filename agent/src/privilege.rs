//! What the agent may do, and what it makes sure nobody can do to it.
//!
//! Order: [`check`] before anything is opened, [`protect`] before any thread is started and any
//! plaintext is in memory. Then each thread gives up what it does not need ([`keep`]) as soon as it
//! does not: rights are those of threads. That is care and no wall, because threads share memory.

use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::thread::CapabilitySets;
use thiserror::Error;

pub use rustix::thread::CapabilitySet as Rights;

/// No right at all.
pub const NOTHING: Rights = Rights::empty();

/// Loading kernel programs and making their maps.
pub const LOADING: Rights = Rights::BPF.union(Rights::PERFMON);

/// Looking at processes and files of other users: their executables and mappings, files that only
/// their owner may read, and those that are mapped and have no name any more
/// (`/proc/PID/map_files`, Linux 5.9).
pub const READING: Rights = Rights::SYS_PTRACE
    .union(Rights::DAC_READ_SEARCH)
    .union(Rights::CHECKPOINT_RESTORE);

/// Becoming a user without rights, for the commands of channels. A service with a user of its own
/// never has these.
pub const BECOMING: Rights = Rights::SETUID.union(Rights::SETGID);

/// What root needs for a ledger in a folder of the user who became root, and to end its children.
/// A service with a user of its own never has these.
pub const WRITING: Rights = Rights::CHOWN
    .union(Rights::DAC_OVERRIDE)
    .union(Rights::FOWNER)
    .union(Rights::KILL);

/// Attaching perf uprobes, one by one. Links of `uprobe_multi` need nothing once the programs are
/// loaded.
pub const ATTACHING_SINGLY: Rights = LOADING.union(Rights::SYS_ADMIN);

/// Names of the rights that an agent may have for a purpose of its own.
const NAMES: [(Rights, &str); 12] = [
    (Rights::CHECKPOINT_RESTORE, "CAP_CHECKPOINT_RESTORE"),
    (Rights::CHOWN, "CAP_CHOWN"),
    (Rights::DAC_OVERRIDE, "CAP_DAC_OVERRIDE"),
    (Rights::DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"),
    (Rights::FOWNER, "CAP_FOWNER"),
    (Rights::KILL, "CAP_KILL"),
    (Rights::SETGID, "CAP_SETGID"),
    (Rights::SETUID, "CAP_SETUID"),
    (Rights::SYS_PTRACE, "CAP_SYS_PTRACE"),
    (Rights::SYS_ADMIN, "CAP_SYS_ADMIN"),
    (Rights::PERFMON, "CAP_PERFMON"),
    (Rights::BPF, "CAP_BPF"),
];

/// The agent lacks rights.
#[derive(Debug, Error)]
#[error("watching needs {missing}: {remedy}")]
pub struct Missing {
    /// Rights that are missing.
    missing: &'static str,
    remedy: &'static str,
}

const AS_ROOT: &str = "run as root, for example with sudo";

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
    if !in_initial_user_namespace() {
        // Capabilities count for what belongs to this namespace only, and the kernel does not.
        return Err(Missing {
            missing: "rights on the host, which not even root has in a user namespace of its own",
            remedy: "run outside of this container",
        });
    }
    match missing(effective()) {
        None => Ok(()),
        Some(missing) => Err(Missing {
            missing,
            remedy: AS_ROOT,
        }),
    }
}

/// The kernel gives the initial user namespace a fixed inode number
/// (include/linux/proc_ns.h, `PROC_USER_INIT_INO`).
fn in_initial_user_namespace() -> bool {
    std::fs::read_link("/proc/self/ns/user")
        .map_or(true, |link| link.as_os_str() == "user:[4026531837]")
}

/// Whether perf uprobes, which kernels without `uprobe_multi` have, may be attached.
///
/// # Errors
///
/// Names the capability that is missing.
pub fn check_attaching_singly() -> Result<(), Missing> {
    if effective().contains(Rights::SYS_ADMIN) {
        Ok(())
    } else {
        Err(Missing {
            missing: "CAP_SYS_ADMIN (this kernel has no uprobe_multi)",
            remedy: AS_ROOT,
        })
    }
}

/// What of looking at other users' processes this one may not do, in a sentence.
pub fn shortfall() -> Option<&'static str> {
    let held = effective();
    match (
        held.contains(Rights::SYS_PTRACE),
        held.contains(Rights::DAC_READ_SEARCH),
    ) {
        (true, true) => None,
        (false, _) => Some("without CAP_SYS_PTRACE programs of other users are not found"),
        (true, false) => Some(
            "without CAP_DAC_READ_SEARCH programs that only their owner may read are not found",
        ),
    }
}

/// Gives up all rights of this thread but `kept`, for good; what it starts has no more.
pub fn keep(kept: Rights) {
    let result = rustix::thread::capabilities(None).and_then(|held| {
        rustix::thread::set_capabilities(
            None,
            CapabilitySets {
                effective: held.effective & kept,
                permitted: held.permitted & kept,
                inheritable: Rights::empty(),
            },
        )
    });
    if let Err(error) = result {
        tracing::warn!(%error, "rights can't be given up");
    }
}

/// The rights of this thread, by name.
pub fn held() -> Vec<String> {
    names(effective())
}

/// Rights by name; those that no purpose of the agent needs are only counted.
pub fn names(rights: Rights) -> Vec<String> {
    let mut names: Vec<_> = NAMES
        .iter()
        .filter(|(right, _)| rights.contains(*right))
        .map(|(_, name)| (*name).to_owned())
        .collect();
    let all = NAMES
        .iter()
        .fold(Rights::empty(), |all, (right, _)| all | *right);
    let others = (rights - all).bits().count_ones();
    if others > 0 {
        names.push(format!("{others} others"));
    }
    names
}

/// Observed plaintext passes through this process: keeps it out of core dumps, other processes of
/// the same user out of this one, and its rights out of those that it starts.
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
    // They would come into what the agent starts, which needs none of them. A kernel without them
    // has nothing to give up.
    if let Err(error) = rustix::thread::clear_ambient_capability_set() {
        tracing::debug!(%error, "there are no ambient rights");
    }
}

/// Each hooked file takes three open ones: as many may be open as whoever started the agent allows, not
/// as few as programs get that never need more.
pub fn allow_files() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let highest = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, highest) {
        tracing::debug!(%error, "the limit of open files stays");
    }
}

/// None where they can't be told: then what needs them says so.
fn effective() -> Rights {
    rustix::thread::capabilities(None).map_or(Rights::empty(), |sets| sets.effective)
}

const fn missing(effective: Rights) -> Option<&'static str> {
    // CAP_SYS_ADMIN includes the other two (capabilities(7)).
    if effective.contains(Rights::SYS_ADMIN) {
        return None;
    }
    match (
        effective.contains(Rights::BPF),
        effective.contains(Rights::PERFMON),
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
        let (bpf, perfmon) = (Rights::BPF, Rights::PERFMON);
        let none = Rights::empty();
        assert_eq!(missing(none), Some("CAP_BPF and CAP_PERFMON"));
        assert_eq!(missing(bpf), Some("CAP_PERFMON"));
        assert_eq!(missing(perfmon), Some("CAP_BPF"));
        assert_eq!(missing(bpf | perfmon), None);
        assert_eq!(missing(Rights::SYS_ADMIN), None);
        let lacking = Missing {
            missing: "CAP_BPF",
            remedy: AS_ROOT,
        };
        assert_eq!(
            lacking.to_string(),
            "watching needs CAP_BPF: run as root, for example with sudo"
        );
    }

    #[test]
    fn a_thread_keeps_only_what_it_says_and_others_keep_theirs() {
        let before = effective();
        std::thread::spawn(|| {
            keep(READING);
            assert!((effective() - READING).is_empty());
            keep(Rights::empty());
            assert_eq!(held(), Vec::<String>::new());
        })
        .join()
        .unwrap();
        assert_eq!(effective(), before);
    }
}
