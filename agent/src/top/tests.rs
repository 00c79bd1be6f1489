use std::fs;
use std::path::Path;

use jiff::tz::TimeZone;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};

use super::input::{Next, Pane, State};
use super::model::{Agent, Frame, Order, RATE_MS, Read, RowId, Sort};
use super::view::{self, Look};
use crate::report::Style;
use crate::store::{Live, LiveAlert, LiveBudget, LiveCall, LiveSession, RunningCall, Sum};

/// 2026-11-23 15:04:10 UTC.
const AT_MS: i64 = 1_795_446_250_000;
const MINUTE_MS: i64 = 60_000;
const CENT: u64 = 10_000_000;

const fn exactly(value: u64) -> Sum {
    Sum {
        value: Some(value),
        is_lower_bound: false,
    }
}

fn session(id: i64, key: &str, workflow: &str, minutes: i64) -> LiveSession {
    LiveSession {
        session_id: id,
        session_key: key.to_owned(),
        uid: Some(1_000),
        workflow: Some(workflow.to_owned()),
        client_name: Some("claude-code".to_owned()),
        pid: Some(7_000 + id),
        comm: Some("node".to_owned()),
        user_name: Some("dana".to_owned()),
        started_ms: AT_MS - minutes * MINUTE_MS,
        request_count: 10,
        thread_count: 1,
        cost: exactly(100 * CENT),
    }
}

/// A call that lasted ten seconds and ended `seconds` ago.
fn call(session_id: i64, seconds: i64, cents: u64) -> LiveCall {
    LiveCall {
        session_id,
        started_ms: AT_MS - (seconds + 10) * 1_000,
        duration_ms: 10_000,
        model: Some("claude-opus-5-5".to_owned()),
        context_tokens: Some(64_000),
        window_tokens: Some(1_000_000),
        weighted_tokens: Some(50_000),
        cost_nanousd: Some(cents * CENT),
        ..LiveCall::default()
    }
}

fn running(session_id: Option<i64>, key: &str, seconds: i64) -> RunningCall {
    RunningCall {
        session_id,
        session_key: key.to_owned(),
        uid: Some(1_000),
        started_ms: AT_MS - seconds * 1_000,
        model: Some("claude-haiku-5-5".to_owned()),
        workflow: "support-copilot".to_owned(),
        thread_kind: "main".to_owned(),
        pid: Some(1_203),
        comm: Some("python3.12".to_owned()),
        context_tokens: Some(3_100),
        weighted_tokens: Some(3_100),
        cost_nanousd: Some(CENT / 10),
        ..RunningCall::default()
    }
}

fn read(live: Live) -> Read {
    Read {
        agent: Agent::Runs,
        at_ms: AT_MS,
        live,
        ..Read::default()
    }
}

/// Four sessions: one runs away, one works, one fails, and one has just begun.
fn busy() -> Read {
    let mut away = session(
        1,
        "8f31c2aa-1b2c-4d5e-8f90-a1b2c3d4e5f6",
        "nightly-triage",
        232,
    );
    away.request_count = 912;
    away.thread_count = 34;
    away.cost = exactly(11_840 * CENT);
    away.user_name = Some("ci".to_owned());
    let works = session(2, "02ad77", "claude-code/web", 41);
    let mut fails = session(3, "b19e00", "claude-code/api", 12);
    fails.client_name = Some("codex".to_owned());
    fails.user_name = Some("lee".to_owned());
    fails.cost.is_lower_bound = true;
    let mut calls: Vec<LiveCall> = (0..6).map(|at| call(1, at * 40, 40)).collect();
    for (at, call) in calls.iter_mut().enumerate() {
        call.context_tokens = Some(171_000);
        if at % 2 == 1 {
            call.thread_id = Some(i64::try_from(at).unwrap());
            call.thread_kind = Some("subagent".to_owned());
            call.agent_type = Some("review-agent".to_owned());
            call.thread_depth = 1;
        }
    }
    calls.push(call(2, 30, 45));
    let mut failed = call(3, 100, 0);
    failed.is_error = true;
    failed.cost_nanousd = None;
    failed.is_cost_lower_bound = true;
    failed.model = Some("gpt-5.6-sol".to_owned());
    calls.push(failed);
    let runaway = LiveAlert {
        rule: "runaway".to_owned(),
        severity: "page".to_owned(),
        summary: "nightly-triage: session runs away".to_owned(),
        scope_json: format!(
            r#"[["workflow","nightly-triage"],["session","{}"],["user","ci"]]"#,
            away.session_key
        ),
        evidence_json: r#"{"uid": 1000, "rules": [{"rule": "R2", "name": "fan-out"},
            {"rule": "R6", "name": "money"}, {"rule": "R2", "name": "fan-out"}]}"#
            .to_owned(),
        ..LiveAlert::default()
    };
    let spike = LiveAlert {
        rule: "spike".to_owned(),
        severity: "ticket".to_owned(),
        scope_json: r#"[["workflow","claude-code/web"]]"#.to_owned(),
        ..LiveAlert::default()
    };
    Read {
        budgets: vec![LiveBudget {
            budget: "triage-month".to_owned(),
            status: "burning".to_owned(),
            used_amount: 582,
            limit_amount: 600,
            ..LiveBudget::default()
        }],
        hour: exactly(2_040 * CENT),
        ..read(Live {
            sessions: vec![works, away, fails],
            calls,
            running: vec![
                running(Some(1), "8f31c2aa-1b2c-4d5e-8f90-a1b2c3d4e5f6", 72),
                running(None, "e4d901", 2),
            ],
            alerts: vec![runaway, spike],
        })
    }
}

