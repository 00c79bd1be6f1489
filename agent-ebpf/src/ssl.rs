//! The TLS library's calls: arguments are kept at entry, bytes are copied at return.

use agent_common::record::{ConnectionKey, MAX_PAYLOAD_BYTES, Opened, RecordHeader, kind};
use agent_common::settings::MAX_CALL_BYTES;
use agent_common::site;
use agent_ebpf::{
    CTRL_SET_HOST_NAME, Returns, entry_stack_pointer, halves, handshake_starts_anew, is_counted,
    moved_bytes, returns, writes,
};
use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::programs::{ProbeContext, RetProbeContext};

use crate::emit::{self, Copied, Loss};
use crate::maps::{CALLS, CONNECTIONS, Call, CallKey, Connection, IGNORED_CONNECTIONS};
use crate::{long_call, socket, task};

#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn stack_pointer(registers: *const pt_regs) -> u64 {
    // SAFETY: the context of a probe program is the interrupted task's registers.
    unsafe { (*registers).rsp }
}

#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
pub(crate) fn stack_pointer(registers: *const pt_regs) -> u64 {
    // SAFETY: the context of a probe program is the interrupted task's registers.
    unsafe { (*registers).sp }
}

#[inline(always)]
fn header(kind: u32, key: &ConnectionKey, since_ns: u64, at_ns: u64) -> RecordHeader {
    let (_pid, tid) = task::pid_and_tid();
    RecordHeader {
        kind,
        payload_bytes: 0,
        pid: key.pid,
        tid,
        ssl: key.ssl,
        since_ns,
        at_ns,
        offset: 0,
        aux: 0,
    }
}

/// Entry of any probed function; `site` says which.
#[inline(always)]
pub(crate) fn enter(context: &ProbeContext, site: u64) {
    long_call::stay_off_private_stack(context);
    let (pid, tid) = task::pid_and_tid();
    if task::is_ignored(pid) {
        return;
    }
    let Some(ssl) = context.arg::<u64>(0) else {
        return;
    };
    let key = ConnectionKey {
        ssl,
        pid,
        reserved: 0,
    };
    match site {
        site::FREE => freed(&key),
        site::SET_FD => {
            let Some(fd) = context.arg::<i32>(1) else {
                return;
            };
            begin(&key, fd);
        }
        site::CTRL => {
            let (Some(command), Some(name)) = (context.arg::<i32>(1), context.arg::<u64>(3)) else {
                return;
            };
            if command == CTRL_SET_HOST_NAME && name != 0 {
                named(&key, name);
            }
        }
        site::SET_HOST_NAME => {
            let Some(name) = context.arg::<u64>(1) else {
                return;
            };
            if name != 0 {
                named(&key, name);
            }
        }
        site::NEW | site::HANDSHAKE => {
            let call = Call {
                site,
                ssl,
                buffer: 0,
                bytes: 0,
                count_at: 0,
                offset: 0,
                since_ns: 0,
                returned_ns: 0,
                aux: 0,
                outer: 0,
                sock: 0,
                socket: 0,
                has_inner: 0,
            };
            // One that can't be kept begins no connection; its first bytes will.
            let _kept = CALLS.insert(&entry_key(context, pid), &call, 0);
        }
        _ => called(context, &key, tid, site),
    }
}

