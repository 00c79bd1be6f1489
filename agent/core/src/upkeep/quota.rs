//! Limits of accounts that are nearly used up, as providers told it.

use std::time::Duration;

use serde_json::json;

use super::{Settings, condition, is_within};
use crate::alert::{Condition, Rule, Severity};

/// Limits for shorter times only slow a client down.
const SHORT_SECONDS: u64 = 60 * 60;
/// One that begins anew so soon after it was told is taken for such a one.
const SOON: Duration = Duration::from_secs(10 * 60);
/// How long what was told counts, if it was not told until when.
const FRESH: Duration = Duration::from_secs(60 * 60);
/// Millionths of a percent.
const PERCENT: u64 = 10_000;

/// The last that was told of a limit of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Provider.
    pub provider: String,
    /// Keyed hash of the account, if a response named it.
    pub account: Option<String>,
    /// Name of the limit.
    pub limit: String,
    /// What is used, in millionths.
    pub used_millionths: u32,
    /// Time that the limit is for, in seconds.
    pub window_seconds: Option<u64>,
    /// When it was told, in milliseconds since the Unix epoch.
    pub observed_unix_ms: i64,
    /// When it begins anew, likewise.
    pub resets_unix_ms: Option<i64>,
}

impl Quota {
    /// Whether it still says something that matters.
    fn counts(&self, now_unix_ms: i64) -> bool {
        let is_short = match (self.window_seconds, self.resets_unix_ms) {
            (Some(seconds), _) => seconds < SHORT_SECONDS,
            (None, Some(resets)) => {
                resets <= self.observed_unix_ms || is_within(resets, self.observed_unix_ms, SOON)
            }
            (None, None) => false,
        };
        let is_valid = self.resets_unix_ms.map_or_else(
            || is_within(self.observed_unix_ms, now_unix_ms, FRESH),
            |resets| resets > now_unix_ms,
        );
        is_valid && !is_short
    }
}

pub(super) fn evaluate<'a>(
    now_unix_ms: i64,
    quotas: &'a [Quota],
    settings: &'a Settings,
) -> impl Iterator<Item = Condition> + 'a {
    let known = quotas.iter().filter(move |quota| quota.counts(now_unix_ms));
    known.filter_map(move |quota| {
        let used = u64::from(quota.used_millionths);
        let reaches = |percent: u64| percent > 0 && used >= percent.saturating_mul(PERCENT);
        let severity = if reaches(settings.quota_page_percent) {
            Severity::Page
        } else if reaches(settings.quota_ticket_percent) {
            Severity::Ticket
        } else {
            return None;
        };
        let mut scope = vec![("provider", quota.provider.as_str())];
        scope.extend(quota.account.as_deref().map(|account| ("account", account)));
        let found = condition(
            (Rule::Quota, severity),
            &scope,
            format!(
                "{}: {}.{} % of the limit {} is used",
                quota.provider,
                used / PERCENT,
                used % PERCENT * 10 / PERCENT,
                quota.limit
            ),
            json!({
                "limit": quota.limit,
                "used_millionths": quota.used_millionths,
                "window_seconds": quota.window_seconds,
                "observed_unix_ms": quota.observed_unix_ms,
                "resets_unix_ms": quota.resets_unix_ms,
            }),
        );
        Some(Condition {
            variant: quota.limit.clone(),
            ..found
        })
    })
}
