//! Stage 3b: counts the tokens of finished calls for which the provider reported nothing.
//!
//! *Takes* a finished call. *Gives* the same call, with `estimated` usage where there was none, and
//! how each number was counted. *Remembers* the vocabulary, loaded at first use, and what reported
//! calls say about the families that were counted. *Nonsense* (huge runs without a split) is cut into
//! pieces before the tokenizer sees it. Of a text longer than [`CountedText::MAX_BYTES`] only the
//! beginning is counted, and the rest taken to be like it.
//!
//! A count is exact for text of OpenAI's models up to GPT-5, within some two per cent for a whole chat
//! request of theirs and ten for one with tools. Other families are within about a fifth: their counts
//! are multiples of OpenAI's, by factors that were measured by kind of text and are corrected by this
//! host's own reported calls. Where more may have been used than could be seen (a reply that was cut,
//! reasoning that is not shown, a picture of unknown size, a document, sound) an estimate is marked
//! as a lower bound; reasoning by itself stays unknown. Of pictures the size is known from their
//! header.
//!
//! How the bytes of a call were cut changes nothing: a text is put together first. A text has at most
//! a token for each of its bytes, times the factor, which is at most [`MAX_FACTOR_MILLI`] thousandths;
//! a picture at most 50,000.

mod calibration;
mod family;
mod frame;
mod kind;
mod pictures;

use tiktoken_rs::CoreBPE;
use tiktoken_rs::tokenizer::Tokenizer;

use crate::llm::{
    Countable, CountedText, Estimate, LlmCall, Method, Outcome, Quality, UsageSource,
};
use crate::stats::Stats;
use calibration::{Calibrations, Running};
use family::Family;
use kind::Kind;

/// LIMIT: bytes that the tokenizer gets at once. Its regular expression gives up, with a panic, on
/// a run of a megabyte of blanks, and its merging of one long run leaves the fast caches beyond a
/// kilobyte. A cut costs a token at most, and nothing before the space of a word.
const PIECE_BYTES: usize = 1 << 10;

/// LIMIT: bytes at the end of a piece in which such a space is looked for.
const CUT_SEARCH_BYTES: usize = 256;

/// Tokens of a text from which something is learned: with fewer, what surrounds it decides.
const LEAST_INPUT: u64 = 1000;
const LEAST_OUTPUT: u64 = 200;

/// LIMIT: the largest factor, in thousandths; it is beyond the largest that was measured, doubled.
pub const MAX_FACTOR_MILLI: u32 = 5000;

/// Which vocabularies there is memory for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Vocabularies {
    /// Those that are needed, some 35 MB each.
    #[default]
    Loaded,
    /// None: tokens are taken from the lengths of texts, and nothing is learned.
    Spared,
}

/// The stage.
#[derive(Default)]
pub struct Tokens {
    learned: Calibrations,
    vocabularies: Vocabularies,
}

/// A text's tokens, and how they were counted.
#[derive(Clone, Copy)]
struct Counted {
    tokens: u64,
    estimate: Estimate,
}

impl Counted {
    /// The same, where it may not be all.
    const fn lower_bound_if(mut self, there_may_be_more: bool) -> Self {
        if there_may_be_more {
            self.estimate.quality = Quality::LowerBound;
        }
        self
    }
}

impl Tokens {
    /// A stage that has loaded and learned nothing.
    pub const fn new() -> Self {
        Self {
            learned: Calibrations::new(),
            vocabularies: Vocabularies::Loaded,
        }
    }

    /// Uses no more than these vocabularies.
    #[must_use]
    pub const fn with_vocabularies(mut self, vocabularies: Vocabularies) -> Self {
        self.vocabularies = vocabularies;
        self
    }

    /// Counts what the provider did not report, or learns from what it did, and drops the text. A
    /// partial report keeps its label and gets only the output that it lacks.
    pub fn count(&mut self, mut call: LlmCall, stats: &mut Stats) -> LlmCall {
        match (call.countable.take(), call.usage_source) {
            (None, _) => {}
            (Some(countable), UsageSource::Provider) => match self.vocabularies {
                Vocabularies::Loaded => self.learn(&call, &countable),
                Vocabularies::Spared => {}
            },
            (
                Some(countable),
                UsageSource::ProviderPartial | UsageSource::Estimated | UsageSource::None,
            ) => self.fill(&mut call, &countable, stats),
        }
        match call.usage_source {
            UsageSource::Provider => stats.calls_usage_provider += 1,
            UsageSource::ProviderPartial => stats.calls_usage_partial += 1,
            UsageSource::Estimated => stats.calls_usage_estimated += 1,
            UsageSource::None => stats.calls_usage_none += 1,
        }
        call
    }

