//! Exec and exit of processes, so that facts are read before they change and forgotten after.

use agent_common::record::{Exec, RecordHeader, kind};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;

use crate::{emit, task};

#[inline(always)]
fn header(kind: u32) -> RecordHeader {
    let (pid, tid) = task::pid_and_tid();
    RecordHeader {
        kind,
        payload_bytes: 0,
        pid,
        tid,
        ssl: 0,
        since_ns: 0,
        at_ns: task::now_ns(),
        offset: 0,
        aux: 0,
    }
}

/// A process replaced its program.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn process_exec(_context: RawTracePointContext) -> i32 {
    let exec = Exec {
        comm: task::comm(),
        cgroup_id: task::cgroup_id(),
        uid: task::uid(),
        reserved: 0,
    };
    emit::notice(header(kind::EXEC), exec);
    0
}

/// The first thread of a process ended. The agent checks whether others go on.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn process_exit(_context: RawTracePointContext) -> i32 {
    let header = header(kind::EXIT);
    if header.pid == header.tid {
        emit::notice(header, [0_u64; 0]);
    }
    0
}
