//! What calls cost, and what else belongs to a call: parts, tries, gateways.

use agent_core::llm::{
    Credential, Estimate, LlmCall, Method, Quality, SubInference, SubKind, Units, Usage,
    UsageSource,
};
use agent_core::pipeline::Output;
use agent_core::prices::{CostStatus, List, Priced, Prices};
use agent_core::session::{Hop, KeySource, SessionKey, UsageRecord};
use serde_json::{Value, json};

use crate::world::{Home, estimated, priced, process, record, unknown, usage};

const NOVEMBER: [&str; 4] = ["--since", "2026-11-01", "--until", "2026-11-03"];

fn totals(home: &Home) -> Value {
    let text = home
        .run(["report", "-o", "json"].iter().chain(&NOVEMBER))
        .text();
    let document: Value = serde_json::from_str(&text).unwrap();
    document.get("totals").unwrap().clone()
}

/// The lines under a report.
fn rests_on(home: &Home) -> String {
    let text = home
        .run_in("UTC", Some(400), ["report"].iter().chain(&NOVEMBER))
        .text();
    text.lines().last().unwrap().to_owned()
}

fn with(identity: &str, change: impl FnOnce(&mut UsageRecord)) -> Output {
    let mut record = record(identity, "2026-11-01T15:00:00Z");
    change(&mut record);
    usage(record)
}

#[test]
fn unknown_costs_are_never_zero_and_their_sums_are_at_least() {
    let unpriced = |record: &mut UsageRecord| record.cost = Priced::default();
    let home = Home::with(&[with("msg_1", unpriced)]);
    let sums = totals(&home);
    assert_eq!(sums["cost_nanousd"], Value::Null);
    assert_eq!(sums["unpriced_tokens"], 1_050);
    let row = home
        .run_in("UTC", Some(60), ["report"].iter().chain(&NOVEMBER))
        .text();
    let mut days = row.lines().filter(|line| line.starts_with("2026-11-01  "));
    assert!(days.next().unwrap().ends_with("  —"), "{row}");
    let home = Home::with(&[with("msg_1", unpriced), with("msg_2", |_| {})]);
    let sums = totals(&home);
    assert_eq!(sums["cost_nanousd"], 4_625_000);
    assert_eq!(sums["lower_bound"], json!(["cost_nanousd"]));
    assert_eq!(sums["cost_lower_bound_requests"], 1);
    assert!(rests_on(&home).ends_with("1,050 tokens without a price (view v_unpriced)"));
    assert_eq!(
        home.sqlite3("SELECT model, request_count, unpriced_tokens FROM v_unpriced")
            .text(),
        "claude-opus-5-5-20260901|1|1050\n"
    );
    // What a price says is free, and what was refused, is known.
    let free = with("msg_1", |record| {
        record.cost = Priced {
            cost_nanousd: Some(0),
            status: CostStatus::Free,
            price: None,
        };
    });
    let refused = with("msg_2", |record| {
        record.call.http_status = Some(529);
        record.call.usage = Usage::default();
        record.call.usage_source = UsageSource::None;
        record.cost = Priced::default();
    });
    let sums = totals(&Home::with(&[free, refused]));
    assert_eq!(
        (&sums["cost_nanousd"], &sums["lower_bound"]),
        (&json!(0), &Value::Null)
    );
}

#[test]
fn tokens_counted_of_a_part_are_a_lower_bound_and_estimated_as_far_as_they_were_counted() {
    let of_a_part = Some(Estimate {
        method: Method::Tiktoken("o200k_base"),
        quality: Quality::LowerBound,
    });
    let cut = || {
        let mut record = estimated("chat_1", "2026-11-01T15:00:00Z");
        record.call.estimates.output = of_a_part;
        usage(record)
    };
    let sums = totals(&Home::with(&[cut()]));
    assert_eq!(
        (&sums["lower_bound"], &sums["estimated_tokens"]),
        (&json!(["output_tokens"]), &json!(2_100))
    );
    // The provider reported the input, and the reply was cut.
    let partial = with("msg_1", |record| {
        record.call.usage_source = UsageSource::ProviderPartial;
        record.call.estimates.output = of_a_part;
    });
    let sums = totals(&Home::with(&[cut(), partial]));
    assert_eq!(sums["estimated_tokens"], 2_150);
}

