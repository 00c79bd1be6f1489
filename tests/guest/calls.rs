//! Calls that other users' services make, and what the ledger has of them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use test_support::{Api, Endpoint, Options, Tokens};

use crate::host::{CALLER, Host, LEDGER, ledger, systemctl};

/// Where the endpoint's files lie: all users may read its authority's certificate.
const ENDPOINT: &str = "/run/endpoint";

/// A provider on loopback. Its prompts grow from call to call: sudden changes would be a runaway.
pub(crate) fn provider() -> Endpoint {
    fs::create_dir_all(ENDPOINT).unwrap();
    fs::set_permissions(ENDPOINT, fs::Permissions::from_mode(0o755)).unwrap();
    let usage = (1..=16).map(|number| Tokens {
        input_uncached: 100 + number,
        cache_read: 1_000 * number,
        output: 10 + number,
        ..Tokens::default()
    });
    let options = Options {
        usage: usage.collect(),
        ..Options::default()
    };
    Endpoint::start_in(Path::new(ENDPOINT), options).unwrap()
}

/// One call in the ledger: whose it was, and its tokens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Call {
    pub(crate) id: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) uid: Option<u32>,
    pub(crate) unit: Option<String>,
    pub(crate) exe: Option<String>,
    pub(crate) outcome: String,
    pub(crate) input_uncached: Option<i64>,
    pub(crate) cache_read: Option<i64>,
    pub(crate) output: Option<i64>,
}

/// The ledger's calls of this provider by their ids; none while there is no ledger.
pub(crate) fn in_ledger(endpoint: &Endpoint) -> Vec<Call> {
    if !Path::new(LEDGER).exists() {
        return Vec::new();
    }
    let ledger = ledger(LEDGER);
    let mut statement = ledger
        .prepare(
            "SELECT provider_response_id, user_name, uid, systemd_unit, exe_path, outcome,
                    input_uncached_tokens, cache_read_tokens, output_tokens
             FROM v_request ORDER BY provider_response_id",
        )
        .unwrap();
    let calls = statement
        .query_map([], |row| {
            Ok(Call {
                id: row.get(0)?,
                user: row.get(1)?,
                uid: row.get(2)?,
                unit: row.get(3)?,
                exe: row.get(4)?,
                outcome: row.get(5)?,
                input_uncached: row.get(6)?,
                cache_read: row.get(7)?,
                output: row.get(8)?,
            })
        })
        .unwrap();
    let tag = endpoint.tag();
    let is_of_it = |call: &Call| call.id.as_ref().is_none_or(|id| id.contains(&tag));
    calls.map(Result::unwrap).filter(is_of_it).collect()
}

/// The calls that were served, as the ledger should have them if services of this name made them.
fn served(endpoint: &Endpoint, unit: &str) -> Vec<Call> {
    let served = endpoint.served().into_iter().map(|call| Call {
        id: call.id,
        user: Some(CALLER.to_owned()),
        uid: Some(1_001),
        unit: Some(unit.to_owned()),
        exe: Some("/usr/bin/curl".to_owned()),
        outcome: "complete".to_owned(),
        input_uncached: Some(call.usage.input_uncached.try_into().unwrap()),
        cache_read: Some(call.usage.cache_read.try_into().unwrap()),
        output: Some(call.usage.output.try_into().unwrap()),
    });
    let mut served: Vec<_> = served.collect();
    served.sort();
    served
}

/// Has a service of the caller's make `count` calls, each by a curl of its own.
pub(crate) fn make(endpoint: &Endpoint, unit: &str, count: usize) {
    let url = format!("{}{}", endpoint.url(), Api::AnthropicMessages.path());
    let body = r#"{"model":"claude-sonnet-4-6","max_tokens":64,"messages":[{"role":"user","content":"Question WHICH"}]}"#;
    // The same question three times would be a runaway.
    let body = body.replace("WHICH", "'$$.$i'");
    let script = format!(
        "#!/bin/sh\nset -e\nfor i in $(seq {count}); do\n  curl --silent --show-error --fail --max-time 60 \
         --cacert {ca} --header 'content-type: application/json' --data-binary '{body}' --output /dev/null {url}\ndone\n",
        ca = endpoint.ca_path().display(),
    );
    let path = format!("/run/{unit}.sh");
    fs::write(&path, script).unwrap();
    let service = format!("[Service]\nType=oneshot\nUser={CALLER}\nExecStart=/bin/sh {path}\n");
    fs::write(format!("/run/systemd/system/{unit}"), service).unwrap();
    systemctl(&["daemon-reload"]);
    // It returns when the calls are made.
    systemctl(&["start", unit]);
}

/// Waits until the ledger has exactly the calls that were served.
#[track_caller]
pub(crate) fn expect_all(host: &Host, endpoint: &Endpoint, unit: &str) {
    let expected = served(endpoint, unit);
    host.wait("the calls are in the ledger", || {
        in_ledger(endpoint).len() >= expected.len()
    });
    assert_eq!(in_ledger(endpoint), expected);
}
