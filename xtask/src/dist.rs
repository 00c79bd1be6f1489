//! `dist`: static binaries, and the packages that hold them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::command::Invocation;
use crate::project::{Project, make_folder};
use crate::{Usage, pins, setup};

/// A processor that packages are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// As rustc calls it.
    pub(crate) triple: &'static str,
    /// The same for programs that load the host's libraries.
    dynamic: &'static str,
    /// As it is called on the command line.
    arch: &'static str,
}

const TARGETS: [Target; 2] = [
    Target {
        triple: "x86_64-unknown-linux-musl",
        dynamic: "x86_64-unknown-linux-gnu",
        arch: "x86_64",
    },
    Target {
        triple: "aarch64-unknown-linux-musl",
        dynamic: "aarch64-unknown-linux-gnu",
        arch: "aarch64",
    },
];

/// Shells that completions are made for, and the file of each in `target/dist/share`.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "bpftok.bash"),
    ("zsh", "_bpftok"),
    ("fish", "bpftok.fish"),
];

/// What the static program has make a call of a TLS library, for it can't load one.
pub(crate) const HELPER: &str = "bpftok-self-check";

/// `cargo xtask dist [ARCH...]`.
pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let targets = chosen(arguments)?;
    prepare(project)?;
    let mut made = Vec::new();
    for target in targets {
        made.extend(packages(project, target, None)?);
    }
    println!("\nmade:");
    for path in made {
        println!("  {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn chosen(arguments: &[String]) -> Result<Vec<Target>> {
    if arguments.is_empty() {
        return Ok(TARGETS.to_vec());
    }
    arguments
        .iter()
        .map(|argument| {
            let known = TARGETS.iter().find(|target| target.arch == argument);
            known.copied().ok_or_else(|| {
                Usage(format!(
                    "nothing is made for `{argument}`; there are: {}",
                    TARGETS.map(|target| target.arch).join(", ")
                ))
                .into()
            })
        })
        .collect()
}

/// The target with this name on the command line.
pub(crate) fn of(arch: &str) -> Result<Target> {
    TARGETS
        .into_iter()
        .find(|target| target.arch == arch)
        .with_context(|| format!("no package is made for {arch}"))
}

/// The target of this host.
pub(crate) fn of_this_host() -> Result<Target> {
    of(std::env::consts::ARCH)
}

/// Makes what is the same in the packages of every processor and version.
pub(crate) fn prepare(project: &Project) -> Result<()> {
    setup::for_packaging(project)?;
    share(project, &build(project, of_this_host()?)?)?;
    notices(project)
}

/// Makes the packages of one target after [`prepare`], with a version other than the workspace's if one
/// is given.
pub(crate) fn packages(
    project: &Project,
    target: Target,
    version: Option<&str>,
) -> Result<Vec<PathBuf>> {
    let binary = build(project, target)?;
    let helper = build_helper(project, target)?;
    let folder = project.target.join("dist").join(target.arch);
    make_folder(&folder)?;
    let plain = folder.join("bpftok");
    copy(&binary, &plain)?;
    let beside = folder.join(HELPER);
    copy(&helper, &beside)?;
    let deb = deb(project, target, &folder, version)?;
    let rpm = rpm(project, target, &folder)?;
    Ok(vec![plain, beside, deb, rpm])
}

/// A static binary without debug information.
pub(crate) fn build(project: &Project, target: Target) -> Result<PathBuf> {
    zigbuild(project, target.triple)
        .args(["--release", "--locked", "--package", "agent"])
        .run()?;
    let binary = project.target.join(target.triple).join("release/bpftok");
    objcopy()?.arg("--strip-all").arg(&binary).run()?;
    Ok(binary)
}

/// The program that loads a TLS library for the static one, without debug information, beside that one.
fn build_helper(project: &Project, target: Target) -> Result<PathBuf> {
    let dynamic = format!("{}.{}", target.dynamic, pins::OLDEST_GLIBC);
    zigbuild(project, &dynamic)
        .args(["--release", "--locked", "--package", "agent-self-check"])
        .run()?;
    let release = |triple: &str| project.target.join(triple).join("release").join(HELPER);
    let built = release(target.dynamic);
    objcopy()?.arg("--strip-all").arg(&built).run()?;
    let beside = release(target.triple);
    copy(&built, &beside)?;
    Ok(beside)
}

/// `cargo zigbuild` for a target, with the kernel programs.
pub(crate) fn zigbuild(project: &Project, triple: &str) -> Invocation {
    let zig = project.tools().join("zig/bin");
    let mut path = zig.into_os_string();
    path.push(":");
    path.push(project.search_path());
    project
        .cargo(&["zigbuild", "--target", triple])
        .quiet_env("PATH", path)
        .without_env("AYA_BUILD_SKIP")
}

/// A tool that strips programs of every processor.
pub(crate) fn objcopy() -> Result<Invocation> {
    let program = ask_rustc("target-libdir")?.with_file_name("bin/rust-objcopy");
    if !program.is_file() {
        bail!("{} is missing", program.display());
    }
    // It is part of the toolchain, but does not look for its library there.
    let libraries = ask_rustc("sysroot")?.join("lib");
    Ok(Invocation::new(program).quiet_env("LD_LIBRARY_PATH", libraries))
}

/// A folder of the toolchain.
fn ask_rustc(folder: &str) -> Result<PathBuf> {
    let path = Invocation::new("rustc")
        .arg(format!("+{}", pins::TOOLCHAIN))
        .args(["--print", folder])
        .ask()
        .with_context(|| format!("rustc names no {folder}"))?;
    Ok(PathBuf::from(path.trim()))
}

/// What is the same for every processor, made by a binary of this host.
pub(crate) fn share(project: &Project, binary: &Path) -> Result<()> {
    let folder = project.target.join("dist/share");
    let man = folder.join("man");
    if man.exists() {
        fs::remove_dir_all(&man).with_context(|| format!("cannot remove {}", man.display()))?;
    }
    make_folder(&man)?;
    Invocation::new(binary).arg("man").arg(&man).run()?;
    for (shell, file) in COMPLETIONS {
        let script = Invocation::new(binary)
            .args(["completions", shell])
            .read()?;
        write(&folder.join(file), &script)?;
    }
    let default = project.text("agent/src/config/default.toml")?;
    write(&folder.join("config.toml"), &commented(&default))?;
    write(&folder.join("changelog"), &changelog(&version(project)?))
}

/// The licences of all that is linked into the program.
fn notices(project: &Project) -> Result<()> {
    let path = project.target.join("dist/share/THIRD-PARTY-NOTICES");
    project
        .cargo(&["about", "generate", "--frozen", "--fail"])
        .args(["--manifest-path", "agent/Cargo.toml"])
        .args(["--config", "agent/packaging/notices.toml"])
        .arg("--output-file")
        .arg(path)
        .arg("agent/packaging/notices.hbs")
        .run()
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The defaults as comments, so that those of a later version hold where nothing was changed.
fn commented(default: &str) -> String {
    default
        .lines()
        .map(|line| {
            if line.is_empty() || line.starts_with('#') || line.starts_with('[') {
                format!("{line}\n")
            } else {
                format!("#{line}\n")
            }
        })
        .collect()
}

/// Debian's changelog of a package that has none of its own: what changed is in CHANGELOG.md.
fn changelog(version: &str) -> String {
    format!(
        "bpftok ({version}-1) unstable; urgency=medium\n\n  * What changed is in CHANGELOG.md of the source.\n\n \
         -- The bpftok authors <bpftok@localhost>  Sun, 01 Nov 2026 00:00:00 +0000\n"
    )
}

fn version(project: &Project) -> Result<String> {
    let manifest = project.text("Cargo.toml")?;
    manifest
        .lines()
        .find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
        .map(str::to_owned)
        .context("the workspace has no version")
}

fn deb(project: &Project, target: Target, folder: &Path, version: Option<&str>) -> Result<PathBuf> {
    let mut cargo = project
        .cargo(&["deb", "--no-build", "--no-strip", "--package", "agent"])
        .args(["--target", target.triple, "--output"])
        .arg(folder)
        // Its paths are looked for where it runs.
        .directory(&project.root.join("agent"));
    if let Some(version) = version {
        cargo = cargo.args(["--deb-version", version]);
    }
    let path = cargo.read()?;
    // It prints the path of what it made.
    let path = path.lines().last().context("cargo-deb names no file")?;
    Ok(PathBuf::from(path))
}

fn rpm(project: &Project, target: Target, folder: &Path) -> Result<PathBuf> {
    let version = version(project)?;
    let path = folder.join(format!("bpftok-{version}-1.{}.rpm", target.arch));
    project
        .cargo(&[
            "generate-rpm",
            "--package",
            "agent",
            "--target",
            target.triple,
        ])
        .arg("--output")
        .arg(&path)
        .run()?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packaged_configuration_sets_nothing() {
        let default = "# A section.\n\n[daemon]\n# The ledger.\ndb = \"/x\"\n";
        assert_eq!(
            commented(default),
            "# A section.\n\n[daemon]\n# The ledger.\n#db = \"/x\"\n"
        );
    }

    #[test]
    fn without_a_processor_packages_are_made_for_all() {
        assert_eq!(chosen(&[]).unwrap(), TARGETS);
        assert_eq!(chosen(&["aarch64".into()]).unwrap(), [TARGETS[1]]);
        assert!(chosen(&["riscv64".into()]).is_err());
    }
}
