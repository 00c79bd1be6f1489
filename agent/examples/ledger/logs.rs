//! The same usage as the session files that Claude Code keeps, which `ccusage` and others add up.
//!
//! Below a configuration folder there is `projects/PROJECT/SESSION.jsonl`: one JSON object a line, of which
//! those of type `assistant` hold what the API replied and with it `message.usage`. Every call is written in
//! this form, whatever client made it up: what is compared is adding up, and readers take any model.
//!
//! A call is two lines here, what was asked and what was replied. Claude Code writes a line for each block of
//! a reply and repeats the usage, so its files are longer, and whoever reads them has more to drop.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use agent_core::event::Process;
use agent_core::llm::Usage;
use agent_core::session::{SessionKey, UsageRecord};
use anyhow::Context as _;
use serde_json::{Value, json};

/// The version that made-up lines claim; readers refuse lines without one of three numbers.
const VERSION: &str = "2.1.330";
/// What is repeated where text is asked for: escapes as often as code has them.
const TEXT: &str = "fn total(calls: &[Call]) -> u64 {\n    calls.iter().map(|call| call.tokens).sum()\n}\n\
                    // \"cached\" and fresh input are disjoint\n";

/// Writes session files below one configuration folder.
pub(crate) struct Logs {
    projects: PathBuf,
    text: String,
}

impl Logs {
    /// Files below `folder`, with so many bytes of text in each line.
    pub(crate) fn create(folder: &Path, text_bytes: usize) -> anyhow::Result<Self> {
        let projects = folder.join("projects");
        fs::create_dir_all(&projects)
            .with_context(|| format!("cannot make {}", projects.display()))?;
        Ok(Self {
            projects,
            text: TEXT.chars().cycle().take(text_bytes).collect(),
        })
    }

    /// Writes the files of some sessions, all of whose calls must be in `records`.
    pub(crate) fn add(&self, records: &[UsageRecord]) -> anyhow::Result<()> {
        let mut sessions: BTreeMap<&SessionKey, Vec<&UsageRecord>> = BTreeMap::new();
        for record in records {
            sessions.entry(&record.session).or_default().push(record);
        }
        for (key, records) in sessions {
            let folder = self.projects.join(project(&records));
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
            let path = folder.join(format!("{}.jsonl", key.0));
            let file = File::create_new(&path)
                .with_context(|| format!("cannot make {}", path.display()))?;
            let mut file = BufWriter::new(file);
            for record in records {
                for line in self.lines(record) {
                    writeln!(file, "{line}")?;
                }
            }
            file.flush()?;
        }
        Ok(())
    }

    /// What was asked, and what was replied.
    fn lines(&self, record: &UsageRecord) -> [Value; 2] {
        let asked = format!("{}-asked", record.identity);
        let mut replied = vec![
            ("type", json!("assistant")),
            ("uuid", json!(record.identity)),
            ("parentUuid", json!(asked)),
            // Readers take calls with the same two ids for one call.
            ("requestId", json!(record.identity.replace("msg", "req"))),
            ("message", self.message(record)),
        ];
        if record.call.model_served.is_none() {
            replied.push(("isApiErrorMessage", json!(true)));
        }
        let asked = vec![
            ("type", json!("user")),
            ("uuid", json!(asked)),
            ("message", json!({"role": "user", "content": self.text})),
        ];
        [asked, replied].map(|fields| object(shared(record).into_iter().chain(fields)))
    }

    fn message(&self, record: &UsageRecord) -> Value {
        let call = &record.call;
        // What Claude Code writes for messages that no model made.
        let model = call.model_served.as_deref().unwrap_or("<synthetic>");
        let reason = call.stop_reason.as_ref();
        object(
            [
                ("id", json!(call.response_id)),
                ("type", json!("message")),
                ("role", json!("assistant")),
                ("model", json!(model)),
                ("content", json!([{"type": "text", "text": self.text}])),
                ("usage", usage(&call.usage)),
            ]
            .into_iter()
            .chain(reason.map(|reason| ("stop_reason", json!(reason)))),
        )
    }
}

