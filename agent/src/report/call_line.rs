//! One finished call on one line.

use std::fmt::Write as _;

use agent_core::llm::{AbortedBy, UsageSource};
use agent_core::prices::CostStatus;
use agent_core::session::{Hop, UsageRecord};
use jiff::tz::TimeZone;

use super::{table, text};
use crate::store::Call;

/// Columns that a session key takes in a line.
const SESSION_COLUMNS: usize = 13;

/// One finished call, as `bpftok run` prints it on a terminal and `bpftok tail` from the ledger.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    missing_docs,
    reason = "named as the columns of v_request, which the database manual explains"
)]
pub struct CallLine<'a> {
    pub started_ms: i64,
    pub duration_ms: u64,
    pub client_name: Option<&'a str>,
    pub comm: Option<&'a str>,
    pub pid: Option<i64>,
    pub user_name: Option<&'a str>,
    pub provider: &'a str,
    pub model: Option<&'a str>,
    pub http_status: Option<i64>,
    pub outcome: &'a str,
    pub usage_source: &'a str,
    pub context_tokens: Option<u64>,
    pub cache_read_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub session_key: &'a str,
    pub kind: &'a str,
    pub attempt: Option<u64>,
    pub aborted_by: Option<&'a str>,
    pub ttft_ms: Option<u64>,
    pub output_tokens_per_second: Option<f64>,
    pub cost_nanousd: Option<u64>,
    pub is_cost_lower_bound: bool,
    pub via_pid: Option<i64>,
    pub via_comm: Option<&'a str>,
    /// Whether the call that a gateway made for it counts instead.
    pub is_hop: bool,
}

impl<'a> From<&'a UsageRecord> for CallLine<'a> {
    fn from(record: &'a UsageRecord) -> Self {
        let call = &record.call;
        let usage = &call.usage;
        let process = record.process.as_deref();
        Self {
            started_ms: record.started_unix_ms,
            duration_ms: record.duration_ms,
            client_name: record.client.name.as_deref(),
            comm: process.map(|process| process.comm.as_str()),
            pid: process.map(|process| i64::from(process.id.pid)),
            user_name: process.and_then(|process| process.user_name.as_deref()),
            provider: call.provider.0,
            model: call.model(),
            http_status: call.http_status.map(i64::from),
            outcome: call.outcome.as_str(),
            usage_source: call.usage_source.as_str(),
            context_tokens: usage.input(),
            cache_read_tokens: usage.cache_read,
            output_tokens: usage.output,
            session_key: &record.session.0,
            kind: "call",
            attempt: call.attempt.map(u64::from),
            aborted_by: call.aborted_by.map(AbortedBy::as_str),
            ttft_ms: record.ttft_ms,
            output_tokens_per_second: rate(record),
            cost_nanousd: record.cost.cost_nanousd,
            is_cost_lower_bound: match record.cost.status {
                CostStatus::Unpriced | CostStatus::LowerBound => {
                    // A refused call cost nothing.
                    call.usage_source != UsageSource::None
                        || call.http_status.is_none_or(|status| status < 400)
                }
                CostStatus::Priced | CostStatus::Free | CostStatus::ProviderReported => false,
            },
            via_pid: None,
            via_comm: None,
            is_hop: matches!(record.hop, Some(Hop::ToGateway { .. })),
        }
    }
}

impl<'a> From<&'a Call> for CallLine<'a> {
    fn from(call: &'a Call) -> Self {
        Self {
            started_ms: call.started_ms,
            duration_ms: call.duration_ms,
            client_name: call.client_name.as_deref(),
            comm: call.comm.as_deref(),
            pid: call.pid,
            user_name: call.user_name.as_deref(),
            provider: &call.provider,
            model: call.model.as_deref(),
            http_status: call.http_status,
            outcome: &call.outcome,
            usage_source: &call.usage_source,
            context_tokens: call.context_tokens,
            cache_read_tokens: call.cache_read_tokens,
            output_tokens: call.output_tokens,
            session_key: &call.session_key,
            kind: &call.kind,
            attempt: call.attempt,
            aborted_by: call.aborted_by.as_deref(),
            ttft_ms: call.ttft_ms,
            output_tokens_per_second: call.output_tokens_per_second,
            cost_nanousd: call.cost_nanousd,
            is_cost_lower_bound: call.is_cost_lower_bound,
            via_pid: call.via_pid,
            via_comm: call.via_comm.as_deref(),
            is_hop: false,
        }
    }
}

