//! Ledgers merged: each call once, sums those of the calls, whoever deleted what.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use agent::store::{AccountKey, HostFacts, Keep, Writer};
use agent_core::alert::Severity;
use agent_core::pipeline::{CoverageOutcome, Output};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::alerts::{Host, condition};
use crate::retention::{LASTING, ONE_DAY, lines_of_one, sweep};
use crate::sums::{DIFFERENCE, history};
use crate::world::{BPFTOK, Home, Ran, coverage, host, ms, ran, record, usage};

const DAY_MS: i64 = 86_400_000;

/// Runs the program without a ledger of its own.
fn bpftok(arguments: &[&str]) -> Ran {
    ran(Command::new(BPFTOK).env("TZ", "UTC").args(arguments))
}

fn merge(into: &Path, from: &[&Home]) -> String {
    let paths: Vec<String> = from
        .iter()
        .map(|home| home.db().display().to_string())
        .collect();
    let mut arguments = vec!["merge", into.to_str().unwrap()];
    arguments.extend(paths.iter().map(String::as_str));
    bpftok(&arguments).text()
}

fn other_host() -> HostFacts {
    HostFacts {
        machine_id_hash: "ffeeddccbbaa99887766554433221100".to_owned(),
        host_name: "build-02".to_owned(),
        account_key: AccountKey::new("secret of the other host"),
        ..host()
    }
}

fn writer_of(home: &Home, host: HostFacts) -> Writer {
    Writer::open(&home.db(), host, Keep::default()).unwrap()
}

/// All rows, as far as they do not depend on the order in which they came.
const EVERYTHING: &str = "
    SELECT h.host_name, r.identity, r.started_ms, r.input_uncached_tokens, r.output_tokens,
           r.cost_nanousd, s.model_served, s.outcome, s.task_type, p.pid, v.pid, e.session_key,
           t.thread_key, r.is_human_turn, c.identity, u.identity, a.identity
    FROM request AS r JOIN host AS h USING (host_id) JOIN shape AS s USING (shape_id)
    JOIN session AS e USING (session_id)
    LEFT JOIN process AS p ON p.process_id = r.process_id
    LEFT JOIN process AS v ON v.process_id = r.via_process_id
    LEFT JOIN thread AS t ON t.thread_id = r.thread_id
    LEFT JOIN request AS c ON c.request_id = r.hop_of
    LEFT JOIN request AS u ON u.request_id = r.part_of
    LEFT JOIN request AS a ON a.request_id = r.retry_of
    ORDER BY 1, 2;
    SELECT minute_ms, outcome, events, bytes FROM coverage_minute ORDER BY 1, 2;
    SELECT session_key, thread_key, kind, agent_type, depth
    FROM thread JOIN session USING (session_id) ORDER BY 1, uid, 2;";

fn read(db: &Path, sql: &str) -> String {
    ran(&mut crate::world::sqlite3(db, sql)).text()
}

/// What a merged ledger has, after looking that it is sound.
#[track_caller]
fn content(db: &Path) -> String {
    assert_eq!(
        read(db, "PRAGMA foreign_key_check; PRAGMA integrity_check"),
        "ok\n"
    );
    read(db, EVERYTHING) + &read(db, LASTING)
}

#[test]
fn merging_twice_changes_nothing_and_merging_what_grew_gives_what_it_is() {
    for seed in 0..8 {
        let mut random = fastrand::Rng::with_seed(seed);
        let home = Home::new();
        let into = home.path("fleet.db");
        let mut writer = home.writer();
        let mut waiting: Vec<Output> = Vec::new();
        for round in 0..4 {
            for number in 0..20 {
                let former = (number > 0).then(|| format!("anthropic:msg_{}", number - 1));
                waiting.extend(history(&mut random, round * 20 + number, former.as_deref()));
            }
            waiting.push(coverage(
                "2026-11-01T15:04:00Z",
                CoverageOutcome::Decoded,
                random.u64(1..9),
            ));
            // The merge may come between the two records of a call.
            let later = waiting.split_off(random.usize(waiting.len() / 2..waiting.len()));
            writer.apply(&waiting).unwrap();
            waiting = later;
            merge(&into, &[&home]);
            let merged = content(&into);
            let difference = lines_of_one(&merged, &content(&home.db()));
            assert_eq!(difference, "", "seed {seed}, round {round}");
            assert_eq!(read(&into, DIFFERENCE), "");
            let said = merge(&into, &[&home]);
            assert!(said.contains(": 0 new, 0 completed, "), "{said}");
            assert_eq!(content(&into), merged, "seed {seed}, round {round}");
        }
        writer.close().unwrap();
    }
}

