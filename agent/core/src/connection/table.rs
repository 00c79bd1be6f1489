//! The table of open connections.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::hold::Holds;
use super::{EndReason, Segment};
use crate::event::{ConnId, Direction, Event, Plaintext, Timestamp};
use crate::stats::Stats;

/// Bounds of this stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once. LIMIT: 65,536, some 16 MiB of table, above what one host's
    /// clients hold open; beyond it the one that was silent longest ends as
    /// [`EndReason::Evicted`], and opens again with a gap if it speaks again.
    pub open: usize,
    /// Silence after which a connection is given up. LIMIT: one hour, beyond the keep-alive times
    /// of clients and load balancers; then it ends as [`EndReason::Idle`], and opens again with a
    /// gap if it speaks again.
    pub idle: Duration,
    /// Ended connections whose late chunks are still recognised. LIMIT: 4,096; records of one
    /// connection leave the ring in order, so that only a short memory is needed. The oldest is
    /// forgotten, and a chunk of it that came yet later would open a connection with a gap.
    pub ended: usize,
    /// Longest time for which what was read waits for a write under way. LIMIT: 250 ms, more than
    /// two of the periods (100 ms) in which a writer that has used up the CPU time of its cgroup is
    /// let run again. A write that takes longer is a long one, or one that never returns; what is
    /// read meanwhile goes on before it. Time comes with events, so that on a quiet host it is up
    /// to the next tick of the line.
    pub held: Duration,
    /// Memory of what one connection holds back, in bytes. LIMIT: 256 KiB, as for other undecoded
    /// bytes; beyond it all of that goes on.
    pub held_bytes: usize,
    /// The same for all connections. LIMIT: 8 MiB; beyond it that of the connection that waits
    /// longest goes on.
    pub held_bytes_of_all: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open: 65_536,
            idle: Duration::from_secs(3_600),
            ended: 4_096,
            held: Duration::from_millis(250),
            held_bytes: 256 << 10,
            held_bytes_of_all: 8 << 20,
        }
    }
}

/// What is known of one open connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    written: u64,
    read: u64,
    /// Where the write ends of which the last chunk came.
    write_end: u64,
    /// The write that is not waited for any more, because it takes too long.
    given_up: Option<u64>,
    /// Moment of the last event.
    active: Timestamp,
    /// Key of its entry in `Connections::by_activity`; at most `active`.
    noted: Timestamp,
    interest: Interest,
}

impl Connection {
    const fn expected(&mut self, direction: Direction) -> &mut u64 {
        match direction {
            Direction::Written => &mut self.written,
            Direction::Read => &mut self.read,
        }
    }

    /// Whether all chunks came of the write that began at `write`.
    const fn has_whole(&self, write: u64) -> bool {
        self.written > write && self.written >= self.write_end
    }

    /// Takes the bytes of a chunk that are new, and what is missing before them.
    fn advance(&mut self, chunk: &Chunk<'_>, stats: &mut Stats, out: &mut Vec<Segment>) {
        if chunk.bytes.is_empty() {
            return;
        }
        let Chunk {
            at,
            conn,
            direction,
            offset,
            bytes,
        } = *chunk;
        let expected = self.expected(direction);
        if offset > *expected {
            count_gap(stats, offset - *expected);
            out.push(Segment::Gap {
                at,
                conn,
                direction,
                bytes: offset - *expected,
            });
            *expected = offset;
        }
        let known = *expected - offset;
        if known > 0 {
            stats.chunks_stale += 1;
        }
        if chunk.end() <= *expected {
            return;
        }
        *expected = chunk.end();
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        out.push(Segment::Data {
            at,
            conn,
            direction,
            bytes: bytes.slice(known..bytes.len()),
        });
    }
}

/// Plaintext of one call, or of a part of it.
struct Chunk<'a> {
    at: Timestamp,
    conn: ConnId,
    direction: Direction,
    offset: u64,
    bytes: &'a Plaintext,
}

