use super::*;
use crate::event::{Ancestor, Checkout, ConnId};
use crate::http::ExchangeId;
use crate::llm::{Endpoint, Outcome, Provider, UsageSource};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

fn call(pid: u32, started: u64, user_agent: Option<&str>) -> LlmCall {
    LlmCall {
        exchange: ExchangeId {
            conn: ConnId {
                pid,
                ssl: 2,
                since: at(started),
            },
            number: 0,
        },
        started: at(started),
        ended: at(started + 1),
        provider: Provider("other"),
        endpoint: Endpoint::OpenAiChat,
        is_stream: false,
        http_status: Some(200),
        outcome: Outcome::Complete,
        usage_source: UsageSource::None,
        user_agent: user_agent.map(str::to_owned),
        ..LlmCall::plain()
    }
}

fn process(pid: u32, started: u64, exe: &str) -> Arc<Process> {
    let parent = Ancestor {
        id: ProcId {
            pid: 1,
            start_ticks: 0,
        },
        comm: "init".to_owned(),
        ..Ancestor::default()
    };
    Arc::new(Process {
        id: ProcId {
            pid,
            start_ticks: started * 100,
        },
        ancestors: vec![parent],
        exe: Some(exe.to_owned()),
        comm: "main".to_owned(),
        uid: 1000,
        user_name: Some("ana".to_owned()),
        started_ns: started * 1_000_000_000,
        source: FactSource::Proc,
        ..Process::default()
    })
}

fn learnt(events: &[Event]) -> Attribution {
    let mut attribution = Attribution::new(Limits::default());
    for event in events {
        attribution.learn(event);
    }
    attribution
}

fn owner(attribution: &Attribution, pid: u32, started: u64) -> Option<Arc<Process>> {
    attribution
        .attribute(call(pid, started, None), &mut Stats::default())
        .process
}

#[test]
fn a_call_belongs_to_its_process() {
    let python = process(7, 10, "/usr/bin/python3");
    let attribution = learnt(&[Event::Process(Arc::clone(&python))]);
    let mut stats = Stats::default();
    let attributed =
        attribution.attribute(call(7, 20, Some("AsyncOpenAI/Python 2.54.0")), &mut stats);
    let client = Client {
        name: Some("openai-python".to_owned()),
        version: Some("2.54.0".to_owned()),
    };
    let call = call(7, 20, Some("AsyncOpenAI/Python 2.54.0"));
    assert_eq!(
        attributed,
        AttributedCall {
            call,
            process: Some(python),
            client
        }
    );
    assert_eq!(stats, Stats::default());
}

#[test]
fn a_call_of_an_unknown_process_is_nobodys_and_counted() {
    let attribution = learnt(&[]);
    let mut stats = Stats::default();
    let attributed = attribution.attribute(call(7, 20, None), &mut stats);
    assert_eq!(
        (attributed.process, attributed.client),
        (None, Client::default())
    );
    assert_eq!(stats.calls_unattributed, 1);
}

#[test]
fn a_process_id_that_is_used_again_is_told_apart_by_time() {
    let (old, new) = (process(7, 10, "/bin/old"), process(7, 100, "/bin/new"));
    let events = [
        Event::Process(Arc::clone(&old)),
        Event::Exit { at: at(90), pid: 7 },
        Event::Process(Arc::clone(&new)),
        Event::Exit {
            at: at(205),
            pid: 9,
        },
    ];
    let mut attribution = learnt(&events[..3]);
    assert_eq!(owner(&attribution, 7, 50), Some(old));
    assert_eq!(owner(&attribution, 7, 150), Some(Arc::clone(&new)));
    attribution.learn(&Event::Exit {
        at: at(300),
        pid: 9,
    });
    assert_eq!(
        owner(&attribution, 7, 150),
        Some(new),
        "the end of the old one is not its end"
    );
}

