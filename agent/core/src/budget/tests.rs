use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::period::tests::{ZONES, zone};
use super::profile::HOUR_MS;
use super::*;
use crate::alert::{Rule, Severity};
use crate::spend::Work;
use std::sync::Arc;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

/// Noon of a Wednesday in UTC.
fn noon() -> i64 {
    at("2026-11-18T12:00:00Z")
}

fn cents(cents: u64) -> Amount {
    Amount {
        requests: 1,
        tokens: 1_000,
        weighted_tokens: 500,
        cost_nanousd: cents * 10_000_000,
        ..Amount::default()
    }
}

fn spend(unix_ms: i64, user: &str, amount: Amount) -> Spend {
    Spend {
        identity: Arc::from(format!("{user}-{unix_ms}")),
        started_unix_ms: unix_ms,
        unix_ms,
        payer: Arc::new(Payer {
            workflow: "nightly-triage".to_owned(),
            user: Some(user.to_owned()),
            provider: "anthropic".to_owned(),
            task: "coding".to_owned(),
            ..Payer::default()
        }),
        amount,
        work: Work {
            session: Arc::from(format!("session-of-{user}")),
            uid: Some(1_000),
            ..Spend::plain().work
        },
        ..Spend::plain()
    }
}

fn monthly(usd: u64) -> Budget {
    Budget::monthly("month", Limit::usd(usd))
}

fn of_each_user(usd: u64) -> Budget {
    let scope = Scope::Each(Facet::User);
    Budget {
        urgency: Urgency::default_of(&scope),
        scope,
        period: Period::Day,
        ..Budget::monthly("day", Limit::usd(usd))
    }
}

fn budgets(budgets: &[Budget], now_ms: i64) -> Budgets {
    Budgets::new(budgets.to_vec(), &TimeZone::UTC, now_ms)
}

fn variants(evaluation: &Evaluation) -> Vec<(Rule, String)> {
    let told = |condition: &Condition| (condition.rule, condition.variant.clone());
    evaluation.conditions.iter().map(told).collect()
}

fn thresholds(evaluation: &Evaluation) -> Vec<String> {
    let mut told = variants(evaluation);
    told.retain(|(rule, _)| *rule == Rule::BudgetThreshold);
    told.into_iter().map(|(_, variant)| variant).collect()
}

#[test]
fn a_budget_stands_as_what_was_booked_in_its_period() {
    let mut budgets = budgets(&[monthly(600)], noon());
    budgets.book(&spend(noon() - 40 * DAY_MS, "old", cents(99_999)));
    budgets.book(&spend(noon() - 10 * DAY_MS, "dana", cents(1_234)));
    budgets.book(&spend(noon() - MINUTE_MS, "lee", cents(66)));
    let found = budgets.evaluate(noon(), &[]);
    let [status] = &found.statuses[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        Status {
            burns: Vec::new(),
            projected: None,
            ..status.clone()
        },
        Status {
            budget: Arc::from("month"),
            scope: Vec::new(),
            is_rest: false,
            unit: Unit::Usd,
            limit: 600_000_000_000,
            used: 13_000_000_000,
            is_at_least: false,
            open: 0,
            amount: Amount {
                requests: 2,
                tokens: 2_000,
                weighted_tokens: 1_000,
                cost_nanousd: 13_000_000_000,
                ..Amount::default()
            },
            period_from_unix_ms: at("2026-11-01T00:00:00Z"),
            reset_unix_ms: Some(at("2026-12-01T00:00:00Z")),
            burns: Vec::new(),
            projected: None,
            exhausted_unix_ms: None,
            reached: None,
            sessions: vec![
                SessionUse {
                    session: Arc::from("session-of-dana"),
                    uid: Some(1_000),
                    used: 12_340_000_000,
                },
                SessionUse {
                    session: Arc::from("session-of-lee"),
                    uid: Some(1_000),
                    used: 660_000_000,
                },
            ],
            state: State::Ok,
        }
    );
    assert_eq!(found.conditions, []);
    let next = budgets.evaluate(at("2026-12-01T00:00:00Z"), &[]);
    assert_eq!(next.statuses[0].used, 0);
}

