//! Every mapping of a file as code, and every exec, on the whole host, as they are made.
//!
//! The kernel tells of them through a perf event that counts nothing ([`Software::DUMMY`]): no
//! program runs for it and no system call is traced. One record costs the process that maps about
//! as much as reading the clock a few times, and one interrupt on its own processor that wakes the
//! reader; programs map a handful of files as they start.

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io, thread};

use agent_core::event::Timestamp;
use perf_event::data::Record;
use perf_event::events::Software;
use perf_event::{Builder, Clock, SampleFlag, Sampler};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::executables::{Step, StepKind};
use super::maps::MapKey;
use super::reader::now;

/// LIMIT: bytes of the ring of one processor: about 400 mappings. Those beyond are lost, and the
/// kernel says so: then all processes are looked at. It is locked memory, of which the kernel
/// allows 516 KiB for each processor by default.
const RING_BYTES: usize = 64 << 10;

/// Pause after a look at the rings: a program that starts maps its files within it, so that they
/// share one look.
const PAUSE: Duration = Duration::from_millis(1);

/// How long the reader waits at most, after which it looks whether it is to stop and whether there
/// are other processors.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// `PERF_RECORD_MISC_COMM_EXEC` (include/uapi/linux/perf_event.h): a process is renamed by an exec,
/// which has left the old program and not yet mapped the new one.
const RENAMED_BY_EXEC: u16 = 1 << 13;

/// LIMIT: processors. Beyond it the mappings made on the others are found by the scan.
const MAX_PROCESSORS: usize = 4_096;

/// A process has mapped a file as code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) pid: u32,
    /// When, on the boot clock.
    pub(super) at: Timestamp,
    /// First address and the one behind the last.
    pub(super) addresses: (u64, u64),
    pub(super) key: MapKey,
    /// What tells a file from an earlier one with its inode number.
    pub(super) generation: u64,
    /// As the process sees it.
    pub(super) path: PathBuf,
}

/// What the rings hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) mapped: Vec<Mapped>,
    /// What was done until `until`, on all processors, in the order in which it was.
    pub(super) steps: Vec<Step>,
    pub(super) until: Timestamp,
    /// Some are missing.
    pub(super) has_gap: bool,
}

/// The rings of all processors.
pub(super) struct Mappings {
    rings: Vec<Sampler>,
    processors: BTreeSet<usize>,
    /// What was done after the last look had begun. Something that was done before it may be in a
    /// ring that had been looked at by then.
    later: Vec<Step>,
}

impl Mappings {
    /// Listens on every processor from now on.
    ///
    /// # Errors
    ///
    /// The kernel refuses: it needs CAP_PERFMON, or `kernel.perf_event_paranoid` below 1.
    pub(super) fn open() -> io::Result<Self> {
        let processors = online();
        let rings = processors
            .iter()
            .map(|processor| listen(*processor))
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            rings,
            processors,
            later: Vec::new(),
        })
    }

    /// Gives what is mapped to `take` until it says false, which it is asked at least every
    /// second, with an empty batch if need be.
    pub(super) fn run(mut self, mut take: impl FnMut(Batch) -> bool) {
        loop {
            let mut batch = self.drain();
            if self.has_other_processors() {
                batch.has_gap = true;
            }
            if !take(batch) {
                return;
            }
            thread::sleep(PAUSE);
            if self.later.is_empty() {
                self.wait();
            }
        }
    }

    fn drain(&mut self) -> Batch {
        let mut batch = Batch {
            until: now(),
            steps: std::mem::take(&mut self.later),
            ..Batch::default()
        };
        for ring in &mut self.rings {
            while let Some(record) = ring.next_record() {
                take(&record, &mut batch);
            }
        }
        batch.steps.sort_by_key(|step| step.at);
        let done = batch.steps.partition_point(|step| step.at <= batch.until);
        self.later = batch.steps.split_off(done);
        batch
    }

    fn wait(&self) {
        let timeout = Timespec::try_from(LONGEST_WAIT).unwrap_or_default();
        let mut rings: Vec<PollFd<'_>> = self
            .rings
            .iter()
            .map(|ring| PollFd::from_borrowed_fd(borrow(ring), PollFlags::IN))
            .collect();
        if poll(&mut rings, Some(&timeout)).is_err() {
            // An interrupted wait is a short one.
            thread::sleep(PAUSE);
        }
    }

    /// Listens on the processors that came, if any did since the last look. What was mapped there
    /// until now is not known.
    fn has_other_processors(&mut self) -> bool {
        let now = online();
        // None at all: the list can't be read, because there are too many open files.
        if now.is_empty() || now == self.processors {
            return false;
        }
        // A processor that went takes its event with it.
        match now.iter().map(|processor| listen(*processor)).collect() {
            Ok(rings) => self.rings = rings,
            Err(error) => {
                tracing::warn!(%error, "mappings on other processors are found by the scan only");
            }
        }
        self.processors = now;
        true
    }
}

