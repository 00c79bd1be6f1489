//! From the kernel to a byte stream: loads the programs, finds what to hook, reads the ring.

pub mod attach;
pub mod checks;
pub mod discover;
pub mod executables;
mod files;
pub mod hooks;
mod inspect;
pub mod latency;
mod ld_cache;
pub mod loader;
mod looks;
mod mappings;
mod maps;
mod places;
pub mod reader;
mod reported;
mod results;
mod room;
pub mod self_check;
pub mod sites;
pub mod support;
mod watch;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why capture can't start or can't go on.
#[derive(Debug, Error)]
pub enum Error {
    /// The kernel is too old.
    #[error("kernel {found} is too old: bpftok needs {} or later", support::OLDEST)]
    KernelTooOld {
        /// Running kernel.
        found: support::KernelVersion,
    },
    /// The kernel lets no program of its own read the memory of others.
    #[error(
        "the kernel is locked down (lockdown=confidentiality) and lets no probe read what programs send: boot with lockdown=integrity"
    )]
    LockedDown,
    /// The agent was built without its kernel programs.
    #[error(
        "this binary was built without its kernel programs (AYA_BUILD_SKIP): build it again without that variable"
    )]
    EmptyObject,
    /// Loading needs rights that the agent does not have.
    #[error(
        "loading kernel programs is not permitted: run as root (or with CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH; before Linux 6.6 also CAP_SYS_ADMIN)"
    )]
    NotPermitted(#[source] io::Error),
    /// The object file can't be loaded.
    #[error("the kernel programs can't be loaded; `bpftok doctor` shows what this kernel lacks")]
    Object(#[source] aya::EbpfError),
    /// A program is refused by the kernel.
    #[error(
        "the kernel refuses the program {program}; `bpftok doctor` shows what this kernel lacks"
    )]
    Program {
        /// Program.
        program: &'static str,
        /// Reason.
        #[source]
        source: aya::programs::ProgramError,
    },
    /// A map can't be used.
    #[error("the kernel map {map} can't be used")]
    Map {
        /// Map.
        map: &'static str,
        /// Reason.
        #[source]
        source: aya::maps::MapError,
    },
    /// The object lacks a program or a map that the agent knows.
    #[error("the kernel programs lack {0}: the object and the agent are of different versions")]
    Missing(&'static str),
    /// The ring can't be waited for.
    #[error("the ring buffer can't be waited for")]
    Wait(#[source] io::Error),
}

/// Why a file is not hooked. Whoever shows it names the file beside it.
#[derive(Debug, Error)]
pub enum Refusal {
    /// It is a directory, device or pipe.
    #[error("it is no regular file")]
    NotRegular {
        /// File.
        path: PathBuf,
    },
    /// Its tables can't be read.
    #[error("nothing can be found in it")]
    Elf {
        /// File.
        path: PathBuf,
        /// Reason.
        #[source]
        source: agent_resolver::Unreadable,
    },
    /// As many as may be are hooked.
    #[error("too many files are hooked already")]
    TooMany {
        /// File.
        path: PathBuf,
    },
    /// It stands for all that run: files or memory to look with are not to be had.
    #[error("not all that runs can be looked at")]
    Unseen(#[source] io::Error),
    /// The kernel refuses the probes.
    #[error("the kernel refuses probes on it")]
    Attach {
        /// File.
        path: PathBuf,
        /// Reason.
        #[source]
        source: aya::programs::ProgramError,
    },
}
