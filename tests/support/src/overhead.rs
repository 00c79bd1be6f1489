//! `overhead`: what a program pays for being observed, as ratios measured in one run.
//!
//! The workload is `tls_pair bench`: round trips of 1 KiB and 16 KiB and one bulk transfer over
//! loopback TLS, both ends in probed processes on one processor, the observer on another.
//! Configurations follow each other in every round, so that a drift of the machine's speed hits all
//! of them; the figure is the median over the rounds. The same without TLS shows what the tracepoints
//! on sends and receives cost those who have nothing to do with it. The yardstick is `sslsniff` of
//! bcc, where it can be made to run.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::observer::{ATTACH_LIMIT, Observer, required};

/// How often all configurations are run, and round trips of each size in each.
const ROUNDS: usize = 5;
const ROUND_TRIPS: u32 = 2_000;
const BULK_BYTES: u64 = 100_000_000;

/// What observes, and what it sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Configuration {
    /// Nobody observes bytes that are no HTTP.
    OffNoise,
    /// Nobody observes LLM calls.
    OffLlm,
    /// Nobody observes TCP without TLS.
    OffPlain,
    /// The agent runs and ignores the connection: its bytes are no HTTP.
    Ignored,
    /// The agent runs and reads the calls of the connection.
    Capturing,
    /// The agent runs and sees that sockets without TLS are none of its business.
    Plain,
    /// The yardstick runs.
    Yardstick,
}

impl Configuration {
    const fn name(self) -> &'static str {
        match self {
            Self::OffNoise | Self::OffLlm | Self::OffPlain => "off",
            Self::Ignored => "agent, connection ignored",
            Self::Capturing => "agent, capturing",
            Self::Plain => "agent",
            Self::Yardstick => "sslsniff (bcc)",
        }
    }

    const fn baseline(self) -> Self {
        match self {
            Self::OffLlm | Self::Capturing => Self::OffLlm,
            Self::OffPlain | Self::Plain => Self::OffPlain,
            Self::OffNoise | Self::Ignored | Self::Yardstick => Self::OffNoise,
        }
    }
}

/// What `tls_pair bench` prints.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Figures {
    round_trip_1k_ns: f64,
    round_trip_16k_ns: f64,
    bulk_mb_per_s: f64,
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
    let mut yardstick = Yardstick::prepare(dir.path());
    if let Err(why) = &yardstick {
        println!("the yardstick does not run here: {why:#}");
    }
    let mut all: BTreeMap<Configuration, Vec<Figures>> = BTreeMap::new();
    for round in 1..=ROUNDS {
        println!("round {round} of {ROUNDS}");
        let mut note = |configuration, as_what| -> Result<()> {
            all.entry(configuration)
                .or_default()
                .push(measure(&workload, as_what)?);
            Ok(())
        };
        note(Configuration::OffNoise, "noise")?;
        note(Configuration::OffLlm, "llm")?;
        note(Configuration::OffPlain, "plain")?;
        let observer = Observer::agent(pinned(OBSERVER_CPU, &agent), dir.path())?;
        note(Configuration::Ignored, "noise")?;
        note(Configuration::Capturing, "llm")?;
        note(Configuration::Plain, "plain")?;
        observer.stop()?;
        if let Ok(sniffer) = &yardstick {
            match sniffer.start() {
                Ok(observer) => {
                    note(Configuration::Yardstick, "noise")?;
                    observer.stop()?;
                }
                Err(why) => {
                    println!("the yardstick does not run here: {why:#}");
                    yardstick = Err(why);
                }
            }
        }
    }
    print_table(&all);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the table is what it is for")]
