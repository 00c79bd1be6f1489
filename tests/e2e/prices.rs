//! `bpftok prices` and `bpftok reprice` on the built program.

use std::fs;

use agent_core::prices::{List, Priced, Prices};
use serde_json::{Value, json};

use crate::world::{Home, record, usage};

const NOVEMBER: [&str; 4] = ["--since", "2026-11-01", "--until", "2026-11-03"];

fn document(home: &Home, arguments: &[&str]) -> Value {
    serde_json::from_str(&home.run(arguments).text()).unwrap()
}

/// A ledger with one call that has a price, one that had none at its time, and one that has none.
fn home() -> Home {
    let prices = Prices::new(List::bundled(), Vec::new());
    let with = |identity: &str, model: &str| {
        let mut record = record(identity, "2026-11-01T15:00:00Z");
        record.call.model_served = Some(model.to_owned());
        record.cost = prices.call(&record.call, record.started_unix_ms).0;
        record
    };
    let mut earlier = with("msg_2", "claude-haiku-5-5");
    earlier.cost = Priced::default();
    Home::with(&[
        usage(with("msg_1", "claude-opus-5-5")),
        usage(earlier),
        usage(with("msg_3", "acme-1")),
    ])
}

#[test]
fn a_model_is_shown_with_all_of_its_prices_to_the_last_digit() {
    let home = Home::new();
    let shown = home.run([
        "prices",
        "show",
        "claude-haiku-5-5-20261007",
        "--provider",
        "anthropic",
    ]);
    let text = shown.text();
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[1..5],
        [
            vec![
                "anthropic",
                "claude-haiku-5-5",
                "anthropic",
                "—",
                "—",
                "—",
                "—",
                "—",
                "$0.10",
                "$0.01",
                "$0.125",
                "$0.20",
                "$0.50"
            ],
            vec![
                "anthropic",
                "claude-haiku-5-5",
                "anthropic",
                "—",
                "100,000",
                "—",
                "—",
                "—",
                "$0.50",
                "$0.05",
                "$0.625",
                "$1.00",
                "$2.50"
            ],
            vec![
                "anthropic",
                "claude-haiku-5-5",
                "anthropic",
                "batch",
                "—",
                "2026-10-14",
                "—",
                "—",
                "$0.05",
                "$0.005",
                "$0.0625",
                "$0.10",
                "$0.25"
            ],
            vec![
                "anthropic",
                "claude-haiku-5-5",
                "anthropic",
                "batch",
                "100,000",
                "2026-10-14",
                "—",
                "—",
                "$0.25",
                "$0.025",
                "$0.3125",
                "$0.50",
                "$1.25"
            ],
        ],
        "{text}"
    );
    assert!(
        text.ends_with("US dollars per million tokens · genai-prices 0.2.1, of 2026-10-30\n"),
        "{text}"
    );
    // What Azure sells at the price of its maker is told once.
    let all = document(&home, &["prices", "show", "gpt-5.5", "-o", "json"]);
    let rows = all["rows"].as_array().unwrap();
    let openai = rows.iter().filter(|row| row["provider"] == "openai");
    assert_eq!(openai.count(), 8);
    let unknown = home.run(["prices", "show", "acme-claude-opus-4-7"]);
    assert_eq!((unknown.code, unknown.err.as_str()), (Some(5), ""));
    assert!(
        unknown
            .out
            .starts_with("No price in the list is for \"acme-claude-opus-4-7\"")
    );
    let listed = document(
        &home,
        &["prices", "list", "--provider", "anthropic", "-o", "json"],
    );
    assert_eq!(listed["list"]["version"], "0.2.1");
    let rows = listed["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 25);
    let sonnet = rows
        .iter()
        .find(|row| row["model"] == "claude-sonnet-4-6")
        .unwrap();
    assert_eq!(sonnet["input_uncached_nanousd_per_mtok"], 3_000_000_000_u64);
    assert_eq!(sonnet["valid_from"], "2026-03-13");
}

