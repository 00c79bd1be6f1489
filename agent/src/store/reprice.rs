//! What calls would cost by other prices, beside what they cost when they were made.
//!
//! A connection of its own, in short transactions: the agent may write at the same time.

use std::io;
use std::path::Path;

use agent_core::llm::{Credential, Terms, Units, Usage};
use agent_core::prices::{Billable, Prices};
use rusqlite::{Connection, OpenFlags, Row, TransactionBehavior, params};

use super::migrate::{self, Found};
use super::place;
use super::rollup::{Changed, Rollup};
use super::{Error, SCHEMA_VERSION, Window, to_db};

/// LIMIT: rows of one transaction. The agent waits for no longer than they take.
const ROWS: i64 = 1_000;

/// LIMIT: how long the agent's own transactions are waited for.
const BUSY_MS: i32 = 10_000;

/// Whether new costs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// They are, beside the old ones.
    Kept,
    /// They are only told.
    Told,
}

/// What came of it. Sums are in billionths of a US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repriced {
    /// Calls, and models inside of calls, in the window.
    pub rows: u64,
    /// Those that have a price now.
    pub priced_rows: u64,
    /// Those whose cost is another one now, or is known only now.
    pub changed_rows: u64,
    /// What all of them cost at their time, as far as that is known.
    pub cost_nanousd: u64,
    /// What all of them cost by the prices now.
    pub repriced_nanousd: u64,
}

/// One row, as far as it decides its price.
struct Stored {
    request_id: i64,
    provider: String,
    model: Option<String>,
    usage: Usage,
    units: Units,
    terms: Terms,
    is_complete: bool,
    reported_nanousd: Option<u64>,
    completed_ms: i64,
    cost_nanousd: Option<u64>,
    started_ms: i64,
    session_id: i64,
}

