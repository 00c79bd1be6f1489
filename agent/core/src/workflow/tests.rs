use proptest::prelude::*;

use super::cache::Cache;
use super::*;
use crate::attribution::Client;
use crate::event::{Ancestor, Checkout, Container, Pod, ProcId, Process};
use crate::llm::LlmCall;

const CONTAINER_ID: &str = "4c01db0b339c4c01db0b339c4c01db0b339c4c01db0b339c4c01db0b339c0000";

/// A process of which everything is known, but for a marker.
fn process() -> Process {
    Process {
        id: ProcId {
            pid: 40,
            start_ticks: 7,
        },
        ancestors: vec![
            Ancestor {
                comm: "bash".to_owned(),
                exe: Some("/usr/bin/bash".to_owned()),
                ..Ancestor::default()
            },
            Ancestor {
                comm: "runner-main".to_owned(),
                exe: Some("/opt/ci/gitlab-runner (deleted)".to_owned()),
                ..Ancestor::default()
            },
        ],
        exe: Some("/usr/bin/python3.12".to_owned()),
        comm: "python3".to_owned(),
        matched_arguments: vec![1],
        user_name: Some("ci".to_owned()),
        checkout: Some(Checkout {
            root: "/srv/web".to_owned(),
            repo: "web".to_owned(),
            branch: Some("main".to_owned()),
        }),
        unit: Some("nightly.service".to_owned()),
        container: Some(Container {
            runtime: "docker".to_owned(),
            id: CONTAINER_ID.to_owned(),
            name: Some("support-1".to_owned()),
            image: Some("registry.example/support/api:3".to_owned()),
            pod: Some(Pod {
                uid: "u".to_owned(),
                namespace: Some("prod".to_owned()),
                name: Some("support-api-7d9".to_owned()),
            }),
        }),
        ..Process::default()
    }
}

fn subject(process: &Process) -> Subject<'_> {
    Subject {
        process: Some(process),
        client: Some("claude-code"),
        host: Some("API.anthropic.com"),
    }
}

fn rule(name: &str, conditions: &[(Field, &[&str])]) -> RuleSpec {
    let condition = |(field, patterns): &(Field, &[&str])| Condition {
        field: *field,
        patterns: patterns
            .iter()
            .map(|pattern| (*pattern).to_owned())
            .collect(),
    };
    RuleSpec {
        name: Template::parse(name).unwrap(),
        conditions: conditions.iter().map(condition).collect(),
        billing_code: None,
    }
}

fn name_by(rules: Vec<RuleSpec>, subject: Subject<'_>) -> (String, Origin) {
    let found = Workflows::new(rules).find(subject);
    (found.name, found.origin)
}

fn by_rule(name: &str) -> (String, Origin) {
    (name.to_owned(), Origin::Rule)
}

fn by_itself(name: &str) -> (String, Origin) {
    (name.to_owned(), Origin::Auto)
}

#[test]
fn every_field_is_matched_by_any_of_its_patterns() {
    let process = process();
    for (field, pattern, is_match) in [
        (Field::Unit, "nightly.*", true),
        (Field::Unit, "night", false),
        (Field::Container, "support-?", true),
        (Field::Container, "4c01db0b339c", true),
        (Field::Container, CONTAINER_ID, true),
        (Field::Container, "4c01", false),
        (Field::ContainerImage, "registry.example/support/*", true),
        (Field::ContainerImage, "support/*", false),
        (Field::Pod, "support-api-*", true),
        (Field::Namespace, "prod", true),
        (Field::Namespace, "test", false),
        (Field::User, "ci", true),
        (Field::User, "root", false),
        (Field::Repo, "web", true),
        (Field::Repo, "w", false),
        (Field::Exe, "python3*", true),
        (Field::Exe, "/usr/bin/*", true),
        (Field::Exe, "/opt/*", false),
        (Field::Exe, "bin", false),
        (Field::AncestorExe, "gitlab-runner", true),
        (Field::AncestorExe, "/opt/ci/gitlab-runner", true),
        (Field::AncestorExe, "runner-main", false),
        (Field::AncestorExe, "python3.12", false),
        (Field::Ancestor, "runner-main", true),
        (Field::Ancestor, "gitlab-*", true),
        (Field::Ancestor, "/usr/bin/bash", true),
        (Field::Ancestor, "zsh", false),
        (Field::Client, "claude-*", true),
        (Field::Client, "codex", false),
        (Field::Host, "api.Anthropic.com", true),
        (Field::Host, "*.openai.com", false),
    ] {
        let rules = vec![rule("named", &[(field, &["never", pattern])])];
        let expected = if is_match {
            by_rule("named")
        } else {
            by_itself("nightly.service")
        };
        assert_eq!(
            name_by(rules, subject(&process)),
            expected,
            "{field:?} {pattern}"
        );
    }
}

