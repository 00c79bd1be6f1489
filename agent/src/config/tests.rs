use agent_core::prices::{Override, Own, Rates};

use super::*;

pub(super) fn parse(text: &str) -> Result<Loaded, Error> {
    Loaded::parse(Path::new("test.toml"), text)
}

/// What is said of a configuration that is refused, a line each.
pub(super) fn mistakes_of(text: &str) -> Vec<String> {
    let Err(Error::Mistakes { mistakes, .. }) = parse(text) else {
        panic!("accepted {text}")
    };
    mistakes
        .iter()
        .map(|mistake| format!("{}: {}", mistake.key, mistake.problem))
        .collect()
}

#[test]
fn the_default_file_says_what_the_code_says() {
    assert_eq!(parse(DEFAULT_TOML).unwrap().config, Config::default());
    assert_eq!(parse("").unwrap(), Loaded::default());
}

#[test]
fn the_default_file_names_every_key() {
    let loaded = parse(DEFAULT_TOML).unwrap();
    assert_eq!(
        loaded.show().matches("# test.toml").count(),
        loaded.show().matches(" = ").count()
    );
}

#[test]
fn what_is_shown_is_a_configuration_with_the_same_meaning() {
    let text = "[daemon]\ndb = \"/x/\\\"y\\\".db\"\n[capture]\nring_bytes = 65536\nignore = [\"/opt/*\", \"borg\"]\n[privacy]\nstore_argv = \"none\"\n";
    let loaded = parse(text).unwrap();
    assert_eq!(parse(&loaded.show()).unwrap().config, loaded.config);
    assert_eq!(
        loaded.origin("capture.ring_bytes"),
        Origin::File("test.toml".into())
    );
    assert_eq!(loaded.origin("session.idle_minutes"), Origin::Default);
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = r#"
        session = 3
        extra = 1
        [daemon]
        db = "relative.db"
        timezone = "Mars/Olympus"
        [capture]
        ring_bytes = 1000000
        scan_interval_ms = "soon"
        ignore = ["*"]
        ring_size = 1
        [privacy]
        store_cwd = "yes"
        store_argv = "all"
    "#;
    let lines = mistakes_of(text);
    assert_eq!(
        lines,
        [
            "daemon.db: must be an absolute path, as in \"/var/lib/bpftok/usage.db\"",
            "daemon.timezone: \"Mars/Olympus\" is no time zone of this host; use \"local\" or a name as in \"Europe/Berlin\"",
            "capture.ring_bytes: 1000000 is no power of two from 65536 to 268435456",
            "capture.scan_interval_ms: is a string, must be an integer",
            "capture.ignore: has a pattern that leaves everything alone; stop the agent instead",
            "capture.ring_size: unknown key; [capture] has ring_bytes, scan_interval_ms, sockets, self_check_interval_ms, ignore",
            "session: is an integer, must be a section [session]",
            "privacy.store_cwd: is a string, must be true or false",
            "privacy.store_argv: \"all\" is neither \"argv0\" nor \"none\"",
            "extra: unknown section; there are daemon, capture, session, privacy, retention, prices, metrics, otlp, runaway, spike, rules, provider, price, workflow, budget, notify",
        ]
    );
}

#[test]
fn limits_hold_at_their_edges() {
    for (text, is_right) in [
        ("capture.ring_bytes = 65536", true),
        ("capture.ring_bytes = 32768", false),
        ("capture.ring_bytes = 268435456", true),
        ("capture.ring_bytes = 536870912", false),
        ("capture.ring_bytes = -65536", false),
        ("capture.scan_interval_ms = 50", true),
        ("capture.scan_interval_ms = 49", false),
        ("capture.scan_interval_ms = 60000", true),
        ("capture.scan_interval_ms = 60001", false),
        ("capture.self_check_interval_ms = 1000", true),
        ("capture.self_check_interval_ms = 999", false),
        ("capture.self_check_interval_ms = 3600000", true),
        ("capture.self_check_interval_ms = 3600001", false),
        ("session.idle_minutes = 1", true),
        ("session.idle_minutes = 0", false),
        ("session.idle_minutes = 1440", true),
        ("session.idle_minutes = 1441", false),
        ("retention.request_days = 0", true),
        ("retention.request_days = 36500", true),
        ("retention.request_days = 36501", false),
        ("retention.rollup_days = 89", false),
        ("retention.rollup_days = 90", true),
        ("retention = { request_days = 0, rollup_days = 365 }", false),
        ("retention.max_mb = -1", false),
    ] {
        assert_eq!(parse(text).is_ok(), is_right, "{text}");
    }
    let patterns = |count: usize| format!("capture.ignore = {:?}", vec!["x"; count]);
    assert!(parse(&patterns(MAX_IGNORE)).is_ok());
    assert!(parse(&patterns(MAX_IGNORE + 1)).is_err());
}