#[test]
fn each_threshold_is_reached_once_a_period_even_if_the_clock_jumps() {
    let mut budgets = budgets(&[monthly(100)], noon());
    let mut told = Vec::new();
    let mut look = |budgets: &mut Budgets, now_ms| {
        told.push(thresholds(&budgets.evaluate(now_ms, &[])));
    };
    let first = spend(noon(), "dana", cents(8_200));
    budgets.book(&first);
    look(&mut budgets, noon());
    // It cost less after all.
    budgets.unbook(&first);
    budgets.book(&spend(noon(), "dana", cents(4_000)));
    look(&mut budgets, noon() + 1);
    // The clock goes to another month, to another age, and back.
    look(&mut budgets, noon() + 40 * DAY_MS);
    look(&mut budgets, i64::MAX);
    look(&mut budgets, i64::MIN);
    look(&mut budgets, noon() + 2);
    budgets.book(&spend(noon() + 3, "dana", cents(4_300)));
    look(&mut budgets, noon() + 4);
    budgets.book(&spend(noon() + 5, "dana", cents(1_300)));
    look(&mut budgets, noon() + 6);
    let none: &[&str] = &[];
    let expected = [
        &["80%"][..],
        &["80%"],
        none,
        none,
        none,
        none,
        none,
        &["95%"],
    ];
    assert_eq!(told, expected);
}

#[test]
fn thresholds_are_restored_for_their_period_alone() {
    let mut restored = budgets(&[monthly(100), of_each_user(10)], noon());
    restored.restore("month", "", at("2026-11-01T00:00:00Z"), Share(950));
    restored.restore("day", "dana", at("2026-11-17T00:00:00Z"), Share(1_000));
    restored.restore("gone", "", at("2026-11-01T00:00:00Z"), Share(950));
    restored.seed(noon(), &spend(noon(), "dana", cents(0)).payer, &cents(600));
    let found = restored.evaluate(noon(), &[]);
    assert_eq!(thresholds(&found), ["95%", "50%"]);
    let reached: Vec<_> = found.statuses.iter().map(|status| status.reached).collect();
    assert_eq!(reached, [Some(Share(950)), Some(Share(500))]);
}

#[test]
fn running_calls_are_counted_as_they_are_at_each_evaluation() {
    let mut budgets = budgets(&[monthly(100)], noon());
    let mut figures = |now_ms, open: &[Spend]| {
        let status = &budgets.evaluate(now_ms, open).statuses[0];
        let sessions: Vec<u64> = status.sessions.iter().map(|found| found.used).collect();
        (status.used / 10_000_000, status.open / 10_000_000, sessions)
    };
    let open = |now_ms, amount| spend(now_ms, "dana", cents(amount));
    let cent = 10_000_000;
    assert_eq!(figures(noon(), &[open(noon(), 5)]), (5, 5, vec![5 * cent]));
    let later = noon() + MINUTE_MS;
    assert_eq!(figures(later, &[open(later, 7)]), (7, 7, vec![7 * cent]));
    assert_eq!(figures(later, &[]), (0, 0, vec![]));
}

#[test]
fn tokens_without_a_price_make_a_lower_bound_and_a_condition() {
    let mut budgets = budgets(&[monthly(100)], noon());
    budgets.book(&spend(noon(), "dana", cents(100)));
    let unpriced = |tokens| Amount {
        requests: 1,
        tokens,
        unpriced_tokens: tokens,
        ..Amount::default()
    };
    budgets.book(&spend(noon(), "dana", unpriced(10)));
    let few = budgets.evaluate(noon(), &[]);
    assert!(few.statuses[0].is_at_least);
    assert_eq!(variants(&few), []);
    budgets.book(&spend(noon(), "dana", unpriced(1)));
    let much = budgets.evaluate(noon(), &[]);
    let [condition] = &much.conditions[..] else {
        panic!("{much:?}")
    };
    assert_eq!(condition.rule, Rule::BudgetUnpriced);
    assert_eq!(condition.hold, Duration::from_secs(600));
    assert_eq!(
        condition.summary,
        "budget month leaves out 11 of 1011 tokens, which have no price: ≥ $1.00 of $100.00 used, 1%"
    );
}

