//! A call as a span.

use std::collections::BTreeMap;

use agent_core::llm::Outcome;
use agent_core::session::{Hop, UsageRecord};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Settings;
use super::convention::{SCOPE_NAME, integer, nanos, number, operation, provider, text};

/// A call, ready to be told.
#[derive(Debug)]
pub(super) struct Span {
    /// Tells calls apart.
    pub(super) id: String,
    /// Whose it is.
    resource: Value,
    span: Value,
    pub(super) sample: Sample,
}

/// What metrics want to know of it.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) operation: &'static str,
    pub(super) provider: &'static str,
    pub(super) requested: Option<String>,
    pub(super) served: Option<String>,
    /// Whole input, read from a cache, written to one, whole output, reasoning.
    pub(super) tokens: [Option<u64>; 5],
    pub(super) duration_seconds: f64,
    pub(super) first_token_seconds: Option<f64>,
    pub(super) error: Option<String>,
}

/// Type of `SPAN_KIND_CLIENT`.
const KIND_CLIENT: u32 = 3;

/// Type of `STATUS_CODE_ERROR`.
const STATUS_ERROR: u32 = 2;

impl Span {
    /// The span of a call; `None` for a call to a gateway on this host, since what the gateway made of
    /// it is told.
    pub(super) fn of(record: &UsageRecord, host_name: &str) -> Option<Self> {
        if matches!(record.hop, Some(Hop::ToGateway { .. })) {
            return None;
        }
        let call = &record.call;
        let id = hex(&Sha256::digest(record.identity.as_bytes()));
        let operation = operation(call, record.task);
        let provider = provider(call);
        let usage = &call.usage;
        let written = [
            usage.cache_write_5m,
            usage.cache_write_1h,
            usage.cache_write_other,
        ];
        let written = written.into_iter().flatten().reduce(u64::saturating_add);
        // The convention has the cached tokens inside of the input, and the reasoning inside of the
        // output; the ledger's columns are disjoint.
        let tokens = [
            usage.input(),
            usage.cache_read,
            written,
            usage.output,
            usage.reasoning,
        ];
        let error = error_of(record);
        let mut attributes = vec![
            text("gen_ai.operation.name", operation),
            text("gen_ai.provider.name", provider),
            text("gen_ai.conversation.id", &record.session.0),
            text("bpftok.workflow", &record.workflow.name),
            text("bpftok.task_type", record.task.as_str()),
            text("bpftok.outcome", call.outcome.as_str()),
            text("bpftok.usage_source", call.usage_source.as_str()),
            text("bpftok.cost_status", record.cost.status.as_str()),
        ];
        let texts = [
            ("gen_ai.request.model", call.model_requested.as_deref()),
            ("gen_ai.response.model", call.model_served.as_deref()),
            ("gen_ai.response.id", call.response_id.as_deref()),
            ("server.address", call.server_name.as_deref()),
            ("error.type", error.as_deref()),
        ];
        attributes.extend(
            texts
                .iter()
                .filter_map(|(key, value)| Some(text(key, (*value)?))),
        );
        let keys = [
            "gen_ai.usage.input_tokens",
            "gen_ai.usage.cache_read.input_tokens",
            "gen_ai.usage.cache_write.input_tokens",
            "gen_ai.usage.output_tokens",
            "gen_ai.usage.reasoning.output_tokens",
        ];
        let counts = keys.iter().zip(tokens);
        attributes.extend(counts.filter_map(|(key, count)| Some(integer(key, count?))));
        if let Some(reason) = &call.stop_reason {
            let reasons = json!({"values": [{"stringValue": reason}]});
            attributes.push(
                json!({"key": "gen_ai.response.finish_reasons", "value": {"arrayValue": reasons}}),
            );
        }
        let first_token = record.ttft_ms.filter(|_| call.is_stream);
        if call.is_stream {
            attributes.push(json!({"key": "gen_ai.request.stream", "value": {"boolValue": true}}));
        }
        if let Some(ms) = first_token {
            attributes.push(number("gen_ai.response.time_to_first_chunk", seconds(ms)));
        }
        if let Some(nanousd) = record.cost.cost_nanousd {
            attributes.push(number("bpftok.cost_usd", nanousd as f64 / 1e9));
        }
        let model = call
            .model_requested
            .as_deref()
            .or(call.model_served.as_deref());
        let name = match model {
            Some(model) => format!("{operation} {model}"),
            None => operation.to_owned(),
        };
        let ended_ms = record
            .started_unix_ms
            .saturating_add_unsigned(record.duration_ms);
        let status = match &error {
            Some(_) => json!({"code": STATUS_ERROR}),
            None => json!({}),
        };
        let span = json!({
            "traceId": id.get(..32),
            "spanId": id.get(32..48),
            "name": name,
            "kind": KIND_CLIENT,
            "startTimeUnixNano": nanos(record.started_unix_ms),
            "endTimeUnixNano": nanos(ended_ms),
            "attributes": attributes,
            "status": status,
        });
        Some(Self {
            id,
            resource: resource(record, host_name),
            span,
            sample: Sample {
                operation,
                provider,
                requested: call.model_requested.clone(),
                served: call.model_served.clone(),
                tokens,
                duration_seconds: seconds(record.duration_ms),
                first_token_seconds: first_token.map(seconds),
                error,
            },
        })
    }
}

/// Whose call it is: the client as a service, with its process and container.
fn resource(record: &UsageRecord, host_name: &str) -> Value {
    let process = record.process.as_deref();
    let service = record.client.name.as_deref();
    let service = service.or_else(|| process.map(|process| process.comm.as_str()));
    let mut attributes = vec![
        text("service.name", service.unwrap_or("unknown_service")),
        text("host.name", host_name),
    ];
    if let Some(version) = &record.client.version {
        attributes.push(text("service.version", version));
    }
    if let Some(process) = process {
        attributes.push(integer("process.pid", process.id.pid.into()));
        if let Some(container) = &process.container {
            attributes.push(text("container.id", &container.id));
        }
    }
    json!({"attributes": attributes})
}

/// Why it failed: the status of HTTP, or the outcome.
fn error_of(record: &UsageRecord) -> Option<String> {
    let call = &record.call;
    match call.outcome {
        Outcome::Complete | Outcome::Incomplete => None,
        Outcome::Error => Some(match call.http_status {
            Some(status) if status >= 400 => status.to_string(),
            Some(_) | None => "error".to_owned(),
        }),
        Outcome::Aborted | Outcome::Unanswered => Some(call.outcome.as_str().to_owned()),
    }
}

/// All spans of a batch, those of one process together.
pub(super) fn message(batch: &[Span], settings: &Settings) -> Value {
    let mut by_resource: BTreeMap<String, (&Value, Vec<&Value>)> = BTreeMap::new();
    for span in batch {
        let entry = by_resource.entry(span.resource.to_string());
        entry
            .or_insert_with(|| (&span.resource, Vec::new()))
            .1
            .push(&span.span);
    }
    let resources: Vec<Value> = by_resource
        .into_values()
        .map(|(resource, spans)| {
            let scope = json!({"name": SCOPE_NAME, "version": settings.version});
            json!({"resource": resource, "scopeSpans": [{"scope": scope, "spans": spans}]})
        })
        .collect();
    json!({"resourceSpans": resources})
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
