//! Ledgers of a made-up year, and how long reports about them take.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};

use crate::command::Invocation;
use crate::project::{Project, make_folder};
use crate::{Usage, agent, setup};

/// Calls of the ledger of `bench reports`, unless others are asked for.
const REQUESTS: u64 = 300_000;
/// Each report is written so often; the median counts.
const ROUNDS: usize = 5;

/// Length of a tick of `/proc/PID/stat`.
const TICK_MS: u64 = 10;

/// What a year is chosen by.
const FLAGS: [&str; 2] = ["--requests", "--seed"];

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// What is timed: a name, and the arguments of bpftok.
const REPORTS: [(&str, &[&str]); 24] = [
    (
        "report --by day, 30 days",
        &["report", "--by", "day", "--since", "30 days ago"],
    ),
    (
        "report --by workflow, 30 days",
        &["report", "--by", "workflow", "--since", "30 days ago"],
    ),
    (
        "report --by model, 30 days",
        &["report", "--by", "model", "--since", "30 days ago"],
    ),
    (
        "report --by repo, 30 days",
        &["report", "--by", "repo", "--since", "30 days ago"],
    ),
    (
        "report --by thread-kind, 30 days",
        &["report", "--by", "thread-kind", "--since", "30 days ago"],
    ),
    (
        "report --by length-bucket, 30 days",
        &["report", "--by", "length-bucket", "--since", "30 days ago"],
    ),
    (
        "report --by session, 30 days",
        &["report", "--by", "session", "--since", "30 days ago"],
    ),
    (
        "report --by session --top 20, 30 days",
        &[
            "report",
            "--by",
            "session",
            "--top",
            "20",
            "--since",
            "30 days ago",
        ],
    ),
    (
        "report --by process, 30 days",
        &["report", "--by", "process", "--since", "30 days ago"],
    ),
    (
        "report --by hour, 1 day",
        &["report", "--by", "hour", "--since", "1 day ago"],
    ),
    (
        "report --by model, 5 days",
        &["report", "--by", "model", "--since", "5 days ago"],
    ),
    (
        "report --by day, the year",
        &["report", "--by", "day", "--since", "365 days ago"],
    ),
    (
        "report --by month, the year",
        &["report", "--by", "month", "--since", "365 days ago"],
    ),
    (
        "report --by model, the year",
        &["report", "--by", "model", "--since", "365 days ago"],
    ),
    ("sessions, 30 days", &["sessions", "--since", "30 days ago"]),
    ("waste, 7 days", &["waste", "--since", "7 days ago"]),
    ("waste, 30 days", &["waste", "--since", "30 days ago"]),
    ("explain, 7 days", &["explain", "--since", "7 days ago"]),
    ("explain, 30 days", &["explain", "--since", "30 days ago"]),
    ("workflow list", &["workflow", "list"]),
    ("index", &["index"]),
    ("top -1", &["top", "-1"]),
    ("tail -n 50", &["tail", "-n", "50"]),
    (
        "query of v_daily",
        &[
            "query",
            "SELECT * FROM v_daily ORDER BY day_local DESC LIMIT 30",
        ],
    ),
];

/// `cargo xtask ledger [--requests N] [--seed S] FILE`.
pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let asked = Asked::of(arguments, &FLAGS)?;
    let Some(file) = &asked.file else {
        return Err(Usage("say which file: `ledger FILE`".into()).into());
    };
    setup::for_building(project)?;
    make(project, file, &asked, None)?;
    Ok(ExitCode::SUCCESS)
}

/// `cargo xtask bench reports [-- --requests N] [--seed S]`.
pub(crate) fn bench(project: &Project, arguments: &[String]) -> Result<()> {
    let asked = Asked::of(arguments, &FLAGS)?;
    setup::for_testing(project)?;
    agent::build(project)?;
    let folder = project.target.join("bpftok/ledgers");
    make_folder(&folder)?;
    let ledger = folder.join(format!("{}-{}.db", asked.requests, asked.seed));
    if !ledger.exists() {
        make(project, &ledger, &asked, None)?;
    }
    println!(
        "\n| {} calls | ms on the processor | ms | ratio |\n|---|---|---|---|",
        asked.requests
    );
    let sum = plain_sum(&ledger, 30)?;
    let show = |name: &str, took: Times| {
        println!(
            "| {name} | {:.0} | {:.0} | {:.2} |",
            millis(took.processor),
            millis(took.wall),
            took.processor.as_secs_f64() / sum.processor.as_secs_f64()
        );
    };
    show("sqlite3, a plain sum over calls, 30 days", sum);
    show(
        "sqlite3, a plain sum over calls, the year",
        plain_sum(&ledger, 365)?,
    );
    for (name, report) in REPORTS {
        let took = median(|| {
            Invocation::new(project.agent_binary())
                .arg("--db")
                .arg(&ledger)
                .args(report)
        });
        match took {
            Ok(took) => show(name, took),
            Err(error) => println!("| {name} | {error:#} | | |"),
        }
    }
    Ok(())
}

