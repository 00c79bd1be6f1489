//! A JSON scanner that takes bytes in any pieces and builds no tree.
//!
//! It reports each value with the path that leads to it (RFC 8259). Member names are reported as
//! [`Key`]s; strings come unescaped and piece by piece, so that a text of any length costs no
//! memory here. A member that occurs twice is reported twice: readers overwrite, so the last wins.
//! What is more generous than the RFC: control characters inside strings pass, and a number is any
//! run of characters that numbers consist of; who reads one as a count checks it. A number that is a
//! whole text by itself is never whole: nothing that is read here is one.

mod key;
mod prefix;
#[cfg(test)]
mod tests;

pub(crate) use key::Key;
pub(crate) use prefix::Prefix;

/// LIMIT: containers inside each other. Requests of real clients stay below 20, JSON schemas in
/// tool definitions included; a deeper text is malformed.
pub(crate) const MAX_DEPTH: usize = 64;

/// LIMIT: bytes kept of a member name. The longest name that is looked for has 30; the rest of a
/// longer one is dropped, and it is none of those looked for.
const NAME_BYTES: usize = 64;

/// LIMIT: bytes kept of a number. A count has at most 9 digits; a longer text is cut, and what is
/// left is still too large or no integer.
const NUMBER_BYTES: usize = 32;

/// What the scanner reports at a path. It has no `Debug`: it carries observed text.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    /// An object begins.
    Object,
    /// An array begins.
    Array,
    /// The object or array of this path ends.
    Close,
    /// The name of the member that comes next; the path has it already.
    Name(&'a str),
    /// A string begins.
    Begin,
    /// The next part of a string, unescaped; never empty.
    Piece(&'a str),
    /// The string ends.
    End,
    /// A number, as written.
    Number(&'a str),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
}

/// What may come next between values.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    FirstItem,
    FirstName,
    Name,
    Colon,
    More,
    Nothing,
}

/// Where the scanner stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Between,
    Text,
    Escape,
    Unicode,
    Number,
    Literal(Literal),
    Malformed,
}

/// One of the three words, and how many of its bytes were seen.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Literal {
    word: &'static [u8],
    seen: usize,
}

/// A scanner of one JSON text.
pub(crate) struct Scanner {
    mode: Mode,
    expect: Expect,
    /// Containers that are open.
    open: usize,
    /// Bit `i` is set if container `i` is an array.
    arrays: u64,
    /// Step `i` is the current member of container `i`.
    path: [Key; MAX_DEPTH],
    /// True while the string is a member name.
    in_name: bool,
    name: Prefix,
    number: String,
    /// Digits of a `\u` escape.
    hex: u32,
    hex_digits: u8,
    /// A high surrogate that waits for its low one.
    high: Option<u32>,
    /// The start of a character that was split.
    split: [u8; 4],
    split_bytes: usize,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            mode: Mode::Between,
            expect: Expect::Value,
            open: 0,
            arrays: 0,
            path: [Key::Other; MAX_DEPTH],
            in_name: false,
            name: Prefix::default(),
            number: String::new(),
            hex: 0,
            hex_digits: 0,
            high: None,
            split: [0; 4],
            split_bytes: 0,
        }
    }
}

impl Scanner {
    /// Starts over with a new text; keeps its buffers.
    pub(crate) fn reset(&mut self) {
        let name = std::mem::take(&mut self.name);
        let number = std::mem::take(&mut self.number);
        *self = Self {
            name,
            number,
            ..Self::default()
        };
    }

    /// True once the object, array, string or word is whole; what comes after it is not looked at.
    pub(crate) fn is_whole(&self) -> bool {
        self.mode == Mode::Between && self.expect == Expect::Nothing
    }

