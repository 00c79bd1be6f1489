//! To whom a call belongs: session, thread, workflow, working tree, and what its sums are kept apart
//! by.

use agent_core::event::Process;
use agent_core::session::{TaskType, Thread, UsageRecord};
use agent_core::workflow::Workflow;
use rusqlite::{OptionalExtension as _, params};

use super::calls::Place;
use super::to_db;
use super::writer::Batch;

/// What the sums of a call are kept apart by, besides its shape and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// Whether a tool was asked for.
    pub(super) has_tool_call: bool,
    /// Its price.
    pub(super) price_id: Option<i64>,
    /// Whether its cost is known.
    pub(super) is_priced: bool,
}

impl Batch<'_> {
    /// The row of a call's session, made or moved on by `calls` calls. Its workflow is that of its
    /// first call.
    pub(super) fn session(
        &self,
        record: &UsageRecord,
        process_id: Option<i64>,
        calls: i64,
    ) -> rusqlite::Result<i64> {
        let workflow_id = self.workflow(&record.workflow)?;
        self.keep_pruned_session(record)?;
        self.transaction
            .prepare_cached(
                "INSERT INTO session (
                     host_id, session_key, uid, key_source, client_name, client_version, process_id,
                     started_ms, last_request_ms, request_count, peak_context_tokens, workflow_id,
                     labels_json, human_turn_count, last_human_turn_ms, compaction_count)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?10, ?9, ?11, ?12, ?13,
                         CASE WHEN ?13 THEN ?8 END, ?14)
                 ON CONFLICT (host_id, session_key, ifnull(uid, -1)) DO UPDATE SET
                     process_id = ifnull(process_id, excluded.process_id),
                     client_name = ifnull(client_name, excluded.client_name),
                     client_version = CASE
                         WHEN ifnull(client_name, excluded.client_name) IS excluded.client_name
                         THEN ifnull(client_version, excluded.client_version)
                         ELSE client_version END,
                     started_ms = min(started_ms, excluded.started_ms),
                     last_request_ms = max(last_request_ms, excluded.last_request_ms),
                     request_count = request_count + excluded.request_count,
                     peak_context_tokens = CASE
                         WHEN excluded.peak_context_tokens IS NULL THEN peak_context_tokens
                         ELSE max(ifnull(peak_context_tokens, 0), excluded.peak_context_tokens) END,
                     workflow_id = ifnull(workflow_id, excluded.workflow_id),
                     workflow_conflicts = workflow_conflicts
                         + ifnull(workflow_id <> excluded.workflow_id, 0),
                     labels_json = ifnull(labels_json, excluded.labels_json),
                     human_turn_count = human_turn_count + excluded.human_turn_count,
                     last_human_turn_ms = CASE
                         WHEN excluded.last_human_turn_ms IS NULL THEN last_human_turn_ms
                         ELSE max(ifnull(last_human_turn_ms, 0), excluded.last_human_turn_ms) END,
                     compaction_count = compaction_count + excluded.compaction_count,
                     resumed_count = resumed_count
                         + (excluded.started_ms - last_request_ms > 60000 * ifnull(
                             (SELECT CAST(value AS INTEGER) FROM meta
                              WHERE name = 'session_idle_minutes'), 30))
                 RETURNING session_id",
            )?
            .query_row(
                params![
                    self.host_id,
                    record.session.0,
                    record.process.as_ref().map(|process| process.uid),
                    record.key_source.as_str(),
                    record.client.name,
                    record.client.version,
                    process_id,
                    record.started_unix_ms,
                    record.call.usage.input().map(to_db),
                    calls,
                    workflow_id,
                    labels_json(&record.workflow),
                    record.is_human_turn,
                    record.task == TaskType::Compaction,
                ],
                |row| row.get(0),
            )
    }

    fn workflow(&self, workflow: &Workflow) -> rusqlite::Result<i64> {
        let values = params![
            workflow.name,
            workflow.origin.as_str(),
            workflow.billing_code
        ];
        let found = self
            .transaction
            .prepare_cached(
                "SELECT workflow_id FROM workflow
                 WHERE name = ?1 AND origin = ?2 AND ifnull(billing_code, '') = ifnull(?3, '')",
            )?
            .query_row(values, |row| row.get(0))
            .optional()?;
        if let Some(found) = found {
            return Ok(found);
        }
        self.transaction
            .prepare_cached(
                "INSERT INTO workflow (name, origin, billing_code) VALUES (?1, ?2, ?3)",
            )?
            .execute(values)?;
        Ok(self.transaction.last_insert_rowid())
    }

    /// The row of a thread. One whose beginner comes later is put below it then; depth and kind are
    /// those of its first call.
    pub(super) fn thread(&self, session_id: i64, thread: &Thread) -> rusqlite::Result<i64> {
        let parent_id = match &thread.parent {
            Some(parent) if *parent != thread.key => Some(self.parent_thread(session_id, parent)?),
            _ => None,
        };
        self.transaction
            .prepare_cached(
                "INSERT INTO thread (session_id, thread_key, parent_thread_id, kind, agent_type, depth)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (session_id, thread_key) DO UPDATE SET
                     parent_thread_id = ifnull(parent_thread_id, excluded.parent_thread_id),
                     agent_type = ifnull(agent_type, excluded.agent_type),
                     depth = max(depth, excluded.depth)
                 RETURNING thread_id",
            )?
            .query_row(
                params![
                    session_id,
                    thread.key,
                    parent_id,
                    thread.kind.as_str(),
                    thread.agent_type,
                    thread.depth,
                ],
                |row| row.get(0),
            )
    }

    /// The row of a thread that began another one, made if no call of it was seen.
    fn parent_thread(&self, session_id: i64, key: &str) -> rusqlite::Result<i64> {
        self.transaction
            .prepare_cached(
                "INSERT INTO thread (session_id, thread_key, kind, depth)
                 VALUES (?1, ?2, CASE WHEN ?2 = '' THEN 'main' ELSE 'subagent' END, ?2 <> '')
                 ON CONFLICT (session_id, thread_key) DO UPDATE SET depth = depth
                 RETURNING thread_id",
            )?
            .query_row(params![session_id, key], |row| row.get(0))
    }

    /// The row of the working tree of a process.
    pub(super) fn checkout(&self, process: Option<&Process>) -> rusqlite::Result<Option<i64>> {
        let Some(checkout) = process
            .and_then(|process| process.checkout.as_ref())
            .filter(|_| self.keep.cwd)
        else {
            return Ok(None);
        };
        let values = params![checkout.root, checkout.repo, checkout.branch];
        let found = self
            .transaction
            .prepare_cached(
                "SELECT checkout_id FROM checkout
                 WHERE git_root = ?1 AND ifnull(branch, '') = ifnull(?3, '') AND repo = ?2",
            )?
            .query_row(values, |row| row.get(0))
            .optional()?;
        if found.is_some() {
            return Ok(found);
        }
        self.transaction
            .prepare_cached("INSERT INTO checkout (git_root, repo, branch) VALUES (?1, ?2, ?3)")?
            .execute(values)?;
        Ok(Some(self.transaction.last_insert_rowid()))
    }

    /// The row of what a call's sums are kept apart by.
    pub(super) fn usage_key(
        &self,
        shape_id: i64,
        place: &Place,
        kind: Kind,
    ) -> rusqlite::Result<i64> {
        let values = params![
            self.host_id,
            shape_id,
            place.session_id,
            place.process_id,
            place.checkout_id,
            kind.has_tool_call,
            kind.price_id,
            kind.is_priced,
        ];
        let found = self
            .transaction
            .prepare_cached(
                "SELECT k.usage_key_id
                 FROM shape AS s
                 JOIN session AS e ON e.session_id = ?3
                 LEFT JOIN process AS p ON p.process_id = ?4
                 JOIN usage_key AS k
                   ON k.workflow_id = e.workflow_id
                  AND k.model IS ifnull(s.model_served, s.model_requested)
                  AND k.task_type = s.task_type AND k.outcome = s.outcome
                  AND k.user_name IS p.user_name AND k.uid IS p.uid AND k.host_id = ?1
                  AND k.checkout_id IS ?5 AND k.client_name IS s.client_name
                  AND k.systemd_unit IS p.systemd_unit
                  AND k.container IS ifnull(p.container_name, substr(p.container_id, 1, 12))
                  AND k.provider = s.provider AND k.billing_kind = s.billing_kind
                  AND k.has_tool_call = ?6 AND k.price_id IS ?7 AND k.is_priced = ?8
                 WHERE s.shape_id = ?2",
            )?
            .query_row(values, |row| row.get(0))
            .optional()?;
        if let Some(found) = found {
            return Ok(found);
        }
        self.transaction
            .prepare_cached(
                "INSERT INTO usage_key (
                     host_id, workflow_id, checkout_id, uid, user_name, client_name, systemd_unit,
                     container, provider, model, task_type, billing_kind, outcome, has_tool_call,
                     price_id, is_priced)
                 SELECT ?1, e.workflow_id, ?5, p.uid, p.user_name, s.client_name, p.systemd_unit,
                        ifnull(p.container_name, substr(p.container_id, 1, 12)), s.provider,
                        ifnull(s.model_served, s.model_requested), s.task_type, s.billing_kind,
                        s.outcome, ?6, ?7, ?8
                 FROM shape AS s
                 JOIN session AS e ON e.session_id = ?3
                 LEFT JOIN process AS p ON p.process_id = ?4
                 WHERE s.shape_id = ?2",
            )?
            .execute(values)?;
        Ok(self.transaction.last_insert_rowid())
    }

    /// Finds anew what the sums of a stored call are kept apart by.
    pub(super) fn sort_anew(
        &self,
        request_id: i64,
        checkout_id: Option<i64>,
    ) -> rusqlite::Result<()> {
        let (shape_id, place, kind) = self
            .transaction
            .prepare_cached(
                "SELECT shape_id, session_id, process_id, tool_call_count > 0, price_id,
                        cost_nanousd IS NOT NULL
                 FROM request WHERE request_id = ?1",
            )?
            .query_row([request_id], |row| {
                let mut place = Place::of(row.get(1)?, row.get(2)?);
                place.checkout_id = checkout_id;
                let kind = Kind {
                    has_tool_call: row.get(3)?,
                    price_id: row.get(4)?,
                    is_priced: row.get(5)?,
                };
                Ok((row.get(0)?, place, kind))
            })?;
        let usage_key_id = self.usage_key(shape_id, &place, kind)?;
        self.transaction
            .prepare_cached("UPDATE request SET usage_key_id = ?2 WHERE request_id = ?1")?
            .execute([request_id, usage_key_id])?;
        Ok(())
    }
}

/// The labels of a workflow's marker: a JSON object; `None` if there are none.
fn labels_json(workflow: &Workflow) -> Option<String> {
    let labels = workflow
        .labels
        .iter()
        .map(|(key, value)| (key.clone(), serde_json::Value::from(value.clone())));
    (!workflow.labels.is_empty()).then(|| serde_json::Value::Object(labels.collect()).to_string())
}
