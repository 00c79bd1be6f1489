//! Where things are, and how Cargo is called.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context as _, Result, anyhow};

use crate::command::Invocation;
use crate::pins;

/// The source tree and its build folder.
pub(crate) struct Project {
    /// Folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Build folder; everything that this tool makes lies in it.
    pub(crate) target: PathBuf,
}

impl Project {
    pub(crate) fn find() -> Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest
            .parent()
            .ok_or_else(|| anyhow!("{} has no parent folder", manifest.display()))?
            .to_owned();
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let target = if target.is_absolute() {
            target
        } else {
            env::current_dir()?.join(target)
        };
        Ok(Self { root, target })
    }

    /// Private installations of build tools.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// The agent's own binary of the release build.
    pub(crate) fn agent_binary(&self) -> PathBuf {
        self.target.join("release/bpftok")
    }

    /// The database of `run`, unless its arguments name another.
    pub(crate) fn database(&self) -> PathBuf {
        self.target.join("bpftok/usage.db")
    }

    /// A file of the source tree as text.
    pub(crate) fn text(&self, path: &str) -> Result<String> {
        let path = self.root.join(path);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// `cargo +PIN ARGUMENTS` in the root, with our tools first on `PATH`.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Invocation {
        let cargo = Invocation::new("cargo")
            .arg(format!("+{}", pins::TOOLCHAIN))
            .args(arguments);
        self.cleaned(cargo)
            .quiet_env("CARGO_TARGET_DIR", &self.target)
    }

    /// Runs `invocation` in the root, with our tools first on `PATH` and without the variables
    /// that Cargo and rustup set for this program: they name another toolchain and package.
    pub(crate) fn cleaned(&self, invocation: Invocation) -> Invocation {
        let ours = |name: &str| {
            matches!(name, "CARGO" | "RUSTUP_TOOLCHAIN" | "RUST_RECURSION_COUNT")
                || name.starts_with("CARGO_PKG_")
                || name.starts_with("CARGO_MANIFEST_")
        };
        let inherited = env::vars_os().map(|(name, _)| name);
        let invocation = inherited
            .filter(|name| name.to_str().is_some_and(ours))
            .fold(invocation, Invocation::without_env);
        let libraries =
            env::var_os("LD_LIBRARY_PATH").and_then(|path| self.foreign_libraries(&path));
        let invocation = match libraries {
            Some(path) => invocation.quiet_env("LD_LIBRARY_PATH", path),
            None => invocation.without_env("LD_LIBRARY_PATH"),
        };
        invocation
            .quiet_env("PATH", self.search_path())
            .directory(&self.root)
    }

    /// `PATH` with our tools first.
    pub(crate) fn search_path(&self) -> OsString {
        let inherited = env::var_os("PATH").unwrap_or_default();
        let folders = [self.tools().join("bin")]
            .into_iter()
            .chain(env::split_paths(&inherited));
        env::join_paths(folders).unwrap_or(inherited)
    }

    /// What of `LD_LIBRARY_PATH` was there before `cargo run` added its own folders.
    fn foreign_libraries(&self, path: &OsString) -> Option<OsString> {
        let foreign = |folder: &PathBuf| {
            !folder.starts_with(&self.target)
                && !folder.components().any(|c| c.as_os_str() == "toolchains")
        };
        let kept = env::join_paths(env::split_paths(path).filter(foreign)).ok()?;
        (!kept.is_empty()).then_some(kept)
    }
}

/// Makes a folder and its parents.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_cargo_added_to_the_library_path_are_dropped() {
        let project = Project {
            root: "/src".into(),
            target: "/src/target".into(),
        };
        let with =
            OsString::from("/src/target/debug/deps:/opt/lib:/root/.rustup/toolchains/stable/lib");
        let only = OsString::from("/src/target/debug");

        assert_eq!(project.foreign_libraries(&with), Some("/opt/lib".into()));
        assert_eq!(project.foreign_libraries(&only), None);
    }

    #[test]
    fn our_tools_come_first_on_the_path() {
        let project = Project {
            root: "/src".into(),
            target: "/src/target".into(),
        };

        let first = env::split_paths(&project.search_path()).next();

        assert_eq!(first, Some("/src/target/tools/bin".into()));
    }
}
