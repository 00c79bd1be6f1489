//! The panels of an index: words, a chart and a table each. Names are raw here; who writes them
//! escapes them.

use super::chart::{Bar, Chart, Row};
use super::figures::{By, Month, Moved, Used, moved};
use crate::report::spend;
use crate::report::text::{self, UNKNOWN};

/// LIMIT: providers, models and kinds of work that have a row; the others are one.
const ROWS: usize = 10;

/// Whether the month has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IsOver(pub(super) bool);

/// A page.
pub(super) struct Shown {
    pub(super) title: String,
    pub(super) subtitle: String,
    /// What is told first: a name and a number, and how it moved.
    pub(super) headline: Vec<[String; 3]>,
    pub(super) panels: Vec<Panel>,
    /// What it rests on.
    pub(super) rests_on: Vec<String>,
}

/// A panel.
pub(super) struct Panel {
    pub(super) title: String,
    /// The name that `words` are about, and begin with.
    pub(super) subject: Option<String>,
    pub(super) words: String,
    pub(super) charts: Vec<Chart>,
    pub(super) grids: Vec<Grid>,
}

/// A table: the first column names, the others are numbers.
pub(super) struct Grid {
    pub(super) caption: String,
    pub(super) heads: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

fn share(part: u64, whole: u64) -> String {
    spend::share(i128::from(part), i128::from(whole))
}

/// Hundredths of a per cent of a whole.
fn basis_points(part: u64, whole: u64) -> i128 {
    let points = (i128::from(part) * 10_000).checked_div(i128::from(whole));
    points.unwrap_or(0)
}

/// By how many points a share moved.
fn points(before: i128, now: i128) -> String {
    let moved = now - before;
    let sign = match moved {
        0 => "±",
        1.. => "+",
        _ => "−",
    };
    let tenths = (moved.abs() + 5) / 10;
    format!("{sign}{}.{} pts", tenths / 10, tenths % 10)
}

fn money(used: &Used) -> String {
    match (used.cost, used.cost_lower_bound_requests) {
        (None, _) => UNKNOWN.to_owned(),
        (Some(cost), 0) => text::money(cost),
        (Some(cost), _) => format!("≥ {}", text::money(cost)),
    }
}

fn rate(used: &Used) -> String {
    used.per_mtok()
        .map_or_else(|| UNKNOWN.to_owned(), text::money)
}

/// A change of cost per token, or what is there instead of one.
fn rate_moved(before: Option<u64>, now: Option<u64>) -> String {
    match (before, now) {
        (Some(before), Some(now)) => spend::relative(i128::from(before), i128::from(now))
            .unwrap_or_else(|| UNKNOWN.to_owned()),
        (None, _) | (_, None) => UNKNOWN.to_owned(),
    }
}

fn strings(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn bar(part: u64, whole: u64) -> Bar {
    Bar {
        basis_points: basis_points(part, whole),
        text: share(part, whole),
    }
}

impl Shown {
    pub(super) fn new(
        now: &Month,
        before: &Month,
        hosts: &[String],
        is_over: IsOver,
        rests_on: Vec<String>,
    ) -> Self {
        let place = match hosts {
            [] => "no host".to_owned(),
            [host] => format!("host {}", spend::name(host)),
            [host, ..] => format!("{} hosts, {} and others", hosts.len(), spend::name(host)),
        };
        let so_far = if is_over.0 { "" } else { " so far" };
        let panels = if now.is_empty() {
            vec![Panel {
                title: "Nothing recorded".to_owned(),
                subject: None,
                words: format!(
                    "The ledger holds no call of {}. Choose another month with --month.",
                    now.name
                ),
                charts: Vec::new(),
                grids: Vec::new(),
            }]
        } else {
            vec![
                shares(now),
                agentic(now),
                rates(now, before),
                lengths(now),
                cached(now, before),
                movement(now, before),
            ]
        };
        Self {
            title: format!("Production index {}{so_far}", now.name),
            subtitle: format!("{place} · against {}", before.name),
            headline: if now.is_empty() {
                Vec::new()
            } else {
                headline(now, before)
            },
            panels,
            rests_on,
        }
    }
}

fn headline(now: &Month, before: &Month) -> Vec<[String; 3]> {
    let (new, old) = (now.sum(), before.sum());
    let was = |relative: Option<String>| match relative {
        Some(relative) if !before.is_empty() => relative,
        _ => "no month before".to_owned(),
    };
    let change = |old: u64, new: u64| was(spend::relative(i128::from(old), i128::from(new)));
    let agentic = [now.agentic(), before.agentic()];
    let of_spend = |part: &Used, all: &Used| basis_points(part.spend(), all.spend());
    let of_cache = |used: &Used| basis_points(used.read, used.context);
    let [agentic_now, agentic_before] = &agentic;
    let moved = |old: i128, new: i128| was((!before.is_empty()).then(|| points(old, new)));
    vec![
        [
            "Spend".to_owned(),
            money(&new),
            change(old.spend(), new.spend()),
        ],
        [
            "Tokens".to_owned(),
            text::count(new.tokens()),
            change(old.tokens(), new.tokens()),
        ],
        [
            "Cost per million tokens".to_owned(),
            rate(&new),
            was(old
                .per_mtok()
                .zip(new.per_mtok())
                .and_then(|(old, new)| spend::relative(i128::from(old), i128::from(new)))),
        ],
        [
            "Agentic share of spend".to_owned(),
            share(agentic_now.spend(), new.spend()),
            moved(of_spend(agentic_before, &old), of_spend(agentic_now, &new)),
        ],
        [
            "Cached share of input".to_owned(),
            share(new.read, new.context),
            moved(of_cache(&old), of_cache(&new)),
        ],
    ]
}

/// The first [`ROWS`], and what becomes of the others in a row.
fn first_rows(groups: Vec<(String, Used)>, all: &Used) -> Vec<(String, u64, u64, Option<Used>)> {
    let mut rows: Vec<_> = groups
        .iter()
        .take(ROWS)
        .map(|(name, used)| (name.clone(), used.spend(), used.tokens(), Some(*used)))
        .collect();
    let rest = groups.len().saturating_sub(ROWS);
    if rest > 0 {
        let spend: u64 = rows.iter().map(|row| row.1).sum();
        let tokens: u64 = rows.iter().map(|row| row.2).sum();
        rows.push((
            format!("{rest} others"),
            all.spend().saturating_sub(spend),
            all.tokens().saturating_sub(tokens),
            None,
        ));
    }
    rows
}

fn shares(now: &Month) -> Panel {
    let all = now.sum();
    let mut charts = Vec::new();
    let mut grids = Vec::new();
    for (what, by) in [("Provider", By::Provider), ("Model", By::Model)] {
        let rows = first_rows(now.by(by), &all);
        charts.push(Chart {
            title: format!("Share by {}", what.to_lowercase()),
            series: strings(&["spend", "tokens"]),
            is_stacked: false,
            rows: rows
                .iter()
                .map(|(name, spend, tokens, _)| Row {
                    name: name.clone(),
                    bars: vec![bar(*spend, all.spend()), bar(*tokens, all.tokens())],
                })
                .collect(),
        });
        grids.push(Grid {
            caption: format!("Spend and tokens by {}", what.to_lowercase()),
            heads: strings(&[what, "Spend", "Of spend", "Tokens", "Of tokens"]),
            rows: rows
                .into_iter()
                .map(|(name, spend, tokens, used)| {
                    let money = used.map_or_else(|| text::money(spend), |used| money(&used));
                    let (of_spend, of_tokens) =
                        (share(spend, all.spend()), share(tokens, all.tokens()));
                    vec![name, money, of_spend, text::count(tokens), of_tokens]
                })
                .collect(),
        });
    }
    let models = now.by(By::Model);
    let first = models.first();
    let words = first.map_or_else(String::new, |(_, used)| {
        format!(
            "has the largest share of spend: {}, with {} of the tokens.",
            share(used.spend(), all.spend()),
            share(used.tokens(), all.tokens())
        )
    });
    Panel {
        title: "Who serves it".to_owned(),
        subject: first.map(|(name, _)| name.clone()),
        words,
        charts,
        grids,
    }
}

fn agentic(now: &Month) -> Panel {
    let (all, with) = (now.sum(), now.agentic());
    let of = [
        ("requests", with.requests, all.requests),
        ("tokens", with.tokens(), all.tokens()),
        ("spend", with.spend(), all.spend()),
    ];
    let amount = |name: &str, amount: u64| match name {
        "spend" => text::money(amount),
        _ => text::count(amount),
    };
    Panel {
        title: "How much of it is agentic".to_owned(),
        subject: None,
        words: format!(
            "Replies that ask for a tool are {} of requests, {} of tokens and {} of spend.",
            share(with.requests, all.requests),
            share(with.tokens(), all.tokens()),
            share(with.spend(), all.spend())
        ),
        charts: vec![Chart {
            title: "Share of replies that ask for a tool".to_owned(),
            series: strings(&["with a tool", "without"]),
            is_stacked: true,
            rows: of
                .iter()
                .map(|(name, part, whole)| Row {
                    name: (*name).to_owned(),
                    bars: vec![bar(*part, *whole), bar(whole.saturating_sub(*part), *whole)],
                })
                .collect(),
        }],
        grids: vec![Grid {
            caption: "Replies that ask for a tool".to_owned(),
            heads: strings(&["Of", "With a tool", "Without", "Share"]),
            rows: of
                .iter()
                .map(|(name, part, whole)| {
                    vec![
                        (*name).to_owned(),
                        amount(name, *part),
                        amount(name, whole.saturating_sub(*part)),
                        share(*part, *whole),
                    ]
                })
                .collect(),
        }],
    }
}

fn rates(now: &Month, before: &Month) -> Panel {
    let mut rows = vec![Moved {
        name: "all (blended)".to_owned(),
        before: (!before.is_empty()).then(|| (0, before.sum())),
        now: Some((0, now.sum())),
    }];
    let tasks = moved(now, before, By::Task);
    rows.extend(tasks.into_iter().filter(|task| task.now.is_some()));
    rows.truncate(ROWS + 1);
    let per_mtok = |side: &Option<(usize, Used)>| side.and_then(|(_, used)| used.per_mtok());
    let most = rows
        .iter()
        .flat_map(|row| [per_mtok(&row.now), per_mtok(&row.before)])
        .flatten()
        .max()
        .unwrap_or(0);
    let bar = |rate: Option<u64>| Bar {
        basis_points: basis_points(rate.unwrap_or(0), most),
        text: rate.map_or_else(|| UNKNOWN.to_owned(), text::money),
    };
    Panel {
        title: "What a million tokens cost".to_owned(),
        subject: None,
        words: format!(
            "A million tokens of any kind, cached ones included, cost {} on average ({} in {}).",
            rate(&now.sum()),
            rate(&before.sum()),
            before.name
        ),
        charts: vec![Chart {
            title: "Cost per million tokens by kind of work".to_owned(),
            series: vec![now.name.clone(), before.name.clone()],
            is_stacked: false,
            rows: rows
                .iter()
                .map(|row| Row {
                    name: row.name.clone(),
                    bars: vec![bar(per_mtok(&row.now)), bar(per_mtok(&row.before))],
                })
                .collect(),
        }],
        grids: vec![Grid {
            caption: "Cost per million tokens".to_owned(),
            heads: strings(&["Kind of work", "Now", "Before", "Change", "Tokens"]),
            rows: rows
                .iter()
                .map(|row| {
                    let tokens = row.now.map_or(0, |(_, used)| used.tokens());
                    let shown =
                        |rate: Option<u64>| rate.map_or_else(|| UNKNOWN.to_owned(), text::money);
                    let (new, old) = (per_mtok(&row.now), per_mtok(&row.before));
                    vec![
                        row.name.clone(),
                        shown(new),
                        shown(old),
                        rate_moved(old, new),
                        text::count(tokens),
                    ]
                })
                .collect(),
        }],
    }
}

fn lengths(now: &Month) -> Panel {
    let buckets = &now.lengths;
    let spent: u64 = buckets.iter().map(|bucket| bucket.cost_nanousd).sum();
    let sessions: u64 = buckets.iter().map(|bucket| bucket.sessions).sum();
    let dearest = buckets.iter().max_by_key(|bucket| bucket.cost_nanousd);
    let words = dearest.map_or_else(String::new, |bucket| {
        format!(
            "Sessions of {} {} are {} of all and {} of spend.",
            bucket.calls,
            if bucket.calls == "1" { "call" } else { "calls" },
            share(bucket.sessions, sessions),
            share(bucket.cost_nanousd, spent)
        )
    });
    Panel {
        title: "How long the sessions are that cost".to_owned(),
        subject: None,
        words,
        charts: vec![Chart {
            title: "Spend and sessions by calls of a session".to_owned(),
            series: strings(&["spend", "sessions"]),
            is_stacked: false,
            rows: buckets
                .iter()
                .map(|bucket| Row {
                    name: bucket.calls.clone(),
                    bars: vec![
                        bar(bucket.cost_nanousd, spent),
                        bar(bucket.sessions, sessions),
                    ],
                })
                .collect(),
        }],
        grids: vec![Grid {
            caption: "Spend by length of sessions".to_owned(),
            heads: strings(&[
                "Calls", "Sessions", "Requests", "Tokens", "Spend", "Of spend",
            ]),
            rows: buckets
                .iter()
                .map(|bucket| {
                    vec![
                        bucket.calls.clone(),
                        text::count(bucket.sessions),
                        text::count(bucket.requests),
                        text::count(bucket.tokens),
                        text::money(bucket.cost_nanousd),
                        share(bucket.cost_nanousd, spent),
                    ]
                })
                .collect(),
        }],
    }
}

fn cached(now: &Month, before: &Month) -> Panel {
    let all = now.sum();
    let mut rows = vec![(now.name.clone(), all)];
    if !before.is_empty() {
        rows.push((before.name.clone(), before.sum()));
    }
    let models = now.by(By::Model);
    rows.extend(models.into_iter().take(ROWS));
    let cells =
        |used: &Used| [used.read, used.written, used.uncached].map(|part| bar(part, used.context));
    Panel {
        title: "How much of the input is cached".to_owned(),
        subject: None,
        words: format!(
            "{} of the input was read from a cache, {} was written to one.",
            share(all.read, all.context),
            share(all.written, all.context)
        ),
        charts: vec![Chart {
            title: "Input by cache, both months and the dearest models".to_owned(),
            series: strings(&["read", "written", "uncached"]),
            is_stacked: true,
            rows: rows
                .iter()
                .map(|(name, used)| Row {
                    name: name.clone(),
                    bars: cells(used).into(),
                })
                .collect(),
        }],
        grids: vec![Grid {
            caption: "Input by cache".to_owned(),
            heads: strings(&["Of", "Input", "Read", "Written", "Uncached"]),
            rows: rows
                .iter()
                .map(|(name, used)| {
                    let mut row = vec![name.clone(), text::count(used.context)];
                    row.extend(cells(used).map(|bar| bar.text));
                    row
                })
                .collect(),
        }],
    }
}

fn movement(now: &Month, before: &Month) -> Panel {
    let (new, old) = (now.sum(), before.sum());
    let title = format!("What moved since {}", before.name);
    if before.is_empty() {
        return Panel {
            title,
            subject: None,
            words: format!("The ledger holds no call of {}.", before.name),
            charts: Vec::new(),
            grids: Vec::new(),
        };
    }
    let mut models = moved(now, before, By::Model);
    let of_spend = |side: &Option<(usize, Used)>, all: &Used| {
        side.map_or(0, |(_, used)| basis_points(used.spend(), all.spend()))
    };
    let shift = |row: &Moved| of_spend(&row.now, &new) - of_spend(&row.before, &old);
    models.sort_by_key(|row| std::cmp::Reverse(shift(row).abs()));
    models.truncate(ROWS);
    let words = models.first().map_or_else(String::new, |row| {
        format!(
            "moved most: {} of spend.",
            points(of_spend(&row.before, &old), of_spend(&row.now, &new))
        )
    });
    let bar = |side: &Option<(usize, Used)>, all: &Used| {
        let spend = side.map_or(0, |(_, used)| used.spend());
        bar(spend, all.spend())
    };
    let rank = |side: &Option<(usize, Used)>| {
        side.map_or_else(|| UNKNOWN.to_owned(), |(rank, _)| rank.to_string())
    };
    let per_mtok = |side: &Option<(usize, Used)>| side.and_then(|(_, used)| used.per_mtok());
    Panel {
        title,
        subject: models.first().map(|row| row.name.clone()),
        words,
        charts: vec![Chart {
            title: "Share of spend by model, now and before".to_owned(),
            series: vec![now.name.clone(), before.name.clone()],
            is_stacked: false,
            rows: models
                .iter()
                .map(|row| Row {
                    name: row.name.clone(),
                    bars: vec![bar(&row.now, &new), bar(&row.before, &old)],
                })
                .collect(),
        }],
        grids: vec![Grid {
            caption: "Models by how their share of spend moved".to_owned(),
            heads: strings(&["Model", "Before", "Now", "Moved", "Rank", "Cost/token"]),
            rows: models
                .iter()
                .map(|row| {
                    vec![
                        row.name.clone(),
                        bar(&row.before, &old).text,
                        bar(&row.now, &new).text,
                        points(of_spend(&row.before, &old), of_spend(&row.now, &new)),
                        format!("{} → {}", rank(&row.before), rank(&row.now)),
                        rate_moved(per_mtok(&row.before), per_mtok(&row.now)),
                    ]
                })
                .collect(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_moves_by_points_and_not_by_per_cent() {
        assert_eq!(points(3_100, 4_400), "+13.0 pts");
        assert_eq!(points(4_400, 4_396), "−0.0 pts");
        assert_eq!(points(500, 500), "±0.0 pts");
        assert_eq!(basis_points(1, 3), 3_333);
        assert_eq!(basis_points(u64::MAX, 1), i128::from(u64::MAX) * 10_000);
        assert_eq!(basis_points(1, 0), 0);
    }
}