fn print_table(all: &BTreeMap<Configuration, Vec<Figures>>) {
    println!(
        "\n{:<28}{:>12}{:>8}{:>13}{:>8}{:>12}{:>8}",
        "", "1 KiB, µs", "ratio", "16 KiB, µs", "ratio", "bulk, MB/s", "ratio"
    );
    for (configuration, figures) in all {
        let baseline = all.get(&configuration.baseline()).unwrap_or(figures);
        let of = |figures: &[Figures], pick: fn(&Figures) -> f64| {
            let mut values: Vec<f64> = figures.iter().map(pick).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        let picks: [fn(&Figures) -> f64; 3] = [
            |f| f.round_trip_1k_ns / 1e3,
            |f| f.round_trip_16k_ns / 1e3,
            |f| f.bulk_mb_per_s,
        ];
        let [small, large, bulk] = picks.map(|pick| (of(figures, pick), of(baseline, pick)));
        let traffic = match configuration.baseline() {
            Configuration::OffLlm => "llm",
            Configuration::OffPlain => "no TLS",
            Configuration::OffNoise
            | Configuration::Ignored
            | Configuration::Capturing
            | Configuration::Plain
            | Configuration::Yardstick => "noise",
        };
        println!(
            "{:<28}{:>12.1}{:>8.2}{:>13.1}{:>8.2}{:>12.0}{:>8.2}",
            format!("{} ({traffic})", configuration.name()),
            small.0,
            small.0 / small.1,
            large.0,
            large.0 / large.1,
            bulk.0,
            // Time for the same bytes, so that larger is slower in every column.
            bulk.1 / bulk.0,
        );
    }
    println!(
        "Ratios are times against the same traffic unobserved, medians of {ROUNDS} rounds; both ends are observed."
    );
}

/// Processors of the workload, and of whatever observes it: the kernel's wake-ups of an idle
/// processor would hide the cost that is measured.
const WORKLOAD_CPU: &str = "0";
const OBSERVER_CPU: &str = "1";

/// A command that runs on one processor.
fn pinned(cpu: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", cpu]).arg(program);
    command
}

fn measure(workload: &Path, as_what: &str) -> Result<Figures> {
    let output = pinned(WORKLOAD_CPU, workload)
        .args(["bench", "--as", as_what])
        .args([
            "--count",
            &ROUND_TRIPS.to_string(),
            "--bulk",
            &BULK_BYTES.to_string(),
        ])
        .output()
        .context("the workload can't be started")?;
    if !output.status.success() {
        bail!(
            "the workload failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    serde_json::from_slice(&output.stdout).context("the workload printed something else")
}

/// The TLS library that a program maps, as its dynamic linker finds it.
///
/// # Errors
///
/// `ldd` is missing, or the program maps no such library.
pub fn library_of(program: &Path) -> Result<PathBuf> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("ldd can't be started")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_ascii_whitespace()
        .find(|word| word.starts_with('/') && word.contains("/libssl"))
        .map(PathBuf::from)
        .with_context(|| format!("{} maps no libssl", program.display()))
}

/// bcc's `sslsniff`, made to run on this machine.
struct Yardstick {
    script: PathBuf,
    launcher: PathBuf,
}

impl Yardstick {
    /// Debian's version does not compile against its own current headers because of one
    /// expression, and looks for headers of the running kernel only: a copy with that expression
    /// written out is run in a mount namespace in which the newest headers stand for them.
    fn prepare(dir: &Path) -> Result<Self> {
        let original = fs::read_to_string("/usr/sbin/sslsniff-bpfcc")
            .context("sslsniff is not installed (Debian package bpfcc-tools)")?;
        let changed = original.replace(
            "min((size_t)MAX_BUF_SIZE, (size_t)len)",
            "((size_t)len < MAX_BUF_SIZE ? (size_t)len : MAX_BUF_SIZE)",
        );
        let script = dir.join("sslsniff.py");
        fs::write(&script, changed).context("the copy can't be written")?;
        let launcher = dir.join("sslsniff.sh");
        fs::write(
            &launcher,
            "set -e\n\
             release=$(uname -r)\n\
             if [ ! -e /lib/modules/$release/build ]; then\n\
             \tbuild=$(ls -d /usr/src/linux-headers-*-*-amd64 | grep -v common | sort -V | tail -n 1)\n\
             \tcommon=$(ls -d /usr/src/linux-headers-*-common | sort -V | tail -n 1)\n\
             \tmount -t tmpfs none /lib/modules\n\
             \tmkdir -p /lib/modules/$release\n\
             \tln -s $build /lib/modules/$release/build\n\
             \tln -s $common /lib/modules/$release/source\n\
             fi\n\
             exec /usr/bin/python3 -u \"$1\"\n",
        )
        .context("the launcher can't be written")?;
        Ok(Self { script, launcher })
    }

    fn start(&self) -> Result<Observer> {
        let mut command = pinned(OBSERVER_CPU, Path::new("unshare"));
        command
            .args(["--mount", "sh"])
            .arg(&self.launcher)
            .arg(&self.script)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().context("unshare can't be started")?;
        // It says nothing when it is attached: its probes are in the kernel's list.
        let deadline = Instant::now() + ATTACH_LIMIT;
        while !has_bcc_probes(child.id()) {
            if let Some(status) = child.try_wait().context("it can't be waited for")? {
                bail!("it ended with {status}");
            }
            if Instant::now() > deadline {
                child.kill().context("it can't be ended")?;
                bail!("it was not attached within {} s", ATTACH_LIMIT.as_secs());
            }
            thread::sleep(Duration::from_millis(100));
        }
        Observer::new(child)
    }
}

/// Whether a process holds probe events: its descriptors name them.
fn has_bcc_probes(pid: u32) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    let events = descriptors
        .flatten()
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .filter(|target| target.to_string_lossy().contains("perf_event"))
        .count();
    // Entry and return of read, write and handshake of one library, and its ring.
    events >= 6
}
