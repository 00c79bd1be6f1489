//! Old calls go, their sums stay, whatever happens to the calls that are left.

use std::fs;

use agent::store::{Progress, Retention, Writer};
use agent_core::llm::{Outcome, Usage, UsageSource};
use agent_core::pipeline::{CoverageOutcome, Output};
use agent_core::session::{Hop, SessionKey};

use crate::sums::{any_call, history};
use crate::world::{Home, coverage, estimated, ms, process, record, usage};

const DAY_MS: i64 = 86_400_000;

/// Keeps calls for a day, and everything else.
pub(crate) const ONE_DAY: Retention = Retention {
    request_days: 1,
    rollup_days: 0,
    coverage_days: 0,
    rate_limit_days: 0,
    max_mb: 0,
};

/// A whole sweep.
pub(crate) fn sweep(writer: &mut Writer, now_ms: i64) {
    while writer.sweep(now_ms).unwrap() == Progress::More {}
}

/// Everything that outlasts calls, without the ids of rows. A session may have begun with a call to a
/// gateway, which does not outlast the one that counts and began a moment later.
pub(crate) const LASTING: &str = "
    SELECT 'usage', bucket_start_ms, workflow, user_name, client_name, branch, model, task_type,
           outcome, has_tool_call, request_count, estimated_requests, lower_bound_requests,
           cost_lower_bound_requests, retry_requests, human_turns, tool_calls,
           input_uncached_tokens, cache_read_tokens, context_tokens, output_tokens,
           reasoning_tokens, estimated_tokens, unpriced_tokens, cost_nanousd, duration_ms,
           stream_output_tokens, stream_ms, context_is_partial, read_is_partial, output_is_partial,
           is_priced, cache_write_12h_tokens, priced_rows, tokenless_cost_nanousd, unhashed_requests,
           unthreaded_requests
    FROM v_usage_15m ORDER BY 2, 3, 4, 5, 6, 7, 8, 9, 10;
    SELECT 'session', session_key, client_name, (started_ms + 30000) / 60000,
           (last_request_ms + 30000) / 60000, request_count,
           human_turn_count, compaction_count, context_tokens, output_tokens,
           cost_nanousd, tool_calls, retry_requests, aborted_requests, task_type, workflow
    FROM v_session ORDER BY 2, 4;
    SELECT 'sessions of a quarter', bucket_start_ms, session_key, task_type, outcome
    FROM session_15m JOIN session USING (session_id) JOIN usage_key AS k USING (usage_key_id)
    GROUP BY 2, 3, 4, 5 ORDER BY 2, 3, 4, 5;";

/// The lines in which two ledgers differ, in what lasts.
fn difference(homes: &[Home; 2]) -> String {
    let [one, other] = homes.each_ref().map(|home| home.sqlite3(LASTING).text());
    lines_of_one(&one, &other)
}

/// The lines that only one of two texts has.
pub(crate) fn lines_of_one(one: &str, other: &str) -> String {
    let beside = |one: &str, other: &str| -> String {
        let other: Vec<&str> = other.lines().collect();
        let lines = one.lines().filter(|line| !other.contains(line));
        lines.map(|line| format!("{line}\n")).collect()
    };
    beside(one, other) + &beside(other, one)
}

