//! TCP sockets that processes connect, and which TLS object uses which.
//!
//! Nothing is read from the kernel's structures: a socket is an address that comes with the
//! tracepoint, the peer's address and the bytes of a ClientHello come from the process's own
//! memory, by the arguments of the system call under way.
//!
//! Who uses which, thread by thread: a transfer inside a TLS call belongs to the innermost call
//! under way; a receive outside belongs to the read that follows it, and a send to the writes before
//! it, if the lengths agree. The first agreement holds until the object is freed or the socket is
//! closed.
//!
//! A tracepoint does not run a program anew on a CPU on which it runs already, so these programs may
//! use the private stack that kernels since 6.13 give them, which those of probes must stay off. But
//! kernels since 7.0 preempt them, and then the runs of others on that CPU are skipped: the kernel
//! counts them, and the agent says how many. Nothing here relies on having seen everything.

use agent_common::record::{
    Connected, ConnectionKey, MAX_HELLO_BYTES, RecordHeader, Traffic, family, kind,
};
use agent_common::settings::sockets;
use agent_ebpf::{
    HELLO_START_BYTES, is_client_hello, is_inside, is_length_of, is_length_with_handshake,
    is_tls_record, socket_number, tls_records,
};
use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;

use crate::emit::{self, Loss};
use crate::maps::{
    CALLS, CONNECTIONS, Call, CallKey, Connection, SOCKET_COUNT, SOCKETS, Socket, THREADS, Thread,
};
use crate::registers::{self, UserCall};
use crate::task;

/// How far sockets are followed, one of [`sockets`]; set by the loader.
#[unsafe(no_mangle)]
static FOLLOWED_SOCKETS: u32 = sockets::NONE;

/// States of a TCP socket (include/net/tcp_states.h).
const SYN_SENT: i32 = 2;
const CLOSE: i32 = 7;

/// Flag of a receive that leaves the bytes where they are (include/linux/socket.h).
const MSG_PEEK: i32 = 2;

/// Address families of the process's side (include/linux/socket.h).
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// What is known of a socket's traffic ([`Socket::phase`]).
const UNDECIDED: u32 = 0;
const TLS: u32 = 1;
const OTHER: u32 = 2;

/// LIMIT: sends that are looked at for a ClientHello. A proxy is asked first: once or twice over
/// HTTP, three times over SOCKS with a password.
const HELLO_LOOKS: u32 = 6;

/// LIMIT: transfers of a TLS socket after which no TLS object is looked for any more: the library
/// of its process is not hooked.
const USER_LOOKS: u32 = 1_024;

/// Bytes sent from the ClientHello on, without itself, that are more than the rest of a handshake
/// and the preface of HTTP/2 (some 220), and less than the shortest call (some 400).
const CARRIED_BYTES: u64 = 256;

#[inline(always)]
fn followed() -> u32 {
    // SAFETY: the loader sets the value before the program is loaded; a plain read would be folded
    // to the initial 0.
    unsafe { (&raw const FOLLOWED_SOCKETS).read_volatile() }
}

/// Whether sends and receives are seen.
#[inline(always)]
fn sees_traffic() -> bool {
    followed() == sockets::TRAFFIC
}

#[inline(always)]
fn header(kind: u32, pid: u32, socket: &Socket) -> RecordHeader {
    let (_pid, tid) = task::pid_and_tid();
    RecordHeader {
        kind,
        payload_bytes: 0,
        pid,
        tid,
        ssl: 0,
        since_ns: socket.since_ns,
        at_ns: task::now_ns(),
        offset: 0,
        aux: socket.number,
    }
}

/// The socket behind a key, which is the kernel's address of it.
#[inline(always)]
fn socket(sock: u64) -> Option<&'static mut Socket> {
    let socket = SOCKETS.get_ptr_mut(&sock)?;
    // SAFETY: map values live as long as the map.
    Some(unsafe { &mut *socket })
}

#[inline(always)]
fn thread(tid: u32) -> Option<&'static mut Thread> {
    let thread = THREADS.get_ptr_mut(&tid)?;
    // SAFETY: map values live as long as the map, and only the thread itself uses its entry.
    Some(unsafe { &mut *thread })
}

#[inline(always)]
fn is_open(sock: u64, number: u64) -> bool {
    socket(sock).is_some_and(|socket| socket.number == number)
}

/// `void (struct sock *sk, int oldstate, int newstate)`.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
fn socket_state(context: RawTracePointContext) -> i32 {
    let sock: u64 = context.arg(0);
    let state: i32 = context.arg(2);
    if state == SYN_SENT {
        connecting(sock);
    } else if state == CLOSE {
        closed(sock);
    }
    0
}

