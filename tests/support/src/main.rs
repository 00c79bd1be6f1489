//! `llm-endpoint`: the endpoint as a program, for demonstrations and by hand.

use std::fs;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread;

use anyhow::Context as _;
use clap::Parser;
use test_support::{Endpoint, Options, Plan};

/// Answers LLM API calls on loopback TLS, as the providers do, with made-up replies.
#[derive(Debug, Parser)]
struct Arguments {
    /// Directory for ca.pem, leaf.pem, key.pem, served.jsonl and other.jsonl.
    #[arg(long)]
    dir: PathBuf,
    /// Port; a free one if not given.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Address to listen on besides, as 127.0.0.1:443; may be given more than once.
    #[arg(long)]
    listen: Vec<SocketAddr>,
    /// Offer HTTP/2 before HTTP/1.1.
    #[arg(long)]
    http2: bool,
    /// Refuse WebSockets.
    #[arg(long)]
    no_websockets: bool,
    /// Plan of requests that name none.
    #[arg(long, default_value = "")]
    plan: Plan,
    /// Further name that the certificate is valid for; may be given more than once.
    #[arg(long)]
    name: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    fs::create_dir_all(&arguments.dir).context("cannot make the directory")?;
    let options = Options {
        port: arguments.port,
        http2: arguments.http2,
        websockets: !arguments.no_websockets,
        plan: arguments.plan,
        usage: Vec::new(),
        words: Vec::new(),
        names: arguments.name,
    };
    let endpoint = Endpoint::start_in(&arguments.dir, options)?;
    for addr in arguments.listen {
        let listener =
            TcpListener::bind(addr).with_context(|| format!("cannot listen on {addr}"))?;
        endpoint.listen(listener)?;
    }
    writeln!(io::stdout(), "{}", endpoint.url())?;
    loop {
        thread::park();
    }
}
