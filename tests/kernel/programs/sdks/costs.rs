//! What the calls of the SDKs cost by the providers' own pages. The prices are written down here and
//! multiplied here: nothing is taken from the list that the agent has.

use super::Step;

/// What the ledger must say of the cost of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// In billionths of a dollar; `None` without a price, which is never 0.
    pub(super) nanousd: Option<u64>,
    pub(super) status: Option<String>,
    /// What the reply itself says.
    pub(super) reported_nanousd: Option<u64>,
    /// Who pays, as the credential tells.
    pub(super) billing_kind: String,
}

/// Prices of a provider's model.
struct Price {
    provider: &'static str,
    model: &'static str,
    /// Tiers that cost so much; an empty one is a reply that names none.
    tiers: &'static [&'static str],
    /// Uncached input, reads of a cache, writes for five minutes, an hour and another time, and
    /// output, in billionths of a dollar per million tokens. `None` is what the page has no price
    /// for.
    rates: [Option<u64>; 6],
    /// True if the tier costs more than the page says of the model.
    is_least: bool,
}

/// A price whose page is silent about what is `None`.
const fn price(
    provider: &'static str,
    model: &'static str,
    tiers: &'static [&'static str],
    rates: [Option<u64>; 6],
) -> Price {
    Price {
        provider,
        model,
        tiers,
        rates,
        is_least: false,
    }
}

/// Claude Sonnet 4.6 from Anthropic: writes of a cache are 1.25 and 2 times the input, reads a tenth
/// (platform.claude.com, "Pricing"). Tokens of the priority tier are paid for in advance and have no
/// price of their own; they are counted at the standard one.
const SONNET: [Option<u64>; 6] = [
    Some(3_000_000_000),
    Some(300_000_000),
    Some(3_750_000_000),
    Some(6_000_000_000),
    None,
    Some(15_000_000_000),
];

/// The same from a profile of Bedrock that keeps calls in one geography, a tenth more (the same page;
/// aws.amazon.com/bedrock/pricing).
const SONNET_IN_US: [Option<u64>; 6] = [
    Some(3_300_000_000),
    Some(330_000_000),
    Some(4_125_000_000),
    Some(6_600_000_000),
    None,
    Some(16_500_000_000),
];

/// GPT-5 mini (developers.openai.com, "Pricing"); models before GPT-5.6 have no price of writes.
const GPT_5_MINI: [Option<u64>; 6] = [
    Some(250_000_000),
    Some(25_000_000),
    None,
    None,
    None,
    Some(2_000_000_000),
];

const PRICES: &[Price] = &[
    price(
        "anthropic",
        "claude-sonnet-4-6",
        &["standard", "priority"],
        SONNET,
    ),
    price(
        "bedrock",
        "us.anthropic.claude-sonnet-4-6",
        &[""],
        SONNET_IN_US,
    ),
    // AWS bills a premium for the tier that no price list of a model has.
    Price {
        is_least: true,
        ..price(
            "bedrock",
            "us.anthropic.claude-sonnet-4-6",
            &["priority"],
            SONNET_IN_US,
        )
    },
    price("openai", "gpt-5-mini", &["default"], GPT_5_MINI),
    // Half the price, to the half of a cent.
    price(
        "openai",
        "gpt-5-mini",
        &["flex"],
        [
            Some(125_000_000),
            Some(12_500_000),
            None,
            None,
            None,
            Some(1_000_000_000),
        ],
    ),
    price(
        "openai",
        "gpt-5",
        &["default"],
        [
            Some(1_250_000_000),
            Some(125_000_000),
            None,
            None,
            None,
            Some(10_000_000_000),
        ],
    ),
    // Twice the price.
    price(
        "openai",
        "gpt-5",
        &["priority"],
        [
            Some(2_500_000_000),
            Some(250_000_000),
            None,
            None,
            None,
            Some(20_000_000_000),
        ],
    ),
    price(
        "openai",
        "gpt-3.5-turbo-instruct",
        &[""],
        [
            Some(1_500_000_000),
            None,
            None,
            None,
            None,
            Some(2_000_000_000),
        ],
    ),
    price(
        "openai",
        "text-embedding-3-small",
        &[""],
        [Some(20_000_000), None, None, None, None, None],
    ),
    // ai.google.dev, "Gemini Developer API pricing", prompts of up to 200 000 tokens. The list of the
    // agent has no price of flex for it, and a cheaper tier is never priced as the standard one.
    price(
        "google",
        "gemini-2.5-pro",
        &[""],
        [
            Some(1_250_000_000),
            Some(125_000_000),
            None,
            None,
            None,
            Some(10_000_000_000),
        ],
    ),
    // docs.mistral.ai, "Pricing".
    price(
        "mistral",
        "mistral-large-2512",
        &[""],
        [
            Some(500_000_000),
            None,
            None,
            None,
            None,
            Some(1_500_000_000),
        ],
    ),
    // cohere.com/pricing.
    price(
        "cohere",
        "command-a-03-2025",
        &[""],
        [
            Some(2_500_000_000),
            None,
            None,
            None,
            None,
            Some(10_000_000_000),
        ],
    ),
    // groq.com/pricing; flex costs what on-demand does (console.groq.com, "Flex Processing").
    price(
        "groq",
        "openai/gpt-oss-120b",
        &["on_demand", "flex"],
        [
            Some(150_000_000),
            Some(75_000_000),
            None,
            None,
            None,
            Some(600_000_000),
        ],
    ),
    // Vercel charges what the provider does (vercel.com/docs/ai-gateway/pricing).
    price("vercel", "openai/gpt-5-mini", &[""], GPT_5_MINI),
];

/// What the endpoint says, as Vercel's gateway, that each call costs: "0.0012345" dollars.
const GATEWAY_NANOUSD: u64 = 1_234_500;

impl Step {
    /// The cost of a call that used the tokens of these columns.
    pub(super) fn cost(&self, columns: &[u64; 7]) -> Cost {
        let tier = self.tier.unwrap_or_default();
        let price = PRICES.iter().find(|price| {
            (price.provider, price.model) == (self.provider, self.model)
                && price.tiers.contains(&tier)
        });
        let (nanousd, status) = match price {
            Some(price) => price.of(columns),
            None => (None, "unpriced"),
        };
        Cost {
            nanousd,
            status: Some(status.to_owned()),
            reported_nanousd: (self.provider == "vercel").then_some(GATEWAY_NANOUSD),
            billing_kind: match self.provider {
                // It is signed for with the identity of an account.
                "bedrock" => "cloud",
                _ => "api_key",
            }
            .to_owned(),
        }
    }
}

impl Price {
    /// The products, added up and divided once, to the nearest; and how far that can be trusted.
    fn of(&self, columns: &[u64; 7]) -> (Option<u64>, &'static str) {
        let billed = columns.iter().zip(self.rates);
        let mut sum = 0_u128;
        let mut is_least = self.is_least;
        for (tokens, rate) in billed {
            match rate {
                Some(rate) => sum += u128::from(*tokens) * u128::from(rate),
                None => is_least |= *tokens > 0,
            }
        }
        let nanousd = u64::try_from((sum + 500_000) / 1_000_000).unwrap();
        let status = if is_least { "lower_bound" } else { "priced" };
        (Some(nanousd), status)
    }
}
