//! Posts documents.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, AsSendBody, Error};

use super::{Failure, TIME_LIMIT};

/// LIMIT: bytes of a file with headers.
const HEADERS_BYTES: u64 = 64 << 10;

/// Posts a document, once. Redirects are not followed: nobody but the configured server is told.
///
/// # Errors
/// What went wrong, without any part of `url`.
pub(super) fn post(url: &str, headers_file: Option<&Path>, body: &Value) -> Result<(), Failure> {
    post_as("application/json", url, headers_file, body.to_string())
}

/// The same with a body of this type.
///
/// # Errors
/// What went wrong, without any part of `url`.
pub(crate) fn post_as(
    content_type: &str,
    url: &str,
    headers_file: Option<&Path>,
    body: impl AsSendBody,
) -> Result<(), Failure> {
    let mut request = client(url).post(url).header("content-type", content_type);
    for (name, value) in headers_file.map(headers).transpose()?.unwrap_or_default() {
        request = request.header(name, value);
    }
    match request.send(body) {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(Failure::Status(response.status().as_u16())),
        Err(error) => Err(sorted(error)),
    }
}

/// A client without connections of before: alerts are rare.
fn client(url: &str) -> Agent {
    let config = Agent::config_builder()
        .timeout_global(Some(TIME_LIMIT))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(None)
        .user_agent(concat!("bpftok/", env!("CARGO_PKG_VERSION")));
    // The authorities of the host are read when they are needed first.
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(if url.starts_with("https:") {
            authorities()
        } else {
            RootCerts::new_with_certs(&[])
        })
        .build();
    config.tls_config(tls).build().new_agent()
}

/// The authorities that this host trusts.
fn authorities() -> RootCerts {
    static KNOWN: OnceLock<Arc<Vec<Certificate<'static>>>> = OnceLock::new();
    let known = KNOWN.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            tracing::warn!(
                "this host has no certificates of authorities; no https channel can work"
            );
        }
        let certs = found.certs.iter();
        Arc::new(
            certs
                .map(|cert| Certificate::from_der(cert.as_ref()).to_owned())
                .collect(),
        )
    });
    RootCerts::Specific(Arc::clone(known))
}

/// Reads further headers, each time anew: what they hold may change, and is kept nowhere.
fn headers(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let is_small = fs::metadata(path).map(|file| file.len() <= HEADERS_BYTES);
    let text = match is_small {
        Ok(true) => fs::read_to_string(path).map_err(Failure::Headers)?,
        Ok(false) => return Err(Failure::Headers(io::ErrorKind::FileTooLarge.into())),
        Err(error) => return Err(Failure::Headers(error)),
    };
    let mut headers = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        let header = text
            .split_once(':')
            .map(|(name, value)| (name.trim(), value.trim()));
        let is_header = |(name, value): &(&str, &str)| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
                && value
                    .bytes()
                    .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        };
        let (name, value) = header.filter(is_header).ok_or(Failure::Header { line })?;
        headers.push((name.to_owned(), value.to_owned()));
    }
    Ok(headers)
}

/// What went wrong, in words that have no part of the request.
fn sorted(error: Error) -> Failure {
    match error {
        Error::StatusCode(status) => Failure::Status(status),
        Error::Timeout(_) => Failure::TimedOut,
        Error::HostNotFound => Failure::HostNotFound,
        Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => Failure::TimedOut,
        Error::Io(error)
            if error
                .get_ref()
                .is_some_and(|inner| inner.is::<rustls::Error>()) =>
        {
            Failure::Tls
        }
        Error::Io(error) => Failure::Connection(error.kind()),
        Error::Tls(_) | Error::Rustls(_) | Error::Pem(_) | Error::TlsRequired => Failure::Tls,
        Error::ConnectionFailed => Failure::Connection(io::ErrorKind::NotConnected),
        Error::Http(_)
        | Error::BadUri(_)
        | Error::Protocol(_)
        | Error::RedirectFailed
        | Error::InvalidProxyUrl
        | Error::BodyExceedsLimit(_)
        | Error::TooManyRedirects
        | Error::RequireHttpsOnly(_)
        | Error::LargeResponseHeader(..)
        | Error::ConnectProxyFailed(_)
        | Error::Other(_)
        | _ => Failure::NoHttp,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A file with these lines.
    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn headers_are_read_a_line_each_and_a_wrong_one_shows_its_line_alone() {
        let right = file("# ops\nAuthorization: Bearer canary\n\nX-Team:  a b \n");
        assert_eq!(
            headers(right.path()).unwrap(),
            [
                ("Authorization".to_owned(), "Bearer canary".to_owned()),
                ("X-Team".to_owned(), "a b".to_owned()),
            ]
        );
        for (text, line) in [("A: 1\ncanary", 2), ("A b: canary", 1)] {
            let failure = headers(file(text).path()).unwrap_err();
            let told = format!("line {line} of headers_file is no header");
            assert_eq!(failure.to_string(), told);
        }
    }
}
