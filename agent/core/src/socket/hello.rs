//! The ClientHello (RFC 8446, section 4.1.2): whom a client asks for, in the clear.

/// What a ClientHello says that this agent wants to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// Host name (SNI, RFC 6066 section 3), in lower case. With an encrypted ClientHello it is the
    /// name of whoever hides the real one.
    pub server_name: Option<String>,
    /// Protocols that the client speaks (ALPN, RFC 7301), best first; at most [`PROTOCOLS`].
    pub protocols: Vec<String>,
}

/// Why bytes are no ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHello {
    /// They do not begin as one.
    Other,
    /// A length in it reaches beyond what encloses it.
    Length,
    /// Its host name is none.
    Name,
}

/// LIMIT: protocols of a client that are kept. Browsers offer two or three; the rest is left out.
pub const PROTOCOLS: usize = 8;

/// LIMIT: bytes of a handshake that are looked at, more than the kernel programs copy.
const MAX_BYTES: usize = 16_384;

/// Record type and message type (RFC 8446, sections 5.1 and 4).
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Extensions (RFC 6066 section 1.1, RFC 7301 section 6), and the only type of a name.
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const HOST_NAME: u8 = 0;

/// LIMIT: bytes of a host name (RFC 1035, section 2.3.4).
const NAME_BYTES: usize = 255;

/// Reads a ClientHello, or as much as there is of it: one that is cut tells what it told before
/// the cut.
///
/// # Errors
///
/// The bytes contradict themselves.
pub fn parse(bytes: &[u8]) -> Result<ClientHello, NoHello> {
    let message = handshake_bytes(bytes)?;
    let mut hello = ClientHello::default();
    let mut message = Reader::new(&message);
    match message.u8() {
        Some(CLIENT_HELLO) => {}
        Some(_) => return Err(NoHello::Other),
        None => return Ok(hello),
    }
    let Some(mut body) = message.u24().map(|length| message.nested(length)) else {
        return Ok(hello);
    };
    extensions(&mut body, &mut hello)?;
    Ok(hello)
}

/// Puts the fragments of the first handshake records together: a message may lie in several.
fn handshake_bytes(bytes: &[u8]) -> Result<Vec<u8>, NoHello> {
    let mut rest = Reader::new(bytes.get(..MAX_BYTES).unwrap_or(bytes));
    let mut message = Vec::new();
    while let Some(kind) = rest.u8() {
        // What follows the hello: early data (RFC 8446, section 4.2.10).
        if kind != HANDSHAKE && !message.is_empty() {
            break;
        }
        let major = rest.u8();
        if kind != HANDSHAKE || major.is_some_and(|major| major != 3) {
            return Err(NoHello::Other);
        }
        let _minor = rest.u8();
        let Some(length) = rest.u16() else { break };
        if length == 0 {
            return Err(NoHello::Length);
        }
        message.extend_from_slice(rest.up_to(usize::from(length)));
    }
    Ok(message)
}

/// Goes through the message up to its extensions, and through these.
fn extensions(body: &mut Reader<'_>, hello: &mut ClientHello) -> Result<(), NoHello> {
    // Version and random.
    if body.skip(2 + 32).is_none() {
        return body.end();
    }
    // Session id, cipher suites, compression methods.
    for is_long in [false, true, false] {
        let length = if is_long {
            body.u16().map(usize::from)
        } else {
            body.u8().map(usize::from)
        };
        let Some(length) = length else {
            return body.end();
        };
        if body.skip(length).is_none() {
            return body.end();
        }
    }
    // A hello without extensions ends here.
    let Some(length) = body.u16() else {
        return body.end();
    };
    let mut all = body.within(usize::from(length))?;
    while let Some(kind) = all.u16() {
        let Some(length) = all.u16() else {
            return all.end();
        };
        let extension = all.within(usize::from(length))?;
        match kind {
            // Of each kind there is one (RFC 8446, section 4.2); the first one counts.
            SERVER_NAME if hello.server_name.is_none() => {
                hello.server_name = server_name(extension)?;
            }
            ALPN if hello.protocols.is_empty() => hello.protocols = protocols(extension),
            _ => {}
        }
    }
    Ok(())
}

fn server_name(mut extension: Reader<'_>) -> Result<Option<String>, NoHello> {
    let Some(length) = extension.u16() else {
        return extension.end().map(|()| None);
    };
    let mut names = extension.within(usize::from(length))?;
    while let Some(kind) = names.u8() {
        let Some(length) = names.u16() else {
            return names.end().map(|()| None);
        };
        let name = names.within(usize::from(length))?;
        if kind == HOST_NAME {
            if name.is_cut() {
                return Ok(None);
            }
            return host_name(name.bytes).map(Some);
        }
    }
    Ok(None)
}

/// A host name, as far as its characters go; it ends in reports.
fn host_name(bytes: &[u8]) -> Result<String, NoHello> {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
    if bytes.is_empty() || bytes.len() > NAME_BYTES || !bytes.iter().all(is_allowed) {
        return Err(NoHello::Name);
    }
    let name = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    Ok(name.strip_suffix('.').map(str::to_owned).unwrap_or(name))
}

