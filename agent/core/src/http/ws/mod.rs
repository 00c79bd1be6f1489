//! A connection that switched to WebSocket (RFC 6455, RFC 7692), seen from aside.
//!
//! Each direction is followed by itself, so that the messages of both interleave as they come. A
//! gap inside a payload costs that message; one that may hide the header of a frame loses the
//! direction, until a segment looks like whole frames again. Compression builds on everything that
//! was sent before: after a gap in it a direction is opaque, its compressed messages begin and end,
//! and what they say is lost. Messages that are not compressed are read all the same.
//!
//! WebSocket over HTTP/2 (RFC 8441) is not followed: no LLM client is known to use it.

mod agreement;
mod frame;
mod inflate;
#[cfg(test)]
mod tests;

pub(super) use agreement::Agreement;

use super::body::DecoderMemory;
use super::conversation::Surroundings;
use super::{BodyEnd, Dismissal, ExchangeId, HttpEvent, Role};
use crate::event::{Direction, Plaintext, Timestamp};
use agreement::Context;
use frame::{Frame, Framer, GapIn, Kind, Part};
use inflate::Inflater;

/// A WebSocket: what an exchange became.
pub(super) struct WebSocket {
    id: ExchangeId,
    role: Role,
    client: Side,
    server: Side,
    /// Whether both sides said that they are done.
    is_over: bool,
}

impl WebSocket {
    /// Starts behind the head of the response that agreed to it; the process is on side `role`.
    pub(super) fn new(id: ExchangeId, role: Role, agreement: Agreement) -> Self {
        let deflate = agreement.deflate;
        Self {
            id,
            role,
            client: Side::new(Role::Client, deflate.map(|deflate| deflate.client)),
            server: Side::new(Role::Server, deflate.map(|deflate| deflate.server)),
            is_over: false,
        }
    }

    /// Bytes held back in both directions: headers of frames that are not complete.
    pub(super) const fn buffered_bytes(&self) -> usize {
        self.client.framer.buffered_bytes() + self.server.framer.buffered_bytes()
    }

    /// Takes bytes; says if the connection cannot be read any further.
    pub(super) fn bytes(
        &mut self,
        at: Timestamp,
        direction: Direction,
        mut bytes: Plaintext,
        around: &mut Surroundings<'_>,
    ) -> Option<Dismissal> {
        if self.is_over {
            return None;
        }
        let id = self.id;
        let from = self.sender(direction);
        let side = self.side(from);
        if side.framer.is_lost() && !side.framer.find(&bytes) {
            return None;
        }
        while let Some(part) = self.side(from).framer.next(&mut bytes) {
            let side = self.side(from);
            match part {
                Part::Begin(frame) => {
                    if !side.begin(frame, around.memory) {
                        return Some(Dismissal::Ambiguous);
                    }
                }
                Part::Payload(bytes) => side.payload(bytes, |bytes| {
                    around.out.push(HttpEvent::Message {
                        at,
                        id,
                        from,
                        bytes,
                    });
                }),
                Part::End => {
                    side.end_frame(at, id, around);
                    if self.client.is_closing && self.server.is_closing {
                        self.stop(at, BodyEnd::Complete, around);
                        return None;
                    }
                }
                Part::Broken => return Some(Dismissal::Ambiguous),
            }
        }
        None
    }

    /// Takes a gap.
    pub(super) fn gap(
        &mut self,
        at: Timestamp,
        direction: Direction,
        bytes: u64,
        around: &mut Surroundings<'_>,
    ) {
        if self.is_over {
            return;
        }
        let id = self.id;
        let from = self.sender(direction);
        let side = self.side(from);
        let was_lost = side.framer.is_lost();
        match side.framer.gap(bytes) {
            GapIn::Payload => {
                side.spend(BodyEnd::Lost);
                // The gap may have reached the end of the frame.
                if let Some(Part::End) = side.framer.next(&mut Plaintext::default()) {
                    side.end_frame(at, id, around);
                    if self.client.is_closing && self.server.is_closing {
                        self.stop(at, BodyEnd::Complete, around);
                    }
                }
            }
            GapIn::Framing => {
                around.stats.steps_lost += u64::from(!was_lost);
                side.lose_context();
                side.stop(at, id, BodyEnd::Lost, around);
                around.out.push(HttpEvent::MessagesLost { at, id, from });
            }
        }
    }

    /// The connection was closed, in order or not.
    pub(super) fn end(&mut self, at: Timestamp, around: &mut Surroundings<'_>) {
        let is_closing = self.client.is_closing || self.server.is_closing;
        let end = if is_closing {
            BodyEnd::Complete
        } else {
            BodyEnd::Cut
        };
        self.stop(at, end, around);
    }

    /// Ends the messages that are under way, and the exchange, for the reason given.
    pub(super) fn stop(&mut self, at: Timestamp, end: BodyEnd, around: &mut Surroundings<'_>) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        let id = self.id;
        let cut = match end {
            BodyEnd::Complete => BodyEnd::Cut,
            BodyEnd::Cut | BodyEnd::GivenUp(_) | BodyEnd::Lost | BodyEnd::Refused => end,
        };
        for side in [&mut self.client, &mut self.server] {
            side.stop(at, id, cut, around);
            side.inflater = None;
            side.framer.lose();
        }
        around.out.push(HttpEvent::ResponseEnd { at, id, end });
    }

