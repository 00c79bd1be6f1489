//! Reports on spend: why it changed, what of it was waste, and what a month looked like.

use std::sync::Arc;

use agent_core::event::Timestamp;
use agent_core::llm::{Outcome, Provider, Usage, UsageSource};
use agent_core::pipeline::{CoverageOutcome, Output};
use agent_core::prices::{Applied, CostStatus, Priced, Rates};
use agent_core::session::{SessionKey, TaskType, Thread, ThreadKind, UsageRecord};
use agent_core::workflow::{Origin, Workflow};
use serde_json::{Value, json};

use crate::retention::{ONE_DAY, sweep};
use crate::world::{Home, Ran, assert_golden, coverage, ms, record, usage};

/// Input, reading, writing for five minutes and for an hour, and output, in dollars per million.
type Dollars = [u64; 5];

const OPUS: Dollars = [5, 1, 6, 10, 25];
const HAIKU: Dollars = [1, 0, 2, 3, 5];

fn price(model: &str, dollars: Dollars) -> Applied {
    let [input, read, write_5m, write_1h, output] =
        dollars.map(|dollars| Some(dollars * 1_000_000_000));
    Applied {
        key: format!("{model}:{dollars:?}"),
        provider: "anthropic".to_owned(),
        model: model.to_owned(),
        service_tier: None,
        context_over: None,
        valid_from_ms: None,
        valid_to_ms: None,
        rates: Rates {
            input_uncached: input,
            cache_read: read,
            cache_write_5m: write_5m,
            cache_write_1h: write_1h,
            output,
            ..Rates::default()
        },
        source: "list".into(),
        source_version: "1".into(),
        as_of_ms: None,
    }
}

/// Thousands of tokens: uncached, read, written for five minutes, output.
type Thousands = [u64; 4];

/// A call of a workflow, priced.
fn spent(
    (workflow, number): (&str, u32),
    started: &str,
    (model, dollars): (&str, Dollars),
    thousands: Thousands,
) -> UsageRecord {
    let mut record = record(&format!("{workflow}-{number}"), started);
    let [input, read, written, output] = thousands.map(|thousands| thousands * 1_000);
    record.workflow = Arc::new(Workflow {
        name: workflow.to_owned(),
        origin: Origin::Rule,
        billing_code: None,
        labels: Vec::new(),
    });
    record.session = SessionKey(format!("{workflow}-{}", started.get(..7).unwrap()));
    if workflow.starts_with("nightly") {
        record.call.signals.tool_calls = 2;
        record.task = TaskType::Agentic;
    }
    record.call.model_served = Some(model.to_owned());
    record.call.usage = Usage {
        input_uncached: Some(input),
        cache_read: Some(read),
        cache_write_5m: Some(written),
        output: Some(output),
        ..Usage::default()
    };
    let [of_input, of_read, of_write, _, of_output] = dollars;
    let thousandths = input * of_input + read * of_read + written * of_write + output * of_output;
    record.cost = Priced {
        cost_nanousd: Some(thousandths * 1_000),
        status: CostStatus::Priced,
        price: Some(Arc::new(price(model, dollars))),
    };
    record
}

