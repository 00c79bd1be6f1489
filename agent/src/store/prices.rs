//! The prices that calls were priced with, and what has none.

use agent_core::prices::{Applied, Priced};
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{Error, Reader, Window, from_db, to_db};

/// The row of a cost's price, made on first use.
pub(super) fn price_row(
    transaction: &Transaction<'_>,
    cost: &Priced,
) -> rusqlite::Result<Option<i64>> {
    let Some(price) = cost.price.as_deref() else {
        return Ok(None);
    };
    let known = transaction
        .prepare_cached("SELECT price_id FROM price WHERE price_key = ?1")?
        .query_row([&price.key], |row| row.get(0))
        .optional()?;
    match known {
        Some(price_id) => Ok(Some(price_id)),
        None => insert(transaction, price).map(Some),
    }
}

fn insert(transaction: &Transaction<'_>, price: &Applied) -> rusqlite::Result<i64> {
    let rates = &price.rates;
    let to_db = |rate: Option<u64>| rate.map(to_db);
    transaction
        .prepare_cached(
            "INSERT INTO price (
                 price_key, provider, model, service_tier, context_over_tokens, valid_from_ms,
                 valid_to_ms, input_uncached_nanousd_per_mtok, cache_read_nanousd_per_mtok,
                 cache_write_5m_nanousd_per_mtok, cache_write_1h_nanousd_per_mtok,
                 cache_write_12h_nanousd_per_mtok, cache_write_other_nanousd_per_mtok,
                 output_nanousd_per_mtok, audio_input_nanousd_per_mtok,
                 audio_output_nanousd_per_mtok, image_input_nanousd_per_mtok,
                 image_output_nanousd_per_mtok, web_search_nanousd_per_1k, source,
                 source_version, as_of_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                     ?18, ?19, ?20, ?21, ?22)",
        )?
        .execute(params![
            price.key,
            price.provider,
            price.model,
            price.service_tier,
            to_db(price.context_over),
            price.valid_from_ms,
            price.valid_to_ms,
            to_db(rates.input_uncached),
            to_db(rates.cache_read),
            to_db(rates.cache_write_5m),
            to_db(rates.cache_write_1h),
            to_db(rates.cache_write_12h),
            to_db(rates.cache_write_other),
            to_db(rates.output),
            to_db(rates.audio_input),
            to_db(rates.audio_output),
            to_db(rates.image_input),
            to_db(rates.image_output),
            to_db(rates.web_search_per_1k),
            &*price.source,
            &*price.source_version,
            price.as_of_ms,
        ])?;
    Ok(transaction.last_insert_rowid())
}

/// A model whose calls have no price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpriced {
    /// Provider.
    pub provider: String,
    /// Model, as far as it is known.
    pub model: Option<String>,
    /// Calls.
    pub requests: u64,
    /// Their tokens.
    pub unpriced_tokens: u64,
    /// Start of the last one, in milliseconds since the Unix epoch.
    pub last_ms: i64,
}

impl Reader {
    /// The names of the hosts in the ledger.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn host_names(&self) -> Result<Vec<String>, Error> {
        self.rows_of(
            "SELECT DISTINCT host_name FROM host ORDER BY 1",
            [],
            |row| row.get(0),
        )
    }

    /// What has no price of the calls that began in `window`, most tokens first.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn unpriced(&self, window: Window) -> Result<Vec<Unpriced>, Error> {
        self.rows(
            "SELECT provider, ifnull(model_served, model_requested), ifnull(sum(is_call), 0),
                    sum(ifnull(context_tokens, 0) + ifnull(output_tokens, 0)), max(started_ms)
             FROM request_derived
             WHERE started_ms >= ?1 AND started_ms < ?2 AND is_cost_lower_bound
               AND cost_nanousd IS NULL
             GROUP BY 1, 2 ORDER BY 4 DESC, 1, 2",
            window,
            |row| {
                Ok(Unpriced {
                    provider: row.get(0)?,
                    model: row.get(1)?,
                    requests: from_db(row.get(2)?),
                    unpriced_tokens: from_db(row.get(3)?),
                    last_ms: row.get(4)?,
                })
            },
        )
    }
}
