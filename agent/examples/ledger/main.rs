//! Makes a ledger of a made-up year: `ledger FILE REQUESTS SEED`. `cargo xtask ledger` runs it. With
//! `LOGS TEXT_BYTES` the same usage is also written as session files below the folder `LOGS`, with so much
//! text in each line, for `cargo xtask bench ccusage`.
//!
//! Calls go through the program's own writer, in the order of their time. What is made up follows what
//! ledgers of coding and other agents look like: sessions of a few calls with a long tail, office hours and
//! nightly jobs, growing contexts that are mostly read from a cache, errors that are tried again, replies
//! that are cut; and about once a month a session that runs away.
#![expect(clippy::print_stdout, reason = "what it measured is what it is for")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::as_conversions,
    reason = "numbers that are drawn at random, and figures to look at"
)]

mod logs;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::config::Config;
use agent::prices;
use agent::store::{AccountKey, Durability, HostFacts, Keep, Writer};
use agent_core::attribution::Client;
use agent_core::event::{Ancestor, Checkout, ConnId, ProcId, Process, Timestamp};
use agent_core::http::ExchangeId;
use agent_core::llm::{
    Endpoint, Estimates, LlmCall, Outcome, Provider, SessionHints, Signals, Terms, Units, Usage,
    UsageSource,
};
use agent_core::pipeline::Output;
use agent_core::prices::{Billable, Prices};
use agent_core::session::{KeySource, SessionKey, TaskType, Thread, UsageRecord};
use agent_core::workflow::{Origin, Workflow};
use anyhow::{Context as _, bail};
use fastrand::Rng;

use crate::logs::Logs;

const DAY_MS: i64 = 86_400_000;
const DAYS: i64 = 365;
/// Calls of one transaction at most: several days of a small ledger, some hours of a large one.
const BATCH: usize = 50_000;

/// Provider, API, host, and model as asked for and served.
type Model = (
    &'static str,
    Endpoint,
    &'static str,
    &'static str,
    &'static str,
);

const OPUS: Model = (
    "anthropic",
    Endpoint::AnthropicMessages,
    "api.anthropic.com",
    "claude-opus-4-7",
    "claude-opus-4-7",
);
const HAIKU: Model = (
    "anthropic",
    Endpoint::AnthropicMessages,
    "api.anthropic.com",
    "claude-haiku-4-5",
    "claude-haiku-4-5-20251001",
);
const GPT: Model = (
    "openai",
    Endpoint::OpenAiResponses,
    "api.openai.com",
    "gpt-5.5",
    "gpt-5.5-2026-04-23",
);
const MINI: Model = (
    "openai",
    Endpoint::OpenAiChat,
    "api.openai.com",
    "gpt-5-mini",
    "gpt-5-mini-2025-08-07",
);
const GEMINI: Model = (
    "google",
    Endpoint::GeminiGenerate,
    "generativelanguage.googleapis.com",
    "gemini-2.5-flash",
    "gemini-2.5-flash",
);

/// When sessions of a workflow begin.
#[derive(Clone, Copy)]
enum Hours {
    Office,
    Night,
    Always,
}

/// A kind of work that several users or services do.
struct Work {
    name: &'static str,
    origin: Origin,
    client: &'static str,
    exe: &'static str,
    main: Model,
    side: Model,
    hours: Hours,
    task: TaskType,
    owners: u32,
    /// Share of all sessions.
    weight: f64,
    /// Median of the calls of a session, and how far they spread (of the logarithm).
    calls: (f64, f64),
    context: u64,
}