#[test]
fn hosts_come_beside_each_other_and_reports_read_several_ledgers_as_one() {
    let (one, two) = (Home::new(), Home::new());
    for (home, host, output_tokens) in [(&one, host(), 50), (&two, other_host(), 70)] {
        let mut writer = writer_of(home, host);
        let mut same = record("msg_1", "2026-11-01T15:00:00Z");
        same.call.usage.output = Some(output_tokens);
        writer
            .apply(&[usage(same), usage(record("msg_2", "2026-11-01T16:00:00Z"))])
            .unwrap();
        writer.close().unwrap();
    }
    let into = one.path("fleet.db");
    let said = merge(&into, &[&one, &two]);
    assert_eq!(
        said.matches(": 2 new, 0 completed, 0 known already")
            .count(),
        2,
        "{said}"
    );
    let sums =
        "SELECT host_name, sum(request_count), sum(output_tokens) FROM v_usage_15m GROUP BY 1";
    assert_eq!(read(&into, sums), "build-01|2|100\nbuild-02|2|120\n");
    let paths = [&one, &two].map(|home| home.db().display().to_string());
    let query = |more: &[&str]| {
        let mut arguments = vec!["--db", &paths[0], "--db", &paths[1]];
        arguments.extend(more);
        bpftok(&arguments)
    };
    let sum = "SELECT count(*) AS calls, sum(output_tokens) AS tokens FROM v_request";
    assert_eq!(
        query(&["query", "-o", "csv", sum]).text(),
        "calls,tokens\n4,220\n"
    );
    let november = ["--since", "2026-11-01", "--until", "2026-12-01"];
    let document = |command: &[&str]| -> Value {
        let told = query(&[command, &["-o", "json"]].concat()).text();
        serde_json::from_str(&told).unwrap()
    };
    for command in ["sessions", "report", "tail"] {
        assert_eq!(query(&[command]).code, Some(0), "{command}");
    }
    let month = document(&["index", "--month", "2026-11"]);
    assert_eq!(month["hosts"], json!(["build-01", "build-02"]));
    assert_eq!(month["now"]["requests"], 4);
    let change = document(&[&["explain", "--vs", "2026-10"][..], &november].concat());
    assert_eq!(change["now"]["requests"], 4);
    let waste = document(&[&["waste"][..], &november].concat());
    let filtered = ["waste", "--where", "host=build-02"];
    let filtered = document(&[&filtered[..], &november].concat());
    let unseen = |told: &Value| told["unknown"]["hashless_requests"].clone();
    assert_eq!((unseen(&waste), unseen(&filtered)), (json!(4), json!(2)));
    for command in [&["status"][..], &["tail", "-f"], &["reprice"], &["vacuum"]] {
        let refused = query(command);
        assert_eq!(refused.code, Some(64), "{command:?}");
        assert!(refused.err.contains("takes one --db"), "{}", refused.err);
    }
}

/// What a merged ledger has of alerts and messages.
const ALERTS: &str = "
    SELECT host_name, rule, scope_json, state, acknowledged_by, delivered_count, waiting_count
    FROM v_alert ORDER BY 1, 3;
    SELECT channel, kind, state FROM alert_delivery ORDER BY 1, 2;";

