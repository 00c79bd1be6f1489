//! One budget and what the values of its scope used.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::burn::{BurnRule, Fire, burn};
use super::definition::{Budget, Clock, Scope, Share, Urgency};
use super::forecast::{self, Forecast};
use super::period::{Period, Span};
use super::profile::{DAY_MS, HOUR_MS, Hours, Offsets, Pace, Profile, WEEK_MS, Week};
use super::status::{State, Status};
use super::total::{Change, Totals};
use super::window::{Spending, Window};
use crate::alert::Condition;
use crate::spend::{Amount, Payer};

/// How far back windows and learned weeks reach.
const REACH_MS: i64 = 6 * WEEK_MS;

/// Offsets are found again after so long.
const SLACK_MS: i64 = 7 * DAY_MS;

/// Full weeks that a profile is learned from.
const WEEKS: i64 = 4;

/// A forecast that was above the limit is so until it is a twentieth below.
const FORECAST_CLEARS: u128 = 95;

/// Sessions in evidence.
const TOP: usize = 5;

/// What is booked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Booking<'a> {
    pub(super) unix_ms: i64,
    pub(super) payer: &'a Payer,
    pub(super) amount: &'a Amount,
    pub(super) session: Option<(&'a Arc<str>, Option<u32>)>,
}

/// A budget and what was used of it.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    pub(super) budget: Budget,
    zone: TimeZone,
    /// The profile that needs no history.
    week: Week,
    values: BTreeMap<Arc<str>, Used>,
    /// The values for which there was no room, together.
    rest: Option<Used>,
    /// Periods that were found, the last one first.
    spans: Vec<Span>,
    offsets: Option<Offsets>,
    now_ms: i64,
    /// Whether what was learned is of a past that has changed.
    is_stale: bool,
}

/// What one value of the scope used.
#[derive(Clone, Debug)]
struct Used {
    spending: Spending,
    totals: Totals,
    /// The part of calls that still run.
    open: Amount,
    /// The number of the week before which it was learned, and the profile.
    learned: Option<(i64, Option<Week>)>,
    fires: [Fire; BurnRule::ALL.len()],
    is_forecast: bool,
}

impl Used {
    fn new(period: Period) -> Self {
        Self {
            spending: Spending::default(),
            totals: match period {
                Period::Rolling { hours } => Totals::rolling(hours),
                Period::Day
                | Period::Week(_)
                | Period::Month(_)
                | Period::Quarter(_)
                | Period::Year { .. } => Totals::calendar(),
            },
            open: Amount::default(),
            learned: None,
            fires: [Fire::Out; BurnRule::ALL.len()],
            is_forecast: false,
        }
    }

    /// Whether nobody would miss it.
    fn is_empty(&self) -> bool {
        self.spending.is_empty()
            && self.totals.is_empty()
            && !self.is_forecast
            && !self.fires.iter().any(|fire| fire.is_burning())
    }

    /// Learns the profile of the last four full weeks, once a week; there is none until something was
    /// spent in the first of them.
    fn learn(&mut self, offsets: &Offsets, now_ms: i64) {
        let week = offsets.local_ms(now_ms).div_euclid(WEEK_MS);
        if self
            .learned
            .as_ref()
            .is_some_and(|(known, _)| *known == week)
        {
            return;
        }
        let mut spent = [0.0; 168];
        let mut has_first = false;
        for (from_ms, figure) in self.spending.hours() {
            let local_ms = offsets.local_ms(from_ms);
            let of = local_ms.div_euclid(WEEK_MS);
            if of < week - WEEKS || of >= week {
                continue;
            }
            has_first |= of == week - WEEKS;
            let hour = usize::try_from(local_ms.rem_euclid(WEEK_MS) / HOUR_MS);
            if let Some(sum) = hour.ok().and_then(|hour| spent.get_mut(hour)) {
                *sum += figure as f64;
            }
        }
        let learned = has_first.then(|| Week::learned(&spent)).flatten();
        self.learned = Some((week, learned));
    }
}

