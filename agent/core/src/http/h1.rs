//! HTTP/1.1 messages of one direction: heads, and the framing of bodies (RFC 9112).
//!
//! Framing that two readers may understand differently is refused, never guessed.

use super::body::Coding;
use super::headers;
use super::target::{model, path};
use super::ws::Agreement;
use super::{Dismissal, Headers, Scheme};
use crate::event::Plaintext;

/// LIMIT: 64 KiB of one head or trailer section, four times what servers accept by default; the
/// connection is dismissed beyond it.
const HEAD_BYTES: usize = 64 << 10;

/// LIMIT: 128 fields in one head, beyond what servers accept by default (100); the connection is
/// dismissed beyond it.
const FIELDS: usize = 128;

/// LIMIT: 4 KiB of one chunk-size line with its extensions, which no client seen here sends; the
/// connection is dismissed beyond it.
const CHUNK_LINE_BYTES: usize = 4 << 10;

/// LIMIT: lengths up to 2^63 - 1, what a signed reader can hold; a larger one is ambiguous.
const MESSAGE_BYTES: u64 = u64::MAX >> 1;

/// LIMIT: 32 bytes of a method; longer than any registered one.
pub(super) const METHOD_BYTES: usize = 32;

/// Bytes that tell whether a message begins: a method, a space and one byte of the target.
pub(super) const OPENING_BYTES: usize = METHOD_BYTES + 2;

/// The beginning of every HTTP/2 connection (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// How a response begins; `0` stands for any digit.
const RESPONSE_START: &[u8] = b"HTTP/1.0 0";

/// What a direction carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Requests,
    Responses,
}

/// What the first bytes of a direction are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// Too few bytes to tell.
    Undecided,
    Messages(Side),
    /// The preface of HTTP/2, which a client sends.
    Http2Preface,
    /// A frame of HTTP/2 with settings, with which a server begins.
    Http2Settings,
    Foreign,
}

/// Tells what the first bytes of a direction, or of a segment in it, are. The shortest beginning
/// that tells decides, so that it does not matter how the bytes were cut.
pub(super) fn opening(bytes: &[u8]) -> Opening {
    (1..=bytes.len())
        .filter_map(|length| bytes.get(..length))
        .map(opening_of)
        .find(|opening| *opening != Opening::Undecided)
        .unwrap_or(Opening::Undecided)
}

fn opening_of(bytes: &[u8]) -> Opening {
    if bytes.starts_with(HTTP2_PREFACE) {
        return Opening::Http2Preface;
    }
    match settings(bytes) {
        Some(true) => return Opening::Http2Settings,
        Some(false) => return Opening::Undecided,
        None => {}
    }
    let sides = [Side::Requests, Side::Responses];
    let mut plausible = sides.into_iter().filter(|side| side.may_begin(bytes));
    match (plausible.next(), plausible.next()) {
        _ if HTTP2_PREFACE.starts_with(bytes) => Opening::Undecided,
        (Some(side), None) if side.surely_begins(bytes) => Opening::Messages(side),
        (None, _) => Opening::Foreign,
        (Some(_), _) => Opening::Undecided,
    }
}

/// Whether `bytes` begin with the header of a settings frame that is no acknowledgement (RFC 9113,
/// sections 4.1 and 6.5): false if they are too few to tell.
/// LIMIT: 42 settings in it; there are eleven.
fn settings(bytes: &[u8]) -> Option<bool> {
    let is_header = bytes.iter().zip(0..9).all(|(byte, place)| match place {
        2 => byte % 6 == 0,
        3 => *byte == 4,
        _ => *byte == 0,
    });
    is_header.then_some(bytes.len() >= 9)
}

