//! The figures of the n-th call: all different, so that a mix-up of two calls shows.

use crate::served::{Api, Tokens};

/// What is made up for one call. The same seed and number always give the same figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Number of the call.
    pub number: u64,
    /// Tokens.
    pub usage: Tokens,
    /// Id of the response.
    pub id: String,
    /// Id of the request, in a header or an error.
    pub request_id: String,
    /// Pieces of visible text, one a delta.
    pub deltas: Vec<String>,
    /// Pieces of reasoning, one a delta.
    pub thoughts: Vec<String>,
    /// Padding of a stream's chunks, as OpenAI sends it.
    pub obfuscation: String,
}

/// Words of replies. Some have two, three or four bytes a character, so that cuts fall inside one.
const WORDS: [&str; 12] = [
    "the", "budget", "of", "a", "naïve", "agent", "café", "漢字", "costs", "🙂", "Größe",
    "tokens\n",
];

/// Deltas of a reply where the plan names no number.
const DELTAS: std::ops::RangeInclusive<usize> = 3..=12;

impl Numbers {
    /// The figures of call `number` under `seed`, with `deltas` pieces of text if given.
    pub fn of(seed: u64, number: u64, api: Api, deltas: Option<usize>) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let reasoning = if rng.bool() { rng.u64(1..4_000) } else { 0 };
        // All input stays below 60,000 tokens or so: agents begin to compact a conversation, with
        // calls of its own, when the reported input comes near their model's limit.
        let mut usage = Tokens {
            // The number makes the sum differ from every other call's.
            input_uncached: rng.u64(1..15_000) + number,
            cache_read: rng.u64(0..30_000),
            reasoning,
            output: reasoning + rng.u64(1..5_000),
            ..Tokens::default()
        };
        match api {
            Api::AnthropicMessages => {
                usage.cache_write_5m = rng.u64(0..9_000);
                usage.cache_write_1h = rng.u64(0..9_000);
            }
            Api::OpenAiChat | Api::OpenAiResponses => {
                usage.cache_write_other = rng.u64(0..9_000);
            }
            // Realtime does not tell reasoning from the rest of its output.
            Api::OpenAiRealtime => usage.reasoning = 0,
            Api::BedrockConverse | Api::BedrockInvoke => {
                usage.cache_write_5m = rng.u64(0..9_000);
                usage.cache_write_1h = rng.u64(0..9_000);
            }
            Api::VercelLanguage => usage.cache_write_other = rng.u64(0..9_000),
            Api::GeminiGenerate
            | Api::OpenAiCompletions
            | Api::OpenAiEmbeddings
            | Api::CohereChat
            | Api::OllamaChat => {}
        }
        let usage = api.known(usage);
        let (prefix, digits) = match api {
            Api::AnthropicMessages => ("msg_01", 18),
            Api::OpenAiChat => ("chatcmpl-", 20),
            Api::OpenAiResponses => ("resp_", 40),
            Api::OpenAiRealtime => ("resp_R", 20),
            Api::OpenAiCompletions => ("cmpl-", 20),
            Api::BedrockInvoke => ("msg_bdrk_01", 18),
            Api::VercelLanguage => ("gen_01", 18),
            // Where a reply has no id, it shows in the id of the request alone.
            Api::GeminiGenerate
            | Api::OpenAiEmbeddings
            | Api::BedrockConverse
            | Api::CohereChat
            | Api::OllamaChat => ("", 10),
        };
        let id = format!(
            "{prefix}{}{}{number:06}",
            letters(&mut rng, digits),
            tag(seed)
        );
        let request_id = format!("req_{}{number:06}", letters(&mut rng, 18));
        let count = deltas.unwrap_or_else(|| rng.usize(DELTAS));
        let deltas = (0..count).map(|_| sentence(&mut rng)).collect();
        let thoughts = if usage.reasoning > 0 {
            (0..2).map(|_| sentence(&mut rng)).collect()
        } else {
            Vec::new()
        };
        let padding = rng.usize(1..20);
        let obfuscation = letters(&mut rng, padding);
        Self {
            number,
            usage,
            id,
            request_id,
            deltas,
            thoughts,
            obfuscation,
        }
    }
}

impl Numbers {
    /// The same with other tokens.
    pub fn claiming(mut self, tokens: Tokens) -> Self {
        self.usage = tokens;
        if self.usage.reasoning == 0 {
            self.thoughts.clear();
        } else if self.thoughts.is_empty() {
            self.thoughts.extend(self.deltas.iter().take(2).cloned());
        }
        self
    }
}

/// What all ids under `seed` contain, to tell the calls of one endpoint from those of another on
/// the same host.
pub fn tag(seed: u64) -> String {
    letters(&mut fastrand::Rng::with_seed(seed), 8)
}

fn letters(rng: &mut fastrand::Rng, count: usize) -> String {
    std::iter::repeat_with(|| rng.alphanumeric())
        .take(count)
        .collect()
}

fn sentence(rng: &mut fastrand::Rng) -> String {
    let count = rng.usize(1..8);
    let mut text = String::new();
    for _ in 0..count {
        text.push_str(rng.choice(WORDS).unwrap_or_default());
        text.push(' ');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_same_number_has_the_same_figures() {
        let first = Numbers::of(7, 3, Api::OpenAiChat, None);
        assert_eq!(first, Numbers::of(7, 3, Api::OpenAiChat, None));
    }

    #[test]
    fn reasoning_has_text_where_it_has_tokens() {
        for (reasoning, has_thoughts) in [(0, false), (17, true)] {
            let tokens = Tokens {
                output: 19,
                reasoning,
                ..Tokens::default()
            };
            let numbers = Numbers::of(7, 3, Api::OpenAiChat, Some(4)).claiming(tokens);
            assert_eq!(numbers.usage, tokens);
            assert_eq!(!numbers.thoughts.is_empty(), has_thoughts);
        }
    }

    #[test]
    fn no_two_of_ten_thousand_calls_share_an_id_or_all_their_figures() {
        let mut ids = HashSet::new();
        let mut figures = HashSet::new();
        for number in 0..10_000 {
            let numbers = Numbers::of(7, number, Api::AnthropicMessages, None);
            let usage = numbers.usage;
            assert!(ids.insert(numbers.id));
            assert!(figures.insert((usage.input_uncached, usage.cache_read, usage.output)));
            assert!(usage.reasoning < usage.output);
        }
    }
}
