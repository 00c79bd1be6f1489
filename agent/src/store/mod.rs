//! The ledger: one SQLite file.
//!
//! *Takes* what leaves the core, in batches. *Gives* rows, to our reports and to anybody who opens
//! the file with `sqlite3`. *Remembers* nothing outside the file. *Nonsense*, a file that is no
//! ledger, is refused; a ledger that is damaged is set aside, so that observation goes on.
//!
//! How it keeps its promises:
//! - **Durable**: WAL with `synchronous=FULL`. With `NORMAL` a power cut takes the last commits
//!   back; with `FULL` none that was announced, and at one batch a second the extra sync is not
//!   felt.
//! - **Idempotent**: a call is one row by `(host_id, identity)`. The same record again changes
//!   nothing, a better one (the final usage after a partial one) replaces it, and the counters of
//!   its session do not move twice.
//! - **Readable**: directory 0750, files 0640, group `bpftok` where it exists. The write-ahead log
//!   stays when the writer ends; without it a reader who may not write cannot open the file.

mod adding;
mod alerts;
mod beside;
mod budgets;
mod calls;
mod dimension;
mod functions;
mod grouping;
mod host;
mod insight;
mod live;
mod merge;
mod migrate;
mod owner;
mod per_session;
mod place;
mod prices;
mod prune;
mod quota;
mod rates;
mod reader;
mod reprice;
mod retention;
mod rollup;
mod select;
mod sessions;
mod shape;
mod source;
mod spends;
mod status;
mod sums;
mod unused;
mod usage;
mod vacuum;
mod workflows;
mod writer;

use std::io;
use std::path::PathBuf;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

pub use alerts::{
    AlertFilter, AlertRow, AlertsChanged, BudgetRow, BudgetState, DeliveryOutcome, DeliveryRow,
    DueDelivery, NewDelivery, OpenCall,
};
pub use beside::{acknowledge, set_budget};
pub use budgets::{PastPeriod, ReachedThreshold, SetBudget};
pub use dimension::Dimension;
pub use host::{AccountKey, HostFacts};
pub use insight::{
    CLASSES, Candidates, LengthBucket, MissCause, MissedRead, NotKept, PricedUse, SessionChange,
    Slice, Spent, Unseen, Waste, WastedCall,
};
pub use live::{Live, LiveAlert, LiveBudget, LiveCall, LiveSession, RunningCall};
pub use merge::{Merged, Step, merge};
pub use migrate::SCHEMA_VERSION;
pub use prices::Unpriced;
pub use quota::Quota;
pub use reader::{Call, CoverageSum, Query, QueryRow, Reader, UNPROBED_NAMES, Value, Window};
pub use reprice::{Keeping, Repriced, reprice};
pub use retention::{Progress, PrunedCalls, Retention};
pub use sessions::{ContextPoint, Session, SessionDetail, Thread};
pub use spends::{BucketSpend, Spends};
pub use status::{AgentStatus, CalledHost, CallingProcess, FailedFile, HookedFile, TlsFile};
pub use sums::Sums;
pub use usage::{Filter, Group, Key, MOST_CALLS_OF_PERCENTILES, Question, Relation, Sum, UsageSum};
pub use vacuum::{Vacuumed, vacuum};
pub use workflows::{Kind, SeenWorkflow, Size};
pub use writer::{Applied, Durability, Keep, Writer};

/// Asks for a number that is another one as soon as somebody else has committed to the ledger.
const DATA_VERSION: &str = "PRAGMA data_version";

