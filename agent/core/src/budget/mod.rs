//! Budgets: how much was used of limits, how fast, and when they will be reached.
//!
//! [`Budgets`] takes [`Spend`]s as they are stored, those that still run at each evaluation, and sums
//! of the ledger at start; it gives how each budget stands, and the [`Condition`]s that somebody has
//! to know of. It owns what was used, by budget, value of its scope and period, and nothing about
//! alerts: what is said, to whom and how often is decided elsewhere.
//!
//! What it must not do: read a clock, or call unknown what is zero, and zero what is unknown. A figure
//! with something in it that has no price is a lower bound, and says so.

mod burn;
mod definition;
mod forecast;
mod limit;
mod meter;
mod period;
mod profile;
mod status;
mod total;
mod window;

use jiff::tz::TimeZone;

use crate::alert::Condition;
use crate::spend::{Amount, Payer, Spend};
use meter::{Booking, Meter};
use total::Change;

pub use burn::BurnRule;
pub use definition::{Budget, Clock, Facet, Filter, NoScope, Scope, Share, Urgency};
pub use limit::{Limit, NoLimit, Unit};
pub use period::{NoPeriod, Period, Span};
pub use profile::{Hours, NoProfile, Profile};
pub use status::{State, Status};
pub use total::SessionUse;
pub use window::Window;

/// LIMIT: values of scopes that are watched, of all budgets together. Each takes a kilobyte, one that is
/// busy day and night up to fifty. Values beyond are watched together, as `other`, and their bookings
/// counted; a value that used nothing for five weeks makes room.
const VALUES: usize = 10_000;

/// What was found at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// How all values of all budgets stand, in the order of budgets, and of values within.
    pub statuses: Vec<Status>,
    /// What is wrong.
    pub conditions: Vec<Condition>,
}

/// All budgets and what was used of them.
#[derive(Clone, Debug)]
pub struct Budgets {
    meters: Vec<Meter>,
    /// Calls that still ran at the last evaluation; they are booked, too.
    open: Vec<Spend>,
    most_values: usize,
    rest_bookings: u64,
    /// The moment of the last evaluation, and that since which the clock was not set.
    now_ms: i64,
    settled_ms: i64,
}

impl Budgets {
    /// LIMIT: moments of a booking, a hundred thousand years around the Unix epoch, so that sums of
    /// moments and lengths stay in range.
    const MOMENTS: std::ops::RangeInclusive<i64> = -(1 << 51)..=1 << 51;

    /// A step of the clock that is none of the time between two evaluations.
    const JUMP_MS: u64 = 60 * 60_000;

    /// How long it takes until a clock that was set is believed.
    const SETTLE_MS: i64 = 10 * 60_000;

    /// Budgets of which nothing is used, with the zone that their days are in.
    pub fn new(budgets: Vec<Budget>, local: &TimeZone, now_unix_ms: i64) -> Self {
        let now_ms = in_range(now_unix_ms);
        Self {
            meters: budgets
                .into_iter()
                .map(|budget| Meter::new(budget, local, now_ms))
                .collect(),
            open: Vec::new(),
            most_values: VALUES,
            rest_bookings: 0,
            now_ms,
            settled_ms: now_ms,
        }
    }

    /// Takes a sum of the ledger that was used within a minute, an hour or so after a moment.
    pub fn seed(&mut self, unix_ms: i64, payer: &Payer, amount: &Amount) {
        let booking = Booking {
            unix_ms: in_range(unix_ms),
            payer,
            amount,
            session: None,
        };
        self.change(booking, Change::Add);
        for meter in &mut self.meters {
            meter.forget_learned();
        }
    }

    /// Takes what was stored: the highest threshold that a value of a scope reached in the period that
    /// began at a moment, as [`Status::reached`] said. The value is empty where there is one for all.
    pub fn restore(&mut self, budget: &str, value: &str, period_from_unix_ms: i64, reached: Share) {
        let has_room = self.has_room();
        let mut named = self.meters.iter_mut();
        if let Some(meter) = named.find(|meter| &*meter.budget.name == budget) {
            meter.restore(value, in_range(period_from_unix_ms), reached, has_room);
        }
    }

    /// Books a call that ended.
    pub fn book(&mut self, spend: &Spend) {
        self.change(booking(spend), Change::Add);
    }

    /// Takes out a call that was booked, with the same figures: it has others, or another payer.
    pub fn unbook(&mut self, spend: &Spend) {
        self.change(booking(spend), Change::Remove);
    }

    /// How all budgets stand at a moment, with the calls that still run.
    pub fn evaluate(&mut self, now_unix_ms: i64, open: &[Spend]) -> Evaluation {
        let now_ms = in_range(now_unix_ms);
        for spend in std::mem::take(&mut self.open) {
            self.unbook(&spend);
        }
        for meter in &mut self.meters {
            meter.forget_open();
            meter.advance(now_ms);
        }
        for spend in open {
            self.book(spend);
            for meter in &mut self.meters {
                meter.open(booking(spend));
            }
        }
        self.open = open.to_vec();
        if self.is_settled(now_ms) {
            self.meters.iter_mut().for_each(Meter::forget);
        }
        let mut found = Evaluation::default();
        for (status, conditions) in self.meters.iter_mut().flat_map(Meter::evaluate) {
            found.statuses.push(status);
            found.conditions.extend(conditions);
        }
        found
    }

    /// Whether the past may be forgotten: not while a clock that was set may be set back.
    const fn is_settled(&mut self, now_ms: i64) -> bool {
        if self.now_ms.abs_diff(now_ms) > Self::JUMP_MS {
            self.settled_ms = now_ms;
        }
        self.now_ms = now_ms;
        now_ms.saturating_sub(self.settled_ms) >= Self::SETTLE_MS
    }

    /// How many bookings went to values that are watched together, for want of room.
    pub const fn rest_bookings(&self) -> u64 {
        self.rest_bookings
    }

    fn change(&mut self, booking: Booking<'_>, change: Change) {
        for place in 0..self.meters.len() {
            let has_room = self.has_room();
            let Some(meter) = self.meters.get_mut(place) else {
                return;
            };
            if meter.change(booking, change, has_room) && change == Change::Add {
                self.rest_bookings = self.rest_bookings.saturating_add(1);
            }
        }
    }

    fn has_room(&self) -> bool {
        self.meters.iter().map(Meter::values).sum::<usize>() < self.most_values
    }
}

fn in_range(unix_ms: i64) -> i64 {
    unix_ms.clamp(*Budgets::MOMENTS.start(), *Budgets::MOMENTS.end())
}

fn booking(spend: &Spend) -> Booking<'_> {
    Booking {
        unix_ms: in_range(spend.unix_ms),
        payer: &spend.payer,
        amount: &spend.amount,
        session: Some((&spend.work.session, spend.work.uid)),
    }
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "its figures are its own, and small"
)]
mod simulation;
#[cfg(test)]
mod tests;
