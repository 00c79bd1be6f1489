//! Clients as children: who they are, and how long they may take.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use test_support::{Endpoint, Plan};

use crate::agent::skip;

/// How long a client may run.
const CLIENT_LIMIT: Duration = Duration::from_secs(120);

/// A child that is killed when its test gives up.
#[derive(Debug)]
pub(crate) struct Kept(pub(crate) Child);

impl Deref for Kept {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Kept {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A client that was started.
#[derive(Debug)]
pub(crate) struct Client {
    child: Kept,
    /// Who it is, as the ledger should name it.
    pub(crate) who: Who,
}

/// A process as the ledger should name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    /// Process id.
    pub(crate) pid: u32,
    /// Executable.
    pub(crate) exe: String,
}

/// A client that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Who it was.
    pub(crate) who: Who,
    /// What it printed.
    pub(crate) stdout: String,
    /// How it ended.
    pub(crate) status: ExitStatus,
}

impl Client {
    /// Starts `command`; `None`, with a `SKIP` line, where there is no such program.
    pub(crate) fn start(mut command: Command, test: &str) -> Option<Self> {
        let child = match command.stdout(Stdio::piped()).spawn() {
            Ok(child) => child,
            Err(error) => {
                skip(
                    test,
                    &format!("{}: {error}", command.get_program().display()),
                );
                return None;
            }
        };
        // The kernel lets `spawn` return an instant before the child has its new program. It may even
        // have ended.
        let own = fs::read_link("/proc/self/exe").unwrap();
        let program = || fs::read_link(format!("/proc/{}/exe", child.id()));
        poll(CLIENT_LIMIT, || program().map_or(true, |exe| exe != own));
        let exe = program().unwrap_or_else(|_| resolve(Path::new(command.get_program())));
        let who = Who {
            pid: child.id(),
            exe: exe.display().to_string(),
        };
        Some(Self {
            child: Kept(child),
            who,
        })
    }

    /// Its standard input, if the command asked for a pipe.
    pub(crate) fn stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let mut stdout = self.child.stdout.take().unwrap();
        let reader = thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            text
        });
        if !poll(CLIENT_LIMIT, || self.child.try_wait().unwrap().is_some()) {
            self.child.kill().unwrap();
        }
        let status = self.child.wait().unwrap();
        Ended {
            who: self.who,
            stdout: reader.join().unwrap(),
            status,
        }
    }

    /// Waits for its end, which must be a success.
    pub(crate) fn succeed(self) -> Ended {
        let ended = self.end();
        assert!(ended.status.success(), "{ended:?}");
        ended
    }
}

/// A process that does what lines on its standard input say, until it is dropped.
#[derive(Debug)]
pub(crate) struct Steered {
    pub(crate) child: Child,
    /// Those that it starts may read from it when it has ended.
    stdin: std::process::ChildStdin,
    answers: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Steered {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let stdin = child.stdin.take().unwrap();
        Self {
            child,
            stdin,
            answers,
        }
    }

    /// Says a line, and waits for the answer.
    pub(crate) fn ask(&mut self) -> String {
        self.stdin.write_all(b"\n").unwrap();
        self.answer()
    }

    /// Waits for its next line.
    pub(crate) fn answer(&mut self) -> String {
        self.next_answer().unwrap()
    }

    /// The same; `None` once it has ended.
    pub(crate) fn next_answer(&mut self) -> Option<String> {
        Some(self.answers.next()?.unwrap())
    }
}

impl Drop for Steered {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Paths of the files that a process maps as code, those with `part` in them.
pub(crate) fn mapped(pid: u32, part: &str) -> BTreeSet<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    code_in(&maps, part)
}

/// The same, from the text of such a file.
pub(crate) fn code_in(maps: &str, part: &str) -> BTreeSet<String> {
    let paths = maps.lines().filter_map(|line| {
        let mut fields = line.splitn(6, ' ');
        let rights = fields.nth(1)?;
        let path = fields.nth(3)?.trim_start();
        (rights.contains('x') && path.contains(part)).then(|| path.to_owned())
    });
    paths.collect()
}

fn resolve(program: &Path) -> PathBuf {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .map(|dir| dir.join(program))
        .find_map(|path| path.canonicalize().ok())
        .unwrap_or_else(|| program.to_owned())
}

/// Where the clients of this repository lie.
pub(crate) fn peer(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/peers")
        .join(name)
}

/// A program that set-up installs and names in the environment.
pub(crate) fn installed(variable: &str, test: &str) -> Option<PathBuf> {
    let path = env::var_os(variable).map(PathBuf::from);
    if path.is_none() {
        skip(
            test,
            &format!("{variable} is not set; run `cargo xtask test`"),
        );
    }
    path
}

/// Lets Python ask for so many streamed messages of a model, to the end; `None`, with a `SKIP` line, where
/// it is missing.
pub(crate) fn stream_messages(
    endpoint: &Endpoint,
    test: &str,
    model: &str,
    calls: impl ToString,
) -> Option<()> {
    let mut command = python("calls.py", endpoint, test)?;
    command.args(["stdlib", "messages", "--stream", "--model", model]);
    command.args(["--calls", &calls.to_string()]);
    Client::start(command, test)?.succeed();
    Some(())
}

/// The interpreter with the pinned SDKs.
pub(crate) fn python(script: &str, endpoint: &Endpoint, test: &str) -> Option<Command> {
    let mut command = Command::new(installed("BPFTOK_PYTHON", test)?);
    command
        .arg(peer("python").join(script))
        .env("BPFTOK_ENDPOINT", endpoint.url())
        .env("SSL_CERT_FILE", endpoint.ca_path());
    Some(command)
}

/// Node with the pinned SDKs.
pub(crate) fn node(endpoint: &Endpoint, test: &str) -> Option<Command> {
    let modules = installed("BPFTOK_NODE_MODULES", test)?;
    let mut command = Command::new("node");
    command
        .arg(peer("node/calls.mjs"))
        .env("BPFTOK_NODE_MODULES", modules)
        .env("BPFTOK_ENDPOINT", endpoint.url())
        .env("NODE_EXTRA_CA_CERTS", endpoint.ca_path());
    Some(command)
}

/// curl, quiet, on one path of the endpoint.
pub(crate) fn curl(endpoint: &Endpoint, plan: &Plan, path: &str, body: &str) -> Command {
    let mut command = Command::new("curl");
    command
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "60",
            "--compressed",
        ])
        .args([
            "--header",
            "content-type: application/json",
            "--data-binary",
            body,
        ])
        .arg(format!("{}{path}", endpoint.url_of(plan)))
        .env("CURL_CA_BUNDLE", endpoint.ca_path());
    command
}

/// The C peer with both ends of a connection.
pub(crate) fn tls_pair(arguments: &[&str], test: &str) -> Option<Command> {
    let mut command = Command::new(installed("BPFTOK_TLS_PAIR", test)?);
    command.args(arguments);
    Some(command)
}

/// The same peer with OpenSSL inside and no symbols.
pub(crate) fn stripped_tls_pair(arguments: &[&str], test: &str) -> Option<Command> {
    let mut command = Command::new(installed("BPFTOK_STRIPPED_TLS_PAIR", test)?);
    command.args(arguments);
    Some(command)
}

/// Waits no longer than `limit` for what `is_so` says; gives what it said last. The limits are
/// generous because a limit that is reached fails the test.
pub(crate) fn poll(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
