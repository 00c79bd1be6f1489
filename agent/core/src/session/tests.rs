use super::*;
use crate::event::{ConnId, FactSource};
use crate::http::ExchangeId;
use crate::llm::{
    Countable, Endpoint, Estimates, Outcome, Provider, SessionHints, Terms, Units, Usage,
    UsageSource,
};

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
        first_token: None,
        ended: at(started + 2),
        provider: Provider("openai"),
        endpoint: Endpoint::OpenAiResponses,
        server_name: None,
        model_requested: None,
        model_served: None,
        is_stream: false,
        http_status: Some(200),
        outcome: Outcome::Complete,
        stop_reason: None,
        usage: Usage::default(),
        usage_source: UsageSource::None,
        estimates: Estimates::default(),
        units: Units::default(),
        sub_inferences: Vec::new(),
        terms: Terms::default(),
        reported_cost_nanousd: None,
        attempt: None,
        aborted_by: None,
        response_id: None,
        user_agent: None,
        originator: None,
        hints: SessionHints::default(),
        observed_bytes: 0,
        countable: None,
    }
}

fn process(pid: u32) -> Arc<Process> {
    Arc::new(Process {
        id: ProcId {
            pid,
            start_ticks: 42,
        },
        ancestors: Vec::new(),
        exe: None,
        comm: "main".to_owned(),
        argv0: None,
        uid: 0,
        user_name: None,
        cwd: None,
        cgroup: None,
        started_ns: 0,
        source: FactSource::Proc,
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
        former: None,
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