#[test]
fn providers_are_taken_in_order_and_shown_as_they_are_meant() {
    let text = r#"
        [[provider]]
        name = "gateway"
        hosts = ["LLM.example.com", "*.llm.example.com", "10.0.0.7", "::1"]
        [[provider]]
        name = "team-chat"
        hosts = ["llm.example.com"]
        path = "/team/chat/"
        format = "openai_chat"
    "#;
    let loaded = parse(text).unwrap();
    assert_eq!(
        loaded.config.providers,
        [
            Provider {
                name: "gateway".to_owned(),
                hosts: ["llm.example.com", "*.llm.example.com", "10.0.0.7", "::1"]
                    .map(str::to_owned)
                    .to_vec(),
                path: None,
                format: None,
            },
            Provider {
                name: "team-chat".to_owned(),
                hosts: vec!["llm.example.com".to_owned()],
                path: Some("/team/chat".to_owned()),
                format: Some("openai_chat"),
            },
        ]
    );
    let shown = loaded.show();
    assert_eq!(parse(&shown).unwrap().config, loaded.config);
    assert_eq!(shown.matches("# test.toml").count(), 6);
}

/// The lines of an example in the default file that are keys, from `begin` to `end`.
fn example(begin: &str, end: &str) -> String {
    let (_, example) = DEFAULT_TOML.split_once(begin).unwrap();
    let (example, _) = example.split_once(end).unwrap_or((example, ""));
    let lines = example.lines().map(|line| line.trim_start_matches("# "));
    let is_key = |line: &&str| line.contains(" = ") || line.starts_with("[[");
    lines
        .filter(is_key)
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn the_examples_in_the_default_file_are_right() {
    let keys = example("# [[provider]]\n", "Prices of one's own");
    let loaded = parse(&format!("[[provider]]\n{keys}\n")).unwrap();
    let [provider] = loaded.config.providers.as_slice() else {
        panic!("one entry")
    };
    assert_eq!(provider.show().len(), 4);
    let keys = example("# [[price]]\n", "\0");
    let loaded = parse(&format!("[[price]]\n{keys}\n")).unwrap();
    let shown = loaded.config.own_prices.iter().map(price::show);
    assert_eq!(shown.map(|keys| keys.len()).collect::<Vec<_>>(), [10, 4, 4]);
}

#[test]
fn every_mistake_of_a_provider_names_its_entry_and_the_remedy() {
    let text = r#"
        [[provider]]
        hosts = ["https://llm.example.com/v1", "x"]
        format = "openai_chat"
        [[provider]]
        name = "Other Gateway"
        host = "llm.example.com"
        path = "v1"
        [[provider]]
        name = "other"
        hosts = []
        [[provider]]
        name = "a"
        hosts = ["*.com"]
        [[provider]]
        name = "b"
        hosts = "llm.example.com"
        path = "/v1?x"
        format = "openai"
        [[provider]]
        name = "c"
        hosts = ["llm.example.com:8080"]
        format = "openai_chat"
        [[provider]]
        name = "d"
        hosts = ["llm.example.com"]
        format = "openai_chat"
    "#;
    let lines = mistakes_of(text);
    let host = "is no host; write a name without scheme, port and path, as in \"llm.example.com\" or \"*.llm.example.com\", or an address";
    let path = "must be a path without query and \"*\", as in \"/team/openai\"; it stands for all that is below, so leave it out for all of the host";
    assert_eq!(
        lines,
        [
            format!("provider[1].hosts: \"https://llm.example.com/v1\" {host}"),
            "provider[1].name: is missing; an entry [[provider]] needs a name and hosts".to_owned(),
            "provider[2].name: \"Other Gateway\" is no name; use up to 64 of a-z, 0-9, \"-\", \"_\" and \".\"".to_owned(),
            format!("provider[2].path: {path}"),
            "provider[2].host: unknown key; [[provider]] has name, hosts, path, format".to_owned(),
            "provider[2].hosts: is missing; an entry [[provider]] needs a name and hosts".to_owned(),
            "provider[3].name: \"other\" stands for hosts on no list; choose another name".to_owned(),
            "provider[3].hosts: is empty; name a host, or remove the entry".to_owned(),
            "provider[4].hosts: \"*.com\" stands for too many hosts; two labels at least must be without \"*\"".to_owned(),
            "provider[5].hosts: is a string, must be a list of strings".to_owned(),
            format!("provider[5].path: {path}"),
            "provider[5].format: \"openai\" is none of anthropic_messages, cohere_chat, gemini_generate, ollama_chat, openai_chat, openai_completions, openai_embeddings, openai_responses".to_owned(),
            format!("provider[6].hosts: \"llm.example.com:8080\" {host}"),
            "provider[7].format: needs a path beside it: which requests are in this format".to_owned(),
        ]
    );
    for (text, problem) in [
        (
            "provider = 1",
            "provider: is an integer, must be entries [[provider]]",
        ),
        (
            "provider = [1]",
            "provider[1]: is an integer, must be [[provider]]",
        ),
        (
            "[provider]\nname = \"a\"",
            "provider: is a table, must be entries [[provider]]",
        ),
    ] {
        assert_eq!(mistakes_of(text), [problem]);
    }
}

#[test]
fn providers_their_hosts_and_names_are_limited_at_their_edges() {
    let entries = |count: usize| "[[provider]]\nname = \"a\"\nhosts = [\"a\"]\n".repeat(count);
    let hosts = |count: usize| {
        format!(
            "[[provider]]\nname = \"a\"\nhosts = {:?}\n",
            vec!["a"; count]
        )
    };
    let name = |bytes: usize| {
        format!(
            "[[provider]]\nname = {:?}\nhosts = [\"a\"]\n",
            "a".repeat(bytes)
        )
    };
    for (text, is_right) in [
        (entries(64), true),
        (entries(65), false),
        (hosts(64), true),
        (hosts(65), false),
        (name(64), true),
        (name(65), false),
        (name(0), false),
    ] {
        assert_eq!(parse(&text).is_ok(), is_right, "{text}");
    }
}

#[test]
fn prices_of_ones_own_are_read_to_the_last_digit_and_shown_as_they_are_meant() {
    let text = r#"
        [[price]]
        provider = "gateway"
        model = "acme-*"
        input = 0.1
        cache_read = 0.000000001
        output = 3
        web_search = 10.5
        context_over = 200000
        valid_from = "2026-11-01"
        valid_until = "2026-12-01"
        [[price]]
        model = "*"
        like = "anthropic/claude-opus-5-5"
        factor = 0.855
    "#;
    let loaded = parse(text).unwrap();
    let rates = Rates {
        input_uncached: Some(100_000_000),
        cache_read: Some(1),
        output: Some(3_000_000_000),
        web_search_per_1k: Some(10_500_000_000),
        ..Rates::default()
    };
    let expected = [
        Override {
            provider: Some("gateway".to_owned()),
            model: "acme-*".to_owned(),
            valid_from_ms: Some(1_793_491_200_000),
            valid_until_ms: Some(1_796_083_200_000),
            context_over: Some(200_000),
            price: Own::Rates(rates),
        },
        Override {
            model: "*".to_owned(),
            price: Own::Like {
                provider: Some("anthropic".to_owned()),
                model: Some("claude-opus-5-5".to_owned()),
                milli: 855,
            },
            ..Override::default()
        },
    ];
    assert_eq!(loaded.config.own_prices, expected);
    assert_eq!(parse(&loaded.show()).unwrap().config, loaded.config);
}

#[test]
fn a_price_that_cannot_be_meant_is_refused_with_the_remedy() {
    let text = r#"
        [[price]]
        input = 1
        [[price]]
        model = "m"
        [[price]]
        model = "m"
        input = -1
        output = "cheap"
        [[price]]
        model = "m"
        input = 1
        like = "anthropic"
        [[price]]
        model = "m"
        input = 1
        factor = 2
        [[price]]
        model = "m"
        like = "*"
        factor = 0.0001
        [[price]]
        model = "m"
        input = 1
        ouput = 2
        valid_from = "2026-02-30"
        [[price]]
        model = "m"
        input = 1
        valid_from = "2026-02-02"
        valid_until = "2026-02-02"
    "#;
    let mistakes = mistakes_of(text);
    let begins = [
        "price[1].model: is missing; name the model",
        "price[2]: has no price; say input and output",
        "price[3].input: must be a number of US dollars",
        "price[3].output: is a string, must be a number",
        "price[3]: has no price",
        "price[4].like: stands beside rates",
        "price[5].factor: needs like beside it",
        "price[6].like: \"*\" is no provider",
        "price[6].factor: must be a number from 0 to 1000",
        "price[7].valid_from: \"2026-02-30\" is no day",
        "price[7].ouput: unknown key; [[price]] has provider, model",
        "price[8].valid_until: must be later than valid_from",
    ];
    assert_eq!(mistakes.len(), begins.len(), "{mistakes:#?}");
    for (mistake, begin) in mistakes.iter().zip(begins) {
        assert!(mistake.starts_with(begin), "{mistake}");
    }
}

#[test]
fn rules_are_tuned_and_switched_off_and_shown_as_they_are_meant() {
    let text = r#"
        [runaway]
        session_usd_per_hour = 12.5
        thread_depth = 0
        unattended_minutes = 90
        unattended = ["nightly-*", "triage.service"]
        [spike]
        enabled = false
        min_usd = 3
        [rules]
        price_list = false
        quota_page_percent = 0
        unattributed_usd_per_day = 0
        [prices]
        max_age_days = 10
    "#;
    let loaded = parse(text).unwrap();
    let expected = agent_core::runaway::Settings {
        hour_nanousd: 12_500_000_000,
        thread_depth: 0,
        unattended: Duration::from_secs(90 * 60),
        unattended_names: ["nightly-*", "triage.service"].map(str::to_owned).to_vec(),
        ..Default::default()
    };
    assert_eq!(loaded.config.runaway, expected);
    let expected = agent_core::spike::Settings {
        is_on: false,
        least_nanousd: 3_000_000_000,
        ..Default::default()
    };
    assert_eq!(loaded.config.spike, expected);
    let expected = agent_core::upkeep::Settings {
        price_list_max_age: Duration::ZERO,
        quota_page_percent: 0,
        unattributed_nanousd: 0,
        ..Default::default()
    };
    assert_eq!(loaded.config.rules, expected);
    assert_eq!(parse(&loaded.show()).unwrap().config, loaded.config);
    let younger = parse("prices.max_age_days = 10").unwrap();
    assert_eq!(younger.config.rules.price_list_max_age, DAY * 10);
}

#[test]
fn rules_that_cannot_be_meant_are_refused_with_the_remedy() {
    let text = r#"
        rules = { quota_ticket_percent = 96, error_percent = 101, new_models = 1, x = 1 }
        [runaway]
        repeat_tool_calls = 21
        new_threads = -1
        session_usd = "much"
        session_usd_per_hour = -1
        unattended = [""]
        usd = 1
        [spike]
        min_weighted_tokens = 0.5
    "#;
    let mistakes = mistakes_of(text);
    let begins = [
        "runaway.new_threads: -1 is out of range; 0 to 200 (0 is never) are possible",
        "runaway.repeat_tool_calls: 21 is out of range; 0 to 20 (0 is never) are possible",
        "runaway.session_usd_per_hour: must be a number of US dollars from 0 to 1000000",
        "runaway.session_usd: is a string, must be a number",
        "runaway.unattended: must be of 1 to 256 bytes each",
        "runaway.usd: unknown key; [runaway] has rate_weighted_tokens, parallel_requests",
        "spike.min_weighted_tokens: is a float, must be an integer",
        "rules.error_percent: 101 is out of range; 0 to 100 percent (0 is never) are possible",
        "rules.new_models: is an integer, must be true or false",
        "rules.quota_page_percent: must be no less than quota_ticket_percent",
        "rules.x: unknown key; [rules] has coverage_percent, price_list",
    ];
    assert_eq!(mistakes.len(), begins.len(), "{mistakes:#?}");
    for (mistake, begin) in mistakes.iter().zip(begins) {
        assert!(mistake.starts_with(begin), "{mistake}");
    }
}
