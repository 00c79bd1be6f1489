use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::alert::{Rule, Severity};
use crate::spend::Work;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DOLLAR: u64 = 1_000_000_000;
/// Evenings and slots of sums don't begin at zero.
const BEGIN: i64 = 1_790_000_000_123;

/// A call of the session `s` that ends so many milliseconds after the beginning and took 4 s.
fn call(at_ms: i64) -> Spend {
    let spend = Spend::plain();
    Spend {
        identity: Arc::from(format!("{at_ms}")),
        started_unix_ms: BEGIN + at_ms - 4 * SECOND,
        unix_ms: BEGIN + at_ms,
        payer: Arc::new(Payer {
            workflow: "nightly".to_owned(),
            user: Some("ci".to_owned()),
            unit: Some("nightly.service".to_owned()),
            ..Payer::default()
        }),
        work: Work {
            session: Arc::from("s"),
            uid: Some(7),
            pid: Some(42),
            ..spend.work
        },
        ..spend
    }
}

/// The same call with an identity of its own.
fn named(identity: String, mut spend: Spend) -> Spend {
    spend.identity = Arc::from(identity);
    spend
}

fn costing(nanousd: u64, mut spend: Spend) -> Spend {
    spend.amount.cost_nanousd = nanousd;
    spend
}

fn weighing(weighted_tokens: u64, mut spend: Spend) -> Spend {
    spend.amount.weighted_tokens = weighted_tokens;
    spend
}

fn in_thread(thread: &str, depth: u32, mut spend: Spend) -> Spend {
    spend.work.thread = Arc::from(thread);
    spend.work.depth = depth;
    spend
}

fn running(mut spend: Spend) -> Spend {
    spend.is_open = true;
    spend.work.is_complete = false;
    spend
}

const fn nothing_left(_: &Payer) -> Option<Headroom> {
    None
}

/// Numbers of the rules that a condition is made of.
fn rules_of(condition: &Condition) -> Vec<String> {
    let signs = condition.evidence["rules"].as_array().unwrap();
    let mut rules: Vec<String> = signs
        .iter()
        .map(|sign| sign["rule"].as_str().unwrap().to_owned())
        .collect();
    rules.dedup();
    rules
}

/// What fires, and when first, in minutes: calls are stored as they end, and rules looked at every 15
/// seconds.
fn fires(settings: Settings, calls: &[Spend]) -> BTreeMap<String, f64> {
    let mut runaways = Runaways::new(settings);
    let mut first = BTreeMap::new();
    let mut left = calls.iter().peekable();
    let last = calls.iter().map(|call| call.unix_ms).max().unwrap();
    for now in (BEGIN..last + MINUTE).step_by(15_000) {
        while let Some(call) = left.next_if(|call| call.unix_ms <= now) {
            runaways.commit(call, None, call.unix_ms);
        }
        let open: Vec<Spend> = left
            .clone()
            .filter(|call| call.started_unix_ms <= now)
            .map(|call| {
                let mut open = running(call.clone());
                open.unix_ms = now;
                open.amount = Amount::default();
                open
            })
            .collect();
        for condition in runaways.evaluate(now, &open, nothing_left) {
            for rule in rules_of(&condition) {
                let found = condition.evidence["rules"].as_array().unwrap();
                let sign = found.iter().find(|sign| sign["rule"] == *rule).unwrap();
                let minutes = (sign["first_unix_ms"].as_i64().unwrap() - BEGIN) / SECOND;
                first
                    .entry(rule)
                    .or_insert_with(|| f64::from(i32::try_from(minutes).unwrap()) / 60.0);
            }
        }
    }
    first
}

fn fire(calls: &[Spend]) -> Vec<String> {
    fires(Settings::default(), calls).into_keys().collect()
}

/// So many calls, one every so many milliseconds.
fn every(step_ms: i64, count: i64, of: impl Fn(i64, Spend) -> Spend) -> Vec<Spend> {
    (1..=count)
        .map(|number| of(number, call(number * step_ms)))
        .collect()
}

#[test]
fn r1_holds_from_a_million_weighted_tokens_in_ten_minutes() {
    let tokens = |each: u64| every(MINUTE, 9, move |_, spend| weighing(each, spend));
    assert_eq!(fire(&tokens(112_000)), ["R1"]);
    assert_eq!(fire(&tokens(111_000)), [""; 0]);
    // The same in twenty minutes is no rush.
    let slow = every(2 * MINUTE, 9, |_, spend| weighing(112_000, spend));
    assert_eq!(fire(&slow), [""; 0]);
}

