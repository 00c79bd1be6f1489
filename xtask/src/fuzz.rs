//! Fuzzing: seeds are replayed as tests, new ones are searched for with libFuzzer.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::project::{Project, make_folder};
use crate::tally::Tally;
use crate::{Usage, pins, setup, suite};

const MANIFEST: &str = "tests/fuzz/Cargo.toml";
const FOLDER: &str = "tests/fuzz";
const DEFAULT_SECONDS: u32 = 60;

/// `cargo xtask fuzz --replay | --grow [TARGET...] [--seconds N]`.
pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    match arguments.split_first() {
        Some((mode, [])) if mode == "--replay" => {
            setup::for_building(project)?;
            replay(project, &mut Tally::default())?;
        }
        Some((mode, rest)) if mode == "--grow" => {
            setup::for_building(project)?;
            grow(project, rest)?;
        }
        _ => {
            return Err(Usage(
                "say `fuzz --replay` or `fuzz --grow [TARGET...] [--seconds N]`".into(),
            )
            .into());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs every committed seed through its target.
pub(crate) fn replay(project: &Project, tally: &mut Tally) -> Result<()> {
    project
        .cargo(&["test", "--locked", "--manifest-path", MANIFEST])
        .watch(tally)?;
    suite::refuse_silence(tally)
}

fn grow(project: &Project, arguments: &[String]) -> Result<()> {
    let (mut seconds, mut wanted) = (DEFAULT_SECONDS, Vec::new());
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--seconds" {
            let number = arguments.next().and_then(|n| n.parse().ok());
            seconds = number.ok_or_else(|| Usage("--seconds needs a whole number".into()))?;
        } else {
            wanted.push(argument.as_str());
        }
    }
    let targets = targets(&project.text(MANIFEST)?);
    if let Some(unknown) = wanted.iter().find(|w| !targets.iter().any(|t| t == *w)) {
        return Err(Usage(format!(
            "no target `{unknown}`; there are: {}",
            targets.join(", ")
        ))
        .into());
    }

    if !project.tools().join("bin/cargo-fuzz").is_file() {
        setup::install_tool(project, "cargo-fuzz", pins::CARGO_FUZZ, &[])?;
    }
    for target in targets
        .iter()
        .filter(|t| wanted.is_empty() || wanted.contains(&t.as_str()))
    {
        // New inputs go to the first folder; the seeds are only read.
        let corpus = project.root.join(FOLDER).join("corpus").join(target);
        make_folder(&corpus)?;
        project
            .cargo(&[
                "fuzz",
                "run",
                "--fuzz-dir",
                FOLDER,
                "--features",
                "libfuzzer",
                target,
            ])
            // Sanitizers are unstable options. A nightly that happens to be installed may be older
            // than the pinned toolchain, so the pinned one takes them, in this child alone.
            .env("RUSTC_BOOTSTRAP", "1")
            .arg(&corpus)
            .arg(project.root.join(FOLDER).join("seeds").join(target))
            .args([
                "--",
                &format!("-max_total_time={seconds}"),
                "-timeout=10",
                "-rss_limit_mb=2048",
            ])
            .run()
            .with_context(|| format!("target {target}"))?;
    }
    println!(
        "Worth keeping? Copy small inputs from tests/fuzz/corpus/TARGET to tests/fuzz/seeds/TARGET."
    );
    Ok(())
}

/// Names of the `[[bin]]` sections of the fuzz package.
fn targets(manifest: &str) -> Vec<String> {
    let mut lines = manifest.lines().map(str::trim);
    let mut names = Vec::new();
    while let Some(line) = lines.next() {
        if line == "[[bin]]" {
            let name = lines
                .next()
                .and_then(|l| l.strip_prefix("name = \""))
                .and_then(|l| l.strip_suffix('"'));
            names.extend(name.map(str::to_owned));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_binaries_of_the_fuzz_package() {
        let manifest = "[package]\nname = \"fuzz\"\n\n[[bin]]\nname = \"http1\"\npath = \"x.rs\"\n[[bin]]\nname = \"sse\"\n";

        assert_eq!(targets(manifest), ["http1", "sse"]);
    }
}
