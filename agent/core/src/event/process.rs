//! Facts about a process, as the shell reads them.

use serde::{Deserialize, Serialize};

use super::ProcId;

/// The facts about a process, read at first sight, after an exec and when they changed. Its default
/// is a process of which nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// Identity.
    pub id: ProcId,
    /// The parent chain, nearest first, at most 8 long.
    pub ancestors: Vec<Ancestor>,
    /// Path of the executable, as the kernel prints it.
    pub exe: Option<String>,
    /// GNU build id of the executable, in hexadecimal digits.
    pub exe_build_id: Option<String>,
    /// Name of the process's main thread.
    pub comm: String,
    /// First argument. No other argument leaves the shell: they may hold secrets.
    pub argv0: Option<String>,
    /// Numbers of the configured patterns that its whole command line matches, ascending.
    pub matched_arguments: Vec<u16>,
    /// Real user id.
    pub uid: u32,
    /// Name of that user on the host.
    pub user_name: Option<String>,
    /// Working directory.
    pub cwd: Option<String>,
    /// Working tree of git that the working directory lies in.
    pub checkout: Option<Checkout>,
    /// Path in the unified cgroup hierarchy.
    pub cgroup: Option<String>,
    /// Unit of systemd that the cgroup belongs to, or of a user's own manager: the innermost, as in
    /// `nightly.service` or `session-3.scope`.
    pub unit: Option<String>,
    /// Container.
    pub container: Option<Container>,
    /// What the marker variable of its environment says, or that of the nearest ancestor with one.
    pub marker: Option<Marker>,
    /// Start of the process on the boot clock, in nanoseconds.
    pub started_ns: u64,
    /// From when on these facts hold, on the boot clock in nanoseconds: since it was seen in another
    /// directory or branch. 0 if they hold for the whole program.
    pub holds_from_ns: u64,
    /// Where the facts come from.
    pub source: FactSource,
}

/// One process in the parent chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ancestor {
    /// Identity.
    pub id: ProcId,
    /// Name of its main thread.
    pub comm: String,
    /// Path of its executable.
    pub exe: Option<String>,
}

/// A working tree of git.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Checkout {
    /// Its root.
    pub root: String,
    /// Name of the repository: the directory of the main working tree, whichever tree this is.
    pub repo: String,
    /// Branch that is checked out; `None` if none is.
    pub branch: Option<String>,
}

/// A container, as far as the host tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Container {
    /// What runs it, as in `docker`, `containerd`, `cri-o`, `podman`, `lxc` or `systemd-nspawn`; empty
    /// if that is unknown.
    pub runtime: String,
    /// Its id, in hexadecimal digits; of the last two its name.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Image that it was made of.
    pub image: Option<String>,
    /// The pod of Kubernetes that it belongs to.
    pub pod: Option<Pod>,
}

impl Container {
    /// What the ledger's sums call it: its name, or else the first twelve characters of its id.
    pub fn word(&self) -> &str {
        let end = self.id.char_indices().nth(12).map(|(end, _)| end);
        let short = end.and_then(|end| self.id.get(..end));
        self.name
            .as_deref()
            .unwrap_or_else(|| short.unwrap_or(&self.id))
    }
}

/// A pod of Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Its id, with hyphens.
    pub uid: String,
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its name.
    pub name: Option<String>,
}

/// The marker variable `BPFTOK_WORKFLOW=name[,key=value…]`, read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Marker {
    /// Name of the workflow.
    pub name: String,
    /// Its labels, in their order; at most [`Marker::LABELS`].
    pub labels: Vec<(String, String)>,
}

/// How facts about a process were learnt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactSource {
    /// Read from `/proc` while the process lived.
    Proc,
    /// It was gone already; only what the kernel programs saw is known.
    #[default]
    Kernel,
}

impl Marker {
    /// The environment variable.
    pub const VARIABLE: &str = "BPFTOK_WORKFLOW";

    /// The label that is the code which the cost is billed under.
    pub const BILLING_CODE: &str = "billing_code";

    /// LIMIT: labels of a marker; more are dropped.
    pub const LABELS: usize = 8;

    /// LIMIT: bytes of a name, a key or a value; the rest of a longer one is cut off.
    pub const WORD_BYTES: usize = 64;

    /// Reads the variable's value; `None` if it names no workflow. Control characters are dropped,
    /// and so is a label without a key.
    pub fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split(',').map(str::trim);
        let name = parts.next().and_then(word)?;
        let labels = parts
            .filter_map(|part| {
                let (key, value) = part.split_once('=')?;
                Some((word(key.trim())?, word(value.trim())?))
            })
            .take(Self::LABELS)
            .collect();
        Some(Self { name, labels })
    }

    /// The label with a key.
    pub fn label(&self, key: &str) -> Option<&str> {
        let mut labels = self.labels.iter();
        labels
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }
}

/// A text without control characters, cut; `None` if nothing is left.
fn word(text: &str) -> Option<String> {
    let mut kept: String = text
        .chars()
        .filter(|character| !character.is_control())
        .collect();
    kept.truncate(kept.floor_char_boundary(Marker::WORD_BYTES));
    (!kept.is_empty()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_marker_is_a_name_and_labels() {
        let marker = Marker::parse("nightly-triage, billing_code=CC-4410,team = infra,,=x,y=,z");
        let marker = marker.unwrap();
        assert_eq!(
            marker,
            Marker {
                name: "nightly-triage".to_owned(),
                labels: labels(&[("billing_code", "CC-4410"), ("team", "infra")]),
            }
        );
        assert_eq!(marker.label("team"), Some("infra"));
        assert_eq!(marker.label("teams"), None);
    }

    #[test]
    fn a_marker_without_a_name_is_none() {
        for value in ["", ",", "  ,team=infra", "\n"] {
            assert_eq!(Marker::parse(value), None, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn a_marker_is_small_and_can_not_steer_a_terminal(value in ".{0,600}") {
            if let Some(marker) = Marker::parse(&value) {
                let words = marker.labels.iter().flat_map(|(key, value)| [key, value]);
                for word in words.chain([&marker.name]) {
                    prop_assert!(word.len() <= 64 && !word.chars().any(char::is_control));
                }
                prop_assert!(marker.labels.len() <= Marker::LABELS);
            }
        }
    }
}
