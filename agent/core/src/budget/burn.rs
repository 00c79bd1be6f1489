//! Burning: spending faster than a period passes.
//!
//! The burn of a window is what was spent in it over what its profile expects there: 1 is on course to
//! end exactly at the limit. A rule fires when a long and a short window both burn faster than its
//! factor and enough was spent to matter, and clears when the short one has been slower for a while.

use super::definition::Urgency;
use super::profile::Pace;
use super::window::{Spending, Window};
use crate::alert::Severity;

/// A rule of burning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurnRule {
    /// How urgent it is.
    pub(super) urgency: Urgency,
    /// The window that shows that it matters.
    pub(super) long: Window,
    /// The window that shows that it goes on.
    pub(super) short: Window,
    /// Both burn faster than this when it fires.
    pub(super) factor: f64,
    /// The short window burns slower than this when it is over,
    pub(super) clear_factor: f64,
    /// for so long, in milliseconds.
    pub(super) clear_ms: i64,
}

impl BurnRule {
    /// The rules, by urgency: two that page, by what an hour and what six hours show, and a ticket.
    ///
    /// At 14.4 a month's budget is gone in two days, at 6 in five, at 1.5 ten days early. Factors and
    /// windows of the pages are those of the SRE workbook, chapter 5, for budgets of errors; that of
    /// the ticket is 1.5 there's 1, by the simulation in `simulation.rs`.
    pub(super) const ALL: [Self; 3] = [
        Self {
            urgency: Urgency::Page,
            long: Window::Hour,
            short: Window::FiveMinutes,
            factor: 14.4,
            clear_factor: 14.4,
            clear_ms: 5 * 60_000,
        },
        Self {
            urgency: Urgency::Page,
            long: Window::SixHours,
            short: Window::HalfHour,
            factor: 6.0,
            clear_factor: 6.0,
            clear_ms: 15 * 60_000,
        },
        Self {
            urgency: Urgency::Ticket,
            long: Window::ThreeDays,
            short: Window::SixHours,
            factor: 1.5,
            clear_factor: 1.0,
            clear_ms: 60 * 60_000,
        },
    ];

    pub(super) const fn severity(&self) -> Severity {
        match self.urgency {
            Urgency::Page => Severity::Page,
            Urgency::Ticket => Severity::Ticket,
            Urgency::Off => Severity::Log,
        }
    }

    /// The part of an alert's identity that tells it from the others of its budget.
    pub(super) fn variant(&self) -> String {
        format!("{}/{}", self.long.as_str(), self.short.as_str())
    }
}

/// How fast a window burns a limit; `None` where nothing is expected in it.
pub(super) fn burn(
    spending: &Spending,
    window: Window,
    limit: u64,
    pace: &Pace<'_>,
    now_ms: i64,
) -> Option<f64> {
    let expected = pace.share(window.start_ms(now_ms), now_ms) * limit as f64;
    (expected > 0.0).then(|| spending.sum(window) as f64 / expected)
}

/// Whether a rule fires for a value of a scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fire {
    /// It does not.
    #[default]
    Out,
    /// It does.
    Burning,
    /// It does, and the short window has been slow since a moment.
    Dying {
        /// The moment.
        since_ms: i64,
    },
}

impl Fire {
    pub(super) const fn is_burning(self) -> bool {
        match self {
            Self::Out => false,
            Self::Burning | Self::Dying { .. } => true,
        }
    }

    /// What it is at a later moment.
    pub(super) fn next(
        self,
        rule: &BurnRule,
        spending: &Spending,
        (limit, least): (u64, u64),
        pace: &Pace<'_>,
        now_ms: i64,
    ) -> Self {
        let is_above = |window: Window, factor: f64| {
            burn(spending, window, limit, pace, now_ms).is_some_and(|burn| burn > factor)
        };
        let since_ms = match self {
            Self::Out => {
                let matters = spending.sum(rule.long) >= u128::from(least);
                let fires = matters
                    && is_above(rule.long, rule.factor)
                    && is_above(rule.short, rule.factor);
                return if fires { Self::Burning } else { Self::Out };
            }
            Self::Burning => now_ms,
            // A clock that was set back begins anew.
            Self::Dying { since_ms } => since_ms.min(now_ms),
        };
        if is_above(rule.short, rule.clear_factor) {
            Self::Burning
        } else if now_ms.saturating_sub(since_ms) >= rule.clear_ms {
            Self::Out
        } else {
            Self::Dying { since_ms }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::super::period::tests::{ZONES, zone};
    use super::super::period::{Period, Span};
    use super::super::profile::{DAY_MS, Hours, Offsets, Week};
    use super::super::total::Change;
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "shares of a limit are in range"
    )]
    fn whole(figure: f64) -> u64 {
        figure.round() as u64
    }

    proptest! {
        #[test]
        fn spending_along_the_profile_burns_at_one(
            rules in proptest::sample::select(&ZONES[..]),
            moment in 1_577_836_800_000_i64..2_208_988_800_000,
            is_flat in any::<bool>(),
        ) {
            let zone = zone(rules);
            let week = if is_flat { Week::flat() } else { Week::business(&Hours::USUAL) };
            let Span { from_ms, to_ms } = Period::DEFAULT.span(moment, &zone).unwrap();
            let offsets = Offsets::new(&zone, from_ms - 8 * DAY_MS, to_ms);
            let pace = Pace::new(&week, &offsets, from_ms, to_ms);
            let limit = 1_000_000_000_000_000;
            let spent = |at: i64| whole(pace.share(at, at + MINUTE_MS) * limit as f64);
            let now_ms = moment.div_euclid(MINUTE_MS) * MINUTE_MS;
            let mut spending = Spending::default();
            let mut at = now_ms - 8 * DAY_MS;
            while at < now_ms {
                spending.change(Change::Add, at, spent(at), now_ms);
                at += MINUTE_MS;
            }
            spending.advance(now_ms);
            for window in Window::ALL {
                let burn = burn(&spending, window, limit, &pace, now_ms).unwrap();
                prop_assert!((burn - 1.0).abs() < 1e-4, "{window:?} {burn}");
            }
        }
    }

    #[test]
    fn a_rule_fires_on_both_windows_and_clears_after_its_patience() {
        let [rule, ..] = BurnRule::ALL;
        let week = Week::flat();
        let offsets = Offsets::new(&TimeZone::UTC, 0, 30 * DAY_MS);
        let pace = Pace::new(&week, &offsets, 0, 30 * DAY_MS);
        // One a minute is burn 1; one per cent is 432.
        let limit = (432 * 100, 432);
        let mut spending = Spending::default();
        let mut fire = Fire::Out;
        let mut turns = Vec::new();
        for minute in 0..240 {
            if (100..130).contains(&minute) {
                spending.change(Change::Add, minute * MINUTE_MS, 40, 0);
            }
            let now_ms = (minute + 1) * MINUTE_MS;
            spending.advance(now_ms);
            let next = fire.next(&rule, &spending, limit, &pace, now_ms);
            if next.is_burning() != fire.is_burning() {
                turns.push((minute, next));
            }
            fire = next;
        }
        // After 22 of them the hour has more than 14.4 times its 59 to 60 minutes; the five minutes
        // are slower from the third after the last one on, for five minutes.
        assert_eq!(turns, [(121, Fire::Burning), (137, Fire::Out)]);
    }
}
