//! What was served against what is in the ledger.

use std::collections::{BTreeSet, HashMap};

use test_support::{Api, Outcome, Reported, Served};

use crate::agent::Row;
use crate::run::Who;

/// Fails with every difference between what was served and the ledger's rows. `who` says which
/// process made a call.
pub(crate) fn assert_same(served: &[Served], rows: &[Row], who: impl Fn(&Served) -> Who) {
    let mut differences = Vec::new();
    let mut by_id: HashMap<&str, Vec<&Row>> = HashMap::new();
    let mut without_id: Vec<&Row> = Vec::new();
    // Calls without an id can be anybody's on this host.
    let pids: BTreeSet<_> = served.iter().map(|call| Some(who(call).pid)).collect();
    for row in rows {
        match &row.id {
            Some(id) => by_id.entry(id).or_default().push(row),
            None if pids.contains(&row.pid) => without_id.push(row),
            None => {}
        }
    }
    for call in served {
        let row = match &call.id {
            Some(id) => match by_id.remove(id.as_str()).as_deref() {
                Some([row]) => *row,
                Some(rows) => {
                    differences.push(format!("{} times in the ledger: {call:?}", rows.len()));
                    continue;
                }
                None => {
                    differences.push(format!("missing in the ledger: {call:?}"));
                    continue;
                }
            },
            None => {
                let found = without_id.iter().position(|row| {
                    row.status == Some(call.status) && row.model_requested == call.model_requested
                });
                match found {
                    // In their order: others may look the same.
                    Some(index) => without_id.remove(index),
                    None => {
                        differences.push(format!("missing in the ledger: {call:?}"));
                        continue;
                    }
                }
            }
        };
        compare(call, row, &who(call), &mut differences);
    }
    for row in by_id.into_values().flatten().chain(without_id) {
        differences.push(format!("never served: {row:?}"));
    }
    assert!(
        differences.is_empty(),
        "{} served, {} rows, {} differences:\n{}",
        served.len(),
        rows.len(),
        differences.len(),
        differences.join("\n")
    );
}

fn compare(call: &Served, row: &Row, who: &Who, differences: &mut Vec<String>) {
    let mut differ = |field: &str, expected: &dyn std::fmt::Debug, found: &dyn std::fmt::Debug| {
        let id = call.id.as_deref().unwrap_or("a call without id");
        differences.push(format!(
            "{id}: {field} should be {expected:?}, is {found:?}"
        ));
    };
    let mut same = |field: &str, expected: &str, found: &str| {
        if expected != found {
            differ(field, &expected, &found);
        }
    };
    same("endpoint", call.api.as_str(), &row.endpoint);
    same("exe", &who.exe, row.exe.as_deref().unwrap_or_default());
    let outcome = match call.outcome {
        Outcome::Complete => "complete",
        Outcome::Aborted => "aborted",
        Outcome::Error => "error",
    };
    same("outcome", outcome, &row.outcome);
    if row.pid != Some(who.pid) {
        differ("pid", &who.pid, &row.pid);
    }
    if row.model_requested != call.model_requested {
        differ(
            "model_requested",
            &call.model_requested,
            &row.model_requested,
        );
    }
    if row.model_served != call.model_served {
        differ("model_served", &call.model_served, &row.model_served);
    }
    if row.stop_reason != call.stop_reason && call.outcome == Outcome::Complete {
        differ("stop_reason", &call.stop_reason, &row.stop_reason);
    }
    if row.is_stream != call.stream {
        differ("is_stream", &call.stream, &row.is_stream);
    }
    if row.status != Some(call.status) {
        differ("http_status", &call.status, &row.status);
    }
    let sources = usage_sources(call);
    if !sources.contains(&row.usage_source.as_str()) {
        differ("usage_source", &sources, &row.usage_source);
    }
    compare_tokens(call, row, &mut differ);
}

/// Where the figures of a call may come from.
fn usage_sources(call: &Served) -> &'static [&'static str] {
    match (call.reported, call.outcome) {
        (Reported::Everything, _) => &["provider"],
        (Reported::Input, _) => &["provider_partial"],
        // A refused call used nothing.
        (Reported::Nothing, Outcome::Error) if call.status >= 400 => &["none"],
        // A stream that failed may have been billed; what was seen of it can be counted.
        (Reported::Nothing, Outcome::Error) => &["estimated", "none"],
        (Reported::Nothing, Outcome::Complete | Outcome::Aborted) => &["estimated"],
    }
}

fn compare_tokens(
    call: &Served,
    row: &Row,
    differ: &mut impl FnMut(&str, &dyn std::fmt::Debug, &dyn std::fmt::Debug),
) {
    let usage = &call.usage;
    let expected = [
        ("input_uncached_tokens", usage.input_uncached),
        ("cache_read_tokens", usage.cache_read),
        ("cache_write_5m_tokens", usage.cache_write_5m),
        ("cache_write_1h_tokens", usage.cache_write_1h),
        ("cache_write_other_tokens", usage.cache_write_other),
        ("output_tokens", usage.output),
        ("reasoning_tokens", usage.reasoning),
    ];
    let on_the_wire = match call.reported {
        Reported::Everything => expected.len(),
        Reported::Input => 5,
        Reported::Nothing => 0,
    };
    for ((field, expected), found) in expected.into_iter().zip(row.tokens).take(on_the_wire) {
        // A class that an API does not know is unknown in the ledger, and 0 here.
        let is_same = found == Some(expected) || (expected == 0 && found.is_none());
        if !is_same {
            differ(field, &expected, &found);
        }
    }
    if row.usage_source == "estimated" {
        // No token is shorter than a byte; a message has a few tokens of its own.
        let bounds = [
            (
                "input_uncached_tokens",
                row.tokens[0],
                call.text_in_bytes + 64,
            ),
            ("output_tokens", row.tokens[5], call.text_out_bytes + 16),
        ];
        for (field, found, most) in bounds {
            let least = u64::from(call.outcome == Outcome::Complete);
            if !found.is_some_and(|found| (least..=most).contains(&found)) {
                differ(field, &(least..=most), &found);
            }
        }
    }
    // OpenAI's caches have no lifetime in the ledger's two columns.
    let has_lifetimes = matches!(
        call.api,
        Api::AnthropicMessages | Api::BedrockConverse | Api::BedrockInvoke
    );
    if !has_lifetimes && (row.tokens[2].or(row.tokens[3])).unwrap_or(0) > 0 {
        differ("cache_write_5m_tokens", &0, &row.tokens[2]);
    }
}