fn object<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let fields = fields.into_iter();
    Value::Object(
        fields
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

/// What all lines have. Readers refuse null in most fields, so what is unknown is absent.
fn shared(record: &UsageRecord) -> [(&'static str, Value); 7] {
    let process = record.process.as_deref();
    let time = jiff::Timestamp::from_millisecond(record.started_unix_ms).unwrap_or_default();
    let branch = process.and_then(|process| process.checkout.as_ref()?.branch.as_deref());
    [
        ("sessionId", json!(record.session.0)),
        ("timestamp", json!(format!("{time:.3}"))),
        ("cwd", json!(process.and_then(cwd).unwrap_or("/"))),
        ("gitBranch", json!(branch.unwrap_or_default())),
        ("isSidechain", json!(false)),
        ("userType", json!("external")),
        ("version", json!(VERSION)),
    ]
}

/// Usage as the API of Anthropic says it: input without both caches. What is unknown counts nothing.
fn usage(usage: &Usage) -> Value {
    let short = usage.cache_write_5m.unwrap_or(0);
    let long = usage.cache_write_1h.unwrap_or(0);
    json!({
        "input_tokens": usage.input_uncached.unwrap_or(0),
        "cache_read_input_tokens": usage.cache_read.unwrap_or(0),
        "cache_creation_input_tokens": short + long,
        "cache_creation": {
            "ephemeral_5m_input_tokens": short,
            "ephemeral_1h_input_tokens": long,
        },
        "output_tokens": usage.output.unwrap_or(0),
        "service_tier": "standard",
    })
}

/// The folder of a session's project: its working folder with dashes for slashes.
fn project(records: &[&UsageRecord]) -> String {
    let process = records.first().and_then(|record| record.process.as_deref());
    process.and_then(cwd).unwrap_or("/").replace('/', "-")
}

fn cwd(process: &Process) -> Option<&str> {
    process.cwd.as_deref()
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::make;

    /// Input, read from and written to a cache, output.
    type Tokens = [u64; 4];

    /// 2026-11-02.
    const TODAY: i64 = 20_759;

    /// Sums of the ledger by the key that SQL makes.
    fn stored(ledger: &Path, key: &str) -> BTreeMap<String, Tokens> {
        let connection = Connection::open(ledger).unwrap();
        let sql = format!(
            "SELECT {key}, total(input_uncached_tokens), total(cache_read_tokens),
                    total(cache_write_5m_tokens) + total(cache_write_1h_tokens), total(output_tokens)
             FROM v_request GROUP BY 1"
        );
        let mut statement = connection.prepare(&sql).unwrap();
        let row = |row: &rusqlite::Row<'_>| {
            let sum = |column| row.get::<_, f64>(column).map(|sum| sum as u64);
            Ok((row.get(0)?, [sum(1)?, sum(2)?, sum(3)?, sum(4)?]))
        };
        statement
            .query_map([], row)
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    /// Replies in the files below a folder, with the name of their file.
    fn replies(logs: &Path) -> Vec<(String, Value)> {
        let mut replies = Vec::new();
        for project in fs::read_dir(logs.join("projects")).unwrap() {
            for session in fs::read_dir(project.unwrap().path()).unwrap() {
                let path = session.unwrap().path();
                let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
                for line in fs::read_to_string(&path).unwrap().lines() {
                    let line: Value = serde_json::from_str(line).unwrap();
                    if line["type"] == "assistant" {
                        replies.push((name.clone(), line));
                    }
                }
            }
        }
        replies
    }

    fn sums(
        replies: &[(String, Value)],
        key: impl Fn(&str, &Value) -> String,
    ) -> BTreeMap<String, Tokens> {
        let mut sums: BTreeMap<String, Tokens> = BTreeMap::new();
        for (session, line) in replies {
            let usage = &line["message"]["usage"];
            let sum = sums.entry(key(session, line)).or_default();
            let columns = [
                "input_tokens",
                "cache_read_input_tokens",
                "cache_creation_input_tokens",
                "output_tokens",
            ];
            for (sum, column) in sum.iter_mut().zip(columns) {
                *sum += usage[column].as_u64().unwrap();
            }
        }
        sums
    }

    #[test]
    fn the_files_say_the_tokens_of_the_ledger_by_day_and_session_and_each_call_once() {
        let home = tempfile::tempdir().unwrap();
        let (ledger, folder) = (home.path().join("usage.db"), home.path().join("claude"));
        let logs = Logs::create(&folder, 0).unwrap();
        let made = make(&ledger, 3_000, 7, TODAY, Some(&logs)).unwrap();

        let replies = replies(&folder);

        assert_eq!(replies.len() as u64, made.calls);
        assert_eq!(
            sums(&replies, |session, _| session.to_owned()),
            stored(&ledger, "session_key")
        );
        let day = |_: &str, line: &Value| -> String {
            line["timestamp"]
                .as_str()
                .unwrap()
                .chars()
                .take(10)
                .collect()
        };
        assert_eq!(
            sums(&replies, day),
            stored(&ledger, "substr(started_utc, 1, 10)")
        );
        let mut ids: Vec<String> = replies
            .iter()
            .map(|(_, line)| format!("{} {}", line["message"]["id"], line["requestId"]))
            .collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), replies.len(), "ids are repeated");
    }

    #[test]
    fn no_field_is_null_and_each_line_has_the_text_that_was_asked_for() {
        let home = tempfile::tempdir().unwrap();
        let logs = Logs::create(&home.path().join("claude"), 100).unwrap();
        make(&home.path().join("usage.db"), 200, 1, TODAY, Some(&logs)).unwrap();

        for (_, line) in replies(&home.path().join("claude")) {
            assert!(!line.to_string().contains("null"), "{line}");
            assert_eq!(
                line["message"]["content"][0]["text"]
                    .as_str()
                    .unwrap()
                    .len(),
                100
            );
        }
    }
}
