//! Usage of a window, put together by any of its dimensions.
//!
//! Three sources, of which the smallest that knows what is asked for is read: the sums by quarter
//! of an hour, with the calls of the quarters that the window cuts; the sums of sessions, with the
//! calls of those that the window cuts; and the calls alone. The first two
//! outlast the calls, so [`Reader::pruned`] says what the calls miss.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::dimension::{Dimension, Grain};
use super::functions::day_starts;
use super::rollup::{BUCKET_MS, bucket, session_key_of};
use super::select::{Select, Sql};
use super::source::{Spans, are_cut, calls, kinds, quarters, sessions};
use super::sums::Sums;
use super::{Error, Reader, Window, from_db};

/// LIMIT: percentiles are made of calls, not of sums. Of more calls than this, or where a call of
/// the window is no longer kept, there are none: a report is to take a moment.
pub const MOST_CALLS_OF_PERCENTILES: u64 = 200_000;

/// A sum in which something may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// What is known; `None` if nothing is.
    pub value: Option<u64>,
    /// True if more was used than `value` says.
    pub is_lower_bound: bool,
}

/// The usage of one group of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageSum {
    /// Calls.
    pub requests: u64,
    /// Sessions they belong to.
    pub sessions: u64,
    /// Calls that ended in an error.
    pub errors: u64,
    /// Calls whose tokens were counted here.
    pub estimated_requests: u64,
    /// Calls that used more tokens than are known.
    pub lower_bound_requests: u64,
    /// The whole input.
    pub context: Sum,
    /// Input that no cache was involved in.
    pub input_uncached: Sum,
    /// Input from a cache.
    pub cache_read: Sum,
    /// Input written to a cache, for any time.
    pub cache_write: Sum,
    /// Output, reasoning included.
    pub output: Sum,
    /// The part of the output that is reasoning.
    pub reasoning: Sum,
    /// Input and output that were counted here.
    pub estimated_tokens: u64,
    /// Cost, in billionths of a US dollar.
    pub cost: Sum,
    /// Calls, and models inside of calls, that cost more than is known.
    pub cost_lower_bound_requests: u64,
    /// Input and output without a price.
    pub unpriced_tokens: u64,
    /// The part of the cost that rests on tokens counted here.
    pub estimated_cost: Option<u64>,
    /// The part of the cost that a plan covers.
    pub subscription_cost: Option<u64>,
    /// What providers said that their calls cost.
    pub provider_cost: Option<u64>,
    /// The cost by other prices, of those calls that were priced anew.
    pub repriced: Option<u64>,
    /// What those calls cost before.
    pub repriced_from: Option<u64>,
    /// Calls whose reply was cut.
    pub aborted_requests: u64,
    /// Calls that repeat a failed try.
    pub retry_requests: u64,
    /// Requests whose last message a person wrote.
    pub human_turns: u64,
    /// Input-equivalents: cost over the model's price of uncached input; where one of them is not
    /// known, classes of tokens by fixed weights. `None` where the reader has no prices.
    pub weighted: Sum,
    /// Median of the time to the first token.
    pub ttft_p50_ms: Option<u64>,
    /// The time to the first token that 95 of 100 calls keep below.
    pub ttft_p95_ms: Option<u64>,
    /// Median of the duration.
    pub duration_p50_ms: Option<u64>,
    /// The duration that 95 of 100 calls keep below.
    pub duration_p95_ms: Option<u64>,
    /// Output of streams.
    pub stream_output: Option<u64>,
    /// The time of streams from their first token to their end, in milliseconds.
    pub stream_ms: Option<u64>,
    /// The cost that 95 of 100 sessions keep below, of their calls in the group.
    pub session_cost_p95: Option<u64>,
    /// First call, or the beginning of its quarter of an hour, in milliseconds since the Unix epoch.
    pub first_ms: Option<i64>,
    /// Last call, or the beginning of its quarter of an hour, in milliseconds since the Unix epoch.
    pub last_ms: Option<i64>,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.value = added(self.value, other.value);
        self.is_lower_bound |= other.is_lower_bound;
    }
}

/// Both, as far as they are known.
pub(super) fn added(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    [one, other]
        .into_iter()
        .flatten()
        .reduce(u64::saturating_add)
}

