//! `bpftok replay`: a recording through the whole line, into a ledger.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::world::Home;

fn corpus(name: &str) -> PathBuf {
    [
        env!("CARGO_MANIFEST_DIR"),
        "../tests/corpus",
        name,
        "recording.bpftok",
    ]
    .iter()
    .collect()
}

#[test]
fn a_recording_gives_its_calls_once_however_often_it_is_replayed() {
    let home = Home::new();
    let recording = corpus("keep-alive-with-a-refused-call")
        .display()
        .to_string();
    let calls = |said: String| {
        let (lines, last) = said.trim_end().rsplit_once('\n').unwrap();
        (lines.lines().count(), last.to_owned())
    };
    let (count, first) = calls(home.run(["replay", &recording]).text());
    assert!(count > 1);
    assert_eq!(
        first,
        format!("{count} calls: {count} new, 0 completed, 0 known already")
    );
    let (again, second) = calls(home.run(["replay", &recording]).text());
    assert_eq!(again, count);
    assert_eq!(
        second,
        format!("{count} calls: 0 new, 0 completed, {count} known already")
    );
    let stored = home.sqlite3("SELECT count(*) FROM v_request").text();
    assert_eq!(stored.trim(), count.to_string());
}

#[test]
fn calls_of_a_recording_have_the_workflows_of_the_rules_in_force() {
    let home = Home::new();
    let config = home.path("config.toml");
    let rules = "[[workflow]]\nname = \"known-client-{client}\"\nmatch = { client = \"curl\" }\n\
                 billing_code = \"CC-1\"\n[[workflow]]\nname = \"rest\"\nmatch = {}\n";
    fs::write(&config, rules).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    let config = config.display().to_string();
    let recording = corpus("curl-gzip").display().to_string();
    let said = home.run(["replay", "--config", &config, &recording]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let stored = home.sqlite3(
        "SELECT DISTINCT client_name, workflow, workflow_origin, billing_code FROM v_request",
    );
    assert_eq!(stored.text(), "curl|known-client-curl|rule|CC-1\n");
}

#[test]
fn what_is_no_recording_is_refused_and_the_ledger_is_not_made() {
    let home = Home::new();
    let whole = fs::read(corpus("curl-gzip")).unwrap();
    let mut other = whole.clone();
    other[17] = 99;
    for (bytes, why) in [
        (b"GIF89a".to_vec(), "this is no recording of bpftok"),
        (
            other,
            "it was made with record layout 99, this program reads 1",
        ),
        (whole[..whole.len() - 1].to_vec(), "it is damaged at byte"),
    ] {
        let path = home.path("file");
        fs::write(&path, bytes).unwrap();
        let refused = home.run(["replay", &path.display().to_string()]);
        assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""));
        assert!(refused.err.contains(why), "{}", refused.err);
        assert!(!home.db().exists());
    }
}
