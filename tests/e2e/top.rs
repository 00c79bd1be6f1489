//! `bpftok top`: one frame, several, as a document, and on a terminal with keys and other sizes.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use agent_core::llm::{Outcome, Provider};
use agent_core::prices::{CostStatus, Priced};
use agent_core::session::{SessionKey, Thread, ThreadKind, UsageRecord};
use agent_core::workflow::{Origin, Workflow};
use serde_json::Value;

use crate::schema::Schema;
use crate::world::{BPFTOK, Home, Ran, assert_golden, ms, priced, process, ran, record, usage};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/top.md");

const AWAY: &str = "8f31c2aa-1b2c-4d5e-8f90-a1b2c3d4e5f6";

/// Size of the page's screens.
const PAGE_SIZE: (u32, u32) = (110, 16);

/// LIMIT: how long a screen may take to show what it should, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// A call of a session of a workflow, for so many cents.
fn call(identity: &str, at: &str, session: &str, workflow: &str, cents: u64) -> UsageRecord {
    let mut call = record(identity, at);
    call.session = SessionKey(session.to_owned());
    call.workflow = Arc::new(Workflow {
        name: workflow.to_owned(),
        origin: Origin::Rule,
        billing_code: None,
        labels: Vec::new(),
    });
    call.duration_ms = 20_000;
    call.cost = priced(cents * 10_000_000);
    call
}

/// A ledger with three sessions of the last minutes before 15:04:10, one that has just begun, and one
/// that is long over. Of one a rule says that it runs away.
fn afternoon() -> Home {
    let mut outputs = Vec::new();
    outputs.push(usage(call(
        "old",
        "2026-11-23T11:12:00Z",
        AWAY,
        "nightly-triage",
        9_000,
    )));
    outputs.push(usage(call(
        "over",
        "2026-11-23T13:00:00Z",
        "0f0f0f",
        "web",
        50,
    )));
    for number in 0..8_u32 {
        let at = format!("2026-11-23T15:0{}:20Z", number / 2);
        let mut call = call(&format!("away_{number}"), &at, AWAY, "nightly-triage", 30);
        call.call.usage.cache_read = Some(170_000);
        call.process = Some(process(7_781, "node", "/usr/bin/node", "ci"));
        if number % 2 == 1 {
            call.thread = Thread {
                key: format!("review-{number}"),
                parent: Some(String::new()),
                kind: ThreadKind::Subagent,
                agent_type: Some("review-agent".to_owned()),
                depth: 1,
            };
        }
        outputs.push(usage(call));
    }
    let mut works = call(
        "web_1",
        "2026-11-23T15:02:00Z",
        "02ad77",
        "claude-code/web",
        45,
    );
    works.call.usage.cache_read = Some(63_000);
    works.process = Some(process(40_112, "node", "/usr/bin/node", "dana"));
    outputs.push(usage(works));
    let mut fails = call(
        "resp_1",
        "2026-11-23T15:03:30Z",
        "b19e00",
        "claude-code/api",
        0,
    );
    fails.call.provider = Provider("openai");
    fails.call.model_served = Some("gpt-5.6-sol".to_owned());
    fails.call.outcome = Outcome::Error;
    fails.call.http_status = Some(529);
    fails.client.name = Some("codex".to_owned());
    fails.process = Some(process(40_377, "codex", "/usr/bin/codex", "lee"));
    fails.cost = Priced {
        cost_nanousd: None,
        status: CostStatus::Unpriced,
        price: None,
    };
    outputs.push(usage(fails));
    let home = Home::with(&outputs);
    let now = ms("2026-11-23T15:04:10Z");
    running(&home, AWAY, "nightly-triage", now - 72_000, now);
    running(&home, "e4d901", "support-copilot", now - 2_000, now);
    let conn = rusqlite::Connection::open(home.db()).unwrap();
    let evidence = r#"{"uid": 1001, "rules": [{"rule": "R2", "name": "fan-out"}]}"#;
    let scope = format!(r#"[["workflow","nightly-triage"],["session","{AWAY}"]]"#);
    conn.execute(
        "INSERT INTO alert (host_id, fingerprint, rule, variant, scope_json, severity, state, summary,
                            evidence_json, hold_ms, started_ms, fired_ms)
         VALUES (1, 'f1', 'runaway', '', ?1, 'page', 'firing', 'it runs away', ?2, 0, ?3, ?3),
                (1, 'f2', 'spike', '', '[[\"workflow\",\"web\"]]', 'ticket', 'resolved', '', '{}',
                 0, ?3, ?3)",
        rusqlite::params![scope, evidence, now],
    )
    .unwrap();
    conn.execute(
        "INSERT INTO budget_state (host_id, budget, scope_value, period_start_ms, unit, limit_amount,
                                   used_amount, open_amount, is_lower_bound, estimated_tokens,
                                   unpriced_tokens, thresholds_json, status, updated_ms)
         VALUES (1, 'triage-month', '', 0, 'usd', 600, 582, 0, 0, 0, 0, '[]', 'burning', ?1)",
        [now],
    )
    .unwrap();
    conn.execute(
        "INSERT INTO budget (host_id, name, definition_json, origin, changed_ms)
         VALUES (1, 'triage-month', '{}', 'config', ?1)",
        [now],
    )
    .unwrap();
    home
}

