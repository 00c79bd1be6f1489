use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::spend::Payer;

const DOLLAR: u64 = 1_000_000_000;
/// A step that windows are counted from.
const BEGIN: i64 = 6_000_000;

fn call(workflow: &str, step: i64, weighted_tokens: u64, cost_nanousd: u64) -> Spend {
    Spend {
        unix_ms: (BEGIN + step) * STEP_MS + 17,
        payer: Arc::new(Payer {
            workflow: workflow.to_owned(),
            ..Payer::default()
        }),
        amount: Amount {
            requests: 1,
            weighted_tokens,
            cost_nanousd,
            ..Amount::default()
        },
        ..Spend::plain()
    }
}

/// A moment in the step after one, when that one is over.
const fn after(step: i64) -> i64 {
    (BEGIN + step + 1) * STEP_MS + 1_000
}

/// A workflow that takes 100,000 weighted tokens and 50 cents every five minutes up to a step, looked at
/// all the time.
fn steady(until: i64) -> Spikes {
    let mut spikes = Spikes::new(Settings::default());
    for step in 0..=until {
        spikes.commit(&call("w", step, 100_000, DOLLAR / 2), None);
        assert_eq!(spikes.evaluate(after(step), |_| None), []);
    }
    spikes
}

/// Severity of what is found after a step with so much.
fn found(
    spikes: &mut Spikes,
    step: i64,
    weighted: u64,
    cost: u64,
    budget: Option<u64>,
) -> Option<Severity> {
    spikes.commit(&call("w", step, weighted, cost), None);
    let found = spikes.evaluate(after(step), |_| budget);
    found.first().map(|condition| condition.severity)
}

#[test]
fn a_spike_is_twice_what_is_usual() {
    assert_eq!(found(&mut steady(99), 100, 299_999, 0, None), None);
    assert_eq!(
        found(&mut steady(99), 100, 300_000, 0, None),
        Some(Severity::Ticket)
    );
    assert_eq!(
        found(&mut steady(99), 100, 0, 3 * DOLLAR / 2 - 1, None),
        None
    );
    assert_eq!(
        found(&mut steady(99), 100, 0, 3 * DOLLAR / 2, None),
        Some(Severity::Ticket)
    );
}

#[test]
fn below_the_floor_nothing_is_a_spike() {
    let small = || {
        let mut spikes = Spikes::new(Settings::default());
        for step in 0..100 {
            spikes.commit(&call("w", step, 1_000, 1), None);
        }
        spikes
    };
    assert_eq!(found(&mut small(), 100, 248_999, 0, None), None);
    assert_eq!(
        found(&mut small(), 100, 249_000, 0, None),
        Some(Severity::Ticket)
    );
    assert_eq!(found(&mut small(), 100, 0, 2 * DOLLAR - 2, None), None);
    assert_eq!(
        found(&mut small(), 100, 0, 2 * DOLLAR - 1, None),
        Some(Severity::Ticket)
    );
}

#[test]
fn with_fewer_than_fifty_windows_only_ten_times_the_floor_is_one() {
    // The windows of the spike and of the step before overlap: the last of the others is two before.
    for (steps, figure, expected) in [
        (50, 300_000, None),
        (50, 2_399_999, None),
        (50, 2_400_000, Some(Severity::Ticket)),
        (51, 300_000, Some(Severity::Ticket)),
    ] {
        let mut spikes = steady(steps - 1);
        assert_eq!(
            found(&mut spikes, steps, figure, 0, None),
            expected,
            "{steps} {figure}"
        );
    }
    let usual = |until: i64| steady(until).usual_weighted_tokens("w");
    assert_eq!((usual(50), usual(51)), (None, Some(200_000)));
}

#[test]
fn somebody_is_woken_for_five_times_the_usual_that_costs_a_part_of_a_budget() {
    let severity = |weighted: u64, budget: u64| {
        found(
            &mut steady(99),
            100,
            weighted,
            5 * DOLLAR / 2,
            Some(budget * DOLLAR),
        )
    };
    assert_eq!(severity(900_000, 150), Some(Severity::Page));
    assert_eq!(severity(900_000, 151), Some(Severity::Ticket));
    assert_eq!(severity(899_999, 150), Some(Severity::Ticket));
}

#[test]
fn a_spike_is_over_after_two_calm_windows_and_is_not_learnt() {
    let mut spikes = steady(99);
    for step in 100..120 {
        assert!(found(&mut spikes, step, 500_000, 0, None).is_some());
    }
    // The window of 120 still holds half of the spike.
    for (step, holds) in [(120, true), (121, true), (122, false)] {
        let severity = found(&mut spikes, step, 100_000, 0, None);
        assert_eq!(severity.is_some(), holds, "{step}");
    }
    assert_eq!(spikes.usual_weighted_tokens("w"), Some(200_000));
    assert!(found(&mut spikes, 123, 300_000, 0, None).is_some());
}

#[test]
fn what_lasts_longer_than_a_day_is_the_new_normal() {
    let mut spikes = steady(99);
    let mut over = None;
    for step in 100..500 {
        if found(&mut spikes, step, 400_000, 0, None).is_none() {
            over = Some(step - 100);
            break;
        }
    }
    assert!(
        over.is_some_and(|steps| (288..300).contains(&steps)),
        "{over:?}"
    );
}

