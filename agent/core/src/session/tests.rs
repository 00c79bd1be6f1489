use super::*;
use crate::event::{Ancestor, ConnId, FactSource, Marker};
use crate::http::ExchangeId;
use crate::llm::{
    Countable, Endpoint, Former, Outcome, Prefix, Provider, SessionHints, Usage, UsageSource,
};
use crate::workflow::Origin;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

fn call(pid: u32, started: u64) -> LlmCall {
    LlmCall {
        exchange: ExchangeId {
            conn: ConnId {
                pid,
                ssl: 0xff,
                since: at(1),
            },
            number: 3,
        },
        started: at(started),
        ended: at(started + 2),
        provider: Provider("openai"),
        endpoint: Endpoint::OpenAiResponses,
        is_stream: false,
        http_status: Some(200),
        outcome: Outcome::Complete,
        usage_source: UsageSource::None,
        ..LlmCall::plain()
    }
}

fn process(pid: u32) -> Arc<Process> {
    Arc::new(Process {
        id: ProcId {
            pid,
            start_ticks: 42,
        },
        comm: "main".to_owned(),
        source: FactSource::Proc,
        ..Process::default()
    })
}

fn attributed(call: LlmCall) -> AttributedCall {
    let process = Some(process(call.exchange.conn.pid));
    AttributedCall {
        call,
        process,
        client: Client::default(),
    }
}

fn sessions() -> Sessions {
    Sessions::new(Settings::default())
}

/// Key of the session that a call joins, and where it comes from.
fn joined(sessions: &mut Sessions, call: LlmCall) -> (String, KeySource) {
    let record = sessions.record(attributed(call));
    (record.session.0, record.key_source)
}

fn hinted(hints: SessionHints) -> LlmCall {
    LlmCall {
        hints,
        ..call(7, 100)
    }
}

#[test]
fn a_record_says_all_of_a_call_but_its_text() {
    let mut sessions = sessions();
    sessions.learn(&Event::Clock {
        at: at(50),
        unix_ns: 1_000_000_000_000,
    });
    let mut countable = Countable::default();
    countable.output.push("secret");
    let first_token = Some(Timestamp::from_nanos(100_500_000_000));
    let plain = LlmCall {
        first_token,
        ..call(7, 100)
    };
    let record = sessions.record(attributed(LlmCall {
        countable: Some(countable),
        ..plain.clone()
    }));
    let expected = UsageRecord {
        call: plain,
        process: Some(process(7)),
        client: Client::default(),
        session: SessionKey("proc-7-42-1050000".to_owned()),
        key_source: KeySource::ProcessIdle,
        identity: "conn:7-ff-1000000000-3".to_owned(),
        started_unix_ms: 1_050_000,
        ttft_ms: Some(500),
        duration_ms: 2000,
        retry_of: None,
        hop: None,
        cost: Priced::default(),
        sub_costs: Vec::new(),
        workflow: Arc::new(Workflow {
            name: "main".to_owned(),
            origin: Origin::Auto,
            billing_code: None,
            labels: Vec::new(),
        }),
        thread: Thread::main(),
        task: TaskType::Chat,
        is_human_turn: false,
        compacted: None,
        continues: None,
    };
    assert_eq!(record, expected);
}

#[test]
fn the_identity_is_the_responses_id_where_there_is_one() {
    let call = LlmCall {
        response_id: Some("resp_1".to_owned()),
        ..call(7, 100)
    };
    assert_eq!(
        sessions().record(attributed(call)).identity,
        "openai:resp_1"
    );
}

#[test]
fn an_id_that_other_responses_may_share_is_no_identity() {
    let identity = |id: &str| {
        let call = LlmCall {
            response_id: Some(id.to_owned()),
            ..call(7, 100)
        };
        sessions().record(attributed(call)).identity
    };
    for shared in [
        "chatcmpl-437",
        "cmpl-7",
        "chatcmpl-1764057600",
        "chatcmpl-1764057600123",
    ] {
        assert!(identity(shared).starts_with("conn:"), "{shared}");
    }
    for unique in [
        "chatcmpl-1764057600123456789",
        "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "gen-1",
        "0193",
    ] {
        assert_eq!(identity(unique), format!("openai:{unique}"));
    }
}

