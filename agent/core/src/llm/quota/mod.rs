//! What a response says about the limits of the account that asked, in fields of its head or in an
//! event.
//!
//! *Takes* the head of a response, or an event of [`told`]. *Gives* the limits that it names, at most [`Limit::MOST`], under
//! names of a fixed table. *Remembers* nothing. *Nonsense* in a field costs that field: a limit of
//! which nothing is left is none. No plan is ever guessed, and what is not said is unknown.

mod account;
mod book;
mod field;
mod forms;
#[cfg(test)]
mod tests;
mod told;

pub use account::Account;
pub(super) use book::Book;
pub(super) use told::{TOLD, Told, of_event};

use super::Provider;
use crate::event::Timestamp;
use crate::http::ResponseHead;

/// Status of a request that was refused because a limit was reached (RFC 6585, section 4).
const TOO_MANY_REQUESTS: u16 = 429;

/// LIMIT: 86,400 s before and 400 days after a response may what it limits begin anew; the longest
/// window of a plan is a year. Any other moment is none.
const PAST_MS: i64 = 86_400_000;
const FUTURE_MS: i64 = 400 * 86_400_000;

/// One limit as a response told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Name, from a fixed table, made of the provider's words.
    pub name: &'static str,
    /// Time that the limit is for, in seconds.
    pub window_seconds: Option<u64>,
    /// What is used of it, as told, or else by what is left.
    pub used: Option<Share>,
    /// The limit.
    pub limit: Option<u64>,
    /// What is left of it.
    pub remaining: Option<u64>,
    /// When it begins anew.
    pub resets: Option<Reset>,
}

impl Limit {
    /// LIMIT: 16 limits of one response; providers send up to six. Those beyond are left out.
    pub const MOST: usize = 16;

    /// A limit of which nothing is known.
    const fn named(name: &'static str, window_seconds: Option<u64>) -> Self {
        Self {
            name,
            window_seconds,
            used: None,
            limit: None,
            remaining: None,
            resets: None,
        }
    }

    /// Whether the response said something of it.
    const fn is_told(&self) -> bool {
        self.used.is_some()
            || self.limit.is_some()
            || self.remaining.is_some()
            || self.resets.is_some()
    }

    /// When it begins anew, in milliseconds since the Unix epoch, if the response came at
    /// `observed_unix_ms` and that makes sense.
    pub fn resets_unix_ms(&self, observed_unix_ms: i64) -> Option<i64> {
        let unix_ms = match self.resets? {
            Reset::At { unix_ms } => unix_ms,
            Reset::After { ms } => observed_unix_ms.checked_add(i64::try_from(ms).ok()?)?,
        };
        let away_ms = unix_ms.checked_sub(observed_unix_ms)?;
        (-PAST_MS..=FUTURE_MS).contains(&away_ms).then_some(unix_ms)
    }
}

/// A share in millionths; more than 1 is possible where use beyond a limit is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u32);

impl Share {
    /// All of it, in millionths.
    const WHOLE: u32 = 1_000_000;
    /// LIMIT: a thousand times the whole; more is nonsense.
    const MOST: u32 = 1_000 * Self::WHOLE;

    /// A share of so many millionths.
    pub const fn of_millionths(millionths: u32) -> Self {
        Self(millionths)
    }

    /// In millionths.
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// As a number, 1 for all.
    pub fn ratio(self) -> f64 {
        f64::from(self.0) / f64::from(Self::WHOLE)
    }

    /// What is used where so much is left of a limit.
    fn used(remaining: u64, limit: u64) -> Option<Self> {
        let used = limit.checked_sub(remaining)?;
        let millionths = u128::from(used) * u128::from(Self::WHOLE) / u128::from(limit.max(1));
        let is_known = limit > 0;
        is_known.then_some(Self(u32::try_from(millionths).ok()?))
    }
}

/// When a limit begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// At a moment.
    At {
        /// In milliseconds since the Unix epoch.
        unix_ms: i64,
    },
    /// So long after the response.
    After {
        /// Milliseconds.
        ms: u64,
    },
}

/// A limit, and when and where it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// When the head of the response, or the event, was complete.
    pub at: Timestamp,
    /// Provider.
    pub provider: Provider,
    /// Account, if a head names it.
    pub account: Option<Account>,
    /// Limit.
    pub limit: Limit,
}

/// The limits that the head of a response names.
pub(super) fn limits(head: &ResponseHead) -> Vec<Limit> {
    let fields = field::Fields::of(&head.headers);
    if fields.is_empty() {
        return Vec::new();
    }
    let mut limits: Vec<Limit> = forms::limits(&fields);
    if head.status == TOO_MANY_REQUESTS {
        let refused = Limit {
            resets: fields.reset("retry-after"),
            ..Limit::named("retry-after", None)
        };
        limits.push(refused);
    }
    limits.retain(Limit::is_told);
    limits.truncate(Limit::MOST);
    limits
}