/// Entry of a call that moves bytes: keeps its arguments until the return.
#[inline(always)]
fn called(context: &ProbeContext, key: &ConnectionKey, tid: u32, site: u64) {
    if is_ignored_connection(key) {
        return;
    }
    let Some(kind) = returns(site) else { return };
    let (Some(buffer), Some(asked)) = (context.arg::<u64>(1), context.arg::<u64>(2)) else {
        return;
    };
    let (bytes, count_at) = match kind {
        // An `int` argument: the upper half of the register means nothing.
        Returns::Count => (asked & 0xffff_ffff, 0),
        Returns::Flag if site == site::WRITE_EX2 => (asked, context.arg::<u64>(4).unwrap_or(0)),
        Returns::Flag => (asked, context.arg::<u64>(3).unwrap_or(0)),
    };
    let (since_ns, offset) = match CONNECTIONS.get_ptr_mut(key) {
        Some(connection) => {
            // SAFETY: see `open`.
            let connection = unsafe { &mut *connection };
            let offset = moved_so_far(connection, site);
            if writes(site) {
                connection.writing = offset.wrapping_add(1);
            }
            (connection.since_ns, offset)
        }
        None => (0, 0),
    };
    let stack_pointer = stack_pointer(context.regs);
    let call = Call {
        site,
        ssl: key.ssl,
        buffer,
        bytes,
        count_at,
        offset,
        since_ns,
        returned_ns: 0,
        aux: 0,
        outer: socket::entered(tid, stack_pointer),
        sock: 0,
        socket: 0,
        has_inner: 0,
    };
    if CALLS
        .insert(&entry_key(context, key.pid), &call, 0)
        .is_err()
    {
        emit::count(Loss::UntrackedCalls, 1);
        // How much this call moves is not going to be known, so what follows is another stream.
        if let Some(connection) = CONNECTIONS.get_ptr(key) {
            // SAFETY: see `open`.
            close(key, unsafe { &*connection }, task::now_ns());
        }
    }
}

#[inline(always)]
fn is_ignored_connection(key: &ConnectionKey) -> bool {
    let Some(since_ns) = IGNORED_CONNECTIONS.get_ptr(key) else {
        return false;
    };
    let Some(connection) = CONNECTIONS.get_ptr(key) else {
        return false;
    };
    // SAFETY: map values live as long as the map; one that is reused at this moment gives a
    // verdict for one call that the next call corrects.
    let connection = unsafe { &*connection };
    // SAFETY: as above.
    connection.since_ns == unsafe { *since_ns }
}

/// Return of a call that moves bytes.
#[inline(always)]
pub(crate) fn exit(context: &RetProbeContext) {
    long_call::stay_off_private_stack_at_return(context);
    let (pid, tid) = task::pid_and_tid();
    let call_key = call_key(context, pid);
    let Some(call) = CALLS.get_ptr_mut(&call_key) else {
        return;
    };
    // SAFETY: the value exists, and only this thread uses this key: the stack pointer is its own.
    let call = unsafe { &mut *call };
    // Read once, here: a register is at a fixed place of the context, which the verifier wants to
    // see wherever it is read.
    let returned = context.ret::<u64>();
    let (_, value) = halves(returned);
    let value = value.cast_signed();
    let Some(kind) = returns(call.site) else {
        began(pid, call, returned, value);
        let _gone = CALLS.remove(&call_key);
        return;
    };
    socket::left(pid, tid, call);
    let mut used = socket::used_inside(call);
    let is_write = writes(call.site);
    let key = ConnectionKey {
        ssl: call.ssl,
        pid,
        reserved: 0,
    };
    let counted = match kind {
        Returns::Count => 0,
        // SAFETY: the helper checks the address.
        Returns::Flag => unsafe { bpf_probe_read_user(call.count_at as *const u64) }.unwrap_or(0),
    };
    let Some(moved) = moved_bytes(kind, value, counted, call.bytes) else {
        if is_write {
            write_ended(&key);
        } else {
            socket::asked_for_more(tid);
        }
        // Node makes its first write, and sends it, inside the read that ends the handshake.
        if let Some(used) = used {
            bind_if_known(&key, used);
        }
        let _gone = CALLS.remove(&call_key);
        return;
    };
    let now_ns = task::now_ns();
    if used.is_none() && call.has_inner == 0 && !is_write {
        used = socket::used_before(tid, &key, moved);
    }
    if is_write || used.is_some() {
        begin_on_new_socket(&key, now_ns);
    }
    // A write that began before the connection was known may be under way, unless this is one.
    let Some(connection) = open(&key, now_ns, -1, u64::from(!is_write)) else {
        emit::count(Loss::UntrackedCalls, 1);
        let _gone = CALLS.remove(&call_key);
        return;
    };
    let moved_before = moved_so_far(connection, call.site);
    if is_counted(
        call.since_ns,
        call.offset,
        connection.since_ns,
        moved_before,
    ) {
        let _gone = CALLS.remove(&call_key);
        return;
    }
    if let Some(used) = used {
        socket::bind(&key, connection, used);
    } else if call.has_inner == 0 && is_write {
        socket::wrote(tid, &key, connection, moved);
    }
    let direction = if is_write {
        &mut connection.written
    } else {
        &mut connection.read
    };
    call.offset = *direction;
    // It advances whatever becomes of the bytes: that makes a loss visible.
    *direction = direction.wrapping_add(moved);
    call.since_ns = connection.since_ns;
    call.returned_ns = now_ns;
    call.bytes = moved;
    if moved > MAX_CALL_BYTES {
        emit::count(Loss::OversizedBytes, moved - MAX_CALL_BYTES);
        call.bytes = MAX_CALL_BYTES;
    }
    call.aux = if is_write {
        call.offset.wrapping_add(call.bytes)
    } else {
        connection.writing
    };
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(
        context,
        "site {} ssl {:x} moved {} at {}",
        call.site,
        call.ssl,
        moved,
        call.offset
    );
    copy(context, &call_key, call);
}

