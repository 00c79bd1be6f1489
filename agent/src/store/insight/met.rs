//! The calls of a window one by one, and the sessions and models that are met on the way.

use std::collections::HashMap;
use std::rc::Rc;

use rusqlite::Row;

use super::columns::Columns;
use super::passing::Passing;
use crate::store::{Error, Filter, Reader, Window};

/// What [`MetCall::of`] reads of calls `r`.
pub(super) const MET: &str = "
    r.request_id, r.host_id, r.session_id, r.thread_id, r.part_of, r.usage_key_id, r.price_id,
    r.request_hash, r.started_ms, r.duration_ms, r.is_call, r.outcome = 'complete',
    r.outcome = 'aborted', r.task_type = 'auxiliary', r.is_human_turn, r.continues,
    r.usage_source = 'provider', r.billing_kind = 'subscription', r.input_uncached_tokens,
    r.cache_read_tokens, r.cache_write_5m_tokens, r.cache_write_1h_tokens,
    r.cache_write_12h_tokens, r.cache_write_other_tokens, r.context_tokens, r.output_tokens,
    r.estimated_tokens, r.is_lower_bound, r.cost_nanousd, r.is_cost_lower_bound,
    r.provider_cost_nanousd";

/// A call, or a model that ran inside of one. Tokens of classes that are not known are none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MetCall {
    pub(super) request_id: i64,
    pub(super) host_id: i64,
    pub(super) session_id: i64,
    pub(super) thread_id: Option<i64>,
    pub(super) part_of: Option<i64>,
    pub(super) usage_key_id: i64,
    pub(super) price_id: Option<i64>,
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
    pub(super) is_subscription: bool,
    pub(super) uncached: u64,
    pub(super) read: u64,
    pub(super) written_5m: u64,
    pub(super) written_1h: u64,
    pub(super) written_12h: u64,
    /// Written for another time than five minutes or an hour, twelve hours included.
    pub(super) written_other: u64,
    pub(super) context: Option<u64>,
    pub(super) output: Option<u64>,
    pub(super) estimated_tokens: u64,
    pub(super) is_lower_bound: bool,
    pub(super) cost_nanousd: Option<u64>,
    pub(super) is_cost_lower_bound: bool,
    pub(super) provider_cost_nanousd: Option<u64>,
}

impl MetCall {
    /// Reads [`MET`], from a column on.
    pub(super) fn of(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        let mut columns = Columns::from(row, at);
        Ok(Self {
            request_id: columns.next()?,
            host_id: columns.next()?,
            session_id: columns.next()?,
            thread_id: columns.next()?,
            part_of: columns.next()?,
            usage_key_id: columns.next()?,
            price_id: columns.next()?,
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
            is_subscription: columns.next()?,
            uncached: columns.count()?,
            read: columns.count()?,
            written_5m: columns.count()?,
            written_1h: columns.count()?,
            written_12h: columns.count()?,
            written_other: columns.count()?,
            context: columns.known()?,
            output: columns.known()?,
            estimated_tokens: columns.count()?,
            is_lower_bound: columns.next()?,
            cost_nanousd: columns.known()?,
            is_cost_lower_bound: columns.next()?,
            provider_cost_nanousd: columns.known()?,
        })
    }

    /// Input and output, as far as they are known.
    pub(super) fn tokens(&self) -> u64 {
        let (context, output) = (self.context.unwrap_or(0), self.output.unwrap_or(0));
        context.saturating_add(output)
    }

    /// What is there to read after it.
    pub(super) fn left(&self) -> u64 {
        [
            self.read,
            self.written_5m,
            self.written_1h,
            self.written_other,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
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

/// A session with a call in the window.
#[derive(Debug)]
pub(super) struct MetSession {
    pub(super) key: Rc<str>,
    pub(super) workflow: Rc<str>,
    pub(super) started_ms: i64,
    /// Whether a person wrote in it, and it lasted longer than a time that was asked for.
    pub(super) is_long: bool,
}

/// The provider and the model of a kind of calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MetModel {
    pub(super) provider: Rc<str>,
    pub(super) model: Option<Rc<str>>,
}

impl Reader {
    /// Meets the calls that began in `walked`, in the order of time, and tells of each whether it passes
    /// `filters`, which those of `window` alone can.
    pub(super) fn walk(
        &self,
        walked: Window,
        (window, filters): (Window, &[Filter]),
        mut meet: impl FnMut(MetCall, bool) -> rusqlite::Result<()>,
    ) -> Result<(), Error> {
        let passing = Passing::calls(filters, window);
        let sql = format!(
            "SELECT {}, {MET} FROM request_derived AS r
             WHERE r.started_ms >= {} AND r.started_ms < {}
             ORDER BY r.started_ms, r.request_id",
            passing.condition, walked.from_ms, walked.until_ms
        );
        self.rows_of(&sql, passing.parameters(), |row| {
            meet(MetCall::of(row, 1)?, row.get(0)?)
        })?;
        Ok(())
    }

    /// The sessions that may have a call in `window`, by id; long ones last more than `long_ms`.
    pub(super) fn met_sessions(
        &self,
        window: Window,
        long_ms: u32,
    ) -> Result<HashMap<i64, MetSession>, Error> {
        let mut workflows: HashMap<Option<i64>, Rc<str>> = HashMap::new();
        self.rows_of("SELECT workflow_id, name FROM workflow", [], |row| {
            workflows.insert(row.get(0)?, row.get(1)?);
            Ok(())
        })?;
        let nobody: Rc<str> = Rc::from("unattributed");
        let mut sessions = HashMap::new();
        self.rows(
            &format!(
                "SELECT session_id, session_key, workflow_id, started_ms,
                        last_human_turn_ms IS NOT NULL
                            AND last_request_ms - started_ms > {long_ms}
                 FROM session WHERE last_request_ms >= ?1 AND started_ms < ?2"
            ),
            window,
            |row| {
                let session = MetSession {
                    key: row.get(1)?,
                    workflow: Rc::clone(workflows.get(&row.get(2)?).unwrap_or(&nobody)),
                    started_ms: row.get(3)?,
                    is_long: row.get(4)?,
                };
                sessions.insert(row.get(0)?, session);
                Ok(())
            },
        )?;
        Ok(sessions)
    }

    /// All kinds of calls, by id, with what they have in common as one.
    pub(super) fn met_models(&self) -> Result<HashMap<i64, MetModel>, Error> {
        let mut kinds = HashMap::new();
        self.rows_of(
            "SELECT usage_key_id, provider, model FROM usage_key",
            [],
            |row| {
                let model = MetModel {
                    provider: row.get(1)?,
                    model: row.get(2)?,
                };
                kinds.insert(row.get(0)?, model);
                Ok(())
            },
        )?;
        Ok(kinds)
    }
}
