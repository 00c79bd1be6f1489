use std::sync::Arc;

use super::*;
use crate::spend::{Amount, Payer, Work};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const BEGIN: i64 = 1_790_000_000_123;

fn call(workflow: &str, at_ms: i64, cost_nanousd: u64) -> Spend {
    Spend {
        unix_ms: BEGIN + at_ms,
        payer: Arc::new(Payer {
            workflow: workflow.to_owned(),
            provider: "anthropic".to_owned(),
            model: Some("m".to_owned()),
            ..Payer::default()
        }),
        amount: Amount {
            requests: 1,
            cost_nanousd,
            ..Amount::default()
        },
        ..Spend::plain()
    }
}

fn failed(spend: Spend) -> Spend {
    let work = Work {
        is_complete: false,
        is_failed: true,
        ..spend.work
    };
    Spend { work, ..spend }
}

/// Rules that know the model and workflow of [`call`].
fn upkeep() -> Upkeep {
    let mut upkeep = Upkeep::new(Settings::default());
    upkeep.know_model("anthropic", "m");
    upkeep.know_workflow("old");
    upkeep
}

/// What holds, as severity, rule and summary.
fn told(upkeep: &mut Upkeep, at_ms: i64) -> Vec<String> {
    lines(&upkeep.evaluate(BEGIN + at_ms, Facts::default()))
}

fn lines(conditions: &[Condition]) -> Vec<String> {
    let line = |condition: &Condition| {
        let (severity, rule) = (condition.severity.as_str(), condition.rule.as_str());
        format!("{severity} {rule}: {}", condition.summary)
    };
    conditions.iter().map(line).collect()
}

#[test]
fn coverage_is_low_below_98_percent_of_ten_minutes() {
    let run = |understood: u64| {
        let mut upkeep = upkeep();
        for minute in 0..=10 {
            upkeep.cover(BEGIN + minute * MINUTE, understood, 100_000);
        }
        told(&mut upkeep, 10 * MINUTE)
    };
    assert_eq!(run(98_000), [""; 0]);
    assert_eq!(
        run(97_990),
        [
            "ticket coverage: only 97.99 % of the bytes to and from providers were understood in 10 \
             minutes; `bpftok doctor` says which processes are not"
        ]
    );
}

#[test]
fn coverage_is_not_judged_in_the_first_ten_minutes_or_by_a_few_bytes() {
    let mut early = upkeep();
    early.cover(BEGIN, 0, 1 << 30);
    assert_eq!(told(&mut early, 9 * MINUTE), [""; 0]);
    let mut small = upkeep();
    for minute in 0..=20 {
        small.cover(BEGIN + minute * MINUTE, 0, 6_000);
    }
    assert_eq!(told(&mut small, 20 * MINUTE), [""; 0]);
}

#[test]
fn low_coverage_is_over_when_traffic_is_understood_and_not_when_there_is_none() {
    let mut upkeep = upkeep();
    upkeep.cover(BEGIN, 1, 1);
    upkeep.cover(BEGIN + 12 * MINUTE, 0, 100_000);
    assert_eq!(told(&mut upkeep, 12 * MINUTE).len(), 1);
    assert_eq!(told(&mut upkeep, 60 * MINUTE).len(), 1);
    upkeep.cover(BEGIN + 61 * MINUTE, 100_000, 100_000);
    assert_eq!(told(&mut upkeep, 61 * MINUTE), [""; 0]);
}

#[test]
fn a_list_of_prices_is_old_after_45_days() {
    let told = |days: u64, settings: Settings| {
        let facts = Facts {
            price_list_age: Some(Duration::from_secs(days * 86_400 + 1)),
            quotas: &[],
        };
        lines(&Upkeep::new(settings).evaluate(BEGIN, facts))
    };
    assert_eq!(told(44, Settings::default()), [""; 0]);
    assert_eq!(
        told(45, Settings::default()),
        [
            "ticket price_list_age: the list of prices is 45 days old; costs may be wrong, and those of \
             new models unknown"
        ]
    );
    let off = Settings {
        price_list_max_age: Duration::ZERO,
        ..Settings::default()
    };
    assert_eq!(told(1_000, off), [""; 0]);
}

