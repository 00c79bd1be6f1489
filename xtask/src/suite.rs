//! `test` and `ci`: every check, one after the other, and a table of what came out.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::project::Project;
use crate::tally::Tally;
use crate::{Usage, accuracy, clients, coverage, fuzz, host, kernel, pins, programs, setup, tidy};

/// Skips that are right on the machine that runs the live tests, by the start of what they print.
/// Any other skip is a test that silently stopped testing, and fails its step.
const EXPECTED_SKIPS: &[&str] = &[];

/// Packages whose tests need neither the agent's binary nor a kernel.
const PURE_PACKAGES: [&str; 7] = [
    "agent-common",
    "agent-core",
    "agent-ebpf",
    "agent-resolver",
    "agent-self-check",
    "test-support",
    "xtask",
];

/// One step of the suite.
struct Step {
    name: &'static str,
    run: fn(&Project, &mut Tally) -> Result<()>,
    needs: Needs,
    /// Whether it watches or reads the downloaded programs.
    with_programs: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// Making a Debian.
    Root,
    /// Root with the right to load kernel programs.
    Bpf,
}

/// Cheap checks first. Steps with an empty kernel object (`AYA_BUILD_SKIP`) stand together before
/// those with a real one, because changing between them builds the agent again.
const STEPS: &[Step] = &[
    Step {
        name: "format",
        run: format,
        needs: Needs::Nothing,
        with_programs: false,
    },
    Step {
        name: "tidy",
        run: tidy::check,
        needs: Needs::Nothing,
        with_programs: false,
    },
    Step {
        name: "lint",
        run: lint,
        needs: Needs::Nothing,
        with_programs: false,
    },
    Step {
        name: "lint kernel programs",
        run: lint_kernel_programs,
        needs: Needs::Nothing,
        with_programs: false,
    },
    Step {
        name: "documentation",
        run: documentation,
        needs: Needs::Nothing,
        with_programs: false,
    },
    Step {
        name: "unit and golden tests",
        run: unit_tests,
        needs: Needs::Nothing,
        with_programs: true,
    },
    Step {
        name: "end-to-end tests",
        run: end_to_end_tests,
        needs: Needs::Nothing,
        with_programs: false,
    },
    Step {
        name: "fuzz seeds",
        run: fuzz::replay,
        needs: Needs::Nothing,
        with_programs: false,
    },
    Step {
        name: "build",
        run: build,
        needs: Needs::Nothing,
        with_programs: false,
    },
    Step {
        name: "live tests",
        run: live_tests,
        needs: Needs::Bpf,
        with_programs: true,
    },
    Step {
        name: "other kernels",
        run: kernel::matrix,
        needs: Needs::Nothing,
        with_programs: false,
    },
    Step {
        name: "service under systemd",
        run: kernel::service,
        needs: Needs::Root,
        with_programs: false,
    },
];

/// The step that `ci` adds: building cargo-deny takes minutes, once.
const DEPENDENCIES: Step = Step {
    name: "dependencies",
    run: dependencies,
    needs: Needs::Nothing,
    with_programs: false,
};

/// What became of a step.
struct Line {
    name: &'static str,
    seconds: f64,
    tally: Tally,
    outcome: Outcome,
}