#[test]
fn an_ended_process_is_remembered_for_its_late_calls() {
    let short = process(7, 10, "/bin/curl");
    let other = process(8, 10, "/bin/other");
    let mut attribution = learnt(&[
        Event::Process(Arc::clone(&short)),
        Event::Process(other),
        Event::Exit { at: at(11), pid: 7 },
        Event::Exit {
            at: at(130),
            pid: 8,
        },
    ]);
    assert_eq!(owner(&attribution, 7, 10), Some(short));
    attribution.learn(&Event::Exit {
        at: at(131),
        pid: 8,
    });
    assert_eq!(owner(&attribution, 7, 10), None);
}

#[test]
fn after_an_exec_calls_belong_to_the_new_program() {
    let shell = process(7, 10, "/bin/sh");
    let exec = Event::Exec {
        at: at(20),
        pid: 7,
        comm: "curl".to_owned(),
        uid: 0,
    };
    let mut attribution = learnt(&[Event::Process(Arc::clone(&shell)), exec]);
    let gone = Process {
        exe: None,
        comm: "curl".to_owned(),
        uid: 0,
        user_name: None,
        source: FactSource::Kernel,
        ..Process::clone(&shell)
    };
    assert_eq!(owner(&attribution, 7, 15), Some(Arc::clone(&shell)));
    assert_eq!(owner(&attribution, 7, 25).as_deref(), Some(&gone));
    let read = process(7, 10, "/usr/bin/curl");
    attribution.learn(&Event::Process(Arc::clone(&read)));
    assert_eq!(owner(&attribution, 7, 25), Some(read));
    assert_eq!(owner(&attribution, 7, 15), Some(shell));
}

#[test]
fn a_call_keeps_the_place_in_which_its_process_was_when_it_began() {
    let on_main = process(7, 10, "/bin/agent");
    let on_feature = Arc::new(Process {
        checkout: Some(Checkout {
            root: "/src/app".to_owned(),
            repo: "app".to_owned(),
            branch: Some("feature".to_owned()),
        }),
        holds_from_ns: at(20).as_nanos(),
        ..Process::clone(&on_main)
    });
    let mut attribution = learnt(&[
        Event::Process(Arc::clone(&on_main)),
        Event::Process(Arc::clone(&on_feature)),
    ]);
    assert_eq!(owner(&attribution, 7, 19), Some(on_main));
    assert_eq!(owner(&attribution, 7, 20), Some(Arc::clone(&on_feature)));
    // The same moment again: what is known of it better.
    let better = Arc::new(Process {
        cwd: Some("/src/app".to_owned()),
        ..Process::clone(&on_feature)
    });
    attribution.learn(&Event::Process(Arc::clone(&better)));
    assert_eq!(owner(&attribution, 7, 20), Some(better));
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut attribution = Attribution::new(Limits { processes: 3 });
    for pid in 1..=100 {
        attribution.learn(&Event::Process(process(pid, u64::from(pid), "/bin/a")));
        if pid == 99 {
            attribution.learn(&Event::Exit { at: at(99), pid });
        }
    }
    let known: Vec<u32> = (1..=100)
        .filter(|pid| owner(&attribution, *pid, 200).is_some())
        .collect();
    assert_eq!(known, [97, 98, 100], "the ended one goes first");
    for second in 0..100 {
        attribution.learn(&Event::Exec {
            at: at(200 + second),
            pid: 100,
            comm: format!("b{second}"),
            uid: 0,
        });
    }
    assert_eq!(attribution.by_pid.get(&100).map(Vec::len), Some(PROGRAMS));
}

fn client(
    user_agent: Option<&str>,
    originator: Option<&str>,
    exe: &str,
) -> (Option<String>, Option<String>) {
    let attribution = learnt(&[Event::Process(process(7, 10, exe))]);
    let call = LlmCall {
        originator: originator.map(str::to_owned),
        ..call(7, 20, user_agent)
    };
    let client = attribution.attribute(call, &mut Stats::default()).client;
    (client.name, client.version)
}

