//! Names chosen by programs (RELIABILITY B4): one canary in every place, through every output.

use std::sync::Arc;

use agent_core::session::SessionKey;

use crate::world::{Home, record, usage};

const CANARY: &str = "=cmd()\u{1b}]0;x\u{7}\r\n'\";DROP TABLE request;--\u{202e}\u{9b}31m<script>";

fn home() -> Home {
    let mut record = record("msg_1", "2026-11-01T15:00:00Z");
    let mut process = (**record.process.as_ref().unwrap()).clone();
    process.comm = CANARY.to_owned();
    process.exe = Some(CANARY.to_owned());
    process.argv0 = Some(CANARY.to_owned());
    process.user_name = Some(CANARY.to_owned());
    process.cwd = Some(CANARY.to_owned());
    process.cgroup = Some(CANARY.to_owned());
    record.process = Some(Arc::new(process));
    record.client.name = Some(CANARY.to_owned());
    record.client.version = Some(CANARY.to_owned());
    record.session = SessionKey(CANARY.to_owned());
    record.call.model_served = Some(CANARY.to_owned());
    record.call.server_name = Some(CANARY.to_owned());
    record.call.stop_reason = Some(CANARY.to_owned());
    record.call.response_id = Some(CANARY.to_owned());
    record.identity = CANARY.to_owned();
    Home::with(&[usage(record)])
}

#[test]
fn the_ledger_keeps_the_text_as_it_was() {
    let home = home();
    assert_eq!(home.sqlite3("SELECT count(*) FROM request").text(), "1\n");
    let document = home
        .run([
            "query",
            "-o",
            "json",
            "SELECT comm, session_key FROM v_request",
        ])
        .text();
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    assert_eq!(
        document["rows"],
        serde_json::json!([{"comm": CANARY, "session_key": CANARY}])
    );
}

#[test]
fn no_output_steers_a_terminal_or_breaks_a_line() {
    let home = home();
    let window = ["--since", "2026-11-01", "--until", "2026-11-02"];
    let mut outputs = vec![home.run(["tail"]).text()];
    for format in ["table", "csv", "json"] {
        for by in ["process", "session", "model", "provider", "client", "day"] {
            outputs.push(
                home.run(["report", "--by", by, "-o", format].iter().chain(&window))
                    .text(),
            );
        }
        outputs.push(
            home.run(["sessions", "-o", format].iter().chain(&window))
                .text(),
        );
        outputs.push(
            home.run(["query", "-o", format, "SELECT * FROM v_request"])
                .text(),
        );
        outputs.push(
            home.run([
                "query",
                "-o",
                format,
                "SELECT comm AS '=a\u{1b}b\n' FROM v_request",
            ])
            .text(),
        );
    }
    for top in [&["top", "-1"][..], &["top", "-o", "json"]] {
        outputs.push(home.run(top).text());
    }
    for output in &outputs {
        let hidden = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!output.contains(hidden), "{output:?}");
    }
    assert_eq!(outputs.first().unwrap().lines().count(), 1);
}

#[test]
fn no_spreadsheet_cell_begins_as_a_formula() {
    let csv = home()
        .run([
            "query",
            "-o",
            "csv",
            "SELECT comm, '+1', '-1', '@x', char(9) || '=1', -1 FROM v_request",
        ])
        .text();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 1);
    let cells: Vec<&str> = rows[0].iter().collect();
    assert!(cells[0].starts_with("'=cmd()\\u{1b}"), "{}", cells[0]);
    assert_eq!(&cells[1..], ["'+1", "'-1", "'@x", "'\\t=1", "-1"]);
}

#[test]
fn a_path_of_a_ledger_is_shown_safely_too() {
    let home = Home::new();
    let ran = crate::world::ran(
        std::process::Command::new(crate::world::BPFTOK)
            .args(["report", "--db"])
            .arg(home.path("a\u{1b}b.db")),
    );
    assert_eq!(ran.code, Some(5));
    assert!(
        !ran.err.trim_end().contains(char::is_control),
        "{:?}",
        ran.err
    );
}
