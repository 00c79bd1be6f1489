//! Lines for somebody who may stop reading: a thread writes them, and whoever says them never waits.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::privilege;

/// LIMIT: bytes of lines that wait for their reader; a line beyond is dropped and counted.
const MAX_WAITING_BYTES: usize = 1 << 20;

/// Where lines go. Clones are of the same place.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Whether a line is out of the queue and not yet written.
    is_writing: bool,
    lost: u64,
    /// How many of these the reader was told of.
    told: u64,
}

impl Lines {
    /// Writes lines to `out` from a thread of this name, which ends with the process.
    ///
    /// # Errors
    ///
    /// The thread can't be started.
    pub fn start(name: &str, out: impl Write + Send + 'static) -> io::Result<Self> {
        let lines = Self::default();
        let shared = Arc::clone(&lines.0);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                privilege::keep(privilege::NOTHING);
                shared.run(out);
            })?;
        Ok(lines)
    }

    /// Takes a line, its end included; one that there is no room for is dropped.
    pub fn say(&self, line: &[u8]) {
        let mut queue = self.0.lock();
        if queue.bytes.saturating_add(line.len()) > MAX_WAITING_BYTES {
            queue.lost += 1;
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line.to_vec());
        drop(queue);
        self.0.changed.notify_all();
    }

    /// Lines that were dropped.
    pub fn lost(&self) -> u64 {
        self.0.lock().lost
    }

    /// Waits until all is written, or for `limit`.
    pub fn finish(&self, limit: Duration) {
        let is_busy = |queue: &mut Queue| queue.is_writing || !queue.lines.is_empty();
        let queue = self.0.lock();
        drop(
            self.0
                .changed
                .wait_timeout_while(queue, limit, is_busy)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut out: impl Write) {
        loop {
            let mut queue = self
                .changed
                .wait_while(self.lock(), |queue| queue.lines.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            let Some(line) = queue.lines.pop_front() else {
                continue;
            };
            queue.bytes -= line.len();
            queue.is_writing = true;
            let lost = queue.lost - queue.told;
            queue.told = queue.lost;
            drop(queue);
            if lost > 0 {
                let note = format!("{lost} lines were dropped: nobody read them in time\n");
                out.write_all(note.as_bytes()).unwrap_or_default();
            }
            // A reader that is gone misses nothing that it wants.
            out.write_all(&line)
                .and_then(|()| out.flush())
                .unwrap_or_default();
            self.lock().is_writing = false;
            self.changed.notify_all();
        }
    }
}

/// What is written at once is a line.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.say(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn whoever_says_a_line_does_not_wait_for_who_reads_it() {
        let (mut reader, writer) = io::pipe().unwrap();
        let lines = Lines::start("test", writer).unwrap();
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        // A pipe takes 64 KiB, the queue 1 MiB.
        for _ in 0..2_000 {
            lines.say(&line);
        }
        lines.finish(Duration::ZERO);
        let lost = lines.lost();
        assert!((800..1_000).contains(&lost), "{lost}");

        // They are told of once somebody reads, and all that was kept comes whole.
        let kept = 2_000 - usize::try_from(lost).unwrap();
        let mut read = Vec::new();
        let note = format!("{lost} lines were dropped: nobody read them in time\n");
        let length = kept * line.len() + note.len();
        (&mut reader)
            .take(length.try_into().unwrap())
            .read_to_end(&mut read)
            .unwrap();
        let read = String::from_utf8(read).unwrap();
        assert_eq!(read.matches(&note).count(), 1);
        assert_eq!(read.len(), length);
        lines.finish(Duration::from_secs(10));
        assert_eq!(lines.lost(), lost);
    }
}
