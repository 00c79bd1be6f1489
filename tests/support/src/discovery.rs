//! `discovery`: how long a new file is used without being hooked.
//!
//! Programs are started on copies of a TLS library, and from copies of programs that carry one, so
//! that every start is of a file that nobody ran before. A copy of a program has a few bytes more at
//! its end where its content is to be new as well: then the agent has to search through it. The agent
//! says how long it took from the exec of the process and from the mapping of the file.

use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::observer::{Observer, required};
use crate::overhead::library_of;

/// Copies of the library, and of each program.
const LIBRARIES: usize = 100;
const PROGRAMS: usize = 10;

/// Programs with a TLS library inside, by what their path ends with, and the library.
const CARRIERS: [(&str, &str); 4] = [
    ("claude-x64/claude", "Claude Code, 364 MB, BoringSSL"),
    ("bun-x64/bin/bun", "Bun, 103 MB, BoringSSL"),
    ("opencode-x64/bin/opencode", "opencode, 178 MB, BoringSSL"),
    ("node-x64/bin/node", "Node, 105 MB, OpenSSL with names"),
];

/// Delays of one kind of file, in microseconds.
#[derive(Debug, Default)]
struct Delays {
    from_exec: Vec<u64>,
    from_map: Vec<u64>,
}

impl Delays {
    /// Takes what the agent said of a file.
    fn take(&mut self, line: &str) {
        let field = |name: &str| -> Option<u64> {
            let (_, rest) = line.split_once(name)?;
            rest.split(' ').next()?.trim().parse().ok()
        };
        self.from_exec.extend(field("from_exec_us="));
        self.from_map.extend(field("from_map_us="));
    }

    #[expect(clippy::print_stdout, reason = "the figures are what it is for")]
    fn print(mut self, what: &str) {
        for (from, delays) in [("exec", &mut self.from_exec), ("map", &mut self.from_map)] {
            delays.sort_unstable();
            let of = |percent: usize| {
                let at = (delays.len() * percent).div_ceil(100).saturating_sub(1);
                delays.get(at).map_or(f64::NAN, |us| *us as f64 / 1e3)
            };
            println!(
                "{what:<44}{from:<6}{:>5}{:>9.1}{:>9.1}{:>9.1}{:>9.1}",
                delays.len(),
                of(50),
                of(90),
                of(99),
                of(100)
            );
        }
    }
}

/// Runs the experiment and prints its table.
///
/// # Errors
///
/// The workload or the agent can't be run.
#[expect(clippy::print_stdout, reason = "the table is what it is for")]
pub fn run() -> Result<()> {
    let agent = required("BPFTOK_BINARY")?;
    let workload = required("BPFTOK_TLS_PAIR")?;
    let dir = tempfile::tempdir().context("no temporary folder")?;
    let observer = Observer::agent(Command::new(agent), dir.path())?;
    println!(
        "{:<44}{:<6}{:>5}{:>9}{:>9}{:>9}{:>9}",
        "milliseconds until hooked", "from", "n", "p50", "p90", "p99", "max"
    );
    libraries(&observer, &workload, dir.path())?.print("a library, with names");
    for (path, what) in CARRIERS {
        let Some(program) = program(path) else {
            println!("{what}: not installed");
            continue;
        };
        programs(&observer, &program, dir.path(), Content::New)?.print(what);
        programs(&observer, &program, dir.path(), Content::Known)?
            .print("  the same content in another file");
    }
    observer.stop()
}

/// A program that `cargo xtask test` installs.
fn program(path: &str) -> Option<PathBuf> {
    let program = PathBuf::from(env::var_os("BPFTOK_PROGRAMS")?).join(path);
    program.is_file().then_some(program)
}

fn libraries(observer: &Observer, workload: &Path, dir: &Path) -> Result<Delays> {
    let library = library_of(workload)?;
    let name = library.file_name().context("a library without a name")?;
    let mut delays = Delays::default();
    for number in 0..LIBRARIES {
        let folder = dir.join(format!("library-{number}"));
        fs::create_dir(&folder).context("no folder for a library")?;
        fs::copy(&library, folder.join(name)).context("the library can't be copied")?;
        let mut child = Command::new(workload)
            .args(["transfer", "--hold"])
            .env("LD_LIBRARY_PATH", &folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("the workload can't be started")?;
        let (_, line) = observer.said(&folder.display().to_string())?;
        delays.take(&line);
        let mut input = child.stdin.take().context("no pipe")?;
        writeln!(input).context("the workload does not listen")?;
        child.wait().context("the workload can't be waited for")?;
    }
    Ok(delays)
}

/// Whether a copy has a content that the agent has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    New,
    Known,
}

fn programs(observer: &Observer, program: &Path, dir: &Path, content: Content) -> Result<Delays> {
    let mut delays = Delays::default();
    // The first copy of a known content makes it known.
    let skipped = usize::from(content == Content::Known);
    for number in 0..PROGRAMS + skipped {
        let copy = dir.join(format!("program-{content:?}-{number}"));
        fs::copy(program, &copy).context("the program can't be copied")?;
        if content == Content::New {
            let mut file = File::options()
                .append(true)
                .open(&copy)
                .context("no copy")?;
            file.write_all(&vec![0; number + 1])
                .context("the copy can't be changed")?;
        }
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&copy, everybody).context("the copy can't be made a program")?;
        // It need not do anything; one that has ended is hooked all the same.
        Command::new(&copy)
            .arg("--version")
            .env("HOME", dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("the program can't be started")?;
        let (_, line) = observer.said(&copy.display().to_string())?;
        if number >= skipped {
            delays.take(&line);
        }
        fs::remove_file(&copy).context("the copy can't be removed")?;
    }
    Ok(delays)
}
