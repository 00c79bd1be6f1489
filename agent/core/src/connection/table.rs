//! The table of open connections.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open: 65_536,
            idle: Duration::from_secs(3_600),
            ended: 4_096,
        }
    }
}

/// What is known of one open connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    written: u64,
    read: u64,
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
        }
    }

    /// Takes one event.
    pub fn handle(&mut self, event: &Event, stats: &mut Stats, out: &mut Vec<Segment>) {
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
                bytes,
            } => {
                let length = length(bytes);
                match direction {
                    Direction::Written => stats.written_bytes += length,
                    Direction::Read => stats.read_bytes += length,
                }
                self.chunk(*at, *conn, *direction, *offset, bytes, stats, out);
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

    /// Ends the connections that were silent for longer than the limit.
    pub fn expire(&mut self, now: Timestamp, stats: &mut Stats, out: &mut Vec<Segment>) {
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
        self.by_activity
            .first()
            .map(|(noted, _)| *noted + self.limits.idle)
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

    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of one event, taken apart once"
    )]
    fn chunk(
        &mut self,
        at: Timestamp,
        conn: ConnId,
        direction: Direction,
        offset: u64,
        bytes: &Plaintext,
        stats: &mut Stats,
        out: &mut Vec<Segment>,
    ) {
        let Some(open) = self.admit(at, conn, stats, out) else {
            stats.chunks_stale += 1;
            return;
        };
        if open.interest == Interest::Ignored || bytes.is_empty() {
            return;
        }
        let expected = open.expected(direction);
        let end = offset.saturating_add(length(bytes));
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
        if end <= *expected {
            return;
        }
        *expected = end;
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        out.push(Segment::Data {
            at,
            conn,
            direction,
            bytes: bytes.slice(known..bytes.len()),
        });
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