impl Meter {
    pub(super) fn new(budget: Budget, local: &TimeZone, now_ms: i64) -> Self {
        let week = match budget.profile {
            Profile::Flat => Week::flat(),
            Profile::Business(hours) => Week::business(&hours),
            Profile::Learned | Profile::Auto => Week::business(&Hours::USUAL),
        };
        Self {
            zone: match budget.clock {
                Clock::Local => local.clone(),
                Clock::Utc => TimeZone::UTC,
            },
            budget,
            week,
            values: BTreeMap::new(),
            rest: None,
            spans: Vec::new(),
            offsets: None,
            now_ms,
            is_stale: false,
        }
    }

    /// How many values it watches.
    pub(super) fn values(&self) -> usize {
        self.values.len()
    }

    /// The period that a moment is in.
    fn span(&mut self, unix_ms: i64) -> Option<Span> {
        if let Some(place) = self.spans.iter().position(|span| span.contains(unix_ms)) {
            return self.spans.get(place).copied();
        }
        let span = match self.budget.period {
            Period::Rolling { hours } => {
                let length = i64::from(hours) * HOUR_MS;
                return Some(Span {
                    from_ms: unix_ms.saturating_sub(length),
                    to_ms: unix_ms.saturating_add(1),
                });
            }
            period @ (Period::Day
            | Period::Week(_)
            | Period::Month(_)
            | Period::Quarter(_)
            | Period::Year { .. }) => period.span(unix_ms, &self.zone)?,
        };
        // LIMIT: periods that are known at once: those that calls of a moment are in.
        self.spans.truncate(3);
        self.spans.insert(0, span);
        Some(span)
    }

    /// Books or takes out; whether it had to go to the rest, for want of room.
    pub(super) fn change(&mut self, booking: Booking<'_>, change: Change, has_room: bool) -> bool {
        let Some(value) = self.budget.covers(booking.payer) else {
            return false;
        };
        let spans = (self.span(booking.unix_ms), self.span(self.now_ms));
        let (Some(span), Some(current)) = spans else {
            return false;
        };
        let period = self.budget.period;
        let is_known = self.values.contains_key(value);
        let may_begin = change == Change::Add && (has_room || value.is_empty());
        let used = match change {
            _ if is_known => self.values.get_mut(value),
            Change::Add if may_begin => {
                let value = Arc::from(value);
                Some(
                    self.values
                        .entry(value)
                        .or_insert_with(|| Used::new(period)),
                )
            }
            Change::Add => Some(self.rest.get_or_insert_with(|| Used::new(period))),
            Change::Remove => self.rest.as_mut(),
        };
        let Some(used) = used else { return false };
        let figure = self.budget.limit.unit.of(booking.amount);
        let spending = &mut used.spending;
        spending.change(change, booking.unix_ms, figure, self.now_ms);
        let at = (booking.unix_ms, span, current);
        let total = used.totals.change(at, booking.amount, change);
        if let (Some(total), Some((session, uid))) = (total, booking.session) {
            total.sessions.change(session, uid, figure, change);
        }
        !is_known && !may_begin
    }

    /// Counts the part of a running call, which was booked.
    pub(super) fn open(&mut self, booking: Booking<'_>) {
        let Some(value) = self.budget.covers(booking.payer) else {
            return;
        };
        let spans = (self.span(booking.unix_ms), self.span(self.now_ms));
        let is_current = match self.budget.period {
            Period::Rolling { .. } => true,
            Period::Day
            | Period::Week(_)
            | Period::Month(_)
            | Period::Quarter(_)
            | Period::Year { .. } => spans.0 == spans.1,
        };
        let used = match self.values.get_mut(value) {
            None => self.rest.as_mut(),
            known => known,
        };
        if let Some(used) = used.filter(|_| is_current) {
            used.open.add(booking.amount);
        }
    }

    pub(super) fn forget_open(&mut self) {
        for used in self.values.values_mut().chain(&mut self.rest) {
            used.open = Amount::default();
        }
    }

    /// Takes what was stored: the highest threshold that a value reached in a period.
    pub(super) fn restore(&mut self, value: &str, from_ms: i64, reached: Share, has_room: bool) {
        let period = self.budget.period;
        let is_rolling = matches!(period, Period::Rolling { .. });
        // One that began at another moment is none of its periods: it was configured otherwise.
        let span = self.span(from_ms);
        let span = span.filter(|span| is_rolling || span.from_ms == from_ms);
        let Some(span) = span else { return };
        if has_room || value.is_empty() || self.values.contains_key(value) {
            let used = self.values.entry(Arc::from(value));
            let used = used.or_insert_with(|| Used::new(period));
            used.totals.restore(span, reached);
        }
    }

