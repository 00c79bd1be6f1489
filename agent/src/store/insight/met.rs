//! The calls of a window one by one.

use rusqlite::{Connection, Row};

use super::columns::Columns;
use super::passing::Passing;
use crate::store::Window;

/// What [`Used::of`] reads of calls `r`.
pub(super) const USED: &str = "
    r.request_id, r.session_id, r.price_id, r.input_uncached_tokens, r.cache_write_5m_tokens,
    r.cache_write_1h_tokens, r.cache_write_12h_tokens, r.cache_write_other_tokens,
    r.context_tokens, r.output_tokens, r.cost_nanousd, r.is_cost_lower_bound";
/// How many columns these are.
const USED_WIDTH: usize = 12;

/// What [`MetCall::of`] reads after them.
const MET: &str = "
    r.host_id, r.thread_id, r.usage_key_id, r.request_hash, r.started_ms, r.duration_ms, r.is_call,
    r.outcome = 'complete', r.outcome = 'aborted', r.task_type = 'auxiliary', r.is_human_turn,
    r.continues, r.usage_source = 'provider', r.cache_read_tokens";

/// What a call used, or a model that ran inside of one, and what that cost. Tokens of classes that are not
/// known are none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    pub(super) request_id: i64,
    pub(super) session_id: i64,
    pub(super) price_id: Option<i64>,
    pub(super) uncached: u64,
    pub(super) written_5m: u64,
    pub(super) written_1h: u64,
    pub(super) written_12h: u64,
    /// Written for another time than five minutes or an hour, twelve hours included.
    pub(super) written_other: u64,
    pub(super) context: Option<u64>,
    pub(super) output: Option<u64>,
    pub(super) cost_nanousd: Option<u64>,
    pub(super) is_cost_lower_bound: bool,
}

/// A call, or a model that ran inside of one, with what tells whether it or another one is waste.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MetCall {
    pub(super) used: Used,
    pub(super) host_id: i64,
    pub(super) thread_id: Option<i64>,
    pub(super) usage_key_id: i64,
    pub(super) request_hash: Option<i64>,
    pub(super) started_ms: i64,
    pub(super) duration_ms: i64,
    pub(super) is_call: bool,
    pub(super) is_complete: bool,
    pub(super) is_aborted: bool,
    pub(super) is_auxiliary: bool,
    pub(super) is_human_turn: bool,
    pub(super) continues: Option<bool>,
    pub(super) is_from_provider: bool,
    pub(super) read: u64,
}

impl Used {
    /// Reads [`USED`], from a column on.
    pub(super) fn of(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        let mut columns = Columns::from(row, at);
        Ok(Self {
            request_id: columns.next()?,
            session_id: columns.next()?,
            price_id: columns.next()?,
            uncached: columns.count()?,
            written_5m: columns.count()?,
            written_1h: columns.count()?,
            written_12h: columns.count()?,
            written_other: columns.count()?,
            context: columns.known()?,
            output: columns.known()?,
            cost_nanousd: columns.known()?,
            is_cost_lower_bound: columns.next()?,
        })
    }

    /// Input and output, as far as they are known.
    pub(super) fn tokens(&self) -> u64 {
        let (context, output) = (self.context.unwrap_or(0), self.output.unwrap_or(0));
        context.saturating_add(output)
    }

    /// Written to a cache for five minutes, an hour, twelve hours and another time.
    pub(super) const fn writes(&self) -> [u64; 4] {
        [
            self.written_5m,
            self.written_1h,
            self.written_12h,
            self.written_other.saturating_sub(self.written_12h),
        ]
    }
}

impl MetCall {
    /// What [`MetCall::of`] reads of calls `r`.
    pub(super) fn columns() -> String {
        format!("{USED}, {MET}")
    }

    /// Reads them, from a column on.
    pub(super) fn of(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        let mut columns = Columns::from(row, at + USED_WIDTH);
        Ok(Self {
            used: Used::of(row, at)?,
            host_id: columns.next()?,
            thread_id: columns.next()?,
            usage_key_id: columns.next()?,
            request_hash: columns.next()?,
            started_ms: columns.next()?,
            duration_ms: columns.next()?,
            is_call: columns.next()?,
            is_complete: columns.next()?,
            is_aborted: columns.next()?,
            is_auxiliary: columns.next()?,
            is_human_turn: columns.next()?,
            continues: columns.next()?,
            is_from_provider: columns.next()?,
            read: columns.count()?,
        })
    }

    /// What is there to read after it.
    pub(super) fn left(&self) -> u64 {
        [
            self.read,
            self.used.written_5m,
            self.used.written_1h,
            self.used.written_other,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}

/// Meets the calls that began in `walked`, in the order of time, and tells of each whether it is of
/// `window`, which ends no earlier, and passes.
pub(super) fn walk(
    conn: &Connection,
    walked: Window,
    (window, passing): (Window, &Passing),
    mut meet: impl FnMut(MetCall, bool) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(&format!(
        "SELECT r.started_ms >= {} AND {}, {} FROM request_derived AS r
         WHERE r.started_ms >= {} AND r.started_ms < {}
         ORDER BY r.started_ms, r.request_id",
        window.from_ms,
        passing.condition,
        MetCall::columns(),
        walked.from_ms,
        walked.until_ms
    ))?;
    let mut rows = statement.query(passing.parameters())?;
    while let Some(row) = rows.next()? {
        meet(MetCall::of(row, 1)?, row.get(0)?)?;
    }
    Ok(())
}
