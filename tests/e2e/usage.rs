//! The grammar of usage reports: dimensions, filters, windows, zones, and the window before.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Arc;

use agent_core::event::{Checkout, Container, Process};
use agent_core::llm::Outcome;
use agent_core::pipeline::{CoverageOutcome, Output};
use agent_core::session::{SessionKey, TaskType, Thread, ThreadKind, UsageRecord};
use agent_core::workflow::{Origin, Workflow};
use serde_json::Value;

use crate::world::{
    Home, assert_golden, coverage, estimated, ms, priced, process, ran, record, unknown, usage,
};

/// The dimensions that are no time, and the field that names their values.
pub(crate) const DIMENSIONS: [(&str, &str); 20] = [
    ("workflow", "workflow"),
    ("billing-code", "billing_code"),
    ("session", "session_key"),
    ("client", "client_name"),
    ("process", "pid"),
    ("unit", "systemd_unit"),
    ("container", "container"),
    ("user", "user_name"),
    ("repo", "repo"),
    ("branch", "branch"),
    ("model", "model"),
    ("provider", "provider"),
    ("task", "task_type"),
    ("thread-kind", "thread_kind"),
    ("length-bucket", "length_bucket_requests"),
    ("length-duration", "length_bucket_duration"),
    ("length-context", "length_bucket_context"),
    ("outcome", "outcome"),
    ("host", "host_name"),
    ("billing", "billing_kind"),
];

fn workflow(name: &str, billing_code: Option<&str>) -> Arc<Workflow> {
    Arc::new(Workflow {
        name: name.to_owned(),
        origin: Origin::Rule,
        billing_code: billing_code.map(str::to_owned),
        labels: Vec::new(),
    })
}

/// A process in a working tree, a unit and a container.
fn placed(pid: u32, repo: Option<(&str, &str)>) -> Arc<Process> {
    let mut process = Process::clone(&process(pid, "node", "/usr/bin/node", "dana"));
    process.checkout = repo.map(|(repo, branch)| Checkout {
        root: format!("/home/dana/src/{repo}"),
        repo: repo.to_owned(),
        branch: Some(branch.to_owned()),
    });
    process.uid = 1_000;
    process.unit = (pid % 2 == 1).then(|| "nightly-triage.service".to_owned());
    process.container = pid.is_multiple_of(3).then(|| Container {
        name: Some("shop-web".to_owned()),
        ..Container::default()
    });
    Arc::new(process)
}

fn subagent(key: &str, parent: &str, agent_type: &str, depth: u32) -> Thread {
    Thread {
        key: key.to_owned(),
        parent: Some(parent.to_owned()),
        kind: ThreadKind::Subagent,
        agent_type: Some(agent_type.to_owned()),
        depth,
    }
}

/// A call of one of a few of everything, at any second of six days.
fn any_call(random: &mut fastrand::Rng, number: usize, first: &str) -> UsageRecord {
    let identity = format!("call_{number}");
    let mut record = match random.u8(0..8) {
        0 => unknown(&identity, first),
        1 | 2 => estimated(&identity, first),
        _ => record(&identity, first),
    };
    record.identity = format!("{}:{identity}", record.call.provider.0);
    record.started_unix_ms += random.i64(0..6 * 86_400) * 1_000;
    let session = random.usize(0..12);
    record.session = SessionKey(format!("session-{session}"));
    record.workflow = match session % 3 {
        0 => workflow("nightly-triage", Some("CC-4410")),
        1 => workflow("claude-code/web", None),
        _ => Arc::new(Workflow::unattributed()),
    };
    record.task = random
        .choice([TaskType::Coding, TaskType::Chat, TaskType::Auxiliary])
        .unwrap();
    record.is_human_turn = random.bool();
    if random.u8(0..6) == 0 {
        record.call.outcome = Outcome::Error;
    }
    if record.cost.cost_nanousd.is_some() {
        record.cost = priced(random.u64(1..1_000_000_000));
    }
    if random.bool() {
        record.thread = subagent("agent-1", "", "reviewer", 1);
    }
    let repo = random.choice([None, Some(("shop", "main")), Some(("site", "main"))]);
    record.process = Some(placed(7_000 + random.u32(0..6), repo.unwrap()));
    record
}

