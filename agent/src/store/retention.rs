//! How long rows are kept, and the sweep that deletes older ones a little at a time; it also finds what may
//! be waste.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::Connection;

use super::insight::walked;
use super::prune::{self, Pruned};
use super::rollup::{bucket, forget_before};
use super::unused::Unused;
use super::{Error, Reader};

const DAY_MS: i64 = 86_400_000;
/// LIMIT: rows of coverage that one step deletes.
const COVERAGE_ROWS: i64 = 5_000;
/// LIMIT: notifications that one step deletes.
const DELIVERY_ROWS: i64 = 1_000;
/// How long it is kept who was told of an alert, in days. The alerts themselves stay.
const DELIVERY_DAYS: u32 = 90;
/// LIMIT: pages that one step gives back to the file system: a mebibyte.
const VACUUM_PAGES: i64 = 256;
/// The part of a file that may be free: new rows fill it, and giving it back would be for nothing.
const FREE_PART: i64 = 10;

/// How long rows are kept, in days; 0 for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Calls.
    pub request_days: u32,
    /// Sums by quarter of an hour; no shorter than calls.
    pub rollup_days: u32,
    /// What became of observed bytes, by minute.
    pub coverage_days: u32,
    /// Limits of accounts, behind the latest one.
    pub rate_limit_days: u32,
    /// Size of the ledger in MiB, free pages left out, from which on the oldest days of calls go
    /// before their time; 0 for any size.
    pub max_mb: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            request_days: 90,
            rollup_days: 0,
            coverage_days: 14,
            rate_limit_days: 30,
            max_mb: 0,
        }
    }
}

impl Retention {
    /// What is older goes, seen from `now_ms`; a beginning of a quarter of an hour.
    fn from(days: u32, now_ms: i64) -> Option<i64> {
        (days > 0).then(|| bucket(now_ms.saturating_sub(i64::from(days) * DAY_MS)))
    }

    /// Limits that were told before this go.
    pub(super) fn rate_limits_from(&self, told_ms: i64) -> Option<i64> {
        let days = self.rate_limit_days;
        (days > 0).then(|| told_ms.saturating_sub(i64::from(days) * DAY_MS))
    }
}

/// What was deleted of the calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrunedCalls {
    /// Calls that began before this may have been deleted, while their sums were kept; in
    /// milliseconds since the Unix epoch.
    pub before_ms: Option<i64>,
    /// Those before this went because the ledger was too large.
    pub capped_before_ms: Option<i64>,
}

impl Reader {
    /// What was deleted of the calls.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn pruned_calls(&self) -> Result<PrunedCalls, Error> {
        let failed = |source| Error::sql("read", self.path(), source);
        Ok(PrunedCalls {
            before_ms: prune::pruned_before_ms(&self.conn).map_err(failed)?,
            capped_before_ms: prune::capped_before_ms(&self.conn).map_err(failed)?,
        })
    }
}

/// How far a sweep is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do.
    More,
    /// It is over.
    Done,
}

/// What a sweep does next.
#[derive(Debug)]
enum Stage {
    Requests,
    /// The file is too large; calls before `until_ms` are going.
    Size {
        until_ms: Option<i64>,
    },
    Rollups,
    Coverage,
    Deliveries,
    Waste,
    Unused,
    Pages,
}

/// Sweeps the ledger of one writer.
#[derive(Debug, Default)]
pub(super) struct Sweeper {
    retention: Retention,
    stage: Option<Stage>,
    /// The last moment of calls that went because the file was too large.
    capped_before_ms: Option<i64>,
    /// The size when nothing was left that might go.
    too_large_bytes: Option<i64>,
    /// Rows were deleted that others may have been kept for.
    leaves_unused: bool,
    /// When rows that nothing refers to were last looked for.
    collected_ms: Option<i64>,
    collecting: Option<Unused>,
}

impl Sweeper {
    pub(super) fn new(retention: Retention) -> Self {
        Self {
            retention,
            ..Self::default()
        }
    }

    pub(super) const fn retention(&self) -> Retention {
        self.retention
    }

    /// A batch changed calls of these sessions.
    pub(super) fn note(&mut self, sessions: &BTreeSet<i64>) {
        if let Some(collecting) = &mut self.collecting {
            collecting.look_again(sessions);
        }
    }