fn busy_frame() -> Frame {
    Frame::of(&busy(), Sort::Cost, Order::Falling)
}

fn look(style: Style) -> Look {
    Look {
        zone: TimeZone::UTC,
        style,
        window_minutes: 10,
    }
}

/// The first two letters of an id.
fn start(key: &str) -> String {
    key.get(..2).unwrap().to_owned()
}

fn keys_of(frame: &Frame) -> Vec<&str> {
    frame.rows.iter().map(|row| row.key.as_str()).collect()
}

fn press(state: &mut State, frame: &Frame, codes: &[KeyCode]) -> Next {
    let keys = codes
        .iter()
        .map(|code| KeyEvent::new(*code, KeyModifiers::NONE));
    keys.fold(Next::Stay, |_, key| state.press(key, frame))
}

fn typed(text: &str) -> Vec<KeyCode> {
    text.chars().map(KeyCode::Char).collect()
}

fn terminal(frame: &Frame, state: &mut State, size: (u16, u16)) -> Terminal<TestBackend> {
    let detail = ["session 8f31c2aa", "its threads"].map(str::to_owned);
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
    terminal
        .draw(|canvas| {
            let area = canvas.area();
            let look = look(Style::Coloured);
            view::draw(frame, state, &look, &detail, area, canvas.buffer_mut()).unwrap();
        })
        .unwrap();
    terminal
}

/// What is on a screen of this size.
fn screen(frame: &Frame, state: &mut State, size: (u16, u16)) -> String {
    let terminal = terminal(frame, state, size);
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(usize::from(size.0));
    let lines = rows.map(|cells| {
        let line: String = cells.iter().map(|cell| cell.symbol()).collect();
        format!("{}\n", line.trim_end())
    });
    lines.collect()
}

#[track_caller]
fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/e2e/golden")
        .join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text,
        golden,
        "differs from {}; BLESS=1 rewrites it",
        path.display()
    );
}

#[test]
fn a_rate_is_the_share_of_the_last_five_minutes_that_each_call_lies_in() {
    // 30 cents just now, 30 of which a third is older, and 30 that are older altogether.
    let mut half_old = call(1, 0, 30);
    half_old.started_ms = AT_MS - RATE_MS - 5 * MINUTE_MS / 2;
    half_old.duration_ms = u64::try_from(RATE_MS * 3 / 2).unwrap();
    let calls = vec![call(1, 1, 30), half_old, call(1, 301, 30)];
    let live = Live {
        sessions: vec![session(1, "a", "w", 60)],
        calls,
        ..Live::default()
    };
    let frame = Frame::of(&read(live), Sort::Cost, Order::Falling);
    assert_eq!(frame.rows[0].rate, exactly(10 * CENT));
    assert_eq!(frame.rows[0].cost, exactly(100 * CENT));
}

