//! One session: its threads, and how its context grew.

use std::sync::Arc;

use agent_core::event::{Checkout, Process};
use agent_core::llm::Outcome;
use agent_core::pipeline::Output;
use agent_core::prices::{Applied, CostStatus, Priced, Rates};
use agent_core::session::{SessionKey, TaskType, Thread, ThreadKind, UsageRecord};
use agent_core::workflow::{Origin, Workflow};
use serde_json::{Value, json};

use crate::world::{Home, assert_golden, process, record, usage};

const ID: &str = "8f31c2aa-1b2c-4d5e-8f90-a1b2c3d4e5f6";

fn thread(key: &str, parent: &str, kind: ThreadKind, agent_type: &str, depth: u32) -> Thread {
    Thread {
        key: key.to_owned(),
        parent: Some(parent.to_owned()),
        kind,
        agent_type: Some(agent_type.to_owned()),
        depth,
    }
}

/// The price of prompts that are longer than this.
fn long(over: Option<u64>) -> Priced {
    let applied = Applied {
        key: format!("opus over {over:?}"),
        provider: "anthropic".to_owned(),
        model: "claude-opus-5-5".to_owned(),
        service_tier: None,
        context_over: over,
        valid_from_ms: None,
        valid_to_ms: None,
        rates: Rates::default(),
        source: Arc::from("genai-prices"),
        source_version: Arc::from("0.2.1"),
        as_of_ms: None,
    };
    Priced {
        cost_nanousd: Some(if over.is_some() {
            900_000_000
        } else {
            80_000_000
        }),
        status: CostStatus::Priced,
        price: Some(Arc::new(applied)),
    }
}

/// A session with two levels of agents, work in the background, a long prompt and a compaction.
fn session() -> Home {
    let mut owner = Process::clone(&process(7_781, "node", "/usr/bin/node", "ci"));
    owner.unit = Some("nightly-triage.service".to_owned());
    owner.checkout = Some(Checkout {
        root: "/srv/triage".to_owned(),
        repo: "triage".to_owned(),
        branch: Some("main".to_owned()),
    });
    let owner = Arc::new(owner);
    let workflow = Arc::new(Workflow {
        name: "nightly-triage".to_owned(),
        origin: Origin::Rule,
        billing_code: Some("CC-4410".to_owned()),
        labels: Vec::new(),
    });
    let mut number = 0;
    let mut outputs: Vec<Output> = Vec::new();
    let mut call =
        |minute: u32, thread: Thread, context: u64, change: &dyn Fn(&mut UsageRecord)| {
            number += 1;
            let started = format!("2026-11-01T{:02}:{:02}:00Z", 11 + minute / 60, minute % 60);
            let mut call = record(&format!("msg_{number}"), &started);
            call.process = Some(Arc::clone(&owner));
            call.workflow = Arc::clone(&workflow);
            call.task = TaskType::Coding;
            call.thread = thread;
            call.call.usage.cache_read = Some(context - 200);
            call.cost = long(None);
            change(&mut call);
            outputs.push(usage(call));
        };
    let plain: &dyn Fn(&mut UsageRecord) = &|_| {};
    for (at, context) in [20_000, 61_000, 118_000, 166_000].into_iter().enumerate() {
        let minute = u32::try_from(at).unwrap() * 10;
        call(minute, Thread::main(), context, &|call| {
            call.is_human_turn = call.identity.ends_with("msg_1");
        });
    }
    call(40, Thread::main(), 231_000, &|call| {
        call.cost = long(Some(200_000));
    });
    call(50, Thread::main(), 238_000, &|call| {
        call.cost = long(Some(200_000));
        call.task = TaskType::Compaction;
    });
    call(60, Thread::main(), 31_000, plain);
    for agent in 0..4 {
        let key = format!("review-{agent}");
        let review = thread(&key, "", ThreadKind::Subagent, "review-agent", 1);
        call(12 + agent, review, 40_000, &|call| {
            call.call.attempt = Some(2);
        });
        let verify = format!("verify-{agent}");
        let verify = thread(&verify, &key, ThreadKind::Subagent, "verify-agent", 2);
        call(13 + agent, verify.clone(), 30_000, plain);
        call(14 + agent, verify, 33_000, plain);
    }
    call(
        1,
        thread("title", "", ThreadKind::Background, "title", 1),
        900,
        &|call| call.call.outcome = Outcome::Aborted,
    );
    let mut other = record("other_1", "2026-11-01T09:00:00Z");
    other.session = SessionKey("8f31ffff-0000".to_owned());
    outputs.push(usage(other));
    Home::with(&outputs)
}

