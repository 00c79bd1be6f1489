//! What is known about the host that the ledger belongs to.

use std::{fmt, fs};

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
    /// What the ids of accounts are hashed with.
    pub account_key: AccountKey,
}

/// A secret of the host that makes hashes of accounts differ from host to host: without it, and the
/// ledger has not got it, nobody can try which account a hash belongs to. It does not show in
/// `Debug` output.
#[derive(Clone, PartialEq, Eq)]
pub struct AccountKey([u8; 32]);

impl AccountKey {
    /// The key that follows from a secret of the host.
    pub fn new(secret: &str) -> Self {
        let hash = Sha256::new()
            .chain_update(b"bpftok ledger account\0")
            .chain_update(secret)
            .finalize();
        Self(hash.into())
    }

    /// The keyed hash of an account's id: 32 hex digits. Half of the hash is left out, so that none
    /// can be made of a longer id without the key.
    pub(super) fn hash(&self, id: &str) -> String {
        hex(Sha256::new().chain_update(self.0).chain_update(id))
    }
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountKey(…)")
    }
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
            account_key: AccountKey::new(secret),
            host_name,
        }
    }
}

/// machine-id(5) asks programs not to show the id itself, but a hash that is their own.
fn machine_id_hash(machine_id: &str) -> String {
    hex(Sha256::new()
        .chain_update(b"bpftok ledger host\0")
        .chain_update(machine_id))
}

/// The first 16 bytes of a hash, as hex digits.
fn hex(hash: Sha256) -> String {
    let bytes = hash.finalize();
    bytes
        .iter()
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
    fn accounts_have_hashes_of_the_host_that_do_not_show_its_key() {
        let key = AccountKey::new("0123456789abcdef0123456789abcdef");
        assert_eq!(key.hash("org-1"), key.hash("org-1"));
        assert_ne!(key.hash("org-1"), key.hash("org-2"));
        assert_ne!(key.hash("org-1"), AccountKey::new("other").hash("org-1"));
        assert_eq!(key.hash("org-1").len(), 32);
        assert_eq!(format!("{key:?}"), "AccountKey(…)");
    }

    #[test]
    fn a_linux_host_has_a_kernel_and_a_boot() {
        let host = HostFacts::of_this_host("1.2.3");
        assert!(!host.kernel.is_empty() && !host.boot_id.is_empty());
        assert_eq!(host.agent_version, "1.2.3");
    }
}