#[test]
fn a_call_that_runs_counts_with_what_it_took_so_far() {
    let mut long = running(Some(1), "a", 600);
    long.cost_nanousd = Some(100 * CENT);
    let live = Live {
        sessions: vec![session(1, "a", "w", 60)],
        running: vec![long, running(None, "b", 2)],
        ..Live::default()
    };
    let frame = Frame::of(&read(live), Sort::Cost, Order::Falling);
    let [old, new] = frame.rows.as_slice() else {
        panic!("{frame:#?}")
    };
    // Half of ten minutes.
    assert_eq!(old.rate, exactly(10 * CENT));
    assert_eq!(old.cost, exactly(200 * CENT));
    assert_eq!((old.running, old.running_ms), (1, 600_000));
    assert_eq!(new.id, RowId::Begun("b".to_owned(), Some(1_000)));
    assert_eq!((new.requests, new.threads, new.age_ms), (0, 1, 2_000));
    assert_eq!(new.cost, exactly(CENT / 10));
    assert_eq!(frame.totals.running, 2);
}

#[test]
fn an_unknown_cost_is_never_zero_and_makes_a_lower_bound() {
    let mut unpriced = call(1, 10, 0);
    unpriced.cost_nanousd = None;
    unpriced.is_cost_lower_bound = true;
    let of = |calls| {
        let live = Live {
            sessions: vec![session(1, "a", "w", 60)],
            calls,
            ..Live::default()
        };
        Frame::of(&read(live), Sort::Cost, Order::Falling).rows[0].rate
    };
    let unknown = Sum {
        value: None,
        is_lower_bound: true,
    };
    assert_eq!(of(vec![unpriced.clone()]), unknown);
    let some = of(vec![unpriced, call(1, 20, 30)]);
    assert_eq!((some.value, some.is_lower_bound), (Some(6 * CENT), true));
    assert_eq!(of(Vec::new()), exactly(0));
}

#[test]
fn notes_name_the_rules_that_a_session_breaks_and_the_alerts_of_its_workflow() {
    let frame = busy_frame();
    let notes: Vec<(&str, Vec<String>)> = frame
        .rows
        .iter()
        .map(|row| (row.key.get(..6).unwrap(), row.notes.clone()))
        .collect();
    let away = vec!["R2 fan-out, R6 money".to_owned()];
    assert_eq!(
        notes,
        [
            ("8f31c2", away),
            ("02ad77", vec!["spike".to_owned()]),
            ("e4d901", Vec::new()),
            ("b19e00", vec!["1 error".to_owned()]),
        ]
    );
}

#[test]
fn an_alert_on_another_users_session_of_that_name_is_not_told() {
    let mut read = busy();
    for session in &mut read.live.sessions {
        session.uid = Some(1_001);
    }
    read.live.alerts[1].scope_json = "no json".to_owned();
    let frame = Frame::of(&read, Sort::Cost, Order::Falling);
    let notes: Vec<&String> = frame.rows.iter().flat_map(|row| &row.notes).collect();
    assert_eq!(notes, ["1 error"]);
}