#[test]
fn the_condition_says_what_was_taken_and_what_is_usual() {
    let mut spikes = steady(99);
    spikes.commit(&call("w", 100, 900_000, 5 * DOLLAR / 2), None);
    let [condition] = spikes.evaluate(after(100), |_| None).try_into().unwrap();
    let evidence = json!({
        "weighted_tokens_in_10_minutes": 1_000_000, "weighted_tokens_threshold": 400_000,
        "weighted_tokens_p99": 200_000,
        "nanousd_in_10_minutes": 3 * DOLLAR, "nanousd_threshold": 2 * DOLLAR, "nanousd_p99": DOLLAR,
        "windows": 99,
        "first_unix_ms": (BEGIN + 101) * STEP_MS, "last_unix_ms": (BEGIN + 101) * STEP_MS,
    });
    let expected = Condition {
        rule: Rule::Spike,
        variant: String::new(),
        scope: vec![("workflow".to_owned(), "w".to_owned())],
        budget: None,
        severity: Severity::Ticket,
        hold: Duration::ZERO,
        summary:
            "w: 1000000 weighted tokens and $3.00 in 10 minutes; 99 of 100 times it is at most \
             200000 and $1.00"
                .to_owned(),
        evidence: evidence.as_object().unwrap().clone(),
    };
    assert_eq!(condition, expected);
}

#[test]
fn after_a_restart_spikes_are_found_from_what_the_ledger_has() {
    let mut spikes = Spikes::new(Settings::default());
    for quarter in 0..60 {
        let from = (BEGIN + 3 * quarter) * STEP_MS;
        let amount = Amount {
            weighted_tokens: 200_000,
            ..Amount::default()
        };
        spikes.seed("w", from, from + 3 * STEP_MS, &amount);
    }
    // The spike before the restart, half an hour ago, is neither learnt nor forgotten.
    for step in 180..186 {
        spikes.commit(&call("w", step, 900_000, 0), None);
    }
    let at = |step: i64| (BEGIN + step) * STEP_MS;
    spikes.exclude("w", at(180), at(186) - 1);
    assert_eq!(spikes.evaluate(after(186), |_| None).len(), 1);
    assert_eq!(spikes.usual_weighted_tokens("w"), Some(200_000));
}

#[test]
fn a_call_that_changed_takes_the_place_of_what_it_was() {
    let mut spikes = steady(99);
    let before = call("w", 100, 300_000, 0);
    spikes.commit(&before, None);
    spikes.commit(&call("w", 100, 299_999, 0), Some(&before));
    assert_eq!(spikes.evaluate(after(100), |_| None), []);
}

#[test]
fn nothing_is_looked_for_when_it_is_switched_off() {
    let mut spikes = Spikes::new(Settings {
        is_on: false,
        ..Settings::default()
    });
    spikes.commit(&call("w", 0, u64::MAX, u64::MAX), None);
    assert_eq!(spikes.evaluate(after(0), |_| None), []);
    assert_eq!(spikes.workflows.len(), 0);
}

#[test]
fn hostile_streams_stay_within_the_limits() {
    let mut spikes = Spikes::new(Settings::default());
    for number in 0..3_000_i64 {
        let name = format!("w{}", number % 1_500);
        let mut spend = call(&name, number, u64::MAX, u64::MAX);
        if number % 5 == 0 {
            spend.unix_ms = i64::MAX - number;
        }
        spikes.commit(&spend, None);
        assert!(spikes.workflows.len() <= WORKFLOWS);
    }
    for number in 0..10_000_i64 {
        spikes.commit(&call("w", number * 97, 1, 1), None);
    }
    assert!(spikes.workflows["w"].len() <= 8_064);
    for now in [0, i64::MAX, i64::MIN, after(0)] {
        spikes.evaluate(now, |_| Some(0));
        let sums: usize = spikes.workflows.values().map(Workflow::len).sum();
        assert_eq!(spikes.sums, sums);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn how_often_and_among_what_a_workflow_is_looked_at_changes_nothing(
        figures in prop::collection::vec(0..400_000_u64, 60..120),
        often in 2..11_i64,
    ) {
        let run = |often: i64, others: &[&str]| {
            let mut spikes = Spikes::new(Settings::default());
            let mut found = Vec::new();
            for (step, weighted) in (0..).zip(&figures) {
                for workflow in others.iter().chain(&["w"]) {
                    spikes.commit(&call(workflow, step, *weighted, 0), None);
                }
                if step % often == 0 {
                    let now = spikes.evaluate(after(step), |_| None);
                    let of_w = now.into_iter().filter(|one| one.scope[0].1 == "w");
                    found.push((step, of_w.collect::<Vec<_>>()));
                }
            }
            found
        };
        let all = run(1, &[]);
        let some: Vec<_> = all.into_iter().filter(|(step, _)| step % often == 0).collect();
        prop_assert_eq!(run(often, &["a", "z"]), some);
    }
}
