//! Takes what is wrong to the ledger, and what is to be told from there to its channels.
//!
//! The ledger goes first: nobody is told of an alert that is not stored, and what is stored and was not
//! told, because the agent or a channel was down, is told later. So a message arrives at least once, and
//! twice if the agent died between its arrival and the note of it.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_core::alert::{Alerts, Condition, Evaluated, Kind, Notice, Notification, Purpose};

use crate::alert::{
    Channel, Courier, Delivery, GIVEN_UP_AFTER_MS, Handed, Outcome, retry_after_ms, write_journal,
};
use crate::causes;
use crate::store::{AlertsChanged, DeliveryOutcome, Error, NewDelivery, Writer};

/// The channels that budgets name, by budget; one that names none is told over all.
pub type BudgetChannels = BTreeMap<String, Vec<String>>;

/// LIMIT: messages for a channel that are looked at in one step; the next step has the next ones.
const DUE_AT_ONCE: u32 = 64;

/// How often channels that forget are told what fires.
const REFRESH_MS: i64 = 30_000;

/// The alerts of a host and the channels they are told over.
#[derive(Debug)]
pub struct Dispatch {
    alerts: Alerts,
    courier: Courier,
    host_name: String,
    /// What could not be stored yet.
    unstored: Option<(Evaluated, Vec<NewDelivery>)>,
    refreshed_ms: Option<i64>,
}