#[test]
fn clients_are_told_by_their_user_agents() {
    for (agent, name, version) in [
        ("OpenAI/Python 2.54.0", "openai-python", "2.54.0"),
        ("AsyncAzureOpenAI/Python 1.2", "openai-python", "1.2"),
        ("OpenAI/JS 5.20.1", "openai-node", "5.20.1"),
        ("Anthropic/Python 2.12.0", "anthropic-python", "2.12.0"),
        ("AsyncAnthropic/Python 2.12.0", "anthropic-python", "2.12.0"),
        (
            "AnthropicBedrock/Python 2.12.0",
            "anthropic-python",
            "2.12.0",
        ),
        ("Anthropic/JS 0.94.0", "anthropic-node", "0.94.0"),
        (
            "claude-cli/2.1.330 (external, cli)",
            "claude-code",
            "2.1.330",
        ),
        (
            "codex_exec/0.169.0 (Debian 12; x86_64) unknown (codex_exec; 0.169.0)",
            "codex",
            "0.169.0",
        ),
        ("codex_cli_rs/0.169.0 (Linux)", "codex", "0.169.0"),
        (
            "opencode/1.18.33 ai-sdk/provider-utils/4.0 runtime/bun/1.3",
            "opencode",
            "1.18.33",
        ),
        (
            "GeminiCLI-tui/0.61.0/gemini-3-pro (linux; x64)",
            "gemini-cli",
            "0.61.0",
        ),
        ("litellm/1.106.0", "litellm", "1.106.0"),
        ("curl/8.14.1", "curl", "8.14.1"),
        ("python-requests/2.32.3", "python-requests", "2.32.3"),
        ("python-httpx/0.28.1", "python-httpx", "0.28.1"),
        ("Python/3.11 aiohttp/3.9.1", "aiohttp", "3.9.1"),
        ("ai-sdk/openai/4.0.1 runtime/node", "ai-sdk", "4.0.1"),
        ("ai/7.0.0 ai-sdk/provider-utils/4.0", "ai-sdk", "7.0.0"),
        ("Groq/Python 1.9.0", "groq-python", "1.9.0"),
        ("cohere/7.3.1", "cohere-python", "7.3.1"),
        (
            "ollama-python/0.6.1 (x86_64 linux) Python/3.11.2",
            "ollama-python",
            "0.6.1",
        ),
        ("mistral-client-python/3.7.0", "mistralai-python", "3.7.0"),
    ] {
        let expected = (Some(name.to_owned()), Some(version.to_owned()));
        assert_eq!(client(Some(agent), None, "/usr/bin/x"), expected, "{agent}");
    }
    assert_eq!(
        client(Some("node"), None, "/usr/bin/node"),
        (Some("node".to_owned()), None)
    );
}

#[test]
fn trap_10_a_client_behind_a_library_is_told_by_its_file() {
    let copilot = (Some("copilot-cli".to_owned()), None);
    assert_eq!(
        client(Some("OpenAI/JS 5.20.1"), None, "/opt/copilot/copilot"),
        copilot
    );
    assert_eq!(
        client(Some("OpenAI/JS 5.20.1"), Some("codex_cli_rs"), "/bin/x"),
        (Some("codex".to_owned()), None)
    );
}

#[test]
fn an_unknown_client_has_the_name_of_its_file() {
    let name = |agent, exe| client(agent, None, exe).0;
    assert_eq!(name(None, "/opt/my-agent").as_deref(), Some("my-agent"));
    assert_eq!(
        name(Some("Mozilla/5.0 (X11)"), "/opt/my-agent (deleted)").as_deref(),
        Some("my-agent")
    );
    assert_eq!(name(None, "/").as_deref(), Some("main"));
    assert_eq!(name(None, "/opt/a\u{1b}[31m\nb").as_deref(), Some("a[31mb"));
    assert_eq!(
        name(None, &format!("/{}", "é".repeat(99))).map(|name| name.len()),
        Some(64)
    );
}
