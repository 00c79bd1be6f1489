//! The list of prices in force: the one that the program carries, or a later one that was installed
//! beside the ledger.
//!
//! *Takes* a file of genai-prices from its user. *Gives* the list to the line and to reports. *Remembers*
//! it in one file, which is replaced whole. *Nonsense* in that file is said, and the list of the program
//! is in force. Nothing is ever fetched.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_core::prices::{About, List, MAX_LIST_BYTES, Prices};
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use crate::config::Config;

/// File beside the ledger with the installed list.
const FILE: &str = "prices.json";

/// First word of its first line, before the hash and the day. The list follows as it was given.
const MAGIC: &str = "bpftok-prices-1";

/// LIMIT: bytes of the first line.
const HEADER_BYTES: usize = 256;

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// Name of the source of the lists.
const SOURCE: &str = "genai-prices";

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the list of prices {}", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is too large.
    #[error("{} has more than {} MiB; that is no list of prices", path.display(), MAX_LIST_BYTES >> 20)]
    TooLarge {
        /// File.
        path: PathBuf,
    },
    /// It is no list.
    #[error("cannot use {} as a list of prices", path.display())]
    NoList {
        /// File.
        path: PathBuf,
        /// What is wrong.
        source: agent_core::prices::Error,
    },
    /// The installed file was changed or cut.
    #[error("{} is damaged; install it anew with `bpftok prices update FILE`, or remove it", path.display())]
    Damaged {
        /// File.
        path: PathBuf,
    },
    /// The installed file cannot be written.
    #[error("cannot install the list of prices at {}", path.display())]
    Install {
        /// File.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A list with the hash of the text that it was read from.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The list.
    pub list: List,
    /// SHA-256, in hexadecimal digits.
    pub sha256: String,
    text: String,
}

/// Where the installed list of a ledger is.
pub fn installed_at(ledger: &Path) -> PathBuf {
    ledger.with_file_name(FILE)
}

/// The list in force, and what is wrong with an installed one.
pub fn in_force(ledger: &Path) -> (List, Option<Error>) {
    match installed_and_later(ledger) {
        Ok(Some(list)) => (list, None),
        Ok(None) => (List::bundled(), None),
        Err(error) => (List::bundled(), Some(error)),
    }
}

/// The installed list, if it stands before that of the program.
fn installed_and_later(ledger: &Path) -> Result<Option<List>, Error> {
    // An update of the program may bring a later list than the one that was installed.
    let is_later = |list: &List| list.about.as_of_ms >= About::bundled().as_of_ms;
    Ok(installed(ledger)?.filter(is_later))
}

/// What reports say of the prices in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The list.
    pub about: About,
    /// How many prices are one's own.
    pub own: usize,
    /// How long ago its day was, in whole days; `None` if that is not known.
    pub age_days: Option<u64>,
    /// True if it is older than the configuration wants it to be.
    pub is_old: bool,
}

impl InForce {
    /// The prices that a configuration has in force at a moment. The program's list is named without
    /// being read; what is wrong with an installed one is logged.
    pub fn of(config: &Config, now_ms: i64) -> Self {
        let about = match installed_and_later(&config.daemon.db) {
            Ok(list) => list.map_or_else(About::bundled, |list| list.about),
            Err(error) => {
                warn_of(&error);
                About::bundled()
            }
        };
        let age = about
            .as_of_ms
            .and_then(|as_of_ms| u64::try_from(now_ms.saturating_sub(as_of_ms)).ok())
            .map(Duration::from_millis);
        Self {
            about,
            own: config.own_prices.len(),
            age_days: age.map(|age| age.as_secs() / DAY_SECONDS),
            is_old: age.is_none_or(|age| age > config.price_max_age),
        }
    }
}

fn warn_of(error: &Error) {
    tracing::warn!(%error, "the installed list of prices is not used; that of the program is");
}

/// All prices in force: one's own, and the list. What is wrong with an installed list is logged.
pub fn prices(config: &Config) -> Prices {
    let (list, error) = in_force(&config.daemon.db);
    if let Some(error) = error {
        warn_of(&error);
    }
    Prices::new(list, config.own_prices.clone())
}

/// The installed list, if there is one.
fn installed(ledger: &Path) -> Result<Option<List>, Error> {
    let path = installed_at(ledger);
    let text = match read(&path, MAX_LIST_BYTES.saturating_add(HEADER_BYTES as u64)) {
        Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        other => other?,
    };
    let damaged = || Error::Damaged { path: path.clone() };
    let (header, text) = text.split_once('\n').ok_or_else(damaged)?;
    let mut words = header.split(' ');
    let (magic, sha256, as_of) = (words.next(), words.next(), words.next());
    let as_of_ms = as_of.and_then(|as_of| as_of.parse().ok());
    if magic != Some(MAGIC) || sha256 != Some(&digest(text)) || as_of_ms.is_none() {
        return Err(damaged());
    }
    let about = about(&digest(text), as_of_ms);
    let list = List::from_json(text, about);
    list.map(Some)
        .map_err(|source| Error::NoList { path, source })
}

/// When a file was changed, in milliseconds since the Unix epoch.
///
/// # Errors
/// [`Error::Read`].
pub fn changed_ms(path: &Path) -> Result<i64, Error> {
    let metadata = fs::metadata(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(metadata.mtime().saturating_mul(1_000))
}

/// Reads a list that a user wants to install, of the day `as_of_ms`.
///
/// # Errors
/// [`Error::Read`], [`Error::TooLarge`] and [`Error::NoList`].
pub fn candidate(path: &Path, as_of_ms: i64) -> Result<Candidate, Error> {
    let text = read(path, MAX_LIST_BYTES)?;
    let sha256 = digest(&text);
    let list = List::from_json(&text, about(&sha256, Some(as_of_ms)));
    let list = list.map_err(|source| Error::NoList {
        path: path.to_owned(),
        source,
    })?;
    Ok(Candidate { list, sha256, text })
}

/// Installs a list beside a ledger: all of it, or nothing.
///
/// # Errors
/// [`Error::Install`].
pub fn install(candidate: &Candidate, ledger: &Path) -> Result<PathBuf, Error> {
    let path = installed_at(ledger);
    let failed = |source| Error::Install {
        path: path.clone(),
        source,
    };
    let beside = path.with_extension("json.new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let as_of_ms = candidate.list.about.as_of_ms.unwrap_or(0);
    let header = format!("{MAGIC} {} {as_of_ms}\n", candidate.sha256);
    let write = || {
        // A name that somebody else put there in the meantime is not written to.
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&beside)?;
        file.write_all(header.as_bytes())?;
        file.write_all(candidate.text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(failed)?;
    Ok(path)
}

fn about(sha256: &str, as_of_ms: Option<i64>) -> About {
    About {
        source: SOURCE.into(),
        version: format!("sha256:{}", sha256.get(..12).unwrap_or(sha256)).into(),
        as_of_ms,
    }
}

fn digest(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A text file of at most so many bytes.
fn read(path: &Path, limit: u64) -> Result<String, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    // A FIFO opens at once, and is refused by what it is.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::from(io::ErrorKind::InvalidInput)));
    }
    if metadata.len() > limit {
        return Err(Error::TooLarge {
            path: path.to_owned(),
        });
    }
    let mut text = String::new();
    file.take(limit).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}