pub(crate) fn some_calls(seed: u64, count: usize, first: &str) -> Vec<UsageRecord> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count)
        .map(|number| any_call(&mut random, number, first))
        .collect()
}

pub(crate) fn ledger(calls: &[UsageRecord]) -> Home {
    let outputs: Vec<Output> = calls.iter().cloned().map(usage).collect();
    Home::with(&outputs)
}

pub(crate) fn document(home: &Home, arguments: &[&str]) -> Value {
    let ran = home.run(arguments.iter().chain(&["--json"]));
    assert_eq!(ran.err, "", "{arguments:?}");
    serde_json::from_str(&ran.out).unwrap()
}

/// Requests, sessions and cost of a row.
fn amounts(row: &Value) -> (u64, u64, u64) {
    let number = |name: &str| row[name].as_u64().unwrap_or(0);
    (
        number("requests"),
        number("sessions"),
        number("cost_nanousd"),
    )
}

/// Requests, cost, output and sessions by local day, from the calls themselves.
fn by_day(calls: &[UsageRecord], zone: &str) -> Vec<(String, [u64; 4])> {
    let zone = jiff::tz::TimeZone::get(zone).unwrap();
    let mut days = BTreeMap::<String, [u64; 4]>::new();
    let mut seen = BTreeSet::new();
    for call in calls {
        let moment = jiff::Timestamp::from_millisecond(call.started_unix_ms).unwrap();
        let day = moment.to_zoned_datetime(zone.clone()).date().to_string();
        let is_new = seen.insert((day.clone(), &call.session));
        let [requests, cost, output, sessions] = days.entry(day).or_default();
        *sessions += u64::from(is_new);
        *requests += 1;
        *cost += call.cost.cost_nanousd.unwrap_or(0);
        *output += call.call.usage.output.unwrap_or(0);
    }
    days.into_iter().collect()
}

/// A quarter of an hour is the largest period of which every zone's days are made; that days of 23
/// and 25 hours come out too.
#[test]
fn days_of_every_zone_are_the_sums_of_their_calls_also_when_clocks_change() {
    for (first, zones) in [
        (
            "2026-03-26T00:00:00Z",
            &["Europe/Berlin", "Asia/Kathmandu", "Asia/Kolkata"][..],
        ),
        (
            "2026-10-22T00:00:00Z",
            &["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"],
        ),
        (
            "2026-10-30T00:00:00Z",
            &["America/St_Johns", "America/New_York", "Pacific/Chatham"],
        ),
    ] {
        let calls = some_calls(7, 400, first);
        let home = ledger(&calls);
        for zone in zones {
            let found = document(
                &home,
                &[
                    "daily",
                    "--tz",
                    zone,
                    "--since",
                    "2026-01-01",
                    "--until",
                    "2026-12-31",
                ],
            );
            let rows: Vec<(String, [u64; 4])> = found["rows"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| {
                    let number = |name: &str| row[name].as_u64().unwrap_or(0);
                    (
                        row["day"].as_str().unwrap().to_owned(),
                        [
                            number("requests"),
                            number("cost_nanousd"),
                            number("output_tokens"),
                            number("sessions"),
                        ],
                    )
                })
                .collect();
            assert_eq!(rows, by_day(&calls, zone), "{zone}");
            assert_eq!(found["timezone"], *zone);
        }
    }
}

