//! Texts that a TLS library leaves in every file that carries it.

use std::collections::BTreeSet;

use crate::Unreadable;
use crate::image::Image;
use crate::resolution::Family;
use crate::search::Texts;
use crate::source::{Next, Reader};

/// LIMIT: places kept in which texts were found. A program has some dozens of them; in a file with
/// more, what comes after is not looked at.
const MAX_PLACES: usize = 4_096;

/// LIMIT: bytes in front of the end of a path that may belong to it.
const MAX_PATH: u64 = 512;

/// LIMIT: bytes behind a text that are looked at for a version.
const MAX_VERSION: usize = 40;

/// Bytes of a window that belong to the next one, too: no text that is looked for is longer.
const OVERLAP: usize = 64;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// The end of the path of BoringSSL's source file.
    BoringFile,
    /// The name of a function of OpenSSL.
    OpenSslName(Name),
    /// An error text that every version of OpenSSL 3 and 4 has, and one that came with flags.
    OpenSslReason,
    OpenSslFlagReason,
    /// The beginning of OpenSSL's version.
    OpenSslVersion,
    /// A part of the path of rustls, its version behind it.
    RustlsPath,
    /// The end of the path of a source file of AWS-LC.
    AwsLcFile,
    /// An error message of Go's `crypto/tls`.
    GoMessage,
    /// The beginning of mbed TLS's version, but for its first letter.
    MbedTlsVersion,
}

/// A function of OpenSSL whose own name is an argument of its error calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    ReadInternal,
    WriteInternal,
    Read,
    Write,
    New,
    Handshake,
    SetFd,
    Control,
}

const TEXTS: [(&[u8], Mark); 18] = [
    (b"ssl/ssl_lib.cc\0", Mark::BoringFile),
    (
        b"ssl_read_internal\0",
        Mark::OpenSslName(Name::ReadInternal),
    ),
    (
        b"ssl_write_internal\0",
        Mark::OpenSslName(Name::WriteInternal),
    ),
    (b"SSL_read\0", Mark::OpenSslName(Name::Read)),
    (b"SSL_write\0", Mark::OpenSslName(Name::Write)),
    (b"SSL_new\0", Mark::OpenSslName(Name::New)),
    (b"SSL_do_handshake\0", Mark::OpenSslName(Name::Handshake)),
    (b"SSL_set_fd\0", Mark::OpenSslName(Name::SetFd)),
    (b"SSL_set_rfd\0", Mark::OpenSslName(Name::SetFd)),
    (b"SSL_set_wfd\0", Mark::OpenSslName(Name::SetFd)),
    (b"ssl3_ctrl\0", Mark::OpenSslName(Name::Control)),
    (b"protocol is shutdown\0", Mark::OpenSslReason),
    (b"unsupported write flag\0", Mark::OpenSslFlagReason),
    (b"OpenSSL ", Mark::OpenSslVersion),
    (b"/rustls-", Mark::RustlsPath),
    (b"fipsmodule/cipher/aead.c\0", Mark::AwsLcFile),
    (
        b"tls: received unexpected handshake message of type",
        Mark::GoMessage,
    ),
    (b"bed TLS ", Mark::MbedTlsVersion),
];

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// Addresses of the paths of BoringSSL's `ssl_lib.cc`, sorted.
    pub(crate) boring_files: Vec<u64>,
    /// Addresses of the names of OpenSSL's functions, sorted.
    pub(crate) openssl_names: Vec<(u64, Name)>,
    openssl_versions: BTreeSet<String>,
    has_reasons: bool,
    has_flag_reason: bool,
    rustls_versions: BTreeSet<String>,
    mbed_versions: BTreeSet<String>,
    has_aws_lc: bool,
    has_go: bool,
}

/// Searches the constant data of a file.
pub(crate) fn find(image: &Image, reader: &Reader<'_>) -> Result<Marks, Unreadable> {
    let mut places: Vec<(u64, usize)> = Vec::new();
    let mut buffer = Vec::new();
    let texts = Texts::new(TEXTS.iter().map(|(text, _)| *text))?;
    for range in image.constants() {
        reader.windows(
            range.offset,
            range.size,
            OVERLAP,
            &mut buffer,
            |offset, window| {
                let address = range.address + (offset - range.offset);
                places.extend(
                    texts
                        .find_iter(window)
                        .map(|found| (address + found.start() as u64, found.pattern().as_usize())),
                );
                if places.len() < MAX_PLACES {
                    Next::Go
                } else {
                    Next::Stop
                }
            },
        )?;
    }
    places.truncate(MAX_PLACES);
    let mut marks = Marks::default();
    for (address, number) in places {
        if let Some((text, mark)) = TEXTS.get(number) {
            let behind = address + text.len() as u64;
            marks.note(*mark, address, behind, image, reader)?;
        }
    }
    marks.boring_files.sort_unstable();
    marks.boring_files.dedup();
    marks.openssl_names.sort_unstable();
    marks.openssl_names.dedup();
    Ok(marks)
}

impl Marks {
    fn note(
        &mut self,
        mark: Mark,
        address: u64,
        behind: u64,
        image: &Image,
        reader: &Reader<'_>,
    ) -> Result<(), Unreadable> {
        let text = || image.bytes_at(reader, behind, MAX_VERSION);
        match mark {
            Mark::BoringFile => self
                .boring_files
                .push(start_of_path(image, reader, address)?),
            Mark::OpenSslName(name) => self.openssl_names.push((address, name)),
            Mark::OpenSslReason => self.has_reasons = true,
            Mark::OpenSslFlagReason => self.has_flag_reason = true,
            Mark::OpenSslVersion => {
                let text = text()?;
                let (version, rest) = version(&text);
                if is_date(rest) {
                    self.openssl_versions.extend(version);
                }
            }
            Mark::RustlsPath => {
                let text = text()?;
                let (version, rest) = version(&text);
                if rest.first() == Some(&b'/') {
                    self.rustls_versions.extend(version);
                }
            }
            Mark::AwsLcFile => self.has_aws_lc = true,
            Mark::GoMessage => self.has_go = true,
            Mark::MbedTlsVersion => self.mbed_versions.extend(version(&text()?).0),
        }
        Ok(())
    }

