//! A busy host: units, containers, users, repositories and jobs at once. Whose each call was, and who
//! pays for it.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::agent::{LEDGER_LIMIT, send};
use crate::host::{Call, Host, Words, as_user, bpftok, in_own_folder, under, words, words_of};
use crate::owned::{
    Part, above, assert_conserved, assert_owned, assert_served, owner, owners, play,
};
use crate::run::{Client, Steered, node, poll, python};

/// Id of a container of Docker's.
const SUPPORT: &str = "5a17c0de5a17c0de5a17c0de5a17c0de5a17c0de5a17c0de5a17c0de5a17c0de";

/// Id of a container in a pod.
const WORKER: &str = "b0bb1e5ab0bb1e5ab0bb1e5ab0bb1e5ab0bb1e5ab0bb1e5ab0bb1e5ab0bb1e5a";

/// The beginning of it, by which a container without a name is known.
const WORKER_NAME: &str = "b0bb1e5ab0bb";

/// Id of its pod, as it is written in the names of slices.
const POD: &str = "72f7f152_440c_66ac_9084_e0fc1d8a910c";

const RULES: &str = r#"
[[workflow]]
name = "nightly-triage"
match = { unit = "nightly-triage.service" }
billing_code = "CC-4410"
[[workflow]]
name = "ci-review/{repo}"
match = { ancestor = "gitlab-runner", argv = "*review*" }
[[workflow]]
name = "support"
match = { container = "5a17c0de5a17" }
[[workflow]]
name = "backup"
match = { ancestor_exe = "backup-runner" }
"#;

/// Groups, as systemd and the runtimes name them.
const NIGHTLY: &str = "system.slice/nightly-triage.service";
const RUNNER: &str = "system.slice/gitlab-runner.service";
const CRON: &str = "system.slice/cron.service";
const DESKTOP: &str = "user.slice/user-1001.slice/user@1001.service/app.slice/dev.service";
const LOGIN: &str = "user.slice/user-1001.slice/session-3.scope";

fn docker() -> String {
    format!("system.slice/docker-{SUPPORT}.scope")
}

fn pod() -> String {
    let burstable = "kubepods.slice/kubepods-burstable.slice";
    format!("{burstable}/kubepods-burstable-pod{POD}.slice/cri-containerd-{WORKER}.scope")
}

/// Users of the scene; nobody has the last two.
const DAEMON: u32 = 1;
const GAMES: u32 = 5;
const NOBODY: u32 = 65_534;
const DEVELOPER: u32 = 61_001;
const WORKER_USER: u32 = 61_184;

