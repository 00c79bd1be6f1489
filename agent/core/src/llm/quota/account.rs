//! Whose limits they are.

use std::fmt;

use crate::http::Headers;

/// Fields that name an account, the one that pays first; none of them grants access.
const FIELDS: [&str; 3] = [
    "anthropic-organization-id",
    "openai-organization",
    "chatgpt-account-id",
];

/// The id of an account, which leaves the agent only as a keyed hash. It does not show in `Debug`
/// output.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(String);

impl Account {
    /// LIMIT: 128 bytes of an id, made of letters, digits and `-`, `_`, `.`; anything else is none.
    pub fn new(id: &str) -> Option<Self> {
        let is_mark = |byte: u8| matches!(byte, b'-' | b'_' | b'.');
        let is_id = (1..=128).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte));
        is_id.then(|| Self(id.to_owned()))
    }

    /// The account that the fields of a head name.
    pub(in crate::llm) fn of(headers: &Headers) -> Option<Self> {
        let mut values = FIELDS.iter().filter_map(|name| headers.first(name));
        values.find_map(Self::new)
    }

    /// The id, for a hash.
    pub fn id(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Account(…)")
    }
}