const WORKS: [Work; 6] = [
    Work {
        name: "claude-code/shop",
        origin: Origin::Rule,
        client: "claude-code",
        exe: "/usr/bin/node",
        main: OPUS,
        side: HAIKU,
        hours: Hours::Office,
        task: TaskType::Coding,
        owners: 12,
        weight: 0.34,
        calls: (14.0, 1.3),
        context: 24_000,
    },
    Work {
        name: "codex/infra",
        origin: Origin::Auto,
        client: "codex",
        exe: "/usr/bin/codex",
        main: GPT,
        side: MINI,
        hours: Hours::Office,
        task: TaskType::Coding,
        owners: 7,
        weight: 0.18,
        calls: (11.0, 1.2),
        context: 16_000,
    },
    Work {
        name: "nightly-triage",
        origin: Origin::Marker,
        client: "claude-code",
        exe: "/usr/bin/node",
        main: HAIKU,
        side: HAIKU,
        hours: Hours::Night,
        task: TaskType::Agentic,
        owners: 1,
        weight: 0.08,
        calls: (30.0, 0.6),
        context: 9_000,
    },
    Work {
        name: "support-bot",
        origin: Origin::Rule,
        client: "openai-python",
        exe: "/usr/bin/python3.12",
        main: MINI,
        side: MINI,
        hours: Hours::Always,
        task: TaskType::Chat,
        owners: 3,
        weight: 0.30,
        calls: (3.0, 0.9),
        context: 1_800,
    },
    Work {
        name: "search-index",
        origin: Origin::Rule,
        client: "google-genai",
        exe: "/usr/bin/python3.12",
        main: GEMINI,
        side: GEMINI,
        hours: Hours::Night,
        task: TaskType::Structured,
        owners: 2,
        weight: 0.04,
        calls: (120.0, 0.7),
        context: 3_500,
    },
    Work {
        name: "unattributed",
        origin: Origin::Unattributed,
        client: "curl",
        exe: "/usr/bin/curl",
        main: MINI,
        side: GPT,
        hours: Hours::Office,
        task: TaskType::Chat,
        owners: 9,
        weight: 0.06,
        calls: (1.3, 0.4),
        context: 900,
    },
];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (file, requests, seed, logs) = match arguments.as_slice() {
        [file, requests, seed] => (file, requests, seed, None),
        [file, requests, seed, folder, text_bytes] => {
            let text_bytes = text_bytes.parse().context("TEXT_BYTES")?;
            let logs = Logs::create(Path::new(folder), text_bytes)?;
            (file, requests, seed, Some(logs))
        }
        _ => bail!("usage: ledger FILE REQUESTS SEED [LOGS TEXT_BYTES]"),
    };
    let requests: u64 = requests.replace('_', "").parse().context("REQUESTS")?;
    let path = Path::new(file);
    if path.exists() {
        bail!("{file} exists; remove it, or name another file");
    }
    let began = Instant::now();
    let today = jiff::Timestamp::now().as_millisecond() / DAY_MS;
    let made = make(
        path,
        requests,
        seed.parse().context("SEED")?,
        today,
        logs.as_ref(),
    )?;
    let bytes = std::fs::metadata(path)?.len();
    println!(
        "{} calls in {} sessions: {:.0} s, {:.0} calls/s written, {} MiB, {} bytes a call",
        made.calls,
        made.sessions,
        began.elapsed().as_secs_f64(),
        made.calls as f64 / made.writing.as_secs_f64(),
        bytes >> 20,
        bytes / made.calls.max(1)
    );
    Ok(())
}

/// What came of making a year.
struct Made {
    calls: u64,
    sessions: u64,
    /// Time in the writer of the ledger.
    writing: Duration,
}

