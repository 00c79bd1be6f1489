//! Alerts, who is told of them, and what budgets and running calls have used so far.

use std::time::Duration;

use agent_core::alert::{Alert, Condition, Evaluated, Rule, Severity, State};
use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use serde_json::{Map, Value};

use super::{Error, Reader, Writer, from_db, to_db};

/// LIMIT: what waits for a channel is given up, the oldest first, beyond so many messages.
const MAX_WAITING: i64 = 10_000;

/// LIMIT: bytes of an error that is kept.
const ERROR_CHARS: usize = 300;

/// A message that is to be delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDelivery {
    /// The alert; `None` for several at once.
    pub alert_id: Option<u64>,
    /// `fire`, `rise`, `repeat`, `resolve` or `group`.
    pub kind: &'static str,
    /// The channel.
    pub channel: String,
    /// The document.
    pub payload: Value,
}

/// What is stored at once: alerts, and who is to be told of them.
#[derive(Clone, Copy, Debug)]
pub struct AlertsChanged<'a> {
    /// What a moment changed.
    pub evaluated: &'a Evaluated,
    /// Who is to be told.
    pub deliveries: &'a [NewDelivery],
    /// The moment, in milliseconds since the Unix epoch.
    pub unix_ms: i64,
}

/// A message whose time has come.
#[derive(Clone, Debug, PartialEq)]
pub struct DueDelivery {
    /// Row.
    pub id: i64,
    /// The channel.
    pub channel: String,
    /// The document.
    pub payload: Value,
    /// How often it was tried.
    pub attempts: u32,
    /// Since when it waits, in milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// What became of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// It arrived.
    Delivered {
        /// When.
        unix_ms: i64,
    },
    /// It did not, and is tried again.
    Failed {
        /// When it is tried again.
        next_try_ms: i64,
        /// Why, without any part of a URL.
        error: String,
    },
    /// It is not tried again.
    GivenUp {
        /// Why, without any part of a URL.
        error: String,
    },
}

/// What a budget is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetRow {
    /// Its name.
    pub name: String,
    /// All of it.
    pub definition: String,
    /// `config` or `command`.
    pub origin: &'static str,
}

/// What a budget has used; see `v_budget`.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    missing_docs,
    reason = "named as the columns of v_budget, which the database manual explains"
)]
pub struct BudgetState {
    pub budget: String,
    pub scope_value: String,
    pub period_start_ms: i64,
    pub period_end_ms: Option<i64>,
    pub unit: String,
    pub limit_amount: u64,
    pub used_amount: u64,
    pub open_amount: u64,
    pub is_lower_bound: bool,
    pub estimated_tokens: u64,
    pub unpriced_tokens: u64,
    pub thresholds: Vec<f64>,
    pub burn_5m: Option<f64>,
    pub burn_30m: Option<f64>,
    pub burn_1h: Option<f64>,
    pub burn_6h: Option<f64>,
    pub burn_3d: Option<f64>,
    pub status: String,
    pub forecast_amount: Option<u64>,
    pub exhausts_ms: Option<i64>,
    pub memory: Option<Value>,
    pub updated_ms: i64,
}

/// A call that runs; see `v_open_call`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "named as the columns of v_open_call, which the database manual explains"
)]
pub struct OpenCall {
    pub identity: String,
    pub started_ms: i64,
    pub updated_ms: i64,
    pub provider: String,
    pub model: Option<String>,
    pub workflow: String,
    pub session_key: String,
    pub thread_key: String,
    pub thread_kind: String,
    pub task_type: String,
    pub user_name: Option<String>,
    pub uid: Option<u32>,
    pub pid: Option<u32>,
    pub comm: Option<String>,
    pub client_name: Option<String>,
    pub systemd_unit: Option<String>,
    pub container: Option<String>,
    pub repo: Option<String>,
    pub usage_source: String,
    pub input_uncached_tokens: Option<u64>,
    pub cache_read_tokens: Option<u64>,
    pub cache_write_5m_tokens: Option<u64>,
    pub cache_write_1h_tokens: Option<u64>,
    pub cache_write_other_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
    pub weighted_tokens: Option<u64>,
    pub cost_nanousd: Option<u64>,
    pub cost_status: String,
}

