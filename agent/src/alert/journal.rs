//! Alerts in the log of the agent.

use agent_core::alert::{Kind, Notice, Severity};
use serde_json::Value;

/// Writes what began to fire, became more urgent or is over. Texts are escaped: names in them are chosen
/// by others.
pub fn write(notices: &[Notice]) {
    for notice in notices {
        let alert = &notice.alert;
        let condition = &alert.condition;
        let summary = condition.summary.escape_debug();
        let (rule, severity) = (condition.rule.as_str(), condition.severity.as_str());
        let id = alert.id;
        match notice.kind {
            Kind::Resolve => tracing::info!(id, rule, severity, %summary, "alert: over"),
            Kind::Fire | Kind::Rise | Kind::Repeat if condition.severity == Severity::Log => {
                tracing::info!(id, rule, severity, %summary, "alert");
            }
            Kind::Fire | Kind::Rise | Kind::Repeat => {
                tracing::warn!(id, rule, severity, %summary, "alert");
            }
        }
    }
}

/// Writes a message of a channel.
pub(super) fn message(channel: &str, payload: &Value) {
    let text = |key: &str| {
        let text = payload.get(key).and_then(Value::as_str);
        text.unwrap_or_default().escape_debug().to_string()
    };
    let (kind, severity, summary) = (text("kind"), text("severity"), text("summary"));
    tracing::warn!(channel, %kind, %severity, %summary, "alert message");
}
