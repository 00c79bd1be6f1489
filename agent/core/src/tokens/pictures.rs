//! Tokens of pictures, by the formulas that the providers document or third parties measured. They
//! are within a tenth, save where the provider decides how much of a picture is looked at.

use super::family::{self, Family};
use crate::llm::{Detail, Picture, Pictures};

/// Tokens of all pictures of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// Of those whose size is known.
    pub(super) tokens: u64,
    /// Whether there are others, or other content that is no text.
    pub(super) has_more: bool,
}

/// The tokens of the pictures of a prompt to that model.
pub(super) fn shown(model: &str, pictures: &Pictures) -> Shown {
    let mut shown = Shown {
        tokens: 0,
        has_more: pictures.unknown() > 0,
    };
    let formula = Formula::of(model);
    for (picture, number) in pictures.known() {
        match &formula {
            Some(formula) => {
                let tokens = formula.tokens(*picture).saturating_mul(u64::from(*number));
                shown.tokens = shown.tokens.saturating_add(tokens);
            }
            None => shown.has_more = true,
        }
    }
    shown
}

/// How a model turns a picture into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Formula {
    /// A base, and more for each square of 512 pixels of what fits 2048 by 2048 with a short side of
    /// 768: <https://platform.openai.com/docs/guides/images-vision>, "Calculating costs".
    Tiles { base: u64, tile: u64 },
    /// Squares of 32 pixels, up to a number, times a factor in thousandths: the same page.
    Patches { most: u64, milli: u64 },
    /// A token for 750 pixels of what fits 1568 by 1568:
    /// <https://docs.anthropic.com/en/docs/build-with-claude/vision>.
    Area,
    /// Squares of 28 pixels of what fits 2576 by 2576.
    Squares,
    /// 258, or so many for each square of 768 pixels of what fits 3072 by 3072:
    /// <https://ai.google.dev/gemini-api/docs/tokens>.
    Crops,
    /// The same for every picture.
    Fixed(u64),
}

/// LIMIT: patches of a picture of twelve megapixels; a larger one is taken to be scaled down. It
/// keeps what a header of a few bytes can claim within what providers take.
const MOST_PATCHES: u64 = 12_000_000 / (32 * 32);

impl Formula {
    fn of(model: &str) -> Option<Self> {
        let name = family::plain_name(model);
        match Family::of(model) {
            Family::ClaudeUpTo46 => return Some(Self::Area),
            Family::ClaudeSince47 => return Some(Self::Squares),
            Family::Gemini => return Self::of_gemini(&name),
            Family::Cl100k
            | Family::O200k
            | Family::O200kHarmony
            | Family::Llama
            | Family::DeepSeek
            | Family::Qwen
            | Family::Mistral
            | Family::Other => {}
        }
        let name = name.strip_prefix("ft:").unwrap_or(&name);
        let formula = OPENAI
            .iter()
            .find(|(start, _)| name.starts_with(start))
            .map(|(_, formula)| *formula);
        // The small ones of a series are counted apart, whatever stands between.
        let is_small = |part: &str| name.contains(part);
        match formula {
            Some(Self::Tiles { base: 70, .. }) if is_small("-mini") => {
                Some(Self::patches(MOST_PATCHES, 1200))
            }
            Some(Self::Tiles { base: 70, .. }) if is_small("-nano") => {
                Some(Self::patches(MOST_PATCHES, 1500))
            }
            other => other,
        }
    }

    fn of_gemini(name: &str) -> Option<Self> {
        let (_, rest) = name.split_once("gemini-")?;
        Some(match rest.as_bytes().first() {
            Some(b'1') => Self::Fixed(258),
            Some(b'2') => Self::Crops,
            _ => Self::Fixed(1090),
        })
    }

    const fn patches(most: u64, milli: u64) -> Self {
        Self::Patches { most, milli }
    }

    fn tokens(self, picture: Picture) -> u64 {
        let (width, height) = (u64::from(picture.width), u64::from(picture.height));
        match self {
            Self::Tiles { base, .. } if picture.detail == Detail::Low => base,
            Self::Tiles { base, tile } => {
                let (width, height) = within(width, height, 2048);
                let short = width.min(height);
                let (width, height) = if short > 768 {
                    (width * 768 / short, height * 768 / short)
                } else {
                    (width, height)
                };
                base + tile * squares(width, height, 512)
            }
            Self::Patches { most, milli } => {
                (squares(width, height, 32).min(most) * milli).div_ceil(1000)
            }
            Self::Area => {
                let (width, height) = within(width, height, 1568);
                (width * height).div_ceil(750).min(1570)
            }
            Self::Squares => {
                let (width, height) = within(width, height, 2576);
                squares(width, height, 28).min(4784)
            }
            Self::Crops if width <= 384 && height <= 384 => 258,
            Self::Crops => {
                let (width, height) = within(width, height, 3072);
                258 * squares(width, height, 768)
            }
            Self::Fixed(tokens) => tokens,
        }
    }
}

