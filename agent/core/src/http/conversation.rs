//! One connection: what it speaks, which side it is on, and which response answers which request.
//!
//! In HTTP/2 a stream says what belongs together. In HTTP/1 responses are paired with requests in
//! order (RFC 9112, section 9.3.2). A loss that may hide a message breaks that order: then every
//! open exchange ends as lost, and only a request that is seen to begin after the loss is paired
//! again, with the next response that is seen to begin after it. That is right for clients that
//! wait for a response before they send the next request, as all LLM clients do. A client that was
//! seen not to wait is given up at a loss.

use super::body::DecoderMemory;
#[cfg(test)]
use super::exchange::Exchange;
use super::h1::{self, Opening};
use super::h2::{Numbering, Search, Streams};
use super::talk::Talk;
use super::ws::WebSocket;
use super::{BodyEnd, Dismissal, HttpEvent, Limits, Role};
use crate::connection::EndReason;
use crate::event::{ConnId, Direction, Plaintext, Timestamp};
use crate::stats::Stats;

/// What a conversation needs of its stage.
pub(super) struct Surroundings<'a> {
    pub(super) limits: &'a Limits,
    pub(super) memory: &'a DecoderMemory,
    pub(super) stats: &'a mut Stats,
    pub(super) out: &'a mut Vec<HttpEvent>,
}

/// The state of one connection.
pub(super) struct Conversation {
    conn: ConnId,
    /// Exchanges begun, which is the number of the next one.
    begun: u64,
    handshake: Handshake,
    state: State,
}

/// Whether the connection was seen from its first byte on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handshake {
    Seen,
    Unseen,
}

enum State {
    /// No message was seen yet.
    Undecided {
        written: Unread,
        read: Unread,
    },
    /// HTTP/1.
    Talking(Box<Talk>),
    /// Where frames begin is known for as long as nothing is lost, so silence changes nothing.
    WebSocket(Box<WebSocket>),
    /// HTTP/2.
    Multiplexed(Box<Streams>),
    Dismissed,
}

/// A direction in which no message was seen yet.
pub(super) struct Unread {
    /// First bytes of the connection, or of a segment, that are too few to tell; at most 33.
    prefix: Vec<u8>,
    /// Bytes that are missing or belong to no message.
    skipped: u64,
    /// Whether they are frames of HTTP/2.
    frames: Search,
}

impl Unread {
    /// A direction in which so many bytes passed by.
    pub(super) const fn after(skipped: u64) -> Self {
        Self {
            prefix: Vec::new(),
            skipped,
            frames: if skipped == 0 {
                Search::at_start()
            } else {
                Search::midway()
            },
        }
    }

    pub(super) const fn is_fresh(&self) -> bool {
        self.skipped == 0
    }

    /// Bytes that are not read any more once the other direction tells the role.
    pub(super) fn passed(&self) -> u64 {
        self.skipped.saturating_add(wide(self.prefix.len()))
    }

    fn held_bytes(&self) -> usize {
        self.prefix.len() + self.frames.held_bytes()
    }

    /// What is known of its frames, with all that was seen of them.
    fn take_frames(&mut self) -> Search {
        let mut frames = std::mem::replace(&mut self.frames, Search::midway());
        frames.hold(&self.prefix);
        frames
    }
}

/// Sizes of the parts of one conversation that waits for one response.
#[cfg(test)]
pub(super) const SIZES: [usize; 3] = [
    size_of::<Conversation>(),
    size_of::<Talk>(),
    4 * size_of::<Exchange>(),
];

impl Conversation {
    pub(super) const fn new(conn: ConnId) -> Self {
        Self {
            conn,
            begun: 0,
            handshake: Handshake::Unseen,
            state: State::Undecided {
                written: Unread::after(0),
                read: Unread::after(0),
            },
        }
    }

    /// Whether an exchange, or the rest of a head, is waited for.
    pub(super) fn is_waiting(&self) -> bool {
        match &self.state {
            State::Talking(talk) => talk.has_open() || talk.buffered_bytes() > 0,
            State::Multiplexed(streams) => streams.is_waiting(),
            State::Undecided { .. } | State::WebSocket(_) | State::Dismissed => false,
        }
    }

    /// Bytes held back in both directions.
    pub(super) fn buffered_bytes(&self) -> usize {
        match &self.state {
            State::Undecided { written, read } => written.held_bytes() + read.held_bytes(),
            State::Talking(talk) => talk.buffered_bytes(),
            State::WebSocket(socket) => socket.buffered_bytes(),
            State::Multiplexed(streams) => streams.buffered_bytes(),
            State::Dismissed => 0,
        }
    }

