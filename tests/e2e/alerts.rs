//! Alerts from a condition to a receiver: once at least, in time, and with nothing that is secret.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use agent::alert::{Channels, Courier};
use agent::config::Loaded;
use agent::dispatch::{BudgetChannels, Dispatch};
use agent::store::Writer;
use agent_core::alert::{Condition, Rule, Severity};
use serde_json::{Map, Value, json};
use test_support::Receiver;
use test_support::certificate::Certificate;

use crate::world::{BPFTOK, Home, ran};

/// Longest wait for what has to come.
const LIMIT: Duration = Duration::from_secs(60);

const MINUTE_MS: i64 = 60_000;

pub(crate) fn condition(workflow: &str, severity: Severity) -> Condition {
    let mut evidence = Map::new();
    evidence.insert("spent_nanousd".to_owned(), 7_000_000_000_u64.into());
    Condition {
        rule: Rule::Spike,
        variant: String::new(),
        scope: vec![("workflow".to_owned(), workflow.to_owned())],
        budget: None,
        severity,
        hold: Duration::ZERO,
        summary: format!("{workflow} spends far more than it ever does"),
        evidence,
    }
}

fn courier(toml: &str) -> Courier {
    let loaded = Loaded::parse(Path::new("config.toml"), toml).unwrap();
    Courier::start(Channels::new(&loaded.config.channels)).unwrap()
}

/// The alerts of a host, at moments that the test gives.
pub(crate) struct Host {
    pub(crate) home: Home,
    writer: Writer,
    dispatch: Dispatch,
}

impl Host {
    pub(crate) fn new(toml: &str) -> Self {
        let home = Home::new();
        let writer = home.writer();
        Self::with(toml, home, writer)
    }

    pub(crate) fn with(toml: &str, home: Home, mut writer: Writer) -> Self {
        let dispatch = Dispatch::restore(&mut writer, courier(toml), "web-01").unwrap();
        Self {
            home,
            writer,
            dispatch,
        }
    }

    pub(crate) fn step(&mut self, now_ms: i64, conditions: Vec<Condition>) {
        let budgets = BudgetChannels::default();
        self.dispatch
            .step(&mut self.writer, now_ms, conditions, &budgets)
            .unwrap();
    }

    /// Waits for what becomes of a message.
    pub(crate) fn record(&mut self, now_ms: i64) {
        let is_there = self.dispatch.record_next(&mut self.writer, now_ms, LIMIT);
        assert!(is_there.unwrap());
    }

    /// The agent dies and starts again.
    fn restart(&mut self, toml: &str) {
        self.dispatch = Dispatch::restore(&mut self.writer, courier(toml), "web-01").unwrap();
    }

