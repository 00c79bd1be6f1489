//! The forms that receivers want, made of the document of a message.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// How long an Alertmanager takes an alert for firing after it was told.
const FIRES_FOR_MS: i64 = 5 * 60_000;

/// LIMIT: characters of a text for people.
const TEXT_CHARS: usize = 3_000;

/// LIMIT: characters of the subject of a mail.
const SUBJECT_CHARS: usize = 200;

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

/// A mail (RFC 5322), for `sendmail -t`, which adds who it is from: it knows the name of the host in the
/// world. The same message has the same `Message-ID` each time that it is tried.
pub(super) fn mail(payload: &Value, to: &[String]) -> String {
    let lines = lines(payload);
    let subject: String = lines
        .first()
        .map_or("", String::as_str)
        .chars()
        .take(SUBJECT_CHARS)
        .collect();
    let document = serde_json::to_string_pretty(payload).unwrap_or_default();
    let written: Option<Timestamp> = text(payload, "created_at").parse().ok();
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    let date = written.and_then(|moment| printer.timestamp_to_string(&moment).ok());
    let date = date.map(|date| format!("Date: {date}\n"));
    let digest = Sha256::digest(payload.to_string());
    let id: String = digest
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let host: String = text(payload, "host")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    format!(
        "To: {}\nSubject: {}\n{}Message-ID: <{id}@{host}.bpftok>\nAuto-Submitted: auto-generated\n\
         MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\
         Content-Transfer-Encoding: quoted-printable\n\n{}",
        to.join(", "),
        header_text(&subject),
        date.unwrap_or_default(),
        quoted_printable(&format!("{}\n\n{document}\n", lines.join("\n"))),
    )
}

/// A text in a header: as it is, or as encoded words (RFC 2047, 2 and 4.2), each on a line of its own and
/// each of whole characters.
fn header_text(text: &str) -> String {
    /// LIMIT: characters of an encoded word, so that its line has 76 with the name of the header.
    const WORD_CHARS: usize = 76 - "Subject: ".len() - "=?utf-8?q??=".len();
    if text.is_ascii() {
        return text.to_owned();
    }
    let mut words = vec![String::new()];
    for c in text.chars() {
        let mut bytes = [0; 4];
        let encoded: String = match c {
            ' ' => "_".to_owned(),
            c if c.is_ascii_alphanumeric() => c.to_string(),
            c => c.encode_utf8(&mut bytes).bytes().map(escaped).collect(),
        };
        match words.last_mut() {
            Some(word) if word.len() + encoded.len() <= WORD_CHARS => word.push_str(&encoded),
            _ => words.push(encoded),
        }
    }
    let words = words.iter().map(|word| format!("=?utf-8?q?{word}?="));
    words.collect::<Vec<String>>().join("\n ")
}

/// A text that passes servers which take ASCII alone and short lines (RFC 2045, 6.7).
fn quoted_printable(text: &str) -> String {
    /// LIMIT: characters of a line, without the `=` that says that it goes on.
    const LINE_CHARS: usize = 75;
    let mut out = String::new();
    let mut width = 0;
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        let encoded = match byte {
            b'\n' => {
                out.push('\n');
                width = 0;
                continue;
            }
            b' ' if bytes.peek().is_some_and(|next| *next != b'\n') => " ".to_owned(),
            b'=' => escaped(byte),
            byte if byte.is_ascii_graphic() => char::from(byte).to_string(),
            byte => escaped(byte),
        };
        if width + encoded.len() > LINE_CHARS {
            out.push_str("=\n");
            width = 0;
        }
        width += encoded.len();
        out.push_str(&encoded);
    }
    out
}

fn escaped(byte: u8) -> String {
    format!("={byte:02X}")
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
        let (head, _) = mail.split_once("\n\n").unwrap();
        let head: Vec<_> = head
            .lines()
            .filter(|line| !line.starts_with("Message-ID: "))
            .collect();
        assert_eq!(
            head,
            [
                "To: ops@example.com",
                "Subject: [page] web-01: <!channel> [31m Bcc: x (bpftok alerts show 7)",
                "Date: Wed, 18 Nov 2026 11:06:40 -0000",
                "Auto-Submitted: auto-generated",
                "MIME-Version: 1.0",
                "Content-Type: text/plain; charset=utf-8",
                "Content-Transfer-Encoding: quoted-printable",
            ]
        );
        assert!(!mail.contains('\u{1b}'));
    }
    #[test]
    fn a_mail_that_is_tried_again_has_the_id_that_it_had_and_another_one_has_another() {
        let id = |payload: &Value| {
            let mail = mail(payload, &[]);
            let mut lines = mail.lines();
            lines
                .find(|line| line.starts_with("Message-ID: "))
                .unwrap()
                .to_owned()
        };
        let mut other = payload();
        other["created_at"] = "2026-11-18T12:00:00Z".into();
        assert_eq!(id(&payload()), id(&payload()));
        assert_ne!(id(&payload()), id(&other));
        assert!(id(&other).ends_with("@web-01.bpftok>"));
    }

    #[test]
    fn a_header_has_encoded_words_of_whole_characters_only_where_it_needs_them() {
        assert_eq!(header_text("[page] web-01: x=1"), "[page] web-01: x=1");
        assert_eq!(header_text("näch?"), "=?utf-8?q?n=C3=A4ch=3F?=");
        let long = header_text(&"☃ ".repeat(12));
        let word = |number| format!("=?utf-8?q?{}?=", "=E2=98=83_".repeat(number));
        assert_eq!(long, [word(5), word(5), word(2)].join("\n "));
    }

    #[test]
    fn a_body_is_of_short_lines_of_ascii_that_end_in_no_space() {
        assert_eq!(quoted_printable("a = b \n\tc\n"), "a =3D b=20\n=09c\n");
        assert_eq!(
            quoted_printable(&"é".repeat(14)),
            format!("{}=\n{}", "=C3=A9".repeat(12) + "=C3", "=A9=C3=A9")
        );
    }
}
