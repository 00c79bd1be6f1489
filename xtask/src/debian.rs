//! Packages of a Debian host.

use anyhow::{Result, bail};

use crate::command::Invocation;
use crate::host;

/// Those of `packages` that are not installed; all of them where dpkg is missing.
pub(crate) fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    // It fails if one is unknown, so they are asked one by one.
    let installed = |package: &str| {
        Invocation::new("dpkg-query")
            .args(["-W", "-f", "${db:Status-Status}", package])
            .ask()
            .is_some_and(|status| status == "installed")
    };
    packages
        .iter()
        .copied()
        .filter(|package| !installed(package))
        .collect()
}

/// Installs what is missing; without root it says what to type.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if host::find_program("apt-get").is_none() {
        bail!("this host has no apt-get; install what Debian calls: {list}");
    }
    if !host::is_root() {
        bail!("packages are missing; run: sudo apt-get install {list}");
    }
    if let Err(error) = Invocation::new("apt-get").args(["update", "-q"]).run() {
        // A source of somebody else's may be unreachable; the installation tells whether it matters.
        println!("setup: going on although the package lists are incomplete: {error:#}");
    }
    Invocation::new("apt-get")
        .args(["install", "-q", "-y", "--no-install-recommends"])
        .args(missing)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run()?;
    println!("setup: installed {list}");
    Ok(())
}
