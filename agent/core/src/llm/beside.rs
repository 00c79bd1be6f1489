//! What is known of a call beside its tokens: what decides their price, and how sure they are.

use std::fmt;

use super::Usage;

/// Who pays, told by the scheme of the credential alone, never by the credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Credential {
    /// A key of the API: usage is billed at list or negotiated prices.
    ApiKey,
    /// A login of a plan: what a call costs is the list price's equivalent.
    Subscription,
    /// The identity of a cloud account.
    Cloud,
    /// None was sent.
    None,
    /// One was sent that tells nothing, or the head was not read.
    #[default]
    Unknown,
}

impl Credential {
    /// Name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Subscription => "subscription",
            Self::Cloud => "cloud",
            Self::None => "none",
            Self::Unknown => "unknown",
        }
    }
}

/// What decides the price of a call's tokens. The words are the provider's, of the reply: the
/// request only asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Service tier that was served; at most 64 bytes.
    pub service_tier: Option<String>,
    /// Speed that was served, where it is priced apart; at most 64 bytes.
    pub speed: Option<String>,
    /// Region where it ran, or the name for several, as far as it is priced apart; at most 64 bytes.
    pub region: Option<String>,
    /// True for a result of a batch.
    pub is_batch: bool,
    /// Who pays.
    pub credential: Credential,
}

/// What is billed by other units than tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// Web searches by the provider.
    pub web_searches: Option<u64>,
    /// Units of any other kind, which have no price here: images by number, seconds of audio, pages
    /// that were fetched, search units of a reranker.
    pub unpriced: Option<u64>,
}

/// Why a provider ran a model once more inside a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubKind {
    /// The context was summarised.
    Compaction,
    /// Another model was asked for advice.
    Advisor,
    /// A picture was made.
    Image,
}

impl SubKind {
    /// Name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compaction => "compaction",
            Self::Advisor => "advisor",
            Self::Image => "image",
        }
    }
}

/// A model run inside a call that is billed apart: its tokens are in none of the call's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubInference {
    /// Why.
    pub kind: SubKind,
    /// Model, if it is another than the call's; at most 256 bytes.
    pub model: Option<String>,
    /// Tokens.
    pub usage: Usage,
}

impl SubInference {
    /// LIMIT: 64 of one call; a reply claims no more than a few. Those beyond are counted as
    /// `usage_unrecorded`.
    pub const MOST: usize = 64;
}

/// How a number was counted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// By the tokenizer of that name.
    Tiktoken(&'static str),
    /// By a tokenizer that is not the model's, times a factor in thousandths that is known for the
    /// family.
    Ratio {
        /// Family of models.
        family: &'static str,
        /// Factor, in thousandths.
        milli: u32,
    },
    /// The same, with a factor that this host's own reported calls gave.
    Calibrated {
        /// Family of models.
        family: &'static str,
        /// Factor, in thousandths.
        milli: u32,
    },
    /// From the number of bytes.
    Bytes,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let factor = |milli: &u32| f64::from(*milli) / 1_000.0;
        match self {
            Self::Tiktoken(name) => write!(f, "tiktoken:{name}"),
            Self::Ratio { family, milli } => write!(f, "ratio:{family}:{}", factor(milli)),
            Self::Calibrated { family, milli } => {
                write!(f, "calibrated:{family}:{}", factor(milli))
            }
            Self::Bytes => f.write_str("bytes"),
        }
    }
}

/// How far a number that was counted here can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quality {
    /// The model's own tokenizer read all of the text.
    ExactTokenizer,
    /// Off by some per cent.
    Approx,
    /// There may be more: text that was cut, or reasoning that is never shown.
    LowerBound,
}

impl Quality {
    /// Name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExactTokenizer => "exact_tokenizer",
            Self::Approx => "approx",
            Self::LowerBound => "lower_bound",
        }
    }
}

/// How one number of a call was counted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// How.
    pub method: Method,
    /// How well.
    pub quality: Quality,
}

/// The estimates of a call; `None` where the provider reported the number, or nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimates {
    /// Of the input.
    pub input: Option<Estimate>,
    /// Of the output.
    pub output: Option<Estimate>,
}

/// Who ended a reply early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AbortedBy {
    /// The program that asked.
    Client,
    /// The provider, or what lies between.
    Server,
}

impl AbortedBy {
    /// Name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}
