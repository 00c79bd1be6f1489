//! What a program is told of alerts: a JSON document.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Notice, Notification};

/// Version of the document; it only gains fields while this stays.
const VERSION: u64 = 1;

/// Whether somebody only wants to see that a message arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Something is wrong, or no longer.
    Alert,
    /// Nothing is.
    Test,
}

impl Notification {
    /// The document, from the host of this name.
    pub fn payload(&self, host_name: &str, purpose: Purpose) -> Value {
        let alerts: Vec<Value> = self.notices.iter().map(alert).collect();
        json!({
            "version": VERSION,
            "source": "bpftok",
            "host": host_name,
            "kind": self.kind(),
            "severity": self.severity().as_str(),
            "summary": self.summary(),
            "is_test": purpose == Purpose::Test,
            "created_at": utc(self.unix_ms),
            "alerts": alerts,
            "left_out": self.left_out,
        })
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        match self.notices.as_slice() {
            [notice] if self.left_out == 0 => notice.alert.condition.summary.clone(),
            notices => {
                let first = notices.first();
                let first = first.map_or("", |notice| notice.alert.condition.summary.as_str());
                let count = u64::try_from(notices.len()).unwrap_or(u64::MAX);
                format!("{} alerts; {first}", count.saturating_add(self.left_out))
            }
        }
    }
}

fn alert(notice: &Notice) -> Value {
    let alert = &notice.alert;
    let condition = &alert.condition;
    let scope: Map<String, Value> = condition
        .scope
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
        .collect();
    json!({
        "id": alert.id,
        "fingerprint": alert.fingerprint,
        "kind": notice.kind.as_str(),
        "state": alert.state.as_str(),
        "rule": condition.rule.as_str(),
        "variant": condition.variant,
        "severity": condition.severity.as_str(),
        "scope": scope,
        "budget": condition.budget,
        "summary": condition.summary,
        "evidence": condition.evidence,
        "started_at": utc(alert.started_unix_ms),
        "fired_at": alert.fired_unix_ms.map(utc),
        "ended_at": alert.ended_unix_ms.map(utc),
        "show": format!("bpftok alerts show {}", alert.id),
    })
}

/// A moment in UTC; one that no calendar has is null.
fn utc(unix_ms: i64) -> Option<String> {
    let moment = Timestamp::from_millisecond(unix_ms).ok()?;
    Some(moment.to_string())
}
