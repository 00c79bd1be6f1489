//! Whether probes still see: the agent has a call made that they must show.
//!
//! A child process of the agent's own program, or of one beside it, loads the host's TLS library and sets a
//! host name on an object that is never connected to anything. The name was never used before, and is under
//! a domain that can't exist (RFC 6761, section 6.4). The records of that process end here: they
//! are nobody's traffic.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use agent_common::record::{RecordHeader, kind};

/// Name of the command that makes the call.
pub const COMMAND: &str = "self-check";

/// How long the child may take, and its record.
const LIMIT: Duration = Duration::from_secs(5);

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The probes showed the call.
    Seen,
    /// The call was made, and the probes showed nothing.
    Unseen,
    /// The call could not be made, so that nothing is known.
    NotMade(String),
}

#[derive(Debug, Default)]
struct Expected {
    name: Vec<u8>,
    is_seen: bool,
    has_ended: bool,
}

/// What the reader of the ring and a check share.
#[derive(Debug, Default)]
pub struct SelfCheck {
    /// Whose records are not passed on; 0 for nobody's.
    pid: AtomicU32,
    expected: Mutex<Expected>,
    is_changed: Condvar,
}

impl SelfCheck {
    /// Takes a record that belongs to a check; false for every other one.
    pub fn takes(&self, header: &RecordHeader, record: &[u8]) -> bool {
        // Asked for every record, and the answer is nearly always no.
        if header.pid != self.pid.load(Ordering::Acquire) || header.pid == 0 {
            return false;
        }
        let mut expected = self.expected();
        match header.kind {
            kind::SERVER_NAME => {
                let payload = record.get(size_of::<RecordHeader>()..).unwrap_or_default();
                expected.is_seen |= payload.starts_with(&expected.name);
            }
            // The last record of a process.
            kind::EXIT => {
                expected.has_ended = true;
                self.pid.store(0, Ordering::Release);
            }
            _ => {}
        }
        drop(expected);
        self.is_changed.notify_all();
        true
    }

    /// Has the call made on `library` and waits for its record.
    pub(super) fn run(&self, library: &Path) -> Verdict {
        match self.attempt(library) {
            Ok(true) => Verdict::Seen,
            Ok(false) => Verdict::Unseen,
            Err(error) => Verdict::NotMade(error.to_string()),
        }
    }

    fn attempt(&self, library: &Path) -> io::Result<bool> {
        let name = fresh_name()?;
        let mut child = caller()?
            .arg(library)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        *self.expected() = Expected {
            name: name.clone().into_bytes(),
            ..Expected::default()
        };
        // From here on its records are taken. It does nothing before it has read the name.
        self.pid.store(child.id(), Ordering::Release);
        let deadline = Instant::now() + LIMIT;
        let made = tell(&mut child, &name).and_then(|()| wait(&mut child, deadline));
        if made.is_ok() {
            self.wait_until(deadline, |expected| expected.is_seen || expected.has_ended);
        }
        // Its end is the last record of it, if that was not lost.
        self.wait_until(deadline, |expected| expected.has_ended);
        self.pid.store(0, Ordering::Release);
        made.map(|()| self.expected().is_seen)
    }

    fn wait_until(&self, deadline: Instant, is_so: impl Fn(&Expected) -> bool) {
        let mut expected = self.expected();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if is_so(&expected) || left.is_zero() {
                return;
            }
            (expected, _) = self
                .is_changed
                .wait_timeout(expected, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn expected(&self) -> MutexGuard<'_, Expected> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fresh_name() -> io::Result<String> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let mut name = String::new();
    for byte in bytes {
        // A string has room for everything.
        write!(name, "{byte:02x}").unwrap_or_default();
    }
    name.push_str(".bpftok.invalid");
    Ok(name)
}

fn tell(child: &mut Child, name: &str) -> io::Result<()> {
    let mut stdin = child
        .stdin
        .take()
        .ok_or_else(|| io::Error::other("the child has no input"))?;
    writeln!(stdin, "{name}")
}

/// Waits until the child has made its call. It is not there any more afterwards.
fn wait(child: &mut Child, deadline: Instant) -> io::Result<()> {
    let ended = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::other("it took too long"));
        }
        thread::sleep(Duration::from_millis(2));
    };
    if ended.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("it ended with {ended}")))
    }
}

