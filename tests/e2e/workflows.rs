//! `bpftok exec` and `bpftok workflow` on the built program.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use agent_core::event::Process;
use agent_core::workflow::{Origin, Workflow};
use serde_json::{Value, json};

use crate::world::{BPFTOK, Home, Ran, is_root, ran, record, usage};

const NOBODY: u32 = 65_534;
const NOVEMBER: [&str; 4] = ["--since", "2026-11-01", "--until", "2026-11-03"];

/// Runs the program under a marker.
fn exec(arguments: &[&str]) -> Ran {
    ran(Command::new(BPFTOK).arg("exec").args(arguments))
}

fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let told = exec(arguments);
    assert_eq!(told.out, "");
    (told.code, told.err)
}

#[test]
fn a_command_runs_under_its_marker_and_its_status_is_the_status() {
    let told = exec(&[
        "nightly-triage",
        "--label",
        "team=infra",
        "--billing-code",
        "CC-4410",
        "--",
        "sh",
        "-c",
        "printf '%s|%s' \"$BPFTOK_WORKFLOW\" \"$1\"; echo seen >&2; exit 7",
        "sh",
        "--label",
    ]);
    let expected = Ran {
        code: Some(7),
        out: "nightly-triage,team=infra,billing_code=CC-4410|--label".to_owned(),
        err: "seen\n".to_owned(),
    };
    assert_eq!(told, expected);
}

#[test]
fn the_command_takes_the_place_of_the_wrapper() {
    let shell = format!("{BPFTOK} exec name -- sh -c 'kill -TERM $$'; echo $?");
    assert_eq!(ran(Command::new("sh").args(["-c", &shell])).out, "143\n");
    let child = Command::new(BPFTOK)
        .args(["exec", "name", "--", "sh", "-c", "echo $$"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let out = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(out.stdout).unwrap(), format!("{pid}\n"));
}

#[test]
fn a_command_that_can_not_be_run_is_told_with_the_codes_of_a_shell() {
    assert_eq!(
        refused(&["name", "--", "/nowhere/to/be/found"]),
        (
            Some(127),
            "bpftok: \"/nowhere/to/be/found\" was not found\n".to_owned()
        )
    );
    let home = Home::new();
    let script = home.path("script");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, told) = refused(&["name", "--", script.to_str().unwrap()]);
    assert_eq!(code, Some(126));
    assert!(
        told.contains("can't be executed: Permission denied"),
        "{told}"
    );
}

#[test]
fn a_name_that_can_be_none_is_refused_before_anything_runs() {
    for (arguments, expected) in [
        (&["a,b"][..], "is no name of a workflow"),
        (
            &["a", "--label", "team"],
            "a label is written as in team=infra",
        ),
        (&["a", "--label", "team=a,b"], "is no label"),
        (&["a", "--label", "x=1", "--label", "x=2"], "given twice"),
        (&["a", "--billing-code", ""], "is no label"),
    ] {
        let arguments = [arguments, &["--", "echo", "ran"]].concat();
        let (code, told) = refused(&arguments);
        assert_eq!(code, Some(64), "{arguments:?}");
        assert!(told.contains(expected), "{arguments:?}: {told}");
    }
}

const RULES: &str = r#"
[[workflow]]
name = "nightly"
match = { unit = "nightly.service", user = ["ci", "root"] }
billing_code = "CC-1"
[[workflow]]
name = "by-{client}"
match = { exe = ["none", "sle?p*", "*box", "coreutils"], host = "*.example" }
[[workflow]]
name = "rest"
match = {}
"#;

/// The program with these rules.
fn with_rules(home: &Home, arguments: &[&str]) -> Ran {
    with_configuration(home, RULES, arguments)
}

