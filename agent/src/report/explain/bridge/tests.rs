use super::*;

/// Prices in dollars per million tokens: uncached, read, written for 5 minutes, an hour, twelve
/// hours, another time; output.
fn rates(dollars: [u64; CLASSES]) -> [Option<u64>; CLASSES] {
    dollars.map(|dollars| Some(dollars * 1_000_000_000))
}

const OPUS: [u64; CLASSES] = [5, 1, 6, 10, 12, 6, 25];
const HAIKU: [u64; CLASSES] = [1, 0, 2, 3, 4, 2, 5];

/// Calls priced as the agent prices them, each rounded.
fn used(
    workflow: &str,
    model: &str,
    tokens: [u64; CLASSES],
    rates: [Option<u64>; CLASSES],
) -> PricedUse {
    let costs = tokens
        .iter()
        .zip(rates)
        .map(|(tokens, rate)| u128::from(*tokens) * u128::from(rate.unwrap_or(0)));
    let cost: u128 = costs.sum();
    PricedUse {
        workflow: workflow.to_owned(),
        provider: "anthropic".to_owned(),
        model: Some(model.to_owned()),
        rows: 1,
        tokens,
        rates,
        has_price: true,
        cost_nanousd: u64::try_from((cost + 500_000) / 1_000_000).unwrap(),
        ..PricedUse::default()
    }
}

fn total(changes: &BTreeMap<String, Change>) -> i128 {
    changes
        .values()
        .map(|change| change.now.cost - change.before.cost)
        .sum()
}

/// All parts of all workflows.
fn parts(before: &[PricedUse], now: &[PricedUse]) -> BTreeMap<Part, i128> {
    let changes = bridge(before, now);
    let mut sums: BTreeMap<Part, i128> = BTreeMap::new();
    for (part, amount) in changes.values().flat_map(|change| &change.parts) {
        *sums.entry(*part).or_default() += amount;
    }
    let cost = |uses: &[PricedUse]| -> i128 {
        uses.iter().map(|used| i128::from(used.cost_nanousd)).sum()
    };
    assert_eq!(total(&changes), cost(now) - cost(before));
    assert_eq!(
        sums.values().sum::<i128>(),
        total(&changes),
        "{before:?}\n{now:?}"
    );
    sums
}

#[track_caller]
fn assert_only(part: Part, before: &[PricedUse], now: &[PricedUse]) {
    let parts = parts(before, now);
    assert!(
        parts.len() == 1 && parts.contains_key(&part),
        "{part:?}: {parts:?}\n{before:?}\n{now:?}"
    );
}

fn random_tokens(random: &mut fastrand::Rng) -> [u64; CLASSES] {
    let mut tokens = [0; CLASSES];
    for class in &mut tokens {
        *class = match random.u8(0..4) {
            0 => 0,
            1 => random.u64(0..50),
            _ => random.u64(0..3_000_000),
        };
    }
    tokens
}

fn random_rates(random: &mut fastrand::Rng) -> [Option<u64>; CLASSES] {
    let mut rates = [None; CLASSES];
    for rate in &mut rates {
        *rate = (random.u8(0..8) > 0).then(|| random.u64(0..75_000_000_000));
    }
    rates
}

fn random_ledger(random: &mut fastrand::Rng) -> Vec<PricedUse> {
    let count = random.usize(0..9);
    let mut uses = Vec::new();
    for _ in 0..count {
        let workflow = ["a", "b", "c"][random.usize(0..3)];
        let model = ["opus", "haiku", "sol"][random.usize(0..3)];
        let rates = random_rates(random);
        let mut one = used(workflow, model, random_tokens(random), rates);
        one.rows = random.u64(1..40);
        one.has_price = random.u8(0..5) > 0;
        if !one.has_price {
            one.rates = [None; CLASSES];
        }
        if random.u8(0..4) == 0 {
            // Searches, or a price of a part.
            one.cost_nanousd = random.u64(0..9_000_000_000);
        }
        if random.u8(0..6) == 0 {
            one.tokens = [0; CLASSES];
        }
        if random.bool() {
            one.context_over = Some(200_000);
        }
        uses.push(one);
    }
    uses
}

#[test]
fn parts_add_up_to_the_change_of_any_two_ledgers() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..5_000 {
        let (before, now) = (random_ledger(&mut random), random_ledger(&mut random));
        parts(&before, &now);
    }
}

#[test]
fn the_largest_figures_of_a_ledger_do_not_overflow() {
    let most = PricedUse {
        cost_nanousd: u64::MAX / 2,
        rows: u64::MAX / 2,
        ..used("a", "opus", [1 << 50; CLASSES], [Some(1_000_000); CLASSES])
    };
    let one = used("a", "opus", [1; CLASSES], [Some(1 << 49); CLASSES]);
    let (most, one) = ([most], [one]);
    parts(&most, &one);
    parts(&one, &most);
}

/// Use of two models in two workflows, with every class of tokens.
fn plain(random: &mut fastrand::Rng) -> Vec<PricedUse> {
    let mut uses = Vec::new();
    for workflow in ["a", "b"] {
        for (model, dollars) in [("opus", OPUS), ("haiku", HAIKU)] {
            let tokens = random_tokens(random).map(|tokens| tokens + 1_000);
            uses.push(used(workflow, model, tokens, rates(dollars)));
        }
    }
    uses
}

