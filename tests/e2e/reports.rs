//! What reports say, word for word.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use agent_core::pipeline::{CoverageMinute, CoverageOutcome, Output};
use serde_json::{Value, json};

use crate::world::{BPFTOK, Home, Ran, assert_golden, coverage, mixed, ms, process, record, usage};

const NOVEMBER: [&str; 4] = ["--since", "2026-11-01", "--until", "2026-11-03"];

fn report(home: &Home, zone: &str, columns: Option<u32>, arguments: &[&str]) -> String {
    home.run_in(
        zone,
        columns,
        ["report"].iter().chain(&NOVEMBER).chain(arguments),
    )
    .text()
}

#[test]
fn by_day_at_200_columns() {
    assert_golden("day-200.txt", &report(&mixed(), "UTC", Some(200), &[]));
}

#[test]
fn by_day_at_80_columns() {
    let text = report(&mixed(), "UTC", Some(80), &[]);
    assert!(
        text.lines()
            .take_while(|line| !line.contains("v_coverage"))
            .all(|line| line.chars().count() <= 80)
    );
    assert_golden("day-80.txt", &text);
}

#[test]
fn coverage_is_a_share_of_calls() {
    let minute = "2026-11-01T15:04:00Z";
    let call = usage(record("msg_1", "2026-11-01T15:04:10Z"));
    let decoded = coverage(minute, CoverageOutcome::Decoded, 3);
    let share = |outputs: &[Output]| {
        let text = report(&Home::with(outputs), "UTC", Some(200), &[]);
        let line = text.lines().find(|line| line.starts_with("coverage"));
        line.unwrap().to_owned()
    };
    assert_eq!(
        share(&[call.clone(), decoded.clone()]),
        "coverage 100 % of calls · estimated 0.0 % of tokens · estimated 0.0 % of cost"
    );
    for (outcome, said) in [
        (CoverageOutcome::Truncated, "coverage 75.0 % of calls"),
        // A connection to a provider that can't be read holds a call at least.
        (CoverageOutcome::Undecodable, "coverage 75.0 % of calls"),
        (CoverageOutcome::NoUsage, "coverage 100 % of calls"),
        (
            CoverageOutcome::LostEvent,
            "coverage 100 % of calls · 1 record lost by the kernel",
        ),
    ] {
        let other = coverage(minute, outcome, 1);
        let line = share(&[call.clone(), decoded.clone(), other]);
        assert!(line.starts_with(said), "{outcome:?}: {line}");
        let is_whole = outcome == CoverageOutcome::NoUsage;
        assert_eq!(
            line.contains("1 process not fully decoded"),
            !is_whole,
            "{line}"
        );
    }
}

/// One connection that was not decoded, of this program.
fn unprobed(pid: u32, comm: &str) -> Output {
    Output::Coverage(CoverageMinute {
        minute_unix_ms: ms("2026-11-01T15:04:00Z"),
        process: Some(process(pid, comm, "/opt/app", "dana")),
        outcome: CoverageOutcome::Unprobed,
        events: 1,
        bytes: 4_711,
    })
}

#[test]
fn connections_that_were_not_decoded_name_their_programs() {
    let call = usage(record("msg_1", "2026-11-01T15:04:10Z"));
    let decoded = coverage("2026-11-01T15:04:00Z", CoverageOutcome::Decoded, 1);
    let said = |outputs: &[Output]| {
        let text = report(&Home::with(outputs), "UTC", Some(200), &[]);
        let line = text.lines().find(|line| line.starts_with("coverage"));
        line.unwrap().to_owned()
    };
    assert_eq!(
        said(&[call.clone(), decoded.clone(), unprobed(1, "codex")]),
        "coverage 50.0 % of calls · 1 process not decoded: codex (bpftok doctor) · estimated 0.0 % of tokens · estimated 0.0 % of cost"
    );
    let many = [
        (1, "codex"),
        (2, "codex"),
        (3, "deno"),
        (4, "e\u{1b}"),
        (5, "f"),
    ];
    let mut outputs = vec![call, decoded];
    outputs.extend(many.map(|(pid, comm)| unprobed(pid, comm)));
    assert_eq!(
        said(&outputs),
        "coverage 16.6 % of calls · 5 processes not decoded: codex, deno, e\\u{1b}, … (bpftok doctor) · estimated 0.0 % of tokens · estimated 0.0 % of cost"
    );
}

