//! What the agent is told: defaults, then a file, then flags.
//!
//! [`file`] is what may be written; [`Config`] is what is meant, complete and checked. All
//! mistakes of a file are reported at once, each with its key and the remedy.

mod budget;
mod entries;
mod file;
mod metrics;
mod notify;
mod otlp;
mod price;
mod provider;
mod retention;
mod runaway;
mod show;
mod workflow;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::num::NonZeroU32;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_core::budget::Budget;
use agent_core::prices::Override;
use agent_core::workflow::{RuleSpec, Workflows, argument_patterns};
use jiff::tz::TimeZone;

pub use budget::{budget_of, definition_of};
use file::{File, Section, Unknown, Written};
pub use metrics::{Listen, Metrics};
pub use notify::{Format, Notify, NotifyKind, Url};
pub use otlp::{Encoding, Otlp};
#[cfg(test)]
pub(crate) use provider::FORMATS;
pub use provider::Provider;
pub use retention::Retention;
pub use workflow::show as workflow_lines;

/// The defaults, documented; a valid configuration file.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

/// Where a configuration is looked for unless `--config` names one.
pub const DEFAULT_PATH: &str = "/etc/bpftok/config.toml";

/// LIMIT: a configuration of one megabyte is no configuration; a larger file is refused unread.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// LIMIT: the kernel wants a power of two of pages. Below 64 KiB one record of the largest class
/// hardly fits; above 256 MiB too much plaintext would wait in memory.
const RING_BYTES: std::ops::RangeInclusive<i64> = (64 << 10)..=(256 << 20);
/// Sixteen MiB: the upper end of what keeps recent plaintext in memory short-lived.
const DEFAULT_RING_BYTES: NonZeroU32 = match NonZeroU32::new(16 << 20) {
    Some(bytes) => bytes,
    None => NonZeroU32::MIN,
};
/// LIMIT: more often than every 50 ms costs more than it finds; more seldom than every minute
/// misses whole programs.
const SCAN_INTERVAL_MS: std::ops::RangeInclusive<i64> = 50..=60_000;
/// LIMIT: each check starts a process, so that more than one a second is none; less than one in an
/// hour would leave dead probes unnoticed for a working day.
const SELF_CHECK_INTERVAL_MS: std::ops::RangeInclusive<i64> = 1_000..=3_600_000;
/// LIMIT: a pause of a day ends every session.
const IDLE_MINUTES: std::ops::RangeInclusive<i64> = 1..=1_440;
/// LIMIT: prices of ten years ago are of models that nobody runs.
const PRICE_AGE_DAYS: std::ops::RangeInclusive<i64> = 1..=3_650;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// LIMIT: each process is compared with each pattern; more than these is a mistake.
const MAX_IGNORE: usize = 256;

/// Everything the agent is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The agent as a program.
    pub daemon: Daemon,
    /// What is copied.
    pub capture: Capture,
    /// What belongs together.
    pub session: Session,
    /// What is kept.
    pub privacy: Privacy,
    /// How long it is kept.
    pub retention: Retention,
    /// Where numbers of it are to be had.
    pub metrics: Metrics,
    /// Where calls are handed to OpenTelemetry.
    pub otlp: Otlp,
    /// Whose hosts are, beside those that are known; the first that fits counts.
    pub providers: Vec<Provider>,
    /// From what on a session runs away.
    pub runaway: agent_core::runaway::Settings,
    /// From what on a workflow has a spike.
    pub spike: agent_core::spike::Settings,
    /// From what on somebody should look at anything else.
    pub rules: agent_core::upkeep::Settings,
    /// How old a list of prices may be before it is said to be.
    pub price_max_age: Duration,
    /// Prices of one's own; the first that fits counts.
    pub own_prices: Vec<Override>,
    /// Which workflows pay for what; the first that matches counts.
    pub workflows: Vec<RuleSpec>,
    /// Channels over which alerts are told.
    pub channels: Vec<Notify>,
    /// Limits that are watched.
    pub budgets: Vec<Budget>,
}