/// Runs a check on a thread of its own and gives its verdict to `done`.
pub(super) fn start(
    check: &Arc<SelfCheck>,
    library: PathBuf,
    done: impl FnOnce(Verdict) + Send + 'static,
) -> io::Result<()> {
    let check = Arc::clone(check);
    thread::Builder::new()
        .name("self-check".to_owned())
        .spawn(move || done(check.run(&library)))
        .map(drop)
}

/// The command that makes the call: this program, or where that is static, and so can't load a
/// library, the one beside it.
fn caller() -> io::Result<Command> {
    if !cfg!(target_feature = "crt-static") {
        let mut command = Command::new("/proc/self/exe");
        command.arg(COMMAND);
        return Ok(command);
    }
    let program = std::env::current_exe()?;
    let places = places(&program);
    let found = places.iter().find(|place| place.is_file());
    found.map(Command::new).ok_or_else(|| {
        let places: Vec<_> = places.iter().map(|p| p.display().to_string()).collect();
        io::Error::other(format!(
            "a static program can't load it, and there is no {}",
            places.join(", no ")
        ))
    })
}

/// Where the program lies that makes the call: never looked for on `PATH`.
fn places(program: &Path) -> Vec<PathBuf> {
    let folder = program.parent();
    let beside = folder.map(|folder| folder.join("bpftok-self-check"));
    let installed = folder
        .and_then(Path::parent)
        .map(|prefix| prefix.join("libexec/bpftok/self-check"));
    beside.into_iter().chain(installed).collect()
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes as _;

    use super::*;

    fn record(kind: u32, pid: u32, payload: &[u8]) -> (RecordHeader, Vec<u8>) {
        let header = RecordHeader {
            kind,
            payload_bytes: u32::try_from(payload.len()).unwrap(),
            pid,
            tid: pid,
            ssl: 0x1000,
            since_ns: 1,
            at_ns: 2,
            offset: 0,
            aux: 0,
        };
        (header, [header.as_bytes(), payload].concat())
    }

    fn takes(check: &SelfCheck, kind: u32, pid: u32, payload: &[u8]) -> bool {
        let (header, record) = record(kind, pid, payload);
        check.takes(&header, &record)
    }

    #[test]
    fn records_of_a_check_end_there_and_others_do_not() {
        let check = SelfCheck::default();
        assert!(!takes(&check, kind::OPENED, 0, b""));
        assert!(!takes(&check, kind::OPENED, 7, b""));
        check.expected().name = b"fresh.invalid".to_vec();
        check.pid.store(7, Ordering::Release);
        assert!(takes(&check, kind::OPENED, 7, b""));
        assert!(takes(&check, kind::SERVER_NAME, 7, b"other.invalid"));
        assert!(!check.expected().is_seen);
        assert!(!takes(&check, kind::SERVER_NAME, 8, b"fresh.invalid"));
        assert!(!check.expected().is_seen);
        assert!(takes(&check, kind::SERVER_NAME, 7, b"fresh.invalid\0\0"));
        assert!(check.expected().is_seen);
        assert!(takes(&check, kind::CLOSED, 7, b""));
        assert!(takes(&check, kind::EXIT, 7, b""));
        // The number may be another process's from now on.
        assert!(!takes(&check, kind::OPENED, 7, b""));
    }

    #[test]
    fn names_are_fresh_and_lead_nowhere() {
        let (one, other) = (fresh_name().unwrap(), fresh_name().unwrap());
        assert_ne!(one, other);
        assert!(one.ends_with(".invalid") && one.len() < 64, "{one}");
    }

    #[test]
    fn the_program_that_makes_the_call_lies_beside_the_agents_or_below_its_prefix() {
        assert_eq!(
            places(Path::new("/usr/bin/bpftok")),
            [
                Path::new("/usr/bin/bpftok-self-check"),
                Path::new("/usr/libexec/bpftok/self-check")
            ]
        );
    }
}