fn show(home: &Home, columns: u32, arguments: &[&str]) -> String {
    let arguments = ["sessions", "show"].iter().chain(arguments);
    home.run_in("UTC", Some(columns), arguments).text()
}

/// The time since the last human turn is the only thing that differs from run to run.
fn at_rest(text: &str) -> String {
    let (before, after) = text.split_once("last ").unwrap();
    let (_, after) = after.split_once(" ago").unwrap();
    format!("{before}last AGO ago{after}")
}

#[test]
fn threads_that_are_alike_are_one_line_below_those_that_began_them() {
    let home = session();
    let wide = show(&home, 200, &["8f31c2", "--tree", "--context"]);
    assert_golden("session-tree-200.txt", &at_rest(&wide));
    let narrow = show(&home, 80, &["8f31c2", "--tree"]);
    assert!(
        narrow.lines().all(|line| line.chars().count() <= 80),
        "{narrow}"
    );
    assert_golden("session-tree-80.txt", &at_rest(&narrow));
    assert_golden("session-show-120.txt", &at_rest(&show(&home, 120, &[ID])));
}

#[test]
fn a_session_for_programs_has_threads_and_every_call() {
    let home = session();
    let text = show(&home, 80, &["8f31c2", "--tree", "--context", "--json"]);
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["session"]["session_key"], ID);
    assert_eq!(found["session"]["workflow"], "nightly-triage");
    assert_eq!(found["session"]["compactions"], 1);
    assert_eq!(found["session"]["length_bucket_requests"], "6-20");
    assert_eq!(found["totals"]["requests"], 20);
    let threads: Vec<Value> = found["threads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| json!([row["thread"], row["threads"], row["depth"], row["requests"]]))
        .collect();
    assert_eq!(
        threads,
        [
            json!(["main", 1, 0, 7]),
            json!(["review-agent ×4", 4, 1, 4]),
            json!(["verify-agent ×4", 4, 2, 8]),
            json!(["background: title", 1, 1, 1]),
        ]
    );
    let calls = found["context"].as_array().unwrap();
    assert_eq!(calls.len(), 20);
    let marks: Vec<&Value> = calls
        .iter()
        .map(|call| &call["mark"])
        .filter(|mark| !mark.is_null())
        .collect();
    assert_eq!(
        marks,
        [
            "price of prompts over 200,000",
            "compaction",
            "price of shorter prompts"
        ]
    );
    let csv = show(&home, 80, &["8f31c2", "--context", "-o", "csv"]);
    assert_eq!(csv.lines().count(), 21);
}

#[test]
fn an_id_that_is_not_enough_is_answered_with_those_that_it_may_mean() {
    let home = session();
    let ran = home.run(["sessions", "show", "8f31"]);
    assert_eq!(ran.code, Some(64));
    assert_eq!(
        ran.err,
        format!(
            "bpftok: several sessions have an id that begins with \"8f31\": {ID}, 8f31ffff-0000\n"
        )
    );
    let ran = home.run(["sessions", "show", "77"]);
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (
            Some(5),
            "bpftok: no session's id is \"77\" or begins with it; `bpftok sessions` lists them\n"
        )
    );
    assert_eq!(home.run(["sessions", "show", "8f31ffff"]).code, Some(0));
}

#[test]
fn the_list_says_what_sessions_were_for() {
    let text = session()
        .run_in(
            "UTC",
            Some(200),
            ["sessions", "--since", "2026-11-01", "--until", "2026-11-02"],
        )
        .text();
    assert_golden("sessions-200.txt", &text);
}
