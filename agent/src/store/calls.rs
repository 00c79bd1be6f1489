//! The rows of calls: one for each call that counts, one for each model that ran inside of it, and
//! one for each call to a gateway, which does not count.

use agent_core::llm::{LlmCall, MAX_COST_NANOUSD, Outcome, Units, Usage, UsageSource};
use agent_core::prices::Priced;
use agent_core::session::{Hop, UsageRecord};
use rusqlite::{OptionalExtension as _, params};

use super::owner::Kind;
use super::prices::price_row;
use super::shape::Shape;
use super::writer::Batch;
use super::{from_db, to_db};

/// What is stored of a call already, as far as it decides whether a second record is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Quality {
    /// Final figures before partial ones, those before estimates.
    source: u8,
    /// Finished before cut.
    outcome: u8,
    has_process: bool,
    /// Cumulative figures grow.
    output_tokens: Option<u64>,
}

impl Quality {
    fn new(source: &str, outcome: &str, has_process: bool, output_tokens: Option<u64>) -> Self {
        let source = [
            UsageSource::None,
            UsageSource::Estimated,
            UsageSource::ProviderPartial,
            UsageSource::Provider,
        ]
        .into_iter()
        .zip(0..)
        .find_map(|(known, rank)| (known.as_str() == source).then_some(rank))
        .unwrap_or(0);
        let outcome = [
            Outcome::Unanswered,
            Outcome::Aborted,
            Outcome::Incomplete,
            Outcome::Error,
            Outcome::Complete,
        ]
        .into_iter()
        .zip(0..)
        .find_map(|(known, rank)| (known.as_str() == outcome).then_some(rank))
        .unwrap_or(0);
        Self {
            source,
            outcome,
            has_process,
            output_tokens,
        }
    }
}

/// A call that is stored.
struct Stored {
    request_id: i64,
    session_id: i64,
    shape_id: i64,
    process_id: Option<i64>,
    thread_id: Option<i64>,
    checkout_id: Option<i64>,
    started_ms: i64,
    is_human_turn: bool,
    quality: Quality,
}

/// Where a new row belongs.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) process_id: Option<i64>,
    pub(super) session_id: i64,
    thread_id: Option<i64>,
    pub(super) checkout_id: Option<i64>,
    via_process_id: Option<i64>,
    hop_of: Option<i64>,
    is_human_turn: bool,
}

impl Place {
    /// In a session, of a process.
    pub(super) const fn of(session_id: i64, process_id: Option<i64>) -> Self {
        Self {
            process_id,
            session_id,
            thread_id: None,
            checkout_id: None,
            via_process_id: None,
            hop_of: None,
            is_human_turn: false,
        }
    }
}

impl<'a> Batch<'a> {
    /// Stores a call.
    pub(super) fn usage(&mut self, record: &'a UsageRecord) -> rusqlite::Result<()> {
        let call = &record.call;
        let Some(stored) = self.stored(&record.identity)? else {
            return self.insert(record);
        };
        let offered = Quality::new(
            call.usage_source.as_str(),
            call.outcome.as_str(),
            record.process.is_some(),
            call.usage.output,
        );
        if offered <= stored.quality {
            self.applied.unchanged += 1;
            return Ok(());
        }
        self.improve(record, &stored)
    }

    fn stored(&self, identity: &str) -> rusqlite::Result<Option<Stored>> {
        self.transaction
            .prepare_cached(
                "SELECT r.request_id, r.session_id, r.shape_id, r.process_id, s.usage_source,
                        s.outcome, r.output_tokens, r.thread_id, k.checkout_id, r.started_ms,
                        r.is_human_turn
                 FROM request AS r JOIN shape AS s ON s.shape_id = r.shape_id
                 LEFT JOIN usage_key AS k ON k.usage_key_id = r.usage_key_id
                 WHERE r.host_id = ?1 AND r.identity = ?2",
            )?
            .query_row(params![self.host_id, identity], |row| {
                let process_id: Option<i64> = row.get(3)?;
                Ok(Stored {
                    request_id: row.get(0)?,
                    session_id: row.get(1)?,
                    shape_id: row.get(2)?,
                    process_id,
                    thread_id: row.get(7)?,
                    checkout_id: row.get(8)?,
                    started_ms: row.get(9)?,
                    is_human_turn: row.get(10)?,
                    quality: Quality::new(
                        row.get_ref(4)?.as_str()?,
                        row.get_ref(5)?.as_str()?,
                        process_id.is_some(),
                        row.get::<_, Option<i64>>(6)?.map(from_db),
                    ),
                })
            })
            .optional()
    }

