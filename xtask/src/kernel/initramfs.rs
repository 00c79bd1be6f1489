//! The guest's root file system: busybox, an init, a program with its libraries.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::command::Invocation;
use crate::host;
use crate::kernel::fetch;
use crate::kernel::machine::Guest;
use crate::kernel::processor::Processor;
use crate::project::{Project, make_folder};

const INIT: &str = include_str!("init.sh");
/// Folders that a merged /usr links from the root.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];
/// Where the payload's own programs lie in the guest.
pub(crate) const PAYLOAD: &str = "payload";

/// What the guest runs.
pub(crate) struct Payload {
    /// Programs copied into `/payload`, without debug information, with their libraries.
    pub(crate) programs: Vec<PathBuf>,
    /// Shell text that `/payload/command` holds.
    command: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Command,
    Test,
}

impl Payload {
    /// A shell command with busybox and the openssl program at hand.
    pub(crate) fn of_command(command: String) -> Self {
        Self {
            programs: Vec::new(),
            command,
            kind: Kind::Command,
        }
    }

    /// A shell command with a program beside it.
    pub(crate) fn of_program(program: PathBuf, command: String) -> Self {
        Self {
            programs: vec![program],
            command,
            kind: Kind::Command,
        }
    }

    /// Those tests of a test program whose names contain `filter`, and programs that it starts,
    /// each under the variable by which it finds it.
    pub(crate) fn of_test(program: PathBuf, filter: &str, started: &[(&str, PathBuf)]) -> Self {
        let mut command = "export BPFTOK_VM=1\n".to_owned();
        for (variable, path) in started {
            command.push_str(&format!("export {variable}={}\n", place(path)));
        }
        command.push_str(&format!(
            "exec {} {filter} --test-threads=1 --nocapture\n",
            place(&program)
        ));
        let programs = started
            .iter()
            .map(|(_, path)| path.clone())
            .chain([program])
            .collect();
        Self {
            programs,
            command,
            kind: Kind::Test,
        }
    }

    /// The same, after these lines of shell.
    pub(crate) fn after(self, lines: &str) -> Self {
        Self {
            command: format!("{lines}{}", self.command),
            ..self
        }
    }

    pub(crate) fn is_test(&self) -> bool {
        self.kind == Kind::Test
    }
}

/// Where a program of the payload lies in the guest.
pub(crate) fn place(program: &Path) -> String {
    format!(
        "/{PAYLOAD}/{}",
        program.file_name().unwrap_or_default().to_string_lossy()
    )
}

/// Writes the initramfs of a guest without systemd that has the host's own programs.
pub(crate) fn build(project: &Project, payload: &Payload) -> Result<Guest> {
    let root = project.target.join("vm/root");
    begin(&root)?;
    let busybox =
        host::find_program("busybox").context("busybox is missing (Debian: busybox-static)")?;
    let openssl = host::find_program("openssl").context("openssl is missing")?;
    install(&busybox, &root.join("usr/bin/busybox"))?;
    install(&openssl, &root.join("usr/bin/openssl"))?;
    let mut libraries = libraries_of(&openssl)?;
    for program in &payload.programs {
        install_stripped(program, &root.join(PAYLOAD))?;
        libraries.extend(libraries_of(program)?);
    }
    for library in libraries {
        install(&library, &root.join(merged_path(&library)))?;
    }
    let configuration = Path::new("/etc/ssl/openssl.cnf");
    if configuration.exists() {
        make_folder(&root.join("usr/lib/ssl"))?;
        install(configuration, &root.join("usr/lib/ssl/openssl.cnf"))?;
    }
    let image = project.target.join("vm/initramfs");
    seal(&root, payload, &image)?;
    Ok(Guest {
        processor: Processor::X86_64,
        image,
        memory_mib: 1_024,
        parameters: "",
        is_test: payload.is_test(),
        time_limit: Duration::from_secs(600),
    })
}

/// A root file system with a merged /usr and nothing in it.
pub(crate) fn begin(root: &Path) -> Result<()> {
    fetch::start_over(root)?;
    for merged in MERGED {
        make_folder(&root.join("usr").join(merged))?;
        symlink(format!("usr/{merged}"), root.join(merged))?;
    }
    for empty in ["dev", "proc", "sys", "tmp", "run", "root", "etc", PAYLOAD] {
        make_folder(&root.join(empty))?;
    }
    Ok(())
}

