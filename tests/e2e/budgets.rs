//! Budgets from the first token of a running call to the exit code of a script.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use agent::alert::{Channels, Courier};
use agent::config::{self, Loaded};
use agent::keeper::{CallLines, Keeper, Watching};
use agent::store::{AgentStatus, BudgetRow, Writer};
use agent::watcher::{self, Watcher};
use agent_core::pipeline::Output;
use agent_core::prices::Prices;
use agent_core::session::UsageRecord;
use agent_core::watch;
use agent_core::workflow::{Origin, Workflow};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use test_support::Receiver;

use crate::schema::Schema;
use crate::world::{Home, priced, record, unknown, usage};

/// Longest wait for what has to come.
const LIMIT: Duration = Duration::from_secs(60);
const DOLLAR: u64 = 1_000_000_000;

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// A call that ended so many minutes ago.
fn call(identity: &str, minutes_ago: i64, dollars: u64) -> UsageRecord {
    let started = Timestamp::now() - jiff::SignedDuration::from_mins(minutes_ago);
    let mut record = record(identity, &started.to_string());
    record.cost = priced(dollars * DOLLAR);
    record.workflow = Arc::new(Workflow {
        name: "nightly-triage".to_owned(),
        origin: Origin::Rule,
        billing_code: None,
        labels: Vec::new(),
    });
    record
}

fn settings(toml: &str) -> (watcher::Settings, Channels) {
    let loaded = Loaded::parse(Path::new("config.toml"), toml).unwrap();
    let config = loaded.config;
    let settings = watcher::Settings {
        rules: watch::Settings {
            budgets: config.budgets.clone(),
            zone: Some(TimeZone::UTC),
            ..watch::Settings::default()
        },
        prices: Arc::new(Prices::default()),
        price_list_ms: None,
        host_name: "build-01".to_owned(),
    };
    (settings, Channels::new(&config.channels))
}

fn begin(writer: &mut Writer, toml: &str) -> Watcher {
    let (settings, channels) = settings(toml);
    let courier = Courier::start(channels).unwrap();
    Watcher::begin(writer, settings, courier, now_ms()).unwrap()
}

fn commit(watcher: &mut Watcher, writer: &mut Writer, outputs: &[Output]) {
    writer.apply(outputs).unwrap();
    watcher.committed(writer, outputs, now_ms()).unwrap();
    watcher.step(writer, now_ms()).unwrap();
}

/// A budget of a rolling week, so that no period ends while the test runs.
const BUDGET: &str = "[[budget]]\nname = \"triage-week\"\nscope = \"workflow=nightly-*\"\n\
    limit = \"100 usd\"\nperiod = \"rolling:7d\"\nburn = \"off\"\n";

const STANDS: &str = "SELECT budget, used_amount / 1000000000, open_amount / 1000000000, status,
    thresholds_json FROM v_budget ORDER BY budget, scope_value";

#[test]
fn a_budget_that_breaks_is_told_once_over_restarts_too() {
    let server = Receiver::start().unwrap();
    let toml = format!(
        "{BUDGET}[[notify]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{}/hook\"\n",
        server.url()
    );
    let home = Home::new();
    let mut writer = home.writer();
    let mut watcher = begin(&mut writer, &toml);
    commit(&mut watcher, &mut writer, &[usage(call("a", 300, 40))]);
    assert_eq!(home.sqlite3(STANDS).text(), "triage-week|40|0|ok|[]\n");
    commit(&mut watcher, &mut writer, &[usage(call("b", 200, 45))]);
    assert_eq!(
        home.sqlite3(STANDS).text(),
        "triage-week|85|0|ok|[0.5,0.8]\n"
    );
    // The workflow is a new one, which is told, too.
    loop {
        let told = server.message().unwrap();
        let text = told.body.to_string();
        told.answer(200);
        if text.contains("budget_threshold") && text.contains("triage-week") {
            break;
        }
    }

    // The agent dies, and another one goes on from the ledger.
    drop(watcher);
    let mut watcher = begin(&mut writer, &toml);
    watcher.step(&mut writer, now_ms()).unwrap();
    assert_eq!(
        home.sqlite3(STANDS).text(),
        "triage-week|85|0|ok|[0.5,0.8]\n"
    );
    let fired = "SELECT variant, count(*) FROM alert WHERE rule = 'budget_threshold'
        GROUP BY variant ORDER BY variant";
    assert_eq!(home.sqlite3(fired).text(), "80%|1\n");
    commit(&mut watcher, &mut writer, &[usage(call("c", 1, 20))]);
    assert_eq!(
        home.sqlite3(STANDS).text(),
        "triage-week|105|0|exceeded|[0.5,0.8,0.95,1.0]\n"
    );
    assert_eq!(home.sqlite3(fired).text(), "100%|1\n80%|1\n");
}