#[test]
fn a_limit_is_a_ticket_from_80_percent_and_a_page_from_95() {
    let quota = Quota {
        provider: "anthropic".to_owned(),
        account: Some("a1".to_owned()),
        limit: "unified_5h".to_owned(),
        used_millionths: 800_000,
        window_seconds: Some(18_000),
        observed_unix_ms: BEGIN,
        resets_unix_ms: Some(BEGIN + HOUR),
    };
    let told = |quota: &Quota, at_ms: i64| {
        let facts = Facts {
            price_list_age: None,
            quotas: std::slice::from_ref(quota),
        };
        lines(&upkeep().evaluate(BEGIN + at_ms, facts))
    };
    let used = |used_millionths: u32| Quota {
        used_millionths,
        ..quota.clone()
    };
    assert_eq!(told(&used(799_999), 0), [""; 0]);
    assert_eq!(
        told(&used(800_000), 0),
        ["ticket quota: anthropic: 80.0 % of the limit unified_5h is used"]
    );
    assert!(told(&used(949_999), 0)[0].starts_with("ticket"));
    assert!(told(&used(957_000), 0)[0].starts_with("page quota: anthropic: 95.7 %"));
    assert_eq!(told(&quota, HOUR), [""; 0]);
    let without_reset = Quota {
        resets_unix_ms: None,
        ..quota.clone()
    };
    assert_eq!(told(&without_reset, HOUR).len(), 1);
    assert_eq!(told(&without_reset, HOUR + 1), [""; 0]);
    // Limits of a minute fill up all the time, and are empty a minute later.
    for (window_seconds, resets) in [(Some(60), 2 * HOUR), (None, MINUTE), (None, -MINUTE)] {
        let short = Quota {
            window_seconds,
            resets_unix_ms: Some(BEGIN + resets),
            ..quota.clone()
        };
        assert_eq!(told(&short, 0), [""; 0], "{short:?}");
    }
}

#[test]
fn the_condition_of_a_limit_says_which_and_until_when() {
    let quota = Quota {
        provider: "openai".to_owned(),
        account: None,
        limit: "primary".to_owned(),
        used_millionths: 990_000,
        window_seconds: None,
        observed_unix_ms: BEGIN,
        resets_unix_ms: Some(BEGIN + HOUR),
    };
    let facts = Facts {
        price_list_age: None,
        quotas: &[quota],
    };
    let [found] = upkeep().evaluate(BEGIN, facts).try_into().unwrap();
    assert_eq!((found.variant.as_str(), found.scope.len()), ("primary", 1));
    assert_eq!(found.evidence["resets_unix_ms"], BEGIN + HOUR);
}

#[test]
fn a_model_is_new_once() {
    let mut upkeep = upkeep();
    let mut spend = call("old", 0, 0);
    upkeep.commit(&spend, None);
    assert_eq!(told(&mut upkeep, 0), [""; 0]);
    spend.payer = Arc::new(Payer {
        model: Some("n".to_owned()),
        ..Payer::clone(&spend.payer)
    });
    upkeep.commit(&failed(spend.clone()), None);
    assert_eq!(told(&mut upkeep, 0), [""; 0]);
    upkeep.commit(&spend, None);
    let expected = ["log new_model: anthropic: model n was used for the first time"];
    assert_eq!(told(&mut upkeep, 10 * MINUTE), expected);
    upkeep.commit(&spend, None);
    assert_eq!(told(&mut upkeep, 11 * MINUTE), [""; 0]);
}

