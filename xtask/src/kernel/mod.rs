//! `test-kernel`: the live tests on this kernel, the probe tests on Debian's kernels in QEMU, for arm64
//! too, and the service under a systemd there.

mod arm64;
mod fetch;
mod initramfs;
mod machine;
mod processor;
mod systemd;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::command::Invocation;
use crate::kernel::fetch::Kernel;
use crate::kernel::initramfs::Payload;
use crate::kernel::machine::{Ending, Guest, Run};
use crate::kernel::processor::Processor;
use crate::project::Project;
use crate::tally::Tally;
use crate::{Usage, clients, debian, pins, setup, suite};

/// Which tests of the `kernel` test program run in the guest: those that bring all they need.
const PROBE_TESTS: &str = "probe_";

/// Kernels on which the service and the program for arm64 are tested, unless others are named: one with
/// `uprobe_multi` links and the unit as it is, one with perf uprobes and the drop-in for older kernels.
const ONE_OF_EACH: [&str; 2] = ["6.12", "6.1"];

/// What locks the kernel down, which lasts: the test program is run once for the rest and then for it.
const LAST_TESTS: &str = "locked_down";

/// Skips that are right in a guest: series of the kernel, and the start of what is printed.
const EXPECTED_SKIPS: &[(&str, &str)] = &[];

/// `cargo xtask test-kernel local|vm|arm64|service ...`.
pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let mut tally = Tally::default();
    match arguments.split_first() {
        Some((place, filters)) if place == "local" => {
            setup::for_testing_programs(project)?;
            suite::live_tests_named(project, filters, &mut tally)?;
        }
        Some((place, rest)) if place == "vm" => {
            let (pins, command) = chosen(rest, pins::KERNELS.iter().collect())?;
            setup::for_building(project)?;
            debian::install(&pins::TEST_PACKAGES)?;
            let payload = match command {
                Some(command) => Payload::of_command(command),
                None => probe_tests(project)?,
            };
            let guest = initramfs::build(project, &payload)?;
            on_kernels(project, &pins, &guest, &mut tally)?;
        }
        Some((place, rest)) if place == "service" => {
            let (pins, command) = chosen(rest, one_of_each())?;
            if command.is_some() {
                return Err(Usage("a service is started, not a command".into()).into());
            }
            setup::for_building(project)?;
            debian::install(&pins::TEST_PACKAGES)?;
            on_kernels(project, &pins, &service_tests(project)?, &mut tally)?;
        }
        Some((place, rest)) if place == "arm64" => {
            let (pins, command) = chosen(rest, one_of_each())?;
            setup::for_other_processors(project)?;
            debian::install(&pins::ARM64_PACKAGES)?;
            let guest = arm64::build(project, command)?;
            on_kernels(project, &pins, &guest, &mut tally)?;
        }
        _ => {
            let places = [
                "local [FILTER...]",
                "vm [SERIES...]",
                "arm64 [SERIES...]",
                "service [SERIES...]",
            ];
            let places = places.map(|place| format!("`test-kernel {place}`"));
            return Err(Usage(format!("say one of {}", places.join(", "))).into());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The probe tests on every pinned kernel.
pub(crate) fn matrix(project: &Project, tally: &mut Tally) -> Result<()> {
    let guest = initramfs::build(project, &probe_tests(project)?)?;
    let pins: Vec<_> = pins::KERNELS.iter().collect();
    on_kernels(project, &pins, &guest, tally)
}

/// The tests of the service under systemd.
pub(crate) fn service(project: &Project, tally: &mut Tally) -> Result<()> {
    on_kernels(project, &one_of_each(), &service_tests(project)?, tally)
}

fn one_of_each() -> Vec<&'static pins::KernelPin> {
    let is_one = |pin: &&pins::KernelPin| ONE_OF_EACH.contains(&pin.series);
    pins::KERNELS.iter().filter(is_one).collect()
}

/// The address of Debian's archive in the host's own sources.
pub(crate) fn mirror_of_debian() -> Result<String> {
    fetch::mirror(pins::Archive::Main)
}

/// Versions of the kernels that are downloaded.
pub(crate) fn cached(project: &Project) -> Vec<String> {
    pins::KERNELS
        .iter()
        .filter_map(|pin| fetch::cached(project, pin, Processor::X86_64))
        .map(|k| k.version)
        .collect()
}

/// The kernels that the arguments name, or else the `usual` ones, and the command.
fn chosen(
    arguments: &[String],
    usual: Vec<&'static pins::KernelPin>,
) -> Result<(Vec<&'static pins::KernelPin>, Option<String>)> {
    let (mut chosen, mut command) = (Vec::new(), None);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--command" {
            let text = arguments
                .next()
                .ok_or_else(|| Usage("--command needs a shell command".into()))?;
            command = Some(text.clone());
            continue;
        }
        let Some(pin) = pins::KERNELS.iter().find(|pin| pin.series == argument) else {
            let known: Vec<_> = pins::KERNELS.iter().map(|pin| pin.series).collect();
            return Err(Usage(format!(
                "no kernel series `{argument}`; there are: {}",
                known.join(", ")
            ))
            .into());
        };
        chosen.push(pin);
    }
    if chosen.is_empty() {
        chosen = usual;
    }
    Ok((chosen, command))
}