#[test]
fn what_a_cost_rests_on_is_said_and_not_mixed_in() {
    let home = Home::with(&[
        usage(estimated("chat_1", "2026-11-01T15:00:00Z")),
        with("msg_1", |record| {
            record.call.terms.credential = Credential::Subscription;
            record.cost = priced(33_000_000);
        }),
        with("msg_2", |record| {
            record.cost = priced(0);
            record.call.reported_cost_nanousd = Some(2_500_000_000);
        }),
    ]);
    let sums = totals(&home);
    assert_eq!(sums["cost_nanousd"], 44_000_000);
    assert_eq!(sums["estimated_cost_nanousd"], 11_000_000);
    assert_eq!(sums["subscription_cost_nanousd"], 33_000_000);
    assert_eq!(sums["provider_cost_nanousd"], 2_500_000_000_u64);
    let line = rests_on(&home);
    assert!(
        line.ends_with(
            "estimated 25.0 % of cost · 75.0 % of cost is the list-price equivalent of a plan · \
             $2.50 by the providers that say what they charge"
        ),
        "{line}"
    );
}

#[test]
fn an_absurd_figure_of_a_provider_is_dropped_and_breaks_no_sum() {
    let absurd = |record: &mut UsageRecord| record.call.reported_cost_nanousd = Some(u64::MAX);
    let home = Home::with(&[
        with("msg_1", absurd),
        with("msg_2", absurd),
        with("msg_3", |record| {
            record.call.reported_cost_nanousd = Some(1_000_000_000_000_000);
        }),
    ]);
    assert_eq!(
        totals(&home)["provider_cost_nanousd"],
        1_000_000_000_000_000_u64
    );
}

fn compacted(identity: &str, source: UsageSource) -> UsageRecord {
    let mut record = record(identity, "2026-11-01T15:00:00Z");
    record.call.usage_source = source;
    let part = |kind, model: Option<&str>, input, output| SubInference {
        kind,
        model: model.map(str::to_owned),
        usage: Usage {
            input_uncached: Some(input),
            output: Some(output),
            ..Usage::default()
        },
    };
    record.call.sub_inferences = vec![
        part(SubKind::Compaction, None, 9_000, 400),
        part(SubKind::Advisor, Some("claude-fable-5-1"), 700, 30),
    ];
    record.sub_costs = vec![priced(10), Priced::default()];
    record
}

#[test]
fn models_inside_of_a_call_have_rows_and_are_no_calls() {
    let home = Home::new();
    let mut writer = home.writer();
    let whole = usage(compacted("msg_1", UsageSource::Provider));
    let mut partial = compacted("msg_1", UsageSource::ProviderPartial);
    partial.call.sub_inferences.truncate(1);
    writer.apply(&[usage(partial)]).unwrap();
    // A better record brings its own parts, and the same one again changes nothing.
    writer.apply(&[whole.clone(), whole.clone()]).unwrap();
    writer.apply(&[whole]).unwrap();
    assert_eq!(
        home.sqlite3(
            "SELECT kind, is_call, part_of, model_served, context_tokens, output_tokens,
                    cost_nanousd, cost_status, session_key = '8f31c2aa-1b2c-4d5e-8f90-a1b2c3d4e5f6',
                    pid, provider_response_id
             FROM v_request ORDER BY is_call DESC, kind DESC"
        )
        .text(),
        "call|1||claude-opus-5-5-20260901|1000|50|4625000|priced|1|7781|msg_1\n\
         compaction|0|1|claude-opus-5-5-20260901|9000|400|10|priced|1|7781|\n\
         advisor|0|1|claude-fable-5-1|700|30||unpriced|1|7781|\n"
    );
    assert_eq!(
        home.sqlite3(
            "SELECT request_count, input_uncached_tokens, output_tokens, cost_nanousd, unpriced_tokens
             FROM v_session;
             SELECT request_count, context_tokens, cost_nanousd FROM v_process;
             SELECT model, request_count, context_tokens, cost_nanousd FROM v_daily ORDER BY 1"
        )
        .text(),
        "1|9850|480|4625010|730\n1|10700|4625010\nclaude-fable-5-1|0|700|\n\
         claude-opus-5-5-20260901|1|10000|4625010\n"
    );
    let sums = totals(&home);
    assert_eq!(
        (&sums["requests"], &sums["context_tokens"]),
        (&json!(1), &json!(10_700))
    );
}