/// A process connects a socket; it is in the system call.
#[inline(always)]
fn connecting(sock: u64) {
    let (pid, _tid) = task::pid_and_tid();
    if task::is_ignored(pid) {
        return;
    }
    let Some(count) = SOCKET_COUNT.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the slot exists, and nothing else on this CPU runs this program meanwhile.
    let count = unsafe { &mut *count };
    *count = count.wrapping_add(1);
    // SAFETY: the helper has no preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let mut socket = Socket {
        number: socket_number(cpu, *count),
        since_ns: task::now_ns(),
        sent: 0,
        received: 0,
        ssl: 0,
        address: [0; 16],
        family: family::UNKNOWN,
        port: 0,
        fd: -1,
        pid,
        looks: 0,
        phase: UNDECIDED,
        carried: 0,
    };
    let call = registers::user_call();
    if call.number == registers::CONNECT {
        #[expect(clippy::cast_possible_truncation, reason = "an `int` argument")]
        let fd = call.arguments[0] as i32;
        socket.fd = fd;
        name_peer(&mut socket, call.arguments[1]);
    }
    if SOCKETS.insert(&sock, &socket, 0).is_err() {
        emit::count(Loss::UntrackedSockets, 1);
    } else if followed() == sockets::CONNECTS {
        announce(&socket);
    }
}

/// Takes the peer's address from where the process keeps it: a `sockaddr_in` or `sockaddr_in6`
/// (include/uapi/linux/in.h and in6.h).
#[inline(always)]
fn name_peer(socket: &mut Socket, at: u64) {
    // SAFETY: the helper checks the address.
    let Ok(head) = (unsafe { bpf_probe_read_user(at as *const [u16; 2]) }) else {
        return;
    };
    let [kind, port] = head;
    if kind == AF_INET {
        // SAFETY: as above.
        let address = unsafe { bpf_probe_read_user((at + 4) as *const [u8; 4]) };
        if let Ok(address) = address {
            socket.address[..4].copy_from_slice(&address);
            socket.family = family::INET;
        }
    } else if kind == AF_INET6 {
        // SAFETY: as above.
        let address = unsafe { bpf_probe_read_user((at + 8) as *const [u8; 16]) };
        if let Ok(address) = address {
            socket.address = address;
            socket.family = family::INET6;
        }
    }
    socket.port = u16::from_be(port);
}

#[inline(always)]
fn announce(socket: &Socket) {
    let connected = Connected {
        comm: task::comm(),
        address: socket.address,
        family: socket.family,
        port: socket.port,
        fd: socket.fd,
        uid: task::uid(),
        reserved: 0,
    };
    emit::notice(header(kind::CONNECTED, socket.pid, socket), connected);
}

/// A socket is closed, or could not be connected. Who runs here has nothing to do with it.
#[inline(always)]
fn closed(sock: u64) {
    let Some(socket) = socket(sock) else { return };
    if socket.phase == TLS || followed() == sockets::CONNECTS {
        let mut header = header(kind::SOCKET_CLOSED, socket.pid, socket);
        header.tid = 0;
        emit::notice(header, traffic(socket));
    }
    let _gone = SOCKETS.remove(&sock);
}

#[inline(always)]
const fn traffic(socket: &Socket) -> Traffic {
    Traffic {
        sent: socket.sent,
        received: socket.received,
    }
}

/// `void (struct sock *sk, int ret, int flags)`, after a send on any socket of the host: those that
/// are not followed leave after one look-up.
#[raw_tracepoint(tracepoint = "sock_send_length")]
fn socket_send(context: RawTracePointContext) -> i32 {
    let sock: u64 = context.arg(0);
    if let Some(socket) = socket(sock) {
        let sent: i32 = context.arg(1);
        if sent > 0 && socket.phase != OTHER {
            send(sock, socket, u64::from(sent.unsigned_abs()));
        }
    }
    0
}

#[inline(always)]
fn send(sock: u64, socket: &mut Socket, bytes: u64) {
    if socket.phase == UNDECIDED {
        first_sends(socket, bytes);
        return;
    }
    let is_first = socket.sent == 0;
    socket.sent = socket.sent.wrapping_add(bytes);
    if socket.carried == 0 && socket.sent >= CARRIED_BYTES {
        socket.carried = 1;
        emit::notice(header(kind::CARRIED, socket.pid, socket), traffic(socket));
    }
    let Some((pid, tid)) = looks_for_user(socket) else {
        return;
    };
    let Some(thread) = thread(tid) else { return };
    if is_in_call(pid, thread, sock, socket) || thread.written_ssl == 0 {
        return;
    }
    let key = ConnectionKey {
        ssl: thread.written_ssl,
        pid,
        reserved: 0,
    };
    let is_its = if is_first {
        is_length_with_handshake(bytes, thread.written_bytes, thread.written_records)
    } else {
        is_length_of(bytes, thread.written_bytes, thread.written_records)
    };
    // Whatever was sent came first.
    thread.written_ssl = 0;
    if !is_its {
        return;
    }
    let Some(connection) = CONNECTIONS.get_ptr_mut(&key) else {
        return;
    };
    // SAFETY: map values live as long as the map; see `Connection` for who writes.
    let connection = unsafe { &mut *connection };
    if connection.since_ns == thread.written_since_ns {
        let used = Used {
            sock,
            number: socket.number,
        };
        bind(&key, connection, used);
    }
}