/// Puts a call that runs into a ledger.
fn running(home: &Home, session: &str, workflow: &str, started_ms: i64, now_ms: i64) {
    let conn = rusqlite::Connection::open(home.db()).unwrap();
    conn.execute(
        "INSERT INTO open_call (host_id, identity, started_ms, updated_ms, provider, model, workflow,
                                session_key, thread_key, thread_kind, task_type, user_name, uid, pid,
                                comm, usage_source, input_uncached_tokens, output_tokens,
                                weighted_tokens, cost_nanousd, cost_status)
         VALUES (1, ?1, ?2, ?3, 'anthropic', 'claude-haiku-5-5', ?4, ?1, '', 'main', 'chat', 'app', 1001,
                 1203, 'python3.12', 'estimated', 3000, 20, 3100, 4000000, 'priced')",
        rusqlite::params![session, started_ms, now_ms, workflow],
    )
    .unwrap();
}

fn top(home: &Home, columns: Option<u32>, arguments: &[&str]) -> Ran {
    home.run_in("UTC", columns, [&["top"], arguments].concat())
}

#[test]
fn one_frame_is_the_last_state_where_no_agent_runs() {
    let home = afternoon();
    for columns in [60, 80, 120, 250] {
        let text = top(&home, Some(columns), &["-1"]).text();
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= usize::try_from(columns).ok(), "{text}");
        assert_golden(&format!("top-once-{columns}.txt"), &text);
    }
    // Without a terminal there is one frame, and no end to its lines.
    let piped = top(&home, None, &[]).text();
    assert!(piped.contains(AWAY), "{piped}");
    let by_threads = top(&home, Some(120), &["-1", "--sort", "threads"]).text();
    assert!(by_threads.contains("THR▾"), "{by_threads}");
}

#[test]
fn batches_are_frames_one_after_the_other() {
    let home = afternoon();
    let one = top(&home, Some(120), &["-1"]).text();
    let two = top(&home, Some(120), &["-b", "-n", "2", "-d", "0.1"]).text();
    assert_eq!(two, format!("{one}\n{one}"));
}

#[test]
fn a_frame_as_a_document_is_what_the_published_schema_says() {
    let home = afternoon();
    let document = top(&home, None, &["-o", "json"]).text();
    let document: Value = serde_json::from_str(&document).unwrap();
    Schema::published().hold(&document, "top");
    assert_eq!(document["is_running"], false);
    assert_eq!(document["generated_at"], "2026-11-23T15:04:10Z");
    let first = &document["rows"][0];
    assert_eq!(first["session_key"], AWAY);
    assert_eq!(first["notes"], serde_json::json!(["R2 fan-out"]));
    assert_eq!(first["running_calls"], 1);
    assert_eq!(first["cost_nanousd"], 92_404_000_000_i64);
    assert_eq!(document["rows"][3]["cost_nanousd_per_minute"], Value::Null);
    assert_eq!(document["alerts"][0]["scope"]["session"], AWAY);
    assert_eq!(document["alerts"].as_array().unwrap().len(), 1);
    assert_eq!(document["budgets"][0]["status"], "burning");
    let mut wrong = document.clone();
    wrong["rows"][0]["notes"] = Value::Null;
    assert!(!Schema::published().allows(&wrong));
}

