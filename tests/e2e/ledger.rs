//! What the ledger promises: once, better, in order, through upgrades and faults.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use agent::store::{Applied, Error, Keep, SCHEMA_VERSION, Writer};
use agent_core::event::ProcId;
use agent_core::llm::{Outcome, Usage, UsageSource};
use agent_core::pipeline::{CoverageOutcome, Output};
use agent_core::session::SessionKey;

use crate::sums::DIFFERENCE;
use crate::world::{Home, coverage, estimated, host, ms, priced, record, usage};

const ALL: &str = "SELECT identity, usage_source, output_tokens FROM request_derived ORDER BY 1;
    SELECT session_key, request_count, peak_context_tokens, last_request_ms FROM session ORDER BY 1;
    SELECT pid, comm, exited_ms FROM process ORDER BY 1;";

#[test]
fn the_same_records_twice_are_one_row_each_and_count_once() {
    let home = Home::new();
    let batch = [
        usage(record("msg_1", "2026-11-01T15:00:00Z")),
        usage(record("msg_2", "2026-11-01T15:01:00Z")),
        usage(estimated("chat_1", "2026-11-01T15:02:00Z")),
    ];
    let mut writer = home.writer();
    let first = writer.apply(&batch).unwrap();
    let after_first = home.sqlite3(ALL);
    let second = writer.apply(&batch).unwrap();
    writer.close().unwrap();
    assert_eq!(
        first,
        Applied {
            inserted: 3,
            improved: 0,
            unchanged: 0
        }
    );
    assert_eq!(
        second,
        Applied {
            inserted: 0,
            improved: 0,
            unchanged: 3
        }
    );
    assert_eq!(home.sqlite3(ALL), after_first);
    assert_eq!(
        after_first.text(),
        format!(
            "anthropic:msg_1|provider|50\nanthropic:msg_2|provider|50\nopenai:chat_1|estimated|100\n\
             8f31c2aa-1b2c-4d5e-8f90-a1b2c3d4e5f6|2|1000|{}\np1202-1|1|2000|{}\n\
             1202|python3|\n7781|node|\n",
            ms("2026-11-01T15:01:00Z"),
            ms("2026-11-01T15:02:00Z")
        )
    );
}

#[test]
fn a_final_usage_replaces_a_partial_one_and_never_the_other_way() {
    let home = Home::new();
    let whole = record("msg_1", "2026-11-01T15:00:00Z");
    let mut partial = whole.clone();
    partial.call.outcome = Outcome::Aborted;
    partial.call.usage_source = UsageSource::ProviderPartial;
    partial.call.usage = Usage {
        input_uncached: Some(150),
        output: Some(3),
        ..Usage::default()
    };
    let mut more = partial.clone();
    more.call.usage.output = Some(9);
    let mut writer = home.writer();
    let mut apply = |record: &agent_core::session::UsageRecord| {
        let applied = writer.apply(&[usage(record.clone())]).unwrap();
        (applied, home.sqlite3("SELECT usage_source, outcome, output_tokens, cache_read_tokens, (SELECT request_count || '/' || peak_context_tokens FROM session) FROM request_derived").text())
    };
    let inserted = Applied {
        inserted: 1,
        ..Applied::default()
    };
    let improved = Applied {
        improved: 1,
        ..Applied::default()
    };
    let unchanged = Applied {
        unchanged: 1,
        ..Applied::default()
    };
    let text = |text: &str| text.to_owned();
    assert_eq!(
        apply(&partial),
        (inserted, text("provider_partial|aborted|3||1/150\n"))
    );
    assert_eq!(
        apply(&more),
        (improved, text("provider_partial|aborted|9||1/150\n"))
    );
    assert_eq!(
        apply(&partial),
        (unchanged, text("provider_partial|aborted|9||1/150\n"))
    );
    assert_eq!(
        apply(&whole),
        (improved, text("provider|complete|50|800|1/1000\n"))
    );
    assert_eq!(
        apply(&more),
        (unchanged, text("provider|complete|50|800|1/1000\n"))
    );
}

#[test]
fn a_process_is_one_row_per_program_and_ends_once() {
    let home = Home::new();
    let mut writer = home.writer();
    let id = ProcId {
        pid: 7_781,
        start_ticks: 8_781,
    };
    let mut after_exec = record("msg_2", "2026-11-01T15:01:00Z");
    let process = std::sync::Arc::make_mut(after_exec.process.as_mut().unwrap());
    process.exe = Some("/usr/bin/python3".to_owned());
    let exited = |unix_ms| Output::ProcessExited { id, unix_ms };
    writer
        .apply(&[
            usage(record("msg_1", "2026-11-01T15:00:00Z")),
            usage(after_exec),
            exited(7),
            exited(9),
        ])
        .unwrap();
    assert_eq!(
        home.sqlite3("SELECT exe_path, request_count, exited_ms FROM v_process ORDER BY 1")
            .text(),
        "/usr/bin/node|1|7\n/usr/bin/python3|1|7\n"
    );
}