impl UsageSum {
    /// Adds other calls: what adds up. Sessions and percentiles do not, and are left alone.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.requests, other.requests),
            (&mut self.errors, other.errors),
            (&mut self.estimated_requests, other.estimated_requests),
            (&mut self.lower_bound_requests, other.lower_bound_requests),
            (&mut self.estimated_tokens, other.estimated_tokens),
            (
                &mut self.cost_lower_bound_requests,
                other.cost_lower_bound_requests,
            ),
            (&mut self.unpriced_tokens, other.unpriced_tokens),
            (&mut self.aborted_requests, other.aborted_requests),
            (&mut self.retry_requests, other.retry_requests),
            (&mut self.human_turns, other.human_turns),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.context.add(other.context);
        self.input_uncached.add(other.input_uncached);
        self.cache_read.add(other.cache_read);
        self.cache_write.add(other.cache_write);
        self.output.add(other.output);
        self.reasoning.add(other.reasoning);
        self.cost.add(other.cost);
        self.weighted.add(other.weighted);
        self.estimated_cost = added(self.estimated_cost, other.estimated_cost);
        self.subscription_cost = added(self.subscription_cost, other.subscription_cost);
        self.provider_cost = added(self.provider_cost, other.provider_cost);
        self.repriced = added(self.repriced, other.repriced);
        self.repriced_from = added(self.repriced_from, other.repriced_from);
        self.stream_output = added(self.stream_output, other.stream_output);
        self.stream_ms = added(self.stream_ms, other.stream_ms);
        self.first_ms = match (self.first_ms, other.first_ms) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.last_ms = self.last_ms.max(other.last_ms);
    }

    /// The cost by other prices, of those calls that were priced anew, and the cost of the others.
    pub fn repriced_cost(&self) -> Option<u64> {
        let cost = self.repriced?.saturating_add(self.cost.value.unwrap_or(0));
        Some(cost.saturating_sub(self.repriced_from.unwrap_or(0)))
    }

    /// Output of streams over the time from their first token to their end.
    pub fn output_tokens_per_second(&self) -> Option<u64> {
        let output = self.stream_output?.saturating_mul(1_000);
        output.checked_div(self.stream_ms?)
    }
}

/// What tells a group from others along one dimension.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// It is not known.
    Unknown,
    /// An id, a rank, or the beginning of a period in milliseconds since the Unix epoch.
    Number(i64),
    /// A text.
    Text(String),
    /// All values that a question does not keep apart.
    Other,
}

/// How a filter compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The value is this.
    Is,
    /// The value is not this; an unknown one is not.
    IsNot,
    /// The value is known, and the pattern matches it: `*`, `?` and `[…]` as in a shell.
    Matches,
}

/// Which calls count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// What is compared; no period.
    pub dimension: Dimension,
    /// How.
    pub relation: Relation,
    /// With what; `None` for what is not known.
    pub value: Option<String>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// When the calls began.
    pub window: Window,
    /// What they are put together by; all in one sum if it is empty.
    pub by: Vec<Dimension>,
    /// Which of them count: those that pass all of these.
    pub filters: Vec<Filter>,
    /// The values of one dimension that are kept apart; all others are one.
    pub kept: Option<(Dimension, BTreeSet<Key>)>,
}

impl Question {
    /// All usage of a window in one sum.
    pub const fn all(window: Window) -> Self {
        Self {
            window,
            by: Vec::new(),
            filters: Vec::new(),
            kept: None,
        }
    }

    /// The same about all calls that count, in one sum.
    #[must_use]
    pub fn of_all(&self) -> Self {
        Self {
            window: self.window,
            by: Vec::new(),
            filters: self.filters.clone(),
            kept: None,
        }
    }

    /// Whether a value of a dimension is kept apart.
    pub(super) fn keeps(&self, by: Dimension, key: &Key) -> bool {
        match &self.kept {
            Some((dimension, kept)) if *dimension == by => kept.contains(key),
            Some(_) | None => true,
        }
    }
}

/// Usage that belongs together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// What tells it from others, one for each dimension of the question.
    pub keys: Vec<Key>,
    /// The values' names, one for each dimension; of periods and unknown ones there is none, and those
    /// of sessions and processes are there once [`Reader::describe`] has looked for them.
    pub names: Vec<Option<String>>,
    /// What else describes it, where the question has one dimension.
    pub details: Vec<Option<String>>,
    /// Its sums.
    pub sum: UsageSum,
}