#[test]
fn a_window_that_cuts_quarters_of_an_hour_has_exactly_its_calls() {
    let calls = some_calls(3, 300, "2026-11-01T00:00:00Z");
    let home = ledger(&calls);
    let mut random = fastrand::Rng::with_seed(11);
    let start = ms("2026-11-01T00:00:00Z");
    for _ in 0..25 {
        let from = start + random.i64(0..5 * 86_400) * 1_000;
        let until = from + random.i64(1..3 * 86_400) * 1_000;
        let inside = |call: &&UsageRecord| (from..until).contains(&call.started_unix_ms);
        let wanted: Vec<&UsageRecord> = calls.iter().filter(inside).collect();
        let cost: u64 = wanted
            .iter()
            .filter_map(|call| call.cost.cost_nanousd)
            .sum();
        let sessions: BTreeSet<&str> = wanted.iter().map(|call| call.session.0.as_str()).collect();
        let requests = u64::try_from(wanted.len()).unwrap();
        let sessions = u64::try_from(sessions.len()).unwrap();
        let (since, until) = (format!("@{}", from / 1_000), format!("@{}", until / 1_000));
        let hours: BTreeSet<(i64, &SessionKey)> = wanted
            .iter()
            .map(|call| (call.started_unix_ms / 3_600_000, &call.session))
            .collect();
        for by in [
            "workflow",
            "session",
            "length-bucket",
            "process",
            "thread-kind",
            "hour",
            "hour,process",
        ] {
            let found = document(
                &home,
                &["report", "--by", by, "--since", &since, "--until", &until],
            );
            assert_eq!(
                amounts(&found["totals"]),
                (requests, sessions, cost),
                "{by} {since} {until}"
            );
            let rows = found["rows"].as_array().unwrap();
            let sum = |at: fn((u64, u64, u64)) -> u64| -> u64 {
                rows.iter().map(|row| at(amounts(row))).sum()
            };
            assert_eq!(
                (sum(|row| row.0), sum(|row| row.2)),
                (requests, cost),
                "{by}"
            );
            if by == "hour" {
                let sessions = u64::try_from(hours.len()).unwrap();
                assert_eq!(sum(|row| row.1), sessions, "{since} {until}");
            }
        }
    }
}

#[test]
fn a_filter_for_a_row_leaves_what_is_in_the_row() {
    let home = ledger(&some_calls(5, 200, "2026-11-01T00:00:00Z"));
    let november = ["--since", "2026-11-01", "--until", "2026-12-01"];
    let ask = |arguments: &[&str]| {
        let arguments: Vec<&str> = ["report"]
            .iter()
            .chain(&november)
            .chain(arguments)
            .copied()
            .collect();
        document(&home, &arguments)
    };
    let all = ask(&[]);
    for (dimension, field) in DIMENSIONS {
        let found = ask(&["--by", dimension]);
        assert_eq!(
            amounts(&found["totals"]),
            amounts(&all["totals"]),
            "{dimension}"
        );
        for row in found["rows"].as_array().unwrap().iter().take(3) {
            let name = match row[field].as_str() {
                Some(name) => name.to_owned(),
                None if row[field].is_null() => String::new(),
                None => row[field].to_string(),
            };
            let is = ask(&[
                "--by",
                "provider",
                "--where",
                &format!("{dimension}={name}"),
            ]);
            assert_eq!(amounts(&is["totals"]), amounts(row), "{dimension}={name}");
            let is_not = ask(&["--where", &format!("{dimension}!={name}")]);
            assert_eq!(
                amounts(&is_not["totals"]).0,
                amounts(&all["totals"]).0 - amounts(row).0,
                "{dimension}!={name}"
            );
        }
    }
    let glob = ask(&["--where", "client~claude-*", "--where", "workflow~night*"]);
    let both = ask(&["--by", "client,workflow"]);
    let row = both["rows"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["client_name"] == "claude-code" && row["workflow"] == "nightly-triage");
    assert_eq!(amounts(&glob["totals"]), amounts(row.unwrap()));
}