/// Return of a function that may begin a connection: what it returned, as an address and as an
/// `int`.
#[inline(always)]
fn began(pid: u32, call: &Call, returned: u64, value: i32) {
    let is_new = call.site == site::NEW;
    let key = ConnectionKey {
        ssl: if is_new { returned } else { call.ssl },
        pid,
        reserved: 0,
    };
    if key.ssl == 0 {
        return;
    }
    let now_ns = task::now_ns();
    if let Some(connection) = CONNECTIONS.get_ptr(&key) {
        // SAFETY: see `open`.
        let connection = unsafe { &*connection };
        if !is_new && !handshake_starts_anew(value, connection.written, connection.read) {
            return;
        }
        close(&key, connection, now_ns);
    }
    open(&key, now_ns, -1, 0);
}

/// Bytes that moved so far in the direction of the function at `site`.
#[inline(always)]
fn moved_so_far(connection: &Connection, site: u64) -> u64 {
    if writes(site) {
        connection.written
    } else {
        connection.read
    }
}

/// The write that was under way has returned, and all of its records are in the ring.
#[inline(always)]
fn write_ended(key: &ConnectionKey) {
    if let Some(connection) = CONNECTIONS.get_ptr_mut(key) {
        // SAFETY: see `open`.
        unsafe { (*connection).writing = 0 };
    }
}

/// Notes the socket of a connection that is known already.
#[inline(always)]
fn bind_if_known(key: &ConnectionKey, used: socket::Used) {
    if let Some(connection) = CONNECTIONS.get_ptr_mut(key) {
        // SAFETY: see `open`.
        socket::bind(key, unsafe { &mut *connection }, used);
    }
}

/// Where the end of an object was not seen and another one got its address, its first write, or
/// its first read from another socket, comes after the close of the old socket.
#[inline(always)]
fn begin_on_new_socket(key: &ConnectionKey, now_ns: u64) {
    if let Some(connection) = CONNECTIONS.get_ptr(key) {
        // SAFETY: see `open`.
        let connection = unsafe { &*connection };
        if socket::has_lost_its_socket(connection) {
            close(key, connection, now_ns);
        }
    }
}

#[inline(always)]
fn entry_key(context: &ProbeContext, pid: u32) -> CallKey {
    CallKey {
        stack_pointer: stack_pointer(context.regs),
        pid,
        reserved: 0,
    }
}

#[inline(always)]
pub(crate) fn call_key(context: &RetProbeContext, pid: u32) -> CallKey {
    let at_return = stack_pointer(context.regs);
    let stack_pointer = entry_stack_pointer(at_return, cfg!(bpf_target_arch = "x86_64"));
    CallKey {
        stack_pointer,
        pid,
        reserved: 0,
    }
}

