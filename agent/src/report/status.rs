//! `bpftok status`: whether an agent runs, and what it sees.

use serde_json::json;

use super::callers::{Calls, callers};
use super::table::{self, write_json};
use super::text::{duration, grouped, visible};
use super::{Error, Format, Found, JSON_SCHEMA_VERSION, Page};
use crate::store::{AgentStatus, PrunedCalls, Reader};

/// Writes what the agent last said about itself. Nothing is found where none runs.
///
/// # Errors
/// All of [`Error`].
pub fn status(page: &mut Page<'_>, reader: &Reader) -> Result<Found, Error> {
    let (status, is_running) = reader.status()?;
    let pruned = reader.pruned_calls()?;
    let found = if is_running {
        Found::Something
    } else {
        Found::Nothing
    };
    if page.format == Format::Json {
        let document = json!({
            "schema_version": JSON_SCHEMA_VERSION,
            "generated_at": page.now.to_string(),
            "is_running": is_running,
            "ledger": reader.path().display().to_string(),
            "requests_pruned_before": pruned.before_ms.map(table::utc),
            "requests_capped_before": pruned.capped_before_ms.map(table::utc),
            "agent": status,
        });
        write_json(page.out, &document)?;
        return Ok(found);
    }
    let ledger = visible(&reader.path().display().to_string()).into_owned();
    let Some(status) = status else {
        let state = if is_running {
            "An agent starts"
        } else {
            "No agent runs"
        };
        writeln!(
            page.out,
            "{state} on {ledger}, and none has said anything yet. Start one: sudo bpftok run"
        )?;
        return Ok(found);
    };
    write_agent(page, &status, is_running, &ledger)?;
    write_kept(page, pruned)?;
    write_list(page, &status)?;
    Ok(found)
}

fn write_agent(
    page: &mut Page<'_>,
    status: &AgentStatus,
    is_running: bool,
    ledger: &str,
) -> Result<(), Error> {
    let at = |ms| table::moment(ms, &page.zone, "%Y-%m-%d %H:%M:%S %Z");
    let age = |ms: i64| duration(u64::try_from(page.now.as_millisecond() - ms).unwrap_or(0));
    let state = if is_running {
        format!("running for {}", age(status.started_unix_ms))
    } else {
        format!(
            "not running; last heard of at {} ({} ago)",
            at(status.updated_unix_ms),
            age(status.updated_unix_ms)
        )
    };
    writeln!(page.out, "agent    {state}")?;
    writeln!(
        page.out,
        "         pid {}, version {}",
        status.pid,
        visible(&status.version)
    )?;
    writeln!(page.out, "started  {}", at(status.started_unix_ms))?;
    writeln!(page.out, "updated  {}", at(status.updated_unix_ms))?;
    writeln!(page.out, "ledger   {ledger}")?;
    let probes = match status.attach_kind.as_str() {
        "" => "its probes are not set yet".to_owned(),
        kind => format!("probes by {}", visible(kind)),
    };
    writeln!(page.out, "kernel   {}, {probes}", visible(&status.kernel))?;
    if !status.capabilities.is_empty() {
        let names = status.capabilities.join(", ");
        writeln!(page.out, "rights   {}", visible(&names))?;
    }
    Ok(())
}

/// Says which calls the ledger still has.
fn write_kept(page: &mut Page<'_>, pruned: PrunedCalls) -> Result<(), Error> {
    let at = |ms| table::moment(ms, &page.zone, "%Y-%m-%d %H:%M %Z");
    if let Some(ms) = pruned.before_ms {
        writeln!(
            page.out,
            "kept     calls since {}; of those before, their sums",
            at(ms)
        )?;
    }
    if let Some(ms) = pruned.capped_before_ms {
        writeln!(
            page.out,
            "         retention.max_mb was reached: those before {} went early",
            at(ms)
        )?;
    }
    Ok(())
}

fn write_list(page: &mut Page<'_>, status: &AgentStatus) -> Result<(), Error> {
    if !status.self_check.is_empty() {
        writeln!(page.out, "checked  {}", visible(&status.self_check))?;
    }
    writeln!(page.out, "hooked   {}", files(status.hooked.len()))?;
    for file in &status.hooked {
        writeln!(page.out, "         {}", visible(&file.path))?;
        writeln!(
            page.out,
            "             {}",
            visible(&file.functions.join(" "))
        )?;
    }
    if !status.failed.is_empty() {
        writeln!(page.out, "failed   {}", files(status.failed.len()))?;
        for file in &status.failed {
            writeln!(page.out, "         {}", visible(&file.path))?;
            writeln!(page.out, "             {}", visible(&file.reason))?;
        }
    }
    if !status.callers.is_empty() {
        writeln!(
            page.out,
            "\nProcesses that talked to LLM hosts within an hour before that:"
        )?;
        callers(page.out, page.width, &status.callers, Calls::Counted)?;
        writeln!(page.out)?;
    }
    for sentence in &status.degraded {
        writeln!(page.out, "degraded {}", visible(sentence))?;
    }
    let mut counters: Vec<(&String, u64)> = status
        .counters
        .iter()
        .filter_map(|(name, value)| value.as_u64().map(|value| (name, value)))
        .filter(|(_, value)| *value > 0)
        .collect();
    counters.sort();
    if !counters.is_empty() {
        writeln!(page.out, "counted  (what is not named is 0)")?;
    }
    let widest = counters
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0);
    for (name, value) in counters {
        writeln!(
            page.out,
            "         {:<widest$}  {:>15}",
            visible(name),
            grouped(value)
        )?;
    }
    Ok(())
}

fn files(count: usize) -> String {
    if count == 1 {
        "1 file".to_owned()
    } else {
        format!("{count} files")
    }
}