#[test]
fn the_largest_are_kept_apart_and_the_others_are_one_row_that_loses_nothing() {
    let home = ledger(&some_calls(9, 200, "2026-11-01T00:00:00Z"));
    let november = ["--since", "2026-11-01", "--until", "2026-12-01"];
    let ask = |arguments: &[&str]| {
        let arguments: Vec<&str> = ["report"]
            .iter()
            .chain(&november)
            .chain(arguments)
            .copied()
            .collect();
        document(&home, &arguments)
    };
    let every = ask(&["--by", "session"]);
    let top = ask(&["--by", "session", "--top", "3"]);
    let rows = |found: &Value| found["rows"].as_array().unwrap().clone();
    assert_eq!(rows(&top).len(), 4);
    assert_eq!(rows(&top)[..3], rows(&every)[..3]);
    let other = &rows(&top)[3];
    assert_eq!(other["session_key"], "other (9)");
    assert_eq!(top["other_values"], 9);
    let rest: u64 = rows(&every)[3..].iter().map(|row| amounts(row).2).sum();
    assert_eq!((amounts(other).1, amounts(other).2), (9, rest));
    assert_eq!(top["totals"], every["totals"]);
    // Of two dimensions the values of the first that is no time are cut, in every period the same.
    let daily = ask(&["--by", "day,session", "--top", "1"]);
    let largest = rows(&every)[0]["session_key"].clone();
    for row in rows(&daily) {
        assert!(
            row["session_key"] == largest || row["session_key"] == "other (11)",
            "{row}"
        );
    }
    let days: u64 = rows(&daily).iter().map(|row| amounts(row).2).sum();
    assert_eq!(days, amounts(&every["totals"]).2);
    // By another metric other ones are the largest.
    let requests: Vec<u64> = rows(&ask(&["--by", "session", "--metric", "requests"]))
        .iter()
        .map(|row| amounts(row).0)
        .collect();
    assert!(
        requests.is_sorted_by(|one, other| one >= other),
        "{requests:?}"
    );
}

/// By every dimension, in a window that cuts sessions: the row of the others has what their rows have,
/// and the totals are the same whatever they are made of.
#[test]
fn the_row_of_the_others_is_the_sum_of_their_rows_by_every_dimension() {
    let home = ledger(&some_calls(23, 300, "2026-11-01T00:00:00Z"));
    let ask = |by: &str, top: &[&str]| {
        let window = [
            "--since",
            "2026-11-03T05:07:09Z",
            "--until",
            "2026-11-09T11:13:17Z",
        ];
        let arguments = [["report", "--by", by].as_slice(), &window, top].concat();
        document(&home, &arguments)
    };
    let sums = |rows: &[Value]| {
        [
            "requests",
            "errors",
            "aborted_requests",
            "context_tokens",
            "input_uncached_tokens",
            "cache_read_tokens",
            "cache_write_tokens",
            "output_tokens",
            "reasoning_tokens",
            "estimated_tokens",
            "cost_nanousd",
            "unpriced_tokens",
        ]
        .map(|name| {
            (
                name,
                rows.iter()
                    .filter_map(|row| row[name].as_u64())
                    .sum::<u64>(),
            )
        })
    };
    let totals = ask("model", &[])["totals"].clone();
    for (dimension, _) in DIMENSIONS {
        let (every, top) = (ask(dimension, &[]), ask(dimension, &["--top", "2"]));
        let (every_rows, rows) = (&every["rows"], &top["rows"]);
        let (every_rows, rows) = (every_rows.as_array().unwrap(), rows.as_array().unwrap());
        assert_eq!(every["totals"], totals, "{dimension}");
        assert_eq!(top["totals"], totals, "{dimension}");
        if dimension.starts_with("length") || every_rows.len() <= 2 {
            // In their own order, or nothing to cut.
            assert_eq!(rows, every_rows, "{dimension}");
            continue;
        }
        assert_eq!(rows[..2], every_rows[..2], "{dimension}");
        let [other] = &rows[2..] else {
            panic!("{dimension}: {rows:?}");
        };
        let rest = &every_rows[2..];
        assert_eq!(sums(std::slice::from_ref(other)), sums(rest), "{dimension}");
        let most = rest.iter().filter_map(|row| row["sessions"].as_u64()).max();
        assert!(other["sessions"].as_u64() >= most, "{dimension}");
    }
}

