//! Searches for several texts at once.

use aho_corasick::packed;
use aho_corasick::{AhoCorasick, MatchKind};

use crate::Unreadable;

/// Texts that are looked for: none is empty, and none begins another one.
pub(crate) enum Texts {
    /// With vector instructions.
    Packed(packed::Searcher),
    /// Where the processor has none, or for more texts than they can take.
    Automaton(AhoCorasick),
}

impl Texts {
    pub(crate) fn new<'a>(
        texts: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<Self, Unreadable> {
        if let Some(searcher) = packed::Searcher::new(texts.clone()) {
            return Ok(Self::Packed(searcher));
        }
        AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .build(texts)
            .map(Self::Automaton)
            .map_err(|_too_large| Unreadable::TooLarge)
    }

    /// Where in `bytes` the texts are, each with its number; of two that overlap the first.
    pub(crate) fn find_iter<'a>(
        &'a self,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = aho_corasick::Match> + 'a {
        let (packed, automaton) = match self {
            Self::Packed(searcher) => (Some(searcher.find_iter(bytes)), None),
            Self::Automaton(automaton) => (None, Some(automaton.find_iter(bytes))),
        };
        packed
            .into_iter()
            .flatten()
            .chain(automaton.into_iter().flatten())
    }
}