    fn fill(&mut self, call: &mut LlmCall, countable: &Countable, stats: &mut Stats) {
        let vocabularies = self.vocabularies;
        let mut counted = |family, correction, text: &CountedText| match vocabularies {
            Vocabularies::Loaded => counted(family, correction, text),
            Vocabularies::Spared => {
                stats.texts_without_vocabulary += 1;
                measured(family, text)
            }
        };
        // Fields, not `LlmCall::model`: the usage beside them is written while it is borrowed.
        let model = call
            .model_served
            .as_deref()
            .or(call.model_requested.as_deref())
            .unwrap_or_default();
        let family = Family::of(model);
        let learned = family.has_factors().then(|| self.learned.wanted(family));
        // No text is no answer: unknown, not zero.
        if call.usage.output.is_none() && countable.output.seen_bytes() > 0 {
            let is_cut = call.outcome != Outcome::Complete;
            let is_hidden = hides_reasoning(model, countable);
            let correction = learned.map(|sides| &sides.output);
            let output =
                counted(family, correction, &countable.output).lower_bound_if(is_cut || is_hidden);
            call.usage.output = Some(output.tokens);
            call.estimates.output = Some(output.estimate);
        }
        if call.usage_source != UsageSource::None {
            return;
        }
        let has_input = countable.input.seen_bytes() > 0 || !countable.pictures.known().is_empty();
        if !countable.input_is_partial && has_input {
            let added = frame::added(call.endpoint, model, family, countable);
            let shown = pictures::shown(model, &countable.pictures);
            let correction = learned.map(|sides| &sides.input);
            let mut input =
                counted(family, correction, &countable.input).lower_bound_if(shown.has_more);
            let is_exact = added.is_exact && shown.tokens == 0;
            if !is_exact && input.estimate.quality == Quality::ExactTokenizer {
                input.estimate.quality = Quality::Approx;
            }
            let tokens = input.tokens.saturating_add(added.tokens);
            call.usage.input_uncached = Some(tokens.saturating_add(shown.tokens));
            call.usage.image_input = (shown.tokens > 0 && !shown.has_more).then_some(shown.tokens);
            call.estimates.input = Some(input.estimate);
        }
        if call.usage.output.is_some() || call.usage.input_uncached.is_some() {
            call.usage_source = UsageSource::Estimated;
        }
    }

    /// Compares what the provider reported with what would have been counted, if it is wanted and
    /// nothing but text was in it.
    fn learn(&mut self, call: &LlmCall, countable: &Countable) {
        let model = call.model().unwrap_or_default();
        let family = Family::of(model);
        let usage = &call.usage;
        let is_none = |number: Option<u64>| number.unwrap_or(0) == 0;
        let (pictures, units) = (&countable.pictures, &call.units);
        // What a search found is input, too.
        let is_plain_input = !countable.input_is_partial
            && countable.input.is_whole()
            && pictures.known().is_empty()
            && pictures.unknown() == 0
            && is_none(usage.audio_input)
            && is_none(usage.image_input)
            && is_none(units.web_searches);
        let is_plain_output = countable.output.is_whole()
            && !hides_reasoning(model, countable)
            && is_none(usage.reasoning)
            && is_none(usage.audio_output)
            && is_none(usage.image_output);
        let input = countable.input.kept_bytes() as u64;
        let output = countable.output.kept_bytes() as u64;
        let input = if is_plain_input { input } else { 0 };
        let output = if is_plain_output { output } else { 0 };
        // A text has no more tokens than bytes.
        if input < LEAST_INPUT && output < LEAST_OUTPUT {
            return;
        }
        let bytes = input.saturating_add(output);
        let Some(sides) = self.learned.learning(family, call.ended, bytes) else {
            return;
        };
        if input >= LEAST_INPUT
            && let Some(reported) = usage.input()
        {
            let expected = counted(family, None, &countable.input).tokens;
            let added = frame::added(call.endpoint, model, family, countable);
            if expected >= LEAST_INPUT {
                let reported = reported.saturating_sub(added.tokens);
                sides.input.push(reported, expected);
            }
        }
        if output >= LEAST_OUTPUT
            && let Some(reported) = usage.output
        {
            let expected = counted(family, None, &countable.output).tokens;
            if expected >= LEAST_OUTPUT {
                sides.output.push(reported, expected);
            }
        }
    }
}

