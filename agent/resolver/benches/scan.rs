//! What it takes to resolve a file: time, bytes read, memory.
//!
//! `cargo bench -p agent-resolver --bench scan -- FILE...` prints for each file the median of
//! several rounds, with the file in the cache of the system, by the clock and on the processor, and
//! the most memory that the process had resident meanwhile, in MB.
#![expect(
    clippy::disallowed_methods,
    reason = "the ban keeps clocks and files out of the package, not out of what measures it"
)]
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::cell::Cell;
use std::fs::{self, File};
use std::hint::black_box;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use agent_resolver::{Outcome, Source, resolve};

const ROUNDS: usize = 7;

fn main() -> io::Result<()> {
    println!(
        "{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}  file",
        "ms", "cpu ms", "MB", "read", "ms/MB", "peak"
    );
    // Cargo passes `--bench`.
    for path in std::env::args()
        .skip(1)
        .filter(|path| !path.starts_with('-'))
    {
        measure(&path)?;
    }
    Ok(())
}

fn measure(path: &str) -> io::Result<()> {
    let file = File::open(path)?;
    let file = Counted {
        size: file.metadata()?.len(),
        file,
        read: Cell::new(0),
    };
    // Writing 5 makes the current size the peak (proc_pid_clear_refs(5)).
    fs::write("/proc/self/clear_refs", "5")?;
    let (mut taken, mut worked) = (Vec::new(), Vec::new());
    let mut shown = String::new();
    for _ in 0..ROUNDS {
        file.read.set(0);
        let (start, begin) = (Instant::now(), processor_time()?);
        let resolution = black_box(resolve(&file));
        taken.push(start.elapsed());
        worked.push(processor_time()?.saturating_sub(begin));
        shown = match resolution {
            Ok(resolution) => match resolution.outcome {
                Outcome::Found(found) => format!("{:?}, {:?}", found.method, found.confidence),
                Outcome::Refused(refusal) => refusal.to_string(),
                Outcome::Nothing => "nothing to probe".to_owned(),
            },
            Err(error) => error.to_string(),
        };
    }
    let (ms, cpu_ms, megabytes) = (median_ms(taken), median_ms(worked), file.size as f64 / 1e6);
    println!(
        "{ms:>8.1}{cpu_ms:>8.1}{megabytes:>8.1}{:>8.1}{:>8.2}{:>8.1}  {path}: {shown}",
        file.read.get() as f64 / 1e6,
        cpu_ms / megabytes,
        peak_kilobytes()? as f64 / 1e3,
    );
    Ok(())
}

fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    median.as_secs_f64() * 1e3
}

/// Time that this thread had on a processor (`/proc/PID/schedstat`, its first number).
fn processor_time() -> io::Result<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let number = text.split_whitespace().next().and_then(|n| n.parse().ok());
    Ok(Duration::from_nanos(number.unwrap_or(0)))
}

/// The peak of resident memory.
fn peak_kilobytes() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    Ok(number.unwrap_or(0))
}

/// A file that counts what is read of it.
struct Counted {
    file: File,
    size: u64,
    read: Cell<u64>,
}

impl Source for Counted {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, offset)?;
        self.read.set(self.read.get() + count as u64);
        Ok(count)
    }
}
