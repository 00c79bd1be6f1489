//! What the fields of a header block say (RFC 9113, section 8.3).

use super::hpack::Field;
use crate::http::body::Coding;
use crate::http::credential::CredentialField;
use crate::http::{Headers, RequestHead, Scheme, h1, headers, target};

/// LIMIT: 64 KiB of decoded fields in one head, counted as the protocol does (RFC 9113, section
/// 6.5.2), four times what servers accept by default. Beyond it the stream is not followed; the
/// table is.
const LIST_BYTES: usize = 64 << 10;

/// The name of a field, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Authority,
    Method,
    Path,
    Protocol,
    Status,
    /// `:scheme`, or a pseudo-header field that this code does not know.
    OtherPseudo,
    /// On the list of fields that leave the parser.
    Listed(&'static str),
    /// Holds a credential, of which only the class is read.
    Credential(CredentialField),
    /// Any other; its value is not read.
    Other,
}

impl Name {
    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            b":authority" => Self::Authority,
            b":method" => Self::Method,
            b":path" => Self::Path,
            b":protocol" => Self::Protocol,
            b":status" => Self::Status,
            [b':', ..] => Self::OtherPseudo,
            _ => match (headers::listed(name), CredentialField::of(name)) {
                (Some(name), _) => Self::Listed(name),
                (None, Some(field)) => Self::Credential(field),
                (None, None) => Self::Other,
            },
        }
    }

    /// Whether values of this name are read.
    pub(super) const fn is_read(self) -> bool {
        !matches!(self, Self::OtherPseudo | Self::Credential(_) | Self::Other)
    }
}

/// Which side sends a head, as far as its fields tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Server,
    Unknown,
}

/// The fields of one block.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) method: Option<String>,
    pub(super) path: Option<String>,
    pub(super) model: Option<String>,
    pub(super) status: Option<u16>,
    pub(super) headers: Headers,
    /// The most that the credentials that were read say.
    scheme: Scheme,
    pub(super) has_protocol: bool,
    /// True if a field could not be read; it may have been any.
    pub(super) has_unknown: bool,
    authority: Option<String>,
    has_pseudo: bool,
    coding: Option<Coding>,
    size: usize,
}

impl Fields {
    /// Takes one field.
    pub(super) fn take(&mut self, field: &Field<'_>) {
        self.size = self.size.saturating_add(field.size);
        if self.is_over_limit() {
            return;
        }
        let Some(name) = field.name else {
            self.has_unknown = true;
            return;
        };
        let is_listed = matches!(name, Name::Listed(_) | Name::Credential(_) | Name::Other);
        self.has_pseudo |= !is_listed;
        match name {
            Name::Authority => set(&mut self.authority, authority(field.value)),
            Name::Method => set(&mut self.method, method(field.value)),
            Name::Path => {
                set(&mut self.path, path(field.value));
                let target = String::from_utf8_lossy(field.value);
                self.model = target::model(&target);
                self.scheme = self.scheme.max(Scheme::of_target(&target));
            }
            Name::Status => set(&mut self.status, status(field.value)),
            Name::Protocol => self.has_protocol = true,
            Name::Listed(name) => {
                if name == "content-encoding" {
                    let coding = self.coding.unwrap_or(Coding::Identity);
                    self.coding = Some(coding.with(field.value));
                }
                if let Some(value) = headers::value(field.value) {
                    self.headers.push(name, value);
                }
            }
            Name::Credential(_) => self.scheme = self.scheme.max(field.scheme),
            Name::OtherPseudo | Name::Other => {}
        }
    }

    /// Whether it is larger than a head may be.
    pub(super) const fn is_over_limit(&self) -> bool {
        self.size > LIST_BYTES
    }

    /// Whether it is a head, and no trailer section: that has no pseudo-header fields, and ends its
    /// stream.
    pub(super) const fn is_head(&self, ends_stream: bool) -> bool {
        self.has_pseudo || self.has_unknown && !ends_stream
    }

    pub(super) const fn sender(&self) -> Sender {
        let is_request = self.method.is_some() || self.path.is_some() || self.authority.is_some();
        match (is_request, self.status.is_some()) {
            (true, false) => Sender::Client,
            (false, true) => Sender::Server,
            (true, true) | (false, false) => Sender::Unknown,
        }
    }

    /// How the body is coded.
    pub(super) fn coding(&self) -> Coding {
        self.coding.unwrap_or(if self.has_unknown {
            Coding::Unsaid
        } else {
            Coding::Identity
        })
    }

    /// The head of a request. What could not be read is empty.
    pub(super) fn into_request(self) -> RequestHead {
        let method = self.method.unwrap_or_default();
        let mut path = self.path.unwrap_or_default();
        if path.is_empty()
            && method == "CONNECT"
            && let Some(authority) = &self.authority
        {
            path.clone_from(authority);
        }
        let mut headers = Headers::default();
        // RFC 9113, section 8.3.1: it stands for the Host field, and goes before it.
        if let Some(authority) = self.authority {
            headers.push("host", authority);
        }
        let has_host = headers.first("host").is_some();
        for (name, value) in self.headers.0 {
            if !(has_host && name == "host") {
                headers.push(name, value);
            }
        }
        RequestHead {
            method,
            path,
            model: self.model,
            scheme: if self.has_unknown {
                self.scheme.of_partial_head()
            } else {
                self.scheme
            },
            headers,
        }
    }
}

/// A second value of a pseudo-header field makes a head malformed; the first one holds.
fn set<T>(slot: &mut Option<T>, value: Option<T>) {
    if slot.is_none() {
        *slot = value;
    }
}

fn method(value: &[u8]) -> Option<String> {
    let is_method = !value.is_empty()
        && value.len() <= h1::METHOD_BYTES
        && value.iter().all(u8::is_ascii_graphic);
    is_method.then(|| String::from_utf8_lossy(value).into_owned())
}

fn path(value: &[u8]) -> Option<String> {
    let is_path = !value.is_empty() && value.iter().all(u8::is_ascii_graphic);
    is_path.then(|| target::path(&String::from_utf8_lossy(value)))
}

/// Without user information, which may be a password.
fn authority(value: &[u8]) -> Option<String> {
    let value = headers::value(value)?;
    let host = value
        .rsplit_once('@')
        .map_or(value.as_str(), |(_, host)| host);
    (!host.is_empty()).then(|| host.to_owned())
}

fn status(value: &[u8]) -> Option<u16> {
    let is_status = value.len() == 3 && value.iter().all(u8::is_ascii_digit);
    let status = std::str::from_utf8(value).ok()?.parse().ok()?;
    (is_status && status >= 100).then_some(status)
}