/// Two weeks: a workflow that grew, one that shrank, one that is new, and what has no price.
pub(crate) fn two_weeks() -> Home {
    let mut outputs = Vec::new();
    let mut add = |name: &str, day: &str, session: &str, cost: Option<u64>, count: usize| {
        for number in 0..count {
            let started = format!("2026-11-{day}T10:{:02}:00Z", number % 60);
            let mut call = record(&format!("{name}-{day}-{number}"), &started);
            call.session = SessionKey(session.to_owned());
            call.workflow = match name {
                "unattributed" => Arc::new(Workflow::unattributed()),
                name => workflow(name, None),
            };
            call.cost = cost.map_or_else(Default::default, priced);
            outputs.push(usage(call));
        }
    };
    add("claude-code/web", "03", "web-1", Some(200_000_000), 10);
    add("claude-code/web", "11", "web-2", Some(200_000_000), 9);
    add("claude-code/web", "12", "web-3", Some(310_000_000), 2);
    add("nightly-triage", "04", "night-1", Some(500_000_000), 2);
    add("nightly-triage", "11", "night-2", Some(500_000_000), 8);
    add("unattributed", "12", "proc-1", Some(120_700_000), 1);
    add("local-qwen", "13", "local-1", None, 3);
    outputs.push(coverage(
        "2026-11-11T10:00:00Z",
        CoverageOutcome::Decoded,
        94,
    ));
    outputs.push(coverage(
        "2026-11-11T10:00:00Z",
        CoverageOutcome::Truncated,
        6,
    ));
    Home::with(&outputs)
}

const SECOND_WEEK: [&str; 4] = ["--since", "2026-11-09", "--until", "2026-11-16"];

fn second_week(columns: u32, arguments: &[&str]) -> String {
    let arguments = ["report"].iter().chain(&SECOND_WEEK).chain(arguments);
    two_weeks().run_in("UTC", Some(columns), arguments).text()
}

#[test]
fn by_workflow_beside_the_week_before() {
    let by = ["--by", "workflow"];
    assert_golden("workflow-200.txt", &second_week(200, &by));
    let narrow = second_week(80, &by);
    assert!(
        narrow.lines().all(|line| line.chars().count() <= 80),
        "{narrow}"
    );
    assert_golden("workflow-80.txt", &narrow);
    assert_golden(
        "workflow.md",
        &second_week(80, &["--by", "workflow", "-o", "md"]),
    );
    assert_golden(
        "workflow.tsv",
        &second_week(80, &["--by", "workflow", "-o", "tsv"]),
    );
    assert_golden(
        "workflow.ndjson",
        &second_week(80, &["--by", "workflow", "-o", "ndjson"]),
    );
    assert_golden(
        "top-120.txt",
        &second_week(
            120,
            &["--by", "workflow", "--top", "2", "--metric", "requests"],
        ),
    );
    let both = [
        "report",
        "--by",
        "week,workflow",
        "--where",
        "workflow!=local-qwen",
        "--since",
        "2026-11-02",
        "--until",
        "2026-11-16",
    ];
    assert_golden(
        "two-dimensions-120.txt",
        &two_weeks().run_in("UTC", Some(120), both).text(),
    );
    let wide = second_week(40, &["--by", "workflow", "-o", "wide"]);
    let widest = wide.lines().map(|line| line.chars().count()).max();
    assert!(widest.unwrap() > 120, "{wide}");
}

#[test]
fn weeks_and_months_reach_back_by_themselves() {
    let home = ledger(&[record("msg_1", "2026-11-01T15:04:10Z")]);
    for (command, reach_weeks) in [("weekly", 12), ("monthly", 52)] {
        let found = document(&home, &[command, "--until", "2026-11-29"]);
        let moment = |name: &str| {
            let text = found["window"][name].as_str().unwrap();
            text.parse::<jiff::Timestamp>().unwrap().as_second()
        };
        let weeks = (moment("until") - moment("since")) / (7 * 86_400);
        assert!(
            (reach_weeks - 5..=reach_weeks).contains(&weeks),
            "{command} {weeks}"
        );
    }
    let weekly = document(&home, &["weekly", "--until", "2026-11-29"]);
    assert_eq!(weekly["rows"][0]["week"], "2026-W44");
    assert_eq!(weekly["rows"][0]["start"], "2026-10-26T00:00:00Z");
    let monthly = document(
        &home,
        &["monthly", "--until", "2026-11-29", "--tz", "Asia/Tokyo"],
    );
    assert_eq!(monthly["rows"][0]["month"], "2026-11");
    assert_eq!(monthly["rows"][0]["start"], "2026-10-31T15:00:00Z");
}

