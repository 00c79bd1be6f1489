//! One thread per channel, so that a dead one makes nobody wait: not the ledger, and no other channel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use agent_core::alert::{Condition, Rule};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::channel::{Channel, Channels, LEAST};

/// LIMIT: messages that wait for a channel here; the others wait in the ledger.
const QUEUE: usize = 64;

/// A channel that failed for so long, with no success in between, is dead.
const DEAD_AFTER_MS: i64 = 5 * 60_000;

/// How often a channel that forgets is told what still fires. An Alertmanager takes an alert for over
/// five minutes after it was last told.
const REFRESH: Duration = Duration::from_secs(60);

/// A message on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Its row in the ledger.
    pub id: i64,
    /// The channel.
    pub channel: String,
    /// The document of what is told.
    pub payload: Value,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its row in the ledger.
    pub id: i64,
    /// The channel.
    pub channel: String,
    /// When, in milliseconds since the Unix epoch.
    pub unix_ms: i64,
    /// Why it did not arrive, without any part of a URL.
    pub failure: Option<String>,
}

/// What became of the wish to send a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handed {
    /// It is under way; an [`Outcome`] follows.
    Over,
    /// It was already.
    Before,
    /// The channel has enough to do; ask again.
    Full,
    /// There is no such channel (any more).
    NoChannel,
}

enum Job {
    Send { id: i64, payload: Value },
    Refresh { payload: Option<Value> },
}

/// Hands messages to channels.
#[derive(Debug)]
pub struct Courier {
    channels: Channels,
    queues: BTreeMap<String, SyncSender<Job>>,
    outcomes: Receiver<Outcome>,
    under_way: BTreeSet<i64>,
    /// Since when a channel has failed without a success.
    failing_since_ms: BTreeMap<String, i64>,
}

impl Courier {
    /// Starts a thread for each channel. They end when this is dropped, after what they do.
    ///
    /// # Errors
    /// The system has no room for a thread.
    pub fn start(channels: Channels) -> std::io::Result<Self> {
        let (done, outcomes) = mpsc::channel();
        let mut queues = BTreeMap::new();
        for channel in channels.iter() {
            let (queue, jobs) = mpsc::sync_channel(QUEUE);
            let (done, own) = (done.clone(), channel.clone());
            // A name of a thread has 15 bytes.
            thread::Builder::new()
                .name("alert".to_owned())
                .spawn(move || work(&own, &jobs, &done))?;
            queues.insert(channel.name().to_owned(), queue);
        }
        Ok(Self {
            channels,
            queues,
            outcomes,
            under_way: BTreeSet::new(),
            failing_since_ms: BTreeMap::new(),
        })
    }

    /// The channels.
    pub const fn channels(&self) -> &Channels {
        &self.channels
    }

    /// Hands a message over, and never waits.
    pub fn deliver(&mut self, delivery: Delivery) -> Handed {
        let Delivery {
            id,
            channel,
            payload,
        } = delivery;
        if self.under_way.contains(&id) {
            return Handed::Before;
        }
        let Some(queue) = self.queues.get(&channel) else {
            return Handed::NoChannel;
        };
        match queue.try_send(Job::Send { id, payload }) {
            Ok(()) => {
                self.under_way.insert(id);
                Handed::Over
            }
            Err(TrySendError::Full(_)) => Handed::Full,
            Err(TrySendError::Disconnected(_)) => Handed::NoChannel,
        }
    }

    /// What became of messages since the last call.
    pub fn outcomes(&mut self) -> Vec<Outcome> {
        let outcomes: Vec<Outcome> = self.outcomes.try_iter().collect();
        for outcome in &outcomes {
            self.note(outcome);
        }
        outcomes
    }

    /// Waits for what becomes of one message, at most so long.
    pub fn next_outcome(&mut self, timeout: Duration) -> Option<Outcome> {
        let outcome = self.outcomes.recv_timeout(timeout).ok()?;
        self.note(&outcome);
        Some(outcome)
    }

    fn note(&mut self, outcome: &Outcome) {
        self.under_way.remove(&outcome.id);
        if outcome.failure.is_none() {
            self.failing_since_ms.remove(&outcome.channel);
        } else {
            self.failing_since(&outcome.channel, outcome.unix_ms);
        }
    }

    /// A channel has failed since then, as the ledger has it after a restart.
    pub fn failing_since(&mut self, channel: &str, unix_ms: i64) {
        if self.queues.contains_key(channel) {
            let since = self.failing_since_ms.entry(channel.to_owned());
            since.or_insert(unix_ms);
        }
    }

    /// What is told to channels that forget, for as long as it fires; `None` for nothing.
    pub fn refresh(&self, channel: &str, payload: Option<Value>) {
        if let Some(queue) = self.queues.get(channel) {
            // One that has too much to do is told with the next call.
            drop(queue.try_send(Job::Refresh { payload }));
        }
    }

    /// The channels that are to be refreshed.
    pub fn refreshed(&self) -> impl Iterator<Item = &str> {
        let refreshed = self.channels.iter();
        refreshed
            .filter(|channel| channel.is_refreshed())
            .map(Channel::name)
    }

    /// Channels that are dead, for the others to be told.
    pub fn conditions(&self, now_unix_ms: i64) -> Vec<Condition> {
        let is_dead = |since: i64| now_unix_ms.saturating_sub(since) >= DEAD_AFTER_MS;
        self.failing_since_ms
            .iter()
            .filter(|(_, since)| is_dead(**since))
            .map(|(channel, since)| {
                let mut evidence = Map::new();
                evidence.insert("failing_since_unix_ms".to_owned(), (*since).into());
                Condition {
                    rule: Rule::Channel,
                    variant: String::new(),
                    scope: vec![("channel".to_owned(), channel.clone())],
                    budget: None,
                    severity: LEAST,
                    hold: Duration::ZERO,
                    summary: format!(
                        "alerts can't be delivered over channel {channel}; try `bpftok alerts test {channel}`"
                    ),
                    evidence,
                }
            })
            .collect()
    }
}

/// Sends what comes, and tells a channel that forgets what still fires.
fn work(channel: &Channel, jobs: &Receiver<Job>, done: &Sender<Outcome>) {
    let mut firing: Option<Value> = None;
    let mut refresh_at = Instant::now();
    loop {
        let pause = match firing {
            Some(_) => refresh_at.saturating_duration_since(Instant::now()),
            None => REFRESH,
        };
        match jobs.recv_timeout(pause) {
            Ok(Job::Send { id, payload }) => {
                let result = channel.send(&payload, now_ms());
                let failure = result
                    .err()
                    .map(|failure| crate::causes::in_one_line(&failure));
                let outcome = Outcome {
                    id,
                    channel: channel.name().to_owned(),
                    unix_ms: now_ms(),
                    failure,
                };
                if done.send(outcome).is_err() {
                    return;
                }
            }
            Ok(Job::Refresh { payload }) => firing = payload,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if let Some(payload) = &firing
            && refresh_at <= Instant::now()
        {
            if let Err(failure) = channel.send(payload, now_ms()) {
                tracing::debug!(channel = channel.name(), %failure, "what fires can't be told again");
            }
            refresh_at = Instant::now() + REFRESH;
        }
    }
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}
