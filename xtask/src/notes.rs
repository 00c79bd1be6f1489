//! What live tests note for the pages of `agent/docs` that are made of it: a folder of JSON files.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::command::Invocation;
use crate::project::{Project, make_folder};

/// The notes of one page.
pub(crate) struct Notes {
    /// Variable by which the tests are told of the folder.
    pub(crate) variable: &'static str,
    /// Name of the folder.
    pub(crate) folder: &'static str,
}

impl Notes {
    /// Tells a child where to note what it sees, in a folder that is empty.
    pub(crate) fn announce_to(&self, project: &Project, child: Invocation) -> Result<Invocation> {
        let folder = self.path(project);
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        make_folder(&folder)?;
        Ok(child.env(self.variable, folder))
    }

    /// All that was noted.
    pub(crate) fn read(&self, project: &Project) -> Result<Vec<Value>> {
        let folder = self.path(project);
        let mut notes = Vec::new();
        for entry in
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?
        {
            let path = entry?.path();
            let text = fs::read_to_string(&path)?;
            let note = serde_json::from_str(&text)
                .with_context(|| format!("{} is no note", path.display()))?;
            notes.push(note);
        }
        Ok(notes)
    }

    fn path(&self, project: &Project) -> PathBuf {
        project.target.join("bpftok").join(self.folder)
    }
}

/// Fails where what was `seen` is not what is `kept` on a page, which a command makes anew.
pub(crate) fn compare(page: &str, seen: &str, kept: &str, command: &str) -> Result<()> {
    let difference = seen.lines().zip(kept.lines()).find(|(new, old)| new != old);
    match difference {
        None if seen == kept => Ok(()),
        None => bail!("{page} has other lines than were seen; run `cargo xtask {command}`"),
        Some((new, old)) => {
            bail!("{page} says\n{old}\nwhere the tests saw\n{new}\nrun `cargo xtask {command}`")
        }
    }
}
