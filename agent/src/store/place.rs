//! The place of the ledger: who may own it, who may change it, and who writes it now.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, thread};

use super::Error;

/// The group that may read the ledger, and the user of the service.
const READERS: &str = "bpftok";
/// Owner everything, group read, others nothing.
const DIR_MODE: u32 = 0o750;
/// Owner read and write, group read, others nothing.
const FILE_MODE: u32 = 0o640;

/// How often, and how long apart, a lock is tried. A reader that asks whether an agent runs holds
/// the lock for an instant.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// The right to write to a ledger; ends with the value, also when the process is killed.
#[derive(Debug)]
pub(super) struct WriteLock {
    /// Held for its lock.
    _file: File,
}

/// Makes the directory and the file if they are missing, and checks who may touch them. Returns
/// the path without symbolic links.
///
/// # Errors
/// [`Error::Unsafe`] with the remedy; [`Error::Io`] and [`Error::Forbidden`].
pub(super) fn prepare(path: &Path) -> Result<PathBuf, Error> {
    let name = path.file_name().ok_or_else(|| Error::Unsafe {
        path: path.to_owned(),
        why: "it names no file",
    })?;
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let readers = readers_gid();
    match fs::symlink_metadata(dir) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new()
                .mode(DIR_MODE)
                .create(dir)
                .map_err(|source| failed("create", dir, source))?;
            let made = File::open(dir).map_err(|source| failed("open", dir, source))?;
            hand_over(&made, DIR_MODE, None, readers)
                .map_err(|source| failed("set up", dir, source))?;
        }
        Err(source) => return Err(failed("look at", dir, source)),
    }
    let dir = dir
        .canonicalize()
        .map_err(|source| failed("look at", dir, source))?;
    check_directories(&dir)?;

    let owner = service_of(&dir);
    let path = dir.join(name);
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(&path)
    {
        Ok(file) => hand_over(&file, FILE_MODE, owner, readers)
            .map_err(|source| failed("set up", &path, source))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_file(&path)?,
        Err(source) => return Err(failed("create", &path, source)),
    }
    // SQLite gives these the owner and mode of the ledger, but opens what it finds.
    for suffix in ["-wal", "-shm", "-journal", ".lock"] {
        let beside = beside(&path, suffix);
        match fs::symlink_metadata(&beside) {
            Ok(_) => check_file(&beside)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed("look at", &beside, source)),
        }
    }
    Ok(path)
}

/// Takes the right to write.
///
/// # Errors
/// [`Error::InUse`] with the pid of the other agent.
pub(super) fn lock(path: &Path) -> Result<WriteLock, Error> {
    let lock_path = beside(path, ".lock");
    let io = |source| failed("lock", &lock_path, source);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(&lock_path)
        .map_err(io)?;
    let owner = lock_path.parent().and_then(service_of);
    hand_over(&file, FILE_MODE, owner, readers_gid()).map_err(io)?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0).map_err(io)?;
                writeln!(file, "{}", std::process::id()).map_err(io)?;
                return Ok(WriteLock { _file: file });
            }
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
    }
    Err(Error::InUse {
        path: path.to_owned(),
        pid: pid_in(&mut file),
    })
}

/// Whether an agent writes to the ledger at `path` now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// Nobody does, or nobody ever did.
    Nobody,
    /// An agent does; its pid, if it can be read.
    Agent(Option<u32>),
}

/// Asks who writes. A lock that may not be asked counts as held: then nothing is assumed about the
/// file.
pub(super) fn who_writes(path: &Path) -> Writing {
    let mut file = match File::open(beside(path, ".lock")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Writing::Nobody,
        Err(_) => return Writing::Agent(None),
    };
    match file.try_lock_shared() {
        Ok(()) => Writing::Nobody,
        Err(_) => Writing::Agent(pid_in(&mut file)),
    }
}