#[test]
fn the_best_hint_wins() {
    let all = SessionHints {
        client_header: Some("header-1".to_owned()),
        body_id: Some("body-1".to_owned()),
        previous_response_id: Some("resp_0".to_owned()),
        ..SessionHints::default()
    };
    let mut sessions = sessions();
    let origin = LlmCall {
        response_id: Some("resp_0".to_owned()),
        hints: SessionHints {
            body_id: Some("origin".to_owned()),
            ..SessionHints::default()
        },
        ..call(9, 90)
    };
    joined(&mut sessions, origin);
    let without_header = SessionHints {
        client_header: None,
        ..all.clone()
    };
    let chain = SessionHints {
        body_id: None,
        ..without_header.clone()
    };
    assert_eq!(
        joined(&mut sessions, hinted(all)),
        ("header-1".to_owned(), KeySource::ClientHeader)
    );
    assert_eq!(
        joined(&mut sessions, hinted(without_header)),
        ("body-1".to_owned(), KeySource::ClientBody)
    );
    assert_eq!(
        joined(&mut sessions, hinted(chain)),
        ("origin".to_owned(), KeySource::ResponseChain)
    );
}

/// What a conversation of these items is known by.
fn prefix(items: &[u64]) -> Prefix {
    let hash = |items: &[u64]| items.iter().fold(1_u64, |hash, item| hash * 31 + item);
    Prefix {
        setting: 1,
        first: hash(&items[..1]),
        whole: hash(items),
        earlier: (0..items.len())
            .rev()
            .map(|end| hash(&items[..end]))
            .collect(),
    }
}

#[test]
fn a_conversation_goes_before_its_traces_and_those_before_the_process() {
    let talk = |started, items: &[u64], trace: Option<&str>| {
        let mut call = call(7, started);
        call.signals.prefix = Some(prefix(items));
        call.hints.trace_id = trace.map(str::to_owned);
        call
    };
    let mut sessions = sessions();
    let first = joined(&mut sessions, talk(100, &[1], Some("trace-1")));
    assert_eq!(first, ("trace-1".to_owned(), KeySource::Trace));
    assert_eq!(
        joined(&mut sessions, talk(110, &[1, 2, 3], Some("trace-2"))),
        ("trace-1".to_owned(), KeySource::PrefixChain)
    );
    assert_eq!(
        joined(&mut sessions, talk(120, &[4], Some("trace-3"))),
        ("trace-3".to_owned(), KeySource::Trace)
    );
    let plain = joined(&mut sessions, talk(130, &[5], None));
    assert_eq!(plain.1, KeySource::ProcessIdle);
    assert_eq!(
        joined(&mut sessions, talk(140, &[5, 6, 7], None)),
        (plain.0, KeySource::PrefixChain)
    );
}

#[test]
fn other_instructions_are_another_session_of_the_process() {
    let mut sessions = sessions();
    let mut other = call(7, 110);
    other.signals.prefix = Some(Prefix {
        setting: 2,
        ..prefix(&[1])
    });
    let first = joined(&mut sessions, call(7, 100));
    let second = joined(&mut sessions, other);
    assert_ne!(first.0, second.0);
    assert_eq!(second.1, KeySource::ProcessIdle);
    assert_eq!(joined(&mut sessions, call(7, 120)), first);
}

#[test]
fn the_calls_of_an_agent_are_one_session_whatever_their_instructions() {
    let mut sessions = sessions();
    let mut key_of = |started, setting| {
        let mut call = call(7, started);
        call.signals.prefix = Some(Prefix {
            setting,
            ..prefix(&[setting])
        });
        let client = Client {
            name: Some("gemini-cli".to_owned()),
            version: None,
        };
        let attributed = AttributedCall {
            client,
            ..attributed(call)
        };
        sessions.record(attributed).session
    };
    let first = key_of(100, 1);
    assert_eq!(key_of(110, 2), first);
    assert_eq!(key_of(120, 3), first);
}

#[test]
fn a_chain_goes_on_from_response_to_response() {
    let mut sessions = sessions();
    let mut keys = Vec::new();
    for number in 1..5 {
        let previous = (number > 1).then(|| format!("resp_{}", number - 1));
        let hints = SessionHints {
            previous_response_id: previous,
            ..SessionHints::default()
        };
        let response_id = Some(format!("resp_{number}"));
        // Turns lie further apart than the idle time, in processes of their own.
        let turn = LlmCall {
            response_id,
            hints,
            ..call(number, u64::from(number) * 10_000)
        };
        keys.push(joined(&mut sessions, turn));
    }
    let key = "proc-1-42-10000000".to_owned();
    assert_eq!(keys[0], (key.clone(), KeySource::ProcessIdle));
    assert!(
        keys[1..]
            .iter()
            .all(|joined| *joined == (key.clone(), KeySource::ResponseChain))
    );
}

