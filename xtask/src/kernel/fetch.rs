//! Debian's kernels, fetched with an apt configuration of our own: nothing on the host changes.
//!
//! Only the kernel image is kept. The mirrors are those of the host's own apt sources.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::command::Invocation;
use crate::kernel::processor::Processor;
use crate::pins::{Archive, KernelPin};
use crate::project::{Project, make_folder};

/// Signs all of Debian's suites; part of every Debian host.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const IMAGE: &str = "vmlinuz";
/// File beside the image that names the package it came from.
const ORIGIN: &str = "package";

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// Series as pinned, for example `6.1`.
    pub(crate) series: &'static str,
    /// Upstream version, for example `6.1.192`.
    pub(crate) version: String,
    /// Whose instructions it has.
    pub(crate) processor: Processor,
    /// Compressed kernel image.
    pub(crate) image: PathBuf,
}

/// The downloaded kernel of a series, or else the newest that its suite has.
pub(crate) fn kernel(project: &Project, pin: &KernelPin, processor: Processor) -> Result<Kernel> {
    if let Some(kernel) = cached(project, pin, processor) {
        println!("kernel {} is in {}", kernel.version, kernel.image.display());
        return Ok(kernel);
    }
    // That guest runs the host's programs.
    if processor == Processor::X86_64 && std::env::consts::ARCH != "x86_64" {
        bail!("the kernel matrix runs on x86-64 hosts only; use `test-kernel local`");
    }
    download(project, pin, processor)
        .with_context(|| format!("cannot fetch a {} kernel from {}", pin.series, pin.suite))
}

/// The downloaded kernel of a series.
pub(crate) fn cached(project: &Project, pin: &KernelPin, processor: Processor) -> Option<Kernel> {
    let folder = kernels(project, processor);
    let mut versions: Vec<String> = fs::read_dir(&folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|version| is_of_series(version, pin.series))
        .collect();
    versions.sort_by(|a, b| by_numbers(a, b));
    let version = versions.pop()?;
    let image = folder.join(&version).join(IMAGE);
    image.is_file().then_some(Kernel {
        series: pin.series,
        version,
        processor,
        image,
    })
}

fn download(project: &Project, pin: &KernelPin, processor: Processor) -> Result<Kernel> {
    let apt = Apt::prepare(project, pin.suite, pin.archive, processor)?;
    let name = apt.newest(pin.series)?;
    let version = apt.version(&name)?;
    // From 7.x on the image is in a package of its own.
    let binary = name.replacen("linux-image-", "linux-binary-", 1);
    let package = if apt.knows(&binary) { binary } else { name };
    println!(
        "kernel {version} is the newest {} of {}: {package}",
        pin.series, pin.suite
    );

    let unpacked = apt.folder.join("unpacked");
    start_over(&unpacked)?;
    apt.tool("apt-get")
        .args(["download", &package])
        .directory(&unpacked)
        .run()?;
    unpack(&only_file(&unpacked, "deb")?, &unpacked)?;
    let image =
        find_image(&unpacked).with_context(|| format!("{package} holds no kernel image"))?;

    let folder = kernels(project, processor).join(&version);
    make_folder(&folder)?;
    fs::write(
        folder.join(ORIGIN),
        format!("{package} {version} {}\n", pin.suite),
    )?;
    // Renamed last: an image that is there is whole.
    let kept = folder.join(IMAGE);
    fs::rename(&image, &kept).with_context(|| format!("cannot move {}", image.display()))?;
    fs::remove_dir_all(&unpacked)?;
    Ok(Kernel {
        series: pin.series,
        version,
        processor,
        image: kept,
    })
}

/// Programs and libraries of a suite with all that they depend on, unpacked into `root`; nothing of them
/// is run.
pub(crate) fn programs(
    project: &Project,
    suite: &str,
    processor: Processor,
    packages: &[&str],
    root: &Path,
) -> Result<()> {
    let apt = Apt::prepare(project, suite, Archive::Main, processor)?;
    apt.tool("apt-get").arg("clean").run()?;
    apt.tool("apt-get")
        .args(["install", "-q", "-y", "--no-install-recommends"])
        .arg("--download-only")
        .args(packages)
        .run()?;
    for archive in files(&apt.folder.join("cache/archives"), "deb")? {
        unpack(&archive, root)?;
    }
    Ok(())
}

fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    Invocation::new("dpkg-deb")
        .arg("-x")
        .arg(archive)
        .arg(folder)
        .run()
}

/// apt with one source, in a folder of ours.
struct Apt {
    folder: PathBuf,
    configuration: PathBuf,
    processor: Processor,
}

impl Apt {
    fn prepare(
        project: &Project,
        suite: &str,
        archive: Archive,
        processor: Processor,
    ) -> Result<Self> {
        let mirror = mirror(archive)?;
        let name = format!("{suite}{}", processor.suffix());
        let folder = project.target.join("vm/apt").join(name);
        for sub in [
            "state/lists/partial",
            "cache/archives/partial",
            "etc/apt.conf.d",
            "etc/preferences.d",
        ] {
            make_folder(&folder.join(sub))?;
        }
        fs::write(
            folder.join("etc/sources.list"),
            format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"),
        )?;
        fs::write(folder.join("state/status"), "")?;
        let configuration = folder.join("apt.conf");
        fs::write(&configuration, configuration_text(&folder, processor))?;
        let apt = Self {
            folder,
            configuration,
            processor,
        };
        apt.tool("apt-get").args(["update", "-q"]).run()?;
        Ok(apt)
    }

    fn tool(&self, program: &str) -> Invocation {
        Invocation::new(program).env("APT_CONFIG", &self.configuration)
    }

    /// The name of the newest cloud image package of a series.
    fn newest(&self, series: &str) -> Result<String> {
        let names = self
            .tool("apt-cache")
            .args(["pkgnames", "linux-image-"])
            .read()?;
        let processor = self.processor.debian();
        newest_package(&names, series, processor)
            .ok_or_else(|| anyhow!("no package linux-image-{series}*-cloud-{processor}"))
    }

    fn knows(&self, package: &str) -> bool {
        let names = self
            .tool("apt-cache")
            .args(["pkgnames", package])
            .ask()
            .unwrap_or_default();
        names.lines().any(|name| name == package)
    }

    /// Upstream version of a package: its version without Debian's revision.
    fn version(&self, package: &str) -> Result<String> {
        let shown = self
            .tool("apt-cache")
            .args(["show", "--no-all-versions", package])
            .read()?;
        let version = shown
            .lines()
            .find_map(|line| line.strip_prefix("Version: "));
        let version = version.ok_or_else(|| anyhow!("{package} has no version"))?;
        Ok(version
            .rsplit_once('-')
            .map_or(version, |(upstream, _)| upstream)
            .to_owned())
    }
}

fn configuration_text(folder: &Path, processor: Processor) -> String {
    let (folder, processor) = (folder.display(), processor.debian());
    format!(
        "Dir \"{folder}\";\n\
         Dir::Etc \"{folder}/etc\";\n\
         Dir::Etc::sourcelist \"{folder}/etc/sources.list\";\n\
         Dir::Etc::sourceparts \"/dev/null\";\n\
         Dir::Etc::parts \"{folder}/etc/apt.conf.d\";\n\
         Dir::State \"{folder}/state\";\n\
         Dir::State::status \"{folder}/state/status\";\n\
         Dir::Cache \"{folder}/cache\";\n\
         APT::Architecture \"{processor}\";\n\
         APT::Architectures {{ \"{processor}\"; }};\n\
         APT::Sandbox::User \"\";\n\
         Acquire::Languages \"none\";\n\
         // Suites out of support are not signed anew.\n\
         Acquire::Check-Valid-Until \"false\";\n"
    )
}

/// The archive's address in the host's own sources, as apt itself resolves them.
pub(crate) fn mirror(archive: Archive) -> Result<String> {
    let label = match archive {
        Archive::Main => "Debian",
        Archive::Security => "Debian-Security",
    };
    let find = || {
        let format = [
            "indextargets",
            "--format",
            "$(LABEL) $(REPO_URI)",
            "Created-By: Packages",
        ];
        let targets = Invocation::new("apt-get")
            .args(format)
            .ask()
            .unwrap_or_default();
        labelled(&targets, label)
    };
    if let Some(found) = find() {
        return Ok(found);
    }
    // Labels are known once the lists were fetched.
    Invocation::new("apt-get").args(["update", "-q"]).run()?;
    find().with_context(|| {
        format!(
            "this host's apt sources have no archive labelled {label}; the kernels are Debian's"
        )
    })
}