/// Two months of a few workflows.
pub(crate) fn two_months() -> Home {
    let opus = ("claude-opus-5-5", OPUS);
    let haiku = ("claude-haiku-5-5", HAIKU);
    let mut dearer = HAIKU;
    dearer[4] = 6;
    let october = [
        spent(
            ("nightly-triage", 1),
            "2026-10-02T01:00:00Z",
            opus,
            [100, 3_000, 200, 40],
        ),
        spent(
            ("nightly-triage", 2),
            "2026-10-03T01:00:00Z",
            haiku,
            [500, 9_000, 300, 90],
        ),
        spent(
            ("claude-code/web", 1),
            "2026-10-05T10:00:00Z",
            opus,
            [50, 2_000, 100, 30],
        ),
        spent(
            ("retired", 1),
            "2026-10-06T10:00:00Z",
            opus,
            [200, 0, 0, 20],
        ),
    ];
    let mut unknown = spent(
        ("local-qwen", 1),
        "2026-11-05T10:00:00Z",
        ("qwen-4", OPUS),
        [60, 0, 0, 4],
    );
    unknown.cost = Priced::default();
    unknown.call.provider = Provider("other");
    let november = [
        spent(
            ("nightly-triage", 3),
            "2026-11-02T01:00:00Z",
            opus,
            [900, 6_000, 800, 120],
        ),
        spent(
            ("nightly-triage", 4),
            "2026-11-03T01:00:00Z",
            (haiku.0, dearer),
            [500, 9_000, 300, 90],
        ),
        spent(
            ("claude-code/web", 2),
            "2026-11-05T10:00:00Z",
            opus,
            [60, 2_400, 120, 36],
        ),
        spent(
            ("batch", 1),
            "2026-11-06T10:00:00Z",
            haiku,
            [2_000, 0, 0, 100],
        ),
        unknown,
    ];
    let mut outputs: Vec<Output> = october.into_iter().chain(november).map(usage).collect();
    outputs.push(coverage(
        "2026-10-02T01:00:00Z",
        CoverageOutcome::Decoded,
        4,
    ));
    outputs.push(coverage(
        "2026-11-02T01:00:00Z",
        CoverageOutcome::Decoded,
        99,
    ));
    outputs.push(coverage(
        "2026-11-02T01:01:00Z",
        CoverageOutcome::Truncated,
        1,
    ));
    Home::with(&outputs).timeless()
}

const NOVEMBER: [&str; 4] = ["--since", "2026-11-01", "--until", "2026-12-01"];

fn told(home: &Home, columns: u32, arguments: &[&str]) -> String {
    home.run_in("UTC", Some(columns), arguments.iter().chain(&NOVEMBER))
        .text()
}

fn document(ran: Ran) -> Value {
    serde_json::from_str(&ran.text()).unwrap()
}

#[test]
fn a_change_of_spend_is_explained_for_people() {
    let home = two_months();
    let arguments = ["explain", "--vs", "previous month"];
    assert_golden("explain-80.txt", &told(&home, 80, &arguments));
    assert_golden("explain-160.txt", &told(&home, 160, &arguments));
    let page = told(&home, 80, &["explain", "--vs", "2026-10", "-o", "md"]);
    assert_golden("explain.md", &page);
}

#[test]
fn the_parts_of_a_document_add_up_to_the_change() {
    let home = two_months();
    let arguments = ["explain", "--vs", "2026-10", "-o", "json"];
    let told = document(home.run(arguments.iter().chain(&NOVEMBER)));
    let number = |value: &Value| value.as_i64().unwrap();
    let rows = told["rows"].as_array().unwrap();
    let parts: i64 = rows.iter().map(|row| number(&row["change_nanousd"])).sum();
    let change = number(&told["totals"]["change_nanousd"]);
    assert_eq!(parts, change);
    assert_eq!(
        change,
        number(&told["now"]["cost_nanousd"]) - number(&told["before"]["cost_nanousd"])
    );
    for workflow in told["workflows"].as_array().unwrap() {
        let parts = workflow["parts"].as_object().unwrap();
        assert_eq!(
            parts.values().map(number).sum::<i64>(),
            number(&workflow["now_nanousd"]) - number(&workflow["before_nanousd"])
        );
    }
    assert_eq!(told["before"]["since"], "2026-10-01T00:00:00Z");
    assert_eq!(told["now"]["is_cost_lower_bound"], true);
    assert_eq!(told["now"]["unpriced_tokens"], 64_000);
}

#[test]
fn a_change_is_explained_by_sums_that_outlast_the_calls() {
    let home = two_months();
    let explained = || {
        let arguments = ["explain", "--vs", "2026-10", "-o", "json"];
        let mut told = document(home.run(arguments.iter().chain(&NOVEMBER)));
        told.as_object_mut().unwrap().remove("generated_at");
        told
    };
    let with_calls = explained();
    let mut writer = home.writer();
    writer.set_retention(ONE_DAY);
    sweep(&mut writer, ms("2027-06-01T00:00:00Z"));
    writer.close().unwrap();
    assert_eq!(home.sqlite3("SELECT count(*) FROM request").text(), "0\n");
    assert_eq!(explained(), with_calls);
}