#[test]
fn r1_leaves_alone_what_is_usual_for_the_workflow() {
    for (usual, expected) in [(Some(400_000), 0), (Some(300_000), 1), (None, 1)] {
        let mut runaways = Runaways::new(Settings::default());
        let heavy = weighing(1_100_000, call(0));
        runaways.commit(&heavy, usual, BEGIN);
        let conditions = runaways.evaluate(BEGIN, &[], nothing_left);
        assert_eq!(conditions.len(), expected, "{usual:?}");
    }
}

#[test]
fn r2_holds_from_twenty_requests_at_once() {
    for (count, expected) in [(19, 0), (20, 1)] {
        let mut runaways = Runaways::new(Settings::default());
        let open: Vec<Spend> = (0..count)
            .map(|number| running(named(format!("{number}"), call(0))))
            .collect();
        let conditions = runaways.evaluate(BEGIN, &open, nothing_left);
        assert_eq!(conditions.len(), expected, "{count}");
    }
}

#[test]
fn r2_holds_from_forty_new_threads_in_ten_minutes() {
    let threads = |count: i64, step: i64| {
        every(step, count, |number, spend| {
            in_thread(&format!("agent-{number}"), 1, spend)
        })
    };
    assert_eq!(fire(&threads(40, 14 * SECOND)), ["R2"]);
    assert_eq!(fire(&threads(39, 14 * SECOND)), [""; 0]);
    assert_eq!(fire(&threads(60, 16 * SECOND)), [""; 0]);
}

#[test]
fn r2_holds_from_threads_three_deep() {
    assert_eq!(fire(&[in_thread("c", 3, call(MINUTE))]), ["R2"]);
    assert_eq!(fire(&[in_thread("b", 2, call(MINUTE))]), [""; 0]);
}

#[test]
fn r3_holds_when_eight_of_twenty_replies_of_a_thread_ask_for_the_same() {
    let loops = |gap: i64, count: i64| {
        every(MINUTE, count, move |number, mut spend| {
            let again = number % gap == 0;
            spend.work.tool_signature = Some(if again {
                1
            } else {
                1_000 + number.unsigned_abs()
            });
            spend
        })
    };
    assert_eq!(fire(&loops(2, 16)), ["R3"]);
    assert_eq!(fire(&loops(2, 15)), [""; 0]);
    assert_eq!(fire(&loops(3, 80)), [""; 0]);
}

#[test]
fn r3_tells_threads_apart_and_passes_over_replies_without_tool_calls() {
    let calls = every(MINUTE, 30, |number, mut spend| {
        spend.work.tool_signature = Some(1);
        in_thread(&format!("{}", number % 5), 1, spend)
    });
    assert_eq!(fire(&calls), [""; 0]);
    let calls = every(MINUTE, 80, |number, mut spend| {
        spend.work.tool_signature = (number % 8 == 0).then_some(1);
        spend.work.is_human_turn = number % 8 == 1;
        spend
    });
    assert_eq!(fire(&calls), ["R3"]);
}

#[test]
fn r4_holds_when_the_same_request_succeeds_three_times_in_ten_minutes() {
    let same = |step: i64, is_complete: bool| {
        every(step, 3, move |_, mut spend| {
            spend.work.request_hash = Some(9);
            spend.work.is_complete = is_complete;
            spend
        })
    };
    assert_eq!(fire(&same(4 * MINUTE, true)), ["R4"]);
    assert_eq!(fire(&same(6 * MINUTE, true)), [""; 0]);
    // Retries of what failed are what a client should do.
    assert_eq!(fire(&same(4 * MINUTE, false)), [""; 0]);
}

#[test]
fn r5_holds_from_three_compactions_in_half_an_hour() {
    let compactions = |step: i64, is_marked: bool| {
        every(step, 3, move |_, mut spend| {
            spend.work.is_compaction = is_marked;
            spend.work.shows_compaction = !is_marked;
            spend
        })
    };
    assert_eq!(fire(&compactions(14 * MINUTE, true)), ["R5"]);
    assert_eq!(fire(&compactions(14 * MINUTE, false)), ["R5"]);
    assert_eq!(fire(&compactions(16 * MINUTE, true)), [""; 0]);
}