#[test]
fn what_is_pruned_stays_in_the_sums_and_is_missed_only_where_calls_are_asked_for() {
    let home = ledger(&some_calls(5, 200, "2026-11-01T00:00:00Z"));
    let november = ["--since", "2026-11-01", "--until", "2026-12-01"];
    let ask = |by: &str| {
        let arguments = [&["report", "--by", by][..], &november].concat();
        document(&home, &arguments)
    };
    let lasting = ["day", "model", "session", "process", "thread-kind"];
    let before: Vec<Value> = lasting.map(ask).to_vec();
    ran(Command::new("sqlite3").arg(home.db()).arg(
        "PRAGMA foreign_keys = OFF;
         DELETE FROM request WHERE started_ms < 1000 * strftime('%s', '2026-11-03');
         UPDATE host SET requests_pruned_before_ms = 1000 * strftime('%s', '2026-11-03');",
    ))
    .text();
    for (by, before) in lasting.into_iter().zip(&before) {
        let after = ask(by);
        assert_eq!(
            amounts(&after["totals"]),
            amounts(&before["totals"]),
            "{by}"
        );
        assert_eq!(after["pruned_requests"], 0, "{by}");
        assert_eq!(after["totals"]["ttft_p50_ms"], Value::Null);
        let count = |found: &Value| found["rows"].as_array().unwrap().len();
        assert_eq!(count(&after), count(before));
    }
    let process = ask("day,process");
    let pruned = process["pruned_requests"].as_u64().unwrap();
    assert!(pruned > 0);
    let rows = process["rows"].as_array().unwrap();
    let there: u64 = rows.iter().map(|row| amounts(row).0).sum();
    assert_eq!(there + pruned, 200);
    let text = home
        .run([&["report", "--by", "day,process"][..], &november].concat())
        .text();
    assert!(
        text.contains(&format!("{pruned} older calls are not in it")),
        "{text}"
    );
}