#[test]
fn an_unknown_previous_response_joins_the_process() {
    let hints = SessionHints {
        previous_response_id: Some("resp_0".to_owned()),
        ..SessionHints::default()
    };
    assert_eq!(
        joined(&mut sessions(), hinted(hints)).1,
        KeySource::ProcessIdle
    );
}

#[test]
fn a_process_starts_a_new_session_after_the_idle_time() {
    let mut sessions = sessions();
    let first = joined(&mut sessions, call(7, 100)).0;
    // The first call ends at 102; the idle time is 1,800 seconds.
    assert_eq!(joined(&mut sessions, call(7, 1902)).0, first);
    let second = joined(&mut sessions, call(7, 1904 + 1801)).0;
    assert_ne!(second, first);
    assert_ne!(joined(&mut sessions, call(8, 1904)).0, first);
    assert_eq!(
        joined(&mut sessions, call(7, 1904)).0,
        second,
        "a late call joins what is open"
    );
}

/// A call of a process that a script started under a marker, saying so many items.
fn under(marker: Option<&str>, pid: u32, started: u64, items: &[u64]) -> AttributedCall {
    let script = Ancestor {
        id: ProcId {
            pid: 5,
            start_ticks: 1,
        },
        comm: "script".to_owned(),
        exe: None,
    };
    let facts = Process {
        marker: marker.and_then(Marker::parse),
        ancestors: vec![script],
        ..Process::clone(&process(pid))
    };
    let (whole, earlier) = items.split_last().unwrap();
    let mut call = call(pid, started);
    call.signals.prefix = Some(Prefix {
        setting: 1,
        first: 2,
        whole: *whole,
        earlier: earlier.to_vec(),
    });
    AttributedCall {
        process: Some(Arc::new(facts)),
        ..attributed(call)
    }
}

#[test]
fn a_script_that_works_for_several_workflows_has_a_session_for_each() {
    let mut sessions = sessions();
    let mut joined = |call| {
        let record = sessions.record(call);
        (
            record.session.0,
            record.key_source,
            record.workflow.name.clone(),
        )
    };
    let mut named =
        |marker, pid, started, items: &[u64]| joined(under(marker, pid, started, items));
    let idle = |key: &str, name: &str| (key.to_owned(), KeySource::ProcessIdle, name.to_owned());
    let first = idle("proc-5-1-100000", "triage");
    let second = idle("proc-5-1-100001", "review");
    let third = idle("proc-5-1-100002", "main");
    assert_eq!(named(Some("triage"), 7, 100, &[10]), first);
    assert_eq!(named(Some("review"), 8, 100, &[10]), second);
    assert_eq!(named(None, 9, 100, &[10]), third);
    assert_eq!(named(Some("triage"), 11, 110, &[20]), first);
    // What goes on from the same conversation does so in the session of its own workflow.
    for (marker, of) in [(Some("triage"), first), (Some("review"), second)] {
        let expected = (of.0, KeySource::PrefixChain, of.2);
        assert_eq!(named(marker, 12, 120, &[10, 11]), expected);
    }
}

#[test]
fn processes_without_facts_are_told_apart_by_their_id() {
    let mut sessions = sessions();
    let mut nameless = |pid| {
        let call = AttributedCall {
            call: call(pid, 100),
            process: None,
            client: Client::default(),
        };
        sessions.record(call).session.0
    };
    assert_eq!(
        [nameless(7), nameless(8)],
        ["proc-7-0-100000", "proc-8-0-100000"]
    );
}

#[test]
fn keys_are_cut_and_free_of_control_characters() {
    let hint = |id: &str| {
        let hints = SessionHints {
            body_id: Some(id.to_owned()),
            ..SessionHints::default()
        };
        joined(&mut sessions(), hinted(hints))
    };
    assert_eq!(
        hint("a\u{1b}[1m\u{0}b"),
        ("a[1mb".to_owned(), KeySource::ClientBody)
    );
    assert_eq!(hint(&"é".repeat(1000)).0, "é".repeat(64));
    assert_eq!(hint("\u{7}").1, KeySource::ProcessIdle);
}

#[test]
fn expired_processes_are_forgotten() {
    let mut sessions = sessions();
    joined(&mut sessions, call(7, 100));
    sessions.expire(at(102 + 3600));
    assert_eq!(sessions.unnamed.len(), 1);
    sessions.expire(at(102 + 3601));
    assert_eq!(sessions.unnamed.len(), 0);
}