impl Config {
    /// The budgets, and after them those that commands set, from their entries in JSON. What can't be
    /// read, or has the name of another one, is left out; the agent's log tells.
    pub fn budgets_with<'a>(&self, set: impl IntoIterator<Item = &'a str>) -> Vec<Budget> {
        let mut budgets = self.budgets.clone();
        for budget in set.into_iter().filter_map(|set| budget_of(set).ok()) {
            if budgets.iter().all(|known| known.name != budget.name) {
                budgets.push(budget);
            }
        }
        budgets
    }

    /// The rules that name workflows, ready to be used.
    pub fn workflows(&self) -> Workflows {
        Workflows::new(self.workflows.clone())
    }

    /// The patterns that rules compare command lines with: whoever reads facts about a process tells
    /// the numbers of those that match.
    pub fn argument_patterns(&self) -> Vec<String> {
        argument_patterns(&self.workflows)
    }
}

/// Section `daemon`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// The ledger; absolute unless a flag named it.
    pub db: PathBuf,
    /// Time zone of reports.
    pub timezone: Zone,
}

/// A time zone by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Zone {
    /// That of the host or of the variable `TZ`.
    Local,
    /// One of the time zone database.
    Named(String),
}

impl Zone {
    /// The rules of the zone; UTC if a named one vanished from the host since it was checked.
    pub fn rules(&self) -> TimeZone {
        match self {
            Self::Local => TimeZone::system(),
            Self::Named(name) => TimeZone::get(name).unwrap_or(TimeZone::UTC),
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Named(name) => name,
        })
    }
}

/// Section `capture`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Size of the ring: a power of two.
    pub ring_bytes: NonZeroU32,
    /// Pause between two looks at all processes.
    pub scan_interval: Duration,
    /// Whether the sockets of programs are followed.
    pub sockets: bool,
    /// Pause between two checks whether probes still see.
    pub self_check_interval: Duration,
    /// Programs left alone: patterns of paths where they contain a slash, else of names.
    pub ignore: Vec<String>,
}

/// Section `session`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Pause that ends a session without an id.
    pub idle: Duration,
}

/// Section `privacy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privacy {
    /// Whether the working directory is kept.
    pub store_cwd: bool,
    /// What is kept of the command line.
    pub store_argv: Argv,
}

/// What is kept of a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argv {
    /// Nothing.
    None,
    /// The first word.
    Argv0,
}

impl Argv {
    /// Name in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Argv0 => "argv0",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            daemon: Daemon {
                db: PathBuf::from("/var/lib/bpftok/usage.db"),
                timezone: Zone::Local,
            },
            capture: Capture {
                ring_bytes: DEFAULT_RING_BYTES,
                scan_interval: Duration::from_secs(10),
                sockets: true,
                self_check_interval: Duration::from_secs(300),
                ignore: Vec::new(),
            },
            session: Session {
                idle: Duration::from_secs(30 * 60),
            },
            privacy: Privacy {
                store_cwd: true,
                store_argv: Argv::Argv0,
            },
            retention: Retention::default(),
            metrics: Metrics::default(),
            otlp: Otlp::default(),
            providers: Vec::new(),
            runaway: agent_core::runaway::Settings::default(),
            spike: agent_core::spike::Settings::default(),
            rules: agent_core::upkeep::Settings::default(),
            price_max_age: DAY.saturating_mul(45),
            own_prices: Vec::new(),
            workflows: Vec::new(),
            channels: Vec::new(),
            budgets: Vec::new(),
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `default.toml`.
    Default,
    /// A file.
    File(PathBuf),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A configuration, and where its values come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Configuration.
    pub config: Config,
    /// Values that are no defaults, by key path.
    origins: BTreeMap<&'static str, Origin>,
}