#[test]
fn a_loop_at_noon_pages_with_the_numbers_that_show_it() {
    let budget = Budget {
        scope: Scope::Like(Facet::Workflow, "nightly-*".to_owned()),
        profile: Profile::Flat,
        ..monthly(600)
    };
    let mut budgets = budgets(&[budget], noon());
    // $27 in nine minutes.
    for minute in 0..9 {
        budgets.book(&spend(noon() - minute * MINUTE_MS - 1, "ci", cents(300)));
    }
    let found = budgets.evaluate(noon() - 1, &[]);
    let [condition] = &found.conditions[..] else {
        panic!("{found:?}")
    };
    let hour = 27.0 / (600.0 / 720.0);
    let burn = |window| found.statuses[0].burn(window).unwrap();
    assert!((burn(Window::Hour) - hour).abs() < 0.01);
    assert!((burn(Window::FiveMinutes) - 12.0 * hour * 15.0 / 27.0).abs() < 0.1);
    assert_eq!(
        *condition,
        Condition {
            rule: Rule::BudgetBurn,
            variant: "1h/5m".to_owned(),
            scope: vec![("workflow".to_owned(), "nightly-*".to_owned())],
            budget: Some("month".to_owned()),
            severity: Severity::Page,
            hold: Duration::ZERO,
            summary:
                "budget month (workflow=nightly-*) burns 32.4 times as fast as planned over 1h, \
                      216.0 times over 5m: $27.00 of $600.00 used, 4%"
                    .to_owned(),
            evidence: condition.evidence.clone(),
        }
    );
    let mut evidence = condition.evidence.clone();
    evidence.remove("burn");
    assert_eq!(
        serde_json::Value::Object(evidence),
        json!({
            "limit_nanousd": 600_000_000_000_u64,
            "used_nanousd": 27_000_000_000_u64,
            "used_is_lower_bound": false,
            "used_ratio": 0.045,
            "open_nanousd": 0,
            "projected_nanousd": null,
            "unpriced_tokens": 0,
            "period_from_unix_ms": at("2026-11-01T00:00:00Z"),
            "reset_unix_ms": at("2026-12-01T00:00:00Z"),
            // $573 more at $27 an hour, of which the last millisecond is to come.
            "exhausted_unix_ms": noon() - 1 + 3_599_999 * 573 / 27,
            "sessions": [{
                "session": "session-of-ci",
                "uid": 1_000,
                "used_nanousd": 27_000_000_000_u64,
            }],
        })
    );
    assert_eq!(found.statuses[0].state, State::Page);
}

#[test]
fn a_budget_of_each_user_has_thresholds_and_no_pages() {
    let mut budgets = budgets(&[of_each_user(10)], noon());
    for (user, figure) in [("dana", 1_100), ("lee", 100)] {
        budgets.book(&spend(noon(), user, cents(figure)));
    }
    let found = budgets.evaluate(noon(), &[]);
    assert_eq!(
        variants(&found),
        [(Rule::BudgetThreshold, "100%".to_owned())]
    );
    assert_eq!(found.conditions[0].severity, Severity::Ticket);
    let stand: Vec<_> = found
        .statuses
        .iter()
        .map(|status| (status.scope[0].1.as_str(), status.state))
        .collect();
    assert_eq!(stand, [("dana", State::Exceeded), ("lee", State::Ok)]);
}

#[test]
fn spending_that_will_not_last_is_a_ticket_until_it_will() {
    let budget = Budget {
        profile: Profile::Flat,
        ..monthly(100)
    };
    let mut budgets = budgets(&[budget], noon());
    // $4 a day from the first on: $120 in the month.
    let first = at("2026-11-01T00:00:00Z");
    for hour in 0..10 * 24 {
        budgets.book(&spend(first + hour * HOUR_MS, "dana", cents(17)));
    }
    let now_ms = first + 10 * DAY_MS - 1;
    let found = budgets.evaluate(now_ms, &[]);
    assert_eq!(variants(&found), [(Rule::BudgetForecast, String::new())]);
    let [status] = &found.statuses[..] else {
        panic!("{found:?}")
    };
    // $40.80 of $100 are gone, $4.08 a day.
    let days = (status.exhausted_unix_ms.unwrap() - now_ms) as f64 / DAY_MS as f64;
    assert!((days - 59.2 / 4.08).abs() < 0.01, "{days}");
    assert_eq!(status.state, State::Ticket);
    // Nothing for three days: $70 in the month.
    let later = budgets.evaluate(now_ms + 3 * DAY_MS, &[]);
    assert_eq!(variants(&later), []);
}

