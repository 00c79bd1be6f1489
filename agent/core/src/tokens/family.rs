//! Families of models that share a tokenizer, told by name.

use tiktoken_rs::tokenizer::{Tokenizer, get_tokenizer};

/// A family of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// OpenAI's models up to GPT-4.
    Cl100k,
    /// OpenAI's models since, and every model of which nothing is known.
    O200k,
    /// Claude up to 4.6.
    ClaudeUpTo46,
    /// Claude since 4.7, and Claude models that tell no version.
    ClaudeSince47,
    /// Gemini.
    Gemini,
    /// Open models with a vocabulary of about the same size.
    Open,
}

/// Parts of the names of open models.
const OPEN: [&str; 8] = [
    "llama",
    "qwen",
    "deepseek",
    "mistral",
    "mixtral",
    "codestral",
    "devstral",
    "ministral",
];

impl Family {
    /// The family of a model name, as requested or as served, with or without a maker's prefix.
    pub(super) fn of(model: &str) -> Self {
        let name = model
            .rsplit('/')
            .next()
            .unwrap_or(model)
            .to_ascii_lowercase();
        if name.contains("claude") {
            return match claude_version(&name) {
                Some(version) if version < (4, 7) => Self::ClaudeUpTo46,
                _ => Self::ClaudeSince47,
            };
        }
        if name.contains("gemini") || name.contains("gemma") {
            return Self::Gemini;
        }
        if OPEN.iter().any(|part| name.contains(part)) {
            return Self::Open;
        }
        match get_tokenizer(&name) {
            Some(Tokenizer::Cl100kBase) => Self::Cl100k,
            _ => Self::O200k,
        }
    }

    /// The vocabulary that its text is counted with.
    pub(super) const fn tokenizer(self) -> Tokenizer {
        match self {
            Self::Cl100k => Tokenizer::Cl100kBase,
            Self::O200k | Self::ClaudeUpTo46 | Self::ClaudeSince47 | Self::Gemini | Self::Open => {
                Tokenizer::O200kBase
            }
        }
    }

    /// Turns a count of that vocabulary into one of the family's, rounded up.
    pub(super) fn scale(self, tokens: u64) -> u64 {
        // Measured on whole requests of coding agents.
        let per_mille: u64 = match self {
            Self::Cl100k | Self::O200k => 1000,
            Self::ClaudeUpTo46 => 1150,
            Self::ClaudeSince47 => 1500,
            Self::Gemini => 1100,
            Self::Open => 1050,
        };
        tokens.saturating_mul(per_mille).div_ceil(1000)
    }
}

/// Major and minor version in a name such as `claude-3-5-sonnet-20241022`,
/// `claude-opus-4-6@20260101` or `claude-2.1`.
fn claude_version(name: &str) -> Option<(u32, u32)> {
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