/// One thing that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Key path, for example `capture.ring_bytes`.
    pub key: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file named by a flag does not exist.
    #[error("there is no configuration at {}; `bpftok config default` prints one to start from", path.display())]
    Missing {
        /// File.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is none that we trust.
    #[error("the configuration {} is refused: {why}", path.display())]
    Unsafe {
        /// File.
        path: PathBuf,
        /// What is wrong, and the remedy.
        why: &'static str,
    },
    /// The file is no TOML.
    #[error("the configuration {} is no TOML", path.display())]
    Syntax {
        /// File.
        path: PathBuf,
        /// Where and why.
        source: toml::de::Error,
    },
    /// The file says things that cannot be meant.
    #[error("the configuration {} has {} {}:{}", path.display(), mistakes.len(),
        if mistakes.len() == 1 { "mistake" } else { "mistakes" }, list(mistakes))]
    Mistakes {
        /// File.
        path: PathBuf,
        /// All of them, in the order of the sections.
        mistakes: Vec<Mistake>,
    },
}

fn list(mistakes: &[Mistake]) -> String {
    mistakes
        .iter()
        .map(|mistake| format!("\n  {}: {}", mistake.key, mistake.problem))
        .collect()
}

impl Loaded {
    /// Reads the file at `named`, or else the one at [`DEFAULT_PATH`] if it exists.
    ///
    /// # Errors
    /// All of [`Error`].
    pub fn read(named: Option<&Path>) -> Result<Self, Error> {
        let path = named.unwrap_or_else(|| Path::new(DEFAULT_PATH));
        match read_file(path) {
            Ok(text) => Self::parse(path, &text),
            Err(Error::Missing { .. }) if named.is_none() => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Checks the text of the file at `path`.
    ///
    /// # Errors
    /// [`Error::Syntax`] and [`Error::Mistakes`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let file: File = toml::from_str(text).map_err(|source| Error::Syntax {
            path: path.to_owned(),
            source,
        })?;
        let mut check = Check {
            path,
            loaded: Self::default(),
            mistakes: Vec::new(),
        };
        check.file(file);
        if check.mistakes.is_empty() {
            Ok(check.loaded)
        } else {
            Err(Error::Mistakes {
                path: path.to_owned(),
                mistakes: check.mistakes,
            })
        }
    }

    /// Puts the ledger that `--db` names before that of the file.
    #[must_use]
    pub fn with_db(mut self, flag: Option<PathBuf>) -> Self {
        if let Some(db) = flag {
            self.config.daemon.db = db;
            self.origins.insert("daemon.db", Origin::Flag("--db"));
        }
        self
    }

    /// Where the value of a key comes from.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }
}

/// Reads a file that only root or we could have written.
fn read_file(path: &Path) -> Result<String, Error> {
    let failed = |source: io::Error| {
        if source.kind() == io::ErrorKind::NotFound {
            Error::Missing {
                path: path.to_owned(),
            }
        } else {
            Error::Read {
                path: path.to_owned(),
                source,
            }
        }
    };
    let refuse = |why| {
        Err(Error::Unsafe {
            path: path.to_owned(),
            why,
        })
    };
    // A FIFO must not hang the start: it opens at once, and is refused below.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return refuse("it is no regular file");
    }
    if metadata.len() > MAX_FILE_BYTES {
        return refuse("it is larger than 1 MiB");
    }
    if metadata.mode() & 0o022 != 0 {
        return refuse("others may write to it; chmod go-w");
    }
    let me = rustix::process::geteuid().as_raw();
    let caller = std::env::var("SUDO_UID")
        .ok()
        .and_then(|uid| uid.parse::<u32>().ok());
    if metadata.uid() != 0 && metadata.uid() != me && !(me == 0 && Some(metadata.uid()) == caller) {
        return refuse("it belongs to another user; chown it to root");
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}

/// A file on its way to a configuration.
struct Check<'a> {
    path: &'a Path,
    loaded: Loaded,
    mistakes: Vec<Mistake>,
}

