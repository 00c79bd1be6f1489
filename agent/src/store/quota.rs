//! What is left of the limits of accounts: rows of `rate_limit`.

use agent_core::llm::Observed;
use agent_core::pipeline::Output;
use rusqlite::{Row, params};

use super::writer::Batch;
use super::{Error, Reader, Writer, from_db, to_db};

/// How far apart old rows are looked for.
pub(super) const SWEEP_MS: i64 = 86_400_000;

/// The latest that a limit of an account said.
#[derive(Clone, Debug, PartialEq)]
pub struct Quota {
    /// When, in milliseconds since the Unix epoch.
    pub observed_ms: i64,
    /// Host that it was seen on.
    pub host_name: String,
    /// Provider.
    pub provider: String,
    /// Keyed hash of the account, if a response named it.
    pub account_hash: Option<String>,
    /// Limit.
    pub name: String,
    /// Time that it is for, in seconds.
    pub window_seconds: Option<u64>,
    /// Share that is used, 1 for all.
    pub used_ratio: Option<f64>,
    /// The limit.
    pub limit: Option<u64>,
    /// What is left of it.
    pub remaining: Option<u64>,
    /// When it begins anew, in milliseconds since the Unix epoch.
    pub resets_ms: Option<i64>,
}

/// When the last of these outputs that is about a limit was told.
pub(super) fn last_quota_ms(outputs: &[Output]) -> Option<i64> {
    let told = |output: &Output| match output {
        Output::Quota { unix_ms, .. } => Some(*unix_ms),
        Output::Usage(_)
        | Output::Coverage(_)
        | Output::ProcessExited { .. }
        | Output::Running(_)
        | Output::Ignore(_) => None,
    };
    outputs.iter().filter_map(told).max()
}

impl Batch<'_> {
    /// Stores what was told of a limit; the same again changes nothing.
    pub(super) fn quota(&self, unix_ms: i64, observed: &Observed) -> rusqlite::Result<()> {
        let limit = &observed.limit;
        let account = observed.account.as_ref();
        self.transaction
            .prepare_cached(
                "INSERT INTO rate_limit (
                     observed_ms, host_id, provider, account_hash, limit_name, window_seconds,
                     used_ratio, limit_value, remaining_value, resets_ms)
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10
                 WHERE NOT EXISTS (
                     SELECT 1 FROM rate_limit
                     WHERE host_id = ?2 AND provider = ?3 AND account_hash IS ?4
                       AND limit_name = ?5 AND observed_ms = ?1)",
            )?
            .execute(params![
                unix_ms,
                self.host_id,
                observed.provider.0,
                account.map(|account| self.host.account_key.hash(account.id())),
                limit.name,
                limit.window_seconds.map(to_db),
                limit.used.map(|used| used.ratio()),
                limit.limit.map(to_db),
                limit.remaining.map(to_db),
                limit.resets_unix_ms(unix_ms),
            ])?;
        Ok(())
    }

    /// Deletes what was told before a moment.
    pub(super) fn forget_quotas(&self, before_ms: i64) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("DELETE FROM rate_limit WHERE host_id = ?1 AND observed_ms < ?2")?
            .execute(params![self.host_id, before_ms])?;
        Ok(())
    }
}

/// The latest of every limit, of one provider and of one host if they are named.
const LATEST: &str =
    "SELECT observed_ms, host_name, provider, account_hash, limit_name, window_seconds,
        used_ratio, limit_value, remaining_value, resets_ms
    FROM v_quota WHERE (?1 IS NULL OR provider = ?1) AND (?2 IS NULL OR host_id = ?2)
    ORDER BY provider, host_name, account_hash, used_ratio DESC, limit_name";

impl Writer {
    /// The latest of every limit of this host's accounts.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn latest_quotas(&self) -> Result<Vec<Quota>, Error> {
        let read = || -> rusqlite::Result<Vec<Quota>> {
            self.connection()
                .prepare_cached(LATEST)?
                .query_map(params![None::<&str>, self.host_id()], quota)?
                .collect()
        };
        read().map_err(|source| Error::sql("read", self.path(), source))
    }
}

impl Reader {
    /// The latest of every limit, of one provider if one is named: what is used most first.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn quotas(&self, provider: Option<&str>) -> Result<Vec<Quota>, Error> {
        self.rows_of(LATEST, params![provider, None::<i64>], quota)
    }
}

fn quota(row: &Row<'_>) -> rusqlite::Result<Quota> {
    let count =
        |place: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(place)?.map(from_db));
    Ok(Quota {
        observed_ms: row.get(0)?,
        host_name: row.get(1)?,
        provider: row.get(2)?,
        account_hash: row.get(3)?,
        name: row.get(4)?,
        window_seconds: count(5)?,
        used_ratio: row.get(6)?,
        limit: count(7)?,
        remaining: count(8)?,
        resets_ms: row.get(9)?,
    })
}