#[expect(
    unsafe_code,
    reason = "a sampler gives its descriptor as a number only"
)]
fn borrow(ring: &Sampler) -> BorrowedFd<'_> {
    // SAFETY: the ring owns the descriptor and lives as long as the borrow.
    unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) }
}

/// Listens to the mappings that are made on one processor.
fn listen(processor: usize) -> io::Result<Sampler> {
    let mut counter = Builder::new(Software::DUMMY)
        .any_pid()
        .one_cpu(processor)
        .mmap(true)
        .mmap2(true)
        // An exec renames its process, and is told by that.
        .comm(true)
        // The time, and nothing else, at the end of each record.
        .sample_id_all(true)
        .sample(SampleFlag::TIME)
        .clockid(Clock::BOOTTIME)
        .wakeup_watermark(1)
        .build()?;
    counter.enable()?;
    counter.sampled(RING_BYTES)
}

fn take(record: &perf_event::Record<'_>, batch: &mut Batch) {
    // The time is the last thing in each record.
    let time = record.to_contiguous().last_chunk().copied();
    let at = Timestamp::from_nanos(time.map_or(0, u64::from_ne_bytes));
    let parsed = match record.parse_record() {
        Ok(Record::Mmap2(mapping)) => mapping,
        Ok(Record::Comm(renamed)) => {
            if record.misc() & RENAMED_BY_EXEC != 0 {
                batch.steps.push(Step {
                    pid: renamed.pid,
                    at,
                    kind: StepKind::BeganExec,
                });
            }
            return;
        }
        Ok(Record::Lost(_)) | Err(_) => {
            batch.has_gap = true;
            return;
        }
        Ok(_) => return,
    };
    let (Some(major), Some(minor), Some(inode), Some(generation)) = (
        parsed.maj(),
        parsed.min(),
        parsed.ino(),
        parsed.ino_generation(),
    ) else {
        return;
    };
    let is_file = inode != 0 && parsed.filename.starts_with(b"/");
    if !is_file {
        return;
    }
    let path = PathBuf::from(parsed.filename_os());
    batch.steps.push(Step {
        pid: parsed.pid,
        at,
        kind: StepKind::Mapped(path.clone()),
    });
    batch.mapped.push(Mapped {
        pid: parsed.pid,
        at,
        addresses: (parsed.addr, parsed.addr.saturating_add(parsed.len)),
        key: MapKey {
            device: (major, minor),
            inode,
        },
        generation,
        path,
    });
}

/// The processors that run.
fn online() -> BTreeSet<usize> {
    fs::read_to_string("/sys/devices/system/cpu/online")
        .map(|list| numbers(&list))
        .unwrap_or_default()
}

/// A list such as `0-3,5` (Documentation/admin-guide/cputopology.rst in the kernel's sources).
fn numbers(list: &str) -> BTreeSet<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    };
    list.trim()
        .split(',')
        .filter_map(range)
        .flatten()
        .take(MAX_PROCESSORS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_read() {
        assert_eq!(numbers("0-2,5\n"), BTreeSet::from([0, 1, 2, 5]));
        assert_eq!(numbers("0"), BTreeSet::from([0]));
        assert_eq!(numbers("0-18446744073709551615").len(), MAX_PROCESSORS);
        for nonsense in ["", "x", "3-1", "-", ",,"] {
            assert_eq!(numbers(nonsense), BTreeSet::new(), "{nonsense}");
        }
        assert!(!online().is_empty());
    }
}
