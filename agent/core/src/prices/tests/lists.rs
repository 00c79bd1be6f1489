//! What is read of a list, and which of its models is meant.

use super::super::list::time_ms;
use super::*;

#[test]
fn a_model_is_found_by_its_names_its_dates_and_its_provider_and_by_nothing_else() {
    let list = List::bundled();
    let found = |provider, name| {
        list.find(provider, name)
            .map(|(whose, model)| format!("{whose}/{}", model.id))
    };
    for (provider, name, expected) in [
        (
            "anthropic",
            "claude-opus-5-5",
            Some("anthropic/claude-opus-5-5"),
        ),
        (
            "anthropic",
            "Claude-Opus-5-5",
            Some("anthropic/claude-opus-5-5"),
        ),
        (
            "anthropic",
            "claude-opus-5-5-20260901",
            Some("anthropic/claude-opus-5-5"),
        ),
        (
            "anthropic",
            "claude-opus-4.7",
            Some("anthropic/claude-opus-4-7"),
        ),
        (
            "anthropic",
            "anthropic/claude-opus-4-7",
            Some("anthropic/claude-opus-4-7"),
        ),
        (
            "google",
            "claude-opus-4-5@20251101",
            Some("google/claude-opus-4-5"),
        ),
        (
            "google",
            "models/gemini-2.5-pro",
            Some("google/gemini-2.5-pro"),
        ),
        (
            "google",
            "publishers/google/models/gemini-2.5-pro",
            Some("google/gemini-2.5-pro"),
        ),
        ("openai", "gpt-4o-2024-08-06", Some("openai/gpt-4o")),
        (
            "openai",
            "gpt-5.6-sol-2026-07-09",
            Some("openai/gpt-5.6-sol"),
        ),
        (
            "openai",
            "ft:gpt-4o-2024-08-06:org::id",
            Some("openai/ft:gpt-4o"),
        ),
        ("azure", "gpt-5.5-2026-04-23", Some("openai/gpt-5.5")),
        (
            "vercel",
            "anthropic/claude-opus-4.7",
            Some("anthropic/claude-opus-4-7"),
        ),
        ("vercel", "claude-opus-4.7", None),
        (
            "openrouter",
            "anthropic/claude-opus-4.7",
            Some("openrouter/anthropic/claude-opus-4.7"),
        ),
        (
            "copilot",
            "claude-opus-4.7",
            Some("github-copilot/claude-opus-4.7"),
        ),
        (
            "fireworks",
            "accounts/fireworks/models/glm-4p7",
            Some("fireworks/glm-4p7"),
        ),
        (
            "bedrock",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            Some("aws/regional.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ),
        (
            "bedrock",
            "global.anthropic.claude-opus-4-5-20251101-v1:0",
            Some("aws/global.anthropic.claude-opus-4-5-v1:0"),
        ),
        (
            "bedrock",
            "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.anthropic.claude-opus-5-5-v1:0",
            Some("aws/regional.anthropic.claude-opus-5-5"),
        ),
        (
            "bedrock",
            "us.amazon.nova-lite-v1:0",
            Some("aws/amazon.nova-lite-v1:0"),
        ),
        (
            "bedrock",
            "arn:aws:bedrock:eu-west-1:1:application-inference-profile/abc",
            None,
        ),
        // A gateway or a server of one's own sells at its own prices.
        ("other", "claude-opus-4-7", None),
        ("ollama", "gpt-oss-120b", None),
        ("openai", "gpt-5.5-2026-04-23-tuned", None),
        ("openai", "gpt-5.5x", None),
        ("openai", "", None),
        ("anthropic", "claude-opus-4-7-2026", None),
    ] {
        assert_eq!(
            found(provider, name).as_deref(),
            expected,
            "{provider} {name}"
        );
    }
}

#[test]
fn prices_that_differ_have_different_keys_and_a_key_is_short() {
    let usage = tokens(1, 1);
    let key = |used: &Billable<'_>, prices: &Prices| prices.cost(used).price.unwrap().key.clone();
    let sonnet = used("anthropic", "claude-sonnet-4-6", &usage);
    let earlier = Billable {
        completed_ms: day("2026-03-12"),
        ..sonnet
    };
    let later_list = {
        let mut list = List::bundled();
        list.about.version = Arc::from("0.2.2");
        Prices::new(list, Vec::new())
    };
    let keys = [
        key(&sonnet, &bundled()),
        key(&earlier, &bundled()),
        key(&sonnet, &later_list),
    ];
    assert_eq!(key(&sonnet, &bundled()), keys[0]);
    assert!(
        keys[0].starts_with("anthropic/claude-sonnet-4-6#"),
        "{}",
        keys[0]
    );
    let mut distinct = keys.to_vec();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), keys.len());
    let long = "é".repeat(10_000);
    let any = Override {
        model: "*".to_owned(),
        price: Own::Rates(Rates {
            input_uncached: Some(1),
            ..Rates::default()
        }),
        ..Override::default()
    };
    let prices = Prices::new(List::default(), vec![any]);
    assert!(key(&used(&long, &long, &usage), &prices).len() <= 256);
}

