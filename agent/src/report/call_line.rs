//! One finished call on one line.

use std::fmt::Write as _;

use agent_core::llm::UsageSource;
use agent_core::session::UsageRecord;
use jiff::tz::TimeZone;

use super::{table, text};
use crate::store::Call;

/// Columns that a session key takes in a line.
const SESSION_COLUMNS: usize = 13;

/// One finished call, as `bpftok run` prints it on a terminal and `bpftok tail` from the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

impl<'a> From<&'a UsageRecord> for CallLine<'a> {
    fn from(record: &'a UsageRecord) -> Self {
        let call = &record.call;
        let usage = &call.usage;
        let process = record.process.as_deref();
        let input = [
            usage.input_uncached,
            usage.cache_read,
            usage.cache_write_5m,
            usage.cache_write_1h,
            usage.cache_write_other,
        ];
        Self {
            started_ms: record.started_unix_ms,
            duration_ms: record.duration_ms,
            client_name: record.client.name.as_deref(),
            comm: process.map(|process| process.comm.as_str()),
            pid: process.map(|process| i64::from(process.id.pid)),
            user_name: process.and_then(|process| process.user_name.as_deref()),
            provider: call.provider.0,
            model: call
                .model_served
                .as_deref()
                .or(call.model_requested.as_deref()),
            http_status: call.http_status.map(i64::from),
            outcome: call.outcome.as_str(),
            usage_source: call.usage_source.as_str(),
            context_tokens: input.into_iter().flatten().reduce(u64::saturating_add),
            cache_read_tokens: usage.cache_read,
            output_tokens: usage.output,
            session_key: &record.session.0,
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
            ", out {}, {}",
            self.tokens(self.output_tokens, Part::Output),
            text::duration(self.duration_ms)
        ));
        if self.outcome != "complete" {
            add(format_args!(", {}", text::visible(self.outcome)));
        }
        if let Some(status) = self.http_status.filter(|status| *status != 200) {
            add(format_args!(", HTTP {status}"));
        }
        let session = text::visible(self.session_key);
        add(format_args!(
            ", session {}",
            text::fit(&session, SESSION_COLUMNS, text::Cut::End)
        ));
        line
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
        }
    }

    #[test]
    fn a_complete_call_says_who_what_how_much_and_how_long() {
        assert_eq!(
            line().in_zone(&TimeZone::UTC),
            "Sep 21 14:13:20 claude-code[7781] dana claude-opus-5.5: in 171,000 (cached 169,000), out 812, 3.2s, session 8f31c2aa-1b2…"
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
            "Sep 21 14:13:20 a\\nb\\u{1b}[2J[7781] dana claude-opus-5.5: in 171,000 (cached 169,000), out 812, 3.2s, error, HTTP 529, session \\r\\n"
        );
    }
}