#[test]
fn a_new_workflow_may_cost_five_dollars_in_its_first_day() {
    let mut upkeep = upkeep();
    upkeep.commit(&call("old", 0, 900 * DOLLAR), None);
    upkeep.commit(&call("new", 0, 5 * DOLLAR), None);
    assert_eq!(told(&mut upkeep, HOUR), [""; 0]);
    let dearer = call("new", HOUR, DOLLAR);
    upkeep.commit(&dearer, None);
    let expected = ["ticket new_workflow: new: a new workflow, $6.00 in its first day"];
    assert_eq!(told(&mut upkeep, HOUR), expected);
    upkeep.commit(&call("new", HOUR, 0), Some(&dearer));
    assert_eq!(told(&mut upkeep, HOUR), [""; 0]);
    upkeep.commit(&call("new", HOUR, 7 * DOLLAR), None);
    assert_eq!(told(&mut upkeep, DAY).len(), 1);
    assert_eq!(told(&mut upkeep, DAY + 1), [""; 0]);
    upkeep.commit(&call("new", DAY + 2, 9 * DOLLAR), None);
    assert_eq!(told(&mut upkeep, DAY + 2), [""; 0]);
}

#[test]
fn in_the_first_day_of_a_ledger_no_workflow_is_a_new_one() {
    let mut upkeep = Upkeep::new(Settings {
        new_models: false,
        ..Settings::default()
    });
    upkeep.commit(&call("first", HOUR, 9 * DOLLAR), None);
    upkeep.commit(&call("earlier", 0, 9 * DOLLAR), None);
    upkeep.commit(&call("last", DAY, 9 * DOLLAR), None);
    assert_eq!(told(&mut upkeep, DAY), [""; 0]);
    upkeep.commit(&call("new", DAY + 1, 6 * DOLLAR), None);
    let expected = ["ticket new_workflow: new: a new workflow, $6.00 in its first day"];
    assert_eq!(told(&mut upkeep, DAY + 1), expected);
}

#[test]
fn what_nobody_knows_the_payer_of_may_cost_five_dollars_in_24_hours() {
    let mut upkeep = upkeep();
    upkeep.commit(&call("unattributed", 0, 5 * DOLLAR), None);
    assert_eq!(told(&mut upkeep, HOUR), [""; 0]);
    upkeep.commit(&call("unattributed", HOUR, DOLLAR / 2), None);
    assert_eq!(
        told(&mut upkeep, HOUR),
        [
            "ticket unattributed: nobody knows what pays for $5.50 of the last 24 hours; an entry \
             [[workflow]] names it"
        ]
    );
    assert_eq!(told(&mut upkeep, DAY), [""; 0]);
}

#[test]
fn more_than_a_fifth_of_twenty_calls_must_not_fail() {
    let run = |good: i64, bad: i64| {
        let mut upkeep = upkeep();
        for number in 0..good {
            upkeep.commit(&call("old", number * SECOND, 0), None);
        }
        for number in 0..bad {
            upkeep.commit(&failed(call("old", number * SECOND, 0)), None);
        }
        told(&mut upkeep, 5 * MINUTE)
    };
    assert_eq!(run(16, 4), [""; 0]);
    assert_eq!(run(14, 5), [""; 0]);
    assert_eq!(
        run(15, 5),
        ["ticket errors: anthropic: 5 of 20 calls failed in 10 minutes"]
    );
}

#[test]
fn failures_are_over_ten_minutes_after_they_were_last_found() {
    let mut upkeep = upkeep();
    for number in 0..30 {
        upkeep.commit(&failed(call("old", number * SECOND, 0)), None);
    }
    assert_eq!(told(&mut upkeep, 9 * MINUTE).len(), 1);
    assert_eq!(told(&mut upkeep, 19 * MINUTE).len(), 1);
    assert_eq!(told(&mut upkeep, 19 * MINUTE + 1), [""; 0]);
}

