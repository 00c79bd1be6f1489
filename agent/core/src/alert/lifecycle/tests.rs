use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Map;

use super::*;
use crate::alert::{Purpose, Rule};

const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_795_000_000_000;

fn condition(workflow: &str, severity: Severity) -> Condition {
    Condition {
        rule: Rule::Spike,
        variant: String::new(),
        scope: vec![("workflow".to_owned(), workflow.to_owned())],
        budget: None,
        severity,
        hold: Duration::ZERO,
        summary: format!("{workflow} spends"),
        evidence: Map::new(),
    }
}

fn held(workflow: &str, severity: Severity, seconds: u64) -> Condition {
    Condition {
        hold: Duration::from_secs(seconds),
        ..condition(workflow, severity)
    }
}

/// What was told: the kind of each notification and of what is in it.
fn told(evaluated: &Evaluated) -> Vec<(&'static str, Vec<&'static str>)> {
    let kinds = |notification: &Notification| {
        let kinds = notification.notices.iter();
        kinds.map(|notice| notice.kind.as_str()).collect()
    };
    let notifications = evaluated.notifications.iter();
    notifications
        .map(|notification| (notification.kind(), kinds(notification)))
        .collect()
}

fn one(kind: &'static str) -> Vec<(&'static str, Vec<&'static str>)> {
    vec![(kind, vec![kind])]
}

#[test]
fn the_moment_from_which_an_alert_waits_is_stored_when_the_clock_is_put_back() {
    let mut alerts = Alerts::default();
    let waiting = || vec![held("a", Severity::Page, 60)];
    alerts.evaluate(START_MS, waiting());
    let put_back = alerts.evaluate(START_MS - 1, waiting());
    assert_eq!(put_back.changed[0].started_unix_ms, START_MS - 1);
}

#[test]
fn an_alert_is_told_once_when_it_fires_and_once_when_it_is_over() {
    let mut alerts = Alerts::default();
    let page = || vec![condition("a", Severity::Page)];
    let fired = alerts.evaluate(START_MS, page());
    assert_eq!(told(&fired), one("fire"));
    assert_eq!(
        fired.changed,
        fired.notifications[0]
            .notices
            .iter()
            .map(|notice| notice.alert.clone())
            .collect::<Vec<_>>()
    );
    assert_eq!(
        alerts.evaluate(START_MS + 1_000, page()),
        Evaluated::default()
    );
    let over = alerts.evaluate(START_MS + 2_000, Vec::new());
    assert_eq!(told(&over), one("resolve"));
    assert_eq!(over.changed[0].ended_unix_ms, Some(START_MS + 2_000));
    assert_eq!(
        alerts.evaluate(START_MS + 3_000, Vec::new()),
        Evaluated::default()
    );
    // It is another alert when it comes again.
    let again = alerts.evaluate(START_MS + 4_000, page());
    assert_ne!(again.changed[0].id, fired.changed[0].id);
    assert_eq!(again.changed[0].fingerprint, fired.changed[0].fingerprint);
}

#[test]
fn a_threshold_is_told_once_and_neither_again_nor_when_its_period_ends() {
    let mut alerts = Alerts::default();
    let reached = || Condition {
        rule: Rule::BudgetThreshold,
        ..condition("a", Severity::Page)
    };
    assert_eq!(
        told(&alerts.evaluate(START_MS, vec![reached()])),
        one("fire")
    );
    let later = alerts.evaluate(START_MS + 5 * HOUR_MS, vec![reached()]);
    assert_eq!(later, Evaluated::default());
    let over = alerts.evaluate(START_MS + 6 * HOUR_MS, Vec::new());
    assert_eq!(told(&over), vec![]);
    assert_eq!(over.changed[0].state, State::Resolved);
}

#[test]
fn what_does_not_hold_long_enough_is_never_told() {
    let mut alerts = Alerts::default();
    let slow = || vec![held("a", Severity::Page, 600)];
    let pending = alerts.evaluate(START_MS, slow());
    assert_eq!(pending.changed[0].state, State::Pending);
    assert_eq!(
        alerts.evaluate(START_MS + 599_999, slow()),
        Evaluated::default()
    );
    let dropped = alerts.evaluate(START_MS + 599_999, Vec::new());
    assert_eq!(dropped.dropped, [pending.changed[0].id]);
    assert_eq!((dropped.changed.len(), told(&dropped)), (0, Vec::new()));
    alerts.evaluate(START_MS + 700_000, slow());
    assert_eq!(
        told(&alerts.evaluate(START_MS + 1_300_000, slow())),
        one("fire")
    );
}

