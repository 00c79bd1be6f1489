//! Families of models that share a tokenizer, told by name.

use tiktoken_rs::tokenizer::{Tokenizer, get_tokenizer};

use super::kind::Kind;

/// A family of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    /// OpenAI's models up to GPT-4, and their embeddings.
    Cl100k,
    /// OpenAI's models since.
    O200k,
    /// OpenAI's open models: the same vocabulary with other special tokens.
    O200kHarmony,
    /// Claude up to 4.6.
    ClaudeUpTo46,
    /// Claude since 4.7, and Claude models that tell no version.
    ClaudeSince47,
    /// Gemini and Gemma.
    Gemini,
    /// Llama since 3, and what was trained from it.
    Llama,
    /// DeepSeek since V3.
    DeepSeek,
    /// Qwen.
    Qwen,
    /// Mistral.
    Mistral,
    /// Any model of which nothing is known, OpenAI's newest among them.
    Other,
}

/// Parts of the names of open models. What was distilled into another model has the other's
/// vocabulary, and both names: so DeepSeek is looked for last.
const OPEN: [(&str, Family); 9] = [
    ("llama", Family::Llama),
    ("qwen", Family::Qwen),
    ("qwq", Family::Qwen),
    ("mistral", Family::Mistral),
    ("mixtral", Family::Mistral),
    ("codestral", Family::Mistral),
    ("devstral", Family::Mistral),
    ("ministral", Family::Mistral),
    ("deepseek", Family::DeepSeek),
];

/// Tokens of a family's vocabulary for a thousand of `o200k_base`, by kind of text.
struct Factors {
    mixed: u32,
    prose: u32,
    code: u32,
    data: u32,
    latin: u32,
    han: u32,
    kana: u32,
}

// Measured: the open vocabularies with their own tokenizers; Claude's, which is not public, with a
// reconstruction of it. Mixed text is a whole request of a coding agent, code that of Python,
// TypeScript and Rust, text in other Latin letters than English German.
const CLAUDE_UP_TO_46: Factors = Factors {
    mixed: 1150,
    prose: 1050,
    code: 1300,
    data: 1210,
    latin: 1760,
    han: 1430,
    kana: 1150,
};
const CLAUDE_SINCE_47: Factors = Factors {
    mixed: 1500,
    prose: 1400,
    code: 1750,
    data: 1470,
    latin: 2330,
    han: 1430,
    kana: 1150,
};
const GEMINI: Factors = Factors {
    mixed: 1100,
    prose: 1010,
    code: 1210,
    data: 1280,
    latin: 1000,
    han: 780,
    kana: 740,
};
const LLAMA: Factors = Factors {
    mixed: 1000,
    prose: 1000,
    code: 1000,
    data: 1000,
    latin: 1350,
    han: 1020,
    kana: 1000,
};
const DEEPSEEK: Factors = Factors {
    mixed: 1040,
    prose: 1010,
    code: 1080,
    data: 1090,
    latin: 1270,
    han: 710,
    kana: 940,
};
const QWEN: Factors = Factors {
    mixed: 1040,
    prose: 1010,
    code: 1010,
    data: 1090,
    latin: 1350,
    han: 760,
    kana: 910,
};

impl Factors {
    const fn of(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Mixed => self.mixed,
            Kind::Prose => self.prose,
            Kind::Code => self.code,
            Kind::Data => self.data,
            Kind::Latin => self.latin,
            Kind::Han => self.han,
            Kind::Kana => self.kana,
        }
    }
}

impl Family {
    /// The family of a model name, as requested or as served, with or without a maker's prefix.
    pub(super) fn of(model: &str) -> Self {
        let name = plain_name(model);
        if name.contains("claude") {
            return match claude_version(&name) {
                Some(version) if version < (4, 7) => Self::ClaudeUpTo46,
                _ => Self::ClaudeSince47,
            };
        }
        if name.contains("gemini") || name.contains("gemma") {
            return Self::Gemini;
        }
        if let Some((_, family)) = OPEN.iter().find(|(part, _)| name.contains(part)) {
            return *family;
        }
        if name.starts_with("gpt-oss") {
            return Self::O200kHarmony;
        }
        match get_tokenizer(&name) {
            Some(Tokenizer::O200kBase) => Self::O200k,
            Some(Tokenizer::O200kHarmony) => Self::O200kHarmony,
            Some(Tokenizer::Cl100kBase) => Self::Cl100k,
            // LIMIT: two vocabularies, of some 35 MB each once loaded. The models of the older ones
            // are no longer served.
            Some(
                Tokenizer::P50kBase | Tokenizer::P50kEdit | Tokenizer::R50kBase | Tokenizer::Gpt2,
            )
            | None => Self::Other,
        }
    }