#[test]
fn a_filter_leaves_only_the_calls_that_pass() {
    let home = two_months();
    let of = |filters: &[&str]| {
        let arguments = ["explain", "--vs", "2026-10", "-o", "json"];
        let all = arguments.iter().chain(filters).chain(&NOVEMBER);
        let told = document(home.run(all));
        let workflows = told["workflows"].as_array().unwrap();
        let names: Vec<_> = workflows
            .iter()
            .map(|one| one["workflow"].clone())
            .collect();
        json!([
            names,
            told["before"]["cost_nanousd"],
            told["now"]["cost_nanousd"]
        ])
    };
    assert_eq!(
        of(&["--where", "workflow=claude-code/web"]),
        json!([["claude-code/web"], 3_600_000_000_u64, 4_320_000_000_u64])
    );
    let arguments = [
        "explain",
        "--vs",
        "2026-10",
        "--where",
        "workflow=claude-code/web",
    ];
    let told = told(&home, 80, &arguments);
    assert!(
        told.contains(" · where workflow=claude-code/web\n"),
        "{told}"
    );
    assert_eq!(
        of(&["--where", "workflow~n*", "--where", "session~*2026-10"]),
        json!([["nightly-triage"], 7_250_000_000_u64, 0])
    );
}

#[test]
fn what_can_not_be_compared_is_said() {
    let home = two_months();
    let ran = home.run(["explain", "--vs", "soon"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(64), ""));
    assert!(
        ran.err.contains("is no time to compare with"),
        "{}",
        ran.err
    );
    let alone = told(&home, 80, &["explain", "--vs", "2024"]);
    assert!(
        alone.contains("Nothing was recorded in the earlier time"),
        "{alone}"
    );
    let same = told(&home, 80, &["explain", "--vs", "2026-11"]);
    assert!(same.contains("\nSpend did not change.\n"), "{same}");
    let ran = home.run(["explain", "--since", "2020-01-01", "--until", "2020-02-01"]);
    assert_eq!(ran.code, Some(5));
}

/// A call at a second of a session, with something changed.
fn at(seconds: u64, number: u32, change: impl FnOnce(&mut UsageRecord)) -> UsageRecord {
    let opus = ("claude-opus-5-5", OPUS);
    let mut record = spent(
        ("flow", number),
        "2026-11-02T09:00:00Z",
        opus,
        [10, 1_000, 0, 1],
    );
    record.started_unix_ms += i64::try_from(seconds).unwrap() * 1_000;
    record.call.signals.request_hash = Some(u64::from(number));
    record.continues = Some(true);
    record.call.ended = Timestamp::from_nanos(3_210_000_000);
    change(&mut record);
    record
}

fn beside() -> Thread {
    Thread {
        key: "title".to_owned(),
        parent: None,
        kind: ThreadKind::Background,
        agent_type: None,
        depth: 1,
    }
}

/// Waste of every kind.
pub(crate) fn wasteful() -> Home {
    let opus = ("claude-opus-5-5", OPUS);
    let again = |number, seconds, thousands, continues| {
        let mut call = at(seconds, number, |_| {});
        let priced = spent(("flow", number), "2026-11-02T09:00:00Z", opus, thousands);
        call.call.usage = priced.call.usage;
        call.cost = priced.cost;
        call.continues = Some(continues);
        call
    };
    let mut failed = at(2_400, 20, |record| {
        record.call.outcome = Outcome::Error;
        record.call.http_status = Some(500);
    });
    failed.thread = beside();
    let retry_of = failed.identity.clone();
    let records = [
        at(0, 1, |record| record.is_human_turn = true),
        at(30, 2, |_| {}),
        // The same again.
        at(60, 3, |record| record.call.signals.request_hash = Some(2)),
        // Ten minutes later the cache is gone: a million is written again.
        again(4, 700, [10, 0, 1_000, 1], true),
        // Something at the beginning changed.
        again(5, 730, [1_020, 0, 0, 1], false),
        // What is there to read now is small; then it is gone early.
        again(6, 760, [10, 0, 500, 1], true),
        again(7, 790, [400, 100, 0, 1], true),
        at(820, 8, |record| {
            record.call.outcome = Outcome::Aborted;
            record.call.usage_source = UsageSource::ProviderPartial;
        }),
        failed,
        at(2_402, 21, |record| {
            record.thread = beside();
            record.call.attempt = Some(2);
            record.retry_of = Some(retry_of);
        }),
        // An hour and more after everything.
        at(7_000, 30, |record| {
            record.thread = beside();
            record.task = TaskType::Auxiliary;
        }),
        at(9_000, 31, |record| {
            record.thread = beside();
            record.task = TaskType::Auxiliary;
            record.cost = Priced::default();
        }),
        at(9_100, 32, |record| record.call.signals.request_hash = None),
    ];
    let mut outputs: Vec<Output> = records.into_iter().map(usage).collect();
    outputs.push(coverage(
        "2026-11-02T09:00:00Z",
        CoverageOutcome::Decoded,
        12,
    ));
    Home::with(&outputs).timeless()
}