    pub(crate) fn deliveries(&self) -> String {
        self.home
            .sqlite3("SELECT channel, kind, state, attempts, ifnull(last_error, '') FROM alert_delivery ORDER BY delivery_id")
            .text()
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn webhook(name: &str, url: &str) -> String {
    format!("[[notify]]\nname = \"{name}\"\nkind = \"webhook\"\nurl = \"{url}/canary\"\n")
}

#[test]
fn a_webhook_is_told_of_an_alert_and_of_its_end() {
    let server = Receiver::start().unwrap();
    let mut host = Host::new(&webhook("ops", server.url()));
    let now = 1_795_000_000_000;
    host.step(now, vec![condition("nightly", Severity::Page)]);
    let request = server.message().unwrap();
    assert_eq!(request.line, "POST /canary HTTP/1.1");
    let fingerprint = request.body["alerts"][0]["fingerprint"].clone();
    assert_eq!(
        request.body,
        json!({
            "version": 1, "source": "bpftok", "host": "web-01", "kind": "fire", "severity": "page",
            "summary": "nightly spends far more than it ever does", "is_test": false,
            "created_at": "2026-11-18T11:06:40Z", "left_out": 0,
            "alerts": [{
                "id": 1, "fingerprint": fingerprint, "kind": "fire", "state": "firing",
                "rule": "spike", "variant": "", "severity": "page",
                "scope": {"workflow": "nightly"}, "budget": null,
                "summary": "nightly spends far more than it ever does",
                "evidence": {"spent_nanousd": 7_000_000_000_u64},
                "started_at": "2026-11-18T11:06:40Z", "fired_at": "2026-11-18T11:06:40Z",
                "ended_at": null, "show": "bpftok alerts show 1",
            }],
        })
    );
    request.answer(200);
    host.record(now);
    host.step(now + MINUTE_MS, Vec::new());
    let request = server.message().unwrap();
    assert_eq!(request.body["kind"], "resolve");
    assert_eq!(
        request.body["alerts"][0]["ended_at"],
        "2026-11-18T11:07:40Z"
    );
    request.answer(204);
    host.record(now + MINUTE_MS);
    assert_eq!(
        host.deliveries(),
        "ops|fire|delivered|1|\nops|resolve|delivered|1|\n"
    );
}

#[test]
fn what_a_server_refuses_is_tried_again_later_and_arrives_once_it_recovers() {
    let server = Receiver::start().unwrap();
    let mut host = Host::new(&webhook("ops", server.url()));
    let now = now_ms();
    let wrong = || vec![condition("nightly", Severity::Page)];
    host.step(now, wrong());
    server.message().unwrap().answer(503);
    host.record(now);
    assert_eq!(host.deliveries(), "ops|fire|failed|1|HTTP status 503\n");
    host.step(now + 29_999, wrong());
    assert!(server.next_within(Duration::ZERO).is_none());
    host.step(now + 30_000, wrong());
    server.message().unwrap().answer(302);
    host.record(now + 30_000);
    assert_eq!(host.deliveries(), "ops|fire|failed|2|HTTP status 302\n");
    host.step(now + 90_000, wrong());
    server.message().unwrap().answer(200);
    host.record(now + 90_000);
    assert_eq!(host.deliveries(), "ops|fire|delivered|3|HTTP status 302\n");
    host.step(now + 91_000, wrong());
    assert!(server.next_within(Duration::ZERO).is_none());
}

#[test]
fn a_message_whose_arrival_was_not_noted_before_a_crash_arrives_again() {
    let server = Receiver::start().unwrap();
    let toml = webhook("ops", server.url());
    let mut host = Host::new(&toml);
    let now = now_ms();
    let wrong = || vec![condition("nightly", Severity::Page)];
    host.step(now, wrong());
    let first = server.message().unwrap();
    let body = first.body.clone();
    first.answer(200);
    host.restart(&toml);
    host.step(now + 1_000, wrong());
    let again = server.message().unwrap();
    assert_eq!(again.body, body);
    again.answer(200);
    host.record(now + 1_000);
    // Nothing is told that was told, and what is gone while the agent was down is over.
    host.restart(&toml);
    host.step(now + 2_000, wrong());
    assert_eq!(host.deliveries(), "ops|fire|delivered|1|\n");
    host.restart(&toml);
    host.step(now + 3_000, Vec::new());
    let over = server.message().unwrap();
    assert_eq!(over.body["kind"], "resolve");
    over.answer(200);
}

#[test]
fn a_dead_channel_is_told_on_the_others_and_what_waits_for_a_day_is_given_up() {
    let (dead, well) = (Receiver::start().unwrap(), Receiver::start().unwrap());
    let toml = format!(
        "{}{}",
        webhook("dead", dead.url()),
        webhook("well", well.url())
    );
    let mut host = Host::new(&toml);
    let now = now_ms();
    let wrong = || vec![condition("nightly", Severity::Page)];
    host.step(now, wrong());
    dead.message().unwrap().answer(500);
    host.record(now);
    well.message().unwrap().answer(200);
    host.record(now);
    // A restart does not forget it.
    host.restart(&toml);
    host.step(now + 6 * MINUTE_MS, wrong());
    let told = well.message().unwrap();
    assert_eq!(told.body["alerts"][0]["rule"], "channel");
    assert_eq!(told.body["alerts"][0]["scope"], json!({"channel": "dead"}));
    told.answer(200);
    host.record(now + 6 * MINUTE_MS);
    dead.message().unwrap().answer(500);
    host.record(now + 24 * 60 * MINUTE_MS + 1);
    assert_eq!(
        host.deliveries(),
        "dead|fire|given_up|2|HTTP status 500\nwell|fire|delivered|1|\nwell|fire|delivered|1|\n"
    );
}

#[test]
fn an_alertmanager_is_told_again_and_again_what_fires() {
    let server = Receiver::start().unwrap();
    let toml = format!(
        "[[notify]]\nname = \"prom\"\nkind = \"alertmanager\"\nurl = \"{}/am/\"\n",
        server.url()
    );
    let mut host = Host::new(&toml);
    let now = now_ms();
    host.step(now, vec![condition("nightly", Severity::Ticket)]);
    // The message itself, and what keeps it firing there.
    for _ in 0..2 {
        let request = server.message().unwrap();
        assert_eq!(request.line, "POST /am/api/v2/alerts HTTP/1.1");
        assert_eq!(
            request.body[0]["labels"],
            json!({
                "alertname": "bpftok_spike", "severity": "ticket", "instance": "web-01",
                "scope_workflow": "nightly",
            })
        );
        request.answer(200);
    }
    host.record(now);
    assert_eq!(host.deliveries(), "prom|fire|delivered|1|\n");
}

#[test]
fn headers_come_from_a_file_and_slack_has_its_own_form() {
    let server = Receiver::start().unwrap();
    let home = Home::new();
    let headers = home.path("ops.headers");
    fs::write(&headers, "Authorization: Bearer canary\n").unwrap();
    let toml = format!(
        "{}format = \"slack\"\nheaders_file = \"{}\"\n",
        webhook("ops", server.url()),
        headers.display()
    );
    let mut host = Host::new(&toml);
    host.step(now_ms(), vec![condition("<!channel>", Severity::Page)]);
    let request = server.message().unwrap();
    assert!(
        request
            .head
            .iter()
            .any(|line| line == "authorization: Bearer canary")
    );
    assert_eq!(
        request.body,
        json!({"text": "[page] web-01: &lt;!channel&gt; spends far more than it ever does (bpftok alerts show 1)"})
    );
    request.answer(200);
}

#[test]
fn a_server_that_never_answers_and_a_command_that_never_ends_hold_up_nobody() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: becoming another user needs root");
        return;
    }
    let (silent, well) = (Receiver::start().unwrap(), Receiver::start().unwrap());
    let toml = format!(
        "{}[[notify]]\nname = \"stuck\"\nkind = \"exec\"\n\
         command = [\"/bin/sh\", \"-c\", \"sleep 600 & sleep 600\"]\n{}",
        webhook("silent", silent.url()),
        webhook("well", well.url())
    );
    let mut host = Host::new(&toml);
    let now = now_ms();
    host.step(now, vec![condition("nightly", Severity::Page)]);
    let waiting = silent.message().unwrap();
    well.message().unwrap().answer(200);
    host.record(now);
    assert_eq!(
        host.deliveries(),
        "silent|fire|waiting|0|\nstuck|fire|waiting|0|\nwell|fire|delivered|1|\n"
    );
    host.record(now);
    host.record(now);
    drop(waiting);
    assert_eq!(
        host.deliveries(),
        "silent|fire|failed|1|no answer within 10 s\nstuck|fire|failed|1|no answer within 10 s\n\
         well|fire|delivered|1|\n"
    );
}