#[test]
fn r5_holds_from_twenty_requests_in_a_row_that_fill_the_window() {
    let contexts = |context: u64, rest: i64| {
        every(MINUTE, 25, move |number, mut spend| {
            let context = if number == rest { 9_000 } else { context };
            spend.work.context_tokens = Some(context);
            spend.work.window_tokens = Some(200_000);
            spend
        })
    };
    assert_eq!(fire(&contexts(180_000, 3)), ["R5"]);
    assert_eq!(fire(&contexts(180_000, 13)), [""; 0]);
    assert_eq!(fire(&contexts(179_999, 0)), [""; 0]);
    // The window is not the one that the list has.
    assert_eq!(fire(&contexts(300_000, 0)), [""; 0]);
}

#[test]
fn r6_holds_from_forty_dollars_in_an_hour_or_a_hundred_in_all() {
    let paid = |cents: u64, step: i64, count: i64| {
        let calls = every(step, count, move |_, mut spend| {
            spend.work.is_human_turn = true;
            costing(cents * DOLLAR / 100, spend)
        });
        fires(Settings::default(), &calls)
    };
    assert_eq!(
        paid(100, MINUTE, 40),
        BTreeMap::from([("R6".to_owned(), 40.0)])
    );
    assert_eq!(paid(99, MINUTE, 40), BTreeMap::new());
    // Twenty dollars an hour: it is the sum that is too much.
    assert_eq!(
        paid(100, 3 * MINUTE, 100),
        BTreeMap::from([("R6".to_owned(), 300.0)])
    );
    assert_eq!(paid(100, 3 * MINUTE, 99), BTreeMap::new());
}

#[test]
fn r6_counts_what_running_calls_took_so_far() {
    let mut runaways = Runaways::new(Settings::default());
    runaways.commit(&costing(39 * DOLLAR, call(0)), None, BEGIN);
    let open = [named(
        "open".to_owned(),
        running(costing(DOLLAR, call(MINUTE))),
    )];
    assert_eq!(runaways.evaluate(BEGIN, &[], nothing_left), []);
    assert_eq!(
        runaways.evaluate(BEGIN + MINUTE, &open, nothing_left).len(),
        1
    );
    // It was stored since it was listed.
    let mut runaways = Runaways::new(Settings::default());
    runaways.commit(&costing(20 * DOLLAR, call(0)), None, BEGIN);
    let listed = [running(costing(20 * DOLLAR, call(0)))];
    assert_eq!(runaways.evaluate(BEGIN, &listed, nothing_left), []);
}

#[test]
fn r7_holds_after_an_hour_and_a_hundred_requests_without_a_human() {
    let alone = |step: i64, count: i64| {
        every(step, count, |number, mut spend| {
            spend.work.is_human_turn = number == 1;
            spend
        })
    };
    assert_eq!(fire(&alone(37 * SECOND, 101)), ["R7"]);
    assert_eq!(fire(&alone(37 * SECOND, 100)), [""; 0]);
    // A hundred and more, but somebody spoke within the hour.
    assert_eq!(fire(&alone(35 * SECOND, 102)), [""; 0]);
    let spoken_to = every(30 * SECOND, 300, |number, mut spend| {
        spend.work.is_human_turn = number % 100 == 0;
        spend
    });
    assert_eq!(fire(&spoken_to), [""; 0]);
}

#[test]
fn r7_leaves_alone_what_works_alone_by_design_and_what_is_no_conversation() {
    let alone = every(30 * SECOND, 200, |_, spend| spend);
    for name in ["night*", "nightly.service"] {
        let settings = Settings {
            unattended_names: vec![name.to_owned()],
            ..Settings::default()
        };
        assert_eq!(fires(settings, &alone), BTreeMap::new(), "{name}");
    }
    let vectors = every(30 * SECOND, 200, |_, mut spend| {
        spend.work.is_conversation = false;
        spend
    });
    assert_eq!(fire(&vectors), [""; 0]);
    assert_eq!(fire(&alone), ["R7"]);
}

