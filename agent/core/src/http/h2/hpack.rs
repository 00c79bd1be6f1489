//! Header compression of one direction (RFC 7541), as far as an observer needs it.
//!
//! Fields are decoded as their bytes arrive; only one that is not complete is held back. The
//! table keeps values of fields on the allow-list and, of all others, nothing but their size: of a
//! credential that the peers keep in their tables only the class is kept here.
//!
//! A decoder that was not there from the start, or that missed bytes, does not know what the table
//! holds. Entries are named by their distance from the newest one, so those that are added from
//! then on have a known place; what lies behind them is [`Text::Unknown`], never guessed.

use std::collections::VecDeque;
use std::sync::Arc;

use octets::Octets;

use super::field::Name;
use crate::http::Scheme;

/// Size that a table may have until settings say otherwise (RFC 9113, section 6.5.2).
const DEFAULT_TABLE_BYTES: usize = 4_096;

/// LIMIT: 64 KiB of a table, as large as browsers allow theirs; libraries allow 4 KiB. A table
/// that is to be larger is not followed: what it holds is unknown.
pub(super) const TABLE_BYTES: usize = 64 << 10;

/// LIMIT: 64 KiB of one string, as large as a head may be in HTTP/1.1. A longer one cannot be
/// held back until it is complete; the block is given up.
const STRING_BYTES: usize = 64 << 10;

/// What each entry counts beside its name and value (RFC 7541, section 4.1).
const ENTRY_BYTES: usize = 32;

/// Entries of the static table (RFC 7541, appendix A).
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// A field as it stands in a table or in a block. `length` is that of the name.
#[derive(Clone)]
struct Entry {
    /// `None` if the name is that of an entry that was never seen.
    name: Option<(Name, usize)>,
    value: Kept,
    value_length: usize,
}

impl Entry {
    /// At least its size: the length of a name that was never seen is missing.
    fn size(&self) -> usize {
        self.name.map_or(0, |(_, length)| length) + self.value_length + ENTRY_BYTES
    }

    fn field(&self) -> Field<'_> {
        Field {
            name: self.name.map(|(name, _)| name),
            value: match &self.value {
                Kept::Static(value) => value.as_bytes(),
                Kept::Shared(value) => value,
                Kept::Scheme(_) | Kept::Nothing => &[],
            },
            scheme: match self.value {
                Kept::Scheme(scheme) => scheme,
                Kept::Static(_) | Kept::Shared(_) | Kept::Nothing => Scheme::None,
            },
            size: self.size(),
        }
    }
}

/// A value, if its name is one whose values are read.
#[derive(Clone)]
enum Kept {
    Static(&'static str),
    Shared(Arc<[u8]>),
    /// In place of a credential.
    Scheme(Scheme),
    Nothing,
}

/// One field of a head.
pub(super) struct Field<'a> {
    /// `None` if it was sent before the decoder was there: nothing is known of this field.
    pub(super) name: Option<Name>,
    /// Value; empty if values of this name are not read.
    pub(super) value: &'a [u8],
    /// Class of the value, if it is a credential.
    pub(super) scheme: Scheme,
    /// What it counts (RFC 9113, section 6.5.2), or less.
    pub(super) size: usize,
}

/// A block that cannot be decoded: broken, or beyond a limit. What the table holds is unknown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Undecodable;

/// What a table holds behind the entries that were seen to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    Nothing,
    Unknown,
}

struct Table {
    /// Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    most: usize,
    behind: Behind,
}

