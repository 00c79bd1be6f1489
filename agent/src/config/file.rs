//! What is written in a configuration file.
//!
//! A field never fails alone: a value of the wrong type and a key that nobody knows are kept and
//! reported with all the others.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// A configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct File {
    pub(super) daemon: Section<Daemon>,
    pub(super) capture: Section<Capture>,
    pub(super) session: Section<Session>,
    pub(super) privacy: Section<Privacy>,
    pub(super) retention: Section<Retention>,
    pub(super) metrics: Section<Metrics>,
    pub(super) otlp: Section<Otlp>,
    pub(super) runaway: Section<Runaway>,
    pub(super) spike: Section<Spike>,
    pub(super) rules: Section<Rules>,
    pub(super) provider: Written<Vec<Section<Provider>>>,
    pub(super) prices: Section<Prices>,
    pub(super) price: Written<Vec<Section<Price>>>,
    pub(super) workflow: Written<Vec<Section<Workflow>>>,
    pub(super) notify: Written<Vec<Section<Notify>>>,
    pub(super) budget: Written<Vec<Section<Budget>>>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

/// Keys that nobody knows.
pub(super) type Unknown = BTreeMap<String, toml::Value>;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Daemon {
    pub(super) db: Written<String>,
    pub(super) timezone: Written<String>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Capture {
    pub(super) ring_bytes: Written<i64>,
    pub(super) scan_interval_ms: Written<i64>,
    pub(super) sockets: Written<bool>,
    pub(super) self_check_interval_ms: Written<i64>,
    pub(super) ignore: Written<Vec<String>>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Session {
    pub(super) idle_minutes: Written<i64>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Privacy {
    pub(super) store_cwd: Written<bool>,
    pub(super) store_argv: Written<String>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Retention {
    pub(super) request_days: Written<i64>,
    pub(super) rollup_days: Written<i64>,
    pub(super) coverage_days: Written<i64>,
    pub(super) rate_limit_days: Written<i64>,
    pub(super) max_mb: Written<i64>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Otlp {
    pub(super) endpoint: Written<String>,
    pub(super) headers_file: Written<String>,
    pub(super) encoding: Written<String>,
    pub(super) semconv: Written<String>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Metrics {
    pub(super) listen: Written<String>,
    pub(super) allow_remote: Written<bool>,
    pub(super) textfile: Written<String>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Runaway {
    pub(super) rate_weighted_tokens: Written<i64>,
    pub(super) parallel_requests: Written<i64>,
    pub(super) new_threads: Written<i64>,
    pub(super) thread_depth: Written<i64>,
    pub(super) repeat_tool_calls: Written<i64>,
    pub(super) duplicate_requests: Written<i64>,
    pub(super) compactions: Written<i64>,
    pub(super) full_context_requests: Written<i64>,
    pub(super) session_usd_per_hour: Written<f64>,
    pub(super) session_usd: Written<f64>,
    pub(super) unattended_minutes: Written<i64>,
    pub(super) unattended_requests: Written<i64>,
    pub(super) unattended: Written<Vec<String>>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Spike {
    pub(super) enabled: Written<bool>,
    pub(super) min_weighted_tokens: Written<i64>,
    pub(super) min_usd: Written<f64>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rules {
    pub(super) coverage_percent: Written<i64>,
    pub(super) price_list: Written<bool>,
    pub(super) quota_ticket_percent: Written<i64>,
    pub(super) quota_page_percent: Written<i64>,
    pub(super) new_models: Written<bool>,
    pub(super) new_workflow_usd_per_day: Written<f64>,
    pub(super) unattributed_usd_per_day: Written<f64>,
    pub(super) error_percent: Written<i64>,
    pub(super) events_lost: Written<bool>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Provider {
    pub(super) name: Written<String>,
    pub(super) hosts: Written<Vec<String>>,
    pub(super) path: Written<String>,
    pub(super) format: Written<String>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Prices {
    pub(super) max_age_days: Written<i64>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Price {
    pub(super) provider: Written<String>,
    pub(super) model: Written<String>,
    pub(super) context_over: Written<i64>,
    pub(super) valid_from: Written<String>,
    pub(super) valid_until: Written<String>,
    pub(super) like: Written<String>,
    pub(super) factor: Written<f64>,
    /// The rates, and keys that nobody knows.
    #[serde(flatten)]
    pub(super) rest: Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Workflow {
    pub(super) name: Written<String>,
    #[serde(rename = "match")]
    pub(super) matching: Section<BTreeMap<String, Written<Patterns>>>,
    pub(super) billing_code: Written<String>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Notify {
    pub(super) name: Written<String>,
    pub(super) kind: Written<String>,
    pub(super) min_severity: Written<String>,
    pub(super) url: Written<String>,
    pub(super) format: Written<String>,
    pub(super) headers_file: Written<String>,
    pub(super) command: Written<Vec<String>>,
    pub(super) user: Written<String>,
    pub(super) to: Written<Vec<String>>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Budget {
    pub(super) name: Written<String>,
    pub(super) scope: Written<String>,
    #[serde(rename = "where")]
    pub(super) filters: Section<BTreeMap<String, Written<Patterns>>>,
    pub(super) limit: Written<String>,
    pub(super) period: Written<String>,
    pub(super) anchor: Written<String>,
    pub(super) timezone: Written<String>,
    pub(super) profile: Written<String>,
    pub(super) thresholds: Written<Vec<f64>>,
    pub(super) burn: Written<String>,
    pub(super) floor: Written<String>,
    pub(super) notify: Written<Vec<String>>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

/// One pattern, or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Patterns {
    One(String),
    Many(Vec<String>),
}

/// A value as it was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Written<T> {
    /// Not at all.
    #[default]
    No,
    /// With the right type.
    Yes(T),
    /// With another type; its name.
    Mistyped(&'static str),
}

/// A section; one that is no table has no keys.
#[derive(Debug, Default)]
pub(super) enum Section<T> {
    #[default]
    Absent,
    Present(T),
    Mistyped(&'static str),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        let kind = value.type_str();
        Ok(T::deserialize(value).map_or(Self::Mistyped(kind), Self::Yes))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Section<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        let kind = value.type_str();
        Ok(T::deserialize(value).map_or(Self::Mistyped(kind), Self::Present))
    }
}