#[test]
fn alerts_come_with_their_hosts_in_their_later_state_and_nobody_is_told_again() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let channels = format!(
        "[[notify]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{url}\"\n\
         [[notify]]\nname = \"journal\"\nkind = \"log\"\n"
    );
    let mut hosts = [host(), other_host()].map(|facts| {
        let home = Home::new();
        let writer = writer_of(&home, facts);
        Host::with(&channels, home, writer)
    });
    let now = ms("2026-11-18T11:00:00Z");
    for host in &mut hosts {
        host.step(now, vec![condition("nightly", Severity::Page)]);
        host.record(now);
        host.record(now);
        assert_eq!(host.deliveries().matches("ops|fire|failed|1|").count(), 1);
    }
    let fleet = hosts[0].home.path("fleet.db");
    let earlier = hosts[0].home.path("earlier.db");
    merge(&earlier, &[&hosts[0].home]);
    let row = |host: &str, state: &str, by: &str, told: u32| {
        format!("{host}|spike|[[\"workflow\",\"nightly\"]]|{state}|{by}|{told}|0\n")
    };
    let firing = row("build-01", "firing", "", 1)
        + &row("build-02", "firing", "", 1)
        + "journal|fire|delivered\njournal|fire|delivered\n";
    for _ in 0..2 {
        merge(&fleet, &[&hosts[0].home, &hosts[1].home]);
        assert_eq!(read(&fleet, ALERTS), firing);
    }

    let paths = [0, 1].map(|place: usize| hosts[place].home.db().display().to_string());
    let list = ["--db", &paths[0], "--db", &paths[1], "alerts", "-o", "json"];
    let listed: Value = serde_json::from_str(&bpftok(&list).text()).unwrap();
    let rows = listed["rows"].as_array().unwrap().iter();
    let of: BTreeSet<_> = rows.map(|row| row["host_name"].as_str().unwrap()).collect();
    assert_eq!(of, BTreeSet::from(["build-01", "build-02"]));

    bpftok(&["alerts", "ack", "1", "--db", &paths[0]]).text();
    hosts[0].step(now + 60_000, Vec::new());
    while !hosts[0].deliveries().contains("journal|resolve|delivered") {
        hosts[0].record(now + 60_000);
    }
    let by = read(&hosts[0].home.db(), "SELECT acknowledged_by FROM alert");
    let resolved = row("build-01", "resolved", by.trim_end(), 2)
        + &row("build-02", "firing", "", 1)
        + "journal|fire|delivered\njournal|fire|delivered\njournal|resolve|delivered\n";
    merge(&fleet, &[&hosts[0].home]);
    assert_eq!(read(&fleet, ALERTS), resolved);
    // A state of before changes nothing.
    bpftok(&["merge", fleet.to_str().unwrap(), earlier.to_str().unwrap()]).text();
    assert_eq!(read(&fleet, ALERTS), resolved);

    let mut writer = Writer::open(&fleet, host(), Keep::default()).unwrap();
    let (active, last) = writer.active_alerts().unwrap();
    assert_eq!((active, last), (Vec::new(), 2));
    for channel in ["ops", "journal"] {
        let due = writer
            .due_deliveries(channel, now + 10 * DAY_MS, 9)
            .unwrap();
        assert_eq!(due, Vec::new());
    }
    writer.close().unwrap();
}

/// A command that still writes has merged, and what it merged into would be somewhere.
#[test]
fn nothing_is_left_of_ledgers_that_were_read_as_one_however_the_command_ends() {
    let home = Home::with(&[usage(record("msg_1", "2026-11-01T15:00:00Z"))]);
    let temporary = home.path("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let entries = || std::fs::read_dir(&temporary).unwrap().count();
    let endless = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n)
                   SELECT n, (SELECT count(*) FROM request) FROM n";
    // Where tests run in the background, an interrupt is ignored.
    for signal in [Signal::TERM, Signal::KILL] {
        let mut command = Command::new(BPFTOK);
        command.envs(["TMPDIR", "SQLITE_TMPDIR"].map(|name| (name, &temporary)));
        for _ in 0..2 {
            command.arg("--db").arg(home.db());
        }
        let mut child = command
            .args(["query", "-o", "csv", endless])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 64];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut first)
            .unwrap();
        assert!(first.starts_with(b"n,"), "{first:?}");
        assert_eq!(entries(), 0);
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert!(!child.wait().unwrap().success());
        assert_eq!(entries(), 0);
    }
}

