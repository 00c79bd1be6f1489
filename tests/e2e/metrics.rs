//! What metrics tell is what was committed, under names that only grow.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use agent::metrics::{About, BudgetStatus, Format, Metrics, names};
use agent_core::alert::{Rule, Severity};
use agent_core::event::Timestamp;
use agent_core::llm::{
    Account, Limit, Observed, Outcome, Provider, Reset, Share, SubInference, SubKind, Usage,
};
use agent_core::pipeline::{CoverageOutcome, Output};
use agent_core::session::{Hop, TaskType, UsageRecord};
use agent_core::workflow::Workflow;
use serde_json::{Value, json};

use crate::world::{assert_golden, coverage, estimated, ms, priced, record, unknown, usage};

const NOON: &str = "2026-11-02T12:00:00Z";

pub(crate) fn empty() -> Metrics {
    Metrics::new(About {
        version: "0.1.0",
        price_table_unix_ms: Some(ms("2026-10-30T00:00:00Z")),
        session_idle: Duration::from_secs(1_800),
    })
}

/// A call of a workflow with this name.
pub(crate) fn of_workflow(identity: &str, name: &str) -> UsageRecord {
    let mut record = record(identity, NOON);
    record.workflow = Arc::new(Workflow {
        name: name.to_owned(),
        ..Workflow::unattributed()
    });
    record
}

fn commit(metrics: &Metrics, outputs: &[Output]) {
    metrics.committed(outputs, |account| format!("hash-of-{}", account.id().len()));
}

fn text(metrics: &Metrics) -> String {
    metrics.text(Format::Prometheus, ms(NOON))
}

/// The value of a series as it is written, if it is there.
fn value<'a>(text: &'a str, series: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
}

/// Lines of a metric that are series.
fn series<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let of = |line: &&str| line.starts_with(&format!("{name}{{"));
    text.lines().filter(of).collect()
}

/// What promtool says of metrics, rules or a configuration; nothing if it finds nothing.
#[track_caller]
fn promtool<const N: usize>(arguments: [&str; N], input: &str) -> String {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("can't run promtool: {error}; is Debian's package prometheus installed?")
        });
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    match output.status.success() {
        true => String::from_utf8(output.stderr).unwrap(),
        false => format!("{output:?}"),
    }
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap()
}

fn quota(name: &'static str, resets: &str) -> Output {
    Output::Quota {
        unix_ms: ms("2026-11-02T11:30:00Z"),
        observed: Box::new(Observed {
            at: Timestamp::default(),
            provider: Provider("anthropic"),
            account: Account::new("org-1234"),
            limit: Limit {
                name,
                window_seconds: None,
                used: Some(Share::of_millionths(830_000)),
                limit: None,
                remaining: None,
                resets: Some(Reset::At {
                    unix_ms: ms(resets),
                }),
            },
        }),
    }
}

