//! What many calls have in common: a row of its own, found again by its content.

use agent_core::llm::{AbortedBy, Estimate, SubInference};
use agent_core::session::{TaskType, UsageRecord};
use rusqlite::{OptionalExtension as _, Transaction, params};

/// The content of a row of `shape`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    kind: String,
    client_name: Option<String>,
    client_version: Option<String>,
    provider: String,
    endpoint: String,
    server_name: Option<String>,
    model_requested: Option<String>,
    model_served: Option<String>,
    is_stream: bool,
    is_batch: bool,
    service_tier: Option<String>,
    speed: Option<String>,
    region: Option<String>,
    billing_kind: String,
    http_status: Option<u16>,
    outcome: String,
    stop_reason: Option<String>,
    aborted_by: Option<String>,
    usage_source: String,
    input_method: Option<String>,
    input_quality: Option<String>,
    output_method: Option<String>,
    output_quality: Option<String>,
    task_type: String,
}

impl Shape {
    /// Of a call.
    pub(super) fn of(record: &UsageRecord) -> Self {
        let call = &record.call;
        let terms = &call.terms;
        let method = |estimate: Option<Estimate>| estimate.map(|known| known.method.to_string());
        let quality =
            |estimate: Option<Estimate>| estimate.map(|known| known.quality.as_str().to_owned());
        Self {
            kind: "call".to_owned(),
            client_name: record.client.name.clone(),
            client_version: record.client.version.clone(),
            provider: call.provider.0.to_owned(),
            endpoint: call.endpoint.as_str().to_owned(),
            server_name: call.server_name.clone(),
            model_requested: call.model_requested.clone(),
            model_served: call.model_served.clone(),
            is_stream: call.is_stream,
            is_batch: terms.is_batch,
            service_tier: terms.service_tier.clone(),
            speed: terms.speed.clone(),
            region: terms.region.clone(),
            billing_kind: terms.credential.as_str().to_owned(),
            http_status: call.http_status,
            outcome: call.outcome.as_str().to_owned(),
            stop_reason: call.stop_reason.clone(),
            aborted_by: call.aborted_by.map(AbortedBy::as_str).map(str::to_owned),
            usage_source: call.usage_source.as_str().to_owned(),
            input_method: method(call.estimates.input),
            input_quality: quality(call.estimates.input),
            output_method: method(call.estimates.output),
            output_quality: quality(call.estimates.output),
            task_type: record.task.as_str().to_owned(),
        }
    }

    /// Of a model that ran inside of a call of this shape.
    pub(super) fn part(&self, part: &SubInference) -> Self {
        Self {
            kind: part.kind.as_str().to_owned(),
            model_served: part.model.clone().or_else(|| self.model_served.clone()),
            is_stream: false,
            stop_reason: None,
            input_method: None,
            input_quality: None,
            output_method: None,
            output_quality: None,
            ..self.clone()
        }
    }

    /// The same for another client.
    pub(super) fn of_client(self, client: &Self) -> Self {
        Self {
            client_name: client.client_name.clone(),
            client_version: client.client_version.clone(),
            ..self
        }
    }

    /// The same of a compaction; `None` if it is one.
    pub(super) fn of_compaction(self) -> Option<Self> {
        let task_type = TaskType::Compaction.as_str();
        (self.task_type != task_type).then(|| Self {
            task_type: task_type.to_owned(),
            ..self
        })
    }

    /// What is known of a call after a second, better sight of it. Who called whom stays.
    pub(super) fn improved(self, better: Self) -> Self {
        Self {
            client_version: if self.client_name.is_none() {
                better.client_version
            } else {
                self.client_version.or_else(|| {
                    better
                        .client_version
                        .filter(|_| self.client_name == better.client_name)
                })
            },
            client_name: self.client_name.or(better.client_name),
            provider: self.provider,
            server_name: self.server_name.or(better.server_name),
            model_requested: self.model_requested.or(better.model_requested),
            model_served: better.model_served.or(self.model_served),
            service_tier: better.service_tier.or(self.service_tier),
            speed: better.speed.or(self.speed),
            region: better.region.or(self.region),
            is_batch: self.is_batch || better.is_batch,
            http_status: better.http_status.or(self.http_status),
            stop_reason: better.stop_reason.or(self.stop_reason),
            kind: self.kind,
            endpoint: self.endpoint,
            is_stream: self.is_stream,
            billing_kind: self.billing_kind,
            task_type: self.task_type,
            ..better
        }
    }