#[test]
fn nothing_to_show_is_told_by_the_exit_code() {
    let home = Home::with(&[]);
    let shown = top(&home, Some(80), &["-1"]);
    assert_eq!((shown.code, shown.err.as_str()), (Some(5), ""));
    assert!(
        shown
            .out
            .contains("no session called in the last 10 minutes"),
        "{}",
        shown.out
    );
    let missing = ran(Command::new(BPFTOK).args(["--db", "/nowhere/usage.db", "top", "-1"]));
    assert_eq!(missing.code, Some(5), "{}", missing.err);
    for wrong in [["-d", "0"], ["-d", "NaN"], ["-n", "0"], ["--active", "1"]] {
        assert_eq!(top(&home, None, &wrong).code, Some(64), "{wrong:?}");
    }
}

#[test]
fn while_an_agent_runs_a_frame_is_of_this_moment() {
    let home = Home::new();
    let mut writer = home.writer();
    let ago = |seconds: i64| jiff::Timestamp::now() - jiff::SignedDuration::from_secs(seconds);
    let recent = call("a", &ago(120).to_string(), "fresh", "w", 50);
    let old = call("b", &ago(3_000).to_string(), "stale", "w", 50);
    writer.apply(&[usage(recent), usage(old)]).unwrap();
    let now = jiff::Timestamp::now().as_millisecond();
    running(&home, "begun", "w", now - 5_000, now);
    let document = top(&home, None, &["-o", "json"]).text();
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["is_running"], true);
    let rows = document["rows"].as_array().unwrap();
    let keys: Vec<&str> = rows
        .iter()
        .map(|row| row["session_key"].as_str().unwrap())
        .collect();
    assert_eq!(keys, ["fresh", "begun"]);
    assert_eq!(rows[0]["cost_nanousd_per_minute"], 100_000_000);
    let text = top(&home, Some(100), &["-1", "--active", "60"]).text();
    assert!(!text.contains("no agent"), "{text}");
    assert!(text.contains("stale"), "{text}");
    writer.close().unwrap();
}

/// A terminal in which a program runs.
struct Tmux {
    socket: String,
}

impl Tmux {
    /// Starts `bpftok top` on a ledger.
    fn top(home: &Home, size: (u32, u32)) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let tmux = Self {
            socket: format!("bpftok-e2e-{}-{number}", std::process::id()),
        };
        let (columns, rows) = (size.0.to_string(), size.1.to_string());
        let start = [
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &rows,
        ];
        let mut command = tmux.command();
        command
            .args(start)
            .args(["-e", "TZ=UTC", "-e", "NO_COLOR=1"]);
        // The shell stays, so that what is left of the screen can be seen.
        command.args(["--", "/bin/sh", "-c"]).arg(format!(
            "echo before; {BPFTOK} --db {} top; echo \"ended $?\"; exec cat",
            home.db().display()
        ));
        ran(&mut command).text();
        tmux
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-u", "-L", &self.socket]);
        command
    }

    fn keys(&self, keys: &[&str]) {
        ran(self.command().arg("send-keys").args(keys)).text();
    }

    fn resize(&self, size: (u32, u32)) {
        let (columns, rows) = (size.0.to_string(), size.1.to_string());
        ran(self
            .command()
            .args(["resize-window", "-x", &columns, "-y", &rows]))
        .text();
    }

    fn screen(&self) -> String {
        ran(self.command().args(["capture-pane", "-p"])).text()
    }

    /// The screen, as soon as it is as it should be, or else as it is in the end.
    fn wait(&self, mut is_right: impl FnMut(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if is_right(&screen) || Instant::now() > deadline {
                return screen;
            }
            thread::yield_now();
        }
    }

    /// Waits until the screen is that of a golden file.
    #[track_caller]
    fn assert_screen(&self, name: &str) {
        let path = format!("{}/../tests/e2e/golden/{name}", env!("CARGO_MANIFEST_DIR"));
        let golden = fs::read_to_string(path).unwrap_or_default();
        let screen = match std::env::var_os("BLESS") {
            Some(_) => self.settled(),
            None => self.wait(|screen| screen == golden),
        };
        assert_golden(name, &screen);
    }

    /// The screen, when it has not changed for a while: for files that are made anew, and reviewed.
    fn settled(&self) -> String {
        let (mut last, mut since) = (self.screen(), Instant::now());
        self.wait(|screen| {
            if screen != last {
                (last, since) = (screen.to_owned(), Instant::now());
            }
            since.elapsed() > Duration::from_secs(3)
        })
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        ran(self.command().arg("kill-server"));
    }
}

