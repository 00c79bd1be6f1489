//! Brings a ledger to the version that this program knows.

use std::path::Path;

use rusqlite::Connection;

use super::Error;

/// One step per version, in order, each of one or more files; a step that was released never changes.
const STEPS: [&[&str]; 9] = [
    &[include_str!("schema/0001_ledger.sql")],
    &[include_str!("schema/0002_unprobed.sql")],
    &[include_str!("schema/0003_costs.sql")],
    &[
        include_str!("schema/0004_workflows.sql"),
        include_str!("schema/0004_views.sql"),
    ],
    &[include_str!("schema/0005_retention.sql")],
    &[include_str!("schema/0006_alerts.sql")],
    &[include_str!("schema/0007_spans.sql")],
    &[include_str!("schema/0008_prices.sql")],
    &[include_str!("schema/0009_waste.sql")],
];

/// Version of the schema that this program writes.
#[expect(
    clippy::cast_possible_wrap,
    clippy::as_conversions,
    reason = "a constant of a few steps"
)]
pub const SCHEMA_VERSION: i64 = STEPS.len() as i64;

/// Marks the file as ours: "bptk" in ASCII.
pub(super) const APPLICATION_ID: i64 = 0x6270_746b;

/// What a file is, before anything is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing was ever written.
    Blank,
    /// A ledger of this version or an older one.
    Ledger {
        /// Its version.
        version: i64,
    },
}

/// Looks at a file.
///
/// # Errors
/// [`Error::Foreign`] and [`Error::Newer`]; [`Error::Corrupt`] if it is no database.
pub(super) fn inspect(conn: &Connection, path: &Path) -> Result<Found, Error> {
    let failed = |source| Error::sql("read", path, source);
    let number = |pragma: &str| conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let version = number("user_version").map_err(failed)?;
    let application = number("application_id").map_err(failed)?;
    let objects: i64 = conn
        .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
        .map_err(failed)?;
    if objects == 0 && version == 0 {
        return Ok(Found::Blank);
    }
    if application != APPLICATION_ID {
        return Err(Error::Foreign {
            path: path.to_owned(),
        });
    }
    if version > SCHEMA_VERSION {
        return Err(Error::Newer {
            path: path.to_owned(),
            found: version,
            known: SCHEMA_VERSION,
        });
    }
    Ok(Found::Ledger { version })
}

/// Takes the steps that are missing, each in one transaction.
///
/// # Errors
/// As [`inspect`], and [`Error::Sql`] if a step fails; the file then has the version before it.
pub(super) fn migrate(conn: &mut Connection, path: &Path) -> Result<(), Error> {
    let from = match inspect(conn, path)? {
        Found::Blank => 0,
        Found::Ledger { version } => version,
    };
    for (step, version) in STEPS
        .iter()
        .zip(1_i64..)
        .filter(|(_, version)| *version > from)
    {
        let failed = |source| Error::sql("upgrade", path, source);
        let transaction = super::immediate(conn).map_err(failed)?;
        for file in *step {
            transaction.execute_batch(file).map_err(failed)?;
        }
        transaction
            .pragma_update(None, "application_id", APPLICATION_ID)
            .map_err(failed)?;
        transaction
            .pragma_update(None, "user_version", version)
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_file_becomes_a_ledger_of_this_version() {
        let mut conn = Connection::open_in_memory().unwrap();
        let path = Path::new("test");
        assert_eq!(inspect(&conn, path).unwrap(), Found::Blank);
        migrate(&mut conn, path).unwrap();
        assert_eq!(
            inspect(&conn, path).unwrap(),
            Found::Ledger {
                version: SCHEMA_VERSION
            }
        );
        migrate(&mut conn, path).unwrap();
    }

    #[test]
    fn a_newer_file_and_a_foreign_one_are_refused_and_left_alone() {
        let mut conn = Connection::open_in_memory().unwrap();
        let path = Path::new("test");
        migrate(&mut conn, path).unwrap();
        conn.pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(
            migrate(&mut conn, path),
            Err(Error::Newer { found: 99, .. })
        ));

        let mut conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE t (x)").unwrap();
        assert!(matches!(
            migrate(&mut conn, path),
            Err(Error::Foreign { .. })
        ));
    }

    #[test]
    fn the_schema_keeps_to_what_sqlite_3_34_reads() {
        for file in STEPS.concat() {
            let code = file
                .lines()
                .filter(|line| !line.trim_start().starts_with("--"))
                .collect::<Vec<_>>()
                .join("\n")
                .to_lowercase();
            for newer in [
                "strict",
                "->",
                "unixepoch(",
                "returning",
                "iif(",
                "drop column",
                "nulls last",
                "materialized",
                "is distinct",
                "is not distinct",
                "right join",
                "full join",
                "format(",
                "concat(",
                "concat_ws(",
                "string_agg(",
                "octet_length(",
                "timediff(",
                "unhex(",
                // Mathematics is left out of some builds, and JSON was, up to 3.38.
                "ceil(",
                "floor(",
                "log(",
                "pow(",
                "sign(",
                "sqrt(",
                "json(",
                "json_",
            ] {
                assert!(!code.contains(newer), "{newer}");
            }
        }
    }
}