/// The parts of a busy host; `None`, with a `SKIP` line, where a program is missing.
fn cast(host: &Host, test: &str) -> Option<Vec<Part>> {
    let web = host.repository("web", "main")?;
    let api = host.repository("api", "release")?;
    let nowhere = host.path("");
    let sdk = |mut command: Command, arguments: &str| {
        command.args(arguments.split_whitespace());
        words_of(&command)
    };
    let python = |arguments: &str| {
        let command = python("calls.py", &host.endpoint, test)?;
        Some(sdk(command, arguments))
    };
    let node = |arguments: &str| Some(sdk(node(&host.endpoint, test)?, arguments));
    let curl = host.curl(&[Call::gpt("gpt-5-mini"), Call::claude("claude-sonnet-4-6")]);
    let runner = |job: Words| {
        let job = under("bash", job);
        host.in_group(RUNNER, host.under("gitlab-runner", job))
    };
    let marked = [
        words([
            &bpftok(),
            "exec",
            "release-notes",
            "--billing-code",
            "CC-7",
            "--",
        ]),
        curl.clone(),
    ];
    let claude = Call::claude("claude-sonnet-4-6").with([
        ("user-agent", "claude-cli/2.1.0 (external, cli)"),
        ("x-app", "cli"),
        (
            "x-claude-code-session-id",
            "6d1f1a30-0000-4000-8000-00000000c1a0",
        ),
    ]);
    let codex = Call::gpt("gpt-5").with([
        ("user-agent", "codex_cli_rs/0.169.0 (Debian 13.0.0; x86_64)"),
        ("originator", "codex_cli_rs"),
        ("session-id", "6d1f1a30-0000-4000-8000-00000000c0de"),
    ]);
    let login = |command| host.in_group(LOGIN, command);
    Some(vec![
        Part {
            name: "marker before the rule for its unit",
            command: host.in_group(NIGHTLY, marked.concat()),
            dir: nowhere.clone(),
            owner: owner(
                "release-notes",
                "marker",
                0,
                json!({ "code": "CC-7", "unit": "nightly-triage.service" }),
            ),
            above: &[],
        },
        Part {
            name: "rule by unit",
            command: host.in_group(
                NIGHTLY,
                python("anthropic messages --calls 2 --plan echo --model claude-sonnet-4-6")?,
            ),
            dir: nowhere.clone(),
            owner: owner(
                "nightly-triage",
                "rule",
                0,
                json!({ "code": "CC-4410", "unit": "nightly-triage.service" }),
            ),
            above: &[],
        },
        Part {
            name: "rule by ancestor and command line",
            command: runner(node(
                "openai responses --calls 2 --plan echo --model gpt-5 --prompt review",
            )?),
            dir: web.clone(),
            owner: owner(
                "ci-review/web",
                "rule",
                0,
                json!({ "unit": "gitlab-runner.service", "repo": "web", "branch": "main" }),
            ),
            above: &["bash", "gitlab-runner"],
        },
        Part {
            name: "another job of the same runner",
            command: runner(curl.clone()),
            dir: api.clone(),
            owner: owner(
                "gitlab-runner.service",
                "auto",
                0,
                json!({ "unit": "gitlab-runner.service", "repo": "api", "branch": "release" }),
            ),
            above: &["bash", "gitlab-runner"],
        },
        Part {
            name: "rule by container, which has a root of its own",
            command: host.in_group(
                &docker(),
                host.in_root(python(
                    "openai chat --calls 2 --plan echo --model gpt-5-mini",
                )?),
            ),
            dir: nowhere.clone(),
            owner: owner(
                "support",
                "rule",
                0,
                json!({ "runtime": "docker", "container": SUPPORT }),
            ),
            above: &["unshare"],
        },
        Part {
            name: "container of a pod, which has temporary files of its own",
            command: host.in_group(&pod(), in_own_folder(as_user(WORKER_USER, curl.clone()))),
            dir: nowhere.clone(),
            owner: owner(
                WORKER_NAME,
                "auto",
                WORKER_USER,
                json!({
                    "runtime": "containerd", "container": WORKER, "pod": POD.replace('_', "-"),
                }),
            ),
            above: &["unshare"],
        },
        Part {
            name: "job of cron",
            command: host.in_group(
                CRON,
                as_user(DAEMON, host.under("cron", under("sh", curl.clone()))),
            ),
            dir: nowhere.clone(),
            owner: owner(
                "cron:daemon/curl",
                "auto",
                DAEMON,
                json!({ "unit": "cron.service" }),
            ),
            above: &["sh", "cron"],
        },
        Part {
            name: "service of a user's manager",
            command: host.in_group(DESKTOP, as_user(DEVELOPER, curl.clone())),
            dir: nowhere.clone(),
            owner: owner(
                "dev.service",
                "auto",
                DEVELOPER,
                json!({ "unit": "dev.service" }),
            ),
            above: &[],
        },
        Part {
            name: "coding agent in a repository",
            command: login(as_user(GAMES, host.curl(&[claude.clone(), claude]))),
            dir: web,
            owner: owner(
                "claude-code/web",
                "auto",
                GAMES,
                json!({ "unit": "session-3.scope", "repo": "web", "branch": "main" }),
            ),
            above: &[],
        },
        Part {
            name: "another one in another",
            command: login(host.curl(&[codex.clone(), codex])),
            dir: api,
            owner: owner(
                "codex/api",
                "auto",
                0,
                json!({ "unit": "session-3.scope", "repo": "api", "branch": "release" }),
            ),
            above: &[],
        },
        Part {
            name: "nothing but a program",
            command: login(curl),
            dir: nowhere,
            owner: owner("curl", "auto", 0, json!({ "unit": "session-3.scope" })),
            above: &[],
        },
    ])
}

