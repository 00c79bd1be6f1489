//! The conversations of all connections.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::body::DecoderMemory;
use super::conversation::{Conversation, Surroundings};
use super::{Dismissal, EXCHANGE_IDLE, HttpEvent};
use crate::connection::Segment;
use crate::event::{ConnId, Direction, Plaintext, Timestamp};
use crate::stats::Stats;

/// Bounds of this stage. How many connections there are is bounded by the stage before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Silence after which the exchanges of a connection are given up. LIMIT: [`EXCHANGE_IDLE`].
    pub idle: Duration,
    /// Exchanges of one connection that wait at once. LIMIT: 256, more than a client pipelines;
    /// beyond it the connection is dismissed.
    pub waiting: usize,
    /// Bytes in one direction of a connection that may pass before the first message is seen.
    /// LIMIT: 1 MiB, a long streamed reply that was under way when the agent started; beyond it
    /// the connection is dismissed. Where the handshake was seen, nothing may pass.
    pub undecided_bytes: u64,
    /// Bytes that all connections together hold back. LIMIT: 64 MiB, a thousand heads of the
    /// largest size; beyond it the connections that were silent longest are dismissed, until a
    /// quarter is free.
    pub buffered_bytes: usize,
    /// Memory of all decompressors together. LIMIT: 64 MiB, which is eight zstd windows of the
    /// largest size or 800 gzip bodies at once; a body beyond it is refused.
    pub decoder_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle: EXCHANGE_IDLE,
            waiting: 256,
            undecided_bytes: 1 << 20,
            buffered_bytes: 64 << 20,
            decoder_bytes: 64 << 20,
        }
    }
}

pub(super) struct Entry {
    conversation: Conversation,
    /// Moment of the last segment.
    active: Timestamp,
    /// Key of its entry in `Http::by_activity`, if it has one.
    noted: Option<Timestamp>,
}

/// The stage: see the [module page](super).
pub struct Http {
    limits: Limits,
    memory: DecoderMemory,
    conversations: BTreeMap<ConnId, Entry>,
    /// Sum of what the conversations hold back.
    buffered: usize,
    /// At most one entry for each connection, under a moment that is not later than its last
    /// activity, or than when that was last looked at; every connection that waits for something or
    /// holds something back has one. Entries are brought up to date only when they come first.
    by_activity: BTreeSet<(Timestamp, ConnId)>,
}

