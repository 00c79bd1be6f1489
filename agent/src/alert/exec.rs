//! Runs a command that is told of an alert: as a user without rights, in a group of its own, for ten
//! seconds at most, with the document on its standard input.
//!
//! Order: no new privileges and empty sets of inheritable and ambient capabilities in a thread of its own,
//! then the start, which takes on the user before it executes. From root to another user the kernel
//! empties the other sets (capabilities(7)).

use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::{io, thread};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde_json::Value;

use super::{Failure, TIME_LIMIT};

/// Where hosts have the program that takes mails.
const SENDMAIL: [&str; 2] = ["/usr/sbin/sendmail", "/usr/lib/sendmail"];

/// The user without rights of every host.
const NOBODY: &str = "nobody";

/// LIMIT: bytes of the table of users.
const TABLE_BYTES: u64 = 16 << 20;

/// May a program that is started gain rights by its file, as a setgid mailer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NewPrivileges {
    Never,
    ByFile,
}

/// Runs `command` as `user` with a document on its standard input.
///
/// # Errors
/// It could not start, took too long, or said that it failed.
pub(super) fn run(command: &[String], user: &str, payload: &Value) -> Result<(), Failure> {
    let text = format!("{payload}\n");
    start(command, user, text.as_bytes(), NewPrivileges::Never)
}

/// Gives a mail to a program that is used as sendmail is, the host's if none is named, as `user`.
///
/// # Errors
/// As [`run`], and there may be no sendmail.
pub(super) fn mail(command: Option<&[String]>, user: &str, message: &str) -> Result<(), Failure> {
    let is_there = |path: &&&str| Path::new(path).exists();
    let mut command = match command {
        Some(command) => command.to_vec(),
        None => {
            let program = SENDMAIL.iter().find(is_there).ok_or(Failure::NoSendmail)?;
            vec![(*program).to_owned()]
        }
    };
    // Recipients are those of the message, so that none is taken for an option.
    command.extend(["-i", "-t"].map(str::to_owned));
    start(&command, user, message.as_bytes(), NewPrivileges::ByFile)
}

fn start(
    command: &[String],
    user: &str,
    input: &[u8],
    privileges: NewPrivileges,
) -> Result<(), Failure> {
    // What the thread gives up it gives up for ever.
    let joined = thread::scope(|scope| {
        let run = || supervised(command, user, input, privileges);
        scope.spawn(run).join()
    });
    joined.unwrap_or(Err(Failure::TimedOut))
}

fn supervised(
    command: &[String],
    user: &str,
    input: &[u8],
    privileges: NewPrivileges,
) -> Result<(), Failure> {
    let program = command.first().map(String::as_str).unwrap_or_default();
    let failed = |source| Failure::Start {
        program: program.to_owned(),
        source,
    };
    let other = other_user(user).map_err(|wrong| match wrong {
        NoUser::Unknown => Failure::User {
            user: user.to_owned(),
        },
        NoUser::NeedsRoot => failed(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("as {user} only an agent of root can run it"),
        )),
    })?;
    give_up(privileges).map_err(failed)?;
    keep_files().map_err(failed)?;
    let mut start = Command::new(program);
    if let Some((uid, gid)) = other {
        start.uid(uid).gid(gid);
    }
    let mut child = start
        .args(command.get(1..).unwrap_or_default())
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .current_dir("/")
        .stdin(Stdio::from(file_of(input).map_err(failed)?))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    match wait(&mut child) {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(Failure::Ended {
            program: program.to_owned(),
            status: words(status),
        }),
        Ok(None) => Err(Failure::TimedOut),
        Err(error) => Err(failed(error)),
    }
}

/// Sees to it that nothing this thread executes has or gains a capability of the agent's.
fn give_up(privileges: NewPrivileges) -> io::Result<()> {
    let sets = rustix::thread::capabilities(None)?;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            inheritable: CapabilitySet::empty(),
            ..sets
        },
    )?;
    rustix::thread::clear_ambient_capability_set()?;
    if privileges == NewPrivileges::Never {
        rustix::thread::set_no_new_privs(true)?;
    }
    Ok(())
}

/// Sees to it that no file of the agent, nor one that it got from whoever started it, is open in a command.
/// What the agent opens is marked so from the beginning, so that other threads may go on.
#[expect(
    unsafe_code,
    reason = "a number of an open file is all that the system lists"
)]
fn keep_files() -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        let Some(number) = number.filter(|number: &i32| *number > 2) else {
            continue;
        };
        // SAFETY: it is borrowed for one call that changes a flag; if another thread closed it since, the
        // call fails, or marks a file that is marked already.
        let file = unsafe { BorrowedFd::borrow_raw(number) };
        match fcntl_setfd(file, FdFlags::CLOEXEC) {
            Ok(()) | Err(Errno::BADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A file in memory: a command that does not read it makes nobody wait, as a pipe would.
fn file_of(input: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("alert", MemfdFlags::CLOEXEC)?);
    file.write_all(input)?;
    file.rewind()?;
    Ok(file)
}

/// Waits for the end; `None` if it took too long, and nothing of its group is left then.
fn wait(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::NotFound)?;
    let limit = Timespec {
        tv_sec: i64::try_from(TIME_LIMIT.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: 0,
    };
    let ended = pidfd_open(pid, PidfdFlags::empty()).and_then(|pidfd| {
        let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        poll(&mut fds, Some(&limit))
    });
    if matches!(ended, Ok(1)) {
        return child.wait().map(Some);
    }
    // The group has the number of the child, which is not given again before it was waited for.
    kill_process_group(pid, Signal::KILL)?;
    child.wait()?;
    Ok(None)
}

fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

/// Why a command can't run as a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoUser {
    Unknown,
    NeedsRoot,
}

/// The user and group that a command takes on; `None` if it stays with those of the agent. An agent of
/// root has to become somebody else, one of another user can't: its commands run as that user, which is
/// then as good as nobody.
fn other_user(user: &str) -> Result<Option<(u32, u32)>, NoUser> {
    let own = rustix::process::geteuid();
    let found = ids(user);
    match found {
        _ if own.is_root() => found.map(Some).ok_or(NoUser::Unknown),
        _ if user == NOBODY => Ok(None),
        Some((uid, _)) if uid == own.as_raw() => Ok(None),
        Some(_) => Err(NoUser::NeedsRoot),
        None => Err(NoUser::Unknown),
    }
}

/// User and group of a name, or of a number, in the host's table (passwd(5)).
fn ids(user: &str) -> Option<(u32, u32)> {
    const TABLE: &str = "/etc/passwd";
    let is_small = fs::metadata(TABLE).is_ok_and(|table| table.len() <= TABLE_BYTES);
    let table = is_small.then(|| fs::read_to_string(TABLE).ok()).flatten()?;
    let found = table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let (uid, gid) = (fields.nth(1)?, fields.next()?);
        (name == user || uid == user).then(|| Some((uid.parse().ok()?, gid.parse().ok()?)))?
    });
    // Another name of root is root.
    found.filter(|(uid, _)| *uid != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_under_any_name_is_refused() {
        assert_eq!(ids("root"), None);
        assert_eq!(ids("0"), None);
        assert!(ids("nobody").is_some_and(|(uid, _)| uid != 0));
        let failure = run(&["/bin/true".to_owned()], "root", &Value::Null).unwrap_err();
        assert_eq!(failure.to_string(), "there is no user root on this host");
    }
}