#[test]
fn on_a_busy_host_every_call_is_paid_by_the_workflow_of_its_owner_and_nothing_is_lost() {
    let test = "busy_host";
    let Some(mut host) = Host::set(test, RULES) else {
        return;
    };
    let Some(parts) = cast(&host, test) else {
        return;
    };
    let Some(played) = play(&host, &parts, test) else {
        return;
    };
    host.stop();
    let rows = assert_owned(&host, &parts, &played);
    assert_served(&host);
    assert!(assert_conserved(&host) > Some(0), "it costs something");

    // In the container it had an id of its own; the ledger has the host's, below what the host started.
    for (part, ((output, started), rows)) in parts.iter().zip(played.iter().zip(&rows)) {
        if part.above != ["unshare"] {
            continue;
        }
        for row in rows {
            assert_eq!(above(row)[0].0, u64::from(*started), "{}", part.name);
            assert_ne!(row["pid"], json!(1), "{}", part.name);
        }
        if part.name.starts_with("rule") {
            assert!(output.contains(r#""pid": 1,"#), "{output}");
        }
    }

    // Nobody is left without a name, and what has an automatic one can have a rule instead.
    let nameless = "SELECT count(*) FROM v_request WHERE workflow_origin = 'unattributed'";
    assert_eq!(host.place.number(nameless), 0);
    let suggested = said(&host, "suggest");
    let config = host.path("suggested.toml");
    fs::write(&config, format!("{RULES}\n{suggested}")).unwrap();
    let run = |command: &[&str]| {
        let mut run = Command::new(bpftok());
        run.args(command).arg("--config").arg(&config);
        run.arg("--db").arg(host.place.db()).output().unwrap()
    };
    let checked = run(&["config", "check"]);
    assert!(checked.status.success(), "{suggested}\n{checked:?}");
    let again = run(&["workflow", "suggest"]);
    assert_eq!(again.status.code(), Some(5), "{suggested}\n{again:?}");
    // What is the same work by its file has one rule, under the name of the dearest.
    let automatic = parts
        .iter()
        .filter(|part| part.owner["origin"] == "auto")
        .map(|part| part.owner["workflow"].as_str().unwrap());
    let automatic: BTreeSet<&str> = automatic.collect();
    let proposed = suggested
        .lines()
        .filter_map(|line| line.split_once("automatic name: "));
    let proposed: BTreeSet<&str> = proposed.map(|(_, name)| name).collect();
    let by_file = BTreeSet::from([WORKER_NAME, "curl", "cron:daemon/curl"]);
    let by_more: BTreeSet<&str> = &automatic - &by_file;
    assert_eq!(&proposed - &by_file, by_more, "{suggested}");
    assert_eq!((&proposed & &by_file).len(), 1, "{suggested}");
}

/// What `bpftok workflow` says with the scene's rules.
fn said(host: &Host, command: &str) -> String {
    let output = host
        .place
        .on_ledger(["workflow", command, "-n", "100"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Two sessions with the same tree: a subagent, one that it began, and what runs in the background.
const SESSIONS: [&str; 2] = [
    "0199c0de-0000-4000-8000-00000000aaaa",
    "0199c0de-0000-4000-8000-00000000bbbb",
];

#[test]
fn an_agents_own_words_make_the_tree_of_its_threads() {
    let test = "threads_of_agents";
    let Some(mut host) = Host::set(test, RULES) else {
        return;
    };
    let [claude, codex] = SESSIONS;
    let claude = |more: &[(&'static str, &str)]| {
        let call = Call::claude("claude-sonnet-4-6").with([
            ("user-agent", "claude-cli/2.1.0 (external, cli)"),
            ("x-claude-code-session-id", claude),
        ]);
        more.iter().fold(call, |call, field| call.with([*field]))
    };
    let codex_thread = |thread: &str, more: &[(&'static str, &str)]| {
        let call = Call::gpt("gpt-5").with([
            ("user-agent", "codex_cli_rs/0.169.0 (Debian 13.0.0; x86_64)"),
            ("originator", "codex_cli_rs"),
            ("session-id", codex),
            ("thread-id", thread),
        ]);
        more.iter().fold(call, |call, field| call.with([*field]))
    };
    let foreground = ("x-app", "cli");
    let (explorer, verifier) = ("agent-explorer", "agent-verifier");
    let agents = [
        host.curl(&[
            claude(&[foreground]),
            claude(&[
                foreground,
                ("x-claude-code-agent-id", explorer),
                ("x-claude-code-agent-type", "Explore"),
            ]),
            claude(&[
                foreground,
                ("x-claude-code-agent-id", verifier),
                ("x-claude-code-parent-agent-id", explorer),
                ("x-claude-code-agent-type", "general-purpose"),
            ]),
            claude(&[("x-app", "cli-bg")]),
            claude(&[foreground]),
        ]),
        host.curl(&[
            codex_thread(codex, &[]),
            codex_thread(
                "thread-explorer",
                &[
                    ("x-codex-parent-thread-id", codex),
                    ("x-openai-subagent", "explorer"),
                ],
            ),
            codex_thread(
                "thread-verifier",
                &[
                    ("x-codex-parent-thread-id", "thread-explorer"),
                    ("x-openai-subagent", "review"),
                ],
            ),
            codex_thread(
                "thread-memory",
                &[("x-openai-subagent", "memory_consolidation")],
            ),
            codex_thread(codex, &[]),
        ]),
    ];
    for agent in agents {
        let command = host.command(&agent, &host.path(""));
        let Some(client) = Client::start(command, test) else {
            return;
        };
        client.succeed();
    }
    host.stop();
    let rows = host.rows(
        "SELECT t.session_key, t.thread_key, p.thread_key AS parent, t.kind, t.agent_type, t.depth,
                t.request_count
         FROM v_thread_tree AS t
         LEFT JOIN thread AS p ON p.thread_id = t.parent_thread_id
         ORDER BY t.session_key, t.depth, t.kind, t.thread_key",
    );
    let tree = |session: &str, threads: [Value; 4]| {
        threads.map(|thread| {
            json!({
                "session_key": session, "thread_key": thread[0], "parent": thread[1],
                "kind": thread[2], "agent_type": thread[3], "depth": thread[4],
                "request_count": thread[5],
            })
        })
    };
    let [claude, codex] = SESSIONS;
    let expected = [
        tree(
            claude,
            [
                json!(["", null, "main", null, 0, 2]),
                json!(["background", "", "background", null, 1, 1]),
                json!([explorer, "", "subagent", "Explore", 1, 1]),
                json!([verifier, explorer, "subagent", "general-purpose", 2, 1]),
            ],
        ),
        tree(
            codex,
            [
                json!(["", null, "main", null, 0, 2]),
                json!([
                    "thread-memory",
                    "",
                    "background",
                    "memory_consolidation",
                    1,
                    1
                ]),
                json!(["thread-explorer", "", "subagent", "explorer", 1, 1]),
                json!([
                    "thread-verifier",
                    "thread-explorer",
                    "subagent",
                    "review",
                    2,
                    1
                ]),
            ],
        ),
    ];
    assert_eq!(json!(rows), json!(expected.concat()));
    let sources = "SELECT group_concat(DISTINCT key_source) FROM v_session";
    assert_eq!(host.place.text(sources), "client_header");
    assert_served(&host);
}

#[test]
fn a_client_that_lives_while_branches_are_switched_pays_for_each_its_own() {
    let test = "switched";
    let Some(mut host) = Host::set(test, RULES) else {
        return;
    };
    let Some(web) = host.repository("web", "main") else {
        return;
    };
    let Some(command) = python("stays.py", &host.endpoint, test) else {
        return;
    };
    let command = host.in_group(DESKTOP, words_of(&command));
    let mut client = Steered::start(&mut host.command(&command, &web));
    let mut ids = vec![client.ask()];
    host.wait();
    if host
        .git(&web, &["checkout", "--quiet", "-b", "next"])
        .is_none()
    {
        return;
    }
    let is_seen = "SELECT count(*) FROM v_request WHERE branch = 'next'";
    assert!(poll(LEDGER_LIMIT, || {
        ids.push(client.ask());
        host.place.number(is_seen) > 0
    }));
    drop(client);
    host.stop();
    let owners = owners(&host);
    let branches: Vec<&str> = ids
        .iter()
        .map(|id| owners[id]["branch"].as_str().unwrap())
        .collect();
    let mut seen = branches.clone();
    seen.dedup();
    assert_eq!(seen, ["main", "next"]);
    let by_branch = host.rows(
        "SELECT repo, branch, sum(request_count) AS calls FROM v_repo_daily GROUP BY 1, 2 ORDER BY 2",
    );
    let count = |branch: &str| branches.iter().filter(|known| **known == branch).count();
    let expected = ["main", "next"]
        .map(|branch| json!({ "repo": "web", "branch": branch, "calls": count(branch) }));
    assert_eq!(json!(by_branch), json!(expected));
    let workflows = "SELECT group_concat(DISTINCT workflow || ' ' || session_id) FROM v_request";
    assert_eq!(host.place.text(workflows), "dev.service 1");
    assert_conserved(&host);
}

#[test]
fn work_keeps_its_owner_whatever_becomes_of_who_started_it() {
    let test = "kept_owner";
    let Some(mut host) = Host::set(test, RULES) else {
        return;
    };
    let nowhere = host.path("");
    let curl = host.curl(&[Call::gpt("gpt-5-mini")]);
    let exec =
        |name: &str, command: Words| [words([&bpftok(), "exec", name, "--"]), command].concat();
    let marked = |name: &str| owner(name, "marker", 0, json!({}));
    let chain = words(["sh", "-c", r#"exec sh -c 'exec env "$0" "$@"' "$@""#, "sh"]);
    let forgets = words(["sh", "-c", r#"env -u BPFTOK_WORKFLOW "$@"; :"#, "sh"]);
    let real_user = words(["setpriv", "--ruid", &NOBODY.to_string()]);
    let mut parts = vec![
        Part {
            name: "four programs of one process",
            command: exec("chain", [chain, curl.clone()].concat()),
            dir: nowhere.clone(),
            owner: marked("chain"),
            above: &[],
        },
        Part {
            name: "child whose environment has no marker",
            command: exec("parent", [forgets, curl.clone()].concat()),
            dir: nowhere.clone(),
            owner: marked("parent"),
            above: &["sh"],
        },
        Part {
            name: "program with the rights of another user",
            command: host.in_group(LOGIN, [real_user, curl.clone()].concat()),
            dir: nowhere.clone(),
            owner: owner("curl", "auto", NOBODY, json!({ "unit": "session-3.scope" })),
            above: &[],
        },
    ];
    // Each makes one call and is over.
    for name in ["first", "second", "third", "fourth"] {
        parts.push(Part {
            name,
            command: host.in_group(CRON, exec(name, host.under("backup-runner", curl.clone()))),
            dir: nowhere.clone(),
            owner: owner(name, "marker", 0, json!({ "unit": "cron.service" })),
            above: &["backup-runner"],
        });
    }
    let Some(mut played) = play(&host, &parts, test) else {
        return;
    };

    // A daemon: its parent and the parent of that have ended when it makes its first call.
    let daemon = r#"exec 3<&0; (sh -c 'echo ready; read line <&3; "$@"; echo; echo done' sh "$@" & wait) & wait"#;
    let daemon = [words(["-c", daemon, "sh"]), curl].concat();
    let starter = host.under("backup-runner", words(["true"])).remove(0);
    let command = host.in_group(LOGIN, [vec![starter], daemon].concat());
    let mut daemon = Steered::start(&mut host.command(&command, &nowhere));
    assert_eq!(daemon.answer(), "ready");
    host.settle();
    let starter = daemon.child.id();
    let between = fs::read_to_string(format!("/proc/{starter}/task/{starter}/children")).unwrap();
    send("KILL", starter);
    daemon.child.wait().unwrap();
    send("KILL", between.trim().parse().unwrap());
    let mut said = vec![daemon.ask()];
    while said.last().is_none_or(|line| line != "done") {
        said.push(daemon.answer());
    }
    played.push((said.join("\n"), starter));
    parts.push(Part {
        name: "daemon",
        command: Words::new(),
        dir: nowhere,
        owner: owner("backup", "rule", 0, json!({ "unit": "session-3.scope" })),
        above: &["sh", "backup-runner"],
    });
    host.stop();
    assert_owned(&host, &parts, &played);
    assert_served(&host);
    assert_conserved(&host);
}

#[test]
fn a_living_process_is_tried_as_the_ledger_has_it() {
    let test = "tried";
    let Some(mut host) = Host::set(test, RULES) else {
        return;
    };
    let Some(web) = host.repository("web", "main") else {
        return;
    };
    let Some(stays) = python("stays.py", &host.endpoint, test) else {
        return;
    };
    let stays = words_of(&stays);
    let marked = [
        words([
            &bpftok(),
            "exec",
            "release-notes",
            "--label",
            "team=docs",
            "--",
        ]),
        stays.clone(),
    ];
    let commands = [
        marked.concat(),
        host.in_group(NIGHTLY, stays.clone()),
        host.in_group(&docker(), stays.clone()),
        host.in_group(&pod(), stays.clone()),
        host.in_group(DESKTOP, stays.clone()),
        host.in_group(LOGIN, stays),
    ];
    let mut living: Vec<Steered> = commands
        .iter()
        .map(|command| Steered::start(&mut host.command(command, &web)))
        .collect();
    for client in &mut living {
        client.ask();
    }
    host.wait();
    let named = |row: &Value| (row["workflow"].clone(), row["origin"].clone());
    let mut found = Vec::new();
    for client in &living {
        let pid = client.child.id().to_string();
        let rows = host.rows(&format!(
            "SELECT DISTINCT workflow, workflow_origin AS origin FROM v_request WHERE pid = {pid}"
        ));
        let [row] = rows.as_slice() else {
            panic!("{rows:?}");
        };
        let tried = host
            .place
            .on_ledger(["workflow", "test", &pid, "-o", "json"]);
        let tried = { tried }.output().unwrap();
        assert!(tried.status.success(), "{tried:?}");
        let tried: Value = serde_json::from_slice(&tried.stdout).unwrap();
        let expected = (
            tried["workflow"]["name"].clone(),
            tried["workflow"]["origin"].clone(),
        );
        let row = named(&Value::from(row.clone()));
        assert_eq!(row, expected);
        found.push(row.1.as_str().unwrap().to_owned());
    }
    assert_eq!(found, ["marker", "rule", "rule", "auto", "auto", "auto"]);
    drop(living);
    host.stop();
}