    /// Learns anew at the next evaluation: the past has changed.
    pub(super) const fn forget_learned(&mut self) {
        self.is_stale = true;
    }

    /// Goes to a moment.
    pub(super) const fn advance(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    /// Forgets what is past.
    pub(super) fn forget(&mut self) {
        let Some(span) = self.span(self.now_ms) else {
            return;
        };
        for used in self.values.values_mut().chain(&mut self.rest) {
            used.spending.forget(self.now_ms);
            used.totals.forget(self.now_ms, span);
        }
    }

    /// How all values stand and what is wrong with them.
    pub(super) fn evaluate(&mut self) -> Vec<(Status, Vec<Condition>)> {
        let Some(span) = self.span(self.now_ms) else {
            return Vec::new();
        };
        self.values.retain(|_, used| !used.is_empty());
        self.rest = self.rest.take().filter(|used| !used.is_empty());
        let now_ms = self.now_ms;
        let length = span.to_ms.saturating_sub(span.from_ms);
        let from_ms = span.from_ms.min(now_ms.saturating_sub(REACH_MS));
        let to_ms = span.to_ms.max(now_ms.saturating_add(length));
        let offsets = self
            .offsets
            .take()
            .filter(|known| known.cover(from_ms, to_ms));
        let offsets = offsets.unwrap_or_else(|| {
            let to_ms = to_ms.saturating_add(SLACK_MS);
            Offsets::new(&self.zone, from_ms.saturating_sub(SLACK_MS), to_ms)
        });
        let moment = Moment {
            budget: &self.budget,
            week: &self.week,
            offsets: &offsets,
            span,
            now_ms,
        };
        let whole = match &self.budget.scope {
            Scope::Host => Vec::new(),
            Scope::Each(facet) => vec![(facet.as_str().to_owned(), String::new())],
            Scope::Like(facet, pattern) => vec![(facet.as_str().to_owned(), pattern.clone())],
        };
        if self.values.is_empty() && !matches!(self.budget.scope, Scope::Each(_)) {
            // One limit for all stands somehow even if nothing was used.
            let used = Used::new(self.budget.period);
            self.values.insert(Arc::from(""), used);
        }
        let mut found = Vec::new();
        if std::mem::take(&mut self.is_stale) {
            for used in self.values.values_mut().chain(&mut self.rest) {
                used.learned = None;
            }
        }
        for (value, used) in &mut self.values {
            let mut scope = whole.clone();
            if let (Scope::Each(_), Some((_, place))) = (&self.budget.scope, scope.first_mut()) {
                place.push_str(value);
            }
            found.push(moment.evaluate(used, scope, false));
        }
        if let Some(used) = &mut self.rest {
            let mut scope = whole;
            if let Some((_, place)) = scope.first_mut() {
                place.push_str("other");
            }
            found.push(moment.evaluate(used, scope, true));
        }
        self.offsets = Some(offsets);
        found
    }
}

/// What all values of a budget have in common at a moment.
struct Moment<'a> {
    budget: &'a Budget,
    week: &'a Week,
    offsets: &'a Offsets,
    span: Span,
    now_ms: i64,
}

