//! What may be waste is the same, found ahead by the agent or by the report that asks for it.

use std::process::Command;

use agent::store::{
    Dimension, Durability, Filter, Progress, Reader, Relation, Retention, Waste, Window, Writer,
};
use agent_core::llm::{Outcome, SubInference, SubKind, Usage, UsageSource};
use agent_core::pipeline::Output;
use agent_core::session::{Hop, SessionKey, TaskType, Thread, ThreadKind, UsageRecord};
use jiff::tz::TimeZone;

use crate::retention::{ONE_DAY, sweep};
use crate::world::{Home, ms, priced, ran, record, usage};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Calls are kept for ever.
const FOR_EVER: Retention = Retention {
    request_days: 0,
    ..ONE_DAY
};

/// When all of it begins: a day, and with it a span.
fn beginning() -> i64 {
    ms("2026-11-01T00:00:00Z")
}

/// A call at a minute.
fn at(minutes: i64, number: u32, change: impl FnOnce(&mut UsageRecord)) -> UsageRecord {
    let mut record = record(&format!("msg_{number}"), "2026-11-01T00:00:00Z");
    record.started_unix_ms += minutes * 60_000;
    record.call.signals.request_hash = Some(1_000 + u64::from(number));
    record.continues = Some(true);
    change(&mut record);
    record
}

fn background() -> Thread {
    Thread {
        key: "title".to_owned(),
        parent: None,
        kind: ThreadKind::Background,
        agent_type: None,
        depth: 1,
    }
}

/// A model runs inside of the call.
fn with_part(record: &mut UsageRecord) {
    record.call.sub_inferences = vec![SubInference {
        kind: SubKind::Advisor,
        model: Some("claude-haiku-4-5".to_owned()),
        usage: Usage {
            input_uncached: Some(30),
            output: Some(3),
            ..Usage::default()
        },
    }];
    record.sub_costs = vec![priced(2_000)];
}

/// What the ledger says of a window and of calls that pass, in one order.
fn told(home: &Home, window: Window, filters: &[Filter]) -> Waste {
    let reader = Reader::open(&home.db(), &TimeZone::UTC).unwrap();
    let mut waste = reader.waste(window, filters).unwrap();
    let found = &mut waste.candidates;
    for list in [
        &mut found.retried,
        &mut found.aborted,
        &mut found.duplicates,
        &mut found.idle,
    ] {
        list.sort_by_key(|call| call.request_id);
    }
    found.missed.sort_by_key(|missed| missed.call.request_id);
    let misses: u64 = reader.misses(window, filters).unwrap().values().sum();
    assert_eq!(misses, u64::try_from(found_misses(&waste)).unwrap());
    waste
}

fn found_misses(waste: &Waste) -> usize {
    waste.candidates.missed.len()
}

/// All of it, and a window that cuts spans; of all calls, and of those that pass a filter that sums tell and
/// one that they do not.
fn told_of_all(home: &Home) -> Vec<Waste> {
    let from_ms = beginning();
    let whole = Window {
        from_ms,
        until_ms: from_ms + 5 * DAY_MS,
    };
    let cut = Window {
        from_ms: from_ms + 19 * HOUR_MS + 7,
        until_ms: from_ms + 50 * HOUR_MS + 7,
    };
    let is = |dimension, value: &str| Filter {
        dimension,
        relation: Relation::Is,
        value: Some(value.to_owned()),
    };
    let filters = [
        vec![],
        vec![is(Dimension::Outcome, "complete")],
        vec![is(Dimension::Session, "session-1")],
    ];
    let asked = filters
        .iter()
        .flat_map(|filters| [(whole, filters), (cut, filters)]);
    asked
        .map(|(window, filters)| told(home, window, filters))
        .collect()
}

/// Forgets everything that was found.
fn forget(home: &Home) {
    let forgetting = "DELETE FROM waste_span; DELETE FROM waste_request;";
    ran(Command::new("sqlite3").arg(home.db()).arg(forgetting)).text();
}

/// Finds everything.
fn find(home: &Home) {
    let mut writer = home.writer();
    writer.find_waste().unwrap();
    writer.close().unwrap();
}