/// Boots `guest` on each kernel; the others still run after one failed.
fn on_kernels(
    project: &Project,
    pins: &[&pins::KernelPin],
    guest: &Guest,
    tally: &mut Tally,
) -> Result<()> {
    let kernels = pins
        .iter()
        .map(|pin| fetch::kernel(project, pin, guest.processor))
        .collect::<Result<Vec<_>>>()?;
    let mut verdicts = Vec::new();
    for kernel in kernels {
        let run = machine::boot(project, &kernel, guest)?;
        let verdict = judge(&kernel, guest, &run);
        println!(
            "test-kernel {}: {} passed, {} failed ({:.1} s){}",
            kernel.version,
            run.tally.passed,
            run.tally.failed,
            run.took.as_secs_f64(),
            verdict
                .as_ref()
                .err()
                .map(|why| format!(": {why:#}"))
                .unwrap_or_default(),
        );
        tally.add(run.tally);
        verdicts.push(verdict.with_context(|| format!("on {}", kernel.version)));
    }
    let failures: Vec<_> = verdicts
        .into_iter()
        .filter_map(Result::err)
        .map(|e| format!("{e:#}"))
        .collect();
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    Ok(())
}

fn judge(kernel: &Kernel, guest: &Guest, run: &Run) -> Result<()> {
    match &run.ending {
        Ending::Exited(0) => {}
        Ending::Exited(code) => bail!("exit code {code}"),
        Ending::Crashed(line) => bail!("the kernel crashed: {line}"),
        Ending::TimedOut => bail!("no end within {} s", guest.time_limit.as_secs()),
        Ending::Silent => bail!("the machine stopped without an exit code"),
    }
    if !guest.is_test {
        return Ok(());
    }
    suite::refuse_silence(&run.tally)?;
    let expected: Vec<_> = EXPECTED_SKIPS
        .iter()
        .filter(|(series, _)| *series == kernel.series)
        .map(|(_, skip)| *skip)
        .collect();
    suite::refuse_skips(&run.tally, &expected)
}

fn probe_tests(project: &Project) -> Result<Payload> {
    let built = Built::test(project, "kernel")?;
    let variables = [
        ("BPFTOK_BINARY", built.executable("bin", "bpftok")?),
        ("BPFTOK_TLS_PAIR", clients::tls_pair(project)?),
        (
            "BPFTOK_STRIPPED_TLS_PAIR",
            clients::stripped_tls_pair(project)?,
        ),
    ];
    Ok(Payload::of_test(
        built.executable("test", "kernel")?,
        PROBE_TESTS,
        &variables,
    ))
}

fn service_tests(project: &Project) -> Result<Guest> {
    let built = Built::test(project, "guest")?;
    let binary = built.executable("bin", "bpftok")?;
    let program = built.executable("test", "guest")?;
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let options = "--test-threads=1 --nocapture";
    let command = format!(
        "export BPFTOK_SYSTEMD_GUEST=1\n\
         ./{name} {options} --skip {LAST_TESTS}\nall=$?\n\
         ./{name} {options} {LAST_TESTS} && exit $all\n"
    );
    systemd::build(project, &binary, &[&program], &command)
}

/// What Cargo built, by its messages.
struct Built(String);

impl Built {
    /// A test program that loads probes, and the agent's binary.
    fn test(project: &Project, name: &str) -> Result<Self> {
        let cargo = project
            .cargo(&["test", "--no-run"])
            .without_env("AYA_BUILD_SKIP");
        Self::by(cargo, name)
    }

    /// The same, built by this command.
    fn by(cargo: Invocation, name: &str) -> Result<Self> {
        let messages = cargo
            .args(["--locked", "--package", "agent"])
            .args(["--features", "kernel-tests", "--test", name])
            .arg("--message-format=json-render-diagnostics")
            .read()?;
        Ok(Self(messages))
    }

    fn executable(&self, kind: &str, name: &str) -> Result<PathBuf> {
        executable(&self.0, kind, name)
            .with_context(|| format!("cargo names no executable of the {kind} `{name}`"))
    }
}

/// The executable of a target in Cargo's messages, one JSON object a line.
fn executable(messages: &str, kind: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| {
            let target = message.get("target")?;
            let is_kind = target.get("kind")?.as_array()?.iter().any(|k| k == kind);
            let found = is_kind && target.get("name")? == name;
            found.then(|| {
                message
                    .get("executable")?
                    .as_str()
                    .map(|path| Path::new(path).to_owned())
            })?
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_program_is_found_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"kernel"},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"e2e"},"executable":"/t/e2e-1"}
not json
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"kernel"},"executable":"/t/kernel-2"}
{"reason":"build-finished","success":true}"#;

        assert_eq!(
            executable(messages, "test", "kernel"),
            Some("/t/kernel-2".into())
        );
        assert_eq!(executable(messages, "test", "other"), None);
    }

    #[test]
    fn without_a_series_the_usual_kernels_are_chosen() {
        let command = ["--command".into(), "uname -r".into()];
        let (pins, command) = chosen(&command, one_of_each()).unwrap();

        let series: Vec<_> = pins.iter().map(|pin| pin.series).collect();
        assert_eq!(
            (series.as_slice(), command.as_deref()),
            (["6.1", "6.12"].as_slice(), Some("uname -r"))
        );
        let (pins, _) = chosen(&["7".into()], one_of_each()).unwrap();
        assert_eq!(pins, [&pins::KERNELS[3]]);
        assert!(chosen(&["4.19".into()], Vec::new()).is_err());
    }
}