/// Copies what is left of a returned call.
#[inline(always)]
pub(crate) fn copy(context: &RetProbeContext, call_key: &CallKey, call: &mut Call) {
    let key = ConnectionKey {
        ssl: call.ssl,
        pid: call_key.pid,
        reserved: 0,
    };
    let is_write = writes(call.site);
    let record_kind = if is_write { kind::WRITTEN } else { kind::READ };
    let mut header = header(record_kind, &key, call.since_ns, call.returned_ns);
    header.aux = call.aux;
    long_call::copy_full_records(context, header, call);
    if call.bytes > MAX_PAYLOAD_BYTES as u64 {
        emit::count(Loss::OversizedBytes, call.bytes);
    } else if call.bytes > 0 {
        header.offset = call.offset;
        account(emit::plaintext(header, call.buffer, call.bytes), call.bytes);
    }
    if is_write {
        write_ended(&key);
    }
    let _gone = CALLS.remove(call_key);
}

/// Copies the next full record of a call, if what is left is longer than one.
#[inline(always)]
pub(crate) fn copy_full_record(header: &mut RecordHeader, call: &mut Call) -> bool {
    let full = MAX_PAYLOAD_BYTES as u64;
    if call.bytes <= full {
        return false;
    }
    header.offset = call.offset;
    account(emit::full(*header, call.buffer), full);
    advance(call, full);
    true
}

#[inline(always)]
fn advance(call: &mut Call, bytes: u64) {
    call.buffer = call.buffer.wrapping_add(bytes);
    call.offset = call.offset.wrapping_add(bytes);
    call.bytes = call.bytes.wrapping_sub(bytes);
}

#[inline(always)]
fn account(copied: Copied, bytes: u64) {
    match copied {
        Copied::Delivered => {}
        Copied::RingFull => {
            emit::count(Loss::RingFullRecords, 1);
            emit::count(Loss::RingFullBytes, bytes);
        }
        Copied::Unreadable => emit::count(Loss::UnreadableBytes, bytes),
    }
}

/// The connection's entry, made and announced at first sight.
#[inline(always)]
fn open(
    key: &ConnectionKey,
    now_ns: u64,
    fd: i32,
    writing: u64,
) -> Option<&'static mut Connection> {
    if let Some(connection) = CONNECTIONS.get_ptr_mut(key) {
        // SAFETY: map values live as long as the map; see `Connection` for who writes.
        return Some(unsafe { &mut *connection });
    }
    let connection = Connection {
        since_ns: now_ns,
        written: 0,
        read: 0,
        writing,
        sock: 0,
        socket: 0,
    };
    CONNECTIONS.insert(key, &connection, 0).ok()?;
    let opened = Opened {
        comm: task::comm(),
        cgroup_id: task::cgroup_id(),
        uid: task::uid(),
        fd,
    };
    emit::notice(header(kind::OPENED, key, now_ns, now_ns), opened);
    let connection = CONNECTIONS.get_ptr_mut(key)?;
    // SAFETY: as above.
    Some(unsafe { &mut *connection })
}

/// A sign that the TLS object is about to start a connection: a used one starts anew.
#[inline(always)]
fn begin(key: &ConnectionKey, fd: i32) -> Option<&'static mut Connection> {
    let now_ns = task::now_ns();
    if let Some(connection) = CONNECTIONS.get_ptr(key) {
        // SAFETY: see `open`.
        let connection = unsafe { &*connection };
        if connection.written != 0 || connection.read != 0 {
            close(key, connection, now_ns);
        }
    }
    open(key, now_ns, fd, 0)
}

#[inline(always)]
fn named(key: &ConnectionKey, name: u64) {
    let Some(connection) = begin(key, -1) else {
        return;
    };
    let now_ns = task::now_ns();
    emit::server_name(
        header(kind::SERVER_NAME, key, connection.since_ns, now_ns),
        name,
    );
}

#[inline(always)]
fn freed(key: &ConnectionKey) {
    if let Some(connection) = CONNECTIONS.get_ptr(key) {
        let now_ns = task::now_ns();
        // SAFETY: see `open`.
        close(key, unsafe { &*connection }, now_ns);
    }
}

#[inline(always)]
fn close(key: &ConnectionKey, connection: &Connection, now_ns: u64) {
    let mut header = header(kind::CLOSED, key, connection.since_ns, now_ns);
    header.offset = connection.written;
    header.aux = connection.read;
    emit::notice(header, [0_u64; 0]);
    let _gone = CONNECTIONS.remove(key);
    let _gone = IGNORED_CONNECTIONS.remove(key);
}