impl Check<'_> {
    fn file(&mut self, file: File) {
        if let Some(daemon) = self.section("daemon", file.daemon) {
            if let Some(db) = self.value("daemon.db", daemon.db, "a string", check_db) {
                self.loaded.config.daemon.db = db;
            }
            if let Some(zone) =
                self.value("daemon.timezone", daemon.timezone, "a string", check_zone)
            {
                self.loaded.config.daemon.timezone = zone;
            }
            self.unknown("daemon", &daemon.unknown, "db, timezone");
        }
        if let Some(capture) = self.section("capture", file.capture) {
            if let Some(bytes) = self.value(
                "capture.ring_bytes",
                capture.ring_bytes,
                "an integer",
                check_ring,
            ) {
                self.loaded.config.capture.ring_bytes = bytes;
            }
            if let Some(ms) = self.value(
                "capture.scan_interval_ms",
                capture.scan_interval_ms,
                "an integer",
                |ms| check_range(ms, &SCAN_INTERVAL_MS, "milliseconds"),
            ) {
                self.loaded.config.capture.scan_interval = Duration::from_millis(ms);
            }
            if let Some(sockets) =
                self.value("capture.sockets", capture.sockets, "true or false", Ok)
            {
                self.loaded.config.capture.sockets = sockets;
            }
            if let Some(ms) = self.value(
                "capture.self_check_interval_ms",
                capture.self_check_interval_ms,
                "an integer",
                |ms| check_range(ms, &SELF_CHECK_INTERVAL_MS, "milliseconds"),
            ) {
                self.loaded.config.capture.self_check_interval = Duration::from_millis(ms);
            }
            if let Some(ignore) = self.value(
                "capture.ignore",
                capture.ignore,
                "a list of strings",
                check_ignore,
            ) {
                self.loaded.config.capture.ignore = ignore;
            }
            self.unknown(
                "capture",
                &capture.unknown,
                "ring_bytes, scan_interval_ms, sockets, self_check_interval_ms, ignore",
            );
        }
        if let Some(session) = self.section("session", file.session) {
            if let Some(minutes) = self.value(
                "session.idle_minutes",
                session.idle_minutes,
                "an integer",
                |minutes| check_range(minutes, &IDLE_MINUTES, "minutes"),
            ) {
                self.loaded.config.session.idle = Duration::from_secs(minutes * 60);
            }
            self.unknown("session", &session.unknown, "idle_minutes");
        }
        if let Some(privacy) = self.section("privacy", file.privacy) {
            if let Some(cwd) =
                self.value("privacy.store_cwd", privacy.store_cwd, "true or false", Ok)
            {
                self.loaded.config.privacy.store_cwd = cwd;
            }
            if let Some(argv) = self.value(
                "privacy.store_argv",
                privacy.store_argv,
                "a string",
                |word| check_argv(&word),
            ) {
                self.loaded.config.privacy.store_argv = argv;
            }
            self.unknown("privacy", &privacy.unknown, "store_cwd, store_argv");
        }
        self.retention(file.retention);
        if let Some(prices) = self.section("prices", file.prices) {
            if let Some(days) = self.value(
                "prices.max_age_days",
                prices.max_age_days,
                "an integer",
                |days| check_range(days, &PRICE_AGE_DAYS, "days"),
            ) {
                let days = u32::try_from(days).unwrap_or(u32::MAX);
                self.loaded.config.price_max_age = DAY.saturating_mul(days);
            }
            self.unknown("prices", &prices.unknown, "max_age_days");
        }
        self.metrics(file.metrics);
        self.otlp(file.otlp);
        self.runaway(file.runaway);
        self.spike(file.spike);
        self.rules(file.rules);
        self.providers(file.provider);
        self.prices(file.price);
        self.workflows(file.workflow);
        self.budgets(file.budget);
        self.channels(file.notify);
        for key in file.unknown.keys() {
            self.mistake(
                key,
                "unknown section; there are daemon, capture, session, privacy, retention, prices, metrics, otlp, runaway, spike, rules, provider, price, workflow, budget, notify".to_owned(),
            );
        }
    }

    fn section<T>(&mut self, name: &str, section: Section<T>) -> Option<T> {
        match section {
            Section::Absent => None,
            Section::Present(section) => Some(section),
            Section::Mistyped(kind) => {
                self.mistake(
                    name,
                    format!("is {}, must be a section [{name}]", with_article(kind)),
                );
                None
            }
        }
    }

    fn value<T, U>(
        &mut self,
        key: &'static str,
        written: Written<T>,
        wanted: &str,
        check: impl FnOnce(T) -> Result<U, String>,
    ) -> Option<U> {
        let checked = match written {
            Written::No => return None,
            Written::Yes(value) => check(value),
            Written::Mistyped(kind) => Err(format!("is {}, must be {wanted}", with_article(kind))),
        };
        match checked {
            Ok(value) => {
                self.loaded
                    .origins
                    .insert(key, Origin::File(self.path.to_owned()));
                Some(value)
            }
            Err(problem) => {
                self.mistake(key, problem);
                None
            }
        }
    }

    fn unknown(&mut self, section: &str, unknown: &Unknown, known: &str) {
        for key in unknown.keys() {
            self.mistake(
                &format!("{section}.{key}"),
                format!("unknown key; [{section}] has {known}"),
            );
        }
    }

    fn mistake(&mut self, key: &str, problem: String) {
        // A key of a file goes to a terminal or a log.
        let key = key.escape_debug().to_string();
        self.mistakes.push(Mistake { key, problem });
    }
}

