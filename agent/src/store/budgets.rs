//! What the ledger keeps of budgets: how far they were told, and how they stood.

use rusqlite::params;

use super::{Error, Reader, Writer, from_db};

/// The highest threshold of a budget that was reached in a period that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReachedThreshold {
    /// Budget.
    pub budget: String,
    /// Value of what it is split by; empty for a whole one.
    pub scope_value: String,
    /// Beginning of the period, in milliseconds since the Unix epoch; 0 for one that moves with the
    /// time.
    pub period_start_ms: i64,
    /// The threshold, in thousandths of the limit.
    pub reached_thousandths: u32,
}

/// How a budget stood at the end of a period, or stands in the one that goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct PastPeriod {
    /// Host.
    pub host_name: String,
    /// Budget.
    pub budget: String,
    /// Value of what it is split by; empty for a whole one.
    pub scope_value: String,
    /// Beginning of the period, in milliseconds since the Unix epoch; 0 for one that moves with the
    /// time.
    pub period_start_ms: i64,
    /// Its end; `None` for one that moves with the time.
    pub period_end_ms: Option<i64>,
    /// Unit.
    pub unit: String,
    /// Limit.
    pub limit_amount: u64,
    /// What was used.
    pub used_amount: u64,
    /// Whether more was used, nobody knows how much.
    pub is_lower_bound: bool,
    /// Shares of the limit that were told, as a JSON array of numbers.
    pub thresholds_json: String,
    /// How it stood.
    pub status: String,
    /// When that was.
    pub updated_ms: i64,
}

/// A budget that was set by a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetBudget {
    /// Its name.
    pub name: String,
    /// Its keys and values, as an entry `[[budget]]` has them, in JSON.
    pub definition_json: String,
}

impl Writer {
    /// How far the budgets of this host were told in the periods that go on at `now_ms`.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn budget_thresholds(&self, now_ms: i64) -> Result<Vec<ReachedThreshold>, Error> {
        let read = || -> rusqlite::Result<Vec<ReachedThreshold>> {
            self.connection()
                .prepare_cached(
                    "SELECT budget, scope_value, period_start_ms,
                            (SELECT max(value) FROM json_each(thresholds_json))
                     FROM budget_state
                     WHERE host_id = ?1 AND (period_end_ms IS NULL OR period_end_ms > ?2)
                       AND json_array_length(thresholds_json) > 0",
                )?
                .query_map(params![self.host_id(), now_ms], |row| {
                    let share: f64 = row.get(3)?;
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "clamped to what fits"
                    )]
                    let reached_thousandths = (share * 1_000.0).round().clamp(0.0, 1e9) as u32;
                    Ok(ReachedThreshold {
                        budget: row.get(0)?,
                        scope_value: row.get(1)?,
                        period_start_ms: row.get(2)?,
                        reached_thousandths,
                    })
                })?
                .collect()
        };
        read().map_err(|source| Error::sql("read", self.path(), source))
    }

    /// The budgets of this host that a command set.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn set_by_command(&self) -> Result<Vec<SetBudget>, Error> {
        let read = || -> rusqlite::Result<Vec<SetBudget>> {
            self.connection()
                .prepare_cached(
                    "SELECT name, definition_json FROM budget
                     WHERE host_id = ?1 AND origin = 'command' ORDER BY name",
                )?
                .query_map([self.host_id()], read_set_budget)?
                .collect()
        };
        read().map_err(|source| Error::sql("read", self.path(), source))
    }

    /// A number that changes whenever another process wrote to the ledger.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn foreign_version(&self) -> Result<i64, Error> {
        self.connection()
            .query_row(super::DATA_VERSION, [], |row| row.get(0))
            .map_err(|source| Error::sql("read", self.path(), source))
    }
}

impl Reader {
    /// The budgets that commands set.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn set_by_command(&self) -> Result<Vec<SetBudget>, Error> {
        self.rows_of(
            "SELECT name, definition_json FROM budget WHERE origin = 'command' ORDER BY name",
            [],
            read_set_budget,
        )
    }

    /// The periods of budgets, of one if it is named, the latest first; those that began before
    /// `since_ms` are left out.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn budget_periods(
        &self,
        budget: Option<&str>,
        since_ms: i64,
    ) -> Result<Vec<PastPeriod>, Error> {
        self.rows_of(
            "SELECT h.host_name, s.budget, s.scope_value, s.period_start_ms, s.period_end_ms, s.unit,
                    s.limit_amount, s.used_amount, s.is_lower_bound, s.thresholds_json, s.status,
                    s.updated_ms
             FROM budget_state AS s JOIN host AS h ON h.host_id = s.host_id
             WHERE (?1 IS NULL OR s.budget = ?1)
               AND (s.period_end_ms IS NULL OR s.period_end_ms > ?2)
             ORDER BY s.budget, s.period_start_ms DESC, s.used_amount DESC, s.scope_value",
            params![budget, since_ms],
            |row| {
                Ok(PastPeriod {
                    host_name: row.get(0)?,
                    budget: row.get(1)?,
                    scope_value: row.get(2)?,
                    period_start_ms: row.get(3)?,
                    period_end_ms: row.get(4)?,
                    unit: row.get(5)?,
                    limit_amount: from_db(row.get(6)?),
                    used_amount: from_db(row.get(7)?),
                    is_lower_bound: row.get(8)?,
                    thresholds_json: row.get(9)?,
                    status: row.get(10)?,
                    updated_ms: row.get(11)?,
                })
            },
        )
    }
}

fn read_set_budget(row: &rusqlite::Row<'_>) -> rusqlite::Result<SetBudget> {
    Ok(SetBudget {
        name: row.get(0)?,
        definition_json: row.get(1)?,
    })
}