#[test]
fn sums_stay_exact_whatever_happens_to_calls_after_others_were_deleted() {
    for seed in 0..16 {
        let mut random = fastrand::Rng::with_seed(seed);
        // The same history, with and without sweeps.
        let homes = [Home::new(), Home::new()];
        let mut writers = homes.each_ref().map(Home::writer);
        writers[0].set_retention(ONE_DAY);
        let mut number = 0;
        let mut living: Vec<Output> = Vec::new();
        for until in ["14:00", "15:30", "16:15", "18:00"] {
            let until_ms = ms(&format!("2026-11-01T{until}:00Z"));
            sweep(&mut writers[0], until_ms + DAY_MS);
            // What is known of calls that are still there may change.
            living.retain(|output| {
                matches!(output, Output::Usage(record) if record.started_unix_ms >= until_ms)
            });
            let mut outputs = Vec::new();
            for output in &living {
                if random.bool()
                    && let Output::Usage(record) = output
                {
                    let mut better = record.as_ref().clone();
                    better.call.outcome = Outcome::Complete;
                    better.call.usage_source = UsageSource::Provider;
                    better.call.usage.output = Some(random.u64(100..200));
                    outputs.push(usage(better));
                }
            }
            // Others come, some of them late.
            for _ in 0..30 {
                number += 1;
                let mut happened = history(&mut random, number, None);
                // A gateway calls a moment after it was called; a quarter may begin in between.
                let started_ms = any_call(&mut random, number).started_unix_ms;
                for output in &mut happened {
                    if let Output::Usage(record) = output {
                        let is_upstream = record.identity.starts_with("up-");
                        record.started_unix_ms = started_ms - i64::from(!is_upstream) * 300;
                    }
                }
                outputs.extend(happened);
            }
            number += 1;
            let cut = any_call(&mut random, number);
            for number in number..number + 10 {
                let mut cut = cut.clone();
                cut.identity = format!("anthropic:cut_{number}");
                cut.started_unix_ms = any_call(&mut random, number).started_unix_ms;
                cut.call.outcome = Outcome::Aborted;
                cut.call.usage_source = UsageSource::ProviderPartial;
                cut.call.usage = Usage {
                    output: Some(1),
                    ..Usage::default()
                };
                living.push(usage(cut));
            }
            number += 10;
            outputs.extend(living.iter().cloned());
            while !outputs.is_empty() {
                let rest = outputs.split_off(random.usize(1..=outputs.len()));
                for writer in &mut writers {
                    writer.apply(&outputs).unwrap();
                }
                outputs = rest;
            }
            assert_eq!(difference(&homes), "", "seed {seed}, {until}");
        }
        // All of them.
        sweep(&mut writers[0], ms("2026-12-01T00:00:00Z"));
        assert_eq!(difference(&homes), "", "seed {seed}");
        let left = "SELECT (SELECT count(*) FROM request), (SELECT count(*) FROM pruned_15m),
                           (SELECT count(*) FROM pruned_session), (SELECT count(*) FROM price),
                           (SELECT count(*) FROM shape)";
        assert_eq!(homes[0].sqlite3(left).text(), "0|0|0|0|0\n");
        let check = "PRAGMA foreign_key_check; PRAGMA integrity_check";
        assert_eq!(homes[0].sqlite3(check).text(), "ok\n");
        for writer in writers {
            writer.close().unwrap();
        }
    }
}

#[test]
fn days_of_long_ago_are_exact_in_every_time_zone() {
    let home = Home::new();
    let mut writer = home.writer();
    // 18:15 is midnight in Kathmandu.
    for (identity, started) in [
        ("msg_1", "2026-08-01T18:14:59.999Z"),
        ("msg_2", "2026-08-01T18:15:00Z"),
        ("msg_3", "2026-08-01T23:59:00Z"),
        ("msg_4", "2026-08-02T00:00:00Z"),
        ("msg_5", "2026-11-20T00:00:00Z"),
    ] {
        writer.apply(&[usage(record(identity, started))]).unwrap();
    }
    let days = |zone: &str| {
        let sql = "SELECT day_local, request_count, context_tokens, cost_nanousd FROM v_daily";
        home.run_in(zone, None, ["query", sql]).text()
    };
    let zones = ["Asia/Kathmandu", "UTC", "America/St_Johns"];
    let before = zones.map(days);
    writer.set_retention(Retention::default());
    sweep(&mut writer, ms("2026-11-29T00:00:00Z"));
    assert_eq!(home.sqlite3("SELECT count(*) FROM v_request").text(), "1\n");
    assert_eq!(zones.map(days), before);
    assert!(
        before[0].contains("2026-08-01              1"),
        "{}",
        before[0]
    );
    assert_eq!(
        home.sqlite3(
            "SELECT CAST(value AS INTEGER), requests_pruned_before_ms FROM meta, host
             WHERE name = 'requests_pruned_before_ms'"
        )
        .text(),
        format!("{0}|{0}\n", ms("2026-08-02T00:15:00Z"))
    );
    writer.close().unwrap();
}

#[test]
fn what_belongs_to_a_deleted_call_goes_with_it_and_what_points_to_it_stays() {
    let mut client = record("msg_client", "2026-11-01T14:59:59Z");
    let mut upstream = record("msg_up", "2026-11-01T14:59:58Z");
    upstream.process = Some(process(4_000, "gateway", "/usr/bin/gateway", "app"));
    client.started_unix_ms = ms("2026-11-01T15:00:01Z");
    client.hop = Some(Hop::ToGateway {
        counted: upstream.identity.clone(),
    });
    let mut again = record("msg_again", "2026-11-01T15:00:02Z");
    again.retry_of = Some(upstream.identity.clone());
    again.call.attempt = Some(2);
    let home = Home::new();
    let mut writer = home.writer();
    writer.set_retention(ONE_DAY);
    writer
        .apply(&[usage(upstream), usage(client), usage(again)])
        .unwrap();
    sweep(&mut writer, ms("2026-11-02T15:00:00Z"));
    writer.close().unwrap();
    assert_eq!(
        home.sqlite3(
            "SELECT identity, retry_of, attempt FROM request;
             SELECT sum(requests), sum(retry_requests) FROM usage_15m;
             SELECT comm FROM process;
             SELECT count(*), sum(request_count) FROM v_session"
        )
        .text(),
        "anthropic:msg_again||2\n2|1\nnode\n1|2\n"
    );
}

