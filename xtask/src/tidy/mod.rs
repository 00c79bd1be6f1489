//! The rules of the source tree that no compiler checks.
//!
//! Each rule is a function from the files' text to complaints; a complaint names the place and
//! what to do.

mod directions;
mod invariants;
mod manifests;
mod text;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::command::Invocation;
use crate::project::Project;
use crate::tally::Tally;

/// A text file of the project.
struct Source {
    /// Relative to the root.
    path: String,
    text: String,
}

/// `cargo xtask tidy`.
pub(crate) fn run(project: &Project, _: &[String]) -> Result<ExitCode> {
    check(project, &mut Tally::default())?;
    println!("tidy: nothing to complain about");
    Ok(ExitCode::SUCCESS)
}

/// Prints every complaint; fails if there is one.
pub(crate) fn check(project: &Project, _: &mut Tally) -> Result<()> {
    let sources = sources(project)?;
    let complaints = complaints(&sources);
    for complaint in &complaints {
        println!("tidy: {complaint}");
    }
    if !complaints.is_empty() {
        bail!("{} complaints", complaints.len());
    }
    Ok(())
}

fn complaints(sources: &[Source]) -> Vec<String> {
    [
        directions::check,
        invariants::check,
        manifests::check,
        text::check,
    ]
    .into_iter()
    .flat_map(|rule| rule(sources))
    .collect()
}

/// Every text file that git knows or would add.
fn sources(project: &Project) -> Result<Vec<Source>> {
    let listed = Invocation::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ])
        .directory(&project.root)
        .ask()
        .context("git cannot list the project's files")?;
    let mut sources = Vec::new();
    for path in listed.split('\0').filter(|path| !path.is_empty()) {
        // A file may be deleted and still in the index; one that is no text has no rules.
        let Ok(bytes) = fs::read(project.root.join(path)) else {
            continue;
        };
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        sources.push(Source {
            path: path.to_owned(),
            text,
        });
    }
    Ok(sources)
}

/// The file at `path`, if it exists.
fn find<'a>(sources: &'a [Source], path: &str) -> Option<&'a Source> {
    sources.iter().find(|source| source.path == path)
}

#[cfg(test)]
fn source(path: &str, text: &str) -> Source {
    Source {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_tree_is_tidy_enough_to_be_listed() {
        let project = Project {
            root: concat!(env!("CARGO_MANIFEST_DIR"), "/..").into(),
            target: "target".into(),
        };

        let sources = sources(&project).unwrap();

        assert!(find(&sources, "xtask/src/tidy/mod.rs").is_some());
    }
}