#[test]
fn a_key_that_two_users_share_is_two_sessions() {
    let home = Home::new();
    let mut other = record("msg_2", "2026-11-01T15:00:00Z");
    std::sync::Arc::make_mut(other.process.as_mut().unwrap()).uid = 4_242;
    home.writer()
        .apply(&[usage(record("msg_1", "2026-11-01T15:00:00Z")), usage(other)])
        .unwrap();
    assert_eq!(
        home.sqlite3("SELECT uid, request_count FROM v_session ORDER BY 1")
            .text(),
        "1001|1\n4242|1\n"
    );
}

#[test]
fn a_session_of_two_clients_is_named_after_the_first_and_takes_no_version_of_the_other() {
    let home = Home::new();
    let mut first = record("msg_1", "2026-11-01T15:00:00Z");
    first.client.version = None;
    let mut other = record("msg_2", "2026-11-01T15:01:00Z");
    other.client.name = Some("anthropic-python".to_owned());
    other.client.version = Some("2.12.0".to_owned());
    let versions = || {
        home.sqlite3("SELECT client_name, client_version FROM v_session")
            .text()
    };
    let mut writer = home.writer();
    writer.apply(&[usage(first), usage(other)]).unwrap();
    assert_eq!(versions(), "claude-code|\n");
    writer
        .apply(&[usage(record("msg_3", "2026-11-01T15:02:00Z"))])
        .unwrap();
    assert_eq!(versions(), "claude-code|2.1.0\n");
}

#[test]
fn coverage_of_one_minute_adds_up() {
    let home = Home::new();
    let minute = "2026-11-01T15:00:00Z";
    let mut writer = home.writer();
    for _ in 0..2 {
        writer
            .apply(&[
                coverage(minute, CoverageOutcome::Decoded, 10),
                coverage(minute, CoverageOutcome::LostEvent, 7),
            ])
            .unwrap();
    }
    assert_eq!(
        home.sqlite3(
            "SELECT minute_utc, pid, outcome, events, bytes FROM v_coverage ORDER BY outcome"
        )
        .text(),
        "2026-11-01T15:00:00Z|7781|decoded|20|2000\n2026-11-01T15:00:00Z|7781|lost_event|14|1400\n"
    );
}

#[test]
fn what_may_not_be_kept_is_not_in_the_file() {
    let home = Home::new();
    let mut writer = Writer::open(
        &home.db(),
        host(),
        Keep {
            cwd: false,
            argv0: false,
        },
    )
    .unwrap();
    writer
        .apply(&[usage(record("msg_1", "2026-11-01T15:00:00Z"))])
        .unwrap();
    writer.close().unwrap();
    assert_eq!(
        home.sqlite3("SELECT cwd IS NULL, argv0 IS NULL FROM process")
            .text(),
        "1|1\n"
    );
}

#[test]
fn a_second_writer_is_refused_by_name_and_the_first_goes_on() {
    let home = Home::new();
    let mut first = home.writer();
    let second = Writer::open(&home.db(), host(), Keep::default());
    assert!(matches!(second, Err(Error::InUse { pid, .. }) if pid == Some(std::process::id())));
    first
        .apply(&[usage(record("msg_1", "2026-11-01T15:00:00Z"))])
        .unwrap();
    first.close().unwrap();
    home.writer();
}