/// Looks whether a socket begins a TLS handshake. Only bytes that begin as one are copied.
#[inline(always)]
fn first_sends(socket: &mut Socket, sent: u64) {
    socket.looks += 1;
    if socket.looks >= HELLO_LOOKS {
        socket.phase = OTHER;
    }
    let Some((buffer, length)) = first_buffer(&registers::user_call()) else {
        return;
    };
    let length = if sent < length { sent } else { length };
    if length < HELLO_START_BYTES as u64 {
        return;
    }
    // SAFETY: the helper checks the address.
    let start = unsafe { bpf_probe_read_user(buffer as *const [u8; HELLO_START_BYTES]) };
    let Ok(start) = start else { return };
    let is_hello = is_client_hello(start);
    // The run for the hello may have been skipped.
    if !is_hello && !is_tls_record(start) {
        return;
    }
    let (pid, _tid) = task::pid_and_tid();
    socket.phase = TLS;
    socket.looks = 0;
    // A parent may have connected it.
    socket.pid = pid;
    announce(socket);
    if is_hello {
        emit::hello(header(kind::HELLO, pid, socket), buffer, length);
    }
}

const _: () = assert!(MAX_HELLO_BYTES >= HELLO_START_BYTES);

/// Where the bytes that a system call sends begin, and how many lie there.
#[inline(always)]
fn first_buffer(call: &UserCall) -> Option<(u64, u64)> {
    let [_, second, third] = call.arguments;
    let vector = if call.number == registers::WRITE || call.number == registers::SENDTO {
        return Some((second, third));
    } else if call.number == registers::WRITEV {
        second
    } else if call.number == registers::SENDMSG || call.number == registers::SENDMMSG {
        // `msg_iov` of the (first) message (include/linux/socket.h, `user_msghdr`).
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_user((second + 16) as *const u64) }.ok()?
    } else {
        return None;
    };
    // SAFETY: as above.
    let [base, length] = unsafe { bpf_probe_read_user(vector as *const [u64; 2]) }.ok()?;
    Some((base, length))
}

/// `void (struct sock *sk, int ret, int flags)`, after a receive on any socket of the host.
#[raw_tracepoint(tracepoint = "sock_recv_length")]
fn socket_receive(context: RawTracePointContext) -> i32 {
    let sock: u64 = context.arg(0);
    if let Some(socket) = socket(sock) {
        let received: i32 = context.arg(1);
        let flags: i32 = context.arg(2);
        if received > 0 && flags & MSG_PEEK == 0 && socket.phase == TLS {
            receive(sock, socket, u64::from(received.unsigned_abs()));
        }
    }
    0
}

#[inline(always)]
fn receive(sock: u64, socket: &mut Socket, bytes: u64) {
    socket.received = socket.received.wrapping_add(bytes);
    let Some((pid, tid)) = looks_for_user(socket) else {
        return;
    };
    let Some(thread) = thread(tid) else {
        let thread = Thread {
            received_sock: sock,
            received_socket: socket.number,
            received_bytes: bytes,
            ..IDLE
        };
        let _full = THREADS.insert(&tid, &thread, 0);
        return;
    };
    if is_in_call(pid, thread, sock, socket) {
        return;
    }
    if thread.received_socket != socket.number {
        thread.received_sock = sock;
        thread.received_socket = socket.number;
        thread.received_bytes = 0;
    }
    thread.received_bytes = thread.received_bytes.wrapping_add(bytes);
}

/// A thread of which nothing is known.
const IDLE: Thread = Thread {
    call: 0,
    received_sock: 0,
    received_socket: 0,
    received_bytes: 0,
    agreed_ssl: 0,
    agreed_socket: 0,
    written_ssl: 0,
    written_since_ns: 0,
    written_bytes: 0,
    written_records: 0,
};

/// The calling process and thread, if the TLS object of a socket is still looked for.
#[inline(always)]
fn looks_for_user(socket: &mut Socket) -> Option<(u32, u32)> {
    if socket.ssl != 0 || socket.looks >= USER_LOOKS {
        return None;
    }
    socket.looks += 1;
    Some(task::pid_and_tid())
}