impl Writer {
    /// Stores what a moment changed, and what is to be delivered, at once.
    ///
    /// # Errors
    /// Those of SQLite; nothing is stored then.
    pub fn store_alerts(&mut self, changed: AlertsChanged<'_>) -> Result<(), Error> {
        let evaluated = changed.evaluated;
        if evaluated.changed.is_empty()
            && evaluated.dropped.is_empty()
            && changed.deliveries.is_empty()
        {
            return Ok(());
        }
        self.in_transaction(|transaction, host_id| {
            for id in &evaluated.dropped {
                transaction
                    .prepare_cached("DELETE FROM alert WHERE alert_id = ?1")?
                    .execute([to_db(*id)])?;
            }
            for alert in &evaluated.changed {
                store_alert(transaction, host_id, alert)?;
            }
            for delivery in changed.deliveries {
                transaction
                    .prepare_cached(
                        "INSERT INTO alert_delivery (
                             alert_id, kind, channel, payload_json, state, attempts, created_ms,
                             next_try_ms)
                         VALUES (?1, ?2, ?3, ?4, 'waiting', 0, ?5, ?5)",
                    )?
                    .execute(params![
                        delivery.alert_id.map(to_db),
                        delivery.kind,
                        delivery.channel,
                        delivery.payload.to_string(),
                        changed.unix_ms,
                    ])?;
            }
            bound(transaction)
        })
    }

    /// The alerts of this host that have not ended, and the last id that was given: what goes on
    /// after a restart.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn active_alerts(&mut self) -> Result<(Vec<Alert>, u64), Error> {
        self.in_transaction(|transaction, host_id| {
            let mut statement = transaction.prepare(
                "SELECT alert_id, fingerprint, rule, variant, scope_json, budget, severity, state,
                        summary, evidence_json, hold_ms, started_ms, fired_ms, ended_ms,
                        acknowledged_ms, last_notified_ms, notified_severity
                 FROM alert WHERE host_id = ?1 AND state <> 'resolved' ORDER BY alert_id",
            )?;
            let rows = statement.query_map([host_id], restored)?;
            let alerts: Vec<Option<Alert>> = rows.collect::<rusqlite::Result<_>>()?;
            let last: i64 =
                transaction.query_row("SELECT ifnull(max(alert_id), 0) FROM alert", [], |row| {
                    row.get(0)
                })?;
            Ok((alerts.into_iter().flatten().collect(), from_db(last)))
        })
    }

    /// Which alerts that have not ended somebody took on, and when.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn acknowledged_alerts(&mut self) -> Result<Vec<(u64, i64)>, Error> {
        let (conn, host_id, path) = self.parts();
        let read = || {
            let mut statement = conn.prepare_cached(
                "SELECT alert_id, acknowledged_ms FROM alert
                 WHERE host_id = ?1 AND state <> 'resolved' AND acknowledged_ms IS NOT NULL",
            )?;
            let rows =
                statement.query_map([host_id], |row| Ok((from_db(row.get(0)?), row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| Error::sql("read", path, source))
    }

    /// Messages for a channel whose time has come, the oldest first.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn due_deliveries(
        &mut self,
        channel: &str,
        now_ms: i64,
        most: u32,
    ) -> Result<Vec<DueDelivery>, Error> {
        let (conn, _, path) = self.parts();
        let read = || {
            // One that waits for longer than any does is due: the clock was put back.
            let mut statement = conn.prepare_cached(
                "SELECT delivery_id, channel, payload_json, attempts, created_ms
                 FROM alert_delivery
                 WHERE state IN ('waiting', 'failed') AND channel = ?3
                   AND (next_try_ms <= ?1 OR next_try_ms > ?1 + 86400000)
                 ORDER BY next_try_ms, delivery_id LIMIT ?2",
            )?;
            let rows = statement.query_map(params![now_ms, most, channel], |row| {
                let payload: String = row.get(2)?;
                Ok(DueDelivery {
                    id: row.get(0)?,
                    channel: row.get(1)?,
                    payload: serde_json::from_str(&payload).unwrap_or_default(),
                    attempts: row.get(3)?,
                    created_ms: row.get(4)?,
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| Error::sql("read", path, source))
    }

    /// Notes what became of a try. One that was decided before stays as it is.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn record_delivery(&mut self, id: i64, outcome: &DeliveryOutcome) -> Result<(), Error> {
        let cut = |error: &str| error.chars().take(ERROR_CHARS).collect::<String>();
        let (state, next_try_ms, error, delivered_ms) = match outcome {
            DeliveryOutcome::Delivered { unix_ms } => ("delivered", None, None, Some(*unix_ms)),
            DeliveryOutcome::Failed { next_try_ms, error } => {
                ("failed", Some(*next_try_ms), Some(cut(error)), None)
            }
            DeliveryOutcome::GivenUp { error } => ("given_up", None, Some(cut(error)), None),
        };
        self.in_transaction(|transaction, _| {
            transaction
                .prepare_cached(
                    "UPDATE alert_delivery
                     SET state = ?2, attempts = attempts + 1, next_try_ms = ?3,
                         last_error = ifnull(?4, last_error), delivered_ms = ?5
                     WHERE delivery_id = ?1 AND state IN ('waiting', 'failed')",
                )?
                .execute(params![id, state, next_try_ms, error, delivered_ms])?;
            Ok(())
        })
    }

    /// Gives up what waits for a channel that is not one of these.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn give_up_all_but(&mut self, channels: &[&str]) -> Result<(), Error> {
        let channels = Value::from(channels).to_string();
        self.in_transaction(|transaction, _| {
            transaction.execute(
                "UPDATE alert_delivery
                 SET state = 'given_up', next_try_ms = NULL,
                     last_error = 'the configuration has no such channel'
                 WHERE state IN ('waiting', 'failed')
                   AND channel NOT IN (SELECT value FROM json_each(?1))",
                [channels],
            )?;
            Ok(())
        })
    }

    /// How often a message was tried, and since when it waits; `None` if it does not wait.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn waiting_delivery(&mut self, id: i64) -> Result<Option<(u32, i64)>, Error> {
        let (conn, _, path) = self.parts();
        conn.query_row(
            "SELECT attempts, created_ms FROM alert_delivery
             WHERE delivery_id = ?1 AND state IN ('waiting', 'failed')",
            [id],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
        .map_err(|source| Error::sql("read", path, source))
    }

    /// Channels of which a message failed and none of this host arrived since, and since when.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn failing_channels(&mut self) -> Result<Vec<(String, i64)>, Error> {
        let (conn, host_id, path) = self.parts();
        let read = || {
            let mut statement = conn.prepare(
                "SELECT f.channel, min(f.created_ms)
                 FROM alert_delivery AS f
                 WHERE f.state = 'failed' AND NOT EXISTS (
                     SELECT 1 FROM alert_delivery AS d
                     LEFT JOIN alert AS a USING (alert_id)
                     WHERE d.channel = f.channel AND d.delivered_ms > f.created_ms
                       AND ifnull(a.host_id, ?1) = ?1)
                 GROUP BY f.channel ORDER BY f.channel",
            )?;
            let rows = statement.query_map([host_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| Error::sql("read", path, source))
    }

    /// Makes these the budgets of this host. Periods of others stay, as history.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn set_budgets(&mut self, budgets: &[BudgetRow], now_ms: i64) -> Result<(), Error> {
        self.in_transaction(|transaction, host_id| {
            let names: Vec<&str> = budgets.iter().map(|budget| budget.name.as_str()).collect();
            let names = Value::from(names).to_string();
            transaction.execute(
                "DELETE FROM budget WHERE host_id = ?1
                 AND name NOT IN (SELECT value FROM json_each(?2))",
                params![host_id, names],
            )?;
            for budget in budgets {
                transaction.execute(
                    "INSERT INTO budget (host_id, name, definition_json, origin, changed_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (host_id, name) DO UPDATE SET
                         definition_json = excluded.definition_json, origin = excluded.origin,
                         changed_ms = excluded.changed_ms
                     WHERE definition_json <> excluded.definition_json
                        OR origin <> excluded.origin",
                    params![
                        host_id,
                        budget.name,
                        budget.definition,
                        budget.origin,
                        now_ms
                    ],
                )?;
            }
            Ok(())
        })
    }

    /// Stores what budgets have used; the row of a period is replaced.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn store_budget_states(&mut self, states: &[BudgetState]) -> Result<(), Error> {
        if states.is_empty() {
            return Ok(());
        }
        self.in_transaction(|transaction, host_id| {
            for state in states {
                store_budget_state(transaction, host_id, state)?;
            }
            Ok(())
        })
    }

    /// Makes these the calls that run. Nothing is synced: they are of the moment.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn replace_open_calls(&mut self, calls: &[OpenCall]) -> Result<(), Error> {
        self.in_transaction(|transaction, host_id| {
            transaction
                .prepare_cached("DELETE FROM open_call WHERE host_id = ?1")?
                .execute([host_id])?;
            for call in calls {
                store_open_call(transaction, host_id, call)?;
            }
            Ok(())
        })
    }
}

