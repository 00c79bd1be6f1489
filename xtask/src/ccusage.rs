//! The same questions about the same usage to bpftok and to `ccusage`, which adds up the session files of
//! coding agents.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::command::Invocation;
use crate::ledger::{self, Asked};
use crate::project::{Project, make_folder};
use crate::{agent, clients, debian, host, pins, setup};

/// Each question is asked so often, in turn; medians count.
const ROUNDS: usize = 5;

/// What is asked: both are to write a document of the same sums.
struct Question {
    name: &'static str,
    ours: &'static [&'static str],
    theirs: &'static [&'static str],
    /// What a row of ours is named by.
    our_key: &'static str,
    /// The list of rows of theirs, and what a row is named by.
    their_rows: (&'static str, &'static str),
}

const QUESTIONS: [Question; 2] = [
    Question {
        name: "tokens by day, the year",
        ours: &[
            "report",
            "--by",
            "day",
            "--since",
            "2000-01-01",
            "--utc",
            "--json",
        ],
        theirs: &["daily", "--offline", "--timezone", "UTC", "--json"],
        our_key: "day",
        their_rows: ("daily", "period"),
    },
    Question {
        name: "tokens by session, the year",
        ours: &[
            "report",
            "--by",
            "session",
            "--since",
            "2000-01-01",
            "--utc",
            "--json",
        ],
        theirs: &["session", "--offline", "--timezone", "UTC", "--json"],
        our_key: "session_key",
        their_rows: ("session", "period"),
    },
];

/// Input, read from and written to a cache, output.
type Tokens = [u64; 4];
type Sums = BTreeMap<String, Tokens>;

const OUR_TOKENS: [&str; 4] = [
    "input_uncached_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
];
const THEIR_TOKENS: [&str; 4] = [
    "inputTokens",
    "cacheReadTokens",
    "cacheCreationTokens",
    "outputTokens",
];

/// `cargo xtask bench ccusage [-- --requests N] [--seed S] [--text BYTES]`.
pub(crate) fn bench(project: &Project, arguments: &[String]) -> Result<()> {
    let asked = Asked::of(arguments, &["--requests", "--seed", "--text"])?;
    setup::for_building(project)?;
    debian::install(&pins::TIMING_PACKAGES)?;
    let packages = clients::npm_packages(project, clients::CCUSAGE)?;
    agent::build(project)?;
    let forms = Forms::made(project, &asked)?;
    let both = Both {
        ours: project.agent_binary(),
        theirs: executable(packages.join("ccusage/bin/ccusage"))?,
        forms,
    };
    for question in &QUESTIONS {
        both.check(question)?;
    }
    let (files, bytes) = size(&both.forms.logs())?;
    println!(
        "\n{} calls: a ledger of {} MB; {files} files of {} MB\n",
        asked.requests,
        fs::metadata(both.forms.ledger())?.len() / 1_000_000,
        bytes / 1_000_000,
    );
    println!(
        "| | | ms | CPU, ms | peak, MB | ratio of ms | ratio of CPU |\n|---|---|---|---|---|---|---|"
    );
    both.measure("start alone", &["--version"], &["--version"])?;
    for question in &QUESTIONS {
        both.measure(question.name, question.ours, question.theirs)?;
    }
    Ok(())
}

/// The same usage in both forms, in one folder.
struct Forms(PathBuf);

impl Forms {
    /// What was asked for, made where it is not there from before.
    fn made(project: &Project, asked: &Asked) -> Result<Self> {
        let ledgers = project.target.join("bpftok/ledgers");
        let name = format!(
            "ccusage-{}-{}-{}",
            asked.requests, asked.seed, asked.text_bytes
        );
        let made = Self(ledgers.join(&name));
        if !made.0.exists() {
            let part = Self(ledgers.join(format!("{name}.part")));
            if part.0.exists() {
                fs::remove_dir_all(&part.0).context("cannot remove what an earlier run left")?;
            }
            make_folder(&part.home())?;
            ledger::make(project, &part.ledger(), asked, Some(&part.logs()))?;
            fs::rename(&part.0, &made.0).context("cannot name what was made")?;
        }
        Ok(made)
    }

    fn ledger(&self) -> PathBuf {
        self.0.join("usage.db")
    }

    fn logs(&self) -> PathBuf {
        self.0.join("claude")
    }

    /// An empty one, so that nothing else is read.
    fn home(&self) -> PathBuf {
        self.0.join("home")
    }
}

