//! Turns the counters of the providers into disjoint token classes.
//!
//! Providers disagree on what a counter includes: Anthropic's `input_tokens` leaves both caches
//! out, OpenAI's `prompt_tokens` has them in. Every counter may be missing or null.

use super::amount::{MAX_UNITS, nanousd, nanousd_of_ticks, whole_units};
use super::json::{Key, Value};
use super::{Units, Usage};

/// LIMIT: tokens that a response may claim as output. Models stop far below; a larger number is
/// refused and counted, so that no sum is ever absurd.
const MAX_OUTPUT: u64 = 10_000_000;

/// LIMIT: tokens that a counter of input may claim; refused and counted beyond. Server-side loops
/// add up many contexts of a million tokens in one counter.
const MAX_INPUT: u64 = 100_000_000;

/// The place of an amount, and how it is read.
type Amount<'a> = (&'a mut Option<u64>, fn(&str) -> Option<u64>);

/// What tokens belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// What the model read.
    Input,
    /// What it wrote.
    Output,
}

/// The counters of one usage object, under the names of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// `input_tokens`.
    pub(crate) input: Option<u64>,
    /// `output_tokens`.
    pub(crate) output: Option<u64>,
    /// `prompt_tokens`, `promptTokenCount`.
    prompt: Option<u64>,
    /// `completion_tokens`, `candidatesTokenCount`.
    completion: Option<u64>,
    /// `total_tokens`, `totalTokenCount`: a check, never a source.
    total: Option<u64>,
    /// `cache_read_input_tokens`.
    cache_read: Option<u64>,
    /// `cache_creation_input_tokens`.
    cache_creation: Option<u64>,
    /// `cache_creation.ephemeral_5m_input_tokens`, a part of the one above.
    ephemeral_5m: Option<u64>,
    /// `cache_creation.ephemeral_1h_input_tokens`, likewise.
    ephemeral_1h: Option<u64>,
    /// `cachedContentTokenCount`, and `cached_tokens` of `prompt_tokens_details`, `input_tokens_details` or, in realtime events,
    /// `input_token_details`.
    cached: Option<u64>,
    /// `prompt_cache_hit_tokens`, DeepSeek's name.
    cache_hit: Option<u64>,
    /// `cache_write_tokens` of the same details.
    cache_write: Option<u64>,
    /// Reasoning or thinking tokens of the output's details, or beside them (Perplexity, Gemini).
    reasoning: Option<u64>,
    /// `toolUsePromptTokenCount`: what tools of the provider added to the input.
    tool_use: Option<u64>,
    /// `ttl_12h_tokens` of `cache_write_tokens_details`, a part of `cache_write`.
    cache_write_12h: Option<u64>,
    /// `audio_tokens` and `image_tokens` of the details of input and output.
    audio_input: Option<u64>,
    audio_output: Option<u64>,
    image_input: Option<u64>,
    image_output: Option<u64>,
    /// `citation_tokens`, Perplexity's name for the text of search results that the model read.
    citation: Option<u64>,
    /// Searches by the provider, whatever they are called.
    searches: Option<u64>,
    /// Seconds of sound, or other units than tokens and searches.
    units: Option<u64>,
    /// What the provider says that the call costs, in billionths of a dollar.
    cost: Option<u64>,
    /// What another provider bills for it, if `has_own_key`.
    upstream_cost: Option<u64>,
    /// `is_byok`: whether a router used a key of its customer, whom the other provider bills.
    has_own_key: bool,
}

/// Members that hold the parts of the input.
macro_rules! input_details {
    () => {
        Key::PromptTokensDetails | Key::InputTokensDetails | Key::InputTokenDetails
    };
}

/// Members that hold the parts of the output.
macro_rules! output_details {
    () => {
        Key::CompletionTokensDetails | Key::OutputTokensDetails | Key::OutputTokenDetails
    };
}

