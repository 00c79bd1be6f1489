//! The table of sockets and connections.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::{Binding, Finding, parse};
use crate::event::{ConnId, Event, SocketId, Timestamp};
use crate::stats::Stats;

/// Bounds of this stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sockets that are remembered. LIMIT: 32,768, what the kernel programs follow; beyond it the
    /// one that is known for longest is forgotten and counted.
    pub sockets: usize,
    /// Connections that are remembered. LIMIT: 65,536, as in the connection stage; beyond it the one
    /// that is known for longest is forgotten, and may leave its socket unexplained.
    pub connections: usize,
    /// Time from the first bytes behind a handshake until plaintext of it must have been seen.
    pub settle: Duration,
    /// The same from the close of a socket: records of other CPUs may come later.
    pub settle_closed: Duration,
    /// Time from the close of a socket until its connection is over: what was received before is
    /// still read.
    pub linger: Duration,
    /// Time for which a connection that ended still explains a socket.
    pub remember: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sockets: 32_768,
            connections: 65_536,
            settle: Duration::from_secs(5),
            settle_closed: Duration::from_secs(1),
            linger: Duration::from_secs(5),
            remember: Duration::from_secs(30),
        }
    }
}

/// LIMIT: hosts that the requests of one connection name and that are kept; a proxy's client may
/// name many. The first ones stay.
const HOSTS: usize = 4;

/// What is known of a socket.
#[derive(Clone, Debug)]
struct Socket {
    pid: u32,
    since: Timestamp,
    peer: Option<SocketAddr>,
    fd: Option<i32>,
    /// Whether its handshake was seen; then the kernel programs say who uses it.
    has_hello: bool,
    name: Option<String>,
    user: Option<ConnId>,
    carried: bool,
    closed: Option<Closed>,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug)]
struct Closed {
    bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Open,
    Read,
    Unprobed,
}

/// What is known of a connection.
#[derive(Clone, Debug)]
struct Connection {
    since: Timestamp,
    /// Host name that the client set for the handshake.
    name: Option<String>,
    /// Hosts that its requests name.
    hosts: Vec<String>,
    socket: Option<SocketId>,
    /// The socket that it explains without being bound to it.
    explains: Option<SocketId>,
    ended: Option<Timestamp>,
}

/// What is to be done at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// Decide whether the plaintext of this socket is seen.
    Decide(SocketId),
    /// End this connection, unless it ended by itself.
    End(ConnId),
    /// Forget this connection.
    Forget(ConnId),
}

/// The stage: see the [module page](super).
#[derive(Debug)]
pub struct Sockets {
    limits: Limits,
    sockets: BTreeMap<SocketId, Socket>,
    sockets_by_age: BTreeSet<(Timestamp, SocketId)>,
    sockets_by_pid: BTreeSet<(u32, SocketId)>,
    connections: BTreeMap<ConnId, Connection>,
    connections_by_age: BTreeSet<(Timestamp, ConnId)>,
    tasks: BTreeSet<(Timestamp, Task)>,
}