#[test]
fn a_command_has_the_document_on_its_input_and_no_right_of_the_agent() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: becoming another user needs root");
        return;
    }
    let home = Home::new();
    let out = home.path("out");
    fs::create_dir(&out).unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o777)).unwrap();
    let script = home.path("told.sh");
    let text = "#!/bin/sh\ncat > \"$1/document\"\nls -l /proc/$$/fd > \"$1/fds\"\nenv > \"$1/env\"\n\
                grep -E '^(Uid|Gid|Groups|Cap(Inh|Prm|Eff|Amb)|NoNewPrivs):' /proc/$$/status > \"$1/status\"\n";
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    // Something that a careless start would leave open.
    let _open = fs::File::open("/etc/hostname");
    let mut host = Host::new(&format!(
        "[[notify]]\nname = \"script\"\nkind = \"exec\"\ncommand = [\"{}\", \"{}\"]\n",
        script.display(),
        out.display()
    ));
    let now = now_ms();
    host.step(now, vec![condition("nightly", Severity::Page)]);
    host.record(now);
    assert_eq!(host.deliveries(), "script|fire|delivered|1|\n");
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    let document: Value = serde_json::from_str(&read("document")).unwrap();
    assert_eq!(document["alerts"][0]["rule"], "spike");
    // A shell has its script open besides, and keeps its output under another number.
    let own = [
        "/memfd:alert (deleted)".to_owned(),
        "/dev/null".to_owned(),
        script.display().to_string(),
        out.join("fds").display().to_string(),
    ];
    let fds = read("fds");
    let mut files = fds.lines().filter_map(|line| line.split_once(" -> "));
    assert!(
        files.all(|(_, file)| own.iter().any(|own| own == file)),
        "{fds}"
    );
    let environment = read("env");
    let mut names: Vec<&str> = environment
        .lines()
        .filter_map(|line| line.split('=').next())
        .filter(|name| *name != "_" && *name != "OLDPWD")
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["PATH", "PWD"]);
    let status = read("status");
    let status: BTreeMap<&str, Vec<&str>> = status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, values)| (name, values.split_whitespace().collect()))
        .collect();
    for name in ["Uid", "Gid"] {
        let ids = &status[name];
        assert!(
            ids.iter().all(|id| *id == ids[0] && *id != "0"),
            "{status:?}"
        );
    }
    assert!(
        status["Groups"].iter().all(|group| *group != "0"),
        "{status:?}"
    );
    for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status[name], ["0000000000000000"], "{name}");
    }
    assert_eq!(status["NoNewPrivs"], ["1"]);
}