#[test]
fn sessions_are_ordered_by_what_was_asked_for_from_either_end() {
    let of = |sort, order| {
        let frame = Frame::of(&busy(), sort, order);
        let keys = frame.rows.iter().map(|row| start(&row.key));
        keys.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(of(Sort::Cost, Order::Falling), "8f 02 e4 b1");
    assert_eq!(of(Sort::Cost, Order::Rising), "b1 e4 02 8f");
    assert_eq!(of(Sort::Tokens, Order::Falling), "8f 02 b1 e4");
    assert_eq!(of(Sort::Context, Order::Falling), "8f 02 b1 e4");
    assert_eq!(of(Sort::Threads, Order::Falling), "8f 02 b1 e4");
    assert_eq!(of(Sort::Errors, Order::Falling), "b1 8f 02 e4");
}

#[test]
fn s_goes_through_all_orders_and_r_turns_them_around() {
    let frame = busy_frame();
    let mut state = State::default();
    let mut seen = vec![state.sort];
    for _ in 0..5 {
        press(&mut state, &frame, &typed("s"));
        seen.push(state.sort);
    }
    assert_eq!(
        seen,
        [
            Sort::Cost,
            Sort::Tokens,
            Sort::Context,
            Sort::Threads,
            Sort::Errors,
            Sort::Cost
        ]
    );
    press(&mut state, &frame, &typed("r"));
    assert_eq!(state.order, Order::Rising);
}

#[test]
fn a_filter_holds_as_it_is_typed_and_takes_every_key_but_its_end() {
    let frame = busy_frame();
    let mut state = State::default();
    let passing = |state: &State| -> Vec<String> {
        let rows = frame.rows.iter().filter(|row| state.passes(row));
        rows.map(|row| start(&row.key)).collect()
    };
    assert_eq!(press(&mut state, &frame, &typed("/Qx")), Next::Stay);
    assert_eq!(passing(&state), Vec::<String>::new());
    press(
        &mut state,
        &frame,
        &[KeyCode::Backspace, KeyCode::Backspace],
    );
    press(&mut state, &frame, &typed("CLAUDE-CODE/"));
    assert_eq!(passing(&state), ["02", "b1"]);
    press(&mut state, &frame, &[KeyCode::Enter]);
    assert_eq!(state.typed, None);
    assert_eq!(state.filter, "claude-code/");
    press(&mut state, &frame, &[KeyCode::Esc]);
    assert_eq!(passing(&state).len(), 4);
    press(&mut state, &frame, &typed("/fan-out"));
    assert_eq!(passing(&state), ["8f"]);
    press(&mut state, &frame, &[KeyCode::Esc]);
    assert_eq!((state.typed.as_deref(), state.filter.as_str()), (None, ""));
    press(&mut state, &frame, &typed(&format!("/{}", "x".repeat(500))));
    assert_eq!(state.filter.len(), 64);
}

#[test]
fn arrows_select_and_enter_and_escape_go_in_and_out() {
    let frame = busy_frame();
    let mut state = State::default();
    let selected = |state: &State| {
        let id = state.selected.as_ref()?;
        frame.rows.iter().position(|row| row.id == *id)
    };
    press(&mut state, &frame, &[KeyCode::Down]);
    assert_eq!(selected(&state), Some(0));
    press(&mut state, &frame, &typed("jjjjjj"));
    assert_eq!(selected(&state), Some(3));
    press(&mut state, &frame, &[KeyCode::Up]);
    assert_eq!(selected(&state), Some(2));
    press(&mut state, &frame, &[KeyCode::Home]);
    assert_eq!(selected(&state), Some(0));
    press(&mut state, &frame, &[KeyCode::Enter]);
    assert_eq!(state.pane, Pane::Detail);
    press(&mut state, &frame, &typed("s"));
    assert_eq!(state.sort, Sort::Cost);
    press(&mut state, &frame, &[KeyCode::Esc]);
    press(&mut state, &frame, &typed("?"));
    assert_eq!(state.pane, Pane::Help);
    press(&mut state, &frame, &typed("?"));
    assert_eq!(state.pane, Pane::List);
}

#[test]
fn a_session_that_is_gone_is_selected_no_more() {
    let mut state = State::default();
    press(&mut state, &busy_frame(), &[KeyCode::End]);
    let mut read = busy();
    read.live.sessions.truncate(1);
    read.live.running.clear();
    let frame = Frame::of(&read, Sort::Cost, Order::Falling);
    press(&mut state, &frame, &[KeyCode::Down]);
    assert_eq!(state.selected, Some(RowId::Stored(2)));
    press(&mut state, &Frame::default(), &[KeyCode::Enter]);
    assert_eq!(state.selected, Some(RowId::Stored(2)));
}

#[test]
fn q_and_ctrl_c_quit_and_a_typed_q_does_not() {
    let frame = busy_frame();
    let mut state = State::default();
    let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(press(&mut state, &frame, &typed("q")), Next::Quit);
    assert_eq!(press(&mut state, &frame, &typed("/q")), Next::Stay);
    assert_eq!(state.press(ctrl_c, &frame), Next::Quit);
}

#[test]
fn frames_fit_screens_of_60_to_250_columns() {
    for width in [60, 80, 120, 250] {
        let text = screen(&busy_frame(), &mut State::default(), (width, 12));
        assert_golden(&format!("top-screen-{width}.txt"), &text);
    }
}

#[test]
fn a_tree_shows_threads_below_their_sessions() {
    let mut state = State::default();
    let frame = busy_frame();
    press(&mut state, &frame, &typed("t"));
    assert_golden(
        "top-screen-tree-120.txt",
        &screen(&frame, &mut state, (120, 16)),
    );
}

#[test]
fn every_screen_is_drawn_at_any_size() {
    let frame = busy_frame();
    for keys in ["", "?", "t", "/fan-out", "jj", "f"] {
        for size in [(1, 1), (2, 3), (20, 4), (60, 2), (300, 60)] {
            let mut state = State::default();
            press(&mut state, &frame, &typed(keys));
            let text = screen(&frame, &mut state, size);
            assert_eq!(text.lines().count(), usize::from(size.1), "{keys} {size:?}");
        }
    }
}

#[test]
fn the_selected_session_is_always_seen() {
    let sessions = (0..100).map(|at| session(at, &format!("s{at:03}"), "w", 9));
    let live = Live {
        sessions: sessions.collect(),
        ..Live::default()
    };
    let frame = Frame::of(&read(live), Sort::Cost, Order::Falling);
    let mut state = State::default();
    for (codes, key) in [
        (vec![KeyCode::End], "s099"),
        (vec![KeyCode::PageUp], "s084"),
        (vec![KeyCode::Home], "s000"),
        (vec![KeyCode::Down; 40], "s040"),
    ] {
        press(&mut state, &frame, &codes);
        let shown = screen(&frame, &mut state, (80, 20));
        assert!(shown.contains(key), "{key} is not in\n{shown}");
    }
}

#[test]
fn what_is_bad_is_coloured_and_without_colour_it_is_not() {
    let frame = busy_frame();
    let mut state = State::default();
    press(&mut state, &frame, &[KeyCode::Down]);
    let terminal = terminal(&frame, &mut state, (120, 12));
    let first = &terminal.backend().buffer()[(0, 4)];
    assert_eq!((first.symbol(), first.fg), ("8", Color::Red));
    assert!(first.modifier.contains(Modifier::REVERSED));
    let mut plain = Terminal::new(TestBackend::new(120, 12)).unwrap();
    plain
        .draw(|canvas| {
            let area = canvas.area();
            let look = look(Style::Plain);
            view::draw(&frame, &mut state, &look, &[], area, canvas.buffer_mut()).unwrap();
        })
        .unwrap();
    let cells = plain.backend().buffer().content().iter();
    assert!(
        cells
            .clone()
            .all(|cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset))
    );
    assert!(
        cells
            .into_iter()
            .any(|cell| cell.modifier.contains(Modifier::REVERSED))
    );
}