impl Http {
    /// A stage that has seen nothing.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            memory: DecoderMemory::new(limits.decoder_bytes),
            conversations: BTreeMap::new(),
            buffered: 0,
            by_activity: BTreeSet::new(),
        }
    }

    /// Takes one segment. One of a connection that was not opened, or ended, is dropped.
    pub fn handle(&mut self, segment: Segment, stats: &mut Stats, out: &mut Vec<HttpEvent>) {
        match segment {
            Segment::Open { at, conn } => {
                let conversation = Conversation::new(conn);
                let entry = Entry {
                    conversation,
                    active: at,
                    noted: None,
                };
                self.conversations.entry(conn).or_insert(entry);
            }
            Segment::ServerName { conn, name } => {
                if let Some(entry) = self.conversations.get_mut(&conn)
                    && entry.conversation.handshake()
                {
                    out.push(HttpEvent::ServerName { conn, name });
                }
            }
            Segment::Data {
                at,
                conn,
                direction,
                bytes,
            } => {
                self.feed(at, conn, direction, Fed::Bytes(bytes), stats, out);
            }
            Segment::Gap {
                at,
                conn,
                direction,
                bytes,
            } => {
                self.feed(at, conn, direction, Fed::Gap(bytes), stats, out);
            }
            Segment::End { at, conn, reason } => {
                let Some(entry) = self.conversations.remove(&conn) else {
                    return;
                };
                if let Some(noted) = entry.noted {
                    self.by_activity.remove(&(noted, conn));
                }
                self.buffered -= entry.conversation.buffered_bytes();
                let Self { limits, memory, .. } = &*self;
                let mut around = Surroundings {
                    limits,
                    memory,
                    stats,
                    out,
                };
                entry.conversation.end(at, reason, &mut around);
            }
        }
    }

    /// Gives up exchanges whose connection was silent for longer than the limit.
    pub fn expire(&mut self, now: Timestamp, stats: &mut Stats, out: &mut Vec<HttpEvent>) {
        while let Some((noted, conn)) = self.by_activity.first().copied() {
            if noted + self.limits.idle > now {
                break;
            }
            self.by_activity.remove(&(noted, conn));
            let Some(entry) = self.conversations.get_mut(&conn) else {
                continue;
            };
            entry.noted = None;
            let is_waiting = entry.conversation.is_waiting();
            if !is_waiting && entry.conversation.buffered_bytes() == 0 {
                continue;
            }
            let is_idle = entry.active + self.limits.idle <= now;
            if !is_waiting || !is_idle {
                let looked_at = if is_idle { now } else { entry.active };
                entry.noted = Some(looked_at);
                self.by_activity.insert((looked_at, conn));
                continue;
            }
            let mut around = Surroundings {
                limits: &self.limits,
                memory: &self.memory,
                stats,
                out,
            };
            self.buffered -= entry.conversation.buffered_bytes();
            entry.conversation.give_up(now, &mut around);
            let held = entry.conversation.buffered_bytes();
            self.buffered += held;
            if held > 0 {
                entry.noted = Some(now);
                self.by_activity.insert((now, conn));
            }
        }
    }

    /// When [`expire`](Self::expire) may have something to do; `None` if no exchange waits and
    /// nothing is held back. It may be early, never late.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.by_activity
            .first()
            .map(|(noted, _)| *noted + self.limits.idle)
    }

    /// Observed bytes that are held back, because they are no whole head or line yet or because
    /// later heads refer to them.
    pub const fn buffered_bytes(&self) -> usize {
        self.buffered
    }

    /// Memory that decompressors hold.
    pub fn decoder_bytes(&self) -> usize {
        self.memory.used()
    }

    fn feed(
        &mut self,
        at: Timestamp,
        conn: ConnId,
        direction: Direction,
        fed: Fed,
        stats: &mut Stats,
        out: &mut Vec<HttpEvent>,
    ) {
        let Some(entry) = self.conversations.get_mut(&conn) else {
            return;
        };
        entry.active = entry.active.max(at);
        let mut around = Surroundings {
            limits: &self.limits,
            memory: &self.memory,
            stats,
            out,
        };
        self.buffered -= entry.conversation.buffered_bytes();
        match fed {
            Fed::Bytes(bytes) => entry.conversation.bytes(at, direction, bytes, &mut around),
            Fed::Gap(bytes) => entry.conversation.gap(at, direction, bytes, &mut around),
        }
        self.buffered += entry.conversation.buffered_bytes();
        let is_noted = entry.noted.is_some();
        let holds = entry.conversation.buffered_bytes() > 0;
        if !is_noted && (holds || entry.conversation.is_waiting()) {
            entry.noted = Some(entry.active);
            self.by_activity.insert((entry.active, conn));
        }
        if self.buffered > self.limits.buffered_bytes {
            self.shed(at, stats, out);
        }
    }

    /// Dismisses connections that hold bytes back until a quarter of the limit is free. That much
    /// at once, so that a flood does not make each segment search.
    fn shed(&mut self, at: Timestamp, stats: &mut Stats, out: &mut Vec<HttpEvent>) {
        let enough = self.limits.buffered_bytes / 4 * 3;
        for (_, conn) in &self.by_activity {
            if self.buffered <= enough {
                break;
            }
            let Some(entry) = self.conversations.get_mut(conn) else {
                continue;
            };
            let held = entry.conversation.buffered_bytes();
            if held > 0 {
                let mut around = Surroundings {
                    limits: &self.limits,
                    memory: &self.memory,
                    stats,
                    out,
                };
                entry
                    .conversation
                    .dismiss(at, Dismissal::OverLimit, &mut around);
                self.buffered -= held;
            }
        }
    }
}

/// What a direction receives.
enum Fed {
    Bytes(Plaintext),
    Gap(u64),
}