#[test]
fn calls_that_were_deleted_on_either_side_still_count_once() {
    let home = Home::new();
    let mut writer = home.writer();
    writer.set_retention(ONE_DAY);
    let at = |hour: u32| format!("2026-11-01T{hour:02}:05:00Z");
    let call = |number: u32, hour| usage(record(&format!("msg_{number}"), &at(hour)));
    let twin = Home::new();
    let mut whole = twin.writer();
    let mut apply = |writer: &mut Writer, output: Output| {
        whole.apply(std::slice::from_ref(&output)).unwrap();
        writer.apply(&[output]).unwrap();
    };
    let (early, late) = (home.path("early.db"), home.path("late.db"));
    apply(&mut writer, call(1, 10));
    merge(&early, &[&home]);
    // Seen by `early` before it was deleted; another of the same quarter was not.
    apply(&mut writer, call(2, 10));
    apply(&mut writer, call(3, 12));
    sweep(&mut writer, ms(&at(11)) + DAY_MS);
    apply(&mut writer, call(4, 13));
    for into in [&early, &late] {
        for _ in 0..2 {
            merge(into, &[&home]);
            assert_eq!(read(into, LASTING), twin.sqlite3(LASTING).text());
        }
    }
    let calls = "SELECT count(*) FROM request";
    assert_eq!(read(&early, calls), "3\n");
    assert_eq!(read(&late, calls), "2\n");
    // A later state comes after an earlier one, and the other way round.
    for (into, from) in [(&early, &late), (&late, &early)] {
        let from = from.to_str().unwrap();
        bpftok(&["merge", into.to_str().unwrap(), from]).text();
        assert_eq!(read(into, LASTING), twin.sqlite3(LASTING).text());
    }
    // Sums that are made anew keep what deleted calls added.
    let repriced = [
        "reprice",
        "--since",
        "2026-11-01",
        "--until",
        "2026-11-02",
        "--db",
    ];
    for into in [&early, &late] {
        let mut arguments = repriced.to_vec();
        arguments.push(into.to_str().unwrap());
        bpftok(&arguments).text();
        assert_eq!(read(into, LASTING), twin.sqlite3(LASTING).text());
    }
    writer.close().unwrap();
}

#[test]
fn a_ledger_of_another_version_or_in_use_is_refused() {
    let home = Home::with(&[usage(record("msg_1", "2026-11-01T15:00:00Z"))]);
    let into = home.path("fleet.db");
    let from = home.db();
    let arguments = ["merge", into.to_str().unwrap(), from.to_str().unwrap()];
    let set = |version: i64| {
        let made = Command::new("sqlite3")
            .arg(&from)
            .arg(format!("PRAGMA user_version = {version}"))
            .status();
        assert!(made.unwrap().success());
    };
    set(4);
    let ran = bpftok(&arguments);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("start the agent once"), "{}", ran.err);
    set(99);
    let ran = bpftok(&arguments);
    assert!(ran.err.contains("use the newer bpftok"), "{}", ran.err);
    assert!(!into.exists());
    set(agent::store::SCHEMA_VERSION);
    let writer = home.writer();
    // Reading is fine while an agent writes, writing is not.
    bpftok(&arguments).text();
    let ran = bpftok(&["merge", from.to_str().unwrap(), into.to_str().unwrap()]);
    assert!(
        ran.err.contains("is written by another agent"),
        "{}",
        ran.err
    );
    writer.close().unwrap();
}