/// The ledger of a host whose only client can't be decoded says so wherever it says that there is
/// nothing.
#[test]
fn a_client_that_was_not_decoded_is_not_zero_usage() {
    let home = Home::with(&[unprobed(7, "codex")]);
    let run = |arguments: &[&str]| {
        let ran = home.run(arguments.iter().chain(&NOVEMBER));
        assert_eq!(ran.code, Some(5), "{ran:?}");
        ran.out
    };
    for command in ["report", "sessions"] {
        let text = run(&[command]);
        assert!(
            text.contains("1 process not decoded: codex (bpftok doctor)"),
            "{text}"
        );
    }
    let process = home.sqlite3(
        "SELECT comm, request_count, input_uncached_tokens IS NULL, unprobed_connections FROM v_process",
    );
    assert_eq!(process.text(), "codex|0|1|1\n");
    let document: Value = serde_json::from_str(&run(&["report", "-o", "json"])).unwrap();
    assert_eq!(document["coverage"]["unprobed_connections"], 1);
    assert_eq!(document["coverage"]["unprobed_processes"], 1);
    assert_eq!(document["coverage"]["decoded_calls"], 0);
    assert_eq!(document["coverage"]["total_calls"], 1);
}

#[test]
fn by_session_at_80_columns() {
    assert_golden(
        "session-80.txt",
        &report(&mixed(), "UTC", Some(80), &["--by", "session"]),
    );
}

#[test]
fn by_process_at_200_columns() {
    assert_golden(
        "process-200.txt",
        &report(&mixed(), "UTC", Some(200), &["--by", "process"]),
    );
}

#[test]
fn by_model_for_spreadsheets() {
    assert_golden(
        "model.csv",
        &report(&mixed(), "UTC", Some(80), &["--by", "model", "-o", "csv"]),
    );
}

#[test]
fn by_provider_and_client_and_hour() {
    assert_golden(
        "provider-60.txt",
        &report(&mixed(), "UTC", Some(60), &["--by", "provider"]),
    );
    assert_golden(
        "client-60.txt",
        &report(&mixed(), "UTC", Some(60), &["--by", "client"]),
    );
    assert_golden(
        "hour-60.txt",
        &report(&mixed(), "UTC", Some(60), &["--by", "hour"]),
    );
}

#[test]
fn by_day_for_programs() {
    let text = report(&mixed(), "Asia/Kathmandu", None, &["-o", "json"]);
    let document: Value = serde_json::from_str(&text).unwrap();
    let generated = document["generated_at"].as_str().unwrap();
    assert!(generated.ends_with('Z'));
    assert_golden("day.json", &text.replace(generated, "GENERATED"));
}

/// The call of 18:20 UTC is of the next day in Kathmandu, five hours and three quarters ahead.
#[test]
fn days_and_hours_are_those_of_the_zone() {
    let days = |zone| report(&mixed(), zone, Some(60), &["-o", "csv"]);
    let first = |text: String| -> Vec<String> {
        text.lines()
            .skip(1)
            .map(|line| line.split(',').take(4).collect::<Vec<_>>().join(","))
            .collect()
    };
    assert_eq!(
        first(days("UTC")),
        [
            "2026-11-01,2026-11-01T00:00:00Z,2,2",
            "2026-11-02,2026-11-02T00:00:00Z,2,3"
        ]
    );
    assert_eq!(
        first(days("Asia/Kathmandu")),
        [
            "2026-11-01,2026-10-31T18:15:00Z,1,1",
            "2026-11-02,2026-11-01T18:15:00Z,2,4"
        ]
    );
}

#[test]
fn an_hour_that_comes_twice_is_two_rows() {
    let home = Home::with(&[
        usage(record("msg_1", "2026-10-25T00:30:00Z")),
        usage(record("msg_2", "2026-10-25T01:30:00Z")),
    ]);
    let text = home
        .run_in(
            "Europe/Berlin",
            None,
            [
                "report",
                "--by",
                "hour",
                "--since",
                "2026-10-25",
                "--until",
                "2026-10-26",
                "-o",
                "csv",
            ],
        )
        .text();
    let hours: Vec<&str> = text
        .lines()
        .skip(1)
        .map(|line| line.split(',').next().unwrap())
        .collect();
    assert_eq!(hours, ["2026-10-25 02:00+02:00", "2026-10-25 02:00+01:00"]);
}

#[test]
fn a_window_takes_its_beginning_and_leaves_its_end() {
    let home = Home::with(&[
        usage(record("msg_1", "2026-11-01T15:00:00Z")),
        usage(record("msg_2", "2026-11-01T15:00:01Z")),
    ]);
    let requests = |since: &str, until: &str| {
        let ran = home.run([
            "report", "--by", "provider", "-o", "json", "--since", since, "--until", until,
        ]);
        let document: Value = serde_json::from_str(&ran.out).unwrap();
        document["totals"]["requests"].clone()
    };
    assert_eq!(requests("2026-11-01 15:00:00", "2026-11-01 15:00:01"), 1);
    assert_eq!(requests("2026-11-01 15:00:00", "2026-11-01 15:00:02"), 2);
    assert_eq!(requests("@1793545201", "@1793545202"), 1);
}