impl Side {
    /// Whether a message may begin with `bytes`, as far as they go.
    fn may_begin(self, bytes: &[u8]) -> bool {
        match self {
            Self::Responses => {
                // With the space and a digit: a request line ends in the same words.
                let fits = |(byte, expected): (&u8, &u8)| match expected {
                    b'0' => byte.is_ascii_digit(),
                    _ => byte == expected,
                };
                bytes.iter().zip(RESPONSE_START).all(fits)
            }
            Self::Requests => {
                // The first line must name the version: text protocols begin with words, too.
                let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
                let is_http = lines.next().is_none_or(|line| {
                    !line.ends_with(b"\n")
                        || line.ends_with(b" HTTP/1.1\r\n")
                        || line.ends_with(b" HTTP/1.0\r\n")
                });
                let is_method = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'-' | b'_');
                let method = bytes.iter().take_while(|byte| is_method(byte)).count();
                match bytes.get(method..) {
                    None | Some([]) => method <= METHOD_BYTES,
                    Some([b' ', target @ ..]) => {
                        let visible = target.first().is_none_or(u8::is_ascii_graphic);
                        is_http && (1..=METHOD_BYTES).contains(&method) && visible
                    }
                    Some(_) => false,
                }
            }
        }
    }

    /// Whether `bytes`, which may begin a message, are enough to say that they do.
    fn surely_begins(self, bytes: &[u8]) -> bool {
        match self {
            Self::Responses => bytes.len() >= RESPONSE_START.len(),
            Self::Requests => bytes
                .iter()
                .position(|b| *b == b' ')
                .is_some_and(|p| p + 1 < bytes.len()),
        }
    }
}

/// The head of a message.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) start: Start,
    pub(super) headers: Headers,
    pub(super) coding: Coding,
    pub(super) length: Length,
}

#[derive(Debug)]
pub(super) enum Start {
    Request {
        method: String,
        path: String,
        model: Option<String>,
        scheme: Scheme,
    },
    Response {
        status: u16,
        /// What was agreed, if the connection switches to WebSocket.
        websocket: Option<Agreement>,
    },
}

/// What a head says about the length of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Unsaid,
    Bytes(u64),
    Chunked,
    /// A transfer coding that is not chunked lasts until the connection closes.
    UntilClose,
}

/// The next part of a direction.
#[derive(Debug)]
pub(super) enum Part {
    /// A head; [`Framer::begin`] must say how its body is framed.
    Head(Head),
    Body(Plaintext),
    /// The message is over.
    End,
    /// The bytes at a place where a message begins are none.
    NoMessage,
    /// A head that cannot be understood in one way only.
    BadHead(Dismissal),
    /// The framing of a body that cannot be understood in one way only.
    BadFraming(Dismissal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Fixed(u64),
    ChunkLine,
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    Trailer,
    UntilClose,
    /// The body is over, which was not told yet.
    Over,
}

/// What a gap does to a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GapIn {
    /// All of it lies in the body, which goes on.
    Body,
    /// It hides where the next message begins.
    Framing,
}

/// Cuts one direction into parts.
pub(super) struct Framer {
    side: Side,
    state: State,
    /// A head, chunk-size line or trailer that is not complete.
    partial: Vec<u8>,
    /// Where the last line of `partial` begins.
    line: usize,
}

impl Framer {
    /// Starts where a message begins.
    pub(super) const fn new(side: Side) -> Self {
        Self {
            side,
            state: State::Head,
            partial: Vec::new(),
            line: 0,
        }
    }

    /// Whether the next byte is the first one of a message.
    pub(super) const fn at_start(&self) -> bool {
        matches!(self.state, State::Head) && self.partial.is_empty()
    }

    /// Bytes held back.
    pub(super) const fn buffered_bytes(&self) -> usize {
        self.partial.len()
    }

    /// Sets how the body behind the head is framed.
    pub(super) const fn begin(&mut self, length: Length) {
        self.state = match length {
            Length::Unsaid | Length::Bytes(0) => State::Over,
            Length::Bytes(bytes) => State::Fixed(bytes),
            Length::Chunked => State::ChunkLine,
            Length::UntilClose => State::UntilClose,
        };
    }

