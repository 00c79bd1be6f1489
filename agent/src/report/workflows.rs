//! `bpftok workflow`: the rules, how they name a process, and rules that could be.

use std::collections::BTreeMap;

use agent_core::attribution::Client;
use agent_core::event::{Checkout, Container, Placement, Process};
use agent_core::session::is_coding;
use agent_core::workflow::{
    Compared, Condition, Field, Origin, RuleSpec, Subject, Template, Trace, Tried, Verdict,
    Workflow, Workflows, is_cron,
};
use serde_json::{Map, Value, json};

use super::table::{Cell, Column, Table, write_json};
use super::text::{self, Cut, UNKNOWN};
use super::{Asked, Error, Format, Found, JSON_SCHEMA_VERSION, Page};
use crate::config;
use crate::store::{self, Kind, Reader, SeenWorkflow, Size};

/// LIMIT: bytes of a pattern that is proposed, as the configuration has it.
const PATTERN_BYTES: usize = 256;

/// Writes the configured rules in their order, and the workflows of a window, if the ledger could be
/// read.
///
/// # Errors
/// All of [`Error`].
pub fn list(
    page: &mut Page<'_>,
    rules: &[RuleSpec],
    reader: Result<&Reader, &store::Error>,
    asked: &Asked,
) -> Result<Found, Error> {
    let window = page.window(asked)?;
    let seen = match reader {
        Ok(reader) => Ok(reader.workflows(window)?),
        Err(error) => Err(error),
    };
    if page.format == Format::Json {
        let rules = (1_usize..).zip(rules).map(|(number, rule)| {
            let mut row = rule_json(rule);
            row.insert("number".to_owned(), number.into());
            Value::Object(row)
        });
        let mut document = page.document(window);
        document.insert("rules".to_owned(), rules.collect());
        let seen = seen.ok().map(|seen| seen_table(&seen).json_rows());
        document.insert("seen".to_owned(), seen.unwrap_or_default());
        write_json(page.out, &Value::Object(document))?;
        return Ok(Found::Something);
    }
    if rules.is_empty() {
        writeln!(
            page.out,
            "No entry [[workflow]] is configured: names are automatic, but for those that markers give.\n\
             `bpftok workflow suggest` proposes entries; `bpftok exec NAME -- COMMAND` sets a marker."
        )?;
    } else {
        page.table(&rules_table(rules))?;
    }
    match seen {
        Ok(seen) if seen.is_empty() => {
            writeln!(page.out, "\nNo call is in the ledger for this time.")?;
        }
        Ok(seen) => {
            writeln!(page.out, "\nSeen {}:\n", page.heading(window))?;
            page.table(&seen_table(&seen))?;
        }
        Err(error) => writeln!(page.out, "\nWhat was seen can't be told: {error}")?,
    }
    Ok(Found::Something)
}

fn rules_table(rules: &[RuleSpec]) -> Table {
    let rows = (1_u64..).zip(rules).map(|(number, rule)| {
        vec![
            Cell::Count(number),
            Cell::Text(rule.name.to_string()),
            Cell::text(rule.billing_code.clone()),
            Cell::Text(matching(rule)),
        ]
    });
    Table {
        columns: vec![
            Column::number("number", "RULE", 0),
            Column::text("name", "WORKFLOW", 0, Cut::End),
            Column::text("billing_code", "BILLING CODE", 1, Cut::End),
            // Whole, at the end of the line: it is what the rule is.
            Column {
                cut: None,
                ..Column::text("match", "MATCHES", 0, Cut::End)
            },
        ],
        rows: rows.collect(),
        keys: 2,
        totals: None,
    }
}

