//! The entries `[[workflow]]`: rules that name the work that pays.

use std::collections::BTreeMap;

use agent_core::event::Marker;
use agent_core::workflow::{Condition, Field, RuleSpec, Template, argument_patterns};

use super::file::{self, Patterns, Section, Written};
use super::{Check, with_article};

/// Key of the entries.
pub(super) const KEY: &str = "workflow";

/// LIMIT: a new process is compared with each entry; a host has some dozens of workflows.
const MOST: usize = 256;
/// LIMIT: the same for the patterns of one key.
const MOST_PATTERNS: usize = 64;
/// LIMIT: every command line of the host is compared with each of these.
const MOST_ARGUMENTS: usize = 64;
/// LIMIT: bytes of a pattern, the longest name of a file.
const PATTERN_BYTES: usize = 256;
/// LIMIT: bytes of a billing code, as in a marker.
const BILLING_BYTES: usize = Marker::WORD_BYTES;

/// An entry's keys and their values as TOML.
pub fn show(rule: &RuleSpec) -> Vec<(&'static str, String)> {
    let text = |text: &str| toml::Value::from(text).to_string();
    let patterns = |patterns: &[String]| match patterns {
        [one] => text(one),
        many => toml::Value::from(many.to_vec()).to_string(),
    };
    let conditions: Vec<String> = rule
        .conditions
        .iter()
        .map(|condition| {
            let patterns = patterns(&condition.patterns);
            format!("{} = {patterns}", condition.field.as_str())
        })
        .collect();
    let matching = match conditions.is_empty() {
        true => "{}".to_owned(),
        false => format!("{{ {} }}", conditions.join(", ")),
    };
    let mut shown = vec![("name", text(&rule.name.to_string())), ("match", matching)];
    let code = rule.billing_code.as_deref();
    shown.extend(code.map(|code| ("billing_code", text(code))));
    shown
}

impl Check<'_> {
    /// Takes the entries.
    pub(super) fn workflows(&mut self, written: Written<Vec<Section<file::Workflow>>>) {
        let Some(entries) = self.entries(KEY, MOST, written) else {
            return;
        };
        let last = entries.len();
        for (place, (key, entry)) in (1..).zip(entries) {
            let Some(rule) = self.workflow(&key, entry) else {
                continue;
            };
            // One whose name has a capture leaves the calls of which that is not known.
            let takes_all = rule.conditions.is_empty() && rule.name.captures().next().is_none();
            if takes_all && place != last {
                let problem = "matches every call, so that no entry below it counts; make it the last \
                     one, or say what it is for, as in match = { user = \"ci\" }";
                self.mistake(&format!("{key}.match"), problem.to_owned());
            }
            self.loaded.config.workflows.push(rule);
        }
        let arguments = argument_patterns(&self.loaded.config.workflows).len();
        if arguments > MOST_ARGUMENTS {
            let problem = format!(
                "has {arguments} patterns of argv in all, at most {MOST_ARGUMENTS} are possible"
            );
            self.mistake(KEY, problem);
        }
    }

    fn workflow(&mut self, key: &str, entry: file::Workflow) -> Option<RuleSpec> {
        let before = self.mistakes.len();
        let file::Workflow {
            name,
            matching,
            billing_code,
            unknown,
        } = entry;
        let name = self.member(key, "name", name, "a string", |name: String| {
            Template::parse(&name).map_err(|bad| bad.to_string())
        });
        if name.is_none() {
            let problem = "is missing; an entry [[workflow]] needs a name and a match".to_owned();
            self.mistake(&format!("{key}.name"), problem);
        }
        let conditions = self.conditions(&format!("{key}.match"), matching);
        let billing_code = self.member(key, "billing_code", billing_code, "a string", check_code);
        for unknown in unknown.keys() {
            let problem = match Field::of_name(unknown) {
                Some(_) => format!("stands outside of match; write match = {{ {unknown} = … }}"),
                None => "unknown key; [[workflow]] has name, match, billing_code".to_owned(),
            };
            self.mistake(&format!("{key}.{unknown}"), problem);
        }
        if self.mistakes.len() > before {
            // What is left of it would say more than was meant.
            return None;
        }
        Some(RuleSpec {
            name: name??,
            conditions: conditions?,
            billing_code: billing_code.flatten(),
        })
    }

    /// What must hold, in the order of the fields; `None` if nothing is said.
    fn conditions(
        &mut self,
        key: &str,
        matching: Section<BTreeMap<String, Written<Patterns>>>,
    ) -> Option<Vec<Condition>> {
        let mut matching = match matching {
            Section::Present(matching) => matching,
            Section::Absent => {
                let problem = "is missing; say what the entry is for, as in match = { unit = \
                     \"nightly.service\" }, or write match = {} in the last entry for all the rest";
                self.mistake(key, problem.to_owned());
                return None;
            }
            Section::Mistyped(kind) => {
                let kind = with_article(kind);
                let problem = format!("is {kind}, must be a table as in {{ user = \"ci\" }}");
                self.mistake(key, problem);
                return None;
            }
        };
        let mut conditions = Vec::new();
        for field in Field::ALL {
            let Some(written) = matching.remove(field.as_str()) else {
                continue;
            };
            let wanted = "a pattern or a list of patterns, all strings";
            let patterns = self.member(key, field.as_str(), written, wanted, check_patterns);
            if let Some(patterns) = patterns.flatten() {
                conditions.push(Condition { field, patterns });
            }
        }
        for unknown in matching.keys() {
            let known = Field::ALL.map(Field::as_str).join(", ");
            let problem = format!("unknown key; match has {known}");
            self.mistake(&format!("{key}.{unknown}"), problem);
        }
        Some(conditions)
    }
}