/// Stores an alert. That somebody took it on is never taken back: another process writes it.
fn store_alert(transaction: &Transaction<'_>, host_id: i64, alert: &Alert) -> rusqlite::Result<()> {
    let condition = &alert.condition;
    let scope = Value::from(
        condition
            .scope
            .iter()
            .map(|(name, value)| Value::from(vec![name.as_str(), value.as_str()]))
            .collect::<Vec<_>>(),
    );
    transaction
        .prepare_cached(
            "INSERT INTO alert (
                 alert_id, host_id, fingerprint, rule, variant, scope_json, budget, severity, state,
                 summary, evidence_json, hold_ms, started_ms, fired_ms, ended_ms, last_notified_ms,
                 notified_severity)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
             ON CONFLICT (alert_id) DO UPDATE SET
                 severity = excluded.severity, state = excluded.state, summary = excluded.summary,
                 evidence_json = excluded.evidence_json, hold_ms = excluded.hold_ms,
                 started_ms = excluded.started_ms, fired_ms = excluded.fired_ms,
                 ended_ms = excluded.ended_ms, last_notified_ms = excluded.last_notified_ms,
                 notified_severity = excluded.notified_severity",
        )?
        .execute(params![
            to_db(alert.id),
            host_id,
            alert.fingerprint,
            condition.rule.as_str(),
            condition.variant,
            scope.to_string(),
            condition.budget,
            condition.severity.as_str(),
            alert.state.as_str(),
            condition.summary,
            Value::Object(condition.evidence.clone()).to_string(),
            i64::try_from(condition.hold.as_millis()).unwrap_or(i64::MAX),
            alert.started_unix_ms,
            alert.fired_unix_ms,
            alert.ended_unix_ms,
            alert.notified_unix_ms,
            alert.notified.map(Severity::as_str),
        ])?;
    Ok(())
}