/// Everything that there is a metric for.
pub(crate) fn everything() -> Metrics {
    let metrics = empty();
    let mut failed = record("msg_3", "2026-11-02T11:50:00Z");
    failed.call.outcome = Outcome::Error;
    failed.call.usage = Usage::default();
    let mut thinking = record("msg_4", "2026-11-02T11:55:00Z");
    thinking.call.usage.reasoning = Some(20);
    thinking.call.usage.cache_write_other = Some(7);
    thinking.call.sub_inferences = vec![SubInference {
        kind: SubKind::Advisor,
        model: Some("claude-haiku-5-5".to_owned()),
        usage: Usage {
            input_uncached: Some(30),
            output: Some(3),
            ..Usage::default()
        },
    }];
    thinking.sub_costs = vec![priced(2_000_000)];
    let mut free = estimated("chat_1", "2026-11-02T11:00:00Z");
    free.cost.cost_nanousd = None;
    commit(
        &metrics,
        &[
            usage(record("msg_1", "2026-11-02T11:40:00Z")),
            usage(failed),
            usage(thinking),
            usage(free),
            usage(unknown("chat_2", "2026-11-02T11:10:00Z")),
            Output::Running(Vec::new()),
            coverage("2026-11-02T10:30:00Z", CoverageOutcome::Unprobed, 5),
            coverage("2026-11-02T11:40:00Z", CoverageOutcome::Decoded, 3),
            coverage("2026-11-02T11:41:00Z", CoverageOutcome::Truncated, 1),
            coverage("2026-11-02T11:41:00Z", CoverageOutcome::LostEvent, 9),
            quota("unified-5h", "2026-11-02T14:00:00Z"),
            quota("unified-7d", "2026-11-02T11:45:00Z"),
        ],
    );
    metrics.budgets([
        BudgetStatus {
            name: "platform-month".to_owned(),
            scope: String::new(),
            unit: "usd".to_owned(),
            limit: 3_000_000_000_000,
            used: 750_500_000_000,
            is_at_least: true,
            burns: vec![("5m".to_owned(), 0.0), ("1h".to_owned(), 14.5)],
            exhausted_unix_ms: Some(ms("2026-11-20T00:00:00Z")),
            reset_unix_ms: Some(ms("2026-12-01T00:00:00Z")),
        },
        BudgetStatus {
            name: "per-developer-day".to_owned(),
            scope: "user=dana".to_owned(),
            unit: "tokens".to_owned(),
            limit: 1_000,
            used: 1_250,
            is_at_least: false,
            burns: Vec::new(),
            exhausted_unix_ms: None,
            reset_unix_ms: None,
        },
    ]);
    metrics.alerts([
        (Rule::Runaway, Severity::Page, 1),
        (Rule::Coverage, Severity::Ticket, 1),
        (Rule::Runaway, Severity::Page, 1),
    ]);
    let status = json!({"lost_records": 9, "held_bytes": 4_096, "calls": 5, "self_check": "seen"});
    metrics.status(status.as_object().unwrap());
    // More models than are told apart.
    let of_model = |number: u32| {
        let mut record = record("msg_9", NOON);
        record.call.model_served = Some(format!("m-{number}"));
        record
    };
    metrics.running(&(0..200).map(of_model).collect::<Vec<_>>());
    metrics.running(&[record("msg_9", NOON)]);
    metrics
}

#[test]
fn the_numbers_are_those_of_what_was_committed_in_both_formats() {
    let metrics = everything();
    assert_golden("metrics.txt", &text(&metrics));
    let open = metrics.text(Format::OpenMetrics, ms(NOON));
    assert_golden("metrics.openmetrics.txt", &open);
    let told: BTreeSet<&str> = text(&metrics)
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .map(|name| {
            names::ALL
                .iter()
                .find(|known| known.name == name)
                .unwrap()
                .name
        })
        .collect();
    assert_eq!(told.len(), names::ALL.len(), "there is an example of each");
}

#[test]
fn promtool_finds_nothing_wrong_with_the_numbers() {
    assert_eq!(promtool(["check", "metrics"], &text(&everything())), "");
    assert_eq!(promtool(["check", "metrics"], &text(&empty())), "");
}

#[test]
fn a_call_that_is_written_again_counts_once_and_adds_what_is_better_known() {
    let metrics = empty();
    let mut first = record("msg_1", NOON);
    first.call.usage.output = Some(20);
    first.cost = priced(1_000_000);
    let mut less = record("msg_1", NOON);
    less.call.usage.output = Some(5);
    for record in [
        &first,
        &first,
        &record("msg_1", NOON),
        &less,
        &record("msg_1", NOON),
    ] {
        metrics.calls([record]);
    }
    let text = text(&metrics);
    let of = "workflow=\"unattributed\",provider=\"anthropic\",model=\"claude-opus-5-5-20260901\",task_type=\"chat\"";
    let is = |name: &str, more: &str| value(&text, &format!("{name}{{{of}{more}}}"));
    assert_eq!(
        is("bpftok_requests_total", ",outcome=\"complete\""),
        Some("1")
    );
    assert_eq!(is("bpftok_tokens_total", ",kind=\"output\""), Some("50"));
    assert_eq!(
        is("bpftok_tokens_total", ",kind=\"cache_read\""),
        Some("800")
    );
    assert_eq!(is("bpftok_cost_usd_total", ""), Some("0.004625"));
    let count = "bpftok_request_duration_seconds_count{provider=\"anthropic\",model=\"claude-opus-5-5-20260901\"}";
    assert_eq!(value(&text, count), Some("1"));
}