#[test]
fn waste_of_every_kind_is_told_with_what_would_help() {
    let home = wasteful();
    assert_golden("waste-80.txt", &told(&home, 80, &["waste"]));
    assert_golden("waste-160.txt", &told(&home, 160, &["waste"]));
    assert_golden("waste.md", &told(&home, 80, &["waste", "-o", "md"]));
}

#[test]
fn waste_is_counted_once_and_is_never_more_than_was_spent() {
    let home = wasteful();
    let told = document(home.run(["waste", "-o", "json"].iter().chain(&NOVEMBER)));
    let rows = told["rows"].as_array().unwrap();
    let of = |kind: &str| rows.iter().find(|row| row["kind"] == kind).unwrap();
    // A million at $6 instead of $1; 20 more read and paid for than the call before had cached.
    assert_eq!(of("cache_expired")["cost_nanousd"], 5_000_000_000_i64);
    assert_eq!(of("cache_expired")["tokens"], 1_000_000);
    assert_eq!(
        of("cache_prefix_changed")["cost_nanousd"],
        4_000_000_000_i64
    );
    assert_eq!(of("cache_evicted")["tokens"], 400_000);
    assert_eq!(of("idle")["lower_bound"], json!(["cost_nanousd"]));
    for (kind, calls) in [("retry", 1), ("aborted", 1), ("duplicate", 1), ("idle", 2)] {
        assert_eq!(of(kind)["calls"], calls, "{kind}");
    }
    let sum: i64 = rows
        .iter()
        .map(|row| row["cost_nanousd"].as_i64().unwrap())
        .sum();
    assert_eq!(told["totals"]["cost_nanousd"], sum);
    let spent = home
        .sqlite3("SELECT sum(cost_nanousd) FROM v_request")
        .text();
    assert!(sum <= spent.trim().parse().unwrap());
    assert_eq!(
        told["unknown"],
        json!({ "hashless_requests": 1, "threadless_requests": 0, "not_kept_requests": 0, "untold_requests": 0 })
    );
}

#[test]
fn a_filter_leaves_only_waste_of_the_calls_that_pass() {
    let home = wasteful();
    let of = |filter: &str| {
        let arguments = ["waste", "--where", filter, "-o", "json"];
        document(home.run(arguments.iter().chain(&NOVEMBER)))
    };
    let kinds = |told: &Value| -> Vec<String> {
        let rows = told["rows"].as_array().unwrap();
        rows.iter()
            .map(|row| format!("{} {}", row["kind"].as_str().unwrap(), row["calls"]))
            .collect()
    };
    let background = of("thread-kind=background");
    assert_eq!(kinds(&background), ["idle 2", "retry 1"]);
    assert_eq!(background["where"], json!(["thread-kind=background"]));
    assert_eq!(background["unknown"]["hashless_requests"], 0);
    // What is waste of the calls that pass is told by all calls.
    assert_eq!(kinds(&of("outcome=aborted")), ["aborted 1"]);
    let none = ["waste", "--where", "workflow!=flow", "-o", "csv"];
    assert_eq!(home.run(none.iter().chain(&NOVEMBER)).code, Some(5));
    let told = told(&home, 80, &["waste", "--where", "outcome=aborted"]);
    assert!(told.contains("\nwhere outcome=aborted\n"), "{told}");
}

/// Kinds of waste of the calls from a moment on, and how many calls each has.
fn waste_since(home: &Home, from: &str) -> Vec<String> {
    let arguments = [
        "waste",
        "--since",
        from,
        "--until",
        "2026-12-01",
        "-o",
        "json",
    ];
    let told = document(home.run(arguments));
    let rows = told.get("rows").and_then(Value::as_array).unwrap();
    let mut kinds: Vec<String> = rows
        .iter()
        .map(|row| {
            let [kind, calls] = ["kind", "calls"].map(|key| row.get(key).unwrap());
            format!("{} {calls}", kind.as_str().unwrap())
        })
        .collect();
    kinds.sort();
    kinds
}