/// What a program took.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Times {
    /// User and system; the same where other work is done meanwhile.
    processor: Duration,
    wall: Duration,
}

/// What a made-up year is asked to be.
pub(crate) struct Asked {
    pub(crate) requests: u64,
    pub(crate) seed: u64,
    /// Text in each line of session files.
    pub(crate) text_bytes: u64,
    file: Option<PathBuf>,
}

impl Asked {
    /// Reads a command line that may hold some of the flags.
    pub(crate) fn of(arguments: &[String], flags: &[&str]) -> Result<Self> {
        let mut asked = Self {
            requests: REQUESTS,
            seed: 1,
            text_bytes: 0,
            file: None,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut number = || -> Result<u64> {
                let number = arguments.next().map(|number| number.replace('_', ""));
                number
                    .and_then(|number| number.parse().ok())
                    .ok_or_else(|| Usage(format!("{argument} takes a number")).into())
            };
            match argument.as_str() {
                flag if flag.starts_with('-') && !flags.contains(&flag) => {
                    return Err(Usage(format!("unknown flag `{flag}`")).into());
                }
                "--requests" => asked.requests = number()?,
                "--seed" => asked.seed = number()?,
                "--text" => asked.text_bytes = number()?,
                file => asked.file = Some(file.into()),
            }
        }
        Ok(asked)
    }
}

/// Makes the ledger `file`, and below `logs` the same usage as session files.
pub(crate) fn make(
    project: &Project,
    file: &Path,
    asked: &Asked,
    logs: Option<&Path>,
) -> Result<()> {
    let example = project
        .cargo(&[
            "run",
            "--release",
            "--package",
            "agent",
            "--example",
            "ledger",
            "--",
        ])
        .arg(std::path::absolute(file)?)
        .arg(asked.requests.to_string())
        .arg(asked.seed.to_string());
    match logs {
        Some(logs) => example
            .arg(std::path::absolute(logs)?)
            .arg(asked.text_bytes.to_string())
            .run(),
        None => example.run(),
    }
}

/// What adding up the tokens of the calls of some days takes without us.
fn plain_sum(ledger: &Path, days: u64) -> Result<Times> {
    let now = SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
    let from_ms = (now - days * DAY_SECONDS) * 1_000;
    let sql = format!(
        "SELECT count(*), sum(input_uncached_tokens), sum(cache_read_tokens),
                sum(cache_write_5m_tokens), sum(output_tokens), sum(cost_nanousd)
         FROM request WHERE started_ms >= {from_ms}"
    );
    median(|| {
        Invocation::new("sqlite3")
            .arg(format!("file:{}?mode=ro", ledger.display()))
            .arg(&sql)
    })
}

/// The median time of a program that succeeds; the first round warms the cache and does not count.
fn median(program: impl Fn() -> Invocation) -> Result<Times> {
    let mut times = Vec::new();
    for _ in 0..=ROUNDS {
        let (began, before) = (Instant::now(), of_children()?);
        if program().ask().is_none() {
            bail!("it failed: run it by hand to see why");
        }
        times.push(Times {
            wall: began.elapsed(),
            processor: of_children()?.saturating_sub(before),
        });
    }
    let mut counted = times.split_off(1);
    counted.sort();
    counted
        .get(ROUNDS / 2)
        .copied()
        .context("there is no round")
}

/// What the programs that were run until now took on the processor, to a hundredth of a second.
fn of_children() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name before it may have spaces; cutime and cstime are the 14th and 15th field after it.
    let (_, rest) = stat
        .rsplit_once(')')
        .context("no name in /proc/self/stat")?;
    let ticks = rest.split_whitespace().skip(13).take(2);
    let ticks = ticks.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * TICK_MS))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
