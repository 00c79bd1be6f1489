//! The tree of processes that a process belongs to.

use crate::event::{ProcId, Process};

/// Programs that start what has nothing to do with each other: managers of services, log-ins,
/// terminals, containers and jobs. Names are those of their threads, at most 15 bytes.
const STARTERS: [&str; 26] = [
    "systemd",
    "init",
    "sshd",
    "sshd-session",
    "login",
    "su",
    "sudo",
    "tmux: server",
    "screen",
    "cron",
    "crond",
    "atd",
    "containerd-shim",
    "conmon",
    "docker-init",
    "tini",
    "dumb-init",
    "runsv",
    "s6-supervise",
    "supervisord",
    "gnome-terminal-",
    "gnome-shell",
    "konsole",
    "kitty",
    "alacritty",
    "xterm",
];

/// The root of the tree of a process: its farthest ancestor that no starter separates from it, or
/// itself. A program that a script runs again and again belongs to the script.
pub(super) fn root(process: &Process) -> ProcId {
    process
        .ancestors
        .iter()
        .take_while(|ancestor| {
            ancestor.id.pid != 1
                && !STARTERS
                    .iter()
                    .any(|starter| is_cut_of(starter, &ancestor.comm))
        })
        .last()
        .map_or(process.id, |ancestor| ancestor.id)
}

/// Whether a thread's name is a program's, cut as the kernel does.
fn is_cut_of(program: &str, comm: &str) -> bool {
    comm == program || (comm.len() == 15 && program.starts_with(comm))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Ancestor;

    fn id(pid: u32) -> ProcId {
        ProcId {
            pid,
            start_ticks: 9,
        }
    }

    fn process(ancestors: &[(u32, &str)]) -> Process {
        Process {
            id: id(100),
            ancestors: ancestors
                .iter()
                .map(|(pid, comm)| Ancestor {
                    id: id(*pid),
                    comm: (*comm).to_owned(),
                    exe: None,
                })
                .collect(),
            ..Process::default()
        }
    }

    #[test]
    fn the_root_is_below_what_starts_anything() {
        for (ancestors, root_pid) in [
            (vec![], 100),
            (vec![(1, "systemd")], 100),
            (
                vec![
                    (50, "script.sh"),
                    (40, "bash"),
                    (30, "sshd"),
                    (1, "systemd"),
                ],
                40,
            ),
            (vec![(50, "worker"), (40, "gitlab-runner"), (1, "init")], 40),
            (
                vec![(50, "node"), (40, "containerd-shim"), (1, "systemd")],
                50,
            ),
            (vec![(50, "sh"), (40, "cron"), (1, "systemd")], 50),
            (vec![(50, "tmux: server"), (1, "systemd")], 100),
        ] {
            assert_eq!(root(&process(&ancestors)), id(root_pid), "{ancestors:?}");
        }
    }
}
