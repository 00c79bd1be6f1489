//! What is kept of a credential: the class of its scheme, and not one byte of it.
//!
//! It is told where a head is parsed, and the credential is dropped there. In the tables of HTTP/2,
//! which the peers keep credentials in, the class stands in its place.

/// How a request says who pays for it, by form alone. A later one in the order says more; the
/// most that a head says counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// No credential was sent.
    #[default]
    None,
    /// A part of the head could not be read, and what was read has none.
    Unread,
    /// One that tells nothing: another scheme, or a token of which not all that explains it was
    /// read.
    Other,
    /// A bearer token without a form that is known.
    Bearer,
    /// A bearer token that is a JSON Web Token (RFC 7519): of a person or a service, for whatever
    /// was logged in to.
    BearerJwt,
    /// A key of an API: in a header field or a parameter of the query made for one, or a token that
    /// begins as keys do.
    Key,
    /// An access token of Google's OAuth: `ya29.`.
    GoogleToken,
    /// A signature with a key of an AWS account (Signature Version 4 and 4a).
    AwsSignature,
    /// An access token of a login at Anthropic: `sk-ant-oat`.
    AnthropicLogin,
}

/// A header field that holds a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CredentialField {
    Authorization,
    /// Made for a key, and nothing else.
    Key,
    /// The subprotocols of a WebSocket, one of which may be a key: browsers can set no other field.
    Subprotocol,
}

impl CredentialField {
    /// The field of that name, in whatever case.
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        // `ocp-apim-subscription-key`: the front end of Azure's API Management.
        let keys = [
            "x-api-key",
            "api-key",
            "x-goog-api-key",
            "ocp-apim-subscription-key",
        ];
        if is("authorization") {
            Some(Self::Authorization)
        } else if is("sec-websocket-protocol") {
            Some(Self::Subprotocol)
        } else {
            keys.into_iter().any(is).then_some(Self::Key)
        }
    }

    /// The class of a value.
    pub(super) fn scheme(self, value: &[u8]) -> Scheme {
        let value = value.trim_ascii();
        match self {
            _ if value.is_empty() => Scheme::None,
            Self::Authorization => authorization(value),
            Self::Key => Scheme::of_token(value).max(Scheme::Key),
            Self::Subprotocol => {
                let is_key = |name: &[u8]| name.starts_with(b"openai-insecure-api-key.");
                let mut names = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                if names.any(is_key) {
                    Scheme::Key
                } else {
                    Scheme::None
                }
            }
        }
    }
}

impl Scheme {
    /// The class of all fields of a head.
    pub(super) fn of_fields(fields: &[httparse::Header<'_>]) -> Self {
        let of_field = |field: &httparse::Header<'_>| {
            CredentialField::of(field.name.as_bytes()).map(|kind| kind.scheme(field.value))
        };
        fields.iter().filter_map(of_field).max().unwrap_or_default()
    }

    /// The class of what stands in the query of a request target: Google's `key`, Azure's `api-key`
    /// of a WebSocket, an access token (RFC 6750, section 2.3), or a presigned request to AWS.
    pub(super) fn of_target(target: &str) -> Self {
        let query = target.split('#').next().and_then(|t| t.split_once('?'));
        let parameters = query.map_or("", |(_, query)| query).split('&');
        let of_parameter = |parameter: &str| match parameter.split_once('=') {
            None | Some((_, "")) => Self::None,
            Some((name, value)) => match name.to_ascii_lowercase().as_str() {
                "key" | "api-key" | "api_key" => Self::Key,
                "access_token" => Self::of_token(value.as_bytes()),
                "x-amz-signature" => Self::AwsSignature,
                _ => Self::None,
            },
        };
        parameters.map(of_parameter).max().unwrap_or_default()
    }

    /// What it is worth in a head of which a part could not be read: what would explain a token of
    /// no known form may be missing.
    pub(super) const fn of_partial_head(self) -> Self {
        match self {
            Self::None => Self::Unread,
            Self::Bearer | Self::BearerJwt => Self::Other,
            Self::Unread
            | Self::Other
            | Self::Key
            | Self::GoogleToken
            | Self::AwsSignature
            | Self::AnthropicLogin => self,
        }
    }

    /// The class of a token, by how it begins. Sources: the providers' documentation of their keys;
    /// clients' stored logins.
    fn of_token(token: &[u8]) -> Self {
        const BEGINNINGS: [(&[u8], Scheme); 12] = [
            (b"sk-ant-oat", Scheme::AnthropicLogin),
            (b"sk-", Scheme::Key),
            (b"ya29.", Scheme::GoogleToken),
            (b"AIza", Scheme::Key),
            // Amazon Bedrock's own keys, long-term and short-term.
            (b"ABSK", Scheme::Key),
            (b"bedrock-api-key-", Scheme::Key),
            (b"gsk_", Scheme::Key),
            (b"xai-", Scheme::Key),
            (b"pplx-", Scheme::Key),
            (b"fw_", Scheme::Key),
            (b"nvapi-", Scheme::Key),
            (b"eyJ", Scheme::BearerJwt),
        ];
        let known = BEGINNINGS
            .iter()
            .find(|(beginning, _)| token.starts_with(beginning));
        known.map_or(Self::Bearer, |(_, scheme)| *scheme)
    }
}

