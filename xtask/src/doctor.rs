//! What this machine has and lacks, each with the remedy.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::command::Invocation;
use crate::project::Project;
use crate::{clients, debian, host, kernel, pins, programs, setup};

/// The first kernel with a ring buffer for kernel programs; below it nothing works.
const FLOOR: (u32, u32) = (5, 8);
/// The first kernel of full support.
const FULL: (u32, u32) = (6, 1);

/// One thing that was looked at.
struct Finding {
    what: &'static str,
    state: State,
    detail: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    /// `run` or `test` installs it, or does without.
    Later,
    Missing,
}

/// `cargo xtask doctor`.
pub(crate) fn run(project: &Project, _: &[String]) -> Result<ExitCode> {
    let findings = examine(project)?;
    for finding in &findings {
        let mark = match finding.state {
            State::Good => "ok",
            State::Later => "--",
            State::Missing => "LACKS",
        };
        println!("{mark:<6} {:<22} {}", finding.what, finding.detail);
    }
    let lacking = findings
        .iter()
        .filter(|f| f.state == State::Missing)
        .count();
    println!(
        "\n{lacking} missing; `--` is installed by `cargo xtask run` or `cargo xtask test`, or optional"
    );
    Ok(if lacking == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn examine(project: &Project) -> Result<Vec<Finding>> {
    let release = host::kernel_release();
    let version = host::version_of(&release).unwrap_or_default();
    let multi = if version >= (6, 6) {
        "uprobe_multi"
    } else {
        "perf uprobes: one link per function"
    };
    let mut findings = vec![
        check("kernel", version >= FULL, format!("{release}, {multi}"), match version >= FLOOR {
            true => State::Later,
            false => State::Missing,
        }, format!("{release}: full from 6.1, degraded from 5.10, nothing below 5.8")),
        exists("BTF", "/sys/kernel/btf/vmlinux", "optional: kernel built without CONFIG_DEBUG_INFO_BTF", State::Later),
        exists(
            "uprobes",
            "/sys/bus/event_source/devices/uprobe",
            "the kernel needs CONFIG_UPROBES and CONFIG_UPROBE_EVENTS",
            State::Missing,
        ),
        check(
            "tracefs",
            ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"].iter().any(|p| Path::new(p).exists()),
            "mounted".into(),
            State::Missing,
            "run: mount -t tracefs tracefs /sys/kernel/tracing (as root; only root can see whether it is)".into(),
        ),
        check(
            "root",
            host::is_root(),
            "yes".into(),
            if host::find_program("sudo").is_some() { State::Later } else { State::Missing },
            "no: `run` uses sudo, live tests are skipped".into(),
        ),
        check(
            "BPF rights",
            host::may_use_bpf(),
            "CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN".into(),
            if host::is_root() { State::Missing } else { State::Later },
            "this container or user may not load kernel programs; give it CAP_BPF and CAP_PERFMON".into(),
        ),
        check(
            "Rust",
            setup::has_toolchain(),
            format!("{} with {}", pins::TOOLCHAIN, pins::COMPONENTS.join(", ")),
            if host::find_program("rustup").is_some() { State::Later } else { State::Missing },
            format!("rustup toolchain install {} --component {}", pins::TOOLCHAIN, pins::COMPONENTS.join(",")),
        ),
        check(
            "bpf-linker",
            setup::find_linker(project).is_some(),
            pins::BPF_LINKER.into(),
            State::Later,
            format!("cargo +{} install bpf-linker --version {} --locked", pins::TOOLCHAIN, pins::BPF_LINKER),
        ),
        check(
            "cargo-deny",
            setup::find_deny(project).is_some(),
            pins::CARGO_DENY.into(),
            State::Later,
            "optional: installed by `cargo xtask ci`".into(),
        ),
    ];
    for (program, arguments, package) in [
        ("gcc", ["--version"], "gcc"),
        ("python3", ["--version"], "python3 python3-venv"),
        ("node", ["--version"], "nodejs"),
        ("npm", ["--version"], "npm"),
    ] {
        let answer = Invocation::new(program).args(arguments).ask();
        let line = answer
            .as_deref()
            .and_then(|a| a.lines().next())
            .unwrap_or_default()
            .to_owned();
        let remedy = format!("tests need it; run: apt-get install {package}");
        findings.push(check(
            program,
            answer.is_some(),
            line,
            State::Missing,
            remedy,
        ));
    }
    let missing = debian::missing(&pins::TEST_PACKAGES);
    findings.push(check(
        "test packages",
        missing.is_empty(),
        pins::TEST_PACKAGES.join(" "),
        if host::is_root() {
            State::Later
        } else {
            State::Missing
        },
        format!("run: apt-get install {}", missing.join(" ")),
    ));
    findings.push(check(
        "test clients",
        clients::are_installed(project)?,
        "Python and Node packages as pinned".into(),
        State::Later,
        "installed by `cargo xtask test`".into(),
    ));
    findings.push(check(
        "test programs",
        programs::are_installed(project)?,
        "agents and runtimes as pinned, for both machines".into(),
        State::Later,
        "downloaded by `cargo xtask test`: 1.4 GB, 2.9 GB unpacked".into(),
    ));
    let kernels = kernel::cached(project);
    findings.push(check(
        "test kernels",
        kernels.len() == pins::KERNELS.len(),
        kernels.join(", "),
        State::Later,
        format!(
            "{} of {} downloaded; `cargo xtask test-kernel vm` fetches the rest",
            kernels.len(),
            pins::KERNELS.len()
        ),
    ));
    let missing = debian::missing(&pins::YARDSTICK_PACKAGES);
    findings.push(check(
        "bench yardstick",
        missing.is_empty(),
        pins::YARDSTICK_PACKAGES.join(" "),
        State::Later,
        "optional: installed by `cargo xtask bench overhead`".into(),
    ));
    Ok(findings)
}

fn exists(what: &'static str, path: &str, remedy: &str, otherwise: State) -> Finding {
    check(
        what,
        Path::new(path).exists(),
        path.to_owned(),
        otherwise,
        remedy.to_owned(),
    )
}

fn check(
    what: &'static str,
    holds: bool,
    detail: String,
    otherwise: State,
    remedy: String,
) -> Finding {
    if holds {
        Finding {
            what,
            state: State::Good,
            detail,
        }
    } else {
        Finding {
            what,
            state: otherwise,
            detail: remedy,
        }
    }
}