#[test]
fn a_request_that_is_asked_anew_after_half_a_day_is_no_duplicate() {
    const NIGHT: u64 = 24 * 3_600;
    let again = |seconds, number| {
        usage(at(seconds, number, |record| {
            record.call.signals.request_hash = Some(7);
        }))
    };
    // Each night at nine, and in the second one twelve hours later to the second, and once more after that.
    let calls = [
        again(0, 1),
        again(NIGHT, 2),
        again(NIGHT + 12 * 3_600, 3),
        again(NIGHT + 24 * 3_600 + 1, 4),
    ];
    let home = Home::with(&calls).timeless();
    let duplicates = |from: &str| {
        let mut kinds = waste_since(&home, from);
        kinds.retain(|kind| kind.starts_with("duplicate"));
        kinds
    };
    assert_eq!(duplicates("2026-11-01"), ["duplicate 1"]);
    // What was answered before the time that is asked for counts.
    assert_eq!(duplicates("2026-11-03T18:00:00Z"), ["duplicate 1"]);
    assert_eq!(duplicates("2026-11-04"), [""; 0]);
    let view = home.sqlite3("SELECT request_id, earlier_request_id, after_ms FROM v_duplicate");
    assert_eq!(view.text(), "3|2|43200000\n");
}

#[test]
fn what_was_before_the_time_that_is_asked_for_tells_what_is_waste_in_it() {
    const DAYS: u64 = 3 * 24 * 3_600;
    let opus = ("claude-opus-5-5", OPUS);
    let calls = [
        at(0, 1, |record| record.is_human_turn = true),
        // Days later the cache is gone: a million is written again.
        at(DAYS, 2, |record| {
            let priced = spent(("flow", 2), "2026-11-02T09:00:00Z", opus, [10, 0, 1_000, 1]);
            record.call.usage = priced.call.usage;
            record.cost = priced.cost;
        }),
        // And what is in the background keeps a session warm in which a person was days ago.
        at(2 * DAYS, 3, |record| {
            record.thread = beside();
            record.task = TaskType::Auxiliary;
        }),
    ];
    let home = Home::with(&calls.map(usage)).timeless();
    assert_eq!(
        waste_since(&home, "2026-11-01"),
        ["cache_expired 1", "idle 1"]
    );
    assert_eq!(
        waste_since(&home, "2026-11-05"),
        ["cache_expired 1", "idle 1"]
    );
    assert_eq!(waste_since(&home, "2026-11-07"), ["idle 1"]);
}

#[test]
fn a_time_without_waste_says_so() {
    let home = two_months();
    let told = told(&home, 80, &["waste"]);
    assert!(
        told.contains("No waste was found in the 5 calls of this time."),
        "{told}"
    );
    assert_eq!(home.run(["waste", "--until", "2020-01-01"]).code, Some(5));
}

/// Calls of peers that give themselves names that would be markup.
fn hostile() -> Home {
    let opus = ("claude-opus-5-5", OPUS);
    let names = [
        "</svg><script>alert(1)</script>",
        "\" onload=\"x",
        "שלום עולם مرحبا",
        "[a](javascript:x)|`b`",
        &"long-name-".repeat(12),
        "a\u{202e}b\u{1b}[2J\nc",
    ];
    let mut outputs = Vec::new();
    for (number, name) in (1..).zip(names) {
        let mut one = spent(
            ("flow", number),
            "2026-11-05T10:00:00Z",
            opus,
            [60, 900, 90, 9],
        );
        one.call.model_served = Some(name.to_owned());
        one.session = SessionKey(format!("session-{number}"));
        one.call.signals.tool_calls = number % 2;
        outputs.push(usage(one));
    }
    Home::with(&outputs).timeless()
}

/// What changes with each run.
fn without_time(text: &str) -> String {
    let lines = text.lines().map(|line| match line.find("made 2") {
        Some(at) => format!("{}made TIME\n", line.get(..at).unwrap()),
        // While the month lasts.
        None => line.replace(" so far", "") + "\n",
    });
    lines.collect()
}

#[test]
fn an_index_is_markdown_by_itself() {
    let told = two_months().run(["index", "--month", "2026-11"]).text();
    assert_golden("index.md", &without_time(&told));
}