impl Reader {
    /// All usage of a window.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn all_usage(&self, window: Window) -> Result<UsageSum, Error> {
        let question = Question::all(window);
        let mut total = self.sums(&question)?;
        self.complete(&question, &mut Sums::default(), &mut total)?;
        Ok(total.only())
    }

    /// Adds what does not add up to what [`Reader::sums`] and [`Reader::total`] said of a question.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn complete(
        &self,
        question: &Question,
        sums: &mut Sums,
        total: &mut Sums,
    ) -> Result<(), Error> {
        let all = question.of_all();
        sums.count_sessions(question);
        total.count_sessions(&all);
        if !total.has_sessions() {
            // Where calls are deleted, more is known of all than of sessions.
            let (question, groups) = match sums.has_sessions() {
                true => (&all, Default::default()),
                false => (question, sums.groups.as_mut_slice()),
            };
            self.add_sessions(question, groups, &mut total.groups)?;
        }
        if !self.has_every_call(question.window)? {
            return Ok(());
        }
        for (question, sums) in [(question, sums), (&all, total)] {
            let percentiles = Select::new(question, calls(question.window)).groups(PERCENTILES);
            self.add(&mut sums.groups, &percentiles, |sum, row, at| {
                let known = |column: usize| {
                    Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(at + column)?.map(from_db))
                };
                sum.ttft_p50_ms = known(0)?;
                sum.ttft_p95_ms = known(1)?;
                sum.duration_p50_ms = known(2)?;
                sum.duration_p95_ms = known(3)?;
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The smallest source that knows all that a question asks for.
    pub(super) fn source(&self, question: &Question) -> Result<String, Error> {
        match grain(question) {
            Grain::Kind => Ok(kinds(question.window, &self.spans(question)?)),
            Grain::Session | Grain::Call => self.sessions_or_calls(question),
        }
    }

    /// How many calls of the window are in its lasting sums but not in the answer to `question`,
    /// because they are no longer kept one by one.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn pruned(&self, question: &Question) -> Result<u64, Error> {
        let window = question.window;
        let Window {
            from_ms: from,
            until_ms: until,
        } = quarters(window);
        if !self.may_miss_calls(from)? {
            return Ok(0);
        }
        let cut = match grain(question) {
            Grain::Call => format!(
                "SELECT (SELECT ifnull(sum(requests), 0) FROM usage_15m
                         WHERE bucket_start_ms >= {from} AND bucket_start_ms < {until}),
                        (SELECT ifnull(sum(requests), 0) FROM request_sums
                         WHERE started_ms >= {from} AND started_ms < {until})"
            ),
            Grain::Session => format!(
                "SELECT ifnull(sum(kept), 0), ifnull(sum(there), 0) FROM (
                     SELECT c.requests AS kept,
                            (SELECT ifnull(sum(requests), 0) FROM request_sums AS r
                             WHERE ({}) = ({})) AS there
                     FROM session_usage AS c WHERE {} AND {})",
                session_key_of("r"),
                session_key_of("c"),
                self.among(window)?,
                are_cut(window)
            ),
            Grain::Kind => {
                let quarters = [bucket(window.from_ms), bucket(window.until_ms)];
                let [first, last] = quarters;
                format!(
                    "SELECT (SELECT ifnull(sum(requests), 0) FROM usage_15m
                             WHERE bucket_start_ms IN ({first}, {last})),
                            (SELECT ifnull(sum(requests), 0) FROM request_sums
                             WHERE started_ms >= {first} AND started_ms < {first} + {BUCKET_MS})
                          + (SELECT ifnull(sum(requests), 0) FROM request_sums
                             WHERE {first} <> {last}
                               AND started_ms >= {last} AND started_ms < {last} + {BUCKET_MS})"
                )
            }
        };
        let counts = self.rows_of(&cut, [], |row| {
            Ok((from_db(row.get(0)?), from_db(row.get(1)?)))
        })?;
        Ok(counts
            .first()
            .map_or(0, |(kept, there)| kept.saturating_sub(*there)))
    }

    /// The smallest source that knows sessions and all that a question asks for.
    pub(super) fn sessions_or_calls(&self, question: &Question) -> Result<String, Error> {
        let window = question.window;
        Ok(match grain(question) {
            Grain::Kind | Grain::Session => sessions(window, &self.among(window)?),
            Grain::Call => calls(window),
        })
    }

    /// Whether there are few enough calls in a window for percentiles, and all are kept.
    fn has_every_call(&self, window: Window) -> Result<bool, Error> {
        let window = quarters(window);
        let count = |source: &str| {
            let sql = format!("SELECT ifnull(sum(requests), 0) FROM {source}");
            let counts = self.rows_of(&sql, [], |row| row.get(0).map(from_db))?;
            Ok::<_, Error>(counts.first().copied().unwrap_or(0))
        };
        let calls = count(&format!("({})", kinds(window, &Spans::Any)))?;
        if calls > MOST_CALLS_OF_PERCENTILES {
            return Ok(false);
        }
        if !self.may_miss_calls(window.from_ms)? {
            return Ok(true);
        }
        let kept = count(&format!(
            "request_sums WHERE started_ms >= {} AND started_ms < {}",
            window.from_ms, window.until_ms
        ))?;
        Ok(kept >= calls)
    }

    /// Whether calls of that time or after it may have been deleted.
    pub(super) fn may_miss_calls(&self, from_ms: i64) -> Result<bool, Error> {
        let found = self.rows_of(
            "SELECT 1 FROM host WHERE requests_pruned_before_ms > ?1",
            [from_ms],
            |_| Ok(()),
        )?;
        Ok(!found.is_empty())
    }

    /// Which sums of longer spans answer a question that is about kinds of calls.
    fn spans(&self, question: &Question) -> Result<Spans, Error> {
        if question.by.contains(&Dimension::Hour) {
            return Ok(Spans::None);
        }
        if !question.by.iter().any(|by| by.is_period()) {
            return Ok(Spans::Any);
        }
        let known = self.rows_of(
            "SELECT (SELECT min(bucket_start_ms) FROM usage_15m),
                    (SELECT max(bucket_start_ms) FROM usage_15m)",
            [],
            |row| {
                let last: Option<i64> = row.get(1)?;
                Ok(row.get::<_, Option<i64>>(0)?.zip(last))
            },
        )?;
        let Some((first_ms, last_ms)) = known.into_iter().next().flatten() else {
            return Ok(Spans::None);
        };
        let window = Window {
            from_ms: question.window.from_ms.max(first_ms),
            until_ms: question.window.until_ms.min(last_ms + BUCKET_MS),
        };
        Ok(day_starts(window, self.zone()).map_or(Spans::None, Spans::Within))
    }

    /// Adds what another statement says of the same groups.
    fn add(
        &self,
        groups: &mut [Group],
        sql: &Sql,
        mut add: impl FnMut(&mut UsageSum, &Row<'_>, usize) -> rusqlite::Result<()>,
    ) -> Result<(), Error> {
        let width = groups.first().map_or(0, |group| group.keys.len());
        let mut by_keys: BTreeMap<Vec<Key>, &mut UsageSum> = groups
            .iter_mut()
            .map(|group| (group.keys.clone(), &mut group.sum))
            .collect();
        if by_keys.is_empty() {
            return Ok(());
        }
        self.rows_of(&sql.text, sql.parameters().as_slice(), |row| match by_keys
            .get_mut(&keys(row, 0, width)?)
        {
            Some(sum) => add(sum, row, width),
            None => Ok(()),
        })?;
        Ok(())
    }
}

