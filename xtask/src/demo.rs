//! Shows the main job without any API key.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::command::{Invocation, lines};
use crate::project::{Project, make_folder};
use crate::{agent, clients, host, setup};

/// `EX_NOPERM` of sysexits.h.
const EXIT_NO_PERMISSION: u8 = 77;
/// How long the endpoint and the agent may take to say that they are ready.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long the agent may take to commit what it saw once it is told to stop.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// What the agent prints once its probes are in place.
const AGENT_READY: &str = " ready ";

/// The endpoint is no provider's host, and nobody but its owner knows what it charges: the demo says that
/// it is what the providers charge for such models.
const CONFIGURATION: &str = r#"[[provider]]
name = "demo"
hosts = ["localhost"]

[[price]]
provider = "demo"
model = "claude-*"
like = "anthropic/claude-sonnet-4-6"

[[price]]
provider = "demo"
model = "gpt-*"
like = "openai"
"#;

/// `cargo xtask demo`.
pub(crate) fn run(project: &Project, _: &[String]) -> Result<ExitCode> {
    if !host::is_root() {
        eprintln!("the demo loads probes: run it as root");
        return Ok(ExitCode::from(EXIT_NO_PERMISSION));
    }
    setup::for_testing(project)?;
    agent::build(project)?;
    project
        .cargo(&[
            "build",
            "--release",
            "--package",
            "test-support",
            "--bin",
            "llm-endpoint",
        ])
        .run()?;

    let folder = project.target.join("demo");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    make_folder(&folder)?;
    let database = folder.join("usage.db");
    let configuration = folder.join("config.toml");
    fs::write(&configuration, CONFIGURATION)
        .with_context(|| format!("cannot write {}", configuration.display()))?;

    println!("\n== the agent and an endpoint of our own");
    let endpoint = Endpoint::start(project, &folder)?;
    let agent = Service::start(
        project
            .cleaned(Invocation::new(project.agent_binary()))
            .arg("run")
            .arg("--db")
            .arg(&database)
            .arg("--config")
            .arg(&configuration),
    )?;
    agent.wait_for(|line| line.contains(AGENT_READY).then_some(()))?;

    println!("\n== clients talk to it");
    call_with_curl(project, &endpoint)?;
    call_with_python(project, &endpoint)?;
    call_with_node(project, &endpoint)?;

    agent.stop()?;
    drop(endpoint);
    println!("\n== what the agent saw");
    report(project, &database, &configuration)?;
    print!(
        "{}",
        how_to_go_on(&project.agent_binary(), &database, &configuration)
    );
    Ok(ExitCode::SUCCESS)
}

fn call_with_curl(project: &Project, endpoint: &Endpoint) -> Result<()> {
    let body = r#"{"model":"gpt-5","messages":[{"role":"user","content":"Say hello."}]}"#;
    project
        .cleaned(Invocation::new("curl"))
        .args([
            "--silent",
            "--show-error",
            "--fail",
            "--output",
            "/dev/null",
            "--http1.1",
            "--cacert",
        ])
        .arg(&endpoint.certificate)
        .args(["-H", "content-type: application/json", "-d", body])
        .arg(format!("{}/v1/chat/completions", endpoint.address))
        .run()
}

fn call_with_python(project: &Project, endpoint: &Endpoint) -> Result<()> {
    let python = project.cleaned(Invocation::new(clients::python(project)));
    endpoint
        .announce_to(python)
        .arg(project.root.join("tests/peers/python/calls.py"))
        .run()
}

fn call_with_node(project: &Project, endpoint: &Endpoint) -> Result<()> {
    let node = clients::announce_to(project, project.cleaned(Invocation::new("node")));
    endpoint
        .announce_to(node)
        .arg(project.root.join("tests/peers/node/calls.mjs"))
        .run()
}

fn report(project: &Project, database: &Path, configuration: &Path) -> Result<()> {
    let bpftok = || project.cleaned(Invocation::new(project.agent_binary()));
    let reports: [&[&str]; 5] = [
        &["tail", "-n", "5"],
        &["sessions"],
        &["report", "--by", "model"],
        &["report", "--by", "client"],
        &["report", "--by", "workflow"],
    ];
    for arguments in reports {
        println!();
        bpftok()
            .args(arguments)
            .arg("--db")
            .arg(database)
            .arg("--config")
            .arg(configuration)
            .run()?;
    }
    Ok(())
}

fn how_to_go_on(binary: &Path, database: &Path, configuration: &Path) -> String {
    let (binary, database) = (binary.display(), database.display());
    let configuration = configuration.display();
    format!(
        "\nThe ledger stays in {database} until the next demo. To ask it more:\n\
         \x20 {binary} report --by process --db {database}\n\
         \x20 {binary} query 'SELECT * FROM v_session' --db {database}\n\
         \x20 {binary} prices override --config {configuration}\n\
         To watch what this machine really does: cargo xtask run\n"
    )
}

/// The endpoint of the test support package; it lives as long as this value.
struct Endpoint {
    address: String,
    certificate: PathBuf,
    _service: Service,
}

impl Endpoint {
    fn start(project: &Project, folder: &Path) -> Result<Self> {
        let program = project.target.join("release/llm-endpoint");
        let service = Service::start(
            project
                .cleaned(Invocation::new(program))
                .arg("--dir")
                .arg(folder),
        )?;
        let address =
            service.wait_for(|line| line.starts_with("https://").then(|| line.to_owned()))?;
        Ok(Self {
            address,
            certificate: folder.join("ca.pem"),
            _service: service,
        })
    }

    /// Tells a client where to call and whom to trust.
    fn announce_to(&self, client: Invocation) -> Invocation {
        client
            .env("BPFTOK_ENDPOINT", &self.address)
            .env("SSL_CERT_FILE", &self.certificate)
            .env("NODE_EXTRA_CA_CERTS", &self.certificate)
    }
}

/// A child in the background whose output is passed on; killed when dropped.
struct Service {
    child: Child,
    output: mpsc::Receiver<String>,
}

impl Service {
    fn start(invocation: Invocation) -> Result<Self> {
        let mut child = invocation
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .start()?;
        let (sender, output) = mpsc::channel();
        let stdout = child
            .stdout
            .take()
            .context("a child without standard output")?;
        let stderr = child
            .stderr
            .take()
            .context("a child without standard error")?;
        pass_on(stdout, sender.clone());
        pass_on(stderr, sender);
        Ok(Self { child, output })
    }

    /// The first answer that `find` gets out of a line of output.
    fn wait_for<T>(&self, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        let end = Instant::now() + START_LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self
                .output
                .recv_timeout(left)
                .context("it did not say that it is ready")?;
            if let Some(found) = find(&line) {
                return Ok(found);
            }
        }
    }

    /// Asks it to end and waits until it has.
    fn stop(mut self) -> Result<()> {
        Invocation::new("kill")
            .arg("-TERM")
            .arg(self.child.id().to_string())
            .run()?;
        let end = Instant::now() + STOP_LIMIT;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    bail!("it stopped with {status}");
                }
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("it did not stop within {} s", STOP_LIMIT.as_secs())
    }
}

/// Prints the lines of a pipe and offers them to whoever waits for one.
fn pass_on(pipe: impl Read + Send + 'static, waiting: mpsc::Sender<String>) {
    thread::spawn(move || {
        for line in lines(pipe) {
            println!("{line}");
            // Nobody waits any more once the service is ready.
            drop(waiting.send(line));
        }
    });
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
