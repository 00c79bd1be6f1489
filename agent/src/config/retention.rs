//! Section `[retention]`: how long the ledger keeps what it has.

use super::file::{self, Section, Written};
use super::{Check, check_range};

/// LIMIT: a hundred years.
const DAYS: std::ops::RangeInclusive<i64> = 0..=36_500;
/// LIMIT: sixteen tebibytes, the largest database that SQLite makes of pages of 4 KiB.
const MAX_MB: std::ops::RangeInclusive<i64> = 0..=16_777_216;

/// How long rows are kept, in days; 0 for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Calls.
    pub request_days: u32,
    /// Sums by quarter of an hour; no shorter than calls.
    pub rollup_days: u32,
    /// What became of observed bytes.
    pub coverage_days: u32,
    /// Limits of accounts.
    pub rate_limit_days: u32,
    /// Size of the ledger in MiB from which on calls go before their time; 0 for any.
    pub max_mb: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            request_days: 90,
            rollup_days: 0,
            coverage_days: 14,
            rate_limit_days: 30,
            max_mb: 0,
        }
    }
}

impl Check<'_> {
    pub(super) fn retention(&mut self, section: Section<file::Retention>) {
        let Some(section) = self.section("retention", section) else {
            return;
        };
        let mut kept = self.loaded.config.retention;
        for (key, written, place) in [
            (
                "retention.request_days",
                section.request_days,
                &mut kept.request_days,
            ),
            (
                "retention.rollup_days",
                section.rollup_days,
                &mut kept.rollup_days,
            ),
            (
                "retention.coverage_days",
                section.coverage_days,
                &mut kept.coverage_days,
            ),
            (
                "retention.rate_limit_days",
                section.rate_limit_days,
                &mut kept.rate_limit_days,
            ),
        ] {
            self.number(key, written, &DAYS, "days", place);
        }
        self.number(
            "retention.max_mb",
            section.max_mb,
            &MAX_MB,
            "MiB",
            &mut kept.max_mb,
        );
        let calls_outlast = kept.request_days == 0 || kept.request_days > kept.rollup_days;
        if kept.rollup_days > 0 && calls_outlast {
            self.mistake(
                "retention.rollup_days",
                "sums must be kept no shorter than calls; write 0, or at least request_days"
                    .to_owned(),
            );
        }
        self.loaded.config.retention = kept;
        self.unknown(
            "retention",
            &section.unknown,
            "request_days, rollup_days, coverage_days, rate_limit_days, max_mb",
        );
    }

    fn number(
        &mut self,
        key: &'static str,
        written: Written<i64>,
        range: &std::ops::RangeInclusive<i64>,
        unit: &str,
        place: &mut u32,
    ) {
        let checked = self.value(key, written, "an integer", |number| {
            check_range(number, range, unit)
        });
        if let Some(number) = checked {
            *place = u32::try_from(number).unwrap_or(u32::MAX);
        }
    }
}
