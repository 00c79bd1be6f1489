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

impl AgentStatus {
    /// Puts the counters of the line in place.
    pub fn count(&mut self, stats: &Stats) {
        if let Ok(serde_json::Value::Object(counters)) = serde_json::to_value(stats) {
            self.counters.extend(counters);
        }
    }
}