#[test]
fn no_field_of_an_unknown_process_is_matched_by_anything() {
    for field in Field::ALL {
        let rules = vec![rule("named", &[(field, &["*"])])];
        let expected = ("unattributed".to_owned(), Origin::Unattributed);
        assert_eq!(
            name_by(rules.clone(), Subject::default()),
            expected,
            "{field:?}"
        );
        let trace = Workflows::new(rules).trace(Subject::default());
        assert_eq!(trace.workflow, Workflow::unattributed(), "{field:?}");
    }
}

#[test]
fn command_lines_are_matched_by_the_numbers_that_the_shell_told() {
    let specs = vec![
        rule("train", &[(Field::Argv, &["*train*", "*review*"])]),
        rule("eval", &[(Field::Argv, &["*eval*", "*train*"])]),
    ];
    assert_eq!(argument_patterns(&specs), ["*train*", "*review*", "*eval*"]);
    let workflows = Workflows::new(specs);
    let name = |matched: &[u16]| {
        let process = Process {
            matched_arguments: matched.to_vec(),
            ..Process::default()
        };
        workflows.find(subject(&process)).name
    };
    assert_eq!(name(&[0]), "train");
    assert_eq!(name(&[1]), "train");
    assert_eq!(name(&[2]), "eval");
    assert_eq!(name(&[0, 2]), "train");
    assert_eq!(name(&[3]), Workflow::UNATTRIBUTED);
}

#[test]
fn all_conditions_must_hold_and_the_first_rule_counts() {
    let rules = || {
        vec![
            rule("both", &[(Field::User, &["ci"]), (Field::Repo, &["api"])]),
            rule("first", &[(Field::User, &["ci"])]),
            rule("second", &[(Field::User, &["*"])]),
        ]
    };
    let process = process();
    assert_eq!(name_by(rules(), subject(&process)), by_rule("first"));
    let mut other = process;
    other.checkout.as_mut().unwrap().repo = "api".to_owned();
    assert_eq!(name_by(rules(), subject(&other)), by_rule("both"));
}

#[test]
fn a_name_is_filled_with_what_is_known_and_a_rule_with_an_unknown_capture_does_not_match() {
    let mut process = process();
    let every = "{client}/{repo}@{branch} {unit} {container} {pod} {namespace} {user} {exe}!";
    let rules = || vec![rule(every, &[]), rule("rest", &[])];
    assert_eq!(
        name_by(rules(), subject(&process)),
        by_rule(
            "claude-code/web@main nightly.service support-1 support-api-7d9 prod ci python3.12!"
        )
    );
    process.checkout.as_mut().unwrap().branch = None;
    assert_eq!(name_by(rules(), subject(&process)), by_rule("rest"));
    assert_eq!(name_by(rules(), Subject::default()), by_rule("rest"));
}