#[test]
fn a_rule_with_zero_never_holds() {
    let off = Settings {
        weighted_tokens: 0,
        parallel_requests: 0,
        new_threads: 0,
        thread_depth: 0,
        repeat_tool_calls: 0,
        duplicate_requests: 0,
        compactions: 0,
        full_requests: 0,
        hour_nanousd: 0,
        session_nanousd: 0,
        unattended_requests: 0,
        ..Settings::default()
    };
    let wild = every(SECOND, 4_000, |number, mut spend| {
        spend.work.tool_signature = Some(1);
        spend.work.request_hash = Some(1);
        spend.work.is_compaction = true;
        let spend = costing(DOLLAR, weighing(1 << 40, spend));
        in_thread(&format!("{number}"), 9, spend)
    });
    assert_eq!(fires(off, &wild), BTreeMap::new());
    let all = ["R1", "R2", "R3", "R4", "R5", "R6", "R7"].map(str::to_owned);
    let one_thread: Vec<Spend> = wild
        .into_iter()
        .map(|spend| in_thread("a", 9, spend))
        .collect();
    assert_eq!(fire(&one_thread), all);
}

#[test]
fn one_rule_is_a_ticket_two_are_a_page_and_so_is_money() {
    let severity = |spend: Spend| {
        let mut runaways = Runaways::new(Settings::default());
        runaways.commit(&spend, None, spend.unix_ms);
        let conditions = runaways.evaluate(spend.unix_ms, &[], nothing_left);
        conditions[0].severity
    };
    let deep = in_thread("a", 3, call(0));
    assert_eq!(severity(deep.clone()), Severity::Ticket);
    assert_eq!(severity(weighing(2_000_000, deep)), Severity::Page);
    assert_eq!(severity(costing(40 * DOLLAR, call(0))), Severity::Page);
}

#[test]
fn the_evidence_says_what_was_found_where_and_when_the_money_ends() {
    let mut runaways = Runaways::new(Settings::default());
    let main = costing(2 * DOLLAR, call(0));
    let mut agent = in_thread("agent-9", 3, costing(58 * DOLLAR, call(MINUTE)));
    agent.amount.tokens = 70;
    agent.amount.unpriced_tokens = 5;
    for spend in [&main, &agent] {
        runaways.commit(spend, None, spend.unix_ms);
    }
    let now = BEGIN + 2 * MINUTE;
    let headroom = |payer: &Payer| {
        (payer.workflow == "nightly").then(|| Headroom {
            budget: "month".to_owned(),
            left_nanousd: 90 * DOLLAR,
            ends_unix_ms: i64::MAX,
        })
    };
    let expected = json!({
        "rules": [
            {
                "rule": "R2", "name": "fan-out", "what": "thread_depth", "figure": 3, "threshold": 3,
                "first_unix_ms": BEGIN + MINUTE, "last_unix_ms": BEGIN + MINUTE,
                "thread": "agent-9", "hash": null,
            },
            {
                "rule": "R6", "name": "money", "what": "nanousd_in_60_minutes",
                "figure": 60 * DOLLAR, "threshold": 40 * DOLLAR,
                "first_unix_ms": BEGIN + MINUTE, "last_unix_ms": BEGIN + MINUTE,
                "thread": null, "hash": null,
            },
        ],
        "uid": 7, "pid": 42, "unit": "nightly.service",
        "container": null, "repo": null, "client": null,
        "requests": 2, "parallel_requests": 0, "tokens": 70, "weighted_tokens": 0,
        "cost_nanousd": 60 * DOLLAR, "cost_is_lower_bound": true,
        "nanousd_per_hour": 360 * DOLLAR,
        "started_unix_ms": BEGIN - 4 * SECOND, "last_unix_ms": BEGIN + MINUTE,
        "human_turn_unix_ms": null, "threads": 2,
        "top_thread": {
            "thread": "agent-9", "kind": "main", "depth": 3, "requests": 1,
            "weighted_tokens": 0, "cost_nanousd": 58 * DOLLAR,
        },
        "budget": { "name": "month", "left_nanousd": 90 * DOLLAR, "exhausted_unix_ms": now + HOUR / 4 },
    });
    let Value::Object(evidence) = expected else {
        panic!("an object")
    };
    let scope = [("workflow", "nightly"), ("session", "s"), ("user", "ci")];
    let expected = Condition {
        rule: Rule::Runaway,
        variant: String::new(),
        scope: scope
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .to_vec(),
        budget: None,
        severity: Severity::Page,
        hold: Duration::ZERO,
        summary:
            "nightly: session s runs away: R2 fan-out (threads 3 deep), R6 money ($60.00 in 60 \
             minutes); at least $60.00 in all, $360.00 an hour at its pace"
                .to_owned(),
        evidence,
    };
    assert_eq!(runaways.evaluate(now, &[], headroom), [expected]);
}