#[test]
fn sessions_say_whose_they_were() {
    assert_golden(
        "sessions-120.txt",
        &mixed()
            .run_in("UTC", Some(120), ["sessions"].iter().chain(&NOVEMBER))
            .text(),
    );
}

#[test]
fn tail_prints_a_line_for_each_call() {
    assert_golden("tail.txt", &mixed().run(["tail", "-n", "4"]).text());
}

#[test]
fn tail_follows_what_is_stored_later() {
    let home = Home::new();
    let mut writer = home.writer();
    writer
        .apply(&[usage(record("msg_1", "2026-11-01T15:00:00Z"))])
        .unwrap();
    let mut tail = Command::new(BPFTOK)
        .args(["tail", "-f", "-n", "1"])
        .arg("--db")
        .arg(home.db())
        .env("TZ", "UTC")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let starts = |line: Option<String>| line.unwrap().chars().take(15).collect::<String>();
    assert_eq!(starts(lines.next()), "Nov 01 15:00:00");
    writer
        .apply(&[usage(record("msg_2", "2026-11-01T16:00:00Z"))])
        .unwrap();
    assert_eq!(starts(lines.next()), "Nov 01 16:00:00");
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn without_a_ledger_the_remedy_is_named() {
    let home = Home::new();
    for command in [
        &["report"][..],
        &["sessions"],
        &["tail"],
        &["status"],
        &["query", "SELECT 1"],
    ] {
        assert_eq!(
            home.run(command),
            Ran {
                code: Some(5),
                out: String::new(),
                err: format!(
                    "bpftok: no ledger at {} yet; start `sudo bpftok run`, or name another file with --db\n",
                    home.db().display()
                ),
            }
        );
    }
}

#[test]
fn an_empty_ledger_and_an_empty_window_say_what_to_do() {
    let empty = Home::with(&[]);
    for command in ["report", "sessions", "tail"] {
        let ran = empty.run([command]);
        assert_eq!((ran.code, ran.err.as_str()), (Some(5), ""));
        assert!(
            ran.out.starts_with("No call has been recorded yet."),
            "{}",
            ran.out
        );
    }
    let ran = mixed().run(["report", "--since", "2020-01-01", "--until", "2020-02-01"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (
            Some(5),
            "No call in this time. The ledger holds calls from 2026-11-01 15:04 to 2026-11-02 10:00; choose with --since and --until.\n"
        )
    );
    let ran = empty.run(["report", "-o", "json"]);
    let document: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &document["rows"]), (Some(5), &json!([])));
}

#[test]
fn a_wrong_time_is_a_wrong_usage() {
    let home = mixed();
    let ran = home.run(["report", "--since", "soon"]);
    assert_eq!(ran.code, Some(64));
    assert!(
        ran.err
            .starts_with("bpftok: \"soon\" is no time; write 2026-11-01"),
        "{}",
        ran.err
    );
    let ran = home.run(["report", "--since", "today", "--until", "yesterday"]);
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (
            Some(64),
            "bpftok: the time after --since must be before that after --until\n"
        )
    );
    assert_eq!(home.run(["report", "--by", "moon"]).code, Some(64));
    assert_eq!(home.run(["reprot"]).code, Some(64));
    assert_eq!(home.run(["--help"]).code, Some(0));
}

#[test]
fn a_reader_that_has_had_enough_is_no_failure() {
    let home = mixed();
    for command in [
        &[
            "query",
            "-o",
            "csv",
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 300000) SELECT x FROM n",
        ][..],
        &[
            "query",
            "-o",
            "json",
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 90000) SELECT x FROM n",
        ],
        &[
            "query",
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 90000) SELECT x FROM n",
        ],
    ] {
        let mut child = Command::new(BPFTOK)
            .arg("--db")
            .arg(home.db())
            .args(command)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut some = [0; 16];
        child.stdout.take().unwrap().read_exact(&mut some).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), output.stderr.as_slice()),
            (Some(0), &b""[..])
        );
    }
}

#[test]
fn no_colour_and_no_escape_is_ever_written() {
    let home = mixed();
    for format in ["table", "csv", "json"] {
        let text = report(&home, "UTC", Some(120), &["-o", format]);
        assert!(!text.contains('\u{1b}'));
    }
}