#[test]
fn a_text_that_is_no_name_says_why() {
    for (text, expected) in [
        ("", BadTemplate::Text),
        (" a", BadTemplate::Text),
        ("a\nb", BadTemplate::Text),
        ("{repo", BadTemplate::Brace),
        ("repo}", BadTemplate::Brace),
        ("{}", BadTemplate::Capture(String::new())),
        ("a{pid}", BadTemplate::Capture("pid".to_owned())),
        (&"x".repeat(129), BadTemplate::Text),
    ] {
        assert_eq!(Template::parse(text), Err(expected), "{text:?}");
    }
    let template = Template::parse("a/{repo}/{user}").unwrap();
    assert_eq!(template.to_string(), "a/{repo}/{user}");
    let captures: Vec<_> = template.captures().collect();
    assert_eq!(captures, [Capture::Repo, Capture::User]);
    assert_eq!(
        BadTemplate::Capture("pid".to_owned()).to_string(),
        "has the unknown capture {pid}; there are {repo}, {branch}, {unit}, {container}, {pod}, \
         {namespace}, {user}, {client}, {exe}"
    );
}

#[test]
fn a_marker_goes_before_every_rule_and_brings_its_labels() {
    let mut process = process();
    process.marker = Marker::parse("triage,billing_code=CC-1,team=infra");
    let found = Workflows::new(vec![rule("rule", &[])]).find(subject(&process));
    assert_eq!(
        found,
        Workflow {
            name: "triage".to_owned(),
            origin: Origin::Marker,
            billing_code: Some("CC-1".to_owned()),
            labels: [("billing_code", "CC-1"), ("team", "infra")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .to_vec(),
        }
    );
}

#[test]
fn a_rule_brings_its_billing_code() {
    let mut spec = rule("rule", &[]);
    spec.billing_code = Some("CC-2".to_owned());
    let found = Workflows::new(vec![spec]).find(Subject::default());
    assert_eq!(found.billing_code.as_deref(), Some("CC-2"));
}

#[test]
fn units_that_nobody_named_do_not_name_a_workflow() {
    let name = |unit: &str| {
        let process = Process {
            unit: Some(unit.to_owned()),
            comm: "main".to_owned(),
            ..Process::default()
        };
        let subject = Subject {
            process: Some(&process),
            ..Subject::default()
        };
        Workflows::default().find(subject).name
    };
    for unit in [
        "nightly-triage.service",
        "worker@3.service",
        "run-reports.service",
        "runner.service",
        "cron.service",
    ] {
        assert_eq!(name(unit), unit);
    }
    for unit in [
        "session-3.scope",
        "init.scope",
        "docker-4c01db0b339c.scope",
        "crio-4c01db0b339c.scope",
        "libpod-4c01db0b339c.scope",
        "app-gnome-code-2211.scope",
        "user@1000.service",
        "user-1000.slice",
        "-.slice",
        "run-u12.service",
        "run-r0123456789abcdef0123456789abcdef.service",
        "run-p812-i3344.service",
        ".service",
    ] {
        assert_eq!(name(unit), "main", "{unit}");
    }
}

/// A process of `user` with these ancestors, nearest first: names of threads and executables.
fn below(user: Option<&str>, program: (&str, &str), above: &[(&str, &str)]) -> Process {
    Process {
        comm: program.0.to_owned(),
        exe: Some(program.1.to_owned()),
        user_name: user.map(str::to_owned),
        unit: Some("cron.service".to_owned()),
        ancestors: above
            .iter()
            .map(|(comm, exe)| Ancestor {
                comm: (*comm).to_owned(),
                exe: Some((*exe).to_owned()),
                ..Ancestor::default()
            })
            .collect(),
        ..Process::default()
    }
}

#[test]
fn a_job_of_cron_is_named_by_its_user_and_its_first_program() {
    const DAEMON: (&str, &str) = ("cron", "/usr/sbin/cron");
    const SH: (&str, &str) = ("sh", "/usr/bin/dash");
    const CURL: (&str, &str) = ("curl", "/usr/bin/curl");
    const PYTHON: (&str, &str) = ("python3", "/usr/bin/python3.12");
    let ci = Some("ci");
    let name = |process: &Process| {
        let subject = Subject {
            process: Some(process),
            ..Subject::default()
        };
        Workflows::default().find(subject).name
    };
    for (process, expected) in [
        (below(ci, CURL, &[SH, DAEMON, DAEMON]), "cron:ci/curl"),
        (below(ci, CURL, &[DAEMON]), "cron:ci/curl"),
        // A script has its own name, and what it starts belongs to it.
        (
            below(
                ci,
                CURL,
                &[PYTHON, SH, ("backup.sh", "/usr/bin/bash"), SH, DAEMON],
            ),
            "cron:ci/backup.sh",
        ),
        // Not the commands that only start another one.
        (
            below(
                ci,
                PYTHON,
                &[
                    ("report", "/srv/report"),
                    ("flock", "/usr/bin/flock"),
                    SH,
                    DAEMON,
                ],
            ),
            "cron:ci/report",
        ),
        (
            below(
                Some("root"),
                CURL,
                &[
                    ("nightly", "/usr/bin/bash"),
                    ("run-parts", "/usr/bin/run-parts"),
                    SH,
                    ("anacron", "/usr/sbin/anacron"),
                    ("run-parts", "/usr/bin/bash"),
                    ("crond", "/usr/sbin/crond"),
                ],
            ),
            "cron:root/nightly",
        ),
        // A name that the kernel cut is whole again where the file has it, and a thread's is none.
        (
            below(
                None,
                ("a-long-program-", "/srv/a-long-program-name (deleted)"),
                &[DAEMON],
            ),
            "cron:a-long-program-name",
        ),
        (
            below(ci, ("node-MainThread", "/usr/bin/node"), &[SH, DAEMON]),
            "cron:ci/node",
        ),
        (
            below(ci, ("bash", "/usr/bin/bash"), &[SH, DAEMON]),
            "cron:ci/bash",
        ),
        // Which job it is of is not known.
        (below(ci, CURL, &[SH]), "cron.service"),
        (below(ci, CURL, &[]), "cron.service"),
    ] {
        assert_eq!(name(&process), expected, "{process:?}");
    }
    let mut process = below(ci, CURL, &[SH, DAEMON]);
    // Where jobs have log-in sessions, and where there is no systemd.
    for unit in [Some("session-c3.scope"), Some("crond.service"), None] {
        process.unit = unit.map(str::to_owned);
        assert_eq!(name(&process), "cron:ci/curl", "{unit:?}");
    }
    process.unit = Some("nightly.service".to_owned());
    assert_eq!(name(&process), "nightly.service");
    process.unit = Some("libpod-4c01.scope".to_owned());
    process.container = Some(Container {
        name: Some("report-1".to_owned()),
        ..Container::default()
    });
    assert_eq!(name(&process), "report-1");
}

#[test]
fn without_a_rule_the_best_that_is_known_names_the_workflow() {
    let mut known = process();
    let name = |process: &Process| name_by(Vec::new(), subject(process));
    assert_eq!(name(&known), by_itself("nightly.service"));
    known.unit = Some("docker-4c01db0b339c.scope".to_owned());
    assert_eq!(name(&known), by_itself("support-1"));
    let container = known.container.as_mut().unwrap();
    container.name = None;
    assert_eq!(name(&known), by_itself("registry.example/support/api:3"));
    known.container.as_mut().unwrap().image = None;
    assert_eq!(name(&known), by_itself("4c01db0b339c"));
    known.container.as_mut().unwrap().id = "my-lxc-container".to_owned();
    assert_eq!(name(&known), by_itself("my-lxc-container"));
    known.container = None;
    assert_eq!(name(&known), by_itself("claude-code/web"));
    known.checkout = None;
    assert_eq!(name(&known), by_itself("python3.12"));
    known.exe = None;
    assert_eq!(name(&known), by_itself("python3"));
    known.comm = "\u{1b}\n".to_owned();
    let expected = ("unattributed".to_owned(), Origin::Unattributed);
    assert_eq!(name(&known), expected);
    assert_eq!(name_by(Vec::new(), Subject::default()), expected);
}

#[test]
fn a_trace_tells_what_was_tried_and_what_each_condition_saw() {
    let mut process = process();
    process.unit = None;
    process.checkout = None;
    let rules = vec![
        rule("triage", &[(Field::Unit, &["nightly-*"])]),
        rule(
            "review",
            &[
                (Field::User, &["root", "c?"]),
                (Field::AncestorExe, &["gitlab-runner"]),
                (Field::Argv, &["*train*"]),
            ],
        ),
        rule("claude-code/{repo}", &[(Field::Client, &["claude-code"])]),
    ];
    let compared = |field, patterns: &[&str], values: &[&str]| Compared {
        field,
        patterns: patterns.iter().map(|text| (*text).to_owned()).collect(),
        values: values.iter().map(|text| (*text).to_owned()).collect(),
        matched: None,
    };
    let matched = |pattern: &str, value: &str| {
        Some(Matched {
            pattern: pattern.to_owned(),
            value: Some(value.to_owned()),
        })
    };
    let ancestors = ["/usr/bin/bash", "/opt/ci/gitlab-runner"];
    let expected = vec![
        Tried::Marker { name: None },
        Tried::Rule {
            number: 1,
            name: "triage".to_owned(),
            compared: vec![compared(Field::Unit, &["nightly-*"], &[])],
            verdict: Verdict::NoMatch,
        },
        Tried::Rule {
            number: 2,
            name: "review".to_owned(),
            compared: vec![
                Compared {
                    matched: matched("c?", "ci"),
                    ..compared(Field::User, &["root", "c?"], &["ci"])
                },
                Compared {
                    matched: matched("gitlab-runner", "/opt/ci/gitlab-runner"),
                    ..compared(Field::AncestorExe, &["gitlab-runner"], &ancestors)
                },
                compared(Field::Argv, &["*train*"], &[]),
            ],
            verdict: Verdict::NoMatch,
        },
        Tried::Rule {
            number: 3,
            name: "claude-code/{repo}".to_owned(),
            compared: vec![Compared {
                matched: matched("claude-code", "claude-code"),
                ..compared(Field::Client, &["claude-code"], &["claude-code"])
            }],
            verdict: Verdict::UnknownCapture(Capture::Repo),
        },
        Tried::Automatic {
            by: Automatic::Cron,
            name: None,
        },
        Tried::Automatic {
            by: Automatic::Unit,
            name: None,
        },
        Tried::Automatic {
            by: Automatic::Container,
            name: Some("support-1".to_owned()),
        },
    ];
    let trace = Workflows::new(rules).trace(subject(&process));
    assert_eq!(trace.tried, expected);
    assert_eq!(trace.workflow.name, "support-1");
}

fn call(process: &Arc<Process>, client: &str, host: &str) -> AttributedCall {
    AttributedCall {
        call: LlmCall {
            server_name: Some(host.to_owned()),
            ..LlmCall::plain()
        },
        process: Some(Arc::clone(process)),
        client: Client {
            name: Some(client.to_owned()),
            version: None,
        },
    }
}

fn kept(workflows: &Workflows) -> usize {
    workflows.cache.lock().unwrap().len()
}

#[test]
fn the_calls_of_a_process_share_what_was_found_once() {
    let workflows = Workflows::new(vec![rule("claude", &[(Field::Client, &["claude"])])]);
    let facts = Arc::new(process());
    let first = workflows.of(&call(&facts, "claude", "a.example"));
    let second = workflows.of(&call(&facts, "claude", "b.example"));
    assert!(Arc::ptr_eq(&first, &second), "no rule looks at hosts");
    assert_eq!(
        workflows.of(&call(&facts, "codex", "a.example")).name,
        "nightly.service"
    );
    assert_eq!(kept(&workflows), 2);
}

#[test]
fn other_facts_of_the_same_process_and_other_hosts_are_looked_at_anew() {
    let workflows = Workflows::new(vec![
        rule("a", &[(Field::Host, &["a.example"])]),
        rule("b", &[(Field::User, &["dana"])]),
    ]);
    let facts = Arc::new(process());
    assert_eq!(workflows.of(&call(&facts, "x", "a.example")).name, "a");
    assert_eq!(
        workflows.of(&call(&facts, "x", "b.example")).name,
        "nightly.service"
    );
    let other = Arc::new(Process {
        user_name: Some("dana".to_owned()),
        ..process()
    });
    assert_eq!(workflows.of(&call(&other, "x", "b.example")).name, "b");
    assert_eq!(kept(&workflows), 1);
}

#[test]
fn what_is_kept_is_bounded_by_process_and_in_all() {
    let workflows = Workflows::default();
    let facts = Arc::new(process());
    for client in 0..100 {
        workflows.of(&call(&facts, &client.to_string(), "a.example"));
    }
    assert!(kept(&workflows) <= 8);
    let mut cache = Cache::default();
    let found = Arc::new(Workflow::unattributed());
    for pid in 0..10_000 {
        let facts = Arc::new(Process {
            id: ProcId {
                pid,
                start_ticks: 1,
            },
            ..Process::default()
        });
        let key = Key::of(Subject::default(), Sight::WithoutHost);
        cache.put(&facts, key.clone(), Arc::clone(&found));
        assert!(cache.get(&facts, &key).is_some());
        assert!(cache.len() <= 4_096);
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[abc*?{}/\u{1b}\n é]{0,6}",
        "(a|b|/a/b|a.service|user@1.service)",
        Just("x".repeat(300)),
    ]
}

fn some_text() -> impl Strategy<Value = Option<String>> {
    prop::option::of(text())
}

prop_compose! {
    fn some_process()(
        texts in prop::collection::vec(some_text(), 9),
        comm in text(),
        matched in prop::collection::vec(0..4_u16, 0..3),
        marker in some_text(),
    ) -> Process {
        let at = |place: usize| texts[place].clone();
        Process {
            exe: at(0),
            comm,
            matched_arguments: matched,
            user_name: at(1),
            unit: at(2),
            checkout: at(3).map(|repo| Checkout { root: repo.clone(), repo, branch: at(4) }),
            container: at(5).map(|id| Container {
                id,
                name: at(6),
                image: at(7),
                pod: Some(Pod { name: at(8), ..Pod::default() }),
                ..Container::default()
            }),
            ancestors: vec![Ancestor { exe: at(8), comm: at(7).unwrap_or_default(), ..Ancestor::default() }],
            marker: marker.as_deref().and_then(Marker::parse),
            ..Process::default()
        }
    }
}

fn some_rule() -> impl Strategy<Value = RuleSpec> {
    let names = prop::sample::select(vec![
        "one",
        "{repo}",
        "{client}/{branch}",
        "{container}-{exe}",
    ]);
    let fields = prop::sample::select(Field::ALL.to_vec());
    let condition = (fields, prop::collection::vec(text(), 1..3))
        .prop_map(|(field, patterns)| Condition { field, patterns });
    (names, prop::collection::vec(condition, 0..3)).prop_map(|(name, conditions)| RuleSpec {
        name: Template::parse(name).unwrap(),
        conditions,
        billing_code: None,
    })
}

proptest! {
    #[test]
    fn every_call_has_one_workflow_whose_name_is_short_and_can_be_printed(
        rules in prop::collection::vec(some_rule(), 0..4),
        process in prop::option::of(some_process()),
        client in some_text(),
        host in some_text(),
    ) {
        let workflows = Workflows::new(rules.clone());
        let attributed = AttributedCall {
            call: LlmCall { server_name: host, ..LlmCall::plain() },
            process: process.map(Arc::new),
            client: Client { name: client, version: None },
        };
        let subject = Subject::from(&attributed);
        let found = workflows.of(&attributed);
        prop_assert!(!found.name.trim().is_empty() && found.name.len() <= 128);
        prop_assert!(!found.name.chars().any(char::is_control));
        prop_assert_eq!(&workflows.of(&attributed), &found, "again");
        prop_assert_eq!(&workflows.find(subject), found.as_ref(), "anew");
        prop_assert_eq!(&Workflows::new(rules).trace(subject).workflow, found.as_ref(), "traced");
        prop_assert_eq!(
            found.origin == Origin::Unattributed,
            found.name == Workflow::UNATTRIBUTED && found.billing_code.is_none()
        );
    }
}