#[test]
fn a_session_of_models_without_a_price_costs_what_is_not_known_and_not_nothing() {
    let mut unpriced = in_thread("a", 3, call(0));
    unpriced.amount.cost_nanousd = 0;
    unpriced.amount.unpriced_tokens = 5;
    let mut runaways = Runaways::new(Settings::default());
    runaways.commit(&unpriced, None, BEGIN);

    let summaries: Vec<String> = runaways
        .evaluate(BEGIN, &[], nothing_left)
        .into_iter()
        .map(|condition| condition.summary)
        .collect();

    assert_eq!(
        summaries,
        ["nightly: session s runs away: R2 fan-out (threads 3 deep); what it costs is not known"]
    );
}

#[test]
fn a_rule_is_over_ten_minutes_after_it_was_last_found() {
    let mut runaways = Runaways::new(Settings::default());
    runaways.commit(&in_thread("a", 3, call(0)), None, BEGIN);
    let mut holds = |at_ms: i64| {
        !runaways
            .evaluate(BEGIN + at_ms, &[], nothing_left)
            .is_empty()
    };
    assert!(holds(10 * MINUTE));
    assert!(!holds(10 * MINUTE + 1));
    assert!(!holds(0));
}

#[test]
fn the_same_name_of_two_users_is_two_sessions() {
    let mut runaways = Runaways::new(Settings::default());
    for uid in [Some(1), Some(2), None] {
        let mut spend = named(format!("{uid:?}"), costing(30 * DOLLAR, call(0)));
        spend.work.uid = uid;
        runaways.commit(&spend, None, BEGIN);
    }
    assert_eq!(runaways.evaluate(BEGIN, &[], nothing_left), []);
    assert_eq!(runaways.sessions.len(), 3);
}

#[test]
fn a_call_that_comes_again_takes_the_place_of_what_it_was() {
    let mut runaways = Runaways::new(Settings::default());
    for dollars in [30, 35, 39] {
        let mut spend = costing(dollars * DOLLAR, call(0));
        spend.work.request_hash = Some(1);
        runaways.commit(&spend, None, BEGIN);
    }
    assert_eq!(runaways.evaluate(BEGIN, &[], nothing_left), []);
    let more = named("more".to_owned(), costing(DOLLAR, call(0)));
    runaways.commit(&more, None, BEGIN);
    let conditions = runaways.evaluate(BEGIN, &[], nothing_left);
    assert_eq!(conditions[0].evidence["cost_nanousd"], 40 * DOLLAR);
    assert_eq!(rules_of(&conditions[0]), ["R6"]);
}

#[test]
fn a_call_that_is_stored_late_counts_when_it_ended() {
    let mut runaways = Runaways::new(Settings::default());
    let late = costing(50 * DOLLAR, call(0));
    runaways.commit(&late, None, BEGIN + 2 * HOUR);
    assert_eq!(runaways.evaluate(BEGIN + 2 * HOUR, &[], nothing_left), []);
    let late = named("late".to_owned(), costing(40 * DOLLAR, call(90 * MINUTE)));
    runaways.commit(&late, None, BEGIN + 2 * HOUR);
    assert_eq!(
        runaways.evaluate(BEGIN + 2 * HOUR, &[], nothing_left).len(),
        1
    );
}

#[test]
fn after_a_restart_a_session_is_where_it_was() {
    let alone = every(30 * SECOND, 400, |number, mut spend| {
        spend.work.is_human_turn = number == 1;
        spend.work.tool_signature = Some(number.unsigned_abs() / 9);
        costing(DOLLAR / 5, spend)
    });
    let mut before = Runaways::new(Settings::default());
    for spend in &alone {
        before.commit(spend, None, spend.unix_ms);
    }
    let now = alone[399].unix_ms + 5 * SECOND;
    let (old, last_hour) = alone.split_at(280);
    let mut amount = Amount::default();
    for spend in old {
        amount.add(&spend.amount);
    }
    let mut after = Runaways::new(Settings::default());
    after.seed(Seed {
        session: Arc::from("s"),
        uid: Some(7),
        pid: Some(42),
        payer: Arc::clone(&alone[0].payer),
        first_unix_ms: alone[0].started_unix_ms,
        amount,
        human_unix_ms: Some(alone[0].started_unix_ms),
        requests_since_human: 279,
    });
    for spend in last_hour {
        after.commit(spend, None, spend.unix_ms);
    }
    let told = |runaways: &mut Runaways| {
        let mut conditions = runaways.evaluate(now, &[], nothing_left);
        let condition = conditions.remove(0);
        let same = [
            "cost_nanousd",
            "requests",
            "human_turn_unix_ms",
            "started_unix_ms",
        ];
        let same = same.map(|key| condition.evidence[key].clone());
        (
            rules_of(&condition),
            condition.scope,
            condition.severity,
            same,
        )
    };
    let told_before = told(&mut before);
    assert_eq!(told_before.0, ["R3", "R7"]);
    assert_eq!(told(&mut after), told_before);
}