#[test]
fn on_a_terminal_keys_and_sizes_change_what_is_shown() {
    let home = afternoon();
    let tmux = Tmux::top(&home, (100, 14));
    tmux.assert_screen("top-tmux-100.txt");
    tmux.keys(&["s", "t"]);
    tmux.assert_screen("top-tmux-tree.txt");
    tmux.keys(&["s", "s", "s", "s", "t"]);
    tmux.resize((60, 14));
    tmux.assert_screen("top-tmux-60.txt");
    tmux.resize((250, 14));
    tmux.assert_screen("top-tmux-250.txt");
    tmux.resize((100, 14));
    tmux.keys(&["/", "w", "e", "b"]);
    tmux.assert_screen("top-tmux-filter.txt");
    tmux.keys(&["Enter", "f"]);
    tmux.assert_screen("top-tmux-frozen.txt");
    tmux.keys(&["?"]);
    let help = tmux.wait(|screen| screen.contains("Ctrl-C"));
    assert!(help.contains("esc back"), "{help}");
    tmux.keys(&["q"]);
    let ended = tmux.wait(|screen| screen.contains("ended"));
    assert_eq!(
        ended.split_whitespace().collect::<Vec<_>>(),
        ["before", "ended", "0"]
    );
}

#[test]
fn the_terminal_is_given_back_at_a_signal() {
    let home = afternoon();
    let tmux = Tmux::top(&home, (80, 10));
    tmux.wait(|screen| screen.contains("q quit"));
    let pane = ran(tmux
        .command()
        .args(["display-message", "-p", "#{pane_pid}"]))
    .text();
    let pane = pane.trim();
    let children = fs::read_to_string(format!("/proc/{pane}/task/{pane}/children")).unwrap();
    ran(Command::new("kill").arg(children.trim())).text();
    let ended = tmux.wait(|screen| screen.contains("ended"));
    assert_eq!(
        ended.split_whitespace().collect::<Vec<_>>(),
        ["before", "ended", "0"]
    );
}

/// The page with the screens that its commands give now. What follows `$ bpftok top` up to the end of
/// its block is the screen, after the keys behind `#`.
fn shown(page: &str) -> String {
    let home = afternoon();
    let mut made = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        made.push_str(line);
        made.push('\n');
        let Some(keys) = line.strip_prefix("$ bpftok top") else {
            continue;
        };
        let old: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let tmux = Tmux::top(&home, PAGE_SIZE);
        tmux.wait(|screen| screen.contains("q quit"));
        let keys: Vec<&str> = keys
            .trim_start_matches(['#', ' '])
            .split_whitespace()
            .collect();
        if !keys.is_empty() {
            tmux.keys(&keys);
        }
        let old = old.join("\n");
        let screen = match std::env::var_os("BLESS") {
            Some(_) => tmux.settled(),
            None => tmux.wait(|screen| screen.trim_end() == old),
        };
        made.push_str(screen.trim_end());
        made.push_str("\n```\n");
    }
    made
}

#[test]
fn the_page_on_top_shows_what_it_shows() {
    let page = fs::read_to_string(PAGE).unwrap();
    let made = shown(&page);
    if std::env::var_os("BLESS").is_some() {
        fs::write(PAGE, &made).unwrap();
        return;
    }
    assert_eq!(made, page, "differs from {PAGE}; BLESS=1 rewrites it");
}
