//! Turns the counters of the providers into disjoint token classes.
//!
//! Providers disagree on what a counter includes: Anthropic's `input_tokens` leaves both caches
//! out, OpenAI's `prompt_tokens` has them in. Every counter may be missing or null.

use super::Usage;
use super::json::{Key, Value};

/// LIMIT: tokens that a response may claim as output. Models stop far below; a larger number is
/// refused and counted, so that no sum is ever absurd.
const MAX_OUTPUT: u64 = 10_000_000;

/// LIMIT: tokens that a counter of input may claim; refused and counted beyond. Server-side loops
/// add up many contexts of a million tokens in one counter.
const MAX_INPUT: u64 = 100_000_000;

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
}

impl Counts {
    /// Reads one value of a usage object; `path` leads there from that object. Returns true if it
    /// is a counter whose value is refused: no plain non-negative integer, or beyond its limit.
    pub(crate) fn read(&mut self, path: &[Key], value: Value<'_>) -> bool {
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
            [
                Key::PromptTokensDetails | Key::InputTokensDetails | Key::InputTokenDetails,
                Key::CachedTokens,
            ]
            | [Key::CachedContentTokenCount] => (&mut self.cached, MAX_INPUT),
            [Key::ToolUsePromptTokenCount] => (&mut self.tool_use, MAX_INPUT),
            [Key::PromptCacheHitTokens] => (&mut self.cache_hit, MAX_INPUT),
            [
                Key::PromptTokensDetails | Key::InputTokensDetails,
                Key::CacheWriteTokens,
            ] => (&mut self.cache_write, MAX_INPUT),
            [Key::ReasoningTokens | Key::ThoughtsTokenCount]
            | [
                Key::CompletionTokensDetails | Key::OutputTokensDetails,
                Key::ReasoningTokens | Key::ThinkingTokens,
            ] => (&mut self.reasoning, MAX_OUTPUT),
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

    /// True if there is no counter at all.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
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

    /// OpenAI's contract, chat and responses: caches are inside the input, reasoning is inside the
    /// output. Two exceptions are told by the numbers, not by the host:
    /// - the total is input, output *and* reasoning (xAI): reasoning is outside, and is added;
    /// - Anthropic's names without OpenAI's (GitHub Copilot): Anthropic's contract holds.
    pub(crate) fn openai(&self) -> Usage {
        let has_anthropic_caches = self.cache_read.is_some() || self.cache_creation.is_some();
        if self.prompt.is_none() && self.cached.is_none() && has_anthropic_caches {
            return self.anthropic();
        }
        let input = self.prompt.or(self.input);
        let mut output = self.completion.or(self.output);
        if let (Some(input), Some(inside), Some(reasoning), Some(total)) =
            (input, output, self.reasoning, self.total)
            && reasoning > 0
            && total == input.saturating_add(inside).saturating_add(reasoning)
        {
            output = Some(inside.saturating_add(reasoning));
        }
        let cache_read = self.cached.or(self.cache_hit).or(self.cache_read);
        let cache_write = self.cache_write.or(self.cache_creation);
        let cached = cache_read
            .unwrap_or(0)
            .saturating_add(cache_write.unwrap_or(0));
        Usage {
            input_uncached: input.map(|all| all.saturating_sub(cached)),
            cache_read,
            cache_write_other: cache_write,
            output,
            reasoning: self.reasoning.map(|part| part.min(output.unwrap_or(part))),
            ..Usage::default()
        }
    }
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
mod tests {
    use super::*;
    use crate::llm::json::Scanner;

    /// Counters of a usage object, and how many were refused.
    fn read(json: &str) -> (Counts, u32) {
        let mut counts = Counts::default();
        let mut refused = 0;
        Scanner::default().push(json.as_bytes(), &mut |path, value| {
            refused += u32::from(counts.read(path, value));
        });
        (counts, refused)
    }

    fn openai(json: &str) -> Usage {
        read(json).0.openai()
    }

    #[test]
    fn trap_1_anthropic_input_leaves_the_caches_out() {
        let (counts, refused) = read(
            r#"{"input_tokens":2801,"cache_creation_input_tokens":9348,"cache_read_input_tokens":17,
                "cache_creation":{"ephemeral_5m_input_tokens":9000,"ephemeral_1h_input_tokens":300},
                "output_tokens":25,"output_tokens_details":{"thinking_tokens":5},
                "server_tool_use":{"web_search_requests":3},"service_tier":"standard","iterations":[]}"#,
        );
        let usage = Usage {
            input_uncached: Some(2801),
            cache_read: Some(17),
            cache_write_5m: Some(9000),
            cache_write_1h: Some(300),
            cache_write_other: Some(48),
            output: Some(25),
            reasoning: Some(5),
            ..Usage::default()
        };
        assert_eq!((counts.anthropic(), refused), (usage, 0));
    }

    #[test]
    fn a_cache_write_without_a_split_is_of_unknown_lifetime() {
        let (counts, _) =
            read(r#"{"input_tokens":1,"cache_creation_input_tokens":10,"output_tokens":2}"#);
        let usage = Usage {
            input_uncached: Some(1),
            cache_write_other: Some(10),
            output: Some(2),
            ..Usage::default()
        };
        assert_eq!(counts.anthropic(), usage);
    }

    #[test]
    fn trap_1_openai_input_has_the_caches_in() {
        let chat = r#"{"prompt_tokens":1129,"completion_tokens":87,"total_tokens":1216,
            "prompt_tokens_details":{"cached_tokens":1024,"cache_write_tokens":5,"audio_tokens":0},
            "completion_tokens_details":{"reasoning_tokens":64,"rejected_prediction_tokens":3}}"#;
        let responses = r#"{"input_tokens":1129,"input_tokens_details":{"cached_tokens":1024,"cache_write_tokens":5,
            "cache_write_tokens_details":{"ttl_30m_tokens":5}},
            "output_tokens":87,"output_tokens_details":{"reasoning_tokens":64},"total_tokens":1216}"#;
        let usage = Usage {
            input_uncached: Some(100),
            cache_read: Some(1024),
            cache_write_other: Some(5),
            output: Some(87),
            reasoning: Some(64),
            ..Usage::default()
        };
        assert_eq!([openai(chat), openai(responses)], [usage; 2]);
    }

    #[test]
    fn subtractions_stop_at_zero() {
        let usage = openai(
            r#"{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":9}}"#,
        );
        assert_eq!((usage.input_uncached, usage.cache_read), (Some(0), Some(9)));
    }

    #[test]
    fn trap_5_reasoning_outside_the_output_is_added_where_the_total_says_so() {
        let with_total = |total: u64| {
            openai(&format!(
                r#"{{"prompt_tokens":10,"completion_tokens":5,"total_tokens":{total},
                "completion_tokens_details":{{"reasoning_tokens":4}}}}"#
            ))
        };
        assert_eq!(with_total(19).output, Some(9));
        assert_eq!(with_total(15).output, Some(5));
        assert_eq!(with_total(99).output, Some(5));
    }

    #[test]
    fn deepseek_cache_hits_are_cache_reads() {
        let usage = openai(
            r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":2}"#,
        );
        assert_eq!((usage.input_uncached, usage.cache_read), (Some(2), Some(8)));
    }

    #[test]
    fn anthropic_names_in_an_openai_shape_are_understood() {
        let plain = openai(r#"{"input_tokens":10,"output_tokens":5}"#);
        assert_eq!((plain.input_uncached, plain.output), (Some(10), Some(5)));
        let cached =
            openai(r#"{"input_tokens":10,"output_tokens":5,"cache_read_input_tokens":90}"#);
        assert_eq!(
            (cached.input_uncached, cached.cache_read),
            (Some(10), Some(90))
        );
    }

    #[test]
    fn null_and_missing_counters_are_unknown_and_not_zero() {
        let (counts, refused) =
            read(r#"{"prompt_tokens":null,"prompt_tokens_details":null,"cost":0.3}"#);
        assert_eq!(
            (counts.is_empty(), counts.openai(), refused),
            (true, Usage::default(), 0)
        );
    }

    #[test]
    fn counters_that_are_no_counts_are_refused_and_counted() {
        let refused = [
            "-1",
            "-0",
            "9223372036854775808",
            "1e308",
            "1e3",
            "3.7",
            "7.0",
            "\"12\"",
            "true",
            "{}",
            "[1]",
            "007",
            "10000001",
            "99999999999999999999999999999999999999999",
        ];
        for text in refused {
            let (counts, refused) = read(&format!(r#"{{"output_tokens":{text}}}"#));
            assert_eq!((counts.is_empty(), refused), (true, 1), "{text}");
        }
        for text in ["0", "10000000"] {
            assert_eq!(
                read(&format!(r#"{{"output_tokens":{text}}}"#)).1,
                0,
                "{text}"
            );
        }
    }

    #[test]
    fn of_two_counters_with_one_name_the_last_counts() {
        assert_eq!(
            read(r#"{"output_tokens":1,"output_tokens":2}"#).0.output,
            Some(2)
        );
    }
}