/// Whether a reply may leave out reasoning that was generated.
fn hides_reasoning(model: &str, countable: &Countable) -> bool {
    countable.has_hidden_reasoning || family::hides_reasoning(model)
}

const fn approx(tokens: u64, method: Method) -> Counted {
    Counted {
        tokens,
        estimate: Estimate {
            method,
            quality: Quality::Approx,
        },
    }
}

/// The tokens of a text by its length.
fn measured(family: Family, text: &CountedText) -> Counted {
    let tokens = scaled(text.seen_bytes(), 1000, family.bytes_per_thousand());
    approx(tokens, Method::Bytes)
}

/// The tokens of a text. What was not kept is taken to be like the rest.
fn counted(family: Family, learned: Option<&Running>, text: &CountedText) -> Counted {
    let seen = text.seen_bytes();
    let Some((tokens, bytes)) = counted_by_tokenizer(family, text) else {
        return measured(family, text);
    };
    let tokens = scaled(tokens, seen.max(bytes), bytes);
    let Some(milli) = family.factor(Kind::of(text.parts())) else {
        let mut counted = approx(tokens, Method::Tiktoken(family.name()));
        if family.is_exact() && text.is_whole() {
            counted.estimate.quality = Quality::ExactTokenizer;
        }
        return counted;
    };
    let family = family.name();
    let (milli, method) = match learned.and_then(|learned| learned.corrected(milli)) {
        Some(milli) => {
            let milli = milli.min(MAX_FACTOR_MILLI);
            (milli, Method::Calibrated { family, milli })
        }
        None => (milli, Method::Ratio { family, milli }),
    };
    approx(scaled(tokens, u64::from(milli), 1000), method)
}

/// The tokens of what was kept of a text in OpenAI's vocabulary, and its bytes; `None` if nothing
/// was kept.
fn counted_by_tokenizer(family: Family, text: &CountedText) -> Option<(u64, u64)> {
    let mut parts = text.parts().peekable();
    parts.peek()?;
    let vocabulary = vocabulary(family.tokenizer())?;
    let (mut tokens, mut bytes) = (0_u64, 0_u64);
    for part in parts {
        bytes = bytes.saturating_add(part.len() as u64);
        for piece in pieces(part) {
            tokens = tokens.saturating_add(vocabulary.count_ordinary(piece) as u64);
        }
    }
    Some((tokens, bytes))
}

/// A number times a fraction, rounded up.
fn scaled(number: u64, numerator: u64, denominator: u64) -> u64 {
    let product = u128::from(number) * u128::from(numerator);
    u64::try_from(product.div_ceil(u128::from(denominator.max(1)))).unwrap_or(u64::MAX)
}

/// A vocabulary, loaded at its first use.
fn vocabulary(tokenizer: Tokenizer) -> Option<&'static CoreBPE> {
    tiktoken_rs::bpe_for_tokenizer(tokenizer).ok()
}

/// Cuts a text into pieces that the tokenizer can take, where tokens end anyway if possible.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, tail) = rest.split_at_checked(cut(rest)).unwrap_or((rest, ""));
        rest = tail;
        Some(piece)
    })
}

/// Where to end the first piece of a text.
fn cut(text: &str) -> usize {
    if text.len() <= PIECE_BYTES {
        return text.len();
    }
    let bytes = text.as_bytes();
    let is_space = |at: usize| bytes.get(at) == Some(&b' ');
    let is_blank = |at: usize| bytes.get(at).is_none_or(u8::is_ascii_whitespace);
    let word_end = (PIECE_BYTES - CUT_SEARCH_BYTES..=PIECE_BYTES)
        .rev()
        .find(|at| is_space(*at) && !is_blank(at.saturating_sub(1)));
    word_end.unwrap_or_else(|| text.floor_char_boundary(PIECE_BYTES))
}

#[cfg(test)]
mod tests;
