//! What budgets see of calls is what the ledger has of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use agent::store::BucketSpend;
use agent_core::event::{Container, Process};
use agent_core::pipeline::Output;
use agent_core::prices::Prices;
use agent_core::session::Hop;
use agent_core::spend::{Amount, Payer, Spend};

use crate::sums::history;
use crate::world::{Home, ms, priced, process, record, usage};

/// Sums of payers without the sessions, which quarters of an hour don't tell. Weighted tokens are
/// rounded in each.
fn sums<'a>(
    spends: impl Iterator<Item = (&'a Arc<Payer>, Amount)>,
) -> BTreeMap<Arc<Payer>, Amount> {
    let mut sums: BTreeMap<Arc<Payer>, Amount> = BTreeMap::new();
    for (payer, amount) in spends {
        sums.entry(Arc::clone(payer)).or_default().add(&Amount {
            sessions: 0,
            weighted_tokens: 0,
            lower_bound_nanousd: 0,
            ..amount
        });
    }
    sums
}

#[test]
fn what_single_calls_take_adds_up_to_the_lasting_sums_whatever_became_of_them() {
    let (from, until) = (ms("2026-11-01T00:00:00Z"), ms("2026-11-02T00:00:00Z"));
    for seed in 0..6 {
        let mut random = fastrand::Rng::with_seed(seed);
        let home = Home::new();
        let mut writer = home.writer();
        let mut identities: Vec<String> = Vec::new();
        for number in 0..40 {
            let outputs = history(&mut random, number, None);
            for output in &outputs {
                if let Output::Usage(record) = output
                    && !identities.contains(&record.identity)
                {
                    identities.push(record.identity.clone());
                }
            }
            writer.apply(&outputs).unwrap();
        }
        let prices = Prices::default();
        let spends = writer.spends(&prices);
        let single = spends.of(identities.iter().map(String::as_str)).unwrap();
        let mut since = spends.since(from).unwrap();
        let mut quarters: Vec<BucketSpend> = Vec::new();
        spends
            .by_quarter(from, until, |spend| quarters.push(spend))
            .unwrap();
        let of_quarters = sums(quarters.iter().map(|spend| (&spend.payer, spend.amount)));
        let of_calls = sums(single.iter().map(|spend| (&spend.payer, spend.amount)));
        assert_eq!(of_calls, of_quarters, "seed {seed}");
        assert!(of_calls.len() > 4, "several payers");

        let mut single = single;
        single.sort_by(|a, b| a.identity.cmp(&b.identity));
        since.sort_by(|a, b| a.identity.cmp(&b.identity));
        assert_eq!(single, since, "seed {seed}");

        let sessions = spends.sessions(from, until).unwrap();
        let stored = home.sqlite3("SELECT count(DISTINCT session_id) FROM session_usage");
        assert_eq!(stored.text(), format!("{}\n", sessions.len()));
    }
}

#[test]
fn what_a_gateway_called_is_spent_by_the_client_that_asked_it() {
    let home = Home::new();
    let mut writer = home.writer();
    let mut asked = record("msg_1", "2026-11-01T15:00:00Z");
    asked.process = Some(process(7_001, "python3", "/usr/bin/python3", "dana"));
    let mut upstream = record("msg_2", "2026-11-01T15:00:01Z");
    upstream.process = Some(process(7_002, "litellm", "/usr/bin/litellm", "gateway"));
    upstream.cost = priced(5_000_000_000);
    upstream.hop = Some(Hop::OfGateway {
        origin: asked.identity.clone(),
    });
    let identities = [asked.identity.clone(), upstream.identity.clone()];
    writer.apply(&[usage(asked), usage(upstream)]).unwrap();
    let prices = Prices::default();
    let spends = writer
        .spends(&prices)
        .of(identities.iter().map(String::as_str))
        .unwrap();
    let [spend] = spends.as_slice() else {
        panic!("one call counts, not {spends:?}");
    };
    assert_eq!(spend.payer.user.as_deref(), Some("dana"));
    assert_eq!(spend.amount.cost_nanousd, 5_000_000_000);
    assert_eq!(spend.work.pid, Some(7_001));
}

#[test]
fn a_call_that_runs_in_a_container_without_a_name_is_of_whom_it_will_be_booked_on() {
    for id in ["5a17c0de5a17c0de5a17c0de5a17c0de", "web"] {
        let home = Home::new();
        let mut writer = home.writer();
        let mut record = record("msg_1", "2026-11-01T15:00:00Z");
        let mut owner = Process::clone(&process(7_001, "python3", "/usr/bin/python3", "dana"));
        owner.container = Some(Container {
            id: id.to_owned(),
            ..Container::default()
        });
        record.process = Some(Arc::new(owner));
        let prices = Prices::default();
        let running = Spend::of(&record, &prices).unwrap();
        let identity = record.identity.clone();
        writer.apply(&[usage(record)]).unwrap();
        let stored = writer.spends(&prices).of([identity.as_str()]).unwrap();
        assert_eq!(running.payer, stored[0].payer, "{id}");
    }
}