/// Makes the year that ends before the day `today`, counted from 1970.
fn make(
    ledger: &Path,
    requests: u64,
    seed: u64,
    today: i64,
    logs: Option<&Logs>,
) -> anyhow::Result<Made> {
    let host = HostFacts {
        machine_id_hash: format!("{seed:032x}"),
        host_name: format!("made-up-{seed}"),
        kernel: "6.12.0".to_owned(),
        boot_id: "b0071d00-0000-4000-8000-000000000000".to_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        account_key: AccountKey::new(&seed.to_string()),
    };
    let mut writer = Writer::open(ledger, host, Keep::default())?;
    // Nothing is lost that can't be made again.
    writer.set_durability(Durability::Temporary)?;
    let mut year = Year {
        random: Rng::with_seed(seed),
        prices: prices::prices(&Config::default()),
        made: 0,
        sessions: 0,
    };
    let mut writing = Duration::ZERO;
    for day in 0..DAYS {
        let mut records = year.day(today - DAYS + day, share_until(day + 1, requests));
        records.sort_by_key(|record| record.started_unix_ms);
        if let Some(logs) = logs {
            logs.add(&records)?;
        }
        let outputs: Vec<Output> = records
            .into_iter()
            .map(|record| Output::Usage(Box::new(record)))
            .collect();
        let before = Instant::now();
        for batch in outputs.chunks(BATCH) {
            writer.apply(batch)?;
        }
        writing += before.elapsed();
    }
    writer.find_waste()?;
    writer.close()?;
    Ok(Made {
        calls: year.made,
        sessions: year.sessions,
        writing,
    })
}

/// Calls that are to be made until a day begins: twice as many a day at the end as at the beginning.
fn share_until(day: i64, requests: u64) -> u64 {
    let part = day as f64 / DAYS as f64;
    (requests as f64 * part * (2.0 + part) / 3.0) as u64
}

/// A year in the making.
struct Year {
    random: Rng,
    prices: Prices,
    made: u64,
    sessions: u64,
}

impl Year {
    /// The calls of a day, counted from 1970: as many as make the sum `until`.
    fn day(&mut self, day: i64, until: u64) -> Vec<UsageRecord> {
        // Day 0 was a Thursday.
        let is_weekend = matches!((day + 4).rem_euclid(7), 0 | 6);
        let mut records = Vec::new();
        if day.rem_euclid(30) == 17 && until - self.made.min(until) > 100 {
            self.session(day, 0, true, &mut records);
        }
        let mut works: Vec<f64> = WORKS.iter().map(|work| work.weight).collect();
        if is_weekend {
            for (weight, work) in works.iter_mut().zip(&WORKS) {
                if matches!(work.hours, Hours::Office) {
                    *weight /= 6.0;
                }
            }
        }
        while self.made < until {
            let mut drawn = self.random.f64() * works.iter().sum::<f64>();
            let number = works
                .iter()
                .position(|weight| {
                    drawn -= weight;
                    drawn < 0.0
                })
                .unwrap_or(0);
            self.session(day, number, false, &mut records);
        }
        records
    }