/// What the ledger says, which is the same when nothing and when everything was found ahead.
#[track_caller]
fn one_answer(home: &Home) -> Vec<Waste> {
    let told = told_of_all(home);
    forget(home);
    assert_eq!(told, told_of_all(home), "nothing is found ahead");
    find(home);
    assert_eq!(told, told_of_all(home), "everything is found ahead");
    told
}

/// Adds calls to a ledger in which everything was found.
fn add(home: &Home, records: impl IntoIterator<Item = UsageRecord>) {
    let mut writer = home.writer();
    let outputs: Vec<Output> = records.into_iter().map(usage).collect();
    writer.apply(&outputs).unwrap();
    writer.close().unwrap();
}

/// A call of one of a few sessions and threads, that may be waste of any kind.
fn any_call(random: &mut fastrand::Rng, number: u32) -> UsageRecord {
    at(random.i64(0..4_000), number, |record| {
        record.session = SessionKey(format!("session-{}", random.u8(0..3)));
        record.is_human_turn = random.u8(0..6) == 0;
        record.duration_ms = random.u64(0..600_000);
        record.cost = priced(random.u64(1..1_000_000));
        if random.bool() {
            record.thread = background();
            record.is_human_turn = false;
        }
        if random.u8(0..4) == 0 {
            record.task = TaskType::Auxiliary;
        }
        if random.u8(0..6) == 0 {
            record.call.model_served = Some("claude-haiku-4-5".to_owned());
        }
        record.call.outcome = random
            .choice([
                Outcome::Complete,
                Outcome::Complete,
                Outcome::Complete,
                Outcome::Error,
                Outcome::Aborted,
            ])
            .unwrap();
        record.call.signals.request_hash = random.bool().then(|| random.u64(0..6));
        record.continues = random.bool().then(|| random.bool());
        record.call.usage = Usage {
            input_uncached: Some(random.u64(0..3_000)),
            cache_read: Some(random.u64(0..3) * 1_000),
            cache_write_5m: Some(random.u64(0..3) * 500),
            cache_write_1h: Some(random.u64(0..2) * 500),
            output: Some(50),
            ..Usage::default()
        };
        if random.u8(0..6) == 0 {
            with_part(record);
        }
        if number > 0 && random.u8(0..4) == 0 {
            record.retry_of = Some(format!("anthropic:msg_{}", random.u32(0..number)));
        }
        if number > 0 && random.u8(0..12) == 0 {
            record.compacted = Some(format!("anthropic:msg_{}", random.u32(0..number)));
        }
    })
}

/// The batches that a call comes in.
fn history(random: &mut fastrand::Rng, number: u32) -> Vec<UsageRecord> {
    let mut whole = any_call(random, number);
    let mut upstream = any_call(random, number);
    upstream.identity = format!("up-{number}");
    match random.u8(0..6) {
        0 => {
            let mut cut = whole.clone();
            cut.call.outcome = Outcome::Aborted;
            cut.call.usage_source = UsageSource::ProviderPartial;
            vec![cut, whole]
        }
        1 => {
            upstream.hop = Some(Hop::OfGateway {
                origin: whole.identity.clone(),
            });
            vec![whole, upstream]
        }
        2 => {
            whole.hop = Some(Hop::ToGateway {
                counted: upstream.identity.clone(),
            });
            vec![upstream, whole]
        }
        _ => vec![whole],
    }
}

/// A ledger with many calls, whose waste was looked for in between.
fn any_ledger(random: &mut fastrand::Rng) -> Home {
    let home = Home::new();
    let mut writer = home.writer();
    writer.set_retention(FOR_EVER);
    writer.set_durability(Durability::Temporary).unwrap();
    for number in 0..60 {
        for record in history(random, number) {
            writer.apply(&[usage(record)]).unwrap();
            match random.u8(0..12) {
                0 => writer.find_waste().unwrap(),
                1 | 2 => sweep(&mut writer, beginning() + random.i64(0..80) * HOUR_MS),
                _ => {}
            }
        }
    }
    writer.close().unwrap();
    home
}

