//! The root file system of a guest whose process 1 is systemd: a clean Debian, in which the files of
//! bpftok's package lie where the package puts them, and a payload.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::command::Invocation;
use crate::debootstrap::Clean;
use crate::kernel::initramfs::{self, PAYLOAD};
use crate::kernel::machine::Guest;
use crate::kernel::processor::Processor;
use crate::project::{Project, make_folder};
use crate::{dist, host};

const INIT: &str = include_str!("init-systemd.sh");
const UNIT: &str = include_str!("payload.service");

/// What the guest has beyond every Debian: clients with OpenSSL among them.
const PACKAGES: [&str; 4] = ["curl", "openssl", "sqlite3", "systemd"];

/// Folders that nobody in the guest reads; all that is in it lies in its memory.
const LEFT_OUT: [&str; 8] = [
    "usr/lib/apt",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "var/cache/apt",
    "var/lib/apt",
];

/// Units that wait for a terminal, a seat or a network that the guest does not have.
const MASKED: [&str; 7] = [
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "getty.target",
    "serial-getty@ttyS0.service",
    "systemd-logind.service",
];

/// The binary as the package's list of files calls it.
const BINARY: &str = "target/release/bpftok";
/// What is made for the package, in that list.
const MADE: &str = "../target/";
/// For a static agent; the guest's loads the library itself.
const NOT_NEEDED: &str = "target/release/bpftok-self-check";

/// One file of the package.
#[derive(Debug, PartialEq, Eq)]
struct Asset {
    source: String,
    /// Without the first slash; a folder where it ends with one.
    place: String,
    mode: u32,
}

/// Writes the root file system, in which `binary` is the agent's, and `programs` and `command` are
/// the payload.
pub(crate) fn build(
    project: &Project,
    binary: &Path,
    programs: &[&Path],
    command: &str,
) -> Result<Guest> {
    if !host::is_root() {
        bail!("a Debian for the guest is made by root");
    }
    let folder = project.target.join("vm");
    let root = folder.join("debian-root");
    let suite = suite_of_this_host()?;
    let clean = Clean {
        // Of other packages it is another.
        kept: folder.join(format!("{suite}-{}.tar", PACKAGES.join("-"))),
        suite,
        packages: &PACKAGES,
    };
    clean.unpack(&root)?;
    for path in LEFT_OUT.map(|path| root.join(path)) {
        if path.exists() {
            fs::remove_dir_all(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    install_package(project, binary, &root)?;
    for program in programs {
        initramfs::install_stripped(program, &root.join(PAYLOAD))?;
    }
    let packaging = project.root.join("agent/packaging/debian/postinst");
    initramfs::install(&packaging, &root.join(PAYLOAD).join("postinst"))?;
    initramfs::write_program(&root.join(PAYLOAD).join("command"), command)?;
    let units = root.join("etc/systemd/system");
    for unit in MASKED {
        link("/dev/null", &units.join(unit))?;
    }
    initramfs::write_program(&units.join("payload.service"), UNIT)?;
    fs::set_permissions(
        units.join("payload.service"),
        fs::Permissions::from_mode(0o644),
    )?;
    link(
        "../payload.service",
        &units.join("multi-user.target.wants/payload.service"),
    )?;
    fs::write(root.join("etc/hostname"), "guest\n")?;
    initramfs::write_program(&root.join("init"), INIT)?;

    let image = folder.join("initramfs-systemd");
    initramfs::pack(&root, &image)?;
    fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
    Ok(Guest {
        processor: Processor::X86_64,
        image,
        memory_mib: 2_048,
        parameters: "systemd.show_status=false",
        is_test: true,
        time_limit: Duration::from_secs(1_200),
    })
}

/// The programs of the payload run against the host's libraries, so the guest has the same release.
fn suite_of_this_host() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let value = |name: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim_matches('"').to_owned())
    };
    if value("ID=").as_deref() != Some("debian") {
        bail!("the guest with systemd is made on Debian only: it has the release of the host");
    }
    value("VERSION_CODENAME=").context("this Debian has no code name")
}

