//! What calls cost.

/// How far a cost can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CostStatus {
    /// All that is known to have been used has a price.
    Priced,
    /// There is no price for what was used, or nothing is known to have been used.
    #[default]
    Unpriced,
    /// More was used than has a price, or than is known.
    LowerBound,
    /// A price says that it costs nothing.
    Free,
    /// The provider's own figure; there is no price here.
    ProviderReported,
}

impl CostStatus {
    /// Name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Priced => "priced",
            Self::Unpriced => "unpriced",
            Self::LowerBound => "lower_bound",
            Self::Free => "free",
            Self::ProviderReported => "provider_reported",
        }
    }
}

/// The cost of one call, or of one model that ran inside of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Priced {
    /// Cost in billionths of a US dollar; `None` where there is no price, which is never zero.
    pub cost_nanousd: Option<u64>,
    /// How far it can be trusted.
    pub status: CostStatus,
    /// Key of the price in the ledger; at most 256 bytes.
    pub price_key: Option<String>,
}
