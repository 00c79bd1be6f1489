//! What is known about the host that the ledger belongs to.

use std::fs;

use sha2::{Digest as _, Sha256};

/// The host, as its row in the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Stable name of the machine that does not give its machine id away: 32 hex digits.
    pub machine_id_hash: String,
    /// Host name.
    pub host_name: String,
    /// Release of the running kernel.
    pub kernel: String,
    /// Id of the running boot; start times of processes count from it.
    pub boot_id: String,
    /// Version of the agent.
    pub agent_version: String,
}

impl HostFacts {
    /// Reads the facts of this host. A fact that cannot be read is empty; a machine without an id,
    /// a container for example, is known by its host name.
    pub fn of_this_host(agent_version: &str) -> Self {
        let line = |path: &str| {
            fs::read_to_string(path)
                .map(|text| text.trim().to_owned())
                .unwrap_or_default()
        };
        let host_name = line("/proc/sys/kernel/hostname");
        let machine_id = line("/etc/machine-id");
        let secret = if machine_id.is_empty() {
            &host_name
        } else {
            &machine_id
        };
        Self {
            machine_id_hash: machine_id_hash(secret),
            kernel: line("/proc/sys/kernel/osrelease"),
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            agent_version: agent_version.to_owned(),
            host_name,
        }
    }
}

/// machine-id(5) asks programs not to show the id itself, but a hash that is their own.
fn machine_id_hash(machine_id: &str) -> String {
    let hash = Sha256::new()
        .chain_update(b"bpftok ledger host\0")
        .chain_update(machine_id)
        .finalize();
    hash.iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_id_does_not_show_and_its_hash_is_stable() {
        assert_eq!(
            machine_id_hash("0123456789abcdef0123456789abcdef"),
            machine_id_hash("0123456789abcdef0123456789abcdef")
        );
        assert_ne!(machine_id_hash("a"), machine_id_hash("b"));
        assert_eq!(machine_id_hash("a").len(), 32);
    }

    #[test]
    fn a_linux_host_has_a_kernel_and_a_boot() {
        let host = HostFacts::of_this_host("1.2.3");
        assert!(!host.kernel.is_empty() && !host.boot_id.is_empty());
        assert_eq!(host.agent_version, "1.2.3");
    }
}
