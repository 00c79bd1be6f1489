//! Makes the file of a ledger anew, without the pages that are free.

use std::io;
use std::path::Path;

use super::{Error, place, writer};

/// How large a ledger was and is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vacuumed {
    /// Before.
    pub before_bytes: u64,
    /// After.
    pub after_bytes: u64,
}

/// Makes the file of a ledger anew; from then on the agent gives free pages back. No agent may write to
/// it, and its file system needs room for a second copy.
///
/// # Errors
/// [`Error::InUse`], [`Error::Missing`], and those of files and of SQLite.
pub fn vacuum(ledger: &Path) -> Result<Vacuumed, Error> {
    let bytes = || match std::fs::symlink_metadata(ledger) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::Missing {
            path: ledger.to_owned(),
        }),
        Err(source) => Err(Error::Io {
            doing: "look at",
            path: ledger.to_owned(),
            source,
        }),
    };
    let before_bytes = bytes()?;
    let path = place::prepare(ledger)?;
    let _lock = place::lock(&path)?;
    let conn = writer::open_for_writing(&path)?;
    let failed = |source| Error::sql("vacuum", &path, source);
    conn.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM")
        .map_err(failed)?;
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .map_err(failed)?;
    conn.close().map_err(|(_, source)| failed(source))?;
    Ok(Vacuumed {
        before_bytes,
        after_bytes: bytes()?,
    })
}