#[test]
fn processes_and_responses_are_bounded() {
    let mut sessions = sessions();
    for number in 0..20_000_u32 {
        let response_id = Some(format!("resp_{number}"));
        joined(
            &mut sessions,
            LlmCall {
                response_id,
                ..call(number, 100 + u64::from(number) / 100)
            },
        );
    }
    assert_eq!(sessions.unnamed.len(), PROCESSES);
    let chain = |number: u32| {
        let previous_response_id = Some(format!("resp_{number}"));
        hinted(SessionHints {
            previous_response_id,
            ..SessionHints::default()
        })
    };
    assert_eq!(joined(&mut sessions, chain(0)).1, KeySource::ProcessIdle);
    assert_eq!(
        joined(&mut sessions, chain(19_999)).1,
        KeySource::ResponseChain
    );
}

#[test]
fn times_are_labelled_by_the_reading_in_force() {
    let mut sessions = sessions();
    let started = |seconds| sessions.clock.unix_ms(at(seconds));
    assert_eq!(
        started(100),
        100_000,
        "without a reading time counts from boot"
    );
    let reading = |sessions: &mut Sessions, seconds, unix_ns| {
        sessions.learn(&Event::Clock {
            at: at(seconds),
            unix_ns,
        });
    };
    reading(&mut sessions, 1000, 5_000_000_000_000);
    reading(&mut sessions, 2000, 9_000_000_000_000);
    let started = |seconds| sessions.clock.unix_ms(at(seconds));
    assert_eq!(started(500), 4_500_000);
    assert_eq!(started(1999), 5_999_000);
    assert_eq!(started(2001), 9_001_000);
}

#[test]
fn durations_are_never_negative() {
    let backwards = LlmCall {
        first_token: Some(at(1)),
        ended: at(2),
        ..call(7, 100)
    };
    let record = sessions().record(attributed(backwards));
    assert_eq!((record.ttft_ms, record.duration_ms), (Some(0), 0));
}

/// A call to a gateway on this host, from 100 to 110 seconds.
fn to_gateway() -> LlmCall {
    LlmCall {
        provider: Provider("other"),
        server_name: Some("localhost".to_owned()),
        ended: at(110),
        ..of_gateway()
    }
}

/// What the gateway, another process, calls for it, from 101 to 109 seconds.
fn of_gateway() -> LlmCall {
    LlmCall {
        exchange: call(8, 0).exchange,
        started: at(101),
        ended: at(109),
        server_name: Some("api.openai.com".to_owned()),
        response_id: Some("resp_1".to_owned()),
        usage: Usage {
            input_uncached: Some(10),
            cache_read: Some(5),
            output: Some(7),
            ..Usage::default()
        },
        usage_source: UsageSource::Provider,
        ..call(8, 0)
    }
}

fn client(call: LlmCall) -> LlmCall {
    LlmCall {
        exchange: self::call(7, 0).exchange,
        started: at(100),
        ..call
    }
}

/// Identity and hop of each of these calls, in the order of their ends.
fn hops(calls: &[LlmCall]) -> Vec<(String, Option<Hop>)> {
    let mut sessions = sessions();
    calls
        .iter()
        .map(|call| {
            let record = sessions.record(attributed(call.clone()));
            (record.identity, record.hop)
        })
        .collect()
}

#[test]
fn trap_14_both_sides_of_a_local_gateway_are_linked_by_their_id() {
    let inner = client(to_gateway());
    assert_eq!(
        hops(&[of_gateway(), inner.clone()]),
        [
            ("openai:resp_1".to_owned(), None),
            (
                "other:resp_1".to_owned(),
                Some(Hop::ToGateway {
                    counted: "openai:resp_1".to_owned()
                })
            ),
        ]
    );
    // The client hung up, and then the gateway did.
    let hung_up = LlmCall {
        ended: at(105),
        ..inner
    };
    assert_eq!(
        hops(&[hung_up, of_gateway()]),
        [
            ("other:resp_1".to_owned(), None),
            (
                "openai:resp_1".to_owned(),
                Some(Hop::OfGateway {
                    origin: "other:resp_1".to_owned()
                })
            ),
        ]
    );
}

#[test]
fn trap_14_a_gateway_that_gives_ids_of_its_own_is_told_by_equal_usage() {
    let mut inner = client(to_gateway());
    inner.response_id = Some("chatcmpl-9".to_owned());
    // The gateway says the same numbers in other classes.
    inner.usage.cache_read = None;
    inner.usage.input_uncached = Some(15);
    let is_linked = |outer: LlmCall, inner: LlmCall| hops(&[outer, inner])[1].1.is_some();
    assert!(is_linked(of_gateway(), inner.clone()));
    let mut other_usage = inner.clone();
    other_usage.usage.output = Some(8);
    assert!(!is_linked(of_gateway(), other_usage));
    let mut late = of_gateway();
    late.started = at(103);
    assert!(!is_linked(late, inner.clone()));
    let mut to_a_provider = inner.clone();
    to_a_provider.server_name = Some("api.groq.com".to_owned());
    to_a_provider.provider = Provider("groq");
    assert!(!is_linked(of_gateway(), to_a_provider));
    let mut estimated = inner;
    estimated.usage_source = UsageSource::Estimated;
    assert!(!is_linked(of_gateway(), estimated));
}