/// Adds process 1 and what it runs, and packs it all.
pub(crate) fn seal(root: &Path, payload: &Payload, image: &Path) -> Result<()> {
    write_program(&root.join("init"), INIT)?;
    write_program(&root.join(PAYLOAD).join("command"), &payload.command)?;
    pack(root, image)
}

/// Packs a folder as the kernel unpacks it; everything in it is root's.
pub(crate) fn pack(root: &Path, image: &Path) -> Result<()> {
    let script = format!(
        "find . -print0 | LC_ALL=C sort -z | cpio --quiet -0 -o -H newc -R 0:0 > '{}'",
        image.display()
    );
    Invocation::new("sh")
        .args(["-ec", &script])
        .directory(root)
        .run()
}

/// Copies a program into a folder, without debug information.
pub(crate) fn install_stripped(program: &Path, folder: &Path) -> Result<()> {
    let name = program
        .file_name()
        .with_context(|| format!("{} is no file", program.display()))?;
    make_folder(folder)?;
    // Symbols stay: the tests put probes on them.
    Invocation::new("strip")
        .arg("--strip-debug")
        .arg("-o")
        .arg(folder.join(name))
        .arg(program)
        .run()
}

pub(crate) fn install(source: &Path, place: &Path) -> Result<()> {
    make_folder(place.parent().unwrap_or(place))?;
    fs::copy(source, place).with_context(|| format!("cannot copy {}", source.display()))?;
    Ok(())
}

pub(crate) fn write_program(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The loader and all shared libraries of a program.
fn libraries_of(program: &Path) -> Result<BTreeSet<PathBuf>> {
    // A static program makes ldd fail: it has none.
    let listed = Invocation::new("ldd")
        .arg(program)
        .ask()
        .unwrap_or_default();
    libraries_in(&listed).with_context(|| format!("libraries of {}", program.display()))
}

fn libraries_in(listed: &str) -> Result<BTreeSet<PathBuf>> {
    let mut libraries = BTreeSet::new();
    for line in listed.lines() {
        if line.contains("not found") {
            bail!("{}", line.trim());
        }
        let path = line.split_whitespace().find(|word| word.starts_with('/'));
        libraries.extend(path.map(PathBuf::from));
    }
    Ok(libraries)
}

/// The place of an absolute path in a root with a merged /usr.
fn merged_path(path: &Path) -> PathBuf {
    let inside = path.strip_prefix("/").unwrap_or(path);
    if MERGED.iter().any(|merged| inside.starts_with(merged)) {
        Path::new("usr").join(inside)
    } else {
        inside.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_and_every_library_are_taken_from_ldd() {
        let listed = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibssl.so.3 => /lib/x86_64-linux-gnu/libssl.so.3 (0x00007f)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";

        let libraries: Vec<_> = libraries_in(listed).unwrap().into_iter().collect();

        assert_eq!(
            libraries,
            [
                Path::new("/lib/x86_64-linux-gnu/libssl.so.3"),
                Path::new("/lib64/ld-linux-x86-64.so.2")
            ]
        );
        assert!(libraries_in("\tlibodd.so => not found\n").is_err());
    }

    #[test]
    fn paths_are_placed_below_the_merged_usr() {
        assert_eq!(
            merged_path(Path::new("/lib64/ld.so")),
            Path::new("usr/lib64/ld.so")
        );
        assert_eq!(
            merged_path(Path::new("/usr/lib/a.so")),
            Path::new("usr/lib/a.so")
        );
        assert_eq!(merged_path(Path::new("/opt/a.so")), Path::new("opt/a.so"));
    }

    #[test]
    fn a_test_payload_names_its_programs_in_the_guest() {
        let agent = ("BPFTOK_BINARY", "/t/bpftok".into());

        let payload = Payload::of_test("/t/deps/kernel-1".into(), "probe_", &[agent]);

        assert_eq!(
            payload.command,
            "export BPFTOK_VM=1\nexport BPFTOK_BINARY=/payload/bpftok\n\
             exec /payload/kernel-1 probe_ --test-threads=1 --nocapture\n"
        );
    }
}
