//! Heads in, limits out.

use proptest::prelude::*;

use super::book::LIMITS;
use super::*;
use crate::http::Headers;
use crate::llm::tests::{at, headers};

fn told(status: u16, fields: &[(&'static str, &str)]) -> Vec<Limit> {
    limits(&ResponseHead {
        status,
        headers: headers(fields),
    })
}

const fn limit(name: &'static str) -> Limit {
    Limit::named(name, None)
}

const fn share(millionths: u32) -> Option<Share> {
    Some(Share::of_millionths(millionths))
}

const fn at_unix(seconds: i64) -> Option<Reset> {
    Some(Reset::At {
        unix_ms: seconds * 1_000,
    })
}

const fn after(ms: u64) -> Option<Reset> {
    Some(Reset::After { ms })
}

#[test]
fn the_http_stage_passes_the_fields_that_are_read_and_no_others() {
    let mut passed = Headers::default();
    for name in forms::names() {
        passed.push(name, "1".to_owned());
    }
    let passed: Vec<&str> = passed.limits().map(|(name, _)| name).collect();
    assert_eq!(passed, forms::names());
    assert_eq!(passed.len(), crate::http::limit_fields());
}

#[test]
fn plans_of_claude_have_windows() {
    assert_eq!(
        told(
            200,
            &[
                ("anthropic-ratelimit-unified-5h-status", "allowed_warning"),
                ("anthropic-ratelimit-unified-5h-utilization", "0.634"),
                ("anthropic-ratelimit-unified-5h-reset", "1790000000"),
                ("anthropic-ratelimit-unified-7d-utilization", "1e-05"),
                ("anthropic-ratelimit-unified-7d_sonnet-status", "rejected"),
                ("anthropic-ratelimit-unified-overage-status", "rejected"),
                ("anthropic-ratelimit-unified-overage-utilization", "1.25"),
            ]
        ),
        [
            Limit {
                window_seconds: Some(18_000),
                used: share(634_000),
                resets: at_unix(1_790_000_000),
                ..limit("unified-5h")
            },
            Limit {
                window_seconds: Some(604_800),
                used: share(10),
                ..limit("unified-7d")
            },
            Limit {
                window_seconds: Some(604_800),
                used: share(1_000_000),
                ..limit("unified-7d_sonnet")
            },
            Limit {
                used: share(1_250_000),
                ..limit("unified-overage")
            },
        ]
    );
}

#[test]
fn keys_of_anthropic_have_counts_and_dates() {
    assert_eq!(
        told(
            200,
            &[
                ("anthropic-ratelimit-requests-limit", "4000"),
                ("anthropic-ratelimit-requests-remaining", "3999"),
                ("anthropic-ratelimit-requests-reset", "2026-11-01T15:04:12Z"),
                ("anthropic-ratelimit-input-tokens-limit", "2000000"),
                ("anthropic-ratelimit-input-tokens-remaining", "0"),
                ("anthropic-fast-output-tokens-limit", "0"),
            ]
        ),
        [
            Limit {
                used: share(250),
                limit: Some(4_000),
                remaining: Some(3_999),
                resets: at_unix(1_793_545_452),
                ..limit("requests")
            },
            Limit {
                used: share(1_000_000),
                limit: Some(2_000_000),
                remaining: Some(0),
                ..limit("input-tokens")
            },
            // A limit of nothing has no share that is used.
            Limit {
                limit: Some(0),
                ..limit("fast-output-tokens")
            },
        ]
    );
}

#[test]
fn openai_and_groq_count_with_times_from_now() {
    assert_eq!(
        told(
            200,
            &[
                ("x-ratelimit-limit-requests", "10000"),
                ("x-ratelimit-remaining-requests", "9999"),
                ("x-ratelimit-reset-requests", "8.64s"),
                ("x-ratelimit-limit-tokens", "200000"),
                ("x-ratelimit-remaining-tokens", "150000"),
                ("x-ratelimit-reset-tokens", "6m0s"),
                ("x-ratelimit-remaining-project-tokens", "7"),
            ]
        ),
        [
            Limit {
                used: share(100),
                limit: Some(10_000),
                remaining: Some(9_999),
                resets: after(8_640),
                ..limit("requests")
            },
            Limit {
                used: share(250_000),
                limit: Some(200_000),
                remaining: Some(150_000),
                resets: after(360_000),
                ..limit("tokens")
            },
            Limit {
                remaining: Some(7),
                ..limit("project-tokens")
            },
        ]
    );
}

#[test]
fn azure_says_the_time_that_a_limit_is_for() {
    assert_eq!(
        told(
            200,
            &[
                ("x-ratelimit-limit-tokens", "250000"),
                ("x-ratelimit-remaining-tokens", "249993"),
                ("x-ratelimit-renewalperiod-tokens", "60"),
                ("x-ratelimit-reset-tokens", "1"),
            ]
        ),
        [Limit {
            window_seconds: Some(60),
            used: share(28),
            limit: Some(250_000),
            remaining: Some(249_993),
            resets: after(1_000),
            ..limit("tokens")
        }]
    );
}

#[test]
fn mistral_and_cerebras_name_the_time_in_the_field() {
    assert_eq!(
        told(
            200,
            &[
                ("x-ratelimit-limit-req-minute", "50"),
                ("x-ratelimit-remaining-req-minute", "49"),
                ("x-ratelimit-limit-tokens-day", "1000000"),
                ("x-ratelimit-reset-tokens-day", "33011.382867"),
                ("x-ratelimitbysize-limit-minute", "500000"),
                ("x-ratelimitbysize-remaining-minute", "499000"),
                ("ratelimitbysize-reset", "54"),
            ]
        ),
        [
            Limit {
                window_seconds: Some(86_400),
                limit: Some(1_000_000),
                resets: after(33_011_382),
                ..limit("tokens-day")
            },
            Limit {
                window_seconds: Some(60),
                used: share(20_000),
                limit: Some(50),
                remaining: Some(49),
                ..limit("requests-minute")
            },
            Limit {
                window_seconds: Some(60),
                used: share(2_000),
                limit: Some(500_000),
                remaining: Some(499_000),
                resets: after(54_000),
                ..limit("size-minute")
            },
        ]
    );
}

#[test]
fn openrouter_counts_to_a_moment_in_milliseconds() {
    assert_eq!(
        told(
            429,
            &[
                ("x-ratelimit-limit", "20"),
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset", "1790000040000"),
            ]
        ),
        [Limit {
            used: share(1_000_000),
            limit: Some(20),
            remaining: Some(0),
            resets: at_unix(1_790_000_040),
            ..limit("requests")
        }]
    );
}

#[test]
fn plans_of_chatgpt_have_two_windows() {
    assert_eq!(
        told(
            200,
            &[
                ("x-codex-primary-used-percent", "12.5"),
                ("x-codex-primary-window-minutes", "300"),
                ("x-codex-primary-reset-at", "1790607587"),
                ("x-codex-primary-reset-after-seconds", "17940"),
                ("x-codex-secondary-used-percent", "100"),
                ("x-codex-secondary-window-minutes", "10080"),
                ("x-codex-secondary-reset-after-seconds", "68891"),
            ]
        ),
        [
            Limit {
                window_seconds: Some(18_000),
                used: share(125_000),
                resets: at_unix(1_790_607_587),
                ..limit("codex-primary")
            },
            Limit {
                window_seconds: Some(604_800),
                used: share(1_000_000),
                resets: after(68_891_000),
                ..limit("codex-secondary")
            },
        ]
    );
}

#[test]
fn github_copilot_says_what_is_left_in_per_cent() {
    assert_eq!(
        told(
            200,
            &[
                (
                    "x-quota-snapshot-premium_interactions",
                    "ent=1500&ov=0.0&ovPerm=false&rem=31.3&rst=2026-04-01T00%3A00%3A00Z",
                ),
                (
                    "x-quota-snapshot-premium_models",
                    "ent=300&ov=30&ovPerm=true&rem=0.0",
                ),
                ("x-quota-snapshot-chat", "ent=-1&ov=0.0&rem=100.0"),
                ("x-quota-snapshot-completions", "nonsense"),
                ("x-usage-ratelimit-weekly", "ent=200&rem=89.0"),
            ]
        ),
        [
            Limit {
                used: share(687_000),
                limit: Some(1_500),
                resets: at_unix(1_775_001_600),
                ..limit("premium_interactions")
            },
            Limit {
                used: share(1_100_000),
                limit: Some(300),
                ..limit("premium_models")
            },
            Limit {
                window_seconds: Some(604_800),
                used: share(110_000),
                limit: Some(200),
                ..limit("weekly")
            },
        ]
    );
}

#[test]
fn the_drafts_of_the_ietf_are_read() {
    let burst = Limit {
        window_seconds: Some(60),
        used: share(500_000),
        limit: Some(100),
        remaining: Some(50),
        resets: after(30_000),
        ..limit("ratelimit")
    };
    assert_eq!(
        told(
            200,
            &[
                (
                    "ratelimit-policy",
                    "\"daily\";q=1000;w=86400, \"burst\"; q=100; w=60; pk=:AA==:",
                ),
                ("ratelimit", "\"burst\";r=50;t=30, \"daily\";r=900"),
            ]
        ),
        [
            burst,
            Limit {
                window_seconds: Some(86_400),
                used: share(100_000),
                limit: Some(1_000),
                remaining: Some(900),
                ..limit("ratelimit-2")
            },
        ]
    );
    assert_eq!(
        told(
            200,
            &[
                ("ratelimit-policy", "100;w=60"),
                ("ratelimit", "limit=100, remaining=50, reset=30"),
            ]
        ),
        [burst]
    );
    assert_eq!(
        told(
            200,
            &[
                ("ratelimit-limit", "100"),
                ("ratelimit-remaining", "50"),
                ("ratelimit-reset", "30"),
            ]
        ),
        [Limit {
            window_seconds: None,
            ..burst
        }]
    );
}

#[test]
fn a_refused_request_says_when_to_come_again() {
    let refused = Limit {
        resets: after(7_660),
        ..limit("retry-after")
    };
    assert_eq!(told(429, &[("retry-after", "7.66")]), [refused]);
    // A server that is overloaded says the same of itself.
    assert_eq!(told(503, &[("retry-after", "7.66")]), []);
    assert_eq!(
        told(429, &[("retry-after", "Thu, 08 Oct 2026 19:00:00 GMT")]),
        [Limit {
            resets: at_unix(1_791_486_000),
            ..limit("retry-after")
        }]
    );
}

#[test]
fn nonsense_is_unknown_and_what_says_nothing_is_no_limit() {
    for value in [
        "",
        " ",
        "-1",
        "1e3",
        "NaN",
        "inf",
        "99999999999999999999",
        "1000000000000001",
        "12 000",
        "0x10",
        "١",
        "1.2.3",
        "null",
    ] {
        assert_eq!(
            told(200, &[("x-ratelimit-limit-tokens", value)]),
            [],
            "{value}"
        );
    }
    for value in ["", "NaN", "inf", "-0.1", "1001", "0,5", "1e999", "half"] {
        assert_eq!(
            told(
                200,
                &[("anthropic-ratelimit-unified-5h-utilization", value)]
            ),
            [],
            "{value}"
        );
    }
    for value in [
        "",
        "soon",
        "-5",
        "5x",
        "5m3",
        "s",
        "1h2h3h4h5h6h7h",
        "2026-13-01T00:00:00Z",
        "2026-01-01T00:00:00",
        "99999999999999999s",
        "Someday, 08 Oct 2026",
    ] {
        assert_eq!(
            told(200, &[("x-ratelimit-reset-tokens", value)]),
            [],
            "{value}"
        );
    }
    // More left than there is.
    assert_eq!(
        told(
            200,
            &[
                ("x-ratelimit-limit-tokens", "5"),
                ("x-ratelimit-remaining-tokens", "6")
            ]
        )[0]
        .used,
        None
    );
}

#[test]
fn times_are_read_with_their_units() {
    for (text, ms) in [
        ("0", 0),
        ("1", 1_000),
        ("1.5", 1_500),
        ("20ms", 20),
        ("1s", 1_000),
        ("2m59.56s", 179_560),
        ("1d2h3m4s5ms", 93_784_005),
        ("500us", 0),
        ("1500µs", 1),
        ("7ns", 0),
    ] {
        assert_eq!(field::reset(text), after(ms), "{text}");
    }
    assert_eq!(field::reset("1790000000"), at_unix(1_790_000_000));
    assert_eq!(field::reset("1790000000000"), at_unix(1_790_000_000));
    assert_eq!(
        field::reset("2026-11-01T15:04:12.5+05:30"),
        Some(Reset::At {
            unix_ms: 1_793_525_652_500
        })
    );
}

#[test]
fn a_moment_that_makes_no_sense_beside_the_response_is_none() {
    let now = 1_790_000_000_000;
    let resets = |resets| {
        Limit {
            resets,
            ..limit("requests")
        }
        .resets_unix_ms(now)
    };
    assert_eq!(resets(after(1_000)), Some(now + 1_000));
    assert_eq!(resets(at_unix(1_790_000_060)), Some(now + 60_000));
    // A clock that is late by some minutes.
    assert_eq!(resets(at_unix(1_789_999_000)), Some(now - 1_000_000));
    assert_eq!(resets(at_unix(1_700_000_000)), None);
    assert_eq!(resets(at_unix(1_900_000_000)), None);
    assert_eq!(resets(after(u64::MAX)), None);
    assert_eq!(resets(None), None);
}

#[test]
fn an_account_is_an_id_and_does_not_show() {
    let of = |fields: &[(&'static str, &str)]| Account::of(&headers(fields));
    let account = of(&[
        ("chatgpt-account-id", "canary-1"),
        ("anthropic-organization-id", "canary-2"),
    ])
    .unwrap();
    assert_eq!(account.id(), "canary-2");
    assert!(!format!("{account:?}").contains("canary"));
    for nonsense in ["", "a b", "é", "\u{1b}[31m", &"a".repeat(129)] {
        assert_eq!(
            of(&[("openai-organization", nonsense)]),
            None,
            "{nonsense:?}"
        );
    }
}

/// A limit with so many millionths used, told by a provider to an account.
fn observed(millis: u64, account: &str, millionths: u32) -> Observed {
    Observed {
        at: at(millis),
        provider: Provider("openai"),
        account: Account::new(account),
        limit: Limit {
            used: share(millionths),
            ..limit("tokens")
        },
    }
}

fn take(book: &mut Book, observed: &Observed) -> Vec<Observed> {
    book.take(observed.clone()).collect()
}

#[test]
fn a_limit_is_given_at_once_if_it_is_news_and_else_once_a_minute() {
    let mut book = Book::default();
    let first = observed(0, "a", 100_000);
    assert_eq!(take(&mut book, &first), [first]);
    assert_eq!(book.deadline(), None);
    // A little more is used.
    assert_eq!(take(&mut book, &observed(1_000, "a", 110_000)), []);
    let latest = observed(2_000, "a", 120_000);
    assert_eq!(take(&mut book, &latest), []);
    // Another account is another limit.
    let other = observed(3_000, "b", 100_000);
    assert_eq!(take(&mut book, &other), [other]);
    assert_eq!(book.deadline(), Some(at(60_000)));
    assert_eq!(book.expire(at(59_999)).count(), 0);
    assert_eq!(book.expire(at(60_000)).collect::<Vec<_>>(), [latest]);
    assert_eq!(book.expire(at(200_000)).count(), 0);
    // Much more is.
    let jumped = observed(201_000, "a", 170_000);
    assert_eq!(take(&mut book, &jumped), [jumped]);
    // And once more, before there was time to look at it.
    let soon = observed(202_000, "a", 900_000);
    assert_eq!(take(&mut book, &soon), []);
    let later = observed(206_000, "a", 950_000);
    assert_eq!(take(&mut book, &later), [later]);
    let last = observed(207_000, "a", 951_000);
    assert_eq!(take(&mut book, &last), []);
    assert_eq!(book.finish().collect::<Vec<_>>(), [last]);
    assert_eq!(book.finish().count(), 0);
}

#[test]
fn the_limit_that_was_told_longest_ago_makes_room() {
    let mut book = Book::default();
    for number in 0..LIMITS as u64 {
        let news = observed(number, &number.to_string(), 0);
        assert_eq!(take(&mut book, &news), [news]);
    }
    let waiting = observed(900, "1", 1);
    assert_eq!(take(&mut book, &waiting), []);
    // The first one goes, of which nothing waits; the second one was told since.
    let news = observed(1_000, "new", 0);
    assert_eq!(take(&mut book, &news), [news]);
    assert_eq!(book.len(), LIMITS);
    let again = observed(1_001, "0", 0);
    assert_eq!(take(&mut book, &again), [again]);
    assert_eq!(book.len(), LIMITS);
    assert_eq!(book.finish().collect::<Vec<_>>(), [waiting]);
}

proptest! {
    /// Whatever a server says, its limits are few, named by the table, and each is named once.
    #[test]
    fn limits_are_bounded_whatever_is_sent(
        fields in prop::collection::vec(
            (0..forms::names().len(), "[ -~]{0,40}|[0-9]{1,20}|[0-9.]{1,9}(s|m|ms)|rejected"),
            0..200,
        ),
        status in prop::sample::select(vec![200_u16, 429, 0]),
    ) {
        let names = forms::names();
        let fields: Vec<(&'static str, &str)> = fields
            .iter()
            .map(|(place, value)| (names[*place], value.as_str()))
            .collect();
        let limits = told(status, &fields);
        prop_assert!(limits.len() <= Limit::MOST);
        for (place, limit) in limits.iter().enumerate() {
            prop_assert!(limit.is_told());
            prop_assert!(limits[..place].iter().all(|other| other.name != limit.name));
            prop_assert!(limit.used.is_none_or(|used| used.millionths() <= Share::MOST));
            let now = 1_790_000_000_000_i64;
            let resets = limit.resets_unix_ms(now).unwrap_or(now);
            prop_assert!((-PAST_MS..=FUTURE_MS).contains(&(resets - now)));
        }
    }

    /// However fast it changes, a limit is given once in five seconds at most, and its last word is
    /// never lost.
    #[test]
    fn rows_are_bounded_and_the_last_word_is_given(
        steps in prop::collection::vec((0_u64..20_000, 0_u32..1_000_000), 1..80),
    ) {
        let mut book = Book::default();
        let mut given = Vec::new();
        let mut now = 0;
        for (pause, used) in &steps {
            now += pause;
            given.extend(book.expire(at(now)));
            given.extend(book.take(observed(now, "a", *used)));
        }
        given.extend(book.expire(at(now + 60_000)));
        given.extend(book.finish());
        let last = steps.last().map(|(_, used)| *used).unwrap();
        prop_assert_eq!(given.last(), Some(&observed(now, "a", last)));
        prop_assert!(given.len() as u64 <= now / 5_000 + 3);
    }
}