impl CallLine<'_> {
    /// The line, without its end: time in `zone`, who, what, how much, how long, how it ended.
    ///
    /// A number that was counted here begins with `≈`, one that may be more with `≥`.
    pub fn in_zone(&self, zone: &TimeZone) -> String {
        let who = self.client_name.or(self.comm).unwrap_or(text::UNKNOWN);
        let pid = self
            .pid
            .map_or_else(|| text::UNKNOWN.to_owned(), |pid| pid.to_string());
        let mut line = format!(
            "{} {}[{pid}] {} {}: in {}",
            table::moment(self.started_ms, zone, "%b %d %H:%M:%S"),
            text::visible(who),
            text::visible(self.user_name.unwrap_or(text::UNKNOWN)),
            text::visible(self.model.unwrap_or(self.provider)),
            self.tokens(self.context_tokens, Part::Input),
        );
        // Writing to a string cannot fail.
        let mut add = |piece: std::fmt::Arguments<'_>| line.write_fmt(piece).unwrap_or_default();
        if let Some(cached) = self.cache_read_tokens.filter(|cached| *cached > 0) {
            add(format_args!(" (cached {})", text::grouped(cached)));
        }
        add(format_args!(
            ", out {}{}, {}",
            self.tokens(self.output_tokens, Part::Output),
            self.cost(),
            text::duration(self.duration_ms)
        ));
        if let Some(first) = self.ttft_ms {
            add(format_args!(" (first token {}", text::duration(first)));
            if let Some(rate) = self.output_tokens_per_second {
                add(format_args!(", {rate:.0} tok/s"));
            }
            add(format_args!(")"));
        }
        if self.kind != "call" {
            add(format_args!(", {} inside a call", text::visible(self.kind)));
        }
        if let Some(attempt) = self.attempt.filter(|attempt| *attempt > 1) {
            add(format_args!(", try {attempt}"));
        }
        if self.outcome != "complete" {
            add(format_args!(", {}", text::visible(self.outcome)));
            if let Some(by) = self.aborted_by {
                add(format_args!(" by the {}", text::visible(by)));
            }
        }
        if let Some(status) = self.http_status.filter(|status| *status != 200) {
            add(format_args!(", HTTP {status}"));
        }
        if let Some(pid) = self.via_pid {
            let comm = text::visible(self.via_comm.unwrap_or(text::UNKNOWN));
            add(format_args!(", via {comm}[{pid}]"));
        }
        if self.is_hop {
            add(format_args!(", counted as the call of its gateway"));
        }
        let session = text::visible(self.session_key);
        add(format_args!(
            ", session {}",
            text::fit(&session, SESSION_COLUMNS, text::Cut::End)
        ));
        line
    }

    /// What it cost; nothing is said of what was refused and so cost nothing.
    fn cost(&self) -> String {
        let is_estimated = self.usage_source == UsageSource::Estimated.as_str();
        match self.cost_nanousd {
            None if self.is_cost_lower_bound => format!(", cost {}", text::UNKNOWN),
            None => String::new(),
            Some(cost) => {
                let sign = match (is_estimated, self.is_cost_lower_bound) {
                    (_, true) => "≥",
                    (true, false) => "≈",
                    (false, false) => "",
                };
                format!(", {sign}{}", text::money(cost))
            }
        }
    }

    fn tokens(&self, count: Option<u64>, part: Part) -> String {
        let Some(count) = count else {
            return text::UNKNOWN.to_owned();
        };
        let is = |source: UsageSource| self.usage_source == source.as_str();
        let sign = if is(UsageSource::Estimated) {
            "≈"
        } else if is(UsageSource::ProviderPartial) && part == Part::Output {
            "≥"
        } else {
            ""
        };
        format!("{sign}{}", text::grouped(count))
    }
}

/// Output per second from the first token of a stream on.
fn rate(record: &UsageRecord) -> Option<f64> {
    let output = u32::try_from(record.call.usage.output?).ok()?;
    let millis = u32::try_from(record.duration_ms.checked_sub(record.ttft_ms?)?).ok()?;
    (record.call.is_stream && millis > 0).then(|| f64::from(output) * 1_000.0 / f64::from(millis))
}

