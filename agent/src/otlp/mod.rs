//! Hands calls to OpenTelemetry: a span for each, and metrics, by OTLP over HTTP. Off unless an endpoint
//! is configured.
//!
//! *Takes* what was committed. *Gives* it to a thread of its own that posts batches. *Remembers* what
//! waits, to a limit, and the sums. *Nonsense* of the other side, or none at all, costs spans, which are
//! counted; whoever keeps the ledger never waits. No text of a request or a reply is in any of it.

mod convention;
mod metrics;
mod protobuf;
mod span;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use agent_core::pipeline::Output;
use serde_json::Value;

use crate::alert::{Failure, post_as};
use crate::config::Encoding;
use crate::{config, privilege};
use metrics::Sums;
use span::Span;

/// LIMIT: spans that wait, some 2 KiB each; those beyond are dropped and counted.
const MAX_WAITING: usize = 2_048;

/// LIMIT: spans in one message.
const BATCH: usize = 256;

/// How long spans wait for others.
const BATCH_INTERVAL: Duration = Duration::from_secs(5);

/// How often metrics are posted, if calls came.
const METRICS_INTERVAL: Duration = Duration::from_secs(60);

/// Pauses before a message that was not taken is tried again; after the last it is dropped.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

/// LIMIT: calls that are remembered, so that one that is written again is told once.
const REMEMBERED: usize = 4_096;

/// LIMIT: how long the end waits for what is under way.
const END_LIMIT: Duration = Duration::from_secs(2);

/// Where to, and what the agent is called there.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The endpoint and its headers.
    pub to: config::Otlp,
    /// Name of the host.
    pub host_name: String,
    /// Version of the agent.
    pub version: &'static str,
}

