//! Jobs of cron, which all are in the one service of its daemon.

use super::subject::{Subject, file_name, without_mark};

/// Daemons that start jobs, by the name of their main thread.
const DAEMONS: [&str; 4] = ["anacron", "cron", "crond", "fcron"];

/// Services that such a daemon is.
const SERVICES: [&str; 5] = [
    "anacron.service",
    "cron.service",
    "crond.service",
    "cronie.service",
    "fcron.service",
];

/// Programs that only start what a job is: shells, and commands that run another one.
const STARTERS: [&str; 25] = [
    "ash",
    "bash",
    "busybox",
    "chronic",
    "dash",
    "env",
    "fish",
    "flock",
    "ionice",
    "ksh",
    "nice",
    "nohup",
    "run-parts",
    "runuser",
    "setpriv",
    "setsid",
    "sh",
    "stdbuf",
    "su",
    "sudo",
    "systemd-cat",
    "time",
    "timeout",
    "xargs",
    "zsh",
];

/// LIMIT: bytes of a thread's name that the kernel keeps.
const COMM_BYTES: usize = 15;

/// Whether a unit of systemd is the service of a daemon that starts jobs.
pub fn is_cron(unit: &str) -> bool {
    SERVICES.contains(&unit)
}

/// User and job of a process below a daemon that starts jobs, as in `ci/backup.sh`: the job is the
/// first program below the daemon that is more than a starter. `None` if the daemon is not among the
/// ancestors that are known, or if a container or another service says more of the process.
pub(super) fn job(subject: Subject<'_>) -> Option<String> {
    let is_named = subject
        .unit()
        .is_some_and(|unit| unit.ends_with(".service") && !is_cron(unit));
    if is_named || subject.container().is_some() {
        return None;
    }
    let ancestors = subject.ancestors();
    let daemon = ancestors
        .iter()
        .position(|ancestor| DAEMONS.contains(&ancestor.comm.as_str()))?;
    let above = ancestors.iter().take(daemon).rev();
    let own = (subject.comm().unwrap_or_default(), subject.exe());
    let job = above
        .map(|ancestor| (ancestor.comm.as_str(), ancestor.exe.as_deref()))
        .find(|(comm, _)| !STARTERS.contains(comm))
        .unwrap_or(own);
    let job = program(job)?;
    Some(match subject.user() {
        Some(user) => format!("{user}/{job}"),
        None => job.to_owned(),
    })
}

/// The name of a program: of a script its own, not that of its interpreter.
fn program<'a>((comm, exe): (&'a str, Option<&'a str>)) -> Option<&'a str> {
    let file = exe.map(without_mark).and_then(file_name);
    // The kernel cuts the name, and Node gives its main thread another one.
    let is_cut = |file: &&str| comm.len() == COMM_BYTES && file.starts_with(comm);
    let is_thread = comm.is_empty() || comm.ends_with("MainThread");
    file.filter(|file| is_thread || is_cut(file))
        .or_else(|| Some(comm).filter(|comm| !comm.is_empty()))
}