    /// What the size of the ledger made necessary, or what it needs.
    pub(super) fn complaint(&self) -> Option<String> {
        let max_mb = self.retention.max_mb;
        let capped = self.capped_before_ms.map(|ms| {
            let day = Timestamp::from_millisecond(ms)
                .map_or_else(|_| ms.to_string(), |moment| moment.to_string());
            format!(
                "the ledger reached retention.max_mb = {max_mb}: calls before {day} were deleted earlier than \
                 retention.request_days says; their sums are kept"
            )
        });
        let too_large = self.too_large_bytes.map(|bytes| {
            format!(
                "the ledger has {} MiB, more than retention.max_mb = {max_mb}, and no calls older than a day \
                 are left to delete; raise it",
                bytes >> 20
            )
        });
        too_large.or(capped)
    }

    /// Takes the next step.
    ///
    /// # Errors
    /// Those of SQLite; the step can be taken again.
    pub(super) fn step(
        &mut self,
        conn: &mut Connection,
        now_ms: i64,
    ) -> rusqlite::Result<Progress> {
        let stage = self.stage.take().unwrap_or(Stage::Requests);
        let next = match self.take(stage, conn, now_ms) {
            Ok(next) => next,
            Err(error) => {
                // The next sweep begins at the beginning, where everything done is found done.
                self.collecting = None;
                return Err(error);
            }
        };
        let progress = match next {
            Some(_) => Progress::More,
            None => Progress::Done,
        };
        self.stage = next;
        Ok(progress)
    }

    fn take(
        &mut self,
        stage: Stage,
        conn: &mut Connection,
        now_ms: i64,
    ) -> rusqlite::Result<Option<Stage>> {
        Ok(Some(match stage {
            Stage::Requests => match Retention::from(self.retention.request_days, now_ms) {
                Some(until_ms) if self.prune(conn, until_ms)?.is_some() => Stage::Requests,
                _ => Stage::Size { until_ms: None },
            },
            Stage::Size { until_ms } => self.shrink(conn, until_ms, now_ms)?,
            Stage::Rollups => match Retention::from(self.retention.rollup_days, now_ms) {
                Some(until_ms) if forget_day_of_rollups(conn, until_ms)? => {
                    self.leaves_unused = true;
                    Stage::Rollups
                }
                _ => Stage::Coverage,
            },
            Stage::Coverage => match Retention::from(self.retention.coverage_days, now_ms) {
                Some(until_ms) if forget_coverage(conn, until_ms)? => {
                    self.leaves_unused = true;
                    Stage::Coverage
                }
                _ => Stage::Deliveries,
            },
            Stage::Deliveries => match Retention::from(DELIVERY_DAYS, now_ms) {
                Some(until_ms) if forget_deliveries(conn, until_ms)? => Stage::Deliveries,
                _ => Stage::Waste,
            },
            Stage::Waste if walked::step(conn, now_ms)? => Stage::Waste,
            Stage::Waste => self.begin_collecting(conn, now_ms)?,
            Stage::Unused => match self.collecting.take() {
                Some(collecting) => {
                    self.collecting = collecting.step(conn)?;
                    match self.collecting {
                        Some(_) => Stage::Unused,
                        None => Stage::Pages,
                    }
                }
                None => Stage::Pages,
            },
            Stage::Pages if give_back(conn)? => Stage::Pages,
            Stage::Pages => return Ok(None),
        }))
    }

    fn prune(&mut self, conn: &mut Connection, until_ms: i64) -> rusqlite::Result<Option<Pruned>> {
        let pruned = prune::oldest(conn, until_ms)?;
        self.leaves_unused |= pruned.is_some();
        Ok(pruned)
    }