impl Sockets {
    /// A table without any socket.
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            sockets: BTreeMap::new(),
            sockets_by_age: BTreeSet::new(),
            sockets_by_pid: BTreeSet::new(),
            connections: BTreeMap::new(),
            connections_by_age: BTreeSet::new(),
            tasks: BTreeSet::new(),
        }
    }

    /// Takes one event.
    pub fn handle(&mut self, event: &Event, stats: &mut Stats, out: &mut Vec<Finding>) {
        match event {
            Event::Connected {
                at,
                socket,
                pid,
                peer,
                fd,
                ..
            } => self.connected(*at, *socket, *pid, *peer, *fd, stats),
            Event::Hello {
                at,
                socket,
                pid,
                bytes,
            } => {
                if !self.sockets.contains_key(socket) {
                    self.connected(*at, *socket, *pid, None, None, stats);
                }
                let name = match parse(bytes) {
                    Ok(hello) => hello.server_name,
                    Err(_contradiction) => {
                        stats.hellos_malformed += 1;
                        None
                    }
                };
                if let Some(known) = self.sockets.get_mut(socket) {
                    known.has_hello = true;
                    known.name = name;
                }
            }
            Event::Bound { at, conn, socket } => {
                self.connection(*at, *conn);
                self.bind(*at, *conn, *socket, Binding::Thread, stats, out);
            }
            Event::Carried { at, socket } => {
                if let Some(known) = self.sockets.get_mut(socket) {
                    known.carried = true;
                    let due = *at + self.limits.settle;
                    self.tasks.insert((due, Task::Decide(*socket)));
                }
            }
            Event::SocketClosed { at, socket, bytes } => {
                self.closed(*at, *socket, Closed { bytes: *bytes }, out);
            }
            Event::Opened { at, conn, fd, .. } => {
                self.connection(*at, *conn);
                if let Some(fd) = *fd
                    && let Some(socket) = self.by_descriptor(conn.pid, fd)
                {
                    self.bind(*at, *conn, socket, Binding::Descriptor, stats, out);
                }
            }
            Event::ServerName { at, conn, name } => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                self.connection(*at, *conn).name = Some(name);
            }
            Event::Closed { at, conn, .. } => self.ended(*at, *conn),
            Event::Exit { at, pid } => {
                for conn in self.connections_of(*pid) {
                    self.ended(*at, conn);
                }
                // The notices of their closes come next, or were lost.
                for id in self.sockets_of(*pid) {
                    if let Some(socket) = self.sockets.get_mut(&id) {
                        socket.closed.get_or_insert(Closed { bytes: 0 });
                    }
                    let due = *at + self.limits.settle_closed;
                    self.tasks.insert((due, Task::Decide(id)));
                }
            }
            Event::Exec { at, pid, .. } => {
                for conn in self.connections_of(*pid) {
                    self.ended(*at, conn);
                }
            }
            Event::Chunk { .. } | Event::Clock { .. } | Event::Process(_) | Event::Lost { .. } => {}
        }
    }

    /// A request on a connection names this host.
    pub fn request(
        &mut self,
        at: Timestamp,
        conn: ConnId,
        host: Option<&str>,
        stats: &mut Stats,
        out: &mut Vec<Finding>,
    ) {
        let connection = self.connection(at, conn);
        if let Some(host) = host
            && connection.hosts.len() < HOSTS
            && !connection.hosts.iter().any(|known| known == host)
        {
            connection.hosts.push(host.to_owned());
        }
        if connection.socket.is_none()
            && let Some(socket) = self.only_socket(conn.pid)
        {
            self.bind(at, conn, socket, Binding::OnlySocket, stats, out);
        }
    }

    /// Does what is due.
    pub fn expire(&mut self, now: Timestamp, stats: &mut Stats, out: &mut Vec<Finding>) {
        while let Some((due, task)) = self.tasks.first().copied() {
            if due > now {
                break;
            }
            self.tasks.pop_first();
            self.perform(due, task, stats, out);
        }
    }

    /// When [`expire`](Self::expire) has something to do.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.tasks.first().map(|(due, _)| *due)
    }

    /// Decides what can be decided, because the agent stops: the sockets that are closed. Of one that
    /// is open its plaintext may have been about to come.
    pub fn finish(&mut self, now: Timestamp, stats: &mut Stats, out: &mut Vec<Finding>) {
        self.expire(now, stats, out);
        let is_closed = |(_, socket): &(&SocketId, &Socket)| socket.closed.is_some();
        let closed: Vec<SocketId> = self
            .sockets
            .iter()
            .filter(is_closed)
            .map(|(id, _)| *id)
            .collect();
        for socket in closed {
            self.decide(now, socket, stats, out);
        }
    }

    /// Sockets and connections that are remembered.
    pub fn len(&self) -> (usize, usize) {
        (self.sockets.len(), self.connections.len())
    }

    fn connected(
        &mut self,
        at: Timestamp,
        id: SocketId,
        pid: u32,
        peer: Option<SocketAddr>,
        fd: Option<i32>,
        stats: &mut Stats,
    ) {
        self.forget_socket(id);
        while self.sockets.len() >= self.limits.sockets.max(1) {
            let Some((_, oldest)) = self.sockets_by_age.first().copied() else {
                break;
            };
            self.forget_socket(oldest);
            stats.sockets_evicted += 1;
        }
        stats.sockets_connected += 1;
        let socket = Socket {
            pid,
            since: at,
            peer,
            fd,
            has_hello: false,
            name: None,
            user: None,
            carried: false,
            closed: None,
            verdict: Verdict::Open,
        };
        self.sockets.insert(id, socket);
        self.sockets_by_age.insert((at, id));
        self.sockets_by_pid.insert((pid, id));
    }

    fn closed(&mut self, at: Timestamp, id: SocketId, closed: Closed, out: &mut Vec<Finding>) {
        let Some(socket) = self.sockets.get_mut(&id) else {
            return;
        };
        socket.closed = Some(closed);
        if let Some(user) = socket.user {
            self.tasks
                .insert((at + self.limits.linger, Task::End(user)));
        }
        match (socket.verdict, &socket.name) {
            (Verdict::Unprobed, Some(host)) => {
                out.push(Finding::UnprobedBytes {
                    at,
                    since: socket.since,
                    pid: socket.pid,
                    host: host.clone(),
                    bytes: closed.bytes,
                });
                self.forget_socket(id);
            }
            (Verdict::Open, Some(_)) if socket.carried => {
                let due = at + self.limits.settle_closed;
                self.tasks.insert((due, Task::Decide(id)));
            }
            _ => self.forget_socket(id),
        }
    }

    fn bind(
        &mut self,
        at: Timestamp,
        conn: ConnId,
        id: SocketId,
        binding: Binding,
        stats: &mut Stats,
        out: &mut Vec<Finding>,
    ) {
        let (Some(socket), Some(connection)) =
            (self.sockets.get_mut(&id), self.connections.get_mut(&conn))
        else {
            return;
        };
        if connection.socket.is_some() || socket.user.is_some() {
            return;
        }
        connection.socket = Some(id);
        socket.user = Some(conn);
        if socket.verdict == Verdict::Open {
            socket.verdict = Verdict::Read;
        }
        match binding {
            Binding::Thread => stats.bound_by_thread += 1,
            Binding::Descriptor => stats.bound_by_descriptor += 1,
            Binding::OnlySocket => stats.bound_as_only_socket += 1,
        }
        if let Some(peer) = socket.peer {
            out.push(Finding::Peer {
                conn,
                peer,
                binding,
            });
        }
        if connection.name.is_none()
            && let Some(name) = &socket.name
        {
            connection.name = Some(name.clone());
            out.push(Finding::Named {
                at,
                conn,
                name: name.clone(),
            });
        }
        if socket.closed.is_some() {
            self.tasks
                .insert((at + self.limits.linger, Task::End(conn)));
        }
    }

    /// The latest open socket of a process with this descriptor, where the kernel programs do not
    /// say who uses it.
    fn by_descriptor(&self, pid: u32, fd: i32) -> Option<SocketId> {
        self.unfollowed(pid)
            .filter(|(_, socket)| socket.fd == Some(fd))
            .max_by_key(|(_, socket)| socket.since)
            .map(|(id, _)| id)
    }

    /// The only open socket of a process, where the kernel programs do not say who uses it.
    fn only_socket(&self, pid: u32) -> Option<SocketId> {
        let mut sockets = self.unfollowed(pid);
        let (only, socket) = sockets.next()?;
        (sockets.next().is_none() && socket.user.is_none()).then_some(only)
    }

    fn unfollowed(&self, pid: u32) -> impl Iterator<Item = (SocketId, &Socket)> {
        self.sockets_by_pid
            .range((pid, SocketId(0))..=(pid, SocketId(u64::MAX)))
            .filter_map(|(_, id)| self.sockets.get(id).map(|socket| (*id, socket)))
            .filter(|(_, socket)| !socket.has_hello && socket.closed.is_none())
    }

    fn sockets_of(&self, pid: u32) -> Vec<SocketId> {
        self.sockets_by_pid
            .range((pid, SocketId(0))..=(pid, SocketId(u64::MAX)))
            .map(|(_, id)| *id)
            .collect()
    }

    fn connections_of(&self, pid: u32) -> Vec<ConnId> {
        let range = connections_of(pid);
        self.connections.range(range).map(|(id, _)| *id).collect()
    }

    /// The entry of a connection, made at its first sight.
    fn connection(&mut self, at: Timestamp, conn: ConnId) -> &mut Connection {
        if !self.connections.contains_key(&conn) {
            while self.connections.len() >= self.limits.connections.max(1) {
                let Some((_, oldest)) = self.connections_by_age.first().copied() else {
                    break;
                };
                self.forget_connection(oldest);
            }
            self.connections_by_age.insert((at, conn));
        }
        self.connections.entry(conn).or_insert(Connection {
            since: at,
            name: None,
            hosts: Vec::new(),
            socket: None,
            explains: None,
            ended: None,
        })
    }

    fn ended(&mut self, at: Timestamp, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(&conn)
            && connection.ended.is_none()
        {
            connection.ended = Some(at);
            let due = at + self.limits.remember;
            self.tasks.insert((due, Task::Forget(conn)));
        }
    }

    fn perform(&mut self, at: Timestamp, task: Task, stats: &mut Stats, out: &mut Vec<Finding>) {
        match task {
            Task::Decide(socket) => self.decide(at, socket, stats, out),
            Task::End(conn) => {
                let is_open = self
                    .connections
                    .get(&conn)
                    .is_some_and(|connection| connection.ended.is_none());
                if is_open {
                    self.ended(at, conn);
                    out.push(Finding::Ended { at, conn });
                }
            }
            Task::Forget(conn) => self.forget_connection(conn),
        }
    }

    fn decide(&mut self, at: Timestamp, id: SocketId, stats: &mut Stats, out: &mut Vec<Finding>) {
        let Some(socket) = self.sockets.get(&id) else {
            return;
        };
        let (pid, closed, since) = (socket.pid, socket.closed, socket.since);
        if let Some(host) = socket.name.clone()
            && socket.verdict == Verdict::Open
            && socket.carried
        {
            let explaining = self
                .connections
                .range_mut(connections_of(pid))
                .map(|(_, connection)| connection)
                .find(|connection| connection.may_explain(&host, since));
            let verdict = match explaining {
                Some(connection) => {
                    connection.explains = Some(id);
                    stats.sockets_explained += 1;
                    Verdict::Read
                }
                None => {
                    stats.sockets_unprobed += 1;
                    out.push(Finding::Unprobed {
                        at,
                        since,
                        pid,
                        host,
                        bytes: closed.map_or(0, |closed| closed.bytes),
                    });
                    Verdict::Unprobed
                }
            };
            if let Some(socket) = self.sockets.get_mut(&id) {
                socket.verdict = verdict;
            }
        }
        if closed.is_some() {
            self.forget_socket(id);
        }
    }

    fn forget_socket(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.remove(&id) {
            self.sockets_by_age.remove(&(socket.since, id));
            self.sockets_by_pid.remove(&(socket.pid, id));
        }
    }

    fn forget_connection(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.remove(&conn) {
            self.connections_by_age.remove(&(connection.since, conn));
        }
    }
}

impl Connection {
    /// Whether its plaintext may be what a socket carries that connected at `since`.
    fn may_explain(&self, host: &str, since: Timestamp) -> bool {
        let names_it = self.name.as_deref() == Some(host) || self.hosts.iter().any(|h| h == host);
        names_it
            && self.socket.is_none()
            && self.explains.is_none()
            && self.ended.is_none_or(|ended| ended >= since)
    }
}

fn connections_of(pid: u32) -> std::ops::RangeInclusive<ConnId> {
    ConnId {
        pid,
        ssl: 0,
        since: Timestamp::from_nanos(0),
    }..=ConnId {
        pid,
        ssl: u64::MAX,
        since: Timestamp::from_nanos(u64::MAX),
    }
}
