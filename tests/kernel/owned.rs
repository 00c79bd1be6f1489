//! Whose calls were: what the ledger must say of clients that a test has run, and what must add up.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::compare::assert_same;
use crate::host::{Host, Words, user_name};
use crate::run::{Client, Who};

/// A client, and what the ledger must say of all its calls.
pub(crate) struct Part {
    /// What it is, for people.
    pub(crate) name: &'static str,
    /// What it runs.
    pub(crate) command: Words,
    /// Where.
    pub(crate) dir: PathBuf,
    /// What the ledger must say of all its calls, as [`owner`] gives it.
    pub(crate) owner: Value,
    /// Names of the processes above it, nearest first.
    pub(crate) above: &'static [&'static str],
}

/// What the ledger says of whose a call was.
const OWNERS: &str = "
    SELECT provider_response_id AS id, pid, client_name, ancestors_json, workflow, workflow_origin AS origin,
           billing_code AS code, uid, user_name AS user, systemd_unit AS unit,
           container_runtime AS runtime, container_id AS container, pod_uid AS pod, repo, branch
    FROM v_request WHERE provider_response_id IS NOT NULL";

/// What is compared of it.
const COMPARED: [&str; 11] = [
    "workflow",
    "origin",
    "code",
    "uid",
    "user",
    "unit",
    "runtime",
    "container",
    "pod",
    "repo",
    "branch",
];

/// An owner: those of [`COMPARED`] that are not null.
pub(crate) fn owner(workflow: &str, origin: &str, uid: u32, more: Value) -> Value {
    let mut owner = json!({ "workflow": workflow, "origin": origin, "uid": uid });
    let user = user_name(uid).map(|name| json!({ "user": name }));
    for more in [Some(more), user].into_iter().flatten() {
        let more = more.as_object().unwrap().clone();
        owner.as_object_mut().unwrap().extend(more);
    }
    owner
}

/// What the ledger says of the calls, by their ids.
pub(crate) fn owners(host: &Host) -> BTreeMap<String, Map<String, Value>> {
    let rows = host.rows(OWNERS).into_iter();
    rows.map(|row| (row["id"].as_str().unwrap().to_owned(), row))
        .collect()
}

fn compared(row: &Map<String, Value>) -> Value {
    let known = COMPARED.iter().filter(|name| !row[**name].is_null());
    known
        .map(|name| ((*name).to_owned(), row[*name].clone()))
        .collect::<Map<_, _>>()
        .into()
}

/// Names of the processes above a call's, nearest first.
pub(crate) fn above(row: &Map<String, Value>) -> Vec<(u64, String)> {
    let text = row["ancestors_json"].as_str().unwrap_or("[]");
    let ancestors: Value = serde_json::from_str(text).unwrap();
    let ancestors = ancestors.as_array().unwrap().iter();
    ancestors
        .map(|above| {
            let comm = above["comm"].as_str().unwrap();
            (above["pid"].as_u64().unwrap(), comm.to_owned())
        })
        .collect()
}

/// Plays all parts at once; gives what each printed, and the pid that it was started with. `None`,
/// with a `SKIP` line, where a program is missing.
pub(crate) fn play(host: &Host, parts: &[Part], test: &str) -> Option<Vec<(String, u32)>> {
    let started: Option<Vec<Client>> = parts
        .iter()
        .map(|part| Client::start(host.command(&part.command, &part.dir), test))
        .collect();
    let ended = started?.into_iter().map(|client| {
        let ended = client.succeed();
        (ended.stdout, ended.who.pid)
    });
    Some(ended.collect())
}

/// Fails unless the ledger has each part's calls, and those as it should. Gives the rows of each.
pub(crate) fn assert_owned(
    host: &Host,
    parts: &[Part],
    played: &[(String, u32)],
) -> Vec<Vec<Map<String, Value>>> {
    let owners = owners(host);
    let mut found = Vec::new();
    let mut wrong = Vec::new();
    for (part, (output, _)) in parts.iter().zip(played) {
        let ids = host.ids(output);
        assert!(!ids.is_empty(), "{} made no call:\n{output}", part.name);
        let rows: Vec<_> = ids.iter().map(|id| owners[id].clone()).collect();
        for row in &rows {
            let above = above(row).into_iter().map(|(_, comm)| comm);
            let above: Vec<String> = above.take(part.above.len()).collect();
            if compared(row) != part.owner || above != part.above {
                let expected = (&part.owner, part.above);
                wrong.push(format!("{}: {row:#?}\nshould be {expected:#?}", part.name));
            }
        }
        found.push(rows);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    found
}

/// What adds up.
const SUMMED: [&str; 9] = [
    "input_uncached_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "cache_write_other_tokens",
    "context_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nanousd",
];

/// Fails unless the sums by workflow, by quarter of an hour and by what else there is are those of the
/// calls. Gives the cost of all.
pub(crate) fn assert_conserved(host: &Host) -> Option<i64> {
    let sums = SUMMED.map(|column| format!("sum({column})")).join(", ");
    let of = |calls: &str, from: &str| {
        let sql = format!("SELECT json_array(sum({calls}), {sums}) FROM {from}");
        host.place.text(&sql)
    };
    let whole = of("is_call", "v_request");
    for view in ["v_usage_15m", "v_daily", "v_workflow_daily", "v_unit"] {
        assert_eq!(of("request_count", view), whole, "{view}");
    }
    let by = |calls: &str, keys: &str, from: &str| {
        host.place.text(&format!(
            "SELECT group_concat(sums, char(10)) FROM (
                 SELECT json_array({keys}, sum({calls}), {sums}) AS sums
                 FROM {from} GROUP BY {keys} ORDER BY {keys})"
        ))
    };
    for keys in [
        "workflow, workflow_origin, billing_code",
        "uid, user_name",
        "systemd_unit",
        "repo, branch",
        "provider, client_name, task_type",
    ] {
        let calls = by("is_call", keys, "v_request");
        assert_eq!(by("request_count", keys, "v_usage_15m"), calls);
    }
    for (what, sql) in [
        (
            "calls without a workflow",
            "SELECT count(*) FROM v_request WHERE workflow IS NULL",
        ),
        (
            "calls that a sum has under another workflow",
            "SELECT count(*) FROM v_request AS r JOIN usage_key AS k USING (usage_key_id)
             JOIN session AS s USING (session_id) WHERE s.workflow_id <> k.workflow_id",
        ),
        (
            "calls of sessions that another workflow should pay",
            "SELECT sum(workflow_conflicts) FROM v_session",
        ),
    ] {
        assert_eq!(host.place.number(sql), 0, "{what}");
    }
    let whole: Value = serde_json::from_str(&whole).unwrap();
    whole[SUMMED.len()].as_i64()
}

/// What was served and the ledger are the same, whoever it was.
pub(crate) fn assert_served(host: &Host) {
    let rows = host.place.rows();
    assert_same(&host.endpoint.served(), &rows, |call| {
        let row = rows.iter().find(|row| row.id == call.id).unwrap();
        Who {
            pid: row.pid.unwrap(),
            exe: row.exe.clone().unwrap(),
        }
    });
}
