//! The agents and runtimes that live tests watch and the resolver's tests read: packages of npm and
//! wheels in pinned versions, unpacked and never installed, so that none of their own scripts runs.
//!
//! Each lies in a folder `NAME-ARCH`, where `ARCH` is `x64` or `arm64`; the resolver reads both on
//! either machine. `gemini` is JavaScript and has no `ARCH`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::clients::{self, Pins};
use crate::command::Invocation;
use crate::npm;
use crate::project::{Project, make_folder};

const MANIFEST: &str = "tests/peers/programs/package.json";
const LOCK: &str = "tests/peers/programs/package-lock.json";
const WHEELS: &str = "tests/peers/programs/wheels.txt";

/// Machines as the folders name them, and as wheels do.
const MACHINES: [(&str, &str); 2] = [("x64", "x86_64"), ("arm64", "aarch64")];

/// The CPython whose wheels are pinned. They are not run, so it need not be this machine's.
const PYTHON: &str = "3.11";

/// Downloads what is missing or older than its pins: 1.4 GB, of which 2.9 GB are unpacked.
///
/// The pinned Python clients must be there, since it is their `pip` that downloads the wheels.
pub(crate) fn install(project: &Project) -> Result<()> {
    let pins = pins(project)?;
    if pins.are_met() {
        return Ok(());
    }
    println!("setup: downloading the programs of {LOCK} and {WHEELS}, 1.4 GB");
    pins.start_over()?;
    npm_packages(project, &pins.folder)?;
    for (arch, machine) in MACHINES {
        wheels(project, &pins.folder, arch, machine)?;
    }
    pins.seal()?;
    println!("setup: unpacked them in {}", pins.folder.display());
    Ok(())
}

/// Whether the programs are unpacked as pinned.
pub(crate) fn are_installed(project: &Project) -> Result<bool> {
    Ok(pins(project)?.are_met())
}

/// Tells a child where the programs are.
pub(crate) fn announce_to(project: &Project, child: Invocation) -> Invocation {
    child.env("BPFTOK_PROGRAMS", folder(project))
}

fn folder(project: &Project) -> PathBuf {
    project.target.join("bpftok/programs")
}

fn pins(project: &Project) -> Result<Pins> {
    Ok(Pins {
        text: project.text(LOCK)? + &project.text(WHEELS)?,
        folder: folder(project),
    })
}

fn npm_packages(project: &Project, folder: &Path) -> Result<()> {
    let work = folder.join(".npm");
    make_folder(&work)?;
    for file in [MANIFEST, LOCK] {
        let source = project.root.join(file);
        let name = source
            .file_name()
            .with_context(|| format!("{file} has no name"))?;
        fs::copy(&source, work.join(name)).with_context(|| format!("cannot copy {file}"))?;
    }
    // Half of the packages are for the other machine.
    npm::install(&work, &["--omit=optional", "--force"])?;
    for entry in fs::read_dir(work.join("node_modules"))? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with('.') {
            fs::rename(entry.path(), folder.join(&name))
                .with_context(|| format!("cannot move {}", name.to_string_lossy()))?;
        }
    }
    remove(&work)
}

fn wheels(project: &Project, folder: &Path, arch: &str, machine: &str) -> Result<()> {
    let work = folder.join(".wheels");
    make_folder(&work)?;
    let python = clients::python(project);
    Invocation::new(&python)
        .args(["-m", "pip", "download", "--quiet", "--no-cache-dir"])
        .args(["--no-deps", "--only-binary", ":all:", "--require-hashes"])
        .args(["--implementation", "cp", "--python-version", PYTHON])
        .args(["--platform", &format!("manylinux2014_{machine}")])
        .args(["--platform", &format!("manylinux_2_28_{machine}")])
        .arg("--dest")
        .arg(&work)
        .arg("-r")
        .arg(project.root.join(WHEELS))
        .run()?;
    for entry in fs::read_dir(&work)? {
        let wheel = entry?.path();
        let file = wheel.file_name().unwrap_or_default().to_string_lossy();
        let name = distribution(&file)
            .with_context(|| format!("{} is not named as a wheel is", wheel.display()))?;
        Invocation::new(&python)
            .args(["-m", "zipfile", "-e"])
            .arg(&wheel)
            .arg(folder.join(format!("{name}-{arch}")))
            .run()?;
    }
    remove(&work)
}

/// The name of the package in the name of a wheel.
fn distribution(wheel: &str) -> Option<&str> {
    wheel.strip_suffix(".whl")?.split('-').next()
}

fn remove(folder: &Path) -> Result<()> {
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_is_unpacked_under_the_name_of_its_package() {
        let wheel = "curl_cffi-0.16.0-cp310-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl";

        assert_eq!(distribution(wheel), Some("curl_cffi"));
        assert_eq!(distribution("curl_cffi-0.16.0.tar.gz"), None);
    }
}
