//! Every metric by its name, with what it means. The names are a contract: they only grow.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, from zero when the agent starts.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts of values by their size, from zero when the agent starts.
    Histogram,
    /// Counters and gauges side by side.
    Mixed,
}

impl Kind {
    /// Name in the documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Mixed => "untyped",
        }
    }
}

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// Name, with the unit; that of a counter ends in `_total`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Names of its labels, in their order.
    pub labels: &'static [&'static str],
    /// What it means, in one sentence.
    pub help: &'static str,
}

const fn metric(
    kind: Kind,
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Described {
    Described {
        name,
        kind,
        labels,
        help,
    }
}

use Kind::{Counter, Gauge, Histogram, Mixed};

/// The labels of a call.
pub(super) const OF_CALLS: &[&str] = &["workflow", "provider", "model", "task_type"];
const OF_MODELS: &[&str] = &["provider", "model"];
const OF_BUDGETS: &[&str] = &["budget", "scope", "unit"];
const OF_QUOTAS: &[&str] = &["provider", "account", "limit"];

pub(super) const REQUESTS: Described = metric(
    Counter,
    "bpftok_requests_total",
    &["workflow", "provider", "model", "task_type", "outcome"],
    "Calls that ended since the agent started.",
);
pub(super) const TOKENS: Described = metric(
    Counter,
    "bpftok_tokens_total",
    &["workflow", "provider", "model", "task_type", "kind"],
    "Tokens of calls since the agent started; kinds are disjoint, so that their sum is all tokens.",
);
pub(super) const REASONING: Described = metric(
    Counter,
    "bpftok_reasoning_tokens_total",
    OF_CALLS,
    "Tokens of reasoning since the agent started, a part of those of kind output.",
);
pub(super) const COST: Described = metric(
    Counter,
    "bpftok_cost_usd_total",
    OF_CALLS,
    "Known cost in US dollars since the agent started; what has no price adds nothing.",
);
pub(super) const UNPRICED: Described = metric(
    Counter,
    "bpftok_unpriced_tokens_total",
    OF_MODELS,
    "Tokens without a price since the agent started, which the cost leaves out.",
);
pub(super) const UNKNOWN: Described = metric(
    Counter,
    "bpftok_requests_without_usage_total",
    OF_MODELS,
    "Calls since the agent started, failed ones left out, of which no tokens are known.",
);
pub(super) const DURATION: Described = metric(
    Histogram,
    "bpftok_request_duration_seconds",
    OF_MODELS,
    "Time from the request to the last event of the reply, of calls that completed.",
);
pub(super) const FIRST_TOKEN: Described = metric(
    Histogram,
    "bpftok_time_to_first_token_seconds",
    OF_MODELS,
    "Time from the request to the first token of output, of streamed calls.",
);
pub(super) const CONTEXT: Described = metric(
    Histogram,
    "bpftok_request_context_tokens",
    OF_MODELS,
    "Tokens of the whole prompt of a call, cached ones included.",
);
pub(super) const RUNNING: Described = metric(
    Gauge,
    "bpftok_requests_running",
    OF_CALLS,
    "Calls that run.",
);
pub(super) const SESSIONS: Described = metric(
    Gauge,
    "bpftok_sessions_active",
    &[],
    "Sessions with a call that ended within the idle time of sessions.",
);
pub(super) const THREADS: Described = metric(
    Gauge,
    "bpftok_session_threads_active",
    &[],
    "Lines of calls inside of those sessions, subagents included.",
);
pub(super) const BUDGET_LIMIT: Described = metric(
    Gauge,
    "bpftok_budget_limit",
    OF_BUDGETS,
    "Limit of a budget in its unit.",
);
pub(super) const BUDGET_USED: Described = metric(
    Gauge,
    "bpftok_budget_used",
    OF_BUDGETS,
    "What is used of a budget in its period, calls that still run included.",
);
pub(super) const BUDGET_AT_LEAST: Described = metric(
    Gauge,
    "bpftok_budget_used_is_lower_bound",
    OF_BUDGETS,
    "Whether more is used than that, and nobody knows how much: 1 if so.",
);
pub(super) const BUDGET_REMAINING: Described = metric(
    Gauge,
    "bpftok_budget_remaining_ratio",
    OF_BUDGETS,
    "Share of a budget that is left; negative beyond the limit.",
);
pub(super) const BUDGET_BURN: Described = metric(
    Gauge,
    "bpftok_budget_burn_rate",
    &["budget", "scope", "unit", "window"],
    "How many times as fast as planned a budget is used up, over a window.",
);
pub(super) const BUDGET_EXHAUSTION: Described = metric(
    Gauge,
    "bpftok_budget_exhaustion_timestamp_seconds",
    OF_BUDGETS,
    "When the limit will be reached; absent unless that is within the period.",
);
pub(super) const BUDGET_RESET: Described = metric(
    Gauge,
    "bpftok_budget_reset_timestamp_seconds",
    OF_BUDGETS,
    "When the next period begins; absent for rolling ones.",
);
pub(super) const ALERTS: Described = metric(
    Gauge,
    "bpftok_alert_active",
    &["rule", "severity"],
    "Alerts of the agent that fire.",
);
pub(super) const QUOTA_USED: Described = metric(
    Gauge,
    "bpftok_quota_used_ratio",
    OF_QUOTAS,
    "Share of a provider's limit that is used, as its last response said; absent once the limit began anew.",
);
pub(super) const QUOTA_RESET: Described = metric(
    Gauge,
    "bpftok_quota_reset_timestamp_seconds",
    OF_QUOTAS,
    "When a provider's limit begins anew.",
);
pub(super) const QUOTA_SEEN: Described = metric(
    Gauge,
    "bpftok_quota_observed_timestamp_seconds",
    OF_QUOTAS,
    "When a response last said what is used of a provider's limit.",
);
pub(super) const CAPTURED: Described = metric(
    Counter,
    "bpftok_capture_events_total",
    &["outcome"],
    "What became of observed calls, connections and records since the agent started.",
);
pub(super) const CAPTURED_BYTES: Described = metric(
    Counter,
    "bpftok_capture_bytes_total",
    &["outcome"],
    "Bytes of those; connections that can't be decoded have none.",
);
pub(super) const LOST: Described = metric(
    Counter,
    "bpftok_capture_lost_events_total",
    &[],
    "Records that were lost between kernel and agent since it started.",
);
pub(super) const COVERAGE: Described = metric(
    Gauge,
    "bpftok_coverage_ratio",
    &[],
    "Share of calls of the last hour that were seen whole; absent if there were none.",
);
pub(super) const PRICE_TABLE: Described = metric(
    Gauge,
    "bpftok_price_table_timestamp_seconds",
    &[],
    "Day of the list of prices in force.",
);
pub(super) const BUILD: Described = metric(
    Gauge,
    "bpftok_build_info",
    &["version"],
    "Always 1, with the version of the agent.",
);
pub(super) const STATUS: Described = metric(
    Mixed,
    "bpftok_agent_status",
    &["counter"],
    "The counters of bpftok status --json by their names; most count since the agent started.",
);
pub(super) const FOLDED: Described = metric(
    Counter,
    "bpftok_labels_folded_total",
    &["label"],
    "Times since the agent started that a label's value became other, or a series was left out, because there were too many.",
);

/// All of them, in the order in which they are written.
pub const ALL: [Described; 31] = [
    REQUESTS,
    TOKENS,
    REASONING,
    COST,
    UNPRICED,
    UNKNOWN,
    DURATION,
    FIRST_TOKEN,
    CONTEXT,
    RUNNING,
    SESSIONS,
    THREADS,
    BUDGET_LIMIT,
    BUDGET_USED,
    BUDGET_AT_LEAST,
    BUDGET_REMAINING,
    BUDGET_BURN,
    BUDGET_EXHAUSTION,
    BUDGET_RESET,
    ALERTS,
    QUOTA_USED,
    QUOTA_RESET,
    QUOTA_SEEN,
    CAPTURED,
    CAPTURED_BYTES,
    LOST,
    COVERAGE,
    PRICE_TABLE,
    BUILD,
    STATUS,
    FOLDED,
];