#[test]
fn events_that_were_lost_are_told_for_half_an_hour() {
    let mut upkeep = upkeep();
    upkeep.lose(BEGIN, 0);
    assert_eq!(told(&mut upkeep, 0), [""; 0]);
    for (minute, events) in [(1, 5), (2, 5), (3, 12), (4, 2)] {
        upkeep.lose(BEGIN + minute * MINUTE, events);
    }
    assert_eq!(
        told(&mut upkeep, 5 * MINUTE),
        [
            "ticket events_lost: 14 captured events were lost in 30 minutes, because the ring to the \
             agent was full; a larger capture.ring_bytes rides out longer bursts"
        ]
    );
    assert_eq!(told(&mut upkeep, 33 * MINUTE).len(), 1);
    assert_eq!(told(&mut upkeep, 34 * MINUTE), [""; 0]);
}

#[test]
fn what_was_given_up_for_want_of_memory_is_told_for_half_an_hour() {
    let mut upkeep = upkeep();
    upkeep.give_up(BEGIN, 0, 0);
    assert_eq!(told(&mut upkeep, 0), [""; 0]);
    for (minute, calls, records) in [(1, 2, 0), (2, 2, 7), (3, 5, 7)] {
        upkeep.give_up(BEGIN + minute * MINUTE, calls, records);
    }
    assert_eq!(
        told(&mut upkeep, 4 * MINUTE),
        [
            "ticket events_lost: 5 open calls and 7 records were given up in 30 minutes, because memory \
             is limited; `bpftok status` says whether the ledger can be written"
        ]
    );
    assert_eq!(told(&mut upkeep, 32 * MINUTE).len(), 1);
    assert_eq!(told(&mut upkeep, 33 * MINUTE), [""; 0]);
}

#[test]
fn rules_with_zero_are_off() {
    let mut upkeep = Upkeep::new(Settings {
        coverage_percent: 0,
        price_list_max_age: Duration::ZERO,
        quota_ticket_percent: 0,
        quota_page_percent: 0,
        new_models: false,
        new_workflow_nanousd: 0,
        unattributed_nanousd: 0,
        error_percent: 0,
        events_lost: false,
    });
    upkeep.know_workflow("old");
    upkeep.lose(BEGIN, 9);
    upkeep.give_up(BEGIN, 9, 9);
    upkeep.cover(BEGIN - HOUR, 0, 1);
    upkeep.cover(BEGIN, 0, u64::MAX);
    for workflow in ["w", "unattributed"] {
        for _ in 0..50 {
            upkeep.commit(&call(workflow, 0, u64::MAX), None);
            upkeep.commit(&failed(call(workflow, 0, u64::MAX)), None);
        }
    }
    let quota = Quota {
        provider: String::new(),
        account: None,
        limit: String::new(),
        used_millionths: u32::MAX,
        window_seconds: None,
        observed_unix_ms: BEGIN,
        resets_unix_ms: None,
    };
    let facts = Facts {
        price_list_age: Some(Duration::MAX),
        quotas: &[quota],
    };
    assert_eq!(upkeep.evaluate(BEGIN, facts), []);
}

#[test]
fn hostile_names_stay_within_the_limits() {
    let mut upkeep = Upkeep::new(Settings::default());
    for number in 0..10_000_i64 {
        let mut spend = call(&format!("w{number}"), number * HOUR, u64::MAX);
        spend.payer = Arc::new(Payer {
            model: Some(format!("m{number}")),
            provider: format!("p{number}"),
            ..Payer::clone(&spend.payer)
        });
        upkeep.commit(&spend, None);
        if number % 1_000 == 0 {
            assert!(told(&mut upkeep, number * HOUR).len() <= 4_096 * 2);
        }
    }
    for now in [i64::MIN, i64::MAX] {
        upkeep.cover(now, u64::MAX, u64::MAX);
        upkeep.lose(now, u64::MAX);
        upkeep.evaluate(now, Facts::default());
    }
    assert_eq!(upkeep.new_models.sizes(), (4_096, 0));
    assert_eq!(upkeep.new_workflows.sizes(), (4_096, 0));
}