fn seen_table(seen: &[SeenWorkflow]) -> Table {
    let rows = seen.iter().map(|workflow| {
        vec![
            Cell::Text(workflow.name.clone()),
            Cell::Text(workflow.origin.clone()),
            Cell::text(workflow.billing_code.clone()),
            Cell::Count(workflow.size.requests),
            Cell::Count(workflow.size.tokens),
            workflow
                .size
                .cost_nanousd
                .map_or(Cell::Unknown, Cell::Money),
            Cell::Moment(workflow.last_ms),
        ]
    });
    Table {
        columns: vec![
            Column::text("name", "WORKFLOW", 0, Cut::End),
            Column::text("origin", "NAMED BY", 0, Cut::End),
            Column::text("billing_code", "BILLING CODE", 2, Cut::End),
            Column::number("requests", "REQS", 1),
            Column::number("tokens", "TOKENS", 3),
            Column::number("cost_nanousd", "COST", 0),
            Column::number("last", "LAST", 4),
        ],
        rows: rows.collect(),
        keys: 1,
        totals: None,
    }
}

/// Writes how the workflow of a process is found.
///
/// # Errors
/// [`Error::Write`].
pub fn test(
    page: &mut Page<'_>,
    workflows: &Workflows,
    subject: Subject<'_>,
    unread: &[&str],
) -> Result<Found, Error> {
    let trace = workflows.trace(subject);
    if page.format == Format::Json {
        let mut document = document(page);
        document.insert("process".to_owned(), json!(subject.process));
        document.insert("client".to_owned(), json!(subject.client));
        document.insert("host".to_owned(), json!(subject.host));
        document.insert("unread".to_owned(), json!(unread));
        let tried = trace.tried.iter().map(tried_json);
        document.insert("tried".to_owned(), tried.collect());
        document.insert("workflow".to_owned(), workflow_json(&trace.workflow));
        write_json(page.out, &Value::Object(document))?;
        return Ok(Found::Something);
    }
    for (what, value) in facts(subject) {
        let value = value
            .as_deref()
            .map_or_else(|| UNKNOWN.into(), text::visible);
        writeln!(page.out, "{what:<12}{value}")?;
    }
    if !unread.is_empty() {
        writeln!(
            page.out,
            "\nNot readable, and so taken for unknown: {}. Root may read it.",
            unread.join(", ")
        )?;
    }
    writeln!(page.out)?;
    for tried in &trace.tried {
        write_tried(page, tried)?;
    }
    writeln!(page.out, "\n{}", conclusion(&trace))?;
    Ok(Found::Something)
}

/// Writes rules for the biggest of what has an automatic name in a window.
///
/// # Errors
/// All of [`Error`].
pub fn suggest(
    page: &mut Page<'_>,
    reader: &Reader,
    asked: &Asked,
    workflows: &Workflows,
    most: u32,
) -> Result<Found, Error> {
    let window = page.window(asked)?;
    let kinds = reader.kinds(window)?;
    let proposals = proposals(&kinds, workflows);
    let shown: Vec<&Proposal> = proposals
        .iter()
        .take(usize::try_from(most).unwrap_or(usize::MAX))
        .collect();
    if page.format == Format::Json {
        let mut document = page.document(window);
        let rows = shown.iter().map(|proposal| {
            let mut row = rule_json(&proposal.rule);
            row.insert("automatic_name".to_owned(), json!(proposal.automatic));
            row.insert("requests".to_owned(), proposal.size.requests.into());
            row.insert("tokens".to_owned(), proposal.size.tokens.into());
            row.insert("cost_nanousd".to_owned(), json!(proposal.size.cost_nanousd));
            row.insert("toml".to_owned(), toml_of(&proposal.rule).into());
            Value::Object(row)
        });
        document.insert("rows".to_owned(), rows.collect());
        write_json(page.out, &Value::Object(document))?;
        return Ok(found(shown.is_empty()));
    }
    if shown.is_empty() {
        writeln!(
            page.out,
            "Nothing to suggest: all calls of this time are named by a marker or a rule, or nothing is known\n\
             of them. `bpftok report` says what there is."
        )?;
        return Ok(Found::Nothing);
    }
    writeln!(
        page.out,
        "# {}\n\
         # What has an automatic name, dearest first. Give it names of your own, paste it into the\n\
         # configuration, and see with `bpftok config check` and `bpftok workflow test PID`.",
        page.heading(window)
    )?;
    for proposal in shown {
        let size = proposal.size;
        let cost = size
            .cost_nanousd
            .map_or_else(|| UNKNOWN.into(), text::money);
        let calls = match size.requests {
            1 => "1 call".to_owned(),
            many => format!("{} calls", text::count(many)),
        };
        let automatic = text::visible(&proposal.automatic);
        let tokens = text::count(size.tokens);
        writeln!(
            page.out,
            "\n# {calls}, {tokens} tokens, cost {cost}; automatic name: {automatic}"
        )?;
        for line in toml_of(&proposal.rule).lines() {
            writeln!(page.out, "{}", text::visible(line))?;
        }
    }
    Ok(Found::Something)
}