fn protocols(mut extension: Reader<'_>) -> Vec<String> {
    let mut names = Vec::new();
    let _length = extension.u16();
    while names.len() < PROTOCOLS
        && let Some(length) = extension.u8()
    {
        let name = extension.up_to(usize::from(length));
        let is_whole = name.len() == usize::from(length) && !name.is_empty();
        // Values to confuse servers (RFC 8701) are left out with everything else that is no text.
        if is_whole && name.iter().all(u8::is_ascii_graphic) {
            names.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    names
}

/// Bytes of a structure, of which the end may be cut off.
struct Reader<'a> {
    bytes: &'a [u8],
    /// Bytes that belong to the structure behind those that are there.
    missing: usize,
}

impl<'a> Reader<'a> {
    /// Whatever comes after `bytes` was not copied: how much that is nobody knows.
    const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            missing: usize::MAX,
        }
    }

    const fn is_cut(&self) -> bool {
        self.missing > 0
    }

    /// Nothing more can be read: fine if the rest is cut off, else the structure was too short.
    const fn end(&self) -> Result<(), NoHello> {
        if self.is_cut() {
            Ok(())
        } else {
            Err(NoHello::Length)
        }
    }

    fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        let (first, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(u16::from_be_bytes(*first))
    }

    fn u24(&mut self) -> Option<usize> {
        let high = self.u8()?;
        let low = self.u16()?;
        Some(usize::from(high) << 16 | usize::from(low))
    }

    /// Passes over `length` bytes; `None` if there are fewer.
    fn skip(&mut self, length: usize) -> Option<()> {
        self.bytes = self.bytes.get(length..)?;
        Some(())
    }

    /// The next `length` bytes, or those that are there.
    fn up_to(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(length.min(self.bytes.len()));
        self.bytes = rest;
        taken
    }

    /// The next `length` bytes as a structure of their own, whatever encloses them.
    fn nested(&mut self, length: usize) -> Self {
        let bytes = self.up_to(length);
        Self {
            bytes,
            missing: length.saturating_sub(bytes.len()),
        }
    }

    /// The same, and it must not reach beyond what encloses it.
    fn within(&mut self, length: usize) -> Result<Self, NoHello> {
        if length > self.bytes.len().saturating_add(self.missing) {
            return Err(NoHello::Length);
        }
        Ok(self.nested(length))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::socket::tests::client_hello;

    fn named(name: &str, protocols: &[&str]) -> ClientHello {
        ClientHello {
            server_name: Some(name.to_owned()),
            protocols: protocols.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn a_hello_gives_name_and_protocols() {
        let hello = client_hello("API.OpenAI.com", &["h2", "http/1.1"], 0);
        assert_eq!(
            parse(&hello),
            Ok(named("api.openai.com", &["h2", "http/1.1"]))
        );
        let early_data = [&hello[..], &[23, 3, 3, 0, 1, 0]].concat();
        assert_eq!(
            parse(&early_data),
            Ok(named("api.openai.com", &["h2", "http/1.1"]))
        );
    }

    #[test]
    fn a_hello_in_several_records_is_put_together() {
        let hello = client_hello("api.openai.com", &["h2"], 1_200);
        let (_, message) = hello.split_at(5);
        let mut records = Vec::new();
        for fragment in message.chunks(100) {
            records.extend([22, 3, 1, 0, u8::try_from(fragment.len()).unwrap()]);
            records.extend_from_slice(fragment);
        }
        assert_eq!(parse(&records), Ok(named("api.openai.com", &["h2"])));
    }

    #[test]
    fn a_cut_hello_tells_what_it_told_before_the_cut() {
        let hello = client_hello("api.openai.com", &["h2"], 0);
        let mut has_name = false;
        for end in 0..hello.len() {
            let found = parse(&hello[..end]).unwrap();
            if let Some(name) = found.server_name {
                assert_eq!(name, "api.openai.com");
                has_name = true;
            } else {
                assert!(!has_name, "a longer piece tells no less");
            }
        }
        assert!(has_name);
    }

    #[test]
    fn contradictions_are_refused() {
        let whole = client_hello("api.openai.com", &[], 0);
        let refused = |change: fn(&mut Vec<u8>)| {
            let mut bytes = whole.clone();
            change(&mut bytes);
            parse(&bytes)
        };
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(NoHello::Other));
        assert_eq!(refused(|b| b[5] = 2), Err(NoHello::Other));
        assert_eq!(refused(|b| b[1] = 2), Err(NoHello::Other));
        // A session id longer than the message.
        assert_eq!(refused(|b| b[5 + 4 + 34] = 255), Err(NoHello::Length));
        // A record without bytes.
        assert_eq!(parse(&[22, 3, 1, 0, 0]), Err(NoHello::Length));
        for name in ["a b", "", "evil\u{1b}[31m", "ümlaut", &"a".repeat(256)] {
            assert_eq!(
                parse(&client_hello(name, &[], 0)),
                Err(NoHello::Name),
                "{name}"
            );
        }
    }

    #[test]
    fn of_many_protocols_the_first_are_kept() {
        let names: Vec<_> = (0..20).map(|n| format!("p{n}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let found = parse(&client_hello("a.example", &names, 0)).unwrap();
        assert_eq!(found.protocols, names[..PROTOCOLS]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _anything = parse(&bytes);
        }

        #[test]
        fn no_change_of_a_hello_panics_or_makes_a_long_name(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut bytes = client_hello("api.openai.com", &["h2"], 300);
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Ok(ClientHello { server_name: Some(name), .. }) = parse(&bytes) {
                prop_assert!(name.len() <= NAME_BYTES);
                prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
