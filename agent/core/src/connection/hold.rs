//! What was read while a write had not returned, until that write comes.
//!
//! A call counts when it has returned. Where one thread writes and another one reads, the peer may
//! answer and the read return before the write does: then the ring has the answer first.

use std::collections::{BTreeMap, BTreeSet};

use super::{Limits, Segment};
use crate::event::{ConnId, Timestamp};

/// What one connection holds back.
#[derive(Debug)]
pub(super) struct Held {
    /// Offset of the write that it waits for.
    pub(super) write: u64,
    /// What was read, in order.
    pub(super) segments: Vec<Segment>,
    /// Moment of the first segment.
    since: Timestamp,
    bytes: usize,
}

/// What all connections hold back.
#[derive(Debug, Default)]
pub(super) struct Holds {
    held: BTreeMap<ConnId, Held>,
    /// One entry for each connection that holds something, by its first segment.
    by_age: BTreeSet<(Timestamp, ConnId)>,
    bytes: usize,
}

impl Holds {
    pub(super) const fn new() -> Self {
        Self {
            held: BTreeMap::new(),
            by_age: BTreeSet::new(),
            bytes: 0,
        }
    }

    /// The write that what a connection holds back waits for; `None` if it holds nothing.
    pub(super) fn write_of(&self, conn: ConnId) -> Option<u64> {
        self.held.get(&conn).map(|held| held.write)
    }

    /// Holds back `segments`, behind what waits for the same write already.
    pub(super) fn add(&mut self, at: Timestamp, conn: ConnId, write: u64, segments: Vec<Segment>) {
        let bytes: usize = segments.iter().map(memory_of).sum();
        let by_age = &mut self.by_age;
        let held = self.held.entry(conn).or_insert_with(|| {
            by_age.insert((at, conn));
            Held {
                write,
                segments: Vec::new(),
                since: at,
                bytes: 0,
            }
        });
        held.segments.extend(segments);
        held.bytes += bytes;
        self.bytes += bytes;
    }

    /// What a connection holds back, which it does not any more.
    pub(super) fn take(&mut self, conn: ConnId) -> Option<Held> {
        let held = self.held.remove(&conn)?;
        self.by_age.remove(&(held.since, conn));
        self.bytes = self.bytes.saturating_sub(held.bytes);
        Some(held)
    }

    /// The connection that holds something back for longest, if a limit says that it may not, at
    /// `now` or after what was added to `added`.
    pub(super) fn overdue(
        &self,
        now: Option<Timestamp>,
        added: Option<ConnId>,
        limits: &Limits,
    ) -> Option<ConnId> {
        if let Some(conn) = added {
            let is_full = |held: &Held| held.bytes > limits.held_bytes;
            if self.held.get(&conn).is_some_and(is_full) {
                return Some(conn);
            }
        }
        let (since, oldest) = *self.by_age.first()?;
        let is_late = now.is_some_and(|now| since + limits.held <= now);
        (is_late || self.bytes > limits.held_bytes_of_all).then_some(oldest)
    }

    /// When the first is held back for too long.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Timestamp> {
        self.by_age.first().map(|(since, _)| *since + limits.held)
    }

    /// Memory in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Memory of one segment: reads of single bytes cost more than their bytes.
fn memory_of(segment: &Segment) -> usize {
    let bytes = match segment {
        Segment::Data { bytes, .. } => bytes.len(),
        Segment::Open { .. }
        | Segment::ServerName { .. }
        | Segment::Gap { .. }
        | Segment::End { .. } => 0,
    };
    size_of::<Segment>().saturating_add(bytes)
}
