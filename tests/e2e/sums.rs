//! Sums that outlast calls are those of the calls, whatever happened to them.

use std::sync::Arc;

use agent_core::event::Checkout;
use agent_core::llm::{Outcome, Usage, UsageSource};
use agent_core::pipeline::Output;
use agent_core::session::{Hop, SessionKey, TaskType, Thread, ThreadKind, UsageRecord};
use agent_core::workflow::{Origin, Workflow};

use crate::world::{Home, estimated, ms, priced, process, record, usage};

/// Rows of the sums that are not those of the calls, and the other way round.
pub(crate) const DIFFERENCE: &str = "
    SELECT 'usage_15m', * FROM (
        SELECT bucket_start_ms, usage_key_id, requests, estimated_requests, lower_bound_requests,
               retry_requests, human_turns, tool_calls, input_uncached_tokens, cache_read_tokens,
               context_tokens, output_tokens, reasoning_tokens, unpriced_tokens, cost_nanousd,
               duration_ms, output_is_partial, write_is_partial, cache_write_12h_tokens, priced_rows,
               tokenless_cost_nanousd, unhashed_requests, unthreaded_requests
        FROM usage_15m
        EXCEPT
        SELECT bucket_start_ms, usage_key_id, sum(requests), sum(estimated_requests),
               sum(lower_bound_requests), sum(retry_requests), sum(human_turns), sum(tool_calls),
               sum(input_uncached_tokens), sum(cache_read_tokens), sum(context_tokens),
               sum(output_tokens), sum(reasoning_tokens), sum(unpriced_tokens), sum(cost_nanousd),
               sum(duration_ms), max(output_is_partial), max(write_is_partial),
               sum(cache_write_12h_tokens),
               sum(priced_rows), sum(tokenless_cost_nanousd), sum(unhashed_requests),
               sum(unthreaded_requests)
        FROM request_sums GROUP BY bucket_start_ms, usage_key_id);
    SELECT 'missing', bucket_start_ms, usage_key_id FROM request_sums
    EXCEPT SELECT 'missing', bucket_start_ms, usage_key_id FROM usage_15m;
    WITH span (length_ms) AS (VALUES (14400000), (86400000), (2764800000)), expected AS (
        SELECT length_ms, bucket_start_ms - bucket_start_ms % length_ms AS start_ms, usage_key_id,
               min(bucket_start_ms), max(bucket_start_ms), sum(requests), sum(estimated_requests),
               sum(lower_bound_requests), sum(cost_lower_bound_requests), sum(retry_requests),
               sum(human_turns), sum(tool_calls), sum(input_uncached_tokens),
               sum(cache_read_tokens), sum(cache_write_5m_tokens), sum(context_tokens),
               sum(output_tokens), sum(reasoning_tokens), sum(estimated_tokens),
               sum(unpriced_tokens), sum(cost_nanousd), sum(repriced_nanousd), sum(duration_ms),
               sum(stream_output_tokens), sum(stream_ms), max(output_is_partial),
               max(write_is_partial), sum(cache_write_12h_tokens),
               sum(priced_rows), sum(tokenless_cost_nanousd), sum(unhashed_requests),
               sum(unthreaded_requests)
        FROM span CROSS JOIN usage_15m GROUP BY length_ms, start_ms, usage_key_id
    ), found AS (
        SELECT span_ms, start_ms, usage_key_id, first_ms, last_ms, requests, estimated_requests,
               lower_bound_requests, cost_lower_bound_requests, retry_requests, human_turns,
               tool_calls, input_uncached_tokens, cache_read_tokens, cache_write_5m_tokens,
               context_tokens, output_tokens, reasoning_tokens, estimated_tokens, unpriced_tokens,
               cost_nanousd, repriced_nanousd, duration_ms, stream_output_tokens, stream_ms,
               output_is_partial, write_is_partial, cache_write_12h_tokens, priced_rows,
               tokenless_cost_nanousd, unhashed_requests, unthreaded_requests
        FROM usage_span
    )
    SELECT 'usage_span', * FROM (SELECT * FROM found EXCEPT SELECT * FROM expected)
    UNION ALL SELECT 'missing', * FROM (SELECT * FROM expected EXCEPT SELECT * FROM found);
    SELECT 'session_usage', * FROM (
        SELECT session_id, usage_key_id, process_id, thread_id, first_ms, last_ms, requests,
               context_tokens, output_tokens, cost_nanousd, cache_write_12h_tokens, priced_rows,
               tokenless_cost_nanousd, unhashed_requests, unthreaded_requests
        FROM session_usage
        EXCEPT
        SELECT session_id, usage_key_id, process_id, thread_id, min(started_ms),
               max(started_ms), sum(requests), sum(context_tokens), sum(output_tokens),
               sum(cost_nanousd), sum(cache_write_12h_tokens),
               sum(priced_rows), sum(tokenless_cost_nanousd), sum(unhashed_requests),
               sum(unthreaded_requests)
        FROM request_sums GROUP BY session_id, usage_key_id, process_id, thread_id);
    SELECT 'missing', session_id, usage_key_id, process_id, thread_id FROM request_sums
    EXCEPT SELECT 'missing', session_id, usage_key_id, process_id, thread_id FROM session_usage;
    SELECT 'session_15m', * FROM (
        SELECT * FROM session_15m
        EXCEPT SELECT bucket_start_ms, usage_key_id, session_id FROM request_sums);
    SELECT 'missing', bucket_start_ms, usage_key_id, session_id FROM request_sums
    EXCEPT SELECT 'missing', * FROM session_15m;
    SELECT 'session', session_key FROM session AS s WHERE request_count <> (
        SELECT sum(requests) FROM session_usage AS u WHERE u.session_id = s.session_id);
    SELECT 'kind', request_id FROM request AS r JOIN usage_key AS k USING (usage_key_id)
    WHERE k.price_id IS NOT r.price_id OR k.is_priced <> (r.cost_nanousd IS NOT NULL);";