    fn session(&mut self, day: i64, number: usize, runs_away: bool, into: &mut Vec<UsageRecord>) {
        let Some(work) = WORKS.get(number) else {
            return;
        };
        self.sessions += 1;
        let (median, spread) = work.calls;
        let calls = if runs_away {
            self.random.u64(800..3_000)
        } else {
            ((median * (spread * self.normal()).exp()) as u64).clamp(1, 2_500)
        };
        let hour = match work.hours {
            Hours::Office => 13.0 + 2.8 * self.normal(),
            Hours::Night => 2.5 + 0.6 * self.normal(),
            Hours::Always => 24.0 * self.random.f64(),
        };
        let mut at_ms = day * DAY_MS + (hour.clamp(0.0, 23.9) * 3_600_000.0) as i64;
        let owner = self.random.u32(0..work.owners);
        let process = self.process(work, owner, day);
        let key = format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            self.random.u32(..),
            self.random.u16(..),
            self.random.u16(..0x1000),
            self.random.u16(..0x1000),
            self.random.u64(..1 << 48)
        );
        let mut call = Call {
            process,
            workflow: Arc::new(Workflow {
                name: work.name.to_owned(),
                origin: work.origin,
                billing_code: None,
                labels: Vec::new(),
            }),
            key: SessionKey(key),
            context: work.context + self.random.u64(0..work.context),
            cached: 0,
            attempt: None,
            retry_of: None,
        };
        let signature = self.random.u64(..);
        for turn in 0..calls {
            let mut record = self.call(work, &mut call, at_ms, turn);
            if runs_away {
                record.call.signals.tool_calls = 1;
                record.call.signals.tool_signature = Some(signature);
                record.is_human_turn = false;
            }
            let pause = match runs_away {
                true => 2_000.0,
                false => 18_000.0 * (1.1 * self.normal()).exp(),
            };
            at_ms += record.duration_ms as i64 + pause as i64;
            self.made += 1;
            into.push(record);
        }
    }

    fn call(&mut self, work: &Work, of: &mut Call, at_ms: i64, turn: u64) -> UsageRecord {
        let is_side = self.random.u8(0..100) < 9;
        let (provider, endpoint, host, requested, served) =
            if is_side { work.side } else { work.main };
        let fails = self.random.u16(0..1_000) < 22;
        let is_cut = !fails && self.random.u16(0..1_000) < 14;
        let output = ((220.0 * (1.1 * self.normal()).exp()) as u64).clamp(1, 32_000);
        let usage = if fails {
            Usage::default()
        } else if is_side {
            Usage {
                input_uncached: Some(self.random.u64(200..1_500)),
                output: Some(output / 8 + 1),
                ..Usage::default()
            }
        } else {
            let misses = turn == 0 || self.random.u8(0..100) < 6;
            let read = if misses { 0 } else { of.cached };
            let new = of.context - read.min(of.context);
            of.cached = of.context;
            of.context = (of.context + output + self.random.u64(80..2_400)).min(180_000);
            let reasons = provider == "openai" && self.random.bool();
            Usage {
                input_uncached: Some(if provider == "anthropic" { 4 } else { new }),
                cache_read: Some(read),
                cache_write_5m: (provider == "anthropic").then_some(new),
                cache_write_1h: (provider == "anthropic").then_some(0),
                output: Some(if is_cut { output / 3 + 1 } else { output }),
                reasoning: reasons.then_some(output / 2),
                ..Usage::default()
            }
        };
        let (outcome, source, status) = if fails {
            (Outcome::Error, UsageSource::None, 529)
        } else if is_cut {
            (Outcome::Aborted, UsageSource::ProviderPartial, 200)
        } else {
            (Outcome::Complete, UsageSource::Provider, 200)
        };
        let ttft_ms = (600.0 * (0.5 * self.normal()).exp()) as u64;
        let duration_ms = ttft_ms + usage.output.unwrap_or(0) * 14;
        let cost = self.prices.cost(&Billable {
            provider,
            model: Some(served),
            usage: &usage,
            is_complete: !is_cut,
            units: Units::default(),
            terms: &Terms::default(),
            reported_nanousd: None,
            completed_ms: at_ms + duration_ms as i64,
        });
        let id = self.id();
        let has_tools = matches!(work.task, TaskType::Coding | TaskType::Agentic) && !fails;
        let asks = !is_side && has_tools && self.random.u8(0..100) < 78;
        let identity = format!("{provider}:{id}");
        let attempt = of.attempt.take();
        let retry_of = of.retry_of.take();
        if fails {
            of.attempt = Some(attempt.unwrap_or(1) + 1);
            of.retry_of = Some(identity.clone());
        }
        let began = Timestamp::from_nanos(0);
        UsageRecord {
            call: LlmCall {
                exchange: ExchangeId {
                    conn: ConnId {
                        pid: of.process.id.pid,
                        ssl: 0x7f00,
                        since: began,
                    },
                    number: 0,
                },
                started: began,
                first_token: Some(began + Duration::from_millis(ttft_ms)),
                ended: began + Duration::from_millis(duration_ms),
                provider: Provider(provider),
                endpoint,
                server_name: Some(host.to_owned()),
                model_requested: Some(requested.to_owned()),
                model_served: (!fails).then(|| served.to_owned()),
                is_stream: true,
                http_status: Some(status),
                outcome,
                stop_reason: (!fails && !is_cut)
                    .then(|| if asks { "tool_use" } else { "end_turn" }.to_owned()),
                usage,
                usage_source: source,
                estimates: Estimates::default(),
                units: Units::default(),
                sub_inferences: Vec::new(),
                terms: Terms::default(),
                reported_cost_nanousd: None,
                attempt,
                aborted_by: None,
                response_id: Some(id),
                user_agent: None,
                originator: None,
                hints: SessionHints::default(),
                signals: Signals {
                    tool_calls: u32::from(asks),
                    tool_signature: asks.then(|| self.random.u64(..)),
                    request_hash: Some(self.random.u64(..)),
                    ..Signals::default()
                },
                observed_bytes: 0,
                countable: None,
            },
            process: Some(Arc::clone(&of.process)),
            client: Client {
                name: Some(work.client.to_owned()),
                version: Some(format!("2.{}", at_ms / (30 * DAY_MS) % 12)),
            },
            session: of.key.clone(),
            key_source: KeySource::ClientHeader,
            identity,
            started_unix_ms: at_ms,
            ttft_ms: (!fails).then_some(ttft_ms),
            duration_ms,
            retry_of,
            hop: None,
            cost,
            sub_costs: Vec::new(),
            workflow: Arc::clone(&of.workflow),
            thread: Thread::main(),
            task: if is_side {
                TaskType::Auxiliary
            } else {
                work.task
            },
            is_human_turn: !is_side && self.random.u8(0..100) < 12,
            compacted: None,
            continues: Some(turn > 0),
        }
    }

    /// Programs of users live for a session, services for a week.
    fn process(&mut self, work: &Work, owner: u32, day: i64) -> Arc<Process> {
        let pid = match work.hours {
            Hours::Always => 500 + owner + (day / 7 % 50) as u32 * 10,
            Hours::Office | Hours::Night => self.random.u32(1_000..4_000_000),
        };
        let user = format!("user-{}-{owner}", work.client);
        let name = work.exe.rsplit('/').next().unwrap_or(work.exe).to_owned();
        let is_service = !matches!(work.hours, Hours::Office);
        Arc::new(Process {
            id: ProcId {
                pid,
                start_ticks: u64::from(pid) + (day / 7) as u64,
            },
            ancestors: vec![Ancestor {
                id: ProcId {
                    pid: 1,
                    start_ticks: 1,
                },
                comm: "systemd".to_owned(),
                ..Ancestor::default()
            }],
            exe: Some(work.exe.to_owned()),
            comm: name.clone(),
            argv0: Some(name),
            uid: 1_000 + owner,
            cwd: Some(format!("/home/{user}/src/shop")),
            cgroup: Some("/user.slice".to_owned()),
            unit: is_service.then(|| format!("{}.service", work.name)),
            checkout: (work.task == TaskType::Coding).then(|| Checkout {
                root: format!("/home/{user}/src/shop"),
                repo: "shop".to_owned(),
                branch: Some(format!("topic-{}", day / 5 % 20)),
            }),
            user_name: Some(user),
            ..Process::default()
        })
    }

    /// An id as providers make them.
    fn id(&mut self) -> String {
        let letters = (0..22).map(|_| self.random.alphanumeric());
        format!("msg_01{}", letters.collect::<String>())
    }

    /// A number of the standard normal distribution.
    fn normal(&mut self) -> f64 {
        let (length, turn) = (1.0 - self.random.f64(), self.random.f64());
        (-2.0 * length.ln()).sqrt() * (std::f64::consts::TAU * turn).cos()
    }
}

/// What the calls of a session share, and pass on.
struct Call {
    process: Arc<Process>,
    workflow: Arc<Workflow>,
    key: SessionKey,
    context: u64,
    cached: u64,
    attempt: Option<u32>,
    retry_of: Option<String>,
}