    const fn sender(&self, direction: Direction) -> Role {
        match (self.role, direction) {
            (Role::Client, Direction::Written) | (Role::Server, Direction::Read) => Role::Client,
            (Role::Client, Direction::Read) | (Role::Server, Direction::Written) => Role::Server,
        }
    }

    const fn side(&mut self, from: Role) -> &mut Side {
        match from {
            Role::Client => &mut self.client,
            Role::Server => &mut self.server,
        }
    }
}

/// What one side sends.
struct Side {
    sender: Role,
    framer: Framer,
    /// How its compressed messages build on each other, if there may be any.
    context: Option<Context>,
    inflater: Option<Inflater>,
    /// Whether a part of the compression context is missing for good.
    is_opaque: bool,
    /// The message that is not over.
    message: Option<Message>,
    /// The frame that is being read, or was read last.
    frame: Frame,
    /// Whether it said that it sends no more messages.
    is_closing: bool,
}

/// A message that is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message {
    is_deflated: bool,
    /// How it ends, if nothing more of it can be read.
    spent: Option<BodyEnd>,
}

impl Side {
    fn new(sender: Role, context: Option<Context>) -> Self {
        Self {
            sender,
            framer: Framer::new(sender, context.is_some()),
            context,
            inflater: None,
            is_opaque: false,
            message: None,
            frame: Frame {
                kind: Kind::Other,
                is_final: true,
            },
            is_closing: false,
        }
    }

    /// Takes the header of a frame; whether it may stand here.
    fn begin(&mut self, frame: Frame, memory: &DecoderMemory) -> bool {
        self.frame = frame;
        match frame.kind {
            // RFC 6455, section 5.5.1: no message follows a close.
            Kind::First { .. } | Kind::Further if self.is_closing => false,
            Kind::First { is_deflated } => {
                if self.message.is_some() {
                    return false;
                }
                let mut message = Message {
                    is_deflated,
                    spent: None,
                };
                if is_deflated {
                    if self.is_opaque {
                        message.spent = Some(BodyEnd::Lost);
                    } else if self.inflater.is_none() {
                        match Inflater::new(memory) {
                            Ok(inflater) => self.inflater = Some(inflater),
                            Err(_) => {
                                message.spent = Some(BodyEnd::Refused);
                                self.lose_context();
                            }
                        }
                    }
                }
                self.message = Some(message);
                true
            }
            Kind::Further => self.message.is_some(),
            Kind::Close | Kind::Other => true,
        }
    }

    /// The message that the current frame belongs to.
    fn current(&mut self) -> Option<&mut Message> {
        match self.frame.kind {
            Kind::First { .. } | Kind::Further => self.message.as_mut(),
            Kind::Close | Kind::Other => None,
        }
    }

    fn payload(&mut self, bytes: Plaintext, mut each: impl FnMut(Plaintext)) {
        let Some(message) = self.current() else {
            return;
        };
        if message.spent.is_some() {
            return;
        }
        if !message.is_deflated {
            return each(bytes);
        }
        let Some(inflater) = &mut self.inflater else {
            return;
        };
        let mut inflated = Vec::new();
        let result = inflater.push(&bytes, &mut inflated);
        if !inflated.is_empty() {
            each(inflated.into());
        }
        if result.is_err() {
            self.spend(BodyEnd::Refused);
        }
    }

    /// Nothing more of the current message can be read, for the reason given unless it has one.
    fn spend(&mut self, end: BodyEnd) {
        if let Some(message) = self.current() {
            let is_deflated = message.is_deflated;
            message.spent.get_or_insert(end);
            if is_deflated {
                self.lose_context();
            }
        }
    }

    fn end_frame(&mut self, at: Timestamp, id: ExchangeId, around: &mut Surroundings<'_>) {
        let Frame { kind, is_final } = self.frame;
        self.is_closing |= kind == Kind::Close;
        let Some(message) = self.current().copied().filter(|_| is_final) else {
            return;
        };
        if message.is_deflated
            && message.spent.is_none()
            && let Some(inflater) = &mut self.inflater
        {
            let mut inflated = Vec::new();
            let result = inflater.end_message(&mut inflated);
            if !inflated.is_empty() {
                around.out.push(HttpEvent::Message {
                    at,
                    id,
                    from: self.sender,
                    bytes: inflated.into(),
                });
            }
            if result.is_err() {
                self.spend(BodyEnd::Refused);
            }
            if self.context == Some(Context::Fresh) || !matches!(result, Ok(true)) {
                self.lose_context();
            }
        }
        self.stop(at, id, BodyEnd::Complete, around);
    }

    /// What the next compressed message may build on is forgotten.
    fn lose_context(&mut self) {
        self.inflater = None;
        self.is_opaque = self.context == Some(Context::Kept);
    }

    /// Ends the message that is under way, for the reason given unless it has one of its own.
    fn stop(&mut self, at: Timestamp, id: ExchangeId, end: BodyEnd, around: &mut Surroundings<'_>) {
        let Some(message) = self.message.take() else {
            return;
        };
        let end = message.spent.unwrap_or(end);
        let counter = match end {
            BodyEnd::Complete | BodyEnd::Cut | BodyEnd::GivenUp(_) => &mut around.stats.messages,
            BodyEnd::Lost => &mut around.stats.messages_lost,
            BodyEnd::Refused => &mut around.stats.messages_refused,
        };
        *counter += 1;
        around.out.push(HttpEvent::MessageEnd {
            at,
            id,
            from: self.sender,
            end,
        });
    }
}