fn changed(uses: &[PricedUse], change: impl Fn(&PricedUse) -> PricedUse) -> Vec<PricedUse> {
    uses.iter().map(change).collect()
}

fn again(one: &PricedUse, tokens: [u64; CLASSES]) -> PricedUse {
    let model = one.model.as_deref().unwrap();
    used(&one.workflow, model, tokens, one.rates)
}

#[test]
fn a_change_of_one_thing_is_in_its_own_line_and_in_no_other() {
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..200 {
        let before = plain(&mut random);
        // Twice and more of everything.
        let factor = random.u64(2..9);
        let more = changed(&before, |one| again(one, one.tokens.map(|n| n * factor)));
        assert_only(Part::Volume, &before, &more);
        assert_only(Part::Volume, &more, &before);

        // Another price of one class.
        let dearer = changed(&before, |one| {
            let rates = one.rates.map(|rate| rate.map(|rate| rate + 2_000_000_000));
            let model = one.model.as_deref().unwrap();
            used(&one.workflow, model, one.tokens, rates)
        });
        assert_only(Part::Price, &before, &dearer);
        assert_only(Part::Price, &dearer, &before);

        // Input that was read is uncached.
        let missed = changed(&before, |one| {
            let mut tokens = one.tokens;
            tokens[0] += tokens[1];
            tokens[1] = 0;
            again(one, tokens)
        });
        assert_only(Part::Cache, &before, &missed);
        assert_only(Part::Cache, &missed, &before);
    }
}

#[test]
fn other_shares_of_models_are_model_mix_and_nothing_else() {
    let of = |opus: u64, haiku: u64| {
        let tokens = [1_000, 8_000, 500, 0, 0, 0, 700];
        [
            used("a", "opus", tokens.map(|n| n * opus), rates(OPUS)),
            used("a", "haiku", tokens.map(|n| n * haiku), rates(HAIKU)),
        ]
    };
    assert_only(Part::ModelMix, &of(3, 7), &of(8, 2));
    // Also where the model was not there before, or is not any more.
    assert_only(Part::ModelMix, &of(3, 7), &of(10, 1)[..1]);
    assert_only(Part::ModelMix, &of(10, 1)[..1], &of(3, 7));
    let long = |mut uses: [PricedUse; 2]| {
        uses[0].context_over = Some(200_000);
        uses
    };
    // A price of long prompts is another one, not a change of one.
    assert_eq!(parts(&of(3, 7), &long(of(3, 7))), BTreeMap::new());
}

#[test]
fn another_share_of_output_is_its_own_line() {
    let before = [used("a", "opus", [900, 0, 0, 0, 0, 0, 100], rates(OPUS))];
    let now = [used("a", "opus", [500, 0, 0, 0, 0, 0, 500], rates(OPUS))];
    assert_eq!(
        parts(&before, &now),
        BTreeMap::from([(Part::OutputShare, 400 * 20_000)])
    );
}

#[test]
fn searches_and_costs_without_a_stored_price_are_other() {
    let mut before = [used("a", "opus", [900, 0, 0, 0, 0, 0, 100], rates(OPUS))];
    let mut now = before.clone();
    now[0].cost_nanousd += 30_000_000;
    assert_only(Part::Other, &before, &now);
    for one in before.iter_mut().chain(&mut now) {
        one.has_price = false;
        one.rates = [None; CLASSES];
    }
    assert_only(Part::Other, &before, &now);
}

#[test]
fn workflows_come_and_go_with_all_they_cost() {
    let tokens = [900, 0, 0, 0, 0, 0, 100];
    let (old, new) = (
        used("old", "opus", tokens, rates(OPUS)),
        used("new", "opus", tokens, rates(OPUS)),
    );
    let cost = i128::from(old.cost_nanousd);
    assert_eq!(
        parts(&[old], &[new]),
        BTreeMap::from([(Part::NewWorkflows, cost), (Part::EndedWorkflows, -cost)])
    );
}

#[test]
fn several_things_at_once_are_taken_in_their_order() {
    let before = [
        used("a", "opus", [1_000_000, 0, 0, 0, 0, 0, 0], rates(OPUS)),
        used("a", "haiku", [1_000_000, 0, 0, 0, 0, 0, 0], rates(HAIKU)),
    ];
    let mut cheaper = HAIKU;
    cheaper[0] = 2;
    let now = [
        used(
            "a",
            "opus",
            [1_000_000, 2_000_000, 0, 0, 0, 0, 0],
            rates(OPUS),
        ),
        used("a", "haiku", [1_000_000, 0, 0, 0, 0, 0, 0], rates(cheaper)),
    ];
    // $6 for 2 M tokens: 4 M are $12. Three of four of them by opus: $16. Two thirds of those read
    // at $1 instead of $5: $8. Haiku costs a dollar more: $9.
    let dollars = |dollars: i128| dollars * 1_000_000_000;
    assert_eq!(
        parts(&before, &now),
        BTreeMap::from([
            (Part::Volume, dollars(6)),
            (Part::ModelMix, dollars(4)),
            (Part::Cache, dollars(-8)),
            (Part::Price, dollars(1)),
        ])
    );
}
