//! What a call that still runs would be a record of.

use std::sync::Arc;

use super::{
    KeySource, SessionKey, Sessions, TaskType, Thread, ThreadKind, UsageRecord, identity, millis,
    root_of, talk,
};
use crate::attribution::AttributedCall;
use crate::llm::{Class, LlmCall};

impl Sessions {
    /// The record that a running call would be if it ended as it is. Nothing is remembered: its
    /// session may have another key in the end if others of the same process begin before, and a
    /// thread without a name is taken for the main one.
    pub fn running(&self, attributed: AttributedCall) -> UsageRecord {
        let workflow = self.workflows.of(&attributed);
        let AttributedCall {
            call,
            process,
            client,
        } = attributed;
        let root = root_of(&call, process.as_deref());
        let started_unix_ms = self.clock.unix_ms(call.started);
        let (session, key_source) = self.known(&call, root, &workflow).unwrap_or_else(|| {
            let unnamed = self.unnamed.get(&talk(&call, root, &client, &workflow));
            let open =
                unnamed.filter(|unnamed| call.started.since(unnamed.until) <= self.settings.idle);
            let new = || {
                let (pid, ticks) = (root.pid, root.start_ticks);
                SessionKey(format!("proc-{pid}-{ticks}-{started_unix_ms}"))
            };
            let key = open.map_or_else(new, |unnamed| unnamed.key.clone());
            (key, KeySource::ProcessIdle)
        });
        let uid = process.as_ref().map(|process| process.uid);
        let is_agent = self.open.is_agent(&session, uid);
        let task = TaskType::of(&call, client.name.as_deref(), is_agent);
        let thread = thread(&call, &session);
        let (cost, sub_costs) = self.prices.call(&call, self.clock.unix_ms(call.ended));
        UsageRecord {
            identity: identity(&call),
            session,
            key_source,
            started_unix_ms,
            ttft_ms: call
                .first_token
                .map(|first| millis(first.since(call.started))),
            duration_ms: millis(call.ended.since(call.started)),
            call,
            process,
            client,
            retry_of: None,
            hop: None,
            cost,
            sub_costs,
            workflow: Arc::clone(&workflow),
            thread,
            task,
            is_human_turn: false,
            compacted: None,
            continues: None,
        }
    }
}

/// The thread that a call names.
fn thread(call: &LlmCall, session: &SessionKey) -> Thread {
    let hints = &call.hints;
    let named = hints.thread.as_ref().filter(|named| **named != session.0);
    let Some(key) = named else {
        return Thread::main();
    };
    let is_background = call.signals.class == Some(Class::Background);
    Thread {
        key: key.clone(),
        parent: hints.parent_thread.clone(),
        kind: if is_background {
            ThreadKind::Background
        } else {
            ThreadKind::Subagent
        },
        agent_type: hints.agent_type.clone(),
        depth: 1,
    }
}
