//! Rules that change while the line runs.

use super::*;
use crate::workflow::{RuleSpec, Template};

fn rules(workflow: &str) -> Rules {
    Rules {
        hosts: llm::Hosts::default(),
        prices: Arc::default(),
        workflows: Arc::new(Workflows::new(vec![RuleSpec {
            name: Template::parse(workflow).unwrap(),
            conditions: Vec::new(),
            billing_code: None,
        }])),
    }
}

/// Makes a call on the connection, and gives the name of its workflow.
fn call(run: &mut Run) -> String {
    run.write(request("/v1/chat/completions", BODY.len()) + BODY);
    reply(run);
    let outputs = run.outputs();
    let [Output::Usage(record)] = outputs.as_slice() else {
        panic!("one call, not {outputs:?}");
    };
    record.workflow.name.clone()
}

#[test]
fn other_rules_hold_from_the_next_call_on_and_connections_go_on() {
    let mut run = Run::new();
    run.line.handle(&Event::Process(process(7, 1)));
    let automatic = call(&mut run);
    assert_ne!(automatic, "nightly");
    run.line.follow(rules("nightly"));
    assert_eq!(call(&mut run), "nightly");
    run.line.follow(rules("daily"));
    assert_eq!(call(&mut run), "daily");
}