#[test]
fn a_rolling_period_forgets_what_is_older_than_it() {
    let budget = Budget {
        period: Period::Rolling { hours: 168 },
        ..monthly(100)
    };
    let mut budgets = budgets(&[budget], noon());
    budgets.book(&spend(noon() - 6 * DAY_MS, "dana", cents(6_000)));
    budgets.book(&spend(noon(), "dana", cents(3_000)));
    let mut look = |now_ms| {
        let found = budgets.evaluate(now_ms, &[]);
        let status = &found.statuses[0];
        (
            status.used / 1_000_000_000,
            status.reset_unix_ms,
            thresholds(&found),
        )
    };
    assert_eq!(look(noon()), (90, None, vec!["80%".to_owned()]));
    assert_eq!(look(noon() + 2 * DAY_MS), (30, None, vec![]));
    assert_eq!(look(noon() + 8 * DAY_MS), (0, None, vec![]));
}

#[test]
fn values_beyond_the_limit_are_watched_together_and_make_room_again() {
    let mut budgets = budgets(&[of_each_user(10)], noon());
    budgets.most_values = 2;
    for user in ["a", "b", "c", "d", "a"] {
        budgets.book(&spend(noon(), user, cents(100)));
    }
    budgets.unbook(&spend(noon(), "d", cents(100)));
    let stand = |found: &Evaluation| -> Vec<(String, bool, u64)> {
        let of = |status: &Status| {
            let dollars = status.used / 1_000_000_000;
            (status.scope[0].1.clone(), status.is_rest, dollars)
        };
        found.statuses.iter().map(of).collect()
    };
    let found = budgets.evaluate(noon(), &[]);
    let row = |name: &str, is_rest, dollars| (name.to_owned(), is_rest, dollars);
    assert_eq!(
        stand(&found),
        [
            row("a", false, 2),
            row("b", false, 1),
            row("other", true, 1)
        ]
    );
    assert_eq!(budgets.rest_bookings(), 2);
    let later = noon() + 60 * DAY_MS;
    budgets.evaluate(later, &[]);
    // A clock that was set is believed after a while.
    let later = later + 10 * MINUTE_MS;
    budgets.evaluate(later, &[]);
    budgets.evaluate(later, &[]);
    budgets.book(&spend(later, "e", cents(100)));
    assert_eq!(stand(&budgets.evaluate(later, &[])), [row("e", false, 1)]);
}

#[test]
fn what_a_night_batch_spends_at_night_is_no_ticket_once_it_is_learned() {
    let budget = Budget {
        urgency: Urgency::Ticket,
        thresholds: Vec::new(),
        ..monthly(310)
    };
    let flat = Budget {
        name: Arc::from("flat"),
        ..budget.clone()
    };
    let flat = Budget {
        profile: Profile::Business(Hours::USUAL),
        ..flat
    };
    let mut budgets = budgets(&[budget, flat], noon());
    // $10 each night at two, for more than seven weeks.
    let first = at("2026-10-05T02:00:00Z");
    for day in 0..50 {
        budgets.book(&spend(first + day * DAY_MS, "ci", cents(1_000)));
    }
    let night = first + 49 * DAY_MS + HOUR_MS;
    let found = budgets.evaluate(night, &[]);
    let burning: Vec<_> = found
        .conditions
        .iter()
        .filter(|condition| condition.rule == Rule::BudgetBurn)
        .map(|condition| (condition.budget.as_deref(), condition.variant.as_str()))
        .collect();
    assert_eq!(burning, [(Some("flat"), "3d/6h")]);
}