/// Everything that a provider counts is in exactly one column, whatever the classes are.
#[test]
fn the_sum_of_the_stored_columns_is_what_the_provider_counted() {
    let mut outputs = Vec::new();
    let (mut input, mut output) = (0, 0);
    for number in 0..200_u64 {
        let class = |bit: u32, size: u64| (number >> bit & 1 == 1).then_some(size + number);
        let usage = Usage {
            input_uncached: Some(number),
            cache_read: class(0, 1_000),
            cache_write_5m: class(1, 2_000),
            cache_write_1h: class(2, 3_000),
            cache_write_other: class(3, 4_000),
            cache_write_12h: class(3, 4_000),
            output: Some(10 + number),
            reasoning: class(4, 3),
            audio_input: class(5, 0),
            image_output: class(6, 0),
            ..Usage::default()
        };
        let classes = [
            usage.input_uncached,
            usage.cache_read,
            usage.cache_write_5m,
            usage.cache_write_1h,
            usage.cache_write_other,
        ];
        input += classes.into_iter().flatten().sum::<u64>();
        output += usage.output.unwrap();
        outputs.push(with(&format!("msg_{number}"), |record| {
            record.call.usage = usage;
        }));
    }
    let parts = compacted("msg_parts", UsageSource::Provider);
    (input, output) = (input + 1_000 + 9_000 + 700, output + 50 + 400 + 30);
    outputs.push(usage(parts));
    let home = Home::with(&outputs);
    let columns = "sum(ifnull(input_uncached_tokens, 0) + ifnull(cache_read_tokens, 0)
        + ifnull(cache_write_5m_tokens, 0) + ifnull(cache_write_1h_tokens, 0)
        + ifnull(cache_write_other_tokens, 0)), sum(output_tokens)";
    for view in ["v_request", "v_session", "v_daily", "v_process"] {
        assert_eq!(
            home.sqlite3(&format!("SELECT {columns} FROM {view}"))
                .text(),
            format!("{input}|{output}\n"),
            "{view}"
        );
    }
    let sums = totals(&home);
    assert_eq!(sums["context_tokens"], input);
    assert_eq!(sums["output_tokens"], output);
}

#[test]
fn a_call_is_stored_with_all_that_is_known_of_it() {
    let home = Home::with(&[with("msg_1", |record| {
        let call: &mut LlmCall = &mut record.call;
        call.usage.cache_write_other = Some(12);
        call.usage.cache_write_12h = Some(7);
        call.usage.audio_input = Some(1);
        call.usage.audio_output = Some(2);
        call.usage.image_input = Some(3);
        call.usage.image_output = Some(4);
        call.units = Units {
            web_searches: Some(5),
            unpriced: Some(6),
        };
        call.terms.service_tier = Some("priority".to_owned());
        call.terms.speed = Some("fast".to_owned());
        call.terms.region = Some("us".to_owned());
        call.terms.is_batch = true;
        call.terms.credential = Credential::Cloud;
        call.attempt = Some(2);
        call.reported_cost_nanousd = Some(8);
        record.cost.status = CostStatus::LowerBound;
    })]);
    assert_eq!(
        home.sqlite3(
            "SELECT cache_write_12h_tokens, audio_input_tokens, audio_output_tokens,
                    image_input_tokens, image_output_tokens, web_searches, unpriced_units,
                    service_tier, speed, region, is_batch, billing_kind, attempt,
                    provider_cost_nanousd, cost_status, is_cost_lower_bound, cost_usd,
                    round(output_tokens_per_second, 3)
             FROM v_request"
        )
        .text(),
        "7|1|2|3|4|5|6|priority|fast|us|1|cloud|2|8|lower_bound|1|0.004625|17.794\n"
    );
}

