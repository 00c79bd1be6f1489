//! When a limit will be reached, by the profile and the last seven days.

use super::limit::Unit;
use super::period::Span;
use super::profile::Pace;
use super::window::{Spending, Window};
use crate::spend::Amount;

/// LIMIT: what is forecast from. Less than a day has seen neither a night nor a working day.
const LEAST_HISTORY_MS: i64 = 24 * 3_600_000;

/// Halvings of a period until a moment of it is found: those of a year to a millisecond.
const HALVINGS: u32 = 36;

/// What is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forecast {
    /// What will be used when the period ends, or at most within the next one if it is rolling.
    pub(super) projected: u64,
    /// When the limit is reached before that.
    pub(super) exhausted_ms: Option<i64>,
}

/// What was spent per share of a period over the last seven days; `None` if less is known than a day.
fn norm(spending: &Spending, pace: &Pace<'_>, now_ms: i64) -> Option<f64> {
    let first_ms = spending.first_ms()?;
    if now_ms.saturating_sub(first_ms) < LEAST_HISTORY_MS {
        return None;
    }
    let from_ms = Window::Week.start_ms(now_ms).max(first_ms);
    let share = pace.share(from_ms, now_ms);
    (share > 0.0).then(|| spending.sum(Window::Week) as f64 / share)
}

/// The forecast of a period of the calendar.
pub(super) fn calendar(
    spending: &Spending,
    (used, limit): (u64, u64),
    pace: &Pace<'_>,
    now_ms: i64,
    span: Span,
) -> Option<Forecast> {
    let norm = norm(spending, pace, now_ms)?;
    let rest = pace.share(now_ms, span.to_ms) * norm;
    let until = |to_ms: i64| pace.share(now_ms, to_ms) * norm;
    let left = limit.saturating_sub(used) as f64;
    let exhausted_ms =
        (used < limit && rest >= left).then(|| first(now_ms, span.to_ms, |ms| until(ms) >= left));
    Some(Forecast {
        projected: whole(used as f64 + rest),
        exhausted_ms,
    })
}

/// The forecast of a rolling period: what comes by the profile, less what leaves it.
pub(super) fn rolling(
    spending: &Spending,
    (used, limit): (u64, u64),
    pace: &Pace<'_>,
    now_ms: i64,
    (unit, leaving): (Unit, &[(i64, Amount)]),
) -> Option<Forecast> {
    let norm = norm(spending, pace, now_ms)?;
    let mut left = limit as f64 - used as f64;
    let mut projected = used as f64;
    let mut exhausted_ms = None;
    let mut from_ms = now_ms;
    for (to_ms, amount) in leaving.iter().filter(|(to_ms, _)| *to_ms > now_ms) {
        let come = |to_ms: i64| pace.share(now_ms, to_ms) * norm;
        projected = projected.max(limit as f64 - left + come(*to_ms));
        if exhausted_ms.is_none() && used < limit && come(*to_ms) >= left {
            exhausted_ms = Some(first(from_ms, *to_ms, |ms| come(ms) >= left));
        }
        left += unit.of(amount) as f64;
        from_ms = *to_ms;
    }
    Some(Forecast {
        projected: whole(projected),
        exhausted_ms,
    })
}

/// When the limit is reached if it goes on as in a window.
pub(super) fn at_rate(
    spending: &Spending,
    window: Window,
    (used, limit): (u64, u64),
    now_ms: i64,
) -> Option<i64> {
    let spent = spending.sum(window);
    let left = u128::from(limit.checked_sub(used)?);
    let length = u128::try_from(now_ms.saturating_sub(window.start_ms(now_ms))).ok()?;
    let wait = left.checked_mul(length)?.checked_div(spent)?;
    now_ms.checked_add(i64::try_from(wait).ok()?)
}

/// The first moment in a stretch at which something holds that holds at its end, and stays once it does.
fn first(from_ms: i64, to_ms: i64, holds: impl Fn(i64) -> bool) -> i64 {
    let (mut before, mut after) = (from_ms, to_ms);
    for _ in 0..HALVINGS {
        let middle = before + (after - before) / 2;
        if holds(middle) {
            after = middle;
        } else {
            before = middle;
        }
    }
    after
}