#[test]
fn a_newer_ledger_is_refused_by_writer_and_reader_and_left_alone() {
    let home = Home::with(&[]);
    let newer = SCHEMA_VERSION + 1;
    let edit = std::process::Command::new("sqlite3")
        .arg(home.db())
        .arg(format!("PRAGMA user_version = {newer}"))
        .status()
        .unwrap();
    assert!(edit.success());
    assert!(matches!(
        Writer::open(&home.db(), host(), Keep::default()),
        Err(Error::Newer { found, .. }) if found == newer
    ));
    let ran = home.run(["report"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert_eq!(
        ran.err,
        format!(
            "bpftok: {} has schema version {newer}, this bpftok knows {SCHEMA_VERSION}; use the newer bpftok that wrote it\n",
            home.db().display()
        )
    );
}

/// A ledger as a dump has it.
fn dumped(dump: &Path) -> Home {
    let home = Home::new();
    fs::create_dir(home.db().parent().unwrap()).unwrap();
    let made = std::process::Command::new("sqlite3")
        .arg(home.db())
        .stdin(fs::File::open(dump).unwrap())
        .status()
        .unwrap();
    assert!(made.success(), "{}", dump.display());
    fs::set_permissions(home.db(), fs::Permissions::from_mode(0o640)).unwrap();
    home
}

/// Every released version of the schema leaves an SQL dump in `tests/e2e/upgrade`; each must open,
/// upgrade and keep its calls.
#[test]
fn every_released_schema_upgrades_and_keeps_its_calls() {
    let dumps = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/e2e/upgrade");
    let mut upgraded = 0;
    for dump in fs::read_dir(dumps).unwrap() {
        let dump = dump.unwrap().path();
        if dump.extension().is_none_or(|extension| extension != "sql") {
            continue;
        }
        let home = dumped(&dump);
        home.writer().close().unwrap();
        assert_eq!(
            home.sqlite3("PRAGMA user_version; SELECT count(*), sum(context_tokens), sum(output_tokens) FROM v_request; PRAGMA integrity_check").text(),
            format!("{SCHEMA_VERSION}\n2|3000|150\nok\n"),
            "{}",
            dump.display()
        );
        assert_eq!(home.sqlite3(DIFFERENCE).text(), "", "{}", dump.display());
        upgraded += 1;
    }
    assert_eq!(upgraded, SCHEMA_VERSION);
}

/// Of calls that were deleted before sums were kept by process nobody knows the process any more.
#[test]
fn what_deleted_calls_added_is_there_after_an_upgrade_without_its_process() {
    let dump = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/e2e/upgrade/0006.sql");
    let home = dumped(Path::new(dump));
    // The other call began in the same quarter of an hour.
    let deleted = "INSERT INTO pruned_15m SELECT * FROM usage_15m WHERE usage_key_id = 1;
                   INSERT INTO pruned_session_15m SELECT * FROM session_15m WHERE usage_key_id = 1;
                   DELETE FROM request WHERE request_id = 1";
    let conn = rusqlite::Connection::open(home.db()).unwrap();
    conn.execute_batch(deleted).unwrap();
    drop(conn);
    home.writer().close().unwrap();
    let sums = "SELECT process_id, thread_id, requests, context_tokens, output_tokens
                FROM session_usage ORDER BY session_id;
                SELECT pid, request_count FROM v_process ORDER BY pid;
                SELECT sum(context_tokens), sum(output_tokens) FROM v_session;
                SELECT sum(request_count) FROM v_daily";
    assert_eq!(
        home.sqlite3(sums).text(),
        "0|0|1|1000|50\n2|0|1|2000|100\n1202|1\n7781|0\n3000|150\n2\n"
    );
}

#[test]
fn a_damaged_ledger_is_set_aside_and_a_new_one_begins() {
    for damage in [
        "no database at all, but long enough to be read as a header ......................................................",
        "",
    ] {
        let home = Home::with(&[usage(record("msg_1", "2026-11-01T15:00:00Z"))]);
        let mut bytes = fs::read(home.db()).unwrap();
        if damage.is_empty() {
            // The page of the schema.
            bytes[100..2_000].fill(0xff);
        } else {
            bytes = damage.as_bytes().to_vec();
        }
        fs::write(home.db(), &bytes).unwrap();
        let mut writer = home.writer();
        writer
            .apply(&[usage(record("msg_2", "2026-11-01T15:00:00Z"))])
            .unwrap();
        writer.close().unwrap();
        assert_eq!(
            home.sqlite3("SELECT identity FROM request").text(),
            "anthropic:msg_2\n"
        );
        let kept: Vec<_> = fs::read_dir(home.db().parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                let name = path.file_name().unwrap().to_str().unwrap();
                name.starts_with("usage.db.corrupt-") && !name.ends_with("-wal")
            })
            .collect();
        assert_eq!(kept.len(), 1);
        assert_eq!(fs::read(&kept[0]).unwrap(), bytes);
    }
}

#[test]
fn damage_found_while_writing_is_told_and_the_writer_starts_over() {
    let home = Home::with(
        &(0..200)
            .map(|at| usage(record(&format!("msg_{at}"), "2026-11-01T15:00:00Z")))
            .collect::<Vec<_>>(),
    );
    let root: usize = home
        .sqlite3("SELECT rootpage FROM sqlite_master WHERE name = 'request_identity'")
        .text()
        .trim()
        .parse()
        .unwrap();
    let mut bytes = fs::read(home.db()).unwrap();
    bytes[(root - 1) * 4_096..root * 4_096].fill(0xff);
    fs::write(home.db(), &bytes).unwrap();
    let mut writer = home.writer();
    let batch = [usage(record("msg_new", "2026-11-01T15:00:00Z"))];
    let error = writer.apply(&batch).unwrap_err();
    assert!(error.is_corrupt() && !error.is_retryable(), "{error}");
    writer.start_over().unwrap();
    assert_eq!(writer.apply(&batch).unwrap().inserted, 1);
}

#[test]
fn a_ledger_removed_while_it_is_open_is_made_anew() {
    let home = Home::new();
    let mut writer = home.writer();
    writer
        .apply(&[usage(record("msg_1", "2026-11-01T15:00:00Z"))])
        .unwrap();
    for name in ["usage.db", "usage.db-wal", "usage.db-shm"] {
        fs::remove_file(home.path("state").join(name)).unwrap();
    }
    writer
        .apply(&[usage(record("msg_2", "2026-11-01T15:00:00Z"))])
        .unwrap();
    assert_eq!(
        home.sqlite3("SELECT identity FROM request").text(),
        "anthropic:msg_2\n"
    );
}

#[test]
fn a_ledger_that_another_holds_is_retryable_and_loses_nothing() {
    let home = Home::new();
    let mut writer = home.writer();
    let batch = [usage(record("msg_1", "2026-11-01T15:00:00Z"))];
    let other = rusqlite::Connection::open(home.db()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = writer.apply(&batch).unwrap_err();
    assert!(error.is_retryable() && !error.is_corrupt(), "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(writer.apply(&batch).unwrap().inserted, 1);
}

/// A small file system in the place of the ledger; unmounted with the value.
struct Disk(std::path::PathBuf);

impl Disk {
    /// `None` where this process may not mount.
    fn mount(path: std::path::PathBuf, options: &str) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&path)
            .status()
            .is_ok_and(|status| status.success());
        mounted.then_some(Self(path))
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let done = std::process::Command::new("mount")
            .args(["-o", &options])
            .arg(&self.0)
            .status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let done = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
        assert!(done.unwrap().success());
    }
}

#[test]
fn a_full_disk_is_retryable_and_nothing_is_lost_or_counted_twice() {
    let home = Home::new();
    if !crate::world::is_root() {
        return;
    }
    let Some(disk) = Disk::mount(home.path("state"), "size=768k,mode=0750") else {
        return;
    };
    let mut writer = home.writer();
    let batch = |number: usize| -> Vec<Output> {
        (0..50)
            .map(|at| {
                usage(record(
                    &format!("msg_{number}_{at}"),
                    "2026-11-01T15:00:00Z",
                ))
            })
            .collect()
    };
    let mut stored = 0;
    let error = loop {
        match writer.apply(&batch(stored)) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_retryable() && !error.is_corrupt(), "{error}");
    assert!(writer.apply(&batch(stored)).unwrap_err().is_retryable());
    disk.remount("size=8m,mode=0750");
    assert_eq!(writer.apply(&batch(stored)).unwrap().inserted, 50);
    writer.close().unwrap();
    assert_eq!(
        home.sqlite3("SELECT count(*) FROM request; SELECT request_count FROM session; PRAGMA integrity_check").text(),
        format!("{0}\n{0}\nok\n", (stored + 1) * 50)
    );
}

#[test]
fn a_call_takes_less_than_three_hundred_bytes() {
    const CALLS: u32 = 20_000;
    let models = ["claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"];
    let outputs: Vec<Output> = (0..CALLS)
        .map(|at| {
            let mut record = record(
                &format!("msg_01XFDUDYJgAACzvnptvV{at:05}"),
                "2026-11-01T15:00:00Z",
            );
            let many = u64::from(at);
            record.started_unix_ms += i64::from(at) * 1_237;
            record.ttft_ms = Some(300 + many % 900);
            record.duration_ms = 2_000 + many % 40_000;
            record.session = SessionKey(format!("8f31c2aa-1b2c-4d5e-8f90-{:012}", at / 100));
            let model = models[usize::try_from(at % 3).unwrap()];
            record.call.model_requested = Some(model.to_owned());
            record.call.model_served = Some(format!("{model}-20260901"));
            record.call.usage = Usage {
                input_uncached: Some(many % 700),
                cache_read: Some(40_000 + many % 120_000),
                cache_write_5m: Some(many % 3_000),
                cache_write_1h: Some(0),
                output: Some(40 + many % 3_000),
                ..Usage::default()
            };
            record.call.terms.service_tier = Some("standard".to_owned());
            record.call.attempt = Some(1);
            record.cost = priced(20_000_000 + many * 7_919);
            usage(record)
        })
        .collect();
    let home = Home::with(&outputs);
    let bytes = fs::metadata(home.db()).unwrap().len() / u64::from(CALLS);
    println!("{bytes} bytes a call, with its indexes");
    assert!(bytes < 300, "{bytes} bytes a call");
}