impl Counts {
    /// Reads one value of a usage object; `path` leads there from that object. Returns true if it
    /// is a counter whose value is refused: no plain non-negative integer, or beyond its limit.
    pub(crate) fn read(&mut self, path: &[Key], value: Value<'_>) -> bool {
        if let [Key::IsByok] = path {
            self.has_own_key = matches!(value, Value::Bool(true));
            return false;
        }
        if let Some((slot, amount)) = self.amount(path) {
            // Perplexity has an object where others have a number: what is none is not refused.
            let Value::Number(text) = value else {
                return false;
            };
            *slot = amount(text);
            return slot.is_none();
        }
        let (slot, limit) = match path {
            [Key::InputTokens] => (&mut self.input, MAX_INPUT),
            [Key::OutputTokens] => (&mut self.output, MAX_OUTPUT),
            [Key::PromptTokens | Key::PromptTokenCount] => (&mut self.prompt, MAX_INPUT),
            [Key::CompletionTokens | Key::CandidatesTokenCount] => {
                (&mut self.completion, MAX_OUTPUT)
            }
            [Key::TotalTokens | Key::TotalTokenCount] => (&mut self.total, MAX_INPUT + MAX_OUTPUT),
            [Key::CacheReadInputTokens] => (&mut self.cache_read, MAX_INPUT),
            [Key::CacheCreationInputTokens] => (&mut self.cache_creation, MAX_INPUT),
            [Key::CacheCreation, Key::Ephemeral5m] => (&mut self.ephemeral_5m, MAX_INPUT),
            [Key::CacheCreation, Key::Ephemeral1h] => (&mut self.ephemeral_1h, MAX_INPUT),
            [input_details!(), Key::CachedTokens]
            // Beside the others: Moonshot, Together, the image tool of OpenAI's responses.
            | [Key::CachedContentTokenCount | Key::CachedTokens] => (&mut self.cached, MAX_INPUT),
            [Key::ToolUsePromptTokenCount] => (&mut self.tool_use, MAX_INPUT),
            [Key::PromptCacheHitTokens] => (&mut self.cache_hit, MAX_INPUT),
            // The second is Alibaba's name.
            [
                Key::PromptTokensDetails | Key::InputTokensDetails,
                Key::CacheWriteTokens | Key::CacheCreationInputTokens,
            ] => (&mut self.cache_write, MAX_INPUT),
            [Key::ReasoningTokens | Key::ThoughtsTokenCount]
            | [
                Key::CompletionTokensDetails | Key::OutputTokensDetails,
                Key::ReasoningTokens | Key::ThinkingTokens,
            ] => (&mut self.reasoning, MAX_OUTPUT),
            [
                Key::PromptTokensDetails | Key::InputTokensDetails,
                Key::CacheWriteTokensDetails,
                Key::Ttl12hTokens,
            ] => (&mut self.cache_write_12h, MAX_INPUT),
            [input_details!(), Key::AudioTokens] => (&mut self.audio_input, MAX_INPUT),
            [input_details!(), Key::ImageTokens] => (&mut self.image_input, MAX_INPUT),
            [output_details!(), Key::AudioTokens] => (&mut self.audio_output, MAX_OUTPUT),
            [output_details!(), Key::ImageTokens] => (&mut self.image_output, MAX_OUTPUT),
            [Key::CitationTokens] => (&mut self.citation, MAX_INPUT),
            [Key::NumRequests | Key::NumSearchQueries]
            | [Key::ServerToolUse, Key::WebSearchRequests]
            | [Key::ServerSideToolUsageDetails, Key::WebSearchCalls] => {
                (&mut self.searches, MAX_UNITS)
            }
            _ => return false,
        };
        match value {
            Value::Number(text) => {
                *slot = count(text, limit);
                slot.is_none()
            }
            Value::Begin | Value::Bool(_) | Value::Object | Value::Array => {
                *slot = None;
                true
            }
            // Null is what providers write for "not yet" and "not applicable".
            Value::Null | Value::Name(_) | Value::Piece(_) | Value::End | Value::Close => false,
        }
    }