impl Dispatch {
    /// Goes on with the alerts of the ledger.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn restore(
        writer: &mut Writer,
        mut courier: Courier,
        host_name: &str,
    ) -> Result<Self, Error> {
        let (alerts, last_id) = writer.active_alerts()?;
        let names: Vec<&str> = courier.channels().iter().map(Channel::name).collect();
        writer.give_up_all_but(&names)?;
        for (channel, since_ms) in writer.failing_channels()? {
            courier.failing_since(&channel, since_ms);
        }
        Ok(Self {
            alerts: Alerts::restore(alerts, last_id),
            courier,
            host_name: host_name.to_owned(),
            unstored: None,
            refreshed_ms: None,
        })
    }

    /// The alerts.
    pub const fn alerts(&self) -> &Alerts {
        &self.alerts
    }

    /// Takes all conditions that hold at a moment, stores what changed, and hands over what is due. To be
    /// called about once a second, and only once what the rules need is known: a condition that is left
    /// out is over.
    ///
    /// # Errors
    /// Those of SQLite; what could not be stored is stored with the next step.
    pub fn step(
        &mut self,
        writer: &mut Writer,
        now_ms: i64,
        mut conditions: Vec<Condition>,
        budgets: &BudgetChannels,
    ) -> Result<(), Error> {
        self.record(writer, now_ms)?;
        if self.unstored.is_none() {
            for (id, acknowledged_ms) in writer.acknowledged_alerts()? {
                self.alerts.acknowledge(id, acknowledged_ms);
            }
            conditions.extend(self.courier.conditions(now_ms));
            let evaluated = self.alerts.evaluate(now_ms, conditions);
            write_journal(&evaluated.journal);
            if evaluated.left_out > 0 {
                tracing::warn!(
                    left_out = evaluated.left_out,
                    "more alerts than there is room for"
                );
            }
            let deliveries = self.deliveries(&evaluated.notifications, budgets);
            self.unstored = Some((evaluated, deliveries));
        }
        if let Some((evaluated, deliveries)) = &self.unstored {
            writer.store_alerts(AlertsChanged {
                evaluated,
                deliveries,
                unix_ms: now_ms,
            })?;
            self.unstored = None;
        }
        self.hand_over(writer, now_ms)?;
        self.refresh(now_ms, budgets);
        Ok(())
    }

    /// Notes what became of messages.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn record(&mut self, writer: &mut Writer, now_ms: i64) -> Result<(), Error> {
        for outcome in self.courier.outcomes() {
            record(writer, &outcome, now_ms)?;
        }
        Ok(())
    }

    /// Waits, at most so long, for what becomes of one message, and notes it; false if nothing came.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn record_next(
        &mut self,
        writer: &mut Writer,
        now_ms: i64,
        timeout: Duration,
    ) -> Result<bool, Error> {
        let Some(outcome) = self.courier.next_outcome(timeout) else {
            return Ok(false);
        };
        record(writer, &outcome, now_ms)?;
        Ok(true)
    }

    fn deliveries(
        &self,
        notifications: &[Notification],
        budgets: &BudgetChannels,
    ) -> Vec<NewDelivery> {
        let mut deliveries = Vec::new();
        for notification in notifications {
            let routed = self.courier.channels().route(notification, budgets);
            deliveries.extend(routed.into_iter().map(|(channel, part)| NewDelivery {
                alert_id: match part.notices.as_slice() {
                    [notice] if part.left_out == 0 => Some(notice.alert.id),
                    _ => None,
                },
                kind: part.kind(),
                payload: part.payload(&self.host_name, Purpose::Alert),
                channel,
            }));
        }
        deliveries
    }

    fn hand_over(&mut self, writer: &mut Writer, now_ms: i64) -> Result<(), Error> {
        let channels: Vec<String> = self
            .courier
            .channels()
            .iter()
            .map(|channel| channel.name().to_owned())
            .collect();
        for channel in channels {
            for due in writer.due_deliveries(&channel, now_ms, DUE_AT_ONCE)? {
                let handed = self.courier.deliver(Delivery {
                    id: due.id,
                    channel: channel.clone(),
                    payload: due.payload,
                });
                match handed {
                    Handed::Over | Handed::Before => {}
                    Handed::Full | Handed::NoChannel => break,
                }
            }
        }
        Ok(())
    }

    fn refresh(&mut self, now_ms: i64, budgets: &BudgetChannels) {
        let is_due = self
            .refreshed_ms
            .is_none_or(|then| !(0..REFRESH_MS).contains(&now_ms.saturating_sub(then)));
        if !is_due {
            return;
        }
        self.refreshed_ms = Some(now_ms);
        let notices: Vec<Notice> = self
            .alerts
            .firing()
            .filter(|alert| alert.notified.is_some())
            .map(|alert| Notice {
                kind: Kind::Repeat,
                alert: alert.clone(),
            })
            .collect();
        let firing = Notification {
            notices,
            left_out: 0,
            unix_ms: now_ms,
        };
        let mut routed = self.courier.channels().route(&firing, budgets);
        for channel in self.courier.refreshed() {
            let part = routed.iter().position(|(name, _)| name == channel);
            let payload = part.map(|place| {
                let (_, part) = routed.swap_remove(place);
                part.payload(&self.host_name, Purpose::Alert)
            });
            self.courier.refresh(channel, payload);
        }
    }
}

fn record(writer: &mut Writer, outcome: &Outcome, now_ms: i64) -> Result<(), Error> {
    let Some((attempts, created_ms)) = writer.waiting_delivery(outcome.id)? else {
        return Ok(());
    };
    let result = match &outcome.failure {
        None => DeliveryOutcome::Delivered {
            unix_ms: outcome.unix_ms,
        },
        Some(error) if now_ms.saturating_sub(created_ms) >= GIVEN_UP_AFTER_MS => {
            tracing::warn!(channel = outcome.channel, %error, "a message about an alert is given up");
            DeliveryOutcome::GivenUp {
                error: error.clone(),
            }
        }
        Some(error) => {
            let attempts = attempts.saturating_add(1);
            tracing::info!(channel = outcome.channel, attempts, %error, "a message about an alert did not arrive; it is tried again");
            DeliveryOutcome::Failed {
                next_try_ms: now_ms.saturating_add(retry_after_ms(attempts)),
                error: error.clone(),
            }
        }
    };
    if let Err(error) = writer.record_delivery(outcome.id, &result) {
        tracing::warn!(error = %causes::in_one_line(&error), "what became of a message can't be noted; it may be sent twice");
        return Err(error);
    }
    Ok(())
}