    fn insert(&mut self, record: &'a UsageRecord) -> rusqlite::Result<()> {
        let process_id = match &record.process {
            Some(process) => Some(self.process(process, record.started_unix_ms)?),
            None => None,
        };
        let other = match &record.hop {
            Some(Hop::ToGateway { counted: identity } | Hop::OfGateway { origin: identity }) => {
                self.stored(identity)?
            }
            None => None,
        };
        match (&record.hop, other) {
            (Some(Hop::OfGateway { .. }), Some(origin)) => {
                self.insert_for_origin(record, process_id, &origin)?;
            }
            (Some(Hop::ToGateway { .. }), Some(counted)) => {
                self.insert_origin(record, process_id, &counted)?;
            }
            // The other call is not stored: this one is all there is.
            (_, None) | (None, Some(_)) => {
                let place = self.place(record, process_id, 1)?;
                self.insert_rows(record, &Shape::of(record), &place)?;
            }
        }
        if let Some(identity) = &record.compacted {
            self.note_compaction(identity)?;
        }
        self.applied.inserted += 1;
        Ok(())
    }

    /// Where a call belongs by itself.
    fn place(
        &self,
        record: &UsageRecord,
        process_id: Option<i64>,
        calls: i64,
    ) -> rusqlite::Result<Place> {
        let session_id = self.session(record, process_id, calls)?;
        Ok(Place {
            thread_id: Some(self.thread(session_id, &record.thread)?),
            checkout_id: self.checkout(record.process.as_deref())?,
            is_human_turn: record.is_human_turn,
            ..Place::of(session_id, process_id)
        })
    }

    /// A stored call turned out to have been a compaction.
    fn note_compaction(&mut self, identity: &str) -> rusqlite::Result<()> {
        let Some(stored) = self.stored(identity)? else {
            return Ok(());
        };
        let shape = Shape::load(self.transaction, stored.shape_id)?;
        let Some(shape) = shape.of_compaction() else {
            return Ok(());
        };
        self.transaction
            .prepare_cached("UPDATE request SET shape_id = ?2 WHERE request_id = ?1")?
            .execute([stored.request_id, shape.row(self.transaction)?])?;
        self.transaction
            .prepare_cached(
                "UPDATE session SET compaction_count = compaction_count + 1 WHERE session_id = ?1",
            )?
            .execute([stored.session_id])?;
        self.sort_anew(stored.request_id, stored.checkout_id)?;
        self.changed.spoil(stored.started_ms, stored.session_id);
        Ok(())
    }

    /// Stores what a gateway called, after the call that it did so for: it takes its place.
    fn insert_for_origin(
        &mut self,
        record: &UsageRecord,
        process_id: Option<i64>,
        origin: &Stored,
    ) -> rusqlite::Result<()> {
        let shape = Shape::of(record).of_client(&Shape::load(self.transaction, origin.shape_id)?);
        let place = Place {
            thread_id: origin.thread_id,
            checkout_id: origin.checkout_id,
            via_process_id: process_id,
            is_human_turn: origin.is_human_turn,
            ..Place::of(origin.session_id, origin.process_id)
        };
        let request_id = self.insert_rows(record, &shape, &place)?;
        self.changed.spoil(origin.started_ms, origin.session_id);
        self.transaction
            .prepare_cached("UPDATE request SET hop_of = ?2 WHERE request_id = ?1 OR hop_of = ?1")?
            .execute([origin.request_id, request_id])?;
        self.remember_peak(origin.session_id, record.call.usage.input().map(to_db))
    }