pub(super) fn check_patterns(patterns: Patterns) -> Result<Vec<String>, String> {
    let patterns = match patterns {
        Patterns::One(pattern) => vec![pattern],
        Patterns::Many(patterns) => patterns,
    };
    if patterns.is_empty() {
        return Err("is empty; name a pattern, or remove the key".to_owned());
    }
    if patterns.len() > MOST_PATTERNS {
        return Err(format!(
            "has {} patterns, at most {MOST_PATTERNS} are possible",
            patterns.len()
        ));
    }
    let is_pattern = |pattern: &String| {
        !pattern.is_empty()
            && pattern.len() <= PATTERN_BYTES
            && !pattern.chars().any(char::is_control)
    };
    if !patterns.iter().all(is_pattern) {
        return Err(format!(
            "must be of 1 to {PATTERN_BYTES} bytes; \"*\" stands for any text, \"?\" for one character"
        ));
    }
    Ok(patterns)
}

fn check_code(code: String) -> Result<String, String> {
    if code.trim().is_empty() || code.len() > BILLING_BYTES || code.chars().any(char::is_control) {
        return Err(format!("must be a code of 1 to {BILLING_BYTES} bytes"));
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use agent_core::workflow::Subject;

    use super::super::tests::{mistakes_of, parse};
    use super::*;

    const RULES: &str = r#"
        [[workflow]]
        name = "nightly-triage"
        match = { unit = "nightly-triage.service" }
        [[workflow]]
        name = "ci-review-bot"
        match = { user = "ci", argv = ["*review*", "*pr-bot*"], ancestor_exe = "gitlab-runner" }
        billing_code = "CC-4410"
        [[workflow]]
        name = "claude-code/{repo}"
        match = { client = "claude-code" }
        [[workflow]]
        name = "rest/{user}"
        match = {}
        [[workflow]]
        name = "rest"
        [workflow.match]
    "#;

    fn condition(field: Field, patterns: &[&str]) -> Condition {
        Condition {
            field,
            patterns: patterns.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    #[test]
    fn rules_are_taken_in_order_and_shown_as_they_are_meant() {
        let loaded = parse(RULES).unwrap();
        let rule = |name: &str, conditions: Vec<Condition>| RuleSpec {
            name: Template::parse(name).unwrap(),
            conditions,
            billing_code: None,
        };
        assert_eq!(
            loaded.config.workflows,
            [
                rule(
                    "nightly-triage",
                    vec![condition(Field::Unit, &["nightly-triage.service"])]
                ),
                RuleSpec {
                    billing_code: Some("CC-4410".to_owned()),
                    ..rule(
                        "ci-review-bot",
                        vec![
                            condition(Field::User, &["ci"]),
                            condition(Field::AncestorExe, &["gitlab-runner"]),
                            condition(Field::Argv, &["*review*", "*pr-bot*"]),
                        ]
                    )
                },
                rule(
                    "claude-code/{repo}",
                    vec![condition(Field::Client, &["claude-code"])]
                ),
                rule("rest/{user}", Vec::new()),
                rule("rest", Vec::new()),
            ]
        );
        assert_eq!(loaded.config.argument_patterns(), ["*review*", "*pr-bot*"]);
        let again = parse(&loaded.show()).unwrap();
        assert_eq!(again.config.workflows, loaded.config.workflows);
        let found = loaded.config.workflows();
        assert_eq!(found.find(Subject::default()).name, "rest");
    }

    #[test]
    fn all_mistakes_of_rules_are_told_with_their_remedies() {
        let text = r#"
            [[workflow]]
            match = { unit = "a" }
            [[workflow]]
            name = "b{pid}"
            [[workflow]]
            name = "c"
            match = {}
            [[workflow]]
            name = "d"
            unit = "d.service"
            match = { units = "d", user = 5, repo = [], exe = ["a", ""], host = ["x", 1] }
            nmae = 1
            [[workflow]]
            name = 1
            match = "ci"
            billing_code = ""
        "#;
        assert_eq!(
            mistakes_of(text),
            [
                "workflow[1].name: is missing; an entry [[workflow]] needs a name and a match",
                "workflow[2].name: has the unknown capture {pid}; there are {repo}, {branch}, {unit}, {container}, {pod}, {namespace}, {user}, {client}, {exe}",
                "workflow[2].match: is missing; say what the entry is for, as in match = { unit = \"nightly.service\" }, or write match = {} in the last entry for all the rest",
                "workflow[3].match: matches every call, so that no entry below it counts; make it the last one, or say what it is for, as in match = { user = \"ci\" }",
                "workflow[4].match.user: is an integer, must be a pattern or a list of patterns, all strings",
                "workflow[4].match.repo: is empty; name a pattern, or remove the key",
                "workflow[4].match.exe: must be of 1 to 256 bytes; \"*\" stands for any text, \"?\" for one character",
                "workflow[4].match.host: is an array, must be a pattern or a list of patterns, all strings",
                "workflow[4].match.units: unknown key; match has unit, container, container_image, pod, namespace, user, repo, exe, ancestor_exe, ancestor, argv, client, host",
                "workflow[4].nmae: unknown key; [[workflow]] has name, match, billing_code",
                "workflow[4].unit: stands outside of match; write match = { unit = … }",
                "workflow[5].name: is an integer, must be a string",
                "workflow[5].match: is a string, must be a table as in { user = \"ci\" }",
                "workflow[5].billing_code: must be a code of 1 to 64 bytes",
            ]
        );
    }

    #[test]
    fn limits_of_rules_hold_at_their_edges() {
        let argv = |count: usize| {
            let patterns: Vec<String> = (0..count).map(|number| format!("*{number}*")).collect();
            format!("[[workflow]]\nname = \"a\"\nmatch = {{ argv = {patterns:?} }}\n")
        };
        assert!(parse(&argv(MOST_ARGUMENTS)).is_ok());
        assert!(parse(&argv(MOST_PATTERNS + 1)).is_err());
        let other = "[[workflow]]\nname = \"b\"\nmatch = { argv = \"*x*\" }\n";
        assert_eq!(
            mistakes_of(&(argv(MOST_ARGUMENTS) + other)),
            ["workflow: has 65 patterns of argv in all, at most 64 are possible"]
        );
        let rules = |count: usize| other.repeat(count);
        assert!(parse(&rules(MOST)).is_ok());
        assert!(parse(&rules(MOST + 1)).is_err());
    }
}
