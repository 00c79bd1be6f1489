//! Golden tests: recordings of whole conversations give exactly these calls.
//!
//! Each folder of `tests/corpus` holds a recording, made by `bpftok record` of real clients that
//! talked to our endpoint, and the calls and counters that the line must make of it.
//! `BLESS=1 cargo test -p agent-core --test golden` writes what it makes now; review the diff.
//! What the endpoint itself wrote down of the calls lies beside, so that what is blessed is also
//! true.
//!
//! `tests/corpus/synthetic` holds exchanges of every API as text, from which recordings are made.

#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "the ban keeps files out of the core, not out of its tests"
    )
)]

#[cfg(test)]
mod synthetic;
#[cfg(test)]
mod vocabularies;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::{Path, PathBuf};

    use agent_core::event::Event;
    use agent_core::pipeline::{Output, Settings, replay};
    use agent_core::recording::{self, Frame};
    use agent_core::session::UsageRecord;
    use agent_core::stats::Stats;
    use serde_json::{Value, json};
    use test_support::{Outcome, Reported, Served, Tokens};

    use crate::synthetic::halves;

    const RECORDING: &str = "recording.bpftok";
    const EXPECTED: &str = "expected.json";
    const SERVED: &str = "served.jsonl";

    /// Folders whose recording began in the middle of a call, which can be known in part at most.
    const BEGUN_LATE: [&str; 3] = [
        "joined-midway",
        "joined-midway-http2",
        "joined-midway-websocket",
    ];

    fn corpus() -> Vec<PathBuf> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus");
        let mut folders: Vec<_> = fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.join(RECORDING).exists())
            .collect();
        folders.sort();
        folders
    }

    fn call(record: &UsageRecord) -> Value {
        let call = &record.call;
        json!({
            "process": record.process.as_ref().map(|p| json!([p.comm, p.exe, p.uid])),
            "client": [record.client.name, record.client.version],
            "session": [record.session.0, record.key_source.as_str()],
            "identity": record.identity,
            "started_unix_ms": record.started_unix_ms,
            "ttft_ms": record.ttft_ms,
            "duration_ms": record.duration_ms,
            "provider": call.provider.0,
            "endpoint": call.endpoint.as_str(),
            "server_name": call.server_name,
            "model": [call.model_requested, call.model_served],
            "is_stream": call.is_stream,
            "http_status": call.http_status,
            "outcome": call.outcome.as_str(),
            "stop_reason": call.stop_reason,
            "billing_kind": call.terms.credential.as_str(),
            "usage_source": call.usage_source.as_str(),
            "usage": {
                "input_uncached": call.usage.input_uncached,
                "cache_read": call.usage.cache_read,
                "cache_write_5m": call.usage.cache_write_5m,
                "cache_write_1h": call.usage.cache_write_1h,
                "cache_write_other": call.usage.cache_write_other,
                "output": call.usage.output,
                "reasoning": call.usage.reasoning,
            },
        })
    }

    fn document(outputs: &[Output], stats: &Stats) -> Value {
        let calls: Vec<_> = outputs
            .iter()
            .filter_map(|output| {
                if let Output::Usage(record) = output {
                    Some(call(record))
                } else {
                    None
                }
            })
            .collect();
        let mut counters = serde_json::to_value(stats).unwrap();
        counters
            .as_object_mut()
            .unwrap()
            .retain(|_, count| *count != json!(0));
        json!({ "calls": calls, "coverage": coverage(outputs), "counters": counters })
    }

    fn coverage(outputs: &[Output]) -> Vec<Value> {
        outputs
            .iter()
            .filter_map(|output| {
                let Output::Coverage(minute) = output else {
                    return None;
                };
                Some(json!({
                    "minute_unix_ms": minute.minute_unix_ms,
                    "process": minute.process.as_ref().map(|process| &process.comm),
                    "outcome": minute.outcome.as_str(),
                    "events": minute.events,
                    "bytes": minute.bytes,
                }))
            })
            .collect()
    }

    #[test]
    fn recordings_give_exactly_these_calls() {
        let folders = corpus();
        assert!(!folders.is_empty(), "the corpus is missing");
        for folder in folders {
            let bytes = fs::read(folder.join(RECORDING)).unwrap();
            let frames = recording::read(&bytes).unwrap();
            let (outputs, stats) = replay(Settings::default(), &frames);
            let made = document(&outputs, &stats);
            let expected = folder.join(EXPECTED);
            if std::env::var_os("BLESS").is_some() {
                fs::write(&expected, format!("{made:#}\n")).unwrap();
            }
            let text = fs::read_to_string(&expected).unwrap();
            let wanted: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(made, wanted, "{}", folder.display());
        }
    }

    /// What the endpoint wrote down. It learns of a client's hang-up late: the last line of a
    /// number counts.
    fn served(folder: &Path) -> Vec<Served> {
        let text = fs::read_to_string(folder.join(SERVED)).unwrap();
        let calls: BTreeMap<u64, Served> = text
            .lines()
            .map(|line| serde_json::from_str::<Served>(line).unwrap())
            .map(|call| (call.number, call))
            .collect();
        calls.into_values().collect()
    }

    /// The records of a call: by the id of its response, or for a refused call, which has none, by
    /// its status, which its repetitions share.
    fn records_of<'a>(records: &[&'a UsageRecord], call: &Served) -> Vec<&'a UsageRecord> {
        let is_its = |record: &&UsageRecord| match &call.id {
            Some(id) => record.call.response_id.as_ref() == Some(id),
            None => {
                record.call.response_id.is_none() && record.call.http_status == Some(call.status)
            }
        };
        records.iter().copied().filter(is_its).collect()
    }

    /// The tokens of a record; a class that an API does not know is 0.
    fn tokens(record: &UsageRecord) -> Tokens {
        let usage = &record.call.usage;
        let count = |tokens: Option<u64>| tokens.unwrap_or(0);
        Tokens {
            input_uncached: count(usage.input_uncached),
            cache_read: count(usage.cache_read),
            cache_write_5m: count(usage.cache_write_5m),
            cache_write_1h: count(usage.cache_write_1h),
            cache_write_other: count(usage.cache_write_other),
            output: count(usage.output),
            reasoning: count(usage.reasoning),
        }
    }

    #[test]
    fn the_calls_are_those_that_were_served() {
        for folder in corpus() {
            let bytes = fs::read(folder.join(RECORDING)).unwrap();
            let frames = recording::read(&bytes).unwrap();
            let (outputs, _) = replay(Settings::default(), &frames);
            let records: Vec<&UsageRecord> = outputs
                .iter()
                .filter_map(|output| match output {
                    Output::Usage(record) => Some(record.as_ref()),
                    Output::Coverage(_)
                    | Output::Quota { .. }
                    | Output::Running(_)
                    | Output::ProcessExited { .. }
                    | Output::Ignore(_) => None,
                })
                .collect();
            let served = served(&folder);
            let is_late = BEGUN_LATE.iter().any(|name| folder.ends_with(name));
            if !is_late {
                assert_eq!(records.len(), served.len(), "{}", folder.display());
            }
            for call in &served {
                let found = records_of(&records, call);
                assert!(is_late || !found.is_empty(), "missing: {call:?}");
                assert!(call.id.is_none() || found.len() <= 1, "{call:?}: {found:?}");
                for record in found {
                    compare(record, call);
                }
            }
        }
    }

    fn compare(record: &UsageRecord, call: &Served) {
        let made = &record.call;
        assert_eq!(made.endpoint.as_str(), call.api.as_str(), "{call:?}");
        assert_eq!(made.http_status, Some(call.status), "{call:?}");
        assert_eq!(made.model_requested, call.model_requested, "{call:?}");
        assert_eq!(made.model_served, call.model_served, "{call:?}");
        assert_eq!(made.is_stream, call.stream, "{call:?}");
        let outcome = match call.outcome {
            Outcome::Complete => "complete",
            Outcome::Aborted => "aborted",
            Outcome::Error => "error",
        };
        assert_eq!(made.outcome.as_str(), outcome, "{call:?}");
        let source = made.usage_source.as_str();
        match call.reported {
            Reported::Everything => {
                assert_eq!(
                    (source, tokens(record)),
                    ("provider", call.usage),
                    "{call:?}"
                );
            }
            Reported::Input => {
                let input = (source, tokens(record).input());
                assert_eq!(input, ("provider_partial", call.usage.input()), "{call:?}");
            }
            Reported::Nothing => {
                assert!(
                    ["estimated", "none"].contains(&source),
                    "{call:?}: {source}"
                );
            }
        }
    }

    #[test]
    fn chunks_cut_anywhere_give_the_same_calls() {
        for folder in corpus() {
            let bytes = fs::read(folder.join(RECORDING)).unwrap();
            let frames = recording::read(&bytes).unwrap();
            let (whole, _) = replay(Settings::default(), &frames);
            let cut: Vec<_> = frames.iter().flat_map(cut_in_two).collect();
            let mut line = agent_core::pipeline::Pipeline::new(Settings::default());
            let mut outputs = Vec::new();
            for event in &cut {
                line.handle(event);
                outputs.extend(std::iter::from_fn(|| line.poll_output()));
            }
            line.finish(cut.iter().filter_map(Event::at).max().unwrap_or_default());
            outputs.extend(std::iter::from_fn(|| line.poll_output()));
            let calls = |outputs: &[Output]| {
                outputs
                    .iter()
                    .filter(|output| matches!(output, Output::Usage(_)))
                    .cloned()
                    .collect::<Vec<_>>()
            };
            assert_eq!(calls(&outputs), calls(&whole), "{}", folder.display());
        }
    }

    /// A chunk as two, cut at a place that follows from its offset.
    fn cut_in_two(frame: &Frame<'_>) -> Vec<Event> {
        match frame.event() {
            Ok(Event::Chunk {
                offset, ref bytes, ..
            }) if bytes.len() > 1 => {
                let middle = 1 + usize::try_from(offset).unwrap() * 7 % (bytes.len() - 1);
                halves(&frame.event().unwrap(), middle)
            }
            Ok(event) => vec![event],
            Err(_malformed) => Vec::new(),
        }
    }
}

#[cfg(not(test))]
fn main() {}