    /// Stores the call to a gateway, after the one that the gateway made for it: that one is now
    /// of this process and session.
    fn insert_origin(
        &mut self,
        record: &UsageRecord,
        process_id: Option<i64>,
        counted: &Stored,
    ) -> rusqlite::Result<()> {
        let place = Place {
            hop_of: Some(counted.request_id),
            ..self.place(record, process_id, 0)?
        };
        let session_id = place.session_id;
        let client = Shape::of(record);
        self.insert_rows(record, &client, &place)?;
        let rows = self
            .transaction
            .prepare_cached(
                "SELECT request_id, shape_id FROM request WHERE request_id = ?1 OR part_of = ?1",
            )?
            .query_map([counted.request_id], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<Vec<(i64, i64)>>>()?;
        for (request_id, shape_id) in rows {
            let shape_id = Shape::load(self.transaction, shape_id)?
                .of_client(&client)
                .row(self.transaction)?;
            self.transaction
                .prepare_cached(
                    "UPDATE request SET
                         shape_id = ?2,
                         via_process_id = ifnull(via_process_id, process_id),
                         process_id = ?3,
                         session_id = ?4,
                         thread_id = ?5,
                         is_human_turn = ?6 AND part_of IS NULL
                     WHERE request_id = ?1",
                )?
                .execute(params![
                    request_id,
                    shape_id,
                    process_id,
                    session_id,
                    place.thread_id,
                    place.is_human_turn
                ])?;
            self.sort_anew(request_id, place.checkout_id)?;
        }
        self.changed.spoil(counted.started_ms, session_id);
        self.changed.spoil(counted.started_ms, counted.session_id);
        let context: Option<i64> = self
            .transaction
            .prepare_cached("SELECT context_tokens FROM request_derived WHERE request_id = ?1")?
            .query_row([counted.request_id], |row| row.get(0))
            .optional()?
            .flatten();
        self.remember_peak(session_id, context)?;
        if session_id != counted.session_id {
            self.transaction
                .prepare_cached(
                    "UPDATE session SET request_count = request_count + 1 WHERE session_id = ?1",
                )?
                .execute([session_id])?;
            self.take_from_session(counted.session_id)?;
        } else if counted.is_human_turn {
            // Both sides brought the same words.
            self.transaction
                .prepare_cached(
                    "UPDATE session SET human_turn_count = human_turn_count - 1 WHERE session_id = ?1",
                )?
                .execute([session_id])?;
        }
        Ok(())
    }

    /// A call of this session turned out to be another's.
    fn take_from_session(&self, session_id: i64) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "UPDATE session SET
                     request_count = request_count - 1,
                     human_turn_count =
                         (SELECT ifnull(sum(is_human_turn), 0) FROM request_derived
                          WHERE session_id = ?1)
                         + (SELECT ifnull(sum(human_turns), 0) FROM pruned_session
                            WHERE session_id = ?1),
                     peak_context_tokens =
                         (SELECT max(context_tokens)
                          FROM (SELECT context_tokens FROM request_derived WHERE session_id = ?1
                                UNION ALL SELECT peak_context_tokens FROM pruned_session
                                WHERE session_id = ?1)),
                     started_ms = ifnull(
                         (SELECT min(started_ms)
                          FROM (SELECT started_ms FROM request WHERE session_id = ?1
                                UNION ALL SELECT first_ms FROM pruned_session
                                WHERE session_id = ?1)), started_ms),
                     last_request_ms = ifnull(
                         (SELECT max(started_ms)
                          FROM (SELECT started_ms FROM request WHERE session_id = ?1
                                UNION ALL SELECT last_ms FROM pruned_session
                                WHERE session_id = ?1)), last_request_ms)
                 WHERE session_id = ?1",
            )?
            .execute([session_id])?;
        self.transaction
            .prepare_cached(
                "DELETE FROM session
                 WHERE session_id = ?1
                   AND NOT EXISTS (SELECT 1 FROM request WHERE session_id = ?1)
                   AND NOT EXISTS (SELECT 1 FROM pruned_session WHERE session_id = ?1)",
            )?
            .execute([session_id])?;
        Ok(())
    }

    fn remember_peak(&self, session_id: i64, context: Option<i64>) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "UPDATE session SET peak_context_tokens = max(ifnull(peak_context_tokens, 0), ?2)
                 WHERE session_id = ?1 AND ?2 IS NOT NULL",
            )?
            .execute(params![session_id, context])?;
        Ok(())
    }

    /// The row of a call and those of the models that ran inside of it.
    fn insert_rows(
        &mut self,
        record: &UsageRecord,
        shape: &Shape,
        place: &Place,
    ) -> rusqlite::Result<i64> {
        let call = &record.call;
        let retry_of = match &record.retry_of {
            Some(identity) => self.stored(identity)?.map(|former| former.request_id),
            None => None,
        };
        let request_id = self.insert_row(
            record,
            shape,
            place,
            &Row {
                identity: &record.identity,
                response_id: call.response_id.as_deref().filter(|id| {
                    record
                        .identity
                        .strip_prefix(call.provider.0)
                        .and_then(|rest| rest.strip_prefix(':'))
                        != Some(*id)
                }),
                ttft_ms: record.ttft_ms.map(to_db),
                units: call.units,
                provider_cost_nanousd: provider_cost(call),
                attempt: call.attempt,
                retry_of,
                part_of: None,
                usage: &call.usage,
                cost: &record.cost,
            },
        )?;
        self.insert_parts(record, shape, place, request_id)?;
        Ok(request_id)
    }

    fn insert_parts(
        &mut self,
        record: &UsageRecord,
        shape: &Shape,
        place: &Place,
        request_id: i64,
    ) -> rusqlite::Result<()> {
        let unpriced = Priced::default();
        for (number, part) in record.call.sub_inferences.iter().enumerate() {
            let row = Row {
                identity: &format!("{}#{}", record.identity, number + 1),
                response_id: None,
                ttft_ms: None,
                units: Units::default(),
                provider_cost_nanousd: None,
                attempt: None,
                retry_of: None,
                part_of: Some(request_id),
                usage: &part.usage,
                cost: record.sub_costs.get(number).unwrap_or(&unpriced),
            };
            self.insert_row(record, &shape.part(part), place, &row)?;
        }
        Ok(())
    }

    fn insert_row(
        &mut self,
        record: &UsageRecord,
        shape: &Shape,
        place: &Place,
        row: &Row<'_>,
    ) -> rusqlite::Result<i64> {
        let shape_id = shape.row(self.transaction)?;
        let price_id = price_row(self.transaction, row.cost)?;
        let usage = Columns::of(row.usage);
        let signals = &record.call.signals;
        let is_call = row.part_of.is_none();
        let tool_calls = if is_call { signals.tool_calls } else { 0 };
        let usage_key_id = self.usage_key(
            shape_id,
            place,
            Kind {
                has_tool_call: tool_calls > 0,
                price_id,
                is_priced: row.cost.cost_nanousd.is_some(),
            },
        )?;
        if place.hop_of.is_none() {
            self.keep_pruned_bucket(record.started_unix_ms)?;
            self.changed.grow(record.started_unix_ms, place.session_id);
        }
        self.transaction
            .prepare_cached(
                "INSERT INTO request (
                     host_id, identity, shape_id, process_id, session_id, started_ms, ttft_ms,
                     duration_ms, input_uncached_tokens, cache_read_tokens, cache_write_5m_tokens,
                     cache_write_1h_tokens, cache_write_other_tokens, cache_write_12h_tokens,
                     output_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens,
                     image_input_tokens, image_output_tokens, web_searches, unpriced_units,
                     cost_nanousd, cost_status, price_id, provider_cost_nanousd, attempt, retry_of,
                     part_of, hop_of, via_process_id, response_id, usage_key_id, thread_id,
                     is_human_turn, tool_call_count, continues, request_hash, tool_signature_hash)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                         ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32,
                         ?33, ?34, ?35, ?36, ?37, ?38, ?39)",
            )?
            .execute(params![
                self.host_id,
                row.identity,
                shape_id,
                place.process_id,
                place.session_id,
                record.started_unix_ms,
                row.ttft_ms,
                to_db(record.duration_ms),
                usage.input_uncached,
                usage.cache_read,
                usage.cache_write_5m,
                usage.cache_write_1h,
                usage.cache_write_other,
                usage.cache_write_12h,
                usage.output,
                usage.reasoning,
                usage.audio_input,
                usage.audio_output,
                usage.image_input,
                usage.image_output,
                row.units.web_searches.map(to_db),
                row.units.unpriced.map(to_db),
                row.cost.cost_nanousd.map(to_db),
                row.cost.status.as_str(),
                price_id,
                row.provider_cost_nanousd,
                row.attempt,
                row.retry_of,
                row.part_of,
                place.hop_of,
                place.via_process_id,
                row.response_id,
                usage_key_id,
                place.thread_id,
                is_call && place.is_human_turn,
                tool_calls,
                record.continues.filter(|_| is_call),
                signals.request_hash.filter(|_| is_call).map(hash_to_db),
                signals.tool_signature.filter(|_| is_call).map(hash_to_db),
            ])?;
        Ok(self.transaction.last_insert_rowid())
    }

    /// Replaces what is known of a call. Its tokens come from one record, never from two, or their
    /// classes would overlap. It stays in its session.
    fn improve(&mut self, record: &'a UsageRecord, stored: &Stored) -> rusqlite::Result<()> {
        let process_id = match (&record.process, stored.process_id) {
            (_, Some(known)) => Some(known),
            (Some(process), None) => Some(self.process(process, record.started_unix_ms)?),
            (None, None) => None,
        };
        let call = &record.call;
        let usage = Columns::of(&call.usage);
        let shape = Shape::load(self.transaction, stored.shape_id)?.improved(Shape::of(record));
        let tool_calls = call.signals.tool_calls;
        let (hop_of, via_process_id) = self
            .transaction
            .prepare_cached(
                "UPDATE request SET
                     shape_id = ?2,
                     process_id = ?3,
                     ttft_ms = ifnull(ttft_ms, ?4),
                     duration_ms = ?5,
                     input_uncached_tokens = ?6,
                     cache_read_tokens = ?7,
                     cache_write_5m_tokens = ?8,
                     cache_write_1h_tokens = ?9,
                     cache_write_other_tokens = ?10,
                     cache_write_12h_tokens = ?11,
                     output_tokens = ?12,
                     reasoning_tokens = ?13,
                     audio_input_tokens = ?14,
                     audio_output_tokens = ?15,
                     image_input_tokens = ?16,
                     image_output_tokens = ?17,
                     web_searches = ?18,
                     unpriced_units = ?19,
                     cost_nanousd = ?20,
                     cost_status = ?21,
                     price_id = ?22,
                     provider_cost_nanousd = ifnull(?23, provider_cost_nanousd),
                     repriced_nanousd = NULL,
                     attempt = ifnull(attempt, ?24),
                     tool_call_count = max(tool_call_count, ?25),
                     tool_signature_hash = ifnull(?26, tool_signature_hash)
                 WHERE request_id = ?1
                 RETURNING hop_of, via_process_id",
            )?
            .query_row(
                params![
                    stored.request_id,
                    shape.row(self.transaction)?,
                    process_id,
                    record.ttft_ms.map(to_db),
                    to_db(record.duration_ms),
                    usage.input_uncached,
                    usage.cache_read,
                    usage.cache_write_5m,
                    usage.cache_write_1h,
                    usage.cache_write_other,
                    usage.cache_write_12h,
                    usage.output,
                    usage.reasoning,
                    usage.audio_input,
                    usage.audio_output,
                    usage.image_input,
                    usage.image_output,
                    call.units.web_searches.map(to_db),
                    call.units.unpriced.map(to_db),
                    record.cost.cost_nanousd.map(to_db),
                    record.cost.status.as_str(),
                    price_row(self.transaction, &record.cost)?,
                    provider_cost(call),
                    call.attempt,
                    tool_calls,
                    call.signals.tool_signature.map(hash_to_db),
                ],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
        self.sort_anew(stored.request_id, stored.checkout_id)?;
        self.changed.spoil(stored.started_ms, stored.session_id);
        // What ran inside of it comes from the same record as its tokens.
        let parts = self
            .transaction
            .prepare_cached("DELETE FROM request WHERE part_of = ?1")?
            .execute([stored.request_id])?;
        if parts > 0 {
            self.changed.reuse_ids();
        }
        let place = Place {
            thread_id: stored.thread_id,
            checkout_id: stored.checkout_id,
            via_process_id,
            hop_of,
            ..Place::of(stored.session_id, process_id)
        };
        self.insert_parts(record, &shape, &place, stored.request_id)?;
        self.transaction
            .prepare_cached(
                "UPDATE session SET
                     process_id = ifnull(process_id, ?2),
                     client_name = ifnull(client_name, ?3),
                     -- The version is of the client that is named.
                     client_version = CASE WHEN ifnull(client_name, ?3) IS ?3
                         THEN ifnull(client_version, ?4) ELSE client_version END
                 WHERE session_id = ?1",
            )?
            .execute(params![
                stored.session_id,
                process_id,
                record.client.name,
                record.client.version,
            ])?;
        self.remember_peak(stored.session_id, call.usage.input().map(to_db))?;
        self.applied.improved += 1;
        Ok(())
    }
}

