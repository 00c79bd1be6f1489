//! What the kernel says of the calling task.

use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid,
    bpf_get_current_uid_gid, bpf_ktime_get_boot_ns,
};

use agent_common::record::COMM_BYTES;
use agent_ebpf::halves;

use crate::maps::IGNORED_PROCESSES;

/// The agent's own process id, set by the loader.
#[unsafe(no_mangle)]
static AGENT_PID: u32 = 0;

/// Whether this process is to be left alone.
#[inline(always)]
pub(crate) fn is_ignored(pid: u32) -> bool {
    // SAFETY: the loader sets the value before the program is loaded; a plain read would be folded
    // to the initial 0.
    let agent_pid = unsafe { (&raw const AGENT_PID).read_volatile() };
    pid == agent_pid || IGNORED_PROCESSES.get_ptr(&pid).is_some()
}

/// Process and thread id in the initial namespace.
#[inline(always)]
pub(crate) fn pid_and_tid() -> (u32, u32) {
    halves(bpf_get_current_pid_tgid())
}

/// Real user id.
#[inline(always)]
pub(crate) fn uid() -> u32 {
    let (_gid, uid) = halves(bpf_get_current_uid_gid());
    uid
}

/// Name of the thread.
#[inline(always)]
pub(crate) fn comm() -> [u8; COMM_BYTES] {
    bpf_get_current_comm().unwrap_or_default()
}

/// Id of the cgroup in the v2 hierarchy.
#[inline(always)]
pub(crate) fn cgroup_id() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_current_cgroup_id() }
}

/// Now, on the boot clock.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_boot_ns() }
}
