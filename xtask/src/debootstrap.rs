//! Clean Debians, made once and kept.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::command::Invocation;
use crate::kernel;
use crate::project::make_folder;

/// A Debian with the packages that one purpose needs.
pub(crate) struct Clean {
    /// The archive that keeps it.
    pub(crate) kept: PathBuf,
    /// The release, by its code name.
    pub(crate) suite: String,
    /// Packages beyond those that every Debian has.
    pub(crate) packages: &'static [&'static str],
}

impl Clean {
    /// Unpacks it into `root`, of which nothing else stays; makes it first where there is none.
    pub(crate) fn unpack(&self, root: &Path) -> Result<()> {
        if root.exists() {
            fs::remove_dir_all(root)
                .with_context(|| format!("cannot remove {}", root.display()))?;
        }
        if !self.kept.is_file() {
            return self.make(root);
        }
        make_folder(root)?;
        Invocation::new("tar")
            .arg("-C")
            .arg(root)
            .arg("-xf")
            .arg(&self.kept)
            .run()
    }

    fn make(&self, root: &Path) -> Result<()> {
        make_folder(self.kept.parent().unwrap_or(root))?;
        // The mirror is that of the host's own sources.
        Invocation::new("debootstrap")
            .arg("--variant=minbase")
            .arg(format!("--include={}", self.packages.join(",")))
            .arg(&self.suite)
            .arg(root)
            .arg(kernel::mirror_of_debian()?)
            .run()?;
        let part = self.kept.with_extension("part");
        Invocation::new("tar")
            .arg("-C")
            .arg(root)
            .arg("-cf")
            .arg(&part)
            .arg(".")
            .run()?;
        // Renamed last: an archive that is there is whole.
        fs::rename(&part, &self.kept).context("cannot keep the clean Debian")
    }
}