impl Table {
    /// The table of a connection that begins.
    const fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            most: DEFAULT_TABLE_BYTES,
            behind: Behind::Nothing,
        }
    }

    /// A table of which nothing is known. That the real one may be smaller does no harm: what it
    /// dropped is never named again.
    const fn unknown() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            most: TABLE_BYTES,
            behind: Behind::Unknown,
        }
    }

    fn resize(&mut self, most: usize) {
        self.most = most;
        self.shrink();
        // Too small for any entry, so whatever was there is gone.
        if most < ENTRY_BYTES {
            self.behind = Behind::Nothing;
        }
    }

    fn add(&mut self, entry: Entry) {
        self.size += entry.size();
        self.entries.push_front(entry);
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.size > self.most {
            let Some(oldest) = self.entries.pop_back() else {
                return;
            };
            self.size -= oldest.size();
        }
    }

    /// The entry with an index of both tables (RFC 7541, section 2.3.3).
    fn entry(&self, index: usize) -> Result<Entry, Undecodable> {
        let index = index.checked_sub(1).ok_or(Undecodable)?;
        if let Some((name, value)) = STATIC.get(index) {
            return Ok(Entry {
                name: Some((Name::of(name.as_bytes()), name.len())),
                value: Kept::Static(value),
                value_length: value.len(),
            });
        }
        match (self.entries.get(index - STATIC.len()), self.behind) {
            (Some(entry), _) => Ok(entry.clone()),
            (None, Behind::Nothing) => Err(Undecodable),
            (None, Behind::Unknown) => Ok(Entry {
                name: None,
                value: Kept::Nothing,
                value_length: 0,
            }),
        }
    }
}

/// The decoder of one direction.
pub(super) struct Decoder {
    table: Table,
    /// Most that the receiver's settings allow the table to be.
    allowed: usize,
    /// A field that is not complete.
    partial: Vec<u8>,
}

impl Decoder {
    /// A decoder that is there from the start.
    pub(super) const fn new() -> Self {
        Self {
            table: Table::new(),
            allowed: DEFAULT_TABLE_BYTES,
            partial: Vec::new(),
        }
    }

    /// A decoder that comes later.
    pub(super) const fn joining() -> Self {
        Self {
            table: Table::unknown(),
            allowed: TABLE_BYTES,
            partial: Vec::new(),
        }
    }

    /// The connection turns out to be followed from its first byte on.
    pub(super) fn start(&mut self) {
        self.table = Table::new();
    }

    /// Bytes were missed: what the table holds is unknown from here on.
    pub(super) fn lose(&mut self) {
        self.table = Table::unknown();
        self.partial = Vec::new();
    }

