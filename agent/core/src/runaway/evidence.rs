//! What is said of a session that runs away.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::session::{Found, Running, Session};
use super::{Key, Kind, Sign};
use crate::alert::{Condition, Rule, Severity, dollars};
use crate::spend::Payer;

/// LIMIT: characters of a session's key in the line for people.
const KEY_CHARACTERS: usize = 40;

/// What is left of a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headroom {
    /// Name of the budget.
    pub budget: String,
    /// What is left of it, in billionths of a US dollar.
    pub left_nanousd: u64,
    /// When its period ends, in milliseconds since the Unix epoch.
    pub ends_unix_ms: i64,
}

/// What is wrong with a session, if anything is.
pub(super) fn condition(
    key: &Key,
    session: &Session,
    running: &Running,
    now_unix_ms: i64,
    headroom: impl Fn(&Payer) -> Option<Headroom>,
) -> Option<Condition> {
    let found = session.found();
    let kinds: BTreeSet<Kind> = found.keys().map(|sign| sign.kind()).collect();
    if kinds.is_empty() {
        return None;
    }
    let is_urgent = kinds.len() > 1 || kinds.contains(&Kind::Money);
    let (uid, name) = key;
    let payer = session.payer();
    let mut scope = vec![
        ("workflow".to_owned(), payer.workflow.clone()),
        ("session".to_owned(), name.as_ref().to_owned()),
    ];
    let user = payer.user.clone();
    let user = user.or_else(|| uid.map(|uid| uid.to_string()));
    scope.extend(user.map(|user| ("user".to_owned(), user)));
    let mut amount = *session.amount();
    amount.add(&running.amount);
    let is_lower = amount.lower_bound_nanousd > 0 || amount.unpriced_tokens > 0;
    let per_hour = session.nanousd_per_hour(running, now_unix_ms);
    let rules: Vec<String> = kinds.iter().map(|kind| in_words(*kind, session)).collect();
    let spent = if is_lower && amount.cost_nanousd == 0 {
        "what it costs is not known".to_owned()
    } else {
        let least = if is_lower { "at least " } else { "" };
        let (spent, pace) = (dollars(amount.cost_nanousd), dollars(per_hour));
        format!("{least}{spent} in all, {pace} an hour at its pace")
    };
    let short: String = name.chars().take(KEY_CHARACTERS).collect();
    let summary = format!(
        "{}: session {short} runs away: {}; {spent}",
        payer.workflow,
        rules.join(", "),
    );
    let mut evidence = Map::new();
    let mut say = |key: &str, value: Value| evidence.insert(key.to_owned(), value);
    let signs = found.iter().map(|(sign, found)| sign_of(*sign, found));
    say("rules", signs.collect());
    say("uid", json!(uid));
    say("pid", json!(session.pid()));
    say("unit", json!(payer.unit));
    say("container", json!(payer.container));
    say("repo", json!(payer.repo));
    say("client", json!(payer.client));
    say("requests", json!(amount.requests));
    say("parallel_requests", json!(running.amount.requests));
    say("tokens", json!(amount.tokens));
    say("weighted_tokens", json!(amount.weighted_tokens));
    say("cost_nanousd", json!(amount.cost_nanousd));
    say("cost_is_lower_bound", json!(is_lower));
    say("nanousd_per_hour", json!(per_hour));
    say("started_unix_ms", json!(session.first_unix_ms()));
    say("last_unix_ms", json!(session.last_unix_ms()));
    say("human_turn_unix_ms", json!(session.human_unix_ms()));
    say("threads", json!(session.thread_count()));
    if let Some((thread, line)) = session.top_thread() {
        let top = json!({
            "thread": thread.as_ref(),
            "kind": line.kind,
            "depth": line.depth,
            "requests": line.requests,
            "weighted_tokens": line.weighted_tokens,
            "cost_nanousd": line.cost_nanousd,
        });
        say("top_thread", top);
    }
    if let Some(headroom) = headroom(payer) {
        say("budget", projected(&headroom, per_hour, now_unix_ms));
    }
    Some(Condition {
        rule: Rule::Runaway,
        variant: String::new(),
        scope,
        budget: None,
        severity: if is_urgent {
            Severity::Page
        } else {
            Severity::Ticket
        },
        hold: Duration::ZERO,
        summary,
        evidence,
    })
}

/// A rule and the first figure that it holds by.
fn in_words(kind: Kind, session: &Session) -> String {
    let (number, name) = kind.as_str();
    let mut found = session.found().iter();
    let Some((sign, found)) = found.find(|(sign, _)| sign.kind() == kind) else {
        return format!("{number} {name}");
    };
    let figure = found.figure;
    let figure = match sign {
        Sign::WeightedTokens => format!("{figure} weighted tokens in 10 minutes"),
        Sign::ParallelRequests => format!("{figure} requests at once"),
        Sign::NewThreads => format!("{figure} new threads in 10 minutes"),
        Sign::ThreadDepth => format!("threads {figure} deep"),
        Sign::RepeatedToolCall => format!("the same tool calls {figure} times"),
        Sign::DuplicateRequest => format!("the same request {figure} times in 10 minutes"),
        Sign::Compactions => format!("{figure} compactions in 30 minutes"),
        Sign::FullContext => format!("{figure} requests in a row with a full context"),
        Sign::HourNanousd => format!("{} in 60 minutes", dollars(figure)),
        Sign::SessionNanousd => format!("{} in the session", dollars(figure)),
        Sign::Unattended => format!("{figure} requests since a human spoke"),
    };
    format!("{number} {name} ({figure})")
}

fn sign_of(sign: Sign, found: &Found) -> Value {
    let (number, name) = sign.kind().as_str();
    json!({
        "rule": number,
        "name": name,
        "what": sign.as_str(),
        "figure": found.figure,
        "threshold": found.threshold,
        "first_unix_ms": found.first_unix_ms,
        "last_unix_ms": found.last_unix_ms,
        "thread": found.thread.as_deref(),
        "hash": found.hash.map(|hash| format!("{hash:016x}")),
    })
}

/// When what is left of a budget is used up at a pace, unless its period ends before.
fn projected(headroom: &Headroom, nanousd_per_hour: u64, now_unix_ms: i64) -> Value {
    const HOUR_MS: u128 = 60 * 60 * 1_000;
    let left_ms = (u128::from(headroom.left_nanousd) * HOUR_MS)
        .checked_div(u128::from(nanousd_per_hour))
        .and_then(|ms| i64::try_from(ms).ok());
    let exhausted = left_ms.map(|ms| now_unix_ms.saturating_add(ms));
    let exhausted = exhausted.filter(|at| *at < headroom.ends_unix_ms);
    json!({
        "name": headroom.budget,
        "left_nanousd": headroom.left_nanousd,
        "exhausted_unix_ms": exhausted,
    })
}
