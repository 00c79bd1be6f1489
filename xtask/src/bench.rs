//! Measurements.

use std::process::ExitCode;

use anyhow::Result;

use crate::project::Project;
use crate::{Usage, agent, ccusage, clients, debian, host, ledger, pins, programs, setup};

/// `EX_NOPERM` of sysexits.h.
const EXIT_NO_PERMISSION: u8 = 77;

/// `cargo xtask bench [line|formats|overhead|discovery|scan|reports|ccusage] [-- ARGUMENTS]`.
pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let (names, rest) = match arguments.iter().position(|a| a == "--") {
        Some(at) => (
            arguments.get(..at).unwrap_or_default(),
            arguments.get(at + 1..).unwrap_or_default(),
        ),
        None => (arguments, &[][..]),
    };
    let names: Vec<&str> = if names.is_empty() {
        vec!["line", "formats", "overhead", "discovery"]
    } else {
        names.iter().map(String::as_str).collect()
    };
    for name in names {
        let code = match name {
            "line" | "formats" => of_the_core(project, name, rest)?,
            "overhead" => overhead(project, rest)?,
            "discovery" => discovery(project, rest)?,
            "scan" => scan(project, rest)?,
            "reports" => {
                ledger::bench(project, rest)?;
                ExitCode::SUCCESS
            }
            "ccusage" => {
                ccusage::bench(project, rest)?;
                ExitCode::SUCCESS
            }
            other => {
                return Err(Usage(format!(
                    "no benchmark `{other}`; there are: line, formats, overhead, discovery, scan, reports, ccusage"
                ))
                .into());
            }
        };
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn of_the_core(project: &Project, name: &str, arguments: &[String]) -> Result<ExitCode> {
    setup::for_building(project)?;
    project
        .cargo(&["bench", "--package", "agent-core", "--bench", name, "--"])
        .args(arguments)
        .run()?;
    Ok(ExitCode::SUCCESS)
}

/// Without files there is nothing to measure, so it is not among those that run by default.
fn scan(project: &Project, files: &[String]) -> Result<ExitCode> {
    if files.is_empty() {
        return Err(Usage("say which files: `bench scan -- FILE...`".into()).into());
    }
    setup::for_building(project)?;
    project
        .cargo(&["bench", "--package", "agent-resolver", "--bench", "scan"])
        .arg("--")
        .args(files)
        .run()?;
    Ok(ExitCode::SUCCESS)
}

fn overhead(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    probing(project, "overhead", arguments, || {
        debian::install(&pins::YARDSTICK_PACKAGES)
    })
}

fn discovery(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    probing(project, "discovery", arguments, || {
        programs::install(project)
    })
}

/// An experiment with probes is a program of the test support package; it is handed what it observes
/// with.
fn probing(
    project: &Project,
    name: &str,
    arguments: &[String],
    install: impl FnOnce() -> Result<()>,
) -> Result<ExitCode> {
    if !host::is_root() {
        eprintln!("bench {name} loads probes: run it as root");
        return Ok(ExitCode::from(EXIT_NO_PERMISSION));
    }
    setup::for_testing(project)?;
    install()?;
    agent::build(project)?;
    let experiment = project
        .cargo(&[
            "run",
            "--release",
            "--package",
            "test-support",
            "--bin",
            name,
            "--",
        ])
        .args(arguments)
        .env("BPFTOK_BINARY", project.agent_binary());
    let experiment = clients::announce_to(project, experiment);
    programs::announce_to(project, experiment).run()?;
    Ok(ExitCode::SUCCESS)
}