#[test]
fn pages_repeat_every_four_hours_and_tickets_every_day_until_somebody_takes_them_on() {
    for (severity, hours) in [(Severity::Page, 4), (Severity::Ticket, 24)] {
        let mut alerts = Alerts::default();
        let wrong = || vec![condition("a", severity)];
        let id = alerts.evaluate(START_MS, wrong()).changed[0].id;
        let again = START_MS + hours * HOUR_MS;
        assert_eq!(alerts.evaluate(again - 1, wrong()), Evaluated::default());
        assert_eq!(told(&alerts.evaluate(again, wrong())), one("repeat"));
        alerts.acknowledge(id, again + 1);
        let later = alerts.evaluate(again + 30 * HOUR_MS, wrong());
        assert_eq!(later, Evaluated::default());
        // Its end is told all the same.
        assert_eq!(
            told(&alerts.evaluate(again + 31 * HOUR_MS, Vec::new())),
            one("resolve")
        );
    }
}

#[test]
fn an_alert_that_becomes_more_urgent_is_told_again_and_its_end_goes_to_all_who_knew() {
    let mut alerts = Alerts::default();
    let wrong = |severity| vec![condition("a", severity)];
    let log = alerts.evaluate(START_MS, wrong(Severity::Log));
    assert_eq!((log.journal.len(), told(&log)), (1, Vec::new()));
    assert_eq!(
        told(&alerts.evaluate(START_MS + 1, wrong(Severity::Ticket))),
        one("fire")
    );
    let id = alerts.firing().next().unwrap().id;
    alerts.acknowledge(id, START_MS + 2);
    assert_eq!(
        told(&alerts.evaluate(START_MS + 2, wrong(Severity::Page))),
        one("rise")
    );
    assert_eq!(
        told(&alerts.evaluate(START_MS + 3, wrong(Severity::Ticket))),
        Vec::new()
    );
    assert_eq!(
        told(&alerts.evaluate(START_MS + 4, wrong(Severity::Page))),
        Vec::new()
    );
    alerts.evaluate(START_MS + 5, wrong(Severity::Log));
    let over = alerts.evaluate(START_MS + 6, Vec::new());
    assert_eq!(over.notifications[0].severity(), Severity::Page);
}

#[test]
fn what_is_only_logged_is_told_to_nobody() {
    let mut alerts = Alerts::default();
    let fired = alerts.evaluate(START_MS, vec![condition("a", Severity::Log)]);
    let over = alerts.evaluate(START_MS + 1, Vec::new());
    assert_eq!((told(&fired), told(&over)), (Vec::new(), Vec::new()));
    assert_eq!((fired.journal.len(), over.journal.len()), (1, 1));
}

#[test]
fn more_than_five_in_a_minute_come_together_and_at_most_once_a_minute() {
    let mut alerts = Alerts::default();
    let many = |count: usize| {
        (0..count)
            .map(|n| condition(&format!("w{n:03}"), Severity::Ticket))
            .collect::<Vec<_>>()
    };
    assert_eq!(alerts.evaluate(START_MS, many(5)).notifications.len(), 5);
    let sixth = alerts.evaluate(START_MS + 1_000, many(7));
    assert_eq!(told(&sixth), [("group", vec!["fire"; 2])]);
    assert_eq!(
        told(&alerts.evaluate(START_MS + 2_000, many(8))),
        Vec::new()
    );
    assert_eq!(
        told(&alerts.evaluate(START_MS + 60_999, many(100))),
        Vec::new()
    );
    let rest = alerts.evaluate(START_MS + 61_000, many(100));
    assert_eq!(rest.notifications.len(), 1);
    assert_eq!(
        (
            rest.notifications[0].notices.len(),
            rest.notifications[0].left_out
        ),
        (50, 43)
    );
    let over = alerts.evaluate(START_MS + 62_000, Vec::new());
    assert_eq!((over.notifications.len(), over.changed.len()), (1, 100));
    assert_eq!(over.notifications[0].left_out, 50);
}

#[test]
fn a_group_of_one_says_that_it_is_one_alert() {
    let mut alerts = Alerts::default();
    let names = ["a", "b", "c", "d", "e"];
    let five = || names.map(|name| condition(name, Severity::Page)).to_vec();
    alerts.evaluate(START_MS, five());
    let mut six = five();
    six.push(condition("f", Severity::Page));
    assert_eq!(told(&alerts.evaluate(START_MS + 1, six)), one("fire"));
}