#[test]
fn days_and_times_are_read_as_they_are_written_and_nothing_else_is() {
    for (text, expected) in [
        ("1970-01-01", Some(0)),
        ("2000-02-29", Some(951_782_400_000)),
        ("2026-03-13", Some(1_773_360_000_000)),
        ("2026-13-01", None),
        ("2026-3-1", None),
        ("2026-03-13T00", None),
        ("-026-03-13", None),
        ("", None),
    ] {
        assert_eq!(day_ms(text), expected, "{text}");
    }
    for (text, expected) in [
        ("00:30:00Z", Some(1_800_000)),
        ("23:59:59Z", Some(86_399_000)),
        ("24:00:00Z", None),
        ("00:30:00", None),
        ("00:30Z", None),
    ] {
        assert_eq!(time_ms(text), expected, "{text}");
    }
}

#[test]
fn a_list_that_is_none_is_refused_and_a_model_that_is_not_understood_is_left_out() {
    let read = |text: &str| List::from_json(text, About::default());
    for text in [
        "",
        "{}",
        "[1]",
        r#"[{"id":"a"}]"#,
        "[]",
        r#"[{"id":"a","models":[]}]"#,
    ] {
        assert!(read(text).is_err(), "{text}");
    }
    let deep = "[".repeat(100_000);
    assert!(read(&deep).is_err());
    let model = |id: &str, prices: &str| {
        format!(r#"{{"id":"{id}","match":{{"equals":"{id}"}},"prices":{prices}}}"#)
    };
    let list = read(&format!(
        r#"[{{"id":"a","models":[{},{},{},{},{},{}]}}]"#,
        model("good", r#"{"input_mtok":0.1,"words_kcount":1}"#),
        model("negative", r#"{"input_mtok":-1}"#),
        model("absurd", r#"{"input_mtok":1e300}"#),
        model("apart", r#"{"input_mtok":1,"output_reasoning_mtok":3}"#),
        model("nothing", "{}"),
        model(
            "moon",
            r#"[{"constraint":{"start_date":"soon"},"prices":{"input_mtok":1}}]"#
        ),
    ))
    .unwrap();
    assert_eq!(list.left_out, 5);
    let (_, good) = list.find("a", "good").unwrap();
    // A tenth has no binary fraction: the digits count.
    assert_eq!(good.standard[0].base.input_uncached, Some(100_000_000));
}

#[test]
fn the_bundled_list_is_read_whole_but_for_what_has_no_column() {
    let list = List::bundled();
    let models: usize = list
        .providers
        .values()
        .map(|models| models.iter().count())
        .sum();
    assert_eq!(
        (list.providers.len(), models, list.left_out),
        (47, 2_061, 206)
    );
    assert_eq!(list.about.as_of_ms, Some(day("2026-10-30")));
}

#[test]
fn the_window_of_a_model_is_known_where_the_list_says_it() {
    let window = |provider: &str, model: &str| bundled().window_tokens(provider, model);
    assert_eq!(
        window("anthropic", "claude-sonnet-4-5-20250929"),
        Some(200_000)
    );
    assert_eq!(window("anthropic", "claude-opus-5-5"), Some(1_000_000));
    assert_eq!(window("google", "gemini-2.5-pro"), None);
    assert_eq!(window("ollama", "anything"), None);
}