#[test]
fn a_command_that_fails_says_how() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: becoming another user needs root");
        return;
    }
    let exec = |name: &str, command: &str| {
        format!("[[notify]]\nname = \"{name}\"\nkind = \"exec\"\ncommand = [{command}]\n")
    };
    let mut host = Host::new(&format!(
        "{}{}{}user = \"no-such-user\"\n",
        exec("bad", "\"/bin/sh\", \"-c\", \"exit 3\""),
        exec("gone", "\"/no/such/program\""),
        exec("nobody", "\"/bin/true\"")
    ));
    let now = now_ms();
    host.step(now, vec![condition("nightly", Severity::Page)]);
    for _ in 0..3 {
        host.record(now);
    }
    assert_eq!(
        host.deliveries(),
        "bad|fire|failed|1|/bin/sh ended with exit status 3\n\
         gone|fire|failed|1|/no/such/program can't be executed: No such file or directory (os error 2)\n\
         nobody|fire|failed|1|there is no user no-such-user on this host\n"
    );
}

/// A ledger with an alert that fires, one that is over, and a channel that can't be reached.
fn told() -> Host {
    let unreachable = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://user:canary@{}", listener.local_addr().unwrap())
    };
    let mut host = Host::new(&webhook("ops", &unreachable));
    let now = now_ms() - 2 * MINUTE_MS;
    let names = ["nightly", "\u{1b}[31mred"];
    host.step(
        now,
        names.map(|name| condition(name, Severity::Page)).to_vec(),
    );
    host.record(now);
    host.record(now);
    host.step(now + MINUTE_MS, vec![condition("nightly", Severity::Page)]);
    host
}

