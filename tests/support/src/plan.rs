//! How one reply is to be sent.
//!
//! A client names a plan in the path, because every SDK lets its user choose a base URL:
//! `/plan/WORDS/v1/...`, or in the header `x-test-plan`. Words are joined by dots:
//! `gzip.chunked.split-1`. [`Plan`] parses and prints them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// Compression of a reply's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// None.
    #[default]
    Identity,
    /// gzip (RFC 1952).
    Gzip,
    /// zlib, which HTTP calls deflate (RFC 9110 section 8.4.1.2).
    Deflate,
    /// Brotli (RFC 7932).
    Brotli,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Encoding {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Identity,
        Self::Gzip,
        Self::Deflate,
        Self::Brotli,
        Self::Zstd,
    ];

    /// Name in `content-encoding`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

/// How the end of a reply's body is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Chunked for a stream, a length else.
    #[default]
    Usual,
    /// `content-length`.
    Length,
    /// Chunked, one chunk for each part of the body.
    Chunked,
    /// Chunked, in chunks of so many bytes, whatever lies in them.
    ChunkedEvery(usize),
    /// The connection's end.
    Close,
}

/// Where a reply is cut into writes. Each write is a TLS record of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Split {
    /// After the head and after each part of the body, as servers do.
    #[default]
    Usual,
    /// Nowhere: one write.
    Whole,
    /// After every so many bytes, also inside characters and chunk headers.
    Every(usize),
    /// At places that follow from the call's number.
    Random,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// The answer is an error of this status.
    Status(u16),
    /// The stream ends in an error event after so many deltas.
    ErrorAfter(usize),
    /// The connection is dropped after so many deltas; in the middle of a body that is no stream.
    AbortAfter(usize),
}

impl Fault {
    /// Status of a refusal.
    pub const fn status(self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(status),
            Self::None | Self::ErrorAfter(_) | Self::AbortAfter(_) => None,
        }
    }
}

/// How one reply is to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Plan {
    /// Compression.
    pub encoding: Encoding,
    /// Framing.
    pub framing: Framing,
    /// Cuts.
    pub split: Split,
    /// Wait before each part of the body but the first.
    pub delay: Duration,
    /// Pieces of text in the reply; by the call's number if `None`.
    pub deltas: Option<usize>,
    /// Whether the reply names the very model that was requested.
    pub echoes_model: bool,
    /// Fault.
    pub fault: Fault,
}

/// LIMIT: deltas of one reply, 100,000 (about 3 MB of text); a plan that asks for more is refused.
const MAX_DELTAS: usize = 100_000;

/// LIMIT: wait before a part, ten seconds; a plan that asks for more is refused.
const MAX_DELAY_MS: u64 = 10_000;

impl FromStr for Plan {
    type Err = anyhow::Error;

    fn from_str(words: &str) -> Result<Self, Self::Err> {
        let mut plan = Self::default();
        for word in words.split('.').filter(|word| !word.is_empty()) {
            let (name, value) = match word.split_once('-') {
                Some((name, value)) => {
                    let value: u64 = value.parse().with_context(|| format!("plan word {word}"))?;
                    (name, Some(value))
                }
                None => (word, None),
            };
            let count = || usize::try_from(value.unwrap_or(0)).context("a count of a plan");
            match (name, value) {
                ("identity", None) => plan.encoding = Encoding::Identity,
                ("gzip", None) => plan.encoding = Encoding::Gzip,
                ("deflate", None) => plan.encoding = Encoding::Deflate,
                ("br", None) => plan.encoding = Encoding::Brotli,
                ("zstd", None) => plan.encoding = Encoding::Zstd,
                ("echo", None) => plan.echoes_model = true,
                ("length", None) => plan.framing = Framing::Length,
                ("chunked", None) => plan.framing = Framing::Chunked,
                ("chunked", Some(1..)) => plan.framing = Framing::ChunkedEvery(count()?),
                ("close", None) => plan.framing = Framing::Close,
                ("whole", None) => plan.split = Split::Whole,
                ("split", Some(1..)) => plan.split = Split::Every(count()?),
                ("random", None) => plan.split = Split::Random,
                ("delay", Some(ms @ 0..=MAX_DELAY_MS)) => plan.delay = Duration::from_millis(ms),
                ("deltas", Some(_)) if count()? <= MAX_DELTAS => plan.deltas = Some(count()?),
                ("status", Some(status @ 400..=599)) => {
                    plan.fault = Fault::Status(u16::try_from(status)?);
                }
                ("error", Some(_)) => plan.fault = Fault::ErrorAfter(count()?),
                ("abort", Some(_)) => plan.fault = Fault::AbortAfter(count()?),
                _ => bail!("unknown plan word {word}"),
            }
        }
        Ok(plan)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.encoding.as_str())?;
        match self.framing {
            Framing::Usual => {}
            Framing::Length => write!(f, ".length")?,
            Framing::Chunked => write!(f, ".chunked")?,
            Framing::ChunkedEvery(bytes) => write!(f, ".chunked-{bytes}")?,
            Framing::Close => write!(f, ".close")?,
        }
        match self.split {
            Split::Usual => {}
            Split::Whole => write!(f, ".whole")?,
            Split::Every(bytes) => write!(f, ".split-{bytes}")?,
            Split::Random => write!(f, ".random")?,
        }
        if !self.delay.is_zero() {
            write!(f, ".delay-{}", self.delay.as_millis())?;
        }
        if let Some(deltas) = self.deltas {
            write!(f, ".deltas-{deltas}")?;
        }
        if self.echoes_model {
            write!(f, ".echo")?;
        }
        match self.fault {
            Fault::None => Ok(()),
            Fault::Status(status) => write!(f, ".status-{status}"),
            Fault::ErrorAfter(deltas) => write!(f, ".error-{deltas}"),
            Fault::AbortAfter(deltas) => write!(f, ".abort-{deltas}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plans() -> impl Strategy<Value = Plan> {
        let encoding = prop::sample::select(Encoding::ALL.to_vec());
        let framing = prop_oneof![
            Just(Framing::Usual),
            Just(Framing::Length),
            Just(Framing::Chunked),
            (1_usize..99).prop_map(Framing::ChunkedEvery),
            Just(Framing::Close),
        ];
        let split = prop_oneof![
            Just(Split::Usual),
            Just(Split::Whole),
            (1_usize..99).prop_map(Split::Every),
            Just(Split::Random),
        ];
        let fault = prop_oneof![
            Just(Fault::None),
            (400_u16..600).prop_map(Fault::Status),
            (0_usize..9).prop_map(Fault::ErrorAfter),
            (0_usize..9).prop_map(Fault::AbortAfter),
        ];
        let deltas = prop::option::of(0_usize..99);
        (
            encoding,
            framing,
            split,
            0_u64..99,
            deltas,
            any::<bool>(),
            fault,
        )
            .prop_map(
                |(encoding, framing, split, ms, deltas, echoes_model, fault)| Plan {
                    encoding,
                    framing,
                    split,
                    delay: Duration::from_millis(ms),
                    deltas,
                    echoes_model,
                    fault,
                },
            )
    }

    proptest! {
        #[test]
        fn a_printed_plan_parses_to_itself(plan in plans()) {
            prop_assert_eq!(plan.to_string().parse::<Plan>().unwrap(), plan);
        }
    }

    #[test]
    fn unknown_words_and_numbers_out_of_range_are_refused() {
        for words in [
            "lzma",
            "split-0",
            "split",
            "status-200",
            "deltas-100001",
            "gzip-1",
            "delay-x",
        ] {
            assert!(words.parse::<Plan>().is_err(), "{words}");
        }
    }
}