#[test]
fn a_model_is_found_as_any_provider_names_it_and_nothing_else_is() {
    let home = Home::new();
    let sellers = |name: &str| {
        let shown = document(&home, &["prices", "show", name, "-o", "json"]);
        let rows = shown["rows"].as_array().unwrap();
        let mut sellers: Vec<String> = rows
            .iter()
            .map(|row| ["provider", "model", "calls_to"].map(|key| row[key].as_str().unwrap()))
            .map(|words| words.join(" | "))
            .collect();
        sellers.dedup();
        sellers
    };
    assert_eq!(
        sellers("us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ["aws | regional.anthropic.claude-sonnet-4-5-20250929-v1:0 | bedrock"]
    );
    assert_eq!(
        sellers("gpt-5.5-2026-04-23"),
        [
            "github-copilot | gpt-5.5 | copilot",
            "openai | gpt-5.5 | azure, openai"
        ]
    );
    assert_eq!(
        sellers("anthropic/claude-opus-4.7"),
        [
            "anthropic | claude-opus-4-7 | anthropic, azure, vercel",
            "openrouter | anthropic/claude-opus-4.7 | openrouter"
        ]
    );
    for name in [
        "us.acme.claude-sonnet-4-5-20250929-v1:0",
        "claude-opus-5-5x",
    ] {
        let unknown = home.run(["prices", "show", name]);
        let told = format!("No price in the list is for {name:?}");
        assert_eq!(unknown.code, Some(5), "{unknown:?}");
        assert!(unknown.out.starts_with(&told), "{unknown:?}");
    }
}

#[test]
fn every_report_of_a_time_names_the_prices_in_force_and_says_if_they_are_old() {
    let home = home();
    let config = |name, days: u32, own: &str| {
        let toml = format!("{own}[prices]\nmax_age_days = {days}\n");
        let path = home.configure(name, &toml);
        path.into_os_string().into_string().unwrap()
    };
    let own = "[[price]]\nmodel = \"a\"\ninput = 1\n[[price]]\nmodel = \"b\"\ninput = 1\n";
    let (fresh, old) = (config("fresh.toml", 3_650, ""), config("old.toml", 1, own));
    let commands: [&[&str]; 4] = [
        &["report"],
        &["sessions"],
        &["prices", "check"],
        &["reprice", "--dry-run"],
    ];
    for command in commands {
        let ran = |config: &str, format| {
            let global = ["--config", config];
            let arguments = global.iter().chain(command);
            home.run(arguments.chain(&NOVEMBER).chain(&["-o", format]))
                .text()
        };
        let heading = |config| {
            let text = ran(config, "table");
            let line = text.lines().next().unwrap();
            line.replace(" · host build-01", "")
        };
        assert_eq!(
            heading(&fresh),
            "2026-11-01 00:00 – 2026-11-03 00:00 +00:00 (UTC) · prices genai-prices 0.2.1 (2026-10-30)"
        );
        let told = heading(&old);
        let (_, told) = told.split_once("(2026-10-30, ").unwrap();
        let (days, told) = told.split_once(' ').unwrap();
        assert!(days.replace(',', "").parse::<u64>().unwrap() >= 2, "{days}");
        assert_eq!(told, "days old) · 2 own");
        let document = |config| serde_json::from_str::<Value>(&ran(config, "json")).unwrap();
        let prices = |own, is_old| {
            json!({
                "source": "genai-prices", "version": "0.2.1", "as_of": "2026-10-30T00:00:00Z",
                "own": own, "is_old": is_old,
            })
        };
        assert_eq!(document(&fresh)["prices"], prices(0, false));
        assert_eq!(document(&old)["prices"], prices(2, true));
    }
}

#[test]
fn what_has_no_price_is_told_and_what_has_one_since_can_be_priced_anew() {
    let home = home();
    let check = |home: &Home| {
        let arguments = ["prices", "check", "-o", "json"].iter().chain(&NOVEMBER);
        let text = home.run(arguments).text();
        let document: Value = serde_json::from_str(&text).unwrap();
        document["rows"].clone()
    };
    let row = |model: &str, state: &str| {
        json!({
            "provider": "anthropic", "model": model, "requests": 1, "unpriced_tokens": 1_050,
            "last": "2026-11-01T15:00:00Z", "state": state,
        })
    };
    let rows = json!([
        row("acme-1", "no price"),
        row("claude-haiku-5-5", "has a price now")
    ]);
    assert_eq!(check(&home), rows);
    let reprice = |extra: &[&str]| {
        let arguments = ["reprice", "-o", "json"]
            .iter()
            .chain(&NOVEMBER)
            .chain(extra);
        let text = home.run(arguments).text();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let told = reprice(&["--dry-run"]);
    let numbers = |document: &Value| {
        [
            "rows",
            "priced_rows",
            "changed_rows",
            "cost_nanousd",
            "repriced_nanousd",
            "is_kept",
        ]
        .map(|name| document[name].clone())
    };
    let expected = |is_kept| {
        [
            json!(3),
            json!(2),
            json!(1),
            json!(2_010_000),
            json!(2_064_250),
            json!(is_kept),
        ]
    };
    assert_eq!(numbers(&told), expected(false));
    let both =
        "SELECT provider_response_id, cost_nanousd, repriced_nanousd FROM v_request ORDER BY 1";
    assert_eq!(
        home.sqlite3(both).text(),
        "msg_1|2010000|\nmsg_2||\nmsg_3||\n"
    );
    // While an agent writes, too.
    let writer = home.writer();
    assert_eq!(numbers(&reprice(&[])), expected(true));
    writer.close().unwrap();
    assert_eq!(
        home.sqlite3(both).text(),
        "msg_1|2010000|2010000\nmsg_2||54250\nmsg_3||\n"
    );
    let report = home
        .run(["report", "-o", "json"].iter().chain(&NOVEMBER))
        .text();
    let report: Value = serde_json::from_str(&report).unwrap();
    let totals = &report["totals"];
    assert_eq!(
        (&totals["cost_nanousd"], &totals["repriced_nanousd"]),
        (&json!(2_010_000), &json!(2_064_250))
    );
    let none = Home::new().run(["reprice", "--since", "today"]);
    assert_eq!(none.code, Some(5), "{none:?}");
}

#[test]
fn ones_own_prices_go_before_the_list_and_are_shown() {
    let home = home();
    let config = home.configure(
        "config.toml",
        "[[price]]\nmodel = \"acme-*\"\ninput = 1\ncache_read = 0.1\ncache_write_5m = 1\noutput = 2\n",
    );
    let config = config.to_str().unwrap();
    let own = document(
        &home,
        &["--config", config, "prices", "override", "-o", "json"],
    );
    assert_eq!(own["rows"][0]["model"], "acme-*");
    assert_eq!(own["rows"][0]["output_nanousd_per_mtok"], 2_000_000_000_u64);
    let arguments = ["--config", config, "reprice"];
    home.run(arguments.iter().chain(&NOVEMBER)).text();
    // 150 × $1 + 800 × $0.10 + 50 × $1 + 50 × $2 per million.
    assert_eq!(
        home.sqlite3("SELECT repriced_nanousd FROM v_request WHERE model_served = 'acme-1'")
            .text(),
        "380000\n"
    );
    let none = home.run(["prices", "override"]);
    assert_eq!(none.code, Some(5));
}

#[test]
fn a_later_list_is_installed_whole_and_a_wrong_one_not_at_all() {
    let home = home();
    let file = home.path("later.json");
    let list = r#"[{"id":"anthropic","models":[{"id":"acme-1","match":{"equals":"acme-1"},
        "prices":{"input_mtok":1,"output_mtok":1,"cache_read_mtok":1,"cache_write_mtok":1}}]}]"#;
    fs::write(&file, list).unwrap();
    let path = file.to_str().unwrap();
    let version = |home: &Home| {
        let listed = document(home, &["prices", "list", "-o", "json"]);
        listed["list"]["version"].clone()
    };
    let update = [
        "prices",
        "update",
        path,
        "--as-of",
        "2026-11-20",
        "-o",
        "json",
    ];
    let told = document(&home, &[&update[..], &["--dry-run"]].concat());
    assert_eq!(
        (&told["added"], &told["installed"]),
        (&json!(1), &Value::Null)
    );
    assert_eq!(version(&home), "0.2.1");
    let done = document(&home, &update);
    let installed = home.path("state/prices.json");
    assert_eq!(done["installed"], installed.to_str().unwrap());
    let sha256 = done["sha256"].as_str().unwrap();
    assert_eq!(
        version(&home),
        format!("sha256:{}", sha256.get(..12).unwrap())
    );
    home.run(["reprice"].iter().chain(&NOVEMBER)).text();
    assert_eq!(
        home.sqlite3("SELECT repriced_nanousd FROM v_request WHERE model_served = 'acme-1'")
            .text(),
        "1050000\n"
    );
    // What is no list changes nothing.
    fs::write(&file, "[{\"id\":\"anthropic\",\"models\":[]}]").unwrap();
    let refused = home.run(["prices", "update", path]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err.contains("no model in it has a price"),
        "{}",
        refused.err
    );
    assert_eq!(
        version(&home),
        format!("sha256:{}", sha256.get(..12).unwrap())
    );
    // A list that was damaged is said, and that of the program is in force.
    let mut bytes = fs::read(&installed).unwrap();
    *bytes.last_mut().unwrap() = b' ';
    fs::write(&installed, bytes).unwrap();
    let damaged = home.run(["prices", "show", "claude-opus-5-5"]);
    assert!(
        damaged.out.contains("genai-prices 0.2.1"),
        "{}",
        damaged.out
    );
    assert!(damaged.err.contains("is damaged"), "{}", damaged.err);
    // An older list than that of the program stands behind it.
    fs::write(&file, list).unwrap();
    let older = home.run(["prices", "update", path, "--as-of", "2026-01-01"]);
    assert_eq!(older.code, Some(0));
    assert!(
        older
            .out
            .ends_with("is of a later day, and stays in force\n"),
        "{}",
        older.out
    );
    assert_eq!(version(&home), "0.2.1");
}
