//! What an event of a stream says about the limits of the account that asked.
//!
//! *Takes* the values of an event `codex.rate_limits`, as ChatGPT's backend sends it between those of a
//! response: over a WebSocket one head stands for many turns, and soon tells what was. *Gives* the same
//! limits as the fields `x-codex-*` of a head. *Remembers* nothing beyond the event. *Nonsense* in a
//! member costs that member, and an event of another quota than that of the plan tells nothing here.
//! Source: what Codex 0.169 reads (`codex-api/src/rate_limits.rs`).

use super::{Limit, Reset, Share, field};
use crate::llm::json::{Key, Scanner, Value};
use crate::llm::provider::Word;

/// Type of the event.
pub(in crate::llm) const TOLD: &str = "codex.rate_limits";

/// The quota that the fields of a head tell of, where an event names one.
const OF_THE_PLAN: &str = "codex";

/// What an event said so far.
#[derive(Default)]
pub(in crate::llm) struct Told {
    primary: Window,
    secondary: Window,
    /// The quota, in two ways; the first one counts.
    metered: Word<64>,
    name: Word<64>,
}

#[derive(Clone, Copy, Default)]
struct Window {
    used: Option<Share>,
    minutes: Option<u64>,
    resets_at: Option<Reset>,
    resets_after: Option<Reset>,
}

impl Told {
    /// Takes a value of the event.
    pub(in crate::llm) fn value(&mut self, path: &[Key], value: Value<'_>) {
        match path {
            [Key::MeteredLimitName] => self.metered.last(value),
            [Key::LimitName] => self.name.last(value),
            [Key::RateLimits, Key::Primary, inner] => self.primary.value(*inner, value),
            [Key::RateLimits, Key::Secondary, inner] => self.secondary.value(*inner, value),
            _ => {}
        }
    }

    /// The limits that it tells.
    pub(in crate::llm) fn limits(&self) -> Vec<Limit> {
        let quota = self.metered.some().or_else(|| self.name.some());
        if quota.is_some_and(|quota| !quota.eq_ignore_ascii_case(OF_THE_PLAN)) {
            return Vec::new();
        }
        let limits = [
            self.primary.limit("codex-primary"),
            self.secondary.limit("codex-secondary"),
        ];
        limits.into_iter().filter(Limit::is_told).collect()
    }
}

impl Window {
    fn value(&mut self, key: Key, value: Value<'_>) {
        let Value::Number(text) = value else {
            return;
        };
        if key == Key::UsedPercent {
            self.used = field::share(text, 100.0);
        } else if key == Key::WindowMinutes {
            self.minutes = field::count(text);
        } else if key == Key::ResetAt {
            self.resets_at = field::reset(text);
        } else if key == Key::ResetAfterSeconds {
            self.resets_after = field::reset(text);
        }
    }

    fn limit(self, name: &'static str) -> Limit {
        let seconds = self.minutes.and_then(|minutes| minutes.checked_mul(60));
        Limit {
            used: self.used,
            resets: self.resets_at.or(self.resets_after),
            ..Limit::named(name, seconds.filter(|seconds| *seconds > 0))
        }
    }
}

/// The limits that a whole event tells.
pub(in crate::llm) fn of_event(event: &[u8]) -> Vec<Limit> {
    let mut told = Told::default();
    let mut scanner = Scanner::default();
    scanner.push(event, &mut |path, value| told.value(path, value));
    if scanner.is_whole() {
        told.limits()
    } else {
        Vec::new()
    }
}