    /// True once the text is known to be no JSON, or is nested too deeply. Nothing is reported
    /// from there on.
    pub(crate) fn is_malformed(&self) -> bool {
        self.mode == Mode::Malformed
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8], each: &mut impl FnMut(&[Key], Value<'_>)) {
        let mut rest = bytes;
        while let Some((&byte, tail)) = rest.split_first() {
            rest = match self.mode {
                Mode::Between => {
                    self.between(byte, each);
                    tail
                }
                Mode::Text => self.text(rest, each),
                Mode::Escape => {
                    self.escape(byte, each);
                    tail
                }
                Mode::Unicode => {
                    self.unicode(byte, each);
                    tail
                }
                Mode::Number => {
                    if matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E') {
                        if self.number.len() < NUMBER_BYTES {
                            self.number.push(char::from(byte));
                        }
                        tail
                    } else {
                        self.end_number(each);
                        rest
                    }
                }
                Mode::Literal(literal) => {
                    self.literal(literal, byte, each);
                    tail
                }
                Mode::Malformed => return,
            };
        }
    }

    fn between(&mut self, byte: u8, each: &mut impl FnMut(&[Key], Value<'_>)) {
        let in_array = self.in_array();
        match (self.expect, byte) {
            (Expect::Nothing, _) | (_, b' ' | b'\t' | b'\r' | b'\n') => {}
            (Expect::Value | Expect::FirstItem, b'{') => self.enter(Value::Object, each),
            (Expect::Value | Expect::FirstItem, b'[') => self.enter(Value::Array, each),
            (Expect::Value | Expect::FirstItem, b'"') => {
                each(self.path(), Value::Begin);
                self.in_name = false;
                self.mode = Mode::Text;
            }
            (Expect::Value | Expect::FirstItem, b'-' | b'0'..=b'9') => {
                self.number.clear();
                self.number.push(char::from(byte));
                self.mode = Mode::Number;
            }
            (Expect::Value | Expect::FirstItem, b't') => self.begin_literal(b"true"),
            (Expect::Value | Expect::FirstItem, b'f') => self.begin_literal(b"false"),
            (Expect::Value | Expect::FirstItem, b'n') => self.begin_literal(b"null"),
            (Expect::FirstName | Expect::Name, b'"') => {
                self.name.clear();
                self.in_name = true;
                self.mode = Mode::Text;
            }
            (Expect::Colon, b':') => self.expect = Expect::Value,
            (Expect::More, b',') => {
                self.expect = if in_array {
                    Expect::Value
                } else {
                    Expect::Name
                }
            }
            (Expect::FirstItem, b']') => self.leave(each),
            (Expect::FirstName, b'}') => self.leave(each),
            (Expect::More, b']') if in_array => self.leave(each),
            (Expect::More, b'}') if !in_array => self.leave(each),
            _ => self.mode = Mode::Malformed,
        }
    }

    fn path(&self) -> &[Key] {
        self.path.get(..self.open).unwrap_or_default()
    }

    fn in_array(&self) -> bool {
        self.open > 0 && self.arrays & (1 << (self.open - 1)) != 0
    }

    fn enter(&mut self, value: Value<'_>, each: &mut impl FnMut(&[Key], Value<'_>)) {
        each(self.path(), value);
        let is_array = matches!(value, Value::Array);
        let Some(step) = self.path.get_mut(self.open) else {
            self.mode = Mode::Malformed;
            return;
        };
        let bit = 1 << self.open;
        if is_array {
            *step = Key::Item;
            self.arrays |= bit;
            self.expect = Expect::FirstItem;
        } else {
            *step = Key::Other;
            self.arrays &= !bit;
            self.expect = Expect::FirstName;
        }
        self.open += 1;
    }

    fn leave(&mut self, each: &mut impl FnMut(&[Key], Value<'_>)) {
        self.open = self.open.saturating_sub(1);
        each(self.path(), Value::Close);
        self.end_value();
    }

    fn end_value(&mut self) {
        self.mode = Mode::Between;
        self.expect = if self.open == 0 {
            Expect::Nothing
        } else {
            Expect::More
        };
    }

    fn end_number(&mut self, each: &mut impl FnMut(&[Key], Value<'_>)) {
        each(self.path(), Value::Number(&self.number));
        self.end_value();
    }

    const fn begin_literal(&mut self, word: &'static [u8]) {
        self.mode = Mode::Literal(Literal { word, seen: 1 });
    }

    fn literal(&mut self, literal: Literal, byte: u8, each: &mut impl FnMut(&[Key], Value<'_>)) {
        if literal.word.get(literal.seen) != Some(&byte) {
            self.mode = Mode::Malformed;
            return;
        }
        let seen = literal.seen + 1;
        if seen < literal.word.len() {
            self.mode = Mode::Literal(Literal { seen, ..literal });
            return;
        }
        let value = match literal.word {
            b"true" => Value::Bool(true),
            b"false" => Value::Bool(false),
            _ => Value::Null,
        };
        each(self.path(), value);
        self.end_value();
    }

    /// Takes bytes of a string up to its end or an escape; returns the rest.
    fn text<'b>(&mut self, bytes: &'b [u8], each: &mut impl FnMut(&[Key], Value<'_>)) -> &'b [u8] {
        let plain = bytes
            .iter()
            .position(|byte| matches!(byte, b'"' | b'\\'))
            .unwrap_or(bytes.len());
        let (run, rest) = bytes.split_at_checked(plain).unwrap_or((bytes, &[]));
        if !run.is_empty() {
            self.end_high(each);
            self.decode(run, each);
        }
        let Some((&mark, rest)) = rest.split_first() else {
            return rest;
        };
        self.end_split(each);
        if mark == b'\\' {
            self.mode = Mode::Escape;
            return rest;
        }
        self.end_high(each);
        if self.in_name {
            if let Some(step) = self
                .open
                .checked_sub(1)
                .and_then(|last| self.path.get_mut(last))
            {
                *step = Key::of(self.name.as_str());
            }
            each(self.path(), Value::Name(self.name.as_str()));
            self.mode = Mode::Between;
            self.expect = Expect::Colon;
        } else {
            each(self.path(), Value::End);
            self.end_value();
        }
        rest
    }

    fn escape(&mut self, byte: u8, each: &mut impl FnMut(&[Key], Value<'_>)) {
        let plain = match byte {
            b'"' => "\"",
            b'\\' => "\\",
            b'/' => "/",
            b'b' => "\u{8}",
            b'f' => "\u{c}",
            b'n' => "\n",
            b'r' => "\r",
            b't' => "\t",
            b'u' => {
                self.hex = 0;
                self.hex_digits = 0;
                self.mode = Mode::Unicode;
                return;
            }
            _ => {
                self.mode = Mode::Malformed;
                return;
            }
        };
        self.end_high(each);
        self.emit(plain, each);
        self.mode = Mode::Text;
    }

    fn unicode(&mut self, byte: u8, each: &mut impl FnMut(&[Key], Value<'_>)) {
        let Some(digit) = char::from(byte).to_digit(16) else {
            self.mode = Mode::Malformed;
            return;
        };
        self.hex = (self.hex << 4) | digit;
        self.hex_digits += 1;
        if self.hex_digits < 4 {
            return;
        }
        self.mode = Mode::Text;
        match (self.high, self.hex) {
            (Some(high), low @ 0xdc00..=0xdfff) => {
                self.high = None;
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                self.emit_code(code, each);
            }
            (_, high @ 0xd800..=0xdbff) => {
                self.end_high(each);
                self.high = Some(high);
            }
            (_, code) => {
                self.end_high(each);
                self.emit_code(code, each);
            }
        }
    }

    /// Reports a high surrogate whose low one did not come.
    fn end_high(&mut self, each: &mut impl FnMut(&[Key], Value<'_>)) {
        if self.high.take().is_some() {
            self.emit("\u{fffd}", each);
        }
    }

    /// Reports a character that was begun and not finished.
    fn end_split(&mut self, each: &mut impl FnMut(&[Key], Value<'_>)) {
        if self.split_bytes > 0 {
            self.split_bytes = 0;
            self.emit("\u{fffd}", each);
        }
    }

    /// Reports a run of a string that has neither escapes nor an end in it. Each maximal part that
    /// is no UTF-8 becomes one U+FFFD, wherever the bytes were split.
    fn decode(&mut self, run: &[u8], each: &mut impl FnMut(&[Key], Value<'_>)) {
        let mut rest = run;
        while self.split_bytes > 0 {
            let Some((&byte, tail)) = rest.split_first() else {
                return;
            };
            let mut grown = self.split;
            if let Some(place) = grown.get_mut(self.split_bytes) {
                *place = byte;
            }
            let grown = grown.get(..=self.split_bytes).unwrap_or_default();
            match std::str::from_utf8(grown) {
                Ok(whole) => {
                    self.split_bytes = 0;
                    self.emit(whole, each);
                    rest = tail;
                }
                Err(error) if error.error_len().is_none() => {
                    self.split = copied(grown);
                    self.split_bytes += 1;
                    rest = tail;
                }
                // The byte does not belong to the character, so it is looked at again.
                Err(_) => self.end_split(each),
            }
        }
        while !rest.is_empty() {
            match std::str::from_utf8(rest) {
                Ok(whole) => {
                    self.emit(whole, each);
                    return;
                }
                Err(error) => {
                    let (valid, bad) = rest
                        .split_at_checked(error.valid_up_to())
                        .unwrap_or((rest, &[]));
                    if let Ok(valid) = std::str::from_utf8(valid)
                        && !valid.is_empty()
                    {
                        self.emit(valid, each);
                    }
                    let Some(bad_bytes) = error.error_len() else {
                        self.split = copied(bad);
                        self.split_bytes = bad.len().min(self.split.len());
                        return;
                    };
                    self.emit("\u{fffd}", each);
                    rest = bad.get(bad_bytes..).unwrap_or_default();
                }
            }
        }
    }

    fn emit_code(&mut self, code: u32, each: &mut impl FnMut(&[Key], Value<'_>)) {
        let mut buffer = [0; 4];
        let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        self.emit(character.encode_utf8(&mut buffer), each);
    }

    fn emit(&mut self, piece: &str, each: &mut impl FnMut(&[Key], Value<'_>)) {
        if self.in_name {
            self.name.push(piece, NAME_BYTES);
        } else {
            each(self.path(), Value::Piece(piece));
        }
    }
}

fn copied(bytes: &[u8]) -> [u8; 4] {
    let mut array = [0; 4];
    for (to, from) in array.iter_mut().zip(bytes) {
        *to = *from;
    }
    array
}