impl Chunk<'_> {
    /// Offset behind its last byte.
    fn end(&self) -> u64 {
        self.offset.saturating_add(length(self.bytes))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interest {
    Wanted,
    Ignored,
}

/// The stage: see the [module page](super).
#[derive(Debug)]
pub struct Connections {
    limits: Limits,
    pub(super) open: BTreeMap<ConnId, Connection>,
    /// One entry for each open connection, under a moment that is not later than its last
    /// activity. Entries are brought up to date only when they come first, which keeps the cost
    /// of a chunk at one look-up.
    pub(super) by_activity: BTreeSet<(Timestamp, ConnId)>,
    /// Newest `since` that ended at an address, so that late chunks of it are known as such.
    pub(super) ended: BTreeMap<(u32, u64), Timestamp>,
    ended_order: VecDeque<ConnId>,
    pub(super) holds: Holds,
}

impl Connections {
    /// An empty table.
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: BTreeMap::new(),
            by_activity: BTreeSet::new(),
            ended: BTreeMap::new(),
            ended_order: VecDeque::new(),
            holds: Holds::new(),
        }
    }

    /// Takes one event.
    pub fn handle(&mut self, event: &Event, stats: &mut Stats, out: &mut Vec<Segment>) {
        self.take(event, stats, out);
        // Afterwards, because a write that comes late is better than one that does not.
        self.give_up(event.at(), None, stats, out);
    }

    fn take(&mut self, event: &Event, stats: &mut Stats, out: &mut Vec<Segment>) {
        match event {
            Event::Opened { at, conn, .. } => {
                self.admit(*at, *conn, stats, out);
            }
            Event::ServerName { at, conn, name } => {
                let wanted = self
                    .admit(*at, *conn, stats, out)
                    .is_some_and(|open| open.interest == Interest::Wanted);
                if wanted {
                    out.push(Segment::ServerName {
                        conn: *conn,
                        name: name.clone(),
                    });
                }
            }
            Event::Chunk {
                at,
                conn,
                direction,
                offset,
                during_write,
                rest,
                bytes,
            } => {
                let chunk = Chunk {
                    at: *at,
                    conn: *conn,
                    direction: *direction,
                    offset: *offset,
                    bytes,
                };
                match direction {
                    Direction::Written => {
                        stats.written_bytes += length(bytes);
                        self.written(&chunk, *rest, stats, out);
                    }
                    Direction::Read => {
                        stats.read_bytes += length(bytes);
                        self.read(&chunk, *during_write, stats, out);
                    }
                }
            }
            Event::Closed {
                at,
                conn,
                written,
                read,
            } => {
                self.closed(*at, *conn, *written, *read, stats, out);
            }
            Event::Exit { at, pid } | Event::Exec { at, pid, .. } => {
                self.gone(*at, *pid, stats, out);
            }
            Event::Lost { records, bytes, .. } => {
                stats.lost_records = stats.lost_records.saturating_add(*records);
                stats.lost_bytes = stats.lost_bytes.saturating_add(*bytes);
            }
            Event::Clock { .. }
            | Event::Process(_)
            | Event::Connected { .. }
            | Event::Hello { .. }
            | Event::Bound { .. }
            | Event::Carried { .. }
            | Event::SocketClosed { .. } => {}
        }
    }

    /// Lets go what was held back for longer than the limit, and ends the connections that were
    /// silent for longer than theirs.
    pub fn expire(&mut self, now: Timestamp, stats: &mut Stats, out: &mut Vec<Segment>) {
        self.give_up(Some(now), None, stats, out);
        while let Some((active, conn)) = self.longest_silent() {
            if active + self.limits.idle > now {
                break;
            }
            self.end(now, conn, EndReason::Idle, stats, out);
            stats.connections_evicted += 1;
        }
    }

    /// When [`expire`](Self::expire) may have something to do; `None` if nothing is open. It may
    /// be early, never late.
    pub fn deadline(&self) -> Option<Timestamp> {
        let idle = self.by_activity.first();
        let idle = idle.map(|(noted, _)| *noted + self.limits.idle);
        idle.into_iter()
            .chain(self.holds.deadline(&self.limits))
            .min()
    }

    /// Ends every connection, because the agent stops.
    pub fn finish(&mut self, now: Timestamp, stats: &mut Stats, out: &mut Vec<Segment>) {
        while let Some(conn) = self.open.keys().next().copied() {
            self.end(now, conn, EndReason::Stopped, stats, out);
        }
    }

    /// Drops what still arrives of a connection that nobody wants. Its end is still told, so that
    /// later stages can forget it too.
    pub fn ignore(&mut self, conn: ConnId) {
        if let Some(open) = self.open.get_mut(&conn) {
            open.interest = Interest::Ignored;
        }
        self.holds.take(conn);
    }

    /// Memory of what is held back, in bytes; bounded by the limits.
    pub const fn held_bytes(&self) -> usize {
        self.holds.bytes()
    }

    /// The connection, opened if this is its first sight; `None` if it ended already.
    fn admit(
        &mut self,
        at: Timestamp,
        conn: ConnId,
        stats: &mut Stats,
        out: &mut Vec<Segment>,
    ) -> Option<&mut Connection> {
        if !self.open.contains_key(&conn) {
            if self
                .ended
                .get(&(conn.pid, conn.ssl))
                .is_some_and(|since| conn.since <= *since)
            {
                return None;
            }
            let address = ConnId {
                since: Timestamp::from_nanos(0),
                ..conn
            }..=ConnId {
                since: Timestamp::from_nanos(u64::MAX),
                ..conn
            };
            if let Some(other) = self.open.range(address).next_back().map(|(id, _)| *id) {
                if other.since > conn.since {
                    return None;
                }
                self.end(at, other, EndReason::Replaced, stats, out);
            }
            while self.open.len() >= self.limits.open.max(1) {
                let Some((_, silent)) = self.longest_silent() else {
                    break;
                };
                self.end(at, silent, EndReason::Evicted, stats, out);
                stats.connections_evicted += 1;
            }
            let opened = Connection {
                written: 0,
                read: 0,
                write_end: 0,
                given_up: None,
                active: at,
                noted: at,
                interest: Interest::Wanted,
            };
            self.open.insert(conn, opened);
            self.by_activity.insert((at, conn));
            stats.connections_opened += 1;
            stats.connections_open += 1;
            out.push(Segment::Open { at, conn });
        }
        let open = self.open.get_mut(&conn)?;
        open.active = open.active.max(at);
        Some(open)
    }

    /// A chunk that was written, of whose call `rest` bytes follow in others.
    fn written(&mut self, chunk: &Chunk<'_>, rest: u64, stats: &mut Stats, out: &mut Vec<Segment>) {
        let Some(open) = self.wanted(chunk, stats, out) else {
            return;
        };
        open.advance(chunk, stats, out);
        if open.written == chunk.end() {
            open.write_end = chunk.end().saturating_add(rest);
        }
        let open = *open;
        let waiting = self.holds.write_of(chunk.conn);
        if waiting.is_some_and(|write| open.has_whole(write)) {
            self.let_go(chunk.conn, out);
        }
    }

    /// A chunk that was read, maybe while the write that began at `during_write` was under way.
    fn read(
        &mut self,
        chunk: &Chunk<'_>,
        during_write: Option<u64>,
        stats: &mut Stats,
        out: &mut Vec<Segment>,
    ) {
        // Reads wait for one write at a time: that of the reads before has returned. If it is not
        // here, it moved nothing, or its chunks are lost.
        if self.holds.write_of(chunk.conn) != during_write {
            self.let_go(chunk.conn, out);
        }
        let Some(open) = self.wanted(chunk, stats, out) else {
            return;
        };
        let waits_for =
            during_write.filter(|write| open.given_up != Some(*write) && !open.has_whole(*write));
        let Some(write) = waits_for else {
            open.advance(chunk, stats, out);
            return;
        };
        let mut segments = Vec::new();
        open.advance(chunk, stats, &mut segments);
        if !segments.is_empty() {
            stats.reads_held += 1;
            self.holds.add(chunk.at, chunk.conn, write, segments);
            self.give_up(None, Some(chunk.conn), stats, out);
        }
    }

    /// What is held back of a connection goes on.
    fn let_go(&mut self, conn: ConnId, out: &mut Vec<Segment>) {
        if let Some(held) = self.holds.take(conn) {
            out.extend(held.segments);
        }
    }

    /// What is held back for longer than a limit allows goes on before its write, as does what else
    /// is read during that write.
    fn give_up(
        &mut self,
        now: Option<Timestamp>,
        added: Option<ConnId>,
        stats: &mut Stats,
        out: &mut Vec<Segment>,
    ) {
        while let Some(conn) = self.holds.overdue(now, added, &self.limits) {
            let Some(held) = self.holds.take(conn) else {
                return;
            };
            stats.reads_given_up += 1;
            if let Some(open) = self.open.get_mut(&conn) {
                open.given_up = Some(held.write);
            }
            out.extend(held.segments);
        }
    }

    /// The connection of a chunk, if it is open and wanted.
    fn wanted(
        &mut self,
        chunk: &Chunk<'_>,
        stats: &mut Stats,
        out: &mut Vec<Segment>,
    ) -> Option<&mut Connection> {
        if self.admit(chunk.at, chunk.conn, stats, out).is_none() {
            stats.chunks_stale += 1;
        }
        let open = self.open.get_mut(&chunk.conn)?;
        (open.interest == Interest::Wanted).then_some(open)
    }

    fn closed(
        &mut self,
        at: Timestamp,
        conn: ConnId,
        written: u64,
        read: u64,
        stats: &mut Stats,
        out: &mut Vec<Segment>,
    ) {
        self.let_go(conn, out);
        let Some(open) = self.open.get_mut(&conn) else {
            return;
        };
        if open.interest == Interest::Wanted {
            for (direction, total) in [(Direction::Written, written), (Direction::Read, read)] {
                let missing = total.saturating_sub(*open.expected(direction));
                if missing > 0 {
                    count_gap(stats, missing);
                    out.push(Segment::Gap {
                        at,
                        conn,
                        direction,
                        bytes: missing,
                    });
                }
            }
        }
        self.end(at, conn, EndReason::Closed, stats, out);
    }

    /// Ends the connections of a process: it exited, or an exec replaced its memory.
    fn gone(&mut self, at: Timestamp, pid: u32, stats: &mut Stats, out: &mut Vec<Segment>) {
        let first = ConnId {
            pid,
            ssl: 0,
            since: Timestamp::from_nanos(0),
        };
        let last = ConnId {
            pid,
            ssl: u64::MAX,
            since: Timestamp::from_nanos(u64::MAX),
        };
        while let Some(conn) = self.open.range(first..=last).next().map(|(id, _)| *id) {
            self.end(at, conn, EndReason::Exited, stats, out);
        }
    }

    /// The connection whose last event is the oldest.
    fn longest_silent(&mut self) -> Option<(Timestamp, ConnId)> {
        loop {
            let first = *self.by_activity.first()?;
            let (noted, conn) = first;
            match self.open.get_mut(&conn) {
                Some(open) if open.active == noted => return Some(first),
                Some(open) => {
                    open.noted = open.active;
                    self.by_activity.remove(&first);
                    self.by_activity.insert((open.active, conn));
                }
                None => {
                    self.by_activity.remove(&first);
                }
            }
        }
    }

    fn end(
        &mut self,
        at: Timestamp,
        conn: ConnId,
        reason: EndReason,
        stats: &mut Stats,
        out: &mut Vec<Segment>,
    ) {
        self.let_go(conn, out);
        let Some(open) = self.open.remove(&conn) else {
            return;
        };
        self.by_activity.remove(&(open.noted, conn));
        stats.connections_open = stats.connections_open.saturating_sub(1);
        match reason {
            EndReason::Closed | EndReason::Replaced | EndReason::Exited => self.remember(conn),
            EndReason::Idle | EndReason::Evicted | EndReason::Stopped => {}
        }
        out.push(Segment::End { at, conn, reason });
    }

    fn remember(&mut self, conn: ConnId) {
        self.ended.insert((conn.pid, conn.ssl), conn.since);
        self.ended_order.push_back(conn);
        while self.ended_order.len() > self.limits.ended {
            let Some(oldest) = self.ended_order.pop_front() else {
                break;
            };
            let address = (oldest.pid, oldest.ssl);
            if self.ended.get(&address) == Some(&oldest.since) {
                self.ended.remove(&address);
            }
        }
    }
}

fn count_gap(stats: &mut Stats, bytes: u64) {
    stats.gaps += 1;
    // Offsets that are nonsense must not stop the count.
    stats.gap_bytes = stats.gap_bytes.saturating_add(bytes);
}

/// Length as it counts in offsets.
fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