enum Outcome {
    Passed,
    Failed(String),
    Skipped(&'static str),
}

/// `cargo xtask test [STEP...]`.
pub(crate) fn test(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    run(project, STEPS.iter().collect(), arguments)
}

/// `cargo xtask ci [STEP...]`.
pub(crate) fn ci(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    run(
        project,
        STEPS.iter().chain([&DEPENDENCIES]).collect(),
        arguments,
    )
}

fn run(project: &Project, steps: Vec<&Step>, filters: &[String]) -> Result<ExitCode> {
    let wanted =
        |step: &Step| filters.is_empty() || filters.iter().any(|f| step.name.contains(f.as_str()));
    let steps: Vec<_> = steps.into_iter().filter(|step| wanted(step)).collect();
    if steps.is_empty() {
        let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        return Err(Usage(format!("no such step; there are: {}", names.join(", "))).into());
    }
    let started = Instant::now();
    if steps.iter().any(|step| step.with_programs) {
        setup::for_testing_programs(project)?;
    } else {
        setup::for_testing(project)?;
    }
    println!(
        "setup: ready after {:.0} s",
        started.elapsed().as_secs_f64()
    );
    let lines: Vec<_> = steps
        .into_iter()
        .map(|step| perform(project, step))
        .collect();
    println!("\n{}", table(&lines));
    println!("{}", closing_line(&lines));
    let failed = lines
        .iter()
        .any(|line| matches!(line.outcome, Outcome::Failed(_)));
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn perform(project: &Project, step: &Step) -> Line {
    println!("\n== {}", step.name);
    let started = Instant::now();
    let mut tally = Tally::default();
    let outcome = match obstacle(step.needs) {
        Some(reason) => Outcome::Skipped(reason),
        None => match (step.run)(project, &mut tally) {
            Ok(()) => Outcome::Passed,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        },
    };
    match &outcome {
        Outcome::Passed => {}
        Outcome::Failed(why) => println!("FAILED {}: {why}", step.name),
        Outcome::Skipped(why) => println!("SKIPPED {}: {why}", step.name),
    }
    Line {
        name: step.name,
        seconds: started.elapsed().as_secs_f64(),
        tally,
        outcome,
    }
}

fn obstacle(needs: Needs) -> Option<&'static str> {
    match needs {
        Needs::Nothing => None,
        Needs::Root if host::is_root() => None,
        Needs::Root => Some("needs root"),
        Needs::Bpf if host::is_root() && host::may_use_bpf() => None,
        Needs::Bpf => Some("needs root with CAP_BPF and CAP_PERFMON"),
    }
}

fn table(lines: &[Line]) -> String {
    let mut table = format!("{:<24} {:>8}  {:>6}  result\n", "step", "seconds", "tests");
    for line in lines {
        let tests = if line.tally.ran() == 0 {
            "-".to_owned()
        } else {
            line.tally.ran().to_string()
        };
        let skips = match line.tally.skips.len() {
            0 => String::new(),
            n => format!(", {n} SKIP"),
        };
        let result = match &line.outcome {
            Outcome::Passed => "passed".to_owned(),
            Outcome::Failed(_) => "FAILED".to_owned(),
            Outcome::Skipped(why) => format!("SKIPPED: {why}"),
        };
        table.push_str(&format!(
            "{:<24} {:>8.1}  {tests:>6}  {result}{skips}\n",
            line.name, line.seconds
        ));
    }
    table
}

/// A test function counts as one, and so does a step that has none.
fn closing_line(lines: &[Line]) -> String {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for line in lines {
        passed += line.tally.passed;
        failed += line.tally.failed;
        match line.outcome {
            Outcome::Passed if line.tally.ran() == 0 => passed += 1,
            // It did not compile, say: something failed although no test function did.
            Outcome::Failed(_) if line.tally.failed == 0 => failed += 1,
            Outcome::Skipped(_) => skipped += 1,
            Outcome::Passed | Outcome::Failed(_) => {}
        }
    }
    let skipped = if skipped == 0 {
        String::new()
    } else {
        format!(", {skipped} skipped")
    };
    format!("{passed} passed, {failed} failed{skipped}")
}

/// Fails on a skip that nobody expects.
pub(crate) fn refuse_skips(tally: &Tally, expected: &[&str]) -> Result<()> {
    let expected = |skip: &&String| !expected.iter().any(|e| skip.starts_with(e));
    let unexpected: Vec<_> = tally
        .skips
        .iter()
        .filter(expected)
        .map(String::as_str)
        .collect();
    if !unexpected.is_empty() {
        bail!(
            "tests skipped that must run here: {}",
            unexpected.join("; ")
        );
    }
    Ok(())
}

/// Fails where a run that should have tested something did not.
pub(crate) fn refuse_silence(tally: &Tally) -> Result<()> {
    if tally.ran() == 0 {
        bail!("no test ran");
    }
    Ok(())
}

fn format(project: &Project, _: &mut Tally) -> Result<()> {
    project.cargo(&["fmt", "--all", "--check"]).run()?;
    project
        .cargo(&["fmt", "--manifest-path", "tests/fuzz/Cargo.toml", "--check"])
        .run()
}

fn lint(project: &Project, _: &mut Tally) -> Result<()> {
    project
        .cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--locked",
        ])
        .args(["--", "-D", "warnings"])
        .env("AYA_BUILD_SKIP", "1")
        .run()
}

/// The part of the kernel programs that only exists for their own target.
fn lint_kernel_programs(project: &Project, _: &mut Tally) -> Result<()> {
    let target = ["--target", pins::BPF_TARGET, "-Z", "build-std=core"];
    for features in [&[][..], &["--features", "log"]] {
        project
            .cargo(&[
                "clippy",
                "--package",
                "agent-ebpf",
                "--bins",
                "--release",
                "--locked",
            ])
            .args(target)
            .args(features)
            .args(["--", "-D", "warnings"])
            // This child alone: elsewhere it would switch on unstable features of many packages.
            .env("RUSTC_BOOTSTRAP", "1")
            .env(
                "CARGO_ENCODED_RUSTFLAGS",
                format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
            )
            .run()?;
    }
    Ok(())
}