    /// The receiver's settings allow a table of so many bytes. They may have allowed more before,
    /// and which blocks were made before they arrived cannot be told; so the most counts.
    pub(super) fn allow(&mut self, bytes: u32) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.allowed = self.allowed.max(bytes);
    }

    /// What the receiver's settings allow is not known.
    pub(super) const fn allow_any(&mut self) {
        self.allowed = TABLE_BYTES;
    }

    /// Bytes of memory held.
    pub(super) fn held_bytes(&self) -> usize {
        self.partial.len() + self.table.size
    }

    /// Bytes of a block that is not complete.
    pub(super) const fn partial_bytes(&self) -> usize {
        self.partial.len()
    }

    /// Takes a fragment of a block; `each` receives the fields that are complete.
    pub(super) fn decode(
        &mut self,
        fragment: &[u8],
        each: &mut dyn FnMut(Field<'_>),
    ) -> Result<(), Undecodable> {
        let result = if self.partial.is_empty() {
            self.fields(fragment, each).map(|used| {
                let rest = fragment.get(used..).unwrap_or_default();
                self.partial.extend_from_slice(rest);
            })
        } else {
            let mut block = std::mem::take(&mut self.partial);
            block.extend_from_slice(fragment);
            self.fields(&block, each).map(|used| {
                block.drain(..used);
                self.partial = block;
            })
        };
        if result.is_err() {
            self.lose();
        }
        result
    }

    /// The block is over.
    pub(super) fn end(&mut self) -> Result<(), Undecodable> {
        if self.partial.is_empty() {
            self.partial = Vec::new();
            return Ok(());
        }
        self.lose();
        Err(Undecodable)
    }

    /// Decodes all fields that are complete, and says how many bytes they are.
    fn fields(
        &mut self,
        block: &[u8],
        each: &mut dyn FnMut(Field<'_>),
    ) -> Result<usize, Undecodable> {
        let mut used = 0;
        loop {
            let mut reader = Reader {
                rest: block.get(used..).unwrap_or_default(),
            };
            if !self.field(&mut reader, each)? {
                return Ok(used);
            }
            used = block.len() - reader.rest.len();
        }
    }

    /// Decodes one field or change of size (RFC 7541, section 6); false if it is not complete.
    fn field(
        &mut self,
        reader: &mut Reader<'_>,
        each: &mut dyn FnMut(Field<'_>),
    ) -> Result<bool, Undecodable> {
        let Some(first) = reader.rest.first().copied() else {
            return Ok(false);
        };
        let (prefix, is_added) = match first {
            0x80.. => {
                let Some(index) = reader.integer(7)? else {
                    return Ok(false);
                };
                each(self.table.entry(index)?.field());
                return Ok(true);
            }
            0x20..0x40 => {
                let Some(most) = reader.integer(5)? else {
                    return Ok(false);
                };
                if most > self.allowed.min(TABLE_BYTES) {
                    self.table = Table::unknown();
                } else {
                    self.table.resize(most);
                }
                return Ok(true);
            }
            0x40..0x80 => (6, true),
            0x00..0x20 => (4, false),
        };
        let Some(index) = reader.integer(prefix)? else {
            return Ok(false);
        };
        let literal = if index == 0 { reader.string()? } else { None };
        if index == 0 && literal.is_none() {
            return Ok(false);
        }
        let Some(value) = reader.string()? else {
            return Ok(false);
        };
        let name = match literal {
            Some(name) => {
                let name = name.decoded()?;
                Some((Name::of(&name), name.len()))
            }
            None => self.table.entry(index)?.name,
        };
        let value = value.decoded()?;
        let entry = Entry {
            name,
            value: match name {
                Some((Name::Credential(field), _)) => Kept::Scheme(field.scheme(&value)),
                Some((name, _)) if name.is_read() => Kept::Shared(value.as_slice().into()),
                Some(_) | None => Kept::Nothing,
            },
            value_length: value.len(),
        };
        each(entry.field());
        if is_added {
            self.table.add(entry);
        }
        Ok(true)
    }
}

/// A string as it is written (RFC 7541, section 5.2).
struct Literal<'a> {
    bytes: &'a [u8],
    is_huffman: bool,
}

impl Literal<'_> {
    fn decoded(&self) -> Result<Vec<u8>, Undecodable> {
        if !self.is_huffman {
            return Ok(self.bytes.to_vec());
        }
        Octets::with_slice(self.bytes)
            .get_huffman_decoded_with_max_length(STRING_BYTES)
            .map_err(|octets::BufferTooShortError| Undecodable)
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// An integer whose first `prefix` bits are in the first byte (RFC 7541, section 5.1); `None`
    /// if it is not complete.
    fn integer(&mut self, prefix: u32) -> Result<Option<usize>, Undecodable> {
        let Some((first, mut rest)) = self.rest.split_first() else {
            return Ok(None);
        };
        let mask = u8::MAX >> (8 - prefix);
        let mut value = usize::from(first & mask);
        if value == usize::from(mask) {
            // LIMIT: five bytes, which hold any 32-bit number; no size here is larger.
            for shift in [0, 7, 14, 21, 28] {
                let Some((byte, after)) = rest.split_first() else {
                    return Ok(None);
                };
                rest = after;
                value += usize::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    self.rest = rest;
                    return Ok(Some(value));
                }
            }
            return Err(Undecodable);
        }
        self.rest = rest;
        Ok(Some(value))
    }

    /// A string; `None` if it is not complete.
    fn string(&mut self) -> Result<Option<Literal<'a>>, Undecodable> {
        let is_huffman = self.rest.first().is_some_and(|first| first & 0x80 != 0);
        let Some(length) = self.integer(7)? else {
            return Ok(None);
        };
        if length > STRING_BYTES {
            return Err(Undecodable);
        }
        let Some((bytes, rest)) = self.rest.split_at_checked(length) else {
            return Ok(None);
        };
        self.rest = rest;
        Ok(Some(Literal { bytes, is_huffman }))
    }
}