const fn found(is_empty: bool) -> Found {
    if is_empty {
        Found::Nothing
    } else {
        Found::Something
    }
}

fn document(page: &Page<'_>) -> Map<String, Value> {
    Map::from_iter([
        (
            "schema_version".to_owned(),
            Value::from(JSON_SCHEMA_VERSION),
        ),
        ("generated_at".to_owned(), Value::from(page.now.to_string())),
    ])
}

fn rule_json(rule: &RuleSpec) -> Map<String, Value> {
    let matching: Map<String, Value> = rule
        .conditions
        .iter()
        .map(|condition| {
            let field = condition.field.as_str().to_owned();
            (field, json!(condition.patterns))
        })
        .collect();
    Map::from_iter([
        ("name".to_owned(), Value::from(rule.name.to_string())),
        ("match".to_owned(), Value::Object(matching)),
        ("billing_code".to_owned(), json!(rule.billing_code)),
    ])
}

/// The conditions of a rule in a line.
fn matching(rule: &RuleSpec) -> String {
    let conditions: Vec<String> = rule
        .conditions
        .iter()
        .map(|condition| {
            let patterns = condition.patterns.join(" | ");
            format!("{} = {patterns}", condition.field.as_str())
        })
        .collect();
    match conditions.is_empty() {
        true => "everything".to_owned(),
        false => conditions.join(", "),
    }
}

fn toml_of(rule: &RuleSpec) -> String {
    let lines = config::workflow_lines(rule).into_iter();
    let lines: Vec<String> = lines
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    format!("[[workflow]]\n{}", lines.join("\n"))
}

/// What is known of a subject, by the names of the fields.
fn facts(subject: Subject<'_>) -> Vec<(&'static str, Option<String>)> {
    let process = subject.process;
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let container = process.and_then(|process| process.container.as_ref());
    let checkout = process.and_then(|process| process.checkout.as_ref());
    let repo = checkout.map(|checkout| match &checkout.branch {
        Some(branch) => format!("{} @ {branch}", checkout.repo),
        None => checkout.repo.clone(),
    });
    let ancestors: Vec<&str> = process
        .iter()
        .flat_map(|process| &process.ancestors)
        .map(|ancestor| ancestor.exe.as_deref().unwrap_or(&ancestor.comm))
        .collect();
    vec![
        (
            "process",
            process.map(|process| format!("{} ({})", process.id.pid, process.comm)),
        ),
        (
            "exe",
            owned(process.and_then(|process| process.exe.as_deref())),
        ),
        (
            "user",
            owned(process.and_then(|process| process.user_name.as_deref())),
        ),
        (
            "unit",
            owned(process.and_then(|process| process.unit.as_deref())),
        ),
        (
            "container",
            container.map(|container| match &container.name {
                Some(name) => format!("{name} ({})", container.id),
                None => container.id.clone(),
            }),
        ),
        (
            "image",
            owned(container.and_then(|container| container.image.as_deref())),
        ),
        ("repo", repo),
        (
            "ancestors",
            Some(ancestors.join(" < ")).filter(|text| !text.is_empty()),
        ),
        ("client", owned(subject.client)),
        ("host", owned(subject.host)),
    ]
}

