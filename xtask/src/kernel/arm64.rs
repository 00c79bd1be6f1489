//! The guest with an arm64 processor: the agent as it is packaged, tests that are compiled for it, and
//! Debian's programs for it as clients. Nothing of it runs on the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::command::Invocation;
use crate::kernel::initramfs::{self, PAYLOAD, Payload};
use crate::kernel::machine::Guest;
use crate::kernel::processor::Processor;
use crate::kernel::{Built, fetch};
use crate::project::{Project, make_folder};
use crate::{clients, dist, pins};

const ARCH: &str = "aarch64";

/// What the guest has of Debian, and what its C clients are linked with.
const PACKAGES: [&str; 5] = ["busybox-static", "curl", "libssl-dev", "openssl", "python3"];

/// Folders that nobody in the guest reads; all that is in it lies in its memory.
const LEFT_OUT: [&str; 4] = ["usr/include", "usr/lib/gcc", "usr/share", "var"];

/// Where Debian keeps the libraries of this processor.
const LIBRARIES: &str = "usr/lib/aarch64-linux-gnu";

/// Tests of the `kernel` program that need no more than the guest has: what probes capture byte for byte;
/// calls of openssl, curl and Python in the ledger; facts of processes from exec and exit; what is
/// left after the end.
const TESTS: [&str; 9] = [
    "probe_",
    "openssl_s_client",
    "curl_under_a_providers_name",
    "python_standard_library",
    "a_child_that_does_not_exec",
    "a_process_that_is_gone",
    "a_program_that_a_shell_execs",
    "an_open_connection_is_joined",
    "killed_it_leaves_no_probe_behind",
];

/// Scripts of Python that tests run, where they look for them.
const SCRIPTS: &str = "tests/peers/python";

/// Writes the root file system, with the tests or with a shell command as its payload.
pub(crate) fn build(project: &Project, command: Option<String>) -> Result<Guest> {
    let debian = debian(project)?;
    let target = dist::of(ARCH)?;
    let agent = dist::build(project, target)?;
    let payload = match command {
        Some(command) => Payload::of_program(agent, command),
        None => {
            // The agent that they start is that of the packages: the one beside them needs no probes.
            let cargo = dist::zigbuild(project, target.triple).quiet_env("AYA_BUILD_SKIP", "1");
            let built = Built::by(cargo, "kernel")?;
            let doctor = format!("{} doctor || exit\n", initramfs::place(&agent));
            let started = [
                ("BPFTOK_BINARY", agent),
                ("BPFTOK_TLS_PAIR", tls_pair(project, &debian)?),
                (
                    "BPFTOK_STRIPPED_TLS_PAIR",
                    stripped_tls_pair(project, &debian)?,
                ),
            ];
            let program = built.executable("test", "kernel")?;
            Payload::of_test(program, &TESTS.join(" "), &started)
                .after(&format!("{doctor}export BPFTOK_PYTHON=/usr/bin/python3\n"))
        }
    };

    let folder = project.target.join("vm");
    let root = folder.join("root-arm64");
    initramfs::begin(&root)?;
    copy(&debian, &root)?;
    for path in LEFT_OUT.map(|path| root.join(path)) {
        if path.exists() {
            fs::remove_dir_all(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    for library in fetch::files(&root.join(LIBRARIES), "a")? {
        fs::remove_file(library)?;
    }
    // As the installation of a Debian would have written it.
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n")?;
    // They are looked for from the folder of the package that the tests were compiled in.
    let source = root.join(project.root.strip_prefix("/").unwrap_or(&project.root));
    make_folder(&source.join("agent"))?;
    make_folder(&source.join(SCRIPTS))?;
    copy(&project.root.join(SCRIPTS), &source.join(SCRIPTS))?;
    for program in &payload.programs {
        let name = program.file_name().unwrap_or_default();
        // Symbols stay: the tests put probes on them.
        dist::objcopy()?
            .arg("--strip-debug")
            .arg(program)
            .arg(root.join(PAYLOAD).join(name))
            .run()?;
    }
    let image = folder.join("initramfs-arm64");
    initramfs::seal(&root, &payload, &image)?;
    Ok(Guest {
        processor: Processor::Arm64,
        image,
        memory_mib: 2_048,
        parameters: "",
        is_test: payload.is_test(),
        time_limit: Duration::from_secs(1_800),
    })
}

/// A Debian for arm64, downloaded once.
fn debian(project: &Project) -> Result<PathBuf> {
    let suite = pins::ARM64_SUITE;
    let name = format!("{suite}-arm64-{}", PACKAGES.join("-"));
    let kept = project.target.join("vm").join(name);
    if !kept.is_dir() {
        let part = kept.with_extension("part");
        fetch::start_over(&part)?;
        fetch::programs(project, suite, Processor::Arm64, &PACKAGES, &part)?;
        // Renamed last: a folder that is there is whole.
        fs::rename(&part, &kept).context("cannot keep the Debian for arm64")?;
    }
    Ok(kept)
}

/// What lies in one folder, into another.
fn copy(from: &Path, to: &Path) -> Result<()> {
    Invocation::new("cp")
        .arg("--archive")
        .arg(from.join("."))
        .arg(to)
        .run()
}

fn tls_pair(project: &Project, debian: &Path) -> Result<PathBuf> {
    compile(
        project,
        debian,
        "tls_pair",
        &["libssl.so", "libcrypto.so"],
        &[],
    )
}

/// The same with OpenSSL inside and no symbols.
fn stripped_tls_pair(project: &Project, debian: &Path) -> Result<PathBuf> {
    let libraries = ["libssl.a", "libcrypto.a", "libz.so.1", "libzstd.so.1"];
    compile(project, debian, "stripped_tls_pair", &libraries, &["-s"])
}

/// Compiles the C peer with both ends of a connection for the C library of the guest.
fn compile(
    project: &Project,
    debian: &Path,
    name: &str,
    libraries: &[&str],
    options: &[&str],
) -> Result<PathBuf> {
    let folder = project.target.join("clients/arm64");
    make_folder(&folder)?;
    let include = debian.join("usr/include");
    let binary = folder.join(name);
    Invocation::new(project.tools().join("zig/bin/python-zig"))
        .args(["cc", "-target"])
        .arg(format!("{ARCH}-linux-gnu.{}", pins::ARM64_GLIBC))
        .args(["-O2", "-Wall", "-Wextra", "-pthread"])
        .args(options)
        .arg("-isystem")
        .arg(&include)
        .arg("-isystem")
        .arg(include.join("aarch64-linux-gnu"))
        .arg("-o")
        .arg(&binary)
        .arg(project.root.join(clients::TLS_PAIR))
        .args(
            libraries
                .iter()
                .map(|library| debian.join(LIBRARIES).join(library)),
        )
        .run()?;
    Ok(binary)
}