#[test]
fn alerts_are_listed_shown_and_taken_on() {
    let mut host = told();
    let home = &host.home;
    let text = home.run(["alerts"]).text();
    assert!(!text.contains('\u{1b}'), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(
        lines[1].contains("firing") && lines[1].contains("nightly"),
        "{text}"
    );
    assert!(lines[2].contains("resolved"), "{text}");
    let firing: Value =
        serde_json::from_str(&home.run(["alerts", "--firing", "--json"]).text()).unwrap();
    assert_eq!(firing["rows"].as_array().unwrap().len(), 1);
    assert_eq!(firing["rows"][0]["scope"], json!({"workflow": "nightly"}));
    let id = firing["rows"][0]["alert_id"].to_string();
    let shown = home.run(["alerts", "show", &id]).text();
    assert!(shown.contains("spent_nanousd = 7000000000"), "{shown}");
    assert!(
        shown.contains("the connection failed: connection refused"),
        "{shown}"
    );
    assert!(!shown.contains("canary"), "{shown}");

    let acked = home.run(["alerts", "ack", &id]);
    assert_eq!(
        acked.text(),
        format!("alert {id} is taken on; it is not told again\n")
    );
    let again = home.run(["alerts", "ack", &id]);
    assert_eq!(again.code, Some(5));
    assert!(home.run(["alerts"]).text().contains("taken on"));
    assert_eq!(home.run(["alerts", "show", "99"]).code, Some(5));

    // The agent looks for it, and does not take it back.
    let later = now_ms() + 5 * 60 * MINUTE_MS;
    host.step(later, vec![condition("nightly", Severity::Page)]);
    let kinds = host
        .home
        .sqlite3("SELECT kind FROM alert_delivery ORDER BY delivery_id");
    assert_eq!(kinds.text(), "fire\nfire\nresolve\n");
    let taken = "SELECT count(*) FROM v_alert_active WHERE acknowledged_ms IS NOT NULL";
    assert_eq!(host.home.sqlite3(taken).text(), "1\n");
}

#[test]
fn no_part_of_a_url_is_in_the_ledger() {
    let host = told();
    let dump = host.home.sqlite3(".dump").text();
    assert!(dump.contains("alert_delivery") && !dump.contains("canary"));
}

#[test]
fn a_channel_is_tried_with_a_message_that_is_marked() {
    let server = Receiver::start().unwrap();
    let home = Home::new();
    let config = home.configure("config.toml", &webhook("ops", server.url()));
    let config = config.to_str().unwrap().to_owned();
    let answering = thread::spawn(move || {
        let request = server.message().unwrap();
        let is_test = request.body["is_test"].clone();
        request.answer(200);
        server.message().unwrap().answer(404);
        is_test
    });
    let run = || home.run(["--config", &config, "alerts", "test", "ops"]);
    assert_eq!(run().text(), "channel ops (webhook) took the message\n");
    let refused = run();
    assert_eq!(refused.code, Some(1));
    assert_eq!(
        refused.err,
        "bpftok: channel ops (webhook) did not take the message: HTTP status 404\n"
    );
    assert_eq!(answering.join().unwrap(), Value::Bool(true));
    let unknown = home.run(["--config", &config, "alerts", "test", "other"]);
    assert_eq!(
        unknown.err,
        "bpftok: no channel is called \"other\"; the configuration has ops\n"
    );
}

#[test]
fn a_channel_over_tls_is_told_where_this_host_knows_the_authority_of_its_server() {
    let home = Home::new();
    let certificate = Certificate::create(&home.path(""), &[]).unwrap();
    let server = Receiver::start_tls(certificate.server().unwrap()).unwrap();
    let config = home.configure("config.toml", &webhook("ops", server.url()));
    let send = |authorities: &Path| {
        let mut command = Command::new(BPFTOK);
        command
            .env("SSL_CERT_FILE", authorities)
            .env_remove("SSL_CERT_DIR")
            .arg("--config")
            .arg(&config)
            .args(["alerts", "test", "ops"]);
        ran(&mut command)
    };
    let stranger = home.path("stranger");
    fs::create_dir(&stranger).unwrap();
    let stranger = Certificate::create(&stranger, &[]).unwrap();
    let refused = send(&stranger.ca_path);
    assert_eq!(refused.code, Some(1));
    assert_eq!(
        refused.err,
        "bpftok: channel ops (webhook) did not take the message: TLS failed; is the server's \
         certificate issued by an authority that this host knows?\n"
    );
    let answering = thread::spawn(move || server.message().unwrap().answer(200));
    let told = send(&certificate.ca_path);
    assert_eq!(told.text(), "channel ops (webhook) took the message\n");
    answering.join().unwrap();
}

#[test]
fn who_was_told_is_forgotten_after_90_days_and_the_alerts_are_not() {
    let mut host = told();
    let waiting = host
        .writer
        .due_deliveries("ops", now_ms() + 60 * MINUTE_MS, 10)
        .unwrap();
    for due in waiting {
        let outcome = agent::store::DeliveryOutcome::Delivered { unix_ms: now_ms() };
        host.writer.record_delivery(due.id, &outcome).unwrap();
    }
    let sweep = |host: &mut Host, days: i64| {
        let then = now_ms() + days * 24 * 60 * MINUTE_MS;
        while host.writer.sweep(then).unwrap() == agent::store::Progress::More {}
        let counts = "SELECT (SELECT count(*) FROM alert), (SELECT count(*) FROM alert_delivery)";
        host.home.sqlite3(counts).text()
    };
    assert_eq!(sweep(&mut host, 89), "2|3\n");
    assert_eq!(sweep(&mut host, 92), "2|0\n");
}