/// An alert as it was; `None` for a row that this program did not write.
fn restored(row: &Row<'_>) -> rusqlite::Result<Option<Alert>> {
    let word = |place: usize| row.get::<_, String>(place);
    let (rule, severity, state) = (word(2)?, word(6)?, word(7)?);
    let (Some(rule), Some(severity), Some(state)) =
        (Rule::of(&rule), Severity::of(&severity), State::of(&state))
    else {
        return Ok(None);
    };
    let scope: Vec<(String, String)> = serde_json::from_str(&word(4)?).unwrap_or_default();
    let evidence: Map<String, Value> = serde_json::from_str(&word(9)?).unwrap_or_default();
    let notified: Option<String> = row.get(16)?;
    Ok(Some(Alert {
        id: from_db(row.get(0)?),
        fingerprint: word(1)?,
        condition: Condition {
            rule,
            variant: word(3)?,
            scope,
            budget: row.get(5)?,
            severity,
            hold: Duration::from_millis(from_db(row.get(10)?)),
            summary: word(8)?,
            evidence,
        },
        state,
        started_unix_ms: row.get(11)?,
        fired_unix_ms: row.get(12)?,
        ended_unix_ms: row.get(13)?,
        acknowledged_unix_ms: row.get(14)?,
        notified_unix_ms: row.get(15)?,
        notified: notified.as_deref().and_then(Severity::of),
    }))
}

