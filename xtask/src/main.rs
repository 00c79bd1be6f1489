//! Sets up, builds, tests and measures bpftok; `cargo xtask help` lists the commands.
//!
//! This package builds on any stable Rust since 1.85, because it installs the toolchain that the
//! other packages need and runs everything else with it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool whose output is its purpose"
)]

mod accuracy;
mod agent;
mod bench;
mod ccusage;
mod clients;
mod command;
mod coverage;
mod debian;
mod debootstrap;
mod demo;
mod dist;
mod doctor;
mod fuzz;
mod help;
mod host;
mod kernel;
mod ledger;
mod notes;
mod npm;
mod packages;
mod pins;
mod programs;
mod project;
mod setup;
mod suite;
mod tally;
mod tidy;

use std::env;
use std::process::ExitCode;

use anyhow::Result;

use crate::project::Project;

/// `EX_USAGE` of sysexits.h: the command line was wrong.
const EXIT_USAGE: u8 = 64;

/// A command line that makes no sense; the text says what would.
#[derive(Debug)]
struct Usage(String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            if error.is::<Usage>() {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<ExitCode> {
    let Some((name, rest)) = arguments.split_first() else {
        print!("{}", help::OVERVIEW);
        return Ok(ExitCode::from(EXIT_USAGE));
    };
    if matches!(name.as_str(), "help" | "-h" | "--help") {
        return help::print(rest.first().map(String::as_str));
    }
    let Some(command) = help::COMMANDS.iter().find(|c| c.name == name) else {
        return Err(Usage(help::unknown(name)).into());
    };
    if name != "run" && rest.iter().any(|a| a == "-h" || a == "--help") {
        return help::print(Some(command.name));
    }
    (command.run)(&Project::find()?, rest)
}