    /// Name in the ledger: of the tokenizer if it is the family's, else of the family.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Cl100k => "cl100k_base",
            Self::O200k | Self::Other => "o200k_base",
            Self::O200kHarmony => "o200k_harmony",
            Self::ClaudeUpTo46 => "claude-4.6",
            Self::ClaudeSince47 => "claude-4.7",
            Self::Gemini => "gemini",
            Self::Llama => "llama",
            Self::DeepSeek => "deepseek",
            Self::Qwen => "qwen",
            Self::Mistral => "mistral",
        }
    }

    /// The vocabulary that its text is counted with. That of the open models of OpenAI differs in
    /// special tokens alone, which no text has.
    pub(super) const fn tokenizer(self) -> Tokenizer {
        match self {
            Self::Cl100k => Tokenizer::Cl100kBase,
            Self::O200k
            | Self::O200kHarmony
            | Self::ClaudeUpTo46
            | Self::ClaudeSince47
            | Self::Gemini
            | Self::Llama
            | Self::DeepSeek
            | Self::Qwen
            | Self::Mistral
            | Self::Other => Tokenizer::O200kBase,
        }
    }

    /// Whether that vocabulary is known to be its own.
    pub(super) const fn is_exact(self) -> bool {
        matches!(self, Self::Cl100k | Self::O200k | Self::O200kHarmony)
    }

    /// Factor in thousandths that turns a count of that vocabulary into one of the family's; `None`
    /// where no other than one is known.
    pub(super) const fn factor(self, kind: Kind) -> Option<u32> {
        Some(match self {
            Self::Cl100k | Self::O200k | Self::O200kHarmony | Self::Other => return None,
            Self::ClaudeUpTo46 => CLAUDE_UP_TO_46.of(kind),
            Self::ClaudeSince47 => CLAUDE_SINCE_47.of(kind),
            Self::Gemini => GEMINI.of(kind),
            Self::Llama => LLAMA.of(kind),
            Self::DeepSeek => DEEPSEEK.of(kind),
            Self::Qwen => QWEN.of(kind),
            // Not measured; about that of its likes.
            Self::Mistral => 1050,
        })
    }

    /// Whether its counts are multiples of another's.
    pub(super) const fn has_factors(self) -> bool {
        self.factor(Kind::Mixed).is_some()
    }

    /// Bytes of text that have a thousand tokens, where no text was kept: agent traffic.
    pub(super) const fn bytes_per_thousand(self) -> u64 {
        match self {
            Self::Cl100k | Self::O200k | Self::O200kHarmony | Self::Other => 4300,
            Self::ClaudeUpTo46 => 3800,
            Self::ClaudeSince47 => 2800,
            Self::Gemini => 4000,
            Self::Llama | Self::DeepSeek | Self::Qwen | Self::Mistral => 4100,
        }
    }
}

/// Whether a model may reason at length and not show it, so that what it shows is the least of what
/// it generated. Claude's replies tell by themselves.
pub(super) fn hides_reasoning(model: &str) -> bool {
    let name = plain_name(model);
    let name = name.strip_prefix("ft:").unwrap_or(&name);
    let is_o = ["o1", "o3", "o4"].iter().any(|series| {
        name.strip_prefix(series)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    });
    let generation = |prefix: &str| {
        let (_, rest) = name.split_once(prefix)?;
        let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
        let major: u32 = numbers.next()?.parse().ok()?;
        let minor = rest
            .contains('.')
            .then(|| numbers.next()?.parse::<u32>().ok())
            .flatten();
        Some((major, minor.unwrap_or(0)))
    };
    let is_gpt = generation("gpt-").is_some_and(|version| version >= (5, 0));
    let is_gemini = name.contains("gemini-")
        && generation("gemini-").is_none_or(|version| version >= (2, 5))
        && !name.contains("embedding");
    let is_grok = name.starts_with("grok-4") || name.starts_with("grok-3-mini");
    is_o || is_gpt && !name.contains("-chat")
        || is_gemini
        || is_grok
        || name.starts_with("codex-mini")
}

/// The name without the maker before it and the variant behind it, in small letters.
pub(super) fn plain_name(model: &str) -> String {
    let name = model
        .rsplit('/')
        .next()
        .unwrap_or(model)
        .to_ascii_lowercase();
    if name.starts_with("ft:") {
        return name;
    }
    name.split(':').next().unwrap_or_default().to_owned()
}

/// Major and minor version in a name such as `claude-3-5-sonnet-20241022`,
/// `claude-opus-4-6@20260101` or `claude-2.1`.
pub(super) fn claude_version(name: &str) -> Option<(u32, u32)> {
    let (_, rest) = name.split_once("claude")?;
    let mut parts = rest.split(|c: char| !c.is_ascii_alphanumeric());
    // Longer numbers are dates.
    let number = |part: &str| {
        if part.len() <= 2 {
            part.parse().ok()
        } else {
            None
        }
    };
    let major = parts.by_ref().find_map(number)?;
    let minor = parts.next().and_then(number).unwrap_or(0);
    Some((major, minor))
}