#[test]
fn an_index_is_one_page_that_needs_nothing_beside_it() {
    let home = two_months();
    let file = home.path("index.html");
    let arguments = [
        "index",
        "--month",
        "2026-11",
        "--html",
        file.to_str().unwrap(),
    ];
    assert_eq!(home.run(arguments).text(), "");
    let page = std::fs::read_to_string(&file).unwrap();
    let told = home
        .run(["index", "--month", "2026-11", "-o", "html"])
        .text();
    assert_eq!(without_time(&told).len(), without_time(&page).len());
    for outside in [
        "<script", "<link", "<img", "@import", "url(", "http:", "https:",
    ] {
        assert!(!page.contains(outside), "{outside}");
    }
    // Every chart has a name, a description and a table under it.
    let count = |of: &str| page.matches(of).count();
    assert_eq!(count("<svg "), 7);
    for of in ["<title id=", "<desc id=", "<table>"] {
        assert_eq!(count(of), 7, "{of}");
    }
}

#[test]
fn hostile_names_stay_names_in_an_index() {
    let home = hostile();
    let month = ["--month", "2026-11"];
    let page = home
        .run(["index", "-o", "html"].iter().chain(&month))
        .text();
    assert_eq!(page.matches("<script").count(), 0);
    assert_eq!(
        page.matches("</svg>").count(),
        page.matches("<svg ").count()
    );
    assert!(page.contains("&lt;/svg&gt;&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(page.contains("&quot; onload=&quot;x"));
    assert!(page.contains("<bdi>שלום עולם مرحبا</bdi>"));
    assert!(!page.contains("\" onload"));
    assert!(!page.contains(&"long-name-".repeat(8)));
    let text = home.run(["index"].iter().chain(&month)).text();
    for hidden in ["<script", "\u{202e}", "\u{1b}"] {
        assert!(
            !text.contains(hidden) && !page.contains(hidden),
            "{hidden:?}"
        );
    }
    assert!(
        text.contains("\\[a\\](javascript&#58;x)\\|\\`b\\`"),
        "{text}"
    );
    // Every row of a table has the cells of its head.
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    let mut head = 0;
    for line in text.lines() {
        if !line.starts_with('|') {
            head = 0;
        } else if head == 0 {
            head = cells(line);
        }
        assert!(!line.starts_with('|') || cells(line) == head, "{line}");
    }
}

#[test]
fn an_index_for_programs_has_both_months() {
    let told = document(two_months().run(["index", "--month", "2026-11", "-o", "json"]));
    let summary = json!({
        "month": told["month"], "hosts": told["hosts"],
        "requests": [told["now"]["requests"], told["before"]["requests"]],
        "cost": [told["now"]["cost_nanousd"], told["before"]["cost_nanousd"]],
        "first": told["now"]["models"][0]["name"],
        "share": told["now"]["models"][0]["share_of_tokens"],
        "agentic": told["now"]["agentic"]["requests"],
        "cached": told["before"]["cached_share"],
    });
    assert_eq!(
        summary,
        json!({
            "month": "2026-11", "hosts": ["build-01"], "requests": [5, 4],
            "cost": [26_760_000_000_u64, 12_350_000_000_u64],
            "first": "claude-opus-5-5", "share": 0.464028, "agentic": 2, "cached": 0.906148,
        })
    );
    let lengths = told["now"]["session_lengths"].as_array().unwrap();
    let spent: u64 = lengths
        .iter()
        .map(|one| one["cost_nanousd"].as_u64().unwrap())
        .sum();
    assert_eq!(spent, 26_760_000_000);
}

#[test]
fn an_index_of_a_month_without_calls_says_so() {
    let home = two_months();
    let ran = home.run(["index", "--month", "2025-01"]);
    assert_eq!(ran.code, Some(5));
    assert!(
        ran.out.contains("The ledger holds no call of 2025-01."),
        "{}",
        ran.out
    );
    let ran = home.run(["index", "--month", "November"]);
    let said = "bpftok: \"November\" is no month; write it as in 2026-11\n";
    assert_eq!((ran.code, ran.err.as_str()), (Some(64), said));
    let first = home.run(["index", "--month", "2026-10"]).text();
    assert!(
        first.contains("The ledger holds no call of 2026-09."),
        "{first}"
    );
}