fn write_tried(page: &mut Page<'_>, tried: &Tried) -> Result<(), Error> {
    match tried {
        Tried::Marker { name } => {
            let name = name.as_deref().map_or_else(|| "none".into(), text::visible);
            writeln!(page.out, "marker: {name}")?;
        }
        Tried::Rule {
            number,
            name,
            compared,
            verdict,
        } => {
            let name = text::visible(name);
            let verdict = match verdict {
                Verdict::Named(_) => "matches".to_owned(),
                Verdict::NoMatch => "does not match".to_owned(),
                Verdict::UnknownCapture(capture) => {
                    format!("does not match: {{{}}} is not known", capture.as_str())
                }
            };
            writeln!(page.out, "rule {number}, {name}: {verdict}")?;
            for one in compared {
                writeln!(page.out, "  {}", text::visible(&comparison(one)))?;
            }
        }
        Tried::Automatic { by, name } => {
            let name = name.as_deref().map_or_else(|| "none".into(), text::visible);
            writeln!(page.out, "automatic name by {}: {name}", by.as_str())?;
        }
    }
    Ok(())
}

/// A condition, what was compared, and what came of it.
fn comparison(one: &Compared) -> String {
    let field = one.field.as_str();
    let wanted = one.patterns.join(" | ");
    match (&one.matched, one.values.as_slice()) {
        (Some(matched), _) => {
            let value = matched.value.as_deref();
            let value = value.unwrap_or("the command line");
            format!("yes  {field}: {value} is {}", matched.pattern)
        }
        (None, []) if one.field == Field::Argv => {
            format!("no   {field}: the command line is none of {wanted}")
        }
        (None, []) => format!("no   {field}: nothing is known, wanted is {wanted}"),
        (None, values) => format!("no   {field}: {} is not {wanted}", values.join(", ")),
    }
}

fn conclusion(trace: &Trace) -> String {
    let Workflow {
        name,
        origin,
        billing_code,
        labels,
    } = &trace.workflow;
    let by = match origin {
        Origin::Marker => "the marker",
        Origin::Rule => "a rule",
        Origin::Auto => "automatic",
        Origin::Unattributed => "nothing tells",
    };
    let mut text = format!("workflow: {} ({by})", text::visible(name));
    if let Some(code) = billing_code {
        text.push_str(&format!(", billed under {}", text::visible(code)));
    }
    for (key, value) in labels {
        text.push_str(&format!(
            ", {}={}",
            text::visible(key),
            text::visible(value)
        ));
    }
    text
}

fn workflow_json(workflow: &Workflow) -> Value {
    let labels: Map<String, Value> = workflow
        .labels
        .iter()
        .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
        .collect();
    json!({
        "name": workflow.name,
        "origin": workflow.origin.as_str(),
        "billing_code": workflow.billing_code,
        "labels": labels,
    })
}

fn tried_json(tried: &Tried) -> Value {
    match tried {
        Tried::Marker { name } => json!({ "by": "marker", "name": name }),
        Tried::Rule {
            number,
            name,
            compared,
            verdict,
        } => {
            let (given, unknown) = match verdict {
                Verdict::Named(given) => (Some(given), None),
                Verdict::NoMatch => (None, None),
                Verdict::UnknownCapture(capture) => (None, Some(capture.as_str())),
            };
            let fields = compared.iter().map(|one| {
                json!({
                    "field": one.field.as_str(),
                    "patterns": one.patterns,
                    "values": one.values,
                    "is_match": one.matched.is_some(),
                    "pattern": one.matched.as_ref().map(|matched| &matched.pattern),
                    "value": one.matched.as_ref().and_then(|matched| matched.value.as_ref()),
                })
            });
            json!({
                "by": "rule",
                "number": number,
                "rule": name,
                "name": given,
                "unknown_capture": unknown,
                "fields": fields.collect::<Vec<_>>(),
            })
        }
        Tried::Automatic { by, name } => json!({ "by": by.as_str(), "name": name }),
    }
}

/// A rule that could be, and what it would be for.
#[derive(Debug, PartialEq)]
struct Proposal {
    rule: RuleSpec,
    /// The automatic name of the biggest part of it.
    automatic: String,
    size: Size,
}