/// The path of `path` with `suffix` appended to its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Renames a ledger and its log to names that keep them as evidence; returns the new path. One that
/// can't be read to its end stays: SQLite says of a page that a failing device does not give that it
/// is damaged.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn set_aside(path: &Path, time: &str) -> Result<PathBuf, Error> {
    let read = |path: &Path| {
        let mut file = File::open(path)?;
        io::copy(&mut file, &mut io::sink())
    };
    read(path).map_err(|source| failed("read", path, source))?;
    let io = |source| failed("set aside", path, source);
    let mut to = beside(path, &format!(".corrupt-{time}"));
    let mut number = 1;
    while to.exists() {
        number += 1;
        to = beside(path, &format!(".corrupt-{time}-{number}"));
    }
    fs::rename(path, &to).map_err(io)?;
    // The log belongs to the file: SQLite finds it by name. The index of the log is rebuilt.
    match fs::rename(beside(path, "-wal"), beside(&to, "-wal")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    match fs::remove_file(beside(path, "-shm")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    Ok(to)
}

/// Others must not be able to replace the file or a directory above it.
fn check_directories(dir: &Path) -> Result<(), Error> {
    for (depth, above) in dir.ancestors().enumerate() {
        let metadata =
            fs::symlink_metadata(above).map_err(|source| failed("look at", above, source))?;
        let refuse = |why| {
            Err(Error::Unsafe {
                path: above.to_owned(),
                why,
            })
        };
        if !metadata.is_dir() {
            return refuse("it is no directory");
        }
        if !is_trusted_owner(&metadata) {
            return refuse("it belongs to another user; use a directory of root or of your own");
        }
        let by_others = metadata.mode() & 0o022 != 0;
        let is_sticky = metadata.mode() & 0o1000 != 0;
        // In a sticky directory nobody can rename what belongs to another; but anybody can put a
        // file beside ours, so the nearest directory must be closed.
        if depth == 0 && by_others {
            return refuse("others may write to it; chmod go-w, or use another directory");
        }
        if by_others && !is_sticky {
            return refuse("others may write to it, and so replace what is below; chmod go-w");
        }
    }
    Ok(())
}

/// The file must be a plain one that only we can reach.
fn check_file(path: &Path) -> Result<(), Error> {
    let metadata = fs::symlink_metadata(path).map_err(|source| failed("look at", path, source))?;
    let refuse = |why| {
        Err(Error::Unsafe {
            path: path.to_owned(),
            why,
        })
    };
    if metadata.file_type().is_symlink() {
        return refuse("it is a symbolic link; name the file itself");
    }
    if !metadata.is_file() {
        return refuse("it is no regular file");
    }
    if metadata.nlink() != 1 {
        return refuse("it has a second name (hard link); copy it to a file of its own");
    }
    if !is_trusted_owner(&metadata) {
        return refuse("it belongs to another user; chown it to root, or remove it");
    }
    if metadata.mode() & 0o022 != 0 {
        return refuse("others may write to it; chmod go-w");
    }
    Ok(())
}

/// Root, ourselves, or whoever root may be taken for: the user who became root through sudo, who
/// could do all this anyway, and the service.
fn is_trusted_owner(metadata: &Metadata) -> bool {
    let me = rustix::process::geteuid().as_raw();
    let caller = env::var("SUDO_UID")
        .ok()
        .and_then(|uid| uid.parse::<u32>().ok());
    let owner = Some(metadata.uid());
    metadata.uid() == 0
        || metadata.uid() == me
        || (me == 0 && (owner == caller || owner == service_uid()))
}

/// The service, if we are root and this folder is its: then what we make in it is to be its, too.
fn service_of(dir: &Path) -> Option<u32> {
    let owner = fs::symlink_metadata(dir).ok()?.uid();
    let is_root = rustix::process::geteuid().is_root();
    (is_root && owner != 0 && Some(owner) == service_uid()).then_some(owner)
}

/// Sets the mode whatever the umask, and owner and group if we may.
fn hand_over(file: &File, mode: u32, owner: Option<u32>, readers: Option<u32>) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode))?;
    match fchown(file, owner, readers) {
        // Only root and members may; the owner then keeps the file alone.
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}

/// Id of the readers' group, if the host has it.
fn readers_gid() -> Option<u32> {
    id_in("/etc/group")
}

/// Id of the service's user, if the host has it.
fn service_uid() -> Option<u32> {
    id_in("/etc/passwd")
}

/// Group and user are of one name, and their id is the third field of either file.
fn id_in(file: &str) -> Option<u32> {
    let lines = fs::read_to_string(file).ok()?;
    lines.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(READERS))
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    })
}

/// The pid that the holder of a lock wrote.
fn pid_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Sorts an error of the system on `path`.
fn failed(doing: &'static str, path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    if source.kind() == io::ErrorKind::PermissionDenied {
        Error::Forbidden { path, source }
    } else {
        Error::Io {
            doing,
            path,
            source,
        }
    }
}
