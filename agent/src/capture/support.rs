//! What kernels can do, as one table; `docs/kernels.md` shows the same.

use std::fmt;
use std::path::Path;

use super::{Error, loader};

/// A kernel release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Ring buffers and `bpf_ktime_get_boot_ns` came with this release.
pub const OLDEST: KernelVersion = KernelVersion { major: 5, minor: 8 };

/// From here everything is tested; below it the agent says that it runs degraded.
pub const FULL: KernelVersion = KernelVersion { major: 6, minor: 1 };

/// The mode of lockdown(7) in which kernel programs may not read memory. In `integrity` they may.
const CONFIDENTIALITY: &str = "confidentiality";

impl KernelVersion {
    /// The running kernel.
    pub fn running() -> Self {
        Self::parse(&rustix::system::uname().release().to_string_lossy())
    }

    /// Reads a release such as `6.18.44-cloud`; parts that are no numbers count as 0.
    fn parse(release: &str) -> Self {
        let mut parts = release
            .split(|c: char| !c.is_ascii_digit())
            .map(|part| part.parse().unwrap_or(0));
        let mut next = || parts.next().unwrap_or(0);
        Self {
            major: next(),
            minor: next(),
        }
    }
}

/// What forbids watching, whatever rights there are: told before anything is opened.
///
/// # Errors
///
/// The kernel is too old, or locked down so far that no program may read another's memory.
pub fn check() -> Result<(), Error> {
    obstacle(KernelVersion::running(), &lockdown()).map_or(Ok(()), Err)
}

fn obstacle(found: KernelVersion, lockdown: &str) -> Option<Error> {
    if found < OLDEST {
        return Some(Error::KernelTooOld { found });
    }
    (lockdown == CONFIDENTIALITY).then_some(Error::LockedDown)
}

/// What follows from process ids of one's own, and the remedy.
pub const OTHER_IDS: &str = "processes are named by the host's ids: run with the host's pid namespace (for Docker --pid=host)";

/// How probes are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachKind {
    /// `uprobe_multi` links (6.6): two for a file, whatever the number of functions.
    Multi,
    /// Perf uprobes: one link for each function.
    Single,
}

impl AttachKind {
    /// Name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Multi => "uprobe_multi",
            Self::Single => "perf uprobe",
        }
    }

    /// What the running kernel offers: asked of the kernel, not read from its version.
    pub fn of_this_kernel() -> Self {
        match aya::sys::is_uprobe_multi_supported(aya::sys::UProbeMultiFeature::LinkCreation) {
            Ok(true) => Self::Multi,
            Ok(false) | Err(_) => Self::Single,
        }
    }
}

/// How far the sockets of programs are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketSupport {
    /// Not at all: the kernel does not show programs the arguments of system calls (before 5.15),
    /// or it has no type information.
    None,
    /// Connects and closes (5.15).
    Connects,
    /// Sends and receives as well (6.3).
    Traffic,
}

impl SocketSupport {
    /// Most first: the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::Traffic, Self::Connects, Self::None];

    /// What is to be expected of a kernel; only loading the programs shows it.
    pub fn expected(kernel: KernelVersion, has_types: bool) -> Self {
        let is_since = |major, minor| has_types && kernel >= KernelVersion { major, minor };
        if is_since(6, 3) {
            Self::Traffic
        } else if is_since(5, 15) {
            Self::Connects
        } else {
            Self::None
        }
    }

    /// Name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Traffic => "followed",
            Self::Connects => "connects and closes only",
            Self::None => "not seen",
        }
    }

    /// What is missing, and what follows from it.
    pub const fn shortfall(self) -> Option<&'static str> {
        match self {
            Self::Traffic => None,
            Self::Connects => Some(
                "sends and receives are not seen (Linux 6.3): connections that can't be decoded go unnoticed, and a peer's address is known only by its descriptor or where a process has one connection",
            ),
            Self::None => Some(
                "sockets are not seen (Linux 5.15 with kernel types, BTF): connections that can't be decoded go unnoticed, and no peer's address is known",
            ),
        }
    }
}

/// One line of `bpftok doctor`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// What was found.
    pub found: String,
    /// What to do about it; `None` if all is well.
    pub remedy: Option<&'static str>,
}