/// Both programs, and what they are asked about.
struct Both {
    ours: PathBuf,
    theirs: PathBuf,
    forms: Forms,
}

impl Both {
    /// Fails where the two say different sums.
    fn check(&self, question: &Question) -> Result<()> {
        let ours = self.ours(Invocation::new(&self.ours), question.ours);
        let ours = sums(&document(ours)?, "rows", question.our_key, OUR_TOKENS)?;
        let theirs = self.theirs(Invocation::new(&self.theirs), question.theirs);
        let (rows, key) = question.their_rows;
        let theirs = sums(&document(theirs)?, rows, key, THEIR_TOKENS)?;
        agree(&ours, &theirs).with_context(|| question.name)?;
        println!(
            "{}: both say the same in {} rows",
            question.name,
            ours.len()
        );
        Ok(())
    }

    /// Prints a row of each program.
    fn measure(&self, name: &str, ours: &[&str], theirs: &[&str]) -> Result<()> {
        let mut rounds = [Vec::new(), Vec::new()];
        for round in 0..=ROUNDS {
            let taken = [
                self.take(|timed| self.ours(timed.arg(&self.ours), ours))?,
                self.take(|timed| self.theirs(timed.arg(&self.theirs), theirs))?,
            ];
            // The first round warms the cache.
            if round > 0 {
                for (rounds, taken) in rounds.iter_mut().zip(taken) {
                    rounds.push(taken);
                }
            }
        }
        let [ours, theirs] = rounds.map(|rounds| Taken::median(&rounds));
        println!("| {name} | bpftok | {} | | |", ours.cells());
        println!(
            "| | ccusage | {} | {:.1} | {:.1} |",
            theirs.cells(),
            theirs.wall_seconds / ours.wall_seconds,
            theirs.cpu_seconds / ours.cpu_seconds
        );
        Ok(())
    }

    fn ours(&self, program: Invocation, arguments: &[&str]) -> Invocation {
        program
            .quiet_env("HOME", self.forms.home())
            .arg("--db")
            .arg(self.forms.ledger())
            .args(arguments)
    }

    fn theirs(&self, program: Invocation, arguments: &[&str]) -> Invocation {
        program
            .quiet_env("HOME", self.forms.home())
            .quiet_env("CLAUDE_CONFIG_DIR", self.forms.logs())
            .without_env("XDG_CONFIG_HOME")
            .without_env("XDG_DATA_HOME")
            .args(arguments)
    }

    /// Runs a program once, its output dropped.
    fn take(&self, program: impl Fn(Invocation) -> Invocation) -> Result<Taken> {
        // bash tells times by the millisecond, and the program named time the memory.
        const SCRIPT: &str = r#"TIMEFORMAT='%R %U %S'
            { time "$TIME_PROGRAM" --output="$MEMORY_FILE" --format=%M "$@" >/dev/null 2>&1; } 2>&1"#;
        let memory_file = self.forms.0.join("memory");
        let time = host::find_program("time").context("the program named time is missing")?;
        let timed = Invocation::new("bash")
            .quiet_env("TIME_PROGRAM", time)
            .quiet_env("MEMORY_FILE", &memory_file)
            .quiet_env("LC_ALL", "C")
            .args(["-c", SCRIPT, "timed"]);
        let times = program(timed)
            .ask()
            .context("it failed: run it by hand to see why")?;
        let memory = fs::read_to_string(&memory_file).context("cannot read the memory taken")?;
        Taken::of(&times, &memory)
            .with_context(|| format!("no measurements: `{}`, `{}`", times.trim(), memory.trim()))
    }
}

/// What a run took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Taken {
    wall_seconds: f64,
    /// User and system, of all its processes and threads.
    cpu_seconds: f64,
    /// Resident at most, of its largest process.
    peak_kib: f64,
}

impl Taken {
    fn of(times: &str, memory: &str) -> Option<Self> {
        let times: Result<Vec<f64>, _> = times.split_whitespace().map(str::parse).collect();
        let &[wall_seconds, user, system] = times.ok()?.as_slice() else {
            return None;
        };
        Some(Self {
            wall_seconds,
            cpu_seconds: user + system,
            peak_kib: memory.trim().parse().ok()?,
        })
    }