#[test]
fn a_call_through_a_gateway_on_this_host_counts_once_whichever_side_ends_first() {
    for is_gateway_first in [true, false] {
        let metrics = empty();
        let mut client = of_workflow("a", "client");
        let mut gateway = of_workflow("b", "gateway");
        if is_gateway_first {
            client.hop = Some(Hop::ToGateway {
                counted: gateway.identity.clone(),
            });
            metrics.calls([&gateway, &client]);
        } else {
            gateway.hop = Some(Hop::OfGateway {
                origin: client.identity.clone(),
            });
            metrics.calls([&client, &gateway]);
        }
        let text = text(&metrics);
        let sum = |name: &str| -> f64 {
            let values = series(&text, name).into_iter();
            let values = values.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>());
            values.map(Result::unwrap).sum()
        };
        assert_eq!(sum("bpftok_requests_total"), 1.0);
        assert_eq!(sum("bpftok_tokens_total"), 1_050.0);
        assert_eq!(sum("bpftok_cost_usd_total"), 0.004_625);
    }
}

#[test]
fn values_beyond_the_limit_of_a_label_are_other_and_nothing_is_lost_from_the_sum() {
    let metrics = empty();
    for number in 0..250 {
        let name = format!("workflow-{number}");
        metrics.calls([&of_workflow(&number.to_string(), &name)]);
    }
    let text = text(&metrics);
    let requests = series(&text, "bpftok_requests_total");
    assert_eq!(requests.len(), 201);
    let other = requests
        .iter()
        .find(|line| line.contains("workflow=\"other\""))
        .unwrap();
    assert!(other.ends_with(" 50"), "{other}");
    assert_eq!(
        value(&text, "bpftok_labels_folded_total{label=\"workflow\"}"),
        Some("50")
    );
}

#[test]
fn combinations_of_labels_are_limited_too() {
    let metrics = empty();
    for number in 0..1_500 {
        let mut record = of_workflow(&number.to_string(), &format!("w-{}", number % 150));
        record.call.model_served = Some(format!("m-{}", number / 150));
        metrics.calls([&record]);
    }
    let text = text(&metrics);
    let requests = series(&text, "bpftok_requests_total");
    assert_eq!(requests.len(), 1_001);
    let counts = requests.iter().map(|line| line.rsplit(' ').next().unwrap());
    assert_eq!(
        counts
            .map(|count| count.parse::<u64>().unwrap())
            .sum::<u64>(),
        1_500
    );
}

#[test]
fn names_that_would_break_the_format_or_a_terminal_do_neither() {
    let metrics = empty();
    let nasty =
        "a\"} 1\nbpftok_cost_usd_total 1e9\n\u{1b}]0;x\u{7}\\\u{0}=cmd()|';DROP TABLE x;--<script>";
    let mut record = of_workflow("msg_1", nasty);
    record.call.model_served = Some(nasty.to_owned());
    record.task = TaskType::Coding;
    metrics.calls([&record]);
    let text = text(&metrics);
    assert_eq!(promtool(["check", "metrics"], &text), "");
    let is_plain = |byte: u8| byte >= 0x20 || byte == b'\n';
    assert!(text.bytes().all(is_plain), "{text:?}");
    assert_eq!(value(&text, "bpftok_cost_usd_total"), None);
    assert_eq!(series(&text, "bpftok_cost_usd_total").len(), 1);
}