/// Prices the calls that began in a window anew, each at the moment when it was complete.
///
/// # Errors
/// The ledger is missing, of another version, or may not be written.
pub fn reprice(
    ledger: &Path,
    window: Window,
    prices: &Prices,
    keeping: Keeping,
) -> Result<Repriced, Error> {
    if let Err(error) = std::fs::symlink_metadata(ledger)
        && error.kind() == io::ErrorKind::NotFound
    {
        return Err(Error::Missing {
            path: ledger.to_owned(),
        });
    }
    let ledger = place::prepare(ledger)?;
    let failed = |source| Error::sql("write to", &ledger, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut conn = Connection::open_with_flags(&ledger, flags).map_err(failed)?;
    conn.pragma_update(None, "busy_timeout", BUSY_MS)
        .map_err(failed)?;
    match migrate::inspect(&conn, &ledger)? {
        Found::Ledger { version } if version == SCHEMA_VERSION => {}
        Found::Ledger { .. } => return Err(Error::Older { path: ledger }),
        Found::Blank => return Err(Error::Blank { path: ledger }),
    }
    conn.file_control(Some("main"), rusqlite::FileControl::PersistWal(&mut 1))
        .map_err(failed)?;
    let rollup = Rollup::default();
    let mut sum = Repriced::default();
    let mut after = i64::MIN;
    loop {
        let transaction = conn
            .transaction_with_behavior(match keeping {
                Keeping::Kept => TransactionBehavior::Immediate,
                Keeping::Told => TransactionBehavior::Deferred,
            })
            .map_err(failed)?;
        let rows = stored(&transaction, window, after).map_err(failed)?;
        let Some(last) = rows.last() else {
            return Ok(sum);
        };
        after = last.request_id;
        let mut changed = Changed::default();
        for row in &rows {
            let cost = prices.cost(&row.billable()).cost_nanousd;
            sum.rows += 1;
            sum.priced_rows += u64::from(cost.is_some());
            sum.changed_rows += u64::from(cost.is_some() && cost != row.cost_nanousd);
            let known = row.cost_nanousd.unwrap_or(0);
            sum.cost_nanousd = sum.cost_nanousd.saturating_add(known);
            sum.repriced_nanousd = sum.repriced_nanousd.saturating_add(cost.unwrap_or(0));
            if keeping == Keeping::Kept {
                changed.spoil(row.started_ms, row.session_id);
                transaction
                    .prepare_cached(
                        "UPDATE request SET repriced_nanousd = ?2 WHERE request_id = ?1",
                    )
                    .and_then(|mut statement| {
                        statement.execute(params![row.request_id, cost.map(to_db)])
                    })
                    .map_err(failed)?;
            }
        }
        changed
            .apply(&transaction, &rollup, after)
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
}

fn stored(conn: &Connection, window: Window, after: i64) -> rusqlite::Result<Vec<Stored>> {
    // A picture whose model was not named has that of its call in its shape; it is none of its price.
    conn.prepare_cached(
        "SELECT r.request_id, s.provider,
                CASE WHEN s.kind = 'image' AND s.model_served IS t.model_served THEN NULL
                     ELSE ifnull(s.model_served, s.model_requested) END,
                r.input_uncached_tokens, r.cache_read_tokens, r.cache_write_5m_tokens,
                r.cache_write_1h_tokens, r.cache_write_other_tokens, r.cache_write_12h_tokens,
                r.output_tokens, r.reasoning_tokens, r.audio_input_tokens, r.audio_output_tokens,
                r.image_input_tokens, r.image_output_tokens, r.web_searches, r.unpriced_units,
                s.service_tier, s.speed, s.region, s.is_batch,
                s.usage_source = 'provider'
                    OR (s.usage_source = 'estimated' AND r.input_uncached_tokens IS NOT NULL
                        AND r.output_tokens IS NOT NULL
                        AND ifnull(s.input_quality, '') <> 'lower_bound'
                        AND ifnull(s.output_quality, '') <> 'lower_bound'),
                r.provider_cost_nanousd, r.started_ms + r.duration_ms, r.cost_nanousd,
                r.started_ms, r.session_id
         FROM request AS r
         JOIN shape AS s ON s.shape_id = r.shape_id
         LEFT JOIN request AS c ON c.request_id = r.part_of
         LEFT JOIN shape AS t ON t.shape_id = c.shape_id
         WHERE r.hop_of IS NULL AND r.started_ms >= ?1 AND r.started_ms < ?2
           AND r.request_id > ?3
         ORDER BY r.request_id LIMIT ?4",
    )?
    .query_map(
        params![window.from_ms, window.until_ms, after, ROWS],
        Stored::read,
    )?
    .collect()
}

impl Stored {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let count = |column: usize| {
            let stored: Option<i64> = row.get(column)?;
            Ok::<_, rusqlite::Error>(stored.and_then(|stored| u64::try_from(stored).ok()))
        };
        Ok(Self {
            request_id: row.get(0)?,
            provider: row.get(1)?,
            model: row.get(2)?,
            usage: Usage {
                input_uncached: count(3)?,
                cache_read: count(4)?,
                cache_write_5m: count(5)?,
                cache_write_1h: count(6)?,
                cache_write_other: count(7)?,
                cache_write_12h: count(8)?,
                output: count(9)?,
                reasoning: count(10)?,
                audio_input: count(11)?,
                audio_output: count(12)?,
                image_input: count(13)?,
                image_output: count(14)?,
            },
            units: Units {
                web_searches: count(15)?,
                unpriced: count(16)?,
            },
            terms: Terms {
                service_tier: row.get(17)?,
                speed: row.get(18)?,
                region: row.get(19)?,
                is_batch: row.get(20)?,
                credential: Credential::Unknown,
            },
            is_complete: row.get(21)?,
            reported_nanousd: count(22)?,
            completed_ms: row.get(23)?,
            cost_nanousd: count(24)?,
            started_ms: row.get(25)?,
            session_id: row.get(26)?,
        })
    }

    fn billable(&self) -> Billable<'_> {
        Billable {
            provider: &self.provider,
            model: self.model.as_deref(),
            usage: &self.usage,
            is_complete: self.is_complete,
            units: self.units,
            terms: &self.terms,
            reported_nanousd: self.reported_nanousd,
            completed_ms: self.completed_ms,
        }
    }
}