/// Rules for what has an automatic name, dearest first.
fn proposals(kinds: &[Kind], workflows: &Workflows) -> Vec<Proposal> {
    let mut by_rule: BTreeMap<String, Proposal> = BTreeMap::new();
    for kind in kinds {
        // Calls of before version 4 of the ledger have no unit of their own.
        let placement = kind.cgroup.as_deref().map(Placement::of);
        let placement = placement.unwrap_or_default();
        let container = Container {
            name: kind.container_name.clone(),
            image: kind.container_image.clone(),
            ..Container::default()
        };
        let is_container = container != Container::default();
        let process = Process {
            exe: kind.exe.clone(),
            comm: kind.comm.clone().unwrap_or_default(),
            user_name: kind.user.clone(),
            checkout: kind.repo.clone().map(|repo| Checkout {
                root: String::new(),
                repo,
                branch: None,
            }),
            unit: kind.unit.clone().or(placement.unit),
            container: is_container.then_some(container).or(placement.container),
            ..Process::default()
        };
        let workflow = workflows.find(Subject {
            process: Some(&process),
            client: kind.client.as_deref(),
            host: None,
        });
        if workflow.origin != Origin::Auto {
            continue;
        }
        let Some(rule) = rule_for(&process, kind, &workflow.name) else {
            continue;
        };
        let key = toml_of(&rule);
        let proposal = by_rule.entry(key).or_insert_with(|| Proposal {
            rule,
            automatic: workflow.name,
            size: Size::default(),
        });
        proposal.size = proposal.size.plus(kind.size);
    }
    let mut proposals: Vec<Proposal> = by_rule.into_values().collect();
    proposals.sort_by_key(|proposal| {
        let size = proposal.size;
        std::cmp::Reverse((size.cost_nanousd, size.tokens, size.requests))
    });
    proposals
}

