//! Debian's Prometheus asks the running agent, and the rules that we ship fire on what it says.

use std::fs;

use serde_json::Value;
use test_support::Endpoint;

use crate::agent::{LEDGER_LIMIT, Place};
use crate::monitor::{Monitor, free_address};
use crate::run::{poll, stream_messages};

/// Calls of the client, all alike.
const CALLS: u32 = 6;

const RULES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/packaging/prometheus/bpftok.rules.yml"
);

/// The value of an expression that has one.
fn value(prometheus: &Monitor, expression: &str) -> Option<f64> {
    let escaped: String = expression
        .bytes()
        .map(|byte| format!("%{byte:02X}"))
        .collect();
    let text = prometheus.get(&format!("/api/v1/query?query={escaped}"))?;
    let answer: Value = serde_json::from_str(&text).ok()?;
    let value = answer["data"]["result"][0]["value"][1].as_str()?;
    value.parse().ok()
}

/// Labels of the alerts of this name that fire.
fn firing(prometheus: &Monitor, name: &str) -> Vec<Value> {
    let mut labels = prometheus.firing("/api/v1/alerts");
    labels.retain(|labels| labels["alertname"] == name);
    labels
}

#[test]
fn prometheus_reads_the_agent_and_the_shipped_rules_fire_when_a_budget_is_used_up() {
    let test = "prometheus";
    let endpoint = Endpoint::start().unwrap();
    let model = format!("scraped-{}", endpoint.tag());
    let listen = free_address();
    let config = format!(
        "[metrics]\nlisten = \"{listen}\"\n\
         [[budget]]\nname = \"scraped\"\nscope = \"model={model}*\"\nlimit = \"{CALLS} requests\"\n\
         period = \"rolling:1h\"\nburn = \"off\"\n"
    );
    let place = Place::of(&endpoint).configured(config.leak());
    let settings = place.file("prometheus.yml");
    fs::write(
        &settings,
        format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{RULES:?}]\n\
             scrape_configs: [{{ job_name: bpftok, static_configs: [{{ targets: [\"{listen}\"] }}] }}]\n"
        ),
    )
    .unwrap();
    let arguments = [
        format!("--config.file={}", settings.display()),
        format!("--storage.tsdb.path={}", place.file("tsdb").display()),
    ];
    let Some(prometheus) = Monitor::start("prometheus", &arguments, test) else {
        return;
    };
    let Some(agent) = place.run(test) else { return };
    assert!(
        poll(LEDGER_LIMIT, || value(&prometheus, "up{job=\"bpftok\"}")
            == Some(1.0)),
        "{}",
        agent.said()
    );
    assert_eq!(
        firing(&prometheus, "BpftokBudgetExceeded"),
        [Value::Null; 0]
    );

    if stream_messages(&endpoint, test, &model, CALLS).is_none() {
        return;
    }

    let requests = format!("sum(bpftok_requests_total{{model=~\"{model}.*\"}})");
    assert!(
        poll(LEDGER_LIMIT, || value(&prometheus, &requests)
            == Some(f64::from(CALLS))),
        "{:?}\n{}",
        value(&prometheus, &requests),
        agent.said()
    );
    assert!(
        poll(LEDGER_LIMIT, || !firing(
            &prometheus,
            "BpftokBudgetExceeded"
        )
        .is_empty()),
        "{}",
        agent.said()
    );
    let fired = firing(&prometheus, "BpftokBudgetExceeded");
    let labels: Vec<_> = fired
        .iter()
        .map(|labels| (labels["budget"].as_str(), labels["severity"].as_str()))
        .collect();
    assert_eq!(labels, [(Some("scraped"), Some("ticket"))]);
    agent.stop();
}