/// Gives up what waits beyond [`MAX_WAITING`].
fn bound(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE alert_delivery
             SET state = 'given_up', next_try_ms = NULL, last_error = 'too many messages wait'
             WHERE delivery_id IN (
                 SELECT delivery_id FROM alert_delivery WHERE state IN ('waiting', 'failed')
                 ORDER BY delivery_id DESC LIMIT -1 OFFSET ?1)",
        )?
        .execute([MAX_WAITING])?;
    Ok(())
}

fn store_budget_state(
    transaction: &Transaction<'_>,
    host_id: i64,
    state: &BudgetState,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO budget_state (
                 host_id, budget, scope_value, period_start_ms, period_end_ms, unit, limit_amount,
                 used_amount, open_amount, is_lower_bound, estimated_tokens, unpriced_tokens,
                 thresholds_json, burn_5m, burn_30m, burn_1h, burn_6h, burn_3d, status,
                 forecast_amount, exhausts_ms, memory_json, updated_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                     ?18, ?19, ?20, ?21, ?22, ?23)",
        )?
        .execute(params![
            host_id,
            state.budget,
            state.scope_value,
            state.period_start_ms,
            state.period_end_ms,
            state.unit,
            to_db(state.limit_amount),
            to_db(state.used_amount),
            to_db(state.open_amount),
            state.is_lower_bound,
            to_db(state.estimated_tokens),
            to_db(state.unpriced_tokens),
            Value::from(state.thresholds.clone()).to_string(),
            state.burn_5m,
            state.burn_30m,
            state.burn_1h,
            state.burn_6h,
            state.burn_3d,
            state.status,
            state.forecast_amount.map(to_db),
            state.exhausts_ms,
            state.memory.as_ref().map(Value::to_string),
            state.updated_ms,
        ])?;
    Ok(())
}

fn store_open_call(
    transaction: &Transaction<'_>,
    host_id: i64,
    call: &OpenCall,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO open_call (
                 host_id, identity, started_ms, updated_ms, provider, model, workflow, session_key,
                 thread_key, thread_kind, task_type, user_name, uid, pid, comm, client_name,
                 systemd_unit, container, repo, usage_source, input_uncached_tokens,
                 cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
                 cache_write_other_tokens, output_tokens, reasoning_tokens, weighted_tokens,
                 cost_nanousd, cost_status)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                     ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30)",
        )?
        .execute(params![
            host_id,
            call.identity,
            call.started_ms,
            call.updated_ms,
            call.provider,
            call.model,
            call.workflow,
            call.session_key,
            call.thread_key,
            call.thread_kind,
            call.task_type,
            call.user_name,
            call.uid,
            call.pid,
            call.comm,
            call.client_name,
            call.systemd_unit,
            call.container,
            call.repo,
            call.usage_source,
            call.input_uncached_tokens.map(to_db),
            call.cache_read_tokens.map(to_db),
            call.cache_write_5m_tokens.map(to_db),
            call.cache_write_1h_tokens.map(to_db),
            call.cache_write_other_tokens.map(to_db),
            call.output_tokens.map(to_db),
            call.reasoning_tokens.map(to_db),
            call.weighted_tokens.map(to_db),
            call.cost_nanousd.map(to_db),
            call.cost_status,
        ])?;
    Ok(())
}

/// Which alerts are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertFilter {
    /// Those that fire.
    Firing,
    /// All that began or ended since a moment, and all that have not ended.
    Since(i64),
    /// One.
    Id(u64),
}