/// The class of an `Authorization` field (RFC 9110, section 11.6.2).
fn authorization(value: &[u8]) -> Scheme {
    let mut parts = value.splitn(2, |byte| matches!(byte, b' ' | b'\t'));
    let name = parts.next().unwrap_or_default();
    let token = parts.next().unwrap_or_default().trim_ascii();
    if name.eq_ignore_ascii_case(b"bearer") && !token.is_empty() {
        Scheme::of_token(token)
    } else if name.starts_with(b"AWS4-HMAC-") || name.starts_with(b"AWS4-ECDSA-") {
        Scheme::AwsSignature
    } else {
        Scheme::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands in a place for the secret part.
    const CANARY: &str = "CANARY";

    fn field(name: &str, value: &str) -> Scheme {
        Scheme::of_fields(&[httparse::Header {
            name,
            value: value.as_bytes(),
        }])
    }

    #[test]
    fn a_field_is_reduced_to_the_class_of_its_scheme() {
        for (name, value, expected) in [
            ("Authorization", "Bearer sk-CANARY", Scheme::Key),
            ("authorization", "bearer sk-ant-api03-CANARY", Scheme::Key),
            ("AUTHORIZATION", "Bearer  CANARY", Scheme::Bearer),
            (
                "authorization",
                "Bearer sk-ant-oat01-CANARY",
                Scheme::AnthropicLogin,
            ),
            ("authorization", "Bearer ya29.CANARY", Scheme::GoogleToken),
            ("authorization", "Bearer eyJCANARY", Scheme::BearerJwt),
            ("authorization", "Bearer ABSKCANARY", Scheme::Key),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=CANARY, Signature=CANARY",
                Scheme::AwsSignature,
            ),
            (
                "authorization",
                "AWS4-ECDSA-P256-SHA256 Credential=CANARY",
                Scheme::AwsSignature,
            ),
            ("authorization", "Basic CANARY", Scheme::Other),
            ("authorization", "Bearer", Scheme::Other),
            ("authorization", "Bearer ", Scheme::Other),
            ("authorization", "", Scheme::None),
            ("authorization", "\u{e9}CANARY", Scheme::Other),
            ("x-api-key", "sk-ant-api03-CANARY", Scheme::Key),
            ("X-Api-Key", "CANARY", Scheme::Key),
            ("api-key", "CANARY", Scheme::Key),
            ("x-goog-api-key", "AIzaCANARY", Scheme::Key),
            ("x-goog-api-key", " ", Scheme::None),
            ("Ocp-Apim-Subscription-Key", "CANARY", Scheme::Key),
            (
                "Sec-WebSocket-Protocol",
                "realtime, openai-insecure-api-key.CANARY",
                Scheme::Key,
            ),
            (
                "Sec-WebSocket-Protocol",
                "realtime, openai-beta.realtime-v1",
                Scheme::None,
            ),
            ("proxy-authorization", "Bearer sk-CANARY", Scheme::None),
            ("cookie", "session=CANARY", Scheme::None),
        ] {
            let scheme = field(name, value);
            assert_eq!(scheme, expected, "{name}: {value}");
            assert!(!format!("{scheme:?}").contains(CANARY));
        }
    }

    #[test]
    fn the_field_that_says_most_counts() {
        let header = |name, value: &'static str| httparse::Header {
            name,
            value: value.as_bytes(),
        };
        let both = [
            header("x-api-key", "CANARY"),
            header("authorization", "Bearer sk-ant-oat01-CANARY"),
        ];
        assert_eq!(Scheme::of_fields(&both), Scheme::AnthropicLogin);
        assert_eq!(Scheme::of_fields(&[]), Scheme::None);
    }

    #[test]
    fn a_query_is_reduced_likewise() {
        for (target, expected) in [
            ("/v1beta/models/m:generateContent?key=CANARY", Scheme::Key),
            ("/openai/realtime?api-version=1&api-key=CANARY", Scheme::Key),
            ("/p?access_token=ya29.CANARY", Scheme::GoogleToken),
            ("/p?X-Amz-Signature=CANARY", Scheme::AwsSignature),
            ("/p?key=", Scheme::None),
            ("/p?monkey=CANARY", Scheme::None),
            ("/p#?key=CANARY", Scheme::None),
            ("/p", Scheme::None),
        ] {
            assert_eq!(Scheme::of_target(target), expected, "{target}");
        }
    }

    #[test]
    fn a_head_of_which_a_part_is_missing_has_no_credential_that_is_known_to_be_absent() {
        for (scheme, expected) in [
            (Scheme::None, Scheme::Unread),
            (Scheme::Bearer, Scheme::Other),
            (Scheme::BearerJwt, Scheme::Other),
            (Scheme::Key, Scheme::Key),
            (Scheme::AnthropicLogin, Scheme::AnthropicLogin),
        ] {
            assert_eq!(scheme.of_partial_head(), expected, "{scheme:?}");
        }
    }
}
