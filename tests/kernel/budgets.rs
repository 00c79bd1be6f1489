//! Real clients loop until a budget breaks: who is told of it, how often, and of its end.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::Value;
use test_support::{Endpoint, Receiver};

use crate::agent::{LEDGER_LIMIT, Place};
use crate::monitor::Monitor;
use crate::run::{Client, poll, python, stream_messages};

/// Calls of the loop, all alike.
const CALLS: u32 = 25;

/// Starts Debian's Alertmanager; `None`, with a `SKIP` line, where it is missing.
fn alertmanager(place: &Place, test: &str) -> Option<Monitor> {
    let config = place.file("alertmanager.yml");
    fs::write(
        &config,
        "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n",
    )
    .unwrap();
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--storage.path={}", place.file("alertmanager").display()),
        "--cluster.listen-address=".to_owned(),
    ];
    Monitor::start("prometheus-alertmanager", &arguments, test)
}

/// Names of the alerts that fire, and how often each is there.
fn firing(manager: &Monitor) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for labels in manager.firing("/api/v2/alerts?active=true") {
        let name = labels["alertname"].as_str().unwrap_or_default();
        *names.entry(name.to_owned()).or_insert(0) += 1;
    }
    names
}

/// What a message says: the kind and the rule of each of its alerts.
fn said(message: &Value) -> Vec<(String, String)> {
    let alerts = message["alerts"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    alerts
        .iter()
        .map(|alert| (text(&alert["kind"]), text(&alert["rule"])))
        .collect()
}

fn delivered(place: &Place) -> bool {
    let waiting =
        place.number("SELECT count(*) FROM alert_delivery WHERE state IN ('waiting', 'failed')");
    let all = place.number("SELECT count(*) FROM alert_delivery");
    all > 0 && waiting == 0
}

#[test]
fn a_loop_that_breaks_a_budget_is_told_to_all_channels_once_over_a_kill_and_until_its_end() {
    let test = "budget breaks";
    let endpoint = Endpoint::start().unwrap();
    let place = Place::of(&endpoint);
    let Some(manager) = alertmanager(&place, test) else {
        return;
    };
    let hook = Receiver::start().unwrap();
    let script = place.file("told.jsonl");
    fs::write(&script, "").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(place.file(""), fs::Permissions::from_mode(0o755)).unwrap();
    let model = format!("looping-{}", endpoint.tag());
    let config = format!(
        "[[budget]]\nname = \"loops\"\nscope = \"model={model}*\"\nlimit = \"20 requests\"\n\
         period = \"rolling:1h\"\nburn = \"off\"\n\
         [[notify]]\nname = \"hook\"\nkind = \"webhook\"\nurl = \"{}/told\"\n\
         [[notify]]\nname = \"manager\"\nkind = \"alertmanager\"\nurl = \"{}\"\n\
         [[notify]]\nname = \"script\"\nkind = \"exec\"\nuser = \"nobody\"\n\
         command = [\"/bin/sh\", \"-c\", \"cat >> {}; echo >> {}\"]\n",
        hook.url(),
        manager.url(),
        script.display(),
        script.display()
    );
    let place = place.configured(config.leak());
    let Some(agent) = place.run(test) else { return };
    if stream_messages(&endpoint, test, &model, CALLS).is_none() {
        return;
    }

    // The agent is killed while the first message waits for its answer.
    let unanswered = hook.message().unwrap();
    place.wait_until(|| {
        place.number("SELECT count(*) FROM alert WHERE state = 'firing' AND rule = 'runaway'") > 0
            && place.number(
                "SELECT count(*) FROM alert WHERE rule = 'budget_threshold' AND variant = '100%'",
            ) > 0
    });
    let said_before = agent.said();
    agent.kill();
    drop(unanswered);
    let is_used = place.number("SELECT max(used_amount) FROM v_budget WHERE budget = 'loops'");
    assert_eq!(is_used, i64::from(CALLS), "{said_before}");

    // After the restart everything arrives.
    let Some(agent) = place.run(test) else { return };
    let mut told = Vec::new();
    assert!(
        poll(LEDGER_LIMIT, || {
            while let Some(message) = hook.next_within(Duration::from_millis(50)) {
                told.extend(said(&message.body));
                message.answer(200);
            }
            delivered(&place)
        }),
        "{}",
        agent.said()
    );
    let fire = |rule: &str| ("fire".to_owned(), rule.to_owned());
    for rule in ["budget_threshold", "runaway"] {
        assert!(told.contains(&fire(rule)), "{rule} is not in {told:?}");
    }
    let fired = place.text(
        "SELECT group_concat(line, ' ') FROM (
             SELECT rule || ':' || count(*) AS line FROM alert
             WHERE rule = 'runaway' OR rule = 'budget_threshold' AND variant = '100%'
             GROUP BY rule ORDER BY rule)",
    );
    assert_eq!(fired, "budget_threshold:1 runaway:1");
    assert!(
        poll(LEDGER_LIMIT, || firing(&manager)
            .contains_key("bpftok_runaway")),
        "{:?}",
        firing(&manager)
    );
    let runs_once = firing(&manager);
    assert_eq!(runs_once.get("bpftok_runaway"), Some(&1), "{runs_once:?}");
    let by_script = fs::read_to_string(&script).unwrap();
    assert!(by_script.contains("\"runaway\""), "{by_script}");
    agent.stop();

    // The rule is switched off: the alert is over, and everybody hears of it.
    let off = format!(
        "{config}[runaway]\nduplicate_requests = 0\nrate_weighted_tokens = 0\n",
        config = place.config()
    );
    let place = place.configured(off.leak());
    let Some(agent) = place.run(test) else { return };
    let mut told = Vec::new();
    let over = ("resolve".to_owned(), "runaway".to_owned());
    assert!(
        poll(LEDGER_LIMIT, || {
            while let Some(message) = hook.next_within(Duration::from_millis(50)) {
                told.extend(said(&message.body));
                message.answer(200);
            }
            told.contains(&over) && delivered(&place)
        }),
        "{told:?}\n{}",
        agent.said()
    );
    assert_eq!(told.iter().filter(|said| **said == over).count(), 1);
    assert!(poll(LEDGER_LIMIT, || !firing(&manager)
        .contains_key("bpftok_runaway")));
    let by_script = fs::read_to_string(&script).unwrap();
    assert!(by_script.contains("\"resolve\""), "{by_script}");
    agent.stop();
}

