//! What a run shows of a client, for `agent/docs/coverage.md`: one JSON file a client in the folder
//! that the environment names. `cargo xtask coverage` makes the page of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use serde_json::{Value, json};

use super::scene::{Played, program};

/// Names the folder; nothing is noted where it is not set.
const FOLDER: &str = "BPFTOK_COVERAGE";

/// A client as the page names it.
#[derive(Debug)]
pub(super) struct Client {
    /// Name; none is noted under an empty one.
    name: String,
    version: String,
    /// Whether its version is this machine's and not pinned.
    is_of_machine: bool,
    /// TLS library, where it is another than the one that is hooked.
    library: &'static str,
    /// What its test shows.
    verified: &'static str,
}

impl Client {
    /// One that has no line of its own.
    pub(super) fn nobody() -> Self {
        Self {
            name: String::new(),
            version: String::new(),
            is_of_machine: false,
            library: "",
            verified: "live",
        }
    }

    /// A package of npm, by its folder among the programs.
    pub(super) fn of_npm(name: &str, folder: &str) -> Self {
        let manifest = program(folder, "package.json", name).map(fs::read_to_string);
        let manifest: Value = serde_json::from_str(&manifest.unwrap().unwrap()).unwrap();
        let version = manifest["version"].as_str().unwrap();
        Self {
            name: name.to_owned(),
            version: version.split("-linux").next().unwrap().to_owned(),
            ..Self::nobody()
        }
    }

    /// A package of Python, whose version is pinned.
    pub(super) fn of_python(name: &str, package: &str) -> Self {
        let pins = fs::read_to_string(crate::run::peer("python/requirements.txt")).unwrap();
        let version = pins
            .lines()
            .find_map(|line| line.strip_prefix(package)?.strip_prefix("=="));
        Self {
            name: format!("{name} (Python)"),
            version: version.unwrap().to_owned(),
            ..Self::nobody()
        }
    }

    /// A program of this machine, asked for its version.
    pub(super) fn of_answer(name: &str, program: &Path) -> Self {
        let output = Command::new(program).arg("--version").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let is_version = |word: &&str| word.trim_start_matches('v').starts_with(char::is_numeric);
        let version = text.split_whitespace().find(is_version).unwrap_or_default();
        Self {
            name: name.to_owned(),
            version: version.trim_start_matches('v').to_owned(),
            is_of_machine: true,
            ..Self::nobody()
        }
    }

    /// A program of this repository, on a library of this machine.
    pub(super) fn of_this_tree(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            is_of_machine: true,
            ..Self::nobody()
        }
    }

    /// The same, with another TLS library than the one that is hooked, or none of those.
    pub(super) fn with_library(self, library: &'static str) -> Self {
        Self { library, ..self }
    }

    /// The same, where its test shows something else than calls in the ledger.
    pub(super) fn with_verdict(self, verified: &'static str) -> Self {
        Self { verified, ..self }
    }
}

/// Notes what `status`, the agent's own, says of the TLS in the file that has `file` in its path,
/// and over what the client's calls came.
pub(super) fn note(client: &Client, status: &Value, file: &Path, played: &[Played]) {
    let Some(folder) = env::var_os(FOLDER).filter(|_| !client.name.is_empty()) else {
        return;
    };
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let is_meant = |entry: &&Value| {
        let path = entry["path"].as_str().unwrap_or_default();
        path.contains(&file.display().to_string())
    };
    let mut files = status["hooked"].as_array().unwrap().iter();
    let tls = files.find(is_meant).unwrap_or(&Value::Null);
    let protocols: BTreeSet<_> = played.iter().flat_map(Played::protocols).collect();
    let line = json!({
        "client": client.name,
        "version": client.version,
        "is_of_machine": client.is_of_machine,
        "tls": tls,
        "library": client.library,
        "protocols": protocols,
        "verified": client.verified,
    });
    let name = client
        .name
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let path = Path::new(&folder).join(format!("{name}.json"));
    fs::write(path, line.to_string()).unwrap();
}
