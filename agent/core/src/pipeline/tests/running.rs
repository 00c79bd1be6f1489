//! Calls that still run.

use super::*;
use crate::llm::UsageSource;
use crate::spend::Spend;

const REQUEST: &str = concat!(
    r#"{"model":"claude-sonnet-4-5","stream":true,"messages":[{"role":"user","#,
    r#""content":"Tell me all about the sea and its fish."}]}"#
);

fn ask(run: &mut Run) {
    run.write(format!(
        "POST /v1/messages HTTP/1.1\r\nHost: api.anthropic.com\r\nx-claude-code-session-id: 5f6c7a10-2b1c-4d5e-8f90-a1b2c3d4e5f6\r\n\
         Content-Length: {}\r\n\r\n{REQUEST}",
        REQUEST.len()
    ));
}

fn answer(run: &mut Run) {
    run.read(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
}

fn event(run: &mut Run, data: &str) {
    let event = format!("data: {data}\n\n");
    run.read(format!("{:x}\r\n{event}\r\n", event.len()));
}

/// The running calls that a tick gives; `None` if it gives none at all.
fn tick(run: &mut Run, seconds: u64) -> Option<Vec<UsageRecord>> {
    run.now = run.now + Duration::from_secs(seconds);
    run.line.expire(run.now);
    run.outputs()
        .into_iter()
        .rev()
        .find_map(|output| match output {
            Output::Running(records) => Some(records),
            Output::Usage(_)
            | Output::Coverage(_)
            | Output::Quota { .. }
            | Output::ProcessExited { .. }
            | Output::Ignore(_) => None,
        })
}

/// Input, output and where they come from, of the only running call.
fn figures(records: Option<Vec<UsageRecord>>) -> (Option<u64>, Option<u64>, UsageSource) {
    let records = records.expect("running calls");
    let [record] = records.as_slice() else {
        panic!("one call, not {records:?}");
    };
    let call = &record.call;
    (call.usage.input(), call.usage.output, call.usage_source)
}

const START: &str = concat!(
    r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","#,
    r#""model":"claude-sonnet-4-5","usage":{"input_tokens":1200,"cache_read_input_tokens":300,"output_tokens":1}}}"#
);

#[test]
fn a_streamed_call_is_shown_while_it_runs_and_ends_with_the_providers_figure() {
    let mut run = Run::new();
    ask(&mut run);
    assert_eq!(tick(&mut run, 0), None, "most calls end at once");

    // Before the provider said anything the length of the prompt tells.
    let (input, output, source) = figures(tick(&mut run, 2));
    assert!((5..40).contains(&input.unwrap()), "{input:?}");
    assert_eq!((output, source), (None, UsageSource::Estimated));

    answer(&mut run);
    event(&mut run, START);
    let (input, output, source) = figures(tick(&mut run, 1));
    // What a message starts with is no count of its output.
    assert_eq!((input, output), (Some(1500), None));
    assert_eq!(source, UsageSource::ProviderPartial);

    let mut last = 0;
    for _ in 0..3 {
        let text = "x".repeat(400);
        let delta = format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{text}"}}}}"#
        );
        event(&mut run, &delta);
        let records = tick(&mut run, 1).unwrap();
        assert_eq!(
            records.first().unwrap().session.0,
            "5f6c7a10-2b1c-4d5e-8f90-a1b2c3d4e5f6"
        );
        let (input, output, source) = figures(Some(records));
        assert_eq!((input, source), (Some(1500), UsageSource::Estimated));
        assert!(output.unwrap() >= last + 99, "{output:?} after {last}");
        last = output.unwrap();
    }

    event(
        &mut run,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":321}}"#,
    );
    event(&mut run, r#"{"type":"message_stop"}"#);
    run.read("0\r\n\r\n");
    let outputs = run.outputs();
    let [Output::Usage(record)] = outputs.as_slice() else {
        panic!("one call, not {outputs:?}");
    };
    let usage = record.call.usage;
    assert_eq!((usage.input(), usage.output), (Some(1500), Some(321)));

    // None runs any more, which is said once.
    assert_eq!(tick(&mut run, 1), Some(Vec::new()));
    assert_eq!(tick(&mut run, 1), None);
}

#[test]
fn a_running_call_changes_nothing_of_what_is_stored() {
    let play = |ticks: bool| {
        let mut run = Run::new();
        for number in 0..3 {
            ask(&mut run);
            answer(&mut run);
            event(&mut run, &START.replace("msg_1", &format!("msg_{number}")));
            run.now = run.now + Duration::from_secs(5);
            if ticks {
                run.line.expire(run.now);
            }
            event(&mut run, r#"{"type":"message_stop"}"#);
            run.read("0\r\n\r\n");
        }
        let mut outputs = run.outputs();
        outputs.retain(|output| matches!(output, Output::Usage(_)));
        outputs
    };
    assert_eq!(play(true), play(false));
}

#[test]
fn a_request_that_failed_does_not_run() {
    let mut run = Run::new();
    ask(&mut run);
    run.read("HTTP/1.1 529 Overloaded\r\nContent-Length: 100\r\n\r\n{\"type\":\"error\"");
    assert_eq!(tick(&mut run, 3), None);
}

#[test]
fn what_runs_is_spent_by_whom_it_will_be_booked_on() {
    let mut run = Run::new();
    run.line.handle(&Event::Process(process(7, 9)));
    ask(&mut run);
    answer(&mut run);
    event(&mut run, START);
    let records = tick(&mut run, 2).unwrap();
    let running = Spend::of(records.first().unwrap(), &Prices::default()).unwrap();
    event(&mut run, r#"{"type":"message_stop"}"#);
    run.read("0\r\n\r\n");
    let outputs = run.outputs();
    let Some(Output::Usage(record)) = outputs.last() else {
        panic!("a call, not {outputs:?}");
    };
    let ended = Spend::of(record, &Prices::default()).unwrap();
    assert_eq!(running.identity, ended.identity);
    assert_eq!(running.payer, ended.payer);
    assert_eq!(running.work.session, ended.work.session);
    assert_eq!(running.amount.tokens, 1500);
}