/// Whether a rule fires within a band of minutes.
fn within(fired: &BTreeMap<String, f64>, rule: &str, band: std::ops::RangeInclusive<f64>) {
    let at = fired.get(rule).copied();
    assert!(
        at.is_some_and(|at| band.contains(&at)),
        "{rule}: {fired:?}, not in {band:?}"
    );
}

/// <https://github.com/anthropics/claude-code/issues/15909>: one command 300 times, 27 million tokens
/// in 4.6 hours.
#[test]
fn the_case_15909_is_a_loop_after_seven_minutes() {
    let calls = every(276 * MINUTE / 300, 300, |number, mut spend| {
        spend.work.is_human_turn = number == 1;
        spend.work.tool_signature = Some(4);
        // Nearly all of the 90,000 tokens of each are read from the cache.
        weighing(12_000, costing(DOLLAR / 2, spend))
    });
    let fired = fires(Settings::default(), &calls);
    within(&fired, "R3", 6.0..=8.0);
    within(&fired, "R7", 60.0..=100.0);
    within(&fired, "R6", 70.0..=185.0);
}

/// <https://github.com/anthropics/claude-code/issues/67994>: 437 agents and 6 million tokens in less
/// than 15 minutes.
#[test]
fn the_case_67994_fans_out_at_once_and_is_too_fast_after_three_minutes() {
    let calls = every(15 * MINUTE / 437, 437, |number, mut spend| {
        spend.started_unix_ms = spend.unix_ms - 70 * SECOND;
        let spend = weighing(6_000_000 / 437, spend);
        in_thread(&format!("agent-{number}"), 1, spend)
    });
    let fired = fires(Settings::default(), &calls);
    within(&fired, "R2", 0.0..=1.5);
    within(&fired, "R1", 2.0..=3.0);
}

/// <https://github.com/anthropics/claude-code/issues/95816>: 36.6 million tokens and $606 in 4 hours
/// and 15 minutes, by agents that began agents.
#[test]
fn the_case_95816_fans_out_within_minutes_and_is_too_dear_after_seventeen() {
    let calls = every(10 * SECOND, 1_530, |number, spend| {
        let spend = costing(606 * DOLLAR / 1_530, weighing(24_000, spend));
        let depth = u32::try_from(number / 12).unwrap();
        in_thread(&format!("agent-{}", number / 2), depth.min(4), spend)
    });
    let fired = fires(Settings::default(), &calls);
    within(&fired, "R2", 0.0..=9.0);
    within(&fired, "R6", 16.5..=18.0);
}

/// <https://github.com/anthropics/claude-code/issues/69578>: agents begin agents, each one deeper.
#[test]
fn the_case_69578_is_told_by_its_depth() {
    let calls = every(45 * SECOND, 12, |number, spend| {
        let depth = u32::try_from(number - 1).unwrap();
        in_thread(&format!("agent-{number}"), depth, spend)
    });
    let fired = fires(Settings::default(), &calls);
    within(&fired, "R2", 2.0..=3.0);
    assert_eq!(fired.len(), 1, "{fired:?}");
}

/// A loop through the night that compacts its context again and again.
#[test]
fn a_night_of_compactions_is_churn_within_half_an_hour_and_unattended_after_one() {
    let calls = every(30 * SECOND, 8 * 120, |number, mut spend| {
        spend.work.is_human_turn = number == 1;
        spend.work.tool_signature = Some(number.unsigned_abs());
        spend.work.is_compaction = number % 18 == 0;
        weighing(15_000, spend)
    });
    let fired = fires(Settings::default(), &calls);
    within(&fired, "R5", 26.0..=28.0);
    within(&fired, "R7", 60.0..=61.0);
    assert_eq!(fired.len(), 2, "{fired:?}");
}

