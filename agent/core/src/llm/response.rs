//! How a response is read: as events, as one body, as results line by line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::hash::HashKey;
use super::json::{Key, Scanner, Value};
use super::provider::{Api, Calls, Form, Reply, Terminal};
use crate::event::Timestamp;
use crate::http::eventstream::{self, Frame, Kind};
use crate::http::sse::{Decoder, Event};

pub(super) struct Response {
    pub(super) status: u16,
    pub(super) form: Option<ResponseForm>,
    /// True if a part of the body was not seen.
    pub(super) has_gap: bool,
    /// Id of the reply in its head.
    pub(super) request_id: Option<String>,
    pub(super) reader: Reader,
}

pub(super) enum ResponseForm {
    Events(Decoder),
    /// The same in frames.
    Frames(eventstream::Decoder),
    Body,
    /// No words: its bytes only pass.
    Opaque,
    /// One JSON text a line, each of which is what an event is elsewhere.
    Texts(Texts),
    /// One result a line.
    Lines(Lines),
    /// One event a message.
    Messages,
}

/// Where the reader of a text a line stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Texts {
    /// Before a text.
    Between,
    /// Inside one, which may go on over the end of the line.
    Open,
    /// Behind what is read of this line.
    Over,
}

/// A reply of many results, each of which is a reply by itself.
#[derive(Default)]
pub(super) struct Lines {
    /// Results that are whole, and were not taken yet.
    pub(super) whole: Vec<(Timestamp, Reply, Terminal)>,
    /// True if any line was a result.
    pub(super) has_any: bool,
    /// True behind a gap: what is left of the line has no known place in it.
    pub(super) is_torn: bool,
}

/// What reads the JSON of a response, and what it read.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) reply: Reply,
    json: Scanner,
    pub(super) malformed: u64,
    pub(super) first_token: Option<Timestamp>,
    /// Counters that were refused and models whose tokens no row holds in results that are over, and
    /// results with a total that fits none of its sums.
    pub(super) refused_in_lines: u64,
    pub(super) unrecorded_in_lines: u64,
    pub(super) inconsistent_lines: u64,
    /// True between the pieces of an event that is too long to be held.
    is_in_event: bool,
}

impl Response {
    pub(super) fn new(status: u16, form: Option<ResponseForm>, key: HashKey) -> Self {
        Self {
            status,
            form,
            has_gap: false,
            request_id: None,
            reader: Reader {
                reply: Reply {
                    calls: Calls::new(key),
                    ..Reply::default()
                },
                ..Reader::default()
            },
        }
    }

    pub(super) fn gap(&mut self) {
        self.has_gap = true;
        match &mut self.form {
            Some(ResponseForm::Lines(lines)) => lines.is_torn = true,
            Some(ResponseForm::Frames(decoder)) => decoder.gap(),
            // What comes next may be the rest of a line.
            Some(ResponseForm::Texts(texts)) => *texts = Texts::Over,
            Some(
                ResponseForm::Events(_)
                | ResponseForm::Body
                | ResponseForm::Opaque
                | ResponseForm::Messages,
            )
            | None => {}
        }
        self.reader.is_in_event = false;
        self.reader.reply.gap();
    }

