//! Every version that the build and the tests are pinned to, in one place.
//!
//! The versions of what live tests watch are where their own installers read them: those of the
//! clients in `tests/peers/python/requirements.txt` and `tests/peers/node/package-lock.json`, those
//! of the programs in `tests/peers/programs`, and that of ccusage in `tests/peers/ccusage`.

/// The Rust toolchain. Its first two numbers are the workspace's `rust-version`; `tidy` checks it.
pub(crate) const TOOLCHAIN: &str = "1.98.0";

/// `rust-src` is for the kernel programs, whose `core` is built from source.
pub(crate) const COMPONENTS: [&str; 3] = ["clippy", "rust-src", "rustfmt"];

/// Its LLVM must be the toolchain's: 0.10 and Rust 1.98 both have LLVM 22.
pub(crate) const BPF_LINKER: &str = "0.10.4";

/// Checks licences, sources and duplicate dependencies.
pub(crate) const CARGO_DENY: &str = "0.20.2";

/// Runs libFuzzer; only `fuzz --grow` needs it.
pub(crate) const CARGO_FUZZ: &str = "0.13.2";

/// Compiles and links C for every processor and the static libc; from PyPI.
pub(crate) const ZIG: &str = "0.17.1";

/// Has Cargo use it; from PyPI.
pub(crate) const CARGO_ZIGBUILD: &str = "0.24.1";

/// Make Debian's packages, and those of Fedora, RHEL and SUSE.
pub(crate) const CARGO_DEB: &str = "3.8.0";
pub(crate) const CARGO_GENERATE_RPM: &str = "0.21.1";

/// Writes down the licences of what is linked.
pub(crate) const CARGO_ABOUT: &str = "0.9.3";

/// The targets of static binaries.
pub(crate) const STATIC_TARGETS: [&str; 2] =
    ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"];

/// The targets of programs that load the host's libraries.
pub(crate) const DYNAMIC_TARGETS: [&str; 2] =
    ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// The oldest C library that those run with: that of RHEL 8; Debian's are newer since 10.
pub(crate) const OLDEST_GLIBC: &str = "2.28";

/// Debian packages that packaging needs, and the tests of packages.
pub(crate) const PACKAGING_PACKAGES: [&str; 3] = ["debootstrap", "lintian", "rpm"];

/// Debian packages that booting an arm64 guest needs.
pub(crate) const ARM64_PACKAGES: [&str; 2] = ["cpio", "qemu-system-arm"];

/// The Debian release whose programs are in an arm64 guest.
pub(crate) const ARM64_SUITE: &str = "trixie";

/// The C library of that release.
pub(crate) const ARM64_GLIBC: &str = "2.41";

/// The target of the kernel programs.
pub(crate) const BPF_TARGET: &str = "bpfel-unknown-none";

/// Debian packages that the tests need beyond gcc, git, Python and Node.
pub(crate) const TEST_PACKAGES: [&str; 16] = [
    "busybox-static",
    "ca-certificates",
    "cpio",
    "curl",
    "debootstrap",
    "libc6-dev",
    // The Collector of the Python clients has Python inside.
    "libpython3-dev",
    "libssl-dev",
    "msmtp",
    "openssl",
    // promtool.
    "prometheus",
    "prometheus-alertmanager",
    "qemu-system-x86",
    "sqlite3",
    "systemd",
    "tmux",
];

/// Debian packages of the tool that `bench overhead` compares with. It compiles its program against
/// kernel headers; where the running kernel has none, those of another do.
pub(crate) const YARDSTICK_PACKAGES: [&str; 2] = ["bpfcc-tools", "linux-headers-cloud-amd64"];

/// Debian packages that `bench ccusage` measures with.
pub(crate) const TIMING_PACKAGES: [&str; 2] = ["bash", "time"];

/// The Debian kernels of the matrix: series, suite, and whether the suite is one of the security
/// archive. A suite drops old patch levels, so the newest of the series is taken.
pub(crate) const KERNELS: [KernelPin; 4] = [
    KernelPin {
        series: "5.10",
        suite: "bullseye-security",
        archive: Archive::Security,
    },
    KernelPin {
        series: "6.1",
        suite: "bookworm-security",
        archive: Archive::Security,
    },
    KernelPin {
        series: "6.12",
        suite: "trixie-security",
        archive: Archive::Security,
    },
    KernelPin {
        series: "7",
        suite: "forky",
        archive: Archive::Main,
    },
];

/// Where a kernel series comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KernelPin {
    pub(crate) series: &'static str,
    pub(crate) suite: &'static str,
    pub(crate) archive: Archive,
}

/// One of Debian's two archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Archive {
    Main,
    Security,
}