    /// Deletes the oldest days of calls while the file is too large. Those of the last day stay.
    fn shrink(
        &mut self,
        conn: &mut Connection,
        until_ms: Option<i64>,
        now_ms: i64,
    ) -> rusqlite::Result<Stage> {
        if let Some(until_ms) = until_ms
            && let Some(pruned) = self.prune(conn, until_ms)?
        {
            self.capped_before_ms = Some(pruned.before_ms);
            prune::remember_cap(conn, pruned.before_ms)?;
            return Ok(Stage::Size {
                until_ms: Some(until_ms),
            });
        }
        let max_bytes = i64::from(self.retention.max_mb) << 20;
        let used_bytes = used_bytes(conn)?;
        self.too_large_bytes = None;
        if max_bytes == 0 || used_bytes <= max_bytes {
            return Ok(Stage::Rollups);
        }
        let first: Option<i64> =
            conn.query_row("SELECT min(started_ms) FROM request", [], |row| row.get(0))?;
        let newest_ms = bucket(now_ms - DAY_MS);
        match first {
            Some(first) if bucket(first) < newest_ms => {
                let day_end = first - first.rem_euclid(DAY_MS) + DAY_MS;
                Ok(Stage::Size {
                    until_ms: Some(day_end.min(newest_ms)),
                })
            }
            _ => {
                self.too_large_bytes = Some(used_bytes);
                Ok(Stage::Rollups)
            }
        }
    }

    /// Looking for rows that nothing refers to reads all calls: at most once a day.
    fn begin_collecting(&mut self, conn: &Connection, now_ms: i64) -> rusqlite::Result<Stage> {
        let is_due = self
            .collected_ms
            .is_none_or(|collected| now_ms - collected >= DAY_MS);
        if !self.leaves_unused || !is_due {
            return Ok(Stage::Pages);
        }
        self.leaves_unused = false;
        self.collected_ms = Some(now_ms);
        self.collecting = Some(Unused::begin(conn)?);
        Ok(Stage::Unused)
    }
}

/// Deletes the sums of the oldest day before `until_ms`; false if there are none.
fn forget_day_of_rollups(conn: &mut Connection, until_ms: i64) -> rusqlite::Result<bool> {
    let first: Option<i64> =
        conn.query_row("SELECT min(bucket_start_ms) FROM usage_15m", [], |row| {
            row.get(0)
        })?;
    let Some(first) = first.filter(|first| *first < until_ms) else {
        return Ok(false);
    };
    let day_end = (first + DAY_MS).min(until_ms);
    let transaction = super::immediate(conn)?;
    forget_before(&transaction, day_end)?;
    transaction.commit()?;
    Ok(true)
}

/// Deletes some coverage from before `until_ms`; false if there is none.
fn forget_coverage(conn: &Connection, until_ms: i64) -> rusqlite::Result<bool> {
    let rows = conn.execute(
        "DELETE FROM coverage_minute WHERE rowid IN (
             SELECT rowid FROM coverage_minute WHERE minute_ms < ?1 LIMIT ?2)",
        [until_ms, COVERAGE_ROWS],
    )?;
    Ok(rows > 0)
}

/// Deletes some notifications from before `until_ms` that nobody tries to deliver any more; false if
/// there are none.
fn forget_deliveries(conn: &Connection, until_ms: i64) -> rusqlite::Result<bool> {
    let rows = conn.execute(
        "DELETE FROM alert_delivery WHERE delivery_id IN (
             SELECT delivery_id FROM alert_delivery
             WHERE created_ms < ?1 AND state IN ('delivered', 'given_up') LIMIT ?2)",
        [until_ms, DELIVERY_ROWS],
    )?;
    Ok(rows > 0)
}

/// Gives free pages back to the file system, if there are many and the file was made for it; false
/// if there is nothing to give.
fn give_back(conn: &Connection) -> rusqlite::Result<bool> {
    let free = pragma(conn, "freelist_count")?;
    if pragma(conn, "auto_vacuum")? != 2 || free * FREE_PART <= pragma(conn, "page_count")? {
        return Ok(false);
    }
    let mut statement = conn.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
    let mut rows = statement.query([])?;
    // Each row is a page that is given back.
    while rows.next()?.is_some() {}
    Ok(pragma(conn, "freelist_count")? < free)
}

/// Bytes of the file that hold something.
fn used_bytes(conn: &Connection) -> rusqlite::Result<i64> {
    let pages = pragma(conn, "page_count")? - pragma(conn, "freelist_count")?;
    Ok(pages * pragma(conn, "page_size")?)
}

fn pragma(conn: &Connection, name: &str) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, name, |row| row.get(0))
}