#[test]
fn a_try_refers_to_the_one_before_it() {
    let first = with("msg_1", |record| {
        record.identity = "conn:1-2-3-4".to_owned();
        record.call.response_id = None;
        record.call.http_status = Some(529);
    });
    let second = with("msg_2", |record| {
        record.call.attempt = Some(2);
        record.retry_of = Some("conn:1-2-3-4".to_owned());
    });
    let unseen = with("msg_3", |record| {
        record.call.attempt = Some(3);
        record.retry_of = Some("conn:9".to_owned());
    });
    let home = Home::with(&[first, second, unseen]);
    assert_eq!(
        home.sqlite3("SELECT request_id, attempt, retry_of, provider_response_id FROM v_request")
            .text(),
        "1|||\n2|2|1|msg_2\n3|3||msg_3\n"
    );
    assert_eq!(totals(&home)["retry_requests"], 2);
}

/// What a client asked of a gateway on this host.
fn origin() -> UsageRecord {
    let mut origin = record("msg_1", "2026-11-01T15:00:00Z");
    origin.identity = "other:msg_1".to_owned();
    origin.call.provider = agent_core::llm::Provider("other");
    origin.call.server_name = Some("localhost".to_owned());
    origin
}

/// What the gateway asked of the provider for it.
fn gateway(identity: &str) -> UsageRecord {
    let mut gateway = compacted(identity, UsageSource::Provider);
    gateway.process = Some(process(41, "litellm", "/usr/bin/litellm", "app"));
    gateway.client.name = Some("litellm".to_owned());
    gateway.client.version = None;
    gateway.session = SessionKey("proc-41".to_owned());
    gateway.key_source = KeySource::ProcessIdle;
    gateway
}

const WHOSE: &str = "SELECT provider, server_name, pid, comm, user_name, client_name,
        client_version, session_key, via_pid, via_comm, sum(cost_nanousd), count(*)
    FROM v_request GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10;
    SELECT session_key, request_count, peak_context_tokens FROM v_session;
    SELECT comm, request_count FROM v_process WHERE request_count > 0;
    SELECT counted_request_id = (SELECT request_id FROM v_request WHERE is_call), comm, server_name
    FROM v_hop";

#[test]
fn one_request_through_a_local_gateway_is_one_call_of_the_client() {
    let to_gateway = UsageRecord {
        hop: Some(Hop::ToGateway {
            counted: "anthropic:msg_1".to_owned(),
        }),
        ..origin()
    };
    let of_gateway = UsageRecord {
        hop: Some(Hop::OfGateway {
            origin: "other:msg_1".to_owned(),
        }),
        ..gateway("msg_1")
    };
    for outputs in [
        [usage(gateway("msg_1")), usage(to_gateway)],
        [usage(origin()), usage(of_gateway)],
    ] {
        let home = Home::new();
        let mut writer = home.writer();
        // In batches of their own, and each again.
        for output in outputs.iter().chain(&outputs) {
            writer.apply(std::slice::from_ref(output)).unwrap();
        }
        assert_eq!(
            home.sqlite3(WHOSE).text(),
            "anthropic|api.anthropic.com|7781|node|dana|claude-code|2.1.0|\
             8f31c2aa-1b2c-4d5e-8f90-a1b2c3d4e5f6|41|litellm|4625010|3\n\
             8f31c2aa-1b2c-4d5e-8f90-a1b2c3d4e5f6|1|1000\nnode|1\n1|node|localhost\n"
        );
        let sums = totals(&home);
        assert_eq!(
            [
                &sums["requests"],
                &sums["sessions"],
                &sums["context_tokens"]
            ],
            [&json!(1), &json!(1), &json!(10_700)]
        );
        assert_eq!(
            home.sqlite3("PRAGMA foreign_key_check; PRAGMA integrity_check")
                .text(),
            "ok\n"
        );
    }
}

#[test]
fn a_gateway_keeps_the_calls_that_it_makes_for_nobody() {
    let home = Home::with(&[
        usage(gateway("msg_1")),
        usage(gateway("msg_2")),
        usage(UsageRecord {
            hop: Some(Hop::ToGateway {
                counted: "anthropic:msg_1".to_owned(),
            }),
            ..origin()
        }),
    ]);
    assert_eq!(
        home.sqlite3(
            "SELECT session_key, request_count, cost_nanousd FROM v_session ORDER BY 1;
             SELECT comm, request_count FROM v_process ORDER BY 1"
        )
        .text(),
        "8f31c2aa-1b2c-4d5e-8f90-a1b2c3d4e5f6|1|4625010\nproc-41|1|4625010\nlitellm|1\nnode|1\n"
    );
}

