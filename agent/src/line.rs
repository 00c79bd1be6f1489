//! Drives the core: the byte stream of the capturing side in, outputs out. This thread parses
//! what remote peers sent, and needs no rights at all.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_core::event::{ConnId, Timestamp};
use agent_core::pipeline::{Callers, Output, Pipeline, Rules};
use agent_core::recording;
use agent_core::stats::Stats;

use crate::service::Pulse;

/// How often the line lets time pass and shows its counters.
const TICK: Duration = Duration::from_secs(1);

/// Counters of the line, as of its last tick.
pub type SharedStats = Arc<Mutex<Stats>>;

/// The processes that talk to LLM hosts, as of the line's last tick.
pub type SharedCallers = Arc<Mutex<Callers>>;

/// Rules that the line is to go by from its next tick on.
pub type NewRules = Arc<Mutex<Option<Rules>>>;

/// What the line shares with the other threads.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// What it counted.
    pub stats: SharedStats,
    /// Whom it heard of.
    pub callers: SharedCallers,
    /// What it is told.
    pub rules: NewRules,
    /// That it moves.
    pub pulse: Pulse,
}

/// Runs until the stream ends, then ends everything that is open.
pub fn run(
    mut line: Pipeline,
    stream: &Receiver<Vec<u8>>,
    outputs: &SyncSender<Vec<Output>>,
    ignored: &Sender<ConnId>,
    shared: &Shared,
    now: fn() -> Timestamp,
) {
    let mut ticked_at = now();
    loop {
        shared.pulse.beat();
        let is_over = match stream.recv_timeout(TICK) {
            Ok(batch) => {
                feed(&mut line, &batch);
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                line.finish(now());
                true
            }
        };
        let at = now();
        if at.since(ticked_at) >= TICK || is_over {
            line.expire(at);
            ticked_at = at;
            let rules = shared
                .rules
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(rules) = rules {
                line.follow(rules);
            }
            shared
                .stats
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone_from(line.stats());
            let mut shown = shared
                .callers
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if shown.revision() != line.callers().revision() {
                shown.clone_from(line.callers());
            }
        }
        let mut batch = Vec::new();
        while let Some(output) = line.poll_output() {
            match output {
                Output::Ignore(conn) => {
                    if ignored.send(conn).is_err() {
                        tracing::trace!("the reader is gone and needs no verdicts");
                    }
                }
                other @ (Output::Usage(_)
                | Output::Coverage(_)
                | Output::Quota { .. }
                | Output::ProcessExited { .. }
                | Output::Running(_)) => {
                    batch.push(other);
                }
            }
        }
        if !batch.is_empty() && outputs.send(batch).is_err() || is_over {
            return;
        }
    }
}

fn feed(line: &mut Pipeline, batch: &[u8]) {
    for frame in recording::frames(batch) {
        match frame.as_ref().map(recording::Frame::event) {
            Ok(Ok(event)) => line.handle(&event),
            Ok(Err(malformed)) => {
                tracing::debug!(?malformed, "a ring record is no event");
                line.malformed();
            }
            Err(error) => {
                tracing::error!(%error, "the stream from the ring is broken");
                line.malformed();
            }
        }
    }
}
