//! Builds the agent and runs it as root.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

use crate::command::Invocation;
use crate::project::{Project, make_folder};
use crate::{host, setup};

/// `EX_NOPERM` of sysexits.h.
const EXIT_NO_PERMISSION: u8 = 77;

/// `cargo xtask run [-- ARGUMENTS]`.
pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let arguments = arguments
        .strip_prefix(&["--".to_owned()])
        .unwrap_or(arguments);
    setup::for_building(project)?;
    build(project)?;

    let named = named_database(arguments);
    let database = named.clone().unwrap_or_else(|| project.database());
    let agent = if host::is_root() {
        Invocation::new(project.agent_binary())
    } else if host::find_program("sudo").is_some() {
        Invocation::new("sudo").arg(project.agent_binary())
    } else {
        eprintln!(
            "bpftok needs root to load probes, and there is no sudo; run this command as root"
        );
        return Ok(ExitCode::from(EXIT_NO_PERMISSION));
    };
    let mut agent = project.cleaned(agent.arg("run"));
    if named.is_none() {
        make_folder(database.parent().unwrap_or(&project.target))?;
        agent = agent.arg("--db").arg(&database);
    }
    // The agent runs as root, and so the database is root's.
    let reader = if host::is_root() { "" } else { "sudo " };
    print!(
        "{}",
        how_to_read(reader, &project.agent_binary(), &database)
    );
    agent.args(arguments).become_it()
}

/// Builds the release binary with its kernel programs.
pub(crate) fn build(project: &Project) -> Result<()> {
    project
        .cargo(&["build", "--release", "--package", "agent"])
        .without_env("AYA_BUILD_SKIP")
        .run()
}

/// The value of `--db` in the agent's arguments.
fn named_database(arguments: &[String]) -> Option<PathBuf> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--db" {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(path) = argument.strip_prefix("--db=") {
            return Some(path.into());
        }
    }
    None
}

fn how_to_read(reader: &str, binary: &Path, database: &Path) -> String {
    let (binary, database) = (binary.display(), database.display());
    format!(
        "\nUsage goes to {database}. From another terminal:\n\
         \x20 {reader}{binary} report --by client --db {database}\n\
         \x20 {reader}{binary} tail -f --db {database}\n\
         \x20 {reader}sqlite3 -readonly {database} 'SELECT * FROM v_request ORDER BY started_utc DESC LIMIT 10'\n\
         Ctrl-C stops it; what was seen is kept.\n\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_found_in_both_spellings() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();

        assert_eq!(
            named_database(&words("-v --db /a/b.db")),
            Some("/a/b.db".into())
        );
        assert_eq!(
            named_database(&words("--db=/a/b.db")),
            Some("/a/b.db".into())
        );
        assert_eq!(named_database(&words("--dbx /a")), None);
        assert_eq!(named_database(&words("--db")), None);
    }
}
