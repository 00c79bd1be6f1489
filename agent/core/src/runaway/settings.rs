//! From what on a session is said to run away.

use std::time::Duration;

use super::Sign;

const DOLLAR: u64 = 1_000_000_000;

/// What each rule takes as too much; 0 switches that part off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// R1: weighted tokens in ten minutes.
    pub weighted_tokens: u64,
    /// R2: requests that run at the same time.
    pub parallel_requests: u64,
    /// R2: threads that begin in ten minutes; at most [`Settings::MOST_THREADS`].
    pub new_threads: u64,
    /// R2: threads inside one another below the main one.
    pub thread_depth: u64,
    /// R3: times that one of the last 20 replies with tool calls of a thread comes again; at most 20.
    pub repeat_tool_calls: u64,
    /// R4: times that one request succeeds in ten minutes; at most [`Settings::MOST_REPEATS`].
    pub duplicate_requests: u64,
    /// R5: compactions in half an hour; at most [`Settings::MOST_REPEATS`].
    pub compactions: u64,
    /// R5: requests of a thread, one after the other, that fill nine tenths of the model's window.
    pub full_requests: u64,
    /// R6: money in an hour, in billionths of a US dollar.
    pub hour_nanousd: u64,
    /// R6: money in the session, in billionths of a US dollar.
    pub session_nanousd: u64,
    /// R7: time without a turn of a human.
    pub unattended: Duration,
    /// R7: requests in that time.
    pub unattended_requests: u64,
    /// R7: workflows and units that work alone by design, as patterns with `*` and `?`.
    pub unattended_names: Vec<String>,
}

impl Settings {
    /// LIMIT: threads of a session that may be told apart as new, less than are remembered of it.
    pub const MOST_THREADS: u64 = 200;
    /// LIMIT: repetitions that are counted, far less than what is remembered of a session.
    pub const MOST_REPEATS: u64 = 64;

    /// What a sign has to reach; 0 for never.
    pub(super) const fn threshold(&self, sign: Sign) -> u64 {
        match sign {
            Sign::WeightedTokens => self.weighted_tokens,
            Sign::ParallelRequests => self.parallel_requests,
            Sign::NewThreads => self.new_threads,
            Sign::ThreadDepth => self.thread_depth,
            Sign::RepeatedToolCall => self.repeat_tool_calls,
            Sign::DuplicateRequest => self.duplicate_requests,
            Sign::Compactions => self.compactions,
            Sign::FullContext => self.full_requests,
            Sign::HourNanousd => self.hour_nanousd,
            Sign::SessionNanousd => self.session_nanousd,
            Sign::Unattended => self.unattended_requests,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            weighted_tokens: 1_000_000,
            parallel_requests: 20,
            new_threads: 40,
            thread_depth: 3,
            repeat_tool_calls: 8,
            duplicate_requests: 3,
            compactions: 3,
            full_requests: 20,
            hour_nanousd: 40 * DOLLAR,
            session_nanousd: 100 * DOLLAR,
            unattended: Duration::from_secs(60 * 60),
            unattended_requests: 100,
            unattended_names: Vec::new(),
        }
    }
}