/// The rule for one kind of process, by what is likely to stay: a unit, an image, a client in its
/// repositories, a client of a user, an executable.
fn rule_for(process: &Process, kind: &Kind, automatic: &str) -> Option<RuleSpec> {
    let condition = |field, pattern: &str| {
        let is_pattern = !pattern.is_empty() && pattern.len() <= PATTERN_BYTES;
        is_pattern.then(|| Condition {
            field,
            patterns: vec![pattern.to_owned()],
        })
    };
    let rule = |name: &str, conditions: Vec<Condition>| {
        Some(RuleSpec {
            name: Template::parse(name).ok()?,
            conditions,
            billing_code: None,
        })
    };
    // All jobs of cron are in one service; which one this is of is not in the ledger.
    let unit = process
        .unit
        .as_deref()
        .filter(|unit| *unit == automatic && !is_cron(unit));
    if let Some(unit) = unit {
        let stem = unit.strip_suffix(".service").unwrap_or(unit);
        return match stem.split_once('@') {
            // All instances of a template do the same kind of work.
            Some((name, _)) => rule(
                name,
                vec![condition(Field::Unit, &format!("{name}@*.service"))?],
            ),
            None => rule(stem, vec![condition(Field::Unit, unit)?]),
        };
    }
    let container = process.container.as_ref();
    if let Some(image) = container.and_then(|container| container.image.as_deref()) {
        // The version of an image changes, its work does not.
        let path = image.split('@').next().unwrap_or(image);
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let name = name.split(':').next().unwrap_or(name);
        let pattern = match folder {
            "" => format!("{name}*"),
            folder => format!("{folder}/{name}*"),
        };
        return rule(name, vec![condition(Field::ContainerImage, &pattern)?]);
    }
    if let Some(name) = container.and_then(|container| container.name.as_deref()) {
        return rule(name, vec![condition(Field::Container, name)?]);
    }
    let by_file = Client::of_process(process).name;
    let client = kind.client.as_deref();
    // Where it works says more about the work than the client does.
    if let Some(client) = client.filter(|client| is_coding(Some(client))) {
        return rule(
            &format!("{client}/{{repo}}"),
            vec![condition(Field::Client, client)?],
        );
    }
    if let Some(client) = client.filter(|client| Some(*client) != by_file.as_deref()) {
        let user = kind
            .user
            .as_deref()
            .map(|user| condition(Field::User, user));
        let mut conditions = vec![condition(Field::Client, client)?];
        let name = match user {
            Some(user) => {
                conditions.insert(0, user?);
                format!("{client}/{{user}}")
            }
            None => client.to_owned(),
        };
        return rule(&name, conditions);
    }
    let path = kind.exe.as_deref()?;
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let name = path.rsplit('/').next()?;
    rule(name, vec![condition(Field::Exe, path)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(exe: &str, cgroup: &str, client: &str, cost_nanousd: Option<u64>) -> Kind {
        Kind {
            exe: Some(exe.to_owned()),
            comm: Some("main".to_owned()),
            cgroup: Some(cgroup.to_owned()),
            user: Some("ci".to_owned()),
            client: Some(client.to_owned()),
            size: Size {
                requests: 2,
                tokens: 100,
                cost_nanousd,
            },
            ..Kind::default()
        }
    }

    fn rules_for(kinds: &[Kind], rules: Vec<RuleSpec>) -> Vec<(String, String, u64)> {
        proposals(kinds, &Workflows::new(rules))
            .into_iter()
            .map(|proposal| {
                (
                    toml_of(&proposal.rule),
                    proposal.automatic,
                    proposal.size.requests,
                )
            })
            .collect()
    }

    #[test]
    fn what_costs_most_comes_first_and_what_is_the_same_work_has_one_rule() {
        let kinds = [
            kind("/usr/bin/node", "/user.slice", "claude-code", Some(5)),
            kind("/usr/bin/python3", "/user.slice", "openai-python", None),
            kind(
                "/usr/bin/x",
                "/system.slice/worker@1.service",
                "curl",
                Some(3),
            ),
            kind(
                "/usr/bin/x",
                "/system.slice/worker@2.service",
                "curl",
                Some(4),
            ),
            kind("/opt/own/agent (deleted)", "/user.slice", "agent", Some(1)),
            Kind {
                container_name: Some("support-1".to_owned()),
                container_image: Some("registry.example:5000/support/api:3".to_owned()),
                ..kind("/usr/bin/x", "/user.slice", "curl", Some(2))
            },
        ];
        let rule = |name: &str, matching: &str| {
            format!("[[workflow]]\nname = {name:?}\nmatch = {{ {matching} }}")
        };
        assert_eq!(
            rules_for(&kinds, Vec::new()),
            [
                (
                    rule("worker", r#"unit = "worker@*.service""#),
                    "worker@1.service".to_owned(),
                    4
                ),
                (
                    rule("claude-code/{repo}", r#"client = "claude-code""#),
                    "node".to_owned(),
                    2
                ),
                (
                    rule(
                        "api",
                        r#"container_image = "registry.example:5000/support/api*""#
                    ),
                    "support-1".to_owned(),
                    2
                ),
                (
                    rule("agent", r#"exe = "/opt/own/agent""#),
                    "agent".to_owned(),
                    2
                ),
                (
                    rule(
                        "openai-python/{user}",
                        r#"user = "ci", client = "openai-python""#
                    ),
                    "python3".to_owned(),
                    2
                ),
            ]
        );
    }

    #[test]
    fn what_has_a_rule_needs_none_and_what_can_be_no_name_gets_none() {
        let rule = RuleSpec {
            name: Template::parse("known").unwrap(),
            conditions: vec![Condition {
                field: Field::Unit,
                patterns: vec!["known.service".to_owned()],
            }],
            billing_code: None,
        };
        let kinds = [
            kind("/usr/bin/x", "/system.slice/known.service", "curl", Some(1)),
            kind("/usr/bin/x", "/system.slice/a{b.service", "curl", Some(1)),
            Kind::default(),
        ];
        assert_eq!(rules_for(&kinds, vec![rule]), []);
    }
}