#[test]
fn after_a_restart_nothing_is_told_again_and_what_is_gone_is_over() {
    let mut alerts = Alerts::default();
    let wrong = || {
        vec![
            condition("a", Severity::Page),
            condition("b", Severity::Page),
        ]
    };
    let stored = alerts.evaluate(START_MS, wrong()).changed;
    let mut alerts = Alerts::restore(stored, 2);
    let still = alerts.evaluate(START_MS + HOUR_MS, vec![condition("a", Severity::Page)]);
    assert_eq!(told(&still), one("resolve"));
    let new = alerts.evaluate(START_MS + HOUR_MS, wrong());
    assert_eq!(new.changed[0].id, 3);
}

#[test]
fn what_fired_and_was_not_told_before_a_crash_is_told_after_it() {
    let mut alerts = Alerts::default();
    let wrong = || vec![condition("a", Severity::Page)];
    let mut stored = alerts.evaluate(START_MS, wrong()).changed;
    stored[0].notified = None;
    stored[0].notified_unix_ms = None;
    let mut alerts = Alerts::restore(stored, 0);
    assert_eq!(told(&alerts.evaluate(START_MS + 1, wrong())), one("fire"));
}

#[test]
fn there_is_room_for_so_many_and_the_urgent_ones_have_it() {
    let mut alerts = Alerts::default();
    let mut many: Vec<_> = (0..MAX_ALERTS + 10)
        .map(|n| condition(&n.to_string(), Severity::Ticket))
        .collect();
    many.push(condition("urgent", Severity::Page));
    let evaluated = alerts.evaluate(START_MS, many);
    assert_eq!(
        (evaluated.left_out, evaluated.changed.len()),
        (11, MAX_ALERTS)
    );
    assert!(
        alerts
            .firing()
            .any(|alert| alert.condition.severity == Severity::Page)
    );
}

#[test]
fn a_clock_that_is_put_back_or_forward_makes_nobody_wait_for_it() {
    let mut alerts = Alerts::default();
    let wrong = || {
        vec![
            condition("a", Severity::Page),
            held("b", Severity::Page, 10),
        ]
    };
    alerts.evaluate(START_MS, wrong());
    let year_ms = 365 * 24 * HOUR_MS;
    assert_eq!(
        told(&alerts.evaluate(START_MS - year_ms, wrong())),
        Vec::new()
    );
    assert_eq!(
        told(&alerts.evaluate(START_MS - year_ms + 10_000, wrong())),
        one("fire")
    );
    let repeated = alerts.evaluate(START_MS - year_ms + 4 * HOUR_MS, wrong());
    assert_eq!(told(&repeated), one("repeat"));
    for moment in [i64::MIN, i64::MAX, 0] {
        alerts.evaluate(moment, wrong());
    }
    let over = alerts.evaluate(i64::MIN, Vec::new());
    assert!(
        over.changed
            .iter()
            .all(|alert| alert.ended_unix_ms >= alert.fired_unix_ms)
    );
}

#[test]
fn names_that_somebody_chose_do_not_make_the_fingerprint_of_another_alert() {
    let split = |variant: &str, value: &str| Condition {
        variant: variant.to_owned(),
        scope: vec![("workflow".to_owned(), value.to_owned())],
        ..condition("", Severity::Page)
    };
    let conditions = [
        split("a", "b"),
        split("a\",[[\"workflow\",\"b", ""),
        split("", "ab"),
        Condition {
            budget: Some(String::new()),
            ..split("a", "b")
        },
    ];
    let fingerprints: BTreeSet<String> = conditions.iter().map(fingerprint).collect();
    assert_eq!(fingerprints.len(), 4);
}

#[test]
fn a_message_is_a_document_of_all_that_is_known() {
    let mut alerts = Alerts::default();
    let mut wrong = held("nightly \"x\"", Severity::Page, 0);
    wrong.evidence.insert("spent_nanousd".to_owned(), 5.into());
    let fired = alerts.evaluate(1_795_000_000_000, vec![wrong]);
    assert_eq!(
        fired.notifications[0].payload("web-01", Purpose::Test),
        json!({
            "version": 1, "source": "bpftok", "host": "web-01", "kind": "fire", "severity": "page",
            "summary": "nightly \"x\" spends", "is_test": true,
            "created_at": "2026-11-18T11:06:40Z", "left_out": 0,
            "alerts": [{
                "id": 0, "fingerprint": fired.changed[0].fingerprint, "kind": "fire",
                "state": "firing", "rule": "spike", "variant": "", "severity": "page",
                "scope": {"workflow": "nightly \"x\""}, "budget": null,
                "summary": "nightly \"x\" spends", "evidence": {"spent_nanousd": 5},
                "started_at": "2026-11-18T11:06:40Z", "fired_at": "2026-11-18T11:06:40Z",
                "ended_at": null, "show": "bpftok alerts show 0",
            }],
        })
    );
}