    /// The content of a row.
    pub(super) fn load(transaction: &Transaction<'_>, shape_id: i64) -> rusqlite::Result<Self> {
        transaction
            .prepare_cached(
                "SELECT kind, client_name, client_version, provider, endpoint, server_name,
                        model_requested, model_served, is_stream, is_batch, service_tier, speed,
                        region, billing_kind, http_status, outcome, stop_reason, aborted_by,
                        usage_source, input_method, input_quality, output_method, output_quality,
                        task_type
                 FROM shape WHERE shape_id = ?1",
            )?
            .query_row([shape_id], |row| {
                Ok(Self {
                    kind: row.get(0)?,
                    client_name: row.get(1)?,
                    client_version: row.get(2)?,
                    provider: row.get(3)?,
                    endpoint: row.get(4)?,
                    server_name: row.get(5)?,
                    model_requested: row.get(6)?,
                    model_served: row.get(7)?,
                    is_stream: row.get(8)?,
                    is_batch: row.get(9)?,
                    service_tier: row.get(10)?,
                    speed: row.get(11)?,
                    region: row.get(12)?,
                    billing_kind: row.get(13)?,
                    http_status: row.get(14)?,
                    outcome: row.get(15)?,
                    stop_reason: row.get(16)?,
                    aborted_by: row.get(17)?,
                    usage_source: row.get(18)?,
                    input_method: row.get(19)?,
                    input_quality: row.get(20)?,
                    output_method: row.get(21)?,
                    output_quality: row.get(22)?,
                    task_type: row.get(23)?,
                })
            })
    }

    /// Its row, made at its first sight.
    pub(super) fn row(&self, transaction: &Transaction<'_>) -> rusqlite::Result<i64> {
        let values = params![
            self.kind,
            self.client_name,
            self.client_version,
            self.provider,
            self.endpoint,
            self.server_name,
            self.model_requested,
            self.model_served,
            self.is_stream,
            self.is_batch,
            self.service_tier,
            self.speed,
            self.region,
            self.billing_kind,
            self.http_status,
            self.outcome,
            self.stop_reason,
            self.aborted_by,
            self.usage_source,
            self.input_method,
            self.input_quality,
            self.output_method,
            self.output_quality,
            self.task_type,
        ];
        let found = transaction
            .prepare_cached(
                "SELECT shape_id FROM shape
                 WHERE kind = ?1 AND client_name IS ?2 AND client_version IS ?3 AND provider = ?4
                   AND endpoint = ?5 AND server_name IS ?6 AND model_requested IS ?7
                   AND model_served IS ?8 AND is_stream = ?9 AND is_batch = ?10
                   AND service_tier IS ?11 AND speed IS ?12 AND region IS ?13
                   AND billing_kind = ?14 AND http_status IS ?15 AND outcome = ?16
                   AND stop_reason IS ?17 AND aborted_by IS ?18 AND usage_source = ?19
                   AND input_method IS ?20 AND input_quality IS ?21 AND output_method IS ?22
                   AND output_quality IS ?23 AND task_type = ?24",
            )?
            .query_row(values, |row| row.get(0))
            .optional()?;
        if let Some(found) = found {
            return Ok(found);
        }
        transaction
            .prepare_cached(
                "INSERT INTO shape (
                     kind, client_name, client_version, provider, endpoint, server_name,
                     model_requested, model_served, is_stream, is_batch, service_tier, speed, region,
                     billing_kind, http_status, outcome, stop_reason, aborted_by, usage_source,
                     input_method, input_quality, output_method, output_quality, task_type)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                         ?18, ?19, ?20, ?21, ?22, ?23, ?24)",
            )?
            .execute(values)?;
        Ok(transaction.last_insert_rowid())
    }
}
