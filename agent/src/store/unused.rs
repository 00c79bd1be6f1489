//! Finds and deletes rows that nothing refers to any more: processes, shapes and prices of calls
//! that are gone, and what sums were kept apart by.
//!
//! No index leads from these rows to calls, because each would cost every call; so all calls are read,
//! some at a time, and the last step deletes what was not met. In between, new calls come behind those
//! that were read, and the sessions of those that changed are read again.

use std::collections::BTreeSet;

use rusqlite::{Connection, Row, params};

/// LIMIT: calls that one step reads.
const ROWS: i64 = 10_000;

/// A search for rows that nothing refers to.
#[derive(Debug)]
pub(super) struct Unused {
    /// Calls up to this one were read.
    read_id: i64,
    last_id: i64,
    /// Sessions with calls that changed since.
    changed: BTreeSet<i64>,
    processes: BTreeSet<i64>,
    shapes: BTreeSet<i64>,
    prices: BTreeSet<i64>,
    usage_keys: BTreeSet<i64>,
}

/// Columns of `request` that refer to such rows.
const COLUMNS: &str = "request_id, process_id, via_process_id, shape_id, price_id, usage_key_id";

impl Unused {
    /// Begins one.
    pub(super) fn begin(conn: &Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            read_id: i64::MIN,
            last_id: conn.query_row(
                "SELECT ifnull(max(request_id), 0) FROM request",
                [],
                |row| row.get(0),
            )?,
            changed: BTreeSet::new(),
            processes: BTreeSet::new(),
            shapes: BTreeSet::new(),
            prices: BTreeSet::new(),
            usage_keys: BTreeSet::new(),
        })
    }

    /// Calls of these sessions changed.
    pub(super) fn look_again(&mut self, sessions: &BTreeSet<i64>) {
        self.changed.extend(sessions);
    }

    /// Reads some calls, or deletes what was not met; `None` when it is over.
    pub(super) fn step(mut self, conn: &mut Connection) -> rusqlite::Result<Option<Self>> {
        if self.read_id < self.last_id {
            self.read(
                conn,
                &format!(
                    "SELECT {COLUMNS} FROM request WHERE request_id > ?1
                     ORDER BY request_id LIMIT {ROWS}"
                ),
                self.read_id,
            )?;
            return Ok(Some(self));
        }
        // Without an index each deletion would read all calls to see that none refers to the row.
        conn.pragma_update(None, "foreign_keys", false)?;
        let deleted = self.delete(conn);
        conn.pragma_update(None, "foreign_keys", true)?;
        deleted?;
        Ok(None)
    }

    fn read(&mut self, conn: &Connection, sql: &str, id: i64) -> rusqlite::Result<()> {
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query([id])?;
        let mut found = false;
        while let Some(row) = rows.next()? {
            found = true;
            self.read_id = self.read_id.max(self.meet(row)?);
        }
        if !found {
            self.read_id = self.read_id.max(self.last_id);
        }
        Ok(())
    }

    fn meet(&mut self, row: &Row<'_>) -> rusqlite::Result<i64> {
        let id = |column: usize| row.get::<_, Option<i64>>(column);
        self.processes.extend(id(1)?);
        self.processes.extend(id(2)?);
        self.shapes.extend(id(3)?);
        self.prices.extend(id(4)?);
        self.usage_keys.extend(id(5)?);
        row.get(0)
    }

    fn delete(&mut self, conn: &mut Connection) -> rusqlite::Result<()> {
        let transaction = super::immediate(conn)?;
        for session in std::mem::take(&mut self.changed) {
            self.read(
                &transaction,
                &format!("SELECT {COLUMNS} FROM request WHERE session_id = ?1"),
                session,
            )?;
        }
        self.read(
            &transaction,
            &format!("SELECT {COLUMNS} FROM request WHERE request_id > ?1"),
            self.last_id,
        )?;
        for (met, sql) in [
            (
                &mut self.processes,
                "SELECT process_id FROM session UNION SELECT process_id FROM coverage_minute
                 UNION SELECT process_id FROM session_usage",
            ),
            (&mut self.prices, "SELECT DISTINCT price_id FROM usage_key"),
            (
                &mut self.usage_keys,
                "SELECT usage_key_id FROM usage_15m UNION SELECT usage_key_id FROM session_usage
                 UNION SELECT usage_key_id FROM session_15m",
            ),
        ] {
            let mut statement = transaction.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                met.extend(row.get::<_, Option<i64>>(0)?);
            }
        }
        for (table, met) in [
            ("process", &self.processes),
            ("shape", &self.shapes),
            ("price", &self.prices),
            ("usage_key", &self.usage_keys),
        ] {
            let ids = transaction
                .prepare(&format!("SELECT {table}_id FROM {table}"))?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<i64>>>()?;
            let mut delete =
                transaction.prepare(&format!("DELETE FROM {table} WHERE {table}_id = ?1"))?;
            for id in ids.iter().filter(|id| !met.contains(id)) {
                delete.execute(params![id])?;
            }
        }
        transaction.execute(
            "DELETE FROM checkout WHERE checkout_id NOT IN (
                 SELECT checkout_id FROM usage_key WHERE checkout_id IS NOT NULL)",
            [],
        )?;
        transaction.commit()
    }
}