#[test]
fn a_running_call_is_seen_by_budgets_and_the_ledger_ends_with_its_final_figure() {
    let home = Home::new();
    let mut writer = home.writer();
    let mut watcher = begin(&mut writer, BUDGET);
    watcher.run(vec![call("a", 0, 3)]);
    watcher.step(&mut writer, now_ms()).unwrap();
    assert_eq!(home.sqlite3(STANDS).text(), "triage-week|3|3|ok|[]\n");
    let open = "SELECT workflow, session_key, context_tokens, cost_usd FROM v_open_call";
    assert_eq!(
        home.sqlite3(open).text(),
        "nightly-triage|8f31c2aa-1b2c-4d5e-8f90-a1b2c3d4e5f6|1000|3.0\n"
    );
    commit(&mut watcher, &mut writer, &[usage(call("a", 0, 5))]);
    assert_eq!(home.sqlite3(STANDS).text(), "triage-week|5|0|ok|[]\n");
    watcher.run(Vec::new());
    watcher.step(&mut writer, now_ms()).unwrap();
    assert_eq!(home.sqlite3(open).text(), "");
}

#[test]
fn a_budget_says_what_has_no_price_and_scripts_get_its_state() {
    let mut unpriced = call("u", 20, 0);
    unpriced.cost = unknown("u", "2026-11-01T15:00:00Z").cost;
    let home = Home::with(&[usage(call("a", 30, 60)), usage(unpriced)]).timeless();
    let config = |limit: &str| {
        home.configure(
            "budgets.toml",
            &format!(
                "[[budget]]\nname = \"week\"\nlimit = \"{limit} usd\"\nperiod = \"rolling:7d\"\nburn = \"off\"\n\
                 [[budget]]\nname = \"users\"\nscope = \"user\"\nlimit = \"1M tokens\"\nperiod = \"rolling:7d\"\n\
                 [prices]\nmax_age_days = 3650\n"
            ),
        )
    };
    let run = |path: &Path, arguments: &[&str]| {
        let path = path.to_str().unwrap();
        home.run([&["--config", path, "budget"], arguments].concat())
    };
    let path = config("1000");
    let shown = run(&path, &[]).text();
    assert!(shown.contains("≥ $60.00 / $1,000.00"), "{shown}");
    assert!(shown.contains("unpriced in week: 1,050 tokens"), "{shown}");
    assert!(shown.contains("user=dana"), "{shown}");
    let checked = run(&path, &["check", "users"]);
    assert_eq!((checked.code, checked.text().as_str()), (Some(0), ""));

    let path = config("50");
    let checked = run(&path, &["check"]);
    assert_eq!(checked.code, Some(4));
    let json = run(&path, &["check", "-o", "json"]);
    assert_eq!(json.code, Some(4));
    let document: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let row = &document["rows"][0];
    assert_eq!(
        (
            &row["budget"],
            &row["state"],
            &row["is_lower_bound"],
            &row["used_amount"]
        ),
        (
            &"week".into(),
            &"exceeded".into(),
            &true.into(),
            &(60 * DOLLAR).into()
        )
    );
    assert_eq!(run(&path, &["check", "nobody"]).code, Some(5));
}