impl Moment<'_> {
    fn pace<'a>(&'a self, week: &'a Week) -> Pace<'a> {
        Pace::new(week, self.offsets, self.span.from_ms, self.span.to_ms)
    }

    fn evaluate(
        &self,
        used: &mut Used,
        scope: Vec<(String, String)>,
        is_rest: bool,
    ) -> (Status, Vec<Condition>) {
        let Self { budget, now_ms, .. } = *self;
        let (unit, limit) = (budget.limit.unit, budget.limit.amount);
        used.spending.advance(now_ms);
        if matches!(budget.profile, Profile::Learned | Profile::Auto) {
            used.learn(self.offsets, now_ms);
        }
        let learned = used.learned.take();
        let learned_week = learned.as_ref().and_then(|(_, week)| week.as_ref());
        let slow = self.pace(learned_week.unwrap_or(self.week));
        let fast = match budget.profile {
            Profile::Learned => slow,
            Profile::Flat | Profile::Business(_) | Profile::Auto => self.pace(self.week),
        };
        let pace_of = |urgency: Urgency| match urgency {
            Urgency::Page => &fast,
            Urgency::Ticket | Urgency::Off => &slow,
        };
        let mut fires = used.fires;
        for (rule, fire) in BurnRule::ALL.iter().zip(&mut fires) {
            let pace = pace_of(rule.urgency);
            let limits = (limit, budget.least_burn());
            *fire = match rule.urgency <= budget.urgency {
                true => fire.next(rule, &used.spending, limits, pace, now_ms),
                false => Fire::Out,
            };
        }
        let leaving = used.totals.leaving();
        let total = used.totals.current(now_ms, self.span);
        let figure = unit.of(&total.amount);
        let is_rolling = matches!(budget.period, Period::Rolling { .. });
        if is_rolling {
            total.thresholds.fall(&budget.thresholds, figure, limit);
        }
        total.thresholds.rise(&budget.thresholds, figure, limit);
        let figures = (figure, limit);
        let forecast = match is_rolling {
            true => forecast::rolling(&used.spending, figures, &slow, now_ms, (unit, &leaving)),
            false => forecast::calendar(&used.spending, figures, &slow, now_ms, self.span),
        };
        let is_forecast = is_forecast(used.is_forecast, forecast, figures)
            && used.spending.sum(Window::Week) >= u128::from(budget.least_burn());
        let burning = || {
            let rules = BurnRule::ALL.iter().zip(&fires);
            rules.filter(|(_, fire)| fire.is_burning())
        };
        let by_rate = burning()
            .filter_map(|(rule, _)| forecast::at_rate(&used.spending, rule.long, figures, now_ms))
            .min();
        let burns = [
            Window::FiveMinutes,
            Window::HalfHour,
            Window::Hour,
            Window::SixHours,
            Window::ThreeDays,
        ]
        .into_iter()
        .filter_map(|window| {
            let pace = match window {
                Window::ThreeDays | Window::Week => &slow,
                Window::FiveMinutes | Window::HalfHour | Window::Hour | Window::SixHours => &fast,
            };
            Some((window, burn(&used.spending, window, limit, pace, now_ms)?))
        })
        .collect();
        let worst = burning().map(|(rule, _)| rule.urgency).max();
        let state = match worst {
            _ if figure >= limit => State::Exceeded,
            Some(Urgency::Page) => State::Page,
            Some(Urgency::Ticket) => State::Ticket,
            Some(Urgency::Off) | None if is_forecast => State::Ticket,
            Some(Urgency::Off) | None => State::Ok,
        };
        let status = Status {
            budget: Arc::clone(&budget.name),
            scope,
            is_rest,
            unit,
            limit,
            used: figure,
            is_at_least: unit.is_more(&total.amount),
            open: unit.of(&used.open),
            amount: total.amount,
            period_from_unix_ms: self.span.from_ms,
            reset_unix_ms: (!is_rolling).then_some(self.span.to_ms),
            burns,
            projected: forecast.map(|forecast| forecast.projected),
            exhausted_unix_ms: by_rate
                .or_else(|| forecast.and_then(|forecast| forecast.exhausted_ms)),
            reached: total.thresholds.reached,
            sessions: total.sessions.top(TOP),
            state,
        };
        let mut conditions = Vec::new();
        let holding = total.thresholds.holding();
        conditions.extend(holding.map(|share| status.threshold(budget, share)));
        conditions.extend(burning().map(|(rule, _)| {
            status.burning(rule.severity(), rule.variant(), (rule.long, rule.short))
        }));
        conditions.extend(is_forecast.then(|| status.forecast()));
        conditions.extend(status.unpriced());
        used.learned = learned;
        used.fires = fires;
        used.is_forecast = is_forecast;
        (status, conditions)
    }
}

/// Whether the limit will be reached: above it, until it is a twentieth below. A budget that is used up
/// needs no forecast.
fn is_forecast(was: bool, forecast: Option<Forecast>, (used, limit): (u64, u64)) -> bool {
    let Some(Forecast { projected, .. }) = forecast.filter(|_| used < limit) else {
        return false;
    };
    let least = if was { FORECAST_CLEARS } else { 100 };
    u128::from(projected) * 100 > u128::from(limit) * least
}