#[test]
fn trap_14_a_client_is_told_from_its_gateway_although_its_write_returns_late() {
    let later = |milliseconds: u64| at(102) + Duration::from_millis(milliseconds);
    let mut outer = of_gateway();
    outer.started = at(102);
    for mut inner in [client(to_gateway()), client(of_gateway())] {
        // Through a proxy that is no gateway by its name, only the ends tell.
        inner
            .server_name
            .get_or_insert_default()
            .push_str(".example");
        inner.started = later(200);
        inner.ended = outer.ended + Duration::from_millis(1);
        let sides = [outer.clone(), inner.clone()];
        assert!(matches!(hops(&sides)[1].1, Some(Hop::ToGateway { .. })));
        inner.started = later(300);
        assert!(!matches!(
            hops(&[outer.clone(), inner])[1].1,
            Some(Hop::ToGateway { .. })
        ));
    }
    // The reply to the client is taken up first.
    let mut inner = client(to_gateway());
    inner.started = later(200);
    inner.ended = outer.ended;
    assert!(matches!(
        hops(&[inner, outer])[1].1,
        Some(Hop::OfGateway { .. })
    ));
}

#[test]
fn trap_16_the_same_response_seen_again_is_no_gateway() {
    // Another process asks the same host for a response that runs.
    let mut polled = client(of_gateway());
    polled.ended = at(110);
    assert_eq!(hops(&[of_gateway(), polled])[1].1, None);
    // Later, from elsewhere.
    let mut later = client(to_gateway());
    later.started = at(120);
    later.ended = at(121);
    assert_eq!(hops(&[of_gateway(), later])[1].1, None);
    // By the process itself.
    let mut own = client(to_gateway());
    own.exchange = of_gateway().exchange;
    assert_eq!(hops(&[of_gateway(), own])[1].1, None);
}

#[test]
fn gateways_in_a_row_end_at_one_call() {
    let mut middle = client(to_gateway());
    middle.exchange = call(9, 0).exchange;
    middle.server_name = Some("gateway.internal".to_owned());
    middle.response_id = Some("resp_1".to_owned());
    let found = hops(&[of_gateway(), middle, client(to_gateway())]);
    let counted = Some(Hop::ToGateway {
        counted: "openai:resp_1".to_owned(),
    });
    assert_eq!(
        found.into_iter().map(|(_, hop)| hop).collect::<Vec<_>>(),
        [None, counted.clone(), counted]
    );
}

#[test]
fn two_sides_of_one_identity_are_two_records() {
    let mut inner = client(to_gateway());
    inner.provider = of_gateway().provider;
    let found = hops(&[of_gateway(), inner]);
    assert_eq!(found[1].0, "hop:openai:resp_1");
    assert!(found[1].1.is_some());
}

#[test]
fn calls_that_may_be_a_side_of_a_gateway_are_bounded() {
    let mut sessions = sessions();
    for number in 0..5_000_u32 {
        let mut call = of_gateway();
        call.exchange.conn.pid = number;
        call.response_id = Some(format!("resp_{number}"));
        sessions.record(attributed(call));
    }
    let mut first = client(to_gateway());
    first.response_id = Some("resp_0".to_owned());
    first.usage_source = UsageSource::None;
    let mut last = first.clone();
    last.response_id = Some("resp_4999".to_owned());
    assert_eq!(sessions.record(attributed(first)).hop, None, "forgotten");
    assert!(sessions.record(attributed(last)).hop.is_some());
}

#[test]
fn a_try_names_the_one_before_it() {
    let exchange = call(7, 0).exchange;
    let mut retry = call(7, 100);
    retry.exchange.number = 4;
    let former = |response_id: Option<&str>| {
        let mut retry = retry.clone();
        retry.hints.former = Some(Former {
            exchange,
            response_id: response_id.map(str::to_owned),
        });
        sessions().record(attributed(retry)).retry_of.unwrap()
    };
    let mut first = call(7, 90);
    assert_eq!(
        former(None),
        sessions().record(attributed(first.clone())).identity
    );
    first.response_id = Some("resp_0".to_owned());
    assert_eq!(
        former(Some("resp_0")),
        sessions().record(attributed(first)).identity
    );
}