    /// Reads up to the end of the reply; says how many bytes those were, and how it ends.
    pub(super) fn take(
        &mut self,
        api: &Api,
        at: Timestamp,
        bytes: &[u8],
        keeps_text: bool,
    ) -> (usize, Option<Terminal>) {
        self.reader.reply.keeps_text = keeps_text;
        if self.form.is_none() {
            let Some(first) = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) else {
                return (bytes.len(), None);
            };
            self.form = Some(if matches!(first, b'{' | b'[') {
                ResponseForm::Body
            } else if api.may_be_opaque() {
                ResponseForm::Opaque
            } else {
                ResponseForm::Events(Decoder::default())
            });
        }
        match &mut self.form {
            Some(ResponseForm::Events(decoder)) => {
                let refused = decoder.refused();
                let (mut taken, mut terminal) = (0, None);
                // Line by line, so that what is behind the end is not read, however it is cut.
                for line in bytes.split_inclusive(|byte| matches!(byte, b'\r' | b'\n')) {
                    taken += line.len();
                    decoder.push(line, |event| terminal = self.reader.event(api, at, event));
                    if terminal.is_some() {
                        break;
                    }
                }
                // An event that is too long may have been any: it is missing like lost bytes.
                if decoder.refused() > refused {
                    self.gap();
                }
                (taken, terminal)
            }
            // What comes after a gap has no known place in the JSON.
            Some(ResponseForm::Body) if !self.has_gap => {
                let terminal = self.reader.body(api, at, bytes);
                let end = if terminal.is_some() {
                    bytes.trim_ascii_end()
                } else {
                    bytes
                };
                (end.len(), terminal)
            }
            Some(ResponseForm::Frames(decoder)) => {
                let (mut taken, mut terminal) = (0, None);
                while terminal.is_none() && taken < bytes.len() {
                    let step = decoder.push(bytes.get(taken..).unwrap_or_default());
                    taken += step.taken;
                    // What was no frame, or too long for one that is held, may have been any.
                    if step.has_lost {
                        self.has_gap = true;
                        self.reader.reply.gap();
                    }
                    terminal = step
                        .frame
                        .and_then(|frame| self.reader.frame(api, at, frame));
                }
                (taken, terminal)
            }
            Some(ResponseForm::Texts(texts)) => {
                let (mut taken, mut terminal) = (0, None);
                for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                    taken += piece.len();
                    (*texts, terminal) = self.reader.text(api, at, *texts, piece);
                    if terminal.is_some() {
                        taken -= piece.len() - piece.trim_ascii_end().len();
                        break;
                    }
                }
                (taken, terminal)
            }
            Some(ResponseForm::Lines(_)) => {
                for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                    self.reader.part_of_body(api, piece);
                    if piece.ends_with(b"\n") {
                        self.take_line(api, at);
                    }
                }
                (bytes.len(), None)
            }
            Some(ResponseForm::Opaque) => {
                self.reader.first_token.get_or_insert(at);
                (bytes.len(), None)
            }
            Some(ResponseForm::Body | ResponseForm::Messages) | None => (bytes.len(), None),
        }
    }

    /// A line is over. One that is whole and a result is a reply by itself.
    pub(super) fn take_line(&mut self, api: &Api, at: Timestamp) {
        let Some(ResponseForm::Lines(lines)) = &mut self.form else {
            return;
        };
        let reader = &mut self.reader;
        let is_torn = std::mem::take(&mut lines.is_torn);
        let is_whole = reader.json.is_whole() && !is_torn;
        reader.malformed += u64::from(reader.json.is_malformed() && !is_torn);
        reader.json.reset();
        let next = Reply {
            calls: reader.reply.calls.next(),
            ..Reply::default()
        };
        let mut reply = std::mem::replace(&mut reader.reply, next);
        reader.refused_in_lines += reply.refused;
        reader.unrecorded_in_lines += reply.unrecorded;
        // A result that is no call still says what the file is.
        lines.has_any |= is_whole && reply.part.is_result;
        if is_whole && let Some(terminal) = reply.settle(api, Form::Body) {
            let usage = reply.api.map(|api| (api.usage)(&reply.counts));
            let is_inconsistent = usage.is_some_and(|usage| reply.counts.contradicts(&usage));
            reader.inconsistent_lines += u64::from(is_inconsistent);
            lines.whole.push((at, reply, terminal));
        }
    }
}