fn with_article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {kind}")
}

fn check_db(db: String) -> Result<PathBuf, String> {
    let path = PathBuf::from(db);
    if !path.is_absolute() {
        return Err("must be an absolute path, as in \"/var/lib/bpftok/usage.db\"".to_owned());
    }
    if path.file_name().is_none() {
        return Err("must name a file".to_owned());
    }
    Ok(path)
}

fn check_zone(name: String) -> Result<Zone, String> {
    if name == "local" {
        return Ok(Zone::Local);
    }
    match TimeZone::get(&name) {
        Ok(_) => Ok(Zone::Named(name)),
        Err(_) => Err(format!(
            "{name:?} is no time zone of this host; use \"local\" or a name as in \"Europe/Berlin\""
        )),
    }
}

fn check_ring(bytes: i64) -> Result<NonZeroU32, String> {
    u32::try_from(bytes)
        .ok()
        .filter(|size| size.is_power_of_two() && RING_BYTES.contains(&bytes))
        .and_then(NonZeroU32::new)
        .ok_or_else(|| {
            format!(
                "{bytes} is no power of two from {} to {}",
                RING_BYTES.start(),
                RING_BYTES.end()
            )
        })
}

fn check_range(
    number: i64,
    range: &std::ops::RangeInclusive<i64>,
    unit: &str,
) -> Result<u64, String> {
    u64::try_from(number)
        .ok()
        .filter(|_| range.contains(&number))
        .ok_or_else(|| {
            format!(
                "{number} is out of range; {} to {} {unit} are possible",
                range.start(),
                range.end()
            )
        })
}

fn check_ignore(patterns: Vec<String>) -> Result<Vec<String>, String> {
    if patterns.len() > MAX_IGNORE {
        return Err(format!(
            "has {} patterns, at most {MAX_IGNORE} are possible",
            patterns.len()
        ));
    }
    if patterns.iter().any(|pattern| pattern.trim().is_empty()) {
        return Err("has an empty pattern; remove it".to_owned());
    }
    if patterns
        .iter()
        .any(|pattern| pattern.chars().all(|c| c == '*'))
    {
        return Err(
            "has a pattern that leaves everything alone; stop the agent instead".to_owned(),
        );
    }
    Ok(patterns)
}

fn check_argv(word: &str) -> Result<Argv, String> {
    [Argv::None, Argv::Argv0]
        .into_iter()
        .find(|argv| argv.as_str() == word)
        .ok_or_else(|| format!("{word:?} is neither \"argv0\" nor \"none\""))
}

#[cfg(test)]
mod tests;