#[test]
fn names_that_steer_a_terminal_are_shown_and_do_nothing() {
    let mut hostile = session(1, "\u{1b}[2J\u{202e}id", "w\nflow\u{9b}31m", 5);
    hostile.client_name = Some("\u{7}bell".to_owned());
    let mut read = busy();
    read.live.sessions.push(LiveSession {
        session_id: 9,
        ..hostile
    });
    read.live.alerts[0].evidence_json =
        r#"{"rules": [{"rule": "R2\u001b[2J", "name": "x"}]}"#.to_owned();
    read.budgets[0].budget = "\u{1b}]0;title\u{7}".to_owned();
    let frame = Frame::of(&read, Sort::Cost, Order::Falling);
    let mut state = State::default();
    press(&mut state, &frame, &typed("/\u{202e}"));
    press(&mut state, &frame, &[KeyCode::Backspace, KeyCode::Enter]);
    let text = screen(&frame, &mut state, (250, 14));
    assert_eq!(text.matches('\u{1b}').count(), 0);
    let steering = text.chars().filter(|c| c.is_control() || *c == '\u{202e}');
    assert_eq!(steering.filter(|c| *c != '\n').count(), 0, "{text:?}");
    assert!(text.contains("\\u{1b}[2J\\u{202e}id"), "{text}");
}

#[test]
fn without_an_agent_the_last_state_is_shown_and_said_to_be_that() {
    let frame = Frame {
        agent: Agent::Gone,
        ..busy_frame()
    };
    let text = view::text(&frame, &State::default(), &look(Style::Plain), None).unwrap();
    let first = text.lines().next().unwrap();
    assert!(
        first.starts_with("bpftok: no agent runs, last state of 2026-11-23 15:04:10 UTC · "),
        "{first}"
    );
    assert_eq!(keys_of(&frame).len(), 4);
}