impl Reader {
    pub(super) fn event(&mut self, api: &Api, at: Timestamp, event: Event<'_>) -> Option<Terminal> {
        let is_begun = std::mem::replace(&mut self.is_in_event, !event.is_last);
        if !is_begun {
            if event.data.is_empty() {
                return None;
            }
            if event.data.trim_ascii() == b"[DONE]" {
                return Some(Terminal::Complete);
            }
            self.reply.begin(
                std::str::from_utf8(event.name).unwrap_or_default(),
                Form::Event,
            );
            self.json.reset();
        }
        self.push(api, event.data);
        if self.is_in_event {
            return None;
        }
        if !self.json.is_whole() {
            self.malformed += 1;
            // A broken object may have held anything; other words are some server's sign of life.
            if is_begun || event.data.trim_ascii_start().starts_with(b"{") {
                self.reply.gap();
            }
            return None;
        }
        if self.reply.part.has_output {
            self.first_token.get_or_insert(at);
        }
        self.reply.settle(api, Form::Event)
    }

    /// Reads an event in a frame. That of a model's own format is wrapped up once more.
    fn frame(&mut self, api: &Api, at: Timestamp, frame: Frame<'_>) -> Option<Terminal> {
        if frame.kind == Kind::Exception {
            return Some(Terminal::Error);
        }
        let unwrapped = (frame.name == "chunk").then(|| unwrapped(frame.payload));
        let (name, data) = match &unwrapped {
            None => (frame.name, frame.payload),
            Some(Some(data)) => ("", data.as_slice()),
            Some(None) => {
                self.malformed += 1;
                self.reply.gap();
                return None;
            }
        };
        let event = Event {
            name: name.as_bytes(),
            data,
            is_last: true,
        };
        self.event(api, at, event)
    }

    /// Reads a piece of a line that has the line's end, if at all, at its own.
    fn text(
        &mut self,
        api: &Api,
        at: Timestamp,
        texts: Texts,
        piece: &[u8],
    ) -> (Texts, Option<Terminal>) {
        let is_end = piece.ends_with(b"\n");
        let after = if is_end { Texts::Between } else { Texts::Over };
        match texts {
            Texts::Over => return (after, None),
            Texts::Between if piece.trim_ascii_start().is_empty() => return (texts, None),
            Texts::Between => {
                self.reply.begin("", Form::Event);
                self.json.reset();
            }
            Texts::Open => {}
        }
        self.push(api, piece);
        if self.json.is_malformed() {
            // It may have held anything.
            self.malformed += 1;
            self.reply.gap();
            return (after, None);
        }
        if self.reply.part.has_output {
            self.first_token.get_or_insert(at);
        }
        if !self.json.is_whole() {
            return (Texts::Open, None);
        }
        (after, self.reply.settle(api, Form::Event))
    }

    /// Reads bytes of a body, or of a line that is one by itself.
    fn part_of_body(&mut self, api: &Api, bytes: &[u8]) {
        if !self.reply.part.is_body {
            self.reply.begin("", Form::Body);
        }
        self.push(api, bytes);
    }

    fn push(&mut self, api: &Api, bytes: &[u8]) {
        let reply = &mut self.reply;
        self.json
            .push(bytes, &mut |path, value| reply.value(api, path, value));
    }

    fn body(&mut self, api: &Api, at: Timestamp, bytes: &[u8]) -> Option<Terminal> {
        if self.json.is_malformed() {
            return None;
        }
        self.part_of_body(api, bytes);
        if self.reply.part.is_element && self.reply.part.has_output {
            self.first_token.get_or_insert(at);
        }
        self.malformed += u64::from(self.json.is_malformed());
        self.json
            .is_whole()
            .then(|| self.reply.settle(api, Form::Body))
            .flatten()
    }
}

/// What the member `bytes` holds, which is the rest of the JSON in base64 (RFC 4648, section 4).
fn unwrapped(payload: &[u8]) -> Option<Vec<u8>> {
    let mut text = String::new();
    let mut json = Scanner::default();
    json.push(payload, &mut |path, value| match (path, value) {
        ([Key::Bytes], Value::Begin) => text.clear(),
        ([Key::Bytes], Value::Piece(piece)) => text.push_str(piece),
        _ => {}
    });
    let data = BASE64.decode(text).ok()?;
    (json.is_whole() && !data.is_empty()).then_some(data)
}