/// The source that knows all that a question asks for.
pub(super) fn grain(question: &Question) -> Grain {
    let filtered = question.filters.iter().map(|filter| filter.dimension);
    let finest = question
        .by
        .iter()
        .copied()
        .chain(filtered)
        .map(Dimension::grain)
        .max()
        .unwrap_or(Grain::Kind);
    // The sums of a session don't say when.
    let is_by_period = question.by.iter().any(|by| by.is_period());
    if finest == Grain::Session && is_by_period {
        Grain::Call
    } else {
        finest
    }
}

/// What is made of single calls, over calls `u`.
const PERCENTILES: &str = "
    percentile(CASE WHEN u.requests THEN u.ttft_ms END, 50),
    percentile(CASE WHEN u.requests THEN u.ttft_ms END, 95),
    percentile(CASE WHEN u.requests THEN u.duration_ms END, 50),
    percentile(CASE WHEN u.requests THEN u.duration_ms END, 95)";

/// The keys of a group, which are in so many columns from the one at `from` on.
pub(super) fn keys(row: &Row<'_>, from: usize, count: usize) -> rusqlite::Result<Vec<Key>> {
    (from..from + count)
        .map(|at| {
            Ok(match row.get_ref(at)? {
                ValueRef::Null => Key::Unknown,
                ValueRef::Integer(number) => Key::Number(number),
                ValueRef::Text(text) => Key::Text(String::from_utf8_lossy(text).into_owned()),
                ValueRef::Real(_) | ValueRef::Blob(_) => Key::Other,
            })
        })
        .collect()
}