    /// The handshake was seen, and so the first bytes of the connection will be.
    pub(super) const fn handshake(&mut self) -> bool {
        self.handshake = Handshake::Seen;
        !matches!(self.state, State::Dismissed)
    }

    pub(super) fn bytes(
        &mut self,
        at: Timestamp,
        direction: Direction,
        bytes: Plaintext,
        around: &mut Surroundings<'_>,
    ) {
        if let State::Undecided { written, read } = &mut self.state {
            let (here, there) = match direction {
                Direction::Written => (written, read),
                Direction::Read => (read, written),
            };
            let mut first = std::mem::take(&mut here.prefix);
            let kept = first.len();
            first.extend(bytes.iter().take(h1::OPENING_BYTES.saturating_sub(kept)));
            match h1::opening(&first) {
                Opening::Undecided => here.prefix = first,
                Opening::Http2Preface => {
                    let there = (there.passed() > 0).then(|| there.take_frames());
                    around.stats.steps_lost += u64::from(there.is_some());
                    let streams = Streams::from_preface(direction, there);
                    first.extend(bytes.iter().skip(first.len() - kept));
                    self.multiplex(at, direction, streams, first.into(), around);
                }
                Opening::Http2Settings
                    if here.is_fresh() && there.is_fresh() && self.handshake == Handshake::Seen =>
                {
                    let earlier = std::mem::take(&mut there.prefix);
                    let streams = Streams::from_settings(direction);
                    first.extend(bytes.iter().skip(first.len() - kept));
                    self.multiplex(at, direction, streams, first.into(), around);
                    self.frames(at, direction.opposite(), earlier.into(), around);
                }
                Opening::Messages(side) => {
                    let is_start = here.is_fresh() && self.handshake == Handshake::Seen;
                    let talk = Talk::new(side, direction, is_start, here, there);
                    around.stats.steps_lost += u64::from(!talk.is_in_step());
                    self.state = State::Talking(Box::new(talk));
                    if kept > 0 {
                        let kept = first.get(..kept).unwrap_or_default().to_vec();
                        self.talk(at, direction, kept.into(), around);
                    }
                    self.talk(at, direction, bytes, around);
                }
                Opening::Foreign | Opening::Http2Settings => {
                    let is_start = here.is_fresh() && self.handshake == Handshake::Seen;
                    around.stats.steps_lost += u64::from(here.is_fresh() && !is_start);
                    here.skipped += wide(kept) + wide(bytes.len());
                    if is_start || here.skipped > around.limits.undecided_bytes {
                        self.dismiss(at, Dismissal::NotHttp, around);
                        return;
                    }
                    here.frames.hold(first.get(..kept).unwrap_or_default());
                    let joined =
                        Streams::join(&mut here.frames, direction, &bytes, || there.take_frames());
                    if let Some((streams, bytes)) = joined {
                        self.multiplex(at, direction, streams, bytes, around);
                    }
                }
            }
            return;
        }
        if let State::Multiplexed(_) = self.state {
            self.frames(at, direction, bytes, around);
        } else {
            self.talk(at, direction, bytes, around);
        }
    }

    /// Goes on with HTTP/2.
    fn multiplex(
        &mut self,
        at: Timestamp,
        direction: Direction,
        streams: Streams,
        bytes: Plaintext,
        around: &mut Surroundings<'_>,
    ) {
        self.state = State::Multiplexed(Box::new(streams));
        self.frames(at, direction, bytes, around);
    }

    fn frames(
        &mut self,
        at: Timestamp,
        direction: Direction,
        bytes: Plaintext,
        around: &mut Surroundings<'_>,
    ) {
        if let State::Multiplexed(streams) = &mut self.state {
            let numbering = Numbering {
                conn: self.conn,
                begun: &mut self.begun,
            };
            if let Some(why) = streams.bytes(at, numbering, direction, bytes, around) {
                self.dismiss(at, why, around);
            }
        }
    }

    fn talk(
        &mut self,
        at: Timestamp,
        direction: Direction,
        bytes: Plaintext,
        around: &mut Surroundings<'_>,
    ) {
        let talk = match &mut self.state {
            State::Talking(talk) => talk,
            State::WebSocket(socket) => {
                if let Some(why) = socket.bytes(at, direction, bytes, around) {
                    self.dismiss(at, why, around);
                }
                return;
            }
            State::Undecided { .. } | State::Multiplexed(_) | State::Dismissed => return,
        };
        let dismissal = talk.bytes(at, self.conn, &mut self.begun, direction, bytes, around);
        if let Some(why) = dismissal {
            self.dismiss(at, why, around);
        } else if let Some((socket, rest)) = talk.upgrade() {
            self.state = State::WebSocket(Box::new(socket));
            self.talk(at, direction, rest, around);
        } else if let Some([written, read]) = talk.misread() {
            let most = around.limits.undecided_bytes;
            let is_over = written > most || read > most;
            self.state = State::Undecided {
                written: Unread::after(written),
                read: Unread::after(read),
            };
            if is_over {
                self.dismiss(at, Dismissal::NotHttp, around);
            }
        }
    }

