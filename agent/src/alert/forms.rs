//! The forms that receivers want, made of the document of a message.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// How long an Alertmanager takes an alert for firing after it was told.
const FIRES_FOR_MS: i64 = 5 * 60_000;

/// LIMIT: characters of a text for people.
const TEXT_CHARS: usize = 3_000;

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn alerts(payload: &Value) -> &[Value] {
    let alerts = payload.get("alerts").and_then(Value::as_array);
    alerts.map(Vec::as_slice).unwrap_or_default()
}

/// A text on one line, without what steers a terminal.
fn line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(TEXT_CHARS).map(plain).collect()
}

/// What has happened, a line each.
fn lines(payload: &Value) -> Vec<String> {
    let host = line(text(payload, "host"));
    let test = match payload.get("is_test").and_then(Value::as_bool) {
        Some(true) => "TEST ",
        _ => "",
    };
    let mut lines: Vec<String> = alerts(payload)
        .iter()
        .map(|alert| {
            let word = match text(alert, "kind") {
                "resolve" => "over",
                "repeat" => "still",
                _ => text(alert, "severity"),
            };
            let summary = line(text(alert, "summary"));
            let show = line(text(alert, "show"));
            format!("{test}[{word}] {host}: {summary} ({show})")
        })
        .collect();
    let left_out = payload.get("left_out").and_then(Value::as_u64).unwrap_or(0);
    if left_out > 0 {
        lines.push(format!("{left_out} more: bpftok alerts"));
    }
    lines
}

/// What incoming webhooks of Slack take (docs.slack.dev, "Sending messages using incoming webhooks"). Three
/// characters are escaped there; without them no text mentions anybody or becomes a link.
pub(super) fn slack(payload: &Value) -> Value {
    let text: String = lines(payload).join("\n").chars().take(TEXT_CHARS).collect();
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    json!({ "text": text })
}

/// A mail (RFC 5322), for `sendmail -t`.
pub(super) fn mail(payload: &Value, to: &[String]) -> String {
    let lines = lines(payload);
    let subject: String = lines
        .first()
        .map_or("", String::as_str)
        .chars()
        .take(200)
        .collect();
    let subject: String = subject
        .chars()
        .map(|c| if c.is_ascii() { c } else { '?' })
        .collect();
    let document = serde_json::to_string_pretty(payload).unwrap_or_default();
    format!(
        "To: {}\nSubject: {subject}\nAuto-Submitted: auto-generated\nMIME-Version: 1.0\n\
         Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n{}\n\n{document}\n",
        to.join(", "),
        lines.join("\n"),
    )
}

/// What `POST /api/v2/alerts` of an Alertmanager takes (its api/v2/openapi.yaml, `postableAlerts`). Labels
/// are the identity there.
pub(super) fn alertmanager(payload: &Value, now_unix_ms: i64) -> Value {
    let host = text(payload, "host");
    let is_test = payload.get("is_test").and_then(Value::as_bool);
    let alerts = alerts(payload).iter().map(|alert| {
        let mut labels = Map::new();
        let mut label = |name: &str, value: &str| {
            // An empty label is none there.
            if !value.is_empty() {
                labels.insert(name.to_owned(), value.into());
            }
        };
        label("alertname", &format!("bpftok_{}", text(alert, "rule")));
        label("severity", text(alert, "severity"));
        label("instance", host);
        label("variant", text(alert, "variant"));
        label("budget", text(alert, "budget"));
        for (name, value) in alert
            .get("scope")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            label(
                &format!("scope_{}", name_of_label(name)),
                value.as_str().unwrap_or_default(),
            );
        }
        if is_test == Some(true) {
            label("test", "true");
        }
        let evidence = alert.get("evidence").map(ToString::to_string);
        let ends = match text(alert, "ended_at") {
            "" => moment(now_unix_ms.saturating_add(FIRES_FOR_MS)),
            ended => Some(ended.to_owned()),
        };
        json!({
            "labels": labels,
            "annotations": {
                "summary": text(alert, "summary"),
                "evidence": evidence.unwrap_or_default(),
                "show": text(alert, "show"),
            },
            "startsAt": alert.get("fired_at"),
            "endsAt": ends,
        })
    });
    Value::Array(alerts.collect())
}