    /// The place of an amount that need not be whole, and how it is read.
    fn amount(&mut self, path: &[Key]) -> Option<Amount<'_>> {
        Some(match path {
            // OpenRouter; Perplexity; DeepInfra.
            [Key::Cost] | [Key::Cost, Key::TotalCost] | [Key::EstimatedCost] => {
                (&mut self.cost, nanousd)
            }
            [Key::CostInUsdTicks] => (&mut self.cost, nanousd_of_ticks),
            [Key::CostDetails, Key::UpstreamInferenceCost] => (&mut self.upstream_cost, nanousd),
            // Of sound: OpenAI's transcriptions; Mistral.
            [Key::Seconds | Key::PromptAudioSeconds | Key::SearchUnits] => {
                (&mut self.units, whole_units)
            }
            _ => return None,
        })
    }

    /// True if no token is counted.
    pub(crate) fn is_empty(&self) -> bool {
        let beside = Self {
            searches: self.searches,
            units: self.units,
            cost: self.cost,
            upstream_cost: self.upstream_cost,
            has_own_key: self.has_own_key,
            ..Self::default()
        };
        *self == beside
    }

    /// Sets the searches by the provider where no counter says how many there were.
    pub(crate) fn set_searches(&mut self, searches: u64) {
        self.searches.get_or_insert_with(|| searches.min(MAX_UNITS));
    }

    /// Sets the units other than tokens where no counter says how many there were.
    pub(crate) fn set_units(&mut self, units: u64) {
        self.units.get_or_insert_with(|| units.min(MAX_UNITS));
    }

    /// What is billed by other units than tokens.
    pub(crate) fn units(&self) -> Units {
        Units {
            web_searches: self.searches,
            unpriced: self.units,
        }
    }

    /// What the provider says that it costs; with a key of the customer a router bills its own
    /// work, and the provider behind it the rest.
    pub(crate) fn reported_cost(&self) -> Option<u64> {
        let upstream = self.upstream_cost.filter(|_| self.has_own_key);
        match (self.cost, upstream) {
            (Some(cost), Some(upstream)) => Some(cost.saturating_add(upstream)),
            (cost, upstream) => cost.or(upstream),
        }
    }

    /// True if a total was reported that neither the classes nor the two main counters make, or if a
    /// part is larger than its whole. The parts are kept all the same: the total is a check, never a
    /// source.
    pub(crate) fn contradicts(&self, usage: &Usage) -> bool {
        let input = usage.input_uncached.and_then(|_| usage.input());
        let (Some(input), Some(output), Some(total)) = (input, usage.output, self.total) else {
            return false;
        };
        // Perplexity leaves out of its total what it bills apart.
        let counters = [self.prompt.or(self.input), self.completion.or(self.output)];
        let is_total = total == input.saturating_add(output) || total == sum(&counters);
        let is_part = |part: Option<u64>, whole: Option<u64>| {
            part.zip(whole).is_none_or(|(part, whole)| part <= whole)
        };
        let are_parts = is_part(self.cached, self.prompt.or(self.input))
            && is_part(self.reasoning, usage.output);
        !(is_total && are_parts)
    }

    /// Takes over what `later` has, and keeps what it lacks.
    pub(crate) fn overwrite(&mut self, later: &Self) {
        *self = self.zip(later, |earlier, later| later.or(earlier));
    }

    /// Adds what `other` has.
    pub(crate) fn add(&mut self, other: &Self) {
        *self = self.zip(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (one, None) | (None, one) => one,
        });
    }

    fn zip(&self, other: &Self, join: impl Fn(Option<u64>, Option<u64>) -> Option<u64>) -> Self {
        Self {
            input: join(self.input, other.input),
            output: join(self.output, other.output),
            prompt: join(self.prompt, other.prompt),
            completion: join(self.completion, other.completion),
            total: join(self.total, other.total),
            cache_read: join(self.cache_read, other.cache_read),
            cache_creation: join(self.cache_creation, other.cache_creation),
            ephemeral_5m: join(self.ephemeral_5m, other.ephemeral_5m),
            ephemeral_1h: join(self.ephemeral_1h, other.ephemeral_1h),
            cached: join(self.cached, other.cached),
            cache_hit: join(self.cache_hit, other.cache_hit),
            cache_write: join(self.cache_write, other.cache_write),
            reasoning: join(self.reasoning, other.reasoning),
            tool_use: join(self.tool_use, other.tool_use),
            cache_write_12h: join(self.cache_write_12h, other.cache_write_12h),
            audio_input: join(self.audio_input, other.audio_input),
            audio_output: join(self.audio_output, other.audio_output),
            image_input: join(self.image_input, other.image_input),
            image_output: join(self.image_output, other.image_output),
            citation: join(self.citation, other.citation),
            searches: join(self.searches, other.searches),
            units: join(self.units, other.units),
            cost: join(self.cost, other.cost),
            upstream_cost: join(self.upstream_cost, other.upstream_cost),
            has_own_key: self.has_own_key || other.has_own_key,
        }
    }

    /// Adds the tokens of one kind of content to the part that is of that kind; `tokens` holds them
    /// as its total. Text, documents and moving pictures are in no part.
    pub(crate) fn add_modality(&mut self, side: Side, kind: &str, tokens: &Self) {
        let part = match (side, kind.to_ascii_lowercase().as_str()) {
            (Side::Input, "audio") => &mut self.audio_input,
            (Side::Input, "image") => &mut self.image_input,
            (Side::Output, "audio") => &mut self.audio_output,
            (Side::Output, "image") => &mut self.image_output,
            _ => return,
        };
        if let Some(tokens) = tokens.total {
            *part = Some(part.unwrap_or(0).saturating_add(tokens));
        }
    }

    /// Adds what was written to a cache for so long; `tokens` holds it as its input.
    pub(crate) fn add_lifetime(&mut self, ttl: &str, tokens: &Self) {
        let part = match ttl {
            "5m" => &mut self.ephemeral_5m,
            "1h" => &mut self.ephemeral_1h,
            _ => return,
        };
        if let Some(tokens) = tokens.input {
            *part = Some(part.unwrap_or(0).saturating_add(tokens));
        }
    }

    /// What is billed, where nothing else is counted. A total stands for input: it is all that
    /// rerankers report.
    pub(crate) fn billed(&self) -> Self {
        Self {
            input: self.input.or(self.prompt).or(self.total),
            output: self.output,
            ..Self::default()
        }
    }

    /// Gemini's contract: cached content is inside the prompt, what tools added is beside it, and
    /// thoughts are beside what the candidates say.
    pub(crate) fn gemini(&self) -> Usage {
        let input = self.gemini_input();
        let output = match (self.completion, self.reasoning) {
            (None, None) => None,
            (said, thought) => Some(said.unwrap_or(0).saturating_add(thought.unwrap_or(0))),
        };
        Usage {
            input_uncached: input.map(|all| all.saturating_sub(self.cached.unwrap_or(0))),
            cache_read: self.cached,
            output,
            reasoning: self.reasoning,
            audio_input: part(self.audio_input, input),
            audio_output: part(self.audio_output, output),
            image_input: part(self.image_input, input),
            image_output: part(self.image_output, output),
            ..Usage::default()
        }
    }

    /// Says that nothing was generated if Gemini's total is the input alone.
    pub(crate) fn conclude_no_output(&mut self) {
        let input = self.gemini_input();
        let is_empty = self.completion.is_none() && self.reasoning.is_none();
        if is_empty && input.is_some() && input == self.total {
            self.completion = Some(0);
        }
    }

    fn gemini_input(&self) -> Option<u64> {
        self.prompt
            .map(|prompt| prompt.saturating_add(self.tool_use.unwrap_or(0)))
    }

    /// Anthropic's contract: `input_tokens` excludes the caches, the lifetimes split
    /// `cache_creation_input_tokens`, thinking is inside the output.
    pub(crate) fn anthropic(&self) -> Usage {
        let split = self
            .ephemeral_5m
            .unwrap_or(0)
            .saturating_add(self.ephemeral_1h.unwrap_or(0));
        Usage {
            input_uncached: self.input,
            cache_read: self.cache_read,
            cache_write_5m: self.ephemeral_5m,
            cache_write_1h: self.ephemeral_1h,
            cache_write_other: self.cache_creation.map(|all| all.saturating_sub(split)),
            output: self.output,
            reasoning: self
                .reasoning
                .map(|part| part.min(self.output.unwrap_or(part))),
            ..Usage::default()
        }
    }

    /// Bedrock's contract for what a model says in its own format: Anthropic's, unless there are only
    /// counters of OpenAI's chat.
    pub(crate) fn invoked(&self) -> Usage {
        if self.input.is_none() && self.output.is_none() && self.prompt.is_some() {
            self.openai()
        } else {
            self.anthropic()
        }
    }

    /// OpenAI's contract, chat and responses: caches are inside the input, reasoning is inside the
    /// output. Three exceptions are told by the numbers, not by the host:
    /// - the total is input, output *and* reasoning (xAI): reasoning is outside, and is added;
    /// - there are citations (Perplexity's research): they are input that the prompt leaves out, and
    ///   reasoning is outside as well;
    /// - Anthropic's names without OpenAI's (GitHub Copilot): Anthropic's contract holds.
    pub(crate) fn openai(&self) -> Usage {
        let has_anthropic_caches = self.cache_read.is_some() || self.cache_creation.is_some();
        if self.prompt.is_none() && self.cached.is_none() && has_anthropic_caches {
            return self.anthropic();
        }
        let prompt = self.prompt.or(self.input);
        let input = prompt.map(|prompt| prompt.saturating_add(self.citation.unwrap_or(0)));
        let output = self.completion.or(self.output).map(|inside| {
            let outside = self.reasoning_outside(prompt, inside);
            inside.saturating_add(outside)
        });
        let cache_read = self.cached.or(self.cache_hit).or(self.cache_read);
        let cache_write = self.cache_write.or(self.cache_creation);
        let cached = cache_read
            .unwrap_or(0)
            .saturating_add(cache_write.unwrap_or(0));
        Usage {
            input_uncached: input.map(|all| all.saturating_sub(cached)),
            cache_read,
            cache_write_other: cache_write,
            cache_write_12h: part(self.cache_write_12h, cache_write),
            output,
            reasoning: part(self.reasoning, output),
            audio_input: part(self.audio_input, input),
            audio_output: part(self.audio_output, output),
            image_input: part(self.image_input, input),
            image_output: part(self.image_output, output),
            ..Usage::default()
        }
    }

    /// Reasoning that the output leaves out.
    fn reasoning_outside(&self, prompt: Option<u64>, inside: u64) -> u64 {
        let reasoning = self.reasoning.unwrap_or(0);
        let sum = prompt.map(|prompt| prompt.saturating_add(inside).saturating_add(reasoning));
        if self.citation.is_some() || (self.total.is_some() && self.total == sum) {
            reasoning
        } else {
            0
        }
    }

    /// The contract of embeddings: there is input, and nothing is generated.
    pub(crate) fn embeddings(&self) -> Usage {
        let mut counts = *self;
        // Voyage reports the total alone.
        if counts.input.is_none() {
            counts.prompt = counts.prompt.or(counts.total);
        }
        let usage = counts.openai();
        Usage {
            output: usage.output.or_else(|| usage.input_uncached.map(|_| 0)),
            ..usage
        }
    }

    /// The contract of images: what is generated is pictures, unless the details say otherwise.
    pub(crate) fn images(&self) -> Usage {
        let usage = self.openai();
        Usage {
            image_output: usage.image_output.or(usage.output),
            ..usage
        }
    }
}

/// A part, which is at most the whole.
fn part(part: Option<u64>, whole: Option<u64>) -> Option<u64> {
    part.map(|part| part.min(whole.unwrap_or(part)))
}

fn sum(counts: &[Option<u64>]) -> u64 {
    counts
        .iter()
        .flatten()
        .fold(0, |sum, count| sum.saturating_add(*count))
}

/// A count as JSON writes it: digits only. Fractions and exponents are refused even where their
/// value is whole, for no provider writes them and an observer must not round.
fn count(text: &str, limit: u64) -> Option<u64> {
    let is_plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if !is_plain {
        return None;
    }
    text.parse().ok().filter(|count| *count <= limit)
}

#[cfg(test)]
mod tests;