/// What could not be done with the ledger.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no file.
    #[error(
        "no ledger at {} yet; start `sudo bpftok run`, or name another file with --db",
        path.display()
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file may not be opened.
    #[error(
        "may not open {}; run as root, or as a member of the group `bpftok` (usermod -aG bpftok USER)",
        path.display()
    )]
    Forbidden {
        /// File.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The place of the file lets others replace or change it.
    #[error("{} is refused as (part of) the place of the ledger: {why}", path.display())]
    Unsafe {
        /// File or directory.
        path: PathBuf,
        /// What is wrong, and the remedy.
        why: &'static str,
    },
    /// Another agent writes to it.
    #[error("{} is written by another agent{}; stop it, or name another file with --db",
        path.display(), pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    InUse {
        /// File.
        path: PathBuf,
        /// The other agent.
        pid: Option<u32>,
    },
    /// A later version wrote it.
    #[error(
        "{} has schema version {found}, this bpftok knows {known}; use the newer bpftok that wrote it",
        path.display()
    )]
    Newer {
        /// File.
        path: PathBuf,
        /// Version of the file.
        found: i64,
        /// Newest version known here.
        known: i64,
    },
    /// An earlier version wrote it.
    #[error("{} was written by an earlier bpftok; start the agent once, which upgrades it", path.display())]
    Older {
        /// File.
        path: PathBuf,
    },
    /// It was created, but nothing has been written.
    #[error("{} holds no ledger yet; start `sudo bpftok run`", path.display())]
    Blank {
        /// File.
        path: PathBuf,
    },
    /// It is a database of another program.
    #[error("{} is a database, but no ledger of bpftok; name another file with --db", path.display())]
    Foreign {
        /// File.
        path: PathBuf,
    },
    /// It is damaged.
    #[error("{} is damaged", path.display())]
    Corrupt {
        /// File.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A file operation failed.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// File or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// SQLite refused.
    #[error("cannot {doing} {}", path.display())]
    Sql {
        /// What was tried.
        doing: &'static str,
        /// File.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A status cannot be written or read as JSON.
    #[error("cannot {doing} the agent's status")]
    Status {
        /// What was tried.
        doing: &'static str,
        /// What serde said.
        source: serde_json::Error,
    },
    /// A query of the user would write.
    #[error(
        "only one statement that reads is allowed here; the ledger is never written by a query"
    )]
    WritingQuery,
    /// A query of the user is wrong.
    #[error("the query failed")]
    Query {
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

impl Error {
    /// True if the same step may succeed later: the disk is full, the file is locked or read-only
    /// for now, or a device failed. The caller keeps its records and tries again.
    pub fn is_retryable(&self) -> bool {
        let Self::Sql { source, .. } = self else {
            return false;
        };
        matches!(
            source.sqlite_error_code(),
            Some(
                ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::DiskFull
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::CannotOpen
                    | ErrorCode::ReadOnly
            )
        )
    }

    /// True if the file is damaged, so that [`Writer::start_over`] is the way on.
    pub const fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt { .. })
    }

    /// True if a device or a file on it failed, so that [`Writer::reopen`] comes before the next try.
    pub fn is_of_device(&self) -> bool {
        match self {
            Self::Io { .. } => true,
            Self::Sql { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen)
            ),
            Self::Missing { .. }
            | Self::Forbidden { .. }
            | Self::Unsafe { .. }
            | Self::InUse { .. }
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::Blank { .. }
            | Self::Foreign { .. }
            | Self::Corrupt { .. }
            | Self::Status { .. }
            | Self::WritingQuery
            | Self::Query { .. } => false,
        }
    }

    /// Sorts an error of SQLite on `path`.
    fn sql(doing: &'static str, path: &std::path::Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { path, source }
            }
            _ => Self::Sql {
                doing,
                path,
                source,
            },
        }
    }
}

/// Begins a transaction that will write.
fn immediate(conn: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    conn.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// A count as SQLite stores it. No counter reaches 2^63, so nothing is lost.
fn to_db(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count as SQLite stores it; a negative one was not written by us and reads as 0.
fn from_db(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rusqlite::ffi;

    use super::*;

    #[test]
    fn what_may_pass_is_retryable_and_damage_is_not() {
        let sorted = |code| {
            let source = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let error = Error::sql("write to", Path::new("usage.db"), source);
            (error.is_retryable(), error.is_corrupt())
        };
        for code in [
            ffi::SQLITE_FULL,
            ffi::SQLITE_IOERR,
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_BUSY,
            ffi::SQLITE_LOCKED,
            ffi::SQLITE_READONLY,
            ffi::SQLITE_CANTOPEN,
        ] {
            assert_eq!(sorted(code), (true, false), "{code}");
        }
        for code in [
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_CORRUPT_INDEX,
            ffi::SQLITE_NOTADB,
        ] {
            assert_eq!(sorted(code), (false, true), "{code}");
        }
        assert_eq!(sorted(ffi::SQLITE_ERROR), (false, false));
        assert_eq!(sorted(ffi::SQLITE_CONSTRAINT), (false, false));
    }
}