#[test]
fn a_reply_that_streams_for_long_is_used_of_a_budget_before_it_ends() {
    let test = "budget while it streams";
    let endpoint = Endpoint::start().unwrap();
    let place = Place::of(&endpoint);
    let model = format!("streaming-{}", endpoint.tag());
    let config = format!(
        "[[budget]]\nname = \"stream\"\nscope = \"model={model}*\"\nlimit = \"1M tokens\"\n\
         period = \"rolling:1h\"\nburn = \"off\"\n"
    );
    let place = place.configured(config.leak());
    let Some(agent) = place.run(test) else { return };
    let Some(mut command) = python("calls.py", &endpoint, test) else {
        return;
    };
    command.args([
        "stdlib",
        "messages",
        "--stream",
        "--model",
        &model,
        "--plan",
        "delay-700",
    ]);
    let Some(client) = Client::start(command, test) else {
        return;
    };
    let open = "SELECT ifnull(max(open_amount), 0) FROM v_budget WHERE budget = 'stream'";
    assert!(
        poll(LEDGER_LIMIT, || place.number(open) > 0),
        "{}",
        agent.said()
    );
    let calls = "SELECT count(*) FROM v_open_call WHERE provider IS NOT NULL AND pid IS NOT NULL";
    assert!(place.number(calls) > 0);
    client.succeed();
    let is_over = || place.number(open) == 0 && place.rows().len() == 1;
    assert!(poll(LEDGER_LIMIT, is_over), "{}", agent.said());
    let used = place.number("SELECT used_amount FROM v_budget WHERE budget = 'stream'");
    let stored = place.number(&format!(
        "SELECT sum(context_tokens + output_tokens) FROM v_request WHERE model_requested = '{model}'"
    ));
    assert_eq!(used, stored);
    agent.stop();
    assert_eq!(place.number("SELECT count(*) FROM open_call"), 0);
}
