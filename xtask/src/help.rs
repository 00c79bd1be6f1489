//! The commands and what they say about themselves.

use std::process::ExitCode;

use anyhow::Result;

use crate::project::Project;
use crate::{
    Usage, accuracy, agent, bench, coverage, demo, dist, doctor, fuzz, kernel, ledger, packages,
    suite, tidy,
};

/// One command of `cargo xtask`.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Project, &[String]) -> Result<ExitCode>,
    help: &'static str,
}

pub(crate) const OVERVIEW: &str = "\
cargo xtask COMMAND

On a fresh machine these two do everything, setting up included:
  run          build bpftok and watch this host, as root
  test         every test: lints, unit, end to end, live probes, other kernels

More:
  demo         a local endpoint, real clients, and the report about them
  doctor       what this machine has and lacks, each with the remedy
  tidy         the rules of the source tree that no compiler checks
  test-kernel  the live tests on this kernel, or probe tests on others in QEMU
  fuzz         replay the seeds, or search for new ones
  coverage     run the programs that people run, and write agent/docs/coverage.md
  accuracy     run the official SDKs, and write agent/docs/accuracy.md
  bench        throughput of the line, what an observed program pays, how soon it is observed
  dist         static binaries, and a deb and an rpm of each
  test-packages  install, upgrade, remove and purge the deb in a clean Debian, and look into the rpm
  ledger       make the ledger of a made-up year
  ci           test, and then cargo-deny
  help         this, or `help COMMAND`

Each command prints the commands that it runs, after a `+`.
";

pub(crate) const COMMANDS: &[Command] = &[
    Command {
        name: "run",
        run: agent::run,
        help: "\
cargo xtask run [-- ARGUMENTS]

Installs what building needs (the pinned toolchain, bpf-linker), builds bpftok in release mode and
runs `bpftok run ARGUMENTS` as root, by sudo where you are not root. Unless ARGUMENTS name one by
--db, the database is target/bpftok/usage.db.
",
    },
    Command {
        name: "test",
        run: suite::test,
        help: "\
cargo xtask test [STEP...]

Installs what testing needs, then runs every step, or those whose names contain a STEP. A failed
step does not stop the others. Ends with a table and one line: `N passed, N failed`.
Live steps need root; elsewhere they count as skipped, and the table says so.
",
    },
    Command {
        name: "ci",
        run: suite::ci,
        help: "\
cargo xtask ci [STEP...]

The same as `test`, and then cargo-deny: licences, sources, bans. Installs cargo-deny first, which
takes a few minutes once.
",
    },
    Command {
        name: "demo",
        run: demo::run,
        help: "\
cargo xtask demo

Shows the main job without any API key: starts the agent as root with a new database and a TLS
endpoint that answers as the providers do, lets curl and the official Python and Node clients
talk to it, and prints the reports.
",
    },
    Command {
        name: "tidy",
        run: tidy::run,
        help: "\
cargo xtask tidy

Checks what no compiler does: the directions between modules, the dependencies of agent-core,
names of modules, length of files, that every package opts into the lints, that the pins agree,
and that every invariant in ARCHITECTURE.md names a test that exists.
",
    },
    Command {
        name: "doctor",
        run: doctor::run,
        help: "\
cargo xtask doctor

Says what this machine has and lacks for running, testing and measuring, each with the remedy.
Changes nothing.
",
    },
    Command {
        name: "coverage",
        run: coverage::run,
        help: "\
cargo xtask coverage

Runs the live tests of the programs that people run (Claude Code, Node, Bun and so on), as root, and
writes what they saw to agent/docs/coverage.md. `cargo xtask test` fails where that page is not what
its own live tests saw. Downloads the programs first: 1.4 GB, once.
",
    },
    Command {
        name: "accuracy",
        run: accuracy::run,
        help: "\
cargo xtask accuracy

Runs the live tests of the official SDKs, as root, and writes to agent/docs/accuracy.md how near the
tokens in the ledger are to those that were served. `cargo xtask test` fails where that page is not
what its own live tests saw.
",
    },
    Command {
        name: "bench",
        run: bench::run,
        help: "\
cargo xtask bench [line|formats|overhead|discovery|scan|reports|ccusage] [-- ARGUMENTS]

line       throughput of the line on recorded traffic, by stage (no root needed)
formats    throughput of each wire format, against parsing the same JSON into trees (no root needed)
overhead   what a hooked program pays: agent off, ignoring, capturing, and sslsniff (root)
discovery  how long a new library or program is used before it is hooked (root)
scan       what it takes to find the TLS functions of the files given as arguments (no root needed)
reports    how long reports about a made-up year take (no root needed); --requests N and --seed S choose it
ccusage    the same year as a ledger and as session files of Claude Code: bpftok and ccusage asked the same
           (x86-64, no root needed); --text BYTES puts so much text into each line of the files

Without a name: all but the last three.
",
    },
    Command {
        name: "dist",
        run: dist::run,
        help: "\
cargo xtask dist [x86_64|aarch64...]

Makes a static binary of each processor, or of those named, and a deb and an rpm that hold it with manual
pages, completions, configuration and service, in target/dist. Installs what that needs first: zig, which
compiles C for all of them, and the packagers.
",
    },
    Command {
        name: "test-packages",
        run: packages::run,
        help: "\
cargo xtask test-packages

Makes the packages of this processor, installs the deb of an older version in a clean Debian (debootstrap, as
root, kept in target/packages), upgrades, removes and purges it, and looks after each step at what is there:
the ledger always is. Runs lintian on the deb, and compares the files and scripts of the rpm.
",
    },
    Command {
        name: "ledger",
        run: ledger::run,
        help: "\
cargo xtask ledger [--requests N] [--seed S] FILE

Makes a ledger of N calls (300000) over the year until today, by the program's own writer: users and services,
sessions of a few calls with a long tail, office hours, caches, errors, retries, cut replies, and now and
then a session that runs away. Says how fast it was written and how large it is. The directory of FILE
must not be writable by others.
",
    },
    Command {
        name: "fuzz",
        run: fuzz::run,
        help: "\
cargo xtask fuzz --replay
cargo xtask fuzz --grow [TARGET...] [--seconds N]

--replay   runs every committed seed through its target once, without a fuzzer
--grow     searches for new inputs with libFuzzer, N seconds a target (60)
",
    },
    Command {
        name: "test-kernel",
        run: kernel::run,
        help: "\
cargo xtask test-kernel local [FILTER...]
cargo xtask test-kernel vm [SERIES...] [--command SHELL]
cargo xtask test-kernel arm64 [SERIES...] [--command SHELL]
cargo xtask test-kernel service [SERIES...]

local      the live tests on the running kernel, as root
vm         the probe tests on Debian's kernels in QEMU, by software emulation: 5.10, 6.1, 6.12 and
           7, or the SERIES named. With --command, runs that in the guest instead of the tests.
arm64      the packages' program for arm64, watched by the probe tests and some that need curl and Python,
           on 6.1 and 6.12 for arm64, or the SERIES named, in emulated machines
service    the installed package under a real systemd, in a Debian of the host's release that
           debootstrap makes, as root: on 6.1 (with the drop-in for older kernels) and 6.12, or the
           SERIES named

Kernels and that Debian are downloaded once, into target/vm; remove that folder to fetch newer patch levels.
",
    },
];

