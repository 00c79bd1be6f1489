//! The clients that live tests and the demo observe: Python and Node packages in pinned versions,
//! and small C programs on OpenSSL itself.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::command::Invocation;
use crate::project::{Project, make_folder};
use crate::{debian, host, npm};

const PYTHON_PINS: &str = "tests/peers/python/requirements.txt";
const NODE: &str = "tests/peers/node";
/// What reports are compared with.
pub(crate) const CCUSAGE: &str = "tests/peers/ccusage";
pub(crate) const TLS_PAIR: &str = "tests/peers/tls_pair.c";
const TLS_CALL: &str = "tests/peers/tls_call.c";

const LOCK: &str = "package-lock.json";

/// Installs what is missing or older than its pins, and compiles the C peers.
pub(crate) fn install(project: &Project) -> Result<()> {
    python_packages(project)?;
    npm_packages(project, NODE)?;
    tls_pair(project)?;
    stripped_tls_pair(project)?;
    tls_call(project)?;
    Ok(())
}

/// The interpreter whose `site-packages` hold the pinned clients.
pub(crate) fn python(project: &Project) -> PathBuf {
    folder(project).join("python/bin/python")
}

/// The folder of the pinned Node packages.
pub(crate) fn node_modules(project: &Project) -> PathBuf {
    folder(project).join("node/node_modules")
}

/// Where the compiled C peer lies.
pub(crate) fn tls_pair_binary(project: &Project) -> PathBuf {
    folder(project).join("tls_pair")
}

/// Tells a child where the clients are.
pub(crate) fn announce_to(project: &Project, child: Invocation) -> Invocation {
    child
        .env("BPFTOK_PYTHON", python(project))
        .env("BPFTOK_NODE_MODULES", node_modules(project))
        .env("BPFTOK_TLS_PAIR", tls_pair_binary(project))
        .env(
            "BPFTOK_STRIPPED_TLS_PAIR",
            folder(project).join("stripped_tls_pair"),
        )
        .env("BPFTOK_TLS_CALL", folder(project).join("tls_call"))
}

/// Compiles the C peer with both ends of a connection, where its source is newer.
pub(crate) fn tls_pair(project: &Project) -> Result<PathBuf> {
    let binary = tls_pair_binary(project);
    let libraries = ["-lssl", "-lcrypto", "-pthread"];
    compile(project, TLS_PAIR, &binary, &libraries)?;
    Ok(binary)
}

/// What links OpenSSL into a program and leaves no symbols.
const OPENSSL_INSIDE: [&str; 5] = ["-s", "-Wl,-Bstatic", "-lssl", "-lcrypto", "-Wl,-Bdynamic"];

/// Compiles the same with OpenSSL inside and no symbols.
pub(crate) fn stripped_tls_pair(project: &Project) -> Result<PathBuf> {
    let binary = folder(project).join("stripped_tls_pair");
    let libraries = [&OPENSSL_INSIDE[..], &["-pthread"]].concat();
    compile(project, TLS_PAIR, &binary, &libraries)?;
    Ok(binary)
}

/// Compiles the C client that has OpenSSL inside and no symbols.
fn tls_call(project: &Project) -> Result<()> {
    compile(
        project,
        TLS_CALL,
        &folder(project).join("tls_call"),
        &OPENSSL_INSIDE,
    )
}

fn compile(project: &Project, source: &str, binary: &Path, libraries: &[&str]) -> Result<()> {
    let source = project.root.join(source);
    if is_newer(&source, binary)? {
        make_folder(&folder(project))?;
        Invocation::new("gcc")
            .args(["-O2", "-Wall", "-Wextra", "-o"])
            .arg(binary)
            .arg(&source)
            .args(libraries)
            .run()?;
    }
    Ok(())
}

/// Whether the Python and Node clients are installed as pinned.
pub(crate) fn are_installed(project: &Project) -> Result<bool> {
    Ok(Pins::python(project)?.are_met() && Pins::npm(project, NODE)?.are_met())
}

fn python_packages(project: &Project) -> Result<()> {
    let pins = Pins::python(project)?;
    if pins.are_met() {
        return Ok(());
    }
    if host::find_program("python3").is_none() {
        bail!("python3 is missing; the live tests observe its clients");
    }
    pins.start_over()?;
    let environment = || {
        Invocation::new("python3")
            .args(["-m", "venv"])
            .arg(&pins.folder)
    };
    if environment().run().is_err() {
        // Debian's Python comes without the part that puts pip into an environment.
        debian::install(&["python3-venv"])?;
        environment().run()?;
    }
    Invocation::new(python(project))
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "-r",
        ])
        .arg(project.root.join(PYTHON_PINS))
        .run()?;
    pins.seal()?;
    println!("setup: installed the Python clients of {PYTHON_PINS}");
    Ok(())
}

/// Installs the packages that a folder of the source tree pins, where they are missing; gives their folder.
pub(crate) fn npm_packages(project: &Project, source: &str) -> Result<PathBuf> {
    let pins = Pins::npm(project, source)?;
    let packages = pins.folder.join("node_modules");
    if pins.are_met() {
        return Ok(packages);
    }
    pins.start_over()?;
    for name in ["package.json", LOCK] {
        let file = project.root.join(source).join(name);
        fs::copy(&file, pins.folder.join(name))
            .with_context(|| format!("cannot copy {}", file.display()))?;
    }
    npm::install(&pins.folder, &[])?;
    pins.seal()?;
    println!("setup: installed the packages of {source}/{LOCK}");
    Ok(packages)
}

/// A file of pinned versions and the folder into which it was last installed.
pub(crate) struct Pins {
    pub(crate) text: String,
    pub(crate) folder: PathBuf,
}

impl Pins {
    fn python(project: &Project) -> Result<Self> {
        Ok(Self {
            text: project.text(PYTHON_PINS)?,
            folder: folder(project).join("python"),
        })
    }

    /// The last part of the folder's name is also that of the installation.
    fn npm(project: &Project, source: &str) -> Result<Self> {
        let (_, name) = source.rsplit_once('/').unwrap_or(("", source));
        Ok(Self {
            text: project.text(&format!("{source}/{LOCK}"))?,
            folder: folder(project).join(name),
        })
    }

    pub(crate) fn are_met(&self) -> bool {
        fs::read_to_string(self.stamp()).is_ok_and(|installed| installed == self.text)
    }

    pub(crate) fn start_over(&self) -> Result<()> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)
                .with_context(|| format!("cannot remove {}", self.folder.display()))?;
        }
        make_folder(&self.folder)
    }

    /// Written last, so that an interrupted installation is started over.
    pub(crate) fn seal(&self) -> Result<()> {
        let stamp = self.stamp();
        fs::write(&stamp, &self.text).with_context(|| format!("cannot write {}", stamp.display()))
    }

    fn stamp(&self) -> PathBuf {
        self.folder.join(".installed")
    }
}

fn folder(project: &Project) -> PathBuf {
    project.target.join("clients")
}

fn is_newer(source: &Path, product: &Path) -> Result<bool> {
    let changed = |path: &Path| fs::metadata(path).and_then(|m| m.modified());
    let source_changed =
        changed(source).with_context(|| format!("cannot read {}", source.display()))?;
    Ok(changed(product).map_or(true, |product_changed| source_changed > product_changed))
}