    /// Whether the functions are there that error sites of OpenSSL lead to.
    pub(crate) fn has_openssl_names(&self) -> bool {
        let has = |wanted| self.openssl_names.iter().any(|(_, name)| *name == wanted);
        has(Name::ReadInternal) && has(Name::WriteInternal)
    }

    /// Whether OpenSSL's table of error texts, if the file has it, has the one about flags of a write.
    pub(crate) fn knows_write_flags(&self) -> Option<bool> {
        (self.has_reasons || self.has_flag_reason).then_some(self.has_flag_reason)
    }

    /// Major and minor numbers of the versions of OpenSSL that the file mentions.
    pub(crate) fn versions(&self) -> BTreeSet<(u32, u32)> {
        self.openssl_versions
            .iter()
            .filter_map(|version| {
                let mut numbers = version.split('.').map(str::parse);
                Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
            })
            .collect()
    }

    /// Libraries that left their marks.
    pub(crate) fn families(&self) -> impl Iterator<Item = Family> {
        let rustls = if self.has_aws_lc {
            Family::RustlsAwsLc
        } else {
            Family::Rustls
        };
        [
            (!self.boring_files.is_empty(), Family::BoringSsl),
            (self.has_openssl_names(), Family::OpenSsl),
            (!self.rustls_versions.is_empty(), rustls),
            (self.has_go, Family::Go),
            (!self.mbed_versions.is_empty(), Family::MbedTls),
        ]
        .into_iter()
        .filter_map(|(is_there, family)| is_there.then_some(family))
    }

    /// The version of a library, if the file mentions exactly one.
    pub(crate) fn version(&self, family: Family) -> Option<String> {
        let versions = match family {
            Family::OpenSsl => &self.openssl_versions,
            Family::Rustls | Family::RustlsAwsLc => &self.rustls_versions,
            Family::MbedTls => &self.mbed_versions,
            Family::BoringSsl | Family::Go | Family::GnuTls | Family::Nss | Family::WolfSsl => {
                return None;
            }
        };
        let mut versions = versions.iter();
        match (versions.next(), versions.next()) {
            (Some(version), None) => Some(version.clone()),
            _ => None,
        }
    }
}

/// The version that a text begins with, three numbers and what belongs to the last, and the rest.
fn version(text: &[u8]) -> (Option<String>, &[u8]) {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+');
    let length = text.iter().take_while(|byte| is_part(byte)).count();
    let (version, rest) = text.split_at_checked(length).unwrap_or_default();
    let mut numbers = version.split(|byte| *byte == b'.');
    let mut is_number = || {
        numbers
            .next()
            .is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
    };
    let is_version = is_number()
        && is_number()
        && numbers
            .next()
            .is_some_and(|last| last.first().is_some_and(u8::is_ascii_digit));
    let version = is_version
        .then(|| std::str::from_utf8(version).ok())
        .flatten()
        .map(str::to_owned);
    (version, rest)
}

/// Whether a text begins as ` 25 Aug 2026` does: prose about a version has no date behind it.
fn is_date(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text.get(..12).unwrap_or(text)) else {
        return false;
    };
    let mut words = text.split_ascii_whitespace();
    let is_day = words
        .next()
        .is_some_and(|day| day.parse::<u8>().is_ok_and(|day| (1..=31).contains(&day)));
    let is_month = words.next().is_some_and(|month| month.len() == 3);
    text.starts_with(' ') && is_day && is_month
}

/// Where the path begins whose end is at `address`.
fn start_of_path(image: &Image, reader: &Reader<'_>, address: u64) -> Result<u64, Unreadable> {
    let from = image.segment_of(address).map_or(address, |segment| {
        address.saturating_sub(MAX_PATH).max(segment.address)
    });
    let length = usize::try_from(address - from).unwrap_or_default();
    let bytes = image.bytes_at(reader, from, length)?;
    let start = memchr::memrchr(0, &bytes).map_or(0, |zero| zero + 1);
    Ok(from + start as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_ends_where_its_text_does() {
        let all = |text: &'static str| {
            let (version, rest) = version(text.as_bytes());
            (version, std::str::from_utf8(rest).unwrap())
        };
        assert_eq!(
            all("3.6.4 25 Aug 2026"),
            (Some("3.6.4".to_owned()), " 25 Aug 2026")
        );
        assert_eq!(
            all("0.23.46/src/lib.rs"),
            (Some("0.23.46".to_owned()), "/src/lib.rs")
        );
        assert_eq!(all("1.1.1w  11 Sep").0, Some("1.1.1w".to_owned()));
        for prose in ["is used", "3.0 or later", "", "3..1 ", "a.b.c"] {
            assert_eq!(all(prose).0, None, "{prose}");
        }
    }

    #[test]
    fn only_a_date_is_a_date() {
        for date in [" 25 Aug 2026", " 1 Jul 2025\0", "  11 Sep 2023"] {
            assert!(is_date(date.as_bytes()), "{date}");
        }
        for other in ["", " or later", " 99 Aug 2026", "25 Aug 2026", " 3 x"] {
            assert!(!is_date(other.as_bytes()), "{other}");
        }
    }
}