    /// The median of each number by itself.
    fn median(rounds: &[Self]) -> Self {
        let of = |number: fn(&Self) -> f64| {
            let mut numbers: Vec<f64> = rounds.iter().map(number).collect();
            numbers.sort_by(f64::total_cmp);
            numbers.get(numbers.len() / 2).copied().unwrap_or_default()
        };
        Self {
            wall_seconds: of(|taken| taken.wall_seconds),
            cpu_seconds: of(|taken| taken.cpu_seconds),
            peak_kib: of(|taken| taken.peak_kib),
        }
    }

    fn cells(&self) -> String {
        format!(
            "{:.0} | {:.0} | {:.0}",
            self.wall_seconds * 1_000.0,
            self.cpu_seconds * 1_000.0,
            self.peak_kib * 1_024.0 / 1_000_000.0
        )
    }
}

/// The program itself: what npm puts on the path starts Node first, makes it executable and starts it.
fn executable(program: PathBuf) -> Result<PathBuf> {
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", program.display()))?;
    Ok(program)
}

fn document(program: Invocation) -> Result<Value> {
    serde_json::from_str(&program.read()?).context("it wrote no document")
}

/// Sums of the rows that have any; an absent number counts nothing.
fn sums(document: &Value, rows: &str, key: &str, columns: [&str; 4]) -> Result<Sums> {
    let rows = document.get(rows).and_then(Value::as_array);
    let rows = rows.context("the document has no rows")?;
    let mut sums = Sums::new();
    for row in rows {
        let name = row.get(key).and_then(Value::as_str);
        let name = name.with_context(|| format!("a row has no `{key}`: {row}"))?;
        let tokens = columns.map(|column| row.get(column).and_then(Value::as_u64).unwrap_or(0));
        if tokens != Tokens::default() {
            let previous = sums.insert(name.to_owned(), tokens);
            ensure!(previous.is_none(), "two rows are called {name}");
        }
    }
    Ok(sums)
}

fn agree(ours: &Sums, theirs: &Sums) -> Result<()> {
    for name in ours.keys().chain(theirs.keys()) {
        let (ours, theirs) = (ours.get(name), theirs.get(name));
        if ours != theirs {
            bail!(
                "{name}: bpftok says {ours:?}, ccusage {theirs:?} (input, cached, written, output)"
            );
        }
    }
    ensure!(!ours.is_empty(), "there is nothing to compare");
    Ok(())
}

/// How many files lie below a folder, and their bytes.
fn size(folder: &Path) -> Result<(u64, u64)> {
    let mut sum = (0, 0);
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let entry = entry?;
        let (files, bytes) = if entry.file_type()?.is_dir() {
            size(&entry.path())?
        } else {
            (1, entry.metadata()?.len())
        };
        sum = (sum.0 + files, sum.1 + bytes);
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sums_that_differ_or_are_missing_on_one_side_are_told_with_both() {
        let ours = json!({"rows": [
            {"day": "2026-11-01", "input_uncached_tokens": 1, "cache_read_tokens": 2,
             "cache_write_tokens": null, "output_tokens": 4},
            {"day": "2026-11-02", "output_tokens": 0},
        ]});
        let theirs = |output: u64| {
            json!({"daily": [{"period": "2026-11-01", "inputTokens": 1, "cacheReadTokens": 2,
                              "cacheCreationTokens": 0, "outputTokens": output}]})
        };
        let ours = sums(&ours, "rows", "day", OUR_TOKENS).unwrap();
        let theirs = |output| sums(&theirs(output), "daily", "period", THEIR_TOKENS).unwrap();

        assert!(agree(&ours, &theirs(4)).is_ok());
        assert_eq!(
            agree(&ours, &theirs(5)).unwrap_err().to_string(),
            "2026-11-01: bpftok says Some([1, 2, 0, 4]), ccusage Some([1, 2, 0, 5]) \
             (input, cached, written, output)"
        );
        assert!(agree(&ours, &Sums::new()).is_err());
        assert!(agree(&Sums::new(), &Sums::new()).is_err());
    }

    #[test]
    fn what_a_run_took_is_read_from_both_tools_and_the_median_counts() {
        let taken = |times| Taken::of(times, "2048\n").unwrap();
        let rounds = [
            taken("0.300 0.200 0.050\n"),
            taken("0.100 0.080 0.010\n"),
            taken("0.200 0.300 0.030\n"),
        ];

        assert_eq!(Taken::median(&rounds).cells(), "200 | 250 | 2");
        assert_eq!(Taken::of("bash: time: not found", "1"), None);
    }
}