/// What happens at one moment: how much later it is, and which of a few conditions hold, how.
type Step = (i64, Vec<(usize, u8, u64)>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wrong = (0_usize..9, 0_u8..3, 0_u64..120);
    let later = prop_oneof![8 => 0_i64..90_000, 1 => -HOUR_MS..HOUR_MS, 1 => 0..30 * HOUR_MS];
    proptest::collection::vec((later, proptest::collection::vec(wrong, 0..12)), 1..60)
}

fn conditions(step: &Step) -> Vec<Condition> {
    let severities = [Severity::Log, Severity::Ticket, Severity::Page];
    step.1
        .iter()
        .map(|(n, severity, hold)| held(&n.to_string(), severities[usize::from(*severity)], *hold))
        .collect()
}

/// The ledger, as the keeper writes it.
#[derive(Default)]
struct Ledger(BTreeMap<u64, Alert>);

impl Ledger {
    fn take(&mut self, evaluated: &Evaluated) {
        for alert in &evaluated.changed {
            self.0.insert(alert.id, alert.clone());
        }
        for id in &evaluated.dropped {
            self.0.remove(id);
        }
    }

    fn restored(&self) -> Alerts {
        let last = self.0.keys().max().copied().unwrap_or(0);
        Alerts::restore(self.0.values().cloned().collect(), last)
    }
}

proptest! {
    #[test]
    fn every_fire_has_one_end_at_most_and_no_end_is_told_without_it(steps in steps()) {
        let mut alerts = Alerts::default();
        let mut now = START_MS;
        let mut open = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut logged = BTreeSet::new();
        for step in &steps {
            now += step.0;
            let evaluated = alerts.evaluate(now, conditions(step));
            for notice in &evaluated.journal {
                match notice.kind {
                    Kind::Fire => prop_assert!(logged.insert(notice.alert.id)),
                    Kind::Resolve => prop_assert!(logged.remove(&notice.alert.id)),
                    Kind::Rise | Kind::Repeat => prop_assert!(logged.contains(&notice.alert.id)),
                }
            }
            for notice in evaluated.notifications.iter().flat_map(|told| &told.notices) {
                let id = notice.alert.id;
                match notice.kind {
                    Kind::Fire => {
                        prop_assert!(seen.insert(id));
                        open.insert(id);
                    }
                    Kind::Rise | Kind::Repeat => prop_assert!(open.contains(&id)),
                    Kind::Resolve => prop_assert!(open.remove(&id)),
                }
            }
        }
        let over = alerts.evaluate(now, Vec::new());
        for notice in over.notifications.iter().flat_map(|told| &told.notices) {
            prop_assert!(open.remove(&notice.alert.id));
        }
        prop_assert!(open.is_empty());
    }

    #[test]
    fn a_restart_at_any_point_changes_nothing_but_delivery(steps in steps(), at in 0_usize..60) {
        let mut whole = Alerts::default();
        let mut cut = Alerts::default();
        let mut ledgers = (Ledger::default(), Ledger::default());
        let mut now = START_MS;
        for (n, step) in steps.iter().enumerate() {
            now += step.0;
            if n == at {
                cut = ledgers.1.restored();
            }
            ledgers.0.take(&whole.evaluate(now, conditions(step)));
            ledgers.1.take(&cut.evaluate(now, conditions(step)));
        }
        let lives = |ledger: &Ledger| -> Vec<_> {
            let alerts = ledger.0.values();
            alerts
                .map(|alert| {
                    let times = (alert.started_unix_ms, alert.fired_unix_ms, alert.ended_unix_ms);
                    (alert.fingerprint.clone(), alert.state, times)
                })
                .collect()
        };
        prop_assert_eq!(lives(&ledgers.0), lives(&ledgers.1));
    }

    #[test]
    fn nobody_gets_more_than_five_messages_and_a_group_a_minute_of_what_is_wrong(steps in steps()) {
        let mut alerts = Alerts::default();
        let mut now = START_MS;
        let mut times = Vec::new();
        for step in &steps {
            now += step.0.max(0);
            let evaluated = alerts.evaluate(now, conditions(step));
            let is_over = |told: &Notification| told.notices[0].kind == Kind::Resolve;
            times.extend(evaluated.notifications.iter().filter(|told| !is_over(told)).map(|_| now));
        }
        for first in &times {
            let within = times.iter().filter(|then| (0..GROUP_MS).contains(&(*then - first)));
            prop_assert!(within.count() <= MAX_SINGLE + 1);
        }
    }
}