fn any_spend() -> impl Strategy<Value = Spend> {
    let user = proptest::sample::select(&["dana", "lee", "ci"][..]);
    // From the middle of October to the middle of December.
    (
        -30_i64 * 24 * 60..30 * 24 * 60,
        user,
        0..2_000_u64,
        0..3_u64,
    )
        .prop_map(|(minutes, user, figure, unpriced)| {
            let amount = Amount {
                unpriced_tokens: unpriced * 100,
                ..cents(figure)
            };
            spend(noon() + minutes * MINUTE_MS, user, amount)
        })
}

fn all_kinds() -> Vec<Budget> {
    vec![
        monthly(300),
        of_each_user(10),
        Budget {
            name: Arc::from("rolling"),
            period: Period::Rolling { hours: 36 },
            profile: Profile::Learned,
            limit: Limit::parse("20k weighted-tokens").unwrap(),
            ..monthly(1)
        },
    ]
}

proptest! {
    #[test]
    fn what_is_booked_and_taken_out_changes_nothing(
        kept in proptest::collection::vec(any_spend(), 0..20),
        taken in proptest::collection::vec(any_spend(), 0..20),
    ) {
        let mut plain = budgets(&all_kinds(), noon());
        let mut changed = plain.clone();
        for spend in &taken {
            changed.book(spend);
        }
        for spend in &kept {
            plain.book(spend);
            changed.book(spend);
        }
        for spend in &taken {
            changed.unbook(spend);
        }
        prop_assert_eq!(plain.evaluate(noon(), &[]), changed.evaluate(noon(), &[]));
    }

    #[test]
    fn used_is_the_sum_of_the_period_in_any_order(
        spends in proptest::collection::vec(any_spend(), 0..40).prop_flat_map(|spends| {
            (Just(spends.clone()), Just(spends).prop_shuffle())
        }),
        rules in proptest::sample::select(&ZONES[..]),
    ) {
        let zone = zone(rules);
        let (first, second) = spends;
        let evaluate = |spends: &[Spend]| {
            let mut budgets = Budgets::new(all_kinds(), &zone, noon());
            for spend in spends {
                budgets.book(spend);
            }
            budgets.evaluate(noon(), &[])
        };
        let found = evaluate(&first);
        prop_assert_eq!(&found, &evaluate(&second));
        let month = Period::DEFAULT.span(noon(), &zone).unwrap();
        let expected: u64 = first
            .iter()
            .filter(|spend| month.contains(spend.unix_ms))
            .map(|spend| spend.amount.cost_nanousd)
            .sum();
        prop_assert_eq!(found.statuses[0].used, expected);
    }

    #[test]
    fn sums_of_the_ledger_count_as_the_calls_in_them(
        spends in proptest::collection::vec(any_spend(), 0..20),
    ) {
        let mut booked = budgets(&all_kinds(), noon());
        let mut seeded = booked.clone();
        for spend in &spends {
            booked.book(spend);
            seeded.seed(spend.unix_ms, &spend.payer, &spend.amount);
        }
        let plain = |budgets: &mut Budgets| {
            let mut statuses = budgets.evaluate(noon(), &[]).statuses;
            for status in &mut statuses {
                status.sessions.clear();
            }
            statuses
        };
        prop_assert_eq!(plain(&mut booked), plain(&mut seeded));
    }

    #[test]
    fn no_moment_and_no_figure_is_too_strange(
        steps in proptest::collection::vec((any::<i64>(), any::<i64>(), any::<u64>()), 0..12),
    ) {
        let mut budgets = budgets(&all_kinds(), i64::MIN);
        for (now_ms, unix_ms, figure) in steps {
            let strange = Amount {
                requests: figure,
                sessions: figure,
                tokens: figure,
                weighted_tokens: figure,
                cost_nanousd: figure,
                lower_bound_nanousd: figure,
                unpriced_tokens: figure,
                estimated_tokens: figure,
                unknown_requests: figure,
            };
            let spend = spend(unix_ms, "dana", strange);
            budgets.book(&spend);
            budgets.evaluate(now_ms, std::slice::from_ref(&spend));
            budgets.seed(now_ms, &spend.payer, &strange);
            budgets.restore("day", "dana", now_ms, Share(u32::MAX));
            budgets.unbook(&spend);
            budgets.evaluate(unix_ms, &[]);
        }
    }
}