#[test]
fn a_budget_is_set_changed_and_removed_by_a_command() {
    let home = Home::with(&[usage(call("a", 30, 60))]).timeless();
    let set = home.run([
        "budget",
        "set",
        "ci",
        "--limit",
        "100 usd",
        "--period",
        "rolling:7d",
        "--where",
        "task=chat",
        "--burn",
        "off",
    ]);
    assert_eq!(
        set.text(),
        "ci: 100 usd for host each rolling:7d; `bpftok budget` shows how it stands\n"
    );
    assert!(home.run(["budget"]).text().contains("$60.00 / $100.00"));
    home.run([
        "budget",
        "set",
        "ci",
        "--limit",
        "40 usd",
        "--period",
        "rolling:7d",
    ])
    .text();
    assert_eq!(home.run(["budget", "check"]).code, Some(4));
    let wrong = home.run(["budget", "set", "ci", "--limit", "40 pounds"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.err.contains("limit:"), "{}", wrong.err);
    home.run(["budget", "set", "ci", "--remove"]).text();
    let none = home.run(["budget"]);
    assert_eq!(none.code, Some(5));
    assert!(none.out.contains("bpftok budget set"), "{}", none.out);
    assert_eq!(home.run(["budget", "set", "ci", "--remove"]).code, Some(1));
}

#[test]
fn what_the_agent_keeps_of_a_budget_is_what_the_command_computes() {
    let home = Home::new().timeless();
    let mut writer = home.writer();
    let mut watcher = begin(&mut writer, BUDGET);
    let calls: Vec<Output> = (0..20)
        .map(|number| usage(call(&format!("c{number}"), number * 37, 1)))
        .collect();
    for batch in calls.chunks(7) {
        commit(&mut watcher, &mut writer, batch);
    }
    watcher.finish(&mut writer, now_ms()).unwrap();
    let path = home.configure(
        "budgets.toml",
        &format!("{BUDGET}[prices]\nmax_age_days = 3650\n"),
    );
    let json = home.run(["--config", path.to_str().unwrap(), "budget", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let schema = Schema::published();
    schema.hold(&document, "budget");
    let kept = home.sqlite3("SELECT used_amount FROM v_budget").text();
    assert_eq!(document["rows"][0]["used_amount"].to_string(), kept.trim());
    assert_eq!(kept.trim(), (20 * DOLLAR).to_string());
    let history = home.run(["budget", "history", "-o", "csv"]).text();
    let json = home.run(["budget", "history", "-o", "json"]).text();
    schema.hold(&serde_json::from_str(&json).unwrap(), "budget history");
    assert!(history.contains("triage-week"), "{history}");
}

#[test]
fn a_budget_that_burns_has_the_word_for_it_that_is_published() {
    let home = Home::new().timeless();
    let mut writer = home.writer();
    let toml = BUDGET.replace("burn = \"off\"", "burn = \"page\"");
    let row = BudgetRow {
        name: "triage-week".to_owned(),
        definition: "{}".to_owned(),
        origin: "config",
    };
    writer.set_budgets(&[row], now_ms()).unwrap();
    let mut watcher = begin(&mut writer, &toml);
    commit(&mut watcher, &mut writer, &[usage(call("a", 2, 60))]);
    assert_eq!(
        home.sqlite3(STANDS).text(),
        "triage-week|60|0|burning|[0.5]\n"
    );
    let json = home.run(["top", "-1", "-o", "json"]).out;
    let document = serde_json::from_str(&json).unwrap();
    Schema::published().hold(&document, "top");
    assert_eq!(document["budgets"][0]["status"], "burning");
}

/// Waits until a statement gives what it should.
fn wait_for(home: &Home, sql: &str, expected: &str) {
    let until = Instant::now() + LIMIT;
    loop {
        let found = home.sqlite3(sql).out;
        if found.trim() == expected {
            return;
        }
        assert!(Instant::now() < until, "{sql}: {found}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_agents_keeper_watches_what_runs_and_follows_a_command() {
    let home = Home::new().timeless();
    let writer = home.writer();
    let (settings, channels) = settings(BUDGET);
    let watching = Watching {
        settings,
        channels,
        budget_of: config::budget_of,
        definition_of: config::definition_of,
    };
    let keeper = Keeper::new(writer, CallLines::Off, AgentStatus::default, watching);
    let (outputs, outputs_in) = mpsc::sync_channel(8);
    let kept = thread::spawn(move || keeper.run(&outputs_in));
    wait_for(&home, "SELECT budget FROM v_budget", "triage-week");
    outputs
        .send(vec![Output::Running(vec![call("a", 0, 60)])])
        .unwrap();
    wait_for(&home, STANDS, "triage-week|60|60|ok|[0.5]");
    outputs.send(vec![usage(call("a", 0, 61))]).unwrap();
    wait_for(&home, STANDS, "triage-week|61|0|ok|[0.5]");
    home.run([
        "budget",
        "set",
        "host-week",
        "--limit",
        "50 usd",
        "--period",
        "rolling:7d",
        "--burn",
        "off",
    ])
    .text();
    wait_for(
        &home,
        "SELECT budget, status, origin FROM v_budget ORDER BY budget",
        "host-week|exceeded|command\ntriage-week|ok|config",
    );
    drop(outputs);
    kept.join().unwrap().unwrap();
    assert_eq!(home.sqlite3("SELECT count(*) FROM open_call").text(), "0\n");
}