#[test]
fn a_hop_whose_other_side_is_not_stored_counts_itself() {
    for hop in [
        Hop::ToGateway {
            counted: "anthropic:msg_9".to_owned(),
        },
        Hop::OfGateway {
            origin: "other:msg_9".to_owned(),
        },
    ] {
        let home = Home::with(&[usage(UsageRecord {
            hop: Some(hop),
            ..origin()
        })]);
        assert_eq!(totals(&home)["requests"], 1);
    }
}

#[test]
fn an_id_that_is_no_identity_is_kept() {
    let home = Home::with(&[
        with("chatcmpl-7", |record| {
            record.identity = "conn:1-2-3-4".to_owned();
        }),
        with("msg_1", |record| {
            record.identity = "hop:anthropic:msg_1".to_owned();
        }),
        with("msg_2", |_| {}),
    ]);
    assert_eq!(
        home.sqlite3(
            "SELECT provider_response_id FROM v_request ORDER BY request_id;
             SELECT count(response_id) FROM request"
        )
        .text(),
        "chatcmpl-7\nmsg_1\nmsg_2\n2\n"
    );
}

/// A response that runs in the background is asked for again and again, by whatever process.
#[test]
fn trap_16_a_response_that_is_polled_and_fetched_later_is_one_row() {
    let mut pending = unknown("resp_1", "2026-11-01T15:00:00Z");
    pending.call.response_id = Some("resp_1".to_owned());
    let mut fetched = estimated("resp_1", "2026-11-01T15:10:00Z");
    fetched.call.usage_source = UsageSource::Provider;
    fetched.process = Some(process(99, "cron", "/usr/sbin/cron", "root"));
    let home = Home::new();
    let mut writer = home.writer();
    for record in [&pending, &pending, &fetched, &fetched] {
        writer.apply(&[usage(record.clone())]).unwrap();
    }
    assert_eq!(
        home.sqlite3(
            "SELECT comm, usage_source, context_tokens, output_tokens, cost_nanousd FROM v_request;
             SELECT request_count, peak_context_tokens FROM v_session"
        )
        .text(),
        "python3|provider|2000|100|11000000\n1|2000\n"
    );
}

#[test]
fn the_price_of_a_call_is_stored_on_its_first_use_and_shared() {
    let prices = Prices::new(List::bundled(), Vec::new());
    let completed_ms = 1_793_545_203_210;
    let with_price = |identity: &str, model: &str| {
        with(identity, |record| {
            record.call.model_served = Some(model.to_owned());
            (record.cost, record.sub_costs) = prices.call(&record.call, completed_ms);
        })
    };
    let home = Home::with(&[
        with_price("msg_1", "claude-opus-5-5-20260901"),
        with_price("msg_2", "claude-opus-5-5"),
        with_price("msg_3", "claude-haiku-5-5"),
        with_price("msg_4", "claude-opus-5-5-private"),
    ]);
    // 150 × $4 + 800 × $0.20 + 50 × $5 + 50 × $20 per million; and of the smaller model.
    assert_eq!(
        home.sqlite3(
            "SELECT provider_response_id, cost_nanousd, cost_status, p.provider, p.model,
                    p.input_uncached_nanousd_per_mtok, p.cache_read_nanousd_per_mtok,
                    p.cache_write_5m_nanousd_per_mtok, p.output_nanousd_per_mtok, p.source,
                    p.source_version
             FROM v_request LEFT JOIN price AS p USING (price_id) ORDER BY 1;
             SELECT count(*) FROM price"
        )
        .text(),
        "msg_1|2010000|priced|anthropic|claude-opus-5-5|4000000000|200000000|5000000000|20000000000|\
         genai-prices|0.2.1\n\
         msg_2|2010000|priced|anthropic|claude-opus-5-5|4000000000|200000000|5000000000|20000000000|\
         genai-prices|0.2.1\n\
         msg_3|54250|priced|anthropic|claude-haiku-5-5|100000000|10000000|125000000|500000000|\
         genai-prices|0.2.1\n\
         msg_4||unpriced||||||||\n2\n"
    );
}