fn spends() -> impl Strategy<Value = Vec<Spend>> {
    let one = (
        0..4_u8,
        0..3_u32,
        0..4_u64,
        0..60_u64,
        0..5_u8,
        any::<bool>(),
        0..40_i64,
    );
    prop::collection::vec(one, 1..150).prop_map(|ones| {
        let mut at = 0;
        let mut spends = Vec::new();
        for (number, (session, uid, hash, dollars, thread, is_human, step)) in
            ones.into_iter().enumerate()
        {
            at += step * SECOND;
            let mut spend = named(
                format!("{number}"),
                costing(dollars * DOLLAR / 10, call(at)),
            );
            spend.work.session = Arc::from(format!("s{session}"));
            spend.work.uid = Some(uid);
            spend.work.tool_signature = Some(hash);
            spend.work.request_hash = Some(hash + 10 * u64::from(thread));
            spend.work.is_human_turn = is_human;
            spends.push(in_thread(&format!("t{thread}"), u32::from(thread), spend));
        }
        spends
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_independent_sessions_changes_nothing(spends in spends()) {
        let end = spends[spends.len() - 1].unix_ms;
        let run = |spends: &[&Spend]| {
            let mut runaways = Runaways::new(Settings::default());
            for spend in spends {
                runaways.commit(spend, None, spend.unix_ms);
            }
            runaways.evaluate(end, &[], nothing_left)
        };
        let in_order: Vec<&Spend> = spends.iter().collect();
        let mut by_session = in_order.clone();
        by_session.sort_by_key(|spend| (Arc::clone(&spend.work.session), spend.work.uid));
        prop_assert_eq!(run(&in_order), run(&by_session));
    }

    #[test]
    fn how_often_rules_are_looked_at_changes_nothing(spends in spends(), often in 1..20_usize) {
        let end = spends[spends.len() - 1].unix_ms + MINUTE;
        let run = |often: usize| {
            let mut runaways = Runaways::new(Settings::default());
            for (number, spend) in spends.iter().enumerate() {
                runaways.commit(spend, None, spend.unix_ms);
                if number % often == 0 {
                    runaways.evaluate(spend.unix_ms, &[], nothing_left);
                }
            }
            runaways.evaluate(end, &[], nothing_left)
        };
        prop_assert_eq!(run(often), run(usize::MAX));
    }
}

#[test]
fn hostile_streams_stay_within_the_limits() {
    let mut runaways = Runaways::new(Settings::default());
    for number in 0..20_000_i64 {
        let at = if number % 7 == 0 {
            i64::MAX / 2 - number
        } else {
            number * SECOND
        };
        let mut spend = named(format!("{number}"), call(at - at % 3));
        spend.started_unix_ms = i64::MIN;
        spend.amount.cost_nanousd = u64::MAX;
        spend.amount.weighted_tokens = u64::MAX;
        spend.work.request_hash = Some(number.unsigned_abs());
        spend.work.tool_signature = Some(number.unsigned_abs());
        spend.work.is_compaction = true;
        // Many sessions with few threads, then few with many.
        let session = if number < 4_000 { number } else { number % 100 };
        spend.work.session = Arc::from(format!("{session}"));
        runaways.commit(
            &in_thread(&format!("{number}"), u32::MAX, spend),
            Some(u64::MAX),
            BEGIN,
        );
        assert!(runaways.sessions.len() <= SESSIONS);
        assert!(runaways.booked.len() <= IDENTITIES && runaways.booked_order.len() <= IDENTITIES);
    }
    let threads: usize = runaways.sessions.values().map(Session::thread_count).sum();
    assert_eq!(runaways.threads, threads);
    assert!(threads <= THREADS, "{threads}");
    let open: Vec<Spend> = (0..2_000)
        .map(|number| {
            let mut spend = named(format!("open-{number}"), running(call(0)));
            spend.work.session = Arc::from(format!("open-{number}"));
            spend
        })
        .collect();
    runaways.evaluate(i64::MAX, &open, nothing_left);
    runaways.evaluate(i64::MIN, &open, nothing_left);
    assert!(runaways.sessions.len() <= SESSIONS);
}