/// Which tokens of a call; the input is known from its beginning.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Input,
    Output,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> CallLine<'static> {
        CallLine {
            started_ms: 1_790_000_000_000,
            duration_ms: 3_210,
            client_name: Some("claude-code"),
            comm: Some("node"),
            pid: Some(7781),
            user_name: Some("dana"),
            provider: "anthropic",
            model: Some("claude-opus-5.5"),
            http_status: Some(200),
            outcome: "complete",
            usage_source: "provider",
            context_tokens: Some(171_000),
            cache_read_tokens: Some(169_000),
            output_tokens: Some(812),
            session_key: "8f31c2aa-1b2c-4d5e-8f90-a1b2c3d4e5f6",
            kind: "call",
            attempt: None,
            aborted_by: None,
            ttft_ms: None,
            output_tokens_per_second: None,
            cost_nanousd: Some(114_800_000),
            is_cost_lower_bound: false,
            via_pid: None,
            via_comm: None,
            is_hop: false,
        }
    }

    #[test]
    fn a_complete_call_says_who_what_how_much_and_how_long() {
        assert_eq!(
            line().in_zone(&TimeZone::UTC),
            "Sep 21 14:13:20 claude-code[7781] dana claude-opus-5.5: in 171,000 (cached 169,000), out 812, $0.1148, 3.2s, session 8f31c2aa-1b2…"
        );
    }

    #[test]
    fn known_counted_partial_and_unknown_tokens_look_different() {
        let tokens = |usage_source, context_tokens, output_tokens| {
            let line = CallLine {
                usage_source,
                context_tokens,
                output_tokens,
                cache_read_tokens: None,
                cost_nanousd: None,
                ..line()
            };
            let text = line.in_zone(&TimeZone::UTC);
            let (_, rest) = text.split_once(": ").unwrap();
            rest.split_once(", 3.2s").unwrap().0.to_owned()
        };
        assert_eq!(tokens("provider", Some(1_000), Some(0)), "in 1,000, out 0");
        assert_eq!(
            tokens("estimated", Some(1_000), Some(5)),
            "in ≈1,000, out ≈5"
        );
        assert_eq!(
            tokens("provider_partial", Some(1_000), Some(5)),
            "in 1,000, out ≥5"
        );
        assert_eq!(tokens("none", None, None), "in —, out —");
    }

    #[test]
    fn known_counted_partial_unknown_and_no_costs_look_different() {
        let cost = |usage_source, cost_nanousd, is_cost_lower_bound| {
            let line = CallLine {
                usage_source,
                cost_nanousd,
                is_cost_lower_bound,
                ..line()
            };
            let text = line.in_zone(&TimeZone::UTC);
            let (_, rest) = text.split_once("out ").unwrap();
            let (_, rest) = rest.split_once("812").unwrap();
            rest.split_once(", 3.2s").unwrap().0.to_owned()
        };
        assert_eq!(cost("provider", Some(0), false), ", $0.00");
        assert_eq!(cost("provider", Some(5_000_000), false), ", $0.0050");
        assert_eq!(cost("provider", Some(5_000_000), true), ", ≥$0.0050");
        assert_eq!(cost("estimated", Some(5_000_000), false), ", ≈$0.0050");
        assert_eq!(cost("provider", None, true), ", cost —");
        assert_eq!(cost("none", None, false), "");
    }

    #[test]
    fn tries_aborts_parts_and_gateways_are_named() {
        let line = CallLine {
            kind: "compaction",
            attempt: Some(2),
            outcome: "aborted",
            aborted_by: Some("client"),
            ttft_ms: Some(390),
            output_tokens_per_second: Some(17.6),
            via_pid: Some(41),
            via_comm: Some("litellm"),
            ..line()
        };
        let text = line.in_zone(&TimeZone::UTC);
        let (_, rest) = text.split_once("3.2s").unwrap();
        assert_eq!(
            rest,
            " (first token 390ms, 18 tok/s), compaction inside a call, try 2, aborted by the client, via litellm[41], session 8f31c2aa-1b2…"
        );
    }

    #[test]
    fn a_hostile_name_stays_on_its_line() {
        let line = CallLine {
            client_name: Some("a\nb\u{1b}[2J"),
            session_key: "\r\n",
            outcome: "error",
            http_status: Some(529),
            ..line()
        };
        assert_eq!(
            line.in_zone(&TimeZone::UTC),
            "Sep 21 14:13:20 a\\nb\\u{1b}[2J[7781] dana claude-opus-5.5: in 171,000 (cached 169,000), out 812, $0.1148, 3.2s, error, HTTP 529, session \\r\\n"
        );
    }
}