    /// Whether the body lasts until the connection closes.
    pub(super) const fn is_until_close(&self) -> bool {
        matches!(self.state, State::UntilClose)
    }

    /// The next part, taken from the front of `input`; `None` if more bytes are needed.
    pub(super) fn next(&mut self, input: &mut Plaintext) -> Option<Part> {
        loop {
            match self.state {
                State::Over => {
                    self.state = State::Head;
                    return Some(Part::End);
                }
                _ if input.is_empty() => return None,
                State::Head => return self.head(input),
                State::Fixed(left) => {
                    let (body, left) = take(input, left);
                    self.state = if left == 0 {
                        State::Over
                    } else {
                        State::Fixed(left)
                    };
                    return Some(Part::Body(body));
                }
                State::UntilClose => return Some(Part::Body(std::mem::take(input))),
                State::Chunk(left) => {
                    let (body, left) = take(input, left);
                    self.state = if left == 0 {
                        State::ChunkEnd
                    } else {
                        State::Chunk(left)
                    };
                    return Some(Part::Body(body));
                }
                State::ChunkLine => match self.gather_line(input, CHUNK_LINE_BYTES) {
                    Gathered::Partly | Gathered::NoMessage => return None,
                    Gathered::Broken(why) => return Some(Part::BadFraming(why)),
                    Gathered::Whole(line) => match chunk_size(&line) {
                        None => return Some(Part::BadFraming(Dismissal::Ambiguous)),
                        Some(0) => self.state = State::Trailer,
                        Some(size) => self.state = State::Chunk(size),
                    },
                },
                State::ChunkEnd => match self.gather_line(input, 2) {
                    Gathered::Partly | Gathered::NoMessage => return None,
                    Gathered::Whole(line) if line == b"\r\n" => self.state = State::ChunkLine,
                    Gathered::Whole(_) | Gathered::Broken(_) => {
                        return Some(Part::BadFraming(Dismissal::Ambiguous));
                    }
                },
                State::Trailer => match self.gather_section(input) {
                    Gathered::Partly | Gathered::NoMessage => return None,
                    Gathered::Broken(why) => return Some(Part::BadFraming(why)),
                    Gathered::Whole(section) => {
                        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
                        match httparse::parse_headers(&section, &mut fields) {
                            Ok(httparse::Status::Complete(_)) => self.state = State::Over,
                            Ok(httparse::Status::Partial) | Err(_) => {
                                return Some(Part::BadFraming(Dismissal::Ambiguous));
                            }
                        }
                    }
                },
            }
        }
    }

    /// Takes a gap. After [`GapIn::Framing`] the framer is of no use any more.
    pub(super) const fn gap(&mut self, bytes: u64) -> GapIn {
        match self.state {
            State::Fixed(left) if bytes <= left => {
                self.state = if bytes == left {
                    State::Over
                } else {
                    State::Fixed(left - bytes)
                };
                GapIn::Body
            }
            State::Chunk(left) if bytes <= left => {
                self.state = if bytes == left {
                    State::ChunkEnd
                } else {
                    State::Chunk(left - bytes)
                };
                GapIn::Body
            }
            State::UntilClose => GapIn::Body,
            State::Head
            | State::Fixed(_)
            | State::ChunkLine
            | State::Chunk(_)
            | State::ChunkEnd
            | State::Trailer
            | State::Over => GapIn::Framing,
        }
    }

    fn head(&mut self, input: &mut Plaintext) -> Option<Part> {
        match self.gather_section(input) {
            Gathered::Partly => None,
            Gathered::NoMessage => Some(Part::NoMessage),
            Gathered::Broken(why) => Some(Part::BadHead(why)),
            Gathered::Whole(section) => Some(
                match self.side {
                    Side::Requests => request(&section),
                    Side::Responses => response(&section),
                }
                .map_or_else(Part::BadHead, Part::Head),
            ),
        }
    }