fn workflow(number: usize) -> Arc<Workflow> {
    Arc::new(Workflow {
        name: format!("flow-{number}"),
        origin: Origin::Rule,
        billing_code: None,
        labels: Vec::new(),
    })
}

fn started(random: &mut fastrand::Rng) -> String {
    let (hour, minute) = (random.u8(14..17), random.u8(0..60));
    format!("2026-11-01T{hour:02}:{minute:02}:00Z")
}

/// A call of one of a few sessions, workflows, models and processes.
pub(crate) fn any_call(random: &mut fastrand::Rng, number: usize) -> UsageRecord {
    let started = started(random);
    let identity = format!("msg_{number}");
    let mut record = if random.u8(0..4) == 0 {
        estimated(&identity, &started)
    } else {
        record(&identity, &started)
    };
    let session = random.usize(0..4);
    record.session = SessionKey(format!("session-{session}"));
    record.workflow = workflow(random.usize(0..3));
    record.is_human_turn = random.bool();
    record.task = random
        .choice([TaskType::Coding, TaskType::Chat, TaskType::Auxiliary])
        .unwrap();
    record.call.signals.tool_calls = random.u32(0..3);
    record.call.attempt = random.bool().then(|| random.u32(1..3));
    record.cost = priced(random.u64(1..1_000_000));
    if random.bool() {
        record.thread = Thread {
            key: format!("agent-{}", random.u8(0..3)),
            parent: Some(String::new()),
            kind: ThreadKind::Subagent,
            agent_type: Some("reviewer".to_owned()),
            depth: 1,
        };
    }
    let mut owner = agent_core::event::Process::clone(&process(
        7_000 + random.u32(0..3),
        "node",
        "/usr/bin/node",
        "dana",
    ));
    owner.checkout = random.bool().then(|| Checkout {
        root: "/home/dana/src/shop".to_owned(),
        repo: "shop".to_owned(),
        branch: random.bool().then(|| "main".to_owned()),
    });
    record.process = Some(Arc::new(owner));
    record
}

fn cut(whole: &UsageRecord) -> UsageRecord {
    let mut partial = whole.clone();
    partial.call.outcome = Outcome::Aborted;
    partial.call.usage_source = UsageSource::ProviderPartial;
    partial.call.usage = Usage {
        input_uncached: Some(7),
        output: Some(1),
        ..Usage::default()
    };
    partial
}

/// What may happen to one call, as the batches that it comes in.
pub(crate) fn history(
    random: &mut fastrand::Rng,
    number: usize,
    former: Option<&str>,
) -> Vec<Output> {
    let mut whole = any_call(random, number);
    whole.compacted = former.filter(|_| random.u8(0..8) == 0).map(str::to_owned);
    let mut upstream = any_call(random, number);
    upstream.identity = format!("up-{number}");
    match random.u8(0..6) {
        0 => vec![usage(cut(&whole)), usage(whole)],
        1 => vec![usage(whole.clone()), usage(whole)],
        2 => {
            upstream.hop = Some(Hop::OfGateway {
                origin: whole.identity.clone(),
            });
            vec![usage(whole), usage(upstream)]
        }
        3 => {
            whole.hop = Some(Hop::ToGateway {
                counted: upstream.identity.clone(),
            });
            vec![usage(upstream), usage(whole)]
        }
        _ => vec![usage(whole)],
    }
}

#[test]
fn the_sums_are_those_of_the_calls_whatever_became_of_them() {
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let home = Home::new();
        let mut writer = home.writer();
        let mut waiting: Vec<Output> = Vec::new();
        let mut former: Option<String> = None;
        for number in 0..60 {
            let happened = history(&mut random, number, former.as_deref());
            former = Some(format!("anthropic:msg_{number}"));
            for output in happened {
                waiting.push(output);
                if random.u8(0..3) == 0 {
                    writer.apply(&waiting).unwrap();
                    waiting.clear();
                }
            }
        }
        writer.apply(&waiting).unwrap();
        writer.close().unwrap();
        assert_eq!(home.sqlite3(DIFFERENCE).text(), "", "seed {seed}");
        let counted = home.sqlite3(
            "SELECT (SELECT sum(requests) FROM usage_15m) = (SELECT sum(is_call) FROM v_request),
                    (SELECT count(*) > 40 FROM v_request), (SELECT count(*) > 0 FROM v_hop)",
        );
        assert_eq!(counted.text(), "1|1|1\n");
    }
}