/// Processes that are read, not read, and were read before anybody looked at their files.
fn callers() -> Vec<agent::store::CallingProcess> {
    use agent::store::{CalledHost, CallingProcess, TlsFile};
    let host = |name: &str| CalledHost {
        name: Some(name.to_owned()),
        ..Default::default()
    };
    let some = |text: &str| Some(text.to_owned());
    vec![
        CallingProcess {
            pid: 4_711,
            comm: "codex".to_owned(),
            exe: some("/opt/codex/bin/codex"),
            last_unix_ms: 1_793_545_250_000,
            hosts: vec![CalledHost {
                unprobed_connections: 3,
                ..host("chatgpt.com")
            }],
            tls: Vec::new(),
            why: some("no TLS library that is known was found in its files"),
        },
        CallingProcess {
            pid: 77,
            comm: "odd\u{1b}".to_owned(),
            exe: None,
            last_unix_ms: 1_793_545_240_000,
            hosts: vec![
                CalledHost {
                    calls: 12,
                    truncated_calls: 1,
                    ..host("api.openai.com")
                },
                CalledHost {
                    undecodable_connections: 1,
                    ..host("api.anthropic.com")
                },
            ],
            tls: vec![
                TlsFile {
                    path: "/usr/lib/libssl.so.3".to_owned(),
                    library: some("OpenSSL 3.0.19"),
                    found_by: some("names"),
                    confidence: some("certain"),
                    functions: vec!["SSL_read".to_owned(), "SSL_write".to_owned()],
                    refusal: None,
                },
                TlsFile {
                    path: "/opt/odd/plugin.so".to_owned(),
                    refusal: some("its error calls can't be told apart"),
                    ..Default::default()
                },
            ],
            why: None,
        },
        CallingProcess {
            pid: 78,
            comm: "curl".to_owned(),
            exe: some("/usr/bin/curl"),
            last_unix_ms: 1_793_545_230_000,
            hosts: vec![CalledHost {
                calls: 1,
                ..host("api.openai.com")
            }],
            tls: Vec::new(),
            why: some("it ended before its files were looked at"),
        },
    ]
}

#[test]
fn status_says_what_the_agent_said() {
    let home = Home::new();
    let mut writer = home.writer();
    let ran = home.run(["status"]);
    assert_eq!(ran.code, Some(0));
    assert!(ran.out.contains("An agent starts"), "{}", ran.out);
    let mut status = agent::store::AgentStatus {
        pid: 42,
        version: "0.1.0".to_owned(),
        started_unix_ms: 1_793_545_200_000,
        updated_unix_ms: 1_793_545_260_000,
        kernel: "6.12.0".to_owned(),
        attach_kind: "uprobe_multi".to_owned(),
        capabilities: vec!["CAP_SYS_PTRACE".to_owned()],
        hooked: vec![agent::store::HookedFile {
            path: "/usr/lib/libssl.so.3".to_owned(),
            functions: vec!["SSL_read".to_owned(), "SSL_write".to_owned()],
            ..Default::default()
        }],
        failed: vec![agent::store::FailedFile {
            path: "/opt/odd\u{1b}/libssl.so".to_owned(),
            reason: "no symbol SSL_read".to_owned(),
        }],
        callers: callers(),
        degraded: vec!["no BTF".to_owned()],
        ..Default::default()
    };
    status.count(&agent_core::stats::Stats {
        records: 12_345,
        calls: 3,
        ..Default::default()
    });
    writer.set_status(&status).unwrap();
    let running = home.run_in("UTC", Some(160), ["status"]);
    assert_eq!(running.code, Some(0));
    assert!(
        running.out.starts_with("agent    running for "),
        "{}",
        running.out
    );
    let (above, rest) = running.out.split_once("hooked").unwrap();
    assert!(
        above.contains("6.12.0, probes by uprobe_multi\n"),
        "{above}"
    );
    assert_golden("status.txt", rest);
    status.attach_kind.clear();
    writer.set_status(&status).unwrap();
    let starting = home.run(["status"]).out;
    assert!(
        starting.contains("6.12.0, its probes are not set yet\n"),
        "{starting}"
    );
    writer.close().unwrap();
    let ended = home.run(["status"]);
    assert_eq!(ended.code, Some(5));
    assert!(
        ended
            .out
            .starts_with("agent    not running; last heard of at 2026-11-01 15:01:00 UTC"),
        "{}",
        ended.out
    );
    let json: Value = serde_json::from_str(&home.run(["status", "-o", "json"]).out).unwrap();
    assert_eq!(
        (
            &json["is_running"],
            &json["agent"]["pid"],
            &json["agent"]["counters"]["calls"]
        ),
        (&json!(false), &json!(42), &json!(3))
    );
}