    /// Gathers lines up to and with an empty one.
    fn gather_section(&mut self, input: &mut Plaintext) -> Gathered {
        while !input.is_empty() {
            let before = self.partial.len();
            let gathered = self.gather(input, HEAD_BYTES);
            let ends_line = self.partial.ends_with(b"\n");
            if self.state == State::Head && self.line == 0 {
                // RFC 9112, section 2.2: empty lines before a request are to be skipped.
                if self.side == Side::Requests && self.partial == b"\r\n" {
                    self.partial.clear();
                    continue;
                }
                let is_empty_line = self.side == Side::Requests && self.partial == b"\r";
                // Looking again at each byte of a long line would cost its square.
                let is_telling = before <= OPENING_BYTES || ends_line;
                if !is_empty_line && is_telling && !self.side.may_begin(&self.partial) {
                    return Gathered::NoMessage;
                }
            }
            if let Err(broken) = gathered {
                return broken;
            }
            if !ends_line {
                break;
            }
            if self.partial.get(self.line..) == Some(b"\r\n") {
                self.line = 0;
                return Gathered::Whole(std::mem::take(&mut self.partial));
            }
            self.line = self.partial.len();
        }
        Gathered::Partly
    }

    fn gather_line(&mut self, input: &mut Plaintext, limit: usize) -> Gathered {
        match self.gather(input, limit) {
            Err(broken) => broken,
            Ok(()) if self.partial.ends_with(b"\n") => {
                Gathered::Whole(std::mem::take(&mut self.partial))
            }
            Ok(()) => Gathered::Partly,
        }
    }

    /// Appends to `partial` up to the next line end or the end of `input`.
    fn gather(&mut self, input: &mut Plaintext, limit: usize) -> Result<(), Gathered> {
        let room = limit.saturating_sub(self.partial.len());
        let end = input
            .iter()
            .position(|byte| *byte == b'\n')
            .map(|index| index + 1);
        let (line, _) = take(
            input,
            u64::try_from(end.unwrap_or(input.len()).min(room)).unwrap_or(0),
        );
        self.partial.extend_from_slice(&line);
        if end.is_some_and(|end| end <= room) {
            if self.partial.ends_with(b"\r\n") {
                return Ok(());
            }
            // RFC 9112, section 2.2 lets a reader accept a lone LF; readers differ in it.
            return Err(Gathered::Broken(Dismissal::Ambiguous));
        }
        if input.is_empty() {
            Ok(())
        } else {
            Err(Gathered::Broken(Dismissal::OverLimit))
        }
    }
}

enum Gathered {
    Partly,
    /// The first bytes begin no message.
    NoMessage,
    Whole(Vec<u8>),
    Broken(Dismissal),
}

/// Splits up to `most` bytes from the front, and says how many of `most` are left.
fn take(input: &mut Plaintext, most: u64) -> (Plaintext, u64) {
    let split = usize::try_from(most).unwrap_or(usize::MAX).min(input.len());
    let front = input.slice(0..split);
    *input = input.slice(split..input.len());
    (front, most - u64::try_from(split).unwrap_or(most))
}

fn request(section: &[u8]) -> Result<Head, Dismissal> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    whole(request.parse(section), section)?;
    let method = request.method.ok_or(Dismissal::Ambiguous)?;
    let target = request.path.ok_or(Dismissal::Ambiguous)?;
    if method.len() > METHOD_BYTES {
        return Err(Dismissal::OverLimit);
    }
    let length = length(request.headers, request.version)?;
    if length == Length::UntilClose {
        // RFC 9112, section 6.3: a server cannot tell where such a request ends.
        return Err(Dismissal::Ambiguous);
    }
    Ok(Head {
        start: Start::Request {
            method: method.to_owned(),
            path: path(target),
            model: model(target),
            scheme: Scheme::of_fields(request.headers).max(Scheme::of_target(target)),
        },
        headers: headers::allowed(request.headers),
        coding: coding(request.headers),
        length,
    })
}

