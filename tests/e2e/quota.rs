//! `bpftok quota` on the ledger: what is left of the limits of accounts.

use agent_core::event::Timestamp;
use agent_core::llm::{Account, Limit, Observed, Provider, Reset, Share};
use agent_core::pipeline::Output;
use serde_json::{Value, json};

use crate::schema::Schema;
use crate::world::Home;

const DAY_MS: i64 = 86_400_000;

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn told(unix_ms: i64, provider: &'static str, account: Option<&str>, limit: Limit) -> Output {
    Output::Quota {
        unix_ms,
        observed: Box::new(Observed {
            at: Timestamp::default(),
            provider: Provider(provider),
            account: account.and_then(Account::new),
            limit,
        }),
    }
}

const fn limit(name: &'static str, millionths: u32) -> Limit {
    Limit {
        name,
        window_seconds: None,
        used: Some(Share::of_millionths(millionths)),
        limit: None,
        remaining: None,
        resets: None,
    }
}

/// A plan of which five hours and a week are known, one of which began anew since; and a key.
fn limits(now_ms: i64) -> Vec<Output> {
    let plan = |unix_ms, limit| told(unix_ms, "anthropic", Some("org-canary"), limit);
    vec![
        plan(
            now_ms - 9_960_500,
            Limit {
                resets: Some(Reset::After { ms: 1_000 }),
                window_seconds: Some(604_800),
                ..limit("unified-7d", 999_999)
            },
        ),
        plan(now_ms - 7_200_000, limit("unified-5h", 100_000)),
        plan(
            now_ms - 3_600_500,
            Limit {
                window_seconds: Some(18_000),
                resets: Some(Reset::After { ms: 7_260_000 }),
                ..limit("unified-5h", 634_000)
            },
        ),
        told(
            now_ms - 10_800_500,
            "openai",
            None,
            Limit {
                limit: Some(20_000_000),
                remaining: Some(0),
                ..limit("tokens", 1_000_000)
            },
        ),
        told(now_ms - 2 * DAY_MS, "openai", None, limit("requests", 10)),
    ]
}

/// The columns of each line, without what stands between them.
fn cells(text: &str) -> Vec<Vec<&str>> {
    let columns = |line| str::split(line, "  ").map(str::trim);
    text.lines()
        .map(|line| columns(line).filter(|cell| !cell.is_empty()).collect())
        .collect()
}

#[test]
fn the_latest_of_each_limit_is_shown_and_what_is_stale_is_marked() {
    let home = Home::with(&limits(now_ms()));
    let text = home.run(["quota"]).text();
    assert!(!text.contains("canary"), "{text}");
    let cells = cells(&text);
    let heading = [
        "PROVIDER",
        "ACCOUNT",
        "LIMIT",
        "WINDOW",
        "USED",
        "LEFT",
        "LIMITED TO",
        "RESETS IN",
        "SEEN",
    ];
    assert_eq!(cells[0], heading);
    let account = cells[1][1];
    assert_eq!(account.len(), 8);
    let of = |provider: &str, limit: &str| {
        let line = cells
            .iter()
            .find(|line| line[0] == provider && line[2] == limit);
        line.unwrap().clone()
    };
    assert_eq!(
        of("anthropic", "unified-7d"),
        [
            "anthropic",
            account,
            "unified-7d",
            "7 d",
            "99.9 %",
            "—",
            "—",
            "—",
            "2h46m",
            "stale"
        ]
    );
    assert_eq!(
        of("anthropic", "unified-5h"),
        [
            "anthropic",
            account,
            "unified-5h",
            "5 h",
            "63.4 %",
            "—",
            "—",
            "1h00m",
            "1h00m"
        ]
    );
    assert_eq!(
        of("openai", "tokens"),
        [
            "openai", "—", "tokens", "—", "100.0 %", "0", "20.0 M", "—", "3h00m", "used up"
        ]
    );
    assert_eq!(
        of("openai", "requests"),
        [
            "openai", "—", "requests", "—", "<0.1 %", "—", "—", "—", "2d00h", "stale"
        ]
    );
    // One row of a limit, whatever it said before.
    assert_eq!(cells.iter().filter(|line| line.len() > 2).count(), 5);
}

#[test]
fn programs_read_the_same_as_json() {
    let now_ms = now_ms();
    let home = Home::with(&limits(now_ms));
    let text = home
        .run(["quota", "--provider", "anthropic", "--json"])
        .text();
    let mut document: Value = serde_json::from_str(&text).unwrap();
    let schema = Schema::published();
    schema.hold(&document, "quota of anthropic");
    let all = home.run(["quota", "--json"]).text();
    schema.hold(&serde_json::from_str(&all).unwrap(), "quota");
    let rows = document["rows"].as_array_mut().unwrap();
    assert_eq!(rows.len(), 2);
    let row = rows.pop().unwrap();
    let hash = row["account_hash"].as_str().unwrap();
    assert_eq!(hash.len(), 32);
    // What depends on the moment of the report.
    let (seen, resets) = (row["seen_ago_ms"].as_i64(), row["resets_in_ms"].as_i64());
    let at = |ms| jiff::Timestamp::from_millisecond(ms).unwrap().to_string();
    assert_eq!(
        row,
        json!({
            "provider": "anthropic",
            "host_name": "build-01",
            "account_hash": hash,
            "account": hash.get(..8).unwrap(),
            "limit_name": "unified-5h",
            "window_seconds": 18_000,
            "window": "5 h",
            "used_ratio": 0.634,
            "used": "63.4 %",
            "remaining_value": null,
            "limit_value": null,
            "resets_at": at(now_ms + 3_659_500),
            "resets_in_ms": resets,
            "observed_at": at(now_ms - 3_600_500),
            "seen_ago_ms": seen,
            "is_stale": false,
            "state": "",
        })
    );
    assert!(seen.unwrap() >= 3_600_500 && resets.unwrap() <= 3_659_500);
    assert_eq!(home.run(["quota", "-o", "json"]).code, Some(0));
    assert_eq!(home.run(["quota", "-o", "csv", "--json"]).code, Some(64));
}

#[test]
fn a_ledger_without_limits_says_what_to_do() {
    let home = Home::with(&[]);
    let ran = home.run(["quota"]);
    assert_eq!(ran.code, Some(5));
    assert!(ran.out.contains("make a call while"), "{}", ran.out);
    let home = Home::with(&limits(now_ms()));
    let ran = home.run(["quota", "--provider", "groq\u{1b}[31m"]);
    assert_eq!(ran.code, Some(5));
    assert!(
        ran.out
            .starts_with("No limit of groq\\u{1b}[31m has been told yet."),
        "{}",
        ran.out
    );
}

#[test]
fn old_rows_are_forgotten_and_the_same_one_is_stored_once() {
    let now_ms = now_ms();
    let row = |days: i64| told(now_ms - days * DAY_MS, "openai", None, limit("tokens", 1));
    let home = Home::with(&[row(40), row(29), row(29), row(1)]);
    let count = "SELECT count(*) FROM rate_limit";
    // What is 30 days older than the latest.
    assert_eq!(home.sqlite3(count).text(), "2\n");
    let mut writer = home.writer();
    writer.apply(&[row(1), row(0)]).unwrap();
    writer.close().unwrap();
    assert_eq!(home.sqlite3(count).text(), "3\n");
    assert_eq!(
        home.sqlite3("SELECT count(*), account_hash IS NULL FROM v_quota")
            .text(),
        "1|1\n"
    );
}