fn documentation(project: &Project, _: &mut Tally) -> Result<()> {
    project
        .cargo(&["doc", "--workspace", "--no-deps", "--locked"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .env("AYA_BUILD_SKIP", "1")
        .run()
}

fn unit_tests(project: &Project, tally: &mut Tally) -> Result<()> {
    let packages = PURE_PACKAGES
        .iter()
        .flat_map(|package| ["--package", package]);
    let tests = project.cargo(&["test", "--locked"]).args(packages);
    programs::announce_to(project, tests).watch(tally)?;
    refuse_silence(tally)?;
    refuse_skips(tally, EXPECTED_SKIPS)
}

fn end_to_end_tests(project: &Project, tally: &mut Tally) -> Result<()> {
    project
        .cargo(&["test", "--locked", "--package", "agent"])
        .env("AYA_BUILD_SKIP", "1")
        .watch(tally)?;
    refuse_silence(tally)
}

fn build(project: &Project, _: &mut Tally) -> Result<()> {
    project
        .cargo(&["build", "--locked", "--package", "agent"])
        .without_env("AYA_BUILD_SKIP")
        .run()
}

/// Live tests on the running kernel.
pub(crate) fn live_tests(project: &Project, tally: &mut Tally) -> Result<()> {
    live_tests_named(project, &[], tally)?;
    coverage::check(project)?;
    accuracy::check(project)
}

/// The same, or those whose names contain one of `filters`.
pub(crate) fn live_tests_named(
    project: &Project,
    filters: &[String],
    tally: &mut Tally,
) -> Result<()> {
    let tests = project
        .cargo(&["test", "--locked", "--package", "agent"])
        .args([
            "--features",
            "kernel-tests",
            "--lib",
            "--test",
            "kernel",
            "--",
            "--test-threads=1",
            "--nocapture",
        ])
        .args(filters)
        .without_env("AYA_BUILD_SKIP");
    let tests = programs::announce_to(project, clients::announce_to(project, tests));
    let tests = accuracy::announce_to(project, coverage::announce_to(project, tests)?)?;
    tests.watch(tally)?;
    refuse_silence(tally)?;
    refuse_skips(tally, EXPECTED_SKIPS)
}

fn dependencies(project: &Project, _: &mut Tally) -> Result<()> {
    if setup::find_deny(project).is_none() {
        setup::install_tool(
            project,
            "cargo-deny",
            pins::CARGO_DENY,
            &["--no-default-features"],
        )?;
    }
    // Not its advisories: their database lies outside the package registry.
    project
        .cargo(&["deny", "--locked", "check", "bans", "licenses", "sources"])
        .run()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &'static str, passed: u64, failed: u64, outcome: Outcome) -> Line {
        Line {
            name,
            seconds: 1.25,
            tally: Tally {
                passed,
                failed,
                skips: Vec::new(),
            },
            outcome,
        }
    }

    #[test]
    fn the_closing_line_counts_test_functions_and_steps_without_any() {
        let lines = [
            line("format", 0, 0, Outcome::Passed),
            line("unit", 10, 0, Outcome::Passed),
            line("live", 3, 2, Outcome::Failed("exit status: 101".into())),
            line("lint", 0, 0, Outcome::Failed("exit status: 101".into())),
        ];

        assert_eq!(closing_line(&lines), "14 passed, 3 failed");
    }

    #[test]
    fn skipped_steps_show_in_the_closing_line_and_in_the_table() {
        let lines = [
            line("unit", 1, 0, Outcome::Passed),
            line("live", 0, 0, Outcome::Skipped("needs root")),
        ];

        assert_eq!(closing_line(&lines), "1 passed, 0 failed, 1 skipped");
        assert_eq!(
            table(&lines),
            "step                      seconds   tests  result\n\
             unit                          1.2       1  passed\n\
             live                          1.2       -  SKIPPED: needs root\n"
        );
    }

    #[test]
    fn a_run_whose_last_test_failed_to_compile_counts_as_failed() {
        let lines = [line(
            "unit",
            7,
            0,
            Outcome::Failed("exit status: 101".into()),
        )];

        assert_eq!(closing_line(&lines), "7 passed, 1 failed");
    }

    #[test]
    fn only_expected_skips_are_let_through() {
        let tally = Tally {
            skips: vec!["probe_multi: needs 6.6".into()],
            ..Tally::default()
        };

        assert!(refuse_skips(&tally, &["probe_multi"]).is_ok());
        assert!(refuse_skips(&tally, &[]).is_err());
    }
}
