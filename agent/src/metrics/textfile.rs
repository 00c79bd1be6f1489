//! The numbers in a file, for the textfile collector of node_exporter.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Format, Metrics};
use crate::{causes, privilege};

/// How often the file is written: as often as Prometheus asks by default.
const INTERVAL: Duration = Duration::from_secs(15);

/// LIMIT: how long the end waits for a write that is under way; a disk may take for ever.
const END_LIMIT: Duration = Duration::from_secs(2);

/// The collector runs as another user.
const MODE: u32 = 0o644;

/// Writes a file every 15 seconds until it is dropped; the file goes then, since its numbers would
/// look like those of an agent that runs.
#[derive(Debug)]
pub struct Textfile {
    path: PathBuf,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Textfile {
    /// Writes the file, and goes on from a thread.
    ///
    /// # Errors
    ///
    /// The file can't be written, or the thread can't be started.
    pub fn start(metrics: Metrics, path: &Path) -> io::Result<Self> {
        write(&metrics, path)?;
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = {
            let path = path.to_owned();
            thread::Builder::new()
                .name("textfile".to_owned())
                .spawn(move || {
                    // The folder is often that of another user.
                    privilege::keep(privilege::WRITING);
                    let mut is_said = false;
                    while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                        match write(&metrics, &path) {
                            Ok(()) => is_said = false,
                            Err(error) if !is_said => {
                                tracing::warn!(error = %causes::in_one_line(&error), file = %path.display(), "metrics can't be written; trying again every 15 s");
                                is_said = true;
                            }
                            Err(_) => {}
                        }
                    }
                })?
        };
        Ok(Self {
            path: path.to_owned(),
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Textfile {
    fn drop(&mut self) {
        // The thread is told by the end of the channel.
        drop(self.stop.take());
        let deadline = Instant::now() + END_LIMIT;
        if let Some(thread) = self.thread.take() {
            while !thread.is_finished() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() && thread.join().is_err() {
                tracing::error!("the thread that writes metrics panicked");
            }
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, file = %self.path.display(), "can't remove the metrics");
        }
    }
}

/// Writes the file whole and then gives it its name, so that nobody reads a part.
fn write(metrics: &Metrics, path: &Path) -> io::Result<()> {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let text = metrics.text(Format::Prometheus, now_ms);
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    let mut file = tempfile::Builder::new()
        .prefix(".bpftok-")
        .tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(MODE))?;
    file.persist(path)?;
    Ok(())
}
