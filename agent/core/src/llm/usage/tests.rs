use super::*;
use crate::llm::json::Scanner;

/// Counters of a usage object, and how many were refused.
fn read(json: &str) -> (Counts, u32) {
    let mut counts = Counts::default();
    let mut refused = 0;
    Scanner::default().push(json.as_bytes(), &mut |path, value| {
        refused += u32::from(counts.read(path, value));
    });
    (counts, refused)
}

fn openai(json: &str) -> Usage {
    read(json).0.openai()
}

#[test]
fn trap_1_anthropic_input_leaves_the_caches_out() {
    let (counts, refused) = read(
        r#"{"input_tokens":2801,"cache_creation_input_tokens":9348,"cache_read_input_tokens":17,
            "cache_creation":{"ephemeral_5m_input_tokens":9000,"ephemeral_1h_input_tokens":300},
            "output_tokens":25,"output_tokens_details":{"thinking_tokens":5},
            "server_tool_use":{"web_search_requests":3},"service_tier":"standard","iterations":[]}"#,
    );
    let usage = Usage {
        input_uncached: Some(2801),
        cache_read: Some(17),
        cache_write_5m: Some(9000),
        cache_write_1h: Some(300),
        cache_write_other: Some(48),
        output: Some(25),
        reasoning: Some(5),
        ..Usage::default()
    };
    assert_eq!((counts.anthropic(), refused), (usage, 0));
}

#[test]
fn a_cache_write_without_a_split_is_of_unknown_lifetime() {
    let (counts, _) =
        read(r#"{"input_tokens":1,"cache_creation_input_tokens":10,"output_tokens":2}"#);
    let usage = Usage {
        input_uncached: Some(1),
        cache_write_other: Some(10),
        output: Some(2),
        ..Usage::default()
    };
    assert_eq!(counts.anthropic(), usage);
}

#[test]
fn trap_1_openai_input_has_the_caches_in() {
    let chat = r#"{"prompt_tokens":1129,"completion_tokens":87,"total_tokens":1216,
        "prompt_tokens_details":{"cached_tokens":1024,"cache_write_tokens":5,"audio_tokens":null},
        "completion_tokens_details":{"reasoning_tokens":64,"rejected_prediction_tokens":3}}"#;
    let responses = r#"{"input_tokens":1129,"input_tokens_details":{"cached_tokens":1024,"cache_write_tokens":5,
        "cache_write_tokens_details":{"ttl_30m_tokens":5}},
        "output_tokens":87,"output_tokens_details":{"reasoning_tokens":64},"total_tokens":1216}"#;
    let usage = Usage {
        input_uncached: Some(100),
        cache_read: Some(1024),
        cache_write_other: Some(5),
        output: Some(87),
        reasoning: Some(64),
        ..Usage::default()
    };
    assert_eq!([openai(chat), openai(responses)], [usage; 2]);
}

#[test]
fn subtractions_stop_at_zero() {
    let usage = openai(
        r#"{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":9}}"#,
    );
    assert_eq!((usage.input_uncached, usage.cache_read), (Some(0), Some(9)));
}

#[test]
fn trap_5_reasoning_outside_the_output_is_added_where_the_total_says_so() {
    let with_total = |total: u64| {
        openai(&format!(
            r#"{{"prompt_tokens":10,"completion_tokens":5,"total_tokens":{total},
            "completion_tokens_details":{{"reasoning_tokens":4}}}}"#
        ))
    };
    assert_eq!(with_total(19).output, Some(9));
    assert_eq!(with_total(15).output, Some(5));
    assert_eq!(with_total(99).output, Some(5));
}

#[test]
fn a_total_that_nothing_makes_is_noticed() {
    let contradicts = |json: &str| {
        let counts = read(json).0;
        counts.contradicts(&counts.openai())
    };
    for fits in [
        r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}"#,
        r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":19,"completion_tokens_details":{"reasoning_tokens":4}}"#,
        r#"{"input_tokens":10,"output_tokens":5,"total_tokens":15,"input_tokens_details":{"cached_tokens":10}}"#,
        r#"{"prompt_tokens":33,"completion_tokens":7,"total_tokens":40,"citation_tokens":20,"reasoning_tokens":74}"#,
        r#"{"prompt_tokens":10,"completion_tokens":5}"#,
        r#"{"prompt_tokens":10,"total_tokens":10}"#,
        r#"{"input_tokens":10,"output_tokens":5,"cache_read_input_tokens":90,"total_tokens":105}"#,
    ] {
        assert!(!contradicts(fits), "{fits}");
    }
    for not in [
        r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":16}"#,
        r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":0}"#,
        r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":11}}"#,
        r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"completion_tokens_details":{"reasoning_tokens":6}}"#,
    ] {
        assert!(contradicts(not), "{not}");
    }
}

#[test]
fn sound_and_pictures_are_parts_of_the_totals() {
    for json in [
        r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,
            "prompt_tokens_details":{"audio_tokens":13,"image_tokens":20},
            "completion_tokens_details":{"audio_tokens":40,"text_tokens":10}}"#,
        r#"{"input_tokens":100,"output_tokens":50,"total_tokens":150,
            "input_token_details":{"audio_tokens":13,"image_tokens":20,"text_tokens":67,
            "cached_tokens_details":{"audio_tokens":1}},"output_token_details":{"audio_tokens":40}}"#,
    ] {
        let usage = Usage {
            input_uncached: Some(100),
            output: Some(50),
            audio_input: Some(13),
            image_input: Some(20),
            audio_output: Some(40),
            ..Usage::default()
        };
        assert_eq!(openai(json), usage, "{json}");
    }
}