/// Whether this transfer is made inside a TLS call, which then notes the socket.
#[inline(always)]
fn is_in_call(pid: u32, thread: &Thread, sock: u64, socket: &Socket) -> bool {
    if thread.call == 0 || !is_inside(registers::user_call().stack_pointer, thread.call) {
        return false;
    }
    let key = CallKey {
        stack_pointer: thread.call,
        pid,
        reserved: 0,
    };
    let Some(call) = CALLS.get_ptr_mut(&key) else {
        return false;
    };
    // SAFETY: the value exists, and the call is this thread's.
    let call = unsafe { &mut *call };
    call.sock = sock;
    call.socket = socket.number;
    true
}

/// A socket, as the TLS calls know it.
#[derive(Clone, Copy)]
pub(crate) struct Used {
    sock: u64,
    number: u64,
}

/// A TLS call begins at `stack_pointer`; gives the one that it is made in, or 0.
#[inline(always)]
pub(crate) fn entered(tid: u32, stack_pointer: u64) -> u64 {
    if !sees_traffic() {
        return 0;
    }
    let Some(thread) = thread(tid) else {
        let thread = Thread {
            call: stack_pointer,
            ..IDLE
        };
        let _full = THREADS.insert(&tid, &thread, 0);
        return 0;
    };
    let outer = if is_inside(stack_pointer, thread.call) {
        thread.call
    } else {
        0
    };
    thread.call = stack_pointer;
    outer
}

/// A TLS call has ended, whatever it moved.
#[inline(always)]
pub(crate) fn left(pid: u32, tid: u32, call: &Call) {
    if !sees_traffic() {
        return;
    }
    if call.outer != 0 {
        let key = CallKey {
            stack_pointer: call.outer,
            pid,
            reserved: 0,
        };
        if let Some(outer) = CALLS.get_ptr_mut(&key) {
            // SAFETY: the value exists, and the call is this thread's.
            unsafe { (*outer).has_inner = 1 };
        }
    }
    if let Some(thread) = thread(tid) {
        thread.call = call.outer;
    }
}

/// The socket that was used inside a call.
#[inline(always)]
pub(crate) const fn used_inside(call: &Call) -> Option<Used> {
    if call.socket == 0 {
        return None;
    }
    Some(Used {
        sock: call.sock,
        number: call.socket,
    })
}

/// The socket whose bytes a read took that found them in memory: that of the receive right before
/// it, if the length proves it or two reads in a row agree.
#[inline(always)]
pub(crate) fn used_before(tid: u32, key: &ConnectionKey, read: u64) -> Option<Used> {
    if !sees_traffic() {
        return None;
    }
    let thread = thread(tid)?;
    if thread.received_socket == 0 {
        return None;
    }
    let used = Used {
        sock: thread.received_sock,
        number: thread.received_socket,
    };
    let is_proven = is_length_of(thread.received_bytes, read, tls_records(read));
    let is_agreed = thread.agreed_ssl == key.ssl && thread.agreed_socket == used.number;
    thread.agreed_ssl = key.ssl;
    thread.agreed_socket = used.number;
    thread.received_socket = 0;
    if is_proven || is_agreed {
        Some(used)
    } else {
        None
    }
}

/// A read asked for more: what was received before it is consumed.
#[inline(always)]
pub(crate) fn asked_for_more(tid: u32) {
    if sees_traffic()
        && let Some(thread) = thread(tid)
    {
        thread.received_socket = 0;
    }
}

/// A write into memory: the send that follows may be its.
#[inline(always)]
pub(crate) fn wrote(tid: u32, key: &ConnectionKey, connection: &Connection, written: u64) {
    if connection.socket != 0 || !sees_traffic() {
        return;
    }
    let Some(thread) = thread(tid) else { return };
    if thread.written_ssl != key.ssl || thread.written_since_ns != connection.since_ns {
        thread.written_ssl = key.ssl;
        thread.written_since_ns = connection.since_ns;
        thread.written_bytes = 0;
        thread.written_records = 0;
    }
    thread.written_bytes = thread.written_bytes.wrapping_add(written);
    thread.written_records = thread.written_records.wrapping_add(tls_records(written));
}

/// Whether the socket that a connection used is closed.
#[inline(always)]
pub(crate) fn has_lost_its_socket(connection: &Connection) -> bool {
    connection.socket != 0 && !is_open(connection.sock, connection.socket)
}

/// Notes which socket a connection uses, once.
#[inline(always)]
pub(crate) fn bind(key: &ConnectionKey, connection: &mut Connection, used: Used) {
    if connection.socket != 0 {
        return;
    }
    let Some(socket) = socket(used.sock) else {
        return;
    };
    if socket.number != used.number || socket.ssl != 0 {
        return;
    }
    socket.ssl = key.ssl;
    connection.sock = used.sock;
    connection.socket = used.number;
    let mut header = header(kind::BOUND, key.pid, socket);
    header.ssl = key.ssl;
    header.since_ns = connection.since_ns;
    emit::notice(header, [0_u64; 0]);
}