#[test]
fn what_is_found_ahead_is_what_a_report_finds_whatever_became_of_the_calls() {
    let mut kinds = [0; 5];
    for seed in 0..24 {
        let home = any_ledger(&mut fastrand::Rng::with_seed(seed));
        let answers = one_answer(&home);
        let found = &answers.first().unwrap().candidates;
        let counts = [
            found.retried.len(),
            found.aborted.len(),
            found.duplicates.len(),
            found.idle.len(),
            found.missed.len(),
        ];
        for (sum, count) in kinds.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    assert!(kinds.iter().all(|count| *count > 50), "{kinds:?}");
}

/// A ledger in which everything was found, what of it changes, and what it says then.
#[track_caller]
fn changed(before: &[UsageRecord], change: &[UsageRecord]) -> [Waste; 2] {
    let home = Home::new();
    add(&home, before.to_vec());
    find(&home);
    let first = told_of_all(&home).swap_remove(0);
    add(&home, change.to_vec());
    let then = one_answer(&home).swap_remove(0);
    [first, then]
}

fn calls(list: &[agent::store::WastedCall]) -> Vec<i64> {
    list.iter().map(|call| call.request_id).collect()
}

#[test]
fn a_call_that_comes_late_makes_the_next_ones_duplicates_or_misses() {
    let same = |minutes, number| {
        at(minutes, number, |record| {
            record.call.signals.request_hash = Some(7);
            record.thread.key = format!("agent-{number}");
            record.thread.kind = ThreadKind::Subagent;
        })
    };
    // Ten hours later, three spans on.
    let [before, then] = changed(&[same(630, 1)], &[same(30, 2)]);
    assert_eq!(calls(&before.candidates.duplicates), [0; 0]);
    assert_eq!(calls(&then.candidates.duplicates), [1]);

    let cached = |minutes, number, tokens| {
        at(minutes, number, |record| {
            record.call.usage.cache_read = Some(tokens);
        })
    };
    // Two days later in its thread.
    let [before, then] = changed(&[cached(2_880, 1, 100)], &[cached(30, 2, 9_000)]);
    assert_eq!(found_misses(&before), 0);
    assert_eq!(found_misses(&then), 1);
}

#[test]
fn a_person_who_wrote_turns_out_late_to_have_left() {
    let of_nobody = at(2_000, 1, |record| record.thread = background());
    let of_a_person = at(10, 2, |record| record.is_human_turn = true);
    let [before, then] = changed(&[of_nobody], &[of_a_person]);
    assert_eq!(calls(&before.candidates.idle), [0; 0]);
    assert_eq!(calls(&then.candidates.idle), [1]);
}

#[test]
fn a_try_is_waste_once_it_was_made_again() {
    let failed = at(239, 1, |record| record.call.outcome = Outcome::Error);
    // In the next span.
    let again = at(241, 2, |record| {
        record.retry_of = Some(failed.identity.clone());
    });
    let [before, then] = changed(&[failed], &[again]);
    assert_eq!(calls(&before.candidates.retried), [0; 0]);
    assert_eq!(calls(&then.candidates.retried), [1]);
}

#[test]
fn a_call_of_which_more_is_known_or_that_another_one_stands_for_is_no_waste_any_more() {
    let cut = at(30, 1, |record| {
        record.call.outcome = Outcome::Aborted;
        record.call.usage_source = UsageSource::ProviderPartial;
    });
    let whole = at(30, 1, |_| {});
    let [before, then] = changed(std::slice::from_ref(&cut), &[whole]);
    assert_eq!(calls(&before.candidates.aborted), [1]);
    assert_eq!(calls(&then.candidates.aborted), [0; 0]);

    let upstream = at(30, 2, |record| {
        record.hop = Some(Hop::OfGateway {
            origin: cut.identity.clone(),
        });
    });
    let [before, then] = changed(std::slice::from_ref(&cut), &[upstream]);
    assert_eq!(calls(&before.candidates.aborted), [1]);
    assert_eq!(calls(&then.candidates.aborted), [0; 0]);
}

#[test]
fn what_a_model_inside_of_a_call_took_is_waste_with_it() {
    let home = Home::new();
    let cut = at(30, 1, |record| {
        record.call.outcome = Outcome::Aborted;
        record.cost = priced(5_000);
        with_part(record);
    });
    add(&home, [cut]);
    let told = one_answer(&home).swap_remove(0);
    let [call] = told.candidates.aborted.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(
        (call.tokens, call.cost_nanousd),
        (1_050 + 33, Some(5_000 + 2_000))
    );
}

#[test]
fn what_was_found_of_calls_goes_with_them_and_what_is_left_stays_waste() {
    let same = |minutes, number| {
        at(minutes, number, |record| {
            record.call.signals.request_hash = Some(7);
        })
    };
    let home = Home::new();
    // One span, two quarters of an hour.
    add(&home, [same(1, 1), same(2, 2), same(20, 3)]);
    let mut writer = home.writer();
    writer.find_waste().unwrap();
    writer.set_retention(ONE_DAY);
    sweep(&mut writer, beginning() + DAY_MS + 15 * 60_000);
    writer.close().unwrap();
    let found =
        home.sqlite3("SELECT request_id, kinds FROM waste_request; SELECT span FROM waste_span");
    assert_eq!(
        found.text(),
        format!("3|2\n{}\n", beginning() / (4 * HOUR_MS))
    );
    // That it was asked for before is known though those calls are gone.
    let told = told_of_all(&home).swap_remove(0);
    assert_eq!(calls(&told.candidates.duplicates), [3]);
    assert_eq!(told.not_kept.requests, 2);

    let mut writer = home.writer();
    writer.set_retention(ONE_DAY);
    sweep(&mut writer, beginning() + 3 * DAY_MS);
    // The call that comes has the id of one that is gone.
    writer.apply(&[usage(at(5_000, 4, |_| {}))]).unwrap();
    writer.close().unwrap();
    let found = home.sqlite3("SELECT min(request_id) FROM request; SELECT * FROM waste_request");
    assert_eq!(found.text(), "1\n");
}

#[test]
fn a_sweep_finds_what_is_waste_in_spans_that_ended_a_while_ago() {
    let aborted = |minutes, number| {
        at(minutes, number, |record| {
            record.call.outcome = Outcome::Aborted;
        })
    };
    let home = Home::new();
    add(&home, [aborted(10, 1), aborted(700, 2), aborted(3_000, 3)]);
    let spans = |writer: &mut Writer, now_ms: i64| {
        writer.set_retention(FOR_EVER);
        sweep(writer, now_ms);
        home.sqlite3(&format!(
            "SELECT group_concat(4 * (span - {})) FROM (SELECT span FROM waste_span ORDER BY span)",
            beginning() / (4 * HOUR_MS)
        ))
        .text()
    };
    let mut writer = home.writer();
    assert_eq!(spans(&mut writer, beginning() + 4 * HOUR_MS), "\n");
    let half_an_hour = HOUR_MS / 2;
    assert_eq!(
        spans(&mut writer, beginning() + 4 * HOUR_MS + half_an_hour),
        "0\n"
    );
    // Times without calls take nothing.
    assert_eq!(spans(&mut writer, beginning() + 10 * DAY_MS), "0,8,48\n");
    // A call of the present changes nothing of what was found.
    writer.apply(&[usage(aborted(9_000, 4))]).unwrap();
    assert_eq!(spans(&mut writer, beginning() + 6 * DAY_MS), "0,8,48\n");
    assert_eq!(writer.sweep(beginning()).unwrap(), Progress::More);
}

#[test]
fn merged_ledgers_say_what_one_ledger_of_all_calls_says() {
    for seed in 0..6 {
        let mut random = fastrand::Rng::with_seed(seed);
        // Two states of one host, and what was found in each.
        let homes = [any_ledger(&mut random), any_ledger(&mut random)];
        let into = &homes[0];
        find(into);
        agent::store::merge(&into.db(), &[homes[1].db()], &mut |_| {}).unwrap();
        let unwalked = into.sqlite3(
            "SELECT count(*) FROM request
             WHERE started_ms / 14400000 NOT IN (SELECT span FROM waste_span)",
        );
        assert_eq!(unwalked.text(), "0\n");
        one_answer(into);
    }
}
