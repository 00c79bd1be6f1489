//! Packages: lints, pins, and who may depend on whom.

use crate::pins;
use crate::tidy::{Source, find};

/// Packages of ours, where they are, and which others of ours they may depend on. What only tests
/// or the build script need is free: the program does not contain it.
const PACKAGES: [(&str, &str, &[&str]); 8] = [
    ("agent-common", "agent-common", &[]),
    ("agent-ebpf", "agent-ebpf", &["agent-common"]),
    ("agent-core", "agent/core", &["agent-common"]),
    ("agent-resolver", "agent/resolver", &[]),
    ("agent-self-check", "agent/self-check", &[]),
    (
        "agent",
        "agent",
        &[
            "agent-common",
            "agent-core",
            "agent-resolver",
            "agent-self-check",
        ],
    ),
    (
        "test-support",
        "tests/support",
        &["agent-common", "agent-core"],
    ),
    ("xtask", "xtask", &[]),
];

/// All that the core may depend on: nothing that opens a file or a socket, or asks a clock.
const CORE_DEPENDENCIES: [&str; 20] = [
    "agent-common",
    "base64",
    "brotli",
    "bytes",
    "crc32fast",
    "flate2",
    "httparse",
    "imagesize",
    "jiff",
    "octets",
    "serde",
    "serde_json",
    "sha2",
    "siphasher",
    "thiserror",
    "tiktoken-rs",
    "tracing",
    "tungstenite",
    "zerocopy",
    "zstd",
];

/// Files that repeat the pinned toolchain because they cannot read it from anywhere.
const REPEAT_THE_TOOLCHAIN: [&str; 3] = ["agent/build.rs", "CONTRIBUTING.md", "README.md"];

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut complaints = pins_agree(sources);
    let Some(root) = find(sources, "Cargo.toml") else {
        complaints.push("Cargo.toml is missing".to_owned());
        return complaints;
    };
    for member in members(&root.text) {
        match PACKAGES.iter().find(|(_, folder, _)| *folder == member) {
            Some((name, _, ours)) => complaints.extend(package(sources, name, &member, ours)),
            None => complaints.push(format!(
                "member {member} has no row in the table of xtask/src/tidy/manifests.rs"
            )),
        }
    }
    complaints
}

fn package(sources: &[Source], name: &str, folder: &str, ours: &[&str]) -> Vec<String> {
    let path = format!("{folder}/Cargo.toml");
    let Some(manifest) = find(sources, &path) else {
        return vec![format!("{path} is missing")];
    };
    let keys = keys(&manifest.text);
    let mut complaints = Vec::new();
    if !keys.contains(&("lints", "workspace")) {
        complaints.push(format!("{path}: say `[lints]` and `workspace = true`"));
    }
    for (section, dependency) in keys {
        if !section.ends_with("dependencies")
            || section.ends_with("dev-dependencies")
            || section == "build-dependencies"
        {
            continue;
        }
        let is_ours = PACKAGES.iter().any(|(name, ..)| *name == dependency);
        if is_ours && !ours.contains(&dependency) {
            complaints.push(format!("{path}: {name} may not depend on {dependency}"));
        }
        if name == "agent-core" && !CORE_DEPENDENCIES.contains(&dependency) {
            complaints.push(format!(
                "{path}: {dependency} is not on the list of xtask/src/tidy/manifests.rs; the core does no I/O"
            ));
        }
    }
    complaints
}

fn pins_agree(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    let minimum = pins::TOOLCHAIN
        .rsplit_once('.')
        .map_or(pins::TOOLCHAIN, |(minimum, _)| minimum);
    let wanted = format!("rust-version = \"{minimum}\"");
    if !find(sources, "Cargo.toml").is_some_and(|root| root.text.lines().any(|line| line == wanted))
    {
        complaints.push(format!(
            "Cargo.toml: the pinned toolchain is {}, so say {wanted}",
            pins::TOOLCHAIN
        ));
    }
    for path in REPEAT_THE_TOOLCHAIN {
        if !find(sources, path).is_some_and(|source| source.text.contains(pins::TOOLCHAIN)) {
            complaints.push(format!(
                "{path}: does not name the pinned toolchain, {}",
                pins::TOOLCHAIN
            ));
        }
    }
    complaints
}

fn members(root: &str) -> Vec<String> {
    let list = root
        .split_once("\nmembers = [")
        .and_then(|(_, rest)| rest.split_once(']'));
    let list = list.map_or("", |(list, _)| list);
    list.split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Every key with its section; of a dotted key the first part.
fn keys(manifest: &str) -> Vec<(&str, &str)> {
    let (mut keys, mut section) = (Vec::new(), "");
    for line in manifest.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|l| l.trim_end().strip_suffix(']'))
        {
            section = name;
        } else if let Some((key, _)) = line.split_once('=') {
            let key = key.split('.').next().unwrap_or(key).trim();
            if line.starts_with(|c: char| c.is_alphanumeric()) {
                keys.push((section, key));
            }
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source;

    fn tree(core: &str) -> Vec<Source> {
        let root = "[workspace]\nmembers = [\"agent/core\"]\n[workspace.package]\nrust-version = \"1.98\"\n";
        let mut tree = vec![
            source("Cargo.toml", root),
            source("agent/core/Cargo.toml", core),
        ];
        tree.extend(REPEAT_THE_TOOLCHAIN.map(|path| source(path, "Rust 1.98.0")));
        tree
    }

    #[test]
    fn the_core_depends_on_what_its_list_says() {
        let core = "[dependencies]\nbytes.workspace = true\ntokio = { version = \"1\" }\nagent-ebpf.workspace = true\n\
                    [dev-dependencies]\nproptest.workspace = true\n[lints]\nworkspace = true\n";

        assert_eq!(
            check(&tree(core)),
            [
                "agent/core/Cargo.toml: tokio is not on the list of xtask/src/tidy/manifests.rs; the core does no I/O",
                "agent/core/Cargo.toml: agent-core may not depend on agent-ebpf",
                "agent/core/Cargo.toml: agent-ebpf is not on the list of xtask/src/tidy/manifests.rs; the core does no I/O",
            ]
        );
    }

    #[test]
    fn a_package_that_leaves_the_lints_is_named() {
        assert_eq!(
            check(&tree("[dependencies]\n")),
            ["agent/core/Cargo.toml: say `[lints]` and `workspace = true`"]
        );
    }

    #[test]
    fn pins_that_disagree_are_named() {
        let mut tree = tree("[lints]\nworkspace = true\n");
        tree.iter_mut()
            .for_each(|s| s.text = s.text.replace("1.98", "1.97"));

        assert_eq!(
            check(&tree),
            [
                "Cargo.toml: the pinned toolchain is 1.98.0, so say rust-version = \"1.98\"",
                "agent/build.rs: does not name the pinned toolchain, 1.98.0",
                "CONTRIBUTING.md: does not name the pinned toolchain, 1.98.0",
                "README.md: does not name the pinned toolchain, 1.98.0",
            ]
        );
    }
}