/// Prints the help of one command, or the overview.
pub(crate) fn print(name: Option<&str>) -> Result<ExitCode> {
    let Some(name) = name else {
        print!("{OVERVIEW}");
        return Ok(ExitCode::SUCCESS);
    };
    let Some(command) = COMMANDS.iter().find(|c| c.name == name) else {
        return Err(Usage(unknown(name)).into());
    };
    print!("{}", command.help);
    Ok(ExitCode::SUCCESS)
}

/// What to say about a command that does not exist.
pub(crate) fn unknown(name: &str) -> String {
    let names: Vec<&str> = COMMANDS.iter().map(|c| c.name).collect();
    let near = names
        .iter()
        .min_by_key(|known| distance(name, known))
        .filter(|k| distance(name, k) <= 2);
    let hint = near
        .map(|near| format!(" Did you mean `{near}`?"))
        .unwrap_or_default();
    format!(
        "there is no command `{name}`.{hint} The commands: {}, help",
        names.join(", ")
    )
}

/// Single-letter edits between two words.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (above, y) in row.windows(2).zip(b.chars()) {
            let (Some(&diagonal), Some(&up), Some(&left)) =
                (above.first(), above.last(), next.last())
            else {
                continue;
            };
            next.push((diagonal + usize::from(x != y)).min(up + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_command_is_met_with_the_nearest_one() {
        assert!(unknown("tets").contains("Did you mean `test`?"));
        assert!(!unknown("frobnicate").contains("Did you mean"));
    }

    #[test]
    fn the_overview_names_every_command() {
        for command in COMMANDS {
            assert!(
                OVERVIEW.contains(&format!("\n  {} ", command.name)),
                "{}",
                command.name
            );
        }
    }
}
