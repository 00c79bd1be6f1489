//! `bpftok query` reads everything and writes nothing.

use std::fs;

use serde_json::{Value, json};

use crate::world::{Home, mixed, record, usage};

#[test]
fn every_way_to_write_is_refused_and_nothing_is_changed() {
    let home = Home::with(&[usage(record("msg_1", "2026-11-01T15:00:00Z"))]);
    let before = fs::read(home.db()).unwrap();
    let attached = home.path("attached.db");
    for sql in [
        "DELETE FROM request",
        "UPDATE request SET output_tokens = 0",
        "INSERT INTO meta VALUES ('a', 'b')",
        "DROP VIEW v_request",
        "CREATE TABLE t (x)",
        "CREATE TEMP TABLE t (x)",
        "PRAGMA user_version = 7",
        "PRAGMA query_only = 0",
        "PRAGMA journal_mode = DELETE",
        "VACUUM",
        &format!("VACUUM INTO '{}'", attached.display()),
        &format!("ATTACH '{}' AS other", attached.display()),
        "BEGIN",
        "SELECT 1; DELETE FROM request",
        "WITH x AS (SELECT 1) DELETE FROM request",
        "DELETE FROM request RETURNING *",
    ] {
        let ran = home.run(["query", sql]);
        let changed = fs::read(home.db()).unwrap() != before || attached.exists();
        assert!(!changed, "{sql}");
        if sql.starts_with("PRAGMA journal_mode") {
            // SQLite answers with the mode that stays.
            continue;
        }
        assert_eq!(
            (ran.code, ran.out.as_str(), ran.err.as_str()),
            (
                Some(64),
                "",
                "bpftok: only one statement that reads is allowed here; the ledger is never written by a query\n"
            ),
            "{sql}"
        );
    }
}

#[test]
fn a_wrong_query_says_what_is_wrong() {
    let ran = mixed().run(["query", "SELECT moon FROM v_request"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("no such column: moon"), "{}", ran.err);
}

#[test]
fn all_formats_tell_null_from_zero() {
    let home = mixed();
    let run = |format: &str| {
        home.run([
            "query",
            "-o",
            format,
            "SELECT 1 AS n, NULL AS missing, 0 AS zero, 1.5 AS part, 'x' AS text, x'00ff' AS bytes",
        ])
    };
    assert_eq!(
        run("table").text(),
        "\
n  missing  zero  part  text  bytes
1  —           0   1.5  x     (blob of 2 bytes)
"
    );
    assert_eq!(
        run("csv").text(),
        "n,missing,zero,part,text,bytes\n1,,0,1.5,x,(blob of 2 bytes)\n"
    );
    let document: Value = serde_json::from_str(&run("json").text()).unwrap();
    assert_eq!(
        document["columns"],
        json!(["n", "missing", "zero", "part", "text", "bytes"])
    );
    assert_eq!(
        document["rows"],
        json!([{"n": 1, "missing": null, "zero": 0, "part": 1.5, "text": "x", "bytes": "(blob of 2 bytes)"}])
    );
}

#[test]
fn no_row_is_a_header() {
    let home = mixed();
    assert_eq!(
        home.run(["query", "-o", "csv", "SELECT 1 AS n WHERE 0"])
            .text(),
        "n\n"
    );
    assert_eq!(home.run(["query", "SELECT 1 AS n WHERE 0"]).text(), "n\n");
}

/// What other programs rely on: the names, in the shell as well as here.
#[test]
fn the_sqlite3_shell_reads_every_view() {
    let home = mixed();
    for (view, rows) in [
        ("v_request", 5),
        ("v_session", 2),
        ("v_daily", 4),
        ("v_process", 2),
        ("v_coverage", 2),
    ] {
        assert_eq!(
            home.sqlite3(&format!("SELECT count(*) FROM (SELECT * FROM {view})"))
                .text(),
            format!("{rows}\n"),
            "{view}"
        );
    }
    let columns = home
        .sqlite3("SELECT group_concat(name, ' ') FROM pragma_table_info('v_request')")
        .text();
    for name in "started_utc started_local duration_ms ttft_ms pid comm exe_path user_name session_key key_source \
                 client_name client_version provider endpoint server_name model_requested model_served is_stream \
                 http_status outcome usage_source input_uncached_tokens cache_read_tokens cache_write_5m_tokens \
                 cache_write_1h_tokens cache_write_other_tokens output_tokens reasoning_tokens provider_response_id \
                 stop_reason cwd cgroup_path uid"
        .split_whitespace()
    {
        assert!(columns.split_whitespace().any(|column| column == name), "{name}");
    }
    assert_eq!(
        home.sqlite3("SELECT started_utc, started_local, duration_ms, ttft_ms, pid, comm, user_name, client_name, context_tokens, output_tokens, is_lower_bound FROM v_request ORDER BY started_ms").text(),
        "\
2026-11-01T15:04:10Z|2026-11-01 15:04:10|3200|390|7781|node|dana|claude-code|1000|50|0
2026-11-01T18:20:00Z|2026-11-01 18:20:00|3200|390|1202|python3|app|openai-python|2000|100|0
2026-11-02T09:00:00Z|2026-11-02 09:00:00|3200|390|7781|node|dana|claude-code|123456989|50|0
2026-11-02T09:30:00Z|2026-11-02 09:30:00|3200|390|7781|node|dana|claude-code|||0
2026-11-02T10:00:00Z|2026-11-02 10:00:00|3200||1202|python3|app|openai-python|||1
"
    );
}

/// Every column of every view is explained in the manual, and every explained one exists.
#[test]
fn the_manual_explains_every_view() {
    let manual = include_str!("../../agent/docs/database.md");
    let home = mixed();
    let views = home
        .sqlite3(
            "SELECT name FROM sqlite_master WHERE type = 'view' AND name LIKE 'v!_%' ESCAPE '!'",
        )
        .text();
    // Three have the columns of another.
    let views = views
        .lines()
        .filter(|view| !["v_aborted", "v_alert_active", "v_hop"].contains(view));
    for view in views {
        assert!(manual.contains(&format!("\n## {view}\n")), "{view}");
        let section = manual
            .split(&format!("\n## {view}\n"))
            .nth(1)
            .unwrap()
            .split("\n## ")
            .next()
            .unwrap();
        let columns = home
            .sqlite3(&format!("SELECT name FROM pragma_table_info('{view}')"))
            .text();
        let shared = manual
            .split("## Columns that several views share")
            .nth(1)
            .unwrap()
            .split("\n## ")
            .next()
            .unwrap();
        for column in columns.lines() {
            let name = format!("`{column}`");
            assert!(
                section.contains(&name) || shared.contains(&name),
                "{view}.{column}"
            );
        }
    }
}