/// By the beginning of the name; the first that fits counts.
const OPENAI: [(&str, Formula); 17] = [
    (
        "gpt-4o-mini",
        Formula::Tiles {
            base: 2833,
            tile: 5667,
        },
    ),
    (
        "gpt-4o",
        Formula::Tiles {
            base: 85,
            tile: 170,
        },
    ),
    (
        "chatgpt-4o",
        Formula::Tiles {
            base: 85,
            tile: 170,
        },
    ),
    ("gpt-4.1-mini", Formula::patches(1536, 1620)),
    ("gpt-4.1-nano", Formula::patches(1536, 2460)),
    (
        "gpt-4.1",
        Formula::Tiles {
            base: 85,
            tile: 170,
        },
    ),
    (
        "gpt-4.5",
        Formula::Tiles {
            base: 85,
            tile: 170,
        },
    ),
    (
        "gpt-4-turbo",
        Formula::Tiles {
            base: 85,
            tile: 170,
        },
    ),
    ("o4-mini", Formula::patches(1536, 1720)),
    (
        "o1",
        Formula::Tiles {
            base: 75,
            tile: 150,
        },
    ),
    (
        "o3",
        Formula::Tiles {
            base: 75,
            tile: 150,
        },
    ),
    (
        "gpt-5.1",
        Formula::Tiles {
            base: 70,
            tile: 140,
        },
    ),
    ("gpt-5.", Formula::patches(MOST_PATCHES, 1200)),
    ("gpt-5-nano", Formula::patches(MOST_PATCHES, 1500)),
    ("gpt-5-mini", Formula::patches(MOST_PATCHES, 1200)),
    (
        "gpt-5",
        Formula::Tiles {
            base: 70,
            tile: 140,
        },
    ),
    ("gpt-6", Formula::patches(MOST_PATCHES, 1200)),
];

/// The sizes of a picture that is scaled down until both sides fit.
fn within(width: u64, height: u64, side: u64) -> (u64, u64) {
    let long = width.max(height);
    if long <= side {
        (width, height)
    } else {
        ((width * side / long).max(1), (height * side / long).max(1))
    }
}

/// Squares that cover a picture.
const fn squares(width: u64, height: u64, side: u64) -> u64 {
    width.div_ceil(side) * height.div_ceil(side)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(model: &str, width: u32, height: u32, detail: Detail) -> Option<u64> {
        let picture = Picture {
            width,
            height,
            detail,
        };
        Formula::of(model).map(|formula| formula.tokens(picture))
    }

    #[test]
    fn pictures_have_the_documented_tokens() {
        for (model, width, height, expected) in [
            ("gpt-4o", 1024, 1024, 765),
            ("gpt-4o-2024-08-06", 2048, 4096, 1105),
            ("gpt-4o", 100, 100, 255),
            ("openai/gpt-4.1", 1024, 1024, 765),
            ("gpt-4o-mini", 1024, 1024, 2833 + 4 * 5667),
            ("o3", 1024, 1024, 675),
            ("gpt-5", 1024, 1024, 630),
            ("gpt-5.1-codex", 1024, 1024, 630),
            ("gpt-4.1-mini", 1024, 1024, 1659),
            ("gpt-4.1-nano", 4096, 4096, 3779),
            ("o4-mini", 1024, 1024, 1762),
            ("gpt-5-mini", 1024, 1024, 1229),
            ("gpt-5.1-mini", 1024, 1024, 1229),
            ("gpt-5.6", 1024, 1024, 1229),
            ("gpt-6", 1024, 1024, 1229),
            ("claude-sonnet-4-5", 1000, 1000, 1334),
            ("claude-sonnet-4-5", 8000, 8000, 1570),
            ("claude-opus-5-5", 1024, 1024, 1369),
            ("claude-opus-5-5", 1920, 1080, 2691),
            ("claude-opus-5-5", 8000, 8000, 4784),
            ("gemini-1.5-pro", 4000, 3000, 258),
            ("gemini-2.5-flash", 384, 384, 258),
            ("gemini-2.5-flash", 1024, 1024, 1032),
            ("gemini-3-pro-preview", 1024, 1024, 1090),
        ] {
            assert_eq!(
                tokens(model, width, height, Detail::Auto),
                Some(expected),
                "{model} {width} by {height}"
            );
        }
        assert_eq!(tokens("gpt-4o", 4000, 4000, Detail::Low), Some(85));
        for model in ["llama-3.2-vision", "unheard-of", "gpt-3.5-turbo", ""] {
            assert_eq!(tokens(model, 100, 100, Detail::Auto), None, "{model}");
        }
    }

    #[test]
    fn no_size_has_no_tokens_or_more_than_any_provider_takes() {
        let sides = [1, 2, 27, 383, 511, 2049, 40_000, Picture::MAX_SIDE];
        let models = OPENAI.iter().map(|(start, _)| *start);
        for model in models.chain(["claude-3-opus", "claude-opus-5-5", "gemini-2.5-pro"]) {
            for (width, height) in sides.iter().flat_map(|a| sides.iter().map(|b| (*a, *b))) {
                let tokens = tokens(model, width, height, Detail::High);
                assert!(
                    tokens.is_some_and(|tokens| (1..=50_000).contains(&tokens)),
                    "{model} {width} by {height}: {tokens:?}"
                );
            }
        }
    }
}