fn labelled(targets: &str, label: &str) -> Option<String> {
    let mut pairs = targets.lines().filter_map(|line| line.rsplit_once(' '));
    pairs
        .find(|(found, _)| *found == label)
        .map(|(_, address)| address.to_owned())
}

fn newest_package(names: &str, series: &str, processor: &str) -> Option<String> {
    let flavour = format!("-cloud-{processor}");
    let of_series = |name: &&str| {
        let version = name
            .strip_prefix("linux-image-")
            .and_then(|n| n.strip_suffix(&flavour));
        version.is_some_and(|v| {
            is_of_series(v, series) && !v.contains("-rt") && v.matches('.').count() >= 2
        })
    };
    names
        .lines()
        .filter(of_series)
        .max_by(|a, b| by_numbers(a, b))
        .map(str::to_owned)
}

fn is_of_series(version: &str, series: &str) -> bool {
    version
        .strip_prefix(series)
        .is_some_and(|rest| rest.starts_with('.'))
}

/// Compares texts by the numbers in them, which orders patch levels of one series.
fn by_numbers(a: &str, b: &str) -> Ordering {
    let numbers = |text: &str| -> Vec<u64> {
        text.split(|c: char| !c.is_ascii_digit())
            .filter_map(|n| n.parse().ok())
            .collect()
    };
    numbers(a).cmp(&numbers(b))
}

fn kernels(project: &Project, processor: Processor) -> PathBuf {
    let name = format!("kernels{}", processor.suffix());
    project.target.join("vm").join(name)
}

/// An empty folder, whatever was there.
pub(crate) fn start_over(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    make_folder(folder)
}

fn only_file(folder: &Path, extension: &str) -> Result<PathBuf> {
    files(folder, extension)?
        .pop()
        .ok_or_else(|| anyhow!("no .{extension} file in {}", folder.display()))
}

/// The files with this extension in a folder.
pub(crate) fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(files
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect())
}

/// `boot/vmlinuz-VERSION`, or `usr/lib/modules/VERSION/vmlinuz`.
fn find_image(folder: &Path) -> Option<PathBuf> {
    let entries = |path: &Path| -> Vec<PathBuf> {
        fs::read_dir(path)
            .into_iter()
            .flatten()
            .filter_map(|e| Some(e.ok()?.path()))
            .collect()
    };
    let is_image = |path: &PathBuf| {
        path.file_name()
            .and_then(|n| n.to_str())
            .is_some_and(|name| name.starts_with(IMAGE))
            && path.is_file()
    };
    let in_modules = entries(&folder.join("usr/lib/modules"))
        .into_iter()
        .map(|version| version.join(IMAGE));
    entries(&folder.join("boot"))
        .into_iter()
        .chain(in_modules)
        .find(is_image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_package_of_a_series_is_found_by_its_numbers() {
        let names = "linux-image-6.1.0-9-cloud-amd64\nlinux-image-6.1.0-49-cloud-amd64\n\
                     linux-image-6.1.0-0.deb11.52-cloud-amd64\nlinux-image-6.1-cloud-amd64\n\
                     linux-image-6.1.0-99-rt-amd64\nlinux-image-6.12.1-cloud-amd64\n\
                     linux-image-7.2.12+deb14-cloud-amd64\nlinux-image-cloud-amd64\n";

        assert_eq!(
            newest_package(names, "6.1", "amd64").as_deref(),
            Some("linux-image-6.1.0-49-cloud-amd64")
        );
        assert_eq!(
            newest_package(names, "7", "amd64").as_deref(),
            Some("linux-image-7.2.12+deb14-cloud-amd64")
        );
        assert_eq!(newest_package(names, "5.10", "amd64"), None);
        assert_eq!(newest_package(names, "6.1", "arm64"), None);
    }

    #[test]
    fn the_mirror_is_taken_by_its_label() {
        let targets = "Debian-Security http://b.example/sec/\nDebian http://a.example/debian/\nOther Thing http://c/\n";

        assert_eq!(
            labelled(targets, "Debian").as_deref(),
            Some("http://a.example/debian/")
        );
        assert_eq!(
            labelled(targets, "Debian-Security").as_deref(),
            Some("http://b.example/sec/")
        );
        assert_eq!(labelled("$(LABEL) http://a.example/\n", "Debian"), None);
    }
}