/// What the provider itself says that a call cost; the sum of what it says may be absurd where no
/// part of it is, and is dropped, so that no sum overflows.
fn provider_cost(call: &LlmCall) -> Option<i64> {
    call.reported_cost_nanousd
        .filter(|cost| *cost <= MAX_COST_NANOUSD)
        .map(to_db)
}

/// A hash as SQLite stores it: the same bits.
const fn hash_to_db(hash: u64) -> i64 {
    hash.cast_signed()
}

/// What a row of a call and one of a part of it do not share.
struct Row<'r> {
    identity: &'r str,
    /// Id of the response, where the identity does not end in it.
    response_id: Option<&'r str>,
    ttft_ms: Option<i64>,
    units: Units,
    provider_cost_nanousd: Option<i64>,
    attempt: Option<u32>,
    retry_of: Option<i64>,
    part_of: Option<i64>,
    usage: &'r Usage,
    cost: &'r Priced,
}

/// The token columns of a row.
struct Columns {
    input_uncached: Option<i64>,
    cache_read: Option<i64>,
    cache_write_5m: Option<i64>,
    cache_write_1h: Option<i64>,
    cache_write_other: Option<i64>,
    cache_write_12h: Option<i64>,
    output: Option<i64>,
    reasoning: Option<i64>,
    audio_input: Option<i64>,
    audio_output: Option<i64>,
    image_input: Option<i64>,
    image_output: Option<i64>,
}

impl Columns {
    fn of(usage: &Usage) -> Self {
        Self {
            input_uncached: usage.input_uncached.map(to_db),
            cache_read: usage.cache_read.map(to_db),
            cache_write_5m: usage.cache_write_5m.map(to_db),
            cache_write_1h: usage.cache_write_1h.map(to_db),
            cache_write_other: usage.cache_write_other.map(to_db),
            cache_write_12h: usage.cache_write_12h.map(to_db),
            output: usage.output.map(to_db),
            reasoning: usage.reasoning.map(to_db),
            audio_input: usage.audio_input.map(to_db),
            audio_output: usage.audio_output.map(to_db),
            image_input: usage.image_input.map(to_db),
            image_output: usage.image_output.map(to_db),
        }
    }
}