fn response(section: &[u8]) -> Result<Head, Dismissal> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    whole(response.parse(section), section)?;
    let status = response
        .code
        .filter(|code| *code >= 100)
        .ok_or(Dismissal::Ambiguous)?;
    let websocket = (status == 101)
        .then(|| {
            let upgrade = values(response.headers, "upgrade");
            Agreement::of(
                upgrade,
                values(response.headers, "sec-websocket-extensions"),
            )
        })
        .flatten();
    Ok(Head {
        start: Start::Response { status, websocket },
        headers: headers::allowed(response.headers),
        coding: coding(response.headers),
        length: length(response.headers, response.version)?,
    })
}

/// The parser must have used all of a section that was found to be complete.
fn whole(parsed: httparse::Result<usize>, section: &[u8]) -> Result<(), Dismissal> {
    match parsed {
        Ok(httparse::Status::Complete(used)) if used == section.len() => Ok(()),
        Ok(_) => Err(Dismissal::Ambiguous),
        Err(httparse::Error::TooManyHeaders) => Err(Dismissal::OverLimit),
        Err(_) => Err(Dismissal::Ambiguous),
    }
}

fn coding(fields: &[httparse::Header<'_>]) -> Coding {
    let chunked = |value: &[u8]| value.trim_ascii().eq_ignore_ascii_case(b"chunked");
    if values(fields, "transfer-encoding").all(chunked) {
        Coding::of(values(fields, "content-encoding"))
    } else {
        // A compression for the transfer alone, which no client seen here asks for.
        Coding::Refused
    }
}

fn values<'a>(fields: &'a [httparse::Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value)
}

/// How the body is delimited (RFC 9112, section 6.3), refusing what a lenient reader would guess.
fn length(fields: &[httparse::Header<'_>], version: Option<u8>) -> Result<Length, Dismissal> {
    let mut bytes = None;
    for value in
        values(fields, "content-length").flat_map(|value| value.split(|byte| *byte == b','))
    {
        let value = decimal(value.trim_ascii()).ok_or(Dismissal::Ambiguous)?;
        if bytes.is_some_and(|earlier| earlier != value) {
            return Err(Dismissal::Ambiguous);
        }
        bytes = Some(value);
    }
    let mut chunked = None;
    for coding in
        values(fields, "transfer-encoding").flat_map(|value| value.split(|byte| *byte == b','))
    {
        let coding = coding.trim_ascii();
        let is_token = !coding.is_empty() && coding.iter().all(u8::is_ascii_alphanumeric);
        let is_identity = coding.eq_ignore_ascii_case(b"identity");
        if !is_token || is_identity || chunked == Some(true) {
            return Err(Dismissal::Ambiguous);
        }
        chunked = Some(coding.eq_ignore_ascii_case(b"chunked"));
    }
    match (chunked, bytes) {
        (None, None) => Ok(Length::Unsaid),
        (None, Some(bytes)) => Ok(Length::Bytes(bytes)),
        (Some(_), Some(_)) => Err(Dismissal::Ambiguous),
        (Some(_), None) if version != Some(1) => Err(Dismissal::Ambiguous),
        (Some(true), None) => Ok(Length::Chunked),
        (Some(false), None) => Ok(Length::UntilClose),
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (is_number && number <= MESSAGE_BYTES).then_some(number)
}

/// The size in a chunk-size line with its line end (RFC 9112, section 7.1). Extensions are skipped.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"\r\n")?;
    let hex = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let (digits, rest) = line.split_at_checked(hex)?;
    let extension = rest.trim_ascii_start();
    let is_clean = rest
        .iter()
        .all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..));
    if digits.is_empty() || digits.len() > 16 || !is_clean {
        return None;
    }
    if !extension.is_empty() && !extension.starts_with(b";") {
        return None;
    }
    let size = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    (size <= MESSAGE_BYTES).then_some(size)
}
