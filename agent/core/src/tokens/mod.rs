//! Stage 3b: counts the tokens of finished calls for which the provider reported nothing.
//!
//! *Takes* a finished call. *Gives* the same call, with `estimated` usage where there was none.
//! *Remembers* only the vocabulary, loaded at first use. *Nonsense* (huge runs without a split) is
//! cut into pieces before the tokenizer sees it. Of a text longer than
//! [`CountedText::MAX_BYTES`] only the beginning is counted, and the rest taken to be like it.
//!
//! A count is exact for text of OpenAI's models, within a few per cent for a whole chat request of
//! theirs, and within about a fifth for other families, whose vocabularies are not public: their
//! counts are multiples of OpenAI's, measured on agent traffic. Reasoning that is not shown, and
//! pictures, are not counted, so an estimate is rather too low.

mod family;

use tiktoken_rs::CoreBPE;
use tiktoken_rs::tokenizer::Tokenizer;

use crate::llm::{Countable, CountedText, Endpoint, LlmCall, UsageSource};
use crate::stats::Stats;
use family::Family;

/// LIMIT: bytes that the tokenizer gets at once. Its regular expression gives up, with a panic, on
/// a run of a megabyte of blanks, and its merging of one long run leaves the fast caches beyond a
/// kilobyte. A cut costs a token at most, and nothing before the space of a word.
const PIECE_BYTES: usize = 1 << 10;

/// LIMIT: bytes at the end of a piece in which such a space is looked for.
const CUT_SEARCH_BYTES: usize = 256;

/// Bytes a token, where text was measured and not kept.
const BYTES_PER_TOKEN: u64 = 4;

/// The stage.
#[derive(Default)]
pub struct Tokens {
    o200k: Option<&'static CoreBPE>,
    cl100k: Option<&'static CoreBPE>,
}

impl Tokens {
    /// A stage that has loaded nothing.
    pub const fn new() -> Self {
        Self {
            o200k: None,
            cl100k: None,
        }
    }

    /// Counts what the provider did not report, and drops the text. A partial report keeps its
    /// label and gets only the output that it lacks.
    pub fn count(&mut self, mut call: LlmCall, stats: &mut Stats) -> LlmCall {
        if let Some(countable) = call.countable.take() {
            self.fill(&mut call, &countable);
        }
        match call.usage_source {
            UsageSource::Provider => stats.calls_usage_provider += 1,
            UsageSource::ProviderPartial => stats.calls_usage_partial += 1,
            UsageSource::Estimated => stats.calls_usage_estimated += 1,
            UsageSource::None => stats.calls_usage_none += 1,
        }
        call
    }

    fn fill(&mut self, call: &mut LlmCall, countable: &Countable) {
        let model = call
            .model_served
            .as_deref()
            .or(call.model_requested.as_deref());
        let family = Family::of(model.unwrap_or_default());
        // No text is no answer: unknown, not zero.
        if call.usage.output.is_none() && countable.output.seen_bytes() > 0 {
            call.usage.output = Some(family.scale(self.tokens(family, &countable.output)));
        }
        if call.usage_source != UsageSource::None {
            return;
        }
        if !countable.input_is_partial && countable.input.seen_bytes() > 0 {
            let text = family.scale(self.tokens(family, &countable.input));
            let frame = frame(call.endpoint, countable.messages);
            call.usage.input_uncached = Some(text.saturating_add(frame));
        }
        if call.usage.output.is_some() || call.usage.input_uncached.is_some() {
            call.usage_source = UsageSource::Estimated;
        }
    }

    /// Tokens of a text in OpenAI's vocabulary. What was not kept is taken to be like the rest.
    fn tokens(&mut self, family: Family, text: &CountedText) -> u64 {
        let Some(vocabulary) = self.vocabulary(family.tokenizer()) else {
            return text.seen_bytes().div_ceil(BYTES_PER_TOKEN);
        };
        let mut tokens: u64 = 0;
        let mut bytes: u64 = 0;
        for part in text.parts() {
            bytes = bytes.saturating_add(part.len() as u64);
            for piece in pieces(part) {
                tokens = tokens.saturating_add(vocabulary.count_ordinary(piece) as u64);
            }
        }
        if bytes == 0 {
            return text.seen_bytes().div_ceil(BYTES_PER_TOKEN);
        }
        let scaled =
            u128::from(tokens) * u128::from(text.seen_bytes().max(bytes)) / u128::from(bytes);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }

    fn vocabulary(&mut self, tokenizer: Tokenizer) -> Option<&'static CoreBPE> {
        let slot = if tokenizer == Tokenizer::Cl100kBase {
            &mut self.cl100k
        } else {
            &mut self.o200k
        };
        if slot.is_none() {
            *slot = tiktoken_rs::bpe_for_tokenizer(tokenizer).ok();
        }
        *slot
    }
}

/// Tokens around the text of a prompt: the marks of messages and of the reply.
fn frame(endpoint: Endpoint, messages: u32) -> u64 {
    match endpoint {
        // The OpenAI cookbook, "How to count tokens with tiktoken": three for each message, whose
        // role is in the text, and three for the reply.
        Endpoint::OpenAiChat => u64::from(messages).saturating_mul(3).saturating_add(3),
        // Measured on single messages.
        Endpoint::AnthropicMessages => 7,
        // Not documented.
        Endpoint::OpenAiResponses
        | Endpoint::OpenAiRealtime
        | Endpoint::OpenAiCompact
        | Endpoint::OpenAiDecisions
        | Endpoint::OpenAiSpeech
        | Endpoint::GeminiGenerate
        | Endpoint::GeminiInteractions
        | Endpoint::GeminiLive
        | Endpoint::BedrockConverse
        | Endpoint::BedrockInvoke
        | Endpoint::CohereChat
        | Endpoint::MistralConversations
        | Endpoint::OllamaChat
        | Endpoint::VercelLanguage => 0,
        // No frame is around a text that is no message.
        Endpoint::OpenAiCompletions
        | Endpoint::OpenAiEmbeddings
        | Endpoint::OpenAiImages
        | Endpoint::OpenAiTranscription
        | Endpoint::GeminiEmbed
        | Endpoint::VertexPredict
        | Endpoint::CohereEmbed
        | Endpoint::CohereRerank
        | Endpoint::OllamaGenerate
        | Endpoint::OllamaEmbed
        | Endpoint::VercelEmbedding
        | Endpoint::VercelImage
        | Endpoint::VercelReranking => 0,
    }
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
