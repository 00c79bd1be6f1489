//! Whether probes still see: the agent has a call made that they must show.
//!
//! A child process of the agent's own program loads the host's TLS library and sets a host name on
//! an object that is never connected to anything. The name is one that was never used before, under
//! a domain that can't exist (RFC 6761, section 6.4). The records of that process end here: they
//! are nobody's traffic.

use std::ffi::{CString, c_char, c_int, c_long, c_void};
use std::fmt::Write as _;
use std::io::{self, BufRead as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use agent_common::record::{RecordHeader, kind};
use thiserror::Error;

/// Name of the command that makes the call.
pub const COMMAND: &str = "self-check";

/// How long the child may take, and its record.
const LIMIT: Duration = Duration::from_secs(5);

/// `SSL_CTRL_SET_TLSEXT_HOSTNAME` and `TLSEXT_NAMETYPE_host_name` (OpenSSL `tls1.h`).
const SET_HOST_NAME: c_int = 55;
const NAME_TYPE_HOST: c_long = 0;

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
        let mut child = Command::new("/proc/self/exe")
            .arg(COMMAND)
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

/// Why the call can't be made.
#[derive(Debug, Error)]
pub enum Error {
    /// There is no name to set.
    #[error("no host name was given")]
    Name(#[source] io::Error),
    /// Rights could not be given up.
    #[error("rights can't be given up")]
    Rights(#[source] io::Error),
    /// The library can't be loaded.
    #[error("the library can't be loaded")]
    Library,
    /// It lacks a function.
    #[error("the library has no {0}")]
    Function(&'static str),
    /// It makes no object.
    #[error("the library makes no object")]
    Object,
}

/// Makes the call: what the child does. It reads the host name, gives up all rights, and loads the
/// library.
///
/// # Errors
///
/// The call can't be made.
pub fn call(library: &Path) -> Result<(), Error> {
    let mut name = String::new();
    io::stdin()
        .lock()
        .read_line(&mut name)
        .map_err(Error::Name)?;
    let name = CString::new(name.trim_end()).map_err(|error| Error::Name(error.into()))?;
    give_up_rights().map_err(Error::Rights)?;
    set_name(library, &name)
}

/// A library runs code of its own as it is loaded: nothing of the agent's rights is left to it.
fn give_up_rights() -> io::Result<()> {
    use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};

    /// The user without rights, by convention.
    const NOBODY: u32 = 65_534;

    rustix::thread::set_no_new_privs(true)?;
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    }
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

/// A loaded library. It stays loaded until the process ends.
struct Library(*mut c_void);

#[expect(unsafe_code, reason = "a library is loaded and called by name")]
impl Library {
    fn load(path: &Path) -> Result<Self, Error> {
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|_zero| Error::Library)?;
        // SAFETY: the path is a C string. What the library does as it is loaded is as it is for
        // every program of the host that uses it.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            return Err(Error::Library);
        }
        Ok(Self(handle))
    }

    /// A function of it, as a type that the caller knows it to have.
    ///
    /// # Safety
    ///
    /// `F` is a function pointer of the C interface, with the signature of the function `name`.
    unsafe fn function<F: Copy>(&self, name: &'static str) -> Result<F, Error> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        let c_name = CString::new(name).map_err(|_zero| Error::Function(name))?;
        // SAFETY: the handle is of a library that is loaded, the name a C string.
        let found = unsafe { libc::dlsym(self.0, c_name.as_ptr()) };
        if found.is_null() {
            return Err(Error::Function(name));
        }
        // SAFETY: the caller says that this is what the address is of; both have one size.
        Ok(unsafe { std::mem::transmute_copy(&found) })
    }
}

type Make = unsafe extern "C" fn(*const c_void) -> *mut c_void;
type Drop = unsafe extern "C" fn(*mut c_void);
type Control = unsafe extern "C" fn(*mut c_void, c_int, c_long, *const c_char) -> c_long;

/// Sets a host name on a new object, and frees it.
#[expect(
    unsafe_code,
    clippy::multiple_unsafe_ops_per_block,
    reason = "a library is called by name"
)]
fn set_name(library: &Path, name: &CString) -> Result<(), Error> {
    let library = Library::load(library)?;
    // SAFETY: these are the signatures of OpenSSL's functions since 1.1.0, and of BoringSSL's.
    let (method, make_context, make, control, drop_object, drop_context) = unsafe {
        (
            library.function::<unsafe extern "C" fn() -> *const c_void>("TLS_client_method")?,
            library.function::<Make>("SSL_CTX_new")?,
            library.function::<Make>("SSL_new")?,
            library.function::<Control>("SSL_ctrl")?,
            library.function::<Drop>("SSL_free")?,
            library.function::<Drop>("SSL_CTX_free")?,
        )
    };
    // SAFETY: each gets what the one before made; the objects are freed once, and last.
    unsafe {
        let context = make_context(method());
        if context.is_null() {
            return Err(Error::Object);
        }
        let object = make(context);
        if object.is_null() {
            return Err(Error::Object);
        }
        control(object, SET_HOST_NAME, NAME_TYPE_HOST, name.as_ptr());
        drop_object(object);
        drop_context(context);
    }
    Ok(())
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
    fn a_library_that_is_none_is_refused() {
        let name = CString::new("x.invalid").unwrap();
        for path in ["/nonexistent", "/etc/passwd"] {
            assert!(matches!(
                set_name(Path::new(path), &name),
                Err(Error::Library)
            ));
        }
    }
}