#[test]
fn what_is_not_known_has_no_series() {
    let text = text(&empty());
    for name in [
        "bpftok_coverage_ratio",
        "bpftok_budget_limit",
        "bpftok_cost_usd_total",
    ] {
        assert!(!text.contains(name), "{text}");
    }
    assert_eq!(value(&text, "bpftok_sessions_active"), Some("0.0"));
    let metrics = everything();
    let told = |at: &str| metrics.text(Format::Prometheus, ms(at));
    let active = "bpftok_sessions_active";
    assert_eq!(value(&told(NOON), active), Some("1.0"));
    assert_eq!(value(&told("2026-11-02T12:40:00Z"), active), Some("0.0"));
    let ratio = "bpftok_coverage_ratio";
    assert_eq!(value(&told(NOON), ratio), Some("0.75"));
    assert_eq!(value(&told("2026-11-02T13:00:00Z"), ratio), None);
    let used = "bpftok_quota_used_ratio{provider=\"anthropic\",account=\"hash-of-8\",limit=\"unified-5h\"}";
    assert_eq!(value(&told(NOON), used), Some("0.83"));
    assert_eq!(value(&told("2026-11-02T14:00:00Z"), used), None);
}

#[test]
fn the_documentation_lists_the_metrics_that_there_are() {
    let documented: Vec<String> = read("agent/docs/metrics.md")
        .lines()
        .filter(|line| line.starts_with("| `bpftok_"))
        .map(str::to_owned)
        .collect();
    let known = names::ALL.map(|metric| {
        let labels = metric.labels.iter().map(|label| format!("`{label}`"));
        let labels = labels.collect::<Vec<_>>().join(", ");
        format!(
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind.as_str(),
            if labels.is_empty() { "—" } else { &labels },
            metric.help
        )
    });
    assert_eq!(documented, known);
}

/// Names in an expression that look like metrics of ours, without what histograms append.
fn metrics_in(expression: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    expression
        .split(|c| !is_part(c))
        .filter(|word| word.starts_with("bpftok_"))
        .map(|word| word.strip_suffix("_bucket").unwrap_or(word))
        .collect()
}

/// All values of a key, at any depth.
fn values_of<'a>(value: &'a Value, key: &str, out: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                if let (true, Some(text)) = (name == key, inner.as_str()) {
                    out.push(text);
                }
                values_of(inner, key, out);
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| values_of(inner, key, out)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn rules_and_board_ask_for_metrics_that_there_are() {
    let known: BTreeSet<&str> = names::ALL.iter().map(|metric| metric.name).collect();
    let rules = read("agent/packaging/prometheus/bpftok.rules.yml");
    let unknown: Vec<_> = metrics_in(&rules).difference(&known).copied().collect();
    assert_eq!(unknown, [""; 0]);
    let board: Value = serde_json::from_str(&read("agent/packaging/grafana/bpftok.json")).unwrap();
    let mut asked = Vec::new();
    values_of(&board, "expr", &mut asked);
    values_of(&board, "query", &mut asked);
    let asked: BTreeSet<&str> = asked.into_iter().flat_map(metrics_in).collect();
    assert!(asked.len() > 15, "{asked:?}");
    let unknown: Vec<_> = asked.difference(&known).copied().collect();
    assert_eq!(unknown, [""; 0]);
}

#[test]
fn what_the_board_asks_is_what_prometheus_understands() {
    let board: Value = serde_json::from_str(&read("agent/packaging/grafana/bpftok.json")).unwrap();
    let mut asked = Vec::new();
    values_of(&board, "expr", &mut asked);
    let rules: Vec<Value> = asked
        .iter()
        .enumerate()
        .map(|(number, expression)| {
            let expression = expression
                .replace("$__rate_interval", "5m")
                .replace("$__range", "1d")
                .replace("$instance", ".*");
            json!({"record": format!("panel:{number}"), "expr": expression})
        })
        .collect();
    // JSON is YAML.
    let file = tempfile::NamedTempFile::with_suffix(".yml").unwrap();
    let groups = json!({"groups": [{"name": "board", "rules": rules}]});
    fs::write(file.path(), groups.to_string()).unwrap();
    assert_eq!(
        promtool(["check", "rules", file.path().to_str().unwrap()], ""),
        ""
    );
}

#[test]
fn the_alerts_fire_on_what_they_are_for() {
    let path = |name: &str| repository(name).to_str().unwrap().to_owned();
    let config = path("agent/packaging/prometheus/prometheus.yml");
    assert_eq!(promtool(["check", "config", &config], ""), "");
    let rules = path("tests/e2e/promtool/rules.test.yml");
    assert_eq!(promtool(["test", "rules", &rules], ""), "");
}
