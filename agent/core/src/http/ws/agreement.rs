//! What the two sides agreed on in the handshake.

/// How the messages of a WebSocket are coded. Nothing else of the handshake leaves the parser of
/// the head: neither its key nor the subprotocols, in which some clients send their credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct Agreement {
    /// Compression of messages, if any.
    pub(super) deflate: Option<Deflate>,
}

/// `permessage-deflate` (RFC 7692, section 7). The window sizes do not matter to a reader that
/// always has the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deflate {
    /// How the client's messages build on each other.
    pub(super) client: Context,
    /// How the server's messages build on each other.
    pub(super) server: Context,
}

/// Whether a message may refer to what messages before it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// It may: one deflate stream lasts as long as the connection.
    Kept,
    /// Each message begins a new stream.
    Fresh,
}

impl Agreement {
    /// Reads the `upgrade` and `sec-websocket-extensions` fields of a 101 response. `None` where it
    /// switches to something else, or to an extension that changes what frames mean in a way that
    /// is not known here.
    pub(in crate::http) fn of<'a>(
        upgrade: impl Iterator<Item = &'a [u8]>,
        extensions: impl Iterator<Item = &'a [u8]>,
    ) -> Option<Self> {
        let mut protocols = upgrade.flat_map(|value| value.split(|byte| *byte == b','));
        if !protocols.any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"websocket")) {
            return None;
        }
        let mut deflate = None;
        for extension in extensions.flat_map(|value| value.split(|byte| *byte == b',')) {
            let mut parts = extension
                .split(|byte| *byte == b';')
                .map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            if extension.trim_ascii().is_empty() {
                continue;
            }
            if !name.eq_ignore_ascii_case(b"permessage-deflate") || deflate.is_some() {
                return None;
            }
            deflate = Some(Deflate::of(parts)?);
        }
        Some(Self { deflate })
    }
}

impl Deflate {
    fn of<'a>(parameters: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut agreed = Self {
            client: Context::Kept,
            server: Context::Kept,
        };
        for parameter in parameters {
            let mut parts = parameter.splitn(2, |byte| *byte == b'=');
            let name = parts.next().unwrap_or_default().trim_ascii_end();
            let value = parts.next().map(<[u8]>::trim_ascii_start);
            match (name.to_ascii_lowercase().as_slice(), value) {
                (b"client_no_context_takeover", None) => agreed.client = Context::Fresh,
                (b"server_no_context_takeover", None) => agreed.server = Context::Fresh,
                (b"client_max_window_bits" | b"server_max_window_bits", Some(bits))
                    if is_window(bits) => {}
                _ => return None,
            }
        }
        Some(agreed)
    }
}

/// RFC 7692, section 7.1.2: a number from 8 to 15 without leading zeros, quoted or not.
fn is_window(bits: &[u8]) -> bool {
    let bare = bits
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(bits);
    matches!(bare, [b'8' | b'9'] | [b'1', b'0'..=b'5'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(upgrade: &str, extensions: &[&str]) -> Option<Agreement> {
        let extensions = extensions.iter().map(|value| value.as_bytes());
        Agreement::of(std::iter::once(upgrade.as_bytes()), extensions)
    }

    const fn deflate(client: Context, server: Context) -> Option<Agreement> {
        let deflate = Some(Deflate { client, server });
        Some(Agreement { deflate })
    }

    #[test]
    fn what_was_agreed_is_read_from_the_answer() {
        for extensions in [&[][..], &[""], &[" , "]] {
            assert_eq!(
                agreed("websocket", extensions),
                Some(Agreement { deflate: None })
            );
        }
        assert_eq!(
            agreed("WebSocket", &["permessage-deflate"]),
            deflate(Context::Kept, Context::Kept)
        );
        assert_eq!(
            agreed(
                "h2c, websocket",
                &["Permessage-Deflate; server_no_context_takeover;client_max_window_bits = \"12\""]
            ),
            deflate(Context::Kept, Context::Fresh)
        );
        assert_eq!(
            agreed(
                "websocket",
                &[
                    "",
                    "permessage-deflate ; client_no_context_takeover ; server_max_window_bits=8"
                ]
            ),
            deflate(Context::Fresh, Context::Kept)
        );
    }

    #[test]
    fn what_would_have_to_be_guessed_is_not_followed() {
        assert_eq!(agreed("h2c", &[]), None);
        for extension in [
            "x-webkit-deflate-frame",
            "permessage-deflate, permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=08",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; unheard_of",
            "permessage-deflate;",
            "; permessage-deflate",
        ] {
            assert_eq!(agreed("websocket", &[extension]), None, "{extension}");
        }
    }
}
