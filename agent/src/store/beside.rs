//! What commands write beside a running agent, which is the only other thing that writes: each in one
//! short transaction, into rows and columns that the agent reads and never writes.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::migrate::{Found, SCHEMA_VERSION, inspect};
use super::{Error, HostFacts, to_db};

/// Notes that somebody takes an alert on: false if there is none of this id that has not ended, or
/// somebody did already. This is the one thing that a command writes beside a running agent: two columns
/// that the agent reads and never writes, in one short transaction.
///
/// # Errors
/// Those of files and of SQLite, and [`Error::Older`] and [`Error::Newer`].
pub fn acknowledge(path: &Path, id: u64, by: &str, now_ms: i64) -> Result<bool, Error> {
    let failed = |source| Error::sql("write to", path, source);
    let mut conn = open(path)?;
    let transaction = super::immediate(&mut conn).map_err(failed)?;
    let rows = transaction
        .execute(
            "UPDATE alert SET acknowledged_ms = ?2, acknowledged_by = ?3
             WHERE alert_id = ?1 AND state <> 'resolved' AND acknowledged_ms IS NULL",
            params![to_db(id), now_ms, by],
        )
        .map_err(failed)?;
    transaction.commit().map_err(failed)?;
    Ok(rows > 0)
}

/// Makes or changes a budget of this host that a command sets, or takes it out if there is no
/// definition: whether it was there. A running agent finds it within seconds.
///
/// # Errors
/// Those of files and of SQLite, and [`Error::Older`] and [`Error::Newer`].
pub fn set_budget(
    path: &Path,
    name: &str,
    definition_json: Option<&str>,
    now_ms: i64,
) -> Result<bool, Error> {
    let failed = |source| Error::sql("write to", path, source);
    let mut conn = open(path)?;
    let transaction = super::immediate(&mut conn).map_err(failed)?;
    // A ledger that came from another machine is that machine's.
    let host = HostFacts::of_this_host("").machine_id_hash;
    let host_id: Option<i64> = transaction
        .query_row(
            "SELECT host_id FROM host ORDER BY machine_id_hash <> ?1, last_seen_ms DESC LIMIT 1",
            [&host],
            |row| row.get(0),
        )
        .optional()
        .map_err(failed)?;
    let Some(host_id) = host_id else {
        return Err(Error::Missing {
            path: path.to_owned(),
        });
    };
    let rows = match definition_json {
        None => transaction.execute(
            "DELETE FROM budget WHERE host_id = ?1 AND name = ?2 AND origin = 'command'",
            params![host_id, name],
        ),
        Some(definition) => transaction.execute(
            "INSERT INTO budget (host_id, name, definition_json, origin, changed_ms)
             VALUES (?1, ?2, ?3, 'command', ?4)
             ON CONFLICT (host_id, name) DO UPDATE SET
                 definition_json = excluded.definition_json, origin = excluded.origin,
                 changed_ms = excluded.changed_ms",
            params![host_id, name, definition, now_ms],
        ),
    };
    let rows = rows.map_err(failed)?;
    transaction.commit().map_err(failed)?;
    Ok(rows > 0)
}

/// Opens a ledger of this version for one short transaction beside a running agent.
///
/// # Errors
/// Those of files and of SQLite, [`Error::Missing`], [`Error::Blank`], [`Error::Older`] and
/// [`Error::Newer`].
fn open(path: &Path) -> Result<Connection, Error> {
    let failed = |source| Error::sql("write to", path, source);
    if !path.exists() {
        return Err(Error::Missing {
            path: path.to_owned(),
        });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let conn = Connection::open_with_flags(path, flags).map_err(failed)?;
    conn.pragma_update(None, "busy_timeout", 5_000)
        .map_err(failed)?;
    match inspect(&conn, path)? {
        Found::Ledger {
            version: SCHEMA_VERSION,
        } => Ok(conn),
        Found::Ledger { .. } => Err(Error::Older {
            path: path.to_owned(),
        }),
        Found::Blank => Err(Error::Blank {
            path: path.to_owned(),
        }),
    }
}
