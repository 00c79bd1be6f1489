use super::*;
use crate::llm::{Endpoint, Signals, ToolFamilies, Usage};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

/// What a conversation of these items, with these instructions, is known by.
fn prefix(setting: u64, items: &[u64]) -> Prefix {
    let hash = |items: &[u64]| {
        items.iter().fold(setting, |hash, item| {
            hash.wrapping_mul(31).wrapping_add(*item)
        })
    };
    let earlier = (0..items.len()).rev().map(|end| hash(&items[..end]));
    Prefix {
        setting,
        first: hash(&items[..items.len().min(1)]),
        whole: hash(items),
        earlier: earlier.take(Prefix::EARLIER).collect(),
    }
}

/// A step of an agent that offers ten tools.
fn step(started: u64, conversation: Prefix) -> LlmCall {
    LlmCall {
        started: at(started),
        ended: at(started + 2),
        usage: Usage {
            input_uncached: Some(20_000),
            output: Some(100),
            ..Usage::default()
        },
        signals: Signals {
            tools_offered: Some(10),
            families: ToolFamilies {
                edit: true,
                shell: true,
                read: true,
            },
            last_item: Some(LastItem::User),
            tool_calls: 1,
            prefix: Some(conversation),
            ..Signals::default()
        },
        ..LlmCall::plain()
    }
}

struct Run {
    sessions: OpenSessions,
    key: SessionKey,
    key_source: KeySource,
    client: Option<&'static str>,
    count: usize,
}

impl Run {
    fn new() -> Self {
        Self {
            sessions: OpenSessions::default(),
            key: SessionKey("s".to_owned()),
            key_source: KeySource::ClientHeader,
            client: None,
            count: 0,
        }
    }

    fn of_client(client: &'static str) -> Self {
        Self {
            client: Some(client),
            ..Self::new()
        }
    }

    fn place(&mut self, call: &LlmCall) -> Part {
        self.count += 1;
        self.sessions.place(&Arrival {
            call,
            client: self.client,
            key: &self.key,
            key_source: self.key_source,
            uid: Some(1_000),
            identity: &format!("call-{}", self.count),
            started_unix_ms: i64::try_from(call.started.as_nanos() / 1_000_000).unwrap(),
        })
    }

    /// Kind and key of the thread that a call is put in, and whether it goes on there.
    fn thread(&mut self, call: &LlmCall) -> (ThreadKind, String, Option<bool>) {
        let part = self.place(call);
        (part.thread.kind, part.thread.key, part.continues)
    }
}

fn main_thread(continues: Option<bool>) -> (ThreadKind, String, Option<bool>) {
    (ThreadKind::Main, String::new(), continues)
}

#[test]
fn a_conversation_that_grows_is_one_thread() {
    let mut run = Run::new();
    assert_eq!(run.thread(&step(10, prefix(1, &[1]))), main_thread(None));
    assert_eq!(
        run.thread(&step(20, prefix(1, &[1, 2, 3]))),
        main_thread(Some(true))
    );
    assert_eq!(
        run.thread(&step(30, prefix(1, &[1, 2, 3, 4, 5]))),
        main_thread(Some(true))
    );
    // The same again, as a client does that tries again.
    assert_eq!(
        run.thread(&step(40, prefix(1, &[1, 2, 3, 4, 5]))),
        main_thread(Some(true))
    );
}

#[test]
fn another_conversation_of_the_session_is_a_subagent_below_the_main_one() {
    let mut run = Run::new();
    run.place(&step(10, prefix(1, &[1])));
    let part = run.place(&step(20, prefix(2, &[7])));
    assert_eq!(
        part.thread,
        Thread {
            key: "20000".to_owned(),
            parent: Some(String::new()),
            kind: ThreadKind::Subagent,
            agent_type: None,
            depth: 1,
        }
    );
    assert!(
        !part.is_human_turn,
        "words to a subagent are not the user's"
    );
    let mut second = step(20, prefix(2, &[8]));
    second.signals.last_item = Some(LastItem::ToolResult);
    assert_eq!(
        run.thread(&second),
        (ThreadKind::Subagent, "20001".to_owned(), None),
        "one that began in the same millisecond"
    );
    assert_eq!(
        run.thread(&step(30, prefix(2, &[7, 8, 9]))),
        (ThreadKind::Subagent, "20000".to_owned(), Some(true))
    );
    assert_eq!(
        run.thread(&step(40, prefix(1, &[1, 2, 3]))),
        main_thread(Some(true))
    );
}

