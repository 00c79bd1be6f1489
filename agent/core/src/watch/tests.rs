//! Tests of everything that is watched, together.

use super::*;
use crate::alert::Rule;
use crate::budget::Limit;
use crate::spend::Work;

const NOW_MS: i64 = 1_796_000_000_000;
const DOLLAR: u64 = 1_000_000_000;

fn call(identity: &str, workflow: &str, dollars: u64, unix_ms: i64) -> Spend {
    let plain = Spend::plain();
    Spend {
        identity: Arc::from(identity),
        started_unix_ms: unix_ms - 1_000,
        unix_ms,
        payer: Arc::new(Payer {
            workflow: workflow.to_owned(),
            provider: "anthropic".to_owned(),
            model: Some("claude-opus-5-5".to_owned()),
            ..Payer::default()
        }),
        amount: Amount {
            requests: 1,
            tokens: 1_000,
            weighted_tokens: 1_000,
            cost_nanousd: dollars * DOLLAR,
            ..Amount::default()
        },
        work: Work {
            session: Arc::from(format!("s-{workflow}")),
            ..plain.work
        },
        ..plain
    }
}

fn watch() -> Watch {
    let settings = Settings {
        budgets: vec![Budget::monthly("month", Limit::usd(100))],
        ..Settings::default()
    };
    Watch::new(settings, NOW_MS)
}

fn used(watched: &Watched) -> Vec<(u64, u64)> {
    let figures = |status: &Status| (status.used / DOLLAR, status.open / DOLLAR);
    watched.statuses.iter().map(figures).collect()
}

fn rules(watched: &Watched) -> Vec<Rule> {
    let mut rules: Vec<Rule> = watched.conditions.iter().map(|found| found.rule).collect();
    rules.sort();
    rules.dedup();
    rules
}

#[test]
fn a_running_call_counts_until_it_is_stored_and_then_once() {
    let mut watch = watch();
    let open = Spend {
        is_open: true,
        ..call("a", "w", 3, NOW_MS)
    };
    watch.run(vec![open.clone()]);
    assert_eq!(used(&watch.evaluate(NOW_MS, None)), [(3, 3)]);
    let stored = call("a", "w", 5, NOW_MS + 500);
    watch.commit(["a"], std::slice::from_ref(&stored), NOW_MS + 500);
    assert_eq!(used(&watch.evaluate(NOW_MS + 1_000, None)), [(5, 0)]);
    // The line may have listed it before it ended.
    watch.run(vec![open]);
    assert_eq!(used(&watch.evaluate(NOW_MS + 2_000, None)), [(5, 0)]);
}

#[test]
fn a_call_that_comes_again_takes_the_place_of_what_it_was() {
    let mut watch = watch();
    watch.commit(["a"], &[call("a", "w", 5, NOW_MS)], NOW_MS);
    watch.commit(["a"], &[call("a", "w", 7, NOW_MS)], NOW_MS);
    watch.commit(["a"], &[call("a", "w", 7, NOW_MS)], NOW_MS);
    assert_eq!(used(&watch.evaluate(NOW_MS, None)), [(7, 0)]);
}

#[test]
fn a_call_that_turns_out_not_to_count_takes_nothing() {
    let mut watch = watch();
    watch.commit(["a"], &[call("a", "w", 5, NOW_MS)], NOW_MS);
    watch.commit(["a", "b"], &[call("b", "w", 6, NOW_MS)], NOW_MS);
    assert_eq!(used(&watch.evaluate(NOW_MS, None)), [(6, 0)]);
}

#[test]
fn what_the_ledger_has_of_before_stands_as_if_it_had_been_seen() {
    let mut seen = watch();
    let mut read = watch();
    let before_ms = NOW_MS - 24 * 60 * 60_000;
    let quarter_ms = before_ms - before_ms % 900_000;
    let past = call("a", "w", 40, before_ms);
    seen.commit(["a"], std::slice::from_ref(&past), before_ms);
    read.know(&past.payer);
    read.seed(quarter_ms, &past.payer, &past.amount);
    let last = call("b", "w", 15, NOW_MS - 60_000);
    for watch in [&mut seen, &mut read] {
        watch.take(&last, last.unix_ms);
    }
    let (seen, read) = (seen.evaluate(NOW_MS, None), read.evaluate(NOW_MS, None));
    assert_eq!(used(&read), used(&seen));
    assert_eq!(used(&read), [(55, 0)]);
    assert!(rules(&read).contains(&Rule::BudgetThreshold));
    assert!(!rules(&read).contains(&Rule::NewModel), "{read:?}");
}

#[test]
fn a_session_that_burns_money_is_told_with_what_is_left_of_its_budget() {
    let mut watch = watch();
    for number in 0..9 {
        let name = format!("c-{number}");
        let spend = call(&name, "w", 5, NOW_MS - 60_000 * (9 - number));
        watch.take(&spend, spend.unix_ms);
    }
    let watched = watch.evaluate(NOW_MS, None);
    let found = watched
        .conditions
        .iter()
        .find(|found| found.rule == Rule::Runaway);
    let evidence = &found.expect("R6 holds at $45 an hour").evidence;
    let text = serde_json::Value::Object(evidence.clone()).to_string();
    assert!(text.contains("\"month\""), "{text}");
}
