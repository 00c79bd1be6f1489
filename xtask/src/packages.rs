//! `test-packages`: what the packages do to a machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::command::Invocation;
use crate::debootstrap::Clean;
use crate::dist;
use crate::host;
use crate::project::{Project, make_folder};

/// The suite of the clean Debian.
const SUITE: &str = "bookworm";

/// An older version than any that is released.
const OLDER: &str = "0.0.1-1";

/// Where the ledger is, and one that a user has.
const LEDGER: &str = "var/lib/bpftok/usage.db";
const RECORDING: &str = "tests/corpus/curl-http2/recording.bpftok";
const CONFIGURATION: &str = "etc/bpftok/config.toml";
const EDITED: &str = "[session]\nidle_minutes = 5\n";

/// What both packages bring beyond their own documentation.
const FILES: [&str; 13] = [
    "/etc/bpftok/config.toml",
    "/usr/bin/bpftok",
    "/usr/lib/bpftok/fit-service",
    "/usr/lib/bpftok/older-kernel.conf",
    "/usr/lib/systemd/system/bpftok.service",
    "/usr/lib/sysusers.d/bpftok.conf",
    "/usr/lib/tmpfiles.d/bpftok.conf",
    "/usr/libexec/bpftok/self-check",
    "/usr/share/bash-completion/completions/bpftok",
    "/usr/share/doc/bpftok/README.md",
    "/usr/share/doc/bpftok/THIRD-PARTY-NOTICES",
    "/usr/share/doc/bpftok/examples/network.conf",
    "/usr/share/fish/vendor_completions.d/bpftok.fish",
];

/// `cargo xtask test-packages`.
pub(crate) fn run(project: &Project, _: &[String]) -> Result<ExitCode> {
    if !host::is_root() {
        bail!("a clean Debian is made and entered by root");
    }
    let target = dist::of_this_host()?;
    dist::prepare(project)?;
    let older = project.target.join("packages/older.deb");
    make_folder(older.parent().unwrap_or(&project.target))?;
    let deb_of = |version: Option<&str>| -> Result<(PathBuf, PathBuf)> {
        let made = dist::packages(project, target, version)?;
        match made.as_slice() {
            [.., deb, rpm] => Ok((deb.clone(), rpm.clone())),
            _ => bail!("a deb and an rpm were to be made"),
        }
    };
    fs::rename(deb_of(Some(OLDER))?.0, &older).context("cannot put the older package aside")?;
    let (deb, rpm) = deb_of(None)?;
    Invocation::new("lintian")
        .args(["--fail-on", "error,warning", "--allow-root"])
        .arg(&deb)
        .run()?;
    look_into_deb(&deb)?;
    look_into_rpm(&rpm)?;
    live_through(project, &Debian::clean(project)?, &older, &deb)?;
    println!("the packages are as they should be");
    Ok(ExitCode::SUCCESS)
}

fn look_into_deb(deb: &Path) -> Result<()> {
    let listed = Invocation::new("dpkg-deb")
        .arg("--contents")
        .arg(deb)
        .read()?;
    let files: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5)?.strip_prefix('.'))
        .collect();
    expect_files(&files, "/usr/share/zsh/vendor-completions/_bpftok")
}

fn look_into_rpm(rpm: &Path) -> Result<()> {
    let ask = |what: &[&str]| Invocation::new("rpm").arg("-qp").args(what).arg(rpm).read();
    let listed = ask(&["--list"])?;
    expect_files(
        &listed.lines().collect::<Vec<_>>(),
        "/usr/share/zsh/site-functions/_bpftok",
    )?;
    let configuration = ask(&["--configfiles"])?;
    if configuration.trim() != "/etc/bpftok/config.toml" {
        bail!("the rpm's configuration files are {configuration:?}");
    }
    let scripts = ask(&["--scripts"])?;
    for part in [
        "systemd-sysusers",
        "systemctl --no-reload disable --now",
        "daemon-reload",
    ] {
        if !scripts.contains(part) {
            bail!("the rpm's scripts lack {part:?}");
        }
    }
    if scripts.contains("rm -r ") || scripts.contains("enable bpftok") {
        bail!("the rpm's scripts delete or enable something unasked");
    }
    Ok(())
}

fn expect_files(files: &[&str], zsh: &str) -> Result<()> {
    let missing: Vec<_> = FILES
        .into_iter()
        .chain([zsh])
        .filter(|file| !files.contains(file))
        .collect();
    let has_page = files
        .iter()
        .any(|file| file.starts_with("/usr/share/man/man1/bpftok.1"));
    if !missing.is_empty() || !has_page {
        bail!("the package lacks {}", missing.join(", "));
    }
    Ok(())
}