/// An alert, as a row of `v_alert`.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    missing_docs,
    reason = "named as the columns of v_alert, which the database manual explains"
)]
pub struct AlertRow {
    pub alert_id: u64,
    pub host_name: String,
    pub fingerprint: String,
    pub rule: String,
    pub variant: String,
    pub scope: Vec<(String, String)>,
    pub budget: Option<String>,
    pub severity: String,
    pub state: String,
    pub summary: String,
    pub evidence: Map<String, Value>,
    pub started_ms: i64,
    pub fired_ms: Option<i64>,
    pub ended_ms: Option<i64>,
    pub acknowledged_ms: Option<i64>,
    pub acknowledged_by: Option<String>,
    pub last_notified_ms: Option<i64>,
    pub delivered_count: u64,
    pub waiting_count: u64,
    pub given_up_count: u64,
}

/// A message about an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "named as the columns of alert_delivery, which the schema explains"
)]
pub struct DeliveryRow {
    pub kind: String,
    pub channel: String,
    pub state: String,
    pub attempts: u64,
    pub created_ms: i64,
    pub next_try_ms: Option<i64>,
    pub last_error: Option<String>,
    pub delivered_ms: Option<i64>,
}

impl Reader {
    /// Alerts, those that fire first, then the latest.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn alerts(&self, filter: AlertFilter) -> Result<Vec<AlertRow>, Error> {
        let (firing, since_ms, id) = match filter {
            AlertFilter::Firing => (true, None, None),
            AlertFilter::Since(since_ms) => (false, Some(since_ms), None),
            AlertFilter::Id(id) => (false, None, Some(to_db(id))),
        };
        self.rows_of(
            "SELECT alert_id, host_name, fingerprint, rule, variant, scope_json, budget, severity,
                    state, summary, evidence_json, started_ms, fired_ms, ended_ms,
                    acknowledged_ms, acknowledged_by, last_notified_ms, delivered_count,
                    waiting_count, given_up_count
             FROM v_alert
             WHERE (NOT ?1 OR state = 'firing')
               AND (?2 IS NULL OR ended_ms IS NULL OR ended_ms >= ?2 OR started_ms >= ?2)
               AND (?3 IS NULL OR alert_id = ?3)
             ORDER BY state = 'resolved', state = 'pending', severity = 'log', severity = 'ticket',
                      ifnull(fired_ms, started_ms) DESC, alert_id DESC",
            params![firing, since_ms, id],
            alert_row,
        )
    }

    /// The messages about an alert, the oldest first.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn deliveries(&self, alert_id: u64) -> Result<Vec<DeliveryRow>, Error> {
        self.rows_of(
            "SELECT kind, channel, state, attempts, created_ms, next_try_ms, last_error, delivered_ms
             FROM alert_delivery WHERE alert_id = ?1 ORDER BY delivery_id",
            params![to_db(alert_id)],
            |row| {
                Ok(DeliveryRow {
                    kind: row.get(0)?,
                    channel: row.get(1)?,
                    state: row.get(2)?,
                    attempts: from_db(row.get(3)?),
                    created_ms: row.get(4)?,
                    next_try_ms: row.get(5)?,
                    last_error: row.get(6)?,
                    delivered_ms: row.get(7)?,
                })
            },
        )
    }
}

fn alert_row(row: &Row<'_>) -> rusqlite::Result<AlertRow> {
    let scope: String = row.get(5)?;
    let evidence: String = row.get(10)?;
    Ok(AlertRow {
        alert_id: from_db(row.get(0)?),
        host_name: row.get(1)?,
        fingerprint: row.get(2)?,
        rule: row.get(3)?,
        variant: row.get(4)?,
        scope: serde_json::from_str(&scope).unwrap_or_default(),
        budget: row.get(6)?,
        severity: row.get(7)?,
        state: row.get(8)?,
        summary: row.get(9)?,
        evidence: serde_json::from_str(&evidence).unwrap_or_default(),
        started_ms: row.get(11)?,
        fired_ms: row.get(12)?,
        ended_ms: row.get(13)?,
        acknowledged_ms: row.get(14)?,
        acknowledged_by: row.get(15)?,
        last_notified_ms: row.get(16)?,
        delivered_count: from_db(row.get(17)?),
        waiting_count: from_db(row.get(18)?),
        given_up_count: from_db(row.get(19)?),
    })
}