#[test]
fn a_cache_write_for_twelve_hours_is_a_part_of_the_write() {
    let usage = openai(
        r#"{"input_tokens":100,"output_tokens":1,"input_tokens_details":{"cached_tokens":10,"cache_write_tokens":30,
            "cache_write_tokens_details":{"ttl_30m_tokens":10,"ttl_12h_tokens":20}}}"#,
    );
    assert_eq!(
        (
            usage.input_uncached,
            usage.cache_write_other,
            usage.cache_write_12h
        ),
        (Some(60), Some(30), Some(20))
    );
}

#[test]
fn trap_5_perplexitys_citations_and_reasoning_are_beside_its_prompt_and_completion() {
    let (counts, refused) = read(
        r#"{"prompt_tokens":33,"completion_tokens":7163,"total_tokens":7196,"citation_tokens":20016,
            "num_search_queries":18,"reasoning_tokens":73997,
            "cost":{"input_tokens_cost":0.0,"output_tokens_cost":0.057,"total_cost":0.409}}"#,
    );
    let usage = counts.openai();
    assert_eq!(
        (usage.input_uncached, usage.output, usage.reasoning, refused),
        (Some(33 + 20_016), Some(7_163 + 73_997), Some(73_997), 0)
    );
    assert_eq!(counts.units().web_searches, Some(18));
    assert_eq!(counts.reported_cost(), Some(409_000_000));
}

#[test]
fn what_the_provider_says_that_it_costs_is_read_to_the_billionth() {
    for (json, expected) in [
        (r#"{"cost":0.3}"#, Some(300_000_000)),
        (r#"{"cost":0.00023099999999999998}"#, Some(231_000)),
        (
            r#"{"cost":1.5e-5,"is_byok":false,"cost_details":{"upstream_inference_cost":9}}"#,
            Some(15_000),
        ),
        (
            r#"{"cost":0.001,"is_byok":true,"cost_details":{"upstream_inference_cost":0.02}}"#,
            Some(21_000_000),
        ),
        (r#"{"cost_in_usd_ticks":158500}"#, Some(15_850)),
        (r#"{"cost_in_usd_ticks":5}"#, Some(1)),
        (r#"{"estimated_cost":2E-9}"#, Some(2)),
        (r#"{"cost":0}"#, Some(0)),
        (r#"{"cost":0.0}"#, Some(0)),
        (r#"{"cost":1e-99}"#, Some(0)),
        (r#"{"cost":null}"#, None),
        (r#"{"cost":"0.3"}"#, None),
    ] {
        let (counts, refused) = read(json);
        assert_eq!((counts.reported_cost(), refused), (expected, 0), "{json}");
        assert!(counts.is_empty(), "{json}: a cost is no token");
    }
    for odd in [
        "-1",
        "1e6000000000",
        "1e30",
        "1000001",
        "1.2.3",
        "1e",
        ".5",
        "0.1234567890123456789012345678901e3",
    ] {
        let (counts, refused) = read(&format!(r#"{{"cost":{odd}}}"#));
        assert_eq!(
            (counts.reported_cost(), refused == 1 || odd == ".5"),
            (None, true),
            "{odd}"
        );
    }
}

#[test]
fn seconds_of_sound_are_units_and_no_tokens() {
    for (json, expected) in [
        (r#"{"type":"duration","seconds":3}"#, 3),
        (r#"{"type":"duration","seconds":3.01}"#, 4),
        (r#"{"prompt_audio_seconds":0}"#, 0),
    ] {
        let (counts, refused) = read(json);
        assert_eq!(
            (counts.units().unpriced, counts.openai(), refused),
            (Some(expected), Usage::default(), 0),
            "{json}"
        );
    }
}

#[test]
fn deepseek_cache_hits_are_cache_reads() {
    let usage = openai(
        r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":2}"#,
    );
    assert_eq!((usage.input_uncached, usage.cache_read), (Some(2), Some(8)));
}

#[test]
fn anthropic_names_in_an_openai_shape_are_understood() {
    let plain = openai(r#"{"input_tokens":10,"output_tokens":5}"#);
    assert_eq!((plain.input_uncached, plain.output), (Some(10), Some(5)));
    let cached = openai(r#"{"input_tokens":10,"output_tokens":5,"cache_read_input_tokens":90}"#);
    assert_eq!(
        (cached.input_uncached, cached.cache_read),
        (Some(10), Some(90))
    );
}

#[test]
fn null_and_missing_counters_are_unknown_and_not_zero() {
    let (counts, refused) =
        read(r#"{"prompt_tokens":null,"prompt_tokens_details":null,"cost":0.3}"#);
    assert_eq!(
        (counts.is_empty(), counts.openai(), refused),
        (true, Usage::default(), 0)
    );
}

#[test]
fn counters_that_are_no_counts_are_refused_and_counted() {
    let refused = [
        "-1",
        "-0",
        "9223372036854775808",
        "1e308",
        "1e3",
        "3.7",
        "7.0",
        "\"12\"",
        "true",
        "{}",
        "[1]",
        "007",
        "10000001",
        "99999999999999999999999999999999999999999",
    ];
    for text in refused {
        let (counts, refused) = read(&format!(r#"{{"output_tokens":{text}}}"#));
        assert_eq!((counts.is_empty(), refused), (true, 1), "{text}");
    }
    for text in ["0", "10000000"] {
        assert_eq!(
            read(&format!(r#"{{"output_tokens":{text}}}"#)).1,
            0,
            "{text}"
        );
    }
}

#[test]
fn of_two_counters_with_one_name_the_last_counts() {
    assert_eq!(
        read(r#"{"output_tokens":1,"output_tokens":2}"#).0.output,
        Some(2)
    );
}