/// Posts until it is dropped.
#[derive(Debug)]
pub struct Exporter {
    host_name: String,
    spans: Option<SyncSender<Span>>,
    counts: Arc<Counts>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl Exporter {
    /// Starts the thread that posts; `None` if no endpoint is configured.
    ///
    /// # Errors
    ///
    /// The thread can't be started.
    pub fn start(settings: Settings) -> io::Result<Option<Self>> {
        let Some(endpoint) = &settings.to.endpoint else {
            return Ok(None);
        };
        let base = endpoint.reveal().trim_end_matches('/').to_owned();
        let host_name = settings.host_name.clone();
        let counts = Arc::<Counts>::default();
        let (spans, spans_in) = mpsc::sync_channel(MAX_WAITING);
        let (stop, stopped) = mpsc::channel();
        let poster = Poster {
            base,
            headers_file: settings.to.headers_file.clone(),
            encoding: settings.to.encoding,
            stopped,
            is_said: false,
        };
        // The file may be one that only another user may read.
        let rights = match &settings.to.headers_file {
            Some(_) => privilege::Rights::DAC_READ_SEARCH,
            None => privilege::NOTHING,
        };
        let thread = {
            let counts = Arc::clone(&counts);
            thread::Builder::new()
                .name("otlp".to_owned())
                .spawn(move || {
                    privilege::keep(rights);
                    run(&spans_in, poster, &settings, &counts);
                })?
        };
        Ok(Some(Self {
            host_name,
            spans: Some(spans),
            counts,
            stop: Some(stop),
            thread: Some(thread),
        }))
    }

    /// Takes what was committed; what there is no room for is dropped and counted.
    pub fn committed<'a>(&self, outputs: impl IntoIterator<Item = &'a Output>) {
        let Some(spans) = &self.spans else { return };
        for output in outputs {
            if let Output::Usage(record) = output
                && let Some(span) = Span::of(record, &self.host_name)
                && spans.try_send(span).is_err()
            {
                self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Counters for the agent's status.
    pub fn counters(&self) -> [(&'static str, u64); 2] {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("otlp_spans_sent", read(&self.counts.sent)),
            ("otlp_spans_dropped", read(&self.counts.dropped)),
        ]
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // The thread is told by the ends of both channels: it posts what waits, once.
        drop(self.spans.take());
        drop(self.stop.take());
        let deadline = Instant::now() + END_LIMIT;
        if let Some(thread) = self.thread.take() {
            while !thread.is_finished() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() && thread.join().is_err() {
                tracing::error!("the thread that exports to OpenTelemetry panicked");
            }
        }
    }
}

fn run(spans: &Receiver<Span>, mut poster: Poster, settings: &Settings, counts: &Counts) {
    let mut sums = Sums::new(settings);
    let mut known = Known::default();
    let mut batch: Vec<Span> = Vec::new();
    let mut flush_at = Instant::now() + BATCH_INTERVAL;
    let mut metrics_at = Instant::now() + METRICS_INTERVAL;
    let mut is_over = false;
    while !is_over {
        let due = flush_at.min(metrics_at);
        match spans.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(span) if known.is_new(&span.id) => {
                sums.add(&span.sample);
                batch.push(span);
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => is_over = true,
        }
        let now = Instant::now();
        if now >= flush_at || batch.len() >= BATCH || is_over {
            if !batch.is_empty() {
                let number = u64::try_from(batch.len()).unwrap_or(u64::MAX);
                let count = match poster.deliver(Signal::Traces, &span::message(&batch, settings)) {
                    Delivered::Taken => &counts.sent,
                    Delivered::Refused => &counts.dropped,
                };
                count.fetch_add(number, Ordering::Relaxed);
                batch.clear();
            }
            flush_at = Instant::now() + BATCH_INTERVAL;
        }
        if (now >= metrics_at || is_over) && sums.has_news() {
            let now_ms = jiff::Timestamp::now().as_millisecond();
            // Sums are cumulative: what one message lacks the next one has.
            if poster.deliver(Signal::Metrics, &sums.message(now_ms)) == Delivered::Taken {
                sums.told();
            }
        }
        if now >= metrics_at {
            metrics_at = Instant::now() + METRICS_INTERVAL;
        }
    }
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Calls, a span each.
    Traces,
    /// Their sums.
    Metrics,
}

impl Signal {
    /// Where messages go, below the endpoint.
    const fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
        }
    }

    /// A message of OTLP's JSON in OTLP's protobuf.
    pub fn in_protobuf(self, message: &Value) -> Vec<u8> {
        let fields = match self {
            Self::Traces => protobuf::TRACES,
            Self::Metrics => protobuf::METRICS,
        };
        protobuf::encode(fields, message)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivered {
    Taken,
    Refused,
}

/// Posts to one endpoint, and says so when it can't.
struct Poster {
    base: String,
    headers_file: Option<PathBuf>,
    encoding: Encoding,
    stopped: Receiver<()>,
    is_said: bool,
}

impl Poster {
    fn deliver(&mut self, signal: Signal, message: &Value) -> Delivered {
        let url = format!("{}{}", self.base, signal.path());
        let (content_type, body) = match self.encoding {
            Encoding::Protobuf => ("application/x-protobuf", signal.in_protobuf(message)),
            Encoding::Json => ("application/json", message.to_string().into_bytes()),
        };
        let mut pauses = PAUSES.iter();
        loop {
            let failure = match post_as(content_type, &url, self.headers_file.as_deref(), &body) {
                Ok(()) => {
                    self.is_said = false;
                    return Delivered::Taken;
                }
                Err(failure) => failure,
            };
            let pause = pauses.next().filter(|_| may_pass(&failure));
            let is_stopped = |pause: &Duration| {
                self.stopped.recv_timeout(*pause) != Err(RecvTimeoutError::Timeout)
            };
            if pause.is_none_or(is_stopped) {
                if !self.is_said {
                    tracing::warn!(error = %failure, "OpenTelemetry's endpoint takes nothing (otlp.endpoint); what it does not take is dropped and counted");
                    self.is_said = true;
                }
                return Delivered::Refused;
            }
        }
    }
}

/// Whether the same message may be taken later, by the specification of OTLP.
fn may_pass(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Status(429 | 502..=504)
            | Failure::TimedOut
            | Failure::HostNotFound
            | Failure::Connection(_)
    )
}

/// Calls that were told.
#[derive(Default)]
struct Known {
    ids: BTreeSet<String>,
    order: VecDeque<String>,
}

impl Known {
    fn is_new(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}
