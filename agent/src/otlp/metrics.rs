//! Metrics of calls by the convention, as sums since the agent started.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Settings;
use super::convention::{SCOPE_NAME, nanos, text};
use super::span::Sample;
use crate::metrics::histogram::{Histogram, SECONDS};
use crate::metrics::labels::{OTHER, Values};

/// LIMIT: combinations of attributes with sums of their own; what comes beyond is left out of metrics,
/// and is in spans.
const MAX_KEYS: usize = 500;

/// Type of `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u32 = 2;

/// The counters, in the order of [`Sample::tokens`].
const COUNTERS: [&str; 5] = [
    "gen_ai.client.inference.usage.input_tokens",
    "gen_ai.client.inference.usage.cache_read.input_tokens",
    "gen_ai.client.inference.usage.cache_write.input_tokens",
    "gen_ai.client.inference.usage.output_tokens",
    "gen_ai.client.inference.usage.reasoning.output_tokens",
];

/// Operation, provider, requested and answering model, error.
type Key = (&'static str, &'static str, [Option<Arc<str>>; 3]);

struct Sum {
    tokens: [Option<u64>; COUNTERS.len()],
    duration: Histogram,
    first_token: Histogram,
}

pub(super) struct Sums {
    resource: Value,
    version: &'static str,
    started_ms: i64,
    values: Values,
    sums: BTreeMap<Key, Sum>,
    has_news: bool,
}

/// One of the histograms of a sum.
type Of = fn(&Sum) -> &Histogram;

impl Sums {
    pub(super) fn new(settings: &Settings) -> Self {
        let attributes = [
            text("service.name", "bpftok"),
            text("service.version", settings.version),
            text("host.name", &settings.host_name),
        ];
        Self {
            resource: json!({"attributes": attributes}),
            version: settings.version,
            started_ms: jiff::Timestamp::now().as_millisecond(),
            values: Values::default(),
            sums: BTreeMap::new(),
            has_news: false,
        }
    }

    pub(super) fn add(&mut self, sample: &Sample) {
        let mut named = |label, name: &Option<String>| {
            let name = name.as_deref()?;
            let known = self.values.known(label, Some(name));
            Some(known.unwrap_or_else(|| Arc::from(OTHER)))
        };
        let names = [
            named("requested", &sample.requested),
            named("served", &sample.served),
            named("error", &sample.error),
        ];
        let key = (sample.operation, sample.provider, names);
        if self.sums.len() >= MAX_KEYS && !self.sums.contains_key(&key) {
            return;
        }
        let sum = self.sums.entry(key).or_insert_with(|| Sum {
            tokens: [None; COUNTERS.len()],
            duration: Histogram::new(SECONDS),
            first_token: Histogram::new(SECONDS),
        });
        for (total, more) in sum.tokens.iter_mut().zip(sample.tokens) {
            if let Some(more) = more {
                *total = Some(total.unwrap_or(0).saturating_add(more));
            }
        }
        sum.duration.observe(sample.duration_seconds);
        if let Some(seconds) = sample.first_token_seconds {
            sum.first_token.observe(seconds);
        }
        self.has_news = true;
    }

    pub(super) const fn has_news(&self) -> bool {
        self.has_news
    }

    pub(super) const fn told(&mut self) {
        self.has_news = false;
    }

    pub(super) fn message(&self, now_ms: i64) -> Value {
        let (start, now) = (nanos(self.started_ms), nanos(now_ms));
        let mut metrics = Vec::new();
        for (place, name) in COUNTERS.iter().enumerate() {
            let points = self.sums.iter().filter_map(|(key, sum)| {
                let count = sum.tokens.get(place).copied().flatten()?;
                let mut attributes = attributes(key, Errors::LeftOut);
                // The providers give no split that covers all tokens.
                attributes.push(text("gen_ai.token.modality", "unknown"));
                Some(json!({
                    "attributes": attributes,
                    "startTimeUnixNano": start,
                    "timeUnixNano": now,
                    "asInt": count.to_string(),
                }))
            });
            let points = merged(points.collect());
            if !points.is_empty() {
                metrics.push(json!({"name": name, "unit": "{token}", "sum": {
                    "aggregationTemporality": CUMULATIVE, "isMonotonic": true, "dataPoints": points,
                }}));
            }
        }
        let histograms: [(&str, Of); 2] = [
            ("gen_ai.client.inference.duration", |sum| &sum.duration),
            ("gen_ai.client.inference.time_to_first_chunk", |sum| {
                &sum.first_token
            }),
        ];
        for (name, of) in histograms {
            let told = self.sums.iter().filter(|(_, sum)| of(sum).count > 0);
            let points: Vec<Value> = told
                .map(|(key, sum)| point(of(sum), attributes(key, Errors::Told), &start, &now))
                .collect();
            if !points.is_empty() {
                metrics.push(json!({"name": name, "unit": "s", "histogram": {
                    "aggregationTemporality": CUMULATIVE, "dataPoints": points,
                }}));
            }
        }
        let scope = json!({"name": SCOPE_NAME, "version": self.version});
        let scope = json!({"scope": scope, "metrics": metrics});
        json!({"resourceMetrics": [{"resource": self.resource, "scopeMetrics": [scope]}]})
    }
}

fn point(histogram: &Histogram, attributes: Vec<Value>, start: &str, now: &str) -> Value {
    let buckets = histogram.buckets.iter();
    let counts: Vec<String> = buckets
        .clone()
        .map(|(_, count)| count.to_string())
        .collect();
    let ends: Vec<f64> = buckets
        .map(|(end, _)| *end)
        .filter(|end| end.is_finite())
        .collect();
    json!({
        "attributes": attributes,
        "startTimeUnixNano": start,
        "timeUnixNano": now,
        "count": histogram.count.to_string(),
        "sum": histogram.sum,
        "bucketCounts": counts,
        "explicitBounds": ends,
    })
}

/// Whether a metric tells calls by their errors apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Errors {
    Told,
    LeftOut,
}

fn attributes((operation, provider, names): &Key, errors: Errors) -> Vec<Value> {
    let mut attributes = vec![
        text("gen_ai.operation.name", operation),
        text("gen_ai.provider.name", provider),
    ];
    let keys = [
        "gen_ai.request.model",
        "gen_ai.response.model",
        "error.type",
    ];
    for (key, name) in keys.iter().zip(names) {
        if let Some(name) = name
            && (errors == Errors::Told || *key != "error.type")
        {
            attributes.push(text(key, name));
        }
    }
    attributes
}

/// Points with the same attributes as one: two of them would be taken for a mistake.
fn merged(points: Vec<Value>) -> Vec<Value> {
    let mut merged: BTreeMap<String, (Value, u64)> = BTreeMap::new();
    let count = |point: &Value| {
        let count = point.get("asInt").and_then(Value::as_str);
        count.and_then(|count| count.parse::<u64>().ok())
    };
    for point in points {
        let key = point.get("attributes").map(Value::to_string);
        let more = count(&point).unwrap_or(0);
        let entry = merged.entry(key.unwrap_or_default());
        let (_, sum) = entry.or_insert((point, 0));
        *sum = sum.saturating_add(more);
    }
    merged
        .into_values()
        .map(|(mut point, sum)| {
            if let Some(count) = point.get_mut("asInt") {
                *count = json!(sum.to_string());
            }
            point
        })
        .collect()
}