    pub(super) fn gap(
        &mut self,
        at: Timestamp,
        direction: Direction,
        bytes: u64,
        around: &mut Surroundings<'_>,
    ) {
        let dismissal = match &mut self.state {
            State::Dismissed => return,
            State::Undecided { written, read } => {
                let here = match direction {
                    Direction::Written => written,
                    Direction::Read => read,
                };
                around.stats.steps_lost += u64::from(here.is_fresh());
                here.prefix.clear();
                here.frames.gap();
                here.skipped = here.skipped.max(1);
                return;
            }
            State::Talking(talk) => talk.gap(at, direction, bytes, around),
            State::WebSocket(socket) => return socket.gap(at, direction, bytes, around),
            State::Multiplexed(streams) => {
                let numbering = Numbering {
                    conn: self.conn,
                    begun: &mut self.begun,
                };
                streams.gap(at, numbering, direction, bytes, around)
            }
        };
        if let Some(why) = dismissal {
            self.dismiss(at, why, around);
        }
    }

    /// Gives up what is waited for. What still comes of it is skipped.
    pub(super) fn give_up(&mut self, at: Timestamp, around: &mut Surroundings<'_>) {
        let dismissal = match &mut self.state {
            State::Talking(talk) => talk.give_up(at, around),
            State::Multiplexed(streams) => {
                streams.give_up(at, around);
                None
            }
            State::Undecided { .. } | State::WebSocket(_) | State::Dismissed => None,
        };
        if let Some(why) = dismissal {
            self.dismiss(at, why, around);
        }
    }

    /// The connection ended.
    pub(super) fn end(mut self, at: Timestamp, reason: EndReason, around: &mut Surroundings<'_>) {
        // An object that is freed does not tell whether the peer had hung up before.
        let cut = |role: Option<Role>| match (reason, role) {
            (EndReason::Exited, Some(role)) => BodyEnd::GivenUp(role),
            _ => BodyEnd::Cut,
        };
        match &mut self.state {
            State::Talking(talk) => {
                match reason {
                    EndReason::Closed | EndReason::Exited => talk.closed(at, around),
                    EndReason::Replaced
                    | EndReason::Idle
                    | EndReason::Evicted
                    | EndReason::Stopped => {}
                }
                talk.stop_all(at, cut(Some(talk.role())), around);
            }
            State::WebSocket(socket) => socket.end(at, around),
            State::Multiplexed(streams) => {
                streams.stop_all(at, cut(streams.role()), around);
            }
            State::Undecided { .. } | State::Dismissed => {}
        }
        around.out.push(HttpEvent::Closed {
            at,
            conn: self.conn,
        });
    }

    /// Reads no further, for the reason given.
    pub(super) fn dismiss(&mut self, at: Timestamp, why: Dismissal, around: &mut Surroundings<'_>) {
        let counter = match why {
            Dismissal::NotHttp => &mut around.stats.dismissed_not_http,
            Dismissal::Upgraded => &mut around.stats.dismissed_upgraded,
            Dismissal::Tunnel => &mut around.stats.dismissed_tunnel,
            Dismissal::Ambiguous => &mut around.stats.dismissed_ambiguous,
            Dismissal::OverLimit => &mut around.stats.dismissed_over_limit,
            Dismissal::Lost => &mut around.stats.dismissed_lost,
        };
        *counter += 1;
        let end = match why {
            Dismissal::Upgraded | Dismissal::Tunnel => BodyEnd::Cut,
            Dismissal::Lost => BodyEnd::Lost,
            Dismissal::NotHttp | Dismissal::Ambiguous | Dismissal::OverLimit => BodyEnd::Refused,
        };
        match &mut self.state {
            State::Talking(talk) => talk.stop_all(at, end, around),
            State::WebSocket(socket) => socket.stop(at, end, around),
            State::Multiplexed(streams) => streams.stop_all(at, end, around),
            State::Undecided { .. } | State::Dismissed => {}
        }
        self.state = State::Dismissed;
        around.out.push(HttpEvent::Dismissed {
            at,
            conn: self.conn,
            why,
        });
    }
}

/// Length as it counts in offsets.
pub(super) fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