#[test]
fn a_changed_beginning_stays_in_its_thread_and_says_so() {
    let mut run = Run::new();
    run.place(&step(10, prefix(1, &[1, 2, 3])));
    assert_eq!(
        run.thread(&step(20, prefix(1, &[1, 9, 3, 4]))),
        main_thread(Some(false))
    );
}

#[test]
fn a_context_that_shrinks_by_half_shows_that_a_summary_came_before() {
    let mut run = Run::new();
    let mut summary = step(10, prefix(1, &[1, 2, 3, 4, 5]));
    summary.signals.tool_calls = 0;
    summary.usage.input_uncached = Some(150_000);
    run.place(&summary);
    let mut next = step(20, prefix(1, &[9]));
    next.usage.input_uncached = Some(30_000);
    let part = run.place(&next);
    assert_eq!(
        (part.thread, part.compacted),
        (Thread::main(), Some("call-1".to_owned()))
    );
    // A step that asked for a tool waits for its result: what is shorter is another agent.
    let mut run = Run::new();
    summary.signals.tool_calls = 1;
    run.place(&summary);
    let part = run.place(&next);
    assert_eq!(
        (part.thread.kind, part.compacted),
        (ThreadKind::Subagent, None)
    );
}

#[test]
fn a_client_s_own_names_of_threads_make_the_tree() {
    let mut run = Run::of_client("claude-code");
    run.place(&step(10, prefix(1, &[1])));
    let mut review = step(20, prefix(2, &[1]));
    review.hints.thread = Some("agent-a".to_owned());
    review.hints.agent_type = Some("reviewer".to_owned());
    let part = run.place(&review);
    assert_eq!(
        part.thread,
        Thread {
            key: "agent-a".to_owned(),
            parent: Some(String::new()),
            kind: ThreadKind::Subagent,
            agent_type: Some("reviewer".to_owned()),
            depth: 1,
        }
    );
    let mut verify = step(30, prefix(3, &[1]));
    verify.hints.thread = Some("agent-b".to_owned());
    verify.hints.parent_thread = Some("agent-a".to_owned());
    assert_eq!(run.place(&verify).thread.depth, 2);
    // Without a name it is the main one, whatever it consists of.
    assert_eq!(
        run.thread(&step(40, prefix(9, &[9]))),
        main_thread(Some(false))
    );
    let mut root = step(50, prefix(9, &[9, 10, 11]));
    root.hints.thread = Some("s".to_owned());
    assert_eq!(
        run.thread(&root),
        main_thread(Some(true)),
        "the session's own name"
    );
}

#[test]
fn a_program_without_sessions_of_its_own_has_one_thread() {
    let mut run = Run::new();
    run.key_source = KeySource::ProcessIdle;
    for number in 0..50 {
        assert_eq!(
            run.place(&step(number, prefix(1, &[100 + number]))).thread,
            Thread::main()
        );
    }
}

#[test]
fn what_is_small_beside_an_agent_is_auxiliary_and_no_turn_of_the_user() {
    let mut run = Run::new();
    let mut small = step(5, prefix(5, &[1]));
    small.signals.tools_offered = Some(0);
    small.signals.families = ToolFamilies::default();
    small.signals.tool_calls = 0;
    small.signals.max_output_tokens = Some(512);
    let alone = run.place(&small);
    assert_eq!((alone.task, alone.is_human_turn), (TaskType::Chat, true));
    run.place(&step(10, prefix(1, &[1])));
    let beside = run.place(&small);
    assert_eq!(
        (beside.task, beside.thread.kind, beside.is_human_turn),
        (TaskType::Auxiliary, ThreadKind::Auxiliary, false)
    );
    small.signals.max_output_tokens = Some(513);
    assert_eq!(run.place(&small).task, TaskType::Chat);
}

#[test]
fn a_turn_of_the_user_is_words_at_the_end_of_the_main_thread() {
    let mut run = Run::new();
    assert!(run.place(&step(10, prefix(1, &[1]))).is_human_turn);
    let mut result = step(20, prefix(1, &[1, 2, 3]));
    result.signals.last_item = Some(LastItem::ToolResult);
    assert!(!run.place(&result).is_human_turn);
}

/// What a call has that makes it one of a type.
type Change<'a> = &'a dyn Fn(&mut LlmCall);

