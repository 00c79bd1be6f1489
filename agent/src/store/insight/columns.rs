//! Columns of a row, read one after the other.

use rusqlite::Row;
use rusqlite::types::FromSql;

use crate::store::from_db;

/// The columns of a row from a place on, in the order of the statement.
pub(super) struct Columns<'a> {
    row: &'a Row<'a>,
    at: usize,
}

impl<'a> Columns<'a> {
    pub(super) const fn from(row: &'a Row<'a>, at: usize) -> Self {
        Self { row, at }
    }

    /// The next column.
    pub(super) fn next<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        let at = self.at;
        self.at += 1;
        self.row.get(at)
    }

    /// The next column: a count, where it is known.
    pub(super) fn known(&mut self) -> rusqlite::Result<Option<u64>> {
        Ok(self.next::<Option<i64>>()?.map(from_db))
    }

    /// The next column: a count, none where it is not known.
    pub(super) fn count(&mut self) -> rusqlite::Result<u64> {
        Ok(self.known()?.unwrap_or(0))
    }
}
