//! `bpftok-self-check LIBRARY`: makes the call with the host name that it reads from its standard input.

use std::env;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let [library] = arguments.as_slice() else {
        say("it takes the path of a TLS library");
        return ExitCode::from(64);
    };
    match agent_self_check::call(Path::new(library)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Nobody may be there to read it.
fn say(sentence: &str) {
    writeln!(std::io::stderr(), "bpftok-self-check: {sentence}").unwrap_or_default();
}
