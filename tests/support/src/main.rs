//! `llm-endpoint`: the endpoint as a program, for demonstrations and by hand.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::thread;

use anyhow::Context as _;
use clap::Parser;
use test_support::Endpoint;

/// Answers LLM API calls on loopback TLS, as the providers do, with made-up replies.
#[derive(Debug, Parser)]
struct Arguments {
    /// Directory for ca.pem, leaf.pem, key.pem and served.jsonl.
    #[arg(long)]
    dir: PathBuf,
    /// Port; a free one if not given.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    fs::create_dir_all(&arguments.dir).context("cannot make the directory")?;
    let endpoint = Endpoint::start_in(&arguments.dir, arguments.port)?;
    writeln!(io::stdout(), "{}", endpoint.url())?;
    loop {
        thread::park();
    }
}