#[test]
fn everything_has_its_own_time() {
    let home = Home::new();
    let mut writer = home.writer();
    let mut old = estimated("chat_1", "2026-10-01T10:00:00Z");
    old.session = SessionKey("p1202-0".to_owned());
    writer
        .apply(&[
            usage(old),
            usage(record("msg_1", "2026-11-01T10:00:00Z")),
            coverage("2026-10-01T10:00:00Z", CoverageOutcome::Decoded, 1),
            coverage("2026-10-30T10:00:00Z", CoverageOutcome::Decoded, 2),
        ])
        .unwrap();
    writer.set_retention(Retention {
        request_days: 20,
        rollup_days: 20,
        coverage_days: 7,
        ..Retention::default()
    });
    sweep(&mut writer, ms("2026-11-02T00:00:00Z"));
    writer.close().unwrap();
    assert_eq!(
        home.sqlite3(
            "SELECT count(*) FROM request; SELECT sum(requests) FROM usage_15m;
             SELECT count(*), sum(request_count), sum(cost_nanousd) FROM v_session;
             SELECT events FROM coverage_minute"
        )
        .text(),
        "1\n1\n2|2|15625000\n2\n"
    );
}

#[test]
fn a_ledger_that_is_too_large_loses_its_oldest_days_and_says_so() {
    let home = Home::new();
    let mut writer = home.writer();
    writer.set_retention(Retention {
        max_mb: 1,
        ..Retention::default()
    });
    let start_ms = ms("2026-11-01T00:00:00Z");
    for day in 0..10 {
        let outputs: Vec<Output> = (0..900)
            .map(|number| {
                let mut record = record(&format!("msg_{day}_{number}"), "2026-11-01T00:00:00Z");
                record.started_unix_ms = start_ms + day * DAY_MS + number * 90_000;
                usage(record)
            })
            .collect();
        writer.apply(&outputs).unwrap();
    }
    let sums = "SELECT sum(requests), sum(cost_nanousd) FROM usage_15m";
    let before = home.sqlite3(sums).text();
    assert_eq!(writer.complaint(), None);
    sweep(&mut writer, start_ms + 10 * DAY_MS);
    let complaint = writer.complaint().unwrap();
    assert!(
        complaint.starts_with("the ledger reached retention.max_mb = 1: calls before 2026-11-"),
        "{complaint}"
    );
    assert_eq!(home.sqlite3(sums).text(), before);
    writer.close().unwrap();
    // Whole days went, and no more than had to; their pages were given back.
    let days = home
        .sqlite3("SELECT count(*), min(calls), max(calls), (SELECT count(DISTINCT day_local) FROM v_daily)
                  FROM (SELECT count(*) AS calls FROM request GROUP BY started_ms / 86400000)")
        .text();
    let left: Vec<u32> = days.trim().split('|').map(|n| n.parse().unwrap()).collect();
    assert!(left[0] > 1 && left[0] < 10, "{days}");
    assert_eq!(left[1..], [900, 900, 10]);
    let bytes = fs::metadata(home.db()).unwrap().len();
    assert!(bytes < 1_300_000, "{bytes}");
    let ran = home.run(["status", "-o", "json"]);
    assert!(
        ran.out.contains("\"requests_capped_before\": \"2026-11-"),
        "{}",
        ran.out
    );
}

#[test]
fn an_older_ledger_gives_free_space_back_once_its_file_was_made_anew() {
    let home = Home::with(&[usage(record("msg_1", "2026-11-01T15:00:00Z"))]);
    assert_eq!(home.sqlite3("PRAGMA auto_vacuum").text(), "2\n");
    let made = std::process::Command::new("sqlite3")
        .arg(home.db())
        .arg("PRAGMA journal_mode = DELETE; PRAGMA auto_vacuum = NONE; VACUUM")
        .status()
        .unwrap();
    assert!(made.success());
    assert_eq!(home.sqlite3("PRAGMA auto_vacuum").text(), "0\n");
    let writer = home.writer();
    let ran = home.run(["vacuum"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.err.contains("is written by another agent"),
        "{}",
        ran.err
    );
    writer.close().unwrap();
    let text = home.run(["vacuum"]).text();
    assert!(text.ends_with("usage.db: 0 MiB, before 0 MiB\n"), "{text}");
    assert_eq!(
        home.sqlite3("PRAGMA auto_vacuum; SELECT count(*) FROM v_request")
            .text(),
        "2\n1\n"
    );
}