/// Puts the files of the deb where it puts them.
fn install_package(project: &Project, binary: &Path, root: &Path) -> Result<()> {
    dist::share(project, binary)?;
    let assets = assets(&project.text("agent/Cargo.toml")?)?;
    let is_read = |asset: &&Asset| {
        asset.source != NOT_NEEDED && !LEFT_OUT.iter().any(|out| asset.place.starts_with(out))
    };
    for asset in assets.iter().filter(is_read) {
        let source = if asset.source == BINARY {
            binary.to_owned()
        } else if let Some(made) = asset.source.strip_prefix(MADE) {
            project.target.join(made)
        } else {
            project.root.join("agent").join(&asset.source)
        };
        let place = root.join(&asset.place);
        for file in files_of(&source)? {
            let place = if asset.place.ends_with('/') {
                place.join(file.file_name().unwrap_or_default())
            } else {
                place.clone()
            };
            initramfs::install(&file, &place)?;
            if asset.source == BINARY {
                Invocation::new("strip").arg(&place).run()?;
            }
            fs::set_permissions(&place, fs::Permissions::from_mode(asset.mode))?;
        }
    }
    Ok(())
}

/// The file itself, or all of its folder where its name is a star.
fn files_of(source: &Path) -> Result<Vec<PathBuf>> {
    if source.file_name().is_none_or(|name| name != "*") {
        return Ok(vec![source.to_owned()]);
    }
    let folder = source.parent().unwrap_or(source);
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let files = entries.map(|entry| Ok(entry?.path()));
    files.collect()
}

/// The list of the deb's files: each line of it is a JSON array too.
fn assets(manifest: &str) -> Result<Vec<Asset>> {
    let (_, list) = manifest
        .split_once("[package.metadata.deb]")
        .and_then(|(_, table)| table.split_once("assets = ["))
        .context("the manifest of the agent has no list of the deb's files")?;
    let lines = list.lines().map(str::trim).skip_while(|l| l.is_empty());
    let lines = lines.take_while(|line| *line != "]");
    lines
        .map(|line| {
            let read = || {
                let fields: Value = serde_json::from_str(line.trim_end_matches(',')).ok()?;
                let text = |at: usize| Some(fields.get(at)?.as_str()?.to_owned());
                Some(Asset {
                    source: text(0)?,
                    place: text(1)?,
                    mode: u32::from_str_radix(&text(2)?, 8).ok()?,
                })
            };
            read().with_context(|| format!("{line} is no file of a package"))
        })
        .collect()
}

fn link(target: &str, place: &Path) -> Result<()> {
    make_folder(place.parent().unwrap_or(place))?;
    if place.is_symlink() {
        fs::remove_file(place)?;
    }
    symlink(target, place).with_context(|| format!("cannot make the link {}", place.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_deb_are_read_from_the_manifest() {
        let manifest = "[package.metadata.deb]\nname = \"bpftok\"\nassets = [\n    \
                        [\"packaging/a.service\", \"usr/lib/systemd/system/\", \"644\"],\n    \
                        [\"docs/*\", \"usr/share/doc/\", \"755\"],\n]\n\n[other]\nassets = [\n  5,\n]\n";

        let asset = |source: &str, place: &str, mode| Asset {
            source: source.to_owned(),
            place: place.to_owned(),
            mode,
        };
        assert_eq!(
            assets(manifest).unwrap(),
            [
                asset("packaging/a.service", "usr/lib/systemd/system/", 0o644),
                asset("docs/*", "usr/share/doc/", 0o755)
            ]
        );
        assert!(assets("[package]\nname = \"a\"\n").is_err());
        assert!(assets(&manifest.replace(", \"644\"", "")).is_err());
    }
}
