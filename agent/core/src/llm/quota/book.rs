//! What was last told of each limit, so that not every response becomes a row.
//!
//! *Takes* limits as responses tell them. *Gives* one at once if it is new or its use jumped, and else
//! the latest of a minute when the minute is over. *Remembers* the limits of the accounts that were
//! seen last. *Nonsense* makes limits of its own, which push out the oldest.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Account, Limit, Observed};
use crate::event::Timestamp;
use crate::llm::Provider;

/// LIMIT: 256 limits of all accounts, those of forty accounts. Beyond, the one that was told longest
/// ago is given and forgotten: it costs a row more when it comes again.
pub(super) const LIMITS: usize = 256;

/// LIMIT: one row of a limit in a minute, unless its use jumps.
const INTERVAL: Duration = Duration::from_secs(60);

/// LIMIT: one row of a limit in five seconds, even if its use jumps.
const SHORTEST: Duration = Duration::from_secs(5);

/// What a jump is: five per cent, in millionths.
const JUMP_MILLIONTHS: u32 = 50_000;

type Key = (Provider, Option<Account>, &'static str);

struct Entry {
    given_at: Timestamp,
    given: Limit,
    /// What was told since.
    waiting: Option<(Timestamp, Limit)>,
}

/// The limits that were told.
#[derive(Default)]
pub(in crate::llm) struct Book {
    entries: BTreeMap<Key, Entry>,
}

impl Book {
    /// Takes a limit; gives it if it is news, and before it what it pushes out.
    pub(in crate::llm) fn take(
        &mut self,
        observed: Observed,
    ) -> impl Iterator<Item = Observed> + use<> {
        let key = (observed.provider, observed.account, observed.limit.name);
        let told = (observed.at, observed.limit);
        let is_new = !self.entries.contains_key(&key);
        let forgotten = (is_new && self.entries.len() >= LIMITS)
            .then(|| self.forget_oldest())
            .flatten();
        let entry = self.entries.entry(key.clone()).or_insert(Entry {
            given_at: told.0,
            given: told.1,
            waiting: None,
        });
        entry.waiting = Some(told);
        let pause = if has_jumped(&entry.given, &told.1) {
            SHORTEST
        } else {
            INTERVAL
        };
        let is_due = is_new || told.0.since(entry.given_at) >= pause;
        let given = is_due.then(|| entry.give(&key)).flatten();
        forgotten.into_iter().chain(given)
    }

    /// Gives what has waited for a minute.
    pub(in crate::llm) fn expire(&mut self, now: Timestamp) -> impl Iterator<Item = Observed> {
        self.entries
            .iter_mut()
            .filter(move |(_, entry)| now.since(entry.given_at) >= INTERVAL)
            .filter_map(|(key, entry)| entry.give(key))
    }

    /// Gives all that waits.
    pub(in crate::llm) fn finish(&mut self) -> impl Iterator<Item = Observed> {
        let entries = self.entries.iter_mut();
        entries.filter_map(|(key, entry)| entry.give(key))
    }

    /// When [`Book::expire`] next has something to do.
    pub(in crate::llm) fn deadline(&self) -> Option<Timestamp> {
        let entries = self.entries.values();
        entries
            .filter(|entry| entry.waiting.is_some())
            .map(|entry| entry.given_at + INTERVAL)
            .min()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets the limit that was told longest ago; gives it if it waits.
    fn forget_oldest(&mut self) -> Option<Observed> {
        let told = |entry: &Entry| entry.waiting.map_or(entry.given_at, |(at, _)| at);
        let entries = self.entries.iter();
        let oldest = entries.min_by_key(|(_, entry)| told(entry));
        let key = oldest.map(|(key, _)| key.clone())?;
        self.entries.remove(&key)?.give(&key)
    }
}

impl Entry {
    /// Gives what waits.
    fn give(&mut self, key: &Key) -> Option<Observed> {
        let (at, limit) = self.waiting.take()?;
        self.given_at = at;
        self.given = limit;
        let (provider, account, _) = key.clone();
        Some(Observed {
            at,
            provider,
            account,
            limit,
        })
    }
}

/// Whether a limit says something that a minute is too late for: all is used, or much more, or the
/// limit is another.
fn has_jumped(before: &Limit, after: &Limit) -> bool {
    let millionths = |limit: &Limit| limit.used.map(super::Share::millionths);
    before.limit != after.limit
        || before.remaining != Some(0) && after.remaining == Some(0)
        || match (millionths(before), millionths(after)) {
            (Some(before), Some(after)) => before.abs_diff(after) >= JUMP_MILLIONTHS,
            (before, after) => before != after,
        }
}