#[test]
fn weighted_tokens_are_the_cost_in_uncached_input_and_else_fixed_weights() {
    let mut priced_call = record("msg_1", "2026-11-01T15:00:00Z");
    priced_call.call.model_served = Some("claude-opus-4-7".to_owned());
    // Its uncached input is at $5 a million tokens.
    priced_call.cost = priced(5_000_000);
    let mut unpriced = record("msg_2", "2026-11-01T15:00:01Z");
    unpriced.call.model_served = Some("own-model".to_owned());
    unpriced.cost = Default::default();
    unpriced.call.usage.cache_write_1h = Some(10);
    let home = ledger(&[priced_call, unpriced]);
    let arguments = [
        "report",
        "--by",
        "model",
        "--since",
        "2026-11-01",
        "--until",
        "2026-11-02",
    ];
    let found = document(
        &home,
        &[&arguments[..], &["--metric", "weighted-tokens"]].concat(),
    );
    let weighted: Vec<(&Value, &Value)> = found["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (&row["model"], &row["weighted_tokens"]))
        .collect();
    // 150 + 800 / 10 + 50 * 1.25 + 10 * 2 + 50 * 5, cut to a whole token.
    assert_eq!(
        weighted,
        [
            (&Value::from("claude-opus-4-7"), &Value::from(1_000)),
            (&Value::from("own-model"), &Value::from(562)),
        ]
    );
    let without = document(&home, &arguments);
    assert_eq!(without["rows"][0].get("weighted_tokens"), None);
}

#[test]
fn less_coverage_than_is_required_is_an_exit_code_of_its_own() {
    let home = two_weeks();
    let code = |arguments: &[&str]| home.run(arguments.iter().chain(&SECOND_WEEK)).code;
    assert_eq!(code(&["report", "--require-coverage", "0.94"]), Some(0));
    assert_eq!(code(&["report", "--require-coverage", "0.941"]), Some(6));
    assert_eq!(code(&["sessions", "--require-coverage", "0.98"]), Some(6));
    assert_eq!(
        code(&["daily", "--require-coverage", "0.98", "-o", "csv"]),
        Some(6)
    );
    assert_eq!(code(&["report", "--require-coverage", "98"]), Some(64));
    // Where nothing was recorded of coverage it is not known, and that is not enough.
    let blind = ledger(&[record("msg_1", "2026-11-11T15:00:00Z")]);
    let ran = blind.run(
        ["report", "--require-coverage", "0.1"]
            .iter()
            .chain(&SECOND_WEEK),
    );
    assert_eq!(ran.code, Some(6));
}

#[test]
fn a_wrong_question_is_a_wrong_usage_and_says_what_is_right() {
    let home = two_weeks();
    for (arguments, said) in [
        (&["report", "--by", "day,model,user"][..], "--by"),
        (&["report", "--where", "day=1"], "nothing to choose by"),
        (&["report", "--where", "model"], "KEY=VALUE"),
        (&["report", "--top", "0"], "--top"),
        (&["report", "--tz", "Moon/Base"], "Europe/Berlin"),
        (&["report", "--utc", "--tz", "UTC"], "--tz"),
        (&["report", "--json", "-o", "csv"], "--json"),
        (&["sessions", "show"], "<ID>"),
    ] {
        let ran = home.run(arguments);
        assert_eq!(ran.code, Some(64), "{arguments:?}");
        assert!(ran.err.contains(said), "{arguments:?}: {}", ran.err);
    }
}

#[test]
fn colour_comes_only_where_it_is_asked_for() {
    let home = two_weeks();
    let has_colour = |set: &[(&str, &str)], arguments: &[&str]| {
        let mut command = Command::new(crate::world::BPFTOK);
        for name in ["NO_COLOR", "CLICOLOR_FORCE", "COLUMNS"] {
            command.env_remove(name);
        }
        command.envs(set.iter().copied()).arg("--db").arg(home.db());
        command.arg("report").args(SECOND_WEEK).args(arguments);
        ran(&mut command).text().contains('\u{1b}')
    };
    assert!(!has_colour(&[], &[]));
    assert!(has_colour(&[], &["--color", "always"]));
    assert!(has_colour(&[("CLICOLOR_FORCE", "1")], &[]));
    assert!(!has_colour(&[("CLICOLOR_FORCE", "0")], &[]));
    assert!(!has_colour(
        &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")],
        &[]
    ));
    assert!(has_colour(&[("NO_COLOR", "1")], &["--color", "always"]));
    assert!(!has_colour(
        &[("CLICOLOR_FORCE", "1")],
        &["--color", "never"]
    ));
    assert!(!has_colour(&[], &["--color", "always", "-o", "json"]));
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = home.run(["completions", shell]).text();
        for word in ["report", "sessions", "require-coverage"] {
            assert!(script.contains(word), "{shell} {word}");
        }
    }
    let bash = home.run(["completions", "bash"]).text();
    assert!(bash.contains("length-bucket"));
    let folder = home.path("man");
    std::fs::create_dir(&folder).unwrap();
    home.run(["man".into(), folder.clone().into_os_string()])
        .text();
    let page = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert!(page("bpftok.1").contains("sessions"));
    assert!(page("bpftok-report.1").contains("weighted"));
    assert!(page("bpftok-sessions-show.1").contains("tree"));
    let nowhere = home.run(["man", "/nowhere/at/all"]);
    assert_eq!(nowhere.code, Some(1));
    assert!(nowhere.err.contains("/nowhere/at/all"), "{}", nowhere.err);
}