/// Letters, digits and `_` alone.
fn name_of_label(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(plain).collect()
}

fn moment(unix_ms: i64) -> Option<String> {
    let moment = Timestamp::from_millisecond(unix_ms).ok()?;
    Some(moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload() -> Value {
        json!({
            "version": 1, "source": "bpftok", "host": "web-01", "kind": "group", "severity": "page",
            "summary": "2 alerts", "is_test": false, "created_at": "2026-11-18T11:06:40Z",
            "left_out": 3,
            "alerts": [
                {
                    "id": 7, "fingerprint": "ab", "kind": "fire", "state": "firing",
                    "rule": "budget_burn", "variant": "1h/5m", "severity": "page",
                    "scope": {"user": "dana"}, "budget": "team",
                    "summary": "<!channel>\u{1b}[31m\nBcc: x", "evidence": {"burn": 20},
                    "started_at": "2026-11-18T11:06:40Z", "fired_at": "2026-11-18T11:06:40Z",
                    "ended_at": null, "show": "bpftok alerts show 7",
                },
                {
                    "id": 6, "fingerprint": "cd", "kind": "resolve", "state": "resolved",
                    "rule": "spike", "variant": "", "severity": "ticket", "scope": {},
                    "budget": null, "summary": "it was", "evidence": {},
                    "started_at": "2026-11-18T10:06:40Z", "fired_at": "2026-11-18T10:06:40Z",
                    "ended_at": "2026-11-18T11:06:40Z", "show": "bpftok alerts show 6",
                },
            ],
        })
    }

    #[test]
    fn an_alertmanager_gets_labels_that_identify_and_times_that_end() {
        assert_eq!(
            alertmanager(&payload(), 1_795_000_000_000),
            json!([
                {
                    "labels": {
                        "alertname": "bpftok_budget_burn", "severity": "page", "instance": "web-01",
                        "variant": "1h/5m", "budget": "team", "scope_user": "dana",
                    },
                    "annotations": {
                        "summary": "<!channel>\u{1b}[31m\nBcc: x", "evidence": "{\"burn\":20}",
                        "show": "bpftok alerts show 7",
                    },
                    "startsAt": "2026-11-18T11:06:40Z", "endsAt": "2026-11-18T11:11:40Z",
                },
                {
                    "labels": {
                        "alertname": "bpftok_spike", "severity": "ticket", "instance": "web-01",
                    },
                    "annotations": {
                        "summary": "it was", "evidence": "{}", "show": "bpftok alerts show 6",
                    },
                    "startsAt": "2026-11-18T10:06:40Z", "endsAt": "2026-11-18T11:06:40Z",
                },
            ])
        );
    }

    #[test]
    fn names_that_others_chose_steer_neither_slack_nor_a_mail() {
        assert_eq!(
            slack(&payload()),
            json!({
                "text": "[page] web-01: &lt;!channel&gt; [31m Bcc: x (bpftok alerts show 7)\n\
                         [over] web-01: it was (bpftok alerts show 6)\n3 more: bpftok alerts",
            })
        );
        let mail = mail(&payload(), &["ops@example.com".to_owned()]);
        let head = mail.split("\n\n").next().unwrap();
        assert_eq!(
            head,
            "To: ops@example.com\nSubject: [page] web-01: <!channel> [31m Bcc: x (bpftok alerts show 7)\n\
             Auto-Submitted: auto-generated\nMIME-Version: 1.0\n\
             Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit"
        );
        assert!(!mail.contains('\u{1b}'));
    }
}
