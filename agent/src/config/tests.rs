use super::*;

fn parse(text: &str) -> Result<Loaded, Error> {
    Loaded::parse(Path::new("test.toml"), text)
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
    let Err(Error::Mistakes { mistakes, .. }) = parse(text) else {
        panic!("accepted")
    };
    let lines: Vec<String> = mistakes
        .iter()
        .map(|mistake| format!("{}: {}", mistake.key, mistake.problem))
        .collect();
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
            "extra: unknown section; there are daemon, capture, session, privacy",
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
    ] {
        assert_eq!(parse(text).is_ok(), is_right, "{text}");
    }
    let patterns = |count: usize| format!("capture.ignore = {:?}", vec!["x"; count]);
    assert!(parse(&patterns(MAX_IGNORE)).is_ok());
    assert!(parse(&patterns(MAX_IGNORE + 1)).is_err());
}