/// A figure without its part below one; out of range it is the nearest one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, which is what is wanted"
)]
const fn whole(figure: f64) -> u64 {
    figure as u64
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::super::profile::{DAY_MS, HOUR_MS, Offsets, Week};
    use super::super::total::Change;
    use super::*;

    /// Ten an hour for eight days.
    fn steady(now_ms: i64) -> Spending {
        let mut spending = Spending::default();
        for hour in 0..8 * 24 {
            spending.change(Change::Add, now_ms - hour * HOUR_MS - 1, 10, now_ms);
        }
        spending.advance(now_ms - 1);
        spending
    }

    #[test]
    fn steady_spending_is_forecast_to_the_hour() {
        let week = Week::flat();
        let offsets = Offsets::new(&TimeZone::UTC, 0, 40 * DAY_MS);
        let span = Span {
            from_ms: 0,
            to_ms: 30 * DAY_MS,
        };
        let pace = Pace::new(&week, &offsets, span.from_ms, span.to_ms);
        let now_ms = 20 * DAY_MS;
        let spending = steady(now_ms);
        let of = |used, limit| calendar(&spending, (used, limit), &pace, now_ms - 1, span).unwrap();
        assert_eq!(
            of(4_800, 8_000),
            Forecast {
                projected: 7_200,
                exhausted_ms: None
            }
        );
        let forecast = of(4_800, 6_000);
        assert_eq!(forecast.projected, 7_200);
        let hours = (forecast.exhausted_ms.unwrap() - now_ms) as f64 / HOUR_MS as f64;
        assert!((hours - 120.0).abs() < 0.01, "{hours}");
        let exceeded = of(6_001, 6_000);
        assert_eq!(exceeded.exhausted_ms, None);
        assert_eq!(
            at_rate(&spending, Window::Hour, (5_000, 5_100), now_ms - 1),
            Some(now_ms - 11 + 10 * HOUR_MS)
        );
        assert_eq!(at_rate(&spending, Window::Hour, (6, 5), now_ms), None);
    }

    #[test]
    fn nothing_is_forecast_from_less_than_a_day() {
        let week = Week::flat();
        let offsets = Offsets::new(&TimeZone::UTC, 0, 40 * DAY_MS);
        let pace = Pace::new(&week, &offsets, 0, DAY_MS);
        let mut spending = Spending::default();
        spending.change(Change::Add, 2 * HOUR_MS, 1_000, 0);
        spending.advance(3 * HOUR_MS);
        assert_eq!(norm(&spending, &pace, 3 * HOUR_MS), None);
    }

    #[test]
    fn what_leaves_a_rolling_period_makes_room() {
        let week = Week::flat();
        let now_ms = 20 * DAY_MS;
        let offsets = Offsets::new(&TimeZone::UTC, 0, 40 * DAY_MS);
        let pace = Pace::new(&week, &offsets, now_ms - 7 * DAY_MS, now_ms);
        let spending = steady(now_ms);
        let cell = |hour: i64, tokens: u64| {
            let amount = Amount {
                tokens,
                ..Amount::default()
            };
            (now_ms + hour * HOUR_MS, amount)
        };
        let even: Vec<_> = (1..=168).map(|hour| cell(hour, 10)).collect();
        let of = |leaving: &[(i64, Amount)], limit| {
            let figures = (1_680, limit);
            rolling(
                &spending,
                figures,
                &pace,
                now_ms - 1,
                (Unit::Tokens, leaving),
            )
            .unwrap()
        };
        assert_eq!(of(&even, 1_700).exhausted_ms, None);
        // All of it leaves in four days' time.
        let late = [cell(96, 1_680), cell(168, 0)];
        let forecast = of(&late, 1_920);
        assert_eq!(forecast.projected, 1_680 + 960);
        let hours = (forecast.exhausted_ms.unwrap() - now_ms) as f64 / HOUR_MS as f64;
        assert!((hours - 24.0).abs() < 0.01, "{hours}");
    }
}
