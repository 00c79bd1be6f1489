//! One boot in QEMU by software emulation: slow, but it needs nothing of the host's processor.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::command::{Invocation, lines};
use crate::kernel::fetch::Kernel;
use crate::kernel::processor::Processor;
use crate::project::Project;
use crate::tally::Tally;

/// How long a crashed kernel may go on printing why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the kernel prints when it has lost its way.
const CRASHES: [&str; 7] = [
    "Kernel panic - not syncing",
    "BUG: ",
    "Oops: ",
    "kernel BUG at",
    "general protection fault, maybe",
    "watchdog: BUG: soft lockup",
    "rcu_sched self-detected stall",
];

/// What is booted on a kernel.
pub(crate) struct Guest {
    /// Whose programs it has.
    pub(crate) processor: Processor,
    /// Root file system, as the kernel unpacks it.
    pub(crate) image: PathBuf,
    /// LIMIT: memory, its root file system included.
    pub(crate) memory_mib: u32,
    /// Of the kernel's command line, beyond those that every guest has.
    pub(crate) parameters: &'static str,
    /// Whether the output is that of a test program.
    pub(crate) is_test: bool,
    /// LIMIT: how long one boot and its tests may take, several times what they take on an idle host;
    /// beyond, the guest is stopped and the run has failed.
    pub(crate) time_limit: Duration,
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The payload's exit code.
    Exited(i32),
    /// The kernel printed this.
    Crashed(String),
    TimedOut,
    /// The machine stopped, and nothing says why.
    Silent,
}

/// One run of the payload on one kernel.
pub(crate) struct Run {
    pub(crate) ending: Ending,
    pub(crate) tally: Tally,
    pub(crate) took: Duration,
}

/// Boots `guest` on `kernel` and waits for the payload's end.
pub(crate) fn boot(project: &Project, kernel: &Kernel, guest: &Guest) -> Result<Run> {
    let report = project.target.join("vm/report");
    File::create(&report).with_context(|| format!("cannot write {}", report.display()))?;
    let started = Instant::now();
    let mut machine = Machine(qemu(kernel, guest, &report).start()?);
    let Some(console) = machine.0.stdout.take() else {
        bail!("QEMU has no standard output")
    };
    let (sender, receiver) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in lines(console) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });

    let mut tally = Tally::default();
    let mut crash: Option<(String, Instant)> = None;
    let ending = loop {
        let end = crash
            .as_ref()
            .map_or(started + guest.time_limit, |(_, seen)| *seen + LAST_WORDS);
        match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                println!("{}| {line}", kernel.version);
                tally.see(&line);
                if crash.is_none() && is_crash(&line) {
                    crash = Some((line, Instant::now()));
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                break crash.map_or(Ending::TimedOut, |(line, _)| Ending::Crashed(line));
            }
            Err(RecvTimeoutError::Disconnected) => {
                break crash.map_or_else(|| reported(&report), |(line, _)| Ending::Crashed(line));
            }
        }
    };
    // Its console ends with it, and so does the reader.
    drop(machine);
    drop(receiver);
    if reader.join().is_err() {
        bail!("the reader of the console failed");
    }
    Ok(Run {
        ending,
        tally,
        took: started.elapsed(),
    })
}

fn qemu(kernel: &Kernel, guest: &Guest, report: &Path) -> Invocation {
    // A crash must end the run, not reboot it; the mitigations cost much and protect nothing here.
    // Pages that khugepaged puts together can't be read meanwhile, which takes long where the
    // processor that does it is emulated and waits; the tests assert that nothing is missing.
    let parameters = "quiet loglevel=4 panic=-1 oops=panic nokaslr mitigations=off random.trust_cpu=on transparent_hugepage=never";
    let processor = kernel.processor;
    Invocation::new(processor.emulator())
        .args(processor.machine())
        .args(["-accel", "tcg,thread=multi", "-smp", "2"])
        .args(["-m", &guest.memory_mib.to_string()])
        .args(["-nodefaults", "-display", "none", "-no-reboot"])
        .args([
            "-chardev",
            "stdio,id=console,signal=off",
            "-serial",
            "chardev:console",
        ])
        .arg("-chardev")
        .arg(format!("file,id=report,path={}", report.display()))
        .args(processor.report())
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(&guest.image)
        .arg("-append")
        .arg(format!(
            "{parameters} {} {}",
            processor.parameters(),
            guest.parameters
        ))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
}

fn reported(report: &Path) -> Ending {
    let text = fs::read_to_string(report).unwrap_or_default();
    let code = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("exit ")?.parse().ok());
    code.map_or(Ending::Silent, Ending::Exited)
}

fn is_crash(line: &str) -> bool {
    CRASHES.iter().any(|crash| line.contains(crash))
}

/// A running QEMU; stopped when dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_is_told_from_ordinary_messages() {
        assert!(is_crash(
            "[    3.1] Kernel panic - not syncing: Attempted to kill init!"
        ));
        assert!(is_crash(
            "[    3.1] BUG: kernel NULL pointer dereference, address: 0000000000000000"
        ));
        assert!(!is_crash("test probe_debug: ok"));
    }
}