/// A Debian in a folder.
struct Debian {
    root: PathBuf,
}

impl Debian {
    /// Unpacks the one that was made before, or makes it.
    fn clean(project: &Project) -> Result<Self> {
        let folder = project.target.join("packages");
        let root = folder.join("root");
        let clean = Clean {
            kept: folder.join(format!("{SUITE}.tar")),
            suite: SUITE.to_owned(),
            packages: &["systemd", "sqlite3"],
        };
        clean.unpack(&root)?;
        Ok(Self { root })
    }

    fn inside(&self, program: &str) -> Invocation {
        // systemd's tools want /proc; with the namespace it is gone again.
        let enter = "mount -t proc proc \"$0/proc\" && exec chroot \"$0\" \"$@\"";
        Invocation::new("unshare")
            .args(["--mount", "--", "sh", "-c", enter])
            .arg(&self.root)
            .arg(program)
            .env("DEBIAN_FRONTEND", "noninteractive")
    }

    fn install(&self, deb: &Path) -> Result<()> {
        let inside = self.root.join("tmp/bpftok.deb");
        fs::copy(deb, &inside).with_context(|| format!("cannot copy {}", deb.display()))?;
        // A changed configuration file is kept without a question.
        self.inside("dpkg")
            .args(["--force-confold", "--install", "/tmp/bpftok.deb"])
            .run()
    }

    fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }
}

/// Installs, uses, upgrades, removes and purges.
fn live_through(project: &Project, debian: &Debian, older: &Path, newer: &Path) -> Result<()> {
    let expect = |is_so: bool, what: &str| -> Result<()> {
        if !is_so {
            bail!("not so: {what}");
        }
        println!("  {what}");
        Ok(())
    };
    debian.install(older)?;
    expect(debian.has("usr/bin/bpftok"), "the program is installed")?;
    debian.inside("bpftok").args(["config", "check"]).run()?;
    // Every Debian with systemd has an OpenSSL.
    let call = "echo packages.invalid | /usr/libexec/bpftok/self-check /usr/lib/*/libssl.so.3";
    debian.inside("sh").args(["-c", call]).run()?;
    let owner = debian
        .inside("stat")
        .args(["-c", "%U:%G %a", "/var/lib/bpftok"])
        .read()?;
    expect(
        owner.trim() == "bpftok:bpftok 750",
        "the folder of the ledger is the service's, and its group may read it",
    )?;
    let wants = "etc/systemd/system/multi-user.target.wants/bpftok.service";
    expect(
        !debian.root.join(wants).is_symlink(),
        "the service is not enabled unasked",
    )?;
    make_ledger(project, debian)?;
    let before = fs::read(debian.root.join(LEDGER)).context("there is no ledger")?;
    fs::write(debian.root.join(CONFIGURATION), EDITED).context("cannot edit the configuration")?;

    debian.install(newer)?;
    let kept = |what: &str| -> Result<()> {
        let after = fs::read(debian.root.join(LEDGER)).unwrap_or_default();
        expect(after == before, what)
    };
    kept("the ledger is the same after the upgrade")?;
    let configuration = debian.root.join(CONFIGURATION);
    expect(
        fs::read_to_string(&configuration).is_ok_and(|text| text == EDITED),
        "so is the configuration",
    )?;

    debian.inside("dpkg").args(["--remove", "bpftok"]).run()?;
    expect(!debian.has("usr/bin/bpftok"), "the program is removed")?;
    expect(configuration.is_file(), "the configuration stays")?;
    kept("the ledger stays when the package is removed")?;

    debian.inside("dpkg").args(["--purge", "bpftok"]).run()?;
    expect(!debian.has("etc/bpftok"), "the configuration is purged")?;
    kept("the ledger stays when the package is purged")
}

/// A ledger with a call in it, made by the installed program.
fn make_ledger(project: &Project, debian: &Debian) -> Result<()> {
    let recording = debian.root.join("tmp/call.rec");
    fs::copy(project.root.join(RECORDING), &recording).context("cannot copy a recording")?;
    debian
        .inside("bpftok")
        .args(["replay", "/tmp/call.rec", "--db"])
        .arg(Path::new("/").join(LEDGER))
        .run()?;
    let owner = debian
        .inside("stat")
        .args(["-c", "%U:%G"])
        .arg(Path::new("/").join(LEDGER))
        .read()?;
    if owner.trim() != "bpftok:bpftok" {
        bail!("a ledger that root makes in the service's folder is {owner}");
    }
    Ok(())
}
