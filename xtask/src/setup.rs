//! Brings a fresh machine to where the rest can run: quick when there is nothing to do.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::command::Invocation;
use crate::project::Project;
use crate::{clients, debian, host, pins, programs};

/// What building the agent needs.
pub(crate) fn for_building(project: &Project) -> Result<()> {
    toolchain()?;
    linker(project)
}

/// What the demo and most tests need besides: Debian packages and clients of our own.
pub(crate) fn for_testing(project: &Project) -> Result<()> {
    for_building(project)?;
    debian::install(&pins::TEST_PACKAGES)?;
    clients::install(project)
}

/// What live tests and the tests of the resolver need besides: the programs that people run.
pub(crate) fn for_testing_programs(project: &Project) -> Result<()> {
    for_testing(project)?;
    programs::install(project)
}

/// What building for other processors needs besides: targets, and a C compiler for them.
pub(crate) fn for_other_processors(project: &Project) -> Result<()> {
    for_building(project)?;
    debian::install(&["python3-venv"])?;
    let installed = Invocation::new("rustup")
        .args([
            "target",
            "list",
            "--installed",
            "--toolchain",
            pins::TOOLCHAIN,
        ])
        .ask()
        .unwrap_or_default();
    for target in [pins::STATIC_TARGETS, pins::DYNAMIC_TARGETS].concat() {
        if !installed.lines().any(|line| line == target) {
            Invocation::new("rustup")
                .args(["target", "add", "--toolchain", pins::TOOLCHAIN, target])
                .run()?;
        }
    }
    zig(project)
}

/// What making packages needs besides: the packagers.
pub(crate) fn for_packaging(project: &Project) -> Result<()> {
    for_other_processors(project)?;
    debian::install(&pins::PACKAGING_PACKAGES)?;
    let tools: [(_, _, &[&str]); 3] = [
        ("cargo-deb", pins::CARGO_DEB, &[]),
        ("cargo-generate-rpm", pins::CARGO_GENERATE_RPM, &[]),
        ("cargo-about", pins::CARGO_ABOUT, &["--features", "cli"]),
    ];
    for (name, version, options) in tools {
        // The second one says its version on no other way.
        let has = project.tools().join("bin").join(name).is_file()
            && installed_tools(project).contains(&format!("{name} v{version}:"));
        if !has {
            install_tool(project, name, version, options)?;
        }
    }
    Ok(())
}

/// The list of what `cargo install` put into the private folder.
fn installed_tools(project: &Project) -> String {
    project
        .cargo(&["install", "--list", "--root"])
        .arg(project.tools())
        .ask()
        .unwrap_or_default()
}

/// zig and cargo-zigbuild, in a Python environment of their own.
fn zig(project: &Project) -> Result<()> {
    let folder = project.tools().join("zig");
    let wanted = [
        format!("ziglang=={}", pins::ZIG),
        format!("cargo-zigbuild=={}", pins::CARGO_ZIGBUILD),
    ];
    let pip = folder.join("bin/pip");
    let installed = Invocation::new(&pip)
        .arg("freeze")
        .ask()
        .unwrap_or_default();
    if wanted
        .iter()
        .all(|line| installed.lines().any(|l| l == line))
    {
        return Ok(());
    }
    Invocation::new("python3")
        .args(["-m", "venv"])
        .arg(&folder)
        .run()?;
    Invocation::new(&pip)
        .args(["install", "--quiet"])
        .args(&wanted)
        .run()?;
    println!("setup: installed {}", wanted.join(", "));
    Ok(())
}

/// Whether the pinned toolchain is there with its components.
pub(crate) fn has_toolchain() -> bool {
    let installed = Invocation::new("rustup")
        .args([
            "component",
            "list",
            "--installed",
            "--toolchain",
            pins::TOOLCHAIN,
        ])
        .ask()
        .unwrap_or_default();
    pins::COMPONENTS
        .iter()
        .all(|component| installed.lines().any(|line| line.starts_with(component)))
}

/// The program of `bpf-linker` in the pinned version: ours, or one on `PATH`.
pub(crate) fn find_linker(project: &Project) -> Option<PathBuf> {
    let ours = project.tools().join("bin/bpf-linker");
    [Some(ours), host::find_program("bpf-linker")]
        .into_iter()
        .flatten()
        .find(|program| {
            Invocation::new(program)
                .arg("--version")
                .ask()
                .is_some_and(|v| says_version(&v, pins::BPF_LINKER))
        })
}

/// `cargo-deny` in the pinned version, if it is there.
pub(crate) fn find_deny(project: &Project) -> Option<PathBuf> {
    let ours = project.tools().join("bin/cargo-deny");
    [Some(ours), host::find_program("cargo-deny")]
        .into_iter()
        .flatten()
        .find(|program| {
            Invocation::new(program)
                .arg("--version")
                .ask()
                .is_some_and(|v| says_version(&v, pins::CARGO_DENY))
        })
}

/// Installs a Rust program into the private folder of tools.
pub(crate) fn install_tool(
    project: &Project,
    name: &str,
    version: &str,
    options: &[&str],
) -> Result<()> {
    let root = project.tools();
    project
        .cargo(&["install", name, "--version", version, "--locked", "--root"])
        .arg(&root)
        .args(options)
        .run()
        .with_context(|| format!("cannot install {name}"))?;
    println!("setup: installed {name} {version} in {}", root.display());
    Ok(())
}

fn toolchain() -> Result<()> {
    if has_toolchain() {
        return Ok(());
    }
    if host::find_program("rustup").is_none() {
        bail!(
            "rustup is missing, so Rust {} cannot be installed; get rustup from your distribution or rustup.rs",
            pins::TOOLCHAIN
        );
    }
    Invocation::new("rustup")
        .args([
            "toolchain",
            "install",
            pins::TOOLCHAIN,
            "--no-self-update",
            "--profile",
            "minimal",
        ])
        .args(["--component", &pins::COMPONENTS.join(",")])
        .run()?;
    println!(
        "setup: installed Rust {} with {}",
        pins::TOOLCHAIN,
        pins::COMPONENTS.join(", ")
    );
    Ok(())
}

fn linker(project: &Project) -> Result<()> {
    if find_linker(project).is_some() {
        return Ok(());
    }
    install_tool(project, "bpf-linker", pins::BPF_LINKER, &[])
}

/// Whether the answer to `--version` names exactly `version`.
fn says_version(answer: &str, version: &str) -> bool {
    answer.split_whitespace().any(|word| word == version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_compared_whole() {
        assert!(says_version("bpf-linker 0.10.4\n", "0.10.4"));
        assert!(!says_version("bpf-linker 0.10.41\n", "0.10.4"));
    }
}