/// Looks at everything that capture needs of this host. `lacking` names the capabilities that this
/// process does not have.
pub fn examine(lacking: Option<&'static str>) -> Vec<Finding> {
    let kernel = KernelVersion::running();
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let kernel_remedy = if kernel < OLDEST {
        Some("Linux 5.8 is the oldest kernel with a ring buffer: upgrade the kernel")
    } else if kernel < FULL {
        Some("runs degraded below 6.1: one link per function, slow to detach")
    } else {
        None
    };
    let is_root = rustix::process::geteuid().is_root();
    let may_load = lacking.is_none();
    let multi = AttachKind::of_this_kernel();
    let exists = |path: &str| Path::new(path).exists();
    let sockets = SocketSupport::expected(kernel, exists("/sys/kernel/btf/vmlinux"));
    vec![
        Finding { what: "kernel", found: release, remedy: kernel_remedy },
        user(is_root, lacking),
        Finding {
            what: "kernel programs",
            found: presence(loader::has_programs()).to_owned(),
            remedy: (!loader::has_programs())
                .then_some("this binary was built with AYA_BUILD_SKIP: build it again without that variable"),
        },
        Finding {
            what: "probes",
            // The kernel answers only who may load programs.
            found: if may_load { multi.as_str() } else { "unknown: only root may ask the kernel" }.to_owned(),
            remedy: (multi == AttachKind::Single && may_load)
                .then_some("uprobe_multi needs Linux 6.6; perf uprobes are used instead"),
        },
        Finding {
            what: "uprobe events",
            found: presence(exists("/sys/bus/event_source/devices/uprobe")).to_owned(),
            remedy: (!exists("/sys/bus/event_source/devices/uprobe") && multi == AttachKind::Single)
                .then_some("the kernel is built without CONFIG_UPROBE_EVENTS"),
        },
        Finding {
            what: "kernel types (BTF)",
            found: presence(exists("/sys/kernel/btf/vmlinux")).to_owned(),
            remedy: None,
        },
        Finding {
            what: "sockets",
            found: sockets.as_str().to_owned(),
            remedy: sockets.shortfall(),
        },
        Finding {
            what: "pid namespace",
            found: if in_initial_pid_namespace() { "initial".to_owned() } else { "own".to_owned() },
            remedy: (!in_initial_pid_namespace()).then_some(OTHER_IDS),
        },
        Finding {
            what: "lockdown",
            found: lockdown(),
            remedy: (lockdown() == CONFIDENTIALITY)
                .then_some("lockdown=confidentiality forbids reading user memory from kernel programs: boot with lockdown=integrity"),
        },
    ]
}

fn user(is_root: bool, lacking: Option<&'static str>) -> Finding {
    let name = if is_root { "root" } else { "not root" };
    let (found, remedy) = match lacking {
        None => (name.to_owned(), None),
        Some(lacking) if is_root => (
            format!("{name}, without {lacking}"),
            Some("the container or service that this is gives them up: have it keep them"),
        ),
        Some(_) => (name.to_owned(), Some("run as root: sudo bpftok run")),
    };
    Finding {
        what: "user",
        found,
        remedy,
    }
}

const fn presence(is_present: bool) -> &'static str {
    if is_present { "present" } else { "absent" }
}

/// The kernel gives the initial pid namespace a fixed inode number
/// (include/linux/proc_ns.h, `PROC_PID_INIT_INO`).
pub fn in_initial_pid_namespace() -> bool {
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == "pid:[4026531836]")
}

/// The word in brackets in the kernel's list of modes.
fn lockdown() -> String {
    std::fs::read_to_string("/sys/kernel/security/lockdown")
        .ok()
        .and_then(|modes| {
            let (_, rest) = modes.split_once('[')?;
            let (mode, _) = rest.split_once(']')?;
            Some(mode.to_owned())
        })
        .unwrap_or_else(|| "none".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_distributions_are_read() {
        let cases = [
            ("6.18.44-cloud", 6, 18),
            ("5.10.0-31-cloud-amd64", 5, 10),
            ("7.2.13", 7, 2),
            ("6.1", 6, 1),
            ("unknown", 0, 0),
        ];
        for (release, major, minor) in cases {
            assert_eq!(
                KernelVersion::parse(release),
                KernelVersion { major, minor },
                "{release}"
            );
        }
    }

    #[test]
    fn old_kernels_and_those_that_let_no_memory_be_read_are_obstacles() {
        let obstacle = |major, minor, lockdown| {
            obstacle(KernelVersion { major, minor }, lockdown).map(|error| error.to_string())
        };
        assert_eq!(obstacle(5, 8, "none"), None);
        assert_eq!(obstacle(6, 12, "integrity"), None);
        let old = obstacle(5, 7, "confidentiality");
        assert_eq!(
            old.as_deref(),
            Some("kernel 5.7 is too old: bpftok needs 5.8 or later")
        );
        let locked = obstacle(6, 12, "confidentiality").unwrap();
        assert!(locked.ends_with("boot with lockdown=integrity"), "{locked}");
    }

    #[test]
    fn sockets_are_followed_as_far_as_the_kernel_has_the_tracepoints() {
        let expected = |major, minor| SocketSupport::expected(KernelVersion { major, minor }, true);
        assert_eq!(expected(5, 10), SocketSupport::None);
        assert_eq!(expected(5, 15), SocketSupport::Connects);
        assert_eq!(expected(6, 2), SocketSupport::Connects);
        assert_eq!(expected(6, 3), SocketSupport::Traffic);
        assert_eq!(expected(7, 0), SocketSupport::Traffic);
        let newest = KernelVersion { major: 7, minor: 2 };
        assert_eq!(SocketSupport::expected(newest, false), SocketSupport::None);
    }

    #[test]
    fn every_shortcoming_names_its_remedy() {
        for finding in [None, Some("CAP_BPF")].into_iter().flat_map(examine) {
            assert!(!finding.found.is_empty(), "{}", finding.what);
            assert!(
                finding.remedy.is_none_or(|remedy| !remedy.is_empty()),
                "{}",
                finding.what
            );
        }
    }
}