#[test]
fn task_types_follow_from_structure_and_the_first_that_fits_wins() {
    let call = |change: Change<'_>| {
        let mut call = LlmCall::plain();
        call.signals.tools_offered = Some(0);
        change(&mut call);
        TaskType::of(&call, Some("openai-python"), false)
    };
    let table: [(Change<'_>, TaskType); 12] = [
        (&|call| call.terms.is_batch = true, TaskType::Batch),
        (
            &|call| call.endpoint = Endpoint::CohereEmbed,
            TaskType::Embedding,
        ),
        (
            &|call| call.endpoint = Endpoint::OpenAiImages,
            TaskType::Image,
        ),
        (
            &|call| call.endpoint = Endpoint::OpenAiCompact,
            TaskType::Compaction,
        ),
        (
            &|call| call.signals.class = Some(Class::Compaction),
            TaskType::Compaction,
        ),
        (
            &|call| call.signals.class = Some(Class::Auxiliary),
            TaskType::Auxiliary,
        ),
        (
            &|call| {
                call.signals.tools_offered = Some(2);
                call.signals.families = ToolFamilies {
                    edit: true,
                    shell: true,
                    read: false,
                };
            },
            TaskType::Coding,
        ),
        (
            &|call| call.signals.tools_offered = Some(3),
            TaskType::Agentic,
        ),
        (
            &|call| call.signals.last_item = Some(LastItem::ToolResult),
            TaskType::Agentic,
        ),
        (
            &|call| {
                call.signals.tools_offered = Some(1);
                call.signals.forces_tool = true;
            },
            TaskType::Structured,
        ),
        (
            &|call| call.signals.asks_for_json = true,
            TaskType::Structured,
        ),
        (
            &|call| call.endpoint = Endpoint::OpenAiCompletions,
            TaskType::Completion,
        ),
    ];
    for (number, (change, expected)) in table.into_iter().enumerate() {
        assert_eq!(call(change), expected, "row {number}");
    }
    assert_eq!(call(&|_| {}), TaskType::Chat);
    let mut tools = LlmCall::plain();
    tools.signals.tools_offered = Some(1);
    assert_eq!(TaskType::of(&tools, Some("codex"), false), TaskType::Coding);
}

#[test]
fn sessions_and_threads_are_bounded_and_forgotten_after_twice_the_idle_time() {
    let mut run = Run::new();
    for number in 0..u64::try_from(THREADS).unwrap() + 10 {
        run.place(&step(number, prefix(number, &[number])));
    }
    let (_, session) = run.sessions.sessions.iter().next().unwrap();
    assert_eq!(session.threads.len(), THREADS);
    assert!(session.has_main(), "the main one stays");
    let idle = Duration::from_secs(60);
    run.sessions.expire(at(387), idle);
    assert_eq!(run.sessions.sessions.len(), 1);
    run.sessions.expire(at(388), idle);
    assert_eq!(run.sessions.sessions.len(), 0);
    for number in 0..SESSIONS + 5 {
        run.key = SessionKey(number.to_string());
        run.place(&step(1, prefix(1, &[1])));
    }
    assert_eq!(run.sessions.sessions.len(), SESSIONS);
}

#[test]
fn a_conversation_is_found_in_its_tree_of_processes_within_the_idle_time() {
    let mut conversations = Conversations::default();
    let payer = Arc::new(Workflow::unattributed());
    let root = |pid| {
        let start_ticks = 1;
        (ProcId { pid, start_ticks }, &payer)
    };
    let key = SessionKey("first".to_owned());
    conversations.learn(&prefix(1, &[1]), root(7), &key, at(10));
    let idle = Duration::from_secs(60);
    let next = prefix(1, &[1, 2, 3]);
    assert_eq!(
        conversations.session(&next, root(7), at(70), idle),
        Some(key)
    );
    assert_eq!(conversations.session(&next, root(7), at(71), idle), None);
    assert_eq!(conversations.session(&next, root(8), at(20), idle), None);
    assert_eq!(
        conversations.session(&prefix(1, &[2, 2, 3]), root(7), at(20), idle),
        None
    );
    for number in 0..u64::try_from(CONVERSATIONS).unwrap() {
        conversations.learn(
            &prefix(1, &[5, number]),
            root(7),
            &SessionKey("x".to_owned()),
            at(20),
        );
    }
    assert_eq!(conversations.session(&next, root(7), at(21), idle), None);
    assert_eq!(conversations.known.len(), CONVERSATIONS);
}