#[test]
fn pricing_anew_changes_the_sums_too() {
    let home = Home::with(&[
        usage(record("msg_1", "2026-11-01T15:00:00Z")),
        usage(record("msg_2", "2026-11-01T16:00:00Z")),
    ]);
    home.run(["reprice", "--since", "2026-11-01", "--until", "2026-11-02"])
        .text();
    let sums = "SELECT sum(repriced_nanousd) IS NOT NULL,
            sum(repriced_nanousd) = (SELECT sum(repriced_nanousd) FROM v_request),
            sum(repriced_from_nanousd) = (SELECT sum(cost_nanousd) FROM v_request)
        FROM ";
    for table in [
        "usage_15m",
        "usage_span WHERE span_ms = 86400000",
        "session_usage",
    ] {
        assert_eq!(home.sqlite3(&format!("{sums}{table}")).text(), "1|1|1\n");
    }
}

#[test]
fn a_session_has_the_workflow_of_its_first_call_and_counts_the_others() {
    let mut first = record("msg_1", "2026-11-01T15:00:00Z");
    first.workflow = Arc::new(Workflow {
        name: "triage".to_owned(),
        origin: Origin::Marker,
        billing_code: Some("CC-1".to_owned()),
        labels: vec![("team".to_owned(), "infra".to_owned())],
    });
    let mut second = record("msg_2", "2026-11-01T15:01:00Z");
    second.workflow = workflow(1);
    let home = Home::with(&[usage(first), usage(second)]);
    assert_eq!(
        home.sqlite3(
            "SELECT workflow, workflow_origin, billing_code, labels_json, workflow_conflicts
             FROM v_session;
             SELECT count(*), workflow FROM v_request GROUP BY 2;
             SELECT workflow, sum(request_count) FROM v_workflow_daily GROUP BY 1"
        )
        .text(),
        "triage|marker|CC-1|{\"team\":\"infra\"}|1\n2|triage\ntriage|2\n"
    );
}

#[test]
fn a_session_that_goes_on_after_its_idle_time_was_resumed() {
    let home = Home::new();
    let mut writer = home.writer();
    writer
        .set_session_idle(std::time::Duration::from_secs(10 * 60))
        .unwrap();
    for (identity, started) in [
        ("msg_1", "2026-11-01T15:00:00Z"),
        ("msg_2", "2026-11-01T15:09:00Z"),
        ("msg_3", "2026-11-01T15:20:00Z"),
    ] {
        writer.apply(&[usage(record(identity, started))]).unwrap();
    }
    writer.close().unwrap();
    assert_eq!(
        home.sqlite3("SELECT resumed_count, request_count, end_reason FROM v_session")
            .text(),
        "1|3|idle\n"
    );
}

#[test]
fn threads_are_a_tree_whatever_comes_first() {
    let thread = |key: &str, parent: Option<&str>, depth| Thread {
        key: key.to_owned(),
        parent: parent.map(str::to_owned),
        kind: ThreadKind::Subagent,
        agent_type: None,
        depth,
    };
    let mut deep = record("msg_1", "2026-11-01T15:00:00Z");
    deep.thread = thread("b", Some("a"), 2);
    let mut middle = record("msg_2", "2026-11-01T15:00:10Z");
    middle.thread = thread("a", Some(""), 1);
    let main = record("msg_3", "2026-11-01T15:00:20Z");
    let home = Home::with(&[usage(deep), usage(middle), usage(main)]);
    assert_eq!(
        home.sqlite3(
            "SELECT t.thread_key, p.thread_key, t.kind, t.depth, t.request_count
             FROM v_thread_tree AS t
             LEFT JOIN v_thread_tree AS p ON p.thread_id = t.parent_thread_id
             ORDER BY t.depth;
             SELECT thread_count, max_thread_depth FROM v_session"
        )
        .text(),
        "||main|0|1\na||subagent|1|1\nb|a|subagent|2|1\n3|2\n"
    );
}

#[test]
fn a_later_call_may_show_that_one_was_a_compaction() {
    let first = record("msg_1", "2026-11-01T15:00:00Z");
    let mut second = record("msg_2", "2026-11-01T15:01:00Z");
    second.compacted = Some(first.identity.clone());
    let home = Home::with(&[usage(first), usage(second)]);
    assert_eq!(
        home.sqlite3(
            "SELECT task_type FROM v_request ORDER BY started_ms;
             SELECT compaction_count FROM v_session;
             SELECT task_type, request_count FROM v_model_daily ORDER BY 1"
        )
        .text(),
        "compaction\nchat\n1\nchat|1\ncompaction|1\n"
    );
    assert_eq!(ms("2026-11-01T15:00:00Z") % 900_000, 0);
}
