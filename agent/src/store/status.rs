//! What a running agent says about itself in the ledger.

use agent_core::stats::Stats;
use serde::{Deserialize, Serialize};

/// Row `status` of the table `meta`, as JSON; written every few seconds by the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Process id of the agent.
    pub pid: u32,
    /// Version of the agent.
    pub version: String,
    /// When it started, in milliseconds since the Unix epoch.
    pub started_unix_ms: i64,
    /// When this was written, in milliseconds since the Unix epoch.
    pub updated_unix_ms: i64,
    /// Release of the kernel.
    pub kernel: String,
    /// How probes are attached, for example `uprobe_multi`.
    pub attach_kind: String,
    /// Files that carry probes.
    pub hooked: Vec<HookedFile>,
    /// Files that should carry probes and do not.
    pub failed: Vec<FailedFile>,
    /// Whether the probes showed the last call that was made to check them.
    #[serde(default)]
    pub self_check: String,
    /// Capabilities that the watching threads keep, by name.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Processes that talked to LLM hosts within the last hour, those last heard of first.
    #[serde(default)]
    pub callers: Vec<CallingProcess>,
    /// What else does not work as it should, one sentence each.
    pub degraded: Vec<String>,
    /// Counters by name, [`Stats`] first, then those of the shell.
    pub counters: serde_json::Map<String, serde_json::Value>,
}

/// A file that carries probes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookedFile {
    /// Path.
    pub path: String,
    /// The TLS library in it, with its version where that is known.
    pub library: Option<String>,
    /// How its functions were found.
    pub found_by: Option<String>,
    /// How sure it is that they are these.
    pub confidence: Option<String>,
    /// Functions with a probe.
    pub functions: Vec<String>,
}

/// A file that could not be hooked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedFile {
    /// Path.
    pub path: String,
    /// Why not, and the remedy if there is one.
    pub reason: String,
}

/// A process that talks to LLM hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallingProcess {
    /// Process id.
    pub pid: u32,
    /// Name of its main thread.
    pub comm: String,
    /// Path of its executable.
    pub exe: Option<String>,
    /// When it was last heard of, in milliseconds since the Unix epoch.
    pub last_unix_ms: i64,
    /// Whom it talks to.
    pub hosts: Vec<CalledHost>,
    /// Files with a TLS library that it uses.
    pub tls: Vec<TlsFile>,
    /// Why there is none.
    pub why: Option<String>,
}

/// A host that a process talks to, and what became of that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalledHost {
    /// Name, or the address where no name is known.
    pub name: Option<String>,
    /// Calls that were seen whole.
    pub calls: u64,
    /// Calls of which a part is missing.
    pub truncated_calls: u64,
    /// Connections whose plaintext is no protocol that can be read.
    pub undecodable_connections: u64,
    /// Connections whose plaintext was not seen.
    pub unprobed_connections: u64,
}

/// A file with a TLS library.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFile {
    /// Path.
    pub path: String,
    /// The library, with its version where that is known.
    pub library: Option<String>,
    /// How its functions were found.
    pub found_by: Option<String>,
    /// How sure it is that they are these.
    pub confidence: Option<String>,
    /// Functions with a probe.
    pub functions: Vec<String>,
    /// Why it has none.
    pub refusal: Option<String>,
}

impl AgentStatus {
    /// Puts the counters of the line in place.
    pub fn count(&mut self, stats: &Stats) {
        if let Ok(serde_json::Value::Object(counters)) = serde_json::to_value(stats) {
            self.counters.extend(counters);
        }
    }
}
