//! What a run shows of an SDK's figures, for `agent/docs/accuracy.md`: one JSON file an SDK and kind in
//! the folder that the environment names. `cargo xtask accuracy` makes the page of them.

use std::path::Path;
use std::{env, fs};

use serde_json::{Value, json};

use super::{Runtime, Sdk};
use crate::run::peer;

/// Names the folder; nothing is noted where it is not set.
const FOLDER: &str = "BPFTOK_ACCURACY";

/// Input and output of one call.
pub(super) struct Figures {
    /// Call, as the script names it.
    pub(super) call: &'static str,
    /// Tokens that the endpoint served.
    pub(super) served: [u64; 2],
    /// Tokens that are in the ledger.
    pub(super) recorded: [Option<u64>; 2],
}

/// The figures of one SDK.
pub(super) struct Note {
    client: String,
    version: String,
    kind: &'static str,
    calls: Vec<Value>,
}

impl Note {
    /// An empty one, of figures of that kind.
    pub(super) fn of(sdk: &Sdk, kind: &'static str) -> Self {
        Self {
            client: sdk.title(),
            version: sdk.version(),
            kind,
            calls: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, figures: &Figures) {
        self.calls.push(json!({
            "call": figures.call,
            "served": figures.served,
            "recorded": figures.recorded,
        }));
    }

    /// Writes it where the environment says.
    pub(super) fn write(&self) {
        let Some(folder) = env::var_os(FOLDER) else {
            return;
        };
        let name: String = format!("{}_{}", self.client, self.kind)
            .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let note = json!({
            "client": self.client,
            "version": self.version,
            "kind": self.kind,
            "calls": self.calls,
        });
        let path = Path::new(&folder).join(format!("{name}.json"));
        fs::write(path, note.to_string()).unwrap();
    }
}

impl Sdk {
    /// Name on the page.
    pub(super) fn title(&self) -> String {
        match self.runtime {
            Runtime::Python => format!("{} (Python)", self.package),
            Runtime::Node => format!("{} (Node)", self.package),
        }
    }

    /// Version that is pinned.
    fn version(&self) -> String {
        match self.runtime {
            Runtime::Python => {
                let pins = fs::read_to_string(peer("python/requirements.txt")).unwrap();
                let pin = pins
                    .lines()
                    .filter_map(|line| line.split_once("=="))
                    .find(|(package, _)| *package == self.package);
                pin.unwrap().1.to_owned()
            }
            Runtime::Node => {
                let manifest = fs::read_to_string(peer("node/package.json")).unwrap();
                let manifest: Value = serde_json::from_str(&manifest).unwrap();
                let version = &manifest["dependencies"][self.package];
                version.as_str().unwrap().to_owned()
            }
        }
    }
}