fn with_configuration(home: &Home, text: &str, arguments: &[&str]) -> Ran {
    let path = home.path("config.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let config = ["--config", path.to_str().unwrap()];
    home.run(config.iter().chain(arguments))
}

fn document(ran: Ran) -> Value {
    serde_json::from_str(&ran.text()).unwrap()
}

/// A process that waits, until the value goes away.
struct Waiting(std::process::Child);

impl Waiting {
    fn new() -> Self {
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        Self(child)
    }

    /// One under a marker.
    fn under(marker: &[&str]) -> Self {
        let mut child = Command::new(BPFTOK)
            .arg("exec")
            .args(marker)
            .args(["--", "sh", "-c", "echo ready; exec sleep 600"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_living_process_is_tried_rule_by_rule_and_field_by_field() {
    let home = Home::new();
    let waiting = Waiting::new();
    let pid = waiting.pid();
    let asked = [
        "workflow",
        "test",
        &pid,
        "--host",
        "LLM.example",
        "-o",
        "json",
    ];
    let asked = [&asked[..], &["--client", "mine"]].concat();
    let told = document(with_rules(&home, &asked));
    assert_eq!(told["process"]["id"]["pid"].to_string(), pid);
    assert_eq!(
        told["workflow"],
        json!({ "name": "by-mine", "origin": "rule", "billing_code": null, "labels": {} })
    );
    let tried = told["tried"].as_array().unwrap();
    let by: Vec<_> = tried.iter().map(|tried| &tried["by"]).collect();
    assert_eq!(by, ["marker", "rule", "rule"]);
    let fields = tried[2]["fields"].as_array().unwrap();
    assert_eq!(fields[0]["is_match"], json!(true));
    assert_eq!(
        fields[1],
        json!({
            "field": "host", "patterns": ["*.example"], "values": ["LLM.example"],
            "is_match": true, "pattern": "*.example", "value": "LLM.example",
        })
    );
    assert_eq!(tried[1]["name"], Value::Null);
    assert_eq!(tried[1]["fields"][0]["is_match"], json!(false));
}

#[test]
fn a_test_for_people_says_why() {
    let home = Home::new();
    let waiting = Waiting::new();
    let told = with_rules(&home, &["workflow", "test", &waiting.pid()]).text();
    for line in [
        "marker: none",
        "rule 1, nightly: does not match",
        "rule 2, by-{client}: does not match",
        "  no   host: nothing is known, wanted is *.example",
        "rule 3, rest: matches",
        "workflow: rest (a rule)",
    ] {
        assert!(told.lines().any(|told| told == line), "{line}\n{told}");
    }
}

#[test]
fn a_marker_goes_before_the_rules_of_a_living_process() {
    let home = Home::new();
    let waiting = Waiting::under(&["triage", "--label", "team=infra", "--billing-code", "CC-7"]);
    let asked = ["workflow", "test", &waiting.pid(), "-o", "json"];
    let told = document(with_rules(&home, &asked));
    assert_eq!(
        told["workflow"],
        json!({
            "name": "triage", "origin": "marker", "billing_code": "CC-7",
            "labels": { "team": "infra", "billing_code": "CC-7" },
        })
    );
    assert_eq!(told["tried"], json!([{ "by": "marker", "name": "triage" }]));
    assert_eq!(told["unread"], json!([]));
}

#[test]
fn a_command_line_is_matched_and_never_shown() {
    let home = Home::new();
    let waiting = Waiting::new();
    let rules = "[[workflow]]\nname = \"other\"\nmatch = { argv = \"*review*\" }\n\
                 [[workflow]]\nname = \"naps\"\nmatch = { argv = [\"*review*\", \"* 6?0\"] }\n";
    let told = with_configuration(&home, rules, &["workflow", "test", &waiting.pid()]).text();
    assert!(
        told.ends_with(
            "rule 1, other: does not match\n\
             \x20 no   argv: the command line is none of *review*\n\
             rule 2, naps: matches\n\
             \x20 yes  argv: the command line is * 6?0\n\
             \n\
             workflow: naps (a rule)\n"
        ),
        "{told}"
    );
    assert!(!told.contains("sleep 600"), "{told}");
}

#[test]
fn what_may_not_be_read_of_another_users_process_is_said() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    let waiting = Waiting::under(&["triage"]);
    let binary = home.path("bpftok");
    fs::copy(BPFTOK, &binary).unwrap();
    let mut command = Command::new(binary);
    let asked = ["workflow", "test", &waiting.pid(), "-o", "json"];
    let told = document(ran(command
        .args(asked)
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")));
    assert_eq!(told["tried"][0], json!({ "by": "marker", "name": null }));
    assert_eq!(
        told["unread"],
        json!(["executable", "working directory", "environment"])
    );
}

#[test]
fn a_process_that_is_gone_can_not_be_tested() {
    let told = Home::new().run(["workflow", "test", "4194304"]);
    assert_eq!(
        (told.code, told.err.as_str()),
        (Some(1), "bpftok: no process has the id 4194304\n")
    );
    let told = Home::new().run(["workflow", "test", "0"]);
    assert_eq!(told.code, Some(64));
}

/// A ledger with calls that a rule named, and some that nobody did.
fn called() -> Home {
    let with = |identity: &str, process: Process, name: &str, origin: Origin| {
        let mut record = record(identity, "2026-11-01T15:00:00Z");
        record.session.0 = identity.to_owned();
        record.process = Some(Arc::new(process));
        record.workflow = Arc::new(Workflow {
            name: name.to_owned(),
            origin,
            billing_code: (origin == Origin::Rule).then(|| "CC-9".to_owned()),
            labels: Vec::new(),
        });
        usage(record)
    };
    let process = |pid: u32| Process {
        unit: None,
        ..Process::clone(&crate::world::process(pid, "node", "/usr/bin/node", "dana"))
    };
    let unit = |pid: u32, unit: &str| Process {
        unit: Some(unit.to_owned()),
        cgroup: Some(format!("/system.slice/{unit}")),
        ..process(pid)
    };
    Home::with(&[
        with("msg_1", process(1), "reviews", Origin::Rule),
        with(
            "msg_2",
            unit(2, "triage.service"),
            "triage.service",
            Origin::Auto,
        ),
        with(
            "msg_3",
            unit(2, "triage.service"),
            "triage.service",
            Origin::Auto,
        ),
        with("msg_4", process(3), "node", Origin::Auto),
        with(
            "msg_5",
            unit(4, "nightly.service"),
            "nightly.service",
            Origin::Auto,
        ),
    ])
}

#[test]
fn rules_are_listed_in_their_order_and_with_what_was_seen() {
    let home = called();
    let asked = [&["workflow", "list"][..], &NOVEMBER].concat();
    let told = with_rules(&home, &asked).text();
    let lines: Vec<Vec<&str>> = told
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[1],
        [
            "1",
            "nightly",
            "CC-1",
            "unit",
            "=",
            "nightly.service,",
            "user",
            "=",
            "ci",
            "|",
            "root"
        ]
    );
    assert_eq!(lines[3], ["3", "rest", "—", "everything"]);
    assert!(lines[5].starts_with(&["Seen", "2026-11-01"]), "{told}");
    assert_eq!(
        lines[8],
        [
            "triage.service",
            "auto",
            "—",
            "2",
            "2,100",
            "$0.0093",
            "2026-11-01",
            "15:00"
        ]
    );
    assert_eq!(lines.len(), 12);

    let asked = [&["workflow", "list", "-o", "json"][..], &NOVEMBER].concat();
    let told = document(with_rules(&home, &asked));
    assert_eq!(
        told["rules"][0],
        json!({
            "number": 1, "name": "nightly", "billing_code": "CC-1",
            "match": { "unit": ["nightly.service"], "user": ["ci", "root"] },
        })
    );
    assert_eq!(
        told["seen"][3],
        json!({
            "name": "reviews", "origin": "rule", "billing_code": "CC-9", "requests": 1,
            "tokens": 1050, "cost_nanousd": 4_625_000, "last": "2026-11-01T15:00:00Z",
        })
    );
}

#[test]
fn rules_are_listed_without_a_ledger_too() {
    let home = Home::new();
    let told = with_rules(&home, &["workflow", "list"]).text();
    assert!(
        told.contains("\nWhat was seen can't be told: no ledger at "),
        "{told}"
    );
    let told = document(with_rules(&home, &["workflow", "list", "-o", "json"]));
    assert_eq!(told["seen"], Value::Null);
    let told = home.run(["workflow", "list"]).text();
    assert!(
        told.starts_with("No entry [[workflow]] is configured"),
        "{told}"
    );
}

#[test]
fn what_nobody_named_is_suggested_as_toml_that_can_be_pasted() {
    let home = called();
    let asked = [&["workflow", "suggest"][..], &NOVEMBER].concat();
    let told = home.run(&asked).text();
    let (_, entries) = told.split_once("\n\n").unwrap();
    assert_eq!(
        entries,
        "# 2 calls, 2,100 tokens, cost $0.0093; automatic name: triage.service\n\
         [[workflow]]\n\
         name = \"triage\"\n\
         match = { unit = \"triage.service\" }\n\
         \n\
         # 1 call, 1,050 tokens, cost $0.0046; automatic name: node\n\
         [[workflow]]\n\
         name = \"claude-code/{repo}\"\n\
         match = { client = \"claude-code\" }\n\
         \n\
         # 1 call, 1,050 tokens, cost $0.0046; automatic name: nightly.service\n\
         [[workflow]]\n\
         name = \"nightly\"\n\
         match = { unit = \"nightly.service\" }\n"
    );
    let pasted = home.path("pasted.toml");
    fs::write(&pasted, &told).unwrap();
    fs::set_permissions(&pasted, fs::Permissions::from_mode(0o644)).unwrap();
    ran(Command::new(BPFTOK).args(["config", "check"]).arg(&pasted)).text();
    let config = ["--config", pasted.to_str().unwrap()];
    let again = home.run(config.iter().chain(&asked));
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert!(!again.out.contains("triage"), "{}", again.out);

    let asked = [
        &["workflow", "suggest", "-n", "1", "-o", "json"][..],
        &NOVEMBER,
    ]
    .concat();
    assert_eq!(
        document(home.run(&asked))["rows"],
        json!([{
            "name": "triage", "match": { "unit": ["triage.service"] }, "billing_code": null,
            "automatic_name": "triage.service", "requests": 2, "tokens": 2100,
            "cost_nanousd": 9_250_000,
            "toml": "[[workflow]]\nname = \"triage\"\nmatch = { unit = \"triage.service\" }",
        }])
    );
}

#[test]
fn where_everything_has_a_rule_nothing_is_suggested() {
    let home = called();
    let asked = [&["workflow", "suggest"][..], &NOVEMBER].concat();
    let told = with_rules(&home, &asked);
    assert_eq!(told.code, Some(5));
    assert!(told.out.starts_with("Nothing to suggest: "), "{}", told.out);
}

#[test]
fn mistakes_in_rules_are_told_by_entry_key_and_remedy() {
    let home = Home::new();
    let path = home.path("config.toml");
    fs::write(
        &path,
        "[[workflow]]\nname = \"a\"\nmatch = {}\n[[workflow]]\nname = \"{x}\"\nmatch = { units = \"a\" }\n",
    )
    .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let told = ran(Command::new(BPFTOK).args(["config", "check"]).arg(&path));
    assert_eq!(told.code, Some(78));
    let lines: Vec<_> = told.err.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "  workflow[1].match: matches every call, so that no entry below it counts; make it the last one, or say what it is for, as in match = { user = \"ci\" }",
            "  workflow[2].name: has the unknown capture {x}; there are {repo}, {branch}, {unit}, {container}, {pod}, {namespace}, {user}, {client}, {exe}",
            "  workflow[2].match.units: unknown key; match has unit, container, container_image, pod, namespace, user, repo, exe, ancestor_exe, ancestor, argv, client, host",
        ]
    );
}
